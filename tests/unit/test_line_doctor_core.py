"""The line doctor in core: reports, captures, walk test, butt-set, self-test, caller id; through the gate, on a manual clock."""

from __future__ import annotations

import asyncio
import base64
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from firmware.call.events import EmergencyStarted
from firmware.call.model import Alert, Cause, EndpointState, LegAnswered, LegDigit, LegEnded, LegOffered, Party
from firmware.config.schema.ports import FxoLine, Ports
from firmware.config.schema.tree import Config
from firmware.control.commands import describe, registered
from firmware.core.doctor.hand import BRIDGE
from firmware.errors import CommandError
from firmware.line.signals import FEED_ACTIVE, FEED_OPEN, LINE_OFF_HOOK, LINE_ON_HOOK
from tests.unit.doctor_bench import Practice

Start = Callable[..., Practice]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    practices: list[Practice] = []

    def begin(**options: Any) -> Practice:
        practices.append(Practice(tmp_path, **options))
        return practices[-1]

    yield begin
    for practice in practices:
        practice.close()


def codes(report: dict[str, Any]) -> list[str]:
    return [one["code"] for one in report["findings"]]


def facts(report: dict[str, Any], language: str = "en") -> dict[str, str]:
    return {one[f"name_{language}"]: one[f"value_{language}"] for one in report["facts"]}


# --- reports ------------------------------------------------------------------------------------------------------------------


def test_a_line_is_named_as_on_its_jack_and_a_wrong_name_is_answered_with_the_right_ones(start: Start) -> None:
    practice = start()
    assert practice.ask("show line", line="3")["endpoint"] == practice.ask("doctor line", line="line/3")["endpoint"] == "line/3"
    assert practice.ask("show line", line="101")["endpoint"] == "101"
    with pytest.raises(CommandError, match="there are 1, 2, 3, 101"):
        practice.ask("show line", line="9")
    assert [row["code"] for row in practice.ask("doctor all")] == ["well"] * 5


def test_a_call_leaves_ring_caller_id_hang_up_and_echo_in_the_report(start: Start) -> None:
    practice = start()
    practice.ring(0)
    offered = practice.all(LegOffered)[-1]
    practice.lines.answer(offered.leg)
    practice.seized(0, tone=False).run(1000)
    assert practice.all(LegAnswered)
    practice.wire.gauges[0] = SimpleNamespace(
        in_clipped=0, canceller=True, clear=False, erl_db=7.0, erle_db=26.0, delay_ms=5, noise_dbm0=-44.0, words=30, words_audible=0,
        in_dbm0=-19.0,
    )  # fmt: skip
    practice.run(14_000).fact("ToneHeard", 0, name="busy", cycles=4, start_at=practice.clock.now() - 2800, confidence=0.97, level=-12.0)
    practice.run(3000)
    assert practice.all(LegEnded)
    report = practice.ask("doctor line", line="1")
    assert codes(report) == ["poor-match", "noisy"]
    told = facts(report)
    assert told["last caller id"].startswith("13912345678") and "2 rings" in told["last ring"]
    assert "busy tone, 97 % sure" in told["last hang-up"] and "by the other side" in told["last hang-up"]
    assert told["echo"] == "ERL 7 dB, ERLE 26 dB, delay 5 ms, noise -44 dBm0 (1 calls)"
    assert told["current"] == "25.0 mA when off-hook last"
    assert "doctor echo 1" in report["findings"][0]["todo_en"] and "doctor echo 1" in report["findings"][0]["todo_zh"]
    assert facts(report, "zh")["上次来电号码"].startswith("13912345678")
    echo = practice.ask("doctor echo", line="1")
    assert (echo["calls"], echo["erl_db"], echo["level_dbm0"], echo["settings"]) == (1, 7.0, -19.0, [])


