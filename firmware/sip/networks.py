"""Which of our addresses a peer is told, and whether an address that a peer tells can be its own (L1).

Theory of operation
-------------------
A box behind a router has one address in its own network and another one outside; a box between two networks has one in each. Via,
Contact and session descriptions must name the one that this peer can reach (feature D4), so the address is chosen once, where a message
comes in or a flow is made, and everything else follows from `Flow.local`:
1. the `address` of the first configured network that the peer is in (an empty one: where the message arrived);
2. the external address, for a peer out in the public network;
3. where the message arrived.
A peer in a private network is never told the external address unless a network says so: its calls would run through the router.

`scope` parts addresses into what can reach one another without help: a Contact of another scope than its message came from is what a
router hides, and the message's source is used instead (RFC 3581, RFC 5626 in spirit).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from firmware.sip.flow import Address

OUTSIDE, ELSEWHERE = -1, -2
_SHARED = IPv4Network("100.64.0.0/10")       # carriers' own NAT (RFC 6598): not private in the library's words


@lru_cache(maxsize=4096)
def scope(host: str) -> str:
    """"local" (this machine or link), "private" (RFC 1918, 4193, 6598), "public", or "" for what is no address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        return "local"
    if isinstance(address, IPv6Address):
        return "private" if address in _UNIQUE_LOCAL else "public"
    return "private" if address in _SHARED or any(address in one for one in _PRIVATE) else "public"


_UNIQUE_LOCAL = IPv6Network("fc00::/7")
_PRIVATE = (IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16"))


def hidden(told: str, source: str) -> bool:
    """True where an address that a peer at `source` told cannot be reached from here as it is."""
    mine, other = scope(told), scope(source)
    return bool(mine and other) and mine != other


class Networks:
    """`networks`: subnets (CIDR) and the address told there, in order; `external`: told to the public network ("" for none)."""

    def __init__(self, networks: Iterable[tuple[Sequence[str], str]] = (), external: str = "") -> None:
        self._networks: list[tuple[list[IPv4Network | IPv6Network], str]] = [
            ([ip_network(subnet, strict=False) for subnet in subnets], address) for subnets, address in networks
        ]
        self.external = external
        self._told: dict[str, str] = {}

    def use(self, external: str) -> None:
        """The external address, which may change while we run (a name in DNS, another uplink)."""
        if external != self.external:
            self.external = external
            self._told.clear()

    def told(self, remote: str, local: Address) -> Address:
        """The address that `remote` is told where its message arrived at, or would be sent from, `local`."""
        if not self.external and not self._networks:
            return local
        address = self._told.get(remote)
        if address is None:
            if len(self._told) >= 4096:
                self._told.clear()
            address = self._told[remote] = self._address(remote)
        return (address, local[1]) if address else local

    def which(self, remote: str) -> int:
        """The configured network that a peer is in (its place), `OUTSIDE` where it is told the external address, else `ELSEWHERE`."""
        try:
            peer = ip_address(remote.partition("%")[0])
        except ValueError:
            return ELSEWHERE
        for place, (subnets, _) in enumerate(self._networks):
            if any(peer in subnet for subnet in subnets):
                return place
        if not self.external or scope(remote) != "public":
            return ELSEWHERE
        try:
            external = ip_address(self.external)
        except ValueError:
            return ELSEWHERE
        return OUTSIDE if isinstance(external, IPv4Address) == isinstance(peer, IPv4Address) else ELSEWHERE

    def _address(self, remote: str) -> str:
        place = self.which(remote)
        return self.external if place == OUTSIDE else self._networks[place][1] if place >= 0 else ""
