"""SPI devices and GPIO lines of the board through python-periphery (L3).

Theory of operation
-------------------
GPIO lines are those of the character device (`/dev/gpiochipN`), SPI devices those of spidev, mode 3. The library is imported when the first
device is opened: the simulated board and the tests need none of it.
A line that is released may change its level, and RESET or the lifeline relay with it. So the parent process opens `BoardLines` once,
before it forks, and keeps them: children inherit the descriptors, and a line stays requested while any of them is open. The object holds
every line in a list of its own and in `_HELD`, because python-periphery closes a line when its last reference goes. `release` is the only
way out, in the safe order: relay without current, chips in RESET, then the lines.
A serial access is one request to the kernel (`SPI_IOC_MESSAGE` of linux/spi/spidev.h, chip select rising after each byte), because the
native scanner of the same process uses the chain, too: python-periphery's `transfer` knows one chip select over all bytes only.
Levels: RESET is low when a chip is reset. Lines of the board file with `active_low` are opened inverted, so that true always means "on".
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from firmware.config.board import ALSA_DEVICE, Board, ChipChain, GpioLine
from firmware.errors import HardwareError
from firmware.hal.bus import Clock, Gpio

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


class SpiTransfer(ctypes.Structure):
    """`struct spi_ioc_transfer` of linux/spi/spidev.h."""

    _fields_ = [
        ("tx_buf", ctypes.c_uint64), ("rx_buf", ctypes.c_uint64), ("len", ctypes.c_uint32), ("speed_hz", ctypes.c_uint32),
        ("delay_usecs", ctypes.c_uint16), ("bits_per_word", ctypes.c_uint8), ("cs_change", ctypes.c_uint8), ("tx_nbits", ctypes.c_uint8),
        ("rx_nbits", ctypes.c_uint8), ("word_delay_usecs", ctypes.c_uint8), ("pad", ctypes.c_uint8),
    ]  # fmt: skip


def spi_message(count: int) -> int:
    """`SPI_IOC_MESSAGE(count)`: _IOW('k', 0, char[count * 32])."""
    return 1 << 30 | count * ctypes.sizeof(SpiTransfer) << 16 | ord("k") << 8


class PeripherySpi:
    """`Spi` on a `periphery.SPI` device."""

    def __init__(self, device: Any, ioctl: Callable[[int, int, Any], Any] = fcntl.ioctl) -> None:
        self._device = device
        self._ioctl = ioctl

    @property
    def fd(self) -> int:
        """The open device file."""
        return int(self._device.fd)

    def transfer(self, data: list[int], /) -> list[int]:
        """Bytes under one chip select."""
        return list(self._device.transfer(data))

    def access(self, frames: Sequence[int], /) -> int:
        """Bytes under a chip select each, in one request to the kernel; the reply to the last."""
        count = len(frames)
        out, back = (ctypes.c_uint8 * count)(*frames), (ctypes.c_uint8 * count)()
        parts = (SpiTransfer * count)()
        for index, part in enumerate(parts):
            part.tx_buf, part.rx_buf = ctypes.addressof(out) + index, ctypes.addressof(back) + index
            part.len, part.cs_change = 1, int(index < count - 1)
        self._ioctl(self._device.fd, spi_message(count), parts)
        return back[count - 1]


def open_spi(chain: ChipChain) -> PeripherySpi:
    """The SPI device of a chain; HardwareError when it cannot be opened."""
    library = periphery()
    try:
        device = library.SPI(chain.spi, SPI_MODE, chain.speed_hz)
    except OSError as error:
        raise HardwareError(
            f"SPI device {chain.spi} cannot be opened ({error}); check that the spidev driver is bound and the rights"
        ) from error
    return PeripherySpi(device)


class AlsaClocks:
    """PCLK and FSYNC of a sound device: they run while one of its two streams does."""

    def __init__(self, device: str, proc: Path = Path("/proc/asound")) -> None:
        found = ALSA_DEVICE.fullmatch(device)
        if found is None:
            raise HardwareError(f"sound device {device!r} is not hw:CARD,DEVICE; correct pcm.device of the board file")
        card, number = found["card"], found["device"]
        folder = proc / (f"card{card}" if card.isdigit() else card)
        self._status = [folder / f"pcm{number}{way}" / "sub0" / "status" for way in "pc"]

    def clocks_running(self) -> bool:
        """True while a stream is in state RUNNING."""
        return any(self._running(path) for path in self._status)

    @staticmethod
    def _running(path: Path) -> bool:
        try:
            return "RUNNING" in path.read_text("ascii", "replace").partition("\n")[0]
        except OSError:
            return False


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
    """RESET lines, lifeline relay and LEDs, held by the parent for as long as the box runs. RESET is low from the first instant on."""

    def __init__(self, board: Board) -> None:
        self._outputs: list[Gpio] = []
        self.resets: list[Gpio] = []
        """In the order of the chains; who brings up inherits them."""
        self.relay: Gpio | None = None
        self.sense: Gpio | None = None
        self.leds: dict[str, Gpio] = {}
        _HELD.append(self)
        try:
            if board.lifeline is not None:
                self.relay = self._keep(open_output(board.lifeline.relay))
                self.sense = self._keep(open_input(board.lifeline.sense)) if board.lifeline.sense is not None else None
            for chain in board.chains:
                self.resets.append(self._keep(open_output(chain.reset)))
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

    def sensed(self) -> bool | None:
        """Where the relay's contacts are: True apart; None without a sense line."""
        return self.sense.read() if self.sense is not None else None

    def release(self) -> None:
        """Give the lines back: relay first, then RESET, then the descriptors."""
        steps: list[Callable[[], None]] = [self.drop, *(partial(reset.write, False) for reset in self.resets)]
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
