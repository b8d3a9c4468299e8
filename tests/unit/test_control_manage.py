"""Management follows core's events into its database and relays the console, also over a restart of core."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

ring = pytest.importorskip("firmware.dsp.ring", reason="the ring segment is not built: make ext")

from firmware.app.handover import Handover  # noqa: E402
from firmware.app.manage import Manage  # noqa: E402
from firmware.app.site import load_secrets, start_of_world, with_secrets  # noqa: E402
from firmware.app.sockets import unix_listener  # noqa: E402
from firmware.config.board import Board  # noqa: E402
from firmware.config.schema.people import Agent, Extension  # noqa: E402
from firmware.config.schema.tree import Config  # noqa: E402
from firmware.control import builtin  # noqa: E402
from firmware.control.client import AsyncClient, CommandFailed, NotRunning  # noqa: E402
from firmware.control.gate import Gate  # noqa: E402
from firmware.control.server import Server  # noqa: E402
from firmware.control.stream import EventStream  # noqa: E402
from firmware.errors import StoreError  # noqa: E402
from firmware.runtime.alarms import Alarms  # noqa: E402
from firmware.runtime.bus import Bus  # noqa: E402
from firmware.runtime.clock import ManualClock  # noqa: E402
from firmware.store.db import Database  # noqa: E402


class CoreLike:
    """The control side of core: gate, stream, built-in commands, alarms."""

    def __init__(self, state: Path, listener: socket.socket, boot: int) -> None:
        bus, clock = Bus(), ManualClock()
        self.alarms = Alarms(bus, clock)
        gate, stream = Gate(bus, clock), EventStream(bus, clock, boot)
        builtin.attach(gate, builtin.Facts(Config(), "0" * 64, state, clock, self.alarms, boot, "abcd", 0, next_event=lambda: stream.next))
        self.server = Server(gate, stream, listener)


def handover(state: Path) -> Handover:
    def udp() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    for name in ("run", "log"):
        (state / name).mkdir(exist_ok=True)
    one, other = socket.socketpair()
    return Handover(
        state=state,
        config=Config(),
        board=Board("bare", "alsa", [], []),
        bind="127.0.0.1",
        speed=100,
        ring=ring.RingSegment.create(),
        event_fd=-1,
        channel_media=one,
        channel_core=other,
        world_fd=-1,
        sip_udp=udp(),
        sip_tcp=udp(),
        rtp=[udp()],
        rtcp=[udp()],
        control=unix_listener(state / "run/control.sock"),
        manage=unix_listener(state / "run/manage.sock"),
    )


async def until(state: Path, rows: int) -> list[Any]:
    """Audit rows once there are that many."""
    for _ in range(400):
        client = AsyncClient(state / "run/manage.sock")
        found: list[Any] = await client.call("show audit")
        await client.close()
        if len(found) >= rows:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"{rows} audit records did not appear")


def test_console_is_relayed_and_events_are_kept_over_a_restart_of_core(tmp_path: Path) -> None:
    async def scenario() -> None:
        box = handover(tmp_path)
        control = box.control.dup()
        running = asyncio.ensure_future(Manage(box).run())
        core = CoreLike(tmp_path, control.dup(), 1)
        await core.server.start()
        client = AsyncClient(tmp_path / "run/manage.sock")
        assert (await client.call("show version"))["product"] == "BranchPBX"
        await client.call("show accounts")
        core.alarms.raise_("disk:calls.db", "disk is full")
        (record,) = await until(tmp_path, 1)
        assert record["command"] == "show accounts" and record["outcome"] == "ok" and f"uid:{os.getuid()}" in record["peer"]
        with pytest.raises(CommandFailed) as failed:
            await client.call("show nothing")
        assert failed.value.kind == "unknown_command"

        await core.server.stop()
        core = CoreLike(tmp_path, control.dup(), 2)
        await core.server.start()
        await client.call("show accounts")
        assert len(await until(tmp_path, 2)) == 2
        await client.close()

        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(running, 20) == 0
        await core.server.stop()

    asyncio.run(scenario())
    db = Database(tmp_path / "manage.db", "manage")
    assert [row["kind"] for row in db.query("SELECT kind FROM alarms")] == ["disk:calls.db"]
    assert db.query("SELECT seq FROM cursor")[0]["seq"] >> 32 == 2
    db.close()


def test_console_says_so_while_core_is_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        box = handover(tmp_path)
        running = asyncio.ensure_future(Manage(box).run())
        client = AsyncClient(tmp_path / "run/manage.sock")
        with pytest.raises((CommandFailed, NotRunning), match="call control does not answer"):
            await client.call("show version")
        await client.close()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(running, 20) == 0

    asyncio.run(scenario())


CONFIG = msgspec.structs.replace(
    Config(),
    extensions={"201": Extension(kind="sip"), "202": Extension(kind="sip", secret="my own secret"), "101": Extension(kind="fxs", jack="1")},
    agents={"8001": Agent(), "8002": Agent(pin="4711")},
)


def test_secrets_are_random_kept_and_only_where_none_is_given(tmp_path: Path) -> None:
    kept = load_secrets(tmp_path / "secrets.json", CONFIG)
    assert set(kept.extensions) == {"201"} and set(kept.agents) == {"8001"}
    assert load_secrets(tmp_path / "secrets.json", CONFIG) == kept
    more = msgspec.structs.replace(CONFIG, extensions={**CONFIG.extensions, "203": Extension(kind="sip")})
    grown = load_secrets(tmp_path / "secrets.json", more)
    assert grown.extensions["201"] == kept.extensions["201"] != grown.extensions["203"]
    filled = with_secrets(CONFIG, kept)
    assert filled.extensions["202"].secret == "my own secret" and filled.extensions["101"].secret == ""
    assert filled.agents["8001"].pin == kept.agents["8001"] and filled.agents["8002"].pin == "4711"


def test_readable_secrets_file_is_closed_again_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    load_secrets(path, CONFIG)
    path.chmod(0o644)
    load_secrets(path, CONFIG)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("{broken")
    with pytest.raises(StoreError, match="restore it"):
        load_secrets(path, CONFIG)


def test_start_date_is_local_time_of_the_site() -> None:
    assert start_of_world(None, CONFIG) is None
    assert start_of_world("2026-03-02T08:00:00", CONFIG) == 1_772_409_600_000
    assert start_of_world("2026-03-02T00:00:00Z", CONFIG) == 1_772_409_600_000
    assert "is not a date" in str(start_of_world("yesterday", CONFIG))
