"""Listen, whisper, barge, take over: a shift leader's telephone joins a conversation (L1, pure; G11, J3, QM-03).

Theory of operation
-------------------
The shift leader dials the code and the number of an extension or agent of a queue that his telephone `supervises` ("*": every call); an
idle telephone is refused. His leg becomes a third leg of that contact, neither a nor b: he hears both, nobody hears him. Keys change it:

    1 listen     nobody hears him                2 whisper    only the supervised telephone of ours hears him
    3 barge      both hear him                   4 take over  he goes on with the call, the agent is released to the wrap-up

Who must know is the country's profile: where it asks for a notice, nobody listens in before the outside party has heard it
(`recording.unheard`'s rule); where it asks for a tone, the supervised telephone hears one. Emergency calls are left alone.
The tap follows the two through hold and back; it ends when he hangs up, when the supervised leg leaves, or with the contact. All is in the
history. Invariants: at most one supervisor for a contact; a supervisor never changes who talks to whom except by key 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from firmware.call import actions as do
from firmware.call.consent import consent
from firmware.call.features import complete, free_to_hand_over, hand_over_to
from firmware.call.model import Cause, LegAnswered, LegDigit
from firmware.call.registry import Found, behind, beside, left, taking
from firmware.call.rules import rule
from firmware.call.state import ContactState, Leg, Phase, Supervised
from firmware.config.schema.tree import Config

if TYPE_CHECKING:
    from firmware.call.contact import Contact
    from firmware.call.routing import Dialled

MODES = {"1": "listen", "2": "whisper", "3": "barge"}
TAKE_OVER = "4"


def may_supervise(config: Config, by: str, state: ContactState, leg: Leg) -> bool:
    """Whether a telephone may listen to this leg: its queues meet the call's queue or the agent's."""
    known = config.extensions.get(by)
    if known is None:
        return False
    agent = config.agents.get(leg.agent)
    queues = {state.queue, *(agent.queues if agent is not None else ())} - {""}
    return "*" in known.supervises or bool(queues & set(known.supervises))


def find(config: Config, contacts: Iterable[ContactState], by: str, number: str) -> Found:
    """The conversation at an extension, or of an agent."""
    for state in contacts:
        if state.phase is not Phase.TALKING:
            continue
        for leg in (state.legs.get(state.a), state.legs.get(state.b)):
            if leg is None or not leg.audible or not leg.phone or number not in (leg.endpoint, leg.agent) or leg.endpoint == by:
                continue
            refused = _refused(config, state, by, leg)
            return Found(cause=Cause.REFUSED, detail=refused) if refused else Found(state.id, leg.id)
    return Found(cause=Cause.UNREACHABLE, detail=f"nobody talks at {number}")


def _refused(config: Config, state: ContactState, by: str, leg: Leg) -> str:
    if not may_supervise(config, by, state, leg):
        return f"{by} does not supervise this call"
    if state.emergency:
        return "an emergency call is left to its people"
    if state.supervised is not None:
        return "somebody supervises this call already"
    heard = state.told.heard if state.told is not None else []
    other = state.legs[state.b if leg.id == state.a else state.a]
    if consent(config).listen == "notice" and not other.phone and other.id not in heard:
        return "the outside party has not heard the notice"
    return ""


def take(c: Contact, old: str, new: Leg) -> bool:
    """Put the shift leader's leg beside the two that talk."""
    new.incoming, new.role = False, "supervisor"
    c.s.legs[new.id] = new
    c.s.supervised = Supervised(new.id, old, new.endpoint)
    c.do(do.AnswerLeg(new.id))
    c.timer(f"guard.leg:{new.id}", rule("guard.answer"))
    c.record("supervised", new.id, by=new.endpoint, of=c.s.legs[old].endpoint, mode="listen")
    return True


@taking("listen", take)
def _wanted(config: Config, contacts: Iterable[ContactState], by: str, rest: str) -> Found:
    return find(config, contacts, by, rest.removesuffix("#"))


@behind("listen")
def _number_behind(config: Config, digits: str) -> Dialled:
    """The number of an extension or agent is keyed behind the code."""
    number = digits.removesuffix("#")
    numbers = [*config.extensions, *config.agents]
    if not digits.endswith("#") and any(len(one) > len(number) and one.startswith(number) for one in numbers):
        return "more"
    return "complete" if number in numbers else "impossible"


@beside
def supervising(c: Contact, event: object) -> bool:
    """Take an input of the supervisor's leg while the two talk; False for any other."""
    found = c.s.supervised
    if found is None or getattr(event, "leg", "") != found.leg:
        return False
    match event:
        case LegAnswered() if c.s.phase is Phase.TALKING:
            c.tap(begins=True)
        case LegDigit():
            _key(c, found, event.digit)
        case _:
            return False
    return True


def _key(c: Contact, found: Supervised, digit: str) -> None:
    if digit == TAKE_OVER:
        _take_over(c, found)
    elif digit in MODES and MODES[digit] != found.mode:
        found.mode = MODES[digit]
        c.record("supervised", found.leg, by=found.by, of=c.s.legs[found.of].endpoint, mode=found.mode)
        c.tap()


def _take_over(c: Contact, found: Supervised) -> None:
    """He goes on with the call in the place of the one he listened to."""
    if not free_to_hand_over(c, found.of) or not c.audible(found.leg):
        return
    c.record("taken-over", found.leg, by=found.by, of=c.s.legs[found.of].endpoint, agent=c.s.legs[found.of].agent)
    c.do(do.Untap(found.leg))
    c.s.supervised = None
    c.s.legs[found.leg].role = "called"
    transfer = hand_over_to(c, found.of, found.by, "")
    complete(c, transfer, found.leg)


@left
def _gone(c: Contact, leg: Leg) -> None:
    """A leg of the contact is over."""
    found = c.s.supervised
    if found is None or leg.id not in (found.leg, found.of):
        return
    c.s.supervised = None
    c.record("supervised-ended", found.leg, by=found.by, why="supervisor" if leg.id == found.leg else "call")
    if leg.id == found.of:
        c.do(do.Untap(found.leg))
        c.hang_up(found.leg, Cause.NORMAL)
