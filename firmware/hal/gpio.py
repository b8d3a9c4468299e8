"""SPI devices and GPIO lines of the board through python-periphery (L3).

Theory of operation
-------------------
GPIO lines are those of the character device (`/dev/gpiochipN`), SPI devices those of spidev, mode 3. The library is imported when the first
device is opened: the simulated board and the tests need none of it.
A line that is released may change its level, and RESET or the lifeline relay with it. So the parent process opens `BoardLines` once,
before it forks, and keeps them: children inherit the descriptors, and a line stays requested while any of them is open. The object holds
every line in a list of its own and in `_HELD`, because python-periphery closes a line when its last reference goes. `release` is the only
way out, in the safe order: relay without current, chips in RESET, then the lines.
Levels: RESET is low when a chip is reset. Lines of the board file with `active_low` are opened inverted, so that true always means "on".
"""

from __future__ import annotations

import logging
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from firmware.config.board import Board, ChipChain, GpioLine
from firmware.errors import HardwareError
from firmware.hal.bus import Clock, Gpio, Spi

log = logging.getLogger("branchpbx.hal")

SPI_MODE = 3
RESET_MS = 10
AFTER_RESET_MS = 10
LABEL = "branchpbx"
_HELD: list[BoardLines] = []


def periphery() -> Any:
    """The library; HardwareError says what to install."""
    try:
        return import_module("periphery")
    except ImportError as error:
        raise HardwareError(
            f"this board needs the Python package python-periphery, which is not installed ({error}); install it, or use the board 'world'"
        ) from None


def open_spi(chain: ChipChain) -> Spi:
    """The SPI device of a chain; HardwareError when it cannot be opened."""
    library = periphery()
    try:
        device: Spi = library.SPI(chain.spi, SPI_MODE, chain.speed_hz)
    except OSError as error:
        raise HardwareError(
            f"SPI device {chain.spi} cannot be opened ({error}); check that the spidev driver is bound and the rights"
        ) from error
    return device


def open_input(line: GpioLine, *, edge: str = "none") -> Gpio:
    """An input; `edge` "falling" for an INT line."""
    return _open(line, "in", edge)


def open_output(line: GpioLine, *, on: bool = False) -> Gpio:
    """An output that has its level from the first instant on."""
    return _open(line, "high" if on else "low", "none")


def _open(line: GpioLine, direction: str, edge: str) -> Gpio:
    library = periphery()
    try:
        opened: Gpio = library.CdevGPIO(line.chip, line.line, direction, edge=edge, inverted=line.active_low, label=LABEL)
    except (OSError, LookupError) as error:
        raise HardwareError(
            f"GPIO {line.chip} line {line.line} cannot be opened ({error}); check that no other program holds it and the board file"
        ) from error
    return opened


class ResetLine:
    """RESET of a chain: low while the chips are reset."""

    def __init__(self, gpio: Gpio, clock: Clock) -> None:
        self._gpio = gpio
        self._clock = clock

    def hold(self) -> None:
        """Keep the chips in reset."""
        self._gpio.write(False)

    def pulse(self) -> None:
        """Reset the chips of the chain and let them go. PCM clocks must run already."""
        self._gpio.write(False)
        self._clock.sleep(RESET_MS)
        self._gpio.write(True)
        self._clock.sleep(AFTER_RESET_MS)


class BoardLines:
    """RESET lines, lifeline relay and LEDs, held by the parent for as long as the box runs."""

    def __init__(self, board: Board, clock: Clock) -> None:
        self._outputs: list[Gpio] = []
        self.resets: list[ResetLine] = []
        self.relay: Gpio | None = None
        self.sense: Gpio | None = None
        self.leds: dict[str, Gpio] = {}
        _HELD.append(self)
        try:
            if board.lifeline is not None:
                self.relay = self._keep(open_output(board.lifeline.relay))
                self.sense = self._keep(open_input(board.lifeline.sense)) if board.lifeline.sense is not None else None
            for chain in board.chains:
                self.resets.append(ResetLine(self._keep(open_output(chain.reset)), clock))
            for name, line in board.leds.items():
                self.leds[name] = self._keep(open_output(line))
        except HardwareError:
            self.release()
            raise

    def _keep(self, line: Gpio) -> Gpio:
        self._outputs.append(line)
        return line

    def energise(self) -> None:
        """Separate the lifeline jacks; only after both of their ports passed bring-up."""
        if self.relay is not None:
            self.relay.write(True)

    def drop(self) -> None:
        """Join the lifeline jacks; before, FXS 1 is open and FXO 1 on hook."""
        if self.relay is not None:
            self.relay.write(False)

    def release(self) -> None:
        """Give the lines back: relay first, then RESET, then the descriptors."""
        steps = [self.drop, *(reset.hold for reset in self.resets)]
        for step in steps:
            try:
                step()
            except OSError as error:
                log.error("GPIO line cannot be written at release (%s)", error)
        for line in self._outputs:
            close = getattr(line, "close", None)
            if close is not None:
                close()
        self._outputs.clear()
        self.resets.clear()
        if self in _HELD:
            _HELD.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
