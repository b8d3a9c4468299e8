"""Answers of the calls part to the commands of `control/call_commands.py` (L5): `attach(gate, calls, clock, ports)` wires them."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from firmware.call.floor import Status
from firmware.call.model import Cause
from firmware.call.quality import Quality
from firmware.call.state import Leg
from firmware.control import call_commands as cmd
from firmware.core import acd
from firmware.core.calls import Calls
from firmware.errors import PbxError
from firmware.media.events import PortState
from firmware.runtime.clock import Clock

Ports = Callable[[], Awaitable[list[PortState]]]
QualityOf = Callable[[int], Quality | None]


class Gate(Protocol):
    """The part of `control/gate.py` used here."""

    def handle(self, command: Any, fn: Any) -> None: ...


def attach(gate: Gate, calls: Calls, clock: Clock, ports: Ports, quality: QualityOf = lambda port: None) -> None:
    """Let the gate answer every command of `call_commands`; `ports` asks media what runs, `quality` how good a port's call is."""
    answers = CallQueries(calls, clock, ports, quality)
    gate.handle(cmd.ShowCalls, answers.calls)
    gate.handle(cmd.ShowQuality, answers.quality)
    gate.handle(cmd.ShowQueues, answers.queues)
    gate.handle(cmd.ShowAgents, answers.agents)
    gate.handle(cmd.ShowContacts, answers.contacts)
    gate.handle(cmd.ShowContact, answers.contact)
    gate.handle(cmd.ShowQueueLog, answers.queue_log)
    gate.handle(cmd.ShowEmergencies, answers.emergencies)
    gate.handle(cmd.AgentLogin, lambda one: answers.agent(one.agent, "login", extension=one.extension))
    gate.handle(cmd.AgentLogout, lambda one: answers.agent(one.agent, "logout"))
    gate.handle(cmd.AgentPause, lambda one: answers.agent(one.agent, "pause", reason=one.reason))
    gate.handle(cmd.AgentReady, lambda one: answers.agent(one.agent, "ready"))
    acd.attach(gate, calls)
    gate.handle(cmd.HangUp, answers.hang_up)
    gate.handle(cmd.Originate, answers.originate)


