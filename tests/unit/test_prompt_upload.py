"""A prompt of the site: any WAV becomes what the engine plays, at the level of the built ones, in one step; nothing wrong gets in."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from firmware.__main__ import main
from firmware.app.media import read_clip
from firmware.call.levels import levelled
from firmware.errors import ConfigError
from firmware.prompts import clip_files, site_root, site_whole
from firmware.prompts.upload import read_wav

PEAK = 22750.0


def write(path: Path, rate: int, channels: int, width: int, hz: float, seconds: float = 1.0, level: float = -30.0) -> Path:
    t = np.arange(int(rate * seconds)) / rate
    tone = PEAK * 10 ** (level / 20) * np.sin(2 * np.pi * hz * t)
    if width == 1:
        data = (np.round(tone / 256) + 128).astype(np.uint8).tobytes()
    else:
        whole = np.repeat(np.round(tone * 256 ** (width - 2)).astype(np.int64), channels)
        data = b"".join(int(one).to_bytes(width, "little", signed=True) for one in whole)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(data)
    return path


def level(samples: object, hz: float) -> float:
    x = np.asarray(samples, dtype=float)
    t = np.arange(len(x))
    return float(20 * np.log10(max(1e-3, 2 * abs(np.dot(x, np.exp(-2j * np.pi * hz * t / 8000))) / len(x)) / PEAK))


@pytest.mark.parametrize(
    ("rate", "channels", "width"), [(8000, 1, 2), (16000, 2, 2), (44100, 1, 2), (48000, 2, 3), (22050, 1, 4), (8000, 1, 1)]
)
def test_every_usual_form_keeps_its_tone_and_length(tmp_path: Path, rate: int, channels: int, width: int) -> None:
    samples = read_wav(str(write(tmp_path / "in.wav", rate, channels, width, 1000.0, level=-20.0)))
    assert abs(len(samples) - 8000) <= 2
    assert level(samples[400:7600], 1000.0) == pytest.approx(-20.0, abs=0.5)


def test_what_no_telephone_carries_does_not_fold_back(tmp_path: Path) -> None:
    samples = read_wav(str(write(tmp_path / "in.wav", 44100, 1, 2, 6000.0, level=-6.0)))
    assert level(samples[400:7600], 2000.0) < -50


def test_a_quiet_prompt_is_brought_to_the_level_of_the_others(tmp_path: Path) -> None:
    quiet = read_wav(str(write(tmp_path / "in.wav", 8000, 1, 2, 700.0, level=-36.0)))
    assert level(levelled(quiet)[400:7000], 700.0) == pytest.approx(-16.0, abs=0.5)


def test_it_is_put_beside_the_state_and_wins_over_the_built_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "in.wav", 16000, 1, 2, 700.0)
    assert main(["prompt", "add", str(file), "--as", "zh/greet.morning", "--state", str(tmp_path), "--lang", "en"]) == 0
    assert "next start" in capsys.readouterr().out
    site = site_root(tmp_path)
    assert site_whole(site) == {"zh/greet.morning"}
    path = clip_files(site=site)["zh/greet.morning"]
    assert path.is_relative_to(site)
    assert len(read_clip(path)) > 8000
    assert main(["prompt", "list", "--state", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "zh/greet.morning\n"
    assert main(["prompt", "remove", "zh/greet.morning", "--state", str(tmp_path), "--lang", "zh"]) == 0
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "fr/greet.morning", "zh/../../etc", "zh/no.such.prompt", "greet.morning"])
def test_a_name_that_is_no_prompt_is_refused(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "in.wav", 8000, 1, 2, 700.0)
    assert main(["prompt", "add", str(file), "--as", name, "--state", str(tmp_path)]) != 0
    assert not site_root(tmp_path).exists()


@pytest.mark.parametrize("content", [b"", b"RIFFnothing", b"\x00" * 100])
def test_a_file_that_is_no_wav_is_refused_with_its_reason(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.wav").write_bytes(content)
    with pytest.raises(ConfigError):
        read_wav(str(tmp_path / "in.wav"))
