"""A board of simulated line chips with the faces a driver takes: serial bus, pins, PCM clocks, clock.

`SimBoard` builds a `ChipBoard` and hands out `SimSpi` (one chip-select assertion per call, like python-periphery's `SPI.transfer`),
`SimGpio` (`read`, `write`, `poll`, `read_event`), `SimPcmClocks` and `SimClock`. Time is the board's:
sleeping, polling and bytes let it pass.
Pins: `reset-fxo`, `reset-fxs` and `relay` are outputs, `int-fxo` and `int-fxs` inputs with falling edges. RESET is low at first.
`FxoPort` and `FxsPort` set parameters, loop and faults by name and tell states: `board.fxo[0].set(ringing=1, ring_hz=20)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from firmware.sim.chip_board import ChipBoard

BUS = {"fxo": 0, "fxs": 1}
Fact = tuple[int, int, int, int]
Note = tuple[int, int, str, int, int]


@dataclass(frozen=True, slots=True)
class SimEdge:
    """An edge as python-periphery tells it: `edge` is "falling" or "rising", `timestamp` in ns."""

    edge: str
    timestamp: int


class SimSpi:
    """One chip select."""

    def __init__(self, chips: ChipBoard, bus: int) -> None:
        self._chips = chips
        self._bus = bus

    def transfer(self, data: Sequence[int]) -> list[int]:
        """Assert the chip select over these bytes; the replies, byte for byte."""
        return self._chips.transfer(self._bus, data)

    def set(self, **values: float) -> None:
        """Set parameters and faults of the wires: `all_ff`, `all_00`, `flip_in`, `flip_out`, `slip`, `slip_next`, `int_stuck`, `resync`."""
        for name, value in values.items():
            self._chips.set("bus", self._bus, name, value)


class SimClock:
    """The board's clock in ms."""

    def __init__(self, chips: ChipBoard) -> None:
        self._chips = chips

    def now(self) -> int:
        """Milliseconds since the board was built."""
        return self._chips.ms

    def sleep(self, ms: float) -> None:
        """Let at least `ms` pass."""
        whole = int(ms)
        self._chips.step(whole + (1 if ms > whole else 0))


class SimPcmClocks:
    """PCLK and FSYNC: they run while a PCM stream is open."""

    def __init__(self, chips: ChipBoard) -> None:
        self._chips = chips

    def start(self, pclk: int = 1_024_000, fsync: int = 8000) -> None:
        """Open the stream."""
        self._chips.clocks(pclk, fsync)

    def stop(self) -> None:
        """Close it: the clocks stop."""
        self._chips.clocks(0)

    def clocks_running(self) -> bool:
        """True while the chips have clocks they can lock to."""
        return self._chips.clocks_running


class SimGpio:
    """A line of the board that only holds what is written (`relay`)."""

    def __init__(self, chips: ChipBoard, level: bool = False) -> None:
        self._chips = chips
        self._level = level

    def read(self) -> bool:
        """The level."""
        return self._level

    def write(self, value: bool) -> None:
        """Drive the line."""
        self._level = bool(value)

    def poll(self, timeout: float | None = None) -> bool:
        """An output has no edges."""
        return False

    def read_event(self) -> SimEdge:
        """An output has no edges."""
        raise TimeoutError("the line is an output")


class SimReset(SimGpio):
    """A chain's RESET line, active low."""

    def __init__(self, chips: ChipBoard, bus: int) -> None:
        super().__init__(chips)
        self._bus = bus

    def write(self, value: bool) -> None:
        """Low holds all chips of the chain in reset."""
        super().write(value)
        self._chips.pin(self._bus, not value)


