"""Another configuration comes into force under calls: those that are there go on by the rules they began with, new ones find the new."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from firmware.call.model import Cause, Evidence
from firmware.call.state import Phase
from firmware.config.schema.calls import InboundRoute, Menu, MenuKey, Queue
from firmware.config.schema.people import Agent, Extension
from firmware.config.schema.tree import Config
from tests.unit.call_stage import Stage, config


def configured(stage: Stage, **tables: Any) -> Config:
    """The stage's board is given another configuration, as `Calls.configure` does."""
    new = msgspec.structs.replace(stage.config, **tables)
    stage.board.configure(new, {}, stage.board.config)
    stage.config = new
    stage._after()
    return new


def queued(stage: Stage, line: str = "line/1", number: str = "13800000001") -> str:
    caller = stage.ring_in(line, number)
    stage.run(300)
    for _ in range(2):
        stage.run(2500)
        stage.press(caller, "1")
    stage.run(6000)
    return caller


def test_a_queue_that_goes_serves_those_who_wait_in_it_to_their_end() -> None:
    stage = Stage(config(queues={"sales": Queue(max_wait_s=30, on_timeout="extension/101"), "service": Queue(max_wait_s=30)}))
    stage.log_in("8003", "203")
    stage.log_in("8001", "201")
    caller = queued(stage)
    new_menu = Menu(prompt="ivr.main", keys={"1": MenuKey(to="queue/service")}, otherwise="queue/service")
    menus = {"main": new_menu}
    phase = stage.state(caller).phase
    configured(
        stage, queues={"service": stage.config.queues["service"]}, menus=menus, inbound=[InboundRoute(to="menu/main")],
        agents={"8003": Agent(pin="33", queues=["service"])},
    )  # fmt: skip
    assert stage.state(caller).phase is phase
    stage.run(60_000)
    stage.leave(caller, Evidence("loop-drop"))
    stage.run(20_000)
    assert next(iter(stage.closed.values())).cause in (Cause.NORMAL, Cause.CANCELLED)
    stage.board.configure(stage.config, {})
    assert set(stage.board.config.queues) == {"service"}


@pytest.mark.parametrize("phase", ["greeting", "menu", "queued", "talking"])
def test_everything_a_caller_is_in_may_go(phase: str) -> None:
    stage = Stage()
    stage.log_in("8001", "201")
    caller = stage.ring_in()
    stage.run({"greeting": 500, "menu": 6500}.get(phase, 300))
    if phase in ("queued", "talking"):
        stage.leave(caller)
        stage.run(20_000)
        caller = queued(stage)
        stage.run(20_000 if phase == "talking" else 10)
    extensions = {"204": Extension(kind="sip")}
    configured(
        stage, queues={}, menus={}, agents={}, extensions=extensions, inbound=[InboundRoute(to="extension/204")], outbound=[],
    )  # fmt: skip
    stage.press(caller, "1")
    stage.run(5000)
    stage.press(caller, "1")
    stage.run(400_000)
    if stage.legs.get(caller):
        stage.leave(caller)
    stage.run(60_000)
    assert not stage.legs and all(state.phase is Phase.ENDED for state in stage.closed.values())
    other = stage.ring_in("line/2")
    stage.run(12_000)
    assert stage.leg_at("204") and stage.state(other).phase in (Phase.DIALLING, Phase.TALKING)


def test_an_extension_that_goes_ends_its_call_when_people_do() -> None:
    stage = Stage()
    leg = stage.dial("201", "202")
    stage.run(8000)
    assert stage.talking(leg, stage.leg_at("202"))
    configured(stage, extensions={number: entry for number, entry in stage.config.extensions.items() if number != "202"})
    stage.run(8000)
    assert stage.talking(leg, stage.leg_at("202"))
    refused = stage.dial("203", "202")
    stage.run(8000)
    assert not stage.talking(refused, stage.leg_at("202"))
    stage.leave(leg)
    stage.run(60_000)
    assert leg not in stage.legs
