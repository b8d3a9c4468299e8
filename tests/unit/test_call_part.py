"""The calls part with real bus, clock, store and journal; telephones and the engine are played by the bench below."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware.call import actions as do
from firmware.call.events import TollNotice
from firmware.call.model import Alert, Cause, Evidence, LegAnswered, LegDigit, LegEnded, LegKind, LegOffered, LegRinging, LineMissed, Party
from firmware.call.times import LocalTime
from firmware.config.schema.recording import Recording
from firmware.config.schema.tree import Config
from firmware.control import call_commands as cmd
from firmware.core.agents import AgentStore
from firmware.core.call_queries import CallQueries
from firmware.core.calls import Calls
from firmware.core.journal import Journal
from firmware.core.recordings import Recordings
from firmware.dsp import vault
from firmware.errors import EngineBusy
from firmware.line.profiles import profile
from firmware.media.events import PortState
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.runtime.ids import Ids
from firmware.store.cdr import CallRecords
from firmware.store.db import Database
from firmware.store.queuelog import QueueLogStore
from tests.unit.call_stage import config


class Played(msgspec.Struct, frozen=True):
    port: int
    at: int
    token: int
    finished: bool = True
    digit: str = ""


class Recorded(msgspec.Struct, frozen=True):
    port: int
    at: int
    token: int
    samples: int
    lost_samples: int = 0


class Port(msgspec.Struct, frozen=True):
    port: int
    tag: str = ""
    bridge: int = -1


class Engine:
    """What media does for calls, as a list of what was asked; players end when the scenario says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.bridges: dict[int, int] = {}
        self.players: dict[int, int] = {}
        self.recorders: dict[int, int] = {}
        self.hear: Any = None

    def subscribe(self, fn: Any) -> None:
        self.hear = fn

    def join(self, bridge: int, port: int, *, hear: bool = True, speak: bool = True, whisper: int | None = None) -> None:
        self.bridges[port] = bridge
        self.asked.append(("join", port, speak, whisper))

    def leave(self, port: int) -> None:
        self.bridges.pop(port, None)

    def play(self, port: int, clips: Any, *, token: int, loop: bool = False, stop_on_digit: bool = False, gain_db: float = 0.0) -> None:
        self.asked.append(("play", port, tuple(clips)))
        self.players[port] = token

    def stop(self, port: int) -> None:
        self.players.pop(port, None)

    def record(self, port: int, file: int, *, token: int, key: bytes = b"", ident: bytes = b"", coded: str = "") -> None:
        self.asked.append(("record", port))
        self.recorders[port] = token
        os.pwrite(file, vault.seal(key, ident, 0, bytes(64000)) + vault.seal(key, ident, 1, b"", True), vault.HEADER)

    def stop_record(self, port: int) -> None:
        token = self.recorders.pop(port, 0)
        if token:
            self.hear(Recorded(port, 0, token, 16000))

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.asked.append((name, *args))


