"""The directory on the keypad: a colleague by the letters of the name (L1, pure; A4).

Theory of operation
-------------------
Letters are keyed as they stand on the keys (2 abc ... 9 wxyz), # ends them; every extension one of whose words begins so, or whose initials
do, is offered with its number, 1 calls it, # goes on to the next. Words come from `extensions.N.spelled` (pinyin, or a name as it sounds),
else from `name`. Callers from outside get there by the destination `directory/all` and are asked again where nobody is found.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from firmware.call.actions import Say
from firmware.call.codes import ask, dialled_whole, said
from firmware.call.contact import Contact
from firmware.call.dialling import dial_extension
from firmware.call.model import Cause, Side
from firmware.call.registry import code, destination
from firmware.call.rules import rule
from firmware.call.state import Kind, Phase
from firmware.config.schema.people import Extension

_KEYS = {letter: str(2 + index) for index, letters in enumerate(("abc", "def", "ghi", "jkl", "mno", "pqrs", "tuv", "wxyz"))
         for letter in letters}  # fmt: skip


def keyed(word: str) -> str:
    """A word as digits of the keypad; what is no letter of it is left out, accents too ("Lü" is 58)."""
    plain = unicodedata.normalize("NFKD", word.casefold())
    return "".join(_KEYS.get(one, one if one.isdigit() else "") for one in plain)


def matches(extensions: Mapping[str, Extension], keys: str) -> list[str]:
    """Extensions with a name, from any of its words on, or initials (two at least) that begin with `keys`, in order of their numbers."""
    found = []
    for number, entry in sorted(extensions.items()):
        words = [keyed(word) for word in (entry.spelled or entry.name).split()]
        initials = "".join(word[:1] for word in words)
        by_initials = len(keys) > 1 and initials.startswith(keys)
        if by_initials or any("".join(words[index:]).startswith(keys) for index, word in enumerate(words) if word):
            found.append(number)
    return found


def _key(c: Contact, digit: str) -> None:
    if c.s.wanted == "choice":
        _choose(c, digit)
        return
    c.s.typed = (c.s.typed + digit)[:24]
    _directory(c)


@code("directory", keys=_key)
def _directory(c: Contact) -> None:
    whole = dialled_whole(c)
    if c.s.typed.endswith("#") or whole:
        c.s.typed, c.s.tries, c.s.wanted = c.s.typed.rstrip("#"), 0, "choice"
        _offer(c)
    elif c.s.typed or c.s.wanted:
        c.timer("key", rule("code.wait"))
    else:
        c.s.wanted = "letters"
        ask(c, Say("dir.ask"))


@destination("directory")
def from_menu(c: Contact, name: str) -> None:
    """A caller of a menu or route, who is answered, keys the letters of a name."""
    c.quiet(c.s.a)
    c.move(Phase.FEATURE)
    c.s.feature, c.s.typed, c.s.wanted, c.s.then, c.s.tries = "directory", "", "", "", 0
    _directory(c)


def _offer(c: Contact) -> None:
    hits = matches(c.desk.config.extensions, c.s.typed) if c.s.typed else []
    hits = [one for one in hits if one != c.s.extension]
    if not hits and not c.s.extension and len(c.s.then) < rule("code.tries"):
        c.s.typed, c.s.then = "", c.s.then + "-"          # a caller from outside is asked again, so often
        c.s.wanted = "letters"
        ask(c, Say("dir.none"), Say("dir.ask"))
        return
    if not hits:
        said(c, "dir.none")
        return
    ask(c, Say("dir.hit", {"digits": hits[c.s.tries % len(hits)]}))


def _choose(c: Contact, digit: str) -> None:
    hits = [one for one in matches(c.desk.config.extensions, c.s.typed) if one != c.s.extension]
    if not hits:
        c.finish(Cause.UNREACHABLE, Side.SYSTEM)
    elif digit == "1":
        number = hits[c.s.tries % len(hits)]
        c.record("directory", c.s.a, keys=c.s.typed, to=number)
        c.s.called = number
        if c.s.extension:
            c.s.kind = Kind.INTERNAL
        dial_extension(c, number)
    elif digit == "#":
        c.s.tries += 1
        _offer(c)
    else:
        c.timer("key", rule("code.wait"))
