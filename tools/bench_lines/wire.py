"""Hang-ups told by the wire: breaks of the loop and reversals on the copper, through simulated line chip, native scanner and machine.

The chip is off-hook and in conversation; loop and battery are moved in steps of 10 ms. What the scanner makes of its registers goes to
the machine of each country in its delivered setting (release after 200 ms without current, or at a reversal). Facts D3: a hang-up breaks
the loop for 250 to 900 ms or longer; dips of 20 to 50 ms after a hook change or in dialling mean nothing, and so does what happens within
650 ms of our own hook change.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, NamedTuple

import numpy as np

from firmware.config.schema.ports import FxoLine
from firmware.line import signals as s
from firmware.line.fxo import Fxo
from firmware.line.profiles import PROFILES

from .shared import Goal, Table

chip_stage: Any = import_module("tests.unit.chip_stage")

REST_MS: Final = 3000
AFTER_MS: Final = 5000


class Event(NamedTuple):
    """`moves`: (ms from the beginning, parameter of the line, value). `talk_ms`: how long the conversation is already."""

    name: str
    moves: tuple[tuple[int, str, int], ...]
    release: bool
    talk_ms: int = 5000
    settings: tuple[tuple[str, bool], ...] = ()


def _break(ms: int, at: int = 0) -> tuple[tuple[int, str, int], ...]:
    return (at, "opened", 1), (at + ms, "opened", 0)


EVENTS: Final = (
    *(Event(f"break of {ms} ms", _break(ms), False) for ms in (20, 50, 100, 150, 180)),
    *(Event(f"break of {ms} ms", _break(ms), True) for ms in (250, 300, 500, 900, 3000)),
    Event("two breaks of 50 ms", (*_break(50), *_break(50, 400)), False),
    Event("two breaks of 120 ms, 1 s apart", (*_break(120), *_break(120, 1000)), False),
    Event("break of 300 ms, 100 ms after our answer", _break(300), False, 100),
    Event("reversal", ((0, "reversed", 1),), True),
    Event("reversal on a line where it means nothing", ((0, "reversed", 1),), False, 5000, (("polarity_release", False),)),
    Event("reversal with our answer", ((0, "reversed", 1),), False, 100),
    Event("reversed for 30 ms", ((0, "reversed", 1), (30, "reversed", 0)), False),
    Event("a parallel telephone is lifted and put down", ((0, "parallel", 1), (1500, "parallel", 0)), False),
)


def heard(rounds: int) -> list[list[tuple[Event, list[s.Fact]]]]:
    """What the scanner tells of every event, each time; instants from the event's beginning."""
    stage = chip_stage.ChipStage()
    out: list[list[tuple[Event, list[s.Fact]]]] = []
    try:
        stage.rest(500)
        stage.drive(0, s.LINE_OFF_HOOK)
        stage.rest(1500)
        for _ in range(rounds):
            found: list[tuple[Event, list[s.Fact]]] = []
            for event in EVENTS:
                stage.events.clear()
                begun = stage.ms
                for at, name, value in event.moves:
                    stage.rest(at - (stage.ms - begun))
                    stage.sim.fxo[0].set(**{name: value})
                stage.rest(REST_MS)
                facts: list[s.Fact] = [s.LoopCurrent(at - begun, bool(p[0]), p[1]) for at, p in stage.named("loop_current", 0)]
                facts += [s.Polarity(at - begun, bool(p[0])) for at, p in stage.named("polarity", 0)]
                found.append((event, sorted(facts, key=lambda fact: fact.at)))
                stage.sim.fxo[0].set(opened=0, reversed=0, parallel=0)
                stage.rest(1500)
            out.append(found)
    finally:
        stage.close()
    return out


def released(country: str, event: Event, facts: list[s.Fact]) -> int:
    """ms after the event's beginning at which the machine went on-hook; -1 when it did not."""
    base, profile = 100_000, PROFILES[country]
    machine = Fxo(FxoLine(**dict(event.settings)), profile)  # type: ignore[arg-type]
    machine.start(base - 60_000)
    machine.receive(s.Battery(base - 59_000, True, 48.0))
    machine.receive(s.Polarity(base - 59_000, False))
    answered = base - event.talk_ms
    at = answered - 200 - 2 * sum(profile.ring_cadence_ms)
    for _ in range(2):
        for index, ms in enumerate(profile.ring_cadence_ms):
            machine.receive(s.RingBurst(at, index % 2 == 0))
            at += ms
    machine.send(s.Answer(at))
    machine.receive(s.LoopCurrent(at + 30, True, 25.0))
    machine.expire(min(base, at + 250))
    if machine.state.state != "TALKING":
        raise RuntimeError(f"the machine of {country} is {machine.state.state}, not in conversation")
    machine.actions()
    for fact in facts:
        machine.receive(type(fact)(base + fact.at, *[getattr(fact, name) for name in fact.__struct_fields__[1:]]))
    machine.expire(base + AFTER_MS)
    ends = [event for event in machine.events() if isinstance(event, s.Ended)]
    if not ends:
        return -1
    return machine.state.hook_at - base


def by_wire(rounds: int) -> tuple[Table, list[Goal]]:
    """The table and its goals."""
    times: dict[str, list[int]] = {event.name: [] for event in EVENTS}
    for found in heard(rounds):
        for event, facts in found:
            times[event.name] += [released(country, event, facts) for country in PROFILES]
    rows: list[tuple[str | float, ...]] = []
    wrong = missed = 0
    for event in EVENTS:
        all_ = times[event.name]
        went = [ms for ms in all_ if ms >= 0]
        missed += (len(all_) - len(went)) if event.release else 0
        wrong += 0 if event.release else len(went)
        rows.append((event.name, "release" if event.release else "none", float(len(all_)), float(len(went)),
                     float(np.median(went)) if went else float("nan"), float(max(went)) if went else float("nan")))
    table = Table("Hang-ups by the wire", ("on the copper", "right", "tries", "released", "after ms (median)", "after ms (worst)"), rows,
                  "Six countries in their delivered settings, through chip registers and scanner; time from the beginning on the copper "
                  "to the decision, where a reversal is dated back by the scanner")
    return table, [Goal("hang-ups by the wire missed", float(missed), 0.0, "", False),
                   Goal("released for what means nothing on the wire", float(wrong), 0.0, "", False)]
