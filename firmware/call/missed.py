"""The list of lost callers: each once, taken by an agent, closed when reached (L1, pure; feature M7).

Theory of operation
-------------------
A call from outside that ended without anybody having spoken with the caller puts the number on the list, or counts it there once
more. Any conversation with that number, whoever began it, takes it off. An agent takes an entry before calling; the claim ends by
time, so that a forgotten one comes back. Numbers are compared by `same_number`. The list is bounded and entries grow old.
"""

from __future__ import annotations

from firmware.call.acd_state import MOST_MISSED, MOST_SERVED, AcdState, Missed, Served, entry_of
from firmware.call.model import OUTSIDE, Cause
from firmware.call.state import ContactState, Kind

DAY_MS = 86_400_000
#: Ends of a call that never reached a queue by which nobody was lost: it was led to its end.
LED = frozenset({Cause.NORMAL, Cause.REFUSED, Cause.PREEMPTED})


def is_lost(state: ContactState) -> bool:
    """Whether a contact that is over is a caller from outside whom nobody spoke with and who asked for no callback or left no message."""
    if state.kind is not Kind.INBOUND or state.connected >= 0 or not state.caller.number or not state.line:
        return False
    if state.acd is not None and state.acd.stage == "done":
        return False
    left_nothing = state.mail is not None and state.mail.role == "leave"
    return state.first_queued >= 0 or left_nothing or state.cause not in LED


def lost(state: AcdState, number: str, wall_ms: int, *, queue: str, why: str, contact: str, keep_days: int) -> Missed:
    """Put a caller on the list; the entry."""
    for old in [one for one, entry in state.missed.items() if wall_ms - entry.last_ms > keep_days * DAY_MS]:
        del state.missed[old]
    known = state.missed.get(entry_of(state.missed, number))
    if known is None:
        while len(state.missed) >= MOST_MISSED:
            del state.missed[min(state.missed, key=lambda one: state.missed[one].last_ms)]
        known = state.missed[number] = Missed(number, wall_ms, wall_ms, 0)
    known.times += 1
    known.last_ms, known.queue, known.why, known.contact = wall_ms, queue, why, contact
    return known


def numbers_of(state: ContactState) -> list[str]:
    """Numbers outside with whom a contact that talks has to do."""
    legs = [leg.number for leg in state.legs.values() if leg.kind in OUTSIDE and leg.answered >= 0 and leg.number]
    return legs + ([state.caller.number] if state.line and state.caller.number else [])


def reached(state: AcdState, number: str) -> Missed | None:
    """Somebody speaks with this number: the entry, which is taken off the list; None where it was not on it."""
    return state.missed.pop(entry_of(state.missed, number), None)


def served(state: AcdState, number: str, agent: str, wall_ms: int) -> None:
    """Remember whom a caller spoke to."""
    state.served.pop(entry_of(state.served, number), None)
    while len(state.served) >= MOST_SERVED:
        del state.served[next(iter(state.served))]
    state.served[number] = Served(agent, wall_ms)


def open_entries(state: AcdState, wall_ms: int, claim_ms: int, agent: str = "") -> list[Missed]:
    """Entries that are nobody's, or `agent`'s, the oldest first."""
    found = [
        one for one in state.missed.values() if not one.claimed_by or one.claimed_by == agent or wall_ms - one.claimed_ms >= claim_ms
    ]
    return sorted(found, key=lambda one: (one.first_ms, one.number))
