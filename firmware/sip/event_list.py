"""Lists of watched resources under one address: one subscription for many lamps (L1). RFC 4662.

Theory of operation
-------------------
An `EventList` is what all members of a list are like at one moment. A watcher is told of it in one multipart body: an RLMI part that
names the members, and one document for each member that is told. `notice` gives the body of the next NOTIFY, and what the watcher
knows after it: all members where it knew nothing ("full state"), else only those that are otherwise than it knows ("partial").
Telephones give their keys to members in the order of the list, so each full RLMI part names every member in that order; of documents
only so many are sent at once that the body stays below a bound, and those that are left over follow as partial state.
A member that does not exist or that this account may not watch stands in the list, told as `noresource` in both cases.
Invariants: what the watcher knows after all that is left over was told equals the list; a body of state that goes on is never longer
than the bound by more than one document; a document's version rises by one with each document of its member.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from firmware.sip.dialog_info import escape
from firmware.sip.uri import escape_user

OPTION = "eventlist"
RLMI = "application/rlmi+xml"
RELATED = "multipart/related"
MAX_MEMBERS = 64
#: Documents of one NOTIFY, in bytes; a last one (the list is fetched, or ends) has no successor that could tell the rest.
MOST_BYTES = 12_000
MOST_LAST_BYTES = 48_000
#: No line of a document begins so: each begins with a mark-up, and text is escaped.
_BOUNDARY = "branchpbx-list"


class PartDocument(Protocol):
    """What one member is like; see `subscriptions.Document`."""

    @property
    def content_type(self) -> str: ...
    def render(self, version: int) -> bytes: ...


class Member(msgspec.Struct, frozen=True):
    """One place of a list. `document`: None where there is nothing to watch for this account; `told`: False while it is not yet told."""

    resource: str
    name: str = ""
    document: PartDocument | None = None
    told: bool = True


class EventList(msgspec.Struct, frozen=True):
    """The list `resource` at `host`, as one account may see it."""

    resource: str
    host: str
    members: tuple[Member, ...]

    @property
    def content_type(self) -> str:
        return f'{RELATED};type="{RLMI}";start="<list@{_BOUNDARY}>";boundary="{_BOUNDARY}"'

    def render(self, version: int) -> bytes:
        """All that fits into a last NOTIFY."""
        return self.notice(None, version, {}, MOST_LAST_BYTES).body

    def notice(self, known: EventList | None, version: int, versions: Mapping[str, int], most: int = MOST_BYTES) -> Notice:
        """The next body for a watcher that knows `known` (None: nothing); `versions`: that of each member's next document, 0 if absent."""
        full = known is None or [one.resource for one in known.members] != [one.resource for one in self.members]
        before = {} if known is None or full else {one.resource: one for one in known.members}
        entries: list[str] = []
        parts: list[str] = []
        after: list[Member] = []
        told: list[str] = []
        size = 0
        for place, member in enumerate(self.members):
            old = before.get(member.resource)
            if old == member:
                after.append(member)
                continue
            if size >= most:                                  # its turn comes with the next NOTIFY
                after.append(old if old is not None else msgspec.structs.replace(member, document=None, told=False))
                if full:
                    entries.append(self._entry(member, ""))
                continue
            after.append(member)
            if member.document is None:
                entries.append(self._entry(member, '<instance id="1" state="terminated" reason="noresource"/>'))
                continue
            name = f"{version}.{place}@{_BOUNDARY}"
            entries.append(self._entry(member, f'<instance id="1" state="active" cid="{name}"/>'))
            body = member.document.render(versions.get(member.resource, 0)).decode("utf-8", "replace")
            parts.append(_part(name, member.document.content_type, body))
            told.append(member.resource)
            size += len(parts[-1])
        head = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<list xmlns="urn:ietf:params:xml:ns:rlmi" uri="{escape(self._uri(self.resource))}" version="{version}" '
            f'fullState="{"true" if full else "false"}">\n' + "".join(entries) + "</list>\n"
        )
        text = _part(f"list@{_BOUNDARY}", f'{RLMI};charset="UTF-8"', head) + "".join(parts) + f"--{_BOUNDARY}--\r\n"
        return Notice(text.encode("utf-8", "replace"), msgspec.structs.replace(self, members=tuple(after)), tuple(told))

    def _uri(self, user: str) -> str:
        return f"sip:{escape_user(user)}@{self.host}"

    def _entry(self, member: Member, instance: str) -> str:
        name = f"<name>{escape(member.name)}</name>" if member.name else ""
        return f'<resource uri="{escape(self._uri(member.resource))}">{name}{instance}</resource>\n'


class Notice(msgspec.Struct, frozen=True):
    """A body, what its watcher knows once it has it, and the members that it holds a document of."""

    body: bytes
    known: EventList
    told: tuple[str, ...]


def _part(name: str, kind: str, body: str) -> str:
    return f"--{_BOUNDARY}\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <{name}>\r\nContent-Type: {kind}\r\n\r\n{body}\r\n"
