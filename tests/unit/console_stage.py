"""A stage for tests of the console: a gate that answers, a pseudo-terminal as the serial line, a person's terminal at its other end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import select
import socket
import struct
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyte

from firmware.app.console import ConsolePart
from firmware.app.console_tty import serve
from firmware.config.model import load
from firmware.config.schema.tree import Config
from firmware.control import builtin
from firmware.control.gate import Gate
from firmware.control.passwords import make
from firmware.control.server import Server
from firmware.control.stream import EventStream
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.surfaces.cli.session import Patience

PASSWORD = "tea at four"
SITE = f"""
[site]
name = "branch1"
[console]
wrong_wait_s = 1
[users.anna]
name = "Anna"
role = "admin"
password = "{make(PASSWORD)}"
[users.bo]
role = "viewer"
language = "zh"
password = "{make(PASSWORD)}"
"""


class Box:
    """Manage's side, as the console meets it; `audit` is what it wrote down."""

    def __init__(self, folder: Path, site: str = SITE) -> None:
        self.state = folder
        self.config: Config = load(site.encode(), file="site.toml")
        self.audit: list[tuple[str, str, str, str]] = []
        (folder / "run").mkdir(parents=True)
        (folder / "log").mkdir()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "run/manage.sock"))
        self.listener.listen()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        bus, clock = Bus(), ManualClock()
        gate, stream = Gate(bus, clock), EventStream(bus, clock, 1)
        alarms = Alarms(bus, clock)
        for number in range(60):
            alarms.raise_(f"test:{number}", f"alarm number {number}", f"第 {number} 号告警")
        builtin.attach(gate, builtin.Facts(self.config, "0" * 64, self.state, clock, alarms, 1, "abcd", 0, next_event=lambda: stream.next))
        ConsolePart(self.state, lambda: self.config, gate.perform, lambda *said: self.audit.append(said)).attach(gate)
        server = Server(gate, stream, self.listener)
        await server.start()
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._stop.wait()
        await server.stop()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self.listener.close()


class Person:
    """Somebody at a terminal on the serial line: types at the line's pace, sees what an emulated terminal shows."""

    def __init__(self, descriptor: int, columns: int = 80, rows: int = 24) -> None:
        self.descriptor = descriptor
        self.screen = pyte.HistoryScreen(columns, rows, history=2000)
        self.stream = pyte.ByteStream(self.screen)
        self.received = 0
        self.keys = 0

    def type(self, text: str | bytes, *, baud: int = 0) -> None:
        """Press keys; with `baud` no faster than the line carries them."""
        data = text.encode() if isinstance(text, str) else text
        self.keys += len(data)
        for at in range(0, len(data), 16 if baud else len(data) or 1):
            os.write(self.descriptor, data[at : at + (16 if baud else len(data))])
            self.look(16 * 10 / baud if baud else 0.0)

    def look(self, seconds: float = 0.0) -> None:
        """Take in what the terminal shows."""
        until = time.monotonic() + seconds
        while True:
            left = max(0.0, until - time.monotonic())
            if select.select([self.descriptor], [], [], left)[0]:
                try:
                    data = os.read(self.descriptor, 4096)
                except OSError:
                    return
                self.received += len(data)
                self.stream.feed(data)
            elif not left:
                return

    @property
    def rows(self) -> list[str]:
        """What is on the screen, without the second halves of wide characters."""
        return ["".join(self.screen.buffer[y][x].data for x in range(self.screen.columns)).rstrip() for y in range(self.screen.lines)]

    @property
    def row(self) -> str:
        """The row of the cursor."""
        return self.rows[self.screen.cursor.y]

    def sees(self, text: str, seconds: float = 60.0) -> None:
        """Wait until a text is on the screen."""
        self.until(lambda: any(text in row for row in self.rows), text, seconds)

    def at(self, prompt: str, seconds: float = 60.0) -> None:
        """Wait until the cursor stands behind a text."""
        self.until(lambda: self.row == prompt.rstrip() and self.screen.cursor.x >= len(prompt.rstrip()), f"at {prompt!r}", seconds)

    def until(self, fact: Callable[[], Any], what: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        self.look()
        while not fact():
            assert time.monotonic() < until, f"{what} not within {seconds} s; the screen:\n" + "\n".join(self.rows)
            self.look(0.05)


@contextlib.contextmanager
def serial(box: Box, *, baud: int = 115200, columns: int = 80, rows: int = 24) -> Iterator[Person]:
    """A serial line with the console's service at one end and a person at the other; it ends with the hang-up."""
    person_end, service_end = pty.openpty()
    tty.setraw(service_end)
    fcntl.ioctl(service_end, termios.TIOCSWINSZ, struct.pack("4H", 0, 0, 0, 0))
    service = threading.Thread(target=_serve, args=(service_end, box.state, baud))
    service.start()
    person = Person(person_end, columns, rows)
    try:
        yield person
    finally:
        with contextlib.suppress(OSError):
            os.close(person_end)
        service.join(20)
        os.close(service_end)
        assert not service.is_alive(), "the service does not notice the hang-up"


def _serve(descriptor: int, state: Path, baud: int) -> None:
    with contextlib.suppress(OSError):
        serve(descriptor, state, "ttyS0", baud, patience=Patience())


def log_in(person: Person, user: str = "anna", password: str = PASSWORD) -> None:
    """From the greeting to the prompt."""
    person.at("login:")
    person.type(f"{user}\r")
    person.at("password:")
    person.type(f"{password}\r")
