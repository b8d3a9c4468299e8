"""Hearing messages, and what else an owner does by telephone: greetings, prompts of the site (L1, pure; N1, F4, F5).

Theory of operation
-------------------
A telephone of a box opens it by the code alone; from anywhere else its number and PIN are keyed, and `MailRoom` counts the wrong ones.
Then messages are heard one after the other, new ones first: date, time and caller, the message, the keys. Each key works from the
first word on:
1 again, 2 next, 3 delete, 4 call back (from a telephone of the house, with its rights), 5 to a colleague, 6 keep as new,
7 keep for good, 8 next box of this telephone, 9 greeting, 0 the keys, # end.
A message counts as heard when it was played to its end, or when a key was pressed behind its beginning; who hangs up finds it new again.
Prompts of the site are recorded with a code, the PIN of the studio and a number of `[studio.numbers]`, in a language chosen by key.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from firmware.call import voicemail_actions as vm
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.mailroom import DAY_MS, MailRoom, Message
from firmware.call.model import Cause, LegDigit
from firmware.call.registry import code, destination
from firmware.call.routing import ToOutside
from firmware.call.rules import rule
from firmware.call.state import Kind, Phase
from firmware.call.times import LocalTime
from firmware.call.voicemail import box_of, leave_message, play_file
from firmware.call.voicemail_state import MailState

if TYPE_CHECKING:
    from firmware.call.contact import Contact
    from firmware.call.desk import Input

LANGUAGE_KEYS = {"1": "zh", "2": "en"}


@destination("voicemail", speaks=True)
def _leave(c: Contact, box: str) -> None:
    leave_message(c, box)


@destination("messages", speaks=True)
def from_outside(c: Contact, box: str) -> None:
    """Destination `messages/BOX`, or `messages/all` where the number is asked for: always with the PIN."""
    c.quiet(c.s.a)
    c.move(Phase.MAIL)
    c.s.mail = MailState("", "read", "number")
    if box in c.desk.config.mailboxes:
        c.s.mail.box = box
        ask_pin(c)
    else:
        ask_keys(c, "number", Say("vm.ask.box"))


@code("voicemail")
def from_phone(c: Contact) -> None:
    """The code of voice mail, with the number of a box behind it or none."""
    number, c.s.typed = c.s.typed.removesuffix("#"), ""
    c.move(Phase.MAIL)
    config = c.desk.config
    own = MailRoom.boxes_of(config, c.s.extension)
    c.s.mail = MailState("", "read", "number")
    box = MailRoom.by_number(config, number) if number else (own[0] if own else "")
    if not box and not number:
        ask_keys(c, "number", Say("vm.ask.box"))
        return
    c.s.mail.box = box
    if box in own and not config.mailboxes[box].pin_always:
        _open(c)
    else:
        ask_pin(c)


@code("studio")
def studio(c: Contact) -> None:
    """The code for recording prompts of the site."""
    c.s.typed = ""
    c.move(Phase.MAIL)
    c.s.mail = MailState("", "studio", "pin")
    if not c.desk.config.studio.pin:
        bye(c, "vm.no.studio")
        return
    ask_pin(c)


def ask_pin(c: Contact) -> None:
    """The box is named; now the PIN."""
    assert c.s.mail is not None
    if c.s.mail.role == "leave":
        c.s.mail.role = "read"
    c.hide_keys(True)
    ask_keys(c, "pin", Say("vm.ask.pin"))


def ask_keys(c: Contact, stage: str, *says: Say) -> None:
    """Ask for keys; they come to this stage."""
    mail = c.s.mail
    assert mail is not None
    mail.stage, mail.typed = stage, ""
    c.say(c.s.a, stage, *says, keys=True)


def bye(c: Contact, prompt: str) -> None:
    """Say that, then the call ends."""
    assert c.s.mail is not None
    c.s.mail.stage = "last"
    c.say(c.s.a, "last", Say(prompt))


def reading(c: Contact, event: Input, what: str) -> None:
    """Inputs of an owner's call that belong to no take."""
    mail = c.s.mail
    assert mail is not None
    match event:
        case Played() if event.digit:
            pass
        case Played() if what == "message":
            _heard(c)
            c.timer("key", rule("mail.key"))
        case Played() if what == "on":
            _next(c)
        case Played():
            c.timer("key", rule("mail.key"))
        case TimerFired(name="key"):
            _idle(c)
        case LegDigit() if event.leg == c.s.a:
            mail.idle = 0
            c.quiet(c.s.a)
            c.stop_timer("key")
            if mail.stage in ("number", "pin", "to", "prompt", "language"):
                _typed(c, event.digit)
            elif mail.stage == "greeting":
                _greeting_key(c, event.digit)
            elif mail.stage in ("message", "end"):
                _key(c, event.digit)


