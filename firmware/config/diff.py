"""Path-wise view of a configuration: flat entries, differences, content hash (L1, pure)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import lru_cache
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
    role: str = ""
    """Least role that may make it."""


class Setting(Struct, frozen=True):
    """What the schema says of a path."""

    description: str = ""
    unit: str = ""
    apply: str = "live"
    secret: bool = False
    role: str = ""
    """Least role that may change it, "" for no rule of its own."""


def canonical_bytes(config: Config) -> bytes:
    """Canonical JSON: sorted keys, defaults left out; equal configurations have equal bytes."""
    return msgspec.json.encode(plain(config), order="sorted")


_fields = lru_cache(maxsize=None)(msgspec.structs.fields)  # of each of the schema's types: finding them out is slow


def plain(value: Any) -> Any:
    """Dictionaries and lists without what equals its default (msgspec's own option compares by identity)."""
    if isinstance(value, Struct):
        body: dict[str, Any] = {}
        for field in _fields(type(value)):
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
    return flat_tree(plain(config))


def flat_tree(tree: dict[str, Any]) -> dict[str, Any]:
    """The same of a tree as a site file gives it."""
    entries: dict[str, Any] = {}
    _flatten(tree, "", entries)
    return entries


def _flatten(value: Any, path: str, entries: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            _flatten(item, f"{path}.{word(name)}" if path else word(name), entries)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, item in enumerate(value):
            _flatten(item, f"{path}[{index}]", entries)
    elif path:
        entries[path] = value


_STEP = re.compile(r'(?:^|\.)(?:([^\s.\[\]"]+)|"((?:[^"\\]|\\.)*)")|\[([0-9]{1,4})\]')
_PLAIN = re.compile(r'[^\s.\[\]"\x00-\x20\x7f]+')


def word(name: str) -> str:
    """A name as it stands in a path: in quotes where it would be read otherwise."""
    return name if _PLAIN.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def steps(path: str) -> list[str | int]:
    """The names and places of a path: `inbound[0].to` has three. Raises ValueError."""
    found: list[str | int] = []
    at = 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None or (path[at] == "." and at == 0):
            raise ValueError(f"{path!r} is no path: names with dots between, like queues.sales.ring_s or inbound[0].to")
        plain_name, quoted, place = step.groups()
        found.append(int(place) if place is not None else plain_name if plain_name is not None else str(json.loads(f'"{quoted}"')))
        at = step.end()
    if not found:
        raise ValueError("a path names a setting, like queues.sales.ring_s")
    return found


_WHOLE = lru_cache(maxsize=1)(lambda: inspect.type_info(Config))


def kind_of(path: Sequence[str | int]) -> tuple[inspect.Type, Setting] | None:
    """Type and schema facts of what a path leads to; None for one that the schema does not know.

    What a part does not say of itself, how it takes effect and who may change it, is what the table around it says.
    """
    kind: inspect.Type = _WHOLE()
    about = Setting()
    for step in path:
        kind = bare(kind)
        if isinstance(kind, inspect.StructType) and isinstance(step, str):
            found = _members(kind).get(step)
            if found is None:
                return None
            kind = found
        elif isinstance(kind, inspect.DictType) and isinstance(step, str):
            kind = kind.value_type
        elif isinstance(kind, inspect.ListType) and isinstance(step, int):
            kind = kind.item_type
        else:
            return None
        about = _described(kind, about)
    return kind, about


@lru_cache(maxsize=256)
def _fields_of(cls: type) -> dict[str, inspect.Type]:
    kind = inspect.type_info(cls)
    assert isinstance(kind, inspect.StructType)
    return {field.encode_name: field.type for field in kind.fields}


def _members(kind: inspect.StructType) -> dict[str, inspect.Type]:
    return _fields_of(kind.cls)


def bare(kind: inspect.Type) -> inspect.Type:
    """A type without its description."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return kind


@lru_cache(maxsize=16384)
def setting(path: str) -> Setting:
    """Schema facts of a path; an empty `Setting` for one that the schema does not know."""
    try:
        found = kind_of(steps(path))
    except ValueError:
        return Setting()
    return found[1] if found is not None else Setting()


def _described(kind: inspect.Type, around: Setting) -> Setting:
    if not isinstance(kind, inspect.Metadata):
        return msgspec.structs.replace(around, description="", unit="", secret=False)
    extra = kind.extra or {}
    return Setting(
        str((kind.extra_json_schema or {}).get("description", "")),
        str(extra.get("unit", "")),
        str(extra.get("apply", "") or around.apply),
        bool(extra.get("secret", False)),
        str(extra.get("role", "") or around.role),
    )


def diff(old: Config, new: Config) -> list[Change]:
    """What must change to come from `old` to `new`, in order of path."""
    return changes(flat(old), flat(new))


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """The same of flat entries."""
    found = []
    sides = ((before, after), (after, before))
    for path in sorted({*before, *after}):
        if path in before and path in after and before[path] == after[path]:
            continue
        if any(side.get(path) == {} and any(one.startswith(f"{path}.") for one in other) for side, other in sides):
            continue                             # an entry that was there without values of its own, and has some now
        about = setting(path)
        shown = [None if path not in side else "(hidden)" if about.secret else side[path] for side in (before, after)]
        kind: Literal["added", "removed", "changed"] = "added" if path not in before else "removed" if path not in after else "changed"
        found.append(Change(path, kind, shown[0], shown[1], about.apply, about.role))
    return found
