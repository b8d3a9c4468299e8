"""What distinguishes the makes of telephones: how their files are named and typed, and how a telephone tells what it is (data)."""

from __future__ import annotations

import re

from msgspec import Struct

VENDORS = ("yealink", "grandstream", "snom", "fanvil")


class Vendor(Struct, frozen=True):
    """One make. `files`: names under which a telephone asks for its own file, {mac} and {MAC} for its address, {model} for anything."""

    template: str
    files: tuple[str, ...]
    agent: str
    """Pattern of its User-Agent; group `model`."""
    content: str
    markup: bool = False
    line_end: str = "\n"
    lines: int = 6
    keys: int = 60
    """Programmable keys that its settings can name."""
    ouis: tuple[str, ...] = ()
    """First half of MAC addresses that the maker has, of those in use (IEEE registry)."""


MAKES: dict[str, Vendor] = {
    "yealink": Vendor(
        "yealink.j2", ("{mac}.cfg",), r"Yealink (?:SIP-)?(?P<model>[A-Za-z0-9]+)", "text/plain",
        ouis=("001565", "805e0c", "805ec0", "249ad8", "44dbd2", "c4fc22", "304a26"),
    ),
    "grandstream": Vendor(
        "grandstream.j2", ("cfg{mac}.xml",), r"Grandstream (?:Model HW )?(?P<model>[A-Z]{2,4}[0-9]{3,4}[A-Z]?)",
        "application/xml", markup=True, keys=16, ouis=("000b82", "c074ad", "ec74d7", "1401c2"),
    ),
    "snom": Vendor(
        "snom.j2", ("snom{model}-{MAC}.htm", "{MAC}.xml", "{MAC}.htm", "{mac}.xml"), r"snom(?P<model>[A-Za-z]?[0-9]{3,4}[A-Z]?)",
        "application/xml", markup=True, ouis=("000413",),
    ),
    "fanvil": Vendor(
        "fanvil.j2", ("{mac}.cfg",), r"Fanvil (?P<model>[A-Z][0-9A-Z]{1,5})", "text/plain", line_end="\r\n",
        ouis=("0c383e", "00a859"),
    ),
}  # fmt: skip

_ADDRESS = r"(?P<mac>[0-9a-f]{12}|[0-9A-F]{12})"


def _pattern(name: str) -> str:
    text = re.escape(name).replace(r"\{model\}", "[A-Za-z0-9+-]{0,20}")
    return text.replace(r"\{mac\}", _ADDRESS).replace(r"\{MAC\}", _ADDRESS)


_FILES = [(vendor, re.compile(_pattern(name) + r"\Z")) for vendor, make in MAKES.items() for name in make.files]


def asked(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The MAC address that a file name is of, and the makes that name their files so; None for every other name."""
    found = [(vendor, match["mac"].lower()) for vendor, pattern in _FILES if (match := pattern.match(name))]
    return (found[0][1], tuple(dict.fromkeys(vendor for vendor, _ in found))) if found else None


def recognise(agent: str, mac: str) -> tuple[str, str]:
    """Make and model that a User-Agent (first 200 characters) and an address speak of; "" where they say nothing."""
    for vendor, make in MAKES.items():
        found = re.search(make.agent, agent[:200])
        if found is not None:
            return vendor, found["model"]
    return next((vendor for vendor, make in MAKES.items() if mac[:6] in make.ouis), ""), ""


def file_name(vendor: str, mac: str, model: str) -> str:
    """The name under which a telephone of this make asks first."""
    name = MAKES[vendor].files[0] if vendor != "snom" or model else "{MAC}.xml"
    return name.replace("{mac}", mac).replace("{MAC}", mac.upper()).replace("{model}", model.removeprefix("snom"))
