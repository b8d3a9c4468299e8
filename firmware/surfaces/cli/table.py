"""Lays out any typed result: lists of records as tables, a record as names and values, in English or Chinese."""

from __future__ import annotations

import pkgutil
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from firmware.reports.columns import fold, pieces, width
from firmware.surfaces.cli.report import is_report, report

# Unix ms, shown as UTC like the logs; 0 is "never".
INSTANTS = ("at_ms", "opened_ms", "ended_ms", "started_ms", "ringing_ms", "answered_ms", "connected_ms", "wall_ms")
DURATIONS = ("wait_ms", "talk_ms", "ring_ms", "seat_alert_ms")
GAP = 2             # columns between two of a table
GAP_TEXT = "  "
LONGEST_WORD = 30
EMPTY = {"en": "nothing to show", "zh": "没有内容"}
YES_NO = {"en": ("yes", "no"), "zh": ("是", "否")}


def render(result: Any, language: str = "en", columns: int = 0) -> list[str]:
    """Lines of text for a result as it came over the socket; tables fold their cells to fit into `columns`, 0 for any width."""
    result = spoken(result, language)
    if result is None:
        return ["ok"]
    if isinstance(result, list):
        if not result:
            return [EMPTY[language]]
        if all(isinstance(row, Mapping) for row in result):
            return table(result, language, columns)
        return [_cell(item, language) for item in result]
    if isinstance(result, Mapping) and isinstance(result.get("page"), list):
        return [_cell(line, language) for line in result["page"]]      # laid out already, with columns of its own
    if is_report(result):
        return _report(result, language)
    return _record(result, language, columns) if isinstance(result, Mapping) else [_cell(result, language)]


def _report(result: Mapping[str, Any], language: str) -> list[str]:
    """A doctor's report: plain fields and facts as lines, tables it carries, then the findings."""
    facts = [(_cell(row["name"], language), _cell(row["value"], language)) for row in result.get("facts", [])]
    plain = [
        (title(name, language), _field(name, value, language))
        for name, value in result.items()
        if not isinstance(value, list) and not _is_empty(name, value)
    ]
    findings = [{name: _cell(value, language) for name, value in row.items()} for row in result["findings"]]
    lines = report([*plain, *facts], findings, language)
    for name, value in result.items():
        if name not in ("facts", "findings") and isinstance(value, list) and value:
            rows = table(value, language) if _is_table(value) else [_cell(item, language) for item in value]
            lines += ["", title(name, language), *("  " + row for row in rows)]
    return lines


def spoken(result: Any, language: str) -> Any:
    """Texts that come in both languages (`NAME_en` or `NAME`, then `NAME_zh`) become one field, `NAME`, in the operator's.

    What is for programs only (`NAME_json`) is left out.
    """
    if isinstance(result, list):
        return [spoken(item, language) for item in result]
    if not isinstance(result, Mapping):
        return result
    found: dict[str, Any] = {}
    for name, value in result.items():
        base, _, tongue = name.rpartition("_")
        if base and tongue == "json":
            continue
        if base and tongue in YES_NO and f"{base}_en" in result and f"{base}_zh" in result:
            if tongue == language:
                found[base] = value
        elif tongue == "zh" and base in result:
            found[base] = value if value and language == "zh" else found[base]
        else:
            found[name] = spoken(value, language)
    return found


