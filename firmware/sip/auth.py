"""Digest authentication, server side (L1).

Theory of operation
-------------------
RFC 7616 and 8760 on RFC 3261 section 22. A challenge keeps no state: the nonce carries its own time and a MAC over time
and source address, so that scanners cost nothing. Only a nonce that authenticated somebody is remembered, with the nonce
counts already used (a window of 64, because UDP reorders). MD5 is challenged first beside SHA-256 and SHA-512-256: some
clients read only the first challenge, and the few that break on a second one are known by name.
Invariants: an unknown user costs the same work (`work` counts hash operations) and gets the same answer as a wrong
password; digests are compared in constant time; a right digest over an old, foreign or used-up nonce is answered
stale=true and never accepted; a nonce whose counts had to be forgotten for room is never accepted again, so that a
flood of good registrations cannot make room for a replay.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

import msgspec

from firmware.sip import scan
from firmware.sip.errors import SyntaxProblem
from firmware.sip.message import Request
from firmware.sip.uri import split_outside


def hashed(begun: hashlib._Hash | hashlib.blake2s) -> Callable[[bytes], str]:
    """A hash of bytes. A copy of one that has begun costs two thirds of a new one, which is looked up by its name."""

    def digest(data: bytes) -> str:
        one = begun.copy()
        one.update(data)
        return one.hexdigest()

    return digest


ALGORITHMS: dict[str, Callable[[bytes], str]] = {
    "MD5": hashed(hashlib.md5(usedforsecurity=False)),
    "SHA-256": hashed(hashlib.sha256()),
    "SHA-512-256": hashed(hashlib.new("sha512_256")),
}
_NAMES = tuple(ALGORITHMS)
_CREDENTIALS = ("authorization", "proxy-authorization")
NONCE_LIFE_MS = 300_000
NONCES_KEPT = 4096
_WINDOW = 64
# Agents that fail on a challenge beyond the first instead of passing over an algorithm they do not know: they get MD5 alone.
SINGLE_CHALLENGE_AGENTS = re.compile(r"baresip v?[01]\.")
_HEX8 = re.compile(r"[0-9a-fA-F]{8}\Z")


class Outcome(StrEnum):
    """What an Authorization header proved."""

    ABSENT = "absent"                    # no credentials for our realm
    WRONG = "wrong"
    STALE = "stale"                      # right password, unusable nonce
    RIGHT = "right"


class Guard(Protocol):
    """Who keeps hostile sources off (`sip/guard.py`); addresses are hosts, times ms."""

    def admit(self, address: str, now: int) -> bool: ...
    def crowded(self, address: str, now: int) -> bool: ...
    def proved(self, address: str, account: str, now: int) -> None: ...
    def failed(self, address: str, account: str, known: bool, now: int) -> None: ...
    def closed(self, address: str, account: str, now: int) -> bool: ...
    def peek(self, address: str, now: int) -> bool: ...
    def spare(self, address: str, now: int) -> None: ...


class Credentials(msgspec.Struct, frozen=True, gc=False):
    """A parsed Digest Authorization value."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str = "MD5"
    qop: str = ""
    nc: str = ""
    cnonce: str = ""