def _idle(c: Contact) -> None:
    """No key for a while: the question once more, then good-bye."""
    mail = c.s.mail
    assert mail is not None
    mail.idle += 1
    if mail.idle >= rule("mail.tries"):
        bye(c, "vm.ended")
    elif mail.typed and mail.stage != "language":
        _whole(c)
    elif mail.stage in ("message", "end"):
        _keys(c)
    elif mail.stage == "greeting":
        c.say(c.s.a, "greeting", Say("vm.greet.keys"), keys=True)
    else:
        asked = {"number": "vm.ask.box", "pin": "vm.ask.pin", "to": "vm.ask.to", "prompt": "vm.ask.prompt", "language": "vm.ask.language"}
        ask_keys(c, mail.stage, Say(asked[mail.stage]))


# --- digits -----------------------------------------------------------------------------------------------------------


def _typed(c: Contact, digit: str) -> None:
    mail = c.s.mail
    assert mail is not None
    if mail.stage == "language":
        if digit in LANGUAGE_KEYS:
            c.s.language = LANGUAGE_KEYS[digit]
            mail.prompt = f"{c.s.language}/{mail.prompt}"
            c.record("studio", c.s.a, prompt=mail.prompt)
            mail.stage = "greet"
            c.say(c.s.a, "greet", Say("vm.prompt.start"), keys=True)
        else:
            ask_keys(c, "language", Say("vm.ask.language"))
    elif digit == "#":
        _whole(c)
    elif digit == "*":
        ask_keys(c, mail.stage)
        c.timer("key", rule("mail.key"))
    elif len(mail.typed) < 16:
        mail.typed += digit
        c.timer("key", rule("mail.key"))


def _whole(c: Contact) -> None:
    """A number or PIN is complete."""
    mail = c.s.mail
    assert mail is not None
    typed, mail.typed = mail.typed, ""
    if mail.stage == "number":
        mail.box = MailRoom.by_number(c.desk.config, typed)
        ask_pin(c)
    elif mail.stage == "pin":
        _pin(c, typed)
    elif mail.stage == "to":
        _send(c, typed)
    else:
        prompt = c.desk.config.studio.numbers.get(typed, "")
        if not prompt:
            ask_keys(c, "prompt", Say("vm.bad.number"), Say("vm.ask.prompt"))
            return
        mail.prompt = prompt
        ask_keys(c, "language", Say("vm.ask.language"))


def _pin(c: Contact, pin: str) -> None:
    mail, room = c.s.mail, c.desk.mail
    assert mail is not None
    now = c.desk.wall(c.now)
    studio = mail.role == "studio"
    if studio:
        # The studio is guarded like a box of its own name, which no box can have.
        right = not room.closed("/studio", now) and hmac.compare_digest(c.desk.config.studio.pin.encode(), pin.encode())
        if not right:
            room.opens(c.desk.config, "/studio", "", now)
    else:
        right = room.opens(c.desk.config, mail.box, pin, now)
    if right:
        c.hide_keys(False)
        c.record("mailbox-pin", c.s.a, box=mail.box or "studio", right=True)
        if studio:
            ask_keys(c, "prompt", Say("vm.ask.prompt"))
        else:
            _open(c)
        return
    mail.wrong += 1
    c.record("mailbox-pin", c.s.a, box=mail.box or "studio" if studio else mail.box, right=False)
    if mail.wrong >= rule("mail.pins") or room.closed("/studio" if studio else mail.box, now):
        bye(c, "vm.bad.ended")
    else:
        ask_keys(c, "pin", Say("vm.bad.pin"), Say("vm.ask.pin"))


# --- messages ---------------------------------------------------------------------------------------------------------


def _open(c: Contact) -> None:
    mail = c.s.mail
    assert mail is not None
    if box_of(c).language:
        c.s.language = box_of(c).language
    c.record("mailbox", c.s.a, box=mail.box, new=c.desk.mail.counts(mail.box)[0])
    mail.role, mail.message, mail.done = "read", "", []
    new, old = c.desk.mail.counts(mail.box)
    says = [Say("vm.new", {"n": str(new)}) if new else Say("vm.none.new")]
    if old:
        says.append(Say("vm.old", {"n": str(old)}))
    mail.stage = "end"
    if new or old:
        c.say(c.s.a, "on", *says, keys=True)
    else:
        c.say(c.s.a, "end", *says, Say("vm.end"), keys=True)


