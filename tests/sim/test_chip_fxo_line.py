"""The simulated Si3019 on its line: hook, settling, meters, ring detector, drop-out. Sections 1.2 and 1.4 to 1.6 of the facts."""

from __future__ import annotations

import math

import pytest

from firmware.sim.chip_face import SimBoard
from tests.sim.test_chip_power_up import Fxo, fxo_ready, kinds, powered


def settle_ms(board: SimBoard, chip: Fxo) -> int:
    chip.write(5, 1)
    for ms in range(1500):
        board.step(1)
        if board.fxo[0].state["audio"]:
            return ms + 1
    return -1


def bits(board: SimBoard, chip: Fxo, ms: int) -> list[int]:
    """RDTN and RDTP, once per ms."""
    seen = []
    for _ in range(ms):
        board.step(1)
        seen.append(board.fxo[0].peek(5) & 0x60)
    return seen


def alternations(seen: list[int]) -> int:
    edges = [bit for bit, before in zip(seen, [0, *seen], strict=False) if bit and bit != before]
    return sum(1 for a, b in zip(edges, edges[1:], strict=False) if a != b)


@pytest.mark.parametrize(("foh", "counter"), [(0, 512), (1, 128), (2, 64), (3, 8)])
def test_the_off_hook_counter_mutes_audio(foh: int, counter: int) -> None:
    board, chip = fxo_ready()
    chip.write(31, foh << 5)
    chip.write(17, 0x20)
    chip.write(25, 0x20)
    assert settle_ms(board, chip) == pytest.approx(counter, abs=4)


@pytest.mark.parametrize(("cald", "rcald", "extra"), [(0, 0, 273), (1, 0, 17), (0, 1, 256), (1, 1, 0)])
def test_calibrations_lengthen_it(cald: int, rcald: int, extra: int) -> None:
    board, chip = fxo_ready()
    chip.write(17, 0x20 * cald)
    chip.write(25, 0x20 * rcald)
    assert settle_ms(board, chip) == pytest.approx(128 + extra, abs=4)


def test_the_bit_of_rcald_is_a_parameter() -> None:
    board, chip = fxo_ready()
    board.fxo[0].set(rcald_bit=3)
    chip.write(17, 0x20)
    chip.write(25, 0x08)
    assert settle_ms(board, chip) == pytest.approx(128, abs=4)


@pytest.mark.parametrize(("ohs", "ohs2", "sq", "ms"), [(0, 0, 0, 1), (0, 8, 0, 3), (0x40, 0, 0x50, 26)])
def test_the_speed_of_going_on_hook(ohs: int, ohs2: int, sq: int, ms: int) -> None:
    board, chip = fxo_ready()
    for reg, value in ((16, ohs), (31, 0x20 | ohs2), (59, sq)):
        chip.write(reg, value)
    chip.write(5, 1)
    board.step(400)
    chip.write(5, 0)
    took = 0
    while board.fxo[0].state["closed"]:
        board.step(1)
        took += 1
    assert took == ms


@pytest.mark.parametrize("monitor", [0, 8])
def test_off_hook_draws_current_with_and_without_the_monitor_bit(monitor: int) -> None:
    board, chip = fxo_ready()
    chip.write(5, 1 | monitor)
    board.step(60)
    assert chip.read(12) & 0x1F == 12
    assert chip.read(28) == 36
    assert chip.read(29) == 8
    assert board.fxo[0].state["drive"] == 1
    assert not board.illegal


def test_ilim_limits_the_current_and_overload_shows() -> None:
    board, chip = fxo_ready()
    board.fxo[0].set(ohms=150)
    chip.write(26, 0xC2)
    chip.write(5, 1)
    board.step(50)
    assert chip.read(28) == pytest.approx(55, abs=1)
    chip.write(26, 0xC0)
    board.step(5)
    assert chip.read(12) & 0x1F == 31
    assert chip.read(19) & 0x04
    assert chip.read(4) & 0x04


