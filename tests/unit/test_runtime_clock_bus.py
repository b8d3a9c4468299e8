"""Timers run in order, once, at their instant; the bus keeps one order and never raises."""

from __future__ import annotations

import asyncio
import random

import msgspec

from firmware.runtime.alarms import AlarmCleared, AlarmRaised, Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import NO_HORIZON, EngineClock, ManualClock
from firmware.runtime.health import stale
from firmware.runtime.ids import Ids, base32


class Ring:
    """The clock words of a ring segment, in plain memory."""

    def __init__(self) -> None:
        self.tick = 0
        self.wall_base_ms = 1_000_000
        self.horizon = NO_HORIZON

    def set_horizon(self, tick: int, /) -> None:
        self.horizon = tick


def test_a_virtual_clock_is_held_while_something_from_outside_is_handled() -> None:
    ring = Ring()
    clock = EngineClock(ring)
    clock.call_at(500, lambda: None)
    assert ring.horizon == 50
    with clock.held():
        assert ring.horizon == 0
        clock.call_at(300, lambda: None)
        assert ring.horizon == 0
    assert ring.horizon == 30


def test_real_time_is_not_held_and_a_timer_set_meanwhile_is_told_at_once() -> None:
    ring = Ring()
    clock = EngineClock(ring, real=True)
    clock.call_at(500, lambda: None)
    with clock.held():
        assert ring.horizon == 50
        clock.call_at(300, lambda: None)
        assert ring.horizon == 30
        clock.call_at(400, lambda: None)
    assert ring.horizon == 30


def test_timers_run_in_order_of_instant_then_of_setting(rng: random.Random) -> None:
    clock = ManualClock()
    ran: list[tuple[int, int]] = []
    instants = [rng.randrange(0, 50) for _ in range(200)]
    for number, at in enumerate(instants):
        clock.call_at(at, lambda number=number: ran.append((clock.now(), number)))
    clock.advance(50)
    assert ran == sorted((at, number) for number, at in enumerate(instants))


def test_cancelled_timer_never_runs_and_failing_one_does_not_stop_the_next() -> None:
    clock = ManualClock()
    ran: list[str] = []
    first = clock.call_later(10, lambda: ran.append("cancelled"))
    clock.call_later(10, lambda: 1 / 0)
    clock.call_later(10, lambda: ran.append("after"))
    first.cancel()
    first.cancel()
    clock.advance(10)
    assert ran == ["after"]


def test_engine_clock_publishes_its_next_deadline_and_runs_only_what_is_due() -> None:
    ring = Ring()
    clock = EngineClock(ring)
    ran: list[int] = []
    late = clock.call_later(105, lambda: ran.append(105))
    assert ring.horizon == 11
    clock.call_later(30, lambda: ran.append(30))
    assert ring.horizon == 3
    ring.tick = 3
    assert clock.run_due() == 1 and ran == [30] and ring.horizon == 11
    ring.tick = 10
    assert clock.run_due() == 0
    late.cancel()
    clock.run_due()
    assert ring.horizon == NO_HORIZON
    assert clock.wall_ms() == 1_000_100


def test_timer_set_by_a_timer_is_published() -> None:
    ring = Ring()
    clock = EngineClock(ring)
    clock.call_later(10, lambda: clock.call_later(20, lambda: None))
    ring.tick = 1
    clock.run_due()
    assert ring.horizon == 3


class A(msgspec.Struct, frozen=True):
    n: int


class B(A, frozen=True):
    pass


def test_subscriber_of_a_base_gets_derived_events_and_a_failure_reaches_nobody() -> None:
    bus = Bus()
    seen: list[object] = []
    bus.subscribe(A, lambda event: 1 / 0)
    bus.subscribe(A, seen.append)
    only = bus.subscribe((B,), seen.append)
    bus.publish(A(1))
    bus.publish(B(2))
    only.cancel()
    bus.publish(B(3))
    assert seen == [A(1), B(2), B(2), B(3)]
    assert bus.failures == 3


def test_event_published_inside_a_delivery_waits_so_all_see_one_order() -> None:
    bus = Bus()
    first: list[int] = []
    second: list[int] = []

    def chain(event: A) -> None:
        first.append(event.n)
        if event.n < 3:
            bus.publish(A(event.n + 1))

    bus.subscribe(A, chain)
    bus.subscribe(A, lambda event: second.append(event.n))
    bus.publish(A(1))
    assert first == second == [1, 2, 3]


def test_lossy_queue_drops_the_oldest_and_counts_must_keep_keeps() -> None:
    async def scenario() -> None:
        bus = Bus()
        lossy = bus.queue(A, "lossy", 2)
        keep = bus.queue(A, "must_keep", 2)
        for n in range(5):
            bus.publish(A(n))
        assert [event.n for event in lossy.drain()] == [3, 4] and lossy.lost == 3
        assert [(await keep.get()).n for _ in range(5)] == [0, 1, 2, 3, 4] and keep.lost == 0
        for n in range(100):
            bus.publish(A(n))
        assert keep.lost == 100 - 32
        keep.close()
        bus.publish(A(0))
        assert len(keep) == 32

    asyncio.run(scenario())


def test_alarm_is_published_once_and_cleared_once() -> None:
    bus = Bus()
    seen: list[object] = []
    bus.subscribe((AlarmRaised, AlarmCleared), seen.append)
    alarms = Alarms(bus, ManualClock())
    alarms.note("disk", "full")
    alarms.note("disk", "full")
    alarms.note("disk", "")
    alarms.clear("disk")
    assert [type(event).__name__ for event in seen] == ["AlarmRaised", "AlarmCleared"]
    assert alarms.list() == []


def test_ids_are_unique_over_restarts() -> None:
    made = [getattr(Ids(boot), kind)() for boot in (1, 2, 3) for kind in ("leg", "contact")]
    assert len(set(made)) == 6 and made[0].startswith("L") and made[1].startswith("C")
    assert base32(0) == "0" and base32(32) == "10"


def test_heartbeat_is_stale_only_after_the_limit() -> None:
    assert not stale(0, 1_000_000_000, 1_500_000_000, 1000)
    assert not stale(2_000_000_000, 0, 2_900_000_000, 1000)
    assert stale(2_000_000_000, 0, 3_100_000_000, 1000)
