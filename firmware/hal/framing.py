"""Register access over SPI: which bytes go out for one register, chip by chip of a chain (L3).

Theory of operation
-------------------
Si3050: three bytes, control (chip number bit-reversed), address, data. Si321x: two bytes, or three behind a select byte once the chain
was switched to daisy-chain mode. Chip select rises between the bytes, and an access is whole: `Spi.access`.
While the reply of a read of hook or feed is clocked in, its known content is sent: a flipped bit that makes a write of it changes nothing.
`resync` puts a chain right where chips lost count of the bytes or fell out of daisy-chain mode (`scan.resync_bytes`).
"""

from __future__ import annotations

from firmware.hal import si321x_registers as fxs
from firmware.hal import si3050_registers as fxo
from firmware.hal.bus import Spi
from firmware.hal.scan import DAISY_ON, FILLER, Framing, read_frames, resync_bytes, write_frames

CHIPS_PER_CHAIN = {"si3050": 16, "si321x": 1, "si321x-daisy": 8}


class SpiRegisters:
    """Registers of the chip at `position` of a chain."""

    def __init__(self, spi: Spi, framing: Framing, position: int) -> None:
        if not 0 <= position < CHIPS_PER_CHAIN[framing]:
            raise ValueError(f"position {position} in a chain of {framing}: it has 0 to {CHIPS_PER_CHAIN[framing] - 1}")
        self.spi = spi
        self.framing: Framing = framing
        self.position = position
        self._driven = fxo.DAA_1 if framing == "si3050" else fxs.LINEFEED
        self._held = FILLER                      # by the register of hook or feed, when it was touched last

    def read(self, register: int) -> int:
        """One register."""
        driven = register == self._driven
        value = self.spi.access(read_frames(self.framing, self.position, register, self._held if driven else FILLER))
        self._held = value if driven else self._held
        return value

    def write(self, register: int, value: int) -> None:
        """One register."""
        self._held = value & 0xFF if register == self._driven else self._held
        self.spi.access(write_frames(self.framing, self.position, register, value & 0xFF))

    def enter_daisy(self) -> None:
        """Switch all chips of a chain to daisy-chain mode after RESET."""
        if self.framing == "si321x-daisy":
            self.spi.access(DAISY_ON)

    def resync(self) -> None:
        """Put the chain's framing right; working chips keep all they have."""
        self.spi.transfer(list(resync_bytes(self.framing, self.position)))


def count_si3050(spi: Spi, most: int) -> int:
    """Chips of a Si3050 chain, by writing and reading back, until one beyond `most`; only after RESET."""
    return _count(spi, "si3050", 34, most)


def count_si321x(spi: Spi, framing: Framing, most: int) -> int:
    """Chips of a Si321x chain (already in its framing), until one beyond `most`; only after RESET."""
    return _count(spi, framing, 2, most)


def _count(spi: Spi, framing: Framing, scratch: int, most: int) -> int:
    """A chip is one that keeps both test values in its scratch register."""
    limit = min(most + 1, CHIPS_PER_CHAIN[framing])
    for position in range(limit):
        chip = SpiRegisters(spi, framing, position)
        for value in (0x5A, 0x00):
            chip.write(scratch, value)
            if chip.read(scratch) != value:
                return position
    return limit
