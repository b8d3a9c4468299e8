"""A box in the rescue, on this machine: the rescue program on the board's own MicroPython (user-mode emulation), its serial line a
pseudo-terminal, `box.sh` as it is, slots and state as files. The boot loader's environment
is kept by the board's own tool. Only what needs a kernel of its own is stood in for: mount, reboot.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import time
import tty
import zlib
from pathlib import Path
from typing import Any

import pytest

from tools.provision.line import Credentials, Session
from tools.vm import bundle, fetch, rescue
from tools.vm.settings import BUILD, load

ROOT = Path(__file__).resolve().parents[2]
COMPATIBLE = "branchpbx-test"
SLOT = 8 << 20
STUBS = {
    "mount": """while [ $# -gt 2 ]; do [ "$1" != -t ] || kind=$2; shift; done
[ "$kind" = squashfs ] || exit 32
exec unsquashfs -q -n -f -d "$2" "$1" >/dev/null 2>&1 </dev/null""",
    "umount": 'chmod -R u+w "$1" 2>/dev/null; rm -rf "$1"; mkdir -p "$1"',
    "fw_printenv": 'exec qemu-arm -L "$TREE" "$TREE/usr/bin/fw_printenv" -c "$STAGE/fw_env.config" "$@"',
    "fw_setenv": """echo set >>"$STAGE/sets"
[ ! -e "$STAGE/hold" ] || [ "$(wc -l <"$STAGE/sets")" -lt 2 ] || sleep 1000
exec qemu-arm -0 fw_setenv -L "$TREE" "$TREE/usr/bin/fw_printenv" -c "$STAGE/fw_env.config" "$@" """,
    "reboot": 'echo restarted >"$STAGE/restarted"',
    "dmesg": "echo 'kernel: hello'",
}


def interpreter() -> Path:
    """Tree with the board's MicroPython; the test is "not run" where its packages cannot be fetched."""
    BUILD.mkdir(parents=True, exist_ok=True)
    board = load("qemu-armv7")
    if shutil.which("qemu-arm") is None or shutil.which("rauc") is None:
        pytest.skip("not run: qemu-user and rauc are not installed")
    with (BUILD / ".rescue.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return rescue.programs(board, fetch.Apt(board.image.suite, board.image.architecture))
        except fetch.NotFetched as error:
            pytest.skip(f"not run: {error}")


def image(folder: Path, version: str, compatible: str = COMPATIBLE, mib: int = 2) -> Path:
    """A slot's file system with what the rescue looks for, and ballast."""
    stage = folder / f"root-{version}-{compatible}"
    (stage / "boot").mkdir(parents=True)
    (stage / "usr/share/branchpbx").mkdir(parents=True)
    (stage / "boot/vmlinuz").write_text("kernel")
    (stage / "boot/initramfs").write_text("initramfs")
    (stage / "usr/share/branchpbx/version").write_text(version + "\n")
    (stage / "usr/share/branchpbx/compatible").write_text(compatible + "\n")
    (stage / "ballast").write_bytes(os.urandom(mib << 20))
    target = folder / f"{stage.name}.squashfs"
    subprocess.run(["mksquashfs", str(stage), str(target), "-noappend", "-no-progress", "-quiet"], check=True, capture_output=True)
    return target


def signed(folder: Path, version: str, keys: Path, compatible: str = COMPATIBLE, mib: int = 2) -> tuple[Path, bytes]:
    """A bundle and the content of its image."""
    root = image(folder, version, compatible, mib)
    target = folder / f"{keys.name}-{version}-{compatible}.raucb"
    bundle.make(root, version, compatible, keys, target)
    return target, root.read_bytes()


class Box:
    """See the module's text. `a`, `b`: what the slots hold."""

    def __init__(self, folder: Path, tree: Path, keys: Path, a: bytes = b"", b: bytes = b"", why: str = "failures", wait_s: int = 0,
                 environment: str = "BOOT_ORDER=A B\nBOOT_A_LEFT=0\nBOOT_B_LEFT=0\n") -> None:  # fmt: skip
        self.folder = folder
        self.slots = {}
        for name, content in (("A", a), ("B", b)):
            self.slots[name] = folder / f"slot-{name}"
            self.slots[name].write_bytes(content.ljust(SLOT, b"\0"))
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(folder / "state"), "8M"], check=True, capture_output=True)
        (folder / "run").mkdir()
        (folder / "bin").mkdir()
        for name in ("uboot.env", "uboot-r.env"):
            data = environment.replace("\n", "\0").encode().ljust(8192 - 5, b"\0")
            (folder / name).write_bytes(struct.pack("<IB", zlib.crc32(data), 1) + data)
        (folder / "fw_env.config").write_text(f"{folder}/uboot.env 0x0 0x2000\n{folder}/uboot-r.env 0x0 0x2000\n")
        self._tree = tree
        for name, text in STUBS.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / "bin" / name).chmod(0o755)
        (folder / "conf").write_text(f"STATE={folder}/state\nBOOT=\nRUN={folder}/run\nKEYRING={keys}/keyring.pem\nCACHES={folder}/caches\n")
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.name = os.ttyname(slave)
        self._slave = slave
        facts = {
            "compatible": COMPATIBLE, "version": "0.9.0", "tries": 3, "wait_s": wait_s, "tty": self.name, "baud_most": 3_000_000,
            "bundle_most": 16 << 20, "run": str(folder / "run"), "script": str(ROOT / "firmware/rescue/box.sh"),
            "slots": {name: str(path) for name, path in self.slots.items()},
        }  # fmt: skip
        (folder / "facts.json").write_text(json.dumps(facts))
        self._command = ["qemu-arm", "-L", str(tree), str(tree / "usr/bin/micropython"), "-X", "heapsize=24M", "-m", "firmware.rescue.main",
                         str(folder / "facts.json"), why]  # fmt: skip
        self.said = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Switch on."""
        environment = {
            "PATH": f"{self.folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "MICROPYPATH": str(ROOT), "RESCUE_CONF": str(self.folder / "conf"),
            "STAGE": str(self.folder), "TREE": str(self._tree),
        }  # fmt: skip
        with (self.folder / "fault").open("ab") as fault:
            self.process = subprocess.Popen(
                self._command, env=environment, stdin=subprocess.DEVNULL, stdout=fault, stderr=fault, start_new_session=True
            )

    def cut(self) -> None:
        """The power goes."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def close(self) -> None:
        self.cut()
        os.close(self.master)
        os.close(self._slave)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, pattern: str, seconds: float = 60.0, since: int = 0) -> re.Match[str]:
        """What the person at the line reads."""
        end = time.monotonic() + seconds
        while not (found := re.compile(pattern).search(self.said, since)):
            assert self.process is not None
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError(f"not said: {pattern!r}; said: {self.said[-2000:]!r}\n{(self.folder / 'fault').read_text()[-1500:]}")
            if select.select([self.master], [], [], 0.2)[0]:
                self.said += os.read(self.master, 65536).decode("utf-8", "replace")
        return found

    def tool(self) -> Session:
        """The host's tool at the other end of the line."""
        tool = Session(lambda _: Line(self.master), Credentials(), patience_s=60)
        tool.connect()
        assert tool.raise_rate(3_000_000)
        return tool

    def variables(self) -> dict[str, str]:
        """As the boot loader's own tool prints them."""
        command = ["qemu-arm", "-L", str(self._tree), str(self._tree / "usr/bin/fw_printenv"), "-c", str(self.folder / "fw_env.config")]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def untouched(self) -> str:
        """A hash over slots, state and environment."""
        whole = hashlib.sha256()
        for name in ("slot-A", "slot-B", "uboot.env", "uboot-r.env"):
            whole.update((self.folder / name).read_bytes())
        return whole.hexdigest()


class Line:
    """The pseudo-terminal as `tools/provision` wants a port."""

    baudrate = 115200

    def __init__(self, master: int) -> None:
        self._master = master

    @property
    def in_waiting(self) -> int:
        return 4096 if select.select([self._master], [], [], 0)[0] else 0

    def read(self, size: int = 1) -> bytes:
        return os.read(self._master, max(size, 4096)) if select.select([self._master], [], [], 0.02)[0] else b""

    def write(self, data: bytes) -> int:
        at = 0
        while at < len(data):
            at += os.write(self._master, data[at : at + 1024])
        return at

    def flush(self) -> None: ...

    def close(self) -> None: ...


def failure(tool: Session, command: str, **args: Any) -> Any:
    """The refusal of a command."""
    from tools.provision.texts import ProvisionError

    with pytest.raises(ProvisionError) as caught:
        tool.call(command, **args)
    return caught.value
