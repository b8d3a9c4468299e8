"""Queries about lines and telephones, and the trace of one call (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from firmware.control.commands import Command, command


class LineRow(Struct, frozen=True):
    """One analogue port now. `volts` and `milliamps` as measured; `leg` is the call on it; `seconds` in this state."""

    endpoint: str
    kind: str
    number: str
    available: str
    state: str
    volts: float
    milliamps: float
    caller: str
    called: str
    leg: str
    seconds: int
    detail: str


class PhoneRow(Struct, frozen=True):
    """One extension now. `where`: jack, or address of a registered SIP phone (one row for each contact)."""

    extension: str
    kind: str
    name: str
    state: str
    where: str
    transport: str
    phone: str
    expires_s: int


class TraceRow(Struct, frozen=True):
    """One thing that happened on a leg. `at`: engine ms; `source`: "sip" or "line"; `direction`: in, out, fact, want, do, event."""

    at: int
    source: str
    direction: str
    leg: str
    text: str


@command(path="show lines", role="viewer", result=list[LineRow], zh="显示线路")
class ShowLines(Command, frozen=True):
    """PSTN lines and analog phones: state, voltage, current, call."""


@command(path="show phones", role="viewer", result=list[PhoneRow], zh="显示话机")
class ShowPhones(Command, frozen=True):
    """Extensions: state, where they are registered, for how long."""


@command(path="show trace", role="supervisor", result=list[TraceRow], zh="显示一个呼叫的信令")
class ShowTrace(Command, frozen=True):
    """SIP messages and line events of one contact, leg, line or extension."""

    call: Annotated[str, Meta(description="Contact or leg id, or an endpoint such as line/1 or 101")]
    full: Annotated[bool, Meta(description="Whole SIP messages instead of their first lines")] = False
