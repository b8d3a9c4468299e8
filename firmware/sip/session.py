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

import msgspec

from firmware.sip import events as ev
from firmware.sip.body import find_sdp, info_digit
from firmware.sip.dialog import Dialog, client_dialog, via_value
from firmware.sip.errors import SessionProblem, SyntaxProblem
from firmware.sip.flow import SECURED, URI_PARAMETER, Flow
from firmware.sip.forward import forward_of
from firmware.sip.headers import Headers
from firmware.sip.identity import ANONYMOUS
from firmware.sip.message import Request, Response, respond
from firmware.sip.sdp import Description
from firmware.sip.session_check import Check
from firmware.sip.session_info import Info
from firmware.sip.session_offers import Offers
from firmware.sip.session_proof import prove_again, without_proof
from firmware.sip.session_referrer import Referrer
from firmware.sip.session_refresh import Refresh
from firmware.sip.session_reliable import Reliable
from firmware.sip.session_state import MOVES, SDP, Host, Phase, SessionState
from firmware.sip.session_timer import check_interval, too_small
from firmware.sip.session_ways import Ways
from firmware.sip.transaction import MAGIC, Transaction, build_cancel
from firmware.sip.uri import escape_user, join_host_port, quote
from firmware.sip.validate import ALLOW, SUPPORTED, Refusal

MAX_REMEMBERED_ACKS = 4
MOST_RETRIES = 5
EXPIRED_REASON = 'SIP;cause=408;text="Session expired"'
_EXTENSION_HEADERS = ("supported", "session-expires", "min-se")


