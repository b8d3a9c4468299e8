"""The black list for the whole appliance: kept in `state.db`, shown and changed by command (L5).

Theory of operation. The list is the switchboard's (`Switchboard.blocked`); each change is published as `BlockedChanged`; then the whole
list is on disk before the command or code is answered. The journal of calls has it too, but may be a moment older when core was killed:
`load` is asked again after calls went on.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from firmware.call.blocking_state import Blocked, BlockedChanged
from firmware.call.switchboard import Switchboard
from firmware.control.gate import Gate, asking
from firmware.control.pbx_commands import BlockedRow, BlockNumber, ShowBlocked, UnblockNumber
from firmware.errors import PbxError
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock
from firmware.store.db import Database

log = logging.getLogger("branchpbx.calls")
DURABLE_S = 0.2                         # whoever blocks a caller may rely on it as soon as the answer is there
_SAVE = "INSERT OR REPLACE INTO kept (part, state, wall_ms, base_ms) VALUES ('blocked', ?, ?, ?)"


class BlackList:
    """See the theory of operation. `turn` runs a command of the switchboard and executes what follows (`Calls.command`)."""

    def __init__(
        self, *, board: Switchboard, turn: Callable[[Callable[[int], Any]], Any], clock: Clock, bus: Bus, db: Database, zone: ZoneInfo
    ) -> None:
        self._board, self._turn, self._clock, self._db, self._zone = board, turn, clock, db, zone
        bus.subscribe((BlockedChanged,), self._changed)

    def load(self) -> None:
        """The list as it was left."""
        try:
            rows = self._db.query("SELECT state FROM kept WHERE part = 'blocked'")
            self._board.blocked = msgspec.json.decode(rows[0]["state"], type=dict[str, Blocked]) if rows else {}
        except (PbxError, sqlite3.Error, msgspec.MsgspecError) as error:
            log.error("the black list cannot be read and begins anew: %s", error)

    def attach(self, gate: Gate) -> None:
        """Answer the commands."""
        gate.handle(ShowBlocked, self._show)
        gate.handle(BlockNumber, self._block)
        gate.handle(UnblockNumber, self._unblock)

    def _changed(self, event: BlockedChanged) -> None:
        wall = self._clock.wall_ms()
        self._db.execute(_SAVE, (msgspec.json.encode(self._board.blocked), wall, wall - self._clock.now()))
        if not self._db.flush(DURABLE_S):
            log.warning("the black list is not on disk yet; a power cut may lose the last change")
        log.info("%s is %s the black list, by %s", event.number, "put on" if event.on else "taken off", event.by)

    def _show(self, _: ShowBlocked) -> list[BlockedRow]:
        newest = sorted(self._board.blocked.values(), key=lambda one: -one.at_ms)
        return [BlockedRow(one.number, self._local(one.at_ms), one.by, one.contact) for one in newest]

    def _local(self, wall_ms: int) -> str:
        return datetime.fromtimestamp(wall_ms / 1000, self._zone).strftime("%Y-%m-%d %H:%M:%S")

    def _block(self, asked: BlockNumber) -> list[BlockedRow]:
        if asked.number in self._board.routing.emergency:
            raise PbxError(f"{asked.number} is an emergency number; it is never blocked")
        who = asking()
        self._turn(lambda now: self._board.block(asked.number, now, by=who))
        return self._show(ShowBlocked())

    def _unblock(self, asked: UnblockNumber) -> list[BlockedRow]:
        who = asking()
        if not self._turn(lambda now: self._board.unblock(asked.number, now, by=who)):
            raise PbxError(f"{asked.number} is not on the black list; `show blocked` lists it")
        return self._show(ShowBlocked())
