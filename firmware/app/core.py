"""Composition root of the call process: builds clock, bus, stores, media client, lines, phones, calls and the gate.

Start: media says what it still runs; the drivers are ready to adopt; `Calls` goes on with the journal or closes what was
lost; only then do SIP sockets and the control socket come to life. End (SIGTERM): every contact is ended with its record, the
stores are flushed. The heartbeat is the one timer on real time: it must also show a loop that waits for a wedged engine.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import sqlite3
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from firmware.app import views
from firmware.app.handover import Handover
from firmware.call.model import Evidence, LegKind
from firmware.call.speech import speak
from firmware.call.times import LocalTime
from firmware.config.diff import content_hash
from firmware.config.emergency import emergency_numbers
from firmware.control.builtin import Facts, attach
from firmware.control.gate import Gate
from firmware.control.server import Server
from firmware.control.stream import EventStream
from firmware.core import call_queries
from firmware.core.agents import AgentStore
from firmware.core.calls import Calls
from firmware.core.journal import Journal
from firmware.core.lines import Lines
from firmware.core.phones import Phones
from firmware.core.recordings import Recordings
from firmware.errors import EngineRefused, PbxError
from firmware.line.profiles import profile
from firmware.media import Media
from firmware.net.sip_tcp import SipTcp
from firmware.net.sip_udp import SipUdp
from firmware.prompts import clip_files, load_catalogue
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import EngineClock
from firmware.runtime.health import BEAT_MS
from firmware.runtime.ids import Ids
from firmware.sip.flow import Outgoing
from firmware.sip.registrar import Binding
from firmware.store.cdr import CallRecords
from firmware.store.db import Database
from firmware.store.filters import EchoFilterStore
from firmware.store.queuelog import QueueLogStore

END_CALLS_S = 2.5
MEET_S = 10.0
FLUSH_S = 1.0
STALLED_S = 3.0

log = logging.getLogger("branchpbx.core")


def main(handover: Handover) -> int:
    """Entry point of the forked process."""
    return asyncio.run(Core(handover).run())


class Core:
    """Wires the parts; holds no rule of its own."""

    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self._config = handover.config
        self._zone = ZoneInfo(handover.config.site.time_zone)
        self._stop = asyncio.Event()
        self._databases: list[Database] = []
        self.bus = Bus()

    async def run(self) -> int:
        """Serve until SIGTERM."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        self._beat()
        handover = self._handover
        await self._first_media()
        self.clock = EngineClock(handover.ring)
        self.media: Media[EngineClock] = Media(handover.ring, handover.event_fd, handover.channel_core, self.clock)
        self.alarms = Alarms(self.bus, self.clock)
        self._open_stores()
        self._build_parts()
        ports = await self._meet_media()
        self._begin(ports)
        await self._listen()
        log.info("core is ready: boot %d, adopted %s, %d contacts", self._boot, self.media.adopted, len(self.calls.board.contacts))
        await self._stop.wait()
        await self._end()
        return 0

    async def _first_media(self) -> None:
        """At the start of the appliance media starts beside us: wait for it, in real time, as its clock stands still."""
        deadline = self._loop.time() + MEET_S
        while self._handover.ring.epoch == 0 and self._loop.time() < deadline:  # noqa: ASYNC110 - a word of shared memory
            await asyncio.sleep(0.01)

    async def _meet_media(self) -> list[Any]:
        """What media runs; asked again when it is replaced in the meantime."""
        deadline = self._loop.time() + MEET_S
        while True:
            try:
                return list(await self.media.start(self._clips))
            except EngineRefused as error:
                if self._loop.time() > deadline:
                    raise
                log.info("media was replaced while core started (%s); asked again", error)

    # --- building -----------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        self._handover.ring.beat("core")
        for database in self._databases:
            held, name = database.stalled_s(), database.path.name
            text = f"{database.path}: the disk has held a write for {STALLED_S:.0f} s or more; records wait in memory"
            self.alarms.note(f"stall:{name}", text if held >= STALLED_S else "")
        self._loop.call_later(BEAT_MS / 1000, self._beat)

    def _database(self, name: str) -> Database:
        def note(kind: str, text: str) -> None:
            # From the writer thread, or while the database is opened.
            self._loop.call_soon_threadsafe(self.alarms.note, f"{kind}:{name}.db", text)

        database = Database(self._handover.state / f"{name}.db", name, on_alarm=note)
        self._databases.append(database)
        return database

    def _open_stores(self) -> None:
        self._state_db = self._database("state")
        self._calls_db = self._database("calls")
        rows = self._state_db.query("SELECT value FROM meta WHERE key = 'boot'")
        if rows:
            self._boot = int(rows[0]["value"]) + 1
        elif self._calls_db.fresh:
            self._boot = 1
        else:
            # The boot count was lost with its file, the records were not: minutes since 2020 are beyond any earlier count.
            self._boot = (self.clock.wall_ms() - 1_577_836_800_000) // 60_000
        self._state_db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('boot', ?)", (str(self._boot),))
        if not self._state_db.flush(2.0):
            log.error("the boot count is not on disk; ids may repeat after a power cut")

    def _build_parts(self) -> None:
        config, handover = self._config, self._handover
        country = profile(config.site.country)
        self.ids = Ids(self._boot)
        self._clips: Mapping[str, Path] = clip_files()
        prompts = load_catalogue()
        self.phones = Phones(
            config=config,
            secrets={number: entry.secret for number, entry in config.extensions.items()},
            media=self.media,
            clock=self.clock,
            bus=self.bus,
            ids=self.ids,
            token=lambda digits: secrets.token_hex((digits + 1) // 2)[:digits],
            transmit=self._transmit,
            keep_registrations=self._keep_registrations,
        )
        self.lines = Lines(config, country, handover.board, self.media, self.clock, self.bus, self.ids.leg, self._dial_check)
        self.media.subscribe(self.lines.media_event)
        self.calls = Calls(
            config=config,
            drivers={LegKind.FXO: self.lines, LegKind.FXS: self.lines, LegKind.SIP: self.phones},
            media=self.media,
            clock=self.clock,
            bus=self.bus,
            ids=self.ids,
            records=CallRecords(self._calls_db, self._boot, sum(country.ring_cadence_ms)),
            queue_log=QueueLogStore(self._calls_db),
            journal=Journal(handover.run_folder / "journal"),
            recordings=Recordings(handover.state / "recordings", config.recording),
            agents=AgentStore(self._state_db),
            alarms=self.alarms,
            speak=lambda language, prompt, variables: speak(prompts, language, prompt, variables, self._clips),
            tones=country.tones,
            emergency=emergency_numbers(config.site.country, config.emergency_numbers),
            local=self._local,
            pins={number: entry.pin for number, entry in config.agents.items()},
            background=self._background,
            partners=self.phones.partners,
        )
        self.gate = Gate(self.bus, self.clock)
        self.stream = EventStream(self.bus, self.clock, self._boot)

    def _begin(self, ports: list[Any]) -> None:
        self._restore_registrations()
        self.lines.keep_echo_filters(EchoFilterStore(self._state_db))
        self.lines.start(ports, adopting=self.media.adopted)
        going_on = self.calls.start(ports, adopted=self.media.adopted)
        self.lines.finish_adoption()
        self.phones.start()
        if self.media.adopted:
            live = {leg.id for state in self.calls.board.contacts.values() for leg in state.live_legs}
            for port in ports:
                if port.tag and port.tag not in live and port.port >= 16:
                    log.warning("engine port %d of %s belongs to no call: closed", port.port, port.tag)
                    self.media.close(port.port)
            log.info("%d contacts go on after the restart", going_on)
        self.facts = Facts(
            config=self._config,
            config_hash=content_hash(self._config),
            state=self._handover.state,
            clock=self.clock,
            alarms=self.alarms,
            boot=self._boot,
            generation=self._calls_db.generation,
            started_at=self.clock.now(),
            adopted=self.media.adopted,
            calls=lambda: len(self.calls.board.contacts),
            next_event=lambda: self.stream.next,
            account_states=lambda: {
                number: self.phones.state_of(number) for number, entry in self._config.extensions.items() if entry.kind == "sip"
            },
        )
        attach(self.gate, self.facts)
        call_queries.attach(self.gate, self.calls, self.clock)
        views.attach(self.gate, config=self._config, clock=self.clock, lines=self.lines, phones=self.phones, calls=self.calls)

    async def _listen(self) -> None:
        handover = self._handover
        # Duplicates: what an event loop closes at its end must stay open for the next core.
        self._udp = SipUdp(handover.sip_udp.dup(), self._received, self._loop)
        self._tcp = SipTcp(handover.sip_tcp.dup(), self.phones, self._loop)
        await self._tcp.start()
        self._server = Server(self.gate, self.stream, handover.control)
        await self._server.start()

    # --- glue ---------------------------------------------------------------------------------------------------------

    def _account_states(self) -> dict[str, str]:
        states = {number: self.phones.state_of(number) for number, entry in self._config.extensions.items() if entry.kind == "sip"}
        return states | {number: agent.status.value for number, agent in self.calls.board.floor.state.agents.items()}

    def _dial_check(self, extension: str, digits: str) -> Any:
        return self.calls.dial_check(extension, digits)

    def _received(self, *datagram: Any) -> None:
        with self.clock.held():
            self.phones.receive(*datagram)

    def _transmit(self, outgoing: Outgoing) -> None:
        if outgoing.transport == "udp":
            self._udp.send(outgoing.data, outgoing.destination)
        else:
            self._tcp.send(outgoing.data, outgoing.destination, close=outgoing.close)

    def _local(self, wall_ms: int) -> LocalTime:
        moment = datetime.fromtimestamp(wall_ms / 1000, self._zone)
        return LocalTime(moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)

    def _background(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        def finished(future: asyncio.Future[Any]) -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is not None:
                log.error("background work failed", exc_info=error)
            else:
                then(future.result())

        self._loop.run_in_executor(None, work).add_done_callback(finished)

    def _keep_registrations(self, data: bytes) -> None:
        wall, now = self.clock.wall_ms(), self.clock.now()
        self._state_db.execute(
            "INSERT OR REPLACE INTO kept (part, state, wall_ms, base_ms) VALUES ('phones', ?, ?, ?)", (data, wall, wall - now)
        )

    def _restore_registrations(self) -> None:
        try:
            rows = self._state_db.query("SELECT state, base_ms FROM kept WHERE part = 'phones'")
            if not rows:
                return
            shift = rows[0]["base_ms"] - (self.clock.wall_ms() - self.clock.now())
            self.phones.restore_registrations(_shifted(rows[0]["state"], shift))
        except (PbxError, sqlite3.Error, msgspec.MsgspecError) as error:
            log.warning("registrations are not restored, phones register again: %s", error)

    # --- the end ------------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """End every call with its record, then close the stores."""
        log.info("stopping: %d contacts are ended", len(self.calls.board.contacts))
        try:
            await self._server.stop()
            await self._end_calls()
            await self._tcp.close()
            self.media.detach()
        finally:
            for database in (self._calls_db, self._state_db):
                if not database.close(FLUSH_S):
                    log.error("%s: not everything is on disk", database.path)

    async def _end_calls(self) -> None:
        for contact in list(self.calls.board.contacts):
            try:
                self.calls.command(lambda now, contact=contact: self.calls.board.hang_up(contact, now))  # type: ignore[misc]
            except PbxError as error:
                log.info("contact %s: %s", contact, error)
        deadline = self._loop.time() + END_CALLS_S
        while self.calls.board.contacts and self._loop.time() < deadline:
            turn = self._loop.create_future()
            self._loop.call_later(0.02, turn.set_result, None)
            await turn
        evidence = Evidence("command", 1.0, "the appliance was stopped")
        for contact in list(self.calls.board.contacts):
            self.calls.command(lambda now, contact=contact: self.calls.board.abandon(contact, evidence, now))  # type: ignore[misc]


def _shifted(data: bytes, shift_ms: int) -> bytes:
    """Registrations whose engine instants belong to another start of the engine clock."""
    if not shift_ms:
        return data
    accounts = msgspec.msgpack.decode(data, type=dict[str, list[Binding]])
    for bindings in accounts.values():
        for binding in bindings:
            binding.registered_at += shift_ms
            binding.expires_at += shift_ms
    return msgspec.msgpack.encode(accounts)
