"""The last SIP messages of each call, for whoever asks what happened (L1).

Theory of operation: an endpoint opens a trace with each session and adds every message of it, in and out. The trace outlives its
session, so that a call that failed can be looked at; the oldest traces of ended calls go first.
Few calls are ever looked at, so messages are kept as they were and made fit to be shown when somebody asks.
Invariants: memory is bounded, by messages for each call and by traces beyond the living sessions; keys of SRTP are never shown, nor is
what proves a password: a digest's response with its nonce can be guessed at leisure (RFC 7616 section 5). ICE passwords are left out, too,
and PINs that a telephone dials behind a code (`veil.py`). Nor are keys that a telephone sends as INFO: one may be of a PIN, and keys that
come as RTP (RFC 4733) are not here either.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Container, Sized
from typing import Final, Protocol

import msgspec

from firmware.sip.flow import Address, Flow
from firmware.sip.sdes import hide_keys
from firmware.sip.veil import Veil

TRACE_LENGTH = 64
TRACES_KEPT = 64
#: Headers that carry proof of a password, with what a folded one goes on with (RFC 3261 sections 7.3.1, 20.7, 20.28, 20.6).
_PROOF: Final = re.compile(rb"(?im)^((?:proxy-)?authorization|authentication-info)([ \t]*:[ \t]*)((?:[^\r\n]|\r?\n[ \t])*)")
_DIGEST: Final = re.compile(rb"(?i)\b(response|rspauth|nextnonce)([ \t\r\n]*=[ \t\r\n]*)(\"[^\"]*\"|[^,\s]*)")
_ICE: Final = re.compile(rb"(?im)^(a=ice-pwd:)[^\r\n]*")
#: The key in the body of an INFO: application/dtmf-relay names it, application/dtmf is nothing else.
_KEY: Final = re.compile(rb"(?im)^([ \t]*signal[ \t]*=[ \t]*)[^\s]")
_BARE_KEY: Final = re.compile(rb"(?s)^(\s*)\S")
_DTMF: Final = re.compile(rb"(?im)^(?:content-type|c)[ \t]*:[ \t]*application/dtmf(-relay)?[ \t]*(?:;|\r?$)")


class TraceLine(msgspec.Struct, frozen=True, gc=False):
    """One SIP message of a call: engine ms, "in" or "out", the peer, the bytes, our end and the transport."""

    at: int
    direction: str
    peer: Address
    data: bytes
    local: Address = ("", 0)
    transport: str = ""

    @property
    def first_line(self) -> str:
        return self.data.split(b"\r\n", 1)[0].decode("utf-8", "replace")


class Living(Container[str], Sized, Protocol):
    """The calls that have a session."""


class Traces:
    """Traces by call id; `living` tells which calls must be kept."""

    def __init__(self, living: Living) -> None:
        self._living = living
        self.veil = Veil()               # what is dialled behind codes (set by the owner)
        self._lines: dict[str, deque[TraceLine]] = {}

    def open(self, call: str) -> None:
        """A session began."""
        self._lines[call] = deque(maxlen=TRACE_LENGTH)
        while len(self._lines) > len(self._living) + TRACES_KEPT:
            del self._lines[next(call for call in self._lines if call not in self._living)]

    def add(self, call: str, at: int, direction: str, flow: Flow, data: bytes) -> None:
        """A message was received or sent."""
        lines = self._lines.get(call)
        if lines is not None:
            lines.append(TraceLine(at, direction, flow.remote, data, flow.local, flow.transport))

    def lines(self, call: str) -> list[TraceLine]:
        """Oldest first, without what is secret."""
        return [msgspec.structs.replace(line, data=self._shown(line.data)) for line in self._lines.get(call, ())]

    def _shown(self, message: bytes) -> bytes:
        return self.veil.message(hide_proofs(hide_keys(hide_dtmf(message))))


def hide_dtmf(message: bytes) -> bytes:
    """An INFO without the key that it carries."""
    if not message.startswith(b"INFO "):
        return message
    head, blank, body = message.partition(b"\r\n\r\n")
    kind = _DTMF.search(head)
    if kind is None:
        return message
    return head + blank + (_KEY if kind[1] else _BARE_KEY).sub(rb"\1*", body)


def hide_proofs(message: bytes) -> bytes:
    """A message without what proves a password; who it is and for which realm stays."""
    plain = message.lower()
    if b"authori" not in plain and b"authentication-info" not in plain and b"ice-pwd" not in plain:
        return message                   # nearly every one
    head, blank, body = message.partition(b"\r\n\r\n")
    return _PROOF.sub(_without_proof, head) + blank + (_ICE.sub(rb"\1*", body) if b"ice-pwd" in body else body)


def _without_proof(found: re.Match[bytes]) -> bytes:
    name, colon, value = found.groups()
    scheme = value.split(None, 1)[0].lower() if value.strip() else b""
    if name.lower() == b"authentication-info" or scheme == b"digest":
        return name + colon + _DIGEST.sub(rb'\1\2"*"', value)
    return name + colon + scheme + b" *"
