"""Which requests are acceptable, and what the others are answered (L1).

Theory of operation
-------------------
RFC 3261 sections 8.2 and 16.3. Two steps, because authentication stands between them: `check_syntax` before (505, 400,
416, 483: what is wrong whoever asks), `check_support` after (405, 501, 420, 415, 406: what we do not offer). Each gives
None or the refusal to send. Responses have no refusal: a bad one is dropped (`usable_response`).
Invariant: a request that passed `check_syntax` has readable Via, From, To, Call-ID, CSeq and Request-URI.
"""

from __future__ import annotations

import re

import msgspec

from firmware.sip.errors import SyntaxProblem
from firmware.sip.message import Request, Response
from firmware.sip.uri import parse_name_addr, parse_uri

METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "INFO")
KNOWN_METHODS = frozenset((*METHODS, "PRACK", "UPDATE", "REFER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH"))
ALLOW = ", ".join(METHODS)
ACCEPT = "application/sdp"
INFO_TYPES = ("application/dtmf-relay", "application/dtmf")

_ONCE = ("from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type", "expires", "min-expires", "date")
_CALL_ID = re.compile(r"[^\s,;]+\Z")
_NUMBER = re.compile(r"[0-9]+\Z")


class Refusal(msgspec.Struct, frozen=True):
    """A final answer: status, reason phrase ("" for the customary one) and extra headers."""

    status: int
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def check_syntax(request: Request) -> Refusal | None:
    """What is wrong with this request whoever sent it, None when nothing is."""
    if request.version != "2.0":
        return Refusal(505)
    if request.problems:
        return _bad(request.problems[0])
    headers = request.headers
    counts: dict[str, int] = {}
    for key, _, _ in headers.items:
        counts[key] = counts.get(key, 0) + 1
    for name in ("via", "from", "to", "call-id", "cseq"):
        if name not in counts:
            return _bad(f"missing {name}")
    for name in _ONCE:
        if counts.get(name, 0) > 1:
            return _bad(f"repeated {name}")
    try:
        if request.via.version != "2.0":
            return Refusal(505)
        cseq = request.cseq
        if cseq.method != request.method:
            return _bad("CSeq method is not the request method")
        if not _CALL_ID.match(request.call_id):
            return _bad("Call-ID")
        _ = request.from_, request.to
        if request.uri.startswith("<"):
            return _bad("Request-URI in angle brackets")
        uri = parse_uri(request.uri)
    except SyntaxProblem as problem:
        return _bad(problem.what)
    if not uri.is_sip:
        return Refusal(416)
    if uri.headers:
        return _bad("headers in the Request-URI")
    try:
        bad = _check_contacts(request)
    except SyntaxProblem as problem:
        return _bad(problem.what)
    if bad is not None:
        return bad
    forwards = headers.get("max-forwards", "70")
    if not _NUMBER.match(forwards) or len(forwards) > 8 or int(forwards) > 255:
        return _bad("Max-Forwards")
    if int(forwards) == 0 and not request.to.tag and request.method not in ("ACK", "CANCEL"):
        return Refusal(483)
    return None


def _check_contacts(request: Request) -> Refusal | None:
    for name in ("route", "record-route"):
        for value in request.headers.values(name):
            parse_name_addr(value)
    values = request.headers.values("contact")
    if values == ["*"]:
        return None if request.method == "REGISTER" else _bad("Contact *")
    for value in values:
        parse_name_addr(value)
    if len(values) > 1 and request.method == "INVITE":
        return _bad("more than one Contact")
    return None


def check_support(request: Request, *, methods: tuple[str, ...] = METHODS, extensions: frozenset[str] = frozenset()) -> Refusal | None:
    """What of this request we do not offer, None when all is offered. ACK and CANCEL are never refused."""
    method = request.method
    if method in ("ACK", "CANCEL"):
        return None
    if method not in methods:
        return Refusal(405 if method in KNOWN_METHODS else 501, headers=(("Allow", ", ".join(methods)),))
    try:
        missing = [value for value in request.headers.values("require") if value.lower() not in extensions]
        if missing:
            return Refusal(420, headers=(("Unsupported", ", ".join(missing)),))
        return _check_content(request)
    except SyntaxProblem as problem:
        return _bad(problem.what)


def _check_content(request: Request) -> Refusal | None:
    headers = request.headers
    encodings = [token for token in headers.tokens("content-encoding") if token != "identity"]
    if encodings and request.body:
        return Refusal(415, headers=(("Accept-Encoding", "identity"),))
    optional = "handling=optional" in headers.get("content-disposition").replace(" ", "").lower()
    if request.body and not optional:
        kind = request.content_type
        if request.method == "INVITE" and kind not in (ACCEPT, "multipart/mixed", "multipart/alternative"):
            return Refusal(415, headers=(("Accept", ACCEPT),))
        if request.method == "INFO" and kind not in INFO_TYPES:
            return Refusal(415, headers=(("Accept", ", ".join(INFO_TYPES)),))
    if request.method == "INVITE" and "accept" in headers:
        accepted = headers.tokens("accept")
        if accepted and not any(kind in (ACCEPT, "application/*", "*/*") for kind in accepted):
            return Refusal(406, headers=(("Accept", ACCEPT),))
    return None


def usable_response(response: Response) -> bool:
    """True when a response can be given to a transaction: one Via of ours on top, readable CSeq, a status of RFC 3261."""
    if response.version != "2.0" or not 100 <= response.status <= 699 or response.problems:
        return False
    try:
        return bool(response.via.branch) and response.cseq.number >= 0 and bool(response.from_.uri.scheme) and bool(response.to.uri.scheme)
    except SyntaxProblem:
        return False


def _bad(what: str) -> Refusal:
    clean = "".join(char for char in what if " " <= char < "\x7f")[:60]
    return Refusal(400, f"Bad Request ({clean})")
