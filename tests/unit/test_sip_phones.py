"""SIP extensions as legs: calls both ways, forking, hold, keys, silence, adoption."""

from __future__ import annotations

import pytest

from firmware.call.model import (
    Alert,
    Cause,
    EndpointState,
    LegAnswered,
    LegDigit,
    LegEnded,
    LegHeld,
    LegOffered,
    LegResumed,
    LegRinging,
    Party,
)
from firmware.config.schema.tree import Config
from firmware.core.phones import KEEP_MS
from firmware.sip import events as ev
from firmware.sip.flow import Flow
from firmware.sip.message import Request, respond
from firmware.sip.parse import parse_datagram
from tests.unit.phones_stage import CONFIG, SECRETS, Desk, Digit, House, MediaLost, RtpSilent, RtpStarted
from tests.unit.sip_stage import PBX, SDP, authorize, make_endpoint, request


@pytest.fixture
def house(seed: int) -> House:
    return House(seed % 1000)


@pytest.fixture
def desk(house: House) -> Desk:
    desk = Desk(house, "201", ("192.0.2.21", 5062))
    assert desk.register() == 200
    return desk


def test_registration_is_an_endpoint_state_and_kept(house: House, desk: Desk) -> None:
    assert house.take(EndpointState) == [EndpointState("201", 1000, "idle", "192.0.2.21:5062/udp")] and house.kept
    assert house.phones.contacts("201")[0]["expires_s"] == 600
    house.run(600_010)
    assert [(event.endpoint, event.state) for event in house.take(EndpointState)] == [("201", "unregistered")]


def test_called_extension_rings_answers_and_hangs_up(house: House, desk: Desk) -> None:
    house.ring("L1", "201", caller=Party("0123", 'Mr. "X"'), alert=Alert.QUEUE)
    (incoming,) = [event for event in desk.events if isinstance(event, ev.IncomingCall)]
    assert incoming.display == 'Mr. "X"' and house.phones.state_of("201") == "ringing"
    call = desk.answer()
    assert len(house.take(LegRinging)) == 1
    (answered,) = house.take(LegAnswered)
    opened = house.media.open[answered.port]
    assert (opened["remote"], opened["codec"], opened["dtmf_type"], opened["send"]) == (("192.0.2.21", 4000), "opus", 102, True)
    assert house.phones.state_of("201") == "busy"
    desk.send(ev.EndCall(call))
    (over,) = house.take(LegEnded)
    assert (over.cause, over.evidence.kind, over.by_far) == (Cause.NORMAL, "bye", True)
    house.nothing_left()


def offered_order(house: House, desk: Desk, *others: str) -> str:
    """The m-line of our offer to the desk when its contact has these other legs."""
    house.phones.partners("L9", others)
    house.phones.originate("L9", desk.number, number=desk.number, caller=Party("5551234"), alert=Alert.NORMAL, ring_ms=20_000)
    house.settle()
    (incoming,) = desk.take(ev.IncomingCall)
    house.phones.hang_up("L9", Cause.NORMAL)
    house.settle()
    return " ".join(incoming.offer.media[0].formats)


def test_codecs_are_offered_in_the_order_that_suits_the_partner(house: House, desk: Desk) -> None:
    assert offered_order(house, desk) == "96 9 8 0 13 101 102"
    assert offered_order(house, desk, "a line") == "8 0 96 9 13 101 102"  # the law of the exchange, nothing to transcode
    caller = Desk(house, "202", ("192.0.2.31", 5090))
    caller.register()
    leg = house.dial(caller, "201", offer=SDP.replace(b"RTP/AVP 8 0 101", b"RTP/AVP 0 9 101")).leg
    assert offered_order(house, desk, leg) == "9 0 96 8 13 101 102"  # what the caller has comes first
    house.phones.answer(leg)
    house.settle()
    assert offered_order(house, desk, leg) == "9 96 8 0 13 101 102"  # what it speaks comes first


def test_a_caller_is_answered_with_what_the_called_phone_speaks(house: House, desk: Desk) -> None:
    caller = Desk(house, "202", ("192.0.2.31", 5090))
    caller.register()
    offer = SDP.replace(b"RTP/AVP 8 0 101", b"RTP/AVP 111 9 8 101") + b"a=rtpmap:111 opus/48000/2\r\n"
    leg = house.dial(caller, "201", offer=offer).leg
    house.phones.partners("L9", [leg])
    house.ring("L9", "201")
    desk.negotiation.preference = ("g722", "pcma")
    desk.answer()
    house.phones.partners(leg, ["L9"])
    house.phones.answer(leg)
    house.settle()
    assert {opened["codec"] for opened in house.media.open.values()} == {"g722"}


