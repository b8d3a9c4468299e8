"""Pick-up by code, by group and of the very call (RFC 3891), and taking over one's own call, in the switchboard."""

from __future__ import annotations

import msgspec
import pytest

from firmware.call import actions as do
from firmware.call.model import Cause, Evidence, LegEnded, LegKind, LegOffered, Party
from firmware.call.routing import Routing
from firmware.config.schema.people import Extension
from tests.unit.call_stage import EMERGENCY, Phone, Stage, config


def grouped(**groups: list[str]) -> Stage:
    """A branch whose extensions "xNNN" are in these groups, all others in none."""
    base = config()
    extensions = {n: msgspec.structs.replace(one, group=groups.get(f"x{n}", [])) for n, one in base.extensions.items()}
    return Stage(config(extensions=extensions))


def causes(stage: Stage) -> dict[str, Cause | None]:
    return {leg.endpoint: leg.cause for state in stage.closed.values() for leg in state.legs.values()}


def records(stage: Stage, kind: str) -> list[do.Record]:
    return [one for _, _, one in stage.done if isinstance(one, do.Record) and one.kind == kind]


def replace(stage: Stage, extension: str, leg: str, *, early_only: bool = False) -> str:
    """An INVITE with Replaces of `extension`, which names the call of `leg`."""
    new = stage._new("x", extension, LegKind.SIP)
    stage.give(LegOffered(new, stage.now, LegKind.SIP, extension, Party(extension), "202", -1, replaces=leg, early_only=early_only))
    return new


@pytest.mark.parametrize("by", ["203", "103"])
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("code", ["**202", "*8", "**202#"])
def test_a_colleagues_call_is_answered_by_code(by: str, restart: bool, code: str) -> None:
    stage = Stage(restart=restart)
    stage.phones["202"] = Phone(answer_ms=-1)
    caller = stage.dial("201", "202")
    stage.run(1000)
    rang = stage.leg_at("202")
    taker = stage.dial(by, code)
    stage.run(500)
    assert stage.talking(caller, taker) and rang not in stage.legs
    assert stage.board.contact_of(taker) == stage.board.contact_of(caller) and len(stage.board.contacts) == 1
    (picked,) = records(stage, "picked-up")
    assert picked.data == {"by": by, "of": "202", "rang": 1000}
    stage.leave(taker)
    stage.run(1000)
    stage.at_rest()
    assert causes(stage) == {"201": Cause.NORMAL, "202": Cause.ELSEWHERE, by: Cause.NORMAL}


def test_group_takes_what_has_rung_longest_in_ones_groups_only() -> None:
    stage = grouped(x202=["shop"], x203=["shop", "lab"], x204=["lab"], x101=["shop"])
    for number in ("202", "204", "101"):
        stage.phones[number] = Phone(answer_ms=-1)
    to_shop = stage.dial("201", "202")
    stage.run(1000)
    to_lab = stage.dial("102", "204")
    stage.run(1000)
    taker = stage.dial("101", "*8")
    stage.run(500)
    assert stage.talking(to_shop, taker)
    stage.leave(taker)
    stage.run(500)
    nothing = stage.dial("101", "*8")
    stage.run(500)
    assert nothing not in stage.legs and stage.board.contact_of(to_lab)
    refused = stage.dial("101", "**204")
    stage.run(500)
    assert refused not in stage.legs
    assert [one.data["reason"] for one in records(stage, "refused")] == ["nothing rings there", "101 and 204 share no pick-up group"]
    taker = stage.dial("203", "*8")
    stage.run(500)
    assert stage.talking(to_lab, taker)
    outsider = stage.dial("103", "**204")
    stage.run(500)
    assert outsider not in stage.legs


def test_the_phone_that_is_rung_for_a_transfer_is_picked_up() -> None:
    stage = Stage()
    stage.phones["202"], stage.phones["203"] = Phone(500), Phone(answer_ms=-1)
    caller = stage.dial("201", "202")
    stage.run(2000)
    agent = stage.leg_at("202")
    stage.press(agent, "*3203")
    stage.run(1000)
    taker = stage.dial("204", "**203")
    stage.run(500)
    assert stage.talking(agent, taker)
    stage.leave(agent)
    stage.run(500)
    assert stage.talking(caller, taker)
    stage.leave(taker)
    stage.run(1000)
    stage.at_rest()


def queue_rings(stage: Stage) -> str:
    """A caller from outside waits for sales; agent 8001's phone 202 rings: the caller's leg."""
    stage.phones["202"] = Phone(answer_ms=-1)
    stage.log_in("8001", "202")
    line = stage.ring_in()
    stage.run(4000)
    stage.press(line, "1")
    stage.run(1500)
    stage.press(line, "1")
    stage.run(3000)
    assert stage.leg_at("202")
    return line


def test_a_caller_of_a_queue_is_picked_up_by_an_agent_who_gets_the_wrap_up() -> None:
    stage = Stage()
    line = queue_rings(stage)
    stage.log_in("8003", "203")  # serves another queue: not offered, but may help
    taker = stage.dial("203", "**202")
    stage.run(500)
    assert stage.talking(line, taker) and stage.status("8001") == "ready" and stage.status("8003") == "talking"
    assert stage.state(line).agent == "8003" and not stage.board.floor.waiting("sales")
    stage.leave(line)
    stage.run(500)
    assert stage.status("8003") == "wrap-up"
    stage.run(20_000)
    stage.at_rest()


