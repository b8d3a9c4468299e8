"""When the box acts by itself: times of the day, without I/O (L5).

Times are local minutes of the day. What is due is decided by the day on which it was done last, so that a restart in the night does not do
it twice and a box that was off at the time does it when it is back. A window that ends before it begins runs over midnight and belongs to
the day on which it began.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, tzinfo


def minutes(text: str) -> int:
    """`hh:mm` as minutes of the day."""
    return int(text[:2]) * 60 + int(text[3:])


def daily_due(now: datetime, at: str, last: date | None) -> bool:
    """True when `at` is past today, and it was not done today. `last`: day on which it was done."""
    return bool(at) and last != now.date() and now.hour * 60 + now.minute >= minutes(at)


def window_day(now: datetime, begin: str, end: str) -> date | None:
    """The day to whose window `now` belongs; None outside."""
    at, first, last = now.hour * 60 + now.minute, minutes(begin), minutes(end)
    if first <= last:
        return now.date() if first <= at < last else None
    if at >= first:
        return now.date()
    return now.date() - timedelta(days=1) if at < last else None


def spread_minutes(name: str, begin: str, end: str) -> int:
    """How far into the window this box asks: boxes of a fleet do not all ask in the same minute. Within its first half."""
    length = (minutes(end) - minutes(begin)) % 1440
    return sum(name.encode()) * 7919 % max(1, length // 2)


def shown_at(day: date, at: int, zone: tzinfo, *, last: bool = False) -> int:
    """Unix time (s) at which the clock of the branch shows so many minutes of that day.

    An hour that is shown twice: the first time, or the `last`. One that is left out: the moment at which the clock is put on.
    """
    shown = datetime.combine(day, time(at // 60, at % 60), zone)
    first, second = int(shown.replace(fold=0).timestamp()), int(shown.replace(fold=1).timestamp())
    if first <= second:
        return second if last else first
    low, high, before = second, first, datetime.fromtimestamp(second, zone).utcoffset()
    while high - low > 1:                       # the clock is put on between the two: when its offset changes
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


def open_window(now_s: float, begin: str, end: str, zone: tzinfo) -> date | None:
    """The day to whose window this instant belongs, None outside: one stretch of time, however the clock is changed in it."""
    today = datetime.fromtimestamp(now_s, zone).date()
    over = timedelta(days=1 if minutes(end) <= minutes(begin) else 0)
    for day in (today, today - timedelta(days=1)):
        if shown_at(day, minutes(begin), zone) <= now_s < shown_at(day + over, minutes(end), zone, last=True):
            return day
    return None
