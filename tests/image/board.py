"""The emulated board of the tests: its serial line as a pseudo-terminal for the host's tool, and a shell for the bench.

The bench's shell is the only thing that images under test have beside the product: one line of inittab that calls the bench over the
network (`BENCH`), where the state partition names a port. A program that is slow is no fault here: what is waited for is told by the
board itself, and patience ends when the board has been silent for long.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shlex
import socket
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tools.vm.machine import Machine, MachineError, put
from tools.vm.settings import TOP, BoardImage

BENCH = {
    "usr/lib/branchpbx/system/bench": b"""#!/bin/sh
[ -e /state/bench ] || exec sleep 100000
nc 10.0.2.2 "$(cat /state/bench)" -e /bin/sh
sleep 1
""",
    "etc/inittab": (TOP / "buildroot" / "overlay" / "etc" / "inittab").read_bytes() + b"::respawn:/usr/lib/branchpbx/system/bench\n",
    # Seconds instead of minutes where only time passes; the rules are the product's.
    "usr/share/branchpbx/update.options": b"--quiet-s 3\n",
}
# A start takes 45 s on two idle cores; a board that says nothing at all for so long on a loaded machine hangs.
PATIENCE_S = 400.0
CLIENT = """
import json, sys
from pathlib import Path
from firmware.sim.client import ProductClient, WorldClient
what, name, facts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
state = Path("/state/pbx")
if what == "world":
    answer = WorldClient(state, 60.0).ask(name, timeout=60.0, **facts)
else:
    client = ProductClient.__new__(ProductClient)
    from firmware.sim.client import _connect
    client.link, client.count = _connect(state / "run" / (what + ".sock"), 60.0), 0
    answer = client.ask(name, **facts)
print("ANSWER " + json.dumps(answer))
"""


class Shell:
    """Commands on the board, as root, over a connection that the board opens.

    `meanwhile` is called while the board is waited for: a board whose serial line nobody reads stands still after some 270 characters.
    """

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._link: socket.socket | None = None
        self._count = 0

    def run(self, command: str, patience_s: float = PATIENCE_S) -> tuple[int, str]:
        """Status and output; a connection that breaks, as at a restart, is made again and the command given again."""
        end = time.monotonic() + patience_s
        while True:
            try:
                return self._once(command, end)
            except (OSError, EOFError) as error:
                self._drop()
                if time.monotonic() > end:
                    raise MachineError(f"the board's shell does not answer {command!r} ({error})") from None

    def _once(self, command: str, end: float) -> tuple[int, str]:
        if self._link is None:
            self._ready([self._listener], end)
            self._link = self._listener.accept()[0]
            self._link.settimeout(60)
        self._count += 1
        mark = f"END-{self._count}-"
        self._link.sendall(f"{{ {command}\n}} 2>&1 </dev/null; echo {mark}$?\n".encode())
        got = b""
        while not (found := re.search(rb"(?s)(.*)" + mark.encode() + rb"(\d+)\n", got)):
            # The board has one connection at a time: when it opens another this one is from before a restart, and nobody ends it.
            if self._link not in self._ready([self._link, self._listener], end):
                raise EOFError("the board has opened another connection")
            data = self._link.recv(65536)
            if not data:
                raise EOFError("closed")
            got += data
        return int(found[2]), found[1].decode("utf-8", "replace")

    def _ready(self, links: list[socket.socket], end: float) -> list[socket.socket]:
        """Those of `links` that can be read; TimeoutError when there is none until `end`."""
        while True:
            ready = select.select(links, [], [], 0.2)[0]
            if ready:
                return ready
            self._meanwhile()
            if time.monotonic() > end:
                raise TimeoutError("it is silent")

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def close(self) -> None:
        self._drop()
        self._listener.close()


class Wire:
    """The board's serial line as a pseudo-terminal: what the board says is kept, what a program writes is typed."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self.name = os.ttyname(slave)
        self._slave = slave
        self._lent = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        while not self._end.is_set():
            link = self._machine.serial
            if link is None or not self._lent.is_set():
                time.sleep(0.05)                     # nobody borrows the line: the machine's own reader has it
                continue
            ready = select.select([link, self._master], [], [], 0.1)[0]
            with contextlib.suppress(OSError):
                if link in ready:
                    data = link.recv(4096)
                    if data:
                        os.write(self._master, data)
                    else:
                        time.sleep(0.05)
                if self._master in ready:
                    link.setblocking(True)
                    link.sendall(os.read(self._master, 4096))
                    link.setblocking(False)

    @contextlib.contextmanager
    def lent(self) -> Iterator[str]:
        """The name of the serial port, for another program."""
        self._lent.set()
        try:
            yield self.name
        finally:
            self._lent.clear()
            time.sleep(0.2)                          # the pump's last turn

    def close(self) -> None:
        self._end.set()
        self._thread.join(2)
        os.close(self._master)
        os.close(self._slave)


