"""A board on a simulated test fixture: what `branchpbx factory --simulated` and its tests stand on.

Theory of operation
-------------------
`SimStand` builds the chips of a board (`chip_face.SimBoard`) with component tolerances drawn from a seed, and gives out what the factory
test is given on hardware: SPI devices, GPIO lines, the PCM highway, the fixture's instruments, the board's computer, a person. Nothing here
knows the test or its limits: drivers move registers, chips move copper, the instruments look at the copper.
Cables join the loop models of two ports (feed, current, polarity) each millisecond and their speech in `fixture_copper`.
`faults` names what is broken, with a jack after a colon where it belongs to one: {"no-converter:2": 1}. `FAULTS` lists all of them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import NamedTuple

from firmware.errors import HardwareError
from firmware.sim.chip_face import SimBoard, SimGpio, SimPort
from firmware.sim.fixture_copper import Copper
from firmware.sim.fixture_instruments import DAA_OHMS, DAA_VOLTS, SimFixture, SimHost, SimPerson

BLOCK = 80

# fault: kind of chip, parameter, value when the fault is 1 (otherwise the fault's own value)
CHIP_FAULTS = {
    "dead-fxo": ("fxo", "fault_reply", 1.0), "no-link": ("fxo", "fault_link", 1.0), "wrong-line-side": ("fxo", "line_type", 1.0),
    "hook-stuck": ("fxo", "fault_hook", 1.0), "deaf-fxo": ("fxo", "threshold", 20.0), "chatter": ("fxo", "fault_chatter", 0.9),
    "line-meter": ("fxo", "lvs_gain", 1.2), "dead-fxs": ("fxs", "fault_reply", 1.0), "old-fxs": ("fxs", "revision", 1.0),
    "no-converter": ("fxs", "fault_no_rise", 1.0), "leaky-supply": ("fxs", "fault_leak", 1.0),
    "endless-calibration": ("fxs", "fault_calibration", 1.0), "poor-feed": ("fxs", "feed_ohms", 2500.0),
    "shorted-fxs": ("fxs", "shorted", 1.0),
}  # fmt: skip
COPPER_FAULTS = {
    "noisy-fxo": ("fxo", "noise_dbm0", -50.0), "noisy-fxs": ("fxs", "noise_dbm0", -50.0), "echo-fxo": ("fxo", "erl_db", 7.0),
    "echo-fxs": ("fxs", "erl_db", 7.0), "weak-fxo": ("fxo", "loss_db", 3.0), "dull-fxo": ("fxo", "low_pass", 0.55),
    "bent-fxo": ("fxo", "bend", 1.9), "crosstalk-fxo": ("fxo", "crosstalk_db", 45.0), "notch-fxo": ("fxo", "notch_hz", 1477.0),
}  # fmt: skip
BUS_FAULTS = {
    "spi-flips-fxo": ("fxo", "flip_in", 3e-3), "spi-flips-fxs": ("fxs", "flip_in", 3e-3), "int-stuck-fxo": ("fxo", "int_stuck", 1.0),
    "int-stuck-fxs": ("fxs", "int_stuck", 1.0),
}  # fmt: skip
BOARD_FAULTS = (
    "over-current", "hungry-slic", "rail-low", "shorted-fxo", "swapped-fxs", "swapped-fxo", "weak-ring", "slow-ring", "series-fxo",
    "reset-open-fxo", "reset-open-fxs", "reset-crossed", "int-open-fxo", "int-open-fxs", "clock-drift", "clocks-dead", "xrun",
    "slot-clash", "slot-shift", "relay-welded", "relay-dead", "relay-ohms", "sense-wrong", "led-dead", "button-dead", "eeprom-dead",
    "eeprom-unprotected", "half-duplex", "packet-loss", "foreign-mac", "rtc-slow", "rtc-battery", "emmc-bad", "usb-missing", "hot",
    "watchdog-dead", "watchdog-relay", "onhook-deaf", "fixture-drift",
)
FAULTS = (*CHIP_FAULTS, *COPPER_FAULTS, *BUS_FAULTS, *BOARD_FAULTS)


class Cable(NamedTuple):
    """Between two jacks."""

    fxs: int
    fxo: int
    crossed: bool


class SimStand:
    """A board, a fixture, a person."""

    def __init__(
        self, fxo: int = 4, fxs: int = 4, *,
        lifeline: tuple[int, int] | None = (1, 1), pclk: int = 1_024_000, seed: int = 1, faults: Mapping[str, float] | None = None,
        mac: str = "70:B3:D5:00:00:01", tolerances: bool = True,
    ) -> None:  # fmt: skip
        self.board = SimBoard(fxo, fxs, seed=seed)
        self.chips = self.board.chips
        self.faults = dict(faults or {})
        self.lifeline = lifeline
        self.pclk = pclk
        self.dice = random.Random(seed)
        self.spread = 1.0 if tolerances else 0.0
        self.ports: dict[str, list[SimPort]] = {"fxo": list(self.board.fxo), "fxs": list(self.board.fxs)}
        self.copper = Copper(fxo + fxs, seed)
        self.cables: list[Cable] = []
        self.seen: dict[str, object] = {}
        self.crossed_feed: dict[int, float] = {}
        self.relay = False
        self.lines: dict[str, SimGpio] = {}
        self.pressed = False
        for fault in self.faults:
            if fault.partition(":")[0] not in FAULTS:
                raise HardwareError(f"fault {fault!r} is unknown; there are {', '.join(sorted(FAULTS))}")
        self._draw()
        self.clock = SimStandClock(self)
        self.highway = SimHighway(self)
        self.fixture = SimFixture(self)
        self.host = SimHost(self, mac)
        self.person = SimPerson(self)

    # --- what is broken, and by how much parts differ -----------------------------------------------------------------------

    def fault(self, name: str, jack: int | str | None = None) -> float:
        """Size of a fault, of the board or of one jack; 0 when it is not there."""
        return self.faults.get(name if jack is None else f"{name}:{jack}", 0.0)

    def vary(self, nominal: float, sigma: float, most: float) -> float:
        """A part's value: normal around its nominal, cut off."""
        return nominal + self.spread * max(-most, min(most, self.dice.gauss(0.0, sigma)))

    def _draw(self) -> None:
        for trunk in self.board.fxo:
            trunk.set(lvs_gain=self.vary(1.0, 0.025, 0.08), threshold=self.vary(0.5, 0.2, 0.45))
        for phone in self.board.fxs:
            phone.set(rise_volts_per_ms=self.vary(0.5, 0.07, 0.15), decay_ms=self.vary(600, 50, 120), feed_ohms=self.vary(160, 5, 12))
            phone.set(ren=0.0)
        for port in range(self.chips.fxo_count + self.chips.fxs_count):
            for name, nominal, sigma, most in (
                ("loss_db", 0.05, 0.15, 0.4), ("erl_db", 23.0, 2.5, 5.0), ("noise_dbm0", -75.0, 1.5, 4.0), ("crosstalk_db", 80.0, 3.0, 8.0),
                ("low_pass", 0.93, 0.01, 0.025), ("high_pass_hz", 45.0, 8.0, 20.0), ("bend", 0.1, 0.03, 0.08),
            ):  # fmt: skip
                self.copper.set(port, name, self.vary(nominal, sigma, most))
        self.supply_factor = self.vary(1.0, 0.03, 0.09)
        self.ppm = self.vary(0.0, 12.0, 30.0)
        self.rails = {"12V": self.vary(12, 0.1, 0.35), "5V": self.vary(5, 0.04, 0.15), "3V3": self.vary(3.3, 0.03, 0.1)}
        self.meter_factor = self.vary(1.0, 0.002, 0.005) * (1.0 + self.fault("fixture-drift"))
        self.contact_ohms = self.vary(0.35, 0.1, 0.25) + self.fault("relay-ohms")
        self.ring_ohms = self.vary(160, 10, 30)
        self._sound: dict[str, float] = {}
        for fault, size in self.faults.items():
            name, _, jack = fault.partition(":")
            for table in (CHIP_FAULTS, COPPER_FAULTS, BUS_FAULTS):
                if name in table:
                    kind, parameter, value = table[name]
                    self._sound[fault] = self._value(table is COPPER_FAULTS, kind, jack, parameter)
                    self._set(table is COPPER_FAULTS, kind, jack, parameter, value if size == 1 else size)

    def _value(self, copper: bool, kind: str, jack: str, parameter: str) -> float:
        if copper:
            return self.copper.get(self.number(kind, int(jack) - 1), parameter)
        return self.ports[kind][int(jack) - 1].get(parameter) if jack else 0.0

    def repair(self) -> None:
        """Put everything right that was broken; chips and wires keep their tolerances."""
        for fault in self.faults:
            name, _, jack = fault.partition(":")
            for table in (CHIP_FAULTS, COPPER_FAULTS, BUS_FAULTS):
                if name in table:
                    kind, parameter, _ = table[name]
                    self._set(table is COPPER_FAULTS, kind, jack, parameter, self._sound[fault])
        self.faults.clear()

    def _set(self, copper: bool, kind: str, jack: str, parameter: str, value: float) -> None:
        if copper:
            self.copper.set(self.number(kind, int(jack) - 1), parameter, value)
        elif jack:
            self.ports[kind][int(jack) - 1].set(**{parameter: value})
        else:
            self.board.spi[kind].set(**{parameter: value})

    def number(self, kind: str, index: int) -> int:
        """Port number on copper and highway: FXO first."""
        return index if kind == "fxo" else self.chips.fxo_count + index

    # --- lines ---------------------------------------------------------------------------------------------------------------

    def line(self, name: str) -> SimGpio:
        """A GPIO line by purpose: `reset-fxo`, `int-fxs`, `relay`, `sense`, `led-NAME`, `button`, `protect`."""
        if name not in self.lines:
            self.lines[name] = self._line(name)
        return self.lines[name]

    def _line(self, name: str) -> SimGpio:
        purpose, _, rest = name.partition("-")
        if purpose == "reset":
            return _Reset(self, rest)
        if purpose == "int":
            return _Silent(self.chips, True) if self.fault(f"int-open-{rest}") else self.board.gpio[name]
        if name in ("relay", "sense", "button"):
            return _Wired(self, name)
        return SimGpio(self.chips)

    def spi(self, kind: str) -> object:
        """The SPI device of a chain."""
        return self.board.spi[kind]

    # --- copper ------------------------------------------------------------------------------------------------------------

    @property
    def contacts_open(self) -> bool:
        """True while the lifeline relay separates its jacks (and connects them to their chips)."""
        return self.relay and not self.fault("relay-dead") and not self.fault("relay-welded")

    def cut(self, kind: str, index: int) -> bool:
        """True while the lifeline relay keeps a jack from its chip."""
        if self.lifeline is None or self.contacts_open:
            return False
        return index == self.lifeline[0 if kind == "fxo" else 1] - 1

    def connect(self, fxs: int, fxo: int, crossed: bool) -> None:
        """A cable."""
        self.cables.append(Cable(fxs, fxo, crossed))
        self.copper.join(self.number("fxo", fxo), self.number("fxs", fxs), crossed)

    def couple(self) -> None:
        """Bring both ends of every cable to the same volts and amperes."""
        for cable in self.cables:
            phone, trunk = self.board.fxs[cable.fxs], self.board.fxo[cable.fxo]
            feeding, closed = phone.state, bool(trunk.state["closed"])
            if self.cut("fxs", cable.fxs) or self.cut("fxo", cable.fxo):
                phone.set(lifted=0)
                trunk.set(opened=1)
                continue
            volts, lfs = feeding["open_volts"], int(feeding["lfs"])
            amps = 0.0
            state = (volts, lfs, closed)
            if self.seen.get(str(cable)) == state:
                continue
            self.seen[str(cable)] = state
            if abs(volts) > DAA_VOLTS:
                ohms = phone.get("feed_ohms")
                amps = min(feeding["limit_ma"] / 1000.0, (abs(volts) - DAA_VOLTS) / (ohms + DAA_OHMS))
                trunk.set(feed_volts=abs(volts), ohms=max(1.0, (abs(volts) - DAA_VOLTS) / amps - DAA_OHMS), opened=0)
                trunk.set(reversed=float((volts < 0) != cable.crossed))
            else:
                trunk.set(opened=1)
            if closed and amps > 0:
                phone.set(lifted=1, phone_ohms=DAA_VOLTS / amps + DAA_OHMS, loop_ohms=0)
            else:
                phone.set(lifted=0)

    def pass_ms(self, ms: int) -> None:
        """Let time pass on copper."""
        if not self.cables:
            self.board.step(ms)
            return
        for _ in range(ms):
            self.couple()
            self.board.step(1)

    def part(self) -> None:
        """Take everything off the jacks."""
        self.cables.clear()
        self.seen.clear()
        self.copper.part()
        for index, trunk in enumerate(self.board.fxo):
            trunk.set(opened=1, ringing=0, feed_volts=0, reversed=0)
            self.crossed_feed[index] = 0.0
        for phone in self.board.fxs:
            phone.set(lifted=0, ren=0, cut=0)

    def die(self) -> None:
        """The board loses power: clocks stop, chips are reset, the relay falls."""
        self.highway.stop()
        for kind in ("fxo", "fxs"):
            self.board.gpio[f"reset-{kind}"].write(False)
        self.relay = False


