"""The parent process: starts, restarts, stops and outlives its children; nothing is left behind."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("firmware.dsp.ring", reason="the ring segment is not built: make ext")

from firmware.runtime.health import alive

ROOT = Path(__file__).parents[2]
SITE = """
[sip]
port = 0
[rtp]
calls = 4
[extensions.201]
kind = "sip"
[agents.8001]
"""
# Children of the test: each shows its heartbeat; BEHAVIOUR says who misbehaves and how.
PROGRAM = """
import os, select, signal, sys, time
from pathlib import Path
from firmware.app.parent import Parent
from firmware.app.site import read_site
from firmware.app.sockets import StartError

behaviour = dict(item.split("=") for item in sys.argv[3:])

def main(name):
    def live(handover):
        how = behaviour.get(name, "")
        stopped = []
        signal.signal(signal.SIGTERM, signal.SIG_IGN if how == "deaf" else lambda *_: stopped.append(1))
        handover.ring.beat(name)
        if how == "crash":
            os._exit(3)
        if how == "wedge" and handover.starts[name] == 1:
            signal.pause()
        (handover.run_folder / f"{name}.{handover.starts[name]}.up").write_text(str(os.getpid()))
        while not stopped:
            handover.ring.beat(name)
            select.select([], [], [], 0.05)
        (handover.run_folder / f"{name}.down").write_text(repr(time.monotonic()))
        return 0
    return live

os.environ["BRANCHPBX_BOARDS"] = str(Path(sys.argv[1]).parent / "board")
site = read_site(Path(sys.argv[1]))
assert not site.problems, site.problems
try:
    mains = {n: main(n) for n in ("media", "core", "manage")}
    sys.exit(Parent(site, Path(sys.argv[2]), "127.0.0.1", mains=mains, wedged_ms=700, backoff_ms=(0, 50)).run())
except StartError as error:
    sys.exit(f"refused: {error}")
"""


class Appliance:
    """A parent in a process of its own, on a state folder of its own."""

    def __init__(self, folder: Path, *behaviour: str, site: str = SITE, state: Path | None = None) -> None:
        self.state = state or folder / "s"
        (folder / "board/bare").mkdir(parents=True, exist_ok=True)
        (folder / "board/bare/board.toml").write_text('name = "bare"\nseam = "alsa"\nslots_fxo = []\nslots_fxs = []\n')
        (folder / "site.toml").write_text('board = "bare"\n' + site)
        for stale in (self.state / "run").glob("*.up"):
            stale.unlink()
        command = [sys.executable, "-c", PROGRAM, str(folder / "site.toml"), str(self.state), *behaviour]
        self.said = folder / f"stderr.{len(list(folder.glob('stderr.*')))}"
        with self.said.open("w") as stderr:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=stderr, start_new_session=True)

    def pid(self, name: str) -> int:
        return int((self.state / "run" / f"{name}.pid").read_text())

    def up(self, name: str, start: int = 1) -> int:
        """Wait until this start of a child runs; its pid."""
        path = self.state / "run" / f"{name}.{start}.up"
        self.until(lambda: path.exists() and path.read_text() != "", f"{name} start {start}")
        return int(path.read_text())

    def all_up(self) -> dict[str, int]:
        return {name: self.up(name) for name in ("media", "core", "manage")}

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, f"{what} did not happen: {self.log()}"
            select.select([], [], [], 0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(25)

    def log(self) -> str:
        return "".join(path.read_text() for path in (self.state / "log").glob("*.log"))


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Callable[..., Appliance]]:
    made: list[Appliance] = []

    def make(*behaviour: str, **options: object) -> Appliance:
        made.append(Appliance(tmp_path, *behaviour, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.process.kill()
        each.process.wait()


def test_starts_everything_and_ends_in_order_with_status_0(appliance: Callable[..., Appliance]) -> None:
    box = appliance()
    pids = box.all_up()
    box.until(lambda: all((box.state / "run" / f"{name}.pid").exists() for name in pids), "the pid files")
    assert {name: box.pid(name) for name in pids} == pids and box.pid("parent") == box.process.pid
    endpoints = json.loads((box.state / "run/endpoints.json").read_text())
    assert endpoints["sip_port"] > 0 and endpoints["rtp_first"] % 2 == 0
    with socket.create_connection(("127.0.0.1", endpoints["sip_port"]), 5):
        pass
    kept = json.loads((box.state / "secrets.json").read_text())
    assert len(kept["extensions"]["201"]) == 20 and len(kept["agents"]["8001"]) == 6
    assert (box.state / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert box.stop(signal.SIGINT) == 0
    assert not any(alive(pid) for pid in pids.values())
    times = [float((box.state / "run" / f"{name}.down").read_text()) for name in ("core", "manage", "media")]
    assert times == sorted(times)
    assert not list((box.state / "run").glob("*.pid"))


def test_second_start_resumes_the_secrets(appliance: Callable[..., Appliance]) -> None:
    box = appliance()
    box.all_up()
    assert box.stop() == 0
    before = (box.state / "secrets.json").read_bytes()
    again = appliance()
    again.up("core")
    assert (again.state / "secrets.json").read_bytes() == before


def test_killed_child_is_started_again_and_the_others_go_on(appliance: Callable[..., Appliance]) -> None:
    box = appliance()
    pids = box.all_up()
    os.kill(pids["core"], signal.SIGKILL)
    new = box.up("core", 2)
    assert new != pids["core"] and alive(pids["media"]) and alive(pids["manage"])
    box.until(lambda: box.pid("core") == new, "the pid file names the new process")


def test_wedged_child_is_killed_and_started_again(appliance: Callable[..., Appliance]) -> None:
    box = appliance("manage=wedge")
    box.up("core")
    box.up("manage", 2)
    assert "no heartbeat" in box.log()


def test_deaf_child_is_killed_at_the_end(appliance: Callable[..., Appliance]) -> None:
    box = appliance("manage=deaf")
    pids = box.all_up()
    assert box.stop() == 0
    assert not any(alive(pid) for pid in pids.values())


def test_second_signal_does_not_wait(appliance: Callable[..., Appliance]) -> None:
    box = appliance("core=deaf")
    pids = box.all_up()
    began = time.monotonic()
    box.process.send_signal(signal.SIGTERM)
    select.select([], [], [], 0.2)
    assert box.stop() == 0
    assert not any(alive(pid) for pid in pids.values())
    assert time.monotonic() - began < 5


def test_children_die_with_a_killed_parent(appliance: Callable[..., Appliance]) -> None:
    box = appliance()
    pids = box.all_up()
    box.process.kill()
    box.process.wait()
    box.until(lambda: not any(alive(pid) for pid in pids.values()), "the children's end")
    again = appliance()
    assert again.up("core") and again.stop() == 0


def test_child_that_keeps_failing_ends_the_appliance_with_status_70(appliance: Callable[..., Appliance]) -> None:
    box = appliance("core=crash")
    assert box.process.wait(90) == 70
    assert "restarted together" in box.log()


def test_one_parent_for_each_state_folder(appliance: Callable[..., Appliance]) -> None:
    box = appliance()
    core = box.up("core")
    second = appliance()
    assert second.process.wait(20) == 1
    assert "runs on this state folder already" in second.said.read_text()
    assert alive(core)


def test_port_in_use_starts_nothing_and_names_the_remedy(appliance: Callable[..., Appliance], tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        box = appliance(site=SITE.replace("port = 0", f"port = {port}"))
        assert box.process.wait(20) == 1
    message = box.said.read_text()
    assert f"127.0.0.1:{port} is in use" in message and "sip.port" in message
    assert not (box.state / "run/core.pid").exists()
