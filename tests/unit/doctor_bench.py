"""A branch with a line doctor, for tests: real lines, bus, stores and gate; the media side is recorded and answers at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from firmware.call.model import EndpointState, LegEvent, LineMissed, Party
from firmware.config.schema.people import Extension
from firmware.config.schema.ports import FxoLine, FxsPhone, Ports
from firmware.config.schema.tree import Config
from firmware.control.gate import Gate, Peer
from firmware.core.doctor.doctor import LineDoctor
from firmware.core.lines import Lines
from firmware.errors import CommandError, EngineBusy
from firmware.hal.board import load_board
from firmware.line import callerid
from firmware.line.profiles import profile
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.runtime.ids import Ids
from firmware.store.db import Database
from firmware.store.linebook import LineBookStore

CONFIG = Config(
    ports=Ports(
        fxo={"1": FxoLine(number="01055550001"), "2": FxoLine(), "3": FxoLine(caller_id="none")}, fxs={"1": FxsPhone(), "2": FxsPhone()}
    ),
    extensions={"101": Extension(kind="fxs", jack="1"), "201": Extension(kind="sip")},
)
SLOTS = {"line/1": 0, "line/2": 1, "line/3": 2, "101": 4, "fxs/2": 5}


class Wire:
    """The media side: keeps every command; recordings write a second of sound per second of the clock when they are closed."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.commands: list[tuple[str, int, dict[str, Any]]] = []
        self.subscribers: list[Callable[[Any], None]] = []
        self.gauges: dict[int, Any] = {}
        self.recordings: dict[int, tuple[int, int, int]] = {}        # slot -> token, descriptor, begin
        self.busy = False
        self.chips: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        def command(port: int, *values: Any, **named: Any) -> None:
            if self.busy:
                raise EngineBusy("command ring is full; try again")
            named.update({f"value{index}": value for index, value in enumerate(values)})
            self.commands.append((name, port, named))

        return command

    def subscribe(self, fn: Callable[[Any], None]) -> None:
        self.subscribers.append(fn)

    def waiting(self, port: int) -> frozenset[str]:
        return frozenset()

    def meters(self, port: int) -> Any:
        return self.gauges.get(port)

    def record(self, port: int, file: int, *, token: int, key: bytes = b"", ident: bytes = b"", coded: str = "") -> None:
        assert port not in self.recordings, "a port has one recorder"
        self.recordings[port] = token, os.dup(file), self.clock.now()

    def stop_record(self, port: int) -> None:
        if port in self.recordings:
            token, file, begin = self.recordings.pop(port)
            samples = (self.clock.now() - begin) * 8
            os.write(file, bytes(44) + b"\x01\x00\x02\x00" * samples)
            os.close(file)
            at = self.clock.now()
            self.clock.call_later(50, lambda: self.tell("Recorded", port, at, token=token, samples=samples, lost_samples=0))

    def close_line(self, port: int) -> None:
        self.commands.append(("close_line", port, {}))
        self.stop_record(port)

    async def chip(self, slot: int, what: str, **args: Any) -> Any:
        self.commands.append(("chip", slot, {"what": what, **args}))
        answer = self.chips.get(what)
        if answer is None:
            raise CommandError(f"{what!r} is no request")
        return answer.pop(0) if isinstance(answer, list) else answer

    def tell(self, kind: str, port: int, at: int, /, **fields: Any) -> None:
        event = msgspec.defstruct(kind, ["port", "at", "wall_ms", *fields], frozen=True)(port, at, at, **fields)
        for fn in self.subscribers:
            fn(event)

    def drives(self, slot: int) -> list[int]:
        return [named["value0"] for name, port, named in self.commands if name == "drive" and port == slot]

    def names(self, slot: int) -> list[str]:
        return [name for name, port, _ in self.commands if port == slot]


