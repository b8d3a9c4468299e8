"""The initramfs: busybox, the modules that reach the disk, and one script that mounts the slot and goes on there."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterable
from pathlib import Path

#: Names the partitions that are there by now under /dev/branchpbx; a step of a loop.
LINKS = """    for part in /sys/class/block/*/partition; do
        [ -e "$part" ] || continue
        part=${part%/partition}
        name=$(sed -n 's/^PARTNAME=//p' "$part/uevent")
        case $name in boot|slot-a|slot-b|state) ln -sfn "/dev/${part##*/}" "/dev/branchpbx/$name" ;; esac
    done
"""
INIT = (
    """#!/bin/busybox sh
# Finds the partitions by name, mounts the slot that the boot loader chose, and goes on there. What goes wrong restarts the board: the
# boot loader has counted this try already.
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
fail() { echo "initramfs: $*" >/dev/console; sleep 2; reboot -f; }
for module in $(cat /modules/order); do insmod "/modules/$module" || echo "initramfs: module $module cannot be loaded" >/dev/console; done
slot=
for word in $(cat /proc/cmdline); do case $word in branchpbx.slot=*) slot=${word#*=} ;; esac; done
case $slot in A) want=slot-a ;; B) want=slot-b ;; *) fail "the boot loader names no slot" ;; esac
mkdir -p /dev/branchpbx
turn=0
until [ -e "/dev/branchpbx/$want" ] && [ -e /dev/branchpbx/state ]; do
"""
    + LINKS
    + """    turn=$((turn + 1))
    [ $turn -lt 60 ] || fail "the disk with partition $want does not come"
    [ -e "/dev/branchpbx/$want" ] || sleep 0.2
done
mount -t squashfs -o ro,nodev,nosuid "/dev/branchpbx/$want" /slot || fail "slot $slot cannot be mounted"
[ -L /slot/usr/sbin/init ] || fail "slot $slot has no init"
mount --move /dev /slot/dev
mount --move /proc /slot/proc
mount --move /sys /slot/sys
exec switch_root /slot /sbin/init
"""
)


def _entry(name: str, mode: int, data: bytes, number: int, device: tuple[int, int] = (0, 0)) -> bytes:
    """One entry of a cpio archive of the kind the kernel reads ("newc")."""
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    head += b"\0" * (-len(head) % 4)
    return head + data + b"\0" * (-len(data) % 4)


def archive(entries: Iterable[tuple[str, int, bytes, tuple[int, int]]]) -> bytes:
    """A cpio archive of (name, mode, content, device)."""
    packed = b"".join(_entry(name, mode, data, number, device) for number, (name, mode, data, device) in enumerate(entries, 1))
    return packed + _entry("TRAILER!!!", 0, b"", 0)


def build(busybox: Path, modules: Iterable[tuple[str, bytes]], target: Path, libraries: Iterable[tuple[str, bytes]] = ()) -> None:
    """Write the archive; the same input gives the same bytes. `libraries`: of a busybox that is not one static program."""
    listed, shared = list(modules), list(libraries)
    entries: list[tuple[str, int, bytes, tuple[int, int]]] = [
        (folder, stat.S_IFDIR | 0o755, b"", (0, 0))
        for folder in ("bin", "dev", "proc", "sys", "slot", "modules", *(["lib"] if shared else []))
    ]
    entries += [(f"lib/{name}", stat.S_IFREG | 0o755, data, (0, 0)) for name, data in shared]
    entries += [
        ("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)),
        ("dev/null", stat.S_IFCHR | 0o666, b"", (1, 3)),
        ("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes(), (0, 0)),
        ("init", stat.S_IFREG | 0o755, INIT.encode(), (0, 0)),
        ("modules/order", stat.S_IFREG | 0o644, "".join(f"{name}.ko\n" for name, _ in listed).encode(), (0, 0)),
    ]
    entries += [(f"modules/{name}.ko", stat.S_IFREG | 0o644, data, (0, 0)) for name, data in listed]
    target.write_bytes(gzip.compress(archive(entries), 6, mtime=0))
