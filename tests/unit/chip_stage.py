"""A stage for the media engine on line chips: programs of the world segment run on simulated chips that the product's drivers brought up.

One FXO and one FXS chain of two chips each are scanned: slots 0 and 1 are FXO, 4 and 5 FXS. What is on the copper is `copper[kind, n](ms)`;
without one the loop models of the simulator are on the jacks. `changes` is what the hook switches and linefeeds did.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import Any

from firmware.config.board import parse_board
from firmware.dsp import abi
from firmware.dsp.engine import Engine
from firmware.hal.bus import SoleUser
from firmware.hal.cards import Card
from firmware.hal.scan import PLANS, Framing
from firmware.sim.chip_face import SimBoard
from tests.unit.engine_stage import Stage, World

Fact = tuple[int, int, int, int]
SLOTS = {0: ("fxo", 0), 1: ("fxo", 1), 4: ("fxs", 0), 5: ("fxs", 1)}
CHAIN = {"fxo": 0, "fxs": 1}
FRAMING: dict[str, Framing] = {"fxo": "si3050", "fxs": "si321x-daisy"}
PLAN = {"fxo": PLANS["si3050"], "fxs": PLANS["si321x"]}
BASE = {"fxo": (5, 17), "fxs": (64,)}
POSTED, RAN, PROGRAM, PROGRAM_BYTES, HEAD = 102968, 103096, 103816, 6152, 16
BOARD = parse_board(
    b"""
name = "simulated"
seam = "alsa"
slots_fxo = [0, 1]
slots_fxs = [4, 5]
[[chains]]
chip = "si3050"
spi = "fxo"
jacks = ["1", "2"]
reset = {chip = "g", line = 1}
[[chains]]
chip = "si321x"
spi = "fxs"
jacks = ["1", "2"]
reset = {chip = "g", line = 2}
""",
    "board.toml",
)


def powered(seed: int = 1) -> SimBoard:
    """A board whose chips the drivers brought up."""
    sim = SimBoard(2, 2, seed=seed)
    sim.pcm.start()
    sim.clock.sleep(10)
    for chain in BOARD.chains:
        card = Card(BOARD, chain, spi=SoleUser(sim.spi[chain.spi]), reset=sim.gpio[f"reset-{chain.spi}"], clocks=sim.pcm, clock=sim.clock)
        assert card.bring_up() == {}
    return sim


def scan_all(engine: Engine, sim: SimBoard, **other: Any) -> list[int]:
    """Name every chip to the scanner, with `other` arguments than the right ones; the drives that stand."""
    stood = []
    for slot, (kind, number) in SLOTS.items():
        base = {register: sim.chips.peek(kind, number, register) for register in BASE[kind]}
        right = {"chain": CHAIN[kind], "framing": FRAMING[kind], "position": number, "base": base}
        stood.append(engine.scan(slot, kind, PLAN[kind], **{**right, **other}))
    return stood


class Watch(threading.Thread):
    """Who keeps the chips: waits in the engine, notes what is flagged, and works on it."""

    def __init__(self, engine: Engine, work: Callable[[Engine, list[tuple[int, str, int, int]]], None], every: int = 1000) -> None:
        super().__init__(daemon=True)
        self.engine, self.work, self.every = engine, work, every
        self.log: list[tuple[int, list[tuple[int, str, int, int]]]] = []
        self.over = False
        engine.hardware_wake()
        engine.hardware_wait(0)  # from here on no time passes without this thread
        self.start()

    def run(self) -> None:
        while not self.over:
            found = self.engine.hardware_wait(self.engine.now + self.every)
            self.log.append((self.engine.now, found))
            self.work(self.engine, found)

    def end(self) -> None:
        self.over = True
        self.engine.hardware_wake()
        self.join(10)
        assert not self.is_alive()

    @property
    def faults(self) -> list[tuple[int, int, str, int, int]]:
        return [(at, *fault) for at, found in self.log for fault in found]


class ChipWorld(World):
    """The world's side of programs."""

    def __init__(self, sim: SimBoard, speed: int = 0) -> None:
        super().__init__(1, speed)
        self.sim = sim
        self.u32[10] = 2
        self.copper: dict[tuple[str, int], Callable[[int], Fact]] = {}
        self.changes: dict[int, list[tuple[int, int]]] = {slot: [(0, int(self.state(slot)))] for slot in SLOTS}
        self.sent: list[tuple[int, int, bytes, bytes]] = []  # ms, chain, bytes, replies
        self.keep = False
        self.wire: Callable[[int, int, bytes], bytes] = lambda ms, chain, data: data

    def state(self, slot: int) -> float:
        kind, number = SLOTS[slot]
        return self.sim.chips.state(kind, number)["drive"]

    def word(self, at: int) -> int:
        return int(struct.unpack_from("<Q", self.map, at)[0])

    def run_block(self, block: int) -> None:
        """Ten ms of copper and chips with the programs that are posted."""
        due: list[tuple[int, int, int, int]] = []  # ms, chain, offset, bytes
        for number in range(self.word(RAN), self.word(POSTED)):
            base = PROGRAM + number % 16 * PROGRAM_BYTES
            struct.pack_into("<Q", self.map, base, block)
            size, at = struct.unpack_from("<I", self.map, base + 8)[0], 0
            while at < size:
                ms, chain, split, n = self.map[base + HEAD + at : base + HEAD + at + 4]
                assert split == 1
                due.append((ms, chain, base + HEAD + at + 4, n))
                at += 4 + n
        due.sort(key=lambda access: access[0])  # stable: of two programs in one block, the older one's first
        for ms in range(10):
            now = block * 10 + ms
            for (kind, port), fact in self.copper.items():
                self.sim.chips.feed(kind, port, fact(now))
            for _, chain, at, n in (access for access in due if access[0] == ms):
                data = bytes(self.map[at : at + n])
                reply = self.wire(now, chain, bytes(b for byte in data for b in self.sim.chips.transfer(chain, [byte])))
                self.map[at : at + n] = reply
                if self.keep:
                    self.sent.append((now, chain, data, reply))
            self.sim.step()
            for slot, seen in self.changes.items():
                if (state := int(self.state(slot))) != seen[-1][1]:
                    seen.append((now, state))
        struct.pack_into("<Q", self.map, RAN, self.word(POSTED))


