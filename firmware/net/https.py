"""A small HTTP service, with or without TLS: GET only, every request answered from memory (L3, on aiohttp).

Bounds, whatever a peer sends: connections in all and from one address, handshakes of TLS (`tls_door.py`), bytes of a request line and of
its headers, seconds of a connection from its handshake to its last byte. Bodies are not read. The path is handed on as it came, neither
unescaped nor joined to anything: who answers matches it as a whole. Nothing here knows what is served.
The client side fetches one resource over TLS with a bound on its size, or keeps a connection for several requests (`Exchange`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import aiohttp
from aiohttp import web
from msgspec import Struct

from firmware.errors import PbxError
from firmware.net.address import plain
from firmware.net.tls_door import Bounds, TlsDoor

MOST_CONNECTIONS = 64
MOST_PER_ADDRESS = 12
MOST_LINE = 1024
MOST_HEADER = 4096
CONNECTION_S = 20.0
# A telephone fetches half a dozen files, most over one connection; after a power cut all come at once, each from its own address.
HANDSHAKES = Bounds(at_once=24, per_source=4, burst=24, rate=1.0, handshake_s=8.0)
_NO_LOG = logging.getLogger("branchpbx.https.access")
_NO_LOG.disabled = True


class Get(Struct, frozen=True):
    """A request: `path` as it came, the peer's address, its User-Agent, whether it came over TLS."""

    path: str
    source: str
    agent: str
    secure: bool


class Answer(Struct, frozen=True):
    """What goes back."""

    status: int
    body: bytes
    content: str


class HttpError(PbxError):
    """A resource could not be fetched; the message says why."""


class _Connection(web.RequestHandler):
    """One connection with its bounds."""

    __slots__ = ("_host", "_late", "_service")

    def __init__(self, service: HttpService, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server, loop=loop, access_log=_NO_LOG, keepalive_timeout=3.0, max_line_size=MOST_LINE, max_field_size=MOST_HEADER,
            max_headers=MOST_HEADER, lingering_time=1.0,
        )  # fmt: skip
        self._service = service
        self._host = ""
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self._host = plain(str(peer[0])) if peer else ""
        if not self._service.take(self._host):
            self._host = ""
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
        else:
            assert isinstance(transport, asyncio.Transport)
            self._late = asyncio.get_running_loop().call_later(CONNECTION_S, transport.abort)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._late is not None:
            self._late.cancel()
        if self._host:
            self._service.leave(self._host)
            self._host = ""
        super().connection_lost(exc)


