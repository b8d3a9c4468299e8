"""Logging of one process: JSON lines with the call id, in `DIR/log/<process>.log`, rotated; a full disk never raises.

Each line: `{"time", "process", "level", "logger", "message", "call_id"?, "error"?}`. `call_id` is a context variable: set it
(`with call(id):`) and every line written meanwhile carries it. Lines the disk refused are counted in `lost`. In a process that
handles calls a thread of its own writes the file (`background`): a disk that stalls must not stop who logs.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

call_id: ContextVar[str] = ContextVar("call_id", default="")
MAX_BYTES = 2_000_000
KEEP_FILES = 3
WAITING = 10_000
FLUSH_S = 0.5


@contextlib.contextmanager
def call(identifier: str) -> Iterator[None]:
    """Lines logged inside carry this leg or contact id."""
    token = call_id.set(identifier)
    try:
        yield
    finally:
        call_id.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        try:
            message = record.getMessage()
        except Exception as error:  # a wrong format string must not lose the line
            message = f"{record.msg!r} with {record.args!r} ({error})"
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "process": self._process,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        identifier = getattr(record, "call_id", "") or call_id.get()
        if identifier:
            line["call_id"] = identifier
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class SafeFile(RotatingFileHandler):
    """A rotating file whose failures are counted instead of raised or printed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=MAX_BYTES, backupCount=KEEP_FILES, encoding="utf-8", delay=True)
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:
            self.lost += 1

    def handleError(self, record: logging.LogRecord) -> None:
        # Called inside an except clause by the base class. Drop the broken stream so that the next line opens it anew.
        self.lost += 1
        stream, self.stream = self.stream, None
        with contextlib.suppress(OSError, ValueError):
            if stream is not None:
                stream.close()


class Background(logging.Handler):
    """Renders lines at once and lets a thread write them; beyond 10 000 that wait for the disk they are counted in `file.lost`."""

    def __init__(self, file: SafeFile, formatter: logging.Formatter) -> None:
        super().__init__()
        self.file = file
        self._render = formatter
        self._waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        file.setFormatter(logging.Formatter("%(rendered)s"))
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._waiting.qsize() >= WAITING:
            self.file.lost += 1
            return
        line = copy.copy(record)
        line.rendered = self._render.format(record)
        line.exc_info = line.exc_text = line.stack_info = None
        self._waiting.put(line)

    def _write(self) -> None:
        while True:
            self.file.handle(self._waiting.get())

    def flush(self) -> None:
        """Wait until the lines are with the file, at most half a second."""
        deadline = time.monotonic() + FLUSH_S
        while not self._waiting.empty() and time.monotonic() < deadline:
            time.sleep(0.005)


def configure(
    process: str, folder: Path | None, *, level: int = logging.INFO, stderr: bool = False, background: bool = False
) -> SafeFile | None:
    """Send the log of this process to `folder/<process>.log`, and to stderr where asked; replaces earlier handlers.

    `background`: a thread writes the file. Not for a process that forks.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.setLevel(level)
    logging.raiseExceptions = False
    file: SafeFile | None = None
    if folder is not None:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        file = SafeFile(folder / f"{process}.log")
        if background:
            root.addHandler(Background(file, JsonFormatter(process)))
        else:
            file.setFormatter(JsonFormatter(process))
            root.addHandler(file)
    if stderr:
        screen = logging.StreamHandler(sys.stderr)
        screen.setFormatter(logging.Formatter(f"{process}: %(levelname)s: %(message)s"))
        screen.setLevel(logging.WARNING)
        root.addHandler(screen)
    return file


def tail(folder: Path, *, lines: int, process: str = "", call: str = "") -> list[dict[str, Any]]:
    """The last lines of the logs in `folder`, oldest first, of one process or all, about one call or all."""
    found: list[dict[str, Any]] = []
    for path in folder.glob(f"{process or '*'}.log*"):
        try:
            with path.open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - MAX_BYTES // 4))
                raw = file.read().split(b"\n")
        except OSError:
            continue
        for line in raw:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and (not call or entry.get("call_id") == call):
                found.append(entry)
    found.sort(key=lambda entry: str(entry.get("time", "")))
    return found[-lines:]
