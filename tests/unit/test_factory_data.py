"""Limits with the line of every mistake, identity memory, measurements on samples, files, golden board, yield."""

from __future__ import annotations

import json
import math
import random
import string
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.errors import ConfigError, StoreError
from firmware.factory import sound
from firmware.factory.eeprom import BadRecord, Identity, decode, encode, mac_fault
from firmware.factory.golden import Golden, drifts, golden_of, parse_golden
from firmware.factory.limits import Band, GoldenRules, Limits, line_of, parse_limits
from firmware.factory.report import text_report
from firmware.factory.results import Number, Report, StepResult
from firmware.factory.rig import Notes
from firmware.factory.runner import STEPS
from firmware.factory.store import JournalHead, JournalMemory, JournalStep, RunLine, StepLine, Store
from firmware.factory.texts import TEXTS, TITLES_ZH, text
from firmware.factory.yields import cause_of, text_table, work_out
from tests.unit.factory_stage import LIMITS_FILE

DATA = LIMITS_FILE.read_text()

# --- limits -------------------------------------------------------------------------------------------------------------


def parsed(text: str) -> Limits:
    return parse_limits(text.encode(), "factory.toml")


def test_the_limits_of_the_board_are_those_of_the_facts() -> None:
    steps = parsed(DATA).steps
    assert (steps.converter.volts.min, steps.converter.rise_ms.max) == (72, 500)
    assert (steps.loop.low_ma.min, steps.loop.low_ma.max, steps.loop.threshold_ma) == (18, 22, Band(9, 13))
    assert steps.ringing.volts_1_ren == Band(min=45)
    assert steps.ringing.volts_5_ren == Band(min=40)
    assert (steps.line_voltage.volts_48, steps.line_loop.milliamps) == (Band(43, 53), Band(21, 31))
    assert (steps.analog.level_db, steps.analog.idle_dbm0, steps.analog.erl_db) == (Band(-1, 1), Band(max=-65), Band(min=12))
    assert steps.insulation.absent
    assert parsed(DATA).retests == 1


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("idle_ma = {min = 255, max = 345}", 'idle_ma = {min = "255", max = 345}', "supply.idle_ma"),
        ("idle_ma = {min = 255, max = 345}", "idle_ma = {low = 255}", "unknown field `low`"),
        ("idle_ma = {min = 255, max = 345}", "idle_ma = {min = 400, max = 345}", "min 400.0, max 345"),
        ("erl_db = {min = 12}", "erl_db = {}", "min None, max None"),
        ("edge_ms = {max = 5}", "edge_msec = {max = 5}", "edge_msec"),
        ("accesses = 1000", 'accesses = "many"', "accesses"),
        ('serial = "BX4[0-9]{6}"', 'serial = "BX4[0-9"', "no pattern"),
        ('revision = "A"', "revision = A", "line 4"),
        ("detect_ms = {max = 1000}", "", "missing required field `detect_ms`"),
    ],
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, where: str) -> None:
    assert old in DATA
    broken = DATA.replace(old, new, 1)
    at = DATA[: DATA.index(old)].count("\n") + 1
    with pytest.raises(ConfigError) as caught:
        parsed(broken)
    message = str(caught.value)
    assert where in message
    if new:
        assert message.startswith(f"factory.toml:{at}:"), message
    else:
        header = DATA[: DATA.index("[steps.ring-detect]")].count("\n") + 1
        assert message.startswith(f"factory.toml:{header}:"), message


@given(st.binary(max_size=300))
def test_any_bytes_are_limits_or_a_config_error(data: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_limits(data, "factory.toml")


def test_lines_are_found_by_path() -> None:
    source = "a = 1\n[steps.loop]\nlow = {min = 1}\n\n[steps.link]\nx = 2\n"
    assert line_of(source, ["a"]) == 1
    assert line_of(source, ["steps", "loop", "low", "min"]) == 3
    assert line_of(source, ["steps", "link", "missing"]) == 5


def test_bands() -> None:
    assert Band(1, 2).holds(1)
    assert Band(1, 2).holds(2)
    assert not Band(1, 2).holds(2.001)
    assert not Band(max=5).holds(math.inf)
    assert not Band(min=5).holds(math.nan)
    assert Band(min=1).text() == ">= 1"


def test_notes_tell_what_is_outside() -> None:
    notes = Notes()
    assert notes.number("level", 1.0, "dB", Band(-1, 1), "FXS 1")
    assert not notes.number("rise", math.inf, "ms", Band(max=500), "FXS 1", "no power")
    assert notes.reasons == ["FXS 1, rise: never, limit <= 500 ms; no power"]
    assert [one.good for one in notes.numbers] == [True, False]
    json.loads(msgspec.json.encode(notes.numbers))


# --- identity -------------------------------------------------------------------------------------------------------------

IDENTITY = Identity("branch-4x4", "A", "BX4000001", "70:B3:D5:00:00:01", "2026-11-22")


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_an_identity_comes_back(board: str, serial: str, made: str) -> None:
    identity = Identity(board, "A", serial, "70:B3:D5:00:00:01", made)
    assert decode(encode(identity, 512) + b"\xff" * 9) == identity


@given(st.binary(max_size=300))
def test_any_memory_is_an_identity_or_a_bad_record(data: bytes) -> None:
    for content in (data, b"BPBX" + data, encode(IDENTITY, 256)[:12] + data):
        try:
            decode(content)
        except BadRecord:
            continue


def test_every_flipped_bit_is_seen() -> None:
    record = encode(IDENTITY, 256)
    for bit in range(8 * len(record)):
        broken = bytearray(record)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadRecord):
            decode(bytes(broken))


