"""The night key and the calendar's end, for the whole appliance: kept, ended in time, alarmed (L5; part E, E5, E7).

Theory of operation
-------------------
The key is the switchboard's (`Switchboard.night`); whoever turns it, by command or by telephone, publishes `NightChanged`. From there it is
kept in `state.db`, so it survives a restart of the appliance, and its end is waited for: then it is turned to auto. The pure rules look
at the instant themselves, so a late timer changes nothing for a call. Every local midnight it is looked whether the days that are
fully known end soon; the alarm comes `calendar.alarm_days` before, and only where opening hours depend on it.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from firmware.call.calendar import Night
from firmware.call.events import NightChanged
from firmware.call.hours import next_at
from firmware.call.switchboard import Switchboard
from firmware.control.calendar_commands import ExplainCall, HoursRow, NightResult, ShowHours, StepRow, TurnNight
from firmware.control.gate import Gate
from firmware.core.explaining import dry_run, instant, local_time, rows
from firmware.errors import PbxError
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer
from firmware.store.db import Database

MODES = {"on": "night", "off": "open", "auto": "auto"}
SHOWN = {mode: word for word, mode in MODES.items()}
ALARM = "calendar:ends"
DURABLE_S = 0.2                         # whoever turns the key may rely on it as soon as the answer is there

log = logging.getLogger("branchpbx.night")


class NightKey:
    """See the theory of operation. `turn` runs a command of the switchboard and executes what follows (`Calls.command`)."""

    def __init__(
        self,
        *,
        board: Switchboard,
        turn: Callable[[Callable[[int], Any]], Any],
        clock: Clock,
        bus: Bus,
        db: Database,
        alarms: Alarms,
        zone: ZoneInfo,
    ) -> None:
        self._board, self._turn, self._clock, self._db, self._alarms, self._zone = board, turn, clock, db, alarms, zone
        self._timer: Timer | None = None
        bus.subscribe((NightChanged,), self._changed)

    def load(self) -> None:
        """The key as it was left; before calls go on."""
        self._board.night = self._stored()

    def start(self) -> None:
        """Wait for the end of the key and for every midnight. The journal of calls may be a moment older than the key."""
        self.load()
        self._wait()
        self._look()

    def attach(self, gate: Gate) -> None:
        """Answer the commands."""
        gate.handle(TurnNight, self._command)
        gate.handle(ShowHours, self._show)
        gate.handle(ExplainCall, self._explain)

    # --- the key ------------------------------------------------------------------------------------------------------

    def _command(self, asked: TurnNight) -> NightResult:
        until = -1
        if asked.until == "never":
            until = 0
        elif asked.until:
            until = self._instant(asked.until)
            if until <= self._clock.wall_ms():
                raise PbxError(f"{asked.until} is over; give a later time, hh:mm for the next time the clock shows it")
        self._turn(lambda now: self._board.set_night(MODES[asked.mode], now, until_ms=until, by="command"))  # type: ignore[arg-type]
        return NightResult(self._mode(), self._until())

    def _instant(self, text: str) -> int:
        """Unix ms of "hh:mm" (the next one) or a local date and time."""
        if "T" in text:
            return instant(text, self._zone)
        if not "00:00" <= text <= "23:59":
            raise PbxError(f"{text} is no time; write 18:30 or 2026-03-02T18:30")
        shift = self._clock.wall_ms() - self._clock.now()
        return next_at(lambda at: local_time(at + shift, self._zone), self._clock.now(), text)

    def _changed(self, event: NightChanged) -> None:
        kept = msgspec.json.encode(Night(event.mode, event.until_ms))  # type: ignore[arg-type]
        wall, now = self._clock.wall_ms(), self._clock.now()
        self._db.execute("INSERT OR REPLACE INTO kept (part, state, wall_ms, base_ms) VALUES ('night', ?, ?, ?)", (kept, wall, wall - now))
        if not self._db.flush(DURABLE_S):
            log.warning("the night key is not on disk yet; a power cut may lose it")
        log.info("night key: %s until %s by %s", SHOWN.get(event.mode, event.mode), self._until() or "-", event.by or "-")
        self._wait()

    def _stored(self) -> Night:
        try:
            rows = self._db.query("SELECT state FROM kept WHERE part = 'night'")
            return msgspec.json.decode(rows[0]["state"], type=Night) if rows else Night()
        except (PbxError, sqlite3.Error, msgspec.MsgspecError) as error:
            log.warning("the night key is not restored, it follows the calendar: %s", error)
            return Night()

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        night = self._board.night
        if night.mode != "auto" and night.until_ms:
            self._timer = self._clock.call_later(max(0, night.until_ms - self._clock.wall_ms()), self._ended)

    def _ended(self) -> None:
        self._timer = None
        if self._board.night.now(self._clock.wall_ms()) == "auto":
            self._turn(lambda now: self._board.set_night("auto", now, by="time"))
        else:
            self._wait()                                # the wall clock was set back

    def _mode(self) -> str:
        return SHOWN[self._board.night.now(self._clock.wall_ms())]

    def _until(self) -> str:
        until = self._board.night.until_ms
        return f"{datetime.fromtimestamp(until / 1000, self._zone):%Y-%m-%d %H:%M}" if until else ""

    def _explain(self, asked: ExplainCall) -> list[StepRow]:
        now, wall = self._clock.now(), self._clock.wall_ms()
        return rows(dry_run(self._board, asked, now=now, wall_ms=wall, zone=self._zone))

    # --- the calendar -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        now = datetime.fromtimestamp(self._clock.wall_ms() / 1000, self._zone)
        self.judge(now.date())
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        self._clock.call_later(max(1000, round((midnight.timestamp() - now.timestamp()) * 1000)), self._look)

    def judge(self, today: date) -> None:
        """Raise or clear the alarm for a date."""
        config = self._board.config
        ends = self._board.calendar.ends(today) if config.hours else None
        if ends is None or (ends - today).days > config.calendar.alarm_days:
            self._alarms.clear(ALARM)
            return
        year = ends.year + 1
        text = f"the calendar ends on {ends}: from then on only the weekly pattern and statutory holidays are known; " \
               f"add the official days of {year} as [calendar.official.{year}]"
        self._alarms.raise_(ALARM, text, f"日历将于{ends}到期，此后仅按每周时间和法定节日；请添加[calendar.official.{year}]")

    def _show(self, asked: ShowHours) -> list[HoursRow]:
        wall = self._instant(asked.at) if asked.at else self._clock.wall_ms()
        local = local_time(wall, self._zone)
        calendar, night = self._board.calendar, self._board.night
        ends = calendar.ends(date(local.year, local.month, local.day))
        rows = []
        for name in self._board.config.hours or [""]:
            moment = calendar.at(name, local, night)
            title = moment.day.title
            rows.append(HoursRow(
                hours=name, time=f"{datetime.fromtimestamp(wall / 1000, self._zone):%Y-%m-%d %H:%M}",
                state=moment.state, by=moment.level,
                day=title.get("en", moment.day.name), day_zh=title.get("zh", moment.day.name),
                told=calendar.told(name, local, moment.state),
                greeting=" ".join(calendar.greetings(local)), night=self._mode(), until=self._until(), known_until=str(ends or ""),
            ))  # fmt: skip
        return rows
