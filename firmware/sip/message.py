"""SIP requests, responses and their headers (L1).

Theory of operation
-------------------
RFC 3261 section 7. A message keeps its headers as received, in order; names compare without case and compact forms
(section 7.3.3) are the same name. Structured values (Via, CSeq, addresses) are parsed on demand and cached, because
most of them are never looked at. Text is UTF-8 with undecodable bytes kept as surrogates, so that what came in can be
copied out byte for byte. `problems` lists what the parser could frame but not accept: the validator answers it.
Invariant: a header value never contains CR or LF, so a copied value cannot split a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from firmware.sip.errors import SyntaxProblem
from firmware.sip.uri import (
    NameAddr,
    Params,
    find_param,
    join_host_port,
    parse_host_port,
    parse_name_addr,
    parse_params,
    render_params,
    split_outside,
)

COMPACT = {
    "a": "accept-contact", "b": "referred-by", "c": "content-type", "d": "request-disposition", "e": "content-encoding", "f": "from",
    "i": "call-id", "j": "reject-contact", "k": "supported", "l": "content-length", "m": "contact", "n": "identity-info", "o": "event",
    "r": "refer-to", "s": "subject", "t": "to", "u": "allow-events", "v": "via", "x": "session-expires", "y": "identity",
}
MAX_CSEQ = 2**31
_VIA = re.compile(
    r"(?P<name>[^\s/]+)\s*/\s*(?P<version>[^\s/]+)\s*/\s*(?P<transport>[A-Za-z0-9\-.!%*_+`'~]+)\s+"
    r"(?P<by>\[[^\]]*\][^;]*|[^;\[\]]+)(?P<rest>.*)\Z",
    re.DOTALL,
)
_CSEQ = re.compile(r"([0-9]{1,20})\s+(\S+)\Z")
_EXTRA_NAMES = {
    "call-id": "Call-ID", "cseq": "CSeq", "www-authenticate": "WWW-Authenticate", "mime-version": "MIME-Version", "rack": "RAck",
    "rseq": "RSeq", "min-se": "Min-SE",
}  # fmt: skip

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


class Via(msgspec.Struct, frozen=True):
    """One Via value."""

    transport: str                       # lower case
    host: str
    port: int                            # 0: not given
    params: Params = ()
    version: str = "2.0"

    def param(self, name: str) -> str | None:
        return find_param(self.params, name)

    @property
    def branch(self) -> str:
        return self.param("branch") or ""

    def with_params(self, **changes: str) -> Via:
        """Copy with parameters set (in place where present, appended otherwise)."""
        left = dict(changes)
        params = [(key, left.pop(key)) if key in left else (key, value) for key, value in self.params]
        return msgspec.structs.replace(self, params=tuple(params) + tuple(left.items()))

    def render(self) -> str:
        return f"SIP/{self.version}/{self.transport.upper()} {join_host_port(self.host, self.port)}{render_params(self.params)}"


class CSeq(msgspec.Struct, frozen=True):
    """Sequence number and method."""

    number: int
    method: str


def parse_via(text: str) -> Via:
    """Parse one Via value. Raises SyntaxProblem."""
    match = _VIA.match(text.strip())
    if match is None or match["name"].upper() != "SIP":
        raise SyntaxProblem("Via")
    try:
        host, port = parse_host_port(re.sub(r"\s+", "", match["by"]))
        return Via(transport=match["transport"].lower(), host=host, port=port, params=_via_params(match["rest"]), version=match["version"])
    except SyntaxProblem:
        raise SyntaxProblem("Via") from None


def _via_params(text: str) -> Params:
    # `received` may be an IPv6 address with or without brackets (RFC 5118 section 4.5), which the token rule would accept anyway.
    return parse_params(text)


def parse_cseq(text: str) -> CSeq:
    """Parse a CSeq value; the number must be below 2**31. Raises SyntaxProblem."""
    match = _CSEQ.match(text.strip())
    if match is None or int(match[1]) >= MAX_CSEQ:
        raise SyntaxProblem("CSeq")
    return CSeq(int(match[1]), match[2])


def canonical(name: str) -> str:
    """Lower-case long form of a header name."""
    key = name.lower()
    return COMPACT.get(key, key) if len(key) == 1 else key


def display_name(key: str) -> str:
    """Customary capitals of a canonical name."""
    known = _EXTRA_NAMES.get(key)
    return known if known is not None else "-".join(part.capitalize() for part in key.split("-"))


class Headers:
    """Ordered headers: (canonical name, name as written, value)."""

    __slots__ = ("items",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.items: list[tuple[str, str, str]] = [(canonical(name), name, value) for name, value in pairs]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((name, value) for _, name, value in self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __contains__(self, name: str) -> bool:
        key = canonical(name)
        return any(item[0] == key for item in self.items)

    def get(self, name: str, default: str = "") -> str:
        """First value of a header."""
        key = canonical(name)
        for item in self.items:
            if item[0] == key:
                return item[2]
        return default

    def get_all(self, name: str) -> list[str]:
        """Each header line's value, unsplit."""
        key = canonical(name)
        return [item[2] for item in self.items if item[0] == key]

    def values(self, name: str) -> list[str]:
        """All values of a comma-separated header, empty ones left out. Raises SyntaxProblem on unbalanced quotes."""
        return [part for line in self.get_all(name) for part in split_outside(line, ",") if part]

    def tokens(self, name: str) -> list[str]:
        """Values in lower case (Require, Supported, Accept...), parameters cut off."""
        return [value.split(";", 1)[0].strip().lower() for value in self.values(name)]

    def add(self, name: str, value: str) -> None:
        if "\r" in value or "\n" in value:
            raise SyntaxProblem(f"line break in {name}")
        self.items.append((canonical(name), name, value))

    def set(self, name: str, value: str) -> None:
        """Replace every line of this name by one, at the place of the first."""
        key = canonical(name)
        at = next((index for index, item in enumerate(self.items) if item[0] == key), len(self.items))
        self.items = [item for item in self.items if item[0] != key]
        if "\r" in value or "\n" in value:
            raise SyntaxProblem(f"line break in {name}")
        self.items.insert(min(at, len(self.items)), (key, name, value))

    def remove(self, name: str) -> None:
        key = canonical(name)
        self.items = [item for item in self.items if item[0] != key]

    def replace_first(self, name: str, old: str, new: str) -> None:
        """Replace the first comma-separated value of a header (used on the top Via)."""
        key = canonical(name)
        for index, item in enumerate(self.items):
            if item[0] == key:
                rest = split_outside(item[2], ",")[1:]
                self.items[index] = (key, item[1], ", ".join([new, *rest]) if rest else new)
                return


