"""Forwards and do-not-disturb by code, the same on every telephone (L1, pure; A4).

Theory of operation
-------------------
A forward's code asks for a number, ended by #; # alone switches the forward off, * alone says what is set. A SIP telephone may dial all
of it in one go ("*61201#"). A number is taken when this extension could dial it now: its class is asked again for each call that is sent
on. The code for do-not-disturb turns it over, and the new state is said; one code ends all forwards.
"""

from __future__ import annotations

import msgspec

from firmware.call.actions import Say
from firmware.call.codes import ask, dialled_whole, said
from firmware.call.contact import Contact
from firmware.call.forwards import NONE, Wish
from firmware.call.registry import code
from firmware.call.routing import ToDestination, ToExtension, ToOutside
from firmware.call.rules import rule

_FIELDS = {"forward_always": "always", "forward_busy": "busy", "forward_no_answer": "no_answer"}


def _wish(c: Contact) -> Wish:
    return c.desk.wishes.get(c.s.extension, NONE)


def _key(c: Contact, digit: str) -> None:
    c.s.typed += digit
    _forward(c)


@code(*_FIELDS, keys=_key)
def _forward(c: Contact) -> None:
    number, typed = "", c.s.typed
    field = _FIELDS[c.s.feature]
    if typed.startswith("*"):
        number = getattr(_wish(c), field)
        said(c, "fwd.on" if number else "fwd.off", number)
    elif typed.endswith("#") or dialled_whole(c):
        _set(c, field, typed.rstrip("#"))
    elif c.s.typed or c.s.wanted:
        c.timer("key", rule("code.wait"))
    else:
        c.s.wanted = "number"
        ask(c, Say("fwd.ask"))


def _set(c: Contact, field: str, number: str) -> None:
    target = c.desk.routing.resolve(c.s.extension, number) if number else None
    if number and (number == c.s.extension or not isinstance(target, ToExtension | ToOutside | ToDestination)):
        said(c, "fwd.bad", number)
        return
    c.desk.wished(c.s.extension, msgspec.structs.replace(_wish(c), **{field: number}), c.now)
    said(c, "fwd.on" if number else "fwd.off", number)


@code("forward_clear")
def _clear(c: Contact) -> None:
    c.desk.wished(c.s.extension, Wish(dnd=_wish(c).dnd), c.now)
    said(c, "fwd.off")


@code("dnd")
def _dnd(c: Contact) -> None:
    wish = msgspec.structs.replace(_wish(c), dnd=not _wish(c).dnd)
    c.desk.wished(c.s.extension, wish, c.now)
    said(c, "dnd.on" if wish.dnd else "dnd.off")
