"""What to do that the box has the addresses of its configuration: plain commands and files, worked out without running any.

Theory of operation
-------------------
Each connection is a `Link`. Going from the links that are there to those that are wanted, the ones that differ are taken down first and the
wanted ones built from nothing, so that what an interrupted run left behind is no matter. Fixed addresses are given by `ip`, others are
asked for by udhcpc, which stays and renews them; VLANs are devices of the kernel. chronyd keeps the clock: it may step it in its first
three looks, as after a long time without power, and slews it from then on. It opens no port.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from msgspec import Struct

from firmware.config.schema.host import Host

Command = tuple[str, ...]


class Link(Struct, frozen=True):
    """One connection as the kernel knows it. `address` "": by DHCP."""

    name: str
    parent: str
    vlan: int
    address: str
    gateway: str

    @property
    def device(self) -> str:
        """Name of the kernel's device."""
        return f"{self.parent}.{self.vlan}" if self.vlan else self.parent


def links(host: Host, default: str) -> list[Link]:
    """Connections wanted; without any in the configuration the device `default` asks by DHCP."""
    if not host.interfaces:
        return [Link("default", default, 0, "", "")] if default else []
    return [Link(name, one.device, one.vlan, one.address, one.gateway) for name, one in host.interfaces.items()]


def down(link: Link) -> list[Command]:
    """Commands that take a link away; each may fail where there is nothing to take."""
    taken: list[Command] = [("ip", "-4", "addr", "flush", "dev", link.device)]
    if link.vlan:
        taken.append(("ip", "link", "del", "dev", link.device))
    return taken


def up(link: Link) -> list[Command]:
    """Commands that build a link after `down`; each has to succeed. An address by DHCP is asked for afterwards (`client`)."""
    built: list[Command] = [("ip", "link", "set", "dev", link.parent, "up")]
    if link.vlan:
        built.append(("ip", "link", "add", "link", link.parent, "name", link.device, "type", "vlan", "id", str(link.vlan)))
        built.append(("ip", "link", "set", "dev", link.device, "up"))
    if link.address:
        built.append(("ip", "addr", "add", link.address, "broadcast", "+", "dev", link.device))
    if link.gateway:
        built.append(("ip", "route", "replace", "default", "via", link.gateway, "dev", link.device))
    return built


def client(link: Link, program: Sequence[str], script: str, pid_file: str) -> Command:
    """udhcpc on a link: a second per try, in the background after four; asks again every 5 s until somebody answers."""
    return (*program, "-i", link.device, "-s", script, "-p", pid_file, "-t", "4", "-T", "1", "-A", "5", "-b", "-S")


def resolv_conf(servers: Sequence[str]) -> str:
    """The resolver's file."""
    return "".join(f"nameserver {each}\n" for each in servers)


def chrony_conf(servers: Sequence[str], run: str, user: str) -> str:
    """chronyd's file: client only, no port, no remote control."""
    lines = [f"{'server' if _is_address(each) else 'pool'} {each} iburst" for each in servers]
    lines += ["makestep 1 3", "rtcsync", "port 0", "cmdport 0", "bindcmdaddress /", f"driftfile {run}/drift"]
    lines += [f"pidfile {run}/chronyd.pid", f"user {user}"]
    return "\n".join(lines) + "\n"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
