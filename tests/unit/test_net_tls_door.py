"""Handshakes in bounds: who holds many open, begins many or never ends one costs others nothing; over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from firmware.net import tls
from firmware.net.https import HANDSHAKES, Answer, Get, HttpService
from firmware.net.tls_door import Bounds
from firmware.store.certificates import Paths, ensure

WIDE = Bounds(at_once=24, per_source=24, burst=1000, rate=1000.0, handshake_s=8.0)


async def answer(got: Get) -> Answer:
    return Answer(200, got.path.encode(), "text/plain")


def served(folder: Path, bounds: Bounds, body: Callable[[HttpService, int, ssl.SSLContext], Awaitable[None]]) -> None:
    """A service with a certificate of its own on loopback, while `body` runs."""
    ensure(folder, ["127.0.0.1"], "box")
    paths = Paths(folder)

    async def main() -> None:
        service = HttpService(answer, bounds)
        port = await service.listen("127.0.0.1", 0, tls.server_context(paths.server, paths.server_key))
        trust = ssl.create_default_context(cafile=str(paths.ca))
        try:
            await asyncio.wait_for(body(service, port, trust), 30)
        finally:
            await service.close()

    asyncio.run(main())


async def dialled(port: int, source: str = "127.0.0.1") -> socket.socket:
    """A TCP connection whose owner says nothing."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind((source, 0))
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


async def fetched(port: int, trust: ssl.SSLContext, source: str) -> bytes:
    """What the service answers over TLS; b"" where it hangs up."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, local_addr=(source, 0))
    except OSError:
        return b""
    writer.write(b"GET /x HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n")
    with contextlib.suppress(OSError):
        told = await reader.read(4096)
        writer.close()
        return told
    return b""


async def ended(sock: socket.socket) -> bool:
    """True once the service has hung up."""
    try:
        return not await asyncio.get_running_loop().sock_recv(sock, 1)
    except OSError:
        return True


async def until(fact: Callable[[], bool]) -> None:
    while not fact():  # noqa: ASYNC110 - the fact is a counter of the service
        await asyncio.sleep(0.01)


def test_a_source_that_holds_handshakes_open_is_bounded_and_others_are_served(tmp_path: Path) -> None:
    async def body(service: HttpService, port: int, trust: ssl.SSLContext) -> None:
        held = [await dialled(port) for _ in range(HANDSHAKES.per_source + 5)]
        await until(lambda: service.statistics()["refused"] == 5)
        assert service.statistics()["handshakes"] == HANDSHAKES.per_source
        assert await fetched(port, trust, "127.0.0.1") == b""
        assert b"200 OK" in await fetched(port, trust, "127.0.0.2")
        for sock in held:
            sock.close()
        await until(lambda: service.statistics()["handshakes"] == 0)
        assert b"200 OK" in await fetched(port, trust, "127.0.0.1")

    served(tmp_path, HANDSHAKES, body)


def test_with_too_many_in_all_the_oldest_gives_way(tmp_path: Path) -> None:
    async def body(service: HttpService, port: int, trust: ssl.SSLContext) -> None:
        held = [await dialled(port, f"127.0.0.{2 + turn}") for turn in range(4)]
        await until(lambda: service.statistics()["handshakes"] == 4)
        assert b"200 OK" in await fetched(port, trust, "127.0.0.99")
        assert await ended(held[0])
        assert service.statistics()["handshakes"] == 3
        for sock in held:
            sock.close()

    served(tmp_path, msgspec.structs.replace(WIDE, at_once=4), body)


def test_a_handshake_that_does_not_come_to_its_end_is_ended(tmp_path: Path) -> None:
    async def body(service: HttpService, port: int, trust: ssl.SSLContext) -> None:
        sock = await dialled(port)
        await asyncio.get_running_loop().sock_sendall(sock, b"\x16\x03\x01")
        assert await ended(sock)
        await until(lambda: service.statistics()["failed"] == 1)
        assert service.statistics()["handshakes"] == 0
        sock.close()

    served(tmp_path, msgspec.structs.replace(WIDE, handshake_s=0.2), body)


def test_a_source_has_an_allowance_that_comes_back(tmp_path: Path) -> None:
    async def body(service: HttpService, port: int, trust: ssl.SSLContext) -> None:
        told = [await fetched(port, trust, "127.0.0.1") for _ in range(6)]
        assert [bool(one) for one in told[:3]] == [True] * 3
        assert not all(told)
        assert b"200 OK" in await fetched(port, trust, "127.0.0.2")
        while not await fetched(port, trust, "127.0.0.1"):  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    served(tmp_path, msgspec.structs.replace(WIDE, burst=3, rate=0.2), body)
