"""Who calls, and who is told so: From, P-Asserted-Identity, Privacy, Diversion, History-Info (L1).

Theory of operation
-------------------
RFC 3323 and 3325 (asserted identity, Privacy), RFC 5806 (Diversion), RFC 7044 (History-Info), RFC 7315 section 4.2 (P-Called-Party-ID).
Reading: P-Asserted-Identity counts from a peer that is trusted, else From does. A caller who wants to stay unknown is unknown to
telephones, whatever the peer has told us. Writing: what a carrier wants to see where is its `style`; From carries the number, or the
registration when the number is asserted elsewhere.
Invariants: a header that cannot be read is as if it were not there (RFC 3325 section 8); nothing that a peer wrote reaches another
peer but as a number, or as a display name that is quoted anew; a hidden number is in no header but the asserted one, which a trusted
network removes before it shows the call.
"""

from __future__ import annotations

import re

import msgspec

from firmware.sip.errors import SyntaxProblem
from firmware.sip.message import Request
from firmware.sip.uri import NameAddr, Uri, escape_user, parse_name_addr, parse_uri, quote, unescape

ANONYMOUS = "sip:anonymous@anonymous.invalid"
#: Values of Privacy that ask for the caller's number to be kept from the called.
HIDING = frozenset(("id", "user", "header", "session", "history"))
MOST_HISTORY = 8
_NUMBER = re.compile(r"\+?[0-9*#]{1,32}\Z")
_SEPARATORS = re.compile(r"[-.() ]")


class Caller(msgspec.Struct, frozen=True):
    """Who calls, as far as it may be shown. `number` is as the peer wrote it, `private` hides it from telephones."""

    number: str = ""
    name: str = ""
    private: bool = False
    diverted: tuple[str, ...] = ()       # numbers that were dialled before ours, the latest first


def user_of(uri: Uri) -> str:
    """Telephone number or user of a SIP or tel URI; separators of a number are removed."""
    text = uri.user_text if uri.is_sip else unescape(uri.opaque) if uri.scheme == "tel" else ""
    text = text.partition(";")[0]
    plain = _SEPARATORS.sub("", text)
    return plain if _NUMBER.match(plain) else text


def _addresses(request: Request, name: str, most: int = 2) -> list[NameAddr]:
    found = []
    try:
        for value in request.headers.values(name)[:most]:
            found.append(parse_name_addr(value))
    except SyntaxProblem:
        return []
    return found


def _privacy(request: Request) -> frozenset[str]:
    return frozenset(one.strip().lower() for line in request.headers.get_all("privacy") for one in re.split("[;,]", line) if one.strip())


def read_caller(request: Request, *, trusted: bool) -> Caller:
    """Who calls. Of an untrusted peer only what it says of itself in From, which is a claim."""
    told = request.from_
    chosen = told
    anonymous = _is_anonymous(told)
    if trusted:
        asserted = [one for one in _addresses(request, "p-asserted-identity") if user_of(one.uri)]
        # A SIP and a tel URI may stand beside each other (RFC 3325 section 9.1); both name the same caller.
        if asserted:
            chosen = next((one for one in asserted if _NUMBER.match(user_of(one.uri))), asserted[0])
    wishes = _privacy(request)
    private = bool(wishes & HIDING) and "none" not in wishes
    if chosen is told and anonymous:
        return Caller(private=True, diverted=_diverted(request))
    return Caller(user_of(chosen.uri), chosen.display or ("" if anonymous else told.display), private or anonymous, _diverted(request))


def hides(request: Request) -> bool:
    """Whether the caller wants to stay unknown to the called."""
    if "privacy" in request.headers or "anonymous" in request.headers.get("from").lower():
        return read_caller(request, trusted=False).private
    return False


def _is_anonymous(address: NameAddr) -> bool:
    uri = address.uri
    return uri.is_sip and (uri.host.lower() == "anonymous.invalid" or uri.user_text.lower() == "anonymous")


def _diverted(request: Request) -> tuple[str, ...]:
    by_diversion = [user_of(one.uri) for one in _addresses(request, "diversion", MOST_HISTORY)]
    if by_diversion:
        return tuple(one for one in by_diversion if one)
    history = [user_of(one.uri) for one in _addresses(request, "history-info", MOST_HISTORY)]
    return tuple(one for one in reversed(history[:-1]) if one)


def called_number(request: Request, where: str) -> str:
    """The number that was dialled, from `where`: "request", "to" or "p-called-party-id". The Request-URI where that has none."""
    if where == "to" and request.to.uri.is_sip:
        found = user_of(request.to.uri)
        if found:
            return found
    if where == "p-called-party-id":
        asked = _addresses(request, "p-called-party-id", 1)
        if asked and user_of(asked[0].uri):
            return user_of(asked[0].uri)
    try:
        return user_of(parse_uri(request.uri))
    except SyntaxProblem:
        return ""


class Shown(msgspec.Struct, frozen=True):
    """How a call of ours presents its caller: From URI and display name, and further headers of the INVITE."""

    from_uri: str
    display: str
    headers: tuple[tuple[str, str], ...] = ()


def show_caller(
    *,
    style: str,
    domain: str,
    account: str,
    number: str,
    name: str = "",
    hide: bool = False,
    diverted: tuple[str, ...] = (),
    diversion: str = "none",
) -> Shown:
    """Present `number` to a peer that reads it from `style`: "from", "pai", "ppi" or "rpid".

    `account` is the user of the registration, which stands in From where the number is asserted elsewhere. `diverted`: numbers of
    ours that sent the call on, the latest first; `diversion`: how that is told ("none", "diversion", "history-info").
    """
    user = number or account
    uri = f"sip:{escape_user(user)}@{domain}" if user else f"sip:{domain}"
    own = f"sip:{escape_user(account)}@{domain}" if account and style != "from" else uri
    headers: list[tuple[str, str]] = []
    display = quote(name) + " " if name and not hide else ""
    if style in ("pai", "ppi") and user:
        headers.append(("P-Asserted-Identity" if style == "pai" else "P-Preferred-Identity", f"{display}<{uri}>"))
    elif style == "rpid" and user:
        headers.append(("Remote-Party-ID", f"{display}<{uri}>;party=calling;screen=yes;privacy={'full' if hide else 'off'}"))
    if hide:
        headers.append(("Privacy", "id"))
    headers += _told_diversion(diverted, diversion, domain)
    if hide:
        return Shown(ANONYMOUS, "Anonymous", tuple(headers))
    return Shown(own, name, tuple(headers))


def _told_diversion(diverted: tuple[str, ...], how: str, domain: str) -> list[tuple[str, str]]:
    """Diversion has the latest first (RFC 5806 section 4), History-Info the earliest (RFC 7044 section 5)."""
    numbers = diverted[:MOST_HISTORY]
    if not numbers or how == "none":
        return []
    if how == "diversion":
        return [("Diversion", f"<sip:{escape_user(one)}@{domain}>;reason=unconditional;counter=1") for one in numbers]
    entries, index = [], "1"
    for one in reversed(numbers):
        entries.append(f"<sip:{escape_user(one)}@{domain}>;index={index}")
        index += ".1"
    return [("History-Info", ", ".join(entries)), ("Supported", "histinfo")]
