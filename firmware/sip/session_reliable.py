"""Provisional answers: reliable ones (PRACK), and the early dialogs they make (L1).

Theory of operation
-------------------
RFC 3262. Called: a caller that *requires* 100rel gets every 18x reliably, repeated from T1 doubling until its PRACK; without one in
64*T1 its INVITE is refused 504 (section 3). A caller that only supports it gets plain answers. Early audio is described in a 183; the
200 says the same again, unless the 183 was reliable: then it waits for its PRACK and says nothing (section 5). When the INVITE had no
offer, the first reliable answer would have to carry ours, so such a caller gets none and waits for the 200.
Calling: each To-tag of a provisional answer is an early dialog of its own, with the Contact, route set and sequence numbers of that fork:
its PRACK goes there, not to the Request-URI and not to another fork. Out of order, a reliable answer is dropped and comes again.
Invariants: one reliable answer is unacknowledged at a time; a PRACK that names no such answer is 481; early dialogs are bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware.sip import events as ev
from firmware.sip.body import find_sdp
from firmware.sip.dialog import Dialog, client_dialog
from firmware.sip.errors import SyntaxProblem
from firmware.sip.message import Request, Response
from firmware.sip.session_state import EarlyDialog, Phase, Unacknowledged
from firmware.sip.transaction import Transaction

if TYPE_CHECKING:
    from firmware.sip.session import Session

MOST_EARLY = 8
MAX_RSEQ = 2**31 - 1


def requires(message: Request | Response) -> bool:
    return "100rel" in message.headers.tokens("require")


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) < 2**32 else None


def parse_rack(text: str) -> tuple[int, int, str]:
    """Answer number, CSeq number and method of RAck. Raises SyntaxProblem."""
    fields = text.split()
    if len(fields) != 3:
        raise SyntaxProblem("RAck")
    rseq, cseq = _number(fields[0]), _number(fields[1])
    if rseq is None or cseq is None:
        raise SyntaxProblem("RAck")
    return rseq, cseq, fields[2]


class Reliable:
    """The provisional answers of one session, ours and the peer's."""

    def __init__(self, session: Session) -> None:
        self.session = session

    # --- called -------------------------------------------------------------------------------------------------------

    def ring(self, request: Request, transaction: Transaction, status: int, now: int) -> None:
        """Send a provisional answer the way this caller wants it, with the description of early audio where there is one."""
        session, state = self.session, self.session.state
        if not requires(request):
            session.respond(request, transaction, status, now, body=state.early_media)
            return
        news = bool(state.early_media) and not state.early_sure
        if state.late:
            return                       # see above
        if state.unacknowledged is not None:
            state.ring_due = status if news else state.ring_due
            return                       # one that waits for its PRACK says enough, unless there is audio to be told of
        state.early_sure, state.ring_due = state.early_sure or news, 0
        state.rseq = state.rseq + 1 if state.rseq else 1 + int(session.host.token(7), 16)
        headers = (("Require", "100rel"), ("RSeq", str(state.rseq)))
        session.respond(request, transaction, status, now, headers=headers, body=state.early_media if news else b"")
        timers = session.host.transactions.timers
        state.unacknowledged = Unacknowledged(
            state.rseq, request.cseq.number, transaction.data, transaction.flow, timers.t1, now + timers.t1, now + timers.limit
        )

    def acknowledged(self, request: Request, transaction: Transaction, now: int) -> None:
        """PRACK of the peer."""
        session, state = self.session, self.session.state
        rack = parse_rack(request.headers.get("rack"))
        waiting = state.unacknowledged
        right = waiting is not None and rack == (waiting.rseq, waiting.cseq, "INVITE")
        if right:
            state.unacknowledged = None
        session.respond(request, transaction, 200 if right else 481, now)
        if right and session.phase is Phase.OFFERED and session.request is not None and session.transaction is not None:
            if state.answer_due:
                session.answer_with(state.answer_due, now)
            elif state.ring_due:
                self.ring(session.request, session.transaction, state.ring_due, now)

    def deadline(self) -> int | None:
        """Engine ms at which `expire` is due, None for never."""
        waiting = self.session.state.unacknowledged
        return min(waiting.at, waiting.until) if waiting is not None and self.session.phase is Phase.OFFERED else None

    def expire(self, now: int) -> None:
        """Repeat the answer, or give up."""
        session, waiting = self.session, self.session.state.unacknowledged
        if waiting is None:
            return
        if waiting.until <= now:
            session.state.unacknowledged = None
            session.unheard(now)
        elif waiting.at <= now:
            session.host.transmit(session, waiting.data, waiting.flow)
            waiting.interval *= 2
            waiting.at = now + waiting.interval

    # --- calling ------------------------------------------------------------------------------------------------------

    def early(self, tag: str) -> EarlyDialog | None:
        """The early dialog with this To-tag."""
        return self.session.state.early.get(tag)

    def provisional(self, response: Response, now: int) -> None:
        """A provisional answer other than 100 to our INVITE."""
        session, tag = self.session, response.to.tag
        early = self._open(response) if tag else None
        if requires(response):
            rseq = _number(response.headers.get("rseq"))
            if early is None or rseq is None or (early.rseq and rseq != early.rseq + 1):
                return                   # a repetition, out of order, or without what a PRACK needs
            early.rseq = rseq
            self._acknowledge(early.dialog, rseq, response, now)
        try:
            answer = find_sdp(response)
        except SyntaxProblem:
            answer = None
        if response.status in (180, 182):
            session.host.emit(ev.CallRinging(now, session.call))
        if answer is not None:
            if early is not None:
                early.answer = response.body
                early.answer_type = response.headers.get("content-type")
            session.host.emit(ev.CallProgress(now, session.call, answer))

    def _open(self, response: Response) -> EarlyDialog | None:
        session, state = self.session, self.session.state
        known = state.early.get(response.to.tag)
        if known is not None:
            known.dialog.refresh(response.contact, None)
            return known
        if session.invite is None or len(state.early) >= MOST_EARLY:
            return None
        early = EarlyDialog(client_dialog(session.invite, response, state.flow, state.symmetric))
        state.early[response.to.tag] = early
        session.host.bind_dialog(session, early.dialog)
        return early

    def _acknowledge(self, dialog: Dialog, rseq: int, response: Response, now: int) -> None:
        session = self.session
        prack = dialog.request("PRACK", session.branch())
        prack.headers.add("RAck", f"{rseq} {response.cseq.number} INVITE")
        session.host.transactions.request(prack, dialog.hop(), session, now)

    def settle(self, dialog: Dialog, response: Response) -> Response:
        """The 2xx that makes `dialog`: numbers go on, other forks are forgotten; an answer that came before is put into it."""
        state = self.session.state
        mine = state.early.get(dialog.remote_tag)
        self.forget()
        if mine is None:
            return response
        dialog.local_cseq = max(dialog.local_cseq, mine.dialog.local_cseq)
        dialog.remote_cseq = max(dialog.remote_cseq, mine.dialog.remote_cseq)
        if response.body or not mine.answer:
            return response
        response.body = mine.answer
        response.headers.set("Content-Type", mine.answer_type)
        return response

    def forget(self) -> None:
        """Early dialogs are over."""
        for early in self.session.state.early.values():
            self.session.host.unbind_dialog(early.dialog)
        self.session.state.early = {}
