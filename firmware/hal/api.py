"""What a board is and what a line port can do, in electrical facts (L3).

Theory of operation
-------------------
Above this seam nobody knows a chip: a port is a *slot* of the PCM bus with a kind, a drive code (`FEED_*`, `LINE_*`) and measured
facts. On board `world` the facts come through shared memory; chip drivers (Si3050, Si321x) implement the same protocols.
Invariants: `attach` never resets, probes, calibrates or drives; a slot belongs to one jack; jacks count from 1 per kind, as printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import msgspec

from firmware.errors import ConfigError

PortKind = Literal["fxo", "fxs"]
SEAMS = ("world", "chips")
SLOTS = 16


class LineFact(msgspec.Struct, frozen=True):
    """One reading of a port. Volts and milliamperes; `volts` has the sign of the polarity."""

    at: int
    volts: float
    milliamps: float
    ringing_volts: float = 0.0
    ring_trip_milliamps: float = 0.0


class LinePort(Protocol):
    """A line chip, as the scanner and the factory test use it."""

    @property
    def kind(self) -> PortKind:
        """FXO or FXS."""
        ...

    def attach(self) -> None:
        """Read-only check that the port is alive and configured; HardwareError with the failed step."""
        ...

    def drive(self, code: int) -> None:
        """Set feed or hook; HardwareError when the chip does not follow."""
        ...

    def measure(self, at: int) -> LineFact:
        """Read voltage and current now."""
        ...


class Jack(msgspec.Struct, frozen=True):
    """A jack printed on the box and its PCM slot."""

    kind: PortKind
    number: int
    slot: int


class Board(msgspec.Struct, frozen=True):
    """A board: its name, what carries PCM and line facts, and its jacks."""

    name: str
    seam: str
    jacks: tuple[Jack, ...]

    def slot(self, kind: PortKind, number: int) -> int:
        """PCM slot of a jack; ConfigError when the board has no such jack."""
        for jack in self.jacks:
            if jack.kind == kind and jack.number == number:
                return jack.slot
        raise ConfigError(f"board {self.name} has no {kind.upper()} jack {number}; it has {self.count(kind)}")

    def count(self, kind: PortKind) -> int:
        """Number of jacks of a kind."""
        return sum(1 for jack in self.jacks if jack.kind == kind)

    def jack_of(self, slot: int) -> Jack | None:
        """The jack at a PCM slot, if there is one."""
        return next((jack for jack in self.jacks if jack.slot == slot), None)


def parse_board(data: Mapping[str, Any], where: str = "board.toml") -> Board:
    """A board from the table of its `board.toml`; ConfigError names file, key, value and remedy."""
    known = {"name", "seam", "slots_fxo", "slots_fxs"}
    unknown = sorted(set(data) - known)
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; use {', '.join(sorted(known))}")
    name, seam = data.get("name"), data.get("seam")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where}: name is {name!r}; give the board's name as text")
    if seam not in SEAMS:
        raise ConfigError(f"{where}: seam is {seam!r}; use one of {', '.join(SEAMS)}")
    jacks: list[Jack] = []
    kinds: tuple[PortKind, ...] = ("fxo", "fxs")
    for kind in kinds:
        slots = data.get(f"slots_{kind}", [])
        if not isinstance(slots, list) or any(not isinstance(slot, int) or isinstance(slot, bool) for slot in slots):
            raise ConfigError(f"{where}: slots_{kind} is {slots!r}; give a list of slot numbers")
        for number, slot in enumerate(slots, 1):
            if not 0 <= slot < SLOTS:
                raise ConfigError(f"{where}: slots_{kind} names slot {slot}; slots are 0 to {SLOTS - 1}")
            if any(jack.slot == slot for jack in jacks):
                raise ConfigError(f"{where}: slot {slot} is given twice; each jack needs a slot of its own")
            jacks.append(Jack(kind, number, slot))
    return Board(name, seam, tuple(jacks))
