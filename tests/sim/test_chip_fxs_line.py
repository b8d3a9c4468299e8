"""The simulated Si321x linefeed: states, detectors, ring trip, supply, alarms, meters. Sections 2.2, 2.4, 2.5 of the facts."""

from __future__ import annotations

import math

import pytest

from firmware.sim.chip_face import SimBoard
from tests.sim.test_chip_power_up import Fxs, fxs_ready, kinds, powered


def until(board: SimBoard, number: int, bit: int, *, level: bool = True, limit: int = 2000) -> int:
    """Milliseconds until a bit of register 68 has this level, -1 for never."""
    for ms in range(limit):
        if bool(board.fxs[number].peek(68) & bit) == level:
            return ms
        board.step(1)
    return -1


@pytest.mark.parametrize(("feed", "volts"), [(0, 0), (1, 48), (2, 48), (3, 0), (5, -48), (6, -48), (7, 0)])
def test_each_feed_puts_its_voltage_on_the_line(feed: int, volts: int) -> None:
    board, chip = fxs_ready()
    chip.write(64, feed)
    board.step(30)
    assert chip.read(64) == feed << 4 | feed
    assert board.fxs[0].fact[0] / 10 == pytest.approx(volts, abs=0.3)
    assert board.fxs[0].state["drive"] == (feed if feed not in (3, 7) else 0)
    assert chip.read(78) == round(abs(volts) / 1.5) | (0x40 if volts < 0 else 0)
    assert not board.illegal


def test_the_sign_bit_of_register_72_turns_the_line_and_its_volts_are_steps_of_1_5() -> None:
    board, chip = fxs_ready()
    chip.write(72, 0x40 | 20)
    board.step(20)
    assert board.fxs[0].fact[0] == pytest.approx(-300, abs=2)


@pytest.mark.parametrize("step", range(8))
def test_the_loop_current_is_20_ma_and_3_per_step(step: int) -> None:
    board, chip = fxs_ready()
    chip.write(71, step)
    board.fxs[0].set(lifted=1, phone_ohms=100, loop_ohms=50)
    board.step(60)
    assert board.fxs[0].fact[1] / 10 == pytest.approx(20 + 3 * step, abs=0.2)
    assert chip.read(79) == pytest.approx((20 + 3 * step) / 1.25, abs=1)


def test_a_long_loop_is_fed_through_160_ohm() -> None:
    board, chip = fxs_ready()
    chip.write(71, 7)
    chip.write(66, 0)                                       # no tracking: the battery stays up
    board.fxs[0].set(lifted=1, phone_ohms=600, loop_ohms=1600)
    board.step(60)
    assert board.fxs[0].fact[1] / 10 == pytest.approx(48_000 / (160 + 2200), rel=0.02)


def test_tracking_lowers_the_battery_while_the_phone_is_lifted() -> None:
    board, chip = fxs_ready()
    board.fxs[0].set(lifted=1)
    board.step(200)
    assert chip.read(82) < 0x60
    board.fxs[0].set(lifted=0)
    board.step(300)
    assert chip.read(82) >= 0xC0
    for value in (0, 9):                                    # no tracking, or the high battery forced
        chip.write(66, value)
        board.fxs[0].set(lifted=1)
        board.step(200)
        assert chip.read(82) >= 0xC0


@pytest.mark.parametrize("steps", [0, 4, 10, 40])
def test_loop_closure_waits_for_its_debounce(steps: int) -> None:
    board, chip = fxs_ready()
    chip.write(69, steps)
    board.fxs[0].set(lifted=1)
    assert until(board, 0, 1) == pytest.approx(1.25 * steps, abs=2.5)
    board.fxs[0].set(lifted=0)
    assert until(board, 0, 1, level=False) == pytest.approx(1.25 * steps, abs=2.5)


def test_a_dial_pulse_shorter_than_the_debounce_is_not_seen() -> None:
    board, chip = fxs_ready()
    board.fxs[0].set(lifted=1)
    board.step(50)
    chip.write(19, 0xFF)
    board.fxs[0].set(lifted=0)
    board.step(10)
    board.fxs[0].set(lifted=1)
    board.step(50)
    assert chip.read(68) & 1
    assert chip.read(19) == 0


@pytest.mark.parametrize(("word", "milliamps"), [(0x1000, 10.16), (0x0800, 5.08), (0x1C00, 17.78)])
def test_the_threshold_of_loop_closure(word: int, milliamps: float) -> None:
    for factor, seen in ((0.97, -1), (1.03, 0)):
        board, chip = fxs_ready()
        chip.set(28, word)
        board.fxs[0].feed((200, round(milliamps * 10 * factor), 0, 0))
        assert min(until(board, 0, 1, limit=100), 0) == seen


