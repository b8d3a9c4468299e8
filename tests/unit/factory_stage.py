"""Boards for the tests of the factory test: a small one with short times, and the whole one; on the simulated stand."""

from __future__ import annotations

import msgspec

from firmware.config.board import Board, parse_board
from firmware.factory.bench import SimulatedBench, rig_of, simulated
from firmware.factory.limits import Limits, parse_limits
from firmware.factory.results import StepResult
from firmware.factory.rig import Label, Restart, Rig
from firmware.factory.runner import Runner
from firmware.hal.board import board_folder, load_board
from firmware.sim.fixture import SimStand

LABEL = Label("BX4000001", "70:B3:D5:00:00:01")
LIMITS_FILE = board_folder("branch-4x4") / "factory.toml"


def whole() -> tuple[Board, Limits]:
    """The board as it is made."""
    return load_board("branch-4x4"), parse_limits(LIMITS_FILE.read_bytes(), "factory.toml")


def small() -> tuple[Board, Limits]:
    """Two ports of each kind; the same limits, but steps that only repeat or wait are short."""
    text = (board_folder("branch-4x4") / "board.toml").read_text()
    text = text.replace("[0, 1, 2, 3]", "[0, 1]").replace("[4, 5, 6, 7]", "[4, 5]").replace('["1", "2", "3", "4"]', '["1", "2"]')
    board = parse_board(text.encode(), "board.toml")
    tree = msgspec.to_builtins(whole()[1])
    steps = tree["steps"]
    steps["clocks"]["xrun_s"], steps["lifeline"]["cycles"], steps["call"]["messages"] = 1, 4, 2
    steps["ethernet"]["megabytes"], steps["spi"]["accesses"] = 10, 200
    bands = ("idle_ma", "active_ma")
    steps["supply-active"]["active_ma"] = {"min": 391.0, "max": 529.0}  # two SLICs: 460 mA +-15 %
    assert all(band in steps["supply"] or band in steps["supply-active"] for band in bands)
    return board, msgspec.convert(tree, Limits)


def bench_of(board: Board, *, seed: int = 1, faults: dict[str, float] | None = None, mac: str = LABEL.mac) -> SimulatedBench:
    """A simulated stand."""
    return simulated(SimStand, board, seed=seed, faults=faults or {}, mac=mac)


def rig_on(bench: SimulatedBench, board: Board, limits: Limits, label: Label = LABEL) -> Rig:
    """A rig of which nothing was touched."""
    return rig_of(bench, board, limits, label, bench.stand.person, "2026-11-22")


class Outcome:
    """A run with its restarts."""

    def __init__(self, runner: Runner, restarts: int, rig: Rig) -> None:
        self.results: list[StepResult] = runner.results
        self.verdict = runner.verdict
        self.restarts = restarts
        self.rig = rig
        self.failed = list(dict.fromkeys(one.step for one in self.results if one.status == "fail"))

    def of(self, step: str) -> StepResult:
        """The last attempt at a step."""
        return [one for one in self.results if one.step == step][-1]

    def reasons(self) -> list[str]:
        """All reasons of failed attempts."""
        return [reason for one in self.results if one.status == "fail" for reason in one.reasons]


def run(bench: SimulatedBench, board: Board, limits: Limits, *, keep=lambda result: None, earlier=(), label: Label = LABEL) -> Outcome:  # type: ignore[no-untyped-def]
    """Test the board; its restarts are resumed as the program does."""
    done: list[StepResult] = []
    memory: dict[str, float] = {}
    for restarts in range(8):
        rig = rig_on(bench, board, limits, label)
        rig.memory.update(memory)
        runner = Runner(rig, done=done, keep=keep, earlier=earlier)
        try:
            runner.run()
        except Restart as pause:
            done, memory = runner.results, pause.memory
            continue
        return Outcome(runner, restarts, rig)
    raise AssertionError("the board restarts for ever")
