"""The load of `make bench-calls`: many SIP phones and their RTP streams in one single-threaded loop.

Theory of operation. All phones share one UDP socket for SIP (RFC 3261 over UDP, digest by `firmware.sim.sipwire`, which shares no code
with the product) and have an RTP socket each. `run()` sends every stream's packet each 20 ms, streams spread evenly over the 20 ms on
absolute deadlines, and reads what comes. Two measures: a *stamped* stream carries the time of sending in its payload, so that a relay's
delay is measured on every packet; a *burst* stream says 100 ms of 1 kHz every 1.3 s, whose onsets can be found on the other side
whatever codec or line lies between. Calls to a phone are answered at once.
"""

from __future__ import annotations

import heapq
import math
import random
import select
import socket
import struct
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from firmware.sim.signal import g711_decode, g711_encode
from firmware.sim.sipwire import Message, digest, parse, tag_of, uri_of

T1_S = 0.5
FRAME = 160  # samples of a packet
FRAME_NS = 20_000_000
SLOT_NS = 1_000_000
PCMU, PCMA = 0, 8
BURST_HZ = 1000.0
BURST_PEAK = 11000
BURST_EVERY = 65  # packets
BURST_LONG = 5
ONSET = 3500  # a sample beyond this is a burst, not its echo
QUIET_NS = 300_000_000

Address = tuple[str, int]
STAMP = struct.Struct("!Q")
HEAD = struct.Struct("!BBHII")


def burst_wave(samples: int) -> bytes:
    """A tone that begins at a crest, so that its first sample shows."""
    return array("h", (round(BURST_PEAK * math.cos(2 * math.pi * BURST_HZ * k / 8000)) for k in range(samples))).tobytes()


SILENT = {law: g711_encode(bytes(2 * FRAME), law == PCMA) for law in (PCMU, PCMA)}
TONE = {law: g711_encode(burst_wave(FRAME), law == PCMA) for law in (PCMU, PCMA)}  # 1 kHz: each packet holds whole periods


@dataclass
class Stream:
    """One RTP stream each way. Times are CLOCK_MONOTONIC ns."""

    socket: socket.socket
    law: int = PCMA
    remote: Address | None = None
    talking: bool = False
    stamped: bool = False
    watched: bool = False  # look for burst onsets in what comes
    sent: int = 0
    heard: int = 0
    onsets_sent: list[float] = field(default_factory=list)
    onsets_heard: list[float] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)
    sequence: int = 0
    stamp: int = 0
    ssrc: int = 0
    last_loud: int = 0

    @property
    def port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port


@dataclass
class Leg:
    """A phone's side of a call."""

    user: str
    call_id: str
    stream: Stream
    local: str = ""
    remote: str = ""
    target: str = ""
    cseq: int = 1
    up: bool = False
    over: bool = False
    status: int = 0
    final: Message | None = None  # our 200, repeated for a repeated INVITE


@dataclass
class Pending:
    """A request of ours that waits for its final answer."""

    message: Message
    user: str
    done: Callable[[Message], None]
    authorised: bool = False
    waits: float = T1_S


