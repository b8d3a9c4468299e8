"""States of telephones and lines as inputs of the switchboard: mostly nothing follows, and then nothing is looked for (`Calls.work`)."""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.model import EndpointState
from firmware.config.schema.calls import InboundRoute
from tests.unit.call_stage import Stage, config


def test_nothing_follows_where_nobody_waits() -> None:
    stage = Stage()
    stage.dial("201", "202")
    stage.run(5000)
    stage.board.actions()
    before = stage.board.deadline()
    assert stage.board.receive(EndpointState("203", stage.now, "busy"), stage.now) is False
    assert stage.board.receive(EndpointState("203", stage.now, "idle"), stage.now) is False
    assert stage.board.actions() == []
    assert stage.board.deadline() == before


def test_who_waits_is_offered_to_the_telephone_that_comes_back() -> None:
    stage = Stage(config(inbound=[InboundRoute(to="queue/sales")]))
    stage.log_in("8001", "201")
    stage.board.receive(EndpointState("201", stage.now, "unregistered"), stage.now)
    stage.ring_in()
    stage.run(30_000)
    assert not any(isinstance(action, do.OriginateLeg) for _, _, action in stage.done)
    assert stage.board.receive(EndpointState("201", stage.now, "idle"), stage.now) is True
    stage.run(20_000)
    assert any(isinstance(action, do.OriginateLeg) and action.endpoint == "201" for _, _, action in stage.done)
