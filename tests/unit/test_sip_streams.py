"""Requests within a dialog that are too large for a datagram: over TCP, and as datagrams where that is refused. RFC 3261 section 18.1.1."""

from __future__ import annotations

import msgspec
import pytest

from firmware.sip import events as ev
from firmware.sip.flow import Flow, Outgoing
from firmware.sip.message import Request, Response, respond
from firmware.sip.parse import parse_datagram
from firmware.sip.streams import MAX_STREAMLESS, MOST_UDP, STREAM_PATIENCE_MS, STREAMLESS_MS, Streamless, stream_way
from firmware.sip.transaction import Ended, TransactionLayer
from tests.unit.sip_stage import PBX, PHONE, Network, audio, call, pbx_and_phone, request
from tests.unit.test_sip_event_list import LIST, ListHouse
from tests.unit.test_sip_events import Watcher

UDP = Flow("udp", PHONE, PBX)
BIG = b"x" * MOST_UDP


def notify(*, body: bytes = BIG, uri: str = "sip:200@192.0.2.20:5062", to_tag: str = "there", method: str = "NOTIFY",
           extra: tuple[tuple[str, str], ...] = ()) -> Request:  # fmt: skip
    return request(method, uri, body=body, to_tag=to_tag, source=PBX, extra=(("Content-Type", "text/plain"), *extra))


def sent(layer: TransactionLayer) -> list[tuple[str, str, str]]:
    """Transport, top Via's transport and branch of what is to be sent."""
    out, layer.output = layer.output, []
    found = []
    for one in out:
        assert isinstance(one, Outgoing) and one.destination == PHONE
        message = parse_datagram(one.data)
        assert isinstance(message, Request)
        found.append((one.transport, message.via.transport, message.via.branch))
    return found


def test_a_refused_connection_is_followed_by_the_same_request_as_a_datagram() -> None:
    layer = TransactionLayer()
    transaction = layer.request(notify(), UDP, "owner", 1000)
    ((transport, via, branch),) = sent(layer)
    assert (transport, via) == ("tcp", "tcp") and layer.deadline() == 1000 + STREAM_PATIENCE_MS
    layer.transport_error("tcp", PHONE, 1010)
    assert sent(layer) == [("udp", "udp", branch)] and layer.events == []
    layer.expire(1510)
    assert sent(layer) == [("udp", "udp", branch)]         # repeated as any datagram
    answer = respond(notify(), 200)
    layer.receive_response(transaction, answer, 1600)
    assert [event.transaction for event in layer.events] == [transaction]
    # This peer takes no connection: not tried again for a while.
    layer.request(notify(), UDP, "owner", 2000)
    assert [one[:2] for one in sent(layer)] == [("udp", "udp")]
    layer.request(notify(), UDP, "owner", 1010 + STREAMLESS_MS)
    assert [one[:2] for one in sent(layer)] == [("tcp", "tcp")]


def test_silence_over_the_stream_is_no_answer_either() -> None:
    layer = TransactionLayer()
    layer.request(notify(method="INVITE"), UDP, "owner", 0)
    sent(layer)
    layer.expire(STREAM_PATIENCE_MS - 1)
    assert sent(layer) == []
    layer.expire(STREAM_PATIENCE_MS)
    assert [one[:2] for one in sent(layer)] == [("udp", "udp")]
    layer.expire(32_000)
    assert [event.why for event in layer.events if isinstance(event, Ended)] == ["timed-out"]


@pytest.mark.parametrize("method", ["NOTIFY", "INVITE"])
def test_an_answer_over_the_stream_ends_the_waiting(method: str) -> None:
    layer = TransactionLayer()
    asked = notify(method=method)
    transaction = layer.request(asked, UDP, "owner", 0)
    layer.receive_response(transaction, respond(asked, 100), 50)
    layer.expire(10_000)
    assert [one[0] for one in sent(layer)] == ["tcp"]
    layer.transport_error("tcp", PHONE, 11_000)            # it has the request: another one would be a second one
    assert sent(layer) == []
    layer.receive_response(transaction, respond(asked, 488), 12_000)
    assert [one[:2] for one in sent(layer)] == ([("tcp", "tcp")] if method == "INVITE" else [])      # the ACK goes where the INVITE went


