"""Whom a SIP telephone is told to speak with after the call changed hands (TRF, RFC 3325 in the telephone's display)."""

from __future__ import annotations

import msgspec
import pytest

from firmware.call import actions as do
from firmware.call.model import LegKind, LegOffered, LegReferred, Party
from firmware.config.schema.people import Extension
from tests.unit.call_stage import Phone, Stage, config


def named(**more: object) -> Stage:
    extensions = {n: msgspec.structs.replace(one, name=f"Desk {n}") for n, one in config().extensions.items()}
    return Stage(config(extensions=extensions), **more)  # type: ignore[arg-type]


def shown(stage: Stage, leg: str) -> list[Party]:
    return [one.party for _, _, one in stage.done if isinstance(one, do.ShowParty) and one.leg == leg]


def originated(stage: Stage, endpoint: str) -> Party:
    return [one.caller for _, _, one in stage.done if isinstance(one, do.OriginateLeg) and one.endpoint == endpoint][-1]


def test_an_ordinary_call_tells_nothing_twice() -> None:
    stage = named()
    stage.phones["202"] = Phone(500)
    caller = stage.dial("201", "202")
    stage.run(2000)
    called = stage.leg_at("202")
    assert stage.talking(caller, called) and shown(stage, caller) == shown(stage, called) == []
    stage.leave(caller)
    stage.run(1000)
    stage.phones["line/1"] = Phone(500)
    out = stage.dial("201", "913800000000")
    stage.run(6000)
    assert stage.talking(out, stage.leg_at("line/1")) and shown(stage, out) == []


@pytest.mark.parametrize("restart", [False, True])
def test_an_attended_transfer_tells_both_with_whom_they_speak(restart: bool) -> None:
    stage = named(restart=restart)
    stage.phones["202"], stage.phones["203"] = Phone(500), Phone(500)
    caller = stage.dial("201", "202")
    stage.run(2000)
    middle = stage.leg_at("202")
    stage.press(middle, "*3203")
    stage.run(2000)
    target = stage.leg_at("203")
    assert stage.talking(middle, target) and originated(stage, "203") == Party("202", "Desk 202", by="202")
    assert shown(stage, middle) == [Party("203", "Desk 203")] and shown(stage, target) == []
    stage.leave(middle)
    stage.run(1000)
    assert stage.talking(caller, target)
    assert shown(stage, caller) == [Party("203", "Desk 203")] and shown(stage, target) == [Party("201", "Desk 201")]


def test_a_caller_from_outside_is_shown_to_the_telephone_it_is_handed_to() -> None:
    stage = named()
    stage.phones["201"], stage.phones["203"] = Phone(500), Phone(500)
    stage.log_in("8001", "201")
    line = stage.ring_in(number="13800000001")
    stage.run(4000)
    stage.press(line, "1")
    stage.run(1500)
    stage.press(line, "1")
    stage.run(12_000)
    agent = stage.leg_at("201")
    assert stage.talking(line, agent) and shown(stage, agent) == []
    stage.give(LegReferred(agent, stage.now, "t1", "203"))
    stage.run(3000)
    target = stage.leg_at("203")
    assert stage.talking(line, target) and shown(stage, target) == [Party("13800000001")]


def test_pick_up_shows_the_caller_and_to_the_caller_who_answered() -> None:
    stage = named()
    stage.phones["202"] = Phone(answer_ms=-1)
    caller = stage.dial("201", "202")
    stage.run(1000)
    taker = stage.dial("203", "**202")
    stage.run(500)
    assert stage.talking(caller, taker)
    assert shown(stage, taker) == [Party("201", "Desk 201")] and shown(stage, caller) == [Party("203", "Desk 203")]


def test_who_withholds_the_number_stays_unknown_after_a_transfer() -> None:
    stage = named()
    stage.phones["202"], stage.phones["203"] = Phone(500), Phone(500)
    caller = stage._new("x", "201", LegKind.SIP)
    stage.give(LegOffered(caller, stage.now, LegKind.SIP, "201", Party("201", "Desk 201", "private"), "202"))
    stage.run(2000)
    assert originated(stage, "202").reason == "private"
    middle = stage.leg_at("202")
    stage.give(LegReferred(middle, stage.now, "t1", "203"))
    stage.run(2000)
    assert shown(stage, stage.leg_at("203")) == [Party("201", "Desk 201", "private")]


def test_analogue_telephones_are_told_nothing() -> None:
    stage = Stage(config(extensions={**config().extensions, "104": Extension(kind="fxs", jack="4", name="Kitchen")}))
    stage.phones["102"], stage.phones["103"] = Phone(500), Phone(500)
    stage.dial("101", "102")
    stage.run(2000)
    middle = stage.leg_at("102")
    stage.press(middle, "*3103")
    stage.run(2000)
    stage.leave(middle)
    stage.run(1000)
    assert not any(isinstance(one, do.ShowParty) for _, _, one in stage.done)
