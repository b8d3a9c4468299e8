"""The rating menu after a queue call (L1, pure; J5, RAT-01): keys 1 to 3, one repetition, thanks, hang-up."""

from __future__ import annotations

from firmware.call.actions import Played, Say, TimerFired
from firmware.call.contact import Contact, Input, phase
from firmware.call.model import Cause, LegDigit, LegEnded, Side
from firmware.call.rules import rule
from firmware.call.state import Phase

GRADES = "123"


def start_rating(c: Contact) -> None:
    """The agent has left; ask the caller."""
    c.s.b = ""
    c.s.tries = 0
    c.stop_recording()
    c.move(Phase.RATING)
    _ask(c)


def _ask(c: Contact) -> None:
    if c.s.tries >= rule("rating.tries") or not c.audible(c.s.a):
        c.finish(Cause.NORMAL, Side.SYSTEM)
        return
    c.s.tries += 1
    c.say(c.s.a, "rate", Say("rate.ask"), keys=True)


@phase(Phase.RATING)
def rating(c: Contact, event: Input, what: str) -> None:
    """RATING: ask, take a key, thank."""
    match event:
        case LegEnded() if event.leg == c.s.a:
            c.gone(event, Cause.NORMAL)
        case LegDigit() if event.leg == c.s.a and c.s.rating == 0:
            c.stop_timer("rate")
            c.quiet(c.s.a)
            if event.digit in GRADES:
                c.s.rating = int(event.digit)
                c.record("rating", c.s.a, rating=c.s.rating, agent=c.s.agent)
                c.say(c.s.a, "thanks", Say("rate.bye"))
            else:
                _ask(c)
        case Played() if what == "thanks":
            c.finish(Cause.NORMAL, Side.SYSTEM)
        case Played() if what == "rate":
            c.timer("rate", rule("rating.wait"))
        case TimerFired(name="rate"):
            _ask(c)
