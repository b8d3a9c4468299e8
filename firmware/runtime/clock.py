"""The one clock of a process: integer milliseconds of the engine, and the timers that run on it.

Theory of operation
-------------------
Time is what the media engine has ticked: `now()` is its tick count times 10 ms, so a simulated world that runs faster
than real time speeds up every timer of the product, and a stopped engine stops them. `EngineClock` keeps timers in a
heap; the owner of the event loop calls `run_due()` after each batch of engine events. The earliest deadline is
published to the engine as the *horizon*, and the engine wakes the loop when its tick reaches it: an idle process sleeps.
Invariants: a timer runs at most once and never early; timers due at the same instant run in the order they were set; a
timer that raises is logged and does not keep the next one from running; a cancelled timer never runs.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Callable
from typing import Protocol

TICK_MS = 10
NO_HORIZON = (1 << 63) - 1  # tick published while no timer is set
# A timer that re-arms itself for "now" may run this often in one batch before the loop gets its turn again.
BATCH_LIMIT = 10_000

log = logging.getLogger("branchpbx.clock")


class Timer:
    """A pending call; `cancel()` may be called at any time, also after it ran."""

    __slots__ = ("_fn", "at")

    def __init__(self, at: int, fn: Callable[[], object]) -> None:
        self.at = at
        self._fn: Callable[[], object] | None = fn

    @property
    def active(self) -> bool:
        """True until the timer ran or was cancelled."""
        return self._fn is not None

    def cancel(self) -> None:
        """Forget the call (and what it holds); idempotent."""
        self._fn = None

    def run(self) -> None:
        """Run the call unless cancelled; an exception is logged, not raised."""
        fn, self._fn = self._fn, None
        if fn is None:
            return
        try:
            fn()
        except Exception:
            log.exception("timer due at %d ms failed", self.at)


class Clock(Protocol):
    """What every part may know of time (all integer milliseconds)."""

    def now(self) -> int:
        """Engine time; monotonic."""
        ...

    def wall_ms(self) -> int:
        """Unix time in ms as the engine counts it (the start date can be set)."""
        ...

    def call_at(self, at: int, fn: Callable[[], object]) -> Timer:
        """Run `fn` at engine time `at`, or at the next batch if that is past."""
        ...

    def call_later(self, ms: int, fn: Callable[[], object]) -> Timer:
        """Run `fn` in `ms` milliseconds."""
        ...


class TimerHeap:
    """Timers ordered by instant, then by order of setting."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return sum(1 for _, _, timer in self._heap if timer.active)

    def push(self, at: int, fn: Callable[[], object]) -> Timer:
        """Set a timer."""
        timer = Timer(at, fn)
        heapq.heappush(self._heap, (at, next(self._order), timer))
        return timer

    def deadline(self) -> int | None:
        """Instant of the earliest active timer; drops cancelled ones on the way."""
        while self._heap and not self._heap[0][2].active:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: int) -> Timer | None:
        """The earliest timer if it is due."""
        at = self.deadline()
        if at is None or at > now:
            return None
        return heapq.heappop(self._heap)[2]


class ClockRing(Protocol):
    """The clock words of the ring segment (`dsp/ring.pyx`)."""

    @property
    def tick(self) -> int:
        """Blocks of 10 ms since the engine's clock began."""
        ...

    @property
    def wall_base_ms(self) -> int:
        """Unix time in ms of tick 0."""
        ...

    def set_horizon(self, tick: int, /) -> None:
        """Ask the engine to wake us once its tick reaches this."""
        ...


