"""SIP requests and responses: what they are made of, and how a response is made of a request (L1).

Theory of operation
-------------------
RFC 3261 section 7. Requests and responses are in `envelope.pyx`, their headers in `headers.pyx`, Via and CSeq in `via.py`. Text is UTF-8
with undecodable bytes kept as surrogates, so that what came in can be copied out byte for byte. `problems` lists what the parser could
frame but not accept: the validator answers it.
Invariant: a header value never contains CR or LF, so a copied value cannot split a message.
"""

from __future__ import annotations

from collections.abc import Iterable

from firmware.sip.envelope import Message, Request, Response
from firmware.sip.errors import SyntaxProblem
from firmware.sip.headers import Headers
from firmware.sip.uri import parse_name_addr
from firmware.sip.via import MAX_CSEQ, CSeq, Via, parse_cseq, parse_via

__all__ = ["MAX_CSEQ", "REASONS", "CSeq", "Headers", "Message", "Request", "Response", "Via", "parse_cseq", "parse_via", "respond"]

REASONS = {
    100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress", 200: "OK", 202: "Accepted",
    300: "Multiple Choices", 301: "Moved Permanently", 302: "Moved Temporarily", 305: "Use Proxy", 380: "Alternative Service",
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable",
    407: "Proxy Authentication Required", 408: "Request Timeout", 410: "Gone", 413: "Request Entity Too Large", 414: "Request-URI Too Long",
    415: "Unsupported Media Type", 416: "Unsupported URI Scheme", 420: "Bad Extension", 421: "Extension Required",
    422: "Session Interval Too Small", 423: "Interval Too Brief", 480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops",
    484: "Address Incomplete", 485: "Ambiguous", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event",
    491: "Request Pending", 493: "Undecipherable", 500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Server Time-out", 505: "Version Not Supported", 513: "Message Too Large", 580: "Precondition Failure",
    600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}


def respond(
    request: Request,
    status: int,
    *,
    to_tag: str = "",
    reason: str = "",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    content_type: str = "",
) -> Response:
    """Response to a request (RFC 3261 section 8.2.6), made of whatever of Via, From, To, Call-ID and CSeq could be read.

    `to_tag` is added to a To without one, except on 100. Record-Route is copied into 1xx and 2xx of an INVITE.
    """
    dialog_forming = request.method == "INVITE" and 100 < status < 300
    out = request.headers.answering(to_tag if status != 100 else "", dialog_forming, _has_tag)
    for name, value in headers:
        out.add(name, value)
    if body:
        out.add("Content-Type", content_type)
    return Response(status, reason or REASONS.get(status, "Unknown"), out, body)


def _has_tag(value: str) -> bool:
    try:
        return parse_name_addr(value).param("tag") is not None
    except SyntaxProblem:
        return ";tag=" in value.lower()
