"""Reaching a telephone: extensions, a hunt over the lines of a group, emergency calls (L1, pure; A1, B15, E4).

Theory of operation
-------------------
An `Attempt` is one telephone being reached, for the caller ("dial"), for a transfer ("transfer") or to call a
transferring phone back ("recall"). A line that fails before it could dial (glare, no dial tone, fault) gives way to the
next one of the group; so does a trunk whose carrier fails before anybody was reached.
Early audio of a line or trunk is joined at once, so the caller hears the exchange, its busy tone or announcement. A phone
that has no audio yet (SIP before our answer) is given early audio for it where the answer will surely be known: of a trunk,
and of a line whose exchange reverses polarity for it. On any other line it is answered, because a line has no sure sign of
an answer and people who cannot hear each other until one was found hang up; the time of the answer in the record stays that
of the line's evidence.

An emergency attempt takes any free line of any group, else ends the least important local call and takes its line, and
goes over the lines again and again until it is answered or the caller hangs up.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.actions import LineFreed, TimerFired
from firmware.call.contact import Contact, Input, phase
from firmware.call.cost import tariff_of_way
from firmware.call.events import Passed
from firmware.call.forwards import after, wish_for
from firmware.call.model import (
    TRUNK,
    Alert,
    Cause,
    Evidence,
    LegAnswered,
    LegDigit,
    LegEnded,
    LegForwarded,
    LegKind,
    LegProgress,
    LegRinging,
    Party,
    Side,
    is_outside,
    is_trunk,
)
from firmware.call.registry import destination
from firmware.call.routing import Target, ToDestination, ToEmergency, ToExtension, ToNowhere, ToOutside
from firmware.call.rules import rule
from firmware.call.state import Attempt, ContactState, Kind, Leg, Phase
from firmware.call.takeback import taken_back
from firmware.config.passage import permitted, shows_foreign

#: Ends of a line leg that say nothing about the number: another line is tried.
LINE_FAILED = frozenset({Cause.NO_DIAL_TONE, Cause.LINE_FAULT, Cause.UNREACHABLE, Cause.SYSTEM, Cause.CONGESTION, Cause.BUSY})
#: The same of a trunk: the carrier or the way to it failed, not the number (`core/trunks_causes.py`).
TRUNK_FAILED = frozenset({Cause.LINE_FAULT, Cause.SYSTEM, Cause.CONGESTION})
FAILED_PROMPT = {Cause.BUSY: "ext.busy", Cause.REJECTED: "ext.busy", Cause.NO_ANSWER: "ext.none"}


def attempt_for(c: Contact, target: Target, purpose: str) -> Attempt | None:
    """The attempt that reaches `target`; None where the target is not a telephone."""
    if isinstance(target, ToEmergency):
        return Attempt(purpose, [], target.number, Alert.EMERGENCY, rule("dial.outside"), emergency=True)
    if isinstance(target, ToOutside):
        lines = c.desk.free_lines(target.group) if target.group else []
        trunks = [TRUNK + name for name in target.trunks]
        ways = [*trunks, *lines] if target.trunks_first else [*lines, *trunks]
        return Attempt(
            purpose, ways, target.number, Alert.NORMAL, rule("dial.outside"), group=target.group, international=target.international,
            most_minutes=target.most_minutes, tariff=target.tariff, last_cause=Cause.CONGESTION,
        )  # fmt: skip
    if isinstance(target, ToExtension):
        known = c.desk.config.extensions.get(target.extension)
        ring_ms = (known.ring_s if known is not None else 30) * 1000
        alert = Alert.INTERCOM if target.intercom else Alert.NORMAL
        return Attempt(purpose, [target.extension], target.extension, alert, ring_ms)
    return None


def dial_extension(c: Contact, extension: str, alert: Alert = Alert.NORMAL) -> None:
    """Ring an extension for the caller."""
    attempt = attempt_for(c, ToExtension(extension), "dial")
    assert attempt is not None
    attempt.alert = alert
    dial(c, attempt)


@destination("extension", speaks=False)
def _to_extension(c: Contact, extension: str) -> None:
    dial_extension(c, extension)


def dial_number(c: Contact) -> None:
    """Dial `called` for a phone: extension, outside, emergency, or the refusal of it."""
    target = c.desk.routing.resolve(c.s.extension, c.s.called)
    c.s.recorded = isinstance(target, ToExtension) and target.record
    attempt = attempt_for(c, target, "dial")
    if isinstance(target, ToDestination):
        lead(c, target.to)
        return
    if attempt is None:
        cause = target.cause if isinstance(target, ToNowhere) else Cause.UNREACHABLE
        c.record("refused", number=c.s.called, reason=target.reason if isinstance(target, ToNowhere) else "a code")
        c.finish(cause, Side.SYSTEM)
        return
    dial(c, attempt)


def lead(c: Contact, to: str) -> None:
    """Take a caller for whom a telephone was to be reached to a destination instead."""
    from firmware.call.ivr import go

    if c.s.phase is not Phase.ANSWERING and c.s.legs[c.s.a].answered < 0:
        c.move(Phase.ANSWERING)
    go(c, to)


def dial(c: Contact, attempt: Attempt) -> None:
    """Reach a telephone for the caller."""
    c.move(Phase.DIALLING)
    if c.audible(c.s.a):
        c.quiet(c.s.a)
    c.s.attempt = attempt
    next_try(c)


def next_try(c: Contact) -> bool:
    """Try the next telephone of the attempt; False (and the attempt is dropped) when there is none left."""
    attempt = c.s.attempt
    if attempt is None:
        return False
    attempt.leg = ""
    if attempt.emergency:
        if not c.s.emergency_number:
            c.s.emergency_number = attempt.number
            c.desk.emergency_begins(c.s, attempt.number, c.now)
        return _next_emergency(c, attempt)
    while attempt.endpoints:
        endpoint = attempt.endpoints.pop(0)
        if is_outside(endpoint) and not c.desk.floor.usable(endpoint):
            continue
        if is_outside(endpoint) and not attempt.counted:
            reason = c.desk.toll_refused(c.s, attempt, c.now)
            if reason:
                c.record("toll", endpoint=endpoint, number=attempt.number, reason=reason)
                attempt.last_cause, attempt.endpoints = Cause.REFUSED, []
                break
            attempt.counted = True
        wish = wish_for(c.desk.wishes, attempt, endpoint)
        if wish.always and send_on(c, attempt, endpoint, wish.always):
            return True
        if wish.dnd:
            c.record("dnd", endpoint=endpoint)
            if wish.busy and send_on(c, attempt, endpoint, wish.busy):
                return True
            attempt.last_cause = Cause.BUSY
            continue
        _call(c, attempt, endpoint)
        return True
    cause = attempt.last_cause
    c.s.attempt = None
    if attempt.purpose == "dial":
        tried = [leg for leg in c.s.legs.values() if leg.role == "called" and not leg.live]
        _failed(c, cause, tried[-1].evidence if tried else None)
    return False


def _next_emergency(c: Contact, attempt: Attempt) -> bool:
    """`attempt.endpoints` are the lines tried in this round."""
    for line in [*c.desk.free_lines(None), *c.desk.routing.trunks(emergency=True)]:
        if line not in attempt.endpoints:
            attempt.endpoints.append(line)
            attempt.awaited = ""
            c.stop_timer("line")
            _call(c, attempt, line)
            caller = c.s.extension or c.s.caller.number
            c.desk.emergency_used(line, caller, attempt.number, c.now)
            return True
    attempt.round += 1
    attempt.endpoints = []
    if attempt.round > rule("emergency.rounds"):
        c.s.attempt = None
        if attempt.purpose == "dial":
            _failed(c, Cause.CONGESTION)
        return False
    if not attempt.awaited:
        attempt.awaited = c.desk.make_room(c.s.id, c.now)
        c.record("preempt", line=attempt.awaited)
    c.timer("line", rule("emergency.retry"))
    return True


def _call(c: Contact, attempt: Attempt, endpoint: str) -> None:
    role = "agent" if attempt.agent else "called"
    line = is_outside(endpoint)
    if line and (c.s.kind in (Kind.OUTBOUND, Kind.EMERGENCY) or not c.s.line):
        c.s.line = endpoint
    caller = Party(c.s.caller.number, c.s.caller.name, c.s.caller.reason)
    if attempt.purpose != "dial" and c.s.transfer is not None and not line:
        by = c.s.transfer.by_endpoint
        known = c.desk.config.extensions.get(by)
        caller = Party(by, known.name if known is not None else "", by=by)
    c.record("dial", endpoint=endpoint, number=attempt.number, purpose=attempt.purpose)
    back = taken_back(c, attempt, endpoint)
    if back:
        c.record("release", back, to=attempt.number)
    attempt.leg = c.originate(
        endpoint, role, number=attempt.number, caller=caller, alert=attempt.alert, ring_ms=attempt.ring_ms, back=back
    )
    a = c.s.legs.get(c.s.a)
    if attempt.purpose == "dial" and a is not None and a.incoming and endpoint in c.desk.config.extensions and not attempt.forwarded:
        a.shown = Party(endpoint)            # it knows whom it dialled
    if line:
        if not attempt.emergency:
            _passing(c, attempt, endpoint)
        goes_out(c, c.s.legs[attempt.leg], attempt)


def goes_out(c: Contact, leg: Leg, attempt: Attempt) -> None:
    """Note on a leg to outside who began it, and what its route says about it."""
    leg.payer, leg.international, leg.most_minutes = payer(c.s, attempt), attempt.international, attempt.most_minutes
    leg.tariff, leg.account = attempt.tariff or tariff_of_way(c.desk.config, leg.endpoint), attempt.account


def _passing(c: Contact, attempt: Attempt, way: str) -> None:
    """Tell the audit trail of a call that leaves by our lines for the other side of a trunk, or under a number that is not ours."""
    config, by = c.desk.config, payer(c.s, attempt)
    trunk = c.s.line.removeprefix(TRUNK) if is_trunk(c.s.line) else ""
    if is_trunk(by):
        c.do(do.Notify(Passed(c.now, c.s.id, "break_out", by.removeprefix(TRUNK), way, done=True)))
    if is_trunk(way) and shows_foreign(config, way.removeprefix(TRUNK), c.s.caller.number):
        c.do(do.Notify(Passed(c.now, c.s.id, "foreign_numbers", trunk, way, done=permitted(config, "foreign_numbers"))))


def payer(state: ContactState, attempt: Attempt) -> str:
    """Who begins a call to outside: an extension (also one that forwards), or the trunk of a caller who dials through us."""
    if attempt.forwarded:
        return attempt.forwarded[-1]
    if attempt.purpose != "dial" and state.transfer is not None:
        return state.transfer.by_endpoint
    return state.extension or state.line


def try_failed(c: Contact, event: LegEnded) -> bool:
    """The attempt's leg ended: True when another telephone is tried, False when the attempt is over (and dropped)."""
    attempt = c.s.attempt
    assert attempt is not None
    leg = c.s.legs[event.leg]
    attempt.last_cause = event.cause if event.cause is not Cause.NORMAL else Cause.UNREACHABLE
    dialled = leg.port >= 0 and leg.endpoint.startswith("line/")
    if attempt.emergency:
        # A line that could dial and then ended is tried again too: nothing but the caller ends an emergency call.
        c.stop_timer("line")
        return next_try(c)
    if attempt.forward and _sent_on(c, attempt, leg):
        return True
    onward = after(wish_for(c.desk.wishes, attempt, leg.endpoint), event.cause)
    if onward and send_on(c, attempt, leg.endpoint, onward, leg.id):
        return True
    trunk = is_trunk(leg.endpoint)
    # A far end that rang, or spoke before it answered, was reached: another way would ring it again.
    dialled = dialled or (trunk and (leg.ringing >= 0 or leg.port >= 0))
    if dialled or event.cause not in (TRUNK_FAILED if trunk else LINE_FAILED):
        attempt.endpoints = []
    return next_try(c)


