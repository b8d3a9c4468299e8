"""Gain control: quiet speech is raised slowly and within bounds, noise is never pumped, nothing clips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.dsp.agc import GainControl
from tests.dsp.signals import noise, pcm, samples, silence, sine, speech


def test_quiet_speech_comes_close_to_the_target(rng: np.random.Generator) -> None:
    found = []
    for _ in range(6):
        one = GainControl()
        one.process(pcm(speech(rng, 20.0, level_dbm0=-28) + noise(rng, 160000, -68)))
        found.append((one.speech_dbm0 + one.gain_db, one.gain_db))
    level, gain = np.mean(found, axis=0)
    assert level == pytest.approx(-21, abs=2)  # one draw of 300: -20.5 +- 0.6
    assert 4 < gain < 10  # 7.3 +- 0.5


def test_gain_is_bounded_and_normal_speech_is_left_bit_for_bit(rng: np.random.Generator) -> None:
    one = GainControl()
    one.process(pcm(speech(rng, 30.0, level_dbm0=-39) + noise(rng, 240000, -75)))
    assert 9 <= one.gain_db <= 10.01
    normal = pcm(speech(rng, 10.0, level_dbm0=-16) + noise(rng, 80000, -68))
    assert GainControl().process(normal) == normal


def test_gain_rises_by_two_decibels_a_second_at_most_and_falls_by_six(rng: np.random.Generator) -> None:
    one = GainControl()
    gains = []
    x = np.concatenate([speech(rng, 10.0, level_dbm0=-32), speech(rng, 8.0, level_dbm0=-12)]) + noise(rng, 144000, -70)
    for at in range(0, len(x), 80):
        one.process(pcm(x[at : at + 80]))
        gains.append(one.gain_db)
    before = np.array(gains[:1000])
    assert np.max(before[100:] - before[:-100]) <= 2.05
    assert gains[-1] == 0.0


@pytest.mark.parametrize("dbm0", [-70, -55, -46, -35])
def test_noise_alone_is_never_raised(dbm0: float, rng: np.random.Generator) -> None:
    x = pcm(noise(rng, 30 * 8000, dbm0))
    one = GainControl()
    assert one.process(x) == x


def test_gain_stands_still_in_silence_and_keeps_the_background_low(rng: np.random.Generator) -> None:
    one = GainControl()
    one.process(pcm(speech(rng, 10.0, level_dbm0=-30) + noise(rng, 80000, -62)))
    stands = one.gain_db
    one.process(pcm(noise(rng, 10 * 8000, -62)))
    assert one.gain_db == pytest.approx(stands, abs=0.05)
    loud = GainControl()
    loud.process(pcm(speech(rng, 20.0, level_dbm0=-32) + noise(rng, 160000, -50)))
    assert loud.gain_db < 6  # -50 dBm0 and 5 dB are the most background there may be


def test_a_shout_after_quiet_speech_does_not_clip(rng: np.random.Generator) -> None:
    one = GainControl()
    one.process(pcm(speech(rng, 15.0, level_dbm0=-34) + noise(rng, 120000, -70)))
    assert one.gain_db > 8
    shout = sine(300, 200, 0.5)
    heard = samples(one.process(pcm(shout)))
    assert np.abs(heard).max() < 32767
    settled = heard[80:]
    spectrum = np.abs(np.fft.rfft(settled[: len(settled) // 80 * 80] * np.hanning(len(settled) // 80 * 80)))
    top = int(np.argmax(spectrum))
    rest = np.sum(np.square(spectrum)) - np.sum(np.square(spectrum[top - 3 : top + 4]))
    assert 10 * np.log10(np.sum(np.square(spectrum[top - 3 : top + 4])) / rest) > 40  # no square wave


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("block_ms", [20, 30])
def test_blocks_of_any_size_give_the_same_samples(rate: int, block_ms: int, rng: np.random.Generator) -> None:
    x = pcm(speech(rng, 6.0, rate, -30) + noise(rng, 6 * rate, -70))
    small, large = GainControl(rate), GainControl(rate)
    n, m = rate // 100 * 2, rate // 1000 * block_ms * 2
    assert b"".join(small.process(x[at : at + n]) for at in range(0, len(x), n)) == b"".join(
        large.process(x[at : at + m]) for at in range(0, len(x), m)
    )


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 32767), st.integers(1, 40)), min_size=1, max_size=20), st.integers(0, 2**32 - 1))
def test_any_sound_keeps_its_signs_its_range_and_is_never_weakened(spans: list[tuple[int, int]], number: int) -> None:
    rng = np.random.default_rng(number)
    one = GainControl(most_db=20.0)
    one.process(pcm(speech(rng, 4.0, level_dbm0=-38) + noise(rng, 32000, -75)))
    x = np.concatenate([top * rng.uniform(-1, 1, 80 * n) for top, n in spans]).astype("<i2")
    y = samples(one.process(x.tobytes()))
    assert np.all(np.abs(y) >= np.abs(x.astype(float)) - 1)
    assert np.all(np.abs(y) <= 10 * np.abs(x.astype(float)) + 1)
    assert np.all(y * x >= 0)


def test_values_out_of_range_and_broken_blocks_are_refused() -> None:
    for arguments in ((44100, -20.0, 10.0), (8000, 0.0, 10.0), (8000, -20.0, 30.0), (8000, float("nan"), 10.0)):
        with pytest.raises(ValueError, match="no gain control"):
            GainControl(*arguments)
    with pytest.raises(ValueError, match="10 ms"):
        GainControl().process(pcm(silence(5)))
