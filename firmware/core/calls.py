"""The calls part of core: executes what the switchboard decides, with drivers, media, store and journal (L5).

Theory of operation
-------------------
Leg events and endpoint states come from the bus, player and recorder events from media, time from the engine clock. Each is
given to the pure `Switchboard`; then its actions are executed in order, then every changed contact is journaled (in core with the
next tick of the engine: `soon`) and the clock is asked for the next deadline. Inputs that arise while one is worked on wait in a
queue, so no state is entered twice. Sound, bridges and relays are done by `core/call_audio.py`; ports belong to the drivers.

`start` goes on with what an earlier process left (`core/call_adoption.py`). What is done for an action is looked up by its type in
`executors`: `core/call_executors.py` for legs and sound, `core/call_recorder.py`, and whatever table another area adds.
Invariant: an exception in one contact ends that contact only, with cause SYSTEM.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from firmware.call import actions as do
from firmware.call.events import AgentChanged, TollNotice
from firmware.call.keyed import without_secret
from firmware.call.model import (
    Cause,
    EndpointState,
    Evidence,
    LegDriver,
    LegEnded,
    LegEvent,
    LegKind,
    LineMissed,
    Party,
    TalkMuted,
)
from firmware.call.routing import Dialled
from firmware.call.state import ContactState, Leg
from firmware.call.switchboard import Switchboard
from firmware.call.times import LocalTime
from firmware.config.schema.tree import Config
from firmware.core.agents import AgentStore
from firmware.core.call_adoption import go_on
from firmware.core.call_audio import CallAudio, CallMedia, Speak
from firmware.core.call_executors import Executor, Partners, leg_executors, nobody, sound_executors
from firmware.core.call_recorder import Background, Recorder, inline
from firmware.core.call_rooms import RoomAudio
from firmware.core.journal import Entry, Journal, Shared
from firmware.core.recordings import Recordings
from firmware.errors import EngineBusy, EngineRefused
from firmware.line.tones import ToneSpec
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer
from firmware.runtime.ids import Ids
from firmware.store.cdr import CallRecords
from firmware.store.queuelog import QueueLogStore

log = logging.getLogger("branchpbx.calls")
T = TypeVar("T")
HOUR_MS = 3_600_000


class Calls:
    """See the theory of operation. `speak(language, prompt, variables)` names clips; `local(wall_ms)` is the site's local time."""

    def __init__(
        self,
        *,
        config: Config,
        drivers: Mapping[LegKind, LegDriver],
        media: CallMedia,
        clock: Clock,
        bus: Bus,
        ids: Ids,
        records: CallRecords,
        queue_log: QueueLogStore,
        journal: Journal,
        recordings: Recordings,
        agents: AgentStore,
        alarms: Alarms,
        speak: Speak,
        tones: Mapping[str, ToneSpec],
        emergency: Iterable[str],
        local: Callable[[int], LocalTime],
        pins: Mapping[str, str] | None = None,
        background: Background = inline,
        partners: Partners = nobody,
        soon: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self.drivers = drivers
        self.clock = clock
        self.bus = bus
        self.records = records
        self.queue_log = queue_log
        self.journal = journal
        self.agents = agents
        self.alarms = alarms
        self.board = Switchboard(config, ids, frozenset(emergency), lambda at: local(self.wall(at)), pins)
        self.board.closed = self._final  # type: ignore[method-assign]
        self.beside: Callable[[str, bool], None] = lambda leg, on: None      # set by the root: `Lines.beside`
        self.referred: Callable[[str, Cause | None], None] = lambda token, cause: None     # likewise: `Phones.referred`
        self.give_back: Callable[[str, str], None] = lambda leg, other: None       # likewise: `Phones.give_back`
        self.introduce: Callable[[str, Party], None] = lambda leg, party: None     # likewise: `Phones.introduce`
        self.ruled_by = config
        """The configuration in force; calls that began under another may know more (`SwitchDesk.configure`)."""
        self._elders: set[str] = set()
        self._adopted_rules = False
        self.emergencies: dict[str, Any] = {}
        self._finals: dict[str, ContactState] = {}
        self.inputs: deque[Any] = deque()
        self._running = False
        self._timer: Timer | None = None
        self._deadline = -1
        self.audio = CallAudio(media, speak, tones)
        self._soon = soon
        self._noting = False
        self._turned = True              # since what contacts share was journaled
        self.dirty: set[str] = set()
        self._started = False
        self.recorder = Recorder(self, media, recordings, local, background)
        self.rooms = RoomAudio(self, media, tones)
        #: What is done for each action. An area of its own adds its own kinds: `calls.executors[do.MyAction] = my_function`.
        self.executors: dict[type[do.Action], Executor] = {
            **self._own(), **leg_executors(self, partners), **sound_executors(self), **self.recorder.executors(), **self.rooms.executors(),
        }
        # What is published before `start` waits for it.
        bus.subscribe((LegEvent, EndpointState, LineMissed), self._on_event)
        bus.subscribe((TalkMuted,), lambda event: self.audio.mute(event.leg, event.on))
        media.subscribe(self._on_media)

    # --- start --------------------------------------------------------------------------------------------------------

    def start(self, ports: Iterable[Any], *, adopted: bool) -> int:
        """Go on with what an earlier process left, then take events; number of contacts that go on.

        `ports`: what media still runs (structs with `port` and `tag`); `adopted`: media outlived the earlier core.
        """
        go_on(self, ports, adopted=adopted)
        if self._adopted_rules:
            self._elders |= self.board.contacts.keys()
            self.clock.call_later(1, self._elder_left)
        self._started = True
        self.recorder.start()
        self._execute()
        # Timers that fell due in the gap fire after the events of the gap: the clock runs them behind its event batch.
        self.work()
        return len(self.board.contacts)

    # --- input --------------------------------------------------------------------------------------------------------

    def _on_event(self, event: Any) -> None:
        self.inputs.append(event)
        self.work()

    def _on_media(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "Played":
            leg = self._leg_playing(event.token)
            if leg:
                self.inputs.append(do.Played(leg, event.at, event.token, event.finished, event.digit))
        elif kind == "Recorded":
            leg = self._leg_recorded(event.token)
            if leg:
                self.inputs.append(do.Recorded(leg, event.at, event.token, event.samples, event.lost_samples))
        elif kind == "MediaLost":
            # The drivers end their legs; recordings and bridges died with the process.
            self.audio.lost()
            self.rooms.lost()
            for state in self.board.contacts.values():
                for one in state.recordings:
                    if one.path and one.samples < 0:
                        self.inputs.append(do.Recorded(one.leg, event.at, one.token, 0, 0))
        self.work()

    def _leg_playing(self, token: int) -> str:
        for state in self.board.contacts.values():
            for leg, play in state.plays.items():
                if play.token == token:
                    return leg
        return ""

    def _leg_recorded(self, token: int) -> str:
        for state in self.board.contacts.values():
            for one in state.recordings:
                if one.token == token:
                    return one.leg
        return ""

    def take(self, event: Any) -> None:
        """Give an input that is no event of the bus to the switchboard, and do what follows from it."""
        self._on_event(event)

    def command(self, fn: Callable[[int], T]) -> T:
        """Run a command of the switchboard (`fn(now)`) and execute what follows from it."""
        try:
            return fn(self.clock.now())
        finally:
            self.inputs.append(None)
            self.work()

    def work(self) -> None:
        if self._running or not self._started:
            return
        self._running = True
        stirred = False
        try:
            while self.inputs:
                event = self.inputs.popleft()
                if self._one(event):
                    stirred = True
                    self._execute()
            self._turned = True
            self._note()
        finally:
            self._running = False
        if stirred:
            self._set_timer()

    def _one(self, event: Any) -> bool:
        """Give an input to the switchboard; False where nothing follows from it."""
        now = self.clock.now()
        try:
            if event is None:
                self.board.expire(now)
                return True
            leg = getattr(event, "leg", "")
            port = getattr(event, "port", -1)
            if port >= 0:
                self.audio.ports[leg] = port
            if isinstance(event, LegEnded):
                self.audio.ports.pop(leg, None)
            stirred = self.board.receive(event, max(now, getattr(event, "at", now)))
            self.dirty.add(self.board.contact_of(leg))
            return stirred
        except Exception:
            contact = self.board.contact_of(getattr(event, "leg", ""))
            log.exception("contact %s: %s could not be handled; the contact is ended", contact, type(event).__name__)
            self._end_broken(contact, now)
            return True

    def _end_broken(self, contact: str, now: int) -> None:
        """A bug in one contact ends that contact, nothing else: let it crash, narrowly."""
        state = self.board.contacts.get(contact)
        if state is None:
            return
        for leg in state.live_legs:
            driver = self.drivers.get(leg.kind)
            if driver is not None:
                driver.hang_up(leg.id, Cause.SYSTEM)
        self.board.abandon(contact, Evidence("command", 1.0, "internal error"), now)

    def _set_timer(self) -> None:
        deadline = self.board.deadline()
        if self._timer is not None:
            if deadline == self._deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._deadline = deadline
            self._timer = self.clock.call_at(deadline, self._due)

    def _due(self) -> None:
        self._timer = None
        self.inputs.append(None)
        self.work()

    # --- execution ----------------------------------------------------------------------------------------------------

    def _execute(self) -> None:
        for contact, action in self.board.actions():
            self.dirty.add(contact)
            try:
                self._act(contact, action)
            except (EngineBusy, EngineRefused) as error:
                log.error("contact %s: media refused %s: %s", contact, type(action).__name__, error)
                if isinstance(action, do.Bridge | do.EnterRoom):
                    self._refused(contact)

    def _refused(self, contact: str) -> None:
        """People who cannot be joined must not sit in silence: the call ends; an emergency call is left to its people."""
        state = self.board.contacts.get(contact)
        if state is not None and not state.emergency:
            self.board.hang_up(contact, self.clock.now())
            self.inputs.append(None)

    def state(self, contact: str) -> ContactState | None:
        return self.board.contacts.get(contact) or self._finals.get(contact)

    def _act(self, contact: str, action: do.Action) -> None:
        execute = self.executors.get(type(action))
        if execute is None:
            log.error("contact %s: nothing executes %s; it is left out", contact, type(action).__name__)
            return
        execute(contact, action)

    def _own(self) -> dict[type[do.Action], Executor]:
        """Records, screens and what the root connects; legs, sound and recordings are in modules of their own."""
        return {
            do.Record: self._history,
            do.QueueLog: lambda contact, action: self.queue_log.write(
                self.wall(action.at), contact, action.queue, action.agent, action.event, action.data),
            do.OpenContact: self._open_contact,
            do.CloseLeg: self._close_leg,
            do.CloseContact: self._close_contact,
            do.KeepAcd: lambda contact, action: self.agents.save_acd(self.board.acd, self.clock.wall_ms(), self.wall(0)),
            do.Notify: lambda contact, action: self._notify(action.event),
            do.ReleaseLegs: lambda contact, action: self.give_back(action.leg, action.other),
            do.ShowParty: lambda contact, action: self.introduce(action.leg, action.party),
            do.ReportReferral: lambda contact, action: self.referred(action.token, action.cause),
        }

    def _history(self, contact: str, action: do.Record) -> None:
        log.debug("contact %s: %s %s %s", contact, action.kind, action.leg, action.data or "")
        self.records.event(contact, self.wall(action.at), action.kind, action.leg, action.data)

    def _open_contact(self, contact: str, action: do.OpenContact) -> None:
        state = self.state(contact)
        if state is not None:
            self.records.open(state, self.wall)

    def _close_leg(self, contact: str, action: do.CloseLeg) -> None:
        leg = self.leg(contact, action.leg)
        if leg is not None:
            self.records.leg(contact, leg, self.wall)

    def _close_contact(self, contact: str, action: do.CloseContact) -> None:
        final = self._finals.pop(contact, None)
        if final is not None:
            self.records.close(final, self.wall)
        self.audio.forget(contact)       # the journal forgets it when it is noted next

    def leg(self, contact: str, leg: str) -> Leg | None:
        state = self.state(contact)
        return state.legs.get(leg) if state is not None else None

    # --- records, journal, screens ------------------------------------------------------------------------------------

    def wall(self, at: int) -> int:
        """Unix ms of an engine instant."""
        return at + self.clock.wall_ms() - self.clock.now()

    def _final(self, state: ContactState) -> None:
        self._finals[state.id] = state
        if state.id in self._elders:
            self._elders.discard(state.id)
            self.clock.call_later(1, self._elder_left)

    def _notify(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "EmergencyStarted":
            self.emergencies[event.contact] = event
            self.alarms.raise_(f"emergency:{event.contact}", event.text["en"])
            log.warning("contact %s: %s", event.contact, event.text["en"])
        elif kind == "EmergencyEnded":
            self.emergencies.pop(event.contact, None)
            self.alarms.clear(f"emergency:{event.contact}")
        elif isinstance(event, TollNotice):
            self.alarms.raise_(f"toll:{event.why}:{event.payer}", event.text["en"], event.text["zh"])
            log.warning("calls to outside: %s", event.text["en"])
            self.clock.call_later(HOUR_MS, lambda: self.alarms.clear(f"toll:{event.why}:{event.payer}"))
        elif isinstance(event, AgentChanged) and event.agent in self.board.floor.state.agents:
            agent = self.board.floor.agent(event.agent)
            self.agents.save(agent, self.wall(agent.since), self.wall(agent.idle_since))
        self.bus.publish(event)

    def remember(self, leg: str) -> None:
        """A driver has learnt something of a leg that no event tells: journal its contact, so that a restarted core knows it."""
        contact = self.board.contact_of(leg)
        if self._started and contact:
            self.dirty.add(contact)
            if not self._running:                # else it is noted when the switchboard is done
                self._note()

    def _note(self) -> None:
        if self._soon is None:
            self._write_journal()
        elif not self._noting:
            self._noting = True
            self._soon(self._write_journal)

    def write_all(self) -> None:
        """Write what waits for its moment: the process ends."""
        self._write_journal()
        self.records.flush()

    def _write_journal(self) -> None:
        self._noting = False
        now = self.clock.now()
        offset = self.clock.wall_ms() - now
        with self.journal.together():
            for contact in filter(None, self.dirty):
                state = self.board.contacts.get(contact)
                if state is None:
                    self.journal.forget(contact)
                    continue
                legs = {leg.id: data for leg in state.live_legs if (data := self._snapshot(leg))}
                self.journal.contact(Entry(without_secret(state), legs, now, offset))
            self.dirty.clear()
            if self._turned:                     # not by what a line hears
                self._turned = False
                self.journal.shared(Shared(self.board.snapshot(), now, offset))

    def _snapshot(self, leg: Leg) -> bytes:
        driver = self.drivers.get(leg.kind)
        return driver.snapshot_leg(leg.id) if driver is not None else b""

    # --- what others ask ----------------------------------------------------------------------------------------------

    def dial_check(self, extension: str, digits: str) -> Dialled:
        """For `Lines`: whether the keys of a phone are a whole number."""
        return self.board.routing.dial_check(extension, digits)

    def configure(self, config: Config, pins: Mapping[str, str]) -> None:
        """Take over another configuration; calls in progress go on, by the rules they began with where theirs are gone."""
        before, self.ruled_by = self.board.config, config
        self.recorder.settings(config.recording)
        self._elders |= self.board.contacts.keys()
        self.command(lambda now: self.board.configure(config, pins, before if self._elders else None))

    def remember_rules(self, before: Config) -> None:
        """Before `start`: calls that are adopted may have begun under another configuration."""
        self.board.configure(self.ruled_by, self.board.pins, before)
        self._adopted_rules = True

    def _elder_left(self) -> None:
        """No call of an earlier configuration is left."""
        if not self._elders and self.board.config is not self.ruled_by:
            self.command(lambda now: self.board.configure(self.ruled_by, self.board.pins))
