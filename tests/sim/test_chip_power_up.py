"""Power-up of simulated line chips in the order the field uses, and what happens out of order. Section 1.3 and 2.3 of the facts."""

from __future__ import annotations

import pytest

from firmware.sim.chip_face import SimBoard

CID = (0x00, 0x08, 0x04, 0x0C, 0x02, 0x0A, 0x06, 0x0E)
INDIRECT = {  # field-proven words under Si3210 numbers
    20: 0x7EF0, 21: 0x0160, 26: 0x2000, 27: 0x4000, 28: 0x1000, 29: 0x3600, 30: 0x1000, 31: 0x0200, 32: 0x07C0, 33: 0x2600, 34: 0x1B80,
    35: 0x8000, 36: 0x0320, 37: 0x008C, 38: 0x0100, 39: 0x0010, 40: 0x0000, 41: 0x0C00, 43: 0x1000,
}  # fmt: skip
SI3215 = {**{n: n - 13 for n in (*range(13, 23), *range(26, 41))}, 41: 64, 43: 66, 97: 97}


class Fxo:
    """Register access to one Si3050, a chip select per byte."""

    def __init__(self, board: SimBoard, number: int = 0) -> None:
        self.board, self.spi, self.cid = board, board.spi["fxo"], CID[number]
        self.port = board.fxo[number] if number < len(board.fxo) else None

    def read(self, reg: int) -> int:
        self.spi.transfer([0x60 | self.cid])
        self.spi.transfer([reg])
        return self.spi.transfer([0xFF])[0]

    def write(self, reg: int, value: int) -> None:
        for byte in (0x20 | self.cid, reg, value):
            self.spi.transfer([byte])

    def bring_up(self, number: int = 0) -> None:
        board = self.board
        self.write(1, 0x80)
        board.clock.sleep(100)
        start = 16 * number + 1
        for reg, value in {33: 0x39, 16: 0, 26: 0xC0, 30: 0, 31: 0xA3, 59: 0, 18: 2, 24: 0, 34: start, 36: start, 6: 0}.items():
            self.write(reg, value)
        for _ in range(200):
            if self.read(11) >> 4 and self.read(12) & 0x40:
                break
            board.clock.sleep(10)
        self.write(5, 0x08)
        board.clock.sleep(60)


class Fxs:
    """Register access to one Si321x in a chain, a chip select per byte."""

    def __init__(self, board: SimBoard, number: int = 0, family: int = 3215) -> None:
        self.board, self.spi, self.select, self.family = board, board.spi["fxs"], 1 << number, family
        self.port = board.fxs[number] if number < len(board.fxs) else None

    def read(self, reg: int) -> int:
        self.spi.transfer([self.select])
        self.spi.transfer([0x80 | reg])
        return self.spi.transfer([0xFF])[0]

    def write(self, reg: int, value: int) -> None:
        for byte in (self.select, reg, value):
            self.spi.transfer([byte])

    def wait(self) -> None:
        for _ in range(100):
            if not self.read(31) & 1:
                return
        raise TimeoutError("indirect access stays busy")

    def address(self, number: int) -> int:
        return SI3215[number] if self.family == 3215 else number

    def set(self, number: int, value: int) -> None:
        self.wait()
        self.write(28, value & 0xFF)
        self.write(29, value >> 8)
        self.write(30, self.address(number))

    def get(self, number: int) -> int:
        self.wait()
        self.write(30, self.address(number))
        self.wait()
        return self.read(28) | self.read(29) << 8

    def supply(self, limit_ms: int = 500) -> bool:
        self.write(92, 0xFF)
        self.write(14, 0x00)
        for _ in range(limit_ms):
            if self.read(82) >= 0xC0:
                return True
            self.board.clock.sleep(1)
        return False

    def calibrate(self, steps: tuple[int, int] = (0x1F, 0x5F), limit_ms: int = 2000) -> bool:
        self.write(97, steps[0])
        self.write(96, steps[1])
        for _ in range(limit_ms):
            if self.read(96) == 0:
                return True
            self.board.clock.sleep(1)
        return False

    def defaults(self) -> None:
        for number, value in {**INDIRECT, 97: 0}.items():
            self.set(number, value)
        for reg, value in {8: 0, 108: 0xEB, 67: 0x07, 66: 0x01}.items():
            self.write(reg, value)

    def flush(self) -> None:
        for number in range(35, 40):
            self.set(number, 0x8000)

    def bring_up(self, number: int = 0) -> None:
        self.defaults()
        self.flush()
        assert self.supply()
        self.write(71, 0)
        self.write(93, 0x19)
        assert self.calibrate()
        self.write(93, 0x99)
        self.board.clock.sleep(10)
        for word in range(35, 40):
            self.set(word, INDIRECT[word])
        start = 16 * (number + len(self.board.fxo)) + 1
        for reg, value in {1: 0x3D, 2: start, 4: start, 18: 0xFF, 19: 0xFF, 20: 0xFF, 64: 1}.items():
            self.write(reg, value)
        self.board.clock.sleep(60)


