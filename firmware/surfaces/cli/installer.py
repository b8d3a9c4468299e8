"""What the console does for an installer beside single commands: the walk test as a conversation, captures into files.

Theory of operation
-------------------
`walk` begins the walk test and looks once a second which line rings. Each line that rings for the first time is told; the installer types
the number he dialled (or a line and a number) and at the end sees the `set` lines. It works over the serial console: lines are read,
nothing is drawn.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firmware.control.client import CommandFailed
from firmware.surfaces.cli.leaving import Stop

TEXTS = {
    "en": {
        "begin": "Walk test: call each line with a mobile phone and let it ring twice. Type the number you dialled, or `q` to end.",
        "rings": "line {line} rings now, caller id {caller}: which number did you dial?",
        "none": "none",
        "kept": "line {line} is {number}",
        "known": "line {line} rings now, caller id {caller} ({number})",
        "end": "for the configuration:",
        "nothing": "no number was found",
        "saved": "{name}: {size} bytes in {path}",
    },
    "zh": {
        "begin": "线路对号：用手机逐条拨打线路，响两声即可。输入您拨的号码，或输入 q 结束。",
        "rings": "线路 {line} 正在振铃，来电号码 {caller}：您拨的是哪个号码？",
        "none": "无",
        "kept": "线路 {line} 的号码是 {number}",
        "known": "线路 {line} 正在振铃，来电号码 {caller}（{number}）",
        "end": "用于配置：",
        "nothing": "没有登记任何号码",
        "saved": "{name}：{size} 字节，已存到 {path}",
    },
}
LOOK_S = 1.0
SETTLE_ROUNDS = 4  # looks after the first ring until a line without caller id is told


class Walk:
    """The walk test as a conversation. `ask(path, args)` runs a command; `say(line)` shows one."""

    def __init__(self, ask: Callable[[str, dict[str, Any]], Any], say: Callable[[str], None], language: str) -> None:
        self._ask, self._say, self._texts = ask, say, TEXTS[language]
        self._told: dict[str, str] = {}
        self._seen: dict[str, int] = {}
        self.waiting = ""
        """Line whose number is asked for."""

    def begin(self) -> None:
        """Start, and say how it goes."""
        self._ask("walk start", {})
        self._say(self._texts["begin"])

    def look(self) -> None:
        """Tell each line that began to ring."""
        for row in self._ask("walk show", {}):
            line, rang = row["line"], row["rang"]
            if not rang or not row["state_en"].startswith("rings now"):
                self._seen.pop(line, None)
                continue
            if self._told.get(line):
                continue
            self._seen[line] = self._seen.get(line, 0) + 1
            if not row["caller"] and self._seen[line] < SETTLE_ROUNDS:
                continue
            self._told[line] = rang
            caller = row["caller"] or self._texts["none"]
            if row["number"]:
                self._say(self._texts["known"].format(line=line, caller=caller, number=row["number"]))
            else:
                self.waiting = line
                self._say(self._texts["rings"].format(line=line, caller=caller))

    def typed(self, text: str) -> bool:
        """What the installer typed; False when he leaves."""
        text = text.strip()
        if text.lower() in ("q", "quit", "exit"):
            return False
        line, _, number = text.rpartition(" ")
        line = line.strip() or self.waiting
        if number and line:
            try:
                self._ask("walk number", {"line": line, "number": number})
                self._say(self._texts["kept"].format(line=line, number=number))
                self.waiting = "" if line == self.waiting else self.waiting
            except CommandFailed as error:
                self._say(str(error))
        return True

    def forget_rings(self) -> None:
        """Lines that stopped ringing may be told again."""
        for line in [one for one in self._told if one not in self._seen]:
            del self._told[line]

    def end(self) -> None:
        """Stop, and show the `set` lines."""
        lines = self._ask("walk stop", {})
        for line in [self._texts["end"], *lines] if lines else [self._texts["nothing"]]:
            self._say(line)


def walk(
    ask: Callable[[str, dict[str, Any]], Any], say: Callable[[str], None], typed: Callable[[float], str | None], language: str
) -> None:
    """Run a walk test until the installer ends it.

    `typed(seconds)` gives a line that was typed within that time or None; EOFError at the end of input.
    """
    conversation = Walk(ask, say, language)
    conversation.begin()
    try:
        while True:
            conversation.look()
            conversation.forget_rings()
            text = typed(LOOK_S)
            if text is not None and not conversation.typed(text):
                return
    except (EOFError, Stop):
        return
    finally:
        conversation.end()


def save_capture(ask: Callable[[str, dict[str, Any]], Any], name: str, target: str, language: str) -> list[str]:
    """Fetch a capture into `target` (a folder, or a name for the file): a line's sound and timeline, or a call's packets (`*.pcap`)."""
    packets = name.endswith(".pcap")
    path = Path(target or ".").expanduser()
    if path.is_dir():
        path = path / (name if packets else f"{name}.wav")
    offset = 0
    with path.open("wb") as file:
        while True:
            chunk = ask("capture packets" if packets else "capture read", {"name": name, "offset": offset})
            file.write(base64.b64decode(chunk["data"]))
            offset = chunk["next"]
            if not offset:
                break
    if not packets:
        text = ask("capture show", {"name": name})["timeline"]
        path.with_suffix(".txt").write_text("\n".join(text) + "\n", "utf-8")
    return [TEXTS[language]["saved"].format(name=name, size=path.stat().st_size, path=path)]
