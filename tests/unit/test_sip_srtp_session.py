"""Keys in the sessions of an endpoint: an offer again in clear, and snapshots that hold no key."""

from __future__ import annotations

import base64
import copy

import msgspec
import pytest

from firmware.sip import events as ev
from firmware.sip import sdes
from firmware.sip.offer import NotAcceptable, OfferAnswer
from firmware.sip.sdp import Description
from firmware.sip.session_state import Phase, SessionState
from tests.unit.sip_stage import PBX, PHONE, Network, make_endpoint

OURS, THEIRS = b"O" * 46, b"T" * 46


@pytest.fixture
def net() -> Network:
    network = Network(3)
    network.add(PBX, make_endpoint(1))
    network.add(PHONE, make_endpoint(2, trusting="pbx"))
    return network


def side(address: tuple[str, int], key: bytes = b"", *, required: bool = False) -> OfferAnswer:
    secure = sdes.offer(tuple(sdes.SUITES), lambda n: key[:n]) if key else ()
    return OfferAnswer(address[0], 4000, "9", ("pcma",), srtp=("required" if required else "offer") if key else "off", secure=secure)


def ring(network: Network, offering: OfferAnswer, *others: Description) -> ev.IncomingCall:
    """`others`: what is offered when the first offer was refused, in order."""
    queue = list(others)
    network.endpoints[PBX].calls.another = lambda call: queue.pop(0) if queue else None
    network.send(PBX, ev.PlaceCall("c1", f"sip:{PHONE[0]}:{PHONE[1]}", network.flow(PBX, PHONE), offering.offer()))
    network.run(100)
    (incoming,) = network.take(PHONE, ev.IncomingCall)
    assert isinstance(incoming, ev.IncomingCall)
    return incoming


def hidden(data: bytes) -> bool:
    return all(key not in data and base64.b64encode(key) not in data for key in (OURS[:28], THEIRS[:28], OURS[:30], THEIRS[:30]))


def test_a_phone_that_refuses_encryption_is_offered_the_same_in_clear_once(net: Network) -> None:
    offering, answering = side(PBX, OURS), side(PHONE)
    first = ring(net, offering, copy.copy(offering).in_clear())
    assert first.offer is not None
    assert first.offer.media[0].proto == "RTP/SAVP"
    with pytest.raises(NotAcceptable):
        answering.receive_offer(first.offer)
    net.send(PHONE, ev.RefuseCall(first.call, 488))
    net.run(100)
    (second,) = net.take(PHONE, ev.IncomingCall)
    assert isinstance(second, ev.IncomingCall)
    assert second.offer is not None
    invites = net.sent(PBX, "INVITE")
    assert [(one.cseq.number, one.call_id) for one in invites] == [(1, invites[0].call_id), (2, invites[0].call_id)]
    net.send(PHONE, ev.AnswerCall(second.call, answering.receive_offer(second.offer)))
    net.run(200)
    (answered,) = net.take(PBX, ev.CallAnswered)
    assert isinstance(answered, ev.CallAnswered)
    offering.in_clear()
    assert answered.answer is not None
    assert offering.receive_answer(answered.answer).suite == ""


def test_a_refusal_of_the_last_offer_ends_the_call(net: Network) -> None:
    for more in (2, 1, 0):
        offering = side(PBX, OURS)
        incoming = ring(net, offering, *(copy.copy(offering).in_clear() for _ in range(more)))
        for _ in range(more + 1):
            assert not net.take(PBX, ev.CallEnded)
            net.send(PHONE, ev.RefuseCall(incoming.call, 488))
            net.run(100)
            more = net.take(PHONE, ev.IncomingCall)
            incoming = more[0] if more else incoming  # type: ignore[assignment]
        (ended,) = net.take(PBX, ev.CallEnded)
        assert isinstance(ended, ev.CallEnded)
        assert (ended.how, ended.status) == ("final", 488)


def test_no_snapshot_of_a_session_has_a_key_in_any_phase(net: Network) -> None:
    offering, answering = side(PBX, OURS), side(PHONE, THEIRS)
    incoming = ring(net, offering)
    pbx, phone = net.endpoints[PBX], net.endpoints[PHONE]
    seen = [pbx.snapshot("c1"), phone.snapshot(incoming.call)]
    assert incoming.offer is not None
    answer = answering.receive_offer(incoming.offer)
    net.filter = lambda source, destination, data: not data.startswith(b"ACK")
    net.send(PHONE, ev.AnswerCall(incoming.call, answer))
    net.run(100)
    seen += [pbx.snapshot("c1"), phone.snapshot(incoming.call)]
    net.filter = lambda source, destination, data: True
    net.run(1000)
    seen += [pbx.snapshot("c1"), phone.snapshot(incoming.call)]
    assert len(seen) == 6
    assert all(seen)
    assert any(b"inline:*" in data for data in seen)
    assert all(hidden(data) for data in seen)
    lines = [line.data for line in (*pbx.trace("c1"), *phone.trace(incoming.call))]
    assert any(b"a=crypto" in data for data in lines)
    assert all(hidden(data) for data in lines)


def test_an_adopted_session_sends_no_hidden_key_and_refreshes_with_what_it_is_given(net: Network) -> None:
    offering, answering = side(PBX, OURS), side(PHONE, THEIRS)
    incoming = ring(net, offering)
    assert incoming.offer is not None
    net.send(PHONE, ev.AnswerCall(incoming.call, answering.receive_offer(incoming.offer)))
    net.run(200)
    state = msgspec.msgpack.decode(net.endpoints[PBX].snapshot("c1"), type=SessionState)
    state.peer_update = False                      # so that it is refreshed by re-INVITE
    stored = msgspec.msgpack.encode(state)
    net.endpoints[PBX] = make_endpoint(5)
    assert net.endpoints[PBX].adopt("c1", stored, net.now) is Phase.CONFIRMED
    (answered,) = net.take(PBX, ev.CallAnswered)
    assert isinstance(answered, ev.CallAnswered)
    assert answered.answer is not None
    offering.receive_answer(answered.answer)
    renewed = offering.without_keys()
    renewed.secure = sdes.offer(tuple(sdes.SUITES), lambda n: b"N" * n)
    net.endpoints[PBX].describe("c1", renewed.offer())
    mark = len(net.log)
    net.run(2_000_000)                             # the session interval passes more than once
    assert net.take(PHONE, ev.Reoffered)
    sent = [data for _, source, _, data in net.log[mark:] if source == PBX]
    assert not any(sdes.keys_hidden(data) for data in sent)
    assert any(base64.b64encode(b"N" * 30) in data for data in sent)
