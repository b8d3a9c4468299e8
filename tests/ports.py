"""Ports for servers that a test starts, whichever of the three kinds of helper starts them."""

from __future__ import annotations

import errno
import random
import socket

# Above what the kernel hands out by itself (ip_local_port_range ends at 60999): between asking here and binding there, a connection
# going out or one of the engine's RTP sockets would otherwise take the very port, and did.
FIRST, LAST = 61_001, 65_400
_given: set[int] = set()
_draws = random.SystemRandom()  # not the test's seed: two runs on one machine must not draw the same


def taken(host: str, port: int, kinds: tuple[int, ...] = (socket.SOCK_STREAM, socket.SOCK_DGRAM)) -> bool:
    """Whether a server of one of these kinds could not bind there now."""
    for kind in kinds:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                return True
    return False


def free_port(host: str = "127.0.0.1", row: int = 1) -> int:
    """First of `row` ports in a row, even if there are several, free for TCP and UDP; no port is given twice to one process."""
    while True:
        port = _draws.randrange(FIRST, LAST)
        wanted = range(port + (port & 1), port + (port & 1) + row) if row > 1 else range(port, port + 1)
        if _given.isdisjoint(wanted) and not any(taken(host, one) for one in wanted):
            _given.update(wanted)
            return wanted[0]
