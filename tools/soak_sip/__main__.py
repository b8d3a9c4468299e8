"""Run the soak: `python -m tools.soak_sip --hours 24`. Exit status 1 when something is left over, or memory grew."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

from .office import Office

WARM = 1                                 # of the rests: tables with a bound (nonces, traces, guard) are full after two of them
GROWTH_KB = 6_000
GROWTH_OBJECTS = 0.05
KILL_HOURS = 3                           # call control is killed, and the office rests


def memory_kb() -> int:
    """Memory of this process that is not shared, kB."""
    fields = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in fields if line.startswith(("Private_Clean", "Private_Dirty")))


def soak(folder: Path, *, hours: float, phones: int, seed: int, tell: bool = True) -> dict[str, object]:
    """A soak in virtual time; the figures. `left` is what a table held when everybody was at rest."""
    office = Office(folder, seed, phones=phones)
    began = time.monotonic()
    samples: list[dict[str, int]] = []
    done = 0.0
    left: dict[str, int] = {}
    while done < hours:
        step = min(float(KILL_HOURS), hours - done)
        office.run(int(step * 3_600_000))
        done += step
        office.kill()
        office.run(60_000)
        office.rest()
        found = office.sizes()
        left = {name: left.get(name, 0) + size for name, size in found.items()}
        gc.collect()
        samples.append({"memory_kb": memory_kb(), "objects": len(gc.get_objects()), "timers": len(office.clock._timers)})
        if tell:
            rest = {name: size for name, size in found.items() if size}
            sys.stdout.write(f"{done:5.1f} h  {samples[-1]}  left {rest or 'nothing'}  {time.monotonic() - began:.0f} s\n")
            sys.stdout.flush()
    office.close()
    warm = min(WARM, len(samples) - 1)
    first, last = samples[warm], samples[-1]
    return {
        "hours": hours, "phones": phones, "seed": seed, "seconds": round(time.monotonic() - began, 1), "counts": dict(office.counts),
        "registered": office.registered(), "peak_ports": office.media.peak, "left": left,
        "memory_kb": [first["memory_kb"], last["memory_kb"]], "objects": [first["objects"], last["objects"]],
        "timers": [first["timers"], last["timers"]],
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--phones", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        figures = soak(Path(folder), hours=given.hours, phones=given.phones, seed=given.seed)
    text = json.dumps(figures, indent=1)
    sys.stdout.write(text + "\n")
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(text + "\n")
    return 0 if not faults(figures) else 1


def faults(figures: dict[str, object]) -> list[str]:
    """What a soak must not show."""
    left, memory, objects = figures["left"], figures["memory_kb"], figures["objects"]
    assert isinstance(left, dict) and isinstance(memory, list) and isinstance(objects, list)
    found = [f"{name}: {size} left" for name, size in left.items() if size]
    if memory[1] - memory[0] > GROWTH_KB:
        found.append(f"memory grew by {memory[1] - memory[0]} kB")
    if objects[1] > objects[0] * (1 + GROWTH_OBJECTS):
        found.append(f"objects grew from {objects[0]} to {objects[1]}")
    if figures["registered"] != figures["phones"]:
        found.append(f"{figures['registered']} of {figures['phones']} telephones are registered")
    for one in found:
        sys.stderr.write(one + "\n")
    return found


if __name__ == "__main__":
    sys.exit(main())