def test_what_is_known_of_a_line_outlives_a_restart_but_not_another_line_on_the_jack(start: Start) -> None:
    practice = start()
    practice.ring(0).give_up()
    practice.ask("walk number", line="2", number="01055550002")
    assert practice.db.flush()
    again = start()
    assert "13912345678" in facts(again.ask("show line", line="1"))["last caller id"]
    assert again.ask("show line", line="2")["label"] == "01055550002"
    other = Config(ports=Ports(fxo={"1": FxoLine(number="02155550001"), "2": FxoLine(number="1")}))
    moved = start(config=other)
    assert "last caller id" not in facts(moved.ask("show line", line="1")) and moved.ask("show line", line="2")["label"] == "1"


def test_a_sick_chip_is_named_with_its_step_and_counted(start: Start) -> None:
    practice = start()
    health = {"kind": "link", "step": "isolation link", "text": "reg 11 is 0x00", "register": 11, "read": 0, "attempt": 1}
    practice.fact("PortHealth", 0, raised=True, final=False, state="recovering", **health)
    assert codes(practice.ask("doctor line", line="1")) == ["chip-fault"]
    practice.fact("PortHealth", 0, raised=False, final=False, state="well", **health)
    assert codes(practice.ask("doctor line", line="1")) == ["chip-recovered", "well"]
    practice.fact("PortHealth", 0, raised=True, final=True, state="out", **health)
    report = practice.ask("doctor line", line="1")
    assert codes(report) == ["chip-out"] and "isolated line side does not answer" in report["findings"][0]["finding_en"]
    assert "隔离线路侧无应答" in report["findings"][0]["finding_zh"] and "更换线路卡" in report["findings"][0]["todo_zh"]
    assert "link: reg 11 is 0x00" in facts(report)["chip"]
    practice.fact("PortHealth", 0, raised=True, final=False, state="recovering", **health)
    practice.fact("PortHealth", 0, raised=False, final=False, state="well", **health)
    assert "failed 2 times" in practice.ask("doctor line", line="1")["findings"][0]["finding_en"], "attempts are not counted"


def test_every_command_of_the_doctor_has_help_in_both_languages(start: Start) -> None:
    practice = start()
    own = [kind for path, kind in registered().items() if kind.__module__.endswith("line_commands")]
    assert len(own) >= 26
    for kind in own:
        info = describe(kind)
        assert info.help and info.help_zh and practice.gate.answers(info.path), info.path
        assert all(argument.help for argument in info.arguments), info.path


# --- captures -----------------------------------------------------------------------------------------------------------------


def test_a_capture_of_an_idle_line_spans_a_call_and_ends_by_itself(start: Start, tmp_path: Path) -> None:
    practice = start()
    row = practice.ask("capture start", line="1", seconds=30)
    assert row["state"] == "recording" and row["endpoint"] == "line/1"
    practice.ring(0)
    practice.lines.answer(practice.all(LegOffered)[-1].leg)
    practice.seized(0, tone=False).run(5000)
    practice.lines.hang_up(practice.all(LegOffered)[-1].leg, Cause.NORMAL)      # closes the port and with it the recorder
    practice.run(40_000)
    (kept,) = practice.ask("capture list")
    assert kept["state"] == "done" and kept["name"] == row["name"]
    assert abs(kept["seconds"] - 30.0) < 0.2 and not practice.wire.recordings
    with wave.open(str(tmp_path / "captures" / f"{row['name']}.wav")) as wav:
        assert (wav.getnchannels(), wav.getframerate()) == (2, 8000) and abs(wav.getnframes() - 240_000) < 1600
        frames = wav.readframes(wav.getnframes())
    silent = frames.count(b"\x00\x00\x00\x00")
    assert 0 < silent < 2000, "a gap where no recorder ran, and only there"
    text = practice.ask("capture show", name=row["name"])["timeline"]
    for wanted in ("RingBurst", "FskMessage", "Drive code=1", "LoopCurrent", "Ended", "time is over"):
        assert any(wanted in line for line in text), wanted
    instants = [float(line.split()[0]) for line in text if line.strip() and line.split()[0].replace(".", "").replace("-", "").isdigit()]
    assert instants == sorted(instants) and len(instants) > 20
    chunk = practice.ask("capture read", name=row["name"])
    assert base64.b64decode(chunk["data"])[:4] == b"RIFF" and chunk["next"] == 192 * 1024
    practice.ask("capture delete", name=row["name"])
    assert practice.ask("capture list") == [] and not list((tmp_path / "captures").iterdir())


