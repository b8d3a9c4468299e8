"""Answers `explain call`: a copy of the switchboard takes the call (L5; the rules are in `call/explain.py`)."""

from __future__ import annotations

import json
from datetime import datetime
from zoneinfo import ZoneInfo

from firmware.call.explain import Asked, Explained, copy_of, explain, staff
from firmware.call.model import TRUNK
from firmware.call.switchboard import Switchboard
from firmware.call.times import LocalTime
from firmware.config.schema.tree import Config
from firmware.control.calendar_commands import ExplainCall, StepRow
from firmware.errors import PbxError


def local_time(wall_ms: int, zone: ZoneInfo) -> LocalTime:
    """Unix ms as the wall clock of a zone shows it."""
    moment = datetime.fromtimestamp(wall_ms / 1000, zone)
    return LocalTime(moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, wall_ms)


def asked_of(config: Config, command: ExplainCall) -> Asked:
    """The call that a command describes. Raises PbxError where it describes none."""
    if command.extension or command.dial:
        if not command.extension or not command.dial:
            raise PbxError("a call from inside needs both: the extension and what it dials")
        return Asked(command.extension, command.extension, command.dial, command.keys)
    return Asked(_endpoint(config, command), command.caller, command.to, command.keys)


def _endpoint(config: Config, command: ExplainCall) -> str:
    if command.line:
        if command.line in config.trunks:
            return TRUNK + command.line
        if command.line in config.ports.fxo:
            return f"line/{command.line}"
        known = ", ".join([*config.ports.fxo, *config.trunks]) or "none"
        raise PbxError(f"there is no line or trunk {command.line}; there are {known}")
    own = next((jack for jack, line in config.ports.fxo.items() if command.to and line.number == command.to and line.enabled), "")
    if own:
        return f"line/{own}"
    trunks = [name for name, trunk in config.trunks.items() if trunk.enabled]
    if command.to and trunks:
        named = [name for route in config.inbound if route.did and command.to.startswith(route.did) for name in route.trunks]
        return TRUNK + ([name for name in named if name in trunks] or trunks)[0]
    lines = [jack for jack, line in config.ports.fxo.items() if line.enabled]
    if lines:
        return f"line/{min(lines, key=lambda jack: (len(jack), jack))}"
    if trunks:
        return TRUNK + trunks[0]
    raise PbxError("no line and no trunk is in service: nobody can call in")


def instant(text: str, zone: ZoneInfo) -> int:
    """Unix ms of a local date and time. Raises PbxError."""
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)
    except ValueError:
        raise PbxError(f"{text} is no date and time; write 2026-03-02T09:00") from None


def dry_run(board: Switchboard, command: ExplainCall, *, now: int, wall_ms: int, zone: ZoneInfo, offline: bool = False) -> Explained:
    """Explain a call as the appliance stands, or at another time with nobody in a call. `offline`: with every agent at a telephone."""
    asked = asked_of(board.config, command)
    shift = (instant(command.at, zone) if command.at else wall_ms) - now
    copied = copy_of(board, lambda at: local_time(at + shift, zone), alone=bool(command.at) or offline)
    if offline:
        staff(copied, now)
    return explain(copied, asked, now)


def rows(explained: Explained) -> list[StepRow]:
    """The steps as the command answers them; what would ring stands with the last one."""
    made = [StepRow(one.seconds, one.kind, one.en, one.zh, json.dumps(one.data, ensure_ascii=False)) for one in explained.steps]
    ringing = ", ".join(dict.fromkeys(explained.rings))
    if made and ringing:
        last = made[-1]
        facts = json.dumps({"rings": explained.rings, "cause": explained.cause}, ensure_ascii=False)
        english, chinese = f"{last.step_en}; would have rung: {ringing}", f"{last.step_zh}；将会振铃：{ringing}"
        made[-1] = StepRow(last.seconds, last.kind, english, chinese, facts)
    return made
