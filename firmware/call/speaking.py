"""Measuring how an agent and a caller speak, where the queue asks for it and the country lets it (L1, pure).

Theory of operation. `begin` asks the engine to tell of talks of both legs when an agent of a queue with `speech` meets his caller;
`hear` takes what it tells, beside whatever the contact does; the end of either leg, or of the agent's part in it (transfer), writes one
line of history, "speech", with the figures of `speaking_state`. They say something about one person: never measured where the country's
profile has `measures = false` or the site said `reports.people = "no"`, and nothing in this product acts on them.
"""

from __future__ import annotations

import msgspec

from firmware.call import hush
from firmware.call import voicemail_actions as vm
from firmware.call.consent import consent
from firmware.call.contact import Contact
from firmware.call.registry import beside, left
from firmware.call.speaking_state import Speaking
from firmware.call.state import Leg
from firmware.config.schema.tree import Config


def measured(config: Config, queue: str) -> bool:
    """Whether conversations of a queue are measured."""
    found = config.queues.get(queue)
    return found is not None and found.speech and consent(config).measures and config.reports.people != "no"


def begin(c: Contact) -> None:
    """An agent and a caller are about to hear each other."""
    agent = c.s.legs.get(c.s.b)
    if c.s.speaking is not None or agent is None or not agent.agent or c.s.emergency or not measured(c.desk.config, c.s.queue):
        return
    c.s.speaking = Speaking(agent.id, c.s.a, agent.agent)
    for leg in (c.s.a, agent.id):
        c.do(vm.Listen(leg, True))


def end(c: Contact) -> None:
    """The agent's part is over: write what there was."""
    found = c.s.speaking
    if found is None:
        return
    figures = found.figures(c.now)
    c.s.speaking = None
    for leg in (found.caller, found.agent):
        if c.audible(leg):
            c.do(vm.Listen(leg, False))
    if figures.joined_ms:
        c.record("speech", found.agent, agent=found.number, queue=c.s.queue, **msgspec.structs.asdict(figures))


@beside
def hear(c: Contact, event: object) -> bool:
    """What the engine tells of the two."""
    if isinstance(event, vm.Voice):
        hush.heard(c, event)
    found = c.s.speaking
    if found is None or not isinstance(event, vm.Voice) or event.leg not in (found.agent, found.caller):
        return False
    if event.active:
        found.began(event.leg, event.start)
    else:
        found.ended(event.leg, event.start, event.at, event.level)
    return True


@left
def gone(c: Contact, leg: Leg) -> None:
    """One of the two hung up."""
    if c.s.speaking is not None and leg.id in (c.s.speaking.agent, c.s.speaking.caller):
        end(c)
