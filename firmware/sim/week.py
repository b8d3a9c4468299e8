"""`branchpbx sim week`: a call-centre week in virtual time; what people noted is compared with records, queue log, exports, reports.

Theory of operation. The plan of a seed (`week_plan`) is lived by `week_people` in an office of the product's own call parts
(`app/office.py`, handed in, since the world imports nothing of the product's upper layers). Afterwards `week_check` compares caller by
caller and figure by figure, the exports are read by parsers of their own, and nobody may be left: no contact open, no queue with anybody
in it, no agent in a call. An error in the product's log is a difference, too. With `--erlang` the queue is measured against Erlang C and
Erlang A as well. One JSON object; status 0 only without a difference.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from firmware.sim import week_check as check
from firmware.sim import week_erlang as erlang
from firmware.sim import week_plan as p
from firmware.sim.week_people import Crowd

#: Makes the office: (folder, config, begin, people).
MakeOffice = Callable[..., Any]
REST_MS = 3_600_000


class _Complaints(logging.Handler):
    """Errors that the product logs while the week goes on."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(f"logged by {record.name}: {record.getMessage()}" + (f" ({record.exc_info[1]!r})" if record.exc_info else ""))


def main(arguments: Sequence[str], office: MakeOffice) -> int:
    """Live one week and print its JSON; the exit status."""
    parser = argparse.ArgumentParser(prog="branchpbx sim week", description="A call-centre week in virtual time, beside its records.")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--calls", type=int, default=4000, help="in the whole time, about")
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--erlang", type=int, default=0, metavar="CALLS", help="measure so many calls against Erlang C and Erlang A, too")
    parser.add_argument("--level", choices=tuple(erlang.STUDENT), default="99", help="confidence of those intervals in percent")
    parser.add_argument("--keep", type=Path, default=None, metavar="DIR", help="keep the databases here")
    parser.add_argument("--json", action="store_true", help="all figures, not only the summary")
    options = parser.parse_args(list(arguments))
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    folder = options.keep or Path(tempfile.mkdtemp(prefix="branchpbx-week-"))
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    try:
        result = live(seed, options.calls, options.days, folder / "week", office)
        if options.erlang:
            result["erlang"] = {
                name: measure(seed, options.erlang, folder / name, office, patient=patient, level=options.level)
                for name, patient in (("C", True), ("A", False))
            }
            for name, found in result["erlang"].items():
                result["differences"] += [f"Erlang {name}: {text}" for text in [*found["discipline"], *found["differences"]]]
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    result["seconds"] = round(time.monotonic() - began, 1)
    if not options.json:
        result.pop("reports")
    sys.stdout.write(json.dumps(result, ensure_ascii=False, indent=2) + "\n")
    return 0 if not result["differences"] else 1


def live(seed: int, calls: int, days: int, folder: Path, make: MakeOffice) -> dict[str, Any]:
    """A week; its figures and every difference."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = p.plan(seed, calls, days)
    crowd, complaints = Crowd(plan), _Complaints()
    logging.getLogger("branchpbx").addHandler(complaints)
    office = make(folder, p.config(), p.BEGINS, crowd)
    try:
        base = office.clock.wall_ms()
        crowd.live(office)
        office.run(days * p.DAY_MS + REST_MS)
        office.db.flush(60)
        found = complaints.said + _compare(crowd, base, office) + _at_rest(office)
        contacts = office.db.query("SELECT kind, cause FROM contacts")
        return {
            "seed": seed, "days": days, "calls": len(plan.calls), "blocked": sum(note.blocked for note in crowd.notes),
            "talked": sum(note.met >= 0 for note in crowd.notes), "transferred": sum(note.transferred for note in crowd.notes),
            "gave_up": sum(note.by_self and note.met < 0 for note in crowd.notes),
            "codes": crowd.codes, "faults": dict(Counter(fault.kind for fault in plan.faults)),
            "causes": dict(Counter(str(row["cause"]) for row in contacts)),
            "reports": {day: dict(figures) for day, figures in check.expected(crowd).items()}, "differences": found,
        }  # fmt: skip
    finally:
        logging.getLogger("branchpbx").removeHandler(complaints)
        office.close()


def _compare(crowd: Crowd, base: int, office: Any) -> list[str]:
    contacts = office.db.query("SELECT * FROM contacts ORDER BY opened_ms, id")
    legs = office.db.query("SELECT * FROM legs ORDER BY started_ms, id")
    log = office.db.query("SELECT * FROM queue_log ORDER BY seq")
    found = check.compare(crowd, base, contacts, legs, log)
    found += check.pauses(crowd, base, office.db.query("SELECT * FROM agent_states ORDER BY seq"))
    noted = check.expected(crowd)
    for number in range(crowd.plan.days):
        day = p.BEGINS.date() + timedelta(days=number)
        wanted = noted.get(day.isoformat(), Counter())
        found += check.differences(day.isoformat(), wanted, check.reported(office.reports.tally(day), p.QUEUES, p.AGENTS))
        found += check.exported(day.isoformat(), wanted, office.reports.queue_log(day), [*csv.reader(office.reports.cdr(day))])
    whole: Counter[str] = sum(noted.values(), Counter())
    month = office.reports.month(p.BEGINS.date().replace(day=1)).tally
    return found + check.differences("the month", whole, check.reported(month, p.QUEUES, p.AGENTS))


def _at_rest(office: Any) -> list[str]:
    """Nobody is forgotten."""
    board = office.calls.board
    found = [f"contact {contact} is still in phase {state.phase}" for contact, state in board.contacts.items()]
    found += [f"queue {name} still holds {len(line)}" for name, line in board.floor.state.queues.items() if line]
    found += [f"agent {one.agent} is still {one.status}" for one in board.floor.state.agents.values()
              if one.status.value in ("offered", "talking", "wrap-up")]
    return found + [f"the telephone {one.endpoint} is still in a call" for one in office.sets.live.values()]


def measure(seed: int, calls: int, folder: Path, make: MakeOffice, *, patient: bool, level: str) -> dict[str, Any]:
    """Waits of the real queue against the model."""
    folder.mkdir(parents=True, exist_ok=True)
    source = erlang.Source(seed, calls, patient=patient)
    office = make(folder, erlang.config(), p.BEGINS, source)
    try:
        source.live(office)
        while source.left_to_come or office.calls.board.contacts:
            office.run(REST_MS)
        return erlang.judge(source, level)
    finally:
        office.close()
