"""What the benchmark leaves behind: the table on the terminal, the goals, and docs/performance/sip.md."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .servers import Ours, Theirs
from .shared import cell, markdown_table, text_table


@dataclass(frozen=True)
class Measure:
    """One figure of both. `ratio`: the most that ours over theirs may be (or the least, with `at_least`); `none`: it must be nought."""

    key: str
    title: str
    unit: str
    ratio: float | None = None
    at_least: bool = False
    none: bool = False
    wanted: float | None = None


MEASURES = (
    Measure("registration_cpu_ms", "CPU of a digest registration", "ms", 0.5),
    Measure("registrations_per_s", "registrations a second, 30 in flight", ""),
    Measure("call_cpu_ms", "CPU of an authenticated call", "ms", 0.6),
    Measure("calls_per_s", "calls a second, 30 in flight", "", 1.5, at_least=True),
    Measure("delay_p50_ms", "post-dial delay at 20 calls/s, median", "ms", 0.6),
    Measure("delay_p95_ms", "post-dial delay at 20 calls/s, 95 %", "ms", 0.6),
    Measure("relayed_50_cpu_percent", "CPU of a relayed call, 50 calls", "%", 0.6),
    Measure("relayed_100_cpu_percent", "CPU of a relayed call, 100 calls", "%", 0.6),
    Measure("relayed_50_lost", "packets lost, 50 calls", "", none=True),
    Measure("relayed_100_lost", "packets lost, 100 calls", "", none=True),
    Measure("relayed_50_delay_ms", "added delay, 50 calls, median", "ms", 1.0),
    Measure("relayed_100_delay_ms", "added delay, 100 calls, median", "ms", 1.0),
    Measure("relayed_100_delay_p99_ms", "added delay, 100 calls, 99 %", "ms"),
    Measure("memory_idle_mb", "memory (PSS), idle, 200 users", "MB", 0.6, wanted=0.4),
    Measure("memory_calls_mb", "memory (PSS), 100 calls", "MB", 0.6, wanted=0.4),
    Measure("start_s", "start to first registration answered", "s", 0.25),
)
OWN = {
    "call_cpu_core_ms": ("of the call: core", "ms"), "call_cpu_media_ms": ("of the call: media", "ms"),
    "call_cpu_manage_ms": ("of the call: manage", "ms"), "manage_idle_mb": ("manage, idle", "MB"),
    "manage_calls_mb": ("manage, 100 calls", "MB"),
}  # fmt: skip


def _median(rows: Sequence[Mapping[str, float]], key: str) -> float | None:
    values = [row[key] for row in rows if key in row]
    return statistics.median(values) if values else None


def summary(found: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Medians, ratios and goals. The ratio is the median of the ratios of the pairs."""
    rows, goals = [], []
    for measure in MEASURES:
        ours, theirs = _median(found[Ours.name], measure.key), _median(found[Theirs.name], measure.key)
        both = zip(found[Ours.name], found[Theirs.name], strict=False)
        ratios = [a[measure.key] / b[measure.key] for a, b in both if b.get(measure.key) and measure.key in a]
        ratio = statistics.median(ratios) if ratios and not measure.none else None
        rows.append({"key": measure.key, "title": measure.title, "unit": measure.unit, "ours": ours, "theirs": theirs, "ratio": ratio})
        if measure.none and ours is not None:
            goals.append({"name": measure.title, "value": ours, "limit": 0.0, "at_least": False, "met": ours <= 0})
        elif measure.ratio is not None and ratio is not None:
            met = ratio >= measure.ratio if measure.at_least else ratio <= measure.ratio
            goal = {"name": measure.title, "value": ratio, "limit": measure.ratio, "at_least": measure.at_least, "met": met}
            goals.append(goal if measure.wanted is None else {**goal, "wanted": measure.wanted})
    parts = [(title, unit, _median(found[Ours.name], key)) for key, (title, unit) in OWN.items()]
    own = [{"title": title, "unit": unit, "ours": value} for title, unit, value in parts if value is not None]
    return {"rows": rows, "own": own, "goals": goals}


