"""`make bench-config`: 500 extensions, 64 queues, 200 routes: load, check, compare, change, commit; memory; cost when idle.

Theory of operation. One site file of that size is worked on many times in this process; the median counts. Peer is msgspec alone: its
decode of the same file into the same types, which is the least that anybody must do to have the configuration at all; it stops at the first
mistake, compares nothing and knows no names. Then the product runs with that site in a state folder of its own: what a commit of one
setting, and of a whole other file, takes a client over the socket, and what management and call control spend without any request. Figures
go to build/bench/config.json. Goals: check below 1 s, a commit below 1 s, less than 1 % of a core when idle.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from firmware.app.reconfigure import fingerprint, packed
from firmware.app.site import Zones, site_of
from firmware.config import plan
from firmware.config.candidate import Candidate
from firmware.config.diff import content_hash, diff, plain
from firmware.config.model import _tree, check
from firmware.config.render import to_toml
from firmware.config.schema.tree import Config
from firmware.control.client import Client, NotRunning
from firmware.store.configuration import ConfigurationStore

OUT = Path("build/bench/config.json")
EXTENSIONS, QUEUES, ROUTES = 500, 64, 200
RUNS = 9
IDLE_S = 30.0
GOALS = {"check_ms": 1000.0, "commit_one_ms": 1000.0, "idle_percent": 1.0}


def site(calls: int = 0) -> bytes:
    """A site file of that size as people write it."""
    lines = ["[sip]", "port = 0", "[ports.fxo.1]", "[ports.fxo.2]", "[ports.fxs.1]", "[extensions.101]", 'kind = "fxs"', 'jack = "1"']
    for index in range(EXTENSIONS - 1):
        lines += [f"[extensions.{2001 + index}]", 'kind = "sip"', f'name = "Desk {index}"', 'permission = "national"', "ring_s = 25"]
    for index in range(100):
        lines += [
            f"[agents.{8001 + index}]",
            f'pin = "{4700 + 7 * index}"',
            f'queues = ["q{index % QUEUES:02}", "q{(index * 7 + 1) % QUEUES:02}"]',
        ]
    for index in range(QUEUES):
        lines += [f"[queues.q{index:02}]", f"ring_s = {15 + index % 20}", "rating = false", f"max_wait_s = {60 + calls + index}"]
    for index in range(ROUTES - 1):
        lines += ["[[inbound]]", f'caller = "139{index:03}"', f'to = "queue/q{index % QUEUES:02}"', "greeting = false", "notice = false"]
    lines += ["[[inbound]]", 'to = "queue/q00"', "[[outbound]]", 'prefix = "9"']
    return ("\n".join(lines) + "\n").encode()


def median_ms(work: Callable[[], object]) -> float:
    """Median of some runs."""
    taken = []
    for _ in range(RUNS):
        gc.collect()
        start = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(taken), 2)


def in_process() -> dict[str, Any]:
    """What each step takes in one process."""
    data, other = site(), site(1)
    config, problems = check(data, file="bench", zones=Zones())
    changed, _ = check(other, file="bench", zones=Zones())
    assert config is not None and changed is not None, [one.text() for one in problems[:3]]

    def anew(work: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            _tree.cache_clear()
            return work()

        return run

    peer = median_ms(lambda: msgspec.toml.decode(data, type=Config))
    figures: dict[str, Any] = {
        "file_kb": round(len(data) / 1024, 1),
        "peer_decode_ms": peer,
        "check_ms": median_ms(anew(lambda: check(data, file="bench", zones=Zones()))),
        "check_with_board_and_prompts_ms": median_ms(anew(lambda: site_of(data, "bench", clips=False))),
        "diff_64_settings_ms": median_ms(lambda: diff(config, changed)),
        "plan_ms": median_ms(lambda: plan.rows(config, changed)),
        "content_hash_ms": median_ms(lambda: content_hash(config)),
        "write_toml_ms": median_ms(lambda: to_toml(config)),
        "fingerprint_ms": median_ms(lambda: fingerprint(config)),
        "hand_to_core_ms": median_ms(lambda: msgspec.msgpack.decode(packed(config), type=Config)),
        "set_one_ms": median_ms(lambda: Candidate(plain(config)).set("queues.q07.ring_s", "33", "bench")),
    }
    figures["check_to_peer"] = round(figures["check_ms"] / peer, 2)
    text, texts = to_toml(config), [to_toml(changed), to_toml(config)]
    with tempfile.TemporaryDirectory() as folder:
        store = ConfigurationStore(Path(folder))
        store.commit(text, "bench", "")
        figures["store_commit_ms"] = median_ms(lambda: store.commit(texts[store.book.startup % 2], "bench", ""))
    gc.collect()
    tracemalloc.start()
    kept = check(data, file="bench")[0]
    _tree.cache_clear()
    gc.collect()
    figures["memory_of_configuration_kb"] = round(tracemalloc.get_traced_memory()[0] / 1024)
    figures["memory_peak_of_check_kb"] = round(tracemalloc.get_traced_memory()[1] / 1024)
    tracemalloc.stop()
    assert kept is not None
    return figures


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def running() -> dict[str, Any]:
    """What the product takes."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        (state / "site.toml").write_bytes(site())
        command = [sys.executable, "-m", "firmware", "run", "--config", str(state / "site.toml"), "--state", folder]
        with (state / "said").open("wb") as said:
            box = subprocess.Popen(command, stdout=said, stderr=said)
            try:
                return _measured(state, box)
            finally:
                box.terminate()
                box.wait(20)


