"""REFER as its sender: the peer is asked to connect the far end of a call of ours with that of another one, or with a number (L1).

Theory of operation
-------------------
RFC 3515, 3891, 5589 sections 6 (blind transfer) and 7 (attended). Refer-To names a number, or the remote target of our other call with
Replaces of its dialog as the peer's side sees it. A refusal ends the matter; a 2xx makes a subscription whose NOTIFYs (message/sipfrag)
tell what it has come to. The calls stay as they are until then: whoever asked ends them when the peer has done it. A peer that says
nothing is waited for as long as whoever asks says.
Invariants: one referral of a session at a time; exactly one `ReferEnded` for each; a NOTIFY that belongs to none is 481.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from firmware.sip import events as ev
from firmware.sip.dialog import Dialog
from firmware.sip.message import Request, Response
from firmware.sip.session_state import Phase
from firmware.sip.transaction import Transaction

if TYPE_CHECKING:
    from firmware.sip.session import Session

_STATUS = re.compile(rb"SIP/2\.0 ([1-6][0-9][0-9])(?: |\r?\n|\Z)")


class Referrer:
    """The referral that a session has sent."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.pending: Transaction | None = None          # our REFER
        self.until: int | None = None                    # a referral is under way, and waited for so long
        self.accepted = False                            # the peer has agreed to try

    def refer(self, to: str, now: int, patience_ms: int) -> None:
        """Ask the peer to reach the URI `to` instead of us."""
        session, dialog = self.session, self.session.state.dialog
        if dialog is None or session.phase is not Phase.CONFIRMED or self.until is not None:
            session.host.emit(ev.ReferEnded(now, session.call, 491))
            return
        refer = dialog.request("REFER", session.branch(), contact=session.contact(dialog.flow))
        refer.headers.add("Refer-To", f"<{to}>")
        refer.headers.add("Referred-By", dialog.local)
        self.until, self.accepted = now + patience_ms, False
        self.pending = session.host.transactions.request(refer, session.hop(), session, now)

    def response(self, response: Response, now: int) -> None:
        """An answer to our REFER."""
        if response.status >= 200:
            self.pending = None
            self.accepted = response.status < 300
            if not self.accepted:
                self._over(response.status, now)

    def notify(self, request: Request, now: int) -> bool:
        """A NOTIFY of the peer; False when it belongs to no referral of ours."""
        if self.until is None or request.headers.get("event").partition(";")[0].strip().lower() != "refer":
            return False
        found = _STATUS.match(request.body)
        status = int(found[1]) if found else 0
        ended = request.headers.get("subscription-state").strip().lower().startswith("terminated")
        if status >= 200 or ended:
            self.accepted = True                         # also where its answer to the REFER is late
            self._over(status if status >= 200 else 408, now)
        return True

    def unanswered(self, now: int) -> None:
        """Our REFER had no answer at all."""
        self.pending = None
        self._over(408, now)

    def expire(self, now: int) -> None:
        """A peer that says nothing more has not done it."""
        if self.until is not None and self.until <= now:
            self._over(408, now)

    def _over(self, status: int, now: int) -> None:
        if self.until is not None:
            self.until = None
            self.session.host.emit(ev.ReferEnded(now, self.session.call, status, self.accepted))


def far_end(other: Dialog) -> str:
    """What names the far end of one of our dialogs to the peer, with Replaces: that side's own tag is our remote one."""
    replaces = f"{other.call_id};to-tag={other.remote_tag};from-tag={other.local_tag}"
    return f"{_bare(other.target)}?Replaces={_escape(replaces)}"


def _bare(target: str) -> str:
    """A Contact's URI without headers of its own."""
    return target.partition("?")[0]


def _escape(text: str) -> str:
    """Text as a header value within a URI (RFC 3261 section 19.1.1)."""
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_.!~*'()") else f"%{ord(char):02X}" for char in text)
