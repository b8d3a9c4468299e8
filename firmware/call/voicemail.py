"""Leaving a message: greeting, tone, message, choice (L1, pure; N1, CBK-06).

Theory of operation
-------------------
A caller who reaches a box hears its greeting (the owner's, else the standard one) and a tone, then speaks. The message ends by the end
key, by silence, at its longest, or when the caller hangs up; whoever used the end key may listen, record again or keep it. Whatever
was said is kept unless the caller chose to record again: a caller who hangs up has left a message. The sound itself is
`core/voicemail.py`'s: it is told to start, stop, keep or drop a *take*, and says when a take is closed.
`Taking` (record, choose, keep) serves messages, greetings of boxes and prompts alike; what is said in each is a row of WORDS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from firmware.call import actions as do
from firmware.call import voicemail_actions as vm
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.contact import phase
from firmware.call.model import Cause, LegDigit, LegEnded, Side
from firmware.call.rules import rule
from firmware.call.state import Phase, Play
from firmware.call.voicemail_state import MailState
from firmware.config.schema.voicemail import Mailbox

if TYPE_CHECKING:
    from firmware.call.contact import Contact
    from firmware.call.desk import Input

END_KEY = "#"


class Words(msgspec.Struct, frozen=True):
    """Prompts of one kind of take."""

    start: str
    choice: str
    short: str


WORDS = {
    "message": Words("vm.start", "vm.choice", "vm.short"),
    "greeting": Words("vm.greet.start", "vm.choice", "vm.short"),
    "prompt": Words("vm.prompt.start", "vm.choice", "vm.short"),
}


def leave_message(c: Contact, box: str) -> None:
    """Destination `voicemail/BOX`."""
    from firmware.call.ivr import answer

    if not c.audible(c.s.a) or c.s.legs[c.s.a].answered < 0:
        c.s.then, c.s.wanted, c.s.notice_due, c.s.feature = f"voicemail/{box}", "", False, ""
        c.move(Phase.ANSWERING)
        answer(c)
        return
    c.quiet(c.s.a)
    c.unbridge()
    c.move(Phase.MAIL)
    c.s.mail = MailState(box, "leave", "greet")
    why = c.desk.mail.full(c.desk.config, box)
    if why:
        c.record("voicemail-full", c.s.a, box=box, reason=why)
        c.s.mail.stage = "last"
        c.say(c.s.a, "last", Say("vm.full"))
        return
    c.record("voicemail", c.s.a, box=box, language=c.s.language)
    if box in c.desk.mail.greetings:
        play_file(c, "greet", f"greeting/{box}", length=60_000)
    else:
        c.say(c.s.a, "greet", Say("vm.away"), Say(WORDS["message"].start), keys=True)


def play_file(
    c: Contact, what: str, file: str, *, length: int, before: tuple[Say, ...] = (), after: tuple[Say, ...] = (), keys: bool = True,
    without: tuple[Say, ...] = (), leg: str = "",
) -> None:
    """Play a recording to `leg`, else to the caller, with words around it; `without`: words in place of one that cannot be played."""
    leg = leg or c.s.a
    token = c.desk.token()
    c.s.plays[leg] = Play(token, what)
    c.do(vm.PlayFile(leg, token, c.s.language, file, before, after, keys, without))
    c.timer(f"play:{leg}", rule("guard.prompt") + length)


def box_of(c: Contact) -> Mailbox:
    """The box that this is about; the defaults where it was taken out of the configuration meanwhile."""
    assert c.s.mail is not None
    return c.desk.config.mailboxes.get(c.s.mail.box, Mailbox())


# --- the take ---------------------------------------------------------------------------------------------------------


def tone(c: Contact) -> None:
    """The tone; then the take begins."""
    assert c.s.mail is not None
    c.s.mail.stage = "tone"
    c.say(c.s.a, "tone", Say("beep"))


def begin(c: Contact) -> None:
    """Record from now on."""
    mail = c.s.mail
    assert mail is not None
    mail.stage, mail.began = "record", c.now
    mail.token = c.desk.token()
    mail.takes += 1
    mail.take = make_take(c)
    c.do(vm.StartTake(c.s.a, mail.token, mail.take))
    c.do(vm.Listen(c.s.a, True))
    box = box_of(c)
    c.timer("longest", rule("greeting.own") if mail.role == "agent" else box.longest_s * 1000)
    if box.silence_s:
        c.timer("silence", box.silence_s * 1000)


def make_take(c: Contact) -> vm.Take:
    """What is being recorded."""
    mail = c.s.mail
    assert mail is not None
    kind = {"leave": "message", "read": "greeting", "studio": "prompt", "agent": "prompt"}[mail.role]
    name = mail.prompt if kind == "prompt" else mail.box
    caller = c.party(c.s.legs[c.s.a])
    number = "" if caller.reason else caller.number
    return vm.Take(kind, name, f"{c.s.id}-{mail.takes}", c.s.id, number, "" if caller.reason else caller.name, c.s.language)


def stop(c: Contact, why: str) -> None:
    """The person has finished, or time is over."""
    mail = c.s.mail
    assert mail is not None
    for name in ("longest", "silence"):
        c.stop_timer(name)
    mail.stage, mail.why = "closing", why
    c.do(vm.Listen(c.s.a, False))
    c.do(do.StopRecording(c.s.a, mail.token))
    c.timer("closing", rule("guard.recorded"))


def _closed(c: Contact, event: vm.TakeRecorded | None) -> None:
    """The take is closed, or was not in time."""
    mail = c.s.mail
    assert mail is not None and mail.take is not None
    c.stop_timer("closing")
    words = WORDS[mail.take.kind]
    least = box_of(c).least_ms if mail.take.kind == "message" else 300
    mail.length = event.ms if event is not None else c.now - mail.began
    if event is not None and (event.error or event.ms - trim(c) < least):
        c.record("take-short", c.s.a, ms=event.ms, error=event.error)
        drop(c)
        if mail.tries >= rule("mail.tries") or event.error:
            _end(c, "vm.sorry" if event.error else words.short)
            return
        mail.tries += 1
        mail.stage = "again"
        c.say(c.s.a, "again", Say(words.short), keys=False)
        return
    if mail.take.kind == "message" and (mail.why != "key" or not box_of(c).choice):
        keep(c)
        return
    ask(c)


def trim(c: Contact) -> int:
    """Ms at the end of a take that are no speech: the silence that ended it, or the tone of the key."""
    assert c.s.mail is not None
    return {"key": rule("mail.key.tone"), "silence": max(0, box_of(c).silence_s * 1000 - 500)}.get(c.s.mail.why, 0)


def ask(c: Contact) -> None:
    """Keep, listen, again?"""
    assert c.s.mail is not None and c.s.mail.take is not None
    c.s.mail.stage = "choice"
    c.s.mail.asked += 1
    c.say(c.s.a, "choice", Say(WORDS[c.s.mail.take.kind].choice), keys=True)


def _choice(c: Contact, digit: str) -> None:
    mail = c.s.mail
    assert mail is not None and mail.take is not None
    c.stop_timer("key")
    if digit == "1":
        keep(c)
    elif digit == "2":
        mail.stage = "choice"
        after = (Say(WORDS[mail.take.kind].choice),)
        play_file(c, "choice", f"take/{mail.take.key}", length=mail.length, after=after)
    elif digit == "3":
        drop(c)
        mail.tries += 1
        tone(c)
    else:
        ask(c)


def drop(c: Contact) -> None:
    """Forget the take."""
    mail = c.s.mail
    if mail is not None and mail.take is not None:
        c.do(vm.DropTake(mail.token, mail.take))
        mail.take = None


def keep(c: Contact, *, cut: bool = False) -> None:
    """Keep the take; for a message: say so and end."""
    from firmware.call import mailbox, own_greeting

    mail = c.s.mail
    assert mail is not None and mail.take is not None
    take, mail.take = mail.take, None
    if take.kind == "message":
        c.s.visit.stage = "done"         # whoever left a message is not lost
    least = box_of(c).least_ms if take.kind == "message" else 0
    c.do(vm.KeepTake(mail.token, take, least, trim(c)))
    c.record("voicemail-left" if take.kind == "message" else "take-kept", c.s.a, box=mail.box, name=take.name, ms=mail.length)
    if cut:
        return
    if mail.role == own_greeting.ROLE:
        own_greeting.kept(c)
        return
    if take.kind != "message":
        mailbox.kept(c, take.kind)
        return
    hours = box_of(c).answer_h
    _end(c, "vm.bye" if hours else "vm.saved", {"h": str(hours)} if hours else {})


def _end(c: Contact, prompt: str, variables: dict[str, str] | None = None) -> None:
    assert c.s.mail is not None
    c.s.mail.stage = "last"
    last = c.say_last if prompt in ("vm.bye", "vm.saved") else c.say
    last(c.s.a, "last", Say(prompt, variables or {}))


def hung_up(c: Contact) -> None:
    """The person is gone: what was said and not refused is kept; a greeting or prompt that nobody accepted is not."""
    mail = c.s.mail
    if mail is None or mail.take is None:
        return
    if mail.take.kind == "message":
        keep(c, cut=mail.stage == "record")
        c.do(vm.Listen(c.s.a, False))
    else:
        drop(c)


# --- the phase --------------------------------------------------------------------------------------------------------


@phase(Phase.MAIL)
def mailing(c: Contact, event: Input, what: str) -> None:
    """MAIL: a message is left, heard, or something is recorded."""
    from firmware.call import mailbox, own_greeting, replay

    mail = c.s.mail
    match event:
        case LegEnded() if event.leg == c.s.a:
            hung_up(c)
            c.gone(event, Cause.NORMAL)
        case _ if mail is None:
            c.finish(Cause.SYSTEM, Side.SYSTEM)
        case Played() if what == "last":
            c.finish(c.s.end_cause or Cause.NORMAL, Side.SYSTEM)
        case _ if mail.role == replay.ROLE:
            replay.hearing(c, event, what)
        case _ if taking(c, event, what):
            pass
        case _ if mail.role == own_greeting.ROLE:
            own_greeting.choosing(c, event, what)
        case _ if mail.role != "leave":
            mailbox.reading(c, event, what)


def taking(c: Contact, event: Input, what: str) -> bool:
    """Inputs of a take and of the words before it; False for what belongs to somebody else."""
    mail = c.s.mail
    assert mail is not None
    match event:
        case vm.TakeRecorded():
            if event.token == mail.token and mail.take is not None and mail.stage in ("record", "closing"):
                if mail.stage == "record":
                    stop(c, "lost")
                _closed(c, event)
        case vm.Voice():
            if mail.stage == "record" and box_of(c).silence_s:
                if event.active:
                    c.stop_timer("silence")
                else:
                    c.timer("silence", box_of(c).silence_s * 1000)
        case TimerFired(name="longest") if mail.stage == "record":
            stop(c, "longest")
        case TimerFired(name="silence") if mail.stage == "record":
            stop(c, "silence")
        case TimerFired(name="closing") if mail.stage == "closing":
            _closed(c, None)
        case TimerFired(name="key") if mail.stage == "choice":
            _undecided(c)
        case Played() if event.digit and what in ("greet", "again", "choice"):
            pass                             # the key itself is on its way
        case Played() if what == "greet" or what == "again":
            tone(c)
        case Played() if what == "tone":
            begin(c)
        case Played() if what == "choice":
            c.timer("key", rule("mail.key"))
        case LegDigit() if event.leg == c.s.a and mail.stage == "record":
            if event.digit == END_KEY:
                stop(c, "key")
        case LegDigit() if event.leg == c.s.a and mail.stage == "greet":
            c.quiet(c.s.a)
            if event.digit == "*" and mail.role == "leave" and box_of(c).pin:
                from firmware.call.mailbox import ask_pin

                ask_pin(c)
            else:
                tone(c)
        case LegDigit() if event.leg == c.s.a and mail.stage == "choice":
            c.quiet(c.s.a)
            _choice(c, event.digit)
        case LegDigit() if event.leg == c.s.a and mail.stage in ("tone", "closing", "again", "last"):
            pass
        case _:
            return False
    return True


def _undecided(c: Contact) -> None:
    """No key after the question: a message is kept, anything else is asked twice and then dropped."""
    mail = c.s.mail
    assert mail is not None and mail.take is not None
    if mail.take.kind == "message":
        keep(c)
    elif mail.asked < rule("mail.tries"):
        ask(c)
    else:
        drop(c)
        _end(c, "vm.gone")
