"""Calling back who gave up waiting but not the place (L1, pure; features M6, CBK-01 to CBK-05).

Theory of operation
-------------------
A menu or the opening hours may lead to a callback, too (`ivr_service`): then there is no place yet, the wait begins when the queue
opens. While he waits, a caller may press a key: the number is read to him, he confirms it or keys another one, and a `Request` takes his
place in the queue, exactly: the entry of the floor is the same, only its name is the request's. He goes on waiting until that is
confirmed; an agent who is found meanwhile simply answers.

When the strategy offers the request to an agent, a contact of its own carries it out (Phase RETURNING). Agent first: the agent's
telephone rings, he hears the number and of which call it is, it is dialled for him. Caller first: the number is dialled, who answers
hears of which call it is and presses a key to take the old place, another one to be called later, or to say that he did not call: then
nobody is disturbed again. Whoever presses nothing (an answering machine) was not reached. There is one attempt at
a time; a failed one is repeated after a pause, with the old place; after the last one, or when it expires, the caller is lost and goes
to the missed-call list. He may name the time himself (`callback_time`). In quiet hours a request leaves the queue and comes back with
its place.
The time before which a call was promised is kept with the request. It is kept when the number is dialled by then for the first time;
else `PromiseBroken` tells the shift leader at that instant, until it is dialled or the request is over.
Invariants: a number has one request; a request is in the floor, or has a contact, or waits for an instant; none is forgotten by a
restart, since requests are kept with `AcdState` and the floor's entries are made anew from them (`switch_callbacks`).
"""

from __future__ import annotations

from firmware.call import callback_time
from firmware.call.acd_state import Request, same_number
from firmware.call.actions import Played, Say, SendDigits, TimerFired
from firmware.call.contact import Contact, Input, phase
from firmware.call.dialling import attempt_for, next_try, try_failed
from firmware.call.estimate import wait_ms
from firmware.call.floor import CALLBACK
from firmware.call.mailbox import day_of
from firmware.call.model import Alert, Cause, LegAnswered, LegDigit, LegEnded, LegForwarded, LegProgress, LegRinging, Party, Side
from firmware.call.quiet import later, quiet_ms
from firmware.call.routing import Routing, Target, ToExtension, ToOutside
from firmware.call.rules import rule
from firmware.call.state import Attempt, ContactState, Phase
from firmware.config.schema.acd import Callback
from firmware.config.schema.calls import Queue

#: Ends of an attempt that say nothing about the person called: the pause is short, and it does not count.
OURS = frozenset({Cause.CONGESTION, Cause.NO_DIAL_TONE, Cause.LINE_FAULT, Cause.SYSTEM, Cause.MEDIA_LOST, Cause.PREEMPTED})

#: A promised time is so much behind the estimated wait, and a multiple of ROUND_MS, as `later` says it.
MARGIN_MS = 300_000
ROUND_MS = 300_000
#: How finely, and how far, is looked ahead for the time when a queue opens.
OPENS_STEP_MS = 900_000
OPENS_MOST_MS = 8 * 86_400_000


def way_to(routing: Routing, settings: Callback, number: str) -> Target:
    """Where a number that is to be called back leads; only `ToExtension` and `ToOutside` are dialled."""
    if number in routing.config.extensions:
        return ToExtension(number)
    return routing.for_class(settings.access + number, settings.permission)


def dialable(routing: Routing, settings: Callback, number: str) -> bool:
    """Whether a number may be called back."""
    return number.isascii() and number.isdigit() and isinstance(way_to(routing, settings, number), ToExtension | ToOutside)


# --- the wish of a caller who waits -----------------------------------------------------------------------------------


def may_ask(c: Contact, queue: Queue) -> bool:
    """Whether a callback is offered to this caller now."""
    settings = queue.callback
    return settings.enabled and not c.s.visit.request and len(c.desk.acd.callbacks) < settings.most


