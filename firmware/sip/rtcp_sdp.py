"""Where reports (RTCP) of a stream go, as session descriptions say it: RFC 3605 `a=rtcp`, RFC 5761 `a=rtcp-mux` (L1).

Theory of operation: without either, reports go to the port above that of the stream (RFC 3550 section 11). With `a=rtcp-mux` in offer and
answer they share its port; whoever offers `rtcp-mux` must also take an answer without. An attribute that is malformed is as if it were
absent.
"""

from __future__ import annotations

import ipaddress

from firmware.sip.sdp import Description, MediaLine

MUX = "rtcp-mux"


def shares_port(line: MediaLine) -> bool:
    """Whether a line offers, or agrees, that reports come to its own port."""
    return line.attribute(MUX) is not None


def reports_to(description: Description, line: MediaLine) -> tuple[str, int] | None:
    """The address that a line names for reports; None: the port above its own."""
    words = (line.attribute("rtcp") or "").split()
    if not words or not (words[0].isascii() and words[0].isdigit() and len(words[0]) <= 5) or not 0 < int(words[0]) < 65536:
        return None
    if len(words) == 1:
        address = description.address_of(line)
    elif len(words) == 4 and words[1].upper() == "IN" and words[2].upper() in ("IP4", "IP6"):
        address = words[3]
    else:
        return None
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return None
    return None if known.is_unspecified or known.is_multicast else (address, int(words[0]))
