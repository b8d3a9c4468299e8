"""The ways of a first INVITE: one flow after the other until somebody answers (L1).

Theory of operation
-------------------
RFC 3263 section 4.3: a way fails by a transport failure, by silence, or by 503; then the same request goes over the next one, in a new
transaction (new branch, our end of the new flow). Any other answer is the answer. Silence is timer B, or `patience_ms` where the
caller does not want to wait that long: the transaction left behind lives on, and should that server wake up, it is cancelled, or
acknowledged and released, so that nobody is rung twice. A request that is too large for a datagram goes over TCP first (`streams.py`).
Invariants: a way is tried once; only ways that share our address are (the description names it); the ways end with the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware.sip import events as ev
from firmware.sip.dialog import client_dialog, via_value
from firmware.sip.errors import SyntaxProblem
from firmware.sip.flow import Flow
from firmware.sip.locate import fails_over
from firmware.sip.message import Request, Response
from firmware.sip.session_proof import without_proof
from firmware.sip.session_state import Phase
from firmware.sip.streams import STREAM_PATIENCE_MS, first_hop, stream_way
from firmware.sip.transaction import Transaction, build_cancel

if TYPE_CHECKING:
    from firmware.sip.session import Session

MAX_WAYS = 16
MAX_RETRY_AFTER_S = 3600


class Ways:
    """See the theory of operation above."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._patience_ms = 0
        self._stream: Flow | None = None
        self._left: dict[Transaction, bool] = {}         # given up without an answer -> cancelled since

    def begin(self, command: ev.PlaceCall, now: int) -> None:
        """Send the session's INVITE over the first way."""
        session, state = self._session, self._session.state
        assert session.invite is not None
        self._patience_ms = command.patience_ms
        uris = command.further_uris or (command.uri,) * len(command.further)
        ways = [one for one in zip(command.further, uris, strict=True) if one[0].local[0] == command.flow.local[0]][:MAX_WAYS]
        state.further, state.further_uris = [flow for flow, _ in ways], [uri for _, uri in ways]
        first = command.flow
        wanted = stream_way(session.invite, first, len(state.invite))
        self._stream = wanted if wanted is not None and session.host.takes_stream(first.remote) else None
        if self._stream is not None:
            state.further.insert(0, first)
            state.further_uris.insert(0, command.uri)
            self._over(self._stream, command.uri)
        self._send(now)

    def refused(self, response: Response, now: int) -> bool:
        """True where this final answer is not the last word: the next way is tried."""
        if not fails_over(response.status):
            return False
        text = response.headers.get("retry-after").split(";")[0].split("(")[0].strip()
        seconds = min(int(text[:6]), MAX_RETRY_AFTER_S) if text.isascii() and text.isdigit() else 0
        return self.failed("refused", now, seconds)

    def failed(self, why: str, now: int, retry_after_s: int = 0) -> bool:
        """This way is over ("failed", "timed-out", "refused"); True where the INVITE went over the next one."""
        session, state = self._session, self._session.state
        if self._stream is not None and self._stream == state.flow:
            session.host.streamless(state.flow.remote, now)
        else:
            session.host.emit(ev.WayFailed(now, session.call, state.flow, why, retry_after_s))
        if session.phase is not Phase.CALLING or not state.further or session.invite is None:
            return False
        self._over(state.further.pop(0), state.further_uris.pop(0) if state.further_uris else session.invite.uri)
        self._send(now)
        return True

    def expire(self, now: int) -> None:
        """Nobody has said anything for long enough."""
        session, state = self._session, self._session.state
        if state.way_until is None or state.way_until > now:
            return
        state.way_until = None
        if session.phase is Phase.CALLING and session.inviting is not None and not state.provisional:
            self._left[session.inviting] = False
            self.failed("timed-out", now)

    def late(self, transaction: Transaction, response: Response, now: int) -> bool:
        """True for an answer from a way that was given up: it must not ring there, nor talk."""
        if transaction not in self._left:
            return False
        session, request = self._session, transaction.request
        if request is None:
            return True
        if response.status < 200 and not self._left[transaction]:
            self._left[transaction] = True
            session.host.transactions.request(build_cancel(request), transaction.flow, None, now)
        elif 200 <= response.status < 300:
            try:
                dialog = client_dialog(request, response, transaction.flow, session.state.symmetric)
            except SyntaxProblem:
                return True
            session.send_ack(dialog, response)
            session.host.transactions.request(dialog.request("BYE", session.branch()), dialog.hop(), None, now)
        return True

    # --- inner --------------------------------------------------------------------------------------------------------

    def _send(self, now: int) -> None:
        session, state = self._session, self._session.state
        assert session.invite is not None
        patience = STREAM_PATIENCE_MS if self._stream is not None and self._stream == state.flow else self._patience_ms
        state.way_until = now + patience if patience and state.further else None
        session.inviting = session.host.transactions.request(session.invite, state.flow, session, now)

    def _over(self, flow: Flow, uri: str) -> None:
        """Make the same INVITE for another flow, and for the contact that is reached there."""
        session, state = self._session, self._session.state
        before = session.invite
        assert before is not None
        headers = without_proof(before.headers.items)      # another server, another nonce
        session.proofs = 0
        headers.set("Via", via_value(flow, session.branch()))
        headers.set("Contact", session.contact(flow, first_hop(before, uri).render()))
        session.reliable.forget()
        state.flow, state.provisional = flow, False
        session.invite = Request("INVITE", uri, headers, before.body)
        state.invite = session.invite.render()
