"""Lists of lamps: one subscription for many resources, told in full and in part. RFC 4662."""

from __future__ import annotations

import email
import email.policy
import xml.etree.ElementTree as ElementTree
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.sip.dialog_info import DialogInfo, DialogNode, DialogState
from firmware.sip.event_list import MOST_BYTES, EventList, Member
from firmware.sip.message import Request
from firmware.sip.subscriptions import Document
from tests.unit.test_sip_events import NS, RINGING, TALKING, House, Watcher

RL = "{urn:ietf:params:xml:ns:rlmi}"
KINDS = "multipart/related, application/rlmi+xml, application/dialog-info+xml"
LIST = (("Event", "dialog"), ("Accept", KINDS), ("Supported", "eventlist"), ("Contact", "<sip:200@192.0.2.20:5062>"))


class ListHouse(House):
    """A house with the list "desk"; 299 is a member that nobody may watch."""

    def __init__(self, members: tuple[str, ...] = ("201", "299", "202")) -> None:
        super().__init__()
        self.members = members

    def document(self, account: str, package: str, resource: str, host: str) -> Document | None:
        if resource == "desk" and package == "dialog":
            told = (Member(one, f"Desk {one}", super(ListHouse, self).document(account, package, one, host)) for one in self.members)
            return EventList("desk", host, tuple(told))
        return super().document(account, package, resource, host)


def read(kind: str, body: bytes) -> tuple[ElementTree.Element, dict[str, ElementTree.Element]]:
    """The RLMI document, and the documents of members by their user part; every reference must fit."""
    mail = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP)
    parts = list(mail.iter_parts())  # type: ignore[attr-defined]
    assert not mail.defects and all(isinstance(part, EmailMessage) and not part.defects for part in parts)
    assert parts[0]["content-id"] == mail.get_param("start") and parts[0].get_content_type() == "application/rlmi+xml"
    rlmi = ElementTree.fromstring(parts[0].get_payload(decode=True))
    bodies = {part["content-id"].strip("<>"): part for part in parts[1:]}
    documents: dict[str, ElementTree.Element] = {}
    for resource in rlmi.iter(RL + "resource"):
        for instance in resource.iter(RL + "instance"):
            if "cid" in instance.attrib:
                part = bodies.pop(instance.attrib["cid"])
                assert part.get_content_type() == "application/dialog-info+xml"
                document = ElementTree.fromstring(part.get_payload(decode=True))
                assert document.attrib["entity"] == resource.attrib["uri"]
                documents[resource.attrib["uri"].removeprefix("sip:").partition("@")[0]] = document
    assert not bodies
    return rlmi, documents


def told(notify: Request) -> tuple[bool, int, dict[str, list[str]]]:
    """(full state, version of the list, states of each member with a document)."""
    rlmi, documents = read(notify.headers.get("content-type"), notify.body)
    found = {name: [state.text or "" for state in root.iter(NS + "state")] for name, root in documents.items()}
    return rlmi.attrib["fullState"] == "true", int(rlmi.attrib["version"]), found


def test_a_list_is_told_in_full_and_then_only_what_changed(seed: int) -> None:
    phone = Watcher(seed, house=ListHouse())
    granted, (first,) = phone.subscribe("desk", extra=LIST)
    assert granted.status == 200 and granted.headers.get("require") == first.headers.get("require") == "eventlist"
    assert told(first) == (True, 0, {"201": ["terminated"], "202": ["terminated"]})
    rlmi, _ = read(first.headers.get("content-type"), first.body)
    assert rlmi.attrib["uri"] == "sip:desk@192.0.2.1"
    places = [(one.attrib["uri"], one.findtext(RL + "name")) for one in rlmi.iter(RL + "resource")]
    assert places == [(f"sip:{number}@192.0.2.1", f"Desk {number}") for number in ("201", "299", "202")]      # the order of the keys
    hidden = rlmi.findall(RL + "resource")[1].find(RL + "instance")
    assert hidden is not None and (hidden.attrib["state"], hidden.attrib["reason"]) == ("terminated", "noresource")
    phone.answer(first)
    phone.fresh()
    assert phone.changed() == []
    phone.house.dialogs["202"] = (RINGING,)
    (second,) = phone.changed()
    assert told(second) == (False, 1, {"202": ["early"]})
    assert read(second.headers.get("content-type"), second.body)[1]["202"].attrib["version"] == "1"
    # What happens while this is unanswered is one partial state.
    phone.house.dialogs |= {"201": (TALKING,), "202": (TALKING,)}
    assert phone.changed() == []
    (third,) = phone.answer(second)
    assert told(third) == (False, 2, {"201": ["confirmed"], "202": ["confirmed"]})
    assert phone.answer(third) == []
    # A refresh asks for everything (section 5.2), and so does a lost NOTIFY.
    _, (all_of_it,) = phone.again(granted, 300)
    assert told(all_of_it)[:2] == (True, 3) and told(all_of_it)[2]["202"] == ["confirmed"]
    phone.answer(all_of_it, 503, Retry_After="5")
    phone.fresh()
    phone.net.run(6000)
    (anew,) = phone.fresh()
    assert told(anew)[:2] == (True, 4)


