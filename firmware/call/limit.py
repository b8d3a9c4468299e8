"""The longest time of a call with the outside: a tone warns both, then the call ends (L1, pure; E9).

Theory of operation
-------------------
`outbound[].most_minutes` of the route that a call left by and `extensions.N.most_minutes` of every telephone in it, and of one that sent it
on, may each say how long it lasts; the shortest that is not 0 counts, and 0 is no limit. Where none of them says anything it is
`calling.most_minutes`. It counts from the moment the two talk first, transfers and holds included; who takes part after a transfer
decides from there on, but nobody is cut off without the warning, `calling.warn_s` before the end. Never for an emergency call, nor for
the call-back after one.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.contact import Contact
from firmware.call.model import OUTSIDE, Cause, Evidence, Side
from firmware.call.state import Kind

WARN, END = "guard.limit.warn", "guard.limit.end"


def most_ms(c: Contact) -> int:
    """The longest time of this call as it is now; 0 for none."""
    config = c.desk.config
    outside = [leg for leg in c.s.live_legs if leg.kind in OUTSIDE]
    if not outside or c.s.emergency or c.s.kind in (Kind.EMERGENCY, Kind.CALLBACK):
        return 0
    telephones = {leg.endpoint for leg in c.s.live_legs if leg.phone and leg.id in (c.s.a, c.s.b)} | {leg.payer for leg in outside}
    said = [leg.most_minutes for leg in outside]
    said += [config.extensions[number].most_minutes for number in telephones if number in config.extensions]
    said = [one for one in said if one >= 0] or [config.calling.most_minutes]
    return min((one for one in said if one), default=0) * 60_000


def begin(c: Contact) -> None:
    """The two talk, for the first time or in another pairing."""
    most = most_ms(c)
    if c.s.limited < 0 and any(leg.kind in OUTSIDE for leg in c.s.live_legs):
        c.s.limited = c.now
    if not most:
        c.stop_timer(WARN)
        c.stop_timer(END)
        return
    warn = c.desk.config.calling.warn_s * 1000
    end = c.s.limited + most
    if c.s.timers.get(END) == end:
        return
    end = max(end, c.now + warn) if c.now > c.s.limited else end
    c.timer(WARN, max(0, end - warn - c.now))
    c.timer(END, end - c.now)


def due(c: Contact, name: str) -> None:
    """One of the two timers fired."""
    if c.s.emergency:
        return
    if name == WARN:
        c.record("limit-warning")
        for leg in c.s.live_legs:
            if leg.audible:
                c.do(do.Chime(leg.id))
    else:
        c.record("limit")
        c.finish(Cause.TIMEOUT, Side.SYSTEM, Evidence("timer", 1.0, "the longest time of a call with the outside"))
