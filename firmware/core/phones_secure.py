"""Whether the speech of a SIP leg is encrypted, and the keys for it (L5).

Theory of operation
-------------------
SDES carries keys in the signalling (RFC 4568), so there are keys only where that is encrypted itself: TLS or secure WebSocket. On a lab
bench (`lab.open`) a telephone without TLS is answered in kind, and called encrypted only where `required` says so, because load tools
offer neither. Who must encrypt and cannot is refused (488), an emergency call aside: that is never refused for want of encryption.
Keys live in memory: in a `PhoneLeg` until media has them and for later offers, never in a journal (`without_keys`). After a restart of
core media goes on under the keys it has; `renew` gives them back to the adopted leg from the memory that the parent holds
(`phones_vault.py`), else others for its next offer or answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from firmware.core.phones_leg import PhoneLeg
from firmware.sip import ice, sdes
from firmware.sip.flow import SECURED
from firmware.sip.offer import MediaKeys, NotAcceptable, OfferAnswer
from firmware.sip.sdp import Description

Policy = Literal["off", "offer", "required"]
NEEDS_TLS = "speech must be encrypted, which needs SIP over TLS"


def speech_policy(setting: str, transport: str, *, lab: bool, calling: bool) -> Policy:
    """What `srtp` of an extension or trunk ("offer", "required", "no") comes to on a transport. Raises NotAcceptable.

    `calling`: we make the offer.
    """
    if setting not in ("offer", "required"):
        return "off"
    required = setting == "required"
    if transport in SECURED or (lab and (required or not calling)):
        return "required" if required else "offer"
    if required:
        raise NotAcceptable(NEEDS_TLS)
    return "off"


def speech_shown(setting: str, transport: str, *, lab: bool, legs: Iterable[PhoneLeg]) -> str:
    """What `show phones` tells of a contact: how its `legs` speak, without any how it would be called."""
    for leg in legs:
        path = leg.negotiation.path
        if path is not None:
            return path.suite or ("DTLS-SRTP" if path.dtls is not None else "clear")
    try:
        policy = speech_policy(setting, transport, lab=lab, calling=True)
    except NotAcceptable:
        return "none: needs TLS"
    return {"off": "clear", "offer": "encrypted first", "required": "encrypted only"}[policy]


def provide_keys(negotiation: OfferAnswer, policy: Policy, token: Callable[[int], str]) -> OfferAnswer:
    """Let a negotiation follow a policy; `token(n)` gives n random hexadecimal digits."""
    negotiation.srtp = policy
    negotiation.secure = () if policy == "off" else sdes.offer(tuple(sdes.SUITES), lambda size: bytes.fromhex(token(2 * size)))
    return negotiation


def next_offer(negotiation: OfferAnswer) -> Description | None:
    """What a contact that refused our offer is offered next, None where there is nothing else.

    A telephone that has SDES or clear speech takes the first; one that insists on DTLS is offered that then, and clear speech comes
    last, where it is allowed. A browser was offered DTLS at first and has nothing else.
    """
    if negotiation.web:
        return None
    if negotiation.dtls and not negotiation.keyed:
        negotiation.keyed = True
        return negotiation.offer()
    negotiation.keyed, negotiation.dtls = False, ""
    return negotiation.in_clear() if negotiation.srtp == "offer" else None


def without_keys(leg: PhoneLeg) -> PhoneLeg:
    """The leg for a journal."""
    secret = False
    for one in _all(leg):                # asked at each note of a call: no generator
        secret = secret or one.srtp != "off" or (one.remote is not None and ice.has_password(one.remote))
    if not secret:
        return leg
    asked = {call: one.without_keys() for call, one in leg.asked.items()}
    return msgspec.structs.replace(leg, negotiation=leg.negotiation.without_keys(), asked=asked)


def renew(leg: PhoneLeg, kept: MediaKeys | None, token: Callable[[int], str]) -> Description | None:
    """Keys for a leg from a journal; where speech runs encrypted, what a refresh of the call has to offer from now on.

    `kept` are those that its port runs under; many telephones take no other within a call.
    """
    for one in _all(leg):
        if one.srtp != "off":
            provide_keys(one, one.srtp, token)
    negotiation = leg.negotiation
    path = negotiation.path
    if path is None or not path.suite:
        return None
    if kept is not None and kept.suite == path.suite:
        negotiation.path = msgspec.structs.replace(path, keys=kept)
        negotiation.secure = tuple(
            msgspec.structs.replace(line, key=kept.send) if line.suite == kept.suite else line for line in negotiation.secure
        )
    return negotiation.offer()


def _all(leg: PhoneLeg) -> Iterable[OfferAnswer]:
    return (leg.negotiation, *leg.asked.values())
