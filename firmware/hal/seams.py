"""Where a board's chips are reached: devices of the kernel, or the simulated world (L3).

Theory of operation. `ChipSeam` makes what a `Card` is given. On hardware RESET lines come from the parent (`gpio.BoardLines`, inherited
by fork), SPI devices are opened by the process that uses them, and clocks run while the sound device streams. `world.WorldSeam` is the
other one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from firmware.config.board import Board, ChipChain
from firmware.errors import HardwareError
from firmware.hal.bus import Clock, Gpio, PcmClocks, Spi
from firmware.hal.cards import Card, PortSettings
from firmware.hal.gpio import AlsaClocks, BoardLines, PeripherySpi, open_spi


class ChipSeam(Protocol):
    """Access to the chips of a board."""

    @property
    def clocks(self) -> PcmClocks:
        """Those of the PCM bus."""
        ...

    def spi(self, chain: ChipChain) -> Spi:
        """The bus of a chain; HardwareError when it cannot be opened."""
        ...

    def reset(self, chain: ChipChain) -> Gpio:
        """RESET of a chain."""
        ...

    def scanner_fd(self, chain: ChipChain) -> int:
        """Device by which the native scanner reaches a chain; -1 where it has another way."""
        ...

    def bench_clock(self) -> Clock:
        """Time while the engine does not run."""
        ...

    def start_clocks(self) -> None:
        """Open the PCM stream: from now on the chips have clocks. HardwareError when it cannot be opened."""
        ...

    def bind(self, engine: Any) -> None:
        """Make the open stream the engine's; before the engine starts."""
        ...

    def figures(self) -> dict[str, int]:
        """What the sound device lost (`dsp.alsa.card_figures`); nothing while none is open."""
        ...

    def answers(self) -> bool:
        """Is the other side there?"""
        ...


class Parts(Protocol):
    """Lines that the parent holds: `gpio.BoardLines` or `world.WorldLines`."""

    def energise(self) -> None: ...
    def drop(self) -> None: ...
    def sensed(self) -> bool | None: ...
    def release(self) -> None: ...


class RealTime:
    """The clock on the wall."""

    def now(self) -> int:
        """Milliseconds of CLOCK_MONOTONIC."""
        return time.monotonic_ns() // 1_000_000

    def sleep(self, ms: int, /) -> None:
        """Let them pass."""
        time.sleep(ms / 1000)


class DeviceSeam:
    """Devices of the kernel."""

    def __init__(self, board: Board, lines: BoardLines) -> None:
        self._board = board
        self._lines = lines
        self._devices: dict[str, PeripherySpi] = {}
        self._open = False
        self.clocks: PcmClocks = AlsaClocks(board.pcm.device)

    def spi(self, chain: ChipChain) -> Spi:
        """The chain's spidev file, opened once: drivers and scanner share it, each access is one request to the kernel."""
        if chain.spi not in self._devices:
            self._devices[chain.spi] = open_spi(chain)
        return self._devices[chain.spi]

    def scanner_fd(self, chain: ChipChain) -> int:
        """The same file."""
        self.spi(chain)
        return self._devices[chain.spi].fd

    def reset(self, chain: ChipChain) -> Gpio:
        """The line that the parent holds."""
        number = self._board.chains.index(chain)
        if number >= len(self._lines.resets):
            raise HardwareError(f"chain {chain.spi}: its RESET line is not held; restart the appliance")
        return self._lines.resets[number]

    def bench_clock(self) -> Clock:
        """The clock on the wall."""
        return RealTime()

    def start_clocks(self) -> None:
        """Open both streams of the sound device, once."""
        from firmware.dsp.alsa import open_card

        if not self._open:
            open_card(self._board.pcm.device, self._board.pcm.slots, self._board.pcm.spare)
            self._open = True

    def bind(self, engine: Any) -> None:
        """The sound device becomes the engine's PCM seam; without it the engine runs without lines."""
        from firmware.dsp.alsa import bind_card

        if self._open:
            bind_card(engine)

    def figures(self) -> dict[str, int]:
        """What the sound device lost."""
        if not self._open:
            return {}
        from firmware.dsp.alsa import card_figures

        return card_figures()

    def answers(self) -> bool:
        """Devices are there or cannot be opened."""
        return True


def open_cards(board: Board, seam: ChipSeam, clock: Clock, settings: Mapping[tuple[str, str], PortSettings]) -> Sequence[Card]:
    """The chains of a board in its order; `settings` by kind and jack."""
    return [
        Card(
            board, chain, spi=seam.spi(chain), reset=seam.reset(chain), clocks=seam.clocks, clock=clock,
            settings={jack: settings[chain.kind, jack] for jack in chain.jacks if (chain.kind, jack) in settings},
        )
        for chain in board.chains
    ]  # fmt: skip
