"""A box without call control: drives as call control gives them, carried out by chips as the line scanner does."""

from __future__ import annotations

from collections.abc import Callable

from tests.sim.chip_box import FXS, ChipBox, write

ON_HOOK, OFF_HOOK = 0, 1
FEED_OPEN, FEED_ACTIVE, FEED_TX, FEED_RINGING, FEED_REVERSED = 0, 1, 2, 4, 5
FXS_FIRST = 4


class Box(ChipBox):
    """`run(ms)` delivers and ticks; `drive`, `play` and `heard` are its ports by slot."""

    def __init__(self, *, seed: int = 1, **town: object) -> None:
        super().__init__(seed=seed, **town)  # type: ignore[arg-type]
        self.facts: dict[int, list[tuple[int, int, int, int]]] = {}
        self.each_block: list[Callable[[], None]] = []

    def drive(self, slot: int, code: int) -> None:
        """Hook of a line, feed of a phone."""
        if slot >= FXS_FIRST:
            self.do(write(slot - FXS_FIRST, 64, code, 0, FXS))
        elif code == OFF_HOOK:
            self.off_hook(slot)
        else:
            self.on_hook(slot)

    def keep_facts(self, slot: int) -> list[tuple[int, int, int, int]]:
        """What is on the copper of a slot from now on, a fact each ms."""
        self.facts[slot] = []
        return self.facts[slot]

    def ticked(self) -> None:
        for slot, kept in self.facts.items():
            kept += self.segment.facts(slot)
        for work in self.each_block:
            work()
