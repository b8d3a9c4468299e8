"""A short draw of the SIP soak: half an hour with a kill of call control leaves nothing behind, and a leak would be seen."""

from __future__ import annotations

from pathlib import Path

from tools.soak_sip.__main__ import faults, soak
from tools.soak_sip.office import Office


def test_half_an_hour_leaves_nothing(tmp_path: Path, seed: int) -> None:
    figures = soak(tmp_path, hours=0.5, phones=8, seed=seed, tell=False)
    assert faults(figures) == []
    counts = figures["counts"]
    assert isinstance(counts, dict)
    assert counts["calls"] > 5 and counts["answered"] > 0 and counts["notify"] > 50 and counts["kills"] == 1 and counts["lost"] > 0


def test_what_is_left_over_is_counted(tmp_path: Path, seed: int) -> None:
    office = Office(tmp_path, seed, phones=2)
    office.run(60_000)
    office.rest()
    assert not any(office.sizes().values())
    office.media.allocate_rtp("L-forgotten")
    office.phones._table.offers["L-forgotten"] = None
    sizes = office.sizes()
    assert sizes["rtp ports"] == sizes["offers"] == 1
    figures = {"left": sizes, "memory_kb": [0, 7_000], "objects": [100, 120], "registered": 1, "phones": 2}
    assert len(faults(figures)) == 5  # type: ignore[arg-type]
    office.close()
