"""Caller id against noise, lines and senders, ours and spandsp's receiver on the same signals; alerting tones; what speech brings.

The signal-to-noise ratio is the mean power of the FSK signal over that of white noise between 300 and 3400 Hz. A message has 20 to 40
random bytes; it counts when it is delivered once, unchanged, with nothing beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from firmware.dsp import CallerIdReceiver
from firmware.dsp.cas import CasDetector
from firmware.dsp.cid import CallerIdListener
from firmware.dsp.g711 import decode, encode
from tests.dsp.cid_signals import band_noise, bits_of, message, modulated
from tests.dsp.corpus import KINDS, minute
from tests.dsp.signals import Sound, noise, pcm, samples, silence, sine, speech

from . import peers
from .report import Curve, Goal, Plot, Section, Table

Standard = Literal["bell202", "v23"]
STANDARDS: tuple[Standard, Standard] = ("bell202", "v23")
NAMES = {"bell202": "Bell 202", "v23": "V.23"}
GOAL_SNR = {"bell202": 10.0, "v23": 11.0}
LEVEL = -13.5

Shape = Callable[[np.random.Generator, Sound], Sound]


def receivers(standard: Standard) -> dict[str, Callable[[bytes], list[bytes]]]:
    """Fresh ones: ours for the standard, ours for both, the peer's."""
    own, both, peer = CallerIdReceiver(standard), CallerIdReceiver("auto"), peers.SpandspFsk(standard)
    return {"ours": own.feed, "ours, auto": both.feed, "spandsp": peer.feed}


class Tally:
    """Messages sent, delivered, and wrongly delivered by each receiver."""

    def __init__(self) -> None:
        self.sent = 0
        self.good = {"ours": 0, "ours, auto": 0, "spandsp": 0}
        self.false = dict.fromkeys(self.good, 0)

    def add(self, standard: Standard, payload: bytes, sound: bytes) -> None:
        self.sent += 1
        for name, feed in receivers(standard).items():
            found = feed(sound + bytes(1600))
            self.good[name] += found == [payload]
            self.false[name] += sum(one != payload for one in found)

    def row(self) -> list[str]:
        return [f"{self.good[name]}/{self.sent}" + (f" ({self.false[name]} false)" if self.false[name] else "") for name in self.good]


def one(rng: np.random.Generator, standard: Standard, snr: float, level: float = LEVEL, lead: tuple[int, int] = (300, 180),
        shape: Shape | None = None, **sender: float | tuple[float, float]) -> tuple[bytes, bytes]:
    """A payload and its sound on the line."""
    payload = message(rng, 20, 40)
    x = modulated(bits_of(payload, *lead), standard, level, phase=rng.uniform(0.0, 6.28), **sender)  # type: ignore[arg-type]
    x = np.concatenate([silence(50.0 + rng.uniform(0.0, 9.0)), x, silence(30.0)])
    if shape:
        x = shape(rng, x)
    return payload, pcm(x + band_noise(rng, len(x), level - snr))


def hum(rng: np.random.Generator, x: Sound) -> Sound:
    return x + sine(float(rng.choice([50.0, 60.0])), len(x) / 8.0 + 1.0, -12.0)[: len(x)] + 1000.0


def ring_trip(rng: np.random.Generator, x: Sound) -> Sound:
    t = np.arange(len(x)) / 8000.0
    return x + 9000.0 * np.exp(-t / 0.15) * np.cos(2.0 * np.pi * 20.0 * t + rng.uniform(0.0, 6.28)) - 5000.0 * np.exp(-t / 0.3)


def long_loop(rng: np.random.Generator, x: Sound) -> Sound:
    return np.convolve(x, [0.55, 0.45])


def loaded_loop(rng: np.random.Generator, x: Sound) -> Sound:
    return np.convolve(x, [1.0, -0.5])


