"""A UDP socket that hears a multicast group and answers from an address of its own (L3)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

Address = tuple[str, int]
LARGEST = 8192


class GroupSocket:
    """Hears `group`:`port` on the interface of `own`; what is sent leaves from another socket, whose answers are heard, too.

    `heard(data, source)` is called for each datagram. Raises OSError where the group cannot be joined.
    """

    def __init__(self, group: str, port: int, own: str, loop: asyncio.AbstractEventLoop, heard: Callable[[bytes, Address], None]) -> None:
        self._loop = loop
        self._heard = heard
        self._sockets: list[socket.socket] = []
        try:
            listening = self._made()
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)      # beside the SIP port of call control
            listening.bind((group, port))
            interface = socket.inet_aton(own if own not in ("", "::") else "0.0.0.0")
            listening.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + interface)
            self._answering = self._made()
            self._answering.bind((own if own not in ("", "::") else "0.0.0.0", 0))
        except OSError:
            self.close()
            raise
        for each in self._sockets:
            loop.add_reader(each.fileno(), self._ready, each)

    def _made(self) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        self._sockets.append(made)
        return made

    @property
    def port(self) -> int:
        """The port that answers leave from."""
        return int(self._answering.getsockname()[1])

    def send(self, data: bytes, destination: Address) -> None:
        """Send one datagram; one that cannot be sent now is lost, as in the network."""
        with contextlib.suppress(OSError):
            self._answering.sendto(data, destination)

    def close(self) -> None:
        """Leave the group."""
        for each in self._sockets:
            if each.fileno() >= 0:
                self._loop.remove_reader(each.fileno())
            each.close()
        self._sockets.clear()

    def _ready(self, which: socket.socket) -> None:
        for _ in range(32):
            try:
                data, source = which.recvfrom(LARGEST)
            except OSError:
                return
            self._heard(data, (str(source[0]), int(source[1])))
