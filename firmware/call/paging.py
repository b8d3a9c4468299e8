"""Paging: somebody speaks to several telephones and the loudspeaker at once, and nobody answers back (L1, pure; A11).

Theory of operation
-------------------
The destination `page/NAME` (its number, or the code `features.page`) takes the telephone that dialled, and nobody from outside, into a
mixer of its own in which it alone is heard. SIP telephones are asked to answer by themselves (the intercom's headers), analogue ones ring:
a paging amplifier answers by itself. Who talks, does not want to be disturbed or is not registered is passed over; who hangs up misses the
rest. It ends when the speaker hangs up or after `longest_s`. One page at a time in each group, so that two people do not speak over each
other. The loudspeaker is an action (`Loudspeaker`), carried out by `core/paging.py`.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.contact import Contact, Input, phase
from firmware.call.cos import allowed
from firmware.call.forwards import NONE
from firmware.call.model import Alert, Cause, LegAnswered, LegEnded, Party, Side
from firmware.call.pickup import number_behind
from firmware.call.registry import behind, destination, meaning
from firmware.call.routing import Routing, Target, ToDestination, ToNowhere
from firmware.call.rules import rule
from firmware.call.state import InRoom, Phase
from firmware.config.schema.pbx import Page

PLACE = "page/"


class Loudspeaker(do.Action, frozen=True):
    """Let what is said in the mixer `room` out of the loudspeaker of the appliance, or no longer."""

    room: str
    on: bool


@meaning("page")
def _page_of(routing: Routing, extension: str, rest: str) -> Target:
    number = rest.removesuffix("#")
    found = [name for name, one in routing.config.pages.items() if not number or one.number == number]
    return ToDestination(PLACE + found[0]) if found else ToNowhere(Cause.UNREACHABLE, f"there is no page {number}".rstrip())


behind("page")(number_behind)


@destination("page")
def start(c: Contact, name: str) -> None:
    """The telephone that dialled, which is answered, speaks to everybody of the page."""
    page = c.desk.config.pages.get(name)
    known = c.desk.config.extensions.get(c.s.extension)
    c.quiet(c.s.a)
    c.move(Phase.PAGE)
    if page is None or known is None or page.permission == "nobody" or not allowed(known, page.permission):
        c.record("page-refused", c.s.a, page=name)
        _words(c, "num.refused", Cause.REFUSED)
        return
    if c.desk.in_room(PLACE + name):
        c.record("page-busy", c.s.a, page=name)
        _words(c, "ext.busy", Cause.BUSY)
        return
    _call(c, name, page)


def _call(c: Contact, name: str, page: Page) -> None:
    own = c.s.extension
    ready = [one for one in page.members if one != own and c.desk.floor.usable(one) and not c.desk.wishes.get(one, NONE).dnd]
    if not ready and not page.speaker:
        c.record("page-nobody", c.s.a, page=name)
        _words(c, "ext.none", Cause.NO_ANSWER)
        return
    c.s.room = InRoom(PLACE + name)
    c.s.connected = c.now
    c.record("page", c.s.a, page=name, telephones=len(ready), speaker=page.speaker)
    caller = Party(c.s.caller.number, c.s.caller.name, c.s.caller.reason)
    for one in ready:
        c.originate(one, "paged", number=one, caller=caller, alert=Alert.INTERCOM, ring_ms=rule("page.ring"))
    _enter(c, c.s.a)
    if page.speaker:
        c.do(Loudspeaker(c.s.room.name, True))
    c.do(do.Chime(c.s.a))
    c.timer("page", page.longest_s * 1000)


def _enter(c: Contact, leg: str) -> None:
    room = c.s.room
    if room is not None and c.audible(leg) and leg not in room.legs:
        room.legs.append(leg)
        speaks = leg == c.s.a
        c.do(do.EnterRoom(leg, room.name, hear=not speaks, speak=speaks))


def _leave(c: Contact, leg: str) -> None:
    room = c.s.room
    if room is not None and leg in room.legs:
        room.legs.remove(leg)
        c.do(do.LeaveRoom(leg, room.name))


def _words(c: Contact, prompt: str, cause: Cause) -> None:
    c.s.end_cause = cause
    c.say(c.s.a, "last", Say(prompt))


def _over(c: Contact) -> None:
    room = c.s.room
    if room is None:
        return
    for leg in list(room.legs):
        _leave(c, leg)
    page = c.desk.config.pages.get(room.name.removeprefix(PLACE))
    if page is None or page.speaker:
        c.do(Loudspeaker(room.name, False))
    c.s.room = None
    c.s.talk_end = c.now


@phase(Phase.PAGE)
def paging(c: Contact, event: Input, what: str) -> None:
    """PAGE: one speaks, the others listen."""
    match event:
        case LegEnded() if event.leg == c.s.a:
            _over(c)
            c.gone(event, Cause.NORMAL)
        case LegEnded():
            _leave(c, event.leg)
        case LegAnswered() if c.s.room is not None:
            _enter(c, event.leg)
        case TimerFired(name="page"):
            c.record("page-limit", c.s.a)
            _over(c)
            c.finish(Cause.TIMEOUT, Side.SYSTEM)
        case Played() if what == "last":
            c.finish(c.s.end_cause or Cause.NORMAL, Side.SYSTEM)
