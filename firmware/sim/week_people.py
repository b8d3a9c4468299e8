"""The people of a simulated week: callers and agents, who act on what they hear and keep notes of it: the oracle (pure).

Theory of operation. People know their telephone only: what rings, what is said, with whom they speak, when the line goes dead. A caller's
note says when he rang, was picked up, pressed the key that led to the queue, when an agent picked up for him (the agent's own note), when
both spoke, who hung up. Nothing is taken from the product's state or records. Instants are ms of the plan (0 is the first midnight).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from firmware.sim.week_plan import AGENTS, BACK_OFFICE, PHONE, Call, Plan, Shift

RING_MS = 5000
OFFER_MS = 5600              # second burst is counted, caller id is complete
AGENT_OF = {phone: agent for agent, phone in PHONE.items()}


@dataclass
class CallerNote:
    """What a caller noticed. -1: never. `entered`: the queue; `end`: how it ended for him; `by_self`: he hung up;
    `dropped`: when agents were gone who had picked up, before he could speak."""

    call: Call
    line: str = ""
    rang: int = -1
    picked_up: int = -1
    entered: int = -1
    agent_at: int = -1
    agent: str = ""
    met: int = -1
    apart: int = -1
    ended: int = -1
    by_self: bool = False
    agent_left_first: bool = False
    rated: int = 0
    cause: str = ""
    heard: list[str] = field(default_factory=list)
    blocked: bool = False
    transferred: bool = False
    dropped: list[int] = field(default_factory=list)
    queues: list[tuple[str, int]] = field(default_factory=list)


@dataclass
class RingNote:
    """A telephone that rang at an agent's desk."""

    agent: str
    caller: str
    rang: int
    picked_up: int = -1
    ended: int = -1
    by_self: bool = False
    met: bool = False
    cause: str = ""


@dataclass
class PauseNote:
    """A pause as the agent heard it confirmed."""

    agent: str
    reason: str
    begins: int
    ends: int = -1


class Agent:
    """One person at a desk."""

    def __init__(self, number: str) -> None:
        self.number = number
        self.phone = PHONE[number]
        self.leg = ""                 # of the call at this phone
        self.ring: RingNote | None = None
        self.wish: Callable[[], None] | None = None
        self.present = False
        self.misses = 0


