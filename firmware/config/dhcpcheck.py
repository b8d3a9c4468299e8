"""Checks of the DHCP server (L1, pure); see `crosscheck.py` for how."""

from __future__ import annotations

from ipaddress import IPv4Address

from firmware.config.problems import Findings
from firmware.config.schema.tree import Config

MOST_ADDRESSES = 2048


def dhcp_check(config: Config, findings: Findings) -> None:
    """Add every problem of `dhcp`."""
    settings = config.dhcp
    known: dict[str, IPv4Address] = {}
    for name in ("first", "last", "router"):
        value = getattr(settings, name)
        if not value:
            continue
        try:
            known[name] = IPv4Address(value)
        except ValueError:
            findings.add(f"dhcp.{name}", value, "is not an address", "write it as 192.168.1.100")
    for index, server in enumerate(settings.name_servers):
        try:
            IPv4Address(server)
        except ValueError:
            findings.add(f"dhcp.name_servers[{index}]", server, "is no IPv4 address", "write it as 192.168.1.1, without a port")
    if not settings.enabled:
        return
    for name in ("first", "last"):
        if not getattr(settings, name):
            findings.add(f"dhcp.{name}", None, "is missing", "give the range of addresses that are handed out")
    if "first" in known and "last" in known:
        count = int(known["last"]) - int(known["first"]) + 1
        if not 1 <= count <= MOST_ADDRESSES:
            findings.add("dhcp.last", settings.last, f"makes a range of {count} addresses", f"allowed: 1 to {MOST_ADDRESSES}")
        elif "router" in known and known["first"] <= known["router"] <= known["last"]:
            findings.add("dhcp.router", settings.router, "lies within the range that is handed out", "move the range")
