"""Reliable provisional answers (RFC 3262), UPDATE as target (RFC 3311) and early dialogs."""

from __future__ import annotations

import pytest

from firmware.sip import events as ev
from firmware.sip.errors import SyntaxProblem
from firmware.sip.message import Message, Request, Response
from firmware.sip.offer import OfferAnswer
from firmware.sip.session_reliable import MOST_EARLY, parse_rack
from firmware.sip.session_state import Phase
from tests.unit.sip_peer import PEER, Peer, answer_sdp
from tests.unit.sip_stage import PBX, PHONE, SDP, Network, audio, make_endpoint, pbx_and_phone, sdp

REL = ("Require", "100rel")


@pytest.fixture
def net(seed: int) -> Network:
    return pbx_and_phone(seed % 1000)


@pytest.fixture
def peer(net: Network) -> Peer:
    return Peer(net)


def place(net: Network, peer: Peer) -> Request:
    net.send(PBX, ev.PlaceCall("c1", f"sip:peer@{PEER[0]}:{PEER[1]}", net.flow(PBX, PEER), audio(PBX).offer(), number="100"))
    return peer.request("INVITE")


def offered(net: Network, peer: Peer, *headers: tuple[str, str], body: bytes = SDP) -> str:
    peer.ask("INVITE", *headers, cseq=1, body=body)
    (incoming,) = net.take(PBX, ev.IncomingCall)
    assert isinstance(incoming, ev.IncomingCall)
    return incoming.call


def only(messages: list[Message]) -> Response:
    (message,) = messages
    assert isinstance(message, Response)
    return message


def over(net: Network) -> list[tuple[str, int]]:
    return [(event.how, event.status) for event in net.take(PBX, ev.CallEnded) if isinstance(event, ev.CallEnded)]


# --- called -----------------------------------------------------------------------------------------------------------


def test_a_caller_that_requires_it_gets_180_until_its_prack(net: Network, peer: Peer) -> None:
    name = offered(net, peer, REL)
    net.send(PBX, ev.RingCall(name))
    ringing = peer.response(180)
    assert ringing.headers.tokens("require") == ["100rel"] and ringing.contact is not None
    rseq = int(ringing.headers.get("rseq"))
    assert 1 <= rseq < 2**31
    net.run(3_600)  # 500, 1500, 3500
    repeats = peer.heard("SIP/2.0 180")
    assert len(repeats) == 4 and len({message.render() for message in repeats}) == 1
    assert only(peer.ask("PRACK", ("RAck", f"{rseq + 1} 1 INVITE"), cseq=2, to_tag=ringing.to.tag)).status == 481
    assert only(peer.ask("PRACK", ("RAck", f"{rseq} 2 INVITE"), cseq=3, to_tag=ringing.to.tag)).status == 481
    assert only(peer.ask("PRACK", ("RAck", f"{rseq} 1 INVITE"), cseq=4, to_tag=ringing.to.tag)).status == 200
    net.run(60_000)
    assert len(peer.heard("SIP/2.0 180")) == 4 and over(net) == []
    assert only(peer.ask("PRACK", ("RAck", f"{rseq} 1 INVITE"), cseq=5, to_tag=ringing.to.tag)).status == 481
    net.send(PBX, ev.RingCall(name))
    assert int(peer.response(180).headers.get("rseq")) == rseq + 1


def test_no_prack_in_64_t1_is_504(net: Network, peer: Peer) -> None:
    net.send(PBX, ev.RingCall(offered(net, peer, REL)))
    net.run(31_900)
    assert peer.heard("SIP/2.0 504") == []
    net.run(200)
    assert peer.heard("SIP/2.0 504") and over(net) == [("no-ack", 504)]
    peer.ask("ACK", cseq=1, to_tag=peer.response(504).to.tag)
    net.run(60_000)
    assert net.endpoints[PBX].statistics()["sessions"] == 0


