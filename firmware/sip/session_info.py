"""Keys that we send in INFO, to a telephone that takes them no other way (L1).

Theory of operation
-------------------
RFC 6086 with the two body types that telephones know: application/dtmf-relay (Signal, Duration), and application/dtmf where the first is
refused 415. One INFO at a time, so keys arrive in the order they were pressed. A telephone that refuses both is told to
the owner with what is left (`InfoRefused`), who sends it as tones.
Invariants: what waits is bounded; an INFO that is answered 481 or 408, or not at all, ends the call like any other request (RFC 5057).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware.sip import events as ev
from firmware.sip.message import Response
from firmware.sip.session_state import Phase
from firmware.sip.transaction import Transaction

if TYPE_CHECKING:
    from firmware.sip.session import Session

KEY_MS = 160
MOST_WAITING = 64


class Info:
    """Keys of one session towards its peer."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.pending: Transaction | None = None
        self.key = ""                                    # in the INFO that is unanswered
        self.waiting = ""
        self.bare = False                                # application/dtmf: the other type was refused

    def send(self, digits: str, now: int) -> None:
        """Queue keys (0-9*#A-D)."""
        self.waiting = (self.waiting + digits)[:MOST_WAITING]
        self._next(now)

    def _next(self, now: int) -> None:
        session, dialog = self.session, self.session.state.dialog
        if self.pending is not None or not self.waiting or dialog is None or session.phase not in (Phase.ACCEPTED, Phase.CONFIRMED):
            return
        self.key, self.waiting = self.waiting[0], self.waiting[1:]
        self._ask(now)

    def _ask(self, now: int) -> None:
        session, dialog = self.session, self.session.state.dialog
        assert dialog is not None
        request = dialog.request("INFO", session.branch())
        request.headers.add("Content-Type", "application/dtmf" if self.bare else "application/dtmf-relay")
        request.body = self.key.encode() if self.bare else f"Signal={self.key}\r\nDuration={KEY_MS}\r\n".encode()
        self.pending = session.host.transactions.request(request, session.hop(), session, now)

    def response(self, response: Response, now: int) -> None:
        """An answer to our INFO."""
        session = self.session
        if response.status < 200:
            return
        self.pending = None
        if session.phase not in (Phase.ACCEPTED, Phase.CONFIRMED):
            return
        if response.status < 300:
            self.key = ""
            self._next(now)
        elif response.status in (408, 481) and session.phase is Phase.CONFIRMED:
            session.gone(response.status, now)
        elif response.status == 415 and not self.bare:
            self.bare = True
            self._ask(now)
        else:
            left, self.key, self.waiting = self.key + self.waiting, "", ""
            session.host.emit(ev.InfoRefused(now, session.call, left))

    def unanswered(self, now: int) -> None:
        """Our INFO had no answer at all."""
        self.pending = None
        if self.session.phase is Phase.CONFIRMED:
            self.session.gone(408, now)
