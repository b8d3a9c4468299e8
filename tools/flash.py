"""Writes an image to memory cards, several at the same time, and proves by reading back that each is what was meant.

    python tools/flash.py --list
    python tools/flash.py disk.img /dev/sdb /dev/sdc          asks once, names every card
    python tools/flash.py disk.img /dev/sdb --yes --report flashed.json

Theory of operation
-------------------
Only cards are taken: a whole disk that is removable, at USB, or an SD card; never one that carries this computer's root or swap, that is
mounted, part of a volume, or write-protected, nor the disk of any of these. The kernel is asked again when it is opened (O_EXCL).
The first MiB, with the partition table, is cleared first and written last: a card that was pulled out half done does not start, it never
starts wrongly. Of the image only the parts that hold data are written (IMAGE.bmap if it is there, checked against its sums; else the holes
of the file). Holes are given back to the card and must then read as zeros; where a card keeps old data instead, zeros are written. At the
end the whole card is read past the cache and compared. A run that was interrupted is simply repeated.
Boards with soldered memory are started through their processor's USB boot with snagboot and then appear as such a disk.
Status: 0 all written and proved, 1 a card failed, 2 wrong usage or refused, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

PIECE = 1 << 20
HEAD = 1 << 20
BLKGETSIZE64, BLKFLSBUF, BLKDISCARD, BLKRRPART = 0x80081272, 0x1261, 0x1277, 0x125F
MOST_BMAP = 16 << 20
ZEROS = bytes(PIECE)


class FlashError(Exception):
    """Why something is not done, for the person at the table."""


# --- which disks ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Disk:
    """A disk of this computer. `refused`: why it is none of our cards, or ""."""

    name: str
    size: int
    model: str
    refused: str


class Computer:
    """What the kernel tells of disks; `sys` and `proc` are folders, so that tests bring their own."""

    def __init__(self, sys: Path = Path("/sys"), proc: Path = Path("/proc")) -> None:
        self._sys, self._proc = sys, proc

    def _read(self, path: Path) -> str:
        try:
            return path.read_text(errors="replace").strip()
        except OSError:
            return ""

    def _used(self) -> dict[str, str]:
        """Device number -> what it is used for."""
        used = {}
        for line in self._read(self._proc / "self" / "mountinfo").splitlines():
            words = line.split()
            if len(words) > 4:
                used[words[2]] = f"mounted at {words[4]}"
                source = line.partition(" - ")[2].split()      # a file system of many disks has a device number of its own
                if len(source) > 1 and source[1].startswith("/dev/"):
                    used[self._read(self._sys / "class" / "block" / Path(source[1]).resolve().name / "dev")] = f"mounted at {words[4]}"
        for line in self._read(self._proc / "swaps").splitlines()[1:]:
            name = Path(line.split()[0]).name
            used[self._read(self._sys / "class" / "block" / name / "dev")] = "swap of this computer"
        used.pop("", None)
        return used

    def _parts(self, disk: Path) -> Iterator[Path]:
        """The disk and its partitions."""
        yield disk
        for part in sorted(disk.iterdir()):
            if (part / "partition").exists():
                yield part

    def judge(self, name: str) -> Disk:
        """A disk, by its kernel name."""
        disk = self._sys / "block" / name
        if not re.fullmatch(r"[a-z0-9!-]+", name) or not disk.exists():
            part = (self._sys / "class" / "block" / name / "partition").exists()
            raise FlashError(f"{name} is a partition; name the whole disk" if part else f"there is no disk {name}")
        size = int(self._read(disk / "size") or 0) * 512
        model = " ".join(filter(None, (self._read(disk / "device" / "vendor"), self._read(disk / "device" / "model"),
                                       self._read(disk / "device" / "name"))))  # fmt: skip
        return Disk(name, size, model, self._why_not(disk, size))

    def _why_not(self, disk: Path, size: int) -> str:
        used = self._used()
        for part in self._parts(disk):
            what = used.get(self._read(part / "dev"))
            if what:
                return f"{part.name} is {what}"
            holders = sorted(each.name for each in (part / "holders").iterdir()) if (part / "holders").is_dir() else []
            if holders:
                return f"{part.name} is part of {' '.join(holders)}"
        if self._read(disk / "ro") == "1":
            return "it is write-protected"
        if not size:
            return "there is no card in it"
        way = str(disk.resolve())
        card = self._read(disk / "device" / "type") == "SD"
        if self._read(disk / "removable") != "1" and "/usb" not in way and not card:
            return "it is built into this computer (neither removable nor at USB nor an SD card)"
        return ""

    def disks(self) -> list[Disk]:
        """All disks, cards first."""
        names = [path.name for path in (self._sys / "block").iterdir() if not re.match(r"(loop|ram|dm-|md|zram|sr|nbd)", path.name)]
        return sorted((self.judge(name) for name in names), key=lambda one: (bool(one.refused), one.name))


# --- the image --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extent:
    """Bytes `start` to `end` hold data; `digest` is their SHA-256, or ""."""

    start: int
    end: int
    digest: str = ""


def extents(image: Path) -> list[Extent]:
    """The parts of the image that hold data: of its block map, or of the file. Raises FlashError."""
    bmap = image.with_name(image.name + ".bmap")
    size = image.stat().st_size
    if not bmap.exists():
        return list(_data(image, size))
    if bmap.stat().st_size > MOST_BMAP:
        raise FlashError(f"{bmap} is no block map: it is too large")
    try:
        root = ElementTree.fromstring(bmap.read_text())
        block, wide = int(root.findtext("BlockSize", "")), int(root.findtext("ImageSize", ""))
        kind = root.findtext("ChecksumType", "sha256").strip()
        found = []
        for one in root.iterfind("BlockMap/Range"):
            first, _, last = (one.text or "").strip().partition("-")
            end = min((int(last or first) + 1) * block, wide)
            found.append(Extent(int(first) * block, end, one.get("chksum", "") if kind == "sha256" else ""))
    except (ElementTree.ParseError, ValueError) as error:
        raise FlashError(f"{bmap} is no block map ({error}); make the image again") from None
    inside = all(0 <= one.start < one.end <= size for one in found)
    if wide != size or not found or not inside or any(a.end > b.start for a, b in zip(found, found[1:], strict=False)):
        raise FlashError(f"{bmap} does not belong to {image.name} ({size} bytes); copy both again")
    return found


def _data(image: Path, size: int) -> Iterator[Extent]:
    with image.open("rb") as file:
        at = 0
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            yield Extent(start, at)


# --- one card ---------------------------------------------------------------------------------------------------------

Progress = Callable[[str, int, int], None]


class Card:
    """One card under the writer: a block device, or a file for tests and emulators."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.block = stat.S_ISBLK(path.stat().st_mode)
            self.descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_EXCL if self.block else 0))
        except OSError as error:
            raise FlashError(f"{path} cannot be opened ({error.strerror}); is it in use, or are you not root?") from None
        if self.block:
            self.size = struct.unpack("Q", fcntl.ioctl(self.descriptor, BLKGETSIZE64, bytes(8)))[0]
        else:
            self.size = os.fstat(self.descriptor).st_size

    def write(self, at: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            done = os.pwrite(self.descriptor, view, at)
            view, at = view[done:], at + done

    def forget(self) -> None:
        """What is written goes to the card, and what is read comes from it."""
        os.fsync(self.descriptor)
        if self.block:
            fcntl.ioctl(self.descriptor, BLKFLSBUF, 0)
        os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def give_back(self, start: int, end: int) -> None:
        """Tell the card that a part is not needed; a card that cannot be told keeps it."""
        if self.block:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.descriptor, BLKDISCARD, struct.pack("QQ", start, end - start))

    def close(self) -> None:
        if self.block:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.descriptor, BLKRRPART)
        os.close(self.descriptor)


