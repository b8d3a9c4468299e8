"""Session timers (RFC 4028): who refreshes, when, by what, and what happens when nobody does."""

from __future__ import annotations

import pytest

from firmware.sip import events as ev
from firmware.sip.errors import SyntaxProblem
from firmware.sip.message import Request, Response
from firmware.sip.session_state import Phase
from firmware.sip.session_timer import session_expires
from tests.unit.sip_peer import PEER, Peer, answer_sdp
from tests.unit.sip_stage import PBX, PHONE, SDP, Network, audio, call, make_endpoint, pbx_and_phone, request, sdp

HOUR = 3_600_000
TIMER = ("Supported", "timer")


@pytest.fixture
def net(seed: int) -> Network:
    return pbx_and_phone(seed % 1000)


@pytest.fixture
def peer(net: Network) -> Peer:
    return Peer(net)


def place(net: Network, peer: Peer, *headers: tuple[str, str], allow: str = "INVITE, ACK, BYE, CANCEL, UPDATE") -> Request:
    """A call of ours that the peer answers with these headers; gives the INVITE."""
    net.send(PBX, ev.PlaceCall("c1", f"sip:peer@{PEER[0]}:{PEER[1]}", net.flow(PBX, PEER), audio(PBX).offer(), number="100"))
    invite = peer.request("INVITE")
    peer.answer(invite, 200, ("Allow", allow), *headers, body=answer_sdp())
    return invite


def taken(net: Network, peer: Peer, *headers: tuple[str, str], cseq: int = 1) -> Response:
    """A call of the peer that we answer; gives our 200 after its ACK."""
    peer.ask("INVITE", *headers, cseq=cseq, body=SDP)
    (incoming,) = net.take(PBX, ev.IncomingCall)
    assert isinstance(incoming, ev.IncomingCall)
    net.send(PBX, ev.AnswerCall(incoming.call, audio(PBX).receive_offer(sdp())))
    ok = peer.response(200)
    peer.ask("ACK", cseq=cseq, to_tag=ok.to.tag)
    return ok


def gone(net: Network, address: tuple[str, int]) -> list[tuple[str, int]]:
    return [(event.how, event.status) for event in net.take(address, ev.CallEnded) if isinstance(event, ev.CallEnded)]


def test_one_side_refreshes_at_half_by_update_and_the_call_lives(net: Network) -> None:
    call(net, PBX, PHONE)
    net.run(895_000)
    assert net.sent(PBX, "UPDATE") == []
    net.run(10_000)
    (refresh,) = net.sent(PBX, "UPDATE")
    assert refresh.body == b"" and session_expires(refresh) == (1800, "uac")
    net.run(10 * HOUR)
    assert 38 <= len(net.sent(PBX, "UPDATE")) <= 41 and net.sent(PHONE, "UPDATE") == []
    assert net.endpoints[PBX].calls.phase("c1") is Phase.CONFIRMED and gone(net, PHONE) == []


def test_the_2xx_names_the_refresher(net: Network) -> None:
    call(net, PBX, PHONE)
    ok = next(message for message in net.sent(PHONE, "SIP/2.0 200") if message.cseq.method == "INVITE")
    assert session_expires(ok) == (1800, "uac") and "timer" in ok.headers.tokens("require")


def test_roles_survive_a_request_of_the_other_side(net: Network) -> None:
    _, phone, name = call(net, PBX, PHONE)
    net.run(600_000)
    phone.hold = True
    net.send(PHONE, ev.OfferAgain(name, phone.offer()))
    net.run(50)
    (held,) = net.take(PBX, ev.Reoffered)
    assert isinstance(held, ev.Reoffered) and held.offer is not None
    net.send(PBX, ev.AnswerOffer("c1", audio(PBX).receive_offer(held.offer)))
    hold = next(message for message in net.sent(PHONE, "INVITE"))
    assert session_expires(hold) == (1800, "uas"), "the phone is the client of this request, and does not refresh"
    net.run(2 * HOUR)
    assert net.sent(PHONE, "UPDATE") == [] and len(net.sent(PBX, "UPDATE")) >= 6
    assert gone(net, PBX) == gone(net, PHONE) == []


@pytest.mark.parametrize("headers", [(TIMER,), (TIMER, ("Session-Expires", "600"))])
def test_a_request_that_names_no_refresher_changes_none(net: Network, peer: Peer, headers: tuple[tuple[str, str], ...]) -> None:
    invite = place(net, peer, ("Session-Expires", "600;refresher=uac"))
    (answer,) = peer.within("UPDATE", invite, *headers, cseq=1)
    assert isinstance(answer, Response) and session_expires(answer) == (600, "uas")
    net.run(301_000)
    assert session_expires(peer.request("UPDATE")) == (600, "uac")


