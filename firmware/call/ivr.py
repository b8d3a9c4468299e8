"""Greeting, recording notice, menu, announcement and destinations (L1, pure; features F1, F2, GRT-*).

Theory of operation
-------------------
A caller from outside is answered, greeted by day part, told about recording where the route says so, and taken to the
route's destination. A key during the greeting ends the greeting; the notice is said to its end, since nothing is recorded
without it; keys pressed in either are kept and are the first choices of the menus with barge-in that follow. A menu is a node of
a graph: a valid key leads on, a wrong key says so and repeats, no key repeats, after `tries` it goes `otherwise`.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.contact import Contact, Input, phase
from firmware.call.model import Cause, LegAnswered, LegDigit, LegEnded, Side
from firmware.call.recording import NOTICE, told
from firmware.call.registry import PLACES, destination
from firmware.call.rules import rule
from firmware.call.state import Phase
from firmware.config.schema.calls import InboundRoute


def start_inbound(c: Contact, route: InboundRoute) -> None:
    """Take an outside call into its route. A call straight to a phone, without words, is not answered before the phone is."""
    c.s.language = c.desk.config.site.languages[0]
    c.s.notice_due = route.notice
    c.s.typed = ""
    place = PLACES.get(route.to.partition("/")[0])
    if not route.greeting and not route.notice and (place is None or not place.speaks):
        go(c, route.to)                  # `hangup` too: who is not wanted is not answered
        return
    c.s.then = route.to
    c.s.wanted = "greeting" if route.greeting else ""
    answer(c)


def answer(c: Contact) -> None:
    """Answer the caller; ANSWERING goes on when it is done."""
    c.do(do.AnswerLeg(c.s.a))
    c.timer("answer", rule("guard.answer"))


@phase(Phase.ANSWERING)
def answering(c: Contact, event: Input, what: str) -> None:
    """ANSWERING: our answer is on its way."""
    match event:
        case LegAnswered() if event.leg == c.s.a:
            c.s.answered = event.at
            if c.s.wanted == "originate":
                from firmware.call.dialling import dial_number

                dial_number(c)
            elif c.s.feature:
                from firmware.call.codes import start_feature

                start_feature(c)
            else:
                _greet(c)
        case LegDigit() if event.leg == c.s.a:
            c.s.typed += event.digit
        case LegEnded() if event.leg == c.s.a:
            c.gone(event, Cause.ABANDONED if not c.s.legs[c.s.a].phone else Cause.CANCELLED)
        case TimerFired(name="answer"):
            c.finish(Cause.LINE_FAULT, Side.SYSTEM)


def _greet(c: Contact) -> None:
    if c.s.wanted == "greeting":
        c.s.wanted = ""
        c.move(Phase.GREETING)
        prompts = c.desk.calendar.greetings(c.desk.local(c.now))
        c.record("greeting", c.s.a, prompt=" ".join(prompts), language=c.s.language)
        c.say(c.s.a, "greeting", *(Say(prompt) for prompt in prompts), keys=True)
    else:
        _notice(c)


def _notice(c: Contact) -> None:
    if not c.s.notice_due:
        go(c, c.s.then)
        return
    c.s.notice_due = False
    c.move(Phase.NOTICE)
    c.say(c.s.a, "notice", Say(NOTICE))  # said to its end: without it there is no recording


@phase(Phase.GREETING, Phase.NOTICE)
def words(c: Contact, event: Input, what: str) -> None:
    """GREETING and NOTICE: go on when said, or at a key."""
    match event:
        case Played() if event.digit:
            # The engine stopped it at a key; the key itself is on its way and must not also end what comes next.
            c.timer("cut", rule("key.cut"))
        case Played():
            _said(c, heard=event.finished)
        case LegDigit() if event.leg == c.s.a:
            c.s.typed += event.digit
            if c.s.phase is Phase.GREETING and (c.speaking(c.s.a) or "cut" in c.s.timers):
                c.quiet(c.s.a)
                _said(c, heard=True)
        case TimerFired(name="cut"):
            _said(c, heard=True)
        case LegEnded() if event.leg == c.s.a:
            c.gone(event, Cause.ABANDONED)


def _said(c: Contact, *, heard: bool) -> None:
    if c.s.phase is Phase.GREETING:
        _notice(c)
        return
    heard = heard and c.desk.notice_ready(c.s.language)      # without its clip, whatever was played was not the notice
    c.s.notice = c.s.notice or heard
    if heard:
        told(c).heard.append(c.s.a)
    c.record("notice", c.s.a, heard=heard)
    go(c, c.s.then)


# --- destinations -----------------------------------------------------------------------------------------------------


def go(c: Contact, to: str) -> None:
    """Take the caller to a destination of the configuration; a loop of destinations is ended."""
    c.s.hops += 1
    kind, _, name = to.partition("/")
    place = PLACES.get(kind)
    if c.s.hops > rule("route.hops"):
        c.record("route-loop", destination=to)
        c.finish(Cause.TIMEOUT, Side.SYSTEM)
    elif place is None:
        c.finish(c.s.end_cause or Cause.NORMAL, Side.SYSTEM)
    elif place.speaks and c.s.phase is Phase.ANSWERING and c.s.legs[c.s.a].answered < 0:
        c.s.then, c.s.wanted, c.s.notice_due = to, "", False
        answer(c)
    else:
        place.go(c, name)


@destination("announce")
def announce(c: Contact, prompt: str) -> None:
    """Say last words, then hang up."""
    c.quiet(c.s.a)
    c.move(Phase.ANNOUNCE)
    if not c.audible(c.s.a):
        c.finish(c.s.end_cause or Cause.UNREACHABLE, Side.SYSTEM)
        return
    from firmware.call.hours import told

    c.say(c.s.a, "announce", Say(prompt, {"hours": told(c)}))


@phase(Phase.ANNOUNCE)
def announcing(c: Contact, event: Input, what: str) -> None:
    """ANNOUNCE: hang up when said."""
    match event:
        case Played() if what == "announce":
            c.finish(c.s.end_cause or Cause.NORMAL, Side.SYSTEM)
        case LegEnded() if event.leg == c.s.a:
            c.gone(event, c.s.end_cause or Cause.NORMAL)


# --- menu -------------------------------------------------------------------------------------------------------------


@destination("menu")
def enter_menu(c: Contact, name: str) -> None:
    """Say a menu from its first try."""
    menu = c.desk.config.menus.get(name)
    if menu is None:
        c.record("no-menu", menu=name)
        c.finish(Cause.SYSTEM, Side.SYSTEM)
        return
    c.quiet(c.s.a)
    c.move(Phase.MENU)
    c.s.menu, c.s.tries = name, 0
    c.record("menu", c.s.a, menu=name, language=c.s.language)
    typed, c.s.typed = c.s.typed, ""
    if typed and menu.barge_in and typed[0] in menu.keys:
        c.s.typed = typed[1:]
        _chosen(c, typed[0])
    else:
        _say_menu(c, wrong=False)


def _say_menu(c: Contact, *, wrong: bool) -> None:
    menu = c.desk.config.menus[c.s.menu]
    c.stop_timer("key")
    if c.s.tries >= menu.tries:
        c.record("menu-otherwise", c.s.a, menu=c.s.menu)
        go(c, menu.otherwise)
        return
    c.s.tries += 1
    says = [Say("ivr.bad")] if wrong else []
    c.say(c.s.a, "menu", *says, Say(menu.prompt), keys=menu.barge_in)


def _chosen(c: Contact, digit: str) -> None:
    key = c.desk.config.menus[c.s.menu].keys[digit]
    c.s.hops = 0                         # a key breaks any circle: who presses one is led on
    c.record("key", c.s.a, menu=c.s.menu, digit=digit)
    if key.language:
        c.s.language = key.language
    if key.needs:
        c.s.visit.needs = dict(key.needs)
    go(c, key.to)


@phase(Phase.MENU)
def choosing(c: Contact, event: Input, what: str) -> None:
    """MENU: prompt, key, time-out."""
    menu = c.desk.config.menus.get(c.s.menu)
    match event:
        case LegEnded() if event.leg == c.s.a:
            c.record("menu-left", c.s.a, menu=c.s.menu, tries=c.s.tries)
            c.gone(event, Cause.ABANDONED)
        case _ if menu is None:
            c.finish(Cause.SYSTEM, Side.SYSTEM)
        case LegDigit() if event.leg == c.s.a:
            if c.speaking(c.s.a):
                if not menu.barge_in:
                    return
                c.quiet(c.s.a)
            if event.digit in menu.keys:
                _chosen(c, event.digit)
            else:
                c.record("key-invalid", c.s.a, menu=c.s.menu, digit=event.digit)
                _say_menu(c, wrong=True)
        case Played() if what == "menu":
            c.timer("key", menu.timeout_s * 1000)
        case TimerFired(name="key"):
            _say_menu(c, wrong=False)