def test_private_caller_is_anonymous(house: House, desk: Desk) -> None:
    house.ring("L1", "201", caller=Party("0123", "Secret", "private"))
    invite = house.phones.trace("L1")[0].data
    assert b"anonymous.invalid" in invite and b"0123" not in invite and b"Secret" not in invite


def test_unregistered_extension_is_unreachable_at_once(house: House) -> None:
    house.ring("L1", "202")
    (over,) = house.take(LegEnded)
    assert (over.leg, over.cause) == ("L1", Cause.UNREACHABLE)


def test_no_rtp_port_is_congestion_and_other_calls_are_untouched(house: House, desk: Desk) -> None:
    house.media.free = 0
    house.ring("L1", "201")
    assert house.take(LegEnded)[0].cause is Cause.CONGESTION and desk.take(ev.IncomingCall) == []


@pytest.mark.parametrize(
    ("status", "cause"),
    [(486, Cause.BUSY), (603, Cause.REJECTED), (480, Cause.NO_ANSWER), (404, Cause.UNREACHABLE), (503, Cause.CONGESTION)],
)
def test_refusals_become_causes(house: House, desk: Desk, status: int, cause: Cause) -> None:
    house.ring("L1", "201")
    desk.send(ev.RefuseCall(desk.take(ev.IncomingCall)[0].call, status))
    (over,) = house.take(LegEnded)
    assert (over.cause, over.evidence.kind, over.by_far) == (cause, f"sip-{status}", True)
    house.nothing_left()


def test_ring_time_ends_in_no_answer_and_the_phone_stops(house: House, desk: Desk) -> None:
    house.ring("L1", "201", ring_ms=5_000)
    house.run(5_000)
    (over,) = house.take(LegEnded)
    assert (over.cause, over.evidence.kind, over.by_far) == (Cause.NO_ANSWER, "timer", False)
    assert desk.take(ev.CallEnded)[0].how == "cancel"
    house.nothing_left()


def test_a_phone_that_vanished_is_unreachable(house: House, desk: Desk) -> None:
    del house.desks[desk.address]
    house.ring("L1", "201", ring_ms=60_000)
    house.run(33_000)
    assert house.take(LegEnded)[0].cause is Cause.UNREACHABLE
    house.nothing_left()


def test_first_contact_to_answer_wins_and_the_others_are_told(house: House, desk: Desk) -> None:
    second = Desk(house, "201", ("192.0.2.22", 5063))
    assert second.register() == 200
    house.ring("L1", "201")
    second.answer()
    (answered,) = house.take(LegAnswered)
    assert house.media.open[answered.port]["remote"] == ("192.0.2.22", 4000)
    (gone,) = desk.take(ev.CallEnded)
    assert gone.how == "cancel" and "Call completed elsewhere" in gone.reason
    house.phones.hang_up("L1", Cause.NORMAL)
    house.settle()
    assert second.take(ev.CallEnded)[0].how == "bye" and len(house.take(LegEnded)) == 1
    house.nothing_left()


def test_busy_on_one_contact_lets_the_other_ring_on(house: House, desk: Desk) -> None:
    second = Desk(house, "201", ("192.0.2.22", 5063))
    second.register()
    house.ring("L1", "201")
    desk.send(ev.RefuseCall(desk.take(ev.IncomingCall)[0].call, 486))
    assert house.take(LegEnded) == []
    second.answer()
    assert len(house.take(LegAnswered)) == 1


def test_decline_on_one_contact_stops_all(house: House, desk: Desk) -> None:
    second = Desk(house, "201", ("192.0.2.22", 5063))
    second.register()
    house.ring("L1", "201")
    desk.send(ev.RefuseCall(desk.take(ev.IncomingCall)[0].call, 603))
    assert house.take(LegEnded)[0].cause is Cause.REJECTED and second.take(ev.CallEnded)[0].how == "cancel"
    house.nothing_left()


def test_answered_elsewhere_is_told_to_the_phone(house: House, desk: Desk) -> None:
    house.ring("L1", "201")
    house.phones.hang_up("L1", Cause.ELSEWHERE)
    house.settle()
    assert "Call completed elsewhere" in desk.take(ev.CallEnded)[0].reason
    assert house.take(LegEnded)[0].cause is Cause.ELSEWHERE
    house.nothing_left()


