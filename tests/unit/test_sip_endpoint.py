"""Two endpoints back to back, and strangers: calls, hold, glare, CANCEL races, forks, loss, adoption, limits."""

from __future__ import annotations

import pytest

from firmware.sip import events as ev
from firmware.sip.endpoint import Endpoint
from firmware.sip.message import Message, Request, Response, respond
from firmware.sip.parse import parse_datagram
from firmware.sip.session_state import Phase
from tests.unit.sip_stage import PBX, PHONE, SDP, Network, audio, authorize, call, make_endpoint, pbx_and_phone, request, sdp

STRANGER = ("198.51.100.7", 5099)


def only(messages: list[Message]) -> Response:
    (message,) = messages
    assert isinstance(message, Response)
    return message


def ended(network: Network, address: tuple[str, int]) -> ev.CallEnded:
    (event,) = network.take(address, ev.CallEnded)
    assert isinstance(event, ev.CallEnded)
    return event


def quiet(network: Network) -> None:
    """After a while nothing is left anywhere."""
    network.run(120_000)
    for endpoint in network.endpoints.values():
        left = endpoint.statistics()
        assert (left["sessions"], left["dialogs"], left["transactions"]) == (0, 0, 0), left


@pytest.fixture
def net(seed: int) -> Network:
    return pbx_and_phone(seed % 1000)


def test_call_hold_resume_and_hang_up(net: Network) -> None:
    _, phone, name = call(net, PBX, PHONE)
    phone.hold = True
    net.send(PHONE, ev.OfferAgain(name, phone.offer()))
    net.run(50)
    (held,) = net.take(PBX, ev.Reoffered)
    assert isinstance(held, ev.Reoffered) and held.offer is not None and held.offer.direction(held.offer.media[0]) == "sendonly"
    net.send(PBX, ev.AnswerOffer("c1", audio(PBX).receive_offer(held.offer)))
    net.run(50)
    (answered,) = net.take(PHONE, ev.OfferAnswered)
    assert isinstance(answered, ev.OfferAnswered) and answered.answer is not None
    assert answered.answer.direction(answered.answer.media[0]) == "recvonly"
    net.send(PHONE, ev.EndCall(name, "Q.850;cause=16"))
    net.run(50)
    over = ended(net, PBX)
    assert (over.how, over.by_far, over.reason) == ("bye", True, "Q.850;cause=16")
    assert not ended(net, PHONE).by_far
    quiet(net)


@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_calls_survive_loss_and_reorder(seed: int, loss: float) -> None:
    net = pbx_and_phone(seed % 1000, loss=loss, jitter_ms=60)
    for number in range(8):
        name = f"c{number}"
        net.send(PBX, ev.PlaceCall(name, "sip:phone@192.0.2.20:5062", net.flow(PBX, PHONE), audio(PBX).offer()))
        net.run(12_000)
        for event in net.take(PHONE, ev.IncomingCall):
            assert isinstance(event, ev.IncomingCall) and event.offer is not None
            net.send(PHONE, ev.AnswerCall(event.call, audio(PHONE).receive_offer(event.offer)))
        net.run(20_000)
        net.send(PBX, ev.EndCall(name))
        net.run(40_000)
        assert ended(net, PBX).call == name
        assert len(net.take(PHONE, ev.CallEnded)) <= 1
    quiet(net)


def test_lost_ack_is_sent_again_for_each_repeated_200(net: Network) -> None:
    lost = [True, True]
    net.filter = lambda source, destination, data: not (data.startswith(b"ACK") and lost and lost.pop())
    net.send(PBX, ev.PlaceCall("c1", "sip:phone@192.0.2.20:5062", net.flow(PBX, PHONE), audio(PBX).offer()))
    net.run(50)
    (incoming,) = net.take(PHONE, ev.IncomingCall)
    assert isinstance(incoming, ev.IncomingCall) and incoming.offer is not None
    net.send(PHONE, ev.AnswerCall(incoming.call, audio(PHONE).receive_offer(incoming.offer)))
    net.run(5_000)
    acks = net.sent(PBX, "ACK")
    assert len(acks) == 3 and len(net.sent(PHONE, "SIP/2.0 200")) == 3
    invite = net.sent(PBX, "INVITE")[0]
    assert acks[0].via.branch != invite.via.branch and acks[0].cseq.number == invite.cseq.number
    assert len(net.take(PHONE, ev.CallConfirmed)) == 1 and len(net.take(PBX, ev.CallAnswered)) == 1


