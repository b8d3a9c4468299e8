"""The measures, each on a server that was started for it alone.

Theory of operation. `registrations`, `calls` and `closed_loop` are SIPp; `relayed` is the RTP load of `make bench-calls`, whose packets
carry the time of their sending. CPU figures are gross: all that the server's processes took from the first to the last call, idle ticking
included. Delays of packets are those through the server, from socket to socket of the load.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .scenarios import CALL, CALLED, CALLERS, LOOP, REGISTER, USERS, Sipp, hang_up, line
from .servers import HOST, Ours, Server, free_port
from .shared import PCMA, Leg, Load, Stream

Figures = dict[str, float]
SETTLE_S = 2.5
FAST = 2000      # a second: as many as there may be under way
DRAIN_S = 0.3


@dataclass(frozen=True)
class Amounts:
    """How much load. Rates per second."""

    registrations: int = 3000
    calls: int = 300
    call_rate: int = 20
    loop: int = 1000
    in_flight: int = 30
    talk_s: float = 10.0


QUICK = Amounts(registrations=1200, calls=160, loop=400, talk_s=6.0)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the others does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _talk(load: Load, streams: Sequence[Stream], seconds: float) -> None:
    """All talk for so long; what is on the way then still arrives, so that counts are exact."""
    for one in streams:
        one.talking = one.stamped = True
    load.run(seconds)
    for one in streams:
        one.talking = False
    load.run(DRAIN_S)


class Run:
    """The measures of one server."""

    def __init__(self, server: Server, folder: Path, amounts: Amounts, others: set[int]) -> None:
        self.server, self.amounts = server, amounts
        self.sipp = Sipp(folder, HOST, server.sip, ",".join(map(str, sorted(others))))
        self.port = free_port()
        self.figures: Figures = {"start_s": server.start_s}

    def measure(self) -> Figures:
        """All of them, in the order in which a server lives."""
        self.sipp.run(REGISTER, "enter", [line(user) for user in USERS], self.port, calls=len(USERS), rate=200)
        self.server.complete()           # else a busy machine shows the memory of half a start
        time.sleep(SETTLE_S)
        self._memory("idle")
        self._registrations()
        self._calls()
        self._closed_loop()
        for calls in (50, 100):
            self._relayed(calls)
        return self.figures

    def _memory(self, what: str) -> None:
        self.figures[f"memory_{what}_mb"] = self.server.memory_mb()
        if isinstance(self.server, Ours):
            self.figures[f"manage_{what}_mb"] = self.server.manage_mb()

    def _registrations(self) -> None:
        amounts = self.amounts
        before = self.server.cpu()
        lines = [line(user) for user in USERS]
        took = self.sipp.run(REGISTER, "register", lines, self.port, calls=amounts.registrations, rate=FAST, limit=amounts.in_flight)
        self.figures["registration_cpu_ms"] = (self.server.cpu() - before) / 1e6 / amounts.registrations
        self.figures["registrations_per_s"] = amounts.registrations / took

    def _pairs(self) -> list[str]:
        return [line(user, number) for user, number in zip(CALLERS, CALLED, strict=True)]

    def _calls(self) -> None:
        """The delay until ringing, of calls that do not crowd each other."""
        amounts = self.amounts
        phones = self.sipp.phones(self.port)
        try:
            self.sipp.run(CALL, "warm", self._pairs(), free_port(), calls=20, rate=20)
            self.sipp.run(CALL, "call", self._pairs(), free_port(), calls=amounts.calls, rate=amounts.call_rate, log=True)
            delays = self.sipp.delays_ms("call")
            self.figures["delay_p50_ms"], self.figures["delay_p95_ms"] = statistics.median(delays), quantile(delays, 0.95)
        finally:
            hang_up(phones)

    def _closed_loop(self) -> None:
        """What a call costs, and how many there can be in a second, with so many under way at any time."""
        amounts = self.amounts
        phones = self.sipp.phones(self.port)
        try:
            before = self.server.cpu()
            parts = self.server.by_process() if isinstance(self.server, Ours) else {}
            took = self.sipp.run(LOOP, "loop", self._pairs(), free_port(), calls=amounts.loop, rate=FAST, limit=amounts.in_flight)
            self.figures["calls_per_s"] = amounts.loop / took
            self.figures["call_cpu_ms"] = (self.server.cpu() - before) / 1e6 / amounts.loop
            if isinstance(self.server, Ours):
                for name, spent in self.server.by_process().items():
                    self.figures[f"call_cpu_{name}_ms"] = (spent - parts[name]) / 1e6 / amounts.loop
        finally:
            hang_up(phones)

    def _relayed(self, calls: int) -> None:
        load = Load(HOST, self.server.sip, {user: f"pw{user}" for user in USERS}, seed=calls)    # other Call-IDs each time
        try:
            for user in USERS:
                load.register(user)
                load.run(0.005)
            load.run_until(lambda: len(load.registered) == len(USERS), "all phones are registered", 20)
            legs = [self._connect(load, CALLERS[k], CALLED[k]) for k in range(calls)]
            streams = [one for k, leg in enumerate(legs) for one in (leg.stream, load.of_user[CALLED[k]].stream)]
            _talk(load, streams, 1.5)
            for one in streams:
                one.sent = one.heard = 0
                one.delays.clear()
            load.worst_late_ns = 0
            before, began = self.server.cpu(), time.monotonic_ns()
            _talk(load, streams, self.amounts.talk_s)
            spent = self.server.cpu() - before
            share = 100 * spent / (time.monotonic_ns() - began - int(DRAIN_S * 1e9))
            sent, heard = sum(one.sent for one in streams), sum(one.heard for one in streams)
            delays = [value / 1e6 for one in streams for value in one.delays]
            key = f"relayed_{calls}"
            self.figures[f"{key}_cpu_percent"] = share / calls
            self.figures[f"{key}_lost"] = float(sent - heard)
            self.figures[f"{key}_delay_ms"], self.figures[f"{key}_delay_p99_ms"] = statistics.median(delays), quantile(delays, 0.99)
            self.figures[f"{key}_load_late_ms"] = load.worst_late_ns / 1e6
            if calls == 100:
                self._memory("calls")
            for leg in legs:
                load.hang_up(leg)
                load.run(0.005)
            load.run_until(lambda: not load.of_user, "every call has ended", 20)
        finally:
            load.close()

    def _connect(self, load: Load, user: str, number: str) -> Leg:
        leg = load.call(user, number, PCMA)
        load.run_until(lambda: leg.over or (leg.up and number in load.of_user and load.of_user[number].up), f"{user} reaches {number}", 10)
        if leg.over:
            raise RuntimeError(f"the call from {user} to {number} was refused with {leg.status}")
        return leg
