"""Ending a call with somebody abusive by a code, so that everybody knows why (L1, pure; CMP-06, END-05).

Theory of operation. Whoever talks with somebody outside keys the code (after the reminders that the rules of the house ask for): the call
ends, its record says that the agent ended it and by which command, its history says who tagged it, the shift leader sees an alarm, and
where the site wants it the number is put on the black list. No rating is asked for. Emergency calls are never ended so, nor a call in which
somebody consults a third party: there the other one is held.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.contact import Contact
from firmware.call.events import NuisanceEnded
from firmware.call.model import OUTSIDE, Cause, Evidence, Side
from firmware.call.registry import key
from firmware.call.state import Kind


@key("nuisance")
def nuisance_key(c: Contact, leg: str) -> None:
    """End this call with a tag, where there is somebody outside and the site allows it."""
    wish = c.desk.config.calling.nuisance
    far = c.other_bridged(leg) if leg in c.s.bridged else ""
    emergency = c.s.emergency or c.s.kind in (Kind.EMERGENCY, Kind.CALLBACK)
    if wish == "off" or emergency or c.s.transfer is not None or not far or c.s.legs[far].kind not in OUTSIDE:
        c.record("nuisance-refused", leg)
        return
    phone, number = c.s.legs[leg], c.s.legs[far].number
    blocked = wish == "block" and bool(number) and number not in c.desk.routing.emergency
    c.record("nuisance", far, by=phone.endpoint, agent=phone.agent, blocked=blocked)
    if blocked:
        c.desk.block(number, c.now, by=f"extension {phone.endpoint}", contact=c.s.id)
    c.do(do.Notify(NuisanceEnded(c.now, c.s.id, c.s.queue, phone.endpoint, phone.agent, blocked)))
    if c.s.agent:
        c.queue_log("COMPLETEAGENT", c.s.agent, c.now - c.s.connected)
    c.finish(Cause.NORMAL, Side.AGENT, Evidence("command", 1.0, "nuisance"))