def test_200_without_any_ack_is_repeated_then_bye(net: Network) -> None:
    net.filter = lambda source, destination, data: not data.startswith(b"ACK")
    net.send(PBX, ev.PlaceCall("c1", "sip:phone@192.0.2.20:5062", net.flow(PBX, PHONE), audio(PBX).offer()))
    net.run(50)
    (incoming,) = net.take(PHONE, ev.IncomingCall)
    assert isinstance(incoming, ev.IncomingCall) and incoming.offer is not None
    net.send(PHONE, ev.AnswerCall(incoming.call, audio(PHONE).receive_offer(incoming.offer)))
    net.run(40_000)
    assert ended(net, PHONE).how == "no-ack" and len(net.sent(PHONE, "BYE")) == 1 and len(net.sent(PHONE, "SIP/2.0 200")) == 11
    assert ended(net, PBX).how == "bye"
    quiet(net)


def test_cancel_waits_for_a_provisional(net: Network) -> None:
    net.filter = lambda source, destination, data: source == PBX
    net.send(PBX, ev.PlaceCall("c1", "sip:phone@192.0.2.20:5062", net.flow(PBX, PHONE), audio(PBX).offer()))
    net.run(300)
    net.send(PBX, ev.EndCall("c1", 'SIP;cause=200;text="Call completed elsewhere"'))
    net.run(100)
    assert net.sent(PBX, "CANCEL") == [] and ended(net, PBX).how == "command"
    net.filter = lambda source, destination, data: True
    net.run(1_000)  # the INVITE is repeated, its 100 gets through
    (cancel,) = net.sent(PBX, "CANCEL")
    assert cancel.headers.get("reason").startswith("SIP;cause=200")
    over = ended(net, PHONE)
    assert over.how == "cancel" and over.reason.startswith("SIP;cause=200")
    assert len(net.sent(PBX, "ACK")) == 1
    quiet(net)


def test_answer_that_crosses_our_cancel_gets_ack_and_bye(net: Network) -> None:
    net.send(PBX, ev.PlaceCall("c1", "sip:phone@192.0.2.20:5062", net.flow(PBX, PHONE), audio(PBX).offer()))
    net.run(50)
    (incoming,) = net.take(PHONE, ev.IncomingCall)
    assert isinstance(incoming, ev.IncomingCall) and incoming.offer is not None
    net.send(PHONE, ev.AnswerCall(incoming.call, audio(PHONE).receive_offer(incoming.offer)))
    net.send(PBX, ev.EndCall("c1"))
    net.run(200)
    assert len(net.sent(PBX, "ACK")) == 1 and len(net.sent(PBX, "BYE")) == 1
    assert ended(net, PHONE).how == "bye" and net.take(PBX, ev.CallAnswered) == []
    quiet(net)


def test_second_fork_gets_ack_and_bye(net: Network) -> None:
    call(net, PBX, PHONE)
    first = net.sent(PHONE, "SIP/2.0 200")[0]
    assert isinstance(first, Response)
    other = respond(
        net.sent(PBX, "INVITE")[0],
        200,
        to_tag="otherfork",
        headers=[("Contact", "<sip:fork@192.0.2.20:5062>")],
        body=SDP,
        content_type="application/sdp",
    )  # type: ignore[arg-type]
    mark = len(net.log)
    for _ in range(2):
        net.inject(PHONE, PBX, other.render())
    sent = [data.split(b" ", 1)[0] for _, source, _, data in net.log[mark:] if source == PBX]
    assert sent == [b"ACK", b"BYE", b"ACK"]
    assert all(b"tag=otherfork" in data for _, source, _, data in net.log[mark:] if source == PBX)
    assert net.take(PBX, ev.CallEnded) == []


