"""Estimated waits from recent service (L1, pure; feature G8).

Theory of operation
-------------------
Of each queue the mean time that a call keeps an agent (talk and wrap-up) is kept as a moving mean over about the last twenty calls:
mean += (new - mean) / min(count, 20). A caller with `ahead` others before him waits until `ahead` + 1 agents have come free; with n agents
at work one comes free every mean / n, so the wait is (ahead + 1) * mean / n. That is exact for exponential service times and errs high
for others (the agents are already within their calls), which is the side to err on. Nothing is said before three calls were seen, with
nobody at work, or above `most`.
"""

from __future__ import annotations

import msgspec

RECENT = 20
LEAST = 3
MINUTE = 60_000


class Service(msgspec.Struct):
    """What is known of the calls of a queue: mean ms that a call keeps an agent, over `count` calls."""

    mean_ms: int = 0
    count: int = 0

    def took(self, ms: int) -> None:
        """A call kept an agent for this long."""
        self.count += 1
        self.mean_ms += (max(0, ms) - self.mean_ms) // min(self.count, RECENT)


def wait_ms(service: Service | None, ahead: int, at_work: int) -> int:
    """Expected further wait of a caller with `ahead` others before him and `at_work` agents; -1 where nothing can be said."""
    if service is None or service.count < LEAST or at_work <= 0:
        return -1
    return (ahead + 1) * service.mean_ms // at_work


def minutes(ms: int) -> int:
    """As it is said: whole minutes, rounded up; 0 for within one minute."""
    return 0 if ms <= MINUTE else -(-ms // MINUTE)
