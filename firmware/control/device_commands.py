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
    """One extension now. `where`: jack, or address of a registered SIP phone (one row for each contact).

    `speech`: how it speaks in its call, or would: "clear", "encrypted first", "encrypted only", or the suite in use.
    """

    extension: str
    kind: str
    name: str
    state: str
    where: str
    transport: str
    phone: str
    expires_s: int
    speech: str = ""


class TraceRow(Struct, frozen=True):
    """One thing that happened on a leg. `at`: engine ms; `source`: sip, rtp, line or call; `direction`: in, out, fact, want, do, event."""

    at: int
    source: str
    direction: str
    leg: str
    text: str


@command(path="show lines", role="viewer", result=list[LineRow], zh="显示线路")
class ShowLines(Command, frozen=True):
    """PSTN lines and analog phones: state, voltage, current, call."""


class ProfileRow(Struct, frozen=True):
    """One group of values of the line profile: what it holds, where that comes from, and what this site changed."""

    group: str
    value: str
    source: str


@command(path="show profile", role="viewer", result=list[ProfileRow], zh="显示线路国家参数")
class ShowProfile(Command, frozen=True):
    """The country profile of the lines, with its sources. A changed one says that it is not approved."""


@command(path="show phones", role="viewer", result=list[PhoneRow], zh="显示话机")
class ShowPhones(Command, frozen=True):
    """Extensions: state, where they are registered, for how long."""


class BlockRow(Struct, frozen=True):
    """One source that is kept off the SIP port. `times`: how often so far, which makes the block longer."""

    source: str
    why: str
    seconds_left: int
    times: int


@command(path="show blocks", role="viewer", result=list[BlockRow], zh="显示被暂时阻止的 SIP 来源")
class ShowBlocks(Command, frozen=True):
    """Sources that are kept off the SIP port for a time."""


class ClearedBlocks(Struct, frozen=True):
    """How many blocks were lifted."""

    cleared: int


@command(path="block clear", role="supervisor", result=ClearedBlocks, zh="解除 SIP 来源的阻止")
class ClearBlocks(Command, frozen=True):
    """Lift the block of a source, or all of them."""

    source: Annotated[str, Meta(description="Address as `show blocks` tells it, empty for all", max_length=64)] = ""


@command(path="show trace", role="supervisor", result=list[TraceRow], zh="显示一个呼叫的信令")
class ShowTrace(Command, frozen=True):
    """SIP messages, RTP figures, line and call events of one contact, leg, line or extension."""

    call: Annotated[str, Meta(description="Contact or leg id, or an endpoint such as line/1 or 101")]
    full: Annotated[bool, Meta(description="Whole SIP messages instead of their first lines")] = False
