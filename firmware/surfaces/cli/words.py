"""From words to a command: unambiguous abbreviations, positional and named arguments, help and completion.

The grammar is what `show commands` answers; nothing is listed here but the console's own words. A line is
`[watch] PATH ARGUMENTS [| match PATTERN]`; each word of the path may be shortened while it stays unambiguous.
"""

from __future__ import annotations

import shlex
from typing import Any

from msgspec import Struct

from firmware.surfaces.cli.errors import NotUnderstood


class Argument(Struct, frozen=True):
    """One argument of a command, as core describes it."""

    name: str
    kind: str
    required: bool
    help: str = ""
    values: list[str] = []
    secret: bool = False


class Word(Struct, frozen=True):
    """One command, as core describes it."""

    path: str
    role: str
    help: str
    help_zh: str
    mutates: bool
    arguments: list[Argument] = []


class Line(Struct, frozen=True):
    """A line that was understood; `match` filters the output, `watch` repeats it."""

    path: str
    args: dict[str, Any] = {}
    match: str = ""
    watch: bool = False


# What the console does itself: it needs no part of the appliance.
LOCAL = (
    Word("help", "viewer", "List the commands; `?` after a word lists what may follow", "列出命令；单词后加 ? 显示可用的词", False),
    Word(
        "language",
        "viewer",
        "Language of this console",
        "控制台语言",
        False,
        [Argument("language", "choice", True, values=["en", "zh"])],
    ),
    Word("exit", "viewer", "Leave the configuration, else the console", "退出配置模式或控制台", False),
    Word("quit", "viewer", "Leave the configuration, else the console", "退出配置模式或控制台", False),
    Word("end", "viewer", "Leave the configuration", "退出配置模式", False),
    Word("logout", "viewer", "Leave the console", "退出登录", False),
    Word("configure", "supervisor", "Change the configuration: set, delete, commit", "进入配置模式：set、delete、commit", False),
    Word("setup", "admin", "Set this box up, question by question; goes on where it was left", "逐项设置本机；可从中断处继续", False),
    Word(
        "password",
        "viewer",
        "Change a password: your own, or as administrator somebody's",
        "修改密码：自己的，管理员可改他人的",
        False,
        [Argument("user", "str", False, "Log-in name; yours without it")],
    ),
    Word(
        "terminal",
        "viewer",
        "Size and kind of this terminal",
        "终端的尺寸和类型",
        False,
        [
            Argument("what", "choice", True, "What is told", values=["width", "length", "kind"]),
            Argument("value", "str", True, "Columns, rows, or vt100 or dumb"),
        ],
    ),
    Word(
        "trace",
        "viewer",
        "Events of one call, leg or telephone: SIP, RTP figures, line and call, from the first kept on",
        "跟踪一个呼叫的 SIP、RTP 统计、线路和呼叫事件",
        False,
        [Argument("call", "str", True, "Call, leg or extension")],
    ),
    Word("walk", "supervisor", "Walk test: which jack is which number, with a mobile phone", "线路对号：用手机找出各插口的号码", False),
    Word(
        "save-capture",
        "supervisor",
        "Fetch a capture into a file: a line's sound and timeline, a call's packets",
        "将抓取的录音和时间线，或呼叫的抓包，保存到文件",
        False,
        [
            Argument("name", "str", True, "Capture, as `capture list` or `capture call` names it"),
            Argument("file", "str", False, "File or folder"),
        ],
    ),
)


PROGRAMS = frozenset({
    "capture packets", "capture read", "complete", "configuration now", "configuration take", "lookup answer", "lookup questions",
    "login challenge", "login prove", "voicemail alarm", "voicemail mailed", "voicemail outbox",
})  # fmt: skip
"""What programs ask each other: no word for people, who would only be held up by it."""


def parse(line: str, words: list[Word]) -> Line:
    """Understand one line. Raises NotUnderstood."""
    body, match = _split_filter(line)
    try:
        parts = shlex.split(body, posix=True)
    except ValueError as error:
        raise NotUnderstood("quote", reason=error) from error
    watch = bool(parts) and len(parts) > 1 and len(parts[0]) >= 2 and "watch".startswith(parts[0])
    if watch:
        parts = parts[1:]
    word, rest = _resolve(parts, words)
    return Line(word.path, _arguments(word, rest), match, watch)


def _split_filter(line: str) -> tuple[str, str]:
    at = _bar(line)
    if at < 0:
        return line, ""
    body, tail = line[:at], line[at + 1 :]
    verb, _, pattern = tail.strip().partition(" ")
    if not verb or not "match".startswith(verb) or not pattern.strip():
        raise NotUnderstood("match")
    return body, pattern.strip().strip("\"'")


def _bar(line: str) -> int:
    """Place of the first | outside of quotation marks, -1 without one."""
    mark = ""
    for at, character in enumerate(line):
        if character in "\"'":
            mark = "" if mark == character else mark or character
        elif character == "|" and not mark:
            return at
    return -1