class HttpService:
    """Listens on one or two ports; `answer` gives the reply to a request and raises nothing."""

    def __init__(self, answer: Callable[[Get], Awaitable[Answer]], bounds: Bounds = HANDSHAKES) -> None:
        self._answer = answer
        self._bounds = bounds
        self._servers: list[asyncio.Server] = []
        self._doors: list[TlsDoor] = []
        self._open: Counter[str] = Counter()
        self._web: web.Server | None = None

    async def listen(self, host: str, port: int, context: ssl.SSLContext | None) -> int:
        """Listen; the actual port. Raises OSError."""
        loop = asyncio.get_running_loop()
        if self._web is None:
            self._web = web.Server(self._handle)
        own = self._web
        if context is not None:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.create_server((host, port), family=family, backlog=16)
            self._doors.append(TlsDoor(sock, context, lambda _: _Connection(self, own, loop), self.room, self._bounds))
            return int(sock.getsockname()[1])
        server = await loop.create_server(lambda: _Connection(self, own, loop), host, port, backlog=16)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and end what is open."""
        for server in self._servers:
            server.close()
        for door in self._doors:
            await door.close()
        if self._web is not None:
            await self._web.shutdown(1.0)
        self._servers.clear()
        self._doors.clear()
        self._web = None

    def statistics(self) -> dict[str, int]:
        """Connections open, handshakes under way, refused and failed."""
        doors = self._doors
        return {
            "open": self._open.total(), "handshakes": sum(map(len, doors)), "refused": sum(one.refused for one in doors),
            "failed": sum(one.failed for one in doors),
        }  # fmt: skip

    def room(self, host: str) -> bool:
        """Whether a further connection of an address would be within the bounds."""
        return self._open.total() < MOST_CONNECTIONS and self._open[host] < MOST_PER_ADDRESS

    def take(self, host: str) -> bool:
        """Count a connection; False when there are too many."""
        if not self.room(host):
            return False
        self._open[host] += 1
        return True

    def leave(self, host: str) -> None:
        """A counted connection has ended."""
        self._open[host] -= 1
        if self._open[host] <= 0:
            del self._open[host]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET", "Connection": "close"})
        secure = request.transport is not None and request.transport.get_extra_info("ssl_object") is not None
        got = Get(request.raw_path, request.remote or "", request.headers.get("User-Agent", ""), secure)
        reply = await self._answer(got)
        headers = {"Content-Type": reply.content, "Cache-Control": "no-store", "Server": "BranchPBX"}
        return web.Response(status=reply.status, body=reply.body, headers=headers)


async def fetch(url: str, context: ssl.SSLContext, *, most: int, timeout_s: float, headers: Mapping[str, str] | None = None) -> bytes:
    """The resource at an https URL, at most `most` bytes, no redirections. Raises HttpError."""
    limit = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(
            url, ssl=context, allow_redirects=False, headers=dict(headers or {})
        ) as reply:
            if reply.status == 204:
                return b""
            if reply.status != 200:
                raise HttpError(f"{url}: answered {reply.status} {reply.reason}")
            return await _body(reply, url, most)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise HttpError(f"{url}: {error or type(error).__name__}") from error


async def ask(
    url: str, context: ssl.SSLContext, body: bytes, *, most: int, timeout_s: float, headers: Mapping[str, str]
) -> bytes:  # fmt: skip
    """What a service answers to a body, at most `most` bytes, no redirections. Raises HttpError."""
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session, session.post(
            url, ssl=context, data=body, allow_redirects=False, headers=dict(headers)
        ) as reply:
            if reply.status != 200:
                raise HttpError(f"{url}: answered {reply.status} {reply.reason}")
            return await _body(reply, url, most)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise HttpError(f"{url}: {error or type(error).__name__}") from error


class Exchange:
    """Requests to one server over a connection that is kept: any method, no redirections, the answer's body thrown away.

    To be entered (`async with`). A body is as long as `size` says; what reading it raises ends the request as HttpError.
    """

    def __init__(self, context: ssl.SSLContext, headers: Mapping[str, str]) -> None:
        self._context = context
        self._headers = dict(headers)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Exchange:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], *, timeout_s: float, body: AsyncIterator[bytes] | None = None,
        size: int = 0,
    ) -> tuple[int, dict[str, str]]:  # fmt: skip
        """Status and headers (names in small letters). Raises HttpError."""
        assert self._session is not None
        sent = {**self._headers, **headers, "Content-Length": str(size)} if method in ("POST", "PATCH") else {**self._headers, **headers}
        limit = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.request(
                method, url, ssl=self._context, data=body, headers=sent, allow_redirects=False, timeout=limit
            ) as reply:
                await reply.content.read(MOST_HEADER)
                return reply.status, {name.lower(): value for name, value in reply.headers.items()}
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise HttpError(f"{url}: {error or type(error).__name__}") from error


async def _body(reply: aiohttp.ClientResponse, url: str, most: int) -> bytes:
    data = await reply.content.read(most + 1)
    while len(data) <= most and (more := await reply.content.read(most + 1 - len(data))):
        data += more
    if len(data) > most:
        raise HttpError(f"{url}: more than {most} bytes")
    return data


async def post(url: str, context: ssl.SSLContext, body: bytes, *, timeout_s: float) -> None:
    """Send a report; any 2xx is well. Raises HttpError."""
    try:
        limit = aiohttp.ClientTimeout(total=timeout_s)
        async with aiohttp.ClientSession(timeout=limit) as session, session.post(
            url, ssl=context, data=body, allow_redirects=False
        ) as reply:
            if not 200 <= reply.status < 300:
                raise HttpError(f"{url}: answered {reply.status} {reply.reason}")
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise HttpError(f"{url}: {error or type(error).__name__}") from error
