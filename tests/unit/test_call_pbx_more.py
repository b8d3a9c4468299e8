"""Intercom, directory, redial of a call that was cut off, and the longest time of a call: the same from every kind of telephone."""

from __future__ import annotations

import msgspec
import pytest

from firmware.call import actions as do
from firmware.call.directory import keyed, matches
from firmware.call.model import Alert, Cause, Evidence, Side
from firmware.config.schema.calls import InboundRoute, OutboundRoute
from firmware.config.schema.features import DIALLED
from firmware.config.schema.pbx import Calling, Page, Room
from firmware.config.schema.people import Extension
from firmware.core.phones_causes import ALERT_INFO
from tests.unit.call_stage import Phone, Stage, config
from tests.unit.test_call_pbx import BOTH, KILLED, code, history, pair, site

NAMES = {"202": ("Anna Berg", ""), "203": ("王小明", "wang xiaoming"), "204": ("王芳", "wang fang"), "103": ("Bo Lü", "")}


def named() -> dict[str, Extension]:
    found = dict(config().extensions)
    for number, (name, spelled) in NAMES.items():
        found[number] = Extension(kind=found[number].kind, jack=found[number].jack, name=name, spelled=spelled)
    return found


# --- intercom ---------------------------------------------------------------------------------------------------------


@BOTH
def test_an_intercom_call_asks_the_telephone_to_answer_by_itself(own: str) -> None:
    stage = site()
    caller = stage.dial(own, "*52203")
    stage.run(3000)
    rung = [action for _, _, action in stage.done if isinstance(action, do.OriginateLeg)]
    assert [action.alert for action in rung] == [Alert.INTERCOM] and stage.talking(caller, stage.leg_at("203"))
    assert ("Call-Info", "<sip:intercom>;answer-after=0") in ALERT_INFO[Alert.INTERCOM]
    stage.leave(caller)
    stage.run(1000)
    stage.at_rest()


def test_an_intercom_call_is_refused_where_nobody_is_to_be_disturbed_and_sent_on_nowhere() -> None:
    stage = site()
    code(stage, "203", "*61204#")
    caller = stage.dial("201", "*52203")
    stage.run(3000)
    assert stage.talking(caller, stage.leg_at("203"))
    stage.leave(caller)
    stage.run(1000)
    code(stage, "203", "*65")
    caller = stage.dial("201", "*52203")
    stage.run(1000)
    assert caller not in stage.legs and not stage.leg_at("203") and not stage.leg_at("204")


@pytest.mark.parametrize("digits", ["*52201", "*5295551234", "*52110", "*52", "*52999"])
def test_intercom_reaches_other_extensions_only(digits: str) -> None:
    stage = site()
    caller = stage.dial("201", digits)
    stage.run(2000)
    assert caller not in stage.legs and not any(isinstance(action, do.OriginateLeg) for _, _, action in stage.done)


# --- directory --------------------------------------------------------------------------------------------------------


def test_letters_as_they_stand_on_the_keys() -> None:
    assert keyed("Wang") == "9264" and keyed("Lü") == "58" and keyed("O’Neill 2") == "6634552"
    assert matches(named(), "9264") == ["203", "204"]
    assert matches(named(), "92649") == ["203"] and matches(named(), "94266") == ["203"], "any word, and words run together"
    assert matches(named(), "2374") == ["202"] and matches(named(), "58") == ["103"] and matches(named(), "777") == []


@BOTH
@KILLED
def test_a_name_is_found_and_called(own: str, restart: bool) -> None:
    stage = Stage(config(extensions=named()), restart=restart)
    leg = stage.dial(own, "*51")
    stage.run(200)
    assert stage.heard[leg] == ["dir.ask"]
    stage.press(leg, "9264#")
    assert stage.heard[leg][-1] == "dir.hit"
    stage.press(leg, "#")
    stage.press(leg, "1")
    stage.run(4000)
    assert stage.talking(leg, stage.leg_at("204"))
    stage.leave(leg)
    stage.run(1000)
    stage.at_rest()


