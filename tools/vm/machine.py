"""An emulated board: QEMU with a serial console, a monitor and forwarded ports.

The disk that was built is never written to: each machine runs on a copy of its own, which stays when the machine is stopped or killed, as
a disk does. A restart of the guest is a new emulator on the same disk (`power.py`). Host ports are free ones, except those of speech, which
have the same number on both sides because session descriptions name them; `free_speech` finds a range.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .settings import TOP, BoardImage, Emulator

LOG_MAGIC, LOG_SECTOR = 0x6A736677736872, 512


class MachineError(Exception):
    """The machine did not do in time what was waited for; the end of its console is in the text."""


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_speech(count: int) -> int:
    """First of `count` UDP ports in a row that nobody uses now, below those that the system hands out."""
    for base in range(20000, 32000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(base, base + count):
                    stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise MachineError(f"no {count} UDP ports in a row are free")


def partition(disk: Path, name: str) -> tuple[int, int]:
    """Offset and size in bytes of a GPT partition."""
    with disk.open("rb") as file:
        file.seek(512)
        head = file.read(92)
        table, count, size = struct.unpack_from("<QII", head, 72)
        file.seek(table * 512)
        for _ in range(count):
            entry = file.read(size)
            if entry[56:128].decode("utf-16-le").rstrip("\0") == name:
                first, last = struct.unpack_from("<QQ", entry, 32)
                return first * 512, (last - first + 1) * 512
    raise MachineError(f"{disk} has no partition {name!r}")


def put(disk: Path, name: str, source: Path, target: str) -> None:
    """Write a file into a partition with ext4 of a disk that no machine uses."""
    folders = [f"mkdir {folder}" for folder in reversed([str(each) for each in Path(target).parents][:-1])]
    commands = "".join(f"{line}\n" for line in [*folders, f"write {source} {target}"])
    offset = partition(disk, name)[0]
    done = subprocess.run(
        ["debugfs", "-w", "-f", "-", f"{disk}?offset={offset}"], input=commands, capture_output=True, text=True, check=False
    )
    shown = subprocess.run(["debugfs", "-R", f"stat {target}", f"{disk}?offset={offset}"], capture_output=True, text=True, check=False)
    if "Inode:" not in shown.stdout:
        raise MachineError(f"{target} cannot be written into {disk}: {done.stderr[-300:]}")


class Machine:
    """One emulated board. `tcp` and `udp`: ports of the box; `tcp_ports` and `udp_ports` tell where they are reached."""

    def __init__(self, emulator: Emulator, loader: Path, disk: Path, folder: Path, *, tcp: Sequence[int] = (), udp: Sequence[int] = (),
                 same: Sequence[int] = (), site: str = "", extra: Sequence[str] = (), host: str = "127.0.0.1",
                 writes: bool = False) -> None:  # fmt: skip
        folder = folder.absolute()
        self.writes = folder / "writes.log" if writes else None
        """Log of every write and flush of the disk, in the form of dm-log-writes, for `tools/vm/powercut.py`."""
        self.host = host
        """Address of this machine that the ports are forwarded from."""
        self.emulator, self.loader, self.folder, self.extra = emulator, loader, folder, list(extra)
        folder.mkdir(parents=True, exist_ok=True)
        self.disk = folder / "disk.img"
        if not self.disk.exists():
            subprocess.run(["cp", "--sparse=always", str(disk), str(self.disk)], check=True)
            if site:
                (folder / "site.toml").write_text(site)
                put(self.disk, "state", folder / "site.toml", "pbx/site.toml")
        self.tcp_ports = {port: free_port() for port in tcp}
        self.udp_ports = {port: free_port(socket.SOCK_DGRAM) for port in udp}
        self._same = list(same)
        self.console = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._serial: socket.socket | None = None
        self._listener: socket.socket | None = None

    def forwards(self) -> str:
        """QEMU's words for the ports."""
        rules = [f"tcp:{self.host}:{outside}-:{port}" for port, outside in self.tcp_ports.items()]
        rules += [f"udp:{self.host}:{outside}-:{port}" for port, outside in self.udp_ports.items()]
        rules += [f"udp:{self.host}:{port}-:{port}" for port in self._same]
        return "".join(f",hostfwd={rule}" for rule in rules)

    def command(self, serial: Sequence[str]) -> list[str]:
        """QEMU's command line."""
        one = self.emulator
        return [
            one.program, *one.options, "-m", str(one.memory), "-smp", str(one.cores), "-bios", str(self.loader), "-nodefaults",
            "-display", "none",
            *self._drive(), "-device", "virtio-blk-device,drive=disk",
            "-netdev", f"user,id=net{self.forwards()}", "-device", "virtio-net-device,netdev=net", "-device", "virtio-rng-device",
            *serial, *self.extra,
        ]  # fmt: skip

    def _drive(self) -> list[str]:
        if self.writes is None:
            return ["-drive", f"if=none,id=disk,format=raw,cache=writeback,file={self.disk}"]
        if not self.writes.exists():
            with self.writes.open("wb") as file:
                file.write(struct.pack("<QQQI", LOG_MAGIC, 1, 0, LOG_SECTOR).ljust(LOG_SECTOR, b"\0"))
                file.truncate(2 << 30)                                # sparse; the log does not grow by itself
        return [
            "-blockdev", f"driver=file,node-name=plain,filename={self.disk}",
            "-blockdev", f"driver=file,node-name=log,filename={self.writes}",
            "-blockdev", "driver=blklogwrites,node-name=disk,file=plain,log=log,log-append=on",
        ]  # fmt: skip

    def start(self) -> None:
        """Switch on."""
        path = self.folder / "serial"
        path.unlink(missing_ok=True)
        # A Unix socket's name is short: the folder's may not be.
        serial = ["-chardev", "socket,id=serial,path=serial", "-serial", "chardev:serial"]
        self._listener = socket.socket(socket.AF_UNIX)
        with contextlib.chdir(self.folder), (self.folder / "qemu.log").open("ab") as log:
            self._listener.bind("serial")
            self._listener.listen(1)
            self._process = subprocess.Popen(
                [sys.executable, str(TOP / "tools" / "vm" / "power.py"), *self.command(serial)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._listener.settimeout(20)
        try:
            self._serial, _ = self._listener.accept()
        except TimeoutError:
            self.kill()
            raise MachineError(f"the emulator did not start: {(self.folder / 'qemu.log').read_text()[-500:]}") from None
        self._serial.setblocking(False)
        self._listener.setblocking(False)

    def _again(self) -> bool:
        """The line of the emulator that was started after a restart of the guest; False while there is none."""
        try:
            assert self._listener is not None and self._serial is not None
            link, _ = self._listener.accept()
        except OSError:
            return False
        self._serial.close()
        self._serial = link
        self._serial.setblocking(False)
        return True

    @property
    def serial(self) -> socket.socket | None:
        """The serial line, for who reads it instead of this object; None while the machine is off."""
        return self._serial

    @property
    def running(self) -> bool:
        """Is the board switched on?"""
        return self._process is not None and self._process.poll() is None

    def read(self, seconds: float = 0.0) -> str:
        """What the console wrote since; waits for the first byte at most so long."""
        end, got = time.monotonic() + seconds, b""
        while self._serial is not None:
            try:
                data = self._serial.recv(65536)
                if not data:
                    if self._again():
                        continue
                    raise BlockingIOError
                got += data
                end = min(end, time.monotonic() + 0.02)
            except BlockingIOError:
                if time.monotonic() >= end:
                    break
                time.sleep(0.02)
            except OSError:
                break
        text = got.decode("utf-8", "replace")
        self.console += text
        with (self.folder / "console.log").open("a", encoding="utf-8") as log:
            log.write(text)
        return text

    def expect(self, pattern: str, seconds: float, since: int = 0) -> re.Match[str]:
        """Wait until the console, from position `since`, matches; MachineError after `seconds`."""
        end = time.monotonic() + seconds
        while True:
            found = re.compile(pattern).search(self.console, since)
            if found:
                return found
            if time.monotonic() >= end or not self.running:
                state = "stopped" if not self.running else f"said no {pattern!r} within {seconds:.0f} s"
                raise MachineError(f"the machine {state}; its console ended:\n{self.console[-1500:]}")
            self.read(0.5)

    def type(self, text: str) -> None:
        """Type at the serial console."""
        assert self._serial is not None
        self._serial.setblocking(True)
        self._serial.sendall(text.encode())
        self._serial.setblocking(False)

    def kill(self) -> None:
        """Cut the power."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
        if self._serial is not None:
            self._serial.close()
            self._serial = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None


def started(board: BoardImage, loader: Path, disk: Path, folder: Path) -> Machine:
    """The board with free ports: SIP and secure shell anywhere, speech on ports that its site file is given."""
    text = (board.folder / board.image.site).read_text()
    found = re.search(r"(?m)^calls = (\d+)\nfirst_port = \d+$", text)
    if found is None:
        raise MachineError(f"{board.image.site}: [rtp] names no calls and first_port")
    count = 2 * int(found.group(1))
    kept = folder / "speech"
    first = int(kept.read_text()) if kept.exists() else free_speech(count)
    folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(str(first))
    site = text.replace(found.group(0), f"calls = {found.group(1)}\nfirst_port = {first}")
    return Machine(board.image.emulator, loader, disk, folder, tcp=(2222, 5060), udp=(5060,), same=range(first, first + count), site=site)
