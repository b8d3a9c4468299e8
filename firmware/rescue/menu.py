"""The console of the rescue for a person at the serial line, without I/O: bytes in, text and wishes out.

Theory of operation
-------------------
A key of the menu acts at once; a question is answered with a line (backspace edits, Ctrl-C gives up). `wishes` are what to do
(name, arguments); what came of it is told with `answer`, `refused`, `progress`. Output uses CR LF and printable characters only.
Input is ASCII: addresses and words. All kept text is bounded.
"""

from binascii import hexlify

from firmware.rescue import core, fetching
from firmware.rescue.texts import Refusal, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LINE_MOST = 400
PROGRESS_MS = 2000
LOG_LINES = 60


class Menu:
    """See above."""

    def __init__(self, minutes: int) -> None:
        self.language = "en"
        self._minutes = minutes
        self._out = ""
        self._question = ""
        self._line = ""
        self._wishes: list[tuple[str, dict[str, Any]]] = []
        self._progress_at = 0
        self._progress = ""
        self._source = ""

    def output(self) -> bytes:
        """Drain the text."""
        out = self._out
        self._out = ""
        return out.encode()

    def wishes(self) -> "list[tuple[str, dict[str, Any]]]":
        """Drain what the person wants done."""
        found = self._wishes
        self._wishes = []
        return found

    def say(self, code: str, **facts: "Any") -> None:
        """One line."""
        self._out += say(code, self.language, facts) + "\r\n"

    def greet(self, told: "dict[str, Any]") -> None:
        """Who speaks, why, what is on the box, and the keys."""
        self._out += "\r\n"
        self.say("banner", version=told["version"], compatible=told["compatible"])
        self.status(told)
        self.say("cable")
        if self._minutes:
            self.say("leaves", minutes=self._minutes)
        self.keys()

    def status(self, told: "dict[str, Any]") -> None:
        """Slots and network."""
        for line in core.status_lines(told, self.language):
            self._out += line + "\r\n"

    def keys(self) -> None:
        """The menu and its prompt."""
        self.say("menu")
        self._out += "> "

    def receive(self, data: bytes) -> None:
        """What the person types."""
        for byte in data:
            if self._question:
                self._typed(byte)
            else:
                self._key(byte)

    def _key(self, byte: int) -> None:
        key = chr(byte).lower() if 32 < byte < 127 else ""
        if byte in (10, 13):
            self._wishes.append(("greet", {}))
            return
        if not key:
            return
        self._out += key + "\r\n"
        simple = {"1": "status", "4": "logs", "5": "check state", "7": "hashes", "8": "restart"}
        if key in simple:
            self._wishes.append((simple[key], {}))
        elif key == "2":
            self._ask("ask_source")
        elif key == "3":
            self._install("usb", False)
        elif key == "6":
            self._ask("ask_reset")
        elif key == "l":
            self.language = "en" if self.language == "zh" else "zh"
            self._wishes.append(("greet", {}))
        else:
            self.keys()

    def _ask(self, code: str, **facts: "Any") -> None:
        self._question = code
        self._line = ""
        self._out += say(code, self.language, facts)

    def _typed(self, byte: int) -> None:
        if byte in (10, 13):
            question, line = self._question, self._line.strip()
            self._question = ""
            self._out += "\r\n"
            self._answered(question, line)
        elif byte == 3:
            self._question = ""
            self._out += "\r\n"
            self.say("not_done")
            self.keys()
        elif byte in (8, 127):
            if self._line:
                self._line = self._line[:-1]
                self._out += "\b \b"
        elif 32 <= byte < 127 and len(self._line) < LINE_MOST:
            self._line += chr(byte)
            self._out += chr(byte)

    def _answered(self, question: str, line: str) -> None:
        if question == "ask_source" and line:
            self._install(line, False)
        elif question == "ask_older" and line.lower() == "yes":
            self._install("last", True)
        elif question == "ask_reset" and line == core.RESET_WORD:
            self._wishes.append(("factory reset", {"confirm": line}))
        else:
            self.say("not_done")
            self.keys()

    def _install(self, source: str, older: bool) -> None:
        self._source = source
        self._wishes.append(("install", {"source": source, "older": older}))

    # --- what came of it ---------------------------------------------------------------------------------------------

    def progress(self, step: "tuple[str, int, int, dict[str, Any]]", now: int) -> None:
        """Where a job stands; told when something has changed, every `PROGRESS_MS`."""
        code, done, total, facts = step
        if not code or self._question or (now - self._progress_at < PROGRESS_MS and code == self._progress):
            return
        self._progress_at = now
        self._progress = code
        words = dict(facts)
        words["percent"] = fetching.percent(done, total)
        self._out += say(code, self.language, words) + "\r\n"

    def refused(self, refusal: Refusal) -> None:
        """Why it was not done; an older version may be meant."""
        if refusal.code == "older" and self._source:
            self._ask("ask_older", **refusal.facts)
            return
        self._out += refusal.said(self.language) + "\r\n"
        self.keys()

    def answer(self, name: str, result: "dict[str, Any]") -> None:
        """What came of a wish."""
        self._progress = ""
        if name == "status":
            self.status(result)
        elif name == "install":
            self.say("installed", **result)
        elif name == "hashes":
            for slot, digest in result["slots"]:
                self.say("hash", slot=slot, sha256=hexlify(digest).decode() or "-")
        elif name == "logs":
            for line in result["text"].split("\n")[-LOG_LINES:]:
                self._out += "".join([char if char >= " " and char != "\x7f" else "?" for char in line]) + "\r\n"
        elif name == "check state":
            self.say("checked", result=say(result["code"], self.language, result))
        elif name == "factory reset":
            self.say("reset_done")
        elif name == "restart":
            self.say("restarts")
            return
        self.keys()
