"""Days, hours and greetings: who goes before whom, every boundary, every change of the clock (part E; E5-E7, GRT)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.call import actions as do
from firmware.call.calendar import Calendar, Night
from firmware.call.hours import next_at
from firmware.call.times import LocalTime, greeting
from firmware.config.model import check
from firmware.config.schema.calendar import Calendar as CalendarSettings
from firmware.config.schema.calendar import Holiday, OfficialYear, OpeningHours
from firmware.config.schema.calls import InboundRoute, Queue
from firmware.config.schema.system import Site
from firmware.config.schema.tree import Config
from firmware.core.explaining import local_time
from tests.unit.call_stage import Phone, Stage, config

WORKDAYS = ("mon", "tue", "wed", "thu", "fri")
OFFICE = OpeningHours(**{day: ["08:30-12:00", "13:00-18:00"] for day in WORKDAYS}, sat=["09:00-12:00"], half=["08:30-11:00"])
NIGHTS = OpeningHours(**{day: ["22:00-06:00"] for day in WORKDAYS})
ZONES = ("Europe/London", "Europe/Berlin", "America/New_York", "Australia/Sydney", "Australia/Lord_Howe", "Asia/Shanghai",
         "America/St_Johns")  # fmt: skip


def at(text: str) -> LocalTime:
    moment = datetime.fromisoformat(text)
    return LocalTime(moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, int(moment.timestamp() * 1000))


def calendar(**changes: object) -> Calendar:
    return Calendar(Config(**({"hours": {"office": OFFICE, "nights": NIGHTS}} | changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "time, state",
    [
        ("2026-03-02T08:29:59", "closed"), ("2026-03-02T08:30", "open"), ("2026-03-02T11:59:59", "open"), ("2026-03-02T12:00", "lunch"),
        ("2026-03-02T12:59", "lunch"), ("2026-03-02T13:00", "open"), ("2026-03-02T18:00", "closed"), ("2026-03-07T12:00", "closed"),
        ("2026-03-08T10:00", "closed"), ("2026-02-17T10:00", "holiday"), ("2026-02-28T10:00", "open"), ("2026-02-28T16:00", "open"),
    ],
)  # fmt: skip
def test_boundary_belongs_to_the_later_part(time: str, state: str) -> None:
    """A Monday, a Saturday, a Sunday, Spring Festival, and a Saturday that is worked instead of it."""
    assert calendar().at("office", at(time)).state == state


def test_who_goes_before_whom() -> None:
    """Manual over notice over official plan over statutory table over week; each of them taken away shows the next one."""
    notice = {"stocktaking": Holiday(first="2026-05-09", day="holiday")}
    yearly = {"founding": Holiday(first="03-02", day="half")}
    time = at("2026-05-09T10:00")                   # a Saturday that the plan makes a working day
    with_notice = calendar(holidays=notice | yearly)
    assert with_notice.at("office", time, Night("open")).level == "manual" and with_notice.at("office", time, Night("open")).state == "open"
    moment = with_notice.at("office", time)
    assert (moment.state, moment.level, moment.day.name) == ("holiday", "notice", "stocktaking")
    assert (calendar().at("office", time).state, calendar().at("office", time).level) == ("open", "official")
    none = calendar(calendar=CalendarSettings(country="none"))
    assert (none.at("office", time).state, none.at("office", time).level) == ("open", "weekly")
    assert none.at("office", at("2026-05-09T12:00")).state == "closed"         # Saturday's own hours, not Monday's
    assert with_notice.at("office", at("2026-03-02T11:30")).state == "closed"  # half day of the branch's own
    assert with_notice.at("office", at("2026-03-02T10:30")).level == "statutory"
    unplanned = calendar().at("office", at("2028-05-01T10:00"))
    assert (unplanned.state, unplanned.level, unplanned.day.name) == ("holiday", "statutory", "labour")
    assert unplanned.day.title == {"en": "Labour Day", "zh": "劳动节"}


def test_notice_of_the_centre_replaces_the_official_day_and_has_its_own_hours() -> None:
    pushed = calendar(holidays={"spring": Holiday(first="2026-02-16", last="2026-02-23", hours=["10:00-12:00"], greeting="greet.day")})
    assert pushed.at("office", at("2026-02-18T10:30")).state == "open"
    assert pushed.at("office", at("2026-02-18T12:00")).state == "holiday"
    assert pushed.told("office", at("2026-02-18T12:00"), "holiday") == "10:00-12:00"
    assert pushed.greetings(at("2026-02-18T10:00")) == ["greet.day"]
    assert pushed.at("office", at("2026-02-24T10:00")).state == "open"


def test_plan_of_a_year_comes_with_the_configuration() -> None:
    plan = OfficialYear(off=["02-05/02-11"], work=["02-13"], source="notice")
    given_plan = calendar(calendar=CalendarSettings(official={"2027": plan}))
    assert given_plan.at("office", at("2027-02-11T10:00")).level == "official"
    assert given_plan.at("office", at("2027-02-13T15:00")).state == "open"
    assert calendar().at("office", at("2027-02-11T10:00")).state == "open"
    assert str(given_plan.ends(date(2026, 3, 1))) == "2027-12-31" and str(calendar().ends(date(2026, 3, 1))) == "2026-12-31"
    assert str(calendar(site=Site(country="DE")).ends(date(2026, 3, 1))) == "2040-12-31"
    assert calendar(calendar=CalendarSettings(country="none")).ends(date(2026, 3, 1)) is None


def test_span_over_midnight_belongs_to_the_day_it_began_on() -> None:
    """Friday's span reaches into Saturday; Thursday before a holiday reaches into it; nothing begins on the holiday."""
    one = calendar(holidays={"day": Holiday(first="2026-03-06")})
    assert one.at("nights", at("2026-03-05T23:00")).state == "open"
    assert one.at("nights", at("2026-03-06T05:59")).state == "open"
    assert one.at("nights", at("2026-03-06T06:00")).state == "holiday"
    assert one.at("nights", at("2026-03-06T23:00")).state == "holiday"
    assert one.at("nights", at("2026-03-07T01:00")).state == "closed"
    assert calendar().at("nights", at("2026-03-07T01:00")).state == "open"


