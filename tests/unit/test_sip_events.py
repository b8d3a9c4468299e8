"""Watchers: SUBSCRIBE and NOTIFY, dialog-info, message-summary. RFC 6665, 4235, 3842."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.sip.dialog_info import DialogInfo, DialogNode, DialogState
from firmware.sip.flow import Flow
from firmware.sip.message import Message, Request, Response, respond
from firmware.sip.message_summary import MessageCounts, MessageSummary
from firmware.sip.subscriptions import Document
from tests.unit.sip_stage import PBX, PHONE, Network, authorize, make_endpoint, request

NS = "{urn:ietf:params:xml:ns:dialog-info}"
DIALOG = (("Event", "dialog"), ("Accept", "application/dialog-info+xml"), ("Contact", "<sip:200@192.0.2.20:5062>"))


class House:
    """A source of documents that a test changes: extension -> dialogs, and messages of 200."""

    def __init__(self) -> None:
        self.dialogs: dict[str, tuple[DialogNode, ...]] = {"201": (), "202": ()}
        self.counts = MessageCounts()
        self.asked = 0

    def document(self, account: str, package: str, resource: str, host: str) -> Document | None:
        self.asked += 1
        if package == "message-summary":
            return MessageSummary(resource, host, self.counts) if resource == account else None
        return DialogInfo(resource, host, self.dialogs[resource]) if resource in self.dialogs else None


class Watcher:
    """A telephone that is only bytes: what it gets is parsed, what it answers is told by the test."""

    def __init__(
        self, seed: int, transport: str = "udp", user: str = "200", net: Network | None = None, house: House | None = None
    ) -> None:
        self.net = net or Network(seed, transport=transport)
        self.house = house or House()
        self.endpoint = self.net.endpoints.get(PBX) or self.net.add(PBX, make_endpoint(seed))
        self.endpoint.subscriptions.source = self.house
        self.transport, self.user = transport, user
        self.source = PHONE
        self.cseq = 0
        self.mark = len(self.net.strays)

    def raw(self, message: Message) -> list[Message]:
        return self.net.inject(self.source, PBX, message.render())

    def subscribe(
        self, resource: str = "201", expires: int = 600, call_id: str = "sub1", extra: tuple[tuple[str, str], ...] = DIALOG
    ) -> tuple[Response, list[Request]]:
        extra = (*extra, ("Expires", str(expires))) if expires >= 0 else extra
        uri = f"sip:{resource}@192.0.2.1"
        challenge: Response | None = None
        while True:
            self.cseq += 1
            sent = request(
                "SUBSCRIBE", uri, user=self.user, cseq=self.cseq, branch=f"{call_id}{self.cseq}", call_id=call_id, from_tag="w",
                extra=extra, transport=self.transport.upper(), source=self.source,
            )  # fmt: skip
            if challenge is not None:
                authorize(sent, challenge, self.user, "pw" + self.user)
            answers = self.raw(sent)
            first = answers[0]
            assert isinstance(first, Response)
            if first.status != 407 or challenge is not None:
                break
            challenge = first
        return first, [one for one in answers[1:] if isinstance(one, Request)]

    def again(self, granted: Response, expires: int, event: str = "dialog", cseq: int = 0) -> tuple[Response, list[Request]]:
        self.cseq += 1
        sent = request(
            "SUBSCRIBE", "sip:201@192.0.2.1:5060", user=self.user, cseq=cseq or self.cseq, branch=f"again{self.cseq}",
            call_id=granted.call_id, from_tag="w", to_tag=granted.to.tag, source=self.source, transport=self.transport.upper(),
            extra=(("Event", event), ("Expires", str(expires)), ("Contact", "<sip:200@192.0.2.20:5062>")),
        )  # fmt: skip
        answers = self.raw(sent)
        assert isinstance(answers[0], Response)
        return answers[0], [one for one in answers[1:] if isinstance(one, Request)]

    def answer(self, notify: Request, status: int = 200, **headers: str) -> list[Request]:
        """Answer a NOTIFY; what it lets go at once."""
        pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return [one for one in self.raw(respond(notify, status, headers=pairs)) if isinstance(one, Request)]

    def changed(self, package: str = "dialog") -> list[Request]:
        self.endpoint.watch(package, self.net.now)
        return self.fresh()

    def fresh(self) -> list[Request]:
        """NOTIFYs since this was asked last, retransmissions left out."""
        from firmware.sip.parse import parse_datagram

        self.net._collect(PBX)
        new, seen = [], set()
        for where, data in self.net.strays[self.mark :]:
            message = parse_datagram(data) if where == self.source else None
            if isinstance(message, Request) and message.via.branch not in seen:
                seen.add(message.via.branch)
                new.append(message)
        self.mark = len(self.net.strays)
        return new


def states(notify: Request) -> list[str]:
    return [state.text or "" for state in ElementTree.fromstring(notify.body).iter(NS + "state")]


def version(notify: Request) -> int:
    return int(ElementTree.fromstring(notify.body).attrib["version"])


def reason(notify: Request) -> str:
    return notify.headers.get("subscription-state")


RINGING = DialogNode("L1", DialogState.EARLY, True, "0123", "Outside")
TALKING = DialogNode("L1", DialogState.CONFIRMED, True, "0123", "Outside")


def test_subscriber_is_told_at_once_on_change_and_never_twice_the_same(seed: int) -> None:
    phone = Watcher(seed)
    granted, (first,) = phone.subscribe()
    assert granted.status == 200 and granted.headers.get("expires") == "600" and granted.to.tag == first.from_.tag
    assert first.uri == "sip:200@192.0.2.20:5062" and first.headers.get("event") == "dialog" and first.to.tag == "w"
    assert (reason(first), version(first), states(first)) == ("active;expires=600", 0, ["terminated"])
    assert ElementTree.fromstring(first.body).attrib["entity"] == "sip:201@192.0.2.1"
    assert first.headers.get("content-type") == "application/dialog-info+xml"
    phone.answer(first)
    phone.fresh()
    assert phone.changed() == []
    phone.house.dialogs["201"] = (RINGING,)
    (second,) = phone.changed()
    assert (version(second), states(second), second.cseq.number > first.cseq.number) == (1, ["early"], True)
    phone.answer(second)
    phone.house.dialogs["202"] = (RINGING,)
    assert phone.changed() == []  # another lamp's
    phone.house.dialogs["201"] = ()
    (third,) = phone.changed()
    assert (version(third), states(third)) == (2, ["terminated"])


def test_changes_behind_an_unanswered_notify_are_one_document_of_the_last_state(seed: int) -> None:
    phone = Watcher(seed)
    _, (first,) = phone.subscribe()
    phone.fresh()
    for dialogs in ((RINGING,), (), (TALKING,)):
        phone.house.dialogs["201"] = dialogs
        assert phone.changed() == []
    (after,) = phone.answer(first)
    assert (version(after), states(after)) == (1, ["confirmed"])
    assert phone.answer(after) == []
    # A change and its undoing: the watcher has the truth already.
    phone.house.dialogs["201"] = ()
    (idle,) = [one for one in phone.changed() if states(one) == ["terminated"]]
    phone.house.dialogs["201"] = (RINGING,)
    phone.changed()
    phone.house.dialogs["201"] = ()
    phone.changed()
    assert phone.answer(idle) == []


def test_refresh_unsubscribe_and_expiry(seed: int) -> None:
    phone = Watcher(seed)
    granted, (first,) = phone.subscribe(expires=100)
    phone.answer(first)
    refreshed, (told,) = phone.again(granted, 200)
    assert refreshed.status == 200 and refreshed.headers.get("expires") == "200" and reason(told) == "active;expires=200"
    phone.answer(told)
    phone.net.run(199_000)
    assert phone.endpoint.statistics()["subscriptions"] == 1
    over, (last,) = phone.again(granted, 0)
    assert over.status == 200 and reason(last) == "terminated;reason=timeout" and states(last) == ["terminated"]
    phone.answer(last)
    assert phone.endpoint.statistics()["subscriptions"] == 0
    assert phone.again(granted, 100)[0].status == 481
    granted, (first,) = phone.subscribe(expires=60, call_id="sub2")
    phone.answer(first)
    phone.fresh()
    phone.net.run(60_100)
    (last,) = phone.fresh()
    assert reason(last) == "terminated;reason=timeout"
    phone.answer(last)
    phone.net.run(100_000)
    assert (phone.fresh(), phone.endpoint.statistics()["subscriptions"], phone.endpoint.statistics()["transactions"]) == ([], 0, 0)
    assert phone.endpoint.deadline() is None


def test_a_fetch_is_one_document_and_nothing_stays(seed: int) -> None:
    phone = Watcher(seed)
    phone.house.dialogs["201"] = (TALKING,)
    granted, (only,) = phone.subscribe(expires=0)
    assert granted.status == 200 and reason(only) == "terminated;reason=timeout" and states(only) == ["confirmed"]
    assert phone.endpoint.statistics()["subscriptions"] == 0


@pytest.mark.parametrize(
    ("status", "header", "resource", "expires", "extra"),
    [
        (489, "Allow-Events", "201", 600, (("Event", "conference"),)),
        (489, "Allow-Events", "201", 600, ()),
        (489, "Allow-Events", "201", 600, (("Event", "refer"),)),
        (423, "Min-Expires", "201", 59, DIALOG),
        (404, "To", "999", 600, DIALOG),
        (404, "To", "201", 600, (("Event", "message-summary"),)),
        (406, "Accept", "201", 600, (("Event", "dialog"), ("Accept", "text/html"))),
        (420, "Unsupported", "201", 600, (*DIALOG, ("Require", "recipient-list-subscribe"))),
    ],
)
def test_what_is_refused(seed: int, status: int, header: str, resource: str, expires: int, extra: tuple[tuple[str, str], ...]) -> None:
    phone = Watcher(seed)
    refused, notifies = phone.subscribe(resource, expires, extra=extra)
    assert (refused.status, notifies, header in refused.headers) == (status, [], True)
    assert phone.endpoint.statistics()["subscriptions"] == 0


def test_nobody_watches_without_a_password_and_the_longest_time_is_an_hour(seed: int) -> None:
    phone = Watcher(seed)
    sent = request("SUBSCRIBE", "sip:201@192.0.2.1", extra=DIALOG)
    (answer,) = phone.raw(sent)
    assert isinstance(answer, Response) and answer.status == 407 and phone.house.asked == 0
    assert phone.subscribe(expires=100_000)[0].headers.get("expires") == "3600"
    assert phone.subscribe(expires=-1, call_id="sub9")[0].headers.get("expires") == "3600"


def test_one_silence_keeps_the_subscription_and_the_retry_tells_what_is_true_then(seed: int) -> None:
    phone = Watcher(seed)
    _, (first,) = phone.subscribe()
    phone.answer(first)
    phone.fresh()
    phone.house.dialogs["201"] = (RINGING,)
    assert len(phone.changed()) == 1
    phone.net.run(33_000)  # 64 * T1: unanswered
    phone.house.dialogs["201"] = ()
    phone.changed()
    phone.net.run(6_000)
    retry = phone.fresh()[-1]
    assert states(retry) == ["terminated"]
    assert phone.answer(retry) == []
    for status in (408, 500, 503):
        phone.house.dialogs["201"] = (TALKING,) if states(retry) == ["terminated"] else ()
        (told,) = phone.changed()
        phone.answer(told, status)
        assert phone.endpoint.statistics()["subscriptions"] == 1
        phone.net.run(6_000)
        (retry,) = phone.fresh()
        assert states(retry) == states(told)
        phone.answer(retry)


def test_retry_after_is_kept(seed: int) -> None:
    phone = Watcher(seed)
    _, (first,) = phone.subscribe()
    phone.answer(first, 503, Retry_After="60")
    phone.fresh()
    phone.net.run(59_000)
    assert phone.fresh() == []
    phone.net.run(1_500)
    assert len(phone.fresh()) == 1


@pytest.mark.parametrize("status", [404, 481, 489, 501])
def test_a_watcher_that_knows_nothing_of_it_ends_it(seed: int, status: int) -> None:
    phone = Watcher(seed)
    _, (first,) = phone.subscribe()
    phone.answer(first, status)
    assert phone.endpoint.statistics()["subscriptions"] == 0 and phone.endpoint.subscriptions.deadline() is None


def test_a_broken_connection_is_bridged_by_the_next_registration(seed: int) -> None:
    phone = Watcher(seed, transport="tcp")
    phone.endpoint.connection_made("tcp", PHONE)
    _, (first,) = phone.subscribe()
    phone.answer(first)
    phone.fresh()
    phone.endpoint.connection_lost("tcp", PHONE, phone.net.now)
    phone.house.dialogs["201"] = (RINGING,)
    phone.source = ("192.0.2.20", 40_001)
    phone.endpoint.connection_made("tcp", phone.source)
    sent = request("REGISTER", cseq=1, branch="r1", call_id="reg", source=phone.source, transport="TCP")
    sent.headers.set("Contact", "<sip:200@192.0.2.20:5062;transport=tcp>")
    (challenge,) = phone.raw(sent)
    assert isinstance(challenge, Response)
    sent = request("REGISTER", cseq=2, branch="r2", call_id="reg", source=phone.source, transport="TCP")
    sent.headers.set("Contact", "<sip:200@192.0.2.20:5062;transport=tcp>")
    phone.raw(authorize(sent, challenge, "200", "pw200"))
    (told,) = phone.fresh()
    assert states(told) == ["early"] and told.via.transport == "tcp"
    assert phone.endpoint.subscriptions.refresh("dialog") is None and phone.answer(told) == []


def test_limits_and_a_restarted_phone(seed: int) -> None:
    phone = Watcher(seed)
    table = phone.endpoint.subscriptions
    table.max_per_user = 3
    for number in range(6):  # the same lamp from the same contact: the phone forgot the earlier ones
        assert phone.subscribe(call_id=f"boot{number}")[0].status == 200
    assert len(table) == 1
    assert phone.subscribe("202", call_id="x")[0].status == 200
    phone.house.dialogs |= {"203": (), "204": ()}
    assert phone.subscribe("203", call_id="y")[0].status == 200
    assert phone.subscribe("204", call_id="z")[0].status == 403
    table.max_total = 3
    other = Watcher(seed, user="201", net=phone.net, house=phone.house)
    refused, _ = other.subscribe("203", call_id="o")
    assert refused.status == 503 and "retry-after" in refused.headers


def test_removed_accounts_and_a_stop_are_told(seed: int) -> None:
    phone = Watcher(seed)
    _, (first,) = phone.subscribe()
    phone.answer(first)
    phone.fresh()
    phone.endpoint.set_secrets({"201": "pw201"}, phone.net.now)
    (last,) = phone.fresh()
    assert reason(last) == "terminated;reason=rejected" and len(phone.endpoint.subscriptions) == 0
    other = Watcher(seed, user="201", net=phone.net, house=phone.house)
    other.source = ("192.0.2.99", 5062)
    _, (first,) = other.subscribe(call_id="o", extra=(*DIALOG[:2], ("Contact", "<sip:201@192.0.2.99:5062>")))
    other.answer(first)
    other.fresh()
    other.endpoint.subscriptions.deactivate()
    (last,) = other.fresh()
    assert reason(last) == "terminated;reason=deactivated"


def test_an_extension_that_is_removed_ends_its_lamp(seed: int) -> None:
    phone = Watcher(seed)
    _, (first,) = phone.subscribe()
    phone.answer(first)
    phone.fresh()
    del phone.house.dialogs["201"]
    (last,) = phone.changed()
    assert (reason(last), last.body) == ("terminated;reason=noresource", b"") and len(phone.endpoint.subscriptions) == 0


def test_refresh_rules_within_the_dialog(seed: int) -> None:
    phone = Watcher(seed)
    granted, (first,) = phone.subscribe()
    phone.answer(first)
    assert phone.again(granted, 30)[0].status == 423
    assert phone.again(granted, 300, event="message-summary")[0].status == 481
    assert phone.again(granted, 300, cseq=1)[0].status == 500  # an older sequence number
    assert len(phone.endpoint.subscriptions) == 1


def test_another_process_goes_on_with_the_same_dialog(seed: int) -> None:
    phone = Watcher(seed)
    granted, (first,) = phone.subscribe()
    phone.answer(first)
    phone.fresh()
    phone.house.dialogs["201"] = (RINGING,)
    (second,) = phone.changed()
    phone.answer(second)
    assert phone.endpoint.subscriptions.changed
    kept = phone.endpoint.subscriptions.snapshot()
    assert not phone.endpoint.subscriptions.changed
    phone.house.dialogs["201"] = (TALKING,)
    (third,) = phone.changed()
    phone.answer(third)
    later = Watcher(seed + 1, house=phone.house)
    later.cseq = phone.cseq
    phone.house.dialogs["201"] = ()
    later.endpoint.restore_watchers(kept, 5000, later.net.now)
    (told,) = later.fresh()
    assert (reason(told), states(told), told.to.tag, told.call_id) == ("active;expires=605", ["terminated"], "w", first.call_id)
    assert version(told) > version(third) and told.cseq.number > third.cseq.number
    later.answer(told)
    refreshed, _ = later.again(granted, 300)
    assert refreshed.status == 200
    for data, accounts in ((b"junk", "200"), (kept, "999")):
        other = Watcher(seed + 2)
        other.endpoint.set_secrets({accounts: "x"}, 0)
        other.endpoint.restore_watchers(data, 0, other.net.now)
        assert len(other.endpoint.subscriptions) == 0


def test_messages_waiting(seed: int) -> None:
    phone = Watcher(seed)
    _, (first,) = phone.subscribe("200", extra=(("Event", "message-summary"), ("Contact", "<sip:200@192.0.2.20:5062>")))
    assert first.body == b"Messages-Waiting: no\r\nMessage-Account: sip:200@192.0.2.1\r\nVoice-Message: 0/0 (0/0)\r\n"
    assert first.headers.get("content-type") == "application/simple-message-summary"
    phone.answer(first)
    phone.fresh()
    phone.house.counts = MessageCounts(2, 8, 0, 2)
    (second,) = phone.changed("message-summary")
    assert second.body.startswith(b"Messages-Waiting: yes\r\n") and b"Voice-Message: 2/8 (0/2)\r\n" in second.body


# --- dialog-info ------------------------------------------------------------------------------------------------------


def test_dialog_info_tells_direction_and_remote_party() -> None:
    calling = DialogNode("L2", DialogState.TRYING, False, "line/1", 'A & "B" <c>')
    root = ElementTree.fromstring(DialogInfo("201", "pbx.example:5060", (TALKING, calling)).render(7))
    assert root.attrib == {"version": "7", "state": "full", "entity": "sip:201@pbx.example:5060"}
    first, second = root.findall(NS + "dialog")
    assert (first.attrib["direction"], second.attrib["direction"]) == ("initiator", "recipient")  # the liveliest stands last
    identity = first.find(f"{NS}remote/{NS}identity")
    assert identity is not None and (identity.text, identity.attrib["display"]) == ("sip:line/1@pbx.example:5060", 'A & "B" <c>')
    local = second.find(f"{NS}local/{NS}identity")
    assert local is not None and local.text == "sip:201@pbx.example:5060"


def test_a_hidden_party_is_not_told() -> None:
    body = DialogInfo("201", "h", (DialogNode("L1", DialogState.EARLY, True),)).render(0)
    assert b"remote" not in body and b"early" in body


@given(st.text(), st.text(), st.text(), st.sampled_from(list(DialogState)))
def test_no_name_breaks_out_of_its_element(resource: str, remote: str, display: str, state: DialogState) -> None:
    root = ElementTree.fromstring(DialogInfo(resource, "h", (DialogNode("L1", state, False, remote, display),)).render(1))
    assert [one.text for one in root.iter(NS + "state")] == [state.value]
    assert len(root.findall(NS + "dialog")) == 1


def test_many_calls_are_told_in_bounds() -> None:
    nodes = tuple(DialogNode(f"L{n}", DialogState.TRYING, False) for n in range(20))
    root = ElementTree.fromstring(DialogInfo("201", "h", (*nodes, TALKING)).render(1))
    found = [one.text for one in root.iter(NS + "state")]
    assert len(found) == 8 and found[-1] == "confirmed"


def test_flow_type_is_what_the_table_keeps(seed: int) -> None:
    phone = Watcher(seed)
    phone.subscribe()
    (subscription,) = phone.endpoint.subscriptions._table.values()
    assert subscription.dialog.flow == Flow("udp", PHONE, PBX)
