"""The rescue on the emulated board: no slot has tries left, a technician installs over the network, the box starts.

What is installed is a small signed root of kernel, initramfs and a program that says its version: the way is the whole one, and short.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.vm import build, bundle, disk, fetch, initramfs, modules, rescue, rootfs, uboot
from tools.vm.machine import Machine, partition
from tools.vm.settings import BoardImage, load

NEW = "9.9.9"
INIT = """#!/usr/bin/busybox sh
echo "it starts: $(/usr/bin/busybox cat /usr/share/branchpbx/version), $(/usr/bin/busybox cat /proc/cmdline)" >/dev/console
[ ! -e /usr/share/branchpbx/fails ] || { /usr/bin/busybox sleep 1; /usr/bin/busybox reboot -f; }
/usr/bin/busybox sleep 100000
"""
PATIENCE_S = 600.0


def small_root(board: BoardImage, apt: fetch.Apt, folder: Path, version: str, fails: bool) -> Path:
    """A slot that starts and says so; `fails`: and restarts then, as a version that never becomes healthy."""
    linux, stage = rootfs.kernel(board, apt), folder / f"root-{version}"
    for name in ("boot", "dev", "proc", "sys", "usr/bin", "usr/sbin", "usr/share/branchpbx"):
        (stage / name).mkdir(parents=True)
    shutil.copy2(rescue.programs(board, apt) / rescue.BUSYBOX, stage / "usr/bin/busybox")
    shutil.copy2(next(linux.glob("boot/vmlinuz-*")), stage / "boot/vmlinuz")
    early = modules.ordered(linux, board.image.modules.initramfs, modules.builtins(linux))
    initramfs.build(stage / "usr/bin/busybox", early, stage / "boot/initramfs")
    (stage / "usr/bin/begin").write_text(INIT)
    (stage / "usr/bin/begin").chmod(0o755)
    (stage / "usr/sbin/init").symlink_to("../bin/begin")
    (stage / "sbin").symlink_to("usr/sbin")
    (stage / "usr/share/branchpbx/version").write_text(f"{version}\n")
    (stage / "usr/share/branchpbx/compatible").write_text(f"{board.image.compatible}\n")
    if fails:
        (stage / "usr/share/branchpbx/fails").touch()
    target = folder / f"{version}.squashfs"
    subprocess.run(["mksquashfs", str(stage), str(target), "-noappend", "-quiet", "-no-progress", "-comp", "zstd"], check=True)
    return target


@pytest.fixture
def board(tmp_path: Path) -> Iterator[tuple[Machine, Path]]:
    """A box whose version never becomes healthy, and a folder with a bundle to install."""
    kind = load("qemu-armv7")
    try:
        apt = fetch.Apt(kind.image.suite, kind.image.architecture)
        loader = uboot.build(kind, apt)
        keyring = bundle.keys(build.KEYS)
        system = build.system(kind, apt, "1.0.0", keyring)
        failing = small_root(kind, apt, tmp_path, "1.0.0", True)
        good = small_root(kind, apt, tmp_path, NEW, False)
    except fetch.NotFetched as error:
        pytest.skip(f"not run: {error}")
    bundle.make(good, NEW, kind.image.compatible, build.KEYS, tmp_path / "update.raucb")
    (tmp_path / "cut.raucb").write_bytes((tmp_path / "update.raucb").read_bytes()[:-5000])
    disk.build(kind, failing, tmp_path / "disk.img", system)
    machine = Machine(kind.image.emulator, loader, tmp_path / "disk.img", tmp_path / "board")
    yield machine, tmp_path
    machine.kill()


def test_after_three_failures_the_rescue_installs_over_the_network_and_the_box_starts(board: tuple[Machine, Path]) -> None:
    machine, folder = board
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        machine.start()
        at = 0
        for left in (2, 1, 0):
            at = machine.expect(rf"branchpbx: slot A, {left} tries left", PATIENCE_S, at).end()
            at = machine.expect(r"it starts: 1\.0\.0", PATIENCE_S, at).end()
        at = machine.expect(r"branchpbx: rescue \(failures\)", PATIENCE_S, at).end()
        at = machine.expect(r"slot A: version 1\.0\.0 .*; 0 tries left", PATIENCE_S, at).end()
        at = machine.expect(r"network: 10\.0\.2\.15/24 by DHCP", PATIENCE_S, at).end()
        machine.type(f"2http://10.0.2.2:{server.server_port}/cut.raucb\r")
        at = machine.expect(r"the bundle is damaged or incomplete", PATIENCE_S, at).end()
        machine.type(f"2http://10.0.2.2:{server.server_port}/update.raucb\r")
        at = machine.expect(rf"Version {NEW} is in slot B; it was read back", PATIENCE_S, at).end()
        machine.type("8")
        at = machine.expect(r"branchpbx: slot B, 2 tries left", PATIENCE_S, at).end()
        machine.expect(rf"it starts: {NEW}, .*rauc\.slot=B", PATIENCE_S, at)
        server.shutdown()


def test_asked_for_by_command_it_comes_once(board: tuple[Machine, Path]) -> None:
    machine, folder = board
    stored = "BOOT_ORDER=A B\nBOOT_A_LEFT=3\nBOOT_B_LEFT=3\nRESCUE=once\n"
    offset = partition(machine.disk, "boot")[0]
    for name in ("uboot.env", "uboot-r.env"):
        subprocess.run(["mkenvimage", "-r", "-s", "0x2000", "-o", str(folder / name), "-"], input=stored, text=True, check=True)
        subprocess.run(["mcopy", "-o", "-i", f"{machine.disk}@@{offset}", str(folder / name), f"::{name}"], check=True)
    machine.start()
    at = machine.expect(r"branchpbx: rescue \(command\)", PATIENCE_S).end()
    at = machine.expect(r"somebody asked for it by command", PATIENCE_S, at).end()
    at = machine.expect("> ", PATIENCE_S, at).end()
    machine.type("8")
    machine.expect(r"branchpbx: slot A, 2 tries left", PATIENCE_S, at)
