"""Everything a step works with: the board's drivers, the fixture, the host, the operator (L5).

Theory of operation
-------------------
`Rig` is made by the composition root; a step knows nothing else. `Notes` is what a step writes down: numbers with limits, requirements,
facts. A number outside its limit and a requirement that does not hold are reasons to fail; a step goes on after them where that is safe, so
that one run tells all that is wrong.
Exceptions: `ChipError` of a driver fails the step with the driver's words; `FixtureError` aborts the run without judging the board;
`Unsafe` fails the step and stops the run; `Restart` ends the program because the board loses its supply, the run is resumed afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from firmware.config.board import Board, ChipChain
from firmware.errors import ConfigError
from firmware.factory.instruments import Fixture, Highway, Host, Operator
from firmware.factory.limits import Band, Limits, StepLimits
from firmware.factory.results import Number
from firmware.hal.api import FxoPort, FxsPort, LinePort
from firmware.hal.bus import Clock, Gpio, Registers
from firmware.hal.cards import Card


class Unsafe(Exception):
    """Going on could do harm."""


class Restart(Exception):
    """The board is about to lose its supply; `memory` is what the step needs afterwards."""

    def __init__(self, memory: Mapping[str, float]) -> None:
        super().__init__("the board restarts")
        self.memory = dict(memory)


class Label(msgspec.Struct, frozen=True):
    """What the label on the board says."""

    serial: str
    mac: str


class Place(NamedTuple):
    """A port of the board."""

    card: Card
    jack: str
    """As printed on the box."""
    name: str
    """For the fixture: fxo:1."""

    @property
    def title(self) -> str:
        """For people: FXO 1."""
        return self.name.upper().replace(":", " ")

    @property
    def port(self) -> LinePort:
        """Its driver."""
        return self.card.ports[self.jack]

    @property
    def registers(self) -> Registers:
        """The chip's bare registers."""
        return self.card.registers(self.jack)


class FxoPlace(Place):
    """A port towards the exchange."""

    @property
    def port(self) -> FxoPort:
        """Its driver."""
        return self.card.ports[self.jack]  # type: ignore[return-value]


class FxsPlace(Place):
    """A port towards a telephone."""

    @property
    def port(self) -> FxsPort:
        """Its driver."""
        return self.card.ports[self.jack]  # type: ignore[return-value]


@dataclass
class Rig:
    """A board on a fixture."""

    board: Board
    limits: Limits
    label: Label
    cards: Sequence[Card]
    clock: Clock
    fixture: Fixture
    highway: Highway
    host: Host
    operator: Operator
    interrupts: Mapping[str, Gpio] = field(default_factory=dict)
    """INT line of a chain, by SPI device."""
    relay: Gpio | None = None
    sense: Gpio | None = None
    leds: Mapping[str, Gpio] = field(default_factory=dict)
    button: Gpio | None = None
    set_speed: Callable[[ChipChain, int], None] = lambda chain, hertz: None
    today: str = ""
    memory: dict[str, float] = field(default_factory=dict)
    """What a step left behind before the board restarted."""

    def fxo(self) -> list[FxoPlace]:
        """Ports towards the exchange, in the order of their jacks."""
        found = [FxoPlace(card, jack, f"fxo:{jack}") for card in self.cards if card.chain.kind == "fxo" for jack in card.ports]
        return sorted(found, key=lambda place: int(place.jack))

    def fxs(self) -> list[FxsPlace]:
        """Ports towards telephones."""
        found = [FxsPlace(card, jack, f"fxs:{jack}") for card in self.cards if card.chain.kind == "fxs" for jack in card.ports]
        return sorted(found, key=lambda place: int(place.jack))

    def places(self) -> list[Place]:
        """All ports."""
        return [*self.fxo(), *self.fxs()]

    def until(self, good: Callable[[], bool], limit_ms: float, every_ms: int = 1) -> float:
        """Milliseconds until `good`; infinite when it is not within `limit_ms`."""
        began = self.clock.now()
        while not good():
            if self.clock.now() - began > limit_ms:
                return math.inf
            self.clock.sleep(every_ms)
        return float(self.clock.now() - began)

    def power_down(self) -> None:
        """Leave the lines, drop the relay, hold the chips in RESET, take the fixture off, cut the supply. Never raises."""
        actions: list[Callable[[], object]] = [card.power_down for card in self.cards]
        if self.relay is not None:
            relay = self.relay
            actions.insert(0, lambda: relay.write(False))
        actions += [lambda: self.highway.hold({}), self.fixture.part, self.highway.stop, lambda: self.fixture.supply(False)]
        for action in actions:
            try:
                action()
            except (Exception, KeyboardInterrupt) as error:  # the next line must be left, whatever this one did
                self.faults_at_end.append(f"power down: {error}")

    faults_at_end: list[str] = field(default_factory=list)