def test_an_unanswered_refresh_ends_the_call_on_both_sides(net: Network) -> None:
    call(net, PBX, PHONE)
    net.filter = lambda source, destination, data: False
    net.run(900_000 + 33_000)
    assert gone(net, PBX) == [("gone", 408)]
    assert net.sent(PBX, "BYE")[0].headers.get("reason") == ""
    net.run(900_000)
    assert gone(net, PHONE) == [("gone", 408)]
    assert "Session expired" in net.sent(PHONE, "BYE")[0].headers.get("reason")
    net.run(60_000)
    assert all(endpoint.statistics()["sessions"] == 0 for endpoint in net.endpoints.values())


def test_a_phone_that_should_refresh_and_does_not_is_hung_up_before_the_end(net: Network, peer: Peer) -> None:
    ok = taken(net, peer, TIMER, ("Session-Expires", "120;refresher=uac"))
    assert session_expires(ok) == (120, "uac")
    net.run(87_500)
    assert peer.heard("BYE") == []
    net.run(1_000)
    assert len(peer.heard("BYE")) >= 1 and gone(net, PBX) == [("gone", 408)]


def test_its_refresh_keeps_the_call(net: Network, peer: Peer) -> None:
    ok = taken(net, peer, TIMER, ("Session-Expires", "120;refresher=uac"))
    for number in range(2, 12):
        net.run(60_000)
        (answer,) = peer.ask("UPDATE", TIMER, ("Session-Expires", "120;refresher=uac"), cseq=number, to_tag=ok.to.tag)
        assert isinstance(answer, Response) and answer.status == 200 and session_expires(answer) == (120, "uac")
    assert gone(net, PBX) == [] and peer.heard("BYE") == []


@pytest.mark.parametrize(
    ("headers", "expected", "required"),
    [
        ((TIMER,), (1800, "uac"), True),
        ((TIMER, ("Session-Expires", "600")), (600, "uac"), True),
        ((TIMER, ("x", "600;refresher=uas")), (600, "uas"), False),
        ((TIMER, ("Session-Expires", "7200; refresher=UAC")), (1800, "uac"), True),
        ((TIMER, ("Session-Expires", "7200"), ("Min-SE", "3600")), (3600, "uac"), True),
        ((("Session-Expires", "600"),), (600, "uas"), False),
        ((("Session-Expires", "30"),), (90, "uas"), False),
        ((), None, False),
    ],
)
def test_our_answer_names_interval_and_refresher(
    net: Network, peer: Peer, headers: tuple[tuple[str, str], ...], expected: tuple[int, str] | None, required: bool
) -> None:
    ok = taken(net, peer, *headers)
    assert session_expires(ok) == expected and ("timer" in ok.headers.tokens("require")) is required


def test_too_short_an_interval_is_422_with_min_se(net: Network, peer: Peer) -> None:
    (refused,) = peer.ask("INVITE", TIMER, ("Session-Expires", "60"), cseq=1, body=SDP)
    assert isinstance(refused, Response) and (refused.status, refused.headers.get("min-se")) == (422, "90")
    assert net.take(PBX, ev.IncomingCall) == []
    ok = taken(net, peer, TIMER, ("Session-Expires", "90"), cseq=2)
    (short,) = peer.ask("UPDATE", TIMER, ("Session-Expires", "89"), cseq=3, to_tag=ok.to.tag)
    assert isinstance(short, Response) and (short.status, short.headers.get("min-se")) == (422, "90")
    assert gone(net, PBX) == []


@pytest.mark.parametrize("value", ["soon", "90;refresher=me", "-5", "9" * 40])
def test_nonsense_is_400(net: Network, peer: Peer, value: str) -> None:
    (refused,) = peer.ask("INVITE", TIMER, ("Session-Expires", value), cseq=1, body=SDP)
    assert isinstance(refused, Response) and refused.status == 400
    with pytest.raises(SyntaxProblem):
        session_expires(request("INVITE", extra=(("Session-Expires", value),)))


