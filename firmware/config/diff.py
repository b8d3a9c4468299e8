"""Path-wise view of a configuration: flat entries, differences, content hash (L1, pure)."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec
from msgspec import Struct, inspect

from firmware.config.schema.tree import Config


class Change(Struct, frozen=True):
    """One path that differs; `old` or `new` is None where the path is absent. Secrets read "(hidden)"."""

    path: str
    kind: Literal["added", "removed", "changed"]
    old: Any
    new: Any
    apply: str
    """How the change takes effect, the apply class of the setting."""


class Setting(Struct, frozen=True):
    """What the schema says of a path."""

    description: str = ""
    unit: str = ""
    apply: str = "live"
    secret: bool = False


def canonical_bytes(config: Config) -> bytes:
    """Canonical JSON: sorted keys, defaults left out; equal configurations have equal bytes."""
    return msgspec.json.encode(plain(config), order="sorted")


def plain(value: Any) -> Any:
    """Dictionaries and lists without what equals its default (msgspec's own option compares by identity)."""
    if isinstance(value, Struct):
        body: dict[str, Any] = {}
        for field in msgspec.structs.fields(value):
            item = getattr(value, field.name)
            if field.default_factory is not msgspec.NODEFAULT:
                same = item == field.default_factory()
            else:
                same = field.default is not msgspec.NODEFAULT and item == field.default
            if not same:
                body[field.encode_name] = plain(item)
        return body
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def content_hash(config: Config) -> str:
    """SHA-256 of the canonical bytes, hexadecimal."""
    return hashlib.sha256(canonical_bytes(config)).hexdigest()


def flat(config: Config) -> dict[str, Any]:
    """Dotted path -> value of everything that differs from its default; an entry without own values maps to {}."""
    entries: dict[str, Any] = {}
    _flatten(plain(config), "", entries)
    return entries


def _flatten(value: Any, path: str, entries: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            _flatten(item, f"{path}.{name}" if path else name, entries)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, item in enumerate(value):
            _flatten(item, f"{path}[{index}]", entries)
    elif path:
        entries[path] = value


def setting(path: str) -> Setting:
    """Schema facts of a dotted path; an empty `Setting` for one that the schema does not know."""
    kind: inspect.Type = inspect.type_info(Config)
    found = Setting()
    for step in path.replace("[", ".").replace("]", "").split("."):
        while isinstance(kind, inspect.Metadata):
            kind = kind.type
        if isinstance(kind, inspect.StructType):
            field = next((field for field in kind.fields if field.encode_name == step), None)
            if field is None:
                return Setting()
            kind = field.type
        elif isinstance(kind, inspect.DictType):
            kind = kind.value_type
        elif isinstance(kind, inspect.ListType):
            kind = kind.item_type
        found = _described(kind) or found
    return found


def _described(kind: inspect.Type) -> Setting | None:
    if not isinstance(kind, inspect.Metadata):
        return None
    extra = kind.extra or {}
    description = (kind.extra_json_schema or {}).get("description", "")
    return Setting(str(description), str(extra.get("unit", "")), str(extra.get("apply", "live")), bool(extra.get("secret", False)))


def diff(old: Config, new: Config) -> list[Change]:
    """What must change to come from `old` to `new`, in order of path."""
    before, after = flat(old), flat(new)
    changes = []
    for path in sorted({*before, *after}):
        if path in before and path in after and before[path] == after[path]:
            continue
        about = setting(path)
        shown = [None if path not in side else "(hidden)" if about.secret else side[path] for side in (before, after)]
        kind: Literal["added", "removed", "changed"] = "added" if path not in before else "removed" if path not in after else "changed"
        changes.append(Change(path, kind, shown[0], shown[1], about.apply))
    return changes
