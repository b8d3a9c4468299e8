"""Where a 301 or 302 sends a call: only a number of ours to resolve (L1).

RFC 3261 section 21.3. A telephone that forwards names the new target in Contact, the best first by q (section 8.1.3.4). What counts is
the user part: the number is looked up with the rights of the telephone that forwards, no request is ever sent to a host that it names.
"""

from __future__ import annotations

from firmware.sip.errors import SyntaxProblem
from firmware.sip.identity import user_of
from firmware.sip.message import Response
from firmware.sip.uri import NameAddr, parse_name_addr

MOST_CONTACTS = 8


def forward_of(response: Response) -> str:
    """The number that a redirection names, "" for none (or any other answer)."""
    if response.status not in (301, 302):
        return ""
    best, found = -1.0, ""
    for value in response.headers.get_all("contact")[:MOST_CONTACTS]:
        try:
            address = parse_name_addr(value)
        except SyntaxProblem:
            continue
        number, quality = user_of(address.uri), _quality(address)
        if number and quality > best:
            best, found = quality, number
    return found


def _quality(address: NameAddr) -> float:
    text = address.param("q") or "1"
    try:
        return min(1.0, max(0.0, float(text))) if len(text) <= 5 else 0.0
    except ValueError:
        return 0.0