def test_glare_is_491_and_retried(net: Network) -> None:
    pbx, phone, name = call(net, PBX, PHONE)
    pbx.hold = phone.hold = True
    net.send(PBX, ev.OfferAgain("c1", pbx.offer()))
    net.send(PHONE, ev.OfferAgain(name, phone.offer()))
    net.run(20)
    assert len(net.sent(PBX, "SIP/2.0 491")) == 1 and len(net.sent(PHONE, "SIP/2.0 491")) == 1
    for _ in range(50):
        net.run(100)
        for address, own in ((PBX, "c1"), (PHONE, name)):
            for event in net.take(address, ev.Reoffered):
                assert isinstance(event, ev.Reoffered) and event.offer is not None
                net.send(address, ev.AnswerOffer(own, audio(address).receive_offer(event.offer)))
    assert len(net.take(PBX, ev.OfferAnswered)) == 1 and len(net.take(PHONE, ev.OfferAnswered)) == 1


def test_refused_offer_keeps_the_call_and_later_offers_work(net: Network) -> None:
    _, phone, name = call(net, PBX, PHONE)
    net.send(PHONE, ev.OfferAgain(name, phone.offer()))
    net.run(20)
    net.send(PBX, ev.RefuseOffer("c1", 488))
    net.run(50)
    (refused,) = net.take(PHONE, ev.OfferRefused)
    assert isinstance(refused, ev.OfferRefused) and refused.status == 488
    net.take(PBX, ev.Reoffered)
    net.send(PHONE, ev.OfferAgain(name, phone.offer()))
    net.run(20)
    assert len(net.take(PBX, ev.Reoffered)) == 1


def test_offerless_invite_gets_an_offer_and_its_answer_from_the_ack(net: Network) -> None:
    invite = request("INVITE", "sip:600@192.0.2.1")
    net.inject(STRANGER, PBX, invite.render())
    (incoming,) = net.take(PBX, ev.IncomingCall)
    assert isinstance(incoming, ev.IncomingCall) and incoming.offer is None
    net.send(PBX, ev.AnswerCall(incoming.call, audio(PBX).offer()))
    ok = net.sent(PBX, "SIP/2.0 200")[0]
    assert b"sendrecv" in ok.body
    net.inject(STRANGER, PBX, request("ACK", branch="ack", to_tag=ok.to.tag, body=SDP).render())
    (confirmed,) = net.take(PBX, ev.CallConfirmed)
    assert isinstance(confirmed, ev.CallConfirmed) and confirmed.answer == sdp()


def established(net: Network) -> tuple[str, str]:
    """A call from a scripted phone into the PBX; gives the PBX's call id and To-tag."""
    net.inject(PHONE_RAW, PBX, request("INVITE", body=SDP, source=PHONE_RAW).render())
    (incoming,) = net.take(PBX, ev.IncomingCall)
    assert isinstance(incoming, ev.IncomingCall) and incoming.offer is not None
    net.send(PBX, ev.AnswerCall(incoming.call, audio(PBX).receive_offer(incoming.offer)))
    tag = net.sent(PBX, "SIP/2.0 200")[-1].to.tag
    net.inject(PHONE_RAW, PBX, request("ACK", branch="ack", to_tag=tag, source=PHONE_RAW).render())
    return incoming.call, tag


PHONE_RAW = ("192.0.2.30", 5070)


