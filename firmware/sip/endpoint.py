"""The user agent core: everything between datagrams and calls (L1).

Theory of operation
-------------------
RFC 3261 sections 8, 10, 12 to 18, RFC 3581. `receive` takes bytes as they came from a transport, `send` takes a command,
`events()` and `output()` are drained by the owner, `deadline()` says when `expire` is due. Streams are framed here; one
framer per connection. Order for a request: frame, syntax (400, 416, 483, 505), retransmission, dialog, authentication
(401, 407), support (405, 415, 420, 501), policy. What is answered without state is in `answers.py`, calls are in `calls.py`.
Invariants: malformed input raises nothing and changes no state; unknown users get what a wrong password gets; tables of
transactions, sessions and connections are bounded, and a full one is answered 503.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from firmware.sip import events as ev
from firmware.sip.answers import Answers
from firmware.sip.auth import DigestServer, Guard
from firmware.sip.calls import Calls
from firmware.sip.errors import SyntaxProblem, Unframeable
from firmware.sip.flow import FRAMED, Address, Flow, Outgoing
from firmware.sip.keep_alive import KeepAlive, stun_answer
from firmware.sip.message import Message, Request, Response, respond
from firmware.sip.pace import Pace
from firmware.sip.parse import Broken, Ping, StreamFramer, parse_datagram
from firmware.sip.refer import Referrals
from firmware.sip.registrar import Binding, Registrar
from firmware.sip.sdp import Description
from firmware.sip.session_state import Phase
from firmware.sip.settings import Settings
from firmware.sip.subscriptions import ALLOW_EVENTS, Subscription, Subscriptions
from firmware.sip.trace import TraceLine
from firmware.sip.transaction import Delivered, Ended, TransactionLayer
from firmware.sip.trunk_client import TrunkClient, TrunkClients
from firmware.sip.uri import parse_uri
from firmware.sip.validate import (
    ACCEPT,
    ALLOW,
    EXTENSIONS,
    REFER_EXTENSIONS,
    SUBSCRIBE_EXTENSIONS,
    SUPPORTED,
    Refusal,
    check_support,
    check_syntax,
    usable_response,
)

RETRY_AFTER_S = 10
REGISTER_EXTENSIONS = EXTENSIONS | {"path", "outbound"}      # RFC 3327, RFC 5626
TRUNK = "trunk/"                          # accounts of trunks: their name behind it
PING, PONG = b"\r\n\r\n", b"\r\n"      # RFC 5626 section 3.5.1


class Endpoint:
    """`token(n)` gives n random hexadecimal digits. `secrets` maps account to password.

    `identify(request, flow)` may name the account of a caller that is known otherwise than by digest (its address, its
    certificate); "" leaves it to digest. `guard` keeps hostile sources off.
    """

    def __init__(
        self,
        settings: Settings,
        secrets: Mapping[str, str],
        token: Callable[[int], str],
        identify: Callable[[Request, Flow], str] | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.settings = settings
        self._guard = guard
        self.token = token
        self._identify = identify
        self.transactions = TransactionLayer(settings.timers, limit=settings.max_transactions)
        self.registrar = Registrar(settings.registration_min_s, settings.registration_max_s)
        self.keep_alive = KeepAlive(self.registrar, self.transactions, token, settings.keep_alive_s * 1000)
        tag_key = bytes.fromhex(token(32))
        self.digest = DigestServer(settings.realm, secrets, bytes.fromhex(token(64)), guard=guard)
        self.counters: Counter[str] = Counter()
        self._accounts = frozenset(secrets)
        self._events: list[ev.Event] = []
        self._framers: dict[tuple[str, Address], StreamFramer] = {}
        self._now = 0
        self._answers = Answers(self.digest, tag_key, self._put, self.emit, self.counters)
        self.calls = Calls(settings, self.transactions, self._answers, token, self.emit, self.connected, self.counters)
        self._pace = Pace(settings.subscribes_s, settings.subscribes_burst)
        self.subscriptions = Subscriptions(self.transactions, token, self.connected, self._locate)
        self.referrals = Referrals(self.transactions, self.subscriptions, token, self.emit, self.calls.owner, self.calls.standing)
        self.calls.refer = self.referrals.receive
        self.calls.others = self._notified
        self.trunks = TrunkClients(self.transactions, token, self._carrier, settings.server_name)
        self.trunks.keep_alive_ms = settings.keep_alive_s * 1000
        self.calls.proof = self._prove

    # --- the six methods ----------------------------------------------------------------------------------------------

    def receive(self, data: bytes, source: Address, transport: str, now: int, local: Address) -> None:
        """Take a datagram, or bytes of a connection, that arrived at `local` from `source`."""
        self._at(now)
        if self._guard is not None and not self._guard.admit(source[0], now) and not self._urgent(data, Flow(transport, source, local)):
            self.counters["blocked"] += 1
            if transport != "udp":
                self._close(Flow(transport, source, local))
            return
        if transport in FRAMED:
            try:
                message = parse_datagram(data)
            except Unframeable:
                seen = stun_answer(data, source) if transport == "udp" else None
                if seen is None:
                    self.counters["unframeable"] += 1
                else:
                    self._put(Outgoing(transport, source, seen, local))
                return
            if message is not None:
                self._message(message, Flow(transport, source, local), data)
            elif transport != "udp" and data == PING:
                self._put(Outgoing(transport, source, PONG, local))
        else:
            self._stream(data, Flow(transport, source, local))
        self.calls.settle()

    def send(self, command: ev.Command, now: int) -> None:
        """Execute a command; one for an ended or unknown call does nothing (PlaceCall aside)."""
        self._at(now)
        if isinstance(command, ev.ReportReferral):
            self.referrals.report(command.referral, command.status)
        else:
            self.calls.command(command)
        self.calls.settle()

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
        # Asked after every message. Each call has a place of its own: the interpreter learns there what it calls.
        known = (
            self.transactions.deadline(), self.registrar.deadline(), self.calls.deadline(), self.subscriptions.deadline(),
            self.referrals.deadline(), self.trunks.deadline(), self.keep_alive.deadline(),
        )  # fmt: skip
        soonest: int | None = None
        for at in known:
            if at is not None and (soonest is None or at < soonest):
                soonest = at
        return soonest

    def expire(self, now: int) -> None:
        """Run all timers that are due."""
        self._at(now)
        self.transactions.expire(now)
        self.calls.expire()
        self.subscriptions.expire()
        self.referrals.expire()
        self.trunks.expire()
        self.keep_alive.expire(now)
        for user, _ in self.registrar.expire(now):
            self.emit(ev.Unregistered(now, user, len(self.registrar.bindings(user, now)), "expired"))
        self.calls.settle()

    def watch(self, package: str, now: int) -> None:
        """Something that is watched by this package may have changed: tell those for whom it has."""
        self._at(now)
        self.subscriptions.refresh(package)
        self.calls.settle()

    def _at(self, now: int) -> None:
        self._now = self.calls.now = self.subscriptions.now = self.referrals.now = self.trunks.now = now

    # --- transports ---------------------------------------------------------------------------------------------------

    def connection_lost(self, transport: str, remote: Address, now: int) -> None:
        """A stream connection ended or could not be made."""
        self._at(now)
        self._framers.pop((transport, remote), None)
        self.transactions.transport_error(transport, remote, now)
        self.trunks.connection_lost(transport, remote)
        if self.settings.unregister_on_loss:
            for user, _ in self.registrar.connection_lost(transport, remote):
                self.emit(ev.Unregistered(now, user, len(self.registrar.bindings(user, now)), "connection"))
        self.calls.settle()

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
                self._put(Outgoing(flow.transport, flow.remote, b"\r\n", flow.local))
            elif isinstance(item, Broken):
                self.counters["broken-streams"] += 1
                if item.message is not None and item.message.method != "ACK":
                    reason = f"Bad Request ({item.reason})" if item.status == 400 else ""
                    self._answers.refuse(item.message, Refusal(item.status, reason), flow)
                self._close(flow)
            else:
                self._message(item, flow, b"")

    def _urgent(self, data: bytes, flow: Flow) -> bool:
        """True for an emergency call of a source that is kept off; what belongs to the call is let through from then on."""
        source, now = flow.remote[0], self._now
        if self._guard is None or self._identify is None or not data.startswith(b"INVITE ") or not self._guard.peek(source, now):
            return False
        try:
            message = parse_datagram(data)
        except Unframeable:
            return False
        if not isinstance(message, Request) or check_syntax(message) is not None or not self._identify(message, flow):
            return False
        self._guard.spare(source, now)
        return True

    def _put(self, outgoing: Outgoing) -> None:
        self.transactions.output.append(outgoing)

    def _close(self, flow: Flow) -> None:
        self._put(Outgoing(flow.transport, flow.remote, b"", flow.local, close=True))

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
                refusal = Refusal(400, f"Bad Request ({problem.what})")
                begun = self.transactions.unanswered(message)
                if begun is None:
                    self._answers.refuse(message, refusal, flow)
                else:
                    answer = respond(message, refusal.status, to_tag=message.to.tag or self.token(12), reason=refusal.reason)
                    self.transactions.respond(begun, answer, self._now)

    def _response(self, response: Response, flow: Flow, raw: bytes) -> None:
        if not usable_response(response) or not self.calls.response(response, flow, raw):
            self.counters["stray-responses"] += 1

    def _request(self, request: Request, flow: Flow, raw: bytes) -> None:
        reply = self._answers.reply_flow(request, flow)
        refusal = check_syntax(request)
        if refusal is not None:
            self.counters["refused"] += 1
            if request.method != "ACK":
                self._answers.refuse(request, refusal, reply)
            return
        if self.transactions.absorb(request, self._now):
            return
        method = request.method
        if method == "CANCEL":
            self.calls.cancel(request, reply, flow, raw)
            return
        tag = request.to.tag
        if method == "SUBSCRIBE":
            if self._pace.take(flow.remote, self._now):
                self._subscribe(request, reply, flow)
            else:
                self.counters["hurried"] += 1
        elif tag:
            self.calls.in_dialog(request, tag, reply, flow, raw)
        elif method == "INVITE":
            user = self._identify(request, flow) if self._identify is not None else ""
            if not user and self._crowded(request, reply, flow):
                return
            caller = user or self._answers.authenticate(request, reply, flow.remote[0], self._now)
            if caller is not None:
                self.calls.invite(request, caller, reply, flow, raw)
        elif method == "ACK" or self._crowded(request, reply, flow):
            return
        elif method == "REGISTER":
            self._register(request, reply, flow)
        elif method == "REFER":
            self._refer(request, reply, flow)
        else:
            refusal = check_support(request)
            if refusal is None:
                refusal = Refusal(481) if method != "OPTIONS" else None
            if refusal is not None:
                self._answers.refuse(request, refusal, reply)
                return
            self.emit(ev.OptionsPing(self._now, flow.remote[0]))
            headers = (("Allow", ALLOW), ("Accept", ACCEPT), ("Allow-Events", ALLOW_EVENTS), ("Supported", f"{SUPPORTED}, eventlist"),
                       ("Server", self.settings.server_name))  # fmt: skip
            self._answers.refuse(request, Refusal(200, headers=headers), reply)

    def _subscribe(self, request: Request, reply: Flow, flow: Flow) -> None:
        """RFC 6665: within a dialog the tags prove who asks, outside of one the password does."""
        if request.to.tag:
            refusal = check_support(request, extensions=SUBSCRIBE_EXTENSIONS) or self.subscriptions.in_dialog(request, reply, flow)
        else:
            user = self._answers.authenticate(request, reply, flow.remote[0], self._now)
            if user is None:
                return
            refusal = check_support(request, extensions=SUBSCRIBE_EXTENSIONS) or self.subscriptions.subscribe(request, user, reply, flow)
        if refusal is not None:
            self._answers.refuse(request, refusal, reply)

    def _refer(self, request: Request, reply: Flow, flow: Flow) -> None:
        """Outside of a call the password proves who asks, and nothing else does; a carrier has nothing to refer."""
        trunk = self._identify is not None and self._identify(request, flow).startswith(TRUNK)
        account = "" if trunk else self._answers.authenticate(request, reply, flow.remote[0], self._now)
        if account is None:
            return
        refusal = check_support(request, extensions=REFER_EXTENSIONS) or self.referrals.outside(request, account, reply, flow)
        if refusal is not None:
            self._answers.refuse(request, refusal, reply)

    def _notified(self, event: Delivered | Ended) -> None:
        """What became of a NOTIFY."""
        owner = event.transaction.owner
        if isinstance(owner, TrunkClient):
            if isinstance(event, Delivered):
                owner.response(event.transaction, event.response)
            else:
                owner.unanswered(event.transaction, event.why)
            return
        if not isinstance(owner, Subscription):
            return
        if isinstance(event, Delivered):
            self.subscriptions.receive_response(event.transaction, event.response)
        else:
            self.subscriptions.transaction_ended(event.transaction)

    def _carrier(self, flow: Flow | None) -> None:
        """A carrier answered us over this flow: it is no stranger."""
        if flow is not None and self._guard is not None:
            self._guard.proved(flow.remote[0], "", self._now)

    def _prove(self, account: str, request: Request, response: Response, tried: int) -> tuple[tuple[str, str], ...]:
        client = self.trunks.trunks.get(account.removeprefix(TRUNK)) if account.startswith(TRUNK) else None
        return client.digest.answer(request, response, tried) if client is not None else ()

    def _locate(self, account: str, target: str) -> Flow | None:
        """The flow over which an account is registered with the contact `target`, or with its only one."""
        bindings = [one for one in self.registrar.bindings(account, self._now) if self.connected(one.flow)]
        wanted = parse_uri(target).hostport
        same = [one for one in bindings if parse_uri(one.uri).hostport == wanted]
        found = same or (bindings if len(bindings) == 1 else [])
        return found[0].flow if found else None

    def _crowded(self, request: Request, reply: Flow, flow: Flow) -> bool:
        """Answer a new request of an unknown source with 503 while too many of them ask (RFC 3261 section 21.5.4)."""
        if self._guard is None or not self._guard.crowded(flow.remote[0], self._now):
            return False
        self.counters["crowded"] += 1
        self._answers.refuse(request, Refusal(503, headers=(("Retry-After", str(RETRY_AFTER_S)),)), reply)
        return True

    def _register(self, request: Request, reply: Flow, flow: Flow) -> None:
        user = self._answers.authenticate(request, reply, flow.remote[0], self._now)
        if user is None:
            return
        if not self.transactions.room:
            self._answers.refuse(request, Refusal(503, headers=(("Retry-After", "10"),)), reply)
            return
        result = check_support(request, extensions=REGISTER_EXTENSIONS) or self._registered_user(request, user)
        if result is None:
            applied = self.registrar.register(user, request, flow, self._now)
            if isinstance(applied, Refusal):
                result = applied
            else:
                if applied.added:
                    self.emit(ev.Registered(self._now, user, applied.added))
                    self.calls.reattach(user, flow)
                    self.subscriptions.reattach(user)
                if applied.removed and not applied.added:
                    self.emit(ev.Unregistered(self._now, user, len(self.registrar.bindings(user, self._now)), "request"))
                self.keep_alive.watch(user, applied.added, self._now)
                result = Refusal(200, headers=(*applied.headers, ("Supported", "path, outbound"), ("Server", self.settings.server_name)))
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

    def emit(self, event: ev.Event) -> None:
        """Tell the owner of the endpoint."""
        self._events.append(event)

    # --- adoption -----------------------------------------------------------------------------------------------------

    def snapshot(self, call: str) -> bytes:
        """A session in a form that `adopt` of another process takes; b"" for an unknown or ended call."""
        return self.calls.snapshot(call)

    def adopt(self, call: str, data: bytes, now: int) -> Phase | None:
        """Go on with a session of an earlier process; its phase, or None when the data cannot be used."""
        self._at(now)
        return self.calls.adopt(call, data)

    def describe(self, call: str, description: Description) -> None:
        """What a refresh of an adopted call offers; one whose description had keys has none until then."""
        self.calls.describe(call, description)

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
        for user in self.registrar.users():
            self.keep_alive.watch(user, self.registrar.bindings(user, now), now)

    def restore_watchers(self, data: bytes, shift_ms: int, now: int) -> None:
        """Go on with the subscriptions of an earlier process, whose clock was `shift_ms` behind ours."""
        self._at(now)
        self.subscriptions.restore(data, self._accounts, shift_ms)
        self.calls.settle()

    def set_secrets(self, secrets: Mapping[str, str], now: int) -> None:
        """Replace the accounts; bindings of removed ones are dropped."""
        self._at(now)
        self.digest.set_secrets(secrets)
        for user in self._accounts - set(secrets):
            self.subscriptions.close(user)
            if self.registrar.forget(user):
                self.emit(ev.Unregistered(now, user, 0, "removed"))
        self._accounts = frozenset(secrets)

    # --- inspection ---------------------------------------------------------------------------------------------------

    def trace(self, call: str) -> list[TraceLine]:
        """The last messages of a call, also shortly after its end."""
        return self.calls.trace(call)

    def statistics(self) -> dict[str, int]:
        """Sizes of the tables and counts of what was refused."""
        return {
            **self.calls.statistics(), "transactions": len(self.transactions), "connections": len(self._framers),
            "registered": len(self.registrar.users()),
            "subscriptions": len(self.subscriptions), "referrals": len(self.referrals), **self.counters,
        }  # fmt: skip
