"""Forwards and do-not-disturb for the whole appliance: kept in `state.db`, shown and cleared by command (L5).

Theory of operation
-------------------
The wishes are the switchboard's (`Switchboard.wishes`); each change is published as `WishChanged`; then the whole table is on disk
before its owner hears the confirmation (the event is worked off before what is said). The journal of calls has them too, but may be a
moment older when core was killed: `start` reads them again after calls went on. Wishes of extensions that the configuration no longer has
are dropped when they are read. Analogue telephones whose calls go elsewhere or are refused are told so (`told`): their dial tone stutters.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from firmware.call.forwards import NONE, Wish, WishChanged, text
from firmware.call.switchboard import Switchboard
from firmware.control.gate import Gate
from firmware.control.pbx_commands import ClearForwards, ForwardRow, ForwardsCleared, ShowForwards
from firmware.errors import PbxError
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock
from firmware.store.db import Database

log = logging.getLogger("branchpbx.calls")
DURABLE_S = 0.2                         # who hears that a forward is set may rely on it
_SAVE = "INSERT OR REPLACE INTO kept (part, state, wall_ms, base_ms) VALUES ('wishes', ?, ?, ?)"


def diverts(wish: Wish) -> bool:
    """Whether no call comes through as it is."""
    return wish.dnd or bool(wish.always)


class Wishes:
    """See the theory of operation. `turn` runs a command of the switchboard and executes what follows (`Calls.command`)."""

    def __init__(
        self, *, board: Switchboard, turn: Callable[[Callable[[int], Any]], Any], clock: Clock, bus: Bus, db: Database,
        told: Callable[[str, bool], None] = lambda extension, diverted: None,
    ) -> None:
        self._board, self._turn, self._clock, self._db, self._told = board, turn, clock, db, told
        bus.subscribe((WishChanged,), self._changed)

    def load(self) -> None:
        """The wishes as they were when the appliance was switched off; before calls go on, whose journal knows them better."""
        try:
            rows = self._db.query("SELECT state FROM kept WHERE part = 'wishes'")
            found = msgspec.json.decode(rows[0]["state"], type=dict[str, Wish]) if rows else {}
        except (PbxError, sqlite3.Error, msgspec.MsgspecError) as error:
            log.warning("forwards and do-not-disturb are not restored, calls ring where they are dialled: %s", error)
            found = {}
        self._board.wishes = {number: wish for number, wish in found.items() if number in self._board.config.extensions}

    def start(self) -> None:
        """Calls go on: the table as it is on disk is the newest, and telephones are told."""
        self.load()
        for extension, wish in self._board.wishes.items():
            self._told(extension, diverts(wish))

    def attach(self, gate: Gate) -> None:
        """Answer the commands."""
        gate.handle(ShowForwards, self._show)
        gate.handle(ClearForwards, self._clear)

    def _changed(self, event: WishChanged) -> None:
        wall = self._clock.wall_ms()
        self._db.execute(_SAVE, (msgspec.json.encode(self._board.wishes), wall, wall - self._clock.now()))
        if not self._db.flush(DURABLE_S):
            log.warning("forwards and do-not-disturb are not on disk yet; a power cut may lose the last change")
        self._told(event.extension, diverts(event.wish))
        log.info("extension %s: %s", event.extension, text(event.wish) or "no forward, may be disturbed")

    def _show(self, _: ShowForwards) -> list[ForwardRow]:
        extensions = self._board.config.extensions
        return [
            ForwardRow(number, extensions[number].name, wish.dnd, wish.always, wish.busy, wish.no_answer)
            for number, wish in sorted(self._board.wishes.items()) if number in extensions
        ]

    def _clear(self, asked: ClearForwards) -> ForwardsCleared:
        if asked.extension not in self._board.config.extensions:
            raise PbxError(f"extension {asked.extension} does not exist; `show phones` lists them")
        was = text(self._board.wishes.get(asked.extension, NONE))
        self._turn(lambda now: self._board.wished(asked.extension, NONE, now))
        return ForwardsCleared(asked.extension, was)
