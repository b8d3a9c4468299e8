"""The line scanner: electrical facts per ms become events with the instants of the facts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from firmware.dsp import abi
from tests.unit.engine_stage import Stage

FXO, FXS = 1, 2
ACTIVE, RINGING, OFF_HOOK, ON_HOOK = 1, 4, 1, 0
Fact = tuple[int, int, int, int]


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Slot 0 is watched as FXO, slot 4 as FXS and fed."""
    one = Stage()
    one.facts[0] = lambda ms: (-480, 0, 0, 0)
    one.facts[4] = lambda ms: (480, 0, 0, 0)
    one.do("watch", 0, abi.pack_word(FXO))
    one.do("watch", 4, abi.pack_word(FXS))
    one.do("drive", 4, abi.pack_word(ACTIVE))
    one.tick(50)  # 500 ms: battery is known
    yield one
    one.close()


def line(stage: Stage, slot: int, fact: Callable[[int], Fact], ms: int) -> int:
    """Let the slot live by `fact(ms since now)` for `ms`; returns the engine ms of now."""
    now = stage.world.delivered * 10
    stage.facts[slot] = lambda t: fact(t - now)
    stage.tick(ms // 10)
    return now


def seen(stage: Stage, name: str, slot: int, after: int = 0) -> list[tuple[int, Any]]:
    return [(at, payload[0]) for at, payload in stage.named(name, slot) if at >= after]


def ringing(freq: float, volts_rms: float, until: int) -> Callable[[int], Fact]:
    return lambda t: (-480, 0, int(10 * volts_rms * math.sqrt(2) * math.sin(2 * math.pi * freq * t / 1000)) if t < until else 0, 0)


def test_the_first_battery_and_polarity_are_learned_and_only_battery_is_told(stage: Stage) -> None:
    assert seen(stage, "battery", 0) == [(0, 1)] or seen(stage, "battery", 0)[0][1] == 1
    assert stage.named("polarity") == []
    state = stage.snapshot()[0]
    assert (state["battery"], state["reversed"], state["volts"]) == (True, True, -48.0)


def readings(stage: Stage, slot: int, after: int = 0) -> list[tuple[int, float]]:
    return [(at, round(payload[1], 1)) for at, payload in stage.named("battery", slot) if at >= after and payload[0]]


def test_the_voltage_at_rest_is_told_once_it_has_settled_on_lines_and_telephones(stage: Stage) -> None:
    assert readings(stage, 0, 400) == [(400, -48.0)]
    assert readings(stage, 4) == [(400, 48.0)]
    now = line(stage, 0, lambda t: (-480 + t % 15, 0, 0, 0), 2000)
    assert readings(stage, 0, now) == []


def test_a_new_settled_voltage_is_told_and_a_passing_one_is_not(stage: Stage) -> None:
    now = line(stage, 0, lambda t: (-80 if t < 300 else -480, 0, 0, 0), 2000)
    assert readings(stage, 0, now) == []
    now = line(stage, 0, lambda t: (-80, 0, 0, 0), 1000)  # a parallel telephone was lifted
    assert readings(stage, 0, now) == [(now + 400, -8.0)]
    now = line(stage, 0, lambda t: (480, 0, 0, 0), 1000)  # back, with the wires exchanged
    assert readings(stage, 0, now) == [(now + 400, 48.0)]


@pytest.mark.parametrize("freq", [15.5, 20.0, 25.0, 50.0, 67.0])
def test_a_ring_burst_begins_with_its_first_half_wave_and_ends_with_its_last(stage: Stage, freq: float) -> None:
    now = line(stage, 0, ringing(freq, 75, 1000), 2000)
    (on_at, on), (off_at, off) = seen(stage, "ring_burst", 0)
    assert (on, off) == (1, 0)
    assert 0 <= on_at - now <= 10
    assert 1000 - 1100 / freq - 2 <= off_at - now <= 1000
    assert seen(stage, "battery", 0, now) == []
    assert seen(stage, "polarity", 0, now) == []


@pytest.mark.parametrize(("freq", "volts"), [(25.0, 10.0), (10.0, 75.0), (90.0, 75.0)])
def test_weak_voltage_and_other_frequencies_are_no_ring(stage: Stage, freq: float, volts: float) -> None:
    line(stage, 0, ringing(freq, volts, 1000), 1500)
    assert seen(stage, "ring_burst", 0) == []


def test_a_splash_shorter_than_200_ms_is_no_ring(stage: Stage) -> None:
    line(stage, 0, ringing(25, 75, 150), 600)
    assert seen(stage, "ring_burst", 0) == []


def test_battery_lost_for_64_ms_is_told_with_the_instant_of_the_loss_and_its_return_after_300(stage: Stage) -> None:
    now = line(stage, 0, lambda t: (0, 0, 0, 0) if t < 500 else (-480, 0, 0, 0), 1000)
    assert seen(stage, "battery", 0, now) == [(now, 0), (now + 500, 1)]
    stage.events.clear()
    now = line(stage, 0, lambda t: (0, 0, 0, 0) if t < 60 else (-480, 0, 0, 0), 500)
    assert seen(stage, "battery", 0, now) == []


def test_polarity_reversal_is_told_after_64_ms_and_a_glitch_is_not(stage: Stage) -> None:
    now = line(stage, 0, lambda t: (480, 0, 0, 0) if 203 <= t < 253 or t >= 403 else (-480, 0, 0, 0), 600)
    assert seen(stage, "polarity", 0) == [(now + 403, 0)]


def test_loop_current_of_an_fxo_line_off_hook_is_told_with_exact_instants(stage: Stage) -> None:
    stage.do("drive", 0, abi.pack_word(OFF_HOOK))
    stage.tick(1)
    now = line(stage, 0, lambda t: (-60, 0 if 307 <= t < 557 or 700 <= t < 715 else 230, 0, 0), 1000)
    facts = seen(stage, "loop_current", 0)
    assert facts == [(facts[0][0], 1), (now + 307, 0), (now + 557, 1)]
    stage.do("drive", 0, abi.pack_word(ON_HOOK))
    line(stage, 0, lambda t: (-480, 0, 0, 0), 100)
    assert seen(stage, "loop_current", 0) == facts  # on hook there is no current to lose


@pytest.mark.parametrize("pps", [8, 10, 20])
def test_dial_pulses_are_measured_to_the_millisecond(stage: Stage, pps: int) -> None:
    period = 1000 // pps
    make = period * 4 // 10

    def fact(t: int) -> Fact:
        closed = t >= 103 and not (503 <= t < 503 + 5 * period and (t - 503) % period >= make)
        return (480, 230 if closed else 0, 0, 0)

    now = line(stage, 4, fact, 1500)
    edges = [(at - now, closed) for at, closed in seen(stage, "loop", 4)]
    expected = [(103, 1)]
    for n in range(5):
        expected += [(503 + n * period + make, 0), (503 + (n + 1) * period, 1)]
    assert edges == expected


def test_contact_bounce_below_4_ms_is_one_edge(stage: Stage) -> None:
    now = line(stage, 4, lambda t: (480, 230 if t >= 100 and t not in (101, 102, 104, 107, 108) else 0, 0, 0), 300)
    assert [(at - now, closed) for at, closed in seen(stage, "loop", 4)] == [(109, 1)]


def test_answering_a_ringing_phone_feeds_the_line_at_once_and_is_told(stage: Stage) -> None:
    stage.do("drive", 4, abi.pack_word(RINGING))
    stage.tick(1)

    def fact(t: int) -> Fact:
        if int(stage.world.drive[4]) == RINGING:
            return (480, 0, 0, 220 if t >= 1000 else 30)
        return (480, 230 if t >= 1000 else 0, 0, 0)

    now = line(stage, 4, fact, 1500)
    assert int(stage.world.drive[4]) == ACTIVE
    ((tripped, _),) = seen(stage, "ring_trip", 4)
    assert 1095 <= tripped - now <= 1110
    ((closed, _),) = seen(stage, "loop", 4)
    assert tripped <= closed <= tripped + 20


def test_ringing_current_alone_does_not_trip(stage: Stage) -> None:
    stage.do("drive", 4, abi.pack_word(RINGING))
    line(stage, 4, lambda t: (480, 300, 0, 90 if t % 200 < 150 else 130), 2000)
    assert seen(stage, "ring_trip", 4) == []
    assert seen(stage, "loop", 4) == []


def test_watching_again_neither_repeats_nor_forgets(stage: Stage) -> None:
    line(stage, 4, lambda t: (480, 230, 0, 0), 100)
    stage.events.clear()
    stage.do("watch", 0, abi.pack_word(FXO))
    stage.do("watch", 4, abi.pack_word(FXS))
    stage.tick(50)
    assert [e for e in stage.events if e[0] in ("battery", "loop", "polarity")] == []
    assert stage.snapshot()[4]["closed"] is True
