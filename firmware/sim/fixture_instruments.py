"""Instruments, computer and person of a simulated test fixture (`fixture.SimStand`).

Theory of operation. Every instrument looks at the copper of the simulated board (facts of the loop models, what chips drive), never at the
drivers; each adds the error of its own (`meter_factor`). Feeders and loads set the loop models. The computer is a memory, a clock and
some answers; the person does what the screen says and answers truthfully.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from firmware.errors import HardwareError

if TYPE_CHECKING:
    from firmware.sim.fixture import SimStand

EPOCH = 1_790_000_000.0
NOMINAL_IDLE_MA, NOMINAL_SLIC_MA = 300.0, 80.0
DAA_VOLTS, DAA_OHMS = 6.0, 50.0
OPEN_OHMS = 1e9


class SimEthernet(NamedTuple):
    """A network port."""

    mbit: float
    full_duplex: bool
    mac: str


class SimFixture:
    """Feeders, loads, meters, relays, tones, counter."""

    def __init__(self, stand: SimStand) -> None:
        self._stand = stand
        self._on = True
        self._watched = (math.nan, False)

    def _jack(self, name: str) -> tuple[str, int]:
        kind, _, number = name.partition(":")
        if kind not in ("fxo", "fxs") or not number.isdigit() or not 0 < int(number) <= len(self._stand.ports[kind]):
            raise HardwareError(f"the fixture has no jack {name!r}")
        return kind, int(number) - 1

    def identify(self) -> str:
        """Maker, model, serial, version."""
        return "BranchPBX,simulated fixture,0,1"

    def reset(self) -> None:
        """Everything off and open."""
        self._stand.part()
        self._on = True
        self._stand.pass_ms(20)

    def supply(self, on: bool) -> None:
        """The board's supply."""
        self._on = bool(on)
        if not on:
            self._stand.part()
            self._stand.die()

    def supply_milliamps(self) -> float:
        """What the board takes."""
        stand = self._stand
        if not self._on:
            return 0.0
        if stand.fault("over-current"):
            return 2600.0
        feeding = sum(1 for phone in stand.board.fxs if phone.state["powered"] and phone.state["lfs"])
        total = NOMINAL_IDLE_MA + feeding * NOMINAL_SLIC_MA + (200.0 * stand.fault("hungry-slic") if feeding else 0.0)
        return total * stand.supply_factor * stand.meter_factor

    def rail_volts(self, rail: str) -> float:
        """A rail."""
        if rail not in self._stand.rails:
            raise HardwareError(f"the fixture has no test point {rail!r}")
        volts = self._stand.rails[rail] * (0.9 if self._stand.fault("rail-low") and rail == "5V" else 1.0)
        return volts if self._on else 0.0

    def power_cycle(self, seconds: float) -> None:
        """Off for so long."""
        self._stand.die()
        self._stand.pass_ms(int(1000 * seconds))

    def watch_reset(self) -> None:
        """Look at RESET from now on."""
        self._watched = (math.nan, False)

    def starved(self) -> None:
        """The board's watchdog was started and nobody kicks it."""
        stand = self._stand
        if stand.fault("watchdog-dead"):
            stand.pass_ms(90_000)
            return
        stand.pass_ms(30_000)
        stand.die()
        self._watched = (30.0, not stand.contacts_open and not stand.fault("watchdog-relay"))

    def reset_seen(self) -> tuple[float, bool]:
        """When it fell, and whether the lifeline was joined."""
        return self._watched

    def feed(self, jack: str, volts: float, ohms: float, limit_ma: float) -> None:
        """An exchange line."""
        _, index = self._jack(jack)
        stand = self._stand
        trunk = stand.board.fxo[index]
        swapped = bool(stand.fault("swapped-fxo", index + 1))
        ohms += stand.fault("series-fxo", index + 1)
        if volts == 0 or stand.cut("fxo", index):
            trunk.set(opened=1, feed_volts=0)
        else:
            least = max(0.0, (abs(volts) - DAA_VOLTS) / (limit_ma / 1000.0) - DAA_OHMS)
            trunk.set(opened=0, feed_volts=abs(volts), ohms=max(ohms, least), reversed=float((volts < 0) != swapped))
        stand.crossed_feed[index] = volts
        stand.pass_ms(1)

    def ring(self, jack: str, volts_rms: float, hertz: float) -> None:
        """Ringing on an exchange line."""
        _, index = self._jack(jack)
        ringing = volts_rms > 0 and not self._stand.cut("fxo", index)
        self._stand.board.fxo[index].set(ringing=float(ringing), ring_volts=volts_rms, ring_hz=hertz, ring_on_ms=0, ring_off_ms=0)
        self._stand.pass_ms(1)

    def load(self, jack: str, ohms: float, ren: float) -> None:
        """A telephone."""
        _, index = self._jack(jack)
        if self._stand.cut("fxs", index):
            ohms, ren = math.inf, 0.0
        lifted = ohms < 1e8
        self._stand.board.fxs[index].set(
            lifted=float(lifted), phone_ohms=ohms if lifted else 300.0, loop_ohms=0, ren=ren,
        )  # fmt: skip
        self._stand.pass_ms(1)

    def volts(self, jack: str) -> float:
        """DC on a jack, from the copper."""
        kind, index = self._jack(jack)
        self._stand.pass_ms(20)
        if self._stand.cut(kind, index):
            return 0.0
        sign = -1.0 if self._stand.fault(f"swapped-{kind}", index + 1) else 1.0
        return sign * self._stand.ports[kind][index].fact[0] / 10.0 * self._stand.meter_factor

    def milliamps(self, jack: str) -> float:
        """DC through a jack."""
        kind, index = self._jack(jack)
        self._stand.pass_ms(1)
        if self._stand.cut(kind, index):
            return 0.0
        return abs(self._stand.ports[kind][index].fact[1]) / 10.0 * self._stand.meter_factor

    def ringing(self, jack: str) -> tuple[float, float]:
        """Effective volts over the load and frequency, from a second of samples."""
        stand = self._stand
        _, index = self._jack(jack)
        phone = stand.board.fxs[index]
        ren = phone.get("ren")
        squares, crossings, before = 0.0, [], 0.0
        for ms in range(1000):
            stand.pass_ms(1)
            volts = phone.state["ring_volts"] if phone.state["lfs"] == 4 and not stand.cut("fxs", index) else 0.0
            squares += volts * volts
            if before < 0.0 <= volts:
                crossings.append(ms - volts / (volts - before))
            before = volts
        hertz = 1000.0 * (len(crossings) - 1) / (crossings[-1] - crossings[0]) if len(crossings) > 2 else 0.0
        hertz *= 0.94 if stand.fault("slow-ring", index + 1) else 1.0
        source = stand.ring_ohms + (2000.0 if stand.fault("weak-ring", index + 1) else 0.0)
        share = 1.0
        if ren > 0 and hertz > 0:
            real, reactive = 7000.0 / ren, 1.0 / (2 * math.pi * hertz * 8e-6 * ren)
            share = math.hypot(real, reactive) / math.hypot(real + source, reactive)
        return math.sqrt(squares / 1000.0) * share * stand.meter_factor, hertz

    def ohms(self, one: str, other: str) -> float:
        """Across a jack or between two."""
        stand = self._stand
        (kind, index), (kind_2, index_2) = self._jack(one), self._jack(other)
        stand.pass_ms(20)
        if one == other:
            if stand.fault(f"shorted-{kind}", index + 1):
                return 5.0
            return 4.7e6 if kind == "fxo" else 1.2e6
        pair = {("fxo", stand.lifeline[0] - 1), ("fxs", stand.lifeline[1] - 1)} if stand.lifeline else set()
        if {(kind, index), (kind_2, index_2)} != pair:
            return OPEN_OHMS
        welded, dead = stand.fault("relay-welded"), stand.fault("relay-dead")
        return stand.contact_ohms if welded or dead or not stand.relay else 3e8

    def join(self, one: str, other: str, crossed: bool) -> None:
        """A cable between an FXS and an FXO jack."""
        places = dict((self._jack(one), self._jack(other)))
        if set(places) != {"fxo", "fxs"}:
            raise HardwareError(f"cables join an FXO with an FXS jack, not {one} with {other}")
        stand = self._stand
        turned = crossed
        for kind, index in places.items():
            turned = turned != bool(stand.fault(f"swapped-{kind}", index + 1))
        stand.connect(places["fxs"], places["fxo"], turned)
        stand.pass_ms(20)

    def part(self) -> None:
        """Take everything off."""
        self._stand.part()
        self._stand.pass_ms(20)

    def send_tone(self, jack: str, hertz: float, dbm0: float) -> None:
        """A tone on a jack."""
        kind, index = self._jack(jack)
        self._stand.copper.source(self._stand.number(kind, index), hertz, dbm0 + self._stand.fault("fixture-drift") * 20)

    def hertz(self, point: str) -> float:
        """A clock of the PCM bus, by the counter's own oven."""
        nominal = {"bit": float(self._stand.pclk), "frame": 8000.0}
        if point not in nominal:
            raise HardwareError(f"the counter has no input {point!r}")
        running = self._stand.board.pcm.clocks_running()
        return nominal[point] * (1 + (self._stand.ppm + self._stand.fault("clock-drift")) * 1e-6) if running else 0.0

    def tone_level(self, jack: str, hertz: float) -> float:
        """Level of a tone from the board, while it plays one."""
        kind, index = self._jack(jack)
        _, spoken = self._stand.highway.run({}, 2400)
        heard = array("h")
        heard.frombytes(spoken[self._stand.number(kind, index)])
        return level_of(heard[400:], hertz)


