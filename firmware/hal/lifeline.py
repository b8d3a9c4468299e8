"""When the lifeline relay may separate FXO 1 from FXS 1 (L3).

Theory of operation
-------------------
Without current the relay joins the exchange line to the telephone. It gets current only when somebody serves both: both ports
passed bring-up and core and media live. From then on one of them may be gone for `grace_ms` (a restart), no longer; one that will not be
started again, a stop or an escalation release it at once. A port that fails later does not release it: its line is then not served, but
a telephone that is shorted must not be put onto the exchange line. The grace is over only when `LEAST_LOOKS` looks in a row found somebody
missing: a parent that was itself stopped for longer than the grace sees everybody's heartbeat stand still, and must look again.
`LifelineRule` is pure: instants come in, the state of the relay comes out. `LifelineWord` carries what it needs to know from media to the
parent, and what became of it to core: one byte each way in memory that is shared by inheritance.
"""

from __future__ import annotations

import mmap
from typing import Literal, NamedTuple, get_args

RelayState = Literal["none", "released", "energised", "stuck"]
GRACE_MS = 10_000
LEAST_LOOKS = 3
_STATES = get_args(RelayState)


class Seen(NamedTuple):
    """What the parent sees at an instant."""

    pair_ready: bool
    """Both ports passed bring-up under the media process that runs."""
    core: bool
    """Core runs and shows its heartbeat."""
    media: bool
    """Media runs and shows its heartbeat."""
    ending: bool = False
    """A stop, an escalation, or a process that is not started again."""


class LifelineRule:
    """Relay on or off; call `judge` about once a second and at each end of a process."""

    def __init__(self, grace_ms: int = GRACE_MS) -> None:
        self._grace_ms = grace_ms
        self._good_at: int | None = None
        self._missed = 0
        self.energised = False

    def judge(self, now: int, seen: Seen) -> bool:
        """True: the relay has current. `now` in ms of any clock that only goes forward."""
        if seen.ending:
            self.energised = False
        elif seen.pair_ready and seen.core and seen.media:
            self.energised = True
            self._good_at, self._missed = now, 0
        else:
            self._missed += 1
            if self._good_at is None or (now - self._good_at >= self._grace_ms and self._missed >= LEAST_LOOKS):
                self.energised = False
        return self.energised


class LifelineWord:
    """Two bytes that outlive any child; made by the parent before it forks."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    @property
    def pair_ready(self) -> bool:
        """Media brought up both ports of the pair."""
        return self._memory[0] == 1

    @pair_ready.setter
    def pair_ready(self, ready: bool) -> None:
        self._memory[0] = int(ready)

    @property
    def joined(self) -> bool:
        """The relay will separate the jacks, but has not yet."""
        return self.pair_ready and self.relay in ("none", "released")

    @property
    def relay(self) -> RelayState:
        """What the parent did with the relay; "stuck": its contacts do not follow."""
        state: RelayState = _STATES[self._memory[1]]
        return state

    @relay.setter
    def relay(self, state: RelayState) -> None:
        self._memory[1] = _STATES.index(state)
