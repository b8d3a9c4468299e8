"""INVITE with Replaces: a new call that takes the place of one that is there (L1).

Theory of operation
-------------------
RFC 3891 section 3. The header names a dialog by Call-ID and both tags, `to_tag` being ours. What becomes of it is decided in two steps:
here what the dialog alone tells (400 for a header that cannot be read, 603 for a dialog that is over, 481 for one that rings at us
instead of at its far end, 486 for `early-only` and a dialog that was answered), by the owner who may do so to whom. A dialog that is not
known here may be one that a lamp names (`dialog_info.py`), which the owner knows. Some telephones name the tags the other way round.
Invariant: what is remembered of dialogs that are over is bounded in number and time.
"""

from __future__ import annotations

import msgspec

from firmware.sip.dialog import DialogKey
from firmware.sip.errors import SyntaxProblem
from firmware.sip.message import Request
from firmware.sip.validate import Refusal

REMEMBERED_MS = 32_000
MOST_REMEMBERED = 512


class Replaces(msgspec.Struct, frozen=True):
    """A dialog that is to be replaced (RFC 3891), as its receiver sees it: `to_tag` is the receiver's own."""

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    @property
    def keys(self) -> tuple[DialogKey, DialogKey]:
        """Our dialogs that may be meant, the likelier first."""
        return (self.call_id, self.to_tag, self.from_tag), (self.call_id, self.from_tag, self.to_tag)


def parse_replaces(text: str) -> Replaces:
    """A Replaces value: call-id;to-tag=...;from-tag=... Raises SyntaxProblem when a tag is missing or named twice."""
    call_id, *rest = text.split(";")
    pairs = [(key.strip().lower(), value.strip()) for key, _, value in (one.partition("=") for one in rest)]
    tags = dict(pairs)
    if not call_id.strip() or not tags.get("to-tag") or not tags.get("from-tag") or len(tags) != len(pairs):
        raise SyntaxProblem("Replaces")
    return Replaces(call_id.strip(), tags["to-tag"], tags["from-tag"], "early-only" in tags)


def wanted(request: Request) -> Replaces | None:
    """What an INVITE wants to replace, None for nothing. Raises SyntaxProblem: unreadable, or more than one."""
    values = request.headers.get_all("replaces")
    if not values:
        return None
    if len(values) > 1 or "," in values[0]:
        raise SyntaxProblem("more than one Replaces")
    return parse_replaces(values[0])


class Over:
    """Dialogs that ended a short while ago: whoever wants to replace one is declined, not told that it never was."""

    def __init__(self) -> None:
        self._until: dict[DialogKey, int] = {}

    def __len__(self) -> int:
        return len(self._until)

    def add(self, key: DialogKey, now: int) -> None:
        """Remember a dialog that ended now."""
        self._until.pop(key, None)
        self._until[key] = now + REMEMBERED_MS
        while len(self._until) > MOST_REMEMBERED:
            del self._until[next(iter(self._until))]

    def refusal(self, replaces: Replaces, now: int) -> Refusal | None:
        """603 for a dialog that is over, None for one that is not known to be."""
        return Refusal(603) if any(self._until.get(key, -1) >= now for key in replaces.keys) else None
