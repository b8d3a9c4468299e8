"""Where messages come from and go to (L1).

A `Flow` is a transport with both addresses (RFC 5626 section 3): the pair of UDP addresses, or a connection. Answers and
requests of a dialog go back over the flow they came by. `Outgoing` is what a transport shell has to send.
"""

from __future__ import annotations

import msgspec

RELIABLE = frozenset(("tcp", "tls", "ws", "wss"))
Address = tuple[str, int]


class Flow(msgspec.Struct, frozen=True):
    """A transport ("udp", "tcp", ...) and its two ends."""

    transport: str
    remote: Address
    local: Address

    @property
    def reliable(self) -> bool:
        return self.transport in RELIABLE


class Outgoing(msgspec.Struct, frozen=True):
    """Bytes for a destination; `close` asks a stream transport to close that connection once they are written."""

    transport: str
    destination: Address
    data: bytes
    local: Address = ("", 0)
    close: bool = False