def test_cseq_order_in_a_dialog(net: Network) -> None:
    _, tag = established(net)

    def ask(method: str, cseq: int, **more: object) -> Response:
        return only(
            net.inject(
                PHONE_RAW,
                PBX,
                request(method, cseq=cseq, branch=f"x{cseq}{method}{len(net.log)}", to_tag=tag, source=PHONE_RAW, **more).render(),
            )
        )  # type: ignore[arg-type]

    assert ask("OPTIONS", 9).status == 200
    assert ask("OPTIONS", 5).status == 500
    assert ask("BYE", 10).status == 200
    assert ask("BYE", 11).status == 481
    assert ended(net, PBX).how == "bye"


def test_unknown_dialog_is_481_and_ack_is_never_answered(net: Network) -> None:
    assert only(net.inject(STRANGER, PBX, request("BYE", to_tag="nowhere").render())).status == 481
    assert only(net.inject(STRANGER, PBX, request("INVITE", to_tag="nowhere", body=SDP).render())).status == 481
    assert only(net.inject(STRANGER, PBX, request("CANCEL").render())).status == 481
    assert net.inject(STRANGER, PBX, request("ACK", to_tag="nowhere").render()) == []


def test_info_digits(net: Network) -> None:
    name, tag = established(net)
    body = b"Signal=#\r\nDuration=250\r\n"
    asked = request(
        "INFO", cseq=2, branch="i", to_tag=tag, body=body, extra=(("Content-Type", "application/dtmf-relay"),), source=PHONE_RAW
    )
    assert only(net.inject(PHONE_RAW, PBX, asked.render())).status == 200
    assert only(net.inject(PHONE_RAW, PBX, asked.render())).status == 200  # repeated: answered, not counted again
    assert net.take(PBX, ev.InfoDigit) == [ev.InfoDigit(net.now, name, "#", 250)]
    other = request("INFO", cseq=3, branch="j", to_tag=tag, body=b"x", extra=(("Content-Type", "text/plain"),), source=PHONE_RAW)
    assert only(net.inject(PHONE_RAW, PBX, other.render())).status == 415


def test_cancel_is_answered_again_when_repeated(net: Network) -> None:
    net.inject(PHONE_RAW, PBX, request("INVITE", body=SDP, source=PHONE_RAW).render())
    statuses = [
        message.status
        for message in net.inject(PHONE_RAW, PBX, request("CANCEL", source=PHONE_RAW).render())
        if isinstance(message, Response)
    ]
    assert statuses == [200, 487] and ended(net, PBX).how == "cancel"
    assert only(net.inject(PHONE_RAW, PBX, request("CANCEL", source=PHONE_RAW).render())).status == 200


def test_a_cancel_that_crosses_our_answer_is_answered_and_changes_nothing(net: Network) -> None:
    net.inject(PHONE_RAW, PBX, request("INVITE", body=SDP, source=PHONE_RAW).render())
    (incoming,) = net.take(PBX, ev.IncomingCall)
    assert isinstance(incoming, ev.IncomingCall)
    net.send(PBX, ev.AnswerCall(incoming.call, audio(PBX).receive_offer(sdp())))
    answers = [one for one in net.inject(PHONE_RAW, PBX, request("CANCEL", source=PHONE_RAW).render()) if isinstance(one, Response)]
    assert [(one.status, one.cseq.method) for one in answers] == [(200, "CANCEL")] and net.take(PBX, ev.CallEnded) == []
    assert net.endpoints[PBX].calls.phase(incoming.call) is Phase.ACCEPTED


def test_merged_request_is_482(net: Network) -> None:
    net.inject(PHONE_RAW, PBX, request("INVITE", body=SDP, branch="one", source=PHONE_RAW).render())
    assert only(net.inject(PHONE_RAW, PBX, request("INVITE", body=SDP, branch="two", source=PHONE_RAW).render())).status == 482


