"""The clock and the stage of the simulated world: blocks, timers, scripts, sockets, observations.

Theory of operation. The only clock is the number of delivered blocks (10 ms each). At speed 100 a block is delivered on an
absolute deadline of CLOCK_MONOTONIC; at any other speed the next block waits until media has ticked the previous one and,
unless the speed is 0, until its own (scaled) deadline. Everything that happens in the world is a timer, a script (a generator that
yields a wait) or a raised flag of a wire, all run between `Segment.begin` and `Segment.finish`, so one seed gives one day.
With a sound card between lines and media (`card`) its clock is the deadline: a block is made when media's last one was captured.
What happens outside the blocks holds the virtual clock, so that a slow machine makes a slow day and no other one: a SIP message that its
receiver has not read yet (`hold_for`, at most `UNREAD_NS` of real time), and, while the world is *directed*, a director who is not
waiting for anything (`waits` counts who is).
Invariants: nothing here sleeps but `run`; every observation carries the world's milliseconds; Python runs per block only a
few lines while nobody does anything.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from firmware.sim.segment import Segment
from firmware.sim.wire import Wire

log = logging.getLogger("branchpbx.sim")
REAL_TIME_NICE = -10            # of the world in real time, where it may
BLOCK_MS = 10
BLOCK_NS = 10_000_000
POLL_MS = 20
APART = 4                       # blocks that media may count more than a world with a sound card
HISTORY = 20000
UNREAD_NS = 500_000_000


class Timer:
    """A due action; `cancel()` makes it do nothing."""

    __slots__ = ("action", "at")

    def __init__(self, at: int, action: Callable[[], None] | None) -> None:
        self.at = at
        self.action = action

    def cancel(self) -> None:
        self.action = None


@dataclass
class Until:
    """A script's wait: until `condition()` is true, asked every `every_ms`, or `limit_ms` passed. Sends back which (bool)."""

    condition: Callable[[], bool]
    limit_ms: int = 0
    every_ms: int = POLL_MS


Wait = int | Until
Script = Generator[Wait, bool, None]


class Task:
    """A running script."""

    def __init__(self, name: str, script: Script) -> None:
        self.name = name
        self.script = script
        self.done = False
        self.error = ""
        self.timer: Timer | None = None

    def stop(self) -> None:
        """End the script where it waits (its `finally` runs)."""
        if not self.done:
            self.done = True
            if self.timer is not None:
                self.timer.cancel()
            self.script.close()


def unread(address: tuple[str, int]) -> bool:
    """Whether datagrams wait at a UDP socket of this machine that is bound to `address` or to its port (Linux's table of sockets)."""
    host, port = socket.inet_aton(address[0]), address[1]
    places = {f"{int.from_bytes(place, sys.byteorder):08X}:{port:04X}" for place in (host, bytes(4))}
    try:
        rows = Path("/proc/self/net/udp").read_text("ascii").splitlines()[1:]
    except OSError:
        return False
    fields = (row.split() for row in rows)
    return any(field[1] in places and int(field[4].partition(":")[2], 16) > 0 for field in fields)


class Pollable(Protocol):
    """A socket owner that the world polls between blocks."""

    def fileno(self) -> int: ...

    def readable(self) -> None: ...


class Card(Protocol):
    """The world's half of a sound card (`loop_card.LoopCard`): blocks of all slots, in and out."""

    def fileno(self) -> int: ...

    def read(self) -> bytes | None: ...

    def write(self, block: bytes, /) -> None: ...

    def figures(self) -> dict[str, int]: ...


