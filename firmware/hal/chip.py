"""What line chips have in common: where a health check begins, and the PCM slot (L3).

Theory of operation. A look reads a few registers; before any of them is believed, stopped clocks, a failing bus and a bus that reads
all ones or all zeros are told apart, because each has another remedy. What the values mean is the chip's own business (`_faults`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from firmware.config.board import PcmBus
from firmware.errors import LocalProtocolError
from firmware.hal.api import Fault
from firmware.hal.bus import Bench, PcmClocks, Where
from firmware.hal.framing import SpiRegisters


class LineChip(ABC):
    """The part of a driver that no chip does differently."""

    HEALTH: ClassVar[Sequence[int]]                     # registers of a look
    IDENTITY: ClassVar[tuple[int, str]]                 # register that tells a live chip, and what it reads there

    SLOT: ClassVar[tuple[int, int, int, int]]           # registers of the first bit of a slot: sent (low, high), received (low, high)

    slot: int
    where: Where
    _pcm: PcmBus
    _bench: Bench
    _chip: SpiRegisters
    _clocks: PcmClocks

    def check(self) -> tuple[Fault, ...]:
        """Look at the chip once; worst fault first. Never raises, never writes."""
        if not self._clocks.clocks_running():
            return (Fault("clocks", "the clocks of the PCM bus stand still", expected="PCLK and FSYNC to run"),)
        try:
            return self._faults(self._look())
        except OSError as error:
            return (Fault("bus", f"the SPI bus fails: {error}"),)

    def set_slot(self, slot: int) -> None:
        """Move to another PCM slot."""
        if not 0 <= slot < self._pcm.slots:
            raise LocalProtocolError(f"{self.where}: slot {slot} is not on a bus of {self._pcm.slots}")
        self.slot = slot
        with self._bench.step("PCM slot"):
            self._write_slot()

    def _slot_registers(self) -> tuple[tuple[int, int], ...]:
        high, low = divmod(self._pcm.start(self.slot), 256)
        return tuple(zip(self.SLOT, (low, high, low, high), strict=True))

    def _write_slot(self) -> None:
        for register, value in self._slot_registers():
            self._bench.verified(register, value)

    def resync(self) -> None:
        """Put the framing of the chain right."""
        with self._bench.step("chain"):
            self._chip.resync()

    def _look(self) -> dict[int, int]:
        return {register: self._bench.read(register) for register in self.HEALTH}

    def _silent_bus(self, seen: Mapping[int, int]) -> Fault | None:
        """The fault of a bus on which no chip speaks."""
        register, expected = self.IDENTITY
        values = set(seen.values())
        if values == {0xFF}:
            return Fault("all-ones", "every register reads 0xFF: no chip answers", register, 0xFF, expected)
        if values == {0x00}:
            return Fault("all-zeros", "every register reads 0x00: RESET is held or the data line is low", register, 0x00, expected)
        return None

    @abstractmethod
    def _faults(self, seen: dict[int, int]) -> tuple[Fault, ...]:
        """What the values of a look mean."""
