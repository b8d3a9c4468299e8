"""Pictures and completeness of the line machines' tables (L1, pure).

Theory of operation
-------------------
The literal tables of `fxo.py` and `fxs.py` are the machines' behaviour; here they become a diagram for the documentation
(`mermaid()`), and a list of faults for the test that keeps them whole (`faults()`).
"""

from __future__ import annotations

import sys
from typing import Any

from firmware.line.fxo import Fxo
from firmware.line.fxs import Fxs
from firmware.line.machine import Machine, Table

_MACHINES: dict[str, type[Machine[Any]]] = {"fxo": Fxo, "fxs": Fxs}


def mermaid(machine: str = "") -> str:
    """State diagrams in Mermaid, of "fxo", "fxs" or both (""): one arrow per pair of states, labelled with its inputs."""
    names = [machine] if machine else list(_MACHINES)
    return "\n".join(f"### {name.upper()}\n\n```mermaid\n{_diagram(_MACHINES[name].TABLE)}\n```\n" for name in names)


def page(machine: str) -> str:
    """The whole page `docs/states/<machine>.md`: diagram, then the literal table row by row."""
    found = _MACHINES[machine]
    doc = (sys.modules[found.__module__].__doc__ or "").strip().split("\n")[0]
    rows = ["| state | shown as | input | does | leads to |", "|---|---|---|---|---|"]
    for state, inputs in found.TABLE.items():
        rows += [f"| {state} | {found.PUBLIC[state]} | {given} | `{row.do}` | {', '.join(row.to)} |" for given, row in inputs.items()]
    made = f"Generated from `firmware/line/{machine}_table.py` by `make states`; edit the table, not this page."
    head = f"# {machine.upper()}: states\n\n{doc}\n\n{made}\n"
    return f"{head}\n```mermaid\n{_diagram(found.TABLE)}\n```\n\n" + "\n".join(rows) + "\n"


def _diagram(table: Table) -> str:
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, rows in table.items():
        for given, row in rows.items():
            for target in row.to:
                if target != state:
                    arrows.setdefault((state, target), []).append(given)
    lines = ["stateDiagram-v2", "    [*] --> " + next(iter(table))]
    lines += [f"    {source} --> {target}: {', '.join(inputs)}" for (source, target), inputs in arrows.items()]
    return "\n".join(lines)


def faults(machine: type[Machine[Any]]) -> list[str]:
    """What is wrong with a machine's table: unknown targets or methods, unreachable states, states without a way to IDLE."""
    table = machine.TABLE
    found = []
    for state, rows in table.items():
        for given, row in rows.items():
            if not hasattr(machine, "_" + row.do):
                found.append(f"{state}/{given}: no method {row.do}")
            found += [f"{state}/{given}: no state {target}" for target in row.to if target not in table]
    for start in table:
        if "IDLE" not in _reachable(table, start):
            found.append(f"{start}: no way back to IDLE")
    found += [f"{state}: cannot be reached from IDLE" for state in table if state not in _reachable(table, "IDLE")]
    found += [f"{state}: no public state" for state in table if state not in machine.PUBLIC]
    return found


def _reachable(table: Table, start: str) -> set[str]:
    seen, todo = {start}, [start]
    while todo:
        for row in table[todo.pop()].values():
            for target in row.to:
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
    return seen
