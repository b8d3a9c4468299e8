"""Labels with QR code and the installation report of a site, as pages to print (host only: `paper.py`, segno).

Theory of operation
-------------------
`labels` draws sheets of 63.5 x 38.1 mm labels (21 on A4): one for the box, with a QR code of its set-up address, one for each jack and
telephone. `collect` asks a box for what the report holds, `report` writes it three times beside each other: JSON for the asset register,
text and PDF for people, in both languages, with a SHA-256 of the JSON on the page that is signed. What the box could not tell stands in the
report as such; nothing is made up. The QR modules are drawn as squares.
"""

from __future__ import annotations

import hashlib
import json
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from .line import Session
from .paper import MM, PAGE, Paper, paper
from .texts import ProvisionError, told

LABEL = (63.5 * MM, 38.1 * MM)
COLUMNS, ROWS = 3, 7
MARGIN = (7.2 * MM, 15.1 * MM)
GAP = 2.5 * MM
ASKED = (
    ("identity", "show identity", "Device", "设备"),
    ("version", "show version", "Version", "版本"),
    ("trial", "show trial", "Configuration", "配置"),
    ("proof", "verify configuration", "Running equals stored", "运行与保存一致"),
    ("lines", "show lines", "Ports", "端口"),
    ("phones", "show phones", "Telephones", "话机"),
    ("trunks", "show trunks", "Trunks", "中继"),
    ("test", "show self-test", "Self-test", "自检"),
    ("alarms", "show alarms", "Alarms", "告警"),
)
SIGN = (("Installer", "安装人"), ("Customer", "客户"), ("Date", "日期"))
WIDE = 9  # columns of a table that fit on the page


