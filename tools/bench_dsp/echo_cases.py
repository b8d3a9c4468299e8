"""What is measured of an echo canceller, as functions of one that makes it; each returns plain figures.

The echo, the near speech and the noise are known, so the residual is exact: what came out, minus what was captured, plus the echo.
ERLE is the power of the echo over that of the residual, in dB. A canceller has converged to a figure when it has it over a trailing
window of 30 ms and over the 300 ms that follow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from . import echo_signals as s
from .echo_signals import RATE, Line, Sound

NEVER_S = 99.0


class Canceller(Protocol):
    """What is measured."""

    def process(self, reference: bytes, captured: bytes, /) -> bytes: ...


Make = Callable[[int], Canceller]


def run(canceller: Canceller, line: Line) -> Sound:
    """The output for a whole line."""
    return s.samples(canceller.process(s.pcm(line.far), s.pcm(line.captured)))


def residual(line: Line, out: Sound) -> Sound:
    """What of the echo is left."""
    return out - (line.captured[: len(out)] - line.echo[: len(out)])


def ratio_db(a: float, b: float) -> float:
    """Powers as a ratio in dB; powers below a hundredth of a quantisation step do not count."""
    return float(10.0 * np.log10((a + 1e-4) / (b + 1e-4)))


def frames(x: Sound, n: int) -> Sound:
    """Mean powers of frames of n samples."""
    return np.asarray(np.mean(np.square(x[: len(x) // n * n].reshape(-1, n)), axis=1))


def erle(line: Line, out: Sound, start: float, end: float) -> float:
    """ERLE in dB from `start` to `end` in s."""
    a, b = int(start * RATE), int(end * RATE)
    return ratio_db(s.power(line.echo[a:b]), s.power(residual(line, out)[a:b]))


def converged_s(line: Line, out: Sound, target_db: float, start: float = 0.0) -> float:
    """Seconds from `start` until the ERLE is at least `target_db` for good."""
    echo, left = np.cumsum(np.square(line.echo[: len(out)])), np.cumsum(np.square(residual(line, out)))
    short, long, at = int(0.03 * RATE), int(0.3 * RATE), int(start * RATE)
    factor = 10.0 ** (target_db / 10.0)
    floor = short * 25.0  # an echo below this is no evidence
    for end in range(at + short, len(out) - long, 40):
        heard = echo[end] - echo[end - short]
        if (
            heard > floor
            and heard >= factor * (left[end] - left[end - short])
            and echo[end + long] - echo[end] >= factor * (left[end + long] - left[end])
        ):
            return (end - at) / RATE
    return NEVER_S


def composite_line(
    seed: int, model: int, erl_db: float, delay_ms: float, seconds: float, noise_dbm0: float | None, law: bool = False
) -> Line:
    """The composite source signal and its echo."""
    rng = np.random.default_rng(seed)
    far = s.composite(rng, seconds)
    if law:
        far = s.a_law(far)
    return s.line(far, s.through(far, s.hybrid(model, erl_db, delay_ms)), rng, None, None if law else noise_dbm0, law)


def on_composite(
    make: Make, seed: int, model: int, tail_ms: int, erl_db: float = 10.0, delay_ms: float = 4.0, seconds: float = 8.0,
    noise_dbm0: float | None = -70.0,
) -> tuple[float, float, float]:  # fmt: skip
    """Time to 20 dB, to 30 dB, and ERLE of the last 2.8 s, on the composite source signal."""
    at = composite_line(seed, model, erl_db, delay_ms, seconds, noise_dbm0)
    out = run(make(tail_ms), at)
    return converged_s(at, out, 20.0), converged_s(at, out, 30.0), erle(at, out, seconds - 2.8, seconds)


def a_law_gap(make: Make, seed: int, model: int, tail_ms: int, erl_db: float = 10.0) -> float:
    """How far the steady ERLE on a line with A-law stays below what its quantisation allows, dB."""
    at = composite_line(seed, model, erl_db, 4.0, 8.0, None, True)
    out = run(make(tail_ms), at)
    a = int(5.2 * RATE)
    ceiling = ratio_db(s.power(at.echo[a:]), s.power((at.captured - at.echo)[a:]))
    return ceiling - ratio_db(s.power(at.echo[a:]), s.power(out[a:]))


def on_speech(
    make: Make, seed: int, talker: int, model: int, tail_ms: int, erl_db: float = 10.0, delay_ms: float = 4.0
) -> tuple[float, float]:
    """Time to 30 dB and steady ERLE from 4 to 12 s, on speech."""
    rng = np.random.default_rng(seed)
    far = s.speech(talker, 12.0, start=float(rng.uniform(0.0, 6.0)))
    at = s.line(far, s.through(far, s.hybrid(model, erl_db, delay_ms)), rng)
    out = run(make(tail_ms), at)
    return converged_s(at, out, 30.0), erle(at, out, 4.0, 12.0)


def double_talk_line(seed: int, talker: int, model: int, near_db: float = 0.0) -> Line:
    """Far speech throughout, near speech of another talker from 4 to 8 s."""
    rng = np.random.default_rng(seed)
    far = s.speech(talker, 10.0)
    near = np.zeros(len(far))
    near[4 * RATE : 8 * RATE] = s.speech(talker + 1 + int(rng.integers(4)), 4.0, -16.0 + near_db, start=float(rng.uniform(0.0, 6.0)))
    return s.line(far, s.through(far, s.hybrid(model, 10.0, 4.0)), rng, near)


def double_talk(make: Make, seed: int, talker: int, model: int, tail_ms: int, near_db: float = 0.0) -> tuple[float, float, float]:
    """ERLE before double talk (3 to 4 s), during, and in the 0.5 s after it."""
    at = double_talk_line(seed, talker, model, near_db)
    out = run(make(tail_ms), at)
    return erle(at, out, 3.0, 4.0), erle(at, out, 4.0, 8.0), erle(at, out, 8.0, 8.5)


def double_talk_composite(make: Make, seed: int, model: int, tail_ms: int) -> tuple[float, float, float]:
    """The same with the composite source signals of G.168 (test 3B): both at one level."""
    rng = np.random.default_rng(seed)
    far = s.composite(rng, 10.0)
    near = np.zeros(len(far))
    near[4 * RATE : 8 * RATE] = s.composite(rng, 4.0, near=True)
    at = s.line(far, s.through(far, s.hybrid(model, 10.0, 4.0)), rng, near)
    out = run(make(tail_ms), at)
    return erle(at, out, 3.0, 4.0), erle(at, out, 4.0, 8.0), erle(at, out, 8.0, 8.5)


def double_talk_from_start(make: Make, seed: int, talker: int, model: int, tail_ms: int, near_first_s: float = 0.0) -> float:
    """Both talk from the first sample (or the near side `near_first_s` earlier) without a pause: ERLE from 2 to 6 s."""
    rng = np.random.default_rng(seed)
    far = s.speech(talker, 6.0)
    far[: int(near_first_s * RATE)] = 0.0
    near = s.speech(talker + 1 + int(rng.integers(4)), 6.0, start=float(rng.uniform(0.0, 6.0)))
    at = s.line(far, s.through(far, s.hybrid(model, 10.0, 4.0)), rng, near)
    return erle(at, run(make(tail_ms), at), 2.0, 6.0)


def path_change(make: Make, seed: int, model: int, tail_ms: int, on_speech: bool = False) -> tuple[float, float]:
    """Another hybrid after 4 s: seconds to 20 dB again, and the worst growth of what came out over the echo (dB) meanwhile."""
    rng = np.random.default_rng(seed)
    far = s.speech(seed, 9.0) if on_speech else s.composite(rng, 9.0)
    other = model % 8 + 1
    echo = s.through(far, s.hybrid(model, 10.0, 4.0))
    echo[4 * RATE :] = s.through(far, s.hybrid(other, 8.0, 6.0))[4 * RATE :]
    at = s.line(far, echo, rng)
    out = run(make(tail_ms), at)
    heard, captured = (frames(x[4 * RATE : 6 * RATE], 400) for x in (out, at.captured))
    worst = max((ratio_db(a, b) for a, b in zip(heard, captured, strict=True) if b > 1e4), default=0.0)
    return converged_s(at, out, 20.0, 4.0), worst


NARROW = ("697", "941", "1336", "1633", "697+1209", "941+1633", "350+440", "2100", "dtmf", "fsk", "music", "offset")


def narrow_sound(rng: np.random.Generator, name: str, seconds: float) -> Sound:
    """A signal that does not excite the whole band (G.168 clause 6.4.2.7 and others)."""
    if name == "dtmf":
        return s.dtmf(rng, seconds)
    if name == "fsk":
        return s.fsk(rng, seconds)
    if name == "music":
        return s.music(rng, seconds)
    if name == "offset":
        return np.full(int(seconds * RATE), 4000.0)
    return np.asarray(sum(s.sine(float(f), seconds, -13.0) for f in name.split("+")))


def after_narrow(make: Make, seed: int, name: str, model: int, tail_ms: int) -> tuple[float, float]:
    """Composite signal, 5 s of `name`, composite signal: ERLE during the tone and in the first 1.05 s after it."""
    rng = np.random.default_rng(seed)
    far = np.concatenate([s.composite(rng, 6.0), narrow_sound(rng, name, 5.0), s.composite(rng, 2.1)])
    at = s.line(far, s.through(far, s.hybrid(model, 10.0, 4.0)), rng)
    out = run(make(tail_ms), at)
    return erle(at, out, 6.5, 11.0), erle(at, out, 11.0, 12.05)


def idle_loss(make: Make, seed: int, model: int, tail_ms: int, idle_s: float = 60.0) -> float:
    """ERLE on the composite signal just before a long silence minus that just after it."""
    rng = np.random.default_rng(seed)
    far = np.concatenate([s.composite(rng, 7.0), np.zeros(int(idle_s * RATE)), s.composite(rng, 1.4)])
    at = s.line(far, s.through(far, s.hybrid(model, 10.0, 4.0)), rng, None, -60.0)
    out = run(make(tail_ms), at)
    return erle(at, out, 5.6, 7.0) - erle(at, out, 7.0 + idle_s, 8.4 + idle_s)


def residual_heard(make: Make, seed: int, talker: int, model: int, tail_ms: int, noise_dbm0: float = -60.0) -> tuple[float, float]:
    """With the residual control, far speech alone: level over the background from 3 to 12 s, and the worst 0.2 s of it (dB)."""
    rng = np.random.default_rng(seed)
    far = s.speech(talker, 12.0)
    at = s.line(far, s.through(far, s.hybrid(model, 10.0, 4.0)), rng, None, noise_dbm0)
    out = run(make(tail_ms), at)[3 * RATE :]
    background = s.rms(noise_dbm0) ** 2
    return ratio_db(s.power(out), background), max(ratio_db(p, background) for p in frames(out, 1600))


def near_cut(make: Make, seed: int, talker: int, model: int, tail_ms: int, near_db: float = 0.0) -> float:
    """With the residual control: percent of loud near frames of 10 ms in double talk that lose more than 3 dB."""
    rng = np.random.default_rng(seed)
    far = s.speech(talker, 12.0)
    near = np.zeros(len(far))
    near[4 * RATE :] = s.speech(talker + 1 + int(rng.integers(4)), 8.0, -16.0 + near_db, start=float(rng.uniform(0.0, 6.0)))
    at = s.line(far, s.through(far, s.hybrid(model, 10.0, 4.0)), rng, near, -60.0)
    out = run(make(tail_ms), at)
    spoken, heard = (frames(x[4 * RATE :], 80) for x in (near, out))
    loud = spoken > s.active_power(near[4 * RATE :]) * 10**-2.0
    return float(100.0 * np.mean(heard[loud] < 0.5 * spoken[loud]))
