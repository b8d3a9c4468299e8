"""Keys for SRTP inside session descriptions, `a=crypto` (L1).

Theory of operation
-------------------
RFC 4568, RFC 6188 (AES 256) and RFC 7714 (GCM). An offer lists what the offerer can do, each line with a key for what the *offerer*
sends; the answer repeats tag and suite of the one line taken, with a key for what the *answerer* sends (section 5.1). So every key
protects one direction. The offerer's order decides: the first line that we can honour is taken (section 5.1.2). Not honoured, so that
the next is tried: other suites, a second key or an MKI (packets would carry it, sections 6.1 and 6.4), a life below LEAST_LIFE packets
(nobody would renew the key in time), weakened protection (UNENCRYPTED_SRTP and its like, section 6.3), key derivation rates, and every
parameter that is not marked optional by `-` (section 6.3.8).
Keys come from the caller (`new_key`), so this module has no randomness. SDES is as secret as the signalling that carries it: who uses
it sees to TLS. `hide_keys` takes keys out of a message; the text of a `Crypto` shows none.
Invariants: only `SyntaxProblem` is raised, whatever the peer wrote; work is bounded by MAX_LINES lines of MAX_LENGTH characters.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Sequence

import msgspec

from firmware.sip.errors import SyntaxProblem

# Suite and bytes of master key and salt; the one that all phones have leads.
SUITES = {
    "AES_CM_128_HMAC_SHA1_80": 30, "AEAD_AES_128_GCM": 28, "AES_256_CM_HMAC_SHA1_80": 46, "AES_CM_128_HMAC_SHA1_32": 30,
}  # fmt: skip
MAX_LINES = 32
MAX_LENGTH = 1000
MAX_LIFE = 2**48                         # packets of RTP under one key (RFC 3711 section 9.2)
LEAST_LIFE = 2**20                       # 5.8 hours of packets of 20 ms
_LINE = re.compile(r"([0-9]{1,9})[ \t]+([A-Za-z0-9_]{1,64})[ \t]+([^ \t]+)((?:[ \t]+[^ \t]+)*)[ \t]*")
_LIFE = re.compile(r"(2\^)?([0-9]{1,15})")
_MKI = re.compile(r"([0-9]{1,40}):([0-9]{1,3})")
_SECRET = re.compile(rb"(inline:)[^\s|;]*", re.IGNORECASE)


class Crypto(msgspec.Struct, frozen=True):
    """One line: what its sender will protect its packets with."""

    tag: int
    suite: str                           # upper case
    key: bytes                           # master key and salt; b"" where we do not know the suite
    life: int = MAX_LIFE                 # packets
    keys: int = 1
    mki: bool = False
    parameters: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Crypto({self.tag} {self.suite})"

    @property
    def usable(self) -> bool:
        """We can honour the line."""
        plain = self.keys == 1 and not self.mki and self.life >= LEAST_LIFE
        return self.suite in SUITES and plain and all(_harmless(parameter) for parameter in self.parameters)

    def build(self) -> str:
        """Value of the attribute."""
        life = "" if self.life == MAX_LIFE else f"|{self.life}"
        return " ".join([str(self.tag), self.suite, f"inline:{base64.b64encode(self.key).decode()}{life}", *self.parameters])


def parse_crypto(value: str) -> Crypto:
    """Parse the value of an `a=crypto`. Raises SyntaxProblem."""
    found = _LINE.fullmatch(value) if len(value) <= MAX_LENGTH else None
    if found is None:
        raise SyntaxProblem("SDP crypto line")
    suite = found[2].upper()
    keys = [_key(text, suite) for text in found[3].split(";")]
    if len(keys) > 1 and not all(mki for _, _, mki in keys):
        raise SyntaxProblem("SDP crypto keys without MKI")
    key, life, mki = keys[0]
    return Crypto(int(found[1]), suite, key, life, len(keys), mki, tuple(found[4].split()))


def _key(text: str, suite: str) -> tuple[bytes, int, bool]:
    method, colon, info = text.partition(":")
    if method.lower() != "inline" or not colon:
        raise SyntaxProblem("SDP crypto key method")
    encoded, *rest = info.split("|")
    life, mki = MAX_LIFE, False
    if rest and ":" not in rest[0]:
        life = _life(rest.pop(0))
    if rest:
        named = _MKI.fullmatch(rest.pop(0))
        if named is None or not 1 <= int(named[2]) <= 128 or int(named[1]).bit_length() > 8 * int(named[2]):
            raise SyntaxProblem("SDP crypto MKI")
        mki = True
    if rest:
        raise SyntaxProblem("SDP crypto key")
    if suite not in SUITES:
        return b"", life, mki
    try:
        key = base64.b64decode(encoded.rstrip("=") + "=" * (-len(encoded.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SyntaxProblem("SDP crypto key") from error
    if len(key) != SUITES[suite]:
        raise SyntaxProblem("SDP crypto key length")
    return key, life, mki


def _life(text: str) -> int:
    found = _LIFE.fullmatch(text)
    number = int(found[2]) if found else 0
    if found is not None and found[1]:
        number = 2**number if number <= 48 else 0
    if not 1 <= number <= MAX_LIFE:
        raise SyntaxProblem("SDP crypto lifetime")
    return number


def _harmless(parameter: str) -> bool:
    """Whether a session parameter leaves our protection as it is."""
    name, _, value = parameter.upper().partition("=")
    if name == "WSH":                    # a hint for the receiver's window
        return value.isascii() and value.isdigit() and len(value) < 9 and int(value) >= 64
    return parameter.startswith("-") or (name == "KDR" and value == "0")


def lines_of(attributes: Iterable[tuple[str, str]]) -> list[Crypto]:
    """The crypto lines of a media description; malformed ones and those that repeat a tag are left out."""
    found: dict[int, Crypto] = {}
    values = [value for name, value in attributes if name == "crypto"]
    for value in values[:MAX_LINES]:
        try:
            line = parse_crypto(value)
        except SyntaxProblem:
            continue
        found.setdefault(line.tag, line)
    return list(found.values())


def offer(suites: Sequence[str], new_key: Callable[[int], bytes]) -> tuple[Crypto, ...]:
    """Lines for an offer, most wanted suite first, each with a key of its own (section 5.1.1)."""
    return tuple(Crypto(number, suite, new_key(SUITES[suite])) for number, suite in enumerate(suites, 1))


def choose(attributes: Iterable[tuple[str, str]], suites: Sequence[str]) -> Crypto | None:
    """The peer's line that an answer takes, None when no line suits."""
    return next((line for line in lines_of(attributes) if line.usable and line.suite in suites), None)


