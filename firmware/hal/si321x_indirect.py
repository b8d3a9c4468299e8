"""Indirect registers of the Si3210 and Si3215 (L3).

Theory of operation
-------------------
Wait until register 31 is idle; write: low byte, high byte, then the address; read: the address alone, wait, then both bytes. The chip
serves them at 16 kHz from its PLL, so without PCM clocks an access never ends: that is a named failure after `BUSY_LIMIT_MS`.
Writing a data byte arms the pair: the next address written would store it. If the bus fails between, the pair is kept and written to its
own address before anything else, or a later read would overwrite another register.
Numbers are those of the Si3210; `translate` gives those of the Si3215, where some do not exist.
"""

from __future__ import annotations

from collections.abc import Mapping

from firmware.hal import si321x_registers as r
from firmware.hal.bus import Bench

BUSY_LIMIT_MS = 20
BUSY_REMEDY = "the chip does not finish an indirect access; PCM clocks have stopped or its PLL is not locked"


class Indirect:
    """Indirect registers of one chip."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._armed: tuple[int, int] | None = None
        self.family = ""

    def know_family(self, pcm_mode: int) -> None:
        """Register 1 bit 7 tells the family."""
        self.family = "Si3215" if pcm_mode & r.FAMILY_3215 else "Si3210"

    def exists(self, number: int) -> bool:
        """True where the chip has this register."""
        return self.family != "Si3215" or number in r.INDIRECT_3215

    def values(self) -> Mapping[int, int]:
        """Field-proven values of this family."""
        return r.INDIRECT_VALUES_3215 if self.family == "Si3215" else r.INDIRECT_VALUES

    def translate(self, number: int) -> int:
        """Number on this chip."""
        return r.INDIRECT_3215[number] if self.family == "Si3215" else number

    def forget(self) -> None:
        """After RESET nothing is armed."""
        self._armed = None

    def write(self, number: int, value: int) -> None:
        """Write 16 bit."""
        self._settle()
        self._store(self.translate(number), value)

    def read(self, number: int) -> int:
        """Read 16 bit."""
        self._settle()
        self._bench.write(r.INDIRECT_ADDRESS, self.translate(number))
        self._idle()
        return self._bench.read(r.INDIRECT_LOW) | self._bench.read(r.INDIRECT_HIGH) << 8

    def verified(self, number: int, value: int) -> None:
        """Write and read back."""
        self.write(number, value)
        self.expect(number, value)

    def expect(self, number: int, value: int) -> None:
        """ChipError unless the register holds `value`."""
        read = self.read(number)
        if read != value:
            remedy = "the chip lost a write: check PCM clocks and SPI wiring"
            raise self._bench.error(read=read, expected=f"0x{value:04X} in indirect register {number}", remedy=remedy)

    def _settle(self) -> None:
        self._idle()
        if self._armed is not None:
            self._store(*self._armed)
            self._idle()

    def _store(self, address: int, value: int) -> None:
        self._armed = (address, value)
        self._bench.write(r.INDIRECT_LOW, value & 0xFF)
        self._bench.write(r.INDIRECT_HIGH, value >> 8)
        self._bench.write(r.INDIRECT_ADDRESS, address)
        self._armed = None

    def _idle(self) -> None:
        self._bench.wait(
            r.INDIRECT_STATUS, lambda value: not value & r.INDIRECT_BUSY, limit_ms=BUSY_LIMIT_MS, every_ms=1, expected="not busy (bit 0)",
            remedy=BUSY_REMEDY,
        )  # fmt: skip
