"""One board from the label to the report: journal, restarts, golden board, log (L5).

Theory of operation
-------------------
`Session.test` runs a board. Every finished step is in the journal before the next one begins; when the board restarts (`Restart`) the
journal stays open and `test(resume=True)` goes on where it ended. The report and one line in the log are written when the run is over, also
for a run that the fixture or the operator broke off (`interrupted`: the board is not judged).
Before boards are tested the fixture must have measured the golden board as ever: not longer ago than `golden.every_hours`.
Time of day comes from the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from firmware.errors import ConfigError, StoreError
from firmware.factory.golden import Checked, Drift, drifts, golden_of, parse_golden
from firmware.factory.instruments import FixtureError
from firmware.factory.limits import Limits
from firmware.factory.report import text_report
from firmware.factory.results import Report, StepResult, Verdict
from firmware.factory.rig import Restart, Rig, Step
from firmware.factory.runner import Runner, all_on_chips_done, survivors
from firmware.factory.store import JournalHead, JournalLine, JournalMemory, JournalRedo, JournalStep, Store

Purpose = Literal["board", "golden record", "golden check"]


class Talk(msgspec.Struct):
    """Where progress is told."""

    begin: Callable[[Step], None] = lambda step: None
    result: Callable[[StepResult], None] = lambda result: None


class Session:
    """A folder, a firmware, an operator."""

    def __init__(
        self, store: Store, limits: Limits, *, firmware: str, limits_hash: str, operator: str, now: Callable[[], float],
        iso: Callable[[float], str], talk: Talk | None = None,
    ) -> None:  # fmt: skip
        self.store = store
        self._limits = limits
        self._firmware = firmware
        self._limits_hash = limits_hash
        self._operator = operator
        self._now = now
        self._iso = iso
        self._talk = talk or Talk()

    # --- a run -------------------------------------------------------------------------------------------------------------

    def test(
        self, rig: Rig, *, resume: bool = False, restart: bool = False, purpose: Purpose = "board", demand_golden: bool = True
    ) -> Report:
        """Test the board on the rig. Raises `Restart` when the board is about to lose its supply."""
        serial = rig.label.serial
        lines = self.store.unfinished(serial)
        if lines and not resume and not restart:
            raise ConfigError(f"board {serial} has an unfinished test; --resume goes on with it, --restart gives it up and begins anew")
        if resume and not lines:
            raise ConfigError(f"board {serial} has no unfinished test to resume")
        if lines and not resume:
            self._give_up(serial)
            lines = []
        fixture = rig.fixture.identify()
        golden = self._golden_state(fixture, rig.board.name) if purpose == "board" else "itself"
        if purpose == "board" and demand_golden and not golden.startswith("verified"):
            raise ConfigError(f"fixture {fixture} is not to be trusted: golden board {golden}; run --golden check (or --without-golden)")
        done: list[StepResult] = []
        if lines:
            head, done = lines[0], results_of(lines)
            if isinstance(lines[-1], JournalMemory):
                rig.memory.update(lines[-1].memory)
            elif not all_on_chips_done(done):
                self.store.note(serial, JournalRedo())
                done = survivors(done)
            assert isinstance(head, JournalHead)
            if head.mac != rig.label.mac:
                raise ConfigError(f"the unfinished test of {serial} is of a board with MAC {head.mac}, not {rig.label.mac}")
        else:
            began = self._now()
            head = JournalHead(serial, rig.label.mac, rig.board.name, self._operator, self._iso(began), began, purpose)
            self.store.note(serial, head)
        runner = Runner(
            rig, done=done, keep=self._keeper(serial), begin=self._talk.begin,
            earlier=self.store.failed_before(serial) if purpose == "board" else (),
        )  # fmt: skip
        try:
            runner.run()
        except Restart as pause:
            self.store.note(serial, JournalMemory(pause.memory))
            raise
        except FixtureError:
            self._finish(head, runner.results, "interrupted", fixture, golden, purpose)
            raise
        return self._finish(head, runner.results, runner.verdict, fixture, golden, purpose)

    def _keeper(self, serial: str) -> Callable[[StepResult], None]:
        def keep(result: StepResult) -> None:
            self.store.note(serial, JournalStep(result))
            self._talk.result(result)

        return keep

    def _give_up(self, serial: str) -> None:
        """An unfinished test becomes an interrupted run, so that nothing measured is lost."""
        lines = self.store.unfinished(serial)
        head = lines[0]
        assert isinstance(head, JournalHead)
        results = results_of(lines)
        self._finish(head, results, "interrupted", "unknown", "unknown", "board")

    def _finish(
        self, head: JournalHead, results: list[StepResult], verdict: Verdict, fixture: str, golden: str, purpose: Purpose
    ) -> Report:
        report = Report(
            head.serial, head.board, self._limits.revision, self.store.next_run(head.serial), verdict, head.started,
            round(sum(result.seconds for result in results), 1), head.operator, self._firmware, self._limits_hash, fixture, golden, results,
        )  # fmt: skip
        self.store.keep(report, text_report(report))
        if purpose == "board":
            self.store.record(report)
        self.store.close(head.serial)
        return report

    def text_path(self, report: Report) -> Path:
        """Where the readable report is."""
        return self.store.reports(report.serial) / f"{report.serial}-{report.run:02d}.txt"

    # --- the golden board ----------------------------------------------------------------------------------------------------

    def _golden_file(self, board: str) -> Path:
        return self.store.folder / f"golden-{board}.json"

    def _checked_file(self, board: str) -> Path:
        return self.store.folder / f"golden-{board}-checked.json"

    def golden_record(self, report: Report) -> Path:
        """Keep what a board that passed measured."""
        path = self._golden_file(report.board)
        _replace(path, msgspec.json.format(msgspec.json.encode(golden_of(report))))
        self._checked(report, [])
        return path

    def golden_check(self, report: Report) -> tuple[list[Drift], int]:
        """Compare with what was kept, and remember the result for this fixture."""
        path = self._golden_file(report.board)
        try:
            data = path.read_bytes()
        except OSError as error:
            remedy = "use --golden record with a board that is known to be good"
            raise ConfigError(f"no golden board was recorded ({error}); {remedy}") from None
        golden = parse_golden(data, str(path))
        found, compared = drifts(golden, report, self._limits.golden)
        self._checked(report, found, failed=report.verdict != "pass")
        return found, compared

    def _checked(self, report: Report, found: list[Drift], *, failed: bool = False) -> None:
        checked = Checked(report.fixture, report.board, self._now(), not found and not failed, len(found))
        _replace(self._checked_file(report.board), msgspec.json.encode(checked))

    def _golden_state(self, fixture: str, board: str) -> str:
        """`verified ...`, or why the fixture is not."""
        hours = self._limits.golden.every_hours
        if hours <= 0:
            return "verified: not required by factory.toml"
        try:
            checked = msgspec.json.decode(self._checked_file(board).read_bytes(), type=Checked)
        except (OSError, msgspec.MsgspecError):
            return "never measured"
        if checked.fixture != fixture:
            return f"measured on another fixture ({checked.fixture})"
        if not checked.good:
            return f"drifted at {self._iso(checked.at)} ({checked.drifts} numbers)"
        age = (self._now() - checked.at) / 3600
        if not 0 <= age <= hours:
            return f"measured {age:.1f} h ago, allowed {hours:g} h"
        return f"verified {self._iso(checked.at)}"


def results_of(lines: Sequence[JournalLine]) -> list[StepResult]:
    """What a journal's steps found, as far as it still holds."""
    found: list[StepResult] = []
    for line in lines:
        if isinstance(line, JournalStep):
            found.append(line.result)
        elif isinstance(line, JournalRedo):
            found = survivors(found)
    return found


def _replace(path: Path, data: bytes) -> None:
    """A whole file in one step."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: {error}; free space and rights of the folder?") from error
