"""Fail-over of an INVITE from one server to the next (RFC 3263 section 4.3), and large requests over TCP (RFC 3261 section 18.1.1)."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.sip import events as ev
from firmware.sip.flow import Address, Flow
from firmware.sip.message import Request, respond
from firmware.sip.parse import parse_datagram
from firmware.sip.streams import STREAM_PATIENCE_MS
from tests.unit.sip_stage import PBX, SDP, audio, make_endpoint, request

A, B, C = ("192.0.2.51", 5060), ("192.0.2.52", 5060), ("192.0.2.53", 5061)
TLS = Flow("tls", C, (PBX[0], 5061), "carrier.example")


class Box:
    """An endpoint whose network is this test."""

    def __init__(self, seed: int, trusting: str = "") -> None:
        self.endpoint = make_endpoint(seed, trusting=trusting)
        self.now = 1000
        self.sent: list[tuple[str, Address, Request, str]] = []
        self.seen: list[ev.Event] = []

    def collect(self) -> None:
        for outgoing in self.endpoint.output():
            message = parse_datagram(outgoing.data)
            assert isinstance(message, Request)
            self.sent.append((outgoing.transport, outgoing.destination, message, outgoing.name))
        self.seen += self.endpoint.events()

    def collect_answers(self) -> list[tuple[str, Address, bytes]]:
        """Answers sent since the last look."""
        self.seen += self.endpoint.events()
        return [(one.transport, one.destination, one.data) for one in self.endpoint.output() if one.data.startswith(b"SIP/2.0 ")]

    def place(self, *flows: Flow, uri: str = "sip:600@carrier.example", headers: tuple[tuple[str, str], ...] = (), **options: Any) -> None:
        command = ev.PlaceCall("c", uri, flows[0], audio(PBX).offer(), number="100", headers=headers, further=flows[1:], **options)
        self.endpoint.send(command, self.now)
        self.collect()

    def wait(self, ms: int) -> None:
        end = self.now + ms
        while (due := self.endpoint.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.endpoint.expire(self.now)
            self.collect()
        self.now = end

    def lost(self, flow: Flow) -> None:
        self.endpoint.connection_lost(flow.transport, flow.remote, self.now)
        self.collect()

    def answer(self, request: Request, status: int, flow: Flow, *, body: bytes = b"", **headers: str) -> None:
        extra = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        response = respond(request, status, to_tag="far", headers=extra, body=body, content_type="application/sdp" if body else "")
        self.endpoint.receive(response.render(), flow.remote, flow.transport, self.now, flow.local)
        self.collect()

    def invites(self) -> list[tuple[str, Address, Request, str]]:
        """The INVITEs sent, repetitions aside."""
        out: dict[str, tuple[str, Address, Request, str]] = {}
        for one in self.sent:
            if one[2].method == "INVITE":
                out.setdefault(one[2].via.branch, one)
        return [*out.values()]

    def last(self, method: str) -> tuple[str, Address, Request, str]:
        return next(one for one in reversed(self.sent) if one[2].method == method)

    def take(self, kind: type[ev.Event]) -> list[Any]:
        return [one for one in self.seen if isinstance(one, kind)]


def udp(address: Address) -> Flow:
    return Flow("udp", address, PBX)


def established(box: Box, flow: Flow) -> None:
    box.answer(box.invites()[-1][2], 200, flow, body=SDP, Contact="<sip:far@192.0.2.99>")
    assert len(box.take(ev.CallAnswered)) == 1 and box.last("ACK")[1] == flow.remote


@pytest.fixture
def box(seed: int) -> Box:
    return Box(seed)


def test_silence_transport_failure_and_503_lead_on(box: Box) -> None:
    box.place(udp(A), udp(B), TLS)
    box.wait(40_000)
    assert [one[1] for one in box.invites()][:2] == [A, B], "timer B of the first"
    box.lost(udp(B))
    transport, where, third, name = box.invites()[2]
    assert (transport, where, name) == ("tls", C, "carrier.example"), "the certificate has to name what was asked for"
    assert third.headers.get("contact").endswith("@192.0.2.1:5061;transport=tls>") and third.via.transport.lower() == "tls"
    assert [one.why for one in box.take(ev.WayFailed)] == ["timed-out", "failed"]
    established(box, TLS)
    first, second, third = (one[2] for one in box.invites())
    assert len({first.via.branch, second.via.branch, third.via.branch}) == 3
    assert first.call_id == third.call_id and first.from_.tag == third.from_.tag and first.cseq == third.cseq and first.body == third.body
    box.endpoint.send(ev.EndCall("c"), box.now)
    box.collect()
    assert box.last("BYE")[:2] == ("tls", C) and box.last("BYE")[3] == "carrier.example"


def test_503_says_for_how_long(box: Box) -> None:
    box.place(udp(A), udp(B))
    box.answer(box.invites()[0][2], 503, udp(A), Retry_After="120 (rest)")
    (failed,) = box.take(ev.WayFailed)
    assert (failed.flow.remote, failed.why, failed.retry_after_s) == (A, "refused", 120)
    assert box.last("ACK")[1] == A
    established(box, udp(B))


@pytest.mark.parametrize("status", [404, 486, 480, 500, 504, 603, 408])
def test_any_other_answer_is_the_answer(box: Box, status: int) -> None:
    box.place(udp(A), udp(B))
    box.answer(box.invites()[0][2], status, udp(A))
    (ended,) = box.take(ev.CallEnded)
    assert ended.status == status and len(box.invites()) == 1


def test_the_last_failure_ends_the_call(box: Box) -> None:
    box.place(udp(A), udp(B))
    box.lost(udp(A))
    box.answer(box.invites()[1][2], 503, udp(B))
    (ended,) = box.take(ev.CallEnded)
    assert ended.status == 503 and len(box.take(ev.WayFailed)) == 2 and box.endpoint.statistics()["sessions"] == 0


def test_patience_is_shorter_than_timer_b_and_a_late_server_is_released(box: Box) -> None:
    box.place(udp(A), udp(B), patience_ms=3000)
    box.wait(2999)
    assert len(box.invites()) == 1
    box.wait(1)
    assert box.invites()[1][1] == B
    first = box.invites()[0][2]
    box.answer(first, 180, udp(A))
    box.answer(first, 180, udp(A))
    cancels = [one for one in box.sent if one[2].method == "CANCEL"]
    assert [one[1] for one in cancels] == [A] and cancels[0][2].via.branch == first.via.branch
    assert box.take(ev.CallRinging) == []
    box.answer(first, 200, udp(A), body=SDP, Contact="<sip:late@192.0.2.51>")
    assert box.last("ACK")[1] == A and box.last("BYE")[1] == A
    established(box, udp(B))
    assert [one for one in box.sent if one[2].method == "BYE"] == [box.last("BYE")]


def test_somebody_who_answers_100_is_waited_for(box: Box) -> None:
    box.place(udp(A), udp(B), patience_ms=3000)
    box.answer(box.invites()[0][2], 100, udp(A))
    box.wait(60_000)
    assert len(box.invites()) == 1
    established(box, udp(A))


def test_a_call_that_is_given_up_tries_nobody_else(box: Box) -> None:
    box.place(udp(A), udp(B), patience_ms=3000)
    box.endpoint.send(ev.EndCall("c"), box.now)
    box.wait(100_000)
    assert len(box.invites()) == 1 and box.endpoint.statistics()["sessions"] == 0


def test_ways_that_would_name_another_address_in_the_description_are_left_out(box: Box) -> None:
    box.place(udp(A), Flow("udp", B, ("198.51.100.1", 5060)), udp(C))
    box.lost(udp(A))
    assert [one[1] for one in box.invites()] == [A, C]


# --- large requests -----------------------------------------------------------------------------------------------------

LARGE = (("X-Filler", "x" * 900),)
DESK = ("192.0.2.20", 5062)


def test_what_is_too_large_for_a_datagram_goes_over_tcp(box: Box) -> None:
    box.place(udp(DESK), uri="sip:200@192.0.2.20:5062", headers=LARGE)
    ((transport, where, invite, _),) = box.invites()
    assert (transport, where) == ("tcp", DESK) and invite.via.transport.lower() == "tcp"
    assert invite.headers.get("contact").endswith(";transport=tcp>")
    established(box, Flow("tcp", DESK, PBX))


def test_who_refuses_the_connection_gets_it_over_udp_and_is_remembered(box: Box) -> None:
    box.place(udp(DESK), uri="sip:200@192.0.2.20:5062", headers=LARGE)
    box.lost(Flow("tcp", DESK, PBX))
    assert [one[0] for one in box.invites()] == ["tcp", "udp"] and box.take(ev.WayFailed) == []
    assert "transport" not in box.invites()[1][2].headers.get("contact")
    established(box, udp(DESK))
    box.sent.clear()
    box.endpoint.send(ev.PlaceCall("d", "sip:200@192.0.2.20:5062", udp(DESK), audio(PBX).offer(), headers=LARGE), box.now)
    box.collect()
    assert [one[0] for one in box.invites()] == ["udp"]
    box.wait(3_600_000)
    box.sent.clear()
    box.endpoint.send(ev.PlaceCall("e", "sip:200@192.0.2.20:5062", udp(DESK), audio(PBX).offer(), headers=LARGE), box.now)
    box.collect()
    assert [one[0] for one in box.invites()] == ["tcp"]


def test_a_firewall_that_says_nothing_costs_little(box: Box) -> None:
    box.place(udp(DESK), uri="sip:200@192.0.2.20:5062", headers=LARGE)
    box.wait(STREAM_PATIENCE_MS)
    assert [one[0] for one in box.invites()] == ["tcp", "udp"]


@pytest.mark.parametrize(
    ("uri", "headers"),
    [
        ("sip:200@192.0.2.20:5062", ()),                                    # small
        ("sip:200@10.0.0.9:5062", LARGE),                                   # behind a router
        ("sip:200@192.0.2.20:5062;transport=udp", LARGE),                   # asked for
    ],
)  # fmt: skip
def test_where_tcp_is_of_no_use_udp_it_is(box: Box, uri: str, headers: tuple[tuple[str, str], ...]) -> None:
    box.place(udp(DESK), uri=uri, headers=headers)
    assert [one[0] for one in box.invites()] == ["udp"]




def test_icmp_ends_what_begins_and_nothing_that_goes_on(box: Box) -> None:
    box.place(udp(A))
    established(box, udp(A))
    box.sent.clear()
    box.endpoint.send(ev.OfferAgain("c", audio(PBX).offer()), box.now)
    box.collect()
    box.lost(udp(("192.0.2.99", 5060)))
    box.lost(udp(A))
    box.wait(600)
    assert [one[2].method for one in box.sent] == ["INVITE", "INVITE"], "sent again, not given up"
    assert box.take(ev.CallEnded) == []
    box.endpoint.send(ev.PlaceCall("d", "sip:600@carrier.example", udp(B), audio(PBX).offer()), box.now)
    box.collect()
    box.lost(udp(B))
    assert [(one.call, one.how, one.status) for one in box.take(ev.CallEnded)] == [("d", "timeout", 503)]


# --- the way back --------------------------------------------------------------------------------------------------------


def called(box: Box, flow: Flow) -> str:
    """A call that comes over a connection, which then ends; its id."""
    box.endpoint.connection_made(flow.transport, flow.remote)
    invite = request("INVITE", "sip:600@192.0.2.1", source=(flow.remote[0], 5066), transport="TCP", body=SDP)
    box.endpoint.receive(invite.render(), flow.remote, flow.transport, box.now, flow.local)
    box.collect_answers()
    (incoming,) = box.take(ev.IncomingCall)
    box.lost(flow)
    return str(incoming.call)


def test_an_answer_finds_its_way_when_the_connection_is_gone(seed: int) -> None:
    box = Box(seed, trusting="200")
    flow = Flow("tcp", ("192.0.2.20", 40001), PBX)
    call = called(box, flow)
    box.endpoint.send(ev.AnswerCall(call, audio(PBX).offer()), box.now)
    assert [(transport, where) for transport, where, _ in box.collect_answers()] == [("tcp", ("192.0.2.20", 5066))], "sent-by"


def test_an_answer_goes_over_the_connection_that_the_phone_came_back_on(seed: int) -> None:
    box = Box(seed, trusting="200")
    call = called(box, Flow("tcp", ("192.0.2.20", 40001), PBX))
    back = Flow("tcp", ("192.0.2.20", 40002), PBX)
    box.endpoint.connection_made("tcp", back.remote)
    box.endpoint.calls.reattach("200", back)
    box.endpoint.send(ev.AnswerCall(call, audio(PBX).offer()), box.now)
    assert [where for _, where, _ in box.collect_answers()] == [back.remote]
