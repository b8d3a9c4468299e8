"""The in-process event bus: typed, synchronous to publish, never raising into the publisher.

Theory of operation
-------------------
`publish(event)` calls each subscriber of the event's class or of one of its bases, in the order of subscription. An event
published by a subscriber is delivered after the present one has reached everybody, so all subscribers see the same order
and no state machine is entered twice. Async consumers take a `BusQueue`, which is bounded and has a declared policy:
`lossy` drops its oldest event and counts it; `must_keep` goes on past its size (with one alarm in the log) up to
`KEEP_FACTOR` times it and only then loses, counted. One thread (the loop's) uses a bus.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, TypeVar

Policy = Literal["must_keep", "lossy"]
Types = type | tuple[type, ...]
E = TypeVar("E")
KEEP_FACTOR = 16

log = logging.getLogger("branchpbx.bus")


class Subscription:
    """Handle of a subscriber; `cancel()` ends it."""

    def __init__(self, bus: Bus, types: tuple[type, ...], fn: Callable[[Any], object]) -> None:
        self._bus = bus
        self.types = types
        self.fn = fn
        self.active = True

    def cancel(self) -> None:
        """Deliver nothing more; idempotent."""
        self.active = False
        self._bus._forget(self)


class BusQueue:
    """A bounded queue of events for one async consumer."""

    def __init__(self, policy: Policy, size: int) -> None:
        if size < 1:
            raise ValueError(f"queue size {size} is not at least 1")
        self.policy: Policy = policy
        self.size = size
        self.lost = 0
        self.highest = 0
        self._events: deque[Any] = deque()
        self._ready = asyncio.Event()
        self._overrun = False
        self._subscription: Subscription | None = None

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Any) -> None:
        """Append by the policy; never blocks, never raises."""
        if len(self._events) >= self.size:
            if self.policy == "lossy":
                self._events.popleft()
                self.lost += 1
            else:
                if not self._overrun:
                    self._overrun = True
                    log.error("must-keep queue is past its size of %d: its consumer is too slow", self.size)
                if len(self._events) >= self.size * KEEP_FACTOR:
                    self._events.popleft()
                    self.lost += 1
        self._events.append(event)
        self.highest = max(self.highest, len(self._events))
        self._ready.set()

    async def get(self) -> Any:
        """Next event, in order."""
        while not self._events:
            self._ready.clear()
            await self._ready.wait()
        event = self._events.popleft()
        if self._overrun and len(self._events) < self.size:
            self._overrun = False
        return event

    def drain(self) -> list[Any]:
        """Everything queued, without waiting."""
        events = list(self._events)
        self._events.clear()
        self._overrun = False
        return events

    def close(self) -> None:
        """Stop receiving; what is queued stays readable."""
        if self._subscription is not None:
            self._subscription.cancel()

    def statistics(self) -> dict[str, int]:
        """Counts: waiting, highest, lost."""
        return {"waiting": len(self._events), "highest": self.highest, "lost": self.lost}


class Bus:
    """See the theory of operation above."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._by_type: dict[type, list[Subscription]] = {}
        self._pending: deque[Any] = deque()
        self._publishing = False
        self.published = 0
        self.failures = 0

    def publish(self, event: object) -> None:
        """Deliver to all subscribers; inside a delivery the event waits for its turn. Never raises."""
        self._pending.append(event)
        if self._publishing:
            return
        self._publishing = True
        try:
            while self._pending:
                self._deliver(self._pending.popleft())
        finally:
            self._publishing = False

    def subscribe(self, types: type[E] | tuple[type[E], ...], fn: Callable[[E], object]) -> Subscription:
        """Call `fn` with each event of `types` (a class or a tuple; subclasses included)."""
        wanted = types if isinstance(types, tuple) else (types,)
        subscription = Subscription(self, wanted, fn)
        self._subscriptions.append(subscription)
        self._by_type.clear()
        return subscription

    def queue(self, types: Types, policy: Policy, size: int = 1000) -> BusQueue:
        """A `BusQueue` fed with each event of `types`."""
        queue = BusQueue(policy, size)
        queue._subscription = self.subscribe(types, queue.put)
        return queue

    def _deliver(self, event: object) -> None:
        self.published += 1
        kind = type(event)
        targets = self._by_type.get(kind)
        if targets is None:
            targets = self._by_type[kind] = [s for s in self._subscriptions if issubclass(kind, s.types)]
        for subscription in targets:
            if not subscription.active:
                continue
            try:
                subscription.fn(event)
            except Exception:
                self.failures += 1
                log.exception("subscriber %r failed on %s", subscription.fn, kind.__name__)

    def _forget(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            self._by_type.clear()
