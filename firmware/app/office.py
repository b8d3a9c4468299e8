"""The real call parts of core in virtual time, with telephones and an engine that know events but no sound.

Theory of operation
-------------------
`Office` builds what `app/core.py` builds of calls, agents, records, journal and reports, on a clock that only the simulation moves, in a
folder of its own with real databases. Telephones and lines are `Sets`: a leg driver whose legs are answered, ended and keyed by the
people of the simulation. `Sound` stands in for the engine where audio does not matter: a prompt takes a while and ends or is stopped by
a key, two ports in one bridge are two people who hear each other. What people notice is told to `People`, and to nobody else: their notes
are the oracle that records and reports are compared with.
Faults: core killed (calls go on in telephones and engine; what they tell meanwhile waits for the next core), engine lost, line pulled,
power cut (nothing is left but the disk). This is a bench of the product, not a part of it: nothing of the appliance imports it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import msgspec

from firmware.app.office_sound import Played, Sound
from firmware.call.model import (
    Alert,
    Cause,
    EndpointState,
    Evidence,
    LegAnswered,
    LegDigit,
    LegEnded,
    LegKind,
    LegOffered,
    LegRinging,
    LineMissed,
    Party,
)
from firmware.call.times import LocalTime
from firmware.config.country import site_profile
from firmware.config.schema.tree import Config
from firmware.core.agents import AgentStore
from firmware.core.calls import Calls
from firmware.core.journal import Journal
from firmware.core.recordings import Recordings
from firmware.core.reports import Reports
from firmware.media.events import MediaLost
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock, Timer
from firmware.runtime.ids import Ids
from firmware.store.cdr import CallRecords
from firmware.store.db import Database
from firmware.store.queuelog import QueueLogStore
from firmware.store.reporting import ReportStore

log = logging.getLogger("branchpbx.office")
ANSWER_MS, END_MS, RING_MS = 50, 20, 100
LINE_REST_MS = 2000
MOST_WAITING = 4000           # writes that may wait in memory before the simulation lets the disk catch up
STEP_MS = 10_000


class People(Protocol):
    """What telephones let people notice. `leg` names the telephone call; instants are `Office.clock.now()`."""

    def rings(self, leg: str, endpoint: str, caller: str) -> None: ...
    def picked_up(self, leg: str) -> None: ...
    def hears(self, leg: str, clips: tuple[str, ...], ms: int) -> None: ...
    def speaks_with(self, leg: str, other: str) -> None: ...
    def over(self, leg: str, cause: str) -> None: ...


class CoreClock:
    """The clock as one core has it: its timers die with it."""

    def __init__(self, office: Office, boot: int) -> None:
        self._office, self._boot = office, boot

    def now(self) -> int:
        return self._office.clock.now()

    def wall_ms(self) -> int:
        return self._office.clock.wall_ms()

    def call_at(self, at: int, fn: Callable[[], object]) -> Timer:
        return self._office.clock.call_at(at, lambda: fn() if self._office.alive and self._office.boot == self._boot else None)

    def call_later(self, ms: int, fn: Callable[[], object]) -> Timer:
        return self.call_at(self.now() + ms, fn)


class Set(msgspec.Struct):
    """A telephone call as its telephone or line has it."""

    leg: str
    endpoint: str
    kind: LegKind
    incoming: bool
    port: int = -1
    answered: bool = False
    number: str = ""
    rang: int = 0


class Sets:
    """The leg driver of all kinds; see the theory of operation of the module."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.live: dict[str, Set] = {}
        self._port = 15

    def at(self, endpoint: str) -> Set | None:
        return next((one for one in self.live.values() if one.endpoint == endpoint), None)

    def new_port(self) -> int:
        used = {one.port for one in self.live.values()}
        while True:
            self._port = 16 + (self._port - 15) % 200
            if self._port not in used:
                return self._port

    # --- LegDriver ----------------------------------------------------------------------------------------------------

    def originate(self, leg: str, endpoint: str, *, number: str, caller: Party, alert: Alert, ring_ms: int) -> None:
        office = self.office
        busy = self.at(endpoint) is not None
        self.live[leg] = Set(leg, endpoint, office.kind(endpoint), False, number=number)
        if busy:
            office.later(RING_MS, lambda: self.end(leg, Cause.BUSY, "sip-486", True))
            return
        office.later(RING_MS, lambda: self._rings(leg, caller.number))
        office.later(ring_ms, lambda: self._no_answer(leg))

    def _rings(self, leg: str, caller: str) -> None:
        one = self.live.get(leg)
        if one is not None:
            self.office.tell(LegRinging(leg, self.office.clock.now()))
            self.office.people.rings(leg, one.endpoint, caller)

    def _no_answer(self, leg: str) -> None:
        one = self.live.get(leg)
        if one is not None and not one.answered:
            self.end(leg, Cause.NO_ANSWER, "timer", False)

    def progress(self, leg: str) -> None:
        """Ringback is not listened to."""

    def early(self, leg: str) -> None:
        self.answer(leg)

    def answer(self, leg: str) -> None:
        self.office.later(ANSWER_MS, lambda: self.lift(leg))

    def lift(self, leg: str) -> None:
        """The call is answered: by the appliance, or by whoever picks the telephone up."""
        one = self.live.get(leg)
        if one is None or one.answered:
            return
        one.answered = True
        one.port = one.port if one.port >= 0 else self.new_port()
        self.office.sound.owner[one.port] = leg
        self.office.people.picked_up(leg)
        self.office.tell(LegAnswered(leg, self.office.clock.now(), one.port, Evidence("sip-200")))

    def hang_up(self, leg: str, cause: Cause) -> None:
        self.office.later(END_MS, lambda: self.end(leg, cause, "command", False))

    def end(self, leg: str, cause: Cause, evidence: str, by_far: bool) -> None:
        one = self.live.pop(leg, None)
        if one is None:
            return
        self.office.sound.close(one.port)
        self.office.people.over(leg, cause.value)
        self.office.tell(LegEnded(leg, self.office.clock.now(), cause, Evidence(evidence), by_far))
        if one.kind is LegKind.FXO:
            self.office.resting[one.endpoint] = self.office.clock.now() + LINE_REST_MS

    def send_digits(self, leg: str, digits: str) -> None:
        """Keys within a call are passed on to nobody who cares."""

    def hide_keys(self, leg: str, on: bool) -> None:
        """There is no trace of keys here."""

    def snapshot(self) -> dict[str, bytes]:
        return {leg: self.snapshot_leg(leg) for leg in self.live}

    def snapshot_leg(self, leg: str) -> bytes:
        return leg.encode() if leg in self.live else b""

    def adopt(self, leg: str, state: bytes, port: int) -> bool:
        """Who hung up while core was away is taken over, too, and heard of then: a phone says its BYE again, a line is looked at."""
        return leg in self.live or self.office.ended_unheard(leg)


