"""`make bench-lines`: runs the sections, prints their tables and the goals met and missed, writes build/bench/lines.json.

    python -m tools.bench_lines [--quick] [--seed N] [--docs] [--jobs N] [SECTION...]

With `--docs` also docs/performance/lines.md and lines-figures.json. The end status is 1 when a section broke, 0 otherwise, also when goals
are missed: a missed goal is a figure, not a fault of the benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from .sections import ORDER, available, measure
from .shared import Section, conditions, goal_row, markdown_table, paragraphs, peers, print_goals, record, run_record, terminal

ROOT = Path(__file__).resolve().parent.parent.parent
INTRO = """# Lines: hang-ups, caller id, ringing and cost, measured

Written by `make bench-lines LINES_BENCH=--docs`, never by hand; a goal that is missed stays in the table and says so. The signals are made
from the seed that each section names. How the tables of the signal blocks are made is said in the [overview](README.md); sounds and judges
of these are in [tools/bench_lines](../../tools/bench_lines).
"""


def page(known: Mapping[str, Any]) -> str:
    """docs/performance/lines.md."""
    goals = [goal for section in known.values() for goal in section["goals"]]
    missed = [goal for goal in goals if not goal["met"]]
    out = [INTRO, f"{len(goals)} goals, {len(goals) - len(missed)} met, {len(missed)} missed.", ""]
    for section in known.values():
        out += [f"## {section['title']}", "", conditions(section), ""]
        out += [*markdown_table(("goal", "measured", "limit", "result"), [goal_row(goal) for goal in section["goals"]]), ""]
        for table in section["tables"]:
            out += ["#" + line if line.startswith("## ") else line for line in paragraphs(table)]
    return "\n".join(out).rstrip() + "\n"


def write_page(folder: Path, measured: Mapping[str, Section], run: Mapping[str, Any]) -> None:
    """The page of everything ever measured for it: a run of one section keeps the others."""
    path = folder / "lines-figures.json"
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known.update({name: {**record(section), "run": dict(run)} for name, section in measured.items()})
    known = {name: known[name] for name in ORDER if name in known}
    path.write_text(json.dumps(known, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "lines.md").write_text(page(known), encoding="utf-8")


def main() -> int:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(prog="make bench-lines LINES_BENCH='...'", description="Measures what decides on outside lines.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {' '.join(ORDER)} (all)")
    parser.add_argument("--quick", action="store_true", help="a short draw")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("BRANCHPBX_SEED") or secrets.randbits(31)), help="of the signals")
    parser.add_argument("--docs", action="store_true", help="also write docs/performance/lines.md")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="sections at a time")
    options = parser.parse_args()
    names = options.sections or available()
    unknown = [name for name in names if name not in ORDER]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(ORDER)}")
    if peers.missing():
        parser.error(peers.missing())
    run = run_record(options.quick, options.seed)
    print(f"Lines, commit {run['commit']}, {run['machine']}, seed {options.seed} (repeat with --seed {options.seed})", flush=True)
    found: dict[str, Section] = {}
    broken = []
    with ProcessPoolExecutor(max_workers=max(1, min(options.jobs, len(names))), mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(measure, name, options.quick, options.seed): name for name in names}
        for done in as_completed(waiting):
            name = waiting[done]
            section, fault, seconds = done.result()
            if section is None:
                broken.append(name)
                print(f"\n== {name} broke after {seconds:.0f} s\n{fault}", flush=True)
            else:
                found[name] = section
                print(terminal(section) + f"\n[{name}: {seconds:.0f} s]", flush=True)
    found = {name: found[name] for name in names if name in found}
    print_goals(found)
    target = ROOT / "build" / "bench" / "lines.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"run": run, "sections": {name: record(section) for name, section in found.items()}}, indent=1) + "\n")
    print(f"\nFigures: {target.relative_to(ROOT)}")
    if options.docs and found:
        write_page(ROOT / "docs" / "performance", found, run)
        print("Page: docs/performance/lines.md")
    if broken:
        print(f"Broken sections: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
