"""The daily self-test's judgment: readings of a port become passed or failed, two failures in a row an alarm (L1, pure).

Theory of operation
-------------------
A test gives `Reading`s; `verdict` names the first thing that is wrong, by the code of its sentence in `doctor_texts.py`, or "" when all is
well. A test that was broken off (a call came, the line was wanted) has no verdict and changes nothing. `due` says whether a test may begin:
once a local day, at the site's hour or within the hours after it, and only while the branch is quiet.
"""

from __future__ import annotations

from typing import Final

import msgspec

from firmware.line.doctor import FEED_VOLTS, LEAST_MA, LOW_VOLTS, NO_LINE_VOLTS, PARALLEL_VOLTS

WINDOW_MIN: Final = 180              # a busy night may put the test off for so long
QUIET_MS: Final = 600_000            # no call for this long
ALARM_AFTER: Final = 2


class Reading(msgspec.Struct, frozen=True):
    """What one test of a port measured; None = not measured. `cause`: how the seizure ended by itself, "" = we ended it."""

    kind: str
    volts: float | None = None
    milliamps: float | None = None
    dial_tone_ms: int | None = None
    off_hook: bool = False
    cause: str = ""
    broken_off: str = ""


class Result(msgspec.Struct, frozen=True):
    """A kept result: `failed` is the code of what is wrong ("" = passed), `in_row` failures one after the other; Unix ms."""

    target: str
    wall_ms: int
    failed: str
    in_row: int
    volts: float = 0.0
    milliamps: float = 0.0
    dial_tone_ms: int = -1
    detail: str = ""


def verdict(reading: Reading) -> str:
    """Code of the first thing wrong, "" when all is well."""
    if reading.kind == "fxs":
        if reading.off_hook:
            return "left-off-hook"
        return "no-feed" if reading.volts is not None and 0 < abs(reading.volts) < FEED_VOLTS else ""
    size = None if reading.volts is None else abs(reading.volts)
    if size is not None and size < NO_LINE_VOLTS:
        return "no-voltage"
    if size is not None and size < PARALLEL_VOLTS:
        return "parallel"
    if size is not None and size < LOW_VOLTS:
        return "low-voltage"
    if reading.cause == "line-fault":
        return "no-current"
    if reading.cause == "no-dial-tone" or (not reading.cause and reading.dial_tone_ms is None):
        return "no-dial-tone"
    if reading.milliamps is not None and 0 < reading.milliamps < LEAST_MA:
        return "low-current"
    return "no-dial-tone" if reading.cause and reading.dial_tone_ms is None else ""


def carry(known: Result | None, target: str, reading: Reading, wall_ms: int) -> Result | None:
    """The result to keep after a reading; None where the test was broken off."""
    if reading.broken_off:
        return None
    failed = verdict(reading)
    in_row = (known.in_row if known is not None else 0) + 1 if failed else 0
    tone = -1 if reading.dial_tone_ms is None else reading.dial_tone_ms
    return Result(target, wall_ms, failed, in_row, reading.volts or 0.0, reading.milliamps or 0.0, tone)


def minute_of(text: str) -> int:
    """ "hh:mm" as minutes of the day; -1 for the empty text, which means never."""
    return int(text[:2]) * 60 + int(text[3:]) if text else -1


def due(at: str, minute: int, day: str, last_day: str, quiet_ms: int, *, calls: int) -> bool:
    """Whether the test of local date `day` may begin at this local minute."""
    begin = minute_of(at)
    if begin < 0 or day == last_day or calls or quiet_ms < QUIET_MS:
        return False
    return 0 <= (minute - begin) % 1440 < WINDOW_MIN
