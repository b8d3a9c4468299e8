"""What a line port can do, in electrical facts (L3).

Theory of operation
-------------------
Above this seam nobody knows a chip: a port is a *slot* of the PCM bus with a kind, a drive code (`FEED_*`, `LINE_*` of
`dsp/world_segment.h`) and measured facts. On board `world` the facts come through shared memory; chip drivers (Si3050, Si321x) implement
the protocols below, and a later chip is one more file that does. In operation the native scanner moves the same registers by the tables
of `hal/scan.py`; these objects serve bring-up, health, factory test and rescue.
Directions: *to the line* is what the far end or the telephone hears, *from the line* what we hear of it.
Invariants: `attach` never resets, probes, calibrates, drives or writes anything; a slot belongs to one jack; jacks count from 1 per
kind, as printed; a failed `bring_up` leaves the port without power on its line.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Literal, Protocol

import msgspec

from firmware.config.board import Board
from firmware.hal.bus import ChipError, PortKind, Where

__all__ = [
    "Board",
    "ChipError",
    "Fault",
    "FaultKind",
    "Feed",
    "FxoPort",
    "FxsPort",
    "Hook",
    "LineFact",
    "LinePort",
    "PortKind",
    "Ringing",
    "Where",
]


class Feed(IntEnum):
    """Drive codes of an FXS port (`FEED_*` of `dsp/world_segment.h`)."""

    OPEN = 0
    ACTIVE = 1
    ON_HOOK_TX = 2
    RINGING = 4
    REVERSED = 5
    REVERSED_TX = 6


class Hook(IntEnum):
    """Drive codes of an FXO port (`LINE_*` of `dsp/world_segment.h`)."""

    ON_HOOK = 0
    OFF_HOOK = 1


class LineFact(msgspec.Struct, frozen=True):
    """One reading of a port. Volts and milliamperes; `volts` has the sign of the polarity (positive: tip above ring)."""

    at: int
    volts: float
    milliamps: float
    ringing_volts: float = 0.0
    ring_trip_milliamps: float = 0.0
    closed: bool = False
    """FXS: the telephone is off-hook; FXO: we hold the line off-hook."""
    ring_trip: bool = False
    ring_positive: bool = False
    """FXO: a ringing half-wave of this sign stands on the line now."""
    ring_negative: bool = False
    battery_volts: float = 0.0
    """FXS: supply of the linefeed."""


FaultKind = Literal[
    "all-ones",  # every read is 0xFF: no chip, no select, floating data line
    "all-zeros",  # every read is 0x00: reset held, data line shorted
    "garbage",  # reads that cannot be true
    "chip-reset",  # the chip lost its settings
    "settings",  # single settings differ from what was written
    "link",  # FXO: the isolation link to the line side is down
    "overload",  # FXO: current or voltage protection acted
    "hook",  # FXO: the hook switch does not do what it was told
    "power-alarm",  # FXS: a transistor dissipated too much, or the line opened itself
    "supply",  # FXS: the converter does not give its voltage
    "busy",  # the chip never finishes an indirect access
    "bus",  # the SPI device file fails
    "clocks",  # PCLK or FSYNC stands still: the cause of much else
]


class Fault(msgspec.Struct, frozen=True):
    """Something wrong with a chip, with the register that showed it."""

    kind: FaultKind
    text: str
    register: int = -1
    read: int = -1
    expected: str = ""


class Ringing(msgspec.Struct, frozen=True):
    """Ringing signal of an FXS port. `crest` = peak over effective value: 1.414 is a sine, less a trapezoid."""

    hertz: float = 20.0
    volts_peak: float = 65.0
    crest: float = 1.414


class LinePort(Protocol):
    """A line chip."""

    @property
    def where(self) -> Where:
        """Board, kind, jack, chip."""
        ...

    @property
    def slot(self) -> int:
        """PCM slot."""
        ...

    def bring_up(self) -> None:
        """From RESET to a port at rest; ChipError with the failed step, and the line is without power."""
        ...

    def reinitialise(self) -> None:
        """The same for a chip that lost its settings while its neighbours work: touches this chip only, keeps what was calibrated."""
        ...

    def restore(self) -> None:
        """Write the settings again, without reset and without disturbing a call; ChipError when they do not stay."""
        ...

    def attach(self) -> tuple[Fault, ...]:
        """Read-only check that the port is alive and configured (else ChipError). Returns settings that differ but do no harm."""
        ...

    def check(self) -> tuple[Fault, ...]:
        """Read the health of the chip; worst first, empty when well. Changes nothing."""
        ...

    def resync(self) -> None:
        """Put the framing of the chain right; changes no setting of a working chip. ChipError when the bus fails."""
        ...

    def drive(self, code: int) -> None:
        """Set feed or hook; ChipError when the chip does not follow."""
        ...

    def assume(self, code: int) -> None:
        """Somebody else set feed or hook to `code`: from now on `check` expects it. Writes nothing."""
        ...

    def measure(self) -> LineFact:
        """Read voltage and current now."""
        ...

    def mute(self, *, to_line: bool, from_line: bool) -> None:
        """Silence a direction."""
        ...

    def set_gain(self, *, to_line_db: float, from_line_db: float) -> None:
        """Analog or digital gain of the chip in dB; LocalProtocolError outside its range."""
        ...

    @property
    def terminations(self) -> tuple[str, ...]:
        """Names of the AC terminations (two-wire impedances) that the chip has, by their number."""
        ...

    @property
    def termination(self) -> int:
        """Number of the one in use."""
        ...

    def set_termination(self, number: int | None) -> None:
        """Use another AC termination than the country's (None), also after the chip came back; LocalProtocolError for a wrong one."""
        ...

    def set_slot(self, slot: int) -> None:
        """Move the port to another PCM slot (factory test)."""
        ...

    def loop_back(self, on: bool) -> None:
        """Return what the PCM bus sends, for the slot test of the factory."""
        ...

    def interrupts(self, on: bool) -> None:
        """Let events pull the INT line (factory test; in operation registers are polled)."""
        ...

    def take_interrupts(self) -> int:
        """Bits of the events since the last call, and clear them."""
        ...

    def power_down(self) -> None:
        """Leave the line: on hook or open, converter off. Never raises."""
        ...


