"""Checks of networks, addresses and name servers (L1, pure)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from firmware.config.problems import Findings
from firmware.config.schema.tree import Config

NUMERIC = "0123456789."


def network_check(config: Config, findings: Findings) -> None:
    """Add every problem of `networks`, `sip.external_address` and `sip.name_servers`."""
    for name, network in config.networks.items():
        for index, subnet in enumerate(network.subnets):
            try:
                ip_network(subnet, strict=False)
            except ValueError:
                findings.add(f"networks.{name}.subnets[{index}]", subnet, "is not a subnet", "write it as 192.168.1.0/24 or fd00:1::/64")
        if network.address and not _is_address(network.address):
            findings.add(f"networks.{name}.address", network.address, "is not an address", "write it as 192.168.1.2 or fd00:1::2")
    external = config.sip.external_address
    if external and (":" in external or not external.strip(NUMERIC)) and not _is_address(external):
        findings.add("sip.external_address", external, "is not an address", "write it as 203.0.113.7, or give a host name")
    if external and not config.rtp.first_port:
        findings.add(
            "sip.external_address", external, "needs audio ports that a router can forward, and rtp.first_port is 0 (others at each start)",
            "set rtp.first_port, and forward two ports from there on for each of rtp.calls",
        )  # fmt: skip
    if external and not config.sip.port:
        findings.add("sip.external_address", external, "needs a SIP port that a router can forward", "set sip.port")
    for index, server in enumerate(config.sip.name_servers):
        host, port = _split(server)
        if not _is_address(host) or not 0 < port <= 65535:
            findings.add(f"sip.name_servers[{index}]", server, "is not the address of a server", "write it as 192.168.1.1, or with :53")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _split(server: str) -> tuple[str, int]:
    if server.startswith("["):
        host, _, port = server[1:].partition("]")
        return host, int(port[1:] or 53)
    if server.count(":") == 1:
        host, _, port = server.partition(":")
        return host, int(port)
    return server, 53
