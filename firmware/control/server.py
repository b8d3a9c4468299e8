"""The control socket: length-prefixed JSON over a Unix socket, requests and the event stream.

Theory of operation
-------------------
Frame: 4-byte big-endian length, then JSON. A connection is one task: it reads a request, passes it to the gate, writes the
reply and waits until the peer has taken it, so a slow reader stops only its own connection and at most one reply waits in
memory. `events` turns the connection into a stream that is read from the shared history by cursor (`stream.py`). The peer's
role comes from its user id (SO_PEERCRED). A frame that is too long or no JSON object ends the connection with an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import msgspec

from firmware.control.client import NotRunning
from firmware.control.gate import Peer, Reply, failure
from firmware.control.roles import ROLES, allows, role_of_uid
from firmware.control.stream import EventStream, encode

MAX_FRAME = 1 << 20
MAX_CONNECTIONS = 64
LENGTH = struct.Struct(">I")
_CREDENTIALS = struct.Struct("3i")

log = logging.getLogger("branchpbx.control")


def pack(message: Any) -> bytes:
    """One frame."""
    body = msgspec.json.encode(message)
    return LENGTH.pack(len(body)) + body


def peer_of(connection: socket.socket) -> Peer | None:
    """The peer of a Unix socket, or None when its user may not use this appliance."""
    pid, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    role = role_of_uid(uid, os.getuid())
    return None if role is None else Peer(name=f"uid:{uid} pid:{pid}", role=role)


class Performer(Protocol):
    """The gate, or what relays to it."""

    async def perform(self, peer: Peer, path: str, args: Any, key: str = "") -> Reply:
        """Run one command."""
        ...


Follow = Callable[[dict[str, Any]], AsyncIterator[dict[str, Any]]]


class Server:
    """Serves `gate` and the event stream on a listening Unix socket made by the parent.

    Where the stream is another process's, `follow(args)` gives its frames instead.
    """

    def __init__(self, gate: Performer, stream: EventStream | None, listener: socket.socket, *, follow: Follow | None = None) -> None:
        self._gate = gate
        self._relay = follow
        self._stream = stream
        self._listener = listener
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to accept connections."""
        self._listener.setblocking(False)
        # From 3.13 on Python removes the socket's file when its server ends: but the file is the parent's, and the next process serves it.
        kept: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        self._server = await asyncio.start_unix_server(self._accept, sock=self._listener, limit=MAX_FRAME, **kept)

    async def stop(self) -> None:
        """Close every connection; the listening socket is left to its owner's other copies."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            connection = writer.get_extra_info("socket")
            peer = peer_of(connection)
            if peer is None:
                await _send(writer, failure("not_allowed", "only root and the user of the appliance may use this socket"))
            elif len(self._tasks) > MAX_CONNECTIONS:
                await _send(writer, failure("refused", f"{MAX_CONNECTIONS} connections are open already; close one"))
            else:
                await self._converse(peer, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("control connection failed")
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            if length > MAX_FRAME:
                await _send(writer, failure("bad_request", f"frame of {length} bytes; at most {MAX_FRAME} are taken"))
                return
            try:
                request = msgspec.json.decode(await reader.readexactly(length))
                path = request["command"]
                args = request.get("args")
                key = request.get("key", "")
                if not isinstance(path, str) or not isinstance(key, str):
                    raise TypeError("command and key must be text")
            except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
                await _send(
                    writer, failure("bad_request", f'not a request ({error}); send {{"id": 1, "command": "show status", "args": {{}}}}')
                )
                return
            identifier = {"id": request["id"]} if "id" in request else {}
            if path == "events":
                await self._follow(identifier, args, reader, writer)
                return
            await _send(writer, {**identifier, **await self._gate.perform(_on_behalf(peer, request.get("peer")), path, args, key)})

    async def _pass_on(self, identifier: dict[str, Any], args: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        assert self._relay is not None
        await _send(writer, {**identifier, "ok": True, "result": {}})
        with contextlib.suppress(NotRunning):
            async for frame in self._relay(args):
                await _send(writer, frame)

    async def _follow(self, identifier: dict[str, Any], args: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = self._stream
        if stream is None and self._relay is not None:
            await self._pass_on(identifier, args if isinstance(args, dict) else {}, writer)
            return
        if stream is None:
            await _send(
                writer, {**identifier, **failure("unavailable", "this process has no event stream; ask the control socket of core")}
            )
            return
        args = args if isinstance(args, dict) else {}
        cursor = args.get("from", stream.next)
        types = args.get("types")
        if not isinstance(cursor, int) or cursor < 0 or not (types is None or isinstance(types, list)):
            await _send(
                writer, {**identifier, **failure("bad_arguments", "events takes from: a sequence number, types: a list of event types")}
            )
            return
        await _send(writer, {**identifier, "ok": True, "result": {"next": stream.next, "first": stream.first, "boot": stream.boot}})
        gone = asyncio.ensure_future(reader.read(1))
        try:
            while not gone.done():
                lost, entries, cursor = stream.read(cursor)
                frames = [pack({"lost": list(lost)})] if lost is not None else []
                frames += [
                    pack({"event": encode(entry, stream.boot)}) for entry in entries if types is None or type(entry.event).__name__ in types
                ]
                if frames:
                    writer.write(b"".join(frames))
                    await writer.drain()
                if not entries:
                    more = asyncio.ensure_future(stream.wait(cursor))
                    try:
                        await asyncio.wait({gone, more}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        more.cancel()
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await gone


def _on_behalf(peer: Peer, named: Any) -> Peer:
    """The peer a relay names: never with more rights than the relay itself has."""
    if not isinstance(named, dict):
        return peer
    name, role = named.get("name"), named.get("role")
    if not isinstance(name, str) or role not in ROLES:
        return peer
    return Peer(name=name, role=role if allows(peer.role, role) else peer.role)


async def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    frame = pack(message)
    if len(frame) > MAX_FRAME * 16:
        frame = pack({"id": message.get("id"), **failure("refused", "the answer is too long; ask for less")})
    writer.write(frame)
    await writer.drain()