class Session:
    """See the theory of operation above."""

    def __init__(self, host: Host, state: SessionState) -> None:
        self.host = host
        self.state = state
        self.request: Request | None = None              # the INVITE of the peer that we have not answered
        self.transaction: Transaction | None = None      # its transaction
        self.invite: Request | None = None               # the INVITE that began a call of ours
        self.inviting: Transaction | None = None         # its transaction
        self.offers = Offers(self)                       # re-INVITEs
        self.refresh = Refresh(self)                     # session timer
        self.info = Info(self)                           # keys to the peer
        self.check = Check(self)                         # whether it is still there
        self.referrer = Referrer(self)                   # a transfer that the peer is to carry out
        self.reliable = Reliable(self)                   # provisional answers
        self.ways = Ways(self)                           # where our first INVITE goes
        self.retries = 0                                 # of our first INVITE
        self.proofs = 0                                  # challenges answered without success since the last answer
        self.scheduled: int | None = None                # the endpoint's: when it looks at our timers next
        self.bye: Transaction | None = None
        self.told: tuple[bytes, bytes] | None = None     # the INVITE of the peer, and as a journal may have it

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
            self.stop_ok()
            self.state.give_up_at = self.offers.retry_at = None
            self.host.closed(self)

    def _ended(self, now: int, how: str, status: int, by_far: bool, reason: str = "", forward: str = "") -> None:
        self.host.emit(ev.CallEnded(now, self.call, how, status, by_far, reason, forward))

    def branch(self) -> str:
        return MAGIC + self.host.token(16)

    def contact(self, flow: Flow, target: str = "") -> str:
        """Our Contact on a flow; a peer that is sips gets a sips one (section 12.1.1), where transport=tls has no place (RFC 5630)."""
        transport = URI_PARAMETER[flow.transport]
        scheme, target = "sip", self.state.dialog.target if self.state.dialog is not None else target
        if flow.transport in SECURED and target.startswith("sips:"):
            scheme, transport = "sips", transport if flow.transport == "wss" else ""
        user = escape_user(self.state.contact_user or self.state.account) or "branchpbx"
        return f"<{scheme}:{user}@{join_host_port(*flow.local)}{transport}>"

    def hop(self) -> Flow:
        assert self.state.dialog is not None
        dialog = self.state.dialog
        flow = dialog.hop()
        if flow.reliable and not self.host.connected(flow):
            # the connection is gone: a phone that listens on its Contact can still be reached by a new one
            flow = msgspec.structs.replace(dialog, symmetric=False).hop()
        return flow

    def respond(self, request: Request, transaction: Transaction, status: int, now: int, *, reason: str = "",
                 headers: tuple[tuple[str, str], ...] = (), body: bytes = b"") -> Response:  # fmt: skip
        extra = list(headers)
        self._way_back(request, transaction)
        if request.method == "INVITE" and 100 < status < 300:
            extra.insert(0, ("Contact", self.contact(transaction.flow)))
            extra += [("Allow", ALLOW), ("Server", self.host.settings.server_name)]
        elif request.method == "UPDATE" and status == 200:
            extra.insert(0, ("Contact", self.contact(transaction.flow)))
            extra.append(("Allow", ALLOW))
        if status == 200 and request.method in ("INVITE", "UPDATE"):
            extra += [("Supported", SUPPORTED), *self.refresh.answer_headers(request, now)]
        response = respond(request, status, to_tag=self.state.local_tag, reason=reason, headers=extra, body=body, content_type=SDP)
        self.host.transactions.respond(transaction, response, now)
        return response

    def _way_back(self, request: Request, transaction: Transaction) -> None:
        """Where the connection of a request is gone, answer over the one its peer came back on, else over a new one (section 18.2.2)."""
        flow, dialog = transaction.flow, self.state.dialog
        if not flow.reliable or self.host.connected(flow):
            return
        if dialog is not None and dialog.flow.reliable and self.host.connected(dialog.flow):
            transaction.flow = dialog.flow
        elif flow.transport == "tcp":
            transaction.flow = msgspec.structs.replace(flow, remote=(flow.remote[0], request.via.port or 5060))

    def accept_final(self, request: Request, transaction: Transaction, now: int, body: bytes, *, told: bool = False) -> None:
        """Send a 200 to an INVITE and repeat it until its ACK; `told`: the peer has the description already."""
        self.respond(request, transaction, 200, now, body=b"" if told else body)
        state = self.state
        state.local = body
        state.ok, state.ok_flow, state.ok_cseq = transaction.data, transaction.flow, request.cseq.number
        state.ok_interval = self.host.transactions.timers.t1
        state.ok_at = now + state.ok_interval
        state.ok_until = now + self.host.transactions.timers.limit

    def stop_ok(self) -> None:
        self.state.ok, self.state.ok_flow, self.state.ok_at, self.state.ok_until = b"", None, None, None

    # --- called: commands ---------------------------------------------------------------------------------------------

    def begin_incoming(self, request: Request, transaction: Transaction, dialog: Dialog, now: int) -> None:
        self.request, self.transaction = request, transaction
        self.state.dialog = dialog
        self.host.bind_dialog(self, dialog)
        self.respond(request, transaction, 100, now)

    def ring(self, now: int, description: Description | None = None) -> None:
        """180, or 183 that describes early audio."""
        if self.phase is Phase.OFFERED and self.request is not None and self.transaction is not None:
            if description is not None:
                self.state.early_media = description.build()
            self.reliable.ring(self.request, self.transaction, 180 if description is None else 183, now)

    def answer(self, description: Description, now: int) -> None:
        self.answer_with(description.build(), now)

    def answer_with(self, body: bytes, now: int) -> None:
        """Send the 200, or have it wait for the PRACK of what described the audio."""
        state = self.state
        if self.request is None or self.transaction is None:
            raise SessionProblem(f"answer of call {self.call}, which offers nothing")
        if state.early_sure and state.unacknowledged is not None:
            state.answer_due = body
            return
        self._move("send-2xx")
        self.accept_final(self.request, self.transaction, now, body, told=state.early_sure)
        self.request = self.transaction = None
        state.invite = state.answer_due = b""

    def refuse(self, status: int, reason: str, headers: tuple[tuple[str, str], ...], now: int) -> None:
        if self.phase is not Phase.OFFERED or self.request is None or self.transaction is None:
            return
        self.respond(self.request, self.transaction, status, now, reason=reason, headers=headers)
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

    def unheard(self, now: int) -> None:
        """Our reliable provisional answer was never acknowledged."""
        if self.phase is Phase.OFFERED and self.request is not None and self.transaction is not None:
            self.respond(self.request, self.transaction, 504, now)
            self._ended(now, "no-ack", 504, True)
            self._move("send-final")

    # --- called: from the network -------------------------------------------------------------------------------------

    def cancelled(self, reason: str, now: int) -> None:
        """CANCEL of the INVITE that we have not answered."""
        if self.phase is not Phase.OFFERED or self.request is None or self.transaction is None:
            return
        self.respond(self.request, self.transaction, 487, now)
        self._ended(now, "cancel", 487, True, reason)
        self._move("cancel")

    def receive_ack(self, request: Request, now: int) -> None:
        state = self.state
        if not state.ok or request.cseq.number != state.ok_cseq:
            return
        self.stop_ok()
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
        elif self.offers.peer_late:
            self.host.emit(ev.OfferAnswered(now, self.call, answer))
        self.offers.peer_late = False

    def receive_request(self, request: Request, reply: Flow, flow: Flow, now: int) -> Refusal | None:
        """A request within the dialog, already checked for syntax and support. Returns a refusal to be sent without state."""
        dialog = self.state.dialog
        if dialog is None:
            early = self.reliable.early(request.from_.tag)
            dialog = early.dialog if early is not None and request.method != "BYE" else None
        if dialog is None or self.phase is Phase.ENDED:
            return Refusal(481)
        refusal = dialog.accepts(request)
        if refusal is None and request.method in ("INVITE", "UPDATE"):
            refusal = check_interval(request)
        if refusal is not None:
            return refusal
        if flow.reliable and not self.host.connected(dialog.flow):
            dialog.refresh(None, flow)                    # the peer came back on a new connection
        if request.method == "INVITE":
            return self.offers.receive_reinvite(request, reply, flow, now)
        if request.method == "UPDATE":
            return self.offers.receive_update(request, reply, flow, dialog, now)
        transaction = self.host.transactions.accept(request, reply, self)
        if request.method == "BYE":
            self._receive_bye(request, transaction, now)
        elif request.method == "INFO":
            digit = info_digit(request)
            self.respond(request, transaction, 200, now)
            if digit is not None and self.phase in (Phase.ACCEPTED, Phase.CONFIRMED, Phase.OFFERED):
                self.host.emit(ev.InfoDigit(now, self.call, digit[0], digit[1]))
        elif request.method == "NOTIFY":
            self.respond(request, transaction, 200 if self.referrer.notify(request, now) else 481, now)
        elif request.method == "PRACK":
            self.reliable.acknowledged(request, transaction, now)
        else:
            self.respond(request, transaction, 200, now, headers=(("Allow", ALLOW), ("Accept", SDP)))
        return None

    def _receive_bye(self, request: Request, transaction: Transaction, now: int) -> None:
        self.respond(request, transaction, 200, now)
        if self.request is not None and self.transaction is not None:
            self.respond(self.request, self.transaction, 487, now)      # an INVITE of the peer is still open
            self.request = self.transaction = None
        self.offers.abort(487, now)
        if self.phase in (Phase.OFFERED, Phase.ACCEPTED, Phase.CONFIRMED):
            self._ended(now, "bye", 0, True, request.headers.get("reason"))
        self._move("bye")

    # --- calling ------------------------------------------------------------------------------------------------------

    def place(self, command: ev.PlaceCall, now: int) -> None:
        """Send the INVITE."""
        state, flow = self.state, command.flow
        headers = Headers()
        headers.add("Via", via_value(flow, self.branch()))
        for value in command.route_set:
            headers.add("Route", value)
        headers.add("Max-Forwards", "70")
        domain = join_host_port(*flow.local)
        display = quote(command.display) + " " if command.display else ""
        user = escape_user(command.number)
        caller = f"<sip:{user}@{domain}>" if user else f"<{ANONYMOUS}>"
        caller = f"<{command.from_uri}>" if command.from_uri else caller
        headers.add("From", f"{display}{caller};tag={state.local_tag}")
        headers.add("To", f"<{command.uri}>")
        headers.add("Call-ID", self.host.token(24))
        headers.add("CSeq", "1 INVITE")
        headers.add("Contact", self.contact(flow, command.route_set[0].strip("<") if command.route_set else command.uri))
        headers.add("Allow", ALLOW)
        headers.add("User-Agent", self.host.settings.server_name)
        self.refresh.request_headers(headers, first=True)
        for name, value in command.headers:
            headers.add(name, value)
        headers.add("Content-Type", SDP)
        self.invite = Request("INVITE", command.uri, headers, command.offer.build())
        state.invite = self.invite.render()
        self.ways.begin(command, now)

    def _again(self, response: Response, now: int) -> bool:
        """Send the INVITE again without, or with more of, what this refusal names (RFC 3261 section 8.1.3.5, RFC 4028 section 7.3)."""
        state, before = self.state, self.invite
        if before is None or self.retries >= MOST_RETRIES:
            return False
        proof: tuple[tuple[str, str], ...] = ()
        if response.status in (401, 407):
            proof = self.host.prove(state.account, before, response, self.proofs)
            self.proofs += 1
        body: bytes | None = before.body
        if response.status in (488, 606):
            offer = self.host.another_offer(self.call)
            body = offer.build() if offer is not None else None
        elif not proof and not self._mended(response):
            body = None
        if body is None:
            return False
        self.retries += 1
        items = without_proof(before.headers.items).items if proof else before.headers.items
        headers = Headers((name, value) for key, name, value in items if key not in _EXTENSION_HEADERS)
        headers.set("Via", via_value(state.flow, self.branch()))
        headers.set("CSeq", f"{before.cseq.number + 1} INVITE")
        for name, value in proof:
            headers.add(name, value)
        self.refresh.request_headers(headers, first=True)
        self.reliable.forget()
        state.provisional = False
        self.invite = Request("INVITE", before.uri, headers, body)
        state.invite = self.invite.render()
        self.inviting = self.host.transactions.request(self.invite, state.flow, self, now)
        return True

    def _mended(self, response: Response) -> bool:
        """Learn from a refusal; True when the same INVITE may now pass."""
        state = self.state
        if response.status == 422:
            if not too_small(state.timer, response):
                state.timer.refused = True
            return True
        if response.status != 420:
            return False
        named = response.headers.tokens("unsupported")
        before = (state.plain, state.timer.refused)
        state.plain = state.plain or not named or "100rel" in named
        state.timer.refused = state.timer.refused or not named or "timer" in named
        return before != (state.plain, state.timer.refused)

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
        if 200 <= response.status < 300:
            self.proofs = 0
        if transaction is self.inviting:
            self._invite_response(response, now)
        elif (asker := self._asker(transaction)) is not None:
            again = prove_again(self, transaction, response, now)
            if again is None:
                asker.response(response, now)
            else:
                asker.pending = again
        elif transaction is self.bye:
            again = prove_again(self, transaction, response, now)
            if again is not None:
                self.bye = again
            elif response.status >= 200:
                self._done()
        elif self.ways.late(transaction, response, now):
            return
        elif transaction.method == "INVITE" and 200 <= response.status < 300:
            self.repeated_ok(response, now)

    def _asker(self, transaction: Transaction) -> Offers | Refresh | Info | Referrer | Check | None:
        """Whose open request within the dialog this is."""
        askers: tuple[Offers | Refresh | Info | Referrer | Check, ...] = (self.offers, self.refresh, self.info, self.referrer, self.check)
        return next((one for one in askers if one.pending is transaction), None)

    def _invite_response(self, response: Response, now: int) -> None:
        state, status = self.state, response.status
        if status < 200:
            state.provisional = True
            if self.phase is Phase.ENDING:
                self._cancel(now)
            elif self.phase is Phase.CALLING and status > 100:
                self.reliable.provisional(response, now)
            return
        assert self.invite is not None
        if status >= 300:
            self.inviting = None
            state.invite = b""
            if self.phase is Phase.CALLING:
                if self.ways.refused(response, now) or self._again(response, now):
                    return
                self._ended(now, "final", status, True, response.headers.get("reason"), forward_of(response))
                self._move("final")
            else:
                self._done()
            return
        if state.dialog is not None:
            self.repeated_ok(response, now)
            return
        dialog = client_dialog(self.invite, response, state.flow, state.symmetric)
        response = self.reliable.settle(dialog, response)
        state.dialog = dialog
        state.invite = b""
        state.local = self.invite.body
        self.host.bind_dialog(self, dialog)
        self.send_ack(dialog, response)
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
        self.refresh.accepted(response, now)
        self.host.emit(ev.CallAnswered(now, self.call, answer))

    def send_ack(self, dialog: Dialog, response: Response) -> None:
        number = response.cseq.number
        ack = dialog.request("ACK", self.branch(), cseq=number).render()
        acks = self.state.acks
        while len(acks) >= MAX_REMEMBERED_ACKS:
            del acks[next(iter(acks))]
        acks[f"{response.to.tag} {number}"] = ack
        self.host.transmit(self, ack, self._flow_of(dialog))

    def _flow_of(self, dialog: Dialog) -> Flow:
        return self.hop() if dialog is self.state.dialog else dialog.hop()

    def repeated_ok(self, response: Response, now: int) -> None:
        """A 2xx beyond the first: the same again (ACK again), or from another fork (ACK, then BYE)."""
        known = self.state.acks.get(f"{response.to.tag} {response.cseq.number}")
        dialog = self.state.dialog
        if known is not None:
            self.host.transmit(self, known, self.hop() if dialog is not None else self.state.flow)
            return
        if dialog is None or self.invite is None or response.to.tag == dialog.remote_tag:
            return
        fork = client_dialog(self.invite, response, self.state.flow, self.state.symmetric)
        self.send_ack(fork, response)
        self.host.transactions.request(fork.request("BYE", self.branch()), fork.hop(), None, now)

    def gone(self, status: int, now: int) -> None:
        self._ended(now, "gone", status, True)
        self._move("gone")
        self._send_bye(now)

    def expired(self, now: int) -> None:
        """The session interval is over and nobody refreshed it."""
        if self.phase is Phase.ACCEPTED:
            return                       # its 200 is not acknowledged, which ends it sooner
        self.state.reason = self.state.reason or EXPIRED_REASON
        self.gone(408, now)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _send_bye(self, now: int) -> None:
        dialog = self.state.dialog
        self.state.bye_due = False
        if dialog is None or self.bye is not None:
            return
        self.stop_ok()
        self.offers.abort(487, now)
        if self.request is not None and self.transaction is not None and self.request.to.tag:
            self.respond(self.request, self.transaction, 487, now)
            self.request = self.transaction = None
        bye = dialog.request("BYE", self.branch())
        if self.state.reason:
            bye.headers.add("Reason", self.state.reason)
        self.bye = self.host.transactions.request(bye, self.hop(), self, now)

    def _done(self) -> None:
        if self.phase is Phase.ENDING:
            self._move("done")

    def transaction_ended(self, transaction: Transaction, why: str, now: int) -> None:
        """A transaction of this session ended without an answer."""
        if transaction is self.bye:
            self._done()
        elif transaction is self.offers.pending:
            self.offers.unanswered(now)
        elif transaction is self.refresh.pending:
            self.refresh.unanswered(now)
        elif transaction is self.info.pending:
            self.info.unanswered(now)
        elif transaction is self.referrer.pending:
            self.referrer.unanswered(now)
        elif transaction is self.check.pending:
            self.check.unanswered(now)
        elif transaction is self.inviting:
            self.inviting = None
            self.state.invite = b""
            if self.ways.failed(why, now):
                return
            if self.phase is Phase.CALLING:
                self._ended(now, "timeout", 408 if why == "timed-out" else 503, True)
                self._move("timeout")
            elif self.state.dialog is None:
                self._done()

    def deadline(self) -> int | None:
        state = self.state
        soonest: int | None = None
        for at in (state.ok_at, state.ok_until, state.give_up_at, self.offers.retry_at, self.refresh.deadline(), self.reliable.deadline(),
                   state.way_until, self.referrer.until):  # fmt: skip
            if at is not None and (soonest is None or at < soonest):
                soonest = at
        return soonest

    def expire(self, now: int) -> None:
        """Run what is due."""
        state = self.state
        if state.ok_until is not None and state.ok_until <= now:
            self.stop_ok()
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
        self.ways.expire(now)
        if self.phase is Phase.OFFERED:
            self.reliable.expire(now)
        self.offers.expire(now)
        self.referrer.expire(now)
        if self.phase in (Phase.CONFIRMED, Phase.ACCEPTED):
            self.refresh.expire(now)