def test_422_makes_us_ask_again_for_longer(net: Network, peer: Peer) -> None:
    net.send(PBX, ev.PlaceCall("c1", f"sip:peer@{PEER[0]}:{PEER[1]}", net.flow(PBX, PEER), audio(PBX).offer(), number="100"))
    first = peer.request("INVITE")
    assert session_expires(first) == (1800, "") and "timer" in first.headers.tokens("supported")
    peer.answer(first, 422, ("Min-SE", "3600"))
    again = peer.request("INVITE")
    assert (again.call_id, again.from_.tag, again.cseq.number) == (first.call_id, first.from_.tag, 2)
    assert again.via.branch != first.via.branch
    assert session_expires(again) == (3600, "") and again.headers.get("min-se") == "3600" and again.body == first.body
    peer.answer(again, 200, ("Session-Expires", "3600;refresher=uac"), ("Allow", "UPDATE"), body=answer_sdp())
    assert len(net.take(PBX, ev.CallAnswered)) == 1
    net.run(1_801_000)
    refresh = peer.request("UPDATE")
    assert session_expires(refresh) == (3600, "uac") and refresh.headers.get("min-se") == "3600"


@pytest.mark.parametrize("unsupported", ["timer", "100rel, timer", ""])
def test_420_makes_us_ask_again_without(net: Network, peer: Peer, unsupported: str) -> None:
    net.send(PBX, ev.PlaceCall("c1", f"sip:peer@{PEER[0]}:{PEER[1]}", net.flow(PBX, PEER), audio(PBX).offer(), number="100"))
    peer.answer(peer.request("INVITE"), 420, *((("Unsupported", unsupported),) if unsupported else ()))
    again = peer.request("INVITE")
    assert again.cseq.number == 2 and "session-expires" not in again.headers and "timer" not in again.headers.tokens("supported")
    peer.answer(again, 200, body=answer_sdp())
    assert len(net.take(PBX, ev.CallAnswered)) == 1 and gone(net, PBX) == []
    net.run(HOUR)
    assert peer.heard("UPDATE") == [] and len(peer.heard("INVITE")) == 2


def test_a_peer_that_only_refuses_is_not_asked_for_ever(net: Network, peer: Peer) -> None:
    net.send(PBX, ev.PlaceCall("c1", f"sip:peer@{PEER[0]}:{PEER[1]}", net.flow(PBX, PEER), audio(PBX).offer(), number="100"))
    for status in (422, 420, 422, 420, 422):
        peer.answer(peer.request("INVITE"), status, ("Min-SE", "1"))
    assert len(peer.heard("INVITE")) <= 4 and len(gone(net, PBX)) == 1


def test_a_2xx_without_session_expires_means_no_timer(net: Network, peer: Peer) -> None:
    place(net, peer)
    net.run(5 * HOUR)
    assert peer.heard("UPDATE") == peer.heard("BYE") == [] and len(peer.heard("INVITE")) == 1


def test_a_2xx_without_refresher_leaves_it_to_us(net: Network, peer: Peer) -> None:
    place(net, peer, ("Session-Expires", "600"))
    net.run(301_000)
    assert session_expires(peer.request("UPDATE")) == (600, "uac")


def test_a_peer_without_update_is_refreshed_by_the_same_offer_again(net: Network, peer: Peer) -> None:
    invite = place(net, peer, ("Session-Expires", "600;refresher=uac"), allow="INVITE, ACK, BYE")
    net.run(301_000)
    assert peer.heard("UPDATE") == []
    refresh = peer.request("INVITE")
    assert refresh.cseq.number == 2 and refresh.to.tag == "peer" and session_expires(refresh) == (600, "uac")
    assert sdp(refresh.body).version == sdp(invite.body).version and refresh.body == invite.body
    peer.answer(refresh, 200, ("Session-Expires", "600;refresher=uac"), body=answer_sdp(2, 4040))
    assert peer.request("ACK").cseq.number == 2
    (moved,) = net.take(PBX, ev.OfferAnswered)
    assert isinstance(moved, ev.OfferAnswered) and moved.answer is not None and moved.answer.media[0].port == 4040
    net.run(301_000)
    assert peer.request("INVITE").cseq.number == 3


def test_an_offer_of_ours_that_meets_a_refresh_follows_it(net: Network, peer: Peer) -> None:
    place(net, peer, ("Session-Expires", "600;refresher=uac"), allow="INVITE, ACK, BYE")
    net.run(301_000)
    refresh = peer.request("INVITE")
    ours = audio(PBX)
    ours.offer()
    ours.hold = True
    net.send(PBX, ev.OfferAgain("c1", ours.offer()))
    assert peer.request("INVITE") is not refresh and peer.request("INVITE").render() == refresh.render()
    peer.answer(refresh, 200, ("Session-Expires", "600;refresher=uac"), body=answer_sdp())
    net.run(10)
    hold = peer.request("INVITE")
    assert b"a=sendonly" in hold.body and hold.cseq.number == refresh.cseq.number + 1
    peer.answer(hold, 200, ("Session-Expires", "600;refresher=uac"), body=answer_sdp(2, direction="recvonly"))
    assert len(net.take(PBX, ev.OfferAnswered)) == 2
    net.run(301_000)
    assert peer.request("INVITE").body == hold.body, "what was agreed last is what the next refresh says"


