"""Reaching a telephone: extensions, a hunt over the lines of a group, emergency calls (L1, pure; A1, B15, E4).

Theory of operation
-------------------
An `Attempt` is one telephone being reached, for the caller ("dial"), for a transfer ("transfer") or to call a
transferring phone back ("recall"). A line that fails before it could dial (glare, no dial tone, fault) gives way to the
next one of the group. Early audio of a line is joined at once, so the caller hears the exchange: a phone that has no
audio yet (SIP before our answer) is answered for it, because an analog line has no sure sign of an answer and its busy
tone or announcement must be heard; the time of the answer in the record stays that of the line's evidence.

An emergency attempt takes any free line of any group, else ends the least important local call and takes its line, and
goes over the lines again and again until it is answered or the caller hangs up.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.actions import LineFreed, TimerFired
from firmware.call.contact import Contact, Input, phase
from firmware.call.model import Alert, Cause, Evidence, LegAnswered, LegDigit, LegEnded, LegProgress, LegRinging, Party, Side
from firmware.call.routing import Target, ToEmergency, ToExtension, ToNowhere, ToOutside
from firmware.call.rules import rule
from firmware.call.state import Attempt, Kind, Phase

#: Ends of a line leg that say nothing about the number: another line is tried.
LINE_FAILED = frozenset({Cause.NO_DIAL_TONE, Cause.LINE_FAULT, Cause.UNREACHABLE, Cause.SYSTEM, Cause.CONGESTION, Cause.BUSY})
FAILED_PROMPT = {Cause.BUSY: "ext.busy", Cause.REJECTED: "ext.busy", Cause.NO_ANSWER: "ext.none"}


def attempt_for(c: Contact, target: Target, purpose: str) -> Attempt | None:
    """The attempt that reaches `target`; None where the target is not a telephone."""
    if isinstance(target, ToEmergency):
        return Attempt(purpose, [], target.number, Alert.EMERGENCY, rule("dial.outside"), emergency=True)
    if isinstance(target, ToOutside):
        lines = c.desk.free_lines(target.group)
        return Attempt(purpose, lines, target.number, Alert.NORMAL, rule("dial.outside"), group=target.group, last_cause=Cause.CONGESTION)
    if isinstance(target, ToExtension):
        known = c.desk.config.extensions.get(target.extension)
        ring_ms = (known.ring_s if known is not None else 30) * 1000
        return Attempt(purpose, [target.extension], target.extension, Alert.NORMAL, ring_ms)
    return None


def dial_extension(c: Contact, extension: str, alert: Alert = Alert.NORMAL) -> None:
    """Ring an extension for the caller."""
    attempt = attempt_for(c, ToExtension(extension), "dial")
    assert attempt is not None
    attempt.alert = alert
    dial(c, attempt)


def dial_number(c: Contact) -> None:
    """Dial `called` for a phone: extension, outside, emergency, or the refusal of it."""
    target = c.desk.routing.resolve(c.s.extension, c.s.called)
    attempt = attempt_for(c, target, "dial")
    if attempt is None:
        cause = target.cause if isinstance(target, ToNowhere) else Cause.UNREACHABLE
        c.record("refused", number=c.s.called, reason=target.reason if isinstance(target, ToNowhere) else "a code")
        c.finish(cause, Side.SYSTEM)
        return
    dial(c, attempt)


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
        if endpoint.startswith("line/") and not c.desk.floor.usable(endpoint):
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
    for line in c.desk.free_lines(None):
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
    line = endpoint.startswith("line/")
    if line and (c.s.kind in (Kind.OUTBOUND, Kind.EMERGENCY) or not c.s.line):
        c.s.line = endpoint
    caller = Party(c.s.caller.number, c.s.caller.name, c.s.caller.reason)
    if attempt.purpose != "dial" and c.s.transfer is not None and not line:
        by = c.s.transfer.by_endpoint
        known = c.desk.config.extensions.get(by)
        caller = Party(by, known.name if known is not None else "")
    c.record("dial", endpoint=endpoint, number=attempt.number, purpose=attempt.purpose)
    attempt.leg = c.originate(endpoint, role, number=attempt.number, caller=caller, alert=attempt.alert, ring_ms=attempt.ring_ms)


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
    if dialled or event.cause not in LINE_FAILED:
        attempt.endpoints = []
    return next_try(c)


def _failed(c: Contact, cause: Cause, evidence: Evidence | None = None) -> None:
    """The caller's telephone could not be reached; `evidence`: how the last one tried ended."""
    from firmware.call.ivr import announce, start_inbound

    a = c.s.legs[c.s.a]
    c.record("dial-failed", cause=cause.value)
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
            c.gone(event, Cause.ABANDONED if outside else Cause.CANCELLED)
        case LegEnded() if event.leg == c.s.b:
            # Answered and gone before the caller's own answer was through.
            c.s.b = ""
            c.gone(event, Cause.NORMAL)
        case LegEnded() if leg and event.leg == leg:
            try_failed(c, event)
        case LegRinging() if event.leg == leg:
            if c.s.legs[c.s.a].answered < 0:
                c.do(do.RingBack(c.s.a))
            elif not c.s.bridged:
                c.tone(c.s.a, "ringback")
        case LegProgress() if event.leg == leg:
            _early(c, event.leg)
        case LegAnswered() if event.leg == leg:
            c.s.attempt = None
            c.s.b = event.leg
            _both(c)
        case LegAnswered() if event.leg == c.s.a:
            c.s.answered = event.at
            if c.s.b:
                _both(c)
            elif leg and c.audible(leg):
                _early(c, leg)
        case LegDigit() if event.leg == c.s.a and c.s.bridged:
            c.do(do.SendDigits(c.other_bridged(event.leg), event.digit))
        case TimerFired(name="answer"):
            c.finish(Cause.LINE_FAULT, Side.SYSTEM)
        case TimerFired(name="line") | LineFreed():
            if attempt is not None and not attempt.leg:
                next_try(c)


def _early(c: Contact, leg: str) -> None:
    a = c.s.legs[c.s.a]
    if a.audible:
        c.bridge(c.s.a, leg)
    elif a.answered < 0:
        c.do(do.AnswerLeg(c.s.a))


def _both(c: Contact) -> None:
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
