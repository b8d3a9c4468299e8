"""Comfort noise of RFC 3389 against numpy: levels, coefficients, synthesis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.dsp import ComfortNoise

from .signals import Sound, level, noise, pcm, rms, samples

OVERLOAD = 32124.0


def reference_coefficients(x: Sound, order: int) -> Sound:
    """Reflection coefficients by Levinson and Durbin's recursion in double precision."""
    r = np.array([np.dot(x[k:], x[: len(x) - k]) for k in range(order + 1)]) / len(x)
    a, error, k = np.array([1.0]), r[0], []
    for m in range(1, order + 1):
        g = -np.dot(a, r[m:0:-1]) / error
        k.append(g)
        a = np.append(a, 0.0) + g * np.append(0.0, a[::-1])
        error *= 1.0 - g * g
    return np.array(k)


def coloured(rng: np.random.Generator, n: int, level_dbm0: float) -> Sound:
    """Noise with a slope and a resonance."""
    x, y = noise(rng, n + 100, 0.0), np.zeros(n + 100)
    for i in range(2, n + 100):
        y[i] = x[i] + 1.2 * y[i - 1] - 0.6 * y[i - 2]
    y = y[100:]
    return y / np.sqrt(np.mean(y**2)) * rms(level_dbm0)


@pytest.mark.parametrize("level_dbm0", [-30.0, -45.0, -60.0])
def test_level_byte_is_the_level_below_overload(rng: np.random.Generator, level_dbm0: float) -> None:
    c = ComfortNoise()
    x = noise(rng, 16000, level_dbm0)
    c.learn(pcm(x))
    assert c.encode(0)[0] == pytest.approx(-20.0 * np.log10(np.sqrt(np.mean(x[-1400:] ** 2)) / OVERLOAD), abs=1.5)


def test_coefficients_are_those_of_the_reference_quantised(rng: np.random.Generator) -> None:
    c = ComfortNoise()
    x = coloured(rng, 16000, -30.0)
    c.learn(pcm(x))
    got = (np.array(list(c.encode(10)[1:])) - 127.0) * 258.0 / 32768.0
    assert np.abs(got[:2] - reference_coefficients(x, 2)).max() < 0.1
    assert np.abs(got[2:]).max() < 0.2  # of a second-order spectrum; scatter of 16 frames


def test_noise_made_has_level_and_spectrum_of_the_noise_measured(rng: np.random.Generator) -> None:
    c = ComfortNoise()
    x = coloured(rng, 16000, -40.0)
    c.learn(pcm(x))
    c.set(c.encode(10))
    y = samples(c.make(16000))
    assert level(y) == pytest.approx(-40.0, abs=2.2)  # steps of 1 dB; one off in 246 draws
    edges = np.fft.rfftfreq(160, 1 / 8000.0)

    def bands(z: Sound) -> Sound:
        power = np.mean(np.abs(np.fft.rfft(z.reshape(-1, 160) * np.hanning(160), axis=1)) ** 2, axis=0)
        return np.array([10 * np.log10(np.mean(power[(edges >= f) & (edges < f + 500)])) for f in range(250, 3500, 500)])

    assert np.abs(bands(x) - bands(y)).max() < 4.5


def test_an_update_makes_no_step(rng: np.random.Generator) -> None:
    c = ComfortNoise()
    c.set(bytes([40]))
    before = samples(c.make(1600))
    c.set(bytes([70]))
    after = samples(c.make(3200)).reshape(-1, 80)
    powers = np.sqrt(np.mean(after**2, axis=1))
    assert powers[0] > 0.5 * np.sqrt(np.mean(before**2))
    assert powers[-1] < 0.06 * powers[0]
    assert all(b < 1.6 * a for a, b in zip(powers[:-1], powers[1:], strict=True))


@pytest.mark.parametrize("block", [1, 7, 80, 160, 240])
def test_block_size_changes_nothing(rng: np.random.Generator, block: int) -> None:
    x = pcm(coloured(rng, 4800, -35.0))
    whole, parts = ComfortNoise(5), ComfortNoise(5)
    whole.learn(x)
    for at in range(0, len(x), 2 * block):
        parts.learn(x[at : at + 2 * block])
    assert whole.encode() == parts.encode()
    whole.set(whole.encode())
    parts.set(parts.encode())
    made = b"".join(parts.make(min(block, 4800 - at)) for at in range(0, 4800, block))
    assert whole.make(4800) == made


@given(st.binary(min_size=1, max_size=40), st.integers(1, 2000))
def test_any_payload_gives_a_stable_filter(payload: bytes, n: int) -> None:
    c = ComfortNoise()
    if payload[0] > 127:
        with pytest.raises(ValueError, match="no comfort noise payload"):
            c.set(payload)
        return
    c.set(payload)
    assert len(c.make(n)) == 2 * n
    wanted = OVERLOAD * 10.0 ** (-payload[0] / 20.0)
    y = samples(c.make(16000))
    assert np.sqrt(np.mean(y**2)) < 4.0 * wanted + 1.0


@given(st.binary(max_size=2000))
def test_any_samples_give_a_payload(data: bytes) -> None:
    c = ComfortNoise()
    c.learn(data[: len(data) // 2 * 2])
    payload = c.encode()
    if len(data) >= 320:
        assert len(payload) == 11 and payload[0] < 128 and max(payload[1:]) < 255
    else:
        assert payload == b""


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="reflection coefficients"):
        ComfortNoise().encode(11)
    with pytest.raises(ValueError, match="no 16-bit samples"):
        ComfortNoise().learn(b"abc")
