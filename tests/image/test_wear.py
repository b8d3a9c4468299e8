"""Flash writes of normal work, counted on the emulated board: minutes at rest and calls, extrapolated to a year (`make soak-flash`).

The emulator skips the time in which the board has nothing to do, so an hour on the board takes less than one here.
"""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest

from tests.e2e.conftest import HOST
from tools.vm import powercut
from tools.vm.settings import BUILD
from tools.vm.wear import BUDGET, CALLS_A_DAY, Wear, of_partition, year

from .conftest import Images
from .story import Story

MINUTES = int(os.environ.get("BRANCHPBX_WEAR", "0"))
CALLS, TALK_S = 10, 60


@pytest.mark.skipif(not MINUTES, reason="make soak-flash counts flash writes")
def test_a_year_of_normal_work_writes_less_than_the_smallest_memory_bears(images: Images, network: str) -> None:
    folder = BUILD / "wear"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "board").mkdir(parents=True)
    told = Story(images.board, images.loader, images.disk, folder, HOST)
    told.board.machine.extra = ["-icount", "shift=2,sleep=off,align=off"]
    try:
        told.start()
        rest = _rest(told)
        call = _calls(told)
    finally:
        told.close()
    bytes_a_year = year(rest, call)
    table = {
        "at rest, an hour": _words(rest),
        f"a call of {TALK_S} s with queue, menu and record": _words(call),
        f"a year with {CALLS_A_DAY} calls a day": f"{bytes_a_year / 1e9:.1f} GB in pages, budget {BUDGET / 1e9:.0f} GB",
    }
    (folder / "table.json").write_text(json.dumps(table, indent=1))
    assert bytes_a_year < BUDGET


def _words(one: Wear) -> str:
    return f"{one.asked / 1e3:.1f} kB asked for, {one.pages / 1e3:.1f} kB in pages, {one.requests} requests, {one.flushes} flushes"


def _settled(told: Story) -> int:
    """Entries of the log when all that was in memory is on the disk."""
    told.board.shell.run("sync; sleep 35; sync")
    writes = told.board.machine.writes
    assert writes is not None
    return len(powercut.read(writes)[1])


def _between(told: Story, first: int, last: int, share: float) -> Wear:
    writes = told.board.machine.writes
    assert writes is not None
    found = of_partition(told.board.machine.disk, "state", powercut.read(writes)[1][first:last])
    return Wear(*(round(value * share) for value in (found.asked, found.pages, found.requests, found.flushes)))


def _rest(told: Story) -> Wear:
    """An hour of a box that nobody calls."""
    first, began = _settled(told), told.uptime()
    end = time.monotonic() + 3600
    while told.uptime() - began < 60 * MINUTES:
        assert time.monotonic() < end, "the board is slower than its own clock by far"
        told.board.shell.run("sleep 60", 600)
        told.board.machine.read()
    last = _settled(told)
    return _between(told, first, last, 3600 / (told.uptime() - began))


def _calls(told: Story) -> Wear:
    """A call: the exchange rings, the caller chooses the front desk, somebody answers there, both talk, the record is written."""
    first, began = _settled(told), told.uptime()
    board = told.board
    for _ in range(CALLS):
        board.ask("world", "phone", phone=1, action="answer", after=3, tone_hz=880)
        who = board.ask("world", "call", **{"from": "13800138000", "line": 1, "caller_id": "fsk", "press": "2@voice,0@voice",
                                            "say": "tone:440", "partners_hz": [880], "talk": TALK_S})["person"]  # fmt: skip
        seen = board.until(lambda who=who: (found := told.person(who))["done"] and found, "the caller is done", 1200)
        assert "880" in seen["partners"], seen
        told.recorded()
    last = _settled(told)
    rested = _between(told, first, last, 1 / CALLS)
    assert told.uptime() > began
    return rested
