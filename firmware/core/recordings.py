"""Where recordings are put, and whether there is room for another one (L5).

Files are `YYYY/MM/DD/<contact>[-n].wav` below the recordings folder, local date. Before one is opened the oldest go, as far
as quota and age ask; when less than the reserve is free on the disk none starts (the caller of `open` raises an alarm).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from firmware.call.times import LocalTime
from firmware.config.schema.system import Recording
from firmware.errors import PbxError

log = logging.getLogger("branchpbx.recordings")
MEGABYTE = 1_000_000


class RecordingRefusedError(PbxError):
    """No recording can be started; the message says why."""


class Recordings:
    """See the module docstring."""

    def __init__(self, folder: Path, settings: Recording) -> None:
        self.folder = folder
        self.settings = settings

    def open(self, contact: str, local: LocalTime, wall_ms: int) -> tuple[int, str]:
        """Descriptor of a new file, open for writing, and its path relative to the folder. Raises RecordingRefusedError."""
        self._make_room(wall_ms)
        try:
            disk = os.statvfs(self.folder)
            free = disk.f_bavail * disk.f_frsize
            if free < self.settings.reserve_mb * MEGABYTE:
                raise RecordingRefusedError(
                    f"{self.folder}: {free // MEGABYTE} MB free, recording.reserve_mb is {self.settings.reserve_mb}; "
                    "remove files or lower it"
                )
            day = self.folder / f"{local.year:04}" / f"{local.month:02}" / f"{local.day:02}"
            day.mkdir(parents=True, exist_ok=True)
            for number in range(1, 1000):
                path = day / (f"{contact}.wav" if number == 1 else f"{contact}-{number}.wav")
                try:
                    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
                except FileExistsError:
                    continue
                return descriptor, path.relative_to(self.folder).as_posix()
        except OSError as error:
            raise RecordingRefusedError(f"{self.folder}: cannot create a recording ({error.strerror}); check disk and rights") from error
        raise RecordingRefusedError(f"{self.folder}: contact {contact} has 999 recordings already")

    def _make_room(self, wall_ms: int) -> None:
        """Remove what is too old, then the oldest until the quota holds."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            files = sorted((entry.stat().st_mtime, entry.stat().st_size, entry) for entry in self.folder.glob("*/*/*/*.wav"))
        except OSError as error:
            log.warning("%s: cannot be listed (%s)", self.folder, error)
            return
        used = sum(size for _, size, _ in files)
        oldest = wall_ms / 1000 - self.settings.keep_days * 86400
        for changed, size, path in files:
            if changed >= oldest and used <= self.settings.quota_mb * MEGABYTE:
                break
            try:
                path.unlink()
            except OSError as error:
                log.warning("%s: cannot be removed (%s)", path, error)
                continue
            used -= size
            log.info("%s: removed, %s", path, "too old" if changed < oldest else "over quota")