class ChipStage(Stage):
    """Engine, chips and core in one process."""

    def __init__(self, sim: SimBoard | None = None, *, scan: dict[str, Any] | None = None, speed: int = 0, **options: Any) -> None:
        self.sim = sim or powered()
        self.chips = ChipWorld(self.sim, speed)
        self.stood: list[int] = []
        super().__init__(
            stage_world=self.chips, prepare=lambda engine: self.stood.extend(scan_all(engine, self.sim, **(scan or {}))), **options
        )
        self.each.append(self.chips.run_block)
        for slot, (kind, _) in SLOTS.items():
            self.do("watch", slot, abi.pack_word({"fxo": 1, "fxs": 2}[kind]))

    @property
    def ms(self) -> int:
        """Engine ms of the next block."""
        return self.world.delivered * 10

    def rest(self, ms: int) -> None:
        self.tick(ms // 10)

    def drive(self, slot: int, code: int, hold_ms: int = 0, then: int = 0) -> int:
        return self.do("drive", slot, abi.pack_drive(code, hold_ms, then))

    def seen(self, name: str, slot: int, after: int = 0) -> list[tuple[int, Any]]:
        """(at, first value) of the events of a slot."""
        return [(at, payload[0]) for at, payload in self.named(name, slot) if at >= after]

    def changed(self, slot: int, after: int = 0) -> list[tuple[int, int]]:
        return [(at, state) for at, state in self.chips.changes[slot] if at >= after and at > 0]


def dialling(start: int, pulses: int, break_ms: int, make_ms: int) -> Callable[[int], Fact]:
    """A telephone lifted at `start` that dials 400 ms later."""

    def fact(ms: int) -> Fact:
        t = ms - start - 400
        closed = ms >= start and not (0 <= t < pulses * (break_ms + make_ms) and t % (break_ms + make_ms) < break_ms)
        return (80 if closed else 480, 200 if closed else 0, 0, 0)

    return fact
