"""The management process: reads core's event stream into `manage.db`, serves the console socket.

Theory of operation
-------------------
A supervisor keeps the tasks alive. One of them follows the event stream from the cursor kept in `manage.db`, so nothing is
missed over a restart of this process; what core could not keep is declared lost and becomes an audit record of its own.
Console connections are served by the same server as core's, with a relay in the place of the gate: requests go to core
under the role of the peer, `show audit` is answered from the database here. A fault of this process touches no call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from firmware.app.handover import Handover
from firmware.control.client import AsyncClient, NotRunning
from firmware.control.commands import ShowAudit
from firmware.control.gate import Peer, Reply, failure
from firmware.control.roles import allows
from firmware.control.server import Server
from firmware.runtime.clock import LoopClock
from firmware.runtime.health import BEAT_MS
from firmware.runtime.supervisor import Child, Supervisor
from firmware.store.db import Database

RETRY_S = 0.3
KEEP_AUDIT = 100_000
PRUNE_EVERY = 1000

log = logging.getLogger("branchpbx.manage")


def main(handover: Handover) -> int:
    """Entry point of the forked process."""
    return asyncio.run(Manage(handover).run())


class Manage:
    """See the theory of operation above."""

    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self._control = handover.run_folder / "control.sock"
        self._zone = ZoneInfo(handover.config.site.time_zone)
        self._stop = asyncio.Event()
        self._db: Database | None = None
        self._seen = 0

    async def run(self) -> int:
        """Serve until SIGTERM."""
        handover = self._handover
        for each in (handover.sip_udp, handover.sip_tcp, *handover.rtp, handover.channel_core, handover.channel_media, handover.control):
            each.close()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        self._db = Database(handover.state / "manage.db", "manage")
        server = Server(self, None, handover.manage, follow=self._follow)
        await server.start()
        children = [Child("events", self._read_events), Child("heartbeat", self._beat)]
        supervisor = Supervisor("manage", LoopClock(loop), children)
        watching = asyncio.ensure_future(supervisor.run())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            supervisor.stop()
            await watching  # raises Escalate: this process ends and the parent starts another
        finally:
            stopping.cancel()
            await server.stop()
            self._db.close(1.0)
        return 0

    async def _beat(self) -> None:
        while True:
            self._handover.ring.beat("manage")
            await asyncio.sleep(BEAT_MS / 1000)

    # --- console ------------------------------------------------------------------------------------------------------

    async def perform(self, peer: Peer, path: str, args: Any, key: str = "") -> Reply:
        """Relay of the gate: ask core under the role of the peer."""
        if path == ShowAudit.path:
            return self._audit(peer, args)
        client = AsyncClient(self._control)
        try:
            request = {"command": path, "args": args, "peer": {"name": peer.name, "role": peer.role}, **({"key": key} if key else {})}
            reply: Reply = await client.raw(request)
        except NotRunning as error:
            return failure("unavailable", f"call control does not answer now ({error}); it is being started, try again")
        finally:
            await client.close()
        return {name: value for name, value in reply.items() if name != "id"}

    async def _follow(self, args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        client = AsyncClient(self._control)
        try:
            async for frame in client.events(args.get("from"), args.get("types")):
                yield frame
        finally:
            await client.close()

    def _audit(self, peer: Peer, args: Any) -> Reply:
        assert self._db is not None
        if not allows(peer.role, ShowAudit.role):
            return failure("not_allowed", f"{ShowAudit.path} needs the role {ShowAudit.role}; {peer.name} has {peer.role}")
        try:
            command = msgspec.convert(args or {}, ShowAudit)
        except msgspec.ValidationError as error:
            return failure("bad_arguments", f"{ShowAudit.path}: {error}")
        rows = self._db.query("SELECT wall_ms, peer, role, command, args, outcome FROM audit ORDER BY seq DESC LIMIT ?", (command.lines,))
        return {
            "ok": True,
            "result": [
                {"time": self._local(row["wall_ms"]), **dict(zip(row.keys()[1:], tuple(row)[1:], strict=True))} for row in reversed(rows)
            ],
        }

    def _local(self, wall_ms: int) -> str:
        return datetime.fromtimestamp(wall_ms / 1000, self._zone).isoformat(" ", "seconds")[:19]

    # --- events -------------------------------------------------------------------------------------------------------

    async def _read_events(self) -> None:
        while True:
            with contextlib.suppress(NotRunning):
                await self._read_until_broken()
            await asyncio.sleep(RETRY_S)

    async def _read_until_broken(self) -> None:
        assert self._db is not None
        rows = self._db.query("SELECT seq FROM cursor WHERE stream = 'core'")
        client = AsyncClient(self._control)
        try:
            async for frame in client.events(rows[0]["seq"] + 1 if rows else 0, ["CommandGiven", "AlarmRaised", "AlarmCleared"]):
                self._note(frame)
        finally:
            await client.close()

    def _note(self, frame: dict[str, Any]) -> None:
        assert self._db is not None
        if "lost" in frame:
            first, last = frame["lost"]
            fresh = first == 0 or first >> 32 != last >> 32  # another boot of core: its stream begins anew
            if not fresh:
                log.warning("%d events were lost before they could be read", last - first + 1)
                wall_ms = int(time.time() * 1000)
                self._db.transaction([_audit_record(wall_ms, "manage", "admin", "events", f'{{"lost": [{first}, {last}]}}', "lost")])
            return
        event = frame["event"]
        statements: list[tuple[str, tuple[Any, ...]]] = [
            ("INSERT INTO cursor (stream, seq) VALUES ('core', ?) ON CONFLICT (stream) DO UPDATE SET seq = excluded.seq", (event["seq"],))
        ]
        if event["type"] == "AlarmRaised":
            statements.append(
                ("INSERT INTO alarms (kind, text, raised_ms) VALUES (?, ?, ?)", (event["kind"], event["text"], event["wall_ms"]))
            )
        elif event["type"] == "AlarmCleared":
            statements.append(("UPDATE alarms SET cleared_ms = ? WHERE kind = ? AND cleared_ms IS NULL", (event["wall_ms"], event["kind"])))
        elif event["type"] == "CommandGiven":
            statements.append(
                _audit_record(event["wall_ms"], event["peer"], event["role"], event["command"], event["args"], event["outcome"])
            )
        self._db.transaction(statements)
        self._seen += 1
        if self._seen % PRUNE_EVERY == 0:
            self._db.execute("DELETE FROM audit WHERE seq <= (SELECT max(seq) FROM audit) - ?", (KEEP_AUDIT,))


def _audit_record(wall_ms: int, peer: str, role: str, command: str, args: str, outcome: str) -> tuple[str, tuple[Any, ...]]:
    sql = "INSERT INTO audit (wall_ms, peer, role, command, args, outcome) VALUES (?, ?, ?, ?, ?, ?)"
    return sql, (wall_ms, peer, role, command, args, outcome)
