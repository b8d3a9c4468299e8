"""A queue with opening hours: who comes too late, and who waits when they end; every scenario also with a restart at each step."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.call import actions as do
from firmware.call.calendar import Night
from firmware.call.times import LocalTime
from firmware.config.schema.calendar import OpeningHours
from firmware.config.schema.calls import InboundRoute, Queue
from tests.unit.call_stage import Phone, Stage, config
from tests.unit.test_config_check import problems

SPANS = ["09:00-12:00", "13:00-18:00"]
HOURS = {"desk": OpeningHours(mon=SPANS, to="queue/sales", at_lunch="announce/q.full", closed="announce/night.msg")}


class Clocked(Stage):
    """The wall clock goes on: a Monday, `start` at engine second 1."""

    def __init__(self, start: str, *, restart: bool = False, **queue: Any) -> None:
        hour, minute, second = (int(part) for part in start.split(":"))
        self.first = (hour * 60 + minute) * 60 + second
        sales = Queue(hours="desk", max_wait_s=3600, **queue)
        routes = [InboundRoute(to="queue/sales", greeting=False, notice=False)]
        super().__init__(config(hours=HOURS, queues={"sales": sales, "service": Queue()}, inbound=routes), restart=restart)

    def _new_board(self) -> Any:
        board = super()._new_board()
        board._local = self.clock
        return board

    def clock(self, now: int) -> LocalTime:
        ms = self.first * 1000 + now - 1000
        seconds = ms // 1000
        return LocalTime(2026, 3, 2, seconds // 3600, seconds // 60 % 60, seconds % 60, 1_772_000_000_000 + ms % 1000)


@pytest.fixture(params=[False, True], ids=["straight", "restarted"])
def restart(request: pytest.FixtureRequest) -> bool:
    """Whether the whole state goes through JSON after every input."""
    return bool(request.param)


def waiting(stage: Stage) -> str:
    """A caller whom nobody can be offered to: the agent is in a call."""
    stage.log_in("8001", "201")
    stage.dial("201", "202")
    stage.run(3000)
    leg = stage.ring_in()
    stage.run(2000)
    assert stage.state(leg).phase.value == "queued"
    return leg


def overflows(stage: Stage) -> list[str]:
    return [action.data["why"] for _, _, action in stage.done if isinstance(action, do.Record) and action.kind == "overflow"]


@pytest.mark.parametrize(("start", "prompt"), [("11:57:30", "q.full"), ("17:57:30", "night.msg")])
def test_who_waits_when_the_hours_end_goes_where_they_lead(restart: bool, start: str, prompt: str) -> None:
    stage = Clocked(start, restart=restart)
    leg = waiting(stage)
    stage.run(144_000)
    assert not overflows(stage) and prompt not in stage.heard[leg], "half a second before the end"
    stage.run(1500)
    assert overflows(stage) == ["closed"] and prompt in stage.heard[leg]
    stage.run(10_000)
    assert leg not in stage.legs
    exits = [action.event for _, _, action in stage.done if isinstance(action, do.QueueLog)]
    assert exits == ["ENTERQUEUE", "EXITEMPTY"]


def test_the_queue_may_say_itself_where_they_go(restart: bool) -> None:
    stage = Clocked("17:58:00", restart=restart, on_closed="extension/203")
    leg = waiting(stage)
    stage.run(130_000)
    assert overflows(stage) == ["closed"] and stage.talking(leg, stage.leg_at("203"))


def test_a_telephone_that_rings_for_him_rings_on(restart: bool) -> None:
    stage = Clocked("17:59:50", restart=restart, ring_s=30)
    stage.phones["201"] = Phone(answer_ms=15_000)
    stage.log_in("8001", "201")
    leg = stage.ring_in()
    stage.run(17_000)
    assert not overflows(stage)
    stage.run(5000)
    assert stage.talking(leg, stage.leg_at("201"))
    stage.phones["201"] = Phone(answer_ms=-1)


def test_who_was_rung_in_vain_goes_then(restart: bool) -> None:
    stage = Clocked("17:59:50", restart=restart, ring_s=15)
    stage.phones["201"] = Phone(answer_ms=-1)
    stage.log_in("8001", "201")
    leg = stage.ring_in()
    stage.run(60_000)
    assert overflows(stage) == ["closed"] and leg not in stage.legs


@pytest.mark.parametrize(("start", "mode", "taken"), [
    ("18:00:00", "auto", False), ("12:00:00", "auto", False), ("13:00:00", "auto", True), ("18:30:00", "open", True),
    ("10:00:00", "night", False),
])
def test_who_comes_outside_the_hours_does_not_join(start: str, mode: Any, taken: bool) -> None:
    stage = Clocked(start)
    stage.board.night = Night(mode)
    stage.log_in("8001", "201")
    stage.ring_in()
    stage.run(3000)
    assert (overflows(stage) == []) is taken


def test_hours_that_lead_back_to_the_queue_do_not_go_in_circles() -> None:
    stage = Clocked("17:59:00", on_closed="hours/desk")
    leg = waiting(stage)
    stage.run(70_000)
    assert overflows(stage) == ["closed"] and "night.msg" in stage.heard[leg]


def test_the_check_finds_circles_and_hours_that_are_not_there() -> None:
    told = [one.path for one in problems('[queues.sales]\nhours = "desk"\non_closed = "queue/sales"\n')]
    assert "queues.sales.on_closed" in told and "queues.sales.hours" in told
