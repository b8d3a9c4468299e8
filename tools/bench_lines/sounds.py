"""What is heard on outside lines: conversations that must not be cut, and true hang-ups as exchanges give them.

`chatter(kind, country, seed)` is a minute of sound in which nobody hangs up. Speech, babble and music are those of the tests' corpus
(voices of 16 languages, instruments); a `conference` has three talkers who take turns over line noise, with the country's call-waiting
tone and the beeps of parties that join; `keys` is people pressing keys, half of the time in the very rhythm of the country's busy tone,
over silence or speech; `beside` is a conversation of two outside lines where the other line was hung up: its busy tone comes back in the
echo until that line is released. `hang_up` draws a release tone anywhere within the tolerances of the country facts D1.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firmware.dsp.g711 import decode, encode
from firmware.line.profiles import PROFILES
from firmware.line.tones import ToneSpec

# The signals of the tests; mypy does not check those.
corpus: Any = import_module("tests.dsp.corpus")
signals: Any = import_module("tests.dsp.signals")
Sound = NDArray[np.float64]

RATE: Final = 8000
KINDS: Final = ("speech", "babble", "music", "conference", "keys", "beside")
SECONDS: Final = 60
RELEASE: Final = {country: [name for name in ("busy", "congestion", "unobtainable") if name in p.tones and p.tones[name].cadence_ms]
                  for country, p in PROFILES.items()}


def coded(x: Sound, country: str) -> bytes:
    """Through the country's trunk."""
    law = PROFILES[country].law
    pcm = np.clip(np.round(x), -32768, 32767).astype("<i2").tobytes()
    return decode(law, encode(law, pcm))


def tone(spec: ToneSpec, seconds: float, *, level: float, cents: float = 0.0, lengths: Sound | None = None, jitter: float = 0.0,
         rng: np.random.Generator | None = None, shift_hz: float = 0.0) -> Sound:
    """A tone with its cadence. `lengths`: factor of each phase; `jitter`: of each phase anew, relative; `shift_hz`: of every frequency."""
    masks = spec.phase_freqs_hz or tuple(() if i & 1 else spec.freqs_hz for i in range(len(spec.cadence_ms) or 1))
    parts: list[Sound] = []
    have = 0
    while have < seconds * RATE:
        for i, ms in enumerate(spec.cadence_ms or (1000,)):
            factor = 1.0 if lengths is None else float(lengths[i])
            factor *= 1.0 + (float(rng.uniform(-jitter, jitter)) if rng is not None else 0.0)
            n = int(8 * ms * factor)
            t = (np.arange(n) + have) / RATE
            loud = np.sqrt(2.0) * signals.rms(level + (spec.phase_levels_db[i] if spec.phase_levels_db else 0.0))
            parts.append(loud * sum((np.sin(2.0 * np.pi * (f * 2.0 ** (cents / 1200.0) + shift_hz) * t) for f in masks[i]), np.zeros(n)))
            have += n
    return np.concatenate(parts)


# --- nobody hangs up -------------------------------------------------------------------------------------------------------------


def chatter(kind: str, country: str, seed: int) -> bytes:
    """A minute of 16-bit sound; depends on its arguments only."""
    if kind in corpus.KINDS:
        return minute(kind, seed)
    rng = np.random.default_rng([seed & 0xFFFFFFFF, KINDS.index(kind), sorted(PROFILES).index(country)])
    return coded({"conference": _conference, "keys": _keys, "beside": _beside}[kind](rng, country, seed), country)


@lru_cache(maxsize=48)
def minute(kind: str, seed: int) -> bytes:
    """One of the corpus, kept while several countries hear it."""
    found: bytes = corpus.minute(kind, seed).tobytes()
    return found


def _talk(seed: int, level: float) -> Sound:
    return np.asarray(corpus.at_level(signals.samples(minute("speech", seed)), level))


def _conference(rng: np.random.Generator, country: str, seed: int) -> Sound:
    n = SECONDS * RATE
    x: Sound = signals.noise(rng, n, float(rng.uniform(-65.0, -48.0)))
    voices = [_talk(seed + k, float(rng.uniform(-30.0, -14.0))) for k in range(3)]
    at = 0
    while at < n:                                        # turns of 1 to 9 s, a fifth of them of two people at once
        length = int(RATE * rng.uniform(1.0, 9.0))
        for k in rng.choice(3, 1 + int(rng.random() < 0.2), replace=False):
            x[at:at + length] += voices[k][at:at + length]
        at += length + int(RATE * rng.uniform(0.0, 1.5))
    waiting = PROFILES[country].tones["call-waiting"]
    beep = np.sqrt(2.0) * signals.rms(-18.0) * np.sin(2.0 * np.pi * rng.uniform(420.0, 1200.0) * np.arange(int(RATE * 0.3)) / RATE)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, n - 15 * RATE))
        if rng.random() < 0.5:
            sound = tone(waiting, 12.0, level=float(rng.uniform(-28.0, -14.0)))[:12 * RATE]
            x[at:at + len(sound)] += sound
        else:
            for k in range(int(rng.integers(1, 4))):
                x[at + k * 4800:at + k * 4800 + len(beep)] += beep
    return x


