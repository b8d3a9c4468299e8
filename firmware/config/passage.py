"""Calls that pass through a branch: whether a country lets them, and whether the site has turned them on (L1, pure).

Theory of operation
-------------------
Two things can be turned on for a country (`passage.COUNTRY`), each off by itself: that the other side of a trunk dials out by our lines
and trunks (`break_out`), and that a call which is passed on shows its caller's number instead of ours (`foreign_numbers`). A trunk does
neither unless its own setting says so as well. Where the table `passage.toml` asks for somebody's leave, the switch without a `permit` that
names it counts as off, and the check of the configuration says so. Calls between extensions of two branches pass nobody's public network:
they need no switch.
Invariant: a file that misses a country or a field does not load (a test reads it).
"""

from __future__ import annotations

import pkgutil
import tomllib
from functools import cache
from typing import Final, Literal

import msgspec

from firmware.config.schema.tree import Config
from firmware.config.schema.trunks import Passage, Trunk

Passing = Literal["break_out", "foreign_numbers"]
PASSINGS: Final[tuple[Passing, ...]] = ("break_out", "foreign_numbers")
#: How far a trunk's `break_out` goes before the public network is used.
INSIDE: Final = ("none", "internal")


class PassageLaw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of `passage.toml`, whose head says what the words mean."""

    break_out: Literal["free", "permit"]
    foreign_numbers: Literal["free", "permit"]
    sources: tuple[str, ...]


@cache
def laws() -> dict[str, PassageLaw]:
    """Every table by country. Raises msgspec.ValidationError where the file is not as it must be."""
    data = pkgutil.get_data("firmware.config", "passage.toml") or b""
    return msgspec.convert(tomllib.loads(data.decode("utf-8")), dict[str, PassageLaw])


def switch(config: Config, country: str = "") -> Passage:
    """What the site has said for a country, its own by itself."""
    return config.passage.get(country or config.site.country, Passage())


def permitted(config: Config, passing: Passing) -> bool:
    """Whether the switch of the site's country is on, with the leave that it needs."""
    said = switch(config)
    return getattr(said, passing) and (bool(said.permit) or getattr(laws()[config.site.country], passing) == "free")


def breaks_out(trunk: Trunk) -> bool:
    """Whether the other side of a trunk may dial out by our lines, as far as the trunk is asked."""
    return trunk.break_out not in INSIDE


def shows_foreign(config: Config, name: str, number: str) -> bool:
    """Whether trunk `name` shows this caller's number, which is not ours, as far as the trunk is asked."""
    trunk = config.trunks.get(name)
    return trunk is not None and trunk.caller_shown == "caller" and bool(number) and number not in config.extensions
