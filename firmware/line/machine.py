"""What the line machines have in common: facts in, intentions in, actions and events out, timers, one table (L1, pure).

Theory of operation
-------------------
A machine is told *facts* (`receive`: what the line measured or a detector heard, each with the instant `at`) and
*intentions* (`send`: what call control wants). It answers with *actions* (`actions()`: what media must do) and *events*
(`events()`: what happened, for call control). `deadline()` says when `expire(now)` wants to be called. What may happen in
which state is one literal table per machine: state -> input -> `Rule(method, states it may leave to)`; the table is the
documentation (`tables.mermaid`) and is enforced: a rule that leaves to a state it does not name is a LocalProtocolError.
An input without a rule means nothing in that state, except an intention, which is then a bug of the sender.

Invariants: time never goes back (a late fact is judged at its own instant, timers never fire before it); timers that were
due before a fact fire before it, so a slow reader sees the same history as a fast one; all memory is in `state`, which
serialises; attaching to a running port gives no drive and resets nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import msgspec

from firmware.call.model import Cause, Evidence
from firmware.errors import LocalProtocolError
from firmware.line.signals import (
    Action,
    CloseAudio,
    Detect,
    Ended,
    Event,
    Expired,
    Fact,
    HangUp,
    Intention,
    OpenAudio,
    StateChanged,
    StopPlayer,
)


class Rule(NamedTuple):
    """What an input does in a state: the method to call and every state it may leave to (its own included if it may stay)."""

    do: str
    to: tuple[str, ...]


Table = Mapping[str, Mapping[str, Rule]]


def rule(do: str, *to: str) -> Rule:
    """Shorthand for the literal tables."""
    return Rule(do, to)


class MachineState(msgspec.Struct):
    """What every machine remembers."""

    state: str = "IDLE"
    since: int = 0
    now: int = 0
    timers: dict[str, int] = {}
    token: int = 0
    call: bool = False               # a leg exists: Ended is owed
    audio: bool = True               # the port may be open (an earlier process may have left it so)
    published: str = ""              # last StateChanged, to say each change once
    published_detail: str = ""


S = TypeVar("S", bound=MachineState)


class Machine(Generic[S]):
    """Base of `Fxo` and `Fxs`; see the theory of operation."""

    TABLE: ClassVar[Table]
    PUBLIC: ClassVar[Mapping[str, str]]      # state -> state of `StateChanged`
    state: S

    def __init__(self, state: S) -> None:
        self.state = state
        self._actions: list[Action] = []
        self._events: list[Event] = []
        self._detect: Detect | None = None

    # the six-method face

    def receive(self, fact: Fact) -> None:
        """Take a fact. Timers due before it fire first."""
        self.expire(fact.at - 1)
        self.state.now = max(self.state.now, fact.at)
        if self._note(fact):
            self._dispatch(type(fact).__name__, fact)

    def send(self, intention: Intention) -> None:
        """Take an intention; LocalProtocolError when this state does not allow it (a hang-up is always allowed)."""
        self.expire(intention.at - 1)
        self.state.now = max(self.state.now, intention.at)
        name = type(intention).__name__
        if name not in self.TABLE[self.state.state] and not isinstance(intention, HangUp):
            raise LocalProtocolError(f"{type(self).__name__} cannot {name} in state {self.state.state}; wait for its events")
        self._dispatch(name, intention)

    def allows(self, intention: type[Intention]) -> bool:
        """True when `send` of this kind of intention is legal now."""
        return intention.__name__ in self.TABLE[self.state.state]

    def expire(self, now: int) -> None:
        """Fire every timer due at `now` or before, each at its own instant, in order."""
        state = self.state
        while True:
            due = [(at, name) for name, at in state.timers.items() if at <= now]
            own = self._own_deadline()
            if own is not None and own <= now and (not due or own <= min(due)[0]):
                state.now = max(state.now, own)
                self._own_expire(own)
                continue
            if not due:
                break
            at, name = min(due)
            del state.timers[name]
            state.now = max(state.now, at)
            self._dispatch(f"timer {name}", Expired(state.now, name))
        state.now = max(state.now, now)

    def deadline(self) -> int | None:
        """The instant at which `expire` wants to be called, or None."""
        instants = list(self.state.timers.values())
        own = self._own_deadline()
        if own is not None:
            instants.append(own)
        return min(instants, default=None)

    def actions(self) -> list[Action]:
        """Drain what media must do, in order. Carry these out before publishing the events."""
        out, self._actions = self._actions, []
        return out

    def events(self) -> list[Event]:
        """Drain what happened, in order."""
        out, self._events = self._events, []
        return out

    def snapshot(self) -> bytes:
        """The whole memory of the machine."""
        return msgspec.msgpack.encode(self.state)

    def memory(self) -> bytes:
        """The same without its clock: equal as long as nothing was learnt that a later process would have to know."""
        return msgspec.msgpack.encode(msgspec.structs.replace(self.state, now=0))

    # for the machines

    def _note(self, fact: Fact) -> bool:
        """Remember a fact; False when it says nothing new and needs no rule."""
        return True

    def _own_deadline(self) -> int | None:
        """Deadline of a part that keeps its own time."""
        return None

    def _own_expire(self, now: int) -> None:
        """That part's time has come."""

    def _dispatch(self, name: str, given: Any) -> None:
        before = self.state.state
        found = self.TABLE[before].get(name)
        if found is None:
            return
        getattr(self, "_" + found.do)(given)
        if self.state.state not in found.to:
            raise LocalProtocolError(f"{type(self).__name__}: {name} in {before} led to {self.state.state}, the table allows {found.to}")

    def _enter(self, name: str, detail: str = "", keep: tuple[str, ...] = ()) -> None:
        """Change state: all timers but `keep` are dropped."""
        state = self.state
        state.timers = {timer: at for timer, at in state.timers.items() if timer in keep}
        state.state, state.since = name, state.now
        self._publish(self.PUBLIC[name], detail)

    def _publish(self, public: str, detail: str = "") -> None:
        state = self.state
        if (public, detail) != (state.published, state.published_detail):
            state.published, state.published_detail = public, detail
            self._emit(StateChanged(state.now, public, detail))

    def _timer(self, name: str, at: int) -> None:
        self.state.timers[name] = at

    def _after(self, name: str, ms: int) -> None:
        self.state.timers[name] = self.state.now + ms

    def _cancel(self, *names: str) -> None:
        for name in names:
            self.state.timers.pop(name, None)

    def _act(self, action: Action) -> None:
        if isinstance(action, OpenAudio):
            self.state.audio, self._detect = True, None
        elif isinstance(action, CloseAudio | StopPlayer) or action == Detect():
            if not self.state.audio:
                return                           # a closed port plays and hears nothing
            if isinstance(action, CloseAudio):
                self.state.audio, self._detect = False, None
        if isinstance(action, Detect):
            if action == self._detect:
                return
            self._detect = action
        self._actions.append(action)

    def _emit(self, event: Event) -> None:
        self._events.append(event)

    def _next_token(self) -> int:
        self.state.token += 1
        return self.state.token

    def _end(self, cause: Cause, evidence: Evidence, by_far: bool, at: int = -1) -> None:
        """Say `Ended`, once. `at`: when the call was over, where that is only known afterwards (a hang-up that could be a flash)."""
        if self.state.call:
            self.state.call = False
            self._emit(Ended(at if at >= 0 else self.state.now, cause, evidence, by_far))

    def _grace(self, ms: int) -> None:
        """After a gap without supervision: no overdue timer fires before the facts of now were seen."""
        state = self.state
        for name, at in state.timers.items():
            if at < state.now + ms:
                state.timers[name] = state.now + ms