@BOTH
def test_no_such_name_and_no_choice_end_the_call(own: str) -> None:
    stage = Stage(config(extensions=named()))
    assert code(stage, own, "*51777#")[-1] == "dir.none"
    leg = stage.dial(own, "*51")
    stage.run(200)
    stage.press(leg, "9264#")
    stage.run(12_000)
    assert leg not in stage.legs
    stage.at_rest()


# --- redial of a call that was cut off --------------------------------------------------------------------------------


def cut(stage: Stage, leg: str, cause: Cause = Cause.LINE_FAULT) -> None:
    """The leg ends by a fault."""
    stage._end(leg, cause, Evidence("line-fault"), False)
    stage.run(1500)


@BOTH
@KILLED
def test_a_call_that_was_cut_off_is_dialled_again_and_linked(own: str, restart: bool) -> None:
    stage = site(restart=restart)
    first = stage.dial(own, "95551234")
    stage.run(8000)
    contact = stage.board.contact_of(first)
    cut(stage, stage.leg_at("line/1"))
    assert first not in stage.legs
    again = stage.dial(own, "*54")
    stage.run(8000)
    state = stage.state(again)
    line = state.legs[stage.leg_at("line/1")]
    assert (line.number, state.linked) == ("5551234", contact) and stage.talking(again, line.id)
    assert [one["linked"] for one in history(stage, "redial")] == [contact]
    stage.leave(again)
    stage.run(1500)
    assert code(stage, own, "*54")[-1] == "redial.none", "once only"
    stage.at_rest()


def test_a_caller_from_outside_is_called_back_with_the_access_code() -> None:
    stage = site(inbound=[InboundRoute(to="extension/101", greeting=False, notice=False)])
    caller = stage.ring_in(number="13800000001")
    stage.run(3000)
    cut(stage, caller)
    again = stage.dial("101", "*54")
    stage.run(8000)
    assert stage.state(again).called == "913800000001"


@BOTH
def test_what_ended_by_hanging_up_or_long_ago_is_not_dialled(own: str) -> None:
    stage = site()
    first = stage.dial(own, "95551234")
    stage.run(8000)
    stage.leave(stage.leg_at("line/1"))
    stage.run(1500)
    assert code(stage, own, "*54")[-1] == "redial.none"
    first = stage.dial(own, "95551234")
    stage.run(8000)
    assert first in stage.legs
    cut(stage, stage.leg_at("line/1"))
    stage.run(3_601_000)
    assert code(stage, own, "*54")[-1] == "redial.none"


# --- longest time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", ["101", "201"])
@KILLED
def test_a_call_with_the_outside_ends_after_a_warning(own: str, restart: bool) -> None:
    stage = site(restart=restart, calling=Calling(most_minutes=5, warn_s=30))
    leg = stage.dial(own, "95551234")
    stage.run(8000)
    line = stage.leg_at("line/1")
    begun = stage.state(leg).connected
    stage.run(begun + 269_000 - stage.now)
    assert not any(isinstance(action, do.Chime) for _, _, action in stage.done)
    stage.run(2000)
    assert {action.leg for _, _, action in stage.done if isinstance(action, do.Chime)} == {leg, line}
    stage.run(31_000)
    assert leg not in stage.legs and stage.only().cause is Cause.TIMEOUT and stage.only().first_to_leave is Side.SYSTEM
    stage.at_rest()


@pytest.mark.parametrize(
    ("branch", "route", "own", "minutes"),
    [(5, -1, -1, 5), (5, 3, -1, 3), (5, -1, 2, 2), (5, 3, 2, 2), (5, 8, -1, 8), (5, 0, -1, 0), (5, -1, 0, 0), (5, 3, 0, 3), (0, -1, 4, 4)],
)
def test_route_and_telephone_say_how_long_a_call_lasts(branch: int, route: int, own: int, minutes: int) -> None:
    extensions = dict(site().config.extensions)
    extensions["201"] = msgspec.structs.replace(extensions["201"], most_minutes=own)
    stage = site(calling=Calling(most_minutes=branch, warn_s=30), extensions=extensions, outbound=[OutboundRoute(most_minutes=route)])
    leg = stage.dial("201", "95551234")
    stage.run(8000)
    begun = stage.state(leg).connected
    if not minutes:
        stage.run(7_200_000)
        assert leg in stage.legs
        return
    stage.run(begun + minutes * 60_000 - 200 - stage.now)
    assert leg in stage.legs and any(isinstance(action, do.Chime) for _, _, action in stage.done)
    stage.run(1000)
    assert leg not in stage.legs and stage.only().cause is Cause.TIMEOUT


