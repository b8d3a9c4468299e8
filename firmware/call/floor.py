"""The floor: agents, queues and endpoints that all contacts share (L1, pure).

Theory of operation
-------------------
`Floor` is the one owner of agent states and of who waits where. An agent is in exactly one state:

    logged-out -> ready -> offered -> talking -> wrap-up -> ready      (paused beside ready; see AGENT_MOVES)

Pausing or logging out while offered or talking is kept as a wish and done when the wrap-up is over; wrap-up is honoured
for every queue the agent serves, whatever way the call went. Whether an agent can be offered a call also depends on the
telephone: one that is in any other call, ringing, unregistered or faulty is not rung.
Invariants: an agent is logged in on one phone and a phone carries one agent; a contact waits in at most one queue;
`leave` may be called at any time and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

import msgspec

from firmware.call.events import AgentChanged, CallEvent, QueueChanged
from firmware.call.queue import Candidate, Offer, Waiting, offers
from firmware.call.state import ContactState
from firmware.config.schema.tree import Config


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
    Status.WRAP_UP: frozenset({Status.READY, Status.PAUSED, Status.LOGGED_OUT}),
    Status.PAUSED: frozenset({Status.READY, Status.LOGGED_OUT}),
}


class AgentState(msgspec.Struct):
    """One agent at work. Instants in engine ms. `wish`: state to enter after wrap-up."""

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


class FloorState(msgspec.Struct):
    """Serialisable form of the floor."""

    agents: dict[str, AgentState] = {}
    queues: dict[str, list[Waiting]] = {}
    endpoints: dict[str, str] = {}
    turn: int = 0


class Floor:
    """See the theory of operation. `in_use(endpoint)` says whether a contact has a live leg there."""

    def __init__(self, config: Config, in_use: Callable[[str], bool], publish: Callable[[CallEvent], None]) -> None:
        self.state = FloorState()
        self._in_use = in_use
        self._publish = publish
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
            self.state.queues[name] = [one for one in line if one.contact in contacts and contacts[one.contact].queue == name]
            for one in self.state.queues[name]:
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
        """Whether an endpoint is free for a new call. One that never reported counts as free: the attempt will tell."""
        return not self._in_use(name) and self.state.endpoints.get(name, "idle") == "idle"

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
        if status is agent.status and reason == agent.reason:
            return
        if status is not agent.status and status not in AGENT_MOVES[agent.status]:
            raise ValueError(f"agent {agent.agent} cannot go from {agent.status} to {status}")
        agent.status, agent.since, agent.reason = status, now, reason
        if status is Status.LOGGED_OUT:
            agent.extension = ""
        if status in (Status.READY, Status.LOGGED_OUT, Status.PAUSED):
            agent.contact, agent.queue, agent.wish, agent.wish_reason = "", "", None, ""
        if status is Status.READY:
            agent.idle_since = now
        self._publish(AgentChanged(now, agent.agent, status.value, agent.extension, reason))

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
        return True

    def log_out(self, number: str, now: int) -> None:
        """Log an agent out, after the present call if there is one."""
        self._wish(self.agent(number), Status.LOGGED_OUT, "", now)

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

    # --- the course of a call -----------------------------------------------------------------------------------------

    def offered(self, number: str, contact: str, queue: str, now: int) -> None:
        """The agent's phone rings for a contact."""
        agent = self.agent(number)
        self._move(agent, Status.OFFERED, now)
        agent.contact, agent.queue, agent.last_offered = contact, queue, now

    def answered(self, number: str, now: int) -> None:
        """The agent took the call."""
        agent = self.agent(number)
        agent.misses = 0
        agent.calls += 1
        self._move(agent, Status.TALKING, now)

    def take(self, extension: str, contact: str, queue: str, now: int) -> None:
        """A contact was transferred to a phone: the agent there, if ready, works on it and gets wrap-up."""
        agent = self.on_phone(extension)
        if agent is None or agent.status is not Status.READY or queue not in self._config.queues:
            return
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
        agent.wrap_until = now + (queue.wrap_up_s * 1000 if queue is not None else 0)
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
        return min(times) if times else None

    # --- queues -------------------------------------------------------------------------------------------------------

    def staffed(self, queue: str) -> bool:
        """Whether any agent of the queue is logged in (paused and busy ones count)."""
        return any(self._serves(agent.agent, queue) and agent.status is not Status.LOGGED_OUT for agent in self.state.agents.values())

    def _serves(self, number: str, queue: str) -> bool:
        known = self._config.agents.get(number)
        return known is not None and queue in known.queues

    def waiting(self, queue: str) -> list[Waiting]:
        """Callers of a queue in order of service."""
        return self.state.queues.get(queue, [])

    def join(self, queue: str, contact: str, since: int, now: int, language: str = "") -> None:
        """Put a caller in a queue; one who comes back (`since` before now) takes his old place."""
        self.leave(contact, now)
        self.state.turn += 1
        line = self.state.queues.setdefault(queue, [])
        line.append(Waiting(contact, since, self.state.turn, language))
        line.sort(key=lambda one: (one.since, one.position))
        self._publish(QueueChanged(now, queue, len(line)))

    def leave(self, contact: str, now: int) -> None:
        """Take a caller out of whatever queue he is in."""
        for name, line in self.state.queues.items():
            kept = [one for one in line if one.contact != contact]
            if len(kept) != len(line):
                self.state.queues[name] = kept
                self._publish(QueueChanged(now, name, len(kept)))

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
            if agent is None or number in taken or not self._serves(number, queue):
                continue
            if agent.status is not Status.READY or agent.not_before > now or not self.usable(agent.extension):
                continue
            found.append(Candidate(number, min(agent.idle_since, now), agent.last_offered, agent.calls, order))
        return found

    def next_offers(self, now: int) -> list[tuple[str, Offer]]:
        """(queue, offer) to make now, over all queues: who waits longest is served first."""
        made: list[tuple[str, Offer]] = []
        taken: set[str] = set()
        heads = sorted((line[0].since, name) for name, line in self.state.queues.items() if line and name in self._config.queues)
        for _, name in heads:
            queue = self._config.queues[name]
            for offer in offers(queue.strategy, self.state.queues[name], self._candidates(name, now, taken), now):
                taken.add(offer.agent)
                made.append((name, offer))
        return made
