"""DTMF: limits of acceptance, talk-off, muting, and how they trade against each other. Ours and spandsp's on the same signals."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from firmware.dsp.dtmf import DtmfDetector
from firmware.dsp.dtmf_mute import DtmfMuter
from tests.dsp.corpus import minute

from . import peers
from .dtmf_cases import CASES, KEYS, Case, noise, pcm, press, presses
from .report import Curve, Goal, Plot, Section, Table

PURITIES = (0.5, 0.6, 0.7, 0.8, 0.86, 0.9, 0.94, 0.97, 0.99)
RATES = (8000, 16000)


def ours(data: bytes, rate: int, purity: float = 0.86) -> str:
    return "".join(event.digit for event in DtmfDetector(rate, purity=purity).feed(data))


def spandsp(data: bytes) -> str:
    return peers.SpandspDtmf().feed(data)


def count(case: Case, rate: int, times: int, seed: int, peer: bool) -> dict[str, int]:
    """How many presses came out as they went in, as nothing, as something else or too often."""
    found = {"right": 0, "silent": 0, "other": 0, "total": 0}
    for key, data in presses(case, rate, times, seed):
        heard = spandsp(data) if peer else ours(data, rate)
        found["total"] += 1
        found["right" if heard == key else "other" if heard else "silent"] += 1
    return found


def share(found: dict[str, int], case: Case) -> float:
    return 100.0 * found["right" if case.must == "heard" else "silent"] / found["total"]


def limits(times: int, seed: int, with_peer: bool) -> tuple[Table, list[Goal]]:
    rows: list[list[str | float]] = []
    goals: list[Goal] = []
    for case in CASES:
        figures = [count(case, rate, times, seed, False) for rate in RATES]
        for rate, found in zip(RATES, figures, strict=True):
            if case.goal:
                goals.append(Goal(f"{case.name}: {'digits' if case.must == 'heard' else 'refused'}, {rate // 1000} kHz", share(found, case),
                                  case.least, "%", True))
            if case.least < 100.0 and case.goal:
                goals.append(Goal(f"{case.name}: wrong or extra, {rate // 1000} kHz", found["other"], 0, "", False))
        peer = share(count(case, 8000, times, seed, True), case) if with_peer else float("nan")
        rows.append([case.name, case.must, *(share(found, case) for found in figures), peer if peer == peer else "-"])
    note = (f"Each key {times} times, any phase and alignment to frames; % of presses that came out as they must (exactly once, or not "
            "at all). spandsp has its own defaults and no dial tone filter, as it is usually run.")
    return Table("Limits", ("condition", "must be", "ours, 8 kHz", "ours, 16 kHz", "spandsp"), rows, note), goals


def talk(job: tuple[str, int, int, bool, bool]) -> dict[str, Any]:
    """Some minutes of one kind: digits heard by each, times the sound was cut."""
    kind, first, minutes, with_peer, keep = job
    found: dict[str, Any] = {"kind": kind, "minutes": minutes, "wide_minutes": minutes // 2, "spandsp": 0, "cuts": 0}
    detectors = {purity: DtmfDetector(8000, purity=purity) for purity in PURITIES}
    usual, wide, muter = DtmfDetector(8000), DtmfDetector(16000), DtmfMuter(8000)
    peer = peers.SpandspDtmf() if with_peer else None
    found |= {"ours": 0, "wide": 0, "swept": dict.fromkeys(PURITIES, 0)}
    for number in range(first, first + minutes):
        data = minute(kind, number, 8000, keep).tobytes()
        found["ours"] += len(usual.feed(data))
        for purity, detector in detectors.items():
            found["swept"][purity] += len(detector.feed(data))
        muter.process(data)
        if peer:
            found["spandsp"] += len(peer.feed(data))
        if number - first < minutes // 2:
            found["wide"] += len(wide.feed(minute(kind, number, 16000, keep).tobytes()))
    found["cuts"] = muter.cuts
    return found


def talk_off(minutes: int, seed: int, with_peer: bool) -> list[dict[str, Any]]:
    """Speech, half as much babble, three times as much music (a false digit an hour of it is let pass); in chunks on two processors."""
    chunk = max(1, minutes // 6)
    jobs = []
    for kind, total in (("speech", minutes), ("babble", max(1, minutes // 2)), ("music", 3 * minutes)):
        first = (seed % 100_000) * 1000
        jobs += [(kind, first + at, min(chunk, total - at), with_peer, minutes >= 60) for at in range(0, total, chunk)]
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        done = list(pool.map(talk, jobs))
    merged = []
    for kind in ("speech", "babble", "music"):
        parts = [part for part in done if part["kind"] == kind]
        summed = ("minutes", "wide_minutes", "ours", "wide", "spandsp", "cuts")
        merged.append({"kind": kind, "swept": {p: sum(part["swept"][p] for part in parts) for p in PURITIES},
                       **{name: sum(part[name] for part in parts) for name in summed}})
    return merged


def talk_table(found: list[dict[str, Any]], with_peer: bool) -> tuple[Table, list[Goal]]:
    columns = ("kind", "minutes", "ours", "wide_minutes", "wide", "spandsp", "cuts")
    rows: list[list[str | float]] = [["-" if name == "spandsp" and not with_peer else part[name] for name in columns] for part in found]
    voices = [part for part in found if part["kind"] != "music"]
    seconds = 60.0 * sum(part["minutes"] for part in voices)
    instruments = found[-1]
    hours = (instruments["minutes"] + instruments["wide_minutes"]) / 60.0
    goals = [
        Goal("false digits in speech and babble", sum(part["ours"] + part["wide"] for part in voices), 0, "", False),
        Goal("false digits in music, per hour", (instruments["ours"] + instruments["wide"]) / hours, 1.0, "per h", False),
        Goal("speech and babble cut by the muting, per 1000 s", sum(part["cuts"] for part in voices) * 1000.0 / seconds, 1.0, "", False),
    ]
    note = ("Speech: espeak-ng in 16 languages with 39 voices, random words, pitch and speed; babble: 4 to 8 such talkers; music: chords, "
            "melodies, arpeggios, whistles, bells, drums, pure tones. -10 to -30 dBm0, two in five minutes in telephone band, two in five "
            "in A-law. At 16 kHz half of them. The last column counts how often muting on the tentative hit touched the sound "
            "(8 kHz, blocks of 10 ms).")
    heads = ("sound", "minutes, 8 kHz", "ours", "minutes, 16 kHz", "ours", "spandsp, 8 kHz", "cut by muting")
    return Table("Talk-off: false digits", heads, rows, note), goals


def leak(times: int, seed: int) -> tuple[Table, list[Goal]]:
    """How much of a digit passes the muting, and how steep the sound then is."""
    rng = np.random.default_rng([seed, 20])
    rows: list[list[str | float]] = []
    worst = 0.0
    case = Case("leak", 80.0)
    for rate in RATES:
        for block_ms in (10, 20, 30):
            most, total = 0.0, 0.0
            for _ in range(times):
                for key in KEYS:
                    x = np.frombuffer(pcm(press(rng, key, case, rate)), "<i2").astype(float)
                    y = np.frombuffer(DtmfMuter(rate).process(pcm(x), block_ms * rate // 1000), "<i2")
                    passed = 1000.0 * float(np.count_nonzero(y)) / rate
                    most, total = max(most, passed), total + passed
            rows.append([f"{rate // 1000} kHz, blocks of {block_ms} ms", total / (times * len(KEYS)), most])
            worst = max(worst, most)
    note = "Digits of 80 ms, any alignment; a sample counts as passed unless it is zero, so the whole ramp of 2.5 ms counts."
    return (Table("Muting: tone that reaches the far side, ms per digit", ("", "mean", "most"), rows, note),
            [Goal("tone that passes the muting, worst digit", worst, 20.0, "ms", False)])


def roc(found: list[dict[str, Any]], times: int, seed: int) -> tuple[Plot, Table]:
    """Detection in white noise against false digits, as the purity asked for changes."""
    hours = sum(part["minutes"] for part in found) / 60.0
    heard: dict[float, dict[float, float]] = {}
    for snr in (6.0, 7.5, 9.0):
        data = list(presses(Case(f"ROC {snr}", worse=noise(snr)), 8000, times, seed))
        heard[snr] = {purity: 100.0 * sum(ours(sound, 8000, purity) == key for key, sound in data) / len(data) for purity in PURITIES}
    false = {purity: sum(part["swept"][purity] for part in found) / hours for purity in PURITIES}
    across = [false[purity] for purity in PURITIES]
    curves = [Curve(f"SNR {snr:g} dB", across, [heard[snr][purity] for purity in PURITIES]) for snr in heard]
    rows: list[list[str | float]] = [[f"{purity:.2f}", false[purity], *(heard[snr][purity] for snr in heard)] for purity in PURITIES]
    return (Plot("dtmf-roc", "DTMF: detection in white noise against false digits, purity from 0.99 to 0.5",
                 "false digits per hour of speech, babble and music", "digits heard, %", curves),
            Table("Purity asked for", ("purity", "false per hour", *(f"heard at {snr:g} dB, %" for snr in heard)), rows,
                  "The product uses 0.86. False digits over all three kinds of sound."))


def measure(quick: bool, seed: int) -> Section:
    with_peer = not peers.missing()
    times = 2 if quick else 20
    section = Section("dtmf", "DTMF detector")
    table, goals = limits(times, seed, with_peer)
    section.tables.append(table)
    section.goals += goals
    found = talk_off(2 if quick else 60, seed, with_peer)
    table, goals = talk_table(found, with_peer)
    section.tables.append(table)
    section.goals += goals
    table, goals = leak(1 if quick else 10, seed)
    section.tables.append(table)
    section.goals += goals
    plot, table = roc(found, 1 if quick else 20, seed)
    section.plots.append(plot)
    section.tables.append(table)
    return section
