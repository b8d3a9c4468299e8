"""What a chip driver is given, and how it says that hardware fails (L3).

Theory of operation
-------------------
A driver takes four things by constructor: `Spi` (one chip-select assertion per `transfer`), `Gpio` lines, `PcmClocks` (do the clocks of
the PCM bus run?) and a `Clock`. On hardware they are python-periphery objects (`hal/gpio.py`), in tests the register simulator; a driver
cannot tell the difference. On top stand `Registers` (read and write of one byte, made by the chip's framing) and `Bench`, the common
part of all drivers: named steps, waits with limits, verified writes. Every failure is a `ChipError` that names board, jack, step,
register, value read, value expected and remedy; the same facts are its attributes.
Invariant: nothing here retries by itself; a wait ends at its limit or with success.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Protocol

from firmware.errors import HardwareError

log = logging.getLogger("branchpbx.hal")

PortKind = Literal["fxo", "fxs"]


class Spi(Protocol):
    """An SPI device in mode 3, MSB first."""

    def transfer(self, data: list[int], /) -> list[int]:
        """Clock bytes out and in during ONE assertion of chip select. OSError when the bus fails."""
        ...


class Gpio(Protocol):
    """One line of a GPIO chip; levels are electrical unless the line was opened inverted."""

    def read(self) -> bool: ...
    def write(self, value: bool, /) -> None: ...
    def poll(self, timeout: float | None = None, /) -> bool: ...
    def read_event(self) -> Any: ...


class PcmClocks(Protocol):
    """The bit and frame clock of the PCM bus."""

    def clocks_running(self) -> bool:
        """True while PCLK and FSYNC run."""
        ...


class Clock(Protocol):
    """Milliseconds that only go forward."""

    def now(self) -> int: ...
    def sleep(self, ms: int, /) -> None: ...


class Registers(Protocol):
    """The registers of one chip."""

    def read(self, register: int, /) -> int: ...
    def write(self, register: int, value: int, /) -> None: ...


class Where(NamedTuple):
    """Which port a driver is for, in the words printed on the box."""

    board: str
    kind: PortKind
    jack: str
    chip: str

    def __str__(self) -> str:
        return f"board {self.board}, {self.kind.upper()} jack {self.jack} ({self.chip})"


class ChipError(HardwareError):
    """A chip did not answer as it must, at a named step."""

    def __init__(
        self, where: Where, step: str, *, expected: str, remedy: str, register: int | None = None, name: str = "", read: int | None = None
    ) -> None:
        self.where, self.step, self.register, self.name = where, step, register, name
        self.read, self.expected, self.remedy = read, expected, remedy
        place = "" if register is None else f" register {register}{f' ({name})' if name else ''}"
        seen = "" if read is None else f" reads {hex8(read)},"
        super().__init__(f"{where}, step {step!r}:{place}{seen} expected {expected}; {remedy}")


def hex8(value: int) -> str:
    """A register's value as datasheets write it; indirect registers have 16 bit."""
    return f"0x{value:02X}" if value < 0x100 else f"0x{value:04X}"


def signed8(value: int) -> int:
    """Two's complement of eight bits."""
    return value - 256 if value & 0x80 else value


def sign_magnitude(value: int) -> int:
    """Six bits of magnitude with the sign in bit 6 (1 = negative), as the Si321x gives loop voltage and current."""
    return -(value & 0x3F) if value & 0x40 else value & 0x3F


class Bench:
    """Steps, waits and verified writes: what every driver does with its registers."""

    def __init__(self, registers: Registers, where: Where, clock: Clock, names: Mapping[int, str]) -> None:
        self.registers = registers
        self.where = where
        self.clock = clock
        self.names = names
        self.current_step = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Name what is being done; a bus that fails inside becomes a ChipError of that step."""
        outer, self.current_step = self.current_step, name
        log.debug("%s: %s", self.where, name)
        try:
            yield
        except OSError as error:
            raise self.error(expected="an SPI transfer", remedy=f"it failed ({error}); check device file, rights, wiring") from error
        finally:
            self.current_step = outer

    def error(self, *, expected: str, remedy: str, register: int | None = None, read: int | None = None) -> ChipError:
        """The error of the step at hand."""
        name = "" if register is None else self.names.get(register, "")
        return ChipError(self.where, self.current_step, expected=expected, remedy=remedy, register=register, name=name, read=read)

    def read(self, register: int) -> int:
        """One register."""
        return self.registers.read(register)

    def write(self, register: int, value: int) -> None:
        """One register, unverified: for bits that clear themselves."""
        self.registers.write(register, value)

    def verified(
        self, register: int, value: int, *, mask: int = 0xFF, remedy: str = "check the SPI wiring and the supply of the chip"
    ) -> None:
        """Write and read back the bits of `mask`."""
        self.write(register, value)
        self.expect(register, value & mask, mask=mask, remedy=remedy)

    def change(self, register: int, value: int, mask: int) -> None:
        """Change the bits of `mask` only."""
        before = self.read(register)
        after = (before & ~mask) | (value & mask)
        if after != before:
            self.write(register, after)

    def expect(self, register: int, value: int, *, mask: int = 0xFF, remedy: str) -> int:
        """Read; ChipError unless the bits of `mask` are `value`. Returns the whole register."""
        read = self.read(register)
        if read & mask != value & mask:
            wanted = hex8(value) if mask == 0xFF else f"{hex8(value & mask)} in the bits {hex8(mask)}"
            raise self.error(register=register, read=read, expected=wanted, remedy=remedy)
        return read

    def wait(self, register: int, good: Callable[[int], bool], *, limit_ms: int, every_ms: int, expected: str, remedy: str) -> int:
        """Read until `good`; ChipError after `limit_ms`. Returns the value that was good."""
        end = self.clock.now() + limit_ms
        while True:
            read = self.read(register)
            if good(read):
                return read
            if self.clock.now() >= end:
                raise self.error(register=register, read=read, expected=f"{expected} within {limit_ms} ms", remedy=remedy)
            self.clock.sleep(every_ms)
