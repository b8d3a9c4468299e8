"""One call as SIP sees it: an INVITE, its dialog, re-INVITEs and its end (L1).

Theory of operation
-------------------
RFC 3261 sections 9, 13, 14, 15; RFC 6026; RFC 3326 (Reason). A session is OFFERED (we were called, no final answer yet),
ACCEPTED (our 200 is not acknowledged), CALLING (we called), CONFIRMED, ENDING (its owner has had `CallEnded`, the
protocol still has to finish: an unanswered CANCEL, a 200 that must be acknowledged before BYE) or ENDED.
Who answers an offer is the owner; the session only carries descriptions and guards the order (491, 500, 481).
Invariants: exactly one `CallEnded`, the last event; each 2xx of an INVITE is acknowledged, again when repeated, with the
CSeq of the INVITE it answers; a 2xx from another fork, or after our CANCEL, gets ACK and BYE; our 2xx is repeated until
its ACK. `SessionState` is all another process needs to go on; timers are engine instants.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from firmware.sip import events as ev
from firmware.sip.body import find_sdp, info_digit
from firmware.sip.dialog import Dialog, client_dialog, via_value
from firmware.sip.errors import SessionProblem, SyntaxProblem
from firmware.sip.flow import Flow
from firmware.sip.message import Headers, Request, Response, respond
from firmware.sip.sdp import Description
from firmware.sip.transaction import MAGIC, Transaction, TransactionLayer, build_cancel
from firmware.sip.uri import escape_user, join_host_port, quote
from firmware.sip.validate import ALLOW, Refusal

SDP = "application/sdp"
MAX_REMEMBERED_ACKS = 4


class Phase(StrEnum):
    """Where a session stands."""

    OFFERED = "offered"
    ACCEPTED = "accepted"
    CALLING = "calling"
    CONFIRMED = "confirmed"
    ENDING = "ending"
    ENDED = "ended"


# (phase, input) -> next phase; any pair not here is refused or ignored by the method that handles the input.
MOVES: dict[tuple[Phase, str], Phase] = {
    (Phase.OFFERED, "send-2xx"): Phase.ACCEPTED,
    (Phase.OFFERED, "send-final"): Phase.ENDED,
    (Phase.OFFERED, "cancel"): Phase.ENDED,
    (Phase.OFFERED, "bye"): Phase.ENDED,
    (Phase.ACCEPTED, "ack"): Phase.CONFIRMED,
    (Phase.ACCEPTED, "bye"): Phase.ENDED,
    (Phase.ACCEPTED, "end"): Phase.ENDING,
    (Phase.ACCEPTED, "no-ack"): Phase.ENDING,
    (Phase.CALLING, "2xx"): Phase.CONFIRMED,
    (Phase.CALLING, "final"): Phase.ENDED,
    (Phase.CALLING, "timeout"): Phase.ENDED,
    (Phase.CALLING, "end"): Phase.ENDING,
    (Phase.CONFIRMED, "bye"): Phase.ENDED,
    (Phase.CONFIRMED, "end"): Phase.ENDING,
    (Phase.CONFIRMED, "no-ack"): Phase.ENDING,
    (Phase.CONFIRMED, "gone"): Phase.ENDING,
    (Phase.ENDING, "bye"): Phase.ENDED,
    (Phase.ENDING, "done"): Phase.ENDED,
}


class SessionState(msgspec.Struct):
    """Everything of a session that outlives its process."""

    call: str
    outgoing: bool
    phase: Phase
    flow: Flow
    account: str = ""
    dialog: Dialog | None = None
    invite: bytes = b""                  # the INVITE while no final answer was given or had
    local_tag: str = ""
    symmetric: bool = True
    provisional: bool = False            # a provisional answer was received (CANCEL allowed)
    late: bool = False                   # the INVITE had no offer: ours is in the 200, the answer in the ACK
    cancelling: bool = False
    bye_due: bool = False                # BYE as soon as our 200 is acknowledged
    reason: str = ""
    ok: bytes = b""                      # our 2xx that waits for its ACK
    ok_flow: Flow | None = None
    ok_cseq: int = -1
    ok_interval: int = 0
    ok_at: int | None = None
    ok_until: int | None = None
    give_up_at: int | None = None        # end of waiting for the answer to a cancelled INVITE
    acks: dict[str, bytes] = {}          # "tag cseq" -> ACK sent for that 2xx


class Host(Protocol):
    """What a session needs of its endpoint."""

    transactions: TransactionLayer
    server_name: str

    def emit(self, event: ev.Event) -> None: ...
    def token(self, digits: int) -> str: ...
    def transmit(self, session: Session, data: bytes, flow: Flow) -> None: ...
    def bind_dialog(self, session: Session, dialog: Dialog) -> None: ...
    def closed(self, session: Session) -> None: ...
    def connected(self, flow: Flow) -> bool: ...


class Session:
    """See the theory of operation above."""

    def __init__(self, host: Host, state: SessionState) -> None:
        self.host = host
        self.state = state
        self.request: Request | None = None              # the INVITE of the peer that we have not answered
        self.transaction: Transaction | None = None      # its transaction
        self.invite: Request | None = None               # the INVITE that began a call of ours
        self.inviting: Transaction | None = None         # its transaction
        self.reinvite: Transaction | None = None         # our pending re-INVITE
        self.reinvite_offer: Description | None = None
        self.retry_at: int | None = None                 # our re-INVITE after a 491
        self.peer_late = False                           # our last 200 to a re-INVITE carried an offer
        self.bye: Transaction | None = None

    # --- helpers ------------------------------------------------------------------------------------------------------

    @property
    def call(self) -> str:
        return self.state.call

    @property
    def phase(self) -> Phase:
        return self.state.phase

    def _move(self, step: str) -> None:
        after = MOVES.get((self.state.phase, step))
        if after is None:
            raise SessionProblem(f"{step} in phase {self.state.phase} of call {self.call}")
        self.state.phase = after
        if after is Phase.ENDED:
            self._stop_ok()
            self.state.give_up_at = self.retry_at = None
            self.host.closed(self)

    def _ended(self, now: int, how: str, status: int, by_far: bool, reason: str = "") -> None:
        self.host.emit(ev.CallEnded(now, self.call, how, status, by_far, reason))

    def _branch(self) -> str:
        return MAGIC + self.host.token(16)

    def contact(self, flow: Flow) -> str:
        transport = "" if flow.transport == "udp" else f";transport={flow.transport}"
        return f"<sip:{escape_user(self.state.account) or 'branchpbx'}@{join_host_port(*flow.local)}{transport}>"

    def _hop(self) -> Flow:
        assert self.state.dialog is not None
        dialog = self.state.dialog
        flow = dialog.hop()
        if flow.reliable and not self.host.connected(flow):
            # the connection is gone: a phone that listens on its Contact can still be reached by a new one
            flow = msgspec.structs.replace(dialog, symmetric=False).hop()
        return flow

    def _respond(self, request: Request, transaction: Transaction, status: int, now: int, *, reason: str = "",
                 headers: tuple[tuple[str, str], ...] = (), description: Description | None = None) -> Response:  # fmt: skip
        extra = list(headers)
        if request.method == "INVITE" and 100 < status < 300:
            extra.insert(0, ("Contact", self.contact(transaction.flow)))
            extra += [("Allow", ALLOW), ("Server", self.host.server_name)]
        body = description.build() if description is not None else b""
        response = respond(request, status, to_tag=self.state.local_tag, reason=reason, headers=extra, body=body, content_type=SDP)
        self.host.transactions.respond(transaction, response, now)
        return response

    def _accept_final(self, request: Request, transaction: Transaction, now: int, description: Description) -> None:
        """Send a 200 to an INVITE and repeat it until its ACK."""
        self._respond(request, transaction, 200, now, description=description)
        state = self.state
        state.ok, state.ok_flow, state.ok_cseq = transaction.data, transaction.flow, request.cseq.number
        state.ok_interval = self.host.transactions.timers.t1
        state.ok_at = now + state.ok_interval
        state.ok_until = now + self.host.transactions.timers.limit

    def _stop_ok(self) -> None:
        self.state.ok, self.state.ok_flow, self.state.ok_at, self.state.ok_until = b"", None, None, None

    # --- called: commands ---------------------------------------------------------------------------------------------

    def begin_incoming(self, request: Request, transaction: Transaction, dialog: Dialog, now: int) -> None:
        self.request, self.transaction = request, transaction
        self.state.dialog = dialog
        self.host.bind_dialog(self, dialog)
        self._respond(request, transaction, 100, now)

    def ring(self, now: int) -> None:
        if self.phase is Phase.OFFERED and self.request is not None and self.transaction is not None:
            self._respond(self.request, self.transaction, 180, now)

    def answer(self, description: Description, now: int) -> None:
        if self.request is None or self.transaction is None:
            raise SessionProblem(f"answer of call {self.call}, which offers nothing")
        self._move("send-2xx")
        self._accept_final(self.request, self.transaction, now, description)
        self.request = self.transaction = None
        self.state.invite = b""

    def refuse(self, status: int, reason: str, headers: tuple[tuple[str, str], ...], now: int) -> None:
        if self.phase is not Phase.OFFERED or self.request is None or self.transaction is None:
            return
        self._respond(self.request, self.transaction, status, now, reason=reason, headers=headers)
        self._ended(now, "command", status, False)
        self._move("send-final")

    def end(self, reason: str, now: int) -> None:
        """End the call in any phase; `CallEnded` comes at once, the protocol finishes by itself."""
        state = self.state
        state.reason = reason
        match self.phase:
            case Phase.OFFERED:
                self.refuse(480, "", (("Reason", reason),) if reason else (), now)
            case Phase.CALLING:
                self._ended(now, "command", 0, False)
                self._move("end")
                state.give_up_at = now + 2 * self.host.transactions.timers.limit
                if state.provisional:
                    self._cancel(now)
            case Phase.ACCEPTED:
                self._ended(now, "command", 0, False)
                state.bye_due = True                      # section 15: not before the ACK or its time-out
                self._move("end")
            case Phase.CONFIRMED:
                self._ended(now, "command", 0, False)
                self._move("end")
                self._send_bye(now)
            case _:
                pass

    # --- called: from the network -------------------------------------------------------------------------------------

    def cancelled(self, reason: str, now: int) -> None:
        """CANCEL of the INVITE that we have not answered."""
        if self.phase is not Phase.OFFERED or self.request is None or self.transaction is None:
            return
        self._respond(self.request, self.transaction, 487, now)
        self._ended(now, "cancel", 487, True, reason)
        self._move("cancel")

    def receive_ack(self, request: Request, now: int) -> None:
        state = self.state
        if not state.ok or request.cseq.number != state.ok_cseq:
            return
        self._stop_ok()
        answer: Description | None = None
        try:
            answer = find_sdp(request)
        except SyntaxProblem:
            answer = None
        if self.phase is Phase.ACCEPTED:
            self._move("ack")
            self.host.emit(ev.CallConfirmed(now, self.call, answer if state.late else None))
        elif self.phase is Phase.ENDING and state.bye_due:
            self._send_bye(now)
        elif self.peer_late:
            self.host.emit(ev.OfferAnswered(now, self.call, answer))
        self.peer_late = False

    def receive_request(self, request: Request, reply: Flow, flow: Flow, now: int) -> Refusal | None:
        """A request within the dialog, already checked for syntax and support. Returns a refusal to be sent without state."""
        dialog = self.state.dialog
        if dialog is None or self.phase is Phase.ENDED:
            return Refusal(481)
        refusal = dialog.accepts(request)
        if refusal is not None:
            return refusal
        if flow.reliable and not self.host.connected(dialog.flow):
            dialog.refresh(None, flow)                    # the peer came back on a new connection
        if request.method == "INVITE":
            return self._receive_reinvite(request, reply, flow, now)
        transaction = self.host.transactions.accept(request, reply, self)
        if request.method == "BYE":
            self._receive_bye(request, transaction, now)
        elif request.method == "INFO":
            digit = info_digit(request)
            self._respond(request, transaction, 200, now)
            if digit is not None and self.phase in (Phase.ACCEPTED, Phase.CONFIRMED, Phase.OFFERED):
                self.host.emit(ev.InfoDigit(now, self.call, digit[0], digit[1]))
        else:
            self._respond(request, transaction, 200, now, headers=(("Allow", ALLOW), ("Accept", SDP)))
        return None

    def _receive_bye(self, request: Request, transaction: Transaction, now: int) -> None:
        self._respond(request, transaction, 200, now)
        if self.request is not None and self.transaction is not None:
            self._respond(self.request, self.transaction, 487, now)      # an INVITE of the peer is still open
            self.request = self.transaction = None
        if self.phase in (Phase.OFFERED, Phase.ACCEPTED, Phase.CONFIRMED):
            self._ended(now, "bye", 0, True, request.headers.get("reason"))
        self._move("bye")

    def _receive_reinvite(self, request: Request, reply: Flow, flow: Flow, now: int) -> Refusal | None:
        if self.phase is Phase.ENDING:
            return Refusal(481)
        if self.reinvite is not None or self.phase is not Phase.CONFIRMED:
            return Refusal(491)
        if self.request is not None:
            return Refusal(500, headers=(("Retry-After", str(int(self.host.token(4), 16) % 10)),))
        try:
            offer = find_sdp(request)
        except SyntaxProblem as problem:
            return Refusal(488, headers=(("Warning", f'399 branchpbx "{problem.what}"'),))
        if self.state.ok:
            self._stop_ok()                               # a new INVITE shows that the earlier 200 arrived
        self.transaction = self.host.transactions.accept(request, reply, self)
        self.request = request
        self.peer_late = offer is None
        assert self.state.dialog is not None
        self.state.dialog.refresh(request.contact, flow)
        self._respond(request, self.transaction, 100, now)
        self.host.emit(ev.Reoffered(now, self.call, offer))
        return None

    def answer_offer(self, description: Description, now: int) -> None:
        if self.phase is not Phase.CONFIRMED or self.request is None or self.transaction is None:
            return
        self._accept_final(self.request, self.transaction, now, description)
        self.request = self.transaction = None

    def refuse_offer(self, status: int, now: int) -> None:
        if self.phase is not Phase.CONFIRMED or self.request is None or self.transaction is None:
            return
        self._respond(self.request, self.transaction, status, now)
        self.request = self.transaction = None
        self.peer_late = False

    # --- calling ------------------------------------------------------------------------------------------------------

    def place(self, command: ev.PlaceCall, now: int) -> None:
        """Send the INVITE."""
        state, flow = self.state, command.flow
        headers = Headers()
        headers.add("Via", via_value(flow, self._branch()))
        for value in command.route_set:
            headers.add("Route", value)
        headers.add("Max-Forwards", "70")
        domain = join_host_port(*flow.local)
        display = quote(command.display) + " " if command.display else ""
        user = escape_user(command.number)
        caller = f"<sip:{user}@{domain}>" if user else "<sip:anonymous@anonymous.invalid>"
        headers.add("From", f"{display}{caller};tag={state.local_tag}")
        headers.add("To", f"<{command.uri}>")
        headers.add("Call-ID", self.host.token(24))
        headers.add("CSeq", "1 INVITE")
        headers.add("Contact", self.contact(flow))
        headers.add("Allow", ALLOW)
        headers.add("User-Agent", self.host.server_name)
        for name, value in command.headers:
            headers.add(name, value)
        headers.add("Content-Type", SDP)
        self.invite = Request("INVITE", command.uri, headers, command.offer.build())
        state.invite = self.invite.render()
        self.inviting = self.host.transactions.request(self.invite, flow, self, now)

    def _cancel(self, now: int) -> None:
        if self.invite is None or self.inviting is None or self.state.cancelling:
            return
        self.state.cancelling = True
        cancel = build_cancel(self.invite)
        if self.state.reason:
            cancel.headers.add("Reason", self.state.reason)
        self.host.transactions.request(cancel, self.inviting.flow, None, now)
        self.state.give_up_at = now + self.host.transactions.timers.limit

    def receive_response(self, transaction: Transaction, response: Response, now: int) -> None:
        """A response to a request of ours."""
        if transaction is self.inviting:
            self._invite_response(response, now)
        elif transaction is self.reinvite:
            self._reinvite_response(response, now)
        elif transaction is self.bye:
            if response.status >= 200:
                self._done()
        elif transaction.method == "INVITE" and 200 <= response.status < 300:
            self.repeated_ok(response, now)

    def _invite_response(self, response: Response, now: int) -> None:
        state, status = self.state, response.status
        if status < 200:
            state.provisional = True
            if self.phase is Phase.ENDING:
                self._cancel(now)
            elif self.phase is Phase.CALLING:
                self._provisional(response, now)
            return
        assert self.invite is not None
        if status >= 300:
            self.inviting = None
            state.invite = b""
            if self.phase is Phase.CALLING:
                self._ended(now, "final", status, True, response.headers.get("reason"))
                self._move("final")
            else:
                self._done()
            return
        if state.dialog is not None:
            self.repeated_ok(response, now)
            return
        dialog = client_dialog(self.invite, response, state.flow, state.symmetric)
        state.dialog = dialog
        state.invite = b""
        self.host.bind_dialog(self, dialog)
        self._send_ack(dialog, response)
        if self.phase is Phase.ENDING:                    # answered while we cancelled
            state.give_up_at = None
            self._send_bye(now)
            return
        try:
            answer = find_sdp(response)
        except SyntaxProblem:
            self._move("2xx")
            self._ended(now, "final", 488, False)
            self._move("end")
            self._send_bye(now)
            return
        self._move("2xx")
        self.host.emit(ev.CallAnswered(now, self.call, answer))

    def _provisional(self, response: Response, now: int) -> None:
        if response.status == 100:
            return
        try:
            answer = find_sdp(response)
        except SyntaxProblem:
            answer = None
        if response.status in (180, 182):
            self.host.emit(ev.CallRinging(now, self.call))
        if answer is not None:
            self.host.emit(ev.CallProgress(now, self.call, answer))

    def _send_ack(self, dialog: Dialog, response: Response) -> None:
        number = response.cseq.number
        ack = dialog.request("ACK", self._branch(), cseq=number).render()
        acks = self.state.acks
        while len(acks) >= MAX_REMEMBERED_ACKS:
            del acks[next(iter(acks))]
        acks[f"{response.to.tag} {number}"] = ack
        self.host.transmit(self, ack, self._flow_of(dialog))

    def _flow_of(self, dialog: Dialog) -> Flow:
        return self._hop() if dialog is self.state.dialog else dialog.hop()

    def repeated_ok(self, response: Response, now: int) -> None:
        """A 2xx beyond the first: the same again (ACK again), or from another fork (ACK, then BYE)."""
        known = self.state.acks.get(f"{response.to.tag} {response.cseq.number}")
        dialog = self.state.dialog
        if known is not None:
            self.host.transmit(self, known, self._hop() if dialog is not None else self.state.flow)
            return
        if dialog is None or self.invite is None or response.to.tag == dialog.remote_tag:
            return
        fork = client_dialog(self.invite, response, self.state.flow, self.state.symmetric)
        self._send_ack(fork, response)
        self.host.transactions.request(fork.request("BYE", self._branch()), fork.hop(), None, now)

    # --- our re-INVITE ------------------------------------------------------------------------------------------------

    def offer_again(self, description: Description, now: int) -> None:
        dialog = self.state.dialog
        if self.phase is not Phase.CONFIRMED or dialog is None or self.reinvite is not None or self.request is not None:
            raise SessionProblem(f"re-INVITE in phase {self.phase} of call {self.call}")
        self.retry_at = None
        self.reinvite_offer = description
        request = dialog.request("INVITE", self._branch(), contact=self.contact(dialog.flow))
        request.headers.add("Allow", ALLOW)
        request.headers.add("Content-Type", SDP)
        request.body = description.build()
        self.reinvite = self.host.transactions.request(request, self._hop(), self, now)

    def _reinvite_response(self, response: Response, now: int) -> None:
        status, dialog = response.status, self.state.dialog
        if status < 200 or dialog is None:
            return
        self.reinvite = None
        if 200 <= status < 300:
            dialog.refresh(response.contact, None)
            self._send_ack(dialog, response)
            try:
                answer = find_sdp(response)
            except SyntaxProblem:
                answer = None
            if self.phase is Phase.CONFIRMED:
                self.host.emit(ev.OfferAnswered(now, self.call, answer))
        elif self.phase is not Phase.CONFIRMED:
            return
        elif status in (408, 481):
            self._gone(status, now)
        elif status == 491:
            # section 14.1: the owner of the Call-ID waits 2.1 to 4 s, the other side up to 2 s
            random = int(self.host.token(4), 16)
            wait = 2100 + random % 191 * 10 if self.state.outgoing else random % 201 * 10
            self.retry_at = now + wait
        else:
            self.host.emit(ev.OfferRefused(now, self.call, status))

    def _gone(self, status: int, now: int) -> None:
        self._ended(now, "gone", status, True)
        self._move("gone")
        self._send_bye(now)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _send_bye(self, now: int) -> None:
        dialog = self.state.dialog
        self.state.bye_due = False
        if dialog is None or self.bye is not None:
            return
        self._stop_ok()
        if self.request is not None and self.transaction is not None and self.request.to.tag:
            self._respond(self.request, self.transaction, 487, now)
            self.request = self.transaction = None
        bye = dialog.request("BYE", self._branch())
        if self.state.reason:
            bye.headers.add("Reason", self.state.reason)
        self.bye = self.host.transactions.request(bye, self._hop(), self, now)

    def _done(self) -> None:
        if self.phase is Phase.ENDING:
            self._move("done")

    def transaction_ended(self, transaction: Transaction, why: str, now: int) -> None:
        """A transaction of this session ended without an answer."""
        if transaction is self.bye:
            self._done()
        elif transaction is self.reinvite:
            self.reinvite = None
            if self.phase is Phase.CONFIRMED:
                self._gone(408, now)
        elif transaction is self.inviting:
            self.inviting = None
            self.state.invite = b""
            if self.phase is Phase.CALLING:
                self._ended(now, "timeout", 408 if why == "timed-out" else 503, True)
                self._move("timeout")
            elif self.state.dialog is None:
                self._done()

    def deadline(self) -> int | None:
        state = self.state
        return min((at for at in (state.ok_at, state.ok_until, state.give_up_at, self.retry_at) if at is not None), default=None)

    def expire(self, now: int) -> None:
        """Run what is due."""
        state = self.state
        if state.ok_until is not None and state.ok_until <= now:
            self._stop_ok()
            if self.phase in (Phase.ACCEPTED, Phase.CONFIRMED):
                self._ended(now, "no-ack", 408, True)
                self._move("no-ack")
            self._send_bye(now)
        elif state.ok_at is not None and state.ok_at <= now and state.ok_flow is not None:
            self.host.transmit(self, state.ok, state.ok_flow)
            state.ok_interval = min(state.ok_interval * 2, self.host.transactions.timers.t2)
            state.ok_at = now + state.ok_interval
        if state.give_up_at is not None and state.give_up_at <= now:
            state.give_up_at = None
            if self.inviting is not None:
                self.host.transactions.abandon(self.inviting, now)
                self.inviting = None
            self._done()
        if self.retry_at is not None and self.retry_at <= now and self.reinvite_offer is not None:
            self.retry_at = None
            if self.phase is Phase.CONFIRMED and self.reinvite is None:
                self.offer_again(self.reinvite_offer, now)
