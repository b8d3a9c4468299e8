"""Handshakes of TLS in bounds: how many at once, from one source, in a second, and how long each may take (L3).

Theory of operation
-------------------
The listening socket is accepted from here and not by asyncio's server, so that a connection is counted before it costs a handshake: the
arithmetic of one is a thousand times what a refusal costs. A source that has too many half-open handshakes, or begins them faster than its
allowance, is closed at once. With too many in all the oldest gives way: an honest handshake is short, so the oldest is one that somebody
holds open. What the owner says of a source (`room`) is asked first. A connection that is through is the protocol's, and none of ours.
Another `context` is for the next handshakes.
Invariants: `len(door)` never exceeds the bound; the table of sources neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable

from msgspec import Struct

from firmware.net.address import plain

BATCH = 32
PAUSE_S = 0.5           # without descriptors left: until some are free again
SHUTDOWN_S = 2.0
MOST_SOURCES = 4096
# asyncio writes zeros into its read buffer of each connection, 256 kB of real memory; one TLS record is enough.
sslproto.SSLProtocol.max_size = 16 * 1024 + 512

log = logging.getLogger("branchpbx.net")


class Bounds(Struct, frozen=True):
    """Half-open handshakes at once and from one source; each source begins `burst` at once, then `rate` a second; seconds of each."""

    at_once: int
    per_source: int
    burst: int
    rate: float
    handshake_s: float


class TlsDoor:
    """See the theory of operation above. `make(host)` gives the protocol of a connection, `room(host)` says whether it may come in."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, make: Callable[[str], asyncio.Protocol], room: Callable[[str], bool],
        bounds: Bounds,
    ) -> None:  # fmt: skip
        self.context = context
        self._sock, self._make, self._room, self._bounds = sock, make, room, bounds
        self._loop = asyncio.get_running_loop()
        self._shaking: dict[asyncio.Task[None], tuple[str, socket.socket]] = {}      # in order of age
        self._begun: dict[str, tuple[float, float]] = {}      # source -> handshakes it may begin, as of an instant of the loop
        self._pause: asyncio.TimerHandle | None = None
        self.refused = self.failed = 0
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._acceptable)

    def __len__(self) -> int:
        """Handshakes under way."""
        return len(self._shaking)

    def of(self, host: str) -> int:
        """Handshakes under way with this source."""
        return sum(1 for known, _ in self._shaking.values() if known == host)

    @property
    def remembered(self) -> int:
        """Sources of which is known how fast they begin."""
        return len(self._begun)

    async def close(self) -> None:
        """Accept nothing more, and end the handshakes under way."""
        if self._pause is not None:
            self._pause.cancel()
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        tasks = list(self._shaking)
        for task in tasks:
            self._abandon(task)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _acceptable(self) -> None:
        for _ in range(BATCH):
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:
                log.error("TLS connections wait: %s", problem)
                self._loop.remove_reader(self._sock.fileno())
                self._pause = self._loop.call_later(PAUSE_S, self._go_on)
                return
            self._begin(sock, plain(str(peer[0])))

    def _go_on(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock.fileno(), self._acceptable)

    def _begin(self, sock: socket.socket, host: str) -> None:
        if self.of(host) >= self._bounds.per_source or not self._room(host) or not self._allowed(host):
            self.refused += 1
            sock.close()
            return
        if len(self._shaking) >= self._bounds.at_once:
            self.refused += 1
            self._abandon(next(iter(self._shaking)))
        sock.setblocking(False)
        task = self._loop.create_task(self._shake(sock, host))
        self._shaking[task] = (host, sock)
        task.add_done_callback(lambda done: self._shaking.pop(done, None))

    def _allowed(self, host: str) -> bool:
        now, most = self._loop.time(), self._bounds.burst
        left, since = self._begun.pop(host, (float(most), now))
        left = min(float(most), left + (now - since) * self._bounds.rate)
        allowed = left >= 1
        if len(self._begun) >= MOST_SOURCES:
            del self._begun[next(iter(self._begun))]           # the one that has been quiet the longest
        self._begun[host] = (left - 1 if allowed else left, now)
        return allowed

    def _abandon(self, task: asyncio.Task[None]) -> None:
        _, sock = self._shaking.pop(task)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)       # whatever state the handshake is in, it sees the end of the stream
        task.cancel()

    async def _shake(self, sock: socket.socket, host: str) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._make(host), sock, ssl=self.context, ssl_handshake_timeout=self._bounds.handshake_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )  # fmt: skip
        except (OSError, TimeoutError) as problem:       # ssl.SSLError and ConnectionError are OSErrors
            self.failed += 1
            log.info("TLS handshake with %s failed: %s", host, problem)
