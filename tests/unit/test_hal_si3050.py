"""The Si3050 driver against bytes and register files: framing, power-up, attach, faults."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.errors import ConfigError, LocalProtocolError
from firmware.hal import countries
from firmware.hal.api import Hook
from firmware.hal.bus import ChipError
from firmware.hal.framing import SpiRegisters, count_si3050
from firmware.hal.scan import PLANS, level_of, read_frames
from firmware.hal.si3050 import Si3050, gain_registers, ring_validator
from tests.unit.hal_bench import PCM, Chain3050, Chip, Clocks, Script, Time, chip_3050, where


def port(
    chain: Any, position: int = 0, *, clocks: Clocks | None = None, time: Time | None = None, country: str = "CN", **more: Any
) -> Si3050:
    return Si3050(
        chain, position, where(), slot=position, pcm=PCM, clocks=clocks or Clocks(), clock=time or Time(), country=country, **more
    )  # fmt: skip


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("position", "number"), list(enumerate([0x00, 0x08, 0x04, 0x0C, 0x02, 0x0A, 0x06, 0x0E, 0x01])))
def test_an_access_is_control_address_data_with_the_chip_number_reversed(position: int, number: int) -> None:
    bus = Script([(0x60 | number, 0xFF), (12, 0xFF), (0xFF, 0x5C), (0x20 | number, 0xFF), (38, 0xFF), (0x13, 0xFF)])
    registers = SpiRegisters(bus, "si3050", position)
    assert registers.read(12) == 0x5C
    registers.write(38, 0x13)
    assert bus.finished()


def test_a_chain_counts_its_chips_and_a_floating_line_none() -> None:
    assert count_si3050(Chain3050([chip_3050() for _ in range(4)]), 4) == 4
    assert count_si3050(Chain3050([chip_3050() for _ in range(5)]), 4) == 5
    for value in (0xFF, 0x00):
        chain = Chain3050([chip_3050()])
        chain.force = value
        assert count_si3050(chain, 4) == 0


# --- power-up ---------------------------------------------------------------------------------------------------------


def test_power_up_writes_in_the_order_of_the_facts() -> None:
    chain = Chain3050([chip_3050(), chip_3050()])
    time = Time()
    port(chain, 1, time=time, country="CN").bring_up()
    assert chain.chips[1].writes == [
        (34, 0x5A), (34, 0x00),
        (1, 0x80),
        (34, 17), (35, 0), (36, 17), (37, 0),                # before the PCM bus is on
        (33, 0x39),
        (16, 0x00), (26, 0xC0), (30, 0x0A), (31, 0x23), (59, 0x00),
        (18, 0x02), (22, 0x8E), (23, 0x5E), (24, 0x00),
        (6, 0x00),
        (38, 0), (39, 0), (40, 0), (41, 0),
        (5, 0x08),
    ]  # fmt: skip
    assert chain.chips[0].writes == []
    assert time.ms >= 100


def test_without_clocks_nothing_is_sent() -> None:
    bus = Script([])
    with pytest.raises(ChipError, match="PCM clocks") as failure:
        port(bus, clocks=Clocks(running=False)).bring_up()
    assert failure.value.step == "PCM clocks"


def breakage_probe(chip: Chip) -> None:
    chip.registers[11] = 0x0F


def breakage_memory(chip: Chip) -> None:
    def stuck(register: int, value: int) -> None:
        if register == 34:
            chip.registers[34] = value | 0x01

    chip.on_write = stuck


def breakage_reset(chip: Chip) -> None:
    chip.on_write = lambda register, value: chip.registers.update({2: 0x83})


def breakage_link(chip: Chip) -> None:
    chip.on_read = lambda register: None


def breakage_frame(chip: Chip) -> None:
    chip.on_read = lambda register: chip.registers.update({11: 0x33, 12: 0x00})


def breakage_other_side(chip: Chip) -> None:
    chip.on_read = lambda register: chip.registers.update({11: 0x13, 12: 0x40})


def breakage_hook(chip: Chip) -> None:
    before = chip.on_write
    chip.on_write = lambda register, value: chip.registers.update({5: 0x00}) if register == 5 else before(register, value)


@pytest.mark.parametrize(
    ("breakage", "step", "register", "read"),
    [
        (breakage_probe, "probe", 11, 0x0F), (breakage_memory, "probe", 34, 0x5B), (breakage_reset, "soft reset", None, None),
        (breakage_link, "isolation link", 11, 0x03), (breakage_frame, "isolation link", 12, 0x00),
        (breakage_other_side, "isolation link", 11, 0x13), (breakage_hook, "hook", 5, 0x00),
    ],
)  # fmt: skip
def test_a_failed_step_says_where_what_and_the_remedy_and_leaves_the_line(
    breakage: Any, step: str, register: int | None, read: int | None
) -> None:  # fmt: skip
    chain = Chain3050([chip_3050()])
    breakage(chain.chips[0])
    with pytest.raises(ChipError) as failure:
        port(chain).bring_up()
    error = failure.value
    assert error.step == step
    if register is not None:
        assert (error.register, error.read) == (register, read)
    text = str(error)
    assert "board bench, FXO jack 1" in text
    assert f"step {step!r}" in text
    assert "expected" in text
    assert error.remedy in text
    assert len(error.remedy) > 20
    assert chain.chips[0].writes[-2:] == [(5, 0x00), (6, 0x10)]


def test_a_bus_that_fails_is_an_error_of_the_step() -> None:
    chain = Chain3050([chip_3050()])
    chain.broken = True
    with pytest.raises(ChipError, match="Input/output error") as failure:
        port(chain).bring_up()
    assert failure.value.step == "probe"


@pytest.mark.parametrize(("row", "name"), [(row, name) for name, row in countries.FXO.items()])
def test_country_settings_reach_their_registers(row: countries.FxoCountry, name: str) -> None:
    chain = Chain3050([chip_3050()])
    port(chain, country=name).bring_up()
    registers = chain.chips[0].registers
    assert registers[16] == row.international
    assert registers[26] == row.dc_termination
    assert registers[30] & 0x0F == row.impedance
    assert bool(registers[31] & 0x08) == row.slow_on_hook
    assert registers[59] == row.spark_quench


def test_table_of_countries_is_that_of_the_facts() -> None:
    facts = {"US": (0, 0xC0, 0, 0, 0), "CN": (0, 0xC0, 0xA, 0, 0), "UK": (0, 0xC2, 5, 1, 0), "DE": (0, 0xC2, 2, 1, 0),
             "FR": (0, 0xC2, 2, 1, 0), "AU": (0x40, 0x50, 3, 0, 0x50), "PL": (3, 0xC0, 0, 0, 0), "ZA": (0x42, 0xC0, 3, 0, 0)}  # fmt: skip
    for name, (international, termination, impedance, slow, quench) in facts.items():
        assert countries.fxo_country(name) == countries.FxoCountry(
            international, termination, impedance, bool(slow), quench, countries.FXO[name].source
        )
    with pytest.raises(ConfigError, match="choose one of"):
        countries.fxo_country("XX")


# --- at work ----------------------------------------------------------------------------------------------------------


def running(**more: Any) -> tuple[Si3050, Chip, Chain3050, Time]:
    time = Time()
    chain = Chain3050([chip_3050()])
    driver = port(chain, time=time, **more)
    driver.bring_up()
    chain.chips[0].writes.clear()
    return driver, chain.chips[0], chain, time


def test_seizing_takes_the_monitor_off_first_and_protects_after_25_ms() -> None:
    driver, chip, _, time = running()
    before = time.ms
    driver.drive(Hook.OFF_HOOK)
    assert chip.writes == [(5, 0x00), (5, 0x01), (17, 0x08)]
    assert time.ms - before == 25
    assert driver.off_hook
    chip.writes.clear()
    driver.drive(Hook.ON_HOOK)
    assert chip.writes == [(17, 0x00), (5, 0x08)]


def test_a_hook_that_does_not_follow_is_an_error() -> None:
    driver, chip, _, _ = running()
    chip.on_write = lambda register, value: chip.registers.update({5: 0x08})
    with pytest.raises(ChipError, match="hook switch does not follow") as failure:
        driver.drive(Hook.OFF_HOOK)
    assert failure.value.step == "off-hook"
    assert failure.value.read == 0x08


@pytest.mark.parametrize(
    ("decibels", "registers"), [(0.0, (0, 0)), (3.5, (3, 5)), (-0.7, (16, 23)), (-12.0, (28, 16)), (12.0, (12, 0)), (-15.0, (31, 16))]
)
def test_gain_in_tenths(decibels: float, registers: tuple[int, int]) -> None:
    assert gain_registers(decibels) == registers


@pytest.mark.parametrize("decibels", [12.1, -15.1, 40.0])
def test_gain_outside_the_chip_is_refused(decibels: float) -> None:
    with pytest.raises(LocalProtocolError):
        gain_registers(decibels)


def test_gain_mute_slot_hybrid_and_loop_are_programmed() -> None:
    driver, chip, _, _ = running()
    driver.set_gain(to_line_db=-3.0, from_line_db=2.5)
    driver.mute(to_line=True, from_line=False)
    driver.set_slot(7)
    driver.set_hybrid([1, -1, 127, -128, 0, 0, 5, -5])
    driver.loop_back(True)
    r = chip.registers
    assert (r[38], r[40], r[39], r[41]) == (19, 16, 2, 5)
    assert r[15] == 0x80
    assert (r[34] | r[35] << 8, r[36] | r[37] << 8) == (113, 113)
    assert [r[45 + tap] for tap in range(8)] == [1, 0xFF, 127, 0x80, 0, 0, 5, 0xFB]
    assert r[33] == 0xB9
    with pytest.raises(LocalProtocolError):
        driver.set_hybrid([0] * 7)
    with pytest.raises(LocalProtocolError):
        driver.set_slot(8)


def test_ring_validator_follows_the_formula() -> None:
    assert ring_validator(15, 68) == (17, 14)
    driver, chip, _, _ = running(ring_validation=True)
    assert chip.registers[24] == 0x91
    assert driver.kind == "fxo"


def test_country_changes_on_hook_only() -> None:
    driver, chip, _, _ = running()
    driver.set_country("AU")
    assert (chip.registers[16], chip.registers[59]) == (0x40, 0x50)
    driver.drive(Hook.OFF_HOOK)
    with pytest.raises(LocalProtocolError, match="on hook"):
        driver.set_country("US")


def test_fast_hook_shortens_the_settling() -> None:
    driver, chip, _, _ = running()
    slow = driver.settle_ms
    driver.fast_hook(True)
    assert chip.registers[31] & 0x60 == 0x60
    assert chip.registers[17] & 0x20
    assert driver.settle_ms < slow
    driver.fast_hook(False)
    assert chip.registers[31] == 0x23
    assert not chip.registers[17] & 0x20


@pytest.mark.parametrize(("raw", "volts"), [(48, 48.0), (0xD0, -48.0), (0, 0.0)])
def test_measures_volts_with_the_sign_of_polarity(raw: int, volts: float) -> None:
    driver, chip, _, _ = running()
    chip.registers.update({29: raw, 28: 20, 5: 0x28})
    fact = driver.measure()
    assert (fact.volts, fact.milliamps, fact.ring_positive, fact.ring_negative) == (volts, 22.0, True, False)


def test_interrupts_are_cleared_by_writing_zero() -> None:
    driver, chip, _, _ = running()
    driver.interrupts(True)
    assert (chip.registers[3], chip.registers[2]) == (0xA9, 0x83)
    chip.registers[4] = 0x81
    chip.writes.clear()
    assert driver.take_interrupts() == 0x81
    assert chip.writes == [(4, 0x7E)]


# --- attach and health --------------------------------------------------------------------------------------------------


def test_attach_writes_nothing_and_learns_the_hook() -> None:
    driver, chip, chain, _ = running()
    driver.drive(Hook.OFF_HOOK)
    chip.writes.clear()
    again = port(chain)
    assert again.attach() == ()
    assert again.off_hook
    assert chip.writes == []
    other_country = port(chain, country="UK")
    assert {fault.register for fault in other_country.attach()} == {26, 30, 31}
    assert chip.writes == []


def test_attach_refuses_a_chip_that_is_not_configured() -> None:
    chain = Chain3050([chip_3050()])
    with pytest.raises(ChipError, match=r"attach.*bring the port up again"):
        port(chain).attach()
    assert chain.chips[0].writes == []


@pytest.mark.parametrize(
    ("registers", "kind"),
    [
        ({5: 0x8A}, "garbage"), ({11: 0x3F}, "garbage"), ({13: 0x00}, "garbage"), ({33: 0x00, 6: 0x10}, "chip-reset"),
        ({6: 0x10}, "chip-reset"),
        ({12: 0x00}, "link"), ({11: 0x03}, "link"), ({5: 0x01}, "hook"), ({5: 0x00}, "hook"), ({34: 0x02}, "settings"),
    ],
)  # fmt: skip
def test_health_names_what_is_wrong(registers: dict[int, int], kind: str) -> None:
    driver, chip, _, _ = running()
    assert driver.check() == ()
    chip.registers.update(registers)
    looks = [driver.check() for _ in range(12)]  # settings are compared in turn
    assert {faults[0].kind for faults in looks if faults} == {kind}
    assert looks[-1]
    assert chip.writes == []


def test_health_knows_a_dead_bus() -> None:
    driver, _, chain, _ = running()
    for value, kind in ((0xFF, "all-ones"), (0x00, "all-zeros")):
        chain.force = value
        assert [fault.kind for fault in driver.check()] == [kind]
    chain.broken = True
    assert [fault.kind for fault in driver.check()] == ["bus"]


def test_scan_plan_and_driver_mean_the_same_bits() -> None:
    plan = PLANS["si3050"]
    levels = {level.fact: level for level in plan.levels}
    assert level_of(levels["volts"], 0xD0) == -48_000_000
    assert level_of(levels["milliamps"], 20) == 22_000
    assert read_frames("si3050", 1, 5) == (0x68, 5, 0xFF)
    assert {poll.register for poll in plan.polls} >= {bit.register for bit in plan.bits} | {guard.register for guard in plan.guards}
    assert {poll.register: poll.every for poll in plan.polls}[5] == 1
