"""SIP over secure WebSocket: browsers and their like, over one listener (L3).

Theory of operation
-------------------
RFC 7118 over RFC 6455, over TLS and nothing else: there is no plain "ws". As `sip_tls`, with an upgrade between the handshake and
the connection; framing, masking, UTF-8 and the order of frames are wsproto's, HTTP is h11's. A peer has to ask for the sub-protocol
"sip". One WebSocket message is one SIP message, so Content-Length is not needed; what is text goes as text, other bytes as binary.
No extension is granted: compression costs memory per connection, and lets few bytes become many.

A browser says which page opens the connection (`Origin`). Pages of this box and those that the configuration names are let in, so that
no page elsewhere can reach the box through the browser of somebody in the branch; what is no browser says nothing and proves itself
by its password, like everybody.

Keep-alive: browsers cannot ping, so we do, and a peer that answers neither ping nor anything else for two rounds is gone; RFC 5626's
CRLFs within a message are answered by `sip`. Bounds beside those of `sip_tls`: upgrades under way of a source and in all (the oldest
gives way), their time, bytes and frames of a message, pings of a peer. A listener of this kind connects to nobody.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, RejectConnection, Request, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from firmware.net.sip_tcp import MAX_PER_SOURCE, Address, Connection, Owner, SipTcp
from firmware.net.sip_tls import HANDSHAKE_S, MAX_SHAKING, MAX_SHAKING_PER_SOURCE, SipTls

SUBPROTOCOL = "sip"
MAX_MESSAGE = 64 * 1024       # what a datagram can carry; descriptions of browsers have 5 kB
MAX_FRAMES = 256              # of one message
MAX_PINGS = 8                 # of a peer between two of our rounds; more is no keep-alive
PING_S = 25.0                 # below the 30 s after which the shortest-lived NATs and proxies forget a connection
CLOSE_S = 2.0                 # for the peer's half of a closing handshake

log = logging.getLogger("branchpbx.net")
Admit = Callable[[str | None], bool]


def origin_host(origin: str) -> str:
    """Host of an `https` origin in plain form, "" for anything else (RFC 6454 section 6.2)."""
    scheme, _, rest = origin.lower().partition("://")
    if scheme != "https" or not rest or not rest.isascii() or any(sign in rest for sign in "/?#@ \t"):
        return ""
    if rest.startswith("["):
        return rest[1:].partition("]")[0]
    return rest.partition(":")[0]


def admits(origin: str | None, own: Sequence[str], further: Sequence[str]) -> bool:
    """Whether a page of this origin may connect: of the box itself (any port), or one that is named. None: not a browser."""
    if origin is None:
        return True
    host = origin_host(origin)
    return (bool(host) and host in own) or origin.lower().rstrip("/") in {name.lower().rstrip("/") for name in further}


class WsConnection(Connection):
    """One WebSocket connection; it is a connection of SIP from its upgrade on."""

    def __init__(self, shell: SipWss) -> None:
        super().__init__(shell)
        self.wire = WSConnection(ConnectionType.SERVER)
        self.parts: list[bytes] = []
        self.size = 0
        self.frames = 0
        self.heard = True             # anything since our last round
        self.pings = 0
        self.timer: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        return self.wire.state is ConnectionState.OPEN

    def write(self, data: bytes) -> None:
        """One SIP message, as one WebSocket message."""
        assert self.transport is not None
        if not self.open:
            return
        try:
            message: TextMessage | BytesMessage = TextMessage(data=data.decode())
        except UnicodeDecodeError:
            message = BytesMessage(data=data)
        self.transport.write(self.wire.send(message))

    def finish(self) -> None:
        """End what SIP has refused to go on with."""
        self.shut(CloseReason.POLICY_VIOLATION)

    def shut(self, code: CloseReason, *, failed: bool = False) -> None:
        """Our close frame; the end follows the peer's, or comes at once where that came first or cannot be read any more."""
        if self.transport is None or self.transport.is_closing():
            return
        self.parts = []
        if self.wire.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            waiting = self.open and not failed
            self.transport.write(self.wire.send(CloseConnection(code=code)))
            if waiting:
                self.later(CLOSE_S, self.transport.abort)
                return
        self.transport.close()

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """The one thing this connection waits for; None of the earlier ones is left."""
        self.settle()
        self.timer = asyncio.get_running_loop().call_later(seconds, what)

    def settle(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def take(self, event: TextMessage | BytesMessage) -> bytes | None:
        """Collect the frames of a message; the whole of it with its last one. Raises ValueError for more than there may be."""
        data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
        self.size += len(data)
        self.frames += event.frame_finished
        if self.size > MAX_MESSAGE or self.frames > MAX_FRAMES:
            raise ValueError("message too big")
        if data:
            self.parts.append(data)
        if not event.message_finished:
            return None
        whole = b"".join(self.parts)
        self.parts, self.size, self.frames = [], 0, 0
        return whole


class SipWss(SipTls):
    """Shell of one listener; `admit(origin)` says whether a page may connect (None: the peer is no browser)."""

    def __init__(
        self,
        sock: socket.socket,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        server: ssl.SSLContext,
        client: ssl.SSLContext,
        *,
        admit: Admit,
        handshake_s: float = HANDSHAKE_S,
        ping_s: float = PING_S,
    ) -> None:
        super().__init__(sock, owner, loop, server, client, handshake_s=handshake_s, transport="wss")
        self._admit = admit
        self._ping_s = ping_s
        self._upgrading: dict[WsConnection, None] = {}       # in order of age
        self._round: asyncio.TimerHandle | None = None
        self.rejected = 0

    async def start(self) -> None:
        """Accept connections."""
        await super().start()
        self._round = self._loop.call_later(self._ping_s, self._ping)

    async def close(self) -> None:
        """End everything; peers are told that we go away."""
        if self._round is not None:
            self._round.cancel()
        for connection in [*self._connections.values(), *self._upgrading]:
            if isinstance(connection, WsConnection):
                if connection.open and connection.transport is not None:
                    connection.transport.write(connection.wire.send(CloseConnection(code=CloseReason.GOING_AWAY)))
                connection.settle()
        for waiting in list(self._upgrading):
            if waiting.transport is not None:
                waiting.transport.abort()
        await super().close()

    def statistics(self) -> dict[str, int]:
        """As `SipTls.statistics`, with upgrades under way and refused."""
        return {**super().statistics(), "upgrades": len(self._upgrading), "rejected": self.rejected}

    def accepted(self) -> Connection:
        """What serves a connection that somebody opened to us."""
        return WsConnection(self)

    # --- connections --------------------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """TLS is up: the upgrade has its time from here."""
        assert isinstance(connection, WsConnection) and connection.transport is not None
        host = connection.remote[0]
        mine = sum(1 for other in self._upgrading if other.remote[0] == host)
        if mine >= MAX_SHAKING_PER_SOURCE or mine + sum(1 for remote in self._connections if remote[0] == host) >= MAX_PER_SOURCE:
            self.refused += 1
            connection.transport.abort()
            return
        if len(self._upgrading) >= MAX_SHAKING:
            oldest = next(iter(self._upgrading))
            self.refused += 1
            if oldest.transport is not None:
                oldest.transport.abort()
        self._upgrading[connection] = None
        connection.later(self._handshake_s, connection.transport.abort)

    def arrived(self, connection: Connection, data: bytes) -> None:
        """Bytes of a connection: of its upgrade, or of frames."""
        assert isinstance(connection, WsConnection) and connection.transport is not None
        connection.heard = True
        upgraded = self._connections.get(connection.remote) is connection
        if not upgraded and connection not in self._upgrading:
            return                       # refused, and still talking
        try:
            connection.wire.receive_data(data)
            for event in connection.wire.events():
                if upgraded:
                    self._frame(connection, event)
                else:
                    upgraded = self._upgrade(connection, event)
        except RemoteProtocolError as problem:
            hint = problem.event_hint if isinstance(problem.event_hint, RejectConnection) else RejectConnection()
            self._reject(connection, hint, str(problem))
        except (LocalProtocolError, ValueError) as problem:
            # After the closing handshake, or a request with a host or a target that is no text: not worth an answer.
            log.info("WebSocket of %s:%d ended: %s", *connection.remote, problem)
            connection.transport.abort()

    def ended(self, connection: Connection) -> None:
        """A connection is gone, upgraded or not."""
        assert isinstance(connection, WsConnection)
        connection.settle()
        self._upgrading.pop(connection, None)
        super().ended(connection)

    def _upgrade(self, connection: WsConnection, event: Event) -> bool:
        """Answer the request; True when the connection now is one of SIP."""
        if not isinstance(event, Request):
            return False
        assert connection.transport is not None
        origins = [value.decode("latin-1") for name, value in event.extra_headers if name.lower() == b"origin"]
        if len(origins) > 1 or not self._admit(origins[0] if origins else None):
            self._reject(connection, RejectConnection(status_code=403), f"origin {', '.join(origins)[:80]!r} is not let in")
            return False
        if SUBPROTOCOL not in event.subprotocols:
            self._reject(connection, RejectConnection(status_code=400), "the sub-protocol sip is not asked for")
            return False
        connection.transport.write(connection.wire.send(AcceptConnection(subprotocol=SUBPROTOCOL)))
        connection.settle()
        self._upgrading.pop(connection, None)
        SipTcp.opened(self, connection)
        return self._connections.get(connection.remote) is connection

    def _reject(self, connection: WsConnection, answer: RejectConnection, why: str) -> None:
        assert connection.transport is not None
        self.rejected += 1
        log.info("no WebSocket for %s:%d: %s", *connection.remote, why)
        if connection.wire.state is ConnectionState.CONNECTING:
            headers = [*answer.headers, (b"Connection", b"close")]
            try:
                connection.transport.write(connection.wire.send(RejectConnection(status_code=answer.status_code, headers=headers)))
            except Exception as problem:         # h11 answers nothing to what is no HTTP at all
                log.debug("no answer to %s:%d: %s", *connection.remote, problem)
        self._upgrading.pop(connection, None)
        connection.settle()
        connection.transport.close()

    def _frame(self, connection: WsConnection, event: Event) -> None:
        assert connection.transport is not None
        if isinstance(event, TextMessage | BytesMessage):
            if not connection.open:
                return                   # what was under way when we closed
            try:
                whole = connection.take(event)
            except ValueError:
                connection.shut(CloseReason.MESSAGE_TOO_BIG)
                return
            if whole:
                super().arrived(connection, whole)
        elif isinstance(event, Ping):
            connection.pings += 1
            if connection.pings > MAX_PINGS:
                connection.shut(CloseReason.POLICY_VIOLATION)
            elif connection.open:
                connection.transport.write(connection.wire.send(event.response()))
        elif isinstance(event, CloseConnection):
            # The peer's farewell, its answer to ours, or, while we are open, what wsproto found wrong.
            known = event.code in set(CloseReason)
            connection.shut(CloseReason(event.code) if known else CloseReason.NORMAL_CLOSURE, failed=connection.open)

    # --- keep-alive ---------------------------------------------------------------------------------------------------

    def _ping(self) -> None:
        """A round: who was silent since the last one is gone, the others are asked for a sign of life."""
        self._round = self._loop.call_later(self._ping_s, self._ping)
        for connection in list(self._connections.values()):
            if not isinstance(connection, WsConnection) or connection.transport is None or not connection.open:
                continue
            if not connection.heard:
                log.info("WebSocket of %s:%d answers no ping", *connection.remote)
                connection.transport.abort()
                continue
            connection.heard, connection.pings = False, 0
            connection.transport.write(connection.wire.send(Ping()))

    def _open(self, destination: Address, data: bytes) -> None:
        """Browsers do not listen: who is not connected is gone."""
        self.dropped_out += 1
        self._loop.call_soon(self._owner.connection_lost, self._name, destination)
