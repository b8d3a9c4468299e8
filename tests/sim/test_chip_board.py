"""The board of simulated line chips: pins, interrupts, clock, oracle, and what one port's fault does to the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.sim.chip_base import HISTORY, ILLEGAL
from firmware.sim.chip_face import SimBoard
from tests.sim.test_chip_power_up import Fxo, Fxs, fxo_ready, fxs_ready, kinds, powered


def history(board: SimBoard, chip: int, *wanted: str) -> list[tuple[str, int]]:
    return [(kind, state) for _, number, kind, state, _ in board.history if number == chip and kind in wanted]


def test_the_clock_is_the_boards() -> None:
    board = SimBoard(1, 1)
    assert board.clock.now() == 0
    board.clock.sleep(25)
    board.clock.sleep(0.5)
    assert board.clock.now() == 26
    assert not board.pcm.clocks_running()
    board.pcm.start()
    assert board.pcm.clocks_running()


def test_an_fxo_interrupt_falls_and_rises_with_its_source() -> None:
    board, chip = fxo_ready()
    line = board.gpio["int-fxo"]
    chip.write(4, 0)
    chip.write(3, 0x80)
    assert line.read()
    board.fxo[0].set(ringing=1)
    board.step(50)
    assert line.read()                                     # INTE is off
    chip.write(2, 0x83)
    assert not line.read()
    assert line.poll(0)
    event = line.read_event()
    assert event.edge == "falling"
    assert event.timestamp == pytest.approx(board.chips.us * 1000, abs=10**6)
    chip.write(4, 0x7F)
    assert line.read()
    assert not line.poll(0.01)


def test_masks_keep_a_source_from_the_pin_and_intp_turns_the_pin() -> None:
    board, chip = fxo_ready()
    board.fxo[0].set(reversed=1)
    board.step(100)
    chip.write(2, 0x83)
    assert board.gpio["int-fxo"].read()
    chip.write(2, 0xC3)
    assert not board.gpio["int-fxo"].read()
    chip.write(3, 0x01)
    assert board.gpio["int-fxo"].read()


def test_polling_waits_for_an_fxs_interrupt() -> None:
    board, chip = fxs_ready()
    line = board.gpio["int-fxs"]
    chip.write(22, 0x02)
    before = board.clock.now()
    assert not line.poll(0.05)
    assert board.clock.now() - before == 50
    board.fxs[0].set(lifted=1)
    assert line.poll(1.0)
    assert 10 <= board.clock.now() - before - 50 <= 20
    line.read_event()
    assert not line.read()
    chip.write(19, 0x02)
    assert line.read()


def test_the_interrupt_line_is_shared_and_may_be_stuck() -> None:
    board, chip = fxs_ready()
    other = Fxs(board, 1)
    other.bring_up(1)
    chip.write(22, 0x02)
    other.write(22, 0x02)
    for port in board.fxs:
        port.set(lifted=1)
    board.step(30)
    chip.write(19, 0x02)
    assert not board.gpio["int-fxs"].read()
    other.write(19, 0x02)
    assert board.gpio["int-fxs"].read()
    board.spi["fxs"].set(int_stuck=1)
    assert not board.gpio["int-fxs"].read()
    assert board.gpio["int-fxo"].read()


def test_pins_know_their_direction() -> None:
    board = SimBoard(1, 1)
    with pytest.raises(PermissionError):
        board.gpio["int-fxo"].write(False)
    with pytest.raises(TimeoutError):
        board.gpio["relay"].read_event()
    board.gpio["relay"].write(True)
    assert board.gpio["relay"].read()
    assert not board.gpio["reset-fxo"].read()
    assert not board.gpio["relay"].poll(0)


def test_the_history_is_that_of_the_copper() -> None:
    board, chip = fxo_ready()
    board.fxo[0].set(ringing=1)
    board.step(500)
    board.fxo[0].set(ringing=0)
    board.step(100)
    chip.write(5, 1)
    board.step(100)
    board.fxo[0].set(reversed=1)
    board.step(100)
    board.fxo[0].set(opened=1)
    board.step(10)
    chip.write(5, 0)
    board.step(10)
    assert history(board, 0, "ring", "loop", "current", "polarity")[1:] == [
        ("ring", 1), ("ring", 0), ("loop", 1), ("current", 1), ("polarity", -1), ("current", 0), ("polarity", 0), ("loop", 0),
    ]  # fmt: skip


def test_the_history_does_not_believe_registers() -> None:
    board, chip = fxo_ready()
    board.fxo[0].set(fault_hook=1)
    chip.write(5, 1)
    board.step(50)
    board.fxo[0].feed((480, 300, 0, 0))                    # somebody else's current
    board.step(5)
    assert not history(board, 0, "loop", "current")
    board, fxs = fxs_ready()
    before = len(history(board, 100, "feed", "ring"))
    fxs.write(14, 0x10)
    board.step(5000)
    fxs.write(64, 4)
    board.step(100)
    assert history(board, 100, "feed", "ring")[before:] == [("feed", 0)]


def test_an_fxs_call_in_the_history() -> None:
    board, chip = fxs_ready()
    chip.write(64, 4)
    board.step(1000)
    board.fxs[0].set(lifted=1)
    board.step(100)
    chip.write(64, 1)
    board.step(100)
    board.fxs[0].set(lifted=0)
    board.step(100)
    assert history(board, 100, "ring", "loop", "feed") == [
        ("feed", 1), ("feed", 4), ("ring", 1), ("loop", 1), ("feed", 1), ("ring", 0), ("loop", 0),
    ]  # fmt: skip


def test_logs_keep_the_newest_and_count_all() -> None:
    board = powered(1, 0)
    for k in range(5000):
        board.spi["fxo"].transfer([0x20, 127, k & 0xFF])
    assert board.chips.illegal_counts() == {"unknown-register": 5000}
    assert board.chips.totals()[0] == 5000
    assert len(board.illegal) == 4096
    assert [note[4] for note in board.chips.illegal(4998)] == [4998 & 0xFF, 4999 & 0xFF]


def test_unknown_names_and_ports_are_refused() -> None:
    board = SimBoard(1, 1)
    with pytest.raises(KeyError, match="no 'sparkle'"):
        board.fxo[0].set(sparkle=1)
    with pytest.raises(KeyError, match="no 'lifted'"):
        board.fxo[0].set(lifted=1)
    with pytest.raises(IndexError):
        board.chips.state("fxs", 1)
    with pytest.raises(ValueError, match="at most"):
        SimBoard(17, 0)
    with pytest.raises(ValueError, match="3217"):
        SimBoard(1, 1, family=3217)
    assert board.fxo[0].get("feed_volts") == 48


def test_a_fed_jack_takes_what_it_is_given_until_it_is_given_back() -> None:
    board, chip = fxo_ready()
    board.fxo[0].feed((-240, 0, 0, 0))
    board.step(100)
    assert chip.read(29) == 256 - 24
    board.fxo[0].feed(None)
    board.step(100)
    assert chip.read(29) == 48


@pytest.mark.parametrize("fault", ["fault_alarm", "fault_no_rise", "fault_leak", "fault_calibration", "fault_hook", "fault_reply"])
def test_a_fault_on_one_fxs_leaves_the_other_as_it_is(fault: str) -> None:
    board, _ = fxs_ready()
    other = Fxs(board, 1)
    other.bring_up(1)
    mark = len(history(board, 101, *HISTORY))
    board.fxs[0].set(**{fault: 1})
    board.step(1000)
    assert other.read(64) == 0x11
    assert len(history(board, 101, *HISTORY)) == mark


def test_a_chattering_ring_is_seen_by_its_own_chip_only() -> None:
    board = powered(2, 0)
    for number in (0, 1):
        Fxo(board, number).bring_up(number)
    board.fxo[0].set(fault_chatter=0.2)
    seen = [0, 0]
    for _ in range(300):
        board.step(1)
        for number in (0, 1):
            seen[number] += 1 if board.fxo[number].peek(5) & 0x60 else 0
    assert 20 < seen[0] < 120
    assert seen[1] == 0


def test_one_seed_gives_one_run(seed: int) -> None:
    runs = []
    for _ in range(2):
        board, chip = fxo_ready(seed=seed & 0xFFFF)
        board.spi["fxo"].set(flip_out=0.05, slip=0.02)
        board.fxo[0].set(ohms=6000, fault_chatter=0.1)
        for k in range(200):
            chip.write(5, k & 9)
            board.step(3)
        runs.append((board.illegal, board.history))
    assert runs[0] == runs[1]


facts = st.tuples(*[st.integers(-32768, 32767)] * 4)


@given(st.lists(st.tuples(facts, st.integers(0, 255), st.integers(0, 127)), max_size=40), st.integers(0, 2**32))
def test_no_wire_and_no_register_harms_a_chip(steps: list[tuple[tuple[int, int, int, int], int, int]], seed: int) -> None:
    board = powered(1, 1, seed=seed)
    fxo, fxs = board.spi["fxo"], board.spi["fxs"]
    for fact, value, reg in steps:
        board.fxo[0].feed(fact)
        board.fxs[0].feed(fact, float(fact[1]))
        fxo.transfer([0x20, reg, value])
        fxs.transfer([1, reg, value])
        board.step(value % 7)
        assert all(0 <= board.fxo[0].peek(k) <= 255 for k in range(64))
        assert all(0 <= board.fxs[0].peek(k) <= 255 for k in range(128))
        assert 0 <= board.fxs[0].state["vbat"] <= 95
    assert set(kinds(board)) <= set(ILLEGAL)
    block = bytes(2 * 80 * board.chips.channels)
    back, lines = board.chips.audio(block, bytes(2 * 80 * 2))
    assert (len(back), len(lines)) == (len(block), 2 * 80 * 2)
    board.gpio["reset-fxo"].write(False)
    board.gpio["reset-fxs"].write(False)
    board.step(10)
    assert not board.fxo[0].state["closed"]
    board.fxo[0].feed(None)
    board.fxs[0].feed(None)
    for name in ("reset-fxo", "reset-fxs"):
        board.gpio[name].write(True)
    fxs.transfer([0x00, 0x80])
    Fxs(board).bring_up()
    Fxo(board).bring_up()
    assert (Fxo(board).read(11), Fxs(board).read(64)) == (0x34, 0x11)