def is_due(c: Contact, queue: Queue) -> bool:
    """Whether it is to be said with the next announcement."""
    return may_ask(c, queue) and c.now - c.s.queued >= queue.callback.offer_after_s * 1000


def wish(c: Contact, queue: Queue, digit: str) -> None:
    """A key of a caller who waits."""
    visit, settings = c.s.visit, queue.callback
    if visit.stage == "":
        if digit == settings.key and may_ask(c, queue) and not c.s.offers:
            ask(c, queue)
        return
    if visit.stage == "done":
        return
    c.quiet(c.s.a)
    c.stop_timer("callback")
    if visit.stage == "confirm" and digit == "1":
        visit.tries, visit.at_ms = 0, 0
        if not settings.own_time or not callback_time.ask(c):
            _register(c, queue, visit.digits)
    elif visit.stage in callback_time.STAGES:
        if callback_time.keyed(c, digit):
            _register(c, queue, visit.digits)
    elif visit.stage == "confirm" and digit == "2":
        _number(c)
    elif visit.stage == "confirm":
        _confirm(c, visit.digits)
    elif digit != "#":
        visit.digits += digit if len(visit.digits) < 20 and digit.isdigit() else ""
        c.timer("callback", rule("code.wait"))
    elif dialable(c.desk.routing, settings, visit.digits):
        _confirm(c, visit.digits)
    else:
        c.record("callback-refused", c.s.a, number=visit.digits)
        _number(c, "num.refused")


def ask(c: Contact, queue: Queue) -> None:
    """Settle the number: the caller's own, if it may be dialled, or one that he keys."""
    c.record("callback-asked", c.s.a)
    c.s.visit.tries = 0
    if dialable(c.desk.routing, queue.callback, c.s.caller.number):
        _confirm(c, c.s.caller.number)
    else:
        _number(c)


def _confirm(c: Contact, number: str) -> None:
    visit = c.s.visit
    visit.stage, visit.digits = "confirm", number
    visit.tries += 1
    if visit.tries > rule("callback.tries"):
        wished(c)
        return
    c.say(c.s.a, "callback", Say("q.cb.num", {"digits": number}), keys=True)


def _number(c: Contact, first: str = "") -> None:
    visit = c.s.visit
    visit.stage, visit.digits = "number", ""
    visit.tries += 1
    if visit.tries > rule("callback.tries"):
        wished(c)
        return
    c.say(c.s.a, "callback", *([Say(first)] if first else []), Say("q.cb.key"), keys=True)


def heard(c: Contact) -> None:
    """A question about the callback was said, or stopped by a key."""
    c.timer("callback", rule("code.wait"))


def wished(c: Contact) -> None:
    """The caller did not go on with it: he waits as before."""
    c.s.visit.stage = ""
    c.s.visit.digits = ""
    if c.s.phase is Phase.NODE:
        from firmware.call.ivr_service import declined

        declined(c)
        return
    c.music(c.s.a)


