"""Small clients of the two sockets of an appliance: the world's JSON lines and the product's length-prefixed JSON.

Theory of operation. docs/interfaces.md, "Control" and "Simulated world". Blocking, one request at a time, for command lines, the
screen and the simulated day; the product's own client library is not used.
"""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any

from firmware.errors import PbxError


class ClientError(PbxError):
    """The appliance is not there, or refused the request."""


def _connect(path: Path, timeout: float) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(timeout)
    try:
        link.connect(str(path))
    except OSError as error:
        link.close()
        raise ClientError(
            f"{path}: nobody listens ({error.strerror}); start an appliance with `make run`, or name its folder with --state"
        ) from error
    return link


class WorldClient:
    """The world of the appliance in `state`."""

    def __init__(self, state: Path, timeout: float = 10.0) -> None:
        self.link = _connect(state / "run" / "world.sock", timeout)
        self.file = self.link.makefile("rb")

    def ask(self, do: str, *, timeout: float | None = 10.0, **facts: Any) -> dict[str, Any]:
        """One request; ClientError carries the world's own words."""
        self.link.settimeout(timeout)
        self.link.sendall(json.dumps({"do": do, **facts}).encode() + b"\n")
        while True:
            reply = self.read()
            if "event" not in reply:
                break
        if not reply.pop("ok", False):
            raise ClientError(str(reply.get("error", "refused")))
        return reply

    def read(self) -> dict[str, Any]:
        """The next line."""
        try:
            line = self.file.readline()
        except TimeoutError as error:
            raise ClientError("the simulated world does not answer in time") from error
        if not line:
            raise ClientError("the simulated world has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self.file.close()
        self.link.close()


class ProductClient:
    """The control socket of the appliance in `state`."""

    def __init__(self, state: Path, timeout: float = 10.0) -> None:
        self.link = _connect(state / "run" / "control.sock", timeout)
        self.count = 0

    def ask(self, command: str, **args: Any) -> Any:
        """The result of one command; ClientError when it is refused."""
        self.count += 1
        body = json.dumps({"id": self.count, "command": command, "args": args}).encode()
        try:
            self.link.sendall(struct.pack("!I", len(body)) + body)
            while True:
                reply = json.loads(self._exactly(struct.unpack("!I", self._exactly(4))[0]))
                if reply.get("id") == self.count:
                    break
        except (OSError, ValueError) as error:
            raise ClientError(f"the appliance does not answer `{command}`: {error}") from error
        if not reply.get("ok"):
            problem = reply.get("error", {})
            raise ClientError(f"`{command}` was refused: {problem.get('message', problem)}")
        return reply.get("result")

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.link.recv(count - len(data))
            if not piece:
                raise ClientError("the appliance closed its control socket")
            data += piece
        return data

    def close(self) -> None:
        self.link.close()
