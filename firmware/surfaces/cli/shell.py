"""The console: reads lines, asks the appliance, shows the answer; the same one on a serial port, over SSH and as `branchpbx cli`.

Theory of operation
-------------------
A `Shell` talks through a `Screen` (a terminal, or the streams of a script) and acts for a `Who`: every request names that person and
role, and the appliance's gate decides; nothing is decided here. Its grammar is what `show commands` answers, with a few words of its own.
What routers' consoles taught people is understood (`config_mode.py`). At a terminal `?` and tab answer from the same list, for paths of
the configuration from the schema (`complete`). While the appliance works, keys are read on, so a paste loses nothing, and ^C breaks off.
A script stops with status 1 after the first line that fails. `watch` repeats a command each second until ^C. `trace` follows the event
stream for everything that mentions a call, leg or telephone.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import msgspec
from msgspec import Struct

from firmware.control.client import Client, CommandFailed, NotRunning
from firmware.control.passwords import make, weakness
from firmware.surfaces.cli.config_mode import meaning, offers_of, path_before, problem_lines, prompt, setting_line
from firmware.surfaces.cli.errors import NotUnderstood, said
from firmware.surfaces.cli.installer import save_capture, walk
from firmware.surfaces.cli.leaving import Stop
from firmware.surfaces.cli.screen import Offers, PlainScreen, Screen, paginate
from firmware.surfaces.cli.setup import Setup
from firmware.surfaces.cli.table import EMPTY, render
from firmware.surfaces.cli.words import LOCAL, PROGRAMS, Line, Word, complete, parse

__all__ = ["Leave", "Shell", "Who", "paginate"]

TEXTS = {
    "en": {
        "welcome": "BranchPBX console. ? lists commands, exit leaves.",
        "error": "error: ",
        "refused": "nothing was changed",
        "language": "language: English",
        "unsaved": "{count} changes are not in effect: `commit` or `discard`",
        "new": "New password: ",
        "again": "Again: ",
        "differ": "the two differ; nothing was changed",
        "short": "at least 8 characters are needed",
        "long": "at most 128 printable characters",
        "name": "it holds the log-in name",
        "plain": "it has too few different characters",
        "changed": "{user}: the new password is in the candidate; `commit` puts it into effect",
        "in-effect": "{user}: the new password is in effect",
        "paste": "Paste the site file; a line with only a dot ends it.",
        "wait": "no answer from the appliance; ^C stops waiting",
        "terminal": "terminal: {columns} columns, {rows} rows",
    },
    "zh": {
        "welcome": "BranchPBX 控制台。? 列出命令，exit 退出。",
        "error": "错误：",
        "refused": "未作任何修改",
        "language": "语言：中文",
        "unsaved": "有 {count} 处修改尚未生效：请 commit 或 discard",
        "new": "新密码：",
        "again": "再输一次：",
        "differ": "两次输入不同，未作修改",
        "short": "至少 8 个字符",
        "long": "最多 128 个可显示字符",
        "name": "不能包含用户名",
        "plain": "不同的字符太少",
        "changed": "{user}：新密码已写入候选配置，commit 后生效",
        "in-effect": "{user}：新密码已生效",
        "paste": "请粘贴站点文件；单独一行一个点表示结束。",
        "wait": "设备没有响应；按 Ctrl-C 停止等待",
        "terminal": "终端：{columns} 列，{rows} 行",
    },
}
# Fields of events that name what they are about.
SUBJECTS = ("call", "call_id", "leg", "contact", "endpoint", "extension", "agent", "legs", "a", "b")
LINKS = ("leg", "contact", "call", "call_id", "legs", "a", "b")
ANSWER_S = 120.0
MAX_FILE = 1 << 20

PREFIXES = [
    ("watch ...", "Before any command: show it again each second until Ctrl-C", "放在任何命令之前：每秒刷新，按 Ctrl-C 结束"),
    ("... | match TEXT", "After any command: only the lines that hold TEXT", "放在任何命令之后：只显示含有该文字的行"),
]


class Leave(Exception):
    """The operator leaves the console."""


class Who(Struct, frozen=True):
    """For whom a console acts; `where` is the way in, for the audit trail."""

    user: str
    role: str
    where: str

    @property
    def peer(self) -> dict[str, str]:
        """As the gate names it."""
        return {"name": f"{self.user}@{self.where}", "role": self.role}


class PatientClient(Client):
    """A client that lets the screen live while an answer is awaited; it asks in the name of `who`."""

    def __init__(self, path: Path, screen: Screen, who: Who | None) -> None:
        super().__init__(path)
        self._screen, self._who = screen, who

    def send(self, message: dict[str, Any]) -> None:
        """Write one frame."""
        super().send({**message, "peer": self._who.peer} if self._who is not None else message)

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            if not self._screen.wait(ANSWER_S, self._socket.fileno()):
                if self._socket.gettimeout() is None:
                    continue                # a stream of events may be silent for long
                raise NotRunning(f"{self.path}: no answer in time; the appliance is busy or stopped")
            data += super()._some(count - len(data))
        return bytes(data)


class Shell:
    """One console."""

    def __init__(
        self,
        state: Path,
        *,
        out: TextIO | None = None,
        terminal: bool = False,
        language: str = "en",
        screen: Screen | None = None,
        who: Who | None = None,
        follow: bool = True,
    ) -> None:
        self._sockets = (state / "run" / "manage.sock", state / "run" / "control.sock")
        self.screen: Screen = screen if screen is not None else PlainScreen(out or sys.stdout, sys.stdin, language)
        self.screen.language = language
        self.who = who
        self.files = who is None
        """Whether this console may write files here: only for who is on the box already."""
        self.config = False
        self._words: list[Word] = []
        self._name = "branchpbx"
        self._follow = follow and (terminal or self.screen.terminal)

    @property
    def language(self) -> str:
        """Language of what is said."""
        return self.screen.language

    def text(self, name: str, **facts: Any) -> str:
        """One of the console's own sentences."""
        return TEXTS[self.language][name].format(**facts)

    # --- lines --------------------------------------------------------------------------------------------------------

    def run(self, source: TextIO) -> int:
        """Read lines of a script until the end of input or `exit`; the exit status."""
        for line in source:
            if line.strip() and not line.lstrip().startswith("#"):
                try:
                    status = self.once(line)
                except Leave:
                    return 0
                if status:
                    return status
        return 0

    def converse(self) -> int:
        """Lines of a person at a terminal, until he leaves. Raises HungUp, Idle, ToolCalls."""
        self.screen.say([self.text("welcome")])
        while True:
            try:
                line = self.screen.line(self._prompt(), self._advise)
            except Stop:
                continue
            except Leave:
                return 1
            if line is None:
                line = "exit"
            if not line.strip() or line.lstrip().startswith(("#", "!")):
                continue
            try:
                self.once(line)
            except Leave:
                return 0

    def once(self, line: str) -> int:
        """One command line; 0, or 1 with a message."""
        try:
            with self.screen.running():
                self._do(line)
        except (NotUnderstood, CommandFailed, NotRunning, OSError) as error:
            problems = getattr(error, "problems", None) or []
            said_first = self.text("refused") if problems else said(error, self.language)
            self.screen.say(self.screen.folded(self.text("error") + said_first) + problem_lines(problems, self.language))
            return 1
        except Stop:
            self.screen.say(["^C"])
        return 0

    # --- commands -----------------------------------------------------------------------------------------------------

    def _do(self, line: str) -> None:
        stripped = meaning(line.strip())
        if stripped.endswith("?") and not self.screen.terminal:
            self._help(stripped[:-1])
            return
        setting = setting_line(stripped)
        if setting is not None:
            self._tell(self.ask("set", {"setting": setting[0], "value": setting[1]}))
            return
        parsed = self._parse(stripped)
        own = getattr(self, f"_own_{parsed.path.replace('-', '_')}", None) if parsed.path in OWN else None
        if own is not None:
            own(parsed)
        elif parsed.path == "trace":
            self._trace(str(parsed.args["call"]), parsed.match)
        elif parsed.watch:
            self._watch(parsed)
        else:
            self._tell(self.ask(parsed.path, parsed.args), parsed.match)

    def _tell(self, result: Any, match: str = "") -> None:
        if isinstance(result, dict) and isinstance(result.get("problems"), list):
            problems = result["problems"]
            lines = render({name: value for name, value in result.items() if name != "problems"}, self.language, self._columns)
            self.screen.page(self._filtered(lines + problem_lines(problems, self.language), match))
            return
        if isinstance(result, str):
            self.screen.page(self._filtered(result.splitlines(), match))
            return
        # A filter looks at whole rows, so they are folded only without one.
        self.screen.page(self._filtered(render(result, self.language, 0 if match else self._columns), match))

    @property
    def _columns(self) -> int:
        """Width of the terminal, 0 for a script."""
        port = getattr(self.screen, "port", None)
        return 0 if port is None else int(port.size()[0]) - 1

    def _own_exit(self, _: Line) -> None:
        if not self.config:
            raise Leave
        self._own_end(_)

    _own_quit = _own_exit

    def _own_logout(self, _: Line) -> None:
        raise Leave

    def _own_end(self, _: Line) -> None:
        self.config = False
        changes = self._trial().get("candidate_changes", 0)
        if changes:
            self.screen.say([self.text("unsaved", count=changes)])

    def _own_configure(self, _: Line) -> None:
        self.config = True

    def _own_help(self, _: Line) -> None:
        self._help("")

    def _own_language(self, line: Line) -> None:
        self.screen.language = str(line.args["language"])
        self.screen.say([self.text("language")])

    def _own_walk(self, _: Line) -> None:
        walk(self.ask, lambda text: self.screen.say([text]), self.screen.maybe_line, self.language)

    def _own_save_capture(self, line: Line) -> None:
        if not self.files:
            raise NotUnderstood("files", path=line.path)
        self.screen.say(save_capture(self.ask, str(line.args["name"]), str(line.args.get("file", "")), self.language))

    def _own_setup(self, _: Line) -> None:
        Setup(self.ask, self.screen).run()

    def _own_load(self, _: Line) -> None:
        """The whole site file, pasted."""
        self.screen.say([self.text("paste")] if self.screen.terminal else [])
        lines: list[str] = []
        size = 0
        while (line := self.screen.line("")) is not None and line.strip() != ".":
            size += len(line) + 1
            if size <= MAX_FILE:
                lines.append(line)
        self._tell(self.ask("load", {"text": "\n".join(lines) + "\n"}))

    def _own_password(self, line: Line) -> None:
        user = str(line.args.get("user") or (self.who.user if self.who is not None else ""))
        if not user:
            raise NotUnderstood("user")
        stored = new_password(self.screen, user)
        if not stored:
            return
        if self.who is not None and user == self.who.user:
            self.ask("console password", {"stored": stored})
            self.screen.say([self.text("in-effect", user=user)])
            return
        self.ask("set", {"setting": f"users.{user}.password", "value": f'"{stored}"'})
        self.screen.say([self.text("changed", user=user)])

    def _own_terminal(self, line: Line) -> None:
        port = getattr(self.screen, "port", None)
        if port is None:
            raise NotUnderstood("local", path=line.path)
        what, value = str(line.args["what"]), str(line.args["value"])
        if what == "kind":
            port.clear = value.lower() != "dumb"
            return
        least, most = (40, 250) if what == "width" else (4, 200)
        if not value.isdecimal():
            raise NotUnderstood("number", path=line.path, name="value", given=value)
        if not least <= int(value) <= most:
            raise NotUnderstood("range", path=line.path, name=what, least=least, most=most)
        columns, rows = port.size()
        port.resize(*((int(value), rows) if what == "width" else (columns, int(value))))
        self.screen.say([self.text("terminal", columns=port.size()[0], rows=port.size()[1])])

    def _parse(self, line: str) -> Line:
        """The console can be left, and its own words work, while the appliance is down."""
        try:
            words = self._known()
        except (NotRunning, CommandFailed):
            try:
                return parse(line, list(LOCAL))
            except NotUnderstood as error:
                if error.code != "unknown":
                    raise
            words = self._known()           # says why not
        return parse(line, words)

    def _known(self) -> list[Word]:
        if not self._words:
            found = msgspec.convert(self.ask("show commands", {}), list[Word])
            shown = (one for one in found if not one.path.startswith(("console ", "transfer ")) and one.path not in PROGRAMS)
            self._words = [*LOCAL, *(word for word in shown if word.path not in OWN)]
            if any(word.path == "load" for word in found):
                self._words.append(Word("load", "admin", "Replace the candidate by a pasted site file", "粘贴整个站点文件到候选配置", True))
        return self._words

    # --- asking -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _open(self) -> Iterator[Client]:
        try:
            client = PatientClient(self._sockets[0], self.screen, self.who)
        except NotRunning:
            client = PatientClient(self._sockets[1], self.screen, self.who)
        with client:
            yield client

    def ask(self, path: str, args: dict[str, Any]) -> Any:
        """Result of one command in the name of who is at the console."""
        with self._open() as client:
            return client.request(path, args)

    def _trial(self) -> dict[str, Any]:
        """State of the configuration, as far as it can be had."""
        try:
            found: dict[str, Any] = self.ask("show trial", {})
        except (CommandFailed, NotRunning, OSError):
            return {}
        return found

    def _known_still(self) -> None:
        """The rights of who is at the console are those of now: another role counts at once, who is gone is logged out."""
        if self.who is None:
            return
        try:
            role = self.ask("console who", {})["role"]
        except CommandFailed as error:
            if error.kind == "not_allowed":
                self.screen.say([said(error, self.language)])
                raise Leave from error
            return
        except (NotRunning, OSError):
            return                          # nothing can be done then, either
        self.who = Who(self.who.user, role, self.who.where)

    def _prompt(self) -> str:
        self._known_still()
        facts = self._trial()
        with contextlib.suppress(CommandFailed, NotRunning, OSError):
            if self._name == "branchpbx":
                self._name = str(self.ask("console state", {})["site"])[:24] or self._name
        mighty = self.who is None or self.who.role in ("supervisor", "admin")
        return prompt(
            self._name, config=self.config, unsaved=bool(facts.get("candidate_changes")), trial=facts.get("state") == "trial", mighty=mighty
        )

    # --- help ---------------------------------------------------------------------------------------------------------

    def _advise(self, before: str) -> Offers:
        """What may follow on a terminal; never fails."""
        try:
            with self.screen.running():
                return self._offers(before)
        except (NotUnderstood, CommandFailed, NotRunning, OSError) as error:
            return Offers([("", said(error, self.language))])
        except Stop:
            return Offers([])

    def _offers(self, before: str) -> Offers:
        place = path_before(meaning(before) + (" " if before[-1:].isspace() else "") if before.strip() else before)
        if place is not None:
            command, path, value = place
            if not (value and command != "set"):
                rows = self.ask("complete", {"prefix": path})
                if value:
                    rows = [row for row in rows if row["path"] == path]
                found = offers_of(rows, path, self.language)
                return Offers(found.rows, "" if value else found.insert)
        try:
            words = self._known()
        except (NotRunning, CommandFailed):
            words = list(LOCAL)
        options = complete(before, words)
        if not options:
            raise NotUnderstood("nothing")
        rows = [(name, zh if self.language == "zh" and zh else en) for name, en, zh in options]
        if not before.strip():
            rows += [(name, zh if self.language == "zh" else en) for name, en, zh in PREFIXES]
        given = "" if not before or before[-1].isspace() else before.split()[-1].lower()
        names = [name for name, _, _ in options if name[0] not in "<["]
        insert = ""
        if names:
            common = names[0]
            for name in names[1:]:
                while not name.startswith(common):
                    common = common[:-1]
            insert = common[len(given) :] + (" " if len(names) == 1 else "")
        return Offers(rows, insert)

    def _help(self, line: str) -> None:
        offers = self._offers(line)
        size = max(len(name) for name, _ in offers.rows)
        self.screen.page([f"  {name:<{size}}  {text}" for name, text in offers.rows])

    # --- what goes on until ^C ----------------------------------------------------------------------------------------

    def _filtered(self, lines: list[str], match: str) -> list[str]:
        """Lines that hold the pattern; the heading of a table stays."""
        if not match:
            return lines
        heading = lines[:2] if len(lines) > 2 and set(lines[1]) <= {"-", " "} else []
        return heading + [line for line in lines[len(heading) :] if match.lower() in line.lower()]

    def _watch(self, line: Line) -> None:
        while True:
            self.screen.repaint(self._filtered(render(self.ask(line.path, line.args), self.language), line.match))
            self.screen.wait(1.0)

    def _trace(self, about: str, match: str) -> None:
        """Events kept that concern `about` or what it is linked to; on a terminal it goes on until ^C."""
        known = {about}
        kept: list[dict[str, Any]] = []
        with PatientClient(self._sockets[1], self.screen, self.who) as client:
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
            if not told and not self._follow:
                raise  # nobody knows the name; the message says what may be named
            signalling = []
        told += [(row["at"], _signal(row)) for row in signalling]
        lines = [text for _, text in sorted(told, key=lambda entry: entry[0])]
        self.screen.page(self._filtered(lines or [EMPTY[self.language]], match))
        if not self._follow:
            return
        with PatientClient(self._sockets[1], self.screen, self.who) as client:
            for frame in client.events(last + 1):
                if "event" in frame:
                    _link(frame["event"], known)
                    if _concerns(frame["event"], known):
                        self.screen.say(self._filtered([_told(frame["event"])], match))

    def _signalling(self, about: str) -> list[dict[str, Any]]:
        """SIP messages and line events that core keeps of the call; CommandFailed when it knows nothing of the name."""
        return list(self.ask("show trace", {"call": about}))


OWN = tuple(name.removeprefix("_own_").replace("_", "-") for name in vars(Shell) if name.startswith("_own_"))
"""Words that the console does itself."""


def new_password(screen: Screen, user: str) -> str:
    """Ask twice for a new password; its stored form, "" when nothing came of it. Raises Stop for ^C."""
    texts = TEXTS[screen.language]
    first = screen.line(texts["new"], secret=True)
    if first is None:
        return ""
    why = weakness(first, user)
    if why:
        raise NotUnderstood("weak", why=texts[why])
    if screen.line(texts["again"], secret=True) != first:
        screen.say([texts["differ"]])
        return ""
    return make(first)


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