def test_a_recorded_call_takes_the_recorder_and_gives_it_back(start: Start, tmp_path: Path) -> None:
    practice = start()
    name = practice.ask("capture start", line="1", seconds=20)["name"]
    practice.run(2000)
    file = (tmp_path / "call.wav").open("wb")
    practice.doctor.recorder.record(0, file.fileno(), token=7)
    practice.run(3000)
    assert practice.wire.recordings[0][0] == 7, "the call's own recording goes first"
    practice.wire.stop_record(0)
    practice.run(1000)
    assert practice.wire.recordings[0][0] != 7, "then the capture goes on"
    practice.run(20_000)
    file.close()
    text = practice.ask("capture show", name=name)["timeline"]
    assert any("its own recording has the sound" in line for line in text)


def test_captures_are_limited_by_the_disk_by_number_and_to_one_a_port(start: Start, tmp_path: Path, monkeypatch: Any) -> None:
    practice = start()
    practice.ask("capture start", line="1", seconds=5)
    with pytest.raises(CommandError, match="being captured"):
        practice.ask("capture start", line="1")
    practice.ask("capture stop", line="1")
    practice.run(1000)
    folder = tmp_path / "captures"
    for number in range(25):
        (folder / f"20200101-0000{number:02}-line2.wav").write_bytes(bytes(100))
        (folder / f"20200101-0000{number:02}-line2.txt").write_text("x")
    practice.ask("capture start", line="2", seconds=1)
    practice.run(3000)
    assert len(list(folder.glob("*.wav"))) == 20 and not (folder / "20200101-000000-line2.txt").exists()
    monkeypatch.setattr(type(practice.doctor.captures), "_free", lambda self: 1_000_000)
    with pytest.raises(CommandError, match="MB are free"):
        practice.ask("capture start", line="1")
    with pytest.raises(CommandError, match="bad_arguments"):
        practice.ask("capture show", name="../../etc/passwd")
    with pytest.raises(CommandError, match="no finished capture"):
        practice.ask("capture show", name="nothing")


def test_captures_that_an_earlier_core_began_are_ended(start: Start) -> None:
    practice = start()
    with Path(practice.folder / "x").open("wb") as file:
        practice.wire.record(0, file.fileno(), token=0x60000001)
        practice.wire.record(1, file.fileno(), token=5)
    practice.doctor.captures.settle([SimpleNamespace(port=0, recording=0x60000001), SimpleNamespace(port=1, recording=5)])
    assert list(practice.wire.recordings) == [1]


def test_a_capture_stops_when_the_disk_runs_low(start: Start, monkeypatch: Any) -> None:
    practice = start()
    practice.ask("capture start", line="1", seconds=60)
    practice.run(1000)
    monkeypatch.setattr(type(practice.doctor.captures), "_free", lambda self: 0)
    practice.run(2000)
    (row,) = practice.ask("capture list")
    assert row["state"] == "the disk runs low" and row["seconds"] < 3


# --- walk test ----------------------------------------------------------------------------------------------------------------


def test_the_walk_test_says_which_line_rings_and_keeps_its_number(start: Start) -> None:
    practice = start()
    with pytest.raises(CommandError, match="walk start"):
        practice.ask("walk show")
    assert [row["state_en"] for row in practice.ask("walk start")] == ["not rung yet"] * 3
    practice.ring(1, rings=1)
    first = practice.ask("walk show")[0]
    assert (first["line"], first["caller"]) == ("2", "13912345678") and first["state_en"].startswith("rings now")
    assert "您拨的是哪个号码" in first["state_zh"]
    done = practice.ask("walk number", line="2", number="01055550002")
    assert 'set ports.fxo.2.number "01055550002"' in done["text_en"]
    practice.give_up()
    with pytest.raises(CommandError, match="found on line/2"):
        practice.ask("walk number", line="3", number="01055550002")
    assert practice.ask("walk stop") == ['set ports.fxo.2.number "01055550002"']


