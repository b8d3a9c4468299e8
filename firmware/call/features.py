"""Conversation: talking, hold, transfer by code and by hook flash (L1, pure; A2, TRF-02, TRF-04, HLD-08).

Theory of operation
-------------------
Two parties a and b talk. A phone of ours may key codes: keys that can begin a code are held back for a moment and passed
on when they turn out to be none. Hold: the other party hears music, never the room. Transfer: the other party is held,
the transferring phone hears dial tone and keys a number; it may hang up while the target rings (blind) or after talking to
it (attended). Code or flash again goes back to the held party. Stages and moves:

    collect -> ringing -> talking -> done           hang-up of the transferring phone in "talking" completes
    ringing -> blind -> done | recall               it hung up while ringing; the target failed: it is rung again
    collect, ringing, talking -> back               flash, code, target failed

A telephone's own transfer key (`referral.py`) enters at "blind" or "talking"; while it is still there, a failure goes back to it.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call import hush, limit, speaking
from firmware.call.actions import LineFreed, Played, TimerFired
from firmware.call.contact import FAULTS, Contact, Input, phase
from firmware.call.dialling import attempt_for, forward, next_try, try_failed
from firmware.call.ivr import announce, go
from firmware.call.model import (
    TRUNK,
    Alert,
    Cause,
    LegAnswered,
    LegDigit,
    LegEnded,
    LegFlash,
    LegForwarded,
    LegHeld,
    LegProgress,
    LegResumed,
    LegRinging,
    Side,
    is_trunk,
)
from firmware.call.rating import start_rating
from firmware.call.recording import notice_said, tell_first
from firmware.call.registry import KEYS, key
from firmware.call.routing import ToDestination, ToNowhere
from firmware.call.rules import rule
from firmware.call.state import Attempt, Phase, Transfer


def talk(c: Contact) -> None:
    """Both are there: join them and record if that is due."""
    c.quiet(c.s.a)
    c.move(Phase.TALKING)
    if c.s.connected < 0:
        c.s.connected = c.now
    c.s.attempt = None
    c.record("talking", c.s.b)
    limit.begin(c)
    if not tell_first(c):
        _join(c)


def _join(c: Contact) -> None:
    """All who must have heard the notice have, or cannot: they talk."""
    if c.s.held_by or c.s.transfer is not None:
        return
    c.start_recording()
    speaking.begin(c)
    hush.begin(c)
    c.bridge(c.s.a, c.s.b)
    c.introduce(c.s.a, c.s.b)


@phase(Phase.TALKING)
def talking(c: Contact, event: Input, what: str) -> None:
    """TALKING: conversation, hold, transfer."""
    attempt, transfer = c.s.attempt, c.s.transfer
    reached = attempt.leg if attempt is not None else ""
    match event:
        case LegEnded() if reached and event.leg == reached:
            if not try_failed(c, event):
                _target_failed(c)
        case LegEnded() if transfer is not None:
            _left_in_transfer(c, transfer, event)
        case LegEnded() if event.leg == c.s.held_by and c.s.held_how == "key" and _rings_back(c, event):
            pass
        case LegEnded() if event.leg in (c.s.a, c.s.b):
            _left(c, event)
        case Played() if what == "notice":
            if notice_said(c, event):
                _join(c)
        case TimerFired(name="mask"):
            c.mask(False)
        case LegForwarded():
            forward(c, event)
        case LegRinging() if event.leg == reached and transfer is not None:
            if transfer.stage == "ringing":
                c.tone(transfer.by, "ringback")
        case LegProgress() if event.leg == reached and transfer is not None:
            if transfer.stage == "ringing":
                c.bridge(transfer.by, event.leg)
        case LegAnswered() if event.leg == reached and transfer is not None:
            _target_answered(c, transfer, event.leg)
        case LegDigit():
            _key(c, event.leg, event.digit)
        case LegFlash():
            _flash(c, event.leg)
        case LegHeld() | LegResumed() if transfer is not None and event.leg == transfer.by:
            transfer.on_hold = isinstance(event, LegHeld)
        case LegHeld() if transfer is None and event.leg in (c.s.a, c.s.b):
            if not c.s.held_by:
                hold(c, event.leg, "phone")
        case LegResumed() if c.s.held_by == event.leg and c.s.held_how == "phone":
            resume(c)
        case Played() if what == "back" and transfer is None:
            c.bridge(c.s.a, c.s.b)
        case TimerFired(name="held") if c.s.held_by:
            c.do(do.Chime(c.s.held_by))
            _remind(c)
        case TimerFired(name="keys"):
            _pass_keys(c)
        case TimerFired(name="transfer") if transfer is not None and transfer.stage == "collect":
            dial_target(c, transfer)
        case TimerFired(name="line") | LineFreed():
            if attempt is not None and not attempt.leg and not next_try(c):
                _target_failed(c)


# --- leaving ----------------------------------------------------------------------------------------------------------


def _left(c: Contact, event: LegEnded) -> None:
    """One of the two hung up: rating for the caller of an agent, else the end."""
    leg = c.s.legs[event.leg]
    queue = c.desk.config.queues.get(c.s.queue)
    caller = c.s.legs[c.s.a]
    if (
        event.leg == c.s.b and leg.agent and queue is not None and queue.rating
        and caller.role == "caller" and caller.audible and event.cause not in FAULTS
    ):  # fmt: skip
        c.s.talk_end = event.at
        c.leave(c.side_of(event))
        c.record("agent-released", leg.id, agent=leg.agent)
        c.queue_log("COMPLETEAGENT", leg.agent, event.at - c.s.connected)
        c.s.held_by = c.s.held_how = ""
        start_rating(c)
        return
    if c.s.agent:
        c.queue_log("COMPLETECALLER" if event.leg == c.s.a else "COMPLETEAGENT", c.s.agent, event.at - c.s.connected)
    c.s.talk_end = event.at
    c.gone(event, Cause.TRANSFERRED if event.cause is Cause.TRANSFERRED else Cause.NORMAL)


def _left_in_transfer(c: Contact, transfer: Transfer, event: LegEnded) -> None:
    if event.leg == transfer.held and event.cause is Cause.TRANSFERRED:
        # Its carrier has reached the number itself (`takeback.py`): the same as an answered transfer, without us.
        c.leave(c.side_of(event))
        c.s.talk_end = event.at
        c.record("transferred", transfer.held, by=transfer.by_endpoint, to=transfer.digits)
        _report(c, transfer, None)
        c.hang_up(transfer.by, Cause.TRANSFERRED)
        c.gone(event, Cause.TRANSFERRED)
    elif event.leg == transfer.by:
        if transfer.stage == "talking":
            c.s.legs[event.leg].cause = Cause.TRANSFERRED
            complete(c, transfer, transfer.target)
        elif transfer.stage == "ringing":
            c.s.legs[event.leg].cause = Cause.TRANSFERRED
            transfer.stage = "blind"
            c.record("transfer-blind", event.leg, to=transfer.digits)
            c.music(transfer.held)
        elif transfer.stage == "blind":
            c.s.legs[event.leg].cause = Cause.TRANSFERRED
        elif transfer.stage == "collect":
            c.s.transfer = None
            _left(c, event)
    elif event.leg == transfer.held:
        c.leave(c.side_of(event))
        if transfer.stage == "talking":
            # The caller has gone; the two phones that talk may go on.
            c.s.transfer = None
            _replace(c, transfer.held, transfer.target)
            c.record("held-left", event.leg)
        else:
            c.s.talk_end = event.at
            c.gone(event, Cause.NORMAL)
    elif event.leg == transfer.target:
        _back(c, transfer)


def _replace(c: Contact, old: str, new: str) -> None:
    if c.s.a == old:
        c.s.a = new
    else:
        c.s.b = new


# --- hold -------------------------------------------------------------------------------------------------------------


def hold(c: Contact, by: str, how: str) -> None:
    """`by` holds the other party, who hears music. `how`: "key" or "phone"."""
    c.s.held_by, c.s.held_how = by, how
    c.unbridge()
    c.music(c.other(by))
    c.record("held", c.other(by), by=by)
    if how == "key":
        _remind(c)


def _remind(c: Contact) -> None:
    seconds = c.desk.config.calling.hold_reminder_s
    if seconds:
        c.timer("held", seconds * 1000)


def _rings_back(c: Contact, event: LegEnded) -> bool:
    """Whoever holds a call by code has hung up: the telephone rings again, and nobody is forgotten on hold."""
    held = c.other(event.leg)
    leg = c.s.legs[event.leg]
    if not c.desk.config.calling.ring_back_held or event.cause in FAULTS or not event.by_far or not c.audible(held) or c.s.emergency:
        return False
    c.s.held_by = c.s.held_how = ""
    c.stop_timer("held")
    c.record("held-recall", leg.id, by=leg.endpoint)
    c.s.transfer = Transfer(leg.id, held, stage="recall", digits=leg.endpoint, by_endpoint=leg.endpoint)
    c.s.attempt = Attempt("recall", [leg.endpoint], leg.endpoint, Alert.RECALL, rule("transfer.recall"))
    if not next_try(c):
        _target_failed(c)
    return True


def resume(c: Contact) -> None:
    """End the hold."""
    c.stop_timer("held")
    c.record("resumed", c.other(c.s.held_by), by=c.s.held_by)
    c.s.held_by = c.s.held_how = ""
    c.bridge(c.s.a, c.s.b)


# --- keys and flash ---------------------------------------------------------------------------------------------------


def _key(c: Contact, leg: str, digit: str) -> None:
    found = c.s.legs.get(leg)
    if found is None:
        return
    transfer = c.s.transfer
    if transfer is not None and leg == transfer.by and transfer.stage == "collect":
        _collect(c, transfer, digit)
        return
    if not found.phone or leg not in _keyers(c):
        _pass(c, leg, digit)
        return
    if c.s.keys and c.s.keys_by != leg:
        _pass_keys(c)
    c.s.keys, c.s.keys_by = c.s.keys + digit, leg
    codes = {str(getattr(c.desk.config.features, name)): act for name, act in KEYS.items()}
    if c.s.keys in codes:
        act = codes[c.s.keys]
        c.s.keys = c.s.keys_by = ""
        c.stop_timer("keys")
        act(c, leg)
    elif any(code.startswith(c.s.keys) for code in codes):
        c.timer("keys", rule("key.feature"))
    else:
        _pass_keys(c)


def _keyers(c: Contact) -> tuple[str, ...]:
    """Legs that may give codes: the two that talk, or the one that is transferring."""
    return (c.s.a, c.s.b) if c.s.transfer is None else (c.s.transfer.by,)


def _pass(c: Contact, leg: str, digits: str) -> None:
    if leg in c.s.bridged:
        c.do(do.SendDigits(c.other_bridged(leg), digits))


def _pass_keys(c: Contact) -> None:
    keys, by = c.s.keys, c.s.keys_by
    c.s.keys = c.s.keys_by = ""
    c.stop_timer("keys")
    if keys:
        _pass(c, by, keys)


@key("hold")
def _hold_code(c: Contact, leg: str) -> None:
    if c.s.transfer is not None:
        return
    if not c.s.held_by:
        hold(c, leg, "key")
    elif c.s.held_by == leg and c.s.held_how == "key":
        resume(c)


@key("transfer")
def _transfer_code(c: Contact, leg: str) -> None:
    if c.s.transfer is None:
        _begin(c, leg)
    elif c.s.transfer.by == leg:
        _cancel(c, c.s.transfer)


def _flash(c: Contact, leg: str) -> None:
    found = c.s.legs.get(leg)
    if found is None or not found.phone or leg not in _keyers(c):
        return
    consulting = c.s.transfer is not None and c.s.transfer.stage == "talking"
    if consulting and c.desk.config.calling.flash == "join" and not c.s.emergency:
        KEYS["join"](c, leg)
    else:
        _transfer_code(c, leg)


# --- transfer ---------------------------------------------------------------------------------------------------------


def free_to_hand_over(c: Contact, leg: str) -> bool:
    """Whether this leg talks, or holds, and no other transfer is under way."""
    if c.s.phase is not Phase.TALKING or c.s.transfer is not None or leg not in (c.s.a, c.s.b):
        return False
    return c.audible(leg) and c.audible(c.other(leg)) and c.s.held_by in ("", leg)


def hand_over_to(c: Contact, by: str, digits: str, token: str) -> Transfer:
    """Part `by` from its far party, which it hands over to `digits`."""
    transfer = Transfer(by, c.other(by), digits=digits, by_endpoint=c.s.legs[by].endpoint, token=token, on_hold=c.s.held_by == by)
    c.s.held_by = c.s.held_how = ""
    c.s.keys = c.s.keys_by = ""
    c.stop_timer("keys")
    c.s.transfer = transfer
    c.unbridge()
    return transfer


def _begin(c: Contact, by: str) -> None:
    """Hold the other party and give `by` dial tone."""
    if c.s.held_by and c.s.held_by != by:
        return
    c.s.held_by = c.s.held_how = ""
    held = c.other(by)
    c.s.transfer = Transfer(by, held, by_endpoint=c.s.legs[by].endpoint)
    c.unbridge()
    c.music(held)
    c.tone(by, "dial")
    c.timer("transfer", rule("key.transfer.first"))
    c.record("held", held, by=by)


def _collect(c: Contact, transfer: Transfer, digit: str) -> None:
    c.quiet(transfer.by)
    if not transfer.digits and digit == "*":
        # The transfer code keyed again before a number: back.
        c.s.keys, c.s.keys_by = digit, transfer.by
    elif c.s.keys:
        c.s.keys += digit
    if c.s.keys:
        code = c.desk.config.features.transfer
        if c.s.keys == code or not code.startswith(c.s.keys):
            c.s.keys = c.s.keys_by = ""
            _back(c, transfer)
        return
    transfer.digits += digit
    verdict = c.desk.routing.dial_check(transfer.by_endpoint, transfer.digits)
    if verdict == "more":
        c.timer("transfer", rule("key.transfer.next"))
    else:
        dial_target(c, transfer)


def dial_target(c: Contact, transfer: Transfer) -> None:
    c.stop_timer("transfer")
    nothing = ToNowhere(Cause.UNREACHABLE, "nothing dialled")
    target = c.desk.routing.resolve(transfer.by_endpoint, transfer.digits) if transfer.digits else nothing
    attempt = attempt_for(c, target, "transfer")
    if isinstance(target, ToDestination) and not c.s.emergency:
        _send_to(c, transfer, target.to)
        return
    if attempt is None:
        cause = getattr(target, "cause", Cause.UNREACHABLE)
        c.record("transfer-failed", transfer.by, to=transfer.digits, cause=cause.value)
        _report(c, transfer, cause)
        _back(c, transfer)
        return
    c.quiet(transfer.by)
    transfer.stage = "ringing"
    c.s.attempt = attempt
    c.record("transfer", transfer.by, to=transfer.digits)
    if not next_try(c):
        _target_failed(c)


def _send_to(c: Contact, transfer: Transfer, to: str) -> None:
    """The held party goes to a destination with an internal number: a group, a room. The transferring telephone is free."""
    c.record("transferred", transfer.held, by=transfer.by_endpoint, to=to)
    _report(c, transfer, None)
    c.s.transfer = None
    c.stop_recording()
    c.quiet(transfer.by)
    c.s.legs[transfer.by].cause = Cause.TRANSFERRED
    c.hang_up(transfer.by, Cause.TRANSFERRED)
    c.s.a, c.s.b = transfer.held, ""
    c.s.hops = 0
    go(c, to)


def _target_answered(c: Contact, transfer: Transfer, leg: str) -> None:
    c.s.attempt = None
    if transfer.stage == "ringing":
        transfer.stage, transfer.target = "talking", leg
        c.bridge(transfer.by, leg)
    else:
        complete(c, transfer, leg)


def complete(c: Contact, transfer: Transfer, target: str) -> None:
    """`held` and `target` talk; an agent on the target phone works on this contact from now on."""
    c.s.transfer = None
    if c.s.speaking is not None and transfer.by in (c.s.speaking.agent, c.s.speaking.caller):
        speaking.end(c)
    take_place(c, transfer.by, target)
    c.record("transferred", target, by=transfer.by_endpoint, to=c.s.legs[target].endpoint)
    if c.s.agents:
        c.queue_log("TRANSFER", c.s.agents[0], c.s.legs[target].endpoint, "attended" if transfer.stage == "talking" else "blind")
    _report(c, transfer, None)
    c.hang_up(transfer.by, Cause.TRANSFERRED)
    c.bridge(transfer.held, target)
    limit.begin(c)
    _release(c, transfer.held, target)


def after_join(c: Contact, transfer: Transfer) -> None:
    """A consultation became a call of three: the telephone's own transfer, if it was one, is over."""
    _report(c, transfer, None)
    c.s.held_by = c.s.held_how = ""


