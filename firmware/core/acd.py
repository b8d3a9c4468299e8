"""Answers to the commands about callbacks and lost callers (L5): `attach(gate, calls)` wires them.

`Switchboard.acd` is journaled with everything else; `KeepAcd` writes it to `state.db` too (`core/agents.py`), from where it comes back
when media and the calls of the journal are gone. Its instants are Unix ms, so it needs no translation.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from firmware.call import staffing
from firmware.call.events import CallEvent, LowRating, NuisanceEnded, PromiseBroken, StaffingChanged
from firmware.call.floor import Status, is_callback
from firmware.control import acd_commands as cmd
from firmware.core.calls import Calls

log = logging.getLogger("branchpbx.calls")
HOUR_MS = 3_600_000


class Gate(Protocol):
    """The part of `control/gate.py` used here."""

    def handle(self, command: Any, fn: Any) -> None: ...


def attach(gate: Gate, calls: Calls) -> None:
    """Let the gate answer every command of `acd_commands`."""
    answers = AcdQueries(calls)
    gate.handle(cmd.ShowCallbacks, lambda one: answers.callbacks())
    gate.handle(cmd.CallbackCancel, answers.cancel)
    gate.handle(cmd.ShowMissed, lambda one: answers.missed())
    gate.handle(cmd.MissedClose, answers.close)
    gate.handle(cmd.ShowStaffing, lambda one: answers.staffing())
    calls.bus.subscribe((StaffingChanged, LowRating, NuisanceEnded, PromiseBroken), lambda event: warn(event, calls))


def warn(event: CallEvent, calls: Calls) -> None:
    """Raise or clear what the shift leader must see within minutes."""
    if isinstance(event, LowRating):
        key = f"rating:{event.contact}"
        english = f"a caller of queue {event.queue} was not satisfied with agent {event.agent} ({event.grade}): contact {event.contact}"
        chinese = f"队列{event.queue}的来电者对坐席{event.agent}不满意（{event.grade}），通话{event.contact}"
        calls.alarms.raise_(key, english, chinese)
        calls.clock.call_later(HOUR_MS, lambda: calls.alarms.clear(key))
    elif isinstance(event, NuisanceEnded):
        key = f"nuisance:{event.contact}"
        who = f"agent {event.agent}" if event.agent else f"extension {event.by}"
        english = f"{who} ended a call with an abusive party: contact {event.contact}" + (", number blocked" if event.blocked else "")
        chinese = f"{f'坐席{event.agent}' if event.agent else f'分机{event.by}'}按键结束了骚扰通话{event.contact}" + (
            "，号码已列入黑名单" if event.blocked else ""
        )
        calls.alarms.raise_(key, english, chinese)
        calls.clock.call_later(HOUR_MS, lambda: calls.alarms.clear(key))
    elif isinstance(event, PromiseBroken):
        key = f"promise:{event.request}"
        if event.on:
            english = f"queue {event.queue}: {event.number} was promised a call by now and was not called; `show callbacks` lists it"
            calls.alarms.raise_(key, english, f"队列{event.queue}：已承诺回电{event.number}，到时仍未回电")
        else:
            calls.alarms.clear(key)
    elif not isinstance(event, StaffingChanged):
        return
    elif event.people:
        english = f"emergency staffing: {event.callers} callers wait too long though all steps were taken; call in {event.people} people"
        calls.alarms.raise_("staffing-call-in", english, f"应急坐席：各步骤已采取，仍有{event.callers}位等候过久，请召集{event.people}人")
        log.warning("%s", english)
    elif event.step:
        who = ", ".join(event.agents) or "-"
        english = f"emergency staffing step {event.step} ({event.name}): {event.callers} callers wait too long, joined: {who}"
        chinese = f"应急坐席第{event.step}步（{event.name}）：{event.callers}位等候过久，加入：{who}"
        calls.alarms.raise_("staffing", english, chinese)
        log.warning("%s", english)
    else:
        calls.alarms.clear("staffing")
        calls.alarms.clear("staffing-call-in")
        log.warning("emergency staffing stands down, %d callers wait too long, left: %s", event.callers, ", ".join(event.agents) or "-")


class AcdQueries:
    """One method per command."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._board = calls.board

    def callbacks(self) -> list[cmd.CallbackRow]:
        """Every request, the oldest first."""
        wall = self._board.wall(self._calls.clock.now())
        rows = []
        for one in sorted(self._board.acd.callbacks.values(), key=lambda one: (one.since_ms - one.ahead, one.id)):
            queued = self._board.floor.entry(one.id) is not None
            place = self._board.floor.ahead(one.id) + 1 if queued else 0
            state = "calling" if one.contact else "waiting" if queued else "later"
            rows.append(cmd.CallbackRow(
                one.id.removeprefix("cb:"), one.number, one.queue, state, place, max(0, wall - one.since_ms) // 1000, one.tries,
                0 if queued or one.contact else one.not_before_ms, one.expires_ms, one.last, one.promise_ms, one.late,
            ))  # fmt: skip
        return rows

    def cancel(self, command: cmd.CallbackCancel) -> list[cmd.CallbackRow]:
        """Drop a request."""
        self._calls.command(lambda now: self._board.cancel_callback(command.request, now))
        return self.callbacks()

    def staffing(self) -> list[cmd.StaffingRow]:
        """The step in force; nothing where no steps are set up."""
        settings, state, now = self._board.config.acd.staffing, self._board.acd.staffing, self._calls.clock.now()
        if not settings.callers or not staffing.levels(settings):
            return []
        seats = [one for one in self._board.floor.state.agents.values() if one.status is not Status.LOGGED_OUT]
        limit = staffing.scaled(settings, sum(one.agent not in state.joined for one in seats)).callers
        lines = self._board.floor.state.queues.values()
        over = sum(now - one.since > settings.wait_s * 1000 for line in lines for one in line if not is_callback(one.contact))
        name = settings.steps[state.step - 1].name if 0 < state.step <= len(settings.steps) else ""
        return [cmd.StaffingRow(state.step, staffing.levels(settings), over, limit, settings.wait_s, name, list(state.joined))]

    def missed(self) -> list[cmd.MissedRow]:
        """Every lost caller, the oldest first."""
        wall, claim = self._board.wall(self._calls.clock.now()), self._board.config.acd.missed_claim_s * 1000
        return [
            cmd.MissedRow(
                one.number, one.times, one.first_ms, one.last_ms, one.queue, one.why, one.contact,
                one.claimed_by if wall - one.claimed_ms < claim else "",
            )
            for one in sorted(self._board.acd.missed.values(), key=lambda one: (one.first_ms, one.number))
        ]  # fmt: skip

    def close(self, command: cmd.MissedClose) -> list[cmd.MissedRow]:
        """Take a number off the list."""
        self._calls.command(lambda now: self._board.close_missed(command.number, now))
        return self.missed()
