"""Ring groups: one number for several telephones, without agents or a queue (L1, pure; A4, C6).

Theory of operation
-------------------
`all` rings every member at once; `order` one after another; `memory` adds the next member to those that ring already. A member that is
busy, not registered or does not want to be disturbed is passed over. The first to answer has the call, the others are told "answered
elsewhere". When nobody is left, or the last step's time is over, the call goes to the group's `otherwise`. Forwards of members are not
followed, the group is the forward; with `follow_forwards` a member who forwards every call to another extension is rung there, and with
`forward_outside` one who forwards to the outside is dialled there: with that member's rights, at that member's expense (the guard against
tolls counts it so), over the ways of the route. Whoever answers outside, and that may be the mailbox of a mobile phone, has not taken the
call before the key was pressed: the others ring on meanwhile, and the caller hears ringing.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.contact import Contact, Input, phase
from firmware.call.dialling import attempt_for, both_there, goes_out
from firmware.call.forwards import NONE
from firmware.call.ivr import go
from firmware.call.model import (
    Alert,
    Cause,
    LegAnswered,
    LegDigit,
    LegEnded,
    LegKind,
    LegProgress,
    LegRinging,
    Party,
    Side,
    is_outside,
)
from firmware.call.registry import destination
from firmware.call.routing import ToExtension, ToOutside
from firmware.call.rules import rule
from firmware.call.state import GroupRing, Phase

#: Key that takes a call outside.
TAKE = "1"


@destination("group", speaks=False)
def ring_group(c: Contact, name: str) -> None:
    """Ring a group for the caller."""
    group = c.desk.config.groups.get(name)
    if group is None:
        c.record("no-group", group=name)
        c.finish(Cause.SYSTEM, Side.SYSTEM)
        return
    members = [_where(c, one) for one in group.members] if group.follow_forwards else group.members
    away = _away(c, members) if group.forward_outside else {}
    ready = [one for one in dict.fromkeys(members)
             if (one in away or c.desk.floor.usable(one)) and not c.desk.wishes.get(one, NONE).dnd]
    c.move(Phase.GROUP)
    c.record("group", c.s.a, group=name, members=len(ready))
    c.s.group = GroupRing(name, ready, away=away)
    c.quiet(c.s.a)
    c.s.end_cause = Cause.BUSY if group.members and not ready else Cause.NO_ANSWER
    _next(c, c.s.group)


def _where(c: Contact, member: str) -> str:
    """The extension that stands in for a member who forwards every call, in at most `forward.most` steps."""
    passed = [member]
    while len(passed) <= rule("forward.most"):
        wish = c.desk.wishes.get(passed[-1], NONE)
        target = c.desk.routing.resolve(passed[-1], wish.always) if wish.always else None
        if not isinstance(target, ToExtension) or target.extension in passed:
            break
        passed.append(target.extension)
    if len(passed) > 1:
        c.record("forwarded", c.s.a, by=member, to=passed[-1])
    return passed[-1]


def _away(c: Contact, members: list[str]) -> dict[str, str]:
    """Members who forward every call to the outside, with the number as they would dial it."""
    wishes = {member: c.desk.wishes.get(member, NONE).always for member in members}
    return {member: to for member, to in wishes.items() if to and isinstance(c.desk.routing.resolve(member, to), ToOutside)}


def _next(c: Contact, ring: GroupRing) -> None:
    """The next step: who rings now, or nobody any more."""
    group = c.desk.config.groups.get(ring.name)
    if group is None or not ring.rest:
        if not ring.legs or group is None:
            _nobody(c, ring)
        return
    count = len(ring.rest) if group.strategy == "all" else 1
    now, ring.rest = ring.rest[:count], ring.rest[count:]
    caller = Party(c.s.caller.number, c.s.caller.name, c.s.caller.reason)
    steps = 1 + len(ring.rest) if group.strategy == "memory" else 1
    ring_ms = group.ring_s * 1000 * steps
    for member in now:
        if member in ring.away:
            _dial(c, ring, member, caller, ring_ms)
        else:
            ring.legs.append(c.originate(member, "called", number=member, caller=caller, alert=Alert.NORMAL, ring_ms=ring_ms))
    if ring.legs:
        c.timer("group", group.ring_s * 1000)
    else:
        _next(c, ring)                       # nobody could be dialled: no need to wait for this step


def _dial(c: Contact, ring: GroupRing, member: str, caller: Party, ring_ms: int) -> None:
    """Dial a member outside, over the first way that is free and allowed."""
    attempt = attempt_for(c, c.desk.routing.resolve(member, ring.away[member]), "dial")
    endpoint = next((one for one in attempt.endpoints if c.desk.floor.usable(one)), "") if attempt is not None else ""
    if attempt is None or not endpoint:
        c.record("forward-failed", c.s.a, by=member, to=ring.away[member])
        return
    attempt.forwarded.append(member)
    reason = c.desk.toll_refused(c.s, attempt, c.now)
    if reason:
        c.record("toll", endpoint=endpoint, number=attempt.number, reason=reason)
        return
    c.record("forwarded", c.s.a, by=member, to=ring.away[member])
    leg = c.originate(endpoint, "called", number=attempt.number, caller=caller, alert=Alert.NORMAL, ring_ms=ring_ms)
    goes_out(c, c.s.legs[leg], attempt)
    ring.legs.append(leg)


def _ask(c: Contact, ring: GroupRing, leg: str) -> None:
    """Ask whoever answered outside to take the call; who did not after some times is no person who wants it."""
    ring.asked[leg] = ring.asked.get(leg, 0) + 1
    if ring.asked[leg] > rule("callback.asked"):
        c.record("group-not-taken", leg, group=ring.name)
        c.hang_up(leg, Cause.NO_ANSWER)
        return
    c.say(leg, "take", Say("group.take"), keys=True)


def _taken(c: Contact, ring: GroupRing, leg: str) -> None:
    """This leg has the call; the others are told "answered elsewhere"."""
    ring.legs.remove(leg)
    _stop(c, ring, Cause.ELSEWHERE)
    c.s.group, c.s.end_cause = None, None
    c.quiet(leg)
    c.s.b = leg
    c.record("group-answered", leg, group=ring.name)
    c.move(Phase.DIALLING)
    both_there(c)


def _nobody(c: Contact, ring: GroupRing) -> None:
    group = c.desk.config.groups.get(ring.name)
    _stop(c, ring, Cause.NO_ANSWER)
    c.s.group = None
    c.record("group-over", c.s.a, group=ring.name)
    a = c.s.legs[c.s.a]
    if a.phone and a.answered < 0 and (group is None or group.otherwise.partition("/")[0] in ("announce", "hangup")):
        c.finish(c.s.end_cause or Cause.NO_ANSWER, Side.SYSTEM)          # the telephone itself says so
        return
    if a.answered < 0:
        c.move(Phase.DIALLING)
        c.move(Phase.ANSWERING)
    go(c, group.otherwise if group is not None else "hangup")


def _stop(c: Contact, ring: GroupRing, cause: Cause) -> None:
    for leg in ring.legs:
        c.hang_up(leg, cause)
        c.stop_timer(f"take:{leg}")
    ring.legs, ring.asked = [], {}


@phase(Phase.GROUP)
def ringing(c: Contact, event: Input, what: str) -> None:
    """GROUP: members ring for the caller."""
    ring = c.s.group
    assert ring is not None
    match event:
        case LegEnded() if event.leg == c.s.a:
            c.gone(event, Cause.CANCELLED if c.s.legs[c.s.a].phone else Cause.ABANDONED)
        case LegEnded() if event.leg in ring.legs:
            ring.legs.remove(event.leg)
            ring.asked.pop(event.leg, None)
            c.stop_timer(f"take:{event.leg}")
            if not ring.legs:
                _next(c, ring)
        case LegAnswered() if event.leg in ring.legs and is_outside(c.s.legs[event.leg].endpoint):
            _ask(c, ring, event.leg)
        case Played() if what == "take" and event.leg in ring.asked:
            c.timer(f"take:{event.leg}", rule("code.wait"))
        case LegDigit() if event.leg in ring.asked:
            if event.digit == TAKE:
                _taken(c, ring, event.leg)
        case TimerFired() if event.name.startswith("take:"):
            _ask(c, ring, event.name.removeprefix("take:"))
        case LegRinging() | LegProgress() if event.leg in ring.legs:
            a = c.s.legs[c.s.a]
            if a.answered < 0 and (a.kind in (LegKind.FXS, LegKind.FXO) or not a.audible):
                c.do(do.RingBack(c.s.a))
            elif c.s.plays.get(c.s.a) is None:
                c.tone(c.s.a, "ringback")
        case LegAnswered() if event.leg in ring.legs:
            _taken(c, ring, event.leg)
        case TimerFired(name="group") if ring.asked:
            c.timer("group", rule("code.wait"))      # somebody is being asked: he decides, or his time is over
        case TimerFired(name="group"):
            group = c.desk.config.groups.get(ring.name)
            if not ring.rest or group is None:
                _nobody(c, ring)
                return
            if group.strategy == "order":
                _stop(c, ring, Cause.NO_ANSWER)
            _next(c, ring)
