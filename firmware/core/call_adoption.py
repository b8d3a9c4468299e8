"""Going on with what an earlier core left (L5).

Theory of operation. The journal names the contacts that were live. If media outlived the earlier core, those whose legs the drivers can
adopt and whose ports media still runs continue; legs that cannot are ended with evidence "adoption". If media is new too, nothing can be
heard any more, and every contact is closed as of the last moment the journal knows. A record that is open and of which no journal knows is
closed as an orphan, so that no caller is without one; after a power cut that is each of them, as the journal outlives a process only: a
caller nobody had spoken with is put on the list of lost callers by what his record and history say.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from firmware.call import actions as do
from firmware.call.model import PACKETS, Cause, Evidence, LegEnded
from firmware.call.state import Phase
from firmware.core.journal import Entry, Shared

if TYPE_CHECKING:
    from firmware.core.calls import Calls

log = logging.getLogger("branchpbx.calls")


def go_on(calls: Calls, ports: Iterable[Any], *, adopted: bool) -> None:
    """Take over contacts, agents, queues and windows. `ports`: what media runs; `adopted`: media outlived the earlier core."""
    board = calls.board
    shared, entries = calls.journal.load()
    known = {entry.state.id for entry in entries}
    lost: dict[str, tuple[str, str]] = {}
    for contact in calls.records.orphans():
        if contact not in known:
            found = calls.records.orphan_lost(contact)
            if found is not None:
                lost[contact] = found
            calls.records.close_orphan(contact, calls.clock.wall_ms())
    if adopted:
        board.restore(shared.state if shared is not None else board.snapshot(), [entry.state for entry in entries])
        running = {port.port: port for port in ports if getattr(port, "open", True)}
        calls.audio.running = frozenset(getattr(port, "bridge", -1) for port in running.values())
        for entry in entries:
            _adopt(calls, entry, running)
        calls.audio.running = frozenset()
        calls.audio.close_strangers(running)
        return
    board.acd = calls.agents.load_acd()
    calls.inputs.append(None)            # what was kept is put where it belongs now
    for contact, (number, queue) in lost.items():
        board.orphaned(number, queue, contact, calls.clock.now())
    for entry in entries:
        _close_lost(calls, entry)
        board.forgotten(entry.state, calls.clock.now())
    if shared is not None:
        _keep_windows(calls, shared)
    for agent, extension, state, reason in calls.agents.load():
        if agent in board.config.agents and extension in board.config.extensions:
            board.floor.log_in(agent, extension, calls.clock.now())
            if state == "paused":
                board.floor.pause(agent, reason, calls.clock.now())


def _adopt(calls: Calls, entry: Entry, running: Mapping[int, Any]) -> None:
    state = entry.state
    tagged = {port.tag: number for number, port in running.items() if getattr(port, "tag", "")}
    alive = 0
    for leg in state.live_legs:
        port = tagged.get(leg.id, leg.port if leg.port in running else -1)
        driver = calls.drivers.get(leg.kind)
        if driver is not None and leg.id in entry.legs and driver.adopt(leg.id, entry.legs[leg.id], port):
            alive += 1
            if port >= 0:
                calls.audio.ports[leg.id] = port
        else:
            evidence = Evidence("adoption", 1.0, "the leg could not be taken over")
            calls.inputs.append(LegEnded(leg.id, calls.clock.now(), Cause.SYSTEM, evidence, False))
    if len(state.bridged) == 2:
        calls.audio.adopt(state.id, state.bridged[0], state.bridged[1], running)
        found = state.supervised
        if found is not None and found.leg in calls.audio.ports and state.legs[found.leg].answered >= 0:
            calls.audio.tap(state.id, do.Tap(found.leg, found.of, found.mode), sip=state.legs[found.leg].kind in PACKETS)
    calls.rooms.adopt(state, running)
    if state.emergency:
        calls.board.emergency_begins(state, state.emergency_number, state.opened)
    log.info("contact %s: %d of %d legs taken over, phase %s", state.id, alive, len(state.live_legs), state.phase)
    facts = {"legs": alive, "of": len(state.live_legs), "phase": state.phase.value}
    calls.records.event(state.id, calls.clock.wall_ms(), "adopted", "", facts)
    calls.dirty.add(state.id)


def _close_lost(calls: Calls, entry: Entry) -> None:
    """Media is gone with the conversation: close as of the last moment the journal knows."""
    state = entry.state
    evidence = Evidence("adoption", 1.0, "the appliance was restarted")

    def wall(at: int) -> int:
        return at + entry.wall_offset

    for leg in state.live_legs:
        leg.ended, leg.cause, leg.evidence = entry.at, Cause.SYSTEM, evidence
        calls.records.leg(state.id, leg, wall)
    if state.phase is Phase.TALKING:
        state.talk_end = entry.at
    state.ended = entry.at
    state.cause, state.evidence = state.cause or Cause.SYSTEM, state.evidence or evidence
    calls.records.close(state, wall)
    calls.journal.forget(state.id)


def _keep_windows(calls: Calls, shared: Shared) -> None:
    """Emergency call-back windows and the minutes of the day outlive a restart; the engine clock may have begun again."""
    calls.board.toll.keep(shared.state.toll)
    now = calls.clock.now()
    shift = shared.wall_offset - (calls.clock.wall_ms() - now)
    for window in shared.state.windows:
        window.until += shift
    calls.board.windows = [window for window in shared.state.windows if window.until > now]
