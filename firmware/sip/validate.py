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

from firmware.sip.envelope import plain, usable
from firmware.sip.errors import SyntaxProblem
from firmware.sip.message import Request, Response
from firmware.sip.service import METHODS as SERVICE_METHODS
from firmware.sip.service import service_of
from firmware.sip.uri import parse_name_addr, parse_uri

METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "INFO", "PRACK", "UPDATE", "REFER", "SUBSCRIBE",
           "NOTIFY")  # fmt: skip
KNOWN_METHODS = frozenset((*METHODS, "PRACK", "UPDATE", "REFER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH"))
ALLOW = ", ".join(METHODS)
ACCEPT = "application/sdp"
EXTENSIONS = frozenset(("100rel", "replaces", "timer"))
REFER_EXTENSIONS = EXTENSIONS | {"tdialog"}                  # RFC 4538
SUPPORTED = "100rel, replaces, timer, tdialog"
SUBSCRIBE_EXTENSIONS = EXTENSIONS | {"eventlist"}            # RFC 4662
INFO_TYPES = ("application/dtmf-relay", "application/dtmf")

_NEEDED = ("via", "from", "to", "call-id", "cseq")
_ONCE = ("from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type", "expires", "min-expires", "date")
_ROUTES = ("route", "record-route")
_WISHES = ("replaces", "require")
_CONTENT = ("content-encoding", "content-disposition", "accept")
_CALL_ID = re.compile(r"[^\s,;]+\Z")
_NUMBER = re.compile(r"[0-9]+\Z")


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A final answer: status, reason phrase ("" for the customary one) and extra headers."""

    status: int
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def check_syntax(request: Request) -> Refusal | None:
    """What is wrong with this request whoever sent it, None when nothing is."""
    return None if plain(request) else _any_syntax(request)


def _any_syntax(request: Request) -> Refusal | None:
    if request.version != "2.0":
        return Refusal(505)
    if request.problems:
        return _bad(request.problems[0])
    headers = request.headers
    lacking = headers.lacks(_NEEDED)
    if lacking is not None:
        return _bad(f"missing {lacking}")
    if headers.repeated():
        for name in _ONCE:
            if headers.count(name) > 1:
                return _bad(f"repeated {name}")
    try:
        if request.via.version != "2.0":
            return Refusal(505)
        cseq = request.cseq
        if cseq.method != request.method:
            # RFC 4475 section 3.1.2.18: of a method that nobody knows, 501 says more than 400.
            return _bad("CSeq method is not the request method") if request.method in KNOWN_METHODS else _unknown_method(METHODS)
        if not _CALL_ID.match(request.call_id):
            return _bad("Call-ID")
        _ = request.from_
        if request.method == "REGISTER" and not request.to.uri.is_sip:
            return _bad("To is no address of record")     # RFC 4475 section 3.3.4: whoever asks, so before the challenge
        _ = request.to
        if request.uri.startswith("<"):
            return _bad("Request-URI in angle brackets")
        uri = parse_uri(request.uri)
    except SyntaxProblem as problem:
        return _bad(problem.what)
    if not uri.is_sip and not (request.method in SERVICE_METHODS and service_of(request.uri)):
        return Refusal(416)
    if uri.headers:
        return _bad("headers in the Request-URI")
    try:
        if request.method in ("INVITE", "UPDATE"):
            headers.tokens("supported")      # read again when the call is answered, where nobody could refuse it any more
        bad = _check_contacts(request)
    except SyntaxProblem as problem:
        return _bad(problem.what)
    if bad is not None:
        return bad
    forwards = headers.get("max-forwards", "70")
    if forwards == "70":                 # section 8.1.1.6: nearly always
        return None
    if not _NUMBER.match(forwards) or len(forwards) > 8 or int(forwards) > 255:
        return _bad("Max-Forwards")
    if int(forwards) == 0 and not request.to.tag and request.method not in ("ACK", "CANCEL"):
        return Refusal(483)
    return None


def _check_contacts(request: Request) -> Refusal | None:
    headers = request.headers
    if headers.any_of(_ROUTES):
        for name in _ROUTES:
            for value in headers.values(name):
                parse_name_addr(value)
    values = headers.values("contact")
    if values == ["*"]:
        return None if request.method == "REGISTER" else _bad("Contact *")
    for value in values:
        parse_name_addr(value)
    if len(values) > 1 and request.method == "INVITE":
        return _bad("more than one Contact")
    return None


def check_support(request: Request, *, methods: tuple[str, ...] = METHODS, extensions: frozenset[str] = EXTENSIONS) -> Refusal | None:
    """What of this request we do not offer, None when all is offered. ACK and CANCEL are never refused."""
    method = request.method
    if method in ("ACK", "CANCEL"):
        return None
    if method not in methods:
        return Refusal(405, headers=(("Allow", ", ".join(methods)),)) if method in KNOWN_METHODS else _unknown_method(methods)
    try:
        if request.headers.any_of(_WISHES):
            if method != "INVITE" and "replaces" in request.headers:
                return _bad("Replaces belongs to INVITE")          # RFC 3891 section 3
            missing = [value for value in request.headers.values("require") if value.lower() not in extensions]
            if missing:
                return Refusal(420, headers=(("Unsupported", ", ".join(missing)),))
        return _check_content(request)
    except SyntaxProblem as problem:
        return _bad(problem.what)


def _check_content(request: Request) -> Refusal | None:
    headers = request.headers
    if not request.body and not headers.any_of(_CONTENT):
        return None
    encodings = [token for token in headers.tokens("content-encoding") if token != "identity"]
    if encodings and request.body:
        return Refusal(415, headers=(("Accept-Encoding", "identity"),))
    optional = "handling=optional" in headers.get("content-disposition").replace(" ", "").lower()
    if request.body and not optional:
        kind = request.content_type
        if request.method in ("INVITE", "UPDATE", "PRACK") and kind not in (ACCEPT, "multipart/mixed", "multipart/alternative"):
            return Refusal(415, headers=(("Accept", ACCEPT),))
        if request.method == "INFO" and kind not in INFO_TYPES:
            return Refusal(415, headers=(("Accept", ", ".join(INFO_TYPES)),))
    if request.method == "INVITE" and "accept" in headers:
        accepted = headers.tokens("accept")
        if accepted and not any(kind in (ACCEPT, "application/*", "*/*") for kind in accepted):
            # RFC 4475 section 3.3.15: with a Warning 399 that says why.
            return Refusal(406, headers=(("Accept", ACCEPT), ("Warning", f'399 branchpbx "no answer without {ACCEPT}"')))
    return None


def usable_response(response: Response) -> bool:
    """True when a response can be given to a transaction: one Via of ours on top, readable CSeq, a status of RFC 3261."""
    return usable(response) or _any_usable(response)


def _any_usable(response: Response) -> bool:
    if response.version != "2.0" or not 100 <= response.status <= 699 or response.problems:
        return False
    vias = response.headers.get_all("via")
    try:
        if len(vias) != 1 or ("," in vias[0] and len(response.headers.values("via")) != 1):
            return False             # section 8.1.3.3: more than one Via is meant for a proxy, or for a broadcast address
        return bool(response.via.branch) and response.cseq.number >= 0 and bool(response.from_.uri.scheme) and bool(response.to.uri.scheme)
    except SyntaxProblem:
        return False


def _unknown_method(methods: tuple[str, ...]) -> Refusal:
    return Refusal(501, headers=(("Allow", ", ".join(methods)),))


def _bad(what: str) -> Refusal:
    clean = "".join(char for char in what if " " <= char < "\x7f")[:60]
    return Refusal(400, f"Bad Request ({clean})")
