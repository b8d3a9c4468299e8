"""Echo filters over a power cut: learned by the real engine, stored by the real database, offered to the next engine."""

from __future__ import annotations

import logging
import sqlite3
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware.core.lines_echo import REFRESH_MS, SETTLE_MS, EchoMemory, change, line_identity
from firmware.dsp.ring import RingSegment
from firmware.media.events import LearnedFilter
from firmware.runtime.clock import ManualClock
from firmware.store.db import Database
from firmware.store.filters import EchoFilterStore, StoredFilter
from tests.unit.engine_stage import Stage
from tests.unit.test_engine_voice import call

LINE = line_identity("world", 0, "line/1", "CN", "01055550001")


class Segment:
    """The two words that `Media` has for echo filters, on a ring segment."""

    def __init__(self, ring: RingSegment) -> None:
        self.ring = ring

    def learned(self, slot: int) -> LearnedFilter | None:
        found = self.ring.learned(slot)
        return None if found is None else LearnedFilter(*found)

    def offer(self, slot: int, known: LearnedFilter) -> None:
        self.ring.offer(slot, known.line, known.rate, known.depth, known.erl_db, known.erle_db, known.taps)


def taps(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def opened(folder: Path) -> Database:
    return Database(folder / "state.db", "state")


def test_first_call_after_a_power_cut_has_no_echo_from_its_first_word(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clock, db, stage = ManualClock(), opened(tmp_path), Stage()
    memory = EchoMemory(Segment(stage.ring), EchoFilterStore(db), clock, {0: LINE})
    memory.start()
    call(stage, rng, 8.0, line=LINE)
    memory.closed(0)
    clock.advance(SETTLE_MS)
    assert db.close()
    stage.close()  # and with it the segment: the power is gone
    db, after = opened(tmp_path), Stage()
    EchoMemory(Segment(after.ring), EchoFilterStore(db), clock, {0: LINE}).start()
    back = call(after, rng, 2.0, line=LINE)
    outcomes = [payload[0] for _, payload in after.named("echo_filter", 0)]
    after.close()
    db.close()
    assert outcomes == [1]
    assert back < -55


def test_a_line_that_is_another_one_now_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    db, ring = opened(tmp_path), RingSegment.create()
    store = EchoFilterStore(db)
    store.save(StoredFilter(0, LINE, 8000, 1, 10.0, 30.0, taps(0.5, 0.25), 1))
    db.flush()
    with caplog.at_level(logging.INFO):
        EchoMemory(Segment(ring), store, ManualClock(), {0: line_identity("world", 0, "line/1", "CN", "another number")}).start()
    assert "another line" in caplog.text
    assert ring.offered(0) is None
    db.close()


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("taps", b"abc", "no impulse response"),
        ("taps", b"", "no impulse response"),
        ("taps", "text", "bytes"),
        ("crc", 1, "checksum"),
        ("line", "no number", "invalid literal"),
        ("line", "0", "out of range"),
        ("depth", -1, "out of range"),
        ("rate", "fast", "int"),
    ],
)
def test_bad_data_is_left_out_with_a_word_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str, value: Any, said: str
) -> None:
    db = opened(tmp_path)
    store = EchoFilterStore(db)
    for slot in (0, 1):
        store.save(StoredFilter(slot, LINE, 8000, 1, 10.0, 30.0, taps(0.5, 0.25), 1))
    db.execute(f"UPDATE echo_filters SET {column} = ? WHERE slot = 0", (value,))
    db.flush()
    assert [one.slot for one in store.load()] == [1]
    assert "slot 0" in caplog.text
    assert said in caplog.text
    db.close()


def test_taps_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    db = opened(tmp_path)
    store = EchoFilterStore(db)
    store.save(StoredFilter(0, LINE, 8000, 1, 10.0, 30.0, taps(0.5, float("inf")), 1))
    db.flush()
    assert store.load() == []
    db.close()


def test_a_database_of_the_last_release_gains_the_table(tmp_path: Path) -> None:
    first = Path(__file__).parents[2] / "firmware/store/migrations/state/0001_initial.sql"
    old = sqlite3.connect(tmp_path / "state.db")
    old.executescript(first.read_text() + "PRAGMA user_version = 1;")
    old.close()
    db = opened(tmp_path)
    assert EchoFilterStore(db).load() == []
    db.close()


class Learner:
    """A media whose line changes as the test says."""

    def __init__(self) -> None:
        self.now: LearnedFilter | None = None

    def learned(self, slot: int) -> LearnedFilter | None:
        return self.now

    def offer(self, slot: int, known: LearnedFilter) -> None:
        self.now = known


def test_flash_is_spared_while_a_filter_stays_what_it_is(tmp_path: Path) -> None:
    db, clock, media = opened(tmp_path), ManualClock(), Learner()
    memory = EchoMemory(media, EchoFilterStore(db), clock, {0: LINE})

    def written(*values: float, depth: int = 1, line: int = LINE) -> bool:
        media.now = LearnedFilter(line, 8000, depth, 5, 10.0, 30.0, taps(*values))
        before = db.statistics()["written"]
        memory.keep(0)
        assert db.flush()
        return db.statistics()["written"] > before

    assert written(0.5, 0.25)
    assert not written(0.501, 0.25)
    assert written(0.4, 0.25)
    assert written(0.4, 0.25, 0.0)
    assert written(0.4, 0.25, 0.0, depth=2)
    assert not written(0.1, 0.1, line=LINE + 2)
    clock.advance(REFRESH_MS)
    assert written(0.4, 0.25, 0.0, depth=2)
    media.now = None
    memory.keep(0)
    db.close()


def test_change_is_a_share_of_the_energy() -> None:
    assert change(taps(1.0, 0.0), taps(1.0, 0.1)) == pytest.approx(0.01 / 1.01, rel=1e-5)
    assert change(taps(1.0), taps(0.0)) == 1.0
    assert change(taps(1.0), taps(1.0, 0.0)) == 1.0


def test_identity_depends_on_every_fact_and_is_never_zero() -> None:
    facts = ["world", 0, "line/1", "CN", "123"]
    seen = {line_identity(*facts)}
    for index in range(len(facts)):
        changed = [*facts]
        changed[index] = f"{facts[index]}x"
        seen.add(line_identity(*changed))
    assert len(seen) == len(facts) + 1
    assert all(seen)
