"""The host-side tools: clips at the right level, the bill of materials, signals that reach the command and not `make`."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import wave
from array import array
from pathlib import Path

import pytest

from tools import make_prompts, sbom

ROOT = Path(__file__).resolve().parent.parent.parent


def dbm0(values: list[float]) -> float:
    power = sum(value * value for value in values) / len(values)
    return 20 * math.log10(math.sqrt(power) / make_prompts.FULL_SCALE_RMS)


def samples_of(path: Path) -> list[float]:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        return [float(value) for value in array("h", file.readframes(file.getnframes()))]


def tone(frequency: float, rate: int, seconds: float = 0.5) -> array[int]:
    return array("h", (round(10_000 * math.sin(2 * math.pi * frequency * index / rate)) for index in range(int(seconds * rate))))


def test_resampling_keeps_the_telephone_band_and_removes_what_would_alias() -> None:
    kept = make_prompts.resample(tone(1000, 22050), 22050)[400:-400]
    assert math.sqrt(sum(value * value for value in kept) / len(kept)) == pytest.approx(10_000 / math.sqrt(2), rel=0.02)
    removed = make_prompts.resample(tone(5000, 22050), 22050)[400:-400]
    assert math.sqrt(sum(value * value for value in removed) / len(removed)) < 50


def test_level_counts_only_while_somebody_speaks() -> None:
    speech = [float(value) for value in tone(500, 8000)]
    assert make_prompts.active_rms([*speech, *[0.0] * 8000]) == pytest.approx(make_prompts.active_rms(speech), rel=0.02)


def test_trimming_cuts_silence_and_keeps_a_breath() -> None:
    speech = [float(value) for value in tone(500, 8000)]
    trimmed = make_prompts.trim([*[0.0] * 4000, *speech, *[0.0] * 8000])
    assert 0 <= len(trimmed) - len(speech) <= 8000 * 80 // 1000
    assert trimmed[0] == 0.0
    assert make_prompts.trim([0.0] * 100) == []


def test_hold_music_loops_without_a_seam_at_its_level(tmp_path: Path) -> None:
    make_prompts.make_music(tmp_path / "music.wav")
    values = samples_of(tmp_path / "music.wav")
    assert len(values) == 30 * 8000
    assert dbm0(values) == pytest.approx(-20.0, abs=0.5)
    steps = sorted(abs(b - a) for a, b in zip(values, values[1:], strict=False))
    assert abs(values[0] - values[-1]) <= steps[-1]
    quietest = min(dbm0(values[start : start + 1600]) for start in range(0, len(values), 1600))
    assert quietest > -45


def test_beep_is_audible_and_short(tmp_path: Path) -> None:
    make_prompts.make_beep(tmp_path / "beep.wav")
    values = samples_of(tmp_path / "beep.wav")
    assert len(values) == 2400
    assert dbm0(values) == pytest.approx(-13.0, abs=0.5)


def test_bill_of_materials_lists_what_ships_and_repeats_itself() -> None:
    document = sbom.bill()
    names = {component["name"]: component for component in document["components"]}
    assert document["bomFormat"] == "CycloneDX"
    assert names["msgspec"]["scope"] == "required"
    assert names["pytest"]["scope"] == "excluded"
    assert "espeak-ng" in names
    assert json.dumps(document) == json.dumps(sbom.bill())


CHILD = "import signal, sys; signal.signal(2, lambda *_: sys.exit(0)); print('up', flush=True); signal.pause(); signal.pause()"


def test_interrupt_of_the_wrapper_ends_the_command_cleanly() -> None:
    wrapper = subprocess.Popen(
        [sys.executable, str(ROOT / "tools/foreground.py"), sys.executable, "-c", CHILD], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert wrapper.stdout
    assert wrapper.stdout.readline() == b"up\n"
    os.kill(wrapper.pid, signal.SIGINT)
    assert wrapper.wait(timeout=10) == 0
    wrapper.stdout.close()


def test_wrapper_reports_the_status_of_the_command() -> None:
    command = [sys.executable, str(ROOT / "tools/foreground.py"), sys.executable, "-c", "raise SystemExit(7)"]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 7
