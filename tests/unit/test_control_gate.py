"""The gate decides, the server serves: roles, idempotency, errors, streams with declared loss."""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

import firmware.control
from firmware.control import commands
from firmware.control.acd_commands import MissedClose
from firmware.control.audit import CommandGiven
from firmware.control.client import AsyncClient, Client, CommandFailed, NotRunning
from firmware.control.commands import BadArgumentsError, Command, accept, command, describe, registered
from firmware.control.gate import Gate, Peer
from firmware.control.roles import allows, role_of_uid
from firmware.control.server import LENGTH, Server
from firmware.control.stream import EventStream
from firmware.errors import CommandError
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock

ADMIN = Peer("uid:0", "admin")
VIEWER = Peer("uid:7", "viewer")


class Number(msgspec.Struct, frozen=True):
    n: int


@command(path="test add", role="supervisor", result=Number)
class Add(Command, frozen=True):
    """Add two numbers."""

    a: int
    b: Annotated[int, Meta(description="Second number", ge=0)] = 1
    pin: Annotated[str, Meta(extra={"secret": True})] = ""


@command(path="show test", role="viewer", result=list[int])
class ShowTest(Command, frozen=True):
    """A query."""


class Stage:
    """A gate with its bus and what it published."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.clock = ManualClock()
        self.gate = Gate(self.bus, self.clock)
        self.audit: list[CommandGiven] = []
        self.bus.subscribe(CommandGiven, self.audit.append)

    def perform(self, peer: Peer, path: str, args: Any = None) -> dict[str, Any]:
        return asyncio.run(self.gate.perform(peer, path, args))


def test_command_runs_and_is_audited_without_its_secret() -> None:
    stage = Stage()
    stage.gate.handle(Add, lambda cmd: Number(cmd.a + cmd.b))
    assert stage.perform(ADMIN, "test add", {"a": 2, "b": 3, "pin": "4711"}) == {"ok": True, "result": {"n": 5}}
    (record,) = stage.audit
    assert record.outcome == "ok" and "4711" not in record.args and '"a":2' in record.args


@pytest.mark.parametrize(
    ("peer", "path", "args", "kind"),
    [
        (VIEWER, "test add", {"a": 1}, "not_allowed"),
        (ADMIN, "test ad", {}, "unknown_command"),
        (ADMIN, "test add", {"a": "x"}, "bad_arguments"),
        (ADMIN, "test add", {"a": 1, "b": -1}, "bad_arguments"),
        (ADMIN, "test add", {"a": 1, "c": 1}, "bad_arguments"),
        (ADMIN, "test add", [], "bad_arguments"),
        (ADMIN, "show test", {}, "unavailable"),
        (ADMIN, "test add", {"a": 99}, "refused"),
        (ADMIN, "test add", {"a": 0}, "internal"),
    ],
)
def test_error_kinds(peer: Peer, path: str, args: Any, kind: str) -> None:
    def handler(cmd: Add) -> Number:
        if cmd.a == 99:
            raise CommandError("99 is too much; give less")
        return Number(1 // cmd.a)

    stage = Stage()
    stage.gate.handle(Add, handler)
    reply = stage.perform(peer, path, args)
    assert reply["ok"] is False and reply["error"]["kind"] == kind and reply["error"]["message"]


def test_queries_leave_no_audit_record_but_showing_secrets_does() -> None:
    stage = Stage()
    stage.gate.handle(ShowTest, lambda _: [1])
    stage.gate.handle(commands.ShowAccounts, lambda _: [])
    stage.perform(VIEWER, "show test")
    stage.perform(ADMIN, "show accounts")
    assert [record.command for record in stage.audit] == ["show accounts"]


def test_repeated_key_is_answered_once_executed_also_while_it_runs() -> None:
    async def scenario() -> None:
        stage = Stage()
        runs = 0
        release = asyncio.Event()

        async def slow(cmd: Add) -> Number:
            nonlocal runs
            runs += 1
            await release.wait()
            return Number(runs)

        stage.gate.handle(Add, slow)
        first = asyncio.ensure_future(stage.gate.perform(ADMIN, "test add", {"a": 1}, "k"))
        second = asyncio.ensure_future(stage.gate.perform(ADMIN, "test add", {"a": 1}, "k"))
        await asyncio.sleep(0)
        release.set()
        assert await first == await second == await stage.gate.perform(ADMIN, "test add", {"a": 1}, "k")
        assert runs == 1
        other = await stage.gate.perform(Peer("uid:1", "admin"), "test add", {"a": 1}, "k")
        assert runs == 2 and other["ok"]

    asyncio.run(scenario())


def test_roles_are_ordered_and_strangers_have_none() -> None:
    assert allows("admin", "viewer") and allows("agent", "agent") and not allows("viewer", "agent")
    assert role_of_uid(0, 5) == role_of_uid(5, 5) == "admin" and role_of_uid(6, 5) is None


def test_wrong_registrations_are_refused() -> None:
    with pytest.raises(ValueError, match="lower-case"):
        command(path="Show X", role="viewer", result=None)
    with pytest.raises(ValueError, match="twice"):

        @command(path="show test", role="viewer", result=None)
        class Again(Command, frozen=True):
            """Another one."""


# --- server and clients -----------------------------------------------------------------------------------------------


def serve(tmp_path: Path, scenario: Callable[[Stage, EventStream, Path], Awaitable[None]], capacity: int = 8) -> None:
    async def run() -> None:
        stage = Stage()
        stream = EventStream(stage.bus, stage.clock, boot=3, capacity=capacity)
        path = tmp_path / "s.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        server = Server(stage.gate, stream, listener)
        await server.start()
        try:
            await scenario(stage, stream, path)
        finally:
            await server.stop()
            listener.close()

    asyncio.run(run())


def test_both_clients_get_results_and_errors(tmp_path: Path) -> None:
    async def scenario(stage: Stage, _: EventStream, path: Path) -> None:
        stage.gate.handle(Add, lambda cmd: Number(cmd.a + cmd.b))
        client = AsyncClient(path)
        assert await client.call("test add", a=1, b=2) == {"n": 3}
        with pytest.raises(CommandFailed) as failed:
            await client.call("test nothing")
        assert failed.value.kind == "unknown_command"

        def blocking() -> Any:
            with Client(path) as other:
                return other.call("test add", a=5)

        assert await asyncio.to_thread(blocking) == {"n": 6}
        assert f"uid:{os.getuid()}" in stage.audit[0].peer
        await client.close()

    serve(tmp_path, scenario)


def test_relay_speaks_for_its_peer_but_never_with_more_rights(tmp_path: Path) -> None:
    async def scenario(stage: Stage, _: EventStream, path: Path) -> None:
        stage.gate.handle(Add, lambda cmd: Number(0))
        client = AsyncClient(path)
        reply = await client.raw({"command": "test add", "args": {"a": 1}, "peer": {"name": "cli:bo", "role": "viewer"}})
        assert reply["error"]["kind"] == "not_allowed"
        await client.raw({"command": "test add", "args": {"a": 1}, "peer": {"name": "cli:bo", "role": "supervisor"}})
        assert stage.audit[-1].peer == "cli:bo" and stage.audit[-1].outcome == "ok"
        await client.close()

    serve(tmp_path, scenario)


def test_stream_resumes_from_a_number_and_declares_what_is_gone(tmp_path: Path) -> None:
    async def scenario(stage: Stage, stream: EventStream, path: Path) -> None:
        start = stream.next
        for n in range(12):
            stage.bus.publish(Number(n))
        client = AsyncClient(path)
        events = client.events(start)
        frames = [await anext(events) for _ in range(9)]
        assert frames[0] == {"lost": [start, start + 3]}
        assert [frame["event"]["n"] for frame in frames[1:]] == list(range(4, 12))
        assert frames[1]["event"] | {"wall_ms": 0} == {"type": "Number", "n": 4, "seq": start + 4, "at": 0, "wall_ms": 0, "boot": 3}
        stage.bus.publish(Number(99))
        assert (await anext(events))["event"]["n"] == 99
        await client.close()

    serve(tmp_path, scenario)


def test_reader_that_never_reads_keeps_nobody_from_working(tmp_path: Path) -> None:
    async def scenario(stage: Stage, stream: EventStream, path: Path) -> None:
        stage.gate.handle(ShowTest, lambda _: [1])
        lazy = AsyncClient(path)
        await lazy._send({"id": 1, "command": "events", "args": {"from": stream.next}})
        for n in range(20_000):
            stage.bus.publish(Number(n))
            if n % 1000 == 0:
                await asyncio.sleep(0)
        quick = AsyncClient(path)
        assert await quick.call("show test") == [1]
        assert len(stream._kept) == 64
        await quick.close()
        await lazy.close()

    serve(tmp_path, scenario, capacity=64)


@pytest.mark.parametrize("raw", [b"nonsense", b"[]", b'{"command": 3}', b"\xff\xff", b"{}"])
def test_bad_request_is_answered_and_the_server_lives(tmp_path: Path, raw: bytes) -> None:
    async def scenario(stage: Stage, _: EventStream, path: Path) -> None:
        stage.gate.handle(ShowTest, lambda _: [1])
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(LENGTH.pack(len(raw)) + raw)
        (length,) = LENGTH.unpack(await reader.readexactly(4))
        assert msgspec.json.decode(await reader.readexactly(length))["error"]["kind"] == "bad_request"
        writer.close()
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(LENGTH.pack(1 << 30))
        (length,) = LENGTH.unpack(await reader.readexactly(4))
        assert b"bad_request" in await reader.readexactly(length)
        writer.close()
        client = AsyncClient(path)
        assert await client.call("show test") == [1]
        await client.close()

    serve(tmp_path, scenario)


def test_nothing_listening_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="--state"):
        Client(tmp_path / "control.sock")


def test_an_argument_that_does_not_fit_is_told_in_words() -> None:
    with pytest.raises(BadArgumentsError, match=r"^missed close: number: does not fit; wanted: Number, as `show missed` lists it$"):
        accept(MissedClose, {"number": "x"})
    with pytest.raises(BadArgumentsError, match=r"^missed close: Object missing required field `number`$"):
        accept(MissedClose, {})


def test_every_argument_with_a_pattern_says_what_is_wanted() -> None:
    for module in pkgutil.iter_modules(firmware.control.__path__):
        importlib.import_module(f"firmware.control.{module.name}")
    for cls in registered().values():
        told = {one.name: one.help for one in describe(cls).arguments}
        for field in msgspec.structs.fields(cls):
            if any(isinstance(meta, msgspec.Meta) and meta.pattern for meta in getattr(field.type, "__metadata__", ())):
                assert told[field.name], f"{cls.path}: {field.name}"
