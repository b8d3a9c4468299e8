"""Reports, exports and the live board of core (L5): counts what `calls.db` holds, keeps the states of agents, answers the commands.

Theory of operation
-------------------
Each `AgentChanged` becomes a row of `agent_states`; the state before a restart of the whole appliance is ended at the last sign of life,
so a power cut is nobody's working time. A report reads a day's records in a thread of its own (SQL and counting may take a while on the
device) and keeps the tally of each day that is over and has no open contact; at twenty past midnight yesterday is counted anyway, so a
month is a sum of kept tallies and of today. The board is made from the live floor and today's counts, which are read anew when a contact
closed; it is published on the bus when it changed, at most once a second, as long as somebody asked for it within the last minutes.
Invariant: nothing here can keep a call from going on; an error in a report is the answer to whoever asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from firmware.call.events import AgentChanged, CallEvent, ContactChanged, EmergencyEnded, EmergencyStarted, QueueChanged
from firmware.config.schema.tree import Config
from firmware.control import report_commands as cmd
from firmware.control.gate import Gate
from firmware.core.calls import Calls
from firmware.core.reports_board import BoardMaker
from firmware.errors import PbxError
from firmware.line.profiles import Profile
from firmware.reports import asterisk
from firmware.reports import figures as fig
from firmware.reports.board import board_page
from firmware.reports.journey import journey
from firmware.reports.page import Report, as_csv, only, page
from firmware.reports.tally import Limits, Tally, count, unmet
from firmware.reports.texts import LANGUAGES
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock
from firmware.store.reporting import ReportStore

log = logging.getLogger("branchpbx.reports")
T = TypeVar("T")
#: Countries whose law lets figures of single people be kept only with the works council's consent (BetrVG 87; Code du travail L1222-4).
ASK_FIRST = frozenset({"DE", "FR"})
NIGHT = timedelta(minutes=20)
LATEST_MS = 2 * 86_400_000
WATCHED_MS = 300_000
BEAT_MS = 1000
#: Runs work that may block beside the loop; its result is not needed.
Background = Callable[[Callable[[], object], Callable[[object], None]], None]


class Reports:
    """See the theory of operation. `start` before `Calls.start`, so that no state of an agent is missed."""

    def __init__(
        self, *, config: Config, profile: Profile, calls: Calls, store: ReportStore, clock: Clock, bus: Bus, background: Background
    ) -> None:
        self._config = config
        self._calls = calls
        self._store = store
        self._clock = clock
        self._bus = bus
        self._background = background
        self._cadence = profile.ring_cadence_ms
        self.zone = ZoneInfo(config.site.time_zone)
        self.board = BoardMaker(config, calls, clock)
        self._asked = -WATCHED_MS
        self._beating = False

    @property
    def config(self) -> Config:
        """The configuration it works with."""
        return self._config

    def configure(self, config: Config) -> None:
        """Take over another configuration."""
        self._config = config
        self.board.config = config

    def start(self, *, adopted: bool) -> None:
        """Listen; after a restart of everything, end what agents did at the last sign of life."""
        if not adopted:
            last = self._store.last_sign()
            for agent in self._store.logged_in():
                self._store.agent(last, agent, "logged-out", reason="restart")
        self._bus.subscribe(AgentChanged, self._agent_changed)
        self._bus.subscribe((ContactChanged, QueueChanged, AgentChanged, EmergencyStarted, EmergencyEnded), self._something_changed)
        self._await_night()

    def attach(self, gate: Gate) -> None:
        """Let the gate answer the commands."""
        gate.handle(cmd.ReportDay, self._answer_day)
        gate.handle(cmd.ReportMonth, self._answer_month)
        gate.handle(cmd.ReportYear, self._answer_year)
        gate.handle(cmd.ReportJourney, lambda one: self._beside(lambda: self.journey(one.contact)))
        gate.handle(cmd.ReportQueueLog, lambda one: self._beside(lambda: _same(self.queue_log(self._day(one.day)))))
        gate.handle(cmd.ReportCdr, lambda one: self._beside(lambda: _same(self.cdr(self._day(one.day)))))
        gate.handle(cmd.ShowBoard, self._answer_board)

    # --- the states of agents -----------------------------------------------------------------------------------------

    def _agent_changed(self, event: AgentChanged) -> None:
        agent = self._calls.board.floor.state.agents.get(event.agent)
        busy = agent is not None and event.status in ("offered", "talking", "wrap-up")
        self._store.agent(
            self._calls.wall(event.at), event.agent, event.status, extension=event.extension, reason=event.reason,
            queue=agent.queue if agent is not None and busy else "", contact=agent.contact if agent is not None and busy else "",
        )  # fmt: skip

    # --- spans --------------------------------------------------------------------------------------------------------

    def today(self) -> date:
        """Local date now."""
        return self._local(self._clock.wall_ms()).date()

    def _local(self, wall_ms: int) -> datetime:
        return datetime.fromtimestamp(wall_ms / 1000, self.zone)

    def _begin_of(self, day: date) -> int:
        """First instant of a local day, Unix ms."""
        return round(datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp() * 1000)

    def _day(self, word: str) -> date:
        if word in ("today", "yesterday"):
            return self.today() - timedelta(days=word == "yesterday")
        try:
            return date.fromisoformat(word)
        except ValueError as error:
            raise PbxError(f"{word} is not a date; write it as 2026-03-31, or today, or yesterday") from error

    def _limits(self) -> Limits:
        settings = self._config.reports
        cycle = sum(self._cadence)
        return Limits(settings.service_level_s * 1000, settings.short_abandon_s * 1000, settings.rings, cycle, cycle - self._cadence[-1])

    def _plan(self) -> fig.Plan:
        settings = self._config.reports
        return fig.Plan(settings.service_target / 100, settings.service_level_s, settings.occupancy / 100, settings.shrinkage / 100)

    # --- counting (any thread) ----------------------------------------------------------------------------------------

    def tally(self, day: date) -> Tally:
        """The tally of a local day; kept once the day is over. Raises StoreError."""
        basis = f"{self._limits()} {self.zone.key} 5"
        since, until = self._begin_of(day), self._begin_of(day + timedelta(days=1))
        now = self._clock.wall_ms()
        if until <= now:
            kept = self._store.kept(day.isoformat(), basis)
            if kept is not None:
                return kept
        self._store.db.flush()
        found = count(self._store.span(since, min(until, now)), lambda at: self._local(at).hour, self._limits())
        # A callback that somebody asked for in the evening may be made a day later; a day later the tally is final whatever came of it.
        waiting = any(one.asked > one.reached + one.lost + one.cancelled for one in fig.callbacks(found)) and now - until < LATEST_MS
        if until <= now and not waiting and not self._store.open_contacts(since, until):
            self._store.keep(day.isoformat(), basis, found)
        return found

    def day(self, day: date, queue: str = "") -> Report:
        """Report of a local day. Raises PbxError for a day that is not yet, or a queue that is not."""
        now = self._local(self._clock.wall_ms())
        if day > now.date():
            raise PbxError(f"{day} has not begun yet")
        until = f"{now:%H:%M}" if day == now.date() else ""
        return self._report("day", day.isoformat(), self.tally(day), until, queue, [], 1)

    def month(self, first: date, queue: str = "") -> Report:
        """Report of the month that begins with `first`."""
        now = self._local(self._clock.wall_ms())
        if first > now.date():
            raise PbxError(f"{first:%Y-%m} has not begun yet")
        after = (first + timedelta(days=32)).replace(day=1)
        whole, days, costs, number, day = Tally(), [], [], 0, first
        while day < after and day <= now.date():
            tally = self.tally(day)
            part = only(tally, queue) if queue else tally
            whole.merge(tally)
            if any(tally.sums.values()):
                days.append(replace(fig.total(part), name=day.isoformat()))
                costs += fig.costs_of(part, day.isoformat())
                number += 1
            day += timedelta(days=1)
        until = f"{now:%Y-%m-%d %H:%M}" if after > now.date() else ""
        return self._report("month", f"{first:%Y-%m}", whole, until, queue, days, max(1, number), costs)

    def year(self, number: int, queue: str = "") -> Report:
        """Report of a calendar year, month by month."""
        now = self._local(self._clock.wall_ms())
        if number > now.year:
            raise PbxError(f"{number} has not begun yet")
        whole, months, costs, days = Tally(), [], [], 0
        for month in range(1, 13):
            first = date(number, month, 1)
            if first > now.date():
                break
            tally, found = self._sum(first, min((first + timedelta(days=32)).replace(day=1), now.date() + timedelta(days=1)))
            whole.merge(tally)
            days += found
            if found:
                part = only(tally, queue) if queue else tally
                months.append(replace(fig.total(part), name=f"{first:%Y-%m}"))
                costs += fig.costs_of(part, f"{first:%Y-%m}")
        until = f"{now:%Y-%m-%d %H:%M}" if number == now.year else ""
        return self._report("year", str(number), whole, until, queue, months, max(1, days), costs)

    def _sum(self, day: date, after: date) -> tuple[Tally, int]:
        """The days from `day` on before `after` together, and how many of them had calls."""
        whole, number = Tally(), 0
        while day < after:
            tally = self.tally(day)
            whole.merge(tally)
            number += any(tally.sums.values())
            day += timedelta(days=1)
        return whole, number

    def _report(
        self, kind: str, label: str, tally: Tally, until: str, queue: str, days: list[fig.QueueFigures], number: int,
        costs: Sequence[fig.CostFigures] = (),
    ) -> Report:
        queue = "" if queue == "-" else queue
        if queue and queue not in self._config.queues and not tally.get(f"queue/{queue}", "offered"):
            raise PbxError(f"queue {queue} does not exist; `show queues` lists them")
        people = self._config.reports.people
        shown = people == "yes" or (people == "auto" and self._config.site.country not in ASK_FIRST)
        return Report(
            self._config.site.name, kind, label, only(tally, queue) if queue else tally, self._limits(), self._plan(), until, queue, shown,
            days, number, [*costs],
        )  # fmt: skip

    def journey(self, contact: str) -> cmd.Page:
        """One caller's visit. Raises PbxError if there is none."""
        self._store.db.flush()
        records = self._calls.records
        row = records.contact(contact)
        if row is None:
            raise PbxError(f"there is no contact {contact}; `show contacts` lists the newest")
        legs, events, onward = records.legs(contact), records.events(contact), records.continued_by(contact)

        def clock(at: int) -> str:
            return f"{self._local(at):%H:%M:%S}.{at % 1000 // 100}"

        return cmd.Page(*(journey(row, legs, events, clock, language, onward) for language in LANGUAGES))

    def queue_log(self, day: date) -> list[str]:
        """The queue log of a day as Asterisk writes it."""
        self._store.db.flush()
        since, until = self._begin_of(day), self._begin_of(day + timedelta(days=1))
        span = self._store.span(since, until)
        return asterisk.queue_log(self._store.log(since, until), span.legs, self._store.states(since, until), unmet(span.contacts))

    def cdr(self, day: date) -> list[str]:
        """The calls of a day as Asterisk's `Master.csv` has them."""
        self._store.db.flush()
        span = self._store.span(self._begin_of(day), self._begin_of(day + timedelta(days=1)))
        return asterisk.cdr(span.contacts, span.legs, lambda at: f"{self._local(at):%Y-%m-%d %H:%M:%S}")

    # --- answers ------------------------------------------------------------------------------------------------------

    async def _beside(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)

    async def _answer_day(self, command: cmd.ReportDay) -> cmd.Page:
        return await self._beside(lambda: shown(self.day(self._day(command.day), command.queue), command.form))

    async def _answer_month(self, command: cmd.ReportMonth) -> cmd.Page:
        first = self.today().replace(day=1)
        if command.month == "last":
            first = (first - timedelta(days=1)).replace(day=1)
        elif command.month != "this":
            first = self._day(command.month + "-01")
        return await self._beside(lambda: shown(self.month(first, command.queue), command.form))

    async def _answer_year(self, command: cmd.ReportYear) -> cmd.Page:
        this = self.today().year
        number = {"this": this, "last": this - 1}.get(command.year) or int(command.year)
        if number < 1970:
            raise PbxError(f"{command.year} is no year of this appliance")
        return await self._beside(lambda: shown(self.year(number, command.queue), command.form))

    async def _answer_board(self, command: cmd.ShowBoard) -> cmd.BoardPage:
        self._asked = self._clock.now()
        if self.board.stale:
            self.board.stale = False                       # before: a contact may close while it is counted
            try:
                self.board.today = await self._beside(lambda: self.tally(self.today()))
            except BaseException:
                self.board.stale = True
                raise
        board = self.board.make(self.today())
        now = f"{self._local(board.wall_ms):%H:%M:%S}"
        return cmd.BoardPage(board, *(board_page(board, now, language) for language in LANGUAGES))

    # --- time ---------------------------------------------------------------------------------------------------------

    def _await_night(self) -> None:
        tomorrow = self._begin_of(self.today() + timedelta(days=1)) + round(NIGHT.total_seconds() * 1000)
        self._clock.call_later(max(1000, tomorrow - self._clock.wall_ms()), self._night)

    def _night(self) -> None:
        yesterday = self.today() - timedelta(days=1)

        def work() -> None:
            try:
                self.tally(yesterday)
            except PbxError as error:
                log.warning("the tally of %s is not kept tonight: %s", yesterday, error)

        self._background(work, lambda _: None)
        self.board.stale = True
        self._await_night()

    def _something_changed(self, event: CallEvent) -> None:
        if isinstance(event, ContactChanged) and event.cause:
            self.board.stale = True
        if not self._beating and self._clock.now() - self._asked < WATCHED_MS:
            self._beating = True
            self._clock.call_later(BEAT_MS, self._beat)

    def _beat(self) -> None:
        """Tell whoever watches that the board changed."""
        self._beating = False
        self._bus.publish(self.board.make(self.today()))


def _same(lines: list[str]) -> cmd.Page:
    return cmd.Page(lines, lines)


def shown(report: Report, form: str) -> cmd.Page:
    """A report in the form that was asked for."""
    if form == "csv":
        return _same(as_csv(report).splitlines())
    if form == "svg":
        from firmware.reports.chart import charts  # brings the entities of HTML along, and few ask for a chart

        return cmd.Page(*(charts(report, language).splitlines() for language in LANGUAGES))
    return cmd.Page(*(page(report, language) for language in LANGUAGES))
