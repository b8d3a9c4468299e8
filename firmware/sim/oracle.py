"""What the simulated hardware itself saw: seizures, loops and rings by jack with the world's time, and every illegal access.

Theory of operation. The chips' models note what happens on the copper and what a data sheet forbids, whatever registers and drivers
say (chip_base). `Oracle` reads those notes every second of the world's time and makes spans of them: an FXO jack is seized while its loop
is closed, an FXS jack is in use while its loop carries current, a bell rings while the ringing feed is on. Tests and soaks judge by these.
Invariant: spans are in the order of their beginnings, an open one ends at -1; counts of illegal accesses never wrap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from firmware.sim.world import World

KEPT_SPANS = 5000
LOOK_BLOCKS = 100
PAGE = 2000


@dataclass
class Span:
    """Something that lasted on a jack, in ms of the world."""

    jack: str  # "fxo 1"
    what: str  # "loop", "ring", "feed"
    begun: int
    ended: int = -1
    measure: int = 0  # 0.1 mA or 0.1 V

    def facts(self) -> dict[str, Any]:
        """Plain data."""
        return {"jack": self.jack, "what": self.what, "begun": self.begun, "ended": self.ended, "measure": self.measure}


class Oracle:
    """Spans and counts of one board."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.spans: list[Span] = []
        self.seizures: dict[str, int] = {}
        self._open: dict[tuple[str, str], Span] = {}
        self._next = 0
        world.each_block.append(self._each)

    def _each(self, block: int) -> None:
        if block % LOOK_BLOCKS == 0:
            self.look()

    def look(self) -> None:
        """Take over what was noted since."""
        self._next, notes = self.world.segment.notes_of("history", self._next)
        for at, place, number, kind, state, measure in notes:
            if kind == "current" and state and (f"{place} {number}", "loop") in self._open:
                self._open[f"{place} {number}", "loop"].measure = measure
            if kind in ("loop", "ring"):
                self._span(f"{place} {number}", kind, bool(state), at, measure)
        if len(self.spans) > KEPT_SPANS:
            del self.spans[: KEPT_SPANS // 4]

    def _span(self, jack: str, what: str, on: bool, at: int, measure: int) -> None:
        span = self._open.pop((jack, what), None)
        if span is not None:
            span.ended = at
        if on:
            span = Span(jack, what, at, measure=measure)
            self._open[jack, what] = span
            self.spans.append(span)
            if what == "loop" and jack.startswith("fxo"):
                self.seizures[jack] = self.seizures.get(jack, 0) + 1

    def _page(self, log: Literal["history", "illegal"], since: int) -> tuple[int, list[Any]]:
        """At most `PAGE` notes, and the number of the one after them."""
        end, notes = self.world.segment.notes_of(log, since)
        return end - max(0, len(notes) - PAGE), notes[:PAGE]

    def facts(self, since: int, history: int, illegal: int) -> dict[str, Any]:
        """Everything a judge may ask: spans not over at `since`, `PAGE` notes at most from numbers `history` and `illegal` on."""
        segment = self.world.segment
        self.look()
        next_history, history_notes = self._page("history", history)
        next_illegal, illegal_notes = self._page("illegal", illegal)
        with segment.held:
            counts = segment.chips.illegal_counts()
        return {
            "now_ms": self.world.now,
            "spans": [span.facts() for span in self.spans if span.ended < 0 or span.ended >= since],
            "open": [span.facts() for span in self._open.values()],
            "seizures": self.seizures,
            "illegal_counts": counts,
            "illegal": illegal_notes,
            "history": history_notes,
            "next_history": next_history,
            "next_illegal": next_illegal,
            "lifeline": segment.lifeline,
            "clocks": segment.clocks_running,
            "counters": dict(segment.counters()),
        }
