"""`branchpbx dhcp`: the DHCP server and LLDP-MED of a small site, beside the appliance.

Runs in the foreground, started by init, because port 67 and raw frames need rights that the appliance itself does not have: as the
appliance's user with three rights handed down (raw frames, network administration, low ports), or as root, of whose rights it keeps only
what it needs. The VLAN for voice is announced by LLDP-MED from here, too (`net/lldp.py`). It follows the configuration in
force (`dhcp` is off by default). Before dnsmasq starts, and again each time it is started, the network is asked for another server; while
one answers, ours stays off, is tried again later, and `DIR/run/dhcp.json` says why (`show dhcp`). A daemon that dies is started again
after a pause. With `--while-wanted` it ends when the configuration no longer wants it: management leaves `DIR/run/dhcp.wanted` while it
does, so where nobody wants it nothing runs (the image's init looks for that file).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import struct
from functools import partial
from ipaddress import IPv4Interface
from pathlib import Path

from firmware.app import privilege
from firmware.app.sockets import reachable
from firmware.config.model import load
from firmware.config.schema.tree import Config
from firmware.errors import ConfigError
from firmware.net import lldp
from firmware.net.dhcp import discover, dnsmasq_conf
from firmware.runtime import log as process_log
from firmware.store.configuration import in_force
from firmware.store.files import write_atomic

LOOK_S = 2.0
AGAIN_S = 60.0
SIOCGIFADDR, SIOCGIFNETMASK = 0x8915, 0x891B
DNSMASQ = "dnsmasq"

log = logging.getLogger("branchpbx.dhcp")


def main(options: argparse.Namespace) -> int:
    """Run until SIGTERM, or until it is not wanted any more."""
    (options.state / "run").mkdir(parents=True, exist_ok=True)
    privilege.drop("dhcp", options.state)
    process_log.configure("dhcp", options.state / "log", stderr=True)
    return asyncio.run(DhcpServer(options.state, while_wanted=options.while_wanted).run())


def interface_of(name: str) -> IPv4Interface:
    """Address and network of an interface. Raises OSError where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        found = [
            socket.inet_ntoa(fcntl.ioctl(asking.fileno(), what, struct.pack("256s", name.encode()[:15]))[20:24])
            for what in (SIOCGIFADDR, SIOCGIFNETMASK)
        ]
    return IPv4Interface(f"{found[0]}/{found[1]}")


