"""How agent and caller speak with each other, in a form that survives the process (L1, pure; ANS-05, SPC-04 to SPC-07, HLD-02).

Theory of operation
-------------------
The engine tells of each talk of both directions: its begin as it happened, its end 200 ms after it (`dsp/activity.pyx`). `Speaking` adds
them up for one agent's conversation with one caller, by the definitions of Part C of the requirements:
* *first word*: from the joining to the first talk of the agent of at least 200 ms;
* *interruption*: the agent begins while the caller has spoken for a second, both speak for 0.7 s at least, and the agent goes on for a
  second behind the caller's end. Shorter overlaps are words of attention ("yes", "right") and do not count;
* *dead air*: nobody speaks for 15 s while both hear each other. Hold, consultation and music end the silence: `apart`, `together`;
* *talk share* and *level*: ms of each side's talks, and their mean power.
No sound is kept and no word is understood. Instants are engine ms, -1 is never. A telephone that lets its own loudspeaker into its
microphone makes overlaps; on our analogue ports the engine judges behind the echo canceller.
"""

from __future__ import annotations

import math

import msgspec

FIRST_MS = 200
SPOKEN_MS = 1000
OVERLAP_MS = 700
FLOOR_MS = 1000
DEAD_MS = 15_000
KEPT = 4


class Talks(msgspec.Struct):
    """One side: the talk that goes on, the latest that are over (begin, end), sums. `power`: ms times relative power."""

    since: int = -1
    latest: list[list[int]] = []
    ms: int = 0
    levelled: int = 0
    power: float = 0.0


class Figures(msgspec.Struct, frozen=True):
    """What is written of a conversation. Times in ms; `first_ms` -1: the agent said nothing; levels in dBm0, None: not known."""

    joined_ms: int
    first_ms: int
    interruptions: int
    dead: int
    dead_ms: int
    agent_ms: int
    caller_ms: int
    agent_dbm0: float | None
    caller_dbm0: float | None


class Speaking(msgspec.Struct):
    """A conversation; see the module docstring. `agent`, `caller`: their legs; `number`: the agent."""

    agent: str
    caller: str
    number: str
    joined: int = -1
    joined_ms: int = 0
    since: int = -1
    """From when both hear each other."""
    span: list[int] = []
    """The latest time in which they did, once it is over."""
    silent: int = -1
    """From when nobody speaks."""
    first_ms: int = -1
    interruptions: int = 0
    dead: int = 0
    dead_ms: int = 0
    talks: dict[str, Talks] = {}

    def together(self, now: int) -> None:
        """Both hear each other from now on."""
        self.joined = self.joined if self.joined >= 0 else now
        self.since = self.silent = now

    def apart(self, now: int) -> None:
        """They hear each other no longer."""
        if self.since >= 0:
            self._quiet(now)
            self.joined_ms += now - self.since
            self.span = [self.since, now]
        self.since = self.silent = -1

    def began(self, leg: str, start: int) -> None:
        """Somebody began to speak."""
        self._side(leg).since = start
        self._quiet(start)

    def ended(self, leg: str, start: int, end: int, level: float | None) -> None:
        """Somebody spoke from `start` to `end`, at `level` dBm0."""
        side, other = self._side(leg), self._side(self.caller if leg == self.agent else self.agent)
        side.since = -1
        if self.since >= 0:
            heard, until = max(start, self.since), end
        elif self.span:
            heard, until = max(start, self.span[0]), min(end, self.span[1])
        else:
            return
        ms = until - heard
        if ms <= 0:
            return                          # what somebody says on hold, or to a third party, belongs to no conversation of the two
        side.ms += ms
        if level is not None:
            side.levelled += ms
            side.power += ms * 10 ** (level / 10)
        side.latest = [*side.latest, [heard, until]][-KEPT:]
        if self.since >= 0 and other.since < 0:
            self.silent = until
        if leg == self.agent:
            if self.first_ms < 0 and ms >= FIRST_MS:
                self.first_ms = heard - self.joined
            self.interruptions += self._interrupted(heard, until)

    def figures(self, now: int) -> Figures:
        """All that there is to say when it is over."""
        self.apart(now)
        for leg in (self.agent, self.caller):
            begun = self._side(leg).since
            if begun >= 0:                  # its port closed before the talk did
                self.ended(leg, begun, max(begun, now), None)
        ours, theirs = self._side(self.agent), self._side(self.caller)
        return Figures(
            self.joined_ms, self.first_ms, self.interruptions, self.dead, self.dead_ms, ours.ms, theirs.ms, _dbm0(ours), _dbm0(theirs)
        )

    def _side(self, leg: str) -> Talks:
        return self.talks.setdefault(leg, Talks())

    def _quiet(self, until: int) -> None:
        """The silence is over."""
        if self.silent >= 0 and until - self.silent >= DEAD_MS:
            self.dead += 1
            self.dead_ms = max(self.dead_ms, until - self.silent)
        self.silent = -1

    def _interrupted(self, start: int, end: int) -> bool:
        return any(
            begun + SPOKEN_MS <= start and min(over, end) - start >= OVERLAP_MS and end - over >= FLOOR_MS
            for begun, over in self._side(self.caller).latest
        )


def _dbm0(side: Talks) -> float | None:
    return round(10 * math.log10(side.power / side.levelled), 1) if side.levelled and side.power > 0 else None