def powered(fxo: int = 2, fxs: int = 2, family: int = 3215, seed: int = 1) -> SimBoard:
    board = SimBoard(fxo, fxs, family=family, seed=seed)
    board.power_up()
    if fxs:
        board.spi["fxs"].transfer([0x00, 0x80])
    return board


def fxo_ready(seed: int = 1) -> tuple[SimBoard, Fxo]:
    board = powered(2, 0, seed=seed)
    chip = Fxo(board)
    chip.bring_up()
    return board, chip


def fxs_ready(family: int = 3215, seed: int = 1) -> tuple[SimBoard, Fxs]:
    board = powered(0, 2, family, seed)
    chip = Fxs(board, family=family)
    chip.bring_up()
    return board, chip


def kinds(board: SimBoard) -> set[str]:
    return set(board.chips.illegal_counts())


def test_the_field_order_breaks_no_rule_on_fxo() -> None:
    board, chip = fxo_ready()
    assert chip.read(11) == 0x34
    assert chip.read(12) & 0x40
    assert chip.read(13) & 0x40
    assert not board.illegal


@pytest.mark.parametrize("family", [3210, 3215])
def test_the_field_order_breaks_no_rule_on_fxs(family: int) -> None:
    board, chip = fxs_ready(family)
    assert chip.read(64) == 0x11
    assert 2 <= chip.read(107) <= 0x0D
    assert all(chip.get(number) == value for number, value in INDIRECT.items())
    assert not board.illegal


def test_the_link_takes_its_time() -> None:
    board = powered(1, 0)
    chip = Fxo(board)
    chip.write(6, 0)
    board.step(95)
    assert chip.read(11) == 0x04
    assert not chip.read(12) & 0x40
    board.step(10)
    assert chip.read(11) == 0x34


def test_a_powered_down_line_side_has_no_link() -> None:
    board = powered(1, 0)
    board.step(3000)
    assert Fxo(board).read(11) >> 4 == 0


def test_a_soft_reset_takes_100_ms_and_loses_what_is_written_meanwhile() -> None:
    board, chip = fxo_ready()
    chip.write(1, 0x80)
    assert chip.read(1) == 0x80
    board.step(50)
    chip.write(26, 0xC0)
    assert kinds(board) == {"in-soft-reset"}
    board.step(50)
    assert (chip.read(1), chip.read(26), chip.read(2), chip.read(6)) == (0, 0, 3, 0x10)


def test_reset_restores_the_defaults_of_its_own_chain_only() -> None:
    board = powered()
    fxo, fxs = Fxo(board), Fxs(board)
    fxo.write(34, 0x5A)
    fxs.write(2, 0xA5)
    board.gpio["reset-fxo"].write(False)
    board.step(10)
    board.gpio["reset-fxo"].write(True)
    assert (fxo.read(34), fxs.read(2)) == (0, 0xA5)


def test_reset_without_clocks_is_noted_and_keeps_the_link_down_until_another_reset() -> None:
    board = SimBoard(1, 0)
    board.gpio["reset-fxo"].write(True)
    chip = Fxo(board)
    chip.write(1, 0x80)                                     # too early to help
    board.step(100)
    board.pcm.start()
    chip.write(6, 0)
    board.step(500)
    assert kinds(board) == {"reset-released-without-clocks"}
    assert chip.read(11) >> 4 == 0
    chip.bring_up()
    assert chip.read(11) >> 4 == 3


@pytest.mark.parametrize(("alone", "after"), [(0, 0), (1, 3)])
def test_stopped_clocks_drop_the_link_for_good(alone: int, after: int) -> None:
    board, chip = fxo_ready()
    board.fxo[0].set(relock_alone=alone)
    board.pcm.stop()
    board.step(2)
    assert chip.read(11) >> 4 == 0
    assert chip.read(4) & 0x20
    board.pcm.start()
    board.step(1000)
    assert chip.read(11) >> 4 == after
    chip.bring_up()
    assert chip.read(11) >> 4 == 3


