"""Extensions from a table of another product: CSV in the layout of FreePBX's bulk handler, and back (L1, pure).

Theory of operation
-------------------
The first line names the columns, in any order; those that mean nothing here are listed, not refused. Each row becomes an entry of
`extensions`
(and of `mailboxes`, where it has voice mail), laid over what the configuration already says of that number: an empty cell leaves a
setting as it
is. The result is checked like any configuration; a row that something is wrong with is refused with the reason and left out, and the rest
is
checked again, so that one bad row costs one telephone and not five hundred. Nothing is changed here: the outcome is a plan.
Cells that begin like a formula (= + - @) are written with an apostrophe before them, as spreadsheets execute them otherwise; reading
takes it off.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from firmware.config.problems import Problem
from firmware.config.schema.people import Extension
from firmware.config.schema.tree import Config

MOST_ROWS = 2000
MOST_TEXT = 2_000_000
ROUNDS = 4
COLUMNS = (
    "extension", "name", "description", "tech", "secret", "outboundcid", "ringtimer", "voicemail", "voicemail_enable", "voicemail_vmpwd",
    "voicemail_email", "voicemail_options",
)  # fmt: skip
SIP_TECH = ("", "sip", "pjsip")
_NUMBER = re.compile(r"[0-9]{2,8}\Z")
_YES = ("yes", "1", "true", "enabled", "on")


class Fate(Struct, frozen=True):
    """What becomes of a row. `fate`: added, changed, same or refused; `changes`: settings that differ."""

    line: int
    extension: str
    name: str
    fate: str
    why: str = ""
    why_zh: str = ""
    changes: tuple[str, ...] = ()


class Plan(Struct, frozen=True):
    """The outcome: `tree` is the whole configuration with every accepted row, `problem` why the table as a whole is of no use."""

    rows: tuple[Fate, ...] = ()
    ignored: tuple[str, ...] = ()
    tree: dict[str, Any] = {}
    problem: str = ""
    problem_zh: str = ""

    def count(self, fate: str) -> int:
        """Rows of one fate."""
        return sum(row.fate == fate for row in self.rows)


class _RefusedError(Exception):
    """A row cannot be used; both languages."""


def plan(tree: dict[str, Any], text: str, check: Callable[[dict[str, Any]], list[Problem]]) -> Plan:
    """What a table would do to the configuration `tree` (not changed). `check` gives the problems of a whole tree."""
    if len(text) > MOST_TEXT:
        return Plan(problem=f"the table is longer than {MOST_TEXT} characters", problem_zh=f"表格超过 {MOST_TEXT} 个字符")
    lines = text.lstrip("\ufeff").splitlines()
    head = lines[0] if lines else ""
    try:
        table = list(csv.reader(lines, delimiter=max(",;\t", key=head.count), strict=True))
    except csv.Error as error:
        return Plan(problem=f"is not CSV: {error}", problem_zh=f"不是有效的 CSV：{error}")
    names = [cell.strip().lower() for cell in table[0]] if table else []
    if "extension" not in names:
        return Plan(
            problem="the first line names no column `extension`; export the table with FreePBX's bulk handler, type extensions",
            problem_zh="首行没有 extension 列；请用 FreePBX 批量处理工具导出分机表",
        )
    if len(table) - 1 > MOST_ROWS:
        rows = len(table) - 1
        return Plan(problem=f"has {rows} rows; at most {MOST_ROWS} are read", problem_zh=f"共 {rows} 行，最多读取 {MOST_ROWS} 行")
    ignored = tuple(name for name in names if name and name not in COLUMNS)
    fates: dict[int, Fate] = {}
    wanted: dict[int, tuple[str, dict[str, Any], dict[str, Any] | None]] = {}
    seen: dict[str, int] = {}
    for line, cells in enumerate(table[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        row = {name: _plain(cell) for name, cell in zip(names, cells, strict=False)}
        number = row.get("extension", "")
        shown = row.get("name") or row.get("description", "")
        try:
            if number in seen:
                first = seen[number]
                raise _RefusedError(f"extension {number} stands in line {first} already", f"分机 {number} 已在第 {first} 行出现")
            wanted[line] = (number, *_entries(tree, row))
            seen[number] = line
            fates[line] = Fate(line, number, shown, "added")
        except _RefusedError as refused:
            fates[line] = Fate(line, number, shown, "refused", *refused.args)
    return _settle(tree, fates, wanted, ignored, check)


def _settle(
    tree: dict[str, Any], fates: dict[int, Fate], wanted: dict[int, tuple[str, dict[str, Any], dict[str, Any] | None]],
    ignored: tuple[str, ...], check: Callable[[dict[str, Any]], list[Problem]],
) -> Plan:  # fmt: skip
    """Check the whole, leave out what is wrong, until nothing is."""
    whole: list[Problem] = []
    for _ in range(ROUNDS):
        result = _laid(tree, list(wanted.values()))
        whole = check(result)
        blamed: dict[int, Problem] = {}
        for problem in whole:
            parts = problem.path.split(".")
            named = parts[1] if parts[0] in ("extensions", "mailboxes") and len(parts) > 1 else ""
            line = next((one for one, (number, _, _) in wanted.items() if number == named), 0)
            if line:
                blamed.setdefault(line, problem)
        if not whole or not blamed:
            break
        for line, problem in blamed.items():
            del wanted[line]
            said = f"{problem.path.split('.', 2)[-1]} {problem.message}; {problem.remedy}"
            fates[line] = _told(fates[line], "refused", said, said)
    if whole:
        told = whole[0].text()
        rows = tuple(fates.values())
        return Plan(rows, ignored, problem=f"cannot be laid over this configuration: {told}", problem_zh=f"与现有配置冲突：{told}")
    for line, (number, entry, box) in wanted.items():
        before = tree.get("extensions", {}).get(number)
        changes = [name for name in sorted({*entry, *(before or {})}) if (before or {}).get(name) != entry.get(name)]
        if box is not None and tree.get("mailboxes", {}).get(number) != box:
            changes.append("voicemail")
        fate = "added" if before is None else "changed" if changes else "same"
        fates[line] = _told(fates[line], fate, "", "", tuple(changes))
    return Plan(tuple(fates.values()), ignored, result)


def _told(row: Fate, fate: str, why: str, why_zh: str, changes: tuple[str, ...] = ()) -> Fate:
    return Fate(row.line, row.extension, row.name, fate, why, why_zh, changes)


def _laid(tree: dict[str, Any], rows: list[tuple[str, dict[str, Any], dict[str, Any] | None]]) -> dict[str, Any]:
    result = {**tree, "extensions": dict(tree.get("extensions", {}))}
    boxes = dict(tree.get("mailboxes", {}))
    for number, entry, box in rows:
        result["extensions"][number] = entry
        if box is not None:
            boxes[number] = box
    if boxes:
        result["mailboxes"] = boxes
    return result


def _plain(cell: str) -> str:
    cell = cell.strip()
    return cell[1:] if cell[:1] == "'" and cell[1:2] in tuple("=+-@") else cell


def _entries(tree: dict[str, Any], row: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Extension and mailbox of a row, over what is there. Raises _RefusedError."""
    number = row.get("extension", "")
    if not _NUMBER.match(number):
        raise _RefusedError(f"{number!r} is no extension: 2 to 8 digits", f"{number!r} 不是分机号：应为 2 到 8 位数字")
    tech = row.get("tech", "").lower()
    before = tree.get("extensions", {}).get(number)
    if tech not in SIP_TECH:
        raise _RefusedError(
            f"technology {tech} is not SIP; an analogue telephone is added by its jack (`set extensions.{number}.kind fxs`, then `jack`)",
            f"类型 {tech} 不是 SIP；模拟话机请按插口添加（set extensions.{number}.kind fxs，再设 jack）",
        )
    if before is not None and before.get("kind") != "sip":
        raise _RefusedError(f"extension {number} is an analogue telephone here", f"分机 {number} 在本机是模拟话机")
    entry: dict[str, Any] = dict(before) if before is not None else {"kind": "sip"}
    name = row.get("name") or row.get("description", "")
    if name:
        entry["name"] = name
    if row.get("secret"):
        entry["secret"] = row["secret"]
    shown = re.search(r"<?(\+?[0-9]+)>?\s*\Z", row.get("outboundcid", ""))
    if row.get("outboundcid"):
        if shown is None:
            raise _RefusedError(f"outboundcid {row['outboundcid']!r} holds no number", f"outboundcid {row['outboundcid']!r} 中没有号码")
        entry["outside_number"] = shown[1]
    rings = row.get("ringtimer", "")
    if rings and rings not in ("0", "default"):
        if not rings.isascii() or not rings.isdigit() or len(rings) > 5:
            raise _RefusedError(f"ringtimer {rings!r} is not a number of seconds", f"ringtimer {rings!r} 不是秒数")
        entry["ring_s"] = int(rings)
    return entry, _box(tree, row, number, name)


