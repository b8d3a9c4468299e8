"""The last SIP messages of each call, for whoever asks what happened (L1).

Theory of operation: an endpoint opens a trace with each session and adds every message of it, in and out. The trace outlives its
session, so that a call that failed can be looked at; the oldest traces of ended calls go first.
Invariant: memory is bounded, by messages for each call and by traces beyond the living sessions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Sized
from typing import Protocol

import msgspec

from firmware.sip.flow import Address

TRACE_LENGTH = 64
TRACES_KEPT = 64


class TraceLine(msgspec.Struct, frozen=True):
    """One SIP message of a call: engine ms, "in" or "out", the peer, the bytes."""

    at: int
    direction: str
    peer: Address
    data: bytes

    @property
    def first_line(self) -> str:
        return self.data.split(b"\r\n", 1)[0].decode("utf-8", "replace")


class Living(Container[str], Sized, Protocol):
    """The calls that have a session."""


class Traces:
    """Traces by call id; `living` tells which calls must be kept."""

    def __init__(self, living: Living) -> None:
        self._living = living
        self._lines: dict[str, deque[TraceLine]] = {}

    def open(self, call: str) -> None:
        """A session began."""
        self._lines[call] = deque(maxlen=TRACE_LENGTH)
        while len(self._lines) > len(self._living) + TRACES_KEPT:
            del self._lines[next(call for call in self._lines if call not in self._living)]

    def add(self, call: str, at: int, direction: str, peer: Address, data: bytes) -> None:
        """A message was received or sent."""
        lines = self._lines.get(call)
        if lines is not None:
            lines.append(TraceLine(at, direction, peer, data))

    def lines(self, call: str) -> list[TraceLine]:
        """Oldest first."""
        return list(self._lines.get(call, ()))