def test_a_phone_calls_and_is_answered(house: House, desk: Desk) -> None:
    offered = house.dial(desk, "*43")
    assert (offered.endpoint, offered.caller, offered.called, offered.port) == ("201", Party("201", "Desk 201"), "*43", -1)
    house.phones.progress(offered.leg)
    house.phones.answer(offered.leg)
    house.settle()
    (answered,) = house.take(LegAnswered)
    assert house.media.open[answered.port]["remote"] == ("192.0.2.20", 4000)
    ok = house.last(200)
    assert f"m=audio {20_000 + 2 * answered.port} RTP/AVP 8 101".encode() in ok.body and b"c=IN IP4 192.0.2.1" in ok.body
    assert house.last(180).to.tag == ok.to.tag
    house.raw(
        desk.address,
        request("ACK", "sip:*43@192.0.2.1", user="201", cseq=2, call_id="d1", branch="ack", to_tag=ok.to.tag, source=desk.address),
    )
    house.raw(
        desk.address,
        request("BYE", "sip:*43@192.0.2.1", user="201", cseq=3, call_id="d1", branch="bye", to_tag=ok.to.tag, source=desk.address),
    )
    assert house.take(LegEnded)[0].cause is Cause.NORMAL
    house.nothing_left()


def test_a_caller_who_gives_up_is_cancelled(house: House, desk: Desk) -> None:
    house.dial(desk, "600")
    house.raw(desk.address, request("CANCEL", "sip:600@192.0.2.1", user="201", cseq=2, call_id="d1", branch="d1b", source=desk.address))
    (over,) = house.take(LegEnded)
    assert (over.cause, over.evidence.kind, over.by_far) == (Cause.CANCELLED, "cancel", True)
    assert house.last(487)
    house.raw(desk.address, request("ACK", "sip:600@192.0.2.1", user="201", cseq=2, call_id="d1", branch="d1b", source=desk.address))
    house.nothing_left()


@pytest.mark.parametrize(("cause", "status"), [(Cause.BUSY, 486), (Cause.UNREACHABLE, 404), (Cause.REFUSED, 403), (Cause.CONGESTION, 503)])
def test_refusing_a_caller_names_the_cause(house: House, desk: Desk, cause: Cause, status: int) -> None:
    offered = house.dial(desk, "600")
    house.phones.hang_up(offered.leg, cause)
    house.settle()
    assert house.last(status) and house.take(LegEnded)[0].cause is cause


def test_an_offer_without_g711_is_488_and_no_leg(house: House, desk: Desk) -> None:
    bad = SDP.replace(b"RTP/AVP 8 0 101", b"RTP/AVP 18")
    invite = request("INVITE", user="201", source=desk.address, branch="x", body=bad)
    (challenge,) = house.raw(desk.address, invite)
    house.raw(
        desk.address, authorize(request("INVITE", user="201", source=desk.address, branch="y", cseq=2, body=bad), challenge, "201", "pw201")
    )
    assert house.last(488) and house.take(LegOffered) == []


def test_late_offer_is_answered_when_the_ack_brings_the_answer(house: House, desk: Desk) -> None:
    offered = house.dial(desk, "600", offer=b"")
    house.phones.answer(offered.leg)
    house.settle()
    assert house.take(LegAnswered) == []
    ok = house.last(200)
    house.raw(desk.address, request("ACK", user="201", cseq=2, call_id="d1", branch="ack", to_tag=ok.to.tag, source=desk.address, body=SDP))
    (answered,) = house.take(LegAnswered)
    assert house.media.open[answered.port]["remote"] == ("192.0.2.20", 4000)


def test_hold_and_resume(house: House, desk: Desk) -> None:
    house.ring("L1", "201")
    call = desk.answer()
    (answered,) = house.take(LegAnswered)
    for hold, event, send in ((True, LegHeld, False), (False, LegResumed, True)):
        desk.negotiation.hold = hold
        desk.send(ev.OfferAgain(call, desk.negotiation.offer()))
        assert len(house.take(event)) == 1 and house.media.open[answered.port]["send"] is send
        stream = house.media.open[answered.port]
        desk.send(ev.OfferAgain(call, desk.negotiation.offer()))  # the same again changes nothing
        assert house.take(event) == [] and house.media.open[answered.port] is stream


def test_keys_come_from_rfc_4733_info_or_in_band_but_once(house: House, desk: Desk) -> None:
    house.ring("L1", "201")
    desk.answer()
    port = house.take(LegAnswered)[0].port
    house.media.tell(Digit(port, 1234, "5", "rfc4733"))
    house.media.tell(Digit(port, 1235, "5", "inband"))  # telephone-event was agreed: the same key heard
    house.media.tell(Digit(99, 1236, "6", "rfc4733"))
    assert house.take(LegDigit) == [LegDigit("L1", 1234, "5")]
    house.phones.send_digits("L1", "12#")
    assert house.media.dtmf == [(port, "12#")]


