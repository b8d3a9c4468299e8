"""False alarms that a correct build gives once in hours: one in the daily minute is no proof, so more sound decides.

A limit that a correct build never reaches in a minute would let a broken one pass; one that it reaches once in a hundred runs refuses good
builds. So the daily draw is only a question, and where it is answered badly a longer draw, independent of it, gives the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sized


def assert_rare(alarms: Callable[[int], Sized], daily: int, further: int, most: int, allowed: int = 0) -> None:
    """Of pieces 0 to daily - 1 of sound at most `allowed` have a false alarm, or of the `further` pieces after them at most `most`.

    `alarms` gives those of one piece. A build of which a share r of the pieces has one is refused with a probability of about
    r * daily * P(more than `most` of `further`): with 2 daily, 15 further and 2 most, and r = 0.01, once in 120 000 runs; with 0.005
    once in 1.8 million, with 0.002 once in 70 million, and with 0.5 nearly always.
    """
    first = [(number, found) for number in range(daily) if len(found := alarms(number))]
    if len(first) <= allowed:
        return
    second = [(number, found) for number in range(daily, daily + further) if len(found := alarms(number))]
    assert len(second) <= most, f"false alarms in {len(second)} of {further} pieces, {most} at most: {second}; before: {first}"
