"""SRTP and SRTCP as the RFCs tell them, slowly, from AES upwards: the reference that `firmware.dsp.srtp` is compared with."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable

KEY_BYTES = {"AES_CM_128_HMAC_SHA1_80": 16, "AES_CM_128_HMAC_SHA1_32": 16, "AES_256_CM_HMAC_SHA1_80": 32, "AEAD_AES_128_GCM": 16}
SALT_BYTES = {"AEAD_AES_128_GCM": 12}
TAG_BYTES = {"AES_CM_128_HMAC_SHA1_32": 4}


def _double(value: int) -> int:
    return (value << 1) ^ (0x11B if value & 0x80 else 0)


def _times(a: int, b: int) -> int:
    """Product in the field of AES (FIPS 197, 4.2)."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a, b = _double(a), b >> 1
    return product


def _box(value: int) -> int:
    inverse = next((x for x in range(256) if _times(value, x) == 1), 0)
    turned = [((inverse << n) | (inverse >> (8 - n))) & 0xFF for n in range(5)]
    return turned[0] ^ turned[1] ^ turned[2] ^ turned[3] ^ turned[4] ^ 0x63


BOX = [_box(value) for value in range(256)]


def _schedule(key: bytes) -> list[bytes]:
    words = [key[i : i + 4] for i in range(0, len(key), 4)]
    n, round_constant = len(words), 1
    while len(words) < 4 * (n + 7):
        word = words[-1]
        if len(words) % n == 0:
            word = bytes(BOX[x] for x in word[1:] + word[:1])
            word = bytes([word[0] ^ round_constant]) + word[1:]
            round_constant = _double(round_constant)
        elif n > 6 and len(words) % n == 4:
            word = bytes(BOX[x] for x in word)
        words.append(bytes(a ^ b for a, b in zip(words[-n], word, strict=True)))
    return [b"".join(words[i : i + 4]) for i in range(0, len(words), 4)]


def aes(key: bytes) -> Callable[[bytes], bytes]:
    """Encryption of one block (FIPS 197)."""
    rounds = _schedule(key)

    def encrypt(block: bytes) -> bytes:
        state = bytes(a ^ b for a, b in zip(block, rounds[0], strict=True))
        for number, round_key in enumerate(rounds[1:], 1):
            state = bytes(BOX[x] for x in state)
            state = bytes(state[(i + 4 * (i % 4)) % 16] for i in range(16))
            if number < len(rounds) - 1:
                mixed = bytearray()
                for i in range(0, 16, 4):
                    a = state[i : i + 4]
                    mixed += bytes(
                        _times(a[j], 2) ^ _times(a[(j + 1) % 4], 3) ^ a[(j + 2) % 4] ^ a[(j + 3) % 4] for j in range(4)
                    )
                state = bytes(mixed)
            state = bytes(a ^ b for a, b in zip(state, round_key, strict=True))
        return state

    return encrypt


def keystream(key: bytes, iv: int, n: int) -> bytes:
    """AES in counter mode as RFC 3711 section 4.1.1 runs it."""
    encrypt = aes(key)
    return b"".join(encrypt((iv + i).to_bytes(16, "big")) for i in range((n + 15) // 16))[:n]


def derive(key: bytes, salt: bytes, label: int, n: int) -> bytes:
    """Session key (RFC 3711 section 4.3.1, key derivation rate 0); a salt of 96 bits counts as one of 112 (RFC 7714 section 11)."""
    x = int.from_bytes(salt.ljust(14, b"\0"), "big") ^ (label << 48)
    return keystream(key, x << 16, n)


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def gcm(key: bytes, iv: bytes, text: bytes, beside: bytes) -> bytes:
    """AES-GCM with a tag of 16 bytes (NIST SP 800-38D)."""
    encrypt = aes(key)
    h = int.from_bytes(encrypt(bytes(16)), "big")
    first = int.from_bytes(iv + b"\0\0\0\1", "big")
    sealed = _xor(text, keystream(key, first + 1, len(text)))

    def product(x: int, y: int) -> int:
        z = 0
        for i in range(127, -1, -1):
            z ^= y if (x >> i) & 1 else 0
            y = (y >> 1) ^ (0xE1 << 120 if y & 1 else 0)
        return z

    y = 0
    padded = [beside, b"\0" * (-len(beside) % 16), sealed, b"\0" * (-len(sealed) % 16)]
    lengths = struct.pack("!QQ", 8 * len(beside), 8 * len(sealed))
    data = b"".join(padded) + lengths
    for i in range(0, len(data), 16):
        y = product(y ^ int.from_bytes(data[i : i + 16], "big"), h)
    return sealed + _xor(y.to_bytes(16, "big"), encrypt(first.to_bytes(16, "big")))


def _head(packet: bytes) -> int:
    n = 12 + 4 * (packet[0] & 15)
    if packet[0] & 0x10:
        n += 4 + 4 * int.from_bytes(packet[n + 2 : n + 4], "big")
    return n


def seal_rtp(suite: str, master: bytes, packet: bytes, roc: int = 0) -> bytes:
    """A packet of RTP under master key and salt."""
    key, salt = master[: KEY_BYTES[suite]], master[KEY_BYTES[suite] :]
    session, session_salt = derive(key, salt, 0, len(key)), derive(key, salt, 2, len(salt))
    return with_session_keys(suite, session, session_salt, derive(key, salt, 1, 20), packet, roc)


def with_session_keys(suite: str, key: bytes, salt: bytes, auth: bytes, packet: bytes, roc: int = 0) -> bytes:
    """RFC 3711 section 3.3, RFC 7714 section 8.1."""
    ssrc, seq, head = packet[8:12], packet[2:4], _head(packet)
    if suite == "AEAD_AES_128_GCM":
        iv = _xor(b"\0\0" + ssrc + roc.to_bytes(4, "big") + seq, salt)
        return packet[:head] + gcm(key, iv, packet[head:], packet[:head])
    index = (roc << 16) | int.from_bytes(seq, "big")
    iv_number = (int.from_bytes(salt, "big") << 16) ^ (int.from_bytes(ssrc, "big") << 64) ^ (index << 16)
    sealed = packet[:head] + _xor(packet[head:], keystream(key, iv_number, len(packet) - head))
    return sealed + hmac.new(auth, sealed + roc.to_bytes(4, "big"), hashlib.sha1).digest()[: TAG_BYTES.get(suite, 10)]


def seal_rtcp(suite: str, master: bytes, packet: bytes, index: int) -> bytes:
    """RFC 3711 section 3.4, RFC 7714 section 9.1; always encrypted."""
    key, salt = master[: KEY_BYTES[suite]], master[KEY_BYTES[suite] :]
    session, session_salt = derive(key, salt, 3, len(key)), derive(key, salt, 5, len(salt))
    ssrc, trailer = packet[4:8], (0x80000000 | index).to_bytes(4, "big")
    if suite == "AEAD_AES_128_GCM":
        iv = _xor(b"\0\0" + ssrc + b"\0\0" + index.to_bytes(4, "big"), session_salt)
        return packet[:8] + gcm(session, iv, packet[8:], packet[:8] + trailer) + trailer
    iv_number = (int.from_bytes(session_salt, "big") << 16) ^ (int.from_bytes(ssrc, "big") << 64) ^ (index << 16)
    sealed = packet[:8] + _xor(packet[8:], keystream(session, iv_number, len(packet) - 8)) + trailer
    return sealed + hmac.new(derive(key, salt, 4, 20), sealed, hashlib.sha1).digest()[:10]
