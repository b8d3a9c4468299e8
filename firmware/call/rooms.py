"""Conference rooms, and three-party calls made of a consultation (L1, pure; A4, A9).

Theory of operation
-------------------
A *room* is a mixer with a name; legs enter and leave it (`EnterRoom`, `LeaveRoom`). The rooms of `[rooms]` are shared by contacts: every
caller keeps a contact and a record of his own and is in the room with one leg. Who comes in is announced to the others by a tone; a
PIN is asked for where there is one; the first hears music until there is a second. `room_recording.py` says when a room is recorded.

A *three-party call* is a room of one contact: code or flash during a consultation (`features.Transfer`, stage "talking") puts the
held party, the transferring telephone and the target into the room named after the contact. When one of three leaves, the other two talk
on as any two do; flash of the telephone that joined them drops the target again. One that puts the call on hold leaves the room until it
comes back, so that the others never hear its music.

Invariants: a leg is in a room or in a bridge, never in both; a room's legs are in `ContactState.room`, so an adopted contact is put
back there; an emergency call is never joined with others.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.contact import FAULTS, Contact, Input, phase
from firmware.call.features import after_join, take_place
from firmware.call.model import Cause, LegDigit, LegEnded, LegFlash, LegHeld, LegResumed, Side
from firmware.call.registry import destination, key
from firmware.call.room_recording import newcomer_told, tell_newcomer
from firmware.call.rules import rule
from firmware.call.state import InRoom, Phase


def _enter(c: Contact, leg: str) -> None:
    room = c.s.room
    if room is not None and c.audible(leg) and leg not in room.legs:
        c.quiet(leg)
        room.legs.append(leg)
        c.do(do.EnterRoom(leg, room.name))
        c.desk.room_changed(room.name, c.now)


def _leave(c: Contact, leg: str) -> None:
    room = c.s.room
    if room is not None and leg in room.legs:
        room.legs.remove(leg)
        c.do(do.LeaveRoom(leg, room.name))
        c.desk.room_changed(room.name, c.now)


# --- rooms of the configuration ---------------------------------------------------------------------------------------


@destination("room")
def enter_room(c: Contact, name: str) -> None:
    """Take the caller, who is answered, into a conference room."""
    settings = c.desk.config.rooms.get(name)
    if settings is None:
        c.record("no-room", room=name)
        c.finish(Cause.SYSTEM, Side.SYSTEM)
        return
    c.quiet(c.s.a)
    c.move(Phase.ROOM)
    c.s.room = InRoom(f"room/{name}")
    c.s.typed, c.s.tries = "", 0
    if settings.pin:
        c.say(c.s.a, "ask", Say("room.pin"), keys=True)
    else:
        _admit(c, name)


def _admit(c: Contact, name: str, *, new: bool = True) -> None:
    """Let the caller in where there is room; `new`: the notice, where it is owed, was not tried yet."""
    settings = c.desk.config.rooms.get(name)
    inside = c.desk.in_room(f"room/{name}")
    if settings is None or len(inside) >= settings.most:
        c.record("room-full", c.s.a, room=name)
        _last_words(c, "room.full", Cause.CONGESTION)
        return
    if new and tell_newcomer(c, settings):
        return
    if c.s.connected < 0:
        c.s.connected = c.now
    c.record("room", c.s.a, room=name, people=len(inside) + 1)
    if not inside:
        c.say(c.s.a, "alone", Say("room.first"))
        return
    _enter(c, c.s.a)
    for contact, leg in inside:
        c.desk.room_grew(contact, leg, c.now)


def _last_words(c: Contact, prompt: str, cause: Cause) -> None:
    c.s.end_cause = cause
    c.say(c.s.a, "last", Say(prompt))


def second_came(c: Contact, leg: str) -> None:
    """Somebody else came into the room of this contact: no more music, and a tone says so."""
    c.quiet(leg)
    _enter(c, leg)
    c.do(do.Chime(leg))


def _pin(c: Contact, digit: str) -> None:
    name = c.s.room.name.partition("/")[2] if c.s.room is not None else ""
    settings = c.desk.config.rooms.get(name)
    c.quiet(c.s.a)
    if digit != "#":
        c.s.typed = (c.s.typed + digit)[:16]
        c.timer("key", rule("code.wait"))
        return
    typed, c.s.typed = c.s.typed, ""
    c.stop_timer("key")
    if settings is not None and typed == settings.pin:
        c.s.tries = -1
        _admit(c, name)
        return
    c.s.tries += 1
    c.record("room-pin", c.s.a, room=name, tries=c.s.tries)
    if c.s.tries >= rule("code.tries"):
        _last_words(c, "room.bad", Cause.REFUSED)
    else:
        c.say(c.s.a, "ask", Say("room.bad"), Say("room.pin"), keys=True)


def _asked(c: Contact) -> bool:
    """Whether the PIN is still to be keyed."""
    name = c.s.room.name.partition("/")[2] if c.s.room is not None else ""
    settings = c.desk.config.rooms.get(name)
    play = c.s.plays.get(c.s.a)
    return settings is not None and bool(settings.pin) and c.s.tries >= 0 and (play is None or play.what == "ask")


@phase(Phase.ROOM)
def in_room(c: Contact, event: Input, what: str) -> None:
    """ROOM: the PIN, then the conference, until the caller hangs up."""
    match event:
        case LegEnded() if event.leg == c.s.a:
            _leave(c, event.leg)
            if c.s.connected >= 0:
                c.s.talk_end = event.at
            c.gone(event, Cause.NORMAL)
        case LegDigit() if event.leg == c.s.a and _asked(c):
            _pin(c, event.digit)
        case Played() if what == "ask" and not event.digit:
            c.timer("key", rule("code.wait"))
        case Played() if what == "notice" and c.s.room is not None:
            newcomer_told(c, event)
            _admit(c, c.s.room.name.partition("/")[2], new=False)
        case Played() if what == "last":
            c.finish(c.s.end_cause or Cause.NORMAL, Side.SYSTEM)
        case Played() if what == "alone":
            if c.s.room is not None and len(c.desk.in_room(c.s.room.name)) > 1:
                _enter(c, c.s.a)
            else:
                c.music(c.s.a)
        case LegHeld() if event.leg == c.s.a:
            _leave(c, event.leg)
        case LegResumed() if event.leg == c.s.a and c.s.connected >= 0:
            _enter(c, event.leg)
        case TimerFired(name="key") if c.s.connected < 0:
            c.finish(Cause.TIMEOUT, Side.SYSTEM)


# --- three-party calls ------------------------------------------------------------------------------------------------


@key("join")
def join(c: Contact, by: str) -> None:
    """The consulting telephone joins the held party and the target: all three talk."""
    transfer = c.s.transfer
    if transfer is None or transfer.by != by or transfer.stage != "talking" or c.s.emergency:
        return
    parties = [transfer.held, transfer.by, transfer.target]
    if not all(c.audible(one) for one in parties):
        return
    c.unbridge()
    c.move(Phase.CONFERENCE)
    c.s.transfer = None
    c.s.attempt = None
    c.s.room = InRoom(f"call/{c.s.id}", joined_by=by, target=transfer.target)
    c.record("three-party", by, held=transfer.held, target=transfer.target)
    after_join(c, transfer)
    c.joined_by(*parties)
    for one in parties:
        _enter(c, one)


@phase(Phase.CONFERENCE)
def conference(c: Contact, event: Input, what: str) -> None:
    """CONFERENCE: three talk; when one leaves, the others go on as two."""
    room = c.s.room
    assert room is not None
    three = [c.s.a, c.s.b, room.target]
    match event:
        case LegEnded() if event.leg in three:
            _left(c, event, [one for one in three if one != event.leg])
        case LegFlash() if event.leg == room.joined_by:
            c.record("three-party-drop", event.leg, dropped=room.target)
            dropped = room.target
            _two(c, [one for one in three if one != dropped], room.joined_by)
            c.hang_up(dropped, Cause.NORMAL)
        case LegHeld() if event.leg in three:
            _leave(c, event.leg)
        case LegResumed() if event.leg in three:
            _enter(c, event.leg)


def _left(c: Contact, event: LegEnded, others: list[str]) -> None:
    room = c.s.room
    assert room is not None
    if event.cause in FAULTS or not all(c.audible(one) for one in others):
        c.gone(event, Cause.NORMAL)
        return
    c.record("three-party-left", event.leg)
    if event.leg == room.joined_by:
        c.s.legs[event.leg].cause = Cause.TRANSFERRED
    _two(c, others, event.leg)


def _two(c: Contact, others: list[str], gone: str) -> None:
    """Two are left: an ordinary conversation again."""
    room = c.s.room
    assert room is not None
    for one in list(room.legs):
        _leave(c, one)
    c.s.room = None
    if room.target in others:
        missing = c.s.a if c.s.a not in others else c.s.b
        take_place(c, missing, room.target)
    c.move(Phase.TALKING)
    c.bridge(c.s.a, c.s.b)
