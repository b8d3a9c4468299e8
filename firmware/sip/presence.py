"""Presence event package: whether somebody can be reached (L1). RFC 3856, documents of RFC 3863 with the activities of RFC 4480.

Theory of operation
-------------------
The resource is an extension or an agent; what it is like is one word, made anew from what lives whenever somebody is told, so nothing
can stay as it was. `basic` says whether a call would be taken now; the activity says why not, for telephones that draw it.
Invariants: text is escaped; one document says one thing; no party of a call is named.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from firmware.sip.dialog_info import escape
from firmware.sip.uri import escape_user


class Availability(StrEnum):
    """What is told of somebody."""

    AVAILABLE = "available"
    BUSY = "busy"                        # in a call, or with its notes
    PAUSED = "paused"                    # an agent's pause
    AWAY = "away"                        # logged out, not registered


_BASIC = {Availability.AVAILABLE: "open", Availability.BUSY: "open", Availability.PAUSED: "closed", Availability.AWAY: "closed"}
_ACTIVITY = {Availability.BUSY: "on-the-phone", Availability.PAUSED: "break", Availability.AWAY: "away"}


class Presence(msgspec.Struct, frozen=True):
    """`resource` at `host` at one moment; `note` is told beside the word (the reason digit of a pause)."""

    resource: str
    host: str
    availability: Availability
    note: str = ""

    @property
    def content_type(self) -> str:
        return "application/pidf+xml"

    def render(self, version: int) -> bytes:
        """The XML document; pidf has no versions, its order is that of the NOTIFYs."""
        entity = escape(f"sip:{escape_user(self.resource)}@{self.host}")
        activity = _ACTIVITY.get(self.availability)
        text = f"{self.availability.value} ({self.note})" if self.note else self.availability.value
        told = f"<rpid:{activity}/>" if activity is not None else "<rpid:unknown/>"
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" '
            f'xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="{entity}">\n'
            f'<tuple id="t1"><status><basic>{_BASIC[self.availability]}</basic></status><contact>{entity}</contact>'
            f"<note>{escape(text)}</note></tuple>\n"
            f'<dm:person id="p1"><rpid:activities>{told}</rpid:activities><dm:note>{escape(text)}</dm:note></dm:person>\n'
            "</presence>\n"
        ).encode("utf-8", "replace")
