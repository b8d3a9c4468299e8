"""A dialled call whose core is killed at any instant: the ear's judgement of the answer goes on, with the same outcome and date."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.line import signals as s
from firmware.line.fxo import Fxo, FxoFacts
from tests.unit.line_bench import Bench

STEP_MS = 20
#: Core is back within a second; overdue timers wait for another 300 ms.
GAP_MS = 900
DELAY_MS = GAP_MS + 300

Story = list[tuple[int, type[s.Fact], tuple[Any, ...]]]

RINGBACK: Story = [(200, s.Voice, (True,)), (1800, s.Voice, (False,)), (5000, s.ToneHeard, ("ringback", 1, 0))]


def tone(name: str, cycles: int, at: int, start: int) -> tuple[int, type[s.Fact], tuple[Any, ...]]:
    return at, s.ToneHeard, (name, cycles, start)


#: What is heard, by ms after the last digit.
STORIES: dict[str, Story] = {
    "ringback stops": [*RINGBACK, (6500, s.ToneStopped, ("ringback",))],
    "ringback stops, then voice": [*RINGBACK, (6500, s.ToneStopped, ("ringback",)), (6900, s.Voice, (True,)), (8400, s.Voice, (False,))],
    "voice in turns": [
        (200, s.Voice, (True,)), (1800, s.Voice, (False,)), (4300, s.Voice, (True,)), (6500, s.Voice, (False,)),
        (8300, s.Voice, (True,)), (10_500, s.Voice, (False,)),
    ],
    "long voice": [(200, s.Voice, (True,)), (1800, s.Voice, (False,)), (3900, s.Voice, (True,)), (9000, s.Voice, (False,))],
    "sound that does not come again": [(200, s.Voice, (True,)), (1800, s.Voice, (False,))],
    "reversal": [*RINGBACK, (5400, s.Polarity, (True,)), (6200, s.ToneStopped, ("ringback",))],
    "busy": [tone("busy?", 1, 1000, 300), tone("busy", 3, 2400, 300)],
    "congestion": [tone("congestion?", 1, 1700, 300), tone("congestion", 3, 4500, 300)],
    "refusal after ringback": [
        *RINGBACK, (6500, s.ToneStopped, ("ringback",)), tone("congestion?", 1, 7500, 6100), tone("congestion", 3, 10_300, 6100),
    ],
    "a cycle of refusal, then voice": [
        *RINGBACK, (6500, s.ToneStopped, ("ringback",)), tone("congestion?", 1, 7500, 6100), (7900, s.ToneStopped, ("congestion?",)),
        (8300, s.Voice, (True,)),
    ],
    "no sound at all": [],
}  # fmt: skip
LASTS_MS = 35_000


def outcome(story: Story, killed_at: int = -1) -> tuple[str, int, str, int]:
    """(kind of the answer, its date, cause of an end, its date), ms after the last digit; core is away `GAP_MS` from `killed_at` on."""
    bench = Bench()
    bench.fact(s.Polarity, False).dialled()
    origin = bench.now
    facts = [(origin + at, kind, values) for at, kind, values in story]
    end = origin + LASTS_MS

    def live_until(instant: int, told: list[tuple[int, type[s.Fact], tuple[Any, ...]]]) -> None:
        for at, kind, values in told:
            if bench.now < at:
                bench.run(at - bench.now)
            if kind is s.ToneHeard:
                name, cycles, start = values
                values = name, cycles, origin + start
            bench.machine.receive(kind(at, *values))
            bench.drain()
        bench.run(instant - bench.now)

    if killed_at >= 0:
        killed = origin + killed_at
        live_until(killed, [fact for fact in facts if fact[0] <= killed])
        facts = [fact for fact in facts if fact[0] > killed]
        memory = bench.machine.snapshot()
        bench.machine = Fxo.restore(bench.machine.config, bench.profile, memory)
        bench.now += GAP_MS
        bench.machine.attach(FxoFacts(), bench.now)
        bench.drain()
    live_until(end, facts)
    answers, ends = bench.all(s.Answered), bench.all(s.Ended)
    assert len(answers) <= 1 and len(ends) <= 1
    return (
        answers[0].evidence.kind if answers else "", answers[0].at - origin if answers else -1,
        ends[0].cause.value if ends else "", ends[0].at - origin if ends else -1,
    )  # fmt: skip


@pytest.mark.parametrize("name", list(STORIES))
def test_a_restart_at_any_instant_changes_neither_the_answer_nor_its_date(name: str) -> None:
    """Only what ends or is believed while core is away is told later, and no later than it is back."""
    story = STORIES[name]
    kind, at, cause, ended = outcome(story)
    assert kind or cause, "the story must come to something"
    last = max((fact[0] for fact in story), default=0)
    for killed in range(0, max(at, ended, last) + 1000, STEP_MS):
        again = outcome(story, killed)
        assert (again[0], again[2]) == (kind, cause), (killed, again)
        assert again[3] == ended or 0 <= again[3] - ended <= DELAY_MS, (killed, again)
        if kind == "timer":
            assert 0 <= again[1] - at <= DELAY_MS, (killed, again)
        else:
            assert again[1] == at, (killed, again)
