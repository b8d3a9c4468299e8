"""From the label to the report: restarts, crashes, golden board, reports, the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from firmware.__main__ import main
from firmware.errors import ConfigError, HardwareError
from firmware.factory.alsa import AlsaHighway
from firmware.factory.console import Console, Scripted
from firmware.factory.instruments import FixtureError
from firmware.factory.linux import LinuxHost
from firmware.factory.results import Report
from firmware.factory.rig import Label, Restart
from firmware.factory.runner import STEPS
from firmware.factory.session import Session
from firmware.factory.store import JournalHead, Store
from tests.unit.factory_stage import LABEL, bench_of, rig_on, small

BOARD, LIMITS = small()


class Day:
    """A time of day that is set."""

    def __init__(self) -> None:
        self.seconds = 1_790_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def day() -> Day:
    return Day()


@pytest.fixture
def session(tmp_path: Path, day: Day) -> Session:
    return Session(
        Store(tmp_path), LIMITS, firmware="0.1.0 abc", limits_hash="def", operator="Li", now=day, iso=lambda seconds: f"at {seconds:.0f}"
    )


def through(session: Session, bench, label: Label = LABEL, **options) -> Report:  # type: ignore[no-untyped-def]
    """A whole test with its restarts."""
    for _ in range(8):
        try:
            return session.test(rig_on(bench, BOARD, LIMITS, label), **options)
        except Restart:
            options |= {"resume": True, "restart": False}
    raise AssertionError("restarts for ever")


def verified(session: Session, bench) -> None:  # type: ignore[no-untyped-def]
    session.golden_record(through(session, bench, purpose="golden record"))


def test_boards_are_tested_only_on_a_verified_fixture(session: Session, day: Day, seed: int) -> None:
    bench = bench_of(BOARD, seed=seed)
    with pytest.raises(ConfigError, match="golden board never measured"):
        through(session, bench)
    assert session.store.unfinished(LABEL.serial) == []
    verified(session, bench)
    assert through(session, bench).golden.startswith("verified at")
    day.seconds += 13 * 3600
    with pytest.raises(ConfigError, match=r"measured 13.0 h ago, allowed 12 h"):
        through(session, bench)
    assert through(session, bench, demand_golden=False).golden.startswith("measured 13.0 h ago")


def test_a_drifted_fixture_is_found_by_the_golden_board(session: Session, seed: int) -> None:
    verified(session, bench_of(BOARD, seed=seed))
    found, compared = session.golden_check(through(session, bench_of(BOARD, seed=seed), purpose="golden check"))
    assert found == []
    assert compared > 120
    drifted = bench_of(BOARD, seed=seed, faults={"fixture-drift": 0.04})
    found, _ = session.golden_check(through(session, drifted, purpose="golden check"))
    assert {"from the line, absolute"} <= {drift.number.split("/")[1] for drift in found}
    with pytest.raises(ConfigError, match="drifted"):
        through(session, bench_of(BOARD, seed=seed))


def test_the_golden_board_measures_the_same_again_on_the_same_fixture(session: Session, seed: int) -> None:
    bench = bench_of(BOARD, seed=seed)
    verified(session, bench)
    found, _ = session.golden_check(through(session, bench, purpose="golden check"))
    assert found == [], [drift.text() for drift in found]


def test_a_test_goes_on_after_every_crash(session: Session, seed: int) -> None:
    """Chips do not survive the program: what is measured on them is measured again; nothing else is, and the verdict is the same."""
    bench = bench_of(BOARD, seed=seed)
    seen: list[str] = []
    deaths = ["identity", "slots", "calibration", "loop", "call", "panel"]

    class Died(BaseException):
        pass

    def result(one) -> None:  # type: ignore[no-untyped-def]
        seen.append(one.step)
        if one.step in deaths:
            deaths.remove(one.step)
            raise Died

    session._talk.result = result
    options: dict[str, object] = {"demand_golden": False}
    for _ in range(20):
        try:
            report = session.test(rig_on(bench, BOARD, LIMITS), **options)  # type: ignore[arg-type]
            break
        except (Died, Restart):
            options["resume"] = True
            with pytest.raises(ConfigError, match="unfinished"):
                session.test(rig_on(bench, BOARD, LIMITS), demand_golden=False)
    assert report.verdict == "pass", report.failed()
    names = [one.step for one in report.steps]
    assert len(names) == len(set(names)) == len(STEPS)
    assert deaths == []
    assert [seen.count(step) for step in ("supply", "identity", "clocks", "loop", "call", "panel", "storage")] == [1, 1, 4, 2, 1, 1, 1]


def test_a_restart_gives_the_old_test_up_and_keeps_what_it_measured(session: Session, seed: int) -> None:
    bench = bench_of(BOARD, seed=seed)
    with pytest.raises(Restart):
        session.test(rig_on(bench, BOARD, LIMITS), demand_golden=False)
    report = through(session, bench_of(BOARD, seed=seed), restart=True, demand_golden=False)
    assert (report.run, report.verdict) == (2, "pass")
    runs = list(session.store.runs())
    assert [run.verdict for run in runs] == ["interrupted", "pass"]
    assert len(runs[0].steps) > 15
    with pytest.raises(ConfigError, match="no unfinished test"):
        session.test(rig_on(bench, BOARD, LIMITS), resume=True)


def test_another_board_with_the_same_serial_cannot_resume(session: Session, seed: int) -> None:
    bench = bench_of(BOARD, seed=seed)
    with pytest.raises(Restart):
        session.test(rig_on(bench, BOARD, LIMITS), demand_golden=False)
    with pytest.raises(ConfigError, match="of a board with MAC"):
        session.test(rig_on(bench, BOARD, LIMITS, Label(LABEL.serial, "70:B3:D5:00:00:02")), resume=True, demand_golden=False)


def test_a_fixture_that_fails_judges_no_board(session: Session, seed: int) -> None:
    bench = bench_of(BOARD, seed=seed)

    def dead(jack: str) -> float:
        raise FixtureError("the fixture does not answer")

    bench.stand.fixture.volts = dead
    with pytest.raises(FixtureError):
        through(session, bench, demand_golden=False)
    (run,) = session.store.runs()
    assert run.verdict == "interrupted"
    assert all(phone.state["powered"] is False for phone in bench.stand.board.fxs)
    assert session.store.failed_before(LABEL.serial) == []


def test_a_board_that_fails_twice_goes_to_the_repair_bin_over_runs(session: Session, seed: int) -> None:
    faults = {"no-converter:1": 1.0}
    first = through(session, bench_of(BOARD, seed=seed, faults=faults), demand_golden=False)
    second = through(session, bench_of(BOARD, seed=seed, faults=faults), demand_golden=False)
    assert (first.verdict, second.verdict) == ("stopped", "repair")
    assert session.text_path(second).is_file()
    assert session.text_path(second).name.endswith("-02.txt")


def test_a_relabelled_board_is_refused(session: Session, seed: int) -> None:
    bench = bench_of(BOARD, seed=seed)
    assert through(session, bench, demand_golden=False).verdict == "pass"
    other = through(session, bench, Label("BX4000002", LABEL.mac), demand_golden=False)
    assert other.failed() == ["identity"]
    assert "the memory is of BX4000001" in next(one for one in other.steps if one.step == "identity").reasons[0]
    bad = through(session, bench, Label("BX4-12", "00:00:00:00:00:00"), demand_golden=False)
    assert len(next(one for one in bad.steps if one.step == "identity").reasons) == 2


# --- operators --------------------------------------------------------------------------------------------------------------


def test_the_console_asks_until_it_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter(["what\n", "Y\n", "n\n", "是\n", ""])
    console = Console("zh", source=lambda: next(answers))
    assert [console.confirm("led-on", led="status") for _ in range(4)] == [True, False, True, False]
    shown = capsys.readouterr().out
    assert "指示灯 status" in shown
    assert "请回答" in shown


def test_scripted_answers() -> None:
    scripted = Scripted({"led-on status": False, "led-off": False})
    assert scripted.confirm("led-on", led="power")
    assert not scripted.confirm("led-on", led="status")
    assert not scripted.confirm("led-off", led="power")
    scripted.tell("press-button")
    assert scripted.said[-1].startswith("Press")


# --- the board's computer -----------------------------------------------------------------------------------------------------


def test_the_host_reads_what_linux_shows(tmp_path: Path) -> None:
    net = tmp_path / "sys/class/net/eth0"
    net.mkdir(parents=True)
    for name, value in (("carrier", "1"), ("speed", "100"), ("duplex", "full"), ("address", "70:b3:d5:00:00:01")):
        (net / name).write_text(value + "\n")
    sensor = tmp_path / "sys/class/hwmon/hwmon0"
    sensor.mkdir(parents=True)
    (sensor / "temp1_input").write_text("31500\n")
    (sensor / "in3_label").write_text("rtc-battery\n")
    (sensor / "in3_input").write_text("3021\n")
    (tmp_path / "memory").write_bytes(b"\xff" * 64)
    (tmp_path / "sd").mkdir()
    host = LinuxHost("/memory", root=tmp_path)
    assert host.ethernet("eth0") == (100.0, True, "70:b3:d5:00:00:01")
    assert host.celsius() == 31.5
    assert host.rtc_battery_volts() == 3.021
    host.eeprom_write(b"BPBX")
    assert host.eeprom_read(6) == b"BPBX\xff\xff"
    assert host.storage_faults("/sd", 3) == 0
    assert list((tmp_path / "sd").iterdir()) == []
    assert host.usb_sticks() == 0
    with pytest.raises(OSError, match=r"iperf3|traffic"):
        host.traffic("192.0.2.1", 0)


class Loop:
    """An ALSA library of one device whose playback comes back on capture, slot for slot one sample later."""

    def __init__(self, channels: int, breaks: int = 0) -> None:
        self.channels, self.breaks = channels, breaks
        self.bus = b""
        self.reads = 0
        self.running = False

    def snd_pcm_open(self, handle, name, direction, mode) -> int:  # type: ignore[no-untyped-def]
        return -2 if name == b"hw:9,9" else 0

    def snd_pcm_set_params(self, *args) -> int:  # type: ignore[no-untyped-def]
        return 0

    def snd_pcm_link(self, one, other) -> int:  # type: ignore[no-untyped-def]
        return 0

    def snd_pcm_start(self, handle) -> int:  # type: ignore[no-untyped-def]
        self.running, self.bus = True, bytes(2 * self.channels) + self.bus
        return 0

    def snd_pcm_drop(self, handle) -> int:  # type: ignore[no-untyped-def]
        self.running, self.bus = False, b""
        return 0

    snd_pcm_close = snd_pcm_prepare = lambda self, handle: 0

    def snd_pcm_writei(self, handle, buffer, frames) -> int:  # type: ignore[no-untyped-def]
        data = buffer if isinstance(buffer, bytes) else buffer.raw
        self.bus += data[: 2 * self.channels * frames]
        return int(frames)

    def snd_pcm_readi(self, handle, buffer, frames) -> int:  # type: ignore[no-untyped-def]
        self.reads += 1
        if self.reads == self.breaks:
            return -32
        size = 2 * self.channels * frames
        data, self.bus = self.bus[:size], self.bus[size:]
        buffer[: len(data)] = data
        return len(data) // (2 * self.channels)


def test_the_stream_gives_the_frames_of_an_exchange_without_the_delay_of_its_buffers() -> None:
    highway = AlsaHighway("hw:0,0", 4, Loop(4))
    highway.start()
    assert highway.clocks_running()
    pattern = bytes(range(1, 201)) * 4
    highway.hold({3: b"\x11\x22" * 50})
    back = highway.exchange({1: pattern}, 400)
    assert back[0] == bytes(800)
    assert back[1] == b"\0\0" + pattern[:-2]
    assert set(back[3][2:]) == {0x11, 0x22}
    assert highway.xruns == 0
    highway.stop()
    assert not highway.clocks_running()


def test_breaks_of_the_stream_are_counted() -> None:
    highway = AlsaHighway("hw:0,0", 2, Loop(2, breaks=20))
    highway.start()
    back = highway.exchange({0: b"\1\0" * 4000}, 4000)
    assert [len(one) for one in back] == [8000, 8000]
    again = highway.exchange({0: b"\1\0" * 100}, 100)
    assert again[0] == b"\0\0" + b"\1\0" * 99
    assert highway.xruns == 1
    highway.stop()


def test_a_sound_device_that_is_not_there_is_told() -> None:
    with pytest.raises(HardwareError, match="cannot open"):
        AlsaHighway("hw:9,9", 2, Loop(2)).start()


# --- the command ------------------------------------------------------------------------------------------------------------

ARGUMENTS = ["--serial", "BX4000001", "--mac", "70:b3:d5:00:00:01", "--operator", "Li", "--language", "en"]


def command(state: Path, *words: str) -> int:
    return main(["factory", "--state", str(state), *words])


def test_the_command_tests_a_simulated_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path, "--simulated", "3", *ARGUMENTS) == 2
    assert "golden board never measured" in capsys.readouterr().err
    assert command(tmp_path, "--simulated", "3", *ARGUMENTS, "--golden", "record") == 0
    assert command(tmp_path, "--simulated", "3", *ARGUMENTS, "--json", "--fault", "no-converter:4") == 4
    shown = capsys.readouterr()
    report = json.loads(shown.out[shown.out.index("\n{") + 1 :]) if not shown.out.startswith("{") else json.loads(shown.out)
    assert report["verdict"] == "stopped"
    assert "take the board out" in shown.err
    assert command(tmp_path, "yield") == 0
    assert "converter rises in" in capsys.readouterr().out
    assert command(tmp_path, "yield", "--json") == 0
    assert json.loads(capsys.readouterr().out)["boards"] == 1
    assert command(tmp_path, "limits") == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--simulated", "1", "--operator", "Li"], "scan the label"),
        (["--simulated", "1", *ARGUMENTS, "--board", "nothing"], "no board.toml"),
        (["--simulated", "1", *ARGUMENTS, "--board", "world"], "factory.toml"),
        (["--simulated", "1", *ARGUMENTS, "--fault", "hot=very"], "the size is a number"),
        (["--simulated", "1", *ARGUMENTS, "--fault", "gremlins"], "is unknown"),
    ],
)
def test_wrong_usage_is_one_readable_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str) -> None:
    assert command(tmp_path, *words) in (1, 2)
    shown = capsys.readouterr().err
    assert complaint in shown
    assert "Traceback" not in shown


def test_a_state_folder_that_cannot_be_made_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert command(tmp_path / "file", "--simulated", "1", *ARGUMENTS) == 1
    assert "--state" in capsys.readouterr().err


def test_the_other_commands_do_not_load_the_factory_test() -> None:
    code = "import sys, firmware.__main__ as m; m.main(['version']); print([n for n in sys.modules if 'factory' in n or '.sim' in n])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip().endswith("[]")


def test_a_report_is_read_back_whole(session: Session, seed: int) -> None:
    report = through(session, bench_of(BOARD, seed=seed), demand_golden=False)
    path = session.text_path(report)
    again = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Report)
    assert again == report
    shown = path.read_text()
    for one in report.steps:
        assert one.title in shown
    rows = shown.splitlines()
    for one in report.steps:
        for number in one.numbers:
            assert any(number.name in row and number.jack in row and number.limit() in row for row in rows), number


def test_a_broken_off_test_leaves_no_power_and_can_go_on(session: Session, seed: int) -> None:
    bench = bench_of(BOARD, seed=seed)
    broken: list[str] = []

    def result(one) -> None:  # type: ignore[no-untyped-def]
        if one.step == "ringing" and not broken:
            broken.append(one.step)
            raise KeyboardInterrupt

    session._talk.result = result
    with pytest.raises(KeyboardInterrupt):
        session.test(rig_on(bench, BOARD, LIMITS), demand_golden=False)
    assert not any(phone.state["powered"] for phone in bench.stand.board.fxs)
    assert not bench.stand.relay
    assert [head.serial for head in session.store.waiting()] == [LABEL.serial]
    assert through(session, bench, resume=True, demand_golden=False).verdict == "pass"
    assert session.store.waiting() == []


def test_resume_knows_the_label_and_what_the_test_was_for(tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    assert command(tmp_path, "--simulated", "1", "--resume") == 2
    assert "unfinished tests: none" in capsys.readouterr().err
    store = Store(tmp_path / "factory")
    store.note("BX4000001", JournalHead("BX4000001", "70:B3:D5:00:00:01", "branch-4x4", "Li", "2026-11-22 08:00:00", 1.0, "golden record"))
    assert command(tmp_path, "--simulated", str(seed % 1000), "--resume") == 0
    assert "Numbers of the golden board kept" in capsys.readouterr().out


@pytest.mark.parametrize("label", [("BX4-1", "70:B3:D5:00:00:01"), ("BX4000001", "FF:FF:FF:FF:FF:FF"), ("../../etc", "70:B3:D5:00:00:01")])
def test_a_badly_scanned_label_is_scanned_again(tmp_path: Path, capsys: pytest.CaptureFixture[str], label: tuple[str, str]) -> None:
    assert command(tmp_path, "--simulated", "1", "--operator", "Li", "--serial", label[0], "--mac", label[1]) == 2
    assert "scan the label again" in capsys.readouterr().err
    assert list(tmp_path.rglob("*.json*")) == []
