"""What a box writes into its flash, out of a log of writes (`Machine(writes=True)`): bytes, requests, flushes, for each partition.

A flash chip programs whole pages: a request is counted once as it was asked for, and once rounded up to pages of `PAGE`, which is what
wears the chip where its controller gathers nothing. `year` extrapolates an hour at rest and a call to a year of normal work; `BUDGET` is
what the smallest memory that we build in bears (docs/image.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from .machine import partition
from .powercut import DISCARD, FLUSH, Write

PAGE = 16 << 10
CALLS_A_DAY = 400
# 4 GB of memory whose cells bear 3000 cycles, ten years, a controller that writes four times what it is given.
BUDGET = 4_000_000_000 * 3000 // 10 // 4


class Wear(msgspec.Struct, frozen=True):
    """Written to one partition: bytes as asked for, bytes in whole pages, requests, flushes of the whole disk meanwhile."""

    asked: int = 0
    pages: int = 0
    requests: int = 0
    flushes: int = 0


def wear(entries: Sequence[Write], at: int, size: int) -> Wear:
    """What went to the part of the disk from `at` on."""
    asked = pages = requests = flushes = 0
    for one in entries:
        flushes += bool(one.flags & FLUSH)
        if one.size and not one.flags & DISCARD and at <= one.at < at + size:
            requests += 1
            asked += one.size
            pages += (one.at + one.size + PAGE - 1) // PAGE * PAGE - one.at // PAGE * PAGE
    return Wear(asked, pages, requests, flushes)


def of_partition(disk: Path, name: str, entries: Sequence[Write]) -> Wear:
    """The same for a partition by name."""
    return wear(entries, *partition(disk, name))


def year(rest_hour: Wear, call: Wear, calls_a_day: int = CALLS_A_DAY) -> int:
    """Bytes in whole pages that a year of normal work writes."""
    return 365 * (24 * rest_hour.pages + calls_a_day * call.pages)
