"""Emergency numbers of a branch: the country's (from its line profile) and those the branch adds; and those of services without number.

Theory of operation: a telephone's SOS key may call a service (RFC 5031: `urn:service:sos.fire`) and not a number. What number that
is says the branch (`emergency_services`), else a table by country; a kind that neither knows is its parent, at last the country's first
number.
Invariant: a service always is an emergency number.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from pkgutil import get_data

from firmware.config.schema.tree import Config
from firmware.line.profiles import profile

SERVICE = "urn:service:"
SOS = "sos"


def emergency_numbers(country: str, added: Iterable[str] = ()) -> tuple[str, ...]:
    """Each number once, the country's first. Dialled without access code, before every other rule."""
    return tuple(dict.fromkeys((*profile(country).emergency, *added)))


@cache
def services(country: str) -> dict[str, str]:
    """Number by kind of service ("sos", "fire"), as the country has them."""
    tables = tomllib.loads((get_data("firmware.config", "emergency_services.toml") or b"").decode())      # `resources` imports much more
    found: dict[str, str] = tables.get(country, {})
    return found


def dialled(called: str, config: Config) -> str:
    """What is dialled: the number of a service that is called by name, else what was called."""
    if not called.startswith(SERVICE):
        return called
    numbers = emergency_numbers(config.site.country, config.emergency_numbers)
    known = {**services(config.site.country), **config.emergency_services}
    labels = called.removeprefix(SERVICE).split(".")
    kinds = [".".join(labels[1:end]) or SOS for end in range(len(labels), 0, -1)]
    return next((known[kind] for kind in kinds if known.get(kind) in numbers), numbers[0])
