"""Secrets that are keyed behind a code: what of them records and the journal may hold (L1, pure).

Theory of operation
-------------------
PINs come as keys, one by one or all in one go behind a code. `SECRET_BEHIND` names the codes; from it follow what records say was dialled
(`recordable`), what traces of SIP show (`sip/veil.py`), and what the journal keeps of keys that nothing was made of yet
(`without_secret`): a successor asks for a half keyed PIN again.
"""

from __future__ import annotations

import msgspec

from firmware.call.state import ContactState

#: Codes with a PIN behind them, and whether a number that may be shown comes first, up to "#".
SECRET_BEHIND = {"account": False, "login": True, "voicemail": True, "studio": False}
_AFTER_THE_PIN = "number/"               # `ContactState.wanted`: the PIN was right, what is keyed now is a number


def recordable(feature: str, called: str, rest: str) -> str:
    """What was dialled as records may show it: a log-in in one go ("*118001#PIN#") without its PIN. `rest` stands behind the code."""
    numbered = SECRET_BEHIND.get(feature)
    if numbered is None or (numbered and "#" not in rest):
        return called
    return called.removesuffix(rest) + (rest.partition("#")[0] if numbered else "")


def without_secret(state: ContactState) -> ContactState:
    """What of a contact may be written to the journal."""
    numbered = SECRET_BEHIND.get(state.feature)
    if state.typed and numbered is not None and not state.wanted.startswith(_AFTER_THE_PIN):
        number, hash_key, _ = state.typed.partition("#")
        state = msgspec.structs.replace(state, typed=number + hash_key if numbered else "")
    mail = state.mail
    if mail is not None and mail.typed and mail.stage == "pin":
        state = msgspec.structs.replace(state, mail=msgspec.structs.replace(mail, typed=""))
    return state
