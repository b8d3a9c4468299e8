"""Words of the configuration's paths, for completion and `?` on any surface: from the schema and the names in use (L1, pure)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, inspect

from firmware.config.candidate import path_of
from firmware.config.diff import Setting, bare, kind_of, steps, word
from firmware.config.model import allowed
from firmware.config.render import toml_value

TYPES = {
    inspect.IntType: "number",
    inspect.FloatType: "number",
    inspect.StrType: "text",
    inspect.BoolType: "true or false",
    inspect.LiteralType: "word",
    inspect.ListType: "list",
    inspect.DictType: "table",
    inspect.StructType: "table",
}


class Word(Struct, frozen=True):
    """One word that may follow, and what the schema says of the path that ends with it."""

    word: str
    kind: str
    """"table" (more follows), "name" (of an entry: one that exists, or `<name>` for one of one's own choice), "value"."""
    path: str
    about: Setting = Setting()
    type: str = ""
    allowed: str = ""
    default: str = ""
    required: bool = False


def words(prefix: str, tree: dict[str, Any]) -> list[Word]:
    """What may stand after a path that is typed as far as `prefix`; `tree` gives the names of entries that exist.

    A prefix that ends with a dot, or is empty, asks for all words below; else its last word is the beginning of one. A path of a value
    gives what may stand there.
    """
    head, _, last = prefix.rpartition(".")
    if prefix.endswith("]"):
        head, last = prefix, ""
    try:
        way = steps(head) if head else []
    except ValueError:
        return []
    found = kind_of(way)
    if found is None:
        return []
    below = _below(way, found[0], tree)
    exact = [one for one in below if one.word == last]
    if exact and exact[0].kind == "value":
        return [msgspec.structs.replace(exact[0], word=one) for one in _values(steps(exact[0].path))] or exact
    return [one for one in below if one.word.startswith(last) or (one.word == "<name>" and last)]


def _below(way: list[str | int], kind: inspect.Type, tree: dict[str, Any]) -> list[Word]:
    inner = bare(kind)
    here: Any = tree
    for step in way:
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            here = None
    if isinstance(inner, inspect.StructType):
        return [_field(way, field) for field in inner.fields]
    if isinstance(inner, inspect.DictType):
        names = sorted(here) if isinstance(here, dict) else []
        table = isinstance(bare(inner.value_type), inspect.StructType)
        return [*(_entry([*way, name], word(name), table) for name in names), _entry([*way, "<name>"], "<name>", table)]
    if isinstance(inner, inspect.ListType) and isinstance(bare(inner.item_type), inspect.StructType):
        count = len(here) if isinstance(here, list) else 0
        return [_entry([*way, index], f"[{index}]", True) for index in range(count + 1)]
    return [msgspec.structs.replace(_value(way, inner), word=one) for one in _values(way)]


def _entry(way: list[str | int], shown: str, table: bool) -> Word:
    found = kind_of(way)
    assert found is not None
    if not table:
        return msgspec.structs.replace(_value(way, found[0]), word=shown)
    doc = (getattr(getattr(bare(found[0]), "cls", None), "__doc__", "") or "").strip().split("\n")[0]
    about = msgspec.structs.replace(found[1], description=doc)
    return Word(shown, "name", path_of(way), about, "table")


def _field(way: list[str | int], field: inspect.Field) -> Word:
    inner = bare(field.type)
    path = [*way, field.encode_name]
    found = kind_of(path)
    assert found is not None
    listed = isinstance(inner, inspect.ListType) and isinstance(bare(inner.item_type), inspect.StructType)
    if isinstance(inner, (inspect.StructType, inspect.DictType)) or listed:
        doc = (inner.cls.__doc__ or "").strip().split("\n")[0] if isinstance(inner, inspect.StructType) else ""
        about = found[1] if found[1].description else msgspec.structs.replace(found[1], description=doc)
        return Word(field.encode_name, "table", path_of(path), about, "table", required=field.required)
    made = _value(path, field.type)
    default = "" if field.required else toml_value(field.default if field.default is not msgspec.NODEFAULT else field.default_factory())
    return msgspec.structs.replace(made, word=field.encode_name, default=default, required=field.required)


def _value(way: list[str | int], kind: inspect.Type) -> Word:
    found = kind_of(way)
    about = found[1] if found is not None else Setting()
    if way and way[-1] == "note" and not about.description:
        about = msgspec.structs.replace(about, description="Free text for people")
    inner = bare(kind)
    return Word("", "value", path_of(way), about, TYPES.get(type(inner), "value"), allowed(inner, about.unit))


def _values(way: list[str | int]) -> list[str]:
    """The words that a value may be, where there are only some."""
    found = kind_of(way)
    inner = bare(found[0]) if found is not None else None
    if isinstance(inner, inspect.LiteralType):
        return [str(one) if one != "" else '""' for one in sorted(inner.values, key=str)]
    return ["true", "false"] if isinstance(inner, inspect.BoolType) else []
