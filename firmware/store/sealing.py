"""Keys of this box, and what is sealed and signed with them (L3, on `cryptography`).

Theory of operation
-------------------
`DIR/device` (0700) holds two private keys that never leave the box: X25519 (`sealing.key`: secrets in configuration documents are sealed
to it) and
Ed25519 (`identity.key`: it signs what the box reports). The device's name is the beginning of the SHA-256 of both public halves. A sealed
secret
is an anonymous box: an ephemeral X25519 key, HKDF-SHA256 over both public keys, ChaCha20-Poly1305. A backup is sealed the same way to a
recipient's key, or under a passphrase by scrypt (RFC 7914: N 2^15, r 8, p 1; 32 MB and a fifth of a second on a PC); its header is part
of what is
authenticated, so nothing of it can be changed. Signatures are plain Ed25519 (RFC 8032).
`cryptography` is loaded inside the functions: it takes 10 MB, and those who need it end soon or rarely do.
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from firmware.errors import StoreError
from firmware.store.files import write_atomic

KEY_BYTES = 32
MAGIC = b"BPXBAK1\n"
MOST_PLAIN = 64 << 20
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 15, 8, 1
LEAST_PASSPHRASE = 12
_INFO = b"branchpbx sealed 1"


class SealError(StoreError):
    """What is sealed or signed cannot be opened or believed; the message says why."""


class Public(Struct, frozen=True):
    """The public halves of a device, base64, and its name."""

    device: str
    sealing: str
    identity: str


class Header(Struct, frozen=True, omit_defaults=True):
    """How a backup is sealed: `salt` with a passphrase, `recipient` (its public key) and `ephemeral` with a key. Base64."""

    nonce: str
    n: int = 0
    r: int = 0
    p: int = 0
    salt: str = ""
    recipient: str = ""
    ephemeral: str = ""


def b64(data: bytes) -> str:
    """Base64 text."""
    return base64.b64encode(data).decode()


def unb64(text: str, what: str) -> bytes:
    """Bytes of base64 text. Raises SealError that names `what`."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise SealError(f"{what} is not base64: {error}") from None


# --- keys of the box -------------------------------------------------------------------------------------------------


def device_name(sealing: bytes, identity: bytes) -> str:
    """Name of a device by its public keys: 16 hexadecimal digits."""
    return hashlib.sha256(b"device" + sealing + identity).hexdigest()[:16]


