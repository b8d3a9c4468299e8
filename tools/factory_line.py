"""A day on the production line, simulated: forty boards with tolerances, some with a fault, through `branchpbx factory`'s own session.

Every board is a new simulated one; the fixture is verified with a golden board first. Faulty boards get one fault of the list, some of
them only until the first failure (a dirty contact). Afterwards the yield worked out from the log is compared with what was put in.
Run: python -m tools.factory_line [--boards N] [--seed S] [--faulty SHARE] [--json FILE]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from firmware.factory.bench import SimulatedBench, rig_of, simulated
from firmware.factory.limits import parse_limits
from firmware.factory.results import Report, StepResult
from firmware.factory.rig import Label, Restart
from firmware.factory.runner import STEPS
from firmware.factory.session import Purpose, Session, Talk
from firmware.factory.store import Store
from firmware.factory.yields import Yield, text_table, work_out
from firmware.hal.board import board_folder, load_board
from firmware.sim.fixture import SimStand

BOARD = "branch-4x4"
DAY = 1_790_000_000.0
HANDLING_S = 90.0  # a board is taken out, the next one scanned and clamped
SHIFT_S = 8 * 3600.0

# fault, and the step it fails
FAULTS: dict[str, str] = {
    "dead-fxo:3": "spi", "dead-fxs:1": "spi", "spi-flips-fxs": "spi", "reset-crossed": "reset",
    "int-open-fxo": "interrupts", "slot-clash:5": "slots", "clock-drift": "clocks", "no-link:4": "link",
    "no-converter:2": "converter", "leaky-supply:3": "converter", "endless-calibration:1": "calibration", "hungry-slic": "supply-active",
    "over-current": "supply", "rail-low": "supply", "relay-welded": "lifeline", "swapped-fxs:2": "idle-voltage",
    "poor-feed:4": "loop", "weak-ring:1": "ringing", "line-meter:2": "line-voltage", "hook-stuck:3": "line-loop",
    "deaf-fxo:1": "ring-detect", "noisy-fxo:2": "analog", "echo-fxs:3": "analog", "notch-fxo:1": "call",
    "onhook-deaf:4": "call", "led-dead:status": "panel", "packet-loss": "ethernet", "rtc-battery": "rtc",
    "emmc-bad": "storage", "watchdog-dead": "storage", "eeprom-unprotected": "identity",
}  # fmt: skip
SIZES = {"clock-drift": 120.0, "spi-flips-fxs": 0.01}
CONTACTS = ("swapped-fxs:2", "weak-ring:1", "noisy-fxo:2", "led-dead:status", "hook-stuck:3")  # may be gone at the repeat


class Line:
    """A shift."""

    def __init__(self, folder: Path, seed: int) -> None:
        path = board_folder(BOARD) / "factory.toml"
        self.board, self.limits = load_board(BOARD), parse_limits(path.read_bytes(), str(path))
        self.dice = random.Random(seed)
        self.clock = DAY
        self.cleaned: SimulatedBench | None = None
        self.session = Session(
            Store(folder), self.limits, firmware="line", limits_hash="line", operator="line", now=lambda: self.clock,
            iso=lambda seconds: time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)), talk=Talk(result=self.seen),
        )  # fmt: skip

    def seen(self, result: StepResult) -> None:
        """A dirty contact is cleaned after the first failure."""
        if result.status == "fail" and self.cleaned is not None:
            self.cleaned.stand.repair()

    def test(self, number: int, faults: dict[str, float], *, contact: bool = False, purpose: Purpose = "board") -> Report:
        """One board; the day goes on by its time."""
        label = Label(f"BX4{number:06d}", f"70:B3:D5:00:{number >> 8:02X}:{number & 255:02X}")
        bench = simulated(SimStand, self.board, seed=self.dice.getrandbits(32), faults=faults, mac=label.mac)
        self.cleaned = bench if contact else None
        options: dict[str, Any] = {}
        while True:
            try:
                report = self.session.test(
                    rig_of(bench, self.board, self.limits, label, bench.stand.person, "2026-01-01"), purpose=purpose, **options
                )
                break
            except Restart:
                options = {"resume": True}
        self.clock += report.seconds + HANDLING_S
        if purpose == "golden record":
            self.session.golden_record(report)
        return report


def shift(folder: Path, boards: int, seed: int, faulty: float) -> tuple[Yield, list[str], float]:
    """Test a day's boards; the yield, what does not agree with what was put in, and the seconds of the shift."""
    line, wrong = Line(folder, seed), []
    line.test(0, {}, purpose="golden record")
    expected_failures: Counter[str] = Counter()
    clean = 0
    for number in range(1, boards + 1):
        fault = line.dice.choice(sorted(FAULTS)) if line.dice.random() < faulty else ""
        contact = fault in CONTACTS and line.dice.random() < 0.5
        faults = {fault: SIZES.get(fault, 1.0)} if fault else {}
        report = line.test(number, faults, contact=contact)
        failed = list(dict.fromkeys(one.step for one in report.steps if one.status == "fail"))
        step = FAULTS.get(fault, "")
        clean += not fault
        if fault:
            expected_failures[step] += 1
        verdicts = ("pass",) if not fault or contact else ("stopped", "repair")
        if failed != ([step] if fault else []) or report.verdict not in verdicts:
            wrong.append(f"board {number}: fault {fault or 'none'}{' (contact)' if contact else ''}: {report.verdict}, failed {failed}")
    found = work_out(line.session.store.runs(), order=[step.name for step in STEPS if step.name != "insulation"])
    if (found.boards, found.passed_first) != (boards, clean):
        wrong.append(f"yield says {found.passed_first} of {found.boards} passed at first, put in were {clean} of {boards}")
    for one in found.steps:
        counted, put_in = one.boards - one.passed_first, expected_failures[one.step]
        if counted != put_in:
            wrong.append(f"yield says {counted} boards failed {one.step} at first, put in were {put_in}")
        if one.over_budget:
            wrong.append(f"{one.over_budget} attempts at {one.step} took longer than {one.budget_s:g} s")
    if sum(number for _, number in found.causes) != sum(expected_failures.values()):
        wrong.append(f"causes name {sum(number for _, number in found.causes)} failures, put in were {sum(expected_failures.values())}")
    return found, wrong, line.clock - DAY


def main() -> int:
    """Print the table; status 1 when anything does not agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--faulty", type=float, default=0.3, help="share of boards with a fault (default: 0.3)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found, wrong, seconds = shift(Path(folder), options.boards, options.seed, options.faulty)
    took = time.monotonic() - began
    print(text_table(found))
    print(
        f"seed {options.seed}: {options.boards} boards and the golden one take {seconds / 3600:.1f} h with {HANDLING_S:.0f} s of handling "
        f"each (a shift has {SHIFT_S / 3600:.0f} h); simulated in {took:.0f} s"
    )
    if seconds > SHIFT_S and options.boards <= 40:
        wrong.append("forty boards do not fit into a shift")
    for text in wrong:
        print(f"WRONG: {text}")
    if options.json:
        figures = {"seed": options.seed, "shift_s": seconds, "wrong": wrong, "yield": msgspec.to_builtins(found)}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
