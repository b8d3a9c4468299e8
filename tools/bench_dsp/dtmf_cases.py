"""Presses of DTMF keys under the conditions of ITU-T Q.24 and the goals, and sound without any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float64]
RMS = 22750.0 / np.sqrt(2.0)
LOW = (697.0, 770.0, 852.0, 941.0)
HIGH = (1209.0, 1336.0, 1477.0, 1633.0)
KEYS = "123A456B789C*0#D"
DIAL_TONES = ((350.0, 440.0), (425.0,), (450.0,), (400.0, 425.0), (413.0, 438.0), (350.0, 450.0), (440.0,))


def amplitude(level_dbm0: float) -> float:
    """Peak of a sine."""
    return float(22750.0 * 10.0 ** (level_dbm0 / 20.0))


def pcm(x: Sound) -> bytes:
    return bytes(np.clip(np.round(x), -32768, 32767).astype("<i2").tobytes())


def sine(freq: float, n: int, level_dbm0: float, rate: int, phase: float = 0.0) -> Sound:
    return np.asarray(amplitude(level_dbm0) * np.sin(2.0 * np.pi * freq * np.arange(n) / rate + phase))


@dataclass(frozen=True)
class Case:
    """`low_dbm0` is the level of the low tone, `twist_db` what the high one is below it; `must` is what has to come out."""

    name: str
    ms: float = 50.0
    low_dbm0: float = -12.0
    twist_db: float = 0.0
    off: tuple[float, float] = (0.0, 0.0)
    gap_ms: float = 0.0
    worse: Callable[[np.random.Generator, Sound, Sound, int], Sound] | None = None
    must: str = "heard"
    least: float = 100.0
    goal: bool = True
    notes: dict[str, str] = field(default_factory=dict)


def noise(snr_db: float) -> Callable[[np.random.Generator, Sound, Sound, int], Sound]:
    """White noise over the whole band of the rate, that much below the power of both tones."""
    def worse(rng: np.random.Generator, x: Sound, tone: Sound, rate: int) -> Sound:
        return x + rng.normal(0.0, np.sqrt(np.mean(tone**2) * 10.0 ** (-snr_db / 10.0)), len(x))

    return worse


def echo(loss_db: float | None) -> Callable[[np.random.Generator, Sound, Sound, int], Sound]:
    """The same again 5 ms later; without a loss it is drawn from 6 to 16 dB."""
    def worse(rng: np.random.Generator, x: Sound, tone: Sound, rate: int) -> Sound:
        delay = rate // 200
        y = x.copy()
        y[delay:] += x[:-delay] * 10.0 ** (-(rng.uniform(6.0, 16.0) if loss_db is None else loss_db) / 20.0)
        return y

    return worse


def dial_tone(above_db: float) -> Callable[[np.random.Generator, Sound, Sound, int], Sound]:
    """Each tone of a country's dial tone that much above the low tone at -20 dBm0."""
    def worse(rng: np.random.Generator, x: Sound, tone: Sound, rate: int) -> Sound:
        for freq in DIAL_TONES[rng.integers(0, len(DIAL_TONES))]:
            x = x + sine(freq, len(x), -20.0 + above_db, rate, rng.uniform(0.0, 6.28))
        return x

    return worse


def hum(rng: np.random.Generator, x: Sound, tone: Sound, rate: int) -> Sound:
    """Mains at -6 dBm0 with odd harmonics 12 dB further down each time."""
    base = float(rng.choice([50.0, 60.0]))
    for k in (1, 3, 5):
        x = x + sine(k * base, len(x), -6.0 * k, rate, rng.uniform(0.0, 6.28))
    return x


CASES = (
    Case("50 ms, -12 dBm0 each"),
    Case("both tones +1.8 %", off=(0.018, 0.018)),
    Case("both tones -1.8 %", off=(-0.018, -0.018)),
    Case("low +1.8 %, high -1.8 %", off=(0.018, -0.018)),
    Case("low -1.8 %, high +1.8 %", off=(-0.018, 0.018)),
    Case("both tones +3.0 %, 100 ms", 100.0, off=(0.03, 0.03), must="silent"),
    Case("both tones -3.0 %, 100 ms", 100.0, off=(-0.03, -0.03), must="silent"),
    Case("low tone +3.0 %, 100 ms", 100.0, off=(0.03, 0.0), must="silent"),
    Case("low tone -3.0 %, 100 ms", 100.0, off=(-0.03, 0.0), must="silent"),
    Case("high tone +3.0 %, 100 ms", 100.0, off=(0.0, 0.03), must="silent"),
    Case("high tone -3.0 %, 100 ms", 100.0, off=(0.0, -0.03), must="silent"),
    Case("twist 9 dB normal", twist_db=9.0),
    Case("twist 6 dB reverse", low_dbm0=-18.0, twist_db=-6.0),
    Case("-42 dBm0 each", low_dbm0=-42.0),
    Case("0 dBm0 each (clipped)", low_dbm0=0.0),
    Case("36 ms", 36.0),
    Case("23 ms", 23.0, must="silent"),
    Case("break of 10 ms after 50 ms", gap_ms=10.0),
    Case("break of 10 ms after 30 ms", 30.0, gap_ms=10.0, goal=False),
    Case("white noise, SNR 9 dB", worse=noise(9.0)),
    Case("white noise, SNR 9 dB, 36 ms", 36.0, worse=noise(9.0), goal=False),
    Case("dial tone 10 dB above each", low_dbm0=-20.0, worse=dial_tone(10.0)),
    Case("hum at -6 dBm0", worse=hum),
    Case("echo of 5 ms, 6 to 16 dB down", worse=echo(None), least=95.0),
    Case("echo of 5 ms, 10 dB down", worse=echo(10.0), least=95.0),
    Case("echo of 5 ms, 6 dB down", worse=echo(6.0), least=95.0),
    Case("echo of 5 ms, 3 dB down", worse=echo(3.0), least=95.0, goal=False),
)


def press(rng: np.random.Generator, key: str, case: Case, rate: int) -> Sound:
    """One key between silences, at any alignment to frames."""
    k, n, gap = KEYS.index(key), int(case.ms * rate / 1000), int(case.gap_ms * rate / 1000)
    whole = 2 * n + gap if gap else n
    tone = (sine(LOW[k >> 2] * (1.0 + case.off[0]), whole, case.low_dbm0, rate, rng.uniform(0.0, 6.28))
            + sine(HIGH[k & 3] * (1.0 + case.off[1]), whole, case.low_dbm0 - case.twist_db, rate, rng.uniform(0.0, 6.28)))
    if gap:
        tone[n : n + gap] = 0.0
    x = np.concatenate([np.zeros(int(rate * rng.uniform(0.06, 0.08))), tone, np.zeros(rate // 12)])
    return case.worse(rng, x, tone[:n], rate) if case.worse else x


def presses(case: Case, rate: int, times: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Every key `times` times; the same for whoever asks."""
    rng = np.random.default_rng([seed, rate, sum(map(ord, case.name))])
    for _ in range(times):
        for key in KEYS:
            yield key, pcm(press(rng, key, case, rate))
