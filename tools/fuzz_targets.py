"""What `tools/fuzz_sip.py` feeds beside strangers' messages: a call under way, a WebSocket, the side of an RTP port, the serial line.

Theory of operation. A target has seeds and takes mutated bytes with `run`, which raises what is wrong. `InCall` stands in the middle
of two calls (one taken, one placed and not answered yet) of a caller that is trusted; token and time are the same at each beginning, so
an input keeps its meaning: requests within the dialog, answers to our INVITE, subscriptions. After every `TURN` inputs everything is
ended, hours pass, and nothing may be left. Input of `Aside` that begins with `SIGNED` gets header, integrity and fingerprint from us, as
no mutation would ever find them.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import random
import ssl
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from firmware.media.ice import IceLite
from firmware.media.side import Side
from firmware.net.sip_ws import MAX_MESSAGE, SipWss, WsConnection, admits
from firmware.sip import events as ev
from firmware.sip import stun
from firmware.sip.endpoint import Endpoint
from firmware.sip.flow import Address, Flow
from firmware.sip.headers import Headers
from firmware.sip.message import Request, Response, respond
from firmware.sip.offer import NotAcceptable, OfferAnswer
from firmware.sip.parse import parse_datagram
from firmware.sip.settings import Settings
from firmware.wire import frame, link, provision, tlv
from firmware.wire.detect import ATTENTION
from firmware.wire.device import Device
from firmware.wire.tool import Tool

PBX, PHONE = ("192.0.2.1", 5060), ("192.0.2.20", 5062)
TURN = 24
HOURS_MS = 3 * 3_600_000
PWD, OURS = "0123456789abcdefghijkl", "evtj"
SIGNED = 3
VALID = 16  # addresses that an agent may remember
SDP = (
    b"v=0\r\no=- 1 %d IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)


class Target(Protocol):
    """Something that takes bytes."""

    def seeds(self) -> list[bytes]:
        """Well-formed inputs to begin with."""
        ...

    def run(self, data: bytes) -> None:
        """Take an input; raises what is wrong."""
        ...


def _request(
    method: str,
    *,
    cseq: int,
    branch: str,
    to_tag: str,
    extra: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
    call_id: str = "cid1",
    from_tag: str = "ft",
) -> bytes:
    headers = Headers()
    headers.add("Via", f"SIP/2.0/UDP {PHONE[0]}:{PHONE[1]};branch=z9hG4bK{branch};rport")
    headers.add("Max-Forwards", "70")
    headers.add("From", f"<sip:200@192.0.2.1>;tag={from_tag}")
    headers.add("To", f"<sip:600@192.0.2.1>;tag={to_tag}" if to_tag else "<sip:600@192.0.2.1>")
    headers.add("Call-ID", call_id)
    headers.add("CSeq", f"{cseq} {method}")
    headers.add("Contact", f"<sip:200@{PHONE[0]}:{PHONE[1]}>")
    for name, value in extra:
        headers.add(name, value)
    if body and not any(name == "Content-Type" for name, _ in extra):
        headers.add("Content-Type", "application/sdp")
    return Request(method, "sip:600@192.0.2.1", headers, body).render()


class InCall:
    """See the theory of operation above."""

    def __init__(self) -> None:
        self._begin()

    # --- the scene ----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        source = random.Random(7)
        self.now, self.fed = 1000, 0
        self.history: list[bytes] = []
        self.calls: dict[str, None] = {}
        self.endpoint = Endpoint(
            Settings(), {"200": "pw200"}, lambda digits: "".join(source.choice("0123456789abcdef") for _ in range(digits)), lambda *_: "200"
        )
        self._feed(_request("INVITE", cseq=1, branch="i1", to_tag="", body=SDP % 1))
        self.placed = OfferAnswer(PBX[0], 5000, "77").offer()
        self.calls["out"] = None
        self.endpoint.send(
            ev.PlaceCall("out", f"sip:200@{PHONE[0]}:{PHONE[1]}", Flow("udp", PHONE, PBX), self.placed, number="100"), self.now
        )
        self.invite: Request | None = None
        for outgoing in self.endpoint.output():
            message = parse_datagram(outgoing.data)
            if isinstance(message, Request) and message.method == "INVITE":
                self.invite = message

    def seeds(self) -> list[bytes]:
        tag = self._tag
        within: list[tuple[str, tuple[tuple[str, str], ...], bytes]] = [
            ("ACK", (), b""),
            ("INVITE", (), SDP % 2),
            ("INVITE", (), b""),
            ("UPDATE", (), SDP % 2),
            ("UPDATE", (("Session-Expires", "1800;refresher=uac"), ("Supported", "timer")), b""),
            ("INFO", (("Content-Type", "application/dtmf-relay"),), b"Signal=5\r\nDuration=160\r\n"),
            ("REFER", (("Refer-To", "<sip:201@192.0.2.1>"), ("Referred-By", "<sip:200@192.0.2.1>")), b""),
            ("REFER", (("Refer-To", "<sip:201@192.0.2.1?Replaces=cid9%3Bto-tag%3Da%3Bfrom-tag%3Db>"),), b""),
            (
                "NOTIFY",
                (("Event", "refer"), ("Subscription-State", "terminated"), ("Content-Type", "message/sipfrag")),
                b"SIP/2.0 200 OK\r\n",
            ),
            ("PRACK", (("RAck", "1 1 INVITE"),), b""),
            ("OPTIONS", (), b""),
            ("MESSAGE", (("Content-Type", "text/plain"),), b"hello"),
            ("BYE", (("Reason", "Q.850;cause=16"),), b""),
        ]
        out = [
            _request(method, cseq=2 + number, branch=f"w{number}", to_tag=tag, extra=extra, body=body)
            for number, (method, extra, body) in enumerate(within)
        ]
        for number, package in enumerate(("dialog", "message-summary", "presence", "refer")):
            extra = (("Event", package), ("Expires", "600"), ("Accept", "application/dialog-info+xml, application/pidf+xml"))
            out.append(_request("SUBSCRIBE", cseq=1, branch=f"s{number}", to_tag="", extra=extra, call_id=f"sub{number}"))
        out.append(
            _request(
                "INVITE",
                cseq=1,
                branch="r1",
                to_tag="",
                body=SDP % 1,
                call_id="cid2",
                extra=(("Replaces", f"cid1;to-tag={tag};from-tag=ft"), ("Supported", "replaces, 100rel, timer")),
            )
        )
        out.append(_request("CANCEL", cseq=1, branch="r1", to_tag="", call_id="cid2"))
        out.append(_request("REGISTER", cseq=1, branch="g1", to_tag="", call_id="reg", extra=(("Expires", "600"),)))
        if self.invite is not None:
            contact = (("Contact", f"<sip:200@{PHONE[0]}:{PHONE[1]}>"),)
            for status, headers, body in (
                (100, (), b""),
                (180, contact, b""),
                (183, (*contact, ("Require", "100rel"), ("RSeq", "1")), SDP % 1),
                (200, contact, SDP % 1),
                (200, (*contact, ("Require", "timer"), ("Session-Expires", "90;refresher=uac")), SDP % 1),
                (302, (("Contact", "<sip:9@192.0.2.9>"),), b""),
                (401, (("WWW-Authenticate", 'Digest realm="x", nonce="n", qop="auth"'),), b""),
                (422, (("Min-SE", "1800"),), b""),
                (488, (), b""),
                (503, (("Retry-After", "5"),), b""),
            ):
                out.append(respond(self.invite, status, to_tag="far", headers=headers, body=body, content_type="application/sdp").render())
        return out

    @property
    def _tag(self) -> str:
        """Ours in the call that was taken."""
        return self._own

    # --- an input -----------------------------------------------------------------------------------------------------

    def run(self, data: bytes) -> None:
        try:
            self.history.append(data)
            self._feed(data)
            self.fed += 1
            if self.fed >= TURN:
                self._over()
                self._begin()
        except Exception:
            self._begin()
            raise

    def _feed(self, data: bytes) -> None:
        self.now += 40
        self.endpoint.receive(data, PHONE, "udp", self.now, PBX)
        self._settle()
        self.endpoint.expire(self.now)
        self._settle()

    def _settle(self) -> None:
        """Do what an owner does with the events."""
        for event in self.endpoint.events():
            call = getattr(event, "call", "")
            if isinstance(event, ev.IncomingCall):
                self.calls[call] = None
                if len(self.calls) % 3 == 1:
                    self.endpoint.send(ev.RingCall(call), self.now)
                answer = OfferAnswer(PBX[0], 5002, "78")
                try:
                    description = answer.receive_offer(event.offer) if event.offer else answer.offer()
                except NotAcceptable:
                    self.endpoint.send(ev.RefuseCall(call, 488), self.now)
                else:
                    self.endpoint.send(ev.AnswerCall(call, description), self.now)
            elif isinstance(event, ev.Reoffered):
                if event.offer is None or self.fed % 3 == 0:
                    self.endpoint.send(ev.RefuseOffer(call), self.now)
                    continue
                try:
                    description = OfferAnswer(PBX[0], 5002, "78").receive_offer(event.offer)
                except NotAcceptable:
                    self.endpoint.send(ev.RefuseOffer(call), self.now)
                else:
                    self.endpoint.send(ev.AnswerOffer(call, description), self.now)
            elif isinstance(event, ev.Referred):
                self.endpoint.send(ev.ReportReferral(call, event.referral, 200 if self.fed % 2 else 486), self.now)
            elif isinstance(event, ev.CallEnded):
                self.calls.pop(call, None)
        for outgoing in self.endpoint.output():
            if not self.fed and outgoing.data.startswith(b"SIP/2.0 200") and b"1 INVITE" in outgoing.data:
                message = parse_datagram(outgoing.data)
                if isinstance(message, Response):
                    self._own = message.to.tag

    def _over(self) -> None:
        """End every call; what is left after some hours is a leak."""
        for call in list(self.calls):
            self.endpoint.send(ev.EndCall(call), self.now)
        end = self.now + HOURS_MS
        for _ in range(20_000):
            due = self.endpoint.deadline()
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            self.endpoint.expire(self.now)
            self._settle()
        else:
            raise AssertionError("timers do not come to rest")
        self.endpoint.expire(end)
        self._settle()
        left = {
            name: count
            for name, count in self.endpoint.statistics().items()
            if name in ("sessions", "dialogs", "transactions", "subscriptions", "referrals", "registered") and count
        }
        if left:
            raise AssertionError(f"left after the calls: {left}")


# --- WebSocket --------------------------------------------------------------------------------------------------------


class Wire(asyncio.Transport):
    """A transport that forgets what is written."""

    closing = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": ("192.0.2.7", 1234), "sockname": ("192.0.2.1", 5062)}.get(name, default)

    def write(self, data: object) -> None:
        """Nobody reads."""

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0


class Deaf:
    """An owner of connections that counts them, and the longest message."""

    def __init__(self) -> None:
        self.made, self.lost, self.longest = 0, 0, 0

    def receive(self, data: bytes, source: Address, transport: str, local: Address, waited_ms: int = 0) -> None:
        self.longest = max(self.longest, len(data))

    def connection_made(self, transport: str, remote: Address) -> None:
        self.made += 1

    def connection_lost(self, transport: str, remote: Address) -> None:
        self.lost += 1


def _frame(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    """A frame of a browser, masked by four zeros: what is mutated is what arrives."""
    head = bytes([(0x80 if fin else 0) | opcode])
    return head + (bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack("!H", len(data))) + bytes(4) + data


class Socket:
    """An upgrade and frames of a WebSocket connection, in two pieces."""

    PAGE = "https://box.example"

    def __init__(self, listener: Any) -> None:
        """`listener`: any bound socket; nobody connects to it."""
        self._loop = asyncio.new_event_loop()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.owner = Deaf()
        self.shell = SipWss(listener, self.owner, self._loop, context, context, admit=lambda origin: admits(origin, ["box.example"], []))

    def close(self) -> None:
        """End the loop."""
        self._loop.close()

    def seeds(self) -> list[bytes]:
        upgrade = (
            f"GET / HTTP/1.1\r\nHost: box.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\nOrigin: {self.PAGE}\r\n\r\n"
        ).encode()
        message = _request("OPTIONS", cseq=1, branch="ws", to_tag="")
        return [
            upgrade,
            upgrade + _frame(1, message),
            upgrade + _frame(2, message[:40], fin=False) + _frame(0, message[40:]),
            upgrade + _frame(9, b"ping") + _frame(10, b"pong") + _frame(1, b"\r\n\r\n"),
            upgrade + _frame(8, b"\x03\xe8bye"),
        ]

    def run(self, data: bytes) -> None:
        self._loop.run_until_complete(self._run(data))

    async def _run(self, data: bytes) -> None:
        connection = self.shell.accepted()
        connection.connection_made(Wire())
        half = len(data) // 2
        try:
            for part in (data[:half], data[half:]):
                if part:
                    connection.data_received(part)
        finally:
            connection.connection_lost(None)
        figures = self.shell.statistics()
        if figures["connections"] or figures["upgrades"] or self.owner.made != self.owner.lost or self.owner.longest > MAX_MESSAGE:
            raise AssertionError(
                f"left of a WebSocket: {figures}, {self.owner.made} made, {self.owner.lost} lost, {self.owner.longest} bytes"
            )
        if isinstance(connection, WsConnection) and connection.timer is not None:
            raise AssertionError("a timer is left of a WebSocket")


# --- the side of an RTP port ----------------------------------------------------------------------------------------


class _Engine:
    """Datagrams that the engine gave aside."""

    def __init__(self) -> None:
        self.side_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.waiting: list[tuple[int, int, bytes, Address]] = []
        self.sent = 0

    def side_take(self, most: int = 32) -> list[tuple[int, int, bytes, Address]]:
        taken, self.waiting = self.waiting[:most], self.waiting[most:]
        return taken

    def side_send(self, port: int, data: bytes, remote: Address) -> bool:
        self.sent += 1
        return True

    def side_nominate(self, port: int, opened: int, remote: Address | None) -> None:
        """Nothing is sent here."""

    def side_keys(self, port: int, opened: int, suite: str, send: bytes, receive: bytes) -> None:
        raise AssertionError("keys without a handshake")

    def side_opening(self, port: int) -> int:
        return 1


class _Loop:
    """Turned by hand."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> Any:
        raise AssertionError("nothing here waits")

    def call_soon(self, callback: Callable[[], object]) -> None:
        callback()


