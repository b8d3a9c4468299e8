"""Where the console talks: a terminal with a person at it, or plain streams of a script.

Both have the same verbs, so that commands, the wizard and the walk test are written once: `line` reads a line, `say` shows some,
`page` shows many, `wait` lets time pass and notices ^C, `running` marks what ^C may break off.
"""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TextIO

from msgspec import Struct

from firmware.reports.columns import fold, width
from firmware.surfaces.cli.editor import BELL, Editor, Entered, Help, Interrupted, Left, Wanted
from firmware.surfaces.cli.leaving import Stop
from firmware.surfaces.cli.terminal import fitted

if TYPE_CHECKING:
    from firmware.surfaces.cli.port import Port

MORE = {"en": "--More-- (space: page, Enter: line, q: stop) ", "zh": "--More-- （空格翻页，回车一行，q 停止）"}
LOST = {"en": "{count} characters were typed too fast and are lost", "zh": "输入过快，丢失 {count} 个字符"}
PIECE_S = 1.0
ANSWER_COLUMNS = 10          # that a question leaves free for its answer


class Offers(Struct, frozen=True):
    """What may follow: rows of (word, help), and what a tab adds to the line."""

    rows: list[tuple[str, str]]
    insert: str = ""


Advise = Callable[[str], Offers]


class Screen(Protocol):
    """Where the console talks."""

    language: str
    terminal: bool

    def line(self, prompt: str, advise: Advise | None = None, *, secret: bool = False, typed: str = "") -> str | None:
        """A line, None at the end of input. Raises Stop for ^C."""

    def maybe_line(self, seconds: float) -> str | None:
        """A line typed within some seconds without prompt or echo help, None for none yet. Raises EOFError."""

    def say(self, lines: Iterable[str]) -> None:
        """Show lines."""

    def folded(self, text: str) -> list[str]:
        """A sentence in lines that fit."""

    def page(self, lines: list[str]) -> None:
        """Show lines, a screen at a time."""

    def repaint(self, lines: list[str]) -> None:
        """Show lines in the place of those shown by the call before."""

    def wait(self, seconds: float, also: int | None = None) -> bool:
        """Let time pass; True as soon as `also` can be read. Raises Stop for ^C."""

    def running(self) -> AbstractContextManager[None]:
        """While the body runs, ^C raises Stop."""


class PlainScreen:
    """Streams of a script or a test; ^C is a KeyboardInterrupt there."""

    terminal = False

    def __init__(self, out: TextIO, source: TextIO | None = None, language: str = "en") -> None:
        self._out, self._source = out, source
        self.language = language

    def line(self, prompt: str, advise: Advise | None = None, *, secret: bool = False, typed: str = "") -> str | None:
        """The next line of the input; no prompt is shown, so that answers can be read by programs."""
        text = self._source.readline() if self._source is not None else ""
        return text.rstrip("\r\n") if text else None

    def maybe_line(self, seconds: float) -> str | None:
        """See Screen."""
        if self._source is None:
            raise EOFError
        with contextlib.suppress(OSError, ValueError):
            if not select.select([self._source], [], [], seconds)[0]:
                return None
        text = self._source.readline()
        if not text:
            raise EOFError
        return text.rstrip("\r\n")

    def say(self, lines: Iterable[str]) -> None:
        """See Screen."""
        self._out.write("".join(line + "\n" for line in lines))
        self._out.flush()

    def folded(self, text: str) -> list[str]:
        """As it is: programs read it."""
        return [text]

    def page(self, lines: list[str]) -> None:
        """Everything at once."""
        self.say(lines)

    def repaint(self, lines: list[str]) -> None:
        """One after another."""
        self.say(lines)

    def wait(self, seconds: float, also: int | None = None) -> bool:
        """See Screen."""
        if also is None:
            time.sleep(seconds)
            return False
        return bool(select.select([also], [], [], seconds)[0])

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """^C of a script."""
        try:
            yield
        except KeyboardInterrupt:
            raise Stop from None


