"""One SQLite file, one writing thread.

Theory of operation
-------------------
`execute` and `transaction` put work in a queue in memory and return at once; the writer thread gathers for `GATHER_S` what comes, writes
it as one transaction (WAL, synchronous=FULL: durable when `flush` returns) and goes on; `flush` and `close` do not wait for that. A full
or stalled disk makes the writer roll back, raise an alarm and try the same batch again with back-off: the caller never waits and nothing
is lost until `limit` units wait in memory; then new work is refused, counted in `lost` and alarmed. A statement that is wrong in itself
is dropped with a log entry and its neighbours are written. Invariants: units are written in the order given; a unit is written whole or
not at all; only this class writes the file.
A file that is not a sound database is moved aside (`NAME.corrupt`), an alarm says so, and a new file with a new
`generation` takes its place. Migrations are numbered files `0001_name.sql`, applied in order, each in a transaction;
`PRAGMA user_version` is the last one applied.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from firmware.errors import StoreError
from firmware.store.files import move_aside

Statement = tuple[str, Sequence[Any]]
Alarm = Callable[[str, str], None]

BATCH = 500
GATHER_S = 0.1
RETRY_FIRST_S = 0.1
RETRY_MOST_S = 5.0
# quick_check reads the whole file; above this size the header and schema alone are checked at start.
CHECK_BYTES = 64 << 20

log = logging.getLogger("branchpbx.store")


def migrations_of(name: str) -> Path:
    """Folder of the migrations of database `name` ("calls", "state", "manage")."""
    return Path(__file__).parent / "migrations" / name


def load_migrations(folder: Path) -> list[tuple[int, str, str]]:
    """(number, file name, SQL) in order. Raises StoreError if a number is missing, doubled or the folder is empty."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = re.fullmatch(r"(\d{4})_[a-z0-9_]+\.sql", path.name)
        if match is None:
            raise StoreError(f"{path}: a migration is named NNNN_words.sql, for example 0001_initial.sql")
        found.append((int(match[1]), path.name, path.read_text("utf-8")))
    if [number for number, _, _ in found] != list(range(1, len(found) + 1)) or not found:
        raise StoreError(f"{folder}: migrations must be numbered 0001, 0002, ... without gap; found {[name for _, name, _ in found]}")
    return found


