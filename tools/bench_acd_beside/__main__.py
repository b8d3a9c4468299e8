"""`make far-acd`: prints and writes the comparison; see the package. `--seconds N --seed N --only trace|rows`.

The trace is lived by two Asterisks at once (as its sample configuration leaves it, and tuned), in real time, and here in virtual time.
Figures go to build/bench/acd-beside.json, the tables of docs/performance/acd.md are printed. Status 1 where a complaint is found here, or
our log or waits differ from what people noted; 0 with "not run" where Asterisk cannot be fetched.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.far.programs import NotFetchedError, prepare

from . import logs, ours, rows, theirs
from . import trace as t

TAIL_S = 120


def _figures(crowd: t.Crowd, log: list[str], cdr: list[str]) -> dict[str, Any]:
    found = t.figures(crowd)
    each = Counter(line[1] for line in csv.reader(cdr))
    waits = found.waits
    return {
        **{key: value for key, value in asdict(found).items() if key != "waits"},
        "wait_mean_ms": round(sum(waits) / max(1, len(waits))), "wait_median_ms": t.percentile(waits, 0.5),
        "wait_p90_ms": t.percentile(waits, 0.9), "wait_worst_ms": max(waits, default=0),
        "log_differences": dict(logs.differences(log, crowd)), "most_records_of_a_caller": max(each.values(), default=0),
        "callers_with_several_records": sum(count > 1 for count in each.values()),
    }  # fmt: skip


def _theirs(calls: list[t.Call], seconds: int, settings: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Every variant at once, each in a thread of its own with its own Asterisk."""
    found: dict[str, Any] = {}
    failed: list[BaseException] = []

    def live(name: str, general: str, each: str, port: int) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="branchpbx-beside-") as folder:
                crowd = t.Crowd(calls)
                one = theirs.Theirs(Path(folder), crowd, theirs.queues_of(each), t.agents(), general=general, rtp=port)
                one.start()
                try:
                    crowd.begin(one.phones, 500)
                    if not one.phones.run(seconds + TAIL_S, crowd.done):
                        raise AssertionError(f"{name}: callers are left after {seconds + TAIL_S} s")
                    one.phones.run(2)
                    left = one.far.ask("queue show").count("calls (max")
                    found[name] = _figures(crowd, one.log(), one.cdr()) | {"version": one.version(), "queues": left}
                finally:
                    one.stop()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=live, args=(name, *each, 21000 + 1500 * at)) for at, (name, each) in enumerate(settings.items())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return found


def _ours(calls: list[t.Call]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="branchpbx-beside-") as folder:
        crowd = t.Crowd(calls)
        one = ours.Ours(Path(folder), crowd)
        try:
            one.run()
            return _figures(crowd, one.log(), one.cdr())
        finally:
            one.close()


def table(result: dict[str, Any]) -> str:
    """Of docs/performance/acd.md."""
    names = {"tuned": "app_queue, tuned", "shipped": "app_queue, sample settings", "ours": "BranchPBX"}
    columns = [name for name in names if name in result["trace"]]
    lines = ["| | " + " | ".join(names[name] for name in columns) + " |", "|---" * (len(columns) + 1) + "|"]

    def add(title: str, cell: Any) -> None:
        lines.append(f"| {title} | " + " | ".join(str(cell(result["trace"][name])) for name in columns) + " |")

    add("callers, answered, gave up", lambda f: f"{f['offered']}, {f['answered']}, {f['gave_up']}")
    add("wait until an agent picked up: mean / median / 90 % / worst",
        lambda f: " / ".join(f"{f['wait_' + key + '_ms'] / 1000:.1f} s" for key in ("mean", "median", "p90", "worst")))  # fmt: skip
    add("a caller waits, nothing rings, an agent is free: in all, longest",
        lambda f: f"{f['idle_ms'] / 1000:.1f} s, {f['idle_worst_ms'] / 1000:.1f} s")  # fmt: skip
    add("rung for before somebody who had come earlier", lambda f: f["out_of_order"])
    add("longest ringing after the caller had left", lambda f: f"{f['ghost_ms']} ms")
    add("queue log against what callers noted",
        lambda f: "; ".join(f"{k}: {n}" for k, n in sorted(f["log_differences"].items())) or "no difference")  # fmt: skip
    add("callers with more than one line in Master.csv, most",
        lambda f: f"{f['callers_with_several_records']}, {f['most_records_of_a_caller']}")  # fmt: skip
    return "\n".join(lines)


def complaints(found: list[rows.Row]) -> str:
    """Likewise."""
    lines = ["| row | complaint | app_queue | | BranchPBX | |", "|---|---|---|---|---|---|"]
    for one in found:
        mark = ["**yes**" if bad else "no" for bad in (one.theirs_bad, one.ours_bad)]
        lines.append(f"| {one.number} | {one.complaint} | {mark[0]} | {one.theirs} | {mark[1]} | {one.ours} |")
    return "\n".join(lines)


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="make far-acd", description="Queue of the appliance and app_queue on the same calls.")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--only", choices=("trace", "rows"), default="")
    options = parser.parse_args()
    try:
        prepare("asterisk")
    except NotFetchedError as reason:
        print(f"not run: {reason}")
        return 0
    result: dict[str, Any] = {"seed": options.seed, "seconds": options.seconds, "trace": {}}
    bad: list[str] = []
    if options.only != "rows":
        calls = t.trace(options.seed, options.seconds)
        result["trace"]["ours"] = _ours(calls)
        result["trace"] |= _theirs(calls, options.seconds, {
            "tuned": ("autofill=yes\nshared_lastcall=yes\n", theirs.TUNED), "shipped": ("autofill=no\n", theirs.AS_SHIPPED),
        })  # fmt: skip
        print(table(result))
        mine = result["trace"]["ours"]
        bad += [f"our log: {name}" for name in mine["log_differences"]]
        bad += [f"{name} is {mine[name]}" for name in ("idle_ms", "out_of_order", "cut", "callers_with_several_records") if mine[name]]
    if options.only != "trace":
        scenes = rows.all_rows()
        result["rows"] = [asdict(one) for one in scenes]
        print("\n" + complaints(scenes))
        bad += [f"row {one.number} happens here: {one.ours}" for one in scenes if one.ours_bad]
    target = Path("build/bench")
    target.mkdir(parents=True, exist_ok=True)
    (target / "acd-beside.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for text in bad:
        print(f"missed: {text}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
