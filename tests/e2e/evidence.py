"""What tests compare: what simulated people saw, what the records say, and that nothing is left behind."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.audio import Sound, read_wav


def contacts(box: Appliance, *, closed: bool = True) -> list[dict[str, Any]]:
    """Contacts as they are on disk, oldest first."""
    where = "WHERE ended_ms IS NOT NULL" if closed else ""
    with sqlite3.connect(f"file:{box.state / 'calls.db'}?mode=ro", uri=True) as db:
        db.row_factory = sqlite3.Row
        rows = [dict(row) for row in db.execute(f"SELECT * FROM contacts {where} ORDER BY opened_ms")]
    db.close()
    return rows


def rows(box: Appliance, table: str, contact: str) -> list[dict[str, Any]]:
    """Rows of a contact in `legs` or `contact_events`."""
    with sqlite3.connect(f"file:{box.state / 'calls.db'}?mode=ro", uri=True) as db:
        db.row_factory = sqlite3.Row
        found = [dict(row) for row in db.execute(f"SELECT * FROM {table} WHERE contact = ?", (contact,))]
    db.close()
    return found


def contact_of(box: Appliance, number: str, timeout: float = 30) -> dict[str, Any]:
    """The closed contact whose caller or called number is `number`."""
    found: dict[str, Any] = wait_until(
        lambda: next((row for row in contacts(box) if number in (row["caller"], row["called"])), None), f"the record of {number}", timeout
    )
    return found


def person(box: Appliance, ident: str) -> dict[str, Any]:
    """What a simulated person saw so far."""
    people: list[dict[str, Any]] = box.world({"do": "results", "person": ident})["people"]
    return people[0]


def wait_done(box: Appliance, ident: str, timeout: float = 60) -> dict[str, Any]:
    """What a simulated person saw, once he is done."""
    found: dict[str, Any] = wait_until(lambda: (one := person(box, ident))["done"] and one, f"{ident} is done", timeout)
    return found


def log_in(box: Appliance, agent: str, extension: str) -> None:
    box.ctl("agent login", agent=agent, extension=extension)


def world_sleep(box: Appliance, ms: int) -> int:
    """Let the world's time pass; its time then."""
    return int(box.world({"do": "sleep", "ms": ms})["now_ms"])


def wall_base(box: Appliance) -> int:
    """Unix ms of the world's time 0."""
    status = box.world({"do": "status"})
    return int(status["wall_ms"] - status["now_ms"])


def tape_of(box: Appliance, ident: str, path: Path) -> tuple[Sound, int]:
    """What a person at a telephone of the world heard, and the world's time of its first sample."""
    box.world({"do": "tape", "person": ident, "path": str(path)})
    return read_wav(path)[0], int(person(box, ident)["tape_start"])


def last_heard_s(sound: Sound, hz: float, floor_dbm0: float, block_ms: int = 10) -> float:
    """Seconds at which the tone was last above the floor."""
    heard = sound.tone_envelope(hz, block_ms) > floor_dbm0
    return float(heard.nonzero()[0][-1] + 1) * block_ms / 1000


def idle(box: Appliance) -> str:
    """Why the appliance is not at rest; "" when it is: no call, every line and phone idle, no agent stuck."""
    if calls := box.ctl("show calls"):
        return f"calls: {calls}"
    for line in box.ctl("show lines"):
        if line["available"] != "idle" or line["leg"]:
            return f"line: {line}"
    for phone in box.ctl("show phones"):
        if phone["state"] not in ("idle", "unregistered"):
            return f"phone: {phone}"
    for agent in box.ctl("show agents"):
        if agent["state"] in ("offered", "talking"):
            return f"agent: {agent}"
    off_hook = [line for line in box.world({"do": "status"})["lines"] if line["off_hook"]]
    return f"the exchange sees {off_hook}" if off_hook else ""


def check_at_rest(box: Appliance, timeout: float = 30) -> None:
    """No stuck port, no zombie call, no stuck agent, every contact closed."""
    deadline = time.monotonic() + timeout
    while True:
        why = idle(box)
        if not why and not [row for row in contacts(box, closed=False) if row["ended_ms"] is None]:
            return
        assert time.monotonic() < deadline, why or "a contact has no end on disk"
        time.sleep(0.05)
