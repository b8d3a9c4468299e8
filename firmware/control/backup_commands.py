"""Commands about backups on a stick, for boxes whose only way in is the console (see `control/commands.py`)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from firmware.control.commands import Command, command

NameWord = Annotated[str, Meta(description="Name of the file on the stick, without .bak", pattern=r"^[A-Za-z0-9_-]{1,40}$")]
PhraseWord = Annotated[str, Meta(description="Passphrase, at least 12 characters", max_length=200, extra={"secret": True})]


class BackupResult(Struct, frozen=True):
    """What was done, in both languages."""

    file: str
    says: str
    says_zh: str


class RestoreRow(Struct, frozen=True):
    """One line of what a restore changes. `kind`: added, removed, changed, file or todo; secrets read "(hidden)"."""

    kind: str
    what: str
    what_zh: str
    old: str = ""
    new: str = ""


class _WithPhrase(Command, frozen=True):
    """What the three have in common."""

    name: NameWord
    passphrase: PhraseWord

    def audited(self) -> dict[str, Any] | None:
        return {"name": self.name, "passphrase": "(hidden)"}


@command(path="backup make", role="admin", result=BackupResult, zh="备份到 U 盘（加密并验证）", served="manage")
class BackupMake(_WithPhrase, frozen=True):
    """Write a sealed backup to the stick (`central.folder`), proved by a trial restore."""


@command(path="backup preview", role="admin", result=list[RestoreRow], zh="显示恢复备份将带来的变化", mutates=True, served="manage")
class BackupPreview(_WithPhrase, frozen=True):
    """What a restore of a backup on the stick would change, and what would be left to do."""


@command(path="backup restore", role="admin", result=BackupResult, zh="从 U 盘恢复备份（设备将重新启动，通话中断）", served="manage")
class BackupRestore(_WithPhrase, frozen=True):
    """Restore a backup from the stick: the appliance starts anew at once, calls end. `replace`: this box takes the other's place."""

    replace: Annotated[bool, Meta(description="The backup is of another box, whose place this one takes")] = False
