"""Digest authentication, client side (L1).

Theory of operation
-------------------
RFC 7616 and 8760 on RFC 3261 section 22. A far end may challenge several times at once: one algorithm beside another, and one realm
beside another (a proxy and the server behind it). For each realm the strongest algorithm that we know is taken, whatever its place in
the list. What a challenge was answered with is remembered by realm, so that the next request over the same registration can carry
credentials at once, with the next nonce count.
Invariants: a request is answered again only for a new reason (the first challenge, or stale=true), so a wrong password costs two
requests and no more; the password appears in no message, and in no representation of these objects; what cannot be read is no
challenge.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from firmware.sip.auth import ALGORITHMS, digest_response, parse_digest, user_hash
from firmware.sip.errors import SyntaxProblem
from firmware.sip.message import Request, Response
from firmware.sip.uri import quote, split_outside

#: From the strongest (RFC 8760 section 2.6 wants the first that is known; strength is what an attacker in between could take away).
STRENGTH = ("SHA-512-256", "SHA-256", "MD5")
MOST_REALMS = 4
MOST_ANSWERS = 3                         # of one request: the first challenge, and stale nonces
_ANSWERED_BY = {401: ("www-authenticate", "Authorization"), 407: ("proxy-authenticate", "Proxy-Authorization")}


class Challenge(msgspec.Struct, frozen=True):
    """One challenge that can be answered."""

    header: str                          # the header that answers it
    realm: str
    nonce: str
    algorithm: str
    named: bool                          # the algorithm was written out
    qop: str                             # "auth", or "" for the form of RFC 2069
    opaque: str | None
    stale: bool


def challenges(response: Response) -> list[Challenge]:
    """What a 401 or 407 asks for that we can answer: the strongest of each realm, in their order."""
    if response.status not in _ANSWERED_BY:
        return []
    name, header = _ANSWERED_BY[response.status]
    best: dict[str, Challenge] = {}
    for value in response.headers.get_all(name):
        try:
            found = _challenge(value, header)
        except SyntaxProblem:
            continue
        if found is None:
            continue
        known = best.get(found.realm)
        if known is None and len(best) >= MOST_REALMS:
            continue
        if known is None or STRENGTH.index(found.algorithm) < STRENGTH.index(known.algorithm):
            best[found.realm] = found
    return list(best.values())


def _challenge(value: str, header: str) -> Challenge | None:
    fields = parse_digest(value)
    if not fields or not fields.get("nonce") or "realm" not in fields:
        return None
    algorithm = fields.get("algorithm", "MD5").upper()
    if algorithm not in ALGORITHMS:
        return None
    offered = [one.strip().lower() for one in split_outside(fields.get("qop", ""), ",") if one.strip()]
    if offered and "auth" not in offered:
        return None
    stale = fields.get("stale", "").lower() == "true"
    return Challenge(header, fields["realm"], fields["nonce"], algorithm, "algorithm" in fields, "auth" if offered else "",
                     fields.get("opaque"), stale)  # fmt: skip


class DigestClient:
    """Credentials of one account; `token(n)` gives n random hexadecimal digits."""

    __slots__ = ("_known", "_secret", "_token", "user")

    def __init__(self, user: str, secret: str, token: Callable[[int], str]) -> None:
        self.user = user
        self._secret = secret
        self._token = token
        self._known: dict[str, tuple[Challenge, int]] = {}        # realm -> its last challenge and how often its nonce was used

    def answer(self, request: Request, response: Response, tried: int) -> tuple[tuple[str, str], ...]:
        """Headers that answer a challenge of `request`; empty when there is no point. `tried`: challenges of it answered before."""
        asked = challenges(response)
        if not self._secret or not asked or tried >= MOST_ANSWERS:
            return ()
        if tried and not all(one.stale or one.realm not in self._known for one in asked):
            return ()
        for one in asked:
            self._known.pop(one.realm, None)
            while len(self._known) >= MOST_REALMS:
                del self._known[next(iter(self._known))]
            self._known[one.realm] = (one, 0)
        return self.credentials(request.method, request.uri)

    def credentials(self, method: str, uri: str) -> tuple[tuple[str, str], ...]:
        """Headers for a request to whom we have authenticated before; empty without that."""
        return tuple(self._header(realm, method, uri) for realm in self._known)

    def forget(self) -> None:
        """The far end does not want what we know any more."""
        self._known.clear()

    def _header(self, realm: str, method: str, uri: str) -> tuple[str, str]:
        asked, used = self._known[realm]
        self._known[realm] = (asked, used + 1)
        a1 = user_hash(asked.algorithm, self.user, realm, self._secret)
        parts = [f"username={quote(self.user)}", f"realm={quote(realm)}", f"nonce={quote(asked.nonce)}", f"uri={quote(uri)}"]
        if asked.qop:
            cnonce, nc = self._token(16), f"{used + 1:08x}"
            response = digest_response(asked.algorithm, a1, method, uri, asked.nonce, nc=nc, cnonce=cnonce, qop=asked.qop)
            parts += [f'response="{response}"', f"qop={asked.qop}", f"nc={nc}", f'cnonce="{cnonce}"']
        else:
            parts.append(f'response="{digest_response(asked.algorithm, a1, method, uri, asked.nonce)}"')
        if asked.named:
            parts.append(f"algorithm={asked.algorithm}")
        if asked.opaque is not None:
            parts.append(f"opaque={quote(asked.opaque)}")
        return asked.header, "Digest " + ", ".join(parts)
