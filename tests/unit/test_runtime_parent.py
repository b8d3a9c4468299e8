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
BARE = 'name = "bare"\nseam = "alsa"\nslots_fxo = []\nslots_fxs = []\n'
CHIPS = """name = "bare"
seam = "world"
slots_fxo = [0]
slots_fxs = [4]
[[chains]]
chip = "si3050"
spi = "world:0"
jacks = ["1"]
reset = {chip = "world", line = 0}
[[chains]]
chip = "si321x"
spi = "world:1"
jacks = ["1"]
reset = {chip = "world", line = 1}
[lifeline]
relay = {chip = "world", line = 16}
sense = {chip = "world", line = 17}
"""
# Children of the test: each shows its heartbeat; BEHAVIOUR says who misbehaves and how.
PROGRAM = """
import os, select, signal, sys, time
from pathlib import Path
from firmware.app.parent import Parent
from firmware.app.site import read_site
from firmware.app.sockets import StartError

behaviour = dict(item.split("=") for item in sys.argv[3:])

def world(handover):
    # Chips with a post office; relay.log tells what the parent did to the lifeline and the RESET lines.
    from firmware.sim.chip_face import SimBoard
    from tests.unit.world_post import PostOffice

    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    office = PostOffice(SimBoard(1, 1), handover.world_fd)
    office.sim.power_up()
    office.welded = behaviour.get("relay") == "welded"
    office.open()
    told = None
    while True:
        ending = bool(stopped)
        now = (office.relay, [office.sim.gpio[f"reset-{name}"].read() for name in ("fxo", "fxs")])
        if now != told:
            told = now
            with (handover.run_folder / "relay.log").open("a") as file:
                file.write(f"{now[0]} {now[1]}\\n")
        if ending:
            return 0
        select.select([], [], [], 0.01)

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
        if name == "media" and handover.lifeline is not None and how != "unready":
            handover.lifeline.pair_ready = True
        while not stopped:
            handover.ring.beat(name)
            if name == "core" and handover.lifeline is not None:
                (handover.run_folder / "word").write_text(handover.lifeline.relay)
            select.select([], [], [], 0.05)
        (handover.run_folder / f"{name}.down").write_text(repr(time.monotonic()))
        return 0
    return live

os.environ["BRANCHPBX_BOARDS"] = str(Path(sys.argv[1]).parent / "board")
site = read_site(Path(sys.argv[1]))
assert not site.problems, site.problems
try:
    mains = {n: main(n) for n in ("media", "core", "manage")} | {"world": world}
    sys.exit(Parent(site, Path(sys.argv[2]), "127.0.0.1", mains=mains, wedged_ms=700, backoff_ms=(0, 50)).run())
except StartError as error:
    sys.exit(f"refused: {error}")
"""


class Appliance:
    """A parent in a process of its own, on a state folder of its own."""

    def __init__(self, folder: Path, *behaviour: str, site: str = SITE, state: Path | None = None, board: str = BARE) -> None:
        self.state = state or folder / "s"
        (folder / "board/bare").mkdir(parents=True, exist_ok=True)
        (folder / "board/bare/board.toml").write_text(board)
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


# --- lifeline and RESET lines ---------------------------------------------------------------------------------------------------


def relay(box: Appliance) -> list[str]:
    """What the chips felt, in order: relay, then RESET of both chains."""
    path = box.state / "run/relay.log"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def test_the_lifeline_opens_when_both_ports_are_up_outlives_a_restart_and_closes_before_the_world_ends(
    appliance: Callable[..., Appliance],
) -> None:
    box = appliance(board=CHIPS)
    pids = box.all_up()
    box.until(lambda: relay(box)[-1:] == ["True [True, True]"], "the relay")
    box.until(lambda: (box.state / "run/word").read_text() == "energised", "what core is told")
    os.kill(pids["media"], signal.SIGKILL)
    box.up("media", 2)
    os.kill(pids["core"], signal.SIGKILL)
    box.up("core", 2)
    assert box.stop() == 0
    felt = relay(box)
    # A world that comes up late on a busy machine feels the relay open with its first look.
    assert felt[: felt.index("True [True, True]")] in ([], ["False [True, True]"])
    assert felt[-1] == "False [False, False]"
    assert [state.split()[0] for state in felt].count("True") == 1, felt
    assert "jacks are joined" not in box.log()


def test_the_lifeline_stays_joined_while_a_port_is_not_up(appliance: Callable[..., Appliance]) -> None:
    box = appliance("media=unready", board=CHIPS)
    box.all_up()
    box.until(lambda: (box.state / "run/word").exists() and (box.state / "run/word").read_text() == "released", "what core is told")
    select.select([], [], [], 1.5)
    assert box.stop() == 0
    assert not any(state.startswith("True") for state in relay(box))


def test_a_relay_that_does_not_follow_is_told(appliance: Callable[..., Appliance]) -> None:
    box = appliance("relay=welded", board=CHIPS)
    box.all_up()
    box.until(lambda: (box.state / "run/word").read_text() == "stuck", "what core is told")
    assert "contacts do not follow" in box.log()
    assert box.stop() == 0
