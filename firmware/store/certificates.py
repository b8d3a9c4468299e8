"""The appliance's own certification authority and server certificate: made, renewed and described (L3).

Theory of operation
-------------------
`DIR/tls` holds `ca.crt` and `ca.key` (an authority of this box alone, which telephones are told to trust) and `server.crt` with
`server.key` (what TLS listeners show; the file holds the authority's certificate behind its own). Keys are EC P-256, mode 0600, and
never leave the folder. The server certificate names the addresses and names under which telephones know the box (RFC 5922: SAN, no
common name is trusted) and is made anew when these change, when a third of its life is left, or when it does not belong to its
authority. The authority lives for twenty years: replacing it means to visit every telephone. Validity begins a day early, as
telephones' clocks are wrong. A file that cannot be read is moved aside, not overwritten.
`cryptography` is loaded inside the functions: it costs 10 MB, so a process that lives long leaves them to one that does not
(`app/certify.py`).
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from firmware.store.files import move_aside, write_atomic

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

CA_LIFE = timedelta(days=20 * 365)
SERVER_LIFE = timedelta(days=825)
RENEW_AT = SERVER_LIFE / 3
EARLY = timedelta(days=1)
KEY_MODE = 0o600


class Certificate(Struct, frozen=True):
    """One certificate as people want to see it; times in Unix ms."""

    subject: str
    issuer: str
    names: list[str]
    begins_ms: int
    ends_ms: int
    fingerprint: str
    """SHA-256, hexadecimal in pairs."""


class Paths:
    """Where the files are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca, self.ca_key = folder / "ca.crt", folder / "ca.key"
        self.server, self.server_key = folder / "server.crt", folder / "server.key"

    def complete(self) -> bool:
        """True when a listener can start with them."""
        return all(path.is_file() for path in (self.ca, self.server, self.server_key))


def ensure(folder: Path, names: Sequence[str], box: str, now: datetime | None = None) -> bool:
    """Make what is missing, wrong or due; True when something was. `names`: addresses and host names; `box`: for the subject.

    Raises OSError when the folder cannot be written.
    """
    now = now or datetime.now(UTC)
    paths = Paths(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority = _load(paths.ca, paths.ca_key)
    changed = authority is None or not authority[0].not_valid_before_utc <= now < authority[0].not_valid_after_utc
    if authority is None or changed:
        authority = _make_authority(paths, box, now)
    server = _load(paths.server, paths.server_key)
    if server is None or changed or _due(server[0], authority[0], names, now):
        _make_server(paths, authority, names, box, now)
        changed = True
    for key in (paths.ca_key, paths.server_key):
        if key.stat().st_mode & 0o077:
            key.chmod(KEY_MODE)
    return changed


def describe(path: Path) -> Certificate:
    """The first certificate of a PEM file. Raises OSError and ValueError."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    found = x509.load_pem_x509_certificates(path.read_bytes())[0]
    return Certificate(
        found.subject.rfc4514_string(), found.issuer.rfc4514_string(), _names_of(found), _ms(found.not_valid_before_utc),
        _ms(found.not_valid_after_utc), found.fingerprint(hashes.SHA256()).hex(":").upper(),
    )  # fmt: skip


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _load(path: Path, key_path: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    """A certificate and its key; None when there is none or it is of no use (then it is moved aside)."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
        key = load_pem_private_key(key_path.read_bytes(), None)
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == certificate.public_key():
            return certificate, key
    except FileNotFoundError:
        pass
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    for left in (path, key_path):
        with contextlib.suppress(FileNotFoundError):
            move_aside(left, "unusable")
    return None


def _names_of(certificate: x509.Certificate) -> list[str]:
    from cryptography import x509

    try:
        value = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return sorted({*value.get_values_for_type(x509.DNSName), *(str(one) for one in value.get_values_for_type(x509.IPAddress))})


def _due(server: x509.Certificate, authority: x509.Certificate, names: Sequence[str], now: datetime) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        server.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return True
    return _names_of(server) != sorted(set(names)) or now < server.not_valid_before_utc or server.not_valid_after_utc - now < RENEW_AT


def _subject(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "BranchPBX"), x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _save(paths: tuple[Path, Path], key: ec.EllipticCurvePrivateKey, certificates: Sequence[x509.Certificate]) -> None:
    """Key first: a power cut between the two leaves a pair that does not match, which the next start makes anew."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    write_atomic(paths[1], key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=KEY_MODE)
    write_atomic(paths[0], b"".join(one.public_bytes(Encoding.PEM) for one in certificates))


def _make_authority(paths: Paths, box: str, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = _subject(f"{box[:40]} CA {serial & 0xFFFFFFFF:08x}")  # two boxes of one name stay apart in a telephone's store
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - EARLY)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    _save((paths.ca, paths.ca_key), key, [certificate])
    return certificate, key


def _make_server(
    paths: Paths, authority: tuple[x509.Certificate, ec.EllipticCurvePrivateKey], names: Sequence[str], box: str, now: datetime
) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    issuer, issuer_key = authority
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_subject(names[0] if names else box))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLY)
        .not_valid_after(min(now + SERVER_LIFE, issuer.not_valid_after_utc))
        .add_extension(x509.SubjectAlternativeName([_general_name(one) for one in dict.fromkeys(names)] or [x509.DNSName("branchpbx")]),
                       critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )  # fmt: skip
    _save((paths.server, paths.server_key), key, [certificate, issuer])


def _general_name(text: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _usage(*, authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
