"""The switchboard: every contact, the floor they share, and the order of events between them (L1, pure).

Theory of operation
-------------------
Sans-I/O: `receive(event, now)` takes leg, player and recorder events and endpoint states, `expire(now)` lets timers fire,
`deadline()` says when it wants to be called, `actions()` drains what is to be done, in order. After each input the floor is
asked for offers and the timers due at that instant fire, until nothing more happens. `snapshot()` and `restore()` carry
everything over a restart. An emergency call's needs (a line, a notice, a call-back window) are served here, because they
reach into other contacts.
Invariants: a leg belongs to one contact; a contact that is ENDED is forgotten after its `CloseContact`; queue, agents and
lines hold nothing of it then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import msgspec

from firmware.call import actions as do
from firmware.call import codes, dialling, features, ivr, rating, waiting
from firmware.call.actions import Action, TimerFired
from firmware.call.contact import Contact, Input
from firmware.call.emergency import RANKS, CallBack, LocalCall, called_back, victim
from firmware.call.events import CallEvent, ContactChanged, EmergencyEnded, EmergencyStarted, emergency_text
from firmware.call.floor import Floor, FloorState, Status
from firmware.call.model import Alert, Cause, EndpointState, Evidence, LegEnded, LegEvent, LegKind, LegOffered, LineMissed, Party, Side
from firmware.call.routing import Routing, ToEmergency, ToFeature
from firmware.call.state import ContactState, Kind, Leg, Phase
from firmware.call.times import LocalTime
from firmware.config.schema.tree import Config
from firmware.errors import NotAllowed, PbxError

__all__ = ["SwitchState", "Switchboard", "codes", "dialling", "features", "ivr", "rating", "waiting"]
_ROUNDS = 200


class IdSource(Protocol):
    """Where ids come from (`runtime/ids.py`)."""

    def leg(self) -> str:
        """A new leg id."""

    def contact(self) -> str:
        """A new contact id."""


class SwitchState(msgspec.Struct):
    """Everything but the contacts: the floor, the call-back windows, the token counter."""

    floor: FloorState = msgspec.field(default_factory=FloorState)
    windows: list[CallBack] = []
    tokens: int = 0


class Switchboard:
    """See the theory of operation.

    `emergency`: the country's emergency numbers; `local`: engine ms -> local time; `pins`: agent number -> PIN.
    """

    def __init__(
        self,
        config: Config,
        ids: IdSource,
        emergency: Collection[str],
        local: Callable[[int], LocalTime],
        pins: Mapping[str, str] | None = None,
    ) -> None:
        self.config = config
        self.contacts: dict[str, ContactState] = {}
        self.windows: list[CallBack] = []
        self._ids = ids
        self._country = frozenset(emergency)
        self._local = local
        self.pins = dict(pins or {})
        self._legs: dict[str, str] = {}
        self._tokens = 0
        self._actions: list[tuple[str, Action]] = []
        self.routing = Routing(config, emergency)
        self.floor = Floor(config, self.in_use, self._publish)

    def configure(self, config: Config, pins: Mapping[str, str]) -> None:
        """Take over another configuration; calls in progress go on."""
        self.config = config
        self.pins = dict(pins)
        self.routing = Routing(config, self._country)
        self.floor.configure(config)

    # --- what contacts ask (Desk) -------------------------------------------------------------------------------------

    def act(self, contact: str, action: Action) -> None:
        """Queue an action of a contact."""
        self._actions.append((contact, action))

    def leg_id(self) -> str:
        """A new leg id."""
        return self._ids.leg()

    def token(self) -> int:
        """A new token of a player or recorder: 1 .. 2**31-1, then again from 1."""
        self._tokens = self._tokens % 0x7FFFFFFF + 1
        return self._tokens

    def local(self, now: int) -> LocalTime:
        """Local time at an engine instant."""
        return self._local(now)

    def pin_is(self, agent: str, pin: str) -> bool:
        """Whether `pin` is the agent's; an agent without any PIN cannot log in by phone."""
        known = self.pins.get(agent) or self.config.agents[agent].pin
        return bool(known) and pin == known

    def in_use(self, endpoint: str) -> bool:
        """Whether any contact has a live leg on an endpoint."""
        return any(leg.live and leg.endpoint == endpoint for state in self.contacts.values() for leg in state.legs.values())

    def free_lines(self, group: str | None) -> list[str]:
        """Free lines of a group (None: any), in jack order."""
        return [line for line in self.routing.lines(group) if self.floor.usable(line)]

    def make_room(self, contact: str, now: int) -> str:
        """End the least important call on a line for the emergency call of `contact`."""
        calls = [
            LocalCall(leg.endpoint, state.id, RANKS.get(state.phase.value, 9), state.opened, state.emergency)
            for state in self.contacts.values() if state.id != contact
            for leg in state.live_legs if leg.kind is LegKind.FXO and (leg.answered >= 0 or not leg.incoming)
        ]  # fmt: skip
        chosen = victim(calls)
        if chosen is None:
            return ""
        other = Contact(self.contacts[chosen.contact], self, now)
        other.finish(Cause.PREEMPTED, Side.SYSTEM, Evidence("command", 1.0, "an emergency call needs the line"))
        self._changed(other.s, "", now)
        return chosen.line

    def emergency_begins(self, contact: ContactState, number: str, now: int) -> None:
        """Tell every screen."""
        extension = contact.extension or contact.caller.number
        self._publish(EmergencyStarted(now, contact.id, extension, number, emergency_text(extension, number)))

    def emergency_used(self, line: str, extension: str, number: str, now: int) -> None:
        """Open the call-back window of a line."""
        until = now + self.config.emergency_callback_s * 1000
        self.windows = [one for one in self.windows if one.until > now and not (one.line == line and one.extension == extension)]
        self.windows.append(CallBack(line, extension, number, until))

    # --- input --------------------------------------------------------------------------------------------------------

    def receive(self, event: Input | EndpointState | LineMissed, now: int) -> None:
        """Take one event; late events of legs that are gone are ignored."""
        if isinstance(event, EndpointState):
            self.floor.endpoint(event.endpoint, event.state)
            self._line_freed(event.endpoint, now)
        elif isinstance(event, LegOffered):
            self._offered(event, now)
        elif isinstance(event, LineMissed):
            self._missed(event, now)
        elif isinstance(event, TimerFired | do.LineFreed):
            raise ValueError("timers and freed lines are the switchboard's own inputs")
        else:
            self._give(self._legs.get(event.leg, ""), event, now)
            if isinstance(event, LegEnded):
                self._leg_gone(event.leg, now)
        self._settle(now)

    def _give(self, contact: str, event: Input, now: int) -> None:
        state = self.contacts.get(contact)
        if state is None:
            return
        before = state.phase.value
        Contact(state, self, now).receive(event)
        self._changed(state, before, now)

    def _changed(self, state: ContactState, before: str, now: int) -> None:
        """Index new legs, tell the screens, forget what is over."""
        for leg in state.legs:
            self._legs[leg] = state.id
        if state.phase.value == before:
            return
        self._publish(ContactChanged(now, state.id, state.phase.value, state.cause.value if state.cause is not None else ""))
        if state.phase is Phase.ENDED and state.id in self.contacts:
            del self.contacts[state.id]
            for leg in state.legs:
                self._legs.pop(leg, None)
            if state.emergency:
                until = now + self.config.emergency_callback_s * 1000
                extension = state.extension or state.caller.number
                for window in self.windows:
                    if window.extension == extension and any(leg.endpoint == window.line for leg in state.legs.values()):
                        window.until = max(window.until, until)
                self._publish(EmergencyEnded(now, state.id, extension, state.emergency_number))
            self.closed(state)

    def closed(self, state: ContactState) -> None:
        """Hook: the final state of a contact, just before it is forgotten; its `CloseContact` follows from `actions`."""

    def _leg_gone(self, leg: str, now: int) -> None:
        for line in self.routing.lines(None):
            self._line_freed(line, now)

    def _line_freed(self, endpoint: str, now: int) -> None:
        if not endpoint.startswith("line/") or not self.floor.usable(endpoint):
            return
        for state in list(self.contacts.values()):
            attempt = state.attempt
            if attempt is not None and attempt.emergency and not attempt.leg:
                self._give(state.id, do.LineFreed(now, endpoint), now)

    def _offered(self, event: LegOffered, now: int) -> None:
        if event.leg in self._legs:
            return
        outside = event.kind is LegKind.FXO
        if not outside and not event.caller.number:
            # A telephone on a jack says no number of its own: the colleague who is called sees its extension.
            known = self.config.extensions.get(event.endpoint)
            event = msgspec.structs.replace(event, caller=Party(event.endpoint, known.name if known is not None else ""))
        leg = Leg(
            event.leg, event.kind, event.endpoint, "caller", True, event.at, number=event.caller.number, name=event.caller.name,
            port=event.port, rings=event.rings, ring_started=event.ring_started if outside else -1,
        )  # fmt: skip
        state = ContactState(
            self._ids.contact(), Kind.INBOUND if outside else Kind.INTERNAL, event.at, Phase.ANSWERING,
            caller=event.caller, called=event.called if outside else self._recordable(event.endpoint, event.called),
            language=self.config.site.languages[0], a=event.leg, legs={event.leg: leg},
            line=event.endpoint if outside else "", extension="" if outside else event.endpoint,
            rings=event.rings, ring_started=leg.ring_started,
        )  # fmt: skip
        if outside and event.ring_started:
            state.opened = min(event.at, event.ring_started)
        self.contacts[state.id] = state
        self._legs[event.leg] = state.id
        self.act(state.id, do.OpenContact())
        c = Contact(state, self, now)
        if outside:
            self._from_outside(c, event, now)
        else:
            self._from_phone(c, event)
        self._changed(state, "", now)

    def _recordable(self, extension: str, called: str) -> str:
        """What was dialled as records may show it: a log-in in one go ("*118001#PIN#") without its PIN."""
        target = self.routing.resolve(extension, called)
        if not isinstance(target, ToFeature) or target.feature != "login" or "#" not in target.rest:
            return called
        return called.removesuffix(target.rest) + target.rest.partition("#")[0]

    def _missed(self, event: LineMissed, now: int) -> None:
        """Somebody rang and gave up before we would have answered: a record without legs."""
        state = ContactState(
            self._ids.contact(), Kind.INBOUND, event.ring_started, Phase.ENDED, caller=event.caller, line=event.endpoint,
            language=self.config.site.languages[0], rings=event.rings, ring_started=event.ring_started, ended=event.at,
            cause=Cause.ABANDONED, evidence=Evidence("ring-stopped", 0.95, "before it was offered"), first_to_leave=Side.CALLER,
        )  # fmt: skip
        self.act(state.id, do.OpenContact())
        self.act(state.id, do.Record(event.at, "missed", "", {"rings": event.rings}))
        self.act(state.id, do.CloseContact())
        self._publish(ContactChanged(now, state.id, Phase.ENDED.value, Cause.ABANDONED.value))
        self.closed(state)

    def _from_outside(self, c: Contact, event: LegOffered, now: int) -> None:
        extension = called_back(self.windows, event.endpoint, now)
        if extension:
            c.s.kind, c.s.called = Kind.CALLBACK, extension
            c.record("emergency-callback", event.leg, extension=extension)
            dialling.dial_extension(c, extension, Alert.EMERGENCY)
            return
        route = self.routing.inbound(event.endpoint, event.caller.number)
        if route is None:
            c.record("no-route", event.leg)
            c.finish(Cause.UNREACHABLE, Side.SYSTEM)
            return
        c.record("route", event.leg, to=route.to)
        ivr.start_inbound(c, route)

    def _from_phone(self, c: Contact, event: LegOffered) -> None:
        target = self.routing.resolve(event.endpoint, event.called)
        if isinstance(target, ToFeature):
            c.s.kind = Kind.FEATURE
            codes.dial_feature(c, target.feature, target.rest)
            return
        if isinstance(target, ToEmergency):
            c.s.kind = Kind.EMERGENCY
        elif event.called not in self.config.extensions:
            c.s.kind = Kind.OUTBOUND
        dialling.dial_number(c)

    # --- time ---------------------------------------------------------------------------------------------------------

    def deadline(self) -> int | None:
        """Earliest instant at which `expire` has work."""
        times = [at for state in self.contacts.values() for at in state.timers.values()]
        floor = self.floor.deadline()
        if floor is not None:
            times.append(floor)
        return min(times) if times else None

    def expire(self, now: int) -> None:
        """Let everything fire that is due."""
        self._settle(now)

    def _settle(self, now: int) -> None:
        """Wrap-ups, offers, overflow for want of agents, timers: until nothing happens at this instant."""
        for _ in range(_ROUNDS):
            self.floor.expire(now)
            busy = self._offers(now) | self._unstaffed(now)
            busy |= self._timers(now)
            if not busy:
                return

    def _offers(self, now: int) -> bool:
        made = self.floor.next_offers(now)
        for queue, one in made:
            state = self.contacts.get(one.contact)
            if state is None or state.phase is not Phase.QUEUED or state.queue != queue:
                self.floor.leave(one.contact, now)
                continue
            waiting.offer(Contact(state, self, now), one.agent)
            self._changed(state, state.phase.value, now)
        return bool(made)

    def _unstaffed(self, now: int) -> bool:
        done = False
        for queue in list(self.floor.state.queues):
            if self.floor.staffed(queue):
                continue
            for one in list(self.floor.waiting(queue)):
                state = self.contacts.get(one.contact)
                self.floor.leave(one.contact, now)
                done = True
                if state is not None:
                    before = state.phase.value
                    waiting.overflow(Contact(state, self, now), "no-agent")
                    self._changed(state, before, now)
        return done

    def _timers(self, now: int) -> bool:
        due = sorted((at, state.id, name) for state in self.contacts.values() for name, at in state.timers.items() if at <= now)
        for at, contact, name in due:
            state = self.contacts.get(contact)
            if state is not None and state.timers.get(name) == at:
                del state.timers[name]
                self._give(contact, TimerFired(now, name), now)
                for line in self.routing.lines(None) if name.startswith("guard.") else []:
                    self._line_freed(line, now)
        return bool(due)

    # --- output and state ---------------------------------------------------------------------------------------------

    def actions(self) -> list[tuple[str, Action]]:
        """Drain what is to be done, in order; contact id "" for what belongs to none."""
        drained, self._actions = self._actions, []
        return drained

    def _publish(self, event: CallEvent) -> None:
        self._actions.append(("", do.Notify(event)))

    def contact_of(self, leg: str) -> str:
        """Contact of a leg; "" if unknown."""
        return self._legs.get(leg, "")

    def snapshot(self) -> SwitchState:
        """All shared state; contacts are in `contacts`. The result is live: encode it before the next input."""
        return SwitchState(self.floor.state, self.windows, self._tokens)

    def restore(self, shared: SwitchState, contacts: Collection[ContactState]) -> None:
        """Take over the state of an earlier process; agents and queues that no contact backs are put right."""
        self.windows, self._tokens = shared.windows, shared.tokens
        self.contacts = {state.id: state for state in contacts if state.phase is not Phase.ENDED}
        self._legs = {leg: state.id for state in self.contacts.values() for leg in state.legs}
        self.floor.restore(shared.floor)
        self.floor.reconcile(self.contacts)

    # --- commands -----------------------------------------------------------------------------------------------------

    def hang_up(self, contact: str, now: int) -> None:
        """End a contact by command. Raises PbxError if unknown, NotAllowed for an emergency call."""
        state = self.contacts.get(contact)
        if state is None:
            raise PbxError(f"there is no contact {contact}; `show calls` lists them")
        if state.emergency:
            raise NotAllowed(f"contact {contact} is an emergency call; only its people can end it")
        before = state.phase.value
        Contact(state, self, now).finish(Cause.SYSTEM, Side.SYSTEM, Evidence("command"))
        self._changed(state, before, now)
        self._settle(now)

    def abandon(self, contact: str, evidence: Evidence, now: int) -> None:
        """Close a contact whose state can no longer be trusted: legs booked as over, floor cleaned, record written."""
        state = self.contacts.get(contact)
        if state is None:
            return
        self.floor.leave(contact, now)
        for leg in state.live_legs:
            leg.ended, leg.cause, leg.evidence = now, Cause.SYSTEM, evidence
            self.act(contact, do.CloseLeg(leg.id))
        state.offers.clear()
        state.timers.clear()
        state.cause, state.evidence, state.ended, state.phase = Cause.SYSTEM, evidence, now, Phase.ENDED
        self.floor.reconcile({one.id: one for one in self.contacts.values() if one.id != contact})
        self.act(contact, do.CloseContact())
        self._changed(state, "", now)

    def originate(self, extension: str, digits: str, now: int) -> str:
        """Ring a phone, then dial for it; the contact's id. Emergency numbers are refused: no tool may dial one."""
        if extension not in self.config.extensions:
            raise PbxError(f"extension {extension} does not exist; `show phones` lists them")
        if isinstance(self.routing.resolve(extension, digits), ToEmergency):
            raise NotAllowed(f"{digits} is an emergency number; only a person at a phone can dial it")
        state = ContactState(
            self._ids.contact(), Kind.INTERNAL if digits in self.config.extensions else Kind.OUTBOUND, now, Phase.ANSWERING,
            caller=Party(extension, self.config.extensions[extension].name), called=digits,
            language=self.config.site.languages[0], extension=extension, wanted="originate",
        )  # fmt: skip
        self.contacts[state.id] = state
        self.act(state.id, do.OpenContact())
        c = Contact(state, self, now)
        ring_ms = self.config.extensions[extension].ring_s * 1000
        state.a = c.originate(extension, "caller", number=extension, caller=Party(digits), alert=Alert.NORMAL, ring_ms=ring_ms)
        self._changed(state, "", now)
        self._settle(now)
        return state.id

    def agent_command(self, agent: str, verb: str, now: int, *, extension: str = "", reason: str = "") -> Status:
        """Log in, log out, pause or make ready by command; the agent's state after it. Raises PbxError."""
        if agent not in self.config.agents:
            raise PbxError(f"agent {agent} does not exist; `show agents` lists them")
        if verb == "login":
            if extension not in self.config.extensions:
                raise PbxError(f"extension {extension} does not exist; `show phones` lists them")
            if not self.floor.log_in(agent, extension, now):
                raise PbxError(f"agent {agent} or the agent on extension {extension} is in a call; try again after it")
        elif verb == "logout":
            self.floor.log_out(agent, now)
        elif verb == "pause":
            self.floor.pause(agent, reason, now)
        elif verb == "ready":
            if self.floor.agent(agent).status is Status.LOGGED_OUT:
                raise PbxError(f"agent {agent} is logged out; log in first")
            self.floor.make_ready(agent, now)
        else:
            raise PbxError(f"unknown agent command {verb!r}; use login, logout, pause or ready")
        self._settle(now)
        return self.floor.agent(agent).status


def leg_input(event: Any) -> bool:
    """Whether an event of the bus is an input of the switchboard."""
    return isinstance(event, LegEvent | EndpointState)
