"""The audit trail: added to only, chained, proved, drawn from."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from firmware.app.audit import AuditPart
from firmware.control.gate import Gate, Peer
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.store import audit
from firmware.store.audit import AuditTrail
from firmware.store.db import Database

DAY = 86_400_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manage.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = Database(path, "manage", functions=audit.FUNCTIONS)
    yield database
    database.close()


def filled(database: Database, count: int = 5, first_ms: int = 1000) -> AuditTrail:
    trail = AuditTrail(database)
    for number in range(count):
        outcome = "not_allowed" if number % 3 == 2 else "ok"
        who = "anna@ttyS0" if number % 2 == 0 else "bo@ssh"
        trail.add(first_ms + number, who, "admin", "set", f'{{"value": "{number} \u4e2d"}}', outcome)
    assert database.flush()
    return trail


def tampered(path: Path, *statements: str) -> None:
    """What somebody with the disk in his hands does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER audit_unchanged")
        connection.execute("DROP TRIGGER audit_kept")
        for one in statements:
            connection.execute(one)


def test_what_was_written_follows_and_goes_on_over_a_restart(path: Path, database: Database) -> None:
    trail = filled(database)
    proof = trail.prove()
    assert (proof.records, proof.first_ms, proof.last_ms, proof.broken) == (5, 1000, 1004, 0) and len(proof.head) == 64
    database.close()
    again = Database(path, "manage", functions=audit.FUNCTIONS)
    filled(again, 2, 2000)
    assert (AuditTrail(again).prove().records, AuditTrail(again).prove().broken) == (7, 0)
    again.close()


def test_an_empty_trail_is_whole(database: Database) -> None:
    assert AuditTrail(database).prove() == audit.Proof(0, 0, 0, 0, "")


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit SET peer = 'nobody' WHERE seq = 3", 3),
        ("UPDATE audit SET outcome = 'ok' WHERE seq = 3", 3),
        ("UPDATE audit SET wall_ms = 1 WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 3", 4),
        ("DELETE FROM audit WHERE seq <= 2", 3),
        ("UPDATE audit SET chain = x'' WHERE seq = 4", 4),
        ("INSERT INTO audit (wall_ms, peer, role, command, args, outcome) VALUES (1, 'x', 'admin', 'set', '{}', 'ok')", 6),
    ],
)
def test_what_was_changed_is_named(path: Path, database: Database, statement: str, broken: int) -> None:
    trail = filled(database)
    tampered(path, statement)
    assert trail.prove().broken == broken


@pytest.mark.parametrize("statement", ["UPDATE audit SET peer = 'x'", "DELETE FROM audit WHERE seq = 1", "DELETE FROM audit"])
def test_the_table_refuses_changes(path: Path, database: Database, statement: str) -> None:
    filled(database)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection, pytest.raises(sqlite3.IntegrityError, match="audit trail"):
        connection.execute(statement)
    assert AuditTrail(database).prove().records == 5


def test_the_oldest_go_and_the_rest_is_believed_from_there(path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "KEEP", 3)
    trail = filled(database)
    tampered(path, "DELETE FROM audit WHERE seq <= 2")
    assert (trail.prove().records, trail.prove().broken) == (3, 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE audit SET args = '{}' WHERE seq = 4")
    assert trail.prove().broken == 4


def test_no_more_than_the_last_records_are_kept(path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PRUNE_EVERY", 10)
    filled(database, 10)
    assert database.failed == 0 and AuditTrail(database).prove().records == 10


def test_records_from_before_the_chain_are_its_beginning(path: Path, database: Database) -> None:
    database.execute("INSERT INTO audit (wall_ms, peer, role, command, args, outcome) VALUES (1, 'x', 'admin', 'set', '{}', 'ok')")
    trail = filled(database, 3)
    assert (trail.prove().records, trail.prove().broken) == (4, 0)


def test_somebody_checks(database: Database) -> None:
    now = 40 * DAY
    trail = filled(database, 3)                             # long ago
    filled(database, 6, now - DAY)
    gate = Gate(Bus(), ManualClock())
    AuditPart(trail, lambda: ZoneInfo("Asia/Shanghai"), lambda: now / 1000).attach(gate)

    def ask(path: str, role: str = "supervisor", **args: object) -> dict[str, object]:
        return asyncio.run(gate.perform(Peer("li", role), path, args))          # type: ignore[arg-type]

    assert not ask("show spot-check", "viewer")["ok"] and not ask("verify audit", "viewer")["ok"]
    page = ask("show spot-check", days=30, count=4)["result"]
    assert isinstance(page, dict)
    assert page["people"] == [
        {"peer": "anna@ttyS0", "role": "admin", "commands": 3, "refused": 1},
        {"peer": "bo@ssh", "role": "admin", "commands": 3, "refused": 1},
    ]
    assert len(page["drawn"]) == 4 and all(row["time"].startswith("1970-02-0") for row in page["drawn"])
    assert page["proof"]["broken"] == 0 and page["proof"]["records"] == 9 and "没有记录" in page["proof"]["says_zh"]
    shown = ask("show audit", lines=2)["result"]
    assert isinstance(shown, list) and [row["args"] for row in shown] == ['{"value": "4 中"}', '{"value": "5 中"}']


def test_a_draw_is_by_chance_and_never_twice_the_same_record(database: Database) -> None:
    trail = filled(database, 50)
    draws = {tuple(one.seq for one in trail.sample(0, 10, random.Random(seed))) for seed in range(20)}
    assert len(draws) > 10 and all(len(set(one)) == 10 for one in draws)
    assert len(trail.sample(0, 99, random.Random(1))) == 50 and trail.sample(10**9, 5, random.Random(1)) == []
