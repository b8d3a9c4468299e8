"""The control socket's file outlives a process that served it: the next one, begun by a change of the configuration, serves the same."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from firmware.control import server
from firmware.control.server import Server


async def served_and_stopped(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        one = Server(None, None, listener)  # type: ignore[arg-type]
        await one.start()
        await one.stop()


def test_the_file_stays(tmp_path: Path) -> None:
    asyncio.run(served_and_stopped(tmp_path / "control.sock"))
    assert (tmp_path / "control.sock").exists()


def test_the_file_stays_with_a_python_that_removes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13 and later, as on the appliance's image, whatever runs this test."""
    real = asyncio.start_unix_server

    async def newer(accept: Any, *, sock: socket.socket, limit: int, cleanup_socket: bool = True) -> asyncio.Server:
        path = Path(sock.getsockname())
        made = await real(accept, sock=sock, limit=limit)
        close = made.close

        def closed() -> None:
            close()
            if cleanup_socket:
                path.unlink(missing_ok=True)

        monkeypatch.setattr(made, "close", closed)
        return made

    monkeypatch.setattr(server.asyncio, "start_unix_server", newer)
    monkeypatch.setattr(server.sys, "version_info", (3, 13, 0))
    asyncio.run(served_and_stopped(tmp_path / "control.sock"))
    assert (tmp_path / "control.sock").exists()
