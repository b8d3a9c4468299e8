"""The half-band resampler against its mask, against the definition of resampling, and for any blocks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.dsp import Resampler

DELAY = 27  # samples at 16 kHz, each way


def run(source: int, target: int, samples: npt.ArrayLike, step: int = 0) -> npt.NDArray[np.float64]:
    block = np.clip(np.round(np.asarray(samples)), -32768, 32767).astype("<i2")
    step = step or len(block)
    r = Resampler(source, target)
    return np.frombuffer(b"".join(r.process(block[i : i + step].tobytes()) for i in range(0, len(block), step)), "<i2").astype(float)


def response(source: int, target: int, hz: npt.NDArray[np.float64], at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Level of what appears at the frequencies `at` when tones at `hz` go in, dB."""
    gains = []
    n = source
    for f, g in zip(hz, at, strict=True):
        t = np.arange(n) / source
        out = run(source, target, 20000 * np.sin(2 * np.pi * f * t))[target // 4 :]
        phase = np.exp(-2j * np.pi * g * np.arange(len(out)) / target)
        window = np.hanning(len(out))
        gains.append(20 * np.log10(max(1e-9, 2 * abs(np.sum(out * window * phase)) / window.sum() / 20000)))
    return np.array(gains)


def test_pass_band_is_flat_both_ways():
    hz = np.arange(100.0, 3401.0, 100.0)
    assert np.max(np.abs(response(8000, 16000, hz, hz))) < 0.01
    assert np.max(np.abs(response(16000, 8000, hz, hz))) < 0.01


def test_images_and_aliases_are_70_db_down():
    hz = np.arange(100.0, 3401.0, 100.0)
    assert np.max(response(8000, 16000, hz, 8000 - hz)) < -70
    high = np.arange(4600.0, 7901.0, 100.0)
    assert np.max(response(16000, 8000, high, 8000 - high)) < -70


def test_delay_is_27_samples_each_way(rng):
    impulse = np.zeros(400)
    impulse[100] = 16000
    up = run(8000, 16000, impulse)
    assert np.argmax(up) == 200 + DELAY
    assert np.allclose(up[200 : 200 + 2 * DELAY + 1], up[200 : 200 + 2 * DELAY + 1][::-1], atol=1)
    wide = np.zeros(800)
    wide[401] = 16000  # 401 + 27 is even: it falls on a sample at 8 kHz
    assert np.argmax(run(16000, 8000, wide)) == (401 + DELAY) // 2


def test_up_and_down_again_gives_the_sound_back(rng):
    spectrum = np.fft.rfft(rng.normal(0, 3000, 8000))
    spectrum[3400:] = 0
    speech = np.fft.irfft(spectrum)
    back = run(16000, 8000, run(8000, 16000, speech))
    error = back[DELAY + 100 :] - np.round(speech)[100:-DELAY]
    assert 10 * np.log10(np.mean(speech**2) / np.mean(error**2)) > 60


@pytest.mark.parametrize("value", [0, 1, -1, 12345, -32768, 32767])
def test_a_constant_comes_out_as_itself(value):
    for source, target in ((8000, 16000), (16000, 8000)):
        assert np.all(run(source, target, np.full(400, value))[60:] == value)


def test_extremes_are_clipped_and_not_wrapped():
    square = np.repeat(np.tile([32767, -32768], 100), 20)
    for source, target in ((8000, 16000), (16000, 8000)):
        out = run(source, target, square)
        middle = run(source, target, square // 2)
        assert np.all(np.sign(out[200:][np.abs(middle[200:]) > 4000]) == np.sign(middle[200:][np.abs(middle[200:]) > 4000]))


@given(st.lists(st.integers(-32768, 32767), min_size=4, max_size=700), st.integers(1, 340))
def test_any_blocks_give_the_same_samples(values, step):
    samples = np.array(values[: len(values) // 2 * 2])
    for source, target in ((8000, 16000), (16000, 8000)):
        assert np.array_equal(run(source, target, samples, 2 * step), run(source, target, samples))


def test_other_rates_and_half_samples_are_refused():
    with pytest.raises(ValueError, match="only 8000 to 16000"):
        Resampler(8000, 48000)
    with pytest.raises(ValueError, match="3 bytes"):
        Resampler(8000, 16000).process(b"abc")
    with pytest.raises(ValueError, match="even number"):
        Resampler(16000, 8000).process(b"ab")
