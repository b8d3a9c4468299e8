"""What a commit will do to the running appliance, path by path, said beforehand (L1, pure).

Theory of operation
-------------------
How a setting takes effect is part of the schema (`apply`, see `schema/base.py`); here the classes of the paths that differ become a plan.
One rule is beside the schema: kind and jack of an extension concern a port only where an analogue telephone is meant.
`digests` is the other side of it: a fingerprint of all settings of a class. A process that was built with another fingerprint than the
stored configuration has must be built anew; so what is still to be done follows from the facts at any time, after any crash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from firmware.config.diff import Change, changes, flat, setting, steps
from firmware.config.schema.base import APPLY_CLASSES
from firmware.config.schema.tree import Config

SAYS: dict[str, tuple[str, str]] = {
    "live": ("at once; calls are not touched", "立即生效，不影响通话"),
    "control": (
        "at once: call control starts anew; conversations go on, keys and new calls wait for about half a second, TLS phones connect again",
        "立即生效：呼叫控制重启，通话继续；按键和新呼叫约等半秒",
    ),
    "restart-port": ("when no call is on that port; calls elsewhere go on", "该端口无通话时生效，其他通话继续"),
    "calls-drain": ("when no call is up: audio starts anew then", "没有通话时生效：届时音频重新启动"),
    "restart": (
        "when no call is up: the appliance starts anew then, phones register again",
        "没有通话时生效：届时设备重新启动，话机重新注册",
    ),
    "reboot": ("after the next reboot", "下次重启后生效"),
}
BUILT: dict[str, tuple[str, ...]] = {"core": ("control", "restart-port"), "media": ("calls-drain",), "parent": ("restart", "reboot")}
"""The classes that each process takes at its start only."""


class Row(Struct, frozen=True):
    """One path and how it takes effect."""

    path: str
    apply: str


def rows(old: Config, new: Config, found: list[Change] | None = None) -> list[Row]:
    """Each path that differs, with its class. `found`: the differences, where they are known."""
    if found == []:
        return []
    before, after = flat(old), flat(new)
    moved = _jacks(old) ^ _jacks(new)
    made = []
    for one in changes(before, after) if found is None else found:
        jack = ".".join(one.path.split(".")[:3])
        made.append(Row(one.path, "restart-port" if jack in moved else apply_class(one.path, before, after)))
    return made


def _jacks(config: Config) -> set[str]:
    return {f"ports.{kind}.{jack}" for kind, table in (("fxo", config.ports.fxo), ("fxs", config.ports.fxs)) for jack in table}


def apply_class(path: str, *sides: Mapping[str, Any]) -> str:
    """How a path takes effect, with the flat entries before and after."""
    found = setting(path).apply
    if path.startswith("extensions.") and found == "restart-port":
        entry = path.rpartition(".")[0]
        return found if any(side.get(f"{entry}.kind") == "fxs" for side in sides) else "live"
    return found


def farthest(found: list[Row]) -> str:
    """The class that reaches farthest; "live" where nothing differs."""
    return max((one.apply for one in found), key=APPLY_CLASSES.index, default="live")


def ports_of(found: list[Row], *configs: Config) -> set[str]:
    """Endpoints that must be without a call before their new settings are taken: those of class "restart-port"."""
    endpoints: set[str] = set()
    for row in found:
        if row.apply != "restart-port":
            continue
        way = [str(step) for step in steps(row.path)]
        if way[0] == "extensions" and len(way) > 1:
            endpoints.add(way[1])
            endpoints |= {f"fxs/{one.extensions[way[1]].jack}" for one in configs if way[1] in one.extensions}
        elif way[:2] == ["ports", "fxo"] and len(way) > 2:
            endpoints.add(f"line/{way[2]}")
        elif way[:2] == ["ports", "fxs"] and len(way) > 2:
            owners = {number for one in configs for number, entry in one.extensions.items() if entry.kind == "fxs" and entry.jack == way[2]}
            endpoints |= owners | {f"fxs/{way[2]}"}
    return endpoints


def digests(config: Config) -> dict[str, str]:
    """Class -> SHA-256 of all settings of that class that differ from their defaults."""
    entries = flat(config)
    parts: dict[str, dict[str, Any]] = {name: {} for name in APPLY_CLASSES}
    for path, value in entries.items():
        parts[apply_class(path, entries)][path] = value
    parts["restart-port"]["ports"] = sorted(_jacks(config))
    return {name: hashlib.sha256(msgspec.json.encode(part, order="sorted")).hexdigest() for name, part in parts.items()}