def companded(rng: np.random.Generator, x: Sound) -> Sound:
    return samples(decode("alaw", encode("alaw", pcm(x))))


CASES: list[tuple[str, dict[str, object]]] = [
    ("-42 dBm0, 20 dB", {"snr": 20.0, "level": -42.0}),
    ("0 dBm0, 20 dB", {"snr": 20.0, "level": 0.0}),
    ("clock +1 %, 14 dB", {"snr": 14.0, "clock": 0.01}),
    ("clock -1 %, 14 dB", {"snr": 14.0, "clock": -0.01}),
    ("tones +1 %, 14 dB", {"snr": 14.0, "shift": (0.01, 0.01)}),
    ("tones -1 % and +1 %, 14 dB", {"snr": 14.0, "shift": (-0.01, 0.01)}),
    ("mark 6 dB stronger, 14 dB", {"snr": 14.0, "twist": 6.0}),
    ("space 6 dB stronger, 14 dB", {"snr": 14.0, "twist": -6.0}),
    ("mark 10 dB stronger, 20 dB", {"snr": 20.0, "twist": 10.0}),
    ("space 10 dB stronger, 20 dB", {"snr": 20.0, "twist": -10.0}),
    ("long loop (falling), 16 dB", {"snr": 16.0, "shape": long_loop}),
    ("loaded loop (rising), 16 dB", {"snr": 16.0, "shape": loaded_loop}),
    ("hum and offset, 14 dB", {"snr": 14.0, "shape": hum}),
    ("ring trip, 14 dB", {"snr": 14.0, "shape": ring_trip}),
    ("A-law at -30 dBm0, 14 dB", {"snr": 14.0, "level": -30.0, "shape": companded}),
    ("no seizure, 80 marks, 14 dB", {"snr": 14.0, "lead": (0, 80)}),
    ("no seizure, 25 marks, 14 dB", {"snr": 14.0, "lead": (0, 25)}),
]


def against_noise(rng: np.random.Generator, quick: bool, section: Section) -> None:
    """Curves, and the goals at 10 and 11 dB."""
    ratios = [5.0, 7.0, 9.0, 11.0, 14.0] if quick else [4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0]
    rows: list[list[str | float | int]] = []
    curves = []
    for standard in STANDARDS:
        tallies = []
        for snr in sorted({*ratios, GOAL_SNR[standard]}):
            tally = Tally()
            for _ in range(20 if quick else 200):
                tally.add(standard, *one(rng, standard, snr))
            tallies.append((snr, tally))
            rows.append([NAMES[standard], snr, *tally.row()])
            if snr == GOAL_SNR[standard]:
                for name in ("ours", "ours, auto"):
                    lost = tally.sent - tally.good[name]
                    title = f"{NAMES[standard]} at {snr:g} dB, lost of {tally.sent} ({name})"
                    section.goals.append(Goal(title, lost, 0, "messages", False))
        for name in ("ours", "ours, auto", "spandsp"):
            curves.append(Curve(f"{name}, {NAMES[standard]}", [snr for snr, _ in tallies],
                                [100.0 * tally.good[name] / tally.sent for _, tally in tallies]))
    section.tables.append(Table("Messages delivered against noise", ("standard", "SNR, dB", "ours", "ours, auto", "spandsp"), rows,
                                "White noise of 300 to 3400 Hz; SNR is signal power over noise power in that band. "
                                "-13.5 dBm0, 20 to 40 bytes."))
    section.plots.append(Plot("callerid-noise", "Caller id: messages delivered against noise", "signal-to-noise ratio, dB",
                              "delivered, %", curves))


