"""What a terminal sends and takes, without I/O: bytes become keys, text becomes bytes at the pace of the line.

Theory of operation
-------------------
`Keys.feed(data, now)` reads UTF-8, control characters and the few escape sequences that terminals have for arrows and editing keys;
everything else that begins like a sequence is swallowed to its end. What makes no sense (bytes that are no UTF-8, NULs of a break key,
control characters without meaning) is dropped and counted, so line noise types nothing it was not: a flood costs its own length and
nothing is kept but one unfinished character or sequence. An ESC that nothing follows within `ESCAPE_MS` was a key of its own and means
nothing here. CR, LF and CR LF are one Enter; CR NUL (telnet) too.
`Pace` says how many bytes a serial line takes by now: output is handed to the port as it is sent, never seconds ahead, so that ^C
stops what one sees. Instants are milliseconds of any steady clock.
"""

from __future__ import annotations

import codecs
from typing import Literal

from msgspec import Struct

from firmware.reports.columns import width

ESCAPE_MS = 100
LONGEST_SEQUENCE = 32
AHEAD_MS = 120              # of output in the port's own buffer
BITS = 10                   # on the wire for each byte: start, eight, stop
CHUNK = 512

Name = Literal[
    "text", "enter", "tab", "backspace", "delete", "left", "right", "up", "down", "home", "end", "word-left", "word-right",
    "interrupt", "eof", "kill-line", "kill-end", "kill-word", "redraw", "literal", "swap",
]  # fmt: skip

CONTROL: dict[str, Name] = {
    "\x01": "home", "\x02": "left", "\x03": "interrupt", "\x04": "eof", "\x05": "end", "\x06": "right", "\x08": "backspace",
    "\x09": "tab", "\x0b": "kill-end", "\x0c": "redraw", "\x0e": "down", "\x10": "up", "\x12": "redraw", "\x14": "swap",
    "\x15": "kill-line", "\x16": "literal", "\x17": "kill-word", "\x18": "kill-line", "\x7f": "backspace",
}  # fmt: skip
FINAL: dict[str, Name] = {"A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end"}
NUMBERED: dict[str, Name] = {"1": "home", "3": "delete", "4": "end", "7": "home", "8": "end"}
META: dict[str, Name] = {"b": "word-left", "f": "word-right", "\x7f": "kill-word", "\x08": "kill-word"}


class Key(Struct, frozen=True):
    """One key; `text` for those that type something."""

    name: Name
    text: str = ""


class Keys:
    """Bytes of a terminal to keys; see the theory of operation above."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._sequence = ""
        self._since = 0
        self._after_cr = False
        self._literal = False
        self.noise = 0
        """Characters that made no sense so far."""

    def feed(self, data: bytes, now: int) -> list[Key]:
        """Keys that these bytes end."""
        keys: list[Key] = []
        self.expire(now)
        for character in self._decoder.decode(data):
            key = self._sequenced(character, now) if self._sequence else self._plain(character, now)
            if key is not None:
                keys.append(key)
        return keys

    def deadline(self) -> int | None:
        """When an unfinished escape sequence is given up."""
        return self._since + ESCAPE_MS if self._sequence else None

    def expire(self, now: int) -> None:
        """Give up a sequence that stays unfinished."""
        if self._sequence and now - self._since >= ESCAPE_MS:
            self._sequence = ""

    def reset(self) -> None:
        """Forget what is unfinished."""
        self._decoder.reset()
        self._sequence, self._after_cr, self._literal = "", False, False

    def _plain(self, character: str, now: int) -> Key | None:
        after_cr, self._after_cr = self._after_cr, False
        if self._literal:
            self._literal = False
            if character.isprintable():
                return Key("text", character)
        if character == "\r":
            self._after_cr = True
            return Key("enter")
        if character == "\n":
            return None if after_cr else Key("enter")
        if character == "\x1b":
            self._sequence, self._since = character, now
            return None
        name = CONTROL.get(character)
        if name == "literal":
            self._literal = True
            return None
        if name is not None:
            return Key(name)
        if character == "\N{REPLACEMENT CHARACTER}" or not character.isprintable():
            self.noise += 0 if after_cr and character == "\0" else 1
            return None
        return Key("text", character)

    def _sequenced(self, character: str, now: int) -> Key | None:
        whole = self._sequence + character
        self._since = now
        if character == "\x1b":
            self._sequence = character
            return None
        if len(whole) == 2:
            if character in "[O":
                self._sequence = whole
                return None
            self._sequence = ""
            if character in META:
                return Key(META[character])
            return self._plain(character, now) if character in "\r\n\x03" else self._noise()
        if whole[1] == "O" or "@" <= character <= "~":
            self._sequence = ""
            return self._finished(whole)
        if len(whole) >= LONGEST_SEQUENCE or not " " <= character <= "?":
            self._sequence = ""
            return self._plain(character, now) if character in "\r\n\x03" else self._noise()
        self._sequence = whole
        return None

    def _finished(self, whole: str) -> Key | None:
        parameters, final = whole[2:-1], whole[-1]
        if final == "~":
            name = NUMBERED.get(parameters.partition(";")[0])
        elif parameters in ("1;5", "1;3") and final in "CD":
            name = "word-right" if final == "C" else "word-left"
        else:
            name = FINAL.get(final)
        return self._noise() if name is None else Key(name)

    def _noise(self) -> Key | None:
        self.noise += 1
        return None


class Pace:
    """How much a line takes; `baud` 0 for one without a speed of its own."""

    def __init__(self, baud: int) -> None:
        self._baud = baud
        self._free_at = 0.0

    def room(self, now: float) -> int:
        """Bytes that may be handed to the port now."""
        if not self._baud:
            return CHUNK
        ahead_ms = max(0.0, self._free_at - now)
        return min(CHUNK, max(0, int((AHEAD_MS - ahead_ms) * self._baud / BITS / 1000)))

    def sent(self, count: int, now: float) -> None:
        """So many bytes went to the port."""
        if self._baud:
            self._free_at = max(self._free_at, now) + count * BITS * 1000 / self._baud

    def wait_ms(self, now: float) -> float:
        """Until there is room for a useful piece, some 30 ms of the line."""
        return 0.0 if not self._baud else max(0.0, self._free_at - now - AHEAD_MS + 30)


def wire(text: str) -> bytes:
    """Text as a terminal takes it: each line end with its carriage return."""
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8", "replace")


def fitted(text: str, columns: int) -> str:
    """As much of the beginning as fits; a wide character is never cut in two."""
    used = 0
    for at, character in enumerate(text):
        used += width(character)
        if used > columns:
            return text[:at]
    return text