def parse_digest(value: str) -> dict[str, str] | None:
    """Parameters of a Digest credential or challenge (names lower case, quotes removed), None for another scheme."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        return None
    usual = scan.digest(rest)
    return usual if usual is not None else _any_digest(rest)


def _any_digest(rest: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for part in split_outside(rest.replace("<", "%3C").replace(">", "%3E"), ","):
        key, equals, text = part.partition("=")
        key, text = key.strip().lower(), text.strip()
        if not equals or key in fields:
            continue
        if len(text) >= 2 and text[0] == '"' and text[-1] == '"':
            text = text[1:-1]
            if "\\" in text:
                text = re.sub(r"\\(.)", r"\1", text)
        fields[key] = text.replace("%3C", "<").replace("%3E", ">") if "%3" in text else text
    return fields


def user_hash(algorithm: str, user: str, realm: str, password: str) -> str:
    """H(A1) of RFC 7616 section 3.4.2."""
    return ALGORITHMS[algorithm](f"{user}:{realm}:{password}".encode("utf-8", "surrogateescape"))


def digest_response(
    algorithm: str, a1_hash: str, method: str, uri: str, nonce: str, *, nc: str = "", cnonce: str = "", qop: str = ""
) -> str:
    """The response value (RFC 7616 section 3.4.1; without qop the form of RFC 2069)."""
    hashed = ALGORITHMS[algorithm]
    a2_hash = hashed(f"{method}:{uri}".encode("utf-8", "surrogateescape"))
    middle = f"{nc}:{cnonce}:{qop}:" if qop else ""
    return hashed(f"{a1_hash}:{nonce}:{middle}{a2_hash}".encode("utf-8", "surrogateescape"))


class DigestServer:
    """Challenges and checks. `secrets` maps user to password and may be replaced at any time; `key` is 32 random bytes."""

    def __init__(
        self, realm: str, secrets: Mapping[str, str], key: bytes, *, life_ms: int = NONCE_LIFE_MS, guard: Guard | None = None
    ) -> None:
        self.realm = realm
        self._guard = guard
        # BLAKE2 with a key is a MAC by itself (RFC 7693 section 2.5), at a fraction of HMAC's cost.
        self._mac_of = hashed(hashlib.blake2s(digest_size=12, key=key))
        self._life = life_ms
        self._counter = 0
        self._used: OrderedDict[str, tuple[int, int]] = OrderedDict()    # nonce -> (highest nc, window bits)
        self._forgotten = -1             # the newest time of a nonce that was forgotten
        self.work = 0                    # hash operations of checks so far: equal for all who fail
        self._hashes: dict[tuple[str, str], str] = {}
        self._decoy = {name: user_hash(name, "", realm, key.hex()) for name in ALGORITHMS}
        self.set_secrets(secrets)

    def set_secrets(self, secrets: Mapping[str, str]) -> None:
        """Replace the accounts; an empty password never authenticates."""
        usable = [(user, secret) for user, secret in secrets.items() if secret]
        self._hashes = {(name, user): user_hash(name, user, self.realm, secret) for user, secret in usable for name in ALGORITHMS}

    def challenges(self, source: str, now: int, *, stale: bool = False, agent: str = "", single: bool = False) -> list[str]:
        """Challenge values, MD5 first; `source` is the host that must use the nonce, `agent` the User-Agent of the request.

        `single`: MD5 alone, as the libraries of browsers know no other, and JsSIP keeps only the last challenge.
        """
        nonce = self._nonce(source, now)
        flag = ", stale=true" if stale else ""
        names = _NAMES[:1] if single or (agent and SINGLE_CHALLENGE_AGENTS.match(agent)) else _NAMES
        begun = f'Digest realm="{self.realm}", nonce="{nonce}", algorithm='
        return [f'{begun}{name}, qop="auth"{flag}' for name in names]

    def check(self, request: Request, source: str, now: int) -> tuple[Outcome, str]:
        """Outcome and, when RIGHT, the user name."""
        credentials = self._find(request)
        if credentials is None:
            return Outcome.ABSENT, ""
        self.work += 3                   # the request, the response and the nonce, whoever asks
        algorithm = credentials.algorithm
        known = self._hashes.get((algorithm, credentials.username))
        expected = digest_response(
            algorithm, known or self._decoy[algorithm], request.method, credentials.uri, credentials.nonce,
            nc=credentials.nc, cnonce=credentials.cnonce, qop=credentials.qop,
        )  # fmt: skip
        matches = hmac.compare_digest(expected.encode(), credentials.response.lower().encode("utf-8", "surrogateescape"))
        fresh = self._fresh(credentials.nonce, source, now)
        closed = self._guard is not None and self._guard.closed(source, credentials.username, now)
        if known is None or not matches:
            if self._guard is not None:
                self._guard.failed(source, credentials.username, known is not None, now)
            return Outcome.WRONG, ""
        if closed:                       # looks like a wrong password, but the one who knows it is not counted against
            return Outcome.WRONG, ""
        if not fresh or not self._count(credentials.nonce, int(credentials.nc, 16)):
            return Outcome.STALE, ""
        if self._guard is not None:
            self._guard.proved(source, credentials.username, now)
        return Outcome.RIGHT, credentials.username

    def _find(self, request: Request) -> Credentials | None:
        if not request.headers.any_of(_CREDENTIALS):
            return None
        for name in _CREDENTIALS:
            for value in request.headers.get_all(name):
                try:
                    fields = parse_digest(value)
                except SyntaxProblem:    # unbalanced quotes: not usable credentials
                    continue
                if not fields or fields.get("realm") != self.realm:
                    continue
                algorithm = fields.get("algorithm", "MD5").upper()
                nc = fields.get("nc", "")
                if algorithm not in ALGORITHMS or fields.get("qop", "").lower() != "auth":
                    continue
                if not _HEX8.match(nc) or not fields.get("cnonce"):
                    continue
                return Credentials(
                    username=fields.get("username", ""), realm=self.realm, nonce=fields.get("nonce", ""), uri=fields.get("uri", ""),
                    response=fields.get("response", ""), algorithm=algorithm, qop=fields["qop"], nc=nc, cnonce=fields["cnonce"],
                )  # fmt: skip
        return None

    # --- nonces -------------------------------------------------------------------------------------------------------

    def _mac(self, stamp: str, source: str) -> str:
        return self._mac_of(f"{stamp}|{source}".encode())

    def _nonce(self, source: str, now: int) -> str:
        self._counter += 1
        stamp = f"{now:x}.{self._counter:x}"
        return f"{stamp}.{self._mac(stamp, source)}"

    def _fresh(self, nonce: str, source: str, now: int) -> bool:
        stamp, _, mac = nonce.rpartition(".")
        if not hmac.compare_digest(self._mac(stamp, source).encode(), mac.encode("utf-8", "surrogateescape")):
            return False
        made = _made(nonce)
        return 0 <= now - made <= self._life and (made > self._forgotten or nonce in self._used)

    def _count(self, nonce: str, nc: int) -> bool:
        """Take a nonce count; False when it was used before or is too old to tell."""
        highest, bits = self._used.get(nonce, (0, 0))
        if nc == 0:
            return False
        if nc > highest:
            shift = nc - highest
            bits = 1 if shift >= _WINDOW else ((bits << shift) | 1) & ((1 << _WINDOW) - 1)
            highest = nc
        else:
            mask = 1 << (highest - nc)
            if highest - nc >= _WINDOW or bits & mask:
                return False
            bits |= mask
        self._used[nonce] = (highest, bits)
        self._used.move_to_end(nonce)
        while len(self._used) > NONCES_KEPT:
            gone, _ = self._used.popitem(last=False)
            self._forgotten = max(self._forgotten, _made(gone))
        return True


def _made(nonce: str) -> int:
    """When a nonce of ours was made (ms)."""
    return int(nonce.partition(".")[0], 16)