def _box(tree: dict[str, Any], row: dict[str, str], number: str, name: str) -> dict[str, Any] | None:
    enabled = row.get("voicemail_enable", "").lower() in _YES or (
        "voicemail_enable" not in row and row.get("voicemail", "novm") not in ("", "novm", "disabled")
    )
    if not enabled:
        return None
    box: dict[str, Any] = dict(tree.get("mailboxes", {}).get(number, {"extensions": [number]}))
    if name:
        box["title"] = name
    pin = row.get("voicemail_vmpwd", "")
    if pin:
        if not (pin.isascii() and pin.isdigit() and 4 <= len(pin) <= 12):
            raise _RefusedError("voicemail_vmpwd is not a PIN of 4 to 12 digits", "voicemail_vmpwd 不是 4 到 12 位数字的密码")
        box["pin"] = pin
    if row.get("voicemail_email"):
        box["mail"] = row["voicemail_email"]
    options = dict(part.partition("=")[::2] for part in row.get("voicemail_options", "").lower().split("|"))
    if options.get("attach") == "no":
        box["mail_audio"] = False
    if options.get("delete") == "yes":
        box["mail_removes"] = True
    return box


# --- and back --------------------------------------------------------------------------------------------------------


class _Lines:
    """What csv.writer writes to."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def table(config: Config, *, secrets: bool) -> str:
    """All SIP extensions in the same layout; without `secrets` the column of passwords is empty, and reading it back changes none."""
    out = _Lines()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for number, extension in sorted(config.extensions.items(), key=lambda item: (len(item[0]), item[0])):
        if extension.kind != "sip":
            continue
        box = config.mailboxes.get(number)
        options = "" if box is None else f"attach={'yes' if box.mail_audio else 'no'}|delete={'yes' if box.mail_removes else 'no'}"
        writer.writerow([
            _safe(cell) for cell in (
                number, extension.name, extension.name, "pjsip", extension.secret if secrets else "", extension.outside_number,
                str(extension.ring_s) if extension.ring_s != Extension(kind="sip").ring_s else "0",
                "default" if box is not None else "novm", "yes" if box is not None else "",
                box.pin if box is not None and secrets else "", box.mail if box is not None else "", options,
            )
        ])  # fmt: skip
    return out.text


def _safe(cell: str) -> str:
    return "'" + cell if cell[:1] in tuple("=+-@") else cell
