"""Commands that bring tables of other products in, and take them out (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from firmware.control.commands import Command, command


class ImportRow(Struct, frozen=True):
    """What becomes of one line of the table. `fate`: added, changed, same, refused; `changes`: settings that differ."""

    line: int
    extension: str
    name: str
    fate: str
    fate_zh: str
    why: str
    why_zh: str
    changes: str


class ImportResult(Struct, frozen=True):
    """All lines; `says` what was done with those that are right. `ignored`: columns that mean nothing here."""

    rows: list[ImportRow]
    added: int
    changed: int
    same: int
    refused: int
    ignored: str
    says: str
    says_zh: str


@command(path="import extensions", role="admin", result=ImportResult, zh="从 CSV 导入分机", served="manage")
class ImportExtensions(Command, frozen=True):
    """Read extensions from CSV (FreePBX bulk handler) into the candidate; `dry_run` only tells each line's fate."""

    text: Annotated[str, Meta(description="The table; `branchpbx import extensions FILE` reads it from a file", max_length=2_000_000)]
    dry_run: Annotated[bool, Meta(description="Tell what would become of each line, change nothing")] = False

    def audited(self) -> dict[str, Any]:
        return {"lines": self.text.count("\n") + 1, "dry_run": self.dry_run}


@command(path="export extensions", role="admin", result=str, zh="导出分机为 CSV", mutates=True, served="manage")
class ExportExtensions(Command, frozen=True):
    """All SIP extensions as CSV in the same layout; with `secrets` their passwords, too (audited)."""

    secrets: Annotated[bool, Meta(description="With passwords in clear")] = False
