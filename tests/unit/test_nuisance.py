"""A call with an abusive party is ended by code: tagged, told, blocked where the site wants it; never an emergency call."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from firmware.call import actions as do
from firmware.call.events import NuisanceEnded
from firmware.call.model import Side
from firmware.config.schema.pbx import Calling
from tests.unit.call_stage import Stage, config


def in_queue(wish: str, *, restart: bool = False) -> tuple[Stage, str]:
    stage = Stage(config(calling=Calling(nuisance=wish)), restart=restart)  # type: ignore[arg-type]
    stage.log_in("8001", "201")
    caller = stage.ring_in(number="13800000009")
    stage.run(500)
    stage.press(caller, "11")
    stage.run(9_000)
    assert stage.talking(caller, stage.leg_at("201"))
    return stage, caller


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("wish", ["tell", "block"])
def test_the_call_ends_with_a_tag_and_the_shift_leader_knows(wish: str, restart: bool) -> None:
    stage, caller = in_queue(wish, restart=restart)
    contact = stage.board.contact_of(caller)
    stage.press(stage.leg_at("201"), "*19")
    stage.run(3_000)
    state = stage.only()
    assert caller not in stage.legs
    assert (state.first_to_leave, state.evidence.kind, state.evidence.detail) == (Side.AGENT, "command", "nuisance")
    (told,) = [one for one in stage.notices if isinstance(one, NuisanceEnded)]
    assert (told.contact, told.by, told.agent, told.blocked) == (contact, "201", "8001", wish == "block")
    assert bool(stage.board.blocked) is (wish == "block")
    events = [one.event for _, _, one in stage.done if isinstance(one, do.QueueLog)]
    assert events.count("COMPLETEAGENT") == 1 and state.rating == 0 and "rate.ask" not in stage.heard[caller]
    assert stage.status("8001") in ("wrap-up", "ready")
    stage.run(60_000)
    stage.at_rest()


def test_it_can_be_switched_off_and_colleagues_are_not_ended_so() -> None:
    stage, caller = in_queue("off")
    stage.press(stage.leg_at("201"), "*19")
    stage.run(3_000)
    assert stage.talking(caller, stage.leg_at("201"))
    stage = Stage(replace(config(), calling=Calling()))
    one = stage.dial("201", "202")
    stage.run(4_000)
    stage.press(one, "*19")
    stage.run(2_000)
    assert stage.talking(one, stage.leg_at("202"))


def test_who_consults_a_third_party_ends_neither() -> None:
    stage, caller = in_queue("block")
    agent = stage.leg_at("201")
    stage.press(agent, "*3")
    stage.run(500)
    stage.press(agent, "9123456")
    stage.run(12_000)
    far = stage.leg_at("line/2") or stage.leg_at("line/1")
    assert far and stage.talking(agent, far)
    stage.press(agent, "*19")
    stage.run(2_000)
    assert caller in stage.legs and agent in stage.legs and not stage.board.blocked
    assert [one for one in stage.notices if isinstance(one, NuisanceEnded)] == []


def test_an_emergency_call_is_never_ended_so() -> None:
    stage = Stage(config())
    phone = stage.dial("201", "110")
    stage.run(8_000)
    assert stage.talking(phone, stage.leg_at("line/1"))
    stage.press(phone, "*19")
    stage.run(3_000)
    assert stage.talking(phone, stage.leg_at("line/1"))
