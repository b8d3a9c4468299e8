"""SIP over UDP: one bound socket, datagrams in and out (L3).

Theory of operation
-------------------
The socket is made and bound by the parent and outlives this process. Datagrams are read in batches straight from the
event loop's reader callback; the address they arrived at comes with each (IP_PKTINFO), because answers and descriptions
must name it, and how long it lay in the kernel (SO_TIMESTAMPNS): the socket outlives this process, and what came while no
process read it happened then. The kernel counts what it dropped for lack of room (SO_RXQ_OVFL). What cannot be sent at once waits in a
bounded queue; beyond that it is dropped and counted, as UDP may (the transaction layer repeats it). What the network says of a peer
that is not there (no route, or ICMP, which IP_RECVERR brings with the address it is about) goes to `unreachable`: a transport failure
in the words of RFC 3261 section 18.4, after which the next target is tried.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
import time
from collections import deque
from collections.abc import Callable

from firmware.dsp.datagram import Receiver
from firmware.net.address import for_socket, plain

Address = tuple[str, int]
Deliver = Callable[[bytes, Address, str, Address, int], None]

BATCH = 64
MAX_WAITING = 512
_SO_RXQ_OVFL = 40
_IP_PKTINFO = 8
_SO_TIMESTAMPNS = 64    # SO_TIMESTAMPNS_NEW: two 64-bit words on every machine
MAX_WAIT_MS = 30_000    # a longer one is a stepped clock
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_NOT_THERE = frozenset((errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH))
_STALE = frozenset((errno.ECONNREFUSED,))     # never of the datagram in hand: that was not sent yet
TRIES = 4

log = logging.getLogger("branchpbx.net")


class SipUdp:
    """Shell of one UDP socket: `deliver(data, source, "udp", local, waited_ms)` what arrives, `unreachable("udp", peer)` who does not."""

    def __init__(
        self,
        sock: socket.socket,
        deliver: Deliver,
        loop: asyncio.AbstractEventLoop,
        unreachable: Callable[[str, Address], None] = lambda transport, peer: None,
    ) -> None:
        self._sock = sock
        self._deliver = deliver
        self._loop = loop
        self._unreachable = unreachable
        self._family = sock.family
        self._fd = sock.fileno()
        self._receiver = Receiver()
        self._waiting: deque[tuple[bytes, Address]] = deque()
        self.received = 0
        self.sent = 0
        self.dropped_out = 0
        self.not_there = 0
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
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
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
        address = (for_socket(destination[0], self._family), destination[1])
        try:
            for tries in range(TRIES, -1, -1):
                try:
                    self._sock.sendto(data, address)
                    break
                except OSError as problem:
                    # What ICMP said of any peer is reported once, to whoever uses the socket next: each of them in turn.
                    if problem.errno not in _NOT_THERE or (not tries and problem.errno not in _STALE):
                        raise
                    for peer in self._errors():
                        self._loop.call_soon(self._missing, peer)
            else:
                self._wait(data, destination)
                return
            self.sent += 1
        except (BlockingIOError, InterruptedError):
            self._wait(data, destination)
        except (OSError, OverflowError) as problem:
            self.dropped_out += 1
            log.debug("datagram to %s:%d not sent: %s", *destination, problem)
            if isinstance(problem, OSError) and problem.errno in _NOT_THERE:
                # Not at once: whoever sends is in the middle of something.
                self._loop.call_soon(self._missing, destination)

    def close(self) -> None:
        """Stop using the socket; it stays bound in the parent."""
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()

    def statistics(self) -> dict[str, int]:
        """Counts of datagrams: received, sent, dropped by the kernel on the way in, by us on the way out, waiting, to nobody."""
        return {
            "received": self.received, "sent": self.sent, "dropped_in": self._receiver.dropped, "dropped_out": self.dropped_out,
            "waiting": len(self._waiting), "not_there": self.not_there,
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

    def _missing(self, peer: Address) -> None:
        self.not_there += 1
        try:
            self._unreachable("udp", peer)
        except Exception:
            log.exception("the end of %s:%d failed", *peer)

    def _errors(self) -> list[Address]:
        """Which peers ICMP is about: the kernel keeps the first bytes of what could not be delivered, with its destination."""
        found: list[Address] = []
        for _ in range(BATCH):
            try:
                _, ancillary, _, peer = self._sock.recvmsg(0, 256, socket.MSG_ERRQUEUE)
            except OSError:
                break
            for level, kind, value in ancillary:
                if (level, kind) in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)) and len(value) >= 4:
                    if struct.unpack_from("=I", value)[0] in _NOT_THERE and peer:
                        found.append((plain(peer[0]), peer[1]))
        return found

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                taken = self._receiver.take(self._fd)
            except OSError as problem:       # an ICMP error reported on the socket
                log.debug("UDP receive: %s", problem)
                for peer in self._errors():
                    self._missing(peer)
                continue
            if taken is None:
                return
            self.received += 1
            data, host, port, at, stamp = taken
            local = (plain(at), self.local[1]) if at else self.local
            try:
                self._deliver(data, (plain(host), port), "udp", local, _since(stamp) if stamp else 0)
            except Exception:
                log.exception("datagram from %s:%d failed", host, port)


def _since(stamp_ns: int) -> int:
    """Milliseconds since an instant of the system's clock; 0 where that clock was set in between."""
    waited = (time.time_ns() - stamp_ns) // 1_000_000
    return waited if 0 < waited <= MAX_WAIT_MS else 0
