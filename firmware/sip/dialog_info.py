"""Dialog event package: what the calls of an extension or line are like (L1). RFC 4235, for lamps (BLF).

Theory of operation
-------------------
A `DialogInfo` is made anew from what lives whenever somebody is told, and is always complete (`state="full"`): a watcher that
missed any number of documents is right again with the next one, and no lamp can stay lit for a call that is over. Many
phones look at the last dialog only, or expect one at least; so a resource at rest is told as one dialog that is terminated,
and the liveliest dialog stands last.
A key beside the lamp can answer the call, or take over one's own: INVITE with Replaces (RFC 3891) of the identifiers that such a dialog is
given (`lamp_dialog`). They name a leg of ours and none of the real dialogs: whoever watches learns no tag with which it could end a call.
Invariants: one version number for each document, rising (the subscription gives it); text is escaped, so that no name can
break out of its element; `entity` is the watched resource, never a party of it.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from firmware.sip.uri import escape_user

MAX_DIALOGS = 8


#: Behind the leg in the Call-ID of a dialog that a lamp names.
LAMP = "@lamp"


def lamp_dialog(leg: str) -> tuple[str, str, str]:
    """(Call-ID, local tag, remote tag) by which a watcher may name the call of this leg."""
    return leg + LAMP, leg, "lamp"


def lamp_leg(call_id: str) -> str:
    """The leg that a Call-ID of a lamp names, "" for any other."""
    return call_id.removesuffix(LAMP) if call_id.endswith(LAMP) else ""


class DialogState(StrEnum):
    """States of RFC 4235 section 3.7.1 that are told."""

    TRYING = "trying"
    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


_ORDER = (DialogState.TERMINATED, DialogState.TRYING, DialogState.EARLY, DialogState.CONFIRMED)


class DialogNode(msgspec.Struct, frozen=True):
    """One call of the resource. `incoming`: it is called ("recipient"). `remote`, `display`: the other party, "" when not to be told.

    `open`: this watcher may answer it or take it over, so it is told by which identifiers.
    """

    id: str
    state: DialogState
    incoming: bool
    remote: str = ""
    display: str = ""
    open: bool = False


class DialogInfo(msgspec.Struct, frozen=True):
    """All calls of `resource` at `host` at one moment."""

    resource: str
    host: str
    dialogs: tuple[DialogNode, ...] = ()

    @property
    def content_type(self) -> str:
        return "application/dialog-info+xml"

    def render(self, version: int) -> bytes:
        """The XML document."""
        entity = self._uri(self.resource)
        lines = [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="{version}" state="full" entity="{escape(entity)}">',
        ]
        shown = sorted(self.dialogs, key=lambda node: _ORDER.index(node.state))[-MAX_DIALOGS:]
        for node in shown:
            lines += self._node(node, entity)
        if not shown:
            lines += [f'<dialog id="{escape(self.resource or "none")}">', "<state>terminated</state>", "</dialog>"]
        lines.append("</dialog-info>")
        return ("\n".join(lines) + "\n").encode("utf-8", "replace")

    def _uri(self, user: str) -> str:
        return f"sip:{escape_user(user)}@{self.host}" if user else f"sip:{self.host}"

    def _node(self, node: DialogNode, entity: str) -> list[str]:
        direction = "recipient" if node.incoming else "initiator"
        named = ""
        if node.open:
            call_id, local, remote = (escape(part) for part in lamp_dialog(node.id))
            named = f' call-id="{call_id}" local-tag="{local}" remote-tag="{remote}"'
        lines = [f'<dialog id="{escape(node.id)}"{named} direction="{direction}">', f"<state>{node.state.value}</state>"]
        if node.remote:
            uri = escape(self._uri(node.remote))
            display = f' display="{escape(node.display)}"' if node.display else ""
            lines += ["<remote>", f"<identity{display}>{uri}</identity>", f'<target uri="{uri}"/>', "</remote>"]
        lines += ["<local>", f"<identity>{escape(entity)}</identity>", f'<target uri="{escape(entity)}"/>', "</local>", "</dialog>"]
        return lines


def escape(text: str) -> str:
    """Text for an element or attribute: markup as references, characters that XML 1.0 forbids left out."""
    legal = "".join(char for char in text if char >= " " and char not in "\x7f\ufffe\uffff" and not "\ud800" <= char <= "\udfff")
    for char, reference in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        legal = legal.replace(char, reference)
    return legal
