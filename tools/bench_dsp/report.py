"""What a section of the benchmark hands to the runner: tables, goals and plots.

A section is a module `tools/bench_dsp/NAME.py` with `measure(quick, seed) -> Section`. `quick` asks for the short draw that
`make test` can afford; figures for the documentation are made with `quick=False`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Goal:
    """One figure against its limit. `at_least`: the value must not be below the limit, else not above it."""

    name: str
    value: float
    limit: float
    unit: str
    at_least: bool

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers under column heads; `note` says how they were measured."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | int]]
    note: str = ""


@dataclass(frozen=True)
class Curve:
    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Plot:
    """A picture of curves; `name` becomes docs/performance/NAME.svg."""

    name: str
    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]


@dataclass
class Section:
    name: str
    title: str
    tables: list[Table] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
