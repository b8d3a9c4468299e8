"""What a telephone wishes for its calls: forwards and do-not-disturb, and what that means for a call (L1, pure; A4).

Theory of operation
-------------------
A `Wish` belongs to an extension, whatever telephone it has. "Always" sends a call on before anything rings; "busy" and "no answer" after
the telephone failed so (not registered counts as no answer; do-not-disturb counts as busy). A call is sent on with the rights and at
the expense of the extension that wishes it, at most `forward.most` times, and never to an extension that has sent it on already:
then the last telephone rings after all, so that a caller is not lost between two absent colleagues.
Neither wish stands in the way of an emergency call-back, of a recall of one's own call, or of a call that was taken up by hand.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from firmware.call.events import CallEvent
from firmware.call.model import Alert, Cause
from firmware.call.state import Attempt

#: Ends of a called telephone that the forwards "busy" and "no answer" are for.
BUSY = frozenset({Cause.BUSY, Cause.REJECTED})
AWAY = frozenset({Cause.NO_ANSWER, Cause.UNREACHABLE})


class Wish(msgspec.Struct, frozen=True):
    """Of one extension: numbers as its owner would dial them, "" for none."""

    dnd: bool = False
    always: str = ""
    busy: str = ""
    no_answer: str = ""


class WishChanged(CallEvent, frozen=True):
    """An extension's owner wishes something else."""

    extension: str
    wish: Wish


NONE = Wish()


def wish_for(wishes: Mapping[str, Wish], attempt: Attempt, endpoint: str) -> Wish:
    """What holds for this attempt to reach `endpoint`."""
    spared = attempt.alert in (Alert.EMERGENCY, Alert.RECALL) or attempt.emergency or attempt.purpose not in ("dial", "transfer")
    wish = NONE if spared else wishes.get(endpoint, NONE)
    # An intercom call is for this telephone: refused where nobody is to be disturbed, sent on nowhere.
    return Wish(dnd=wish.dnd) if attempt.alert is Alert.INTERCOM else wish


def after(wish: Wish, cause: Cause) -> str:
    """Where a call goes whose telephone ended with `cause`; "" for nowhere."""
    return wish.busy if cause in BUSY else wish.no_answer if cause in AWAY else ""


def text(wish: Wish) -> str:
    """One line for tables: "dnd always=201 busy=9123"."""
    parts = [f"{name.replace('_', '-')}={number}" for name in ("always", "busy", "no_answer") if (number := getattr(wish, name))]
    return " ".join((["dnd"] if wish.dnd else []) + parts)
