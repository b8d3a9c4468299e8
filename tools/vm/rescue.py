"""The rescue system of a board: kernel, and an initramfs of busybox, MicroPython, openssl and `firmware/rescue` (docs/rescue.md).

It lies in a partition of its own as a squashfs, which only flashing writes. Everything in the initramfs comes from packages of the
distribution, in part: of each only the programs in `PROGRAMS` and the libraries they are linked with, found by reading the files. What
is missing stops the build: MicroPython of the archive loads the whole rescue program under user-mode emulation before it is packed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import stat
import subprocess
from pathlib import Path

from . import fetch, initramfs, modules
from .settings import BUILD, TOP, BoardImage

SOURCES = ("firmware/rescue", "firmware/wire")
PROGRAMS = ("usr/bin/micropython", "usr/bin/openssl", "usr/bin/fw_printenv", "usr/sbin/e2fsck", "usr/sbin/mke2fs")
BUSYBOX = "usr/bin/busybox"
LOADER = "usr/lib/ld-linux-armhf.so.3"
LIBRARIES = "usr/lib/arm-linux-gnueabihf"
MOST = 600 << 20
"""Largest bundle taken, bytes; less where half of the memory is less."""
INIT = (
    """#!/bin/busybox sh
# The rescue's own init: partitions by name, network, the program at the serial line. It never writes to its own partition.
/bin/busybox --install -s /bin
PATH=/bin
MICROPYPATH=/lib/rescue
export PATH MICROPYPATH
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=0755,nosuid,nodev,size=80% tmpfs /run
mkdir -p /run/rescue /dev/branchpbx
dmesg -n 1
for module in $(cat /modules/order); do
    insmod "/modules/$module" 2>/dev/null || echo "rescue: module $module cannot be loaded" >/dev/console
done
[ ! -c /dev/watchdog ] || watchdog -T 60 -t 10 /dev/watchdog
made=$(cat /etc/made)
[ "$(date +%s)" -ge "$made" ] || date -u -s "@$made" >/dev/null
turn=0
until [ -e /dev/branchpbx/slot-a ] && [ -e /dev/branchpbx/state ]; do
"""
    + initramfs.LINKS
    + """    turn=$((turn + 1))
    [ $turn -lt 60 ] || { echo "rescue: the disk does not come" >/dev/console; break; }
    [ -e /dev/branchpbx/slot-a ] || sleep 0.2
done
why=unknown
for word in $(cat /proc/cmdline); do case $word in branchpbx.rescue=*) why=${word#*=} ;; esac; done
/sbin/network &
count=0
while [ $count -lt 5 ]; do
    micropython -X heapsize=24M -m firmware.rescue.main /etc/rescue.json "$why" >/run/rescue/fault 2>&1 </dev/null
    echo "rescue: the program ended: $(tail -n 1 /run/rescue/fault)" >/dev/console
    count=$((count + 1))
    sleep 2
done
# The program does not run: the slots get their tries again, that is all that is left to do.
printf 'BOOT_A_LEFT=%x\\nBOOT_B_LEFT=%x\\n' "$(cat /etc/tries)" "$(cat /etc/tries)" >/run/rescue/variables
mkdir -p /run/rescue/boot
mount -t vfat -o sync /dev/branchpbx/boot /run/rescue/boot && fw_setenv -s /run/rescue/variables
umount /run/rescue/boot
sync
reboot -f
"""
)
NETWORK = """#!/bin/sh
# Network of last resort: DHCP for as long as somebody may answer; until then the fixed address.
. /etc/rescue.conf
ip link set lo up
for path in /sys/class/net/*; do
    name=${path##*/}
    [ "$name" != lo ] && [ -e "$path/device" ] || continue
    ip link set "$name" up
    udhcpc -i "$name" -n -q -t 4 -T 2 -s /sbin/dhcp >/dev/null 2>&1 || {
        ip addr add "$ADDRESS" dev "$name"
        echo "fixed $ADDRESS" >"$RUN/net.new" && mv "$RUN/net.new" "$RUN/net"
        # A cable that is plugged in later still gets its address, and keeps the fixed one.
        udhcpc -i "$name" -b -t 2 -T 2 -A 20 -s /sbin/dhcp >/dev/null 2>&1
    }
    break