class World:
    """The stage. Parts add wires with `plug`, scripts with `spawn`, sockets with `poll`, per-block work with `each_block`."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.card: Card | None = None
        self.now = segment.block * BLOCK_MS
        self.stopping = False
        self.observations: list[dict[str, Any]] = []
        self.watchers: list[Callable[[dict[str, Any]], None]] = []
        self.each_block: list[Callable[[int], None]] = []
        self.paused_ms = 0
        self.xruns = 0
        self.drift_ppm = 0.0
        self.directed = False
        self.waits = 0
        self._unread: dict[tuple[str, int], int] = {}
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = 0
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._sockets: dict[int, Pollable] = {}

    # --- time -------------------------------------------------------------------------------------------------------

    @property
    def wall_ms(self) -> int:
        """Unix time in ms of the block in hand."""
        return self.segment.wall_base_ms + self.now

    def after(self, ms: float, action: Callable[[], None]) -> Timer:
        """Run `action` in the block that begins `ms` from now (at least the next one)."""
        timer = Timer(self.now + max(BLOCK_MS, int(ms)), action)
        self._order += 1
        heapq.heappush(self._heap, (timer.at, self._order, timer))
        return timer

    def spawn(self, name: str, script: Script) -> Task:
        """Run a script from the next block on. A script that raises ends with `error` and an observation."""
        task = Task(name, script)
        task.timer = self.after(0, lambda: self._resume(task, False, first=True))
        return task

    def _resume(self, task: Task, result: bool, first: bool = False) -> None:
        if task.done:
            return
        try:
            wait = next(task.script) if first else task.script.send(result)
        except StopIteration:
            task.done = True
            return
        except Exception as error:  # a broken person must not stop the exchange for the others
            task.done = True
            task.error = f"{type(error).__name__}: {error}"
            log.exception("script %s failed", task.name)
            self.observe("script-failed", name=task.name, error=task.error)
            return
        if isinstance(wait, Until):
            self._watch(task, wait, self.now + wait.limit_ms if wait.limit_ms else 0)
        else:
            task.timer = self.after(wait, lambda: self._resume(task, True))

    def _watch(self, task: Task, wait: Until, limit: int) -> None:
        if task.done:
            return
        if wait.condition():
            task.timer = self.after(0, lambda: self._resume(task, True))
        elif limit and self.now >= limit:
            task.timer = self.after(0, lambda: self._resume(task, False))
        else:
            task.timer = self.after(wait.every_ms, lambda: self._watch(task, wait, limit))

    # --- stage ------------------------------------------------------------------------------------------------------

    def plug(self, wire: Wire, handler: Callable[[int], None]) -> None:
        """Connect a wire; `handler(flags)` runs in the block that raised its flags."""
        self.segment.connect(wire)
        self._handlers[wire.slot] = handler

    def poll(self, owner: Pollable) -> None:
        self._sockets[owner.fileno()] = owner

    def unpoll(self, owner: Pollable) -> None:
        self._sockets.pop(owner.fileno(), None)

    def observe(self, what: str, **facts: Any) -> None:
        """Write down what happened, with the world's time, and tell those who watch."""
        note: dict[str, Any] = {"at": self.now, "what": what, **facts}
        self.observations.append(note)
        if len(self.observations) > HISTORY:
            del self.observations[: HISTORY // 4]
        for watcher in list(self.watchers):
            watcher(note)

    def pause(self, ms: int) -> None:
        """Fault: deliver nothing for `ms` of real time, as a card whose clock stopped would."""
        self.paused_ms += ms

    def hold_for(self, address: tuple[str, int]) -> None:
        """Something was sent to this UDP address: a virtual clock waits until it was read."""
        self._unread[address] = time.monotonic_ns() + UNREAD_NS

    # --- run --------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Deliver one block."""
        segment = self.segment
        self.now = segment.block * BLOCK_MS
        told = segment.begin()
        if told is not None:
            for wire in told:
                flags, wire.flags = wire.flags, 0
                self._handlers[wire.slot](flags)
        heap = self._heap
        while heap and heap[0][0] <= self.now:
            action = heapq.heappop(heap)[2].action
            if action is not None:
                action()
        for work in self.each_block:
            work(segment.block)
        segment.finish()

    def serve(self, timeout: float) -> None:
        """Handle sockets that are readable within `timeout` seconds."""
        wanted = [*self._sockets] if self.card is None else [*self._sockets, self.card.fileno()]
        if not wanted:
            if timeout > 0:
                time.sleep(timeout)
            return
        ready, _, _ = select.select(wanted, [], [], max(0.0, timeout))
        for number in ready:
            owner = self._sockets.get(number)
            if owner is not None:
                owner.readable()

    def run(self) -> None:
        """Deliver blocks until `stopping`."""
        deadline = time.monotonic_ns()
        speed = self.segment.speed
        if speed == 100:
            # Real copper is never late. A block that comes 15 ms late is silence to media, and a caller id with a hole in it is none.
            with contextlib.suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, 0, REAL_TIME_NICE)
        if self.segment.ticked > self.segment.block:  # this world takes over from an earlier one
            self.segment.realign()
        if self.card is not None:
            self._run_by_card(self.card)
        while not self.stopping:
            if self.paused_ms:
                self._sit_out()
                deadline = time.monotonic_ns()
            if self.segment.speed != speed:
                speed, deadline = self.segment.speed, time.monotonic_ns()
            while self.directed and not self.waits and not self.stopping:
                self.serve(0.05)
            self.step()
            if speed == 100:
                deadline += BLOCK_NS - round(BLOCK_NS * self.drift_ppm / 1_000_000)  # a card whose clock is fast delivers early
                late = time.monotonic_ns() - deadline
                if late > 100 * BLOCK_NS:  # the machine slept: do not race to catch up
                    deadline += late
                    self.xruns += 1
                    self.segment.realign()
                self._sleep_until(deadline)
            else:
                self._lockstep()
                if speed:
                    deadline += BLOCK_NS * 100 // speed
                    now = time.monotonic_ns()
                    if now < deadline:
                        self._sleep_until(deadline)
                    else:
                        deadline = max(deadline, now - 5 * BLOCK_NS)

    def _run_by_card(self, card: Card) -> None:
        """Real time, paced by a sound card."""
        while not self.stopping:
            if self.paused_ms:
                self._sit_out()
            frames = card.read()
            if frames is None:
                self.serve(0.05)
                continue
            self.segment.hear(frames)
            self.step()
            card.write(self.segment.speak())
            if self.segment.ticked > self.segment.block + APART:     # blocks were lost here: go on where media is
                self.segment.realign()
                self.xruns += 1
            self.serve(0.0)

    def _sleep_until(self, deadline: int) -> None:
        while True:
            left = deadline - time.monotonic_ns()
            self.serve(max(0, left) / 1e9)
            if left <= 0 or time.monotonic_ns() >= deadline or self.stopping:
                return

    def _lockstep(self) -> None:
        """Virtual time: go on when media has ticked, or after 2 s without it (then media is gone or stuck)."""
        while not self.segment.ticked and self.segment.block > 1 and not self.stopping:
            self.serve(0.02)  # time begins when media is there
        give_up = time.monotonic_ns() + 2_000_000_000
        while not self.segment.wait_ticked(5_000_000) and not self.stopping:
            self.serve(0.0)
            if time.monotonic_ns() > give_up:
                self.xruns += 1
                break
        if self.segment.ticked > self.segment.block:  # media went on without us
            self.segment.realign()
        self.serve(0.0)
        while self._unread and not self.stopping:
            now = time.monotonic_ns()
            self._unread = {address: limit for address, limit in self._unread.items() if now < limit and unread(address)}
            self.serve(0.0005 if self._unread else 0.0)

    def _sit_out(self) -> None:
        self.observe("world-paused", ms=self.paused_ms)
        until = time.monotonic_ns() + self.paused_ms * 1_000_000
        self.paused_ms = 0
        self._sleep_until(until)
        self.segment.realign()
        self.xruns += 1