def test_night_key_ends_by_itself() -> None:
    until = at("2026-03-02T11:00")
    key = Night("night", until.unix_ms)
    assert calendar().at("office", at("2026-03-02T10:59:59"), key).state == "night"
    assert calendar().at("office", until, key).state == "open"
    assert calendar().at("office", at("2029-03-05T10:00"), Night("night")).state == "night"
    assert calendar().at("office", at("2026-03-08T10:00"), Night("open")).state == "open"


def test_hours_that_callers_are_told() -> None:
    one = calendar()
    assert one.told("office", at("2026-03-02T19:00"), "closed") == "08:30-12:00,13:00-18:00"
    assert one.told("office", at("2026-03-07T19:00"), "closed") == "09:00-12:00"
    assert one.told("office", at("2026-02-17T10:00"), "holiday") == ""
    assert one.told("unknown", at("2026-02-17T10:00"), "closed") == ""


@pytest.mark.parametrize(
    "time, prompts",
    [
        ("2026-01-01T10:00", "greet.newyear"), ("2026-02-16T10:00", "greet.morning"), ("2026-02-17T00:00", "greet.spring"),
        ("2026-02-24T23:59", "greet.spring"), ("2026-02-25T00:00", "greet.morning"), ("2026-03-03T19:00", "greet.lantern"),
        ("2026-05-01T12:00", "greet.labour"), ("2026-09-25T12:00", "greet.midautumn"), ("2026-09-26T12:00", "greet.afternoon"),
        ("2026-10-03T12:00", "greet.national"), ("2026-12-25T12:00", "greet.xmas"), ("2026-12-26T18:00", "greet.evening"),
        ("2027-02-13T09:00", "greet.spring"), ("2027-02-14T09:00", "greet.morning"),
    ],
)  # fmt: skip
def test_greeting_of_day_part_and_season(time: str, prompts: str) -> None:
    assert calendar().greetings(at(time)) == [prompts]
    after = calendar(calendar=CalendarSettings(festive="after")).greetings(at(time))
    assert after[-1] == prompts and len(after) == (1 if prompts in ("greet.morning", "greet.afternoon", "greet.evening") else 2)
    plain = calendar(calendar=CalendarSettings(festive="no")).greetings(at(time))
    assert plain == [greeting(Config().day_parts, at(time))]


def test_one_greeting_where_mid_autumn_meets_national_day() -> None:
    both = "greet.midautumn.national"
    met = [year for year in range(2026, 2041) if any(calendar().season(date(year, 10, day)) == both for day in range(1, 8))]
    assert met == [2028, 2031, 2036, 2039]
    assert {calendar().season(date(2028, 10, day)) for day in range(1, 8)} == {both}


# --- zones and changes of the clock ------------------------------------------------------------------------------------------


