"""Settings that two people change: which changes need them, and who the second one may be (L1, pure).

A name of a peer is `user@way`; the same user on two ways is one person. Documents of the centre are signed there, and count as approved.
`approval` itself is among the guarded settings as soon as there are any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from firmware.config.schema.users import Approval

CENTRE = "centre"
OWN = "approval"
_PARTS = re.compile(r"[^.\[\]]+")


def guarded(approval: Approval, paths: Iterable[str]) -> list[str]:
    """Those of the changed paths that need two people."""
    if not approval.paths:
        return []
    forms = [_PARTS.findall(one) for one in (*approval.paths, OWN)]
    return [path for path in paths if any(_under(_PARTS.findall(path), form) for form in forms)]


def _under(path: list[str], form: list[str]) -> bool:
    """An entry that is added or removed as a whole concerns what is below it, too."""
    return all(fnmatchcase(part, pattern) for part, pattern in zip(path, form, strict=False))


def person(peer: str) -> str:
    """Who it is, on whatever way."""
    return peer.partition("@")[0]
