"""Which calls are recorded, and who must have heard the notice before (L1, pure; I1, SEC-09).

Theory of operation
-------------------
`wish` looks at the rules of the configuration with what is known of the call: the first that fits decides, and where none does, the queue.
Whether it may be done is the country's profile (`consent.py`): `unheard` names the legs that have not heard the notice to its end and
must. `tell_first` says it to them before the two are joined, so nothing of a conversation lies before it; a call of a queue has heard it
from the route. Without the clip, or when it was broken off, the call goes on and is not recorded: the history says why, once.
Emergency calls are recorded only where the country allows and the site wants it. Keys within a call begin and end a recording (where a
rule says "on-demand" or "always") and mask it; a mask ends by itself after `mask.most`, as what was forgotten would cost the recording.
Invariant: `do.StartRecording` is never queued while `unheard` names anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from firmware.call.actions import Played, Say
from firmware.call.consent import consent
from firmware.call.model import TRUNK
from firmware.call.registry import key
from firmware.call.rules import rule
from firmware.call.state import Kind, Phase, Told

if TYPE_CHECKING:
    from firmware.call.contact import Contact
    from firmware.call.contact_recording import ContactRecording
    from firmware.config.schema.recording import RecordRule

NOTICE = "rec.notice"
QUEUE = "queue/"


class Wish(NamedTuple):
    """What the rules say: "always", "on-demand" or "never", for which class, by which rule."""

    record: str
    keep: str = ""
    rule: str = ""


def wish(c: ContactRecording) -> Wish:
    """What the site wants for this call as it is now."""
    config = c.desk.config
    if c.s.recorded:
        return Wish("always", "", "bench")
    if c.s.emergency or c.s.kind in (Kind.EMERGENCY, Kind.CALLBACK):
        wanted = config.recording.emergency and consent(config).emergency
        return Wish("always" if wanted else "never", "", "emergency")
    if c.s.phase is Phase.ROOM and c.s.room is not None:
        room = config.rooms.get(c.s.room.name.partition("/")[2])
        return Wish("always" if room is not None and room.record else "never", "", c.s.room.name)
    for index, one in enumerate(config.recording.rules):
        if _fits(c, one):
            return Wish(one.record, one.keep, f"rules.{index + 1}")
    queue = config.queues.get(c.s.queue)
    if queue is not None and queue.record:
        return Wish("always", "", f"{QUEUE}{c.s.queue}")
    return Wish("never")


def _fits(c: ContactRecording, one: RecordRule) -> bool:
    legs = [leg for name, leg in c.s.legs.items() if name in (c.s.a, c.s.b)]
    direction = {Kind.INBOUND: "inbound", Kind.OUTBOUND: "outbound"}.get(c.s.kind, "internal")
    met = (
        (one.queues, {c.s.queue}),
        (one.lines, {leg.endpoint.removeprefix("line/") for leg in legs if leg.endpoint.startswith("line/")}),
        (one.trunks, {leg.endpoint.removeprefix(TRUNK) for leg in legs if leg.endpoint.startswith(TRUNK)}),
        (one.agents, {c.s.agent, *(leg.agent for leg in legs)}),
        (one.extensions, {leg.endpoint for leg in legs if leg.phone}),
    )
    return one.direction in ("any", direction) and all(not wanted or bool(set(wanted) & found) for wanted, found in met)


def unheard(c: ContactRecording, among: Sequence[str] = ()) -> list[str]:
    """Legs of the conversation, or of those `among`, that must have heard the notice and have not."""
    profile = consent(c.desk.config)
    heard = set(c.s.told.heard if c.s.told is not None else ())
    legs = [c.s.legs[name] for name in among or (c.s.a, c.s.b) if name in c.s.legs]
    internal = all(leg.phone for leg in legs)
    if c.s.recorded:
        return []
    return [
        leg.id for leg in legs
        if leg.id not in heard
        and (profile.outside == "notice" if not leg.phone else profile.inside == "notice" or (profile.inside == "internal" and internal))
    ]  # fmt: skip


def told(c: ContactRecording) -> Told:
    """Who has heard the notice of this contact."""
    if c.s.told is None:
        c.s.told = Told()
    return c.s.told


def tell_first(c: Contact) -> bool:
    """Say the notice to whom it is owed before the two are joined; True when they are joined by `notice_said` later."""
    wanted = wish(c)
    legs = unheard(c)
    demanded = c.s.told is not None and c.s.told.demanded
    if not legs or not (demanded if wanted.record == "on-demand" else wanted.record == "always"):
        return False
    if wanted.rule.startswith(QUEUE):
        return False                    # its callers are told by their route or not at all: no agent waits for a notice
    if not all(c.audible(leg) for leg in (c.s.a, c.s.b)):
        return False
    if not c.desk.notice_ready(c.s.language):
        refuse(c, "notice-missing")
        return False
    c.unbridge()                        # early audio of a line
    waiting = told(c).waiting
    waiting[:] = legs
    c.record("notice-asked", legs[0], legs=len(legs))
    for leg in (c.s.a, c.s.b):
        if leg in legs:
            c.quiet(leg)
            c.say(leg, "notice", Say(NOTICE))
        else:
            c.music(leg)
    return True


def notice_said(c: Contact, event: Played) -> bool:
    """A notice within TALKING ended; True when all have heard it or cannot any more, and the two can be joined."""
    state = told(c)
    if event.leg not in state.waiting:
        return False
    state.waiting.remove(event.leg)
    if event.finished:
        state.heard.append(event.leg)
    c.record("notice", event.leg, heard=event.finished)
    # One that is played something else by now (it was put on hold) has not heard it.
    state.waiting[:] = [leg for leg in state.waiting if leg in c.s.plays and c.s.plays[leg].what == "notice" and c.audible(leg)]
    return not state.waiting


def refuse(c: ContactRecording, why: str) -> None:
    """This call is not recorded although a rule asks for it: said once in its history."""
    state = told(c)
    if state.refused != why:
        state.refused = why
        c.record("recording-refused", c.s.a, reason=why)


# --- keys within a conversation ---------------------------------------------------------------------------------------


@key("record")
def record_key(c: Contact, leg: str) -> None:
    """Begin to record this call, or end it, where a rule lets the telephone do so."""
    wanted = wish(c)
    if any(one.stopped < 0 for one in c.s.recordings):
        if wanted.record == "on-demand":
            c.record("recording-ended", leg, by=c.s.legs[leg].endpoint)
            told(c).demanded = False
            c.stop_recording()
        return
    if wanted.record == "never" or not consent(c.desk.config).on_demand or c.s.transfer is not None or c.s.held_by:
        c.record("recording-refused", leg, reason="no rule allows it" if wanted.record == "never" else "not now")
        return
    told(c).demanded = True
    c.record("recording-demanded", leg, by=c.s.legs[leg].endpoint)
    if not tell_first(c):
        c.start_recording()


@key("mask")
def mask_key(c: Contact, leg: str) -> None:
    """Silence the recording while something is said or keyed that it must not hold; again: go on."""
    on = not c.masked()
    if c.mask(on):
        c.stop_timer("mask")
        if on:
            c.timer("mask", rule("mask.most"))
