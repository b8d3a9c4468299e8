"""Echo filters of the lines in `state.db`: what survives a power cut (L3)."""

from __future__ import annotations

import logging
import math
import struct
import zlib

import msgspec

from firmware.errors import StoreError
from firmware.store.db import Database

log = logging.getLogger("branchpbx.store")

MOST_TAPS = 1280
_SAVE = """INSERT OR REPLACE INTO echo_filters (slot, line, rate, depth, erl_db, erle_db, taps, crc, wall_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""


class StoredFilter(msgspec.Struct, frozen=True):
    """A filter and the line it belongs to; `wall_ms` is Unix time of writing."""

    slot: int
    line: int
    rate: int
    depth: int
    erl_db: float
    erle_db: float
    taps: bytes
    wall_ms: int


class EchoFilterStore:
    """Writes and reads one filter per slot. Whatever is not sound is left out with a log line: it is learned anew."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def save(self, one: StoredFilter) -> None:
        """Replace the filter of a slot."""
        row = (one.slot, f"{one.line:016x}", one.rate, one.depth, one.erl_db, one.erle_db, one.taps, zlib.crc32(one.taps), one.wall_ms)
        self._db.execute(_SAVE, row)

    def load(self) -> list[StoredFilter]:
        """The sound filters."""
        try:
            rows = self._db.query("SELECT * FROM echo_filters ORDER BY slot")
        except StoreError as error:
            log.warning("echo filters are learned anew: %s", error)
            return []
        found = []
        for row in rows:
            try:
                values = {name: row[name] for name in StoredFilter.__struct_fields__ if name != "line"}
                one = msgspec.convert({**values, "line": int(row["line"], 16)}, StoredFilter)
                _check(one, row["crc"])
            except (msgspec.ValidationError, TypeError, ValueError) as error:
                log.warning("echo filter of slot %s is not used and learned anew: %s", row["slot"], error)
            else:
                found.append(one)
        return found


def _check(one: StoredFilter, crc: int) -> None:
    size = len(one.taps)
    if not size or size % 4 or size > 4 * MOST_TAPS:
        raise ValueError(f"{size} bytes are no impulse response of 1 to {MOST_TAPS} taps")
    if zlib.crc32(one.taps) != crc:
        raise ValueError("its checksum is wrong")
    if not all(math.isfinite(tap) for tap in struct.unpack(f"<{size // 4}f", one.taps)):
        raise ValueError("a tap is not finite")
    if not 0 < one.line < 1 << 64 or not 0 <= one.slot < 16 or not 0 <= one.depth < 1 << 32:
        raise ValueError("line, slot or depth is out of range")
