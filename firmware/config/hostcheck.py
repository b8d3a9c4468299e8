"""Checks of the box's own addresses (L1, pure); see `crosscheck.py` for how.

What is refused here would leave the box unreachable whatever the network is like: addresses that no machine can have, two connections in
one network, a router that is not there. What only the network can tell is for `commit confirmed`.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface, ip_address

from firmware.config.problems import Findings
from firmware.config.schema.host import Interface
from firmware.config.schema.tree import Config

LEAST_LENGTH, MOST_LENGTH = 8, 30
NAME = re.compile(r"[A-Za-z0-9_-]{1,20}\Z")


def host_check(config: Config, findings: Findings) -> None:
    """Add every problem of `host`."""
    seen: dict[tuple[str, int], str] = {}
    fixed: dict[str, IPv4Interface] = {}
    routed = ""
    for name, one in config.host.interfaces.items():
        where = f"host.interfaces.{name}"
        if NAME.match(name) is None:
            findings.add(where, None, "has a name that cannot be used", "allowed: letters, digits, _ and -")
        other = seen.setdefault((one.device, one.vlan), name)
        if other != name:
            findings.add(
                f"{where}.device", one.device, f"is that of {other}, too, in the same VLAN",
                "give each connection a device or VLAN of its own",
            )  # fmt: skip
        own = _address(where, one, findings)
        if own is not None:
            for known, network in fixed.items():
                if network.network.overlaps(own.network):
                    findings.add(
                        f"{where}.address", one.address, f"lies in the network of {known}", "give each connection a network of its own",
                    )  # fmt: skip
            fixed[name] = own
        if one.gateway:
            _gateway(where, one, own, findings)
            if routed:
                findings.add(
                    f"{where}.gateway", one.gateway, f"is the second router to everywhere; {routed} has one", "leave one of them empty",
                )  # fmt: skip
            routed = routed or name
        if config.dhcp.enabled and config.dhcp.interface == _kernel_name(one) and not one.address:
            findings.add("dhcp.interface", config.dhcp.interface, "asks for its own address by DHCP", f"give {where}.address a fixed one")
    for index, server in enumerate(config.host.name_servers):
        try:
            ip_address(server)
        except ValueError:
            findings.add(f"host.name_servers[{index}]", server, "is not an address", "write it as 192.168.1.1 or fd00:1::1")


def _kernel_name(one: Interface) -> str:
    return f"{one.device}.{one.vlan}" if one.vlan else one.device


def _address(where: str, one: Interface, findings: Findings) -> IPv4Interface | None:
    if not one.address:
        return None
    try:
        own = IPv4Interface(one.address)
    except ValueError:
        findings.add(f"{where}.address", one.address, "is not an address with its network", "write it as 192.168.1.10/24")
        return None
    if not LEAST_LENGTH <= own.network.prefixlen <= MOST_LENGTH:
        findings.add(
            f"{where}.address", one.address, f"has a network of length {own.network.prefixlen}",
            f"allowed: {LEAST_LENGTH} to {MOST_LENGTH}",
        )  # fmt: skip
    elif own.ip in (own.network.network_address, own.network.broadcast_address):
        findings.add(f"{where}.address", one.address, "is the network itself or all of it, no machine's", "take an address in between")
    elif own.is_multicast or own.is_loopback or own.is_unspecified or own.is_reserved:
        findings.add(
            f"{where}.address", one.address, "is no address of a machine", "take one of the branch's network, such as 192.168.1.10/24",
        )  # fmt: skip
    else:
        return own
    return None


def _gateway(where: str, one: Interface, own: IPv4Interface | None, findings: Findings) -> None:
    if not one.address:
        findings.add(f"{where}.gateway", one.gateway, "stands beside an address by DHCP, which tells the router itself", "leave it empty")
        return
    try:
        router = IPv4Address(one.gateway)
    except ValueError:
        findings.add(f"{where}.gateway", one.gateway, "is not an address", "write it as 192.168.1.1")
        return
    if own is not None and (router not in own.network or router == own.ip):
        findings.add(f"{where}.gateway", one.gateway, f"is no other machine of {own.network}", "take the router's address in that network")