def test_answers_go_to_the_right_port(net: Network) -> None:
    behind_nat = ("203.0.113.9", 33333)
    with_rport = request("OPTIONS", source=("10.0.0.5", 5060))
    net.inject(behind_nat, PBX, with_rport.render())
    answer = parse_datagram(net.strays[-1][1])
    assert net.strays[-1][0] == behind_nat and answer is not None
    assert (answer.via.param("received"), answer.via.param("rport")) == ("203.0.113.9", "33333")
    without = request("OPTIONS", branch="b2", source=("10.0.0.5", 5065), rport=False)
    net.inject(behind_nat, PBX, without.render())
    assert net.strays[-1][0] == ("203.0.113.9", 5065)


def test_route_set_is_kept_and_loose_routed(net: Network) -> None:
    invite = request("INVITE", body=SDP, source=PHONE_RAW, extra=(("Record-Route", "<sip:p1.example;lr>, <sip:p2.example;lr>"),))
    net.inject(PHONE_RAW, PBX, invite.render())
    (incoming,) = net.take(PBX, ev.IncomingCall)
    assert isinstance(incoming, ev.IncomingCall) and incoming.offer is not None
    net.send(PBX, ev.AnswerCall(incoming.call, audio(PBX).receive_offer(incoming.offer)))
    ok = net.sent(PBX, "SIP/2.0 200")[-1]
    assert ok.headers.get_all("record-route") == ["<sip:p1.example;lr>, <sip:p2.example;lr>"]
    net.inject(PHONE_RAW, PBX, request("ACK", branch="ack", to_tag=ok.to.tag, source=PHONE_RAW).render())
    net.send(PBX, ev.EndCall(incoming.call))
    bye = net.sent(PBX, "BYE")[-1]
    assert isinstance(bye, Request) and bye.uri == "sip:200@192.0.2.30:5070"
    assert bye.headers.get_all("route") == ["<sip:p1.example;lr>", "<sip:p2.example;lr>"]


# --- registration and authentication ----------------------------------------------------------------------------------


@pytest.fixture
def registrar(seed: int) -> Network:
    net = Network(seed)
    net.add(PBX, make_endpoint(seed % 1000))
    return net


def register(net: Network, user: str, password: str, *, algorithm: str = "MD5", call_id: str = "r1", **more: object) -> Response:
    challenge = only(
        net.inject(PHONE_RAW, PBX, request("REGISTER", user=user, source=PHONE_RAW, call_id=call_id, branch="r1" + call_id).render())
    )
    again = request("REGISTER", user=user, source=PHONE_RAW, cseq=2, branch="r2" + call_id, call_id=call_id, **more)  # type: ignore[arg-type]
    return only(net.inject(PHONE_RAW, PBX, authorize(again, challenge, user, password, algorithm=algorithm).render()))


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_registration_with_digest(registrar: Network, algorithm: str) -> None:
    answer = register(registrar, "200", "pw200", algorithm=algorithm)
    assert answer.status == 200 and answer.headers.get("contact") == "<sip:200@192.0.2.30:5070>;expires=3600"
    (event,) = registrar.take(PBX, ev.Registered)
    assert isinstance(event, ev.Registered) and event.account == "200" and event.bindings[0].flow.remote == PHONE_RAW
    registrar.run(3_600_000)
    (gone,) = registrar.take(PBX, ev.Unregistered)
    assert isinstance(gone, ev.Unregistered) and (gone.left, gone.why) == (0, "expired")


def test_repeated_register_gets_the_same_answer_and_not_a_replay(registrar: Network) -> None:
    challenge = only(registrar.inject(PHONE_RAW, PBX, request("REGISTER", source=PHONE_RAW).render()))
    again = authorize(request("REGISTER", source=PHONE_RAW, cseq=2, branch="r2"), challenge, "200", "pw200").render()
    first, second = only(registrar.inject(PHONE_RAW, PBX, again)), only(registrar.inject(PHONE_RAW, PBX, again))
    assert first.status == 200 and first.render() == second.render()