@pytest.mark.parametrize(
    "asked",
    [
        notify(body=b"small"), notify(to_tag=""), notify(uri="sip:200@192.0.2.20:5062;transport=udp"), notify(uri="sip:200@10.0.0.9:5062"),
        notify(extra=(("Route", "<sip:10.0.0.9;lr>"),)), notify(uri="sip:200@192.0.2.20"),
    ],
    ids=["small", "no dialog", "wants UDP", "behind a router", "route", "other port"],
)  # fmt: skip
def test_what_stays_a_datagram(asked: Request) -> None:
    layer = TransactionLayer()
    layer.request(asked, UDP, "owner", 0)
    assert [one[:2] for one in sent(layer)] == [("udp", "udp")]
    assert stream_way(asked, Flow("tcp", PHONE, PBX), 5000) is None


def test_memory_of_refusals_is_bounded_and_short() -> None:
    streamless = Streamless()
    for port in range(MAX_STREAMLESS + 50):
        streamless.add(("192.0.2.9", port), 0)
    assert len(streamless) == MAX_STREAMLESS and not streamless.has(("192.0.2.9", 0), 1) and streamless.has(("192.0.2.9", 60), 1)
    assert not streamless.has(("192.0.2.9", 60), STREAMLESS_MS)


def test_a_long_notify_goes_over_tcp_and_the_next_short_one_over_udp(seed: int) -> None:
    phone = Watcher(seed, house=ListHouse(tuple(str(201 + n) for n in range(12))))
    phone.house.dialogs = {str(201 + n): () for n in range(12)}
    _, (first,) = phone.subscribe("desk", extra=LIST)
    assert first.via.transport == "tcp" and len(first.render()) > MOST_UDP
    assert "transport" not in first.headers.get("contact")         # the dialog stays where it is
    phone.fresh()
    phone.endpoint.connection_lost("tcp", PHONE, phone.net.now)
    phone.net._collect(PBX)
    datagram = [parse_datagram(data) for _, data in phone.net.strays if data.startswith(b"NOTIFY")][-1]
    assert isinstance(datagram, Request) and (datagram.via.transport, datagram.via.branch) == ("udp", first.via.branch)
    assert datagram.body == first.body and datagram.cseq.number == first.cseq.number
    phone.answer(datagram)
    phone.fresh()
    phone.house.dialogs.pop("212")
    (second,) = phone.changed()
    assert second.via.transport == "udp"


def test_a_long_reinvite_goes_over_tcp_and_its_call_goes_on(seed: int) -> None:
    net: Network = pbx_and_phone(seed % 1000)
    offering, _, _ = call(net, PBX, PHONE)
    net.run(1000)
    plain = offering.offer()
    long = msgspec.structs.replace(plain.media[0], attributes=(*plain.media[0].attributes, *[("x-note", "y" * 60)] * 25))
    description = msgspec.structs.replace(plain, media=(long,))
    net.send(PBX, ev.OfferAgain("c1", description))
    (asked,) = [one for one in net.sent(PBX, "INVITE ") if one.cseq.number > 1]
    assert asked.via.transport == "tcp" and len(asked.render()) > MOST_UDP and "transport" not in asked.headers.get("contact")
    net.run(100)
    (offered,) = net.take(PHONE, ev.Reoffered)
    assert isinstance(offered, ev.Reoffered) and offered.offer is not None
    net.send(PHONE, ev.AnswerOffer(offered.call, audio(PHONE, 4100).receive_offer(offered.offer)))
    net.run(200)
    assert len(net.take(PBX, ev.OfferAnswered)) == 1
    ack = net.sent(PBX, "ACK ")[-1]
    assert isinstance(ack, Request) and not isinstance(ack, Response) and ack.via.transport == "udp"
