"""Both clients of the control socket: `Client` for scripts and the console, `AsyncClient` for processes with a loop."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec

from firmware.errors import PbxError

LENGTH = struct.Struct(">I")
MAX_REPLY = 32 << 20


class CommandFailed(PbxError):
    """The gate refused a command; `kind` as listed in `control/gate.py`, `facts` what else the error says (`problems`, `message_zh`)."""

    def __init__(self, kind: str, message: str, facts: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.facts = facts or {}
        self.problems: list[dict[str, Any]] = list(self.facts.get("problems") or [])


class NotRunning(PbxError):
    """Nothing answers at the control socket."""


def _unwrap(reply: Any) -> Any:
    if reply.get("ok"):
        return reply.get("result")
    error = reply.get("error") or {}
    facts = {name: value for name, value in error.items() if name not in ("kind", "message")}
    raise CommandFailed(str(error.get("kind", "internal")), str(error.get("message", "no reason given")), facts)


def _not_running(path: Path, error: OSError) -> NotRunning:
    if isinstance(error, PermissionError):
        return NotRunning(f"{path}: permission denied; use the user that runs the appliance, or root")
    return NotRunning(f"{path}: nothing answers ({error.strerror or error}); start the appliance, or name its folder with --state DIR")


class Client:
    """Blocking client; a context manager. Raises NotRunning, CommandFailed."""

    def __init__(self, path: Path | str, *, timeout_s: float | None = 30.0) -> None:
        self.path = Path(path)
        self._next = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(self.path))
        except OSError as error:
            self._socket.close()
            raise _not_running(self.path, error) from error

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def call(self, command: str, *, key: str = "", **args: Any) -> Any:
        """Result of one command."""
        return self.request(command, args, key=key)

    def request(self, command: str, args: dict[str, Any], *, key: str = "") -> Any:
        """Result of one command, arguments as a dictionary."""
        self._next += 1
        self.send({"id": self._next, "command": command, "args": args, **({"key": key} if key else {})})
        return _unwrap(self.receive())

    def raw(self, message: dict[str, Any]) -> Any:
        """The whole reply to a request as it was given."""
        self.send(message)
        return self.receive()

    def events(self, start: int | None = None, types: list[str] | None = None) -> Iterator[dict[str, Any]]:
        """Frames `{"event": ...}` and `{"lost": [first, last]}`, for ever; the connection serves nothing else afterwards."""
        args: dict[str, Any] = {} if start is None else {"from": start}
        if types is not None:
            args["types"] = types
        self.request("events", args)
        self._socket.settimeout(None)
        while True:
            yield self.receive()

    def send(self, message: dict[str, Any]) -> None:
        """Write one frame."""
        body = msgspec.json.encode(message)
        try:
            self._socket.sendall(LENGTH.pack(len(body)) + body)
        except OSError as error:
            raise NotRunning(f"{self.path}: the connection broke ({error})") from error

    def receive(self) -> Any:
        """Read one frame."""
        (length,) = LENGTH.unpack(self._exactly(LENGTH.size))
        if length > MAX_REPLY:
            raise NotRunning(f"{self.path}: a frame of {length} bytes; this is not a control socket")
        return msgspec.json.decode(self._exactly(length))

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            data += self._some(count - len(data))
        return bytes(data)

    def _some(self, most: int) -> bytes:
        """Bytes that are there, at least one."""
        try:
            part = self._socket.recv(most)
        except TimeoutError as error:
            raise NotRunning(f"{self.path}: no answer in time; the appliance is busy or stopped") from error
        except OSError as error:
            raise NotRunning(f"{self.path}: the connection broke ({error})") from error
        if not part:
            raise NotRunning(f"{self.path}: the appliance closed the connection")
        return part


class AsyncClient:
    """Client for a process with an event loop. Raises NotRunning, CommandFailed. Requests are sent one after another."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._next = 0
        self._busy = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Connect."""
        try:
            self._reader, self._writer = await asyncio.open_unix_connection(str(self.path))
        except OSError as error:
            raise _not_running(self.path, error) from error

    async def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._reader = None

    async def call(self, command: str, *, key: str = "", **args: Any) -> Any:
        """Result of one command."""
        return _unwrap(await self.raw({"command": command, "args": args, **({"key": key} if key else {})}))

    async def raw(self, message: dict[str, Any]) -> Any:
        """The whole reply to a request."""
        async with self._busy:
            self._next += 1
            await self._send({"id": self._next, **message})
            return await self._receive()

    async def events(self, start: int | None = None, types: list[str] | None = None) -> AsyncIterator[dict[str, Any]]:
        """Frames of the event stream; the connection serves nothing else afterwards."""
        args: dict[str, Any] = {} if start is None else {"from": start}
        if types is not None:
            args["types"] = types
        await self._send({"id": 0, "command": "events", "args": args})
        _unwrap(await self._receive())
        while True:
            yield await self._receive()

    async def _send(self, message: dict[str, Any]) -> None:
        if self._writer is None:
            await self.open()
        assert self._writer is not None
        body = msgspec.json.encode(message)
        try:
            self._writer.write(LENGTH.pack(len(body)) + body)
            await self._writer.drain()
        except OSError as error:
            await self.close()
            raise NotRunning(f"{self.path}: the connection broke ({error})") from error

    async def _receive(self) -> Any:
        assert self._reader is not None
        try:
            (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            return msgspec.json.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError, msgspec.DecodeError) as error:
            await self.close()
            raise NotRunning(f"{self.path}: the appliance closed the connection") from error
