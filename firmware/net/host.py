"""What the kernel knows of the box's network, read from files and plain sockets: interfaces, neighbours, routes, ping.

A ping is an ICMP echo over a datagram socket, which needs no privilege where the kernel's `ping_group_range` allows it. Elsewhere a
datagram to a closed UDP port asks: the host's "port unreachable" proves it as well. Nothing here blocks for longer than the time given.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import select
import socket
import struct
import time
from pathlib import Path

from msgspec import Struct

SIOCGIFADDR, SIOCGIFNETMASK = 0x8915, 0x891B
CLOSED_PORT = 33434             # first of traceroute's, where nothing listens
ECHO_REQUEST, ECHO_REPLY = 8, 0
ECHO6_REQUEST, ECHO6_REPLY = 128, 129
MOST_ROWS = 500
NUD = {0x01: "incomplete", 0x02: "reachable", 0x04: "stale", 0x08: "delay", 0x10: "probe", 0x20: "failed", 0x40: "fixed", 0x80: "fixed"}
RTM_GETNEIGH, RTM_NEWNEIGH, NLM_F_DUMP, NLMSG_DONE = 30, 28, 0x301, 3


class Interface(Struct, frozen=True):
    """One network interface."""

    name: str
    state: str
    addresses: list[str]
    mac: str
    mtu: int
    received: int
    sent: int
    errors: int


class Neighbour(Struct, frozen=True):
    """One entry of the neighbour table."""

    address: str
    mac: str
    interface: str
    state: str


class Route(Struct, frozen=True):
    """One route."""

    target: str
    gateway: str
    interface: str


class Answer(Struct, frozen=True):
    """What came of one ping; `ms` None without an answer. `how`: "icmp" or "udp"."""

    ms: float | None
    said: str
    how: str


def interfaces() -> list[Interface]:
    """All interfaces but those that were never given a state."""
    found = []
    for _, name in socket.if_nameindex()[:64]:
        base = Path("/sys/class/net") / name
        count = {what: _number(base / "statistics" / what) for what in ("rx_bytes", "tx_bytes", "rx_errors", "tx_errors")}
        state = _text(base / "operstate")
        state = "up" if state == "unknown" else state
        mac, mtu, errors = _text(base / "address"), _number(base / "mtu"), count["rx_errors"] + count["tx_errors"]
        found.append(Interface(name, state, _addresses(name), mac, mtu, count["rx_bytes"], count["tx_bytes"], errors))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path)
    return int(text) if text.isdecimal() else 0


def _addresses(name: str) -> list[str]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link, contextlib.suppress(OSError):
        request = struct.pack("256s", name.encode()[:15])
        address = socket.inet_ntoa(fcntl.ioctl(link, SIOCGIFADDR, request)[20:24])
        mask = socket.inet_ntoa(fcntl.ioctl(link, SIOCGIFNETMASK, request)[20:24])
        found.append(str(ipaddress.ip_interface(f"{address}/{mask}")))
    for line in _text(Path("/proc/net/if_inet6")).splitlines():
        parts = line.split()
        if len(parts) == 6 and parts[5] == name:
            found.append(f"{ipaddress.IPv6Address(bytes.fromhex(parts[0]))}/{int(parts[2], 16)}")
    return found


def neighbours() -> list[Neighbour]:
    """The neighbour table of IPv4 and IPv6, as the kernel tells it over netlink; empty where that is not allowed."""
    rows: list[Neighbour] = []
    with contextlib.suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        link.settimeout(1.0)
        link.bind((0, 0))
        link.send(struct.pack("=IHHII", 28, RTM_GETNEIGH, NLM_F_DUMP, 1, 0) + struct.pack("=BxxxiHBB", 0, 0, 0, 0, 0))
        while len(rows) < MOST_ROWS and _neighbours_of(link.recv(65536), rows):
            continue
    return rows


def _neighbours_of(data: bytes, rows: list[Neighbour]) -> bool:
    """Entries of one answer; False after the last."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if kind == NLMSG_DONE or length < 16:
            return False
        if kind == RTM_NEWNEIGH:
            _neighbour(data[at + 16 : at + length], rows)
        at += (length + 3) & ~3
    return True


