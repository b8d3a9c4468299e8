"""Files of the factory test: journal of a running test, reports, log of all runs (L5).

Theory of operation
-------------------
Below one folder: `open/SERIAL.jsonl`, the journal: one line per finished step, written and synced before the next step begins, so a run
goes on after the board's restarts and a crash loses one step at most. `reports/SERIAL/SERIAL-01.json` and `.txt`: made whole under another
name, synced, then linked to the next free number; a link never replaces a file, so a report is never overwritten. `log.jsonl`: one line per
run, appended with a single write under a lock and synced; a line that a power cut tore is ended by the next writer and passed over by
readers.
Invariant: whatever a reader meets in these files, it raises nothing but StoreError.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from firmware.errors import StoreError
from firmware.factory.results import Report, StepResult, Verdict

PLAIN = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
MOST_RUNS = 99


class RunLine(msgspec.Struct, frozen=True):
    """One run in the log."""

    serial: str
    board: str
    run: int
    verdict: Verdict
    started: str
    seconds: float
    operator: str
    steps: list[StepLine]


class StepLine(msgspec.Struct, frozen=True, array_like=True):
    """One attempt at a step in the log."""

    step: str
    status: str
    seconds: float
    budget_s: float
    reason: str = ""


class JournalHead(msgspec.Struct, frozen=True, tag="head"):
    """First line of a journal."""

    serial: str
    mac: str
    board: str
    operator: str
    started: str
    began: float
    """Seconds of the epoch."""
    purpose: str = "board"
    """Of the session: a board, or the golden board recorded or checked."""


class JournalStep(msgspec.Struct, frozen=True, tag="step"):
    """A finished attempt."""

    result: StepResult


class JournalMemory(msgspec.Struct, frozen=True, tag="memory"):
    """What a step needs after the board's restart."""

    memory: dict[str, float]


class JournalRedo(msgspec.Struct, frozen=True, tag="redo"):
    """The program died while chips were up: what was measured on them is measured again."""


JournalLine = JournalHead | JournalStep | JournalMemory | JournalRedo


def plain(name: str) -> str:
    """A name that is safe as a file's."""
    if not name or len(name) > 64 or not set(name) <= PLAIN:
        raise StoreError(f"{name!r} cannot be a file name; a serial number has letters, digits, - and _")
    return name


def sync_folder(folder: Path) -> None:
    """What a folder lists is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: bytes) -> None:
    """One line at the end of a file, on the disk when this returns; a torn last line is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        data = (b"\n" if torn else b"") + line + b"\n"
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if fresh:
        sync_folder(path.parent)


class Store:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log.jsonl"

    # --- journal -----------------------------------------------------------------------------------------------------------

    def journal(self, serial: str) -> Path:
        """Of a board whose test is not finished."""
        return self.folder / "open" / f"{plain(serial)}.jsonl"

    def note(self, serial: str, line: JournalLine) -> None:
        """Add to the journal."""
        try:
            append_line(self.journal(serial), msgspec.json.encode(line))
        except OSError as error:
            raise StoreError(f"{self.journal(serial)}: {error}; free space and rights of the folder?") from error

    def unfinished(self, serial: str) -> list[JournalLine]:
        """Lines of a journal that was left; empty when there is none or its head is not readable."""
        found = list(_lines(self.journal(serial), JournalLine))
        return found if found and isinstance(found[0], JournalHead) else []

    def waiting(self) -> list[JournalHead]:
        """Boards whose test is not finished."""
        folder = self.folder / "open"
        names = sorted(path.stem for path in folder.glob("*.jsonl") if set(path.stem) <= PLAIN) if folder.is_dir() else []
        return [head for name in names if (lines := self.unfinished(name)) and isinstance(head := lines[0], JournalHead)]

    def close(self, serial: str) -> None:
        """The run is over."""
        self.journal(serial).unlink(missing_ok=True)

    # --- reports -----------------------------------------------------------------------------------------------------------

    def reports(self, serial: str) -> Path:
        """Folder of a board's reports."""
        return self.folder / "reports" / plain(serial)

    def next_run(self, serial: str) -> int:
        """Number of the next run of a board."""
        folder = self.reports(serial)
        taken = [int(path.stem[-2:]) for path in folder.glob("*.json") if path.stem[-2:].isdigit()] if folder.is_dir() else []
        return max(taken, default=0) + 1

    def keep(self, report: Report, text: str) -> Path:
        """Write JSON and text; the path of the text. Nothing that exists is changed."""
        folder = self.reports(report.serial)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            base = folder / f"{plain(report.serial)}-{report.run:02d}"
            for suffix, data in ((".json", msgspec.json.format(msgspec.json.encode(report)) + b"\n"), (".txt", text.encode())):
                path = base.with_suffix(suffix)
                fresh = folder / f".{path.name}.{os.getpid()}"
                with fresh.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(fresh, path)
                finally:
                    fresh.unlink()
            sync_folder(folder)
        except FileExistsError:
            raise StoreError(f"{base} exists already and reports are never overwritten; is another test of this board running?") from None
        except OSError as error:
            raise StoreError(f"{folder}: {error}; free space and rights of the folder?") from error
        return base.with_suffix(".txt")

    # --- log ---------------------------------------------------------------------------------------------------------------

    def record(self, report: Report) -> None:
        """Add a run to the log."""
        steps = [
            StepLine(one.step, one.status, one.seconds, one.budget_s, one.reasons[0] if one.reasons and one.status == "fail" else "")
            for one in report.steps
        ]
        line = RunLine(
            report.serial, report.board, report.run, report.verdict, report.started, report.seconds, report.operator, steps
        )
        try:
            append_line(self.log, msgspec.json.encode(line))
        except OSError as error:
            raise StoreError(f"{self.log}: {error}; free space and rights of the folder?") from error

    def runs(self) -> Iterator[RunLine]:
        """Every run that can be read, in order."""
        return _lines(self.log, RunLine)

    def failed_before(self, serial: str) -> list[str]:
        """Steps whose last attempt failed in the board's latest run, unless that sent it to the repair bin."""
        latest: RunLine | None = None
        for run in self.runs():
            if run.serial == serial and run.verdict != "interrupted":
                latest = run
        if latest is None or latest.verdict in ("pass", "repair"):
            return []
        return failed_steps(latest.steps)


def failed_steps(steps: Sequence[StepLine]) -> list[str]:
    """Steps whose last attempt failed."""
    last = {one.step: one.status for one in steps}
    return [step for step, status in last.items() if status == "fail"]


def _lines(path: Path, kind: Any) -> Iterator[Any]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"{path}: {error}") from error
    decoder = msgspec.json.Decoder(kind)
    with file:
        for line in file:
            try:
                yield decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
