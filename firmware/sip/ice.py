"""ICE-lite as descriptions tell of it, and the other marks of a browser's media line (L1). STUN itself is done by media.

Theory of operation
-------------------
RFC 8445 section 2.5, RFC 8839. We are lite: one host candidate, our address and port, and no checks of our own; the peer checks and
nominates, and media answers. So a description of ours says `ice-lite`, user fragment, password, the candidate and that there are no
more. Fragment and password come from `seed`, a secret of the session, and from how often the peer has restarted ICE: a restart (the
peer's fragment or password changed, RFC 8839 section 4.4.1.1.1) needs new ones on our side, and nothing random is at hand here.
Beside it: RTCP on the port of RTP (RFC 5761), which a browser insists on; BUNDLE (RFC 9143) of the one line we take; `mid` (RFC 5888)
and a stream id (RFC 8830), so that a page finds the track in a stream. Feedback messages (`rtcp-fb`) and header extensions are not
taken up, which is how they are declined. The peer's password is only ever compared, so journals keep a seal of it (`sealed`) instead.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from firmware.sip.sdp import Description, MediaLine

_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}\Z")
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}\Z")
_SEAL = re.compile(r"seal/[0-9a-f]{17,251}\Z")
_LINE = re.compile(rb"(?im)^(a=ice-pwd:)([^\r\n]*)")
_MID = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]{1,64}\Z")
#: Priority of a host candidate of the only interface, first component (RFC 8445 section 5.1.2.1).
HOST_PRIORITY = (126 << 24) | (65535 << 8) | 255
STREAM = "branchpbx speech"
MID = "0"


class Credentials(msgspec.Struct, frozen=True):
    """User fragment and password of one side (RFC 8839 section 5.4). Its text shows no password."""

    ufrag: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.ufrag})"


class Secret(msgspec.Struct, frozen=True):
    """What our side's credentials are made of: random hexadecimal digits, and how often the peer restarted ICE. Shows nothing."""

    seed: str
    restarts: int = 0

    def __repr__(self) -> str:
        return f"Secret({self.restarts})"

    def credentials(self) -> Credentials:
        """Those in force: 32 bits of fragment and 128 of password (RFC 8445 section 5.3 asks for 24 and 128)."""
        digest = hashlib.sha256(f"{self.seed}/{self.restarts}".encode()).hexdigest()
        return Credentials(digest[:8], digest[8:40])

    def restarted(self) -> Secret:
        """After a restart by the peer."""
        return Secret(self.seed, self.restarts + 1)


def credentials_of(description: Description, line: MediaLine) -> Credentials | None:
    """The peer's for a line, its own or the session's; None where it does not speak ICE on it."""
    ufrag, password = _value(description, line, "ice-ufrag"), _value(description, line, "ice-pwd")
    if ufrag is None or password is None or not _UFRAG.match(ufrag) or not _PASSWORD.match(password):
        return None
    return Credentials(ufrag, seal(password))


def seal(password: str) -> str:
    """What tells a password from others, says nothing of it and is as long; that of a seal is itself."""
    return password if _SEAL.match(password) else f"seal/{hashlib.sha512(password.encode()).hexdigest() * 2}"[: len(password)]


def has_password(description: Description) -> bool:
    """Whether a description holds what nobody else may know."""
    for line in description.media:
        for name, _ in line.attributes:
            if name == "ice-pwd":
                return True
    return any(name == "ice-pwd" for name, _ in description.attributes) if description.attributes else False


def sealed(description: Description) -> Description:
    """A description of the peer, for a journal."""
    if not has_password(description):
        return description
    media = tuple(msgspec.structs.replace(line, attributes=_sealed(line.attributes)) for line in description.media)
    return msgspec.structs.replace(description, media=media, attributes=_sealed(description.attributes))


def sealed_text(message: bytes) -> bytes:
    """A message or description of the peer, for a journal."""
    if b"ice-pwd" not in message:
        return message
    return _LINE.sub(lambda found: found[1] + seal(found[2].decode("latin-1")).encode("latin-1"), message)


def _sealed(attributes: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, seal(value) if name == "ice-pwd" else value) for name, value in attributes)


def candidates(address: str, port: int, ours: Credentials) -> tuple[tuple[str, str], ...]:
    """Attributes of our line."""
    return (
        ("ice-ufrag", ours.ufrag),
        ("ice-pwd", ours.password),
        ("candidate", f"1 1 udp {HOST_PRIORITY} {address} {port} typ host"),
        ("end-of-candidates", ""),
    )


def browser_marks(offered: MediaLine | None) -> tuple[tuple[str, str], ...]:
    """`mid`, `msid` and `rtcp-mux` of our line: as the peer has them where it offered, all of them in an offer of ours."""
    if offered is None:
        return ("mid", MID), ("msid", STREAM), ("rtcp-mux", "")
    mid = mid_of(offered)
    marks: list[tuple[str, str]] = []
    if mid is not None:
        marks.append(("mid", mid))
    if offered.attribute("msid") is not None:
        marks.append(("msid", STREAM))
    if offered.attribute("rtcp-mux") is not None:
        marks.append(("rtcp-mux", ""))
    return tuple(marks)


def session_marks(lite: bool, bundled: str | None) -> tuple[tuple[str, str], ...]:
    """Attributes of the session: what we are, and the one line that is bundled with itself."""
    return (*((("group", f"BUNDLE {bundled}"),) if bundled is not None else ()), *((("ice-lite", ""),) if lite else ()))


def bundled_mid(offer: Description, line: MediaLine) -> str | None:
    """The `mid` of a line where the peer offered to bundle it."""
    mid = mid_of(line)
    for key, value in offer.attributes:
        semantics, *members = value.split() if key == "group" else [""]
        if semantics == "BUNDLE" and mid in members:
            return mid
    return None


def mid_of(line: MediaLine) -> str | None:
    """Name of a line, None where it has none, or one that cannot be written back."""
    mid = line.attribute("mid")
    return mid if mid is not None and _MID.match(mid) else None


def _value(description: Description, line: MediaLine, name: str) -> str | None:
    own = line.attribute(name)
    return own if own is not None else next((value for key, value in description.attributes if key == name), None)