def test_the_walk_test_calls_a_mobile_but_no_emergency_number(start: Start) -> None:
    practice = start()
    practice.ask("walk start")
    with pytest.raises(CommandError, match="emergency"):
        practice.ask("walk call", line="1", mobile="110")
    practice.ask("walk call", line="1", mobile="13800138000")
    practice.seized(0).run(2000)
    sent = [named["value0"] for name, port, named in practice.wire.commands if name == "send_dtmf" and port == 0]
    assert sent == ["13800138000"]
    with pytest.raises(CommandError, match="busy"):
        practice.ask("walk call", line="1", mobile="13800138000")
    practice.run(45_000)
    assert practice.wire.drives(0)[-1] == LINE_ON_HOOK and practice.lines.ports["line/1"].available == "idle"
    assert not practice.doctor.book.notes_of("line/1").ends, "a test is no call"


# --- butt-set -----------------------------------------------------------------------------------------------------------------


def test_a_line_in_hand_is_seized_dialled_flashed_and_given_back(start: Start) -> None:
    practice = start()
    practice.ask("butt seize", line="1")
    assert practice.wire.drives(0)[-1] == LINE_OFF_HOOK and practice.lines.free_line() != "line/1"
    assert [one.state for one in practice.all(EndpointState) if one.endpoint == "line/1"][-1] == "busy"
    practice.fact("LoopCurrent", 0, flowing=True, milliamps=22.0).run(500)
    practice.fact("Voice", 0, active=True).run(900)
    practice.fact("ToneHeard", 0, name="dial", cycles=13, start_at=practice.clock.now() - 1000, confidence=0.9, level=-10.0)
    shown = practice.ask("butt keys", line="1", keys="139")
    assert shown["milliamps"] == 22.0 and shown["keys"] == "139"
    assert [row["event_en"] for row in shown["heard"]] == ["off-hook", "loop current 22.0 mA", "dial tone", "keys 139"]
    assert [row["event_zh"] for row in shown["heard"]][2] == "拨号音"
    with pytest.raises(CommandError, match="is busy"):
        practice.ask("butt seize", line="1")
    practice.ask("butt flash", line="1")
    flash = [named for name, port, named in practice.wire.commands if name == "drive" and port == 0][-1]
    assert flash == {"value0": LINE_ON_HOOK, "hold_ms": 100, "then": LINE_OFF_HOOK}
    practice.ask("butt release", line="1")
    assert practice.wire.drives(0)[-1] == LINE_ON_HOOK
    with pytest.raises(CommandError, match="not in hand"):
        practice.ask("butt show", line="1")
    practice.run(2500)
    assert practice.lines.ports["line/1"].available == "idle" and practice.lines.ports["line/1"].machine.state.state == "IDLE"


def test_emergency_numbers_are_not_dialled_by_hand_in_one_go_or_piece_by_piece(start: Start) -> None:
    practice = start()
    practice.ask("butt seize", line="1")
    practice.ask("butt keys", line="1", keys="1")
    with pytest.raises(CommandError, match="emergency"):
        practice.ask("butt keys", line="1", keys="10")
    practice.ask("butt keys", line="1", keys="3")
    sent = [named["value0"] for name, port, named in practice.wire.commands if name == "send_dtmf"]
    assert sent == ["1", "3"]


