"""Erlang B, C and A against the check values of the requirements (Part G)."""

from __future__ import annotations

import math

import pytest

from firmware.call.erlang import erlang_a, erlang_b, erlang_c, rostered, seats


@pytest.mark.parametrize(
    ("lines", "load", "blocked"), [(6, 1.5, 0.00353), (7, 2.5, 0.00998), (10, 4, 0.00531), (4, 0.5, 0.00158), (5, 1, 0.00307)]
)
def test_lines(lines: int, load: float, blocked: float) -> None:
    assert erlang_b(lines, load) == pytest.approx(blocked, abs=6e-6)


@pytest.mark.parametrize(
    ("agents", "delayed", "level", "wait", "occupancy"),
    [
        (4, 0.5094, 0.5441, 91.70, 0.750),
        (5, 0.2362, 0.8109, 21.25, 0.600),
        (6, 0.0991, 0.9290, 5.95, 0.500),
        (7, 0.0376, 0.9759, 1.69, 0.429),
    ],
)
def test_callers_who_never_give_up(agents: int, delayed: float, level: float, wait: float, occupancy: float) -> None:
    found = erlang_c(agents, 3.0, 180.0)
    assert (found.delayed, found.service_level) == pytest.approx((delayed, level), abs=6e-5)
    assert (found.wait_s, found.occupancy) == pytest.approx((wait, occupancy), abs=6e-3)


@pytest.mark.parametrize(("agents", "delayed", "abandoned", "wait"), [(4, 0.3297, 0.1221, 14.65), (5, 0.1744, 0.0539, 6.46)])
def test_callers_who_give_up(agents: int, delayed: float, abandoned: float, wait: float) -> None:
    found = erlang_a(agents, 60 / 3600, 180.0, 120.0)
    assert (found.delayed, found.abandoned) == pytest.approx((delayed, abandoned), abs=6e-5)
    assert found.wait_s == pytest.approx(wait, abs=6e-3)


def test_a_load_beyond_the_agents_never_ends() -> None:
    assert erlang_c(3, 3.0, 180.0).wait_s == math.inf
    assert erlang_a(3, 60 / 3600, 180.0, 120.0).abandoned > 0.2


def test_seats_meet_the_target_and_one_fewer_does_not() -> None:
    assert seats(60, 180.0) == 5
    assert erlang_c(4, 3.0, 180.0).service_level < 0.8
    assert seats(0, 180.0) == 0
    assert seats(60, 180.0, occupancy=0.5) == 6
    assert rostered(7, 0.3) == 10
