"""What an image of Buildroot needs to start: kernel and initramfs in its slot, the boot loader's script, nothing of this machine."""

from __future__ import annotations

import gzip
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tools.vm import prove, settings, uboot

TOP = Path(__file__).resolve().parents[2]
BUILDROOT = TOP / "buildroot"
BOARDS = ["qemu-armv7", "am335x-linecard"]
# Parts of Python that Buildroot leaves out unless its option is set: what is imported, or the charset that is named.
OPTIONAL = {
    "BZIP2": r"import bz2|from bz2", "CURSES": r"import curses|from curses", "PYEXPAT": r"import xml\b|from xml\b",
    "READLINE": r"import readline", "SQLITE": r"import sqlite3|from sqlite3", "SSL": r"import ssl|from ssl", "XZ": r"import lzma|from lzma",
    "UNICODEDATA": r"import unicodedata|from unicodedata", "ZLIB": r"import zlib|from zlib",
    "CODECSCJK": r""".*["'](?:gbk|gb2312|gb18030|hz|big5|big5hkscs|shift_jis|euc[_-](?:jp|kr)|iso-?2022[_-]\w+)["']""",
}  # fmt: skip
# What stands for a module of the distribution's kernel in one that is built here, which has everything built in.
BUILT_IN = {
    "8021q": "VLAN_8021Q", "crc32c_generic": "EXT4_FS", "dm_mod": "BLK_DEV_DM", "dm_verity": "DM_VERITY", "ext4": "EXT4_FS",
    "loop": "BLK_DEV_LOOP", "nbd": "BLK_DEV_NBD", "nf_conntrack": "NF_CONNTRACK", "nf_tables": "NF_TABLES", "nft_ct": "NFT_CT",
    "nft_limit": "NFT_LIMIT", "nft_reject_inet": "NF_TABLES_INET", "nls_ascii": "NLS_ISO8859_1", "nls_cp437": "NLS_CODEPAGE_437",
    "sha256_generic": "CRYPTO_SHA256", "snd_aloop": "SND_ALOOP", "softdog": "SOFT_WATCHDOG", "squashfs": "SQUASHFS", "vfat": "VFAT_FS",
    "virtio_blk": "VIRTIO_BLK", "virtio_mmio": "VIRTIO_MMIO", "virtio_net": "VIRTIO_NET", "virtio_rng": "HW_RANDOM_VIRTIO",
}  # fmt: skip