class Office:
    """See the theory of operation. `people` is told what is noticed; set before the first call."""

    def __init__(self, folder: Path, config: Config, begins: datetime, people: People) -> None:
        self.folder = folder
        self.config = config
        self.people = people
        self.zone = ZoneInfo(config.site.time_zone)
        self.profile = site_profile(config)
        self.clock = ManualClock(1000, round(begins.timestamp() * 1000) - 1000)
        self.sets = Sets(self)
        self.sound = Sound(self)
        self.resting: dict[str, int] = {}
        self.pulled: set[str] = set()
        self.boot = 0
        self.alive = False
        self._missed: list[Any] = []
        self.db = Database(folder / "calls.db", "calls")
        self.state_db = Database(folder / "state.db", "state")
        self._start(adopted=False)

    # --- core ---------------------------------------------------------------------------------------------------------

    def _start(self, *, adopted: bool) -> None:
        self.boot += 1
        self.db.flush(60)
        self.state_db.flush(60)
        self.bus = Bus()
        self.ids = Ids(self.boot)
        clock = CoreClock(self, self.boot)
        alarms = Alarms(self.bus, clock)
        self.calls = Calls(
            config=self.config, drivers=dict.fromkeys(LegKind, self.sets), media=self.sound, clock=clock, bus=self.bus, ids=self.ids,
            records=CallRecords(self.db, self.boot, sum(self.profile.ring_cadence_ms)), queue_log=QueueLogStore(self.db),
            journal=Journal(self.folder / "run" / "journal"),
            recordings=Recordings.beside(self.folder / "recordings", self.config.recording, self.db),
            agents=AgentStore(self.state_db), alarms=alarms, speak=lambda language, prompt, variables: (f"{language}/{prompt}",),
            tones=self.profile.tones, emergency=(), local=self.local, soon=lambda note: clock.call_later(1, note),
        )  # fmt: skip
        self.reports = Reports(
            config=self.config, profile=self.profile, calls=self.calls, store=ReportStore(self.db), clock=clock, bus=self.bus,
            background=lambda work, then: then(work()),
        )  # fmt: skip
        self.alive = True
        self.reports.start(adopted=adopted)
        self.calls.start(self.sound.running() if adopted else [], adopted=adopted)
        for event in [self._missed.pop(0) for _ in range(len(self._missed))]:
            self._give(event)

    def local(self, wall_ms: int) -> LocalTime:
        at = datetime.fromtimestamp(wall_ms / 1000, self.zone)
        return LocalTime(at.year, at.month, at.day, at.hour, at.minute, at.second, wall_ms)

    def kind(self, endpoint: str) -> LegKind:
        return LegKind.FXO if endpoint.startswith("line/") else LegKind(self.config.extensions[endpoint].kind)

    def tell(self, event: Any) -> None:
        """What telephones and engine report; kept while no core is there to hear it."""
        if self.alive:
            self._give(event)
        else:
            self._missed.append(event)

    def ended_unheard(self, leg: str) -> bool:
        """Whether somebody hung up while no core was there to hear it."""
        return any(isinstance(event, LegEnded) and event.leg == leg for event in self._missed)

    def _give(self, event: Any) -> None:
        if isinstance(event, Played | MediaLost):
            self.sound.listener(event)
        else:
            self.bus.publish(event)

    # --- time ---------------------------------------------------------------------------------------------------------

    def later(self, ms: int, fn: Callable[[], None]) -> None:
        """Something happens outside, whether core lives or not."""
        self.clock.call_later(ms, fn)

    def run(self, ms: int) -> None:
        """Let time pass; the disk keeps up."""
        end = self.clock.now() + ms
        while self.clock.now() < end:
            self.clock.advance(min(STEP_MS, end - self.clock.now()))
            if self.db.statistics()["waiting"] > MOST_WAITING:
                self.db.flush(60)

    # --- what people do -----------------------------------------------------------------------------------------------

    def free_line(self) -> str:
        """The line that the exchange rings for the next caller; "" when all are busy."""
        now = self.clock.now()
        for jack in self.config.ports.fxo:
            line = f"line/{jack}"
            if line not in self.pulled and self.resting.get(line, 0) <= now and self.sets.at(line) is None:
                return line
        return ""

    def call_in(self, line: str, number: str, began: int, rings: int) -> str:
        """An outside call that has rung since `began` is offered; its leg."""
        leg = self.ids.leg() if self.alive else f"X{self.clock.now()}"
        self.sets.live[leg] = Set(leg, line, LegKind.FXO, True, port=int(line.rpartition("/")[2]) - 1, number=number, rang=began)
        self.tell(LegOffered(leg, self.clock.now(), LegKind.FXO, line, Party(number), "", self.sets.live[leg].port, rings, began))
        return leg

    def gave_up(self, line: str, number: str, began: int, rings: int) -> None:
        """Somebody rang and stopped before the line would have been offered."""
        self.resting[line] = self.clock.now() + LINE_REST_MS
        self.tell(LineMissed(line, self.clock.now(), Party(number), rings, began))

    def dial(self, extension: str, digits: str) -> str:
        """A telephone of the branch dials."""
        leg = self.ids.leg()
        self.sets.live[leg] = Set(leg, extension, self.kind(extension), True, number=digits)
        self.tell(LegOffered(leg, self.clock.now(), self.kind(extension), extension, Party(extension), digits))
        return leg

    def hang_up(self, leg: str) -> None:
        """The person at this telephone hangs up."""
        one = self.sets.live.get(leg)
        if one is not None:
            answered = one.answered or one.incoming
            self.sets.end(leg, Cause.NORMAL if answered else Cause.REJECTED, "busy-tone" if one.kind is LegKind.FXO else "bye", True)

    def press(self, leg: str, keys: str) -> None:
        """The person presses keys."""
        for digit in keys:
            one = self.sets.live.get(leg)
            if one is not None:
                self.sound.key(one.port, digit)
                self.tell(LegDigit(leg, self.clock.now(), digit))

    # --- faults -------------------------------------------------------------------------------------------------------

    def kill_core(self, away_ms: int) -> None:
        """SIGKILL; the next core takes over after a while."""
        self.alive = False
        self.later(away_ms, lambda: self._start(adopted=True))

    def lose_media(self) -> None:
        """The engine died and was replaced: every call that had sound is over."""
        for one in list(self.sets.live.values()):
            if one.answered:
                self.sets.end(one.leg, Cause.MEDIA_LOST, "command", False)
        self.tell(MediaLost(port=-1, at=self.clock.now(), wall_ms=self.clock.wall_ms(), epoch=self.boot))

    def pull(self, line: str) -> None:
        """The plug of a line comes out."""
        self.pulled.add(line)
        one = self.sets.at(line)
        if one is not None:
            self.sets.end(one.leg, Cause.LINE_FAULT, "loop-drop", False)
        self.tell(EndpointState(line, self.clock.now(), "fault"))

    def plug(self, line: str) -> None:
        """And in again."""
        self.pulled.discard(line)
        self.tell(EndpointState(line, self.clock.now(), "idle"))

    def cut_power(self, away_ms: int) -> None:
        """All processes and calls are gone; after a while everything starts anew from the disk."""
        self.alive = False
        for one in list(self.sets.live.values()):
            self.sets.end(one.leg, Cause.SYSTEM, "command", False)
        self._missed.clear()
        self.sound.reset()
        self.db.flush(60)
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        self.later(away_ms, lambda: self._start(adopted=False))

    def close(self) -> None:
        """Close the databases."""
        self.db.close(60)
        self.state_db.close(60)
