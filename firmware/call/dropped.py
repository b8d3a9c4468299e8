"""What is remembered of a call that was cut off (L1, pure; see `redial`)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from firmware.call.model import OUTSIDE, Cause
from firmware.call.state import ContactState, Kind
from firmware.config.schema.tree import Config

#: Ends that nobody wanted.
CUT_OFF = frozenset({Cause.MEDIA_LOST, Cause.RTP_LOST, Cause.LINE_FAULT, Cause.SYSTEM, Cause.PREEMPTED})


class Dropped(msgspec.Struct, frozen=True):
    """A call that was cut off. `number`: as the extension dials it; `at`: engine ms."""

    contact: str
    number: str
    at: int


def cut_off(config: Config, state: ContactState) -> Mapping[str, Dropped]:
    """Extension -> call, when this contact was cut off; else nothing."""
    if state.connected < 0 or state.emergency or state.cause not in CUT_OFF:
        return {}
    outside = [leg for leg in state.legs.values() if leg.kind in OUTSIDE and leg.answered >= 0]
    inside = [leg for leg in state.legs.values() if leg.phone and leg.answered >= 0 and leg.cause is not Cause.TRANSFERRED]
    if len(outside) != 1 or not inside or not outside[0].number:
        return {}
    far, near = outside[0], inside[-1]
    dialled = state.called if near.incoming and state.kind is Kind.OUTBOUND else ""
    number = dialled or config.calling.redial_prefix + far.number
    return {near.endpoint: Dropped(state.id, number, state.ended)}
