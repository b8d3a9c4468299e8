"""Proofs of a secret that never goes over the line (L0).

Theory of operation
-------------------
Both ends know `key` (32 bytes: made from a password by the rule the device tells, or the key of the site). Each hello makes a new nonce on
both sides; the transcript is SHA-256 over session, both nonces and the user's name. The tool shows HMAC-SHA256(key, "tool" + transcript),
the device HMAC-SHA256(key, "device" + transcript): neither can be used again, nor given back to its maker (RFC 2104, FIPS 198-1).
"""

import hashlib

BLOCK = 64


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC with SHA-256."""
    if len(key) > BLOCK:
        key = hashlib.sha256(key).digest()
    key = key + bytes(BLOCK - len(key))
    inner = hashlib.sha256(bytes([byte ^ 0x36 for byte in key]) + message).digest()
    return hashlib.sha256(bytes([byte ^ 0x5C for byte in key]) + inner).digest()


def transcript(session: bytes, tool_nonce: bytes, device_nonce: bytes, user: str) -> bytes:
    """What the proofs of one hello are about."""
    whole = hashlib.sha256(b"branchpbx wire 1")
    for part in (session, tool_nonce, device_nonce, user.encode("utf-8")):
        whole.update(bytes([len(part)]))
        whole.update(part)
    return whole.digest()


def tool_proof(key: bytes, about: bytes) -> bytes:
    """What the tool shows."""
    return hmac_sha256(key, b"tool" + about)


def device_proof(key: bytes, about: bytes) -> bytes:
    """What the device shows."""
    return hmac_sha256(key, b"device" + about)


def same(one: bytes, other: bytes) -> bool:
    """Equal, in a time that tells nothing."""
    if len(one) != len(other):
        return False
    differs = 0
    for place in range(len(one)):
        differs |= one[place] ^ other[place]
    return differs == 0
