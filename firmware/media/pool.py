"""Which RTP port a call gets (L3).

Theory of operation: a port that was closed rests REST_MS, so that packets of the last call find nobody; of those that have rested the
lowest is taken, so that the engine's memory grows with the calls at a time and not with time. Where none has rested, the one that rests
longest.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable

REST_MS = 3000


class PortPool:
    """Free and taken ports. `now` gives engine ms."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._rested: list[int] = []
        self._resting: deque[tuple[int, int]] = deque()     # until, port
        self.taken: set[int] = set()

    def fill(self, ports: Iterable[int], taken: Iterable[int] = ()) -> None:
        """All ports there are, and those that are in use."""
        self.taken = set(taken)
        self._resting.clear()
        self._rested = sorted(set(ports) - self.taken)

    def take(self) -> int | None:
        """A free port; None when there is none."""
        now = self._now()
        while self._resting and self._resting[0][0] <= now:
            heapq.heappush(self._rested, self._resting.popleft()[1])
        if self._rested:
            port = heapq.heappop(self._rested)
        elif self._resting:
            port = self._resting.popleft()[1]
        else:
            return None
        self.taken.add(port)
        return port

    def give(self, port: int) -> None:
        """The port is closed."""
        if port in self.taken:
            self.taken.discard(port)
            self._resting.append((self._now() + REST_MS, port))