def _register(c: Contact, queue: Queue, number: str) -> None:
    """The request takes the caller's place; the caller hears when to expect us, and is let go."""
    acd, visit, floor = c.desk.acd, c.s.visit, c.desk.floor
    wall = c.desk.wall(c.now)
    c.cancel_offers(Cause.CANCELLED)
    entry = floor.entry(c.s.id)
    waited = c.s.phase is Phase.QUEUED
    name, since = (c.s.queue, c.s.queued) if waited else (_queue_named(c), c.now)
    ahead = floor.ahead(c.s.id) if waited else len(floor.waiting(name))
    known = next((one for one in acd.callbacks.values() if same_number(one.number, number)), None)
    if known is None:
        acd.serial += 1
        known = Request(
            f"{CALLBACK}{acd.serial}", name, number, c.s.caller.number, c.s.language, wall - (c.now - since), wall,
            wall + queue.callback.expire_s * 1000, first=c.s.id, ahead=visit.ahead,
            needs=dict(entry.needs) if entry is not None else {**queue.needs, **visit.needs},
        )  # fmt: skip
        acd.callbacks[known.id] = known
        floor.replace(c.s.id, known.id)
    floor.leave(c.s.id, c.now)                # where the number has a request already, that one's place counts
    c.desk.keep_acd()
    if waited:
        c.s.wait_ms = c.now - c.s.first_queued
        c.queue_log("EXITWITHKEY", "", queue.callback.key, ahead + 1, ahead + 1, c.s.wait_ms)
    c.record("callback", c.s.a, request=known.id, number=number, ahead=ahead)
    wait = max(0, wait_ms(floor.state.service.get(name), ahead, floor.at_work(name)))
    known.promise_ms, said = promise(c, wait)
    if visit.at_ms:
        known.not_before_ms, known.promise_ms = visit.at_ms, visit.at_ms + MARGIN_MS
        known.expires_ms = visit.at_ms + queue.callback.expire_s * 1000
        said = Say("q.cb.at.ok", {"time": callback_time.shown(c, visit.at_ms)})
        c.record("callback-time", c.s.a, request=known.id, at_ms=visit.at_ms)
    elif not waited and (opens := opens_ms(c, queue)) > 0:
        known.not_before_ms, known.promise_ms = wall + opens, 0
        known.expires_ms = wall + opens + queue.callback.expire_s * 1000
        said = Say("q.cb.quiet", {"time": later(c.desk.local(c.now), opens)})
    known.called_ms, known.late = 0, False
    c.record("callback-promised", c.s.a, request=known.id, before_ms=known.promise_ms, said=said.variables["time"])
    visit.stage = "done"
    c.move(Phase.ANNOUNCE)
    c.s.end_cause = Cause.NORMAL
    c.say(c.s.a, "announce", said)


def _queue_named(c: Contact) -> str:
    """The queue of the node that the caller is in."""
    node = c.desk.config.ivr.get(c.s.node.name) if c.s.node is not None else None
    return node.queue if node is not None else c.s.queue


def opens_ms(c: Contact, queue: Queue) -> int:
    """Ms until somebody may work in a queue by its opening hours: 0 for now, -1 where nothing says when."""
    calendar, key = c.desk.calendar, c.desk.night
    if queue.hours not in c.desk.config.hours:
        return 0 if c.desk.floor.at_work(_queue_named(c)) else -1
    if not key.until_ms and key.now(0) == "night":
        return -1                                # by hand, until somebody says otherwise
    for ahead in range(0, OPENS_MOST_MS, OPENS_STEP_MS):
        local = c.desk.local(c.now + ahead)
        if calendar.at(queue.hours, local, key).state == "open" and not quiet_ms(local, c.desk.config.acd.quiet):
            return ahead
    return -1