def table(rows: list[Mapping[str, Any]], language: str = "en", columns: int = 0) -> list[str]:
    """A table with one column for each field; columns that are empty everywhere are left out. See `render` for `columns`."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in names if any(not _is_empty(name, row.get(name)) for row in rows)] or names
    cells = [[_field(name, row.get(name), language) for name in names] for row in rows]
    numeric = [name not in INSTANTS and all(_is_number(row.get(name)) for row in rows) for name in names]
    titles = [title(name, language) for name in names]
    widths = [max(width(text) for text in column) for column in zip(titles, *cells, strict=True)]
    if columns and sum(widths) + GAP * (len(widths) - 1) > columns:
        least = [max(_longest_word(text) for text in column) for column in zip(titles, *cells, strict=True)]
        widths = _fitted(widths, least, columns)
        if sum(widths) + GAP * (len(widths) - 1) > columns:
            return [line for row in cells for line in _entry(titles, row, columns)]
    rule = ["-" * size for size in widths]
    return [line for row in (titles, rule, *cells) for line in _folded(row, widths, numeric)]


def _entry(titles: list[str], cells: list[str], columns: int) -> list[str]:
    """A row with more columns than any terminal of that width can show: its name, then what there is of it."""
    facts = GAP_TEXT.join(f"{title}: {cell}" for title, cell in zip(titles[1:], cells[1:], strict=True) if cell)
    return [cells[0], *("  " + line for line in fold(facts, columns - 2))]


def _longest_word(text: str) -> int:
    """Columns that a cell needs so that no word is cut; Chinese may be cut anywhere, and so may what is longer than any word."""
    return min(LONGEST_WORD, max((width(piece.rstrip()) for piece in pieces(text)), default=0))


def _fitted(widths: list[int], least: list[int], columns: int) -> list[int]:
    """Narrower columns: the widest gives up first, down to its longest word."""
    sizes = list(widths)
    while sum(sizes) + GAP * (len(sizes) - 1) > columns:
        widest = max((at for at in range(len(sizes)) if sizes[at] > least[at]), key=lambda at: sizes[at], default=-1)
        if widest < 0:
            return sizes
        sizes[widest] -= 1
    return sizes


def _folded(cells: list[str], widths: list[int], numeric: list[bool]) -> list[str]:
    """One row of a table in as many lines as its longest cell needs."""
    parts = [[text] if width(text) <= size else _pieces(text, size) for text, size in zip(cells, widths, strict=True)]
    return [
        _join([part[at] if at < len(part) else "" for part in parts], widths, numeric) for at in range(max(len(part) for part in parts))
    ]


def _pieces(text: str, size: int) -> list[str]:
    """A cell in lines: cut at spaces, and inside of a word that is too long."""
    found = []
    for line in fold(text, size):
        while width(line) > size:
            head = line
            while width(head) > size:
                head = head[:-1]
            found.append(head)
            line = line[len(head) :]
        found.append(line)
    return found


def _join(cells: list[str], widths: list[int], numeric: list[bool]) -> str:
    padded = []
    for text, size, right in zip(cells, widths, numeric, strict=True):
        space = " " * (size - width(text))
        padded.append(space + text if right else text + space)
    return "  ".join(padded).rstrip()


def _record(record: Mapping[str, Any], language: str, columns: int = 0) -> list[str]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat |= value if isinstance(value, Mapping) else {name: value}  # a record within a record: its fields beside the others
    record = flat
    plain = {name: value for name, value in record.items() if not _is_table(value)}
    size = max((width(title(name, language)) for name in plain), default=0)
    lines = [
        f"{title(name, language)}{' ' * (size - width(title(name, language)))}  {_field(name, value, language)}".rstrip()
        for name, value in plain.items()
    ]
    for name, value in record.items():
        if _is_table(value):
            lines += ["", title(name, language), *("  " + line for line in table(value, language, max(0, columns - 2)))]
    return lines


def _is_empty(name: str, value: Any) -> bool:
    return value in ("", None, []) or (name in INSTANTS and value == 0)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


@lru_cache(maxsize=1)
def titles_zh() -> dict[str, str]:
    """Name of a field to its Chinese title; read by the first who speaks Chinese."""
    found: dict[str, str] = tomllib.loads((pkgutil.get_data("firmware.surfaces.cli", "titles_zh.toml") or b"").decode())
    return found


def title(name: str, language: str) -> str:
    """Column title of a field."""
    if name in INSTANTS or name in DURATIONS:
        name = name.removesuffix("_ms")
    return titles_zh().get(name, name.replace("_", " ")) if language == "zh" else name.replace("_", " ")


def _field(name: str, value: Any, language: str) -> str:
    """A named value: instants and durations as people read them."""
    if isinstance(value, int) and not isinstance(value, bool):
        if name in INSTANTS:
            return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if value else ""
        if name in DURATIONS:
            return f"{value / 1000:.1f} s"
    return _cell(value, language)


def _cell(value: Any, language: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return YES_NO[language][0 if value else 1]
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    if isinstance(value, list):
        return ", ".join(_cell(item, language) for item in value)
    if isinstance(value, Mapping):
        return " ".join(f"{name}={_cell(item, language)}" for name, item in value.items() if item not in ("", None, []))
    # A name or number may come from outside: no control character may reach the terminal.
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(value))
