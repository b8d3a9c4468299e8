"""REFER with Replaces as its sender (RFC 3515, 3891, 5589), on the wire."""

from __future__ import annotations

import pytest

from firmware.sip import events as ev
from firmware.sip.message import Message, Request, Response
from firmware.sip.refer import parse_refer
from firmware.sip.replaces import Replaces
from tests.unit.sip_peer import PEER, Peer, answer_sdp
from tests.unit.sip_stage import PBX, Network, audio, pbx_and_phone

FRAG = (("Event", "refer"), ("Content-Type", "message/sipfrag;version=2.0"))


@pytest.fixture
def net(seed: int) -> Network:
    return pbx_and_phone(seed % 1000)


@pytest.fixture
def peer(net: Network) -> Peer:
    return Peer(net)


def talk(net: Network, peer: Peer, name: str) -> Request:
    net.send(PBX, ev.PlaceCall(name, f"sip:{name}@{PEER[0]}:{PEER[1]}", net.flow(PBX, PEER), audio(PBX).offer(), number="100"))
    invite = peer.request("INVITE")
    peer.answer(invite, 200, ("Contact", f"<sip:{name}@{PEER[0]}:{PEER[1]};x=1>"), tag="t" + name, body=answer_sdp())
    return invite


def outcomes(net: Network) -> list[tuple[str, int]]:
    return [(one.call, one.status) for one in net.take(PBX, ev.ReferEnded) if isinstance(one, ev.ReferEnded)]


def notify(peer: Peer, invite: Request, cseq: int, status: str, state: str = "active") -> Message:
    body = f"SIP/2.0 {status}\r\n".encode()
    (answer,) = peer.within("NOTIFY", invite, *FRAG, ("Subscription-State", state), cseq=cseq, tag="tone", body=body)
    return answer


def test_the_peer_is_asked_for_the_far_end_of_the_other_call_as_it_knows_it(net: Network, peer: Peer) -> None:
    first, second = talk(net, peer, "one"), talk(net, peer, "two")
    net.send(PBX, ev.ReferPeer("one", "two"))
    refer = peer.request("REFER")
    asked = parse_refer(refer)
    assert refer.call_id == first.call_id and asked.number == "two"
    assert asked.replaces == Replaces(second.call_id, "ttwo", second.from_.tag) and refer.headers.get("referred-by")
    peer.answer(refer, 202, tag="tone")
    assert outcomes(net) == []
    trying = notify(peer, first, 1, "100 Trying")
    assert isinstance(trying, Response) and trying.status == 200 and outcomes(net) == []
    done = notify(peer, first, 2, "200 OK", "terminated;reason=noresource")
    assert isinstance(done, Response) and done.status == 200 and outcomes(net) == [("one", 200)]
    late = notify(peer, first, 3, "200 OK", "terminated")
    assert isinstance(late, Response) and late.status == 481 and net.take(PBX, ev.CallEnded) == []


@pytest.mark.parametrize("status", [405, 603, 403])
def test_a_refusal_leaves_the_calls_as_they_are(net: Network, peer: Peer, status: int) -> None:
    talk(net, peer, "one")
    talk(net, peer, "two")
    net.send(PBX, ev.ReferPeer("one", "two"))
    peer.answer(peer.request("REFER"), status, tag="tone")
    assert outcomes(net) == [("one", status)] and net.take(PBX, ev.CallEnded) == []


def test_a_failed_or_forgotten_referral_is_told_once(net: Network, peer: Peer) -> None:
    first = talk(net, peer, "one")
    talk(net, peer, "two")
    net.send(PBX, ev.ReferPeer("one", "two"))
    peer.answer(peer.request("REFER"), 202, tag="tone")
    net.send(PBX, ev.ReferPeer("one", "two"))
    assert outcomes(net) == [("one", 491)]
    notify(peer, first, 1, "486 Busy Here", "terminated")
    assert outcomes(net) == [("one", 486)]
    net.send(PBX, ev.ReferPeer("one", "two"))
    peer.answer(peer.request("REFER"), 202, tag="tone")
    net.run(ev.ReferPeer("one", "two").patience_ms + 1000)
    assert outcomes(net) == [("one", 408)]
    net.send(PBX, ev.ReferPeer("one", "nobody"))
    assert outcomes(net) == [("one", 481)]


def test_a_notify_that_was_not_asked_for_is_481(net: Network, peer: Peer) -> None:
    first = talk(net, peer, "one")
    answer = notify(peer, first, 1, "200 OK")
    assert isinstance(answer, Response) and answer.status == 481 and outcomes(net) == []


def test_the_peer_is_asked_for_a_number(net: Network, peer: Peer) -> None:
    """Blind (RFC 5589 section 6): what came of it is told apart from a peer that cannot."""
    first = talk(net, peer, "one")
    wanted = ev.ReferPeer("one", uri="sip:0138001@carrier.example;user=phone", patience_ms=90_000)
    for status, told in (("200 OK", 200), ("486 Busy Here", 486)):
        net.send(PBX, wanted)
        refer = peer.request("REFER")
        assert parse_refer(refer).number == "0138001" and parse_refer(refer).replaces is None
        assert refer.headers.get("refer-to") == "<sip:0138001@carrier.example;user=phone>" and refer.headers.get("referred-by")
        peer.answer(refer, 202, tag="tone")
        net.run(80_000)
        notify(peer, first, told, status, "terminated;reason=noresource")
        assert [(one.status, one.tried) for one in net.take(PBX, ev.ReferEnded)] == [(told, True)]
    net.send(PBX, wanted)
    peer.answer(peer.request("REFER"), 501, tag="tone")
    assert [(one.status, one.tried) for one in net.take(PBX, ev.ReferEnded)] == [(501, False)]
    net.send(PBX, wanted)
    peer.answer(peer.request("REFER"), 202, tag="tone")
    net.run(91_000)
    assert [(one.status, one.tried) for one in net.take(PBX, ev.ReferEnded)] == [(408, True)]