def promise(c: Contact, wait: int) -> tuple[int, Say]:
    """By when (Unix ms, 0: no such time) a caller is told to be called whose wait is estimated so, and the words.

    Where the quiet hours hold now or would then, only that they come first is said.
    """
    periods, ahead = c.desk.config.acd.quiet, wait + MARGIN_MS
    for after in (0, ahead):
        local = c.desk.local(c.now + after)
        quiet = quiet_ms(local, periods)
        if quiet:
            return 0, Say("q.cb.quiet", {"time": later(local, quiet)})
    wall = c.desk.wall(c.now)
    return -(-(wall + ahead) // ROUND_MS) * ROUND_MS, Say("q.cb.ok", {"time": later(c.desk.local(c.now), ahead)})


# --- carrying it out --------------------------------------------------------------------------------------------------


def request_of(c: Contact) -> Request | None:
    """The request that this contact carries out."""
    return c.desk.acd.callbacks.get(c.s.visit.request)


def ring_agent(c: Contact, agent: str, queue: Queue) -> None:
    """Agent first: his telephone shows and rings for the caller's number."""
    extension = c.desk.floor.agent(agent).extension
    c.s.visit.stage = "agent"
    c.s.extension = extension
    caller = Party(c.s.caller.number, c.s.caller.name or c.s.queue)
    leg = c.originate(extension, "agent", number=extension, caller=caller, alert=Alert.QUEUE, ring_ms=queue.ring_s * 1000, agent=agent)
    c.s.offers[leg] = agent
    c.desk.floor.offered(agent, c.s.id, c.s.queue, c.now)
    c.record("offered", leg, agent=agent, extension=extension, queue=c.s.queue)


def dial_caller(c: Contact) -> None:
    """Dial the number; the leg is the caller's."""
    request, queue = request_of(c), c.desk.config.queues.get(c.s.queue)
    if request is None or queue is None:
        c.finish(Cause.CANCELLED, Side.SYSTEM)
        return
    c.s.visit.stage = "dialled"
    request.tried_ms = c.desk.wall(c.now)
    request.called_ms = request.called_ms or request.tried_ms
    c.desk.keep_acd()
    attempt = attempt_for(c, way_to(c.desk.routing, queue.callback, request.number), "back")
    c.s.attempt = attempt
    if attempt is None or not _next(c):
        _not_reached(c, attempt.last_cause if attempt is not None else Cause.REFUSED)


def _next(c: Contact) -> bool:
    if not next_try(c):
        return False
    _is_caller(c, c.s.attempt)
    return True


def _is_caller(c: Contact, attempt: Attempt | None) -> None:
    if attempt is not None and attempt.leg in c.s.legs:
        c.s.a = attempt.leg
        c.s.legs[attempt.leg].role = "caller"


def _not_reached(c: Contact, cause: Cause) -> None:
    request = request_of(c)
    if request is not None:
        request.last = cause.value
    c.record("callback-failed", c.s.a, cause=cause.value)
    c.s.attempt, c.s.end_cause = None, cause
    if c.audible(c.s.b):
        c.unbridge()
        c.say(c.s.b, "failed", Say("cb.failed"))
    else:
        c.finish(cause, Side.SYSTEM)


@phase(Phase.RETURNING)
def returning(c: Contact, event: Input, what: str) -> None:
    """RETURNING: the agent or the caller is rung, then the other one."""
    attempt = c.s.attempt
    leg = attempt.leg if attempt is not None else ""
    match event:
        case LegEnded() if event.leg in c.s.offers:
            _agent_failed(c, event)
        case LegRinging() if event.leg in c.s.offers:
            c.record("ringing", event.leg, agent=c.s.offers[event.leg])
        case LegAnswered() if event.leg in c.s.offers:
            _agent_there(c, event)
        case LegEnded() if event.leg == c.s.b:
            c.gone(event, c.s.end_cause or Cause.CANCELLED)
        case LegEnded() if leg and event.leg == leg:
            if try_failed(c, event):
                _is_caller(c, c.s.attempt)
            else:
                _not_reached(c, event.cause)
        case LegEnded() if event.leg == c.s.a:
            c.gone(event, Cause.NO_ANSWER)       # answered, and gone before a key was pressed
        case LegRinging() if event.leg == leg:
            if c.s.b and not c.s.bridged:
                c.tone(c.s.b, "ringback")
        case LegProgress() if event.leg == leg:
            if c.s.b and c.audible(leg):
                c.bridge(leg, c.s.b)
        case LegAnswered() if event.leg == leg:
            c.s.attempt, c.s.answered = None, event.at
            _caller_there(c)
        case LegForwarded():
            return                               # a callback is for the number that was confirmed
        case LegDigit() if event.leg == c.s.a and c.s.visit.stage == "accept":
            _accepted(c, event.digit)
        case LegDigit() if event.leg == c.s.b and c.s.bridged:
            c.do(SendDigits(c.s.a, event.digit))
        case Played() if what == "number":
            dial_caller(c)
        case Played() if what == "failed":
            c.finish(c.s.end_cause or Cause.NO_ANSWER, Side.SYSTEM)
        case Played() if what == "accept":
            c.timer("accept", rule("code.wait"))
        case TimerFired(name="accept"):
            _ask(c)


def _agent_failed(c: Contact, event: LegEnded) -> None:
    from firmware.call.waiting import MISSED

    agent = c.s.offers.pop(event.leg)
    missed = event.cause in MISSED
    quick = event.cause in (Cause.NO_ANSWER, Cause.REJECTED, Cause.TIMEOUT)
    c.queue_log("RINGNOANSWER", agent, event.at - c.s.legs[event.leg].started)
    c.record("offer-failed", event.leg, agent=agent, cause=event.cause.value)
    c.desk.floor.offer_over(agent, c.now, missed=missed, hold_off=rule("offer.retry") if quick else rule("offer.unreachable"))
    c.finish(Cause.CANCELLED, Side.SYSTEM)


def _agent_there(c: Contact, event: LegAnswered) -> None:
    agent = c.s.offers.pop(event.leg)
    c.desk.floor.answered(agent, c.now)
    c.s.b, c.s.agent = event.leg, agent
    c.s.agents.append(agent)
    c.say(event.leg, "number", Say("cb.agent", {"digits": c.s.caller.number}), *_earlier(c))


def _earlier(c: Contact) -> list[Say]:
    """Which call this is about: the one in which the callback was asked for."""
    request = request_of(c)
    return [day_of(c, request.made_ms, "call.at")] if request is not None else []


def _caller_there(c: Contact) -> None:
    from firmware.call.features import talk

    if c.s.b:
        c.queue_log("CONNECT", c.s.agent, 0, 0)
        talk(c)
        return
    c.s.visit.stage, c.s.visit.tries = "accept", 0
    _ask(c)


def _ask(c: Contact) -> None:
    c.s.visit.tries += 1
    if c.s.visit.tries > rule("callback.asked"):
        c.record("callback-failed", c.s.a, cause="no key")
        c.finish(Cause.NO_ANSWER, Side.SYSTEM)
        return
    c.say(c.s.a, "accept", Say("cb.hello"), *_earlier(c), Say("cb.accept"), keys=True)


def _accepted(c: Contact, digit: str) -> None:
    from firmware.call.waiting import join

    queue = c.desk.config.queues.get(c.s.queue)
    c.stop_timer("accept")
    c.quiet(c.s.a)
    if digit == "1" and queue is not None:
        c.s.visit.stage = "taken"
        c.record("callback-accepted", c.s.a)
        c.s.first_queued = c.now
        c.move(Phase.QUEUED)
        join(c, queue)
        c.timer("join", 0)
    elif digit == "2":
        c.record("callback-later", c.s.a)
        c.finish(Cause.NO_ANSWER, Side.CALLER)
    elif digit == "3":
        c.record("callback-stranger", c.s.a)
        c.s.visit.stage, c.s.end_cause = "stranger", Cause.REJECTED
        c.say(c.s.a, "failed", Say("cb.sorry"))
    else:
        _ask(c)




# --- what came of it --------------------------------------------------------------------------------------------------


def outcome(state: ContactState, request: Request, settings: Callback, wall_ms: int) -> str:
    """Book the end of an attempt: "reached", "again", "lost" (the last attempt failed) or "stranger" (whoever answered did not call us)."""
    stage = state.acd.stage if state.acd is not None else ""
    request.contact = ""
    if state.connected >= 0:
        return "reached"
    cause = state.cause or Cause.SYSTEM
    request.last = "somebody else answered" if stage == "stranger" else cause.value
    if stage == "stranger":
        return "stranger"
    if stage == "agent" or cause in OURS:
        request.not_before_ms = wall_ms + (0 if stage == "agent" else rule("callback.ours"))
        return "again"
    request.tries += 1
    request.not_before_ms = wall_ms + settings.retry_s * 1000
    return "again" if request.tries < settings.tries and request.not_before_ms < request.expires_ms else "lost"
