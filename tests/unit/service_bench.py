"""A board in operation without an engine: simulated chips, a slow scanner by the reference `facts_of`; time passes in `hardware_wait`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from firmware.config.board import Board, parse_board
from firmware.hal.bus import SoleUser
from firmware.hal.cards import Card
from firmware.hal.scan import PLANS, facts_of
from firmware.hal.service import ChipService, Request, ServiceClock
from firmware.sim.chip_face import SimBoard

FILE = b"""
name = "small"
seam = "alsa"
slots_fxo = [0, 1]
slots_fxs = [4, 5]
[[chains]]
chip = "si3050"
spi = "fxo"
jacks = ["1", "2"]
reset = {chip = "g", line = 1}
[[chains]]
chip = "si321x"
spi = "fxs"
jacks = ["1", "2"]
reset = {chip = "g", line = 2}
"""
PLACES = {0: ("fxo", 0), 1: ("fxo", 1), 4: ("fxs", 0), 5: ("fxs", 1)}
HOOK, LINEFEED = 5, 64
END = object()


def small() -> Board:
    return parse_board(FILE, "board.toml")


class Operation:
    """Chips, cards, service; `EngineFace` is this object itself."""

    def __init__(self, sim: SimBoard | None = None, **settings: Any) -> None:
        self.sim = sim or SimBoard(2, 2)
        if sim is None:
            self.sim.pcm.start()
            self.sim.clock.sleep(10)
        board, clock = small(), ServiceClock(self.sim.clock)
        self.cards = [
            Card(
                board, chain, spi=SoleUser(self.sim.spi[chain.spi]), reset=self.sim.gpio[f"reset-{chain.spi}"], clocks=self.sim.pcm,
                clock=clock, settings=settings,
            )
            for chain in board.chains
        ]  # fmt: skip
        self.service = ChipService(self.cards, clock)
        self.told: list[tuple[int, str, bool, bool, str]] = []
        """What was posted: slot, kind, raised, final, step."""
        self.texts: list[str] = []
        self.codes = {slot: 1 if kind == "fxs" else 0 for slot, (kind, _) in PLACES.items()}
        self.held: set[int] = set()
        self.holds: list[tuple[int, int, bool]] = []
        self.script: list[tuple[int, Callable[[], object]]] = []
        self._woken = False
        self._flagged_at: dict[tuple[int, str], int] = {}

    @property
    def now(self) -> int:
        return int(self.sim.clock.now())

    # what the engine does

    def hold_chip(self, slot: int, on: bool) -> bool:
        self.holds.append((self.now, slot, on))
        (self.held.add if on else self.held.discard)(slot)
        if not on:
            self._write_drive(slot)
        return True

    def hardware_wake(self) -> None:
        self._woken = True

    def standing_drive(self, slot: int) -> int:
        return self.codes[slot]

    def post_health(
        self, slot: int, kind: str, raised: bool, final: bool, step: str, text: str, register: int, read: int, attempt: int, state: str
    ) -> None:
        self.told.append((slot, kind, raised, final, step))
        self.texts.append(text)

    def hardware_wait(self, until: int) -> list[tuple[int, str, int, int]]:
        while self.now < until and not self._woken:
            self.sim.step(10)
            while self.script and self.script[0][0] <= self.now:
                self.script.pop(0)[1]()
            if found := self._scan():
                return found
        self._woken = False
        return []

    def _scan(self) -> list[tuple[int, str, int, int]]:
        found = []
        for slot, (kind, number) in PLACES.items():
            if slot in self.held:
                continue
            plan = PLANS["si3050" if kind == "fxo" else "si321x"]
            position = self.cards[kind == "fxs"].registers(str(number + 1))
            values = {poll.register: position.read(poll.register) for poll in plan.polls}
            for fault in facts_of(plan, values)[0]:
                if self.now - self._flagged_at.get((slot, fault), -1000) >= 100:
                    self._flagged_at[slot, fault] = self.now
                    found.append((slot, fault, -1, -1))
        return found

    def _write_drive(self, slot: int) -> None:
        kind, number = PLACES[slot]
        registers, code = self.cards[kind == "fxs"].registers(str(number + 1)), self.codes[slot]
        if kind == "fxs" and registers.read(LINEFEED) & 7 != code:
            registers.write(LINEFEED, code)
        elif kind == "fxo" and registers.read(HOOK) & 1 != code:
            registers.write(HOOK, 0x01 if code else 0x08)

    def drive(self, slot: int, code: int) -> None:
        """What core would tell the scanner."""
        self.codes[slot] = code
        if slot not in self.held:
            self._write_drive(slot)

    # what a test does

    def at(self, ms: int, do: Callable[[], object]) -> None:
        """Do something so long after `run` begins."""
        self.script.append((ms, do))

    def run(self, ms: int) -> None:
        """Let the service live for a time."""
        start = self.now
        self.script = sorted(((start + after, do) for after, do in self.script), key=lambda item: item[0])
        self.script.append((start + ms, self.service.stop))
        self.service.run(self, lambda: self.now)
        assert not self.script, "the service ended too early"

    def ask(self, slot: int, what: str, **args: Any) -> list[Any]:
        """Put a request; the list gets (result, error)."""
        answers: list[Any] = []
        self.service.ask(Request(slot, what, args, lambda result, error: answers.append((result, error))))
        return answers