class Device:
    """The private keys. Raises StoreError where they cannot be read or written; they are made with the first use."""

    def __init__(self, folder: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sealing = X25519PrivateKey.from_private_bytes(_key(folder / "sealing.key"))
            self._identity = Ed25519PrivateKey.from_private_bytes(_key(folder / "identity.key"))
        except OSError as error:
            raise StoreError(f"{folder}: keys of this box cannot be kept ({error.strerror})") from error
        sealing, identity = self._sealing.public_key().public_bytes_raw(), self._identity.public_key().public_bytes_raw()
        self.public = Public(device_name(sealing, identity), b64(sealing), b64(identity))

    def open(self, sealed: bytes, bound_to: bytes) -> bytes:
        """What was sealed to this box for the purpose `bound_to`. Raises SealError."""
        return _open(self._sealing.private_bytes_raw(), sealed, bound_to)

    def sign(self, data: bytes) -> bytes:
        """Signature of this box."""
        return self._identity.sign(data)


def _key(path: Path) -> bytes:
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        found = os.urandom(KEY_BYTES)
        write_atomic(path, found, mode=0o600)
    if len(found) != KEY_BYTES:
        raise StoreError(f"{path}: is no key; remove it, and a new one is made: the box must then be made known to its centre again")
    return found


# --- sealing to a key ------------------------------------------------------------------------------------------------


def _derived(shared: bytes, ephemeral: bytes, recipient: bytes, bound_to: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(hashes.SHA256(), KEY_BYTES, ephemeral + recipient, _INFO + b"\0" + bound_to).derive(shared)


def _agreed(private: bytes, public: bytes) -> tuple[bytes, bytes]:
    """Shared secret and our public half. Raises SealError."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    try:
        own = X25519PrivateKey.from_private_bytes(private)
        return own.exchange(X25519PublicKey.from_public_bytes(public)), own.public_key().public_bytes_raw()
    except ValueError as error:
        raise SealError(f"is no key of 32 bytes: {error}") from error


def public_of(private: bytes) -> bytes:
    """Public half of an X25519 key. Raises SealError."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    try:
        return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    except ValueError as error:
        raise SealError(f"is no key of 32 bytes: {error}") from error


def seal(recipient: bytes, plain: bytes, bound_to: bytes) -> bytes:
    """Seal to a public key: 32 bytes of an ephemeral key, then the text with its tag. Raises SealError."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    shared, ephemeral = _agreed(os.urandom(KEY_BYTES), recipient)
    key = _derived(shared, ephemeral, recipient, bound_to)
    return ephemeral + ChaCha20Poly1305(key).encrypt(bytes(12), plain, bound_to)      # a key of its own each time: one nonce will do


def open_sealed(private: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    """What was sealed to the public half of this key, at the place that holds it. Raises SealError."""
    return _open(private, sealed, bound_to)


def _open(private: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    ephemeral, body = sealed[:KEY_BYTES], sealed[KEY_BYTES:]
    shared, own = _agreed(private, ephemeral)
    try:
        return ChaCha20Poly1305(_derived(shared, ephemeral, own, bound_to)).decrypt(bytes(12), body, bound_to)
    except (InvalidTag, ValueError):
        raise SealError("is sealed to another key, or was changed") from None


# --- signatures ------------------------------------------------------------------------------------------------------


def make_signing_key() -> tuple[bytes, bytes]:
    """A new Ed25519 key: private and public half, 32 bytes each."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    made = Ed25519PrivateKey.generate()
    return made.private_bytes_raw(), made.public_key().public_bytes_raw()


def verifying_key(private: bytes) -> bytes:
    """Public half of a signing key. Raises SealError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    except ValueError as error:
        raise SealError(f"the signing key is no key of 32 bytes: {error}") from error


def sign(private: bytes, data: bytes) -> bytes:
    """Ed25519 signature. Raises SealError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        return Ed25519PrivateKey.from_private_bytes(private).sign(data)
    except ValueError as error:
        raise SealError(f"the signing key is no key of 32 bytes: {error}") from error


def signed_by(public: bytes, signature: bytes, data: bytes) -> bool:
    """True for a signature of this key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


# --- backups ---------------------------------------------------------------------------------------------------------


def lock_up(plain: bytes, *, passphrase: str = "", recipient: bytes = b"") -> bytes:
    """A sealed file under a passphrase or to a public key. Raises SealError."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    if bool(passphrase) == bool(recipient):
        raise SealError("give either a passphrase or the key of a recipient")
    if len(plain) > MOST_PLAIN:
        raise SealError(f"{len(plain)} bytes are more than a backup holds ({MOST_PLAIN}); move large prompts elsewhere")
    nonce = os.urandom(12)
    if passphrase:
        if len(passphrase) < LEAST_PASSPHRASE:
            raise SealError(
                f"the passphrase has {len(passphrase)} characters; give at least {LEAST_PASSPHRASE}: who has the file may try for years"
            )
        salt = os.urandom(16)
        key = _stretched(passphrase, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
        header = Header(b64(nonce), SCRYPT_N, SCRYPT_R, SCRYPT_P, b64(salt))
    else:
        shared, ephemeral = _agreed(os.urandom(KEY_BYTES), recipient)
        key = _derived(shared, ephemeral, recipient, b"backup")
        header = Header(b64(nonce), recipient=b64(recipient), ephemeral=b64(ephemeral))
    head = MAGIC + msgspec.json.encode(header) + b"\n"
    return head + ChaCha20Poly1305(key).encrypt(nonce, plain, head)


def unlock(data: bytes, *, passphrase: str = "", private: bytes = b"") -> bytes:
    """The content of a sealed file. Raises SealError."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    line, end, body = data[len(MAGIC) :].partition(b"\n")
    if not data.startswith(MAGIC) or not end or len(line) > 1000:
        raise SealError("is no backup of this product")
    try:
        header = msgspec.json.decode(line, type=Header)
    except msgspec.MsgspecError as error:
        raise SealError(f"has no header that can be read: {error}") from None
    if header.salt:
        if not passphrase:
            raise SealError("is sealed under a passphrase; give it")
        if (header.n, header.r, header.p) != (SCRYPT_N, SCRYPT_R, SCRYPT_P):
            raise SealError("asks for another cost of scrypt than this version uses; it was changed, or is of a newer version")
        key = _stretched(passphrase, unb64(header.salt, "salt"), header.n, header.r, header.p)
    else:
        if not private:
            raise SealError("is sealed to a key; give the private one")
        shared, own = _agreed(private, unb64(header.ephemeral, "ephemeral key"))
        key = _derived(shared, unb64(header.ephemeral, "ephemeral key"), own, b"backup")
    try:
        return ChaCha20Poly1305(key).decrypt(unb64(header.nonce, "nonce"), body, MAGIC + line + end)
    except (InvalidTag, ValueError):
        raise SealError("cannot be opened: another passphrase or key, or the file was changed") from None


def _stretched(passphrase: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=KEY_BYTES)