def test_silence_ends_the_leg_unless_it_is_held(house: House, desk: Desk) -> None:
    house.ring("L1", "201")
    call = desk.answer()
    port = house.take(LegAnswered)[0].port
    house.media.tell(RtpSilent(port, 2_000))
    house.run(30_000)
    house.media.tell(RtpStarted(port))
    house.run(60_000)
    desk.negotiation.hold = True
    desk.send(ev.OfferAgain(call, desk.negotiation.offer()))
    house.media.tell(RtpSilent(port, 2_000))
    house.run(90_000)
    assert house.take(LegEnded) == []
    desk.negotiation.hold = False
    desk.send(ev.OfferAgain(call, desk.negotiation.offer()))
    house.media.tell(RtpSilent(port, 2_000))
    house.run(58_000)
    assert house.take(LegEnded)[0].cause is Cause.RTP_LOST and desk.take(ev.CallEnded)[0].how == "bye"


def test_a_phone_that_vanishes_while_it_holds_is_noticed(house: House, desk: Desk) -> None:
    house.ring("L1", "201")
    call = desk.answer()
    desk.negotiation.hold = True
    desk.send(ev.OfferAgain(call, desk.negotiation.offer()))
    house.run(200_000)
    assert house.take(LegEnded) == []                    # it answers each time, and stays
    asked = [line for line in desk.endpoint.trace(call) if line.direction == "in" and line.data.startswith(b"OPTIONS ")]
    assert len(asked) == 3
    del house.desks[desk.address]
    house.run(39_000 + 33_000)                           # the next question, and 32 s for an answer
    (ended,) = house.take(LegEnded)
    assert ended.cause is Cause.TIMEOUT and ended.by_far and house.media.allocated == set()


def test_an_adopted_leg_that_holds_is_asked_too_and_one_that_goes_on_is_not(house: House, desk: Desk, seed: int) -> None:
    house.ring("L1", "201")
    call = desk.answer()
    port = house.take(LegAnswered)[0].port
    desk.negotiation.hold = True
    desk.send(ev.OfferAgain(call, desk.negotiation.offer()))
    journal = house.phones.snapshot()["L1"]
    house.phones = house.start(seed + 1)
    assert house.phones.adopt("L1", journal, port)
    (ours,) = house.phones._table.legs["L1"].calls

    def asked() -> int:
        return sum(line.data.startswith(b"OPTIONS ") for line in house.phones.endpoint.trace(ours))

    house.run(61_000)
    assert asked() == 1
    desk.negotiation.hold = False
    desk.send(ev.OfferAgain(call, desk.negotiation.offer()))
    house.run(200_000)
    assert asked() == 1


def test_lost_media_process_ends_the_legs_with_ports(house: House, desk: Desk) -> None:
    house.ring("L1", "201")
    desk.answer()
    house.media.tell(MediaLost(2))
    house.settle()
    assert house.take(LegEnded)[0].cause is Cause.MEDIA_LOST and desk.take(ev.CallEnded)[0].how == "bye"


def test_commands_on_unknown_legs_do_nothing(house: House) -> None:
    house.phones.progress("L9")
    house.phones.answer("L9")
    house.phones.hang_up("L9", Cause.NORMAL)
    house.phones.send_digits("L9", "1")
    assert house.seen == []


def test_an_answered_leg_is_adopted_by_a_new_process(house: House, desk: Desk, seed: int) -> None:
    house.ring("L1", "201")
    call = desk.answer()
    port = house.take(LegAnswered)[0].port
    journal, registrations = house.phones.snapshot(), house.kept
    house.phones = house.start(seed + 7)
    house.phones.restore_registrations(registrations)
    assert house.phones.adopt("L1", journal["L1"], port)
    assert house.phones.state_of("201") == "busy"
    desk.negotiation.hold = True
    desk.send(ev.OfferAgain(call, desk.negotiation.offer()))
    assert len(house.take(LegHeld)) == 1 and house.media.open[port]["send"] is False
    house.media.tell(Digit(port, 5, "1", "rfc4733"))
    assert len(house.take(LegDigit)) == 1
    desk.send(ev.EndCall(call))
    assert house.take(LegEnded)[0].cause is Cause.NORMAL
    house.nothing_left()


