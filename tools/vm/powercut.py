"""What is on the disk after a power cut: `python -m tools.vm.powercut DISK LOG --slots FILE [--states N] [--seed S]`.

Theory of operation
-------------------
Killing an emulator loses nothing that the guest has handed over, so it does not show what a power cut does. The emulator therefore logs
every write and every flush (the form of dm-log-writes, `Machine(writes=True)`). A disk keeps what was written before the last flush, and
of what came after it any part, in any order, each sector as a whole: such a state is made of the disk as it was before, all writes up to
the last flush before a random moment, and a random subset of sectors of the writes since. Writes with "force unit access" are never lost.
Of each state is checked what a start would meet: both copies of the boot loader's environment and the slot it would take, that this slot
is one of the known images to the byte (else one that comes after it), the state partition after what `system/start` does to it, every
database in it, the configuration as the appliance itself reads it, and what had been acknowledged by then (`Mark`): no older
configuration, and the record of each call that somebody has seen. `--boot N` also starts N of the states in the emulator, to the log-in.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from firmware.errors import PbxError
from firmware.store.configuration import in_force

from .machine import Machine, MachineError, partition
from .settings import load

MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
ENVIRONMENT = 0x2000
TRIES = 3


class PowerCutError(Exception):
    """The log cannot be read."""


class Mark(msgspec.Struct, frozen=True):
    """What had been acknowledged when the log had so many entries: a revision of the configuration, identities of contacts."""

    entries: int
    revision: int = 0
    contacts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Write:
    """An entry of the log. `at`, `size`: bytes of the disk; `data`: where in the log they are."""

    at: int
    size: int
    data: int
    flags: int


def read(log: Path) -> tuple[int, list[Write]]:
    """Size of a sector, and all entries that the log's head knows. Raises PowerCutError."""
    with log.open("rb") as file:
        head = file.read(28)
        if len(head) < 28 or struct.unpack_from("<QQ", head)[:2] != (MAGIC, 1):
            raise PowerCutError(f"{log} is no log of writes")
        count, sector = struct.unpack_from("<QI", head, 16)
        entries, at = [], sector
        for number in range(count):
            file.seek(at)
            fields = file.read(32)
            if len(fields) < 32:
                raise PowerCutError(f"{log} ends in entry {number} of {count}")
            first, sectors, flags, _ = struct.unpack("<QQQQ", fields)
            at += sector
            entries.append(Write(first * sector, sectors * sector, at, flags))
            if not flags & DISCARD:
                at += sectors * sector
    return sector, entries


def flushed(entries: Sequence[Write], cut: int) -> int:
    """How many of the first `cut` entries are safe because a flush came after them."""
    return next((number for number in range(cut, 0, -1) if entries[number - 1].flags & FLUSH), 0)


def survivors(entries: Sequence[Write], cut: int, sector: int, chance: random.Random, kept: int) -> list[tuple[Write, int, int]]:
    """What a cut after `cut` entries may leave of those after `kept`: (entry, offset in it, bytes), in the order they are laid down."""
    left: list[tuple[Write, int, int]] = []
    share = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
    for one in entries[kept:cut]:
        if not one.size or one.flags & DISCARD:
            continue
        if one.flags & FUA:
            left.append((one, 0, one.size))
            continue
        start = None
        for at in range(0, one.size + sector, sector):
            stays = at < one.size and chance.random() < share
            if stays and start is None:
                start = at
            elif not stays and start is not None:
                left.append((one, start, at - start))
                start = None
    return left


