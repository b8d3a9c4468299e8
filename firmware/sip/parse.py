"""Bytes to messages: datagrams and streams (L1).

Theory of operation
-------------------
RFC 3261 sections 7.5 and 18.3, RFC 5626 section 3.5.1 (keep-alive). The parser refuses only what it cannot frame
(`Unframeable`); every other defect is noted in `Message.problems` for the validator to answer. Lines end in CRLF and
nothing else: a bare CR or LF would let framer and parser disagree about where a message ends.
Invariants: on a stream the framer holds at most the header cap plus the body cap; after a framing error nothing more is
read from that connection, because the next byte may belong to another message; a CRLF is a keep-alive only between
messages.
"""

from __future__ import annotations

import re

import msgspec

from firmware.sip import scan
from firmware.sip.envelope import datagram
from firmware.sip.errors import Unframeable
from firmware.sip.headers import Headers, canonical
from firmware.sip.message import Message, Request, Response
from firmware.sip.names import CANONICAL

MAX_HEADER = 64 * 1024
MAX_BODY = 256 * 1024
MAX_HEADER_LINES = 256
MAX_QUOTED = 256                         # characters kept of a request line that is none

_REQUEST_LINE = re.compile(r"([A-Za-z0-9\-.!%*_+`'~]+) (\S+) SIP/([0-9]+\.[0-9]+)\Z")
_VERSION = re.compile(r"SIP/([0-9]+\.[0-9]+)\Z")
_STATUS_LINE = re.compile(r"SIP/([0-9]+\.[0-9]+) ([0-9]+)(?: (.*))?\Z", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+\Z")


class Ping(msgspec.Struct, frozen=True):
    """A double CRLF between messages: the peer wants one CRLF back."""


class Broken(msgspec.Struct, frozen=True):
    """The stream cannot be followed any more. `message` is what could be read of the message at fault, if a request."""

    reason: str
    status: int = 400
    message: Request | None = None


def _parse_head(head: bytes) -> tuple[Message, list[str]]:
    """Start line and headers (without the empty line) to a message without body, and the list of its problems."""
    usual = scan.head(head, CANONICAL, MAX_HEADER_LINES - 1)
    if usual is None:
        return _any_head(head)
    (first, second), items = usual
    headers = Headers()
    headers.items = items
    return Request(first, second, headers) if isinstance(first, str) else Response(first, second, headers), []


def _any_head(head: bytes) -> tuple[Message, list[str]]:
    problems: list[str] = []
    text = head.decode("utf-8", "surrogateescape")
    lines = text.split("\r\n")
    start = lines[0]
    headers = Headers()
    items = headers.items
    if len(lines) > MAX_HEADER_LINES:
        problems.append("too many headers")
        lines = lines[:MAX_HEADER_LINES]
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if line[:1] in (" ", "\t"):
            if items:
                key, name, value = items[-1]
                items[-1] = (key, name, f"{value} {line.strip()}".strip())
                continue
            problems.append("continuation before the first header")
            continue
        name = name.rstrip(" \t")
        if not colon or not _NAME.match(name):
            problems.append("header line")
            continue
        value = value.strip(" \t")
        if "\n" in value or "\r" in value:
            problems.append("bare CR or LF")
            value = value.replace("\r", " ").replace("\n", " ")
        items.append((canonical(name), name, value))
    status = _STATUS_LINE.match(start)
    if status is not None:
        if len(status[2]) != 3:
            raise Unframeable(f"status code of {len(status[2])} digits; it has three")
        return Response(int(status[2]), status[3] or "", headers, version=status[1]), problems
    match = _REQUEST_LINE.match(start)
    if match is not None:
        return Request(match[1], match[2], headers, version=match[3]), problems
    problems.insert(0, "request line")
    return _loose_request(start, headers), problems


def _loose_request(start: str, headers: Headers) -> Request:
    """What can be made of a malformed request line, so that its sender gets an answer. Raises Unframeable.

    Split by hand, not by a pattern: a line of 60 kB of spaces must cost no more than its length.
    """
    words = start.split()
    if words and _NAME.match(words[0]) and not words[0].upper().startswith("SIP/"):
        version = _VERSION.match(words[-1])
        if version is not None and len(words) >= 3:
            uri = start.strip()[len(words[0]) : -len(words[-1])].strip()
            return Request(words[0], uri, headers, version=version[1])
        if "via" in headers:
            return Request(words[0], " ".join(words[1:])[:MAX_QUOTED], headers)
    raise Unframeable("no SIP start line")


def _content_length(message: Message, problems: list[str]) -> int | None:
    """Announced body length, None when absent; a defect goes to `problems` and gives -1."""
    values = message.headers.get_all("content-length")
    if not values:
        return None
    if len(values) > 1:
        problems.append("repeated Content-Length")
        return -1
    text = values[0]
    if not (text.isdigit() and text.isascii() and len(text) <= 9):
        problems.append("Content-Length")
        return -1
    return int(text)


def parse_datagram(data: bytes) -> Message | None:
    """Parse one datagram; None for a keep-alive (nothing but CR and LF, or an empty datagram).

    Raises Unframeable when no start line can be read or the header is over its cap.
    """
    usual = datagram(data, CANONICAL, MAX_HEADER_LINES - 1, MAX_HEADER)
    return usual if usual is not None else _any_datagram(data)


def _any_datagram(data: bytes) -> Message | None:
    data = data.lstrip(b"\r\n")
    if not data.strip(b"\x00"):
        return None
    end = data.find(b"\r\n\r\n")
    if end < 0:
        head, body = data.rstrip(b"\r\n"), b""
    else:
        head, body = data[:end], data[end + 4 :]
    if len(head) > MAX_HEADER:
        raise Unframeable(f"header of {len(head)} bytes; the cap is {MAX_HEADER}")
    message, problems = _parse_head(head)
    if end < 0:
        problems.append("no empty line after the headers")
    length = _content_length(message, problems)
    if length is not None and length >= 0:
        if length > len(body):
            problems.append("body shorter than Content-Length")
        body = body[:length]
    message.body = body
    message.problems = tuple(problems)
    return message


class StreamFramer:
    """Cuts a byte stream into messages; `feed` may be given any split of it."""

    __slots__ = ("_broken", "_buffer", "_crlf", "_message", "_need", "_problems", "_scanned", "messages")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._message: Message | None = None
        self._problems: list[str] = []
        self._need = 0
        self._crlf = 0
        self._broken = False
        self.messages = 0

    @property
    def buffered(self) -> int:
        """Bytes held."""
        return len(self._buffer)

    @property
    def idle(self) -> bool:
        """True between messages."""
        return self._message is None and not self._buffer

    def feed(self, data: bytes) -> list[Message | Ping | Broken]:
        """Take received bytes, give what is complete; after a `Broken` (always last) further bytes are ignored."""
        out: list[Message | Ping | Broken] = []
        if self._broken:
            return out
        self._buffer += data
        while not self._broken:
            if self._message is None and not self._next_head(out):
                break
            if self._message is None:
                continue
            if len(self._buffer) < self._need:
                break
            self._message.body = bytes(self._buffer[: self._need])
            del self._buffer[: self._need]
            self._message.problems = tuple(self._problems)
            out.append(self._message)
            self.messages += 1
            self._message = None
        return out

    def _next_head(self, out: list[Message | Ping | Broken]) -> bool:
        """Skip keep-alives and read one header block; False when more bytes are needed."""
        buffer = self._buffer
        skip = 0
        while buffer[skip : skip + 2] == b"\r\n":
            skip += 2
            self._crlf += 1
        if skip:
            del buffer[:skip]
            self._scanned = 0
            if self._crlf >= 2:
                self._crlf = 0
                if not (out and isinstance(out[-1], Ping)):      # one answer is enough for a burst of pings
                    out.append(Ping())
        if not buffer or buffer == b"\r":
            return False
        self._crlf = 0
        end = buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        if end > MAX_HEADER or (end < 0 and len(buffer) > MAX_HEADER):
            self._break(out, Broken(f"header over {MAX_HEADER} bytes", 513))
            return False
        if end < 0:
            self._scanned = len(buffer)
            return False
        head = bytes(buffer[:end])
        del buffer[: end + 4]
        self._scanned = 0
        try:
            message, problems = _parse_head(head)
        except Unframeable as problem:
            self._break(out, Broken(str(problem)))
            return False
        request = message if isinstance(message, Request) else None
        length = _content_length(message, problems)
        if length is None:
            self._break(out, Broken("Content-Length is mandatory on a stream", 400, request))
        elif length < 0:
            self._break(out, Broken("Content-Length", 400, request))
        elif length > MAX_BODY:
            self._break(out, Broken(f"body over {MAX_BODY} bytes", 513, request))
        else:
            self._message, self._problems, self._need = message, problems, length
        return not self._broken

    def _break(self, out: list[Message | Ping | Broken], broken: Broken) -> None:
        self._broken = True
        self._buffer.clear()
        out.append(broken)