def test_an_identity_must_fit_and_a_mac_must_be_one() -> None:
    with pytest.raises(BadRecord):
        encode(IDENTITY, 40)
    assert not mac_fault("70:B3:D5:00:00:01", "70:B3:D5")
    assert all(
        mac_fault(bad)
        for bad in ("", "00:00:00:00:00:00", "FF:FF:FF:FF:FF:FF", "01:00:5E:00:00:01", "70-B3-D5-00-00-01", "70:b3:d5:00:00:01")
    )
    assert "begin" in mac_fault("70:B3:D5:00:00:01", "00:11")


# --- samples ----------------------------------------------------------------------------------------------------------------


def wave(rate_hz: float, level_dbm0: float, count: int, noise: float = 0.0, offset: float = 0.0, seed: int = 1) -> sound.array[int]:
    dice = np.random.default_rng(seed)
    at = np.arange(count)
    data = 22750 * 10 ** (level_dbm0 / 20) * np.sin(2 * np.pi * rate_hz * at / 8000 + 0.7) + noise * dice.standard_normal(count) + offset
    return sound.samples_of(np.clip(np.round(data), -32768, 32767).astype("<i2").tobytes())


@pytest.mark.parametrize("hertz", [300.0, 1004.0, 3400.0])
def test_tone_levels_are_right_beside_offset_and_noise(hertz: float, seed: int) -> None:
    level = random.Random(seed).uniform(-40, 0)
    assert sound.tone_level(wave(hertz, level, 1600, offset=300, seed=seed % 1000), hertz) == pytest.approx(level, abs=0.03)
    noisy = wave(hertz, -10, 4000, noise=10 ** (-65 / 20) * 22750 / math.sqrt(2), seed=seed % 1000)
    assert sound.tone_level(noisy, hertz) == pytest.approx(-10, abs=0.02)
    assert sound.distortion(noisy, hertz) == pytest.approx(55, abs=0.5)


def test_distortion_counts_harmonics(seed: int) -> None:
    clean = np.asarray(wave(1004, -10, 4000), dtype=float)
    third = np.asarray(wave(3012, -50, 4000), dtype=float)
    mixed = sound.samples_of(np.round(clean + third).astype("<i2").tobytes())
    assert sound.distortion(mixed, 1004) == pytest.approx(40, abs=0.1)


def test_idle_level_leaves_the_offset_out() -> None:
    noise = 22750 / math.sqrt(2) * 10 ** (-60 / 20)
    assert sound.idle_level(wave(1000, -200, 8000, noise=noise, offset=500)) == pytest.approx(-60, abs=0.3)
    assert sound.idle_level(sound.samples_of(bytes(200))) == sound.SILENCE_DBM0


def test_generated_tones_have_their_level_and_a_low_crest() -> None:
    data = np.frombuffer(sound.tones(sound.ERL_TONES, -22.0, 4000), "<i2").astype(float)
    for hertz in sound.ERL_TONES:
        assert sound.tone_level(sound.samples_of(data.astype("<i2").tobytes()), hertz) == pytest.approx(-22, abs=0.02)
    assert np.abs(data).max() / np.sqrt(np.mean(data**2)) < 2.6


def test_echo_return_loss_of_a_known_path() -> None:
    sent = np.frombuffer(sound.tones(sound.ERL_TONES, -22.0, 4000), "<i2").astype(float)
    for loss in (6.0, 12.0, 30.0):
        back = np.roll(sent, 37) * 10 ** (-loss / 20)
        assert sound.echo_return_loss(sound.samples_of(np.round(back).astype("<i2").tobytes()), -22.0) == pytest.approx(loss, abs=0.1)


