"""The appliance's own call parts on the trace, in virtual time (`app/office.py`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from firmware.app.office import Office
from firmware.config.schema.calls import InboundRoute, Queue
from firmware.config.schema.people import Agent, Extension
from firmware.config.schema.ports import FxoLine, Ports
from firmware.config.schema.system import Site
from firmware.config.schema.tree import Config

from . import trace as t

LINES = 120
BEGINS = datetime(2026, 3, 2, 9, tzinfo=ZoneInfo("Asia/Shanghai"))
LOG_IN_MS = 20_000


def config() -> Config:
    """The queues of the trace."""
    seats = t.agents()
    return Config(
        site=Site(name="Beside"), ports=Ports(fxo={str(n): FxoLine() for n in range(1, LINES + 1)}),
        extensions={phone: Extension(kind="sip") for phone in seats},
        agents={f"8{phone[1:]}": Agent(pin="1", queues=[queue]) for phone, queue in seats.items()},
        queues={
            queue: Queue(ring_s=t.RING_S, wrap_up_s=t.WRAP_UP_S, max_wait_s=3600, max_waiting=200, agent_number=False, rating=False,
                         auto_pause_after=0, position=False)
            for queue in sorted(set(seats.values()))
        },
        inbound=[InboundRoute(caller=f"{t.PREFIX}{n}", to=f"queue/q{n}", greeting=False, notice=False) for n in range(t.QUEUES)],
    )  # fmt: skip


class Ours:
    """The stage."""

    def __init__(self, folder: Path, crowd: t.Crowd) -> None:
        self.crowd = crowd
        self.office: Any = Office(folder, config(), BEGINS, self)

    def run(self) -> None:
        """All of it."""
        for at, phone in enumerate(t.agents()):
            self.office.later(20 * at, lambda phone=phone: self.office.dial(phone, f"*118{phone[1:]}#1#"))
        self.crowd.begin(self, LOG_IN_MS)
        while not self.crowd.done():
            self.office.run(60_000)
        self.office.db.flush(60)

    def log(self) -> list[str]:
        """The queue log as the appliance exports it."""
        lines: list[str] = self.office.reports.queue_log(self.office.reports.today())
        return lines

    def cdr(self) -> list[str]:
        """Master.csv, likewise."""
        lines: list[str] = self.office.reports.cdr(self.office.reports.today())
        return lines

    def close(self) -> None:
        self.office.close()

    # --- stage --------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        return int(self.office.clock.now())

    def later(self, ms: int, fn: Callable[[], None]) -> None:
        self.office.later(ms, fn)

    def call(self, number: str, queue: str) -> str:
        line = self.office.free_line()
        if not line:
            raise RuntimeError(f"all {LINES} lines are busy: the trace is meant to have lines enough")
        return str(self.office.call_in(line, number, self.now(), 1))

    def lift(self, leg: str) -> None:
        self.office.sets.lift(leg)

    def hang_up(self, leg: str) -> None:
        self.office.hang_up(leg)

    # --- what telephones tell -----------------------------------------------------------------------------------------

    def rings(self, leg: str, endpoint: str, caller: str) -> None:
        self.crowd.rings(leg, endpoint, caller)

    def picked_up(self, leg: str) -> None:
        self.crowd.picked_up(leg)

    def hears(self, leg: str, clips: tuple[str, ...], ms: int) -> None:
        """Nobody listens."""

    def speaks_with(self, leg: str, other: str) -> None:
        """Who meets whom is known from the lifting."""

    def over(self, leg: str, cause: str) -> None:
        self.crowd.over(leg)
