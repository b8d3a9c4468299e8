"""A stand-in for media on a board with chips: brings them up by mail with the product's drivers, then posts programs and ticks."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from firmware.config.board import Board, parse_board
from firmware.dsp.chip_mail import ChipMail
from firmware.hal.cards import Card
from firmware.hal.scan import read_frames, write_frames
from firmware.hal.seams import open_cards
from firmware.hal.world import WorldSeam
from firmware.sim.segment import SEGMENT_BYTES, Segment, layout
from firmware.sim.town import Town

LAYOUT = layout()
BLOCKS, PORTS, SAMPLES = 16, 16, 80
ACCESS = struct.Struct("4B")
FILE = """
name = "chips"
seam = "world"
slots_fxo = [0, 1, 2, 3]
slots_fxs = [4, 5, 6, 7]
[[chains]]
chip = "si3050"
spi = "world:0"
jacks = ["1", "2", "3", "4"]
reset = {chip = "world", line = 0}
interrupt = {chip = "world", line = 8}
[[chains]]
chip = "si321x"
spi = "world:1"
jacks = ["1", "2", "3", "4"]
reset = {chip = "world", line = 1}
interrupt = {chip = "world", line = 9}
"""
LIFELINE = """
[lifeline]
relay = {chip = "world", line = 16}
sense = {chip = "world", line = 17}
"""
OFF_HOOK, ON_HOOK, MONITOR = 0x01, 0x00, 0x08
FXO, FXS = 0, 1


def chip_board(*, lifeline: bool = False) -> Board:
    """Four FXO and four FXS jacks on chips."""
    return parse_board((FILE + (LIFELINE if lifeline else "")).encode(), "board.toml")


class Access(NamedTuple):
    """One access of a program."""

    ms: int
    chain: int
    data: Sequence[int]
    split: bool = True


def read(chip: int, register: int, ms: int = 0, chain: int = FXO) -> Access:
    """Read a register in a program."""
    return Access(ms, chain, read_frames("si3050" if chain == FXO else "si321x-daisy", chip, register))


def write(chip: int, register: int, value: int, ms: int = 0, chain: int = FXO) -> Access:
    """Write one."""
    return Access(ms, chain, write_frames("si3050" if chain == FXO else "si321x-daisy", chip, register, value))


class ChipBox:
    """A box without call control: `run(ms)` delivers and ticks, `do` puts accesses into the next program, `answers` is what came back."""

    def __init__(self, *, bring_up: bool = True, lifeline: bool = False, seed: int = 1, country_name: str = "CN") -> None:
        self.fd = os.memfd_create("world-chips")
        self.board = chip_board(lifeline=lifeline)
        self.segment = Segment(self.fd, speed=0, wall_base_ms=1_700_000_000_000, board=self.board, seed=seed)
        self.memory = mmap.mmap(self.fd, SEGMENT_BYTES)
        struct.pack_into("<I", self.memory, LAYOUT["media_pid"], os.getpid())
        self.town = Town(self.segment, seed=seed, country_name=country_name)
        self.mail = ChipMail(self.fd, 0)
        self.parent = ChipMail(self.fd, 1)
        self.cards: Sequence[Card] = []
        self.playing: dict[int, Callable[[], bytes]] = {}
        self.tapes: dict[int, bytearray] = {}
        self.answers: list[tuple[int, Access, bytes]] = []  # block, access, reply
        self.scan: list[Access] = []  # accesses of every program
        self._once: list[Access] = []
        self._posted: dict[int, list[Access]] = {}
        if bring_up:
            self.bring_up()

    def bring_up(self) -> None:
        seam = WorldSeam(self.mail)
        seam.start_clocks()
        self.cards = open_cards(self.board, seam, seam.bench_clock(), {})
        for card in self.cards:
            assert not card.bring_up()

    def word(self, name: str) -> int:
        return int(struct.unpack_from("<Q", self.memory, LAYOUT[name])[0])

    def do(self, *accesses: Access) -> None:
        self._once += accesses

    def off_hook(self, chip: int, ms: int = 0) -> None:
        self.do(write(chip, 5, ON_HOOK, ms), write(chip, 5, OFF_HOOK, ms))

    def on_hook(self, chip: int, ms: int = 0) -> None:
        self.do(write(chip, 5, MONITOR, ms))

    def feed(self, chip: int, code: int, ms: int = 0) -> None:
        self.do(write(chip, 64, code, ms, FXS))

    def keep(self, slot: int) -> bytearray:
        """Record what the box captures on a slot from now on."""
        self.tapes[slot] = bytearray()
        return self.tapes[slot]

    def post(self, accesses: Sequence[Access]) -> None:
        number = self.word("posted")
        at = LAYOUT["program"] + number % BLOCKS * LAYOUT["program_size"]
        data = b"".join(ACCESS.pack(a.ms, a.chain, a.split, len(a.data)) + bytes(a.data) for a in accesses)
        struct.pack_into("<QI", self.memory, at, 0, len(data))
        self.memory[at + LAYOUT["program_data"] : at + LAYOUT["program_data"] + len(data)] = data
        self._posted[number] = list(accesses)
        struct.pack_into("<Q", self.memory, LAYOUT["posted"], number + 1)

    def collect(self, before: int) -> None:
        for number in range(before, self.word("ran")):
            at = LAYOUT["program"] + number % BLOCKS * LAYOUT["program_size"]
            block, _ = struct.unpack_from("<QI", self.memory, at)
            at += LAYOUT["program_data"]
            for access in self._posted.pop(number, []):
                at += ACCESS.size
                self.answers.append((block, access, bytes(self.memory[at : at + len(access.data)])))
                at += len(access.data)

    def run(self, ms: int) -> None:
        for _ in range(ms // 10):
            if self._once or self.scan:
                self.post(sorted(self._once + self.scan, key=lambda a: a.ms))
                self._once = []
            before = self.word("ran")
            block = self.segment.block
            self.town.world.step()
            self.collect(before)
            index = block % BLOCKS
            for slot, tape in self.tapes.items():
                at = LAYOUT["capture"] + (index * PORTS + slot) * SAMPLES * 2
                tape += self.memory[at : at + SAMPLES * 2]
            for slot in range(8):
                at = LAYOUT["playback"] + (index * PORTS + slot) * SAMPLES * 2
                source = self.playing.get(slot)
                self.memory[at : at + SAMPLES * 2] = source() if source is not None else bytes(SAMPLES * 2)
            struct.pack_into("<Q", self.memory, LAYOUT["ticked"], block + 1)
            self.ticked()

    def ticked(self) -> None:
        """A block is over."""

    def until(self, condition: Callable[[], bool], limit_ms: int) -> bool:
        """Run until `condition`, asked every 20 ms; false at the limit."""
        for _ in range(limit_ms // 20):
            if condition():
                return True
            self.run(20)
        return condition()

    def series(self, access: Access) -> list[tuple[int, int]]:
        """(ms of the world, value) of a repeated read."""
        return [(10 * block + a.ms, reply[-1]) for block, a, reply in self.answers if a.chain == access.chain and a.data == access.data]