def level_of(samples: Sequence[int], hertz: float) -> float:
    """Level of a tone in dBm0, by correlation."""
    count = len(samples)
    if not count:
        return -120.0
    step = 2 * math.pi * hertz / 8000.0
    real = sum(value * math.cos(step * at) for at, value in enumerate(samples))
    imaginary = sum(value * math.sin(step * at) for at, value in enumerate(samples))
    peak = 2 * math.hypot(real, imaginary) / count
    return 20 * math.log10(peak / 22750.0) if peak > 0.03 else -120.0


class SimHost:
    """The board's computer."""

    def __init__(self, stand: SimStand, mac: str) -> None:
        self._stand = stand
        self._mac = mac
        self._memory = bytearray(b"\xff" * 256)
        self._protected = False
        self._rtc = 0.0
        self._rtc_at = 0.0

    def eeprom_read(self, size: int) -> bytes:
        """From its first byte."""
        return bytes(self._memory[:size])

    def eeprom_write(self, data: bytes) -> None:
        """From its first byte."""
        if self._protected and not self._stand.fault("eeprom-unprotected"):
            raise OSError(5, "write protected")
        self._memory[: len(data)] = data
        if self._stand.fault("eeprom-dead"):
            self._memory[13] ^= 0x20

    def protect(self, on: bool) -> None:
        """Write protection."""
        self._protected = on

    def ethernet(self, device: str) -> SimEthernet:
        """After the link is up."""
        mac = "70:B3:D5:FF:00:99" if self._stand.fault("foreign-mac") else self._mac
        return SimEthernet(100.0, not self._stand.fault("half-duplex"), mac)

    def traffic(self, peer: str, megabytes: int) -> int:
        """Packets lost."""
        self._stand.pass_ms(85 * megabytes)
        return 17 if self._stand.fault("packet-loss") else 0

    def true_seconds(self) -> float:
        """The network's time."""
        return EPOCH + self._stand.chips.ms / 1000.0

    def rtc_set(self, device: str, seconds: float) -> None:
        """Set the clock."""
        self._rtc, self._rtc_at = seconds, self.true_seconds()

    def rtc_read(self, device: str) -> float:
        """Read it."""
        passed = self.true_seconds() - self._rtc_at
        return self._rtc + passed * (1.0 - 0.05 * self._stand.fault("rtc-slow"))

    def rtc_battery_volts(self) -> float:
        """Its battery."""
        return 2.4 if self._stand.fault("rtc-battery") else 3.05

    def storage_faults(self, folder: str, megabytes: int) -> int:
        """Bytes read back wrong."""
        self._stand.pass_ms(60 * megabytes)
        return 512 if self._stand.fault("emmc-bad") else 0

    def usb_sticks(self) -> int:
        """Sticks seen."""
        return 0 if self._stand.fault("usb-missing") else 1

    def celsius(self) -> float:
        """The board's sensor."""
        return 88.0 if self._stand.fault("hot") else 31.0

    def starve_watchdog(self, device: str) -> None:
        """Start it and never kick it."""
        self._stand.fixture.starved()


class SimPerson:
    """Somebody who does what the screen says and answers truthfully."""

    def __init__(self, stand: SimStand) -> None:
        self._stand = stand
        self.heard: list[str] = []

    def tell(self, key: str, **values: object) -> None:
        """Read what the screen says."""
        self.heard.append(key)
        if key == "press-button":
            self._stand.pressed = not self._stand.fault("button-dead")
        elif key == "release-button":
            self._stand.pressed = False

    def confirm(self, key: str, **values: object) -> bool:
        """Look and answer."""
        self.heard.append(key)
        if key in ("led-on", "led-off"):
            name = str(values["led"])
            lit = self._stand.line(f"led-{name}").read() and not self._stand.fault("led-dead", name)
            return lit == (key == "led-on")
        return True

