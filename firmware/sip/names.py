"""Names of SIP headers: compact forms and customary capitals (L1). RFC 3261 section 7.3.3 and the registry of header fields."""

from __future__ import annotations

COMPACT = {
    "a": "accept-contact", "b": "referred-by", "c": "content-type", "d": "request-disposition", "e": "content-encoding", "f": "from",
    "i": "call-id", "j": "reject-contact", "k": "supported", "l": "content-length", "m": "contact", "n": "identity-info", "o": "event",
    "r": "refer-to", "s": "subject", "t": "to", "u": "allow-events", "v": "via", "x": "session-expires", "y": "identity",
}
#: Customary names, so that most need no work: any usual writing to the canonical name, and that to customary capitals.
_CUSTOMARY = (
    "Via", "From", "To", "Call-ID", "CSeq", "Contact", "Max-Forwards", "Content-Length", "Content-Type", "Expires", "User-Agent", "Server",
    "Allow", "Supported", "Require", "Authorization", "Proxy-Authorization", "WWW-Authenticate", "Proxy-Authenticate", "Route",
    "Record-Route", "Accept", "Allow-Events", "Event", "Session-Expires", "Min-SE", "RSeq", "RAck", "Reason", "Refer-To", "Referred-By",
    "Replaces", "Path", "P-Asserted-Identity", "Privacy", "Content-Disposition", "Accept-Language", "Min-Expires", "Unsupported",
    "Subscription-State", "Alert-Info", "Date", "Organization", "Subject", "MIME-Version", "Proxy-Require", "Diversion",
)  # fmt: skip
CANONICAL = {written: name.lower() for name in _CUSTOMARY for written in (name, name.lower())} | COMPACT
DISPLAY = {name.lower(): name for name in _CUSTOMARY}
