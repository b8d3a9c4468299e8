"""Answering another telephone's call: pick-up by code or lamp key, and taking over one's own call (L1, pure; A4, D6).

Theory of operation
-------------------
A telephone that picks up is a leg of its own that we answer, and it takes the place of the one that rings: as the attempt of a
dialled or transferred call, or out of the queue in front of the agents that are being rung. What rang is told "answered
elsewhere". Who may: telephones that share a pick-up group, those without any group among themselves. Directed
pick-up names the number or (INVITE with Replaces, RFC 3891) the very call; group pick-up takes what has rung longest.
An answered call is taken over only by another telephone of the same extension, as a transfer that completes at once.
Invariants: nobody is taken out of an emergency call; a leg is in one contact at any time; the call that is picked up keeps its record.
"""

from __future__ import annotations

from collections.abc import Iterable

from firmware.call import actions as do
from firmware.call.contact import Contact
from firmware.call.features import free_to_hand_over, hand_over_to
from firmware.call.model import Cause, Party
from firmware.call.registry import Found, behind, taking
from firmware.call.routing import Dialled
from firmware.call.rules import rule
from firmware.call.state import Attempt, ContactState, Leg, Phase
from firmware.config.schema.tree import Config


def may_pick_up(config: Config, by: str, of: str) -> bool:
    """Whether telephone `by` may answer what rings at `of`."""
    one, other = config.extensions.get(by), config.extensions.get(of)
    if one is None or other is None:
        return False
    return by == of or bool(set(one.group) & set(other.group)) or not (one.group or other.group)


def ringing(state: ContactState) -> list[Leg]:
    """Legs of a contact that ring at a telephone and may be answered by another one."""
    if state.phase is Phase.QUEUED:
        named = list(state.offers)
    elif state.attempt is not None and not state.attempt.emergency and state.phase in (Phase.DIALLING, Phase.TALKING):
        named = [state.attempt.leg]
    else:
        named = []
    legs = [state.legs[leg] for leg in named if leg in state.legs]
    return [leg for leg in legs if leg.live and leg.phone and not leg.hung_up and not leg.incoming and leg.answered < 0]


def find(config: Config, contacts: Iterable[ContactState], by: str, number: str) -> Found:
    """What `by` picks up: of telephone `number`, or "" for the one of its groups that has rung longest."""
    if number and number not in config.extensions:
        return Found(cause=Cause.UNREACHABLE, detail=f"{number} is no extension")
    if number and not may_pick_up(config, by, number):
        return Found(cause=Cause.REFUSED, detail=f"{by} and {number} share no pick-up group")
    choice: tuple[int, str, str] | None = None
    for state in contacts:
        for leg in ringing(state):
            wanted = leg.endpoint == number if number else leg.endpoint != by and may_pick_up(config, by, leg.endpoint)
            if wanted and (choice is None or (leg.started, leg.id) < choice[:2]):
                choice = (leg.started, leg.id, state.id)
    if choice is None:
        return Found(cause=Cause.UNREACHABLE, detail="nothing rings there")
    return Found(choice[2], choice[1])


def find_call(config: Config, state: ContactState | None, by: str, leg_id: str, early_only: bool) -> Found:
    """The very call that Replaces names; causes are those that RFC 3891 section 3 answers 481, 486 and 603."""
    leg = state.legs.get(leg_id) if state is not None else None
    if state is None or leg is None:
        return Found(cause=Cause.UNREACHABLE, detail="no such call")
    if not leg.live or leg.hung_up:
        return Found(cause=Cause.REJECTED, detail="that call is over")
    if leg in ringing(state):
        allowed = may_pick_up(config, by, leg.endpoint)
        return Found(state.id, leg.id) if allowed else Found(cause=Cause.REFUSED, detail=f"{by} may not answer for {leg.endpoint}")
    if leg.answered < 0:
        return Found(cause=Cause.UNREACHABLE, detail="that call is not ringing there")
    if early_only:
        return Found(cause=Cause.BUSY, detail="that call was answered")
    if leg.endpoint != by:
        return Found(cause=Cause.REFUSED, detail=f"{by} is not {leg.endpoint}")
    return Found(state.id, leg.id)


def pick_up(c: Contact, old: str, new: Leg) -> bool:
    """Put `new`, which we answer, in the place of `old`; False when that cannot be."""
    was = c.s.legs[old]
    if was.answered >= 0:
        return _take_over(c, was, new)
    new.incoming, new.role, new.shown = False, "called", Party()
    c.s.legs[new.id] = new
    c.record("picked-up", new.id, by=new.endpoint, of=was.endpoint, rang=c.now - was.started)
    attempt = c.s.attempt
    if c.s.phase is Phase.QUEUED:
        c.s.wait_ms = c.now - c.s.first_queued
        c.cancel_offers(Cause.ELSEWHERE)
        c.desk.floor.leave(c.s.id, c.now)
        c.queue_log("CONNECT", "NONE", c.s.wait_ms, c.now - was.started)
        c.move(Phase.DIALLING)
        c.s.attempt = Attempt("pickup", [], new.endpoint, leg=new.id)
    elif attempt is not None:
        c.hang_up(old, Cause.ELSEWHERE)
        attempt.leg, attempt.endpoints, attempt.number = new.id, [], new.endpoint
    _answer(c, new)
    return True


def _take_over(c: Contact, was: Leg, new: Leg) -> bool:
    """Another telephone of the same extension goes on with an answered call."""
    if c.s.emergency or not free_to_hand_over(c, was.id):
        return False
    new.incoming, new.role, new.shown = False, was.role, Party()
    c.s.legs[new.id] = new
    c.record("taken-over", new.id, by=new.endpoint, of=was.endpoint)
    transfer = hand_over_to(c, was.id, new.endpoint, "")
    transfer.stage = "blind"
    c.s.attempt = Attempt("transfer", [], new.endpoint, leg=new.id)
    c.music(transfer.held)
    _answer(c, new)
    return True


def _answer(c: Contact, leg: Leg) -> None:
    c.do(do.AnswerLeg(leg.id))
    c.timer(f"guard.leg:{leg.id}", rule("guard.answer"))


@taking("pickup", pick_up)
def _directed(config: Config, contacts: Iterable[ContactState], by: str, rest: str) -> Found:
    number = rest.removesuffix("#")
    return find(config, contacts, by, number) if number else Found(cause=Cause.UNREACHABLE, detail="no number behind the code")


@taking("pickup_group", pick_up)
def _of_groups(config: Config, contacts: Iterable[ContactState], by: str, rest: str) -> Found:
    return find(config, contacts, by, "")


@behind("pickup")
def number_behind(config: Config, digits: str) -> Dialled:
    """A number of ours is keyed behind the code."""
    number = digits.removesuffix("#")
    if not digits.endswith("#") and any(len(one) > len(number) and one.startswith(number) for one in config.extensions):
        return "more"
    return "complete" if number in config.extensions else "impossible"
