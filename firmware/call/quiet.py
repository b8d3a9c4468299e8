"""Quiet hours: times of day at which nobody is called back (L1, pure; features M3, CBK-02)."""

from __future__ import annotations

from collections.abc import Sequence

from firmware.call.times import LocalTime, minutes_of

MINUTE_MS = 60_000
DAY_MINUTES = 1440


def quiet_ms(local: LocalTime, periods: Sequence[str]) -> int:
    """Ms until the quiet hours ("HH:MM-HH:MM", also past midnight) that hold at `local` are over; 0 outside them.

    Periods that touch are one; the day's changes of the clock are not looked at: after one, it is asked again.
    """
    left = 0
    for _ in range(len(periods) + 1):
        at = (local.minutes + left // MINUTE_MS) % DAY_MINUTES
        more = max((_left(at, period) for period in periods), default=0)
        if not more or left >= DAY_MINUTES * MINUTE_MS:
            break
        left += more * MINUTE_MS
    return max(0, left - local.second * 1000)


def _left(at: int, period: str) -> int:
    first, last = (minutes_of(one) % DAY_MINUTES for one in period.split("-"))
    length = (last - first) % DAY_MINUTES
    into = (at - first) % DAY_MINUTES
    return length - into if into < length else 0


def later(local: LocalTime, ms: int) -> str:
    """The time of day `ms` after `local`, as prompts take it ("HH:MM"), rounded up to five minutes."""
    at = -(-(local.minutes + -(-ms // MINUTE_MS)) // 5) * 5 % DAY_MINUTES
    return f"{at // 60:02}:{at % 60:02}"