class FxoPort(LinePort, Protocol):
    """A port towards the exchange."""

    @property
    def settle_ms(self) -> int:
        """From closing the hook until audio is valid."""
        ...

    @property
    def off_hook(self) -> bool:
        """What the hook was told last."""
        ...

    def set_country(self, country: str) -> None:
        """Electrical settings of a country; the line must be on hook."""
        ...

    def set_hybrid(self, coefficients: Sequence[int]) -> None:
        """Eight signed coefficients of the digital hybrid, stored per port by whoever trained them."""
        ...

    def fast_hook(self, on: bool) -> None:
        """Shorten off-hook counter and calibration for repeated seizures (pulse dialling, short on-hook looks)."""
        ...


class FxsPort(LinePort, Protocol):
    """A port towards a telephone."""

    @property
    def feed(self) -> Feed:
        """What the linefeed was told last."""
        ...

    @property
    def calibration(self) -> tuple[int, ...] | None:
        """What the last calibration measured; kept by the caller, it saves time at the next start and helps when a telephone is lifted."""
        ...

    def set_impedance(self, country: str) -> None:
        """Two-wire impedance of a country."""
        ...

    def set_ringing(self, ringing: Ringing) -> None:
        """Prepare frequency and voltage of the ringing; refused while it rings."""
        ...

    def set_loop_current(self, milliamps: int) -> None:
        """Limit of the loop current."""
        ...

    def transistor_powers(self) -> tuple[float, ...]:
        """Power in mW of the transistors of the linefeed."""
        ...

    def clear_alarms(self) -> None:
        """Forget latched power alarms; the feed is applied again by `drive`."""
        ...
