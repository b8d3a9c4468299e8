"""Day parts: which greeting belongs to a local time (L1, pure; requirements GRT-01 and part E).

The local time is passed in (`LocalTime`): time zones and daylight saving are the caller's business (`core/calls.py` uses
zoneinfo). A boundary belongs to the later part; before the first part of a day the last part of the day before goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from firmware.config.schema.system import DayPart


class LocalTime(msgspec.Struct, frozen=True):
    """Wall time in the site's zone."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int = 0
    unix_ms: int = 0
    """The instant itself: what a change of the clock cannot repeat."""

    @property
    def minutes(self) -> int:
        """Minutes since local midnight."""
        return self.hour * 60 + self.minute


def minutes_of(text: str) -> int:
    """Minutes since midnight of "hh:mm"."""
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def greeting(parts: Sequence[DayPart], local: LocalTime) -> str:
    """Prompt id of the day part at `local`; "greet.day" where none is configured."""
    current = day_part(parts, local)
    return current.greeting if current is not None else "greet.day"


def day_part(parts: Sequence[DayPart], local: LocalTime) -> DayPart | None:
    """The part of the day at `local`; None where none is configured."""
    ordered = sorted(parts, key=lambda part: minutes_of(part.start))
    if not ordered:
        return None
    current = ordered[-1]
    for part in ordered:
        if minutes_of(part.start) <= local.minutes:
            current = part
    return current
