"""The shipped calendars against programs of other people: chinesecalendar, holidays and lunardate (needed for tests only)."""

from __future__ import annotations

import warnings
from datetime import date, timedelta
from typing import Any

import chinese_calendar
import holidays
import lunardate
import pytest

from firmware.call.calendar import Calendar
from firmware.config.holidays import WEEKDAYS, country, easter, lunar, public_days, resolve
from firmware.config.schema.calendar import OpeningHours
from firmware.config.schema.system import Site
from firmware.config.schema.tree import Config

YEARS = range(2025, 2041)
WEEK = OpeningHours(**{day: ["09:00-17:00"] for day in WEEKDAYS[:5]})


def theirs(code: str, region: str, year: int) -> set[date]:
    kind: Any = getattr(holidays, {"UK": "UK"}.get(code, code))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return set(kind(subdiv=region or None, years=year, observed=code != "CN"))    # swaps of China are the plan's, not the law's


def test_every_lunar_date_is_computed_alike() -> None:
    assert sorted(lunar()) == list(range(2024, 2041))
    days = {"spring": (1, 1), "lantern": (1, 15), "dragonboat": (5, 5), "midautumn": (8, 15)}
    for year, table in lunar().items():
        for name, (month, day) in days.items():
            assert f"{lunardate.LunarDate(year, month, day).to_solar_date():%m-%d}" == table[name], (year, name)
        assert table["qingming"] in ("04-04", "04-05")


def test_china_works_and_rests_as_the_state_council_has_ordered() -> None:
    calendar = Calendar(Config(hours={"office": WEEK}))
    day = date(2024, 1, 1)
    while day <= date(2026, 12, 31):
        worked = bool(calendar.spans(WEEK, day))
        assert worked == chinese_calendar.is_workday(day), day
        day += timedelta(days=1)


def test_statutory_days_of_china_are_those_of_the_projection() -> None:
    for year in range(2027, 2041):
        assert set(public_days("CN", "", year)) == theirs("CN", "", year), year
    for year in YEARS:
        days = public_days("CN", "", year)
        assert len(days) == (12 if year in (2028, 2031, 2039) else 13), year        # Mid-Autumn is one of National Day's three days


@pytest.mark.parametrize(
    "code, region",
    [("US", ""), ("FR", ""), ("DE", ""), *(("DE", one) for one in country("DE").regions), *(("UK", one) for one in country("UK").regions)],
)
def test_public_holidays_of_other_countries(code: str, region: str) -> None:
    for year in YEARS:
        assert set(public_days(code, region, year)) == theirs(code, region, year), year


def test_public_holidays_that_all_of_australia_has() -> None:
    for year in YEARS:
        common = set.intersection(*(theirs("AU", state, year) for state in holidays.AU.subdivisions))
        ours = set(public_days("AU", "", year))
        assert {day for day in ours if day.weekday() < 5} == {day for day in common if day.weekday() < 5}, year
        assert common <= ours, year


def test_easter_of_four_hundred_years() -> None:
    from dateutil.easter import easter as other

    assert all(easter(year) == other(year) for year in range(1900, 2300))


def test_rules_name_days() -> None:
    assert resolve("3 mon 01", 2026) == date(2026, 1, 19) and resolve("last mon 05", 2026) == date(2026, 5, 25)
    assert resolve("5 mon 02", 2026) is None and resolve("02-29", 2027) is None and resolve("@spring", 2099) is None
    assert resolve("@spring-1", 2026) == date(2026, 2, 16) and resolve("wed before 11-23", 2026) == date(2026, 11, 18)


@pytest.mark.parametrize("code", ["CN", "US", "UK", "DE", "FR", "AU"])
def test_a_year_beyond_the_tables_is_an_ordinary_week(code: str) -> None:
    calendar = Calendar(Config(site=Site(country=code), hours={"office": WEEK}))  # type: ignore[arg-type]
    for year in (1, 1999, 2041, 2100, 9998):
        assert calendar.day(date(year, 1, 2)).level == "weekly"
    assert calendar.season(date(2041, 1, 1)) == ""


def test_every_name_has_both_languages_and_every_file_its_source() -> None:
    for code in ("CN", "US", "UK", "DE", "FR", "AU"):
        table = country(code)
        assert table.source and table.last_year == 2040
        assert all(day.en and day.zh for day in table.days)
