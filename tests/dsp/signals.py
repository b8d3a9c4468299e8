"""Test signals: speech-like sound, hybrids, tones; levels in dBm0 (0 dBm0 sine = peak 22 750)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float64]
RMS_0DBM0 = 22750.0 / np.sqrt(2.0)
LOW = (697.0, 770.0, 852.0, 941.0)
HIGH = (1209.0, 1336.0, 1477.0, 1633.0)
KEYS = "123A456B789C*0#D"


def rms(level_dbm0: float) -> float:
    """Root mean square of 16-bit samples at a level."""
    return float(RMS_0DBM0 * 10.0 ** (level_dbm0 / 20.0))


def level(x: Sound) -> float:
    """Level of a sound in dBm0."""
    return float(10.0 * np.log10(np.mean(np.square(x)) / RMS_0DBM0**2 + 1e-12))


def pcm(x: Sound) -> bytes:
    """16-bit little-endian bytes, rounded and clipped."""
    return bytes(np.clip(np.round(x), -32768, 32767).astype("<i2").tobytes())


def samples(data: bytes) -> Sound:
    """The other way."""
    return np.frombuffer(data, "<i2").astype(np.float64)


def noise(rng: np.random.Generator, n: int, level_dbm0: float) -> Sound:
    """White noise."""
    return rng.normal(0.0, rms(level_dbm0), n)


def sine(freq: float, ms: float, level_dbm0: float, rate: int = 8000, phase: float = 0.0) -> Sound:
    """A steady tone."""
    t = np.arange(int(rate * ms / 1000.0)) / rate
    wave: Sound = np.sqrt(2.0) * rms(level_dbm0) * np.sin(2.0 * np.pi * freq * t + phase)
    return wave


def silence(ms: float, rate: int = 8000) -> Sound:
    """Nothing."""
    return np.zeros(int(rate * ms / 1000.0))


def digit(rng: np.random.Generator, key: str, ms: float, low_dbm0: float = -10.0, twist_db: float = 0.0,
          deviation: tuple[float, float] = (0.0, 0.0), rate: int = 8000) -> Sound:
    """One DTMF key; twist is low minus high level, deviations are relative."""
    k = KEYS.index(key)
    a, b = rng.uniform(0.0, 2.0 * np.pi, 2)
    return (sine(LOW[k >> 2] * (1.0 + deviation[0]), ms, low_dbm0, rate, a)
            + sine(HIGH[k & 3] * (1.0 + deviation[1]), ms, low_dbm0 - twist_db, rate, b))


def _resonator(y: Sound, freq: float, bandwidth: float, rate: int) -> Sound:
    r = float(np.exp(-np.pi * bandwidth / rate))
    a1, a2 = -2.0 * r * float(np.cos(2.0 * np.pi * freq / rate)), r * r
    out = []
    z1 = z2 = 0.0
    for x in y.tolist():
        z1, z2 = x - a1 * z1 - a2 * z2, z1
        out.append(z1)
    return np.array(out) * (1.0 + a1 + a2)


def speech(rng: np.random.Generator, seconds: float, rate: int = 8000, level_dbm0: float = -16.0) -> Sound:
    """Speech-like: glottal pulses and breath through formants that jump at every syllable, with pauses; level while active."""
    parts: list[Sound] = []
    n, have = int(seconds * rate), 0
    while have < n:
        if rng.random() < 0.15:
            part = np.zeros(int(rate * rng.uniform(0.1, 0.5)))
        else:
            m = int(rate * rng.uniform(0.08, 0.3))
            pitch = rng.uniform(90.0, 240.0) * np.exp(np.linspace(0.0, rng.uniform(-0.25, 0.25), m))
            pulses = np.diff(np.floor(np.cumsum(pitch / rate)), prepend=0.0) * 8.0
            voiced = rng.random() < 0.8
            part = pulses + rng.normal(0.0, 0.15, m) if voiced else rng.normal(0.0, 0.6, m)
            for low, high, bandwidth in ((250, 850, 80.0), (900, 2300, 110.0), (2300, 3300, 160.0)):
                part = _resonator(part, rng.uniform(low, high), bandwidth, rate) + 0.1 * part
            at = np.arange(m)
            part = part * np.minimum(1.0, np.minimum(at, m - 1 - at) / (0.02 * rate))
            part = part / (np.sqrt(np.mean(part**2)) + 1e-9) * rng.uniform(0.3, 1.0)
        parts.append(part)
        have += len(part)
    x = np.concatenate(parts)[:n]
    active = x[x != 0.0]
    if not len(active):                                 # nothing but pauses
        return speech(rng, seconds, rate, level_dbm0)
    voice: Sound = np.clip(x / np.sqrt(np.mean(active**2)) * rms(level_dbm0), -32000.0, 32000.0)
    return voice


def music(rng: np.random.Generator, seconds: float, rate: int = 8000, level_dbm0: float = -16.0) -> Sound:
    """Chords of decaying harmonics on the tempered scale at a steady beat."""
    n = int(seconds * rate)
    x = np.zeros(n + rate)
    beat = int(rate * rng.uniform(0.2, 0.5))
    for start in range(0, n, beat):
        m = min(int(beat * rng.choice([1, 2, 4])), rate)
        t = np.arange(m) / rate
        for _ in range(int(rng.integers(1, 4))):
            f = 440.0 * 2.0 ** (rng.integers(-17, 16) / 12.0)
            for k in range(1, 6):
                if k * f < 0.45 * rate:
                    x[start:start + m] += np.exp(-t * rng.uniform(1.0, 6.0)) * np.sin(2.0 * np.pi * k * f * t) / k**1.2
    x = x[:n]
    sound: Sound = np.clip(x / np.sqrt(np.mean(x**2)) * rms(level_dbm0), -32000.0, 32000.0)
    return sound


def hybrid(rng: np.random.Generator, ms: float, erl_db: float, delay_ms: float = 2.0, rate: int = 8000) -> Sound:
    """A dispersive echo path: noise under an 8 ms decay, limited to the telephone band."""
    n, d = int(ms * rate / 1000.0), int(delay_ms * rate / 1000.0)
    h = np.zeros(n)
    h[d:] = rng.normal(0.0, 1.0, n - d) * np.exp(-np.arange(n - d) / (0.008 * rate))
    spectrum = np.fft.rfft(h, 4 * n)
    freq = np.fft.rfftfreq(4 * n, 1.0 / rate)
    h = np.fft.irfft(spectrum * (freq > 200.0) * (freq < 0.43 * rate))[:n]
    path: Sound = h / np.sqrt(np.sum(h**2)) * 10.0 ** (-erl_db / 20.0)
    return path
