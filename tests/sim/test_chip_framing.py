"""Bytes on the bus of simulated line chips: frames, chains, resynchronisation, wire faults. Sections 1.1 and 2.1 of the facts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.sim.chip_face import SimBoard
from tests.sim.test_chip_power_up import CID, Fxo, Fxs, kinds, powered


def fxo_read(board: SimBoard, number: int, reg: int) -> int:
    return board.spi["fxo"].transfer([0x60 | CID[number], reg, 0xFF])[2]


def fxs_read(board: SimBoard, number: int, reg: int) -> int:
    return board.spi["fxs"].transfer([1 << number, 0x80 | reg, 0xFF])[2]


def test_the_chip_code_is_the_place_with_its_bits_reversed() -> None:
    board = powered(8, 0)
    for place in range(8):
        Fxo(board, place).write(34, 0x10 + place)
    assert [board.fxo[place].peek(34) for place in range(8)] == [0x10 + place for place in range(8)]
    assert [Fxo(board, place).read(34) for place in range(8)] == [0x10 + place for place in range(8)]


def test_a_place_beyond_the_chain_reads_ff() -> None:
    board = powered(2, 2)
    assert [Fxo(board, place).read(2) for place in range(4)] == [3, 3, 0xFF, 0xFF]
    assert [Fxs(board, place).read(8) for place in range(4)] == [2, 2, 0xFF, 0xFF]
    assert not board.illegal


def test_a_broadcast_write_reaches_every_fxo() -> None:
    board = powered(4, 0)
    for byte in (0xA0, 26, 0xC0):
        board.spi["fxo"].transfer([byte])
    assert [board.fxo[n].peek(26) for n in range(4)] == [0xC0] * 4


def test_reading_from_all_fxo_at_once_is_contention() -> None:
    board = powered(2, 0)
    board.spi["fxo"].transfer([0xE0, 2, 0xFF])
    assert "contention" in kinds(board)


@pytest.mark.parametrize("single", [True, False])
def test_a_frame_may_be_one_cycle_or_one_cycle_per_byte(single: bool) -> None:
    board = powered(1, 1)
    for bus, write, read in (("fxo", [0x20, 34, 0x5A], [0x60, 34, 0xFF]), ("fxs", [1, 2, 0x5A], [1, 0x82, 0xFF])):
        for frame in (write, read):
            reply = board.spi[bus].transfer(frame) if single else [board.spi[bus].transfer([byte])[0] for byte in frame]
        assert reply == [0xFF, 0xFF, 0x5A]


def test_a_bad_control_byte_is_noted_and_skipped() -> None:
    board = powered(1, 0)
    for byte in (0x40, 0x30, 0x60, 2):
        board.spi["fxo"].transfer([byte])
    assert board.spi["fxo"].transfer([0xFF]) == [3]
    assert board.chips.illegal_counts() == {"bad-control-byte": 2}


@pytest.mark.parametrize("stray", [[0x60], [0x60, 2], [0x20, 127]])
def test_an_fxo_falls_into_step_again(stray: list[int]) -> None:
    for whole in (False, True):
        board = powered(2, 0)
        for byte in stray:
            board.spi["fxo"].transfer([byte])
        if whole:
            assert fxo_read(board, 1, 2) == 3
        else:
            for _ in range(3):
                board.spi["fxo"].transfer([0xFF])
            assert Fxo(board, 1).read(2) == 3


def test_a_slipped_byte_shifts_one_byte_cycles_until_a_whole_frame_comes() -> None:
    board = powered(0, 1)
    board.spi["fxs"].set(slip_next=1)
    chip = Fxs(board)
    assert chip.read(11) != 0x33
    assert chip.read(11) != 0x33
    assert fxs_read(board, 0, 11) == 0x33
    assert chip.read(11) == 0x33


@pytest.mark.parametrize(("resync", "works"), [(0, False), (1, True), (2, True)])
def test_what_a_chip_select_restarts_is_a_parameter(resync: int, works: bool) -> None:
    board = powered(0, 1)
    board.spi["fxs"].set(resync=resync)
    board.spi["fxs"].transfer([1])
    assert (fxs_read(board, 0, 11) == 0x33) == works
    if resync == 2:
        assert Fxs(board).read(11) != 0x33


def test_an_fxs_speaks_two_bytes_until_spidc_is_set() -> None:
    board = SimBoard(0, 1)
    board.power_up()
    spi = board.spi["fxs"]
    assert spi.transfer([0x80 | 11, 0xFF])[1] == 0x33
    assert [spi.transfer([byte])[0] for byte in (0x8B, 0xFF)][1] == 0x33
    spi.transfer([2, 0x77])
    assert board.fxs[0].peek(2) == 0x77
    spi.transfer([0, 0x80])
    assert spi.transfer([1, 0x8B, 0xFF])[2] == 0x33
    assert board.fxs[0].peek(0) & 0x80


def test_two_bytes_switch_the_whole_chain_and_a_two_byte_read_of_a_chain_is_contention() -> None:
    board = SimBoard(0, 4)
    board.power_up()
    board.spi["fxs"].transfer([0x8B, 0xFF])
    assert kinds(board) == {"contention"}
    board.spi["fxs"].transfer([0x00, 0x80])
    assert [board.fxs[n].state["chain"] for n in range(4)] == [True] * 4


def test_the_select_byte_has_a_bit_for_each_chip() -> None:
    board = powered(0, 4)
    for n in range(4):
        Fxs(board, n).write(2, 0x20 + n)
    assert [fxs_read(board, n, 2) for n in range(4)] == [0x20, 0x21, 0x22, 0x23]
    board.spi["fxs"].transfer([0b1010, 4, 0x99])
    assert [board.fxs[n].peek(4) for n in range(4)] == [0, 0x99, 0, 0x99]
    board.spi["fxs"].transfer([0, 4, 0x55])
    assert [board.fxs[n].peek(4) for n in range(4)] == [0, 0x99, 0, 0x99]


def test_two_chips_that_drive_at_once_pull_each_other_down() -> None:
    board = powered(0, 2)
    Fxs(board, 0).write(2, 0b1100)
    Fxs(board, 1).write(2, 0b1010)
    assert board.spi["fxs"].transfer([0b11, 0x82, 0xFF])[2] == 0b1000
    assert kinds(board) == {"contention"}


def test_a_chip_in_reset_answers_ff_and_is_noted() -> None:
    board = SimBoard(1, 1)
    board.pcm.start()
    assert (fxo_read(board, 0, 2), fxs_read(board, 0, 8)) == (0xFF, 0xFF)
    assert kinds(board) == {"in-reset"}


def test_dead_wires_read_all_ones_or_zeros_and_chips_stay_as_they_are() -> None:
    board = powered(1, 1)
    for bus, chip in (("fxo", Fxo(board)), ("fxs", Fxs(board))):
        first = chip.read(2)
        for fault, byte in (("all_ff", 0xFF), ("all_00", 0x00)):
            board.spi[bus].set(**{fault: 1})
            assert chip.read(2) == chip.read(34) == byte
            board.spi[bus].set(**{fault: 0})
        assert chip.read(2) == first


@pytest.mark.parametrize(("fault", "reply"), [(1, 0xFF), (2, 0x00)])
def test_one_dead_chip_leaves_its_neighbour_alone(fault: int, reply: int) -> None:
    board = powered(2, 2)
    board.fxo[0].set(fault_reply=fault)
    board.fxs[0].set(fault_reply=fault)
    assert [fxo_read(board, n, 2) for n in (0, 1)] == [reply, 3]
    assert [fxs_read(board, n, 11) for n in (0, 1)] == [reply, 0x33]


def test_flipped_bits_come_at_their_rate_and_repeat_with_the_seed(seed: int) -> None:
    tapes = []
    for _ in range(2):
        board = powered(1, 0, seed=seed & 0xFFFF)
        board.spi["fxo"].set(flip_in=0.05)
        tapes.append([fxo_read(board, 0, 2) for _ in range(4000)])
    assert tapes[0] == tapes[1]
    bad = [byte ^ 3 for byte in tapes[0] if byte != 3]
    assert 120 < len(bad) < 290
    assert all(byte.bit_count() == 1 for byte in bad)


def test_flips_towards_the_chips_reach_registers(seed: int) -> None:
    board = powered(1, 0, seed=seed & 0xFFFF)
    board.spi["fxo"].set(flip_out=0.2)
    for _ in range(500):
        board.spi["fxo"].transfer([0x20, 34, 0x00])
    assert board.illegal


def test_slips_at_a_rate_leave_a_bus_that_whole_frames_recover(seed: int) -> None:
    board = powered(1, 1, seed=seed & 0xFFFF)
    for bus in ("fxo", "fxs"):
        board.spi[bus].set(slip=0.1)
        for _ in range(300):
            board.spi[bus].transfer([0x01])
        board.spi[bus].set(slip=0)
    assert fxo_read(board, 0, 11) == 0x04


def test_bytes_take_time() -> None:
    board = powered(1, 0)
    before = board.chips.us
    board.spi["fxo"].transfer([0x60, 2, 0xFF])
    assert board.chips.us - before == 15
    for _ in range(400):
        board.spi["fxo"].transfer([0x60, 2, 0xFF])
    assert board.clock.now() == board.chips.us // 1000 >= 16


cycles = st.lists(st.lists(st.integers(0, 255), max_size=9), max_size=60)


@given(cycles, cycles, st.sampled_from([0, 3]), st.integers(0, 2**32))
def test_no_bytes_harm_the_bus(left: list[list[int]], right: list[list[int]], wait: int, seed: int) -> None:
    board = SimBoard(3, 3, seed=seed)
    board.power_up()
    for bus, stream in (("fxo", left), ("fxs", right)):
        for data in stream:
            reply = board.spi[bus].transfer(data)
            assert len(reply) == len(data)
            assert all(0 <= byte <= 255 for byte in reply)
            board.step(wait)
    # whatever came before: a later assertion of the chip select works
    board.step(150)                                        # a soft reset may be under way
    board.spi["fxo"].transfer([0x20, 34, 0x5A])
    assert fxo_read(board, 0, 34) == 0x5A
    for number in range(3):
        if board.fxs[number].state["chain"]:
            continue
        board.spi["fxs"].transfer([0x00, 0x80, 0x00])
    if all(board.fxs[number].state["chain"] for number in range(3)):
        board.spi["fxs"].transfer([0x01, 2, 0xA5])
        assert fxs_read(board, 0, 2) == 0xA5
