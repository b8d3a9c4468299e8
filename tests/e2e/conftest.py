"""End-to-end fixtures: a network namespace of the tests' own, appliances and real phones, all stopped at the end."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.appliance import Appliance
from tests.e2e.audio import write_tone
from tests.e2e.baresip import Baresip
from tests.e2e.branch import SITE, Branch, open_branch

HOST = "10.9.0.2"  # baresip refuses 127.x; this address exists only in the tests' own network namespace
PROCESSES = ("parent", "media", "core", "manage", "world")
CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000


def enter_network() -> str:
    """Move this process (and all it starts) into a fresh network namespace with loopback and HOST, which it returns."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWNET | CLONE_NEWUSER
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "cannot make a network namespace for the tests (run as root, or allow user namespaces)")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "addr", "add", f"{HOST}/32", "dev", "lo"], check=True)
    return HOST


@pytest.fixture(scope="session", autouse=True)
def network() -> str:
    """The tests' own network; the address in it."""
    return enter_network()


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Branch]:
    """One branch for all tests of a file: with the file's settings MORE, on its BRANCH_SITE."""
    more, site = getattr(request.module, "MORE", ""), getattr(request.module, "BRANCH_SITE", SITE)
    with open_branch(network, tmp_path_factory.mktemp("branch"), more, site) as opened:
        yield opened


@pytest.fixture
def branch(shared: Branch) -> Branch:
    """The branch at rest."""
    shared.fresh()
    return shared


@pytest.fixture
def appliance(network: str, tmp_path: Path) -> Iterator[Callable[..., Appliance]]:
    """Start appliances; at the end each must stop with status 0 and leave no process."""
    running: list[Appliance] = []

    def start(**options: Any) -> Appliance:
        one = Appliance(tmp_path / f"box{len(running)}", bind=network, **options)
        running.append(one)
        return one.start()

    yield start
    failures = []
    for one in running:
        pids = {name: one.pid(name) for name in PROCESSES if (one.state / "run" / f"{name}.pid").exists()}
        try:
            status = one.stop()
            if status != 0:
                failures.append(f"appliance ended with status {status}:\n{one.said()}")
        except AssertionError as error:
            failures.append(str(error))
        failures += [f"{name} (pid {pid}) still runs" for name, pid in pids.items() if _alive(pid)]
    assert not failures, "\n".join(failures)


def _alive(pid: int) -> bool:
    try:
        return b"firmware" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.fixture
def phone(network: str, tmp_path: Path) -> Iterator[Callable[..., Baresip]]:
    """Start real baresip phones on an appliance: `phone(box, "201", hz=880)` registers and plays that tone into calls."""
    running: list[Baresip] = []
    counter = itertools.count()

    def start(
        box: Appliance, user: str, *, hz: float = 880.0, level: float = -10.0, rate: int = 8000, secret: str | None = None,
        wait: bool = True, server: str = "", **options: Any,
    ) -> Baresip:  # fmt: skip
        folder = tmp_path / f"phone{next(counter)}-{user}"
        folder.mkdir()
        microphone = write_tone(folder / "microphone.wav", hz, 120, level, rate)
        one = Baresip(
            folder,
            user=user,
            secret=secret if secret is not None else box.accounts()[user],
            server=server or box.sip,
            host=network,
            microphone=microphone,
            **options,
        )
        running.append(one)
        if wait and options.get("register", True):
            one.wait_for_registration()
        return one

    yield start
    for one in running:
        one.stop()
