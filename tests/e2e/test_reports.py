"""Reports, exports and the board of a running appliance, as its console, `branchpbx report` and `branchpbx board` give them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.appliance import ROOT, wait_until
from tests.e2e.branch import CALLEE_HZ, CALLER_HZ, HZ, SITE, SPEED, Branch, open_branch
from tests.e2e.evidence import rows

pytestmark = pytest.mark.e2e
CHIME_HZ = 450.0                # China's tone of confirmation


@pytest.fixture(scope="module")
def branch(network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Branch]:
    site = SITE.replace("[queues.sales]", "[queues.sales]\nspeech = true\nsilent_hint_s = 5\nsilent_tone = true")
    priced = '[tariffs.second]\nprice = "0.5"\nunit_s = 1\n[ports.groups.reversal]\ntariff = "second"\n'
    with open_branch(network, tmp_path_factory.mktemp("reports"), priced, site=site) as opened:
        yield opened


def said(branch: Branch, *words: str) -> str:
    """What `branchpbx WORDS` prints."""
    command = [sys.executable, "-m", "firmware", *words, "--state", str(branch.box.state)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_call_is_in_report_journey_exports_and_board(branch: Branch, tmp_path: Path) -> None:
    branch.fresh()
    branch.box.ctl("agent login", agent="8001", extension="201")
    assert "8001" in said(branch, "board", "--once", "--lang", "en")
    branch.answer("201")
    person, _ = branch.call("1310", HZ["201"], talk=60)
    wait_until(lambda: any(one["state"] == "talking" for one in branch.box.ctl("show board")["board"]["agents"]), "the agent speaks", 30)
    branch.done(person)
    record = branch.records()[0]
    queue = record["queue"]
    board = branch.box.ctl("show board")
    row = next(one for one in board["board"]["queues"] if one["queue"] == queue)
    assert (row["offered"], row["answered"], row["waiting"]) == (1, 1, 0)
    assert "实时看板" in "\n".join(board["page_zh"])
    english = said(branch, "report", "day", "--lang", "en")
    assert "Definitions" in english and queue in english and "calls from outside" in english
    said(branch, "report", "day", "--csv", str(tmp_path / "day.csv"), "--svg", str(tmp_path / "day.svg"), "--lang", "zh")
    rows = [*csv.reader((tmp_path / "day.csv").read_text(encoding="utf-8-sig").splitlines())]
    assert ["queue", queue, "answered", "1"] in rows
    assert ET.parse(tmp_path / "day.svg").getroot().tag.endswith("svg")
    assert record["id"] in said(branch, "report", "journey", record["id"], "--lang", "en")
    log = [line.split("|") for line in said(branch, "report", "queue-log").splitlines()]
    assert [line[4] for line in log if line[1] == record["id"]] == ["ENTERQUEUE", "CONNECT", "COMPLETECALLER"]
    calls = [*csv.reader(said(branch, "report", "cdr").splitlines())]
    assert [one[14] for one in calls if one[16] == record["id"]] == ["ANSWERED"]
    assert "日报" in said(branch, "cli", "--language", "zh", "-c", "report day")
    assert said(branch, "report", "month", "--lang", "en").startswith("Monthly report")


def test_how_people_spoke_is_measured_on_both_kinds_of_ports(branch: Branch) -> None:
    """A caller by an analogue line, an agent at a SIP telephone: the simulated people speak by turns, each for seconds."""
    branch.fresh()
    branch.box.ctl("agent login", agent="8001", extension="201")
    branch.answer("201")
    person, _ = branch.call("1310", HZ["201"], talk=12)
    branch.done(person)
    (record,) = branch.records()
    (event,) = [one for one in rows(branch.box, "contact_events", record["id"]) if one["kind"] == "speech"]
    found = json.loads(event["data"])
    assert (found["agent"], found["queue"]) == ("8001", "sales") and found["joined_ms"] > 8000 and found["dead"] == 0
    for side in ("agent", "caller"):
        assert 2000 <= found[f"{side}_ms"] <= found["joined_ms"] and -40 < found[f"{side}_dbm0"] < 0, (side, found)
    assert 0 <= found["first_ms"] < found["joined_ms"]
    english, chinese = (said(branch, "report", "day", "--lang", language) for language in ("en", "zh"))
    assert "How people spoke" in english and "dead" in english and "通话表达" in chinese
    assert "speech" in said(branch, "report", "journey", record["id"], "--lang", "en")


@pytest.mark.parametrize("silent", [False, True])
def test_screens_and_the_agent_are_told_of_a_caller_of_whom_nothing_is_heard(branch: Branch, silent: bool) -> None:
    branch.fresh()
    begin = branch.box.ctl("show status")["events"]
    branch.box.ctl("agent login", agent="8001", extension="201")
    branch.answer("201", talk=15)
    branch.world("speed", percent=400)       # the moments below are call control's own: what it is late by counts so many times
    try:
        person, _ = branch.call("1310", tone_hz=0.0 if silent else CALLER_HZ)
        branch.done(person)
    finally:
        branch.world("speed", percent=int(SPEED))
    (record,) = branch.records()
    story = rows(branch.box, "contact_events", record["id"])
    hints = [one["at_ms"] for one in story if one["kind"] == "caller-silent"]
    assert len(hints) == silent
    if not silent:
        return
    (joined,) = [one["at_ms"] for one in story if one["kind"] == "talking"]
    assert 5000 <= hints[0] - joined < 6000
    at = hints[0] - branch.wall_base
    agent, caller = (branch.heard(one, at - 200, at + 800).tone_envelope(CHIME_HZ) for one in (branch.at("201")["ident"], person))
    assert (agent > -30).sum() >= 10 and agent.max() < -20 and not (caller > -30).any(), "the agent, and nobody else, hears a tone"
    wish = json.dumps({"command": "events", "args": {"from": begin, "types": ["CallerSilent"]}})
    command = [sys.executable, "-m", "firmware", "ctl", wish, "--state", str(branch.box.state)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as reader:
        try:
            assert reader.stdout is not None
            told = [json.loads(reader.stdout.readline())["event"] for _ in range(2)]
        finally:
            reader.kill()
    assert [(one["type"], one["contact"], one["agent"], one["silent"]) for one in told] == [
        ("CallerSilent", record["id"], "8001", True), ("CallerSilent", record["id"], "8001", False)]  # fmt: skip


def test_a_call_to_outside_costs_what_its_line_says_and_is_unknown_where_none_does(branch: Branch) -> None:
    """Line 4 has a tariff and proves the answer, the others have none."""
    branch.fresh()
    branch.number("62009901")
    for code in ("8", "9"):
        branch.done(branch.dial("201", f"{code}62009901", CALLEE_HZ, talk=24))
    dear, other = sorted(branch.records(2), key=lambda row: str(row["called"]))
    for record, way in ((dear, "line/4"), (other, "")):
        (event,) = [one for one in rows(branch.box, "contact_events", record["id"]) if one["kind"] == "cost"]
        (leg,) = [one for one in rows(branch.box, "legs", record["id"]) if one["id"] == event["leg"]]
        found, ms = json.loads(event["data"]), leg["ended_ms"] - leg["answered_ms"]
        assert (found["by"], found["way"], found["ms"], found["currency"]) == ("201", leg["endpoint"], ms, "CNY") and ms > 3000
        if way:
            assert way == leg["endpoint"] and found["amount"] == f"{-(-ms // 1000) * 0.5:.2f}" and not found["estimated"]
        else:
            assert found["amount"] == "unknown"
    english, chinese = (said(branch, "report", "day", "--lang", language) for language in ("en", "zh"))
    assert "Cost of calls to outside" in english and " CNY" in english and "unknown" in english
    assert "外呼费用" in chinese and "不明" in chinese


def test_what_cannot_be_reported_is_said_in_a_line(branch: Branch) -> None:
    for words, wanted in (
        (["day", "2026-13-77"], "not a date"), (["day", "2099-01-01"], "has not begun"), (["journey", "C0"], "no contact"),
        (["day", "--queue", "nowhere"], "does not exist"),
    ):  # fmt: skip
        command = [sys.executable, "-m", "firmware", "report", *words, "--state", str(branch.box.state)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 1 and wanted in done.stderr and "Traceback" not in done.stderr, (words, done.stderr)


def test_the_board_is_told_as_an_event(branch: Branch) -> None:
    branch.fresh()
    branch.box.ctl("show board")
    begin = branch.box.ctl("show status")["events"]
    wish = json.dumps({"command": "events", "args": {"from": begin, "types": ["Board"]}})
    command = [sys.executable, "-m", "firmware", "ctl", wish]
    with subprocess.Popen([*command, "--state", str(branch.box.state)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as reader:
        try:
            branch.box.ctl("agent login", agent="8001", extension="202")
            branch.sleep(2)
            assert reader.stdout is not None
            event = json.loads(reader.stdout.readline())["event"]
        finally:
            reader.kill()
    assert event["type"] == "Board" and "queues" in event
