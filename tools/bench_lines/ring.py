"""Is that ringing? Voltages on the copper, through the simulated line chip and its registers, the native scanner and the FXO machine.

The chip's ring detector is a comparator whose limit lies anywhere between 13.5 and 16.5 Vrms (facts 1.5); the scanner reads its two bits
every millisecond and wants half-waves that alternate at 13 to 70 Hz for 200 ms. Must be accepted: 15 to 68 Hz (country profiles) from
17 Vrms on, any waveform. Must be rejected: what stays below 13 Vrms, neon pulses (one polarity), mains hum, reversals, breaks of the
battery, dial pulses of a parallel telephone, bursts too short to be a ring, frequencies far outside. Between the limits either is right.
Cadences of all countries are rung four times and counted by the machine; the two bursts of a double ring are told as one.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from firmware.config.schema.ports import FxoLine
from firmware.line import signals as s
from firmware.line.fxo import Fxo
from firmware.line.profiles import PROFILES

from .shared import Goal, Section, Table

chip_stage: Any = import_module("tests.unit.chip_stage")

Verdict = Literal["accept", "reject", "either"]
#: (volts DC, volts AC) of the line at a ms after the beginning.
Copper = Callable[[float], tuple[float, float]]

FREQUENCIES: Final = (10, 12, 13, 14, 15, 16, 17, 20, 25, 30, 33, 40, 50, 60, 67, 68, 69, 70, 80, 100)
VOLTS: Final = (5, 10, 13, 15, 17, 20, 30, 40, 60, 75, 95)
REST_MS: Final = 700
BURST_MS: Final = 1000
JACKS: Final = (0, 1)


class Trial(NamedTuple):
    """Something on the copper for `ms`, and what is right."""

    name: str
    copper: Copper
    ms: int
    right: Verdict
    cell: tuple[int, int] = (0, 0)


class Outcome(NamedTuple):
    """What the scanner told of a trial: bursts as (begin, end) in ms after its beginning; -1 while it goes on."""

    trial: Trial
    bursts: list[tuple[int, int]]


def sine(hertz: float, volts: float, phase: float = 0.0, third: float = 0.0) -> Copper:
    """Ringing on 48 V; `third`: share of the third harmonic."""
    w, peak = 2.0 * np.pi * hertz / 1000.0, volts * np.sqrt(2.0) / np.sqrt(1.0 + third * third)
    return lambda ms: (48.0, float(peak * (np.sin(w * ms + phase) + third * np.sin(3.0 * w * ms + phase))))


def trapezoid(hertz: float, volts: float, crest: float = 1.25) -> Copper:
    """As many ring generators give it."""
    period = 1000.0 / hertz
    peak = volts * crest
    slope = 4.0 * peak / (0.75 * period * (1.0 - 1.0 / crest**2)) / 2.0

    def at(ms: float) -> tuple[float, float]:
        t = ms % period
        up = min(peak, slope * (t if t < period / 4 else abs(period / 2 - t)))
        return 48.0, float(up if t < period / 2 else -min(peak, slope * min(t - period / 2, period - t)))

    return at


def grid(rng: np.random.Generator, step: int) -> list[Trial]:
    """Every frequency at every voltage."""
    found = []
    for hertz in FREQUENCIES[::step]:
        for volts in VOLTS:
            inside, loud = 15 <= hertz <= 68, volts >= 17
            far = hertz <= 12 or hertz > 83              # where the chip's own validator ends at its reset values
            right: Verdict = "accept" if inside and loud else "reject" if volts <= 13 or far else "either"
            wave = sine(hertz, volts, float(rng.uniform(0.0, 6.28)))
            found.append(Trial(f"{hertz} Hz {volts} V", wave, BURST_MS, right, (hertz, volts)))
    return found


def quiet(ms: float) -> tuple[float, float]:
    """An idle line."""
    return 48.0, 0.0


def pulses(period: float, width: float, volts: float) -> Copper:
    """Neon lamp: pulses of one polarity on the battery, rising and falling as a half sine."""
    return lambda ms: (48.0, float(volts * np.sin(np.pi * (ms % period) / width)) if ms % period < width else 0.0)


def hum(hertz: float, volts: float) -> Copper:
    """Mains, with the harmonics that rectifiers and neon tubes give it."""
    w = 2.0 * np.pi * hertz / 1000.0
    peak = volts * np.sqrt(2.0) / np.sqrt(1.0 + 0.25 + 0.04)
    return lambda ms: (48.0, float(peak * (np.sin(w * ms) + 0.5 * np.sin(3.0 * w * ms + 1.0) + 0.2 * np.sin(5.0 * w * ms))))


def steps(rng: np.random.Generator, low: float, high: float, on: float, off: float, count: int) -> Copper:
    """The battery goes to `low` for `off` ms and back, so many times."""
    shift = float(rng.uniform(0.0, 20.0))

    def at(ms: float) -> tuple[float, float]:
        t = ms - shift
        return (low if 0 <= t < count * (on + off) and t % (on + off) < off else high), 0.0

    return at


def spikes(rng: np.random.Generator, count: int) -> Copper:
    """Lightning somewhere: short spikes of either sign."""
    when, size = rng.uniform(50.0, 950.0, count), rng.uniform(-180.0, 180.0, count)
    return lambda ms: (48.0, float(sum(v * np.exp(-(ms - t) / 3.0) for t, v in zip(when, size, strict=True) if 0 <= ms - t < 25)))


def strangers(rng: np.random.Generator) -> list[Trial]:
    """What is no ringing, and ringing that looks strange."""
    found = [Trial("neon lamp, pulses of 90 V", pulses(float(p), float(w), float(v)), 2000, "reject")
             for p, w, v in ((250, 40, 90), (500, 60, 110), (1000, 100, 90), (100, 30, 80), (60, 25, 90), (250, 40, -95))]
    found += [Trial("mains hum up to 10 Vrms", hum(f, v), 1500, "reject") for f in (50.0, 60.0, 16.7) for v in (2.0, 6.0, 10.0)]
    found += [Trial("reversal", steps(rng, -48.0, 48.0, 5000.0, 5000.0, 1), 1500, "reject") for _ in range(3)]
    found += [Trial("reversal and back", steps(rng, -48.0, 48.0, 5000.0, ms, 1), 1500, "reject") for ms in (50.0, 100.0, 300.0)]
    found += [Trial("three reversals in a row", steps(rng, -48.0, 48.0, ms, ms, 2), 1500, "reject") for ms in (60.0, 100.0, 250.0)]
    found += [Trial("break of the battery", steps(rng, 0.0, 48.0, 5000.0, ms, 1), 1500, "reject") for ms in (20.0, 100.0, 500.0)]
    found += [Trial("dial pulses of a parallel telephone", steps(rng, 8.0, 48.0, brk, make, 10), 2000, "reject")
              for brk, make in ((60.0, 40.0), (67.0, 33.0), (50.0, 50.0), (75.0, 50.0))]
    found += [Trial("a parallel telephone is lifted and put down", steps(rng, 8.0, 48.0, 5000.0, 700.0, 1), 1500, "reject")
              for _ in range(2)]
    found += [Trial("spikes", spikes(rng, 6), 1000, "reject") for _ in range(6)]
    found += [Trial("ringing of 120 ms", brief(sine(25.0, 70.0), 120.0), 800, "reject") for _ in range(2)]
    found += [Trial("ringing of 300 ms", brief(sine(25.0, 70.0, float(p)), 300.0), 900, "accept") for p in range(3)]
    found += [Trial("trapezoidal ringing", trapezoid(f, v), BURST_MS, "accept")
              for f in (17.0, 20.0, 25.0, 50.0) for v in (25.0, 60.0, 90.0)]
    found += [Trial("ringing with a fifth of third harmonic", sine(f, v, 0.0, 0.2), BURST_MS, "accept") for f in (16.0, 25.0, 50.0)
              for v in (25.0, 80.0)]
    found += [Trial("ringing without battery below it", (lambda wave: lambda ms: (0.0, wave(ms)[1]))(sine(25.0, v)), BURST_MS, "accept")
              for v in (30.0, 80.0)]
    return found


def brief(wave: Copper, ms_long: float) -> Copper:
    """Only its beginning."""
    return lambda ms: wave(ms) if ms < ms_long else quiet(ms)


def cadence(country: str, volts: float, hertz: float, rings: int = 4) -> Trial:
    """A country's ringing, so many times."""
    phases = PROFILES[country].ring_cadence_ms
    wave, period = sine(hertz, volts), sum(phases)
    edges = np.cumsum((0, *phases))

    def at(ms: float) -> tuple[float, float]:
        phase = int(np.searchsorted(edges, ms % period, "right")) - 1
        return wave(ms) if phase % 2 == 0 else quiet(ms)

    return Trial(f"{country} {hertz:g} Hz {volts:g} V", at, period * rings, "accept")


