"""Emergency services as telephones name them in a Request-URI: `urn:service:sos` and its kinds (RFC 5031) (L1).

Theory of operation: an SOS key does not know the numbers of the country it is in. RFC 6881 has it call a service; whoever routes the
call knows the number. Only `sos` is a service here: any other URN is refused 416 like every scheme that we do not have.
"""

from __future__ import annotations

import re

_SOS = re.compile(r"urn:service:(sos(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?){0,4})\Z", re.IGNORECASE)
#: What a service is called where a number is expected; no number has a colon.
PREFIX = "urn:service:"
#: Requests that may name a service: the first INVITE, and what copies its Request-URI (RFC 3261 sections 9.1 and 17.1.1.3).
METHODS = frozenset(("INVITE", "ACK", "CANCEL"))


def service_of(uri: str) -> str:
    """The service, "urn:service:sos" or "urn:service:sos.fire" ... in lower case; "" for anything else."""
    if len(uri) > 300 or uri[:4].lower() != "urn:":
        return ""
    found = _SOS.match(uri)
    return PREFIX + found[1].lower() if found is not None else ""
