"""Calls over trunks as the switchboard sees them: fail-over between trunks and lines, numbers that lead in, the toll guard."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.call import actions as do
from firmware.call.events import TollNotice
from firmware.call.model import Cause, EndpointState, Evidence, LegEnded, LegForwarded, LegKind, LegOffered, LegReferred, Party
from firmware.call.state import Kind
from firmware.call.times import LocalTime
from firmware.call.tollguard import Asked, TollGuard
from firmware.config.schema.calls import InboundRoute, OutboundRoute
from firmware.config.schema.people import Extension
from firmware.config.schema.recording import Recording, RecordRule
from firmware.config.schema.trunks import Passage, Toll, Trunk
from tests.unit.call_stage import Phone, Stage, config

TRUNKS = {"a": Trunk(domain="a.example", kind="static"), "b": Trunk(domain="b.example", kind="static", emergency=False)}
BOTH = OutboundRoute(trunks=["a", "b"])
ABROAD = OutboundRoute(prefix="9", pattern="00.", permission="international", trunks=["a"])
PASSAGE = {"CN": Passage(break_out=True, permit="a licence")}


def stage(*routes: OutboundRoute, **changes: Any) -> Stage:
    extensions = {str(200 + n): Extension(kind="sip", permission="international") for n in (1, 2, 3, 4)}
    extensions["101"] = Extension(kind="fxs", jack="1")
    return Stage(config(**{"trunks": TRUNKS, "outbound": list(routes) or [BOTH], "extensions": extensions, **changes}))


def tried(made: Stage) -> list[str]:
    return [action.endpoint for _, _, action in made.done if isinstance(action, do.OriginateLeg)]


def hung_up(made: Stage, leg: str) -> list[Cause]:
    return [action.cause for _, _, action in made.done if isinstance(action, do.HangUpLeg) and action.leg == leg]


@pytest.mark.parametrize("failed", [Cause.LINE_FAULT, Cause.CONGESTION, Cause.SYSTEM])
def test_a_failing_trunk_gives_way_to_the_next_and_then_to_a_line(failed: Cause) -> None:
    made = stage()
    made.phones["trunk/a"] = made.phones["trunk/b"] = Phone(answer_ms=-1, reject=failed)
    leg = made.dial("201", "962345678")
    made.run(6_000)
    assert tried(made) == ["trunk/a", "trunk/b", "line/1"]
    assert made.talking(leg, made.leg_at("line/1"))


@pytest.mark.parametrize("said", [Cause.BUSY, Cause.REJECTED, Cause.UNREACHABLE, Cause.NO_ANSWER, Cause.REFUSED])
def test_what_the_called_party_says_is_final(said: Cause) -> None:
    made = stage()
    made.phones["trunk/a"] = Phone(reject=said)
    leg = made.dial("201", "962345678")
    made.run(2_000)
    assert tried(made) == ["trunk/a"] and hung_up(made, leg) == [said]


def test_lines_first_and_trunks_behind_them() -> None:
    made = stage(OutboundRoute(trunks=["a"], first="lines"))
    for line in (1, 2, 3, 4):
        made.give(EndpointState(f"line/{line}", made.now, "fault"))
    made.dial("201", "962345678")
    made.run(500)
    assert tried(made) == ["trunk/a"]


def test_a_trunk_that_is_down_is_passed_over_and_one_carries_many_calls() -> None:
    made = stage(OutboundRoute(trunks=["a", "b"], group=""))
    made.give(EndpointState("trunk/a", made.now, "fault"))
    legs = [made.dial(phone, "962345678") for phone in ("201", "202", "203")]
    made.run(3_000)
    assert tried(made) == ["trunk/b"] * 3 and all(leg in made.bridges for leg in legs)
    made.give(EndpointState("trunk/b", made.now, "busy"))
    leg = made.dial("204", "962345678")
    made.run(500)
    assert hung_up(made, leg) == [Cause.CONGESTION]


def test_a_far_end_that_rang_is_not_rung_over_another_way() -> None:
    made = stage()
    made.phones["trunk/a"] = Phone(answer_ms=-1)
    made.dial("201", "962345678")
    made.run(1_000)
    made.give(LegEnded(made.leg_at("trunk/a"), made.now, Cause.CONGESTION, Evidence("sip-500"), True))
    made.run(1_000)
    assert tried(made) == ["trunk/a"]


def test_an_emergency_call_uses_lines_then_trunks_and_is_called_back_over_the_trunk() -> None:
    made = stage()
    for line in (1, 2, 3, 4):
        made.give(EndpointState(f"line/{line}", made.now, "fault"))
    made.give(EndpointState("trunk/a", made.now, "busy"))
    leg = made.dial("201", "110")
    made.run(3_000)
    assert tried(made) == ["trunk/a"] and made.talking(leg, made.leg_at("trunk/a"))
    made.leave(leg)
    made.run(1_000)
    made.trunk_in("a", "88021", "0815")
    made.trunk_in("a", "88021", "110")
    assert [state.kind for state in made.board.contacts.values()] == [Kind.INBOUND, Kind.CALLBACK]


# --- in -----------------------------------------------------------------------------------------------------------------


def routes(*inbound: InboundRoute) -> Stage:
    china = Trunk(domain="a.example", kind="static", country_code="86")
    return stage(inbound=list(inbound), trunks={"a": china, "b": TRUNKS["b"]})


def extension_reached(made: Stage, trunk: str, called: str) -> str:
    made.trunk_in(trunk, called)
    made.run(300)
    return tried(made)[-1] if tried(made) else ""


def test_the_called_number_chooses_the_route() -> None:
    straight = {"greeting": False, "notice": False}
    made = routes(
        InboundRoute(trunks=["a"], did="+86107777", to="extension/202", **straight),
        InboundRoute(trunks=["a"], did="0108888", extension_digits=3, to="extension/203", **straight),
        InboundRoute(trunks=["a"], to="extension/204", **straight),
        InboundRoute(to="hangup"),
    )
    for called, extension in (("01077771", "202"), ("+86107777", "202"), ("010888201", "204"), ("0108888201", "201"), ("0108888999", "203"),
                              ("", "204")):  # fmt: skip
        assert extension_reached(made, "a", called) == extension, called
        for leg in list(made.legs):
            made.leave(leg)
        made.run(1_000)
        made.done.clear()
    assert extension_reached(made, "b", "0108888201") == ""
    made.run(1_000)


def test_a_route_for_lines_is_none_for_trunks() -> None:
    made = stage(inbound=[InboundRoute(lines=["1"], to="extension/201", greeting=False, notice=False)])
    leg = made.trunk_in("a", "1")
    made.run(500)
    assert hung_up(made, leg) == [Cause.UNREACHABLE]


@pytest.mark.parametrize(
    ("far", "called", "way"),
    [("none", "201", ""), ("internal", "201", "201"), ("internal", "962345678", ""), ("local", "962345678", "trunk/a"),
     ("local", "9001555", ""), ("international", "9001555", "trunk/a"), ("international", "110", ""), ("international", "9110", "")],
)  # fmt: skip
def test_how_far_the_other_side_may_dial_through_us(far: str, called: str, way: str) -> None:
    trunks = {"a": TRUNKS["a"], "b": Trunk(domain="b.example", kind="static", break_out=far)}  # type: ignore[arg-type]
    made = stage(
        ABROAD, OutboundRoute(pattern="NXXXXXXX", trunks=["a"], group=""), trunks=trunks, inbound=[InboundRoute(to="hangup")],
        passage=PASSAGE,
    )  # fmt: skip
    made.trunk_in("b", called)
    made.run(400)
    assert (tried(made) or [""])[0] == way


def test_a_call_is_not_sent_back_over_the_trunk_it_came_by() -> None:
    trunks = {"a": Trunk(domain="a.example", kind="static", break_out="local")}
    made = stage(
        OutboundRoute(pattern="NXXXXXXX", trunks=["a"], group=""), trunks=trunks, inbound=[InboundRoute(to="hangup")], passage=PASSAGE
    )
    made.trunk_in("a", "962345678")
    made.run(400)
    assert tried(made) == []


# --- the toll guard -------------------------------------------------------------------------------------------------------


def notices(made: Stage) -> list[str]:
    return [one.why for one in made.notices if isinstance(one, TollNotice)]


@pytest.mark.parametrize(
    ("local", "reached"),
    [(LocalTime(2026, 3, 2, 9, 0), True), (LocalTime(2026, 3, 2, 7, 59), False), (LocalTime(2026, 3, 2, 19, 0), False),
     (LocalTime(2026, 3, 1, 12, 0), False)],
)  # fmt: skip
def test_international_calls_need_office_hours(local: LocalTime, reached: bool) -> None:
    made = stage(ABROAD)
    made.local = local
    leg = made.dial("201", "9001555")
    made.run(500)
    assert bool(tried(made)) is reached
    if not reached:
        assert hung_up(made, leg) == [Cause.REFUSED] and notices(made) == ["after-hours"]


def test_one_extension_has_so_many_calls_at_once_and_in_an_hour_also_by_transfer() -> None:
    made = stage(toll=Toll(calls=1, calls_hour=2))
    first = made.dial("201", "962345678")
    made.run(3_000)
    second = made.dial("201", "962345679")
    made.run(500)
    assert hung_up(made, second) == [Cause.REFUSED] and notices(made) == ["calls"]
    made.leave(first)
    made.run(1_000)
    for number in ("962345671", "962345672"):
        leg = made.dial("201", number)
        made.run(3_000)
        made.leave(leg)
        made.run(1_000)
    assert notices(made) == ["calls", "calls-hour"] and tried(made) == ["trunk/a"] * 2
    made.dial("202", "962345678")
    made.run(500)
    assert tried(made) == ["trunk/a"] * 3


def test_the_minutes_of_a_day_are_spent_by_calls_that_go_on_and_that_are_over() -> None:
    made = stage(ABROAD, toll=Toll(international_minutes=2))
    first = made.dial("201", "9001555")
    made.run(70_000)
    made.leave(first)
    made.run(1_000)
    second = made.dial("202", "9001555")
    made.run(60_000)
    third = made.dial("203", "9001555")
    made.run(500)
    assert hung_up(made, third) == [Cause.REFUSED] and notices(made) == ["international-minutes"]
    assert second not in made.bridges, "the last minute is over"
    made.local = LocalTime(2026, 3, 3, 9, 0)
    made.dial("203", "9001555")
    made.run(3_000)
    assert len(tried(made)) == 3


def test_calls_that_go_on_share_what_is_left_of_the_day_and_midnight_gives_more() -> None:
    made = stage(ABROAD, toll=Toll(international_minutes=4))
    first, second = made.dial("201", "9001555"), made.dial("202", "9001556")
    made.run(118_000)
    assert first in made.bridges and second in made.bridges
    made.leave(second)
    made.run(100_000)
    assert first not in made.bridges
    made.local = LocalTime(2026, 3, 3, 9, 0)
    third = made.dial("201", "9001555")
    made.run(200_000)
    made.local = LocalTime(2026, 3, 4, 9, 0)
    made.run(60_000)
    assert third in made.bridges


def test_an_emergency_call_meets_no_limit_and_a_restart_forgets_none() -> None:
    made = Stage(config(trunks=TRUNKS, outbound=[BOTH], toll=Toll(calls_hour=1)), restart=True)
    made.leave(made.dial("201", "962345678"))
    made.run(1_000)
    refused = made.dial("201", "962345678")
    made.run(500)
    assert hung_up(made, refused) == [Cause.REFUSED]
    leg = made.dial("201", "110")
    made.run(4_000)
    assert leg in made.bridges


def test_far_more_calls_than_usual_are_told_once() -> None:
    guard = TollGuard(Toll(calls_hour=0, alarm_factor=3))
    local = LocalTime(2026, 3, 2, 9, 0)
    now = 0
    for _ in range(10):
        for _ in range(4):
            guard.begun(Asked("201", "1", False, 0, 0), local, now)
        now += 3_600_000
    assert guard.notices() == []
    for _ in range(20):
        guard.begun(Asked("201", "1", False, 0, 0), local, now)
    assert [one.why for one in guard.notices()] == ["sudden"]


def test_switching_the_appliance_off_and_on_gives_no_new_minutes() -> None:
    local, before = LocalTime(2026, 3, 2, 9, 0), TollGuard(Toll(international_minutes=1))
    before.ended(450_000, local, 500_000)
    before.ended(500_000, local, 501_000)
    after = TollGuard(Toll(international_minutes=1))
    after.keep(before.state)
    assert after.left(0, local, 10) == 60_000 - 51_000
    assert after.talked(1_000, local, 4_000) == 3_000


def test_the_tables_of_the_guard_are_bounded() -> None:
    guard = TollGuard(Toll())
    local = LocalTime(2026, 3, 2, 9, 0)
    for number in range(2_000):
        asked = Asked(str(number), "", True, 9, 0)
        guard.refused(asked, local, number)
        guard.begun(asked, local, number)
    assert len(guard.state.begun) <= 512 and len(guard.state.told) <= 512
    guard.refused(Asked("x", "", False, 0, 0), local, 40 * 24 * 3_600_000)
    assert len(guard.state.hours) <= 168 and not guard.state.begun


def handed_back(made: Stage, number: str = "962345678") -> tuple[str, str]:
    """A caller from the carrier talks with 201, who hands over to `number` over the same trunk: (caller, the far end reached)."""
    caller = made._new("x", "trunk/a", LegKind.TRUNK)
    made.give(LegOffered(caller, made.now, LegKind.TRUNK, "trunk/a", Party("13800000001"), "201", -1))
    made.run(4_000)
    phone = made.leg_at("201")
    assert made.talking(caller, phone)
    made.give(LegReferred(phone, made.now, "t1", number))
    made.run(4_000)
    far = made.leg_at("trunk/a")
    assert made.talking(caller, far)
    return caller, far


def released(made: Stage) -> list[tuple[str, str]]:
    return [(one.leg, one.other) for _, _, one in made.done if isinstance(one, do.ReleaseLegs)]


def with_release(**changes: Any) -> Stage:
    trunk = Trunk(domain="a.example", kind="static", release=True)
    inbound = [InboundRoute(to="extension/201", greeting=False, notice=False)]
    made = stage(ABROAD, OutboundRoute(trunks=["a"]), trunks={"a": trunk, **changes}, inbound=inbound)
    made.phones["201"] = made.phones["trunk/a"] = Phone(500)
    return made


def test_two_calls_of_one_trunk_are_given_back_to_the_carrier_where_it_may() -> None:
    made = with_release()
    caller, far = handed_back(made)
    assert released(made) == [(caller, far)]
    for leg in (caller, far):
        made._end(leg, Cause.TRANSFERRED, Evidence("command", detail="the carrier has joined them"), False)
    made.run(1_000)
    made.at_rest()
    assert made.only().cause is Cause.TRANSFERRED


def test_a_carrier_that_may_not_keeps_its_calls_here_and_so_do_calls_that_are_counted() -> None:
    made = with_release()
    made.config.trunks["a"] = Trunk(domain="a.example", kind="static")
    handed_back(made)
    assert released(made) == []
    made = with_release()
    handed_back(made, "90012345678")                     # abroad: the guard counts its minutes
    assert released(made) == []


def taken(made: Stage) -> list[tuple[str, str]]:
    """(leg that the carrier is to take back, leg that stands for the number), each before that was dialled."""
    return released(made)


def with_take_back(**changes: Any) -> Stage:
    trunk = Trunk(domain="a.example", kind="static", take_back=True)
    inbound = [InboundRoute(to="extension/201", greeting=False, notice=False)]
    made = stage(ABROAD, OutboundRoute(trunks=["a"]), trunks={"a": trunk}, inbound=inbound, **changes)
    made.phones["201"] = made.phones["trunk/a"] = Phone(500)
    return made


def sent_on(made: Stage, number: str = "962345678") -> tuple[str, str]:
    """A caller from the carrier talks with 201, which hands over to `number` by its own key: (caller, phone)."""
    caller = made._new("x", "trunk/a", LegKind.TRUNK)
    made.give(LegOffered(caller, made.now, LegKind.TRUNK, "trunk/a", Party("13800000001"), "201", -1))
    made.run(4_000)
    phone = made.leg_at("201")
    made.phones["trunk/a"] = Phone(answer_ms=-1)         # what stands for the number says nothing until the carrier does
    made.give(LegReferred(phone, made.now, "t1", number))
    made.run(500)
    return caller, phone


def reported(made: Stage) -> list[Cause | None]:
    return [one.cause for _, _, one in made.done if isinstance(one, do.ReportReferral)]


def test_the_carrier_takes_back_a_caller_who_is_handed_over() -> None:
    made = with_take_back()
    caller, _ = sent_on(made)
    ((back, number),) = taken(made)
    assert back == caller and made.legs[number] == "trunk/a" and reported(made) == []
    done = [one for _, _, one in made.done if isinstance(one, (do.ReleaseLegs, do.OriginateLeg))]
    assert isinstance(done[-1], do.OriginateLeg) and isinstance(done[-2], do.ReleaseLegs)        # asked before it would be dialled
    made._end(caller, Cause.TRANSFERRED, Evidence("command"), False)
    made.run(1_000)
    assert reported(made) == [None]
    made.at_rest()
    record = made.only()
    assert record.cause is Cause.TRANSFERRED


def test_what_the_carrier_cannot_reach_rings_at_the_telephone_again() -> None:
    made = with_take_back()
    caller, phone = sent_on(made)
    ((_, number),) = taken(made)
    made._end(phone, Cause.NORMAL, Evidence("bye"), True)
    made._end(number, Cause.BUSY, Evidence("sip-486"), True)
    made.run(4_000)
    assert made.talking(caller, made.leg_at("201"))


@pytest.mark.parametrize("greeted", [True, False])
def test_a_greeted_caller_who_meets_a_forward_is_taken_back_and_one_who_still_hears_ringing_is_not(greeted: bool) -> None:
    made = with_take_back()
    made.config.inbound[0] = InboundRoute(to="extension/202", greeting=greeted, notice=False)
    made.phones["202"] = made.phones["trunk/a"] = Phone(answer_ms=-1)
    caller = made._new("x", "trunk/a", LegKind.TRUNK)
    made.give(LegOffered(caller, made.now, LegKind.TRUNK, "trunk/a", Party("13800000001"), "201", -1))
    made.run(20_000)
    rung = made.leg_at("202")
    made.give(LegForwarded(rung, made.now, "962345678"))
    made._end(rung, Cause.TRANSFERRED, Evidence("sip-302"), True)
    made.run(500)
    assert tried(made)[-1] == "trunk/a" and [back for back, _ in taken(made)] == ([caller] if greeted else [])
    if greeted:
        made._end(caller, Cause.TRANSFERRED, Evidence("command"), False)
        made.run(1_000)
        made.at_rest()
        assert made.only().cause is Cause.TRANSFERRED


def test_no_call_is_taken_back_that_must_stay() -> None:
    made = with_take_back()
    sent_on(made, "90012345678")                         # abroad: the guard counts its minutes
    assert taken(made) == []
    made = with_take_back()
    made.config.trunks["a"] = Trunk(domain="a.example", kind="static")
    sent_on(made)                                        # the carrier may not
    assert taken(made) == []
    made = with_take_back(recording=Recording(rules=[RecordRule(record="always")]))
    sent_on(made)                                        # recorded
    assert taken(made) == []


def test_a_telephone_that_forwards_pays_for_the_call() -> None:
    straight = InboundRoute(to="extension/202", greeting=False, notice=False)
    made = stage(inbound=[straight], toll=Toll(calls=1))
    made.phones["202"] = Phone(answer_ms=-1)
    for number, way in (("962345678", "trunk/a"), ("962345679", "202")):
        made.trunk_in("b", "1")
        made.run(500)
        leg = made.leg_at("202")
        made.give(LegForwarded(leg, made.now, number))
        made.give(LegEnded(leg, made.now, Cause.TRANSFERRED, Evidence("sip-302"), True))
        del made.legs[leg]
        made.run(3_000)
        assert tried(made)[-1] == way
    assert [one.payer for one in made.notices if isinstance(one, TollNotice)] == ["202"]
