"""Time zones of telephones: what each make is told is read back and compared with zoneinfo, hour by hour around each change."""

from __future__ import annotations

import functools
import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from firmware.app.phone_zones import rule_of
from firmware.errors import ConfigError
from firmware.surfaces.phones.zones import Change, Zone, parse, tell

ZONES = [
    "Asia/Shanghai", "Europe/London", "Europe/Berlin", "Europe/Dublin", "America/New_York", "America/Los_Angeles", "Australia/Sydney",
    "Australia/Lord_Howe", "Asia/Kolkata", "America/St_Johns", "America/Santiago", "Pacific/Auckland", "UTC",
    "Asia/Kathmandu",
    "Australia/Adelaide", "America/Sao_Paulo",
]  # fmt: skip
WEEKLY = [
    "Europe/London", "Europe/Berlin", "Europe/Dublin", "America/New_York", "Australia/Sydney", "Australia/Lord_Howe", "Pacific/Auckland",
    "America/St_Johns", "Australia/Adelaide",
]  # fmt: skip
YEARS = range(2026, 2036)


def offset_by(zone: Zone, moment: datetime) -> int:
    """Seconds east of UTC at a moment of UTC, by the rule as a telephone runs it: its own wall clock against its two changes."""
    if zone.start is None or zone.end is None:
        return zone.standard

    def at(change: Change, offset: int) -> datetime:
        local = datetime.combine(change.day(moment.year), datetime.min.time()) + timedelta(seconds=change.seconds)
        return (local - timedelta(seconds=offset)).replace(tzinfo=UTC)

    start, end = at(zone.start, zone.standard), at(zone.end, zone.standard + zone.saving)
    summer = start <= moment < end if start < end else not end <= moment < start
    return zone.standard + zone.saving * summer


@functools.cache
def hours_around(name: str, year: int) -> list[datetime]:
    """Every half hour of the two days around each change of a year, and one moment of each month."""
    zone = ZoneInfo(name)
    found = [datetime(year, month, 15, tzinfo=UTC) for month in range(1, 13)]
    day = datetime(year, 1, 1, tzinfo=UTC)
    while day.year == year:
        if day.astimezone(zone).utcoffset() != (day + timedelta(days=1)).astimezone(zone).utcoffset():
            found += [day + timedelta(minutes=minutes) for minutes in range(-60, 26 * 60, 30)]
        day += timedelta(days=1)
    return found


def same(name: str, zone: Zone) -> None:
    for year in YEARS:
        for moment in hours_around(name, year):
            real = moment.astimezone(ZoneInfo(name)).utcoffset()
            assert real is not None
            assert offset_by(zone, moment) == real.total_seconds(), (name, moment)


def _change(month: str, week: str, weekday: str, seconds: int) -> Change:
    return Change(int(month), int(week), int(weekday) % 7, seconds)


@pytest.mark.parametrize("name", ZONES)
def test_the_rule_of_a_zone_is_zoneinfos(name: str) -> None:
    same(name, parse(rule_of(name)))


@pytest.mark.parametrize("name", ZONES)
def test_grandstream_is_told_the_same_rule_with_plain_names(name: str) -> None:
    text = tell(parse(rule_of(name)), 0).posix
    assert re.fullmatch(r"STD-?[0-9:]+(DST-?[0-9:]+,M[0-9./:-]+,M[0-9./:-]+)?", text)
    same(name, parse(text))


@pytest.mark.parametrize("name", WEEKLY)
def test_yealink_changes_when_the_branch_does(name: str) -> None:
    told = tell(parse(rule_of(name)), 0)
    assert told.yealink_summer == 1
    sign, hours, minutes = re.fullmatch(r"([+-])([0-9]+)(?::([0-9]{2}))?", told.yealink_zone).groups()  # type: ignore[union-attr]
    standard = (int(hours) * 60 + int(minutes or 0)) * (60 if sign == "+" else -60)

    def read(text: str) -> Change:
        month, week, weekday, hour = text.split("/")
        return _change(month, week, weekday, int(hour) * 3600)

    same(name, Zone(standard, told.yealink_saving * 60, read(told.yealink_start), read(told.yealink_end)))


@pytest.mark.parametrize("name", WEEKLY)
def test_snom_and_fanvil_change_when_the_branch_does(name: str) -> None:
    told = tell(parse(rule_of(name)), 0)
    saving, start, start_time, end, end_time = told.snom_dst.split(" ")

    def read(day: str, clock: str) -> Change:
        month, week, weekday = day.split(".")
        hours, minutes, seconds = clock.split(":")
        return _change(month, week, weekday, int(hours) * 3600 + int(minutes) * 60 + int(seconds))

    same(name, Zone(told.snom_offset, int(saving), read(start, start_time), read(end, end_time)))
    same(name, Zone(told.fanvil_zone * 900, told.fanvil_saving * 60, told.fanvil_start, told.fanvil_end))


def test_examples_of_the_makers() -> None:
    berlin = tell(parse("CET-1CEST,M3.5.0,M10.5.0/3"), 0)
    assert berlin.snom_dst == "3600 03.05.07 02:00:00 10.05.07 03:00:00"      # as Snom's manual has it for Germany
    assert (berlin.yealink_zone, berlin.yealink_start, berlin.yealink_end, berlin.yealink_saving) == ("+1", "3/5/7/2", "10/5/7/3", 60)
    assert (berlin.fanvil_zone, berlin.fanvil_summer) == (4, 2)
    china = tell(parse("CST-8"), 0)
    assert (china.yealink_zone, china.yealink_summer, china.snom_offset, china.snom_dst, china.posix) == ("+8", 0, 28800, "", "STD-8")
    assert tell(parse("<+0545>-5:45"), 0).yealink_zone == "+5:45"


def test_what_a_make_cannot_express_is_todays_offset() -> None:
    """Greenland changes on the Saturday before the last Sunday."""
    nuuk = parse("<-02>2<-01>,M3.5.0/-1,M10.5.0/0")
    told = tell(nuuk, -3600)
    assert (told.yealink_zone, told.yealink_summer, told.snom_dst, told.fanvil_summer) == ("-1", 0, "", 0)
    assert told.posix == "STD2DST1,M3.5.0/-1,M10.5.0/0"


WRONG = ["", "CET", "CET-1CEST,J60,J300", "CET-1CEST,M13.5.0,M10.5.0", "CET-1CEST,M3.5.0", "\n", "CET-1CEST,M3.6.0,M10.5.0"]


@pytest.mark.parametrize("rule", WRONG)
def test_rules_that_cannot_be_read_are_refused(rule: str) -> None:
    with pytest.raises(ConfigError):
        parse(rule)


def test_the_last_week_of_a_month_that_ends_on_that_day() -> None:
    assert Change(5, 5, 0).day(2026) == date(2026, 5, 31)
    assert Change(2, 5, 0).day(2026) == date(2026, 2, 22)
