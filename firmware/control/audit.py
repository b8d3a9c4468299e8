"""What is kept of a command that changes something or shows a secret: who, what, how it ended; never the secret."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from firmware.control.commands import Command, describe


class CommandGiven(Struct, frozen=True, tag=True):
    """Published on the bus by the gate; management writes it to the audit trail. `args` is JSON with secrets hidden."""

    at: int
    wall_ms: int
    peer: str
    role: str
    command: str
    args: str
    outcome: str


def redacted(command: Command) -> str:
    """Arguments as JSON; secret ones read "(hidden)"."""
    told = command.audited()
    if told is not None:
        return msgspec.json.encode(told).decode()
    secret = {argument.name for argument in describe(type(command)).arguments if argument.secret}
    plain: dict[str, Any] = msgspec.to_builtins(command)
    return msgspec.json.encode({name: "(hidden)" if name in secret else value for name, value in plain.items()}).decode()
