"""One writer: order, batches, a disk that fails, a file that is broken, a newer version."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from firmware.errors import StoreError
from firmware.store.db import Database, load_migrations
from firmware.store.files import move_aside, write_atomic


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_initial.sql").write_text("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT NOT NULL);")
    return folder


def rows(db: Database) -> list[int]:
    assert db.flush()
    return [row["n"] for row in db.query("SELECT n FROM t ORDER BY n")]


def test_what_was_flushed_is_there_after_reopening(tmp_path: Path, migrations: Path) -> None:
    db = Database(tmp_path / "x.db", migrations)
    assert db.fresh
    for n in range(1200):
        db.execute("INSERT INTO t VALUES (?, ?)", (n, "a"))
    assert db.close()
    again = Database(tmp_path / "x.db", migrations)
    assert rows(again) == list(range(1200)) and again.generation == db.generation and not again.fresh
    again.close()


def test_unit_is_written_whole_or_not_at_all_and_neighbours_survive(tmp_path: Path, migrations: Path) -> None:
    db = Database(tmp_path / "x.db", migrations)
    db.execute("INSERT INTO t VALUES (1, 'a')")
    db.transaction([("INSERT INTO t VALUES (2, 'a')", ()), ("INSERT INTO t VALUES (1, 'again')", ())])
    db.execute("INSERT INTO nosuch VALUES (1)")
    db.execute("INSERT INTO t VALUES (3, 'a')")
    assert rows(db) == [1, 3]
    assert db.statistics() == {"waiting": 0, "written": 2, "failed": 2, "lost": 0}
    db.close()


def test_of_units_queued_together_each_is_refused_or_dropped_alone(tmp_path: Path, migrations: Path) -> None:
    db = Database(tmp_path / "x.db", migrations, limit=4)
    wrong = [("INSERT INTO nosuch VALUES (1)", ())]
    assert not db.units([[("INSERT INTO t VALUES (1, 'a')", ())], wrong, *([(f"INSERT INTO t VALUES ({n}, 'a')", ())] for n in (2, 3, 4))])
    assert rows(db) == [1, 2, 3]
    assert db.statistics() == {"waiting": 0, "written": 3, "failed": 1, "lost": 1}
    db.close()


def test_disk_that_refuses_delays_but_loses_nothing_and_alarms_once(tmp_path: Path, migrations: Path) -> None:
    alarms: list[tuple[str, str]] = []
    raised = threading.Event()

    def note(kind: str, text: str) -> None:
        alarms.append((kind, text))
        raised.set()

    db = Database(tmp_path / "x.db", migrations, limit=50, on_alarm=note)
    blocker = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO t VALUES (0, 'a')")
    assert raised.wait(10), "a writer that cannot write raises an alarm"
    accepted = [db.execute("INSERT INTO t VALUES (?, 'a')", (n,)) for n in range(1, 60)]
    assert accepted == [True] * 49 + [False] * 10
    assert db.lost == 10
    assert not db.flush(0.01)
    blocker.execute("ROLLBACK")
    blocker.close()
    assert rows(db) == list(range(50))
    assert [kind for kind, text in alarms if text] == ["disk", "full"]
    assert sorted(kind for kind, text in alarms if not text) == ["disk", "full"]
    db.close()


def test_broken_file_is_moved_aside_and_a_new_generation_begins(tmp_path: Path, migrations: Path) -> None:
    alarms: list[str] = []
    first = Database(tmp_path / "x.db", migrations)
    first.close()
    (tmp_path / "x.db").write_bytes(b"this is no database, it is a sentence" * 50)
    db = Database(tmp_path / "x.db", migrations, on_alarm=lambda kind, text: alarms.append(kind))
    assert alarms == ["corrupt"] and db.fresh
    assert db.generation != first.generation
    assert (tmp_path / "x.db.corrupt").read_bytes().startswith(b"this is no database")
    db.execute("INSERT INTO t VALUES (1, 'a')")
    assert rows(db) == [1]
    db.close()


def test_newer_file_is_refused_with_remedy(tmp_path: Path, migrations: Path) -> None:
    (migrations / "0002_more.sql").write_text("CREATE TABLE u (n INTEGER);")
    Database(tmp_path / "x.db", migrations).close()
    (migrations / "0002_more.sql").unlink()
    with pytest.raises(StoreError, match="newer version"):
        Database(tmp_path / "x.db", migrations)


def test_migration_is_applied_once_and_a_wrong_one_leaves_the_file_as_it_was(tmp_path: Path, migrations: Path) -> None:
    Database(tmp_path / "x.db", migrations).close()
    (migrations / "0002_more.sql").write_text("CREATE TABLE u (n INTEGER); CREATE TABLE t (x);")
    with pytest.raises(StoreError, match="0002_more"):
        Database(tmp_path / "x.db", migrations)
    (migrations / "0002_more.sql").write_text("CREATE TABLE u (n INTEGER);")
    db = Database(tmp_path / "x.db", migrations)
    assert db.query("SELECT * FROM u") == []
    db.close()


@pytest.mark.parametrize("names", [[], ["0002_x.sql"], ["0001_x.sql", "0003_y.sql"], ["0001_x.sql", "0001_y.sql"], ["1_x.sql"]])
def test_gaps_in_migrations_are_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(StoreError):
        load_migrations(tmp_path)


def test_folder_that_cannot_be_used_is_a_clear_error(tmp_path: Path, migrations: Path) -> None:
    with pytest.raises(StoreError, match="cannot open"):
        Database(tmp_path / "no" / "x.db", migrations)


@pytest.mark.parametrize("name", ["state", "manage"])
def test_shipped_migrations_apply(tmp_path: Path, name: str) -> None:
    Database(tmp_path / f"{name}.db", name).close()


def test_write_atomic_replaces_whole_and_sets_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    write_atomic(path, b"one", mode=0o600)
    write_atomic(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two" and path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secrets.json"]
    assert move_aside(path, "old").name == "secrets.json.old"
    path.write_bytes(b"x")
    assert move_aside(path, "old").name == "secrets.json.old-2"
