"""Cards are written whole and proved; what is no card is refused, this computer's own disks first of all."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
from pathlib import Path

import pytest

from tests.unit.test_image_tools import BUILDROOT, load
from tools import flash

MIB = 1 << 20
block_map = load(BUILDROOT / "common" / "images.py").block_map


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """7 MiB with holes: data at the start, in the middle, at the end."""
    path, noise = tmp_path / "disk.img", random.Random(7)
    with path.open("wb") as file:
        for at, size in ((0, 300_000), (2 * MIB + 4096, 70_000), (7 * MIB - 8192, 8192)):
            file.seek(at)
            file.write(noise.randbytes(size))
    return path


def card(folder: Path, size: int = 9 * MIB, name: str = "card") -> Path:
    """A card that was used before: no byte of it is zero."""
    path = folder / name
    path.write_bytes(b"\xa5" * size)
    return path


def content(path: Path, size: int) -> str:
    return hashlib.sha256(path.read_bytes()[:size]).hexdigest()


@pytest.mark.parametrize("mapped", [True, False])
def test_a_used_card_becomes_the_image_to_the_byte(tmp_path: Path, image: Path, mapped: bool) -> None:
    if mapped:
        image.with_name("disk.img.bmap").write_text(block_map(image))
    target = card(tmp_path)
    done = flash.flash(image, target)
    assert target.read_bytes()[: 7 * MIB] == image.read_bytes()
    assert target.read_bytes()[7 * MIB :] == b"\xa5" * (2 * MIB)
    assert done["sha256"] == content(image, 7 * MIB)
    assert done["written"] < MIB, "holes are not written from the image"


def test_several_cards_at_once_and_one_that_is_too_small(tmp_path: Path, image: Path) -> None:
    cards = [card(tmp_path, name="one"), card(tmp_path, 3 * MIB, "small"), card(tmp_path, name="two")]
    rows, interrupted = flash.flash_all(image, cards)
    assert not interrupted
    assert ["error" in row for row in rows] == [False, True, False]
    assert "too small" in rows[1]["error"]
    assert content(cards[0], 7 * MIB) == content(cards[2], 7 * MIB) == content(image, 7 * MIB)


def test_a_card_that_reads_differently_fails_with_the_place(tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, honest = card(tmp_path), flash.Card.write

    def faulty(self: flash.Card, at: int, data: bytes) -> None:
        honest(self, at, data[:5000] + b"\x00" + data[5001:] if at == 2 * MIB + 4096 else data)

    monkeypatch.setattr(flash.Card, "write", faulty)
    with pytest.raises(flash.FlashError, match=f"byte {2 * MIB + 4096 + 5000}"):
        flash.flash(image, target)


def test_a_damaged_image_is_found_by_its_block_map(tmp_path: Path, image: Path) -> None:
    image.with_name("disk.img.bmap").write_text(block_map(image))
    with image.open("r+b") as file:
        file.seek(2 * MIB + 5000)
        file.write(b"flip")
    with pytest.raises(flash.FlashError, match="image is damaged"):
        flash.flash(image, card(tmp_path))


@pytest.mark.parametrize("text", ["", "<bmap/>", "<bmap><BlockSize>4096</BlockSize><ImageSize>1</ImageSize></bmap>"])
def test_a_block_map_of_something_else_is_refused(tmp_path: Path, image: Path, text: str) -> None:
    image.with_name("disk.img.bmap").write_text(text)
    target = card(tmp_path)
    with pytest.raises(flash.FlashError):
        flash.flash(image, target)
    assert target.read_bytes() == b"\xa5" * (9 * MIB), "nothing was written"


@pytest.mark.parametrize("piece", range(6))
def test_an_interrupted_card_does_not_start_and_is_simply_flashed_again(tmp_path: Path, image: Path, piece: int) -> None:
    target, stop = card(tmp_path), threading.Event()
    turns = 0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal turns
        turns += 1
        if turns > piece and what == "write":
            stop.set()

    try:
        flash.flash(image, target, progress, stop)
    except flash.FlashError as error:
        assert "interrupted" in str(error)
        assert target.read_bytes()[:MIB] == bytes(MIB), "no partition table: such a card never starts"
    flash.flash(image, target)
    assert content(target, 7 * MIB) == content(image, 7 * MIB)


# --- which disks ------------------------------------------------------------------------------------------------------


class Desk:
    """Folders like /sys and /proc of a computer with one disk `name`."""

    def __init__(self, folder: Path) -> None:
        self.sys, self.proc = folder / "sys", folder / "proc"
        (self.proc / "self").mkdir(parents=True)
        (self.sys / "block").mkdir(parents=True)
        self.mounts, self.count = "", 0

    def disk(self, name: str, *, removable: str = "1", way: str = "pci0/usb1/1-2", parts: int = 2, kind: str = "", ro: str = "0",
             size: int = 62_000_000) -> None:  # fmt: skip
        real = self.sys / "devices" / way / name
        (real / "device").mkdir(parents=True)
        self.count += 16
        facts = {"dev": f"8:{self.count}", "removable": removable, "ro": ro, "size": f"{size}", "device/model": "R", "device/type": kind}
        for path, text in facts.items():
            (real / path).write_text(text + "\n")
        (self.sys / "block" / name).symlink_to(real)
        (self.sys / "class" / "block").mkdir(parents=True, exist_ok=True)
        for number in range(1, parts + 1):
            part = real / f"{name}{number}"
            (part / "holders").mkdir(parents=True)
            (part / "partition").write_text(f"{number}\n")
            (part / "dev").write_text(f"8:{self.count + number}\n")
            (self.sys / "class" / "block" / part.name).symlink_to(part)

    def computer(self) -> flash.Computer:
        (self.proc / "self" / "mountinfo").write_text(self.mounts)
        return flash.Computer(self.sys, self.proc)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


def test_cards_are_taken(desk: Desk) -> None:
    desk.disk("sdb")
    desk.disk("sdc", removable="0")                                            # a reader at USB that does not say so
    desk.disk("mmcblk0", removable="0", way="pci0/mmc_host/mmc0", kind="SD")
    assert [disk.refused for disk in desk.computer().disks()] == ["", "", ""]


@pytest.mark.parametrize(
    ("mounts", "says"),
    [("22 1 8:17 / / rw - ext4 /dev/sdb1 rw\n", "mounted at /"), ("22 1 8:18 / /home rw - ext4 /dev/sdb2 rw\n", "mounted at /home"),
     ("22 1 0:40 / /data rw - btrfs /dev/sdb2 rw\n", "mounted at /data"),
     ("22 1 8:16 / /media rw - vfat /dev/sdb rw\n", "mounted at /media")],
)  # fmt: skip
def test_the_system_disk_and_whatever_is_mounted_is_refused(desk: Desk, mounts: str, says: str) -> None:
    desk.disk("sdb")                                                           # even at USB: some computers start from there
    desk.mounts = mounts
    assert says in desk.computer().judge("sdb").refused


def test_disks_that_are_built_in_part_of_a_volume_protected_or_empty_are_refused(desk: Desk) -> None:
    desk.disk("sda", removable="0", way="pci0/ata1")
    desk.disk("nvme0n1", removable="0", way="pci0/nvme")
    desk.disk("mmcblk1", removable="0", way="pci0/mmc_host/mmc1", kind="MMC")
    desk.disk("sdd")
    (desk.sys / "block" / "sdd" / "sdd2" / "holders" / "dm-0").mkdir()
    desk.disk("sde", ro="1")
    desk.disk("sdf", size=0)
    desk.disk("sdg")
    (desk.proc / "swaps").write_text("Filename Type Size Used Priority\n/dev/sdg1 partition 1 0 -2\n")
    computer = desk.computer()
    for name, says in (("sda", "built into"), ("nvme0n1", "built into"), ("mmcblk1", "built into"), ("sdd", "part of dm-0"),
                       ("sde", "write-protected"), ("sdf", "no card"), ("sdg", "swap")):  # fmt: skip
        assert says in computer.judge(name).refused, name


def test_partitions_and_names_of_nothing_are_refused(desk: Desk) -> None:
    desk.disk("sdb")
    for name, says in (("sdb1", "is a partition"), ("sdz", "no disk"), ("../sdb", "no disk")):
        with pytest.raises(flash.FlashError, match=says):
            desk.computer().judge(name)


def test_the_command_refuses_and_touches_nothing(desk: Desk, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk.disk("sda", removable="0", way="pci0/ata1")
    assert flash.main([str(image), "/dev/sda", "--yes"], desk.computer()) == 2
    assert "/dev/sda is refused: it is built into this computer" in capsys.readouterr().err
    target = card(tmp_path)                                                    # a file is no card
    assert flash.main([str(image), str(target), "--yes"], desk.computer()) == 2
    assert target.read_bytes() == b"\xa5" * (9 * MIB)


def test_this_computers_own_root_disk_is_refused() -> None:
    number = Path("/").stat().st_dev
    major, minor = os.major(number), os.minor(number)
    own = Path(f"/sys/dev/block/{major}:{minor}")
    if not own.exists():
        pytest.skip("the root of this machine is no disk")
    disk = own.resolve()
    name = disk.parent.name if (disk / "partition").exists() else disk.name
    assert flash.Computer().judge(name).refused


def test_a_report_has_a_line_for_each_card(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, small = card(tmp_path), card(tmp_path, MIB, "small")
    disks = [(path, flash.Disk(path.name, 9 * MIB, "Reader", "")) for path in (good, small)]
    monkeypatch.setattr(flash, "chosen", lambda *_: disks)
    report = tmp_path / "report.json"
    assert flash.main([str(image), "/dev/x", "/dev/y", "--yes", "--report", str(report)]) == 1
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    assert rows[0]["sha256"] == content(image, 7 * MIB) and "too small" in rows[1]["error"]
