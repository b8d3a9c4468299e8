"""The event stream: the last events of the bus by sequence number, for readers outside the process.

Theory of operation
-------------------
Every struct published on the bus gets the next sequence number and is kept, unencoded, in a ring of `capacity` entries. A
reader has only a cursor: a slow one costs no memory, and when the ring has overtaken it, it is told the range it lost. The
number begins at `boot << 32`, so numbers grow over restarts and a cursor of an earlier boot is seen to have lost the rest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import msgspec

from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock

BOOT_SHIFT = 32


class Entry(msgspec.Struct, frozen=True):
    """One kept event."""

    seq: int
    at: int
    wall_ms: int
    event: msgspec.Struct


class EventStream:
    """See the theory of operation above."""

    def __init__(self, bus: Bus, clock: Clock, boot: int, capacity: int = 8192) -> None:
        self.boot = boot
        self.next = (boot << BOOT_SHIFT) + 1
        self._clock = clock
        self._kept: deque[tuple[int, int, msgspec.Struct]] = deque(maxlen=capacity)      # engine ms, Unix ms, event
        self._more: asyncio.Event = asyncio.Event()
        self._awaited = False
        self._subscription = bus.subscribe(msgspec.Struct, self._note)

    @property
    def first(self) -> int:
        """Lowest sequence number still kept (equal to `next` when none is)."""
        return self.next - len(self._kept)

    def _note(self, event: msgspec.Struct) -> None:
        self._kept.append((self._clock.now(), self._clock.wall_ms(), event))
        self.next += 1
        if self._awaited:
            self._awaited = False
            self._more.set()

    def read(self, cursor: int, limit: int = 200) -> tuple[tuple[int, int] | None, list[Entry], int]:
        """(range lost or None, entries from `cursor` on, next cursor)."""
        lost = None
        if cursor > self.next:
            cursor = self.next
        if cursor < self.first:
            lost = (cursor, self.first - 1)
            cursor = self.first
        start = cursor - self.first
        kept = self._kept
        entries = [Entry(cursor + index, *kept[start + index]) for index in range(min(limit, len(kept) - start))]
        return lost, entries, cursor + len(entries)

    async def wait(self, cursor: int) -> None:
        """Return once there is an event at `cursor`."""
        while cursor >= self.next:
            self._more.clear()
            self._awaited = True
            await self._more.wait()


def encode(entry: Entry, boot: int) -> dict[str, Any]:
    """Wire form: the event's fields, `type`, `seq`, `at`, `wall_ms`, `boot`."""
    body: dict[str, Any] = msgspec.to_builtins(entry.event)
    return {"at": entry.at, **body, "type": type(entry.event).__name__, "seq": entry.seq, "wall_ms": entry.wall_ms, "boot": boot}
