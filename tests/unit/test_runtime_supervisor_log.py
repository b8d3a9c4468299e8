"""Supervisors restart what they must and escalate with the cause; logs are JSON lines that survive a full disk."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from firmware.runtime import log as process_log
from firmware.runtime.clock import ManualClock
from firmware.runtime.supervisor import Child, Escalate, Supervisor


async def settle() -> None:
    """Let every ready task run."""
    for _ in range(30):
        await asyncio.sleep(0)


class Part:
    """A part that lives until told to fail or to finish."""

    def __init__(self, name: str, story: list[str]) -> None:
        self.name, self.story = name, story
        self.orders: asyncio.Queue[str] = asyncio.Queue()

    async def live(self) -> None:
        self.story.append(f"+{self.name}")
        try:
            if await self.orders.get() == "fail":
                raise ValueError(f"{self.name} broke")
        finally:
            self.story.append(f"-{self.name}")


def three(strategy: str, **options: object) -> tuple[Supervisor, ManualClock, dict[str, Part], list[str]]:
    story: list[str] = []
    clock = ManualClock()
    parts = {name: Part(name, story) for name in "abc"}
    children = [Child(name, part.live) for name, part in parts.items()]
    return Supervisor("test", clock, children, strategy=strategy, **options), clock, parts, story  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", ["-b", "+b"]),
        ("rest_for_one", ["-b", "-c", "+b", "+c"]),
        ("one_for_all", ["-b", "-c", "-a", "+a", "+b", "+c"]),
    ],
)
def test_strategy_decides_who_is_restarted(strategy: str, expected: list[str]) -> None:
    async def scenario() -> None:
        supervisor, clock, parts, story = three(strategy)
        running = asyncio.ensure_future(supervisor.run())
        await settle()
        assert story == ["+a", "+b", "+c"]
        story.clear()
        parts["b"].orders.put_nowait("fail")
        await settle()
        assert story == ["-b"], "a restart waits for its back-off"
        clock.advance(100)
        await settle()
        assert story == expected
        story.clear()
        supervisor.stop()
        await running
        assert story == ["-c", "-b", "-a"]

    asyncio.run(scenario())


def test_too_many_restarts_escalate_with_the_cause_and_leave_nothing_running() -> None:
    async def scenario() -> None:
        supervisor, clock, parts, story = three("one_for_one", intensity=2, period_ms=10_000)
        running = asyncio.ensure_future(supervisor.run())
        for _ in range(3):
            await settle()
            parts["a"].orders.put_nowait("fail")
            await settle()
            clock.advance(5000 if _ == 5 else 1000)
        await settle()
        with pytest.raises(Escalate) as raised:
            await running
        assert str(raised.value.__cause__) == "a broke"
        assert story.count("+b") == story.count("-b") == 1

    asyncio.run(scenario())


def test_failures_spread_over_time_do_not_escalate() -> None:
    async def scenario() -> None:
        supervisor, clock, parts, _ = three("one_for_one", intensity=1, period_ms=1000)
        running = asyncio.ensure_future(supervisor.run())
        for _round in range(4):
            await settle()
            parts["a"].orders.put_nowait("fail")
            await settle()
            clock.advance(5000)
        await settle()
        assert supervisor.statistics()["a"] == 5
        supervisor.stop()
        await running

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("restart", "order", "starts"),
    [("transient", "finish", 1), ("transient", "fail", 2), ("temporary", "fail", 1), ("permanent", "finish", 2)],
)
def test_restart_kind(restart: str, order: str, starts: int) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        part = Part("x", [])
        child = Child("x", part.live, restart=restart)  # type: ignore[arg-type]
        supervisor = Supervisor("test", clock, [child])
        running = asyncio.ensure_future(supervisor.run())
        await settle()
        part.orders.put_nowait(order)
        await settle()
        clock.advance(1000)
        await settle()
        assert child.starts == starts
        supervisor.stop()
        await running

    asyncio.run(scenario())


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.raiseExceptions)
    yield
    for handler in list(root.handlers):
        if handler not in before[0]:
            root.removeHandler(handler)
            handler.close()
    for handler in before[0]:
        if handler not in root.handlers:
            root.addHandler(handler)
    root.setLevel(before[1])
    logging.raiseExceptions = before[2]


def test_log_line_is_json_with_call_id_and_error(tmp_path: Path, restored_logging: None) -> None:
    process_log.configure("core", tmp_path)
    with process_log.call("C12"):
        try:
            raise ValueError("boom 你好")
        except ValueError:
            logging.getLogger("branchpbx.x").exception("failed %s", 7)
    logging.getLogger("branchpbx.x").warning("bad %d", "format")
    first, second = [json.loads(line) for line in (tmp_path / "core.log").read_text("utf-8").splitlines()]
    assert first["call_id"] == "C12" and first["message"] == "failed 7" and "boom 你好" in first["error"]
    assert "call_id" not in second and "bad %d" in second["message"]
    assert [line["message"] for line in process_log.tail(tmp_path, lines=10, call="C12")] == ["failed 7"]


def test_unwritable_log_neither_raises_nor_loses_the_process(tmp_path: Path, restored_logging: None) -> None:
    handler = process_log.configure("core", tmp_path / "log")
    assert handler is not None
    handler.baseFilename = "/dev/full"
    handler.maxBytes = 0
    for _ in range(3):
        logging.getLogger("branchpbx.x").error("disk is full")
    assert handler.lost >= 3
    handler.baseFilename = str(tmp_path / "again.log")
    logging.getLogger("branchpbx.x").error("disk is back")
    assert "disk is back" in (tmp_path / "again.log").read_text()


Factory = Callable[[], Awaitable[object]]
