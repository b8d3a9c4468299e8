"""Section "echo": our canceller, SpeexDSP and spandsp on the same lines; the goals are those of our linear part at a tail of 32 ms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from firmware.dsp import EchoCanceller

from . import echo_cases as cases
from . import peers
from .echo_cases import Canceller, Make
from .report import Curve, Goal, Plot, Section, Table

MODELS = tuple(range(1, 9))
TALKERS = tuple(range(6))


@dataclass(frozen=True)
class Spread:
    """A figure over several lines."""

    mean: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(float(np.mean(values)), float(np.min(values)), float(np.max(values)))


@dataclass(frozen=True)
class Figures:
    """What one canceller reaches."""

    name: str
    to20: Spread
    to30: Spread
    steady: Spread
    long20: Spread
    long: Spread
    speech30: Spread
    speech: Spread
    during: Spread
    after: Spread
    both: Spread
    change: Spread
    tones: Spread
    idle: Spread
    law: Spread
    heard: Spread
    cut: Spread


def ours(tail_ms: int, nlp: bool = False) -> Canceller:
    return EchoCanceller(8000, tail_ms, nlp)


def peer(kind: Callable[..., Canceller], tail_ms: int, nlp: bool = False) -> Canceller:
    return kind(tail_ms, nlp)


def figures(name: str, make: Callable[..., Canceller], seed: int, quick: bool) -> Figures:
    """Every case; `quick` takes a third of the lines."""
    linear: Make = partial(make, nlp=False)
    whole: Make = partial(make, nlp=True)
    models = MODELS[::3] if quick else MODELS
    talks = [(t, m) for t in TALKERS[:: 3 if quick else 1] for m in ((4,) if quick else (1, 4, 6))]
    composite = [cases.on_composite(linear, seed + m, m, 32) for m in models]
    long = [cases.on_composite(linear, seed + m, m, 128, delay_ms=d) for m in models for d in ((60.0,) if quick else (4.0, 60.0, 100.0))]
    speech = [cases.on_speech(linear, seed + t, t, m, 32) for t, m in talks]
    double = [cases.double_talk(linear, seed + t, t, m, 32) for t, m in talks]
    return Figures(
        name,
        to20=spread([x[0] for x in composite]),
        to30=spread([x[1] for x in composite]),
        steady=spread([x[2] for x in composite]),
        long20=spread([x[0] for x in long]),
        long=spread([x[2] for x in long]),
        speech30=spread([x[0] for x in speech]),
        speech=spread([x[1] for x in speech]),
        during=spread([x[1] for x in double]),
        after=spread([x[2] for x in double]),
        both=spread([cases.double_talk_from_start(linear, seed + t, t, m, 32) for t, m in talks]),
        change=spread([cases.path_change(linear, seed + m, m, 32)[0] for m in models]),
        tones=spread([cases.after_narrow(linear, seed, kind, 4, 32)[1] for kind in cases.NARROW[:: 4 if quick else 1]]),
        idle=spread([cases.idle_loss(linear, seed + m, m, 32, 20.0) for m in models[::2]]),
        law=spread([cases.a_law_gap(linear, seed + m, m, 32) for m in models]),
        heard=spread([cases.residual_heard(whole, seed + t, t, m, 32)[0] for t, m in talks]),
        cut=spread([cases.near_cut(whole, seed + t, t, m, 32) for t, m in talks]),
    )


def goals(f: Figures) -> list[Goal]:
    """The limits for our canceller."""
    return [
        Goal("20 dB on the composite source signal, 32 ms, mean", f.to20.mean, 0.17, "s", False),
        Goal("30 dB on the composite source signal, 32 ms, mean", f.to30.mean, 0.35, "s", False),
        Goal("steady ERLE over the G.168 hybrids, mean", f.steady.mean, 47.0, "dB", True),
        Goal("steady ERLE over the G.168 hybrids, worst", f.steady.least, 43.0, "dB", True),
        Goal("ERLE on speech, mean", f.speech.mean, 40.0, "dB", True),
        Goal("30 dB on speech, mean", f.speech30.mean, 2.2, "s", False),
        Goal("20 dB at a tail of 128 ms, mean", f.long20.mean, 0.65, "s", False),
        Goal("ERLE at a tail of 128 ms, mean", f.long.mean, 45.0, "dB", True),
        Goal("ERLE just after double talk, worst", f.after.least, 30.0, "dB", True),
        Goal("ERLE during double talk, mean", f.during.mean, 27.0, "dB", True),
        Goal("ERLE when both talk from the first sample, mean", f.both.mean, 15.0, "dB", True),
        Goal("20 dB after a path change, mean", f.change.mean, 0.5, "s", False),
        Goal("ERLE after tones, mean", f.tones.mean, 48.0, "dB", True),
        Goal("loss after silence, mean", f.idle.mean, 1.0, "dB", False),
        Goal("below the ceiling of A-law, worst", f.law.most, 1.5, "dB", False),
        Goal("far speech alone with residual control, over the background, worst", f.heard.most, 2.0, "dB", False),
        Goal("near frames cut in double talk, mean", f.cut.mean, 1.0, "%", False),
    ]


ROWS: tuple[tuple[str, Callable[[Figures], Spread], int], ...] = (
    ("20 dB, composite signal, 32 ms (s)", lambda f: f.to20, 2),
    ("30 dB, composite signal, 32 ms (s)", lambda f: f.to30, 2),
    ("steady ERLE, composite signal, 32 ms (dB)", lambda f: f.steady, 1),
    ("20 dB, composite signal, 128 ms (s)", lambda f: f.long20, 2),
    ("steady ERLE, composite signal, 128 ms (dB)", lambda f: f.long, 1),
    ("30 dB, speech (s)", lambda f: f.speech30, 2),
    ("ERLE, speech (dB)", lambda f: f.speech, 1),
    ("ERLE during double talk (dB)", lambda f: f.during, 1),
    ("ERLE in the 0.5 s after it (dB)", lambda f: f.after, 1),
    ("ERLE, both from the first sample (dB)", lambda f: f.both, 1),
    ("20 dB after a path change (s)", lambda f: f.change, 2),
    ("ERLE after tones, DTMF, FSK, music (dB)", lambda f: f.tones, 1),
    ("loss after 20 s of silence (dB)", lambda f: f.idle, 1),
    ("below the ceiling of A-law (dB)", lambda f: f.law, 1),
    ("residual control: over the background (dB)", lambda f: f.heard, 1),
    ("residual control: near frames cut (%)", lambda f: f.cut, 2),
)


def text(value: Spread, digits: int, seconds: bool) -> str:
    """Mean and range; a mean over lines of which some never get there says nothing."""
    shown = ["never" if seconds and x > 12.0 else f"{x:.{digits}f}" for x in (value.mean, value.least, value.most)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


@dataclass(frozen=True)
class Kind:
    """A kind of line; the mean is taken over these hybrids of G.168."""

    name: str
    tail_ms: int
    erl_db: float
    delay_ms: float
    models: tuple[int, ...]


def kinds(quick: bool) -> list[Kind]:
    """Lines one property apart."""
    some = MODELS[::3] if quick else MODELS
    return [
        *(Kind(f"hybrid {m} of G.168, 32 ms", 32, 10.0, 4.0, (m,)) for m in some),
        *(Kind(f"ERL {erl:.0f} dB, 32 ms", 32, erl, 4.0, some) for erl in (6.0, 12.0, 18.0, 24.0)),
        *(Kind(f"pure delay of {delay:.0f} ms, 128 ms", 128, 10.0, delay, some) for delay in (0.0, 20.0, 60.0, 100.0)),
    ]


def on_kind(make: Callable[..., Canceller], seed: int, k: Kind) -> str:
    """Time to 20 and to 30 dB, steady ERLE; a time that one of the lines never reaches is "never"."""
    found = [cases.on_composite(partial(make, nlp=False), seed + m, m, k.tail_ms, k.erl_db, k.delay_ms) for m in k.models]
    to20, to30 = (float(np.mean([x[k] for x in found])) for k in (0, 1))
    times = " / ".join("never" if x > 12.0 else f"{x:.2f} s" for x in (to20, to30))
    return f"{times}, {float(np.mean([x[2] for x in found])):.1f} dB"


def by_line(makers: Sequence[tuple[str, Callable[..., Canceller]]], seed: int, quick: bool) -> Table:
    """How a canceller depends on the line."""
    return Table(
        "Hybrids, echo return loss and pure delay",
        ["line and tail", *(name for name, _ in makers)],
        [[kind.name, *(on_kind(make, seed, kind) for _, make in makers)] for kind in kinds(quick)],
        "Linear part on the composite source signal at -16 dBm0: time to 20 dB / to 30 dB, steady ERLE; mean over the hybrids 1 to 8 "
        "unless one is named. The line's noise of -70 dBm0 is the ground: the weaker the echo (24 dB), the less is there to be taken off.",
    )


def curve(name: str, make: Callable[..., Canceller], seed: int, talk: bool) -> Curve:
    """ERLE of 50 ms windows over time."""
    line = cases.double_talk_line(seed, 0, 4) if talk else cases.composite_line(seed, 4, 10.0, 4.0, 4.0, -70.0)
    out = cases.run(make(32, False), line)
    times = [k / 20.0 for k in range(int(len(out) / 400))]
    values = [float(cases.erle(line, out, t, t + 0.05)) for t in times]
    loud = [i for i, t in enumerate(times) if np.mean(line.echo[int(t * 8000) : int(t * 8000) + 400] ** 2) > 1000.0]
    return Curve(name, [times[i] for i in loud], [values[i] for i in loud])


def measure(quick: bool, seed: int) -> Section:
    """Runs all cases with all cancellers that are installed."""
    makers: list[tuple[str, Callable[..., Canceller]]] = [("ours", ours)]
    note = "Mean over the lines, in brackets the lowest and the highest. ERL 10 dB, far and near at -16 dBm0, line noise -70 dBm0."
    if peers.missing():
        note += f" Peers left out: {peers.missing()}."
    else:
        makers += [("SpeexDSP", partial(peer, peers.SpeexEcho)), ("spandsp", partial(peer, peers.SpandspEcho))]
    all_figures = [figures(name, make, seed, quick) for name, make in makers]
    table = Table(
        "Echo cancellers on the same lines",
        ["case", *(f.name for f in all_figures)],
        [[name, *(text(get(f), digits, name.endswith("(s)")) for f in all_figures)] for name, get, digits in ROWS],
        note,
    )
    plots = [
        Plot("echo-convergence", "Convergence on the composite source signal, 32 ms", "s", "ERLE in dB",
             [curve(name, make, seed, False) for name, make in makers]),
        Plot("echo-double-talk", "Near speech from 4 to 8 s", "s", "ERLE in dB", [curve(name, make, seed, True) for name, make in makers]),
    ]  # fmt: skip
    return Section("echo", "Line echo canceller", [table, by_line(makers, seed, quick)], goals(all_figures[0]), plots)