class EngineClock:
    """The clock of core: reads the tick word, runs timers when told, publishes the next deadline. `real`: it stands still for nobody."""

    def __init__(self, ring: ClockRing, *, real: bool = False) -> None:
        self._ring = ring
        self._unheld = Unheld() if real else None
        self._timers = TimerHeap()
        self._published: int | None = None
        self._running = False

    def now(self) -> int:
        return self._ring.tick * TICK_MS

    def wall_ms(self) -> int:
        return self._ring.wall_base_ms + self._ring.tick * TICK_MS

    def call_at(self, at: int, fn: Callable[[], object]) -> Timer:
        timer = self._timers.push(at, fn)
        if not self._running and (self._published is None or at < self._published):
            self._publish()
        return timer

    def call_later(self, ms: int, fn: Callable[[], object]) -> Timer:
        return self.call_at(self.now() + ms, fn)

    def run_due(self) -> int:
        """Run every timer that is due, publish the next deadline, return how many ran."""
        ran = 0
        self._running = True
        try:
            while ran < BATCH_LIMIT and (timer := self._timers.pop_due(self.now())) is not None:
                timer.run()
                ran += 1
        finally:
            self._running = False
            self._publish()
        return ran

    def deadline(self) -> int | None:
        """Engine time of the next timer."""
        return self._timers.deadline()

    def held(self) -> Held | Unheld:
        """Something from outside is being handled: a virtual clock stands still meanwhile (real time does not)."""
        return self._unheld or Held(self)

    def _hold(self) -> bool:
        self._ring.set_horizon(0)
        before, self._running = self._running, True
        return before

    def _let_go(self, before: bool) -> None:
        self._running = before
        self._publish()

    def _publish(self) -> None:
        at = self._timers.deadline()
        self._published = at
        self._ring.set_horizon(NO_HORIZON if at is None else -(-max(at, 0) // TICK_MS))


class Held:
    """The `with` block of `EngineClock.held`; a generator would cost each message more than reading its first line."""

    __slots__ = ("_before", "_clock")

    def __init__(self, clock: EngineClock) -> None:
        self._clock = clock
        self._before = False

    def __enter__(self) -> None:
        self._before = self._clock._hold()

    def __exit__(self, *_: object) -> None:
        self._clock._let_go(self._before)


class Unheld:
    """The `with` block where nothing can be held."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Time goes on."""

    def __exit__(self, *_: object) -> None:
        """As before."""


class LoopTimer(Timer):
    """A timer of the event loop."""

    __slots__ = ("_handle",)

    def __init__(self, loop: asyncio.AbstractEventLoop, at: int, fn: Callable[[], object]) -> None:
        super().__init__(at, fn)
        self._handle = loop.call_at(at / 1000, self.run)

    def cancel(self) -> None:
        super().cancel()
        self._handle.cancel()


class LoopClock:
    """Real time, for a process that has no part in calls (management)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> int:
        return int(self._loop.time() * 1000)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def call_at(self, at: int, fn: Callable[[], object]) -> Timer:
        return LoopTimer(self._loop, at, fn)

    def call_later(self, ms: int, fn: Callable[[], object]) -> Timer:
        return LoopTimer(self._loop, self.now() + ms, fn)


class ManualClock:
    """A clock that only the test moves."""

    def __init__(self, now: int = 0, wall_base_ms: int = 1_767_225_600_000) -> None:
        self._now = now
        self._base = wall_base_ms
        self._timers = TimerHeap()

    def now(self) -> int:
        return self._now

    def wall_ms(self) -> int:
        return self._base + self._now

    def call_at(self, at: int, fn: Callable[[], object]) -> Timer:
        return self._timers.push(at, fn)

    def call_later(self, ms: int, fn: Callable[[], object]) -> Timer:
        return self._timers.push(self._now + ms, fn)

    def deadline(self) -> int | None:
        """Instant of the next timer."""
        return self._timers.deadline()

    def advance(self, ms: int) -> int:
        """Move time on by `ms`, running due timers in order, each at its own instant; returns how many ran."""
        end = self._now + ms
        ran = 0
        while (timer := self._timers.pop_due(end)) is not None:
            self._now = max(self._now, timer.at)
            timer.run()
            ran += 1
            if ran > BATCH_LIMIT:
                raise RuntimeError(f"more than {BATCH_LIMIT} timers within {ms} ms: one of them sets itself again for now")
        self._now = end
        return ran