def _sent_on(c: Contact, attempt: Attempt, leg: Leg) -> bool:
    """The telephone forwards the call: the number is reached with its rights; False when that leads nowhere."""
    number, attempt.forward = attempt.forward, ""
    attempt.last_cause = getattr(c.desk.routing.resolve(leg.endpoint, number), "cause", Cause.REJECTED)
    attempt.endpoints = []
    return send_on(c, attempt, leg.endpoint, number, leg.id, again=True)


def send_on(c: Contact, attempt: Attempt, by: str, number: str, leg: str = "", *, again: bool = False) -> bool:
    """Extension `by` sends the call on: `number` is reached with its rights; False when that leads nowhere, or in circles.

    `again`: even to an extension that has sent it on itself, for it may not do so twice.
    """
    target = c.desk.routing.resolve(by, number)
    back = isinstance(target, ToExtension) and target.extension in attempt.forwarded and not again
    circle = len(attempt.forwarded) >= rule("forward.most") or back
    nowhere = isinstance(target, ToEmergency) or by not in c.desk.config.extensions or circle
    onward = None if nowhere else attempt_for(c, target, attempt.purpose)
    place = isinstance(target, ToDestination) and attempt.purpose == "dial" and not nowhere
    c.record("forwarded" if onward is not None or place else "forward-failed", leg, by=by, to=number)
    if isinstance(target, ToDestination) and place:
        c.s.attempt = None
        lead(c, target.to)
        return True
    if onward is None:
        return False
    onward.forwarded = [*attempt.forwarded, by]
    onward.alert = attempt.alert if onward.alert is Alert.NORMAL else onward.alert
    c.s.attempt = onward
    return next_try(c)


