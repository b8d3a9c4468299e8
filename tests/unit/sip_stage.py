"""A stage for SIP tests: endpoints wired back to back in virtual time, over a network that may lose and reorder."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from firmware.sip import events as ev
from firmware.sip.auth import digest_response, parse_digest, user_hash
from firmware.sip.endpoint import Endpoint
from firmware.sip.flow import Address, Flow, Outgoing
from firmware.sip.headers import Headers
from firmware.sip.message import Message, Request, Response
from firmware.sip.offer import OfferAnswer
from firmware.sip.parse import parse_datagram
from firmware.sip.sdp import Description
from firmware.sip.settings import Settings

PBX: Address = ("192.0.2.1", 5060)
PHONE: Address = ("192.0.2.20", 5062)
SDP = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)


def token_source(seed: int) -> Callable[[int], str]:
    source = random.Random(seed)
    return lambda digits: "".join(source.choice("0123456789abcdef") for _ in range(digits))


def make_endpoint(seed: int, *, trusting: str = "", secrets: dict[str, str] | None = None, **settings: object) -> Endpoint:
    """An endpoint; `trusting` is the account that callers are taken for without a challenge."""
    return Endpoint(
        Settings(**settings),  # type: ignore[arg-type]
        secrets if secrets is not None else {"200": "pw200", "201": "pw201"},
        token_source(seed),
        (lambda request, flow: trusting) if trusting else None,
    )


def audio(address: Address, port: int = 4000) -> OfferAnswer:
    return OfferAnswer(address[0], port, "77")


class Network:
    """Carries what endpoints send, `delay_ms` later, with loss and jitter; everything else is dead air, kept in `strays`."""

    def __init__(self, seed: int, *, loss: float = 0.0, jitter_ms: int = 0, transport: str = "udp") -> None:
        self.now = 1000
        self.endpoints: dict[Address, Endpoint] = {}
        self.events: dict[Address, list[ev.Event]] = {}
        self.log: list[tuple[int, Address, Address, bytes]] = []
        self.strays: list[tuple[Address, bytes]] = []
        self.filter: Callable[[Address, Address, bytes], bool] = lambda source, destination, data: True
        self._random = random.Random(seed)
        self._loss = loss
        self._jitter = jitter_ms
        self._transport = transport
        self._air: list[tuple[int, int, Address, Address, bytes]] = []
        self._order = 0

    def add(self, address: Address, endpoint: Endpoint) -> Endpoint:
        self.endpoints[address] = endpoint
        self.events[address] = []
        return endpoint

    def flow(self, local: Address, remote: Address) -> Flow:
        return Flow(self._transport, remote, local)

    def send(self, address: Address, command: ev.Command) -> None:
        self.endpoints[address].send(command, self.now)
        self._collect(address)

    def inject(self, source: Address, destination: Address, data: bytes) -> list[Message]:
        """Give raw bytes to an endpoint at once; its immediate answers to `source` come back parsed."""
        endpoint = self.endpoints[destination]
        endpoint.receive(data, source, self._transport, self.now, destination)
        mark = len(self.strays)
        self._collect(destination)
        answers = [parse_datagram(data) for where, data in self.strays[mark:] if where == source]
        return [answer for answer in answers if answer is not None]

    def _collect(self, address: Address) -> None:
        endpoint = self.endpoints[address]
        for outgoing in endpoint.output():
            self._put(address, outgoing)
        self.events[address] += endpoint.events()

    def _put(self, source: Address, outgoing: Outgoing) -> None:
        self.log.append((self.now, source, outgoing.destination, outgoing.data))
        if outgoing.destination not in self.endpoints:
            self.strays.append((outgoing.destination, outgoing.data))
            return
        if not self.filter(source, outgoing.destination, outgoing.data) or self._random.random() < self._loss:
            return
        at = self.now + 5 + (self._random.randrange(self._jitter) if self._jitter else 0)
        self._order += 1
        heapq.heappush(self._air, (at, self._order, source, outgoing.destination, outgoing.data))

    def run(self, ms: int) -> None:
        """Let time pass, delivering and expiring in order."""
        end = self.now + ms
        while True:
            times = [self._air[0][0]] if self._air else []
            times += [at for endpoint in self.endpoints.values() if (at := endpoint.deadline()) is not None]
            following = min(times, default=end + 1)
            if following > end:
                break
            self.now = max(self.now, following)
            while self._air and self._air[0][0] <= self.now:
                _, _, source, destination, data = heapq.heappop(self._air)
                self.endpoints[destination].receive(data, source, self._transport, self.now, destination)
                self._collect(destination)
            for address, endpoint in self.endpoints.items():
                due = endpoint.deadline()
                if due is not None and due <= self.now:
                    endpoint.expire(self.now)
                    self._collect(address)
        self.now = end

    def take(self, address: Address, kind: type[ev.Event]) -> list[ev.Event]:
        """Remove and return the events of a kind."""
        found = [event for event in self.events[address] if isinstance(event, kind)]
        self.events[address] = [event for event in self.events[address] if not isinstance(event, kind)]
        return found

    def sent(self, source: Address, start: str) -> list[Message]:
        """Messages that `source` sent whose first line begins so."""
        return [
            parsed
            for _, where, _, data in self.log
            if where == source and data.startswith(start.encode()) and (parsed := parse_datagram(data))
        ]


def call(network: Network, caller: Address, callee: Address, name: str = "c1") -> tuple[OfferAnswer, OfferAnswer, str]:
    """A confirmed call from `caller` to `callee`; gives both negotiations and the callee's call id."""
    offering, answering = audio(caller), audio(callee, 4100)
    network.send(caller, ev.PlaceCall(name, f"sip:{callee[0]}:{callee[1]}", network.flow(caller, callee), offering.offer(), number="100"))
    network.run(100)
    (incoming,) = network.take(callee, ev.IncomingCall)
    assert isinstance(incoming, ev.IncomingCall) and incoming.offer is not None
    network.send(callee, ev.RingCall(incoming.call))
    network.send(callee, ev.AnswerCall(incoming.call, answering.receive_offer(incoming.offer)))
    network.run(200)
    (answered,) = network.take(caller, ev.CallAnswered)
    assert isinstance(answered, ev.CallAnswered) and answered.answer is not None
    offering.receive_answer(answered.answer)
    assert len(network.take(callee, ev.CallConfirmed)) == 1
    return offering, answering, incoming.call


