"""`make bench-dsp`: runs the sections, prints their tables and the goals met and missed, writes build/bench/dsp.json.

    python -m tools.bench_dsp [--quick] [--seed N] [--docs] [--jobs N] [SECTION...]

Sections run in processes of their own, two at a time; instructions are counted, not timed, so they do not disturb each other. The end
status is 1 when a section broke, 0 otherwise, also when goals are missed: a missed goal is a figure, not a fault of the benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from . import peers
from .pages import goal_record, goal_row, record, terminal, text_table, write_pages
from .report import Section
from .sections import ORDER, available, measure

ROOT = Path(__file__).resolve().parent.parent.parent


def one_line(*command: str) -> str:
    """The first line a command prints, or nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    except FileNotFoundError:
        return ""
    return done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else ""


def versions() -> dict[str, str]:
    """Of the peers and tools, as the distribution calls them."""
    names = ("libspandsp2", "libspeexdsp1", "valgrind", "qemu-user", "gcc-arm-linux-gnueabihf")
    found = {name: one_line("dpkg-query", "-W", "-f=${Version}", name) for name in names}
    return {name: version for name, version in found.items() if version}


def machine() -> str:
    """Processor, as far as it says."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), "")
    return f"{model or 'unknown processor'}, {platform.machine()}"


def run_record(quick: bool, seed: int) -> dict[str, Any]:
    dirty = "+" if one_line("git", "status", "--porcelain", "--", "firmware/dsp") else ""
    commit = (one_line("git", "rev-parse", "--short=12", "HEAD") or "unknown") + dirty
    return {"commit": commit, "machine": machine(), "seed": seed, "quick": quick, "versions": versions()}


def run_sections(names: list[str], quick: bool, seed: int, jobs: int) -> tuple[dict[str, Section], list[str]]:
    """Results by name in the given order, and what broke."""
    found: dict[str, Section] = {}
    broken: list[str] = []
    with ProcessPoolExecutor(max_workers=max(1, min(jobs, len(names))), mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(measure, name, quick, seed): name for name in names}
        for done in as_completed(waiting):
            name = waiting[done]
            section, fault, seconds = done.result()
            if section is None:
                broken.append(name)
                print(f"\n== {name} broke after {seconds:.0f} s\n{fault}", flush=True)
            else:
                found[name] = section
                print(terminal(section) + f"\n[{name}: {seconds:.0f} s]", flush=True)
    return {name: found[name] for name in names if name in found}, broken


def print_goals(found: dict[str, Section]) -> None:
    """The list that matters, at the end."""
    rows = [[name, *(str(value).replace("**", "") for value in goal_row(goal_record(goal)))] for name, section in found.items()
            for goal in section.goals]
    missed = [row for row in rows if row[-1] == "missed"]
    print(f"\n== Goals: {len(rows)}, met {len(rows) - len(missed)}, missed {len(missed)}")
    if missed:
        print("\n".join(text_table(("section", "goal", "measured", "limit", ""), missed)))


def main() -> int:
    """Parse, run, write."""
    names = available()
    parser = argparse.ArgumentParser(prog="make bench-dsp DSP='...'", description="Measures the signal blocks and their peers.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {' '.join(names)} (all)")
    parser.add_argument("--quick", action="store_true", help="a short draw")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("BRANCHPBX_SEED") or secrets.randbits(31)), help="of the signals")
    parser.add_argument("--docs", action="store_true", help="also write docs/performance")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="sections at a time")
    options = parser.parse_args()
    unknown = [name for name in options.sections if name not in names]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(names)}")
    fault = peers.missing()
    if fault:
        parser.error(fault)
    run = run_record(options.quick, options.seed)
    print(f"Signal blocks, commit {run['commit']}, {run['machine']}, seed {options.seed} (repeat with --seed {options.seed})", flush=True)
    found, broken = run_sections(options.sections or names, options.quick, options.seed, options.jobs)
    print_goals(found)
    target = ROOT / "build" / "bench" / "dsp.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"run": run, "sections": {name: record(section) for name, section in found.items()}}, indent=1) + "\n")
    print(f"\nFigures: {target.relative_to(ROOT)}")
    if options.docs and found:
        print("Pages: docs/performance/: " + " ".join(write_pages(ROOT / "docs" / "performance", found, run, ORDER)))
    if broken:
        print(f"Broken sections: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
