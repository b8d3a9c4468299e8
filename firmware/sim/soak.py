"""`branchpbx sim soak`: thousands of calls over all analogue ports in virtual time, with faults, judged by the oracle.

Theory of operation. A fresh appliance runs as fast as it goes; the world plays the soak by itself (`soak_stage`), and here one only waits.
Then what the people and the exchange saw is compared with the records (`soak_check`), and the oracle of the chips must have no
complaint. One JSON object (or a few lines) comes out; status 0 only without a difference. `slips` counts blocks for
which world and media did not wait for each other, because one of them had stood still for 2 s of real time: a machine so busy makes
another day than the seed's, and differences may be its own.
Invariant: the appliance is stopped however the soak ends; unless kept, its folder is removed, but not when something was found,
because a soak runs in real processes and the same seed need not show a rare difference again.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from firmware.errors import PbxError
from firmware.sim.appliance import Appliance
from firmware.sim.soak_check import excused, judge, unseen
from firmware.sim.soak_plan import SITE

LIMIT_S = 7200.0
STEP_MS = 20_000
SETTLE_MS = 70_000
SHOWN = 40


def soak(seed: int | None, calls: int, faults: bool, keep: Path | None, as_json: bool) -> int:
    """Live the soak of a seed and print what came out; the exit status."""
    seed = random.SystemRandom().randrange(1 << 31) if seed is None else seed
    folder = keep or Path(tempfile.mkdtemp(prefix="branchpbx-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    appliance = Appliance(folder, SITE, 0, seed, LIMIT_S)
    notes: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    state: dict[str, Any] = {}
    began, first_ms, last_ms, lived = time.monotonic(), 0, 0, False
    try:
        appliance.start()
        appliance.sleep(5000)
        first_ms, started = appliance.world.ask("status", timeout=600)["now_ms"], time.monotonic()
        appliance.world.ask("soak", seed=seed, calls=calls, faults=faults, folder=str(folder))
        while not (state := appliance.world.ask("soak-status", timeout=600))["over"]:
            appliance.sleep(STEP_MS)
        ran_s = time.monotonic() - started
        last_ms = state["now_ms"]
        appliance.sleep(SETTLE_MS)
        appliance.trouble += _left_over(appliance)
        if not faults:
            appliance.trouble += [f"a chip was accessed in a way its data sheet forbids: {note}" for note in _illegal(appliance)]
        records = appliance.records()
        lived = True
    except (PbxError, OSError, ValueError, KeyError) as error:
        appliance.trouble.append(f"{type(error).__name__}: {error}")
        ran_s = time.monotonic() - began
        lived = True
    finally:
        appliance.stop()
        if not lived and keep is None:           # interrupted: nobody asks any more
            shutil.rmtree(folder, ignore_errors=True)
    path = folder / "soak.jsonl"
    if path.exists():
        notes = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    found = judge(notes, records, appliance.wall_base)
    differences = [*appliance.trouble, *(f"stuck: {text}" for text in state.get("stuck", [])), *found]
    if len(notes) != calls:
        differences.append(f"{len(notes)} of {calls} calls were played")
    virtual_s = (last_ms - first_ms) / 1000
    result = {
        "seed": seed, "calls": len(notes), "excused": excused(notes, records, appliance.wall_base), "unseen": sum(map(unseen, notes)),
        "faults": dict(Counter(f"{note['fault']['place']} {note['fault']['kind']}" for note in notes if "fault" in note)),
        "kinds": dict(Counter(note["kind"] for note in notes)), "virtual_s": round(virtual_s), "seconds": round(ran_s, 1),
        "times_real_time": round(virtual_s / ran_s, 1) if ran_s else 0.0, "records": len(records), "stuck": state.get("stuck", []),
        "slips": state.get("slips", 0), "kept": str(folder) if keep is not None or differences else "", "differences": differences,
    }  # fmt: skip
    if not result["kept"]:
        shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        struck = f"{sum(result['faults'].values())} faults ({result['excused']} calls excused, {result['unseen']} seized unseen)"
        speed = f"{virtual_s:.0f} s of the world in {ran_s:.0f} s ({result['times_real_time']} times real time)"
        sys.stdout.write(f"seed {seed}: {len(notes)} calls, {struck}, {speed}, {len(differences)} differences\n")
        sys.stdout.writelines(f"  {text}\n" for text in differences[:SHOWN])
        if result["slips"]:
            sys.stdout.write(f"  the machine was too busy: for {result['slips']} blocks of 10 ms world and product went apart\n")
        if differences:
            sys.stdout.write(f"  what people, copper and product wrote down is in {folder}\n")
    return 0 if not differences else 1


def _illegal(appliance: Appliance) -> list[Any]:
    """Complaints of the chips' oracle."""
    found: list[Any] = appliance.world.ask("oracle", timeout=600)["illegal"]
    return found[:5]


def _left_over(appliance: Appliance) -> list[str]:
    """What a quiet branch must not have: calls, ports that are not idle, lines off-hook."""
    found = [f"call {row.get('contact')} goes on although everybody has left" for row in appliance.ask("show calls")]
    found += [
        f"{row['endpoint']} is {row['state']} ({row.get('detail', '')}) although nobody uses it"
        for row in appliance.ask("show lines")
        if row["state"].lower() != "idle"
    ]
    status = appliance.world.ask("status", timeout=600)
    found += [f"PSTN line {line['line']} is off-hook" for line in status["lines"] if line["off_hook"]]
    return found
