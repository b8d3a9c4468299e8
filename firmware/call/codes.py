"""Codes dialled from a phone: agent log-in and log-out, pause, ready, echo test (L1, pure; G2, G3).

Theory of operation
-------------------
The call is answered, then keys are taken, from what was dialled behind the code first. Log-in wants `agent # PIN #`, pause
one reason digit 1-9. Every outcome is said, in the site's language, and written to the history; then the call ends.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.contact import Contact, Input, phase
from firmware.call.floor import DND
from firmware.call.ivr import answer
from firmware.call.model import Cause, LegDigit, LegEnded, Side
from firmware.call.registry import DIALLED_CODES, code
from firmware.call.routing import ToFeature
from firmware.call.rules import rule
from firmware.call.state import Phase


def dial_feature(c: Contact, feature: str, rest: str) -> None:
    """Answer a phone that dialled a code."""
    c.s.language = c.desk.config.site.languages[0]
    c.s.feature, c.s.typed = feature, rest
    c.s.tries = 0
    if DIALLED_CODES[feature].answers:
        answer(c)
    else:
        DIALLED_CODES[feature].start(c)


def refuse(c: Contact, prompt: str) -> None:
    """Tell a telephone that dialled a code in words why nothing comes of it."""
    c.s.feature, c.s.then = "refused", prompt
    answer(c)


@code("refused")
def _refused(c: Contact) -> None:
    said(c, c.s.then)


def start_feature(c: Contact) -> None:
    """The phone is answered."""
    c.move(Phase.FEATURE)
    DIALLED_CODES[c.s.feature].start(c)


@code("echo_test")
def _echo_test(c: Contact) -> None:
    c.do(do.Loop(c.s.a))


@code("logout", "ready")
def _agent_code(c: Contact) -> None:
    floor = c.desk.floor
    agent = floor.on_phone(c.s.extension)
    if agent is None:
        _say_done(c, "agent.unknown")
    elif c.s.feature == "logout" and not floor.may_leave(agent.agent):
        _say_done(c, "agent.relief", agent.agent)
    elif c.s.feature == "logout":
        floor.log_out(agent.agent, c.now)
        _say_done(c, "agent.logout.ok", agent.agent)
    else:
        ready = floor.make_ready(agent.agent, c.now) or agent.reason != DND
        _say_done(c, "agent.ready" if ready else "dnd.on", agent.agent)


def dialled_whole(c: Contact) -> bool:
    """Whether all of it was dialled in one go, as SIP telephones may, and no key came since: then nothing more is awaited."""
    target = c.desk.routing.resolve(c.s.extension, c.s.called)
    return isinstance(target, ToFeature) and target.rest != "" and target.rest == c.s.typed


def ask(c: Contact, *says: Say) -> None:
    """Ask for keys."""
    c.say(c.s.a, "ask", *says, keys=True)
    c.timer("key", rule("guard.prompt"))


def said(c: Contact, prompt: str, digits: str = "") -> None:
    """Say what a code came to; then the call ends."""
    c.stop_timer("key")
    c.record("code", c.s.a, feature=c.s.feature, digits=digits, result=prompt)
    c.say(c.s.a, "done", Say(prompt, {"digits": digits}))


def _say_done(c: Contact, prompt: str, agent: str = "") -> None:
    c.stop_timer("key")
    c.record("code", c.s.a, feature=c.s.feature, agent=agent, result=prompt)
    c.say(c.s.a, "done", Say(prompt, {"digits": agent}))


def _login_key(c: Contact, digit: str) -> None:
    c.s.typed += digit
    _login(c)


@code("login", keys=_login_key)
def _login(c: Contact) -> None:
    parts = c.s.typed.split("#")
    if len(parts) < 3:
        wanted = "agent.ask.number" if len(parts) == 1 else "agent.ask.pin"
        if c.s.wanted != wanted and not parts[-1]:
            c.s.wanted = wanted
            c.hide_keys(wanted == "agent.ask.pin")
            c.say(c.s.a, "ask", Say(wanted), keys=True)
        c.timer("key", rule("code.wait"))
        return
    number, pin = parts[0], parts[1]
    c.s.typed = c.s.wanted = ""
    c.s.tries += 1
    if number in c.desk.config.agents and c.desk.pin_is(number, pin) and c.desk.floor.log_in(number, c.s.extension, c.now):
        _say_done(c, "agent.login.ok", number)
    elif c.s.tries >= rule("code.tries"):
        _say_done(c, "agent.login.bad", number)
    else:
        c.record("code", c.s.a, feature="login", agent=number, result="agent.login.bad")
        c.s.wanted = "agent.ask.number"
        c.say(c.s.a, "ask", Say("agent.login.bad"), Say("agent.ask.number"), keys=True)


def _pause_key(c: Contact, digit: str) -> None:
    c.s.typed += digit
    _pause(c)


@code("pause", keys=_pause_key)
def _pause(c: Contact) -> None:
    agent = c.desk.floor.on_phone(c.s.extension)
    if agent is None:
        _say_done(c, "agent.unknown")
    elif c.s.typed and c.s.typed[0] in "123456789":
        c.desk.floor.pause(agent.agent, c.s.typed[0], c.now)
        _say_done(c, "agent.paused", agent.agent)
    else:
        c.s.typed = ""
        c.s.wanted = "reason"
        c.say(c.s.a, "ask", Say("agent.ask.reason"), keys=True)
        c.timer("key", rule("code.wait"))


@phase(Phase.FEATURE)
def coding(c: Contact, event: Input, what: str) -> None:
    """FEATURE: keys of a code, and the end of what is said."""
    match event:
        case LegEnded() if event.leg == c.s.a:
            c.gone(event, Cause.NORMAL)
        case Played() if what == "done":
            c.finish(Cause.NORMAL, Side.SYSTEM)
        case Played() if what == "ask":
            c.timer("key", rule("code.wait"))
        case TimerFired(name="key"):
            c.finish(Cause.TIMEOUT, Side.SYSTEM)
        case LegDigit() if event.leg == c.s.a:
            keys = DIALLED_CODES[c.s.feature].keys
            if keys is None or (c.s.plays.get(c.s.a) is not None and c.s.plays[c.s.a].what == "done"):
                return
            c.quiet(c.s.a)
            keys(c, event.digit)
