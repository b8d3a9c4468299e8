"""What the test measures and feeds with, in electrical words (L5).

Theory of operation
-------------------
The *fixture* is everything outside the board: supply, feeders on the FXO jacks, loads on the FXS jacks, meters, the relay matrix that
joins jacks, tone source and meter, a frequency counter. It is reached over a serial line (`factory/remote.py`) or simulated.
The *highway* is the board's PCM bus, the *host* its computer, the *operator* a person or a script.
Jacks are named as `fxo:1` and `fxs:1`. Volts are positive when tip is above ring, levels are dBm0 of the port under test.
Invariants: a call returns after the thing is settled and measured; `FixtureError` says that the fixture, not the board, is at fault;
`reset` leaves every jack open and every source off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from firmware.errors import HardwareError


class FixtureError(HardwareError):
    """The fixture does not answer as it must: the board is not judged."""


class Supply(Protocol):
    """The board's supply."""

    def supply(self, on: bool, /) -> None:
        """Switch it."""
        ...

    def supply_milliamps(self) -> float:
        """What the board takes."""
        ...

    def rail_volts(self, rail: str, /) -> float:
        """A rail's voltage on its test point."""
        ...

    def power_cycle(self, seconds: float, /) -> None:
        """Cut the supply some seconds from now for so long; the program that asked dies with the board."""
        ...

    def watch_reset(self) -> None:
        """From now on measure until the board's RESET falls."""
        ...

    def reset_seen(self) -> tuple[float, bool]:
        """Seconds it took (NaN: it did not fall), and whether the lifeline jacks were joined then."""
        ...


class Feeder(Protocol):
    """An exchange line on an FXO jack."""

    def feed(self, jack: str, volts: float, ohms: float, limit_ma: float, /) -> None:
        """Battery behind a resistance with a current limit; the sign is the polarity. 0 V opens the jack."""
        ...

    def ring(self, jack: str, volts_rms: float, hertz: float, /) -> None:
        """Ringing voltage on top; 0 stops it."""
        ...


class Load(Protocol):
    """A telephone on an FXS jack."""

    def load(self, jack: str, ohms: float, ren: float, /) -> None:
        """Resistance (infinite: on hook) beside ringers of `ren` equivalents."""
        ...


class Meter(Protocol):
    """A meter on a jack."""

    def volts(self, jack: str, /) -> float:
        """DC, tip against ring."""
        ...

    def milliamps(self, jack: str, /) -> float:
        """DC through the jack."""
        ...

    def ringing(self, jack: str, /) -> tuple[float, float]:
        """Effective volts and frequency of the ringing."""
        ...

    def ohms(self, one: str, other: str, /) -> float:
        """Resistance between two jacks (both wires, the larger), or across one jack when both are the same."""
        ...


class Matrix(Protocol):
    """Relays between jacks."""

    def join(self, one: str, other: str, crossed: bool, /) -> None:
        """A cable between two jacks, with tip and ring crossed or not."""
        ...

    def part(self) -> None:
        """Take all cables, feeders and loads off."""
        ...


class Tones(Protocol):
    """Tone source and meter on a jack's two wires, matched to its impedance."""

    def send_tone(self, jack: str, hertz: float, dbm0: float, /) -> None:
        """A tone towards the board; below -90 dBm0 it is off."""
        ...

    def tone_level(self, jack: str, hertz: float, /) -> float:
        """Level of a tone from the board."""
        ...


class Counter(Protocol):
    """Frequency counter on the PCM bus."""

    def hertz(self, point: str, /) -> float:
        """Frequency of "bit" or "frame" clock."""
        ...


class Fixture(Supply, Feeder, Load, Meter, Matrix, Tones, Counter, Protocol):
    """Everything outside the board."""

    def identify(self) -> str:
        """Maker, model, serial, version."""
        ...

    def reset(self) -> None:
        """Everything off and open, supply on; what `watch_reset` saw is kept."""
        ...


class Highway(Protocol):
    """The PCM bus as a stream: 8 kHz, 16 bit, one channel per slot."""

    @property
    def xruns(self) -> int:
        """Times the stream broke since it was started."""
        ...

    def start(self) -> None:
        """Open both directions; from now on the clocks run."""
        ...

    def stop(self) -> None:
        """Close them."""
        ...

    def clocks_running(self) -> bool:
        """True while they run."""
        ...

    def exchange(self, play: Mapping[int, bytes], samples: int, /) -> list[bytes]:
        """Send (slots not named: silence) and return what each slot brought in the same time."""
        ...

    def hold(self, play: Mapping[int, bytes], /) -> None:
        """Repeat these whenever nothing else is sent on their slots, also between exchanges."""
        ...


class EthernetState(NamedTuple):
    """A network port."""

    mbit: float
    full_duplex: bool
    mac: str


class Host(Protocol):
    """The board's computer. OSError where a device fails."""

    def eeprom_read(self, size: int, /) -> bytes:
        """From its first byte."""
        ...

    def eeprom_write(self, data: bytes, /) -> None:
        """From its first byte."""
        ...

    def protect(self, on: bool, /) -> None:
        """Write protection of the identity memory."""
        ...

    def ethernet(self, device: str, /) -> EthernetState:
        """After the link is up."""
        ...

    def traffic(self, peer: str, megabytes: int, /) -> int:
        """Packets lost of so much sent to the fixture's partner."""
        ...

    def rtc_set(self, device: str, seconds: float, /) -> None:
        """Set the clock to seconds of the epoch."""
        ...

    def rtc_read(self, device: str, /) -> float:
        """Seconds of the epoch."""
        ...

    def rtc_battery_volts(self) -> float:
        """Its battery."""
        ...

    def true_seconds(self) -> float:
        """Time of the epoch by the fixture's network."""
        ...

    def storage_faults(self, folder: str, megabytes: int, /) -> int:
        """Bytes that were not read back as written."""
        ...

    def usb_sticks(self) -> int:
        """Mass storages that are plugged in."""
        ...

    def celsius(self) -> float:
        """The board's own sensor."""
        ...

    def starve_watchdog(self, device: str, /) -> None:
        """Start the watchdog and never kick it."""
        ...


class Operator(Protocol):
    """Who stands at the fixture."""

    def tell(self, key: str, /, **values: object) -> None:
        """Say something (`texts.py`)."""
        ...

    def confirm(self, key: str, /, **values: object) -> bool:
        """Ask yes or no."""
        ...
