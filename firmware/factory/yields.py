"""Yield of the line: first-pass yield, yield per step, causes of failure, times against budgets (pure; L5).

Theory of operation. A board counts once for the first-pass yield: its first run of the period passed with no step repeated. A step's
first-pass yield counts boards whose first attempt at it passed among those that had one; skipped steps say nothing. Causes are steps with
the reason told first, numbers and jacks taken out so that equal causes are equal. Interrupted runs are counted, not judged.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import msgspec

from firmware.factory.store import RunLine


class StepYield(msgspec.Struct):
    """One step over all boards."""

    step: str
    boards: int = 0
    passed_first: int = 0
    failed: int = 0
    repeated: int = 0
    seconds: float = 0.0
    """Mean of all attempts."""
    longest_s: float = 0.0
    budget_s: float = 0.0
    over_budget: int = 0

    @property
    def share(self) -> float:
        """Boards that passed at the first attempt."""
        return self.passed_first / self.boards if self.boards else 0.0


class Yield(msgspec.Struct):
    """A period."""

    boards: int
    runs: int
    passed_first: int
    passed: int
    repair: int
    waiting: int
    """Failed or stopped once; they may be tested once more."""
    interrupted: int
    mean_seconds: float
    per_day: dict[str, int]
    steps: list[StepYield]
    causes: list[tuple[str, int]]


def work_out(runs: Iterable[RunLine], since: str = "", order: Iterable[str] = ()) -> Yield:
    """Figures of the runs that began at or after `since` (ISO date or time)."""
    first: dict[str, RunLine] = {}
    last: dict[str, RunLine] = {}
    steps = {name: StepYield(name) for name in order}
    attempts: Counter[str] = Counter()
    causes: Counter[str] = Counter()
    days: dict[str, set[str]] = {}
    seen: set[tuple[str, str]] = set()
    total = interrupted = 0
    seconds = 0.0
    for run in runs:
        if run.started < since:
            continue
        total += 1
        if run.verdict == "interrupted":
            interrupted += 1
            continue
        seconds += run.seconds
        first.setdefault(run.serial, run)
        last[run.serial] = run
        days.setdefault(run.started[:10], set()).add(run.serial)
        for one in run.steps:
            if one.status not in ("pass", "fail"):
                continue
            entry = steps.setdefault(one.step, StepYield(one.step))
            attempts[one.step] += 1
            entry.seconds += one.seconds
            entry.longest_s = max(entry.longest_s, one.seconds)
            entry.budget_s = one.budget_s
            entry.over_budget += one.seconds > one.budget_s
            if (run.serial, one.step) not in seen:
                seen.add((run.serial, one.step))
                entry.boards += 1
                entry.passed_first += one.status == "pass"
                if one.status == "fail":
                    causes[f"{one.step}: {cause_of(one.reason)}"] += 1
            else:
                entry.repeated += 1
            entry.failed += one.status == "fail"
    for entry in steps.values():
        entry.seconds = entry.seconds / attempts[entry.step] if attempts[entry.step] else 0.0
    judged = total - interrupted
    clean = sum(run.verdict == "pass" and all(one.status != "fail" for one in run.steps) for run in first.values())
    return Yield(
        len(first), total, clean, sum(run.verdict == "pass" for run in last.values()),
        sum(run.verdict == "repair" for run in last.values()), sum(run.verdict in ("fail", "stopped") for run in last.values()),
        interrupted, seconds / judged if judged else 0.0,
        {day: len(serials) for day, serials in sorted(days.items())}, list(steps.values()), causes.most_common(),
    )  # fmt: skip


def cause_of(reason: str) -> str:
    """A reason without its jacks and numbers."""
    driver = re.search(r"step '([^']+)'", reason)
    if driver:
        return driver.group(1)
    text = re.split(r": (?=never|[-+\d])|, limit|;", re.sub(r"^(?:F[XS][OS] \d+(?: > F[XS][OS] \d+)?(?:, |: ))", "", reason))[0]
    return re.sub(r"[-+]?\d+(?:\.\d+)?", "#", text).strip() or "no reason told"


def text_table(found: Yield) -> str:
    """For people."""
    share = 100 * found.passed_first / found.boards if found.boards else 0.0
    days = ", ".join(f"{day}: {count}" for day, count in found.per_day.items())
    lines = [
        f"boards {found.boards}, runs {found.runs}: first-pass yield {share:.1f} %, passed in the end {found.passed}, "
        + f"repair bin {found.repair}, to be tested once more {found.waiting}"
        + (f", interrupted {found.interrupted}" if found.interrupted else ""),
        f"mean time of a run {found.mean_seconds:.0f} s; boards per day {days or '-'}",
        "",
        f"{'step':<16}{'boards':>7}{'first pass':>12}{'failed':>8}{'repeats':>9}{'mean s':>9}{'longest':>9}{'budget':>8}{'over':>6}",
    ]
    for one in found.steps:
        shown = f"{100 * one.share:.1f} %" if one.boards else "-"
        lines.append(
            f"{one.step:<16}{one.boards:>7}{shown:>12}{one.failed:>8}{one.repeated:>9}{one.seconds:>9.1f}{one.longest_s:>9.1f}"
            f"{one.budget_s:>8g}{one.over_budget:>6}"
        )
    count = sum(number for _, number in found.causes)
    if count:
        lines += ["", "causes of first failures, most frequent first", f"{'boards':>8}{'share':>8}{'sum':>8}  cause"]
    running = 0
    for cause, number in found.causes:
        running += number
        lines.append(f"{number:>8}{100 * number / count:>7.0f}%{100 * running / count:>7.0f}%  {cause}")
    return "\n".join(lines) + "\n"
