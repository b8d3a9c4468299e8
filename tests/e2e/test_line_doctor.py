"""The line doctor on the whole product: what the console says is what the exchange, the copper and the people of the world did."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.appliance import ROOT, wait_until
from tests.e2e.audio import read_wav
from tests.e2e.branch import CALLER_HZ, HZ, LEVEL, Branch

pytestmark = [pytest.mark.e2e]


def codes(branch: Branch, port: str) -> list[str]:
    return [one["code"] for one in branch.box.ctl("doctor line", line=port)["findings"]]


def told(branch: Branch, port: str, *wanted: str) -> None:
    """The doctor comes to these findings."""
    wait_until(lambda: codes(branch, port) == [*wanted], f"{port} is found {wanted}; it was {codes(branch, port)}", 20)


def console(branch: Branch, line: str, language: str = "en") -> str:
    """What `branchpbx cli -c LINE` prints."""
    command = [sys.executable, "-m", "firmware", "cli", "--state", str(branch.box.state), "--language", language, "-c", line]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60).stdout


def exchange(branch: Branch, line: int, **change: Any) -> dict[str, Any]:
    facts: dict[str, Any] = branch.world("exchange", line=line, **change)["line"]
    return facts


# --- words ------------------------------------------------------------------------------------------------------------------


def test_a_pulled_plug_a_second_telephone_and_swapped_wires_are_named(branch: Branch) -> None:
    told(branch, "2", "well")
    exchange(branch, 2, fault="cut", on=True)
    branch.sleep(3)
    told(branch, "2", "no-voltage")
    said = console(branch, "doctor line 2")
    assert "no voltage" in said and "is the cable in the wall socket?" in said and max(map(len, said.splitlines())) <= 80
    assert "线缆是否插在墙上插座里" in console(branch, "doctor line 2", "zh")
    exchange(branch, 2, fault="cut", on=False)
    branch.sleep(3)
    exchange(branch, 2, fault="parallel", on=True)
    branch.sleep(3)
    told(branch, "2", "parallel")
    exchange(branch, 2, fault="parallel", on=False)
    exchange(branch, 2, fault="reversed", on=True)
    branch.sleep(3)
    told(branch, "2", "reversed", "well")
    exchange(branch, 2, fault="reversed", on=False)
    branch.sleep(3)
    told(branch, "2", "well")


def test_after_a_call_the_report_knows_who_called_how_it_ended_and_the_echo(branch: Branch) -> None:
    branch.answer("101")
    ident, number = branch.call("1350", hang_up_after=32, line=1)
    branch.done(ident)
    branch.sleep(4)
    report = branch.box.ctl("show line", line="1")
    told = {one["name_en"]: one["value_en"] for one in report["facts"]}
    assert told["last caller id"].startswith(number) and "by the other side" in told["last hang-up"]
    assert told["voltage"].startswith("48 V") or told["voltage"].startswith("47 V") or told["voltage"].startswith("49 V")
    echo = branch.box.ctl("doctor echo", line="1")
    assert echo["calls"] >= 1 and 5 < echo["erl_db"] < 40 and echo["noise_dbm0"] < -40
    tally = next(row for row in branch.box.ctl("show caller-id") if row["line"] == "1")
    assert tally["dtmf"] >= 1 and "listening" in tally["verdict_en"]


# --- captures ---------------------------------------------------------------------------------------------------------------


def test_a_capture_holds_both_directions_of_a_call_and_its_timeline(branch: Branch, tmp_path: Path) -> None:
    branch.answer("101")
    row = branch.box.ctl("capture start", line="1", seconds=60)
    begin = branch.world("status")["now_ms"]
    ident, number = branch.call("1350", hang_up_after=18, line=1)
    one = branch.done(ident)
    branch.sleep(65)
    name = row["name"]
    wait_until(lambda: any(r["name"] == name and r["state"] == "done" for r in branch.box.ctl("capture list")), "the capture is done", 30)
    assert "bytes in" in console(branch, f"save-capture {name} {tmp_path}")
    wav = tmp_path / f"{name}.wav"
    with wave.open(str(wav)) as file:
        assert file.getnchannels() == 2 and abs(file.getnframes() / 8000 - 60) < 0.5
    line, phone = read_wav(wav)
    answered = (one["answered"] - begin) / 1000
    levels = [line.part(at, at + 1.2).tone_dbm0(CALLER_HZ) for at in (answered + 0.1 * step for step in range(20, 100))]
    assert max(levels) > LEVEL - 3, "the caller is on the left"
    levels = [phone.part(at, at + 1.2).tone_dbm0(HZ["101"]) for at in (answered + 0.1 * step for step in range(20, 100))]
    assert max(levels) > LEVEL - 9, "the branch is on the right"
    text = wav.with_suffix(".txt").read_text()
    for wanted in ("RingBurst on=True", "Offered", number, "Answered", "LoopCurrent", "Ended", "time is over"):
        assert wanted in text, wanted
    branch.box.ctl("capture delete", name=name)
    assert all(one["name"] != name for one in branch.box.ctl("capture list"))


def test_an_idle_line_can_be_captured(branch: Branch) -> None:
    name = branch.box.ctl("capture start", line="3", seconds=2)["name"]
    branch.sleep(4)
    wait_until(lambda: [r["state"] for r in branch.box.ctl("capture list") if r["name"] == name] == ["done"], "the capture is done", 30)
    assert branch.box.ctl("capture show", name=name)["seconds"] == pytest.approx(2.0, abs=0.3)


# --- by hand ----------------------------------------------------------------------------------------------------------------


def heard_by_hand(branch: Branch, line: str, event: str) -> bool:
    return event in [row["event_en"] for row in branch.box.ctl("butt show", line=line)["heard"]]


def test_a_butt_set_dials_what_the_exchange_hears_and_names_its_tones(branch: Branch) -> None:
    number = branch.number("13800138001", answer_after=8)
    branch.box.ctl("butt seize", line="2")
    wait_until(lambda: exchange(branch, 2)["off_hook"], "the line is seized", 20)
    wait_until(lambda: heard_by_hand(branch, "2", "dial tone"), "dial tone is heard", 20)
    assert branch.box.ctl("butt show", line="2")["milliamps"] > 15
    branch.box.ctl("butt keys", line="2", keys=number)
    wait_until(lambda: heard_by_hand(branch, "2", "ringback tone"), "ringback tone is heard", 20)
    assert exchange(branch, 2)["call"]["digits"] == number
    branch.box.ctl("butt release", line="2")
    wait_until(lambda: not exchange(branch, 2)["off_hook"], "the line is released", 20)
    branch.sleep(3)
    told(branch, "2", "well")


def test_a_telephone_listens_to_a_line_in_hand(branch: Branch) -> None:
    branch.answer("101", after=1, talk=30)
    branch.box.ctl("butt seize", line="3", phone="101")
    wait_until(lambda: heard_by_hand(branch, "3", "telephone 101 listens"), "the telephone listens", 20)
    branch.at("101")
    wait_until(lambda: not exchange(branch, 3)["off_hook"] or branch.sleep(1) < 0, "the line is released with its telephone", 30)
    branch.sleep(4)
    told(branch, "3", "well")


def test_the_walk_test_tells_which_line_rings(branch: Branch) -> None:
    branch.box.ctl("walk start")
    ident = branch.world("call", line=3, caller_id="fsk", patience=20, **{"from": "13912345678"})["person"]
    wait_until(lambda: branch.box.ctl("walk show")[0]["caller"], "the caller is read", 20)
    first = branch.box.ctl("walk show")[0]
    assert first["line"] == "3" and first["rang"] and first["caller"] == "13912345678"
    branch.box.ctl("walk number", line="3", number="01055550003")
    branch.done(ident)
    assert branch.box.ctl("walk stop") == ['set ports.fxo.3.number "01055550003"']
    assert branch.box.ctl("show line", line="3")["label"] == "01055550003"


# --- self-test --------------------------------------------------------------------------------------------------------------


def test_the_self_test_finds_a_line_without_dial_tone_and_leaves_the_others_well(branch: Branch) -> None:
    exchange(branch, 2, fault="no-dial-tone", on=True)
    branch.box.ctl("self-test run")

    def tested() -> dict[str, dict[str, Any]] | None:
        """The results, once each port has its own; the one that failed was tried again."""
        rows = {row["target"]: row for row in branch.box.ctl("show self-test")}
        there = {"line/1", "line/2", "line/3", "line/4", "101"} <= {name for name, row in rows.items() if row["tested"]}
        return rows if there and rows["line/2"]["failures"] >= 2 else None

    rows = wait_until(tested, "all ports are tested", 60)
    assert rows["line/2"]["result_en"] == "no dial tone" and rows["line/2"]["failures"] == 2
    assert [rows[f"line/{n}"]["result_en"] for n in (1, 3, 4)] == ["passed"] * 3
    assert rows["101"]["result_en"] == "passed" and rows["line/1"]["milliamps"] > 15
    wait_until(lambda: any("line/2 failed its self-test 2 times" in row["text"] for row in branch.box.ctl("show alarms")), "the alarm", 20)
    exchange(branch, 2, fault="no-dial-tone", on=False)
    branch.box.ctl("self-test run")
    branch.sleep(40)
    wait_until(lambda: not [row for row in branch.box.ctl("show alarms") if row["kind"].startswith("self-test")], "the alarm is gone", 30)
    wait_until(lambda: all(not exchange(branch, n)["off_hook"] for n in (1, 2, 3, 4)), "all lines are on-hook", 20)


def test_a_call_in_the_middle_of_the_self_test_goes_through(branch: Branch) -> None:
    number = branch.number("13800138002")
    branch.box.ctl("self-test run")
    branch.sleep(0.3)
    ident = branch.dial("201", "9" + number, talk=25)
    done = branch.done(ident)
    assert done["answered"] > 0 and branch.records()[0]["cause"] == "normal"
