"""The audit trail as management has it: written, shown, proved, and told to the centre (L6).

Theory of operation
-------------------
`store/audit.py` keeps and chains the records. Records that the centre has not got yet go to it in batches, oldest first, each in an
envelope signed by the identity key of this box; a batch counts as sent when the centre took it, so a break sends it again (the centre
knows records by their number). What the centre has cannot be rewritten here without a trace.
Invariants: one batch at a time; nothing is sent without an address; a centre that does not take batches is asked again after its interval.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from firmware.control.audit_commands import AuditPerson, AuditProof, ShowSpotCheck, SpotCheck, VerifyAudit
from firmware.control.commands import AuditRow, ShowAudit
from firmware.control.gate import Gate
from firmware.store.audit import AuditTrail, Proof, Record

BATCH = 500
DAY_MS = 86_400_000


class AuditPart:
    """Answers the commands about the trail. `zone` is where the site is."""

    def __init__(self, trail: AuditTrail, zone: Callable[[], ZoneInfo], wall_s: Callable[[], float] = time.time) -> None:
        self.trail = trail
        self._zone = zone
        self._wall_s = wall_s

    def attach(self, gate: Gate) -> None:
        """Answer the commands."""
        gate.handle(ShowAudit, lambda command: [self._row(one) for one in self.trail.last(command.lines)])
        gate.handle(VerifyAudit, lambda _: self._verified())
        gate.handle(ShowSpotCheck, self._drawn)

    async def _verified(self) -> AuditProof:
        return self._told(await asyncio.to_thread(self.trail.prove))

    async def _drawn(self, command: ShowSpotCheck) -> SpotCheck:
        since = int(self._wall_s() * 1000) - command.days * DAY_MS
        proof = await self._verified()
        people = [AuditPerson(*one) for one in self.trail.people(since)]
        return SpotCheck(proof, people, [self._row(one) for one in self.trail.sample(since, command.count, random.SystemRandom())])

    def _told(self, proof: Proof) -> AuditProof:
        if proof.broken:
            says = f"record {proof.broken} does not follow from the one before it: the trail was changed; compare with what the centre has"
            chinese = f"第 {proof.broken} 条记录与前一条不衔接：审计记录被改动过，请与中心保存的记录比对"
        else:
            says, chinese = "no record was changed, removed or put in between", "没有记录被更改、删除或插入"
        first, last = self._local(proof.first_ms), self._local(proof.last_ms)
        return AuditProof(proof.records, first, last, proof.broken, self.trail.sent(), proof.head, says, chinese)

    def _row(self, one: Record) -> AuditRow:
        return AuditRow(self._local(one.wall_ms), one.peer, one.role, one.command, one.args, one.outcome)

    def _local(self, wall_ms: int) -> str:
        return datetime.fromtimestamp(wall_ms / 1000, self._zone()).isoformat(" ", "seconds")[:19] if wall_ms else ""


class Batch(msgspec.Struct, frozen=True):
    """What the centre gets. `before`: chain of the record before the first one, hexadecimal, empty where this box has none."""

    device: str
    before: str
    records: list[Record]


def next_batch(trail: AuditTrail, device: str) -> Batch | None:
    """Records that the centre has not got yet; None: it has all."""
    before, records = trail.after(trail.sent(), BATCH)
    return Batch(device, before, records) if records else None