class Aside:
    """STUN and what looks like DTLS at a port with ICE and at one without."""

    def __init__(self) -> None:
        self.engine = _Engine()
        self.dtls = 0
        self.side = Side(self.engine, _Loop(), self._told)
        self.side.on_dtls(self._dtls)
        self.side.asked(0, "ice", {"ufrag": OURS, "pwd": PWD, "remote_ufrag": "far"})
        self.agent: IceLite = self.side._agents[0]

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.engine.side_fd)

    def _told(self, port: int, what: str, facts: Mapping[str, Any]) -> None:
        raise AssertionError(f"core was told {what}")

    def _dtls(self, port: int, data: bytes, source: Address) -> None:
        if port == 0 and source not in self.agent.valid:
            raise AssertionError("DTLS of an address that proved nothing")
        self.dtls += 1

    def seeds(self) -> list[bytes]:
        body = [(stun.USERNAME, f"{OURS}:far".encode()), (stun.PRIORITY, bytes(4)), (stun.ICE_CONTROLLING, bytes(8))]
        check = stun.build(stun.BINDING_REQUEST, b"transaction!", body, PWD)
        plain = b"".join(struct.pack("!HH", name, len(value)) + value + bytes(-len(value) % 4) for name, value in body)
        return [
            check,
            stun.build(stun.BINDING_REQUEST, b"transaction!", [*body, (stun.USE_CANDIDATE, b"")], PWD),
            stun.build(stun.BINDING_INDICATION, b"transaction!", []),
            stun.build(stun.BINDING_ERROR, b"transaction!", [(stun.ERROR_CODE, stun.error_code(401, "x"))]),
            bytes((SIGNED,)) + plain,
            bytes((SIGNED,)) + plain + struct.pack("!HH", stun.USE_CANDIDATE, 0),
            bytes((22, 254, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4)) + b"\1\0\0\0",
        ]

    @staticmethod
    def _signed(attributes: bytes) -> bytes:
        """A check with these attributes, whatever they are, that is genuine."""
        attributes = attributes[: len(attributes) // 4 * 4]
        empty = stun.build(stun.BINDING_REQUEST, b"transaction!", [])[: stun.HEADER]
        covered = empty[:2] + struct.pack("!H", len(attributes) + stun.INTEGRITY_BYTES) + empty[4:] + attributes
        whole = covered + struct.pack("!HH", stun.MESSAGE_INTEGRITY, 20) + hmac.digest(PWD.encode(), covered, "sha1")
        whole = whole[:2] + struct.pack("!H", len(whole) - stun.HEADER + stun.FINGERPRINT_BYTES) + whole[4:]
        return whole + struct.pack("!HHI", stun.FINGERPRINT, 4, zlib.crc32(whole) ^ stun.FINGERPRINT_XOR)

    def run(self, data: bytes) -> None:
        data = data[:1400]
        if not data:
            return
        source = ("198.51.100.9", 1024 + zlib.crc32(data) % 4096)
        if data[0] == SIGNED:
            data = self._signed(data[1:])
        message = stun.parse(data)
        if message is not None:
            again = stun.parse(data)
            if again is None or again.transaction != message.transaction:
                raise AssertionError("a STUN message read twice differs")
        for port in (0, 1):
            # `Side.ready` logs an exception and goes on; here it has to be seen.
            self.side._datagram(port, data, source)
        if len(self.agent.valid) > VALID:
            raise AssertionError("addresses without bound")


# --- the serial line ------------------------------------------------------------------------------------------------


class SerialLine:
    """Both ends of the scripted mode. Input that begins with `SIGNED` is kind, length, payload again and again: we frame and number it,
    as no mutation would ever find a CRC; other input is what a line carries. What comes back is bounded, no id is done twice."""

    SESSION, NONCE = b"12345678", b"n" * 16

    def seeds(self) -> list[bytes]:
        hello = tlv.encode([(tlv.VERSION, b"\x01"), (tlv.SESSION, self.SESSION), (tlv.NONCE, self.NONCE), (tlv.LANGUAGE, b"en")])
        ask = provision.head(provision.REQUEST, 1) + b'{"command": "show status"}'
        meta = tlv.encode([(tlv.KIND, b"bundle"), (tlv.FILE, b"f"), (tlv.SIZE, b"\x0c"), (tlv.DIGEST, bytes(32))])
        put = provision.head(provision.OPEN, 2) + bytes([provision.PUT]) + meta
        get = provision.head(provision.OPEN, 3) + bytes([provision.GET]) + meta
        moved = [
            provision.place(provision.BEGIN, 2, 0), provision.place(provision.CHUNK, 2, 0) + b"twelve bytes",
            provision.head(provision.FINISH, 2), provision.place(provision.WRITTEN, 3, 12), provision.head(provision.CANCEL, 3),
        ]  # fmt: skip
        result = provision.head(provision.RESULT, 1) + b"\0{}"
        accept = provision.head(provision.ACCEPT, 2) + struct.pack(">II", 12, 0) + bytes(32)
        return [
            frame.encode(provision.HELLO, 1, 0, hello) + frame.encode(link.LAST, 1, 0, ask) + b"\r\r\r",
            ATTENTION + frame.encode(provision.BAUD, 1, 0, struct.pack(">I", 9600)),
            self._script((link.LAST, ask), (link.LAST, ask), (provision.PING, b"")),
            self._script((link.LAST, put), *[(link.LAST, one) for one in moved]),
            self._script((link.DATA, get[:4]), (link.LAST, get[4:]), (link.ACK, struct.pack(">IB", 0, 32)), (provision.BYE, b"")),
            self._script((provision.HELLO, hello), (link.LAST, result), (link.LAST, accept), (provision.BAUD_SET, bytes(4))),
        ]

    @staticmethod
    def _script(*frames: tuple[int, bytes]) -> bytes:
        return bytes((SIGNED,)) + b"".join(bytes((kind, len(payload))) + payload for kind, payload in frames)

    def _framed(self, data: bytes, epoch: int) -> bytes:
        out, at, seq = [], 1, 0
        while at + 2 <= len(data):
            kind, payload = data[at], data[at + 2 : at + 2 + data[at + 1]]
            number = seq & 0xFFFF if kind in (link.DATA, link.LAST) else len(payload)
            seq += kind in (link.DATA, link.LAST)
            out.append(frame.encode(kind, epoch, number, payload))
            at += 2 + data[at + 1]
        return b"".join(out)

    def run(self, data: bytes) -> None:
        source = random.Random(3)
        box, tool = Device([(tlv.SERIAL, b"S")], source.randbytes, 115200, 115200, 4096), Tool(self.SESSION, source.randbytes, 115200)
        tool.send(("open",), 0)
        box.receive(tool.output(), 0)
        tool.receive(box.output(), 0)
        tool.send(("ready",), 0)
        tool.send(("request", 1, b"x", False), 0)
        tool.send(("put", 2, b"x"), 0)
        tool.output()
        epoch = (random.Random(3).randbytes(1)[0] + 1) & 0xFF
        done: set[int] = set()
        for machine in (box, tool):
            line = self._framed(data, epoch) if data[:1] == bytes((SIGNED,)) else data
            for now, at in enumerate(range(0, len(line), 97)):
                machine.receive(line[at : at + 97], now * 9)
                self._answer(machine, done, now * 9)
            for now in range(100_000, 400_000, 50_000):
                machine.expire(now)
                self._answer(machine, done, now)

    @staticmethod
    def _answer(machine: Device | Tool, done: set[int], now: int) -> None:
        for _ in range(50):
            events = machine.events()
            if len(machine.output()) > 1 << 20:
                raise AssertionError("more than a megabyte in answer to a few bytes")
            if not events:
                return
            for event in events:
                if isinstance(machine, Tool):
                    if event[0] == "accepted":
                        machine.send(("begin", event[1], 0), now)
                elif event[0] == "session":
                    done.clear()
                elif event[0] in ("request", "put", "get"):
                    if event[1] in done:
                        raise AssertionError(f"id {event[1]} is done twice")
                    if event[0] == "request":
                        done.add(event[1])
                        machine.send(("result", event[1], provision.OK, b"{}"), now)
                    else:
                        machine.send(("accept", event[1], 12, 0, bytes(32)), now)
                elif event[0] == "want":
                    machine.send(("data", event[1], event[2], bytes(event[3])), now)
                elif event[0] == "data":
                    machine.send(("written", event[1], event[2] + len(event[3])), now)
                elif event[0] == "finish":
                    machine.send(("result", event[1], provision.OK, b""), now)
        raise AssertionError("events without end")
