"""What is kept of the black list, and whom a telephone has spoken with (L1, pure; see `blocking`)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from firmware.call.acd_state import same_number
from firmware.call.events import CallEvent
from firmware.call.state import ContactState, Kind

CLASS = "blocked"
MOST = 500


class Blocked(msgspec.Struct, frozen=True):
    """One number: since when (Unix ms), by whom ("extension 201", "command"), and the contact it was blocked for."""

    number: str
    at_ms: int
    by: str
    contact: str = ""


class BlockedChanged(CallEvent, frozen=True):
    """A number was put on the list, or taken off."""

    number: str
    on: bool
    by: str = ""


class LastCaller(msgspec.Struct, frozen=True):
    """Who from outside an extension has spoken with last."""

    number: str
    contact: str


def entry(table: Mapping[str, Blocked], number: str) -> str:
    """The key under which a number stands on the list; "" if it does not."""
    return number if number in table else next((known for known in table if same_number(known, number)), "")


def last_callers(state: ContactState) -> dict[str, LastCaller]:
    """Extension -> caller, when this contact from outside is over."""
    if state.kind is not Kind.INBOUND or state.connected < 0:
        return {}
    caller = LastCaller(state.caller.number, state.id)
    return {leg.endpoint: caller for leg in state.legs.values() if leg.phone and leg.answered >= 0}
