"""A board's chains and ports: opened, reset, counted, brought up or attached (L3).

Theory of operation
-------------------
`Card` makes the ports of one chain from the board file. Bring-up resets the chain (all its ports), switches a daisy chain on and counts the
chips: a wrong count is a fault of the whole chain, because then no position can be trusted. After that each port stands alone: one that
fails stays out with its error, the others come into service. `attach` touches nothing.
Chips know nothing of each other; FXO and FXS chips are on chains of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from firmware.config.board import Board, ChipChain
from firmware.errors import HardwareError
from firmware.hal import si321x_registers, si3050_registers
from firmware.hal.api import Fault, FxoPort, FxsPort, PortKind, Ringing
from firmware.hal.bus import ChipError, Clock, Gpio, PcmClocks, Registers, Spi, Where
from firmware.hal.framing import SpiRegisters, count_si321x, count_si3050
from firmware.hal.gpio import ResetLine
from firmware.hal.scan import PLANS, Framing, ScanPlan
from firmware.hal.si321x import Si321x
from firmware.hal.si3050 import Si3050, remedy_of_silence

log = logging.getLogger("branchpbx.hal")


class PortSettings(msgspec.Struct, frozen=True):
    """What a site sets for a port; `calibration` is what an earlier start measured (FXS)."""

    country: str = "CN"
    ringing: Ringing = Ringing()
    calibration: tuple[int, ...] | None = None
    ring_validation: bool = False


class Card:
    """The chips of one chain."""

    def __init__(
        self,
        board: Board,
        chain: ChipChain,
        *,
        spi: Spi,
        reset: Gpio,
        clocks: PcmClocks,
        clock: Clock,
        settings: Mapping[str, PortSettings] | None = None,
    ) -> None:
        self.board = board
        self.chain = chain
        self.framing: Framing = "si3050" if chain.chip == "si3050" else "si321x-daisy" if chain.daisy else "si321x"
        self.plan: ScanPlan = PLANS[chain.chip]
        self.faults: dict[str, HardwareError] = {}
        self._spi = spi
        self._reset = ResetLine(reset, clock)
        self._clocks = clocks
        chosen = settings or {}
        self.ports: dict[str, FxoPort | FxsPort] = {
            jack: self._port(position, jack, chosen.get(jack, PortSettings()), clock) for position, jack in enumerate(chain.jacks)
        }

    def _where(self, jack: str) -> Where:
        kind: PortKind = "fxo" if self.chain.chip == "si3050" else "fxs"
        return Where(self.board.name, kind, jack, "Si3050" if kind == "fxo" else "Si321x")

    def _port(self, position: int, jack: str, settings: PortSettings, clock: Clock) -> FxoPort | FxsPort:
        where, board = self._where(jack), self.board
        if self.chain.chip == "si3050":
            return Si3050(
                self._spi, position, where, slot=board.fxo_slot(jack), pcm=board.pcm, clocks=self._clocks, clock=clock,
                country=settings.country, ring_validation=settings.ring_validation,
            )  # fmt: skip
        return Si321x(
            self._spi, position, where, slot=board.fxs_slot(jack), pcm=board.pcm, clocks=self._clocks, clock=clock,
            country=settings.country,
            linefeed=board.linefeed, ringing=settings.ringing, daisy=self.chain.daisy, calibration=settings.calibration,
        )  # fmt: skip

    def bring_up(self) -> dict[str, HardwareError]:
        """Reset the chain and bring up every port; returns the jacks that stay out, with the reason."""
        self.faults = {}
        try:
            self.probe()
        except HardwareError as error:
            log.error("%s", error)
            self._reset.hold()
            self.faults = dict.fromkeys(self.ports, error)
            return self.faults
        for jack, port in self.ports.items():
            try:
                port.bring_up()
            except HardwareError as error:
                log.error("%s", error)
                self.faults[jack] = error
        return self.faults

    def probe(self) -> int:
        """Reset, and count the chips; ChipError when they are not those of the board file. Returns the count."""
        where = self._where(self.chain.jacks[0])
        try:
            if not self._clocks.clocks_running():
                raise ChipError(where, "PCM clocks", expected="PCLK and FSYNC to run", remedy="start the PCM stream before the chips")
            self._reset.pulse()
            SpiRegisters(self._spi, self.framing, 0).enter_daisy()
            found = (
                count_si3050(self._spi, len(self.ports))
                if self.framing == "si3050"
                else count_si321x(self._spi, self.framing, len(self.ports))
            )
            if found != len(self.ports):
                first = SpiRegisters(self._spi, self.framing, min(found, len(self.ports) - 1)).read(11 if self.framing == "si3050" else 0)
                remedy = (
                    remedy_of_silence(first) if found < len(self.ports) else "the card has more chips: add their jacks to the board file"
                )
                raise ChipError(
                    where, "chain count", expected=f"{len(self.ports)} chips on {self.chain.spi}, found {found}", remedy=remedy,
                    register=11 if self.framing == "si3050" else 0, read=first,
                )  # fmt: skip
            return found
        except OSError as error:
            remedy = f"{self.chain.spi} failed ({error}); check device file, rights and wiring"
            raise ChipError(where, "chain count", expected="an SPI transfer", remedy=remedy) from error

    def registers(self, jack: str) -> Registers:
        """Bare registers of a jack's chip, for the factory test."""
        return SpiRegisters(self._spi, self.framing, self.chain.jacks.index(jack))

    def reset_values(self) -> Mapping[int, int]:
        """What registers of this chain's chips hold after RESET."""
        return si3050_registers.RESET_VALUES if self.framing == "si3050" else si321x_registers.RESET_VALUES

    def attach(self) -> dict[str, tuple[Fault, ...]]:
        """Take over running ports without a write; ports that cannot be taken are in `faults`."""
        self.faults = {}
        found: dict[str, tuple[Fault, ...]] = {}
        for jack, port in self.ports.items():
            try:
                found[jack] = port.attach()
            except HardwareError as error:
                log.error("%s", error)
                self.faults[jack] = error
        return found

    def power_down(self) -> None:
        """Leave every line, then hold the chips in RESET."""
        for port in self.ports.values():
            port.power_down()
        self._reset.hold()
