"""A short draw of the hang-up table: nobody in the corpus is cut off, everybody who hung up is released in time (`make bench-lines`).

`make soak-lines` takes hours of talk instead of minutes. Beside ours runs a plain cadence counter on the same sound, so that a corpus which
has lost its teeth is noticed: it must be fooled.
"""

from __future__ import annotations

import numpy as np
import pytest

from firmware.line.profiles import PROFILES
from tools.bench_lines.judges import START_MS, Counter, Ours
from tools.bench_lines.sounds import KINDS, RELEASE, chatter, hang_up

COUNTRIES = sorted(PROFILES)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_is_cut_off(kind: str, seed: int, soak: int) -> None:
    judges = {country: Ours(country, "line" if kind == "beside" else "alone") for country in COUNTRIES}
    for number in range(2 if soak == 1 else 25):
        for country, judge in judges.items():
            sound = chatter(kind, country, seed % 1_000_000 + number)
            assert not judge.run(sound), f"{country} hung up in {kind} {seed % 1_000_000 + number}: {judge.evidence}"


@pytest.mark.parametrize("country", COUNTRIES)
def test_everybody_who_hung_up_is_released_within_three_cycles(country: str, seed: int, soak: int) -> None:
    cycles = []
    for number in range(8 if soak == 1 else 200):
        for name in RELEASE[country]:
            one = hang_up(country, seed % 1_000_000 + number, name)
            judge = Ours(country)
            times = judge.run(one.sound)
            assert times and times[0] >= one.began_ms, f"{country} {name} {seed % 1_000_000 + number} at {one.level:.1f} dBm0: {times}"
            cycles.append((times[0] - one.began_ms) / one.cycle_ms)
            ended = judge.evidence[0]
            assert ended.by_far and ended.evidence.kind in ("busy-tone", "congestion-tone") and ended.evidence.confidence > 0.6
            assert abs(ended.at - START_MS - one.began_ms) < 60.0, "dated to another instant than the tone's beginning"
    assert np.median(cycles) <= 3.0 and max(cycles) <= 4.1, cycles


def test_the_corpus_fools_a_plain_counter(seed: int) -> None:
    sounds = [chatter(kind, country, seed % 1_000_000) for kind in ("speech", "keys", "conference") for country in COUNTRIES]
    assert sum(len(Counter(2).run(sound)) for sound in sounds) > 10
    steady = [hang_up("CN", seed % 1_000_000 + k, "busy") for k in range(12)]
    heard = [one for one in steady if one.level > -20.0 and Counter(4).run(one.sound)]
    assert heard or all(one.level <= -20.0 for one in steady), "the plain counter must hear a loud busy tone, or it is no peer"
