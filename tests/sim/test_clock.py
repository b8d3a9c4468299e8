"""The world's clock: pacing, determinism, cost."""

from __future__ import annotations

import multiprocessing
import socket
import time
from typing import Any

from firmware.sim.people import AnswerPlan, CallPlan, Press
from firmware.sim.world import Until, unread
from tests.sim.stand_in import OFF_HOOK, Box


def day(seed: int) -> tuple[list[dict[str, Any]], bytes]:
    box = Box(seed=seed)
    tape = box.keep(0)
    box.town.staff_phone(1, AnswerPlan())
    box.town.call_in(CallPlan("13800138000", 1, say="speech:2", presses=(Press("1", "after", 1.5),), hang_up_after_ms=8000))
    box.run(3_000)
    box.drive(0, OFF_HOOK)
    box.run(12_000)
    return box.town.world.observations, bytes(tape)


def test_the_same_seed_gives_the_same_day() -> None:
    assert day(5) == day(5)


def test_an_idle_world_costs_less_than_three_percent_of_real_time() -> None:
    box = Box()
    for _ in range(100):
        box.town.world.step()
    start = time.process_time()
    for _ in range(3000):
        box.town.world.step()
    assert time.process_time() - start < 0.03 * 30.0


def test_virtual_time_runs_thirty_times_faster_than_real_time_with_a_process_that_ticks() -> None:
    box = Box()
    world = box.town.world
    box.town.call_in(CallPlan("13800138000", 1, caller_id="none", tone_hz=700))

    def media() -> None:
        while True:
            box.segment.tick()
            time.sleep(20e-6)

    def enough() -> None:
        world.stopping = True

    world.after(20_000, enough)
    peer = multiprocessing.get_context("fork").Process(target=media, daemon=True)
    peer.start()
    start = time.monotonic()
    world.run()
    spent = time.monotonic() - start
    peer.kill()
    peer.join()
    assert world.now >= 20_000
    assert spent < 20.0 / 30


def test_real_time_is_kept_on_absolute_deadlines() -> None:
    box = Box()
    world = box.town.world
    box.segment.speed = 100

    def stop() -> None:
        world.stopping = True

    world.after(500, stop)
    start = time.monotonic()
    world.run()
    assert 0.49 <= time.monotonic() - start < 0.8


def test_a_broken_script_does_not_stop_the_world() -> None:
    box = Box()

    def broken():  # type: ignore[no-untyped-def]
        yield 50
        raise ZeroDivisionError("a person fell over")

    task = box.town.world.spawn("faller", broken())
    box.run(200)
    assert task.done
    assert "fell over" in task.error
    assert box.town.world.observations[-1]["what"] == "script-failed"


def test_a_wait_with_a_limit_ends_at_the_limit() -> None:
    box = Box()
    ends: list[tuple[bool, int]] = []

    def waiting():  # type: ignore[no-untyped-def]
        met = yield Until(lambda: False, 300)
        ends.append((met, box.town.world.now))

    box.town.world.spawn("waiter", waiting())
    box.run(600)
    assert ends == [(False, 330)] or ends[0][1] <= 350


def test_a_datagram_that_nobody_has_read_is_seen_until_it_is_read() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taker, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as giver:
        taker.bind(("127.0.0.1", 0))
        address = taker.getsockname()
        assert not unread(address)
        giver.sendto(b"INVITE", address)
        assert unread(address)
        taker.recv(100)
        assert not unread(address)


def test_a_directed_world_moves_only_while_somebody_waits() -> None:
    """The director sees the block stand still, lets 200 ms pass, and sees it stand still again."""
    box = Box()
    world = box.town.world
    seen: list[int] = []

    class Director:
        """A socket that is readable whenever the world asks."""

        def __init__(self) -> None:
            self.inner, other = socket.socketpair()
            other.send(b"x")
            self.other = other

        def fileno(self) -> int:
            return self.inner.fileno()

        def readable(self) -> None:
            if world.waits:
                return
            seen.append(world.now)
            if len(seen) == 3:
                world.waits = 1
                world.after(200, over)
            elif len(seen) == 6:
                world.stopping = True

    def over() -> None:
        world.waits = 0

    director = Director()
    world.poll(director)
    world.directed = True
    with director.inner, director.other:
        world.segment.speed = 100  # real time: nothing has to tick
        world.run()
    assert seen[0] == seen[1] == seen[2]
    assert seen[3] == seen[4] == seen[2] + 200
