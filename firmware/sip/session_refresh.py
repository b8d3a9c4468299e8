"""Refreshing a call and ending one that is not refreshed (L1).

Theory of operation
-------------------
RFC 4028 sections 7.4 and 10 on the rules of `session_timer.py`. A refresh is an UPDATE without description where the peer allows
UPDATE, else a re-INVITE with the description that was agreed last, unchanged (so its version is, too: RFC 3264 section 8).
The same request tells whom the peer speaks with after a transfer or pick-up (`identify`).
Invariants: a refresh that is not answered, or answered 408 or 481, ends the call; one that is refused otherwise is tried again
while there is time, and the end of the interval ends the call in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware.sip.headers import Headers
from firmware.sip.message import Message, Request, Response
from firmware.sip.session_state import Phase
from firmware.sip.session_timer import accepted, answer_headers, request_headers, too_small
from firmware.sip.transaction import Transaction

if TYPE_CHECKING:
    from firmware.sip.session import Session

CSEQ_SKIP = 10_000
TELL_AGAIN_MS = 250                      # news of whom it speaks with that meets another transaction
AGAIN_MS = 2_000                         # a refresh that meets another transaction waits for its end
_NOT_UPDATE = (405, 420, 488, 501)       # answers to UPDATE that a re-INVITE may not meet


class Refresh:
    """The session timer of one session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.pending: Transaction | None = None          # our UPDATE

    def learn(self, message: Message) -> None:
        """What the peer allows; a message without Allow tells nothing."""
        allowed = message.headers.tokens("allow")
        if allowed:
            self.session.state.peer_update = "update" in allowed
            self.session.state.peer_info = "info" in allowed

    def request_headers(self, headers: Headers, *, first: bool = False) -> None:
        """Add to an INVITE or UPDATE of ours what it says of timers and extensions."""
        state, host = self.session.state, self.session.host
        tags = [tag for tag, refused in (("100rel", state.plain), ("timer", state.timer.refused)) if not refused]
        headers.add("Supported", ", ".join([*tags, "replaces"]))
        for name, value in request_headers(state.timer, host.settings.session_expires_s, first=first):
            headers.add(name, value)

    def answer_headers(self, request: Request, now: int) -> tuple[tuple[str, str], ...]:
        """Headers for our 2xx to an INVITE or UPDATE of the peer."""
        self.learn(request)
        return answer_headers(self.session.state.timer, request, self.session.host.settings.session_expires_s, now)

    def accepted(self, response: Response, now: int) -> None:
        """A 2xx to an INVITE or UPDATE of ours."""
        self.learn(response)
        accepted(self.session.state.timer, response, now)

    def identify(self, headers: tuple[tuple[str, str], ...], now: int) -> None:
        """Tell the peer with whom it speaks from now on (RFC 3325, RFC 4916 in spirit): UPDATE, else a re-INVITE that changes nothing."""
        state = self.session.state
        if headers != state.identity:
            state.identity, state.identity_at = headers, now
            self.expire(now)

    def adopted(self, now: int) -> None:
        """Another process took over. What it knows may be as old as the last journal entry: whoever refreshes, nobody is late,
        and our sequence numbers skip those of refreshes that are not in the journal."""
        state = self.session.state
        if state.timer.interval_s and state.dialog is not None:
            state.timer.start(state.timer.interval_s, state.timer.ours, now)
            state.dialog.local_cseq += CSEQ_SKIP
            if state.timer.ours:
                state.timer.refresh_at = now + AGAIN_MS

    def deadline(self) -> int | None:
        """Engine ms at which `expire` is due, None for never."""
        session = self.session
        if session.phase not in (Phase.CONFIRMED, Phase.ACCEPTED):
            return None
        timer = session.state.timer
        soonest: int | None = None       # asked after each message of a call
        for at in (timer.refresh_at, timer.ends_at, session.state.identity_at):
            if at is not None and (soonest is None or at < soonest):
                soonest = at
        return soonest

    def expire(self, now: int) -> None:
        """Refresh or end what is due."""
        session, timer = self.session, self.session.state.timer
        if timer.ends_at is not None and timer.ends_at <= now:
            timer.stop()
            session.expired(now)
        elif session.state.identity_at is not None and session.state.identity_at <= now:
            busy = self.pending is not None or session.offers.busy or session.phase is not Phase.CONFIRMED
            session.state.identity_at = now + TELL_AGAIN_MS if busy else None
            if not busy and (session.state.local or session.state.peer_update):
                self._send(now)
        elif timer.refresh_at is not None and timer.refresh_at <= now:
            busy = self.pending is not None or session.offers.busy or session.phase is not Phase.CONFIRMED or self._away(now)
            timer.refresh_at = now + AGAIN_MS if busy else None
            if not busy:
                self._send(now)

    def _away(self, now: int) -> bool:
        """The connection is gone and half of the interval is left: a phone that comes back is refreshed over its next one."""
        dialog, timer = self.session.state.dialog, self.session.state.timer
        early = timer.ends_at is not None and timer.ends_at - now > timer.interval_s * 500
        return early and dialog is not None and dialog.flow.reliable and not self.session.host.connected(dialog.flow)

    def _send(self, now: int) -> None:
        session = self.session
        dialog, local = session.state.dialog, session.state.local
        assert dialog is not None
        if local and not session.state.peer_update:
            session.offers.refresh(local, now)
            return
        update = dialog.request("UPDATE", session.branch(), contact=session.contact(dialog.flow))
        self.request_headers(update.headers)
        for name, value in session.state.identity:
            update.headers.add(name, value)
        self.pending = session.host.transactions.request(update, session.hop(), session, now)

    def response(self, response: Response, now: int) -> None:
        """An answer to our UPDATE."""
        session = self.session
        if response.status < 200:
            return
        self.pending = None
        if session.phase is not Phase.CONFIRMED:
            return
        if response.status < 300:
            if session.state.dialog is not None:
                session.state.dialog.refresh(response.contact, None)
            self.accepted(response, now)
        else:
            if response.status in _NOT_UPDATE:
                session.state.peer_update = False
                session.state.identity_at = now if session.state.identity else None
            self.failed(response, now)

    def failed(self, response: Response, now: int) -> None:
        """A refresh, by UPDATE or re-INVITE, was refused."""
        session, timer = self.session, self.session.state.timer
        if response.status in (408, 481):
            session.gone(response.status, now)
        elif timer.ends_at is not None:
            mended = (response.status == 422 and too_small(timer, response)) or response.status in _NOT_UPDATE
            timer.refresh_at = now + (1 if mended else max(AGAIN_MS, (timer.ends_at - now) // 2))

    def unanswered(self, now: int) -> None:
        """Our UPDATE had no answer at all."""
        self.pending = None
        if self.session.phase is Phase.CONFIRMED:
            self.session.gone(408, now)
