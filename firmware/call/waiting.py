"""Waiting in a queue, ringing agents, connecting one (L1, pure; features G1-G9, G12, G13).

Theory of operation
-------------------
The caller joins the floor's queue; the switchboard calls `offer` for each agent that the strategy picks. While a phone
rings for him he keeps his place and no announcement starts; a running one goes on, and stops at once when an agent
answers. An offer that fails leaves the caller where he was (the head, if he was there). When an agent answers, all other
phones stop, the agent number is spoken to the caller, then both are bridged. An agent who hangs up during the number
sends the caller back to his place. Overflow (time, no agent, full) takes him to the queue's destination.
"""

from __future__ import annotations

from firmware.call.actions import Played, Say, TimerFired
from firmware.call.contact import Contact, Input, phase
from firmware.call.ivr import go
from firmware.call.model import Alert, Cause, LegAnswered, LegEnded, LegRinging, Party, Side
from firmware.call.rules import rule
from firmware.call.state import Phase
from firmware.config.schema.calls import Queue

#: Ends of an offer that the agent could have answered: they count towards the automatic pause.
MISSED = frozenset({Cause.NO_ANSWER, Cause.REJECTED, Cause.TIMEOUT, Cause.UNREACHABLE})
OVERFLOWS = {
    "timeout": ("EXITWITHTIMEOUT", Cause.TIMEOUT),
    "no-agent": ("EXITEMPTY", Cause.UNREACHABLE),
    "full": ("EXITFULL", Cause.CONGESTION),
}


def enter_queue(c: Contact, name: str) -> None:
    """Join a queue, or overflow at once."""
    queue = c.desk.config.queues.get(name)
    if queue is None:
        c.record("no-queue", queue=name)
        c.finish(Cause.SYSTEM, Side.SYSTEM)
        return
    c.s.queue, c.s.queued = name, c.now
    c.s.first_queued = c.s.first_queued if c.s.first_queued >= 0 else c.now
    c.s.announced = c.s.announced_at = -1
    c.move(Phase.QUEUED)
    c.queue_log("ENTERQUEUE", "", c.s.caller.number)
    if not c.desk.floor.staffed(name):
        overflow(c, "no-agent")
    elif len(c.desk.floor.waiting(name)) >= queue.max_waiting:
        overflow(c, "full")
    else:
        c.desk.floor.join(name, c.s.id, c.now, c.now, c.s.language)
        c.timer("max-wait", queue.max_wait_s * 1000)
        # Due at once, but after the offers of this instant: nobody is told to wait when an agent is free.
        c.timer("join", 0)


def overflow(c: Contact, why: str) -> None:
    """Leave the queue for its destination. `why`: "timeout", "no-agent", "full"."""
    queue = c.desk.config.queues.get(c.s.queue)
    if queue is None or c.s.phase is not Phase.QUEUED:
        return
    event, cause = OVERFLOWS[why]
    c.s.wait_ms = c.now - c.s.first_queued
    c.queue_log(event, "", c.s.wait_ms)
    c.record("overflow", c.s.a, queue=c.s.queue, why=why)
    c.cancel_offers(Cause.CANCELLED)
    c.desk.floor.leave(c.s.id, c.now)
    c.s.end_cause = cause
    c.quiet(c.s.a)
    go(c, {"timeout": queue.on_timeout, "no-agent": queue.on_no_agent, "full": queue.on_full}[why])


def offer(c: Contact, agent: str) -> None:
    """Ring an agent's phone for this caller."""
    queue = c.desk.config.queues[c.s.queue]
    state = c.desk.floor.agent(agent)
    extension = state.extension
    caller = Party(c.s.caller.number, c.s.caller.name or c.s.queue, c.s.caller.reason)
    leg = c.originate(extension, "agent", number=extension, caller=caller, alert=Alert.QUEUE, ring_ms=queue.ring_s * 1000, agent=agent)
    c.s.offers[leg] = agent
    c.desk.floor.offered(agent, c.s.id, c.s.queue, c.now)
    entry = c.desk.floor.entry(c.s.id)
    if entry is not None:
        entry.offered.append(agent)
    c.record("offered", leg, agent=agent, extension=extension, queue=c.s.queue)


