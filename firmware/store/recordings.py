"""The catalogue of recordings: what there is, the chain, who heard what (L3; I1, I2, I4, I5).

Theory of operation
-------------------
A row of `recordings` exists exactly as long as its file should. A file that is finished gets its digest into the chain ("sealed"); one
that goes, for age, quota or erasure, gets a link that says why ("removed"), in the same transaction in which its row goes. A link's hash
is keyed and covers the one before, so a chain that was changed, shortened in the middle or written by somebody else does not hold; where
it ended is also kept by `keep_head` in another database, one link behind, as both are not written in one instant. So `verify` sees a
recording that was removed, changed or put in by another way than ours.
What the centre has taken is noted once (`sent`), with its line of the access log in the same transaction; noting it again changes nothing.
Invariants: one writer (core); links are numbered 1, 2, ... without gap; no telephone number stands in the chain.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from firmware.store.db import Database, Statement
from firmware.store.vault import DeviceKey

FIRST = "0" * 64
UNTOLD_MS = 3_600_000
MOST_COUNTED = 5000
_OPEN = "INSERT OR REPLACE INTO recordings (path, contact, leg, started_ms, class, keep_until_ms, rule) VALUES (?, ?, ?, ?, ?, ?, ?)"
_DONE = "UPDATE recordings SET state = ?, frames = ?, lost = ?, bytes = ?, masked = ? WHERE path = ?"
_LINK = "INSERT INTO recording_chain (seq, at_ms, what, path, digest, why, hash) VALUES (?, ?, ?, ?, ?, ?, ?)"
_SEEN = "INSERT INTO recording_access (at_ms, who, what, path, detail) VALUES (?, ?, ?, ?, ?)"
#: Once: the line of the access log first, while the row still says that it was not sent.
_SENT_LINE = """INSERT INTO recording_access (at_ms, who, what, path, detail) SELECT ?, ?, 'send', path, ? FROM recordings
WHERE path = ? AND sent_ms = 0"""
_SENT = "UPDATE recordings SET sent_ms = ? WHERE path = ? AND sent_ms = 0"
_LIST = """SELECT r.path, r.contact, r.state, r.started_ms, r.frames, r.bytes, r.class, r.keep_until_ms, r.masked, r.rule, c.kind, c.caller,
c.called, c.queue, c.agents, c.rating, c.line, c.extension, r.sent_ms, r.lost FROM recordings r LEFT JOIN contacts c ON c.id = r.contact"""

#: Somebody else with this number was in the conference while it was recorded (his own call came within the week before its end).
_BESIDE = """EXISTS (SELECT 1 FROM contacts o JOIN contact_events e ON e.contact = o.id AND e.kind = 'room'
AND json_extract(e.data, '$.room') = substr(r.rule, 6) WHERE o.opened_ms BETWEEN r.started_ms - 604800000 AND r.started_ms + r.frames / 8
AND coalesce(o.ended_ms, r.started_ms) >= r.started_ms
AND (o.caller = ? OR o.extension = ? OR EXISTS (SELECT 1 FROM legs m WHERE m.contact = o.id AND m.number = ?)))"""


class Found(msgspec.Struct, frozen=True):
    """What a search asks for; "" and 0 ask for nothing."""

    agent: str = ""
    number: str = ""
    queue: str = ""
    rating: int = 0
    since_ms: int = 0
    until_ms: int = 0
    lines: int = 50


class RecordingStore:
    """See the theory of operation. `keep_head(text)` and `head()` keep and give where the chain ended."""

    def __init__(
        self, db: Database, device: DeviceKey, keep_head: Callable[[str], object] = lambda text: None, head: Callable[[], str] = lambda: ""
    ) -> None:
        self._db = db
        self._device = device
        self._keep_head = keep_head
        self._kept = head()
        self._lock = threading.Lock()
        rows = db.query("SELECT seq, hash FROM recording_chain ORDER BY seq DESC LIMIT 1")
        self._seq, self._hash = (int(rows[0]["seq"]), str(rows[0]["hash"])) if rows else (0, FIRST)

    # --- writing ------------------------------------------------------------------------------------------------------

    def open(self, path: str, contact: str, leg: str, at_ms: int, keep: str, until_ms: int, rule: str) -> None:
        """A file is begun."""
        self._db.execute(_OPEN, (path, contact, leg, at_ms, keep, until_ms, rule))

    def done(self, path: str, state: str, frames: int, lost: int, size: int, digest: str, masked: str, at_ms: int) -> None:
        """A file is finished, `state` whole or cut."""
        self._linked([(_DONE, (state, frames, lost, size, masked, path))], "sealed", path, digest, state, at_ms)

    def empty(self, path: str) -> None:
        """Nothing was recorded: no file, no row, no link."""
        self._db.execute("DELETE FROM recordings WHERE path = ?", (path,))

    def removed(self, path: str, why: str, at_ms: int) -> None:
        """A file is gone by our hand."""
        rows = self._db.query("SELECT digest FROM recording_chain WHERE path = ? AND what = 'sealed' ORDER BY seq DESC LIMIT 1", (path,))
        digest = str(rows[0]["digest"]) if rows else ""
        self._linked([("DELETE FROM recordings WHERE path = ?", (path,))], "removed", path, digest, why, at_ms)

    def seen(self, who: str, what: str, path: str, at_ms: int, detail: str = "") -> None:
        """Somebody heard, exported, listed or erased."""
        self._db.execute(_SEEN, (at_ms, who, what, path, detail))

    def sent(self, path: str, who: str, at_ms: int, detail: str) -> None:
        """The centre has it; `who` let it be sent. Harmless when said again."""
        self._db.transaction([(_SENT_LINE, (at_ms, who, detail, path)), (_SENT, (at_ms, path))])

    def _linked(self, statements: list[Statement], what: str, path: str, digest: str, why: str, at_ms: int) -> None:
        with self._lock:
            seq = self._seq + 1
            found = self._mac(self._hash, seq, at_ms, what, path, digest, why)
            if self._db.transaction([*statements, (_LINK, (seq, at_ms, what, path, digest, why, found))]):
                if self._seq:
                    self._keep_head(f"{self._seq} {self._hash}")
                    self._kept = f"{self._seq} {self._hash}"
                self._seq, self._hash = seq, found

    def _mac(self, before: str, *fields: object) -> str:
        return self._device.mac(msgspec.json.encode([before, *fields]))

    # --- reading ------------------------------------------------------------------------------------------------------

    def find(self, wanted: Found) -> list[sqlite3.Row]:
        """Finished recordings, newest first."""
        tests, values = ["r.state <> 'open'"], list[Any]()
        if wanted.agent:
            tests.append("' ' || c.agents || ' ' LIKE ?")
            values.append(f"% {wanted.agent} %")
        if wanted.number:
            leg = "EXISTS (SELECT 1 FROM legs l WHERE l.contact = c.id AND l.number = ?)"
            tests.append(f"(c.caller = ? OR c.called = ? OR c.extension = ? OR {leg} OR r.rule LIKE 'room/%' AND {_BESIDE})")
            values += [wanted.number] * 7
        if wanted.queue:
            tests.append("c.queue = ?")
            values.append(wanted.queue)
        if wanted.rating:
            tests.append("c.rating = ?")
            values.append(wanted.rating)
        if wanted.since_ms:
            tests.append("r.started_ms >= ?")
            values.append(wanted.since_ms)
        if wanted.until_ms:
            tests.append("r.started_ms < ?")
            values.append(wanted.until_ms)
        order = "ORDER BY r.started_ms DESC, r.path DESC LIMIT ?"
        return self._db.query(f"{_LIST} WHERE {' AND '.join(tests)} {order}", (*values, wanted.lines))

    def outbox(self, queues: Sequence[str], lines: Sequence[str], most: int, at_ms: int) -> tuple[int, int, list[sqlite3.Row]]:
        """How many finished recordings the centre lacks, their bytes, and the oldest of them; of these queues and lines, () for all.

        Of a call that goes on nothing waits: who spoke is known at its end. One whose end was never told waits an hour. No more than
        MOST_COUNTED are counted.
        """
        tests = ["r.state <> 'open' AND r.sent_ms = 0 AND (c.ended_ms IS NOT NULL OR r.started_ms + r.frames / 8 < ?)"]
        values: list[Any] = [at_ms - UNTOLD_MS]
        if queues:
            tests.append(f"c.queue IN ({', '.join('?' * len(queues))})")
            values += queues
        if lines:
            there = f"l.endpoint IN ({', '.join('?' * len(lines))})"
            tests.append(f"EXISTS (SELECT 1 FROM legs l WHERE l.contact = c.id AND {there})")
            values += [f"line/{name}" for name in lines]
        fitting = f"LEFT JOIN contacts c ON c.id = r.contact WHERE {' AND '.join(tests)}"
        counted = f"SELECT count(*) AS n, coalesce(sum(bytes), 0) AS bytes FROM (SELECT r.bytes FROM recordings r {fitting} LIMIT ?)"
        oldest = f"{_LIST} WHERE {' AND '.join(tests)} ORDER BY r.started_ms, r.path LIMIT ?"
        (count,), rows = self._db.query_apart((counted, (*values, MOST_COUNTED)), (oldest, (*values, most)))
        return int(count["n"]), int(count["bytes"]), rows

    def links(self, after: int, most: int) -> tuple[int, str, list[sqlite3.Row]]:
        """Number of the last link of the chain, hash of link `after`, and the links that follow it."""
        before = self._db.query("SELECT hash FROM recording_chain WHERE seq = ?", (after,))
        rows = self._db.query("SELECT * FROM recording_chain WHERE seq > ? ORDER BY seq LIMIT ?", (after, most))
        return self._seq, str(before[0]["hash"]) if before else FIRST, rows

    def sealed_link(self, path: str) -> sqlite3.Row | None:
        """The link with which a recording was sealed."""
        found = self._db.query("SELECT * FROM recording_chain WHERE path = ? AND what = 'sealed' ORDER BY seq DESC LIMIT 1", (path,))
        return found[0] if found else None

    def agents(self, since_ms: int) -> list[str]:
        """Agents of whose calls there are recordings from this time on."""
        rows = self._db.query(
            "SELECT DISTINCT c.agents FROM recordings r JOIN contacts c ON c.id = r.contact WHERE r.state <> 'open' AND r.started_ms >= ?",
            (since_ms,),
        )
        return sorted({agent for row in rows for agent in str(row["agents"]).split()})

    def one(self, path: str) -> sqlite3.Row | None:
        """One recording."""
        found = self._db.query(f"{_LIST} WHERE r.path = ?", (path,))
        return found[0] if found else None

    def known(self, paths: list[str]) -> list[str]:
        """Those of these recordings that are there: what was removed is not listed anywhere."""
        if not paths:
            return []
        marks = ", ".join("?" * len(paths))
        found = {str(row["path"]) for row in self._db.query(f"SELECT path FROM recordings WHERE path IN ({marks})", paths)}
        return [path for path in paths if path in found]

    def rows(self) -> list[sqlite3.Row]:
        """Every row in order of age, open ones too."""
        return self._db.query("SELECT * FROM recordings ORDER BY started_ms, path")

    def heard(self, lines: int) -> list[sqlite3.Row]:
        """The newest lines of the access log."""
        return self._db.query("SELECT * FROM recording_access ORDER BY seq DESC LIMIT ?", (lines,))

    def disk(self, folder: str) -> str:
        """Identity of the disk that `folder` is on, "" where none is known."""
        rows = self._db.query("SELECT disk FROM recording_disks WHERE folder = ?", (folder,))
        return str(rows[0]["disk"]) if rows else ""

    def keep_disk(self, folder: str, disk: str) -> None:
        """That disk belongs to us; "" forgets the one that did."""
        if disk:
            self._db.execute("INSERT OR REPLACE INTO recording_disks (folder, disk) VALUES (?, ?)", (folder, disk))
        else:
            self._db.execute("DELETE FROM recording_disks WHERE folder = ?", (folder,))

    def flush(self, seconds: float = 2.0) -> bool:
        """Wait until what was written is on the disk."""
        return self._db.flush(seconds)

    def chain(self) -> tuple[dict[str, str], list[str]]:
        """Digests that the chain promises for files that should be there, and what is wrong with the chain itself."""
        promised: dict[str, str] = {}
        wrong: list[str] = []
        before, expected, kept = FIRST, 1, self._kept
        for row in self._db.query("SELECT * FROM recording_chain ORDER BY seq"):
            fields = (row["seq"], row["at_ms"], row["what"], row["path"], row["digest"], row["why"])
            if row["seq"] != expected:
                wrong.append(f"links {expected} to {row['seq'] - 1} of the chain are missing")
            if row["hash"] != self._mac(before, *fields):
                wrong.append(f"link {row['seq']} of the chain ({row['path']}) was changed or is not ours")
            if kept and kept == f"{row['seq']} {row['hash']}":
                kept = ""
            before, expected = row["hash"], row["seq"] + 1
            if row["what"] == "sealed":
                promised[row["path"]] = row["digest"]
            else:
                promised.pop(row["path"], None)
        if kept:
            wrong.append(f"the end of the chain is missing: link {kept.split()[0]} stood there once")
        return promised, wrong
