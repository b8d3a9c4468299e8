"""ICE-lite (RFC 8445 section 2.5 and 7.3) for one RTP port: answers connectivity checks and learns which address is nominated.

Theory of operation
-------------------
A lite agent sends no checks: the browser finds the way, proves by MESSAGE-INTEGRITY under our password that the signalling named us to
it, and nominates one address with USE-CANDIDATE. Each proven check is answered with the address it came from; the source of a proven
check is a *valid* address, from which DTLS is taken. The nominated address of late counts: agents opposite a lite one nominate anew when
their network changes (the controlling side decides, RFC 8445 section 8.1.1), and each nomination is proven. Errors as RFC 8489 section
9.1.3 and 6.3.1 say: 400 without USERNAME or MESSAGE-INTEGRITY, 401 with wrong ones, 420 for attributes that are not understood, 487 where
both are controlled (RFC 8445 section 7.3.1.1: a lite agent stays controlled). Indications keep a binding alive and are not answered; so
is what has no or a wrong FINGERPRINT (RFC 8445 section 7.1: ICE demands it), and responses, since we ask nothing. Invariants: bounded
memory (VALID_MOST addresses); no clock, no I/O; the rate is bounded where datagrams are taken (`dsp/rtp_side.pyx`).
"""

from __future__ import annotations

import hmac

import msgspec

from firmware.sip import stun

Address = tuple[str, int]

VALID_MOST = 16
UNDERSTOOD = (
    stun.USERNAME, stun.MESSAGE_INTEGRITY, stun.PRIORITY, stun.USE_CANDIDATE, stun.XOR_MAPPED_ADDRESS, stun.ERROR_CODE,
    stun.UNKNOWN_ATTRIBUTES,
)  # fmt: skip


class IceAnswer(msgspec.Struct, frozen=True):
    """What a check leads to: bytes to send back (empty: none), and whether its source is nominated."""

    data: bytes
    nominated: bool = False


class IceLite:
    """One port's agent. `ufrag` and `pwd` are ours; the far end's ufrag, where it is known, must be the second half of the user name."""

    def __init__(self, ufrag: str, pwd: str, remote_ufrag: str = "") -> None:
        self.ufrag, self.pwd, self.remote_ufrag = ufrag, pwd, remote_ufrag
        self.valid: dict[Address, None] = {}
        self.nominated: Address | None = None

    def check(self, message: stun.Stun, source: Address) -> IceAnswer | None:
        """Answer to a STUN message from `source`; None: it is not answered."""
        if message.kind != stun.BINDING_REQUEST or message.fingerprint is not True:
            return None
        if message.username is None or message.checked is None:
            return self._refuse(message, 400, "Bad Request", signed=False)
        if not self._named(message.username) or not message.genuine(self.pwd):
            return self._refuse(message, 401, "Unauthenticated", signed=False)
        unknown = message.unknown(UNDERSTOOD)
        if unknown:
            listed = b"".join(kind.to_bytes(2, "big") for kind in unknown)
            return self._refuse(message, 420, "Unknown Attribute", (stun.UNKNOWN_ATTRIBUTES, listed))
        if stun.ICE_CONTROLLED in message.attributes:
            return self._refuse(message, 487, "Role Conflict")
        self.valid.pop(source, None)
        self.valid[source] = None
        while len(self.valid) > VALID_MOST:
            del self.valid[next(one for one in self.valid if one != self.nominated)]
        nominated = stun.USE_CANDIDATE in message.attributes
        if nominated:
            self.nominated = source
        mapped = stun.XOR_MAPPED_ADDRESS, stun.xor_address(source, message.transaction)
        return IceAnswer(stun.build(stun.BINDING_SUCCESS, message.transaction, [mapped], self.pwd), nominated)

    def _named(self, username: str) -> bool:
        ours, _, theirs = username.partition(":")
        ok = hmac.compare_digest(ours.encode(), self.ufrag.encode())
        return ok and (not self.remote_ufrag or theirs == self.remote_ufrag)

    def _refuse(self, message: stun.Stun, code: int, reason: str, *more: tuple[int, bytes], signed: bool = True) -> IceAnswer:
        attributes = [(stun.ERROR_CODE, stun.error_code(code, reason)), *more]
        return IceAnswer(stun.build(stun.BINDING_ERROR, message.transaction, attributes, self.pwd if signed else None))