def load(path: Path) -> ModuleType:
    """A script of the external tree, which is no package."""
    spec = importlib.util.spec_from_file_location(f"buildroot_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("board", BOARDS)
def test_the_boot_loaders_script_loads_what_is_in_the_slot(board: str) -> None:
    text = load(BUILDROOT / "common/environment.py").environment(TOP / "board" / board)
    assert not re.search(r"@[A-Z]+@", text)
    start = next(line for line in text.splitlines() if line.startswith("start="))
    assert "/boot/vmlinuz" in start and "/boot/initramfs" in start
    # bootz wants the size of the initramfs: it is what is loaded last.
    assert start.rindex("load ") == start.index("load ${disk}:${part} ${ramdisk_addr_r}")
    # Each `if` has its end, or the shell of the boot loader refuses the line.
    for line in text.splitlines():
        words = re.findall(r"\b(if|fi)\b", line.split("=", 1)[-1])
        assert words.count("if") == words.count("fi"), line


@pytest.mark.parametrize("board", BOARDS)
def test_buildroots_boot_loader_gets_the_options_by_their_newer_names(board: str) -> None:
    config = (BUILDROOT / "configs" / f"branchpbx_{board.replace('-', '_')}_defconfig").read_text()
    assert "common/uboot.fragment" in config and load(BUILDROOT / "check.py").board_of(config) == board
    stored = re.search(r'LIST_STATIC=\\"(.*)\\"', (BUILDROOT / "external.mk").read_text())
    assert stored is not None and stored.group(1) == uboot.STORED


def test_a_boot_loaders_option_that_was_dropped_is_told_after_the_build(tmp_path: Path) -> None:
    check = load(BUILDROOT / "check.py")
    (tmp_path / ".config").write_text('BR2_ROOTFS_POST_SCRIPT_ARGS="am335x-linecard"\n')
    made = tmp_path / "build" / "uboot-2026.01" / ".config"
    made.parent.mkdir(parents=True)
    asked = (BUILDROOT / "common/uboot.fragment").read_text() + (TOP / "board/am335x-linecard/uboot.config").read_text()
    made.write_text(asked)
    assert not [fault for fault in check.built(tmp_path) if "lost" in fault]
    made.write_text(asked.replace("CONFIG_ENV_REDUNDANT=y\n", ""))
    assert [fault for fault in check.built(tmp_path) if "lost" in fault] == ["uboot-2026.01: lost CONFIG_ENV_REDUNDANT=y"]


def test_kernel_and_initramfs_get_the_names_that_the_script_loads(tmp_path: Path) -> None:
    finish = load(BUILDROOT / "common/finish.py")
    with pytest.raises(SystemExit, match="no kernel"):
        finish.early(tmp_path)
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/lib").mkdir()
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/zImage").write_bytes(b"kernel")
    # This machine's own: a program that needs libraries, found by what it names.
    source = Path("/bin/sh").resolve()
    (tmp_path / "usr/bin/busybox").write_bytes(source.read_bytes())
    with pytest.raises(SystemExit, match=r"the library \S+ is not in"):
        finish.early(tmp_path)
    shown = subprocess.run(["ldd", str(source)], capture_output=True, text=True, check=True).stdout
    libraries = {Path(word).name: Path(word) for word in re.findall(r"(/\S+)", shown)}
    for name, path in libraries.items():
        (tmp_path / "usr/lib" / name).write_bytes(path.read_bytes())
    (tmp_path / "boot/vmlinuz").rename(tmp_path / "boot/zImage")
    finish.early(tmp_path)
    assert (tmp_path / "boot/vmlinuz").read_bytes() == b"kernel" and not (tmp_path / "boot/zImage").exists()
    data = gzip.decompress((tmp_path / "boot/initramfs").read_bytes())
    assert all(f"lib/{name}\0".encode() in data for name in libraries if name != "ld-linux-x86-64.so.2")


def test_nothing_compiled_or_translated_here_goes_into_the_image(tmp_path: Path) -> None:
    words = re.search(r"RSYNC_EXCLUSIONS = (.*\n.*)\n", (BUILDROOT / "package/branchpbx/branchpbx.mk").read_text())
    assert words is not None
    options = [word.strip("'") for word in words.group(1).replace("\\\n", " ").split()]
    names = ("build/prompts/en/a.wav", "build/buildroot/board/target/x", "build/vm/x", ".venv/x", "state/x", "firmware/dsp/a.c",
             "firmware/dsp/a.cpython-311-x86_64-linux-gnu.so", "firmware/dsp/a.pyx", "firmware/dsp/a.h", "firmware/__pycache__/a.pyc",
             ".mypy_cache/x", "firmware/state/a.py", "buildroot/package/branchpbx-codec/src/b.c")  # fmt: skip
    for name in names:
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).touch()
    try:
        subprocess.run(["rsync", "-au", *options, f"{tmp_path}/from/", str(tmp_path / "to")], check=True)
    except FileNotFoundError:
        pytest.skip("rsync, which Buildroot needs, is not installed")
    there = {str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").rglob("*") if path.is_file()}
    assert there == {"build/prompts/en/a.wav", "firmware/dsp/a.pyx", "firmware/dsp/a.h", "firmware/state/a.py",
                     "buildroot/package/branchpbx-codec/src/b.c"}  # fmt: skip


def test_buildroots_python_has_every_part_that_the_firmware_uses() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (TOP / "firmware").rglob("*.py") if "rescue" not in path.parts)
    asked = (BUILDROOT / "package/branchpbx/Config.in").read_text()
    used = {name for name, shown in OPTIONAL.items() if re.search(rf"^\s*(?:{shown})", text, re.MULTILINE)}
    assert {"SQLITE", "CODECSCJK"} <= used
    assert not {name for name in used if f"select BR2_PACKAGE_PYTHON3_{name}\n" not in asked}


def test_the_emulated_boards_own_kernel_has_built_in_what_is_a_module_elsewhere() -> None:
    asked = "".join((TOP / name).read_text() for name in ("buildroot/common/linux.fragment", "board/qemu-armv7/linux.fragment"))
    modules = settings.load("qemu-armv7").image.modules
    assert not [name for name in [*modules.initramfs, *modules.root] if f"CONFIG_{BUILT_IN[name]}=y\n" not in asked]


def test_a_root_without_python_or_without_an_emulator_for_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3.14-config").touch()
    with pytest.raises(SystemExit, match="has no Python"):
        prove.main([str(tmp_path)])
    (tmp_path / "usr/bin/python3.14").touch()
    monkeypatch.setattr("tools.vm.prove.shutil.which", lambda _: None)
    assert prove.main([str(tmp_path)]) == 3 and "not run" in capsys.readouterr().out