def test_whoever_gives_up_before_the_answer_leaves_the_caller_in_the_old_place() -> None:
    stage = Stage()
    line = queue_rings(stage)
    since = stage.state(line).queued
    taker = stage._new("x", "203", LegKind.SIP)
    stage.give(LegOffered(taker, stage.now, LegKind.SIP, "203", Party("203"), "**202"))
    stage.legs.pop(taker)
    stage.give(LegEnded(taker, stage.now, Cause.CANCELLED, Evidence("cancel"), True))
    stage.run(1000)
    state = stage.state(line)
    assert state.phase.value == "queued" and state.queued == since and stage.board.floor.waiting("sales")[0].since == since
    stage.leave(line)
    stage.run(20_000)
    stage.at_rest()


def test_a_lamp_names_the_very_call_and_each_refusal_has_its_cause() -> None:
    stage = grouped(x203=["lab"])
    stage.phones["202"] = Phone(answer_ms=-1)
    caller = stage.dial("201", "202")
    stage.run(1000)
    rang = stage.leg_at("202")

    def refused(extension: str, leg: str, **more: bool) -> Cause | None:
        new = replace(stage, extension, leg, **more)
        stage.run(500)
        return next(one.cause for state in stage.closed.values() for one in state.legs.values() if one.id == new)

    assert refused("203", rang) is Cause.REFUSED
    assert refused("204", "L-nobody") is Cause.UNREACHABLE
    assert refused("204", caller) is Cause.UNREACHABLE  # rings nowhere: it is the one that calls
    taker = replace(stage, "204", rang)
    stage.run(500)
    assert stage.talking(caller, taker)
    assert refused("204", rang) is Cause.REJECTED
    assert refused("204", taker, early_only=True) is Cause.BUSY
    assert refused("202", taker) is Cause.REFUSED
    assert stage.talking(caller, taker)


@pytest.mark.parametrize("side", ["caller", "called"])
def test_another_telephone_of_the_same_extension_goes_on_with_the_call(side: str) -> None:
    stage = Stage()
    stage.phones["202"] = Phone(500)
    legs = {"caller": stage.dial("201", "202")}
    stage.run(2000)
    legs["called"] = stage.leg_at("202")
    other = legs["called" if side == "caller" else "caller"]
    taker = replace(stage, stage.legs[legs[side]], legs[side])
    stage.run(500)
    assert stage.talking(other, taker) and legs[side] not in stage.legs
    stage.leave(other)
    stage.run(1000)
    stage.at_rest()
    ends = {leg.id: leg.cause for leg in stage.only().legs.values()}
    assert ends[legs[side]] is Cause.TRANSFERRED and ends[taker] is Cause.NORMAL


def test_an_agent_who_changes_telephones_stays_at_work() -> None:
    stage = Stage()
    stage.phones["202"] = Phone(500)
    stage.log_in("8001", "202")
    line = stage.ring_in()
    stage.run(4000)
    stage.press(line, "1")
    stage.run(1500)
    stage.press(line, "1")
    stage.run(12_000)
    phone = stage.leg_at("202")
    assert stage.talking(line, phone) and stage.status("8001") == "talking"
    taker = replace(stage, "202", phone)
    stage.run(500)
    assert stage.talking(line, taker) and stage.status("8001") == "talking"
    stage.leave(line)
    stage.run(500)
    assert stage.status("8001") == "wrap-up"


def test_an_agent_who_leaves_before_the_other_telephone_is_answered_is_free() -> None:
    stage = Stage()
    stage.phones["202"] = Phone(500)
    stage.log_in("8001", "202")
    line = stage.ring_in()
    stage.run(4000)
    stage.press(line, "1")
    stage.run(1500)
    stage.press(line, "1")
    stage.run(12_000)
    phone = stage.leg_at("202")
    taker = replace(stage, "202", phone)
    for leg in (taker, phone, line):
        stage.leave(leg)
    stage.run(30_000)
    assert stage.status("8001") == "ready"
    stage.at_rest()


def test_an_emergency_call_is_never_taken_out_of_its_hands() -> None:
    stage = Stage()
    stage.phones["line/1"] = Phone(500)
    caller = stage.dial("201", "110")
    stage.run(5000)
    assert stage.state(caller).emergency
    line = stage.leg_at("line/1")
    assert stage.talking(caller, line)
    taker = replace(stage, "201", caller)
    stage.run(500)
    assert taker not in stage.legs and stage.talking(caller, line)


def test_keys_of_a_pick_up_code_are_collected_one_by_one() -> None:
    routing = Routing(config(), EMERGENCY)
    assert [routing.dial_check("101", keys) for keys in ("*8", "**", "**2", "**20", "**202", "**202#", "**9")] == [
        "complete", "more", "more", "more", "complete", "complete", "impossible",
    ]  # fmt: skip
    assert (
        Routing(config(extensions={"20": Extension(kind="sip"), "202": Extension(kind="sip")}), EMERGENCY).dial_check("20", "**20")
        == "more"
    )