def test_answered_before_the_prack_which_is_still_right(net: Network, peer: Peer) -> None:
    name = offered(net, peer, REL)
    net.send(PBX, ev.RingCall(name))
    net.send(PBX, ev.AnswerCall(name, audio(PBX).receive_offer(sdp())))
    ringing = peer.response(180)
    assert only(peer.ask("PRACK", ("RAck", f"{ringing.headers.get('rseq')} 1 INVITE"), cseq=2, to_tag=ringing.to.tag)).status == 200
    peer.ask("ACK", cseq=1, to_tag=ringing.to.tag)
    net.run(40_000)
    assert len(peer.heard("SIP/2.0 180")) == 1 and over(net) == [] and net.endpoints[PBX].calls.phase(name) is Phase.CONFIRMED


def test_early_audio_is_told_in_a_183_and_again_in_the_200(net: Network, peer: Peer) -> None:
    name = offered(net, peer, ("Supported", "100rel"))
    ours = audio(PBX).receive_offer(sdp())
    net.send(PBX, ev.RingCall(name))
    net.send(PBX, ev.RingCall(name, ours))
    assert peer.response(180).body == b"" and peer.response(183).body == ours.build()
    net.send(PBX, ev.AnswerCall(name, ours))
    answer = peer.response(200)
    assert answer.body == ours.build() and answer.to.tag == peer.response(183).to.tag


def test_a_reliable_183_is_acknowledged_before_the_200_which_says_nothing_again(net: Network, peer: Peer) -> None:
    name = offered(net, peer, REL)
    ours = audio(PBX).receive_offer(sdp())
    net.send(PBX, ev.RingCall(name))
    net.send(PBX, ev.RingCall(name, ours))                      # waits for the PRACK of the 180
    assert peer.heard("SIP/2.0 183") == []
    ringing = peer.response(180)
    tag = ringing.to.tag
    peer.ask("PRACK", ("RAck", f"{ringing.headers.get('rseq')} 1 INVITE"), cseq=2, to_tag=tag)
    early = peer.response(183)
    assert early.body == ours.build() and int(early.headers.get("rseq")) == int(ringing.headers.get("rseq")) + 1
    moved = SDP.replace(b"o=- 1 1", b"o=- 1 2").replace(b"4000", b"4002")
    assert only(peer.ask("UPDATE", cseq=3, to_tag=tag, body=moved)).status == 500    # our answer is not known to have arrived
    net.send(PBX, ev.AnswerCall(name, ours))
    assert not any(isinstance(one, Response) and one.cseq.method == "INVITE" for one in peer.heard("SIP/2.0 200"))
    peer.ask("PRACK", ("RAck", f"{early.headers.get('rseq')} 1 INVITE"), cseq=4, to_tag=tag)
    final = [one for one in peer.heard("SIP/2.0 200") if isinstance(one, Response) and one.cseq.method == "INVITE"]
    assert len(final) == 1 and final[0].body == b""
    peer.ask("ACK", cseq=1, to_tag=tag)
    net.run(40_000)
    assert over(net) == [] and net.endpoints[PBX].calls.phase(name) is Phase.CONFIRMED


def test_early_audio_may_be_moved_by_update_once_it_is_acknowledged(net: Network, peer: Peer) -> None:
    name = offered(net, peer, REL)
    negotiation = audio(PBX)
    net.send(PBX, ev.RingCall(name, negotiation.receive_offer(sdp())))
    early = peer.response(183)
    tag = early.to.tag
    peer.ask("PRACK", ("RAck", f"{early.headers.get('rseq')} 1 INVITE"), cseq=2, to_tag=tag)
    peer.ask("UPDATE", cseq=3, to_tag=tag, body=SDP.replace(b"o=- 1 1", b"o=- 1 2").replace(b"4000", b"4002"))
    (offer,) = net.take(PBX, ev.Reoffered)
    assert isinstance(offer, ev.Reoffered) and offer.offer is not None and offer.offer.media[0].port == 4002
    net.send(PBX, ev.AnswerOffer(name, negotiation.receive_offer(offer.offer)))
    (answered,) = [one for one in peer.heard("SIP/2.0 200") if isinstance(one, Response) and one.cseq.method == "UPDATE"]
    assert answered.body
    net.send(PBX, ev.AnswerCall(name, negotiation.last or negotiation.offer()))
    assert any(isinstance(one, Response) and one.cseq.method == "INVITE" for one in peer.heard("SIP/2.0 200"))


