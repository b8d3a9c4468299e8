"""May a second call wait for a telephone that talks? (L1, pure; A4)

Theory of operation
-------------------
The tone of a waiting call cuts a conversation for a moment, and its flash parts it. That is for ordinary conversations of two: not for
emergencies, for agents with their customers (a queue finds another agent), for recordings (the file would hold the other call), and not
while anything but talk goes on (menus, transfers, holds).
"""

from __future__ import annotations

from collections.abc import Mapping

from firmware.call.state import ContactState, Kind, Phase


def may_interrupt(contacts: Mapping[str, ContactState], leg: str) -> bool:
    """Whether the conversation of `leg` may be told of another call, and parted by a flash."""
    state = next((state for state in contacts.values() if leg in state.legs), None)
    if state is None or state.phase is not Phase.TALKING or leg not in (state.a, state.b) or state.kind in (Kind.EMERGENCY, Kind.CALLBACK):
        return False
    recorded = any(one.stopped < 0 for one in state.recordings)
    return not (state.transfer or state.attempt or state.held_by or state.agent or state.emergency_number or recorded)
