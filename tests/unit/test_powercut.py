"""States after a power cut: nothing that was flushed is missing, everything after it may be, sector by sector."""

from __future__ import annotations

import random
import sqlite3
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.vm.powercut import (
    DISCARD,
    FLUSH,
    FUA,
    Check,
    Disk,
    Found,
    Mark,
    PowerCutError,
    _contacts,
    _copy_part,
    drawn,
    environment,
    order,
    read,
    survivors,
)

SECTOR = 512


def log_of(path: Path, entries: list[tuple[int, bytes, int]]) -> Path:
    """A log as the emulator writes it: (sector, data, flags)."""
    out = bytearray(struct.pack("<QQQI", 0x6A736677736872, 1, len(entries), SECTOR).ljust(SECTOR, b"\0"))
    for first, data, flags in entries:
        out += struct.pack("<QQQQ", first, len(data) // SECTOR, flags, 0).ljust(SECTOR, b"\0")
        out += b"" if flags & DISCARD else data
    path.write_bytes(bytes(out))
    return path


def block(value: int, sectors: int = 1) -> bytes:
    return bytes([value]) * SECTOR * sectors


def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", [(3, block(1, 2), 0), (0, b"", FLUSH), (8, block(2), DISCARD), (5, block(3), FUA)])
    sector, entries = read(log)
    assert sector == SECTOR
    assert [(one.at, one.size, one.flags) for one in entries] == [(1536, 1024, 0), (0, 0, FLUSH), (4096, 512, DISCARD), (2560, 512, FUA)]


@pytest.mark.parametrize("content", [b"", b"x" * 600, struct.pack("<QQQI", 0x6A736677736872, 1, 9, SECTOR).ljust(700, b"\0")])
def test_what_is_no_log_or_ends_early_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(PowerCutError):
        read(tmp_path / "log")


@given(
    st.lists(st.tuples(st.integers(0, 15), st.integers(1, 3), st.sampled_from([0, 0, 0, FLUSH, FUA])), max_size=20),
    st.integers(0, 20),
    st.integers(0, 1 << 30),
)
def test_each_state_has_all_that_was_flushed_and_of_the_rest_only_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]], cut: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    before = folder / "disk"
    before.write_bytes(bytes(20 * SECTOR))
    entries = [(first, b"" if flags == FLUSH else block(number + 1, size), flags) for number, (first, size, flags) in enumerate(rows)]
    disk = Disk(before, log_of(folder / "log", entries), folder)
    cut = min(cut, len(entries))
    for other in (len(entries), cut // 2):           # states made before leave nothing behind
        disk.after(other, random.Random(seed + 1))
    state = disk.after(cut, random.Random(seed)).read_bytes()
    flushed = max((number + 1 for number, row in enumerate(entries[:cut]) if row[2] & FLUSH), default=0)
    for sector in range(18):
        sure, may = 0, set()
        for number, (first, data, flags) in enumerate(entries[:cut]):
            if first <= sector < first + len(data) // SECTOR:
                if number < flushed or flags & FUA:
                    sure, may = number + 1, set()
                else:
                    may.add(number + 1)
        found = state[sector * SECTOR : (sector + 1) * SECTOR]
        assert found == block(found[0]), "a sector is never torn"
        assert found[0] in {sure, *may}


def test_what_was_not_flushed_is_sometimes_there_and_sometimes_not(tmp_path: Path) -> None:
    _, entries = read(log_of(tmp_path / "log", [(0, block(1, 8), 0), (0, b"", FLUSH), (8, block(2, 8), 0)]))
    sizes = {sum(size for one, _, size in survivors(entries, 3, SECTOR, random.Random(seed), 2) if one.at) for seed in range(60)}
    assert {0, 8 * SECTOR} < sizes, "all, nothing and parts of it"


def copy(flag: int, **values: str) -> bytes:
    """One copy of the boot loader's environment."""
    body = b"".join(f"{name}={value}\0".encode() for name, value in values.items()).ljust(0x2000 - 5, b"\0")
    return struct.pack("<IB", zlib.crc32(body), flag) + body


def test_the_newer_valid_copy_of_the_boot_environment_counts() -> None:
    old, new = copy(4, BOOT_ORDER="A B"), copy(5, BOOT_ORDER="B A")
    assert environment([old, new]) == environment([new, old]) == {"BOOT_ORDER": "B A"}
    assert environment([copy(255, BOOT_ORDER="A B"), copy(0, BOOT_ORDER="B A")]) == {"BOOT_ORDER": "B A"}
    torn = new[:512] + bytes([new[512] ^ 1]) + new[513:]
    assert environment([old, torn]) == {"BOOT_ORDER": "A B"}
    assert environment([torn, b""]) is None


def test_the_boot_loader_comes_to_slots_with_tries_in_their_order() -> None:
    assert order({"BOOT_ORDER": "B A", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "0"}) == ["A"]
    assert order({"BOOT_ORDER": "B A", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "1"}) == ["B", "A"]
    assert order({"BOOT_ORDER": "B A", "BOOT_A_LEFT": "0", "BOOT_B_LEFT": "0"}) == ["A", "B"]
    assert order(None) == ["A", "B"]


@pytest.mark.parametrize(
    ("cut", "revision", "contacts", "wrong"),
    [
        (9, 0, "", 0),                  # nothing had been acknowledged yet
        (10, 3, "", 0),
        (10, 2, "", 1),
        (20, 3, "a b", 0),
        (20, 4, "a", 1),
        (30, 1, "", 2),
    ],
)
def test_what_was_acknowledged_before_the_cut_must_be_there(tmp_path: Path, cut: int, revision: int, contacts: str, wrong: int) -> None:
    marks = [Mark(10, revision=3), Mark(20, contacts=("a",)), Mark(20, contacts=("b",))]
    found = Found(revision=revision, contacts=frozenset(contacts.split()))
    Check([], tmp_path).due(found, cut, marks)
    assert len(found.wrong) == wrong


def test_only_records_that_are_closed_count_as_there(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "calls.db") as base:
        base.execute("CREATE TABLE contacts (id TEXT, ended_ms INTEGER)")
        base.executemany("INSERT INTO contacts VALUES (?, ?)", [("a", 5), ("b", None)])
    assert _contacts(tmp_path / "calls.db") == {"a"}
    (tmp_path / "torn").write_bytes(b"SQLite format 3\0" + bytes(5000))
    assert _contacts(tmp_path / "torn") == frozenset()


def test_a_partition_is_copied_with_its_holes_to_the_byte(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(8 << 20)
        for at, data in ((1 << 20, b"before"), ((2 << 20) + 100, b"inside" * 3000), ((4 << 20) - 3, b"across the end")):
            file.seek(at)
            file.write(data)
    _copy_part(disk, 2 << 20, 2 << 20, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == disk.read_bytes()[2 << 20 : 4 << 20]
    _copy_part(disk, 6 << 20, 2 << 20, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == bytes(2 << 20)


def test_cuts_are_drawn_in_ascending_order_and_some_are_started() -> None:
    cuts = drawn(100, 40, 3, 7)
    assert [cut for cut, _, _ in cuts] == sorted(cut for cut, _, _ in cuts) and len(cuts) == 40
    assert sum(start for _, _, start in cuts) == 3 and not any(start for _, _, start in drawn(100, 40, 0, 7))
    assert drawn(100, 40, 3, 7) == cuts != drawn(100, 40, 3, 8)