def test_a_caller_that_never_acknowledges_early_audio_is_504_though_we_answered(net: Network, peer: Peer) -> None:
    name = offered(net, peer, REL)
    ours = audio(PBX).receive_offer(sdp())
    net.send(PBX, ev.RingCall(name, ours))
    net.send(PBX, ev.AnswerCall(name, ours))
    net.run(33_000)
    assert over(net) == [("no-ack", 504)] and peer.heard("SIP/2.0 504")


def test_an_answer_that_waits_for_its_prack_outlives_the_process(net: Network, peer: Peer, seed: int) -> None:
    name = offered(net, peer, REL)
    ours = audio(PBX).receive_offer(sdp())
    net.send(PBX, ev.RingCall(name, ours))
    net.send(PBX, ev.AnswerCall(name, ours))
    early = peer.response(183)
    data = net.endpoints[PBX].snapshot(name)
    net.add(PBX, make_endpoint(seed + 5, trusting="200")).adopt(name, data, net.now)
    peer.ask("PRACK", ("RAck", f"{early.headers.get('rseq')} 1 INVITE"), cseq=2, to_tag=early.to.tag)
    assert any(isinstance(one, Response) and one.cseq.method == "INVITE" for one in peer.heard("SIP/2.0 200"))


def test_a_caller_that_only_supports_it_gets_plain_answers(net: Network, peer: Peer) -> None:
    net.send(PBX, ev.RingCall(offered(net, peer, ("Supported", "100rel, timer"))))
    assert "rseq" not in peer.response(180).headers and "require" not in peer.response(180).headers
    net.run(40_000)
    assert len(peer.heard("SIP/2.0 180")) == 1 and over(net) == []


def test_without_an_offer_there_is_no_reliable_answer_before_the_200(net: Network, peer: Peer) -> None:
    name = offered(net, peer, REL, body=b"")
    net.send(PBX, ev.RingCall(name))
    net.run(40_000)
    assert peer.heard("SIP/2.0 180") == [] and over(net) == []
    net.send(PBX, ev.AnswerCall(name, audio(PBX).offer()))
    peer.ask("ACK", cseq=1, to_tag=peer.response(200).to.tag, body=SDP)
    (confirmed,) = net.take(PBX, ev.CallConfirmed)
    assert isinstance(confirmed, ev.CallConfirmed) and confirmed.answer is not None


def test_what_we_do_not_have_is_420_by_name(net: Network, peer: Peer) -> None:
    answer = only(peer.ask("INVITE", ("Require", "100rel, precondition"), cseq=1, body=SDP))
    assert (answer.status, answer.headers.get("unsupported")) == (420, "precondition")
    assert net.take(PBX, ev.IncomingCall) == []


def test_prack_outside_a_call_is_481_and_a_bad_rack_400(net: Network, peer: Peer) -> None:
    assert only(peer.ask("PRACK", ("RAck", "1 1 INVITE"), cseq=1)).status == 481
    assert only(peer.ask("PRACK", ("RAck", "1 1 INVITE"), cseq=2, to_tag="nobody")).status == 481
    net.send(PBX, ev.RingCall(offered(net, peer, REL)))
    assert only(peer.ask("PRACK", ("RAck", "one"), cseq=2, to_tag=peer.response(180).to.tag)).status == 400


def test_a_bad_rack_within_a_call_leaves_no_transaction(net: Network, peer: Peer) -> None:
    name = offered(net, peer)
    net.send(PBX, ev.AnswerCall(name, audio(PBX).receive_offer(sdp())))
    tag = peer.response(200).to.tag
    (refused,) = peer.ask("PRACK", ("RAck", "1 1 x INVITE"), cseq=2, to_tag=tag)
    assert isinstance(refused, Response) and refused.status == 400 and refused.to.tag == tag
    net.send(PBX, ev.EndCall(name))
    net.run(120_000)
    assert net.endpoints[PBX].statistics()["transactions"] == 0


@pytest.mark.parametrize("text", ["", "1 1", "1 1 INVITE x", "-1 1 INVITE", "0 1 INVITE", "a 1 INVITE", f"{2**32} 1 INVITE"])
def test_rack_that_is_none(text: str) -> None:
    with pytest.raises(SyntaxProblem):
        parse_rack(text)


