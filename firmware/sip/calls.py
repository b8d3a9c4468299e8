"""The calls of an endpoint: sessions, the dialogs that lead to them, their timers and adoption (L1).

Theory of operation
-------------------
RFC 3261 sections 8.2.2.2 (merged requests), 9.2, 12.2.2. A request within a dialog finds its session by Call-ID and tags; an
INVITE outside opens one. `Calls` is what a session needs of its surroundings (`session_state.Host`).
Invariants: the table of sessions is bounded, and a full one is answered 503; one source offers at most
`max_offered_per_source` unanswered calls; an ended session leaves no entry behind, its trace aside.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from firmware.sip import events as ev
from firmware.sip.answers import Answers
from firmware.sip.body import find_sdp
from firmware.sip.dialog import Dialog, DialogKey, is_symmetric, next_hop, request_user, server_dialog
from firmware.sip.errors import SyntaxProblem, Unframeable
from firmware.sip.flow import Address, Flow, Outgoing
from firmware.sip.ice import sealed_text
from firmware.sip.message import Request, Response, respond
from firmware.sip.parse import parse_datagram
from firmware.sip.replaces import Over, Replaces, wanted
from firmware.sip.sdes import hide_keys, keys_hidden
from firmware.sip.sdp import Description
from firmware.sip.session import Session
from firmware.sip.session_referrer import far_end
from firmware.sip.session_state import Phase, SessionState
from firmware.sip.session_timer import check_interval
from firmware.sip.settings import Settings
from firmware.sip.trace import TraceLine, Traces, hide_proofs
from firmware.sip.transaction import Delivered, Ended, TransactionLayer
from firmware.sip.validate import ALLOW, EXTENSIONS, REFER_EXTENSIONS, Refusal, check_support
from firmware.sip.veil import Veil

#: Takes a REFER of a call: request, call, account, dialog, where answers go; gives a refusal to be sent without state.
Refer = Callable[[Request, str, str, Dialog, Flow], Refusal | None]


#: Gives headers that answer a challenge: account, request, response, challenges of it answered before.
Proof = Callable[[str, Request, Response, int], tuple[tuple[str, str], ...]]


def no_proof(account: str, request: Request, response: Response, tried: int) -> tuple[tuple[str, str], ...]:
    """The `Proof` of an endpoint without accounts elsewhere."""
    return ()


def no_referrals(request: Request, call: str, account: str, dialog: Dialog, reply: Flow) -> Refusal | None:
    """The `Refer` of calls that cannot be handed over."""
    return Refusal(405, headers=(("Allow", ALLOW),))




class Calls:
    """`connected(flow)` tells whether a flow can still be used. `now` is set by the endpoint before each use."""

    def __init__(
        self,
        settings: Settings,
        transactions: TransactionLayer,
        answers: Answers,
        token: Callable[[int], str],
        emit: Callable[[ev.Event], None],
        connected: Callable[[Flow], bool],
        counters: Counter[str],
    ) -> None:
        self.settings = settings
        self.transactions = transactions
        self.transactions.trace = self._trace_out
        self.answers = answers
        self.token = token
        self.emit = emit
        self.connected = connected
        self.now = 0
        self.proof: Proof = no_proof
        self.another: Callable[[str], Description | None] = lambda call: None      # set by the owner: see `PlaceCall`
        self.refer: Refer = no_referrals                 # both set by the endpoint
        self.others: Callable[[Delivered | Ended], None] = lambda event: None
        self._counters = counters
        self._sessions: dict[str, Session] = {}
        self._dialogs: dict[DialogKey, Session] = {}
        self._offered: dict[tuple[str, str, int], Session] = {}      # merged requests (section 8.2.2.2)
        self._per_source: Counter[str] = Counter()
        self._timers: list[tuple[int, int, str]] = []
        self._order = 0
        self._traces = Traces(self._sessions)
        self._over = Over()                              # dialogs that ended a short while ago

    # --- requests and responses ---------------------------------------------------------------------------------------

    def response(self, response: Response, flow: Flow, raw: bytes) -> bool:
        """Give a response to whom it belongs; False for a stray one."""
        transaction = self.transactions.find_client(response)
        if transaction is not None:
            if isinstance(transaction.owner, Session):
                self._trace(transaction.owner, "in", flow, raw or response.render())
            self.transactions.receive_response(transaction, response, self.now)
            return True
        session = self._dialogs.get((response.call_id, response.from_.tag, response.to.tag))
        if session is not None and response.cseq.method == "INVITE" and 200 <= response.status < 300:
            session.repeated_ok(response, self.now)
            return True
        return False

    def invite(self, request: Request, user: str, reply: Flow, flow: Flow, raw: bytes) -> None:
        """A new call of `user`."""
        source = flow.remote[0]
        merged = (request.call_id, request.from_.tag, request.cseq.number)
        refusal = check_support(request) or check_interval(request)
        if refusal is None and merged in self._offered:
            refusal = Refusal(482)
        full = not self.transactions.room or len(self._sessions) >= self.settings.max_sessions
        if refusal is None and (full or self._per_source[source] >= self.settings.max_offered_per_source):
            refusal = Refusal(503, headers=(("Retry-After", "5"),))
        offer, replaces = None, None
        if refusal is None:
            try:
                offer = find_sdp(request)
                replaces = wanted(request)
            except SyntaxProblem as problem:
                refusal = Refusal(400, f"Bad Request ({problem.what})")
        replaced = ""
        if replaces is not None:
            replaced, refusal = self._replaced(replaces)
        if refusal is not None:
            self.answers.refuse(request, refusal, reply)
            return
        tag = self.token(16)
        state = SessionState(
            call=self.token(16), outgoing=False, phase=Phase.OFFERED, flow=flow, account=user, local_tag=tag,
            invite=raw or request.render(), symmetric=is_symmetric(request, flow), late=offer is None,
            contact_user=request_user(request.uri) if "/" in user else "",
        )  # fmt: skip
        session = self._open(state)
        self._offered[merged] = session
        self._per_source[source] += 1
        self._trace(session, "in", flow, raw or request.render())
        transaction = self.transactions.accept(request, reply, session)
        session.begin_incoming(request, transaction, server_dialog(request, tag, flow), self.now)
        called, display = request_user(request.uri), request.from_.display
        self.emit(ev.IncomingCall(self.now, state.call, user, called, display, offer, flow, replaces, replaced))

    def _replaced(self, replaces: Replaces) -> tuple[str, Refusal | None]:
        """Our call whose place is wanted, "" when it is none of ours (it may be one that a lamp names), or why not (RFC 3891 section 3)."""
        for key in replaces.keys:
            session = self._dialogs.get(key)
            if session is None:
                continue
            early = session.phase is Phase.CALLING
            if session.phase is Phase.OFFERED:
                return "", Refusal(481)  # it rings at us: only the side that called may be replaced while a call is early
            if not early and session.phase not in (Phase.ACCEPTED, Phase.CONFIRMED):
                return "", Refusal(603)
            return (session.call, None) if early or not replaces.early_only else ("", Refusal(486))
        return "", self._over.refusal(replaces, self.now)

    def cancel(self, request: Request, reply: Flow, flow: Flow, raw: bytes) -> None:
        found = self.transactions.find_invite(request)
        if found is None:
            self.answers.refuse(request, Refusal(481), reply)
            return
        session = found.owner if isinstance(found.owner, Session) else None
        transaction = self.transactions.accept(request, reply, session)
        tag = session.state.local_tag if session is not None else self.token(12)
        self.transactions.respond(transaction, respond(request, 200, to_tag=tag), self.now)
        if session is not None:
            self._trace(session, "in", flow, raw or request.render())
            session.cancelled(request.headers.get("reason"), self.now)

    def in_dialog(self, request: Request, tag: str, reply: Flow, flow: Flow, raw: bytes) -> None:
        session = self._dialogs.get((request.call_id, tag, request.from_.tag))
        if session is not None:
            self._trace(session, "in", flow, raw or request.render())
        if request.method == "ACK":
            if session is not None:
                session.receive_ack(request, self.now)
                self._schedule(session)
            return
        refusal: Refusal | None = Refusal(481)
        if session is not None:
            refusal = check_support(request, extensions=REFER_EXTENSIONS if request.method == "REFER" else EXTENSIONS)
            if refusal is None and not self.transactions.room:
                refusal = Refusal(503, headers=(("Retry-After", "5"),))
            if refusal is None and request.method == "REGISTER":
                refusal = Refusal(405, headers=(("Allow", ALLOW),))
            if refusal is None and request.method == "REFER":
                refusal = self._refer(session, request, reply)
            elif refusal is None:
                refusal = session.receive_request(request, reply, flow, self.now)
            self._schedule(session)
        if refusal is not None:
            self.answers.refuse(request, refusal, reply)

    def _refer(self, session: Session, request: Request, reply: Flow) -> Refusal | None:
        """Only a call that was answered can be handed over."""
        dialog = session.state.dialog
        if dialog is None or not self.standing(session.call):
            return Refusal(603)
        return self.refer(request, session.call, session.state.account, dialog, reply)

    def veil(self, veil: Veil) -> None:
        """What of dialled numbers is never shown nor kept."""
        self._traces.veil = veil

    def standing(self, call: str) -> bool:
        """Whether a call was answered and is not over."""
        session = self._sessions.get(call)
        return session is not None and session.state.dialog is not None and session.phase in (Phase.CONFIRMED, Phase.ACCEPTED)

    def owner(self, key: DialogKey) -> tuple[str, str] | None:
        """Call and account of a dialog."""
        session = self._dialogs.get(key)
        return (session.call, session.state.account) if session is not None else None

    def command(self, command: ev.Command) -> None:
        """Execute a command; one for an ended or unknown call does nothing (PlaceCall aside)."""
        if isinstance(command, ev.PlaceCall):
            self.place(command)
            return
        session = self._sessions.get(command.call)
        if session is not None:
            self._run(session, command)
            self._schedule(session)

    def invited(self, call: str) -> Request | None:
        """The INVITE of a call that we have not answered."""
        session = self._sessions.get(call)
        return session.request if session is not None else None

    def heard(self, call: str) -> bool:
        """Whether the far end of a call of ours has said anything at all."""
        session = self._sessions.get(call)
        return session is not None and (session.state.provisional or session.state.dialog is not None)

    def takes_info(self, call: str) -> bool:
        """Whether the peer of a call allows INFO."""
        session = self._sessions.get(call)
        return session is not None and session.state.peer_info

    def flow_of(self, call: str) -> Flow | None:
        """The flow that an answered call goes over, None for one that is unknown."""
        session = self._sessions.get(call)
        return None if session is None else session.state.dialog.flow if session.state.dialog is not None else session.state.flow

    def phase(self, call: str) -> Phase | None:
        """Where a call stands, None for one that is unknown or over."""
        session = self._sessions.get(call)
        return session.phase if session is not None else None

    def place(self, command: ev.PlaceCall) -> None:
        if len(self._sessions) >= self.settings.max_sessions or not self.transactions.room:
            self.emit(ev.CallEnded(self.now, command.call, "final", 503, False, "too many calls"))
            return
        if not self.connected(command.flow):
            # The connection it registered over is gone: a phone that listens on its Contact is reached by a new one (RFC 3261, 18.1.1).
            first = command.route_set[0] if command.route_set else f"<{command.uri}>"
            command = msgspec.structs.replace(command, flow=next_hop(command.flow, False, first))
        state = SessionState(
            call=command.call, outgoing=True, phase=Phase.CALLING, flow=command.flow, account=command.account, local_tag=self.token(16),
            symmetric=command.symmetric, contact_user=command.contact_user, plain=command.plain,
        )  # fmt: skip
        state.timer.refused = not command.timers
        session = self._open(state)
        session.place(command, self.now)
        self._schedule(session)

    def _run(self, session: Session, command: ev.Command) -> None:
        now = self.now
        match command:
            case ev.RingCall():
                session.ring(now, command.description)
            case ev.AnswerCall():
                if session.phase is Phase.OFFERED:
                    session.answer(command.description, now)
                    self._answered(session)
            case ev.RefuseCall():
                session.refuse(command.status, command.reason, command.headers, now)
            case ev.EndCall():
                session.end(command.reason, now)
            case ev.OfferAgain():
                session.offers.offer(command.description, now)
            case ev.SendInfo():
                session.info.send(command.digits, now)
            case ev.CheckPeer():
                session.check.ask(now)
            case ev.Identify():
                session.refresh.identify(command.headers, now)
            case ev.ReferPeer(other=""):
                session.referrer.refer(command.uri, now, command.patience_ms)
            case ev.ReferPeer():
                other = self._sessions.get(command.other)
                if other is not None and other.state.dialog is not None and other.phase is Phase.CONFIRMED:
                    session.referrer.refer(far_end(other.state.dialog), now, command.patience_ms)
                else:
                    self.emit(ev.ReferEnded(now, session.call, 481))
            case ev.AnswerOffer():
                session.offers.answer(command.description, now)
            case ev.RefuseOffer():
                session.offers.refuse(command.status, now)

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

    def transmit(self, session: Session, data: bytes, flow: Flow) -> None:
        self.transactions.output.append(Outgoing(flow.transport, flow.remote, data, flow.local, name=flow.name))
        self._trace(session, "out", flow, data)

    def another_offer(self, call: str) -> Description | None:
        """What to offer now that the offer of a call we place was refused."""
        return self.another(call)

    def prove(self, account: str, request: Request, response: Response, tried: int) -> tuple[tuple[str, str], ...]:
        """Credentials of an account of ours at a far end."""
        return self.proof(account, request, response, tried)

    def takes_stream(self, remote: Address) -> bool:
        """False for a peer that took no connection a while ago."""
        return not self.transactions.streamless.has(remote, self.now)

    def streamless(self, remote: Address, now: int) -> None:
        """A peer takes no connection."""
        self.transactions.streamless.add(remote, now)

    def bind_dialog(self, session: Session, dialog: Dialog) -> None:
        self._dialogs[dialog.key] = session

    def unbind_dialog(self, dialog: Dialog) -> None:
        self._dialogs.pop(dialog.key, None)

    def closed(self, session: Session) -> None:
        self._answered(session)
        session.reliable.forget()
        self._sessions.pop(session.call, None)
        dialog = session.state.dialog
        if dialog is not None and self._dialogs.pop(dialog.key, None) is not None:
            self._over.add(dialog.key, self.now)

    def reattach(self, user: str, flow: Flow) -> None:
        """Calls of a phone whose connection is gone continue on the one it registered over."""
        if not flow.reliable:
            return
        for session in self._sessions.values():
            dialog = session.state.dialog
            if session.state.account == user and dialog is not None and dialog.flow.reliable and not self.connected(dialog.flow):
                dialog.flow = flow

    # --- adoption -----------------------------------------------------------------------------------------------------

    def snapshot(self, call: str) -> bytes:
        """A session in a form that `adopt` of another process takes; b"" for an unknown or ended call."""
        session = self._sessions.get(call)
        if session is None or session.phase in (Phase.ENDING, Phase.ENDED):
            return b""
        state, veil = session.state, self._traces.veil
        if state.invite and not state.outgoing:
            told = session.told
            if told is None or told[0] is not state.invite:
                told = session.told = state.invite, veil.message(hide_proofs(sealed_text(state.invite)))
            state = msgspec.structs.replace(state, invite=told[1])
        if state.dialog is not None and not state.outgoing and (local := veil.text(state.dialog.local)) != state.dialog.local:
            # From of our requests after a restart: a dialog is known by its tags (RFC 3261 section 12).
            state = msgspec.structs.replace(state, dialog=msgspec.structs.replace(state.dialog, local=local))
        if state.ok or state.unacknowledged is not None:
            state = _unseen(state, veil)
        data = msgspec.msgpack.encode(state)
        if b"a=crypto" in data or b"a=ice-pwd" in data:
            plain = _hidden(msgspec.to_builtins(state, builtin_types=(bytes,)))
            for early in plain.get("early", {}).values():
                early["answer"] = sealed_text(early.get("answer", b""))
            data = msgspec.msgpack.encode(plain)
        return data

    def adopt(self, call: str, data: bytes) -> Phase | None:
        """Go on with a session of an earlier process; its phase, or None when the data cannot be used."""
        try:
            state = msgspec.msgpack.decode(data, type=SessionState)
            request = parse_datagram(state.invite) if state.invite else None
        except (msgspec.MsgspecError, Unframeable):
            return None
        if state.call != call or call in self._sessions:
            return None
        session = self._open(state)
        if keys_hidden(state.ok):
            state.ok_at = None           # not repeated: its keys are known to nobody any more
        if keys_hidden(state.local):
            state.local = b""            # until its owner gives another (`describe`)
        if state.dialog is not None:
            self.bind_dialog(session, state.dialog)
        for early in state.early.values():
            self.bind_dialog(session, early.dialog)
        session.refresh.adopted(self.now)
        if isinstance(request, Request):
            if state.outgoing:
                session.invite = request
                session.inviting = self.transactions.resume_client(request, state.flow, session)
            else:
                session.request = request
                session.transaction = self.transactions.accept(request, self.answers.reply_flow(request, state.flow), session)
                self._offered[(request.call_id, request.from_.tag, request.cseq.number)] = session
                self._per_source[state.flow.remote[0]] += 1
        self._schedule(session)
        self.settle()
        return state.phase

    def describe(self, call: str, description: Description) -> None:
        """What a refresh of this adopted call offers."""
        session = self._sessions.get(call)
        if session is not None:
            session.state.local = description.build()

    # --- time ---------------------------------------------------------------------------------------------------------

    def deadline(self) -> int | None:
        """Engine ms at which `expire` is due, None for never."""
        return self._timers[0][0] if self._timers else None

    def expire(self) -> None:
        """Run the timers of sessions that are due."""
        while self._timers and self._timers[0][0] <= self.now:
            at, _, call = heapq.heappop(self._timers)
            session = self._sessions.get(call)
            if session is not None:
                if session.scheduled == at:
                    session.scheduled = None
                due = session.deadline()
                if due is not None and due <= self.now:
                    session.expire(self.now)
                self._schedule(session)

    def _schedule(self, session: Session) -> None:
        due = session.deadline()
        # What is due later than an entry that is there already is found when that one is due: so entries do not pile up.
        if due is not None and (session.scheduled is None or due < session.scheduled):
            session.scheduled = due
            self._order += 1
            heapq.heappush(self._timers, (due, self._order, session.call))

    def settle(self) -> None:
        """Give what the transactions found out to the sessions."""
        pending = self.transactions.events
        while pending:
            event = pending.pop(0)
            owner = event.transaction.owner
            if not isinstance(owner, Session):
                self.others(event)
                continue
            try:
                if isinstance(event, Delivered):
                    owner.receive_response(event.transaction, event.response, self.now)
                elif isinstance(event, Ended):
                    owner.transaction_ended(event.transaction, event.why, self.now)
            except SyntaxProblem:
                self._counters["refused"] += 1
            self._schedule(owner)

    # --- inspection ---------------------------------------------------------------------------------------------------

    def trace(self, call: str) -> list[TraceLine]:
        """The last messages of a call, also shortly after its end."""
        return self._traces.lines(call)

    def statistics(self) -> dict[str, int]:
        """Sizes of the tables."""
        return {"sessions": len(self._sessions), "dialogs": len(self._dialogs)}

    def _trace(self, session: Session, direction: str, flow: Flow, data: bytes) -> None:
        self._traces.add(session.call, self.now, direction, flow, data)

    def _trace_out(self, owner: object, flow: Flow, data: bytes) -> None:
        if isinstance(owner, Session):
            self._trace(owner, "out", flow, data)


def _unseen(state: SessionState, veil: Veil) -> SessionState:
    """The same with the answers that are still repeated veiled; who repeats them finds tags and branch as they were."""
    waiting = state.unacknowledged
    if waiting is not None:
        waiting = msgspec.structs.replace(waiting, data=veil.message(waiting.data))
    return msgspec.structs.replace(state, ok=veil.message(state.ok), unacknowledged=waiting)


def _hidden(value: Any) -> Any:
    """The same without keys of SRTP, wherever a message or description is kept."""
    match value:
        case bytes():
            return hide_keys(value)
        case dict():
            return {key: _hidden(one) for key, one in value.items()}
        case list() | tuple():
            return [_hidden(one) for one in value]
        case _:
            return value
