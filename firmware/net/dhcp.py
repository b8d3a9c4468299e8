"""DHCP beside the appliance: is there a server already, and what dnsmasq is told (L3).

Theory of operation
-------------------
`discover` broadcasts a DHCPDISCOVER (RFC 2131) with the broadcast flag from 0.0.0.0:68 of one interface and names every server that
offers: two servers in one network hand out addresses that do not fit, so ours starts only where nobody answers. It takes no address and
leaves no lease.
`dnsmasq_conf` is the whole configuration of the daemon that serves: one range on one interface, no DNS, no TFTP, nothing from files of
the system. Telephones are told where their settings are (options 66 and 160, and 43 with the address as its first sub-option, RFC 2132
section 8.4), and the VLAN for voice (option 132, as the makers use it; `lldp.py` announces the same).
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from ipaddress import IPv4Address, IPv4Interface

from firmware.config.schema.dhcp import Dhcp

BROADCAST_FLAG = 0x8000
COOKIE = b"\x63\x82\x53\x63"
_HEADER = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s")
SO_BINDTODEVICE = 25
TRIES, TRY_S = 3, 2.5
MOST_SUB_OPTION = 253       # bytes: an option has 255, the head of its sub-option two


def discover_packet(mac: bytes, transaction: int) -> bytes:
    """A DHCPDISCOVER that is to be answered by broadcast."""
    head = _HEADER.pack(1, 1, 6, 0, transaction, 0, BROADCAST_FLAG, *(bytes(4),) * 4, mac.ljust(16, b"\0"), bytes(64), bytes(128))
    return head + COOKIE + bytes([53, 1, 1]) + bytes([55, 3, 1, 3, 54]) + bytes([61, 7, 1]) + mac + b"\xff"


def offer_of(data: bytes, transaction: int) -> str:
    """The server that offers in answer to our packet; "" for everything else."""
    if len(data) < _HEADER.size + 4 or data[0] != 2 or data[_HEADER.size : _HEADER.size + 4] != COOKIE:
        return ""
    if _HEADER.unpack_from(data)[4] != transaction:
        return ""
    options: dict[int, bytes] = {}
    at = _HEADER.size + 4
    while at + 1 < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        length = data[at + 1]
        options[data[at]] = data[at + 2 : at + 2 + length]
        at += 2 + length
    server = options.get(54, b"")
    return str(IPv4Address(server)) if options.get(53) == b"\x02" and len(server) == 4 else ""


async def discover(interface: str, *, tries: int = TRIES, try_s: float = TRY_S) -> list[str]:
    """Addresses of the DHCP servers that answer on an interface. Raises OSError (no such interface, no right to ask)."""
    loop = asyncio.get_running_loop()
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        asking.setblocking(False)
        for option in (socket.SO_REUSEADDR, socket.SO_BROADCAST):
            asking.setsockopt(socket.SOL_SOCKET, option, 1)
        asking.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, interface.encode() + b"\0")
        asking.bind(("0.0.0.0", 68))
        found: set[str] = set()
        transaction = int.from_bytes(os.urandom(4), "big")      # one for all tries: servers that look first who has an address take 3 s
        packet = discover_packet(b"\x02" + os.urandom(5), transaction)
        for _ in range(tries):
            await loop.sock_sendto(asking, packet, ("255.255.255.255", 67))
            until = loop.time() + try_s
            while (left := until - loop.time()) > 0:
                try:
                    data = await asyncio.wait_for(loop.sock_recv(asking, 2048), left)
                except TimeoutError:
                    break
                server = offer_of(data, transaction)
                if server:
                    found.add(server)
            if found:
                break
        return sorted(found)
    finally:
        asking.close()


def dnsmasq_conf(settings: Dhcp, own: IPv4Interface, entrance: str, leases: str) -> str:
    """The daemon's configuration. `own`: address and network of the interface; `entrance`: where telephones fetch their settings."""
    servers = settings.name_servers or ([settings.router] if settings.router else [])
    lines = [
        "port=0", "no-resolv", "no-hosts", "no-ping", f"interface={settings.interface}", "bind-dynamic", "except-interface=lo",
        f"dhcp-range={settings.first},{settings.last},{own.netmask},{settings.lease_h}h", "dhcp-authoritative",
        f"dhcp-leasefile={leases}", "dhcp-lease-max=2048", "log-facility=-", "pid-file=", "user=root",
        f"dhcp-option=3,{settings.router}" if settings.router else "dhcp-option=3",
        f"dhcp-option=6,{','.join(servers)}" if servers else "dhcp-option=6",
    ]  # fmt: skip
    if entrance:
        lines += [f'dhcp-option-force=66,"{entrance}"', f'dhcp-option-force=160,"{entrance}"']
        lines += [f"dhcp-option-force=43,{option.hex(':')}"] if (option := vendor_option(entrance)) else []
    if settings.voice_vlan:
        lines.append(f'dhcp-option-force=132,"{settings.voice_vlan}"')
    return "\n".join(lines) + "\n"


def vendor_option(entrance: str) -> bytes:
    """Option 43 with the address as sub-option 1; empty where the address is too long for it (253 bytes)."""
    text = entrance.encode()
    return bytes([1, len(text)]) + text if text and len(text) <= MOST_SUB_OPTION else b""
