"""Faults of line cards by command, timed, and what the oracle says of them."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from firmware.errors import PbxError
from firmware.sim.faults import FAULTS, words
from tests.sim.chip_box import FXO, FXS, LAYOUT, ChipBox, read, write


def last(box: ChipBox, chip: int, register: int, chain: int = FXO) -> int:
    box.answers.clear()
    box.do(read(chip, register, 0, chain))
    box.run(20)
    return box.answers[-1][2][-1]


@pytest.mark.parametrize(("name", "value"), [("all-ff", 0xFF), ("all-00", 0x00)])
def test_a_chain_lies_for_its_time_and_then_tells_the_truth(name: str, value: int) -> None:
    box = ChipBox()
    box.town.faults.put("chain", "fxo", name, seconds=1.0)
    assert last(box, 0, 2) == value
    assert last(box, 0, 1, FXS) != 0xFF, "the other chain lies, too"
    box.run(1_100)
    assert last(box, 0, 2) == 0x03
    assert box.town.faults.facts() == []


def test_a_later_fault_outlives_the_end_of_an_earlier_one() -> None:
    box = ChipBox()
    box.town.faults.put("chain", "fxo", "all-ff", seconds=0.5)
    box.run(300)
    box.town.faults.put("chain", "fxo", "all-ff")
    box.run(500)
    assert last(box, 0, 2) == 0xFF


def test_flips_and_slips_strike_the_wire() -> None:
    box = ChipBox()
    box.scan = [read(0, 2, ms) for ms in range(10)]
    box.town.faults.put("chain", "fxo", "flip-in", value=0.05)
    box.run(2_000)
    wrong = [value for _, value in box.series(read(0, 2)) if value != 3]
    assert 50 <= len(wrong) <= 200
    box.town.faults.put("chain", "fxo", "flip-in", on=False)
    box.answers.clear()
    box.town.faults.put("chain", "fxo", "slip")
    box.run(200)
    assert any(value != 3 for _, value in box.series(read(0, 2)))


def test_a_chip_that_resets_itself_says_so() -> None:
    box = ChipBox()
    assert last(box, 2, 8, FXS) == 0
    box.town.faults.put("fxs", "3", "reset")
    assert last(box, 2, 8, FXS) == 0x02
    assert last(box, 1, 8, FXS) == 0
    assert last(box, 1, 33) & 0x20
    box.town.faults.put("fxo", "2", "reset")
    assert last(box, 1, 33) == 0


def test_link_interrupt_line_and_supply_fail() -> None:
    box = ChipBox()
    box.town.faults.put("fxo", "1", "link")
    box.run(20)
    assert last(box, 0, 12) & 0x40 == 0
    assert last(box, 1, 12) & 0x40
    box.town.faults.put("chain", "fxs", "int-stuck")
    assert box.mail.int_level(FXS) is False
    assert box.mail.int_level(FXO) is True
    box.town.faults.put("fxs", "1", "no-power")
    box.run(3_000)
    assert last(box, 0, 82, FXS) < 20
    assert last(box, 1, 82, FXS) > 150


@pytest.mark.parametrize("name", ["short", "earth"])
def test_a_shorted_or_earthed_pair_draws_what_it_can(name: str) -> None:
    box = ChipBox()
    box.town.faults.put("fxs", "1", name)
    box.run(10)
    assert box.town.phone(1).wire.milliamps == pytest.approx(20 if name == "short" else 200, abs=1)
    assert box.town.phone(2).wire.milliamps == pytest.approx(0, abs=0.01)
    if name == "earth":
        box.run(500)
        assert last(box, 0, 64, FXS) >> 4 == 0, "the chip does not protect itself"


def test_a_leak_and_crossed_wires_change_what_the_phone_feels() -> None:
    box = ChipBox()
    box.town.faults.put("fxs", "1", "leak", value=5000)
    box.town.faults.put("fxs", "2", "reversed")
    box.run(100)
    assert box.town.phone(1).wire.milliamps == pytest.approx(48 / 5.16, abs=0.2)
    assert box.town.phone(2).wire.volts == pytest.approx(-48, abs=0.5)


def test_stopped_clocks_take_the_links_down() -> None:
    box = ChipBox()
    box.town.faults.put("board", "", "clocks", seconds=1.0)
    box.run(100)
    assert box.mail.clocks() is False
    assert last(box, 0, 12) & 0x40 == 0
    box.run(1_200)
    assert box.mail.clocks() is True


def test_a_stall_is_silence_for_its_time_and_moves_the_alignment() -> None:
    box = ChipBox()
    box.town.exchange.line(1).wire.hiss(-30)
    box.off_hook(0)
    box.run(1_000)
    tape = box.keep(0)
    epoch = struct.unpack_from("<I", box.memory, LAYOUT["align_epoch"])[0]
    box.run(100)
    box.town.faults.put("board", "", "stall", value=200)
    box.run(500)
    blocks = [any(bytes(tape)[160 * k : 160 * k + 160]) for k in range(60)]
    assert blocks == [True] * 10 + [False] * 20 + [True] * 30
    assert struct.unpack_from("<I", box.memory, LAYOUT["align_epoch"])[0] == epoch + 1


def test_what_there_is_no_such_place_or_fault_is_said() -> None:
    box = ChipBox()
    with pytest.raises(PbxError, match="all-ff"):
        box.town.faults.put("chain", "fxo", "wet")
    with pytest.raises(PbxError, match="1, 2, 3, 4"):
        box.town.faults.put("fxs", "9", "reset")
    with pytest.raises(PbxError, match="chain fxo"):
        box.town.faults.put("chain", "usb", "all-ff")
    assert len(words("zh")) == len(words("en")) == len(FAULTS)


def test_the_oracle_counts_seizures_with_the_worlds_time_and_illegal_accesses() -> None:
    box = ChipBox()
    box.run(50)
    box.off_hook(2, 3)
    box.run(1_000)
    box.on_hook(2, 5)
    box.run(200)
    box.do(write(0, 2, 0x03), write(0, 60, 1))
    box.run(20)
    facts: dict[str, Any] = box.town.oracle.facts(0, 0, 0)
    assert facts["seizures"] == {"fxo 3": 1}
    spans = [span for span in facts["spans"] if span["jack"] == "fxo 3"]
    assert [(span["begun"], span["ended"]) for span in spans] == [(53, 1055)]
    assert spans[0]["measure"] > 300
    assert facts["illegal_counts"] == {"unknown-register": 1}
    assert [note[1:4] for note in facts["illegal"]] == [("fxo", "1", "unknown-register")]
    assert box.town.oracle.facts(2_000, facts["next_history"], facts["next_illegal"])["illegal"] == []
