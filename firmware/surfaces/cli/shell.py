"""The console: reads lines, asks the appliance, shows the answer (`branchpbx cli`).

With a terminal it edits and completes lines (readline), pages long answers and understands `?`; without one it reads
commands from stdin, one a line, and stops with status 1 after the first that fails. `watch` repeats a command each second
until ^C. `trace` follows the event stream for everything that mentions a call, leg or telephone.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import msgspec

from firmware.control.client import Client, CommandFailed, NotRunning
from firmware.surfaces.cli.table import EMPTY, render, width
from firmware.surfaces.cli.words import LOCAL, Line, NotUnderstood, Word, complete, parse

TEXTS = {
    "en": {
        "prompt": "branchpbx> ",
        "more": "-- more: Enter goes on, q stops --",
        "welcome": "BranchPBX console. ? lists commands, exit leaves.",
        "error": "error",
        "lost": "(events {first} to {last} are no longer kept)",
        "language": "language: English",
    },
    "zh": {
        "prompt": "branchpbx> ",
        "more": "-- 回车继续，q 停止 --",
        "welcome": "BranchPBX 控制台。? 列出命令，exit 退出。",
        "error": "错误",
        "lost": "（事件 {first} 至 {last} 已不再保留）",
        "language": "语言：中文",
    },
}
# Fields of events that name what they are about.
SUBJECTS = ("call", "call_id", "leg", "contact", "endpoint", "extension", "agent", "legs", "a", "b")
LINKS = ("leg", "contact", "call", "call_id", "legs", "a", "b")

PREFIXES = [
    ("watch ...", "Before any command: show it again each second until Ctrl-C", "放在任何命令之前：每秒刷新，按 Ctrl-C 结束"),
    ("... | match TEXT", "After any command: only the lines that hold TEXT", "放在任何命令之后：只显示含有该文字的行"),
]


class Leave(Exception):
    """The operator leaves the console."""


class Shell:
    """One console."""

    def __init__(self, state: Path, *, out: TextIO, terminal: bool, language: str = "en") -> None:
        self._sockets = (state / "run" / "manage.sock", state / "run" / "control.sock")
        self._out = out
        self._terminal = terminal
        self.language = language
        self._words: list[Word] = []

    # --- lines --------------------------------------------------------------------------------------------------------

    def run(self, source: TextIO) -> int:
        """Read lines until the end of input or `exit`; the exit status."""
        if self._terminal:
            return self._converse()
        for line in source:
            if line.strip() and not line.lstrip().startswith("#"):
                try:
                    status = self.once(line)
                except Leave:
                    return 0
                if status:
                    return status
        return 0

    def once(self, line: str) -> int:
        """One command line; 0, or 1 with a message."""
        try:
            self._do(line)
        except (NotUnderstood, CommandFailed, NotRunning) as error:
            self._write([f"{TEXTS[self.language]['error']}: {error}"], paged=False)
            return 1
        except KeyboardInterrupt:
            self._write([""], paged=False)
        return 0

    def _converse(self) -> int:
        with contextlib.suppress(ImportError):
            self._set_up_completion()
        self._write([TEXTS[self.language]["welcome"]], paged=False)
        while True:
            try:
                line = input(TEXTS[self.language]["prompt"])
            except EOFError:
                self._write([""], paged=False)
                return 0
            except KeyboardInterrupt:
                self._write([""], paged=False)
                continue
            if not line.strip():
                continue
            try:
                self.once(line)
            except Leave:
                return 0

    def _set_up_completion(self) -> None:
        import readline

        def offer(_text: str, number: int) -> str | None:
            line = readline.get_line_buffer()[: readline.get_endidx()]
            with contextlib.suppress(CommandFailed, NotRunning):
                options = [name for name, _, _ in complete(line, self._known()) if name[0] not in "<["]
                return options[number] + " " if number < len(options) else None
            return None

        readline.set_completer(offer)
        readline.set_completer_delims(" ")
        readline.parse_and_bind("tab: complete")

    # --- commands -----------------------------------------------------------------------------------------------------

    def _do(self, line: str) -> None:
        stripped = line.strip()
        if stripped.endswith("?"):
            self._help(stripped[:-1])
            return
        parsed = self._parse(stripped)
        if parsed.path in ("exit", "quit"):
            raise Leave
        if parsed.path == "help":
            self._help("")
        elif parsed.path == "language":
            self.language = str(parsed.args["language"])
            self._write([TEXTS[self.language]["language"]], paged=False)
        elif parsed.path == "trace":
            self._trace(str(parsed.args["call"]), parsed.match)
        elif parsed.watch:
            self._watch(parsed)
        else:
            self._write(self._filtered(self._ask(parsed), parsed.match))

    def _parse(self, line: str) -> Line:
        """Local words need no connection, so that the console can be left while the appliance is down."""
        try:
            return parse(line, list(LOCAL))
        except NotUnderstood:
            return parse(line, self._known())

    def _known(self) -> list[Word]:
        if not self._words:
            with self._open() as client:
                self._words = [*LOCAL, *msgspec.convert(client.call("show commands"), list[Word])]
        return self._words

    def _open(self) -> Client:
        try:
            return Client(self._sockets[0])
        except NotRunning:
            return Client(self._sockets[1])

    def _ask(self, line: Line) -> list[str]:
        with self._open() as client:
            return render(client.request(line.path, line.args), self.language)

    def _filtered(self, lines: list[str], match: str) -> list[str]:
        """Lines that hold the pattern; the heading of a table stays."""
        if not match:
            return lines
        heading = lines[:2] if len(lines) > 2 and set(lines[1]) <= {"-", " "} else []
        return heading + [line for line in lines[len(heading) :] if match.lower() in line.lower()]

    def _help(self, line: str) -> None:
        options = complete(line, self._known())
        if not options:
            raise NotUnderstood("nothing may follow here; press Enter")
        if not line.strip():
            options += PREFIXES
        size = max(len(name) for name, _, _ in options)
        self._write(
            [f"  {name:<{size}}  {chinese if self.language == 'zh' and chinese else english}" for name, english, chinese in options]
        )

    def _watch(self, line: Line) -> None:
        if self._out.isatty():
            self._out.write("\x1b[2J")
        while True:
            lines = self._filtered(self._ask(line), line.match)
            if self._out.isatty():
                # One write of all that fits, each line erased behind its end: nothing flickers, nothing scrolls.
                size = shutil.get_terminal_size()
                shown = paginate(lines, size.columns, size.lines - 1)[0]
                self._out.write("\x1b[H" + "".join(line + "\x1b[K\n" for line in shown) + "\x1b[J")
                self._out.flush()
            else:
                self._write(lines, paged=False)
            time.sleep(1.0)

    def _trace(self, about: str, match: str) -> None:
        """Events kept that concern `about` or what it is linked to; on a terminal it goes on until ^C."""
        known = {about}
        kept: list[dict[str, Any]] = []
        with Client(self._sockets[1]) as client:
            last = int(client.request("show status", {})["events"]) - 1
            for frame in client.events(0) if last >= 0 else ():
                if "event" in frame:
                    kept.append(frame["event"])
                reached = frame["event"]["seq"] if "event" in frame else frame["lost"][1]
                if reached >= last:
                    break
        for _ in range(3):
            for event in kept:
                _link(event, known)
        told = [(event["at"], _told(event)) for event in kept if _concerns(event, known)]
        try:
            signalling = self._signalling(about)
        except CommandFailed:
            if not told and not self._terminal:
                raise  # nobody knows the name; the message says what may be named
            signalling = []
        told += [(row["at"], _signal(row)) for row in signalling]
        self._write(self._filtered([text for _, text in sorted(told, key=lambda entry: entry[0])] or [EMPTY[self.language]], match))
        if not self._terminal:
            return
        with Client(self._sockets[1]) as client:
            for frame in client.events(last + 1):
                if "event" in frame:
                    _link(frame["event"], known)
                    if _concerns(frame["event"], known):
                        self._write(self._filtered([_told(frame["event"])], match), paged=False)

    def _signalling(self, about: str) -> list[dict[str, Any]]:
        """SIP messages and line events that core keeps of the call; CommandFailed when it knows nothing of the name."""
        with self._open() as client:
            return list(client.request("show trace", {"call": about}))

    # --- output -------------------------------------------------------------------------------------------------------

    def _write(self, lines: Iterable[str], *, paged: bool = True) -> None:
        lines = list(lines)
        size = shutil.get_terminal_size()
        height = size.lines - 1
        pages = paginate(lines, size.columns, height)
        if not (self._terminal and paged) or len(pages) <= 1 or not sys.stdin.isatty():
            self._out.write("".join(line + "\n" for line in lines))
            self._out.flush()
            return
        for number, page in enumerate(pages, 1):
            self._out.write("".join(line + "\n" for line in page))
            self._out.flush()
            if number < len(pages):
                self._out.write(TEXTS[self.language]["more"])
                self._out.flush()
                answer = sys.stdin.readline()
                self._out.write("\x1b[1A\r\x1b[K")  # the question gives its row back
                if answer.strip().lower().startswith("q") or not answer:
                    return


def paginate(lines: list[str], columns: int, height: int) -> list[list[str]]:
    """Lines in pages of at most `height` rows of a terminal, which folds lines that are wider than it."""
    pages: list[list[str]] = [[]]
    used = 0
    for line in lines:
        rows = max(1, -(-width(line) // max(1, columns)))
        if used and used + rows > height:
            pages.append([])
            used = 0
        pages[-1].append(line)
        used += rows
    return pages


def _values(event: dict[str, Any], fields: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    for name in fields:
        value = event.get(name)
        if isinstance(value, str) and value:
            found.add(value)
        elif isinstance(value, list):
            found.update(item for item in value if isinstance(item, str))
    return found


def _concerns(event: dict[str, Any], known: set[str]) -> bool:
    return bool(_values(event, SUBJECTS) & known)


def _link(event: dict[str, Any], known: set[str]) -> None:
    """A contact's legs and a leg's contact belong to the same story."""
    named = _values(event, LINKS)
    if named & known:
        known |= named


def _told(event: dict[str, Any]) -> str:
    skip = ("type", "seq", "wall_ms", "boot", "at")
    rest = render({name: value for name, value in event.items() if name not in skip and value not in ("", None, [], {})})
    facts = "  ".join(" ".join(line.split()) for line in rest)
    return f"{event['at'] / 1000:12.3f}  {event['type']:<18} {facts}"


def _signal(row: dict[str, Any]) -> str:
    facts = render({"text": row["text"]})[0].removeprefix("text").strip()
    return f"{row['at'] / 1000:12.3f}  {row['source'] + ' ' + row['direction']:<18} {row['leg']}  {facts}"


def main(state: Path, command: str | None, language: str) -> int:
    """`branchpbx cli [-c COMMAND]`."""
    terminal = command is None and sys.stdin.isatty() and sys.stdout.isatty()
    shell = Shell(state, out=sys.stdout, terminal=terminal, language=language)
    if command is None:
        return shell.run(sys.stdin)
    try:
        return shell.once(command)
    except Leave:
        return 0