def take_place(c: Contact, old: str, target: str) -> None:
    """`target` is a party of the contact in the place of `old`; an agent there works on it from now on."""
    _replace(c, old, target)
    leg = c.s.legs[target]
    c.desk.floor.take(leg.endpoint, c.s.id, c.s.queue, c.now)
    agent = c.desk.floor.on_phone(leg.endpoint)
    if agent is not None and agent.contact == c.s.id:
        leg.agent = c.s.agent = agent.agent
        if c.s.legs[old].agent == agent.agent:
            c.s.legs[old].agent = ""             # goes on with the call on another telephone of the same extension
        if agent.agent not in c.s.agents:
            c.s.agents.append(agent.agent)


def _release(c: Contact, one: str, other: str) -> None:
    """Two calls of one trunk need not go through us where the trunk says so; one that is recorded, counted (abroad) or for help stays."""
    first, second = c.s.legs[one], c.s.legs[other]
    trunk = c.desk.config.trunks.get(first.endpoint.removeprefix(TRUNK)) if is_trunk(first.endpoint) else None
    if trunk is None or not trunk.release or first.endpoint != second.endpoint or c.s.emergency or c.recording_live():
        return
    if first.international or second.international:
        return
    c.record("release", one, to=other)
    c.do(do.ReleaseLegs(one, other))