def against_lines(rng: np.random.Generator, quick: bool, section: Section) -> None:
    """Tolerances and bad lines."""
    rows: list[list[str | float | int]] = []
    for title, case in CASES:
        for standard in STANDARDS:
            tally = Tally()
            for _ in range(8 if quick else 100):
                tally.add(standard, *one(rng, standard, **case))  # type: ignore[arg-type]
            rows.append([title, NAMES[standard], *tally.row()])
            if case.get("level") == -42.0:
                lost = tally.sent - tally.good["ours"]
                section.goals.append(Goal(f"{NAMES[standard]} at -42 dBm0, lost of {tally.sent}", lost, 0, "messages", False))
    section.tables.append(Table("Messages delivered over bad lines", ("line", "standard", "ours", "ours, auto", "spandsp"), rows,
                                "The ratio in dB is that of the table above."))


def alerting(rng: np.random.Generator, quick: bool, section: Section) -> None:
    """CAS and DT-AS."""
    count = 20 if quick else 200
    rows: list[list[str | float | int]] = []

    def tone(ms: float = 80.0, level: float = -22.0, twist: float = 0.0, off: float = 0.0) -> Sound:
        a, b = rng.uniform(0.0, 6.28, 2)
        return sine(2130.0 * (1.0 + off), ms, level + twist / 2, 8000, a) + sine(2750.0 * (1.0 + off), ms, level - twist / 2, 8000, b)

    cases: list[tuple[str, float, dict[str, float], float | None]] = [
        ("80 ms", 99.0, {}, None), ("75 ms, 6 dB twist, +0.5 %", 99.0, {"ms": 75.0, "twist": 6.0, "off": 0.005}, None),
        ("100 ms (DT-AS) at -38 dBm0", 20.0, {"ms": 100.0, "level": -38.0}, None),
        ("noise at 10 dB", 10.0, {}, None),
        ("60 ms", 99.0, {"ms": 60.0}, None), ("+1.6 %", 99.0, {"off": 0.016}, None),
        ("under speech 10 dB weaker", 99.0, {}, -10.0), ("under speech 5 dB weaker", 99.0, {}, -5.0),
        ("under speech as loud", 99.0, {}, 0.0)]
    for title, snr, shape, gap in cases:
        heard = 0
        for _ in range(count):
            x = tone(**shape)
            if gap is None:
                x = np.concatenate([silence(50.0 + rng.uniform(0.0, 5.0)), x, silence(50.0)])
            else:
                around = speech(rng, 2.0, level_dbm0=-22.0 + gap)[:4800]
                at = int(rng.integers(800, 3000))
                around[at : at + len(x)] += x
                x = np.concatenate([around, silence(50.0)])
            x = x + noise(rng, len(x), max(-70.0, shape.get("level", -22.0) + 3.0 - snr))
            heard += len(CasDetector().feed(pcm(x))) == 1
        rows.append([title, f"{heard}/{count}"])
    section.tables.append(Table("Alerting tones heard", ("tone", "heard"), rows, "2130 + 2750 Hz, -22 dBm0 each unless said."))


def talk_off(seed: int, quick: bool, section: Section) -> None:
    """Speech, babble and music into all receivers at once."""
    rows: list[list[str | float | int]] = []
    messages = 0
    for kind in KINDS:
        minutes = 1 if quick else 20
        told = {"message": 0, "damaged": 0, "call-waiting": 0, "alert": 0}
        for k in range(minutes):
            for signal in CallerIdListener().feed(minute(kind, seed + k).tobytes()):
                told[signal.kind] += 1
        messages += told["message"]
        rows.append([kind, minutes, told["message"], told["damaged"], told["call-waiting"] + told["alert"]])
    section.tables.append(Table("What other sound brings", ("sound", "minutes", "messages", "counted as damaged", "alerting tones"), rows))
    section.goals.append(Goal("messages from speech, babble and music", messages, 0, "messages", False))


def measure(quick: bool, seed: int) -> Section:
    """All of it."""
    rng = np.random.default_rng([seed, 4])
    section = Section("callerid", "Caller id")
    against_noise(rng, quick, section)
    against_lines(rng, quick, section)
    alerting(rng, quick, section)
    talk_off(seed, quick, section)
    return section
