"""STUN messages (RFC 8489): parse, build, integrity, fingerprint; no I/O.

Theory of operation
-------------------
A message is a 20-byte header (type, length, magic cookie, transaction id) and attributes of type, length, value, padded to 4 bytes. Two
attributes protect what stands before them: MESSAGE-INTEGRITY (HMAC-SHA1 under the short-term password, section 14.5) and FINGERPRINT
(CRC-32 xor 0x5354554E, section 14.7); for both the header's length counts up to and with the attribute itself. What follows
MESSAGE-INTEGRITY, except FINGERPRINT, is ignored as the RFC says. Several equal attributes: the first counts. Anything that is not
exactly such a message is no STUN (None), so hostile bytes cost one pass over at most MOST bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import struct
import zlib
from collections.abc import Iterable, Mapping

import msgspec

COOKIE = 0x2112A442
HEADER = 20
MOST = 1500                     # bytes of a message
ATTRIBUTES_MOST = 32

BINDING_REQUEST = 0x0001
BINDING_INDICATION = 0x0011
BINDING_SUCCESS = 0x0101
BINDING_ERROR = 0x0111

USERNAME = 0x0006
MESSAGE_INTEGRITY = 0x0008
ERROR_CODE = 0x0009
UNKNOWN_ATTRIBUTES = 0x000A
XOR_MAPPED_ADDRESS = 0x0020
PRIORITY = 0x0024               # RFC 8445 section 16.1
USE_CANDIDATE = 0x0025
SOFTWARE = 0x8022
FINGERPRINT = 0x8028
ICE_CONTROLLED = 0x8029
ICE_CONTROLLING = 0x802A

INTEGRITY_BYTES = 4 + 20
FINGERPRINT_BYTES = 4 + 4
FINGERPRINT_XOR = 0x5354554E


class Stun(msgspec.Struct, frozen=True):
    """A message as it came. `checked`: the bytes before MESSAGE-INTEGRITY and the HMAC; None without it."""

    kind: int
    transaction: bytes
    attributes: Mapping[int, bytes]
    checked: tuple[bytes, bytes] | None
    fingerprint: bool | None    # None: it carries none

    def genuine(self, password: str) -> bool:
        """Whether MESSAGE-INTEGRITY was made with this password, compared in constant time."""
        if self.checked is None:
            return False
        covered, digest = self.checked
        return hmac.compare_digest(_integrity(covered, password), digest)

    @property
    def username(self) -> str | None:
        raw = self.attributes.get(USERNAME)
        return None if raw is None else raw.decode("utf-8", "replace")

    def unknown(self, known: Iterable[int]) -> list[int]:
        """Attributes below 0x8000 that must be understood (section 6.3.1) and are not."""
        return [kind for kind in self.attributes if kind < 0x8000 and kind not in known]


def parse(data: bytes) -> Stun | None:
    """The message in a datagram; None where it is none."""
    if not HEADER <= len(data) <= MOST or len(data) % 4:
        return None
    kind, length, cookie = struct.unpack_from("!HHI", data)
    if kind & 0xC000 or cookie != COOKIE or length != len(data) - HEADER:
        return None
    attributes: dict[int, bytes] = {}
    checked: tuple[bytes, bytes] | None = None
    fingerprint: bool | None = None
    at, count = HEADER, 0
    while at < len(data):
        if fingerprint is not None or count >= ATTRIBUTES_MOST or at + 4 > len(data):
            return None         # FINGERPRINT is the last
        name, size = struct.unpack_from("!HH", data, at)
        end = at + 4 + size
        if end > len(data):
            return None
        value = data[at + 4 : end]
        if name == FINGERPRINT:
            if size != 4:
                return None
            fingerprint = int.from_bytes(value, "big") == _crc(data[:at], at)
        elif name == MESSAGE_INTEGRITY and checked is None:
            if size != 20:
                return None
            checked = _with_length(data[:at], at + INTEGRITY_BYTES), value
        elif checked is None:
            attributes.setdefault(name, value)
        at = end + (-size % 4)
        count += 1
    if at != len(data):
        return None
    return Stun(kind, data[8:HEADER], attributes, checked, fingerprint)


def build(kind: int, transaction: bytes, attributes: Iterable[tuple[int, bytes]], password: str | None = None) -> bytes:
    """A message with FINGERPRINT, and MESSAGE-INTEGRITY where a password is given; `transaction`: 12 bytes."""
    body = b"".join(struct.pack("!HH", name, len(value)) + value + bytes(-len(value) % 4) for name, value in attributes)
    message = struct.pack("!HHI", kind, len(body), COOKIE) + transaction + body
    if password is not None:
        covered = _with_length(message, len(message) + INTEGRITY_BYTES)
        message = covered + struct.pack("!HH", MESSAGE_INTEGRITY, 20) + _integrity(covered, password)
    at = len(message)
    message = _with_length(message, at + FINGERPRINT_BYTES)
    return message + struct.pack("!HHI", FINGERPRINT, 4, _crc(message, at))


def xor_address(address: tuple[str, int], transaction: bytes) -> bytes:
    """Value of XOR-MAPPED-ADDRESS (section 14.2)."""
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    mask = struct.pack("!I", COOKIE) + transaction
    raw = bytes(a ^ b for a, b in zip(ip.packed, mask, strict=False))
    return struct.pack("!BBH", 0, 1 if ip.version == 4 else 2, address[1] ^ (COOKIE >> 16)) + raw


def read_xor_address(value: bytes, transaction: bytes) -> tuple[str, int] | None:
    """The address in a XOR-MAPPED-ADDRESS; None where it is malformed."""
    if len(value) not in (8, 20) or value[1] != (1 if len(value) == 8 else 2):
        return None
    mask = struct.pack("!I", COOKIE) + transaction
    raw = bytes(a ^ b for a, b in zip(value[4:], mask, strict=False))
    return str(ipaddress.ip_address(raw)), int.from_bytes(value[2:4], "big") ^ (COOKIE >> 16)


def error_code(code: int, reason: str) -> bytes:
    """Value of ERROR-CODE (section 14.8)."""
    return struct.pack("!HBB", 0, code // 100, code % 100) + reason.encode()


def read_error_code(value: bytes) -> int:
    """The code in an ERROR-CODE, 0 where it is malformed."""
    return (value[2] & 7) * 100 + value[3] if len(value) >= 4 else 0


def _with_length(message: bytes, end: int) -> bytes:
    """The message with the header's length as if it ended at `end`."""
    return message[:2] + struct.pack("!H", end - HEADER) + message[4:]


def _integrity(covered: bytes, password: str) -> bytes:
    # The password is an ice-pwd: letters, digits, + and / (RFC 8839 section 5.4), which OpaqueString leaves as they are.
    return hmac.new(password.encode(), covered, hashlib.sha1).digest()


def _crc(message: bytes, at: int) -> int:
    return zlib.crc32(_with_length(message, at + FINGERPRINT_BYTES)) ^ FINGERPRINT_XOR