class SimStandClock:
    """The board's clock, with cables."""

    def __init__(self, stand: SimStand) -> None:
        self._stand = stand

    def now(self) -> int:
        """Milliseconds."""
        return self._stand.chips.ms

    def sleep(self, ms: float) -> None:
        """Let at least `ms` pass; a held tone goes on."""
        whole = math.ceil(ms)
        self._stand.pass_ms(whole)


class _Reset(SimGpio):
    """A RESET line and what can be wrong with it."""

    def __init__(self, stand: SimStand, kind: str) -> None:
        super().__init__(stand.chips)
        self._stand, self._kind, self._released = stand, kind, False

    def write(self, value: bool) -> None:
        """Low resets the chain."""
        super().write(value)
        if not value and self._released and self._stand.fault(f"reset-open-{self._kind}"):
            return
        self._released = self._released or value
        if self._stand.fault("reset-crossed"):
            for line in ("reset-fxo", "reset-fxs"):
                self._stand.board.gpio[line].write(value)
        else:
            self._stand.board.gpio[f"reset-{self._kind}"].write(value)


class _Silent(SimGpio):
    """An INT line that is broken."""

    def poll(self, timeout: float | None = None) -> bool:
        """Nothing ever comes."""
        self._chips.step(int(1000 * (timeout or 0.0)))
        return False


