"""What a telephone of ours is told of people and by which way it gets keys: headers and choices, no state (L5).

RFC 3325: a telephone that proved its password is told who calls in P-Asserted-Identity, and never a number that is withheld (Privacy: id
stands in its place). RFC 3892: Referred-By says which extension hands the call over.
"""

from __future__ import annotations

from typing import Literal

from firmware.call.keyed import SECRET_BEHIND
from firmware.call.model import Party
from firmware.config.schema.tree import Config
from firmware.sip.offer import AudioPath
from firmware.sip.uri import escape_user, quote
from firmware.sip.veil import Veil

Headers = tuple[tuple[str, str], ...]
Way = Literal["media", "info"]
WITHHELD: Headers = (("P-Asserted-Identity", '"Anonymous" <sip:anonymous@anonymous.invalid>'), ("Privacy", "id"))


def party_headers(party: Party, domain: str) -> Headers:
    """Who is at the other end, as headers of a request to a telephone."""
    if party.reason:
        return WITHHELD
    if not party.number:
        return ()
    name = quote(party.name) + " " if party.name else ""
    return (("P-Asserted-Identity", f"{name}<sip:{escape_user(party.number)}@{domain}>"),)


def referred_by(party: Party, domain: str) -> Headers:
    """Who hands the call over, where somebody does."""
    return (("Referred-By", f"<sip:{escape_user(party.by)}@{domain}>"),) if party.by else ()


def secret_codes(config: Config) -> Veil:
    """What of dialled numbers is shown nowhere."""
    codes = ((getattr(config.features, feature), numbered) for feature, numbered in SECRET_BEHIND.items())
    return Veil((code, numbered) for code, numbered in codes if code)


def way_of_keys(setting: str, path: AudioPath | None, takes_info: bool) -> Way:
    """How keys go to a telephone: with the audio (RFC 4733, or tones where that is not agreed), or by SIP INFO.

    `setting` is `extensions.N.dtmf`; with "inband" RFC 4733 is never agreed to, so the audio carries tones.
    """
    if setting == "info":
        return "info"
    agreed = path is not None and path.dtmf_type is not None
    return "info" if setting == "auto" and not agreed and takes_info else "media"
