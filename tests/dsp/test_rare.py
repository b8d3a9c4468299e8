"""The verdict on rare false alarms: one asks, only many refuse."""

from __future__ import annotations

import pytest

from tests.dsp.rare import assert_rare


def asked(alarms: set[int], allowed: int = 0) -> list[int]:
    """Which pieces were drawn, of 3 daily and 5 further ones of which 2 may have an alarm."""
    drawn: list[int] = []

    def heard(number: int) -> list[str]:
        drawn.append(number)
        return ["alarm"] * (number in alarms)

    assert_rare(heard, 3, 5, 2, allowed)
    return drawn


def test_quiet_pieces_ask_for_no_more() -> None:
    assert asked(set()) == asked({3, 4, 5}) == [0, 1, 2]
    assert asked({1}, allowed=1) == [0, 1, 2]


def test_an_alarm_asks_for_more_and_a_few_are_borne() -> None:
    assert asked({1}) == asked({0, 1, 2, 4, 7}) == list(range(8))


@pytest.mark.parametrize("alarms", [{0, 3, 4, 5}, set(range(8))])
def test_many_alarms_are_refused_with_their_places(alarms: set[int]) -> None:
    with pytest.raises(AssertionError, match=r"of 5 pieces, 2 at most: .*\(3, \['alarm'\]\)"):
        asked(alarms)
