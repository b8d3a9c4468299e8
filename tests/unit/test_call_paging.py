"""Paging, forwards of group members, and the directory for callers from outside."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.call import actions as do
from firmware.call.directory import matches
from firmware.call.forwards import Wish
from firmware.call.model import Alert, Cause
from firmware.call.paging import Loudspeaker
from firmware.config.schema.calls import InboundRoute
from firmware.config.schema.pbx import Group, Page
from firmware.config.schema.people import Extension
from tests.unit.call_stage import Phone, Stage, config


def paged(**page: Any) -> Stage:
    settings = {"number": "790", "members": ["101", "201", "202", "203"]} | page
    return Stage(config(pages={"shop": Page(**settings)}), restart=True)


def rooms(stage: Stage) -> dict[str, tuple[bool, bool]]:
    """endpoint -> (hears, is heard) of everybody who is in the mixer now."""
    inside: dict[str, tuple[bool, bool]] = {}
    for _, contact, action in stage.done:
        if isinstance(action, do.EnterRoom | do.LeaveRoom):
            where = endpoint(stage, contact, action.leg)
            if isinstance(action, do.EnterRoom):
                inside[where] = action.hear, action.speak
            else:
                inside.pop(where, None)
    return inside


def endpoint(stage: Stage, contact: str, leg: str) -> str:
    state = stage.board.contacts.get(contact) or stage.closed[contact]
    return state.legs[leg].endpoint


def speakers(stage: Stage) -> list[bool]:
    return [action.on for _, _, action in stage.done if isinstance(action, Loudspeaker)]


def test_one_speaks_and_the_others_listen() -> None:
    stage = paged(speaker=True)
    for number in ("201", "202", "203"):
        stage.phones[number] = Phone(answer_ms=300)
    stage.phones["101"] = Phone(answer_ms=3000)
    leg = stage.dial("204", "790")
    stage.run(1500)
    assert rooms(stage) == {"204": (False, True), **dict.fromkeys(("201", "202", "203"), (True, False))}
    alerts = {action.alert for _, _, action in stage.done if isinstance(action, do.OriginateLeg)}
    assert alerts == {Alert.INTERCOM} and speakers(stage) == [True]
    stage.run(3000)
    assert rooms(stage)["101"] == (True, False), "an amplifier at an analogue jack answers its ringing"
    stage.leave(stage.leg_at("202"))
    stage.run(500)
    assert "202" not in rooms(stage) and len(rooms(stage)) == 4
    stage.leave(leg)
    stage.run(2000)
    assert not rooms(stage) and speakers(stage) == [True, False]
    stage.at_rest()


def test_whoever_talks_or_is_not_to_be_disturbed_is_passed_over() -> None:
    stage = paged()
    stage.board.wished("203", Wish(dnd=True), stage.now)
    busy = stage.dial("201", "101")
    stage.run(4000)
    assert stage.talking(busy, stage.leg_at("101"))
    stage.phones["202"] = Phone(answer_ms=300)
    stage.dial("204", "*53")
    stage.run(2000)
    assert set(rooms(stage)) == {"204", "202"} and stage.talking(busy, stage.leg_at("101"))


def test_it_ends_by_itself() -> None:
    stage = paged(longest_s=20)
    stage.phones["201"] = Phone(answer_ms=300)
    leg = stage.dial("204", "*53790")
    stage.run(19_000)
    assert leg in stage.legs and rooms(stage)
    stage.run(3000)
    assert leg not in stage.legs and not rooms(stage)
    stage.at_rest()


@pytest.mark.parametrize(("caller", "page", "said"), [
    ("204", {"permission": "international"}, "num.refused"), ("204", {"permission": "nobody"}, "num.refused"),
    ("204", {"members": ["204"]}, "ext.none"),
])  # fmt: skip
def test_who_may_not_speak_is_told_so(caller: str, page: dict[str, Any], said: str) -> None:
    stage = paged(**page)
    leg = stage.dial(caller, "790")
    stage.run(4000)
    assert stage.heard[leg][-1] == said and leg not in stage.legs and not rooms(stage)
    stage.at_rest()


def test_two_people_do_not_speak_over_each_other() -> None:
    stage = paged()
    stage.phones["201"] = Phone(answer_ms=300)
    stage.dial("204", "790")
    stage.run(2000)
    second = stage.dial("102", "790")
    stage.run(4000)
    assert stage.heard[second][-1] == "ext.busy" and "102" not in rooms(stage) and "201" in rooms(stage)


def test_callers_from_outside_never_speak_over_the_loudspeaker() -> None:
    stage = Stage(config(pages={"shop": Page(members=["201"], speaker=True)},
                         inbound=[InboundRoute(to="page/shop", greeting=False, notice=False)]))  # fmt: skip
    leg = stage.ring_in()
    stage.run(5000)
    assert stage.heard[leg][-1] == "num.refused" and not rooms(stage) and not speakers(stage)
    stage.run(5000)
    assert leg not in stage.legs


# --- forwards of members of a group -----------------------------------------------------------------------------------


def rung(stage: Stage) -> list[str]:
    return sorted(action.endpoint for _, _, action in stage.done if isinstance(action, do.OriginateLeg))


@pytest.mark.parametrize(("follow", "wanted"), [(False, ["201", "202"]), (True, ["202", "203"])])
def test_a_group_follows_the_forward_of_a_member_where_it_is_set_so(follow: bool, wanted: list[str]) -> None:
    stage = Stage(config(groups={"shop": Group(number="600", members=["201", "202"], follow_forwards=follow)}))
    stage.board.wished("201", Wish(always="203"), stage.now)
    stage.dial("204", "600")
    stage.run(1000)
    assert rung(stage) == wanted


def test_members_who_forward_to_each_other_or_outside_ring_themselves() -> None:
    stage = Stage(config(groups={"shop": Group(number="600", members=["201", "202", "203"], follow_forwards=True)}))
    stage.board.wished("201", Wish(always="202"), stage.now)
    stage.board.wished("202", Wish(always="201"), stage.now)
    stage.board.wished("203", Wish(always="913800000001"), stage.now)
    stage.dial("204", "600")
    stage.run(1000)
    assert rung(stage) == ["201", "202", "203"]


# --- the directory for callers ----------------------------------------------------------------------------------------

PEOPLE = {"201": Extension(kind="sip", name="王小明", spelled="Wang Xiao Ming"), "202": Extension(kind="sip", name="Anna Berg"),
          "203": Extension(kind="sip", name="无拼音")}  # fmt: skip


def directory() -> Stage:
    conf = config(inbound=[InboundRoute(to="directory/all", greeting=False, notice=False)])
    return Stage(config(inbound=conf.inbound, extensions=conf.extensions | PEOPLE))


def test_initials_and_words_are_found() -> None:
    assert matches(PEOPLE, "996") == ["201"] and matches(PEOPLE, "9264") == ["201"] and matches(PEOPLE, "2374") == ["202"]
    assert matches(PEOPLE, "9426") == ["201"], "from the second word on, too"
    assert matches(PEOPLE, "5555") == []


def test_a_caller_from_outside_finds_a_person_by_name() -> None:
    stage = directory()
    leg = stage.ring_in()
    stage.run(4000)
    assert stage.heard[leg][-1] == "dir.ask"
    stage.press(leg, "996#")
    stage.run(3000)
    assert stage.heard[leg][-1] == "dir.hit"
    stage.press(leg, "1")
    stage.run(5000)
    assert stage.talking(leg, stage.leg_at("201"))
    assert stage.state(leg).kind.value == "inbound"


def test_a_caller_who_finds_nobody_is_asked_again_before_the_call_ends() -> None:
    stage = directory()
    leg = stage.ring_in()
    stage.run(4000)
    for _ in range(3):
        stage.press(leg, "5555#")
        stage.run(6000)
        assert stage.heard[leg][-1] == "dir.ask" and leg in stage.legs
    stage.press(leg, "5555#")
    stage.run(6000)
    assert stage.heard[leg][-1] == "dir.none" and leg not in stage.legs
    assert next(iter(stage.closed.values())).cause in (Cause.NORMAL, Cause.TIMEOUT)
