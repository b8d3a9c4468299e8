"""SIP over UDP: one bound socket, datagrams in and out (L3).

Theory of operation
-------------------
The socket is made and bound by the parent and outlives this process. Datagrams are read in batches straight from the
event loop's reader callback; the address they arrived at comes with each (IP_PKTINFO), because answers and descriptions
must name it, and how long it lay in the kernel (SO_TIMESTAMPNS): the socket outlives this process, and what came while no
process read it happened then. The kernel counts what it dropped for lack of room (SO_RXQ_OVFL). What cannot be sent at once waits in a
bounded queue; beyond that it is dropped and counted, as UDP may (the transaction layer repeats it).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections import deque
from collections.abc import Callable

Address = tuple[str, int]
Deliver = Callable[[bytes, Address, str, Address, int], None]

BATCH = 64
MAX_DATAGRAM = 65_535
MAX_WAITING = 512
_SO_RXQ_OVFL = 40
_IP_PKTINFO = 8
_SO_TIMESTAMPNS = 64    # SO_TIMESTAMPNS_NEW: two 64-bit words on every machine
MAX_WAIT_MS = 30_000    # a longer one is a stepped clock

log = logging.getLogger("branchpbx.net")


class SipUdp:
    """Shell of one UDP socket; `deliver(data, source, "udp", local, waited_ms)` takes what arrives."""

    def __init__(self, sock: socket.socket, deliver: Deliver, loop: asyncio.AbstractEventLoop) -> None:
        self._sock = sock
        self._deliver = deliver
        self._loop = loop
        self._waiting: deque[tuple[bytes, Address]] = deque()
        self.received = 0
        self.sent = 0
        self.dropped_in = 0
        self.dropped_out = 0
        sock.setblocking(False)
        bound = sock.getsockname()
        self.local: Address = (bound[0], bound[1])
        self._any = bound[0] in ("0.0.0.0", "::")
        sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        if self._any and sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        elif self._any:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        loop.add_reader(sock.fileno(), self._readable)

    @classmethod
    def from_fileno(cls, fileno: int, deliver: Deliver, loop: asyncio.AbstractEventLoop) -> SipUdp:
        """Shell over an inherited descriptor, which this object then owns."""
        return cls(socket.socket(fileno=fileno), deliver, loop)

    def send(self, data: bytes, destination: Address) -> None:
        """Send one datagram; never blocks, never raises for the network's sake."""
        if self._waiting:
            self._wait(data, destination)
            return
        try:
            self._sock.sendto(data, destination)
            self.sent += 1
        except (BlockingIOError, InterruptedError):
            self._wait(data, destination)
        except (OSError, OverflowError) as problem:
            self.dropped_out += 1
            log.debug("datagram to %s:%d not sent: %s", *destination, problem)

    def close(self) -> None:
        """Stop using the socket; it stays bound in the parent."""
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()

    def statistics(self) -> dict[str, int]:
        """Counts of datagrams: received, sent, dropped by the kernel on the way in, dropped by us on the way out, waiting."""
        return {
            "received": self.received, "sent": self.sent, "dropped_in": self.dropped_in, "dropped_out": self.dropped_out,
            "waiting": len(self._waiting),
        }  # fmt: skip

    def _wait(self, data: bytes, destination: Address) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self.dropped_out += 1
            return
        self._waiting.append((data, destination))
        self._loop.add_writer(self._sock.fileno(), self._writable)

    def _writable(self) -> None:
        self._loop.remove_writer(self._sock.fileno())
        waiting, self._waiting = self._waiting, deque()
        for data, destination in waiting:
            self.send(data, destination)

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                data, ancillary, _, source = self._sock.recvmsg(MAX_DATAGRAM, 128)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as problem:       # an ICMP error reported on the socket: nothing to read, go on
                log.debug("UDP receive: %s", problem)
                return
            self.received += 1
            local, waited = self.local, 0
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and len(value) >= 4:
                    self.dropped_in = struct.unpack("=I", value[:4])[0]
                elif level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(value) >= 16:
                    waited = _since(*struct.unpack("=qq", value[:16]))
                elif level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(value) >= 12:
                    local = (socket.inet_ntop(socket.AF_INET, value[8:12]), self.local[1])
                elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(value) >= 16:
                    local = (socket.inet_ntop(socket.AF_INET6, value[:16]), self.local[1])
            try:
                self._deliver(data, (source[0], source[1]), "udp", local, waited)
            except Exception:
                log.exception("datagram from %s:%d failed", source[0], source[1])


def _since(seconds: int, nanoseconds: int) -> int:
    """Milliseconds since an instant of the system's clock; 0 where that clock was set in between."""
    waited = (time.time_ns() - seconds * 1_000_000_000 - nanoseconds) // 1_000_000
    return waited if 0 < waited <= MAX_WAIT_MS else 0
