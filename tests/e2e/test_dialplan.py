"""Calls at chosen dates: opening hours, holidays, the night key over a killed core, and the dry run beside the real call."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.appliance import ROOT, Appliance, wait_until
from tests.e2e.evidence import contact_of, contacts, rows, wait_done

pytestmark = [pytest.mark.e2e]

SITE = """
schema = 1
board = "world"
[site]
name = "Hours branch"
languages = ["en", "zh"]
company_clip = "company.demo"
[sip]
port = 0
[ports.fxo.1]
answer_after_rings = 1
[ports.fxs.1]
[extensions.101]
kind = "fxs"
jack = "1"
ring_s = 5
[hours.office]
mon = ["08:30-12:00", "13:00-18:00"]
tue = ["08:30-12:00", "13:00-18:00"]
wed = ["08:30-12:00", "13:00-18:00"]
thu = ["08:30-12:00", "13:00-18:00"]
fri = ["08:30-12:00", "13:00-18:00"]
to = "extension/101"
at_lunch = "announce/q.full"
[callers.blocked]
numbers = ["1399"]
to = "hangup"
[[inbound]]
to = "hours/office"
notice = false
"""
#: A Saturday that is worked instead of Spring Festival, minutes before the office closes for lunch.
BEGIN = "2026-02-28T11:40:00"


@pytest.fixture(scope="module")
def box(network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """The branch of this file."""
    folder = tmp_path_factory.mktemp("hours")
    site = folder / "site.toml"
    site.write_text(SITE)
    one = Appliance(folder / "box", bind=network, config=site, extra=("--speed", "2500", "--start-date", BEGIN)).start()
    yield one
    assert one.stop() == 0, one.said()


def call(box: Appliance, number: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A call from outside to its end: its record and the events of it."""
    who = box.world({"do": "call", "from": number, "line": 1, "caller_id": "dtmf", "patience": 25})["person"]
    wait_done(box, str(who))
    record = contact_of(box, number)
    return record, rows(box, "contact_events", record["id"])


def facts(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [json.loads(one["data"]) for one in events if one["kind"] == kind]


def explained(box: Appliance, *words: str) -> list[dict[str, Any]]:
    """What `branchpbx explain call` of the running appliance says."""
    command = [sys.executable, "-m", "firmware", "explain", "call", "--state", str(box.state), "--json", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def steps(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one["facts"] for one in found if one["kind"] == kind]


def told_alike(box: Appliance, number: str) -> list[dict[str, Any]]:
    """One call explained and then made: the decisions are the same; the events of the real one."""
    dry = explained(box, "--from", number, "--line", "1")
    _, events = call(box, number)
    for kind in ("route", "hours", "greeting", "caller-class", "dial"):
        assert steps(dry, kind) == facts(events, kind), kind
    return events


def test_worked_saturday_lunch_and_the_class_of_the_beginning(box: Appliance) -> None:
    shown = box.ctl("show hours")[0]
    assert (shown["state"], shown["by"], shown["told"]) == ("open", "official", "08:30-12:00,13:00-18:00"), shown
    events = told_alike(box, "13700000001")
    assert facts(events, "hours")[0]["state"] == "open" and facts(events, "dial")[0]["endpoint"] == "101"
    pass_until(box, "2026-02-28 12:00")
    events = told_alike(box, "13700000002")
    assert facts(events, "hours")[0]["state"] == "lunch" and facts(events, "greeting")[0]["prompt"] == "greet.afternoon"
    alarm = [one for one in box.ctl("show alarms") if one["kind"] == "calendar:ends"]
    assert not alarm, "the year has ten months to go"


def test_blocked_caller_is_never_answered(box: Appliance) -> None:
    events = told_alike(box, "13990000001")
    assert facts(events, "caller-class") == [{"name": "blocked"}] and not facts(events, "greeting")
    told = [one for one in contacts(box) if one["caller"] == "13990000001"]
    assert [one["answered_ms"] for one in told] == [None], told


def test_the_black_list_holds_over_a_killed_core_and_is_ended_by_command(box: Appliance) -> None:
    number = "13700000071"
    assert [row["number"] for row in box.ctl("blocked add", number=number)] == [number]
    pid = box.kill("core")
    wait_until(lambda: _core(box) not in (0, pid) and box._ready(), "core is there again", 40)
    record, events = call(box, number)
    assert facts(events, "caller-class") == [{"name": "blocked"}]
    assert record["answered_ms"] is None
    assert [row["number"] for row in box.ctl("show blocked")] == [number]
    assert box.ctl("blocked remove", number=number) == []
    # A refused line takes rings without a pause for the same call: let the exchange be silent for a while.
    rested = box.ctl("show hours")[0]["time"]
    wait_until(lambda: _seconds(box.ctl("show hours")[0]["time"], rested) > 60, "the line has rested", 40)
    call(box, number)
    later = wait_until(
        lambda: next((one for one in contacts(box) if one["caller"] == number and one["id"] != record["id"]), None), "the second call", 30
    )
    events = rows(box, "contact_events", later["id"])
    assert not facts(events, "caller-class")
    assert facts(events, "route")


def test_night_key_holds_over_a_killed_core_and_ends_by_itself(box: Appliance) -> None:
    now = datetime.fromisoformat(box.ctl("show hours")[0]["time"])
    until = now + timedelta(minutes=15)
    turned = box.ctl("night", mode="on", until=f"{until:%H:%M}")
    assert turned == {"mode": "on", "until": f"{until:%Y-%m-%d %H:%M}"}
    pid = box.kill("core")
    wait_until(lambda: _core(box) not in (0, pid) and box._ready(), "core is there again", 40)
    shown = box.ctl("show hours")[0]
    assert (shown["state"], shown["night"], shown["until"]) == ("night", "on", turned["until"])
    events = told_alike(box, "13700000003")
    assert facts(events, "hours")[0] == {"hours": "office", "state": "night", "by": "manual", "day": ""}
    pass_until(box, turned["until"])
    wait_until(lambda: box.ctl("show hours")[0]["until"] == "", "the key falls back", 20)
    assert (box.ctl("show hours")[0]["night"], box.ctl("show hours")[0]["state"]) == ("auto", "lunch")


def _seconds(time: str, since: str) -> float:
    return (datetime.fromisoformat(time) - datetime.fromisoformat(since)).total_seconds()


def pass_until(box: Appliance, time: str) -> None:
    """Let the clock run faster until it shows a time."""
    box.world({"do": "speed", "percent": 10_000})
    wait_until(lambda: box.ctl("show hours")[0]["time"] >= time, time, 120)
    box.world({"do": "speed", "percent": 2500})


def _core(box: Appliance) -> int:
    try:
        return int((box.state / "run" / "core.pid").read_text())
    except (OSError, ValueError):
        return 0


def test_dry_run_of_another_day_from_the_site_file_alone(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(SITE)
    command = [sys.executable, "-m", "firmware", "explain", "call", "--config", str(site), "--at", "2026-10-01T10:00", "--language", "zh"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "节假日 (国庆节)" in done.stdout and "greet.national" in done.stdout and "holiday.msg" in done.stdout, done.stdout