class Crowd:
    """Everybody. `office` is the bench (`app/office.py`), handed in."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.office: Any = None
        self.rng = random.Random(f"people/{plan.seed}")
        self.notes: list[CallerNote] = []
        self.rings_noted: list[RingNote] = []
        self.pauses: list[PauseNote] = []
        self.gaps: list[tuple[int, int]] = []
        self.cuts: list[int] = []
        self.codes = 0
        self._callers: dict[str, CallerNote] = {}         # leg -> note
        self._agents = {number: Agent(number) for number in AGENTS}
        self._desk: dict[str, Agent] = {}                 # leg -> agent, calls he dials included
        self._dialled: dict[str, tuple[Agent, str, str]] = {}
        self._back_office = ""
        self._numbers: dict[str, CallerNote] = {}
        self._zero = 0

    def now(self) -> int:
        return int(self.office.clock.now()) - self._zero

    def later(self, ms: int, fn: Callable[[], None]) -> None:
        self.office.later(ms, fn)

    def live(self, office: Any) -> None:
        """Set everything of the plan into the office's time."""
        self.office, self._zero = office, int(office.clock.now())
        for call in self.plan.calls:
            self.later(call.at, partial(self._rings_in, call))
        for shift in self.plan.shifts:
            self._set_shift(shift)
        for fault in self.plan.faults:
            self.later(fault.at, partial(self._breaks, fault))

    # --- callers ------------------------------------------------------------------------------------------------------

    def _rings_in(self, call: Call) -> None:
        note = CallerNote(call)
        self.notes.append(note)
        note.line = self.office.free_line() if self.office.alive else ""
        if not note.line:
            note.blocked = True
            return
        note.rang = self.now()
        self._numbers[call.number] = note
        self.office.resting[note.line] = self.office.clock.now() + OFFER_MS + 1          # the exchange rings it
        wait = OFFER_MS if call.rings_ms < 0 else call.rings_ms
        self.later(wait, lambda: self._offered(note, wait))

    def _offered(self, note: CallerNote, rang_ms: int) -> None:
        began = note.rang + self._zero
        if not self.office.alive or note.line in self.office.pulled:
            note.blocked, note.rang = True, -1
        elif note.call.rings_ms >= 0:
            note.ended, note.by_self = self.now(), True
            self.office.gave_up(note.line, note.call.number, began, rang_ms // RING_MS + 1)
        else:
            leg = self.office.call_in(note.line, note.call.number, began, rang_ms // RING_MS + 1)
            self._callers[leg] = note

    def _caller_hears(self, leg: str, note: CallerNote, clips: tuple[str, ...], ms: int) -> None:
        call = note.call
        prompts = [clip.partition("/")[2] for clip in clips]
        note.heard += prompts
        if prompts[-1] == "ivr.main" and note.entered < 0:
            self.later(min(call.menu_ms, ms - 100) if call.barge else ms + min(call.menu_ms, 4000), lambda: self._chooses(leg, note))
        elif prompts[-1] == "rate.ask" and call.rating:
            note.agent_left_first = True
            self.later(1000, lambda: self._rates(leg, note))
        elif prompts[-1] == "rate.ask":
            note.agent_left_first = True
            self.later(800, lambda: self._leaves(leg, note))

    def _chooses(self, leg: str, note: CallerNote) -> None:
        if leg in self._callers and note.entered < 0:
            key = {"sales": "1", "service": "2", "complaints": "3"}[note.call.queue]
            note.entered = self.now()
            note.queues.append((note.call.queue, note.entered))
            self.office.press(leg, key)
            self.later(note.call.patience_ms, lambda: self._impatient(leg, note))

    def _impatient(self, leg: str, note: CallerNote) -> None:
        """Gives up, unless somebody answered or the box is taking leave."""
        if leg in self._callers and note.agent_at < 0 and not {"q.full", "night.msg"} & set(note.heard):
            self._leaves(leg, note)

    def _rates(self, leg: str, note: CallerNote) -> None:
        if leg in self._callers and not note.rated:
            if note.call.rating in "123":
                note.rated = int(note.call.rating)
            self.office.press(leg, note.call.rating)

    def _leaves(self, leg: str, note: CallerNote) -> None:
        if leg in self._callers:
            note.by_self = True
            self.office.hang_up(leg)

    # --- what telephones tell (People) --------------------------------------------------------------------------------

    def rings(self, leg: str, endpoint: str, caller: str) -> None:
        if endpoint == BACK_OFFICE:
            self._back_office = leg
            self.later(self.rng.randint(1500, 6000), lambda: self.office.sets.lift(leg))
            return
        agent = self._agents[AGENT_OF[endpoint]]
        agent.leg, agent.ring = leg, RingNote(agent.number, caller, self.now())
        self.rings_noted.append(agent.ring)
        self._desk[leg] = agent
        if self.rng.random() < 0.95:
            self.later(self.rng.randint(1200, 7000), lambda: self.office.sets.lift(leg))
        elif self.rng.random() < 0.3:
            agent.ring.by_self = True
            self.later(2000, lambda: self.office.hang_up(leg))

    def picked_up(self, leg: str) -> None:
        now = self.now()
        note, agent = self._callers.get(leg), self._desk.get(leg)
        if note is not None:
            note.picked_up = now
        elif agent is not None and agent.ring is not None and leg == agent.leg:
            agent.ring.picked_up = now
            agent.misses = 0
            caller = self._numbers.get(agent.ring.caller)
            if caller is not None and not caller.by_self:        # he may have left in this very millisecond
                caller.agent_at, caller.agent = now, agent.number
                self._at_once(caller, agent)

    def _at_once(self, note: CallerNote, agent: Agent) -> None:
        """Now and then one of the two is gone while the agent's number is said."""
        drawn, leg, ring = self.rng.random(), agent.leg, agent.ring

        def agent_goes() -> None:
            if self._desk.get(leg) is agent and agent.ring is ring and note.met < 0:
                self._agent_leaves(leg)

        def caller_goes() -> None:
            mine = next((one for one, of in self._callers.items() if of is note), "")
            if note.met < 0 and note.agent_at >= 0:
                self._leaves(mine, note)

        if drawn < 0.015:
            self.later(self.rng.randint(0, 1500), agent_goes)
        elif drawn < 0.03:
            self.later(self.rng.randint(0, 1500), caller_goes)

    def hears(self, leg: str, clips: tuple[str, ...], ms: int) -> None:
        note = self._callers.get(leg)
        if note is not None:
            self._caller_hears(leg, note, clips, ms)
        elif leg in self._dialled:
            self._code_heard(leg, clips)

    def speaks_with(self, leg: str, other: str) -> None:
        note, agent = self._callers.get(leg), self._desk.get(other)
        if note is not None and agent is not None and agent.ring is not None:
            agent.ring.met = True
        if note is None:
            if leg == self._back_office and other in self._desk:
                # The colleague has been told; the agent hangs up, and the caller is with the colleague.
                self.later(4000, lambda: self.office.hang_up(other))
            return
        if note.met >= 0:
            note.transferred = True
            return
        note.met = self.now()
        if note.call.transfer and agent is not None:
            self.later(2000, lambda: self.office.press(other, "*3" + BACK_OFFICE))
            self.later(max(40_000, note.call.talk_ms), lambda: self._leaves(leg, note))
        elif note.call.agent_ends:
            self.later(note.call.talk_ms, lambda: self._agent_leaves(other))
        else:
            self.later(note.call.talk_ms, lambda: self._leaves(leg, note))

    def _agent_leaves(self, leg: str) -> None:
        agent = self._desk.get(leg)
        if agent is not None and agent.ring is not None:
            agent.ring.by_self = True
            self.office.hang_up(leg)

    def over(self, leg: str, cause: str) -> None:
        now = self.now()
        note, agent = self._callers.pop(leg, None), self._desk.pop(leg, None)
        self._dialled.pop(leg, None)
        if note is not None:
            note.ended, note.cause = now, cause
        if agent is not None and leg == agent.leg:
            ring, agent.leg = agent.ring, ""
            if ring is not None:
                ring.ended, ring.cause = now, cause
                self._dropped(ring)
                if ring.picked_up < 0 and (cause == "no-answer" or ring.by_self):
                    agent.misses += 1
                    if agent.misses >= 3:
                        # "auto" paused: the lamp on the desk shows it, and he comes back from wherever he was.
                        agent.misses = 0
                        self.pauses.append(PauseNote(agent.number, "auto", now))
                        self._when_idle(agent, lambda: self._dial(agent, "*14", "ready"), 60_000)

    def _dropped(self, ring: RingNote) -> None:
        """The agent hung up before the caller could speak: he waits on, and may have lost his patience by then."""
        note = self._numbers.get(ring.caller)
        if note is None or ring.picked_up < 0 or not ring.by_self or note.met >= 0 or note.ended >= 0:
            return
        note.agent_at = -1
        note.dropped.append(self.now())
        if note.entered < 0:
            return
        leg = next((one for one, of in self._callers.items() if of is note), "")
        self.later(max(2000, note.entered + note.call.patience_ms - self.now()), lambda: self._impatient(leg, note))

    # --- agents -------------------------------------------------------------------------------------------------------

    def _set_shift(self, shift: Shift) -> None:
        agent = self._agents[shift.agent]
        self.later(shift.begins, lambda: self._when_idle(agent, lambda: self._dial(agent, f"*11{agent.number}#4711#", "login")))
        for begins, length, reason in shift.pauses:
            self.later(begins, partial(self._when_idle, agent, partial(self._dial, agent, "*13" + reason, "pause", reason)))
            self.later(begins + length, lambda: self._when_idle(agent, lambda: self._dial(agent, "*14", "ready")))
        self.later(shift.ends, lambda: self._when_idle(agent, lambda: self._dial(agent, "*12", "logout")))

    def _when_idle(self, agent: Agent, fn: Callable[[], None], after_ms: int = 0) -> None:
        """Nobody dials while he speaks or his phone rings: he waits and tries again."""

        def attempt() -> None:
            busy = self.office.sets.at(agent.phone) is not None
            if busy or not self.office.alive:
                self.later(3000, attempt)
            else:
                fn()

        self.later(after_ms, attempt)

    def _dial(self, agent: Agent, digits: str, what: str, reason: str = "") -> None:
        leg = self.office.dial(agent.phone, digits)
        self._dialled[leg] = (agent, what, reason)
        self.codes += 1

    def _code_heard(self, leg: str, clips: tuple[str, ...]) -> None:
        agent, _, reason = self._dialled[leg]
        prompt = clips[0].partition("/")[2]
        now = self.now()
        current = next((one for one in reversed(self.pauses) if one.agent == agent.number and one.ends < 0), None)
        if prompt in ("agent.ready", "agent.logout.ok", "agent.login.ok") and current is not None:
            current.ends = now
        if prompt in ("agent.ready", "agent.login.ok"):
            agent.misses = 0                   # who says that he is there begins anew: a telephone missed last evening counts no longer
        if prompt == "agent.paused" and (current is None or current.reason != reason):   # who is away for it already stays away
            if current is not None:
                current.ends = now
            self.pauses.append(PauseNote(agent.number, reason, now))

    # --- faults -------------------------------------------------------------------------------------------------------

    def _breaks(self, fault: Any) -> None:
        now = self.now()
        if not self.office.alive:
            return
        if fault.kind == "core":
            self.gaps.append((now, now + fault.ms))
            self.office.kill_core(fault.ms)
        elif fault.kind == "media":
            self.office.lose_media()
        elif fault.kind == "line":
            self.office.pull(fault.line)
            self.later(fault.ms, lambda: self.office.plug(fault.line))
        else:
            self.gaps.append((now, now + fault.ms))
            self.cuts.append(now)
            self.office.cut_power(fault.ms)