def test_cancel_stops_the_repeats(net: Network, peer: Peer) -> None:
    from tests.unit.sip_stage import request

    name = offered(net, peer, REL)
    net.send(PBX, ev.RingCall(name))
    net.inject(PEER, PBX, request("CANCEL", branch="p1", source=PEER).render())
    peer.ask("ACK", cseq=1, to_tag=peer.response(487).to.tag)
    net.run(60_000)
    assert len(peer.heard("SIP/2.0 180")) == 1 and over(net) == [("cancel", 487)]


def test_a_ringing_call_that_was_taken_over_is_still_acknowledged(seed: int) -> None:
    net = pbx_and_phone(seed % 1000)
    peer = Peer(net)
    name = offered(net, peer, REL)
    net.send(PBX, ev.RingCall(name))
    journal = net.endpoints[PBX].snapshot(name)
    net.endpoints[PBX] = make_endpoint(seed % 1000 + 5, trusting="200")
    assert net.endpoints[PBX].adopt(name, journal, net.now) is Phase.OFFERED
    net.run(600)
    assert len(peer.heard("SIP/2.0 180")) == 2
    ringing = peer.response(180)
    assert only(peer.ask("PRACK", ("RAck", f"{ringing.headers.get('rseq')} 1 INVITE"), cseq=2, to_tag=ringing.to.tag)).status == 200


@pytest.mark.parametrize("loss", [0.0, 0.2, 0.35])
def test_both_ends_together_over_a_bad_network(seed: int, loss: float) -> None:
    net = pbx_and_phone(seed % 1000, loss=loss, jitter_ms=40)
    net.send(
        PBX,
        ev.PlaceCall("c1", f"sip:{PHONE[0]}:{PHONE[1]}", net.flow(PBX, PHONE), audio(PBX).offer(), number="100", headers=(REL,)),
    )
    net.run(5_000)
    (incoming,) = net.take(PHONE, ev.IncomingCall)
    assert isinstance(incoming, ev.IncomingCall) and incoming.offer is not None
    net.send(PHONE, ev.RingCall(incoming.call))
    net.run(20_000)
    assert len(net.take(PBX, ev.CallRinging)) == 1
    assert net.sent(PBX, "PRACK") and net.sent(PHONE, "SIP/2.0 200")
    net.send(PHONE, ev.AnswerCall(incoming.call, audio(PHONE, 4100).receive_offer(incoming.offer)))
    net.run(20_000)
    assert len(net.take(PBX, ev.CallAnswered)) == 1 and len(net.take(PHONE, ev.CallConfirmed)) == 1
    net.send(PBX, ev.EndCall("c1"))
    net.run(120_000)
    for endpoint in net.endpoints.values():
        left = endpoint.statistics()
        assert (left["sessions"], left["dialogs"], left["transactions"]) == (0, 0, 0)


# --- calling ----------------------------------------------------------------------------------------------------------


def test_each_fork_has_its_own_prack_at_its_own_contact(net: Network, peer: Peer) -> None:
    invite = place(net, peer)
    assert "100rel" in invite.headers.tokens("supported")
    for tag, rseq in (("a", 7), ("b", 900)):
        contact = ("Contact", f"<sip:{tag}@198.51.100.7:5099;ob>")
        route = ("Record-Route", f"<sip:198.51.100.7:5099;lr;fork={tag}>")
        peer.answer(invite, 183, REL, ("RSeq", str(rseq)), contact, route, tag=tag)
        prack = peer.request("PRACK")
        assert prack.uri == f"sip:{tag}@198.51.100.7:5099;ob" and prack.to.tag == tag
        assert prack.headers.get("route") == f"<sip:198.51.100.7:5099;lr;fork={tag}>"
        assert prack.headers.get("rack") == f"{rseq} 1 INVITE" and prack.cseq.number == 2
        peer.answer(prack, 200)
    peer.answer(invite, 180, REL, ("RSeq", "8"), tag="a")
    assert (peer.request("PRACK").cseq.number, peer.request("PRACK").to.tag) == (3, "a")
    peer.answer(invite, 200, tag="b", body=answer_sdp())
    net.send(PBX, ev.EndCall("c1"))
    assert (peer.request("BYE").to.tag, peer.request("BYE").cseq.number) == ("b", 3)
    assert net.endpoints[PBX].statistics()["dialogs"] == 1


