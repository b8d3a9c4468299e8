"""Emergency numbers of a branch: the country's (from its line profile) and those the branch adds."""

from __future__ import annotations

from collections.abc import Iterable

from firmware.line.profiles import profile


def emergency_numbers(country: str, added: Iterable[str] = ()) -> tuple[str, ...]:
    """Each number once, the country's first. Dialled without access code, before every other rule."""
    return tuple(dict.fromkeys((*profile(country).emergency, *added)))
