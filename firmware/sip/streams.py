"""When a request that is too large for a datagram goes over a stream (L1). RFC 3261 section 18.1.1.

Theory of operation
-------------------
A request above `MOST_UDP` bytes would be cut into fragments, which many routers drop. It goes over TCP where the peer can be expected to
listen there: at the very address that its datagrams come from, unless its URI asks for UDP. A first INVITE tries TCP as one of its ways
(`session_ways.py`); a request within a dialog (NOTIFY, re-INVITE, UPDATE, ...) keeps its transaction and branch, and is sent again as a
datagram once the connection is refused or nobody has answered for `STREAM_PATIENCE_MS` (`transaction.py`): a peer that got both takes the
second for a repetition. Who takes no connection is remembered for a while.
Invariants: the dialog stays on its flow, whatever one of its requests went over; memory of refusals is bounded.
"""

from __future__ import annotations

import msgspec

from firmware.sip.dialog import literal_address
from firmware.sip.errors import SyntaxProblem
from firmware.sip.flow import Address, Flow
from firmware.sip.locate import canonical
from firmware.sip.message import Request
from firmware.sip.uri import Uri, parse_name_addr, parse_uri

MOST_UDP = 1300              # the path's MTU being unknown
STREAM_PATIENCE_MS = 1500    # a peer that takes a connection answers 100, or at all, at once
STREAMLESS_MS = 3_600_000
MAX_STREAMLESS = 512


def first_hop(request: Request, uri: str) -> Uri:
    """The URI that a request to `uri` goes to first."""
    routes = request.headers.values("route")
    return parse_name_addr(routes[0]).uri if routes else parse_uri(uri)


def stream_way(request: Request, flow: Flow, size: int) -> Flow | None:
    """TCP to the same place, for what is too large for a datagram; None where no connection leads there or UDP is asked for."""
    if flow.transport != "udp" or size <= MOST_UDP:
        return None
    try:
        uri = first_hop(request, request.uri)
        if uri.param("transport") is not None:
            return None                                    # UDP is what the peer asks for
        address = literal_address(uri)
    except SyntaxProblem:
        return None
    if address is not None and (canonical(address[0]), address[1]) != flow.remote:
        return None                                        # behind a router, where no connection leads
    return msgspec.structs.replace(flow, transport="tcp")


class Streamless:
    """Peers that took no connection a while ago."""

    def __init__(self) -> None:
        self._until: dict[Address, int] = {}

    def __len__(self) -> int:
        return len(self._until)

    def add(self, remote: Address, now: int) -> None:
        """A peer takes no connection."""
        self._until.pop(remote, None)
        while len(self._until) >= MAX_STREAMLESS:
            del self._until[next(iter(self._until))]
        self._until[remote] = now + STREAMLESS_MS

    def has(self, remote: Address, now: int) -> bool:
        """Whether a connection to this peer is not worth trying."""
        return self._until.get(remote, now) > now
