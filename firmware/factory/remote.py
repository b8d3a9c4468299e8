"""The fixture over a serial line: frames, numbers, checks (codec without I/O), and the instruments on top (L5).

Theory of operation
-------------------
A frame is one line of printable ASCII: `PAYLOAD*HH` and a line feed, HH = exclusive or of the payload's bytes, at most 200 bytes.
Request: `N COMMAND ARGUMENTS`, N counts 1..9999. Reply: `N OK VALUES` or `N ERR CODE TEXT`. Commands read like SCPI
(`MEAS:VOLT? fxs:1`); the table is in docs/factory.md. A reply with another number is of a request that was given up: it is dropped.
`Frames` takes bytes as they come and gives payloads; noise, lines that are too long, wrong sums and control characters are counted and
dropped, whatever the other side sends. `RemoteFixture` asks once more when nothing valid came in time; then `FixtureError`.
Invariants: a value that is no finite number, a count of values that is not the command's, an unasked-for reply never become a measurement.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from firmware.errors import HardwareError
from firmware.factory.instruments import FixtureError

LONGEST = 200
LAST_NUMBER = 9999
ANSWER_S = 3.0
ATTEMPTS = 2


def frame(payload: str) -> bytes:
    """One line."""
    data = payload.encode("ascii")
    return data + b"*%02X\n" % checksum(data)


def checksum(data: bytes) -> int:
    """Exclusive or of all bytes."""
    total = 0
    for byte in data:
        total ^= byte
    return total


class Frames:
    """Takes bytes, gives payloads."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._too_long = False
        self.dropped = 0

    def feed(self, data: bytes) -> list[str]:
        """Payloads of the frames that `data` completes."""
        found = []
        for byte in data:
            if byte != 0x0A:
                if len(self._line) < LONGEST:
                    self._line.append(byte)
                else:
                    self._too_long = True
                continue
            line, too_long = bytes(self._line).rstrip(b"\r"), self._too_long
            self._line.clear()
            self._too_long = False
            payload = None if too_long else unframe(line)
            if payload is not None:
                found.append(payload)
            elif line:
                self.dropped += 1
        return found


def unframe(line: bytes) -> str | None:
    """Payload of a line without its line feed; None when it is no frame."""
    payload, star, sum_text = line.rpartition(b"*")
    if not star or len(sum_text) != 2 or not payload or not all(0x20 <= byte < 0x7F for byte in payload):
        return None
    return payload.decode("ascii") if sum_text == b"%02X" % checksum(payload) else None


class SerialPort(Protocol):
    """What python-periphery's `Serial` does."""

    def read(self, length: int, timeout: float | None = None, /) -> bytes: ...
    def write(self, data: bytes, /) -> int: ...


def open_serial(device: str, baud: int = 115200) -> SerialPort:
    """A serial port; FixtureError when it cannot be opened."""
    try:
        port: SerialPort = import_module("periphery").Serial(device, baud)
    except (ImportError, OSError) as error:
        raise FixtureError(f"the fixture's serial port {device} cannot be opened ({error}); check the cable and python-periphery") from None
    return port


