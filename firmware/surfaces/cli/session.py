"""One person at the serial console: greeting, log-in, the shell, and the log-in again.

Theory of operation
-------------------
A session lasts from log-in to `exit`, to the time-out of a console that nobody touches, or to the end of the line; then everything typed
or half done in it is forgotten and the next log-in stands there. While the appliance does not answer, the console says so and waits.
A box that has no users greets with the choice of a language and a password for its first administrator, then with the set-up.
A wrong password costs a pause, doubled each time up to `console.wrong_wait_s`; it ends with the first right one and with the hour, and is
never a lock: whoever stands at the box with the right password gets in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from firmware.control.client import CommandFailed, NotRunning
from firmware.surfaces.cli.errors import NotUnderstood, said
from firmware.surfaces.cli.leaving import Stop
from firmware.surfaces.cli.port import Idle, Port, now_ms
from firmware.surfaces.cli.screen import TerminalScreen
from firmware.surfaces.cli.setup import Progress
from firmware.surfaces.cli.shell import Shell, Who, new_password

TEXTS = {
    "en": {
        "starting": "The appliance does not answer yet; waiting.",
        "user": "login: ",
        "password": "password: ",
        "wrong": "log-in or password is wrong",
        "pause": "please wait {seconds} s",
        "idle": "logged out: no key for too long",
        "bye": "logged out",
        "fresh": "This box is new. Choose a password for its administrator, `{admin}`.",
        "hello": "{name}, you are {role}.",
        "setup": "The set-up is not finished. Go on with it now?",
    },
    "zh": {
        "starting": "设备尚未响应，请稍候。",
        "user": "用户名：",
        "password": "密码：",
        "wrong": "用户名或密码不对",
        "pause": "请等待 {seconds} 秒",
        "idle": "长时间无操作，已退出登录",
        "bye": "已退出登录",
        "fresh": "这是一台新设备。请为管理员 {admin} 设置密码。",
        "hello": "{name}，您的角色是 {role}。",
        "setup": "设置尚未完成。现在继续吗？",
    },
}
ADMIN = "admin"
RETRY_S = 2.0
FORGIVEN_MS = 3_600_000


class Patience:
    """How long the next log-in waits after wrong passwords."""

    def __init__(self) -> None:
        self._wrong = 0
        self._last = 0

    def failed(self, now: int, most_s: int) -> int:
        """Seconds to wait after one more wrong password."""
        if now - self._last > FORGIVEN_MS:
            self._wrong = 0
        self._wrong, self._last = self._wrong + 1, now
        return int(min(most_s, 1 << min(self._wrong - 1, 20)))

    def succeeded(self) -> None:
        """The right password: all is forgiven."""
        self._wrong = 0


class Session:
    """See the theory of operation above. `where` names the way in for the audit trail."""

    def __init__(self, port: Port, state: Path, where: str, patience: Patience) -> None:
        self._port, self._state, self._where, self._patience = port, state, where, patience
        self._screen = TerminalScreen(port)
        self._system = Shell(state, screen=self._screen, who=Who("console", "admin", where))

    def run(self) -> None:
        """One person, from the greeting to the end of the session. Raises HungUp and ToolCalls."""
        port, screen = self._port, self._screen
        port.forget()
        port.idle_s = 0
        facts = self._facts()
        screen.language = facts["language"]
        port.clear = facts["terminal"] == "vt100"
        port.resize(facts["columns"], facts["rows"])
        screen.say(["", f"{facts['site']}  BranchPBX {facts['version']}  {self._where}"])
        try:
            who = self._newcomer() if facts["fresh"] else self._login(facts)
        except (Stop, Idle):
            return
        except (CommandFailed, NotRunning, NotUnderstood, OSError) as error:
            screen.say([said(error, screen.language)])
            return
        if who is None:
            return
        shell = Shell(self._state, screen=screen, who=who, language=screen.language)
        port.idle_s = facts["idle_s"]
        try:
            if who.role == "admin" and (facts["fresh"] or (Progress(shell.ask).unfinished and self._yes("setup"))):
                shell.once("setup")
            shell.converse()
            screen.say([self._text("bye")])
        except Idle:
            port.idle_s = 0
            screen.say(["", self._text("idle")])

    def _text(self, sentence: str, **facts: Any) -> str:
        return TEXTS[self._screen.language][sentence].format(**facts)

    def _facts(self) -> dict[str, Any]:
        """What is to be known before the log-in; waits for the appliance."""
        told = False
        while True:
            try:
                found: dict[str, Any] = self._system.ask("console state", {})
                return found
            except (NotRunning, CommandFailed, OSError):
                if not told:
                    self._screen.say(["", *(TEXTS[language]["starting"] for language in ("en", "zh"))])
                told = True
                self._screen.wait(RETRY_S)
                self._port.forget()

    def _login(self, facts: dict[str, Any]) -> Who | None:
        screen = self._screen
        user = screen.line(self._text("user"))
        user = "".join((user or "").split())[:64]
        if not user:
            return None
        password = screen.line(self._text("password"), secret=True)
        try:
            if password is None:
                return None
            found = self._system.ask("console login", {"user": user, "password": password[:256], "where": self._where})
        except CommandFailed as error:
            if error.kind not in ("not_allowed", "bad_arguments"):
                raise
            seconds = self._patience.failed(now_ms(), facts["wrong_wait_s"])
            screen.say([self._text("wrong"), self._text("pause", seconds=seconds)])
            screen.wait(seconds)
            return None
        self._patience.succeeded()
        screen.language = found["language"]
        screen.say([self._text("hello", name=found["name"] or user, role=found["role"])])
        return Who(found["user"], found["role"], self._where)

    def _newcomer(self) -> Who | None:
        """The first administrator of a box without users."""
        screen = self._screen
        screen.say(["1 English", "2 中文"])
        choice = screen.line("1/2: ")
        if choice is None or choice.strip() not in ("1", "2"):
            return None
        screen.language = "zh" if choice.strip() == "2" else "en"
        screen.say([self._text("fresh", admin=ADMIN)])
        stored = new_password(screen, ADMIN)
        if not stored:
            return None
        found = self._system.ask("console first", {"user": ADMIN, "stored": stored, "language": screen.language})
        return Who(found["user"], found["role"], self._where)

    def _yes(self, question: str) -> bool:
        answer = self._screen.line(f"{self._text(question)} [Y/n] ")
        return answer is not None and answer.strip().lower() in ("", "y", "yes", "j", "是")
