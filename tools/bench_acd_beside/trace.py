"""The calls of a comparison and the people who live them, whatever switch is between them (no I/O).

Theory of operation. A `Trace` is drawn from a seed: when each caller comes, to which queue, how long he is ready to wait and what he
wants to talk about for how long; how fast an agent answers a caller, or that he does not, is drawn from the pair of them. `Crowd` are
these people on a `Stage`: a real switch over SIP in real time, or the appliance's own call parts in virtual time. They note what they
notice at their telephones. `Figures` are made of these notes alone, so both switches are measured with one rule.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

QUEUES, SEATS = 6, 4
SERVICE_MS, PATIENCE_MS, ARRIVAL_MS = 24_000, 20_000, 7500      # means; 3.2 erlang for four agents
WRAP_UP_S, RING_S = 4, 8
PREFIX = "138"                                                  # then the queue's digit, then the caller's own
BELIEVED_MS = 300                                               # a free agent and a waiting caller for longer are noted


@dataclass(frozen=True)
class Call:
    """One caller. Times in ms; `at` from the beginning."""

    at: int
    number: str
    queue: str
    patience_ms: int
    service_ms: int
    agent_ends: bool


def trace(seed: int, seconds: int) -> list[Call]:
    """All callers of so many seconds, in the order of time."""
    rng = random.Random(f"acd-beside/{seed}")
    found = []
    for queue in range(QUEUES):
        at = 0.0
        while (at := at + rng.expovariate(1 / ARRIVAL_MS)) < 1000 * seconds:
            found.append((round(at), queue, round(rng.expovariate(1 / PATIENCE_MS)), round(rng.expovariate(1 / SERVICE_MS)),
                          rng.random() < 0.2))  # fmt: skip
    return [Call(at, f"{PREFIX}{queue}{n:07}", f"q{queue}", max(1000, patience), max(500, service), ends)
            for n, (at, queue, patience, service, ends) in enumerate(sorted(found))]  # fmt: skip


def agents() -> dict[str, str]:
    """Telephone of each agent, and his queue."""
    return {f"{2001 + seat + SEATS * queue}": f"q{queue}" for queue in range(QUEUES) for seat in range(SEATS)}


def answers_after(caller: str, phone: str) -> int:
    """ms until this agent picks up for this caller; -1: he lets it ring."""
    rng = random.Random(f"{caller}/{phone}")
    return -1 if rng.random() < 0.04 else rng.randint(700, 3500)


class Stage(Protocol):
    """What is between the people."""

    def now(self) -> int: ...
    def later(self, ms: int, fn: Callable[[], None]) -> None: ...
    def call(self, number: str, queue: str) -> str: ...
    def lift(self, leg: str) -> None: ...
    def hang_up(self, leg: str) -> None: ...


@dataclass
class Ring:
    """An agent's telephone rang for a caller."""

    phone: str
    begun: int
    lifted: int = -1
    over: int = -1


@dataclass
class Note:
    """What one caller and his agents noticed; instants in ms of the stage, -1: never."""

    call: Call
    leg: str = ""
    entered: int = -1
    met: int = -1
    agent: str = ""
    left: int = -1              # stopped waiting, by himself
    over: int = -1
    ended_by: str = ""          # "caller", "agent", "switch"
    rings: list[Ring] = field(default_factory=list)


class Crowd:
    """See the theory of operation."""

    def __init__(self, calls: list[Call]) -> None:
        self.notes = {call.number: Note(call) for call in calls}
        self._of: dict[str, Note] = {}
        self._rings: dict[str, tuple[Note, Ring]] = {}
        self.stage: Stage

    def begin(self, stage: Stage, after_ms: int = 0) -> None:
        """Every caller comes at his time."""
        self.stage = stage
        for note in self.notes.values():
            stage.later(after_ms + note.call.at, lambda note=note: self._comes(note))  # type: ignore[misc]

    def _comes(self, note: Note) -> None:
        note.leg = self.stage.call(note.call.number, note.call.queue)
        self._of[note.leg] = note

    def picked_up(self, leg: str) -> None:
        """The switch answered a caller: he waits from now on."""
        note = self._of.get(leg)
        if note is not None and note.entered < 0:
            note.entered = self.stage.now()
            self.stage.later(note.call.patience_ms, lambda: self._gives_up(note))

    def _gives_up(self, note: Note) -> None:
        if note.met < 0 and note.over < 0:
            note.left, note.ended_by = self.stage.now(), "caller"
            self.stage.hang_up(note.leg)

    def rings(self, leg: str, phone: str, caller: str) -> None:
        """An agent's telephone rings."""
        note = self.notes.get(caller)
        if note is None or leg in self._rings:
            return
        ring = Ring(phone, self.stage.now())
        note.rings.append(ring)
        self._rings[leg] = note, ring
        after = answers_after(caller, phone)
        if after >= 0:
            self.stage.later(after, lambda: self._lifts(leg))

    def _lifts(self, leg: str) -> None:
        note, ring = self._rings[leg]
        if ring.over >= 0:
            return
        ring.lifted = self.stage.now()
        self.stage.lift(leg)
        if note.met < 0 and note.over < 0:
            note.met, note.agent = ring.lifted, ring.phone
            who, ends = ("agent", leg) if note.call.agent_ends else ("caller", note.leg)
            self.stage.later(note.call.service_ms, lambda: self._ends(note, who, ends))

    def _ends(self, note: Note, who: str, leg: str) -> None:
        if note.over < 0:
            note.ended_by = note.ended_by or who
            self.stage.hang_up(leg)

    def over(self, leg: str) -> None:
        """A telephone call ended, whoever ended it."""
        if leg in self._rings:
            self._rings[leg][1].over = self.stage.now()
        note = self._of.get(leg)
        if note is not None and note.over < 0:
            note.over = self.stage.now()
            note.ended_by = note.ended_by or "switch"

    def done(self) -> bool:
        """Everybody has come and gone."""
        return all(note.over >= 0 for note in self.notes.values()) and all(ring.over >= 0 for _, ring in self._rings.values())