def test_a_leg_whose_port_is_gone_is_not_adopted_and_the_phone_is_told(house: House, desk: Desk, seed: int) -> None:
    house.ring("L1", "201")
    desk.answer()
    journal = house.phones.snapshot()
    house.phones = house.start(seed + 7)
    assert not house.phones.adopt("L1", journal["L1"], -1)
    house.settle()
    assert desk.take(ev.CallEnded)[0].how == "bye"
    assert not house.phones.adopt("L2", b"rubbish", 17)


def test_ringing_legs_are_adopted_and_keep_their_ring_time(house: House, desk: Desk, seed: int) -> None:
    offered = house.dial(desk, "600")
    house.ring("L1", "201", ring_ms=9_000)
    journal = house.phones.snapshot()
    house.phones = house.start(seed + 7)
    assert house.phones.adopt("L1", journal["L1"], 17) and house.phones.adopt(offered.leg, journal[offered.leg], -1)
    house.phones.answer(offered.leg)
    house.settle()
    assert house.last(200)
    house.run(9_000)
    assert [over.cause for over in house.take(LegEnded)] == [Cause.NO_ANSWER]


def test_a_long_call_is_refreshed_without_touching_its_audio_and_ends_when_the_phone_is_gone(house: House, desk: Desk) -> None:
    desk.endpoint = make_endpoint(77, trusting="pbx", session_expires_s=90)
    house.ring("L1", "201")
    desk.answer()
    port = house.take(LegAnswered)[0].port
    before = house.media.open[port]
    house.run(92_000)
    assert [line.first_line.split()[0] for line in house.phones.trace("L1")].count("UPDATE") == 2
    assert house.media.open[port] is before and house.take(LegEnded) == []
    del house.desks[desk.address]
    house.run(80_000)
    assert [(over.cause, over.by_far) for over in house.take(LegEnded)] == [(Cause.TIMEOUT, True)]
    house.nothing_left()


def test_a_contact_that_has_not_answered_cannot_move_the_audio(house: House, desk: Desk) -> None:
    house.ring("L1", "201")
    (incoming,) = desk.take(ev.IncomingCall)
    invite = parse_datagram(house.phones.trace("L1")[0].data)
    assert isinstance(invite, Request)
    early = respond(invite, 183, to_tag="early", headers=(("Contact", "<sip:201@192.0.2.20:5062>"), ("Require", "100rel"), ("RSeq", "1")),
                    body=SDP, content_type="application/sdp")  # fmt: skip
    house.phones.receive(early.render(), desk.address, "udp", PBX)
    update = request("UPDATE", user="201", source=desk.address, call_id=invite.call_id, cseq=1, branch="u", body=SDP,
                     to_tag=invite.from_.tag, from_tag="early")  # fmt: skip
    assert [answer.status for answer in house.raw(desk.address, update)] == [488]
    assert house.media.open == {}
    desk.send(ev.AnswerCall(incoming.call, desk.negotiation.receive_offer(incoming.offer)))
    assert len(house.take(LegAnswered)) == 1


def test_trace_outlives_the_leg(house: House, desk: Desk) -> None:
    house.ring("L1", "201")
    call = desk.answer()
    desk.send(ev.EndCall(call))
    firsts = [line.first_line.split()[0] for line in house.phones.trace("L1")]
    assert firsts[0] == "INVITE" and firsts[-2:] == ["BYE", "SIP/2.0"]


def test_removed_extension_loses_its_registration(house: House, desk: Desk) -> None:
    house.take(EndpointState)
    less = Config(extensions={"200": CONFIG.extensions["200"]})
    house.phones.configure(less, SECRETS)
    assert ("201", "unregistered") in [(event.endpoint, event.state) for event in house.take(EndpointState)]


def test_flow_of_a_binding_is_where_calls_go(house: House) -> None:
    desk = Desk(house, "200", ("192.0.2.33", 6000))
    desk.register()
    (binding,) = house.phones.endpoint.registrar.bindings("200", house.clock.now())
    assert binding.flow == Flow("udp", ("192.0.2.33", 6000), PBX)


def test_registrations_are_kept_together_a_moment_after_they_changed(house: House, desk: Desk) -> None:
    house.clock.advance(10 * KEEP_MS)
    house._kept = b""
    assert desk.register(cseq=11) == 200
    assert house._kept == b""
    house.clock.advance(KEEP_MS)
    assert house._kept == house.phones.registrations() != b""
    house._kept = b""
    house.clock.advance(10 * KEEP_MS)
    assert house._kept == b"", "nothing changed: nothing is written"