def test_stale_nonce_is_said_to_be_stale(registrar: Network) -> None:
    challenge = only(registrar.inject(PHONE_RAW, PBX, request("REGISTER", source=PHONE_RAW).render()))
    registrar.run(400_000)
    late = authorize(request("REGISTER", source=PHONE_RAW, cseq=2, branch="r2"), challenge, "200", "pw200")
    answer = only(registrar.inject(PHONE_RAW, PBX, late.render()))
    assert answer.status == 401 and all("stale=true" in value for value in answer.headers.get_all("www-authenticate"))
    assert registrar.take(PBX, ev.AuthenticationFailed) == []


def test_nobody_registers_somebody_else(registrar: Network) -> None:
    challenge = only(registrar.inject(PHONE_RAW, PBX, request("REGISTER", user="201", source=PHONE_RAW).render()))
    answer = only(
        registrar.inject(PHONE_RAW, PBX, authorize(request("REGISTER", user="201", cseq=2, branch="z"), challenge, "200", "pw200").render())
    )
    assert answer.status == 403


def test_scanners_learn_nothing(registrar: Network) -> None:
    """Known and unknown users and targets, with and without wrong passwords: the same statuses, no state."""
    for method, status in (("INVITE", 407), ("REGISTER", 401)):
        for user, target in (("200", "600"), ("999", "600"), ("999", "no-such-number"), ("", "")):
            asked = request(
                method, f"sip:{target}@192.0.2.1" if target else "sip:192.0.2.1", user=user or "x", branch=f"{method}{user}{target}"
            )
            challenge = only(registrar.inject(STRANGER, PBX, asked.render()))
            wrong = authorize(
                request(method, asked.uri, user=user or "x", cseq=2, branch=f"w{method}{user}{target}"), challenge, user, "guess"
            )
            again = only(registrar.inject(STRANGER, PBX, wrong.render()))
            assert (challenge.status, again.status) == (status, status)
            assert [name for name, _ in challenge.headers] == [name for name, _ in again.headers]
    assert registrar.endpoints[PBX].statistics()["transactions"] == 0
    assert len(registrar.take(PBX, ev.AuthenticationFailed)) == 8


def test_ack_of_a_challenge_leaves_nothing(registrar: Network) -> None:
    challenge = only(registrar.inject(STRANGER, PBX, request("INVITE", body=SDP).render()))
    assert registrar.inject(STRANGER, PBX, request("ACK", to_tag=challenge.to.tag).render()) == []
    assert registrar.endpoints[PBX].statistics()["transactions"] == 0


def test_options_is_a_ping_for_anybody(registrar: Network) -> None:
    assert only(registrar.inject(STRANGER, PBX, request("OPTIONS").render())).status == 200
    assert registrar.take(PBX, ev.OptionsPing) == [ev.OptionsPing(registrar.now, STRANGER[0])]
    assert only(registrar.inject(STRANGER, PBX, request("PUBLISH", branch="s").render())).status == 405


def test_offered_calls_of_one_source_are_limited(seed: int) -> None:
    net = Network(seed)
    net.add(PBX, make_endpoint(seed % 1000, trusting="200", max_offered_per_source=2))
    statuses = [
        message.status
        for number in range(3)
        for message in net.inject(
            PHONE_RAW, PBX, request("INVITE", body=SDP, branch=f"b{number}", call_id=f"c{number}", source=PHONE_RAW).render()
        )
        if isinstance(message, Response)
    ]
    assert statuses == [100, 100, 503]


def test_tcp_connection_answers_pings_and_is_closed_after_nonsense(registrar: Network) -> None:
    endpoint = registrar.endpoints[PBX]
    endpoint.receive(b"\r\n\r\n", STRANGER, "tcp", 1000, PBX)
    assert [outgoing.data for outgoing in endpoint.output()] == [b"\r\n"]
    endpoint.receive(b"GET / HTTP/1.1\r\n\r\n", STRANGER, "tcp", 1000, PBX)
    (closing,) = endpoint.output()
    assert closing.close and closing.destination == STRANGER
    endpoint.connection_lost("tcp", STRANGER, 1000)
    assert endpoint.statistics()["connections"] == 0


