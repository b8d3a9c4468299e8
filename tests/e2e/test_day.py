"""An appliance lives a day of calls drawn from a fresh seed, and its records say what the people of that day saw."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.appliance import ROOT

pytestmark = pytest.mark.e2e
PATIENCE_S = 600


def test_a_day_of_calls_is_recorded_as_people_saw_it(network: str, seed: int, tmp_path: Path) -> None:
    keep = tmp_path / "day"
    command = [sys.executable, "-m", "firmware", "sim", "day", "--seed", str(seed), "--json", "--keep", str(keep)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PATIENCE_S, check=False)
    repeat = f"repeat: branchpbx sim day --seed {seed} --json --keep DIR"
    assert done.stdout, f"no answer; {repeat}\n{done.stderr.decode(errors='replace')[-2000:]}"
    day = json.loads(done.stdout)
    assert day["seed"] == seed
    assert day["calls"] == 20
    assert not day["differences"], "\n".join(["the day ended with differences:", *day["differences"], repeat])
    assert done.returncode == 0, repeat
    assert all(day["coverage"].values()), f"not covered: {[item for item, who in day['coverage'].items() if not who]}; {repeat}"