def run(trials: list[Trial], rng: np.random.Generator) -> list[Outcome]:
    """All trials, shared out over the jacks of one board, each under another limit of the comparator."""
    stage = chip_stage.ChipStage()
    try:
        stage.rest(1000)
        queues = {jack: trials[number::len(JACKS)] for number, jack in enumerate(JACKS) if trials[number::len(JACKS)]}
        plans: dict[int, list[tuple[int, Trial]]] = {}
        for jack, queue in queues.items():
            at = stage.ms + 500
            plans[jack] = []
            for trial in queue:
                plans[jack].append((at, trial))
                at += -(-(trial.ms + REST_MS) // 10) * 10
            stage.chips.copper["fxo", jack] = player(plans[jack])
        last = max(plan[-1][0] + plan[-1][1].ms + REST_MS for plan in plans.values())
        while stage.ms < last:
            for jack in JACKS:
                stage.sim.fxo[jack].set(threshold=float(rng.uniform(0.0, 1.0)))
            stage.tick(10)
        told = {jack: stage.seen("ring_burst", jack) for jack in JACKS}
    finally:
        stage.close()
    found = []
    for jack, plan in plans.items():
        for start, trial in plan:
            mine = [(at - start, on) for at, on in told[jack] if start - 20 <= at < start + trial.ms + REST_MS - 20]
            bursts = [(at, next((end for end, on in mine if end > at and not on), -1)) for at, on in mine if on]
            found.append(Outcome(trial, bursts))
    return found


def player(plan: list[tuple[int, Trial]]) -> Callable[[int], tuple[int, int, int, int]]:
    """What the copper of one jack does over the whole run."""
    index = 0

    def at(ms: int) -> tuple[int, int, int, int]:
        nonlocal index
        while index + 1 < len(plan) and ms >= plan[index + 1][0]:
            index += 1
        start, trial = plan[index]
        dc, ac = trial.copper(ms - start) if 0 <= ms - start < trial.ms else quiet(0.0)
        return round(10.0 * dc), 0, round(10.0 * ac), 0

    return at


def rings_of(country: str, outcome: Outcome) -> int:
    """How many rings the machine counts."""
    machine, base = Fxo(FxoLine(answer_after_rings=10, caller_id="none"), PROFILES[country]), 100_000
    machine.start(base - 2000)
    machine.receive(s.Battery(base - 1900, True, 48.0))
    counted = 0
    for begin, end in outcome.bursts:
        machine.receive(s.RingBurst(base + begin, True))
        if end >= 0:
            machine.receive(s.RingBurst(base + end, False))
        counted = max(counted, machine.state.rings)
    return counted


def measure(quick: bool, seed: int) -> Section:
    """The whole grid; `quick` every fourth frequency and one voltage of the cadences."""
    rng = np.random.default_rng([seed, 21])
    section = Section("ring", "Is that ringing?")
    cells = grid(rng, 4 if quick else 1)
    others = strangers(rng)
    levels = (60.0,) if quick else (25.0, 60.0, 90.0)
    rung = [cadence(country, volts, float(profile.ring_hz)) for country, profile in PROFILES.items() for volts in levels]
    outcomes = run([*cells, *others, *rung], rng)
    by_name: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_name.setdefault(outcome.trial.name, []).append(outcome)
    heard = {outcome.trial.cell: outcome for outcome in outcomes if outcome.trial.cell != (0, 0)}

    def word(hertz: int, volts: int) -> str:
        outcome = heard[hertz, volts]
        right, accepted = outcome.trial.right, bool(outcome.bursts)
        wrong = (right == "accept" and not accepted) or (right == "reject" and accepted)
        return ("ring" if accepted else ".") + ("!" if wrong else "?" if right == "either" else "")

    rows = [(f"{hertz} Hz", *(word(hertz, volts) for volts in VOLTS)) for hertz in FREQUENCIES[::4 if quick else 1]]
    section.tables.append(Table("Accepted as ringing, by frequency and voltage", ("frequency", *(f"{v} Vrms" for v in VOLTS)), rows,
                                "Bursts of 1 s on 48 V; `ring`: accepted, `.`: not; `?`: either is right, `!`: wrong. "
                                "The comparator's limit is drawn anew every 100 ms between 13.5 and 16.5 Vrms"))
    strange = [(name, float(len(got)), float(sum(bool(one.bursts) for one in got)), got[0].trial.right)
               for name, got in by_name.items() if got[0].trial in others]
    section.tables.append(Table("Other things on the line", ("what", "tries", "accepted as ringing", "right"), strange))
    counted: list[tuple[str | float, ...]] = []
    wrong_rings, worst = 0, 0.0
    for trial in rung:
        outcome = by_name[trial.name][0]
        profile = PROFILES[trial.name.split()[0]]
        rings = rings_of(profile.country, outcome)
        wrong_rings += rings != 4
        length = max((abs(end - begin - profile.ring_burst_ms()) for begin, end in outcome.bursts), default=9999)
        late = max((begin % sum(profile.ring_cadence_ms) for begin, _ in outcome.bursts), default=9999)
        worst = max(worst, float(length))
        counted.append((trial.name, 4.0, float(rings), float(len(outcome.bursts)), float(length), float(late)))
    section.tables.append(Table(
        "Cadences of the countries", ("ringing", "rings", "counted", "bursts told", "length of a burst, worst error ms",
                                      "its beginning, worst error ms"), counted,
        "Four rings; a double ring is one. The beginning is dated back to the first half-wave"))
    lost = sum(not one.bursts for one in outcomes if one.trial.right == "accept")
    taken = sum(bool(one.bursts) for one in outcomes if one.trial.right == "reject")
    section.goals += [
        Goal(f"ringing not accepted, of {sum(one.trial.right == 'accept' for one in outcomes)}", float(lost), 0.0, "", False),
        Goal(f"other things accepted, of {sum(one.trial.right == 'reject' for one in outcomes)}", float(taken), 0.0, "", False),
        Goal("cadences whose rings were counted wrongly", float(wrong_rings), 0.0, f"of {len(rung)}", False),
        Goal("length of a burst, worst error", worst, 80.0, "ms", False),
    ]
    return section
