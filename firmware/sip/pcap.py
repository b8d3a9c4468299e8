"""Packets in a file that Wireshark opens: messages of a call as UDP datagrams (L1, pure).

Theory of operation
-------------------
The classic capture format: a header of 24 bytes (magic number of microsecond stamps, version 2.4, link type 101 "raw IP"), then for each
packet its time, its lengths and the packet, which begins with the IP header (https://www.tcpdump.org/manpages/pcap-savefile.5.html,
LINKTYPE_RAW). What went over TCP or TLS was whole messages for us; they are told as datagrams, too, so that each is one packet. Events that
were no packets (lines, statistics) are syslog datagrams (RFC 3164) of the loopback address: the reader shows all on one time axis.
IPv4 by RFC 791, IPv6 by RFC 8200, UDP by RFC 768 with its checksum.

Invariants: a file is never larger than `MOST_BYTES`; what does not fit is counted in `left_out`; any address text gives a packet.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from firmware.sip.flow import Address

MAGIC: Final = 0xA1B2C3D4
VERSION: Final = (2, 4)
SNAP_BYTES: Final = 65_535
LINKTYPE_RAW: Final = 101
UDP: Final = 17
HOPS: Final = 64
DO_NOT_FRAGMENT: Final = 0x4000
MOST_PAYLOAD: Final = 65_000
MOST_BYTES: Final = 4 << 20
SYSLOG: Final = ("127.0.0.1", 514)
LOCAL0_INFO: Final = 16 * 8 + 6


class Pcap:
    """A capture file in the making; `data()` gives it."""

    def __init__(self) -> None:
        self._parts = [struct.pack("<IHHiIII", MAGIC, *VERSION, 0, 0, SNAP_BYTES, LINKTYPE_RAW)]
        self._size = len(self._parts[0])
        self.packets = 0
        self.left_out = 0

    def add(self, wall_ms: int, source: Address, target: Address, payload: bytes) -> None:
        """A datagram at `wall_ms` (Unix time)."""
        packet = datagram(source, target, payload[:MOST_PAYLOAD], self.packets & 0xFFFF)
        record = struct.pack("<IIII", wall_ms // 1000, wall_ms % 1000 * 1000, len(packet), len(packet)) + packet
        if self._size + len(record) > MOST_BYTES:
            self.left_out += 1
            return
        self._parts.append(record)
        self._size += len(record)
        self.packets += 1

    def note(self, wall_ms: int, text: str) -> None:
        """Something that was no packet."""
        self.add(wall_ms, SYSLOG, SYSLOG, f"<{LOCAL0_INFO}>branchpbx: {text}".encode())

    def data(self) -> bytes:
        """The file."""
        return b"".join(self._parts)


def datagram(source: Address, target: Address, payload: bytes, ident: int = 0) -> bytes:
    """IP and UDP headers, and what they carry. An end whose address is no address is the unspecified one of the other's family."""
    ends = [_host(source[0]), _host(target[0])]
    six = any(isinstance(end, IPv6Address) for end in ends)
    a, b = (_of_family(end, six).packed for end in ends)
    size = 8 + len(payload)
    ports = struct.pack("!HHH", source[1], target[1], size)
    pseudo = a + b + (struct.pack("!IxxxB", size, UDP) if six else struct.pack("!xBH", UDP, size))
    checked = checksum(pseudo + ports + b"\0\0" + payload) or 0xFFFF
    body = ports + struct.pack("!H", checked) + payload
    if six:
        return struct.pack("!IHBB", 6 << 28, size, UDP, HOPS) + a + b + body
    head = struct.pack("!BBHHHBB", 0x45, 0, 20 + size, ident, DO_NOT_FRAGMENT, HOPS, UDP)
    return head + struct.pack("!H", checksum(head + b"\0\0" + a + b)) + a + b + body


def checksum(data: bytes) -> int:
    """One's complement sum of 16-bit words, complemented (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _host(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _of_family(host: IPv4Address | IPv6Address | None, six: bool) -> IPv4Address | IPv6Address:
    if host is None:
        return IPv6Address(0) if six else IPv4Address(0)
    if six and isinstance(host, IPv4Address):
        return IPv6Address(b"\0" * 10 + b"\xff\xff" + host.packed)
    return host
