"""`make bench-sip`: our SIP beside Asterisk's, alternating, on one core: ratios, goals met and missed, build/bench/sip.json.

    python -m tools.bench_sip [--quick] [--pairs N] [--docs]

With `--docs` also docs/performance/sip.md. The end status is 1 when a measure broke (a call failed, a server did not start), 3 when
Asterisk could not be fetched, 0 otherwise, also when goals are missed: a missed goal is a figure, not a fault of the benchmark.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.far.programs import NotFetchedError, prepare

from .measure import QUICK, Amounts, Figures, Run
from .pages import page, summary, terminal
from .scenarios import SippFailedError
from .servers import Ours, Server, Theirs
from .shared import run_record

ROOT = Path(__file__).resolve().parent.parent.parent
RESULT = ROOT / "build" / "bench" / "sip.json"
PAGE = ROOT / "docs" / "performance" / "sip.md"


def say(text: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(f"bench-sip: {text}\n")
    sys.stderr.flush()


def one(kind: type[Ours] | type[Theirs], folder: Path, amounts: Amounts, core: int, others: set[int]) -> tuple[Figures, str]:
    """Start a server, measure, stop it."""
    server: Server = kind(folder / "server", core, others)
    try:
        figures = Run(server, folder / "sipp", amounts, others).measure()
        return figures, server.version() if isinstance(server, Theirs) else ""
    except Exception:
        for line in server.complaints() if isinstance(server, Ours) else ():
            say(line)
        raise
    finally:
        server.stop()


def main() -> int:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(prog="make bench-sip SIP_BENCH='...'", description="Our SIP beside Asterisk's, on one core.")
    parser.add_argument("--quick", action="store_true", help="one pair, less load")
    parser.add_argument("--pairs", type=int, default=0, help="pairs of runs, of which the median counts (5; quick: 1)")
    parser.add_argument("--docs", action="store_true", help="also write docs/performance/sip.md")
    parser.add_argument("--ours", action="store_true", help="only ours: figures without ratios")
    options = parser.parse_args()
    pairs = options.pairs or (1 if options.quick else 5)
    cpus = sorted(os.sched_getaffinity(0))
    core, others = cpus[0], set(cpus[1:]) or {cpus[0]}
    try:
        if not options.ours:
            prepare("asterisk")
    except NotFetchedError as reason:
        say(f"not run: {reason}")
        return 3
    run: dict[str, Any] = {**run_record(options.quick, 0), "pairs": pairs, "cores": len(cpus), "load": os.getloadavg()[0],
                           "python": platform.python_version()}  # fmt: skip
    found: dict[str, list[Figures]] = {Ours.name: [], Theirs.name: []}
    # Compiled as in an image: neither server is measured while it is being built.
    compileall.compile_dir(ROOT / "firmware", quiet=2)
    os.sched_setaffinity(0, others)
    began = time.monotonic()
    kinds: tuple[type[Ours] | type[Theirs], ...] = (Ours,) if options.ours else (Ours, Theirs)
    broken = 0
    for pair in range(pairs):
        try:
            measured = {}
            for kind in kinds:
                with tempfile.TemporaryDirectory(prefix="bench-sip-") as folder:
                    say(f"pair {pair + 1} of {pairs}: {kind.name}")
                    measured[kind.name], version = one(kind, Path(folder), QUICK if options.quick else Amounts(), core, others)
                    run["asterisk"] = version or run.get("asterisk", "")
        except (RuntimeError, AssertionError, SippFailedError, subprocess.SubprocessError) as error:
            broken += 1
            say(f"pair {pair + 1} broke and is left out: {error}")
            continue
        for name, figures in measured.items():
            found[name].append(figures)
    if broken == pairs:
        return 1
    run["pairs"], run["broken"] = pairs - broken, broken
    run["seconds"] = round(time.monotonic() - began)
    report = {"run": run, **summary(found), "pairs": found}
    print(terminal(report))
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"\nFigures: {RESULT.relative_to(ROOT)}")
    if options.docs and not options.ours:
        PAGE.write_text(page(report), encoding="utf-8")
        print(f"Page: {PAGE.relative_to(ROOT)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
