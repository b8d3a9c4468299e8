"""Transfer by the telephone's own key: a SIP phone says REFER instead of keying a code (L1, pure; TRF-04).

Theory of operation
-------------------
Blind: the far party is held and the number is dialled with the rights of the phone that hands over, exactly as after the
transfer code; the phone may leave at once or stay until it is told. If nobody is reached the phone has its call back, or is
rung again when it has left. Attended: the phone talks with two parties in two contacts; the far party of the younger
contact moves into the elder (a caller from outside counts as elder), whose record goes on, and the other ends. A consultation
that still rings becomes a blind transfer: what rings moves, and rings on.
Invariants: each `LegReferred` has exactly one `ReportReferral`; a leg is in one contact at any time; nobody is taken out of
an emergency call.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.contact import Contact
from firmware.call.features import complete, dial_target, free_to_hand_over, hand_over_to
from firmware.call.model import Cause, LegReferred, Side
from firmware.call.state import Kind, Phase


def hand_over(c: Contact, consult: Contact | None, event: LegReferred) -> None:
    """`event.leg` is in `c`; `consult` is the contact of `event.consult`."""
    if not free_to_hand_over(c, event.leg) or (event.consult and (consult is None or consult.s is c.s)):
        _refuse(c, event, Cause.UNREACHABLE if event.consult and consult is None else Cause.REFUSED)
    elif consult is None:
        _blind(c, event.leg, event.number, event.token)
    elif c.s.emergency or consult.s.emergency or c.s.legs[event.leg].endpoint != consult.s.legs[event.consult].endpoint:
        _refuse(c, event, Cause.REFUSED)
    elif consult.s.phase is Phase.DIALLING and consult.s.a == event.consult:
        _ringing(c, event, consult)
    elif not free_to_hand_over(consult, event.consult):
        _refuse(c, event, Cause.REFUSED)
    elif _elder(consult, c):
        _attended(consult, event.consult, c, event.leg, event.token)
    else:
        _attended(c, event.leg, consult, event.consult, event.token)


def _refuse(c: Contact, event: LegReferred, cause: Cause) -> None:
    c.record("transfer-failed", event.leg, to=event.number, cause=cause.value)
    c.do(do.ReportReferral(event.token, cause))


def _elder(one: Contact, other: Contact) -> bool:
    inbound = (one.s.kind is Kind.INBOUND, other.s.kind is Kind.INBOUND)
    return inbound[0] if inbound[0] != inbound[1] else one.s.opened < other.s.opened


def _blind(c: Contact, by: str, number: str, token: str) -> None:
    transfer = hand_over_to(c, by, number, token)
    c.music(transfer.held)
    dial_target(c, transfer)
    if c.s.transfer is transfer:
        transfer.stage = "blind"
        c.record("transfer-blind", by, to=number)


def _ringing(c: Contact, event: LegReferred, consult: Contact) -> None:
    attempt = consult.s.attempt
    if attempt is None or consult.leg(attempt.leg) is None:
        _refuse(c, event, Cause.REFUSED)
        return
    consult.unbridge()
    leg = consult.s.legs.pop(attempt.leg)
    guard = f"guard.leg:{leg.id}"
    until = consult.s.timers.pop(guard, None)
    consult.s.attempt = None
    consult.record("transferred", event.consult, to=leg.endpoint, contact=c.s.id)
    consult.finish(Cause.TRANSFERRED, Side.CALLER)
    transfer = hand_over_to(c, event.leg, consult.s.called, event.token)
    transfer.stage = "blind"
    attempt.purpose = "transfer"
    c.s.attempt = attempt
    c.s.legs[leg.id] = leg
    if until is not None:
        c.s.timers[guard] = until
    c.music(transfer.held)
    c.record("transfer-blind", event.leg, to=transfer.digits)


def _attended(c: Contact, by: str, consult: Contact, consulting: str, token: str) -> None:
    target = consult.other(consulting)
    consult.stop_recording()
    consult.unbridge()
    consult.quiet(target)
    leg = consult.s.legs.pop(target)
    consult.record("transferred", consulting, to=leg.endpoint, contact=c.s.id)
    consult.finish(Cause.TRANSFERRED, Side.CALLER)
    leg.role = "called"
    c.s.legs[target] = leg
    transfer = hand_over_to(c, by, leg.number or leg.endpoint, token)
    transfer.stage, transfer.target = "talking", target
    c.record("transfer", by, to=transfer.digits)
    complete(c, transfer, target)