@phase(Phase.QUEUED)
def queued(c: Contact, event: Input, what: str) -> None:
    """QUEUED: announcements, offers, overflow."""
    queue = c.desk.config.queues.get(c.s.queue)
    match event:
        case LegEnded() if event.leg == c.s.a:
            c.s.wait_ms = event.at - c.s.first_queued
            c.queue_log("ABANDON", "", c.desk.floor.ahead(c.s.id) + 1, c.s.wait_ms)
            c.gone(event, Cause.ABANDONED)
        case LegEnded() if event.leg in c.s.offers:
            _offer_failed(c, event)
        case _ if queue is None:
            c.finish(Cause.SYSTEM, Side.SYSTEM)
        case LegRinging() if event.leg in c.s.offers:
            c.record("ringing", event.leg, agent=c.s.offers[event.leg])
        case LegAnswered() if event.leg in c.s.offers:
            _connect(c, event, queue)
        case LegAnswered() if event.leg != c.s.a:
            # It answered after its offer was withdrawn.
            c.s.legs[event.leg].hung_up = False
            c.hang_up(event.leg, Cause.ELSEWHERE)
        case TimerFired(name="join"):
            if c.s.offers:
                c.music(c.s.a)
            else:
                c.say(c.s.a, "join", Say("q.join"))
            c.timer("position", rule("position.gap"))
        case TimerFired(name="position"):
            c.timer("position", rule("position.gap"))
            _position(c, queue)
        case TimerFired(name="max-wait"):
            overflow(c, "timeout")
        case Played(finished=True) if what == "join":
            c.music(c.s.a)
            _position(c, queue)
        case Played() if what in ("join", "position"):
            c.music(c.s.a)


def _position(c: Contact, queue: Queue) -> None:
    """Say the place when it improved or was last said long ago; never while a phone rings for the caller."""
    ahead = c.desk.floor.ahead(c.s.id)
    improved = c.s.announced < 0 or ahead < c.s.announced
    stale = c.now - c.s.announced_at >= queue.announce_every_s * 1000
    if c.s.offers or c.speaking(c.s.a) or not (improved or stale):
        return
    again = c.s.announced_at >= 0
    c.s.announced, c.s.announced_at = ahead, c.now
    c.record("position", c.s.a, ahead=ahead)
    place = Say("q.next") if ahead == 0 else Say("q.pos", {"n": str(ahead)})
    c.say(c.s.a, "position", place, *([Say("q.thanks")] if again else []))


def _offer_failed(c: Contact, event: LegEnded) -> None:
    agent = c.s.offers.pop(event.leg)
    missed = event.cause in MISSED
    quick = event.cause in (Cause.NO_ANSWER, Cause.REJECTED, Cause.TIMEOUT)
    hold_off = rule("offer.retry") if quick else rule("offer.unreachable")
    entry = c.desk.floor.entry(c.s.id)
    if entry is not None:
        entry.offered = [one for one in entry.offered if one != agent]
        entry.tried = [*[one for one in entry.tried if one != agent], agent]
    c.s.misses += 1 if missed else 0
    c.queue_log("RINGNOANSWER", agent, event.at - c.s.legs[event.leg].started)
    c.record("offer-failed", event.leg, agent=agent, cause=event.cause.value)
    c.desk.floor.offer_over(agent, c.now, missed=missed, hold_off=hold_off)
    if c.s.a not in c.s.plays:
        c.music(c.s.a)


def _connect(c: Contact, event: LegAnswered, queue: Queue) -> None:
    agent = c.s.offers.pop(event.leg)
    leg = c.s.legs[event.leg]
    c.desk.floor.answered(agent, c.now)
    c.cancel_offers(Cause.ELSEWHERE)
    c.desk.floor.leave(c.s.id, c.now)
    c.quiet(c.s.a)
    c.s.b, c.s.agent = leg.id, agent
    c.s.agents.append(agent)
    c.s.wait_ms = event.at - c.s.first_queued
    c.s.seat_alert_ms = event.at - (leg.ringing if leg.ringing >= 0 else leg.started)
    c.queue_log("CONNECT", agent, c.s.wait_ms, c.s.seat_alert_ms)
    c.move(Phase.CONNECTING)
    known = c.desk.config.agents.get(agent)
    if queue.agent_number and c.audible(c.s.a):
        prompt = "agent.trainee" if known is not None and known.trainee else "agent.id"
        c.record("agent-number", c.s.a, agent=agent)
        c.say(c.s.a, "agent", Say(prompt, {"digits": agent}))
    else:
        _talk(c)


@phase(Phase.CONNECTING)
def connecting(c: Contact, event: Input, what: str) -> None:
    """CONNECTING: the number is spoken, then both talk."""
    match event:
        case Played() if what == "agent":
            _talk(c)
        case LegEnded() if event.leg == c.s.a:
            c.gone(event, Cause.NORMAL)
        case LegEnded() if event.leg == c.s.b:
            c.s.b = c.s.agent = ""
            _back(c)


def _back(c: Contact) -> None:
    """Back to the old place in the queue."""
    queue = c.desk.config.queues.get(c.s.queue)
    c.quiet(c.s.a)
    c.move(Phase.QUEUED)
    if queue is None or not c.desk.floor.staffed(c.s.queue):
        overflow(c, "no-agent")
        return
    c.desk.floor.join(c.s.queue, c.s.id, c.s.queued, c.now, c.s.language)
    c.timer("max-wait", max(0, c.s.queued + queue.max_wait_s * 1000 - c.now))
    c.timer("position", rule("position.gap"))
    c.music(c.s.a)


def _talk(c: Contact) -> None:
    from firmware.call.features import talk

    talk(c)
