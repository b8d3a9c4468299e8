"""Queries and commands about callbacks and lost callers (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from firmware.control.commands import Command, command


class CallbackRow(Struct, frozen=True):
    """Somebody who is to be called back. `place`: in the queue, 0 while it is not his turn (`due_ms`: when it will be) or while it is
    being tried (`state` "calling"). Instants Unix ms. `promise_ms`: we said that we call before it (0: no time was said); `late`: we have
    not.
    """

    request: str
    number: str
    queue: str
    state: str
    place: int
    waited_s: int
    tries: int
    due_ms: int
    expires_ms: int
    last: str
    promise_ms: int
    late: bool


class MissedRow(Struct, frozen=True):
    """A lost caller. `times`: how often; `claimed_by`: the agent who took it, "" once the claim is over. Instants Unix ms."""

    number: str
    times: int
    first_ms: int
    last_ms: int
    queue: str
    why: str
    contact: str
    claimed_by: str


class StaffingRow(Struct, frozen=True):
    """Emergency staffing now. `step` of `steps`; `callers` have waited longer than `wait_s`, `limit` are too many; `agents` joined."""

    step: int
    steps: int
    callers: int
    limit: int
    wait_s: int
    name: str
    agents: list[str]


@command(path="show staffing", role="viewer", result=list[StaffingRow], zh="显示应急坐席")
class ShowStaffing(Command, frozen=True):
    """Emergency staffing: the step in force and who joined; nothing where it is not set up."""


@command(path="show callbacks", role="viewer", result=list[CallbackRow], zh="显示回电登记")
class ShowCallbacks(Command, frozen=True):
    """Callers who gave up waiting but not their place."""


@command(path="callback cancel", role="supervisor", result=list[CallbackRow], zh="取消回电")
class CallbackCancel(Command, frozen=True):
    """Drop a callback; one that is being tried goes on. The others are shown."""

    request: Annotated[str, Meta(description="Id, as `show callbacks` lists it")]


@command(path="show missed", role="viewer", result=list[MissedRow], zh="显示未接来电")
class ShowMissed(Command, frozen=True):
    """Lost callers whom nobody has reached yet."""


@command(path="missed close", role="supervisor", result=list[MissedRow], zh="关闭未接来电")
class MissedClose(Command, frozen=True):
    """Take a number off the missed-call list by hand. The others are shown."""

    number: Annotated[str, Meta(description="Number, as `show missed` lists it", pattern=r"^\+?[0-9]{1,20}$")]
