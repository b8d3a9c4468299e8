"""A day of the call-centre week with a fresh seed, the models of Part G, and that the comparison sees what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from firmware.app.office import Office
from firmware.sim import week
from firmware.sim import week_check as check
from firmware.sim import week_erlang as erlang
from firmware.sim import week_plan as p
from firmware.sim.week_people import Crowd

SEED = int(os.environ.get("BRANCHPBX_SEED", "1"))


def test_a_day_agrees_with_its_records_and_reports(tmp_path: Path) -> None:
    result = week.live(SEED, 600, 1, tmp_path, Office)
    assert result["differences"] == []
    assert result["faults"] == {"core": 2, "media": 1, "line": 1, "power": 1}
    assert result["talked"] > 300 and result["gave_up"] > 10 and result["transferred"] > 3


@pytest.mark.parametrize("patient", [True, False], ids=["Erlang C", "Erlang A"])
def test_the_queue_is_that_of_the_model(tmp_path: Path, patient: bool) -> None:
    """Whether measured waits meet the theory is for `make soak-acd`: it takes thousands of calls not to be luck."""
    found = week.measure(SEED, 600, tmp_path, Office, patient=patient, level="99.9")
    assert found["calls"] == 600 and found["discipline"] == []
    assert 0 < found["wait_s"]["measured"] < 10 * found["wait_s"]["theory"]


def test_a_queue_that_is_not_that_of_the_model_is_told() -> None:
    source = erlang.Source(1, 2, patient=True)
    source.joined, source.left, source.rung = {1: 1000, 2: 2000}, {2: 2100, 1: 9000}, [2, 1]
    source.busy = {"L1": [2100, 8000], "L2": [9000, 9500]}
    told = erlang.discipline(source)
    assert told[0] == "caller 1 was served before caller 2" and any("agents are free" in one for one in told[1:])


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A quiet hour of calls, lived once."""
    plan = p.plan(7, 60, 1)
    crowd = Crowd(p.Plan(7, 1, plan.calls, plan.shifts, []))
    office = Office(tmp_path_factory.mktemp("week"), p.config(), p.BEGINS, crowd)
    base = office.clock.wall_ms()
    crowd.live(office)
    office.run(p.DAY_MS + week.REST_MS)
    office.db.flush(60)
    yield crowd, base, office
    office.close()


def rows(office: Office, table: str) -> list[dict[str, Any]]:
    order = " ORDER BY seq" if table == "queue_log" else ""
    return [dict(row) for row in office.db.query(f"SELECT * FROM {table}{order}")]


def compared(lived: Any, change: Callable[[list[dict[str, Any]], list[dict[str, Any]]], None]) -> str:
    crowd, base, office = lived
    contacts, log = rows(office, "contacts"), rows(office, "queue_log")
    change(contacts, log)
    return "\n".join(check.compare(crowd, base, contacts, rows(office, "legs"), log))


def talked(contacts: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in contacts if row["connected_ms"] is not None and row["kind"] == "inbound")


def test_the_comparison_finds_nothing_in_what_is_right(lived: Any) -> None:
    assert compared(lived, lambda contacts, log: None) == ""


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("wait_ms", 1, "wait is"), ("agent", "8009", ""), ("connected_ms", 5, "began to talk"),
        ("first_to_leave", "system", "who left first"), ("rating", 9, "rating"), ("line", "line/99", "line is"),
        ("caller", "555", "0 contacts for one caller"), ("ended_ms", None, "still open"),
    ],
)  # fmt: skip
def test_the_comparison_sees_a_wrong_record(lived: Any, field: str, value: object, word: str) -> None:
    if field == "agent":
        found = compared(lived, lambda contacts, log: next(one for one in log if one["event"] == "CONNECT").update(agent=value))
        assert "agent is" in found
        return
    if field == "ended_ms":
        crowd, base, office = lived
        contacts = rows(office, "contacts")
        for row in contacts:
            if row["kind"] == "feature":
                row["ended_ms"] = None
        assert word in "\n".join(check.compare(crowd, base, contacts, rows(office, "legs"), rows(office, "queue_log")))
        return
    assert word in compared(lived, lambda contacts, log: talked(contacts).update({field: value}))


def test_the_comparison_sees_a_contact_that_is_there_twice_and_a_lost_line_of_the_log(lived: Any) -> None:
    assert "2 contacts for one caller" in compared(lived, lambda contacts, log: contacts.append(dict(talked(contacts))))

    def lose(contacts: list[dict[str, Any]], log: list[dict[str, Any]]) -> None:
        log.remove(next(one for one in log if one["event"] == "CONNECT"))

    assert "connected is False" in compared(lived, lose)


def test_the_comparison_sees_a_wrong_figure_and_a_wrong_export(lived: Any) -> None:
    crowd, _, office = lived
    day = p.BEGINS.date()
    noted = check.expected(crowd)[day.isoformat()]
    tally = office.reports.tally(day)
    assert check.differences("today", noted, check.reported(tally, p.QUEUES, p.AGENTS)) == []
    tally.add("queue/sales", "answered")
    assert "sales.answered" in check.differences("today", noted, check.reported(tally, p.QUEUES, p.AGENTS))[0]
    lines = office.reports.queue_log(day)
    assert check.exported("today", noted, [line for line in lines if "|CONNECT|" not in line], []) != []


def test_a_day_that_is_over_is_kept_and_a_month_is_the_sum_of_its_days(lived: Any) -> None:
    _, _, office = lived
    day = p.BEGINS.date()
    first = office.reports.tally(day)
    office.db.flush()
    assert office.db.query("SELECT day FROM report_days") and office.reports.tally(day) == first
    month = office.reports.month(day.replace(day=1))
    assert month.tally.get("queue/sales", "offered") == first.get("queue/sales", "offered") + sum(
        office.reports.tally(day + timedelta(days=1)).get("queue/sales", "offered") for _ in range(1)
    )
    assert next(one.name for one in month.days) == day.isoformat()