class Message:
    """What requests and responses share. Accessors parse on demand and raise SyntaxProblem."""

    __slots__ = ("_cseq", "_from", "_to", "_via", "body", "headers", "problems")

    def __init__(self, headers: Headers, body: bytes = b"", problems: tuple[str, ...] = ()) -> None:
        self.headers = headers
        self.body = body
        self.problems = problems
        self._via: Via | None = None
        self._from: NameAddr | None = None
        self._to: NameAddr | None = None
        self._cseq: CSeq | None = None

    @property
    def via(self) -> Via:
        """The top Via."""
        if self._via is None:
            values = split_outside(self.headers.get("via"), ",")
            self._via = parse_via(values[0])
        return self._via

    @property
    def from_(self) -> NameAddr:
        if self._from is None:
            self._from = parse_name_addr(self.headers.get("from"))
        return self._from

    @property
    def to(self) -> NameAddr:
        if self._to is None:
            self._to = parse_name_addr(self.headers.get("to"))
        return self._to

    @property
    def cseq(self) -> CSeq:
        if self._cseq is None:
            self._cseq = parse_cseq(self.headers.get("cseq"))
        return self._cseq

    @property
    def call_id(self) -> str:
        return self.headers.get("call-id").strip()

    @property
    def contact(self) -> NameAddr | None:
        """The first Contact, None when absent."""
        values = self.headers.values("contact")
        return parse_name_addr(values[0]) if values else None

    @property
    def content_type(self) -> str:
        """Media type in lower case without parameters, "" when absent."""
        return self.headers.get("content-type").split(";", 1)[0].strip().lower()

    def start_line(self) -> str:
        raise NotImplementedError

    def set_top_via(self, via: Via) -> None:
        self._via = via
        self.headers.replace_first("via", "", via.render())

    def render(self) -> bytes:
        """Wire form; Content-Length is written last and from the body."""
        lines = [self.start_line()]
        lines += [f"{name}: {value}" for key, name, value in self.headers.items if key != "content-length"]
        lines.append(f"Content-Length: {len(self.body)}\r\n\r\n")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + self.body


class Request(Message):
    """A request; `uri` is the Request-URI as received."""

    __slots__ = ("method", "uri", "version")

    def __init__(
        self, method: str, uri: str, headers: Headers, body: bytes = b"", version: str = "2.0", problems: tuple[str, ...] = ()
    ) -> None:
        super().__init__(headers, body, problems)
        self.method = method
        self.uri = uri
        self.version = version

    def start_line(self) -> str:
        return f"{self.method} {self.uri} SIP/{self.version}"


class Response(Message):
    """A response."""

    __slots__ = ("reason", "status", "version")

    def __init__(
        self, status: int, reason: str, headers: Headers, body: bytes = b"", version: str = "2.0", problems: tuple[str, ...] = ()
    ) -> None:
        super().__init__(headers, body, problems)
        self.status = status
        self.reason = reason
        self.version = version

    def start_line(self) -> str:
        return f"SIP/{self.version} {self.status} {self.reason}"


_COPIED = ("via", "from", "to", "call-id", "cseq")


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
    out = Headers()
    dialog_forming = request.method == "INVITE" and 100 < status < 300
    for key, _, value in request.headers.items:
        if key not in _COPIED and not (dialog_forming and key == "record-route"):
            continue
        if "\r" in value or "\n" in value:
            continue
        if key == "to" and to_tag and status != 100 and not _has_tag(value):
            value = f"{value};tag={to_tag}"
        out.add(display_name(key), value)
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