def _keys(rng: np.random.Generator, country: str, seed: int) -> Sound:
    n = SECONDS * RATE
    x: Sound = signals.noise(rng, n, float(rng.uniform(-70.0, -45.0)))
    if rng.random() < 0.4:
        x += _talk(seed, float(rng.uniform(-42.0, -28.0)))
    at = 0
    while at < n - 12 * RATE:
        name = str(rng.choice(RELEASE[country]))
        cadence = PROFILES[country].tones[name].cadence_ms
        rhythm = [float(ms) for ms in cadence] if rng.random() < 0.5 else [float(rng.uniform(50.0, 500.0)), float(rng.uniform(50.0, 500.0))]
        key, level = str(rng.choice(list(signals.KEYS))), float(rng.uniform(-28.0, -6.0))
        same = rng.random() < 0.7                        # one key again and again, as who wants to get through
        for k in range(int(rng.integers(3, 12))):
            key = key if same else str(rng.choice(list(signals.KEYS)))
            sound = signals.digit(rng, key, rhythm[2 * k % len(rhythm)], level, float(rng.uniform(-3.0, 3.0)))
            x[at:at + len(sound)] += sound[:len(x) - at]
            at += len(sound) + int(8 * rhythm[(2 * k + 1) % len(rhythm)])
            if at >= n:
                break
        at += int(RATE * rng.uniform(0.4, 3.0))
    return x


def _beside(rng: np.random.Generator, country: str, seed: int) -> Sound:
    n = SECONDS * RATE
    x: Sound = signals.noise(rng, n, float(rng.uniform(-65.0, -50.0))) + _talk(seed, float(rng.uniform(-30.0, -14.0)))
    spec = PROFILES[country].tones[str(rng.choice(RELEASE[country]))]
    length = 3.0 * spec.period_ms / 1000.0 + 0.15        # the other line hears three cycles and is released
    for at in rng.integers(RATE, n - 10 * RATE, 2):
        sound = tone(spec, length, level=float(rng.uniform(-38.0, -22.0)))[:int(length * RATE)]
        x[at - RATE:at + len(sound) + RATE] *= 0.01       # nobody talks on a dead line
        x[at:at + len(sound)] += sound
    return x


# --- somebody hangs up -----------------------------------------------------------------------------------------------------------


class HangUp(NamedTuple):
    """A call that ends: its sound, when the tone begins, how long its cycle is (ms), which tone it is and how loud."""

    sound: bytes
    began_ms: float
    cycle_ms: float
    name: str
    level: float


def hang_up(country: str, seed: int, name: str = "") -> HangUp:
    """Talk of a few seconds, a short silence, the tone to the end of the call: -35 to -5 dBm0, +-25 Hz, +-15 % of the lengths, noise."""
    rng = np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, 77, sorted(PROFILES).index(country)])
    name = name or str(rng.choice(RELEASE[country]))
    spec = PROFILES[country].tones[name]
    top = max(spec.phase_levels_db, default=0.0)
    # Per frequency. The soft bursts of Australian congestion are 10 dB down: -35 is theirs, not the loud ones'.
    soft = min((v for v, c in zip(spec.phase_levels_db, spec.phase_levels_db, strict=True) if c), default=0.0)
    level = float(rng.uniform(-35.0 - soft, -5.0 - top)) if rng.random() < 0.8 else -35.0 - soft
    stretch = 1.0 + rng.uniform(-0.14, 0.14)
    ratio = np.array([1.0 + rng.uniform(-0.02, 0.02) for _ in spec.cadence_ms])
    lengths = np.clip(stretch * ratio, 0.855, 1.145)
    kind = str(rng.choice(["speech", "music", "keys", "nothing"]))
    if kind == "nothing":
        before = np.zeros(3 * RATE)
    else:
        start = int(rng.integers(0, (SECONDS - 4) * RATE))
        before = np.frombuffer(chatter(kind, country, int(rng.integers(0, 8))), "<i2").astype(np.float64)[start:start + 3 * RATE]
    before = np.concatenate([before, np.zeros(int(8 * rng.uniform(60.0, 900.0)))])
    shift = float(rng.uniform(-25.0, 25.0))
    cycle = float(np.dot(np.array(spec.cadence_ms), lengths))
    seconds = max(12.0, 6.2 * cycle / 1000.0)
    sound = np.concatenate([before, tone(spec, seconds, level=level, lengths=lengths, jitter=0.005, rng=rng, shift_hz=shift)])
    sound += signals.noise(rng, len(sound), max(-70.0, level + soft - float(rng.uniform(20.0, 40.0))))
    return HangUp(coded(sound, country), len(before) / 8.0, cycle, name, level)