def forward(c: Contact, event: LegForwarded) -> None:
    """A telephone that is rung names another number; its end follows."""
    attempt = c.s.attempt
    if attempt is not None and attempt.leg == event.leg and not attempt.emergency and attempt.purpose in ("dial", "transfer"):
        attempt.forward = event.number


def _failed(c: Contact, cause: Cause, evidence: Evidence | None = None) -> None:
    """The caller's telephone could not be reached; `evidence`: how the last one tried ended."""
    from firmware.call.ivr import announce, start_inbound
    from firmware.call.mailbox import take_unanswered

    a = c.s.legs[c.s.a]
    c.record("dial-failed", cause=cause.value)
    rung = [leg.endpoint for leg in c.s.legs.values() if leg.role == "called"]
    if rung and take_unanswered(c, rung[-1], cause):
        return
    if c.s.kind is Kind.CALLBACK:
        # The phone that made the emergency call does not answer: the caller must reach somebody.
        route = c.desk.routing.inbound(c.s.line, c.s.caller.number)
        c.s.kind = Kind.INBOUND
        if route is not None and route.to != f"extension/{c.s.called}":
            c.move(Phase.ANSWERING)
            start_inbound(c, route)
            return
    if not a.phone and a.audible:
        c.s.end_cause = cause
        announce(c, FAILED_PROMPT.get(cause, "sys.sorry"))
        return
    c.finish(cause, Side.SYSTEM, evidence)


