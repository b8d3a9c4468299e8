"""How calls on each line ended, and who called back at once: the raw counts of the false-hang-up statistic (L3)."""

from __future__ import annotations

import msgspec

from firmware.store.db import Database

# A caller counts as calling back when a leg with the same outside number begins after the end and within the time, in either
# direction and on any line: who was cut off is not particular about the line. Only legs with an outside number can tell.
_COUNT = """
SELECT l.endpoint AS endpoint, l.evidence AS evidence, l.by_far AS by_far, count(*) AS calls, avg(l.confidence) AS confidence,
    sum(l.number <> '') AS numbered,
    sum(l.number <> '' AND EXISTS (
        SELECT 1 FROM legs b WHERE b.number = l.number AND b.started_ms > l.ended_ms AND b.started_ms <= l.ended_ms + ?1
            AND b.kind = 'fxo' AND b.contact <> l.contact)) AS back
FROM legs l
WHERE l.kind = 'fxo' AND l.answered_ms IS NOT NULL AND l.ended_ms >= ?2 AND l.ended_ms < ?3
GROUP BY l.endpoint, l.evidence, l.by_far
ORDER BY l.endpoint, l.evidence
"""


class HangUps(msgspec.Struct, frozen=True):
    """Answered calls of one line that ended on one kind of evidence. `numbered`: with an outside number; `back`: called back at once."""

    endpoint: str
    evidence: str
    by_far: bool
    calls: int
    confidence: float
    numbered: int
    back: int


def count_hang_ups(db: Database, since_ms: int, until_ms: int, within_ms: int) -> list[HangUps]:
    """Counts of calls that ended in [since, until), Unix ms; called back within `within_ms`. Raises StoreError."""
    rows = db.query(_COUNT, (within_ms, since_ms, until_ms))
    return [HangUps(str(r["endpoint"]), str(r["evidence"]), bool(r["by_far"]), int(r["calls"]), round(float(r["confidence"]), 2),
                    int(r["numbered"]), int(r["back"])) for r in rows]
