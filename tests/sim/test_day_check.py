"""The judge of a simulated day: how late a record may tell an answer that only a voice tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firmware.sim.day_check import Expectation, compare
from firmware.sim.day_plan import EMERGENCY_HZ

ANSWERED, ENDED = 714_950, 730_590


def day(connected_ms: int) -> list[str]:
    """An emergency call, answered by somebody who speaks in turns; `connected_ms` is the record's answer."""
    wish = Expectation("emergency", "emergency", "P36", "110", extension="104")
    person: dict[str, Any] = {"ident": "P36", "kind": "phone", "number": "110", "line": 0, "started": 709_560, "answered": 710_580,
                              "ended": ENDED, "partners": {f"{EMERGENCY_HZ:g}": -16.0}, "pressed": [["110", 710_580]], "met": 718_060}
    call = {"direction": "out", "number": "110", "line": 2, "started": 711_300, "answered": ANSWERED, "ended": ENDED, "emergency": True}
    record = {"id": "C20007", "kind": "emergency", "extension": "104", "line": "line/2", "called": "110", "cause": "normal",
              "opened_ms": 710_600, "connected_ms": connected_ms, "ended_ms": ENDED + 100, "legs": [{"endpoint": "line/2"}]}
    return compare([wish], [person], [call], [record], 0, Path())


def test_an_emergency_call_answered_by_a_voice_in_turns_may_be_told_three_turns_late() -> None:
    """See tests/unit/test_line_fxo_ear.py: a first turn that the answer cut short, then two whole ones."""
    assert day(724_270) == []
    assert day(ANSWERED + 100) == []


@pytest.mark.parametrize("wrong", [ANSWERED + 10_300, ANSWERED - 1100])
def test_an_answer_outside_what_an_ear_can_know_is_a_difference(wrong: int) -> None:
    (text,) = day(wrong)
    assert text.startswith("emergency P36 record C20007: the conversation is")
