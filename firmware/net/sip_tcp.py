"""SIP over TCP: connections in and out over one listener (L3).

Theory of operation
-------------------
The listener is made and bound by the parent. A connection is known by the address of its peer; requests to that address
reuse it (RFC 3261 section 18), a destination without one gets a new connection. Bounds: connections in all and per source
(when full, the connection that has been silent the longest gives way), bytes waiting to be written (a peer that does not
read is cut off), messages waiting for a connection to come up. Framing is not done here.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import struct
from typing import Protocol

from firmware.net.address import copy_mark, plain

Address = tuple[str, int]

MAX_CONNECTIONS = 512
MAX_PER_SOURCE = 64
MAX_WRITE_BUFFER = 256 * 1024
MAX_PENDING = 32
CONNECT_TIMEOUT_S = 5.0
# A telephone that was switched off is gone after two minutes, not after two hours; what it does not acknowledge ends it in 30 s.
KEEP_ALIVE = (
    (socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4), (socket.TCP_USER_TIMEOUT, 30_000),
)  # fmt: skip
LAST_DATA_RECEIVED = 52     # offset of tcpi_last_data_recv (ms, 32 bits) in struct tcp_info

log = logging.getLogger("branchpbx.net")


class Owner(Protocol):
    """Who takes what connections bring."""

    def receive(self, data: bytes, source: Address, transport: str, local: Address, waited_ms: int = 0) -> None: ...
    def connection_made(self, transport: str, remote: Address) -> None: ...
    def connection_lost(self, transport: str, remote: Address) -> None: ...


class Connection(asyncio.Protocol):
    """One connection; `opened` by us, and then proven to be `name` where the transport can tell."""

    def __init__(self, shell: SipTcp, *, name: str = "", opened: bool = False) -> None:
        self.shell = shell
        self.name = name
        self.by_us = opened
        self.transport: asyncio.Transport | None = None
        self.remote: Address = ("", 0)
        self.local: Address = ("", 0)
        self.active = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if peer is None or own is None:
            transport.abort()
            return
        # What we opened is answered at the listener: Via and Contact name it (RFC 3261 section 18.1.1).
        self.remote, self.local = (plain(peer[0]), peer[1]), (plain(own[0]), self.shell.local[1] if self.by_us else own[1])
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, seconds in KEEP_ALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, option, seconds)
            self.shell.mark(sock)
        self.shell.opened(self)

    def data_received(self, data: bytes) -> None:
        self.shell.arrived(self, data)

    def write(self, data: bytes) -> None:
        """Send one message."""
        assert self.transport is not None
        self.transport.write(data)

    def finish(self) -> None:
        """End the connection once what was written has been sent."""
        assert self.transport is not None
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.shell.ended(self)


class SipTcp:
    """Shell of one listener; call `start` on the running loop."""

    def __init__(self, sock: socket.socket, owner: Owner, loop: asyncio.AbstractEventLoop, *, transport: str = "tcp") -> None:
        self._sock = sock
        self._owner = owner
        self._loop = loop
        self._name = transport
        self._connections: dict[Address, Connection] = {}
        self._pending: dict[Address, list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._ages = itertools.count(1)
        self.refused = 0
        self.overrun = 0
        self.dropped_out = 0
        sock.setblocking(False)
        bound = sock.getsockname()
        self.local: Address = (bound[0], bound[1])

    @classmethod
    def from_fileno(cls, fileno: int, owner: Owner, loop: asyncio.AbstractEventLoop) -> SipTcp:
        """Shell over an inherited descriptor, which this object then owns."""
        return cls(socket.socket(fileno=fileno), owner, loop)

    def mark(self, sock: socket.socket) -> None:
        """Give a connection the DSCP and priority of the listener."""
        if self._sock.fileno() >= 0:
            copy_mark(self._sock, sock)

    async def start(self) -> None:
        """Accept connections."""
        self._server = await self._loop.create_server(lambda: Connection(self), sock=self._sock)

    def send(self, data: bytes, destination: Address, *, close: bool = False) -> None:
        """Write to the connection of `destination`, opening one if there is none; `close` ends it after what is written."""
        connection = self._connections.get(destination)
        if connection is None or connection.transport is None:
            if data and not close:
                self._open(destination, data)
            return
        if data:
            connection.write(data)
            if connection.transport.get_write_buffer_size() > MAX_WRITE_BUFFER:
                self.overrun += 1
                log.warning("connection to %s:%d cut off: it does not read", *destination)
                connection.transport.abort()
                return
        if close:
            connection.finish()

    async def close(self) -> None:
        """End all connections and stop listening."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self._connections.values()):
            if connection.transport is not None:
                connection.transport.abort()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def statistics(self) -> dict[str, int]:
        """Connections now, refused by a bound, cut off for not reading, messages dropped."""
        return {"connections": len(self._connections), "refused": self.refused, "overrun": self.overrun, "dropped_out": self.dropped_out}

    # --- connections --------------------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """A connection is up (either way)."""
        transport = connection.transport
        assert transport is not None
        host = connection.remote[0]
        if sum(1 for remote in self._connections if remote[0] == host) >= MAX_PER_SOURCE:
            self.refused += 1
            transport.abort()
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            oldest = min(self._connections.values(), key=lambda other: other.active)
            self.refused += 1
            if oldest.transport is not None:
                oldest.transport.abort()
        connection.active = next(self._ages)
        self._connections[connection.remote] = connection
        self._owner.connection_made(self._name, connection.remote)
        for data in self._pending.pop(connection.remote, ()):
            connection.write(data)

    def arrived(self, connection: Connection, data: bytes) -> None:
        """Bytes of a connection."""
        if self._connections.get(connection.remote) is not connection:
            return
        connection.active = next(self._ages)
        try:
            self._owner.receive(data, connection.remote, self._name, connection.local, _waited(connection.transport))
        except Exception:
            log.exception("bytes from %s:%d failed", *connection.remote)

    def ended(self, connection: Connection) -> None:
        """A connection is gone."""
        if self._connections.get(connection.remote) is connection:
            del self._connections[connection.remote]
            self._owner.connection_lost(self._name, connection.remote)

    def _open(self, destination: Address, data: bytes) -> None:
        waiting = self._pending.get(destination)
        if waiting is not None:
            if len(waiting) < MAX_PENDING:
                waiting.append(data)
            else:
                self.dropped_out += 1
            return
        if len(self._pending) >= MAX_PENDING:
            self.dropped_out += 1
            self._loop.call_soon(self._owner.connection_lost, self._name, destination)
            return
        self._pending[destination] = [data]
        task = self._loop.create_task(self._connect(destination))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, destination: Address) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._loop.create_connection(lambda: Connection(self, opened=True), *destination)
        except (OSError, TimeoutError) as problem:
            log.info("no connection to %s:%d: %s", *destination, problem)
            self._gave_up(destination)

    def _gave_up(self, destination: Address) -> None:
        """What waited for a connection that does not come up is lost."""
        self.dropped_out += len(self._pending.pop(destination, ()))
        self._owner.connection_lost(self._name, destination)


def _waited(transport: asyncio.Transport | None) -> int:
    """Milliseconds that the newest bytes of a connection lay in the kernel: the listener outlives this process."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None:
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, LAST_DATA_RECEIVED + 4)
    except OSError:
        return 0
    return int(struct.unpack_from("=I", info, LAST_DATA_RECEIVED)[0]) if len(info) >= LAST_DATA_RECEIVED + 4 else 0
