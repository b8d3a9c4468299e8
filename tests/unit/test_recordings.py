"""Recordings on the disk: sealed, catalogued, chained; room is made by age and quota, never on a disk that is missing."""

from __future__ import annotations

import io
import os
import sqlite3
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.call.times import LocalTime
from firmware.config.schema.recording import Recording
from firmware.core import recordings as module
from firmware.core.recordings import MARK, Opened, RecordingRefusedError, Recordings
from firmware.dsp import vault
from firmware.errors import StoreError
from firmware.store.db import Database
from firmware.store.recordings import Found, RecordingStore
from firmware.store.vault import DeviceKey, Sealed, to_wav

DAY = 86_400_000
NOW = 1_767_400_000_000
LOCAL = LocalTime(2026, 1, 3, 9, 0)
DEVICE = DeviceKey(bytes(range(32)))


class Box:
    """A box with its catalogue; `again` is a new process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = ""
        self.settings = Recording(reserve_mb=1)
        self.again()

    def again(self, device: DeviceKey = DEVICE) -> None:
        if hasattr(self, "db"):
            self.db.close()
        self.db = Database(self.folder / "calls.db", "calls")
        self.store = RecordingStore(self.db, device, self._keep, lambda: self.kept)
        self.recordings = Recordings(self.folder / "recordings", self.settings, self.store, device)

    def _keep(self, text: str) -> None:
        self.kept = text

    def one(self, contact: str, seconds: float = 1.0, at: int = NOW, keep: str = "", end: bool = True) -> str:
        """A finished recording."""
        opened = self.recordings.open(contact, "L1", LOCAL, at, keep=keep)
        write(opened, seconds, end)
        self.recordings.finish(opened.path, 0, "", at)
        assert self.store.flush()
        return opened.path

    def paths(self) -> list[str]:
        assert self.store.flush()
        return [row["path"] for row in self.store.find(Found())]

    def files(self) -> list[str]:
        return sorted(path.relative_to(self.recordings.folder).as_posix() for path in self.recordings.folder.rglob("*.rec"))


def write(opened: Opened, seconds: float, end: bool = True) -> None:
    """What media does: pieces of half a second, then the last one."""
    index = 0
    os.lseek(opened.descriptor, 0, os.SEEK_END)
    while seconds > 0:
        frames = int(8000 * min(seconds, 0.5))
        os.write(opened.descriptor, vault.seal(opened.key, opened.ident, index, bytes([index % 251, 1]) * (2 * frames)))
        index, seconds = index + 1, seconds - 0.5
    if end:
        os.write(opened.descriptor, vault.seal(opened.key, opened.ident, index, b"", True))
    os.close(opened.descriptor)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.db.close()


def test_a_recording_is_catalogued_and_reads_as_it_was_written(box: Box) -> None:
    path = box.one("C1", 1.25)
    row = box.store.one(path)
    assert row is not None
    assert (row["state"], row["frames"]) == ("whole", 10000)
    target = io.BytesIO()
    to_wav(box.recordings.sealed(path), target, "for the test")
    with wave.open(io.BytesIO(target.getvalue())) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 8000, 10000)
    assert b"for the test" in target.getvalue()
    assert box.recordings.verify().wrong == []


def test_no_recording_without_samples_leaves_file_row_or_link(box: Box) -> None:
    assert box.one("C1", 0)
    assert box.one("C2", 0, end=False)
    assert box.files() == box.paths() == []
    assert not list(box.recordings.folder.glob("*/*"))
    assert box.recordings.verify().checked == 0


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1))
def test_a_power_cut_at_any_byte_leaves_all_whole_pieces(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    folder = tmp_path_factory.mktemp("cut")
    header, key, ident = DEVICE.header()
    raw = header + b"".join(vault.seal(key, ident, index, bytes(1600)) for index in range(6)) + vault.seal(key, ident, 6, b"", True)
    file = folder / "one.rec"
    cut = int(share * len(raw))
    file.write_bytes(raw[:cut])
    sealed = Sealed(file, DEVICE)
    got = sum(len(content) for content in sealed)
    piece = 1600 + vault.HEAD + vault.TAG
    assert got == max(0, min(6, (cut - vault.HEADER) // piece)) * 1600
    assert sealed.how == ("whole" if cut == len(raw) else "cut")


def test_what_a_crash_left_open_is_booked_at_the_next_start(box: Box) -> None:
    opened = box.recordings.open("C1", "L1", LOCAL, NOW)
    write(opened, 1.0, end=False)
    going = box.recordings.open("C2", "L2", LOCAL, NOW)
    box.store.flush()
    box.again()
    assert box.recordings.collect({going.path}, NOW + 1000, NOW + 1000) == 1
    assert box.paths() == [opened.path]
    row = box.store.one(opened.path)
    assert row is not None
    assert (row["state"], row["frames"]) == ("cut", 8000)
    assert box.recordings.verify().wrong == []
    os.close(going.descriptor)


@pytest.mark.parametrize("place", [0, 30, 60, 200, -20, -1])
def test_a_changed_byte_is_seen(box: Box, place: int) -> None:
    path = box.one("C1")
    file = box.recordings.folder / path
    raw = bytearray(file.read_bytes())
    raw[place] ^= 1
    file.write_bytes(raw)
    assert box.recordings.verify().wrong == [f"{path}: the file was changed"]
    sealed = Sealed(file, DEVICE)
    list(sealed)
    assert sealed.how in ("broken", "foreign")


def test_removal_by_another_hand_is_seen(box: Box) -> None:
    one, two, three = (box.one(f"C{number}") for number in range(3))
    (box.recordings.folder / one).unlink()
    box.db.execute("DELETE FROM recordings WHERE path = ?", (two,))
    (box.recordings.folder / three).with_name("strange.rec").write_bytes(b"x")
    wrong = box.recordings.verify().wrong
    assert f"{one}: the file is missing" in wrong
    assert f"{two}: taken out of the catalogue" in wrong
    assert any("strange.rec: a file that the catalogue does not know" in line for line in wrong)


def test_the_chain_cannot_be_changed_or_shortened(box: Box, tmp_path: Path) -> None:
    for number in range(4):
        box.one(f"C{number}")
    box.db.close()
    for statement in ("DELETE FROM recording_chain WHERE seq = 2", "UPDATE recording_chain SET digest = 'x' WHERE seq = 2"):
        with sqlite3.connect(tmp_path / "calls.db") as plain, pytest.raises(sqlite3.IntegrityError, match="chain is never"):
            plain.execute(statement)
    with sqlite3.connect(tmp_path / "calls.db") as plain:
        plain.executescript("DROP TRIGGER recording_chain_kept; DROP TRIGGER recording_chain_fixed")
        plain.execute("UPDATE recording_chain SET why = 'x' WHERE seq = 2")
    box.again()
    assert any("link 2 of the chain" in line for line in box.recordings.verify().wrong)
    box.db.close()
    with sqlite3.connect(tmp_path / "calls.db") as plain:
        plain.execute("DELETE FROM recording_chain WHERE seq >= 3")
    box.again()
    assert any("the end of the chain is missing" in line for line in box.recordings.verify().wrong)


def test_age_goes_first_then_the_oldest_beyond_the_quota(box: Box) -> None:
    box.recordings.settings = Recording(reserve_mb=1, keep_days=10, classes={"complaint": 400}, quota_mb=1)
    old = box.one("C1", at=NOW - 11 * DAY)
    kept = box.one("C2", at=NOW - 11 * DAY, keep="complaint")
    big = [box.one(f"B{number}", 20.0, at=NOW - 5 * DAY + number) for number in range(2)]
    box.recordings.settings = Recording(reserve_mb=1, keep_days=10, classes={"complaint": 400}, quota_mb=1)
    assert box.recordings.sweep(NOW) == ""
    box.store.flush()
    left = box.paths()
    assert old not in left
    assert big[1] in left
    assert big[0] not in left
    assert kept not in left                # it was the oldest when the quota was passed
    assert box.files() == sorted(left)
    assert box.recordings.verify().wrong == []


def test_a_class_outlives_the_ordinary_time_and_the_country_bounds_it(box: Box) -> None:
    box.recordings.settings = Recording(keep_days=10, classes={"complaint": 400})
    assert (box.recordings.days(""), box.recordings.days("complaint")) == (10, 400)
    box.recordings.most_days = 183
    assert (box.recordings.days(""), box.recordings.days("complaint")) == (10, 183)


def test_a_missing_disk_is_told_and_nothing_is_removed(box: Box, tmp_path: Path) -> None:
    path = box.one("C1", at=NOW - 1000 * DAY)
    folder = box.recordings.folder
    folder.rename(tmp_path / "pulled out")
    folder.mkdir()                         # the mount point remains
    box.again()
    act: Callable[[], object]
    for act in (
        lambda: box.recordings.sweep(NOW), lambda: box.recordings.open("C2", "L", LOCAL, NOW), lambda: box.recordings.erase([path], NOW)
    ):  # fmt: skip
        with pytest.raises(RecordingRefusedError, match="missing or another one"):
            act()
    assert box.paths() == [path]
    folder.rmdir()
    (tmp_path / "pulled out").rename(folder)
    box.again()
    assert box.recordings.verify().wrong == []
    assert box.recordings.sweep(NOW) == ""
    assert box.paths() == []


def test_another_disk_is_used_only_after_it_was_accepted(box: Box, tmp_path: Path) -> None:
    path = box.one("C1")
    box.recordings.folder.rename(tmp_path / "old")
    box.recordings.folder.mkdir()
    (box.recordings.folder / MARK).write_text("another\n")
    box.again()
    with pytest.raises(RecordingRefusedError):
        box.recordings.open("C2", "L", LOCAL, NOW)
    box.recordings.accept_disk(NOW)
    assert path not in box.paths()
    box.one("C2")
    assert box.recordings.verify().wrong == []


def test_a_full_disk_refuses_and_ends_what_runs(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = box.one("C1")
    monkeypatch.setattr(module.os, "statvfs", lambda folder: os.statvfs_result((1, 1, 1, 1, 1, 1, 1, 1, 1, 255)))
    with pytest.raises(RecordingRefusedError, match="reserve_mb"):
        box.recordings.open("C2", "L", LOCAL, NOW)
    assert "recordings are ended" in box.recordings.sweep(NOW)
    assert box.paths() == [kept]           # others fill the disk: what is kept stays


def test_erased_means_unreadable_and_gone_from_the_list(box: Box) -> None:
    path = box.one("C1")
    copy = box.recordings.folder / "copy"
    os.link(box.recordings.folder / path, copy)
    assert box.store.known([path, "other"]) == [path]
    assert box.recordings.erase([path], NOW) == 1
    assert box.paths() == box.files() == box.store.known([path]) == []
    sealed = Sealed(copy, DEVICE)
    assert list(sealed) == []
    assert sealed.how == "broken"
    assert box.recordings.verify().wrong == []


def test_another_device_cannot_read(box: Box) -> None:
    path = box.one("C1")
    sealed = Sealed(box.recordings.folder / path, DeviceKey(bytes(32)))
    assert list(sealed) == []
    assert sealed.how == "foreign"


def test_the_device_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "recordings.key"
    first = DeviceKey.load(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert DeviceKey.load(path).key == first.key
    path.write_bytes(b"short")
    with pytest.raises(StoreError, match="bytes instead of"):
        DeviceKey.load(path)


def test_no_key_is_shown_where_a_value_is_logged(box: Box) -> None:
    opened = box.recordings.open("C1", "L1", LOCAL, NOW)
    os.close(opened.descriptor)
    assert repr(opened) == f"Opened({opened.path!r})"
