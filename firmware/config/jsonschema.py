"""JSON Schema of a site file, from the types (L1, pure): for editors, and for the centre's.

Beside the standard words each setting has `x-unit`, `x-apply`, `x-role` and, where it is so, `writeOnly` for a secret and `x-ref` for the
name of an entry elsewhere.
"""

from __future__ import annotations

from typing import Any

import msgspec

from firmware.config.schema.tree import SCHEMA_VERSION, Config

_OURS = {"unit": "x-unit", "apply": "x-apply", "role": "x-role", "ref": "x-ref"}


def document() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:branchpbx:site:{SCHEMA_VERSION}",
        "title": "BranchPBX site file",
        **_plain(msgspec.json.schema(Config, schema_hook=None)),
        "$defs": {name: _described(cls, body) for name, cls, body in _definitions()},
    }


def _definitions() -> list[tuple[str, type, dict[str, Any]]]:
    """Each table of the schema by name."""
    _, components = msgspec.json.schema_components([Config], ref_template="#/$defs/{name}")
    classes = {cls.__name__: cls for cls in _classes()}
    return [(name, classes[name], body) for name, body in sorted(components.items())]


def _classes() -> list[type]:
    seen: dict[type, None] = {}
    todo: list[Any] = [msgspec.inspect.type_info(Config)]
    while todo:
        kind = todo.pop()
        if isinstance(kind, msgspec.inspect.Metadata):
            todo.append(kind.type)
        elif isinstance(kind, msgspec.inspect.StructType) and kind.cls not in seen:
            seen[kind.cls] = None
            todo += [field.type for field in kind.fields]
        elif isinstance(kind, msgspec.inspect.DictType):
            todo.append(kind.value_type)
        elif isinstance(kind, msgspec.inspect.ListType):
            todo.append(kind.item_type)
    return list(seen)


def _described(cls: type, body: dict[str, Any]) -> dict[str, Any]:
    """A table with what the schema says of each of its settings beside the standard words."""
    info = msgspec.inspect.type_info(cls)
    assert isinstance(info, msgspec.inspect.StructType)
    properties = dict(body.get("properties", {}))
    for field in info.fields:
        extra = field.type.extra or {} if isinstance(field.type, msgspec.inspect.Metadata) else {}
        ours = {_OURS[name]: value for name, value in extra.items() if name in _OURS and value}
        secret = {"writeOnly": True} if extra.get("secret") else {}
        properties[field.encode_name] = {**_plain(properties[field.encode_name]), **ours, **secret}
    return {**_plain(body), "properties": properties}


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    """Without msgspec's own copy of the definitions."""
    return {name: value for name, value in body.items() if name != "$defs"}
