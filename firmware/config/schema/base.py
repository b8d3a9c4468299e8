"""How a setting is described: one `Annotated` alias per kind of value, from which every surface is derived.

`extra` keys: `unit` (text after the number), `apply` (how a change takes effect, one of `APPLY_CLASSES`), `secret`
(write-only), `ref` (the table that the value must name an entry of: "queues", "menus", "extensions", ...).
"""

from __future__ import annotations

from typing import Any

from msgspec import Meta, Struct

APPLY_CLASSES = ("live", "calls-drain", "restart-port", "restart", "reboot")


class Entry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Base of every configuration struct: frozen, unknown fields are errors, defaults are not stored."""

    note: str = ""


def about(description: str, *, unit: str = "", apply: str = "live", secret: bool = False, ref: str = "", **limits: Any) -> Meta:
    """Describe one setting. `limits` are msgspec constraints (ge, le, min_length, max_length, pattern)."""
    if apply not in APPLY_CLASSES:
        raise ValueError(f"apply class {apply!r} is not one of {APPLY_CLASSES}")
    extra = {"unit": unit, "apply": apply, "secret": secret, "ref": ref}
    return Meta(description=description, extra=extra, **limits)
