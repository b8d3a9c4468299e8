"""False hang-ups, estimated every night for each line from the call records (L5).

Theory of operation
-------------------
No machine knows that it cut somebody off; the caller does, and calls again. So of each line the calls are counted that our *ear* ended
(busy, congestion or dial tone, silence: `by_far` on evidence that may err), and how many of those with a known number were followed by a
call from or to the same number within two minutes. People also call again after calls that ended as they should ("one more thing"): the
share of those is measured on the same line, or on all lines where that line has too few, from calls that surely ended (our own hang-up,
loop drop, polarity). What the ear's calls have above that share is the estimate of false hang-ups. The estimate raises an alarm
when at least `LEAST` calls above the share came back and they are more than three standard deviations of chance away; it is cleared by a
night without. Nights run from 03:00 to 03:00 of the branch's time and cover the last seven days, so that a quiet line is judged too.
Invariants: nothing is written to the call records; calls without a number count in none of the shares.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, tzinfo

import msgspec

from firmware.errors import StoreError
from firmware.runtime.alarms import Alarms
from firmware.runtime.clock import Clock
from firmware.store.hangups import HangUps

log = logging.getLogger("branchpbx.lines")

WITHIN_MS = 120_000
DAYS = 7
DAY_MS = 86_400_000
HOUR = 3                                 # of the night
LEAST = 3                                # calls back above the usual share
ENOUGH = 30                              # calls of a line that tell its own usual share
EAR = frozenset({"busy-tone", "congestion-tone", "dial-tone", "silence"})
Count = Callable[[int, int, int], Sequence[HangUps]]


class LineHangUps(msgspec.Struct, frozen=True):
    """One line over some days: calls that the ear ended, those with a number, called back, the usual share, and what is left over it."""

    endpoint: str
    released: int
    confidence: float
    numbered: int
    back: int
    usual: float
    estimate: float
    suspicious: bool


def judge(counts: Sequence[HangUps]) -> list[LineHangUps]:
    """The estimate of each line from its counts."""
    sure = [one for one in counts if not (one.by_far and one.evidence in EAR)]
    everywhere = _share(sure)
    found = []
    for endpoint in sorted({one.endpoint for one in counts}):
        ear = [one for one in counts if one.endpoint == endpoint and one not in sure]
        own = [one for one in sure if one.endpoint == endpoint]
        usual = _share(own) if sum(one.numbered for one in own) >= ENOUGH else everywhere
        released, numbered, back = (sum(getattr(one, name) for one in ear) for name in ("calls", "numbered", "back"))
        confidence = sum(one.confidence * one.calls for one in ear) / released if released else 0.0
        above = back - usual * numbered
        chance = math.sqrt(max(1.0, usual * (1.0 - usual) * numbered))
        estimate = max(0.0, above)
        found.append(LineHangUps(endpoint, released, round(confidence, 2), numbered, back, round(usual, 3), round(estimate, 1),
                                 above >= LEAST and above > 3.0 * chance))
    return found


def _share(counts: Sequence[HangUps]) -> float:
    """Called back of those with a number; one of twenty where nothing is known yet."""
    numbered = sum(one.numbered for one in counts)
    return (1 + sum(one.back for one in counts)) / (20 + numbered)


class NightlyHangUps:
    """Judges every night at three, raises and clears `false-hang-ups:LINE`."""

    def __init__(self, count: Count, clock: Clock, alarms: Alarms, zone: tzinfo) -> None:
        self._count, self._clock, self._alarms, self._zone = count, clock, alarms, zone
        self._raised: set[str] = set()

    def start(self) -> None:
        """Wait for the next night."""
        self._clock.call_later(self._until_night(), self._night)

    def _until_night(self) -> int:
        now = datetime.fromtimestamp(self._clock.wall_ms() / 1000, self._zone)
        night = now.replace(hour=HOUR, minute=0, second=0, microsecond=0)
        if night <= now:
            night = (now + timedelta(days=1)).replace(hour=HOUR, minute=0, second=0, microsecond=0)
        return max(1000, round((night - now).total_seconds() * 1000))

    def _night(self) -> None:
        try:
            rows = self.over(DAYS)
        except StoreError as error:
            log.warning("the statistic of false hang-ups is left out tonight: %s", error)
            rows = []
        for row in rows:
            log.info("%s: %d calls ended by ear in %d days, %d of %d called back at once, usual share %.0f %%, estimate %.1f false",
                     row.endpoint, row.released, DAYS, row.back, row.numbered, 100 * row.usual, row.estimate)
            self._tell(row)
        self.start()

    def _tell(self, row: LineHangUps) -> None:
        kind = f"false-hang-ups:{row.endpoint}"
        if row.suspicious:
            self._raised.add(kind)
            self._alarms.raise_(kind, f"{row.endpoint} seems to hang up on callers: {row.back} of {row.numbered} called back at once after "
                                      f"a release by tone; raise busy_cycles, or `tone forget {row.endpoint}` if its tone was learned")
        elif kind in self._raised:
            self._raised.discard(kind)
            self._alarms.clear(kind)

    def over(self, days: int) -> list[LineHangUps]:
        """The estimates of the last days, up to two minutes ago: who was cut off needs time to call back."""
        until = self._clock.wall_ms() - WITHIN_MS
        return judge(self._count(until - days * DAY_MS, until, WITHIN_MS))
