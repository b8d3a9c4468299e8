"""Waiting in a queue, ringing agents, connecting one (L1, pure; features G1-G9, G12, G13).

Theory of operation
-------------------
The caller joins the floor's queue; the switchboard calls `offer` for each agent that the strategy picks. While a phone
rings for him he keeps his place and no announcement starts; a running one goes on, and stops at once when an agent
answers. An offer that fails leaves the caller where he was (the head, if he was there). When an agent answers, all other
phones stop, the agent number is spoken to the caller, then both are bridged. An agent who hangs up during the number
sends the caller back to his place. Overflow (time, no agent, full) takes him to the queue's destination. A queue with `hours` looks at
them when a caller comes and at each full minute: when they end, who waits goes to `on_closed`, once no telephone rings for him any more.
While the caller hears the agent's number, the agent hears how long he waited, so neither listens to silence. An agent who recorded a
greeting in his own voice (`own_greeting.py`) is announced by it, before his number or instead of it as the queue says.
"""

from __future__ import annotations

from firmware.call import callback
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.ahead import prepare, waits_for
from firmware.call.contact import Contact, Input, phase
from firmware.call.estimate import minutes, wait_ms
from firmware.call.floor import is_callback
from firmware.call.hours import branch, class_of, closed
from firmware.call.ivr import go
from firmware.call.model import Alert, Cause, LegAnswered, LegDigit, LegEnded, LegRinging, Party, Side
from firmware.call.own_greeting import number_of
from firmware.call.queue import Waiting
from firmware.call.registry import destination
from firmware.call.rules import rule
from firmware.call.state import Phase
from firmware.call.voicemail import play_file
from firmware.config.schema.calls import Queue

#: Ends of an offer that the agent could have answered: they count towards the automatic pause.
MISSED = frozenset({Cause.NO_ANSWER, Cause.REJECTED, Cause.TIMEOUT, Cause.UNREACHABLE})
OVERFLOWS = {
    "timeout": ("EXITWITHTIMEOUT", Cause.TIMEOUT),
    "no-agent": ("EXITEMPTY", Cause.UNREACHABLE),
    "full": ("EXITFULL", Cause.CONGESTION),
    "closed": ("EXITEMPTY", Cause.UNREACHABLE),
}
MINUTE_MS = 60_000
RINGS_MS = 2000                 # after which it is looked again whether a telephone still rings for a caller of a queue that has closed