def test_patterns_differ_and_are_found_at_their_delay() -> None:
    sent = sound.samples_of(sound.pattern(800, 3))
    for delay in (0, 1, 17, 64):
        heard = sound.samples_of(bytes(2 * delay)) + sent[: 800 - delay]
        assert sound.find_pattern(heard, sent, 64) == delay
    assert sound.find_pattern(sound.samples_of(sound.pattern(800, 4)), sent, 64) == -1
    heard = sent[:]
    heard[400] ^= 1
    assert sound.find_pattern(heard, sent, 64) == -1


# --- files ------------------------------------------------------------------------------------------------------------------


def report(
    serial: str = "BX4000001",
    run: int = 1,
    verdict: str = "pass",
    steps: list[StepResult] | None = None,
    started: str = "2026-11-22 08:00:00",
) -> Report:
    steps = (
        steps
        if steps is not None
        else [StepResult(1, "supply", "Supply", "pass", numbers=[Number("idle", 300.0, "mA")], seconds=2.0, budget_s=5)]
    )
    return Report(serial, "branch-4x4", "A", run, verdict, started, 100.0, "Li", "0.1.0", "abc", "fixture 1", "verified", steps)  # type: ignore[arg-type]


def test_reports_are_numbered_and_never_overwritten(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.keep(report(), text_report(report()))
    assert path.name == "BX4000001-01.txt"
    before = path.read_bytes()
    with pytest.raises(StoreError, match="never overwritten"):
        store.keep(report(verdict="fail"), "other")
    assert path.read_bytes() == before
    assert store.next_run("BX4000001") == 2
    assert msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Report) == report()
    assert sorted(one.name for one in path.parent.iterdir()) == ["BX4000001-01.json", "BX4000001-01.txt"]


@pytest.mark.parametrize("serial", ["", "../x", "a/b", "x" * 65, "BX 4"])
def test_a_serial_is_no_path(tmp_path: Path, serial: str) -> None:
    with pytest.raises(StoreError):
        Store(tmp_path).keep(report(serial), "")


