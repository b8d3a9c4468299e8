"""Bodies: the session description within a message, and INFO digits (L1). RFC 5621 (multipart), RFC 6086 section 4.2 (legacy INFO)."""

from __future__ import annotations

import re

from firmware.sip.errors import SyntaxProblem
from firmware.sip.message import Message
from firmware.sip.sdp import Description, parse_sdp

_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_MAX_PARTS = 16
_SIGNAL = re.compile(rb"(?im)^[ \t]*signal[ \t]*=[ \t]*([0-9*#A-Da-d])[ \t]*\r?$")
_DURATION = re.compile(rb"(?im)^[ \t]*duration[ \t]*=[ \t]*([0-9]{1,5})[ \t]*\r?$")
_DIGIT = re.compile(rb"\s*([0-9*#A-Da-d])\s*\Z")


def find_sdp(message: Message) -> Description | None:
    """The session description of a message, None when it has none. Raises SyntaxProblem when it has a broken one."""
    if not message.body:
        return None
    kind = message.content_type
    if kind in ("application/sdp", ""):
        return parse_sdp(message.body)
    if kind.startswith("multipart/"):
        for part_kind, part in _parts(message):
            if part_kind == "application/sdp":
                return parse_sdp(part)
    return None


def _parts(message: Message) -> list[tuple[str, bytes]]:
    match = _BOUNDARY.search(message.headers.get("content-type"))
    if match is None:
        raise SyntaxProblem("multipart boundary")
    delimiter = b"\r\n--" + (match[1] or match[2]).encode("utf-8", "surrogateescape")
    pieces = (b"\r\n" + message.body).split(delimiter, _MAX_PARTS + 1)
    parts: list[tuple[str, bytes]] = []
    for piece in pieces[1 : _MAX_PARTS + 1]:
        if piece.startswith(b"--"):
            break
        head, _, body = piece.partition(b"\r\n\r\n")
        kind = "text/plain"
        for line in head.decode("utf-8", "replace").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon and name.strip().lower() == "content-type":
                kind = value.split(";", 1)[0].strip().lower()
        parts.append((kind, body))
    return parts


def info_digit(message: Message) -> tuple[str, int] | None:
    """Key and duration in ms of an INFO (application/dtmf-relay or application/dtmf), None when there is none."""
    if message.content_type == "application/dtmf":
        match = _DIGIT.match(message.body)
        return (match[1].decode().upper(), 160) if match else None
    if message.content_type == "application/dtmf-relay":
        match = _SIGNAL.search(message.body)
        if match is None:
            return None
        duration = _DURATION.search(message.body)
        return match[1].decode().upper(), int(duration[1]) if duration else 160
    return None
