"""Composition root of the call process: builds clock, bus, stores, media client, lines, phones, calls and the gate.

Start: media says what it still runs; the drivers are ready to adopt; `Calls` goes on with the journal or closes what was
lost; only then do SIP sockets and the control socket come to life. Where the whole appliance starts, media takes its time for
line chips: telephones register over UDP meanwhile, whatever else they ask waits (`early_sip.py`). End (SIGTERM): every contact is
ended with its record, the stores are flushed. The heartbeat is the one timer on real time: it must also show a loop that waits for
a wedged engine.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import signal
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from firmware.app import tone_views, trunk_views, views
from firmware.app.early_sip import EarlySip
from firmware.app.handover import Handover
from firmware.app.reconfigure import Reconfigure
from firmware.app.sip_tls import TlsPart
from firmware.app.voicemail import MailRooms
from firmware.call.call_waiting import may_interrupt
from firmware.call.consent import consent
from firmware.call.model import Evidence, LegKind
from firmware.call.speech import speak
from firmware.call.spoken import spoken
from firmware.call.times import LocalTime
from firmware.config.country import site_profile
from firmware.config.diff import content_hash
from firmware.config.emergency import emergency_numbers
from firmware.control.builtin import Facts, attach
from firmware.control.gate import Gate
from firmware.control.server import Server
from firmware.control.stream import EventStream
from firmware.core import call_queries, recording_queries
from firmware.core.agents import AgentStore
from firmware.core.blocking import BlackList
from firmware.core.call_trace import CallTraces
from firmware.core.calls import Calls
from firmware.core.doctor.doctor import LineDoctor
from firmware.core.explaining import local_time
from firmware.core.forged_speech import ForgedSpeech
from firmware.core.journal import Journal
from firmware.core.lines import Lines
from firmware.core.lines_alarms import LineAlarms
from firmware.core.lines_hangups import NightlyHangUps
from firmware.core.lines_learn import LineLearning
from firmware.core.night import NightKey
from firmware.core.paging import Loudspeakers
from firmware.core.phones import Phones
from firmware.core.phones_ledger import Ledger
from firmware.core.phones_vault import KeyVault
from firmware.core.reach import Reach
from firmware.core.recordings import Recordings
from firmware.core.replay import ReplayPart
from firmware.core.reports import Reports
from firmware.core.watchers import Watchers
from firmware.core.wishes import Wishes
from firmware.errors import EngineRefused, PbxError
from firmware.media import Media
from firmware.net.dns import Dns
from firmware.net.sip_tcp import SipTcp
from firmware.net.sip_udp import SipUdp
from firmware.net.source import SourceAddress
from firmware.prompts import clip_files, load_catalogue, site_root, site_whole
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import EngineClock
from firmware.runtime.health import BEAT_MS
from firmware.runtime.ids import Ids
from firmware.runtime.memory import give_back
from firmware.runtime.tokens import Tokens
from firmware.sip.flow import SECURED, Outgoing
from firmware.sip.registrar import Binding
from firmware.store.cdr import CallRecords
from firmware.store.db import Database
from firmware.store.filters import EchoFilterStore
from firmware.store.hangups import count_hang_ups
from firmware.store.linebook import LineBookStore
from firmware.store.queuelog import QueueLogStore
from firmware.store.recordings import RecordingStore
from firmware.store.reporting import ReportStore
from firmware.store.vault import DeviceKey

END_CALLS_S = 2.5
MEET_S = 10.0
LIFELINE_S = 1.0
FLUSH_S = 1.0
RECORD_S = 0.01               # what a call writes of itself in this time is queued together
STALLED_S = 3.0
COLLECT = 10_000, 20, 20      # thresholds of the collector of cycles (700, 10, 10 as it comes)

log = logging.getLogger("branchpbx.core")


def main(handover: Handover) -> int:
    """Entry point of the forked process."""
    return asyncio.run(Core(handover).run())


class Core:
    """Wires the parts; holds no rule of its own."""

    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self.config = handover.config
        self._zone = ZoneInfo(handover.config.site.time_zone)
        self._stop = asyncio.Event()
        self._leaving = False
        self._databases: list[Database] = []
        self.bus = Bus()
        self.line_alarms: LineAlarms | None = None

    async def run(self) -> int:
        """Serve until SIGTERM."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        self._loop.add_signal_handler(signal.SIGUSR1, self._make_room)
        handover = self._handover
        self.clock = EngineClock(handover.ring, real=handover.speed == 100)
        self.media: Media[EngineClock] = Media(handover.ring, handover.event_fd, handover.channel_core, self.clock)
        self.alarms = Alarms(self.bus, self.clock)
        self._build_phones()
        early = None
        if handover.ring.epoch == 0:
            early = EarlySip(self._received, self._loop.time)
            self._open_udp(early.receive)
        self._beat()            # media may have the processor now: not before telephones are heard
        if early is not None:
            await self._first_media()
        self._open_stores()
        self._build_parts()
        await self._lifeline_apart()
        ports = await self._meet_media()
        self._begin(ports)
        # What was built lives as long as the process; what messages leave behind is looked through less often.
        gc.freeze()
        give_back()
        gc.set_threshold(*COLLECT)
        await self._listen(early)
        log.info("core is ready: boot %d, adopted %s, %d contacts", self._boot, self.media.adopted, len(self.calls.board.contacts))
        await self._stop.wait()
        if self._leaving:
            return await self._leave()
        await self._end()
        return 0

    async def _first_media(self) -> None:
        """At the start of the appliance media starts beside us: wait for it, in real time, as its clock stands still."""
        deadline = self._loop.time() + MEET_S
        while self._handover.ring.epoch == 0 and self._loop.time() < deadline:  # noqa: ASYNC110 - a word of shared memory
            await asyncio.sleep(0.01)

    async def _lifeline_apart(self) -> None:
        """The parent separates the lifeline jacks when it sees us live; what they do before is not for us."""
        word = self._handover.lifeline
        deadline = self._loop.time() + LIFELINE_S
        while word is not None and word.joined and self._loop.time() < deadline:  # noqa: ASYNC110 - a word of shared memory
            await asyncio.sleep(0.01)

    async def _meet_media(self) -> list[Any]:
        """What media runs; asked again when it is replaced in the meantime."""
        deadline = self._loop.time() + MEET_S
        while True:
            try:
                return list(await self.media.start(self.clips, spoken(self.config)))
            except EngineRefused as error:
                if self._loop.time() > deadline:
                    raise
                log.info("media was replaced while core started (%s); asked again", error)

    # --- building -----------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        self._handover.ring.beat("core")
        if self.line_alarms is not None and self._handover.lifeline is not None:
            self.line_alarms.relay(self._handover.lifeline.relay)
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

    def _build_phones(self) -> None:
        """What it takes to answer a registration: no store, no running clock."""
        config, handover = self.config, self._handover
        self.reach = Reach(
            config,
            self.clock,
            source=SourceAddress(handover.bind),
            ports=_listening(handover),
            draw=secrets.SystemRandom().random,
            families=("A", "AAAA") if handover.bind == "::" else ("AAAA",) if ":" in handover.bind else ("A",),
        )
        self.dns = Dns(self.reach.locator, self.clock.now, self._loop, config.sip.name_servers)
        self.reach.ask = self.dns.ask
        self._ledger = Ledger(handover.registrations_fd, self._base_ms) if handover.registrations_fd >= 0 else None
        self.phones = Phones(
            config=config,
            secrets={number: entry.secret for number, entry in config.extensions.items()},
            media=self.media,
            clock=self.clock,
            bus=self.bus,
            ids=self,
            token=Tokens(),
            transmit=self._transmit,
            keep_registrations=self._keep_registrations,
            vault=KeyVault(handover.keys_fd) if handover.keys_fd >= 0 else None,
            reach=self.reach,
            ledger=self._ledger,
        )

    def leg(self) -> str:
        """Next leg id: telephones exist before the boot count is read, their legs do not."""
        return self.ids.leg()

    def _build_parts(self) -> None:
        config, handover = self.config, self._handover
        country = site_profile(config)
        self.ids = Ids(self._boot)
        site = site_root(handover.state)
        self.clips: dict[str, Path] = clip_files(site=site)
        whole = site_whole(site)
        prompts = load_catalogue()
        self.lines = Lines(config, country, handover.board, self.media, self.clock, self.bus, self.ids.leg, self._dial_check)
        self.media.subscribe(self.lines.media_event)
        self.line_alarms = LineAlarms(self.lines, self.media, self.bus, self.clock, self.alarms)
        emergency = emergency_numbers(config.site.country, config.emergency_numbers)
        self.doctor = LineDoctor(
            config=config,
            profile=country,
            lines=self.lines,
            phones=self.phones,
            media=self.media,
            bus=self.bus,
            clock=self.clock,
            alarms=self.alarms,
            store=LineBookStore(self._state_db),
            state=handover.state,
            new_leg=self.ids.leg,
            emergency=emergency,
            background=self._background,
            calls=lambda: len(self.calls.board.contacts),
        )
        lines = self.doctor.driver
        self.calls = Calls(
            config=config,
            drivers={LegKind.FXO: lines, LegKind.FXS: lines, LegKind.SIP: self.phones, LegKind.TRUNK: self.phones},
            media=self.doctor.recorder, clock=self.clock, bus=self.bus, ids=self.ids,
            records=CallRecords(self._calls_db, self._boot, sum(country.ring_cadence_ms), partial(self._loop.call_later, RECORD_S)),
            queue_log=QueueLogStore(self._calls_db),
            journal=Journal(handover.run_folder / "journal"),
            recordings=self._recordings(), agents=AgentStore(self._state_db), alarms=self.alarms,
            speak=lambda language, prompt, variables: speak(prompts, language, prompt, variables, self.clips, whole),
            tones=country.tones, emergency=emergency, local=self._local,
            pins={number: entry.pin for number, entry in config.agents.items()},
            background=self._background, partners=self._partners,
            soon=lambda note: self.clock.call_later(1, note),     # with the next tick: a call's beginning is noted once, not at each step
        )  # fmt: skip
        self.reports = Reports(
            config=config, profile=country, calls=self.calls, store=ReportStore(self._calls_db), clock=self.clock, bus=self.bus,
            background=self._background,
        )  # fmt: skip
        self.calls.board.hunt = self.lines.hunt.order
        self.calls.recorder.notices(self.clips)
        self.calls.board.instant = self.clock.now
        self.night = NightKey(
            board=self.calls.board, turn=self.calls.command, clock=self.clock, bus=self.bus, db=self._state_db, alarms=self.alarms,
            zone=self._zone,
        )  # fmt: skip
        self.black_list = BlackList(
            board=self.calls.board, turn=self.calls.command, clock=self.clock, bus=self.bus, db=self._state_db, zone=self._zone
        )
        self.wishes = Wishes(
            board=self.calls.board, turn=self.calls.command, clock=self.clock, bus=self.bus, db=self._state_db,
            told=self.lines.show_diverted,
        )  # fmt: skip
        self.loudspeakers = Loudspeakers(lambda: self.config, self.calls, self.media, self.alarms, handover.bind)
        self.calls.referred = self.phones.referred
        self.calls.introduce = self.phones.introduce
        self.calls.give_back = self.phones.give_back
        self.watchers = Watchers(
            config, lambda: [*self.calls.board.contacts.values()], self.phones.tell_watchers, self.lines.show_messages, self.bus,
            self.clock, lambda: self.calls.board.floor.state,
        )  # fmt: skip
        self.watchers.night = lambda: self.calls.board.night.now(self.clock.wall_ms()) == "night"
        self.phones.watched(self.watchers)
        self.replay = ReplayPart(self.calls, self.media, self.calls.recorder.recordings, self._background)
        self.mail = MailRooms(
            calls=self.calls, media=self.media, state=handover.state, config=config, background=self._background, watchers=self.watchers,
            clips=self.clips, whole=whole, known=prompts.ids, db=self._calls_db, zone=self._zone,
        )  # fmt: skip
        self.tls = TlsPart(
            listener=handover.sip_tls,
            wss=handover.sip_wss,
            config=config.sip,
            state=handover.state,
            bind=handover.bind,
            box=config.site.name,
            owner=self.phones,
            loop=self._loop,
            alarms=self.alarms,
            zone=self._zone,
            told=[one for one in (config.provisioning.address, *(network.address for network in config.networks.values())) if one],
        )
        self.gate = Gate(self.bus, self.clock)
        self.stream = EventStream(self.bus, self.clock, self._boot)

    def _recordings(self) -> Recordings:
        device = DeviceKey.load(self._handover.state / "keys" / "recordings.key")
        rows = self._state_db.query("SELECT value FROM meta WHERE key = 'recording_chain'")

        def keep(text: str) -> None:
            self._state_db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('recording_chain', ?)", (text,))

        store = RecordingStore(self._calls_db, device, keep, lambda: str(rows[0]["value"]) if rows and not self._calls_db.fresh else "")
        settings, most_days = self.config.recording, consent(self.config).keep_days
        return Recordings(self._handover.state / "recordings", settings, store, device, most_days)

    def _begin(self, ports: list[Any]) -> None:
        self._restore_registrations()
        self.lines.keep_echo_filters(EchoFilterStore(self._state_db))
        self.learning = LineLearning(self.lines, self.media, self.bus, self.clock, LineBookStore(self._state_db))
        self.nightly = NightlyHangUps(partial(count_hang_ups, self._calls_db), self.clock, self.alarms, self._zone)
        self.nightly.start()
        self.calls.beside = self.lines.beside
        self.lines.remember_with(self.calls.remember)
        self.lines.interrupt_when(lambda leg: may_interrupt(self.calls.board.contacts, leg))
        self.traces = CallTraces(self.lines, self.phones, self.calls, self.clock, self.bus, self.media.quality)
        self.traces.going_on(ports)
        self.forged = ForgedSpeech(self.media.ports, self.phones.endpoint_of, self.alarms, self.clock, self.bus)
        self.forged.going_on(ports)
        self.lines.start(ports, adopting=self.media.adopted)
        self.night.load()
        self.wishes.load()
        self.black_list.load()
        self.reports.start(adopted=self.media.adopted)
        self.mail.load()
        if self.media.adopted and self._handover.before is not None:
            self.calls.remember_rules(self._handover.before)
        going_on = self.calls.start(ports, adopted=self.media.adopted)
        self.black_list.load()
        self.mail.start(adopted=self.media.adopted)
        self.lines.finish_adoption()
        self.wishes.start()
        self.loudspeakers.going_on()
        self.doctor.start(ports, boot=not self.media.adopted)
        self.phones.start()
        if self.media.adopted:
            live = {leg.id for state in self.calls.board.contacts.values() for leg in state.live_legs}
            for port in ports:
                if port.tag and port.tag not in live and port.port >= 16:
                    log.warning("engine port %d of %s belongs to no call: closed", port.port, port.tag)
                    self.media.close(port.port)
            log.info("%d contacts go on after the restart", going_on)
        self.facts = Facts(
            config=self.config,
            config_hash=content_hash(self.config),
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
                number: self.phones.state_of(number) for number, entry in self.config.extensions.items() if entry.kind == "sip"
            },
        )
        attach(self.gate, self.facts)
        self.tls.attach(self.gate)
        self.reach.attach(self.gate, self.phones.places)
        self.night.start()
        self.night.attach(self.gate)
        self.wishes.attach(self.gate)
        self.black_list.attach(self.gate)
        self.reports.attach(self.gate)
        self.mail.attach(self.gate)
        call_queries.attach(self.gate, self.calls, self.clock, self.media.ports, self.media.quality)
        self.doctor.attach(self.gate)
        self.reconfigure = Reconfigure(self, self._handover)
        self.reconfigure.attach(self.gate)
        views.attach(self.gate, config=lambda: self.config, clock=self.clock, lines=self.lines, phones=self.phones)
        self.traces.attach(self.gate)
        trunk_views.attach(self.gate, self.phones.trunks, self.clock, self.bus, lambda: self.config)
        tone_views.attach(self.gate, self.learning, self.nightly, self._zone)
        recording_queries.attach(self.gate, self.calls.recorder.recordings, self.clock, self._zone)
        recording_queries.attach_policy(self.gate, lambda: self.config)

    def _open_udp(self, deliver: Callable[..., None]) -> None:
        # A duplicate: what an event loop closes at its end must stay open for the next core.
        self._udp = SipUdp(self._handover.sip_udp.dup(), deliver, self._loop, self.phones.connection_lost)

    async def _listen(self, early: EarlySip | None) -> None:
        handover = self._handover
        if early is None:
            self._open_udp(self._received)
        else:
            early.open()
        self._tcp = SipTcp(handover.sip_tcp.dup(), self.phones, self._loop)
        await self._tcp.start()
        await self.tls.start()
        self.reach.start()
        self._restore_watchers()
        self.phones.trunks.alarms = self.alarms
        self.phones.trunks.start()
        self._server = Server(self.gate, self.stream, handover.control)
        await self._server.start()

    # --- glue ---------------------------------------------------------------------------------------------------------

    def _account_states(self) -> dict[str, str]:
        states = {number: self.phones.state_of(number) for number, entry in self.config.extensions.items() if entry.kind == "sip"}
        return states | {number: agent.status.value for number, agent in self.calls.board.floor.state.agents.items()}

    def _partners(self, leg: str, others: Sequence[str]) -> None:
        self.phones.partners(leg, others)
        self.lines.partners(leg, others)

    def _dial_check(self, extension: str, digits: str) -> Any:
        return self.calls.dial_check(extension, digits)

    def _received(self, *datagram: Any) -> None:
        with self.clock.held():
            self.phones.receive(*datagram)

    def _transmit(self, outgoing: Outgoing) -> None:
        if outgoing.transport == "udp":
            self._udp.send(outgoing.data, outgoing.destination)
        elif outgoing.transport in SECURED:
            self.tls.send(outgoing)
        else:
            self._tcp.send(outgoing.data, outgoing.destination, close=outgoing.close)

    def _local(self, wall_ms: int) -> LocalTime:
        return local_time(wall_ms, self._zone)

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

    def _keep_watchers(self, data: bytes) -> None:
        wall, now = self.clock.wall_ms(), self.clock.now()
        self._state_db.execute(
            "INSERT OR REPLACE INTO kept (part, state, wall_ms, base_ms) VALUES ('watchers', ?, ?, ?)", (data, wall, wall - now)
        )

    def _restore_watchers(self) -> None:
        """Lamps of a phone go on after a restart; they are told at once what is true now."""
        stored, shift = b"", 0
        try:
            rows = self._state_db.query("SELECT state, base_ms FROM kept WHERE part = 'watchers'")
            if rows:
                stored, shift = rows[0]["state"], rows[0]["base_ms"] - (self.clock.wall_ms() - self.clock.now())
        except (PbxError, sqlite3.Error) as error:
            log.warning("subscriptions are not restored, phones subscribe again: %s", error)
        self.phones.keep_watchers(self._keep_watchers, stored, shift)

    def _base_ms(self) -> int:
        """Wall time at which the engine's clock began."""
        return self.clock.wall_ms() - self.clock.now()

    def _restore_registrations(self) -> None:
        """What an earlier process of this start had answered; after a start, or where that is not all, what is on disk."""
        known = self._ledger.recall() if self._ledger is not None else None
        if known is not None:
            self.phones.restore_registrations(msgspec.msgpack.encode(known.accounts))
        if known is None or not known.whole:
            self._restore_stored_registrations()
        self.phones.registrations_complete()

    def _restore_stored_registrations(self) -> None:
        try:
            rows = self._state_db.query("SELECT state, base_ms FROM kept WHERE part = 'phones'")
            if not rows:
                return
            shift = rows[0]["base_ms"] - (self.clock.wall_ms() - self.clock.now())
            self.phones.restore_registrations(_shifted(rows[0]["state"], shift))
        except (PbxError, sqlite3.Error, msgspec.MsgspecError) as error:
            log.warning("registrations are not restored, phones register again: %s", error)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """SIGUSR1: the parent wants a new process, with another configuration; calls go on with it."""
        self._leaving = True
        self._stop.set()

    async def _leave(self) -> int:
        """Leave calls, lines and engine as they are to the process that comes; only what the stores have not written yet is written."""
        log.info("making room for another process: %d contacts go on there", len(self.calls.board.contacts))
        self.phones.keep_registrations()
        await self._server.stop()
        self._close_stores()
        return 0

    def _close_stores(self) -> None:
        self.calls.write_all()
        for database in (self._calls_db, self._state_db):
            if not database.close(FLUSH_S):
                log.error("%s: not everything is on disk", database.path)

    async def _end(self) -> None:
        """End every call with its record, then close the stores."""
        log.info("stopping: %d contacts are ended", len(self.calls.board.contacts))
        try:
            await self._server.stop()
            await self._end_calls()
            await self._tcp.close()
            await self.tls.close()
            await self.dns.close()
            self.media.detach()
            self.phones.keep_registrations()
        finally:
            self._close_stores()

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


def _listening(handover: Handover) -> dict[str, int]:
    """Port of each transport that can reach a carrier."""
    ports = {"udp": handover.sip_udp.getsockname()[1], "tcp": handover.sip_tcp.getsockname()[1]}
    if handover.sip_tls is not None:
        ports["tls"] = handover.sip_tls.getsockname()[1]
    return ports


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
