"""Puts a rig together from a bench: the board's devices and everything outside it (L5).

A *bench* is anything that gives the devices of `Bench`: the hardware one of `app/factory.py`, or the simulated stand, which is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from firmware.config.board import Board, ChipChain
from firmware.factory.instruments import Fixture, Highway, Host, Operator
from firmware.factory.limits import Limits
from firmware.factory.rig import Label, Rig, check_limits_fit
from firmware.hal.bus import Clock, Gpio, SoleUser, Spi
from firmware.hal.cards import Card, PortSettings


class Bench(Protocol):
    """Devices of a board on a fixture."""

    @property
    def clock(self) -> Clock:
        """Milliseconds."""
        ...

    @property
    def highway(self) -> Highway:
        """The PCM bus."""
        ...

    @property
    def fixture(self) -> Fixture:
        """Everything outside."""
        ...

    @property
    def host(self) -> Host:
        """The board's computer."""
        ...

    def spi(self, chain: ChipChain, /) -> Spi:
        """The SPI device of a chain."""
        ...

    def line(self, name: str, /) -> Gpio | None:
        """A GPIO line by purpose: `reset-0`, `int-1` (number of the chain), `relay`, `sense`, `led-NAME`, `button`; None: there is none."""
        ...

    def set_speed(self, chain: ChipChain, hertz: int, /) -> None:
        """SPI speed of a chain."""
        ...


def rig_of(bench: Bench, board: Board, limits: Limits, label: Label, operator: Operator, today: str = "") -> Rig:
    """A rig whose chips have not been touched yet."""
    check_limits_fit(board, limits)
    cards, interrupts = [], {}
    for number, chain in enumerate(board.chains):
        reset = bench.line(f"reset-{number}")
        assert reset is not None, "every chain has a RESET line"
        settings = {jack: PortSettings(country=limits.country) for jack in chain.jacks}
        cards.append(Card(board, chain, spi=bench.spi(chain), reset=reset, clocks=bench.highway, clock=bench.clock, settings=settings))
        interrupt = bench.line(f"int-{number}") if chain.interrupt is not None else None
        if interrupt is not None:
            interrupts[chain.spi] = interrupt
    lifeline = board.lifeline
    return Rig(
        board=board, limits=limits, label=label, cards=cards, clock=bench.clock, fixture=bench.fixture, highway=bench.highway,
        host=bench.host, operator=operator, interrupts=interrupts, relay=bench.line("relay") if lifeline is not None else None,
        sense=bench.line("sense") if lifeline is not None and lifeline.sense is not None else None,
        leds={name: led for name in board.leds if (led := bench.line(f"led-{name}")) is not None},
        button=bench.line("button") if limits.steps.panel.button is not None else None, set_speed=bench.set_speed, today=today,
    )  # fmt: skip


class SimulatedBench:
    """The devices of a simulated stand under the names of a board file. The stand is handed in: nothing here imports it."""

    def __init__(self, stand: Any, board: Board) -> None:
        self.stand = stand
        self._kinds = [chain.kind for chain in board.chains]
        self.clock: Clock = stand.clock
        self.highway: Highway = stand.highway
        self.fixture: Fixture = stand.fixture
        self.host: Host = stand.host

    def spi(self, chain: ChipChain) -> Spi:
        """The SPI device of a chain."""
        return SoleUser(self.stand.spi(chain.kind))

    def line(self, name: str) -> Gpio | None:
        """A GPIO line by purpose."""
        purpose, _, rest = name.partition("-")
        if purpose in ("reset", "int"):
            name = f"{purpose}-{self._kinds[int(rest)]}"
        line: Gpio = self.stand.line(name)
        return line

    def set_speed(self, chain: ChipChain, hertz: int) -> None:
        """Bytes take their time."""
        self.stand.board.spi[chain.kind].set(byte_us=8e6 / hertz + 1)


StandMaker = Callable[..., Any]


def simulated(maker: StandMaker, board: Board, *, seed: int, faults: dict[str, float], mac: str) -> SimulatedBench:
    """A simulated stand for a board file."""
    kinds = {"fxo": len(board.slots_fxo), "fxs": len(board.slots_fxs)}
    lifeline = (int(board.lifeline.fxo), int(board.lifeline.fxs)) if board.lifeline is not None else None
    stand = maker(
        kinds["fxo"], kinds["fxs"], lifeline=lifeline, pclk=board.pcm.clock_khz * 1000,
        seed=seed, faults=faults, mac=mac,
    )  # fmt: skip
    return SimulatedBench(stand, board)
