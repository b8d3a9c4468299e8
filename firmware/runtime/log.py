"""Logging of one process: JSON lines with the call id, in `DIR/log/<process>.log`, rotated; a full disk never raises.

Each line: `{"time", "process", "level", "logger", "message", "call_id"?, "error"?}`. `call_id` is a context variable: set it
(`with call(id):`) and every line written meanwhile carries it. Lines the disk refused are counted in `lost`. In a process that
handles calls a thread of its own writes the file (`background`): a disk that stalls must not stop who logs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(enc_hook=str).encode
call_id: ContextVar[str] = ContextVar("call_id", default="")
MAX_BYTES = 2_000_000
KEEP_FILES = 3
WAITING = 10_000
TOGETHER = 200
GATHER_S = 0.05
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
        self._second = (-1, "")          # the second that was last written, and its text

    def _time(self, created: float) -> str:
        second = int(created)
        if second != self._second[0]:
            self._second = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._second[1]}.{int((created - second) * 1000):03d}Z"

    def format(self, record: logging.LogRecord) -> str:
        try:
            message = record.getMessage()
        except Exception as error:  # a wrong format string must not lose the line
            message = f"{record.msg!r} with {record.args!r} ({error})"
        line: dict[str, Any] = {
            "time": self._time(record.created),
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
        try:
            return _encode(line).decode()
        except UnicodeEncodeError:           # half a character, from a file name
            return json.dumps(line, default=str)


class SafeFile(RotatingFileHandler):
    """A rotating file whose failures are counted instead of raised or printed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=MAX_BYTES, backupCount=KEEP_FILES, encoding="utf-8", delay=True)
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:
            self.lost += getattr(record, "lines", 1)

    def handleError(self, record: logging.LogRecord) -> None:
        # Called inside an except clause by the base class. Drop the broken stream so that the next line opens it anew.
        self.lost += getattr(record, "lines", 1)
        stream, self.stream = self.stream, None
        with contextlib.suppress(OSError, ValueError):
            if stream is not None:
                stream.close()


class Background(logging.Handler):
    """Renders lines at once and lets a thread write them, all of `GATHER_S` together, as waking it for each costs more than the line.

    Beyond 10 000 that wait for the disk they are counted in `file.lost`.
    """

    def __init__(self, file: SafeFile, formatter: logging.Formatter) -> None:
        super().__init__()
        self.file = file
        self._render = formatter
        self._lines: deque[str] = deque()
        self._wake = threading.Event()
        file.setFormatter(logging.Formatter("%(rendered)s"))
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) >= WAITING:
            self.file.lost += 1
            return
        self._lines.append(self._render.format(record))
        if not self._wake.is_set():
            self._wake.set()

    def _write(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(GATHER_S)
            self._wake.clear()
            while self._lines:
                together = min(len(self._lines), TOGETHER)
                text = "\n".join(self._lines[k] for k in range(together))
                self.file.handle(logging.makeLogRecord({"rendered": text, "lines": together}))
                for _ in range(together):
                    self._lines.popleft()

    def flush(self) -> None:
        """Wait until the lines are with the file, at most half a second."""
        deadline = time.monotonic() + FLUSH_S
        while self._lines and time.monotonic() < deadline:
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
