"""Packets that are not genuine in a live call: an alarm for many, none for a few, and none that stays."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from firmware.call.model import Cause, Evidence, LegAnswered, LegEnded, LegProgress
from firmware.core.forged_speech import CALM, FEW, LOOK_MS, MANY, ForgedSpeech
from firmware.errors import EngineBusy
from firmware.media.events import PortState
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from tests.unit.phones_stage import Answer

PORT = 17


class Stage:
    """A call whose port has counts as the test says."""

    def __init__(self) -> None:
        self.bus, self.clock = Bus(), ManualClock(1000)
        self.alarms = Alarms(self.bus, self.clock)
        self.counts: dict[str, int] = {}
        self.asked = 0
        self.problem: Exception | None = None
        self.part = ForgedSpeech(self.ports, {"L1": "201", "L2": "trunk/a"}.__getitem__, self.alarms, self.clock, self.bus)

    def ports(self) -> Answer:
        self.asked += 1
        if isinstance(self.problem, EngineBusy):
            raise self.problem
        return Answer(self.states(), self.problem)

    def states(self) -> list[Any]:
        return [
            PortState(PORT + place, "rtp", tag=leg, open=True, bridge=0, forged=count, suite="AES_CM_128_HMAC_SHA1_80")
            for place, (leg, count) in enumerate(self.counts.items())
        ]

    def begin(self, leg: str, port: int = PORT) -> None:
        self.counts[leg] = 0
        self.bus.publish(LegAnswered(leg, self.clock.now(), port, Evidence("sip-200")))

    def end(self, leg: str) -> None:
        del self.counts[leg]
        self.bus.publish(LegEnded(leg, self.clock.now(), Cause.NORMAL, Evidence("bye"), True))

    def look(self, **more: int) -> list[str]:
        """The next look, with so many more in each leg; the alarms that stand then."""
        for leg, fresh in more.items():
            self.counts[leg] += fresh
        self.clock.advance(LOOK_MS)
        return [kind for kind, _, _ in self.alarms.list()]


def test_many_raise_an_alarm_in_both_languages_that_clears_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.begin("L1")
    with caplog.at_level(logging.WARNING):
        assert stage.look(L1=MANY - 1) == [] and stage.look(L1=MANY) == ["srtp:L1"]
    assert "leg L1 of 201: 100 packets in 10 s" in caplog.text and "201" in stage.alarms.chinese("srtp:L1")
    for _ in range(CALM - 1):
        assert stage.look(L1=FEW - 1) == ["srtp:L1"]
    assert stage.look(L1=FEW) == ["srtp:L1"]               # not calm yet
    for _ in range(CALM - 1):
        stage.look()
    assert stage.look() == [] and stage.look(L1=MANY) == ["srtp:L1"]


def test_the_end_of_the_call_ends_its_alarm_and_all_questions() -> None:
    stage = Stage()
    stage.begin("L1")
    stage.begin("L2", PORT + 1)
    assert stage.look(L1=MANY, L2=3) == ["srtp:L1"]
    stage.end("L1")
    assert stage.alarms.list() == [] and stage.look(L2=MANY) == ["srtp:L2"]
    stage.end("L2")
    asked = stage.asked
    assert stage.look() == [] and stage.asked == asked
    stage.bus.publish(LegProgress("L1", stage.clock.now(), 3))     # a line has no such packets
    assert stage.look() == [] and stage.asked == asked


def test_what_was_there_before_a_restart_raises_nothing_and_other_keys_begin_anew() -> None:
    stage = Stage()
    stage.counts["L1"] = 5000
    stage.part.going_on(stage.states())
    assert stage.look() == [] and stage.look(L1=MANY - 1) == []
    stage.counts["L1"] = 0
    assert stage.look(L1=20) == [] and stage.look(L1=MANY) == ["srtp:L1"]


@pytest.mark.parametrize("problem", [EngineBusy("later"), OSError("gone")])
def test_media_that_does_not_answer_is_asked_again(problem: Exception) -> None:
    stage = Stage()
    stage.begin("L1")
    stage.problem = problem
    assert stage.look(L1=MANY) == []
    stage.problem = None
    assert stage.look() == ["srtp:L1"]