def _next(c: Contact) -> None:
    """The next message that this call has not had."""
    mail = c.s.mail
    assert mail is not None
    one = next((one for one in c.desk.mail.of(mail.box) if one.id not in mail.done), None)
    if one is None:
        mail.message, mail.stage = "", "end"
        c.say(c.s.a, "end", Say("vm.end"), keys=True)
        return
    mail.message = one.id
    mail.done.append(one.id)
    _play(c, one)


def _play(c: Contact, one: Message) -> None:
    assert c.s.mail is not None
    c.s.mail.stage = "message"
    before = envelope(c, one.at, one.number)
    play_file(c, "message", f"message/{one.box}/{one.id}", length=one.length, before=before, after=(Say("vm.keys.short"),))


def envelope(c: Contact, at: int, number: str) -> tuple[Say, ...]:
    """When (Unix ms) a message was left, and by whom."""
    return day_of(c, at, "vm.at"), Say("vm.from", {"digits": number}) if number else Say("vm.from.unknown")


def day_of(c: Contact, at: int, prompt: str) -> Say:
    """A prompt that says a day and time (Unix ms): `prompt`.today, `prompt`.yesterday, or `prompt` with the date."""
    now = c.desk.wall(c.now)

    def local(wall_ms: int) -> LocalTime:
        return c.desk.local(c.now - (now - wall_ms))

    left = local(at)
    time, date = f"{left.hour:02}:{left.minute:02}", f"{left.year:04}-{left.month:02}-{left.day:02}"
    today, before = local(now), local(now - DAY_MS)
    if (left.year, left.month, left.day) == (today.year, today.month, today.day):
        return Say(f"{prompt}.today", {"time": time})
    if (left.year, left.month, left.day) == (before.year, before.month, before.day):
        return Say(f"{prompt}.yesterday", {"time": time})
    return Say(prompt, {"date": date, "time": time})


def _heard(c: Contact) -> None:
    mail = c.s.mail
    assert mail is not None
    one = c.desk.mail.find(mail.box, mail.message)
    if one is not None and not one.heard:
        one.heard = c.desk.wall(c.now)
        c.desk.mail.changed(mail.box)
        c.do(vm.MessageChanged(one.box, one.id))


def _keys(c: Contact) -> None:
    assert c.s.mail is not None
    c.say(c.s.a, "keys", Say("vm.keys" if c.s.mail.message else "vm.end"), keys=True)


def _key(c: Contact, digit: str) -> None:
    mail = c.s.mail
    assert mail is not None
    one = c.desk.mail.find(mail.box, mail.message)
    if digit == "#":
        bye(c, "vm.ended")
    elif digit == "0":
        _keys(c)
    elif digit == "8":
        boxes = MailRoom.boxes_of(c.desk.config, c.s.extension)
        free = [box for box in boxes if not c.desk.config.mailboxes[box].pin_always]
        if mail.box in free and len(free) > 1:
            mail.box = free[(free.index(mail.box) + 1) % len(free)]
            _open(c)
        else:
            _keys(c)
    elif digit == "9":
        mail.stage = "greeting"
        c.say(c.s.a, "greeting", Say("vm.greet.keys"), keys=True)
    elif digit == "2":
        if one is not None:
            _heard(c)
        _next(c)
    elif one is None:
        if digit == "1" and c.desk.mail.of(mail.box):
            mail.done = []
            _next(c)
        else:
            _keys(c)
    else:
        _with(c, one, digit)


def _with(c: Contact, one: Message, digit: str) -> None:
    """A key about one message."""
    mail = c.s.mail
    assert mail is not None
    if digit == "1":
        _play(c, one)
    elif digit == "3":
        c.record("message-deleted", c.s.a, box=one.box, message=one.id)
        c.desk.mail.remove(one.box, one.id)
        c.do(vm.MessageRemoved(one.box, one.id))
        mail.message = ""
        c.say(c.s.a, "on", Say("vm.deleted"), keys=True)
    elif digit == "4":
        _call_back(c, one)
    elif digit == "5":
        ask_keys(c, "to", Say("vm.ask.to"))
    elif digit in "67":
        one.heard, one.saved = (0, False) if digit == "6" else (one.heard or c.desk.wall(c.now), True)
        c.desk.mail.changed(one.box)
        c.do(vm.MessageChanged(one.box, one.id))
        c.say(c.s.a, "on", Say("vm.kept.new" if digit == "6" else "vm.kept"), keys=True)
    else:
        _keys(c)