class Telephones:
    """A leg driver whose telephones answer when the scenario says so."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.live: dict[str, str] = {}
        self.ports: dict[str, int] = {}
        self.refuse = False

    def originate(self, leg: str, endpoint: str, *, number: str, caller: Party, alert: Alert, ring_ms: int) -> None:
        self.live[leg] = endpoint
        self.bench.bus.publish(LegRinging(leg, self.bench.clock.now()))

    def progress(self, leg: str) -> None:
        assert leg in self.live

    def early(self, leg: str) -> None:
        self.answer(leg)

    def answer(self, leg: str) -> None:
        if leg in self.live:
            self.answered(leg)

    def answered(self, leg: str) -> None:
        line = self.live[leg].startswith("line/")
        port = self.ports.setdefault(leg, int(self.live[leg][-1]) - 1 if line else 16 + len(self.ports))
        self.bench.bus.publish(LegAnswered(leg, self.bench.clock.now(), port, Evidence("sip-200")))

    def hang_up(self, leg: str, cause: Cause) -> None:
        self.end(leg, cause, False)

    def end(self, leg: str, cause: Cause = Cause.NORMAL, by_far: bool = True) -> None:
        if self.live.pop(leg, None) is not None:
            port = self.ports.pop(leg, -1)
            self.bench.engine.bridges.pop(port, None)
            self.bench.bus.publish(LegEnded(leg, self.bench.clock.now(), cause, Evidence("bye"), by_far))
            self.bench.engine.stop_record(port)

    def send_digits(self, leg: str, digits: str) -> None:
        self.bench.sent.append((leg, digits))

    def hide_keys(self, leg: str, on: bool) -> None:
        self.bench.sent.append((leg, f"hide {on}"))

    def snapshot(self) -> dict[str, bytes]:
        return {leg: endpoint.encode() for leg, endpoint in self.live.items()}

    def snapshot_leg(self, leg: str) -> bytes:
        return self.live[leg].encode() if leg in self.live else b""

    def adopt(self, leg: str, state: bytes, port: int) -> bool:
        if self.refuse or port < 0:
            return False
        self.live[leg], self.ports[leg] = state.decode(), port
        return True


class Bench:
    """One core process after another on the same state folder and engine."""

    def __init__(self, folder: Path, conf: Config | None = None) -> None:
        self.folder = folder
        self.config = conf or config()
        self.clock = ManualClock(now=1000)
        self.engine = Engine()
        self.sent: list[tuple[str, str]] = []
        self.boot = 0
        self.away = False                # media is
        self.db = Database(folder / "calls.db", "calls")
        self.state_db = Database(folder / "state.db", "state")
        self.start([], adopted=False)

    def start(self, ports: list[Port], *, adopted: bool) -> None:
        """A new core process."""
        self.boot += 1
        self.bus = Bus()
        self.phones = Telephones(self)
        self.ids = Ids(self.boot)
        self.db.flush()
        self.state_db.flush()
        self.records = CallRecords(self.db, self.boot)
        self.alarms = Alarms(self.bus, self.clock)
        self.calls = Calls(
            config=self.config, drivers=dict.fromkeys(LegKind, self.phones), media=self.engine, clock=self.clock, bus=self.bus,
            ids=self.ids, records=self.records, queue_log=QueueLogStore(self.db), journal=Journal(self.folder / "run" / "journal"),
            recordings=Recordings.beside(self.folder / "recordings", self.config.recording, self.db),
            agents=AgentStore(self.state_db), alarms=self.alarms,
            speak=lambda language, prompt, variables: (f"{language}/{prompt}",), tones=profile("CN").tones, emergency=("110",),
            local=lambda wall_ms: LocalTime(2026, 3, 2, 9, 0),
        )  # fmt: skip
        self.calls.start(ports, adopted=adopted)
        self.ask = CallQueries(self.calls, self.clock, self.running)

    async def running(self) -> list[PortState]:
        if self.away:
            raise EngineBusy("media is away")
        return [
            PortState(port, "rtp", tag=leg, open=True, suite="AES_CM_128_HMAC_SHA1_80", forged=3)
            for leg, port in self.phones.ports.items()
        ]

    def shown(self) -> list[cmd.CallRow]:
        return asyncio.run(self.ask.calls(cmd.ShowCalls()))

    def kill(self, **refused: bool) -> None:
        """SIGKILL core: media goes on, a new core takes over."""
        ports = [Port(port, leg, self.engine.bridges.get(port, -1)) for leg, port in self.phones.ports.items() if leg in self.phones.live]
        self.start(ports, adopted=True)

    def ring_in(self) -> str:
        leg = self.ids.leg()
        self.phones.live[leg] = "line/1"
        now = self.clock.now()
        self.bus.publish(LegOffered(leg, now, LegKind.FXO, "line/1", Party("139"), "", 0, 2, now - 900))
        return leg

    def played(self, leg: str) -> None:
        """The player of this leg came to its end."""
        port = self.phones.ports[leg]
        self.engine.hear(Played(port, self.clock.now(), self.engine.players.pop(port)))

    def press(self, leg: str, digit: str) -> None:
        self.bus.publish(LegDigit(leg, self.clock.now(), digit))

    def leg_at(self, endpoint: str) -> str:
        return next((leg for leg, where in self.phones.live.items() if where == endpoint), "")

    def conversation(self) -> tuple[str, str]:
        """A queue call that is being talked on and recorded."""
        self.ask.agent("8001", "login", extension="201")
        caller = self.ring_in()
        self.played(caller)
        self.played(caller)
        self.press(caller, "2")
        self.press(caller, "1")
        self.clock.advance(3000)
        agent = self.leg_at("201")
        self.phones.answered(agent)
        self.played(caller)
        return caller, agent

    def record_of(self, contact: str) -> Any:
        self.db.flush()
        return self.ask.contact(cmd.ShowContact(contact))


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    bench = Bench(tmp_path)
    yield bench
    bench.db.close()
    bench.state_db.close()


def test_a_call_is_joined_recorded_and_written_with_legs_and_events(bench: Bench) -> None:
    caller, agent = bench.conversation()
    assert bench.engine.bridges == {0: 0, bench.phones.ports[agent]: 0}
    assert ("play", 0, ("en/agent.id",)) in bench.engine.asked
    contact = bench.shown()[0].contact
    bench.clock.advance(7000)
    bench.phones.end(caller)
    detail = bench.record_of(contact)
    assert detail.contact.talk_ms == 7000
    assert detail.contact.wait_ms == 3000
    assert detail.contact.seq == 1
    assert detail.contact.cause == "normal"
    assert detail.contact.first_to_leave == "caller"
    assert {leg.endpoint for leg in detail.legs} == {"line/1", "201"}
    assert detail.recording and (bench.folder / "recordings" / detail.recording[0]).exists()
    assert bench.shown() == []
    assert not bench.engine.bridges
    assert Journal(bench.folder / "run" / "journal").load()[1] == []
    assert [row.event for row in bench.ask.queue_log(cmd.ShowQueueLog())] == ["ENTERQUEUE", "CONNECT", "COMPLETECALLER"]


def test_contact_is_in_the_records_from_its_first_moment(bench: Bench) -> None:
    bench.ring_in()
    bench.db.flush()
    row = bench.ask.contacts(cmd.ShowContacts())[0]
    assert (row.caller, row.ended_ms, row.rings) == ("139", 0, 0)


def test_somebody_who_gives_up_before_the_offer_is_in_the_records(bench: Bench) -> None:
    bench.clock.advance(12_000)
    bench.bus.publish(LineMissed("line/2", bench.clock.now(), Party("13800138000"), 1, 2_000))
    assert not bench.calls.board.contacts
    bench.db.flush()
    record = bench.records.last(1)[0]
    assert (record["kind"], record["line"], record["caller"], record["rings"]) == ("inbound", "line/2", "13800138000", 1)
    assert (record["cause"], record["evidence"], record["first_to_leave"]) == ("abandoned", "ring-stopped", "caller")
    assert record["answered_ms"] is None
    assert record["ended_ms"] - record["opened_ms"] == bench.clock.now() - 2_000
    assert bench.records.orphans() == []


def test_killed_core_goes_on_with_the_conversation_and_records_its_end(bench: Bench) -> None:
    caller, agent = bench.conversation()
    contact = bench.shown()[0].contact
    bridges = dict(bench.engine.bridges)
    bench.clock.advance(1000)
    bench.kill()
    assert bench.shown()[0].phase == "talking"
    speech = bench.shown()[0].speech
    assert speech == [f"{one.partition('=')[0]}=AES_CM_128_HMAC_SHA1_80 (3 not genuine)" for one in bench.shown()[0].legs]
    bench.away = True
    assert bench.shown()[0].speech == []
    assert bench.engine.bridges == bridges
    assert bench.ask.agents(cmd.ShowAgents())[0].state == "talking"
    bench.clock.advance(4000)
    bench.phones.end(agent)
    bench.clock.advance(100)
    assert ("play", 0, ("en/rate.ask",)) in bench.engine.asked
    bench.press(caller, "1")
    bench.played(caller)
    detail = bench.record_of(contact)
    assert detail.contact.rating == 1
    assert detail.contact.talk_ms == 5000
    assert bench.ask.agents(cmd.ShowAgents())[0].state == "wrap-up"


def test_leg_that_cannot_be_taken_over_ends_with_evidence(bench: Bench) -> None:
    bench.conversation()
    contact = bench.shown()[0].contact
    bench.start([], adopted=True)
    bench.clock.advance(4000)
    detail = bench.record_of(contact)
    assert detail.contact.cause == "system"
    assert {leg.evidence for leg in detail.legs} == {"adoption"}
    assert bench.ask.agents(cmd.ShowAgents())[0].state == "wrap-up"


def test_restart_of_everything_closes_what_was_open(bench: Bench) -> None:
    bench.conversation()
    contact = bench.shown()[0].contact
    bench.clock.advance(60_000)
    bench.start([], adopted=False)
    detail = bench.record_of(contact)
    assert detail.contact.cause == "system"
    assert detail.evidence == "adoption"
    assert bench.ask.agents(cmd.ShowAgents())[0].state == "ready"


def test_what_a_driver_learns_between_events_is_in_the_journal(bench: Bench) -> None:
    caller, _ = bench.conversation()
    bench.phones.live[caller] = "line/1 after a sound"
    assert bench.calls.journal.load()[1][0].legs[caller] != b"line/1 after a sound"
    bench.calls.remember(caller)
    assert bench.calls.journal.load()[1][0].legs[caller] == b"line/1 after a sound"
    bench.calls.remember("L999")                         # of no call


def test_contact_without_a_journal_is_closed_too(bench: Bench) -> None:
    bench.ring_in()
    (bench.folder / "run" / "journal" / "live.log").unlink()
    bench.start([], adopted=True)
    bench.db.flush()
    row = bench.ask.contacts(cmd.ShowContacts())[0]
    assert (row.cause, row.seq) == ("system", 1)
    assert row.ended_ms >= row.opened_ms


def test_after_a_power_cut_the_caller_of_an_open_record_is_on_the_list_of_lost_callers(bench: Bench) -> None:
    bench.ring_in()
    bench.db.flush()
    bench.kill()
    (bench.folder / "run" / "journal" / "live.log").unlink()
    bench.start([], adopted=False)
    assert len(bench.calls.board.acd.missed) == 1
    (entry,) = bench.calls.board.acd.missed.values()
    assert (entry.why, entry.contact) == ("system", bench.ask.contacts(cmd.ShowContacts())[0].contact)


def test_closed_record_cannot_be_rewritten(bench: Bench) -> None:
    caller = bench.ring_in()
    contact = bench.shown()[0].contact
    bench.phones.end(caller)
    before = bench.record_of(contact)
    bench.db.execute("UPDATE contacts SET cause = 'busy'")
    bench.records.close_orphan(contact, 5)
    assert bench.record_of(contact) == before


def test_no_recording_starts_when_the_disk_is_short_and_an_alarm_says_so(tmp_path: Path) -> None:
    bench = Bench(tmp_path, config(recording=Recording(reserve_mb=100_000)))
    bench.conversation()
    assert not any(asked[0] == "record" for asked in bench.engine.asked)
    assert bench.alarms.list()[0][0] == "recording"
    assert bench.shown()[0].phase == "talking"
    bench.db.close()
    bench.state_db.close()


def test_emergency_shows_on_the_screens_until_it_is_over(bench: Bench) -> None:
    leg = bench.ids.leg()
    bench.phones.live[leg] = "101"
    bench.bus.publish(LegOffered(leg, bench.clock.now(), LegKind.FXS, "101", Party("101"), "110", 4))
    bench.phones.ports[leg] = 4
    for _ in range(2):
        row = bench.ask.emergencies(cmd.ShowEmergencies())[0]
        assert "101" in row.en
        assert "101" in row.zh
        assert bench.alarms.list()
        bench.phones.answered(bench.leg_at("line/1"))
        bench.kill()
    bench.phones.end(leg)
    assert not bench.ask.emergencies(cmd.ShowEmergencies())
    assert not bench.alarms.list()


def test_the_toll_guard_is_an_alarm_for_an_hour(bench: Bench) -> None:
    text = {"en": "too many", "zh": "过多"}
    bench.calls.board.act("", do.Notify(TollNotice(bench.clock.now(), "calls", "201", text)))
    bench.calls.command(lambda now: None)
    assert [(kind, words) for kind, words, _ in bench.alarms.list()] == [("toll:calls:201", "too many")]
    assert bench.alarms.chinese("toll:calls:201") == "过多"
    bench.clock.advance(3_600_000)
    assert not bench.alarms.list()


def test_two_outside_lines_that_are_joined_are_told_of_each_other(bench: Bench) -> None:
    told: list[tuple[str, bool]] = []
    bench.calls.beside = lambda leg, on: told.append((leg, on))
    caller, agent = bench.conversation()
    assert told == [], "one line and a telephone"
    contact = bench.calls.board.contact_of(caller)
    state = bench.calls.board.contacts[contact]
    other = msgspec.structs.replace(state.legs[caller], id="L-other", endpoint="line/2")
    state.legs[other.id] = other
    bench.phones.ports[other.id] = 1
    bench.calls._act(contact, do.Bridge(caller, other.id))
    assert told == [(caller, True), (other.id, True)]
    bench.calls._act(contact, do.Unbridge(caller, other.id))
    assert told[2:] == [(caller, False), (other.id, False)]
    bench.phones.end(agent)


def test_a_quiet_agent_is_raised_while_he_talks_and_only_where_the_telephone_says_so(tmp_path: Path) -> None:
    plain = config()
    extensions = plain.extensions | {"201": msgspec.structs.replace(plain.extensions["201"], raise_quiet=True)}
    bench = Bench(tmp_path, msgspec.structs.replace(plain, extensions=extensions))

    def asked() -> list[tuple[Any, ...]]:
        return [one[1:] for one in bench.engine.asked if one[0] == "gain_control"]

    caller, agent = bench.conversation()
    port = bench.phones.ports[agent]
    assert asked() == [(port, True)]
    contact = bench.calls.board.contact_of(caller)
    bench.calls._act(contact, do.Unbridge(caller, agent))
    assert asked() == [(port, True), (port, False)]
    bench.calls._act(contact, do.Bridge(caller, agent))
    bench.phones.end(agent)                     # his port is closed, the next call on it begins anew
    bench.phones.end(caller)
    bench.clock.advance(60_000)
    bench.conversation()
    assert [on for _, on in asked()] == [True, False, True, True]
    bench.db.close()
    bench.state_db.close()


def test_error_in_one_contact_ends_only_that_contact(bench: Bench) -> None:
    talkers = bench.conversation()
    leg = bench.ids.leg()
    bench.phones.live[leg] = "line/2"
    bench.bus.publish(LegOffered(leg, bench.clock.now(), LegKind.FXO, "line/2", Party(), "", 1, 2, 0))
    broken = bench.calls.board.contacts[bench.calls.board.contact_of(leg)]
    broken.phase = "nonsense"  # type: ignore[assignment]
    bench.press(leg, "1")
    assert {row.contact for row in bench.shown()} == {bench.calls.board.contact_of(talkers[0])}


def test_every_action_of_the_switchboard_has_somebody_who_carries_it_out(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    # Those of an area of its own are carried out by that area's part, which adds them to the table.
    kinds = {kind for kind in do.Action.__subclasses__() if kind.__module__ == do.__name__}
    assert kinds and kinds - set(bench.calls.executors) == set()
    del bench.calls.executors[do.Loop]
    bench.calls._act("c1", do.Loop("leg"))
    assert "nothing executes Loop" in caplog.text


def test_a_half_keyed_pin_is_in_no_journal_and_keyed_again_after_a_restart(bench: Bench) -> None:
    leg = bench.ids.leg()
    bench.phones.live[leg] = "201"
    bench.bus.publish(LegOffered(leg, bench.clock.now(), LegKind.SIP, "201", Party("201"), "*11"))
    for key in "8001#7294":
        bench.press(leg, key)
        bench.clock.advance(100)
    (state,) = bench.calls.board.contacts.values()
    assert state.typed == "8001#7294"
    written = b"".join(path.read_bytes() for path in (bench.folder / "run" / "journal").iterdir())
    assert b"8001#" in written and b"729" not in written
    bench.kill()
    (state,) = bench.calls.board.contacts.values()
    assert (state.feature, state.typed) == ("login", "8001#")
    bench.press(leg, "7")
    assert state.typed == "8001#7"
