"""The line that somebody types, without I/O: keys in, finished lines and what to show out; made for terminals that know nothing.

Theory of operation
-------------------
The line stays on one row: what is longer than the terminal is wide scrolls sideways, with `$` where more is hidden, as router consoles
do it. So nothing but carriage return, backspace, space and text is ever needed, on a VT100 as on a printing terminal. After each key
the row that should be seen is compared with the row that is, and only the difference is sent: a character typed at the end costs its
own bytes, which is what makes 9600 baud feel direct. A wide character is two columns and is never shown in half.
`?` at the end of a word tells at once what may follow (a `Help` event, the line stays); inside quotation marks and where nothing is
echoed it is a character like others, as after ^V. Lines, history and undo of nothing are bounded: a longer line rings the bell.
Events are answered by the owner: it prints below and calls `draw` again.
"""

from __future__ import annotations

import unicodedata
from collections import deque

from msgspec import Struct

from firmware.reports.columns import width
from firmware.surfaces.cli.terminal import Key

LONGEST = 2000
HISTORY = 100
BELL = "\a"
MORE = "$"


class Entered(Struct, frozen=True):
    """Enter: a whole line."""

    text: str


class Help(Struct, frozen=True):
    """`?`: what may follow `before`?"""

    before: str


class Wanted(Struct, frozen=True):
    """Tab: complete `before`."""

    before: str


class Interrupted(Struct, frozen=True):
    """^C: the line is given up."""


class Left(Struct, frozen=True):
    """^D on an empty line."""


Event = Entered | Help | Wanted | Interrupted | Left


