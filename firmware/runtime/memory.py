"""What a process does about its memory when it has come up (L4)."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return what was freed while loading to the system: glibc keeps it in its heap, other C libraries know no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
