"""Calls on all analogue ports at once, with faults, through chips, drivers, machines and the real tick; judged by the copper.

`make soak-lines` plays ten thousand of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.appliance import ROOT

pytestmark = pytest.mark.e2e
CALLS = 80


@pytest.mark.parametrize("faults", [False, True], ids=["quiet", "faults"])
def test_no_port_is_stuck_and_every_call_has_its_cause(network: str, seed: int, faults: bool, tmp_path: Path) -> None:
    keep = tmp_path / "soak"
    options = ["--seed", str(seed), "--calls", str(CALLS), "--json", "--keep", str(keep), *(["--faults"] if faults else [])]
    command = [sys.executable, "-m", "firmware", "sim", "soak", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=400, check=False)
    repeat = f"repeat: branchpbx sim soak {' '.join(options[:4])} {'--faults ' if faults else ''}--keep DIR"
    assert done.stdout, f"no answer; {repeat}\n{done.stderr.decode(errors='replace')[-2000:]}"
    soak = json.loads(done.stdout)
    assert soak["calls"] == CALLS
    assert bool(soak["faults"]) == faults
    assert not soak["differences"], "\n".join(["the soak ended with differences:", *soak["differences"], repeat])
    assert done.returncode == 0, repeat
