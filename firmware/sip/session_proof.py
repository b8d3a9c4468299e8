"""Proving who we are when a far end asks within or at the begin of a call (L1).

Theory of operation
-------------------
RFC 3261 section 22.2: a 401 or 407 is answered by the same request with credentials, in a new transaction (new branch, next CSeq
number; the Call-ID and From tag stay). The credentials are those of the session's account (`Host.prove`). An INVITE that begins a
call is sent again by its session; what is within a dialog (BYE, re-INVITE, UPDATE) is sent again here.
Invariant: a request is proven at most `client_auth.MOST_ANSWERS` times, so that no far end can keep us busy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from firmware.sip.errors import Unframeable
from firmware.sip.headers import Headers
from firmware.sip.message import Request, Response
from firmware.sip.parse import parse_datagram
from firmware.sip.transaction import Transaction

if TYPE_CHECKING:
    from firmware.sip.session import Session

PROOFS = ("authorization", "proxy-authorization")


def without_proof(items: Iterable[tuple[str, str, str]]) -> Headers:
    """Headers (key, name, value) of a request without credentials."""
    return Headers((name, value) for key, name, value in items if key not in PROOFS)


def prove_again(session: Session, transaction: Transaction, response: Response, now: int) -> Transaction | None:
    """Send a request within the dialog again with credentials; the new transaction, None where that has no point."""
    dialog = session.state.dialog
    if response.status not in (401, 407) or dialog is None:
        return None
    try:
        before = parse_datagram(transaction.data)
    except Unframeable:
        return None
    if not isinstance(before, Request):
        return None
    proof = session.host.prove(session.state.account, before, response, session.proofs)
    if not proof:
        session.proofs = 0               # given up: the next request begins anew
        return None
    session.proofs += 1
    dialog.local_cseq += 1
    headers = without_proof(before.headers.items)
    headers.set("Via", before.via.with_params(branch=session.branch()).render())
    headers.set("CSeq", f"{dialog.local_cseq} {before.method}")
    for name, value in proof:
        headers.add(name, value)
    return session.host.transactions.request(Request(before.method, before.uri, headers, before.body), session.hop(), session, now)
