"""Fax and card terminals: an untouched channel on both ports of the call (L5).

Theory of operation
-------------------
A modem is disturbed by whatever helps a person: canceller, nonlinear processor, gain, level changes. When a fax tone is heard on an
analogue port, or a port set for a terminal talks, that port and every analogue port in the same call get a clear channel for the
rest of the call. Who is in a call is told by `Calls` before it answers or rings a leg (`partners`); a partner that comes to talk
later gets its clear channel then. Invariant: a leg's knowledge goes with the leg.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


class ClearCalls:
    """`clear(leg)` makes the port of a leg clear; nothing happens when it has none or does not talk yet."""

    def __init__(self, clear: Callable[[str], None]) -> None:
        self._clear = clear
        self._with: dict[str, set[str]] = {}
        self._marked: set[str] = set()

    def partners(self, leg: str, others: Sequence[str]) -> None:
        """These legs are in one call."""
        self._with.setdefault(leg, set()).update(others)
        for other in others:
            self._with.setdefault(other, set()).add(leg)
        if self._marked & {leg, *others}:
            self.mark(leg)

    def mark(self, leg: str) -> None:
        """A terminal talks on this leg: its call is clear from now on."""
        if not leg:
            return
        for one in (leg, *sorted(self._with.get(leg, ()))):
            self._marked.add(one)
            self._clear(one)

    def is_clear(self, leg: str) -> bool:
        """A terminal talks in the call of this leg: nothing may touch its sound."""
        return leg in self._marked

    def talking(self, leg: str) -> None:
        """A leg came to talk: clear at once where its call is."""
        if leg in self._marked:
            self._clear(leg)

    def ended(self, leg: str) -> None:
        """Forget a leg."""
        self._marked.discard(leg)
        for other in self._with.pop(leg, ()):
            if other in self._with:
                self._with[other].discard(leg)
                if not self._with[other]:
                    self._marked.discard(other)              # alone: the next partner may be a person
