"""Public holidays and festive greetings of a country, as data: `calendars/CC.toml`; Chinese dates in `calendars/lunar.toml` (L1, pure).

Theory of operation
-------------------
A rule names one day of a year: "05-01"; "@spring" (a date of the lunar table, "@spring-1" the day before); "easter+39" (Gregorian
Easter, Meeus' algorithm); "3 mon 01" and "last mon 05" (third Monday of January, last of May); "wed before 11-23". `days` makes a
range of it. A day that falls on a weekend may be observed on a working day too: "nearest" (Saturday: the Friday before, Sunday: the
Monday after) or "next" (the next weekday that is no holiday by itself). Pure: files of the package, no clock.
Invariants: a year that a table does not have gives no day of it, never an error; a file that cannot be read is a ConfigError.
"""

from __future__ import annotations

import pkgutil
import re
import tomllib
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Literal

import msgspec

from firmware.config.schema.calendar import OfficialYear
from firmware.errors import ConfigError

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = timedelta(days=1)
_NTH = re.compile(r"([1-5]|last) (mon|tue|wed|thu|fri|sat|sun) ([0-9]{2})")
_BEFORE = re.compile(r"(mon|tue|wed|thu|fri|sat|sun) before ([0-9]{2}-[0-9]{2})")


class PublicDay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A public holiday: `days` from the day that `rule` names; `regions` that have it, empty for all."""

    name: str
    en: str
    zh: str
    rule: str
    days: int = 1
    observed: Literal["", "nearest", "next"] = ""
    regions: tuple[str, ...] = ()


class FestiveGreeting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A greeting in its window. Where the window meets that of the greeting `joins`, both windows have the greeting `joined`."""

    prompt: str
    rule: str
    days: int = 1
    joins: str = ""
    joined: str = ""


class Country(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One country's file. `swaps`: a year is fully known only with its official plan; `region`: what an empty region means."""

    country: str
    last_year: int
    source: str
    days: tuple[PublicDay, ...]
    greetings: tuple[FestiveGreeting, ...] = ()
    official: dict[str, OfficialYear] = {}
    first_year: int = 2024
    swaps: bool = False
    regions: tuple[str, ...] = ()
    region: str = ""


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (J. Meeus, Astronomical Algorithms, chapter 8)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (a + 11 * h) // 319
    r = (2 * e + 2 * i - k - h + m + 32) % 7
    month = (h - m + r + 90) // 25
    return date(year, month, (h - m + r + month + 19) % 32)


@lru_cache(maxsize=1)
def lunar() -> dict[int, dict[str, str]]:
    """Year -> name -> MM-DD."""
    return {int(year): dates for year, dates in _file("lunar")["years"].items()}


@lru_cache(maxsize=8)
def country(code: str) -> Country:
    """The file of a country. Raises ConfigError."""
    try:
        return msgspec.convert(_file(code), Country)
    except msgspec.ValidationError as error:
        raise ConfigError(f"calendar of {code}: {error}") from None


def _file(name: str) -> dict[str, Any]:
    data = pkgutil.get_data("firmware.config", f"calendars/{name}.toml")
    if data is None:
        raise ConfigError(f"there is no calendar {name!r}")
    return tomllib.loads(data.decode("utf-8"))


def plain_date(year: int, text: str) -> date | None:
    """The date of "MM-DD" in a year; None where that year has none such (02-29)."""
    try:
        return date(year, int(text[:2]), int(text[3:]))
    except ValueError:
        return None


def resolve(rule: str, year: int) -> date | None:
    """The day that a rule names in a year; None where it names none."""
    if not 1 <= year <= 9998:
        return None
    if rule.startswith("@"):
        name, _, shift = rule[1:].replace("-", "+-").partition("+")
        known = lunar().get(year, {}).get(name, "")
        found = plain_date(year, known) if known else None
        return found + int(shift or 0) * DAY if found else None
    if rule.startswith("easter"):
        return easter(year) + int(rule.removeprefix("easter")) * DAY
    if nth := _NTH.fullmatch(rule):
        return _weekday(year, nth[1], WEEKDAYS.index(nth[2]), int(nth[3]))
    if before := _BEFORE.fullmatch(rule):
        end = plain_date(year, before[2])
        return end - ((end.weekday() - WEEKDAYS.index(before[1]) - 1) % 7 + 1) * DAY if end else None
    if rule[:4].isdigit():
        return _full_date(rule) if rule.startswith(str(year)) else None
    return plain_date(year, rule)


def _full_date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _weekday(year: int, which: str, weekday: int, month: int) -> date | None:
    try:
        first = date(year, month, 1)
    except ValueError:
        return None
    if which == "last":
        last = (first + 31 * DAY).replace(day=1) - DAY
        return last - ((last.weekday() - weekday) % 7) * DAY
    found = first + ((weekday - first.weekday()) % 7 + 7 * (int(which) - 1)) * DAY
    return found if found.month == month else None


def public_days(code: str, region: str, year: int) -> dict[date, PublicDay]:
    """Public holidays of a year with those observed on another day, by date; of two on one day the first of the file."""
    table = country(code)
    region = region or table.region
    found: dict[date, PublicDay] = {}
    for around in (year - 1, year, year + 1):
        if not table.first_year <= around <= table.last_year:
            continue
        for day, known in _year(table, region, around).items():
            if day.year == year:
                found.setdefault(day, known)
    return found


def _year(table: Country, region: str, year: int) -> dict[date, PublicDay]:
    found: dict[date, PublicDay] = {}
    for one in table.days:
        first = resolve(one.rule, year)
        if first is None or (one.regions and region not in one.regions):
            continue
        for index in range(one.days):
            found.setdefault(first + index * DAY, one)
    for day, one in sorted(found.items(), key=lambda item: item[0]):
        if day.weekday() < 5 or not one.observed:
            continue
        other = day - DAY if one.observed == "nearest" and day.weekday() == 5 else day + DAY
        while one.observed == "next" and (other.weekday() > 4 or other in found):
            other += DAY
        found.setdefault(other, one)
    return found


def in_days(day: date, spans: list[str]) -> str:
    """The span ("MM-DD" or "MM-DD/MM-DD") of a year's list that holds `day`, "" for none."""
    for span in spans:
        first, _, last = span.partition("/")
        if first <= f"{day:%m-%d}" <= (last or first):
            return span
    return ""