@destination("queue")
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
    c.s.visit.stage = ""
    if closed(c, queue.hours):
        overflow(c, "closed")
    elif not c.desk.floor.staffed(name, queue.join_needs):
        overflow(c, "no-agent")
    elif sum(not is_callback(one.contact) for one in c.desk.floor.waiting(name)) >= queue.max_waiting:
        overflow(c, "full")
    else:
        visit = c.s.visit
        prepare(visit, c.desk.config.acd, c.desk.acd, c.desk.floor, name, c.s.caller.number, c.desk.wall(c.now))
        if visit.ahead:
            c.record("ahead", c.s.a, why=visit.why, seconds=visit.ahead // 1000)
        join(c, queue)
        c.timer("max-wait", queue.max_wait_s * 1000)
        # Due at once, but after the offers of this instant: nobody is told to wait when an agent is free.
        c.timer("join", 0)


def join(c: Contact, queue: Queue) -> None:
    """Take the place in the queue that the visit is due."""
    visit = c.s.visit
    kept = visit.preferred if waits_for(c.desk.floor, c.s.queue, visit.preferred) else ""
    until = c.s.queued + c.desk.config.acd.preferred_wait_s * 1000
    needs = dict(queue.needs)
    for skill, level in visit.needs.items():
        needs[skill] = max(level, needs.get(skill, 0))
    place = Waiting(c.s.id, c.s.queued, 0, c.s.language, ahead=visit.ahead, needs=needs, preferred=kept, preferred_until=until)
    c.desk.floor.join(c.s.queue, place, c.now)
    if queue.hours:
        c.timer("hours", _to_minute(c))


def _to_minute(c: Contact) -> int:
    """Ms to the next full minute of the wall clock, where opening hours may end."""
    local = c.desk.local(c.now)
    return MINUTE_MS - (local.second * 1000 + local.unix_ms % 1000)


def overflow(c: Contact, why: str) -> None:
    """Leave the queue for its destination. `why`: a key of OVERFLOWS."""
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
    if why == "closed":
        go(c, queue.on_closed or branch(c.desk.config.hours[queue.hours], class_of(c, queue.hours)))
    else:
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
            for leg, agent in c.s.offers.items():
                c.queue_log("RINGCANCELED", agent, event.at - c.s.legs[leg].started)
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
        case TimerFired(name="hours"):
            if c.s.offers:
                c.timer("hours", RINGS_MS)
            elif closed(c, queue.hours):
                overflow(c, "closed")
            else:
                c.timer("hours", _to_minute(c))
        case LegDigit() if event.leg == c.s.a:
            callback.wish(c, queue, event.digit)
        case TimerFired(name="callback"):
            callback.wished(c)
        case Played() if what == "callback":
            callback.heard(c)
        case Played(finished=True) if what == "join":
            c.music(c.s.a)
            _position(c, queue)
        case Played() if what in ("join", "position"):
            if not event.digit or not c.s.visit.stage:      # the key that stopped it may have begun something
                c.music(c.s.a)


def _position(c: Contact, queue: Queue) -> None:
    """Say place and wait when either improved or was last said long ago; never while a phone rings for the caller."""
    ahead = c.desk.floor.ahead(c.s.id)
    told = _minutes(c, queue, ahead)
    improved = c.s.announced < 0 or ahead < c.s.announced or (0 <= told < c.s.visit.minutes)
    stale = c.now - c.s.announced_at >= queue.announce_every_s * 1000
    if c.s.offers or c.speaking(c.s.a) or c.s.visit.stage or not (improved or stale):
        return
    again = c.s.announced_at >= 0
    c.s.announced, c.s.announced_at, c.s.visit.minutes = ahead, c.now, told
    says = [Say("q.next") if ahead == 0 else Say("q.pos", {"n": str(ahead)})] if queue.position else []
    if told >= 0:
        says.append(Say("q.eta", {"m": str(told)}) if told else Say("q.eta.short"))
    says += [Say("q.thanks")] if again else []
    due = callback.is_due(c, queue)
    says += [Say("q.cb.offer")] if due else []
    if says:
        c.record("position", c.s.a, ahead=ahead, minutes=told, callback=due)
        c.say(c.s.a, "position", *says, keys=due)


def _minutes(c: Contact, queue: Queue, ahead: int) -> int:
    """Estimated minutes to say, 0 for within one; -1 where nothing is to be said."""
    if not queue.estimate:
        return -1
    ms = wait_ms(c.desk.floor.state.service.get(c.s.queue), ahead, c.desk.floor.at_work(c.s.queue))
    return minutes(ms) if 0 <= ms <= queue.estimate_most_min * 60_000 else -1


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
    _introduce(c, queue, leg.id)


def _introduce(c: Contact, queue: Queue, leg: str) -> None:
    """The caller hears who answers: the agent's greeting in his own voice, his number (NUM-01), or both; then they talk.

    `leg`: the agent's. He hears the same, behind how long the caller waited: he begins to speak where the greeting ends.
    """
    agent = c.s.agent
    known = c.desk.config.agents.get(agent)
    own = c.desk.mail.own_file(c.s.language, agent) if queue.agent_greeting != "no" else ""
    trainee = known is not None and known.trainee
    told = queue.agent_number and (not own or trainee or queue.agent_greeting == "before")
    if not (own or told) or not c.audible(c.s.a):
        _talk(c)
        return
    number = number_of(c, agent)
    after = (number,) if told else ()
    without = () if told else (number,)
    length = rule("greeting.own")
    if told:
        c.record("agent-number", c.s.a, agent=agent)
    if own:
        c.record("agent-greeting", c.s.a, agent=agent, language=c.s.language)
        play_file(c, "agent", own, length=length, after=after, keys=False, without=without)
    else:
        c.say(c.s.a, "agent", number)
    if not queue.agent_hears_wait:
        return
    waited = c.s.wait_ms // 60_000
    whisper = (Say("agent.whisper", {"queue": c.s.queue, "m": str(waited)}),) if waited else ()
    if own and c.audible(leg):
        play_file(c, "whisper", own, length=length, before=whisper, after=after, keys=False, without=without, leg=leg)
    else:
        c.say(leg, "whisper", *(whisper or (number,)))


@phase(Phase.CONNECTING)
def connecting(c: Contact, event: Input, what: str) -> None:
    """CONNECTING: the number is spoken, then both talk."""
    match event:
        case Played() if what == "agent":
            _talk(c)
        case LegEnded() if event.leg == c.s.a:
            # He met nobody: who counts answers takes the CONNECT back. The agent stands there, as app_queue writes it.
            c.s.wait_ms = event.at - c.s.first_queued
            c.queue_log("ABANDON", c.s.agent, 1, c.s.wait_ms)
            c.gone(event, Cause.ABANDONED)
        case LegEnded() if event.leg == c.s.b:
            leg = c.s.legs[event.leg]
            c.queue_log("AGENTDUMP", c.s.agent, event.cause.value, event.at - leg.answered)
            c.record("agent-gone", event.leg, agent=c.s.agent, after_ms=event.at - leg.answered, cause=event.cause.value)
            c.s.b = c.s.agent = ""
            back_to_queue(c)


def back_to_queue(c: Contact) -> None:
    """Back to the old place in the queue."""
    queue = c.desk.config.queues.get(c.s.queue)
    c.quiet(c.s.a)
    c.move(Phase.QUEUED)
    if queue is None or not c.desk.floor.staffed(c.s.queue, queue.stay_needs):
        overflow(c, "no-agent")
        return
    join(c, queue)
    c.timer("max-wait", max(0, c.s.queued + queue.max_wait_s * 1000 - c.now))
    c.timer("position", rule("position.gap"))
    c.music(c.s.a)


def _talk(c: Contact) -> None:
    from firmware.call.features import talk

    talk(c)