class DhcpServer:
    """See the theory of operation above."""

    def __init__(self, state: Path, *, look_s: float = LOOK_S, again_s: float = AGAIN_S, while_wanted: bool = False) -> None:
        self._state = state
        self._while_wanted = while_wanted
        self._look_s = look_s
        self._again_s = again_s
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        self._said: dict[str, str] = {}
        self._running: list[asyncio.subprocess.Process] = []
        self._announcing: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Follow the configuration until SIGTERM."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        wanted = ""
        try:
            while not self._stop.is_set():
                config = self._config()
                text = repr((config.dhcp, config.provisioning)) if config is not None else ""
                alive = bool(self._running) and all(one.returncode is None for one in self._running)
                if text != wanted or (self._running and not alive):
                    await self._end()
                    wanted = text
                    if config is not None and config.dhcp.enabled and not await self._begin(config):
                        wanted = ""
                        await self._pause(self._again_s)
                        continue
                    if config is not None and not config.dhcp.enabled:
                        self._say("off", "off: dhcp.enabled is false", "未启用")
                if config is not None and not config.dhcp.enabled and self._while_wanted:
                    return 0
                await self._pause(self._look_s)
        finally:
            await self._end()
            if self._said.get("state") != "off":
                self._say("off", "not running", "未运行")
        return 0

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _config(self) -> Config | None:
        kept = in_force(self._state / "config")
        try:
            return load(kept.text.encode(), file="startup.toml") if kept is not None else None
        except ConfigError:
            return None

    async def _begin(self, config: Config) -> bool:
        """Start the daemons; False where that does not go now, with the reason told."""
        settings = config.dhcp
        try:
            own = interface_of(settings.interface)
        except OSError as error:
            self._say("refused", f"{settings.interface} has no address ({error.strerror})", f"{settings.interface} 没有地址")
            return False
        for name in (settings.first, settings.last):
            if IPv4Interface(f"{name}/{own.network.prefixlen}").network != own.network:
                where = f"{own.network} of {settings.interface}"
                self._say("refused", f"{name} is not in the network {where}", f"{name} 不在网络 {own.network} 内")
                return False
        try:
            others = await discover(settings.interface)
        except OSError as error:
            why = error.strerror or str(error)
            self._say("refused", f"other servers cannot be looked for ({why}); run it as root", "无法探测其他 DHCP 服务器")
            return False
        if others:
            self._say("refused", f"another DHCP server answers: {', '.join(others)}", f"网络中已有 DHCP 服务器：{'、'.join(others)}")
            return False
        return await self._start(config, own)

    async def _start(self, config: Config, own: IPv4Interface) -> bool:
        run, settings = self._state / "run", config.dhcp
        path = run / "dnsmasq.conf"
        write_atomic(path, dnsmasq_conf(settings, own, entrance_of(config, own), str(self._state / "dhcp.leases")).encode())
        if shutil.which(DNSMASQ) is None:
            self._say("refused", "dnsmasq is not installed", "未安装 dnsmasq")
            return False
        # It ends with this process, however that ends: the next start would find it and take it for somebody else's server.
        mine = partial(privilege.die_with_parent, os.getpid())
        command = (DNSMASQ, "--keep-in-foreground", f"--conf-file={path}")
        self._running.append(await asyncio.create_subprocess_exec(*command, preexec_fn=mine))
        await asyncio.sleep(0.3)
        if self._running[0].returncode is not None:
            self._say("refused", "dnsmasq does not start; the log says why", "dnsmasq 无法启动，请查看日志")
            await self._end()
            return False
        medium = self._announce(config) if settings.voice_vlan else ""
        vlan = f", voice VLAN {settings.voice_vlan}{medium}" if settings.voice_vlan else ""
        self._say("serving", f"serving {settings.first} to {settings.last} on {settings.interface}{vlan}",
                  f"正在 {settings.interface} 上分配 {settings.first} 至 {settings.last}{vlan}")  # fmt: skip
        return True

    def _announce(self, config: Config) -> str:
        """LLDP-MED; what to add to the state."""
        try:
            sending, mac = lldp.open_socket(config.dhcp.interface)
        except OSError as error:
            log.warning("no raw frames on %s (%s): the voice VLAN is told by DHCP option 132 only", config.dhcp.interface, error)
            return " (option 132 only)"
        self._announcing = asyncio.ensure_future(lldp.announce(sending, mac, config.dhcp.voice_vlan))
        return ""

    async def _end(self) -> None:
        if self._announcing is not None:
            self._announcing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._announcing
            self._announcing = None
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in self._running:
            try:
                await asyncio.wait_for(process.wait(), 5)
            except TimeoutError:
                process.kill()
                await process.wait()
        self._running.clear()

    def _say(self, state: str, english: str, chinese: str) -> None:
        said = {"state": state, "says": english, "says_zh": chinese}
        if said == self._said:
            return
        self._said = said
        log.info("%s", english)
        with contextlib.suppress(OSError):
            write_atomic(self._state / "run" / "dhcp.json", json.dumps(said).encode())


def entrance_of(config: Config, own: IPv4Interface) -> str:
    """Where telephones are told to fetch their settings; "" where the service is off."""
    settings = config.provisioning
    if not settings.enabled:
        return ""
    host = settings.address or (str(own.ip) if own.ip else reachable("0.0.0.0"))
    return f"http://{host}:{settings.bootstrap_port}/" if settings.bootstrap_port else f"https://{host}:{settings.port}/"