@dataclass
class Figures:
    """What the notes say. Waits in ms from the switch's answer until the agent picked up."""

    offered: int
    answered: int
    gave_up: int
    cut: int
    waits: list[int]
    idle_ms: int                # agent free and caller waiting at once, beyond BELIEVED_MS each time
    idle_worst_ms: int
    out_of_order: int           # rung before somebody who had come earlier and waited all the while
    ghost_ms: int               # longest time that a telephone went on ringing after its caller was gone
    unanswered: int             # rings that nobody answered while the caller stayed


def figures(crowd: Crowd) -> Figures:
    """Of all notes."""
    notes = [note for note in crowd.notes.values() if note.entered >= 0]
    idle, worst = 0, 0
    for queue in sorted({note.call.queue for note in notes}):
        each = _idle([note for note in notes if note.call.queue == queue])
        idle, worst = idle + sum(each), max([worst, *each])
    rings = [(note, ring) for note in notes for ring in note.rings]
    ghosts = [ring.over - note.over for note, ring in rings if ring.lifted < 0 and 0 <= note.over < ring.over]
    ignored = [ring for note, ring in rings if ring.lifted < 0 and not 0 <= note.over <= ring.over + 50]
    return Figures(
        len(notes), sum(note.met >= 0 for note in notes), sum(note.left >= 0 for note in notes),
        sum(note.ended_by == "switch" for note in notes), sorted(note.met - note.entered for note in notes if note.met >= 0), idle, worst,
        _out_of_order(notes), max([0, *ghosts]), len(ignored),
    )  # fmt: skip


def _idle(notes: list[Note]) -> list[int]:
    """Each time (ms) for which a caller of a queue waited with no telephone ringing for him while an agent was free."""
    changes: list[tuple[int, int, int]] = []
    busy: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for note in notes:
        until = next(at for at in (note.left, note.met, note.over) if at >= 0)
        changes += [(note.entered, 1, 0), (until, -1, 0)]
        for ring in note.rings:
            changes += [(ring.begun, -1, 0), (min(ring.over, until) if ring.lifted < 0 else until, 1, 0)]
            rest = 1000 * WRAP_UP_S if ring.lifted >= 0 else 2000       # who let it ring is left alone for a moment
            busy[ring.phone].append((ring.begun, ring.over + rest))
    for spans in busy.values():
        last = -1
        for begin, end in sorted(spans):
            if end > last:
                changes += [(max(begin, last), 0, 1), (end, 0, -1)]
                last = end
    found, waiting, taken, since = [], 0, 0, -1
    for at, now in itertools.groupby(sorted(changes), key=lambda change: change[0]):
        for _, more, less in now:
            waiting, taken = waiting + more, taken + less
        if waiting > 0 and taken < SEATS:
            since = at if since < 0 else since
        elif since >= 0:
            if at - since > BELIEVED_MS:
                found.append(at - since)
            since = -1
    return found


def _out_of_order(notes: list[Note]) -> int:
    """Callers who were rung for first although another one of the queue had waited longer, unrung, for a second and more."""
    first = [(note, note.rings[0].begun) for note in notes if note.rings]
    return sum(
        any(
            other.call.queue == note.call.queue and other.entered + 1000 < note.entered and (not other.rings or other.rings[0].begun > at)
            and (other.over < 0 or other.over > at) for other in notes
        ) for note, at in first
    )  # fmt: skip


def percentile(ordered: list[int], share: float) -> int:
    """Of a sorted list; 0 of an empty one."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0
