"""How late an answer may be told by ear alone, against people who speak in turns like those of the simulated world."""

from __future__ import annotations

import pytest

from firmware.line import signals as s
from firmware.sim.people import TURN_MS, VOICE_MS
from firmware.sim.soak_check import OUTSIDE_ANSWER_MS
from tests.unit.line_bench import Bench

HANGOVER_MS = 600
BURST_MS, PERIOD_MS = 1000, 5000


def late(answered: int, phase: int, hangover: int) -> int:
    """Ms from the answer, `answered` ms after the first burst of ringback began, to its being told; `phase` of the turns at the answer."""
    bench = Bench().dialled()
    origin = bench.now
    spans = [(start, min(start + BURST_MS, answered)) for start in range(0, answered, PERIOD_MS)]
    for turn in range(5):
        start = answered - phase + turn * TURN_MS
        if start + VOICE_MS > answered:
            spans.append((max(answered, start), start + VOICE_MS))
    edges: list[tuple[int, bool]] = []
    for start, end in spans:                             # what the voice detector makes of them: a hang-over joins close sounds
        if edges and edges[-1][0] >= start:
            edges[-1] = end + hangover, False
        else:
            edges += [(start, True), (end + hangover, False)]
    for at, active in edges:
        bench.run(origin + at - bench.now).fact(s.Voice, active)
        if bench.all(s.Answered):
            break
    (answer,) = bench.all(s.Answered)
    return int(answer.at - origin - answered)


@pytest.mark.parametrize("hangover", [HANGOVER_MS - 20, HANGOVER_MS, HANGOVER_MS + 20])
def test_an_answer_before_the_second_burst_is_told_within_what_the_soak_allows(hangover: int) -> None:
    """The first turn may be cut short by the answer and sound like ringback; the second and third are none, each known at its end."""
    found = [late(answered, phase, hangover) for answered in range(400, PERIOD_MS, 200) for phase in range(0, TURN_MS, 100)]
    assert max(found) <= OUTSIDE_ANSWER_MS
    if hangover < HANGOVER_MS:
        assert max(found) > OUTSIDE_ANSWER_MS - 700, "the limit is wider than it has to be"
