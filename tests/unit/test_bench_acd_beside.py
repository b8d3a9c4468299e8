"""The comparison with app_queue: our half of it lives in virtual time here, and what it counts is counted right."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tools.bench_acd_beside import logs, ours, rows
from tools.bench_acd_beside import trace as t


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[t.Crowd, list[str], list[str]]:
    crowd = t.Crowd(t.trace(4, 120))
    one = ours.Ours(tmp_path_factory.mktemp("beside"), crowd)
    one.run()
    found = crowd, one.log(), one.cdr()
    one.close()
    return found


def test_nobody_waits_here_while_an_agent_is_free_and_the_log_says_what_people_noted(lived: tuple[t.Crowd, list[str], list[str]]) -> None:
    crowd, log, cdr = lived
    found = t.figures(crowd)
    assert found.offered > 60 and found.answered > 40 and found.gave_up > 5 and found.cut == 0
    assert found.idle_ms == 0 and found.out_of_order == 0 and found.ghost_ms <= 50
    assert logs.differences(log, crowd) == Counter()
    assert len(cdr) == len({line.split(",")[1] for line in cdr}) == found.offered


@pytest.mark.parametrize(("spoil", "told"), [
    (lambda line: [] if "|CONNECT|" in line else [line], "CONNECT 0 times instead of 1"),
    (lambda line: [line, line] if "|ABANDON|" in line else [line], "ABANDON 2 times instead of 1"),
    (lambda line: [line.replace("COMPLETECALLER", "COMPLETEAGENT")], "1 COMPLETE, not of the caller"),
    (lambda line: [] if "|COMPLETE" in line else [line], "no COMPLETE"),
    (lambda line: [line.replace("|CONNECT|", "|CONNECT|9")], "wait of CONNECT is wrong by more than two seconds"),
])  # fmt: skip
def test_a_log_that_lies_is_told(lived: tuple[t.Crowd, list[str], list[str]], spoil, told: str) -> None:  # type: ignore[no-untyped-def]
    crowd, log, _ = lived
    assert logs.differences([one for line in log for one in spoil(line)], crowd)[told] > 3


def note(number: int, entered: int, rung: int, met: int, over: int) -> t.Note:
    call = t.Call(entered, f"1380{number:07}", "q0", 60_000, 1000, False)
    made = t.Note(call, f"L{number}", entered, met, "2001", -1, over, "caller")
    made.rings = [t.Ring("2001", rung, met, over)]
    return made


def test_idle_agents_and_overtaking_are_seen() -> None:
    crowd = t.Crowd([])
    crowd.notes = {str(n): one for n, one in enumerate([note(1, 0, 9000, 9500, 12_000), note(2, 4000, 4100, 4500, 5000)])}
    found = t.figures(crowd)
    assert found.out_of_order == 1, "the second was rung for first"
    assert found.idle_worst_ms == 9000 and found.idle_ms == 9000, "three agents were free all the while"


def test_scenes_of_complaints_that_need_no_far_end_have_none_here(tmp_path: Path) -> None:
    config = rows._config({"q7": rows._queue()}, {"8001": ["q7"]})
    with rows.at_ours(config, {"2001": "8001"}) as here:
        here.pause("2001", True)
        leg = here.call("13000000001", "q7")
        here.until(lambda: any(one.what == "hears" and one.leg == leg and one.caller.endswith("q.join") for one in here.people.seen))
        free = here.now()
        here.pause("2001", False)
        assert here.until(lambda: bool(rows._rung(here, "2001"))) and rows._rung(here, "2001")[0].at - free <= rows.FREE_MS
