"""Offers within a call: re-INVITE and UPDATE, ours and the peer's (L1).

Theory of operation
-------------------
RFC 3261 section 14, RFC 3311 section 5. One offer is open at a time: of two that cross, both are refused 491 and a re-INVITE is tried again
after a random time (14.1: 2.1 to 4 s for the owner of the Call-ID, up to 2 s for the other); an offer that comes while
another of the same side waits for its answer is refused 500 with Retry-After. An UPDATE may come before the final answer; one without
description is answered at once.
Invariant: an offer that is refused leaves the call as it was, 408 and 481 aside, which end it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware.sip import events as ev
from firmware.sip.body import find_sdp
from firmware.sip.dialog import Dialog
from firmware.sip.errors import SessionProblem, SyntaxProblem
from firmware.sip.flow import Flow
from firmware.sip.message import Request, Response
from firmware.sip.sdp import Description
from firmware.sip.session_state import SDP, Phase
from firmware.sip.session_timer import too_small
from firmware.sip.transaction import Transaction
from firmware.sip.validate import ALLOW, Refusal

if TYPE_CHECKING:
    from firmware.sip.session import Session


class Offers:
    """The offers of a session after its first."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.pending: Transaction | None = None          # our re-INVITE
        self.wanted = b""                                # what it offers
        self.later = b""                                 # the owner's offer that came while a refresh is under way
        self.refreshing = False                          # it is there for the session timer: its owner asked for nothing
        self.retry_at: int | None = None                 # again after a 491
        self.peer_late = False                           # our last 200 to a re-INVITE carried an offer
        self.update: tuple[Request, Transaction] | None = None   # the peer's UPDATE whose offer we have not answered

    @property
    def busy(self) -> bool:
        """True while an offer is open."""
        return self.pending is not None or self.update is not None or self.session.request is not None

    # --- the peer's ---------------------------------------------------------------------------------------------------

    def receive_reinvite(self, request: Request, reply: Flow, flow: Flow, now: int) -> Refusal | None:
        session = self.session
        if session.phase is Phase.ENDING:
            return Refusal(481)
        if self.pending is not None or session.phase is not Phase.CONFIRMED:
            return Refusal(491)
        if session.request is not None or self.update is not None:
            return self._later()
        offer, refusal = _description(request)
        if refusal is not None:
            return refusal
        if session.state.ok:
            session.stop_ok()                             # a new INVITE shows that the earlier 200 arrived
        session.transaction = session.host.transactions.accept(request, reply, session)
        session.request = request
        self.peer_late = offer is None
        assert session.state.dialog is not None
        session.state.dialog.refresh(request.contact, flow)
        session.respond(request, session.transaction, 100, now)
        session.host.emit(ev.Reoffered(now, session.call, offer))
        return None

    def receive_update(self, request: Request, reply: Flow, flow: Flow, dialog: Dialog, now: int) -> Refusal | None:
        session = self.session
        if session.phase is Phase.ENDING:
            return Refusal(481)
        offer, refusal = _description(request)
        if refusal is None and self.update is not None:
            refusal = self._later()
        if refusal is None and offer is not None:
            refusal = self._open_offer(request.from_.tag)
        if refusal is not None:
            return refusal
        transaction = session.host.transactions.accept(request, reply, session)
        dialog.refresh(request.contact, flow)
        if offer is None:
            session.respond(request, transaction, 200, now)
        else:
            self.update = (request, transaction)
            session.host.emit(ev.Reoffered(now, session.call, offer))
        return None

    def _open_offer(self, tag: str) -> Refusal | None:
        """What an UPDATE with an offer meets: an offer of ours that is open, or one of the peer (RFC 3311 section 5.2)."""
        session, state = self.session, self.session.state
        answered = session.phase is Phase.OFFERED and state.early_sure and state.unacknowledged is None
        if session.request is not None and not answered:
            return self._later()
        early = state.early.get(tag)
        unanswered = session.phase is Phase.CALLING and (early is None or not early.answer)
        late = (session.phase is Phase.ACCEPTED and state.late) or (self.peer_late and bool(state.ok))
        return Refusal(491) if self.pending is not None or unanswered or late else None

    def _later(self) -> Refusal:
        return Refusal(500, headers=(("Retry-After", str(int(self.session.host.token(4), 16) % 10)),))

    def answer(self, description: Description, now: int) -> None:
        """The owner's answer to the peer's offer, or its offer to a re-INVITE without one."""
        session = self.session
        if self.update is not None:
            request, transaction = self.update
            self.update = None
            session.state.local = description.build()
            session.respond(request, transaction, 200, now, body=session.state.local)
        elif session.phase is Phase.CONFIRMED and session.request is not None and session.transaction is not None:
            session.accept_final(session.request, session.transaction, now, description.build())
            session.request = session.transaction = None

    def refuse(self, status: int, now: int) -> None:
        """The owner cannot take the peer's offer."""
        session = self.session
        if self.update is not None:
            self.abort(status, now)
        elif session.phase is Phase.CONFIRMED and session.request is not None and session.transaction is not None:
            session.respond(session.request, session.transaction, status, now)
            session.request = session.transaction = None
            self.peer_late = False

    def abort(self, status: int, now: int) -> None:
        """Refuse an open UPDATE of the peer."""
        if self.update is not None:
            request, transaction = self.update
            self.update = None
            self.session.respond(request, transaction, status, now)

    # --- ours ---------------------------------------------------------------------------------------------------------

    def offer(self, description: Description, now: int) -> None:
        """Send a re-INVITE for the owner."""
        if self.session.phase is Phase.CONFIRMED and self.refreshing and self.pending is not None:
            self.later = description.build()
            return
        if self.session.phase is not Phase.CONFIRMED or self.busy:
            raise SessionProblem(f"re-INVITE in phase {self.session.phase} of call {self.session.call}")
        self.refreshing = False
        self._send(description.build(), now)

    def refresh(self, local: bytes, now: int) -> None:
        """Send a re-INVITE that changes nothing."""
        self.refreshing = True
        self._send(local, now)

    def _send(self, body: bytes, now: int) -> None:
        session, dialog = self.session, self.session.state.dialog
        assert dialog is not None
        self.retry_at = None
        self.wanted = body
        request = dialog.request("INVITE", session.branch(), contact=session.contact(dialog.flow))
        request.headers.add("Allow", ALLOW)
        session.refresh.request_headers(request.headers)
        for name, value in session.state.identity:
            request.headers.add(name, value)
        request.headers.add("Content-Type", SDP)
        request.body = body
        self.pending = session.host.transactions.request(request, session.hop(), session, now)

    def response(self, response: Response, now: int) -> None:
        """An answer to our re-INVITE."""
        session, state, status = self.session, self.session.state, response.status
        dialog = state.dialog
        if status < 200 or dialog is None:
            return
        self.pending = None
        if 200 <= status < 300:
            dialog.refresh(response.contact, None)
            session.send_ack(dialog, response)
            try:
                answer = find_sdp(response)
            except SyntaxProblem:
                answer = None
            if session.phase is Phase.CONFIRMED:
                state.local = self.wanted
                session.refresh.accepted(response, now)
                session.host.emit(ev.OfferAnswered(now, session.call, answer))
        elif session.phase is not Phase.CONFIRMED:
            return
        elif status in (408, 481):
            session.gone(status, now)
        elif status == 491:
            # section 14.1: the owner of the Call-ID waits 2.1 to 4 s, the other side up to 2 s
            random = int(session.host.token(4), 16)
            wait = 2100 + random % 191 * 10 if state.outgoing else random % 201 * 10
            self.retry_at = now + wait
        elif self.refreshing:
            session.refresh.failed(response, now)
        elif status == 422 and too_small(state.timer, response):
            self._send(self.wanted, now)
        else:
            session.host.emit(ev.OfferRefused(now, session.call, status))
        if self.later and session.phase is Phase.CONFIRMED:
            self.wanted, self.later, self.refreshing = self.later, b"", False
            self.retry_at = now if self.retry_at is None else self.retry_at

    def unanswered(self, now: int) -> None:
        """Our re-INVITE had no answer at all."""
        self.pending = None
        if self.session.phase is Phase.CONFIRMED:
            self.session.gone(408, now)

    def expire(self, now: int) -> None:
        """Try again after a glare; a peer that was faster is let finish first."""
        if self.retry_at is None or self.retry_at > now:
            return
        self.retry_at = None
        if self.session.phase is Phase.CONFIRMED:
            if self.busy:
                self.retry_at = now + 500
            else:
                self._send(self.wanted, now)


def _description(request: Request) -> tuple[Description | None, Refusal | None]:
    try:
        return find_sdp(request), None
    except SyntaxProblem as problem:
        return None, Refusal(488, headers=(("Warning", f'399 branchpbx "{problem.what}"'),))
