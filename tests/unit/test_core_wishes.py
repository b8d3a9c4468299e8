"""Forwards and do-not-disturb outlive the appliance, and the shift leader sees and ends them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware.call import actions as do
from firmware.call.forwards import NONE, Wish
from firmware.control.pbx_commands import ClearForwards, ForwardRow, ShowForwards
from firmware.core.wishes import Wishes
from firmware.errors import PbxError
from firmware.runtime.bus import Bus
from firmware.store.db import Database, migrations_of
from tests.unit.call_stage import Stage


class _Clock:
    def now(self) -> int:
        return 5000

    def wall_ms(self) -> int:
        return 1_700_000_005_000


class _Gate:
    def __init__(self) -> None:
        self.answers: dict[Any, Any] = {}

    def handle(self, command: Any, fn: Any) -> None:
        self.answers[command] = fn


def _part(folder: Path) -> tuple[Stage, Wishes, Database, dict[Any, Any]]:
    stage, bus, gate = Stage(), Bus(), _Gate()
    db = Database(folder / "state.db", migrations_of("state"))

    def turn(fn: Any) -> Any:
        answer = fn(stage.now)
        for _, action in stage.board.actions():
            bus.publish(action.event)  # type: ignore[attr-defined]
        return answer

    part = Wishes(board=stage.board, turn=turn, clock=_Clock(), bus=bus, db=db)  # type: ignore[arg-type]
    part.load()
    part.attach(gate)  # type: ignore[arg-type]
    turn(lambda now: stage.board.wished("201", Wish(always="204", dnd=True), now) if folder.name == "set" else None)
    return stage, part, db, gate.answers


def test_wishes_are_kept_shown_and_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    _, _, db, _ = _part(folder)
    db.close()
    again = folder.rename(tmp_path / "again")
    stage, part, db, answers = _part(again)
    assert stage.board.wishes == {"201": Wish(always="204", dnd=True)}
    assert answers[ShowForwards](ShowForwards()) == [ForwardRow("201", "", True, "204", "", "")]
    assert answers[ClearForwards](ClearForwards(extension="201")).was == "dnd always=204"
    with pytest.raises(PbxError, match="999 does not exist"):
        answers[ClearForwards](ClearForwards(extension="999"))
    db.flush()
    part.load()
    assert stage.board.wishes.get("201", NONE) == NONE
    db.close()


def test_what_is_kept_and_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    stage, part, db, _ = _part(tmp_path)
    db.execute("INSERT OR REPLACE INTO kept (part, state, wall_ms, base_ms) VALUES ('wishes', ?, 1, 1)", (b"{not json",))
    db.flush()
    part.load()
    assert stage.board.wishes == {}
    db.close()


def test_a_forward_is_on_disk_before_its_confirmation_is_said(tmp_path: Path) -> None:
    """Nothing waits for the disk afterwards: what the code does first, in the order of its actions, is to keep the wish."""
    stage = Stage()
    db, bus, said = Database(tmp_path / "state.db", migrations_of("state")), Bus(), []
    told: list[tuple[str, bool]] = []
    Wishes(board=stage.board, turn=lambda fn: fn(stage.now), clock=_Clock(), bus=bus, db=db,      # type: ignore[arg-type]
           told=lambda extension, on: told.append((extension, on)))  # fmt: skip
    execute = stage._act

    def before(contact: str, action: Any) -> None:
        if isinstance(action, do.Notify):
            bus.publish(action.event)
        elif isinstance(action, do.PlayPrompt) and action.says[0].prompt == "fwd.on":
            with sqlite3.connect(f"file:{tmp_path / 'state.db'}?mode=ro", uri=True) as reader:
                rows = reader.execute("SELECT state FROM kept WHERE part = 'wishes'").fetchall()
            said.append(msgspec.json.decode(rows[0][0], type=dict[str, Wish]))
        execute(contact, action)

    stage._act = before  # type: ignore[method-assign]
    stage.dial("201", "*61202#")
    stage.run(5000)
    assert said == [{"201": Wish(always="202")}] and told == [("201", True)]
    db.close()


def test_after_a_killed_core_the_disk_knows_better_than_the_journal(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    stage, part, db, _ = _part(folder)
    stage.board.wishes = {}                                  # as a journal from a moment before has it
    told: list[tuple[str, bool]] = []
    part._told = lambda extension, on: told.append((extension, on))
    part.start()
    assert stage.board.wishes == {"201": Wish(always="204", dnd=True)} and told == [("201", True)]
    db.close()
