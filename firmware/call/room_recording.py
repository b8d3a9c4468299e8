"""Recording of conference rooms: once for all who are in it, while all of them were told (L1, pure; I1).

Theory of operation
-------------------
A room with `record` is recorded at one of its legs: left is that person, right what it hears, which is everybody else. It is that of the
caller who came first; when he leaves, the next one's leg goes on in a file of his own contact. Whoever comes in and must know
(`consent.py`) hears the notice to its end before he is let in, so nothing of him lies before it. Somebody without it (its clip is missing,
or it was broken off) comes in all the same, and nothing is recorded while he is there: it fails closed. `follow` looks again whenever
somebody enters or leaves and derives everything from who is inside, so no order of events can leave a recording behind.
Invariant: while a recording of a room runs, it has two people at least, and none who must know and was not told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from firmware.call.actions import Played, Say
from firmware.call.recording import NOTICE, refuse, told, unheard

if TYPE_CHECKING:
    from firmware.call.contact import Contact
    from firmware.config.schema.pbx import Room


def tell_newcomer(c: Contact, settings: Room) -> bool:
    """Say the notice to somebody who comes in and must know; True when `newcomer_told` lets him in later."""
    if not settings.record or not unheard(c, (c.s.a,)):
        return False
    if not c.desk.notice_ready(c.s.language):
        refuse(c, "notice-missing")
        return False
    c.say(c.s.a, "notice", Say(NOTICE))
    return True


def newcomer_told(c: Contact, event: Played) -> None:
    """The notice ended, or was broken off."""
    if event.finished:
        told(c).heard.append(event.leg)
    c.record("notice", event.leg, heard=event.finished)


def follow(people: Sequence[Contact], room: str) -> None:
    """Somebody of `people` came into `room` ("room/NAME") or left it: begin, hand on or end its recording."""
    inside = [c for c in people if c.s.room is not None and c.s.a in c.s.room.legs]
    strangers = [c for c in inside if unheard(c, (c.s.a,))]
    settings = people[0].desk.config.rooms.get(room.partition("/")[2]) if people else None
    wanted = settings is not None and settings.record and len(inside) > 1
    for c in people:
        for one in c.s.recordings:
            if one.stopped < 0 and not (wanted and not strangers and c in inside):
                c.stop_one(one, c.now)
    if not wanted:
        return
    for c in strangers:
        refuse(c, "notice-not-heard")
    if not strangers and not any(one.stopped < 0 for c in inside for one in c.s.recordings):
        inside[0].start_recording()