@KILLED
def test_after_a_transfer_it_is_the_limit_of_who_talks_now(restart: bool) -> None:
    extensions = dict(site().config.extensions)
    extensions["202"] = msgspec.structs.replace(extensions["202"], most_minutes=2)
    extensions["203"] = msgspec.structs.replace(extensions["203"], most_minutes=0)
    calling, inbound = Calling(most_minutes=10, warn_s=30), [InboundRoute(to="extension/201", greeting=False, notice=False)]
    stage = site(restart=restart, calling=calling, extensions=extensions, inbound=inbound)
    caller = stage.ring_in()
    stage.run(20_000)
    handed_over(stage, "201", "202")
    stage.run(300_000)
    assert caller not in stage.legs, "202 may talk for two minutes"
    stage.run(5000)
    stage.at_rest()
    caller = stage.ring_in()
    stage.run(500_000)
    handed_over(stage, "201", "202")
    stage.run(20_000)
    chimes = [at for at, _, action in stage.done if isinstance(action, do.Chime)]
    assert caller in stage.legs and chimes[-1] > stage.now - 26_000, "over its time at once, but warned"
    stage.run(15_000)
    assert caller not in stage.legs
    stage.run(5000)
    caller = stage.ring_in()
    stage.run(20_000)
    handed_over(stage, "201", "203")
    stage.run(3_600_000)
    assert caller in stage.legs


def handed_over(stage: Stage, by: str, to: str) -> None:
    own = stage.leg_at(by)
    assert own
    stage.press(own, "*3" + to)
    stage.run(5000)
    stage.leave(own)
    stage.run(500)


@pytest.mark.parametrize(("own", "number"), [("101", "110"), ("201", "202")])
def test_emergency_and_internal_calls_have_no_longest_time(own: str, number: str) -> None:
    stage = site(calling=Calling(most_minutes=1))
    if number == "202":
        pair(stage, own, number)
    else:
        stage.dial(own, number)
    stage.run(600_000)
    assert stage.legs, "they talk on"


def test_phones_that_answer_late_are_not_forgotten() -> None:
    """An intercom call that the telephone does not answer by itself rings as any other, and ends."""
    stage = site()
    stage.phones["203"] = Phone(answer_ms=-1)
    caller = stage.dial("201", "*52203")
    stage.run(40_000)
    assert caller not in stage.legs
    stage.at_rest()




@pytest.mark.parametrize("name", DIALLED)
def test_every_code_does_the_same_on_both_kinds_of_telephone(name: str) -> None:
    """Code alone, then keys that fit most: what is said and written is equal, whoever brought the code."""
    seen = []
    for own in ("101", "201"):
        stage = Stage(config(extensions=named(), speed_dials={"01": "203"}, rooms={"one": Room(number="700")},
                             pages={"all": Page(members=["202", "203"])}))  # fmt: skip
        parker, _ = pair(stage, "204", "103")
        stage.press(parker, "*70")
        stage.run(3000)
        rung = stage.ring_in()
        stage.press(rung, "2")
        stage.press(rung, "0")                       # rings at 101, or is busy there
        leg = stage.dial(own, getattr(stage.config.features, name) + {"unpark": "1", "speed_dial": "01", "intercom": "203",
                                                                      "pickup": "202"}.get(name, ""))
        stage.run(300)
        stage.press(leg, "1")
        stage.press(leg, "#")
        stage.run(20_000)
        mine = [action for _, _, action in stage.done if isinstance(action, do.Record) and action.leg == leg]
        assert mine or stage.heard.get(leg), "the code does something"
        seen.append((stage.heard.get(leg), [(one.kind, one.data.get("result")) for one in mine]))
    assert seen[0] == seen[1]
