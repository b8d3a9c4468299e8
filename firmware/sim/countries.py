"""What the exchanges of six countries sound like and how they ring: the world's own table, not the product's.

Theory of operation. Figures after ITU-T E.180 supplement and the national tone tables (on/off in ms, levels in dBm0 per
frequency). A tone is a list of phases `(freqs_hz, level_dbm0, ms)`; one phase of 0 ms is continuous. The product has its own
profiles; two tables written apart are what lets the world notice a wrong one.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware.errors import PbxError

UTC_OFFSET_H = {"CN": 8, "US": -5, "UK": 0, "DE": 1, "FR": 1, "AU": 10}
Phase = tuple[tuple[float, ...], float, float]
Tone = tuple[Phase, ...]


def steady(*freqs: float, level: float) -> Tone:
    """A continuous tone."""
    return ((freqs, level, 0.0),)


def pulsed(freqs: tuple[float, ...], level: float, *times: float) -> Tone:
    """A tone in a cadence: on, off, on, off ... in ms."""
    return tuple((freqs if i % 2 == 0 else (), level, ms) for i, ms in enumerate(times))


SIT: Tone = (((950.0,), -10.0, 330.0), ((1400.0,), -10.0, 330.0), ((1800.0,), -10.0, 330.0), ((), 0.0, 1000.0))


@dataclass(frozen=True)
class Country:
    """One country's exchange. Ring cadence in ms; `fsk` is "bell202" or "v23"; `minimum_gap_ms` is the idle time between calls."""

    name: str
    dial: Tone
    ringback: Tone
    busy: Tone
    congestion: Tone
    unobtainable: Tone
    ring_cadence: tuple[int, ...]
    ring_hz: float
    ring_volts: float
    fsk: str
    emergency: tuple[str, ...]
    release: tuple[str, ...]
    busy_freqs: tuple[float, ...]


COUNTRIES: dict[str, Country] = {
    "CN": Country(
        "CN",
        steady(450, level=-10),
        pulsed((450,), -10, 1000, 4000),
        pulsed((450,), -10, 350, 350),
        pulsed((450,), -10, 700, 700),
        pulsed((450,), -10, 100, 100, 100, 100, 100, 100, 400, 400),
        (1000, 4000),
        25.0,
        90.0,
        "bell202",
        ("110", "119", "120", "122"),
        ("busy",),
        (450.0,),
    ),
    "US": Country(
        "US",
        steady(350, 440, level=-13),
        pulsed((440, 480), -19, 2000, 4000),
        pulsed((480, 620), -24, 500, 500),
        pulsed((480, 620), -24, 250, 250),
        SIT,
        (2000, 4000),
        20.0,
        80.0,
        "bell202",
        ("911",),
        ("loop-drop", "busy"),
        (480.0, 620.0),
    ),
    "UK": Country(
        "UK",
        steady(350, 440, level=-13),
        pulsed((400, 450), -16, 400, 200, 400, 2000),
        pulsed((400,), -13, 375, 375),
        pulsed((400,), -13, 400, 350, 225, 525),
        steady(400, level=-13),
        (400, 200, 400, 2000),
        25.0,
        70.0,
        "v23",
        ("999", "112"),
        ("loop-drop", "busy"),
        (400.0,),
    ),
    "DE": Country(
        "DE",
        steady(425, level=-10),
        pulsed((425,), -10, 1000, 4000),
        pulsed((425,), -10, 480, 480),
        pulsed((425,), -10, 240, 240),
        SIT,
        (1000, 4000),
        25.0,
        75.0,
        "v23",
        ("112", "110"),
        ("busy",),
        (425.0,),
    ),
    "FR": Country(
        "FR",
        steady(440, level=-10),
        pulsed((440,), -10, 1500, 3500),
        pulsed((440,), -10, 500, 500),
        pulsed((440,), -10, 250, 250),
        SIT,
        (1500, 3500),
        50.0,
        75.0,
        "v23",
        ("112", "15", "17", "18"),
        ("busy",),
        (440.0,),
    ),
    "AU": Country(
        "AU",
        steady(413, 438, level=-13),
        pulsed((413, 438), -16, 400, 200, 400, 2000),
        pulsed((425,), -10, 375, 375),
        (((425.0,), -10.0, 375.0), ((), 0.0, 375.0), ((425.0,), -20.0, 375.0), ((), 0.0, 375.0)),
        pulsed((425,), -10, 2500, 500),
        (400, 200, 400, 2000),
        25.0,
        75.0,
        "bell202",
        ("000", "112", "106"),
        ("busy",),
        (425.0,),
    ),
}


class EmergencyRefused(PbxError):
    """A test tool was about to dial an emergency number."""


def country(name: str) -> Country:
    """The table entry; ValueError names the known countries."""
    if name not in COUNTRIES:
        raise ValueError(f"no exchange table for country {name!r}: use one of {', '.join(sorted(COUNTRIES))}")
    return COUNTRIES[name]


def emergency_in(digits: str, numbers: tuple[str, ...] | frozenset[str]) -> str:
    """The emergency number that keyed `digits` would reach (with or without access code or feature code), or ""."""
    for number in numbers:
        head, found, tail = digits.partition(number)
        if found and tail in ("", "#") and (head in ("", "9", "0", "00", "99") or head.startswith("*") or head.endswith(("#", "*"))):
            return number
    return ""
