"""The voice path of a port: hum filter, gain control, talks, echo score, and what a caller hears of his own words over a bad hybrid.

Theory of operation. Speech is that of the echo section (espeak-ng, several talkers); words are the spoken digits of the product's
prompts. Every figure is of our blocks against signals whose true figures are known: an edge of a talk is where the sound was put, a
residual is what was added. The last table is the issue of a caller: a 60 ms hybrid of 8 dB under line noise, cold and with the filter
of the call before; the score is that of `firmware/dsp/echo_score.pyx`, audible from 3 dB over the background on.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firmware.dsp import EchoCanceller
from firmware.dsp.activity import ActivityMeter
from firmware.dsp.agc import GainControl
from firmware.dsp.echo_score import EchoScore, EchoWord
from firmware.dsp.highpass import HighPassFilter

from .echo_signals import noise, pcm, power, rms, samples, sine, speech
from .report import Goal, Section, Table

Sound = NDArray[np.float64]
AUDIBLE_DB = 3.0
DIGITS = Path(__file__).resolve().parents[2] / "build" / "prompts" / "en"


def level(x: Sound) -> float:
    """Level in dBm0."""
    return float(10.0 * np.log10(power(x) / rms(0.0) ** 2 + 1e-12))


def high_pass(section: Section) -> None:
    rows: list[list[str | float]] = []
    gains = {}
    for freq in (16.7, 25.0, 50.0, 60.0, 100.0, 150.0, 200.0, 300.0, 1000.0, 3400.0):
        heard = samples(HighPassFilter().process(pcm(sine(freq, 3.0, -6.0))))[8000:]
        gains[freq] = level(heard) + 6.0
        rows.append([f"{freq:g}", round(gains[freq], 2)])
    section.tables.append(Table("High-pass: gain at a frequency", ["Hz", "dB"], rows, "Settled sine of -6 dBm0."))
    section.goals.append(Goal("high-pass takes hum (50 and 60 Hz)", round(-max(gains[50.0], gains[60.0]), 1), 20.0, "dB", True))
    deviation = max(abs(gains[freq]) for freq in (200.0, 300.0, 1000.0, 3400.0))
    section.goals.append(Goal("high-pass is flat from 200 Hz", round(deviation, 2), 0.5, "dB", False))


def gain_control(section: Section, rng: np.random.Generator, seconds: float) -> None:
    rows: list[list[str | float]] = []
    for dbm0 in (-38.0, -32.0, -26.0, -22.0, -16.0, -10.0):
        one = GainControl()
        x = speech(1, seconds, dbm0) + noise(rng, int(8000 * seconds), -66.0)
        gains, peak = [], 0.0
        for at in range(0, len(x), 80):
            peak = max(peak, float(np.abs(samples(one.process(pcm(x[at : at + 80])))).max()))
            gains.append(one.gain_db)
        final = gains[-1]
        reached = next((k / 100 for k, gain in enumerate(gains) if gain > final - 1.0), 0.0)
        rows.append([dbm0, round(final, 1), round(dbm0 + final, 1), round(reached, 1), round(float(20 * np.log10(peak / 22750.0)), 1)])
    note = f"{seconds:.0f} s of one talker over noise of -66 dBm0; target -20 dBm0, 10 dB at most; full scale is a peak of +3.2 dBm0."
    columns = ["speech dBm0", "gain dB", "out dBm0", "s to within 1 dB", "peak dBm0"]
    section.tables.append(Table("Gain control for quiet people", columns, rows, note))
    worst = 0.0
    for dbm0 in (-70.0, -60.0, -50.0, -45.0, -35.0):
        one = GainControl()
        one.process(pcm(noise(rng, int(8000 * seconds), dbm0)))
        worst = max(worst, one.gain_db)
    section.goals.append(Goal("gain control raises noise alone", round(worst, 2), 0.0, "dB", False))


def talks(section: Section, rng: np.random.Generator, count: int) -> None:
    rows: list[list[str | float]] = []
    for snr in (40.0, 30.0, 20.0, 15.0):
        edges: list[float] = []
        missed = extra = 0
        for k in range(count):
            word = speech(1 + k % 4, 3.0, -18.0, start=0.7 * k)
            envelope = np.flatnonzero(np.mean(word.reshape(-1, 80) ** 2, axis=1) > rms(-38.0) ** 2)
            first, last = int(envelope[0]) * 10, (int(envelope[-1]) + 1) * 10
            x = np.concatenate([np.zeros(16000), word, np.zeros(16000)])
            x += noise(rng, len(x), -18.0 - snr)
            found = [each for each in ActivityMeter().feed(pcm(x), bytes(2 * len(x))) if each.start_ms > 1000]
            if not found:
                missed += 1
                continue
            edges += [abs(found[0].start_ms - 2000 - first), abs(found[-1].end_ms - 2000 - last)]
            extra += found[0].start_ms < 1900 or found[-1].end_ms > 5300
        rows.append([snr, round(float(np.median(edges)), 0), round(float(np.quantile(edges, 0.95)), 0), missed, extra])
    note = f"{count} stretches of 3 s of speech at -18 dBm0; the true edge is the first or last 10 ms above -38 dBm0."
    section.tables.append(Table("Activity: edges of talks", ["S/N dB", "median ms", "95 % ms", "missed", "false"], rows, note))


def digits() -> list[Sound]:
    """The spoken digits of the prompts; talkers of the echo section where they are not built."""
    found = []
    for n in range(1, 10):
        path = DIGITS / f"n.{n}.wav"
        if not path.exists():
            return [speech(1 + k % 4, 0.45, -16.0, start=1.1 * k) for k in range(9)]
        with wave.open(str(path), "rb") as file:
            x = samples(file.readframes(file.getnframes()))
        loud = np.flatnonzero(np.abs(x) > 200)
        found.append(x[loud[0] : loud[-1] + 1])
    return found


def said(pause_ms: int = 600) -> Sound:
    parts: list[Sound] = [np.zeros(8000)]
    for word in digits():
        parts += [word, np.zeros(8 * pause_ms)]
    return np.concatenate([*parts, np.zeros(8000)])


def scored(reference: Sound, returned: Sound) -> tuple[EchoScore, list[EchoWord]]:
    one = EchoScore()
    return one, one.feed(pcm(reference), pcm(returned)) + one.finish()


def scores(section: Section, rng: np.random.Generator) -> None:
    """Known residuals against the score, with what lines do."""
    x = said()
    through = np.concatenate([np.zeros(480), x])[: len(x)]
    active = level(x[np.abs(x) > 0])
    rows: list[list[str | float]] = []

    def row(name: str, returned: Sound, truth: str) -> None:
        one, words = scored(x, returned)
        figures = one.figures()
        rows.append([name, truth, round(figures["mean_db"], 1), figures["words"], figures["audible"], figures["masked"], len(words)])

    for dbm0 in (-65.0, -55.0, -45.0):
        row(f"no echo, line noise {dbm0:g} dBm0", noise(rng, len(x), dbm0), "0")
        loss = -40.0
        truth = 10 * np.log10(1 + 10 ** ((active + loss - dbm0) / 10))
        row(f"echo -40 dB, line noise {dbm0:g} dBm0", through * 10 ** (loss / 20) + noise(rng, len(x), dbm0), f"{truth:.1f}")
    bent = np.square(through / 8000.0) * 8000.0 * 10 ** (-30 / 20)
    row("distortion: the square of the words", bent - bent.mean() + noise(rng, len(x), -62.0), "heard")
    parallel = through * 10 ** (-20 / 20)
    parallel[: len(x) // 2] = 0.0
    row("parallel telephone from the middle on", parallel + noise(rng, len(x), -62.0), "second half")
    flash = noise(rng, len(x), -62.0)
    for at in range(8000, len(x) - 8000, 20000):
        flash[at : at + 40] += 12000.0 * np.exp(-np.arange(40) / 8.0)
        flash[at + 2400 : at + 2440] -= 12000.0 * np.exp(-np.arange(40) / 8.0)
    row("hook flashes, no echo", flash, "0")
    moved = through.copy()
    moved[len(x) // 2 :] = np.concatenate([np.zeros(480 + 560), x])[: len(x)][len(x) // 2 :]
    row("xrun in mid-call moves the echo by 70 ms", moved * 10 ** (-25 / 20) + noise(rng, len(x), -62.0), "heard")
    row("the other side speaks, no echo", speech(3, len(x) / 8000, -18.0) + noise(rng, len(x), -62.0), "masked")
    columns = ["returned", "true dB", "score dB", "judged", "audible", "masked", "words"]
    note = "Mean over the words of the loudest 200 ms above the background."
    section.tables.append(Table("Echo score of known residuals", columns, rows, note))


def first_words(section: Section, rng: np.random.Generator) -> None:
    x = said()
    path = np.zeros(8 * 60 + 8)
    path[8 * 60 :] = rng.uniform(0.4, 1.0, 8) * (-0.62) ** np.arange(8)
    path *= 10 ** (-8 / 20) / np.sqrt(np.sum(path**2))
    learned = b""
    rows: list[list[str | float]] = []
    for name in ("cold", "warm"):
        one = EchoCanceller(8000, 64, True)
        if learned:
            one.import_filter(learned)
        far = HighPassFilter().process(pcm(x))
        near = HighPassFilter().process(pcm(np.convolve(x, path)[: len(x)] + noise(rng, len(x), -68.0)))
        out = samples(one.process(far[: len(far) // 160 * 160], near[: len(near) // 160 * 160]))
        _, words = scored(x[: len(out)], out)
        learned = one.export_filter()
        residual = [0.0 if word.masked else word.residual_db for word in words]
        rows.append([name, *[f"{value:.1f}" for value in residual[:9]]])
        rest = residual[1:] if name == "cold" else residual
        first = "second" if name == "cold" else "first"
        section.goals.append(Goal(f"{name} start: no echo heard from the {first} word on", round(max(rest), 1), AUDIBLE_DB, "dB", False))
    note = "Hybrid of 8 dB behind 60 ms, line noise -68 dBm0, tail 64 ms; residual over the background of each spoken digit, dB."
    section.tables.append(Table("What a caller hears of his own words", ["start", *[str(n) for n in range(1, 10)]], rows, note))


def measure(quick: bool, seed: int) -> Section:
    """All figures of the voice path."""
    rng = np.random.default_rng(seed)
    section = Section("voice", "Voice path: hum, levels, talks, echo heard")
    high_pass(section)
    gain_control(section, rng, 15.0 if quick else 40.0)
    talks(section, rng, 6 if quick else 40)
    scores(section, rng)
    first_words(section, rng)
    return section