class CallQueries:
    """One method per command."""

    def __init__(self, calls: Calls, clock: Clock, ports: Ports, quality: QualityOf = lambda port: None) -> None:
        self._calls = calls
        self._ports = ports
        self._quality = quality
        self._board = calls.board
        self._clock = clock

    def _seconds(self, since: int) -> int:
        return max(0, self._clock.now() - since) // 1000

    async def calls(self, _: cmd.ShowCalls) -> list[cmd.CallRow]:
        """Live contacts, oldest first."""
        rows = []
        ports = await self._rtp_ports()
        for state in sorted(self._board.contacts.values(), key=lambda one: (one.opened, one.id)):
            legs = [f"{leg.endpoint}={_leg_state(leg)}" for leg in state.live_legs]
            speech = [f"{leg.endpoint}={_speech(ports[leg.id])}" for leg in state.live_legs if leg.id in ports]
            rows.append(cmd.CallRow(
                state.id, state.kind.value, state.phase.value, state.caller.number, state.called, state.queue, state.agent,
                self._seconds(state.opened), legs, speech,
                [f"{leg.endpoint}={_grades(self._quality(ports[leg.id].port))}" for leg in state.live_legs if leg.id in ports],
            ))  # fmt: skip
        return rows

    async def _rtp_ports(self) -> dict[str, PortState]:
        """Open RTP ports by leg."""
        try:
            return {one.tag: one for one in await self._ports() if one.kind == "rtp" and one.open}
        except PbxError:                 # media is being replaced, or has too much to do: the rest is known all the same
            return {}

    async def quality(self, _: cmd.ShowQuality) -> list[cmd.QualityRow]:
        """Live legs over IP."""
        rows = []
        ports = await self._rtp_ports()
        for state in sorted(self._board.contacts.values(), key=lambda one: (one.opened, one.id)):
            for leg in state.live_legs:
                port = ports.get(leg.id)
                found = self._quality(port.port) if port is not None else None
                if port is None or found is None:
                    continue
                rows.append(cmd.QualityRow(
                    state.id, leg.id, leg.endpoint, port.codec, port.suite, found.received, found.sent, found.loss, found.jitter_ms,
                    found.mos, found.far_loss, found.far_jitter_ms, found.far_mos, found.round_trip_ms, found.reports_received,
                    found.reports_refused,
                ))  # fmt: skip
        return rows

    def queues(self, _: cmd.ShowQueues) -> list[cmd.QueueRow]:
        """Every queue of the configuration."""
        config, floor = self._board.config, self._board.floor
        rows = []
        for name, queue in config.queues.items():
            waiting = floor.waiting(name)
            states = [floor.state.agents[number].status for number, agent in config.agents.items() if name in agent.queues]
            busy = sum(status in (Status.OFFERED, Status.TALKING, Status.WRAP_UP) for status in states)
            longest = self._seconds(waiting[0].since) if waiting else 0
            rows.append(cmd.QueueRow(
                name, len(waiting), longest, states.count(Status.READY), busy, states.count(Status.PAUSED), queue.strategy
            ))  # fmt: skip
        return rows

    def agents(self, _: cmd.ShowAgents) -> list[cmd.AgentRow]:
        """Every agent."""
        config = self._board.config
        return [
            cmd.AgentRow(
                one.agent, one.status.value, one.extension, one.reason, self._seconds(one.since), one.contact, one.calls, one.misses,
                list(config.agents[one.agent].queues) if one.agent in config.agents else [],
            )
            for one in self._board.floor.state.agents.values()
        ]  # fmt: skip

    def contacts(self, command: cmd.ShowContacts) -> list[cmd.ContactRow]:
        """Newest records."""
        return [_contact_row(row) for row in self._calls.records.last(command.lines)]

    def contact(self, command: cmd.ShowContact) -> cmd.ContactDetail:
        """One record with legs and events."""
        row = self._calls.records.contact(command.contact)
        if row is None:
            raise PbxError(f"there is no contact {command.contact}; `show contacts` lists the newest")
        legs = [
            cmd.LegRow(
                leg["id"], leg["kind"], leg["endpoint"], leg["role"], leg["number"], leg["agent"], leg["started_ms"],
                leg["ringing_ms"] or 0, leg["answered_ms"] or 0, leg["answered_by"], leg["ended_ms"], leg["cause"], leg["evidence"],
                leg["confidence"], bool(leg["by_far"]), leg["codec"], leg["mos"], leg["far_mos"], leg["quality"],
            )
            for leg in self._calls.records.legs(command.contact)
        ]  # fmt: skip
        events = [cmd.EventRow(one["at_ms"], one["kind"], one["leg"], one["data"]) for one in self._calls.records.events(command.contact)]
        return cmd.ContactDetail(
            _contact_row(row), row["answered_ms"] or 0, row["connected_ms"] or 0, row["ring_ms"], row["seat_cycles"], row["seat_alert_ms"],
            row["misses"], row["language"], bool(row["notice"]), self._calls.recorder.recordings.store.known(row["recording"].split()),
            row["recording_lost"], row["evidence"], row["confidence"], legs, events,
        )  # fmt: skip

    def queue_log(self, command: cmd.ShowQueueLog) -> list[cmd.QueueLogRow]:
        """Newest lines of the queue log."""
        return [
            cmd.QueueLogRow(row["at_ms"], row["contact"], row["queue"], row["agent"], row["event"], row["data"])
            for row in self._calls.queue_log.last(command.lines)
        ]

    def emergencies(self, _: cmd.ShowEmergencies) -> list[cmd.EmergencyRow]:
        """Emergency calls that are going on."""
        return [
            cmd.EmergencyRow(one.contact, one.extension, one.number, self._seconds(one.at), one.text["en"], one.text["zh"])
            for one in self._calls.emergencies.values()
        ]

    def agent(self, agent: str, verb: str, *, extension: str = "", reason: str = "") -> cmd.AgentResult:
        """Log in, log out, pause, make ready."""
        status = self._calls.command(lambda now: self._board.agent_command(agent, verb, now, extension=extension, reason=reason))
        return cmd.AgentResult(agent, status.value)

    def hang_up(self, command: cmd.HangUp) -> cmd.ContactResult:
        """End a call."""
        self._calls.command(lambda now: self._board.hang_up(command.contact, now))
        return cmd.ContactResult(command.contact)

    def originate(self, command: cmd.Originate) -> cmd.ContactResult:
        """Ring a phone, then dial for it."""
        return cmd.ContactResult(self._calls.command(lambda now: self._board.originate(command.extension, command.number, now)))


def _grades(quality: Quality | None) -> str:
    """Grade of what arrives/of what the far end reports."""
    mos = [None, None] if quality is None else [quality.mos, quality.far_mos]
    return "/".join("-" if one is None else f"{one:.1f}" for one in mos)


def _speech(port: PortState) -> str:
    strange = f" ({port.forged} not genuine)" if port.forged else ""
    return (port.suite or "clear") + strange


def _leg_state(leg: Leg) -> str:
    if leg.hung_up:
        return "ending"
    if leg.answered >= 0:
        return "answered"
    return "ringing" if leg.ringing >= 0 or leg.incoming else "calling"


def _contact_row(row: sqlite3.Row) -> cmd.ContactRow:
    cause = row["cause"] or ("" if row["ended_ms"] is None else Cause.SYSTEM.value)
    return cmd.ContactRow(
        row["id"], row["seq"] or 0, row["kind"], row["opened_ms"], row["ended_ms"] or 0, row["caller"], row["called"], row["line"],
        row["queue"], row["agent"], row["rings"], row["wait_ms"], row["talk_ms"], row["rating"], cause, row["first_to_leave"],
        row["linked"],
    )  # fmt: skip