class Editor:
    """See the theory of operation above."""

    def __init__(self, columns: int = 80) -> None:
        self.columns = columns
        self.history: deque[str] = deque(maxlen=HISTORY)
        self._prompt = ""
        self._secret = False
        self._helpful = True
        self._clear = False
        self._text: list[str] = []
        self._at = 0
        self._first = 0                     # of the characters that are shown
        self._shown: list[str] = []         # cells of the row as the terminal has it
        self._cursor = 0                    # column in which the terminal's cursor stands
        self._recalled = -1
        self._kept = ""
        self._full = False

    # --- the owner's side ---------------------------------------------------------------------------------------------

    def start(self, prompt: str, *, secret: bool = False, helpful: bool = True, clear: bool = False) -> str:
        """Begin a line; what to send. `secret`: echo nothing; `helpful`: `?` asks; `clear`: the terminal understands VT100."""
        self._prompt, self._secret, self._helpful, self._clear = prompt, secret, helpful and not secret, clear
        self._text, self._at, self._first, self._recalled, self._kept = [], 0, 0, -1, ""
        return self.draw()

    def draw(self) -> str:
        """The row anew, from the first column of an empty row."""
        self._shown, self._cursor = [], 0
        return self._refresh()

    @property
    def text(self) -> str:
        """The line so far."""
        return "".join(self._text)

    def insert(self, text: str) -> str:
        """Type for the operator; what to send."""
        out = ""
        for character in text:
            out += self._type(character)
        return out + self._refresh()

    def press(self, key: Key) -> tuple[str, Event | None]:
        """One key: what to send, and what it asks of the owner."""
        if len(self._text) >= LONGEST and key.name == "text":
            quiet, self._full = self._full, True
            return "" if quiet else BELL, None          # once, not for each character of a flood
        self._full = False
        if key.name == "text" and key.text != "?":
            return self._type(key.text) + self._refresh(), None
        if key.name == "text":
            if self._helpful and not self._quoted():
                return self._refresh(to_end=True) + "\n", Help("".join(self._text[: self._at]))
            return self._type("?") + self._refresh(), None
        if key.name == "enter":
            return self._finish()
        if key.name == "interrupt":
            out = self._refresh(to_end=True) + "^C\n"
            return out, Interrupted()
        if key.name == "eof" and not self._text:
            return "\n", Left()
        if key.name == "tab":
            if not self._helpful:
                return BELL, None
            return "", Wanted("".join(self._text[: self._at]))
        if key.name == "redraw":
            return ("\x1b[2J\x1b[H" if self._clear else "\n") + self.draw(), None
        return (self._edit(key.name) or "") + self._refresh(), None

    # --- editing ------------------------------------------------------------------------------------------------------

    def _quoted(self) -> bool:
        mark = ""
        for character in self._text[: self._at]:
            if character in "\"'":
                mark = "" if mark == character else mark or character
        return bool(mark)

    def _type(self, character: str) -> str:
        if len(self._text) >= LONGEST:
            return BELL
        # A mark that belongs to the character before it must not be parted from it by the cursor.
        if unicodedata.combining(character):
            if not self._at:
                return BELL
            if len(self._text[self._at - 1]) < 4:
                self._text[self._at - 1] += character
            return ""
        self._text.insert(self._at, character)
        self._at += 1
        return ""

    def _finish(self) -> tuple[str, Event]:
        line = self.text
        if line.strip() and not self._secret and self._helpful and (not self.history or self.history[-1] != line):
            self.history.append(line)
        return self._refresh(to_end=True) + "\n", Entered(line)

    def _edit(self, name: str) -> str | None:
        text, at = self._text, self._at
        if name in ("up", "down"):
            return self._recall(-1 if name == "up" else 1)
        if name == "backspace" and at:
            del text[at - 1]
            self._at -= 1
        elif name in ("delete", "eof") and at < len(text):
            del text[at]
        elif name == "kill-line":
            del text[:at]
            self._at = 0
        elif name == "kill-end":
            del text[at:]
        elif name == "kill-word":
            begin = self._word_left()
            del text[begin:at]
            self._at = begin
        elif name == "swap" and len(text) >= 2 and at:
            second = min(at, len(text) - 1)
            text[second - 1], text[second] = text[second], text[second - 1]
            self._at = second + 1
        elif name in ("left", "right", "home", "end", "word-left", "word-right"):
            self._at = {
                "left": max(0, at - 1), "right": min(len(text), at + 1), "home": 0, "end": len(text),
                "word-left": self._word_left(), "word-right": self._word_right(),
            }[name]  # fmt: skip
        else:
            return BELL
        return None

    def _word_left(self) -> int:
        at = self._at
        while at and self._text[at - 1] == " ":
            at -= 1
        while at and self._text[at - 1] != " ":
            at -= 1
        return at

    def _word_right(self) -> int:
        at, size = self._at, len(self._text)
        while at < size and self._text[at] == " ":
            at += 1
        while at < size and self._text[at] != " ":
            at += 1
        return at

    def _recall(self, step: int) -> str | None:
        """Lines entered before; the one begun now comes back below the last."""
        if not self._helpful:
            return BELL
        if self._recalled < 0:
            self._recalled, self._kept = len(self.history), self.text
        wanted = self._recalled + step
        if not 0 <= wanted <= len(self.history):
            return BELL
        self._recalled = wanted
        self._text = list(self.history[wanted] if wanted < len(self.history) else self._kept)
        self._at = len(self._text)
        return None

    # --- the row ------------------------------------------------------------------------------------------------------

    def _window(self) -> tuple[list[str], int]:
        """Cells of the row as it should be, and the cursor's column. The second cell of a wide character is ""."""
        room = max(8, self.columns - 1 - width(self._prompt))
        cells = [] if self._secret else self._text
        at = 0 if self._secret else self._at
        if _size(cells, 0, len(cells)) < room:
            self._first = 0
        elif at < self._first or self._first > len(cells):
            self._first = max(0, at - room // 2)
        while _size(cells, self._first, at) + (self._first > 0) > room - 1:
            self._first += max(1, room // 4)
        self._first = min(self._first, at)
        whole = not self._first and _size(cells, 0, len(cells)) <= room
        row = _cells(self._prompt) + ([MORE] if self._first else [])
        cursor = len(row)
        for index in range(self._first, len(cells)):
            spread = _cells(cells[index])
            if not whole and len(row) + len(spread) > width(self._prompt) + room - 1:
                row.append(MORE)
                break
            row += spread
            if index < at:
                cursor += len(spread)
        return row, cursor

    def _refresh(self, *, to_end: bool = False) -> str:
        """What turns the row that is shown into the row that should be."""
        row, cursor = self._window()
        if to_end:
            cursor = len(row)
        same = 0
        while same < min(len(row), len(self._shown)) and row[same] == self._shown[same]:
            same += 1
        while same and (row[same : same + 1] == [""] or self._shown[same : same + 1] == [""]):
            same -= 1                       # never begin in the middle of a wide character
        out = ""
        if same < max(len(row), len(self._shown)):
            out += self._move(same, row if same <= len(row) else self._shown)
            out += "".join(row[same:])
            self._cursor = len(row)
            surplus = len(self._shown) - len(row)
            if surplus > 0:
                out += " " * surplus + "\b" * surplus
        self._shown = row
        out += self._move(cursor, row)
        return out

    def _move(self, column: int, row: list[str]) -> str:
        """The cursor to another column: back by backspaces, on by writing again what is there."""
        out = ""
        if column < self._cursor:
            back = self._cursor - column
            out = "\b" * back if back <= column + 1 else "\r" + "".join(row[:column])
        elif column > self._cursor:
            out = "".join(row[self._cursor : column])
        self._cursor = column
        return out


def _size(cells: list[str], begin: int, end: int) -> int:
    """Columns of some characters of the line; quick for plain ones, since this is asked with each key."""
    part = "".join(cells[begin:end])
    return len(part) if part.isascii() else width(part)


def _cells(text: str) -> list[str]:
    cells: list[str] = []
    for character in text:
        size = width(character)
        if size == 0 and cells:
            owner = len(cells) - 1
            while owner and not cells[owner]:
                owner -= 1
            cells[owner] += character
        elif size:
            cells += [character, *[""] * (size - 1)]
    return cells
