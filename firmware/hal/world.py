"""The faces of drivers on board `world`: mail to the simulated chips (L3).

Theory of operation
-------------------
The board file names the parts of the world as it names devices: `spi = "world:N"` is chain N (counted from 0 in the order of the file), and
on the GPIO chip `world` line N is RESET of chain N, 8 + N its INT, 16 the lifeline relay and 17 its sense contact. All of them are requests
to the world's mail thread (`dsp/chip_mail.pyx`), answered between two blocks.
Where the board file names a loopback sound card (`pcm.world`), sound goes through the kernel: the engine has one half, the world the other.
Before the engine ticks, chip time passes only when somebody sleeps: a bring-up that waits for seconds takes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from firmware.config.board import WORLD_INT, WORLD_RELAY, WORLD_SENSE, Board, ChipChain, GpioLine, PcmBus
from firmware.errors import HardwareError

if TYPE_CHECKING:
    from firmware.dsp.chip_mail import ChipMail


BLOCKS, PREFILL = 12, 4  # of the sound card's buffers: an emulated board knows no real-time priority


class WorldSpi:
    """One chain."""

    def __init__(self, mail: ChipMail, chain: int) -> None:
        self._mail = mail
        self._chain = chain

    def transfer(self, data: list[int], /) -> list[int]:
        """Bytes under one chip select."""
        return list(self._mail.transfer(self._chain, data, split=False))

    def access(self, frames: Sequence[int], /) -> int:
        """Bytes under a chip select each; the reply to the last."""
        return self._mail.transfer(self._chain, frames, split=True)[-1]


class WorldLine:
    """One line of the GPIO chip `world`."""

    def __init__(self, mail: ChipMail, line: GpioLine) -> None:
        self._mail = mail
        self._line = line
        self._level = False

    def read(self) -> bool:
        """The level; an output's is the one written last."""
        number = self._line.line
        if number == WORLD_SENSE:
            return self._mail.sense()
        if number >= WORLD_INT and number < WORLD_RELAY:
            return self._mail.int_level(number - WORLD_INT)
        return self._level

    def write(self, value: bool, /) -> None:
        """RESET or the relay."""
        number = self._line.line
        if number == WORLD_RELAY:
            self._mail.relay(value)
        elif number < WORLD_INT:
            self._mail.reset(number, value)
        else:
            raise PermissionError(f"line {number} of the world is an input")
        self._level = value

    def poll(self, timeout: float | None = None, /) -> bool:
        """The world's lines are read, not waited for."""
        return False

    def read_event(self) -> Any:
        """The world's lines are read, not waited for."""
        raise TimeoutError("lines of the world have no edges")


class WorldClocks:
    """PCLK and FSYNC: they run while this process holds the stream."""

    def __init__(self, mail: ChipMail) -> None:
        self._mail = mail

    def start(self) -> None:
        """Open the stream."""
        self._mail.clocks(1)

    def stop(self) -> None:
        """Close it."""
        self._mail.clocks(0)

    def clocks_running(self) -> bool:
        """True while they run."""
        return self._mail.clocks()


class WorldClock:
    """Chip time that passes when somebody sleeps; only while the engine does not tick."""

    def __init__(self, mail: ChipMail) -> None:
        self._mail = mail

    def now(self) -> int:
        """Milliseconds of the chips."""
        return self._mail.now_us() // 1000

    def sleep(self, ms: int, /) -> None:
        """Let them pass."""
        self._mail.step(ms)


class WorldSeam:
    """The chips of the world as `seams.ChipSeam`."""

    def __init__(self, mail: ChipMail, pcm: PcmBus | None = None) -> None:
        self._mail = mail
        self._pcm = pcm if pcm is not None and pcm.world else None
        self._open = False
        self.clocks = WorldClocks(mail)

    def spi(self, chain: ChipChain) -> WorldSpi:
        """The chain that `world:N` names."""
        number = int(chain.spi.removeprefix("world:"))
        if number >= self._mail.chains:
            raise HardwareError(f"{chain.spi}: the world was started with {self._mail.chains} chains; restart the appliance")
        return WorldSpi(self._mail, number)

    def reset(self, chain: ChipChain) -> WorldLine:
        """RESET of a chain."""
        return WorldLine(self._mail, chain.reset)

    def scanner_fd(self, _chain: ChipChain) -> int:
        """The scanner has the world's segment itself."""
        return -1

    def bench_clock(self) -> WorldClock:
        """Time of a bring-up before the engine starts."""
        return WorldClock(self._mail)

    def start_clocks(self) -> None:
        """Open the sound card, if sound goes through one, and let PCLK and FSYNC run. HardwareError when it cannot be opened."""
        if self._pcm is not None and not self._open:
            from firmware.dsp.alsa import open_card

            open_card(self._pcm.device, self._pcm.slots, self._pcm.spare, blocks=BLOCKS, prefill=PREFILL)
            self._open = True
        self.clocks.start()

    def bind(self, engine: Any) -> None:
        """The open sound card becomes the engine's PCM seam; without one the engine has the world's segment itself."""
        if self._open:
            from firmware.dsp.alsa import bind_card

            bind_card(engine)

    def figures(self) -> dict[str, int]:
        """What the sound card lost; nothing without one."""
        if not self._open:
            return {}
        from firmware.dsp.alsa import card_figures

        return card_figures()

    def answers(self) -> bool:
        """Does the world answer?"""
        try:
            self._mail.now_us()
        except OSError:
            return False
        return True


class WorldLines:
    """What the parent holds on board `world`: the lifeline relay. RESET follows the process that brings up."""

    def __init__(self, board: Board, mail: ChipMail) -> None:
        lifeline = board.lifeline
        self._relay = WorldLine(mail, lifeline.relay) if lifeline is not None else None
        self._sense = WorldLine(mail, lifeline.sense) if lifeline is not None and lifeline.sense is not None else None
        self._resets = [WorldLine(mail, chain.reset) for chain in board.chains]

    def energise(self) -> None:
        """Separate the lifeline jacks."""
        if self._relay is not None:
            self._relay.write(True)

    def drop(self) -> None:
        """Join them."""
        if self._relay is not None:
            self._relay.write(False)

    def sensed(self) -> bool | None:
        """Where the contacts are: True apart; None without a sense line."""
        return self._sense.read() if self._sense is not None else None

    def release(self) -> None:
        """Relay without current, chips in RESET."""
        self.drop()
        for reset in self._resets:
            reset.write(False)