def _report(c: Contact, transfer: Transfer, cause: Cause | None) -> None:
    """Tell a phone that transfers by its own key the outcome; once."""
    if transfer.token:
        c.do(do.ReportReferral(transfer.token, cause))
        transfer.token = ""


def _target_failed(c: Contact) -> None:
    """The target or the recalled phone could not be reached."""
    transfer = c.s.transfer
    if transfer is None:
        return
    c.record("transfer-failed", transfer.by, to=transfer.digits, stage=transfer.stage)
    if transfer.token:
        tried = [leg for leg in c.s.legs.values() if leg.role == "called" and not leg.live]
        _report(c, transfer, (tried[-1].cause if tried else None) or Cause.CONGESTION)
    if transfer.stage == "ringing" or (transfer.stage == "blind" and c.audible(transfer.by)):
        _back(c, transfer)
    elif transfer.stage == "blind":
        transfer.stage = "recall"
        c.s.attempt = Attempt("recall", [transfer.by_endpoint], transfer.by_endpoint, Alert.RECALL, rule("transfer.recall"))
        if not next_try(c):
            _target_failed(c)
    else:
        c.s.transfer = None
        c.s.talk_end = c.now
        c.s.end_cause = Cause.NO_ANSWER
        c.leave(Side.AGENT)
        held = c.s.legs[transfer.held]
        if held.audible and not held.phone:
            c.s.a, c.s.b = held.id, ""
            c.stop_recording()
            announce(c, "xfer.fail")
        else:
            c.finish(Cause.NO_ANSWER, Side.SYSTEM)


def _cancel(c: Contact, transfer: Transfer) -> None:
    """Code or flash while transferring: give the target up and go back."""
    attempt = c.s.attempt
    if attempt is not None:
        c.s.attempt = None
        c.hang_up(attempt.leg, Cause.CANCELLED)
    if transfer.target:
        c.hang_up(transfer.target, Cause.NORMAL)
    _back(c, transfer)


def _back(c: Contact, transfer: Transfer) -> None:
    """The held party and the transferring phone talk again."""
    _report(c, transfer, Cause.CANCELLED)
    c.s.transfer = None
    c.stop_timer("transfer")
    c.stop_timer("line")
    c.record("transfer-back", transfer.by)
    if transfer.on_hold:
        hold(c, transfer.by, "phone")
    else:
        c.bridge(transfer.by, transfer.held)