done
"""
DHCP = """#!/bin/sh
. /etc/rescue.conf
case $1 in bound|renew)
    ip addr add "$ip/$mask" dev "$interface" 2>/dev/null
    for each in $router; do ip route replace default via "$each" dev "$interface"; break; done
    : >/run/resolv.conf
    for each in $dns; do echo "nameserver $each" >>/run/resolv.conf; done
    echo "dhcp $ip/$mask ${router%% *}" >"$RUN/net.new" && mv "$RUN/net.new" "$RUN/net" ;;
esac
"""
CONF = """STATE=/dev/branchpbx/state
BOOT=/dev/branchpbx/boot
RUN=/run/rescue
KEYRING=/etc/keyring.pem
ADDRESS={address}
"""


def facts(board: BoardImage, version: str) -> dict[str, object]:
    """What the program reads (firmware/rescue/system.py)."""
    rescue = board.image.rescue
    assert rescue is not None
    return {
        "compatible": board.image.compatible, "version": version, "tries": board.image.tries, "wait_s": rescue.wait_s,
        "tty": f"/dev/{board.image.console}", "baud_most": rescue.baud_most, "bundle_most": MOST, "run": "/run/rescue",
        "script": "/sbin/box", "slots": {"A": "/dev/branchpbx/slot-a", "B": "/dev/branchpbx/slot-b"},
    }  # fmt: skip


def programs(board: BoardImage, apt: fetch.Apt) -> Path:
    """Packages that the rescue takes its programs from, unpacked."""
    assert board.image.rescue is not None
    debs = fetch.packages(apt, board.image.rescue.packages)
    tree = BUILD / "rescue-packages" / debs.name
    if not (tree / ".ready").exists():
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir(parents=True)
        for name in ("bin", "sbin", "lib"):
            (tree / "usr" / name).mkdir(parents=True)
            (tree / name).symlink_to(f"usr/{name}")
        fetch.unpack(debs, tree)
        (tree / ".ready").touch()
    return tree


def needed(tree: Path, wanted: tuple[str, ...] = PROGRAMS) -> dict[str, Path]:
    """Name in the archive -> file, of programs and the libraries they are linked with. SystemExit names one that no package has."""
    found: dict[str, Path] = {}
    left = [*wanted, LOADER]
    while left:
        name = left.pop()
        if name in found:
            continue
        path = tree / name
        if not path.exists():
            raise SystemExit(f"vm: the rescue needs {name}; add its package to [image.rescue] packages")
        found[name] = path.resolve()
        shown = subprocess.run(["readelf", "-d", str(path)], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"\(NEEDED\).*\[(.+)\]", shown):
            left.append(LOADER if library.startswith("ld-linux") else f"{LIBRARIES}/{library}")
    return found


def prove(tree: Path) -> None:
    """The board's MicroPython loads the rescue program; SystemExit with its words when it does not."""
    script = f"import sys\nsys.path.insert(0, {str(TOP)!r})\nimport firmware.rescue.main\nprint('loaded')\n"
    command = ["qemu-arm", "-L", str(tree), str(tree / "usr/bin/micropython"), "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.stdout.strip() != "loaded":
        raise SystemExit(f"vm: MicroPython cannot load the rescue: {(done.stderr or done.stdout)[-1000:]}")


def archive(board: BoardImage, tree: Path, linux: Path, version: str, keyring: Path, made: int) -> bytes:
    """The initramfs; the same input gives the same bytes."""
    assert board.image.rescue is not None
    known = modules.builtins(linux)
    listed = modules.ordered(linux, board.image.rescue.modules, known)
    folders = {"bin", "sbin", "dev", "proc", "sys", "run", "etc", "lib", "modules", "tmp"}
    files: dict[str, tuple[int, bytes]] = {}
    for name, path in needed(tree).items():
        target = "lib/" + Path(name).name if "/lib/" in f"/{name}" else "bin/" + Path(name).name
        files[target] = (0o755, path.read_bytes())
    files["bin/busybox"] = (0o755, (tree / BUSYBOX).read_bytes())
    files["bin/fw_setenv"] = files["bin/fw_printenv"]
    for folder in SOURCES:
        for path in sorted((TOP / folder).glob("*.py")):
            files[f"lib/rescue/{folder}/{path.name}"] = (0o644, path.read_bytes())
    files["lib/rescue/firmware/__init__.py"] = (0o644, b"")
    files["sbin/box"] = (0o755, (TOP / "firmware/rescue/box.sh").read_bytes())
    files["sbin/network"], files["sbin/dhcp"] = (0o755, NETWORK.encode()), (0o755, DHCP.encode())
    files["init"] = (0o755, INIT.encode())
    files["etc/rescue.json"] = (0o644, json.dumps(facts(board, version), sort_keys=True).encode())
    files["etc/rescue.conf"] = (0o644, CONF.format(address=board.image.rescue.address).encode())
    files["etc/fw_env.config"] = (
        0o644, (TOP / "buildroot/overlay/etc/fw_env.config").read_text().replace("/run/boot/", "/run/rescue/boot/").encode(),
    )  # fmt: skip
    files["etc/keyring.pem"] = (0o644, keyring.read_bytes())
    files["etc/made"] = (0o644, f"{made}\n".encode())
    files["etc/tries"] = (0o644, f"{board.image.tries}\n".encode())
    files["modules/order"] = (0o644, "".join(f"{name}.ko\n" for name, _ in listed).encode())
    for name, data in listed:
        files[f"modules/{name}.ko"] = (0o644, data)
    for name in files:
        folders |= {str(parent) for parent in Path(name).parents} - {"."}
    entries = [(name, stat.S_IFDIR | 0o755, b"", (0, 0)) for name in sorted(folders)]
    entries += [
        ("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)), ("dev/null", stat.S_IFCHR | 0o666, b"", (1, 3)),
        ("etc/resolv.conf", stat.S_IFLNK | 0o777, b"/run/resolv.conf", (0, 0)),
    ]  # fmt: skip
    entries += [(name, stat.S_IFREG | mode, data, (0, 0)) for name, (mode, data) in sorted(files.items())]
    return gzip.compress(initramfs.archive(entries), 6, mtime=0)


def build(board: BoardImage, apt: fetch.Apt, linux: Path, version: str, keyring: Path) -> Path:
    """The squashfs of the rescue partition, made anew only when something changed."""
    assert board.image.rescue is not None
    tree = programs(board, apt)
    made = int(subprocess.run(["git", "-C", str(TOP), "log", "-1", "--format=%ct"], capture_output=True, text=True, check=True).stdout)
    total = hashlib.sha256(
        "\n".join([repr(board.image.rescue), version, tree.name, linux.name, board.image.console, board.image.compatible, INIT, NETWORK,
                   DHCP, CONF]).encode()
    )  # fmt: skip
    for folder in SOURCES:
        for path in sorted((TOP / folder).iterdir()):
            if path.suffix in (".py", ".sh"):
                total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    total.update(keyring.read_bytes())
    folder_made = BUILD / f"rescue-{board.name}" / total.hexdigest()[:16]
    target = folder_made / "rescue.squashfs"
    if target.exists():
        return target
    print("== Making the rescue", flush=True)
    prove(tree)
    stage = folder_made / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    (stage / "boot").mkdir(parents=True)
    shutil.copy2(next(linux.glob("boot/vmlinuz-*")), stage / "boot/vmlinuz")
    (stage / "boot/initramfs").write_bytes(archive(board, tree, linux, version, keyring, made))
    part = folder_made / "part"
    part.unlink(missing_ok=True)
    pack = ["mksquashfs", str(stage), str(part), "-comp", "zstd", "-b", "128K", "-all-root", "-no-progress", "-noappend", "-no-xattrs",
            "-all-time", str(made), "-mkfs-time", str(made)]  # fmt: skip
    done = subprocess.run(pack, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"vm: mksquashfs: {done.stderr[-1500:]}")
    if part.stat().st_size > board.image.partitions.rescue << 20:
        raise SystemExit(f"vm: the rescue needs {part.stat().st_size >> 20} MiB; enlarge [image.partitions] rescue")
    shutil.rmtree(stage)
    part.rename(target)
    return target
