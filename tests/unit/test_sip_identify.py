"""Telling a peer with whom it speaks now (UPDATE, re-INVITE), and keys to it by INFO."""

from __future__ import annotations

import pytest

from firmware.sip import events as ev
from firmware.sip.message import Request
from firmware.sip.session_info import MOST_WAITING
from tests.unit.sip_peer import Peer, answer_sdp
from tests.unit.sip_stage import PBX, Network, audio, make_endpoint, pbx_and_phone

ANNA = (("P-Asserted-Identity", '"Anna" <sip:201@192.0.2.1>'),)
ALLOW = ("Allow", "INVITE, ACK, CANCEL, BYE, UPDATE, INFO")


@pytest.fixture
def net(seed: int) -> Network:
    return pbx_and_phone(seed % 1000)


@pytest.fixture
def peer(net: Network) -> Peer:
    return Peer(net)


def talk(net: Network, peer: Peer, *headers: tuple[str, str]) -> Request:
    """We call the peer, which answers with these headers; our INVITE."""
    net.send(PBX, ev.PlaceCall("c1", "sip:peer@198.51.100.7:5099", net.flow(PBX, ("198.51.100.7", 5099)), audio(PBX).offer(), number="100"))
    invite = peer.request("INVITE")
    peer.answer(invite, 200, *headers, body=answer_sdp())
    assert net.take(PBX, ev.CallAnswered)
    return invite


def test_update_tells_it_where_the_peer_allows_it(net: Network, peer: Peer) -> None:
    talk(net, peer, ALLOW)
    net.send(PBX, ev.Identify("c1", ANNA))
    update = peer.request("UPDATE")
    assert update.headers.get("p-asserted-identity") == ANNA[0][1] and update.body == b""
    peer.answer(update, 200)
    net.send(PBX, ev.Identify("c1", ANNA))                     # nothing new
    assert len(peer.heard("UPDATE")) == 1 and net.take(PBX, ev.CallEnded) == []


def test_a_peer_without_update_gets_the_same_offer_again(net: Network, peer: Peer) -> None:
    invite = talk(net, peer)
    net.send(PBX, ev.Identify("c1", ANNA))
    again = peer.request("INVITE")
    assert again is not invite and again.headers.get("p-asserted-identity") == ANNA[0][1] and again.body == invite.body
    peer.answer(again, 200, body=answer_sdp())
    assert peer.request("ACK").cseq.number == again.cseq.number


def test_update_refused_gives_way_to_reinvite(net: Network, peer: Peer) -> None:
    talk(net, peer, ALLOW)
    net.send(PBX, ev.Identify("c1", ANNA))
    peer.answer(peer.request("UPDATE"), 405)
    net.run(10)
    assert peer.request("INVITE").headers.get("p-asserted-identity") == ANNA[0][1]


def test_news_that_meet_another_transaction_follow_it(net: Network, peer: Peer) -> None:
    talk(net, peer, ALLOW)
    net.send(PBX, ev.OfferAgain("c1", audio(PBX).offer()))
    net.send(PBX, ev.Identify("c1", ANNA))
    net.run(1000)
    assert peer.heard("UPDATE") == []
    peer.answer(peer.request("INVITE"), 200, ALLOW, body=answer_sdp(2))
    net.run(300)
    assert len(peer.heard("UPDATE")) == 1


def test_news_survive_a_restart(net: Network, peer: Peer, seed: int) -> None:
    talk(net, peer, ALLOW)
    net.send(PBX, ev.OfferAgain("c1", audio(PBX).offer()))
    net.send(PBX, ev.Identify("c1", ANNA))
    data = net.endpoints[PBX].snapshot("c1")
    net.add(PBX, make_endpoint(seed + 3, trusting="200")).adopt("c1", data, net.now)
    net.run(300)
    assert peer.request("UPDATE").headers.get("p-asserted-identity") == ANNA[0][1]


def keys(peer: Peer) -> list[bytes]:
    return [one.body for one in peer.heard("INFO") if isinstance(one, Request)]


def test_keys_go_one_after_the_other(net: Network, peer: Peer) -> None:
    talk(net, peer, ALLOW)
    net.send(PBX, ev.SendInfo("c1", "1#"))
    first = peer.request("INFO")
    assert keys(peer) == [b"Signal=1\r\nDuration=160\r\n"] and first.content_type == "application/dtmf-relay"
    peer.answer(first, 200)
    assert keys(peer)[1:] == [b"Signal=#\r\nDuration=160\r\n"]
    peer.answer(peer.request("INFO"), 200)
    assert len(keys(peer)) == 2 and net.take(PBX, ev.InfoRefused) == []


def test_the_other_body_is_tried_and_a_peer_that_takes_neither_is_told_to_the_owner(net: Network, peer: Peer) -> None:
    talk(net, peer, ALLOW)
    net.send(PBX, ev.SendInfo("c1", "12"))
    peer.answer(peer.request("INFO"), 415)
    assert peer.request("INFO").content_type == "application/dtmf" and keys(peer)[-1] == b"1"
    peer.answer(peer.request("INFO"), 415)
    assert [one.digits for one in net.take(PBX, ev.InfoRefused) if isinstance(one, ev.InfoRefused)] == ["12"]
    assert net.take(PBX, ev.CallEnded) == []


def test_a_peer_that_forgot_the_call_or_is_silent_ends_it_and_keys_are_bounded(net: Network, peer: Peer) -> None:
    talk(net, peer, ALLOW)
    net.send(PBX, ev.SendInfo("c1", "1" * 500))
    assert len(net.endpoints[PBX].calls._sessions["c1"].info.waiting) == MOST_WAITING - 1
    net.run(40_000)
    assert [one.how for one in net.take(PBX, ev.CallEnded) if isinstance(one, ev.CallEnded)] == ["gone"]
