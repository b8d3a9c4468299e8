"""Makes the live board: the floor as it is, and the figures of today (L5)."""

from __future__ import annotations

from datetime import date

from firmware.config.schema.tree import Config
from firmware.control.report_commands import Board, BoardAgent, BoardQueue
from firmware.core.calls import Calls
from firmware.reports import figures as fig
from firmware.reports.tally import Tally
from firmware.runtime.clock import Clock

BUSY = frozenset({"offered", "talking", "wrap-up"})


class BoardMaker:
    """`today` is the tally of the day, `stale` when a contact closed since it was counted."""

    def __init__(self, config: Config, calls: Calls, clock: Clock) -> None:
        self.config = config
        self._calls = calls
        self._clock = clock
        self.today = Tally()
        self.stale = True
        self._day: date | None = None

    def make(self, day: date) -> Board:
        """The board now; figures of another day are not shown."""
        if self._day is not None and day != self._day:
            self.today, self.stale = Tally(), True
        self._day = day
        now = self._clock.now()
        queues = [self._queue(name, now) for name in self.config.queues]
        return Board(
            now, self._clock.wall_ms(), self.config.site.name, len(self._calls.board.contacts), sum(one.waiting for one in queues),
            max((one.longest_s for one in queues), default=0), self._step(),
            [f"{one.extension} {one.number}" for one in self._calls.emergencies.values()], queues, self._agents(now),
            self.config.reports.service_target / 100,
        )  # fmt: skip

    def _step(self) -> str:
        """Step of emergency staffing that is in force (EMG-01..07), "" for none."""
        step = self._calls.board.acd.staffing.step
        return f"EMG-{step:02}" if step else ""

    def _queue(self, name: str, now: int) -> BoardQueue:
        floor = self._calls.board.floor
        waiting = floor.waiting(name)
        states = [agent.status.value for agent in floor.state.agents.values() if name in self._serves(agent.agent)]
        today = fig.queue(self.today, f"queue/{name}", name)
        return BoardQueue(
            name, len(waiting), max(((now - one.since) // 1000 for one in waiting), default=0), states.count("ready"),
            sum(state in BUSY for state in states), states.count("paused"), today.offered, today.answered, today.abandoned,
            today.service_level, today.asa_s,
        )  # fmt: skip

    def _serves(self, agent: str) -> list[str]:
        known = self.config.agents.get(agent)
        return list(known.queues) if known is not None else []

    def _agents(self, now: int) -> list[BoardAgent]:
        return [
            BoardAgent(
                agent.agent, agent.status.value, agent.reason, agent.queue, agent.extension, max(0, now - agent.since) // 1000,
                self.today.get(f"agent/{agent.agent}", "answered"),
            )
            for agent in self._calls.board.floor.state.agents.values() if agent.status.value != "logged-out"
        ]  # fmt: skip
