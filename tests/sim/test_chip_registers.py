"""Every register of the simulated line chips: value after reset, masks, latches, write-to-clear, indirect words. Sections 1.2, 2.1, 2.2."""

from __future__ import annotations

import pytest

from firmware.sim import chip_fxo, chip_fxs
from firmware.sim.chip_face import SimBoard
from tests.sim.test_chip_power_up import INDIRECT, Fxo, Fxs, fxo_ready, fxs_ready, kinds, powered

FXO_FIRST = {1: 0, 2: 0x03, 5: 0, 6: 0x10, 16: 0, 17: 0, 22: 0x96, 23: 0x2D, 24: 0x19, 31: 0x20}
FXS_FIRST = {
    8: 0x02, 10: 0x08, 11: 0x33, 14: 0x10, 64: 0, 66: 0x03, 67: 0x1F, 69: 0x0A, 70: 0x0A, 72: 0x20, 73: 0x02, 74: 0x32, 75: 0x10, 92: 0xFF,
}  # fmt: skip
ACTING_FXO = {1, 4, 5, 6, 17, 44}        # registers whose bits do more than hold
ACTING_FXS = {0, 14, 18, 19, 20, 28, 29, 30, 64, 93, 96}


def test_values_after_reset() -> None:
    board = powered(1, 1)
    assert {reg: Fxo(board).read(reg) for reg in FXO_FIRST} == FXO_FIRST
    assert {reg: Fxs(board).read(reg) for reg in FXS_FIRST} == FXS_FIRST
    assert Fxo(board).read(11) == 0x04
    assert Fxs(board).read(1) == 0x88
    assert Fxs(powered(0, 1, 3210), family=3210).read(1) == 0x08


@pytest.mark.parametrize("reg", sorted(set(chip_fxo.registers()) - ACTING_FXO))
def test_fxo_masks(reg: int) -> None:
    board = powered(1, 0)
    chip = Fxo(board)
    _, mask = chip_fxo.registers()[reg]
    chip.write(reg, 0xFF)
    value = chip.read(reg)
    if mask:
        assert value == mask
        assert ("reserved-bits" in kinds(board)) == (mask != 0xFF or reg == 7)
        chip.write(reg, 0)
        assert chip.read(reg) == 0
    else:
        assert kinds(board) == {"read-only"}


@pytest.mark.parametrize("reg", sorted(set(chip_fxs.registers()) - ACTING_FXS))
def test_fxs_masks(reg: int) -> None:
    board = powered(0, 1)
    chip = Fxs(board)
    first, mask = chip_fxs.registers()[reg]
    chip.write(reg, 0xFF)
    if mask:
        assert chip.read(reg) == (first & ~mask) | mask
        assert ("reserved-bits" in kinds(board)) == (mask | first != 0xFF)
        chip.write(reg, 0)
        assert chip.read(reg) == first & ~mask
    else:
        assert kinds(board) == {"read-only"}


@pytest.mark.parametrize("reg", [0, 8, 9, 14, 20, 21, 27, 42, 53, 58, 60, 100, 127])
def test_fxo_registers_that_do_not_exist(reg: int) -> None:
    board = powered(1, 0)
    chip = Fxo(board)
    assert chip.read(reg) == 0
    assert not board.illegal
    chip.write(reg, 0x55)
    assert kinds(board) == {"unknown-register"}
    assert board.illegal[0][1:] == (0, "unknown-register", reg, 0x55)


@pytest.mark.parametrize("reg", [6, 7, 12, 13, 16, 17, 24, 25, 27, 44, 53, 63, 65, 90, 95, 109, 127])
def test_fxs_registers_that_do_not_exist(reg: int) -> None:
    board = powered(0, 1)
    chip = Fxs(board)
    assert chip.read(reg) == 0
    chip.write(reg, 0x55)
    assert board.illegal[0][1:] == (100, "unknown-register", reg, 0x55)


