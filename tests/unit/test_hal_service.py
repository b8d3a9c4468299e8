"""Ports in operation: who comes up, who is recovered and how, what is told, what is asked; the simulator's record judges."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.unit.service_bench import Operation


def started() -> Operation:
    box = Operation()
    box.service.start(fresh=True)
    assert [port.up for port in box.service.ports.values()] == [True] * 4
    return box


def test_a_well_board_is_left_alone() -> None:
    box = started()
    bytes_before = box.sim.chips.totals()
    box.run(60_000)
    assert box.told == []
    assert box.holds == []
    assert box.sim.illegal == []
    assert box.sim.chips.totals() != bytes_before


def test_the_scanner_is_told_of_every_port_and_of_the_drive_that_stands() -> None:
    box = started()
    entries = box.service.scans()
    assert [(entry.slot, entry.kind, entry.chain, entry.framing, entry.position) for entry in entries] == [
        (0, "fxo", 0, "si3050", 0), (1, "fxo", 0, "si3050", 1), (4, "fxs", 1, "si321x-daisy", 0), (5, "fxs", 1, "si321x-daisy", 1),
    ]  # fmt: skip
    assert box.service.base(0) == {5: 0x08, 17: 0}
    assert box.service.base(4) == {64: 0x11}


def test_a_port_that_does_not_come_up_stays_out_with_its_step_and_the_others_serve() -> None:
    box = Operation()
    box.sim.fxs[0].set(fault_no_rise=1)
    box.service.start(fresh=True)
    box.run(5000)
    assert [(slot, kind, raised, final) for slot, kind, raised, final, _ in box.told] == [(4, "start", True, True)]
    assert "FXS jack 1" in box.texts[0]
    assert "register 82" in box.texts[0]
    assert box.held == {4}
    assert [port.up for port in box.service.ports.values()] == [True, True, False, True]
    assert box.sim.fxs[1].state["drive"] == 1


@contextmanager
def at_the_first_error(do: Callable[[], object]) -> Iterator[list[str]]:
    """Do something when a driver has just given up; the errors that were logged."""
    errors: list[str] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            errors.append(record.getMessage())
            if len(errors) == 1:
                do()

    watch, log = Watch(logging.ERROR), logging.getLogger("branchpbx.hal")
    log.addHandler(watch)
    try:
        yield errors
    finally:
        log.removeHandler(watch)


def test_what_goes_wrong_once_at_start_is_tried_again_at_once() -> None:
    box = Operation()
    box.sim.fxs[0].set(fault_no_rise=1)
    with at_the_first_error(lambda: box.sim.fxs[0].set(fault_no_rise=0)) as errors:
        box.service.start(fresh=True)
    assert len(errors) == 1
    assert [port.up for port in box.service.ports.values()] == [True] * 4
    box.run(5000)
    assert box.told == []
    assert box.sim.fxs[0].state["drive"] == 1


def test_a_chain_that_was_miscounted_once_is_reset_and_counted_again_at_once() -> None:
    box = Operation()
    box.sim.spi["fxs"].set(all_ff=1)
    with at_the_first_error(lambda: box.sim.spi["fxs"].set(all_ff=0)) as errors:
        box.service.start(fresh=True)
    assert len(errors) == 1
    assert [port.up for port in box.service.ports.values()] == [True] * 4


def test_a_port_that_is_out_tries_again_every_minute_and_when_it_is_asked() -> None:
    box = Operation()
    box.sim.fxs[0].set(fault_no_rise=1)
    box.service.start(fresh=True)
    box.at(70_000, lambda: box.sim.fxs[0].set(fault_no_rise=0))
    box.run(140_000)
    assert box.told[-1][:3] == (4, "start", False) or box.told[-1][2] is False
    assert box.held == set()
    assert box.sim.fxs[0].state["drive"] == 1
    again = Operation()
    again.sim.fxs[0].set(fault_no_rise=1)
    again.service.start(fresh=True)
    again.sim.fxs[0].set(fault_no_rise=0)
    answers = again.ask(4, "retry")
    again.run(3000)
    assert answers[0][1] == ""
    assert again.held == set()
    assert again.sim.fxs[0].state["drive"] == 1


@pytest.mark.parametrize("slot", [0, 5])
def test_a_chip_that_resets_itself_is_back_under_the_drive_that_stood(slot: int) -> None:
    box = started()
    ports = {0: box.sim.fxo[0], 5: box.sim.fxs[1]}
    box.at(1000, lambda: box.drive(0, 1))
    box.at(1000, lambda: box.drive(5, 5))
    box.at(3000, ports[slot].self_reset)
    box.run(9000)
    kinds = [(kind, raised) for told, kind, raised, _, _ in box.told if told == slot]
    assert kinds == [("chip-reset", True), ("recovered", True), ("chip-reset", False)]
    assert {told for told, *_ in box.told} == {slot}
    assert {held for _, held, _ in box.holds} == {slot}
    assert box.sim.fxo[0].state["closed"] == 1
    assert box.sim.fxs[1].peek(64) == 0x55
    assert box.held == set()


def test_what_the_scanner_drives_is_no_fault() -> None:
    box = started()
    for turn in range(20):
        box.at(500 + turn * 737, lambda turn=turn: box.drive(0, turn % 2))  # type: ignore[misc]
        box.at(500 + turn * 737, lambda turn=turn: box.drive(4, (1, 4)[turn % 2]))  # type: ignore[misc]
        box.at(600 + turn * 737, box.service.ports[0].keeper.nudge if box.service.ports[0].keeper else lambda: None)
    box.run(20_000)
    assert box.told == []
    assert box.holds == []


def test_pulse_dialling_is_no_fault_however_long_it_takes() -> None:
    box = started()
    hook = box.cards[0].registers("1")
    box.at(500, lambda: box.drive(0, 1))

    def dial(at: int) -> None:
        box.at(at, lambda: box.codes.__setitem__(0, -1))
        box.at(at + 10, lambda: hook.write(5, 0x00))      # a break longer than any pulse: looks would see it three times
        box.at(at + 900, lambda: hook.write(5, 0x01))

    for turn in range(8):
        dial(2000 + turn * 1000)
    box.at(11_000, lambda: box.codes.__setitem__(0, 1))
    for turn in range(180):
        box.at(2000 + turn * 50, lambda: box.service.ports[0].keeper and box.service.ports[0].keeper.nudge())
    box.run(20_000)
    assert [told for told in box.told if told[1] == "hook"] == []
    assert box.sim.fxo[0].state["closed"] == 1


def test_a_line_to_earth_is_fed_again_a_few_times_then_left_open_and_comes_back_alone() -> None:
    box, lines = started(), list[float]()
    box.at(1000, lambda: box.sim.fxs[0].set(earthed=1))
    box.at(90_000, lambda: box.sim.fxs[0].set(earthed=0))
    box.at(10_000, lambda: lines.append(box.sim.fxs[0].state["drive"]))
    box.run(160_000)
    told = [(kind, raised, final) for slot, kind, raised, final, _ in box.told if slot == 4]
    assert ("power-alarm", True, True) in told
    assert told[-1][1] is False
    assert lines == [0]
    assert {slot for slot, *_ in box.told} <= {4}
    assert box.sim.fxs[0].state["drive"] == 1
    assert box.held == set()


def test_dead_wires_hold_nobody_else_up_and_nothing_is_written_to_them() -> None:
    box = started()
    box.at(1000, lambda: box.sim.spi["fxo"].set(all_ff=1))
    box.at(8000, lambda: box.sim.spi["fxo"].set(all_ff=0))
    box.at(4000, box.sim.fxs[0].self_reset)
    box.run(12_000)
    assert {(slot, kind) for slot, kind, raised, _, _ in box.told if raised} >= {(0, "all-ones"), (1, "all-ones"), (4, "recovered")}
    standing = {slot: raised for slot, _, raised, _, _ in box.told}
    assert standing[0] is standing[1] is standing[4] is False
    assert box.sim.illegal == []


def test_stopped_clocks_are_told_and_what_they_broke_is_mended() -> None:
    box = started()
    box.at(1000, box.sim.pcm.stop)
    box.at(5000, box.sim.pcm.start)
    box.run(60_000)
    assert {kind for slot, kind, raised, _, _ in box.told if raised and slot == 0} >= {"clocks"}
    assert all(port.up for port in box.service.ports.values())
    assert box.sim.fxs[0].state["drive"] == 1


def test_a_second_media_process_takes_over_without_a_write_and_brings_up_what_is_lost() -> None:
    first = started()
    first.run(1000)
    sim = first.sim
    sim.pcm.stop()
    sim.step(50)
    sim.fxo[1].self_reset()
    sim.pcm.start()
    second = Operation(sim)
    second.service.start(fresh=False)
    second.run(5000)
    assert all(port.up for port in second.service.ports.values())
    assert second.told == []
    assert [sim.fxo[number].peek(33) & 0x20 for number in (0, 1)] == [0x20, 0x20]


def test_requests_are_answered_by_name() -> None:
    box = started()
    measured, registers = box.ask(0, "measure"), box.ask(4, "registers", first=0, count=3)
    tested, gained = box.ask(4, "line-test"), box.ask(1, "gain", to_line_db=-3, from_line_db=6)
    hybrid = box.ask(1, "hybrid", coefficients=[1] * 8)
    asked, changed = box.ask(0, "impedance"), box.ask(0, "impedance", setting=5)
    wrong = [box.ask(9, "measure"), box.ask(0, "sing"), box.ask(0, "impedance", setting=16), box.ask(4, "hybrid", coefficients=[0] * 8)]
    wrong.append(box.ask(0, "registers", first=127, count=5))
    health = box.ask(-1, "health")
    box.run(500)
    assert measured[0][0]["volts"] == pytest.approx(48, abs=1)
    assert registers[0][0][1] & 0x20
    assert tested[0][0]["faults"] == []
    assert len(tested[0][0]["transistor_milliwatts"]) == 6
    assert gained == [(None, "")] == hybrid
    assert (box.sim.fxo[1].peek(38), box.sim.fxo[1].peek(39), box.sim.fxo[1].peek(45)) == (0x13, 6, 1)
    assert asked[0][0]["settings"]["5"] == "320+1050||230n" and asked[0][0]["setting"] != 5
    assert changed[0][0]["setting"] == 5 and box.sim.fxo[0].peek(30) & 0x0F == 5
    assert wrong[0][0][1].startswith("slot 9 has no line chip")
    assert all(answer[0][1] for answer in wrong)
    assert [row["state"] for row in health[0][0]] == ["well"] * 4
    assert box.held == set()


def test_a_new_core_is_told_what_stands() -> None:
    box = Operation()
    box.sim.fxs[1].set(fault_no_rise=1)
    box.service.start(fresh=True)
    box.at(500, box.service.tell_again)
    box.run(1000)
    assert [(slot, kind) for slot, kind, *_ in box.told] == [(5, "start")] * 2


def test_a_stop_ends_a_remedy_that_waits() -> None:
    box = started()
    box.sim.fxs[0].set(fault_calibration=1)
    box.at(100, box.sim.fxs[0].self_reset)
    box.run(700)
    assert box.now < 12_000


def test_a_termination_that_was_chosen_outlives_a_recovery() -> None:
    box = started()
    box.ask(0, "impedance", setting=5)
    box.ask(5, "impedance", setting=3)
    box.ask(1, "impedance", setting=4)
    country = box.ask(1, "impedance", setting=None)
    box.script += [(1000, box.sim.fxo[0].self_reset), (1200, box.sim.fxs[1].self_reset)]
    box.run(12_000)
    assert all(port.up for port in box.service.ports.values())
    assert country[0][0]["setting"] != 4 and box.sim.fxo[1].peek(30) & 0x0F == country[0][0]["setting"]
    assert box.sim.fxo[0].peek(30) & 0x0F == 5 and box.sim.fxs[1].peek(10) & 0x07 == 3
