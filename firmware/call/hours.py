"""Opening hours in a call: the destination hours/NAME, the class a call keeps, the hours a caller is told (L1, pure; E5, F7).

Theory of operation
-------------------
A caller who is led to hours/NAME goes on where the class of the call says: open, at lunch, closed, on a holiday, at night by key. The class
of a call is that of its beginning and is kept (`ContactState.hours`), so a night call that lasts beyond midnight stays one. A
destination that is not given is that for closed. `class_of` is for everybody who asks; `closed` for a queue with hours of its own, whose
callers go when those end, though their calls began in time.
"""

from __future__ import annotations

from collections.abc import Callable

from firmware.call.calendar import Moment, Night, State
from firmware.call.contact import Contact
from firmware.call.ivr import go
from firmware.call.registry import destination
from firmware.call.state import HoursTaken
from firmware.call.times import LocalTime, minutes_of
from firmware.config.schema.calendar import OpeningHours

MINUTE_MS = 60_000
DAY_MINUTES = 1440


def class_of(c: Contact, name: str) -> State:
    """The class that the call has for the opening hours `name`: that of its beginning, decided once."""
    taken = c.s.hours
    if taken is not None and name in taken.classes:
        return taken.classes[name]
    moment = _decided(c, name)
    c.s.hours = taken or HoursTaken()
    c.s.hours.classes[name] = moment.state
    c.s.hours.told = c.desk.calendar.told(name, c.desk.local(c.s.opened), moment.state)
    c.record("hours", c.s.a, hours=name, state=moment.state, by=moment.level, day=moment.day.name)
    return moment.state


def _decided(c: Contact, name: str) -> Moment:
    began = c.desk.local(c.s.opened)
    key = Night(c.desk.night.now(c.desk.local(c.now).unix_ms))
    return c.desk.calendar.at(name, began, key)


def closed(c: Contact, name: str) -> str:
    """The class of this instant where the opening hours `name` are not open now, "" while they are; nothing is said of unknown ones.

    For what has hours of its own, whatever the class of the call: from then on the call has this one.
    """
    if name not in c.desk.config.hours:
        return ""
    local = c.desk.local(c.now)
    state = c.desk.calendar.at(name, local, c.desk.night).state
    if state == "open":
        return ""
    c.s.hours = c.s.hours or HoursTaken()
    c.s.hours.classes[name] = state
    c.s.hours.told = c.desk.calendar.told(name, local, state)
    return state


def told(c: Contact) -> str:
    """The hours that a prompt's {hours} says: those the caller was led by, else the branch's only ones; "" for none."""
    if c.s.hours is not None:
        return c.s.hours.told
    names = list(c.desk.config.hours)
    if len(names) != 1:
        return ""
    local = c.desk.local(c.now)
    return c.desk.calendar.told(names[0], local, c.desk.calendar.at(names[0], local, c.desk.night).state)


def branch(hours: OpeningHours, state: State) -> str:
    """Where calls of a class go."""
    if state == "open":
        return hours.to
    return {"lunch": hours.at_lunch, "holiday": hours.on_holiday, "night": hours.night}.get(state, "") or hours.closed


@destination("hours", speaks=False)
def by_hours(c: Contact, name: str) -> None:
    """Lead the caller on by the class of the call."""
    hours = c.desk.config.hours.get(name)
    go(c, branch(hours, class_of(c, name)) if hours is not None else "hangup")


def next_at(local: Callable[[int], LocalTime], now: int, clock: str) -> int:
    """Unix ms of the next time that the wall clock shows "hh:mm", after `now` (engine ms); 0 for "". A skipped time is the one after it."""
    if not clock:
        return 0
    wanted, here = minutes_of(clock), local(now)
    ahead = (wanted - here.minutes - 1) % DAY_MINUTES + 1
    at = now + ahead * MINUTE_MS - here.second * 1000
    off = (wanted - local(at).minutes + DAY_MINUTES // 2) % DAY_MINUTES - DAY_MINUTES // 2     # the clock was changed on the way
    if off and (at + off * MINUTE_MS) > now:
        at += off * MINUTE_MS
    reached = local(at)
    return reached.unix_ms - reached.unix_ms % 1000 if reached.unix_ms else 0
