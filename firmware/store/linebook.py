"""What the line doctor remembers of each port, in `state.db` (L3)."""

from __future__ import annotations

import logging
from typing import TypeVar

import msgspec

from firmware.errors import StoreError
from firmware.store.db import Database

log = logging.getLogger("branchpbx.store")

T = TypeVar("T")


class LineBookStore:
    """One record for each port and part. A record that cannot be read is as good as none: it is measured again."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def save(self, endpoint: str, part: str, line: int, state: object, wall_ms: int) -> None:
        """Replace a record; `line` is the identity of what is wired there."""
        self._db.execute(
            "INSERT OR REPLACE INTO line_book (endpoint, part, line, state, wall_ms) VALUES (?, ?, ?, ?, ?)",
            (endpoint, part, f"{line:016x}", msgspec.json.encode(state), wall_ms),
        )

    def forget(self, endpoint: str, part: str) -> None:
        """Drop a record."""
        self._db.execute("DELETE FROM line_book WHERE endpoint = ? AND part = ?", (endpoint, part))

    def load(self, part: str, kind: type[T]) -> dict[str, tuple[int, T]]:
        """Every sound record of a part: endpoint -> (line identity, state)."""
        try:
            rows = self._db.query("SELECT endpoint, line, state FROM line_book WHERE part = ?", (part,))
        except StoreError as error:
            log.warning("the line book cannot be read and begins anew: %s", error)
            return {}
        found: dict[str, tuple[int, T]] = {}
        for row in rows:
            try:
                found[row["endpoint"]] = int(row["line"], 16), msgspec.json.decode(row["state"], type=kind)
            except (msgspec.MsgspecError, TypeError, ValueError) as error:
                log.warning("line book: %s of %s is not used: %s", part, row["endpoint"], error)
        return found