def test_a_telephone_is_joined_and_its_hang_up_releases_the_line(start: Start) -> None:
    practice = start()
    practice.ask("butt seize", line="2", phone="201")
    ((leg, endpoint),) = practice.phones.rung
    assert endpoint == "201"
    practice.bus.publish(LegAnswered(leg, practice.clock.now(), 17, None))  # type: ignore[arg-type]
    joins = [(named["value0"], port) if "value0" in named else port for name, port, named in practice.wire.commands if name == "join"]
    assert len(joins) == 2 and str(BRIDGE) in str([named for name, _, named in practice.wire.commands if name == "join"] + joins)
    practice.bus.publish(LegDigit(leg, practice.clock.now(), "5"))
    assert practice.ask("butt show", line="2")["keys"] == "5"
    with pytest.raises(CommandError, match="joined to another line"):
        practice.ask("butt seize", line="1", phone="101")
    practice.bus.publish(LegEnded(leg, practice.clock.now(), Cause.NORMAL, None, True))  # type: ignore[arg-type]
    practice.run(2500)
    assert practice.wire.drives(1)[-1] == LINE_ON_HOOK and practice.lines.ports["line/2"].available == "idle"
    with pytest.raises(CommandError, match="no extension"):
        practice.ask("butt seize", line="1", phone="999")


def test_an_emergency_takes_every_line_out_of_the_hand_and_forgetting_one_ends_after_ten_minutes(start: Start) -> None:
    practice = start()
    practice.ask("butt seize", line="1")
    practice.bus.publish(EmergencyStarted(practice.clock.now(), "C1", "101", "110", {"en": "", "zh": ""}))
    assert practice.wire.drives(0)[-1] == LINE_ON_HOOK
    practice.run(2500)
    assert practice.lines.free_line("pstn") is not None and practice.lines.ports["line/1"].machine.state.state == "IDLE"
    practice.ask("butt seize", line="2")
    practice.run(603_000)
    assert practice.lines.ports["line/2"].available == "idle"


def test_a_new_media_process_leaves_no_line_in_the_hand(start: Start) -> None:
    practice = start()
    practice.ask("butt seize", line="1")
    practice.fact("MediaLost", -1, epoch=2)
    practice.run(500).fact("Battery", 0, present=True, volts=48.0).run(500)
    assert practice.lines.ports["line/1"].available == "idle"
    with pytest.raises(CommandError, match="not in hand"):
        practice.ask("butt show", line="1")


def test_a_ring_while_the_line_rests_is_a_call(start: Start) -> None:
    practice = start()
    practice.ask("butt seize", line="1")
    practice.ask("butt release", line="1")
    practice.run(1200).ring(0)
    assert practice.all(LegOffered)[-1].caller.number == "13912345678"


# --- self-test ----------------------------------------------------------------------------------------------------------------


def run_test(practice: Practice, *, dead: int = -1) -> None:
    """The exchange's side of a whole run: each seizure is answered, but on slot `dead` there is no dial tone."""
    practice.ask("self-test run")
    answered = None
    for _ in range(1200):
        practice.run(50)
        held = practice.doctor.test._port
        if held is not None and held is not answered:
            practice.seized(held.slot, tone=held.slot != dead)
        answered = held


def results(practice: Practice) -> dict[str, str]:
    return {row["target"]: row["result_en"] for row in practice.ask("show self-test")}


def test_the_self_test_measures_idle_lines_and_leaves_them_at_rest(start: Start) -> None:
    practice = start()
    assert results(practice)["line/1"] == "not tested yet"
    run_test(practice)
    rows = {row["target"]: row for row in practice.ask("show self-test")}
    assert [rows[name]["result_en"] for name in ("line/1", "line/2", "line/3", "101")] == ["passed"] * 4
    assert rows["line/1"]["milliamps"] == 25.0 and 0 < rows["line/1"]["dial_tone_ms"] < 1000 and rows["line/1"]["volts"] == 48.0
    assert rows["disk"]["result_en"].startswith("passed") and rows["clock"]["result_en"].startswith("passed")
    assert all(practice.wire.drives(slot)[-1] == LINE_ON_HOOK for slot in range(3)) and not practice.alarms.list()
    assert "passed, dial tone after" in facts(practice.ask("show line", line="1"))["self-test"]