def test_overload_protection_waits_25_ms_after_off_hook() -> None:
    board, chip = fxo_ready()
    chip.write(5, 1)
    board.step(30)
    chip.write(17, 0x08)
    assert not board.illegal
    board.fxo[0].set(ohms=100)
    board.step(3)
    assert chip.read(19) & 1
    board, chip = fxo_ready()
    chip.write(5, 1)
    board.step(10)
    chip.write(17, 0x08)
    assert kinds(board) == {"overload-protect-early"}
    assert chip.read(19) & 1


def test_a_small_current_reads_as_dice() -> None:
    board, chip = fxo_ready()
    board.fxo[0].set(ohms=5000)
    chip.write(5, 1)
    board.step(20)
    seen = set()
    for _ in range(100):
        board.step(1)
        seen.add(chip.read(12) & 0x1F)
    assert len(seen) > 1
    assert max(seen) < 5


def test_a_parallel_phone_takes_more_than_a_quarter_of_the_current() -> None:
    board, chip = fxo_ready()
    chip.write(5, 1)
    board.step(50)
    alone = chip.read(28)
    board.fxo[0].set(parallel=1)
    board.step(5)
    assert chip.read(28) < 0.75 * alone


@pytest.mark.parametrize(("lvfd", "volts", "shown"), [(0, 3, 0), (1, 3, 3), (0, 4, 4), (0, 48, 48), (0, -48, -48), (1, -2, -2)])
def test_line_voltage(lvfd: int, volts: int, shown: int) -> None:
    board, chip = fxo_ready()
    chip.write(31, 0x20 | lvfd)
    board.fxo[0].feed((volts * 10, 0, 0, 0))
    board.step(100)
    assert (chip.read(29) ^ 0x80) - 0x80 == shown


def test_on_hook_a_parallel_phone_shows_8_volts_and_a_dead_line_none() -> None:
    board, chip = fxo_ready()
    board.fxo[0].set(parallel=1)
    board.step(80)
    assert chip.read(29) == 8
    board.fxo[0].set(opened=1)
    board.step(80)
    assert chip.read(29) == 0


def test_a_lost_loop_shows_dod_at_once_and_returns_in_two_ms() -> None:
    board, chip = fxo_ready()
    chip.write(5, 1)
    board.step(500)
    chip.write(4, 0)
    board.fxo[0].set(opened=1)
    board.step(2)
    assert chip.read(19) & 2
    assert chip.read(4) & 8
    assert (chip.read(12) & 0x1F, chip.read(28)) == (0, 0)
    assert not board.fxo[0].state["audio"]
    board.step(200)
    assert chip.read(11) >> 4 == 3
    board.fxo[0].set(opened=0)
    board.step(5)
    assert not chip.read(19) & 2
    assert board.fxo[0].state["audio"]


def test_a_long_loss_takes_the_link_with_it_until_current_returns() -> None:
    board, chip = fxo_ready()
    chip.write(5, 1)
    board.step(500)
    board.fxo[0].set(opened=1)
    board.step(700)
    assert chip.read(11) >> 4 == 0
    assert not chip.read(12) & 0x40
    assert [state for _, chip_, kind, state, _ in board.history if (chip_, kind) == (0, "link")] == [1, 0]
    board.fxo[0].set(opened=0)
    board.step(6)
    assert chip.read(11) >> 4 == 3
    assert chip.read(28) > 30
    assert not board.illegal


def ring_seen(volts: float, hertz: float = 25.0, rt: int = 0, rt2: int = 0) -> int:
    board, chip = fxo_ready()
    chip.write(16, rt)
    chip.write(17, rt2 << 4)
    board.fxo[0].set(ringing=1, ring_volts=volts, ring_hz=hertz)
    return alternations(bits(board, chip, 400))


@pytest.mark.parametrize(("rt2", "rt", "low", "high"), [(0, 0, 13.5, 16.5), (0, 1, 19.35, 23.65), (1, 1, 40.5, 49.5)])
def test_ring_thresholds(rt2: int, rt: int, low: float, high: float) -> None:
    assert ring_seen(low - 1, rt=rt, rt2=rt2) == 0
    assert ring_seen(high + 1, rt=rt, rt2=rt2) >= 15


