"""Rules for calls that began under an earlier configuration (L1, pure).

Theory of operation: a queue, menu or extension that is taken away while somebody is in it must not leave that call without rules. Until the
last such call has ended, the rules of calls keep the entries that are gone; new calls do not find them, as numbers and routes are those of
the new configuration alone.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from firmware.config.schema.tree import Config


def with_gone(new: Config, old: Config, only: Collection[str] = ()) -> Config:
    """`new` with the entries of tables that only `old` has; `only`: of these tables alone."""
    kept = {}
    for name in only or Config.__struct_fields__:
        table, before = getattr(new, name), getattr(old, name)
        if isinstance(table, dict) and isinstance(before, dict) and before.keys() - table.keys():
            kept[name] = {**table, **{key: entry for key, entry in before.items() if key not in table}}
    return msgspec.structs.replace(new, **kept) if kept else new
