"""Waits measured in the real queue against Erlang C and Erlang A, where arrivals, service and patience are exponential.

Theory of operation. One queue, five agents who answer at once and take no notes, 60 calls an hour of 180 s on average (3 erlang): the
check values of the requirements. Callers either wait for ever (Erlang C) or leave after an exponential time of 120 s on average
(Erlang A). The share who wait, the mean wait and the share who leave are measured in batches of callers in the order of arrival; the
theory's value has to be within the confidence interval of the batch means (Student's t). Waits of neighbours are alike for a hundred
calls, so that takes thousands of calls. What the theory assumes of the queue needs no luck and is checked in every run: nobody waits
while an agent is free, and who came first is served first. The telephones' own delays (ringing takes 100 ms, hanging up 20 ms) are part
of the service time, and of every wait.
"""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

from firmware.call.erlang import Waiting, erlang_a, erlang_c
from firmware.config.schema.calls import InboundRoute, Queue
from firmware.config.schema.people import Agent, Extension
from firmware.config.schema.ports import FxoLine, Ports
from firmware.config.schema.system import Site
from firmware.config.schema.tree import Config

AGENTS, CALLS_PER_S, HANDLING_S, PATIENCE_S = 5, 60 / 3600, 180.0, 120.0
RING_MS, OVERHEAD_MS = 100, 120
BATCHES = 20
#: Student's t of 19 degrees of freedom, two-sided: 99 % and 99.9 %.
STUDENT = {"99": 2.861, "99.9": 3.883}
LINES = 120
SLACK_MS = 200                # from an agent's release to the next ring
WARM_UP = 100                 # first callers, who find nobody there


def config() -> Config:
    """A branch that is one queue."""
    return Config(
        site=Site(name="Erlang"), ports=Ports(fxo={str(n): FxoLine() for n in range(1, LINES + 1)}),
        extensions={str(201 + n): Extension(kind="sip") for n in range(AGENTS)},
        agents={str(8001 + n): Agent(pin="1", queues=["q"]) for n in range(AGENTS)},
        queues={"q": Queue(ring_s=20, wrap_up_s=0, max_wait_s=7200, max_waiting=200, agent_number=False, rating=False)},
        inbound=[InboundRoute(to="queue/q", greeting=False, notice=False)],
    )  # fmt: skip


class Source:
    """Callers and agents of the model; notes waits. `patient`: nobody gives up."""

    def __init__(self, seed: int, calls: int, *, patient: bool) -> None:
        self.rng = random.Random(f"erlang/{seed}/{patient}")
        self.patient = patient
        self.left_to_come = calls + WARM_UP
        self.office: Any = None
        self.waits: list[tuple[int, int, bool]] = []        # order of arrival, wait in ms, gave up
        self._came = 0
        self._caller: dict[str, tuple[int, int]] = {}       # leg -> order of arrival, when picked up
        self._number: dict[str, str] = {}
        self._served: set[str] = set()
        self.joined: dict[int, int] = {}                    # order of arrival -> when
        self.left: dict[int, int] = {}                      # likewise: rung for, or gave up
        self.rung: list[int] = []                           # order of arrival of those served, in the order of service
        self.busy: dict[str, list[int]] = {}                # leg of an agent -> when it began to ring, when it was over

    def live(self, office: Any) -> None:
        """Agents log in; then the first caller comes."""
        self.office = office
        for n in range(AGENTS):
            office.dial(str(201 + n), f"*11{8001 + n}#1#")
        office.later(60_000, self._next)

    def _next(self) -> None:
        if self.left_to_come == 0:
            return
        self.left_to_come -= 1
        line = self.office.free_line()
        if not line:
            raise RuntimeError(f"all {LINES} lines are busy: the model has lines without number")
        number = f"138{self._came:08}"
        self._came += 1
        leg = self.office.call_in(line, number, self.office.clock.now(), 1)
        self._caller[leg] = self._came, -1
        self._number[number] = leg
        self.office.later(max(1, round(1000 * self.rng.expovariate(CALLS_PER_S))), self._next)

    def rings(self, leg: str, endpoint: str, caller: str) -> None:
        waiting = self._number.get(caller, "")
        order, since = self._caller.get(waiting, (0, -1))
        if since >= 0:
            self.left[order] = self.office.clock.now()
            self.rung.append(order)
            self._served.add(waiting)
            self.waits.append((order, self.office.clock.now() - since - RING_MS, False))
        self.busy[leg] = [self.office.clock.now()]
        self.office.sets.lift(leg)
        service = max(1, round(1000 * self.rng.expovariate(1 / HANDLING_S)) - OVERHEAD_MS)
        self.office.later(service, lambda: self.office.hang_up(waiting))

    def picked_up(self, leg: str) -> None:
        if leg in self._caller:
            order, _ = self._caller[leg]
            self.joined[order] = self.office.clock.now()
            self._caller[leg] = order, self.office.clock.now()
            if not self.patient:
                self.office.later(max(1, round(1000 * self.rng.expovariate(1 / PATIENCE_S))), lambda: self._gives_up(leg))

    def _gives_up(self, leg: str) -> None:
        if leg in self._caller and leg not in self._served:
            order, since = self._caller[leg]
            self.left[order] = self.office.clock.now()
            self._served.add(leg)
            self.waits.append((order, self.office.clock.now() - since, True))
            self.office.hang_up(leg)

    def hears(self, leg: str, clips: tuple[str, ...], ms: int) -> None:
        """Nobody listens."""

    def speaks_with(self, leg: str, other: str) -> None:
        """The service time runs already."""

    def over(self, leg: str, cause: str) -> None:
        self._caller.pop(leg, None)
        if leg in self.busy:
            self.busy[leg].append(self.office.clock.now())


