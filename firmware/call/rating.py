"""The rating menu after a queue call (L1, pure; J5, RAT-01, RAT-02, RAT-05).

Theory of operation
-------------------
The queue's questions are put one after the other: three levels (key 1 to 3), a score of 1 to 10 (digits, then #), solved or not (1, 2).
Each is put twice at most; a caller who does not answer one is thanked for what he answered, or let go. The answer to the first question
is the contact's rating, all of them are in its history. An answer at or below what the queue calls low is told the shift leader
at once (`LowRating`), not at the end of the month.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.contact import Contact, Input, phase
from firmware.call.events import LowRating
from firmware.call.model import Cause, LegDigit, LegEnded, Side
from firmware.call.rules import rule
from firmware.call.state import Phase
from firmware.config.schema.calls import Queue

PROMPTS = {"three": "rate.ask", "ten": "rate.ten", "solved": "rate.solved"}
KEYS = {"three": "123", "ten": "0123456789", "solved": "12"}
TEN = 10


def start_rating(c: Contact) -> None:
    """The agent has left; ask the caller."""
    c.s.b = ""
    c.s.tries = 0
    c.s.visit.grades = {}
    c.stop_recording()
    c.move(Phase.RATING)
    _ask(c)


def _question(c: Contact) -> str:
    """The question that is to be answered; "" after the last."""
    queue = c.desk.config.queues.get(c.s.queue) or Queue()
    return next((one for one in queue.rating_questions if one not in c.s.visit.grades), "")


def _ask(c: Contact) -> None:
    question = _question(c)
    c.s.visit.digits = ""
    if not c.audible(c.s.a):
        c.finish(Cause.NORMAL, Side.SYSTEM)
    elif not question or c.s.tries >= rule("rating.tries"):
        if c.s.visit.grades:
            c.say_last(c.s.a, "thanks", Say("rate.bye"))
        else:
            c.finish(Cause.NORMAL, Side.SYSTEM)
    else:
        c.s.tries += 1
        c.say(c.s.a, "rate", Say(PROMPTS[question]), keys=True)


def _key(c: Contact, digit: str) -> None:
    question, visit = _question(c), c.s.visit
    if question == "ten" and digit in KEYS["ten"] and len(visit.digits) < len(str(TEN)):
        visit.digits += digit
        c.timer("rate", rule("rating.wait"))
    elif question == "ten" and digit == "#":
        _score(c)
    elif question != "ten" and digit in KEYS[question]:
        _answered(c, question, int(digit))
    else:
        _ask(c)


def _score(c: Contact) -> None:
    score = int(c.s.visit.digits or "0")
    if 1 <= score <= TEN:
        _answered(c, "ten", score)
    else:
        _ask(c)


def _answered(c: Contact, question: str, grade: int) -> None:
    visit, queue = c.s.visit, c.desk.config.queues.get(c.s.queue) or Queue()
    if not visit.grades:
        c.s.rating = grade
    visit.grades[question] = grade
    c.s.tries = 0
    c.record("rating", c.s.a, rating=grade, agent=c.s.agent, question=question)
    low = {"three": grade >= queue.rating_low, "ten": grade <= queue.rating_low_ten, "solved": grade != 1}[question]
    if low:
        told = {"three": str(grade), "ten": f"{grade}/{TEN}", "solved": "not solved"}[question]
        c.record("rating-low", c.s.a, grade=told, agent=c.s.agent)
        c.desk.act("", do.Notify(LowRating(c.now, c.s.id, c.s.queue, c.s.agent, told)))
    _ask(c)


def _thanking(c: Contact) -> bool:
    play = c.s.plays.get(c.s.a)
    return not _question(c) or (play is not None and play.what == "thanks")


@phase(Phase.RATING)
def rating(c: Contact, event: Input, what: str) -> None:
    """RATING: ask, take keys, thank."""
    match event:
        case LegEnded() if event.leg == c.s.a:
            c.gone(event, Cause.NORMAL)
        case LegDigit() if event.leg == c.s.a and not _thanking(c):
            c.stop_timer("rate")
            c.quiet(c.s.a)
            _key(c, event.digit)
        case Played() if what == "thanks":
            c.finish(Cause.NORMAL, Side.SYSTEM)
        case Played() if what == "rate":
            c.timer("rate", rule("rating.wait"))
        case TimerFired(name="rate"):
            if c.s.visit.digits:
                _score(c)
            else:
                _ask(c)
