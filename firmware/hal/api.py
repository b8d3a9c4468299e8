"""What a line port can do, in electrical facts (L3).

Theory of operation
-------------------
Above this seam nobody knows a chip: a port is a *slot* of the PCM bus with a kind, a drive code (`FEED_*`, `LINE_*`) and measured
facts. On board `world` the facts come through shared memory; chip drivers (Si3050, Si321x) implement the same protocols.
Invariants: `attach` never resets, probes, calibrates or drives; a slot belongs to one jack; jacks count from 1 per kind, as printed.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from firmware.config.board import Board

__all__ = ["Board", "LineFact", "LinePort", "PortKind"]

PortKind = Literal["fxo", "fxs"]


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
