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
from firmware.call.ivr import answer
from firmware.call.model import Cause, LegDigit, LegEnded, Side
from firmware.call.rules import rule
from firmware.call.state import Phase


def dial_feature(c: Contact, feature: str, rest: str) -> None:
    """Answer a phone that dialled a code."""
    c.s.language = c.desk.config.site.languages[0]
    c.s.feature, c.s.typed = feature, rest
    c.s.tries = 0
    answer(c)


def start_feature(c: Contact) -> None:
    """The phone is answered."""
    c.move(Phase.FEATURE)
    floor, extension, feature = c.desk.floor, c.s.extension, c.s.feature
    agent = floor.on_phone(extension)
    if feature == "login":
        _login(c)
    elif feature == "echo_test":
        c.do(do.Loop(c.s.a))
    elif agent is None:
        _say_done(c, "agent.unknown")
    elif feature == "logout":
        floor.log_out(agent.agent, c.now)
        _say_done(c, "agent.logout.ok", agent.agent)
    elif feature == "ready":
        floor.make_ready(agent.agent, c.now)
        _say_done(c, "agent.ready", agent.agent)
    else:
        _pause(c)


def _say_done(c: Contact, prompt: str, agent: str = "") -> None:
    c.stop_timer("key")
    c.record("code", c.s.a, feature=c.s.feature, agent=agent, result=prompt)
    c.say(c.s.a, "done", Say(prompt, {"digits": agent}))


def _login(c: Contact) -> None:
    parts = c.s.typed.split("#")
    if len(parts) < 3:
        wanted = "agent.ask.number" if len(parts) == 1 else "agent.ask.pin"
        if c.s.wanted != wanted and not parts[-1]:
            c.s.wanted = wanted
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
        case LegDigit() if event.leg == c.s.a and c.s.feature in ("login", "pause"):
            if c.s.plays.get(c.s.a) is not None and c.s.plays[c.s.a].what == "done":
                return
            c.quiet(c.s.a)
            c.s.typed += event.digit
            if c.s.feature == "login":
                _login(c)
            else:
                _pause(c)
