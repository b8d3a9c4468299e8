"""Every seed gives a day that contains all that a day must contain."""

from __future__ import annotations

import random
from collections import Counter

from firmware.sim.day_plan import CALLS_OF, COVERAGE, KINDS, OUTGOING, Episode, covered, plan

SEEDS = 400


def seeds(rng: random.Random) -> list[int]:
    return [*range(20), *(rng.randrange(1 << 64) for _ in range(SEEDS))]


def test_every_seed_covers_all_that_a_day_must_contain(rng: random.Random) -> None:
    for seed in seeds(rng):
        missing = [item for item, times in covered(plan(seed, 20)).items() if not times]
        assert not missing, f"seed {seed} has no {', '.join(missing)}"


def test_a_day_has_the_calls_it_is_asked_for_and_every_kind_of_episode(rng: random.Random) -> None:
    for seed in seeds(rng):
        episodes = plan(seed, 20)
        assert sum(e.calls for e in episodes) == 20
        assert set(KINDS) == {e.kind for e in episodes}


def test_a_plan_depends_on_its_seed_only() -> None:
    assert plan(7, 20) == plan(7, 20)
    assert plan(7, 20) != plan(8, 20)


def test_orders_lines_and_moments_differ_between_seeds(rng: random.Random) -> None:
    plans = [plan(seed, 20) for seed in seeds(rng)]
    assert {e.kind for day in plans for e in day[:1]} == set(KINDS)
    assert {e.line for day in plans for e in day} == {1, 2, 3, 4}
    moments = [e.moment_s for day in plans for e in day if e.kind == "leaves"]
    assert min(moments) < 3 and max(moments) > 27


def test_no_two_people_of_a_day_have_the_same_number(rng: random.Random) -> None:
    for seed in seeds(rng):
        count = Counter(number for e in plan(seed, 20) for number in (e.number, *e.others))
        assert max(count.values()) == 1, f"seed {seed}: {count.most_common(1)}"


def test_coverage_counts_nothing_twice_and_misses_what_is_absent() -> None:
    assert set(covered([])) == set(COVERAGE)
    assert covered([])["transfer"] == 0
    one = covered([Episode("talk-sip", 1, "13800000000", "dtmf", "en", True, double=True)])
    wanted = {"caller-id-dtmf", "language-en", "barge-in", "agent-sip", "double-talk-sip", "log-in-fxs", "log-in-sip"}
    assert {item for item, times in one.items() if times} == wanted
    assert not any(covered([Episode(kind, 1, "1")])["caller-id-fsk"] for kind in OUTGOING)
    assert CALLS_OF["emergency"] == 5
