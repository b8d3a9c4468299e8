"""The office of the soak: call control as the appliance composes it, telephones around it, a network with faults, one virtual clock.

Theory of operation
-------------------
What runs is the product: `Phones` (with the whole SIP endpoint), `Calls` with switchboard, store and journal, `Watchers`. In place
of the media process stands `Ports`, which hands out ports and lets prompts end. Time is one heap: packets in the air, timers of the
telephones, timers of call control, whims. Faults: lost and repeated packets, malformed and foreign ones, telephones without power or
reach, call control that is killed and adopts what it finds. `rest` lets everybody hang up and all protocol timers end; `sizes` counts
what is left.
"""

from __future__ import annotations

import gc
import heapq
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from firmware.call.model import LegKind
from firmware.call.times import LocalTime
from firmware.config.schema.people import Agent, Extension
from firmware.config.schema.tree import Config
from firmware.core.agents import AgentStore
from firmware.core.calls import Calls
from firmware.core.journal import Journal
from firmware.core.phones import Phones
from firmware.core.recordings import Recordings
from firmware.core.watchers import Watchers
from firmware.errors import EngineBusy, EngineRefused
from firmware.line.profiles import profile
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.runtime.ids import Ids
from firmware.sip.flow import Address, Outgoing
from firmware.store.cdr import CallRecords
from firmware.store.db import Database
from firmware.store.queuelog import QueueLogStore

from .phone import Phone

PBX: Address = ("192.0.2.1", 5060)
REST_MS = 1_900_000                      # longer than a session interval, by which a telephone that vanished while it held is found out
STILL_MS = 80_000                        # longer than any transaction
GARBAGE = (
    b"\x00\x01\x02", b"INVITE sip:x SIP/2.0\r\n\r\n", b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.9;branch=z9hG4bKq\r\n"
    b"From: <sip:s@h>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: scan\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
    b"REGISTER sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.9;branch=z9hG4bKr\r\nFrom: <sip:201@h>;tag=1\r\nTo: <sip:201@h>\r\n"
    b"Call-ID: guess\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
    b"ACK sip:192.0.2.1 SIP/2.0\r\n", b"\r\n\r\n",
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKnone\r\n\r\n", b"\xff" * 600,
)  # fmt: skip


class Played(msgspec.Struct, frozen=True):
    """The player of a port came to its end."""

    port: int
    at: int
    token: int
    finished: bool = True
    digit: str = ""


class RtpSilent(msgspec.Struct, frozen=True):
    """No packet for `ms`."""

    port: int
    ms: int


class Running(msgspec.Struct, frozen=True):
    """A port that media still runs."""

    port: int
    tag: str
    open: bool = True
    bridge: int = -1


