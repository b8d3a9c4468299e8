"""Line chips that misbehave, and the keeper who works on them: what the native scanner believes, flags and lets go of."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator

import pytest

from firmware.dsp import abi
from firmware.dsp.engine import Engine
from firmware.hal.scan import SI321X, SI3050, write_frames
from tests.conftest import soak
from tests.unit.chip_stage import ChipStage, Watch, dialling

ON_HOOK, OFF_HOOK = 0, 1
OPEN, ACTIVE, TX, RINGING, REVERSED = 0, 1, 2, 4, 5
REGISTERS = {"fxo": [poll.register for poll in SI3050.polls], "fxs": [poll.register for poll in SI321X.polls]}


@pytest.fixture
def stage() -> Iterator[ChipStage]:
    """Slots 0 and 1 FXO, 4 and 5 FXS; a second has passed, voltages are known."""
    one = ChipStage()
    one.rest(1000)
    one.events.clear()
    yield one
    one.close()


# --- what is not believed -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["all_ff", "all_00"])
def test_a_dead_wire_gives_no_facts_and_disturbs_nobody_else(stage: ChipStage, fault: str) -> None:
    stage.drive(0, OFF_HOOK)
    stage.rest(500)
    stage.events.clear()
    stage.sim.spi["fxo"].set(**{fault: 1})
    stage.chips.copper["fxs", 0] = dialling(stage.ms + 50, 3, 60, 40)
    stage.rest(1000)
    assert [event for event in stage.events if event[1] in (0, 1) and event[0] != "done"] == []
    assert len(stage.seen("loop", 4)) == 7
    figures = stage.engine.scan_figures["garbage"]
    assert figures[0] >= 1000 and figures[1] >= 1000 and figures[4] == figures[5] == 0
    stage.sim.spi["fxo"].set(**{fault: 0})
    stage.rest(500)
    assert [event for event in stage.events if event[1] in (0, 1) and event[0] not in ("done", "port")] == []
    assert stage.snapshot()[0]["flowing"]


@pytest.mark.parametrize("fault", ["all_ff", "all_00"])
def test_a_telephone_call_survives_a_dead_wire(stage: ChipStage, fault: str) -> None:
    stage.sim.fxs[0].set(lifted=1)
    stage.rest(800)
    stage.events.clear()
    stage.sim.spi["fxs"].set(**{fault: 1})
    stage.rest(500)
    stage.sim.spi["fxs"].set(**{fault: 0})
    stage.rest(200)
    assert [event for event in stage.events if event[1] in (4, 5) and event[0] != "done"] == []
    begun = stage.ms
    stage.sim.fxs[0].set(lifted=0)
    stage.rest(100)
    ((at, closed),) = stage.seen("loop", 4)
    assert not closed and abs(at - begun) <= 1


def test_flipped_bits_make_no_events(stage: ChipStage) -> None:
    """One bit in a thousand bytes is wrong on the way back: lines at rest stay at rest, a call keeps its loop."""
    rng = random.Random(1)
    stage.drive(1, OFF_HOOK)
    stage.sim.fxs[1].set(lifted=1)
    stage.rest(500)
    stage.events.clear()

    def flips(ms: int, chain: int, data: bytes) -> bytes:
        return bytes(byte ^ (1 << rng.randrange(8)) if rng.random() < 1e-3 else byte for byte in data)

    stage.chips.wire = flips
    stage.rest(10_000 * soak())
    lasting = ("ring_burst", "polarity", "loop", "ring_trip", "loop_current")
    assert [event for event in stage.events if event[0] in lasting] == []
    assert [payload for _, payload in stage.named("battery") if not payload[0]] == []


def test_a_link_that_falls_on_hook_is_a_fault_and_not_a_lost_line(stage: ChipStage) -> None:
    watch = Watch(stage.engine, lambda engine, found: None)
    begun = stage.ms
    stage.sim.fxo[0].set(fault_link=1)
    stage.rest(1000)
    watch.end()
    assert {fault[1:4] for fault in watch.faults} == {(0, "link", 12)}
    times = [fault[0] for fault in watch.faults]
    # A fault is flagged within a tick: the watch leaves before or after the end of that tick is set, 10 ms apart.
    assert 6 <= times[0] - begun <= 50
    assert all(90 <= b - a <= 130 for a, b in zip(times, times[1:], strict=False)) and len(times) >= 8
    assert stage.seen("battery", 0) == []


@pytest.mark.parametrize(("wire", "name"), [("all_ff", "all-ones"), ("all_00", "all-zeros")])
def test_dead_wires_are_told_by_name_for_each_chip(stage: ChipStage, wire: str, name: str) -> None:
    watch = Watch(stage.engine, lambda engine, found: None)
    stage.sim.spi["fxs"].set(**{wire: 1})
    stage.rest(50)
    watch.end()
    assert {fault[1:3] for fault in watch.faults} == {(4, name), (5, name)}


def test_resets_alarms_and_a_hook_that_does_not_follow_are_told(stage: ChipStage) -> None:
    watch = Watch(stage.engine, lambda engine, found: None)
    stage.sim.fxs[1].set(fault_alarm=1)
    stage.sim.fxs[0].self_reset()
    stage.sim.fxo[1].set(fault_hook=1)
    stage.drive(1, OFF_HOOK)
    stage.rest(500)
    watch.end()
    told = {fault[1:4] for fault in watch.faults}
    assert (5, "power-alarm", 19) in told
    assert (1, "all-zeros", 5) in told  # neither hook nor monitor: it cannot be told from a dead wire
    assert (4, "chip-reset", 8) in told or (4, "garbage", 0) in told
    assert all(slot != 0 for slot, _, _ in told)


# --- the keeper -------------------------------------------------------------------------------------------------------------------


def test_a_held_chip_is_left_alone_and_driven_again_when_it_comes_back_different(stage: ChipStage) -> None:
    stage.drive(0, OFF_HOOK)
    stage.rest(500)
    assert not stage.engine.hold_chip(0, True, 0)  # a program is posted
    stage.rest(10)
    assert stage.engine.hold_chip(0, True, 0)
    stage.chips.keep = True
    stage.rest(200)
    mine = [data for _, chain, data, _ in stage.chips.sent if chain == 0 and data[0] & 0x0F == 0]
    assert mine == [] and len(stage.chips.sent) > 200
    for byte in write_frames("si3050", 0, 5, 0x08):
        stage.sim.spi["fxo"].transfer([byte])
    stage.rest(100)
    assert not stage.sim.fxo[0].state["closed"]
    assert stage.seen("loop_current", 0, stage.ms - 400) == []  # facts hold
    stage.engine.hold_chip(0, False)
    stage.rest(100)
    assert stage.sim.fxo[0].state["closed"]
    stage.engine.hold_chip(0, True, 0)
    stage.rest(100)
    stage.chips.sent.clear()
    stage.engine.hold_chip(0, False)
    stage.rest(100)
    assert [data for _, chain, data, _ in stage.chips.sent if chain == 0 and data[0] == 0x20] == []  # nothing had changed


def test_drives_while_a_chip_is_held_take_effect_when_it_comes_back(stage: ChipStage) -> None:
    stage.engine.hold_chip(4, True, 0)
    stage.rest(20)
    stage.drive(4, REVERSED)
    stage.rest(100)
    assert stage.sim.fxs[0].peek(64) & 7 == ACTIVE
    assert stage.engine.standing_drive(4) == REVERSED
    stage.engine.hold_chip(4, False)
    stage.rest(50)
    assert stage.sim.fxs[0].peek(64) & 7 == REVERSED


def test_no_time_passes_while_the_keeper_works(stage: ChipStage) -> None:
    """Two runs of the same faults give the same instants, though the keeper takes its (varying) time."""
    runs = []
    for pause in (0.0, 0.004):
        one = ChipStage()
        one.rest(200)

        def work(engine: Engine, found: list[tuple[int, str, int, int]], pause: float = pause) -> None:
            time.sleep(pause)
            for slot, fault, register, value in found:
                engine.hold_chip(slot, True)
                engine.post_health(slot, fault, True, False, "health", "the scanner saw it", register, value, 1, "suspect")
                engine.hold_chip(slot, False)

        watch = Watch(one.engine, work, 70)
        one.tick(3)
        one.sim.fxo[1].set(fault_link=1)
        one.rest(600)
        watch.end()
        runs.append([event for event in one.events if event[0] not in ("done", "epoch")])
        one.close()
    assert runs[0] == runs[1]
    health = [payload for name, _, _, payload in runs[0] if name == "port_health"]
    assert len(health) >= 4
    assert health[0]["kind"] == "link" and health[0]["register"] == 12 and health[0]["state"] == "suspect" and health[0]["raised"]


def test_the_keeper_is_let_go_when_the_engine_stops_and_by_a_call(stage: ChipStage) -> None:
    watch = Watch(stage.engine, lambda engine, found: None, 1 << 40)
    stage.rest(50)
    stage.engine.hardware_wake()
    stage.rest(50)
    assert [found for _, found in watch.log] == [[]]
    watch.over = True
    stage.engine.stop()
    watch.join(10)
    assert not watch.is_alive()


def test_in_real_time_the_scanner_thread_decodes_what_the_tick_posts() -> None:
    """Speed 100: the tick does not wait for core, replies are decoded beside it. Widths and orders are the same, whatever the pace."""
    stage = ChipStage(speed=100)

    def until(name: str, slot: int, count: int) -> None:
        for _ in range(2000):
            stage.tick(1)
            if len(stage.named(name, slot)) >= count:
                return
        raise AssertionError(f"{count} of {name} never came: {stage.events}")

    until("battery", 4, 1)
    stage.drive(0, OFF_HOOK)
    until("loop_current", 0, 1)
    stage.do("pulse", 0, abi.pack_pulse(3, "4", 60, 40, 750))
    until("pulse_sent", 0, 1)
    stage.sim.fxs[1].set(lifted=1)
    until("loop", 5, 1)
    stage.drive(0, ON_HOOK, 123, OFF_HOOK)
    stage.rest(500)
    figures = stage.engine.scan_figures
    hook = [at for at, _ in stage.changed(0)]
    widths = [b - a for a, b in itertools.pairwise(hook[1:])]
    if not figures["skipped"] and not figures["late"]:      # else the machine was too slow for real time
        assert widths == [60, 40, 60, 40, 60, 40, 60, widths[7], 123]
    assert len(widths) == 9 and stage.sim.illegal == []
    stage.close()
