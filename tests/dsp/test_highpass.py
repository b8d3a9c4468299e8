"""The high-pass in front of line audio: hum and DC go, the telephone band stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.dsp.highpass import HighPassFilter
from tests.dsp.signals import level, noise, pcm, samples, sine


def gain_db(freq: float, rate: int) -> float:
    """Settled gain at one frequency."""
    heard = samples(HighPassFilter(rate).process(pcm(sine(freq, 2000, -6, rate))))[rate:]
    return level(heard) + 6.0


@pytest.mark.parametrize("rate", [8000, 16000])
def test_hum_and_what_lies_below_loses_twenty_decibels_and_more(rate: int) -> None:
    for freq in (16.7, 25.0, 49.0, 50.0, 51.0, 59.0, 60.0, 61.0):
        assert gain_db(freq, rate) < -28, freq


@pytest.mark.parametrize("rate", [8000, 16000])
def test_telephone_band_is_flat_within_half_a_decibel(rate: int) -> None:
    for freq in (200.0, 250.0, 300.0, 500.0, 1000.0, 2100.0, 3400.0):
        assert abs(gain_db(freq, rate)) < 0.3, freq


@pytest.mark.parametrize("rate", [8000, 16000])
def test_constant_voltage_is_gone_within_a_tenth_of_a_second(rate: int) -> None:
    heard = samples(HighPassFilter(rate).process(pcm(np.full(rate, 12000.0))))
    assert np.abs(heard[rate // 10 :]).max() <= 12


@pytest.mark.parametrize("rate", [8000, 16000])
def test_equals_the_filter_computed_slowly_from_its_poles_and_zeros(rate: int, rng: np.random.Generator) -> None:
    """Chebyshev II, order 3, 28 dB from 61.5 Hz, by the textbook in double precision."""
    edge = 2 * rate * np.tan(np.pi * 61.5 / rate)
    mu = np.arcsinh(np.sqrt(10**2.8 - 1)) / 3
    angle = (2 * np.arange(1, 4) - 1) * np.pi / 6
    poles = edge * (-np.sinh(mu) * np.sin(angle) + 1j * np.cosh(mu) * np.cos(angle))
    zeros = edge * np.array([0, -1j * np.cos(np.pi / 6), 1j * np.cos(np.pi / 6)])
    a = np.real(np.poly((2 * rate + poles) / (2 * rate - poles)))
    b = np.real(np.poly((2 * rate + zeros) / (2 * rate - zeros)))
    b *= np.sum(a * [1, -1, 1, -1]) / np.sum(b * [1, -1, 1, -1])
    x = np.round(noise(rng, 4000, -15))
    y = np.zeros(len(x) + 3)
    padded = np.concatenate([np.zeros(3), x])
    for n in range(3, len(padded)):
        y[n] = b @ padded[n - np.arange(4)] - a[1:] @ y[n - 1 - np.arange(3)]
    assert np.abs(samples(HighPassFilter(rate).process(pcm(x))) - y[3:]).max() < 1.0


def test_silence_in_is_silence_out_also_after_sound(rng: np.random.Generator) -> None:
    one = HighPassFilter()
    assert one.process(bytes(160)) == bytes(160)
    one.process(pcm(noise(rng, 800, 0)))
    one.process(bytes(16000))
    assert one.process(bytes(1600)) == bytes(1600)


@given(st.lists(st.integers(-32768, 32767), max_size=400), st.lists(st.integers(1, 37), min_size=1, max_size=5))
def test_any_blocks_give_the_same_samples(values: list[int], sizes: list[int]) -> None:
    data = np.array(values, "<i2").tobytes()
    parts, at, k, one = [], 0, 0, HighPassFilter()
    while at < len(data):
        n = 2 * sizes[k % len(sizes)]
        parts.append(one.process(data[at : at + n]))
        at, k = at + n, k + 1
    assert b"".join(parts) == HighPassFilter().process(data)


def test_unknown_rates_and_half_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="44100"):
        HighPassFilter(44100)
    with pytest.raises(ValueError, match="3 bytes"):
        HighPassFilter().process(b"abc")
