"""The floor: agents, queues and endpoints that all contacts share (L1, pure).

Theory of operation
-------------------
`Floor` is the one owner of agent states and of who waits where. An agent is in exactly one state:

    logged-out -> ready -> offered -> talking -> wrap-up -> ready      (paused beside ready; see AGENT_MOVES)

Pausing or logging out while offered or talking is kept as a wish and done when the wrap-up is over; wrap-up is honoured
for every queue the agent serves, whatever way the call went. Whether an agent can be offered a call also depends on the
telephone: one that is in any other call, ringing, unregistered or faulty is not rung. While its owner wants not to be disturbed
(`acd.dnd_pauses`) an agent who would be ready there is paused with the reason "dnd", and ready again by itself when that is over.
Invariants: an agent is logged in on one phone and a phone carries one agent; a contact waits in at most one queue;
`leave` may be called at any time and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

import msgspec

from firmware.call.estimate import Service
from firmware.call.events import AgentChanged, CallEvent, QueueChanged
from firmware.call.model import is_trunk
from firmware.call.queue import Candidate, Match, Offer, Waiting, offers, place, widens
from firmware.call.state import ContactState
from firmware.config.schema.calls import Queue
from firmware.config.schema.tree import Config

#: Reason of the pause of an agent whose telephone is not to be disturbed.
DND = "dnd"
#: How entries of a queue begin that stand for a callback instead of a contact.
CALLBACK = "cb:"


class Status(StrEnum):
    """State of an agent."""

    LOGGED_OUT = "logged-out"
    READY = "ready"
    OFFERED = "offered"
    TALKING = "talking"
    WRAP_UP = "wrap-up"
    PAUSED = "paused"


AGENT_MOVES: dict[Status, frozenset[Status]] = {
    Status.LOGGED_OUT: frozenset({Status.READY}),
    Status.READY: frozenset({Status.OFFERED, Status.PAUSED, Status.LOGGED_OUT}),
    Status.OFFERED: frozenset({Status.READY, Status.TALKING, Status.PAUSED, Status.LOGGED_OUT}),
    Status.TALKING: frozenset({Status.WRAP_UP}),
    Status.WRAP_UP: frozenset({Status.READY, Status.PAUSED, Status.LOGGED_OUT, Status.TALKING}),
    Status.PAUSED: frozenset({Status.READY, Status.LOGGED_OUT}),
}
#: Why a state changed, told with every change that has no reason of its own.
WHY: dict[tuple[Status, Status], str] = {
    (Status.LOGGED_OUT, Status.READY): "log-in", (Status.PAUSED, Status.READY): "back", (Status.WRAP_UP, Status.READY): "notes-over",
    (Status.OFFERED, Status.READY): "not-answered", (Status.WRAP_UP, Status.TALKING): "handed-over",
}
WHY_AT_ALL = {Status.READY: "ready", Status.OFFERED: "call", Status.TALKING: "answered", Status.WRAP_UP: "call-over",
              Status.PAUSED: "pause", Status.LOGGED_OUT: "log-out"}  # fmt: skip


class AgentState(msgspec.Struct):
    """One agent at work. Instants in engine ms. `wish`: state to enter after wrap-up; `last_contact`: worked on last; `called_in`: queues
    beside his own that emergency staffing gave him."""

    agent: str
    status: Status = Status.LOGGED_OUT
    extension: str = ""
    since: int = 0
    reason: str = ""
    contact: str = ""
    queue: str = ""
    idle_since: int = 0
    last_offered: int = 0
    not_before: int = 0
    wrap_until: int = 0
    calls: int = 0
    misses: int = 0
    wish: Status | None = None
    wish_reason: str = ""
    last_contact: str = ""
    called_in: list[str] = []


class FloorState(msgspec.Struct):
    """Serialisable form of the floor."""

    agents: dict[str, AgentState] = {}
    queues: dict[str, list[Waiting]] = {}
    endpoints: dict[str, str] = {}
    turn: int = 0
    service: dict[str, Service] = {}
    widen_at: int = -1
    """When waiting alone lets another agent be offered somebody; -1 for never."""
    callback_at: int = -1
    """When a callback has its time (`switch_callbacks`); -1 for never."""
    staffing_at: int = -1
    """When emergency staffing has something to decide; -1 for never."""


class Floor:
    """See the theory of operation. `in_use(endpoint)` says whether a contact has a live leg there."""

    def __init__(self, config: Config, in_use: Callable[[str], bool], publish: Callable[[CallEvent], None]) -> None:
        self.state = FloorState()
        self._in_use = in_use
        self._publish = publish
        self.undisturbed: Callable[[str], bool] = lambda extension: False
        """Whether a telephone is not to be disturbed by queues."""
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take over a configuration: new agents are logged out, agents and queues that are gone are dropped when idle."""
        self._config = config
        for number in config.agents:
            self.state.agents.setdefault(number, AgentState(number))
        for number in [one for one in self.state.agents if one not in config.agents]:
            if self.state.agents[number].status not in (Status.TALKING, Status.OFFERED):
                del self.state.agents[number]
        for name in config.queues:
            self.state.queues.setdefault(name, [])

    def restore(self, state: FloorState) -> None:
        """Take over the floor of an earlier process."""
        self.state = state
        self.configure(self._config)

    def reconcile(self, contacts: Mapping[str, ContactState]) -> None:
        """After a restart: drop what no contact backs, so that no agent is stuck and no queue has a ghost."""
        for name, line in self.state.queues.items():
            self.state.queues[name] = [
                one for one in line if is_callback(one.contact) or (one.contact in contacts and contacts[one.contact].queue == name)
            ]
            for one in self.state.queues[name]:
                if is_callback(one.contact):
                    continue
                one.offered = [agent for agent in one.offered if agent in contacts[one.contact].offers.values()]
        for agent in self.state.agents.values():
            legs = [leg for state in contacts.values() for leg in state.live_legs if leg.agent == agent.agent]
            if agent.status is Status.OFFERED and not legs:
                self.offer_over(agent.agent, agent.since, missed=False)
            elif agent.status is Status.TALKING and not legs:
                self.released(agent.agent, agent.since)

    # --- endpoints ----------------------------------------------------------------------------------------------------

    def endpoint(self, name: str, state: str) -> None:
        """An extension or line changed its availability (states of `EndpointState`)."""
        self.state.endpoints[name] = state

    def usable(self, name: str) -> bool:
        """Whether an endpoint takes a new call; a trunk takes many. One that never reported counts as free: the attempt will tell."""
        free = self.state.endpoints.get(name, "idle") == "idle"
        return free if is_trunk(name) else free and not self._in_use(name)

    # --- agents -------------------------------------------------------------------------------------------------------

    def agent(self, number: str) -> AgentState:
        """State of an agent; KeyError if there is no such agent."""
        return self.state.agents[number]

    def on_phone(self, extension: str) -> AgentState | None:
        """The agent logged in on a phone."""
        for agent in self.state.agents.values():
            if agent.extension == extension and agent.status is not Status.LOGGED_OUT:
                return agent
        return None

    def _move(self, agent: AgentState, status: Status, now: int, reason: str = "") -> None:
        if status is Status.READY and agent.status is not Status.LOGGED_OUT and self.undisturbed(agent.extension):
            status, reason = Status.PAUSED, DND
        if status is agent.status and reason == agent.reason:
            return
        if status is not agent.status and status not in AGENT_MOVES[agent.status]:
            raise ValueError(f"agent {agent.agent} cannot go from {agent.status} to {status}")
        before, contact = agent.status, agent.contact
        agent.status, agent.since, agent.reason = status, now, reason
        if status is Status.LOGGED_OUT:
            agent.extension = ""
        if status in (Status.READY, Status.LOGGED_OUT, Status.PAUSED):
            agent.contact, agent.queue, agent.wish, agent.wish_reason = "", "", None, ""
        if status is Status.READY:
            agent.idle_since = now
        why = reason or WHY.get((before, status)) or WHY_AT_ALL[status]
        self._publish(AgentChanged(now, agent.agent, status.value, agent.extension, reason, before.value, why, contact or agent.contact))

    def log_in(self, number: str, extension: str, now: int) -> bool:
        """Log an agent in on a phone, away from another phone if need be; False while the agent is in a call."""
        agent = self.agent(number)
        if agent.status in (Status.OFFERED, Status.TALKING):
            return False
        other = self.on_phone(extension)
        if other is not None and other.agent != number:
            if other.status in (Status.OFFERED, Status.TALKING):
                return False
            self._move(other, Status.LOGGED_OUT, now)
        if agent.status is not Status.LOGGED_OUT:
            self._move(agent, Status.LOGGED_OUT, now)
        agent.extension, agent.misses, agent.not_before = extension, 0, 0
        self._move(agent, Status.READY, now)
        self.disturbed(extension, now)
        return True

    def disturbed(self, extension: str, now: int) -> None:
        """A telephone is not to be disturbed from here on, or again: its agent is paused, or ready, unless he chose something else."""
        agent = self.on_phone(extension)
        if agent is not None and (agent.status is Status.READY or (agent.status is Status.PAUSED and agent.reason == DND)):
            self._move(agent, Status.READY, now)

    def log_out(self, number: str, now: int) -> None:
        """Log an agent out, after the present call if there is one."""
        self._wish(self.agent(number), Status.LOGGED_OUT, "", now)

    def may_leave(self, number: str) -> bool:
        """Whether enough agents stay in every queue of an agent who would log out by himself (`keep_agents`)."""
        for name, queue in self._config.queues.items():
            if queue.keep_agents and self.serves(number, name):
                others = [one for one in self.state.agents.values() if one.agent != number and self.serves(one.agent, name)]
                staying = [one for one in others if one.status is not Status.LOGGED_OUT and one.wish is not Status.LOGGED_OUT]
                if len(staying) < queue.keep_agents:
                    return False
        return True

    def pause(self, number: str, reason: str, now: int) -> None:
        """Pause an agent, after the present call if there is one."""
        self._wish(self.agent(number), Status.PAUSED, reason, now)

    def _wish(self, agent: AgentState, status: Status, reason: str, now: int) -> None:
        if agent.status is Status.LOGGED_OUT:
            return
        if agent.status in (Status.OFFERED, Status.TALKING):
            agent.wish, agent.wish_reason = status, reason
        else:
            self._move(agent, status, now, reason)

    def make_ready(self, number: str, now: int) -> bool:
        """End pause or wrap-up; False when the agent is logged out or in a call."""
        agent = self.agent(number)
        if agent.status in (Status.PAUSED, Status.WRAP_UP):
            self._move(agent, Status.READY, now)
        agent.misses = 0
        return agent.status is Status.READY

    def noted(self, number: str, now: int) -> None:
        """The agent keyed the result of the latest call: wrap-up is over; there is nothing left to note."""
        agent = self.agent(number)
        agent.last_contact = ""
        if agent.status is Status.WRAP_UP:
            self._move(agent, agent.wish or Status.READY, now, agent.wish_reason)

    # --- the course of a call -----------------------------------------------------------------------------------------

    def offered(self, number: str, contact: str, queue: str, now: int) -> None:
        """The agent's phone rings for a contact."""
        agent = self.agent(number)
        if agent.status is Status.READY:
            agent.contact, agent.queue = contact, queue
        self._move(agent, Status.OFFERED, now)
        agent.contact, agent.queue, agent.last_offered = contact, queue, now

    def answered(self, number: str, now: int) -> None:
        """The agent took the call."""
        agent = self.agent(number)
        agent.misses = 0
        agent.calls += 1
        self._move(agent, Status.TALKING, now)

    def take(self, extension: str, contact: str, queue: str, now: int) -> None:
        """A contact was transferred to a phone: the agent there, if ready or in wrap-up, works on it and gets wrap-up."""
        agent = self.on_phone(extension)
        if agent is None or agent.status not in (Status.READY, Status.WRAP_UP) or queue not in self._config.queues:
            return
        if agent.status is Status.WRAP_UP:
            agent.contact, agent.queue = contact, queue
        else:
            self.offered(agent.agent, contact, queue, now)
        self.answered(agent.agent, now)

    def offer_over(self, number: str, now: int, *, missed: bool, hold_off: int = 0) -> None:
        """The phone stopped ringing without an answer. `missed`: the agent could have answered and did not."""
        agent = self.state.agents.get(number)
        if agent is None or agent.status is not Status.OFFERED:
            return
        idle_since = agent.idle_since
        queue = self._config.queues.get(agent.queue)
        agent.misses += 1 if missed else 0
        agent.not_before = now + hold_off
        limit = queue.auto_pause_after if queue is not None else 0
        if agent.wish is not None:
            self._move(agent, agent.wish, now, agent.wish_reason)
        elif missed and limit and agent.misses >= limit:
            agent.misses = 0
            self._move(agent, Status.PAUSED, now, "auto")
        else:
            self._move(agent, Status.READY, now)
            if not missed:
                agent.idle_since = idle_since

    def released(self, number: str, now: int) -> None:
        """The agent's leg of an answered call is over: wrap-up begins."""
        agent = self.state.agents.get(number)
        if agent is None or agent.status is not Status.TALKING:
            return
        queue = self._config.queues.get(agent.queue)
        wrap = queue.wrap_up_s * 1000 if queue is not None else 0
        agent.wrap_until = now + wrap
        if queue is not None:
            self.state.service.setdefault(agent.queue, Service()).took(now - agent.since + wrap)
        agent.last_contact = agent.contact
        wish, reason = agent.wish, agent.wish_reason
        self._move(agent, Status.WRAP_UP, now)
        agent.contact, agent.wish, agent.wish_reason = "", wish, reason
        self.expire(now)

    def expire(self, now: int) -> None:
        """End wrap-ups and hold-offs that are due."""
        for agent in self.state.agents.values():
            if agent.not_before <= now:
                agent.not_before = 0
            if agent.status is Status.WRAP_UP and agent.wrap_until <= now:
                self._move(agent, agent.wish or Status.READY, now, agent.wish_reason)

    def deadline(self) -> int | None:
        """When `expire` or `offers` has something to do by time alone."""
        times = [one.wrap_until for one in self.state.agents.values() if one.status is Status.WRAP_UP]
        if any(self.state.queues.values()):
            times += [one.not_before for one in self.state.agents.values() if one.status is Status.READY and one.not_before]
        times += [at for at in (self.state.widen_at, self.state.callback_at, self.state.staffing_at) if at >= 0]
        return min(times) if times else None

    # --- queues -------------------------------------------------------------------------------------------------------

    def staffed(self, queue: str, needs: str = "logged-in") -> bool:
        """Whether the queue has the agents that a caller `needs`: one "logged-in" (paused and busy ones count), "working" (not
        paused), "ready", or "nobody"."""
        return needs == "nobody" or any(
            self.serves(one.agent, queue) and one.status is not Status.LOGGED_OUT and not (
                (needs in ("working", "ready") and one.status is Status.PAUSED)
                or (needs == "ready" and (one.status is not Status.READY or not self.usable(one.extension)))
            )
            for one in self.state.agents.values()
        )  # fmt: skip

    def at_work(self, queue: str) -> int:
        """Agents of a queue who are logged in and not paused."""
        idle = (Status.LOGGED_OUT, Status.PAUSED)
        return sum(self.serves(one.agent, queue) and one.status not in idle for one in self.state.agents.values())

    def serves(self, number: str, queue: str) -> bool:
        """Whether an agent answers a queue, by configuration or called in by emergency staffing."""
        known = self._config.agents.get(number)
        if known is None:
            return False
        return queue in known.queues or queue in self.state.agents[number].called_in

    def waiting(self, queue: str) -> list[Waiting]:
        """Callers of a queue in order of service."""
        return self.state.queues.get(queue, [])

    def join(self, queue: str, entry: Waiting, now: int) -> None:
        """Put a caller in a queue; one who comes back (`since` before now) takes his old place."""
        self.leave(entry.contact, now)
        self.state.turn += 1
        entry.position = self.state.turn
        line = self.state.queues.setdefault(queue, [])
        line.append(entry)
        line.sort(key=place)
        self._publish(QueueChanged(now, queue, len(line)))

    def leave(self, contact: str, now: int) -> None:
        """Take a caller out of whatever queue he is in."""
        for name, line in self.state.queues.items():
            kept = [one for one in line if one.contact != contact]
            if len(kept) != len(line):
                self.state.queues[name] = kept
                self._publish(QueueChanged(now, name, len(kept)))

    def replace(self, old: str, new: str) -> None:
        """`new` has the place of `old`."""
        entry = self.entry(old)
        if entry is not None:
            entry.contact, entry.offered, entry.tried = new, [], []

    def entry(self, contact: str) -> Waiting | None:
        """The caller's place, None if not waiting."""
        return next((one for line in self.state.queues.values() for one in line if one.contact == contact), None)

    def ahead(self, contact: str) -> int:
        """Callers before this one in the queue; 0 if not waiting."""
        for line in self.state.queues.values():
            for index, one in enumerate(line):
                if one.contact == contact:
                    return index
        return 0

    def _candidates(self, queue: str, now: int, taken: Iterable[str]) -> list[Candidate]:
        found = []
        for order, number in enumerate(self._config.agents):
            agent = self.state.agents.get(number)
            if agent is None or number in taken or not self.serves(number, queue):
                continue
            if agent.status is not Status.READY or agent.not_before > now or not self.usable(agent.extension):
                continue
            known = self._config.agents[number]
            found.append(Candidate(
                number, min(agent.idle_since, now), agent.last_offered, agent.calls, order, known.penalties.get(queue, 0), known.skills,
                tuple(known.languages),
            ))  # fmt: skip
        return found

    def next_offers(self, now: int) -> list[tuple[str, Offer]]:
        """(queue, offer) to make now, over all queues: the heavier queue first, of equal ones that whose first caller stands before."""
        made: list[tuple[str, Offer]] = []
        taken: set[str] = set()
        widen: list[int] = []
        queues = self._config.queues
        heads = [(name, line) for name, line in self.state.queues.items() if line and name in queues]
        for name, line in sorted(heads, key=lambda head: (-queues[head[0]].weight, *place(head[1][0])[:1], head[0])):
            queue, candidates = queues[name], self._candidates(name, now, taken)
            match = match_of(queue)
            for offer in offers(queue.strategy, line, candidates, now, match):
                taken.add(offer.agent)
                made.append((name, offer))
            at = widens(line, candidates, match, now)
            widen += [at] if at is not None else []
        self.state.widen_at = min(widen, default=-1)
        return made


def match_of(queue: Queue) -> Match:
    """How a queue of the configuration matches callers and agents."""
    return Match(queue.widen_s * 1000, queue.language)


def is_callback(contact: str) -> bool:
    """Whether an entry of a queue stands for somebody who is to be called back (`call/callback.py`)."""
    return contact.startswith(CALLBACK)
