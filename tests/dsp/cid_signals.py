"""Caller-id FSK written down plainly: bits, a modulator with the faults of lines and senders, noise of the telephone band."""

from __future__ import annotations

import numpy as np

from tests.dsp.signals import Sound, rms

TONES = {"bell202": (1200.0, 2200.0), "v23": (1300.0, 2100.0)}


def message(rng: np.random.Generator, least: int = 8, most: int = 40) -> bytes:
    n = int(rng.integers(least, most))
    return bytes([0x80, n]) + bytes(rng.integers(0, 256, n, dtype=np.uint8))


def bits_of(payload: bytes, seizure: int = 300, marks: int = 180, between: tuple[float, ...] = (0.0,)) -> list[tuple[int, float]]:
    """(bit, length in bits) as they go over the line, with the checksum; `between`: bits of mark after each byte, in turn."""
    bits = [(k & 1, 1.0) for k in range(seizure)] + [(1, 1.0)] * marks
    for k, byte in enumerate(payload + bytes([-sum(payload) & 0xFF])):
        bits += [(0, 1.0), *((byte >> i & 1, 1.0) for i in range(8)), (1, 1.0 + between[k % len(between)])]
    return [*bits, (1, 10.0)]


def modulated(bits: list[tuple[int, float]], standard: str, level: float = -13.5, rate: int = 8000, clock: float = 0.0,
              shift: tuple[float, float] = (0.0, 0.0), twist: float = 0.0, phase: float = 0.0) -> Sound:
    """A modulator written down plainly: `clock` and `shift` are relative deviations, `twist` mark over space in dB."""
    per_bit = 1.0 / 1200.0 * (1.0 + clock)
    ends = np.cumsum([length * per_bit for _, length in bits])
    fine = 8
    t = np.arange(int(ends[-1] * rate * fine)) / (rate * fine)
    on = np.array([bit for bit, _ in bits])[np.minimum(np.searchsorted(ends, t, "right"), len(bits) - 1)]
    mark, space = TONES[standard]
    freq = np.where(on == 1, mark * (1.0 + shift[0]), space * (1.0 + shift[1]))
    angle = phase + 2.0 * np.pi * np.cumsum(freq) / (rate * fine)
    gain = np.where(on == 1, 10.0 ** (twist / 40.0), 10.0 ** (-twist / 40.0))
    sound: Sound = (np.sqrt(2.0) * rms(level) * gain * np.sin(angle))[::fine]
    return sound


def band_noise(rng: np.random.Generator, n: int, level_dbm0: float, rate: int = 8000) -> Sound:
    """White noise between 300 and 3400 Hz; the level is what lies in that band."""
    size = 1 << max(10, (n - 1).bit_length())
    spectrum, freq = np.fft.rfft(rng.normal(size=size)), np.fft.rfftfreq(size, 1.0 / rate)
    y = np.fft.irfft(np.where((freq >= 300.0) & (freq <= 3400.0), spectrum, 0.0))[:n]
    sound: Sound = y / np.sqrt(np.mean(np.square(y))) * rms(level_dbm0)
    return sound