@phase(Phase.DIALLING)
def dialling(c: Contact, event: Input, what: str) -> None:
    """DIALLING: a phone rings or a line dials for the caller."""
    attempt = c.s.attempt
    leg = attempt.leg if attempt is not None else ""
    match event:
        case LegEnded() if event.leg == c.s.a:
            outside = not c.s.legs[c.s.a].phone
            taken = event.cause is Cause.TRANSFERRED         # by its carrier, which has reached the number itself
            c.gone(event, Cause.TRANSFERRED if taken else Cause.ABANDONED if outside else Cause.CANCELLED)
        case LegEnded() if event.leg == c.s.b:
            # Answered and gone before the caller's own answer was through.
            c.s.b = ""
            c.gone(event, Cause.NORMAL)
        case LegEnded() if leg and event.leg == leg:
            if not try_failed(c, event) and attempt is not None and attempt.purpose == "pickup":
                _not_picked_up(c)
        case LegForwarded():
            forward(c, event)
        case LegRinging() if event.leg == leg:
            a = c.s.legs[c.s.a]
            if a.answered < 0 and (a.kind in (LegKind.FXS, LegKind.FXO) or not a.audible):
                c.do(do.RingBack(c.s.a))
            elif not c.s.bridged:
                c.tone(c.s.a, "ringback")
        case LegProgress() if event.leg in (leg, c.s.a):
            if leg and c.audible(leg):
                _early(c, leg)
        case LegAnswered() if event.leg == leg:
            c.s.attempt = None
            c.s.b = event.leg
            if attempt is not None and attempt.purpose == "pickup":
                at_work(c, c.s.legs[leg])
            both_there(c)
        case LegAnswered() if event.leg == c.s.a:
            c.s.answered = event.at
            if c.s.b:
                both_there(c)
            elif leg and c.audible(leg):
                _early(c, leg)
        case LegDigit() if event.leg == c.s.a and c.s.bridged:
            c.do(do.SendDigits(c.other_bridged(event.leg), event.digit))
        case TimerFired(name="answer"):
            c.finish(Cause.LINE_FAULT, Side.SYSTEM)
        case TimerFired(name="line") | LineFreed():
            if attempt is not None and not attempt.leg:
                next_try(c)


