"""The audit trail: records that are only added, each chained to the one before it (L3).

Theory of operation
-------------------
A record's `chain` is SHA-256 over the chain of the record before it and its own content, reckoned by SQLite while it writes the record:
what failed to be written leaves no gap. The table refuses changes, and deletions of all but the oldest. Somebody who owns the disk can
still write what he likes; but a changed, removed or inserted record breaks the chain where it was, and he would have to reckon all later
ones anew: the centre has them already, signed by the box (`app/central_audit.py`), so that a rewritten or shortened end shows there.
Invariants: `seq` rises and is never used twice; the oldest record kept is believed, all others are proven; records from before there was
a chain have an empty one and are the beginning.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from firmware.store.db import Database

#: As the trigger of migration 0003 has it.
KEEP: Final = 100_000
PRUNE_EVERY = 1000

COLUMNS = "seq, wall_ms, peer, role, command, args, outcome, chain"


class Record(Struct, frozen=True):
    """A record: who asked for what, with which arguments (JSON, secrets hidden), and how it ended. `chain` in hexadecimal."""

    seq: int
    wall_ms: int
    peer: str
    role: str
    command: str
    args: str
    outcome: str
    chain: str


class Proof(Struct, frozen=True):
    """What is kept; `broken`: the first record that does not follow from the one before it, 0 for none. Times are 0 without records."""

    records: int
    first_ms: int
    last_ms: int
    broken: int
    head: str


def chained(previous: bytes, wall_ms: int, peer: str, role: str, command: str, args: str, outcome: str) -> bytes:
    """The chain of a record, 32 bytes."""
    content = json.dumps([wall_ms, peer, role, command, args, outcome], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(previous + content.encode()).digest()


#: SQL functions that the database of the trail needs (`Database(functions=...)`).
FUNCTIONS: Mapping[str, tuple[int, Callable[..., Any]]] = {"chained": (7, chained)}


def broken_at(before: str, records: Sequence[Record]) -> int:
    """The first record that does not follow from `before` (chain of the record before the first one, hexadecimal); 0: all do."""
    previous = bytes.fromhex(before)
    for one in records:
        if chained(previous, one.wall_ms, one.peer, one.role, one.command, one.args, one.outcome).hex() != one.chain:
            return one.seq
        previous = bytes.fromhex(one.chain)
    return 0


class AuditTrail:
    """The trail in a database made with `FUNCTIONS` and the migrations "manage"."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._added = 0
        self._sent: int | None = None

    def statement(self, wall_ms: int, peer: str, role: str, command: str, args: str, outcome: str) -> tuple[str, tuple[Any, ...]]:
        """What adds a record, for a transaction with others."""
        sql = (
            "INSERT INTO audit (wall_ms, peer, role, command, args, outcome, chain) VALUES (?1, ?2, ?3, ?4, ?5, ?6, "
            "chained(coalesce((SELECT chain FROM audit ORDER BY seq DESC LIMIT 1), x''), ?1, ?2, ?3, ?4, ?5, ?6))"
        )
        return sql, (wall_ms, peer, role, command, args, outcome)

    def add(self, wall_ms: int, peer: str, role: str, command: str, args: str, outcome: str) -> None:
        """Add a record."""
        self._db.transaction([self.statement(wall_ms, peer, role, command, args, outcome)])
        self.added()

    def added(self) -> None:
        """A record was written by `statement`; now and then the oldest ones go."""
        self._added += 1
        if self._added % PRUNE_EVERY == 0:
            self._db.execute("DELETE FROM audit WHERE seq <= (SELECT max(seq) FROM audit) - ?", (KEEP,))

    def last(self, count: int) -> list[Record]:
        """The last records, the oldest first."""
        return self._records("ORDER BY seq DESC LIMIT ?", (count,))[::-1]

    def after(self, seq: int, most: int) -> tuple[str, list[Record]]:
        """Records after one of them, and the chain before the first (empty where that record is not kept)."""
        records = self._records("WHERE seq > ? ORDER BY seq LIMIT ?", (seq, most))
        if not records:
            return "", []
        before = self._records("WHERE seq < ? ORDER BY seq DESC LIMIT 1", (records[0].seq,))
        return before[0].chain if before else "", records

    def since(self, wall_ms: int) -> list[Record]:
        """All records from this time on."""
        return self._records("WHERE wall_ms >= ? ORDER BY seq", (wall_ms,))

    def sample(self, wall_ms: int, count: int, chance: random.Random) -> list[Record]:
        """As many records of this time on, drawn by chance, in order."""
        rows = self._db.query("SELECT seq FROM audit WHERE wall_ms >= ? ORDER BY seq", (wall_ms,))
        drawn = sorted(chance.sample([row["seq"] for row in rows], min(count, len(rows))))
        return self._records(f"WHERE seq IN ({','.join('?' * len(drawn))}) ORDER BY seq", drawn)

    def people(self, wall_ms: int) -> list[tuple[str, str, int, int]]:
        """(who, role, commands, of them refused or failed) from this time on, the busiest first."""
        rows = self._db.query(
            "SELECT peer, role, count(*) AS given, sum(outcome != 'ok') AS refused FROM audit WHERE wall_ms >= ? "
            "GROUP BY peer, role ORDER BY given DESC, peer LIMIT 200",
            (wall_ms,),
        )
        return [(row["peer"], row["role"], row["given"], row["refused"]) for row in rows]

    def prove(self) -> Proof:
        """Follow the chain through all that is kept; some seconds on the appliance when the trail is full."""
        (facts,) = self._db.query("SELECT count(*) AS n, min(seq) AS low, min(wall_ms) AS first, max(wall_ms) AS last FROM audit")
        if not facts["n"]:
            return Proof(0, 0, 0, 0, "")
        low = int(facts["low"])
        broken = low if low > 1 and facts["n"] < KEEP else 0   # older ones go only when there are more than are kept
        (start,) = self._db.query("SELECT coalesce(min(seq), 0) AS seq FROM audit WHERE chain != x''")
        head, seq = "", int(start["seq"]) - 1
        if low == start["seq"] > 1:                            # what it followed is gone: believed
            head, seq = self.after(low - 1, 1)[1][0].chain, low
        while start["seq"] and (records := self._records("WHERE seq > ? ORDER BY seq LIMIT 1000", (seq,))):
            broken = broken or broken_at(head, records)
            head, seq = records[-1].chain, records[-1].seq
        return Proof(int(facts["n"]), int(facts["first"]), int(facts["last"]), broken, head)

    def sent(self) -> int:
        """The last record that the centre has."""
        if self._sent is None:
            rows = self._db.query("SELECT seq FROM cursor WHERE stream = 'audit-sent'")
            self._sent = int(rows[0]["seq"]) if rows else 0
        return self._sent

    def note_sent(self, seq: int) -> None:
        """The centre has all records up to this one."""
        self._sent = seq
        self._db.execute(
            "INSERT INTO cursor (stream, seq) VALUES ('audit-sent', ?) ON CONFLICT (stream) DO UPDATE SET seq = excluded.seq", (seq,)
        )

    def _records(self, which: str, params: Sequence[Any]) -> list[Record]:
        return [
            Record(**{name: row[name] for name in COLUMNS.split(", ")[:-1]}, chain=bytes(row["chain"]).hex())
            for row in self._db.query(f"SELECT {COLUMNS} FROM audit {which}", params)
        ]
