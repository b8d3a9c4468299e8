"""Queue strategies: pure functions (waiting, agents, now) -> offers (L1, pure; features G1, G13).

Theory of operation
-------------------
`waiting` is in order of service (who came first is first; who was offered in vain keeps the place). `agents` are the
agents of the queue that can take a call now, in the order of the configuration. A caller is offered to one agent at a
time, by "ring-all" to all of them and to those who become free while it rings. An agent whom this caller was offered to
in vain comes after those who were not.
Invariants: no agent is in two offers, a caller has one open offer at a time (but by ring-all), callers are served in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec


class Waiting(msgspec.Struct):
    """A caller in a queue. `since`: when he joined; `position`: sort key, lower is served first."""

    contact: str
    since: int
    position: int
    language: str = ""
    offered: list[str] = []
    tried: list[str] = []


class Candidate(msgspec.Struct, frozen=True):
    """An agent who can take a call now. Instants in engine ms; `order`: place in the configuration."""

    agent: str
    idle_since: int
    last_offered: int
    calls: int
    order: int


class Offer(msgspec.Struct, frozen=True):
    """Ring this agent for this caller."""

    contact: str
    agent: str


Key = Callable[[Candidate], tuple[int, ...]]

#: Who is rung first, per strategy: lowest key first.
ORDER: dict[str, Key] = {
    "longest-idle": lambda one: (one.idle_since, one.order),
    "ring-all": lambda one: (one.order,),
    "round-robin": lambda one: (one.last_offered, one.order),
    "fewest-calls": lambda one: (one.calls, one.idle_since, one.order),
    "linear": lambda one: (one.order,),
}


def offers(strategy: str, waiting: Sequence[Waiting], agents: Sequence[Candidate], now: int) -> list[Offer]:
    """Offers to make now. `now` bounds nothing today and is part of the signature of every strategy."""
    order = ORDER[strategy]
    free = {candidate.agent: candidate for candidate in agents if candidate.idle_since <= now}
    made: list[Offer] = []
    for caller in waiting:
        if caller.offered and strategy != "ring-all":
            continue
        if not free:
            break
        ranked = sorted(free.values(), key=lambda one: (one.agent in caller.tried, *order(one)))
        chosen = ranked if strategy == "ring-all" else ranked[:1]
        for candidate in chosen:
            made.append(Offer(caller.contact, candidate.agent))
            del free[candidate.agent]
    return made
