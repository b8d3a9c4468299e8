"""Keep-alives: what peers send to hold a flow open, and what we send to phones behind a router (L1).

Theory of operation
-------------------
RFC 5626 section 3.5: over a stream a peer sends CRLF CRLF and gets CRLF (the framer knows), over UDP a STUN binding request on the SIP
port and gets the address it is seen at (`stun_answer`), from which it learns that its router gave it another one. A phone that does
neither is lost when its router forgets it, mostly after 30 s: a binding over UDP whose Contact is not the address it is seen at is
behind such a router, and gets an OPTIONS every `every_ms`; its answer, whatever it is, renews the router's memory in both
directions. A phone that stops answering keeps its registration: that is for it, and its time, to end.
Invariants: no request goes to a binding that is gone; at most one is open per binding; at most `MAX_KEPT` bindings are kept alive.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from firmware.sip import stun
from firmware.sip.dialog import literal_address, via_value
from firmware.sip.errors import SyntaxProblem
from firmware.sip.flow import Address
from firmware.sip.headers import Headers
from firmware.sip.locate import canonical
from firmware.sip.message import Request
from firmware.sip.registrar import Binding, Registrar, next_contact
from firmware.sip.transaction import MAGIC, TransactionLayer
from firmware.sip.uri import join_host_port, parse_uri

MAX_KEPT = 512
SPREAD = 8           # the first one comes after a random eighth to whole of the interval, so that a branch does not speak in chorus


def stun_answer(data: bytes, source: Address) -> bytes | None:
    """The answer to a STUN keep-alive, None for everything else (RFC 5626 section 8, RFC 8489 section 12)."""
    if not data or data[0] > 3:
        return None
    message = stun.parse(data)
    if message is None or message.kind != stun.BINDING_REQUEST or message.fingerprint is False:
        return None
    unknown = message.unknown((stun.USERNAME, stun.MESSAGE_INTEGRITY))
    if unknown:
        listed = b"".join(one.to_bytes(2, "big") for one in unknown[:16])
        attributes = [(stun.ERROR_CODE, stun.error_code(420, "Unknown Attribute")), (stun.UNKNOWN_ATTRIBUTES, listed)]
        return stun.build(stun.BINDING_ERROR, message.transaction, attributes)
    seen = stun.xor_address(source, message.transaction)
    return stun.build(stun.BINDING_SUCCESS, message.transaction, [(stun.XOR_MAPPED_ADDRESS, seen)])


def behind_router(binding: Binding) -> bool:
    """True for a phone over UDP whose own idea of its address is not where its messages come from."""
    if binding.flow.transport != "udp" or not binding.symmetric:
        return False
    try:
        address = literal_address(parse_uri(binding.uri))
    except SyntaxProblem:
        return False
    return address is not None and (canonical(address[0]), address[1]) != binding.flow.remote


class KeepAlive:
    """See the theory of operation above; `every_ms` 0 for none. `token(n)` gives n random hexadecimal digits."""

    def __init__(self, registrar: Registrar, transactions: TransactionLayer, token: Callable[[int], str], every_ms: int) -> None:
        self._registrar = registrar
        self._transactions = transactions
        self._token = token
        self._every = every_ms
        self._due: list[tuple[int, int, str, str, Address]] = []
        self._kept: set[tuple[str, str, Address]] = set()
        self._order = 0

    def __len__(self) -> int:
        return len(self._kept)

    def watch(self, user: str, bindings: Iterable[Binding], now: int) -> None:
        """An account registered, or its registrations were taken over."""
        for binding in bindings:
            key = (user, binding.uri, binding.flow.remote)
            if self._every and key not in self._kept and len(self._kept) < MAX_KEPT and behind_router(binding):
                self._kept.add(key)
                first = self._every * (1 + int(self._token(4), 16) % SPREAD) // SPREAD
                self._push(now + first, key)

    def deadline(self) -> int | None:
        """When the next one is due."""
        return self._due[0][0] if self._due else None

    def expire(self, now: int) -> None:
        """Send what is due."""
        while self._due and self._due[0][0] <= now:
            _, _, user, uri, remote = heapq.heappop(self._due)
            key = (user, uri, remote)
            held = [one for one in self._registrar.bindings(user, now) if one.uri == uri and one.flow.remote == remote]
            if not held:
                self._kept.discard(key)
                continue
            if self._transactions.room:
                self._send(user, held[0], now)
            self._push(now + self._every, key)

    def _push(self, at: int, key: tuple[str, str, Address]) -> None:
        self._order += 1
        heapq.heappush(self._due, (at, self._order, *key))

    def _send(self, user: str, binding: Binding, now: int) -> None:
        flow = binding.flow
        uri, routes = next_contact(binding)
        own = join_host_port(*flow.local)
        headers = Headers()
        headers.add("Via", via_value(flow, MAGIC + self._token(16)))
        for value in routes:
            headers.add("Route", value)
        headers.add("Max-Forwards", "70")
        headers.add("From", f"<sip:{own}>;tag={self._token(12)}")
        headers.add("To", f"<{uri}>")
        headers.add("Call-ID", self._token(24))
        headers.add("CSeq", "1 OPTIONS")
        headers.add("Contact", f"<sip:{own}>")
        self._transactions.request(Request("OPTIONS", uri, headers), flow, None, now)
