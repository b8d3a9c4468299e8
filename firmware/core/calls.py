"""The calls part of core: executes what the switchboard decides, with drivers, media, store and journal (L5).

Theory of operation
-------------------
Leg events and endpoint states come from the bus, player and recorder events from media, time from the engine clock. Each is
given to the pure `Switchboard`; then its actions are executed in order, then every changed contact is journaled and the
clock is asked for the next deadline. Inputs that arise while one is worked on wait in a queue, so no state is entered
twice. Sound, bridges and relays are done by `core/call_audio.py`; ports belong to the drivers.

`start` goes on with what an earlier process left: contacts whose legs the drivers can adopt and whose ports media still
runs continue; legs that cannot are ended with evidence "adoption". If media is new too, nothing can be heard any more and
every contact is closed as of the last moment that is known.
Invariant: an exception in one contact ends that contact only, with cause SYSTEM.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from firmware.call import actions as do
from firmware.call.events import AgentChanged
from firmware.call.model import Cause, EndpointState, Evidence, LegDriver, LegEnded, LegEvent, LegKind, LineMissed
from firmware.call.routing import Dialled
from firmware.call.state import ContactState, Leg, Phase
from firmware.call.switchboard import Switchboard
from firmware.call.times import LocalTime
from firmware.config.schema.tree import Config
from firmware.core.agents import AgentStore
from firmware.core.call_audio import CallAudio, CallMedia, Speak, when_done
from firmware.core.journal import Entry, Journal, Shared
from firmware.core.recordings import RecordingRefusedError, Recordings
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
#: Runs work that may block (opening a file) and hands its result to the second function on the core's thread.
Background = Callable[[Callable[[], Any], Callable[[Any], None]], None]

#: Told, before a leg is answered or rung, which other legs are in its contact: SIP legs choose their codec by it.
Partners = Callable[[str, Sequence[str]], None]


def nobody(leg: str, others: Sequence[str]) -> None:
    """The `Partners` of drivers that need not know."""


def inline(work: Callable[[], T], then: Callable[[T], None]) -> None:
    """The `Background` that does it at once."""
    then(work())


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
    ) -> None:
        self._drivers = drivers
        self._partners = partners
        self._media = media
        self._clock = clock
        self._bus = bus
        self.records = records
        self.queue_log = queue_log
        self._journal = journal
        self._recordings = recordings
        self._agents = agents
        self._alarms = alarms
        self._local = local
        self._background = background
        self.board = Switchboard(config, ids, frozenset(emergency), lambda at: local(self.wall(at)), pins)
        self.board.closed = self._final  # type: ignore[method-assign]
        self.emergencies: dict[str, Any] = {}
        self._finals: dict[str, ContactState] = {}
        self._inputs: deque[Any] = deque()
        self._running = False
        self._timer: Timer | None = None
        self._deadline = -1
        self._audio = CallAudio(media, speak, tones)
        self._dirty: set[str] = set()
        self._started = False
        # What is published before `start` waits for it.
        bus.subscribe((LegEvent, EndpointState, LineMissed), self._on_event)
        media.subscribe(self._on_media)

    # --- start --------------------------------------------------------------------------------------------------------

    def start(self, ports: Iterable[Any], *, adopted: bool) -> int:
        """Go on with what an earlier process left, then take events; number of contacts that go on.

        `ports`: what media still runs (structs with `port` and `tag`); `adopted`: media outlived the earlier core.
        """
        shared, entries = self._journal.load()
        known = {entry.state.id for entry in entries}
        for contact in self.records.orphans():
            if contact not in known:
                self.records.close_orphan(contact, self._clock.wall_ms())
        if adopted:
            if shared is not None:
                self.board.restore(shared.state, [entry.state for entry in entries])
            else:
                self.board.restore(self.board.snapshot(), [entry.state for entry in entries])
            running = {port.port: port for port in ports if getattr(port, "open", True)}
            for entry in entries:
                self._adopt(entry, running)
            self._audio.close_strangers(running)
        else:
            for entry in entries:
                self._close_lost(entry)
            if shared is not None:
                self._keep_windows(shared)
            for agent, extension, state, reason in self._agents.load():
                if agent in self.board.config.agents and extension in self.board.config.extensions:
                    self.board.floor.log_in(agent, extension, self._clock.now())
                    if state == "paused":
                        self.board.floor.pause(agent, reason, self._clock.now())
        self._started = True
        self._execute()
        # Timers that fell due in the gap fire after the events of the gap: the clock runs them behind its event batch.
        self._work()
        return len(self.board.contacts)

    def _adopt(self, entry: Entry, running: Mapping[int, Any]) -> None:
        state = entry.state
        tagged = {port.tag: number for number, port in running.items() if getattr(port, "tag", "")}
        alive = 0
        for leg in state.live_legs:
            port = tagged.get(leg.id, leg.port if leg.port in running else -1)
            driver = self._drivers.get(leg.kind)
            if driver is not None and leg.id in entry.legs and driver.adopt(leg.id, entry.legs[leg.id], port):
                alive += 1
                if port >= 0:
                    self._audio.ports[leg.id] = port
            else:
                evidence = Evidence("adoption", 1.0, "the leg could not be taken over")
                self._inputs.append(LegEnded(leg.id, self._clock.now(), Cause.SYSTEM, evidence, False))
        if len(state.bridged) == 2:
            self._audio.adopt(state.id, state.bridged[0], state.bridged[1], running)
        if state.emergency:
            self.board.emergency_begins(state, state.emergency_number, state.opened)
        log.info("contact %s: %d of %d legs taken over, phase %s", state.id, alive, len(state.live_legs), state.phase)
        facts = {"legs": alive, "of": len(state.live_legs), "phase": state.phase.value}
        self.records.event(state.id, self._clock.wall_ms(), "adopted", "", facts)
        self._dirty.add(state.id)

    def _close_lost(self, entry: Entry) -> None:
        """Media is gone with the conversation: close as of the last moment the journal knows."""
        state = entry.state
        evidence = Evidence("adoption", 1.0, "the appliance was restarted")

        def wall(at: int) -> int:
            return at + entry.wall_offset

        for leg in state.live_legs:
            leg.ended, leg.cause, leg.evidence = entry.at, Cause.SYSTEM, evidence
            self.records.leg(state.id, leg, wall)
        if state.phase is Phase.TALKING:
            state.talk_end = entry.at
        state.ended = entry.at
        state.cause, state.evidence = state.cause or Cause.SYSTEM, state.evidence or evidence
        self.records.close(state, wall)
        self._journal.forget(state.id)

    def _keep_windows(self, shared: Shared) -> None:
        """Emergency call-back windows outlive a restart; the engine clock may have begun again."""
        shift = shared.wall_offset - (self._clock.wall_ms() - self._clock.now())
        for window in shared.state.windows:
            window.until += shift
        self.board.windows = [window for window in shared.state.windows if window.until > self._clock.now()]

    # --- input --------------------------------------------------------------------------------------------------------

    def _on_event(self, event: Any) -> None:
        self._inputs.append(event)
        self._work()

    def _on_media(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "Played":
            leg = self._leg_playing(event.token)
            if leg:
                self._inputs.append(do.Played(leg, event.at, event.token, event.finished, event.digit))
        elif kind == "Recorded":
            leg = self._leg_recorded(event.token)
            if leg:
                self._inputs.append(do.Recorded(leg, event.at, event.token, event.samples, event.lost_samples))
        elif kind == "MediaLost":
            # The drivers end their legs; recordings and bridges died with the process.
            self._audio.lost()
            for state in self.board.contacts.values():
                for one in state.recordings:
                    if one.path and one.samples < 0:
                        self._inputs.append(do.Recorded(one.leg, event.at, one.token, 0, 0))
        self._work()

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

    def command(self, fn: Callable[[int], T]) -> T:
        """Run a command of the switchboard (`fn(now)`) and execute what follows from it."""
        try:
            return fn(self._clock.now())
        finally:
            self._inputs.append(None)
            self._work()

    def _work(self) -> None:
        if self._running or not self._started:
            return
        self._running = True
        try:
            while self._inputs:
                event = self._inputs.popleft()
                self._one(event)
                self._execute()
            self._write_journal()
        finally:
            self._running = False
        self._set_timer()

    def _one(self, event: Any) -> None:
        now = self._clock.now()
        try:
            if event is None:
                self.board.expire(now)
                return
            leg = getattr(event, "leg", "")
            port = getattr(event, "port", -1)
            if port >= 0:
                self._audio.ports[leg] = port
            if isinstance(event, LegEnded):
                self._audio.ports.pop(leg, None)
            self.board.receive(event, max(now, getattr(event, "at", now)))
            self._dirty.add(self.board.contact_of(leg))
        except Exception:
            contact = self.board.contact_of(getattr(event, "leg", ""))
            log.exception("contact %s: %s could not be handled; the contact is ended", contact, type(event).__name__)
            self._end_broken(contact, now)

    def _end_broken(self, contact: str, now: int) -> None:
        """A bug in one contact ends that contact, nothing else: let it crash, narrowly."""
        state = self.board.contacts.get(contact)
        if state is None:
            return
        for leg in state.live_legs:
            driver = self._drivers.get(leg.kind)
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
            self._timer = self._clock.call_at(deadline, self._due)

    def _due(self) -> None:
        self._timer = None
        self._inputs.append(None)
        self._work()

    # --- execution ----------------------------------------------------------------------------------------------------

    def _execute(self) -> None:
        for contact, action in self.board.actions():
            self._dirty.add(contact)
            try:
                self._act(contact, action)
            except (EngineBusy, EngineRefused) as error:
                log.error("contact %s: media refused %s: %s", contact, type(action).__name__, error)
                if isinstance(action, do.Bridge):
                    self._refused(contact)

    def _refused(self, contact: str) -> None:
        """People who cannot be joined must not sit in silence: the call ends; an emergency call is left to its people."""
        state = self.board.contacts.get(contact)
        if state is not None and not state.emergency:
            self.board.hang_up(contact, self._clock.now())
            self._inputs.append(None)

    def _state(self, contact: str) -> ContactState | None:
        return self.board.contacts.get(contact) or self._finals.get(contact)

    def _driver(self, contact: str, leg: str) -> LegDriver | None:
        state = self._state(contact)
        found = state.legs.get(leg) if state is not None else None
        return self._drivers.get(found.kind) if found is not None else None

    def _act(self, contact: str, action: do.Action) -> None:
        match action:
            case do.AnswerLeg() | do.RingBack() | do.OriginateLeg() | do.HangUpLeg() | do.SendDigits():
                self._drive(contact, action)
            case do.PlayPrompt() | do.PlayMusic() | do.PlayTone() | do.StopPlay() | do.Loop():
                leg = self._leg(contact, action.leg)
                if leg is not None:
                    self._audio.sound(action, sip=leg.kind is LegKind.SIP)
            case do.Bridge():
                legs = [leg for leg in (self._leg(contact, action.a), self._leg(contact, action.b)) if leg is not None]
                self._audio.bridge(contact, action, [leg.id for leg in legs if leg.kind is LegKind.SIP])
            case do.Unbridge():
                self._audio.unbridge(contact, action)
            case do.StartRecording():
                self._record(contact, action)
            case do.StopRecording():
                self._audio.stop_record(action.leg)
            case do.Record():
                log.info("contact %s: %s %s %s", contact, action.kind, action.leg, action.data or "")
                self.records.event(contact, self.wall(action.at), action.kind, action.leg, action.data)
            case do.QueueLog():
                self.queue_log.write(self.wall(action.at), contact, action.queue, action.agent, action.event, action.data)
            case do.OpenContact():
                state = self._state(contact)
                if state is not None:
                    self.records.open(state, self.wall)
            case do.CloseLeg():
                leg = self._leg(contact, action.leg)
                if leg is not None:
                    self.records.leg(contact, leg, self.wall)
            case do.CloseContact():
                final = self._finals.pop(contact, None)
                if final is not None:
                    self.records.close(final, self.wall)
                self._audio.forget(contact)
                self._journal.forget(contact)
            case do.Notify():
                self._notify(action.event)

    def _leg(self, contact: str, leg: str) -> Leg | None:
        state = self._state(contact)
        return state.legs.get(leg) if state is not None else None

    def _drive(self, contact: str, action: Any) -> None:
        driver = self._driver(contact, action.leg)
        if driver is None:
            return
        match action:
            case do.AnswerLeg():
                self._tell_partners(contact, action.leg)
                driver.answer(action.leg)
            case do.RingBack():
                driver.progress(action.leg)
            case do.HangUpLeg():
                driver.hang_up(action.leg, action.cause)
            case do.SendDigits():
                driver.send_digits(action.leg, action.digits)
            case do.OriginateLeg():
                self._tell_partners(contact, action.leg)
                driver.originate(
                    action.leg, action.endpoint, number=action.number, caller=action.caller, alert=action.alert, ring_ms=action.ring_ms
                )

    def _tell_partners(self, contact: str, leg: str) -> None:
        """Before a codec is chosen: who else is in this contact."""
        state = self._state(contact)
        if state is not None:
            self._partners(leg, [other.id for other in state.live_legs if other.id != leg])

    # --- recording ----------------------------------------------------------------------------------------------------

    def _record(self, contact: str, action: do.StartRecording) -> None:
        wall_ms = self._clock.wall_ms()
        local = self._local(wall_ms)

        def work() -> tuple[int, str] | RecordingRefusedError:
            try:
                return self._recordings.open(contact, local, wall_ms)
            except RecordingRefusedError as error:
                return error

        self._background(work, lambda result: self._record_in(action, result))

    def _record_in(self, action: do.StartRecording, result: tuple[int, str] | RecordingRefusedError) -> None:
        now = self._clock.now()
        if isinstance(result, RecordingRefusedError):
            self._alarms.raise_("recording", str(result))
            self._inputs.append(do.RecordingRefused(action.leg, now, action.token, str(result)))
            self._work()
            return
        self._alarms.clear("recording")
        descriptor, path = result
        port = self._audio.ports.get(action.leg, -1)
        try:
            if port < 0:
                raise EngineRefused(f"leg {action.leg} has no port any more")
            answer = self._media.record(port, descriptor, token=action.token)
        except (EngineBusy, EngineRefused) as error:
            os.close(descriptor)
            self._inputs.append(do.RecordingRefused(action.leg, now, action.token, str(error)))
        else:
            # Media keeps its own copy of the descriptor; ours may go once the command is answered.
            when_done(answer, lambda: os.close(descriptor))
            self._inputs.append(do.RecordingStarted(action.leg, now, action.token, path))
        self._work()

    # --- records, journal, screens ------------------------------------------------------------------------------------

    def wall(self, at: int) -> int:
        """Unix ms of an engine instant."""
        return at + self._clock.wall_ms() - self._clock.now()

    def _final(self, state: ContactState) -> None:
        self._finals[state.id] = state

    def _notify(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "EmergencyStarted":
            self.emergencies[event.contact] = event
            self._alarms.raise_(f"emergency:{event.contact}", event.text["en"])
            log.warning("contact %s: %s", event.contact, event.text["en"])
        elif kind == "EmergencyEnded":
            self.emergencies.pop(event.contact, None)
            self._alarms.clear(f"emergency:{event.contact}")
        elif isinstance(event, AgentChanged) and event.agent in self.board.floor.state.agents:
            agent = self.board.floor.agent(event.agent)
            self._agents.save(agent, self.wall(agent.since), self.wall(agent.idle_since))
        self._bus.publish(event)

    def _write_journal(self) -> None:
        now = self._clock.now()
        offset = self._clock.wall_ms() - now
        snapshots: dict[LegKind, Mapping[str, bytes]] = {}
        for contact in self._dirty:
            state = self.board.contacts.get(contact)
            if state is None:
                continue
            legs = {leg.id: data for leg in state.live_legs if (data := self._snapshot(leg, snapshots))}
            self._journal.contact(Entry(state, legs, now, offset))
        self._dirty.clear()
        self._journal.shared(Shared(self.board.snapshot(), now, offset))

    def _snapshot(self, leg: Leg, snapshots: dict[LegKind, Mapping[str, bytes]]) -> bytes:
        if leg.kind not in snapshots:
            driver = self._drivers.get(leg.kind)
            snapshots[leg.kind] = driver.snapshot() if driver is not None else {}
        return snapshots[leg.kind].get(leg.id, b"")

    # --- what others ask ----------------------------------------------------------------------------------------------

    def dial_check(self, extension: str, digits: str) -> Dialled:
        """For `Lines`: whether the keys of a phone are a whole number."""
        return self.board.routing.dial_check(extension, digits)

    def configure(self, config: Config, pins: Mapping[str, str]) -> None:
        """Take over another configuration; calls in progress go on."""
        self._recordings.settings = config.recording
        self.command(lambda now: self.board.configure(config, pins))