class Phones:
    """SIP phones as a driver that keeps what it is told."""

    def __init__(self) -> None:
        self.rung: list[tuple[str, str]] = []
        self.hung_up: list[str] = []

    def originate(self, leg: str, endpoint: str, **_: Any) -> None:
        self.rung.append((leg, endpoint))

    def hang_up(self, leg: str, cause: Any) -> None:
        self.hung_up.append(leg)


class Practice:
    """The doctor and his patients."""

    def __init__(self, folder: Path, config: Config = CONFIG, *, now: int = 10_000) -> None:
        self.folder = folder
        self.clock = ManualClock(now=now)
        self.bus = Bus()
        self.events: list[Any] = []
        self.bus.subscribe((LegEvent, EndpointState, LineMissed), self.events.append)
        self.wire = Wire(self.clock)
        self.db = Database(folder / "state.db", "state")
        self.alarms = Alarms(self.bus, self.clock)
        self.ids = Ids(1)
        self.calls = 0
        self.phones = Phones()
        country = profile("CN")
        self.lines = Lines(config, country, load_board("world"), self.wire, self.clock, self.bus, self.ids.leg, lambda *_: "more")
        self.wire.subscribe(self.lines.media_event)
        self.doctor = LineDoctor(
            config=config, profile=country, lines=self.lines, phones=self.phones, media=self.wire, bus=self.bus, clock=self.clock,  # type: ignore[arg-type]
            alarms=self.alarms, store=LineBookStore(self.db), state=folder, new_leg=self.ids.leg, emergency=("110", "119"),
            background=lambda work, then: then(work()), calls=lambda: self.calls,
        )  # fmt: skip
        self.gate = Gate(self.bus, self.clock)
        self.doctor.attach(self.gate)
        self.lines.start()
        self.run(500)
        for slot in range(3):
            self.fact("Battery", slot, present=True, volts=48.0)
        self.run(500)

    def close(self) -> None:
        self.db.close()

    def run(self, ms: int) -> Practice:
        self.clock.advance(ms)
        return self

    def fact(self, kind: str, slot: int, /, at: int | None = None, **fields: Any) -> Practice:
        self.wire.tell(kind, slot, self.clock.now() if at is None else at, **fields)
        return self

    def ask(self, path: str, **args: Any) -> Any:
        """A command through the gate, as an admin; CommandError with what was refused."""

        async def perform() -> Any:
            task = asyncio.ensure_future(self.gate.perform(Peer("test", "admin"), path, args))
            for _ in range(400):
                await asyncio.sleep(0)
                if task.done():
                    break
                self.clock.advance(100)
            return await task

        reply = asyncio.run(perform())
        if not reply["ok"]:
            raise CommandError(f"{reply['error']['kind']}: {reply['error']['message']}")
        return reply["result"]

    def all(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    # what lines do

    def ring(self, slot: int, *, number: str = "13912345678", standard: str = "bell202", rings: int = 2, before: bool = False) -> Practice:
        """Ring the box; FSK caller id behind the first ring, or in front of it."""
        payload = callerid.build_mdmf(Party(number)) if number else b""
        if before and payload:
            self.fact("FskMessage", slot, standard=standard, payload=payload).run(800)
        for burst in range(rings):
            self.fact("RingBurst", slot, on=True).run(1000).fact("RingBurst", slot, on=False)
            if burst == 0 and payload and not before:
                self.run(700).fact("FskMessage", slot, standard=standard, payload=payload).run(3300)
            elif burst < rings - 1:
                self.run(4000)
        return self

    def give_up(self) -> Practice:
        """The caller stops ringing."""
        return self.run(12_000)

    def seized(self, slot: int, *, current: float = 25.0, tone: bool = True) -> Practice:
        """The exchange answers a seizure: current, then dial tone."""
        self.run(20)
        if current:
            self.fact("LoopCurrent", slot, flowing=True, milliamps=current)
        if tone:
            begun = self.clock.now() + 300
            self.run(800).fact("ToneHeard", slot, name="dial", cycles=5, start_at=begun, confidence=0.9, level=-10.0)
        return self
