"""Query about what the box does by itself (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from msgspec import Struct

from firmware.control.commands import Command, command


class UpkeepRow(Struct, frozen=True):
    """`what`: backup or update; `at`: when, "" for never; `last`: the day on which it was done or asked last; `says`: what came of it."""

    what: str
    at: str
    last: str
    says: str
    says_zh: str
    what_zh: str


@command(path="show upkeep", role="viewer", result=list[UpkeepRow], zh="显示自动备份与自动升级", served="manage")
class ShowUpkeep(Command, frozen=True):
    """Daily backups and updates that the box looks for by itself: when, and what came of the last one."""
