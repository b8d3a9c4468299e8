"""Electrical country settings of the line chips, as data (L3).

Theory of operation
-------------------
One row per country: what the registers of the Si3050+Si3019 and the impedance field of the Si321x hold. Changing a country is changing a
row. Sources: rows of the FXO side are those of public drivers (`dahdi`: dahdi-linux; `vendor`: the manufacturer's presets). Where they
disagree, return loss and the behaviour at low current change, not safety. Rows of the FXS side choose the chip's nearest network to the
terminal impedance of the country's specification, which is named.
These are not approvals: a box is sold after its line interface was measured against the national specification.
"""

from __future__ import annotations

import msgspec

from firmware.errors import ConfigError

# Two-wire impedances of the Si3019 (reg 30 b3..0): ohms, series + parallel network.
ACIM = (
    "600", "900", "270+750||150n", "220+820||120n", "370+620||310n", "320+1050||230n", "370+820||110n", "275+780||115n",
    "120+820||110n", "350+1000||210n", "200+680||100n", "600+2.16u", "900+1u", "900+2.16u", "600+1u", "global complex",
)  # fmt: skip

# Two-wire impedances of the Si321x (reg 10 b2..0).
TWO_WIRE = ("600", "900", "600+1u", "900+2.16u", "270+750||150n", "220+820||120n", "220+820||115n", "200+680||100n")


class FxoCountry(msgspec.Struct, frozen=True):
    """What an FXO port sets for a country."""

    international: int
    """Register 16: ring threshold RT, ringer impedance RZ, on-hook speed OHS."""
    dc_termination: int
    """Register 26: line voltage DCV, minimum current MINI, 60 mA limit ILIM, resistance DCR."""
    impedance: int
    """ACIM, index of `ACIM`."""
    slow_on_hook: bool
    """OHS2, register 31 b3: 3 ms on-hook slope of ETSI."""
    spark_quench: int
    """Register 59, b6 and b4."""
    source: str


class FxsCountry(msgspec.Struct, frozen=True):
    """What an FXS port sets for a country."""

    impedance: int
    """Index of `TWO_WIRE`."""
    source: str


FXO: dict[str, FxoCountry] = {
    "CN": FxoCountry(0x00, 0xC0, 0xA, False, 0x00, "vendor preset"),
    "CN-alt": FxoCountry(0x00, 0x30, 0xF, False, 0x00, "dahdi: lower line voltage, 16 mA minimum"),
    "US": FxoCountry(0x00, 0xC0, 0x0, False, 0x00, "dahdi = vendor"),
    "UK": FxoCountry(0x00, 0xC2, 0x5, True, 0x00, "dahdi"),
    "DE": FxoCountry(0x00, 0xC2, 0x2, True, 0x00, "vendor; dahdi uses impedance 3"),
    "FR": FxoCountry(0x00, 0xC2, 0x2, True, 0x00, "dahdi"),
    "NL": FxoCountry(0x00, 0xC2, 0x2, True, 0x00, "dahdi"),
    "ES": FxoCountry(0x00, 0xC2, 0x2, True, 0x00, "dahdi"),
    "IT": FxoCountry(0x00, 0xC2, 0x2, True, 0x00, "dahdi"),
    "TBR21": FxoCountry(0x00, 0xC2, 0x2, False, 0x00, "dahdi"),
    "AU": FxoCountry(0x40, 0x50, 0x3, False, 0x50, "vendor; dahdi uses 0x30 for the termination"),
    "NZ": FxoCountry(0x00, 0xC0, 0x4, False, 0x00, "dahdi"),
    "IN": FxoCountry(0x00, 0xC0, 0x4, False, 0x00, "dahdi"),
    "ZA": FxoCountry(0x42, 0xC0, 0x3, False, 0x00, "dahdi"),
    "JP": FxoCountry(0x00, 0x30, 0x0, False, 0x00, "dahdi"),
    "RU": FxoCountry(0x00, 0x30, 0x0, False, 0x00, "dahdi"),
    "BR": FxoCountry(0x00, 0x30, 0x0, False, 0x00, "dahdi"),
    "TW": FxoCountry(0x00, 0x30, 0x0, False, 0x00, "dahdi"),
    "PL": FxoCountry(0x03, 0xC0, 0x0, False, 0x00, "dahdi"),
}

FXS: dict[str, FxsCountry] = {
    "CN": FxsCountry(7, "YD/T 514: 200+680||100n"),
    "US": FxsCountry(0, "ANSI T1.401 terminals: 600"),
    "UK": FxsCountry(4, "ETSI ES 201 970 harmonised network (the 320+1050||230n of older telephones is not in the chip)"),
    "DE": FxsCountry(6, "1 TR 110: 220+820||115n"),
    "FR": FxsCountry(4, "ETSI ES 201 970: 270+750||150n"),
    "AU": FxsCountry(5, "AS/CA S002: 220+820||120n"),
}


def fxo_country(country: str) -> FxoCountry:
    """Row of a country; ConfigError when there is none."""
    if country not in FXO:
        raise ConfigError(f"country {country!r} has no FXO settings; choose one of {', '.join(FXO)}")
    return FXO[country]


def fxs_country(country: str) -> FxsCountry:
    """Row of a country; ConfigError when there is none."""
    if country not in FXS:
        raise ConfigError(f"country {country!r} has no FXS settings; choose one of {', '.join(FXS)}")
    return FXS[country]
