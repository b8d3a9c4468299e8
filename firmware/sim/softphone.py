"""A simulated SIP telephone: RFC 3261 over UDP, RFC 2617/7616 digest, RTP G.711 and RFC 4733, on the world's clock.

Theory of operation. One `Softphone` is one registered extension with one call at a time (a second INVITE gets 486). Messages are
parsed and built here, by code the product does not share. Timers (retransmission, 180 to 200, RTP pacing) are world timers, so
the phone runs as fast as the world does; a virtual clock waits until what was sent has been read. Audio is in `rtpside.py`.
Invariants: each request of ours is answered or given up after 64*T1; after the end of a call nothing of it is sent but answers;
a number or keys that would reach an emergency number raise `EmergencyRefused` unless the phone is told that it is a drill.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from firmware.sim.countries import EmergencyRefused, emergency_in
from firmware.sim.hearing import Ear
from firmware.sim.rtpside import DTMF_TYPE, EVENT_KEYS, RtpSide
from firmware.sim.signal import Mouth, Source
from firmware.sim.sipwire import Message, Socket, digest, parse, uri_of
from firmware.sim.world import Timer, World

T1_MS = 500
T2_MS = 4000


@dataclass
class Pending:
    """A request of ours that waits for its final answer."""

    message: Message
    done: Callable[[Message | None], None]
    progress: Callable[[Message], None] | None = None
    tries: int = 0
    authorised: bool = False
    quiet: bool = False
    timer: Timer | None = None


@dataclass
class SipCall:
    """The one call of a softphone."""

    call_id: str
    incoming: bool
    local: str  # From or To value of our side, with tag
    remote: str
    target: str
    number: str
    started: int
    cseq: int = 1
    answered: int = -1
    ended: int = -1
    ended_by: str = ""  # "me", "peer"
    status: int = 0
    invite: Message | None = None
    final: Message | None = None
    routes: list[str] = field(default_factory=list)
    final_timer: Timer | None = None
    acked: bool = False


class Softphone:
    """One SIP telephone. `on_ring` is called for an offered call; the owner then uses `lift`, `hang_up`, `press`, `say`."""

    def __init__(
        self,
        world: World,
        extension: str,
        secret: str,
        server: tuple[str, int],
        *,
        host: str = "127.0.0.1",
        seed: int = 1,
        alaw: bool = True,
        emergency: tuple[str, ...] = (),
    ) -> None:
        self.world = world
        self.emergency = emergency
        self.drill = False
        self.keyed = ""
        self.extension = extension
        self.secret = secret
        self.server = server
        self.rng = random.Random(f"{seed}/{extension}")
        self.alaw = alaw
        self.call: SipCall | None = None
        self.past: list[dict[str, Any]] = []
        self.registered = False
        self.rings = 0
        self._pending: dict[str, Pending] = {}
        self._sip = Socket(world, host, self._datagram)
        self.voice = RtpSide(world, host, self.rng, alaw)
        self._cseq = self.rng.randrange(1, 1000)

    @property
    def mouth(self) -> Mouth:
        return self.voice.mouth

    @property
    def ear(self) -> Ear:
        return self.voice.ear

    @property
    def digits_heard(self) -> list[tuple[str, int]]:
        """Keys that came by RFC 4733, with the world's ms."""
        return self.voice.digits_heard

    # --- registration ------------------------------------------------------------------------------------------------------

    @property
    def aor(self) -> str:
        return f"sip:{self.extension}@{self.server[0]}:{self.server[1]}"

    @property
    def contact(self) -> str:
        return f"<sip:{self.extension}@{self._sip.address[0]}:{self._sip.address[1]}>"

    def register(self, expires: int = 3600) -> None:
        """Register, and again at three quarters of the granted time; `registered` tells."""

        def done(answer: Message | None) -> None:
            self.registered = answer is not None and answer.status == 200 and expires > 0
            self.world.observe("softphone-registered", phone=self.extension, ok=self.registered, status=answer.status if answer else 0)
            if expires > 0:
                granted = expires
                if answer is not None:
                    for value in [answer.first("expires"), *(c.partition("expires=")[2] for c in answer.every("contact"))]:
                        if value.split(";")[0].strip().isdigit():
                            granted = int(value.split(";")[0])
                self.world.after(granted * 750 if self.registered else 5000, lambda: self.register(expires))

        self._cseq += 1
        me = f"<{self.aor}>;tag={self._token()}"
        self._request(
            "REGISTER",
            f"sip:{self.server[0]}:{self.server[1]}",
            me,
            f"<{self.aor}>",
            f"reg-{self.extension}-{self.voice.ssrc:x}",
            self._cseq,
            [("contact", self.contact), ("expires", str(expires))],
            b"",
            done,
        )

    # --- what its owner does --------------------------------------------------------------------------------------------------

    @property
    def ringing(self) -> bool:
        return self.call is not None and self.call.incoming and self.call.answered < 0

    @property
    def in_call(self) -> bool:
        return self.call is not None and self.call.answered >= 0

    def dial(self, number: str) -> SipCall:
        """Call `number`."""
        if self.call is not None:
            raise ValueError(f"softphone {self.extension} is in a call already: hang up first")
        self.refuse_emergency(number)
        call = SipCall(
            f"{self._token()}@sim",
            False,
            f"<{self.aor}>;tag={self._token()}",
            f"<sip:{number}@{self.server[0]}:{self.server[1]}>",
            f"sip:{number}@{self.server[0]}:{self.server[1]}",
            number,
            self.world.now,
        )
        self.call = call
        self.voice.fresh()

        def done(answer: Message | None) -> None:
            self._invite_answered(call, answer)

        def progress(answer: Message) -> None:
            call.status = answer.status
            if answer.body:
                self._set_media(answer.body)

        call.invite = self._request(
            "INVITE",
            call.target,
            call.local,
            call.remote,
            call.call_id,
            call.cseq,
            [("contact", self.contact), ("content-type", "application/sdp")],
            self._sdp(),
            done,
            progress,
        )
        return call

    def _invite_answered(self, call: SipCall, answer: Message | None) -> None:
        if answer is None or answer.status >= 300:
            call.status = answer.status if answer else 408
            self._end(call, "peer" if call.ended_by != "me" else "me")
            return
        call.status, call.remote = 200, answer.first("to")
        call.target = uri_of(answer.first("contact")) or call.target
        call.routes = list(reversed(answer.every("record-route")))
        if answer.body:
            self._set_media(answer.body)
        self._ack(call, answer)
        if call.ended_by == "me":
            self._bye(call)
            return
        call.answered = self.world.now
        self.voice.speaking = True
        self.world.observe("softphone-answered", phone=self.extension, number=call.number)

    def lift(self) -> None:
        """Answer the offered call."""
        call = self.call
        if call is None or not call.incoming or call.answered >= 0 or call.invite is None:
            return
        self.voice.fresh()
        if call.invite.body:
            self._set_media(call.invite.body)
        call.answered = self.world.now
        self.voice.speaking = True
        call.final = self._answer(
            call.invite, 200, "OK", call.local, [("contact", self.contact), ("content-type", "application/sdp")], self._sdp()
        )
        self._repeat_final(call, T1_MS)
        self.world.observe("softphone-lifted", phone=self.extension, number=call.number)

    def _repeat_final(self, call: SipCall, wait: int) -> None:
        if call.acked or call.final is None or call.ended >= 0 or wait > 64 * T1_MS:
            return

        def again() -> None:
            if not call.acked and call.ended < 0 and call.final is not None:
                self._send(call.final)
                self._repeat_final(call, min(2 * wait, T2_MS))

        call.final_timer = self.world.after(wait, again)

    def hang_up(self) -> None:
        """End the call: BYE, CANCEL or 486."""
        call = self.call
        if call is None:
            return
        call.ended_by = "me"
        if call.answered >= 0:
            self._bye(call)
        elif call.incoming and call.invite is not None:
            self._answer(call.invite, 486, "Busy Here", call.local)
            self._end(call, "me")
        elif call.invite is not None:
            via = call.invite.first("via")
            cancel = Message(
                f"CANCEL {call.target} SIP/2.0",
                [
                    ("via", via),
                    ("max-forwards", "70"),
                    ("from", call.local),
                    ("to", call.remote),
                    ("call-id", call.call_id),
                    ("cseq", f"{self._cseq_of(call.invite)} CANCEL"),
                ],
            )
            self._send(cancel)

    def _bye(self, call: SipCall) -> None:
        call.cseq += 1
        self._request(
            "BYE", call.target, call.local, call.remote, call.call_id, call.cseq, [("route", r) for r in call.routes], b"", lambda _: None
        )
        self._end(call, "me")

    def press(self, keys: str, *, on_ms: int = 100) -> int:
        """Send keys by RFC 4733; returns how long it takes in ms."""
        self.refuse_emergency(self.keyed + keys)
        self.keyed += keys
        for key in keys:
            place = EVENT_KEYS.find(key.upper())
            if place < 0:
                raise ValueError(f"{key!r} is not a telephone key")
            self.voice.key(place, on_ms)
        self.world.observe("softphone-keys", phone=self.extension, keys=keys)
        return len(keys) * (on_ms + 100)

    def refuse_emergency(self, keys: str) -> None:
        """Raise `EmergencyRefused` when these keys reach an emergency number and this is no drill."""
        number = emergency_in(keys, self.emergency)
        if number and not self.drill:
            raise EmergencyRefused(f"phone {self.extension} would dial the emergency number {number}: add --emergency-drill if you mean it")

    def say(self, source: Source) -> None:
        self.mouth.play(source)

    def record(self) -> None:
        self.ear.record(self.world.segment.block)

    def tape(self) -> bytes:
        return bytes(self.ear.tape_bytes())

    def close(self) -> None:
        self._sip.close()
        self.voice.close()

    def facts(self) -> dict[str, Any]:
        """Plain data for `sim status`."""
        call = self.call
        return {
            "phone": self.extension,
            "registered": self.registered,
            "in_call": self.in_call,
            "ringing": self.ringing,
            "rings": self.rings,
            "number": call.number if call else "",
            "level_dbm0": round(self.ear.level(20), 1),
            "packets_heard": self.voice.heard,
        }

    # --- SIP in and out -------------------------------------------------------------------------------------------------------

    def _token(self) -> str:
        return f"{self.rng.getrandbits(48):012x}"

    def _cseq_of(self, message: Message) -> int:
        return int(message.first("cseq").split()[0])

    def _sdp(self) -> bytes:
        host, port = self.voice.socket.address
        first, second = ("8", "0") if self.alaw else ("0", "8")
        return (
            f"v=0\r\no=- {self.voice.ssrc} 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP {first} {second} {DTMF_TYPE}\r\n"
            f"a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:{DTMF_TYPE} telephone-event/8000\r\na=fmtp:{DTMF_TYPE} 0-16\r\n"
            "a=ptime:20\r\na=sendrecv\r\n"
        ).encode()

    def _set_media(self, body: bytes) -> None:
        host, port, kinds = "", 0, ["8"]
        for line in body.decode("utf-8", "replace").splitlines():
            if line.startswith("c=IN IP4 "):
                host = line.split()[2].split("/")[0]
            elif line.startswith("m=audio "):
                words = line.split()
                port, kinds = int(words[1]), words[3:]
        self.voice.alaw = next((kind == "8" for kind in kinds if kind in ("0", "8")), True)
        self.voice.remote = (host, port) if host and port and host != "0.0.0.0" else None

    def _request(
        self,
        method: str,
        uri: str,
        sender: str,
        receiver: str,
        call_id: str,
        cseq: int,
        extra: list[tuple[str, str]],
        body: bytes,
        done: Callable[[Message | None], None],
        progress: Callable[[Message], None] | None = None,
    ) -> Message:
        branch = f"z9hG4bK{self._token()}"
        host, port = self._sip.address
        message = Message(
            f"{method} {uri} SIP/2.0",
            [
                ("via", f"SIP/2.0/UDP {host}:{port};branch={branch};rport"),
                ("max-forwards", "70"),
                ("from", sender),
                ("to", receiver),
                ("call-id", call_id),
                ("cseq", f"{cseq} {method}"),
                ("user-agent", "simulated phone"),
                *extra,
            ],
            body,
        )
        self._launch(branch, Pending(message, done, progress))
        return message

    def _launch(self, branch: str, pending: Pending) -> None:
        self._pending[branch] = pending
        self._send(pending.message)
        self._arm(branch, pending, T1_MS)

    def _arm(self, branch: str, pending: Pending, wait: int) -> None:
        def again() -> None:
            if self._pending.get(branch) is not pending or pending.quiet:
                return
            pending.tries += 1
            if pending.tries > 7:
                del self._pending[branch]
                pending.done(None)
                return
            self._send(pending.message)
            self._arm(branch, pending, min(wait * 2, T2_MS if pending.message.method != "INVITE" else 64 * T1_MS))

        pending.timer = self.world.after(wait, again)

    def _send(self, message: Message) -> None:
        self._sip.send(message.raw(), self.server)
        self.world.hold_for(self.server)

    def _answer(
        self, request: Message, status: int, reason: str, to: str = "", extra: list[tuple[str, str]] | None = None, body: bytes = b""
    ) -> Message:
        kept = [h for h in request.headers if h[0] in ("via", "from", "call-id", "cseq", "record-route")]
        answer = Message(f"SIP/2.0 {status} {reason}", [*kept, ("to", to or request.first("to")), *(extra or [])], body)
        self._send(answer)
        return answer

    def _ack(self, call: SipCall, answer: Message) -> None:
        host, port = self._sip.address
        self._send(
            Message(
                f"ACK {call.target} SIP/2.0",
                [
                    ("via", f"SIP/2.0/UDP {host}:{port};branch=z9hG4bK{self._token()};rport"),
                    ("max-forwards", "70"),
                    ("from", call.local),
                    ("to", answer.first("to")),
                    ("call-id", call.call_id),
                    ("cseq", f"{self._cseq_of(answer)} ACK"),
                    *[("route", r) for r in call.routes],
                ],
            )
        )

    def _datagram(self, data: bytes, source: tuple[str, int]) -> None:
        if len(data) < 12:
            return  # keep-alive
        try:
            message = parse(data)
        except ValueError as error:
            self.world.observe("softphone-bad-message", phone=self.extension, error=str(error))
            return
        if message.status:
            self._response(message)
        else:
            self._incoming(message)

    def _response(self, answer: Message) -> None:
        branch = answer.first("via").partition("branch=")[2].split(";")[0]
        method = answer.method
        pending = self._pending.get(branch)
        call = self.call
        if pending is None or pending.message.method != method:
            if method == "INVITE" and answer.status == 200 and call is not None and answer.first("call-id") == call.call_id:
                self._ack(call, answer)  # our ACK was lost
            return
        if answer.status < 200:
            pending.quiet = method == "INVITE"  # RFC 3261 17.1.1.2: no more retransmission after a provisional answer
            if pending.progress is not None:
                pending.progress(answer)
            return
        del self._pending[branch]
        if method == "INVITE" and answer.status >= 300:
            ack = Message(
                f"ACK {pending.message.start.split()[1]} SIP/2.0",
                [h for h in pending.message.headers if h[0] in ("via", "from", "call-id")]
                + [("to", answer.first("to")), ("max-forwards", "70"), ("cseq", f"{self._cseq_of(answer)} ACK")],
            )
            self._send(ack)
        if answer.status in (401, 407) and not pending.authorised:
            self._authorise(pending, answer)
            return
        pending.done(answer)

    def _authorise(self, pending: Pending, answer: Message) -> None:
        challenge = answer.first("www-authenticate") or answer.first("proxy-authenticate")
        name = "authorization" if answer.status == 401 else "proxy-authorization"
        message = pending.message
        method, uri = message.start.split()[:2]
        branch, cseq = f"z9hG4bK{self._token()}", self._cseq_of(message) + 1
        host, port = self._sip.address
        headers = [h for h in message.headers if h[0] not in ("via", "cseq", name)]
        headers = [
            ("via", f"SIP/2.0/UDP {host}:{port};branch={branch};rport"),
            *headers,
            ("cseq", f"{cseq} {method}"),
            (name, digest(challenge, method, uri, self.extension, self.secret, self._token())),
        ]
        fresh = Message(message.start, headers, message.body)
        if method == "REGISTER":
            self._cseq = cseq
        elif self.call is not None and self.call.call_id == message.first("call-id"):
            self.call.cseq = cseq
            if method == "INVITE":
                self.call.invite = fresh
        self._launch(branch, Pending(fresh, pending.done, pending.progress, authorised=True))

    def _incoming(self, request: Message) -> None:
        method, call = request.method, self.call
        same = call is not None and request.first("call-id") == call.call_id
        if method == "INVITE":
            self._incoming_invite(request, call if same else None)
        elif method == "ACK":
            if same and call is not None:
                call.acked = True
        elif method == "CANCEL":
            self._answer(request, 200, "OK")
            if same and call is not None and call.answered < 0 and call.invite is not None:
                self._answer(call.invite, 487, "Request Terminated", call.local)
                self._end(call, "peer")
        elif method == "BYE":
            self._answer(request, 200 if same else 481, "OK" if same else "Call/Transaction Does Not Exist")
            if same and call is not None:
                self._end(call, "peer")
        elif method in ("OPTIONS", "NOTIFY", "INFO", "UPDATE"):
            self._answer(request, 200, "OK", extra=[("allow", "INVITE, ACK, BYE, CANCEL, OPTIONS")])
        else:
            self._answer(request, 405, "Method Not Allowed", extra=[("allow", "INVITE, ACK, BYE, CANCEL, OPTIONS")])

    def _incoming_invite(self, request: Message, call: SipCall | None) -> None:
        if call is not None and call.invite is not None:
            if request.first("cseq") == call.invite.first("cseq"):
                if call.final is not None:  # retransmission
                    self._send(call.final)
                elif call.answered < 0:
                    self._answer(request, 180, "Ringing", call.local, [("contact", self.contact)])
                return
            if request.body:
                self._set_media(request.body)
            call.invite, call.acked = request, False
            call.final = self._answer(
                request, 200, "OK", call.local, [("contact", self.contact), ("content-type", "application/sdp")], self._sdp()
            )
            self._repeat_final(call, T1_MS)
            return
        if self.call is not None:
            self._answer(request, 486, "Busy Here", f"{request.first('to')};tag={self._token()}")
            return
        local = f"{request.first('to')};tag={self._token()}"
        number = uri_of(request.first("from")).partition(":")[2].partition("@")[0]
        self.call = SipCall(
            request.first("call-id"),
            True,
            local,
            request.first("from"),
            uri_of(request.first("contact")),
            number,
            self.world.now,
            cseq=self.rng.randrange(1, 1000),
            invite=request,
            routes=request.every("record-route"),
        )
        self.rings += 1
        self._answer(request, 180, "Ringing", local, [("contact", self.contact)])
        self.world.observe("softphone-ring", phone=self.extension, number=number)

    def _end(self, call: SipCall, by: str) -> None:
        if call.ended >= 0:
            return
        call.ended, call.ended_by = self.world.now, by
        if call.final_timer is not None:
            call.final_timer.cancel()
        self.voice.over()
        self.past.append(
            {
                "number": call.number,
                "incoming": call.incoming,
                "started": call.started,
                "answered": call.answered,
                "ended": call.ended,
                "ended_by": by,
                "status": call.status,
            }
        )
        self.world.observe("softphone-ended", phone=self.extension, number=call.number, by=by, status=call.status)
        if self.call is call:
            self.call, self.keyed = None, ""
