"""Warm start of the echo cancellers: what a line's filter has learned is kept for its next call (L5).

Theory of operation
-------------------
Media keeps the filter of each slot in the ring segment, where it outlives a call, core and media. This part carries it over a power cut:
at start it offers media what `state.db` holds, and after a call it writes what was learned when that differs from what is written.
A filter belongs to a line: board, slot, jack, country profile and number together are its identity, so another line on the same jack
begins anew. Media tries a filter before it is heard, and only under the PCM alignment it was learned under.
Flash is spared: a filter that hardly changed (25 dB between change and filter) is written again after a week at the earliest.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from collections.abc import Mapping
from typing import Protocol

from firmware.media.events import LearnedFilter
from firmware.runtime.clock import Clock
from firmware.store.filters import EchoFilterStore, StoredFilter

log = logging.getLogger("branchpbx.lines")

#: Media has written the filter when the port is closed, which it does within a tick or two.
SETTLE_MS = 200
SAME_SHARE = 10**-2.5
REFRESH_MS = 7 * 24 * 3600 * 1000


class FilterMedia(Protocol):
    """What this part needs of `firmware.media.Media`."""

    def learned(self, slot: int) -> LearnedFilter | None: ...

    def offer(self, slot: int, known: LearnedFilter) -> None: ...


def line_identity(*facts: object) -> int:
    """A number other than 0 that names a line by everything that makes it this one."""
    text = "\0".join(str(fact) for fact in facts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") | 1


class EchoMemory:
    """Keeps the filters of `lines` (identity by slot)."""

    def __init__(self, media: FilterMedia, store: EchoFilterStore, clock: Clock, lines: Mapping[int, int]) -> None:
        self._media, self._store, self._clock, self._lines = media, store, clock, lines
        self._kept: dict[int, StoredFilter] = {}

    def start(self) -> None:
        """Offer media what is stored of lines that are still the same."""
        for one in self._store.load():
            if self._lines.get(one.slot) != one.line:
                log.info("echo filter of slot %d belongs to another line than is there now; it is learned anew", one.slot)
                continue
            self._kept[one.slot] = one
            self._media.offer(one.slot, LearnedFilter(one.line, one.rate, one.depth, 0, one.erl_db, one.erle_db, one.taps))

    def closed(self, slot: int) -> None:
        """The audio of a line was closed: look later at what was learned."""
        self._clock.call_later(SETTLE_MS, lambda: self.keep(slot))

    def keep(self, slot: int) -> None:
        """Store what was learned on a slot, if it says something new."""
        found = self._media.learned(slot)
        if found is None or found.line != self._lines.get(slot):
            return
        now, known = self._clock.wall_ms(), self._kept.get(slot)
        if known is not None and (known.line, known.rate, known.depth) == (found.line, found.rate, found.depth):
            if change(known.taps, found.taps) < SAME_SHARE and now - known.wall_ms < REFRESH_MS:
                return
        one = StoredFilter(slot, found.line, found.rate, found.depth, found.erl_db, found.erle_db, found.taps, now)
        self._kept[slot] = one
        self._store.save(one)


def change(old: bytes, new: bytes) -> float:
    """Energy of the difference of two impulse responses over that of the new one."""
    if len(old) != len(new):
        return 1.0
    a, b = struct.unpack(f"<{len(old) // 4}f", old), struct.unpack(f"<{len(new) // 4}f", new)
    energy = sum(y * y for y in b)
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / energy if energy > 0 else 1.0
