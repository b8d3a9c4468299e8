"""Where messages come from and go to (L1).

A `Flow` is a transport with both addresses (RFC 5626 section 3): the pair of UDP addresses, or a connection. Answers and
requests of a dialog go back over the flow they came by. `local` is our end as this peer is told it (`networks.py`).
`Outgoing` is what a transport shell has to send.
"""

from __future__ import annotations

import msgspec

SECURED = frozenset(("tls", "wss"))
RELIABLE = frozenset(("tcp", "tls", "ws", "wss"))
WEB = frozenset(("ws", "wss"))
FRAMED = frozenset(("udp", "ws", "wss"))     # one message comes whole, whatever its Content-Length says (RFC 7118 section 5)
#: What a SIP URI says of a transport (RFC 7118 section 5.2.2: there is no "wss", the scheme says whether it is secure).
URI_PARAMETER = {"udp": "", "tcp": ";transport=tcp", "tls": ";transport=tls", "ws": ";transport=ws", "wss": ";transport=ws"}
Address = tuple[str, int]


class Flow(msgspec.Struct, frozen=True, gc=False):
    """A transport ("udp", "tcp", ...) and its two ends; `name` is what a TLS peer that we connect to must prove to be."""

    transport: str
    remote: Address
    local: Address
    name: str = ""

    @property
    def reliable(self) -> bool:
        return self.transport in RELIABLE


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """Bytes for a destination; `close` asks a stream transport to close that connection once they are written."""

    transport: str
    destination: Address
    data: bytes
    local: Address = ("", 0)
    close: bool = False
    name: str = ""
