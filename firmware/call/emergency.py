"""Emergency numbers come first: recognition, choice of a line, call back (L1, pure; requirements D5, E4, B15).

Free of class, PIN, limits and locks; with or without an access code; any line group. If every line is busy the least
important local call is ended, never another emergency call. An outside call on the line that was used, within the
call-back window, rings the phone that dialled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from firmware.call.model import is_trunk
from firmware.config.schema.calls import OutboundRoute


def emergency_number(digits: str, numbers: Collection[str], routes: Sequence[OutboundRoute]) -> str:
    """The emergency number that `digits` mean, access code removed; "" if they mean none."""
    if digits in numbers:
        return digits
    for route in routes:
        if route.prefix and digits.startswith(route.prefix) and digits[len(route.prefix):] in numbers:
            return digits[len(route.prefix):]
    return ""


class LocalCall(msgspec.Struct, frozen=True):
    """A live call on a line, as the choice of a victim sees it. `rank`: importance (see RANKS), `since`: engine ms."""

    line: str
    contact: str
    rank: int
    since: int
    emergency: bool


#: Importance of a call by what is going on; the lowest is ended first.
RANKS: Mapping[str, int] = {
    "ending": 0,
    "announce": 1,
    "rating": 1,
    "greeting": 2,
    "notice": 2,
    "menu": 2,
    "feature": 2,
    "queued": 3,
    "dialling": 4,
    "answering": 4,
    "connecting": 5,
    "talking": 6,
}


def victim(calls: Iterable[LocalCall]) -> LocalCall | None:
    """The call to end for an emergency call: least important, of equals the youngest; None if all are emergency calls."""
    candidates = [call for call in calls if not call.emergency]
    return min(candidates, key=lambda call: (call.rank, -call.since, call.line)) if candidates else None


class CallBack(msgspec.Struct):
    """An emergency call used `line`; outside calls on it until `until` (engine ms) ring `extension`."""

    line: str
    extension: str
    number: str
    until: int


def called_back(windows: Iterable[CallBack], line: str, now: int, caller: str) -> str:
    """Extension that a call from number `caller` on `line` is meant for; "" outside every window. The latest window wins.

    A line rings for one number, a trunk for many: there only the emergency number itself is called back.
    """
    open_windows = [window for window in windows if window.line == line and now <= window.until]
    if is_trunk(line):
        open_windows = [window for window in open_windows if window.number == caller]
    return max(open_windows, key=lambda window: window.until).extension if open_windows else ""
