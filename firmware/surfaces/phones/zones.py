"""Time zone and summer time as each make of telephone wants to be told (pure).

Theory of operation
-------------------
A zone of the IANA data base ends with its rule for all years to come in the form of POSIX 1003.1 section 8.3
("CET-1CEST,M3.5.0,M10.5.0/3"; RFC 9636 section 3.3: the footer of its file). `parse` reads that; each make gets what it can express:
* Yealink: whole hours, "month/week/weekday/hour" (week 5 is the last, Monday is 1) with the saving in minutes;
* Snom: offset in seconds, "saving mm.ww.dd hh:mm:ss mm.ww.dd hh:mm:ss";
* Grandstream: the POSIX text itself, with plain names;
* Fanvil: quarters of an hour, month, week, weekday (Sunday is 0), hour.
A rule that a make cannot express (a change at a quarter to three, on the Saturday before the last Sunday) is told as the offset of today
without summer time; telephones fetch their file every day, so theirs is then right from the day after a change.
Invariants: the summer's offset is above the standard one (Ireland writes it the other way round); changes are in local wall time before
the change.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

from msgspec import Struct

from firmware.errors import ConfigError

HOUR = 3600
DAY = 86_400
_NAME = r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{1,}>)"
_TIME = r"[+-]?[0-9]{1,3}(?::[0-9]{2}(?::[0-9]{2})?)?"
_RULE = re.compile(
    rf"(?P<std>{_NAME})(?P<off>{_TIME})(?:(?P<dst>{_NAME})(?P<dstoff>{_TIME})?(?:,(?P<start>[^,]+),(?P<end>[^,]+))?)?\Z"
)
_CHANGE = re.compile(rf"M(?P<month>[0-9]{{1,2}})\.(?P<week>[1-5])\.(?P<day>[0-6])(?:/(?P<time>{_TIME}))?\Z")


class Change(Struct, frozen=True):
    """When the clock changes: the `week`th (5: the last) `weekday` (Sunday 0) of `month`, `seconds` of local time after its midnight."""

    month: int
    week: int
    weekday: int
    seconds: int = 2 * HOUR

    def day(self, year: int) -> date:
        """The day whose midnight `seconds` count from."""
        first = date(year, self.month, 1)
        found = first + timedelta(days=(self.weekday - (first.weekday() + 1)) % 7 + 7 * (self.week - 1))
        while found.month != self.month:
            found -= timedelta(days=7)
        return found


class Zone(Struct, frozen=True):
    """Seconds east of UTC in winter, and what summer adds; `start` and `end` are None where there is no summer time."""

    standard: int
    saving: int = 0
    start: Change | None = None
    end: Change | None = None


def _seconds(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    hours, minutes, seconds = ([int(part) for part in text.lstrip("+-").split(":")] + [0, 0])[:3]
    return sign * (hours * HOUR + minutes * 60 + seconds)


def _change(text: str, rule: str) -> Change:
    found = _CHANGE.match(text)
    if found is None or not 1 <= int(found["month"]) <= 12:
        raise ConfigError(f"time zone rule {rule!r}: {text!r} is not of the form M3.5.0/2; telephones know no other")
    return Change(int(found["month"]), int(found["week"]), int(found["day"]), _seconds(found["time"] or "2"))


def parse(rule: str) -> Zone:
    """Read a POSIX rule. Raises ConfigError."""
    found = _RULE.match(rule)
    if found is None:
        raise ConfigError(f"time zone rule {rule!r} cannot be read; it is written like CET-1CEST,M3.5.0,M10.5.0/3")
    standard = -_seconds(found["off"])
    if not found["dst"] or not found["start"]:
        return Zone(standard)
    summer = -_seconds(found["dstoff"]) if found["dstoff"] else standard + HOUR
    start, end = _change(found["start"], rule), _change(found["end"], rule)
    if summer < standard:            # Europe/Dublin: "standard" is summer, and winter saves minus one hour
        return Zone(summer, standard - summer, end, start)
    return Zone(standard, summer - standard, start, end)


def _settled(change: Change) -> bool:
    """True when the change is on its own day, in a whole hour."""
    return 0 <= change.seconds < DAY and change.seconds % HOUR == 0


def _by_week(zone: Zone) -> tuple[Change, Change] | None:
    """The changes of summer time where every make can express them."""
    if zone.start is None or zone.end is None or not (_settled(zone.start) and _settled(zone.end)) or zone.saving % 60:
        return None
    return zone.start, zone.end


def _from_monday(weekday: int) -> int:
    return weekday or 7


def _flat(zone: Zone, now: int) -> int:
    """The offset to tell without summer time: today's, where summer time cannot be expressed. `now`: offset of today in seconds."""
    return zone.standard if zone.start is None else now


class Told(Struct, frozen=True):
    """What templates use, one field for each make and setting; "" where the make wants nothing."""

    yealink_zone: str
    yealink_summer: int
    yealink_start: str
    yealink_end: str
    yealink_saving: int
    snom_offset: int
    snom_dst: str
    posix: str
    fanvil_zone: int
    fanvil_summer: int
    fanvil_saving: int
    fanvil_start: Change | None
    fanvil_end: Change | None


def tell(zone: Zone, now: int) -> Told:
    """The zone for all makes. `now`: seconds east of UTC today, for what a make cannot express."""
    weekly = _by_week(zone)
    flat = zone.standard if weekly else _flat(zone, now)
    sign = "-" if flat < 0 else "+"
    hours, minutes = divmod(abs(flat) // 60, 60)
    return Told(
        yealink_zone=f"{sign}{hours}" + (f":{minutes:02d}" if minutes else ""),
        yealink_summer=1 if weekly else 0,
        yealink_start=_yealink(weekly[0]) if weekly else "",
        yealink_end=_yealink(weekly[1]) if weekly else "",
        yealink_saving=zone.saving // 60 if weekly else 0,
        snom_offset=flat,
        snom_dst=f"{zone.saving} {_snom(weekly[0])} {_snom(weekly[1])}" if weekly else "",
        posix=_posix(zone),
        fanvil_zone=round(flat / (HOUR // 4)),
        fanvil_summer=2 if weekly else 0,
        fanvil_saving=zone.saving // 60 if weekly else 0,
        fanvil_start=weekly[0] if weekly else None,
        fanvil_end=weekly[1] if weekly else None,
    )


def _yealink(change: Change) -> str:
    return f"{change.month}/{change.week}/{_from_monday(change.weekday)}/{change.seconds // HOUR}"


def _snom(change: Change) -> str:
    hours, rest = divmod(change.seconds, HOUR)
    return f"{change.month:02d}.{change.week:02d}.{_from_monday(change.weekday):02d} {hours:02d}:{rest // 60:02d}:{rest % 60:02d}"


def _clock(seconds: int) -> str:
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    text = f"{sign}{seconds // HOUR}"
    return text + (f":{seconds % HOUR // 60:02d}" if seconds % HOUR else "")


def _posix(zone: Zone) -> str:
    if zone.start is None or zone.end is None:
        return "STD" + _clock(-zone.standard)
    rules = "".join(
        f",M{one.month}.{one.week}.{one.weekday}" + ("" if one.seconds == 2 * HOUR else f"/{_clock(one.seconds)}")
        for one in (zone.start, zone.end)
    )
    return f"STD{_clock(-zone.standard)}DST{_clock(-zone.standard - zone.saving)}{rules}"
