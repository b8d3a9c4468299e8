"""What a queue log and a Master.csv say of callers, beside what the callers noted; and how lines are laid out.

Theory of operation. `differences` follows each caller through a log: exactly one ENTERQUEUE, then exactly one CONNECT with the agent who
picked up and one line that ends the call and says who hung up, or exactly one ABANDON; waits within a second, RINGNOANSWER for each ring
that nobody answered. `shape` reduces a line to what a reader of such files depends on: the number of fields of each event and what kind
of value stands in each, for a CSV which columns are quoted. The layouts of both programs are compared by it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from .trace import Crowd, Note

NEAR_S = 2.1                    # whole seconds at both ends, and a busy machine
MET = frozenset({"COMPLETECALLER", "COMPLETEAGENT"})
_CSV = re.compile(r'"(?:[^"]|"")*"|[^,]+|(?<=,)(?=,)|^(?=,)|(?<=,)$')


def differences(log: Iterable[str], crowd: Crowd) -> Counter[str]:
    """Kinds of what is missing or wrong in a queue log, with how often."""
    lines = [line.split("|") for line in log]
    call_of = {line[6]: line[1] for line in lines if line[4] == "ENTERQUEUE"}
    of_call: dict[str, list[list[str]]] = defaultdict(list)
    for line in lines:
        of_call[line[1]].append(line)
    found: Counter[str] = Counter()
    for note in crowd.notes.values():
        if note.entered >= 0:
            found.update(_of_caller(note, of_call.get(call_of.get(note.call.number, ""), [])))
    return found


def _of_caller(note: Note, lines: list[list[str]]) -> list[str]:
    events = Counter(line[4] for line in lines)
    wanted = {"ENTERQUEUE": 1, "CONNECT": int(note.met >= 0), "ABANDON": int(note.left >= 0)}
    found = [f"{name} {events[name]} times instead of {times}" for name, times in wanted.items() if events[name] != times]
    for line in lines:
        if line[4] == "CONNECT":
            found += _near("wait of CONNECT", float(line[5]), (note.met - note.entered) / 1000)
            found += [] if line[3][-3:] == note.agent[-3:] else ["CONNECT with another agent"]
        elif line[4] == "ABANDON":
            found += _near("wait of ABANDON", float(line[7]), (note.left - note.entered) / 1000)
        elif line[4] in MET:
            found += _near(f"talk of {line[4]}", float(line[6]), (note.over - note.met) / 1000)
    if note.met >= 0:
        who = {"caller": "COMPLETECALLER", "agent": "COMPLETEAGENT"}[note.ended_by]
        if events[who] != 1 or sum(events[name] for name in MET) != 1:
            found.append(f"{sum(events[name] for name in MET)} COMPLETE, not of the {note.ended_by}" if sum(events[name] for name in MET)
                         else "no COMPLETE")  # fmt: skip
    ignored = sum(ring.lifted < 0 and (note.over < 0 or ring.over < note.over - 100) for ring in note.rings)
    if events["RINGNOANSWER"] < ignored:
        found.append("RINGNOANSWER is missing")
    return found


def _near(what: str, said: float, noted: float) -> list[str]:
    return [] if abs(said - noted) <= NEAR_S else [f"{what} is wrong by more than two seconds"]


def kind(value: str) -> str:
    """What a field holds: "n" a number, "" nothing, "s" a text."""
    return "" if not value else "n" if re.fullmatch(r"-?[0-9]+", value) else "s"


def log_shapes(lines: Iterable[str]) -> dict[str, set[str]]:
    """Of each event: the kinds of its parameters, as "n,n,s"; the call, queue and agent in front are texts in all of them."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        fields = line.split("|")
        found[fields[4]].add(",".join(kind(value) for value in fields[5:]))
    return dict(found)


def csv_shape(line: str) -> str:
    """Of each column of a line of Master.csv: q quoted, n a bare number, - empty without quotation marks, ? anything else."""
    return "".join("q" if one[:1] == '"' else "-" if not one else "n" if one.isdigit() else "?" for one in _CSV.findall(line))
