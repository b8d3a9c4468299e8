"""Which sections there are and how one is measured, in a process of its own."""

from __future__ import annotations

from importlib.util import find_spec

from .shared import Section, measure_in

ORDER = ("disconnect", "callerid", "ring", "cost")


def available() -> list[str]:
    """The sections that exist."""
    return [name for name in ORDER if find_spec(f"{__package__}.{name}")]


def measure(name: str, quick: bool, seed: int) -> tuple[Section | None, str, float]:
    """One section of this bench; what broke it, if something did; seconds it took."""
    return measure_in(f"{__package__}.{name}", quick, seed)
