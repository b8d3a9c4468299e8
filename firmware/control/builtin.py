"""Handlers of the commands that need no call: version, status, accounts, logs, configuration."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import firmware
from firmware.config.render import set_lines
from firmware.config.schema.tree import SCHEMA_VERSION, Config
from firmware.control import commands as c
from firmware.control.gate import Gate
from firmware.runtime import log as process_log
from firmware.runtime.alarms import Alarms
from firmware.runtime.clock import Clock
from firmware.runtime.health import alive, memory_kb

PROCESSES = ("parent", "media", "core", "manage", "world")


@dataclass
class Facts:
    """What the composition root knows and the handlers tell."""

    config: Config
    config_hash: str
    state: Path
    clock: Clock
    alarms: Alarms
    boot: int
    generation: str
    started_at: int
    adopted: bool = False
    calls: Callable[[], int] = field(default=lambda: 0)
    next_event: Callable[[], int] = field(default=lambda: 0)
    account_states: Callable[[], Mapping[str, str]] = field(default=dict)
    """Account or agent number -> state in words, of those that have one."""


def attach(gate: Gate, facts: Facts) -> None:
    """Register every handler of this module."""
    gate.handle(c.ShowVersion, lambda _: version())
    gate.handle(c.ShowStatus, lambda _: _status(facts))
    gate.handle(c.ShowEndpoints, lambda _: _endpoints(facts))
    gate.handle(c.ShowAccounts, lambda _: _accounts(facts))
    gate.handle(c.ShowLog, lambda command: _log(facts, command))
    gate.handle(c.ShowAlarms, lambda _: _alarms(facts))
    gate.handle(c.ShowCommands, lambda _: [c.describe(kind) for path, kind in c.registered().items()])
    gate.handle(c.ShowConfiguration, lambda command: [line for line in set_lines(facts.config) if line.startswith(f"set {command.under}")])


def _alarms(facts: Facts) -> list[c.AlarmRow]:
    alarms = facts.alarms
    return [c.AlarmRow(kind, text, local_time(facts, since), alarms.chinese(kind)) for kind, text, since in alarms.list()]


def version() -> c.VersionResult:
    """Version of this build."""
    return c.VersionResult("BranchPBX", firmware.__version__, platform.python_version(), SCHEMA_VERSION)


def local_time(facts: Facts, wall_ms: int) -> str:
    """Unix ms as local time of the branch."""
    return datetime.fromtimestamp(wall_ms / 1000, ZoneInfo(facts.config.site.time_zone)).isoformat(" ", "seconds")[:19]


def _processes(facts: Facts) -> list[c.ProcessRow]:
    rows = []
    for name in PROCESSES:
        try:
            pid = int((facts.state / "run" / f"{name}.pid").read_text("ascii"))
        except (OSError, ValueError):
            continue
        rows.append(c.ProcessRow(name, pid, "running" if alive(pid) else "gone", memory_kb(pid)))
    return rows


def _status(facts: Facts) -> c.StatusResult:
    return c.StatusResult(
        name=facts.config.site.name,
        version=firmware.__version__,
        clock=local_time(facts, facts.clock.wall_ms()),
        uptime_s=(facts.clock.now() - facts.started_at) // 1000,
        boot=facts.boot,
        generation=facts.generation,
        config_hash=facts.config_hash[:12],
        adopted=facts.adopted,
        calls=facts.calls(),
        events=facts.next_event(),
        alarms=[text for _, text, _ in facts.alarms.list()],
        processes=_processes(facts),
    )


def _read_endpoints(facts: Facts) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((facts.state / "run" / "endpoints.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _endpoints(facts: Facts) -> list[c.EndpointRow]:
    known = _read_endpoints(facts)
    bind, port = known.get("bind", "?"), known.get("sip_port", "?")
    rows = [
        c.EndpointRow("SIP UDP and TCP", f"{bind}:{port}"),
        *([c.EndpointRow("SIP TLS", f"{bind}:{known['sip_tls_port']}")] if known.get("sip_tls_port") else []),
        *([c.EndpointRow("SIP WSS", f"{bind}:{known['sip_wss_port']}")] if known.get("sip_wss_port") else []),
        c.EndpointRow("RTP UDP", f"{bind}:{known.get('rtp_first', '?')}-{known.get('rtp_last', '?')}"),
        c.EndpointRow("control", str(known.get("control", ""))),
        c.EndpointRow("console", str(known.get("manage", ""))),
    ]
    return rows + ([c.EndpointRow("simulated world", str(known["world"]))] if known.get("world") else [])


def _accounts(facts: Facts) -> list[c.AccountRow]:
    known = _read_endpoints(facts)
    server = f"{known.get('address') or known.get('bind', '?')}:{known.get('sip_port', '?')}"
    states = facts.account_states()
    rows = [
        c.AccountRow(number, "sip", entry.name, entry.secret, server, states.get(number, ""))
        for number, entry in facts.config.extensions.items()
        if entry.kind == "sip"
    ]
    login = facts.config.features.login
    rows += [
        c.AccountRow(number, "agent", entry.name, entry.pin, f"dial {login}{number}#PIN#", states.get(number, ""))
        for number, entry in facts.config.agents.items()
    ]
    return rows


def _log(facts: Facts, command: c.ShowLog) -> list[c.LogRow]:
    lines = process_log.tail(facts.state / "log", lines=command.lines, process=command.process, call=command.call_id)
    names = ("time", "process", "level", "logger", "message", "call_id")
    return [c.LogRow(**{name: str(line.get(name, "")) for name in names}) for line in lines]


def iso_utc(wall_ms: int) -> str:
    """Unix ms as UTC text."""
    return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
