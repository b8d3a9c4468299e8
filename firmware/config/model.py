"""From TOML bytes to the frozen configuration: parse, validate every entry, cross-check, freeze (L1, pure).

Theory of operation
-------------------
msgspec reports only the first error, and a dictionary member as `[...]`; so the type tree is walked here, entry by entry,
and every problem is collected with its dotted path (list members counted from 0: `inbound[0].to`). A wrong entry is left
out of the tree that the cross-checks see; they run all the same, so one run names everything that is wrong. A check that
concerns an entry which is itself wrong stays silent rather than repeat it. Invariant: `load` returns a `Config` only when
there is no problem at all.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from msgspec import inspect

from firmware.config.board import Board
from firmware.config.carriers import expand
from firmware.config.crosscheck import TREE, cross_check
from firmware.config.forms import words
from firmware.config.problems import ConfigErrors, Findings, Problem, suggest
from firmware.config.schema.tree import SCHEMA_VERSION, Config
from firmware.config.upgrade import upgraded

_KINDS: dict[type, str] = {
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.StrType: "text in quotes",
    inspect.BoolType: "true or false",
    inspect.ListType: "a list in [ ]",
    inspect.DictType: "a table",
    inspect.StructType: "a table",
}


def check(
    data: bytes,
    *,
    file: str,
    board: Board | None = None,
    zones: Collection[str] = (),
    prompts: Collection[str] = (),
) -> tuple[Config | None, list[Problem]]:
    """Validate; the configuration is None unless there is no problem.

    `board`: the board that the jacks must exist on. `zones`, `prompts`: the known time zones and prompt ids; an empty
    collection skips that check.
    """
    findings = Findings(file)
    tree = _parse(data, findings)
    if tree is None:
        return None, findings.problems
    return check_tree(tree, file=file, board=board, zones=zones, prompts=prompts)


def check_tree(
    tree: dict[str, Any],
    *,
    file: str,
    board: Board | None = None,
    zones: Collection[str] = (),
    prompts: Collection[str] = (),
) -> tuple[Config | None, list[Problem]]:
    """The same of the tree that a site file gives."""
    findings = Findings(file)
    version = tree.get("schema", SCHEMA_VERSION)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        findings.add("schema", version, "was written by a newer version", f"this version reads schema 1 to {SCHEMA_VERSION}")
        return None, findings.problems
    try:
        tree = upgraded(tree)
    except ValueError:
        findings.add("schema", version, "is not the version of what follows", "give the version that wrote the file, or set it up anew")
        return None, findings.problems
    tree = expand(tree)
    clean = _entry(tree, TREE, "", findings)
    config = clean if isinstance(clean, Config) else Config()
    cross_check(config, findings, tree, board=board, zones=zones, prompts=prompts)
    return (None if findings.problems else config), findings.problems


def load(
    data: bytes,
    *,
    file: str,
    board: Board | None = None,
    zones: Collection[str] = (),
    prompts: Collection[str] = (),
) -> Config:
    """The frozen configuration; raises ConfigErrors that names every problem."""
    config, problems = check(data, file=file, board=board, zones=zones, prompts=prompts)
    if config is None:
        raise ConfigErrors(problems)
    return config


def tree_of(data: bytes) -> dict[str, Any]:
    """The tree of a site file in this schema version, unchecked. Raises ConfigErrors where it is no TOML."""
    findings = Findings("file")
    tree = _parse(data, findings)
    if tree is None:
        raise ConfigErrors(findings.problems)
    with contextlib.suppress(ValueError):           # a check tells
        tree = upgraded(tree)
    return tree


def board_name(data: bytes) -> str:
    """The board a configuration names, also when the rest of it is wrong; "" when that cannot be read."""
    return board_of(_parse(data, Findings("")) or {})


def board_of(tree: dict[str, Any]) -> str:
    """The same of the tree that a site file gives."""
    name = tree.get("board", Config().board)
    return name if isinstance(name, str) else ""


@lru_cache(maxsize=1)
def _tree(data: bytes) -> dict[str, Any]:
    """A file is read for the name of its board first. Nobody changes the tree."""
    return tomllib.loads(data.decode("utf-8"))


def _parse(data: bytes, findings: Findings) -> dict[str, Any] | None:
    try:
        return _tree(data)
    except UnicodeDecodeError as error:
        findings.add(f"byte {error.start}", None, "is not UTF-8 text", "save the file as UTF-8")
    except tomllib.TOMLDecodeError as error:
        text = str(error)
        where = re.search(r"\(at (.*)\)$", text)
        findings.add(
            where[1] if where else "file", None, re.sub(r" \(at .*\)$", "", text), "write it as TOML: name = value, text in quotes"
        )
    return None


def check_value(value: Any, kind: inspect.Type, path: str, findings: Findings) -> bool:
    """Check one value of a site file against its type in the schema; a table is checked for what stands in it."""
    return _entry(value, kind, path, findings) is not _WRONG


def allowed(kind: inspect.Type, unit: str = "") -> str:
    """What may stand in a setting of this type, in words."""
    return _allowed(kind, unit)


class _Wrong:
    """Stands for an entry that was wrong and is left out."""


_WRONG = _Wrong()


def _struct(value: Any, kind: inspect.StructType, path: str, findings: Findings) -> Any:
    if not isinstance(value, dict):
        findings.add(path, value, "is not a table", f"write a table [{path}]")
        return _WRONG
    fields = {field.encode_name: field for field in kind.fields}
    given: dict[str, Any] = {}
    for name, item in value.items():
        where = f"{path}.{name}" if path else name
        field = fields.get(name)
        if field is None:
            findings.add(where, None, "is not a setting", suggest(name, fields))
            continue
        entry = _entry(item, field.type, where, findings)
        if entry is not _WRONG:
            given[field.name] = entry
    missing = False
    for name, field in fields.items():
        if field.required and name not in value:
            findings.add(f"{path}.{name}" if path else name, None, "is missing", _allowed(_plain(field.type)[0]))
        missing = missing or (field.required and field.name not in given)
    return _WRONG if missing else kind.cls(**given)


def _plain(kind: inspect.Type) -> tuple[inspect.Type, dict[str, Any]]:
    """The type without its metadata, and the metadata's `extra`."""
    extra: dict[str, Any] = {}
    while isinstance(kind, inspect.Metadata):
        extra = {**(kind.extra or {}), **extra}
        kind = kind.type
    return kind, extra


