"""SIP over TLS: connections in and out over one listener (L3).

Theory of operation
-------------------
As `sip_tcp`, with a handshake before anything is a connection (RFC 3261 section 26.3, RFC 5922). The listener is made and bound by
the parent; `tls_door` accepts it and bounds the handshakes; then come all bounds of `sip_tcp`. A connection that we open is verified
against the name it was opened for, or its address; it is reused for that name, and others in its certificate, only (RFC 5923 section 9).
What is in flight ends with this process, the listener does not: telephones connect again. `use` gives the next handshakes another
certificate; connections stand.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl

from firmware.net.sip_tcp import CONNECT_TIMEOUT_S, MAX_PER_SOURCE, Address, Connection, Owner, SipTcp
from firmware.net.tls_door import SHUTDOWN_S, Bounds, TlsDoor

HANDSHAKE_S = 8.0
MAX_SHAKING = 128
MAX_SHAKING_PER_SOURCE = 16
# Handshakes are the costly part: each source may begin so many at once, then so many a second (50 phones behind one address that
# all return from a power cut get in at once; the guard of `sip` sees messages only, and must see them: an emergency call is one).
BURST = 64
RATE = 4.0

log = logging.getLogger("branchpbx.net")


class SipTls(SipTcp):
    """Shell of one TLS listener; `server` and `client` are contexts of `net/tls.py`."""

    def __init__(
        self,
        sock: socket.socket,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        server: ssl.SSLContext,
        client: ssl.SSLContext,
        *,
        handshake_s: float = HANDSHAKE_S,
        transport: str = "tls",
    ) -> None:
        super().__init__(sock, owner, loop, transport=transport)
        self._server_context = server
        self._client_context = client
        self._handshake_s = handshake_s
        self._opening: dict[Address, str] = {}                # connections that come up, and who they have to be
        self.door: TlsDoor | None = None
        self.failed = 0

    def use(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        """Handshakes from now on."""
        self._server_context, self._client_context = server, client
        if self.door is not None:
            self.door.context = server

    async def start(self) -> None:
        """Accept connections."""
        bounds = Bounds(MAX_SHAKING, MAX_SHAKING_PER_SOURCE, BURST, RATE, self._handshake_s)
        self.door = TlsDoor(self._sock, self._server_context, lambda _: self.accepted(), self._room, bounds)

    async def close(self) -> None:
        """End all handshakes and connections and stop listening."""
        if self.door is not None:
            await self.door.close()
        self._sock.close()
        await super().close()

    def send(self, data: bytes, destination: Address, *, close: bool = False, name: str = "") -> None:
        """As `SipTcp.send`; a connection that must be opened has to prove `name`, or its address where that is empty."""
        known = self._connections.get(destination)
        coming = self._opening.get(destination, name) if destination in self._pending else name
        if name and (not _proves(known, name) if known is not None else coming != name):
            log.warning("the connection to %s:%d is not proven to be %s: nothing is sent", *destination, name)
            self.dropped_out += 1
            return
        if known is None and destination not in self._pending:
            self._opening[destination] = name
        super().send(data, destination, close=close)
        if destination not in self._pending:
            self._opening.pop(destination, None)             # it is up already, or does not come

    def statistics(self) -> dict[str, int]:
        """As `SipTcp.statistics`, with handshakes under way and failed."""
        told, door = super().statistics(), self.door
        if door is None:
            return {**told, "handshakes": 0, "failed": self.failed}
        return {**told, "refused": told["refused"] + door.refused, "handshakes": len(door), "failed": self.failed + door.failed}

    def _room(self, host: str) -> bool:
        assert self.door is not None
        return self.door.of(host) + sum(1 for remote in self._connections if remote[0] == host) < MAX_PER_SOURCE

    def accepted(self) -> Connection:
        """What serves a connection that somebody opened to us."""
        return Connection(self)

    async def _connect(self, destination: Address) -> None:
        name = self._opening.get(destination, "")
        made = Connection(self, name=name, opened=True)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S + self._handshake_s):
                await self._loop.create_connection(
                    lambda: made,
                    *destination,
                    ssl=self._client_context,
                    server_hostname=name or destination[0],
                    ssl_handshake_timeout=self._handshake_s,
                    ssl_shutdown_timeout=SHUTDOWN_S,
                )
        except (OSError, TimeoutError) as problem:
            self.failed += 1
            log.warning("no TLS connection to %s:%d (%s): %s", *destination, name or "no name", problem)
            self._gave_up(destination)


def _proves(connection: Connection, name: str) -> bool:
    """True where a connection that we opened is proven to be this name, too: whole names only (RFC 5922 section 7.2)."""
    if connection.name == name:
        return True
    if not connection.by_us or connection.transport is None:
        return False
    shown = connection.transport.get_extra_info("peercert") or {}
    return any(kind == "DNS" and value.lower().rstrip(".") == name.lower() for kind, value in shown.get("subjectAltName", ()))