def _shown(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{cell(value)} {unit}".rstrip()


def _rows(report: Mapping[str, Any]) -> list[list[str]]:
    rows = [
        [row["title"], _shown(row["ours"], row["unit"]), _shown(row["theirs"], row["unit"]), _shown(row["ratio"], "")]
        for row in report["rows"]
    ]
    return rows + [[row["title"], _shown(row["ours"], row["unit"]), "-", "-"] for row in report["own"]]


def _goals(report: Mapping[str, Any], missed: str) -> list[list[str]]:
    rows = []
    for goal in report["goals"]:
        bound = f"{'at least' if goal['at_least'] else 'at most'} {goal['limit']:g}"
        bound += f", wanted {goal['wanted']:g}" if "wanted" in goal else ""
        rows.append([goal["name"], _shown(goal["value"], ""), bound, "met" if goal["met"] else missed])
    return rows


def _count(report: Mapping[str, Any]) -> str:
    goals = report["goals"]
    met = sum(1 for goal in goals if goal["met"])
    return f"{len(goals)} goals, {met} met, {len(goals) - met} missed"


def _where(run: Mapping[str, Any]) -> str:
    pairs = f"{run['pairs']} pair{'s' if run['pairs'] != 1 else ''}"
    pairs += " of the short draw" if run.get("quick") else ""
    pairs += f" ({run['broken']} more broke and are left out)" if run.get("broken") else ""
    python = f"Python {run['python']}, load average {run['load']:.1f}" if "python" in run else ""
    return f"Commit {run['commit']}, {run['machine']}, {run['cores']} cores, {python}, {pairs}, {run.get('asterisk', '')}"


def terminal(report: Mapping[str, Any]) -> str:
    """The tables for a terminal."""
    run = report["run"]
    out = [f"{_where(run)}, {run['seconds']} s", ""]
    out += text_table(("", Ours.name, Theirs.name, "ratio"), _rows(report))
    out += ["", _count(report), *text_table(("goal (ours over Asterisk's)", "measured", "limit", "result"), _goals(report, "MISSED"))]
    return "\n".join(out)


INTRO = """# SIP beside Asterisk, measured

Written by `make bench-sip SIP_BENCH=--docs`, never by hand; a goal that is missed stays in the table and says so. The scenarios and
both set-ups are in [tools/bench_sip](../../tools/bench_sip), the load profile is [office-200.toml](../../tests/load/office-200.toml).

* Each server is started fresh and kept on one core; SIPp, the RTP load and the simulated lines run on the others. The servers take
  turns; a figure is the median of the pairs, a ratio the median of the ratios of the pairs.
* Both have 200 users with digest (MD5 and SHA-256 offered) and relay all media. Asterisk is the package of the distribution with the
  modules that load without settings of their own; `tools/far_ends.sh` fetches it.
* CPU is that of all threads of parent, media, core and manage against that of Asterisk, idle ticking included. Memory is the
  proportional set size of media and core, with manage, which has no counterpart there, apart.
* Registrations and calls are costed in a closed loop of 30 in flight.
* A call is INVITE, challenge, INVITE with digest, 180, 200, ACK, BYE, with the same on the called side; where the delay is measured 0.1 s
  lie before BYE. Post-dial delay: first INVITE to first 180.
* A relayed call is G.711 with 50 packets a second each way; every packet carries the time of its sending.

"""


BUSY = """**Other programs had the machine**: a load average of {load:.1f} for {cores} cores when it began. What depends on getting a turn
(rates, delays, the start, and by messages sent again after 0.5 s also the CPU of a call) is no measure of a quiet machine; memory is.
"""


def page(report: Mapping[str, Any]) -> str:
    """docs/performance/sip.md."""
    run = report["run"]
    out = [INTRO + f"{_where(run)}. {_count(report)}.", ""]
    if run.get("load", 0.0) > run["cores"]:
        out.append(BUSY.format(load=run["load"], cores=run["cores"]))
    out += [*markdown_table(("goal (ours over Asterisk's)", "measured", "limit", "result"), _goals(report, "**missed**")), ""]
    out += markdown_table(("", Ours.name, Theirs.name, "ratio"), _rows(report))
    return "\n".join(out) + "\n"
