"""A board of four outside lines and four telephones on simulated chips, brought up by the product's drivers."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from firmware.config.board import parse_board
from firmware.hal.api import Hook
from firmware.hal.bus import SoleUser
from firmware.hal.cards import Card
from firmware.hal.scan import PLANS, read_frames
from firmware.hal.service import ChipService, ServiceClock
from firmware.sim.chip_face import SimBoard

BOARD = parse_board(
    b"""
name = "eight ports"
seam = "alsa"
slots_fxo = [0, 1, 2, 3]
slots_fxs = [4, 5, 6, 7]
[[chains]]
chip = "si3050"
spi = "fxo"
jacks = ["1", "2", "3", "4"]
reset = {chip = "g", line = 1}
[[chains]]
chip = "si321x"
spi = "fxs"
jacks = ["1", "2", "3", "4"]
reset = {chip = "g", line = 2}
""",
    "board.toml",
)
TALK_MS = 1000  # until loop current stands


def powered() -> tuple[SimBoard, ChipService]:
    """The board, all ports up and idle."""
    sim = SimBoard(4, 4)
    sim.pcm.start()
    sim.clock.sleep(10)
    clock = ServiceClock(sim.clock)
    cards = [
        Card(BOARD, chain, spi=SoleUser(sim.spi[chain.spi]), reset=sim.gpio[f"reset-{chain.spi}"], clocks=sim.pcm, clock=clock)
        for chain in BOARD.chains
    ]
    service = ChipService(cards, clock)
    service.start(fresh=True)
    if down := [jack for card in cards for jack, port in card.ports.items() if not service.ports[port.slot].up]:
        raise RuntimeError(f"simulated chips did not come up: jacks {down}")
    return sim, service


def operation() -> ChipService:
    """Who keeps the chips of a fresh board."""
    return powered()[1]


def write_ports(folder: Path, talking: bool) -> tuple[Path, Path]:
    """What the scanner is told of eight ports, and the registers it will read: all in conversation, or all at rest."""
    sim, service = powered()
    if talking:
        for entry in service.scans():
            if entry.kind == "fxo":
                service.ports[entry.slot].chip.drive(Hook.OFF_HOOK)
            else:
                sim.fxs[entry.position].set(lifted=1)
        sim.clock.sleep(TALK_MS)
    table = bytearray(256 * 128)
    ports = []
    for entry in service.scans():
        select = read_frames(entry.framing, entry.position, 0)[0]
        for register in range(128):
            table[select * 128 + register] = sim.chips.peek(entry.kind, entry.position, register)
        row = {"slot": entry.slot, "kind": entry.kind, "chain": entry.chain, "framing": entry.framing, "position": entry.position,
               "base": service.base(entry.slot), "plan": msgspec.to_builtins(PLANS["si3050" if entry.kind == "fxo" else "si321x"]),
               "select": select}  # fmt: skip
        ports.append(row)
    name = "talking" if talking else "idle"
    registers, described = folder / f"{name}.registers", folder / f"{name}.json"
    registers.write_bytes(table)
    described.write_text(json.dumps(ports), encoding="utf-8")
    return registers, described
