"""A stage for the phones part: it, its bus and media, and telephones around it over an instant wire."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from firmware.call.model import (
    Alert,
    EndpointState,
    LegEvent,
    LegOffered,
    Party,
)
from firmware.call.quality import Quality
from firmware.config.schema.people import Extension
from firmware.config.schema.tree import Config
from firmware.core.phones import Phones
from firmware.core.phones_ledger import Ledger
from firmware.core.phones_vault import KeyVault, make_ledger, make_vault
from firmware.errors import EngineBusy
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.runtime.ids import Ids
from firmware.sip import events as ev
from firmware.sip.endpoint import Endpoint
from firmware.sip.flow import Address, Outgoing
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


class Answer:
    """What media answers to a request; at once, unless the test says otherwise."""

    def __init__(self, result: Any = None, problem: Exception | None = None) -> None:
        self._result, self._problem = result, problem

    def add_done_callback(self, fn: Callable[[Any], object], /) -> None:
        fn(self)

    def cancelled(self) -> bool:
        return False

    def exception(self) -> Exception | None:
        return self._problem

    def result(self) -> Any:
        return self._result


class SideNews(NamedTuple):
    port: int
    what: str
    facts: dict[str, Any]


class Media:
    """Stands where the native engine is: hands out ports and remembers what each was told."""

    def __init__(self) -> None:
        self.free = 4
        self.next = 16
        self.open: dict[int, dict[str, Any]] = {}
        self.allocated: set[int] = set()
        self.dtmf: list[tuple[int, str]] = []
        self.fingerprint = ":".join(["5A"] * 32)
        self.asked: list[tuple[int, str, dict[str, Any]]] = []
        self.refuses: dict[str, Exception] = {}
        self.qualities: dict[int, Quality] = {}
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

    def quality(self, port: int) -> Quality | None:
        return self.qualities.get(port)

    def side(self, port: int, what: str, **args: Any) -> Answer:
        self.asked.append((port, what, args))
        return Answer(self.fingerprint if what == "fingerprint" else None, self.refuses.get(what))

    def send_dtmf(self, port: int, digits: str, *, token: int) -> None:
        self.dtmf.append((port, digits))


class Desk:
    """A telephone: an endpoint of its own that registers with digest."""

    def __init__(self, house: House, number: str, address: Address, transport: str = "udp") -> None:
        self.house, self.number, self.address, self.transport = house, number, address, transport
        self.endpoint: Endpoint = make_endpoint(int(number) + address[1], trusting="pbx")
        self.events: list[ev.Event] = []
        self.negotiation: OfferAnswer = audio(address, 4000)
        house.desks[address] = self
        if transport != "udp":
            self.connect()

    def connect(self) -> None:
        """Open the connection, over which both sides then speak."""
        self.house.phones.connection_made(self.transport, self.address)
        self.endpoint.connection_made(self.transport, PBX)

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

    def __init__(self, seed: int, config: Config = CONFIG) -> None:
        self.config = config
        self.clock = ManualClock(1000)
        self.media = Media()
        self.desks: dict[Address, Desk] = {}
        self.seen: list[Any] = []
        self.wire: list[tuple[Address, Outgoing]] = []
        self.answers: list[tuple[Address, Response]] = []
        self._kept = b""
        vault = make_vault()
        self.vault = KeyVault(vault)
        os.close(vault)                  # the memory stays mapped
        self.ledger = make_ledger()
        weakref.finalize(self, os.close, self.ledger)
        self.base = 1_700_000_000_000
        self.phones = self.start(seed)

    def start(self, seed: int) -> Phones:
        bus = Bus()
        bus.subscribe((LegEvent, EndpointState), self.seen.append)
        phones = Phones(
            config=self.config, secrets=SECRETS, media=self.media, clock=self.clock, bus=bus, ids=Ids(seed % 99 + 1),
            token=token_source(seed), transmit=lambda outgoing: self.wire.append((PBX, outgoing)), keep_registrations=self.keep,
            vault=self.vault, ledger=Ledger(self.ledger, lambda: self.base - self.clock.now()),
        )  # fmt: skip
        phones._audio.web.learn()        # as `start` does, which also publishes the state of everybody
        return phones

    def keep(self, data: bytes) -> None:
        self._kept = data

    @property
    def kept(self) -> bytes:
        """What another process would find of registrations, a moment later."""
        self.phones.keep_registrations()
        return self._kept

    def raw(self, source: Address, message: Request) -> list[Response]:
        mark = len(self.answers)
        self.phones.receive(message.render(), source, self.transport(source), PBX)
        self.settle()
        return [answer for where, answer in self.answers[mark:] if where == source]

    def transport(self, address: Address) -> str:
        desk = self.desks.get(address)
        return desk.transport if desk is not None else "udp"

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
                    self.phones.receive(outgoing.data, source, self.transport(source), PBX)
                    continue
                message = parse_datagram(outgoing.data)
                if isinstance(message, Response):
                    self.answers.append((outgoing.destination, message))
                desk_or_none = self.desks.get(outgoing.destination)
                if desk_or_none is not None:
                    desk_or_none.endpoint.receive(outgoing.data, PBX, desk_or_none.transport, self.clock.now(), outgoing.destination)

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