def answer(
    attributes: Iterable[tuple[str, str]], suites: Sequence[str], new_key: Callable[[int], bytes], ours: Crypto | None = None
) -> tuple[Crypto, Crypto] | None:
    """(our line, the peer's) for an answer, None when no line suits; `ours`: our last line, whose key stays with its suite."""
    theirs = choose(attributes, suites)
    if theirs is None:
        return None
    keep = ours is not None and ours.suite == theirs.suite and len(ours.key) == SUITES[ours.suite]
    key = ours.key if ours is not None and keep else new_key(SUITES[theirs.suite])
    return Crypto(theirs.tag, theirs.suite, key), theirs


def accept(attributes: Iterable[tuple[str, str]], offered: Sequence[Crypto]) -> tuple[Crypto, Crypto]:
    """(our line, the peer's) that an answer chose among what we offered. Raises SyntaxProblem (section 5.1.3)."""
    values = [value for name, value in attributes if name == "crypto"]
    if len(values) != 1:
        raise SyntaxProblem("SDP answer must have one crypto line")
    theirs = parse_crypto(values[0])
    ours = next((line for line in offered if line.tag == theirs.tag and line.suite == theirs.suite), None)
    if ours is None:
        raise SyntaxProblem("SDP answer takes a crypto line that was not offered")
    if not theirs.usable:
        raise SyntaxProblem("SDP answer wants what we cannot do with its key")
    if theirs.key == ours.key:
        raise SyntaxProblem("SDP answer repeats our key")
    return ours, theirs


def hide_keys(data: bytes) -> bytes:
    """A message or description without keys, for traces and journals."""
    return _SECRET.sub(rb"\1*", data) if b"a=crypto" in data else data


def keys_hidden(data: bytes) -> bool:
    """`hide_keys` took a key out of it: it cannot be sent any more."""
    return b"inline:*" in data
