"""Telephones over SIP in real time, all behind one socket: the stage of people on a real switch.

Theory of operation. A telephone here says only what a telephone must (RFC 3261 over UDP, by `firmware.sim.sipwire`, which shares no
code with the product): INVITE, ACK, BYE, 180, 200, and what was lost on loopback is not repeated, because nothing is. No sound is sent;
media are described and left alone. Time is CLOCK_MONOTONIC, in ms from the first `run`. `watch` is told what a switch did when.
"""

from __future__ import annotations

import heapq
import itertools
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from firmware.sim.sipwire import Message, parse, tag_of, uri_of

from .trace import Crowd

Address = tuple[str, int]


@dataclass
class Leg:
    """One telephone's side of a call. `state`: "calling", "ringing", "up", "over"."""

    call_id: str
    user: str
    local: str
    remote: str
    target: str
    invite: Message
    source: Address
    state: str
    cseq: int = 1


class Telephones:
    """See the theory of operation. `crowd` are the people who use them."""

    def __init__(self, host: str, server: Address, crowd: Crowd) -> None:
        self.host, self.server, self.crowd = host, server, crowd
        self.legs: dict[str, Leg] = {}
        self._sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sip.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._sip.bind((host, 0))
        self._sip.setblocking(False)
        self.port: int = self._sip.getsockname()[1]
        self._count = itertools.count(1)
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._begun = time.monotonic_ns()

    def close(self) -> None:
        """Close the socket."""
        self._sip.close()

    # --- stage --------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        return (time.monotonic_ns() - self._begun) // 1_000_000

    def later(self, ms: int, fn: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (self.now() + ms, next(self._count), fn))

    def call(self, number: str, queue: str) -> str:
        """Somebody calls `queue`; the leg."""
        call_id = f"caller-{next(self._count)}@{self.host}"
        local = f"<sip:{number}@{self.host}>;tag=t{next(self._count)}"
        remote = f"<sip:{queue}@{self.server[0]}>"
        target = f"sip:{queue}@{self.server[0]}:{self.server[1]}"
        invite = self._head("INVITE", target, local, remote, call_id, 1)
        invite.headers += [("contact", self._contact(number)), ("content-type", "application/sdp")]
        invite.body = self._sdp()
        self.legs[call_id] = Leg(call_id, number, local, remote, target, invite, self.server, "calling")
        self._send(invite)
        return call_id

    def lift(self, leg: str) -> None:
        """The telephone that rings is picked up."""
        one = self.legs[leg]
        if one.state == "ringing":
            one.state = "up"
            self._reply(one.invite, 200, "OK", one, self._sdp())

    def hang_up(self, leg: str) -> None:
        """CANCEL or BYE, as the call stands."""
        one = self.legs[leg]
        if one.state == "up":
            one.cseq += 1
            self._send(self._head("BYE", one.target, one.local, one.remote, one.call_id, one.cseq), one.source)
        elif one.state == "calling":
            cancel = Message(one.invite.start.replace("INVITE", "CANCEL", 1), [])
            cancel.headers = [(name, one.invite.first(name)) for name in ("via", "max-forwards", "from", "to", "call-id")]
            self._send(Message(cancel.start, [*cancel.headers, ("cseq", "1 CANCEL")]))
        self._over(one)

    def press(self, leg: str, key: str) -> None:
        """A key, by INFO."""
        one = self.legs[leg]
        one.cseq += 1
        info = self._head("INFO", one.target, one.local, one.remote, one.call_id, one.cseq)
        info.headers.append(("content-type", "application/dtmf-relay"))
        info.body = f"Signal={key}\r\nDuration=160\r\n".encode()
        self._send(info, one.source)

    def refer(self, leg: str, number: str) -> None:
        """Blind transfer."""
        one = self.legs[leg]
        one.cseq += 1
        refer = self._head("REFER", one.target, one.local, one.remote, one.call_id, one.cseq)
        refer.headers += [("contact", self._contact(one.user)), ("refer-to", f"<sip:{number}@{self.server[0]}:{self.server[1]}>")]
        self._send(refer, one.source)

    def refer_to(self, leg: str, other: str) -> None:
        """Attended transfer: `leg`'s far end is to speak with that of `other`, another call of the same telephone (RFC 3891)."""
        one, two = self.legs[leg], self.legs[other]
        one.cseq += 1
        replaces = f"{two.call_id}%3Bto-tag%3D{tag_of(two.remote)}%3Bfrom-tag%3D{tag_of(two.local)}".replace("@", "%40")
        refer = self._head("REFER", one.target, one.local, one.remote, one.call_id, one.cseq)
        refer.headers += [("contact", self._contact(one.user)), ("refer-to", f"<{two.target.split(';')[0]}?Replaces={replaces}>")]
        self._send(refer, one.source)

    # --- time ---------------------------------------------------------------------------------------------------------

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Serve for so long, or until it is so; whether it is."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            while self._timers and self._timers[0][0] <= self.now():
                heapq.heappop(self._timers)[2]()
            if until():
                return True
            due = self._timers[0][0] - self.now() if self._timers else 50
            if select.select([self._sip], [], [], max(0.0, min(due, 50) / 1000))[0]:
                self._take()
        return until()

    # --- SIP ----------------------------------------------------------------------------------------------------------

    def _contact(self, user: str) -> str:
        return f"<sip:{user}@{self.host}:{self.port}>"

    def _sdp(self) -> bytes:
        return (
            f"v=0\r\no=people 1 1 IN IP4 {self.host}\r\ns=-\r\nc=IN IP4 {self.host}\r\nt=0 0\r\nm=audio {self.port + 1} RTP/AVP 8\r\n"
            "a=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n"
        ).encode()

    def _head(self, method: str, uri: str, local: str, remote: str, call_id: str, cseq: int) -> Message:
        via = f"SIP/2.0/UDP {self.host}:{self.port};branch=z9hG4bKb{next(self._count)};rport"
        return Message(f"{method} {uri} SIP/2.0", [("via", via), ("max-forwards", "70"), ("from", local), ("to", remote),
                                                   ("call-id", call_id), ("cseq", f"{cseq} {method}")])  # fmt: skip

    def _send(self, message: Message, to: Address | None = None) -> None:
        self._sip.sendto(message.raw(), to or self.server)

    def _take(self) -> None:
        while True:
            try:
                data, source = self._sip.recvfrom(16384)
            except (BlockingIOError, ConnectionRefusedError):
                return
            message = parse(data)
            if message.status:
                self._answer(message)
            else:
                self._request(message, source)

    def _answer(self, answer: Message) -> None:
        one = self.legs.get(answer.first("call-id"))
        if one is None or answer.method != "INVITE" or answer.status < 200:
            return
        one.remote = answer.first("to")
        if answer.status >= 300:
            ack = Message(one.invite.start.replace("INVITE", "ACK", 1), [])
            ack.headers = [(name, one.invite.first(name)) for name in ("via", "max-forwards", "from", "call-id")]
            self._send(Message(ack.start, [*ack.headers, ("to", one.remote), ("cseq", "1 ACK")]))
            self._over(one)
            return
        one.target = uri_of(answer.first("contact")) or one.target
        self._send(self._head("ACK", one.target, one.local, one.remote, one.call_id, 1))
        if one.state == "calling":
            one.state = "up"
            self.crowd.picked_up(one.call_id)

    def _request(self, request: Message, source: Address) -> None:
        one = self.legs.get(request.first("call-id"))
        match request.method:
            case "INVITE" if one is None:
                user = uri_of(request.start.split(" ")[1]).removeprefix("sip:").partition("@")[0]
                local = f"{request.first('to')};tag=t{next(self._count)}"
                target = uri_of(request.first("contact"))
                one = Leg(request.first("call-id"), user, local, request.first("from"), target, request, source, "ringing")
                self.legs[one.call_id] = one
                self._reply(request, 180, "Ringing", one)
                self.crowd.rings(one.call_id, user, uri_of(request.first("from")).removeprefix("sip:").partition("@")[0])
            case "INVITE" if one is not None:
                one.invite = request
                self._reply(request, 200, "OK", one, self._sdp())
            case "ACK":
                return
            case "CANCEL" if one is not None:
                self._reply(request, 200, "OK", one)
                if one.state == "ringing":
                    self._reply(one.invite, 487, "Request Terminated", one)
                    self._over(one)
            case _:
                self._reply(request, 200, "OK", one)
                if request.method == "BYE" and one is not None:
                    self._over(one)

    def _over(self, one: Leg) -> None:
        if one.state != "over":
            one.state = "over"
            self.crowd.over(one.call_id)

    def _reply(self, request: Message, status: int, text: str, one: Leg | None, body: bytes = b"") -> None:
        to = request.first("to")
        if not tag_of(to) and one is not None:
            to = one.local
        answer = Message(f"SIP/2.0 {status} {text}", [("via", via) for via in request.every("via")], body)
        answer.headers += [(name, request.first(name)) for name in ("from", "call-id", "cseq")] + [("to", to)]
        if one is not None:
            answer.headers.append(("contact", self._contact(one.user)))
        if body:
            answer.headers.append(("content-type", "application/sdp"))
        self._sip.sendto(answer.raw(), one.source if one is not None else self.server)
