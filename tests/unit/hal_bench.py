"""The other end of the SPI bus for driver tests: scripted bytes, and chips as far as the drivers' bytes need them.

`Script` expects exact bytes. `Chain3050` and `Chain321x` decode bytes as the chips do (framing of the datasheets, one chip select per byte)
into plain register files with the few reactions that bring-up waits for; every write is kept. Neither knows anything of the drivers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from firmware.config.board import PcmBus
from firmware.hal.bus import Where

PCM = PcmBus()
INDIRECT_OF_3215 = {20: 7, 26: 13, 27: 14, 40: 27, 41: 64, 43: 66}


def where(kind: str = "fxo", jack: str = "1") -> Where:
    """A place on a board."""
    return Where("bench", kind, jack, "Si3050" if kind == "fxo" else "Si321x")  # type: ignore[arg-type]


class Time:
    """A clock that moves when it is slept on."""

    def __init__(self) -> None:
        self.ms = 0

    def now(self) -> int:
        return self.ms

    def sleep(self, ms: int) -> None:
        assert ms > 0
        self.ms += ms


class Clocks:
    """The clocks of the PCM bus."""

    def __init__(self, running: bool = True) -> None:
        self.running = running

    def clocks_running(self) -> bool:
        return self.running


class Line:
    """A GPIO line."""

    def __init__(self) -> None:
        self.levels: list[bool] = []

    def write(self, value: bool) -> None:
        self.levels.append(value)

    def read(self) -> bool:
        return bool(self.levels and self.levels[-1])

    def poll(self, timeout: float | None = None) -> bool:
        return False

    def read_event(self) -> None:
        return None


class Script:
    """A bus that expects these bytes, one per chip select, and answers with those."""

    def __init__(self, exchange: Iterable[tuple[int, int]]) -> None:
        self.exchange = list(exchange)
        self.at = 0

    def transfer(self, data: list[int]) -> list[int]:
        assert self.at < len(self.exchange), f"byte {data} was not expected"
        sent, reply = self.exchange[self.at]
        assert data == [sent], f"byte {self.at}: sent {[hex(byte) for byte in data]}, expected {sent:#x}"
        self.at += 1
        return [reply]

    def access(self, frames: Sequence[int]) -> int:
        return [self.transfer([byte])[0] for byte in frames][-1]

    def finished(self) -> bool:
        return self.at == len(self.exchange)


class Chip:
    """A register file that keeps what was written to it."""

    def __init__(self, registers: dict[int, int]) -> None:
        self.registers = dict(registers)
        self.writes: list[tuple[int, int]] = []
        self.read_masks: dict[int, int] = {}
        self.on_write: Callable[[int, int], None] = lambda register, value: None
        self.on_read: Callable[[int], None] = lambda register: None

    def read(self, register: int) -> int:
        self.on_read(register)
        return self.registers.get(register, 0)

    def write(self, register: int, value: int) -> None:
        self.writes.append((register, value))
        self.registers[register] = value
        self.on_write(register, value)

    def written(self, register: int) -> list[int]:
        return [value for number, value in self.writes if number == register]


class Chain:
    """Byte decoder of a chain: `force` answers every byte with one value (a broken data line)."""

    def __init__(self, chips: list[Chip]) -> None:
        self.chips = chips
        self.pending: list[int] = []
        self.force: int | None = None
        self.broken = False
        self.single_bytes = 0

    def transfer(self, data: list[int]) -> list[int]:
        if self.broken:
            raise OSError(5, "Input/output error")
        if len(data) > 1:
            self.restart()
        else:
            self.single_bytes += 1
        replies = [self.byte(value) for value in data]
        return [reply if self.force is None else self.force for reply in replies]

    def access(self, frames: Sequence[int]) -> int:
        return [self.transfer([byte])[0] for byte in frames][-1]

    def restart(self) -> None:
        """A longer chip select starts an access with its first byte."""
        self.pending = []

    def byte(self, value: int) -> int:
        raise NotImplementedError


class Chain3050(Chain):
    """Three bytes: 001R cccc with the chip number bit-reversed, address, data."""

    def byte(self, value: int) -> int:
        self.pending.append(value)
        if len(self.pending) < 3:
            return 0xFF
        (control, register, data), self.pending = self.pending, []
        assert control & 0xB0 == 0x20, f"control byte {control:#x}"
        number = int(f"{control & 0x0F:04b}"[::-1], 2)
        if number >= len(self.chips):
            return 0xFF
        if control & 0x40:
            return self.chips[number].read(register)
        self.chips[number].write(register, data)
        return 0xFF


class Chain321x(Chain):
    """Two bytes, or three with a select byte in front once register 0 bit 7 is set; each chip counts for itself."""

    def __init__(self, chips: list[Chip]) -> None:
        super().__init__(chips)
        self.bytes: list[list[int]] = [[] for _ in chips]

    def byte(self, value: int) -> int:
        replies = [self._one(number, value) for number in range(len(self.chips))]
        answers = [reply for reply in replies if reply is not None]
        return answers[0] if answers else 0xFF

    def _one(self, number: int, value: int) -> int | None:
        chip, pending = self.chips[number], self.bytes[number]
        pending.append(value)
        daisy = bool(chip.registers[0] & 0x80)
        if len(pending) < (3 if daisy else 2):
            return None
        self.bytes[number] = []
        address, data = pending[-2:]
        if daisy and pending[0] != 1 << number:
            return None
        if address & 0x80:
            return chip.read(address & 0x7F)
        chip.write(address, data)
        return None


def chip_3050() -> Chip:
    """After RESET; the line side answers 100 ms (20 reads) after it got power."""
    chip = Chip({1: 0x00, 2: 0x03, 6: 0x10, 11: 0x03, 13: 0x40, 22: 0x96, 23: 0x2D, 24: 0x19, 31: 0x20})
    looks = [0]

    def written(register: int, value: int) -> None:
        if register == 1 and value & 0x80:
            chip.registers.update({1: 0x00, 2: 0x03, 6: 0x10, 5: 0x00, 31: 0x20, 33: 0x00, 11: 0x03, 12: 0x00})
        if register == 6 and not value & 0x10:
            looks[0] = 5

    def looked(register: int) -> None:
        if register == 11 and looks[0]:
            looks[0] -= 1
            if not looks[0]:
                chip.registers.update({11: 0x33, 12: 0x40})

    chip.on_write, chip.on_read = written, looked
    return chip


class Chip321x(Chip):
    """After RESET. The converter charges at once; calibration ends at the tenth look; linefeed follows at once."""

    def __init__(self, *, family_3215: bool = False, closed: bool = False) -> None:
        super().__init__({0: 0x05, 1: 0x88 if family_3215 else 0x08, 8: 0x02, 10: 0x08, 11: 0x33, 14: 0x10, 67: 0x1F, 107: 0x08})
        self.family_3215 = family_3215
        self.indirect: dict[int, int] = {}
        self.latch: list[int] | None = None
        self.closed = closed
        self.battery_when_on, self.battery_when_off = 0xC7, 0x60
        self.calibration_looks = 0
        self.calibration_ends = True
        self.busy_forever = False
        self.on_write = self.react
        self.on_read = self.prepare

    def react(self, register: int, value: int) -> None:
        if register in (28, 29):
            self.latch = self.latch or [0, 0]
            self.latch[register - 28] = value
        elif register == 30:
            if self.latch is not None:
                self.indirect[value] = self.latch[0] | self.latch[1] << 8
                self.latch = None
            stored = self.indirect.get(value, 0)
            self.registers[28], self.registers[29] = stored & 0xFF, stored >> 8
        elif register == 0:
            self.registers[0] = value & 0xC0 | 0x05
        elif register == 1 and self.family_3215:
            self.registers[1] = value | 0x80
        elif register == 64:
            self.registers[64] = (value & 7) << 4 | value & 7
        elif register in (18, 19, 20):
            self.registers[register] = 0
        elif register == 96 and value & 0x40:
            self.calibration_looks = 10
            self.registers.update({number: 0x10 + number - 98 for number in range(98, 107)})

    def prepare(self, register: int) -> None:
        registers = self.registers
        if register == 31:
            registers[31] = 1 if self.busy_forever else 0
        elif register == 82:
            registers[82] = self.battery_when_off if registers[14] & 0x10 else self.battery_when_on
        elif register == 68:
            registers[68] = 1 if self.closed and registers.get(64, 0) & 7 else 0
        elif register == 96 and self.calibration_looks:
            if self.calibration_ends:
                self.calibration_looks -= 1
            registers[96] = 0x5F if self.calibration_looks else 0x00
        elif register in (88, 89):
            registers[register] = 0 if registers.get(register + 10, 0x1F) <= 0x0B else 0x20

    def reset(self) -> None:
        """As if RESET had been pulsed."""
        self.registers = {0: 0x05, 1: 0x88 if self.family_3215 else 0x08, 8: 0x02, 10: 0x08, 11: 0x33, 14: 0x10, 67: 0x1F, 107: 0x08}
        self.indirect, self.latch = {}, None