def discipline(source: Source) -> list[str]:
    """Where the queue was not what both theories take it for: who came first is served first, and nobody waits while an agent is free."""
    found = [f"caller {later} was served before caller {one}" for one, later in itertools.pairwise(source.rung) if later < one]
    changes = [(at, 1, 0) for at in source.joined.values()] + [(at, -1, 0) for at in source.left.values()]
    for begun, *over in source.busy.values():
        changes += [(begun, 0, 1), *((at, 0, -1) for at in over[:1])]
    changes.sort()
    waiting = busy = 0
    for (at, more, taken), (until, _, _) in itertools.pairwise(changes):
        waiting, busy = waiting + more, busy + taken
        if waiting and busy < AGENTS and until - at > SLACK_MS:
            found.append(f"at {at} ms {waiting} wait and {AGENTS - busy} of the agents are free for {until - at} ms")
    return found


def theory(patient: bool) -> Waiting:
    """What the model says."""
    load = CALLS_PER_S * HANDLING_S
    return erlang_c(AGENTS, load, HANDLING_S) if patient else erlang_a(AGENTS, CALLS_PER_S, HANDLING_S, PATIENCE_S)


def judge(source: Source, level: str) -> dict[str, Any]:
    """Means, half widths of their intervals, the theory's values, and which of them lie outside."""
    measured = [(wait, gone) for order, wait, gone in sorted(source.waits) if order > WARM_UP]
    model = theory(source.patient)
    size = len(measured) // BATCHES
    batches = [measured[at * size : (at + 1) * size] for at in range(BATCHES)]
    values = {
        "delayed": ([sum(wait > 1 for wait, _ in batch) / size for batch in batches], model.delayed),
        "wait_s": ([sum(wait for wait, _ in batch) / size / 1000 for batch in batches], model.wait_s),
    }
    if not source.patient:
        values["abandoned"] = ([sum(gone for _, gone in batch) / size for batch in batches], model.abandoned)
    found: dict[str, Any] = {"calls": len(measured), "level": level, "discipline": discipline(source), "differences": []}
    for name, (means, wanted) in values.items():
        mean = sum(means) / BATCHES
        spread = math.sqrt(sum((one - mean) ** 2 for one in means) / (BATCHES - 1))
        half = STUDENT[level] * spread / math.sqrt(BATCHES)
        found[name] = {"measured": round(mean, 4), "half_width": round(half, 4), "theory": round(wanted, 4)}
        if abs(mean - wanted) > half:
            found["differences"].append(f"{name}: measured {mean:.4f} +-{half:.4f} ({level} %), the theory says {wanted:.4f}")
    return found
