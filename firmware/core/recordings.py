"""Where recordings are put, how long they stay, and whether they are still what they were (L5; I1, I4, I5, R7).

Theory of operation
-------------------
Files are `YYYY/MM/DD/<contact>[-n].rec` below the recordings folder, local date, sealed from the first byte (`store/vault.py`); the
catalogue (`store/recordings.py`) knows every one of them. Room is made by age first, then the oldest go until the quota holds; when less
than the reserve is free on the disk none starts, and `sweep` says that those which run must end: configuration and records come first.
A disk is known by the file `.branchpbx-disk` in its folder. While that is missing or another disk's, nothing is recorded, nothing removed:
`RecordingRefusedError` becomes an alarm, and the catalogue stays as it is until the disk comes back.
Invariants: only what the catalogue knows is ever removed, and never what is being written; what holds no samples leaves neither file nor
row; a file that goes has its key overwritten first. All methods may block (disk) and are called from background threads.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Collection
from pathlib import Path

import msgspec

from firmware.call.times import LocalTime
from firmware.config.schema.recording import Recording
from firmware.errors import PbxError
from firmware.store.db import Database
from firmware.store.recordings import RecordingStore
from firmware.store.vault import SUFFIX, DeviceKey, Sealed, digest

log = logging.getLogger("branchpbx.recordings")
MEGABYTE = 1_000_000
DAY_MS = 86_400_000
MARK = ".branchpbx-disk"


class RecordingRefusedError(PbxError):
    """No recording can be started, read or removed; the message says why."""


class Opened(msgspec.Struct, frozen=True):
    """A file that is ready for samples. `key` and `ident` are for media alone."""

    descriptor: int
    path: str
    key: bytes
    ident: bytes
    coded: str = ""
    """As `recording.format` says; "" for 16 bit."""

    def __repr__(self) -> str:
        """Without the key: what fails beside the event loop is logged with its values."""
        return f"Opened({self.path!r})"


class Checked(msgspec.Struct, frozen=True):
    """What `verify` found."""

    checked: int
    wrong: list[str]


class Recordings:
    """See the module docstring. `most_days`: the country's longest time, 0 for none."""

    def __init__(self, folder: Path, settings: Recording, store: RecordingStore, device: DeviceKey, most_days: int = 0) -> None:
        self.folder = Path(settings.folder) if settings.folder else folder
        self.settings = settings
        self.store = store
        self.device = device
        self.most_days = most_days
        self._elsewhere = bool(settings.folder)
        self._lock = threading.Lock()
        self._disk = store.disk(str(self.folder))

    @classmethod
    def beside(cls, folder: Path, settings: Recording, db: Database) -> Recordings:
        """Recordings whose key lies in the folder `keys` beside theirs, catalogued in `db`."""
        device = DeviceKey.load(folder.parent / "keys" / "recordings.key")
        return cls(folder, settings, RecordingStore(db, device), device)

    # --- the disk -----------------------------------------------------------------------------------------------------

    def check_disk(self) -> None:
        """Raises RecordingRefusedError unless the folder is on the disk that it was on; a folder never used before becomes ours."""
        mark = self.folder / MARK
        try:
            if not self._disk and not self._elsewhere:
                self.folder.mkdir(parents=True, exist_ok=True)
            found = mark.read_text("ascii").strip() if mark.exists() else ""
            if not self._disk and self.folder.is_dir():
                if not found:
                    found = secrets.token_hex(16)
                    mark.write_text(found + "\n", "ascii")
                self._disk = found
                self.store.keep_disk(str(self.folder), found)
        except (OSError, UnicodeDecodeError) as error:
            raise RecordingRefusedError(f"{self.folder}: the disk of recordings cannot be used ({error}); check disk and rights") from error
        if not found or found != self._disk:
            raise RecordingRefusedError(
                f"{self.folder}: the disk of recordings is missing or another one; nothing is recorded and nothing is removed until it is "
                "back, or until `recordings disk` accepts the new one"
            )

    def accept_disk(self, wall_ms: int) -> None:
        """Take what is there now for the disk of recordings; what the catalogue has and the disk has not is written off."""
        if not self.folder.is_dir():
            raise RecordingRefusedError(f"{self.folder}: there is no such folder; mount the disk first")
        self._disk = ""
        self.store.keep_disk(str(self.folder), "")
        self.check_disk()
        for row in self.store.rows():
            if not (self.folder / row["path"]).exists():
                self.store.removed(row["path"], "disk", wall_ms)

    def _free(self) -> int:
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    # --- writing ------------------------------------------------------------------------------------------------------

    def open(self, contact: str, leg: str, local: LocalTime, wall_ms: int, *, keep: str = "", rule: str = "") -> Opened:
        """A new file with its header. Raises RecordingRefusedError."""
        with self._lock:
            self.check_disk()
            self._make_room(wall_ms)
            try:
                free = self._free()
                if free < self.settings.reserve_mb * MEGABYTE:
                    raise RecordingRefusedError(
                        f"{self.folder}: {free // MEGABYTE} MB free, recording.reserve_mb is {self.settings.reserve_mb}; "
                        "remove files or lower it"
                    )
                return self._create(contact, leg, local, wall_ms, keep, rule)
            except OSError as error:
                raise RecordingRefusedError(
                    f"{self.folder}: cannot create a recording ({error.strerror}); check disk and rights"
                ) from error

    def _create(self, contact: str, leg: str, local: LocalTime, wall_ms: int, keep: str, rule: str) -> Opened:
        day = self.folder / f"{local.year:04}" / f"{local.month:02}" / f"{local.day:02}"
        day.mkdir(parents=True, exist_ok=True)
        header, key, ident = self.device.header()
        for number in range(1, 1000):
            path = day / f"{contact}{'' if number == 1 else f'-{number}'}{SUFFIX}"
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            except FileExistsError:
                continue
            try:
                os.pwrite(descriptor, header, 0)
            except OSError:
                os.close(descriptor)
                path.unlink(missing_ok=True)
                raise
            name = path.relative_to(self.folder).as_posix()
            self.store.open(name, contact, leg, wall_ms, keep, wall_ms + self.days(keep) * DAY_MS, rule)
            return Opened(descriptor, name, key, ident, "" if self.settings.format == "pcm" else self.settings.format)
        raise RecordingRefusedError(f"{self.folder}: contact {contact} has 999 recordings already")

    def days(self, keep: str) -> int:
        """How long a class is kept; never longer than the country allows."""
        days = self.settings.classes.get(keep, self.settings.keep_days)
        return min(days, self.most_days) if self.most_days else days

    def finish(self, path: str, lost: int, masked: str, wall_ms: int) -> str:
        """Book a file that nobody writes any more: "whole", "cut", or "" for one without samples, which goes."""
        file = self.folder / path
        sealed = Sealed(file, self.device)
        try:
            self.check_disk()
            for _ in sealed:
                pass
            if not sealed.frames and sealed.how in ("whole", "cut"):
                file.unlink()
                self.store.empty(path)
                self._drop_folders(file)
                return ""
            size, found = file.stat().st_size, digest(file)
        except FileNotFoundError:
            self.store.empty(path)
            return ""
        except (OSError, RecordingRefusedError) as error:
            log.warning("%s: the recording cannot be booked now (%s); it is tried again", file, error)
            return "open"
        self.store.done(path, "whole" if sealed.how == "whole" else "cut", sealed.frames, lost, size, found, masked, wall_ms)
        return "whole" if sealed.how == "whole" else "cut"

    def collect(self, live: Collection[str], wall_ms: int, before_ms: int) -> int:
        """Book files begun before `before_ms` whose end nobody told, as after a crash; how many. `live`: what is being written."""
        rows = self.store.rows()
        found = [str(row["path"]) for row in rows if row["state"] == "open" and row["started_ms"] < before_ms and row["path"] not in live]
        for path in found:
            self.finish(path, 0, "", wall_ms)
        return len(found)

    # --- removing -----------------------------------------------------------------------------------------------------

    def sweep(self, wall_ms: int) -> str:
        """Make room; "" when all is well, else why recordings that run must end (the disk is short). Raises RecordingRefusedError."""
        with self._lock:
            self.check_disk()
            self._make_room(wall_ms)
            free = self._free()
        if free >= self.settings.reserve_mb * MEGABYTE:
            return ""
        return f"{self.folder}: {free // MEGABYTE} MB free, recording.reserve_mb is {self.settings.reserve_mb}: recordings are ended"

    def _make_room(self, wall_ms: int) -> None:
        """Remove what is too old, then the oldest until the quota holds."""
        rows = [row for row in self.store.rows() if row["state"] != "open"]
        used = sum(row["bytes"] for row in rows)
        if self.settings.sent_first:            # what the centre has goes first, each kind by age
            rows.sort(key=lambda row: not row["sent_ms"])
        for row in rows:
            old = row["keep_until_ms"] <= wall_ms
            if not old and used <= self.settings.quota_mb * MEGABYTE:
                continue
            if self._remove(row["path"], "age" if old else "quota", wall_ms):
                used -= row["bytes"]

    def _remove(self, path: str, why: str, wall_ms: int) -> bool:
        file = self.folder / path
        try:
            with file.open("r+b") as opened:
                opened.write(bytes(96))         # the sealed key: what may still lie in the cells of the disk cannot be read any more
                opened.flush()
                os.fdatasync(opened.fileno())
            file.unlink()
        except FileNotFoundError:
            why = "missing"
        except OSError as error:
            log.warning("%s: cannot be removed (%s)", file, error)
            return False
        self.store.removed(path, why, wall_ms)
        self._drop_folders(file)
        log.info("%s: removed (%s)", file, why)
        return True

    def _drop_folders(self, file: Path) -> None:
        """Folders of days, months and years that are empty now."""
        for folder in list(file.parents)[:3]:
            try:
                folder.rmdir()
            except OSError:
                return

    def erase(self, paths: Collection[str], wall_ms: int) -> int:
        """Remove these now, whatever their class; how many went. Raises RecordingRefusedError while the disk is missing."""
        with self._lock:
            self.check_disk()
            return sum(self._remove(path, "erased", wall_ms) for path in paths)

    # --- looking ------------------------------------------------------------------------------------------------------

    def sealed(self, path: str) -> Sealed:
        """A file for reading. Raises RecordingRefusedError when it is not there."""
        self.check_disk()
        file = self.folder / path
        if not file.is_file():
            raise RecordingRefusedError(f"{file}: the file is missing although the catalogue has it; `recordings verify` says what else is")
        return Sealed(file, self.device)

    def verify(self) -> Checked:
        """Compare chain, catalogue and disk. Raises RecordingRefusedError while the disk is missing."""
        self.check_disk()
        self.store.flush()
        promised, wrong = self.store.chain()
        rows = {str(row["path"]): str(row["state"]) for row in self.store.rows()}
        for path, wanted in promised.items():
            file = self.folder / path
            if path not in rows:
                wrong.append(f"{path}: taken out of the catalogue")
            if not file.is_file():
                wrong.append(f"{path}: the file is missing")
            elif digest(file) != wanted:
                wrong.append(f"{path}: the file was changed")
        wrong += [f"{path}: in the catalogue, but never sealed" for path, state in rows.items() if state != "open" and path not in promised]
        known = {self.folder / path for path in rows}
        for file in self.folder.glob(f"*/*/*/*{SUFFIX}"):
            if file not in known and file.relative_to(self.folder).as_posix() not in promised:
                wrong.append(f"{file.relative_to(self.folder).as_posix()}: a file that the catalogue does not know")
        return Checked(len(promised), sorted(wrong))
