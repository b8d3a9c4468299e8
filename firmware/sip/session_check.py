"""Whether the peer of a call is still there, asked when nothing else would tell (L1).

Theory of operation
-------------------
A telephone that holds may send no speech, so one that lost its power while it held would keep the other party waiting until the session
timer ends the call, or for ever without one. OPTIONS within the dialog (RFC 3261 section 11, RFC 5057) changes nothing there; whatever the
answer is, somebody gave it, but for 408 and 481, which say that the dialog is gone. No answer at all ends the call, too.
Invariant: one question of a session at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware.sip.message import Response
from firmware.sip.session_state import Phase
from firmware.sip.transaction import Transaction

if TYPE_CHECKING:
    from firmware.sip.session import Session


class Check:
    """The question of one session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.pending: Transaction | None = None

    def ask(self, now: int) -> None:
        """Ask, unless an answer is still due."""
        session, dialog = self.session, self.session.state.dialog
        if self.pending is None and dialog is not None and session.phase is Phase.CONFIRMED:
            request = dialog.request("OPTIONS", session.branch())
            self.pending = session.host.transactions.request(request, session.hop(), session, now)

    def response(self, response: Response, now: int) -> None:
        """An answer to our OPTIONS."""
        if response.status < 200:
            return
        self.pending = None
        if response.status in (408, 481) and self.session.phase is Phase.CONFIRMED:
            self.session.gone(response.status, now)

    def unanswered(self, now: int) -> None:
        """Our OPTIONS had no answer at all."""
        self.pending = None
        if self.session.phase is Phase.CONFIRMED:
            self.session.gone(408, now)