def test_a_long_list_comes_in_bounded_notifies_and_every_key_has_its_place_in_the_first(seed: int) -> None:
    members = tuple(str(300 + n) for n in range(64))
    phone = Watcher(seed, house=ListHouse(members))
    node = tuple(DialogNode(f"L{n}", DialogState.CONFIRMED, True, "0123456789", "Somebody " * 4) for n in range(8))
    phone.house.dialogs = dict.fromkeys(members, node)
    _, (notify,) = phone.subscribe("desk", extra=LIST)
    seen: list[str] = []
    turns = 0
    while True:
        full, version, states = told(notify)
        assert (full, version) == (turns == 0, turns) and states and len(notify.body) < MOST_BYTES + 16_000
        if full:
            rlmi, _ = read(notify.headers.get("content-type"), notify.body)
            assert len(rlmi.findall(RL + "resource")) == 64
        seen += states
        turns += 1
        following = phone.answer(notify)
        if not following:
            break
        (notify,) = following
    assert seen == list(members) and turns > 5
    phone.fresh()
    assert phone.changed() == []


def test_who_cannot_read_lists_is_told_which_extension_it_takes(seed: int) -> None:
    phone = Watcher(seed, house=ListHouse())
    refused, _ = phone.subscribe("desk", extra=(LIST[0], LIST[3]))
    assert (refused.status, refused.headers.get("require")) == (421, "eventlist")
    refused, _ = phone.subscribe("desk", extra=(LIST[0], ("Accept", "text/html"), *LIST[2:]))
    assert refused.status == 406 and "application/rlmi+xml" in refused.headers.get("accept")
    # Some telephones name the documents only; and one that could read lists watches a single lamp as ever.
    assert phone.subscribe("desk", call_id="s3", extra=(LIST[0], ("Accept", "application/dialog-info+xml"), *LIST[2:]))[0].status == 200
    granted, (single,) = phone.subscribe("201", call_id="s4", extra=(*LIST, ("Require", "eventlist")))
    assert granted.status == 200 and "require" not in granted.headers
    assert single.headers.get("content-type") == "application/dialog-info+xml"


def test_a_fetch_and_the_end_of_a_list(seed: int) -> None:
    phone = Watcher(seed, house=ListHouse())
    _, (only,) = phone.subscribe("desk", expires=0, extra=LIST)
    assert told(only)[0] and len(phone.endpoint.subscriptions) == 0
    granted, (first,) = phone.subscribe("desk", call_id="s2", extra=LIST)
    phone.answer(first)
    _, (last,) = phone.again(granted, 0)
    assert told(last)[0] and "terminated" in last.headers.get("subscription-state")


def test_another_process_tells_the_whole_list_with_rising_versions(seed: int) -> None:
    phone = Watcher(seed, house=ListHouse())
    _, (first,) = phone.subscribe("desk", extra=LIST)
    phone.answer(first)
    kept = phone.endpoint.subscriptions.snapshot()
    later = Watcher(seed + 1, house=phone.house)
    later.endpoint.restore_watchers(kept, 0, later.net.now)
    (again,) = later.fresh()
    full, version, _ = told(again)
    documents = read(again.headers.get("content-type"), again.body)[1]
    assert full and version > 1000 and int(documents["201"].attrib["version"]) > 1000


def test_a_list_whose_members_changed_is_told_anew(seed: int) -> None:
    house = ListHouse()
    phone = Watcher(seed, house=house)
    _, (first,) = phone.subscribe("desk", extra=LIST)
    phone.answer(first)
    phone.fresh()
    house.members = ("202", "201")
    (second,) = phone.changed()
    assert told(second) == (True, 1, {"201": ["terminated"], "202": ["terminated"]})


@given(st.lists(st.tuples(st.text(max_size=30), st.sampled_from(["", "\r\n--branchpbx-list--\r\n", "--branchpbx-list"])), max_size=5))
def test_no_name_breaks_out_of_its_part(names: list[tuple[str, str]]) -> None:
    members = tuple(
        Member(f"2{place:02}", name + mark, DialogInfo(f"2{place:02}", "h", (DialogNode("L", DialogState.EARLY, True, name, mark + name),)))
        for place, (name, mark) in enumerate(names)
    )
    listed = EventList("desk", "h", members)
    _, documents = read(listed.content_type, listed.render(3))
    assert len(documents) == len(names)


@pytest.mark.parametrize("most", [0, 500, 1500, 100_000])
def test_what_is_left_over_follows_until_all_is_known(most: int) -> None:
    listed = EventList("desk", "h", tuple(Member(str(n), "", DialogInfo(str(n), "h") if n % 3 else None) for n in range(200, 220)))
    known: EventList | None = None
    for turn in range(25):
        notice = listed.notice(known, turn, {}, max(most, 1))
        read(listed.content_type, notice.body)
        known = notice.known
        if known == listed:
            break
    assert known == listed