def test_prack_is_sent_to_where_the_contact_of_that_answer_is(net: Network) -> None:
    flow = net.flow(PBX, PEER)
    net.send(PBX, ev.PlaceCall("c1", "sip:peer@198.51.100.7:5099", flow, audio(PBX).offer(), number="100", symmetric=False))
    peer = Peer(net)
    peer.answer(peer.request("INVITE"), 183, REL, ("RSeq", "1"), ("Contact", "<sip:media@198.51.100.99:5070>"))
    assert [where for where, data in net.strays if data.startswith(b"PRACK sip:media@198.51.100.99:5070 ")] == [("198.51.100.99", 5070)]


def test_repeated_and_disordered_answers_are_acknowledged_once_and_in_order(net: Network, peer: Peer) -> None:
    invite = place(net, peer)
    for rseq in (10, 10, 12, 11, 9, 12):
        peer.answer(invite, 180 if rseq != 10 else 183, REL, ("RSeq", str(rseq)))
        if peer.heard("PRACK"):
            peer.answer(peer.request("PRACK"), 200)
    assert [message.headers.get("rack").split()[0] for message in peer.heard("PRACK")] == ["10", "11", "12"]


@pytest.mark.parametrize("headers", [(REL,), (REL, ("RSeq", "x")), (REL, ("RSeq", "0"))])
def test_a_reliable_answer_without_a_number_is_dropped(net: Network, peer: Peer, headers: tuple[tuple[str, str], ...]) -> None:
    peer.answer(place(net, peer), 183, *headers, body=answer_sdp())
    assert peer.heard("PRACK") == [] and net.take(PBX, ev.CallProgress) == []


def test_answer_in_183_and_none_in_200(net: Network, peer: Peer) -> None:
    invite = place(net, peer)
    peer.answer(invite, 183, REL, ("RSeq", "1"), body=answer_sdp(port=4444))
    peer.answer(peer.request("PRACK"), 200)
    assert len(net.take(PBX, ev.CallProgress)) == 1
    peer.answer(invite, 200)
    (answered,) = net.take(PBX, ev.CallAnswered)
    assert isinstance(answered, ev.CallAnswered) and answered.answer is not None and answered.answer.media[0].port == 4444
    peer.answer(invite, 200)  # the same again: ACK again, and nothing else
    assert len(peer.heard("ACK")) == 2 and net.take(PBX, ev.CallAnswered) == []


def test_the_answer_of_another_fork_is_not_taken(net: Network, peer: Peer) -> None:
    invite = place(net, peer)
    peer.answer(invite, 183, REL, ("RSeq", "1"), tag="a", body=answer_sdp(port=4444))
    peer.answer(invite, 200, tag="b")
    (answered,) = net.take(PBX, ev.CallAnswered)
    assert isinstance(answered, ev.CallAnswered) and answered.answer is None


def test_a_prack_that_fails_does_not_fail_the_call(net: Network, peer: Peer) -> None:
    invite = place(net, peer)
    peer.answer(invite, 180, REL, ("RSeq", "1"))
    peer.answer(peer.request("PRACK"), 481)
    net.run(5_000)
    peer.answer(invite, 200, body=answer_sdp())
    assert len(net.take(PBX, ev.CallAnswered)) == 1 and over(net) == []


def test_early_dialogs_are_bounded_and_leave_nothing(net: Network, peer: Peer) -> None:
    invite = place(net, peer)
    for number in range(50):
        peer.answer(invite, 183, tag=f"t{number}", body=answer_sdp())
    assert net.endpoints[PBX].statistics()["dialogs"] == MOST_EARLY
    peer.answer(invite, 486)
    assert over(net) == [("final", 486)]
    assert net.endpoints[PBX].statistics()["dialogs"] == 0