class _Wired(SimGpio):
    """Relay coil, its sense contact, the button."""

    def __init__(self, stand: SimStand, name: str) -> None:
        super().__init__(stand.chips)
        self._stand, self._name = stand, name

    def write(self, value: bool) -> None:
        """Only the coil can be driven; contacts take 5 ms."""
        if self._name != "relay":
            raise PermissionError("the line is an input")
        super().write(value)
        self._stand.relay = bool(value)
        self._stand.pass_ms(5)

    def read(self) -> bool:
        """What stands on the line."""
        if self._name == "sense":
            return self._stand.contacts_open != bool(self._stand.fault("sense-wrong"))
        if self._name == "button":
            self._stand.pass_ms(10)
            return self._stand.pressed
        return super().read()


class SimHighway:
    """The PCM stream."""

    def __init__(self, stand: SimStand) -> None:
        self._stand = stand
        self._lines = b""
        self._held: dict[int, bytes] = {}
        self._position = 0
        self.xruns = 0

    def start(self) -> None:
        """Clocks run from now on."""
        if not self._stand.fault("clocks-dead"):
            self._stand.board.pcm.start(self._stand.pclk)
        self.xruns = 0

    def stop(self) -> None:
        """They stop."""
        self._stand.board.pcm.stop()

    def clocks_running(self) -> bool:
        """True while they run."""
        return self._stand.board.pcm.clocks_running()

    def exchange(self, play: Mapping[int, bytes], samples: int) -> list[bytes]:
        """Send and return what every slot brought."""
        captured, _ = self.run(play, samples)
        return captured

    def hold(self, play: Mapping[int, bytes]) -> None:
        """Play these over and over wherever nothing else is sent."""
        self._held = {slot: data for slot, data in play.items() if data}
        self._position = 0

    def run(self, play: Mapping[int, bytes], samples: int) -> tuple[list[bytes], list[bytes]]:
        """The same, with what each port put on its wires."""
        stand, chips = self._stand, self._stand.chips
        channels, ports = chips.channels, chips.fxo_count + chips.fxs_count
        captured, spoken = [bytearray() for _ in range(channels)], [bytearray() for _ in range(ports)]
        deaf = self._deaf()
        for at in range(0, samples, BLOCK):
            count = min(BLOCK, samples - at)
            size = 2 * count
            block = bytearray(size * channels)
            for slot in self._held:
                block[size * slot : size * (slot + 1)] = self._repeated(slot, count)
            for slot, data in play.items():
                block[size * slot : size * (slot + 1)] = data[2 * at : 2 * at + size].ljust(size, b"\0")
            self._position += count
            lines = bytearray(self._lines) if len(self._lines) == size * ports else bytearray(size * ports)
            for port in deaf:
                lines[size * port : size * (port + 1)] = bytes(size)
            back, outward = chips.audio(bytes(block), bytes(lines))
            self._lines = stand.copper.block(outward)
            for slot in range(channels):
                captured[slot] += back[size * slot : size * (slot + 1)]
            for port in range(ports):
                spoken[port] += outward[size * port : size * (port + 1)]
            stand.couple()
            stand.board.step(max(1, count // 8))
        if stand.fault("xrun"):
            self.xruns += 1
        return self._misplaced([bytes(one) for one in captured]), [bytes(one) for one in spoken]

    def _repeated(self, slot: int, count: int) -> bytes:
        held = self._held[slot]
        at = 2 * self._position % len(held)
        return (held[at:] + held * (2 * count // len(held) + 1))[: 2 * count]

    def _deaf(self) -> list[int]:
        """Ports that hear nothing now: cut off by the relay, or FXO ports that are deaf on hook."""
        stand = self._stand
        found = [stand.number(kind, index) for kind in ("fxo", "fxs") for index in range(len(stand.ports[kind])) if stand.cut(kind, index)]
        for index, trunk in enumerate(stand.board.fxo):
            if stand.fault("onhook-deaf", index + 1) and not trunk.state["closed"]:
                found.append(index)
        return found

    def _misplaced(self, captured: list[bytes]) -> list[bytes]:
        """Faults of the bus: a chip that speaks too long, a frame pulse in the wrong place."""
        for slot in range(len(captured)):
            if self._stand.fault("slot-clash", slot) and slot + 1 < len(captured):
                captured[slot + 1] = bytes(a | b for a, b in zip(captured[slot], captured[slot + 1], strict=True))
        return captured[1:] + captured[:1] if self._stand.fault("slot-shift") else captured