def with_unit(shown: str, unit: str) -> str:
    """A value and its unit, where it has one."""
    return f"{shown} {unit}" if unit else shown


class Notes:
    """What a step writes down."""

    def __init__(self) -> None:
        self.numbers: list[Number] = []
        self.reasons: list[str] = []
        self.facts: dict[str, str] = {}

    def number(self, name: str, value: float, unit: str, band: Band | None = None, jack: str = "", why: str = "") -> bool:
        """A measured value; False when it is outside its limit. `why` is told beside the number then."""
        value = round(value, 4) + 0.0 if math.isfinite(value) else value
        good = band is None or band.holds(value)
        low, high = (band.min, band.max) if band is not None else (None, None)
        # JSON has no infinity: "never came" is minus one where the limit is a time.
        stored = value if math.isfinite(value) else -1.0
        self.numbers.append(Number(name, stored, unit, jack, low, high, good))
        if not good and band is not None:
            shown = with_unit(f"{value:.5g}", unit) if math.isfinite(value) else "never"
            place, remedy = f"{jack}, " if jack else "", f"; {why}" if why else ""
            self.reasons.append(f"{place}{name}: {shown}, limit {with_unit(band.text(), unit)}{remedy}")
        return good

    def require(self, good: bool, reason: str, jack: str = "") -> bool:
        """A requirement without a number."""
        if not good:
            self.reasons.append(f"{jack + ': ' if jack else ''}{reason}")
        return good

    def fact(self, name: str, text: str) -> None:
        """Something that was read and has no limit."""
        self.facts[name] = text


@dataclass(frozen=True)
class Step:
    """One step of the test."""

    number: int
    """Of the list in docs/factory.md."""
    name: str
    title: str
    run: Callable[[Rig, Notes], None]
    needs: tuple[str, ...] = ()
    safety: bool = False
    """A failure stops the run: nothing may be fed after it."""
    missing: Callable[[Rig], str] = lambda rig: ""
    """Why the board has no such step; empty where it has."""

    def limits(self, limits: Limits) -> StepLimits:
        """Its part of the limits."""
        found: StepLimits = getattr(limits.steps, self.name.replace("-", "_"))
        return found


def pairs(rig: Rig) -> Iterator[list[tuple[FxsPlace, FxoPlace]]]:
    """Groups of FXS and FXO ports joined at the same time so that every port is in one."""
    fxs, fxo = rig.fxs(), rig.fxo()
    if not fxs or not fxo:
        return
    common = min(len(fxs), len(fxo))
    yield list(zip(fxs[:common], fxo[:common], strict=True))
    for phone in fxs[common:]:
        yield [(phone, fxo[0])]
    for trunk in fxo[common:]:
        yield [(fxs[0], trunk)]


def need_fxo(rig: Rig) -> str:
    """Steps for FXO ports."""
    return "" if rig.fxo() else "the board has no FXO ports"


def need_fxs(rig: Rig) -> str:
    """Steps for FXS ports."""
    return "" if rig.fxs() else "the board has no FXS ports"


def need_both(rig: Rig) -> str:
    """Steps between both kinds."""
    return need_fxo(rig) or need_fxs(rig)


def check_limits_fit(board: Board, limits: Limits) -> None:
    """ConfigError when limits are of another board."""
    if board.name != limits.board:
        raise ConfigError(f"factory.toml is of board {limits.board!r}, the board is {board.name!r}")
