"""What every contact asks of the switchboard, and how a contact is given its inputs (L1, pure).

Theory of operation
-------------------
`SwitchDesk` owns the contacts, the index of their legs, the floor, routing and the queue of actions; it is the part of
`Switchboard` (`call/switchboard.py`) that the others build on: emergencies and tolls (`switch_outside`), new calls
(`switch_arrivals`), commands (`switch_commands`). `_changed` follows every input of a contact: it indexes new legs, tells the
screens and forgets a contact that is over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import msgspec

from firmware.call import actions as do
from firmware.call.acd_state import AcdState
from firmware.call.actions import Action
from firmware.call.blocking_state import MOST, Blocked, BlockedChanged, LastCaller, entry, last_callers
from firmware.call.calendar import Calendar, Night
from firmware.call.dropped import Dropped, cut_off
from firmware.call.emergency import CallBack
from firmware.call.events import CallEvent, ContactChanged
from firmware.call.floor import Floor, FloorState
from firmware.call.forwards import NONE, Wish, WishChanged
from firmware.call.mailroom import Guard, MailRoom
from firmware.call.routing import Routing
from firmware.call.state import ContactState, Phase
from firmware.call.times import LocalTime
from firmware.call.tollguard import TollGuard, TollState
from firmware.config.elders import with_gone
from firmware.config.schema.tree import Config


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
    toll: TollState = msgspec.field(default_factory=TollState)
    night: Night = Night()
    acd: AcdState = msgspec.field(default_factory=AcdState)
    wishes: dict[str, Wish] = {}
    dropped: dict[str, Dropped] = {}
    blocked: dict[str, Blocked] = {}
    callers: dict[str, LastCaller] = {}
    guards: dict[str, Guard] = {}
    """Wrong PINs of message boxes."""


class SwitchDesk:
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
        self.acd = AcdState()
        self.wishes: dict[str, Wish] = {}
        self.dropped: dict[str, Dropped] = {}
        self.blocked: dict[str, Blocked] = {}
        self.callers: dict[str, LastCaller] = {}
        self.late: set[str] = set()
        """Callbacks whose promised time has passed, as this process has told the screens."""
        self._ids = ids
        self._country = frozenset(emergency)
        self._local = local
        self.pins = dict(pins or {})
        self.notices: frozenset[str] | None = None
        """Languages that have the clips of the recording notice; None: all. Set by whoever knows the clips."""
        self.touched: set[str] = set()
        """Contacts that were in hand since their timers were looked at last."""
        self._due: dict[str, int] = {}   # contact -> its next timer
        self._legs: dict[str, str] = {}
        self._tokens = 0
        self._actions: list[tuple[str, Action]] = []
        self.hunt: Callable[[str | None, list[str]], list[str]] = lambda group, free: free
        """Orders the free lines of a group and keeps its reserve; set by whoever knows the lines."""
        self._last = 0                   # engine ms of the latest input
        self.instant: Callable[[], int] = lambda: self._last
        """Engine ms now, set by whoever has the clock: keys are judged between inputs, too."""
        self.routing = Routing(config, emergency, self.is_open, self.is_blocked)
        self.calendar = Calendar(config)
        self.night = Night()
        self.toll = TollGuard(config.toll)
        self.mail = MailRoom()
        self.floor = Floor(config, self.in_use, self._publish)
        self.floor.undisturbed = lambda extension: self.config.acd.dnd_pauses and self.wishes.get(extension, NONE).dnd

    def configure(self, config: Config, pins: Mapping[str, str], before: Config | None = None) -> None:
        """Take over another configuration; calls in progress go on, with the entries that only `before` has where theirs are gone."""
        self.config = config if before is None else with_gone(config, before)
        self.pins = dict(pins)
        self.routing = Routing(config, self._country, self.is_open, self.is_blocked)
        self.calendar = Calendar(self.config)
        self.toll.toll = config.toll
        self.floor.configure(config if before is None else with_gone(config, before, ("queues",)))

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

    def wall(self, now: int) -> int:
        """Unix ms of engine instant `now`; without a wall clock (tests) engine ms."""
        return self._local(now).unix_ms or now

    def keep_acd(self) -> None:
        """`acd` changed: it is to be kept over a power cut."""
        if ("", do.KeepAcd()) not in self._actions:
            self.act("", do.KeepAcd())

    def is_open(self, hours: str) -> bool:
        """Whether opening hours are open at this instant, for routes that hold at some times only."""
        return self.calendar.at(hours, self.local(self.instant()), self.night).state == "open"

    def notice_ready(self, language: str) -> bool:
        """Whether the recording notice can be said in this language."""
        return self.notices is None or language in self.notices

    def pin_is(self, agent: str, pin: str) -> bool:
        """Whether `pin` is the agent's; an agent without any PIN cannot log in by phone."""
        known = self.pins.get(agent) or self.config.agents[agent].pin
        return bool(known) and pin == known

    def in_use(self, endpoint: str) -> bool:
        """Whether any contact has a live leg on an endpoint."""
        return any(leg.endpoint == endpoint and leg.live for state in self.contacts.values() for leg in state.legs.values())

    def free_lines(self, group: str | None) -> list[str]:
        """Free lines of a group (None: any, for an emergency), best first."""
        return self.hunt(group, [line for line in self.routing.lines(group) if self.floor.usable(line)])

    def wished(self, extension: str, wish: Wish, now: int) -> None:
        """An extension's owner wishes something else for its calls."""
        if wish == NONE:
            self.wishes.pop(extension, None)
        else:
            self.wishes[extension] = wish
        self._publish(WishChanged(now, extension, wish))
        self.floor.disturbed(extension, now)

    def is_blocked(self, number: str) -> bool:
        """Whether a caller's number is on the black list."""
        return entry(self.blocked, number) != ""

    def block(self, number: str, now: int, *, by: str, contact: str = "") -> None:
        """Put a number on the black list; nothing changes where it is there."""
        if entry(self.blocked, number):
            return
        while len(self.blocked) >= MOST:
            del self.blocked[min(self.blocked, key=lambda known: self.blocked[known].at_ms)]
        self.blocked[number] = Blocked(number, self.wall(now), by, contact)
        self._publish(BlockedChanged(now, number, True, by))

    def unblock(self, number: str, now: int, *, by: str) -> bool:
        """Take a number off the black list; False where it is not there."""
        known = entry(self.blocked, number)
        if known:
            del self.blocked[known]
            self._publish(BlockedChanged(now, known, False, by))
        return known != ""

    def redialled(self, extension: str) -> None:
        """The call of this extension that was cut off is dialled again."""
        self.dropped.pop(extension, None)

    def parked(self) -> frozenset[str]:
        """Places that hold a parked call."""
        return frozenset(state.park.place for state in self.contacts.values() if state.park is not None)

    def in_room(self, room: str) -> list[tuple[str, str]]:
        """(contact, leg) of everybody who is in a room or waits alone in it."""
        inside = [state for state in self.contacts.values() if state.room is not None and state.room.name == room]
        return [(state.id, state.a) for state in inside if state.phase in (Phase.ROOM, Phase.PAGE) and state.connected >= 0]

    def room_grew(self, contact: str, leg: str, now: int) -> None:
        """Somebody else came into the room that this leg is in."""
        raise NotImplementedError

    def room_changed(self, room: str, now: int) -> None:
        """Somebody entered the mixer of a room, or left it."""
        raise NotImplementedError

    def withdraw_callback(self, request: str, now: int) -> None:
        """Its caller wants no callback any more; nothing happens where the request is over."""
        raise NotImplementedError

    def night_key(self, extension: str, now: int) -> bool:
        """Turn the night key over; whether night service is on now."""
        raise NotImplementedError

    # --- changes of contacts ------------------------------------------------------------------------------------------

    def _changed(self, state: ContactState, before: str, now: int) -> None:
        """Index new legs, tell the screens, forget what is over."""
        for leg in state.legs:
            self._legs[leg] = state.id
        if state.phase.value == before:
            return
        self._publish(ContactChanged(now, state.id, state.phase.value, state.cause.value if state.cause is not None else ""))
        if state.phase is Phase.ENDED and state.id in self.contacts:
            del self.contacts[state.id]
            self.touched.add(state.id)
            for leg in state.legs:
                self._legs.pop(leg, None)
            self.dropped.update(cut_off(self.config, state))
            self.callers.update(last_callers(state))
            self._over(state, now)
            self.closed(state)

    def _over(self, state: ContactState, now: int) -> None:
        """A contact is over and forgotten: what else must know; each part adds its own and goes on to the next."""

    def closed(self, state: ContactState) -> None:
        """Hook: the final state of a contact, just before it is forgotten; its `CloseContact` follows from `actions`."""

    def _settle(self, now: int) -> None:
        """Let everything happen that is due at this instant."""
        raise NotImplementedError

    def actions(self) -> list[tuple[str, Action]]:
        """Drain what is to be done, in order; contact id "" for what belongs to none."""
        drained, self._actions = self._actions, []
        return drained

    def _publish(self, event: CallEvent) -> None:
        self._actions.append(("", do.Notify(event)))

    def contact_of(self, leg: str) -> str:
        """Contact of a leg; "" if unknown."""
        return self._legs.get(leg, "")