def _not_picked_up(c: Contact) -> None:
    """Whoever took a caller out of the queue was gone before we answered: the caller has the old place again."""
    from firmware.call.waiting import back_to_queue

    back_to_queue(c)


def at_work(c: Contact, leg: Leg) -> None:
    """A caller of a queue was picked up: an agent who is ready on that telephone works on the call."""
    c.desk.floor.take(leg.endpoint, c.s.id, c.s.queue, c.now)
    agent = c.desk.floor.on_phone(leg.endpoint)
    if agent is not None and agent.contact == c.s.id:
        leg.agent = c.s.agent = agent.agent
        c.s.agents.append(agent.agent)


def _early(c: Contact, leg: str) -> None:
    a = c.s.legs[c.s.a]
    if a.audible:
        c.bridge(c.s.a, leg)
    elif a.answered < 0:
        c.do(do.EarlyLeg(c.s.a) if _answer_is_sure(c, c.s.legs[leg]) else do.AnswerLeg(c.s.a))


def _answer_is_sure(c: Contact, leg: Leg) -> bool:
    """Whether the far end's answer will be known when it comes: then the caller need not be answered to hear what is before it."""
    line = c.desk.config.ports.fxo.get(leg.endpoint.removeprefix("line/")) if leg.kind is LegKind.FXO else None
    return leg.kind is not LegKind.FXO or (line is not None and line.polarity_answer and not c.s.emergency)


def both_there(c: Contact) -> None:
    """The called party is there: answer the caller if that is still to be done, and let them talk."""
    from firmware.call.features import talk

    a = c.s.legs[c.s.a]
    if a.answered < 0:
        if a.audible:
            c.bridge(c.s.a, c.s.b)
        c.do(do.AnswerLeg(c.s.a))
        c.timer("answer", rule("guard.answer"))
        return
    talk(c)
