"""The Si321x driver against bytes and register files: framing, indirect registers, power-up, ringing, faults."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.config.board import Linefeed
from firmware.errors import LocalProtocolError
from firmware.hal.api import Feed, Ringing
from firmware.hal.bus import Bench, ChipError
from firmware.hal.framing import SpiRegisters, count_si321x
from firmware.hal.scan import PLANS, read_frames, write_frames
from firmware.hal.si321x import Si321x, gain_value, ring_trip_row, sine_values, trapezoid_values
from firmware.hal.si321x_indirect import Indirect
from firmware.hal.si321x_registers import NAMES
from tests.unit.hal_bench import PCM, Chain321x, Chip321x, Clocks, Script, Time, where


def port(chain: Any, position: int = 0, *, time: Time | None = None, clocks: Clocks | None = None, **more: Any) -> Si321x:
    more = {"daisy": False, "country": "CN", "slot": 4 + position, **more}
    return Si321x(chain, position, where("fxs"), pcm=PCM, clocks=clocks or Clocks(), clock=time or Time(), **more)


def running(chip: Chip321x | None = None, **more: Any) -> tuple[Si321x, Chip321x, Chain321x, Time]:
    chip = chip or Chip321x()
    chain, time = Chain321x([chip]), Time()
    driver = port(chain, time=time, **more)
    driver.bring_up()
    chip.writes.clear()
    return driver, chip, chain, time


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_two_byte_and_daisy_chain_accesses() -> None:
    bus = Script([(0x80 | 68, 0xFF), (0xFF, 0x01), (64, 0xFF), (5, 0xFF)])
    plain = SpiRegisters(bus, "si321x", 0)
    assert plain.read(68) == 0x01
    plain.write(64, 5)
    assert bus.finished()
    bus = Script([(0x00, 0xFF), (0x80, 0xFF), (0x04, 0xFF), (0x80 | 68, 0xFF), (0xFF, 0x03), (0x04, 0xFF), (64, 0xFF), (1, 0xFF)])
    third = SpiRegisters(bus, "si321x-daisy", 2)
    third.enter_daisy()
    assert third.read(68) == 0x03
    third.write(64, 1)
    assert bus.finished()
    with pytest.raises(ValueError, match="position 1"):
        SpiRegisters(bus, "si321x", 1)
    assert read_frames("si321x-daisy", 3, 64) == (8, 0xC0, 0xFF)
    assert write_frames("si321x", 0, 64, 4) == (64, 4)


def test_chips_of_a_daisy_chain_are_counted() -> None:
    chain = Chain321x([Chip321x() for _ in range(4)])
    SpiRegisters(chain, "si321x-daisy", 0).enter_daisy()
    assert count_si321x(chain, "si321x-daisy", 4) == 4
    assert count_si321x(chain, "si321x-daisy", 3) == 4


@pytest.mark.parametrize("stray", [0, 1])
def test_a_chip_that_reset_itself_joins_its_chain_again_while_others_work(stray: int) -> None:
    chips = [Chip321x() for _ in range(3)]
    chain = Chain321x(chips)
    registers = [SpiRegisters(chain, "si321x-daisy", position) for position in range(3)]
    registers[0].enter_daisy()
    chips[1].reset()
    chain.bytes[1] = [0x44] * stray  # wherever it is within an access
    for chip in chips:
        chip.writes.clear()
    registers[1].resync()
    for position, chip in enumerate(registers):
        chip.write(2, 0x10 + position)
        assert chip.read(2) == 0x10 + position
    assert chips[0].writes == [(2, 0x10)]
    assert chips[2].writes == [(2, 0x12)]


# --- indirect registers -------------------------------------------------------------------------------------------------


def indirect(exchange: list[tuple[int, int]], family: int = 0x08) -> tuple[Indirect, Script, Time]:
    bus, time = Script(exchange), Time()
    access = Indirect(Bench(SpiRegisters(bus, "si321x", 0), where("fxs"), time, NAMES))
    access.know_family(family)
    return access, bus, time


def read_of(register: int, value: int) -> list[tuple[int, int]]:
    return [(0x80 | register, 0xFF), (0xFF, value)]


def write_of(register: int, value: int) -> list[tuple[int, int]]:
    return [(register, 0xFF), (value, 0xFF)]


def test_indirect_write_and_read_in_the_order_of_the_chip() -> None:
    access, bus, _ = indirect(
        [*read_of(31, 1), *read_of(31, 0), *write_of(28, 0xF0), *write_of(29, 0x7E), *write_of(30, 20)]
        + [*read_of(31, 0), *write_of(30, 20), *read_of(31, 1), *read_of(31, 0), *read_of(28, 0xF0), *read_of(29, 0x7E)]
    )
    access.write(20, 0x7EF0)
    assert access.read(20) == 0x7EF0
    assert bus.finished()


@pytest.mark.parametrize(("number", "address"), [(13, 0), (22, 9), (26, 13), (40, 27), (41, 64), (43, 66), (99, 69), (104, 74)])
def test_si3215_has_other_numbers(number: int, address: int) -> None:
    access, bus, _ = indirect([*read_of(31, 0), *write_of(28, 0x34), *write_of(29, 0x12), *write_of(30, address)], family=0x88)
    access.write(number, 0x1234)
    assert bus.finished()


@pytest.mark.parametrize("number", [0, 12, 23, 25, 42])
def test_si3215_lacks_some(number: int) -> None:
    access, _, _ = indirect([], family=0x88)
    assert not access.exists(number)


def test_a_chip_that_stays_busy_is_an_error_with_the_cause() -> None:
    chip = Chip321x()
    chip.busy_forever = True
    time = Time()
    access = Indirect(Bench(SpiRegisters(Chain321x([chip]), "si321x", 0), where("fxs"), time, NAMES))
    with pytest.raises(ChipError, match="PCM clocks have stopped") as failure:
        access.read(20)
    assert failure.value.register == 31
    assert time.ms >= 20


def test_a_half_written_pair_is_finished_before_anything_else() -> None:
    chip = Chip321x()
    chain = Chain321x([chip])
    access = Indirect(Bench(SpiRegisters(chain, "si321x", 0), where("fxs"), Time(), NAMES))
    access.write(26, 0x2000)
    chip.on_write = lambda register, value: chip.react(register, value) if register != 29 else setattr(chain, "broken", True)
    with pytest.raises(OSError, match="Input/output"):
        access.write(20, 0x7EF0)
    chain.broken, chip.on_write = False, chip.react
    assert access.read(26) == 0x2000
    assert chip.indirect == {26: 0x2000, 20: 0x7EF0}


# --- power-up ---------------------------------------------------------------------------------------------------------


def order(writes: list[tuple[int, int]], wanted: list[tuple[int, int]]) -> bool:
    """True when `wanted` appear in this order."""
    rest = iter(writes)
    return all(write in rest for write in wanted)


@pytest.mark.parametrize("family_3215", [False, True])
def test_power_up_goes_in_the_order_of_the_facts(family_3215: bool) -> None:
    chip = Chip321x(family_3215=family_3215)
    driver = port(Chain321x([chip]))
    driver.bring_up()
    assert order(
        chip.writes,
        [(8, 0), (108, 0xEB), (67, 0x07), (66, 0x01), (92, 0xFF), (14, 0x00), (71, 0), (93, 0x19), (64, 0), (14, 0x10), (14, 0x00),
         (97, 0x1F), (96, 0x5F), (93, 0x99), (2, 65), (3, 0), (4, 65), (5, 0), (1, 0x3D), (18, 0xFF), (19, 0xFF),
         (20, 0xFF), (10, 0x0F), (64, 1)],
    )  # fmt: skip
    assert driver.family == ("Si3215" if family_3215 else "Si3210")
    numbers = (7, 8, 13, 14) if family_3215 else (20, 21, 26, 27)
    assert [chip.indirect[number] for number in numbers][2:] == [0x4000, 0x4000]
    assert chip.indirect[27 if family_3215 else 40] == (0 if family_3215 else 0x0C00)
    assert chip.indirect[22 if family_3215 else 35] == 0x8000
    assert (42 in chip.indirect) != family_3215
    assert driver.calibration is not None
    assert chip.registers[64] == 0x11
    assert driver.feed == Feed.ACTIVE


def test_without_clocks_nothing_is_sent() -> None:
    with pytest.raises(ChipError, match="PCM clocks"):
        port(Script([]), clocks=Clocks(running=False)).bring_up()


def chip_with(**changes: Any) -> Chip321x:
    chip = Chip321x()
    for name, value in changes.items():
        setattr(chip, name, value)
    return chip


def chip_reading(registers: dict[int, int]) -> Chip321x:
    chip = Chip321x()
    chip.registers.update(registers)
    return chip


def chip_forgetting() -> Chip321x:
    chip = Chip321x()

    def lose(register: int, value: int) -> None:
        chip.react(register, value)
        if register == 30 and chip.indirect.get(29):
            chip.indirect[29] = 0x1111

    chip.on_write = lose
    return chip


def chip_not_following() -> Chip321x:
    chip = Chip321x()

    def stay(register: int, value: int) -> None:
        chip.react(register, value)
        if register == 64 and chip.registers[1] & 0x20:
            chip.registers[64] = value & 7

    chip.on_write = stay
    return chip


@pytest.mark.parametrize(
    ("chip", "step", "register"),
    [
        (chip_reading({0: 0x0F}), "identity", 0), (chip_reading({0: 0x00}), "identity", 0), (chip_reading({0: 0x01}), "identity", 0),
        (chip_reading({8: 0x00}), "identity", 8), (chip_reading({11: 0x00}), "identity", 11), (chip_reading({64: 0x11}), "identity", 64),
        (chip_with(busy_forever=True), "indirect registers", 31), (chip_with(battery_when_on=0x10), "converter start", 82),
        (chip_with(battery_when_off=0x04), "leak test", 82), (Chip321x(closed=True), "calibration", 68),
        (chip_with(calibration_ends=False), "calibration by hand", 96), (chip_forgetting(), "filters", None),
        (chip_not_following(), "linefeed active", 64),
    ],
)  # fmt: skip
def test_a_failed_step_has_a_name_and_leaves_the_line_without_power(chip: Chip321x, step: str, register: int | None) -> None:
    with pytest.raises(ChipError) as failure:
        port(Chain321x([chip])).bring_up()
    assert failure.value.step == step
    assert failure.value.register == register
    assert "board bench, FXS jack 1" in str(failure.value)
    assert len(failure.value.remedy) > 20
    assert chip.writes[-2:] == [(64, 0), (14, 0x10)]


def test_converter_that_comes_late_is_waited_for() -> None:
    chip, time = Chip321x(), Time()
    looked = chip.prepare

    def slowly(register: int) -> None:
        chip.battery_when_on = 0xC7 if time.ms > 300 else 0x40
        looked(register)

    chip.on_read = slowly
    port(Chain321x([chip]), time=time).bring_up()
    assert chip.registers[64] == 0x11


def test_calibration_by_hand_after_an_automatic_one_that_does_not_end() -> None:
    chip = chip_with(calibration_ends=False)
    plain = chip.react

    def by_hand_only(register: int, value: int) -> None:
        plain(register, value)
        if register == 97:
            chip.calibration_ends = value != 0x1F

    chip.on_write = by_hand_only
    port(Chain321x([chip])).bring_up()
    assert order(
        chip.writes,
        [
            (97, 0x1F),
            (96, 0x5F),
            (97, 0x18),
            (96, 0x47),
            (98, 0x1F),
            (98, 0x0B),
            (99, 0x1F),
            (99, 0x0B),
            (64, 1),
            (64, 0),
            (97, 1),
            (96, 0x40),
        ],
    )
    assert 0x0A not in chip.written(98)


def test_external_linefeed_is_calibrated_by_hand_at_once() -> None:
    chip = Chip321x()
    port(Chain321x([chip]), linefeed=Linefeed(external=True, indirect={"32": 0x1234})).bring_up()
    assert (97, 0x1F) not in chip.writes
    assert chip.indirect[32] == 0x1234


def test_a_lifted_telephone_at_start_uses_the_stored_calibration() -> None:
    stored = tuple(range(0x21, 0x2B))
    chip = Chip321x(closed=True)
    port(Chain321x([chip]), calibration=stored).bring_up()
    assert [chip.registers[number] for number in range(98, 108)][:9] == list(stored[:9])
    assert (96, 0x5F) not in chip.writes


def test_insane_peak_current_is_replaced() -> None:
    chip = chip_reading({107: 0x0F})
    port(Chain321x([chip])).bring_up()
    assert chip.registers[107] == 0x08


# --- ringing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ringing", "values"),
    [(Ringing(20, 70), (0x7EFD, 0x0177, 0)), (Ringing(25, 85), (0x7E6C, 0x023B, 0)), (Ringing(20, 85), (0x7EFD, 0x01C8, 0))],
)
def test_sine_of_the_datasheet(ringing: Ringing, values: tuple[int, int, int]) -> None:
    frequency, amplitude, phase = sine_values(ringing)
    assert frequency == values[0]
    assert abs(amplitude - values[1]) <= 1
    assert phase == 0


def test_trapezoid_of_the_datasheet() -> None:
    frequency, amplitude, phase = trapezoid_values(Ringing(20, 60, 1.3))
    rise_s = 0.75 / 20 * (1 - 1 / 1.3**2)
    assert phase == 200
    assert amplitude == int(60 / 96 * 32768)
    assert frequency == int(2 * amplitude / (rise_s * 8000))


@pytest.mark.parametrize(
    ("hertz", "row"),
    [(16.7, (0x200, 0x0F)), (20, (0x320, 0x0B)), (25, (0x380, 9)), (30, (0x380, 9)), (40, (0x400, 7)), (50, (0x6A8, 5)), (60, (0x800, 5))],
)
def test_ring_trip_by_frequency(hertz: float, row: tuple[int, int]) -> None:
    assert ring_trip_row(hertz) == row


def test_ringing_is_programmed_and_high_peaks_raise_the_battery() -> None:
    driver, chip, _, _ = running()
    driver.set_ringing(Ringing(25, 85))
    assert (chip.indirect[20], chip.indirect[36], chip.registers[70], chip.registers[74], chip.registers[34]) == (0x7E6C, 0x380, 9, 0x3F, 0)
    driver.set_ringing(Ringing(20, 60, 1.25))
    assert (chip.registers[74], chip.registers[34]) == (0x32, 1)


@pytest.mark.parametrize("ringing", [Ringing(20, 45), Ringing(20, 90), Ringing(12, 65), Ringing(75, 65), Ringing(20, 65, 1.0)])
def test_ringing_outside_the_chip_is_refused(ringing: Ringing) -> None:
    driver, chip, _, _ = running()
    with pytest.raises(LocalProtocolError):
        driver.set_ringing(ringing)
    assert chip.writes == []


def test_ringing_needs_the_battery_and_does_not_change_while_it_rings() -> None:
    driver, chip, _, _ = running()
    chip.battery_when_on = 0x60
    with pytest.raises(ChipError, match="must not ring"):
        driver.drive(Feed.RINGING)
    assert chip.written(64) == []
    chip.battery_when_on = 0xC7
    driver.drive(Feed.RINGING)
    assert chip.registers[64] == 0x44
    with pytest.raises(LocalProtocolError, match="stop ringing first"):
        driver.set_ringing(Ringing())


def test_polarity_changes_through_active() -> None:
    driver, chip, _, _ = running()
    driver.drive(Feed.RINGING)
    driver.drive(Feed.REVERSED)
    driver.drive(Feed.OPEN)
    driver.drive(Feed.REVERSED_TX)
    assert chip.written(64) == [4, 1, 5, 0, 1, 6]


@pytest.mark.parametrize("code", [3, 7, 8, -1])
def test_feeds_that_are_not_used_are_refused(code: int) -> None:
    driver, chip, _, _ = running()
    with pytest.raises(LocalProtocolError):
        driver.drive(code)
    assert chip.writes == []


# --- at work ----------------------------------------------------------------------------------------------------------


def test_measures_loop_and_supply() -> None:
    driver, chip, _, _ = running()
    chip.registers.update({78: 0x20, 79: 0x10})
    fact = driver.measure()
    assert (fact.volts, fact.milliamps, fact.battery_volts, fact.closed) == (48.0, 20.0, 74.8, False)
    chip.registers.update({78: 0x60, 64: 0x55})
    chip.closed = True
    fact = driver.measure()
    assert (fact.volts, fact.closed) == (-48.0, True)
    chip.registers[64] = 0x44
    assert driver.measure().ring_trip_milliamps == 20.0


def test_gain_mute_slot_impedance_current_and_loop_are_programmed() -> None:
    driver, chip, _, _ = running()
    driver.set_gain(to_line_db=-3.0, from_line_db=6.0)
    driver.mute(to_line=True, from_line=False)
    driver.set_slot(7)
    driver.set_impedance("DE")
    driver.set_loop_current(29)
    driver.loop_back(True)
    r = chip.registers
    assert (chip.indirect[26], chip.indirect[27]) == (gain_value(-3.0), 0x7FB0)
    assert r[9] == 0x10
    assert (r[2], r[4], r[10], r[71], r[8]) == (113, 113, 0x0E, 3, 0x02)
    assert driver.check() == ()
    for bad in (19, 42):
        with pytest.raises(LocalProtocolError):
            driver.set_loop_current(bad)
    with pytest.raises(LocalProtocolError):
        driver.set_gain(to_line_db=7.0, from_line_db=0.0)


def test_transistor_powers_have_two_scales() -> None:
    driver, chip, _, _ = running()
    chip.registers[77] = 10
    assert driver.transistor_powers() == (304.0, 304.0, 36.2, 36.2, 304.0, 304.0)


# --- attach, health, recovery -------------------------------------------------------------------------------------------


def test_attach_writes_nothing_and_learns_the_feed() -> None:
    driver, chip, chain, _ = running()
    driver.drive(Feed.REVERSED)
    chip.writes.clear()
    again = port(chain)
    assert again.attach() == ()
    assert again.feed == Feed.REVERSED
    assert {fault.register for fault in port(chain, country="DE").attach()} == {10}
    assert chip.writes == []


def test_attach_refuses_a_chip_that_reset_itself() -> None:
    _, chip, chain, _ = running()
    chip.reset()
    with pytest.raises(ChipError, match="bring the port up again"):
        port(chain).attach()
    assert chip.writes == []


@pytest.mark.parametrize(
    ("registers", "kind"),
    [
        ({0: 0x0F}, "garbage"), ({0: 0x03}, "garbage"), ({64: 0x91}, "garbage"), ({8: 0x02}, "chip-reset"), ({1: 0x08}, "chip-reset"),
        ({19: 0x08}, "power-alarm"), ({64: 0x01}, "power-alarm"),
        ({14: 0x10}, "chip-reset"), ({2: 0x00}, "settings"), ({64: 0x55}, "settings"),
    ],
)  # fmt: skip
def test_health_names_what_is_wrong_without_a_write(registers: dict[int, int], kind: str) -> None:
    driver, chip, _, _ = running()
    assert driver.check() == ()
    chip.registers.update(registers)
    looks = [driver.check() for _ in range(12)]  # settings are compared in turn
    assert {faults[0].kind for faults in looks if faults} == {kind}
    assert looks[-1]
    assert chip.writes == []


def test_health_knows_a_dead_bus_and_a_busy_chip() -> None:
    driver, chip, chain, _ = running()
    chip.busy_forever = True
    assert [fault.kind for fault in driver.check()] == ["busy"]
    for value, kind in ((0xFF, "all-ones"), (0x00, "all-zeros")):
        chain.force = value
        assert [fault.kind for fault in driver.check()] == [kind]


def test_a_chip_that_went_to_active_by_ring_trip_is_well() -> None:
    driver, chip, _, _ = running()
    driver.drive(Feed.RINGING)
    chip.registers[64] = 0x14
    assert driver.check() == ()


def test_reinitialising_keeps_the_calibration_and_the_feed_comes_back() -> None:
    driver, chip, _, _ = running()
    kept = driver.calibration
    chip.reset()
    chip.writes.clear()
    driver.reinitialise()
    assert (96, 0x5F) not in chip.writes
    assert driver.calibration == kept
    assert chip.registers[64] == 0x11
    assert driver.check() == ()


def test_scan_plan_reads_what_it_needs() -> None:
    plan = PLANS["si321x"]
    needed = {entry.register for group in (plan.bits, plan.levels, plan.guards) for entry in group}
    assert needed <= {poll.register for poll in plan.polls}
    assert {poll.register: poll.every for poll in plan.polls}[68] == 1
    assert [write.value for write in plan.drives[Feed.REVERSED]] == [5]
