"""A caller asks what has become of his callback, and takes it back or corrects its number (L1, pure; F6, M6).

Theory of operation
-------------------
A node of kind `callback-state` finds the request of whoever calls by his number: the one that is to be called, or the one that asked. It
says which of these it is: none (then `otherwise`); being dialled now; waiting for an instant (his own time, the pause after an attempt,
the quiet hours, the opening of the queue); or waiting at a place, with the estimated wait where that can be said. Behind it comes the
time of the last attempt. Then 1 keeps it, 2 corrects the number, 3 takes it back; while it is being dialled neither can be. A new number
is confirmed, and is dialled by the rules of its queue only. Who keys nothing keeps it. The node is left to `to`.
No number is said but one that was just keyed: who calls under a false number learns nothing but a place in a queue.
`NodeState.step` is the question that is put, one of the constants here; `NodeState.answer` which way the node is left, once it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware.call import callback
from firmware.call.acd_state import Request, same_number
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.estimate import minutes, wait_ms
from firmware.call.mailbox import day_of
from firmware.call.model import LegDigit
from firmware.call.rules import rule
from firmware.call.voicemail_state import NodeState
from firmware.config.schema.calls import Queue
from firmware.config.schema.ivr import Node

if TYPE_CHECKING:
    from firmware.call.contact import Contact
    from firmware.call.desk import Input

KEYS, NUMBER, CONFIRM = 1, 2, 3
MOST_DIGITS = 20
MINUTE_MS = 60_000
ROUND_MIN = 5                   # to which a time is said, as where it was promised (`quiet.later`)


def request_of(c: Contact) -> Request | None:
    """The request of whoever calls; None where he has none, or withholds his number."""
    caller = "" if c.s.caller.reason else c.s.caller.number
    requests = c.desk.acd.callbacks.values()
    known = next((one for one in requests if same_number(one.number, caller)), None)
    return known or next((one for one in requests if same_number(one.caller, caller)), None)


def standing(c: Contact, request: Request, queue: Queue) -> tuple[str, tuple[Say, ...]]:
    """How a request stands in one word for the history ("calling", "later", "waiting"), and in words for its caller."""
    if request.contact:
        return "calling", (Say("cb.now"),)
    tried = (day_of(c, request.tried_ms, "cb.tried"),) if request.tried_ms else ()
    opens = callback.opens_ms(c, queue) if queue.hours in c.desk.config.hours else 0
    due = max(request.not_before_ms - c.desk.wall(c.now), opens)
    if due > 0:
        return "later", (Say("cb.noted"), _later(c, due), *tried)
    floor = c.desk.floor
    if floor.entry(request.id) is None:
        return "waiting", (Say("cb.noted"), *tried)
    ahead = floor.ahead(request.id)
    place = Say("q.pos", {"n": str(ahead)}) if ahead else Say("q.next")
    wait = wait_ms(floor.state.service.get(request.queue), ahead, floor.at_work(request.queue))
    estimate: tuple[Say, ...] = ()
    if 0 <= wait <= queue.estimate_most_min * MINUTE_MS:
        about = minutes(wait)
        estimate = (Say("q.eta", {"m": str(about)}) if about else Say("q.eta.short"),)
    return "waiting", (Say("cb.noted"), place, *estimate, *tried)


def _later(c: Contact, ms: int) -> Say:
    """After which time we call; with the day where it is not this one."""
    at = c.desk.local(c.now + ms)
    at = c.desk.local(c.now + ms + -at.minute % ROUND_MIN * MINUTE_MS)
    today = c.desk.local(c.now)
    time, date = f"{at.hour:02}:{at.minute:02}", f"{at.year:04}-{at.month:02}-{at.day:02}"
    if (at.year, at.month, at.day) == (today.year, today.month, today.day):
        return Say("cb.later", {"time": time})
    return Say("cb.later.date", {"date": date, "time": time})


def _state(c: Contact) -> NodeState:
    assert c.s.node is not None
    return c.s.node


# --- the node ---------------------------------------------------------------------------------------------------------


def begin(c: Contact, node: Node) -> None:
    """Say how it stands."""
    from firmware.call.ivr_nodes import says

    state, request = _state(c), request_of(c)
    queue = c.desk.config.queues.get(request.queue) if request is not None else None
    if request is None or queue is None:
        c.record("callback-state", c.s.a, node=state.name, state="none")
        _last(c, False, *says(c, node), Say("cb.none"))
        return
    c.s.visit.stage = "done"                 # he is called back: who hangs up from here on is not lost
    word, told = standing(c, request, queue)
    c.record("callback-state", c.s.a, node=state.name, state=word, request=request.id, tries=request.tries)
    if word == "calling":
        _last(c, True, *says(c, node), *told)
    else:
        _ask(c, KEYS, *says(c, node), *told, Say("cb.keys"))


def _last(c: Contact, to: bool, *says: Say) -> None:
    """The last words here; then the node is left, to `to` or `otherwise`."""
    _state(c).answer = to
    c.say(c.s.a, "node", *says, keys=True)


def _ask(c: Contact, step: int, *says: Say) -> None:
    """Put a question; often enough is enough, and the request stays as it is."""
    state = _state(c)
    state.step, state.typed = step, state.typed if step == CONFIRM else ""
    state.tries += 1
    if state.tries > rule("callback.tries"):
        _leave(c, to=True)
    else:
        c.say(c.s.a, "node", *says, keys=True)


def _leave(c: Contact, *, to: bool) -> None:
    from firmware.call.ivr_nodes import lead_on

    node = c.desk.config.ivr.get(_state(c).name)
    c.quiet(c.s.a)
    lead_on(c, "hangup" if node is None else node.to if to else node.otherwise)


def within(c: Contact, node: Node, event: Input, what: str) -> None:
    """The words came to their end, or a key."""
    state = _state(c)
    match event:
        case Played() if event.digit:
            pass                             # the key itself is on its way
        case Played() if state.answer is not None:
            _leave(c, to=state.answer)
        case Played():
            c.timer("key", rule("code.wait"))
        case TimerFired(name="key"):
            _leave(c, to=True)
        case LegDigit() if event.leg == c.s.a and state.answer is not None:
            c.s.typed += event.digit         # meant for the menu behind it
            _leave(c, to=state.answer)
        case LegDigit() if event.leg == c.s.a:
            c.quiet(c.s.a)
            c.stop_timer("key")
            _key(c, event.digit)


def _key(c: Contact, digit: str) -> None:
    state, request = _state(c), request_of(c)
    queue = c.desk.config.queues.get(request.queue) if request is not None else None
    if request is None or queue is None:
        _last(c, False, Say("cb.none"))      # it was carried out, or ran out, meanwhile
    elif request.contact:
        _last(c, True, Say("cb.now"))
    elif state.step == NUMBER:
        _digit(c, queue, digit)
    elif state.step == CONFIRM and digit == "1":
        _change(c, request)
    elif state.step == CONFIRM and digit != "2":
        _ask(c, CONFIRM, Say("q.cb.num", {"digits": state.typed}))
    elif digit == "2":
        _ask(c, NUMBER, Say("q.cb.key"))
    elif digit == "3":
        c.record("callback-withdrawn", c.s.a, request=request.id)
        c.desk.withdraw_callback(request.id, c.now)
        _last(c, True, Say("cb.cancelled"))
    elif digit == "1":
        _leave(c, to=True)
    else:
        _ask(c, KEYS, Say("cb.keys"))


def _digit(c: Contact, queue: Queue, digit: str) -> None:
    state = _state(c)
    if digit != "#":
        state.typed += digit if len(state.typed) < MOST_DIGITS and digit.isdigit() else ""
        c.timer("key", rule("code.wait"))
    elif callback.dialable(c.desk.routing, queue.callback, state.typed):
        _ask(c, CONFIRM, Say("q.cb.num", {"digits": state.typed}))
    else:
        c.record("callback-refused", c.s.a, number=state.typed)
        _ask(c, NUMBER, Say("num.refused"), Say("q.cb.key"))


def _change(c: Contact, request: Request) -> None:
    """Another number is called from now on; what was tried with the old one does not count."""
    number = _state(c).typed
    if any(one.id != request.id and same_number(one.number, number) for one in c.desk.acd.callbacks.values()):
        c.record("callback-refused", c.s.a, number=number)
        _ask(c, NUMBER, Say("num.refused"), Say("q.cb.key"))
        return
    c.record("callback-number", c.s.a, request=request.id, number=number)
    if request.tries:
        request.tries, request.not_before_ms, request.tried_ms = 0, 0, 0
    request.number = number
    c.desk.keep_acd()
    _last(c, True, Say("cb.changed"))
