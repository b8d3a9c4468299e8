"""What keeps the update agent running on the image: a version without a working agent restarts the box, and so falls back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "buildroot" / "overlay" / "usr" / "lib" / "branchpbx" / "system" / "updates"


def run(folder: Path, agent: str, times: int) -> list[str]:
    """Run it as init does, so many times, in a folder of its own; what was called."""
    tools, called = folder / "bin", folder / "called"
    if not tools.exists():
        tools.mkdir()
        for name in ("chown", "reboot", "rauc", "pidof", "sleep", "logger"):
            # pidof answers at once; logger reads what it is given.
            told = f'echo {name} >>"$CALLED"'
            text = {"pidof": "echo 1", "logger": f"[ $# -gt 2 ] || cat >/dev/null\n{told}"}.get(name, told)
            (tools / name).write_text(f"#!/bin/sh\n{text}\n")
            (tools / name).chmod(0o755)
        (tools / "agent").write_text(f"#!/bin/sh\n{agent}\n")
        (tools / "agent").chmod(0o755)
    text = SCRIPT.read_text().replace("/run/", f"{folder}/run/").replace(f"/state/pbx{folder}", str(folder))
    text = text.replace("/usr/bin/branchpbx", "agent")
    (folder / "script").write_text(text)
    for _ in range(times):
        subprocess.run(["sh", str(folder / "script")], check=False, env={"PATH": f"{tools}:{os.environ['PATH']}", "CALLED": str(called)})
    return called.read_text().splitlines()


def test_a_version_whose_agent_does_not_run_restarts_the_box(tmp_path: Path) -> None:
    assert "reboot" not in run(tmp_path, "exit 1", 5)
    assert run(tmp_path, "exit 1", 1).count("reboot") == 1


def test_an_agent_that_has_told_something_is_only_started_again(tmp_path: Path) -> None:
    assert "reboot" not in run(tmp_path, f"echo {{}} >{tmp_path}/run/update/status.json", 9)