class Disk:
    """The disk as it was, and the states that a cut can leave of it, made in a file of its own.

    What is flushed before a cut stays laid down, so cuts are cheapest in ascending order; what only may have survived is taken back
    (`undo`) before the next state is made.
    """

    def __init__(self, before: Path, log: Path, work: Path) -> None:
        self.sector, self.entries = read(log)
        self._before, self._log, self.path = before, log, work / "state.img"
        self._laid = -1
        self._old: list[tuple[int, bytes]] = []
        self._touched: list[tuple[int, int]] = []

    def after(self, cut: int, chance: random.Random) -> Path:
        """The state after a cut at this entry."""
        self.undo()
        kept = flushed(self.entries, cut)
        if not 0 <= self._laid <= kept:
            subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(self._before), str(self.path)], check=True)
            self._laid = 0
        with self._log.open("rb") as log, self.path.open("r+b") as disk:
            for one in self.entries[self._laid : kept]:
                if one.size and not one.flags & DISCARD:
                    _lay(log, disk, one, 0, one.size)
            self._laid = kept
            self._touched = []
            for one, offset, size in survivors(self.entries, cut, self.sector, chance, kept):
                disk.seek(one.at + offset)
                self._old.append((one.at + offset, disk.read(size)))
                self._touched.append((one.at + offset, size))
                _lay(log, disk, one, offset, size)
        return self.path

    def undo(self) -> None:
        """The disk as it is with all that was flushed and nothing else."""
        if self._old:
            with self.path.open("r+b") as disk:
                for at, data in reversed(self._old):
                    disk.seek(at)
                    disk.write(data)
        self._old = []

    def token(self, at: int, size: int) -> tuple[int, int] | None:
        """The same value for the same content of a part of the disk; None where nothing is known of it."""
        if any(first < at + size and at < first + length for first, length in self._touched):
            return None
        return at, sum(one.size > 0 and one.at < at + size and at < one.at + one.size for one in self.entries[: self._laid])


def _lay(log: BinaryIO, disk: BinaryIO, one: Write, offset: int, size: int) -> None:
    log.seek(one.data + offset)
    disk.seek(one.at + offset)
    disk.write(log.read(size))


# --- what a start meets -----------------------------------------------------------------------------------------------


def environment(copies: Sequence[bytes]) -> dict[str, str] | None:
    """What U-Boot believes of its two copies: the newer valid one; None where neither is valid."""
    valid = []
    for data in copies:
        if len(data) >= ENVIRONMENT and struct.unpack_from("<I", data)[0] == zlib.crc32(data[5:ENVIRONMENT]):
            valid.append((data[4], data[5:ENVIRONMENT]))
    if not valid:
        return None
    flag, body = valid[0]
    if len(valid) == 2 and ((valid[1][0] - flag) & 0xFF) in range(1, 128):
        body = valid[1][1]
    found = {}
    for line in body.split(b"\0\0")[0].split(b"\0"):
        name, equals, value = line.decode("utf-8", "replace").partition("=")
        if equals:
            found[name] = value
    return found


def order(stored: dict[str, str] | None) -> list[str]:
    """Slots in the order in which the boot loader comes to them; all, when no tries are left."""
    stored = stored or {}
    slots = stored.get("BOOT_ORDER", "A B").split()
    left = [slot for slot in slots if int(stored.get(f"BOOT_{slot}_LEFT", str(TRIES)), 16) > 0]
    return left or ["A", "B"]


@dataclass
class Found:
    """What is wrong with one state, and what was seen."""

    wrong: list[str] = field(default_factory=list)
    slot: str = ""
    repaired: bool = False
    lost_environment: bool = False
    revision: int = 0
    contacts: frozenset[str] = frozenset()


