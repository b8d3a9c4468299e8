"""The queue log: one line per event of a queue, in the vocabulary that common report tools read (L3)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from firmware.store.db import Database


class QueueLogStore:
    """Appends to and reads the queue log of `calls.db`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def write(self, at_ms: int, contact: str, queue: str, agent: str, event: str, data: Sequence[str]) -> None:
        """Append one line; `|` in a value is written as a blank."""
        joined = "|".join(value.replace("|", " ") for value in data)
        self._db.execute(
            "INSERT INTO queue_log (at_ms, contact, queue, agent, event, data) VALUES (?, ?, ?, ?, ?, ?)",
            (at_ms, contact, queue, agent, event, joined),
        )

    def last(self, count: int) -> list[sqlite3.Row]:
        """The newest lines, oldest of them first."""
        return list(reversed(self._db.query("SELECT * FROM queue_log ORDER BY seq DESC LIMIT ?", (count,))))
