"""The loop of a process that only waits: readers, timers, the signal that ends it."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator

import pytest

from firmware.runtime.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    before = signal.getsignal(signal.SIGTERM)
    one = Loop()
    yield one
    one.close()
    signal.signal(signal.SIGTERM, before)


def test_timers_come_in_order_never_early_and_not_when_they_were_cancelled(loop: Loop) -> None:
    came: list[str] = []
    began = time.monotonic()
    loop.call_later(0.03, lambda: came.append("third"))
    loop.call_later(0.01, lambda: came.append("first"))
    loop.call_later(0.01, lambda: came.append("second"))
    loop.call_later(0.02, lambda: came.append("never")).cancel()
    loop.call_later(0.03, loop.stop)
    loop.run()
    assert time.monotonic() - began >= 0.03
    assert came == ["first", "second", "third"]


def test_a_reader_is_called_while_there_is_something_and_may_remove_another(loop: Loop) -> None:
    ends = [os.pipe(), os.pipe()]
    for _, write in ends:
        os.write(write, b"ab")
    heard: list[int] = []

    def hear(mine: int, other: int) -> None:
        heard.append(mine)
        assert os.read(ends[mine][0], 1)
        loop.remove_reader(ends[other][0])
        if len(heard) == 2:
            loop.stop()

    loop.add_reader(ends[0][0], lambda: hear(0, 1))
    loop.add_reader(ends[1][0], lambda: hear(1, 0))
    loop.run()
    assert heard in ([0, 0], [1, 1])
    for read, write in ends:
        os.close(read)
        os.close(write)


def test_what_raises_is_logged_and_the_rest_goes_on(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("a broken timer")

    loop.call_soon(fail)
    loop.call_later(0.001, loop.stop)
    with caplog.at_level(logging.ERROR, "branchpbx.loop"):
        loop.run()
    assert "a broken timer" in caplog.text


def test_a_signal_ends_a_loop_that_waits_for_nothing_else(loop: Loop) -> None:
    loop.stop_on(signal.SIGTERM)
    loop.call_soon(lambda: os.kill(os.getpid(), signal.SIGTERM))
    loop.run()
