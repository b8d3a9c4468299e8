"""The user agent core: everything between datagrams and calls (L1).

Theory of operation
-------------------
RFC 3261 sections 8, 10, 12 to 18, RFC 3581. `receive` takes bytes as they came from a transport, `send` takes a command,
`events()` and `output()` are drained by the owner, `deadline()` says when `expire` is due. Streams are framed here; one
framer per connection. Order for a request: frame, syntax (400, 416, 483, 505), retransmission, dialog, authentication
(401, 407), support (405, 415, 420, 501), policy. Everything up to and including the challenge is answered without
keeping state, so hostile traffic costs no memory; the To-tag of such answers is a keyed hash, equal for repeats.
Invariants: malformed input raises nothing and changes no state; unknown users get what a wrong password gets; tables of
transactions, sessions and connections are bounded, and a full one is answered 503.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from firmware.sip import events as ev
from firmware.sip.auth import DigestServer, Outcome
from firmware.sip.body import find_sdp
from firmware.sip.dialog import Dialog, DialogKey, is_symmetric, next_hop, request_user, server_dialog
from firmware.sip.errors import SyntaxProblem, Unframeable
from firmware.sip.flow import Address, Flow, Outgoing
from firmware.sip.message import Message, Request, Response, respond
from firmware.sip.parse import Broken, Ping, StreamFramer, parse_datagram
from firmware.sip.registrar import Binding, Registrar
from firmware.sip.session import Phase, Session, SessionState
from firmware.sip.trace import TraceLine, Traces
from firmware.sip.transaction import Delivered, Ended, Timers, TransactionLayer
from firmware.sip.uri import parse_name_addr
from firmware.sip.validate import ACCEPT, ALLOW, Refusal, check_support, check_syntax, usable_response


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Behaviour and limits of an endpoint."""

    realm: str = "branchpbx"
    server_name: str = "BranchPBX"
    registration_min_s: int = 60
    registration_max_s: int = 3600
    unregister_on_loss: bool = True
    max_transactions: int = 20_000
    max_sessions: int = 512
    max_offered_per_source: int = 64
    max_connections: int = 1024
    timers: Timers = Timers()