def test_registration_over_tcp_ends_with_its_connection(registrar: Network) -> None:
    registrar._transport = "tcp"
    assert register(registrar, "200", "pw200").status == 200
    endpoint = registrar.endpoints[PBX]
    endpoint.connection_lost("tcp", PHONE_RAW, registrar.now)
    (gone,) = [event for event in endpoint.events() if isinstance(event, ev.Unregistered)]
    assert (gone.account, gone.left, gone.why) == ("200", 0, "connection")


# --- adoption ---------------------------------------------------------------------------------------------------------


def reborn(net: Network, address: tuple[str, int], *calls: str) -> Endpoint:
    """Replace an endpoint by a new process that knows only what was journalled."""
    old = net.endpoints[address]
    journal = {name: old.snapshot(name) for name in calls}
    registrations = old.registrations()
    new = make_endpoint(4242, trusting="200")
    net.endpoints[address] = new
    new.restore_registrations(registrations, net.now)
    for name, data in journal.items():
        assert data and new.adopt(name, data, net.now) is not None
    return new


def test_adopted_call_is_ended_by_either_side(seed: int) -> None:
    for side in (PBX, PHONE):
        net = pbx_and_phone(seed % 1000)
        _, _, name = call(net, PBX, PHONE)
        reborn(net, PBX, "c1")
        net.run(1_000)
        net.send(side, ev.EndCall("c1" if side == PBX else name))
        net.run(200)
        assert ended(net, PBX).by_far is (side == PHONE) and ended(net, PHONE).by_far is (side == PBX)
        quiet(net)


def test_adopted_call_of_a_phone_is_ended_by_either_side(seed: int) -> None:
    for side in (PBX, PHONE):
        net = pbx_and_phone(seed % 1000)
        _, _, name = call(net, PHONE, PBX)
        reborn(net, PBX, name)
        net.send(side, ev.EndCall(name if side == PBX else "c1"))
        net.run(200)
        assert ended(net, PBX).by_far is (side == PHONE) and ended(net, PHONE).by_far is (side == PBX)
        quiet(net)


def test_adopted_call_can_be_held_from_both_sides(net: Network) -> None:
    pbx, phone, name = call(net, PBX, PHONE)
    reborn(net, PBX, "c1")
    for address, own, far, far_name, side in ((PHONE, name, PBX, "c1", phone), (PBX, "c1", PHONE, name, pbx)):
        side.hold = True
        net.send(address, ev.OfferAgain(own, side.offer()))
        net.run(50)
        (event,) = net.take(far, ev.Reoffered)
        assert isinstance(event, ev.Reoffered) and event.offer is not None
        net.send(far, ev.AnswerOffer(far_name, audio(far).receive_offer(event.offer)))
        net.run(50)
        assert len(net.take(address, ev.OfferAnswered)) == 1


def test_repeated_200_after_adoption_is_acknowledged(net: Network) -> None:
    net.filter = lambda source, destination, data: not data.startswith(b"ACK")
    net.send(PBX, ev.PlaceCall("c1", "sip:phone@192.0.2.20:5062", net.flow(PBX, PHONE), audio(PBX).offer()))
    net.run(50)
    (incoming,) = net.take(PHONE, ev.IncomingCall)
    assert isinstance(incoming, ev.IncomingCall) and incoming.offer is not None
    net.send(PHONE, ev.AnswerCall(incoming.call, audio(PHONE).receive_offer(incoming.offer)))
    net.run(100)
    reborn(net, PBX, "c1")
    net.filter = lambda source, destination, data: True
    net.run(1_000)
    assert len(net.take(PHONE, ev.CallConfirmed)) == 1


