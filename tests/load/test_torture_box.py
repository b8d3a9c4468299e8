"""The torture messages against a running box, over UDP and TCP, strangers challenged or counted as guests."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.sip.message import Response
from firmware.sip.parse import StreamFramer, parse_datagram
from tests.ports import free_port
from tests.unit.sip_stage import request
from tests.unit.test_sip_torture import CASES, REQUESTS, expected, torture

pytestmark = pytest.mark.e2e             # one process at a time: the messages name ports of their own

PROFILE = Path(__file__).resolve().parent / "office-200.toml"
PATIENCE_S = 1.5
CLOSERS = ("rfc4475/mcl01", "rfc4475/ncl")     # the connection is closed at their header: what is sent after it would break the pipe
ENDED_INVITES = (404, 480, 484, 488)  # what a call to a number or media that the branch does not have comes to


def unique(name: str, mark: str) -> bytes:
    """The message with a top branch of its own (a Call-ID where it has no branch); nothing else changes."""
    data = torture(name)
    serial = f"{sorted(CASES).index(name)}{mark}".encode()
    top = data[: data.find(b"\r\n", data.lower().find(b"\nv"))]
    if b"branch" in top:
        return re.sub(rb"(branch\s*=\s*(?:z9hG4bK(?=.))?)", lambda found: found[1] + serial, data, count=1)
    return re.sub(rb"(\r\n(?:Call-ID|i):\s*)", lambda found: found[1] + serial, data, count=1)


@pytest.fixture(scope="module", params=[False, True], ids=["challenged", "guests"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, bool]]:
    folder = tmp_path_factory.mktemp("box")
    site = folder / "site.toml"
    site.write_text(PROFILE.read_text().replace("open = true", 'open = true\nguests = "1000"' if request.param else "open = true"))
    port = free_port()
    command = [sys.executable, "-m", "firmware", "run", "--config", str(site), "--state", str(folder / "state"), "--bind", "127.0.0.1"]
    running = subprocess.Popen([*command, "--sip-port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield port, request.param
        assert running.poll() is None
        wait_for(port)
    finally:
        os.kill(running.pid, signal.SIGTERM)
        running.wait(30)


def wait_for(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", 0))
        phone.settimeout(0.5)
        for _ in range(120):
            phone.sendto(request("OPTIONS", source=phone.getsockname()).render(), ("127.0.0.1", port))
            try:
                if phone.recv(65535).startswith(b"SIP/2.0 200"):
                    return
            except OSError:
                time.sleep(0.1)
    raise AssertionError("no answer to OPTIONS")


def finals(received: list[object]) -> list[int]:
    return [message.status for message in received if isinstance(message, Response) and message.status >= 200]


def over_udp(port: int, name: str, mark: str) -> list[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        # answers go to the port of the top Via, 5060 where it names none (RFC 3261 section 18.2.2)
        via = parse_datagram(torture(name))
        wanted = via.via.port if name not in ("rfc4475/badinv01",) and via is not None else 0
        phone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # an address of its own: what is sent again for the message before goes elsewhere
        phone.bind((f"127.0.7.{1 + sorted(CASES).index(name)}", wanted or (0 if name == "rfc4475/badinv01" else 5060)))
        phone.settimeout(PATIENCE_S)
        phone.sendto(unique(name, mark), ("127.0.0.1", port))
        got: list[object] = []
        try:
            while not finals(got):
                got.append(parse_datagram(phone.recv(65535)))
        except TimeoutError:
            pass
        return finals(got)


def over_tcp(port: int, name: str, mark: str) -> list[int]:
    framer = StreamFramer()
    got: list[object] = []
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as phone:
        data = unique(name, mark)
        size = len(data) if name in CLOSERS else 97
        for at in range(0, len(data), size):
            phone.sendall(data[at : at + size])
        try:
            while len(finals(got)) < (2 if name == "rfc4475/dblreq" else 1) and (more := phone.recv(65535)):
                got += framer.feed(more)
        except (TimeoutError, ConnectionResetError):
            pass
    return finals(got)


@pytest.mark.parametrize("name", REQUESTS)
def test_over_udp(box: tuple[int, bool], name: str) -> None:
    port, guests = box
    wanted = expected(name, guests=guests)
    got = over_udp(port, name, "u")
    assert len(got) == 1 and (got[0] == wanted or (wanted == 100 and got[0] in ENDED_INVITES)), (got, wanted)


@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in ("rfc4475/clerr", "rfc4475/inv2543", "rfc4475/dblreq")])
def test_over_tcp(box: tuple[int, bool], name: str) -> None:
    port, guests = box
    wanted = expected(name, guests=guests)
    got = over_tcp(port, name, "t")
    assert len(got) == 1 and (got[0] == wanted or (wanted == 100 and got[0] in ENDED_INVITES)), (got, wanted)
