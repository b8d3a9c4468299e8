"""The calendar of a branch: public holidays, the year's official swaps, the branch's own days, opening hours by name."""

from typing import Annotated, Literal

from msgspec import Meta

from firmware.config.schema.base import Entry, about
from firmware.config.schema.destinations import KINDS, Destination

Span = Annotated[
    str,
    Meta(
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$",
        description="hh:mm-hh:mm local time; an end that is not after the begin is on the next day",
    ),
]
YearDays = Annotated[
    str, Meta(pattern=r"^([01][0-9]-[0-3][0-9]/)?[01][0-9]-[0-3][0-9]$", description="MM-DD or MM-DD/MM-DD, both included")
]
DayRule = (
    r"^([0-9]{4}-[01][0-9]-[0-3][0-9]|[01][0-9]-[0-3][0-9]|@[a-z]+([+-][0-9]{1,3})?|easter[+-][0-9]{1,3}|"
    r"([1-5]|last) (mon|tue|wed|thu|fri|sat|sun) [01][0-9])$"
)
OptionalDestination = Annotated[
    str, about("As a destination, or empty", pattern=rf"^(({'|'.join(KINDS)})/[A-Za-z0-9_.-]+|hangup)?$", ref="destinations")
]
WeekDay = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class OfficialYear(Entry, frozen=True):
    """What the government has ordered for one year: the table key is the year."""

    off: Annotated[list[YearDays], about("Days off, also on working days", max_length=60)] = []
    work: Annotated[list[YearDays], about("Days at a weekend that are worked instead", max_length=60)] = []
    source: Annotated[str, about("Where it was published", max_length=200)] = ""


class Calendar(Entry, frozen=True):
    """Which public holidays hold here and what callers are wished."""

    country: Annotated[
        Literal["site", "none", "CN", "US", "UK", "DE", "FR", "AU"], about("Public holidays and festive greetings of this country")
    ] = "site"
    region: Annotated[
        str,
        about("Region with holidays of its own: UK ENG, WLS, SCT, NIR (empty: ENG); DE BB, BY, ...; empty: what all have",
              pattern=r"^[A-Z]{0,3}$"),
    ] = ""
    festive: Annotated[
        Literal["instead", "after", "no"], about("Festive greetings: instead of the greeting of the day part, after it, or not at all")
    ] = "instead"
    official: Annotated[
        dict[str, OfficialYear], about("The government's plan by year; the year given here replaces the one shipped", max_length=30)
    ] = {}
    night_ends: Annotated[
        str,
        about("Local time at which the night key falls back by itself; empty: not before somebody turns it",
              pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$"),
    ] = "06:00"
    alarm_days: Annotated[
        int, about("So many days before the known days end an alarm asks for the next year's", unit="days", ge=1, le=365)
    ] = 60


class Holiday(Entry, frozen=True, kw_only=True):
    """A day or range of the branch's own; the table key is its name. With a year it goes before everything but the night key."""

    first: Annotated[
        str,
        about("First day: 2026-02-16; or every year MM-DD, @spring (@lantern, @qingming, @dragonboat, @midautumn, also @spring-1), "
              "easter+1, 2 mon 05, last mon 05", pattern=DayRule),
    ]  # fmt: skip
    last: Annotated[
        str, about("Last day of a range that begins with a date of a year: 2026-02-23", pattern=r"^([0-9]{4}-[01][0-9]-[0-3][0-9])?$")
    ] = ""
    days: Annotated[int, about("Length of a range that is named otherwise", unit="days", ge=1, le=60)] = 1
    day: Annotated[
        Literal["holiday", "half", "work", "greeting"],
        about("What such a day is: a holiday, a half day, a working day whatever the calendar says, or only a greeting on it"),
    ] = "holiday"
    hours: Annotated[list[Span], about("Open all the same at these times, in place of the hours' own for such days", max_length=6)] = []
    greeting: Annotated[str, about("Prompt id of the greeting in this time; empty: the one of the calendar", pattern=r"^[a-z0-9.]*$")] = ""


class OpeningHours(Entry, frozen=True):
    """When somebody answers, and where calls go at each time; the table key is the name that hours/NAME leads to."""

    mon: list[Span] = []
    tue: list[Span] = []
    wed: list[Span] = []
    thu: list[Span] = []
    fri: list[Span] = []
    sat: list[Span] = []
    sun: list[Span] = []
    half: Annotated[list[Span], about("On half days; empty: the first span of that weekday", max_length=6)] = []
    holiday: Annotated[list[Span], about("On holidays; empty: closed all day", max_length=6)] = []
    holidays: Annotated[bool, about("Holidays count; without them only the week and the night key do")] = True
    made_up: Annotated[WeekDay, about("A weekend day that is worked instead of another has the hours of this weekday")] = "mon"
    to: Annotated[Destination, about("Where calls go while open")] = "hangup"
    at_lunch: Annotated[OptionalDestination, about("Between two spans of a day; empty: as closed")] = ""
    closed: Annotated[Destination, about("While closed; announce/PROMPT may say {hours}")] = "announce/night.msg"
    on_holiday: Annotated[OptionalDestination, about("While closed for a holiday; empty: as closed")] = "announce/holiday.msg"
    night: Annotated[OptionalDestination, about("While the night key is on; empty: as closed")] = ""
