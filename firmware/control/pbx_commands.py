"""Forwards and do-not-disturb of extensions, the black list (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from firmware.control.commands import Command, command


class ForwardRow(Struct, frozen=True):
    """What one extension wishes for its calls: `dnd` do-not-disturb; numbers that calls go to, "" for none."""

    extension: str
    name: str
    dnd: bool
    always: str
    busy: str
    no_answer: str


class ForwardsCleared(Struct, frozen=True):
    """The extension, and what it had wished."""

    extension: str
    was: str


@command(path="show forwards", role="viewer", result=list[ForwardRow], zh="显示呼叫转移和免打扰")
class ShowForwards(Command, frozen=True):
    """Extensions with a forward or with do-not-disturb."""


@command(path="forward clear", role="supervisor", result=ForwardsCleared, zh="取消分机的呼叫转移和免打扰")
class ClearForwards(Command, frozen=True):
    """End forwards and do-not-disturb of an extension, for somebody who went home without doing so."""

    extension: Annotated[str, Meta(description="Extension")]


class BlockedRow(Struct, frozen=True):
    """One number of the black list: since when, by whom, and the contact it was blocked for."""

    number: str
    since: str
    by: str
    contact: str


Number = Annotated[str, Meta(description="Number as it is shown", pattern=r"^\+?[0-9]{2,20}$")]


@command(path="show blocked", role="viewer", result=list[BlockedRow], zh="显示黑名单")
class ShowBlocked(Command, frozen=True):
    """Callers on the black list, the latest first; `[callers]` of the configuration may refuse others."""


@command(path="blocked add", role="supervisor", result=list[BlockedRow], zh="将号码加入黑名单")
class BlockNumber(Command, frozen=True):
    """Put a number on the black list."""

    number: Number


@command(path="blocked remove", role="supervisor", result=list[BlockedRow], zh="将号码移出黑名单")
class UnblockNumber(Command, frozen=True):
    """Take a number off the black list."""

    number: Number