def _measured(state: Path, box: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        try:
            with Client(state / "run/manage.sock", timeout_s=60) as client:
                client.call("verify configuration")
                break
        except (NotRunning, OSError) as error:
            if time.monotonic() > deadline or box.poll() is not None:
                raise RuntimeError((state / "said").read_text(errors="replace")[-2000:]) from error
            time.sleep(0.2)
    figures: dict[str, Any] = {}
    with Client(state / "run/manage.sock", timeout_s=60) as client:
        one, whole = [], []
        for turn in range(5):
            client.call("set", setting="queues.q01.ring_s", value=str(20 + turn))
            start = time.perf_counter()
            client.call("commit")
            one.append(1000 * (time.perf_counter() - start))
        for turn in range(4):
            start = time.perf_counter()
            client.call("load", text=site(2 + turn).decode())
            client.call("commit")
            whole.append(1000 * (time.perf_counter() - start))
        start = time.perf_counter()
        proof = client.call("verify configuration")
        figures["verify_ms"] = round(1000 * (time.perf_counter() - start), 1)
        if not proof["right"]:
            raise RuntimeError(f"what runs is not what is stored: {proof}")
        figures["commit_one_ms"] = round(statistics.median(one), 1)
        figures["load_and_commit_whole_ms"] = round(statistics.median(whole), 1)
    pids = {name: int((state / f"run/{name}.pid").read_text()) for name in ("manage", "core")}
    time.sleep(3)
    before = {name: _cpu_s(pid) for name, pid in pids.items()}
    time.sleep(IDLE_S)
    spent = {name: _cpu_s(pid) - before[name] for name, pid in pids.items()}
    figures["idle_percent"] = round(100 * spent["manage"] / IDLE_S, 2)
    figures["idle_core_percent"] = round(100 * spent["core"] / IDLE_S, 2)
    figures["manage_rss_mb"] = round(_rss_kb(pids["manage"]) / 1024, 1)
    figures["core_rss_mb"] = round(_rss_kb(pids["core"]) / 1024, 1)
    return figures


def main() -> int:
    """Measure, print, write; status 1 where a goal is missed."""
    figures = {"extensions": EXTENSIONS, "queues": QUEUES, "routes": ROUTES, **in_process(), **running()}
    missed = [name for name, most in GOALS.items() if figures[name] > most]
    for name, value in figures.items():
        goal = f"   (goal: at most {GOALS[name]:g})" if name in GOALS else ""
        sys.stdout.write(f"{name:34} {value:>10}{goal}\n")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({**figures, "goals": GOALS, "missed": missed}, indent=2) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
