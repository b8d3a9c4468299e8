"""Styled lines of text for a terminal, as wide as they are shown, and a painter that only writes what changed.

Theory of operation. A `Line` is a list of spans (text, style). Layout is pure: tables, columns and rules make lists of lines of known
width; wide characters count two cells. `Painter` owns the terminal: alternate screen, hidden cursor, no line wrap; each frame is one
write of the lines that differ from the last frame, inside a synchronised update, so that nothing flickers and nothing scrolls.
Invariants: no painted line is wider than the terminal and no frame higher; no control character of a text reaches the terminal.
"""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Sequence

Span = tuple[str, str]
Line = list[Span]

STYLES = {
    "": "", "dim": "2", "bold": "1", "title": "1;36", "good": "32", "busy": "33", "bad": "31", "key": "1;33", "command": "32",
    "bar": "1;37;44", "alarm": "30;43", "emergency": "1;37;41", "secret": "1",
}  # fmt: skip
MONOCHROME = {"bar": "7", "alarm": "7", "emergency": "1;7", "bold": "1", "title": "1", "secret": "1", "key": "1"}
PLAIN = str.maketrans({"─": "-", "·": "|", "→": ">", "…": "~", "●": "*", "—": "-"})


def cells(text: str) -> int:
    """Cells that a text takes on a terminal."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def width(line: Line) -> int:
    """Cells of a line."""
    return sum(cells(text) for text, _ in line)


def clean(text: object) -> str:
    """A text from outside without control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def crop(line: Line, size: int) -> Line:
    """The line, cut with an ellipsis where it is wider than `size`."""
    if width(line) <= size:
        return line
    kept: Line = []
    left = size - 1
    for text, style in line:
        part = ""
        for c in text:
            wide = cells(c)
            if wide > left:
                if size > 0:
                    kept.append((part + "…", style))
                return kept
            part += c
            left -= wide
        kept.append((part, style))
    return kept


def pad(line: Line, size: int) -> Line:
    """The line, exactly `size` cells wide."""
    line = crop(line, size)
    return [*line, (" " * (size - width(line)), line[-1][1] if line and line[-1][1] in ("bar", "alarm", "emergency") else "")]


def rule(title: str, size: int, note: str = "") -> Line:
    """A heading across `size` cells."""
    line: Line = [("── ", "dim"), (title, "title"), *([(f"  {note}", "dim")] if note else []), (" ", "")]
    return [*crop(line, size), ("─" * max(0, size - width(line)), "dim")]


def table(rows: Sequence[Sequence[Span]], size: int, indent: int = 2) -> list[Line]:
    """Rows of cells in aligned columns, cropped to `size`; a column that is empty everywhere takes no room."""
    if not rows:
        return []
    count = max(len(row) for row in rows)
    wide = [max((cells(row[at][0]) for row in rows if at < len(row)), default=0) for at in range(count)]
    lines = []
    for row in rows:
        line: Line = [(" " * indent, "")]
        for at, (text, style) in enumerate(row):
            if wide[at]:
                line += [(text, style), (" " * (wide[at] - cells(text) + 2), "")]
        lines.append(crop(_trimmed(line), size))
    return lines


def _trimmed(line: Line) -> Line:
    """Without blanks at the end."""
    while line and not line[-1][0].strip():
        line = line[:-1]
    return line


def beside(left: Sequence[Line], right: Sequence[Line], left_size: int, right_size: int, gap: int = 3) -> list[Line]:
    """Two columns."""
    blank: Line = []
    rows = []
    for at in range(max(len(left), len(right))):
        first = left[at] if at < len(left) else blank
        second = right[at] if at < len(right) else blank
        rows.append([*pad(first, left_size), (" " * gap, ""), *crop(second, right_size)])
    return rows


def shell_lines(command: str, size: int) -> list[str]:
    """A command in pieces no wider than `size`, each but the last ending in a backslash: a copy of them is the same command."""
    lines: list[str] = []
    rest = command
    while cells(rest) > size:
        at = rest.rfind(" --", 0, max(8, size - 1))  # an option and its value stay together where they can
        at = at if at > 0 else rest.rfind(" ", 0, max(8, size - 1))
        if at <= 0:
            break
        lines.append(rest[:at] + " \\")
        rest = rest[at + 1 :]
    return [*lines, rest]


def sgr(line: Line, *, colour: bool = True, wide: bool = True) -> str:
    """A line with its escape sequences. `wide` False: the terminal's encoding has ASCII only."""
    parts = []
    for text, style in line:
        text = clean(text) if wide else clean(text).translate(PLAIN)
        code = STYLES[style] if colour else MONOCHROME.get(style, "")
        parts.append(f"\x1b[{code}m{text}\x1b[0m" if code else text)
    return "".join(parts)


class Painter:
    """Draws frames on the terminal of descriptor `output`; a context manager that leaves it as it was."""

    def __init__(self, output: int, *, colour: bool = True, wide: bool = True) -> None:
        self._output = output
        self._colour, self._wide = colour, wide
        self._shown: list[str] = []
        self._size = (0, 0)

    def __enter__(self) -> Painter:
        self._write("\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            self._write("\x1b[?7h\x1b[?25h\x1b[?1049l")

    def size(self) -> tuple[int, int]:
        """Columns and rows now."""
        try:
            found = os.get_terminal_size(self._output)
        except OSError:
            return 80, 24
        return max(1, found.columns), max(1, found.lines)

    def paint(self, frame: Sequence[Line]) -> None:
        """Show these lines from the top; what is below them is cleared."""
        columns, rows = self.size()
        out: list[str] = []
        if (columns, rows) != self._size:
            self._size, self._shown = (columns, rows), []
            out.append("\x1b[2J")
        lines = []
        for line in frame[:rows]:
            fitted = crop(line, columns)
            # Behind a full line the cursor stays on its last cell: to erase from there would take that cell away.
            rest = "" if width(fitted) >= columns else "\x1b[K"
            lines.append(sgr(fitted, colour=self._colour, wide=self._wide) + rest)
        lines += ["\x1b[K"] * (rows - len(lines))
        for at, text in enumerate(lines):
            if at >= len(self._shown) or text != self._shown[at]:
                out.append(f"\x1b[{at + 1};1H{text}")
        self._shown = lines
        if out:
            self._write("\x1b[?2026h" + "".join(out) + "\x1b[?2026l")

    def _write(self, text: str) -> None:
        data = text.encode("utf-8" if self._wide else "ascii", "replace")
        while data:
            data = data[os.write(self._output, data) :]
