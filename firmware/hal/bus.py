"""What a chip driver is given, and how it says that hardware fails (L3).

Theory of operation
-------------------
A driver takes four things by constructor: `Spi` (one chip select over a `transfer`, one for each byte of an `access`), `Gpio` lines,
`PcmClocks` (do the clocks of the PCM bus run?) and a `Clock`. `hal/seams.py` makes them: of devices on hardware, of mail in the simulated
world; tests give the register simulator. A driver cannot tell the difference. On top stand `Registers` (read and write of one byte, made
by the chip's framing) and `Bench`, the common part of all drivers: named steps, waits with limits, verified writes. Every failure is a
`ChipError` that names board, jack, step, register, value read, value expected and remedy; the same facts are its attributes.
A limit is measured with our own clock, and that also runs while our process does not: stopped for longer than the limit between two reads,
it has seen nothing of what the chip did meanwhile. So a turn of a wait (pause and read) counts for at most a fifth of the limit, however
long it took, and nobody is blamed before `LEAST_TURNS` reads with a pause before each (`Patience`).
Invariant: nothing here retries by itself; a wait ends at its limit or with success.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
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

    def access(self, frames: Sequence[int], /) -> int:
        """Clock bytes with a chip select for each, nobody else's bytes between them; the reply to the last. OSError when the bus fails."""
        ...


class SpiDevice(Protocol):
    """What python-periphery's `SPI` and the simulator's chip selects do."""

    def transfer(self, data: list[int], /) -> list[int]: ...


class SoleUser:
    """`Spi` on a device that nobody else uses meanwhile: an access is a row of transfers."""

    def __init__(self, device: SpiDevice) -> None:
        self._device = device

    def transfer(self, data: list[int], /) -> list[int]:
        """Bytes under one chip select."""
        return self._device.transfer(data)

    def access(self, frames: Sequence[int], /) -> int:
        """Bytes under a chip select each; the reply to the last."""
        reply = 0
        for byte in frames:
            reply = self._device.transfer([byte])[0]
        return reply


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


LEAST_TURNS = 5


class Patience:
    """What of a limit is used up: time by our clock, but no single turn counts for more than its share."""

    def __init__(self, clock: Clock, limit_ms: int) -> None:
        self._clock = clock
        self._left = float(limit_ms)
        self._share = limit_ms / LEAST_TURNS
        self._seen = clock.now()

    def over(self) -> bool:
        """Count the turn that ends now; True when the limit is used up."""
        now = self._clock.now()
        self._left -= min(now - self._seen, self._share)
        self._seen = now
        return self._left <= 0


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
        """Read until `good`; ChipError after `limit_ms` (see `Patience`). Returns the value that was good."""
        patience: Patience | None = None
        while True:
            read = self.read(register)
            if good(read):
                return read
            if patience is None:            # the first read only begins the wait: who was stopped before or in it has not waited
                patience = Patience(self.clock, limit_ms)
            elif patience.over():
                raise self.error(register=register, read=read, expected=f"{expected} within {limit_ms} ms", remedy=remedy)
            self.clock.sleep(every_ms)
