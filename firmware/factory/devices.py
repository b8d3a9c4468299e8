"""The bench of real hardware: device files of the board, the fixture on its serial port (L5)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from firmware.config.board import Board, ChipChain
from firmware.errors import ConfigError
from firmware.factory.alsa import AlsaHighway
from firmware.factory.instruments import Fixture
from firmware.factory.limits import Limits
from firmware.factory.linux import LinuxHost
from firmware.hal.bus import Clock, Gpio, Spi
from firmware.hal.gpio import open_input, open_output, open_spi
from firmware.hal.seams import RealTime


class SpeedSpi:
    """An SPI device that can be opened again at another speed while drivers keep it."""

    def __init__(self, chain: ChipChain) -> None:
        self._chain = chain
        self._device: Spi = open_spi(chain)

    def set_speed(self, hertz: int) -> None:
        """Open it again."""
        self._device = open_spi(msgspec.structs.replace(self._chain, speed_hz=hertz))

    def transfer(self, data: list[int], /) -> list[int]:
        """Bytes under one chip select."""
        return self._device.transfer(data)

    def access(self, frames: Sequence[int], /) -> int:
        """Bytes under a chip select each."""
        return self._device.access(frames)


class HardwareBench:
    """Everything of a real board; lines and devices are opened when they are asked for the first time."""

    def __init__(self, board: Board, limits: Limits, fixture: Fixture) -> None:
        if board.seam != "alsa":
            raise ConfigError(f"board {board.name} has no devices of its own; test it with --simulated")
        self._board = board
        self._limits = limits
        self._spis = {chain.spi: SpeedSpi(chain) for chain in board.chains}
        self._lines: dict[str, Gpio | None] = {}
        protect = open_output(limits.write_protect, on=True) if limits.write_protect is not None else None
        self.clock: Clock = RealTime()
        self.highway = AlsaHighway(board.pcm.device, board.pcm.slots)
        self.fixture = fixture
        self.host = LinuxHost(limits.eeprom, protect)

    def spi(self, chain: ChipChain) -> Spi:
        """The SPI device of a chain."""
        return self._spis[chain.spi]

    def set_speed(self, chain: ChipChain, hertz: int) -> None:
        """SPI speed of a chain."""
        self._spis[chain.spi].set_speed(hertz)

    def line(self, name: str) -> Gpio | None:
        """A GPIO line by purpose."""
        if name not in self._lines:
            self._lines[name] = self._open(name)
        return self._lines[name]

    def _open(self, name: str) -> Gpio | None:
        purpose, _, rest = name.partition("-")
        board, lifeline = self._board, self._board.lifeline
        if purpose == "reset":
            return open_output(board.chains[int(rest)].reset)
        if purpose == "int":
            interrupt = board.chains[int(rest)].interrupt
            return open_input(interrupt, edge="falling") if interrupt is not None else None
        if purpose == "led":
            return open_output(board.leds[rest])
        if name == "relay":
            return open_output(lifeline.relay) if lifeline is not None else None
        if name == "sense":
            return open_input(lifeline.sense) if lifeline is not None and lifeline.sense is not None else None
        button = self._limits.steps.panel.button
        return open_input(button) if name == "button" and button is not None else None
