"""The whole product as a user starts it: `branchpbx run` in a state folder of its own, asked only through its sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "board" / "world" / "site.toml"


#: Prefix of a command: SIGINT when the test process ends, however it ends (PR_SET_PDEATHSIG, kept over exec).
DIE_WITH_TEST = ("setpriv", "--pdeathsig", "INT", "--")


def wait_until(condition: Callable[[], Any], what: str, timeout: float = 10.0) -> Any:
    """The first true value of `condition`; the test fails, naming `what`, when none comes in time."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.03)


def alive(pid: int) -> bool:
    """Whether this process runs; one that ended is none, whether or not somebody has waited for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


class Appliance:
    """One running appliance with its simulated world."""

    def __init__(
        self,
        state: Path,
        *,
        bind: str,
        config: Path = SITE,
        overrides: Mapping[str, str] = {},
        extra: tuple[str, ...] = (),
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.state = state
        self.bind = bind
        state.mkdir(parents=True, exist_ok=True)
        text = config.read_text()
        for old, new in overrides.items():
            assert old in text, f"the demonstration site has no line {old!r}"
            text = text.replace(old, new)
        self.config = state / "site.toml"
        self.config.write_text(text)
        self.extra = extra
        self.prefix = prefix             # of the command: where it runs
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Appliance:
        self.output = (self.state / "output.log").open("ab")
        command = [sys.executable, "-m", "firmware", "run", "--config", str(self.config), "--state", str(self.state), "--bind", self.bind]
        self.process = subprocess.Popen(
            [*DIE_WITH_TEST, *self.prefix, *command, *self.extra],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )
        wait_until(self._ready, f"appliance answers its control socket; it said:\n{self.said()}", 45)
        return self

    def said(self) -> str:
        return (self.state / "output.log").read_text(errors="replace")[-4000:]

    def log(self, process: str) -> list[dict[str, Any]]:
        """What `process` has logged, oldest first: nothing while its file is not there, and no line that it is still writing."""
        path = self.state / "log" / f"{process}.log"
        text = path.read_bytes() if path.exists() else b""
        return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"branchpbx run ended with status {self.process.returncode}:\n{self.said()}")
        try:
            self.ctl("show status")
            self.world({"do": "status"})
        except (OSError, ConnectionError, FileNotFoundError):
            return False
        return True

    # --- asking the product ---------------------------------------------------------------------------------------------

    def ctl(self, command: str, **args: Any) -> Any:
        """One command over the control socket; the result, or AssertionError with what it refused."""
        return self._asked("control.sock", command, args)

    def manage(self, command: str, **args: Any) -> Any:
        """The same over management's socket: what it serves, and whatever it relays."""
        return self._asked("manage.sock", command, args)

    def _asked(self, where: str, command: str, args: dict[str, Any]) -> Any:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(40)
            link.connect(str(self.state / "run" / where))
            body = json.dumps({"id": 1, "command": command, "args": args}).encode()
            link.sendall(struct.pack(">I", len(body)) + body)
            reply = json.loads(self._frame(link))
        if not reply["ok"]:
            raise AssertionError(f"{command} {args}: {reply['error']}")
        return reply["result"]

    @staticmethod
    def _frame(link: socket.socket) -> bytes:
        def exactly(n: int) -> bytes:
            data = b""
            while len(data) < n:
                more = link.recv(n - len(data))
                if not more:
                    raise ConnectionError("control socket closed")
                data += more
            return data

        return exactly(struct.unpack(">I", exactly(4))[0])

    def accounts(self) -> dict[str, str]:
        """SIP account -> secret."""
        return {row["account"]: row["secret"] for row in self.ctl("show accounts")}

    @property
    def sip(self) -> str:
        """host:port where SIP listens."""
        endpoints = json.loads((self.state / "run" / "endpoints.json").read_text())
        return f"{self.bind}:{endpoints['sip_port']}"

    def pid(self, name: str) -> int:
        return int((self.state / "run" / f"{name}.pid").read_text())

    def kill(self, name: str) -> int:
        """SIGKILL one process; its old pid."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    # --- the simulated world --------------------------------------------------------------------------------------------

    def world(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request to the world; its reply."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(60)
            link.connect(str(self.state / "run" / "world.sock"))
            link.sendall(json.dumps(request).encode() + b"\n")
            with link.makefile("rb") as lines:
                line = lines.readline()
        if not line:
            raise ConnectionError("the world closed its socket")
        reply: dict[str, Any] = json.loads(line)
        assert reply.get("ok"), f"{request}: {reply}"
        return reply

    # --- ending ---------------------------------------------------------------------------------------------------------

    def stop(self) -> int:
        """SIGINT, as the user's Ctrl-C; the exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)  # the parent alone grants its children 13 s, one after the other
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"SIGINT did not end the appliance:\n{self.said()}") from None
            finally:
                self.output.close()
        return self.process.returncode