def _resolve(parts: list[str], words: list[Word]) -> tuple[Word, list[str]]:
    """The command whose path the first words mean, and the words left."""
    candidates = list(words)
    taken = 0
    while True:
        exact = [word for word in candidates if len(word.path.split()) == taken]
        longer = [word for word in candidates if len(word.path.split()) > taken]
        if taken == len(parts) or not longer:
            break
        given = parts[taken].lower()
        following = {word.path.split()[taken] for word in longer}
        choices = {given} & following or {name for name in following if name.startswith(given)}
        if len(choices) > 1:
            raise NotUnderstood("ambiguous", given=given, choices=", ".join(sorted(choices)))
        if not choices:
            if exact:
                break
            raise NotUnderstood("unknown", given=given, known=", ".join(sorted(following)))
        (name,) = choices
        candidates = [word for word in longer if word.path.split()[taken] == name]
        taken += 1
    complete = [word for word in candidates if len(word.path.split()) == taken]
    if complete:
        return complete[0], parts[taken:]
    following = {word.path.split()[taken] for word in candidates}
    raise NotUnderstood("incomplete", next=", ".join(sorted(following)))


def _arguments(word: Word, parts: list[str]) -> dict[str, Any]:
    args: dict[str, Any] = {}
    free = list(word.arguments)
    for part in parts:
        name, equals, value = part.partition("=")
        named = next((argument for argument in word.arguments if equals and argument.name == name.replace("-", "_")), None)
        if named is None:
            if not free:
                takes = " ".join(argument.name for argument in word.arguments) or "none"
                raise NotUnderstood("surplus", path=word.path, given=part, takes=takes)
            named, value = free[0], part
        if named.name in args:
            raise NotUnderstood("twice", path=word.path, name=named.name)
        if named in free:
            free.remove(named)
        args[named.name] = _value(word, named, value)
    missing = [argument for argument in free if argument.required]
    if missing:
        names = " ".join(argument.name for argument in missing)
        raise NotUnderstood("missing", path=word.path, names=names)
    return args


def _value(word: Word, argument: Argument, text: str) -> Any:
    if argument.kind == "choice":
        choices = [value for value in argument.values if value == text] or [value for value in argument.values if value.startswith(text)]
        if len(choices) != 1:
            raise NotUnderstood("choice", path=word.path, name=argument.name, values=", ".join(argument.values))
        return choices[0]
    if argument.kind in ("int", "float"):
        try:
            return int(text) if argument.kind == "int" else float(text)
        except ValueError:
            raise NotUnderstood("number", path=word.path, name=argument.name, given=text) from None
    if argument.kind == "bool":
        if text.lower() in ("true", "yes", "on"):
            return True
        if text.lower() in ("false", "no", "off"):
            return False
        raise NotUnderstood("boolean", path=word.path, name=argument.name, given=text)
    if argument.kind.startswith("list"):
        return [item for item in text.split(",") if item]
    return text


def complete(line: str, words: list[Word]) -> list[tuple[str, str, str]]:
    """What may follow: (word, English help, Chinese help). `line` ends where the cursor is."""
    parts = line.split()
    ends_open = bool(line) and not line[-1].isspace()
    last = parts.pop().lower() if ends_open and parts else ""
    if parts and len(parts[0]) >= 2 and "watch".startswith(parts[0]):
        parts = parts[1:]
    candidates = list(words)
    for taken, part in enumerate(parts):
        part = part.lower()
        longer = [word for word in candidates if len(word.path.split()) > taken]
        exact = [word for word in longer if word.path.split()[taken] == part]
        narrowed = exact or [word for word in longer if word.path.split()[taken].startswith(part)]
        if not narrowed:
            done = [word for word in candidates if len(word.path.split()) <= taken]
            return _complete_argument(done[0], parts[len(done[0].path.split()) :], last) if done else []
        candidates = narrowed
    options: dict[str, tuple[str, str]] = {}
    for word in candidates:
        steps = word.path.split()
        if len(steps) > len(parts) and steps[len(parts)].startswith(last):
            options[steps[len(parts)]] = _help_of(word, candidates, len(parts))
        elif len(steps) == len(parts):
            for name, english, chinese in _complete_argument(word, [], last):
                options.setdefault(name, (english, chinese))
    return [(name, *texts) for name, texts in sorted(options.items())]


def _help_of(word: Word, candidates: list[Word], at: int) -> tuple[str, str]:
    """Help for a word at place `at` of paths: of its command or, where it begins several, what may follow it."""
    step = word.path.split()[at]
    family = [other for other in candidates if other.path.split()[at : at + 1] == [step]]
    whole = next((other for other in family if len(other.path.split()) == at + 1), None)
    if whole is not None or len(family) == 1:
        chosen = whole or word
        return chosen.help, chosen.help_zh
    following = ", ".join(sorted({other.path.split()[at + 1] for other in family}))
    return following, following


def _complete_argument(word: Word, given: list[str], last: str) -> list[tuple[str, str, str]]:
    if len(given) >= len(word.arguments):
        return []
    argument = word.arguments[len(given)]
    if argument.values:
        return [(value, argument.help, argument.help) for value in argument.values if value.startswith(last)]
    shown = f"<{argument.name}>" if argument.required else f"[{argument.name}]"
    return [] if last else [(shown, argument.help, argument.help)]
