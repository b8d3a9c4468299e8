"""The line echo canceller on the lines of the benchmark: each goal with a margin, so that no draw decides."""

from __future__ import annotations

import numpy as np
import pytest

from firmware.dsp import EchoCanceller
from tools.bench_dsp import echo_cases as cases
from tools.bench_dsp import echo_signals as signals

MODELS = range(1, 9)


def linear(tail_ms):
    return EchoCanceller(8000, tail_ms, False)


def whole(tail_ms):
    return EchoCanceller(8000, tail_ms, True)


@pytest.fixture
def draw(seed):
    return seed % 1_000_000


def test_composite_signal_on_every_hybrid(draw):
    found = np.array([cases.on_composite(linear, draw + m, m, 32) for m in MODELS])
    assert np.mean(found[:, 0]) < 0.2
    assert np.mean(found[:, 1]) < 0.36
    assert np.mean(found[:, 2]) > 46.0
    assert np.min(found[:, 2]) > 37.0


@pytest.mark.parametrize("delay_ms", [4.0, 60.0, 100.0])
def test_delay_anywhere_in_a_long_tail(draw, delay_ms):
    found = np.array([cases.on_composite(linear, draw + m, m, 128, delay_ms=delay_ms) for m in (1, 4, 7)])
    assert np.mean(found[:, 0]) < 0.78
    assert np.mean(found[:, 2]) > 40.0


@pytest.mark.parametrize("erl_db", [6.0, 24.0])
def test_weak_and_strong_echo(draw, erl_db):
    first, _, depth = cases.on_composite(linear, draw, 4, 32, erl_db=erl_db)
    assert first < 0.6
    assert depth > (40.0 if erl_db == 6.0 else 30.0)        # 54 +- 1.4 dB at 6 dB, 48 at worst of 191 draws


def test_path_change_is_learned_in_half_a_second(draw):
    assert np.mean([cases.path_change(linear, draw + m, m, 32)[0] for m in (1, 3, 5)]) < 0.65     # 0.39 +- 0.03


@pytest.mark.parametrize("name", cases.NARROW)
def test_narrow_sounds_do_not_spoil_the_filter(draw, name):
    assert np.mean([cases.after_narrow(linear, draw + m, name, m, 32)[1] for m in (2, 4)]) > 36.0      # 52 +- 1.7 at worst


def test_silence_is_no_reason_to_forget(draw):
    assert np.mean([cases.idle_loss(linear, draw + m, m, 32, 20.0) for m in (1, 3, 5, 7)]) < 5.0      # 0.2 +- 0.5 dB


def test_a_law_is_the_only_limit(draw):
    assert np.max([cases.a_law_gap(linear, draw + m, m, 32) for m in (1, 4, 6)]) < 4.5       # 0.3 +- 0.3 dB, 1.6 at worst of 146 draws


def _chatter(rng, seconds):
    """Syllables of filtered noise and harmonics: speech enough for a filter, made in no time."""
    n = int(seconds * signals.RATE)
    x = np.zeros(n)
    at = 0
    while at < n:
        m = int(rng.integers(800, 2400))
        pitch = rng.uniform(90.0, 220.0)
        part = sum(np.sin(2.0 * np.pi * pitch * k * np.arange(m) / 8000.0 + k) / (1.0 + 0.3 * k) for k in range(1, int(3400.0 / pitch)))
        part = part * np.hanning(m) + rng.normal(0.0, 0.1, m)
        x[at : at + m] = part[: n - at] * rng.uniform(0.3, 1.0)
        at += m + int(rng.integers(0, 1600))
    return x * signals.rms(-16.0) / np.sqrt(signals.active_power(x))


def test_double_talk_leaves_the_heard_filter_alone(rng):
    during, after = [], []
    for model in (1, 4, 6):
        far, near = _chatter(rng, 10.0), np.zeros(80000)
        near[32000:64000] = _chatter(rng, 4.0)
        line = signals.line(far, signals.through(far, signals.hybrid(model, 10.0, 4.0)), rng, near)
        out = cases.run(linear(32), line)
        during.append(cases.erle(line, out, 4.0, 8.0))
        after.append(cases.erle(line, out, 8.0, 8.5))
    assert np.mean(during) > 10.0                           # of 93 draws: 22.4 at worst, 29 +- 3
    assert np.mean(after) > 10.0                            # 21.2 at worst, 30 +- 3


def test_both_talk_from_the_first_sample(rng):
    found = []
    for model in (1, 4, 6):
        far, near = _chatter(rng, 8.0), _chatter(rng, 8.0)
        line = signals.line(far, signals.through(far, signals.hybrid(model, 10.0, 4.0)), rng, near)
        found.append(cases.erle(line, cases.run(linear(32), line), 4.0, 8.0))
    assert np.mean(found) > 4.5                             # 17.8 +- 2.0, of 94 draws 9.2 at worst


def test_residual_control_leaves_the_background(rng):
    found = []
    for _ in range(9):
        far = _chatter(rng, 12.0)
        line = signals.line(far, signals.through(far, signals.hybrid(4, 10.0, 4.0)), rng, None, -60.0)
        out = cases.run(whole(32), line)[24000:]
        found.append(abs(cases.ratio_db(signals.power(out), signals.rms(-60.0) ** 2)))
    assert np.median(found) < 2.5                           # 0.5 dB in the middle; one draw in sixty lets a syllable through
