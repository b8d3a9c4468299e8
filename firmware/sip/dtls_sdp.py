"""DTLS-SRTP as descriptions tell of it: fingerprints and roles (L1). The handshake itself is done by media.

Theory of operation
-------------------
RFC 5763, 8122, 8842. A description names the hash of the certificate its side will show, and who begins the handshake. We understand
SHA-256, which everybody sends; further fingerprints of the same certificate are passed over. We leave the beginning to the peer: an
offer of ours says `actpass`, "actpass" and "active" are answered "passive", because a lite ICE side learns only from the peer's checks
where to send. Only a peer that says "passive" gets "active". A later offer of ours says `actpass` again, and the peer keeps its role.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from firmware.sip.sdp import Description, MediaLine

#: What a line says that carries SRTP with keys from DTLS (RFC 5764 section 8); we answer in kind.
PROFILES = ("UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP")
Role = Literal["active", "passive"]
_FINGERPRINT = re.compile(r"sha-256 +([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31})\Z", re.IGNORECASE)


class Dtls(msgspec.Struct, frozen=True):
    """What a handshake needs to know: whether we begin it ("active"), and the SHA-256 of the certificate that the peer must show."""

    role: Role
    fingerprint: bytes


def fingerprint_of(description: Description, line: MediaLine) -> bytes | None:
    """The peer's SHA-256 fingerprint for a line, its own or the session's; None without one that we understand."""
    for attributes in (line.attributes, description.attributes):
        for key, value in attributes:
            match = _FINGERPRINT.match(value.strip()) if key == "fingerprint" else None
            if match is not None:
                return bytes.fromhex(match[1].replace(":", ""))
    return None


def setup_of(description: Description, line: MediaLine) -> str:
    """Value of `a=setup`, the line's or the session's; "" for none."""
    own = line.attribute("setup")
    return (own if own is not None else dict(description.attributes).get("setup", "")).strip().lower()


def answer_to(offer: Description, line: MediaLine) -> Dtls | None:
    """What an offered line comes to; None where it cannot be answered."""
    fingerprint, setup = fingerprint_of(offer, line), setup_of(offer, line)
    if line.proto.upper() not in PROFILES or fingerprint is None or setup not in ("actpass", "active", "passive"):
        return None
    return Dtls("active" if setup == "passive" else "passive", fingerprint)


def agreed(answer: Description, line: MediaLine) -> Dtls | None:
    """What an answer to our `actpass` comes to; None where it is none."""
    fingerprint, setup = fingerprint_of(answer, line), setup_of(answer, line)
    if fingerprint is None or setup not in ("active", "passive"):
        return None
    return Dtls("passive" if setup == "active" else "active", fingerprint)


def attributes(fingerprint: str, setup: str) -> tuple[tuple[str, str], ...]:
    """Attributes of our line; `fingerprint` is "AB:CD:...", of our certificate."""
    return ("fingerprint", f"sha-256 {fingerprint}"), ("setup", setup)
