"""Which sections there are and how one is measured, in a process of its own."""

from __future__ import annotations

import importlib
import time
import traceback
from importlib.util import find_spec

from .report import Section

ORDER = ("echo", "dtmf", "tones", "callerid", "codec", "jitter", "voice", "cost")


def available() -> list[str]:
    """The sections that exist."""
    return [name for name in ORDER if find_spec(f"{__package__}.{name}")]


def measure(name: str, quick: bool, seed: int) -> tuple[Section | None, str, float]:
    """One section of this bench; what broke it, if something did; seconds it took."""
    return measure_in(f"{__package__}.{name}", quick, seed)


def measure_in(name: str, quick: bool, seed: int) -> tuple[Section | None, str, float]:
    """The section that a module measures."""
    start = time.monotonic()
    try:
        section = importlib.import_module(name).measure(quick, seed)
        if not isinstance(section, Section):
            raise TypeError(f"{name}.measure gave {type(section).__name__}, not a Section")
    except Exception:
        return None, traceback.format_exc(), time.monotonic() - start
    return section, "", time.monotonic() - start