def _entry(value: Any, kind: inspect.Type, path: str, findings: Findings) -> Any:
    kind, extra = _plain(kind)
    if isinstance(kind, inspect.StructType):
        return _struct(value, kind, path, findings)
    if isinstance(kind, inspect.DictType):
        return _table(value, kind, path, findings)
    if isinstance(kind, inspect.ListType):
        return _list(value, kind, path, findings)
    shown = "(hidden)" if extra.get("secret") else value
    message = _fault(value, kind)
    if message:
        findings.add(path, shown, message, _allowed(kind, str(extra.get("unit", ""))))
        return _WRONG
    return float(value) if isinstance(kind, inspect.FloatType) else value


def _table(value: Any, kind: inspect.DictType, path: str, findings: Findings) -> Any:
    if not isinstance(value, dict):
        findings.add(path, value, "is not a table", f"write a table [{path}.NAME]")
        return _WRONG
    if not (kind.min_length or 0) <= len(value) <= (len(value) if kind.max_length is None else kind.max_length):
        findings.add(path, None, f"has {len(value)} entries", _allowed(kind))
    entries = {name: _entry(item, kind.value_type, f"{path}.{name}", findings) for name, item in value.items()}
    return {name: entry for name, entry in entries.items() if entry is not _WRONG}


def _list(value: Any, kind: inspect.ListType, path: str, findings: Findings) -> Any:
    if not isinstance(value, list):
        findings.add(path, value, "is not a list", _allowed(kind))
        return _WRONG
    if not (kind.min_length or 0) <= len(value) <= (len(value) if kind.max_length is None else kind.max_length):
        findings.add(path, value, f"has {len(value)} entries", _allowed(kind))
        return _WRONG
    entries = [_entry(item, kind.item_type, f"{path}[{index}]", findings) for index, item in enumerate(value)]
    return [entry for entry in entries if entry is not _WRONG]


def _fault(value: Any, kind: inspect.Type) -> str:
    """Why a plain value is not of `kind`, or ""."""
    if isinstance(kind, inspect.LiteralType):
        return "" if type(value) in (str, int) and value in kind.values else "is not one of the allowed words"
    if isinstance(kind, inspect.BoolType):
        return "" if isinstance(value, bool) else "is not true or false"
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        right = isinstance(value, int) if isinstance(kind, inspect.IntType) else isinstance(value, (int, float))
        if not right or isinstance(value, bool):
            return f"is not {_KINDS[type(kind)]}"
        if kind.ge is not None and not value >= kind.ge:
            return "is too small"
        if kind.le is not None and not value <= kind.le:
            return "is too large"
        return ""
    if isinstance(kind, inspect.StrType):
        if not isinstance(value, str):
            return "is not text"
        if kind.min_length is not None and len(value) < kind.min_length:
            return "is too short" if value else "is empty"
        if kind.max_length is not None and len(value) > kind.max_length:
            return "is too long"
        if any(ord(character) < 32 for character in value):
            return "holds a control character"
        if kind.pattern is not None and re.search(kind.pattern, value) is None:
            return "does not have the right form"
        return ""
    raise TypeError(f"the schema uses {kind!r}, which validation does not know")


def _allowed(kind: inspect.Type, unit: str = "") -> str:
    """The remedy: what may stand there."""
    unit = f" {unit}" if unit else ""
    kind = _plain(kind)[0]
    if isinstance(kind, inspect.LiteralType):
        return "allowed: " + ", ".join(str(value) if value != "" else '""' for value in sorted(kind.values, key=str))
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        if kind.ge is not None and kind.le is not None:
            return f"allowed: {_KINDS[type(kind)]} from {kind.ge} to {kind.le}{unit}"
        return f"allowed: {_KINDS[type(kind)]}" + (f" of at least {kind.ge}{unit}" if kind.ge is not None else "")
    if isinstance(kind, inspect.StrType):
        parts = [_KINDS[inspect.StrType]]
        if kind.min_length is not None or kind.max_length is not None:
            most = "" if kind.max_length is None else f" to {kind.max_length}"
            parts.append(f"of {kind.min_length or 0}{most} characters" if most else f"of at least {kind.min_length} characters")
        if kind.pattern is not None:
            return "allowed: " + " ".join(parts) + f": {words(kind.pattern)}"
        return "allowed: " + " ".join(parts)
    if isinstance(kind, (inspect.ListType, inspect.DictType)) and (kind.min_length is not None or kind.max_length is not None):
        return f"allowed: {kind.min_length or 0} to {kind.max_length if kind.max_length is not None else 'any number of'} entries"
    return f"give {_KINDS.get(type(kind), 'a value')}"
