"""A question of the call graph to a service elsewhere, and its answer (L1, pure). See `call/actions.py` for the terms."""

from __future__ import annotations

import msgspec

from firmware.call.actions import Action

#: Bounds of an answer: fields, and characters of a field.
MOST_FIELDS = 16
MOST_TEXT = 64


class LookUp(Action, frozen=True):
    """Ask the service of node `node`; ends with `LookedUp`, or never."""

    leg: str
    token: int
    node: str
    ask: dict[str, str]


class LookedUp(msgspec.Struct, frozen=True, tag=True):
    """The answer. `why`: what failed, "" where it went well."""

    leg: str
    at: int
    token: int
    ok: bool
    values: dict[str, str] = {}
    why: str = ""
