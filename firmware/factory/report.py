"""The readable report of a run (pure; L5)."""

from __future__ import annotations

from firmware.factory.results import Number, Report, StepResult

WIDTH = 100
MARKS = {"pass": "pass", "fail": "FAIL", "skip": "skip", "absent": "n/a", "laboratory": "lab", "not-run": "-"}


def text_report(report: Report) -> str:
    """Every number with its limit."""
    lines = [
        f"BranchPBX factory test     {report.board} revision {report.revision}",
        f"Serial {report.serial}, run {report.run}: {report.verdict.upper()}",
        f"{report.started}, {report.seconds:.0f} s, operator {report.operator}",
        f"Firmware {report.firmware}; limits {report.limits}",
        f"Fixture {report.fixture}; golden board {report.golden}",
        "",
        "summary",
        *(_line(result) for result in report.steps),
        "",
    ]
    for result in report.steps:
        if result.numbers or result.facts or result.status == "fail":
            lines += _details(result)
    return "\n".join(lines) + "\n"


def _line(result: StepResult) -> str:
    time = f"{result.seconds:6.1f} s of {result.budget_s:g} s" if result.status in ("pass", "fail") else ""
    again = f" (attempt {result.attempt})" if result.attempt > 1 else ""
    reason = f"  {result.reasons[0]}" if result.reasons else ""
    return f"  {result.number:>2} {result.title + again:<34}{MARKS[result.status]:<6}{time:<18}{reason}".rstrip()


def _details(result: StepResult) -> list[str]:
    again = f", attempt {result.attempt}" if result.attempt > 1 else ""
    lines = [f"{result.number} {result.title}{again}: {result.status.upper()}"]
    lines += [f"   ! {reason}" for reason in result.reasons]
    lines += [_number(number) for number in result.numbers]
    lines += [f"   {name}: {value}" for name, value in result.facts.items()]
    return [*lines, ""]


def _number(number: Number) -> str:
    never = not number.good and number.value == -1 and number.min is None
    shown = "never" if never else f"{number.value:.5g}"
    mark = " " if number.good else "*"
    return f" {mark} {number.jack:<16}{number.name:<52}{shown:>10} {number.unit:<8}{number.limit():>18}".rstrip()
