"""`branchpbx host`: gives the box the addresses, name servers and clock of the configuration in force, once, and ends.

Theory of operation
-------------------
Runs as root on an appliance image, at the start and whenever the stored configuration or a trial has changed (`system/addresses` of the
overlay watches the files, so that no interpreter waits in memory). What it did is in RUN/applied.json, on a file system that a reboot
clears; links that did not change are not touched, so a commit of something else costs no packet. One that cannot be built is told in
RUN/status.json (`show addresses`), is built anew by the next run, and keeps none of the others back. A trial that is not confirmed goes
away from the disk, or its time is over, and the next run has the old addresses again: a wrong address locks nobody out for longer than
the trial.
RUN belongs to root: nothing that the appliance's user could have put there is followed.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from firmware.config.model import load
from firmware.config.schema.host import Host
from firmware.control.host_commands import AddressRow
from firmware.errors import ConfigError
from firmware.net import addresses
from firmware.net.addresses import Link
from firmware.store.configuration import in_force
from firmware.store.files import write_atomic

RUN = Path("/run/host")
COMMAND_S = 20.0
END_S = 3.0
CLOCK_USER = "nobody"
NO_SCRIPT_SERVERS = "name_servers"
"""While this file is there, servers told by DHCP are kept but not used."""


class Applied(Struct):
    """What the last run left behind."""

    links: list[Link] = []
    clock: list[str] = []


def main(options: argparse.Namespace) -> int:
    """One run; 1 when something could not be done."""
    options.run.mkdir(parents=True, exist_ok=True)
    with (options.run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = Keeper(options).apply(_wanted(options.state))
    return int(any(row.state == "fault" for row in rows))


def rows_of(run: Path = RUN) -> list[AddressRow]:
    """For `show addresses`; none where no run has ever been made."""
    try:
        return msgspec.json.decode((run / "status.json").read_bytes(), type=list[AddressRow])
    except (OSError, msgspec.MsgspecError):
        return []


def _wanted(state: Path) -> Host:
    kept = in_force(state / "config")
    if kept is None:
        return Host()
    try:
        return load(kept.text.encode(), file="startup.toml").host
    except ConfigError:
        return Host()                   # the appliance does not start on it either; by DHCP the box can be found


class Keeper:
    """See the theory of operation above."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._run: Path = options.run
        self._resolv: Path = options.resolv
        self._script: str = options.script
        self._device: str = options.device
        self._clock: bool = not options.no_clock
        self._rows: list[AddressRow] = []

    def apply(self, host: Host) -> list[AddressRow]:
        """Bring the box there."""
        path = self._run / "applied.json"
        before = Applied()
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            before = msgspec.json.decode(path.read_bytes(), type=Applied)
        wanted = addresses.links(host, self._device)
        for link in before.links:
            if link not in wanted:
                self._take_down(link)
        kept = [link for link in wanted if link in before.links and self._stands(link)]
        after = Applied(list(kept), before.clock)
        self._note(path, after)
        self._name_servers(host)
        for link in wanted:
            if link in kept or self._build(link):
                after.links = [*(one for one in after.links if one != link), link]
                self._note(path, after)
                self._rows.append(self._row(link))
        self._rows.append(AddressRow("name servers", "ok", "", " ".join(host.name_servers) or "DHCP", "", ""))
        self._keep_clock(host, after)
        self._note(path, after)
        write_atomic(self._run / "status.json", msgspec.json.encode(self._rows), durable=False)
        return self._rows

    def _note(self, path: Path, applied: Applied) -> None:
        write_atomic(path, msgspec.json.encode(applied), durable=False)

    # --- links --------------------------------------------------------------------------------------------------------

    def _stands(self, link: Link) -> bool:
        """The device is there and whoever renews its address lives."""
        return _exists(link.device) and (bool(link.address) or _alive(self._pid_file(link), "udhcpc") > 0)

    def _take_down(self, link: Link) -> None:
        _end(self._pid_file(link), "udhcpc")
        for command in addresses.down(link):
            _run(command)
        (self._run / f"dns.{link.device}").unlink(missing_ok=True)

    def _build(self, link: Link) -> bool:
        self._take_down(link)
        for command in addresses.up(link):
            wrong = _run(command)
            if wrong:
                self._fault(link.name, link.device, f"{' '.join(command)}: {wrong}")
                return False
        if not link.address:
            program = ["udhcpc"] if shutil.which("udhcpc") else ["busybox", "udhcpc"]
            environment = {"BRANCHPBX_HOST_RUN": str(self._run), "BRANCHPBX_RESOLV": str(self._resolv)}
            wrong = _run(addresses.client(link, program, self._script, str(self._pid_file(link))), environment)
            if wrong:
                self._fault(link.name, link.device, f"udhcpc: {wrong}")
                return False
        return True

    def _row(self, link: Link) -> AddressRow:
        has = link.address or _own(link.device)
        if has:
            return AddressRow(link.name, "ok", link.device, has, "", "")
        return AddressRow(link.name, "waiting", link.device, "", "no DHCP server has answered yet", "尚无 DHCP 服务器应答")

    def _fault(self, what: str, device: str, why: str) -> None:
        self._rows.append(AddressRow(what, "fault", device, "", why, f"失败：{why}"))

    def _pid_file(self, link: Link) -> Path:
        return self._run / f"udhcpc.{link.device}.pid"

    # --- names and time -----------------------------------------------------------------------------------------------

    def _name_servers(self, host: Host) -> None:
        mark = self._run / NO_SCRIPT_SERVERS
        if host.name_servers:
            mark.touch()
            text = addresses.resolv_conf(host.name_servers)
        else:
            mark.unlink(missing_ok=True)
            text = "".join(path.read_text("ascii", "replace") for path in sorted(self._run.glob("dns.*")))
        write_atomic(self._resolv, text.encode(), durable=False)

    def _keep_clock(self, host: Host, after: Applied) -> None:
        if not self._clock:
            return
        pid_file = self._run / "clock" / "chronyd.pid"
        if after.clock != host.time_servers or not _alive(pid_file, "chronyd"):
            _end(pid_file, "chronyd")
            after.clock = []
            if host.time_servers:
                pid_file.parent.mkdir(exist_ok=True)
                config = self._run / "chrony.conf"
                write_atomic(config, addresses.chrony_conf(host.time_servers, str(pid_file.parent), CLOCK_USER).encode(), durable=False)
                wrong = _run(("chronyd", "-f", str(config)))
                if wrong:
                    self._fault("clock", "", f"chronyd: {wrong}")
                    return
            after.clock = list(host.time_servers)
        says, says_zh = ("", "") if host.time_servers else ("no time server is set", "未设置时间服务器")
        self._rows.append(AddressRow("clock", "ok", "", " ".join(host.time_servers), says, says_zh))


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> str:
    """Run a command to its end; "" or why it failed."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=COMMAND_S, check=False,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no end after {COMMAND_S:.0f} s"
    except OSError as error:
        return error.strerror or str(error)
    return "" if done.returncode == 0 else done.stderr.decode(errors="replace").strip()[-200:] or f"status {done.returncode}"


def _exists(device: str) -> bool:
    return any(name == device for _, name in socket.if_nameindex())


def _own(device: str) -> str:
    """The IPv4 address that a device has now."""
    try:
        found = subprocess.run(["ip", "-4", "addr", "show", "dev", device], capture_output=True, timeout=COMMAND_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    words = found.decode(errors="replace").split()
    return words[words.index("inet") + 1] if "inet" in words[:-1] else ""


def _alive(pid_file: Path, name: str) -> int:
    """Process of a pid file while it is that program; 0 otherwise."""
    try:
        pid = int(pid_file.read_text("ascii"))
        command = Path("/proc", str(pid), "cmdline").read_bytes()
    except (OSError, ValueError):
        return 0
    return pid if name.encode() in command else 0


def _end(pid_file: Path, name: str, pause: Callable[[float], None] = time.sleep) -> None:
    """End a daemon of ours."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + END_S
        pid = _alive(pid_file, name)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while _alive(pid_file, name) and time.monotonic() < until:
            pause(0.05)
    pid_file.unlink(missing_ok=True)