class Load:
    """Phones of one server. Everything happens inside `run` and `run_until`."""

    def __init__(self, host: str, server: Address, secrets: dict[str, str], seed: int = 1) -> None:
        self.host, self.server, self.secrets = host, server, secrets
        self.rng = random.Random(seed)
        self.legs: dict[str, Leg] = {}  # by Call-ID
        self.of_user: dict[str, Leg] = {}
        self.law: dict[str, int] = {}  # of the phones that answer; PCMA where not named
        self.registered: set[str] = set()
        self.worst_late_ns = 0
        self._sip = self._udp()
        self._poll = select.epoll()
        self._poll.register(self._sip, select.EPOLLIN)
        self._streams: dict[int, Stream] = {}
        self._slots: list[list[Stream]] = [[] for _ in range(FRAME_NS // SLOT_NS)]
        self._pending: dict[str, Pending] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._turn = 0
        self._next_ns = 0

    def _udp(self) -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        one.bind((self.host, 0))
        one.setblocking(False)
        return one

    def close(self) -> None:
        """Close every socket."""
        for stream in list(self._streams.values()):
            self.drop(stream)
        self._poll.close()
        self._sip.close()

    # --- streams ----------------------------------------------------------------------------------------------------------

    def stream(self, law: int = PCMA) -> Stream:
        """A new stream, silent until it is told to talk."""
        one = Stream(self._udp(), law, ssrc=self.rng.getrandbits(32), sequence=self.rng.getrandbits(15), stamp=self.rng.getrandbits(31))
        self._streams[one.socket.fileno()] = one
        self._poll.register(one.socket, select.EPOLLIN)
        min(self._slots, key=len).append(one)
        return one

    def drop(self, stream: Stream) -> None:
        """Forget a stream."""
        if stream.socket.fileno() in self._streams:
            del self._streams[stream.socket.fileno()]
            self._poll.unregister(stream.socket)
            next(slot for slot in self._slots if stream in slot).remove(stream)
            stream.socket.close()

    def _speak(self, stream: Stream, now: int) -> None:
        if not stream.talking or stream.remote is None:
            return
        phase = stream.sent % BURST_EVERY
        payload = (TONE if phase < BURST_LONG else SILENT)[stream.law]
        if stream.stamped:
            payload = STAMP.pack(now) + payload[8:]
        elif phase == 0:
            stream.onsets_sent.append(now)
        stream.sequence = (stream.sequence + 1) & 0xFFFF
        stream.stamp = (stream.stamp + FRAME) & 0xFFFFFFFF
        try:
            stream.socket.sendto(HEAD.pack(0x80, stream.law, stream.sequence, stream.stamp, stream.ssrc) + payload, stream.remote)
        except OSError:
            return
        stream.sent += 1

    def _listen(self, stream: Stream) -> None:
        while True:
            try:
                data = stream.socket.recv(2048)
            except OSError:
                return
            if len(data) < 20 or data[1] & 0x7F not in (PCMU, PCMA):
                continue
            stream.heard += 1
            if stream.stamped:
                stream.delays.append(time.monotonic_ns() - STAMP.unpack_from(data, 12)[0])
            elif stream.watched:
                self._find_onset(stream, data[12:], data[1] & 0x7F)

    @staticmethod
    def _find_onset(stream: Stream, payload: bytes, law: int) -> None:
        now = time.monotonic_ns()
        samples = array("h", g711_decode(payload, law == PCMA))
        if max(samples) < ONSET and min(samples) > -ONSET:
            return
        if now - stream.last_loud > QUIET_NS:
            stream.onsets_heard.append(now)
        stream.last_loud = now

    # --- the loop ---------------------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Serve for so long."""
        self.run_until(lambda: False, "", seconds, fail=False)

    def run_until(self, condition: Callable[[], bool], what: str, timeout: float, *, fail: bool = True) -> None:
        """Serve until `condition()`; raises RuntimeError naming `what` when that takes longer than `timeout` seconds."""
        end = time.monotonic_ns() + int(timeout * 1e9)
        checked = 0
        now = time.monotonic_ns()
        if now - self._next_ns > FRAME_NS:
            self._next_ns = now
        while True:
            now = time.monotonic_ns()
            while self._next_ns <= now:
                self.worst_late_ns = max(self.worst_late_ns, now - self._next_ns)
                for stream in self._slots[self._turn]:
                    self._speak(stream, time.monotonic_ns())
                self._turn = (self._turn + 1) % len(self._slots)
                self._next_ns += SLOT_NS
            while self._timers and self._timers[0][0] <= now / 1e9:
                heapq.heappop(self._timers)[2]()
            if now - checked > 5_000_000:
                checked = now
                if condition():
                    return
                if now >= end:
                    if fail:
                        raise RuntimeError(f"not within {timeout:g} s: {what}")
                    return
            for number, _ in self._poll.poll(max(0.0, (self._next_ns - time.monotonic_ns()) / 1e9)):
                if number in self._streams:
                    self._listen(self._streams[number])
                else:
                    self._take()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, self.rng.getrandbits(60), action))

    # --- what phones do ---------------------------------------------------------------------------------------------------

    def register(self, user: str) -> None:
        """Register; `registered` tells when it is done."""
        aor = f"<sip:{user}@{self.server[0]}>"
        extra = [("contact", self._contact(user)), ("expires", "3600")]

        def done(answer: Message) -> None:
            if answer.status == 200:
                self.registered.add(user)

        head = self._head("REGISTER", f"sip:{self.server[0]}", f"{aor};tag={self._token()}", aor, self._token(), 1, extra)
        self._request(head, user, done)

    def call(self, user: str, number: str, law: int = PCMA) -> Leg:
        """Call `number`; the leg is `up` when it was answered."""
        leg = Leg(user, self._token(), self.stream(law))
        leg.local = f"<sip:{user}@{self.server[0]}>;tag={self._token()}"
        leg.remote = f"<sip:{number}@{self.server[0]}>"
        leg.target = f"sip:{number}@{self.server[0]}:{self.server[1]}"
        self._add(leg)

        def done(answer: Message) -> None:
            leg.status = answer.status
            if answer.status != 200:
                self._end(leg)
                return
            leg.remote = answer.first("to")
            leg.target = uri_of(answer.first("contact")) or leg.target
            leg.stream.remote = media_of(answer.body)
            leg.up = True
            self._send(self._head("ACK", leg.target, leg.local, leg.remote, leg.call_id, leg.cseq, []))

        extra = [("contact", self._contact(user)), ("content-type", "application/sdp")]
        invite = self._head("INVITE", leg.target, leg.local, leg.remote, leg.call_id, leg.cseq, extra)
        invite.body = self._sdp(leg.stream)
        self._request(invite, user, done, on_retry=lambda cseq: setattr(leg, "cseq", cseq))
        return leg

    def hang_up(self, leg: Leg) -> None:
        """Send BYE."""
        if leg.over:
            return
        leg.cseq += 1
        self._request(self._head("BYE", leg.target, leg.local, leg.remote, leg.call_id, leg.cseq, []), leg.user, lambda _: None)
        self._end(leg)

    def _add(self, leg: Leg) -> None:
        self.legs[leg.call_id] = self.of_user[leg.user] = leg

    def _end(self, leg: Leg) -> None:
        leg.up, leg.over = False, True
        self.drop(leg.stream)
        if self.of_user.get(leg.user) is leg:
            del self.of_user[leg.user]

    # --- SIP --------------------------------------------------------------------------------------------------------------

    def _token(self) -> str:
        return f"{self.rng.getrandbits(64):016x}"

    def _contact(self, user: str) -> str:
        return f"<sip:{user}@{self.host}:{self._sip.getsockname()[1]}>"

    def _sdp(self, stream: Stream) -> bytes:
        name = {PCMU: "PCMU", PCMA: "PCMA"}[stream.law]
        return (
            f"v=0\r\no=load 1 1 IN IP4 {self.host}\r\ns=-\r\nc=IN IP4 {self.host}\r\nt=0 0\r\n"
            f"m=audio {stream.port} RTP/AVP {stream.law} 101\r\n"
            f"a=rtpmap:{stream.law} {name}/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n"
        ).encode()

    def _head(self, method: str, uri: str, local: str, remote: str, call_id: str, cseq: int, extra: list[tuple[str, str]]) -> Message:
        via = f"SIP/2.0/UDP {self.host}:{self._sip.getsockname()[1]};branch=z9hG4bK{self._token()};rport"
        fixed = [("via", via), ("max-forwards", "70"), ("from", local), ("to", remote), ("call-id", call_id), ("cseq", f"{cseq} {method}")]
        return Message(f"{method} {uri} SIP/2.0", fixed + extra)

    def _send(self, message: Message, to: Address | None = None) -> None:
        self._sip.sendto(message.raw(), to or self.server)

    def _request(
        self, message: Message, user: str, done: Callable[[Message], None], on_retry: Callable[[int], None] | None = None
    ) -> None:
        branch = message.first("via").partition("branch=")[2].partition(";")[0]
        pending = self._pending[branch] = Pending(message, user, done)

        def answered(answer: Message) -> None:
            challenge = answer.first("www-authenticate") or answer.first("proxy-authenticate")
            if answer.status in (401, 407) and challenge and not pending.authorised:
                self._authorise(pending, answer, challenge, on_retry)
            else:
                done(answer)

        pending.done = answered
        self._transmit(branch)

    def _transmit(self, branch: str) -> None:
        pending = self._pending.get(branch)
        if pending is None:
            return
        self._send(pending.message)
        if pending.waits < 64 * T1_S:
            self._after(pending.waits, lambda: self._transmit(branch))
            pending.waits *= 2

    def _authorise(self, pending: Pending, answer: Message, challenge: str, on_retry: Callable[[int], None] | None) -> None:
        old = pending.message
        method, uri = old.start.split(" ")[:2]
        cseq = int(old.first("cseq").split()[0]) + 1
        if on_retry is not None:
            on_retry(cseq)
        name = "authorization" if answer.status == 401 else "proxy-authorization"
        value = digest(challenge, method, uri, pending.user, self.secrets[pending.user], self._token())
        extra = [(key, text) for key, text in old.headers if key in ("contact", "expires", "content-type")]
        again = self._head(method, uri, old.first("from"), old.first("to"), old.first("call-id"), cseq, [*extra, (name, value)])
        again.body = old.body
        branch = again.first("via").partition("branch=")[2].partition(";")[0]
        self._pending[branch] = Pending(again, pending.user, pending.done, authorised=True)
        pending.authorised = True
        self._transmit(branch)

    def _take(self) -> None:
        while True:
            try:
                data, source = self._sip.recvfrom(8192)
            except OSError:
                return
            try:
                message = parse(data)
            except ValueError:          # RTCP for the port below, of a stream that had it before
                continue
            if message.status:
                self._answer_came(message)
            else:
                self._request_came(message, source)

    def _answer_came(self, answer: Message) -> None:
        branch = answer.first("via").partition("branch=")[2].partition(";")[0]
        pending = self._pending.get(branch)
        if answer.status >= 300 and answer.method == "INVITE" and pending is not None:
            request = pending.message
            ack = Message(request.start.replace("INVITE", "ACK", 1), [])
            cseq = f"{request.first('cseq').split()[0]} ACK"
            names = ("via", "max-forwards", "from", "call-id")
            ack.headers = [(name, request.first(name)) for name in names] + [("to", answer.first("to")), ("cseq", cseq)]
            self._send(ack)
        if pending is None:
            leg = self.legs.get(answer.first("call-id"))
            if leg is not None and answer.status == 200 and answer.method == "INVITE":  # our ACK was lost
                self._send(self._head("ACK", leg.target, leg.local, leg.remote, leg.call_id, leg.cseq, []))
        elif answer.status >= 200:
            del self._pending[branch]
            pending.done(answer)
        elif answer.method == "INVITE":
            pending.waits = 64 * T1_S  # a provisional answer ends the retransmission

    def _request_came(self, request: Message, source: Address) -> None:
        call_id = request.first("call-id")
        leg = self.legs.get(call_id)
        if request.method == "INVITE":
            if leg is None:
                user = uri_of(request.start.split(" ")[1]).removeprefix("sip:").partition("@")[0]
                leg = Leg(user, call_id, self.stream(self.law.get(user, PCMA)))
                leg.local = f"{request.first('to')};tag={self._token()}"
                leg.remote = request.first("from")
                self._add(leg)
            leg.target = uri_of(request.first("contact"))
            if request.body:
                leg.stream.remote = media_of(request.body)
            self._reply(request, 200, "OK", source, leg.local, self._sdp(leg.stream), leg.user)
        elif request.method == "ACK":
            if leg is not None and not leg.over:
                leg.up = True
        elif request.method in ("BYE", "CANCEL"):
            self._reply(request, 200, "OK", source)
            if leg is not None and not leg.over:
                self._end(leg)
        else:
            self._reply(request, 200, "OK", source)

    def _reply(
        self, request: Message, status: int, text: str, to: Address, local: str = "", body: bytes = b"", user: str = ""
    ) -> None:
        to_value = local or request.first("to")
        if not tag_of(to_value):
            to_value += f";tag={self._token()}"
        answer = Message(f"SIP/2.0 {status} {text}", [("via", via) for via in request.every("via")], body)
        answer.headers += [(name, request.first(name)) for name in ("from", "call-id", "cseq")] + [("to", to_value)]
        if user:
            answer.headers += [("contact", self._contact(user)), ("content-type", "application/sdp")]
        self._send(answer, to)


def media_of(body: bytes) -> Address | None:
    """Address and port of the audio in an SDP."""
    host, port = "", 0
    for line in body.decode("utf-8", "replace").splitlines():
        if line.startswith("c=IN IP4 "):
            host = line[9:].split("/")[0].strip()
        elif line.startswith("m=audio "):
            port = int(line.split()[1])
    return (host, port) if host and port else None
