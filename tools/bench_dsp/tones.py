"""Call-progress tones, disconnect learning, fax and modem tones: how surely they are heard, and by what else.

Exchanges are imitated as they are met in the field: frequencies and lengths off by a fixed share, each phase jittered, line noise, A-law,
a talker over the tone. spandsp's call progress detector gets the same tones with the tolerances of our profiles (+-15 %).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.dsp import AnswerToneDetector, ProgressDetector, ToneLearner
from firmware.dsp.g711 import decode, encode
from firmware.line.profiles import PROFILES
from firmware.line.tones import ToneSpec

from . import peers
from .report import Goal, Section, Table

# The signals of the tests; mypy does not check those.
corpus: Any = import_module("tests.dsp.corpus")
signals: Any = import_module("tests.dsp.signals")
KINDS, minute = corpus.KINDS, corpus.minute
noise, pcm, rms, samples, silence, speech = (getattr(signals, n) for n in ("noise", "pcm", "rms", "samples", "silence", "speech"))
Sound = NDArray[np.float64]

RELEASE = [(country, name) for country, p in PROFILES.items() for name in ("busy", "congestion", "unobtainable")
           if name in p.tones and p.tones[name].cadence_ms]
PLAIN = [one for one in RELEASE if not PROFILES[one[0]].tones[one[1]].phase_levels_db]


@dataclass(frozen=True)
class Line:
    """What an exchange and its line do to a tone."""

    name: str
    level: float = -15.0
    snr: float = 40.0
    pitch: float = 1.0
    stretch: float = 1.0
    jitter: float = 0.0
    law: bool = True
    talker_db: float | None = None  # below the tone


LINES = (
    Line("as specified"), Line("-35 dBm0", level=-35.0, snr=25.0), Line("noise at 20 dB", snr=20.0), Line("noise at 12 dB", snr=12.0),
    Line("+1.5 % frequency", pitch=1.015), Line("-1.5 % frequency", pitch=0.985), Line("+10 % length", stretch=1.1),
    Line("-10 % length", stretch=0.9), Line("+-4 % jitter", jitter=0.04),
    Line("all: -30 dBm0, 20 dB, +1.5 %, +10 %, +-2 % jitter", -30.0, 20.0, 1.015, 1.1, 0.02),
    Line("talker 20 dB below", talker_db=20.0), Line("talker 15 dB below", talker_db=15.0), Line("talker 10 dB below", talker_db=10.0),
)


def sounded(rng: np.random.Generator, spec: ToneSpec, seconds: float, line: Line) -> Sound:
    """The tone on this line, without what else is on it."""
    masks = spec.phase_freqs_hz or tuple(() if i & 1 else spec.freqs_hz for i in range(len(spec.cadence_ms) or 1))
    parts, have = [], 0
    while have < seconds * 8000:
        for i, ms in enumerate(spec.cadence_ms or (1000,)):
            n = int(8 * ms * line.stretch * (1.0 + rng.uniform(-line.jitter, line.jitter)))
            t = (np.arange(n) + have) / 8000.0
            loud = np.sqrt(2.0) * rms(line.level + (spec.phase_levels_db[i] if spec.phase_levels_db else 0.0))
            parts.append(loud * sum((np.sin(2.0 * np.pi * line.pitch * f * t) for f in masks[i]), np.zeros(n)))
            have += n
    return np.concatenate(parts)


def hang_up(rng: np.random.Generator, spec: ToneSpec, line: Line, talk: float = 3.0) -> tuple[bytes, float]:
    """Speech, a short silence, the tone until the end; and when it begins, in ms."""
    before = np.concatenate([speech(rng, talk), silence(rng.uniform(60.0, 700.0))])
    seconds = max(6.0, 4.3 * spec.period_ms * line.stretch / 1000.0)
    x = np.concatenate([before, sounded(rng, spec, seconds, line)])
    x += noise(rng, len(x), line.level - line.snr)
    if line.talker_db is not None:
        over = speech(rng, (len(x) - len(before)) / 8000.0 + 1.0, level_dbm0=line.level - line.talker_db)
        x[len(before):] += over[:len(x) - len(before)]
    data = pcm(x)
    return (decode("alaw", encode("alaw", data)) if line.law else data), len(before) / 8.0


def wanted(country: str, cycles: int = 3) -> list[ToneSpec]:
    """What a line of this country listens for in a conversation."""
    tones = PROFILES[country].tones
    return [ToneSpec(n, t.freqs_hz, t.level_dbm0, t.cadence_ms, 2 if t.phase_levels_db else cycles, t.phase_freqs_hz, t.phase_levels_db)
            for n in ("busy", "congestion", "unobtainable") if (t := tones.get(n)) is not None and t.cadence_ms]


def first_heard(feed: Callable[[bytes], Sequence[object]], data: bytes) -> tuple[object, float] | None:
    """The first thing reported and when, in ms."""
    for at in range(0, len(data), 320):
        found = feed(data[at:at + 320])
        if found:
            return found[0], (at + 320) / 16.0
    return None


def spandsp_tone(spec: ToneSpec) -> peers.SpandspTones:
    """The same tone with the same tolerance, three cycles."""
    parts = [(round(f[0]), round(f[1]) if len(f) > 1 else 0, int(0.85 * ms), int(1.15 * ms))
             for i, ms in enumerate(spec.cadence_ms) for f in [spec.freqs_hz if i % 2 == 0 else (0.0,)]]
    return peers.SpandspTones(parts * 3)


def detection(section: Section, draws: int, seed: int) -> None:
    rows: list[tuple[str | float, ...]] = []
    worst = {"heard": 100.0, "cycles": 0.0, "start": 0.0}
    for line in LINES:
        rng = np.random.default_rng(seed)
        heard = right = theirs = total = plain = 0
        cycles, errors = [], []
        for country, name in RELEASE:
            spec = PROFILES[country].tones[name]
            for _ in range(draws):
                data, begin = hang_up(rng, spec, line)
                detector = ProgressDetector(wanted(country))
                total += 1
                found = first_heard(detector.feed, data)
                if found is not None:
                    event, now = found
                    heard += 1
                    right += event.name == name  # type: ignore[attr-defined]
                    cycles.append((now - begin) / (spec.period_ms * line.stretch))
                    errors.append(abs(now - event.start_ms_ago - begin))  # type: ignore[attr-defined]
                if (country, name) in PLAIN and not peers.missing():
                    plain += 1
                    hit = first_heard(spandsp_tone(spec).feed, data)
                    theirs += hit is not None
        clean = line.talker_db is None and line.snr >= 20.0
        if clean:
            worst["heard"] = min(worst["heard"], 100.0 * right / total)
            worst["cycles"] = max(worst["cycles"], float(np.median(cycles)))
            worst["start"] = max(worst["start"], float(np.quantile(errors, 0.95)))
        rows.append((line.name, 100.0 * heard / total, 100.0 * right / total, float(np.median(cycles)) if cycles else "-",
                     float(np.quantile(errors, 0.95)) if errors else "-", 100.0 * theirs / plain if plain else "-"))
    section.tables.append(Table(
        "Release tones of six countries after speech", ("line", "heard %", "by its right name %", "cycles until then (median)",
                                                        "error of the release instant, ms (95 %)", "spandsp heard %"), rows,
        f"{len(RELEASE)} tones, {draws} draws each, three cycles wanted (Australian congestion two of two bursts, spandsp without it)"))
    section.goals += [
        Goal("release tones heard by the right name on every line with 20 dB SNR", worst["heard"], 99.0, "%", True),
        Goal("cycles until the decision (three wanted), median", worst["cycles"], 3.1, "cycles", False),
        Goal("error of the dated-back release instant, 95 %", worst["start"], 30.0, "ms", False),
    ]


def false_releases(section: Section, minutes: int, seed: int) -> None:
    rows, ours_all, fax_all, learnt_all = [], 0, 0, 0
    for kind in KINDS:
        banks = {c: ProgressDetector(wanted(c)) for c in PROFILES}
        two = {c: ProgressDetector(wanted(c, 2)) for c in PROFILES}
        answer, learner = AnswerToneDetector(), ToneLearner()
        theirs = {} if peers.missing() else {one: spandsp_tone(PROFILES[one[0]].tones[one[1]]) for one in PLAIN}
        ours = at_two = fax = learnt = spandsp = 0
        for number in range(minutes):
            data = minute(kind, seed + number).tobytes()
            ours += sum(e.heard for bank in banks.values() for e in bank.feed(data))
            at_two += sum(e.heard for bank in two.values() for e in bank.feed(data))
            fax += len(answer.feed(data))
            for at in range(0, len(data), 160000):
                learner.feed(data[at:at + 160000])
                learnt += learner.learn() is not None
            spandsp += sum(code >= 0 for one in theirs.values() for code in one.feed(data))
        ours_all, fax_all, learnt_all = ours_all + ours, fax_all + fax, learnt_all + learnt
        rows.append((kind, minutes, ours, at_two, spandsp if theirs else "-", fax, learnt))
    section.tables.append(Table(
        "What people and music set off", ("sound", "minutes", "releases, three cycles", "releases, two cycles", "spandsp's releases",
                                          "fax and modem tones", "tones learnt"), rows,
        f"all {len(RELEASE)} release tones of six countries at once (spandsp: {len(PLAIN)}); the learner is asked every 10 s"))
    for what, count in (("false releases", ours_all), ("fax and modem tones", fax_all), ("tones learnt", learnt_all)):
        section.goals.append(Goal(f"{what} in speech, babble and music", count, 0.0, f"in {3 * minutes} minutes", False))


def learning(section: Section, draws: int, seed: int) -> None:
    rows, worst = [], 100.0
    for line in (LINES[0], LINES[1], LINES[2], LINES[3], LINES[5], LINES[9], Line("+-10 % jitter", jitter=0.1)):
        rng = np.random.default_rng(seed + 1)
        done = total = 0
        pitch, length, level, share = [], [], [], []
        for country, name in RELEASE:
            spec = PROFILES[country].tones[name]
            one = Line(**{**line.__dict__, "level": max(line.level, -30.0)}) if spec.phase_levels_db else line
            for _ in range(draws):
                learner = ToneLearner()
                learner.feed(hang_up(rng, spec, one, 6.0)[0])
                found = learner.learn()
                total += 1
                if found is None or len(found.freqs_hz) != len(spec.freqs_hz) or len(found.cadence_ms) != len(spec.cadence_ms):
                    continue
                done += 1
                pitch.append(max(abs(a / (b * one.pitch) - 1.0) for a, b in zip(found.freqs_hz, sorted(spec.freqs_hz), strict=True)))
                gaps = [abs(a - b * one.stretch) for a, b in zip(found.cadence_ms, spec.cadence_ms, strict=True)]
                length.append(max(gaps))
                share.append(max(g / max(20.0, 0.05 * b) for g, b in zip(gaps, spec.cadence_ms, strict=True)))
                level.append(abs(found.level_dbm0 - one.level))
        rows.append((line.name, 100.0 * done / total, 1000.0 * float(np.max(pitch)), float(np.quantile(length, 0.95)), float(np.max(level)),
                     100.0 * float(np.mean(np.array(share) <= 1.0))))
        if line.jitter < 0.1 and line.snr >= 20.0:
            worst = min(worst, 100.0 * done / total)
            exact = rows[-1]
            section.goals.append(Goal(f"learnt frequencies, {line.name}", float(exact[2]) / 10.0, 1.0, "% off", False))
            section.goals.append(Goal(f"learnt lengths within 20 ms or 5 %, {line.name}", float(exact[5]), 99.0, "%", True))
    section.tables.append(Table(
        "Disconnect tones learnt from one hang-up", ("line", "learnt %", "frequency, worst ‰", "length, ms off (95 %)", "level, worst dB",
                                                     "lengths within 20 ms or 5 %, %"), rows, f"{len(RELEASE)} tones, {draws} draws each"))
    section.goals.append(Goal("disconnect tones learnt, lines with 20 dB SNR", worst, 99.0, "%", True))


def modem(rng: np.random.Generator, kind: str, level: float, snr: float) -> bytes:
    """Half a second of silence, the tone, silence, with noise."""
    if kind == "cng":
        t = np.arange(4000) / 8000.0
        tone = np.tile(np.append(np.sin(2.0 * np.pi * (1100.0 + rng.uniform(-38.0, 38.0)) * t), np.zeros(24000)), 3)
    else:
        t = np.arange(26400) / 8000.0
        turns = np.floor(t / rng.uniform(0.425, 0.475)) * np.pi * (1.0 + rng.uniform(-10.0, 10.0) / 180.0) if "reversed" in kind else 0.0
        depth = 0.2 * np.sin(2.0 * np.pi * rng.uniform(14.9, 15.1) * t) if "ansam" in kind else 0.0
        tone = np.sin(2.0 * np.pi * (2100.0 + rng.uniform(-12.0, 12.0)) * t + turns) * (1.0 + depth)
    x = np.concatenate([silence(500), np.sqrt(2.0) * rms(level) * tone, silence(500)])
    return decode("alaw", encode("alaw", pcm(x + noise(rng, len(x), level - snr))))


def answers(section: Section, draws: int, seed: int) -> None:
    rng = np.random.default_rng(seed + 2)
    rows, worst = [], 100.0
    theirs = {"cng": "FAX_CNG", "ced": "ANS", "ans-reversed": "ANS_PR", "ansam": "ANSAM", "ansam-reversed": "ANSAM_PR"}
    for level, snr in ((-10.0, 40.0), (-30.0, 25.0), (-40.0, 20.0), (-20.0, 15.0)):
        row: list[str | float] = [f"{level:.0f} dBm0, noise at {snr:.0f} dB"]
        for kind, name in theirs.items():
            hits = peer = 0
            for _ in range(draws):
                data = modem(rng, kind, level, snr)
                hits += kind in [e.kind for e in AnswerToneDetector().feed(data) if e.kind != "end"][-1:]
                number = getattr(peers, name, None)
                if number is not None and not peers.missing():
                    peer += any(code > 0 for code in peers.SpandspModemTone(number).feed(data))
            worst = min(worst, 100.0 * hits / draws) if snr >= 20.0 else worst
            row += [100.0 * hits / draws, 100.0 * peer / draws]
        rows.append(tuple(row))
    section.tables.append(Table(
        "Fax and modem tones by their right name (spandsp: each detector on its own tone)",
        ("line", *(f"{who} {kind} %" for kind in theirs for who in ("ours:", "spandsp:"))), rows,
        f"{draws} draws; frequency, turn and interval anywhere within T.30, V.25 and V.8"))
    section.goals.append(Goal("fax and modem tones by the right name at 20 dB SNR", worst, 99.0, "%", True))


def measure(quick: bool, seed: int) -> Section:
    """All of it; `quick` draws a tenth."""
    section = Section("tones", "Call progress, disconnect learning, fax and modem tones")
    detection(section, 1 if quick else 5, seed)
    false_releases(section, 2 if quick else 20, seed)
    learning(section, 1 if quick else 4, seed)
    answers(section, 3 if quick else 20, seed)
    return section
