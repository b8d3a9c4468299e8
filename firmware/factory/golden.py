"""The golden board: numbers kept from a board that is known to be good verify the fixture before each shift (pure; L5)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from firmware.errors import ConfigError
from firmware.factory.limits import GoldenRules
from firmware.factory.results import Report, StepResult


class Golden(msgspec.Struct, frozen=True):
    """What the golden board measured."""

    serial: str
    board: str
    fixture: str
    taken: str
    numbers: dict[str, tuple[float, str]]
    """Value and unit by step/name/jack."""


class Checked(msgspec.Struct, frozen=True):
    """The latest verification of a fixture."""

    fixture: str
    board: str
    at: float
    """Seconds of the epoch."""
    good: bool
    drifts: int


class Drift(msgspec.Struct, frozen=True):
    """A number that is not as before."""

    number: str
    unit: str
    before: float
    now: float | None
    tolerance: float

    def text(self) -> str:
        """One line for people."""
        if self.now is None:
            return f"{self.number}: not measured, was {self.before:.5g} {self.unit}"
        return f"{self.number}: {self.now:.5g} {self.unit}, was {self.before:.5g}, allowed +-{self.tolerance:g}"


def numbers_of(steps: Sequence[StepResult]) -> dict[str, tuple[float, str]]:
    """Numbers of the last attempt at every step."""
    last = {result.step: result for result in steps}
    return {f"{step}/{number.key()}": (number.value, number.unit) for step, result in last.items() for number in result.numbers}


def golden_of(report: Report) -> Golden:
    """What to keep; ConfigError when the board did not pass."""
    if report.verdict != "pass":
        raise ConfigError(f"board {report.serial} did not pass ({report.verdict}): it cannot be a golden board")
    return Golden(report.serial, report.board, report.fixture, report.started, numbers_of(report.steps))


def parse_golden(data: bytes, file: str) -> Golden:
    """Kept numbers; ConfigError when the file is damaged."""
    try:
        return msgspec.json.decode(data, type=Golden)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}; record the golden board again") from None


def drifts(golden: Golden, report: Report, rules: GoldenRules) -> tuple[list[Drift], int]:
    """What drifted, worst first, and how many numbers were compared.

    A tolerance by the number's name goes before that by its unit; numbers with neither are not compared.
    """
    if (golden.serial, golden.board) != (report.serial, report.board):
        raise ConfigError(f"the golden board is {golden.board} {golden.serial}, this one is {report.board} {report.serial}")
    now = numbers_of(report.steps)
    found, compared = [], 0
    for key, (before, unit) in golden.numbers.items():
        tolerance = rules.tolerance.get(key.split("/")[1], rules.tolerance.get(unit))
        if tolerance is None:
            continue
        compared += 1
        value = now[key][0] if key in now else None
        if value is None or abs(value - before) > tolerance + 1e-9:
            found.append(Drift(key, unit, before, value, tolerance))
    found.sort(key=lambda drift: -abs((drift.now if drift.now is not None else 1e9) - drift.before) / (drift.tolerance or 1e-9))
    return found, compared