@pytest.mark.parametrize("hertz", [15, 20, 25, 50, 68])
def test_ring_bits_follow_every_half_wave(hertz: int) -> None:
    assert ring_seen(60, hertz) == pytest.approx(2 * hertz * 0.4, abs=3)


def test_a_reversal_sets_one_bit_once() -> None:
    for way, bit in ((1, 0x40), (0, 0x20)):
        board, chip = fxo_ready()
        board.fxo[0].set(reversed=1 - way)
        board.step(100)
        chip.write(4, 0)
        board.fxo[0].set(reversed=way)
        seen = bits(board, chip, 200)
        assert set(seen) == {0, bit}
        assert 3 <= sum(1 for bit in seen if bit) < 40
        assert chip.read(4) & 1


@pytest.mark.parametrize("reversed_line", [0, 1])
def test_the_first_battery_after_power_up_is_no_reversal(reversed_line: int) -> None:
    board = powered(1, 0)
    board.fxo[0].set(reversed=reversed_line)
    chip = Fxo(board)
    chip.bring_up()
    board.step(100)
    assert abs((chip.read(29) ^ 0x80) - 0x80) == 48
    assert chip.read(4) & 1 == 0


def test_a_neon_pulse_sets_one_bit_only() -> None:
    board, chip = fxo_ready()
    board.fxo[0].set(stray_ms=12)
    assert set(bits(board, chip, 60)) == {0, 0x20}


def test_mains_hum_below_the_threshold_is_no_ring() -> None:
    board, chip = fxo_ready()
    board.fxo[0].set(hum_volts=10)
    assert set(bits(board, chip, 200)) == {0}


def test_off_hook_sees_no_ring_and_clears_rdt() -> None:
    board, chip = fxo_ready()
    board.fxo[0].set(ringing=1)
    board.step(100)
    assert chip.read(5) & 4
    chip.write(5, 1)
    board.step(1)
    assert chip.read(5) & 4 == 0
    assert set(bits(board, chip, 200)) == {0}


def test_rdt_without_validation_is_a_one_shot_of_five_seconds() -> None:
    board, chip = fxo_ready()
    board.step(6000)
    assert chip.read(5) & 4 == 0
    board.fxo[0].set(ringing=1)
    board.step(1000)
    board.fxo[0].set(ringing=0)
    board.step(4900)
    assert chip.read(5) & 4
    board.step(200)
    assert chip.read(5) & 4 == 0


def test_half_wave_mode_starts_on_positive_waves_only() -> None:
    for full, expected in ((0, 0), (2, 4)):
        board, chip = fxo_ready()
        board.step(6000)
        chip.write(18, full)
        board.fxo[0].feed((480, 0, -900, 0))
        board.step(20)
        assert chip.read(5) & 4 == expected


def validated(ras: int, rmx: int, hertz: float, *, rcc: int = 5, ms: int = 3000, rdly: int = 0) -> int:
    """Milliseconds until RDT with validation, -1 for never."""
    board, chip = fxo_ready()
    for reg, value in ((22, (rdly & 3) << 6 | rmx), (23, (rdly >> 2) << 7 | 5 << 3 | rcc), (24, 0x80 | ras)):
        chip.write(reg, value)
    board.fxo[0].set(ringing=1, ring_hz=hertz, ring_volts=75)
    for k in range(ms):
        board.step(1)
        if board.fxo[0].peek(5) & 4:
            return k
    return -1


@pytest.mark.parametrize(
    ("hertz", "heard"), [(10, False), (13, False), (16, True), (20, True), (25, True), (50, True), (66, True), (90, False)]
)
def test_the_validator_accepts_15_to_68_hz(hertz: float, heard: bool) -> None:
    assert (validated(17, 14, hertz) >= 0) == heard


@pytest.mark.parametrize(("hertz", "heard"), [(8, False), (11, True), (75, True), (100, False)])
def test_its_reset_values_accept_10_to_83_hz(hertz: float, heard: bool) -> None:
    assert (validated(25, 22, hertz, rcc=3) >= 0) == heard


@pytest.mark.parametrize(("rcc", "ms"), [(0, 100), (1, 150), (2, 200), (3, 256), (4, 384), (5, 512), (6, 640), (7, 1024)])
def test_confirmation_times(rcc: int, ms: int) -> None:
    assert ms <= validated(17, 14, 25, rcc=rcc) <= ms + 60


