"""A configuration and its schema as text: TOML, `set` lines, the reference manual page (L1, pure)."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from msgspec import inspect

from firmware.config.diff import flat_tree, plain, setting
from firmware.config.schema.tree import Config

HIDDEN = "(hidden)"


def set_lines(config: Config, *, secrets: bool = False) -> list[str]:
    """`set path value` for everything that is not a default; secrets are hidden unless asked for."""
    return set_lines_of(plain(config), secrets=secrets)


def set_lines_of(tree: dict[str, Any], *, secrets: bool = False) -> list[str]:
    """The same of a tree as a site file gives it."""
    lines = []
    for path, value in flat_tree(tree).items():
        if value == {}:
            lines.append(f"set {path}")
        else:
            hidden = setting(path).secret and not secrets
            lines.append(f"set {path} {HIDDEN if hidden else _toml_value(value)}")
    return lines


def to_toml(config: Config) -> str:
    """The file that gives this configuration: defaults left out, plain values before tables. It names its schema version, so that a
    later version knows what it reads."""
    return toml_of({"schema": config.schema, **plain(config)})


def toml_of(tree: dict[str, Any]) -> str:
    """The same of a tree as a site file gives it."""
    return "\n".join(_table(tree, "")).strip() + "\n"


def toml_value(value: Any) -> str:
    """A plain value as a site file writes it."""
    return _toml_value(value)


def _table(body: dict[str, Any], path: str) -> list[str]:
    lines = [f"{_key(name)} = {_toml_value(value)}" for name, value in body.items() if not _is_table(value)]
    for name, value in body.items():
        where = f"{path}.{_key(name)}" if path else _key(name)
        if isinstance(value, dict):
            inner = _table(value, where)
            only_tables = bool(value) and all(_is_table(item) for item in value.values())
            lines += inner if only_tables else ["", f"[{where}]", *inner]
        elif _is_table(value):
            for item in value:
                lines += ["", f"[[{where}]]", *_table(item, where)]
    return lines


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    # JSON escapes are a subset of TOML's; U+007F must be escaped in TOML and is not by JSON.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


# --- reference manual -------------------------------------------------------------------------------------------------

_APPLY = {
    "live": "at once",
    "control": "at once; conversations go on",
    "restart-port": "when no call is on that port",
    "calls-drain": "when no call is up",
    "restart": "when no call is up; the appliance starts anew",
    "reboot": "after a reboot",
}


def reference() -> str:
    """`docs/reference/configuration.md`: every setting with type, limits, default, unit and when a change takes effect."""
    lines = [
        "# Configuration reference",
        "",
        "Generated from `firmware/config/schema` by `python -m firmware check --reference`; edit the schema, not this page.",
        "A site file is TOML. What it does not name has the default. `branchpbx check FILE` names every mistake at once.",
    ]
    _section(inspect.type_info(Config), "", lines)
    return "\n".join(lines) + "\n"


def _section(kind: inspect.Type, path: str, lines: list[str]) -> None:
    assert isinstance(kind, inspect.StructType)
    doc = (kind.cls.__doc__ or "").strip().split("\n")[0]
    lines += ["", f"## {'`[' + path + ']`' if path else 'Top level'}", "", doc, ""]
    rows: list[str] = []
    nested: list[tuple[str, inspect.Type]] = []
    for field in kind.fields:
        meta = field.type if isinstance(field.type, inspect.Metadata) else inspect.Metadata(field.type)
        inner = meta.type
        where = f"{path}.{field.encode_name}" if path else field.encode_name
        if isinstance(inner, inspect.StructType):
            nested.append((where, inner))
            continue
        if isinstance(inner, inspect.DictType) and isinstance(inner.value_type, inspect.StructType):
            nested.append((f"{where}.NAME", inner.value_type))
        elif isinstance(inner, inspect.ListType) and isinstance(inner.item_type, inspect.StructType):
            nested.append((f"[{where}]", inner.item_type))
            continue
        else:
            rows.append(_row(field, inner, meta))
    if rows:
        lines += ["| setting | value | default | takes effect | meaning |", "|---|---|---|---|---|", *rows]
    for where, inner in nested:
        _section(inner, where, lines)


def _row(field: inspect.Field, kind: inspect.Type, meta: inspect.Metadata) -> str:
    extra = meta.extra or {}
    unit = f" {extra['unit']}" if extra.get("unit") else ""
    meaning = str((meta.extra_json_schema or {}).get("description", "Free text for people" if field.name == "note" else ""))
    if extra.get("secret"):
        meaning += " (never shown)"
    if extra.get("role"):
        meaning += f" (changed by role {extra['role']} only)"
    default = "required" if field.required else f"`{_toml_value(_default(field))}`{unit if _default(field) not in ('', [], {}) else ''}"
    cells = [f"`{field.encode_name}`", _values(kind) + unit, default, _APPLY[str(extra.get("apply", "") or "live")], meaning]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: inspect.Field) -> Any:
    return field.default_factory() if field.default is msgspec.NODEFAULT else field.default


def _values(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(f"`{value}`" if value != "" else '`""`' for value in sorted(kind.values, key=str))
    if isinstance(kind, inspect.BoolType):
        return "`true`, `false`"
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        low = "" if kind.ge is None else f"{kind.ge}"
        high = "" if kind.le is None else f"{kind.le}"
        return f"{low} to {high}" if low and high else f"at least {low}" if low else "number"
    if isinstance(kind, inspect.ListType):
        inner = kind.item_type.type if isinstance(kind.item_type, inspect.Metadata) else kind.item_type
        return "list of " + _values(inner)
    if isinstance(kind, inspect.StrType):
        if kind.pattern:
            return f"text `{kind.pattern}`"
        return f"text, at most {kind.max_length} characters" if kind.max_length else "text"
    return "table"
