"""The time at which a caller wants to be called back, named by himself (L1, pure; CBK-03).

Theory of operation. Where the queue says `callback.own_time`, a caller whose number is confirmed is asked for a time: four digits (hour and
minute, its next occurrence), or # for as soon as his turn comes. What he keyed is said to him and confirmed by key 1; a time within the
quiet hours (`acd.quiet`) is moved to their end, and that is what he confirms or replaces. `Visit.stage` is "time" while digits are
awaited and "at" while the time is being confirmed; `Visit.at_ms` is the time. The request waits until then outside the queue and comes back
with its place; what was promised is that time and MARGIN_MS. It is not given up before `callback.expire_s` after it.
"""

from __future__ import annotations

from firmware.call.actions import Say
from firmware.call.contact import Contact
from firmware.call.hours import next_at
from firmware.call.quiet import quiet_ms
from firmware.call.rules import rule

STAGES = frozenset({"time", "at"})
_DIGITS = 4


def ask(c: Contact, first: str = "") -> bool:
    """Ask for the time; False when that was asked often enough: then his turn counts."""
    visit = c.s.visit
    visit.stage, visit.typed, visit.at_ms = "time", "", 0
    visit.tries += 1
    if visit.tries > rule("callback.tries"):
        return False
    c.say(c.s.a, "callback", *([Say(first)] if first else []), Say("q.cb.time"), keys=True)
    return True


def keyed(c: Contact, digit: str) -> bool:
    """A key of the caller; True when the time is settled (0 in `Visit.at_ms`: as soon as it is his turn)."""
    visit = c.s.visit
    if visit.stage == "at":
        if digit == "1":
            return True
        if digit == "2":
            return not ask(c)
        return _confirm(c)
    if digit == "#" and not visit.typed:
        return True
    if digit.isdigit() and len(visit.typed) < _DIGITS:
        visit.typed += digit
        if len(visit.typed) < _DIGITS:
            c.timer("callback", rule("code.wait"))
            return False
    hours, minutes = visit.typed[:2], visit.typed[2:]
    if len(visit.typed) != _DIGITS or int(hours) > 23 or int(minutes) > 59:
        c.record("callback-time-refused", c.s.a, keyed=visit.typed)
        return not ask(c, "q.cb.at.bad")
    return _choose(c, f"{hours}:{minutes}")


def _choose(c: Contact, clock: str) -> bool:
    """The next time that the clock shows this, or the end of the quiet hours that hold then."""
    visit, wall = c.s.visit, c.desk.wall(c.now)
    visit.at_ms = next_at(c.desk.local, c.now, clock)
    quiet = quiet_ms(c.desk.local(c.now + visit.at_ms - wall), c.desk.config.acd.quiet)
    visit.moved = bool(quiet)
    visit.at_ms += quiet
    visit.stage = "at"
    return _confirm(c)


def _confirm(c: Contact) -> bool:
    visit = c.s.visit
    visit.tries += 1
    if visit.tries > rule("callback.tries"):
        visit.at_ms = 0
        return True
    c.say(c.s.a, "callback", Say("q.cb.rest" if visit.moved else "q.cb.at", {"time": shown(c, visit.at_ms)}), keys=True)
    return False


def shown(c: Contact, at_ms: int) -> str:
    """Unix ms as "HH:MM" of the site."""
    local = c.desk.local(c.now + at_ms - c.desk.wall(c.now))
    return f"{local.hour:02}:{local.minute:02}"