class Served:
    """A file for the board over HTTP, in parts as a streaming install asks for them. `url` is the board's name for it."""

    def __init__(self, path: Path) -> None:
        self.parts = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _head(self) -> tuple[int, int]:
                size = path.stat().st_size
                wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                first, last = (int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)) if wanted else (0, size - 1)
                self.send_response(206 if wanted else 200)
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(last - first + 1))
                if wanted:
                    self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
                self.end_headers()
                return first, last

            def do_HEAD(self) -> None:
                self._head()

            def do_GET(self) -> None:
                first, last = self._head()
                outer.parts += 1
                with path.open("rb") as file, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    file.seek(first)
                    self.wfile.write(file.read(last - first + 1))

            def log_message(self, *_: object) -> None:
                """Nothing: the board tells."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://10.0.2.2:{self._server.server_address[1]}/update.raucb"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class Board:
    """The emulated board with its line, shell and network."""

    def __init__(self, board: BoardImage, loader: Path, disk: Path, folder: Path, host: str, calls: int = 8) -> None:
        self.host = host
        self.first = 24000
        writes = calls > 0                           # the board whose cuts are replayed is the one that lives longest
        self.machine = Machine(
            board.image.emulator, loader, disk, folder, tcp=(5060,), udp=(5060,), same=range(self.first, self.first + 2 * calls), host=host,
            writes=writes,
        )  # fmt: skip
        self.shell = Shell(self.machine.read)
        (folder / "bench").write_text(str(self.shell.port))
        put(self.machine.disk, "state", folder / "bench", "bench")
        # What the disk was before anything ran, for replays of the log of writes.
        self.before = folder / "before.img"
        subprocess.run(["cp", "--sparse=always", str(self.machine.disk), str(self.before)], check=True)
        self.wire = Wire(self.machine)

    def start(self) -> float:
        """Switch on; the time."""
        self.machine.start()
        return time.monotonic()

    def expect(self, pattern: str, since: int = 0, silence_s: float = PATIENCE_S) -> re.Match[str]:
        """What the console says; patience ends when the console has been silent for so long."""
        while True:
            size = len(self.machine.console)
            try:
                return self.machine.expect(pattern, silence_s, since)
            except MachineError:
                if not self.machine.running or len(self.machine.console) == size:
                    raise

    def ask(self, what: str, name: str, **facts: Any) -> Any:
        """One command of the control sockets ("control", "manage") or one request to the simulated world ("world")."""
        path = "/run/bench-client.py"
        python = "env PYTHONPATH=/usr/lib/branchpbx:/usr/lib/python3/dist-packages PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3.13"
        words = " ".join(shlex.quote(word) for word in (what, name, json.dumps(facts)))
        lines = f"[ -e {path} ] || echo {shlex.quote(CLIENT)} >{path}; {python} {path} {words}"
        status, text = self.shell.run(lines)
        found = re.search(r"(?m)^ANSWER (.*)$", text)
        if status or not found:
            raise AssertionError(f"{what} {name} {facts}: {text[-1500:]}")
        return json.loads(found[1])

    def until(self, condition: Any, what: str, patience_s: float = PATIENCE_S) -> Any:
        """The first true value of `condition`; what fails meanwhile is the board starting."""
        end, last = time.monotonic() + patience_s, ""
        while True:
            try:
                value = condition()
                if value:
                    return value
            except (AssertionError, MachineError) as error:
                last = str(error)
            self.machine.read()
            if time.monotonic() > end or not self.machine.running:
                raise AssertionError(f"not within {patience_s:.0f} s: {what}; {last}\n{self.machine.console[-2000:]}")
            time.sleep(0.5)

    def sip(self) -> str:
        """Where telephones register."""
        return f"{self.host}:{self.machine.udp_ports[5060]}"

    def update(self) -> dict[str, Any]:
        """What the update agent tells, as `show update` does."""
        found: dict[str, Any] = self.ask("manage", "show update")
        return found

    def close(self) -> None:
        self.machine.kill()
        self.wire.close()
        self.shell.close()


def provision(*arguments: str) -> str:
    """The host's tool; AssertionError with its words when it fails."""
    done = subprocess.run([sys.executable, "-m", "tools.provision", *arguments], cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout
