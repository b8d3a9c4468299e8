"""When the box acts by itself: times of the day, without I/O (L5).

Times are local minutes of the day. What is due is decided by the day on which it was done last, so that a restart in the night does not do
it twice and a box that was off at the time does it when it is back. A window that ends before it begins runs over midnight and belongs to
the day on which it began.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta


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