class Answer:
    """A command of media that was done at once."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def add_done_callback(self, fn: Callable[[Any], object], /) -> None:
        fn(self)

    def cancelled(self) -> bool:
        return False

    def exception(self) -> None:
        return None

    def result(self) -> Any:
        return self.value


class Ports:
    """Stands where the media process is, and outlives call control like it."""

    def __init__(self, office: Office, most: int) -> None:
        self.office, self.most = office, most
        self.tags: dict[int, str] = {}
        self.remotes: dict[int, Any] = {}
        self.next = 15
        self.peak = 0
        self.ears: list[Callable[[Any], None]] = []

    def subscribe(self, fn: Callable[[Any], None]) -> None:
        self.ears.append(fn)

    def tell(self, event: Any) -> None:
        for ear in list(self.ears):
            ear(event)

    def allocate_rtp(self, tag: str) -> Any:
        if len(self.tags) >= self.most:
            raise EngineBusy("no RTP port left")
        free = next(port for port in range(16, 16 + self.most) if port not in self.tags)
        self.tags[free] = tag
        self.peak = max(self.peak, len(self.tags))
        return msgspec.defstruct("RtpPort", ["port", "local_port"])(free, 20_000 + 2 * free)

    def open_rtp(self, port: int, **arguments: Any) -> Answer:
        self.remotes[port] = arguments.get("remote")
        return Answer()

    def update_rtp(self, port: int, **arguments: Any) -> Answer:
        if port not in self.tags:
            raise EngineRefused(f"port {port} is not open")
        self.remotes[port] = arguments.get("remote")
        return Answer()

    def close_rtp(self, port: int) -> Answer:
        self.tags.pop(port, None)
        self.remotes.pop(port, None)
        return Answer()

    close = close_rtp

    def side(self, port: int, what: str, **arguments: Any) -> Answer:
        return Answer(":".join(["5A"] * 32) if what == "fingerprint" else None)

    def quality(self, port: int) -> None:
        return None

    def play(self, port: int, clips: Any, *, token: int, loop: bool = False, **more: Any) -> Answer:
        if not loop:
            self.office.later(1500, lambda: self.tell(Played(port, self.office.now, token)))
        return Answer()

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: Answer()


class Office:
    """See the theory of operation. `phones` telephones, numbered from 201."""

    def __init__(self, folder: Path, seed: int, *, phones: int = 40, loss: float = 0.01) -> None:
        self.rng = random.Random(seed)
        self.folder, self.loss = folder, loss
        self.pbx = PBX
        self.frozen = False                              # nobody begins anything, refreshes wait
        self.touched: set[Address] = set()               # telephones whose timers may have changed
        self._due: dict[Address, int] = {}
        self.now = 1000
        self.counts: Counter[str] = Counter()
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        people = [str(201 + n) for n in range(phones)]
        self.config = Config(
            extensions={number: Extension(kind="sip", name=f"Desk {number}") for number in people},
            agents={str(8001 + n): Agent(pin="1") for n in range(4)},
        )
        self._numbers = people
        self.media = Ports(self, 112)
        self.registrations = self.watchers_kept = b""
        folder.mkdir(parents=True, exist_ok=True)
        self.db, self.state_db = Database(folder / "calls.db", "calls"), Database(folder / "state.db", "state")
        self.boot = 0
        self.start(adopted=False)
        self.telephones = {
            ("192.0.2.2", 6000 + n): Phone(self, number, "pw" + number, ("192.0.2.2", 6000 + n)) for n, number in enumerate(people)
        }
        self.later(60_000, self._stranger)

    # --- what telephones ask ------------------------------------------------------------------------------------------

    def numbers(self) -> list[str]:
        return self._numbers

    def token(self, digits: int) -> str:
        return f"{self.rng.getrandbits(digits * 4):0{digits}x}"

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def later(self, ms: float, fn: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (self.now + max(0, int(ms)), self._order, fn))

    def carry(self, source: Address, data: bytes) -> None:
        """A packet of a telephone to the appliance."""
        self._fly(lambda: self._at_pbx(source, data))

    def dead(self, port: int) -> None:
        """A telephone sends no more audio."""
        for engine_port in [one for one, tag in self.media.tags.items() if self._belongs(tag, port)]:
            self.later(65_000, lambda engine_port=engine_port: self._silent(engine_port, 65_000))  # type: ignore[misc]

    def _belongs(self, tag: str, port: int) -> bool:
        state = self.phones._table.legs.get(tag)
        flow = self.phones.endpoint.calls.flow_of(state.calls[0]) if state is not None else None
        return flow is not None and flow.remote[1] == port

    def _silent(self, port: int, ms: int) -> None:
        if port in self.media.tags:
            self.media.tell(RtpSilent(port, ms))

    def _fly(self, deliver: Callable[[], None]) -> None:
        self.count("packets")
        chance = self.rng.random()
        if chance < self.loss:
            self.count("lost")
            return
        self.later(self.rng.choice((2, 3, 5, 5, 8, 30)), deliver)
        if chance > 1 - self.loss / 4:
            self.later(40, deliver)                      # repeated by the network

    def _at_pbx(self, source: Address, data: bytes) -> None:
        self.phones.receive(data, source, "udp", PBX)

    def _transmit(self, outgoing: Outgoing) -> None:
        phone = self.telephones.get(outgoing.destination) if hasattr(self, "telephones") else None
        if phone is not None:
            self._fly(lambda: phone.receive(outgoing.data))

    def _stranger(self) -> None:
        """Somebody outside sends what it likes."""
        self.later(self.rng.expovariate(1 / 30_000), self._stranger)
        if self.frozen:
            return
        for _ in range(self.rng.choice((1, 1, 5, 40))):
            self.count("strange")
            self._at_pbx(("198.51.100.9", self.rng.randrange(1024, 65_535)), self.rng.choice(GARBAGE))

    # --- call control -------------------------------------------------------------------------------------------------

    def start(self, *, adopted: bool) -> None:
        """A new core process; with `adopted` the media process and the telephones go on as they were."""
        self.boot += 1
        self.clock = ManualClock(self.now)
        self.bus = Bus()
        self.media.ears.clear()
        self.db.flush()
        self.state_db.flush()
        ids = Ids(self.boot)
        self.phones = Phones(
            config=self.config, secrets={number: "pw" + number for number in self._numbers}, media=self.media, clock=self.clock,
            bus=self.bus, ids=ids, token=self.token, transmit=self._transmit, keep_registrations=self._keep,
        )  # fmt: skip
        self.calls = Calls(
            config=self.config, drivers={LegKind.SIP: self.phones}, media=self.media, clock=self.clock, bus=self.bus, ids=ids,
            records=CallRecords(self.db, self.boot), queue_log=QueueLogStore(self.db), journal=Journal(self.folder / "journal"),
            recordings=Recordings.beside(self.folder / "recordings", self.config.recording, self.db), agents=AgentStore(self.state_db),
            alarms=Alarms(self.bus, self.clock), speak=lambda language, prompt, variables: (f"{language}/{prompt}",),
            tones=profile("CN").tones, emergency=("110",), local=lambda wall_ms: LocalTime(2026, 3, 2, 9, 0), partners=self.phones.partners,
        )  # fmt: skip
        self.calls.referred, self.calls.introduce = self.phones.referred, self.phones.introduce
        self.watchers = Watchers(
            self.config, lambda: [*self.calls.board.contacts.values()], self.phones.tell_watchers, lambda endpoint, waiting: None,
            self.bus, self.clock, lambda: self.calls.board.floor.state,
        )  # fmt: skip
        self.phones.watched(self.watchers)
        if adopted:
            self.phones.restore_registrations(self.registrations)
        going_on = self.calls.start([Running(port, tag) for port, tag in self.media.tags.items()], adopted=adopted)
        self.phones.start()
        live = {leg.id for state in self.calls.board.contacts.values() for leg in state.live_legs}
        for port, tag in list(self.media.tags.items()):
            if tag not in live:
                self.media.close_rtp(port)
        self.phones.keep_watchers(self._keep_watchers, self.watchers_kept, 0)
        self.counts["adopted"] += going_on

    def kill(self) -> None:
        """Call control dies and is there again a moment later."""
        self.count("kills")
        self.start(adopted=True)

    def _keep(self, data: bytes) -> None:
        self.registrations = data

    def _keep_watchers(self, data: bytes) -> None:
        self.watchers_kept = data

    # --- time ---------------------------------------------------------------------------------------------------------

    def run(self, ms: int) -> None:
        """Let time pass."""
        end = self.now + ms
        self.touched.update(self.telephones)
        while True:
            for address in self.touched:
                at = self.telephones[address].endpoint.deadline()
                self._due.pop(address, None)
                if at is not None:
                    self._due[address] = at
            self.touched.clear()
            times = [at for at in (self._heap[0][0] if self._heap else None, self.clock.deadline()) if at is not None]
            following = min([*times, *self._due.values()], default=end + 1)
            if following > end:
                break
            self.now = max(self.now, following)
            self.clock.advance(max(0, self.now - self.clock.now()))
            while self._heap and self._heap[0][0] <= self.now:
                heapq.heappop(self._heap)[2]()
            for address in [address for address, at in self._due.items() if at <= self.now]:
                self.telephones[address].expire()
        self.now = end
        self.clock.advance(max(0, end - self.clock.now()))

    def rest(self) -> None:
        """Everybody hangs up, then all timers of the protocol end."""
        for phone in self.telephones.values():
            phone.asleep = True
        for _ in range(4):                               # what rang may be answered, what was transferred may go on
            for phone in self.telephones.values():
                phone.hang_up_all()
            self.run(45_000)
        self.run(REST_MS)
        self.frozen = True
        self.run(STILL_MS)
        self.frozen = False
        for phone in self.telephones.values():
            phone.asleep = False

    def sizes(self) -> dict[str, int]:
        """What is there now, table by table; a day must leave all of it as it was."""
        statistics = self.phones.endpoint.statistics()
        table, audio, board = self.phones._table, self.phones._audio, self.calls.board
        tables = {name: statistics[name] for name in ("sessions", "dialogs", "transactions", "referrals")}
        gc.collect()
        return {
            **tables, "rtp ports": len(self.media.tags), "legs": len(table.legs), "calls of legs": len(table.calls),
            "offers": len(table.offers), "partners": len(table.partners), "ring timers": len(table._ring_timers),
            "silence timers": len(audio._silence), "audio paths": len(audio._paths), "contacts": len(board.contacts),
            "legs of contacts": len(board._legs), "bridges": len(self.calls.audio._bridges),
        }  # fmt: skip

    def registered(self) -> int:
        return int(self.phones.endpoint.statistics()["registered"])

    def close(self) -> None:
        self.db.close(1.0)
        self.state_db.close(1.0)
