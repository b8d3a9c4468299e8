"""The black list: by code from a telephone, by command, what it does to callers, and that it is kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from firmware.call import actions as do
from firmware.call.blocking_state import MOST, BlockedChanged
from firmware.config.schema.calls import InboundRoute
from firmware.config.schema.dialplan import CallerClass
from firmware.config.schema.pbx import Calling
from firmware.control.gate import Gate, Peer
from firmware.core.blocking import BlackList
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.store.db import Database
from tests.unit.call_stage import Stage, config

PEST, FRIEND = "13900000009", "13800000001"


@pytest.fixture(params=[False, True], ids=["straight", "restarted"])
def restart(request: pytest.FixtureRequest) -> bool:
    """Whether the whole state goes through JSON after every input."""
    return bool(request.param)


def stage_of(restart: bool = False, **changes: Any) -> Stage:
    return Stage(config(**({"inbound": [InboundRoute(to="extension/201", greeting=False, notice=False)]} | changes)), restart=restart)


def talk(stage: Stage, number: str) -> None:
    leg = stage.ring_in(number=number)
    stage.run(10_000)
    assert stage.talking(leg, stage.leg_at("201"))
    stage.leave(leg)
    stage.run(3000)


def keyed(stage: Stage, extension: str, digits: str, *keys: str) -> list[str]:
    leg = stage.dial(extension, digits)
    for key in keys:
        stage.run(3000)
        stage.press(leg, key)
    stage.run(14_000)
    assert leg not in stage.legs
    return stage.heard[leg]


def answered(stage: Stage) -> int:
    return sum(isinstance(action, do.AnswerLeg | do.OriginateLeg) for _, _, action in stage.done)


def test_the_last_caller_is_put_on_the_list_and_refused_unanswered(restart: bool) -> None:
    stage = stage_of(restart)
    talk(stage, FRIEND)
    talk(stage, PEST)
    assert keyed(stage, "201", "*57", "1") == ["blk.ask", "blk.done"]
    assert list(stage.board.blocked) == [PEST] and stage.board.blocked[PEST].by == "extension 201"
    before = answered(stage)
    leg = stage.ring_in(number=PEST)
    stage.run(2000)
    assert leg not in stage.legs and answered(stage) == before
    assert PEST not in stage.board.acd.missed, "who is not wanted is not called back"
    leg = stage.ring_in(number="+86" + PEST)
    stage.run(2000)
    assert leg not in stage.legs, "in another writing, too"
    talk(stage, FRIEND)
    assert [(one.number, one.on) for one in stage.notices if isinstance(one, BlockedChanged)] == [(PEST, True)]


def test_it_is_taken_off_again_by_code(restart: bool) -> None:
    stage = stage_of(restart)
    for number in (PEST, FRIEND):
        talk(stage, number)
        keyed(stage, "201", "*57", "1")
    assert keyed(stage, "101", "*58", "2", "1", "2") == ["blk.next", "blk.next", "blk.none"]
    assert list(stage.board.blocked) == [FRIEND]
    talk(stage, PEST)


def test_nothing_but_1_blocks_and_a_hidden_caller_cannot_be(restart: bool) -> None:
    stage = stage_of(restart)
    assert keyed(stage, "201", "*57") == ["blk.nobody"]
    talk(stage, PEST)
    assert keyed(stage, "201", "*57", "2") == ["blk.ask", "vm.ended"]
    assert keyed(stage, "202", "*57") == ["blk.nobody"], "this telephone has spoken with nobody"
    talk(stage, "")
    assert keyed(stage, "201", "*57") == ["blk.nobody"]
    talk(stage, "110")
    assert keyed(stage, "201", "*57") == ["blk.nobody"]
    assert not stage.board.blocked


@pytest.mark.parametrize(("needed", "ok"), [("internal", True), ("local", True), ("national", False), ("nobody", False)])
def test_the_class_of_the_telephone_decides(needed: str, ok: bool) -> None:
    stage = stage_of(calling=Calling(block_class=needed))  # type: ignore[arg-type]
    talk(stage, PEST)
    assert keyed(stage, "201", "*57", "1")[0] == ("blk.ask" if ok else "sup.refused")
    assert keyed(stage, "201", "*58")[0] == ("blk.next" if ok else "sup.refused")
    assert bool(stage.board.blocked) is ok


def test_a_class_of_the_configuration_says_where_they_go() -> None:
    stage = stage_of(callers={"blocked": CallerClass(numbers=["0085"], to="announce/num.refused")})
    stage.board.block(PEST, stage.now, by="test")
    for number in (PEST, "008512345"):
        leg = stage.ring_in(number=number)
        stage.run(8000)
        assert "num.refused" in stage.heard[leg]
        stage.run(8000)


def test_the_list_is_bounded_and_has_each_number_once() -> None:
    stage = stage_of()
    for number in range(MOST + 5):
        stage.now += 1
        stage.board.block(f"1390{number:07}", stage.now, by="test")
        stage.board.block(f"+861390{number:07}", stage.now, by="test")
    assert len(stage.board.blocked) == MOST and "13900000004" not in stage.board.blocked
    assert stage.board.unblock("+8613900000010", stage.now, by="test") and not stage.board.unblock("13900000010", stage.now, by="test")


# --- commands and keeping ---------------------------------------------------------------------------------------------


def part(folder: Path) -> tuple[Stage, Gate, BlackList, Database]:
    stage, bus, clock = stage_of(), Bus(), ManualClock(now=1000)
    db = Database(folder / "state.db", "state")

    def turn(fn: Any) -> Any:
        result = fn(clock.now())
        for _, action in stage.board.actions():
            if isinstance(action, do.Notify):
                bus.publish(action.event)
        return result

    made = BlackList(board=stage.board, turn=turn, clock=clock, bus=bus, db=db, zone=ZoneInfo("Asia/Shanghai"))
    gate = Gate(bus, clock)
    made.attach(gate)
    made.load()
    return stage, gate, made, db


def ask(gate: Gate, role: Any, what: str, **args: Any) -> Any:
    return asyncio.run(gate.perform(Peer("anna", role), what, args))


def test_commands_change_the_list_and_it_outlives_the_appliance(tmp_path: Path) -> None:
    _, gate, _, db = part(tmp_path)
    assert not ask(gate, "viewer", "blocked add", number=PEST)["ok"]
    rows = ask(gate, "supervisor", "blocked add", number=PEST)["result"]
    assert [(row["number"], row["by"]) for row in rows] == [(PEST, "anna")]
    assert not ask(gate, "supervisor", "blocked add", number="110")["ok"]
    assert db.flush(2.0)
    db.close()
    stage, gate, _, db = part(tmp_path)
    assert stage.board.is_blocked(PEST)
    assert [row["number"] for row in ask(gate, "viewer", "show blocked")["result"]] == [PEST]
    assert not ask(gate, "supervisor", "blocked remove", number=FRIEND)["ok"]
    assert ask(gate, "supervisor", "blocked remove", number=PEST)["result"] == []
    assert db.flush(2.0)
    db.close()
    stage, _, _, db = part(tmp_path)
    assert not stage.board.blocked
    db.close()
