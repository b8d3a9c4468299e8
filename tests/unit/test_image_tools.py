"""Making the appliance image: what needs neither packages nor an emulator."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest

from firmware.app.site import read_site
from tools.vm import initramfs, modules, power, settings, uboot
from tools.vm.machine import MachineError, partition

TOP = Path(__file__).resolve().parents[2]
BUILDROOT = TOP / "buildroot"


def load(path: Path) -> ModuleType:
    """A script of the external tree, which is no package."""
    spec = importlib.util.spec_from_file_location(f"buildroot_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def module(name: str, depends: str = "", soft: str = "") -> bytes:
    """The part of a kernel module that says what it needs."""
    info = f"\0license=GPL\0depends={depends}\0name={name}\0"
    return ("\x7fELF" + info + (f"softdep=pre: {soft}\0" if soft else "")).encode()


def test_modules_come_after_what_they_depend_on(tmp_path: Path) -> None:
    for name, depends, soft in (
        ("ext4", "jbd2,mbcache", "crc32c"),
        ("jbd2", "", ""),
        ("mbcache", "", ""),
        ("crc32c", "", ""),
        ("virtio-blk", "virtio", ""),
    ):
        (tmp_path / f"{name}.ko").write_bytes(module(name, depends, soft))
    names = [name for name, _ in modules.ordered(tmp_path, ["ext4", "virtio_blk"], builtin=["virtio"])]
    assert names.index("jbd2") < names.index("ext4") and names.index("crc32c") < names.index("ext4")
    assert names[-1] == "virtio_blk" and "virtio" not in names


def test_a_module_that_the_kernel_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nosuch"):
        modules.ordered(tmp_path, ["nosuch"])


def test_the_initramfs_is_an_archive_that_the_kernel_reads_and_the_same_each_time(tmp_path: Path) -> None:
    import gzip

    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"program")
    for name in ("one", "two"):
        initramfs.build(busybox, [("ext4", b"object")], tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    data, names, at = gzip.decompress((tmp_path / "one").read_bytes()), [], 0
    while True:
        assert data[at : at + 6] == b"070701"
        size, length = int(data[at + 54 : at + 62], 16), int(data[at + 94 : at + 102], 16)
        name = data[at + 110 : at + 110 + length - 1].decode()
        if name == "TRAILER!!!":
            break
        names.append(name)
        at = (at + 110 + length + 3) // 4 * 4
        at = (at + size + 3) // 4 * 4
    assert {"init", "bin/busybox", "modules/order", "modules/ext4.ko", "dev/console"} <= set(names)


@pytest.mark.parametrize("lost", [uboot.unmet, load(BUILDROOT / "check.py").unmet])
def test_an_option_that_was_dropped_is_found(lost: object) -> None:
    asked = "BR2_A=y\nBR2_B=\"x\"\n# BR2_C is not set\n# BR2_D is not set\n" if lost is not uboot.unmet else (
        "CONFIG_A=y\nCONFIG_B=\"x\"\n# CONFIG_C is not set\n# CONFIG_D is not set\n"
    )  # fmt: skip
    result = asked.replace('_B="x"', '_B="y"').replace("# BR2_C is not set", "BR2_C=y").replace("# CONFIG_C is not set", "CONFIG_C=y")
    result = "\n".join(line for line in result.splitlines() if "_D" not in line)
    assert [re.sub("BR2|CONFIG", "", line) for line in lost(asked, result)] == ['_B="x"', "# _C is not set"]  # type: ignore[operator]


@pytest.mark.parametrize(
    "name", [path.name for path in sorted((TOP / "board").iterdir()) if "[image]" in (path / "board.toml").read_text()]
)
def test_the_site_file_of_an_image_is_right(name: str) -> None:
    assert read_site(TOP / "board" / name / "site.toml").problems == []


def test_every_word_of_the_overlay_is_known_to_both_ways_of_making_an_image() -> None:
    words = {word for path in (BUILDROOT / "overlay").rglob("*") if path.is_file() and not path.is_symlink()
             for word in re.findall(r"@([A-Z]+)@", path.read_text())}  # fmt: skip
    for maker in (TOP / "tools" / "vm" / "rootfs.py", BUILDROOT / "common" / "finish.py"):
        text = maker.read_text()
        assert words and all(f'"{word}": ' in text for word in words), maker


def test_no_account_of_the_image_has_a_password_or_a_shell() -> None:
    for line in (BUILDROOT / "overlay/etc/shadow").read_text().splitlines():
        assert line.split(":")[1] == "!"
    for line in (BUILDROOT / "overlay/etc/passwd").read_text().splitlines():
        assert line.endswith(":/bin/false")


def test_the_boot_loader_believes_only_the_counters_of_a_stored_environment() -> None:
    stored = {part.split(":")[0] for part in uboot.STORED.split(",")}
    text = (settings.load("qemu-armv7").folder / "uboot.env").read_text()
    assert stored == {"BOOT_ORDER", "BOOT_A_LEFT", "BOOT_B_LEFT", "RESCUE"} and all(f"\n{name}=" in text for name in stored - {"RESCUE"})
    assert "${RESCUE}" in text and "\nRESCUE=" not in text
    assert "CONFIG_ENV_WRITEABLE_LIST=y" in (TOP / "board/qemu-armv7/uboot.config").read_text()


def test_the_pinned_msgspec_is_the_one_that_buildroot_fetches() -> None:
    pinned = (TOP / "tools/requirements.txt").read_text()
    digest = re.search(r"sha256  (\w+)  msgspec-([\d.]+)\.tar\.gz", (BUILDROOT / "package/python-msgspec/python-msgspec.hash").read_text())
    assert digest is not None
    assert f"msgspec=={digest.group(2)}" in pinned and digest.group(1) in pinned
    assert f"VERSION = {digest.group(2)}\n" in (BUILDROOT / "package/python-msgspec/python-msgspec.mk").read_text()


def test_every_library_of_the_appliance_is_in_both_images() -> None:
    text = (TOP / "pyproject.toml").read_text()
    listed = re.search(r"^dependencies = \[(.*)\]$", text, re.MULTILINE)
    assert listed is not None
    names = re.findall(r'"([a-z0-9]+)', listed.group(1))
    packages = settings.load("qemu-armv7").image.packages
    chosen = (BUILDROOT / "package/branchpbx/Config.in").read_text()
    for name in (name.removeprefix("py") if name == "pyalsaaudio" else name for name in names):
        assert name == "msgspec" or f"python3-{name}" in packages, name
        assert f"PYTHON_{name.upper()} " in chosen, name


def test_a_block_map_names_every_block_that_is_not_zero(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(b"\0" * 8192 + b"a" * 4096 + b"b" * 4096 + b"\0" * 4096 + b"c" * 100)
    text = load(BUILDROOT / "common" / "images.py").block_map(image)
    found = re.findall(r'chksum="(\w+)">([\d-]+)<', text)
    assert found == [(hashlib.sha256(b"a" * 4096 + b"b" * 4096).hexdigest(), "2-3"), (hashlib.sha256(b"c" * 100).hexdigest(), "5")]
    assert "<MappedBlocksCount>3<" in text
    mine = re.search(r"<BmapFileChecksum>(\w{64})<", text)
    assert mine is not None and hashlib.sha256(text.replace(mine.group(1), "0" * 64).encode()).hexdigest() == mine.group(1)


def test_a_partition_is_found_by_its_name(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    table = bytearray(128 * 4)
    struct.pack_into("<QQ", table, 128 + 32, 2048, 4095)
    table[128 + 56 : 128 + 66] = "state".encode("utf-16-le")
    head = bytearray(512)
    struct.pack_into("<QII", head, 72, 2, 4, 128)
    disk.write_bytes(bytes(512) + bytes(head) + bytes(table))
    assert partition(disk, "state") == (2048 * 512, 2048 * 512)
    with pytest.raises(MachineError, match="slot-c"):
        partition(disk, "slot-c")


EMULATOR = """
import json, socket, sys
from pathlib import Path
turns = Path(sys.argv[1])
turn = len(turns.read_text().split())
turns.write_text(turns.read_text() + "on ")
control = next(word for word in sys.argv if word.startswith("socket,id=power,fd="))
link = socket.socket(fileno=int(control.rpartition("=")[2]))
assert b"qmp_capabilities" in link.recv(100)
for event in ({"QMP": {}}, {"return": {}}, {"event": "SHUTDOWN", "data": {"guest": True, "reason": sys.argv[2].split()[turn]}}):
    link.sendall(json.dumps(event).encode() + b"\\r\\n")
sys.exit(int(sys.argv[3]))
"""


@pytest.mark.parametrize(
    ("reasons", "status", "turns"),
    [
        ("guest-reset guest-reset guest-shutdown", 0, 3),
        ("host-qmp-quit", 0, 1),
        ("guest-reset", 1, 1),
    ],
)
def test_a_restart_of_the_guest_is_a_new_emulator_and_nothing_else_is(tmp_path: Path, reasons: str, status: int, turns: int) -> None:
    (tmp_path / "turns").write_text("")
    (tmp_path / "emulator.py").write_text(EMULATOR)
    command = [sys.executable, str(tmp_path / "emulator.py"), str(tmp_path / "turns"), reasons, str(status)]
    assert power.run(command) == status
    assert (tmp_path / "turns").read_text().split() == ["on"] * turns


def test_why_the_emulator_ended_is_what_it_told_last() -> None:
    assert power.reason(b'{"event": "SHUTDOWN", "data": {"reason": "guest-reset"}}\nhalf a li') == "guest-reset"
    assert power.reason(b'{"event": "RESET"}\n[1]\n') == ""
