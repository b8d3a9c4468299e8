"""The live board: figures of today are counted anew after what changed them, also while they were counted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware.app.office import Office
from firmware.call.events import ContactChanged
from firmware.control.gate import NOBODY, Gate
from firmware.errors import PbxError
from firmware.sim import week_plan as p
from firmware.sim.week_people import Crowd


class Board:
    """A branch without callers; `counts` are the counts of today, and each first does what is in `meanwhile`."""

    def __init__(self, office: Office) -> None:
        self.office, self.counts = office, 0
        self.meanwhile: list[Any] = []
        self.gate = Gate(office.bus, office.clock)
        office.reports.attach(self.gate)
        self._tally = office.reports.tally
        office.reports.tally = self._count  # type: ignore[method-assign]

    def _count(self, day: Any) -> Any:
        self.counts += 1
        done = self._tally(day)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return done

    def closes(self) -> None:
        self.office.bus.publish(ContactChanged(self.office.clock.now(), "C1", "ended", "normal"))

    def show(self) -> bool:
        return bool(asyncio.run(self.gate.perform(NOBODY, "show board", {}))["ok"])


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    office = Office(tmp_path, p.config(), p.BEGINS, Crowd(p.Plan(1, 1, [], [], [])))
    yield Board(office)
    office.close()


def test_today_is_counted_again_when_a_contact_has_closed(board: Board) -> None:
    assert board.show() and board.show() and board.counts == 1
    board.closes()
    assert board.show() and board.counts == 2


def test_a_contact_that_closes_while_today_is_counted_is_counted_the_next_time(board: Board) -> None:
    board.meanwhile.append(board.closes)
    assert board.show() and board.show() and board.counts == 2
    assert board.show() and board.counts == 2


def test_a_count_that_failed_is_made_again(board: Board) -> None:
    def fails() -> None:
        raise PbxError("the data base is away")

    board.meanwhile.append(fails)
    assert not board.show()
    assert board.show() and board.counts == 2