@pytest.mark.parametrize(("hysten", "held"), [(1, True), (0, False)])
def test_hysteresis_of_loop_closure(hysten: int, held: bool) -> None:
    board, chip = fxs_ready()
    chip.write(108, 0xEA | hysten)
    chip.set(43, 0x0800)
    board.fxs[0].feed((200, 150, 0, 0))
    board.step(50)
    board.fxs[0].feed((200, 80, 0, 0))
    board.step(50)
    assert bool(chip.read(68) & 1) == held
    board.fxs[0].feed((200, 40, 0, 0))
    board.step(50)
    assert not chip.read(68) & 1


def test_the_raw_detector_bit_means_not_exceeded() -> None:
    board, chip = fxs_ready()
    assert chip.read(68) == 4
    board.fxs[0].set(lifted=1)
    board.step(2)
    assert chip.read(68) == 0
    board.step(30)
    assert chip.read(68) == 1


def test_a_filter_word_slows_loop_closure() -> None:
    board, chip = fxs_ready()
    quick = chip
    chip.set(35, 0x0320)
    board.step(1)
    board.fxs[0].set(lifted=1)
    assert until(board, 0, 1) > 40
    assert quick.get(35) == 0x0320


def test_aold_makes_a_lifted_on_hook_line_active() -> None:
    for aold, state in ((2, 1), (0, 2)):
        board, chip = fxs_ready()
        chip.write(67, 0x05 | aold)
        chip.write(64, 2)
        board.fxs[0].set(lifted=1)
        board.step(60)
        assert chip.read(64) == state << 4 | 2


@pytest.mark.parametrize(
    ("rco", "rngx", "hertz", "peak"), [(0x7EFD, 0x0177, 20.0, 70.0), (0x7EF0, 0x0160, 20.5, 64.0), (0x7E6C, 0x01D0, 25.0, 69.0)]
)
def test_ringing_has_the_frequency_and_the_voltage_of_its_words(rco: int, rngx: int, hertz: float, peak: float) -> None:
    board, chip = fxs_ready()
    chip.write(74, 0x3F)
    chip.set(20, rco)
    chip.set(21, rngx)
    board.step(100)
    chip.write(64, 4)
    volts = []
    for _ in range(1000):
        board.step(1)
        volts.append(board.fxs[0].state["ring_volts"])
    assert max(volts) == pytest.approx(peak, rel=0.02)
    assert sum(1 for a, b in zip(volts, volts[1:], strict=False) if a < 0 <= b) == pytest.approx(hertz, abs=1)


def test_a_trapezoid_has_its_own_words() -> None:
    board, chip = fxs_ready()
    chip.write(34, 0x01)
    chip.set(21, 0x4000)
    chip.set(22, 0x03E8)
    chip.wait()
    assert board.fxs[0].state["ring_hz"] == pytest.approx(4.0)
    assert board.fxs[0].state["ring_peak"] == pytest.approx(48.0)


def test_ringing_stays_7_5_volts_below_the_battery() -> None:
    board, chip = fxs_ready()
    chip.set(21, 0x0400)
    chip.wait()
    assert board.fxs[0].state["ring_peak"] == pytest.approx(67.5)


@pytest.mark.parametrize("ren", [1, 3, 5])
def test_bells_alone_do_not_trip(ren: int) -> None:
    board, chip = fxs_ready()
    board.fxs[0].set(ren=ren)
    chip.write(64, 4)
    assert until(board, 0, 2, limit=3000) == -1
    assert not board.illegal


@pytest.mark.parametrize("loop", [0, 400, 800])
def test_ring_trip_within_200_ms_moves_to_active(loop: int) -> None:
    board, chip = fxs_ready()
    chip.write(64, 4)
    board.step(500)
    board.fxs[0].set(lifted=1, loop_ohms=loop)
    assert 10 <= until(board, 0, 2) <= 200
    assert chip.read(64) == 0x14
    assert chip.read(19) & 1
    board.step(50)
    assert chip.read(68) & 1
    chip.write(64, 1)
    board.step(2)
    assert chip.read(68) & 3 == 1
    assert chip.read(64) == 0x11


def test_without_aord_the_ringer_stays_at_the_ear_and_is_noted() -> None:
    board, chip = fxs_ready()
    chip.write(67, 0x03)
    chip.write(64, 4)
    board.fxs[0].set(lifted=1)
    board.step(600)
    assert chip.read(64) == 0x44
    assert chip.read(68) & 2
    assert kinds(board) == {"ring-into-lifted-phone"}


def test_the_threshold_and_the_debounce_of_ring_trip() -> None:
    for milliamps, tripped in ((33.0, False), (36.0, True)):
        board, chip = fxs_ready()
        chip.write(64, 4)
        board.fxs[0].feed((480, 0, 0, round(10 * milliamps)))
        assert (until(board, 0, 2, limit=1500) >= 0) == tripped
    times = []
    for steps in (5, 100):
        board, chip = fxs_ready()
        chip.write(70, steps)
        chip.write(64, 4)
        board.fxs[0].feed((480, 0, 0, 600))
        times.append(until(board, 0, 2))
    assert times[1] - times[0] == pytest.approx(1.25 * 95, abs=2)


