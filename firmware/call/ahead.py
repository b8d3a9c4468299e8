"""Who goes ahead in a queue, and which agent a caller is kept for (L1, pure; features G4, G6).

A VIP, and a caller who was lost a moment ago and calls again, take the place of one who came earlier by a set time; so they pass
others but are never first for ever. A caller who spoke to an agent lately is offered to that agent first, where he is at work.
"""

from __future__ import annotations

from firmware.call.acd_state import AcdState, Visit, entry_of
from firmware.call.floor import Floor, Status
from firmware.config.schema.acd import Acd

DAY_MS = 86_400_000


def ahead_of(acd: Acd, state: AcdState, number: str, wall_ms: int) -> tuple[int, str]:
    """(ms that a caller stands ahead, why)."""
    if number and any(number.removeprefix("+").startswith(one.removeprefix("+")) for one in acd.vip):
        return acd.vip_ahead_s * 1000, "vip"
    lost = state.missed.get(entry_of(state.missed, number)) if number and acd.repeat_ahead_s else None
    if lost is not None and wall_ms - lost.last_ms <= acd.repeat_within_s * 1000:
        return acd.repeat_ahead_s * 1000, "repeat"
    return 0, ""


def preferred_agent(acd: Acd, state: AcdState, floor: Floor, queue: str, number: str, wall_ms: int) -> str:
    """The agent of the queue whom this caller spoke to within `preferred_days` and who is at work; "" for nobody."""
    if not acd.preferred_days or not number:
        return ""
    served = state.served.get(entry_of(state.served, number))
    if served is None or wall_ms - served.at_ms > acd.preferred_days * DAY_MS:
        return ""
    return served.agent if waits_for(floor, queue, served.agent) else ""


def waits_for(floor: Floor, queue: str, agent: str) -> bool:
    """Whether it makes sense that a caller of `queue` waits for `agent`."""
    known = floor.state.agents.get(agent)
    return known is not None and floor.serves(agent, queue) and known.status not in (Status.LOGGED_OUT, Status.PAUSED)


def prepare(visit: Visit, acd: Acd, state: AcdState, floor: Floor, queue: str, number: str, wall_ms: int) -> None:
    """Decide at the entry into a queue. What was asked for by number (`agent/8001`) stays."""
    visit.ahead, visit.why = ahead_of(acd, state, number, wall_ms)
    if not visit.preferred:
        visit.preferred = preferred_agent(acd, state, floor, queue, number, wall_ms)