def test_ringing_calls_are_adopted_both_ways(seed: int) -> None:
    net = pbx_and_phone(seed % 1000)
    net.send(PBX, ev.PlaceCall("out", "sip:phone@192.0.2.20:5062", net.flow(PBX, PHONE), audio(PBX).offer()))
    net.inject(PHONE_RAW, PBX, request("INVITE", body=SDP, source=PHONE_RAW).render())
    net.run(50)
    (far,) = net.take(PHONE, ev.IncomingCall)
    (near,) = net.take(PBX, ev.IncomingCall)
    assert isinstance(far, ev.IncomingCall) and isinstance(near, ev.IncomingCall) and far.offer is not None and near.offer is not None
    reborn(net, PBX, "out", near.call)
    net.send(PHONE, ev.AnswerCall(far.call, audio(PHONE).receive_offer(far.offer)))
    net.send(PBX, ev.AnswerCall(near.call, audio(PBX).receive_offer(near.offer)))
    net.run(100)
    assert len(net.take(PBX, ev.CallAnswered)) == 1 and len(net.take(PHONE, ev.CallConfirmed)) == 1
    assert [message.status for message in net.sent(PBX, "SIP/2.0 200") if isinstance(message, Response)][-1:] == [200]


def test_cancel_reaches_a_call_that_was_adopted_while_it_rang(net: Network) -> None:
    net.inject(PHONE_RAW, PBX, request("INVITE", body=SDP, source=PHONE_RAW).render())
    (near,) = net.take(PBX, ev.IncomingCall)
    assert isinstance(near, ev.IncomingCall)
    reborn(net, PBX, near.call)
    statuses = [
        message.status
        for message in net.inject(PHONE_RAW, PBX, request("CANCEL", source=PHONE_RAW).render())
        if isinstance(message, Response)
    ]
    assert statuses == [200, 487] and ended(net, PBX).how == "cancel"


def test_registrations_are_adopted(registrar: Network) -> None:
    assert register(registrar, "200", "pw200").status == 200
    new = reborn(registrar, PBX)
    assert [binding.flow.remote for binding in new.registrar.bindings("200", registrar.now)] == [PHONE_RAW]


def test_a_journal_that_cannot_be_read_is_refused(net: Network) -> None:
    endpoint = net.endpoints[PBX]
    assert endpoint.adopt("c9", b"nonsense", 0) is None and endpoint.snapshot("nobody") == b""


def test_trace_of_a_call_tells_both_directions_in_order(net: Network) -> None:
    call(net, PBX, PHONE)
    lines = [(line.direction, line.first_line) for line in net.endpoints[PBX].trace("c1")]
    assert lines == [
        ("out", "INVITE sip:192.0.2.20:5062 SIP/2.0"), ("in", "SIP/2.0 100 Trying"), ("in", "SIP/2.0 180 Ringing"),
        ("in", "SIP/2.0 200 OK"), ("out", "ACK sip:pbx@192.0.2.20:5062 SIP/2.0"),
    ]  # fmt: skip


def test_session_phases_end(net: Network) -> None:
    call(net, PBX, PHONE)
    assert net.endpoints[PBX].calls.phase("c1") is Phase.CONFIRMED
    net.filter = lambda source, destination, data: source != PHONE
    net.send(PBX, ev.EndCall("c1"))
    net.run(40_000)  # nobody answers the BYE
    assert net.endpoints[PBX].statistics()["sessions"] == 0


def test_a_supported_that_nobody_can_read_is_400_at_once_and_not_a_fault_when_the_call_is_answered(seed: int) -> None:
    net = pbx_and_phone(seed % 1000)
    stranger = ("198.51.100.7", 5099)
    asked = request("INVITE", body=SDP, extra=(("Supported", 'replace"s, timer'),), source=stranger)
    (answer,) = net.inject(stranger, PBX, asked.render())
    assert isinstance(answer, Response) and answer.status == 400
    assert net.take(PBX, ev.IncomingCall) == [] and net.endpoints[PBX].statistics()["sessions"] == 0