def test_the_cadence_timers_ring_by_themselves() -> None:
    board, chip = fxs_ready()
    for reg, value in ((48, 0x40), (49, 0x06), (50, 0x80), (51, 0x0C), (34, 0x18)):
        chip.write(reg, value)                              # 1600 and 3200 of 125 us
    chip.write(64, 4)
    states = []
    for _ in range(1200):
        board.step(1)
        states.append(board.fxs[0].peek(64) >> 4)
    assert states.count(4) == pytest.approx(400, abs=4)
    assert states.count(2) == pytest.approx(800, abs=4)
    assert chip.read(64) & 7 == 4


def test_the_ring_active_bit() -> None:
    board, chip = fxs_ready()
    chip.write(64, 4)
    board.step(2)
    assert chip.read(34) & 0x80
    chip.write(64, 1)
    board.step(2)
    assert not chip.read(34) & 0x80


def test_ringing_without_a_battery_is_noted() -> None:
    board = powered(0, 1)
    Fxs(board).write(64, 4)
    assert kinds(board) == {"ring-without-battery"}


def test_an_earthed_line_raises_the_power_alarm_and_opens_alone() -> None:
    board, chip = fxs_ready()
    Fxs(board, 1).bring_up(1)
    board.fxs[0].set(earthed=1)
    board.step(3000)
    assert chip.read(19) & 0xFC
    assert chip.read(64) == 0x01
    assert board.fxs[0].fact == (0, 0, 0, 0)
    assert Fxs(board, 1).read(64) == 0x11
    assert "overheated" not in kinds(board)
    board.fxs[0].set(earthed=0)
    chip.write(19, 0xFF)
    chip.write(64, 1)
    board.step(30)
    assert chip.read(64) == 0x11


def test_without_aopn_an_earthed_line_burns_and_the_oracle_tells() -> None:
    board, chip = fxs_ready()
    chip.write(67, 0x06)
    chip.write(66, 0x00)
    board.fxs[0].set(earthed=1)
    board.step(5000)
    assert chip.read(64) == 0x11
    assert "overheated" in kinds(board)


def test_a_shorted_pair_only_carries_the_constant_current() -> None:
    board, chip = fxs_ready()
    board.fxs[0].set(shorted=1)
    board.step(3000)
    assert board.fxs[0].fact[1] == 200
    assert chip.read(64) == 0x11
    assert not chip.read(19) & 0xFC


def test_an_alarm_storm_comes_back_whenever_the_line_is_fed() -> None:
    board, chip = fxs_ready()
    board.fxs[0].set(fault_alarm=1)
    for _ in range(5):
        chip.write(64, 1)
        board.step(3)
        assert chip.read(64) == 0x01
        assert chip.read(19) & 0x80
        chip.write(19, 0xFF)


def test_a_stuck_hook_reads_lifted() -> None:
    board, chip = fxs_ready()
    board.fxs[0].set(fault_hook=1)
    board.step(2)
    assert chip.read(68) & 1
    assert board.fxs[0].fact[1] == 0


def test_sensed_voltages() -> None:
    board, chip = fxs_ready()
    assert chip.read(82) == math.floor(75 / 0.376)
    assert chip.read(81) - chip.read(80) == pytest.approx(48 / 0.376, abs=2)
    chip.write(64, 5)
    board.step(5)
    assert chip.read(80) - chip.read(81) == pytest.approx(48 / 0.376, abs=2)


def test_the_power_meter_counts_30_4_mw() -> None:
    board, chip = fxs_ready()
    chip.write(66, 0)
    chip.write(76, 5)
    board.fxs[0].feed((100, 200, 0, 0))
    board.step(5)
    assert chip.read(77) == pytest.approx(0.020 * 65 / 0.0304, abs=1)


def test_a_leak_is_a_load() -> None:
    board, chip = fxs_ready()
    board.fxs[0].set(leak_ohms=10_000)
    board.step(30)
    assert board.fxs[0].fact[1] / 10 == pytest.approx(48_000 / 10_160, abs=0.2)
    assert not chip.read(68) & 1


@pytest.mark.parametrize(("word", "ms"), [(0x8000, 14), (0x0320, 113), (0x0200, 170)])
def test_the_filter_of_ring_trip(word: int, ms: int) -> None:
    board, chip = fxs_ready()
    chip.set(36, word)
    chip.write(64, 4)
    board.fxs[0].feed((480, 0, 0, 400))
    assert until(board, 0, 2) == pytest.approx(ms, abs=0.1 * ms)


def test_meters_of_an_open_line_read_nothing() -> None:
    board, chip = fxs_ready()
    board.fxs[0].feed((480, 200, 0, 0))
    board.step(3)
    assert (chip.read(78), chip.read(79)) == (32, 16)
    chip.write(64, 0)
    board.step(3)
    assert (chip.read(78), chip.read(79), chip.read(80), chip.read(81)) == (0, 0, 0, 0)
