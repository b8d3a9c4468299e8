"""The journal: what counts after a death in the middle of a write, and that it does not grow."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from firmware.call.model import Party
from firmware.call.state import ContactState, Kind, Phase
from firmware.core.journal import FILE, GROWN, Entry, Journal, Shared


def entry(name: str, at: int = 0, legs: dict[str, bytes] | None = None) -> Entry:
    return Entry(ContactState(name, Kind.INTERNAL, 0, Phase.TALKING, caller=Party("201")), legs or {}, at, 7)


def ids(folder: Path) -> list[str]:
    with closing(Journal(folder)) as journal:
        return [one.state.id for one in journal.load()[1]]


def test_the_last_word_on_each_contact_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for at in range(3):
        journal.contact(entry("C1", at, {"L1": bytes([at])}))
    journal.contact(entry("C2"))
    journal.contact(entry("C3"))
    journal.forget("C2")
    journal.shared(Shared(at=9))
    shared, entries = Journal(tmp_path).load()
    assert shared is not None and shared.at == 9
    assert [(one.state.id, one.at, one.legs, one.wall_offset) for one in entries] == [("C1", 2, {"L1": b"\2"}, 7), ("C3", 0, {}, 7)]


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.contact(entry("C1", 1))
    size = (tmp_path / FILE).stat().st_size
    journal.contact(entry("C1", 2))
    journal.forget("C9")
    assert (tmp_path / FILE).stat().st_size == size


def test_a_write_cut_anywhere_leaves_the_entries_before_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.contact(entry("C1", 1, {"L1": b"before"}))
    journal.contact(entry("C2"))
    whole = (tmp_path / FILE).read_bytes()
    journal.contact(entry("C1", 2, {"L1": b"after"}))
    torn = (tmp_path / FILE).read_bytes()
    for cut in range(len(whole), len(torn)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / FILE).write_bytes(torn[:cut])
        with closing(Journal(folder)) as found:
            assert [one.legs for one in found.load()[1]] == [{"L1": b"before"}, {}]
        with closing(Journal(folder)) as again:
            again.load()
            again.contact(entry("C3"))
        assert ids(folder) == ["C1", "C2", "C3"]
    flipped = bytearray(torn)
    flipped[len(whole) + 20] ^= 1
    (tmp_path / FILE).write_bytes(flipped)
    assert [one.legs for one in Journal(tmp_path).load()[1]] == [{"L1": b"before"}, {}]


def test_it_does_not_grow_with_the_number_of_changes(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for at in range(4000):
        journal.contact(entry("C1", at, {"L1": at.to_bytes(4) * 100}))
    assert (tmp_path / FILE).stat().st_size < 2 * GROWN
    assert ids(tmp_path) == ["C1"]


def test_a_full_disk_is_logged_and_leaves_no_torn_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path)
    journal.contact(entry("C1"))
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:10]))
    journal.contact(entry("C2"))
    monkeypatch.undo()
    assert "cannot be written" in caplog.text
    journal.contact(entry("C3"))
    assert ids(tmp_path) == ["C1", "C3"]


def test_an_entry_of_another_make_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path)
    journal.contact(entry("C1"))
    journal._note("C2", 0, 0, b"\xc1")
    assert ids(tmp_path) == ["C1"] and "C2 cannot be used" in caplog.text


def test_what_changes_together_is_one_write_and_each_record_of_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    real = os.write

    def write(file: int, data: bytes) -> int:
        writes.append(data)
        return real(file, data)

    with closing(Journal(tmp_path)) as journal:
        journal.contact(entry("C0"))
        monkeypatch.setattr(os, "write", write)
        with journal.together():
            journal.forget("C0")
            for n in range(1, 4):
                journal.contact(entry(f"C{n}"))
        assert len(writes) == 1
    assert ids(tmp_path) == ["C1", "C2", "C3"]