def test_the_delay_of_ring_indication() -> None:
    assert validated(17, 14, 25, rcc=0, rdly=4) - validated(17, 14, 25, rcc=0) == pytest.approx(1024, abs=2)


def test_validated_ring_ends_after_its_timeout_and_interrupts_at_both_ends_with_rdi() -> None:
    for rdi in (0, 1):
        board, chip = fxo_ready()
        for reg, value in ((2, 0x03 | rdi << 2), (22, 14), (23, 0x2B), (24, 0x80 | 17), (4, 0)):
            chip.write(reg, value)
        board.fxo[0].set(ringing=1)
        board.step(900)
        assert chip.read(4) & 0x80
        chip.write(4, 0x7F)
        board.step(600)
        assert not chip.read(4) & 0x80
        board.fxo[0].set(ringing=0)
        board.step(600)
        assert chip.read(5) & 4
        board.step(100)
        assert chip.read(5) & 4 == 0
        assert bool(chip.read(4) & 0x80) == bool(rdi)


def test_ringing_shakes_the_line_voltage() -> None:
    board, _ = fxo_ready()
    board.fxo[0].set(ringing=1, ring_volts=90)
    seen = []
    for _ in range(80):
        board.step(1)
        seen.append((board.fxo[0].peek(29) ^ 0x80) - 0x80)
    assert max(seen) - min(seen) > 60


def test_stuck_hooks_and_a_lost_link() -> None:
    board, chip = fxo_ready()
    board.fxo[0].set(fault_hook=1)
    chip.write(5, 9)
    board.step(20)
    assert chip.read(5) & 1 == 0
    assert not board.fxo[0].state["closed"]
    board.fxo[0].set(fault_hook=0, fault_hook_closed=1)
    chip.write(5, 8)
    board.step(20)
    assert board.fxo[0].state["closed"]
    board.fxo[0].set(fault_hook_closed=0, fault_link=1)
    board.step(5)
    assert chip.read(11) >> 4 == 0
    board.fxo[0].set(fault_link=0)
    board.step(150)
    assert chip.read(11) >> 4 == 3


def test_a_billing_tone_mutes_and_flags() -> None:
    board, chip = fxo_ready()
    chip.write(17, 0x24)
    settle_ms(board, chip)
    board.fxo[0].set(billing_volts=2)
    board.step(2)
    assert chip.read(17) & 3 == 3
    assert chip.read(4) & 0x50 == 0x50
    assert not board.fxo[0].state["audio"]
    board.fxo[0].set(billing_volts=0)
    board.step(3)
    assert chip.read(17) & 3 == 2
    chip.write(17, 0x24)
    assert chip.read(17) & 3 == 0


def test_the_current_follows_the_loop_and_the_curve_of_the_chip() -> None:
    for ohms in (400, 1000, 2500):
        board, chip = fxo_ready()
        board.fxo[0].set(ohms=ohms)
        chip.write(5, 1)
        board.step(300)
        volts, current, _, _ = board.fxo[0].fact
        assert current / 10 == pytest.approx(42_000 / (ohms + 50), rel=0.02)
        assert volts / 10 == pytest.approx(6 + 0.05 * current / 10, abs=0.2)
        assert chip.read(28) == pytest.approx(math.floor(current / 11), abs=1)


def test_tolerances_are_parameters() -> None:
    board, chip = fxo_ready()
    board.fxo[0].set(lvs_gain=1.1)
    board.step(60)
    assert chip.read(29) == 53
    for place, seen in ((0.0, True), (1.0, False)):        # the two ends of 13.5 to 16.5 V
        board, chip = fxo_ready()
        board.fxo[0].set(threshold=place, ringing=1, ring_volts=15)
        assert (alternations(bits(board, chip, 300)) > 5) == seen
    board, chip = fxo_ready()
    board.fxo[0].set(ohms=5000, lcs_noise=0)
    chip.write(5, 1)
    board.step(20)
    assert {chip.read(12) & 0x1F for _ in range(50)} == {2}