class RemoteFixture:
    """`Fixture` behind a serial port."""

    def __init__(self, port: SerialPort, now: Callable[[], float] = time.monotonic) -> None:
        self._port = port
        self._now = now
        self._frames = Frames()
        self._number = 0

    def ask(self, command: str, *values: object, replies: int = 0, patience_s: float = ANSWER_S) -> list[str]:
        """One request; the values of its reply. FixtureError says what is wrong with the fixture."""
        words = " ".join([command, *(_word(value) for value in values)])
        for _ in range(ATTEMPTS):
            self._number = self._number % LAST_NUMBER + 1
            try:
                self._port.write(frame(f"{self._number} {words}"))
                answer = self._answer(self._number, patience_s)
            except OSError as error:
                raise FixtureError(f"the fixture's serial port fails ({error}); check cable and supply of the fixture") from error
            if answer is None:
                continue
            kind, *found = answer
            if kind == "ERR":
                raise FixtureError(f"the fixture refuses {words!r}: {' '.join(found)}")
            if kind != "OK" or (replies >= 0 and len(found) != replies):
                raise FixtureError(f"the fixture answers {words!r} with {' '.join(answer)!r}; its program does not fit this one")
            return found
        dropped = f", {self._frames.dropped} damaged lines" if self._frames.dropped else ""
        raise FixtureError(f"the fixture does not answer {words!r}{dropped}; check cable, speed and supply of the fixture")

    def _answer(self, number: int, patience_s: float) -> list[str] | None:
        end = self._now() + patience_s
        while (left := end - self._now()) > 0:
            data = self._port.read(1, min(left, 0.2))
            for payload in self._frames.feed(data):
                words = payload.split()
                if len(words) > 1 and words[0] == str(number):
                    return words[1:]
        return None

    def _value(self, command: str, *values: object, patience_s: float = ANSWER_S) -> float:
        return number_of(self.ask(command, *values, replies=1, patience_s=patience_s)[0], command)

    def identify(self) -> str:
        """Maker, model, serial, version."""
        return " ".join(self.ask("*IDN?", replies=-1))[:LONGEST]

    def reset(self) -> None:
        """Everything off and open, supply on."""
        self.ask("SYST:RES")

    def supply(self, on: bool) -> None:
        """Switch it."""
        self.ask("SUPP:STAT", int(on))

    def supply_milliamps(self) -> float:
        """What the board takes."""
        return self._value("SUPP:CURR?")

    def rail_volts(self, rail: str) -> float:
        """A rail's voltage."""
        return self._value("SUPP:VOLT?", rail)

    def power_cycle(self, seconds: float) -> None:
        """Cut the supply."""
        self.ask("SUPP:CYCL", seconds)

    def watch_reset(self) -> None:
        """Measure until RESET falls."""
        self.ask("RES:ARM")

    def reset_seen(self) -> tuple[float, bool]:
        """Seconds (NaN: it did not fall), and whether the lifeline was joined."""
        seconds, joined = self.ask("RES:TIME?", replies=2)
        return math.nan if seconds == "NAN" else number_of(seconds, "RES:TIME?"), joined == "1"

    def feed(self, jack: str, volts: float, ohms: float, limit_ma: float) -> None:
        """Battery on an FXO jack."""
        self.ask("FEED", jack, volts, ohms, limit_ma)

    def ring(self, jack: str, volts_rms: float, hertz: float) -> None:
        """Ringing on an FXO jack."""
        self.ask("RING", jack, volts_rms, hertz)

    def load(self, jack: str, ohms: float, ren: float) -> None:
        """Load of an FXS jack."""
        self.ask("LOAD", jack, ohms, ren)

    def volts(self, jack: str) -> float:
        """DC, tip against ring."""
        return self._value("MEAS:VOLT?", jack)

    def milliamps(self, jack: str) -> float:
        """DC through the jack."""
        return self._value("MEAS:CURR?", jack)

    def ringing(self, jack: str) -> tuple[float, float]:
        """Effective volts and frequency."""
        volts, hertz = self.ask("MEAS:RING?", jack, replies=2, patience_s=2 * ANSWER_S)
        return number_of(volts, "MEAS:RING?"), number_of(hertz, "MEAS:RING?")

    def ohms(self, one: str, other: str) -> float:
        """Resistance between two jacks or across one."""
        return self._value("MEAS:RES?", one, other)

    def join(self, one: str, other: str, crossed: bool) -> None:
        """A cable."""
        self.ask("ROUT:JOIN", one, other, int(crossed))

    def part(self) -> None:
        """Everything off the jacks."""
        self.ask("ROUT:PART")

    def send_tone(self, jack: str, hertz: float, dbm0: float) -> None:
        """A tone towards the board."""
        self.ask("TONE", jack, hertz, dbm0)

    def tone_level(self, jack: str, hertz: float) -> float:
        """Level of a tone from the board."""
        return self._value("TONE?", jack, hertz)

    def hertz(self, point: str) -> float:
        """Frequency of a clock."""
        return self._value("COUN?", point, patience_s=2 * ANSWER_S)


def number_of(word: str, command: str) -> float:
    """A finite decimal number; FixtureError for anything else."""
    try:
        if len(word) > 24 or not set(word) <= set("0123456789+-.eE"):
            raise ValueError(word)
        value = float(word)
        if not math.isfinite(value):
            raise ValueError(word)
    except ValueError:
        raise FixtureError(f"the fixture answers {command} with {word[:40]!r}, which is no number") from None
    return value


def _word(value: object) -> str:
    if isinstance(value, float):
        return "INF" if math.isinf(value) else f"{value:.6g}"
    text = str(value)
    if not text or not all(0x21 <= ord(letter) < 0x7F for letter in text):
        raise HardwareError(f"{text!r} cannot be sent to the fixture: a word is printable ASCII without spaces")
    return text


def fixture_on(device: str) -> Any:
    """The fixture on a serial device, after it told who it is."""
    fixture = RemoteFixture(open_serial(device))
    fixture.identify()
    return fixture
