"""The native scanner on simulated chips: bytes, facts, drives to the millisecond, and what is not believed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.dsp import abi
from firmware.dsp.scan_decode import judge
from firmware.hal.scan import PLANS, SI321X, SI3050, facts_of, read_frames, write_frames
from firmware.hal.si321x_registers import INTERRUPTS
from tests.unit.chip_stage import FRAMING, PLAN, SLOTS, ChipStage, Fact, dialling, powered
from tests.unit.engine_stage import Samples

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


# --- bytes and tables ---------------------------------------------------------------------------------------------------------


def test_every_access_is_the_one_of_the_scan_table_at_its_millisecond(stage: ChipStage) -> None:
    first = stage.engine.scan_figures
    stage.chips.keep = True
    begun = stage.ms
    stage.rest(1000)
    seen: dict[tuple[int, bytes], list[int]] = {}
    for ms, chain, data, _ in stage.chips.sent:
        seen.setdefault((chain, data[:-1]), []).append(ms)         # the last byte of a read says what the register holds
    for kind, number in SLOTS.values():
        for poll in PLAN[kind].polls:
            times = seen.pop((0 if kind == "fxo" else 1, bytes(read_frames(FRAMING[kind], number, poll.register))[:-1]))
            assert {b - a for a, b in zip(times, times[1:], strict=False)} == {poll.every}
            assert times[0] - begun < poll.every
    assert seen == {}
    after = stage.engine.scan_figures
    assert after["accesses"] - first["accesses"] == len(stage.chips.sent)
    assert after["bytes"] - first["bytes"] == sum(len(data) for _, _, data, _ in stage.chips.sent)
    assert (after["late"], after["skipped"], stage.sim.illegal) == (0, 0, [])


def test_no_flipped_bit_of_a_scan_changes_what_a_chip_was_told(stage: ChipStage) -> None:
    """A read is one bit from a write: each bit of every access of a scan is flipped, in a conversation and with a line off-hook."""
    stage.sim.fxs[0].set(lifted=1)
    stage.drive(0, OFF_HOOK)
    stage.drive(4, ACTIVE)
    stage.drive(5, TX)
    stage.rest(300)
    stage.chips.keep = True
    stage.rest(130)
    accesses = {(chain, tuple(data)) for _, chain, data, _ in stage.chips.sent}
    assert len(accesses) >= sum(len(PLAN[kind].polls) for kind, _ in SLOTS.values())
    ports = {0: stage.sim.fxo, 1: stage.sim.fxs}
    # Flags of interrupts are no settings: they go by being written. A line that a chip opened by itself shows in register 64, too.
    settings = {0: list(range(128)), 1: [register for register in range(128) if register not in INTERRUPTS]}
    told = {chain: [[port.peek(register) for register in settings[chain]] for port in ports[chain]] for chain in ports}
    for chain, data in sorted(accesses):
        for bit in range(8 * len(data)):
            flipped = [byte ^ (1 << bit % 8 if at == bit // 8 else 0) for at, byte in enumerate(data)]
            for byte in flipped:
                stage.sim.spi["fxs" if chain else "fxo"].transfer([byte])
            for port, held in zip(ports[chain], told[chain], strict=True):
                now = [port.peek(register) for register in settings[chain]]
                assert now == held, (chain, data, bit)


@pytest.mark.parametrize("kind", ["fxo", "fxs"])
@given(data=st.data())
def test_the_tables_say_what_the_reference_says(kind: str, data: st.DataObject) -> None:
    plan = PLANS["si3050" if kind == "fxo" else "si321x"]
    values = data.draw(st.dictionaries(st.sampled_from(REGISTERS[kind]), st.integers(0, 255), min_size=1))
    sane = {5: 0x08, 13: 0x40, 33: 0x38, 12: 0x40, 19: 0x00} if kind == "fxo" else {68: 0, 64: 0x11, 19: 0, 0: 0x05, 8: 0}
    for register in data.draw(st.sets(st.sampled_from(sorted(sane)))):
        values[register] = sane[register]
    assert judge(kind, plan, values) == facts_of(plan, values)


def test_a_plan_that_cannot_be_carried_out_is_refused_by_name() -> None:
    sim = powered()
    with pytest.raises(ValueError, match="register 17"):
        ChipStage(sim, scan={"base": {5: 0x08}})
    with pytest.raises(ValueError, match="framing"):
        ChipStage(sim, scan={"framing": "i2c"})


# --- drives ----------------------------------------------------------------------------------------------------------------------


def test_a_drive_is_on_the_copper_in_the_next_block_and_its_late_write_comes_after_25_ms(stage: ChipStage) -> None:
    stage.chips.keep = True
    stage.drive(0, OFF_HOOK)
    stage.rest(100)
    ((at, state),) = stage.changed(0, 1000)
    assert (at, state) == (stage.ms - 90, OFF_HOOK)
    writes = [(ms - at, list(data)) for ms, _, data, _ in stage.chips.sent if data[0] & 0x40 == 0 and len(data) == 3 and data[0] & 0x20]
    expected = [(0, 5, 0x00), (0, 5, 0x01), (25, 17, stage.sim.fxo[0].peek(17) | 0x08)]
    assert writes == [(ms, list(write_frames("si3050", 0, register, value))) for ms, register, value in expected]
    assert stage.sim.illegal == []
    assert stage.engine.standing_drive(0) == OFF_HOOK


def test_the_other_bits_of_a_register_survive_a_masked_write() -> None:
    sim = powered()
    for byte in write_frames("si3050", 0, 17, 0x20):
        sim.spi["fxo"].transfer([byte])
    stage = ChipStage(sim)
    stage.drive(0, OFF_HOOK)
    stage.rest(100)
    assert sim.fxo[0].peek(17) == 0x28
    stage.drive(0, ON_HOOK)
    stage.rest(100)
    assert sim.fxo[0].peek(17) == 0x20
    stage.close()


@pytest.mark.parametrize("hold", [1, 80, 307, 1000])
def test_a_flash_lasts_exactly_as_long_as_it_was_asked(stage: ChipStage, hold: int) -> None:
    stage.drive(0, OFF_HOOK)
    stage.rest(500)
    stage.drive(0, ON_HOOK, hold, OFF_HOOK)
    stage.rest(10)
    assert stage.engine.standing_drive(0) == (-1 if hold > 10 else OFF_HOOK)
    stage.rest(hold + 90)
    (_, off), (begun, down), (back, up) = stage.changed(0, 1000)
    assert (off, down, up, back - begun) == (OFF_HOOK, ON_HOOK, OFF_HOOK, hold)
    assert stage.engine.standing_drive(0) == OFF_HOOK


def test_an_open_switch_interval_and_a_drive_that_cancels_it(stage: ChipStage) -> None:
    stage.drive(4, OPEN, 500, REVERSED)
    stage.rest(1000)
    (begun, down), (back, up) = stage.changed(4, 1000)
    assert (down, up, back - begun) == (OPEN, REVERSED, 500)
    stage.drive(4, OPEN, 500, ACTIVE)
    stage.rest(200)
    stage.drive(4, TX)
    stage.rest(1000)
    assert [state for _, state in stage.changed(4, 2000)] == [OPEN, TX]


@pytest.mark.parametrize(("digits", "break_ms", "make_ms", "between"), [("1", 60, 40, 750), ("205", 67, 33, 800), ("93", 50, 50, 300)])
def test_dial_pulses_are_exact_on_the_copper(stage: ChipStage, digits: str, break_ms: int, make_ms: int, between: int) -> None:
    stage.drive(0, OFF_HOOK)
    stage.rest(500)
    stage.events.clear()
    begun = stage.ms
    stage.do("pulse", 0, abi.pack_pulse(7, digits, break_ms, make_ms, between))
    stage.rest(6000)
    expected, at = [], begun + 10
    for number, digit in enumerate(digits):
        at += between if number else 0
        for pulse in range(int(digit) or 10):
            at += make_ms if pulse else 0
            expected += [(at, ON_HOOK), (at + break_ms, OFF_HOOK)]
            at += break_ms
    assert stage.changed(0, begun) == expected
    ((told, payload),) = stage.named("pulse_sent", 0)
    assert (told, payload[:2]) == (at, (7, True))
    assert stage.named("loop_current", 0) == []  # the current of pulses says nothing
    assert stage.engine.standing_drive(0) == OFF_HOOK
    assert stage.sim.illegal == []


def test_hanging_up_cancels_pulses_and_tells_it(stage: ChipStage) -> None:
    stage.drive(0, OFF_HOOK)
    stage.rest(500)
    stage.do("pulse", 0, abi.pack_pulse(8, "999", 60, 40, 750))
    stage.rest(250)
    stage.drive(0, ON_HOOK)
    stage.rest(3000)
    assert [payload[:2] for _, payload in stage.named("pulse_sent", 0)] == [(8, False)]
    assert stage.changed(0)[-1][1] == ON_HOOK
    assert len(stage.changed(0, stage.ms - 2500)) == 0


def test_pulses_are_refused_where_they_make_no_sense(stage: ChipStage) -> None:
    body = abi.pack_pulse(9, "12", 60, 40, 750)
    telephone, on_hook = stage.do("pulse", 4, body), stage.do("pulse", 0, body)
    stage.rest(100)
    assert stage.done(telephone) == 1  # FAIL_PORT
    assert stage.done(on_hook) == 0
    assert [payload[:2] for _, payload in stage.named("pulse_sent")] == [(9, False)]
    assert stage.changed(0, 1000) == []


def test_a_drive_code_the_chip_does_not_have_is_refused(stage: ChipStage) -> None:
    wrong = stage.drive(0, 4)
    stage.rest(50)
    assert stage.done(wrong) == 2  # FAIL_RANGE


def test_a_successor_takes_over_what_stands_without_a_write() -> None:
    sim = powered()
    first = ChipStage(sim)
    first.drive(0, OFF_HOOK)
    first.drive(4, REVERSED)
    first.rest(500)
    first.engine.stop()
    calls = [(at, sim.chips.state(*SLOTS[slot])["drive"]) for at, slot in ((0, 0), (0, 4))]
    second = ChipStage(sim)
    assert second.stood == [OFF_HOOK, ON_HOOK, REVERSED, ACTIVE]
    second.chips.keep = True
    second.rest(500)
    assert [data for _, _, data, _ in second.chips.sent if data[1] & 0x80 == 0 and data[0] & 0xE0 == 0x20] == []
    assert [(at, sim.chips.state(*SLOTS[slot])["drive"]) for at, slot in ((0, 0), (0, 4))] == calls
    assert [second.engine.standing_drive(slot) for slot in SLOTS] == [OFF_HOOK, ON_HOOK, REVERSED, ACTIVE]
    first.close()
    second.close()


# --- exchange lines ----------------------------------------------------------------------------------------------------------------


def ringing(hertz: float, volts: float, until: int, start: int) -> Callable[[int], Fact]:
    def fact(ms: int) -> Fact:
        t = ms - start
        return (480, 0, int(10 * volts * math.sqrt(2) * math.sin(2 * math.pi * hertz * t / 1000)) if 0 <= t < until else 0, 0)

    return fact


@pytest.mark.parametrize("volts", [20, 45, 95])
@pytest.mark.parametrize("hertz", [13.0, 16.7, 20.0, 25.0, 33.3, 50.0, 68.0, 70.0])
def test_ringing_is_told_with_its_first_and_last_half_wave(stage: ChipStage, hertz: float, volts: float) -> None:
    begun = stage.ms + 20
    stage.chips.copper["fxo", 0] = ringing(hertz, volts, 1000, begun)
    stage.rest(2000)
    (on_at, on), (off_at, off) = stage.seen("ring_burst", 0)
    assert (on, off) == (1, 0)
    assert 0 <= on_at - begun <= 500 / hertz + 3
    assert 1000 - 1100 / hertz - 2 <= off_at - begun <= 1000
    assert [name for name, port, _, _ in stage.events if port == 0 and name in ("battery", "polarity")] == []
    assert stage.seen("ring_burst", 1) == []


@pytest.mark.parametrize(("hertz", "volts"), [(25, 10), (10, 75), (90, 75), (50, 9), (60, 9)])
def test_weak_voltage_hum_and_other_frequencies_are_no_ring(stage: ChipStage, hertz: float, volts: float) -> None:
    stage.chips.copper["fxo", 0] = ringing(hertz, volts, 1000, stage.ms)
    stage.rest(1500)
    assert stage.seen("ring_burst", 0) == []


@pytest.mark.parametrize(("after", "told"), [(10, False), (70, True), (150, True)])
def test_a_hook_that_closes_into_a_ring_under_validation_tells_the_ring_at_once(stage: ChipStage, after: int, told: bool) -> None:
    begun = stage.ms + 200
    stage.chips.copper["fxo", 0] = ringing(25, 75, after, begun)  # the exchange trips when the hook closes
    stage.rest(190 + after)
    stage.drive(0, OFF_HOOK)
    stage.rest(30)
    assert stage.changed(0, begun) == [(begun + after, OFF_HOOK)]
    bursts = stage.seen("ring_burst", 0)
    assert [on for _, on in bursts] == ([1] if told else [])
    assert all(0 <= at - begun <= 5 for at, _ in bursts)


def test_a_reversal_at_the_seizure_is_no_ring(stage: ChipStage) -> None:
    begun = stage.ms + 100
    stage.chips.copper["fxo", 0] = lambda ms: (-480 if ms >= begun else 480, 0, 0, 0)
    stage.rest(100)
    stage.drive(0, OFF_HOOK)
    stage.rest(500)
    assert stage.seen("ring_burst", 0) == []


def test_reversals_and_neon_pulses_are_no_ring(stage: ChipStage) -> None:
    begun = stage.ms
    stage.chips.copper["fxo", 0] = lambda ms: (-480 if (ms - begun) // 700 % 2 else 480, 0, 0, 0)
    stage.chips.copper["fxo", 1] = lambda ms: (480, 0, 900 if (ms - begun) % 250 < 40 else 0, 0)
    stage.rest(5200)
    assert stage.seen("ring_burst", 0) == stage.seen("ring_burst", 1) == []
    turns = stage.seen("polarity", 0)
    assert [bool(on) for _, on in turns] == [n % 2 == 0 for n in range(7)]
    assert all(0 <= at - begun - 700 * (n + 1) <= 20 for n, (at, _) in enumerate(turns))
    assert stage.seen("battery", 1) == []


def test_a_lost_line_and_a_parallel_telephone_on_hook(stage: ChipStage) -> None:
    begun = stage.ms
    stage.sim.fxo[0].set(parallel=1)
    stage.rest(1000)
    ((at, payload),) = stage.named("battery", 0)
    assert payload == (1, 8.0) and 400 <= at - begun <= 480
    stage.sim.fxo[0].set(parallel=0, opened=1)
    stage.events.clear()
    begun = stage.ms
    stage.rest(500)
    ((at, present),) = stage.seen("battery", 0)
    assert not present and 0 <= at - begun <= 40


def test_loop_current_its_loss_and_its_return(stage: ChipStage) -> None:
    stage.drive(0, OFF_HOOK)
    stage.rest(500)
    ((_, payload),) = stage.named("loop_current", 0)
    assert payload[0] == 1 and payload[1] == pytest.approx(stage.sim.fxo[0].state["milliamps"], abs=1.2)
    begun = stage.ms
    stage.sim.fxo[0].set(opened=1)
    stage.rest(100)
    stage.sim.fxo[0].set(opened=0)
    stage.rest(200)
    (lost_at, lost), (back_at, back) = stage.seen("loop_current", 0, begun)
    assert (lost, back) == (0, 1)
    assert lost_at - begun <= 6 and 100 <= back_at - begun <= 112


def test_a_short_break_of_the_loop_is_told_as_such_when_the_link_falls_with_it(stage: ChipStage) -> None:
    stage.drive(0, OFF_HOOK)
    stage.rest(500)
    begun = stage.ms
    stage.sim.fxo[0].set(opened=1)
    stage.rest(800)  # the link lives on the loop's current and falls after 300 ms
    assert not stage.sim.fxo[0].state["link"]
    stage.sim.fxo[0].set(opened=0)
    stage.rest(600)
    assert [on for _, on in stage.seen("loop_current", 0, begun)] == [0, 1]


def test_the_current_is_told_again_when_a_parallel_telephone_takes_its_share(stage: ChipStage) -> None:
    stage.drive(0, OFF_HOOK)
    stage.rest(500)
    stage.events.clear()
    begun = stage.ms
    stage.sim.fxo[0].set(parallel=1)
    stage.rest(500)
    stage.sim.fxo[0].set(parallel=0)
    stage.rest(500)
    (down_at, down), (up_at, up) = stage.named("loop_current", 0)
    assert down[0] == up[0] == 1
    assert down[1] == pytest.approx(0.6 * up[1], rel=0.08)
    assert 0 <= down_at - begun <= 12 and 500 <= up_at - begun <= 512


# --- telephones --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("break_ms", "make_ms"), [(60, 40), (67, 33), (30, 20), (15, 15)])
def test_dial_pulses_of_a_telephone_are_measured_to_the_millisecond(stage: ChipStage, break_ms: int, make_ms: int) -> None:
    start = stage.ms + 107
    stage.chips.copper["fxs", 0] = dialling(start, 5, break_ms, make_ms)
    stage.rest(2000)
    expected = [(start, 1)]
    for n in range(5):
        at = start + 400 + n * (break_ms + make_ms)
        expected += [(at, 0), (at + break_ms, 1)]
    assert stage.seen("loop", 4) == expected
    (_, (_, milliamps)) = stage.named("loop", 4)[0]
    assert milliamps == pytest.approx(20, abs=1.3)
    assert stage.seen("loop", 5) == []


def test_answering_while_it_rings_trips_the_chip_and_the_scanner_goes_along(stage: ChipStage) -> None:
    stage.drive(4, RINGING)
    stage.rest(1000)
    begun = stage.ms
    stage.sim.fxs[0].set(lifted=1)
    stage.rest(300)
    ((tripped, _),) = stage.seen("ring_trip", 4)
    assert 0 <= tripped - begun <= 200
    ((closed, on),) = stage.seen("loop", 4)
    assert on and closed >= tripped - 20
    assert stage.engine.standing_drive(4) == ACTIVE
    assert stage.sim.fxs[0].peek(64) == 0x11
    assert stage.snapshot()[4]["drive"] == ACTIVE


def test_ringing_alone_trips_nothing_and_a_lift_in_the_pause_is_a_closed_loop(stage: ChipStage) -> None:
    stage.sim.fxs[0].set(ren=3)
    stage.drive(4, RINGING)
    stage.rest(2000)
    stage.drive(4, TX)
    stage.rest(500)
    assert stage.seen("ring_trip", 4) == stage.seen("loop", 4) == []
    begun = stage.ms
    stage.sim.fxs[0].set(lifted=1)
    stage.rest(100)
    ((at, on),) = stage.seen("loop", 4)
    assert on and abs(at - begun) <= 1


# --- caller id on hook ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 3277, -3277])
def test_caller_id_on_hook_is_read_over_a_tenth_of_dc(stage: ChipStage, offset: int) -> None:
    """The on-hook monitor of the Si3050 adds up to 10 % of full scale."""
    payload = bytes([0x04, 11]) + b"07041830555"
    sound = modulate(payload) + offset
    stage.do("open_line", 0, abi.pack_line(0, 1.0, 1.0, "line-0"))
    stage.do("detect", 0, abi.pack_detect(True, 3, False, 0))
    stage.rest(50)
    begun = stage.ms * 8

    def source(at: int) -> Samples:
        block = np.full(80, offset, np.int16)
        part = sound[max(0, at - begun) : max(0, at - begun + 80)]
        block[: len(part)] = part
        return block

    stage.captures[0] = source
    stage.rest(len(sound) // 8 + 300)
    assert [payload for _, (_, payload) in stage.named("fsk_message", 0)] == [payload]


def modulate(payload: bytes, level: float = 0.2) -> Samples:
    """Bell 202: seizure, marks, the message with its checksum, by an oscillator of continuous phase."""
    message = payload + bytes([-sum(payload) & 0xFF])
    bits = [n & 1 for n in range(300)] + [1] * 180
    for byte in message:
        bits += [0, *(byte >> n & 1 for n in range(8)), 1]
    bits += [1] * 10
    samples = np.arange(int(len(bits) * 8000 / 1200))
    tone = np.where(np.array(bits)[(samples * 1200 / 8000).astype(int)], 1200.0, 2200.0)
    return np.asarray(np.round(22750 * level * np.sin(2 * np.pi * np.cumsum(tone) / 8000)), dtype=np.int16)