def test_a_line_that_fails_twice_raises_an_alarm_and_clears_it_when_it_is_well(start: Start) -> None:
    practice = start()
    run_test(practice, dead=1)
    ((kind, text, _),) = practice.alarms.list()
    assert kind == "self-test:line/2" and "no dial tone" in text and "2 times" in text and "没有拨号音" in practice.alarms.chinese(kind)
    assert "没有拨号音" in facts(practice.ask("show line", line="2"), "zh")["告警"]
    assert codes(practice.ask("doctor line", line="2")) == ["no-dial-tone"]
    assert practice.db.flush()
    again = start()
    run_test(again)
    assert not again.alarms.list() and results(again)["line/2"] == "passed"


@pytest.mark.parametrize("work", ["call", "phone", "emergency"])
def test_work_breaks_the_self_test_off_at_once(start: Start, work: str) -> None:
    practice = start()
    practice.ask("self-test run")
    practice.run(100)
    held = practice.doctor.test._port
    assert held is not None and practice.wire.drives(held.slot)[-1] == LINE_OFF_HOOK
    if work == "call":
        practice.bus.publish(LegOffered("L9", practice.clock.now(), "fxo", "line/3", Party("139")))  # type: ignore[arg-type]
    elif work == "phone":
        practice.fact("Loop", 4, closed=True, milliamps=20.0).run(200)
    else:
        practice.bus.publish(EmergencyStarted(practice.clock.now(), "C1", "101", "110", {"en": "", "zh": ""}))
    assert practice.wire.drives(held.slot)[-1] == LINE_ON_HOOK
    practice.run(10_000)
    assert results(practice)[held.endpoint] == "not tested yet" and not practice.alarms.list()
    assert practice.lines.ports[held.endpoint].available == "idle"


def test_a_media_process_that_dies_under_a_test_is_no_fault_of_the_line(start: Start) -> None:
    practice = start()
    practice.ask("self-test run")
    practice.run(100)
    practice.fact("MediaLost", -1, epoch=2).run(5000)
    assert results(practice)["line/1"] == "not tested yet" and not practice.alarms.list()


def test_a_call_that_wants_the_line_under_test_gets_it_a_moment_later(start: Start) -> None:
    practice = start()
    practice.ask("self-test run")
    practice.run(100)
    held = practice.doctor.test._port
    assert held is not None
    said = [one.state for one in practice.all(EndpointState) if one.endpoint == held.endpoint]
    assert said[-1] == "idle", "for call control the line is free"
    leg = practice.ids.leg()
    driver = practice.doctor.driver
    driver.originate(leg, held.endpoint, number="13800138000", caller=Party(), alert=Alert.NORMAL, ring_ms=30_000)
    assert practice.wire.drives(held.slot)[-1] == LINE_ON_HOOK
    practice.run(2600)
    assert practice.lines.ports[held.endpoint].leg == leg and practice.wire.drives(held.slot)[-1] == LINE_OFF_HOOK
    assert not [one for one in practice.all(LegEnded) if one.leg == leg]


def test_a_call_that_gives_up_while_it_waits_ends_once(start: Start) -> None:
    practice = start()
    practice.ask("self-test run")
    practice.run(100)
    held = practice.doctor.test._port
    assert held is not None
    leg = practice.ids.leg()
    driver = practice.doctor.driver
    driver.originate(leg, held.endpoint, number="13800138000", caller=Party(), alert=Alert.NORMAL, ring_ms=30_000)
    driver.hang_up(leg, Cause.CANCELLED)
    practice.run(8000)
    ends = [one for one in practice.all(LegEnded) if one.leg == leg]
    assert [one.cause for one in ends] == [Cause.CANCELLED] and practice.lines.ports[held.endpoint].leg == ""


def test_the_test_comes_once_a_night_when_nothing_goes_on(start: Start) -> None:
    practice = start()              # the clock begins at 08:00 in Shanghai
    practice.calls = 1
    practice.run(19 * 3_600_000 + 45 * 60_000)
    assert results(practice)["clock"] == "not tested yet"
    practice.calls = 0
    practice.run(120_000)
    assert results(practice)["clock"].startswith("passed")


