"""Time scaling: lengths, pitch, joins without clicks, and where it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.dsp import TimeScaler

from .signals import Sound, level, music, noise, pcm, samples, sine, speech


def peak_frequency(x: Sound, rate: int = 8000) -> float:
    n = 1 << 17
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x)), n))
    return float(np.argmax(spectrum) * rate / n)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1, 1.2])
def test_speech_gets_the_length_wanted(rng: np.random.Generator, rate: int, factor: float) -> None:
    x = speech(rng, 30.0, rate) + noise(rng, 30 * rate, -65.0)
    y = TimeScaler(rate).process(pcm(x), factor)
    # It waits where nothing matches: of 10 s a fifth more or less was out by 0.01 +- 0.01, a tenth by 0.002 +- 0.002.
    assert len(y) / 2 / len(x) == pytest.approx(factor, abs=0.06 if abs(factor - 1.0) > 0.15 else 0.03)
    assert level(samples(y)) == pytest.approx(level(x), abs=1.0)


@pytest.mark.parametrize("freq", [150.0, 440.0, 1000.0, 2300.0])
@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_a_tone_keeps_pitch_and_has_no_clicks(freq: float, factor: float) -> None:
    x = samples(pcm(sine(freq, 2000.0, -10.0)))
    y = samples(TimeScaler().process(pcm(x), factor))
    assert len(y) / len(x) == pytest.approx(factor, abs=0.02)
    assert peak_frequency(y) == pytest.approx(freq, rel=0.004)
    assert np.abs(np.diff(y, 2)).max() < 1.6 * np.abs(np.diff(x, 2)).max() + 8.0
    assert level(y) == pytest.approx(-10.0, abs=0.5)


def test_music_keeps_its_level_and_spectrum(rng: np.random.Generator) -> None:
    x = music(rng, 10.0)
    y = samples(TimeScaler().process(pcm(x), 0.93))
    assert level(y) == pytest.approx(level(x), abs=1.0)
    a = np.abs(np.fft.rfft(x[: len(x) // 256 * 256].reshape(-1, 256) * np.hanning(256), axis=1)).mean(axis=0)
    b = np.abs(np.fft.rfft(y[: len(y) // 256 * 256].reshape(-1, 256) * np.hanning(256), axis=1)).mean(axis=0)
    strong = a > a.max() / 100
    assert np.abs(20 * np.log10(a[strong] / b[strong])).mean() < 2.5  # 0.4 +- 0.15


@pytest.mark.parametrize("wanted", [20, 33, 80, 119])
def test_quiet_goes_and_comes_by_exact_samples(rng: np.random.Generator, wanted: int) -> None:
    x = pcm(noise(rng, 320, -60.0))
    s = TimeScaler()
    assert len(s.shorten(x, wanted)) == len(x) - 2 * wanted
    assert len(s.lengthen(pcm(noise(rng, 240, -60.0)), x, wanted)) == len(x) + 2 * wanted


def test_where_nothing_matches_nothing_is_done(rng: np.random.Generator) -> None:
    x = pcm(noise(rng, 320, -15.0))
    s = TimeScaler()
    assert s.shorten(x) == x
    assert s.lengthen(pcm(noise(rng, 240, -15.0)), x) == x
    assert len(s.shorten(x, match=-1.0)) < len(x)


def test_removed_and_inserted_are_whole_periods() -> None:
    x = samples(pcm(sine(125.0, 100.0, -10.0) + sine(250.0, 100.0, -16.0)))
    s = TimeScaler()
    assert len(s.shorten(pcm(x[:320]))) in (2 * (320 - 64), 2 * (320 - 128))
    assert len(s.lengthen(pcm(x[:240]), pcm(x[240:320]))) == 2 * (80 + 64)


def test_the_ends_of_a_join_are_untouched(rng: np.random.Generator) -> None:
    x = samples(pcm(sine(200.0, 60.0, -10.0)))
    y = samples(TimeScaler().shorten(pcm(x[:320])))
    assert abs(y[0] - x[0]) < 0.02 * 22750
    assert np.array_equal(y[-100:], x[220:320])
    z = samples(TimeScaler().lengthen(pcm(x[:240]), pcm(x[240:400])))
    assert np.array_equal(z[-160:], x[240:400])


@given(st.binary(max_size=1900), st.binary(max_size=1900), st.integers(-50, 3000), st.floats(-1.0, 1.0), st.sampled_from([8000, 16000]))
def test_any_samples_give_a_length_in_bounds(past: bytes, data: bytes, wanted: int, match: float, rate: int) -> None:
    past, data = past[: len(past) // 2 * 2], data[: len(data) // 2 * 2]
    s = TimeScaler(rate)
    removed = (len(data) - len(s.shorten(data, wanted, match))) // 2
    added = (len(s.lengthen(past, data, wanted, match)) - len(data)) // 2
    for n in (removed, added):
        assert n == 0 or rate // 400 <= n <= rate * 3 // 200


@given(st.binary(max_size=3000), st.floats(0.5, 2.0))
def test_any_sound_can_be_scaled(data: bytes, factor: float) -> None:
    data = data[: len(data) // 2 * 2]
    assert len(TimeScaler().process(data, factor)) % 2 == 0


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="44100"):
        TimeScaler(44100)
    with pytest.raises(ValueError, match=r"outside 0\.5 to 2\.0"):
        TimeScaler().process(b"", 3.0)
