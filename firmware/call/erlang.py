"""How many people and lines a load needs: Erlang B, C and A (L1, pure).

Sources: A. K. Erlang 1917 (B by its recursion, C from B); Erlang A after C. Palm 1957, see Garnett, Mandelbaum and Reiman, "Designing a
call center with impatient customers", 2002: a birth-death chain in which a waiting caller leaves after an exponential time. Loads in
erlang (calls per second times handling time), times in seconds. Small branches are better served by Erlang A: Erlang C lets nobody give
up, overstates waiting and has no answer where the load reaches the number of agents.
"""

from __future__ import annotations

import math

import msgspec

#: Chains are summed until what is left out weighs less than this.
TAIL = 1e-12
MOST_AGENTS = 500


class Waiting(msgspec.Struct, frozen=True):
    """What callers meet. `delayed`: share that waits at all; `abandoned`: share that gives up; `wait_s`: mean wait of all callers."""

    delayed: float
    abandoned: float
    wait_s: float
    service_level: float
    occupancy: float


def erlang_b(lines: int, load: float) -> float:
    """Share of calls that find all lines busy."""
    blocked = 1.0
    for n in range(1, lines + 1):
        blocked = load * blocked / (n + load * blocked)
    return blocked


def erlang_c(agents: int, load: float, handling_s: float, within_s: float = 20.0) -> Waiting:
    """Callers wait for ever. Where the load reaches the agents the queue grows without end: wait infinite, level 0."""
    if load >= agents:
        return Waiting(1.0, 0.0, math.inf, 0.0, 1.0)
    blocked = erlang_b(agents, load)
    delayed = agents * blocked / (agents - load * (1 - blocked))
    free = agents - load
    level = 1 - delayed * math.exp(-free * within_s / handling_s)
    return Waiting(delayed, 0.0, delayed * handling_s / free, level, load / agents)


def erlang_a(agents: int, calls_per_s: float, handling_s: float, patience_s: float) -> Waiting:
    """Callers give up after an exponential time of mean `patience_s`. `service_level` is not given (nan): it has no short form."""
    weights = [1.0]
    k = 0
    while True:
        k += 1
        leaving = min(k, agents) / handling_s + max(0, k - agents) / patience_s
        weights.append(weights[-1] * calls_per_s / leaving)
        if k > agents and weights[-1] < TAIL * sum(weights) and calls_per_s < leaving:
            break
    total = sum(weights)
    delayed = sum(weights[agents:]) / total
    queue = sum((k - agents) * weight for k, weight in enumerate(weights) if k > agents) / total
    busy = sum(min(k, agents) * weight for k, weight in enumerate(weights)) / total
    return Waiting(delayed, queue / (calls_per_s * patience_s), queue / calls_per_s, math.nan, busy / agents)


def seats(calls_per_hour: float, handling_s: float, *, level: float = 0.8, within_s: float = 20.0, occupancy: float = 0.85) -> int:
    """Fewest agents with whom Erlang C meets the service level and the occupancy; 0 without calls."""
    load = calls_per_hour / 3600.0 * handling_s
    if load <= 0:
        return 0
    agents = max(1, math.ceil(load))
    while agents < MOST_AGENTS:
        waiting = erlang_c(agents, load, handling_s, within_s)
        if waiting.service_level >= level and waiting.occupancy <= occupancy:
            break
        agents += 1
    return agents


def rostered(agents: int, shrinkage: float) -> int:
    """People to be put on the roster so that `agents` are there: breaks, training and illness take `shrinkage` (0..1) of paid time."""
    return math.ceil(agents / (1 - shrinkage) - 1e-9)
