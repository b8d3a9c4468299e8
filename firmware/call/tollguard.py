"""Guard against calls at our expense: what a stolen password can cost at most (L1, pure; requirement R4).

Theory of operation
-------------------
Every call that leaves for outside asks here first (`refused`), whoever makes it and however: dialled, transferred, or through us by
the other side of a trunk. Counted are calls at once and within an hour for each who pays (an extension, a trunk), and international
calls of the whole branch: by hour, by minutes of the day, and by office hours. A usual hour is the mean of the hours of the last week
that had calls; one that has many times as many is told once. Emergency calls never come here.
Invariants: a limit that is reached refuses new calls; only used-up minutes of the day end calls, international ones; the tables are
bounded by the counts they hold; the day begins at local midnight, whatever the clock of the engine does; a restart of call
control forgets nothing, one of the appliance the last hour only (`keep`).
"""

from __future__ import annotations

from datetime import date

import msgspec

from firmware.call.events import TollNotice, toll_text
from firmware.call.times import LocalTime, minutes_of
from firmware.config.schema.trunks import Toll

HOUR_MS = 3_600_000
WEEK_HOURS = 168
LEAST_HOURS = 8                          # of calls, before anything is called usual
LEAST_USUAL = 4                          # calls an hour: a quiet branch is not alarmed by a handful
MOST_PAYERS = 512
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class TollState(msgspec.Struct):
    """What has been; plain values that another process can go on with. Instants are engine ms."""

    begun: dict[str, list[int]] = {}     # payer -> calls of the last hour
    international: list[int] = []        # those of the whole branch
    day: str = ""
    day_at: int = 0                      # when that day was first looked at: what was talked before belongs to another one
    spent_ms: int = 0                    # of international conversations that ended today
    hours: list[int] = []                # calls of each of the last hours, the latest last
    hour_at: int = -1                    # begin of the running one
    running: int = 0                     # calls in it
    told: list[str] = []                 # notices of this hour


class Asked(msgspec.Struct, frozen=True):
    """A call that wants out. `live`: outside calls of this payer now; `talked_ms`: of international calls that are still going on."""

    payer: str
    number: str
    international: bool
    live: int
    talked_ms: int


class TollGuard:
    """See the theory of operation above."""

    def __init__(self, toll: Toll) -> None:
        self.toll = toll
        self.state = TollState()
        self._notices: list[TollNotice] = []

    def keep(self, state: TollState) -> None:
        """Go on with the day of an appliance that was switched off; its instants mean nothing any more."""
        self.state = TollState(day=state.day, spent_ms=state.spent_ms, hours=state.hours)

    def notices(self) -> list[TollNotice]:
        """Drain what people must know."""
        out, self._notices = self._notices, []
        return out

    def refused(self, asked: Asked, local: LocalTime, now: int) -> str:
        """Why this call may not go out, "" where it may."""
        toll, state = self.toll, self.state
        self._pass(local, now)
        if toll.calls and asked.live >= toll.calls:
            return self._no("calls", asked, now)
        if toll.calls_hour and len(state.begun.get(asked.payer, ())) >= toll.calls_hour:
            return self._no("calls-hour", asked, now)
        if not asked.international:
            return ""
        if not toll.international_after_hours and not self.office(local):
            return self._no("after-hours", asked, now)
        if toll.international_calls_hour and len(state.international) >= toll.international_calls_hour:
            return self._no("international-hour", asked, now)
        if toll.international_minutes and state.spent_ms + asked.talked_ms >= toll.international_minutes * 60_000:
            return self._no("international-minutes", asked, now)
        return ""

    def begun(self, asked: Asked, local: LocalTime, now: int) -> None:
        """The call goes out."""
        state = self.state
        self._pass(local, now)
        if asked.payer not in state.begun and len(state.begun) >= MOST_PAYERS:
            del state.begun[next(iter(state.begun))]
        state.begun.setdefault(asked.payer, []).append(now)
        if asked.international:
            state.international.append(now)
        state.running += 1
        busy = [count for count in state.hours if count]
        usual = max(sum(busy) / len(busy), LEAST_USUAL) if len(busy) >= LEAST_HOURS else 0
        if self.toll.alarm_factor and usual and state.running > self.toll.alarm_factor * usual:
            self._tell("sudden", asked, now)

    def talked(self, since: int, local: LocalTime, now: int) -> int:
        """Ms of this day that a conversation which began at `since` has lasted."""
        self._pass(local, now)
        return max(0, now - max(since, min(self.state.day_at, now)))

    def ended(self, since: int, local: LocalTime, now: int) -> None:
        """An international conversation that began at `since` is over."""
        self.state.spent_ms += self.talked(since, local, now)

    def left(self, talked_ms: int, local: LocalTime, now: int) -> int:
        """International ms of this day that are left beside those of calls that go on; -1 for no limit."""
        self._pass(local, now)
        most = self.toll.international_minutes * 60_000
        return max(0, most - self.state.spent_ms - talked_ms) if most else -1

    def office(self, local: LocalTime) -> bool:
        """Whether somebody is supposed to work at this time."""
        day = _DAYS[date(local.year, local.month, local.day).weekday()]
        return day in self.toll.office_days and minutes_of(self.toll.office_start) <= local.minutes < minutes_of(self.toll.office_end)

    # --- inner --------------------------------------------------------------------------------------------------------

    def _pass(self, local: LocalTime, now: int) -> None:
        """Forget what is over."""
        state = self.state
        today = f"{local.year}-{local.month:02}-{local.day:02}"
        if state.day != today:
            state.day, state.day_at, state.spent_ms = today, now if state.day else 0, 0
        state.international = [at for at in state.international if now - at < HOUR_MS]
        state.begun = {payer: kept for payer, times in state.begun.items() if (kept := [at for at in times if now - at < HOUR_MS])}
        state.day_at = min(state.day_at, now)            # likewise
        if state.hour_at < 0 or now < state.hour_at:
            state.hour_at = now                          # the engine's clock begins anew after a power cut
        passed = min((now - state.hour_at) // HOUR_MS, WEEK_HOURS)
        if passed:
            state.hours = [*state.hours, state.running, *[0] * (passed - 1)][-WEEK_HOURS:]
            state.hour_at += (now - state.hour_at) // HOUR_MS * HOUR_MS
            state.running, state.told = 0, []

    def _no(self, why: str, asked: Asked, now: int) -> str:
        self._tell(why, asked, now)
        return why

    def _tell(self, why: str, asked: Asked, now: int) -> None:
        """Once in an hour for each payer and reason."""
        key = f"{why} {asked.payer}"
        if key not in self.state.told and len(self.state.told) < MOST_PAYERS:
            self.state.told.append(key)
            self._notices.append(TollNotice(now, why, asked.payer, toll_text(why, asked.payer, asked.number)))
