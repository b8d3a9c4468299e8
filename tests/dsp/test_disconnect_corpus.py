"""A short draw of the hang-up table: nobody in the corpus is cut off, everybody who hung up is released in time (`make bench-lines`).

`make soak-lines` takes hours of talk instead of minutes. Beside ours runs a plain cadence counter on the same sound, so that a corpus which
has lost its teeth is noticed: it must be fooled.
"""

from __future__ import annotations

from itertools import count, islice

import numpy as np
import pytest

from firmware.line.profiles import PROFILES
from tests.dsp.rare import assert_rare
from tools.bench_lines.judges import START_MS, Counter, Ours
from tools.bench_lines.sounds import KINDS, RELEASE, chatter, hang_up

COUNTRIES = sorted(PROFILES)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_is_cut_off(kind: str, seed: int, soak: int) -> None:
    judges = {country: Ours(country, "line" if kind == "beside" else "alone") for country in COUNTRIES}

    def cut_off(number: int) -> list[str]:
        sounds = {country: chatter(kind, country, seed % 1_000_000 + number) for country in judges}
        return [f"{country} hung up in {kind} {seed % 1_000_000 + number}: {judge.evidence}" for country, judge in judges.items()
                if judge.run(sounds[country])]

    assert_rare(cut_off, 2 if soak == 1 else 25, 12, 2)


@pytest.mark.parametrize("country", COUNTRIES)
def test_everybody_who_hung_up_is_released_within_three_cycles(country: str, seed: int, soak: int) -> None:
    cycles = []

    def wrong(number: int) -> list[str]:
        """What is amiss with a hang-up by each of the country's tones."""
        found = []
        for name in RELEASE[country]:
            one, judge = hang_up(country, seed % 1_000_000 + number, name), Ours(country)
            times, said = judge.run(one.sound), f"{country} {name} {seed % 1_000_000 + number} at {one.level:.1f} dBm0"
            if not times or times[0] < one.began_ms:
                found.append(f"{said}: {times}")
                continue
            cycles.append((times[0] - one.began_ms) / one.cycle_ms)
            ended = judge.evidence[0]
            if not (ended.by_far and ended.evidence.kind in ("busy-tone", "congestion-tone") and ended.evidence.confidence > 0.6):
                found.append(f"{said}: {ended}")
            if abs(ended.at - START_MS - one.began_ms) >= 60.0:
                found.append(f"{said}: dated to another instant than the tone's beginning, {ended}")
            if cycles[-1] > 4.1:
                found.append(f"{said}: after {cycles[-1]:.1f} cycles")
        return found

    assert_rare(wrong, 8 if soak == 1 else 200, 40, 3)
    assert np.median(cycles) <= 3.0, cycles


def test_the_corpus_fools_a_plain_counter(seed: int) -> None:
    sounds = [chatter(kind, country, seed % 1_000_000) for kind in ("speech", "keys", "conference") for country in COUNTRIES]
    assert sum(len(Counter(2).run(sound)) for sound in sounds) > 5      # 102 +- 19 in 12 draws
    steady = (hang_up("CN", seed % 1_000_000 + k, "busy") for k in count())
    loud = islice((one for one in steady if one.level > -20.0), 8)      # it hears nine in ten
    assert any(Counter(4).run(one.sound) for one in loud), "the plain counter must hear a loud busy tone, or it is no peer"
