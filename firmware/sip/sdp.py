"""Session descriptions: parse and build (L1). The offer/answer rules are in `offer.py`.

Theory of operation
-------------------
RFC 8866 (and 4566), RFC 3605 (`a=rtcp`). Lines may end in LF or CRLF and unknown lines are skipped: a description that
can be understood is used. Limits bound what a peer can make us keep. Only `SyntaxProblem` is raised. The text of a
`MediaLine` shows no key (`a=crypto`), so that none gets into a log.
"""

from __future__ import annotations

import msgspec

from firmware.sip import scan
from firmware.sip.errors import SyntaxProblem

MAX_LINES = 400
MAX_MEDIA = 16
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
STATIC_PAYLOADS = {
    0: ("pcmu", 8000), 3: ("gsm", 8000), 4: ("g723", 8000), 8: ("pcma", 8000), 9: ("g722", 8000), 13: ("cn", 8000), 18: ("g729", 8000),
}  # fmt: skip


class Rtpmap(msgspec.Struct, frozen=True):
    """Encoding name (lower case) and clock rate in Hz of a payload type."""

    encoding: str
    clock: int


class MediaLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One m-line with its own connection address ("" = the session's) and attributes."""

    kind: str
    port: int
    proto: str
    formats: tuple[str, ...]
    address: str = ""
    attributes: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        attributes = [f"{name}:{'*' if name in ('crypto', 'ice-pwd') else value}" for name, value in self.attributes]
        return f"MediaLine({self.kind} {self.port} {self.proto} {' '.join(self.formats)} {self.address} {attributes})"

    def attribute(self, name: str) -> str | None:
        """First value of an attribute ("" for a flag), None when absent."""
        for key, value in self.attributes:
            if key == name:
                return value
        return None

    def rtpmap(self, payload: int) -> Rtpmap | None:
        """Encoding of a payload type: an `a=rtpmap` of this line, else the static assignment of RFC 3551."""
        prefix = f"{payload} "
        for key, value in self.attributes:
            if key == "rtpmap" and value.startswith(prefix):
                name, _, clock = value[len(prefix) :].strip().partition("/")
                rate = clock.partition("/")[0]
                return Rtpmap(name.lower(), int(rate)) if rate.isascii() and rate.isdigit() and len(rate) < 9 else None
        static = STATIC_PAYLOADS.get(payload)
        return Rtpmap(*static) if static else None


class Description(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session description."""

    origin_user: str
    origin_id: str
    version: int
    origin_address: str
    address: str = ""                    # session-level connection address
    name: str = "-"
    times: tuple[str, ...] = ("0 0",)
    attributes: tuple[tuple[str, str], ...] = ()
    media: tuple[MediaLine, ...] = ()

    def direction(self, line: MediaLine) -> str:
        """Direction that applies to a line: its own, the session's, or sendrecv."""
        for attributes in (line.attributes, self.attributes):
            for key, _ in attributes:
                if key in DIRECTIONS:
                    return key
        return "sendrecv"

    def address_of(self, line: MediaLine) -> str:
        return line.address or self.address

    def build(self) -> bytes:
        """Wire form."""
        lines = [
            "v=0",
            f"o={self.origin_user} {self.origin_id} {self.version} IN {_family(self.origin_address)} {self.origin_address}",
            f"s={self.name or '-'}",
        ]
        if self.address:
            lines.append(f"c=IN {_family(self.address)} {self.address}")
        lines += [f"t={times}" for times in self.times]
        lines += [_attribute(key, value) for key, value in self.attributes]
        for media in self.media:
            lines.append(f"m={media.kind} {media.port} {media.proto} {' '.join(media.formats)}")
            if media.address:
                lines.append(f"c=IN {_family(media.address)} {media.address}")
            lines += [_attribute(key, value) for key, value in media.attributes]
        return ("\r\n".join(lines) + "\r\n").encode("utf-8", "surrogateescape")


def _family(address: str) -> str:
    return "IP6" if ":" in address else "IP4"


def _attribute(key: str, value: str) -> str:
    return f"a={key}:{value}" if value else f"a={key}"


def _connection(value: str) -> str:
    fields = value.split()
    if len(fields) < 3 or fields[0] != "IN" or fields[1] not in ("IP4", "IP6"):
        raise SyntaxProblem("SDP connection")
    return fields[2].split("/", 1)[0]


def _number(text: str, what: str, limit: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20) or int(text) > limit:
        raise SyntaxProblem(what)
    return int(text)


def parse_sdp(data: bytes) -> Description:
    """Parse a session description. Raises SyntaxProblem."""
    usual = scan.sdp(data, MAX_LINES, MAX_MEDIA)
    if usual is None:
        return _any_sdp(data)
    user, identity, version, at, address, name, times, attributes, media = usual
    return Description(user, identity, version, at, address, name, times, attributes, tuple([MediaLine(*line) for line in media]))


def _any_sdp(data: bytes) -> Description:
    lines = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
    if len(lines) > MAX_LINES:
        raise SyntaxProblem("SDP has too many lines")
    origin: list[str] | None = None
    name, session_address = "-", ""
    times: list[str] = []
    session_attributes: list[tuple[str, str]] = []
    media: list[MediaLine] = []
    address, attributes = "", list[tuple[str, str]]()
    head: tuple[str, int, str, tuple[str, ...]] | None = None
    if not lines or lines[0].strip() != "v=0":
        raise SyntaxProblem("SDP version")
    for line in lines[1:]:
        if len(line) < 2 or line[1] != "=":
            if line.strip():
                raise SyntaxProblem("SDP line")
            continue
        kind, value = line[0], line[2:].strip()
        if kind == "m":
            if head is not None:
                media.append(MediaLine(*head, address=address, attributes=tuple(attributes)))
            if len(media) >= MAX_MEDIA:
                raise SyntaxProblem("SDP has too many media lines")
            head, address, attributes = _media_head(value), "", []
        elif kind == "a":
            key, _, rest = value.partition(":")
            (attributes if head is not None else session_attributes).append((key, rest))
        elif kind == "c":
            if head is not None:
                address = _connection(value)
            else:
                session_address = _connection(value)
        elif kind == "o":
            origin = value.split()
        elif kind == "s":
            name = value or "-"
        elif kind == "t":
            times.append(value)
    if head is not None:
        media.append(MediaLine(*head, address=address, attributes=tuple(attributes)))
    if origin is None or len(origin) != 6:
        raise SyntaxProblem("SDP origin")
    for line_ in media:
        if line_.port and not (line_.address or session_address):
            raise SyntaxProblem("SDP media without connection address")
    return Description(
        origin_user=origin[0],
        origin_id=origin[1],
        version=_number(origin[2], "SDP origin version", 2**64 - 1),
        origin_address=origin[5],
        address=session_address,
        name=name,
        times=tuple(times) or ("0 0",),
        attributes=tuple(session_attributes),
        media=tuple(media),
    )


def _media_head(value: str) -> tuple[str, int, str, tuple[str, ...]]:
    fields = value.split()
    if len(fields) < 4:
        raise SyntaxProblem("SDP media line")
    port = _number(fields[1].split("/", 1)[0], "SDP media port", 65535)
    return fields[0].lower(), port, fields[2], tuple(fields[3:])
