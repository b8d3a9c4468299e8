"""Reports of the line doctor for people: facts one a line, findings with what to do beneath, folded for an 80-column serial console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from firmware.reports.columns import COLUMNS, fold, width

ARROW = {"en": "-> ", "zh": "→ "}


def is_report(result: Any) -> bool:
    """A record that carries findings."""
    return isinstance(result, Mapping) and isinstance(result.get("findings"), list)


def report(facts: Sequence[tuple[str, str]], findings: Sequence[Mapping[str, str]], language: str) -> list[str]:
    """`facts` are names and values; `findings` records with weight, finding and todo."""
    size = max([width(name) for name, _ in facts] + [width(one["weight"]) for one in findings], default=0)
    lines: list[str] = []
    for name, value in facts:
        lines += _beside(name, value, size)
    if facts and findings:
        lines.append("")
    for one in findings:
        lines += _beside(one["weight"], one["finding"], size)
        if one.get("todo"):
            lines += _beside("", ARROW[language] + one["todo"], size)
    return lines


def _beside(name: str, text: str, size: int) -> list[str]:
    """A text beside its name; what is too long goes on below it."""
    rows = fold(text, COLUMNS - size - 2)
    head = [name] + [""] * (len(rows) - 1)
    return [f"{left}{' ' * (size - width(left))}  {row}".rstrip() for left, row in zip(head, rows, strict=True)]