def flash(image: Path, path: Path, progress: Progress = lambda *_: None, stop: threading.Event | None = None) -> dict[str, Any]:
    """Write `image` to the card at `path` and prove it; facts for the report. Raises FlashError."""
    began, parts, size = time.monotonic(), extents(image), image.stat().st_size
    card = Card(path)
    try:
        if card.size < size:
            raise FlashError(f"{path} is too small: {card.size >> 20} MiB, the image has {size >> 20}")
        source = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
        try:
            written = _write(card, source, parts, size, progress, stop)
            digest = _compare(card, source, size, progress, stop)
        finally:
            os.close(source)
    except OSError as error:
        raise FlashError(f"{path}: {error.strerror}; try another card, another reader") from None
    finally:
        card.close()
    return {"card": str(path), "bytes": size, "written": written, "sha256": digest, "seconds": round(time.monotonic() - began, 1)}


def _stopped(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise FlashError("interrupted; flash it again")


def _write(card: Card, source: int, parts: Sequence[Extent], size: int, progress: Progress, stop: threading.Event | None) -> int:
    head = os.pread(source, min(HEAD, size), 0)
    card.write(0, bytes(len(head)))
    card.forget()
    at = len(head)
    for part in [*parts, Extent(size, size)]:
        if part.start > at:
            card.give_back(at, part.start)
        at = max(at, part.end)
    total, done = sum(one.end - one.start for one in parts), 0
    for part in parts:
        digest, at = hashlib.sha256(), part.start
        while at < part.end:
            _stopped(stop)
            data = os.pread(source, min(PIECE, part.end - at), at)
            digest.update(data)
            if at + len(data) > len(head):
                skip = max(len(head) - at, 0)
                card.write(at + skip, data[skip:])
            at += len(data)
            done += len(data)
            progress("write", done, total)
        if part.digest and digest.hexdigest() != part.digest:
            raise FlashError(f"the image is damaged between byte {part.start} and {part.end} (its block map says so); copy it again")
    _clear_holes(card, parts, size, len(head), stop)
    card.forget()
    card.write(0, head)
    card.forget()
    return done


def _clear_holes(card: Card, parts: Sequence[Extent], size: int, first: int, stop: threading.Event | None) -> None:
    """Holes read as zeros afterwards; only what does not is written."""
    card.forget()
    at = first
    for part in [*parts, Extent(size, size)]:
        while at < part.start:
            _stopped(stop)
            data = os.pread(card.descriptor, min(PIECE, part.start - at), at)
            if data != ZEROS[: len(data)]:
                card.write(at, ZEROS[: len(data)])
            at += len(data)
        at = max(at, part.end)


def _compare(card: Card, source: int, size: int, progress: Progress, stop: threading.Event | None) -> str:
    digest, at = hashlib.sha256(), 0
    while at < size:
        _stopped(stop)
        meant, there = os.pread(source, min(PIECE, size - at), at), os.pread(card.descriptor, min(PIECE, size - at), at)
        if meant != there:
            same = next((i for i, (a, b) in enumerate(zip(meant, there, strict=False)) if a != b), min(len(meant), len(there)))
            raise FlashError(f"{card.path} reads differently from what was written at byte {at + same}: the card or the reader is bad")
        digest.update(there)
        at += len(meant)
        progress("verify", at, size)
    return digest.hexdigest()


# --- several cards ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def screen(names: Sequence[str]) -> Iterator[Callable[[str], Progress]]:
    """Progress of each card: bars on a terminal where `rich` is installed, nothing elsewhere."""
    rich: Any = None
    if sys.stderr.isatty():
        with contextlib.suppress(ImportError):
            rich = import_module("rich.progress")
    if rich is None:
        yield lambda _: lambda *_: None
        return
    columns = (
        rich.TextColumn("{task.description}"), rich.BarColumn(), rich.DownloadColumn(), rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(),
    )  # fmt: skip
    with rich.Progress(*columns, console=import_module("rich.console").Console(stderr=True)) as bars:
        tasks = {name: bars.add_task(name, total=None) for name in names}

        def of(name: str) -> Progress:
            def show(what: str, done: int, total: int) -> None:
                bars.update(tasks[name], description=f"{name} {what:<6}", completed=done, total=total)

            return show

        yield of


def flash_all(image: Path, cards: Sequence[Path]) -> tuple[list[dict[str, Any]], bool]:
    """All cards at the same time; facts of each, "error" where one failed, and whether it was interrupted."""
    stop = threading.Event()
    with screen([card.name for card in cards]) as bars, ThreadPoolExecutor(max_workers=len(cards)) as pool:

        def one(card: Path) -> dict[str, Any]:
            try:
                return flash(image, card, bars(card.name), stop)
            except FlashError as error:
                return {"card": str(card), "error": str(error)}

        jobs = [pool.submit(one, card) for card in cards]
        interrupted = False
        while True:
            try:
                return [job.result() for job in jobs], interrupted
            except KeyboardInterrupt:
                interrupted = True
                stop.set()


def chosen(computer: Computer, names: Sequence[str]) -> list[tuple[Path, Disk]]:
    """The disks that are named, each fit for it. Raises FlashError with everything that is wrong."""
    wrong, found = [], []
    for name in dict.fromkeys(names):
        path = Path(name).resolve()
        try:
            disk = computer.judge(path.name)
        except FlashError as error:
            wrong.append(str(error))
            continue
        if path.parent != Path("/dev") or disk.refused:
            wrong.append(f"{name} is refused: {disk.refused or 'it is no disk'}")
        found.append((path, disk))
    if wrong:
        raise FlashError("; ".join(wrong))
    return found


def main(argv: Sequence[str] | None = None, computer: Computer | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="flash", description="Write an image to memory cards and prove it by reading back.")
    parser.add_argument("image", nargs="?", type=Path)
    parser.add_argument("cards", nargs="*", metavar="/dev/CARD", help="whole disks; several are written at the same time")
    parser.add_argument("--list", action="store_true", help="list disks, and why one would be refused")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--report", type=Path, default=None, metavar="FILE", help="append a line of JSON for each card")
    options = parser.parse_args(argv)
    computer = computer or Computer()
    try:
        if options.list:
            for disk in computer.disks():
                print(f"/dev/{disk.name:<12} {disk.size / 1e9:7.1f} GB  {disk.model:<30} {disk.refused or 'a card'}")
            return 0
        if options.image is None or not options.image.is_file():
            raise FlashError(f"there is no image {options.image or ''}; see --help")
        if not options.cards:
            raise FlashError("name the cards; --list shows them")
        disks = chosen(computer, options.cards)
        extents(options.image)
    except FlashError as error:
        print(f"flash: {error}", file=sys.stderr)
        return 2
    for path, disk in disks:
        print(f"{path}  {disk.size / 1e9:.1f} GB  {disk.model}")
    if not options.yes and input(f"Everything on these {len(disks)} will be lost. Type yes: ").strip() != "yes":
        return 2
    results, interrupted = flash_all(options.image, [path for path, _ in disks])
    for row in results:
        row |= {"image": options.image.name, "time": time.strftime("%Y-%m-%dT%H:%M:%S")}
        verdict = f"FAILED: {row['error']}" if "error" in row else f"PASS, {row['seconds']} s, {row['sha256'][:16]}"
        print(f"{row['card']}: {verdict}")
    if options.report is not None:
        with options.report.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in results)
    return 130 if interrupted else int(any("error" in row for row in results))


if __name__ == "__main__":
    sys.exit(main())
