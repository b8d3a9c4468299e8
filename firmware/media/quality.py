"""Quality of an RTP port from its record in the ring segment (`rtp_gauge` of dsp/gauges.h; RFC 3550 section 6.4) (L3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firmware.call.quality import LEAST_PACKETS, Quality, grade


def rtp_quality(facts: Mapping[str, Any]) -> Quality:
    """The figures of a record."""
    trip = facts["round_trip_ms"] if facts["round_trip_ms"] >= 0 else None
    worst = facts["worst_round_trip_ms"] if facts["worst_round_trip_ms"] >= 0 else None
    lost = max(0, facts["lost"])
    loss = 100 * lost / facts["expected"] if facts["expected"] else 0.0
    here = grade(loss, facts["jitter_ms"], trip) if facts["expected"] >= LEAST_PACKETS else None
    there: dict[str, Any] = {}
    if facts["far_reports"]:
        far_lost = max(0, facts["far_lost"])
        expected = max(facts["far_expected"], far_lost)
        far_loss = 100 * far_lost / expected if expected else 100 * facts["far_loss"]
        far_mos = grade(far_loss, facts["far_jitter_ms"], trip) if facts["sent"] >= LEAST_PACKETS else None
        there = {
            "far_lost": far_lost, "far_loss": round(far_loss, 2), "far_jitter_ms": round(facts["far_jitter_ms"], 1), "far_mos": far_mos,
        }  # fmt: skip
    return Quality(
        received=facts["received"], sent=facts["sent"], lost=lost, loss=round(loss, 2), jitter_ms=round(facts["jitter_ms"], 1),
        worst_jitter_ms=round(facts["worst_jitter_ms"], 1), mos=here, round_trip_ms=None if trip is None else round(trip, 1),
        worst_round_trip_ms=None if worst is None else round(worst, 1), reports_sent=facts["reports_sent"],
        reports_received=facts["reports_received"], reports_refused=facts["reports_refused"], **there,
    )  # fmt: skip
