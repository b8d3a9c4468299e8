"""What the native line scanner reads from each chip and what it means: plain data (L3).

Theory of operation
-------------------
In operation the scanner moves registers, not Python: one batched transfer per chain every 1 to 4 ms. It needs, per chip model, which
registers to read and how often, which bytes an access is made of, how bits become electrical facts, which values cannot be true, and
which writes a drive code stands for. That is a `ScanPlan`; the drivers use the same plan for `measure` and `drive`, so both speak of the
same bits. Integers only (microvolts, microamperes, masks), so that it can be compiled into C tables as it is.
An access is a list of *frames*, each one byte under its own chip-select assertion (chip select high for 440 ns at least between them);
the reply of a read is what comes back during the last frame.
Guards are evaluated in order before any fact is taken from the same scan: a scan that breaks a "garbage" guard gives no facts at all
and is counted. Where `unless` is set (mask and value of another register), the guard does not count while that holds.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from firmware.hal import si321x_registers as fxs
from firmware.hal import si3050_registers as fxo
from firmware.hal.api import Feed, Hook

Framing = Literal["si3050", "si321x", "si321x-daisy"]
DAISY_ON = (0x00, 0x80)  # two-byte write of register 0, one chip select per byte, after RESET
DAISY_RESYNC = (0x00, 0x00, 0x80, 0x00, 0x00, 0x80)
FILLER = 0xFF  # sent while a reply is clocked in, where nobody knows what the register holds


class Poll(msgspec.Struct, frozen=True):
    """Read `register` in every `every`-th scan of 1 ms (a scanner at 4 ms reads those of 1 to 4 each time)."""

    register: int
    every: int


class Bit(msgspec.Struct, frozen=True):
    """`fact` is true when a bit of `mask` is 1."""

    fact: str
    register: int
    mask: int


class Level(msgspec.Struct, frozen=True):
    """`fact` = value of the register times `micro` (microvolts or microamperes)."""

    fact: str
    register: int
    coding: Literal["unsigned", "signed8", "sign-magnitude6"]
    micro: int


class Guard(msgspec.Struct, frozen=True):
    """The bits `mask` of `register` are `value` (`some`: at least one of them is 1), or `fault` stands."""

    fault: str
    register: int
    mask: int
    value: int
    some: bool = False
    unless: tuple[int, int, int] | None = None


class Write(msgspec.Struct, frozen=True):
    """Set the bits `mask` of `register` to `value`, `after_ms` after the write before; other bits stay."""

    register: int
    value: int
    mask: int = 0xFF
    after_ms: int = 0


class ScanPlan(msgspec.Struct, frozen=True):
    """Everything the scanner knows of a chip model."""

    model: str
    polls: tuple[Poll, ...]
    guards: tuple[Guard, ...]
    bits: tuple[Bit, ...]
    levels: tuple[Level, ...]
    drives: dict[int, tuple[Write, ...]]


# Reading register 5 every millisecond sees each half-wave of ringing up to 70 Hz more than six times.
SI3050 = ScanPlan(
    model="Si3050",
    polls=(Poll(fxo.DAA_1, 1), Poll(fxo.LINE_VOLTAGE, 4), Poll(fxo.LOOP_CURRENT, 4), Poll(fxo.LINE_STATUS, 8), Poll(fxo.INTERNATIONAL_4, 8),
           Poll(fxo.PCM_MODE, 64), Poll(fxo.LINE_REVISION, 64)),
    guards=(
        Guard("garbage", fxo.DAA_1, fxo.NEVER_SET_5, 0),
        Guard("garbage", fxo.DAA_1, fxo.ON_HOOK_MONITOR | fxo.OFF_HOOK, 0, some=True),
        Guard("garbage", fxo.LINE_REVISION, fxo.ALWAYS_SET_13, fxo.ALWAYS_SET_13, unless=(fxo.LINE_STATUS, fxo.FRAME_LOCK, 0)),
        Guard("chip-reset", fxo.PCM_MODE, fxo.PCM_ENABLE, fxo.PCM_ENABLE),
        Guard("link", fxo.LINE_STATUS, fxo.FRAME_LOCK, fxo.FRAME_LOCK),
        Guard("overload", fxo.INTERNATIONAL_4, fxo.OVERLOAD | fxo.OVERLOAD_DETECTED, 0),
    ),
    bits=(
        Bit("ring_positive", fxo.DAA_1, fxo.RING_POSITIVE), Bit("ring_negative", fxo.DAA_1, fxo.RING_NEGATIVE),
        Bit("off_hook", fxo.DAA_1, fxo.OFF_HOOK), Bit("drop_out", fxo.INTERNATIONAL_4, fxo.DROP_OUT),
    ),
    levels=(
        Level("volts", fxo.LINE_VOLTAGE, "signed8", 1_000_000), Level("milliamps", fxo.LOOP_CURRENT, "unsigned", 1_100),
    ),
    drives={
        # The on-hook monitor goes before the hook closes; overload protection is armed 25 ms after, disarmed before it opens.
        Hook.OFF_HOOK: (
            Write(fxo.DAA_1, 0x00), Write(fxo.DAA_1, fxo.OFF_HOOK),
            Write(fxo.INTERNATIONAL_2, fxo.OVERLOAD_PROTECT, fxo.OVERLOAD_PROTECT, after_ms=25),
        ),
        Hook.ON_HOOK: (Write(fxo.INTERNATIONAL_2, 0, fxo.OVERLOAD_PROTECT), Write(fxo.DAA_1, fxo.ON_HOOK_MONITOR)),
    },
)  # fmt: skip

# The loop-closed bit is read every millisecond: dial pulses are measured, so the chip debounces 5 ms only.
SI321X = ScanPlan(
    model="Si321x",
    polls=(Poll(fxs.DETECTORS, 1), Poll(fxs.LINEFEED, 4), Poll(fxs.ALARMS, 4), Poll(fxs.LOOP_CURRENT, 8), Poll(fxs.LOOP_VOLTAGE, 8),
           Poll(fxs.SPI_MODE, 4), Poll(fxs.LOOPBACK, 64), Poll(fxs.BATTERY_1, 64)),
    guards=(
        Guard("garbage", fxs.SPI_MODE, fxs.REVISION_MASK, 0, some=True),
        Guard("garbage", fxs.LINEFEED, 0x88, 0),
        Guard("garbage", fxs.DETECTORS, 0xF8, 0),
        Guard("chip-reset", fxs.LOOPBACK, 0xFF, 0),
        Guard("power-alarm", fxs.ALARMS, fxs.POWER_ALARMS, 0),
    ),
    bits=(
        Bit("closed", fxs.DETECTORS, fxs.LOOP_CLOSED), Bit("ring_trip", fxs.DETECTORS, fxs.RING_TRIP),
    ),
    levels=(
        Level("volts", fxs.LOOP_VOLTAGE, "sign-magnitude6", 1_500_000), Level("milliamps", fxs.LOOP_CURRENT, "sign-magnitude6", 1_250),
        Level("battery_volts", fxs.BATTERY_1, "unsigned", 376_000),
    ),
    drives={code: (Write(fxs.LINEFEED, code),) for code in Feed},
)  # fmt: skip

PLANS: dict[str, ScanPlan] = {"si3050": SI3050, "si321x": SI321X}


def reversed_nibble(position: int) -> int:
    """Four bits in opposite order: what a Si3050 at `position` of its chain listens to."""
    return int(f"{position:04b}"[::-1], 2)


def read_frames(framing: Framing, position: int, register: int, held: int = FILLER) -> tuple[int, ...]:
    """Bytes of a read, one chip-select assertion each; the value comes back with the last.

    `held`: what the register holds, as far as known. One flipped bit makes a write of a read, and then nothing is changed by it. Bits are
    added with which a chip that has lost a byte takes it for a read, too: so it is for registers that have no use for these bits.
    """
    if framing == "si3050":
        return (0x60 | reversed_nibble(position), register, 0x60 | held)
    if framing == "si321x":
        return (0x80 | register, 0x80 | held)
    return (1 << position, 0x80 | register, 0x80 | held)


def write_frames(framing: Framing, position: int, register: int, value: int) -> tuple[int, ...]:
    """Bytes of a write, one chip-select assertion each."""
    if framing == "si3050":
        return (0x20 | reversed_nibble(position), register, value)
    if framing == "si321x":
        return (register, value)
    return (1 << position, register, value)


def resync_bytes(framing: Framing, position: int) -> tuple[int, ...]:
    """Bytes of ONE chip-select assertion that put the byte count of all chips of a chain right and change no setting of a working chip.

    A whole access under one chip select starts all chips at its first byte: a harmless read. In a daisy chain a chip that reset itself is
    back in two-byte mode, too: the six bytes are two accesses that select nobody in three-byte mode, and in two-byte mode hold the write
    "register 0 = 0x80" at either alignment, after which every chip is at the start of an access.
    """
    if framing == "si321x-daisy":
        return DAISY_RESYNC
    return read_frames(framing, position, 11 if framing == "si3050" else 0)


def facts_of(plan: ScanPlan, values: dict[int, int]) -> tuple[tuple[str, ...], dict[str, int]]:
    """The slow reference of what a scanner makes of one scan: faults (in order, once each) and facts.

    Facts are 0 or 1 for bits, microvolts or microamperes for levels; a scan with garbage has none. Registers that were not read in this
    scan are left out of `values` and say nothing.
    """
    faults = []
    for guard in plan.guards:
        if guard.register not in values or guard.fault in faults:
            continue
        if guard.unless is not None:
            register, mask, value = guard.unless
            if register in values and values[register] & mask == value:
                continue
        bits = values[guard.register] & guard.mask
        if (not bits) if guard.some else bits != guard.value:
            faults.append(guard.fault)
    if "garbage" in faults:
        return ("garbage",), {}
    facts = {bit.fact: int(bool(values[bit.register] & bit.mask)) for bit in plan.bits if bit.register in values}
    facts.update({level.fact: level_of(level, values[level.register]) for level in plan.levels if level.register in values})
    return tuple(faults), facts


def level_of(level: Level, value: int) -> int:
    """Microvolts or microamperes of a register's value."""
    if level.coding == "signed8":
        value = value - 256 if value & 0x80 else value
    elif level.coding == "sign-magnitude6":
        value = -(value & 0x3F) if value & 0x40 else value & 0x3F
    return value * level.micro
