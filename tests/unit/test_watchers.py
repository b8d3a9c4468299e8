"""Lamps and messages: what a telephone sees of others, derived from the contacts that live."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from xml.etree import ElementTree

import msgspec
import pytest

from firmware.call.events import AgentChanged, NightChanged
from firmware.call.floor import Status
from firmware.call.model import EndpointState, LegAnswered, LegHeld, LegReferred, Party
from firmware.call.state import ContactState
from firmware.config.schema.pbx import WatchList
from firmware.config.schema.people import Extension
from firmware.core.watchers import Watchers
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.sip.dialog_info import DialogInfo, DialogNode, DialogState, lamp_leg
from firmware.sip.event_list import EventList
from firmware.sip.message_summary import MessageCounts, MessageSummary
from firmware.sip.presence import Availability, Presence
from tests.unit.call_stage import Phone, Stage, config


class Board:
    """The stage of calls with somebody who watches."""

    def __init__(self, **lamps: str) -> None:
        base = config()
        extensions = {
            number: Extension(kind=one.kind, jack=one.jack, name=f"Desk {number}", lamp=lamps.get("x" + number, "party"))  # type: ignore[arg-type]
            for number, one in base.extensions.items()
        }
        self.stage = Stage(config(extensions=extensions))
        self.told: list[str] = []
        self.shown: list[tuple[str, bool]] = []
        self.bus = Bus()
        self.clock = ManualClock()
        contacts: Callable[[], Iterable[ContactState]] = lambda: list(self.stage.board.contacts.values())  # noqa: E731
        self.watchers = Watchers(
            self.stage.config, contacts, self.told.append, lambda *what: self.shown.append(what), self.bus, self.clock,
            lambda: self.stage.board.floor.state,
        )  # fmt: skip

    def lamp(self, resource: str, account: str = "204") -> list[tuple[str, str, str, str]]:
        """(state, direction, remote, display) of each dialog."""
        document = self.watchers.document(account, "dialog", resource, "h")
        assert isinstance(document, DialogInfo) and document.resource == resource
        return [(one.state.value, "in" if one.incoming else "out", one.remote, one.display) for one in document.dialogs]


def test_an_internal_call_from_ringing_to_its_end() -> None:
    board = Board()
    stage = board.stage
    stage.phones["202"] = Phone(3000)
    assert board.lamp("201") == board.lamp("202") == []
    caller = stage.dial("201", "202")
    stage.run(1000)
    assert board.lamp("202") == [("early", "in", "201", "Desk 201")]
    assert board.lamp("201") == [("early", "out", "202", "Desk 202")]
    stage.run(4000)
    assert board.lamp("202") == [("confirmed", "in", "201", "Desk 201")]
    assert board.lamp("201") == [("confirmed", "out", "202", "Desk 202")]
    stage.leave(caller)
    assert board.lamp("201") == board.lamp("202") == []  # told to hang up: over, whether the phone confirms or not
    stage.run(1000)
    stage.at_rest()


def test_who_may_answer_is_told_by_which_identifiers_and_nobody_learns_a_real_tag() -> None:
    board = Board()
    stage = board.stage
    stage.phones["202"] = Phone(3000)

    def keys(account: str, resource: str) -> list[str]:
        document = board.watchers.document(account, "dialog", resource, "h")
        assert isinstance(document, DialogInfo)
        return [node.id for node in document.dialogs if node.open]

    caller = stage.dial("201", "202")
    stage.run(1000)
    rings = stage.leg_at("202")
    assert keys("204", "202") == [rings] == keys("202", "202") and keys("204", "201") == keys("201", "201") == []
    body = DialogInfo("202", "h", (DialogNode(rings, DialogState.EARLY, True, open=True),)).render(0)
    assert f'<dialog id="{rings}" call-id="{rings}@lamp" local-tag="{rings}" remote-tag="lamp" direction'.encode() in body
    assert lamp_leg(f"{rings}@lamp") == rings and lamp_leg("abc@host") == ""
    stage.run(4000)
    assert keys("204", "202") == [] and keys("202", "202") == [rings] and keys("201", "201") == [caller]
    board.watchers.configure(config(extensions={
        "201": Extension(kind="sip"), "202": Extension(kind="sip", group=["shop"]), "204": Extension(kind="sip"),
    }))  # fmt: skip
    stage.leave(caller)
    stage.run(1000)
    stage.dial("201", "202")
    stage.run(1000)
    assert keys("204", "202") == [] and keys("202", "202") == [stage.leg_at("202")]


def test_an_analog_phone_and_a_line_have_lamps_too() -> None:
    board = Board()
    stage = board.stage
    stage.phones["101"] = Phone(answer_ms=-1)
    line = stage.ring_in(number="13800000001")
    assert board.lamp("line/1") in ([("early", "in", "", "")], [("early", "in", "101", "Desk 101")])
    stage.run(30_000)
    stage.leave(line)
    stage.run(2000)
    assert board.lamp("line/1") == []
    stage.phones["line/1"] = Phone(500)
    stage.dial("101", "913800000002")
    stage.run(8000)
    assert board.lamp("line/1") == [("confirmed", "out", "101", "Desk 101")]
    assert board.lamp("101") == [("confirmed", "out", "13800000002", "")]


def test_a_transferred_call_shows_who_speaks_with_whom_now() -> None:
    board = Board()
    stage = board.stage
    stage.phones["line/1"], stage.phones["203"] = Phone(500), Phone(2000)
    phone = stage.dial("201", "913800000000")
    stage.run(8000)
    stage.give(LegHeld(phone, stage.now))
    stage.give(LegReferred(phone, stage.now, "t", "203"))
    stage.run(1000)
    assert board.lamp("203") == [("early", "in", "13800000000", "")]
    stage.run(5000)
    assert board.lamp("201") == [] and board.lamp("203") == [("confirmed", "in", "13800000000", "")]
    assert board.lamp("line/1") == [("confirmed", "out", "203", "Desk 203")]


@pytest.mark.parametrize(("lamp", "seen"), [("party", "202"), ("state", ""), ("none", None)])
def test_who_may_see_what(lamp: str, seen: str | None) -> None:
    board = Board(x201=lamp)
    board.stage.phones["202"] = Phone(500)
    board.stage.dial("201", "202")
    board.stage.run(3000)
    if seen is None:
        assert board.watchers.document("204", "dialog", "201", "h") is None
    else:
        assert board.lamp("201") == [("confirmed", "out", seen, f"Desk {seen}" if seen else "")]
    assert board.lamp("201", account="201") == [("confirmed", "out", "202", "Desk 202")]  # one's own is always told
    # Nor does the lamp of the other one tell.
    assert board.lamp("202") == [("confirmed", "in", *(("201", "Desk 201") if lamp == "party" else ("", "")))]


def test_a_withheld_number_is_not_told() -> None:
    board = Board()
    board.stage.phones["101"] = Phone(500)
    line = board.stage.ring_in(number="")
    board.stage.state(line).caller = Party("", "", "private")
    board.stage.state(line).legs[line].name = "Hidden"
    board.stage.run(60_000)
    assert all((remote, display) == ("", "") for _, _, remote, display in board.lamp("101"))


def test_what_does_not_exist_is_not_watched() -> None:
    watchers = Board().watchers
    assert watchers.document("204", "dialog", "999", "h") is None
    assert watchers.document("204", "dialog", "line/9", "h") is None
    assert watchers.document("204", "message-summary", "201", "h") is None


def test_events_ask_for_one_look_after_them() -> None:
    board = Board()
    for _ in range(5):
        board.bus.publish(EndpointState("201", 0, "busy"))
    assert board.told == []
    board.clock.advance(10)
    assert board.told == ["dialog", "presence"]
    board.bus.publish(LegAnswered("L1", 0, 3, evidence=None))  # type: ignore[arg-type]
    board.clock.advance(10)
    assert board.told == ["dialog", "presence"] * 2


def test_messages_have_one_source_for_lamps_of_both_kinds() -> None:
    board = Board()
    none = board.watchers.document("201", "message-summary", "201", "h")
    assert isinstance(none, MessageSummary) and not none.counts.waiting and none.render(0).startswith(b"Messages-Waiting: no")
    new = {"101": 1}
    board.watchers.provide(lambda extension: MessageCounts(new.get(extension, 0), 0))
    assert ("101", True) in board.shown and ("102", False) in board.shown and board.told == ["message-summary"]
    new["201"] = 2
    board.watchers.messages_changed("201")
    some = board.watchers.document("201", "message-summary", "201", "h")
    assert isinstance(some, MessageSummary) and some.counts == MessageCounts(2) and board.told[1:] == ["message-summary"]


def test_presence_of_telephones_and_agents_follows_calls_and_the_floor() -> None:
    board = Board(x203="none")
    stage = board.stage
    stage.phones["202"] = Phone(3000)

    def word(resource: str, account: str = "204") -> str:
        document = board.watchers.document(account, "presence", resource, "h")
        assert document is None or isinstance(document, Presence)
        if document is None:
            return ""
        return document.availability.value + (f" {document.note}" if document.note else "")

    assert (word("201"), word("202"), word("8001"), word("999"), word("203"), word("203", "203")) == (
        "available", "available", "away", "", "", "available",
    )  # fmt: skip
    stage.log_in("8001", "202")
    assert word("8001") == word("202") == "available"
    caller = stage.dial("201", "202")
    stage.run(1000)
    assert (word("201"), word("202"), word("8001")) == ("busy", "available", "available")     # it rings
    stage.run(4000)
    assert (word("201"), word("202"), word("8001")) == ("busy", "busy", "busy")
    stage.leave(caller)
    stage.run(1000)
    stage.board.agent_command("8001", "pause", stage.now, reason="3")
    assert (word("202"), word("8001")) == ("paused 3", "paused 3")
    stage.board.agent_command("8001", "logout", stage.now)
    stage.give(EndpointState("202", stage.now, "unregistered"))
    assert (word("202"), word("8001")) == ("away", "away")
    stage.log_in("8002", "203")
    assert word("8002") == "" and word("8002", "203") == "available"


def test_wrap_up_is_busy_and_a_change_of_an_agent_asks_for_a_look() -> None:
    board = Board()
    agent = board.stage.board.floor.state.agents["8001"]
    agent.extension, agent.status = "202", Status.WRAP_UP
    document = board.watchers.document("204", "presence", "202", "h")
    assert isinstance(document, Presence) and document.availability is Availability.BUSY
    board.bus.publish(AgentChanged(0, "8001", "ready", "202"))
    board.clock.advance(0)
    assert board.told == ["dialog", "presence"]


def test_a_presence_document_is_well_formed_whatever_is_in_it() -> None:
    for availability, basic in (("available", "open"), ("busy", "open"), ("paused", "closed"), ("away", "closed")):
        body = Presence('2"<&>', "h", Availability(availability), "<3>").render(0)
        root = ElementTree.fromstring(body)
        pidf = "{urn:ietf:params:xml:ns:pidf}"
        assert root.tag == pidf + "presence" and root.findtext(f"{pidf}tuple/{pidf}status/{pidf}basic") == basic
        assert root.findtext(f"{pidf}tuple/{pidf}note") == f"{availability} (<3>)"


def test_parking_places_and_the_night_key_have_lamps() -> None:
    board = Board()
    stage = board.stage
    assert board.lamp("*711") == board.lamp("*712") == board.lamp("*56") == []
    caller = stage.dial("201", "202")
    stage.run(3000)
    stage.press(caller, "*70")
    stage.run(3000)
    assert board.lamp("*711") == [("confirmed", "in", "", "")] and board.lamp("*712") == []
    stage.dial("203", "*711")
    stage.run(500)
    assert board.lamp("*711") == []
    board.watchers.night = lambda: True
    board.told.clear()
    board.bus.publish(NightChanged(stage.now, "night", 0, "201"))
    board.clock.advance(10)
    assert board.lamp("*56") == [("confirmed", "in", "", "")] and "dialog" in board.told


def test_a_list_shows_each_member_as_this_account_may_see_it() -> None:
    board = Board(x202="none", x203="state")
    stage = board.stage
    members = ["201", "202", "203", "line/1", "*56", "8001"]
    board.watchers.configure(msgspec.structs.replace(stage.config, lists={"desk": WatchList(members=members)}))
    stage.phones["203"] = Phone(500)
    stage.dial("201", "203")
    stage.run(3000)

    def seen(account: str) -> dict[str, list[tuple[str, str]] | None]:
        listed = board.watchers.document(account, "dialog", "desk", "h")
        assert isinstance(listed, EventList) and [one.resource for one in listed.members] == members
        shown = {one.resource: one.document for one in listed.members}
        return {
            name: [(node.state.value, node.remote) for node in document.dialogs] if isinstance(document, DialogInfo) else None
            for name, document in shown.items()
        }

    # 203 shows that it speaks, not with whom; so does who speaks with it. 202 shows nothing, an agent has presence only.
    assert seen("204") == {"201": [("confirmed", "")], "202": None, "203": [("confirmed", "")], "line/1": [], "*56": [], "8001": None}
    assert seen("202")["202"] == [] and seen("203")["203"] == [("confirmed", "201")]
    for account, name in (("204", ""), ("202", "Desk 202")):
        listed = board.watchers.document(account, "dialog", "desk", "h")
        assert isinstance(listed, EventList) and [listed.members[0].name, listed.members[1].name] == ["Desk 201", name]
    present = board.watchers.document("204", "presence", "desk", "h")
    assert isinstance(present, EventList)
    words = [one.document.availability.value if isinstance(one.document, Presence) else "" for one in present.members]
    assert words == ["busy", "", "busy", "", "", "away"]
    assert board.watchers.document("204", "message-summary", "desk", "h") is None
