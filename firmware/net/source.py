"""The address of ours that a route starts from (L3)."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

KEPT_S = 10.0
MOST_KEPT = 256
_DISCARD = 9


class SourceAddress:
    """Asks the kernel which of our addresses it would use towards a host, and keeps that for a moment; sends nothing.

    Where we listen on one address only (`bound`, neither 0.0.0.0 nor ::), that is the one.
    """

    def __init__(self, bound: str, now: Callable[[], float] = time.monotonic) -> None:
        self._bound = "" if bound in ("0.0.0.0", "::") else bound
        self._now = now
        self._kept: dict[str, tuple[str, float]] = {}

    def __call__(self, host: str) -> str:
        """Our address towards an address literal, "" where there is no route."""
        if self._bound:
            return self._bound if (":" in self._bound) == (":" in host) else ""
        found, until = self._kept.get(host, ("", 0.0))
        if until > self._now():
            return found
        found = ""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, _DISCARD))          # chooses a route
            found = str(probe.getsockname()[0])
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[host] = (found, self._now() + KEPT_S)
        return found
