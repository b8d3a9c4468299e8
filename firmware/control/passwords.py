"""Passwords of people, stored as salted scrypt (RFC 7914) in the form that crypt(3) calls `$7$`.

Theory of operation
-------------------
One stored form serves the console, the scripted mode and the SSH daemon, whose C library reads it too (`man 5 crypt`): `$7$`, one character
for log2 of N, five each for r and p (six bits a character, lowest first), the salt as text, `$`, 32 bytes of the key. So nothing has to
be kept twice, and no other program learns a password. A wrong password, a user without one and an unknown user take the same time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from msgspec import Struct

ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LOG_N, R, P = 14, 8, 1      # 16 MiB and some 50 ms on a desktop, a second on the smallest board
SALT_CHARACTERS = 22
KEY_BYTES = 32
MEMORY = 128 << 20          # most that a stored form may ask for: it may come from a file
SHORTEST = 8
LONGEST = 128


class Stored(Struct, frozen=True):
    """A stored password in parts; `salt` as scrypt takes it."""

    log_n: int
    r: int
    p: int
    salt: bytes
    key: bytes

    @property
    def n(self) -> int:
        """scrypt's N."""
        return 1 << self.log_n


def make(password: str, salt: str | None = None) -> str:
    """The stored form of a new password."""
    salt = salt if salt is not None else "".join(secrets.choice(ALPHABET) for _ in range(SALT_CHARACTERS))
    key = _derive(password, Stored(LOG_N, R, P, salt.encode("ascii"), b""))
    return f"$7${ALPHABET[LOG_N]}{_number(R)}{_number(P)}{salt}${_text(key)}"


def parse(stored: str) -> Stored | None:
    """The parts of a stored form, None for what is none."""
    body, dollar, key = stored.removeprefix("$7$").rpartition("$")
    if not stored.startswith("$7$") or not dollar or len(body) < 12 or len(key) != 43 or set(body + key) - set(ALPHABET):
        return None
    return Stored(ALPHABET.index(body[0]), _value(body[1:6]), _value(body[6:11]), body[11:].encode("ascii"), _bytes(key))


def verify(password: str, stored: str) -> bool:
    """True when the password is the stored one; takes as long when nothing is stored."""
    parts = parse(stored)
    usable = parts is not None and len(password) <= LONGEST and 0 < parts.n * parts.r * 128 <= MEMORY and 0 < parts.p <= 4
    if parts is None or not usable:
        _derive("", Stored(LOG_N, R, P, b"nobody", b""))
        return False
    return hmac.compare_digest(_derive(password, parts), parts.key)


def weakness(password: str, name: str) -> str:
    """Why a new password is none: "short", "long", "name", "plain"; "" for one that may be used."""
    if len(password) < SHORTEST:
        return "short"
    if len(password) > LONGEST or not password.isprintable():
        return "long"
    if name and name.lower() in password.lower():
        return "name"
    return "plain" if len(set(password)) < 4 else ""


def _derive(password: str, parts: Stored) -> bytes:
    return hashlib.scrypt(password.encode(), salt=parts.salt, n=parts.n, r=parts.r, p=parts.p, maxmem=MEMORY * 2, dklen=KEY_BYTES)


def _number(value: int) -> str:
    return "".join(ALPHABET[value >> (6 * place) & 63] for place in range(5))


def _value(text: str) -> int:
    return sum(ALPHABET.index(character) << (6 * place) for place, character in enumerate(text))


def _text(data: bytes) -> str:
    """Three bytes in four characters, lowest bits first; the rest in as many as it needs."""
    text = ""
    for at in range(0, len(data), 3):
        part = data[at : at + 3]
        value = int.from_bytes(part, "little")
        text += "".join(ALPHABET[value >> (6 * place) & 63] for place in range(-(-len(part) * 8 // 6)))
    return text


def _bytes(text: str) -> bytes:
    data = b""
    for at in range(0, len(text), 4):
        part = text[at : at + 4]
        data += (_value(part) & ((1 << len(part) * 6 // 8 * 8) - 1)).to_bytes(len(part) * 6 // 8, "little")
    return data
