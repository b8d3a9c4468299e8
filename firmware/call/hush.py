"""A caller of whom nothing is heard after the answer: screens are told, and by a tone the agent, where the queue wants it (L1, pure).

Theory of operation (SIL-09)
----------------------------
`begin`: an agent of a queue with `silent_hint_s` is about to hear his caller. The engine tells of the caller's talks (`vm.Listen`); the
first one ends the watch. When both have heard each other for so long without one, the history says "caller-silent", `CallerSilent` goes to
screens, and with `silent_tone` the agent, nobody else, hears a short tone beside the call. `CallerSilent` with `silent` false follows at
the caller's first word and when the agent's part is over. Hold, consultation and music are not counted: the clock runs while the two are
joined (`contact_sound.bridge`). It is said once for each conversation. Nothing about a person is kept: no level, no time, and what the
agent does is not looked at.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call import voicemail_actions as vm
from firmware.call.contact import Contact
from firmware.call.events import CallerSilent
from firmware.call.registry import left
from firmware.call.state import Hush, Leg

TIMER = "guard.hush"


def begin(c: Contact) -> None:
    """An agent and a caller are about to hear each other, for the first time."""
    agent, queue = c.s.legs.get(c.s.b), c.desk.config.queues.get(c.s.queue)
    if c.s.hush is not None or agent is None or not agent.agent or c.s.emergency or queue is None or not queue.silent_hint_s:
        return
    c.s.hush = Hush(agent.id, c.s.a, agent.agent, queue.silent_hint_s * 1000, own=c.s.speaking is None)
    if c.s.hush.own:
        c.do(vm.Listen(c.s.a, True))


def heard(c: Contact, event: vm.Voice) -> None:
    """Somebody speaks."""
    found = c.s.hush
    if found is not None and not found.over and event.active and event.leg == found.caller:
        end(c)


def due(c: Contact) -> None:
    """Nothing was heard of the caller for so long."""
    found, queue = c.s.hush, c.desk.config.queues.get(c.s.queue)
    if found is None or found.over or found.since < 0:
        return
    found.told = True
    c.record("caller-silent", found.caller, agent=found.number, queue=c.s.queue)
    _tell(c, found, silent=True)
    if queue is not None and queue.silent_tone and c.audible(found.agent):
        c.do(do.Chime(found.agent, quiet=True))


def end(c: Contact) -> None:
    """The caller spoke, or the agent's part is over: nothing is listened for any more."""
    found = c.s.hush
    if found is None or found.over:
        return
    found.over = True
    c.stop_timer(TIMER)
    if found.told:
        _tell(c, found, silent=False)
    if found.own and c.audible(found.caller):
        c.do(vm.Listen(found.caller, False))


def _tell(c: Contact, found: Hush, *, silent: bool) -> None:
    extension = c.s.legs[found.agent].endpoint
    c.do(do.Notify(CallerSilent(c.now, c.s.id, c.s.queue, found.number, extension, silent)))


@left
def gone(c: Contact, leg: Leg) -> None:
    """One of the two hung up."""
    if c.s.hush is not None and leg.id in (c.s.hush.agent, c.s.hush.caller):
        end(c)