class TerminalScreen:
    """A terminal; see the theory of operation of editor and port."""

    terminal = True

    def __init__(self, port: Port, language: str = "en", *, paging: bool = True) -> None:
        self.port = port
        self._paging = paging
        self.language = language
        self._editor = Editor(port.size()[0])
        self._painted: list[str] = []
        self._half = ""

    def line(self, prompt: str, advise: Advise | None = None, *, secret: bool = False, typed: str = "") -> str | None:
        """See Screen; `typed` stands there already."""
        editor, port = self._editor, self.port
        self._tell_lost()
        editor.columns = port.size()[0]
        if width(prompt) > editor.columns - ANSWER_COLUMNS:
            *rows, prompt = fold(prompt.rstrip(), editor.columns - ANSWER_COLUMNS)
            self.say(rows)
            prompt += " "
        self._painted = []
        out = editor.start(prompt, secret=secret, helpful=advise is not None, clear=port.clear)
        port.write(out + (editor.insert(typed) if typed else ""))
        while True:
            key = port.key()
            if key is None:
                continue
            out, event = editor.press(key)
            port.write(out)
            match event:
                case Entered(text):
                    return text
                case Interrupted():
                    raise Stop
                case Left():
                    return None
                case Help(before) if advise is not None:
                    self._help(advise(before))
                    port.write(editor.draw())
                case Wanted(before) if advise is not None:
                    offers = advise(before)
                    if offers.insert:
                        port.write(editor.insert(offers.insert))
                    elif len(offers.rows) > 1 and not port.ahead:
                        port.write("\n")
                        self._help(offers)
                        port.write(editor.draw())
                    else:
                        port.write(BELL)

    def maybe_line(self, seconds: float) -> str | None:
        """See Screen: typed characters are echoed, backspace takes one back."""
        port = self.port
        key = port.key(seconds)
        while key is not None:
            if key.name == "enter":
                port.write("\n")
                line, self._half = self._half, ""
                return line
            if key.name == "interrupt":
                self._half = ""
                raise Stop
            if key.name == "eof":
                raise EOFError
            if key.name == "text" and len(self._half) < 200:
                self._half += key.text
                port.write(key.text)
            elif key.name == "backspace" and self._half:
                size = width(self._half[-1])
                self._half = self._half[:-1]
                port.write("\b" * size + " " * size + "\b" * size)
            key = port.key(PIECE_S if self._half else 0.0)
        return None

    def say(self, lines: Iterable[str]) -> None:
        """See Screen."""
        self.port.write("".join(line + "\n" for line in lines))

    def folded(self, text: str) -> list[str]:
        """See Screen."""
        return fold(text, self.port.size()[0] - 1)

    def page(self, lines: list[str]) -> None:
        """A screen at a time; a paste that goes on is not asked and loses nothing."""
        port = self.port
        columns, rows = port.size()
        pages = paginate(lines, columns, max(2, rows - 1))
        if len(pages) <= 1 or not self._paging:
            self.say(lines)
            return
        height, asked = max(2, rows - 1), False
        left = list(lines)
        room = height
        while left:
            used = 0
            while left:
                size = _rows(left[0], columns)
                if used and used + size > room:
                    break
                self.say([left.pop(0)])
                used += size
            if not left:
                return
            port.wait(0.0)
            if port.ahead and not asked:
                room = 1_000_000            # a paste; keys behind an answered question are answers
                continue
            asked = True
            choice = self._more()
            if choice is None:
                return
            room = height if choice else 1

    def _more(self) -> bool | None:
        """True for another page, False for a line, None to stop."""
        port = self.port
        question = fitted(MORE[self.language], port.size()[0] - 1)
        port.write(question)
        try:
            key = port.key()
        finally:
            port.write("\r" + " " * width(question) + "\r")
        if key is None or key.name in ("interrupt", "eof") or (key.name == "text" and key.text in "qQ"):
            return None
        if key.name == "text" and key.text in " f":
            return True
        if key.name in ("enter", "down"):
            return False
        if key.name == "text":
            port.put_back(key)              # somebody types the next command already
            return None
        return True

    def repaint(self, lines: list[str]) -> None:
        """Only rows that differ from those shown before are sent; a terminal that cannot be told where gets what is new as it comes."""
        columns, rows = self.port.size()
        shown = [fitted(line, columns - 1) for line in lines][: rows - 1]
        if not self.port.clear:
            if shown != self._painted:
                self.say([*shown, ""])
            self._painted = shown
            return
        out = "" if self._painted else "\x1b[2J"
        for at in range(max(len(shown), len(self._painted))):
            new = shown[at] if at < len(shown) else ""
            if at >= len(self._painted) or self._painted[at] != new:
                out += f"\x1b[{at + 1};1H{new}\x1b[K"
        if out:
            self.port.write(out + f"\x1b[{min(len(shown) + 1, rows)};1H")
        self._painted = shown

    def wait(self, seconds: float, also: int | None = None) -> bool:
        """See Screen."""
        return self.port.wait(seconds, also)

    def running(self) -> AbstractContextManager[None]:
        """See Screen."""
        running: AbstractContextManager[None] = self.port.running()
        return running

    def _help(self, offers: Offers) -> None:
        columns = self.port.size()[0] - 1
        size = min(max((width(word) for word, _ in offers.rows), default=0), 30)
        lines = []
        for word, text in offers.rows:
            head = f"  {word}{' ' * max(0, size - width(word))}  "
            folded = fold(text, max(20, columns - width(head)))
            lines += [head + folded[0], *(" " * width(head) + row for row in folded[1:])]
        self.page([line.rstrip() for line in lines])

    def _tell_lost(self) -> None:
        if self.port.lost:
            count, self.port.lost = self.port.lost, 0
            self.say([BELL + LOST[self.language].format(count=count)])


def _rows(line: str, columns: int) -> int:
    return max(1, -(-width(line) // max(1, columns)))


def paginate(lines: list[str], columns: int, height: int) -> list[list[str]]:
    """Lines in pages of at most `height` rows of a terminal, which folds lines that are wider than it."""
    pages: list[list[str]] = [[]]
    used = 0
    for line in lines:
        rows = _rows(line, columns)
        if used and used + rows > height:
            pages.append([])
            used = 0
        pages[-1].append(line)
        used += rows
    return pages
