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

from collections.abc import Collection
from typing import Any

from firmware.call import (
    accounts,
    acd_codes,
    blocking,
    callback,
    codes,
    dialling,
    directory,
    features,
    forward_codes,
    groups,
    hours,
    ivr,
    ivr_nodes,
    mailbox,
    nuisance,
    own_greeting,
    paging,
    parking,
    phone_codes,
    rating,
    redial,
    referral,
    replay,
    room_recording,
    rooms,
    supervise,
    voicemail,
    waiting,
)
from firmware.call import actions as do
from firmware.call.actions import Action, TimerFired
from firmware.call.contact import Contact
from firmware.call.desk import Input
from firmware.call.floor import is_callback
from firmware.call.model import Cause, EndpointState, LegEnded, LegEvent, LegOffered, LegReferred, LineMissed
from firmware.call.state import ContactState, Phase
from firmware.call.switch_arrivals import Arrivals
from firmware.call.switch_commands import Commands
from firmware.call.switch_desk import SwitchState

__all__ = [
    "SwitchState",
    "Switchboard",
    "accounts", "acd_codes",
    "blocking",
    "callback",
    "codes",
    "dialling",
    "directory",
    "features",
    "forward_codes",
    "groups",
    "hours",
    "ivr",
    "ivr_nodes",
    "mailbox",
    "nuisance",
    "own_greeting",
    "paging", "parking",
    "phone_codes",
    "rating",
    "redial",
    "replay",
    "rooms",
    "supervise",
    "voicemail",
    "waiting",
]  # fmt: skip
_ROUNDS = 200