def transitions(zone: ZoneInfo, first: int, last: int) -> list[int]:
    """Unix seconds at which the offset of a zone changes, found by halving."""
    found = []
    step = 86_400
    start, end = int(datetime(first, 1, 1, tzinfo=UTC).timestamp()), int(datetime(last, 1, 1, tzinfo=UTC).timestamp())

    def offset(at: int) -> timedelta | None:
        return datetime.fromtimestamp(at, zone).utcoffset()

    for low, high in pairwise(range(start, end, step)):
        if offset(low) == offset(high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
        found.append(high)
    return found


@pytest.mark.parametrize("name", ZONES)
def test_every_change_of_the_clock_is_met_exactly(name: str) -> None:
    """Around each change the class is what the wall clock says, to the second, and hours end where the wall clock shows their end."""
    zone = ZoneInfo(name)
    hours = OpeningHours(**{day: ["01:30-02:30", "02:45-04:00"] for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")})
    one = calendar(hours={"x": hours}, calendar=CalendarSettings(country="none"))
    found = transitions(zone, 2024, 2031)
    assert bool(found) == (name != "Asia/Shanghai")
    for change in found:
        for second in (*range(change - 3, change + 4), *range(change - 10_800, change + 10_800, 97)):
            wall = datetime.fromtimestamp(second, zone).time()
            minutes = wall.hour * 60 + wall.minute
            expected = "open" if 90 <= minutes < 150 or 165 <= minutes < 240 else "lunch" if 150 <= minutes < 165 else "closed"
            assert one.at("x", local_time(second * 1000, zone)).state == expected, (name, second)


@given(st.sampled_from(ZONES), st.integers(1_700_000_000, 2_200_000_000), st.integers(0, 1439))
@settings(deadline=None)
def test_end_of_the_key_is_the_next_time_the_clock_shows_it(name: str, second: int, minute: int) -> None:
    zone = ZoneInfo(name)
    text = f"{minute // 60:02}:{minute % 60:02}"
    until = next_at(lambda now: local_time(now, zone), second * 1000, text) // 1000
    assert second < until <= second + 26 * 3600
    shown = datetime.fromtimestamp(until, zone)
    change = any(
        datetime.fromtimestamp(one, zone).utcoffset() != datetime.fromtimestamp(one + 3600, zone).utcoffset()
        for one in range(second - 3600, until + 7200, 3600)
    )
    assert f"{shown:%H:%M}" == text or change
    assert next_at(lambda now: local_time(now, zone), second * 1000, "") == 0


@given(st.datetimes(datetime(2024, 1, 1), datetime(2040, 12, 30)))
@settings(deadline=None)
def test_noon_belongs_to_the_afternoon_every_day(moment: datetime) -> None:
    noon = moment.replace(hour=12, minute=0, second=0)
    before = noon - timedelta(seconds=1)
    plain = calendar(calendar=CalendarSettings(festive="no"))
    assert plain.greetings(at(noon.isoformat())) == ["greet.afternoon"]
    assert plain.greetings(at(before.isoformat())) == ["greet.morning"]
    assert plain.at("office", at(noon.isoformat())).state in ("lunch", "closed", "holiday")


# --- the configuration -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, path",
    [
        ('[hours.x]\nmon = ["08:00-12:00", "11:00-13:00"]', "hours.x.mon"), ("[hours.x]", "hours.x"),
        ('[hours.x]\nmon = ["08:00-12:00"]\nclosed = "hours/x"', "hours.x"), ('[holidays.a]\nfirst = "02-30"', "holidays.a.first"),
        ('[holidays.a]\nfirst = "@moon"', "holidays.a.first"), ('[holidays.a]\nfirst = "2026-02-31"', "holidays.a.first"),
        ('[holidays.a]\nfirst = "2026-02-16"\nlast = "2026-02-01"', "holidays.a.last"),
        ('[holidays.a]\nfirst = "05-01"\nday = "greeting"', "holidays.a.greeting"),
        ('[calendar.official.2027]\noff = ["02-30"]', "calendar.official.2027.off[0]"), ("[calendar.official.27]", "calendar.official.27"),
        ('[calendar]\nregion = "BY"', "calendar.region"), ('[hours.x]\nmon = ["08:00-12:00"]\nto = "queue/none"', "hours.x.to"),
    ],
)  # fmt: skip
def test_mistakes_of_the_calendar_are_named(text: str, path: str) -> None:
    _, problems = check(text.encode(), file="site.toml", prompts=["greet.day", "night.msg", "holiday.msg"])
    assert path in [problem.path for problem in problems], problems


@pytest.mark.parametrize("restart", [False, True])
def test_night_call_keeps_the_class_of_its_beginning(restart: bool) -> None:
    """A caller of the holiday's last minute waits in a queue over midnight; what comes after the queue is still the holiday's."""
    hours = OpeningHours(**{day: ["00:00-24:00"] for day in WORKDAYS}, to="queue/sales", on_holiday="queue/service")
    site = config(
        hours={"x": hours}, inbound=[InboundRoute(to="hours/x", greeting=False, notice=False)],
        queues={"service": Queue(max_wait_s=30, on_timeout="hours/x"), "sales": Queue()},
    )  # fmt: skip
    stage = Stage(site, restart=restart)
    stage.phones["201"] = Phone(answer_ms=-1)
    stage.log_in("8003", "201")
    stage.local = at("2026-10-07T23:59:50")
    leg = stage.ring_in()
    stage.run(10_000)
    assert stage.state(leg).queue == "service" and stage.state(leg).hours is not None
    stage.local = at("2026-10-08T00:00:10")
    stage.run(25_000)
    assert stage.state(leg).queue == "service", "not the queue of the working day"
    stage.ring_in("line/2", "13800000002")
    stage.run(1000)
    states = [one.data["state"] for _, _, one in stage.done if isinstance(one, do.Record) and one.kind == "hours"]
    assert states == ["holiday", "open"], "decided once for each call"
