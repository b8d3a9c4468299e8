"""Talk and silence of both directions: edges, levels, overlap, and what is no talk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.dsp.activity import ActivityMeter, TalkSegment
from tests.dsp.signals import Sound, noise, pcm, silence, sine, speech


def talk(rng: np.random.Generator, *spans: tuple[int, int], total_ms: int, dbm0: float = -18.0, rate: int = 8000) -> Sound:
    """Voiced sound (a buzz that a microphone would give) within the spans (ms), line noise everywhere."""
    x = noise(rng, total_ms * rate // 1000, -65)
    for start, end in spans:
        t = np.arange((end - start) * rate // 1000)
        buzz = sum(np.sin(2 * np.pi * k * 130 * t / rate + k) for k in range(2, 20))
        x[start * rate // 1000 :][: len(t)] += buzz / np.sqrt(np.mean(np.square(buzz))) * 16086.0 * 10 ** (dbm0 / 20)
    return x


def segments(near: Sound, far: Sound, rate: int = 8000, block_ms: int = 10) -> list[TalkSegment]:
    one, found = ActivityMeter(rate), []
    n = block_ms * rate // 1000
    for at in range(0, len(near), n):
        found += one.feed(pcm(near[at : at + n]), pcm(far[at : at + n]))
    return found


@pytest.mark.parametrize("rate", [8000, 16000])
def test_talks_are_told_with_both_edges_their_level_and_the_overlap(rate: int, rng: np.random.Generator) -> None:
    near = talk(rng, (1000, 2500), (4000, 5200), total_ms=7000, rate=rate)
    far = talk(rng, (2000, 4300), total_ms=7000, dbm0=-25, rate=rate)
    found = segments(near, far, rate)
    assert [each.direction for each in found] == ["near", "far", "near"]
    expected = [(1000, 2500, -18, 500), (2000, 4300, -25, 800), (4000, 5200, -18, 300)]
    for each, (start, end, level, overlap) in zip(found, expected, strict=True):
        assert each.start_ms == pytest.approx(start, abs=20)
        assert each.end_ms == pytest.approx(end, abs=20)
        assert each.level_dbm0 == pytest.approx(level, abs=0.7)
        assert each.overlap_ms == pytest.approx(overlap, abs=40)


def test_a_pause_below_two_tenths_of_a_second_belongs_to_the_talk_and_a_longer_one_parts_two(rng: np.random.Generator) -> None:
    quiet = noise(rng, 8 * 5000, -65)
    found = segments(talk(rng, (1000, 1500), (1650, 2000), total_ms=5000), quiet)
    assert len(found) == 1
    assert found[0].start_ms == pytest.approx(1000, abs=20)
    assert found[0].end_ms == pytest.approx(2000, abs=20)
    assert len(segments(talk(rng, (1000, 1500), (1750, 2300), total_ms=5000), quiet)) == 2


def test_clicks_noise_steady_tones_and_very_quiet_sound_are_no_talk(rng: np.random.Generator) -> None:
    quiet = noise(rng, 80000, -65)
    clicks = quiet.copy()
    for at in range(int(rng.integers(0, 4000)), 79000, 4000):
        clicks[at : at + 160] += 8000.0
    assert segments(clicks, quiet) == [] or all(each.end_ms - each.start_ms < 200 for each in segments(clicks, quiet))
    assert segments(quiet + noise(rng, 80000, -50), quiet) == []
    assert segments(quiet + noise(rng, 80000, -48), quiet) == []
    tone = segments(quiet + sine(425, 10000, -20), quiet)
    assert all(each.end_ms <= 3000 for each in tone)  # a tone without pauses becomes background


def test_noise_that_sets_in_becomes_background_within_two_seconds(rng: np.random.Generator) -> None:
    x = noise(rng, 80000, -65)
    x[16000:] += noise(rng, 64000, -40)
    found = segments(x, noise(rng, 80000, -65))
    assert all(each.end_ms < 4500 for each in found)
    y = x + talk(rng, (7000, 8000), total_ms=10000, dbm0=-20)
    last = segments(y, noise(rng, 80000, -65))[-1]
    assert last.start_ms == pytest.approx(7000, abs=20)
    assert last.end_ms == pytest.approx(8000, abs=30)


def test_speech_is_covered_by_its_talks(rng: np.random.Generator) -> None:
    x = speech(rng, 20.0) + noise(rng, 160000, -60)
    found = [each for each in segments(np.concatenate([x, silence(1000)]), np.zeros(168000)) if each.direction == "near"]
    frames = np.mean(np.square(x.reshape(-1, 80)), axis=1) > 16086.0**2 * 10**-3.2
    covered = np.zeros(2000, bool)
    for each in found:
        covered[each.start_ms // 10 : each.end_ms // 10] = True
    assert covered[frames].mean() > 0.97


@pytest.mark.parametrize("block_ms", [20, 30])
def test_blocks_of_any_size_tell_the_same_talks(block_ms: int, rng: np.random.Generator) -> None:
    near, far = speech(rng, 6.0), speech(rng, 6.0)
    assert segments(near, far) == segments(near, far, block_ms=block_ms)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-32768, 32767), st.integers(1, 4000)), max_size=12), st.integers(0, 2**32 - 1))
def test_talks_are_ordered_and_within_the_sound_whatever_comes(spans: list[tuple[int, int]], number: int) -> None:
    """Constant, alternating and random stretches of any level."""
    rng = np.random.default_rng(number)
    parts = [np.full(n, v) * rng.choice([1.0, rng.random()]) * rng.choice([-1, 1], n) for v, n in spans]
    x = np.concatenate([*parts, np.zeros(4000)])
    found = segments(x, x[::-1].copy())
    for direction in ("near", "far"):
        edges = [edge for each in found if each.direction == direction for edge in (each.start_ms, each.end_ms)]
        assert edges == sorted(edges)
        assert all(b - a >= 60 for a, b in zip(edges[::2], edges[1::2], strict=True))
        assert all(0 <= each.overlap_ms <= each.end_ms - each.start_ms for each in found)
        assert not edges or edges[-1] <= len(x) // 8