class Switchboard(Arrivals, Commands):
    """See the theory of operation; what it is made of is `SwitchDesk`'s to say."""

    # --- input --------------------------------------------------------------------------------------------------------

    def receive(self, event: Input | EndpointState | LineMissed, now: int) -> bool:
        """Take one event; late events of legs that are gone are ignored. False: neither an action nor a timer follows from it."""
        self._last = now
        if isinstance(event, EndpointState):
            self.floor.endpoint(event.endpoint, event.state)
            self._line_freed(event.endpoint, now)
            if not any(self.floor.state.queues.values()):
                return bool(self._actions or self.touched)       # nobody waits for whom this telephone might be free
        elif isinstance(event, LegOffered):
            self._offered(event, now)
        elif isinstance(event, LineMissed):
            self._missed(event, now)
        elif isinstance(event, LegReferred):
            self._referred(event, now)
        elif isinstance(event, TimerFired | do.LineFreed):
            raise ValueError("timers and freed lines are the switchboard's own inputs")
        else:
            self._toll_ended(event, now)
            self._give(self._legs.get(event.leg, ""), event, now)
            if isinstance(event, LegEnded):
                self._leg_gone(event.leg, now)
        self._settle(now)
        return True

    def _referred(self, event: LegReferred, now: int) -> None:
        """A telephone's own transfer may concern two contacts."""
        found = [self.contacts.get(self._legs.get(leg, "")) for leg in (event.leg, event.consult)]
        states = [(state, state.phase.value) for state in found if state is not None]
        first, second = (Contact(state, self, now) if state is not None else None for state in found)
        if first is None:
            self.act("", do.ReportReferral(event.token, Cause.UNREACHABLE))
        else:
            referral.hand_over(first, second, event)
        for state, before in states:
            self._changed(state, before, now)

    def room_grew(self, contact: str, leg: str, now: int) -> None:
        """Somebody else came into the room that this leg is in."""
        state = self.contacts.get(contact)
        if state is not None:
            rooms.second_came(Contact(state, self, now), leg)

    def room_changed(self, room: str, now: int) -> None:
        """Somebody entered the mixer of a room, or left it: a room of the configuration may be recorded."""
        if room.startswith("room/"):
            people = [Contact(self.contacts[contact], self, now) for contact, _ in self.in_room(room)]
            room_recording.follow(people, room)

    def night_key(self, extension: str, now: int) -> bool:
        """Turn the night key over; whether night service is on now."""
        return self.set_night("auto" if self.night.mode == "night" else "night", now, by=extension).mode == "night"

    # --- time ---------------------------------------------------------------------------------------------------------

    def deadline(self) -> int | None:
        """Earliest instant at which `expire` has work."""
        self._look()
        soonest, floor = min(self._due.values(), default=None), self.floor.deadline()
        return soonest if floor is None else floor if soonest is None else min(soonest, floor)

    def _look(self) -> None:
        """Learn the next timer of each contact that was in hand since the last look."""
        for contact in self.touched:
            state = self.contacts.get(contact)
            if state is not None and state.timers:
                self._due[contact] = min(state.timers.values())
            else:
                self._due.pop(contact, None)
        self.touched.clear()

    def expire(self, now: int) -> None:
        """Let everything fire that is due."""
        self._last = now
        self._settle(now)

    def _settle(self, now: int) -> None:
        """Wrap-ups, offers, overflow for want of agents, timers: until nothing happens at this instant."""
        for _ in range(_ROUNDS):
            self.floor.expire(now)
            busy = self._callbacks(now) | self._staff(now) | self._offers(now) | self._unstaffed(now)
            busy |= self._timers(now)
            if not busy:
                return

    def _offers(self, now: int) -> bool:
        made = self.floor.next_offers(now)
        for queue, one in made:
            if is_callback(one.contact):
                self._callback_due(one.contact, one.agent, self.config.queues[queue], now)
                continue
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
            known = self.config.queues.get(queue)
            if not self.floor.waiting(queue) or self.floor.staffed(queue, known.stay_needs if known is not None else "logged-in"):
                continue
            for one in [one for one in self.floor.waiting(queue) if not is_callback(one.contact)]:
                state = self.contacts.get(one.contact)
                self.floor.leave(one.contact, now)
                done = True
                if state is not None:
                    before = state.phase.value
                    waiting.overflow(Contact(state, self, now), "no-agent")
                    self._changed(state, before, now)
        return done

    def _timers(self, now: int) -> bool:
        self._look()
        ripe = [contact for contact, at in self._due.items() if at <= now]
        due = sorted((at, contact, name) for contact in ripe for name, at in self.contacts[contact].timers.items() if at <= now)
        for at, contact, name in due:
            state = self.contacts.get(contact)
            if state is not None and state.timers.get(name) == at:
                del state.timers[name]
                self.touched.add(contact)
                self._give(contact, TimerFired(now, name), now)
                for line in self.routing.lines(None) if name.startswith("guard.") else []:
                    self._line_freed(line, now)
        return bool(due)

    # --- output and state ---------------------------------------------------------------------------------------------

    def actions(self) -> list[tuple[str, Action]]:
        """Drain what is to be done, in order; contact id "" for what belongs to none."""
        drained, self._actions = self._actions, []
        return drained

    def snapshot(self) -> SwitchState:
        """All shared state; contacts are in `contacts`. The result is live: encode it before the next input."""
        return SwitchState(
            self.floor.state, self.windows, self._tokens, self.toll.state, self.night, wishes=self.wishes, dropped=self.dropped,
            blocked=self.blocked, callers=self.callers, guards=self.mail.guards, acd=self.acd,
        )  # fmt: skip

    def restore(self, shared: SwitchState, contacts: Collection[ContactState]) -> None:
        """Take over the state of an earlier process; agents and queues that no contact backs are put right."""
        self.windows, self._tokens = shared.windows, shared.tokens
        self.toll.state, self.night = shared.toll, shared.night
        self.wishes, self.dropped = dict(shared.wishes), dict(shared.dropped)
        self.blocked, self.callers = dict(shared.blocked), dict(shared.callers)
        self.acd = shared.acd
        self.contacts = {state.id: state for state in contacts if state.phase is not Phase.ENDED}
        self.touched, self._due = set(self.contacts), {}
        self._legs = {leg: state.id for state in self.contacts.values() for leg in state.legs}
        self.mail.guards = shared.guards
        self.floor.restore(shared.floor)
        self.floor.reconcile(self.contacts)
        self._callbacks_only()


def leg_input(event: Any) -> bool:
    """Whether an event of the bus is an input of the switchboard."""
    return isinstance(event, LegEvent | EndpointState)