class Check:
    """Judges states. `images`: every root that belongs on a slot."""

    def __init__(self, images: Sequence[Path], work: Path) -> None:
        self._work = work
        self._images: dict[int, set[str]] = {}
        for path in images:
            self._images.setdefault(path.stat().st_size, set()).add(hashlib.sha256(path.read_bytes()).hexdigest())
        self._known: dict[tuple[int, int], bool] = {}

    def judge(self, state: Disk) -> Found:
        """All checks of one state."""
        found = Found()
        self._boot(state, found)
        self._state(state.path, found)
        return found

    def due(self, found: Found, cut: int, marks: Sequence[Mark]) -> None:
        """What was acknowledged before the cut is there."""
        past = [mark for mark in marks if mark.entries <= cut]
        revision = max((mark.revision for mark in past), default=0)
        if found.revision < revision:
            found.wrong.append(f"configuration {revision} was acknowledged, {found.revision} is there")
        lost = {one for mark in past for one in mark.contacts} - found.contacts
        if lost:
            found.wrong.append(f"records of calls were acknowledged and are lost: {' '.join(sorted(lost))}")

    def _boot(self, state: Disk, found: Found) -> None:
        disk = state.path
        offset, _ = partition(disk, "boot")
        copies = [self._file(disk, offset, name) for name in ("uboot.env", "uboot-r.env")]
        stored = environment(copies)
        found.lost_environment = stored is None
        try:
            slots = order(stored)
        except ValueError:
            found.wrong.append(f"the boot environment holds no numbers: {stored}")
            return
        for slot in slots:
            if self._intact(state, slot):
                found.slot = slot
                return
        found.wrong.append(f"no slot starts: the boot loader comes to {' '.join(slots)} and none is whole (environment {stored})")

    def _file(self, disk: Path, offset: int, name: str) -> bytes:
        done = subprocess.run(["mtype", "-i", f"{disk}@@{offset}", f"::{name}"], capture_output=True, check=False)
        return done.stdout

    def _intact(self, state: Disk, slot: str) -> bool:
        offset, size = partition(state.path, f"slot-{slot.lower()}")
        token = state.token(offset, size)
        if token is not None and token in self._known:
            return self._known[token]
        whole = False
        with state.path.open("rb") as file:
            for length, digests in self._images.items():
                file.seek(offset)
                whole = whole or hashlib.sha256(file.read(length)).hexdigest() in digests
        if token is not None:
            self._known[token] = whole
        return whole

    def _state(self, disk: Path, found: Found) -> None:
        offset, size = partition(disk, "state")
        part = self._work / "state.ext4"
        _copy_part(disk, offset, size, part)
        status = subprocess.run(["e2fsck", "-p", str(part)], capture_output=True, check=False).returncode
        if status >= 4:
            found.repaired = True
            status = subprocess.run(["e2fsck", "-y", str(part)], capture_output=True, check=False).returncode
            if status >= 4:
                found.wrong.append(f"the state partition cannot be repaired (e2fsck {status})")
                return
        folder = self._work / "files"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        subprocess.run(["debugfs", "-R", f"rdump / {folder}", str(part)], capture_output=True, check=False)
        state = folder / "pbx"
        for path in sorted(state.glob("*.db")):
            self._database(path, found)
        if (state / "calls.db").exists():
            found.contacts = _contacts(state / "calls.db")
        if state.is_dir():
            try:
                kept = in_force(state / "config")
                found.revision = kept.revision.number if kept is not None else 0
            except (PbxError, OSError, ValueError) as error:
                found.wrong.append(f"the configuration cannot be read: {error}")

    def _database(self, path: Path, found: Found) -> None:
        try:
            with sqlite3.connect(path) as base:
                said = [str(row[0]) for row in base.execute("PRAGMA integrity_check")]
        except sqlite3.Error as error:
            said = [str(error)]
        if said != ["ok"]:
            found.wrong.append(f"{path.name}: {said[0][:200]}")


def _copy_part(disk: Path, offset: int, size: int, target: Path) -> None:
    """A partition as a file, its holes left out."""
    target.unlink(missing_ok=True)
    source, out = os.open(disk, os.O_RDONLY), os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.ftruncate(out, size)
        at, end = offset, offset + size
        while at < end:
            try:
                at = os.lseek(source, at, os.SEEK_DATA)
            except OSError:                      # nothing but a hole up to the end
                break
            until = min(os.lseek(source, at, os.SEEK_HOLE), end)
            while at < until:
                data = os.pread(source, min(until - at, 1 << 20), at)
                os.pwrite(out, data, at - offset)
                at += len(data)
    finally:
        os.close(source)
        os.close(out)


def _contacts(path: Path) -> frozenset[str]:
    """Calls whose record is closed."""
    try:
        with sqlite3.connect(path) as base:
            return frozenset(str(row[0]) for row in base.execute("SELECT id FROM contacts WHERE ended_ms IS NOT NULL"))
    except sqlite3.Error:
        return frozenset()


class Starter:
    """Starts states in the emulator, until the log-in is asked for at the serial line."""

    def __init__(self, board: str, loader: Path, work: Path, patience_s: float = 600.0) -> None:
        self._board, self._loader, self._work, self._patience_s = load(board), loader, work, patience_s

    def wrong(self, disk: Path, slot: str) -> str:
        """Empty when the state starts from this slot, else what it did."""
        folder = self._work / "start"
        shutil.rmtree(folder, ignore_errors=True)
        machine = Machine(self._board.image.emulator, self._loader, disk, folder)
        try:
            machine.start()
            end = time.monotonic() + self._patience_s
            machine.expect(rf"BranchPBX \S+, slot {slot}", self._patience_s)
            machine.expect("1/2: |>", end - time.monotonic(), machine.console.rindex("BranchPBX"))
        except MachineError as error:
            return str(error)
        finally:
            machine.kill()
        return ""