def _shown(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


# --- labels -----------------------------------------------------------------------------------------------------------


def label_rows(tool: Session) -> list[dict[str, str]]:
    """What is to be labelled at this box: itself, its jacks with their numbers."""
    known = tool.call("show identity")
    address = ""
    try:
        for row in tool.call("show endpoints"):
            if row["what"].lower().startswith("web"):
                address = str(row["where"])
    except ProvisionError:
        address = ""
    rows = [{"name": f"{known['product']} {known['model']}", "serial": known["serial"], "mac": known["mac"], "address": address}]
    for row in tool.call("show lines"):
        rows.append({"name": row["endpoint"], "serial": row["number"], "mac": "", "address": ""})
    return rows


def labels(rows: list[dict[str, str]], target: Path) -> list[Path]:
    """Sheets of labels as PDF or pictures; the files. Raises ProvisionError for another ending."""
    page = paper(target)
    for number, row in enumerate(rows):
        at = number % (COLUMNS * ROWS)
        if number and not at:
            page.page()
        left = MARGIN[0] + at % COLUMNS * (LABEL[0] + GAP)
        top = PAGE[1] - MARGIN[1] - at // COLUMNS * LABEL[1]
        _label(page, row, left, top)
    return page.save()


def code_of(row: dict[str, str]) -> str:
    """What the QR code of a label says: the set-up address, or name and number."""
    return row["address"] or ";".join(part for part in ("BPX", row["serial"], row["mac"], row["name"]) if part)


def _label(page: Paper, row: dict[str, str], left: float, top: float) -> None:
    size = LABEL[1] - 8 * MM
    qr(page, code_of(row), left + 2 * MM, top - LABEL[1] + 4 * MM, size)
    room, y = LABEL[0] - size - 6 * MM, top - 8 * MM
    for text, points, lines in ((row["name"], 10, 4), (row["serial"], 9, 1), (row["mac"], 8, 1), (row["address"], 7, 2)):
        for part in folded(page, text, points, room)[:lines]:
            page.text(left + size + 4 * MM, y, part, points)
            y -= points + 4


def folded(page: Paper, text: str, points: float, room: float) -> list[str]:
    """A text in lines that fit."""
    lines = [""] if text else []
    for sign in text:
        if lines[-1] and page.width(lines[-1] + sign, points) > room:
            lines.append("")
        lines[-1] += sign
    return lines


def qr(page: Paper, text: str, x: float, y: float, size: float, error: str = "m") -> None:
    """A QR code in a square, with its margin."""
    matrix = [bytes(row) for row in import_module("segno").make(text, error=error, micro=False).matrix_iter(scale=1, border=4)]
    step = size / len(matrix)
    for line, row in enumerate(matrix):
        for column, dark in enumerate(row):
            if dark:
                page.box(x + column * step, y + size - (line + 1) * step, step, step)


# --- codes that a scanner types ---------------------------------------------------------------------------------------


def codes(lines: list[str], name: str, target: Path) -> list[Path]:
    """Lines as QR codes, six on A4, each with its number; the files. Raises ProvisionError for another ending."""
    page, size = paper(target), 78 * MM
    for number, line in enumerate(lines):
        at = number % 6
        if number and not at:
            page.page()
        x, y = (18 + at % 2 * 92) * MM, PAGE[1] - (98 + at // 2 * 92) * MM
        qr(page, line, x, y, size, "l")
        page.text(x, y - 4 * MM, f"{name}   {number + 1}/{len(lines)}", 8)
    return page.save()


# --- the report -------------------------------------------------------------------------------------------------------


def test_ports(tool: Session, within_s: float = 180.0) -> None:
    """Have the box test every idle port, and wait until each was tested or nothing more comes."""
    before = {row["target"]: row["tested"] for row in tool.call("show self-test")}
    tool.call("self-test run")
    ports = {row["endpoint"] for row in tool.call("show lines")}
    until, settled, last = time.monotonic() + within_s, time.monotonic(), before
    while time.monotonic() < until and time.monotonic() - settled < within_s / 4:
        now = {row["target"]: row["tested"] for row in tool.call("show self-test")}
        if now != last:
            last, settled = now, time.monotonic()
        if ports and all(now.get(port, "") != before.get(port, "") for port in ports):
            return
        time.sleep(0.5)


def collect(tool: Session, applied: dict[str, Any], test: bool = False) -> dict[str, Any]:
    """Everything the report holds, asked from the box now; `test`: after each port was tested."""
    if test:
        test_ports(tool)
    facts: dict[str, Any] = {"made": time.strftime("%Y-%m-%d %H:%M:%S %z"), "line": tool.statistics(), "breaks": tool.breaks}
    for name, command, _, _ in ASKED:
        try:
            facts[name] = tool.call(command)
        except ProvisionError as error:
            facts[name] = {"not told": str(error)}
    facts["applied"] = {key: value for key, value in applied.items() if key != "changes"} | {"changes": len(applied.get("changes", []))}
    return facts


def report(facts: dict[str, Any], target: Path) -> list[Path]:
    """Write the report; the files. `target` is the PDF, its neighbours have other endings."""
    if target.suffix != ".pdf":
        raise told("ending", file=target, wanted=".pdf")
    body = json.dumps(facts, indent=1, ensure_ascii=False, sort_keys=True).encode()
    sum_text = hashlib.sha256(body).hexdigest()
    lines = text_lines(facts, sum_text)
    json_file, text_file = target.with_suffix(".json"), target.with_suffix(".txt")
    json_file.write_bytes(body)
    text_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    page, y = paper(target), PAGE[1] - 20 * MM
    qr(page, f"BPX-REPORT;{sum_text}", PAGE[0] - 42 * MM, PAGE[1] - 42 * MM, 30 * MM)
    for line in lines:
        heading = line.startswith("== ")
        page.text(18 * MM, y, line.removeprefix("== ")[:118], 11 if heading else 8)
        y -= 16 if heading else 11
        if y < 40 * MM:
            page.page()
            y = PAGE[1] - 20 * MM
    for number, (english, chinese) in enumerate(SIGN):
        x = (18 + number * 60) * MM
        page.rule(x, 28 * MM, 50 * MM)
        page.text(x, 23 * MM, f"{english} / {chinese}", 8)
    page.save()
    return [json_file, text_file, target]


def text_lines(facts: dict[str, Any], sum_text: str) -> list[str]:
    """The report in words."""
    out = ["== BranchPBX: installation report / 安装报告", f"{facts['made']}   SHA-256 {sum_text}"]
    applied = facts["applied"]
    if "site" in applied:
        done = f"revision / 版本 {applied['revision']}, {applied['changes']} changes / 项修改, {applied['seconds']:.0f} s"
        out.append(f"{applied['site']}: {done}")
    for name, _, english, chinese in ASKED:
        out += ["", f"== {english} / {chinese}"]
        value = facts[name]
        if isinstance(value, dict):
            out += _members(value)
        elif not value:
            out.append("none / 无")
        else:
            out += _table(value)
    return out


def _members(value: dict[str, Any]) -> list[str]:
    out = []
    for key, one in value.items():
        if isinstance(one, list) and one and isinstance(one[0], dict):
            out += [f"{key}:"] + _table(one)
        elif one not in ("", [], None):
            out.append(f"{key}: {one}")
    return out


def _table(rows: list[Any]) -> list[str]:
    if not isinstance(rows[0], dict):
        return [str(row) for row in rows]
    names = [name for name in rows[0] if any(row[name] not in ("", 0, None, []) for row in rows)][:WIDE]
    cells = [names] + [[_shown(str(row[name])) for name in names] for row in rows]
    sizes = [max(len(row[place]) for row in cells) for place in range(len(names))]
    return ["  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip() for row in cells]

