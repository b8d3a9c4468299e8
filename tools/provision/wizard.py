"""The set-up of a new box asked at the laptop: the very questions of the console (`firmware/surfaces/cli/setup.py`), over the serial line.

Theory of operation
-------------------
`Setup` asks and puts what was answered into the box's candidate; here it gets a screen of plain lines (`Laptop`) and the box at the other
end of the line. So country, network, time, lines found, the walk test, telephones, trial and test call are the console's, and a set-up
begun at one goes on at the other. While a person thinks, the line is kept alive. Before the first question a box without users gets its
administrator; from then on a break of the line logs in as that one.

`Answers` take the person's place (`--answers FILE.toml`): a question's name with `_` for `.`, behind it the jack where there is one; a
list answers a question that comes several times; what is not answered takes its default. A question that is asked again and again because
its answer is refused ends the run. There is nobody to hear the test call then: it counts when the box says that both ends talk. Without
`test_mobile` the proof is that the box runs what it stores.
"""

from __future__ import annotations

import contextlib
import getpass
import queue
import shutil
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firmware.control.client import CommandFailed
from firmware.reports.columns import fold
from firmware.surfaces.cli.leaving import Stop
from firmware.surfaces.cli.setup import Progress, Setup

from .line import Session
from .texts import ProvisionError, say, told

if TYPE_CHECKING:
    from firmware.surfaces.cli.screen import Advise

MOST_ASKED = 4                   # times that one answer of a file is tried
CALL_S = 120.0
Prove = Callable[[Session], dict[str, Any]]


