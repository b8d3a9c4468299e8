"""What really goes over a cable, read at its end: marks and addresses."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from tests.nat.namespaces import Namespace

_ALL = 3                    # ETH_P_ALL


class Packet(NamedTuple):
    """An IP packet with UDP or TCP in it. `dscp` of its header."""

    dscp: int
    source: str
    destination: str
    kind: str
    ports: tuple[int, int]
    body: bytes


class Ear:
    """Listens on a device of a machine from now on."""

    def __init__(self, where: Namespace, device: str) -> None:
        self._socket = where.inside(lambda: self._open(device))

    @staticmethod
    def _open(device: str) -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        made.bind((device, _ALL))
        made.setblocking(False)
        return made

    def packets(self) -> Iterator[Packet]:
        """What has come by so far."""
        while True:
            try:
                data = self._socket.recv(65535)
            except BlockingIOError:
                return
            packet = _parsed(data[14:])
            if packet is not None:
                yield packet

    def close(self) -> None:
        self._socket.close()


def _parsed(data: bytes) -> Packet | None:
    version = data[0] >> 4 if data else 0
    if version == 4:
        head, protocol, dscp = (data[0] & 15) * 4, data[9], data[1] >> 2
        source, destination = socket.inet_ntop(socket.AF_INET, data[12:16]), socket.inet_ntop(socket.AF_INET, data[16:20])
    elif version == 6:
        head, protocol, dscp = 40, data[6], (struct.unpack_from("!H", data)[0] >> 4 & 0xFF) >> 2
        source, destination = socket.inet_ntop(socket.AF_INET6, data[8:24]), socket.inet_ntop(socket.AF_INET6, data[24:40])
    else:
        return None
    kind = {17: "udp", 6: "tcp"}.get(protocol, "")
    if not kind:
        return None
    ports = struct.unpack_from("!HH", data, head)
    body = data[head + (8 if kind == "udp" else (data[head + 12] >> 4) * 4) :]
    return Packet(dscp, source, destination, kind, ports, body)