def test_a_call_that_rings_is_taken_over_with_its_early_dialogs(seed: int) -> None:
    net = pbx_and_phone(seed % 1000)
    peer = Peer(net)
    invite = place(net, peer)
    peer.answer(invite, 183, REL, ("RSeq", "1"), body=answer_sdp(port=4444))
    peer.answer(peer.request("PRACK"), 200)
    journal = net.endpoints[PBX].snapshot("c1")
    net.endpoints[PBX] = make_endpoint(seed % 1000 + 5, trusting="200")
    assert net.endpoints[PBX].adopt("c1", journal, net.now) is Phase.CALLING
    peer.answer(invite, 180, REL, ("RSeq", "2"))
    assert peer.request("PRACK").headers.get("rack") == "2 1 INVITE" and peer.request("PRACK").cseq.number == 3
    peer.answer(invite, 200)
    (answered,) = net.take(PBX, ev.CallAnswered)
    assert isinstance(answered, ev.CallAnswered) and answered.answer is not None


# --- UPDATE -----------------------------------------------------------------------------------------------------------


def confirmed(net: Network, peer: Peer) -> tuple[Request, OfferAnswer]:
    ours = audio(PBX)
    net.send(PBX, ev.PlaceCall("c1", f"sip:peer@{PEER[0]}:{PEER[1]}", net.flow(PBX, PEER), ours.offer(), number="100"))
    invite = peer.request("INVITE")
    peer.answer(invite, 200, body=answer_sdp())
    net.take(PBX, ev.CallAnswered)
    return invite, ours


def test_update_with_an_offer_is_answered_with_a_raised_version(net: Network, peer: Peer) -> None:
    invite, ours = confirmed(net, peer)
    assert ours.last is not None
    before = ours.last.version
    peer.within("UPDATE", invite, cseq=1, body=answer_sdp(2, direction="sendonly"))
    (asked,) = net.take(PBX, ev.Reoffered)
    assert isinstance(asked, ev.Reoffered) and asked.offer is not None
    net.send(PBX, ev.AnswerOffer("c1", ours.receive_offer(asked.offer)))
    answer = peer.response(200)
    described = sdp(answer.body)
    assert answer.cseq.method == "UPDATE" and answer.contact is not None
    assert described.direction(described.media[0]) == "recvonly" and described.version == before + 1


def test_update_without_an_offer_moves_the_target(net: Network, peer: Peer) -> None:
    invite, _ = confirmed(net, peer)
    (answer,) = peer.within("UPDATE", invite, ("Contact", "<sip:moved@198.51.100.7:5099>"), cseq=1)
    assert isinstance(answer, Response) and answer.status == 200 and answer.body == b""
    assert net.take(PBX, ev.Reoffered) == []
    net.send(PBX, ev.EndCall("c1"))
    assert peer.request("BYE").uri == "sip:moved@198.51.100.7:5099"


def test_update_that_meets_an_open_offer(net: Network, peer: Peer) -> None:
    invite, ours = confirmed(net, peer)
    net.send(PBX, ev.OfferAgain("c1", ours.offer()))
    assert only(peer.within("UPDATE", invite, cseq=1, body=answer_sdp(2))).status == 491
    assert only(peer.within("UPDATE", invite, cseq=2)).status == 200
    peer.answer(peer.request("INVITE"), 200, body=answer_sdp())
    peer.within("UPDATE", invite, cseq=3, body=answer_sdp(2))
    again = only(peer.within("UPDATE", invite, cseq=4, body=answer_sdp(3)))
    assert again.status == 500 and 0 <= int(again.headers.get("retry-after")) <= 10
    assert only(peer.within("INVITE", invite, cseq=5, body=answer_sdp(3))).status == 500
    net.send(PBX, ev.RefuseOffer("c1", 488))
    assert peer.response(488).cseq.number == 3
    peer.within("UPDATE", invite, cseq=6, body=answer_sdp(2))
    assert len(net.take(PBX, ev.Reoffered)) == 2, "an offer that was refused does not block the next"
    net.send(PBX, ev.AnswerOffer("c1", ours.receive_offer(sdp())))
    assert peer.response(200).cseq.number == 6


def test_a_broken_description_is_488_and_the_call_stays(net: Network, peer: Peer) -> None:
    invite, _ = confirmed(net, peer)
    assert only(peer.within("UPDATE", invite, cseq=1, body=b"v=0\r\nnonsense\r\n")).status == 488
    assert over(net) == [] and net.endpoints[PBX].calls.phase("c1") is Phase.CONFIRMED