@pytest.mark.parametrize("pclk", [1_000_000, 2_000_000, 16_384_000])
def test_a_clock_rate_that_chips_do_not_know_is_noted(pclk: int) -> None:
    board, chip = fxo_ready()
    board.pcm.start(pclk)
    board.step(2)
    assert not board.pcm.clocks_running()
    assert "clock-rate" in kinds(board)
    assert chip.read(11) >> 4 == 0


def test_a_frame_that_is_not_8_khz_is_no_clock() -> None:
    board = SimBoard(1, 0)
    board.pcm.start(1_024_000, 8001)
    assert not board.pcm.clocks_running()


def test_pdn_needs_reset() -> None:
    board, chip = fxo_ready()
    chip.write(6, 0x08)
    board.step(5)
    assert chip.read(11) >> 4 == 0
    chip.write(6, 0)
    board.step(1000)
    assert chip.read(11) >> 4 == 0
    chip.write(26, 0xC0)
    assert kinds(board) == {"powered-down"}


def test_going_off_hook_without_a_link_closes_nothing() -> None:
    board = powered(1, 0)
    Fxo(board).write(5, 1)
    board.step(50)
    assert not board.fxo[0].state["closed"]
    assert kinds(board) == {"hook-without-link"}


def test_the_supply_rises_falls_and_shows_a_leak() -> None:
    board, chip = fxs_ready()
    assert 0xC0 <= chip.read(82) <= 0xCC
    chip.write(64, 0)
    chip.write(14, 0x10)
    board.step(500)
    assert chip.read(82) > 6
    assert chip.supply()
    board.fxs[0].set(fault_leak=1)
    chip.write(14, 0x10)
    board.step(500)
    assert chip.read(82) <= 6


def test_a_supply_that_never_rises() -> None:
    board = powered(0, 1)
    board.fxs[0].set(fault_no_rise=1)
    chip = Fxs(board)
    chip.defaults()
    assert not chip.supply()


def test_a_supply_needs_clocks() -> None:
    board, chip = fxs_ready()
    board.pcm.stop()
    board.step(2000)
    assert chip.read(82) < 0x20


def test_starting_the_supply_twice_unchecked_is_noted() -> None:
    board = powered(0, 1)
    chip = Fxs(board)
    chip.write(14, 0)
    chip.read(82)
    chip.write(14, 0x10)
    chip.write(14, 0)
    assert not board.illegal
    chip.write(14, 0x10)
    chip.write(14, 0)
    assert kinds(board) == {"dc-dc-restarted-unchecked"}


def test_calibration_takes_half_a_second_and_ends_with_zero() -> None:
    board = powered(0, 1)
    chip = Fxs(board)
    chip.defaults()
    chip.flush()
    assert chip.supply()
    began = board.clock.now()
    assert chip.calibrate()
    assert 400 <= board.clock.now() - began <= 600
    assert not board.illegal


def test_calibration_rules_are_judged() -> None:
    board = powered(0, 1)
    chip = Fxs(board)
    chip.write(97, 0x1F)
    chip.write(96, 0x5F)
    assert kinds(board) == {"calibration-without-power", "calibration-unflushed"}
    board, chip = fxs_ready()
    chip.flush()
    chip.wait()
    chip.write(96, 0x5F)
    assert kinds(board) == {"calibration-in-use"}


def test_a_calibration_that_never_ends_and_one_that_can_be_done_by_hand() -> None:
    for fault in ("fault_calibration", "auto_calibration_fails"):
        board = powered(0, 1)
        board.fxs[0].set(**{fault: 1})
        chip = Fxs(board)
        chip.defaults()
        chip.flush()
        assert chip.supply()
        assert not chip.calibrate()
        assert chip.calibrate((0x18, 0x47)) == (fault == "auto_calibration_fails")
        if fault == "auto_calibration_fails":
            for reg, sense, found in ((98, 88, 0x0C), (99, 89, 0x0D)):
                value = 0x1F
                chip.write(reg, value)
                board.step(40)
                while chip.read(sense):
                    value -= 1
                    chip.write(reg, value)
                    board.step(40)
                assert value == found


def test_a_supply_that_never_falls_keeps_its_battery() -> None:
    board, chip = fxs_ready()
    board.fxs[0].set(fault_no_fall=1)
    chip.write(64, 0)
    chip.write(14, 0x10)
    board.step(5000)
    assert chip.read(82) >= 0xC0


def test_dc_dc_calibration_leaves_a_sane_peak_current() -> None:
    board, chip = fxs_ready()
    chip.write(107, 0)
    chip.write(93, 0x99)
    board.step(5)
    assert chip.read(107) == 0
    board.step(6)
    assert 2 <= chip.read(107) <= 0x0D