def test_the_digit_register_is_the_si3210s() -> None:
    board = powered(0, 1, 3210)
    Fxs(board, family=3210).write(24, 1)
    assert kinds(board) == {"read-only"}


def test_interrupt_sources_of_an_fxo_clear_with_zero() -> None:
    board, chip = fxo_ready()
    chip.write(4, 0)
    board.fxo[0].set(reversed=1)
    board.step(100)
    assert chip.read(4) & 0x81 == 0x81
    chip.write(4, 0xFE)
    assert chip.read(4) & 0x81 == 0x80
    chip.write(4, ~chip.read(4) & 0xFF)
    assert chip.read(4) == 0


def test_interrupt_sources_of_an_fxs_clear_with_one() -> None:
    board, chip = fxs_ready()
    board.fxs[0].set(lifted=1)
    board.step(50)
    assert chip.read(19) == 0x02
    chip.write(19, 0x01)
    assert chip.read(19) == 0x02
    chip.write(19, 0x02)
    assert chip.read(19) == 0


def test_live_bits_of_register_5_may_be_written_back() -> None:
    board, chip = fxo_ready()
    board.fxo[0].set(ringing=1)
    board.step(33)
    seen = chip.read(5)
    assert seen & 0x64
    chip.write(5, seen)
    assert not board.illegal
    chip.write(5, 0x80)
    assert kinds(board) == {"reserved-bits"}


def test_the_flags_of_register_17_cannot_be_set() -> None:
    board = powered(1, 0)
    chip = Fxo(board)
    chip.write(17, 0xFF)
    assert chip.read(17) == 0xFC


def test_the_threshold_flag_latches_until_zero_is_written() -> None:
    board, chip = fxo_ready()
    chip.write(43, 60)
    chip.write(44, 0x01)                       # volts, above
    board.step(20)
    assert chip.read(44) == 0x01
    chip.write(43, 30)
    board.step(5)
    assert chip.read(44) == 0x09
    chip.write(43, 60)
    board.step(5)
    assert chip.read(44) == 0x09
    chip.write(44, 0x01)
    assert chip.read(44) == 0x01
    chip.write(44, 0x00)                       # below
    board.step(2)
    assert chip.read(44) == 0x08


@pytest.mark.parametrize("family", [3210, 3215])
def test_every_indirect_word_holds_what_is_written(family: int) -> None:
    board = powered(0, 1, family)
    chip = Fxs(board, family=family)
    addresses = chip_fxs.indirect_addresses(family)
    for address, number in addresses.items():
        chip.wait()
        chip.write(28, number)
        chip.write(29, 0xA0 + number % 16)
        chip.write(30, address)
    for address, number in addresses.items():
        chip.wait()
        chip.write(30, address)
        chip.wait()
        assert (chip.read(28), chip.read(29)) == (number, 0xA0 + number % 16)
    assert not board.illegal


@pytest.mark.parametrize("address", [10, 12, 28, 40, 42, 63, 65, 67, 75, 100, 200])
def test_indirect_addresses_the_si3215_does_not_have(address: int) -> None:
    board = powered(0, 1)
    chip = Fxs(board)
    chip.write(30, address)
    chip.wait()
    assert chip.read(28) == 0
    assert kinds(board) == {"indirect-address"}


def test_the_families_number_their_words_differently() -> None:
    assert chip_fxs.indirect_addresses(3215)[0] == 13
    assert chip_fxs.indirect_addresses(3215)[27] == 40
    assert {chip_fxs.indirect_addresses(3215)[a] for a in (64, 66, 69, 74)} == {41, 43, 99, 104}
    assert set(INDIRECT) <= set(chip_fxs.indirect_addresses(3215).values())
    assert set(chip_fxs.indirect_addresses(3210)) == {*range(44), *range(88, 105)}


