"""Emergency numbers by country: dialled without access code, before every other rule (national numbering plans; EU 112)."""

from __future__ import annotations

from collections.abc import Iterable

BY_COUNTRY: dict[str, tuple[str, ...]] = {
    "CN": ("110", "119", "120", "122"),
    "US": ("911",),
    "UK": ("999", "112"),
    "DE": ("112", "110"),
    "FR": ("112", "15", "17", "18"),
    "AU": ("000", "112"),
}


def emergency_numbers(country: str, added: Iterable[str] = ()) -> tuple[str, ...]:
    """The country's emergency numbers and those the branch adds, each once, in that order."""
    return tuple(dict.fromkeys((*BY_COUNTRY.get(country, ()), *added)))