def _neighbour(body: bytes, rows: list[Neighbour]) -> None:
    family, index, state = struct.unpack_from("=BxxxiH", body)
    address, mac, at = "", "", 12
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if length < 4:
            break
        value = body[at + 4 : at + length]
        if kind == 1:
            address = socket.inet_ntop(family, value) if len(value) in (4, 16) else ""
        elif kind == 2:
            mac = value.hex(":")
        at += (length + 3) & ~3
    if address and state != 0x40 and not ipaddress.ip_address(address).is_multicast:
        name = ""
        with contextlib.suppress(OSError):
            name = socket.if_indextoname(index)
        rows.append(Neighbour(address, mac, name, NUD.get(state, str(state))))


def routes() -> list[Route]:
    """Routes of IPv4, and the default routes of IPv6."""
    rows = []
    for line in _text(Path("/proc/net/route")).splitlines()[1:MOST_ROWS]:
        parts = line.split()
        if len(parts) < 8:
            continue
        target, gateway, mask = (socket.inet_ntoa(bytes.fromhex(parts[at])[::-1]) for at in (1, 2, 7))
        network = str(ipaddress.ip_network(f"{target}/{mask}", strict=False))
        rows.append(Route("default" if network == "0.0.0.0/0" else network, "" if gateway == "0.0.0.0" else gateway, parts[0]))
    for line in _text(Path("/proc/net/ipv6_route")).splitlines()[:MOST_ROWS]:
        parts = line.split()
        if len(parts) == 10 and parts[1] == "00" and set(parts[4]) != {"0"}:
            rows.append(Route("default", str(ipaddress.IPv6Address(bytes.fromhex(parts[4]))), parts[9]))
    return rows


def ping(address: str, seq: int, timeout_s: float = 1.0) -> Answer:
    """One question; returns within `timeout_s`."""
    six = ":" in address
    family = socket.AF_INET6 if six else socket.AF_INET
    try:
        link = socket.socket(family, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)
    except OSError:
        return _knock(family, address, timeout_s)
    with link:
        link.settimeout(timeout_s)
        payload = os.urandom(16)
        began = time.monotonic()
        try:
            link.connect((address, 0))
            link.send(_echo(ECHO6_REQUEST if six else ECHO_REQUEST, seq, payload))
            while True:
                left = began + timeout_s - time.monotonic()
                if left <= 0 or not select.select([link], [], [], left)[0]:
                    return Answer(None, "no answer", "icmp")
                data = link.recv(2048)
                if len(data) >= 24 and data[0] in (ECHO_REPLY, ECHO6_REPLY) and data[8:24] == payload:
                    return Answer((time.monotonic() - began) * 1000, "answers", "icmp")
        except TimeoutError:
            return Answer(None, "no answer", "icmp")
        except OSError as error:
            return Answer(None, error.strerror or "failed", "icmp")


def _echo(kind: int, seq: int, payload: bytes) -> bytes:
    """An echo request; the kernel fills in identifier and, for IPv6, the checksum."""
    head = struct.pack("!BBHHH", kind, 0, 0, 0, seq & 0xFFFF)
    total = sum(struct.unpack(f"!{(len(head) + len(payload)) // 2}H", head + payload))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return head[:2] + struct.pack("!H", ~total & 0xFFFF) + head[4:] + payload


def _knock(family: int, address: str, timeout_s: float) -> Answer:
    """A datagram to a closed port: the refusal is an answer."""
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        began = time.monotonic()
        try:
            link.connect((address, CLOSED_PORT))
            link.send(bytes(8))
            if not select.select([link], [], [], timeout_s)[0]:
                return Answer(None, "no answer", "udp")
            link.recv(64)
        except ConnectionRefusedError:
            return Answer((time.monotonic() - began) * 1000, "answers", "udp")
        except OSError as error:
            return Answer(None, error.strerror or "failed", "udp")
    return Answer((time.monotonic() - began) * 1000, "answers", "udp")
