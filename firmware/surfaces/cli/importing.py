"""`branchpbx import` and `branchpbx export`: tables of extensions, and the whole site file, from and to files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firmware.control.client import Client
from firmware.reports.columns import printable

ENCODINGS = ("utf-8-sig", "gb18030")      # what spreadsheets of the two languages write
MOST_BYTES = 4_000_000


def add_parsers(commands: Any, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add both to the command line of `branchpbx`."""
    parser = commands.add_parser("import", parents=list(parents), help="extensions from CSV (FreePBX bulk handler), into the candidate")
    parser.add_argument("what", choices=("extensions",), help="what the file holds")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--dry-run", action="store_true", help="tell what would become of each line, change nothing")
    parser.add_argument("--lang", choices=("en", "zh"), default=None)
    parser = commands.add_parser("export", parents=list(parents), help="extensions as CSV, or the whole site file")
    parser.add_argument("what", choices=("extensions", "configuration"), help="extensions: CSV; configuration: TOML")
    parser.add_argument("file", nargs="?", type=Path, default=None, metavar="FILE", help="without it: to standard output")
    parser.add_argument("--secrets", action="store_true", help="with passwords in clear; the file is for its owner only (mode 0600)")


def read(options: argparse.Namespace, language: str) -> int:
    """Import; 0 when every line was taken, 1 when some were refused, 2 when the file cannot be read."""
    text = _text(options.file)
    with Client(options.state / "run" / "manage.sock") as client:
        result = client.request("import extensions", {"text": text, "dry_run": options.dry_run}) if text is not None else None
    if result is None:
        return 2
    zh = language == "zh"
    for row in result["rows"]:
        why = row["why_zh" if zh else "why"] or row["changes"]
        line = f"{row['line']:>5}  {row['extension']:<8}  {row['fate_zh' if zh else 'fate']:<8}  {row['name']:<24}  {why}"
        sys.stdout.write(printable(line).rstrip() + "\n")
    counts = {name: result[name] for name in ("added", "changed", "same", "refused")}
    words = {"added": "新增", "changed": "修改", "same": "未变", "refused": "拒绝"} if zh else {name: name for name in counts}
    sys.stdout.write(", ".join(f"{count} {words[name]}" for name, count in counts.items()) + "\n")
    if result["ignored"]:
        sys.stdout.write(("未使用的列：" if zh else "columns without meaning here: ") + printable(result["ignored"]) + "\n")
    sys.stdout.write(printable(result["says_zh" if zh else "says"]) + "\n")
    return 1 if result["refused"] else 0


def _text(path: Path) -> str | None:
    try:
        data = path.read_bytes()
    except OSError as error:
        sys.stderr.write(f"branchpbx import: {path}: {error.strerror}\n")
        return None
    if len(data) > MOST_BYTES:
        sys.stderr.write(f"branchpbx import: {path}: {len(data)} bytes; a table has at most {MOST_BYTES}\n")
        return None
    for encoding in ENCODINGS:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    sys.stderr.write(f"branchpbx import: {path}: neither UTF-8 nor GB 18030; save it as CSV UTF-8\n")
    return None


def write(options: argparse.Namespace) -> int:
    """Export to a file, which only its owner may read, or to standard output."""
    with Client(options.state / "run" / "manage.sock") as client:
        text: str = client.request(f"export {options.what}", {"secrets": options.secrets})
    if options.file is None:
        sys.stdout.write(text)
        return 0
    try:
        descriptor = os.open(options.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8-sig" if options.what == "extensions" else "utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        sys.stderr.write(f"branchpbx export: {options.file}: {error.strerror}\n")
        return 1
    return 0
