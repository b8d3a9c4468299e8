"""Supervision of the parts inside one process (architecture section 4).

Theory of operation
-------------------
A `Supervisor` owns children in order. Each child is a task; when one ends, its restart kind says whether that is a failure
(`permanent`: always; `transient`: only by an exception; `temporary`: never restarted), and the strategy says who is
restarted with it (`one_for_one`: itself, `rest_for_one`: it and those started after it, `one_for_all`: all). Restarts wait
with doubling back-off on the clock given. More than `intensity` restarts within `period_ms` raise `Escalate` with the cause,
after the children were stopped in reverse order. Invariant: when `run()` returns or raises, no child task is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from firmware.errors import PbxError
from firmware.runtime.clock import Clock

Strategy = Literal["one_for_one", "rest_for_one", "one_for_all"]
Restart = Literal["permanent", "transient", "temporary"]

log = logging.getLogger("branchpbx.supervisor")


class Escalate(PbxError):
    """A supervisor gave up; `__cause__` is the last failure."""


class Child:
    """What a supervisor starts: `factory()` returns the awaitable of its life; `stop` is called before it is cancelled."""

    def __init__(
        self,
        name: str,
        factory: Callable[[], Awaitable[object]],
        *,
        restart: Restart = "permanent",
        stop: Callable[[], object] | None = None,
    ) -> None:
        self.name = name
        self.factory = factory
        self.restart: Restart = restart
        self.stop = stop
        self.starts = 0
        self.task: asyncio.Task[None] | None = None
        self.finished = False

    async def live(self) -> None:
        """Run the child once."""
        await self.factory()


class Supervisor:
    """See the theory of operation above."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        children: Sequence[Child] = (),
        *,
        strategy: Strategy = "one_for_one",
        intensity: int = 5,
        period_ms: int = 60_000,
        backoff_ms: int = 100,
        backoff_most_ms: int = 5_000,
    ) -> None:
        self.name = name
        self.strategy: Strategy = strategy
        self._clock = clock
        self._children = list(children)
        self._intensity = intensity
        self._period = period_ms
        self._backoff = backoff_ms
        self._backoff_most = backoff_most_ms
        self._restarts: deque[int] = deque()
        self._changed = asyncio.Event()
        self._stopping = False

    def add(self, child: Child) -> None:
        """Start one more child (it comes last in order); before `run` it is started with the others."""
        self._children.append(child)
        self._changed.set()

    def stop(self) -> None:
        """Let `run` stop all children in reverse order and return."""
        self._stopping = True
        self._changed.set()

    def statistics(self) -> dict[str, int]:
        """Starts of each child."""
        return {child.name: child.starts for child in self._children}

    async def run(self) -> None:
        """Start the children and keep them alive until `stop()`, cancellation, or `Escalate`."""
        try:
            while not self._stopping:
                self._changed.clear()
                for child in self._children:
                    if child.task is None and not child.finished:
                        self._start(child)
                ended = [child for child in self._children if child.task is not None and child.task.done()]
                if ended:
                    await self._handle(ended[0])
                    continue
                self._children = [child for child in self._children if not (child.finished and child.restart == "temporary")]
                await self._changed.wait()
        finally:
            await self._stop_from(0)

    def _start(self, child: Child) -> None:
        child.starts += 1
        child.task = asyncio.ensure_future(child.live())
        child.task.set_name(f"{self.name}/{child.name}")
        child.task.add_done_callback(lambda _task: self._changed.set())

    async def _handle(self, child: Child) -> None:
        assert child.task is not None
        task, child.task = child.task, None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("%s/%s failed", self.name, child.name, exc_info=error)
        if child.restart == "temporary" or (child.restart == "transient" and error is None and not task.cancelled()):
            child.finished = True
            return
        await self._account(child, error)
        if self.strategy == "one_for_one":
            return
        await self._stop_from(0 if self.strategy == "one_for_all" else self._children.index(child))

    async def _account(self, child: Child, error: BaseException | None) -> None:
        now = self._clock.now()
        self._restarts.append(now)
        while self._restarts and now - self._restarts[0] > self._period:
            self._restarts.popleft()
        if len(self._restarts) > self._intensity:
            raise Escalate(
                f"supervisor {self.name}: {child.name} and others failed {len(self._restarts)} times within {self._period // 1000} s"
            ) from error
        done = asyncio.Event()
        delay = min(self._backoff * (1 << (len(self._restarts) - 1)), self._backoff_most)
        timer = self._clock.call_later(delay, done.set)
        try:
            while not done.is_set() and not self._stopping:
                stopping = asyncio.ensure_future(self._changed.wait())
                waiting = asyncio.ensure_future(done.wait())
                try:
                    await asyncio.wait({stopping, waiting}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    stopping.cancel()
                    waiting.cancel()
                if not self._stopping:
                    self._changed.clear()
        finally:
            timer.cancel()
            self._changed.set()

    async def _stop_from(self, index: int) -> None:
        for child in reversed(self._children[index:]):
            task = child.task
            if task is None:
                continue
            if child.stop is not None:
                try:
                    child.stop()
                except Exception:
                    log.exception("%s/%s: stop failed", self.name, child.name)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.wait({task})
            child.task = None