@pytest.mark.parametrize("boot", [True, False])
def test_after_a_start_of_the_appliance_the_lines_are_tested_once_it_is_quiet(start: Start, boot: bool) -> None:
    practice = start()
    practice.doctor.test.after_boot = boot
    practice.run(5 * 60_000)
    practice.bus.publish(EndpointState("201", practice.clock.now(), "busy"))
    practice.run(9 * 60_000)
    assert results(practice)["clock"] == "not tested yet"
    practice.run(3 * 60_000)
    assert results(practice)["clock"].startswith("passed") == boot


# --- caller id ----------------------------------------------------------------------------------------------------------------


def test_caller_id_schemes_are_counted_and_then_fixed_at_the_port(start: Start) -> None:
    practice = start()
    assert practice.lines.ports["line/1"].machine.wide and not practice.lines.ports["line/3"].machine.wide  # type: ignore[union-attr]
    wide = [named for name, port, named in practice.wire.commands if name == "detect" and port == 0][-1]
    assert wide["fsk"] == "auto" and wide["digits"], "an unknown line listens for everything while it rests"
    for _ in range(20):
        practice.ring(0, standard="v23", before=True).give_up()
    row = practice.ask("show caller-id")[0]
    assert (row["calls"], row["v23"], row["before_ring"]) == (20, 20, 20) and row["setting"] == 'set ports.fxo.1.caller_id "v23"'
    assert row["verdict_en"] == "FSK V.23, before the first ring (100 % of 20 calls)" and "之前" in row["verdict_zh"]
    machine = practice.lines.ports["line/1"].machine
    assert machine.config.caller_id == "v23" and not machine.wide  # type: ignore[union-attr]
    assert practice.ask("show caller-id")[2]["verdict_en"] == "configured: none"
    assert practice.db.flush()
    again = start()
    assert again.lines.ports["line/1"].machine.config.caller_id == "v23"
    again.ask("caller-id restart", line="1")
    assert again.ask("show caller-id")[0]["calls"] == 0 and again.lines.ports["line/1"].machine.wide  # type: ignore[union-attr]


def test_keys_and_silence_are_votes_too(start: Start) -> None:
    practice = start()
    for key in "D13912345678C":
        practice.fact("Digit", 1, digit=key, duration_ms=70, source="inband", level=-9.0).run(140)
    practice.ring(1, number="").give_up()
    practice.ring(1, number="").give_up()
    row = practice.ask("show caller-id")[1]
    assert (row["calls"], row["dtmf"], row["bell202"]) == (2, 1, 0)
    assert "1 of 2 calls" in row["verdict_en"]


# --- echo and line test -------------------------------------------------------------------------------------------------------


def test_terminations_are_compared_on_a_seized_line_and_put_back(start: Start) -> None:
    practice = start()
    names = {"10": "200 ohm + (680 ohm || 100 nF)", "0": "600 ohm", "5": "320 ohm + (1050 ohm || 230 nF)"}
    practice.wire.chips["impedance"] = {"setting": 10, "settings": names}
    losses = iter((14.0, 12.0, 19.5))

    class Meters:
        @property
        def erl_db(self) -> float:
            return next(losses)

    practice.wire.gauges[0] = Meters()
    report = practice.ask("doctor echo", line="1", compare=True)
    assert [(row["setting"], row["erl_db"]) for row in report["compared"]] == [(names["10"], 14.0), (names["0"], 12.0), (names["5"], 19.5)]
    assert codes(report) == ["better-match"] and "by 6 dB" in report["findings"][0]["finding_en"]
    assert report["findings"][0]["todo_zh"] == "用 `doctor termination 1 5` 采用" and report["erl_db"] is None
    chip = [named for name, _, named in practice.wire.commands if name == "chip"]
    assert chip[-1] == {"what": "impedance", "setting": 10}, "the present setting is put back"
    assert practice.wire.drives(0)[-1] == LINE_ON_HOOK and practice.lines.ports["line/1"].available == "idle"


