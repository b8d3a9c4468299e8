"""Forwards, do-not-disturb, parking, groups, rooms, three-party calls, speed dial, night key: the same from every kind of telephone."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.call import actions as do
from firmware.call.forwards import Wish
from firmware.call.model import Cause, LegHeld, LegResumed
from firmware.config.schema.calls import InboundRoute
from firmware.config.schema.pbx import Calling, Group, Parking, Room
from firmware.config.schema.people import Extension
from tests.unit.call_stage import Phone, Stage, config

BOTH = pytest.mark.parametrize("own", ["101", "201"])       # an analog telephone and a SIP phone
KILLED = pytest.mark.parametrize("restart", [False, True])


def site(**changes: Any) -> Stage:
    restart = changes.pop("restart", False)
    return Stage(config(**changes), restart=restart)


def code(stage: Stage, own: str, digits: str) -> list[str]:
    """Dial a code in one go as a SIP phone may, or code first and keys then; what is said."""
    if own.startswith("2"):
        leg = stage.dial(own, digits)
        stage.run(200)
    else:
        leg = stage.dial(own, digits[:3])
        stage.run(200)
        stage.press(leg, digits[3:])
    stage.run(12_000)
    assert leg not in stage.legs, "the code's call ends by itself"
    return stage.heard[leg]


def pair(stage: Stage, a: str = "201", b: str = "102") -> tuple[str, str]:
    one = stage.dial(a, b)
    stage.run(3000)
    other = stage.leg_at(b)
    assert stage.talking(one, other)
    return one, other


def inside(stage: Stage, room: str) -> set[str]:
    """Legs in a mixer, from the actions."""
    found: set[str] = set()
    for _, _, action in stage.done:
        if isinstance(action, do.EnterRoom) and action.room == room:
            found.add(action.leg)
        elif isinstance(action, do.LeaveRoom) and action.room == room:
            found.discard(action.leg)
    return found & set(stage.legs)


def history(stage: Stage, kind: str) -> list[dict[str, Any]]:
    return [action.data for _, _, action in stage.done if isinstance(action, do.Record) and action.kind == kind]


# --- forwards and do-not-disturb --------------------------------------------------------------------------------------


@BOTH
@KILLED
def test_a_forward_is_set_told_and_switched_off(own: str, restart: bool) -> None:
    stage = site(restart=restart)
    assert code(stage, own, "*61204#")[-1] == "fwd.on"
    assert stage.board.wishes[own] == Wish(always="204")
    caller = stage.dial("202", own)
    stage.run(3000)
    assert stage.talking(caller, stage.leg_at("204")) and not stage.leg_at(own)
    stage.leave(caller)
    stage.run(1000)
    assert code(stage, own, "*61*")[-1] == "fwd.on"
    assert code(stage, own, "*61#")[-1] == "fwd.off"
    assert code(stage, own, "*61*")[-1] == "fwd.off"
    assert own not in stage.board.wishes
    stage.at_rest()


@BOTH
@pytest.mark.parametrize("number", ["110", "555", "own"])
def test_a_forward_to_what_cannot_be_dialled_is_refused(own: str, number: str) -> None:
    stage = site()
    assert code(stage, own, f"*61{own if number == 'own' else number}#")[-1] == "fwd.bad"
    assert not stage.board.wishes
    stage.at_rest()


@pytest.mark.parametrize(("dialled", "phone", "cause"), [
    ("*62204#", Phone(reject=Cause.BUSY), "busy"), ("*63204#", Phone(answer_ms=-1), "no answer"),
    ("*63204#", Phone(reject=Cause.UNREACHABLE), "not registered"),
])  # fmt: skip
def test_a_forward_for_busy_or_no_answer(dialled: str, phone: Phone, cause: str) -> None:
    stage = site()
    code(stage, "203", dialled)
    stage.phones["203"] = phone
    caller = stage.dial("201", "203")
    stage.run(35_000)
    assert stage.talking(caller, stage.leg_at("204"))
    stage.leave(caller)
    stage.run(1000)
    stage.at_rest()


def test_a_forward_of_busy_is_not_for_no_answer() -> None:
    stage = site()
    code(stage, "203", "*62204#")
    stage.phones["203"] = Phone(answer_ms=-1)
    caller = stage.dial("201", "203")
    stage.run(40_000)
    assert caller not in stage.legs and not history(stage, "forwarded")


def test_a_forward_outside_is_at_the_expense_of_who_forwards_and_within_its_class() -> None:
    stage = site()
    code(stage, "203", "*6195551234#")
    caller = stage.dial("201", "203")
    stage.run(6000)
    line = stage.leg_at("line/1")
    assert stage.talking(caller, line) and stage.state(caller).legs[line].payer == "203"
    stage.leave(caller)
    stage.run(1000)
    # its class is taken away afterwards: the telephone itself rings again
    locked = dict(stage.config.extensions) | {"203": Extension(kind="sip", locked=True)}
    stage.board.configure(config(extensions=locked), {})
    caller = stage.dial("201", "203")
    stage.run(3000)
    assert stage.talking(caller, stage.leg_at("203"))
    assert history(stage, "forward-failed")


def test_two_who_forward_to_each_other_are_both_reached() -> None:
    stage = site()
    code(stage, "203", "*61204#")
    code(stage, "204", "*61203#")
    caller = stage.dial("201", "203")
    stage.run(3000)
    assert stage.talking(caller, stage.leg_at("204"))


@BOTH
@KILLED
def test_do_not_disturb(own: str, restart: bool) -> None:
    stage = site(restart=restart)
    assert code(stage, own, "*65")[-1] == "dnd.on"
    caller = stage.dial("202", own)
    stage.run(2000)
    assert caller not in stage.legs and not stage.leg_at(own)
    outside = stage.ring_in()
    stage.leave(outside)
    called = stage.dial(own, "202")
    stage.run(3000)
    assert stage.talking(called, stage.leg_at("202")), "who does not want to be disturbed may call"
    stage.leave(called)
    stage.run(1000)
    assert code(stage, own, "*65")[-1] == "dnd.off"
    caller = stage.dial("202", own)
    stage.run(3000)
    assert stage.talking(caller, stage.leg_at(own))


def test_do_not_disturb_does_not_hold_an_emergency_call_back_off() -> None:
    stage = site()
    code(stage, "101", "*65")
    help_call = stage.dial("101", "110")
    stage.run(6000)
    line = stage.state(help_call).line
    stage.leave(help_call)
    stage.run(2000)
    back = stage.ring_in(line, number="110")
    stage.run(3000)
    assert stage.talking(back, stage.leg_at("101"))


def test_do_not_disturb_and_a_forward_for_busy() -> None:
    stage = site()
    code(stage, "203", "*65")
    code(stage, "203", "*62204#")
    caller = stage.dial("201", "203")
    stage.run(3000)
    assert stage.talking(caller, stage.leg_at("204"))
    stage.leave(caller)
    stage.run(1000)
    assert code(stage, "203", "*60")[-1] == "fwd.off"
    assert stage.board.wishes["203"] == Wish(dnd=True), "ending forwards leaves do-not-disturb"


# --- parking ----------------------------------------------------------------------------------------------------------


@BOTH
@KILLED
@pytest.mark.parametrize("taker", ["103", "204"])
def test_a_parked_call_is_taken_back_anywhere(own: str, restart: bool, taker: str) -> None:
    stage = site(restart=restart)
    a, b = pair(stage, own, "202" if own == "201" else "102")
    stage.press(a, "*70")
    assert stage.heard[a][-1] == "park.at" and stage.heard[b][-1] == "music"
    stage.run(3000)
    assert a not in stage.legs, "the parker is free when the place was said"
    found = stage.dial(taker, "*711")
    stage.run(500)
    assert stage.talking(b, found)
    stage.leave(b)
    stage.run(1000)
    assert found not in stage.legs
    assert [one["place"] for one in history(stage, "parked")] == ["1"]


def test_a_parked_outside_call_keeps_its_record_and_two_have_two_places() -> None:
    stage = site(inbound=[InboundRoute(to="extension/101", greeting=False, notice=False)])
    first = stage.ring_in("line/1")
    stage.run(3000)
    stage.press(stage.leg_at("101"), "*70")
    stage.run(3000)
    second = stage.ring_in("line/2", number="2")
    stage.run(3000)
    stage.press(stage.leg_at("101"), "*70")
    stage.run(3000)
    assert {stage.state(first).park.place, stage.state(second).park.place} == {"1", "2"}
    taken = stage.dial("202", "*712")
    stage.run(500)
    assert stage.talking(second, taken) and stage.board.contact_of(taken) == stage.board.contact_of(second)
    assert code(stage, "203", "*717") == code(stage, "104", "*717") == ["park.empty"]
    stage.leave(first)
    stage.run(500)
    assert stage.closed[next(one for one in stage.closed if first in stage.closed[one].legs)].cause is Cause.ABANDONED
    stage.leave(taken)
    stage.run(1000)
    stage.at_rest()


@KILLED
def test_a_parked_call_that_nobody_takes_comes_back_then_goes_on(restart: bool) -> None:
    conf = {"inbound": [InboundRoute(to="extension/101", greeting=False, notice=False)],
            "parking": Parking(timeout_s=30, recalls=2, otherwise="extension/204")}
    stage = site(restart=restart, **conf)
    caller = stage.ring_in()
    stage.run(3000)
    stage.press(stage.leg_at("101"), "*70")
    stage.phones["101"] = Phone(answer_ms=-1)
    stage.run(31_000)
    assert stage.leg_at("101"), "the parker is rung"
    stage.run(31_000)
    stage.phones["101"] = Phone(answer_ms=1000)
    stage.run(32_000)
    assert stage.talking(caller, stage.leg_at("101"))
    stage.press(stage.leg_at("101"), "*70")
    stage.phones["101"] = Phone(answer_ms=-1)
    stage.run(125_000)
    assert stage.talking(caller, stage.leg_at("204")), "after the last recall it goes to the site's destination"
    stage.leave(caller)
    stage.run(1000)
    stage.at_rest()


def test_the_last_place_is_taken_and_the_two_talk_on() -> None:
    stage = site(parking=Parking(places=1))
    a, _ = pair(stage, "201", "202")
    stage.press(a, "*70")
    stage.run(3000)
    c, d = pair(stage, "203", "204")
    stage.press(c, "*70")
    assert stage.heard[c][-1] == "park.full"
    stage.run(3000)
    assert stage.talking(c, d)


# --- groups -----------------------------------------------------------------------------------------------------------


def grouped(strategy: str, **changes: Any) -> Stage:
    group = Group(number="600", members=["202", "203", "204"], strategy=strategy, ring_s=10, **changes)
    return site(groups={"desk": group}, inbound=[InboundRoute(to="group/desk", greeting=False, notice=False)])


@pytest.mark.parametrize("who", ["101", "201", "line"])
def test_all_of_a_group_ring_and_the_first_has_the_call(who: str) -> None:
    stage = grouped("all")
    stage.phones["202"], stage.phones["203"], stage.phones["204"] = Phone(5000), Phone(2000), Phone(reject=Cause.BUSY)
    caller = stage.ring_in() if who == "line" else stage.dial(who, "600")
    stage.run(500)
    assert stage.leg_at("202") and stage.leg_at("203")
    stage.run(3000)
    assert stage.talking(caller, stage.leg_at("203")) and not stage.leg_at("202")
    elsewhere = [action for _, _, action in stage.done if isinstance(action, do.HangUpLeg) and action.cause is Cause.ELSEWHERE]
    assert len(elsewhere) == 1
    stage.leave(caller)
    stage.run(1000)
    stage.at_rest()


@KILLED
@pytest.mark.parametrize(("strategy", "later"), [("order", set()), ("memory", {"202"})])
def test_a_group_in_order_and_with_memory(strategy: str, later: set[str], restart: bool) -> None:
    stage = grouped(strategy)
    stage.restart = restart
    for one in ("202", "203", "204"):
        stage.phones[one] = Phone(answer_ms=-1)
    stage.dial("201", "600")
    stage.run(5000)
    assert {one for one in ("202", "203", "204") if stage.leg_at(one)} == {"202"}
    stage.run(10_000)
    assert {one for one in ("202", "203", "204") if stage.leg_at(one)} == {"203"} | later
    stage.run(20_000)
    assert not stage.legs
    stage.at_rest()


def test_members_who_are_busy_or_not_to_be_disturbed_are_passed_over_and_nobody_leads_on() -> None:
    stage = grouped("order", otherwise="extension/101")
    code(stage, "202", "*65")
    busy, _ = pair(stage, "203", "104")
    stage.phones["204"] = Phone(answer_ms=-1)
    caller = stage.ring_in()
    stage.run(1000)
    assert stage.leg_at("204") and not stage.leg_at("202")
    stage.run(12_000)
    assert stage.talking(caller, stage.leg_at("101"))
    stage.leave(busy)
    stage.leave(caller)
    stage.run(1000)
    stage.at_rest()


@pytest.mark.parametrize("how", ["*3", "flash"])
def test_a_call_is_transferred_to_a_group(how: str) -> None:
    stage = grouped("all")
    stage.board.configure(config(groups=stage.config.groups, inbound=[InboundRoute(to="extension/101", greeting=False, notice=False)]), {})
    caller = stage.ring_in()
    stage.run(3000)
    clerk = stage.leg_at("101")
    if how == "flash":
        stage.flash(clerk)
        stage.press(clerk, "600")
    else:
        stage.press(clerk, "*3600")
    stage.run(3000)
    assert clerk not in stage.legs and stage.leg_at("202")
    talks = next(one for one in ("202", "203", "204") if stage.leg_at(one) and stage.talking(caller, stage.leg_at(one)))
    stage.leave(stage.leg_at(talks))
    stage.run(1000)
    stage.at_rest()


# --- three-party calls and rooms --------------------------------------------------------------------------------------


def three(stage: Stage, own: str, how: str) -> tuple[str, str, str]:
    """`own` talks with 202, consults 204 and joins."""
    a, b = pair(stage, own, "202")
    if how == "flash":
        stage.flash(a)
        stage.press(a, "204")
    else:
        stage.press(a, "*3204")
    stage.run(3000)
    target = stage.leg_at("204")
    assert stage.talking(a, target)
    if how == "flash":
        stage.flash(a)
    else:
        stage.press(a, "*72")
    assert inside(stage, f"call/{stage.board.contact_of(a)}") == {a, b, target} and not stage.bridges
    return a, b, target


@pytest.mark.parametrize(("own", "how"), [("101", "flash"), ("101", "code"), ("201", "code")])
@KILLED
@pytest.mark.parametrize("leaver", [0, 1, 2])
def test_three_talk_and_whoever_leaves_the_others_talk_on(own: str, how: str, leaver: int, restart: bool) -> None:
    stage = site(restart=restart)
    parties = three(stage, own, how)
    stage.run(5000)
    stage.leave(parties[leaver])
    stage.run(500)
    left = [one for index, one in enumerate(parties) if index != leaver]
    assert stage.talking(*left)
    stage.leave(left[0])
    stage.run(1000)
    stage.at_rest()


def test_flash_drops_the_third_and_hold_takes_a_party_out() -> None:
    stage = site()
    a, b, target = three(stage, "101", "flash")
    stage.give(LegHeld(b, stage.now))
    assert inside(stage, f"call/{stage.board.contact_of(a)}") == {a, target}
    stage.give(LegResumed(b, stage.now))
    assert inside(stage, f"call/{stage.board.contact_of(a)}") == {a, b, target}
    stage.flash(a)
    stage.run(500)
    assert stage.talking(a, b) and target not in stage.legs


def test_flash_goes_back_where_the_site_wants_that() -> None:
    stage = site(calling=Calling(flash="back"))
    a, b = pair(stage, "101", "202")
    stage.flash(a)
    stage.press(a, "204")
    stage.run(3000)
    stage.flash(a)
    assert stage.talking(a, b)


ROOMS = {"rooms": {"board": Room(number="700", pin="4711", most=3), "open": Room(number="701")}}


@KILLED
def test_a_conference_with_pin_fills_announces_and_empties(restart: bool) -> None:
    stage = site(restart=restart, **ROOMS)
    first = stage.dial("101", "700")
    stage.run(200)
    assert stage.heard[first] == ["room.pin"]
    stage.press(first, "4711#")
    assert stage.heard[first][-1] == "room.first"
    stage.run(3000)
    assert stage.heard[first][-1] == "music"
    second = stage.dial("201", "700")
    stage.run(200)
    stage.press(second, "1#")
    assert stage.heard[second][-2:] == ["room.bad", "room.pin"]
    stage.press(second, "4711#")
    assert inside(stage, "room/board") == {first, second}
    assert [action.leg for _, _, action in stage.done if isinstance(action, do.Chime)] == [first]
    third = stage.dial("202", "700")
    stage.run(200)
    stage.press(third, "4711#")
    assert len(inside(stage, "room/board")) == 3
    late = stage.dial("203", "700")
    stage.run(200)
    stage.press(late, "4711#")
    assert stage.heard[late][-1] == "room.full"
    stage.run(3000)
    assert late not in stage.legs
    for leg in (first, second, third):
        stage.leave(leg)
    stage.run(1000)
    stage.at_rest()


def test_three_wrong_pins_end_the_call_and_an_open_room_asks_for_none() -> None:
    stage = site(**ROOMS, inbound=[InboundRoute(to="room/open", greeting=False, notice=False)])
    leg = stage.dial("101", "700")
    stage.run(200)
    for _ in range(3):
        stage.press(leg, "9#")
    stage.run(4000)
    assert leg not in stage.legs
    caller = stage.ring_in()
    phone = stage.dial("201", "701")
    stage.run(3000)
    assert inside(stage, "room/open") == {caller, phone}


# --- speed dial, night key, hold --------------------------------------------------------------------------------------


@BOTH
def test_speed_dials_of_the_site_and_of_an_extension(own: str) -> None:
    extensions = dict(config().extensions)
    extensions[own] = Extension(kind=extensions[own].kind, jack=extensions[own].jack, speed_dials={"02": "204"})
    stage = site(extensions=extensions, speed_dials={"01": "95551234", "02": "203"})
    leg = stage.dial(own, "*5002")
    stage.run(3000)
    assert stage.talking(leg, stage.leg_at("204"))
    stage.leave(leg)
    stage.run(1000)
    leg = stage.dial(own, "*5001")
    stage.run(6000)
    line = stage.leg_at("line/1")
    assert stage.talking(leg, line) and stage.state(leg).legs[line].number == "5551234"
    stage.leave(leg)
    stage.run(1000)
    unknown = stage.dial(own, "*5077")
    stage.run(500)
    assert unknown not in stage.legs
    stage.at_rest()


@BOTH
def test_the_night_key(own: str) -> None:
    stage = site()
    assert code(stage, own, "*56")[-1] == "night.on" and stage.board.night.mode == "night"
    assert code(stage, own, "*56")[-1] == "night.off" and stage.board.night.mode == "auto"
    stage.board.configure(config(extensions={**stage.config.extensions, own: Extension(kind="sip", locked=True)}), {})
    assert code(stage, own, "*56")[-1] == "num.refused" and stage.board.night.mode == "auto"


@BOTH
def test_whoever_holds_by_code_is_reminded_and_rung_again_after_hanging_up(own: str) -> None:
    stage = site()
    a, b = pair(stage, own, "202")
    stage.press(a, "*2")
    stage.run(250_000)
    assert [action.leg for _, _, action in stage.done if isinstance(action, do.Chime)] == [a, a]
    stage.leave(a)
    stage.run(1000)
    assert stage.leg_at(own) not in ("", a) and stage.heard[b][-1] == "music"
    stage.run(3000)
    assert stage.talking(b, stage.leg_at(own))
    stage.leave(b)
    stage.run(1000)
    stage.at_rest()


@pytest.mark.parametrize(("digits", "result"), [
    ("*7", "more"), ("*71", "more"), ("*711", "complete"), ("*710", "impossible"), ("*50", "more"), ("*501", "more"),
    ("*5012", "complete"), ("*61", "complete"), ("60", "more"), ("600", "complete"), ("700", "complete"), ("*56", "complete"),
])  # fmt: skip
def test_when_a_code_or_number_is_whole(digits: str, result: str) -> None:
    stage = site(groups={"desk": Group(number="600", members=["201"])}, **ROOMS)
    assert stage.board.routing.dial_check("101", digits) == result
