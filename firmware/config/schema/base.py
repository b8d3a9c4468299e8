"""How a setting is described: one `Annotated` alias per kind of value, from which every surface is derived.

`extra` keys: `unit` (text after the number), `apply` (how a change takes effect, one of `APPLY_CLASSES`; "": as
the table around says, "live" where none does), `secret`
(write-only), `ref` (the table that the value must name an entry of: "queues", "menus", "extensions", ...), `role` (least role of
`control.roles` that may change it; "": as the table around says, "admin" where none does).

Modules with structs of the configuration do without `from __future__ import annotations`: annotations that are text are compiled again
at each start, a quarter of the time to the first registration.
"""

from typing import Any

from msgspec import Meta, Struct

APPLY_CLASSES = ("live", "control", "restart-port", "calls-drain", "restart", "reboot")
"""From the mildest to the hardest: at once; call control starts anew and conversations go on; the same once no call is on the port; audio
and call control start anew once no call is up; the whole appliance does, then; only a reboot brings it."""


class Entry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Base of every configuration struct: frozen, unknown fields are errors, defaults are not stored."""

    note: str = ""


def about(
    description: str, *, unit: str = "", apply: str = "", secret: bool = False, ref: str = "", role: str = "", **limits: Any
) -> Meta:
    """Describe one setting. `limits` are msgspec constraints (ge, le, min_length, max_length, pattern)."""
    if apply and apply not in APPLY_CLASSES:
        raise ValueError(f"apply class {apply!r} is not one of {APPLY_CLASSES}")
    extra: dict[str, Any] = {"unit": unit, "apply": apply, "secret": secret, "role": role}
    if ref:
        extra["ref"] = ref               # else that of the type which is described here (`Destination`) holds
    return Meta(description=description, extra=extra, **limits)