def _call_back(c: Contact, one: Message) -> None:
    """Dial whoever left the message with the rights of this telephone; the message counts as heard."""
    from firmware.call.dialling import dial_number

    number = _dialled(c, one.number)
    if not number or c.s.extension not in c.desk.config.extensions:
        c.say(c.s.a, "keys", Say("vm.no.callback"), keys=True)
        return
    _heard(c)
    c.s.called = number
    c.s.kind = Kind.INTERNAL if number in c.desk.config.extensions else Kind.OUTBOUND
    c.record("message-callback", c.s.a, box=one.box, message=one.id, number=c.s.called)
    c.s.mail = None
    c.s.feature = ""
    dial_number(c)


def _dialled(c: Contact, number: str) -> str:
    """A caller's number as this telephone dials it: with the access code of the first route that takes it; "" for one it cannot dial.

    An emergency number is none: only a person who keys it may call there.
    """
    if not number or number in c.desk.config.extensions:
        return number
    ways = (route.prefix + number.removeprefix("+") for route in c.desk.config.outbound)
    return next((way for way in ways if isinstance(c.desk.routing.resolve(c.s.extension, way), ToOutside)), "")


def _send(c: Contact, number: str) -> None:
    """Forward the message to a colleague's box, named by its number or by a telephone of it."""
    mail = c.s.mail
    assert mail is not None
    config = c.desk.config
    to = MailRoom.by_number(config, number) or next(iter(MailRoom.boxes_of(config, number)), "")
    one = c.desk.mail.find(mail.box, mail.message)
    if one is None:
        _next(c)
    elif not to or to == mail.box:
        ask_keys(c, "to", Say("vm.bad.number"), Say("vm.ask.to"))
    elif c.desk.mail.full(config, to):
        mail.stage = "message"
        c.say(c.s.a, "keys", Say("vm.full.there"), Say("vm.keys"), keys=True)
    else:
        _heard(c)
        c.record("message-forwarded", c.s.a, box=mail.box, message=one.id, to=to)
        c.do(vm.MessageCopied(one.box, one.id, to))
        mail.stage = "message"
        c.say(c.s.a, "keys", Say("vm.sent"), Say("vm.keys"), keys=True)


# --- greetings --------------------------------------------------------------------------------------------------------


def _greeting_key(c: Contact, digit: str) -> None:
    mail = c.s.mail
    assert mail is not None
    if digit == "1":
        mail.stage = "greet"
        c.say(c.s.a, "greet", Say("vm.greet.start"), keys=True)
    elif digit == "2" and mail.box in c.desk.mail.greetings:
        play_file(c, "greeting", f"greeting/{mail.box}", length=60_000, after=(Say("vm.greet.keys"),))
    elif digit == "3":
        c.desk.mail.greetings.discard(mail.box)
        c.do(vm.GreetingRemoved(mail.box))
        kept(c, "greeting", "vm.greet.standard")
    elif digit in "*#":
        kept(c, "", "")
    else:
        c.say(c.s.a, "greeting", Say("vm.greet.keys"), keys=True)


def kept(c: Contact, kind: str, prompt: str = "vm.greet.kept") -> None:
    """A greeting or prompt was kept: on with what the owner was doing."""
    mail = c.s.mail
    assert mail is not None
    mail.asked = mail.tries = mail.idle = 0
    says = [Say(prompt)] if prompt else []
    if kind == "prompt":
        ask_keys(c, "prompt", Say("vm.prompt.kept"), Say("vm.ask.prompt"))
        return
    mail.message, mail.stage = "", "end"
    c.say(c.s.a, "end", *says, Say("vm.end"), keys=True)


def take_unanswered(c: Contact, extension: str, cause: Cause) -> bool:
    """A telephone of the house could not be reached: its box takes the call where the box says so."""
    why = {Cause.BUSY: "busy", Cause.NO_ANSWER: "no-answer"}.get(cause, "unreachable")
    if cause in (Cause.REFUSED, Cause.CANCELLED, Cause.SYSTEM, Cause.CONGESTION) or c.s.emergency_number:
        return False
    a = c.s.legs.get(c.s.a)
    for box in MailRoom.boxes_of(c.desk.config, extension):
        entry = c.desk.config.mailboxes[box]
        if why in entry.take and a is not None and a.live and (not a.phone or entry.take_internal) and a.endpoint not in entry.extensions:
            c.record("to-voicemail", c.s.a, box=box, cause=cause.value)
            leave_message(c, box)
            return True
    return False
