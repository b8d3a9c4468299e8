"""Query about SIP trunks (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from msgspec import Struct

from firmware.control.commands import Command, command


class TrunkRow(Struct, frozen=True):
    """One trunk now. `registered_s`: until the registration ends, -1 without one; `round_trip_ms`: of the last OPTIONS, -1 for none;
    `answer`: the last refusal of the carrier; `available`: "idle", "busy" (at a limit or set aside) or "fault"."""

    trunk: str
    kind: str
    state_en: str
    state_zh: str
    available: str
    registered_s: int
    retry_s: int
    calls: int
    most_calls: int
    round_trip_ms: int
    address: str
    server: str
    answer: str
    remedy_en: str
    remedy_zh: str


@command(path="show trunks", role="viewer", result=list[TrunkRow], zh="显示 SIP 中继：状态、注册、通话数、故障与处理办法")
class ShowTrunks(Command, frozen=True):
    """SIP trunks: state, registration, calls, round trip, what the carrier said last and what to do."""


class PassageRow(Struct, frozen=True):
    """One thing that may pass through a branch in one country. `law`: "free", or "permit" where somebody's leave is needed; `state_en`:
    on, off, or waiting for the name of that leave; `trunks`: whose own setting asks for it."""

    country: str
    what_en: str
    what_zh: str
    state_en: str
    state_zh: str
    law: str
    permit: str
    trunks: str
    source: str


@command(path="show passage", role="viewer", result=list[PassageRow], zh="显示经本网点转出的通话与转示外部号码是否允许")
class ShowPassage(Command, frozen=True):
    """Whether others may dial out by our lines, and calls that are passed on show their caller's number: here, and where else it is set."""
