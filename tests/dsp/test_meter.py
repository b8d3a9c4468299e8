"""Level meters: dBm0 as the trade has it, peaks that stand a second."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.dsp.meter import LevelMeter
from tests.dsp.signals import noise, pcm, silence, sine


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("dbm0", [0.0, -10.0, -45.0])
def test_a_sine_reads_its_level_in_rms_and_in_peak(rate: int, dbm0: float) -> None:
    meter = LevelMeter(rate)
    meter.feed(pcm(sine(1004, 1000, dbm0, rate)))
    assert meter.level_dbm0 == pytest.approx(dbm0, abs=0.15)
    assert meter.peak_dbm0 == pytest.approx(dbm0, abs=0.1)
    assert meter.clipped == 0


def test_white_noise_reads_its_power(rng: np.random.Generator) -> None:
    meter = LevelMeter()
    meter.feed(pcm(noise(rng, 8000, -30)))
    assert meter.level_dbm0 == pytest.approx(-30, abs=1.0)


def test_silence_reads_the_least_level() -> None:
    meter = LevelMeter()
    assert (meter.level_dbm0, meter.peak_dbm0) == (-99.0, -99.0)
    meter.feed(pcm(sine(1000, 100, -10)))
    meter.feed(bytes(2 * 8000 * 20))
    assert (meter.level_dbm0, meter.peak_dbm0) == (-99.0, -99.0)


def test_level_follows_with_an_eighth_of_a_second_and_the_peak_stands_one_second() -> None:
    meter = LevelMeter()
    meter.feed(pcm(sine(1000, 1000, -10)))
    meter.feed(pcm(silence(130)))
    assert meter.level_dbm0 == pytest.approx(-10 - 4.5, abs=0.6)  # e^-1 after 125 ms is 4.3 dB
    meter.feed(pcm(silence(860)))
    assert meter.peak_dbm0 == pytest.approx(-10, abs=0.1)
    meter.feed(pcm(silence(510)))
    assert meter.peak_dbm0 == pytest.approx(-20, abs=0.5)


def test_samples_at_full_scale_are_counted() -> None:
    meter = LevelMeter()
    meter.feed(np.array([32767, -32768, 32766, -32767, 0], "<i2").tobytes())
    assert meter.clipped == 3


@given(st.lists(st.integers(-32768, 32767), max_size=500), st.integers(1, 90))
def test_any_blocks_give_the_same_figures(values: list[int], size: int) -> None:
    data = np.array(values, "<i2").tobytes()
    whole, parts = LevelMeter(), LevelMeter()
    whole.feed(data)
    for at in range(0, len(data), 2 * size):
        parts.feed(data[at : at + 2 * size])
    assert (whole.level_dbm0, whole.peak_dbm0, whole.clipped) == (parts.level_dbm0, parts.peak_dbm0, parts.clipped)


def test_unknown_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="11025"):
        LevelMeter(11025)
