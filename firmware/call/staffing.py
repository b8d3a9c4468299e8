"""Emergency staffing: when reserves join a queue and when they stand down (L1, pure; G10, Z20, EMG-01 to EMG-07).

Theory of operation
-------------------
The condition is that at least `callers` callers have waited longer than `wait_s`. It must hold without a break for `sustained_s`; then the
next step is in force, and it is looked at anew for the one after it. `callers` is no fixed number: `scaled` raises it to a part of the
seats at work, those who joined by a step not counted. After the last step, `call_in` is one more: the shift leader is told how many people
to call in, by a table (EMG-06). Everybody stands down when fewer than half of `callers` have waited so long for `calm_s` without a break
(hysteresis); between the two nothing changes. A step that has a time of day counts as passed over outside it. `StaffingState` is all there
is; its instants are engine ms.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from firmware.call.acd_state import StaffingState
from firmware.call.quiet import quiet_ms
from firmware.call.times import LocalTime
from firmware.config.schema.acd import Staffing, Step

Move = Literal["", "up", "down"]


def scaled(settings: Staffing, seats: int) -> Staffing:
    """The settings with `callers` for a site at which so many seats are at work; 0 stays 0."""
    part = -(-seats * settings.share // 100)
    return msgspec.structs.replace(settings, callers=max(settings.callers, part)) if settings.callers else settings


def levels(settings: Staffing) -> int:
    """How many steps there are, with that of calling people in."""
    return len(settings.steps) + bool(settings.call_in)


def people(settings: Staffing, over: int) -> int:
    """How many people to call in while so many callers wait too long; the first row where none fits yet."""
    fit = [row.people for row in settings.call_in if row.callers <= over]
    return fit[-1] if fit else settings.call_in[0].people


def decide(state: StaffingState, over: int, settings: Staffing, now: int) -> Move:
    """What happens now that `over` callers have waited longer than `wait_s`. `state` is brought up to date."""
    if not settings.callers or not levels(settings):
        return "down" if state.step else ""
    if over < settings.callers:
        state.over_since = -1
    elif state.over_since < 0:
        state.over_since = now
    calm = bool(state.step) and over * 2 < settings.callers
    if not calm:
        state.calm_since = -1
    elif state.calm_since < 0:
        state.calm_since = now
    if state.calm_since >= 0 and now - state.calm_since >= settings.calm_s * 1000:
        return "down"
    if state.over_since >= 0 and now - state.over_since >= settings.sustained_s * 1000 and state.step < levels(settings):
        return "up"
    return ""


def due(state: StaffingState, waits: Iterable[int], settings: Staffing, now: int) -> int:
    """When `decide` has something to do by time alone: `waits` are the instants at which callers joined; -1 for never."""
    if not settings.callers or not levels(settings):
        return -1
    times = [since + settings.wait_s * 1000 + 1 for since in waits]
    if state.over_since >= 0 and state.step < levels(settings):
        times.append(state.over_since + settings.sustained_s * 1000)
    if state.calm_since >= 0:
        times.append(state.calm_since + settings.calm_s * 1000)
    return min((at for at in times if at > now), default=-1)


def holds(step: Step, local: LocalTime) -> bool:
    """Whether a step may be taken at this time of day."""
    if not step.from_time and not step.to_time:
        return True
    return quiet_ms(local, [f"{step.from_time or '00:00'}-{step.to_time or '00:00'}"]) > 0
