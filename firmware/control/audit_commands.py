"""Commands about the audit trail (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from firmware.control.commands import AuditRow, Command, command


class AuditProof(Struct, frozen=True):
    """What is kept and whether it is whole. `broken`: number of the first record that does not follow from the one before, 0: none;
    `head`: what the next record is chained to; `sent`: the last record that the centre has."""

    records: int
    first: str
    last: str
    broken: int
    sent: int
    head: str
    says: str
    says_zh: str


class AuditPerson(Struct, frozen=True):
    """What one person gave, and how much of it was refused or failed."""

    peer: str
    role: str
    commands: int
    refused: int


class SpotCheck(Struct, frozen=True):
    """A page for whoever checks: is the trail whole, who did how much, and some records drawn by chance to be asked about."""

    proof: AuditProof
    people: list[AuditPerson]
    drawn: list[AuditRow]


@command(path="verify audit", role="supervisor", result=AuditProof, zh="检查审计记录是否完整未被改动", mutates=False, served="manage")
class VerifyAudit(Command, frozen=True):
    """Prove that no record of the audit trail was changed, removed or put in between."""


@command(path="show spot-check", role="supervisor", result=SpotCheck, zh="显示审计抽查报告", served="manage")
class ShowSpotCheck(Command, frozen=True):
    """Records drawn by chance from the audit trail, to ask the people about, and who did how much."""

    days: Annotated[int, Meta(description="Of the last so many days", ge=1, le=3660)] = 30
    count: Annotated[int, Meta(description="How many records are drawn", ge=1, le=200)] = 10
