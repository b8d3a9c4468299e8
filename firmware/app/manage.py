"""The management process: reads core's event stream into `manage.db`, serves the console socket.

Theory of operation
-------------------
A supervisor keeps the tasks alive. One of them follows the event stream from the cursor kept in `manage.db`, so nothing is
missed over a restart of this process; what core could not keep is declared lost and becomes an audit record of its own.
Console connections are served by the same server as core's, with a relay in the place of the gate: requests go to core
under the role of the peer; the audit trail is kept and shown here (`app/audit.py`). A fault of this process touches no call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator
from typing import Any
from zoneinfo import ZoneInfo

from firmware.app.audit import AuditPart
from firmware.app.configuration import Configuration
from firmware.app.console import ConsolePart
from firmware.app.console_services import Services
from firmware.app.handover import Handover
from firmware.app.lookups import LookupDesk
from firmware.app.mailer import Mailer
from firmware.app.provision import Provisioning
from firmware.app.site_services import SiteServices, sip_ports
from firmware.app.upload_desk import UploadDesk
from firmware.config.schema.tree import Config
from firmware.control.audit import CommandGiven
from firmware.control.client import AsyncClient, NotRunning
from firmware.control.commands import BadArgumentsError, ShowCommands, accept, describe, registered
from firmware.control.gate import Gate, Peer, Reply, failure
from firmware.control.roles import allows
from firmware.control.server import Server
from firmware.control.voicemail_commands import VoicemailTest
from firmware.net.mail import MailRefusedError
from firmware.runtime.bus import Bus
from firmware.runtime.clock import LoopClock
from firmware.runtime.health import BEAT_MS
from firmware.runtime.supervisor import Child, Supervisor
from firmware.store.audit import FUNCTIONS, AuditTrail
from firmware.store.db import Database

RETRY_S = 0.3

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

    async def run(self) -> int:
        """Serve until SIGTERM."""
        handover = self._handover
        ports = sip_ports(handover)
        ours = (*handover.sip_listeners, *handover.rtp, *handover.rtcp, handover.channel_core, handover.channel_media, handover.control)
        for each in ours:
            each.close()
        handover.leave_keys()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        self._db = Database(handover.state / "manage.db", "manage", functions=FUNCTIONS)
        self.trail = AuditTrail(self._db)
        clock, bus = LoopClock(loop), Bus()
        bus.subscribe(CommandGiven, self._given)
        self.gate = Gate(bus, clock)
        AuditPart(self.trail, lambda: self._zone).attach(self.gate)
        self.configuration = Configuration(handover, self._core)
        self.configuration.attach(self.gate)
        # Core knows its own commands only: it is forked before those of management are imported.
        self.gate.handle(ShowCommands, lambda _: [describe(kind) for kind in registered().values()])
        self.configuration.changed.append(self._configure)
        services = SiteServices(handover, self.configuration, self.perform, self._core, ports, self.trail)
        services.attach(self.gate)
        ways = Services(handover.state, handover.bind, lambda: self.configuration.running, self._entered)
        ConsolePart(handover.state, lambda: self.configuration.running, self.perform, self._entered, ways.rows).attach(self.gate)
        board = handover.config.board
        Provisioning(handover.state, board, lambda: self._zone, lambda: self.configuration.running, self._core).attach(self.gate)
        uploads = UploadDesk(state=handover.state, config=lambda: self.configuration.running, db=self._db, core=self._core)
        uploads.attach(self.gate)
        self.configuration.alarming.append(uploads.alarms)
        server = Server(self, None, handover.manage, follow=self._follow)
        await server.start()
        self._mailer = Mailer(handover.config, self._db, self._core, self._zone)
        lookups = LookupDesk(lambda: self.configuration.running, self._core, self._follow)
        children = [
            Child("events", self._read_events), Child("mail", self._mailer.run), Child("heartbeat", self._beat),
            Child("configuration", self.configuration.run), Child("lookups", lookups.run), Child("console", ways.run),
            Child("upload", uploads.run), *services.children(),
        ]  # fmt: skip
        supervisor = Supervisor("manage", clock, children)
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

    def _configure(self, config: Config) -> None:
        """Another configuration is in force."""
        self._zone = ZoneInfo(config.site.time_zone)
        self._mailer.configure(config, self._zone)

    # --- console ------------------------------------------------------------------------------------------------------

    async def perform(self, peer: Peer, path: str, args: Any, key: str = "") -> Reply:
        """What this process serves is answered by its own gate; else a relay: ask core under the role of the peer."""
        if self.gate.answers(path):
            return await self.gate.perform(peer, path, args, key)
        if path == VoicemailTest.path:
            return await self._mail_test(peer, args)
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

    async def _core(self, path: str, **args: Any) -> Any:
        """A command of core, asked by this process itself."""
        client = AsyncClient(self._control)
        try:
            return await client.call(path, **args)
        finally:
            await client.close()

    async def _mail_test(self, peer: Peer, args: Any) -> Reply:
        if not allows(peer.role, VoicemailTest.role):
            return failure("not_allowed", f"{VoicemailTest.path} needs the role {VoicemailTest.role}; {peer.name} has {peer.role}")
        try:
            command = accept(VoicemailTest, args)
            said = await self._mailer.test(command.address)
        except BadArgumentsError as error:
            return failure("bad_arguments", str(error))
        except MailRefusedError as error:
            return failure("failed", f"the test mail was not taken: {error}")
        return {"ok": True, "result": {"message": command.address, "state": said}}

    def _given(self, event: CommandGiven) -> None:
        """A command that this process answered, into the audit trail."""
        self.trail.add(event.wall_ms, event.peer, event.role, event.command, event.args, event.outcome)

    def _entered(self, user: str, role: str, where: str, outcome: str) -> None:
        """Somebody who came to the console, or tried, into the audit trail."""
        self.trail.add(int(time.time() * 1000), f"{user}@{where}", role, "log in", "{}", outcome)

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
                self.trail.add(wall_ms, "manage", "admin", "events", f'{{"lost": [{first}, {last}]}}', "lost")
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
                self.trail.statement(event["wall_ms"], event["peer"], event["role"], event["command"], event["args"], event["outcome"])
            )
            self.trail.added()
        self._db.transaction(statements)
