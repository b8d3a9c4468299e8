"""The calls part with real bus, clock, store and journal; telephones and the engine are played by the bench below."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware.call.model import Alert, Cause, Evidence, LegAnswered, LegDigit, LegEnded, LegKind, LegOffered, LegRinging, LineMissed, Party
from firmware.call.times import LocalTime
from firmware.config.schema.system import Recording
from firmware.config.schema.tree import Config
from firmware.control import call_commands as cmd
from firmware.core.agents import AgentStore
from firmware.core.call_queries import CallQueries
from firmware.core.calls import Calls
from firmware.core.journal import Journal
from firmware.core.recordings import Recordings
from firmware.line.profiles import profile
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

    def join(self, bridge: int, port: int, *, hear: bool = True, speak: bool = True) -> None:
        self.bridges[port] = bridge

    def leave(self, port: int) -> None:
        self.bridges.pop(port, None)

    def play(self, port: int, clips: Any, *, token: int, loop: bool = False, stop_on_digit: bool = False, gain_db: float = 0.0) -> None:
        self.asked.append(("play", port, tuple(clips)))
        self.players[port] = token

    def stop(self, port: int) -> None:
        self.players.pop(port, None)

    def record(self, port: int, file: int, *, token: int) -> None:
        self.asked.append(("record", port))
        self.recorders[port] = token

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

    def snapshot(self) -> dict[str, bytes]:
        return {leg: endpoint.encode() for leg, endpoint in self.live.items()}

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
            recordings=Recordings(self.folder / "recordings", self.config.recording), agents=AgentStore(self.state_db), alarms=self.alarms,
            speak=lambda language, prompt, variables: (f"{language}/{prompt}",), tones=profile("CN").tones, emergency=("110",),
            local=lambda wall_ms: LocalTime(2026, 3, 2, 9, 0),
        )  # fmt: skip
        self.calls.start(ports, adopted=adopted)
        self.ask = CallQueries(self.calls, self.clock)

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
    contact = bench.ask.calls(cmd.ShowCalls())[0].contact
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
    assert bench.ask.calls(cmd.ShowCalls()) == []
    assert not bench.engine.bridges
    assert not list((bench.folder / "run" / "journal").glob("C*.json"))
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
    contact = bench.ask.calls(cmd.ShowCalls())[0].contact
    bridges = dict(bench.engine.bridges)
    bench.clock.advance(1000)
    bench.kill()
    assert bench.ask.calls(cmd.ShowCalls())[0].phase == "talking"
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
    contact = bench.ask.calls(cmd.ShowCalls())[0].contact
    bench.start([], adopted=True)
    bench.clock.advance(4000)
    detail = bench.record_of(contact)
    assert detail.contact.cause == "system"
    assert {leg.evidence for leg in detail.legs} == {"adoption"}
    assert bench.ask.agents(cmd.ShowAgents())[0].state == "wrap-up"


def test_restart_of_everything_closes_what_was_open(bench: Bench) -> None:
    bench.conversation()
    contact = bench.ask.calls(cmd.ShowCalls())[0].contact
    bench.clock.advance(60_000)
    bench.start([], adopted=False)
    detail = bench.record_of(contact)
    assert detail.contact.cause == "system"
    assert detail.evidence == "adoption"
    assert bench.ask.agents(cmd.ShowAgents())[0].state == "ready"


def test_contact_without_a_journal_is_closed_too(bench: Bench) -> None:
    bench.ring_in()
    for path in (bench.folder / "run" / "journal").glob("C*.json"):
        path.unlink()
    bench.start([], adopted=True)
    bench.db.flush()
    row = bench.ask.contacts(cmd.ShowContacts())[0]
    assert (row.cause, row.seq) == ("system", 1)
    assert row.ended_ms >= row.opened_ms


def test_closed_record_cannot_be_rewritten(bench: Bench) -> None:
    caller = bench.ring_in()
    contact = bench.ask.calls(cmd.ShowCalls())[0].contact
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
    assert bench.ask.calls(cmd.ShowCalls())[0].phase == "talking"
    bench.db.close()
    bench.state_db.close()


def test_oldest_recordings_make_room(tmp_path: Path) -> None:
    day = tmp_path / "2026" / "01" / "01"
    day.mkdir(parents=True)
    for number in range(3):
        path = day / f"C{number}.wav"
        path.write_bytes(bytes(600_000))
        os.utime(path, (1_767_300_000 + number, 1_767_300_000 + number))
    recordings = Recordings(tmp_path, Recording(quota_mb=1, reserve_mb=1))
    recordings.open("CX", LocalTime(2026, 1, 2, 0, 0), 1_767_400_000_000)
    assert [path.name for path in sorted(day.glob("*.wav"))] == ["C2.wav"]


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


def test_error_in_one_contact_ends_only_that_contact(bench: Bench) -> None:
    talkers = bench.conversation()
    leg = bench.ids.leg()
    bench.phones.live[leg] = "line/2"
    bench.bus.publish(LegOffered(leg, bench.clock.now(), LegKind.FXO, "line/2", Party(), "", 1, 2, 0))
    broken = bench.calls.board.contacts[bench.calls.board.contact_of(leg)]
    broken.phase = "nonsense"  # type: ignore[assignment]
    bench.press(leg, "1")
    assert {row.contact for row in bench.ask.calls(cmd.ShowCalls())} == {bench.calls.board.contact_of(talkers[0])}