@pytest.mark.parametrize(("better", "kept"), [(19.5, 5), (15.0, 10)])
def test_tuning_takes_the_termination_that_fits_best_and_keeps_it(start: Start, better: float, kept: int) -> None:
    practice = start()
    practice.wire.chips["impedance"] = {"setting": 10, "settings": {"10": "200+680||100n", "0": "600", "5": "320+1050||230n"}}
    losses = iter((14.0, 12.0, better))
    practice.wire.gauges[0] = type("Meters", (), {"erl_db": property(lambda _: next(losses))})()
    report = practice.ask("doctor tune", line="1")
    assert codes(report) == (["taken-match"] if kept == 5 else ["best-match"])
    chip = [named for name, _, named in practice.wire.commands if name == "chip"]
    assert chip[-1] == {"what": "impedance", "setting": kept} and practice.db.flush()
    stored = {port: number for port, (_, number) in practice.doctor.book.store.load("termination", int).items()}
    assert stored == ({"line/1": 5} if kept == 5 else {})


def test_a_chosen_termination_is_kept_and_given_to_chips_that_lost_it(start: Start) -> None:
    practice = start()
    practice.wire.chips["impedance"] = {"setting": 5, "settings": {"5": "320+1050||230n"}}
    assert "320+1050||230n ohm" in practice.ask("doctor termination", line="1", setting="5")["text_en"]
    assert practice.db.flush()
    again = start()
    again.wire.chips["impedance"] = {"setting": 5, "settings": {}}

    def asked() -> list[dict[str, Any]]:
        return [named for name, port, named in again.wire.commands if name == "chip" and port == 0]

    async def work() -> None:
        again.doctor.start([], boot=False)
        await asyncio.sleep(0)
        assert asked() == [{"what": "impedance", "setting": 5}]
        health = {"kind": "chip-reset", "step": "", "text": "", "register": -1, "read": -1, "attempt": 1, "final": False, "state": "well"}
        again.fact("PortHealth", 1, raised=False, **health)
        again.fact("PortHealth", 0, raised=False, **health)
        await asyncio.sleep(0)
        assert len(asked()) == 2
        again.fact("MediaLost", -1, epoch=2).run(6000)
        await asyncio.sleep(0)
        assert len(asked()) == 3

    asyncio.run(work())
    again.ask("doctor termination", line="1", setting="country")
    assert asked()[-1] == {"what": "impedance", "setting": None} and again.db.flush()
    third = start()

    async def nothing() -> None:
        third.doctor.start([], boot=False)

    asyncio.run(nothing())
    assert not [name for name, _, _ in third.wire.commands if name == "chip"]


def test_without_line_chips_the_comparison_says_so_and_touches_nothing(start: Start) -> None:
    practice = start()
    before = practice.wire.drives(0)
    with pytest.raises(CommandError, match="does not do that"):
        practice.ask("doctor echo", line="1", compare=True)
    assert practice.wire.drives(0) == before
    assert codes(practice.ask("doctor echo", line="1")) == ["no-echo-figures"]


def test_the_line_test_of_a_jack_opens_the_feed_and_puts_it_back(start: Start) -> None:
    practice = start()
    practice.wire.chips["measure"] = {"volts": 47.0, "milliamps": 0.0, "closed": False}
    practice.wire.chips["line-test"] = {"volts": 48.0, "milliamps": 0.0, "closed": False, "faults": []}
    report = practice.ask("doctor loop", line="101")
    assert codes(report) == ["foreign-voltage"] and "47 V from outside" in report["findings"][0]["finding_en"]
    assert practice.wire.drives(4)[-3:] == [FEED_OPEN, FEED_ACTIVE, FEED_ACTIVE] or FEED_OPEN in practice.wire.drives(4)
    practice.run(86_400_000)
    assert codes(practice.ask("doctor line", line="101")) == ["well"], "an old test is not believed"
    assert practice.wire.drives(4)[-1] == FEED_ACTIVE and practice.lines.ports["101"].available == "idle"
    with pytest.raises(CommandError, match="outside line"):
        practice.ask("doctor loop", line="1")