def pbx_and_phone(seed: int, **network: object) -> Network:
    """A PBX and one phone; the PBX takes the phone for account 200 without a challenge and the other way round."""
    net = Network(seed, **network)  # type: ignore[arg-type]
    net.add(PBX, make_endpoint(seed, trusting="200"))
    net.add(PHONE, make_endpoint(seed + 1, trusting="pbx"))
    return net


def request(method: str, uri: str = "sip:600@192.0.2.1", *, user: str = "200", cseq: int = 1, branch: str = "b1", call_id: str = "cid1",
            body: bytes = b"", to_tag: str = "", from_tag: str = "ft", extra: tuple[tuple[str, str], ...] = (), source: Address = PHONE,
            via_host: str = "", transport: str = "UDP", rport: bool = True) -> Request:  # fmt: skip
    """A request as a phone would send it."""
    headers = Headers()
    flag = ";rport" if rport else ""
    headers.add("Via", f"SIP/2.0/{transport} {via_host or source[0]}:{source[1]};branch=z9hG4bK{branch}{flag}")
    headers.add("Max-Forwards", "70")
    headers.add("From", f"<sip:{user}@192.0.2.1>;tag={from_tag}")
    to = f"<sip:{user}@192.0.2.1>" if method == "REGISTER" else f"<{uri}>"
    headers.add("To", f"{to};tag={to_tag}" if to_tag else to)
    headers.add("Call-ID", call_id)
    headers.add("CSeq", f"{cseq} {method}")
    names = {name.lower() for name, _ in extra}
    if method in ("INVITE", "REGISTER") and "contact" not in names:
        headers.add("Contact", f"<sip:{user}@{source[0]}:{source[1]}>")
    for name, value in extra:
        headers.add(name, value)
    if body and "content-type" not in names:
        headers.add("Content-Type", "application/sdp")
    return Request(method, uri, headers, body)


def authorize(again: Request, challenge: Response, user: str, password: str, *, algorithm: str = "MD5", nc: int = 1) -> Request:
    """Add credentials for the challenge of this algorithm."""
    name = "WWW-Authenticate" if challenge.status == 401 else "Proxy-Authenticate"
    offered = [fields for value in challenge.headers.get_all(name) if (fields := parse_digest(value))]
    fields = next(fields for fields in offered if fields["algorithm"] == algorithm)
    response = digest_response(
        algorithm,
        user_hash(algorithm, user, fields["realm"], password),
        again.method,
        again.uri,
        fields["nonce"],
        nc=f"{nc:08x}",
        cnonce="abc",
        qop="auth",
    )
    again.headers.add(
        "Authorization" if challenge.status == 401 else "Proxy-Authorization",
        f'Digest username="{user}", realm="{fields["realm"]}", nonce="{fields["nonce"]}", uri="{again.uri}", response="{response}", '
        f'algorithm={algorithm}, qop=auth, nc={nc:08x}, cnonce="abc"',
    )
    return again


def sdp(text: bytes = SDP) -> Description:
    from firmware.sip.sdp import parse_sdp

    return parse_sdp(text)
