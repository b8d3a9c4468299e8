"""Callbacks and lost callers through the calls part of core: stores, journal, restart, power cut, commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from firmware.call.events import LowRating, StaffingChanged
from firmware.call.model import LegKind, LegOffered, Party
from firmware.config.schema.acd import Callback
from firmware.control import acd_commands as cmd
from firmware.core.acd import AcdQueries, attach
from firmware.errors import PbxError
from tests.unit.call_stage import config
from tests.unit.test_call_part import Bench

NUMBER = "13800000001"


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    conf = config()
    queues = {**conf.queues, "sales": replace(conf.queues["sales"], callback=Callback(enabled=True))}
    bench = Bench(tmp_path, replace(conf, queues=queues))
    yield bench
    bench.db.close()
    bench.state_db.close()


def waits(bench: Bench, line: int = 1, number: str = NUMBER) -> str:
    """A caller in the queue, whose agent is paused."""
    if bench.boot == 1 and bench.calls.board.floor.agent("8001").status.value == "logged-out":
        bench.ask.agent("8001", "login", extension="201")
        bench.ask.agent("8001", "pause", reason="1")
    leg = bench.ids.leg()
    bench.phones.live[leg] = f"line/{line}"
    now = bench.clock.now()
    bench.bus.publish(LegOffered(leg, now, LegKind.FXO, f"line/{line}", Party(number), "", line - 1, 2, now - 900))
    bench.played(leg)
    bench.played(leg)
    bench.press(leg, "2")
    bench.press(leg, "1")
    bench.clock.advance(100)
    return leg


def asks(bench: Bench, leg: str) -> None:
    bench.press(leg, "1")
    bench.press(leg, "1")
    bench.played(leg)
    bench.phones.end(leg)


def shown(bench: Bench) -> list[cmd.CallbackRow]:
    return AcdQueries(bench.calls).callbacks()


def missed(bench: Bench) -> list[cmd.MissedRow]:
    return AcdQueries(bench.calls).missed()


def test_a_callback_outlives_core_and_the_power_and_can_be_cancelled(bench: Bench) -> None:
    leg = waits(bench)
    contact = bench.shown()[0].contact
    asks(bench, leg)
    (row,) = shown(bench)
    assert (row.number, row.queue, row.state, row.place) == (NUMBER, "sales", "waiting", 1)
    kinds = [one.kind for one in bench.record_of(contact).events]
    assert "callback-asked" in kinds and "callback" in kinds and not missed(bench)
    bench.kill()
    assert shown(bench) == [row], "core was killed"
    bench.start([], adopted=False)
    (after,) = shown(bench)
    assert (after.number, after.request, after.place) == (NUMBER, row.request, 1), "the power was cut"
    with pytest.raises(PbxError, match="show callbacks"):
        AcdQueries(bench.calls).cancel(cmd.CallbackCancel("77"))
    assert AcdQueries(bench.calls).cancel(cmd.CallbackCancel(row.request)) == []
    bench.start([], adopted=False)
    assert shown(bench) == []


def test_a_caller_who_waits_when_the_power_is_cut_is_on_the_list_once(bench: Bench) -> None:
    bench.phones.end(waits(bench))
    waits(bench, 2)
    bench.start([], adopted=False)
    (row,) = missed(bench)
    assert (row.number, row.times, row.queue, row.why) == (NUMBER, 2, "sales", "system")
    bench.start([], adopted=False)
    assert missed(bench) == [row]
    with pytest.raises(PbxError, match="show missed"):
        AcdQueries(bench.calls).close(cmd.MissedClose("999"))
    assert AcdQueries(bench.calls).close(cmd.MissedClose(NUMBER)) == []


def test_what_cannot_be_read_begins_anew_and_says_so(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    asks(bench, waits(bench))
    bench.state_db.flush()
    bench.state_db.execute("UPDATE kept SET state = x'00' WHERE part = 'acd'")
    bench.start([], adopted=False)
    assert shown(bench) == [] and "cannot be read" in caplog.text


def test_staffing_and_a_low_rating_are_alarms(bench: Bench) -> None:
    attach(FakeGate(), bench.calls)
    for event in (LowRating(1, "C1", "sales", "8001", "3"), StaffingChanged(1, 1, 5, "leaders", ["8002"])):
        bench.bus.publish(event)
    assert {kind for kind, _, _ in bench.alarms.list()} >= {"rating:C1", "staffing"}
    bench.bus.publish(StaffingChanged(2, 2, 5, "", [], 3))
    (told,) = [text for kind, text, _ in bench.alarms.list() if kind == "staffing-call-in"]
    assert "call in 3 people" in told and "请召集3人" in bench.alarms.chinese("staffing-call-in")
    bench.bus.publish(StaffingChanged(2, 0, 0, "", ["8002"]))
    bench.clock.advance(3_600_000)
    assert not {kind for kind, _, _ in bench.alarms.list()} & {"rating:C1", "staffing", "staffing-call-in"}
    assert AcdQueries(bench.calls).staffing() == []


class FakeGate:
    def handle(self, command: Any, fn: Any) -> None:
        """Take any."""