class Database:
    """See the theory of operation above.

    `on_alarm(kind, text)` is called from the writer thread: kinds "disk" (text "" when it is over), "full", "corrupt". `functions`:
    name -> (number of arguments, function) that statements may use; they run in the writer thread and must always give the same.
    Raises StoreError when the file cannot be opened or was written by a newer version.
    """

    def __init__(
        self, path: Path | str, migrations: Path | str, *, limit: int = 20_000, on_alarm: Alarm | None = None,
        functions: Mapping[str, tuple[int, Callable[..., Any]]] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.path = Path(path)
        self.limit = limit
        self.lost = 0
        self.failed = 0
        self.written = 0
        self.generation = ""
        self.fresh = False
        """True when this start created the file."""
        self._on_alarm = on_alarm
        self._functions = functions
        self._alarmed: set[str] = set()
        folder = migrations_of(migrations) if isinstance(migrations, str) and "/" not in migrations else Path(migrations)
        self._migrations = load_migrations(folder)
        self._writer = self._open()
        self._reader: sqlite3.Connection | None = None
        self._reader_lock = threading.Lock()
        self._queue: deque[list[Statement]] = deque()
        self._waiting = threading.Condition()
        self._submitted = 0
        self._done = 0
        self._flushing = 0
        self._closing = False
        self._abandon = False
        self._writing_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"db-{self.path.stem}", daemon=True)
        self._thread.start()

    # --- what callers use ---------------------------------------------------------------------------------------------

    def execute(self, sql: str, params: Sequence[Any] = ()) -> bool:
        """Queue one statement; False when the queue is full and the statement was refused (counted in `lost`)."""
        return self.transaction([(sql, params)])

    def transaction(self, statements: Iterable[Statement]) -> bool:
        """Queue statements that are written together or not at all; False when refused."""
        unit = list(statements)
        return self.units([unit]) if unit else True

    def units(self, units: Sequence[list[Statement]]) -> bool:
        """Queue several transactions, each written whole or not at all, in this order; False when one was refused."""
        with self._waiting:
            if self._closing:
                raise StoreError(f"{self.path}: written to after it was closed")
            before = len(self._queue)
            room = max(0, self.limit - before)
            refused = len(units) - room
            self._queue.extend(units[:room] if refused > 0 else units)
            added = len(self._queue) - before
            self._submitted += added
            if (before == 0 and added) or before < BATCH <= before + added:      # else the writer gathers, or looks again by itself
                self._waiting.notify_all()
            if refused > 0:
                self.lost += refused
        if refused > 0:
            self._alarm("full", f"{self.path}: {self.limit} writes wait for the disk; new ones are lost until it recovers")
        return refused <= 0

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything queued so far is durable; False on time-out. Blocks: not for the event loop in a call."""
        with self._waiting:
            target = self._submitted
            self._flushing += 1
            self._waiting.notify_all()
            try:
                return self._waiting.wait_for(lambda: self._done >= target, timeout_s)
            finally:
                self._flushing -= 1

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Rows of a read; sees what has been written (call `flush` first to see what is queued). Raises StoreError."""
        with self._reader_lock:
            try:
                if self._reader is None:
                    self._reader = _connect(self.path, readonly=True)
                return self._reader.execute(sql, params).fetchall()
            except sqlite3.Error as error:
                raise StoreError(f"{self.path}: cannot read: {error}") from error

    def query_apart(self, *queries: tuple[str, Sequence[Any]]) -> list[list[sqlite3.Row]]:
        """Rows of slow reads, on a connection of their own: no other read waits for them. Not on the event loop. Raises StoreError."""
        try:
            with contextlib.closing(_connect(self.path, readonly=True)) as connection:
                return [connection.execute(sql, params).fetchall() for sql, params in queries]
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: cannot read: {error}") from error

    def statistics(self) -> dict[str, int]:
        """Counts: waiting, written, failed, lost."""
        with self._waiting:
            return {"waiting": self._submitted - self._done, "written": self.written, "failed": self.failed, "lost": self.lost}

    def stalled_s(self) -> float:
        """Seconds that the disk has held one write; 0 while none is under way."""
        since = self._writing_since
        return 0.0 if since is None else time.monotonic() - since

    def close(self, timeout_s: float = 5.0) -> bool:
        """Write what is queued, then close the file; False when time ran out with work left."""
        whole = self.flush(timeout_s)
        with self._waiting:
            self._closing = True
            self._abandon = not whole
            self._waiting.notify_all()
        self._thread.join(timeout_s if whole else 0.5)
        with self._reader_lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
        if not whole:
            log.error("%s: closed with %d writes not on disk", self.path, self._submitted - self._done)
        return whole

    # --- the writer thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        delay = RETRY_FIRST_S
        while True:
            with self._waiting:
                self._waiting.wait_for(lambda: self._queue or self._closing)
                self._waiting.wait_for(lambda: self._flushing or self._closing or len(self._queue) >= BATCH, GATHER_S)
                if self._abandon or (self._closing and not self._queue):
                    break
                batch = [self._queue[i] for i in range(min(BATCH, len(self._queue)))]
            self._writing_since = time.monotonic()
            try:
                self._write(batch)
            except (sqlite3.OperationalError, sqlite3.DatabaseError, OSError) as error:
                self._alarm("disk", f"{self.path}: cannot write ({error}); {len(self._queue)} writes wait in memory and are tried again")
                with self._waiting:
                    self._waiting.wait_for(lambda: self._abandon, delay)
                delay = min(delay * 2, RETRY_MOST_S)
                continue
            finally:
                self._writing_since = None
            delay = RETRY_FIRST_S
            self._clear("disk", "full")
            with self._waiting:
                for _ in batch:
                    self._queue.popleft()
                self._done += len(batch)
                self._waiting.notify_all()
        with contextlib.suppress(sqlite3.Error):
            self._writer.close()

    def _write(self, batch: list[list[Statement]]) -> None:
        """Write the batch; if one unit is wrong in itself, write unit by unit and drop that one."""
        try:
            self._commit(batch)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError, OverflowError):
            pass
        except sqlite3.OperationalError as error:
            if not _wrong_in_itself(error):
                raise
        else:
            self.written += len(batch)
            return
        for index, unit in enumerate(batch):
            try:
                self._commit([unit])
                self.written += 1
            except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError, OverflowError) as error:
                self._drop(unit, error)
            except sqlite3.OperationalError as error:
                if not _wrong_in_itself(error):
                    # What was written stays written: take it off the queue before the rest is tried again.
                    with self._waiting:
                        for _ in range(index):
                            self._queue.popleft()
                        self._done += index
                    raise
                self._drop(unit, error)

    def _drop(self, unit: list[Statement], error: Exception) -> None:
        self.failed += 1
        log.error("%s: dropped a write that can never succeed: %s: %s", self.path, error, unit[0][0])

    def _commit(self, units: list[list[Statement]]) -> None:
        writer = self._writer
        try:
            writer.execute("BEGIN IMMEDIATE")
            for unit in units:
                for sql, params in unit:
                    writer.execute(sql, params)
            writer.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
            raise

    def _alarm(self, kind: str, text: str) -> None:
        if kind in self._alarmed:
            return
        self._alarmed.add(kind)
        log.error("%s", text)
        if self._on_alarm is not None:
            self._on_alarm(kind, text)

    def _clear(self, *kinds: str) -> None:
        for kind in kinds:
            if kind in self._alarmed:
                self._alarmed.discard(kind)
                log.info("%s: writing again", self.path)
                if self._on_alarm is not None:
                    self._on_alarm(kind, "")

    # --- opening ------------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        self.fresh = not self.path.exists()
        try:
            return self._prepare()
        except sqlite3.OperationalError as error:
            raise StoreError(f"{self.path}: cannot open: {error}; check that the folder exists, is writable and has space") from error
        except sqlite3.DatabaseError as error:
            aside = self._set_aside()
            self.fresh = True
            self._alarm("corrupt", f"{self.path}: not a sound database ({error}); kept as {aside.name}, a new generation begins")
        try:
            return self._prepare()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: cannot create: {error}") from error

    def _set_aside(self) -> Path:
        aside = move_aside(self.path, "corrupt")
        for ending in ("-wal", "-shm"):
            side = self.path.with_name(self.path.name + ending)
            with contextlib.suppress(FileNotFoundError):
                side.replace(aside.with_name(aside.name + ending))
        return aside

    def _prepare(self) -> sqlite3.Connection:
        connection = _connect(self.path)
        try:
            if self.path.stat().st_size <= CHECK_BYTES:
                verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if verdict != "ok":
                    raise sqlite3.DatabaseError(verdict)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            for name, (arguments, function) in self._functions.items():
                connection.create_function(name, arguments, function, deterministic=True)
            self._migrate(connection)
            connection.execute("CREATE TABLE IF NOT EXISTS store (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
            connection.execute(
                "INSERT OR IGNORE INTO store (key, value) VALUES ('generation', ?), ('created_ms', ?)",
                (os.urandom(4).hex(), str(int(time.time() * 1000))),
            )
            self.generation = connection.execute("SELECT value FROM store WHERE key = 'generation'").fetchone()[0]
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(self._migrations):
            raise StoreError(
                f"{self.path}: schema {version} was written by a newer version (this one knows {len(self._migrations)}); "
                "install that version again or start with another state folder"
            )
        for number, name, sql in self._migrations[version:]:
            try:
                connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                raise StoreError(f"{self.path}: migration {name} failed: {error}") from error
            log.info("%s: migrated to %s", self.path, name)


def _connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rwc'}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=1.0)
    connection.row_factory = sqlite3.Row
    return connection


def _wrong_in_itself(error: sqlite3.OperationalError) -> bool:
    """True for an error of the statement (no such table, syntax), not of the disk."""
    return error.sqlite_errorcode == sqlite3.SQLITE_ERROR