class Tally(msgspec.Struct):
    """What was found in a row of states."""

    states: int = 0
    entries: int = 0
    slots: dict[str, int] = {}
    repaired: int = 0
    defaults: int = 0
    started: int = 0
    wrong: list[str] = []

    def add(self, other: Tally) -> None:
        """Another row."""
        self.states += other.states
        self.entries = max(self.entries, other.entries)
        self.repaired += other.repaired
        self.defaults += other.defaults
        self.started += other.started
        self.wrong += other.wrong
        for slot, count in other.slots.items():
            self.slots[slot] = self.slots.get(slot, 0) + count


class Job(msgspec.Struct, frozen=True):
    """States that one process makes and checks: (cut, seed, start it too), ascending."""

    disk: Path
    log: Path
    slots: tuple[Path, ...]
    marks: tuple[Mark, ...]
    cuts: tuple[tuple[int, int, bool], ...]
    board: str = "qemu-armv7"
    loader: Path | None = None


def replay(job: Job) -> Tally:
    """Make each state and judge it."""
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="branchpbx-powercut-") as name:
        work = Path(name)
        disk, check = Disk(job.disk, job.log, work), Check(job.slots, work)
        starter = Starter(job.board, job.loader, work) if job.loader is not None else None
        tally.entries = len(disk.entries)
        for cut, seed, start in job.cuts:
            disk.after(cut, random.Random(seed))
            found = check.judge(disk)
            check.due(found, cut, job.marks)
            if start and starter is not None and found.slot:
                tally.started += 1
                text = starter.wrong(disk.path, found.slot)
                if text:
                    found.wrong.append(f"does not start: {text}")
            tally.states += 1
            tally.repaired += found.repaired
            tally.defaults += found.lost_environment
            tally.slots[found.slot or "none"] = tally.slots.get(found.slot or "none", 0) + 1
            tally.wrong += [f"cut after entry {cut} (seed {seed}): {text}" for text in found.wrong]
    return tally


def drawn(entries: int, states: int, starts: int, seed: int) -> list[tuple[int, int, bool]]:
    """Random cuts in ascending order; of them so many, evenly spread, are started too."""
    chance = random.Random(seed)
    cuts = sorted((chance.randrange(entries + 1), chance.randrange(1 << 31)) for _ in range(states))
    chosen = {(2 * number + 1) * states // (2 * starts) for number in range(starts)} if starts else set()
    return [(cut, one, number in chosen) for number, (cut, one) in enumerate(cuts)]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: status 1 when a state does not start."""
    parser = argparse.ArgumentParser(prog="python -m tools.vm.powercut", description="Replay power cuts out of a log of writes.")
    parser.add_argument("disk", type=Path, help="the disk before the first logged write")
    parser.add_argument("log", type=Path)
    parser.add_argument("--slots", type=Path, required=True, metavar="FILE", help="JSON: the roots that belong on a slot")
    parser.add_argument("--states", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--marks", type=Path, default=None, help="JSON: what was acknowledged by when (`Mark`)")
    parser.add_argument("--boot", type=int, default=0, metavar="N", help="start so many of the states in the emulator")
    parser.add_argument("--loader", type=Path, default=None, help="boot loader for --boot")
    parser.add_argument("--board", default="qemu-armv7")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(argv)
    if options.boot and options.loader is None:
        parser.error("--boot needs --loader")
    marks = msgspec.json.decode(options.marks.read_bytes(), type=tuple[Mark, ...]) if options.marks else ()
    slots = tuple(Path(name) for name in msgspec.json.decode(options.slots.read_bytes(), type=list[str]))
    cuts = drawn(len(read(options.log)[1]), options.states, options.boot, options.seed)
    began, total, share = time.monotonic(), Tally(), -(-len(cuts) // max(1, options.jobs))
    jobs = [
        Job(options.disk, options.log, slots, marks, tuple(cuts[at : at + share]), options.board, options.loader)
        for at in range(0, len(cuts), max(1, share))
    ]
    with ProcessPoolExecutor(max(1, options.jobs)) as pool:
        for found in pool.map(replay, jobs):
            total.add(found)
    for text in total.wrong:
        print(text)
    print(f"{total.states} states of {total.entries} writes and flushes in {time.monotonic() - began:.0f} s, seed {options.seed}: "
          f"{len(total.wrong)} wrong; slots {total.slots}; {total.started} started in the emulator; {total.repaired} state partitions "
          f"needed more than their journal; {total.defaults} without a valid boot environment; {len(marks)} acknowledgements")  # fmt: skip
    return int(bool(total.wrong))


if __name__ == "__main__":
    sys.exit(main())
