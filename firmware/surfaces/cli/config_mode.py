"""Configuration at the console: habits of router consoles, `set` lines, completion from the schema, refusals in words (no I/O)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from firmware.surfaces.cli.screen import Offers

#: What people type out of habit, and what it is here. The first that fits counts; `{}` takes what follows.
HABITS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"^(?:{pattern})(?:\s+(?P<rest>.*))?$", re.IGNORECASE), meaning)
    for pattern, meaning in (
        (r"conf(?:i|ig|igu|igur|igure)?(?:\s+t(?:e|er|erm|ermi|ermin|termina|erminal)?)?", "configure {}"),
        (r"sh(?:o|ow)?\s+ru(?:n|nn|nni|nnin|nning|nning-config)?", "show configuration {}"),
        (r"sh(?:o|ow)?\s+star(?:t|tu|tup|tup-config)?", "show configuration {}"),
        (r"wr(?:i|it|ite)?(?:\s+mem(?:o|or|ory)?)?", "commit {}"),
        (r"copy\s+run\S*\s+star\S*", "commit"),
        (r"diff", "show diff {}"),
        (r"compare", "show diff {}"),
        (r"no", "delete {}"),
        (r"do", "{}"),
        (r"(?:log|logo|logou|logout)", "logout"),
        (r"verify(?=\s*$)", "verify configuration"),
        (r"sh(?:o|ow)?\s+conf(?:i|ig|igu|igur|igura)?\s+rev\S*", "show revisions"),
    )
)
#: Commands whose argument is a path of the configuration.
PATHS = ("set", "delete", "show candidate", "show configuration")


def meaning(line: str) -> str:
    """The line in this console's words; as it is where it is nobody's habit."""
    for pattern, text in HABITS:
        found = pattern.match(line)
        if found:
            return text.format(found["rest"] or "").strip() or line
    return line


def setting_line(line: str) -> tuple[str, str] | None:
    """Path and value of a `set` line as it is pasted: the value is the rest of the line, untouched. None for another line."""
    found = re.match(r"^set\s+(\S+)\s*(.*)$", line.strip(), re.IGNORECASE)
    if found is None:
        return None
    path, rest = found[1], found[2]
    while path.count('"') % 2 and rest:                     # a quoted name with a space in it
        inside, _, after = rest.partition('"')
        word, _, rest = after.partition(" ") if not after.startswith(" ") else ("", "", after)
        path = f'{path} {inside}"{word}'
    return path, rest.strip()


def path_before(line: str) -> tuple[str, str, bool] | None:
    """(command, path so far, whether its value follows) where the cursor is in a path of the configuration; None elsewhere."""
    words = line.split()
    open_word = bool(line) and not line[-1].isspace()
    for command in PATHS:
        steps = command.split()
        if len(words) < len(steps) + (1 if open_word else 0):
            continue
        full = all(step.startswith(word.lower()) and len(word) >= min(3, len(step)) for step, word in zip(steps, words, strict=False))
        if not full:
            continue
        given = words[len(steps) :]
        if not given:
            return command, "", False
        if len(given) == 1 and open_word:
            return command, given[0], False
        return command, given[0], True
    return None


def offers_of(rows: list[Mapping[str, Any]], path: str, language: str) -> Offers:
    """Help and completion from what `complete` answers."""
    shown: list[tuple[str, str]] = []
    for row in rows:
        follows = {"table": ".", "name": "", "value": ""}.get(str(row["kind"]), "")
        shown.append((f"{row['word']}{follows}", fact(row, language)))
    insert = ""
    last = path.rpartition(".")[2]
    words = [str(row["word"]) for row in rows if row["kind"] != "name" or not str(row["word"]).startswith("<")]
    begun = [word for word in words if word.startswith(last)]
    if begun:
        common = begun[0]
        for word in begun[1:]:
            while not word.startswith(common):
                common = common[:-1]
        insert = common[len(last) :]
        if len(begun) == 1:
            insert += " " if next(row for row in rows if row["word"] == begun[0])["kind"] == "value" else "."
    return Offers(shown, insert)


def fact(row: Mapping[str, Any], language: str) -> str:
    """One word of the schema in a line: what it is, what it may be, what it is without being set."""
    zh = language == "zh"
    parts = [str(row["help_zh"] if zh and row.get("help_zh") else row["help"])]
    allowed = str(row.get("allowed_zh") if zh and row.get("allowed_zh") else row.get("allowed") or "")
    if allowed:
        parts.append(allowed)
    if row.get("default"):
        parts.append(f"默认 {row['default']}" if zh else f"default {row['default']}")
    return "; ".join(part for part in parts if part)


def problem_lines(problems: list[Mapping[str, Any]], language: str) -> list[str]:
    """Every wrong value with path, value, reason, remedy and what is allowed."""
    zh = language == "zh"
    lines = []
    for problem in problems:
        value = f" = {problem['value']}" if problem.get("value") else ""
        said = problem.get("message_zh") if zh else ""
        remedy = problem.get("remedy_zh") if zh else ""
        allowed = (problem.get("allowed_zh") if zh else "") or problem.get("allowed") or ""
        lines.append(f"  {problem['path']}{value}: {said or problem['message']}")
        lines.append(f"    {remedy or problem['remedy']}")
        if allowed and str(allowed) not in str(remedy or problem["remedy"]):
            lines.append(f"    {allowed}")
    return lines


def prompt(name: str, *, config: bool, unsaved: bool, trial: bool, mighty: bool) -> str:
    """`branch1(config*)#`: mode, unsaved mark, trial."""
    marks = [("config" if config else "") + ("*" if unsaved and config else ""), "trial" if trial else ""]
    inside = ",".join(mark for mark in marks if mark)
    star = "*" if unsaved and not config else ""
    return f"{name}{star}{f'({inside})' if inside else ''}{'#' if mighty else '>'} "
