"""SIP extensions as legs: calls both ways, forking, hold, keys, silence, adoption."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from firmware.call.model import (
    Alert,
    Cause,
    EndpointState,
    LegAnswered,
    LegDigit,
    LegEnded,
    LegEvent,
    LegHeld,
    LegOffered,
    LegResumed,
    LegRinging,
    Party,
)
from firmware.config.schema.people import Extension
from firmware.config.schema.tree import Config
from firmware.core.phones import Phones
from firmware.errors import EngineBusy
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.runtime.ids import Ids
from firmware.sip import events as ev
from firmware.sip.endpoint import Endpoint
from firmware.sip.flow import Address, Flow, Outgoing
from firmware.sip.message import Request, Response
from firmware.sip.offer import OfferAnswer
from firmware.sip.parse import parse_datagram
from tests.unit.sip_stage import PBX, SDP, audio, authorize, make_endpoint, request, token_source

CONFIG = Config(extensions={number: Extension(kind="sip", name=f"Desk {number}") for number in ("200", "201", "202")})
SECRETS = {number: "pw" + number for number in CONFIG.extensions}


class Digit(NamedTuple):
    port: int
    at: int
    digit: str
    source: str


class RtpSilent(NamedTuple):
    port: int
    ms: int


class RtpStarted(NamedTuple):
    port: int


class MediaLost(NamedTuple):
    epoch: int


class Port(NamedTuple):
    port: int
    local_port: int


class Media:
    """Stands where the native engine is: hands out ports and remembers what each was told."""

    def __init__(self) -> None:
        self.free = 4
        self.next = 16
        self.open: dict[int, dict[str, Any]] = {}
        self.allocated: set[int] = set()
        self.dtmf: list[tuple[int, str]] = []
        self.tell: Callable[[Any], None] = lambda event: None

    def subscribe(self, fn: Callable[[Any], None]) -> None:
        self.tell = fn

    def allocate_rtp(self, tag: str) -> Port:
        if len(self.allocated) >= self.free:
            raise EngineBusy("no RTP port left")
        self.next += 1
        self.allocated.add(self.next)
        return Port(self.next, 20_000 + 2 * self.next)

    def open_rtp(self, port: int, **arguments: Any) -> None:
        assert port in self.allocated and port not in self.open
        self.open[port] = arguments

    def update_rtp(self, port: int, **arguments: Any) -> None:
        assert port in self.open
        self.open[port] = arguments

    def close_rtp(self, port: int) -> None:
        self.allocated.remove(port)
        self.open.pop(port, None)

    def send_dtmf(self, port: int, digits: str, *, token: int) -> None:
        self.dtmf.append((port, digits))


class Desk:
    """A telephone: an endpoint of its own that registers with digest."""

    def __init__(self, house: House, number: str, address: Address) -> None:
        self.house, self.number, self.address = house, number, address
        self.endpoint: Endpoint = make_endpoint(int(number) + address[1], trusting="pbx")
        self.events: list[ev.Event] = []
        self.negotiation: OfferAnswer = audio(address, 4000)
        house.desks[address] = self

    def register(self, expires: int = 600, cseq: int = 1) -> int:
        extra = (("Expires", str(expires)),)
        call_id = f"reg{self.number}{self.address[1]}"
        first = request(
            "REGISTER", user=self.number, source=self.address, call_id=call_id, branch=f"{call_id}a{cseq}", cseq=cseq, extra=extra
        )
        (challenge,) = self.house.raw(self.address, first)
        again = request(
            "REGISTER", user=self.number, source=self.address, call_id=call_id, branch=f"{call_id}b{cseq}", cseq=cseq + 1, extra=extra
        )
        (answer,) = self.house.raw(self.address, authorize(again, challenge, self.number, "pw" + self.number))
        return answer.status

    def send(self, command: ev.Command) -> None:
        self.endpoint.send(command, self.house.clock.now())
        self.house.settle()

    def take(self, kind: type[ev.Event]) -> list[Any]:
        found = [event for event in self.events if isinstance(event, kind)]
        self.events = [event for event in self.events if not isinstance(event, kind)]
        return found

    def answer(self) -> str:
        (incoming,) = self.take(ev.IncomingCall)
        self.send(ev.RingCall(incoming.call))
        self.send(ev.AnswerCall(incoming.call, self.negotiation.receive_offer(incoming.offer)))
        return str(incoming.call)


class House:
    """The phones part, its bus and media, and telephones around it; the wire is instant."""

    def __init__(self, seed: int) -> None:
        self.clock = ManualClock(1000)
        self.media = Media()
        self.desks: dict[Address, Desk] = {}
        self.seen: list[Any] = []
        self.wire: list[tuple[Address, Outgoing]] = []
        self.answers: list[tuple[Address, Response]] = []
        self.kept = b""
        self.phones = self.start(seed)

    def start(self, seed: int) -> Phones:
        bus = Bus()
        bus.subscribe((LegEvent, EndpointState), self.seen.append)
        return Phones(
            config=CONFIG, secrets=SECRETS, media=self.media, clock=self.clock, bus=bus, ids=Ids(seed % 99 + 1), token=token_source(seed),
            transmit=lambda outgoing: self.wire.append((PBX, outgoing)), keep_registrations=self.keep,
        )  # fmt: skip

    def keep(self, data: bytes) -> None:
        self.kept = data

    def raw(self, source: Address, message: Request) -> list[Response]:
        mark = len(self.answers)
        self.phones.receive(message.render(), source, "udp", PBX)
        self.settle()
        return [answer for where, answer in self.answers[mark:] if where == source]

    def settle(self) -> None:
        """Carry everything until nothing moves."""
        for _ in range(100):
            for address, desk in self.desks.items():
                self.wire += [(address, outgoing) for outgoing in desk.endpoint.output()]
                desk.events += desk.endpoint.events()
            if not self.wire:
                return
            wire, self.wire = self.wire, []
            for source, outgoing in wire:
                if outgoing.destination == PBX:
                    self.phones.receive(outgoing.data, source, "udp", PBX)
                    continue
                message = parse_datagram(outgoing.data)
                if isinstance(message, Response):
                    self.answers.append((outgoing.destination, message))
                desk_or_none = self.desks.get(outgoing.destination)
                if desk_or_none is not None:
                    desk_or_none.endpoint.receive(outgoing.data, PBX, "udp", self.clock.now(), outgoing.destination)

    def run(self, ms: int) -> None:
        for _ in range(ms // 10):
            self.clock.advance(10)
            for desk in self.desks.values():
                due = desk.endpoint.deadline()
                if due is not None and due <= self.clock.now():
                    desk.endpoint.expire(self.clock.now())
            self.settle()

    def take(self, kind: type) -> list[Any]:
        found = [event for event in self.seen if isinstance(event, kind)]
        self.seen[:] = [event for event in self.seen if not isinstance(event, kind)]
        return found

    def ring(self, leg: str, extension: str, ring_ms: int = 20_000, **more: Any) -> None:
        caller = more.pop("caller", Party("0123", "Outside"))
        self.phones.originate(leg, extension, number=extension, caller=caller, alert=more.pop("alert", Alert.NORMAL), ring_ms=ring_ms)
        self.settle()

    def dial(self, desk: Desk, digits: str, name: str = "d1", offer: bytes = SDP) -> Any:
        """A desk calls with digest: INVITE, 407, INVITE again; gives what the driver offered."""
        uri = f"sip:{digits}@192.0.2.1"
        invite = request("INVITE", uri, user=desk.number, source=desk.address, call_id=name, branch=name + "a", body=offer)
        (challenge,) = self.raw(desk.address, invite)
        again = request("INVITE", uri, user=desk.number, source=desk.address, call_id=name, branch=name + "b", cseq=2, body=offer)
        self.raw(desk.address, authorize(again, challenge, desk.number, "pw" + desk.number))
        (offered,) = self.take(LegOffered)
        return offered

    def last(self, status: int) -> Response:
        return [answer for _, answer in self.answers if answer.status == status][-1]

    def nothing_left(self) -> None:
        self.run(80_000)
        assert self.media.allocated == set() and self.phones.snapshot() == {}
        left = self.phones.endpoint.statistics()
        assert (left["sessions"], left["transactions"]) == (0, 0), left


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
        desk.send(ev.OfferAgain(call, desk.negotiation.offer()))  # the same again changes nothing
        assert house.take(event) == []


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