@pytest.mark.parametrize("by_far", [True, False])
def test_an_open_update_is_refused_when_the_call_ends(net: Network, peer: Peer, by_far: bool) -> None:
    invite, _ = confirmed(net, peer)
    peer.within("UPDATE", invite, cseq=1, body=answer_sdp(2))
    if by_far:
        peer.within("BYE", invite, cseq=2)
    else:
        net.send(PBX, ev.EndCall("c1"))
    assert peer.response(487).cseq.method == "UPDATE"


def test_update_before_our_answer(net: Network, peer: Peer) -> None:
    name = offered(net, peer)
    net.send(PBX, ev.RingCall(name))
    tag = peer.response(180).to.tag
    assert only(peer.ask("UPDATE", ("Contact", "<sip:200@198.51.100.7:5099;moved>"), cseq=2, to_tag=tag)).status == 200
    early = only(peer.ask("UPDATE", cseq=3, to_tag=tag, body=answer_sdp(2)))
    assert early.status == 500 and early.headers.get("retry-after")
    net.send(PBX, ev.AnswerCall(name, audio(PBX).receive_offer(sdp())))
    peer.ask("ACK", cseq=1, to_tag=tag)
    net.send(PBX, ev.EndCall(name))
    assert peer.request("BYE").uri.endswith(";moved")


def test_update_of_a_fork_that_rings(net: Network, peer: Peer) -> None:
    invite = place(net, peer)
    peer.answer(invite, 180, tag="a")
    assert only(peer.within("UPDATE", invite, cseq=1, tag="a", body=answer_sdp(2))).status == 491, "our offer is open"
    peer.answer(invite, 183, REL, ("RSeq", "1"), tag="a", body=answer_sdp())
    peer.within("UPDATE", invite, cseq=2, tag="a", body=answer_sdp(2, direction="inactive"))
    assert len(net.take(PBX, ev.Reoffered)) == 1
    net.send(PBX, ev.AnswerOffer("c1", audio(PBX).receive_offer(sdp())))
    assert peer.response(200).cseq.method == "UPDATE"
    assert only(peer.within("BYE", invite, cseq=3, tag="a")).status == 481
    assert only(peer.within("INVITE", invite, cseq=4, tag="a", body=answer_sdp(3))).status == 491
    peer.answer(invite, 200, tag="a", body=answer_sdp(2))
    assert len(net.take(PBX, ev.CallAnswered)) == 1


def test_a_2xx_to_a_reinvite_is_repeated_until_its_ack_then_the_call_ends(net: Network, peer: Peer) -> None:
    invite, ours = confirmed(net, peer)
    peer.within("INVITE", invite, cseq=1, body=answer_sdp(2))
    (asked,) = net.take(PBX, ev.Reoffered)
    assert isinstance(asked, ev.Reoffered) and asked.offer is not None
    net.send(PBX, ev.AnswerOffer("c1", ours.receive_offer(asked.offer)))
    net.run(3_600)
    assert len(peer.heard("SIP/2.0 200")) == 4
    net.run(29_000)
    assert over(net) == [("no-ack", 408)] and peer.heard("BYE")


def test_a_late_offer_in_a_reinvite_is_open_until_its_ack(net: Network, peer: Peer) -> None:
    invite, ours = confirmed(net, peer)
    peer.within("INVITE", invite, cseq=1)
    net.take(PBX, ev.Reoffered)
    net.send(PBX, ev.AnswerOffer("c1", ours.offer()))
    ok = peer.response(200)
    assert sdp(ok.body).media[0].port == 4000
    assert only(peer.within("UPDATE", invite, cseq=2, body=answer_sdp(2))).status == 491
    peer.within("ACK", invite, cseq=1, body=answer_sdp(2, 4050))
    (answered,) = net.take(PBX, ev.OfferAnswered)
    assert isinstance(answered, ev.OfferAnswered) and answered.answer is not None and answered.answer.media[0].port == 4050
    peer.within("UPDATE", invite, cseq=3, body=answer_sdp(3))
    assert len(net.take(PBX, ev.Reoffered)) == 1
