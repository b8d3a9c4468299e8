"""A box as a serial tool sees it: gate, management's answers and the scripted mode are the product's, on a pseudo-terminal.

What would be call control or the store of configurations is answered by small handlers here, told by the test.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from firmware.app.provision import Provisioning
from firmware.config.schema.tree import Config
from firmware.control.audit import CommandGiven
from firmware.control.gate import Gate
from firmware.control.server import Server
from firmware.runtime.bus import Bus
from firmware.runtime.clock import LoopClock
from firmware.surfaces.cli.errors import said
from firmware.surfaces.provision import Handler
from firmware.wire.detect import Detector
from tools.provision.line import Credentials, Port, Session, open_port

SITE: dict[str, Any] = {"schema": 1, "board": "world", "site": {"name": "test"}}


class Box:
    """Management in a thread, and its serial port on a pseudo-terminal whose other end is `port`."""

    def __init__(self, folder: Path, users: dict[str, Any] | None = None, handlers: Callable[[Gate], None] = lambda _: None) -> None:
        self.folder = folder
        (folder / "run").mkdir(parents=True)
        (folder / "log").mkdir()
        self.config = msgspec.convert({**SITE, "users": users or {}}, Config)
        self.audit: list[CommandGiven] = []
        self.console = b""
        self.bauds: list[int] = []
        self.stays: list[str] = []
        self._handlers = handlers
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [threading.Thread(target=self._manage), threading.Thread(target=self._line)]
        self.line_fd, self.tool_fd = os.openpty()
        for descriptor in (self.line_fd, self.tool_fd):
            tty.setraw(descriptor)
        self.port = os.ttyname(self.tool_fd)
        self._threads[0].start()
        assert self._ready.wait(60)
        self._threads[1].start()

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._over.set)
        os.write(self.tool_fd, b"\r\r\r")
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        os.close(self.line_fd)
        os.close(self.tool_fd)

    # --- management ---------------------------------------------------------------------------------------------------

    def _manage(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        bus = Bus()
        bus.subscribe(CommandGiven, self.audit.append)
        gate = Gate(bus, LoopClock(self._loop))
        self.core: list[tuple[str, dict[str, Any]]] = []

        async def core(path: str, **args: Any) -> Any:
            self.core.append((path, args))

        Provisioning(self.folder, "world", lambda: ZoneInfo("UTC"), lambda: self.config, core).attach(gate)
        self._handlers(gate)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.folder / "run" / "manage.sock"))
        listener.listen()
        server = Server(gate, None, listener)
        await server.start()
        self._ready.set()
        await self._over.wait()
        await server.stop()
        listener.close()

    # --- the serial line: the detector before a console that keeps what it gets ----------------------------------------

    def _line(self) -> None:
        handler = Handler(self.folder, say=said)
        detector = Detector()
        while not self._stop.is_set():
            ready, _, _ = select.select([self.line_fd], [], [], 0.05)
            now = time.monotonic_ns() // 1_000_000
            self.console += detector.expire(now)
            if ready:
                self.console += detector.receive(os.read(self.line_fd, 4096), now)
            if detector.found:
                self.stays.append(handler.serve(self.line_fd, self.line_fd, detector.rest, self.bauds.append))
                detector = Detector()
        handler.close()

    # --- tools --------------------------------------------------------------------------------------------------------

    def tool(self, user: str = "installer", password: str = "", **options: Any) -> Session:
        """A tool on the port; not connected yet."""
        opener: Callable[[int], Port] = options.pop("opener", lambda baud: open_port(self.port, baud))
        key = options.pop("key", b"")
        return Session(opener, Credentials(user, password, key), **{"patience_s": 60.0, **options})