class Laptop:
    """Lines at the keyboard and on the screen of any system; see `firmware.surfaces.cli.screen.Screen`. `turn` keeps the line alive."""

    terminal = False

    def __init__(self, turn: Callable[[], None], language: str) -> None:
        self.language = language
        self._turn = turn
        self._typed: queue.Queue[str] = queue.Queue()
        self._reader: threading.Thread | None = None

    def _read(self) -> None:
        self._typed.put(sys.stdin.readline())

    def _next(self, until: float) -> str | None:
        """What was typed, with its end of line; None when nothing came in time. One line is read ahead at most."""
        while True:
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, name="keyboard", daemon=True)
                self._reader.start()
            with contextlib.suppress(queue.Empty):
                text = self._typed.get_nowait()
                self._reader = None
                return text
            if time.monotonic() > until:
                return None
            try:
                self._turn()
            except KeyboardInterrupt:
                raise Stop from None

    def line(self, prompt: str, advise: Advise | None = None, *, secret: bool = False, typed: str = "") -> str | None:
        """See Screen."""
        if secret and sys.stdin.isatty():
            return getpass.getpass(prompt)
        sys.stdout.write(prompt)
        sys.stdout.flush()
        text = self._next(float("inf"))
        if not text:
            raise told("broken-off")
        return text.rstrip("\r\n")

    def maybe_line(self, seconds: float) -> str | None:
        """See Screen."""
        text = self._next(time.monotonic() + seconds)
        if text == "":
            raise EOFError
        return text.rstrip("\r\n") if text is not None else None

    def say(self, lines: Iterable[str]) -> None:
        """See Screen."""
        sys.stdout.write("".join(line + "\n" for line in lines))
        sys.stdout.flush()

    def folded(self, text: str) -> list[str]:
        """See Screen."""
        return fold(text, max(40, shutil.get_terminal_size().columns - 1))

    def page(self, lines: list[str]) -> None:
        """See Screen: a laptop's window scrolls back."""
        self.say(lines)

    def repaint(self, lines: list[str]) -> None:
        """See Screen."""
        self.say(lines)

    def wait(self, seconds: float, also: int | None = None) -> bool:
        """See Screen."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._turn()
        return False

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """See Screen."""
        try:
            yield
        except KeyboardInterrupt:
            raise Stop from None


class Answers:
    """Answers of a file, by the names of the questions."""

    def __init__(self, path: Path) -> None:
        self._given = tomllib.loads(path.read_text(encoding="utf-8"))
        self._asked: dict[str, int] = {}

    def __call__(self, name: str, default: str, facts: dict[str, Any]) -> str:
        """The answer to a question. Raises ProvisionError where it was refused."""
        plain = name.replace(".", "_")
        key = next((one for one in (f"{plain}_{facts.get('jack')}", plain) if one in self._given), plain)
        turn = self._asked[key] = self._asked.get(key, 0) + 1
        given = self._given.get(key, default)
        if isinstance(given, list):
            given = given[turn - 1] if turn <= len(given) else default
        elif turn > MOST_ASKED:
            raise told("refused-answer", question=key, answer=given)
        return str(given)

    def get(self, name: str, default: str = "") -> str:
        """An answer that no question of the box asks for."""
        return str(self._given.get(name, default))


class Dry(Exception):
    """The plan was shown, and nothing is to be changed."""


class Asked(Setup):
    """The set-up with what the laptop adds: answers of a file, and an end before anything takes effect."""

    def __init__(
        self, ask: Callable[[str, dict[str, Any]], Any], screen: Laptop, tool: Session, answers: Answers | None, *, dry: bool, prove: Prove
    ) -> None:
        super().__init__(ask, screen)
        self._tool, self._answers, self._dry, self._prove = tool, answers, dry, prove

    def _question(self, name: str, default: str = "", **facts: Any) -> str:
        if self._answers is None:
            return super()._question(name, default, **facts)
        answer = self._answers(name, default, facts)
        self._screen.say([f"{self._text(name, **facts)}: {answer}"])
        return answer

    def _commit(self) -> bool | None:
        if not self._dry:
            return super()._commit()
        for row in self._box("show diff"):
            self._screen.say([f"  {row['path']} {row['new']}".rstrip()])
        self._box("discard")
        raise Dry

    def _test(self) -> bool | None:
        if self._answers is None:
            return super()._test()
        proof = self._prove(self._tool)
        if not proof["right"]:
            raise told("differs", parts=", ".join(row["part"] for row in proof["parts"] if not row["right"]))
        mobile, facts = self._answers.get("test_mobile"), self._progress.kept.facts
        if mobile:
            phone = self._answers.get("test_phone") or next(iter(facts.get("fxs", "").split(",")), "")
            number = facts.get("prefix", "") + mobile
            if not self._call(phone, number) or not self._talks(number):
                raise told("no-call", number=number)
        self._box("confirm")
        return None

    def _talks(self, number: str) -> bool:
        """Whether a call to this number comes to talk."""
        until = time.monotonic() + CALL_S
        while time.monotonic() < until:
            if any(row["called"] == number and row["phase"] == "talking" for row in self._box("show calls")):
                return True
            self._screen.wait(0.3)
        return False


def ask(tool: Session, answers: Path | None, language: str, *, dry: bool, force: bool, prove: Prove) -> bool:
    """Lead through the set-up; True when the box is in service, False when it was left or only shown. Raises ProvisionError."""
    given = Answers(answers) if answers is not None else None
    screen = Laptop(tool.turn, language)
    box = asking(tool, keep=not dry)
    trial = tool.call("show trial")
    if trial["candidate_changes"] and not force and not Progress(box).unfinished:
        raise told("unsaved", count=trial["candidate_changes"])
    if trial["candidate_changes"]:
        tool.call("discard")
    try:
        if not dry and not tool.call("show users"):
            administrator(tool, screen, given, language)
        return Asked(box, screen, tool, given, dry=dry, prove=prove).run()
    except Dry:
        screen.say([say("dry", language, site=tool.identity["serial"] or tool.identity["model"])])
    except Stop:
        screen.say([say("left", language)])
    return False


def asking(tool: Session, *, keep: bool) -> Callable[[str, dict[str, Any]], Any]:
    """How `Setup` asks the box: what the box refuses is for the person, what the line does ends the run. `keep`: progress is written."""

    def call(path: str, args: dict[str, Any]) -> Any:
        if not keep and path in ("console keep", "console progress"):
            return ""
        try:
            return tool.call(path, **args)
        except ProvisionError as error:
            if not error.by_box:
                raise
            raise CommandFailed(error.kind, str(error), {"problems": error.problems}) from None

    return call


def administrator(tool: Session, screen: Laptop, given: Answers | None, language: str) -> None:
    """The first user of a box that has none; only the stored form of the password goes over the line. An empty name leaves it open."""
    if given is not None:
        user, password = given.get("user"), given.get("password")
    else:
        user = (screen.line(f"{say('user', language)} [admin]: ") or "").strip() or "admin"
        user = "" if user == "-" else user
        password = ""
        while user and not password:
            password = screen.line(say("new-password", language, user=user), secret=True) or ""
            if password != screen.line(say("again", language), secret=True):
                screen.say([say("unequal", language)])
                password = ""
                continue
            try:
                stored(password)
            except ProvisionError as error:
                screen.say([error.said(language)])
                password = ""
    if user:
        tool.call("console first", user=user, stored=stored(password), language=language)
        tool.become(user, password)


def stored(password: str) -> str:
    """The stored form of a password: made here, so that the password itself goes nowhere. Raises ProvisionError for a weak one."""
    passwords = import_module("firmware.control.passwords")
    if not passwords.SHORTEST <= len(password) <= passwords.LONGEST:
        raise told("password", least=passwords.SHORTEST, most=passwords.LONGEST)
    return str(passwords.make(password))