class Endpoint:
    """`token(n)` gives n random hexadecimal digits. `secrets` maps account to password.

    `identify(request, flow)` may name the account of a caller that is known otherwise than by digest (its address, its
    certificate); "" leaves it to digest.
    """

    def __init__(
        self,
        settings: Settings,
        secrets: Mapping[str, str],
        token: Callable[[int], str],
        identify: Callable[[Request, Flow], str] | None = None,
    ) -> None:
        self.settings = settings
        self.server_name = settings.server_name
        self.token = token
        self._identify = identify
        self.transactions = TransactionLayer(settings.timers, limit=settings.max_transactions)
        self.transactions.trace = self._trace_out
        self.registrar = Registrar(settings.registration_min_s, settings.registration_max_s)
        self._tag_key = bytes.fromhex(token(32))
        self.digest = DigestServer(settings.realm, secrets, bytes.fromhex(token(64)))
        self._accounts = frozenset(secrets)
        self._events: list[ev.Event] = []
        self._sessions: dict[str, Session] = {}
        self._dialogs: dict[DialogKey, Session] = {}
        self._offered: dict[tuple[str, str, int], Session] = {}      # merged requests (section 8.2.2.2)
        self._per_source: Counter[str] = Counter()
        self._framers: dict[tuple[str, Address], StreamFramer] = {}
        self._timers: list[tuple[int, int, str]] = []
        self._order = 0
        self._now = 0
        self._traces = Traces(self._sessions)
        self.counters: Counter[str] = Counter()

    # --- the six methods ----------------------------------------------------------------------------------------------

    def receive(self, data: bytes, source: Address, transport: str, now: int, local: Address) -> None:
        """Take a datagram, or bytes of a connection, that arrived at `local` from `source`."""
        self._now = now
        if transport == "udp":
            try:
                message = parse_datagram(data)
            except Unframeable:
                self.counters["unframeable"] += 1
                return
            if message is not None:
                self._message(message, Flow(transport, source, local), data)
        else:
            self._stream(data, Flow(transport, source, local))
        self._settle()

    def send(self, command: ev.Command, now: int) -> None:
        """Execute a command; one for an ended or unknown call does nothing (PlaceCall aside)."""
        self._now = now
        if isinstance(command, ev.PlaceCall):
            self._place(command)
        else:
            session = self._sessions.get(command.call)
            if session is not None:
                self._command(session, command)
                self._schedule(session)
        self._settle()

    def events(self) -> list[ev.Event]:
        """Drain events, oldest first."""
        out, self._events = self._events, []
        return out

    def output(self) -> list[Outgoing]:
        """Drain what is to be sent, in order."""
        out, self.transactions.output = self.transactions.output, []
        return out

    def deadline(self) -> int | None:
        """Engine ms at which `expire` is due, None for never."""
        candidates = [self.transactions.deadline(), self.registrar.deadline(), self._timers[0][0] if self._timers else None]
        return min((at for at in candidates if at is not None), default=None)

    def expire(self, now: int) -> None:
        """Run all timers that are due."""
        self._now = now
        self.transactions.expire(now)
        while self._timers and self._timers[0][0] <= now:
            _, _, call = heapq.heappop(self._timers)
            session = self._sessions.get(call)
            if session is not None:
                due = session.deadline()
                if due is not None and due <= now:
                    session.expire(now)
                self._schedule(session)
        for user, _ in self.registrar.expire(now):
            self.emit(ev.Unregistered(now, user, len(self.registrar.bindings(user, now)), "expired"))
        self._settle()

    # --- transports ---------------------------------------------------------------------------------------------------

    def connection_lost(self, transport: str, remote: Address, now: int) -> None:
        """A stream connection ended or could not be made."""
        self._now = now
        self._framers.pop((transport, remote), None)
        self.transactions.transport_error(transport, remote, now)
        if self.settings.unregister_on_loss:
            for user, _ in self.registrar.connection_lost(transport, remote):
                self.emit(ev.Unregistered(now, user, len(self.registrar.bindings(user, now)), "connection"))
        self._settle()

    def connection_made(self, transport: str, remote: Address) -> None:
        """A stream connection that the transport opened or accepted."""
        self._framers.setdefault((transport, remote), StreamFramer())

    def connected(self, flow: Flow) -> bool:
        return not flow.reliable or (flow.transport, flow.remote) in self._framers

    def _stream(self, data: bytes, flow: Flow) -> None:
        key = (flow.transport, flow.remote)
        framer = self._framers.get(key)
        if framer is None:
            if len(self._framers) >= self.settings.max_connections:
                self._close(flow)
                return
            framer = self._framers[key] = StreamFramer()
        for item in framer.feed(data):
            if isinstance(item, Ping):
                self._write(b"\r\n", flow)
            elif isinstance(item, Broken):
                self.counters["broken-streams"] += 1
                if item.message is not None and item.message.method != "ACK":
                    self._refuse(item.message, Refusal(item.status, f"Bad Request ({item.reason})" if item.status == 400 else ""), flow)
                self._close(flow)
            else:
                self._message(item, flow, b"")

    def _write(self, data: bytes, flow: Flow) -> None:
        self.transactions.output.append(Outgoing(flow.transport, flow.remote, data, flow.local))

    def _close(self, flow: Flow) -> None:
        self.transactions.output.append(Outgoing(flow.transport, flow.remote, b"", flow.local, close=True))

    # --- messages -----------------------------------------------------------------------------------------------------

    def _message(self, message: Message, flow: Flow, raw: bytes) -> None:
        try:
            if isinstance(message, Request):
                self._request(message, flow, raw)
            elif isinstance(message, Response):
                self._response(message, flow, raw)
        except SyntaxProblem as problem:
            # A defect in a header that only this path reads: refuse it like any other.
            self.counters["refused"] += 1
            if isinstance(message, Request) and message.method != "ACK":
                self._refuse(message, Refusal(400, f"Bad Request ({problem.what})"), flow)

    def _response(self, response: Response, flow: Flow, raw: bytes) -> None:
        if not usable_response(response):
            self.counters["stray-responses"] += 1
            return
        transaction = self.transactions.find_client(response)
        if transaction is not None:
            if isinstance(transaction.owner, Session):
                self._trace(transaction.owner, "in", flow.remote, raw or response.render())
            self.transactions.receive_response(transaction, response, self._now)
            return
        session = self._dialogs.get((response.call_id, response.from_.tag, response.to.tag))
        if session is not None and response.cseq.method == "INVITE" and 200 <= response.status < 300:
            session.repeated_ok(response, self._now)
            return
        self.counters["stray-responses"] += 1

    def _request(self, request: Request, flow: Flow, raw: bytes) -> None:
        reply = self._reply_flow(request, flow)
        refusal = check_syntax(request)
        if refusal is not None:
            self.counters["refused"] += 1
            if request.method != "ACK":
                self._refuse(request, refusal, reply)
            return
        if self.transactions.absorb(request, self._now):
            return
        method = request.method
        if method == "CANCEL":
            self._cancel(request, reply, flow, raw)
            return
        tag = request.to.tag
        if tag:
            self._in_dialog(request, tag, reply, flow, raw)
        elif method == "INVITE":
            self._invite(request, reply, flow, raw)
        elif method == "REGISTER":
            self._register(request, reply, flow)
        elif method != "ACK":
            refusal = check_support(request)
            if refusal is None:
                refusal = Refusal(481) if method != "OPTIONS" else None
            if refusal is not None:
                self._refuse(request, refusal, reply)
                return
            self.emit(ev.OptionsPing(self._now, flow.remote[0]))
            self._refuse(request, Refusal(200, headers=(("Allow", ALLOW), ("Accept", ACCEPT), ("Server", self.server_name))), reply)

    def _reply_flow(self, request: Request, flow: Flow) -> Flow:
        """Where answers go (section 18.2.2, RFC 3581); `received` and `rport` are written into the top Via."""
        try:
            via = request.via
        except SyntaxProblem:
            return flow
        rport = via.param("rport") is not None
        changes: dict[str, str] = {}
        if rport:
            changes["rport"] = str(flow.remote[1])
        if rport or via.host != flow.remote[0]:
            changes["received"] = flow.remote[0]
        if changes:
            request.set_top_via(via.with_params(**changes))
        if flow.reliable or rport:
            return flow
        port = via.port or 5060
        return flow if port == flow.remote[1] else Flow(flow.transport, (flow.remote[0], port), flow.local)

    def _refuse(self, request: Request, refusal: Refusal, flow: Flow) -> None:
        """Answer without keeping state."""
        seed = "|".join((request.headers.get("via"), request.call_id, request.headers.get("cseq"), request.headers.get("from")))
        tag = hmac.new(self._tag_key, seed.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:16]
        response = respond(request, refusal.status, to_tag=tag, reason=refusal.reason, headers=refusal.headers)
        self._write(response.render(), flow)

    def _authenticate(self, request: Request, reply: Flow, source: str) -> str | None:
        """The account that sent a request, or None after it was challenged."""
        outcome, user = self.digest.check(request, source, self._now)
        if outcome is Outcome.RIGHT:
            return user
        if outcome is Outcome.WRONG:
            self.counters["authentication-failures"] += 1
            self.emit(ev.AuthenticationFailed(self._now, request.method, source))
        status, name = (401, "WWW-Authenticate") if request.method == "REGISTER" else (407, "Proxy-Authenticate")
        agent = request.headers.get("user-agent")
        challenges = self.digest.challenges(source, self._now, stale=outcome is Outcome.STALE, agent=agent)
        self._refuse(request, Refusal(status, headers=tuple((name, value) for value in challenges)), reply)
        return None

    def _register(self, request: Request, reply: Flow, flow: Flow) -> None:
        user = self._authenticate(request, reply, flow.remote[0])
        if user is None:
            return
        if not self.transactions.room:
            self._refuse(request, Refusal(503, headers=(("Retry-After", "10"),)), reply)
            return
        result = check_support(request) or self._registered_user(request, user)
        if result is None:
            applied = self.registrar.register(user, request, flow, self._now)
            if isinstance(applied, Refusal):
                result = applied
            else:
                if applied.added:
                    self.emit(ev.Registered(self._now, user, applied.added))
                    self._reattach(user, flow)
                if applied.removed and not applied.added:
                    self.emit(ev.Unregistered(self._now, user, len(self.registrar.bindings(user, self._now)), "request"))
                result = Refusal(200, headers=(*applied.headers, ("Server", self.server_name)))
        transaction = self.transactions.accept(request, reply, None)
        answer = respond(request, result.status, to_tag=self.token(12), reason=result.reason, headers=result.headers)
        self.transactions.respond(transaction, answer, self._now)

    @staticmethod
    def _registered_user(request: Request, user: str) -> Refusal | None:
        """Only one's own address may be registered (section 10.3 steps 3 and 5)."""
        uri = request.to.uri
        if not uri.is_sip:
            return Refusal(404)
        return None if uri.user_text == user else Refusal(403)

    def _reattach(self, user: str, flow: Flow) -> None:
        """Calls of a phone whose connection is gone continue on the one it registered over."""
        if not flow.reliable:
            return
        for session in self._sessions.values():
            dialog = session.state.dialog
            if session.state.account == user and dialog is not None and dialog.flow.reliable and not self.connected(dialog.flow):
                dialog.flow = flow

    # --- calls --------------------------------------------------------------------------------------------------------

    def _invite(self, request: Request, reply: Flow, flow: Flow, raw: bytes) -> None:
        source = flow.remote[0]
        user = (self._identify(request, flow) if self._identify is not None else "") or self._authenticate(request, reply, source)
        if user is None:
            return
        merged = (request.call_id, request.from_.tag, request.cseq.number)
        refusal = check_support(request)
        if refusal is None and merged in self._offered:
            refusal = Refusal(482)
        full = not self.transactions.room or len(self._sessions) >= self.settings.max_sessions
        if refusal is None and (full or self._per_source[source] >= self.settings.max_offered_per_source):
            refusal = Refusal(503, headers=(("Retry-After", "5"),))
        offer = None
        if refusal is None:
            try:
                offer = find_sdp(request)
            except SyntaxProblem as problem:
                refusal = Refusal(400, f"Bad Request ({problem.what})")
        if refusal is not None:
            self._refuse(request, refusal, reply)
            return
        tag = self.token(16)
        state = SessionState(
            call=self.token(16), outgoing=False, phase=Phase.OFFERED, flow=flow, account=user, invite=request.render(), local_tag=tag,
            symmetric=is_symmetric(request, flow), late=offer is None,
        )  # fmt: skip
        session = self._open(state)
        self._offered[merged] = session
        self._per_source[source] += 1
        self._trace(session, "in", flow.remote, raw or request.render())
        transaction = self.transactions.accept(request, reply, session)
        session.begin_incoming(request, transaction, server_dialog(request, tag, flow), self._now)
        self.emit(ev.IncomingCall(self._now, state.call, user, request_user(request.uri), request.from_.display, offer, flow))

    def _cancel(self, request: Request, reply: Flow, flow: Flow, raw: bytes) -> None:
        found = self.transactions.find_invite(request)
        if found is None:
            self._refuse(request, Refusal(481), reply)
            return
        session = found.owner if isinstance(found.owner, Session) else None
        transaction = self.transactions.accept(request, reply, session)
        tag = session.state.local_tag if session is not None else self.token(12)
        self.transactions.respond(transaction, respond(request, 200, to_tag=tag), self._now)
        if session is not None:
            self._trace(session, "in", flow.remote, raw or request.render())
            session.cancelled(request.headers.get("reason"), self._now)

    def _in_dialog(self, request: Request, tag: str, reply: Flow, flow: Flow, raw: bytes) -> None:
        session = self._dialogs.get((request.call_id, tag, request.from_.tag))
        if session is not None:
            self._trace(session, "in", flow.remote, raw or request.render())
        if request.method == "ACK":
            if session is not None:
                session.receive_ack(request, self._now)
                self._schedule(session)
            return
        refusal: Refusal | None = Refusal(481)
        if session is not None:
            refusal = check_support(request)
            if refusal is None and not self.transactions.room:
                refusal = Refusal(503, headers=(("Retry-After", "5"),))
            if refusal is None and request.method == "REGISTER":
                refusal = Refusal(405, headers=(("Allow", ALLOW),))
            if refusal is None:
                refusal = session.receive_request(request, reply, flow, self._now)
            self._schedule(session)
        if refusal is not None:
            self._refuse(request, refusal, reply)

    def _place(self, command: ev.PlaceCall) -> None:
        if len(self._sessions) >= self.settings.max_sessions or not self.transactions.room:
            self.emit(ev.CallEnded(self._now, command.call, "final", 503, False, "too many calls"))
            return
        if not self.connected(command.flow):
            # The connection it registered over is gone: a phone that listens on its Contact is reached by a new one (RFC 3261, 18.1.1).
            first = command.route_set[0] if command.route_set else f"<{command.uri}>"
            command = msgspec.structs.replace(command, flow=next_hop(command.flow, False, first))
        state = SessionState(
            call=command.call, outgoing=True, phase=Phase.CALLING, flow=command.flow, account=command.account, local_tag=self.token(16),
            symmetric=command.symmetric,
        )  # fmt: skip
        session = self._open(state)
        session.place(command, self._now)

    def _command(self, session: Session, command: ev.Command) -> None:
        now = self._now
        match command:
            case ev.RingCall():
                session.ring(now)
            case ev.AnswerCall():
                if session.phase is Phase.OFFERED:
                    session.answer(command.description, now)
                    self._answered(session)
            case ev.RefuseCall():
                session.refuse(command.status, command.reason, command.headers, now)
            case ev.EndCall():
                session.end(command.reason, now)
            case ev.OfferAgain():
                session.offer_again(command.description, now)
            case ev.AnswerOffer():
                session.answer_offer(command.description, now)
            case ev.RefuseOffer():
                session.refuse_offer(command.status, now)

    def _open(self, state: SessionState) -> Session:
        session = Session(self, state)
        self._sessions[state.call] = session
        self._traces.open(state.call)
        return session

    def _answered(self, session: Session) -> None:
        """The session has its final answer: it no longer counts as offered."""
        for key, other in self._offered.items():
            if other is session:
                del self._offered[key]
                source = session.state.flow.remote[0]
                self._per_source[source] -= 1
                if self._per_source[source] <= 0:
                    del self._per_source[source]
                return

    # --- what sessions use (session.Host) -----------------------------------------------------------------------------

    def emit(self, event: ev.Event) -> None:
        self._events.append(event)

    def transmit(self, session: Session, data: bytes, flow: Flow) -> None:
        self._write(data, flow)
        self._trace(session, "out", flow.remote, data)

    def bind_dialog(self, session: Session, dialog: Dialog) -> None:
        self._dialogs[dialog.key] = session

    def closed(self, session: Session) -> None:
        self._answered(session)
        self._sessions.pop(session.call, None)
        dialog = session.state.dialog
        if dialog is not None:
            self._dialogs.pop(dialog.key, None)

    # --- adoption -----------------------------------------------------------------------------------------------------

    def snapshot(self, call: str) -> bytes:
        """A session in a form that `adopt` of another process takes; b"" for an unknown or ended call."""
        session = self._sessions.get(call)
        if session is None or session.phase in (Phase.ENDING, Phase.ENDED):
            return b""
        return msgspec.msgpack.encode(session.state)

    def adopt(self, call: str, data: bytes, now: int) -> Phase | None:
        """Go on with a session of an earlier process; its phase, or None when the data cannot be used."""
        self._now = now
        try:
            state = msgspec.msgpack.decode(data, type=SessionState)
            request = parse_datagram(state.invite) if state.invite else None
        except (msgspec.MsgspecError, Unframeable):
            return None
        if state.call != call or call in self._sessions:
            return None
        session = self._open(state)
        if state.dialog is not None:
            self.bind_dialog(session, state.dialog)
        if isinstance(request, Request):
            if state.outgoing:
                session.invite = request
                session.inviting = self.transactions.resume_client(request, state.flow, session)
            else:
                session.request = request
                session.transaction = self.transactions.accept(request, self._reply_flow(request, state.flow), session)
                self._offered[(request.call_id, request.from_.tag, request.cseq.number)] = session
                self._per_source[state.flow.remote[0]] += 1
        self._schedule(session)
        self._settle()
        return state.phase

    def registrations(self) -> bytes:
        """All bindings, for `restore_registrations` of another process."""
        return msgspec.msgpack.encode(self.registrar.snapshot())

    def restore_registrations(self, data: bytes, now: int) -> None:
        """Take over bindings; data that cannot be read is ignored (phones register again)."""
        try:
            accounts = msgspec.msgpack.decode(data, type=dict[str, list[Binding]])
        except msgspec.MsgspecError:
            return
        self.registrar.restore({user: bindings for user, bindings in accounts.items() if user in self._accounts}, now)

    def set_secrets(self, secrets: Mapping[str, str], now: int) -> None:
        """Replace the accounts; bindings of removed ones are dropped."""
        self.digest.set_secrets(secrets)
        for user in self._accounts - set(secrets):
            if self.registrar.forget(user):
                self.emit(ev.Unregistered(now, user, 0, "removed"))
        self._accounts = frozenset(secrets)

    # --- inspection ---------------------------------------------------------------------------------------------------

    def trace(self, call: str) -> list[TraceLine]:
        """The last messages of a call, also shortly after its end."""
        return self._traces.lines(call)

    def statistics(self) -> dict[str, int]:
        """Sizes of the tables and counts of what was refused."""
        return {
            "sessions": len(self._sessions), "dialogs": len(self._dialogs), "transactions": len(self.transactions),
            "connections": len(self._framers), "registered": len(self.registrar.users()), **self.counters,
        }  # fmt: skip

    def _trace(self, session: Session, direction: str, peer: Address, data: bytes) -> None:
        self._traces.add(session.call, self._now, direction, peer, data)

    def _trace_out(self, owner: object, peer: Address, data: bytes) -> None:
        if isinstance(owner, Session):
            self._trace(owner, "out", peer, data)

    # --- inner --------------------------------------------------------------------------------------------------------

    def _schedule(self, session: Session) -> None:
        due = session.deadline()
        if due is not None:
            self._order += 1
            heapq.heappush(self._timers, (due, self._order, session.call))

    def _settle(self) -> None:
        """Give what the transactions found out to the sessions."""
        pending = self.transactions.events
        while pending:
            event = pending.pop(0)
            owner = event.transaction.owner
            if not isinstance(owner, Session):
                continue
            try:
                if isinstance(event, Delivered):
                    owner.receive_response(event.transaction, event.response, self._now)
                elif isinstance(event, Ended):
                    owner.transaction_ended(event.transaction, event.why, self._now)
            except SyntaxProblem:
                self.counters["refused"] += 1
            self._schedule(owner)


def next_contact(binding: Binding) -> tuple[str, tuple[str, ...]]:
    """Request-URI and route set that reach a binding (Path of RFC 3327 becomes the route set)."""
    return binding.uri, tuple(parse_name_addr(value).render() for value in binding.path)
