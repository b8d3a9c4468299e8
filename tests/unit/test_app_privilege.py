"""What children of the parent give up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, resource, signal
from pathlib import Path
from firmware.app import privilege
privilege.drop({name!r}, Path({folder!r}))
print(resource.getrlimit(resource.RLIMIT_CORE), Path("/proc/self/status").read_text().partition("NoNewPrivs:")[2].split()[0], flush=True)
os.kill(os.getpid(), signal.SIGQUIT)
"""


@pytest.mark.parametrize("name", ["media", "core", "manage"])
def test_a_child_that_crashes_leaves_no_image_of_its_memory(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT.format(name=name, folder=str(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(Path(__file__).parents[2])})
    assert done.returncode < 0
    assert done.stdout.split() == ["(1,", "1)", "1"], done.stderr
