"""A loop for a process that only waits: descriptors, timers in real time, a signal that ends it (L4).

Theory of operation
-------------------
Media's work is done by native threads; what its Python does is to beat the heart, answer a channel and keep the timers of handshakes.
asyncio would serve, too, and costs such a process 3 MB and the time to import it. One thread runs the loop and calls all methods.
Invariants: a reader is called while its descriptor is readable, a timer once and never early; one that raises is logged, the others go on.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import select
import signal
import time
from collections.abc import Callable

log = logging.getLogger("branchpbx.loop")
Call = Callable[[], object]


class Timer:
    """A call that is to come."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        self.call: Call | None = call

    def cancel(self) -> None:
        """It does not come; again, or after it came: nothing."""
        self.call = None


class Loop:
    """See the theory of operation above. Close it when `run` has returned."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._readers: dict[int, Call] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stopping = self._signalled = False
        self.add_reader(self._wake_read, self._woken)

    def add_reader(self, descriptor: int, call: Call) -> None:
        """Call whenever there is something to read."""
        self._readers[descriptor] = call
        self._poll.register(descriptor, select.POLLIN)

    def remove_reader(self, descriptor: int) -> None:
        """Look at a descriptor no longer; one that is not looked at: nothing."""
        if self._readers.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def call_later(self, delay: float, call: Call) -> Timer:
        """Call in so many seconds."""
        timer = Timer(call)
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._order), timer))
        return timer

    def call_soon(self, call: Call) -> Timer:
        """Call in the next turn."""
        return self.call_later(0.0, call)

    def stop_on(self, number: signal.Signals) -> None:
        """Let a signal end `run`."""
        self._signalled = True
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(number, lambda _number, _frame: self.stop())

    def stop(self) -> None:
        """Let `run` return after this turn; the one method that a signal may call."""
        self._stopping = True

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._stopping:
            self._turn()

    def close(self) -> None:
        """Give back what the loop holds."""
        if self._signalled:
            signal.set_wakeup_fd(-1)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _turn(self) -> None:
        wait_ms = -1.0
        if self._timers:
            wait_ms = max(0.0, self._timers[0][0] - time.monotonic()) * 1000 + 1        # poll rounds down: never early
        for descriptor, _ in self._poll.poll(wait_ms if wait_ms < 0 else int(wait_ms)):
            reader = self._readers.get(descriptor)      # an earlier one of this turn may have removed it
            if reader is not None:
                self._guarded(reader)
        now = time.monotonic()
        due = []
        while self._timers and self._timers[0][0] <= now:
            due.append(heapq.heappop(self._timers)[2])
        for timer in due:
            call, timer.call = timer.call, None
            if call is not None:
                self._guarded(call)

    def _guarded(self, call: Call) -> None:
        try:
            call()
        except Exception:
            log.exception("a call of the loop failed")

    def _woken(self) -> None:
        os.read(self._wake_read, 512)