def test_an_indirect_access_is_busy_for_62_us() -> None:
    board = powered(0, 1)
    board.spi["fxs"].set(byte_us=1)
    chip = Fxs(board)
    chip.write(28, 0x34)
    chip.write(29, 0x12)
    chip.write(30, 5)
    began = board.chips.us
    assert chip.read(31) == 1
    assert board.fxs[0].peek_indirect(5) == 0
    while chip.read(31):
        pass
    assert 59 <= board.chips.us - began <= 66
    assert board.fxs[0].peek_indirect(5) == 0x1234
    assert chip.read(20) & 0x02


@pytest.mark.parametrize("reg", [28, 29, 30])
def test_touching_a_busy_indirect_access_spoils_nothing_but_is_noted(reg: int) -> None:
    board = powered(0, 1)
    chip = Fxs(board)
    chip.write(28, 0x34)
    chip.write(29, 0x12)
    chip.write(30, 5)
    chip.write(reg, 0x07)
    assert kinds(board) == {"indirect-busy"}
    chip.wait()
    assert board.fxs[0].peek_indirect(5) == 0x1234


def test_reading_a_result_too_early_is_noted() -> None:
    board = powered(0, 1)
    chip = Fxs(board)
    chip.write(30, 5)
    chip.read(28)
    assert kinds(board) == {"indirect-busy"}


@pytest.mark.parametrize("reg", [28, 29])
def test_half_a_pair_writes_and_is_noted(reg: int) -> None:
    board = powered(0, 1)
    chip = Fxs(board)
    chip.write(reg, 0x77)
    chip.write(30, 5)
    chip.wait()
    assert kinds(board) == {"indirect-half-pair"}
    assert board.fxs[0].peek_indirect(5) == (0x77 if reg == 28 else 0x7700)


def test_without_clocks_an_indirect_access_stays_busy_and_ends_when_they_return() -> None:
    board, chip = fxs_ready()
    board.pcm.stop()
    chip.write(30, 5)
    board.step(500)
    assert chip.read(31) == 1
    board.pcm.start()
    board.step(1)
    assert chip.read(31) == 0
    assert chip.read(28) | chip.read(29) << 8 == board.fxs[0].peek_indirect(5)


def test_the_time_of_an_indirect_access_stands_still_without_clocks() -> None:
    board = powered(0, 1)
    board.spi["fxs"].set(byte_us=1)
    chip = Fxs(board)
    chip.write(30, 5)
    board.pcm.stop()
    board.step(5)
    board.pcm.start()
    assert chip.read(31) == 1
    board.step(1)
    assert chip.read(31) == 0


def test_a_self_reset_shows_in_register_8_and_keeps_the_chain_unless_told_otherwise() -> None:
    board, chip = fxs_ready()
    board.fxs[0].self_reset()
    assert (chip.read(8), chip.read(64), chip.read(14)) == (2, 0, 0x10)
    assert Fxs(board, 1).read(11) == 0x33
    board.fxs[0].set(spidc_lost=1)
    board.fxs[0].self_reset()
    assert not board.fxs[0].state["chain"]


def test_a_self_reset_of_an_fxo_shows_in_registers_2_and_33() -> None:
    board, chip = fxo_ready()
    chip.write(2, 0x87)
    chip.write(5, 1)
    board.step(10)
    board.fxo[0].self_reset()
    board.step(5)
    assert (chip.read(2), chip.read(33), chip.read(11)) == (3, 0, 4)
    assert not board.fxo[0].state["closed"]


def test_the_revision_and_the_family_are_parameters() -> None:
    board = SimBoard(1, 1)
    board.fxs[0].set(revision=2, part=1)
    board.fxo[0].set(revision=7, line_type=1)
    board.power_up()
    board.spi["fxs"].transfer([0x00, 0x80])
    assert Fxs(board).read(0) == 0x92
    chip = Fxo(board)
    chip.bring_up()
    assert chip.read(11) == 0x17