def test_what_was_refused_is_never_offered_as_a_refresh(net: Network, peer: Peer) -> None:
    invite = place(net, peer, ("Session-Expires", "600;refresher=uac"), allow="INVITE, ACK, BYE")
    ours = audio(PBX)
    ours.offer()
    ours.hold = True
    net.send(PBX, ev.OfferAgain("c1", ours.offer()))
    assert b"sendonly" in peer.request("INVITE").body
    peer.answer(peer.request("INVITE"), 488)
    net.run(301_000)
    assert peer.request("INVITE").body == invite.body


def test_update_that_is_not_allowed_after_all_gives_way_to_reinvite(net: Network, peer: Peer) -> None:
    place(net, peer, ("Session-Expires", "600;refresher=uac"))
    net.run(301_000)
    peer.answer(peer.request("UPDATE"), 405)
    net.run(100)
    peer.answer(peer.request("INVITE"), 200, ("Session-Expires", "600;refresher=uac"), body=answer_sdp())
    net.run(200_000)
    assert gone(net, PBX) == []


def test_a_refresh_that_is_refused_is_tried_again_and_the_end_is_the_end(net: Network, peer: Peer) -> None:
    place(net, peer, ("Session-Expires", "600;refresher=uac"))
    net.run(301_000)
    for _ in range(300):
        peer.answer(peer.request("UPDATE"), 500)
        net.run(1_000)
    assert 2 <= len({message.cseq.number for message in peer.heard("UPDATE")}) < 40
    assert gone(net, PBX) == [("gone", 408)] and "Session expired" in peer.request("BYE").headers.get("reason")


def test_422_to_a_refresh_is_mended_at_once(net: Network, peer: Peer) -> None:
    place(net, peer, ("Session-Expires", "600;refresher=uac"))
    net.run(301_000)
    peer.answer(peer.request("UPDATE"), 422, ("Min-SE", "900"))
    net.run(100)
    assert session_expires(peer.request("UPDATE")) == (900, "uac")


@pytest.mark.parametrize("status", [408, 481])
def test_a_peer_that_forgot_the_call_ends_it(net: Network, peer: Peer, status: int) -> None:
    place(net, peer, ("Session-Expires", "600;refresher=uac"))
    net.run(301_000)
    peer.answer(peer.request("UPDATE"), status)
    assert gone(net, PBX) == [("gone", status)] and peer.heard("BYE")


def test_a_call_taken_over_from_an_old_journal_is_refreshed_and_lives(seed: int) -> None:
    net = pbx_and_phone(seed % 1000)
    call(net, PBX, PHONE)
    journal = net.endpoints[PBX].snapshot("c1")
    net.run(3 * HOUR)  # several refreshes that the journal knows nothing of
    before = max(message.cseq.number for message in net.sent(PBX, "UPDATE"))
    net.endpoints[PBX] = make_endpoint(seed % 1000 + 5, trusting="200")
    assert net.endpoints[PBX].adopt("c1", journal, net.now) is Phase.CONFIRMED
    net.run(5_000)
    assert net.sent(PBX, "UPDATE")[-1].cseq.number > before
    net.run(3 * HOUR)
    assert gone(net, PBX) == gone(net, PHONE) == [] and net.endpoints[PBX].calls.phase("c1") is Phase.CONFIRMED


def test_timers_do_not_pile_up(net: Network, peer: Peer) -> None:
    ok = taken(net, peer, TIMER, ("Session-Expires", "120;refresher=uac"))
    for number in range(2, 302):
        peer.ask("OPTIONS", cseq=number, to_tag=ok.to.tag)
    assert len(net.endpoints[PBX].calls._timers) < 10
    net.run(90_000)
    assert gone(net, PBX) == [("gone", 408)]


def test_switched_off_nothing_is_named(seed: int) -> None:
    net = Network(seed)
    net.add(PBX, make_endpoint(seed % 1000, trusting="200", session_expires_s=0))
    peer = Peer(net)
    assert "session-expires" not in place(net, peer, ("Session-Expires", "600;refresher=uac")).headers
