"""The night key, opening hours, and the dry run of a call (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from firmware.control.commands import Command, command


class NightResult(Struct, frozen=True):
    """The night key: `mode` on, off or auto (by the calendar); `until` local time at which it falls back, "" for never."""

    mode: str
    until: str


class HoursRow(Struct, frozen=True):
    """Opening hours at an instant: `state` open, lunch, closed, holiday or night; `by` what decided it; `day` the holiday's name;
    `told` the hours that callers are told; `known_until` the last day that the calendar fully knows."""

    hours: str
    time: str
    state: str
    by: str
    day: str
    day_zh: str
    told: str
    greeting: str
    night: str
    until: str
    known_until: str


@command(path="night", role="supervisor", result=NightResult, zh="夜间键：on 夜间，off 营业，auto 按日历")
class TurnNight(Command, frozen=True):
    """Turn the night key: on (closed), off (open), auto (by the calendar)."""

    mode: Annotated[Literal["on", "off", "auto"], Meta(description="on: closed, off: open, auto: by the calendar")]
    until: Annotated[
        str,
        Meta(description="Until this local time, hh:mm or yyyy-mm-ddThh:mm, or never; empty: until `calendar.night_ends`",
             pattern=r"^(|never|[0-2][0-9]:[0-5][0-9]|[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9])$"),
    ] = ""  # fmt: skip


@command(path="show hours", role="viewer", result=list[HoursRow], zh="显示营业时间、节假日和夜间键")
class ShowHours(Command, frozen=True):
    """Opening hours now or at a time: what is open, why, and what callers are told."""

    at: Annotated[
        str,
        Meta(description="Local time yyyy-mm-ddThh:mm", pattern=r"^([0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9])?$"),
    ] = ""


class StepRow(Struct, frozen=True):
    """One step of a dry run: seconds since the call began, what happens; `kind` and `facts_json` are for programs."""

    seconds: float
    kind: str
    step_en: str
    step_zh: str
    facts_json: str


Number = r"^\+?[0-9]{0,20}$"


@command(path="explain call", role="supervisor", result=list[StepRow], zh="演练来电：逐步显示谁会接听", mutates=False)
class ExplainCall(Command, frozen=True):
    """Dry run: who would answer a call at a time, step by step. Nothing rings."""

    line: Annotated[
        str, Meta(description="Line jack or trunk name that the call comes in on; empty: by `to`", pattern=r"^[A-Za-z0-9_.-]{0,40}$")
    ] = ""
    to: Annotated[str, Meta(description="Number that was called", pattern=Number)] = ""
    caller: Annotated[str, Meta(description="Number of the caller, empty for hidden", pattern=Number)] = ""
    at: Annotated[
        str,
        Meta(description="Local time yyyy-mm-ddThh:mm; empty: now, with the calls that go on",
             pattern=r"^([0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9])?$"),
    ] = ""  # fmt: skip
    keys: Annotated[str, Meta(description="Keys that the caller presses, one at each menu", pattern=r"^[0-9*#]{0,20}$")] = ""
    extension: Annotated[str, Meta(description="A call from this extension instead", pattern=r"^[0-9]{0,8}$")] = ""
    dial: Annotated[str, Meta(description="What that extension dials", pattern=r"^[0-9*#]{0,32}$")] = ""
