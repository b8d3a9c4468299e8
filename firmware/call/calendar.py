"""What a day and an instant are for the branch: holiday, half day, open, lunch, closed; and the greeting (L1, pure; part E, E5-E7, GRT).

Theory of operation
-------------------
Each date has one `Day`, decided by the first that knows it: an entry of the branch or its centre with a year ("notice"), the
government's plan of the year ("official"), the public holidays ("statutory"), else the weekly pattern ("weekly"). `Calendar.at` gives the
class of an instant for one set of opening hours: the night key goes before everything, then the spans of that day. A span that ends
after midnight belongs to the day it began on. Local time is handed in (`LocalTime`): zones and daylight saving are resolved by whoever
knows the zone, so an hour that a change of the clock skips or repeats is what the wall clock shows. A boundary belongs to the later part.
A year that no table knows is an ordinary week, never an error; `ends` says until when everything is known.
Invariants: pure; the same answers for a live call, a report and a dry run; the cache is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Literal

import msgspec

from firmware.call.times import LocalTime, greeting, minutes_of
from firmware.config import holidays as public
from firmware.config.schema.calendar import Holiday, OfficialYear, OpeningHours
from firmware.config.schema.tree import Config

State = Literal["open", "lunch", "closed", "holiday", "night"]
Level = Literal["manual", "notice", "official", "statutory", "weekly"]
Kind = Literal["ordinary", "holiday", "half", "work"]
MINUTES_OF_DAY = 1440
_KEPT_DAYS = 400
_LOOK_AHEAD = 15                        # days in which the next opening is looked for: longer than any official holiday


class Night(msgspec.Struct, frozen=True):
    """The night key. `mode` "night" or "open" goes before the calendar until `until_ms` (Unix ms, 0: until it is changed)."""

    mode: Literal["auto", "night", "open"] = "auto"
    until_ms: int = 0

    def now(self, unix_ms: int) -> Literal["auto", "night", "open"]:
        """What holds at an instant; the end belongs to what comes after it."""
        return "auto" if self.until_ms and unix_ms >= self.until_ms else self.mode


class Day(msgspec.Struct, frozen=True):
    """What a date is. `name`: of the holiday or entry; `title` by language; `hours`: of the entry itself, in place of the usual ones."""

    kind: Kind
    level: Level
    name: str = ""
    title: dict[str, str] = {}
    hours: tuple[str, ...] = ()


class Moment(msgspec.Struct, frozen=True):
    """The class of an instant for a set of opening hours, and what decided it."""

    state: State
    level: Level
    day: Day


class Calendar:
    """See the theory of operation. One for each configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config
        chosen = config.calendar.country
        self.country = config.site.country if chosen == "site" else chosen
        self._table = None if self.country == "none" else public.country(self.country)
        self._days: dict[date, Day] = {}
        self._public: dict[int, dict[date, public.PublicDay]] = {}

    # --- days ---------------------------------------------------------------------------------------------------------

    def day(self, on: date) -> Day:
        """What a date is; see the theory of operation."""
        known = self._days.get(on)
        if known is None:
            if len(self._days) >= _KEPT_DAYS:
                self._days.clear()
            known = self._days[on] = self._decided(on)
        return known

    def _decided(self, on: date) -> Day:
        for dated in (True, False):
            for name, entry in self.config.holidays.items():
                if entry.day != "greeting" and dated == is_dated(entry) and covers(entry, on):
                    kind: Kind = entry.day
                    return Day(kind, "notice" if dated else "statutory", name, hours=tuple(entry.hours))
            if dated and (official := self._official(on)) is not None:
                return official
        found = self._statutory(on.year).get(on)
        return Day("ordinary", "weekly") if found is None else Day("holiday", "statutory", found.name, {"en": found.en, "zh": found.zh})

    def official_year(self, year: int) -> OfficialYear | None:
        """The government's plan of a year: the configuration's, else the one shipped."""
        shipped = self._table.official if self._table is not None else {}
        return self.config.calendar.official.get(str(year)) or shipped.get(str(year))

    def _official(self, on: date) -> Day | None:
        plan = self.official_year(on.year)
        if plan is None:
            return None
        if public.in_days(on, plan.work):
            return Day("work", "official")
        span = public.in_days(on, plan.off)
        if not span:
            return None
        inside = [one for day, one in sorted(self._statutory(on.year).items()) if public.in_days(day, [span])]
        named = inside[0] if inside else None
        return Day("holiday", "official", named.name, {"en": named.en, "zh": named.zh}) if named else Day("holiday", "official")

    def _statutory(self, year: int) -> dict[date, public.PublicDay]:
        if self._table is None:
            return {}
        if year not in self._public:
            if len(self._public) >= 8:
                self._public.clear()
            self._public[year] = public.public_days(self.country, self.config.calendar.region, year)
        return self._public[year]

    def ends(self, today: date) -> date | None:
        """The last date that is fully known, seen from `today`; None where nothing depends on tables."""
        if self._table is None:
            return None
        last = self._table.last_year
        if self._table.swaps:
            year = today.year - 1
            while year < last and self.official_year(year + 1) is not None:
                year += 1
            last = year
        return date(last, 12, 31)

    # --- hours --------------------------------------------------------------------------------------------------------

    def at(self, name: str, local: LocalTime, night: Night | None = None) -> Moment:
        """The class of an instant for the opening hours `name`; unknown hours are always open."""
        today = date(local.year, local.month, local.day)
        hours = self.config.hours.get(name)
        day = self.day(today)
        key = night.now(local.unix_ms) if night is not None else "auto"
        if key != "auto":
            return Moment("night" if key == "night" else "open", "manual", day)
        if hours is None:
            return Moment("open", "weekly", day)
        seen = day if hours.holidays else Day("ordinary", "weekly")
        spans = self.spans(hours, today)
        late = [(first - MINUTES_OF_DAY, last - MINUTES_OF_DAY) for first, last in self.spans(hours, today - timedelta(days=1))]
        if any(first <= local.minutes < last for first, last in (*late, *spans)):
            return Moment("open", seen.level, seen)
        if seen.kind == "holiday":
            return Moment("holiday", seen.level, seen)
        between = bool(spans) and spans[0][0] <= local.minutes < spans[-1][1]
        return Moment("lunch" if between else "closed", seen.level, seen)

    def spans(self, hours: OpeningHours, on: date) -> list[tuple[int, int]]:
        """Minutes from and to which it is open on a date, in order; beyond 1440 is after midnight."""
        return sorted(_minutes(span) for span in self._written(hours, on))

    def _written(self, hours: OpeningHours, on: date) -> Sequence[str]:
        day = self.day(on)
        usual: list[str] = getattr(hours, public.WEEKDAYS[on.weekday()])
        if not hours.holidays or day.kind == "ordinary":
            return usual
        if day.hours:
            return day.hours
        if day.kind == "work":
            return usual if on.weekday() < 5 or (usual and day.level != "official") else getattr(hours, hours.made_up)
        if day.kind == "half":
            return hours.half or sorted(usual)[:1]
        return hours.holiday

    def told(self, name: str, local: LocalTime, state: State) -> str:
        """The hours that a caller is told, "08:30-12:00,13:00-18:00": of the holiday, else of the next day that is open; "" for none."""
        hours = self.config.hours.get(name)
        today = date(local.year, local.month, local.day)
        if hours is None:
            return ""
        if state == "holiday":
            return ",".join(_told(self._written(hours, today)))
        for ahead in range(_LOOK_AHEAD):
            on = today + timedelta(days=ahead)
            ordinary = not hours.holidays or self.day(on).kind in ("ordinary", "work")
            if ordinary and (written := self._written(hours, on)):
                return ",".join(_told(written))
        return ""

    # --- greetings ----------------------------------------------------------------------------------------------------

    def greetings(self, local: LocalTime) -> list[str]:
        """Prompts that greet a caller at this time: of the day part, of the season, or both, as the site has it."""
        usual = greeting(self.config.day_parts, local)
        season = "" if self.config.calendar.festive == "no" else self.season(date(local.year, local.month, local.day))
        if not season:
            return [usual]
        return [season] if self.config.calendar.festive == "instead" else [usual, season]

    def season(self, on: date) -> str:
        """The festive greeting of a date, "" for none: the branch's own before the country's."""
        for dated in (True, False):
            for entry in self.config.holidays.values():
                if entry.greeting and dated == is_dated(entry) and covers(entry, on):
                    return entry.greeting
        windows = {one.prompt: (one, self._window(one, on)) for one in (self._table.greetings if self._table is not None else ())}
        for one, days in windows.values():
            other = windows.get(one.joins, (one, ()))[1]
            if days and other and days[0] <= other[-1] + public.DAY and other[0] <= days[-1] + public.DAY and (on in days or on in other):
                return one.joined
        return next((one.prompt for one, days in windows.values() if on in days), "")

    def _window(self, one: public.FestiveGreeting, on: date) -> tuple[date, ...]:
        if self._table is None or on.year > self._table.last_year:
            return ()
        first = public.resolve(one.rule, on.year)
        return tuple(first + index * public.DAY for index in range(one.days)) if first is not None else ()


def is_dated(entry: Holiday) -> bool:
    """Whether an entry is for one year: such a one is a notice that goes before the official plan."""
    return entry.first[:4].isdigit() and entry.first[4:5] == "-"


def covers(entry: Holiday, on: date) -> bool:
    """Whether a date is one of an entry's days."""
    if is_dated(entry) and entry.last:
        return entry.first <= on.isoformat() <= entry.last
    for year in (on.year, on.year - 1):             # a range may begin in the year before
        first = public.resolve(entry.first, year)
        if first is not None and first <= on < first + entry.days * public.DAY:
            return True
    return False


def _minutes(span: str) -> tuple[int, int]:
    first, _, last = span.partition("-")
    begin, end = minutes_of(first), minutes_of(last)
    return begin, end if end > begin else end + MINUTES_OF_DAY


def _told(spans: Sequence[str]) -> list[str]:
    return sorted(spans)
