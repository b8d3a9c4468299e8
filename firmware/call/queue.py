"""Queue strategies: pure functions (waiting, agents, now) -> offers (L1, pure; features G1, G4, G6, G13).

Theory of operation
-------------------
`waiting` is in order of service: who came first is first, and whoever goes `ahead` by a rule stands where one stands who came so
much earlier; who was offered in vain keeps the place. `agents` are the agents of the queue that can take a call now, in the order
of the configuration. A caller is offered to one agent at a time, by "ring-all" to all of them and to those who become free while
it rings. An agent whom this caller was offered to in vain comes after those who were not.

Who may be offered whom (`fits`): an agent has every skill that the caller needs, at the level asked for; speaks the caller's
language where the queue insists; and with a penalty of n joins when the caller has waited n widening steps. A step also lowers the
level asked for by one, never below the first. A caller with a preferred agent is kept for him until `preferred_until`.
`widens` is the next instant at which waiting alone lets somebody in.
Invariants: no agent is in two offers, a caller has one open offer at a time (but by ring-all); of two callers whom an agent fits, the
one who stands before is offered to him.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec


class Waiting(msgspec.Struct):
    """A caller in a queue. `since`: when he joined; `position`: sort key, lower is served first; `ahead`: ms that he stands before."""

    contact: str
    since: int
    position: int
    language: str = ""
    offered: list[str] = []
    tried: list[str] = []
    ahead: int = 0
    needs: dict[str, int] = {}
    preferred: str = ""
    preferred_until: int = 0


class Candidate(msgspec.Struct, frozen=True):
    """An agent who can take a call now. Instants in engine ms; `order`: place in the configuration."""

    agent: str
    idle_since: int
    last_offered: int
    calls: int
    order: int
    penalty: int = 0
    skills: dict[str, int] = {}
    languages: tuple[str, ...] = ()


class Match(msgspec.Struct, frozen=True):
    """How a queue matches: ms of waiting for each widening step (0: never), and what the caller's language means."""

    step_ms: int = 0
    language: Literal["no", "prefer", "only"] = "no"


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
    "skill": lambda one: (one.idle_since, one.order),
}


def place(caller: Waiting) -> tuple[int, int]:
    """Sort key of a caller in a queue."""
    return caller.since - caller.ahead, caller.position


def _steps(caller: Waiting, one: Candidate, match: Match) -> int | None:
    """Widening steps that must have passed before `one` may be offered the caller; None for never."""
    if match.language == "only" and caller.language and one.languages and caller.language not in one.languages:
        return None
    steps = one.penalty if match.step_ms else 0
    for skill, level in caller.needs.items():
        if skill not in one.skills:
            return None
        steps = max(steps, level - one.skills[skill])
    return steps


def opens(caller: Waiting, one: Candidate, match: Match) -> int | None:
    """The instant from which `one` may be offered the caller; None where waiting will not do it."""
    steps = _steps(caller, one, match)
    if steps is None or (steps and not match.step_ms):
        return None
    at = caller.since + steps * match.step_ms
    return max(at, caller.preferred_until) if caller.preferred and caller.preferred != one.agent else at


def fits(caller: Waiting, one: Candidate, match: Match, now: int) -> bool:
    """Whether the agent may be offered the caller now."""
    at = opens(caller, one, match)
    return at is not None and at <= now


def widens(waiting: Sequence[Waiting], agents: Sequence[Candidate], match: Match, now: int) -> int | None:
    """The next instant at which waiting lets one of `agents` be offered one of `waiting`."""
    times = [at for caller in waiting if not caller.offered for one in agents if (at := opens(caller, one, match)) is not None and at > now]
    return min(times, default=None)


def _rank(caller: Waiting, one: Candidate, strategy: str, match: Match) -> tuple[int | bool, ...]:
    speaks = match.language == "no" or not caller.language or not one.languages or caller.language in one.languages
    skilled = -sum(one.skills.get(skill, 0) for skill in caller.needs) if strategy == "skill" else 0
    return one.agent in caller.tried, one.agent != caller.preferred, not speaks, one.penalty, skilled, *ORDER[strategy](one)


def offers(strategy: str, waiting: Sequence[Waiting], agents: Sequence[Candidate], now: int, match: Match | None = None) -> list[Offer]:
    """Offers to make now."""
    match = match or Match()
    free = {candidate.agent: candidate for candidate in agents if candidate.idle_since <= now}
    made: list[Offer] = []
    for caller in waiting:
        if caller.offered and strategy != "ring-all":
            continue
        if not free:
            break
        fitting = [one for one in free.values() if fits(caller, one, match, now)]
        ranked = sorted(fitting, key=lambda one: _rank(caller, one, strategy, match))
        chosen = ranked if strategy == "ring-all" else ranked[:1]
        for candidate in chosen:
            made.append(Offer(caller.contact, candidate.agent))
            del free[candidate.agent]
    return made
