"""A stage for trunks: the phones part with carriers around it that are scripted message by message, in manual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from firmware.call.model import Alert, EndpointState, LegEvent, Party
from firmware.config.schema.people import Extension
from firmware.config.schema.tree import Config
from firmware.config.schema.trunks import Trunk
from firmware.core.phones import Phones
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.runtime.ids import Ids
from firmware.sip.flow import Address, Flow, Outgoing
from firmware.sip.locate import Target
from firmware.sip.message import Request, Response, respond
from firmware.sip.parse import parse_datagram
from firmware.sip.uri import Uri
from tests.unit.phones_stage import Media
from tests.unit.sip_stage import PBX, token_source

CARRIER: Address = ("198.51.100.7", 5060)
SPARE: Address = ("198.51.100.8", 5060)
ANSWER = (
    b"v=0\r\no=- 9 9 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n"
    b"m=audio 6000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)


class FakeReach:
    """Knows where hosts are; `nowhere` are those that DNS does not know."""

    def __init__(self) -> None:
        self.places: dict[str, list[Address]] = {"carrier.example": [CARRIER, SPARE], "peer.example": [("198.51.100.20", 5060)]}
        self.asked: list[tuple[str, int, tuple[str, ...]]] = []
        self.failures: list[tuple[Target, int]] = []

    def told(self, remote: str, local: Address) -> Address:
        return local

    def locate(self, uri: Uri, then: Callable[[list[tuple[Target, Flow]]], None], *, transports: tuple[str, ...] = ()) -> None:
        self.asked.append((uri.host, uri.port, tuple(transports)))
        found = self.places.get(uri.host, [])
        kind = transports[0]
        then([(Target(kind, *place, uri.host), Flow(kind, place, PBX, uri.host if kind == "tls" else "")) for place in found])

    def failed(self, target: Target, retry_after_s: int = 0) -> None:
        self.failures.append((target, retry_after_s))


class TrunkStage:
    """See the module docstring. `sent` are the messages that left, not yet taken."""

    def __init__(self, trunks: dict[str, Trunk], **config: Any) -> None:
        self.clock = ManualClock(1000)
        self.media = Media()
        self.media.free = 64
        self.reach = FakeReach()
        self.sent: list[tuple[Address, Request | Response]] = []
        self.raw: list[bytes] = []
        self.pings: list[Outgoing] = []
        self.seen: list[Any] = []
        extensions = {"201": Extension(kind="sip", name="Anna"), "202": Extension(kind="sip", outside_number="+8621999")}
        self.config = Config(extensions=extensions, trunks=trunks, **config)
        self.bus = Bus()
        self.bus.subscribe((LegEvent, EndpointState), self.seen.append)
        self.alarms = Alarms(self.bus, self.clock)
        self.phones = Phones(
            config=self.config, secrets={"201": "pw201", "202": "pw202"}, media=self.media, clock=self.clock, bus=self.bus, ids=Ids(1),
            token=token_source(7), transmit=self._transmit, reach=self.reach,  # type: ignore[arg-type]
        )  # fmt: skip
        self.phones.trunks.alarms = self.alarms
        self.phones.trunks.start()

    def _transmit(self, outgoing: Outgoing) -> None:
        if outgoing.data == b"\r\n\r\n":
            self.pings.append(outgoing)
            return
        if outgoing.data in self.raw:
            return                       # sent again, as UDP wants
        message = parse_datagram(outgoing.data)
        self.raw.append(outgoing.data)
        if isinstance(message, Request | Response):
            self.sent.append((outgoing.destination, message))

    # --- the far end --------------------------------------------------------------------------------------------------

    def take(self, what: str | int, where: Address | None = None) -> Any:
        """Remove and return the first message of this method or status; those before it are dropped."""
        while self.sent:
            place, message = self.sent.pop(0)
            kind: str | int = message.method if isinstance(message, Request) else message.status
            if kind == what and (where is None or where == place):
                return message
        raise AssertionError(f"no {what} was sent")

    def none(self, what: str | int) -> None:
        kinds = [message.method if isinstance(message, Request) else message.status for _, message in self.sent]
        assert what not in kinds, kinds

    def reply(self, request: Request, status: int, *, source: Address = CARRIER, body: bytes = b"", headers: Any = (), tag: str = "far",
              reason: str = "") -> None:  # fmt: skip
        answer = respond(request, status, to_tag=tag if status > 100 else "", headers=list(headers), body=body,
                         content_type="application/sdp", reason=reason)  # fmt: skip
        if request.method == "INVITE" and 100 < status < 300:
            answer.headers.add("Contact", f"<sip:carrier@{source[0]}:{source[1]}>")
        self.give(answer, source)

    def reply_over(self, transport: str, request: Request, status: int, *, headers: Any = ()) -> None:
        self.give(respond(request, status, to_tag="far", headers=list(headers)), transport=transport)

    def give(self, message: Request | Response, source: Address = CARRIER, transport: str = "udp") -> None:
        self.phones.receive(message.render(), source, transport, PBX)

    def challenge(self, request: Request, *, nonce: str = "n1", more: str = "", source: Address = CARRIER) -> None:
        plain = f'Digest realm="c", nonce="{nonce}", qop="auth"{more}'
        values = (plain, f"{plain}, algorithm=SHA-256")
        status, name = (401, "WWW-Authenticate") if request.method == "REGISTER" else (407, "Proxy-Authenticate")
        self.reply(request, status, source=source, headers=[(name, value) for value in values])

    def register(self, expires: int = 600, **more: Any) -> Request:
        """Let the carrier accept the first registration; the REGISTER that was accepted."""
        self.challenge(self.take("REGISTER"))
        proven: Request = self.take("REGISTER")
        assert "algorithm=SHA-256" in proven.headers.get("authorization")
        contact = proven.headers.get("contact") + f";expires={expires}"
        self.reply(proven, 200, headers=[("Contact", contact), *more.get("headers", ())])
        return proven

    # --- this side ----------------------------------------------------------------------------------------------------

    def run(self, ms: int) -> None:
        for _ in range(ms // 50):
            self.clock.advance(50)

    def call(self, number: str, trunk: str = "c", *, leg: str = "L1", caller: Party | None = None, alert: Alert = Alert.NORMAL) -> Request:
        """Call over a trunk; the INVITE."""
        self.originate(number, trunk, leg=leg, caller=caller, alert=alert)
        invite: Request = self.take("INVITE")
        return invite

    def originate(
        self, number: str, trunk: str = "c", *, leg: str = "L1", caller: Party | None = None, alert: Alert = Alert.NORMAL
    ) -> None:
        who = caller if caller is not None else Party("201", "Anna")
        self.phones.originate(leg, f"trunk/{trunk}", number=number, caller=who, alert=alert, ring_ms=60_000)

    def wait(self, method: str, most_ms: int) -> int:
        """Let time pass until such a request leaves; how long that took, in ms."""
        began = self.clock.now()
        while not any(isinstance(message, Request) and message.method == method for _, message in self.sent):
            assert self.clock.now() - began < most_ms, f"no {method} within {most_ms} ms"
            self.run(500)
        return self.clock.now() - began

    def of(self, kind: type) -> list[Any]:
        found = [event for event in self.seen if isinstance(event, kind)]
        self.seen[:] = [event for event in self.seen if not isinstance(event, kind)]
        return found

    def state(self, trunk: str = "c") -> str:
        return self.phones.trunks.state_of(trunk)
