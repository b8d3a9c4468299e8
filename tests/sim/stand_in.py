"""A stand-in for the media process in tests of the world: ticks the segment in the same thread and plays what a test gives it."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable

from firmware.sim.town import Town
from firmware.sim.wire import SEGMENT_BYTES, Segment, layout

BLOCKS, PORTS, SAMPLES = 16, 16, 80
LAYOUT = layout()
DELIVERED, TICKED, DRIVE, CAPTURE, PLAYBACK = (LAYOUT[name] for name in ("delivered", "ticked", "drive", "capture", "playback"))
ON_HOOK, OFF_HOOK = 0, 1
FEED_OPEN, FEED_ACTIVE, FEED_TX, FEED_RINGING, FEED_REVERSED = 0, 1, 2, 4, 5


class Box:
    """A box without call control: `run(ms)` delivers and ticks, `drive`, `play` and `heard` are its chips."""

    def __init__(self, **town: object) -> None:
        self.fd = os.memfd_create("world-test")
        self.segment = Segment(self.fd, speed=0, wall_base_ms=1_700_000_000_000)
        self.memory = mmap.mmap(self.fd, SEGMENT_BYTES)
        struct.pack_into("<I", self.memory, LAYOUT["media_pid"], os.getpid())
        self.town = Town(self.segment, **town)  # type: ignore[arg-type]
        self.playing: dict[int, Callable[[], bytes]] = {}
        self.tapes: dict[int, bytearray] = {}
        self.facts: dict[int, list[tuple[int, int, int, int]]] = {}
        self.each_block: list[Callable[[], None]] = []
        for slot in range(4, 8):
            self.drive(slot, FEED_ACTIVE)

    def drive(self, slot: int, code: int) -> None:
        struct.pack_into("<I", self.memory, DRIVE + 4 * slot, code)

    def keep(self, slot: int) -> bytearray:
        """Record what the box captures on a slot from now on."""
        self.tapes[slot] = bytearray()
        return self.tapes[slot]

    def keep_facts(self, slot: int) -> list[tuple[int, int, int, int]]:
        self.facts[slot] = []
        return self.facts[slot]

    def run(self, ms: int) -> None:
        for _ in range(ms // 10):
            block = self.segment.block
            self.town.world.step()
            index = block % BLOCKS
            for slot, tape in self.tapes.items():
                at = CAPTURE + (index * PORTS + slot) * SAMPLES * 2
                tape += self.memory[at : at + SAMPLES * 2]
            for slot, kept in self.facts.items():
                kept += self.segment.facts(slot)
            for slot in range(8):
                at = PLAYBACK + (index * PORTS + slot) * SAMPLES * 2
                source = self.playing.get(slot)
                self.memory[at : at + SAMPLES * 2] = source() if source is not None else bytes(SAMPLES * 2)
            struct.pack_into("<Q", self.memory, TICKED, block + 1)
            for work in self.each_block:
                work()

    def until(self, condition: Callable[[], bool], limit_ms: int) -> bool:
        for _ in range(limit_ms // 20):
            if condition():
                return True
            self.run(20)
        return condition()
