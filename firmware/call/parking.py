"""Parking: a call waits at a numbered place until any telephone takes it back (L1, pure; A4, HLD-08).

Theory of operation
-------------------
A telephone that talks keys the code: the other party hears music, the parker hears the code that takes the call back, and is free when it
was said or when it hangs up. Any telephone retrieves by code and place. Nobody is left there: after `parking.timeout_s` the parker's
telephone rings, `parking.recalls` times in all; then the call goes to `parking.otherwise`.

    PARKED -> TALKING      taken back, or the parker answered the recall
    PARKED -> a destination, after the last recall

Invariants: a place holds one call; the parked party is leg `a`; emergency calls are not parked; what a place holds lives in
the contact, so it is there after a killed core.
"""

from __future__ import annotations

from collections.abc import Iterable

from firmware.call import actions as do
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.contact import Contact, Input, phase
from firmware.call.dialling import at_work, next_try, try_failed
from firmware.call.features import free_to_hand_over, talk
from firmware.call.ivr import go
from firmware.call.model import Alert, Cause, LegAnswered, LegEnded
from firmware.call.registry import Found, behind, key, taking
from firmware.call.routing import Dialled
from firmware.call.rules import rule
from firmware.call.state import Attempt, ContactState, Leg, Parked, Phase
from firmware.config.schema.tree import Config


@key("park")
def park(c: Contact, by: str) -> None:
    """`by` parks the other party."""
    if c.s.emergency or not free_to_hand_over(c, by):
        return
    taken = c.desk.parked()
    c.s.held_by = c.s.held_how = ""
    place = next((str(one) for one in range(1, c.desk.config.parking.places + 1) if str(one) not in taken), "")
    if not place:
        c.record("park-full", by)
        c.unbridge()
        c.music(c.other(by))
        c.say(by, "back", Say("park.full"))
        return
    held, parker = c.other(by), c.s.legs[by]
    c.stop_recording()
    c.unbridge()
    c.s.park = Parked(place, parker.endpoint, by, c.now)
    c.s.a, c.s.b = held, ""
    c.move(Phase.PARKED)
    c.record("parked", held, by=parker.endpoint, place=place)
    c.music(held)
    c.say(by, "parked", Say("park.at", {"digits": c.desk.config.features.unpark + place}))
    _wait(c)


def _wait(c: Contact) -> None:
    c.timer("park", c.desk.config.parking.timeout_s * 1000)


@phase(Phase.PARKED)
def parked(c: Contact, event: Input, what: str) -> None:
    """PARKED: music, until somebody takes the call back."""
    spot, attempt = c.s.park, c.s.attempt
    assert spot is not None
    match event:
        case LegEnded() if event.leg == c.s.a:
            c.gone(event, Cause.ABANDONED)
        case Played() if what == "parked":
            c.hang_up(spot.leg, Cause.TRANSFERRED)
        case LegEnded() if attempt is not None and event.leg == attempt.leg:
            if not try_failed(c, event):
                _not_taken(c, spot)
        case LegAnswered() if attempt is not None and event.leg == attempt.leg:
            _taken(c, spot, event.leg)
        case TimerFired(name="park"):
            _recall(c, spot)


def _recall(c: Contact, spot: Parked) -> None:
    if spot.recalls >= c.desk.config.parking.recalls:
        c.record("park-over", c.s.a, place=spot.place)
        c.s.park = None
        go(c, c.desk.config.parking.otherwise)
        return
    spot.recalls += 1
    c.record("park-recall", c.s.a, to=spot.by)
    c.s.attempt = Attempt("recall", [spot.by], spot.by, Alert.RECALL, rule("transfer.recall"))
    if not next_try(c):
        _not_taken(c, spot)


def _not_taken(c: Contact, spot: Parked) -> None:
    """Nobody answered: the call goes on waiting, or goes to the destination for it."""
    if spot.recalls >= c.desk.config.parking.recalls:
        _recall(c, spot)
    else:
        _wait(c)


def _taken(c: Contact, spot: Parked, leg: str) -> None:
    c.s.attempt, c.s.park = None, None
    c.s.b = leg
    c.hang_up(spot.leg, Cause.TRANSFERRED)
    c.record("unparked", c.s.a, by=c.s.legs[leg].endpoint, waited=c.now - spot.since)
    if c.s.queue:
        at_work(c, c.s.legs[leg])
    talk(c)


def take_back(c: Contact, old: str, new: Leg) -> bool:
    """Telephone leg `new`, which we answer, takes the parked call."""
    attempt = c.s.attempt
    if c.s.phase is not Phase.PARKED or not c.audible(old):
        return False
    new.incoming, new.role = False, "called"
    c.s.legs[new.id] = new
    c.stop_timer("park")
    if attempt is not None:
        c.hang_up(attempt.leg, Cause.ELSEWHERE)
    c.s.attempt = Attempt("unpark", [], new.endpoint, leg=new.id)
    c.do(do.AnswerLeg(new.id))
    c.timer(f"guard.leg:{new.id}", rule("guard.answer"))
    return True


@taking("unpark", take_back)
def _find(config: Config, contacts: Iterable[ContactState], by: str, rest: str) -> Found:
    place = rest.removesuffix("#")
    for state in contacts:
        attempt = state.attempt
        if state.park is not None and state.park.place == place and (attempt is None or attempt.purpose != "unpark"):
            return Found(state.id, state.a)
    return Found(cause=Cause.UNREACHABLE, detail=f"no call is parked at {place or 'no place'}", prompt="park.empty")


@behind("unpark")
def _place(config: Config, digits: str) -> Dialled:
    place = digits.removesuffix("#")
    if not place:
        return "more"
    most = str(config.parking.places)
    if not place.isdigit() or not 1 <= int(place) <= config.parking.places:
        return "impossible"
    longer = not digits.endswith("#") and len(place) < len(most) and int(place) * 10 <= config.parking.places
    return "more" if longer else "complete"
