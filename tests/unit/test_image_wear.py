"""Flash writes out of a log: whole pages count, only those of the partition, and a year is rest and calls."""

from __future__ import annotations

from tools.vm.powercut import DISCARD, FLUSH, Write
from tools.vm.wear import BUDGET, PAGE, Wear, wear, year


def test_what_goes_to_a_partition_is_counted_in_bytes_and_in_pages() -> None:
    start = 4 << 20
    entries = [
        Write(start, 512, 0, 0),                             # a sector wears a page
        Write(start + PAGE - 512, 1024, 0, FLUSH),           # two sectors across an edge wear two
        Write(start + 8 * PAGE, 2 * PAGE, 0, 0),
        Write(start + 9 * PAGE, PAGE, 0, DISCARD),
        Write(0, 0, 0, FLUSH),
        Write(0, PAGE, 0, 0), Write(start + (1 << 20), 512, 0, 0),   # other partitions
    ]  # fmt: skip
    assert wear(entries, start, 1 << 20) == Wear(asked=512 + 1024 + 2 * PAGE, pages=5 * PAGE, requests=3, flushes=2)


def test_a_year_is_rest_and_calls_and_fits_the_budget_only_while_both_are_small() -> None:
    assert year(Wear(pages=10), Wear(pages=3), 2) == 365 * (240 + 6)
    assert year(Wear(pages=1 << 20), Wear(pages=100_000)) < BUDGET < year(Wear(pages=100 << 20), Wear(pages=100_000))
