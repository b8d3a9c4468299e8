"""The night key and the calendar's end in core: kept, ended in time, alarmed and cleared (E5, E7)."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from firmware.call import actions as do
from firmware.call.switchboard import Switchboard
from firmware.config.schema.calendar import Calendar as CalendarSettings
from firmware.config.schema.calendar import OfficialYear, OpeningHours
from firmware.control.calendar_commands import ExplainCall, ShowHours, TurnNight
from firmware.core.explaining import local_time
from firmware.core.night import ALARM, NightKey
from firmware.errors import PbxError
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.runtime.ids import Ids
from firmware.store.db import Database
from tests.unit.call_stage import EMERGENCY, config

ZONE = ZoneInfo("Asia/Shanghai")
OFFICE = OpeningHours(mon=["08:30-12:00", "13:00-18:00"], tue=["08:30-18:00"])
MONDAY_NINE = 1_772_413_200_000          # 2026-03-02 09:00 in Shanghai


class Part:
    """The part with a clock by hand."""

    def __init__(self, folder: Path, **changes: object) -> None:
        self.clock = ManualClock(wall_base_ms=MONDAY_NINE)
        self.bus = Bus()
        self.alarms = Alarms(self.bus, self.clock)
        self.db = Database(folder / "state.db", "state")
        site = config(**({"hours": {"office": OFFICE}} | changes))
        self.board = Switchboard(site, Ids(1), EMERGENCY, lambda at: local_time(at + MONDAY_NINE, ZONE))
        self.key = NightKey(board=self.board, turn=self.turn, clock=self.clock, bus=self.bus, db=self.db, alarms=self.alarms, zone=ZONE)
        self.key.load()
        self.key.start()

    def turn(self, fn: object) -> object:
        result = fn(self.clock.now())  # type: ignore[operator]
        for _, action in self.board.actions():
            if isinstance(action, do.Notify):
                self.bus.publish(action.event)
        return result

    def state(self) -> str:
        return self.key._show(ShowHours())[0].state

    def close(self) -> None:
        assert self.db.close(2.0)


def test_key_is_kept_over_a_restart_and_ends_by_itself(tmp_path: Path) -> None:
    one = Part(tmp_path)
    assert one.state() == "open"
    assert one.key._command(TurnNight("on", "10:30")).until == "2026-03-02 10:30"
    assert one.state() == "night"
    one.close()
    again = Part(tmp_path)
    assert again.state() == "night"
    again.clock.advance(90 * 60_000 - 1)
    assert again.state() == "night"
    again.clock.advance(1)
    assert again.state() == "open" and again.board.night.mode == "auto" and again.key._show(ShowHours())[0].until == ""
    again.close()
    assert Part(tmp_path).state() == "open"


def test_end_of_the_key_by_default_by_date_and_never(tmp_path: Path) -> None:
    one = Part(tmp_path)
    assert one.key._command(TurnNight("on")).until == "2026-03-03 06:00"
    assert one.key._command(TurnNight("off", "2026-03-02T20:15")) == one.key._command(TurnNight("off", "20:15"))
    assert one.key._command(TurnNight("on", "never")).until == ""
    assert one.key._command(TurnNight("auto")).mode == "auto"
    for wrong in ("2026-03-01T10:00", "24:00", "2026-13-01T10:00"):
        with pytest.raises(PbxError):
            one.key._command(TurnNight("on", wrong))
    one.close()


def test_alarm_comes_sixty_days_before_the_last_known_day(tmp_path: Path) -> None:
    one = Part(tmp_path)
    for today, raised in ((date(2026, 10, 31), False), (date(2026, 11, 1), True), (date(2027, 5, 1), True), (date(2026, 3, 2), False)):
        one.key.judge(today)
        assert [kind for kind, _, _ in one.alarms.list()] == ([ALARM] if raised else []), today
    one.key.judge(date(2026, 12, 1))
    assert "calendar.official.2027" in one.alarms.list()[0][1] and "2026-12-31" in one.alarms.chinese(ALARM)
    one.close()
    planned = CalendarSettings(official={"2027": OfficialYear(off=["01-01"])})
    for changes in ({"hours": {}}, {"calendar": planned}, {"calendar": CalendarSettings(country="none")}):
        other = Part(tmp_path, **changes)
        other.key.judge(date(2026, 12, 1))
        assert not other.alarms.list()
        other.close()


def test_calendar_is_looked_at_every_midnight(tmp_path: Path) -> None:
    one = Part(tmp_path)
    one.clock.advance(243 * 86_400_000)          # to the last of October
    assert not one.alarms.list()
    one.clock.advance(2 * 86_400_000)
    assert one.alarms.list()
    one.close()


def test_dry_run_uses_the_time_that_is_asked_for(tmp_path: Path) -> None:
    one = Part(tmp_path)
    steps = one.key._explain(ExplainCall(line="1", at="2026-10-01T09:00"))
    assert "National Day" in steps[0].step_en and "国庆节" in steps[0].step_zh
    assert one.key._explain(ExplainCall(line="1"))[0].step_en.startswith("2026-03-02 09:00")
    one.close()