class SimInt(SimGpio):
    """A chain's interrupt line, active low; falling edges are queued."""

    def __init__(self, chips: ChipBoard, bus: int) -> None:
        super().__init__(chips, True)
        self._bus = bus
        self._queue: list[SimEdge] = []

    def _gather(self) -> None:
        self._queue += [SimEdge("falling", us * 1000) for us, fell in self._chips.edges(self._bus) if fell]

    def read(self) -> bool:
        """True while nobody pulls."""
        return not self._chips.int_low(self._bus)

    def write(self, value: bool) -> None:
        """An input cannot be driven."""
        raise PermissionError("the line is an input")

    def poll(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds (None: one hour) for a falling edge."""
        left = 3_600_000 if timeout is None else int(timeout * 1000)
        self._gather()
        while not self._queue and left > 0:
            self._chips.step(1)
            self._gather()
            left -= 1
        return bool(self._queue)

    def read_event(self) -> SimEdge:
        """The oldest edge not yet read."""
        if not self._queue and not self.poll():
            raise TimeoutError("no edge came")
        return self._queue.pop(0)


class SimPort:
    """One chip with its jack."""

    KIND = ""

    def __init__(self, chips: ChipBoard, number: int) -> None:
        self._chips = chips
        self.number = number

    def set(self, **values: float) -> None:
        """Set parameters, loop and faults by name."""
        for name, value in values.items():
            self._chips.set(self.KIND, self.number, name, value)

    def get(self, name: str) -> float:
        """A parameter or fault."""
        return self._chips.get(self.KIND, self.number, name)

    @property
    def state(self) -> dict[str, float]:
        """What the chip does to the copper."""
        return self._chips.state(self.KIND, self.number)

    @property
    def fact(self) -> Fact:
        """What is on the jack: 0.1 V, 0.1 mA, 0.1 V of ringing, 0.1 mA of DC while ringing."""
        return self._chips.fact(self.KIND, self.number)

    def feed(self, fact: Fact | None, ring_ma: float = 0.0) -> None:
        """Put a fact on the jack instead of the loop model; None takes it away."""
        self._chips.feed(self.KIND, self.number, fact, ring_ma)

    def peek(self, reg: int) -> int:
        """A register, beside the bus."""
        return self._chips.peek(self.KIND, self.number, reg)

    def self_reset(self) -> None:
        """The chip resets itself."""
        self._chips.self_reset(self.KIND, self.number)


class FxoPort(SimPort):
    """A Si3050 + Si3019 with an exchange line."""

    KIND = "fxo"


class FxsPort(SimPort):
    """A Si321x with a phone."""

    KIND = "fxs"

    def peek_indirect(self, address: int) -> int:
        """An indirect word by the family's own address; -1 where there is none."""
        return self._chips.peek_indirect(self.number, address)


class SimBoard:
    """A board: `spi`, `gpio`, `pcm`, `clock` for drivers; `fxo`, `fxs`, `illegal`, `history` for tests."""

    def __init__(self, fxo: int = 4, fxs: int = 4, *, family: int = 3215, seed: int = 1) -> None:
        self.chips = ChipBoard(fxo, fxs, family=family, seed=seed)
        self.spi = {name: SimSpi(self.chips, bus) for name, bus in BUS.items()}
        self.gpio: dict[str, SimGpio] = {"relay": SimGpio(self.chips)}
        for name, bus in BUS.items():
            self.gpio[f"reset-{name}"] = SimReset(self.chips, bus)
            self.gpio[f"int-{name}"] = SimInt(self.chips, bus)
        self.pcm = SimPcmClocks(self.chips)
        self.clock = SimClock(self.chips)
        self.fxo = [FxoPort(self.chips, number) for number in range(fxo)]
        self.fxs = [FxsPort(self.chips, number) for number in range(fxs)]

    def power_up(self, pclk: int = 1_024_000) -> None:
        """Clocks first, then RESET high on both chains."""
        self.pcm.start(pclk)
        self.clock.sleep(10)
        for name in BUS:
            self.gpio[f"reset-{name}"].write(True)

    def step(self, ms: int = 1) -> None:
        """Let time pass."""
        self.chips.step(ms)

    @property
    def illegal(self) -> list[Note]:
        """Every access a data sheet forbids: (microseconds, chip, kind, register, value); FXS chips count from 100."""
        return self.chips.illegal()

    @property
    def history(self) -> list[Note]:
        """What happened on the copper: (microseconds, chip, kind, state, measure)."""
        return self.chips.history()
