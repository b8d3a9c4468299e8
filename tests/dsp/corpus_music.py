"""Synthesised music: instruments, chords, drums, whistles and melodies of pure tones, as a detector of tones fears them.

Every phrase of a few seconds has its own tuning (A4 at 430 to 446 Hz), scale, tempo and instrument. Notes lie on the tempered
scale, from 80 to 3000 Hz, and have the envelope of their instrument: none is gated like a signal unless the instrument is.
"""

from __future__ import annotations

import numpy as np

from tests.dsp.signals import Sound

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
BLUES = (0, 3, 5, 6, 7, 10)


def _envelope(rng: np.random.Generator, t: Sound, length: float, plucked: bool) -> Sound:
    attack = rng.uniform(0.002, 0.02) if plucked else rng.uniform(0.01, 0.08)
    rise = np.minimum(1.0, t / attack)
    fall = np.clip((length - t) / rng.uniform(0.01, 0.06), 0.0, 1.0)
    decay = np.exp(-t * rng.uniform(1.0, 8.0)) if plucked else 1.0
    return np.asarray(rise * fall * decay)


def _note(rng: np.random.Generator, instrument: str, freq: float, length: float, rate: int) -> Sound:
    t = np.arange(int(length * rate)) / rate
    top = 0.45 * rate
    if instrument == "pure":
        return np.sin(2 * np.pi * freq * t + rng.uniform(0, 6.3)) * _envelope(rng, t, length, bool(rng.random() < 0.5))
    if instrument == "whistle":
        glide = freq * (1.0 + rng.uniform(-0.1, 0.1) * t / length)
        phase = 2 * np.pi * np.cumsum(glide * (1.0 + 0.01 * np.sin(2 * np.pi * rng.uniform(4, 7) * t))) / rate
        breath = rng.normal(0.0, 0.02, len(t))
        return np.asarray((np.sin(phase) + breath) * _envelope(rng, t, length, False))
    if instrument == "bell":
        partials = [np.exp(-t * rng.uniform(1, 6)) * np.sin(2 * np.pi * freq * ratio * t + rng.uniform(0, 6.3)) / ratio
                    for ratio in (1.0, 2.756, 5.404) if freq * ratio < top]
        return np.asarray(np.sum(partials, axis=0) * _envelope(rng, t, length, True))
    if instrument == "fm":
        index = rng.uniform(0.3, 3.0) * np.exp(-t * rng.uniform(0.5, 5.0))
        modulator = np.sin(2 * np.pi * freq * rng.choice([1, 2, 3, 1.5]) * t)
        return np.asarray(np.sin(2 * np.pi * freq * t + index * modulator) * _envelope(rng, t, length, True))
    vibrato = rng.uniform(0.0, 0.012) if instrument in ("bowed", "flute") else 0.0
    start = rng.uniform(0, 6.3)
    phase = 2 * np.pi * np.cumsum(freq * (1.0 + vibrato * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * t + start))) / rate
    slope = {"plucked": 1.2, "bowed": 1.0, "flute": 2.5, "organ": 0.8, "clarinet": 1.3}[instrument]
    step = 2 if instrument == "clarinet" else 1
    x = np.zeros(len(t))
    for k in range(1, 16, step):
        if k * freq < top:
            damping = np.exp(-t * rng.uniform(0.5, 2.0) * k) if instrument == "plucked" else 1.0
            x += damping * np.sin(k * phase + rng.uniform(0, 6.3)) / k**slope
    return x * _envelope(rng, t, length, instrument == "plucked")


def _drum(rng: np.random.Generator, rate: int) -> Sound:
    t = np.arange(int(0.25 * rate)) / rate
    kind = rng.integers(0, 3)
    if kind == 0:
        return np.sin(2 * np.pi * (60 * t + 40 * (1 - np.exp(-t * 30)) / 30)) * np.exp(-t * 18) * 2.0
    if kind == 1:
        return (rng.normal(0, 0.5, len(t)) + np.sin(2 * np.pi * 190 * t)) * np.exp(-t * 25)
    return np.sin(2 * np.pi * rng.uniform(300, 1500) * t) * np.exp(-t * rng.uniform(15, 40))


def phrase(rng: np.random.Generator, seconds: float, rate: int) -> Sound:
    """A few seconds in one style."""
    n = int(seconds * rate)
    x = np.zeros(n + 3 * rate)
    scale = (MAJOR, MINOR, BLUES)[rng.integers(0, 3)]
    tonic = rng.uniform(430.0, 446.0) * 2.0 ** (rng.integers(-24, 6) / 12.0)
    instrument = str(rng.choice(["pure", "plucked", "bowed", "flute", "organ", "clarinet", "whistle", "bell", "fm"]))
    style = str(rng.choice(["melody", "chords", "arpeggio", "two voices"]))
    beat = rng.uniform(0.09, 0.5)
    degree, at = 0, 0.0

    def put(when: float, degrees: list[int], beats: float) -> None:
        for d in degrees:
            freq = tonic * 2.0 ** (d // len(scale) + scale[d % len(scale)] / 12.0)
            while freq > 3000.0:
                freq /= 2.0
            note = _note(rng, instrument, freq, min(beats * beat, 2.5), rate) * rng.uniform(0.5, 1.0)
            start = int(when * rate)
            x[start:start + len(note)] += note[:len(x) - start]

    while at < seconds:
        degree = int(np.clip(degree + rng.integers(-3, 4), -3, 14))
        beats = float(rng.choice([0.5, 1, 1, 1, 2, 4]))
        if style == "melody":
            put(at, [degree], beats)
        elif style == "chords":
            put(at, [degree + k for k in sorted(rng.choice([0, 2, 4, 6, 7, 9], int(rng.integers(2, 5)), replace=False))], beats)
        elif style == "arpeggio":
            put(at, [degree + int(rng.choice([0, 2, 4, 7]))], beats + 2.0)
        else:
            put(at, [degree], beats)
            put(at, [degree + int(rng.integers(2, 12))], float(rng.choice([0.5, 1, 2])))
        at += beats * beat
    if rng.random() < 0.35:
        for k in range(int(seconds / beat)):
            hit = _drum(rng, rate) * rng.uniform(0.5, 2.0)
            start = int(k * beat * rate)
            x[start:start + len(hit)] += hit[:len(x) - start]
    if rng.random() < 0.3:
        room = rng.normal(0, 1, rate // 2) * np.exp(-np.arange(rate // 2) / (rng.uniform(0.05, 0.15) * rate))
        room[0] = rng.uniform(5.0, 20.0)
        size = len(x) + len(room)
        x = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(room, size), size)
    return x[:n]


def music_minute(rng: np.random.Generator, seconds: int, rate: int) -> Sound:
    """Phrase after phrase, each at its own loudness."""
    parts: list[Sound] = []
    have = 0
    while have < seconds * rate:
        part = phrase(rng, float(rng.uniform(3.0, 9.0)), rate)
        parts.append(part / (np.sqrt(np.mean(part**2)) + 1e-9) * rng.uniform(0.4, 1.0))
        have += len(part)
    return np.concatenate(parts)[:seconds * rate]
