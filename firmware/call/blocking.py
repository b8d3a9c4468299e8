"""The branch's black list, kept by code and by command (L1, pure; A11, E8).

Theory of operation
-------------------
A number on the list belongs to the class of callers `blocked`, whatever `[callers.blocked]` names besides: where that has no `to`, or is
not there, such a caller is refused unanswered. A telephone puts the last caller from outside on it whom it has spoken with: the code
says the number, 1 confirms. Another code reads the list, the latest entry first: 1 takes the number off, 2 goes on. Who may do so is
the telephone's class (`calling.block_class`); a locked telephone counts as internal. Emergency numbers are never put on the list, and
the call-back after an emergency call goes before it.
Invariants: a number stands there once, in whatever writing; the list is bounded, the oldest entry goes.
"""

from __future__ import annotations

from firmware.call.actions import Say
from firmware.call.codes import ask, said
from firmware.call.contact import Contact
from firmware.call.cos import allowed
from firmware.call.registry import code
from firmware.config.schema.tree import Config


def may_block(config: Config, extension: str) -> bool:
    """Whether a telephone may change the list."""
    needed = config.calling.block_class
    return needed != "nobody" and extension in config.extensions and allowed(config.extensions[extension], needed)


def _refused(c: Contact) -> bool:
    if may_block(c.desk.config, c.s.extension):
        return False
    c.record("block-refused", c.s.a, by=c.s.extension)
    said(c, "sup.refused")
    return True


def _block_key(c: Contact, digit: str) -> None:
    last = c.desk.callers.get(c.s.extension)
    if digit == "1" and last is not None:
        c.desk.block(last.number, c.now, by=f"extension {c.s.extension}", contact=last.contact)
        said(c, "blk.done", last.number)
    else:
        said(c, "vm.ended")


@code("block", keys=_block_key)
def _block(c: Contact) -> None:
    last = c.desk.callers.get(c.s.extension)
    if _refused(c):
        return
    if last is None or not last.number or last.number in c.desk.routing.emergency:
        said(c, "blk.nobody")
    else:
        ask(c, Say("blk.ask", {"digits": last.number}))


def _unblock_key(c: Contact, digit: str) -> None:
    number = c.s.visit.digits
    if digit == "1" and number:
        c.desk.unblock(number, c.now, by=f"extension {c.s.extension}")
        c.record("unblocked", c.s.a, number=number)
        _unblock(c)
    elif digit == "2":
        c.s.typed += "2"
        _unblock(c)


@code("unblock", keys=_unblock_key)
def _unblock(c: Contact) -> None:
    """Read the next entry: as many were passed over as there are keys."""
    if _refused(c):
        return
    entries = sorted(c.desk.blocked.values(), key=lambda one: -one.at_ms)
    at = c.s.typed.count("2")
    c.s.visit.digits = entries[at].number if at < len(entries) else ""
    if at < len(entries):
        ask(c, Say("blk.next", {"digits": entries[at].number}))
    else:
        said(c, "blk.none")
