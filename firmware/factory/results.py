"""What a test run found (data; L5)."""

from __future__ import annotations

from typing import Literal

import msgspec

from firmware.factory.limits import Band

Status = Literal["pass", "fail", "skip", "absent", "laboratory", "not-run"]
Verdict = Literal["pass", "fail", "repair", "stopped", "interrupted"]


class Number(msgspec.Struct, frozen=True, omit_defaults=True):
    """One measured value with its limit."""

    name: str
    value: float
    unit: str
    jack: str = ""
    min: float | None = None
    max: float | None = None
    good: bool = True

    def limit(self) -> str:
        """For people."""
        return Band(self.min, self.max).text() if self.min is not None or self.max is not None else ""

    def key(self) -> str:
        """Same in every run."""
        return f"{self.name}/{self.jack}"


class StepResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt at one step."""

    number: int
    step: str
    title: str
    status: Status
    attempt: int = 1
    reasons: list[str] = []
    numbers: list[Number] = []
    facts: dict[str, str] = {}
    """What was read and has no limit: identifications, calibration."""
    seconds: float = 0.0
    budget_s: float = 0.0


class Report(msgspec.Struct, frozen=True):
    """One run of one board."""

    serial: str
    board: str
    revision: str
    run: int
    """1 for the first run of this serial, then 2, ..."""
    verdict: Verdict
    started: str
    seconds: float
    operator: str
    firmware: str
    limits: str
    """Hash of the limits file."""
    fixture: str
    golden: str
    """When the fixture was last verified, or why not."""
    steps: list[StepResult]

    def failed(self) -> list[str]:
        """Steps whose last attempt failed."""
        last = {result.step: result.status for result in self.steps}
        return [step for step, status in last.items() if status == "fail"]
