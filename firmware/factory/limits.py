"""What a board must measure: limits, budgets and equipment of `board/<name>/factory.toml` (L5).

Theory of operation
-------------------
One struct per step; a limit is a `Band` written as `{min = 18.0, max = 22.0}`. A step whose table has `absent = "reason"` is not
applicable on this board, by data. Numbers come from section 6 of the line-card facts and belong to the board, not to the program.
A mistake is told with file, line, path and what was expected.
Invariants: `parse_limits` returns only complete, consistent limits; a band has at least one end and its ends are in order.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import msgspec

from firmware.config.board import GpioLine
from firmware.errors import ConfigError


class Band(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a number may be, both ends included."""

    min: float | None = None
    max: float | None = None

    def holds(self, value: float) -> bool:
        """True when `value` is within; NaN never is."""
        return value == value and (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def text(self) -> str:
        """For people."""
        if self.min is None:
            return f"<= {self.max:g}"
        return f">= {self.min:g}" if self.max is None else f"{self.min:g} .. {self.max:g}"


class StepLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every step has."""

    budget_s: float
    """A step that takes longer than this passes, but is told: the line waits for it."""
    absent: str = ""
    """Why this board has no such step; empty where it has."""


class Supply(StepLimits, frozen=True, kw_only=True):
    """Step 1, no SLIC active."""

    jack_kohm: Band
    """Across a jack while nothing feeds it: a short is found before there is power on it."""
    idle_ma: Band
    over_ma: float
    """More than this is switched off at once."""
    rails: dict[str, Band]


class SupplyActive(StepLimits, frozen=True, kw_only=True):
    """Step 1 with all SLICs feeding their lines."""

    active_ma: Band


class Identity(StepLimits, frozen=True, kw_only=True):
    """Step 2."""

    size: int = 256
    serial: str = r"[A-Z0-9]{6,16}"
    """Pattern of a serial number."""
    mac_prefix: str = ""
    """Beginning of the MAC addresses of this board's maker, as `70:B3:D5`."""


class Spi(StepLimits, frozen=True, kw_only=True):
    """Step 3."""

    accesses: int = 1000
    errors: Band = Band(max=0)
    fxo_revision: Band
    fxs_revision: Band


class Reset(StepLimits, frozen=True, kw_only=True):
    """Step 4."""


class Interrupts(StepLimits, frozen=True, kw_only=True):
    """Step 5."""

    edge_ms: Band


class Clocks(StepLimits, frozen=True, kw_only=True):
    """Step 6."""

    bit_ppm: Band
    frame_hz: Band
    xrun_s: float = 60.0
    xruns: Band = Band(max=0)


class Slots(StepLimits, frozen=True, kw_only=True):
    """Step 7."""

    delay_samples: Band
    other_dbm0: Band


class Link(StepLimits, frozen=True, kw_only=True):
    """Step 8."""

    link_ms: Band


class Converter(StepLimits, frozen=True, kw_only=True):
    """Step 9."""

    rise_ms: Band
    volts: Band
    left_volts: Band
    """Half a second after the converter was switched off: less is a leak."""


class Calibration(StepLimits, frozen=True, kw_only=True):
    """Step 10."""

    bring_up_s: Band
    peak_code: Band
    """Register 107."""


class IdleVoltage(StepLimits, frozen=True, kw_only=True):
    """Step 11: by chip and by meter, in both polarities."""

    volts: Band


class Loop(StepLimits, frozen=True, kw_only=True):
    """Step 12."""

    ohms: float = 600.0
    low_ma: Band
    high_ma: Band
    high_setting: int = 29
    closed_ms: Band
    threshold_ma: Band


class RingingLimits(StepLimits, frozen=True, kw_only=True):
    """Step 13."""

    volts_peak: float = 70.0
    hertz: float = 25.0
    hertz_percent: float = 1.0
    volts_1_ren: Band
    volts_5_ren: Band
    trip_ms: Band


class LineVoltage(StepLimits, frozen=True, kw_only=True):
    """Step 14: magnitudes; the sign must be the feeder's."""

    volts_48: Band
    volts_24: Band
    volts_open: Band
    flip_ms: Band


class LineLoop(StepLimits, frozen=True, kw_only=True):
    """Step 15."""

    feed_volts: float = 24.0
    feed_ohms: float = 600.0
    feed_ma: float = 25.0
    milliamps: Band
    hook_ms: Band


class RingDetect(StepLimits, frozen=True, kw_only=True):
    """Step 16."""

    detect_ms: Band
    loud_vrms: float = 50.0
    quiet_vrms: float = 10.0


class Analog(StepLimits, frozen=True, kw_only=True):
    """Step 17: FXS n joined with FXO n."""

    sent_dbm0: float = -10.0
    level_db: Band
    """Gain from port to port at 1004 Hz."""
    response_db: Band
    """Gain at 300 and 3400 Hz against 1004 Hz."""
    idle_dbm0: Band
    distortion_db: Band
    crosstalk_db: Band
    erl_db: Band
    absolute_db: Band
    """Each port against tone source and meter of the fixture: a loop alone would not see errors that cancel."""


class Call(StepLimits, frozen=True, kw_only=True):
    """Step 18."""

    digits: str = "1234567890*#"
    messages: int = 10
    wrong: Band = Band(max=0)


class LifelineLimits(StepLimits, frozen=True, kw_only=True):
    """Step 19."""

    cycles: int = 50
    joined_ohm: Band
    apart_mohm: Band


class Panel(StepLimits, frozen=True, kw_only=True):
    """Step 20: LEDs are those of the board file."""

    button: GpioLine | None = None
    button_s: float = 20.0


class Ethernet(StepLimits, frozen=True, kw_only=True):
    """Step 21."""

    device: str = "eth0"
    peer: str = ""
    """Address of the fixture's traffic partner."""
    mbit: float = 100.0
    megabytes: int = 1000
    lost: Band = Band(max=0)


class RealTimeClock(StepLimits, frozen=True, kw_only=True):
    """Step 22."""

    device: str = "/dev/rtc0"
    off_s: float = 60.0
    error_s: Band
    battery_volts: Band


class Storage(StepLimits, frozen=True, kw_only=True):
    """Step 23."""

    folders: dict[str, str] = {}
    """Memories by name, with a folder on each."""
    megabytes: int = 64
    usb: int = 0
    """USB test sticks that the fixture plugs in."""
    celsius: Band
    watchdog: str = ""
    """Device file; empty where the board has none."""
    reset_s: Band = Band(max=60)


class Insulation(StepLimits, frozen=True, kw_only=True):
    """Step 24: hipot and surge are never done by software; the safety laboratory has its own records."""


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Every step of the test."""

    supply: Supply
    supply_active: SupplyActive
    identity: Identity
    spi: Spi
    reset: Reset
    interrupts: Interrupts
    clocks: Clocks
    slots: Slots
    link: Link
    converter: Converter
    calibration: Calibration
    idle_voltage: IdleVoltage
    loop: Loop
    ringing: RingingLimits
    line_voltage: LineVoltage
    line_loop: LineLoop
    ring_detect: RingDetect
    analog: Analog
    call: Call
    lifeline: LifelineLimits
    panel: Panel
    ethernet: Ethernet
    rtc: RealTimeClock
    storage: Storage
    insulation: Insulation


class GoldenRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a golden board may drift, by unit; and how often it must be measured."""

    every_hours: float = 12.0
    tolerance: dict[str, float] = {}


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `factory.toml`."""

    board: str
    revision: str
    steps: Steps
    eeprom: str = ""
    """Device file of the identity memory."""
    write_protect: GpioLine | None = None
    country: str = "US"
    """Electrical setting of the ports during the test: resistive, as the fixture's lines are."""
    retests: int = 1
    golden: GoldenRules = GoldenRules()


def parse_limits(data: bytes, file: str) -> Limits:
    """Limits of a `factory.toml`; ConfigError names file, line and path."""
    try:
        text = data.decode("utf-8")
        tree = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 ({error})") from None
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        raise ConfigError(f"{file}:{found.group(1) if found else 1}: {error}") from None
    try:
        limits = msgspec.convert(tree, Limits)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        keys = [key for key in re.split(r"[.\[\]]+", path.rstrip("`").replace("...", "")) if key]
        named = re.search(r"field `([^`]+)`", message)
        whole = [*keys, named.group(1)] if named else keys
        raise ConfigError(f"{file}:{line_of(text, whole)}: {'.'.join(keys) or 'the file'}: {message}") from None
    for place, band in bands(msgspec.to_builtins(limits)):
        low, high = band.get("min"), band.get("max")
        if (low is None and high is None) or (low is not None and high is not None and low > high):
            remedy = "a band has `min`, `max` or both, in order"
            raise ConfigError(f"{file}:{line_of(text, place)}: {'.'.join(place)}: min {low}, max {high}; {remedy}")
    try:
        re.compile(limits.steps.identity.serial)
    except re.error as error:
        raise ConfigError(
            f"{file}:{line_of(text, ['steps', 'identity', 'serial'])}: steps.identity.serial is no pattern ({error})"
        ) from None
    return limits


def bands(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[list[str], dict[str, float | None]]]:
    """Every band of a tree, with its path."""
    if isinstance(tree, dict):
        if tree.keys() == {"min", "max"}:
            yield list(path), tree
        else:
            for key, value in tree.items():
                yield from bands(value, (*path, str(key)))


def line_of(text: str, path: list[str]) -> int:
    """Line on which `path` is written, or of the nearest table above it."""
    table: list[str] = []
    best, depth = 1, 0
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        entry = re.match(r"\s*([\w.\"'-]+)\s*=", line)
        if header:
            here = table = [part.strip("\"' ") for part in header.group(1).split(".")]
        elif entry:
            here = [*table, *(part.strip("\"'") for part in entry.group(1).split("."))]
        else:
            continue
        if here == path[: len(here)] and len(here) > depth:
            best, depth = number, len(here)
    return best
