"""The box's watchdog is fed while call control lives, and by nothing else."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from firmware.app.vital import EVERY_MS, NAME, Vital

SCRIPT = Path(__file__).resolve().parents[2] / "buildroot" / "overlay" / "usr" / "lib" / "branchpbx" / "system" / "watchdog"


def run(folder: Path, uptime: int, alive: int | None, rounds: int = 3) -> tuple[int, list[str]]:
    """The script for so many rounds, ten seconds of uptime each; how often it fed, and which programs it called."""
    tools = folder / "bin"
    tools.mkdir()
    texts = {
        "reboot": 'echo reboot >>"$CALLED"', "logger": 'echo logger >>"$CALLED"', "chown": ":",
        "sleep": f"read -r now rest <{folder}/uptime; echo $((${{now%.*}} + 10)).5 9.0 >{folder}/uptime; echo . >>{folder}/rounds\n"
                 f'[ "$(wc -l <{folder}/rounds)" -lt {rounds} ] || kill $PPID',
    }  # fmt: skip
    for name, text in texts.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    (folder / "uptime").write_text(f"{uptime} 9.0\n")
    (folder / "watchdog").write_text("")
    if alive is not None:
        (folder / "alive").write_text("")
        os.utime(folder / "alive", (alive, alive))
    script = folder / "script"
    script.write_text(SCRIPT.read_text().replace("/run/watchdog.began", f"{folder}/began").replace("PATH=", "# "))
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}", "CALLED": str(folder / "called"), "BRANCHPBX_WATCHDOG": str(folder / "watchdog"),
        "BRANCHPBX_ALIVE": str(folder / "alive"), "BRANCHPBX_UPTIME": str(folder / "uptime"),
    }  # fmt: skip
    subprocess.run(["sh", str(script)], check=False, env=environment, timeout=30)
    called = (folder / "called").read_text().split() if (folder / "called").exists() else []
    return len((folder / "watchdog").read_text()), called


@pytest.mark.parametrize(
    ("uptime", "alive", "fed", "restarts"),
    [
        (1000, 999, 3, 0),         # call control lives
        (1000, 895, 2, 1),         # silent for longer than two minutes at the third look
        (1000, 500, 0, 1),         # silent: not fed, restarted once
        (30, None, 3, 0),          # has just been switched on
        (595, None, 1, 1),         # never came
    ],
)
def test_the_watchdog_is_fed_while_call_control_lives(tmp_path: Path, uptime: int, alive: int | None, fed: int, restarts: int) -> None:
    times, called = run(tmp_path, uptime, alive)
    assert times == fed and called.count("reboot") == restarts


def test_the_parent_tells_while_call_control_lives_and_only_where_somebody_watches(tmp_path: Path) -> None:
    vital = Vital(tmp_path)
    vital.keep(1000, True)
    assert not (tmp_path / NAME).exists(), "nobody watches"
    (tmp_path / NAME).write_text("")
    vital = Vital(tmp_path)
    now = time.monotonic_ns() // 1_000_000
    vital.keep(now, False)
    assert (tmp_path / NAME).stat().st_mtime > now / 1000 + 1000, "a silent call control is not told as living"
    for later, told in ((0, 0), (EVERY_MS - 1, 0), (EVERY_MS, EVERY_MS)):
        vital.keep(now + later, True)
        assert (tmp_path / NAME).stat().st_mtime_ns == (now + told) * 1_000_000