def test_the_log_survives_torn_lines_and_rubbish(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.record(report())
    whole = store.log.read_bytes()
    for cut in range(1, len(whole)):
        store.log.write_bytes(whole + whole[:cut].rstrip(b"\n"))
        store.record(report("BX4000002"))
        assert [run.serial for run in store.runs()][-1] == "BX4000002"
        assert len(list(store.runs())) in (2, 3)
    store.log.write_bytes(b"\xff\xfe\n{}\n[1]\n" + whole)
    assert len(list(store.runs())) == 1


def test_the_journal_gives_back_what_was_noted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.unfinished("BX1") == []
    head = JournalHead("BX1", "70:B3:D5:00:00:01", "b", "Li", "2026", 1.0)
    lines = [head, JournalStep(StepResult(1, "supply", "Supply", "pass")), JournalMemory({"rtc": 1.0})]
    for line in lines:
        store.note("BX1", line)
    assert store.unfinished("BX1") == lines
    with store.journal("BX1").open("ab") as file:
        file.write(b'{"type":"step","resu')
    assert store.unfinished("BX1") == lines
    store.close("BX1")
    assert store.unfinished("BX1") == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    blocked = tmp_path / "factory"
    blocked.write_text("a file in the way")
    with pytest.raises(StoreError, match="free space"):
        Store(blocked).record(report())


def test_what_failed_before(tmp_path: Path) -> None:
    store = Store(tmp_path)
    failed = [
        StepResult(13, "ringing", "Ringing", "fail"),
        StepResult(13, "ringing", "Ringing", "pass", 2),
        StepResult(20, "panel", "Panel", "fail"),
    ]
    store.record(report(verdict="stopped", steps=failed))
    assert store.failed_before("BX4000001") == ["panel"]
    store.record(report(run=2, verdict="repair", steps=failed))
    assert store.failed_before("BX4000001") == []
    assert store.failed_before("BX4000002") == []


def test_the_text_report_names_every_number() -> None:
    steps = [
        StepResult(
            13,
            "ringing",
            "FXS ringing",
            "fail",
            1,
            ["FXS 2, ringing: 37 Vrms"],
            [Number("ringing", 37.7, "Vrms", "FXS 2", 45.0, None, False)],
            {},
            11,
            40,
        ),
        StepResult(24, "insulation", "Insulation", "laboratory", reasons=["elsewhere"]),
    ]
    shown = text_report(report(verdict="fail", steps=steps))
    assert "* FXS 2" in shown
    assert "37.7 Vrms" in shown
    assert ">= 45" in shown
    assert "Li" in shown
    assert "lab" in shown


# --- golden -------------------------------------------------------------------------------------------------------------------


def test_drift_is_told_worst_first() -> None:
    numbers = [Number("a", 10.0, "dB", "X"), Number("b", 5.0, "mA"), Number("c", 7.0, "")]
    kept = golden_of(report(steps=[StepResult(1, "s", "S", "pass", numbers=numbers)]))
    rules = GoldenRules(tolerance={"dB": 0.5, "b": 1.0})
    now = report(steps=[StepResult(1, "s", "S", "pass", numbers=[Number("a", 10.6, "dB", "X"), Number("b", 8.0, "mA")])])
    found, compared = drifts(kept, now, rules)
    assert compared == 2
    assert [drift.number for drift in found] == ["s/b/", "s/a/X"]
    assert "was 10" in found[1].text()
    gone, _ = drifts(kept, report(steps=[]), rules)
    assert {drift.now for drift in gone} == {None}
    assert not drifts(kept, report(steps=[StepResult(1, "s", "S", "pass", numbers=numbers)]), rules)[0]


def test_a_golden_board_must_be_good_and_the_same() -> None:
    with pytest.raises(ConfigError, match="did not pass"):
        golden_of(report(verdict="repair"))
    with pytest.raises(ConfigError, match="this one is"):
        drifts(golden_of(report()), report("BX4000002"), GoldenRules())
    for data in (b"", b"[]", b"\xff", b'{"serial": 1}'):
        with pytest.raises(ConfigError, match="record the golden board again"):
            parse_golden(data, "golden.json")
    kept = golden_of(report())
    assert parse_golden(msgspec.json.encode(kept), "golden.json") == Golden(**msgspec.structs.asdict(kept))


# --- yield --------------------------------------------------------------------------------------------------------------------


def line(serial: str, verdict: str, *steps: tuple[str, str], run: int = 1, started: str = "2026-11-22 08:00") -> RunLine:
    made = [
        StepLine(step, status, 10.0, 5.0, "FXS 2, ringing into 1 REN: 37.7 Vrms, limit >= 45 Vrms" if status == "fail" else "")
        for step, status in steps
    ]
    return RunLine(serial, "b", run, verdict, started, 100.0, "Li", made)  # type: ignore[arg-type]


def test_yield_counts_boards_by_their_first_attempt() -> None:
    runs = [
        line("A", "pass", ("spi", "pass"), ("ringing", "pass")),
        line("B", "pass", ("spi", "pass"), ("ringing", "fail"), ("ringing", "pass")),
        line("C", "stopped", ("spi", "fail"), ("ringing", "not-run")),
        line("C", "pass", ("spi", "pass"), ("ringing", "pass"), run=2, started="2026-11-23 08:00"),
        line("D", "repair", ("spi", "pass"), ("ringing", "fail"), ("ringing", "fail")),
        line("E", "interrupted", ("spi", "pass")),
    ]
    found = work_out(runs)
    assert (found.boards, found.runs, found.passed_first, found.passed) == (4, 6, 1, 3)
    assert (found.repair, found.waiting, found.interrupted) == (1, 0, 1)
    spi, ringing = found.steps
    assert (spi.boards, spi.passed_first, spi.failed, spi.repeated) == (4, 3, 1, 1)
    assert (ringing.boards, ringing.passed_first, ringing.failed, ringing.repeated) == (4, 2, 3, 2)
    assert ringing.over_budget == 6
    assert found.causes[0] == ("ringing: ringing into # REN", 2)
    assert found.per_day == {"2026-11-22": 4, "2026-11-23": 1}
    assert work_out(runs, "2026-11-23").boards == 1
    table = text_table(found)
    assert "first-pass yield 25.0 %" in table
    assert "ringing into # REN" in table
    assert text_table(work_out([])).startswith("boards 0")


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("FXS 2 > FXO 2, level at 1004 Hz: -3.4 dB, limit -1 .. 1 dB", "level at # Hz"),
        ("FXO 1, isolation link: never, limit <= 2000 ms; capacitors", "isolation link"),
        ("board b, FXO jack 1 (Si3050), step 'chain count': register 11 reads 0xFF", "chain count"),
        ("LED status is not on", "LED status is not on"),
    ],
)
def test_equal_causes_are_equal(reason: str, cause: str) -> None:
    assert cause_of(reason) == cause


# --- texts --------------------------------------------------------------------------------------------------------------------


def test_every_text_is_in_both_languages_with_the_same_values() -> None:
    for key, (english, chinese) in TEXTS.items():
        fields = [{name for _, name, _, _ in string.Formatter().parse(one) if name} for one in (english, chinese)]
        assert fields[0] == fields[1], key
        assert chinese != english, key
    assert {step.name for step in STEPS} == set(TITLES_ZH)
    assert text("zh", "led-on", led="status").startswith("指示灯 status")
