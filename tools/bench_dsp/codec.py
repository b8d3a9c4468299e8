"""Codecs and resampling: what coding leaves of tones and speech, what Opus makes of loss, what the half-band filter lets through.

Instructions per sample of the same blocks are in the section "cost". spandsp has G.722 and SpeexDSP a resampler: both run on the same
samples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from firmware.dsp import Resampler, VoiceCodec

from . import peers
from .echo_signals import speech
from .report import Curve, Goal, Plot, Section, Table

PEAK = 22750.0  # of a 0 dBm0 sine
Sound = npt.NDArray[np.float64]
Through = Callable[[bytes], bytes]
LEVELS = (0, -10, -20, -30, -40, -50)
TONES = (302, 1004, 2011, 3011, 3391, 4603, 5507, 6503, 7001)


def pcm(x: Sound) -> bytes:
    return np.clip(np.round(x), -32768, 32767).astype("<i2").tobytes()


def sound(data: bytes) -> Sound:
    return np.frombuffer(data, "<i2").astype(float)


def sine(hz: float, level_dbm0: float, rate: int, seconds: float = 2.0) -> Sound:
    return 10 ** (level_dbm0 / 20) * PEAK * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)


def ours(kind: str, rate: int) -> Through:
    """Coding and decoding in packets of 20 ms."""
    sender, receiver, step = VoiceCodec(kind, rate), VoiceCodec(kind, rate), rate // 50 * 2
    return lambda data: b"".join(receiver.decode(sender.encode(data[i : i + step])) for i in range(0, len(data) - step + 1, step))


def spandsp_g722() -> Through:
    codec, again = peers.SpandspG722(), peers.SpandspG722()
    return lambda data: again.decode(codec.encode(data))


def quality(through: Through, rate: int, hz: float, level_dbm0: float) -> tuple[float, float]:
    """Change of a tone's level, and the tone against all else, both in dB, once everything has settled."""
    out = sound(through(pcm(sine(hz, level_dbm0, rate))))[rate // 2 :]
    out = out[: len(out) // 1000 * 1000]
    phase = 2 * np.pi * hz * np.arange(len(out)) / rate
    basis = np.stack([np.sin(phase), np.cos(phase), np.ones(len(out))])
    parts = np.linalg.lstsq(basis.T, out, rcond=None)[0]
    amplitude = float(np.hypot(parts[0], parts[1]))
    rest = float(np.mean((out - parts @ basis) ** 2))
    level = 20 * np.log10(max(amplitude, 1e-3) / PEAK) - level_dbm0
    return level, 10 * np.log10(max(amplitude**2 / 2, 1e-9) / max(rest, 1e-9))


def tones() -> list[Table]:
    kinds: list[tuple[str, Callable[[], Through], int]] = [
        ("PCMA", lambda: ours("pcma", 8000), 8000),
        ("PCMU", lambda: ours("pcmu", 8000), 8000),
        ("G.722", lambda: ours("g722", 16000), 16000),
        ("G.722 on an 8 kHz port", lambda: ours("g722", 8000), 8000),
        ("Opus 8 kHz", lambda: ours("opus", 8000), 8000),
        ("Opus 16 kHz", lambda: ours("opus", 16000), 16000),
    ]
    if not peers.missing():
        kinds.insert(3, ("G.722 of spandsp", spandsp_g722, 16000))
    by_level: list[list[str | float | int]] = [
        [name, *(round(float(quality(make(), rate, 1004, level)[1]), 1) for level in LEVELS)]
        for name, make, rate in kinds
        if "Opus" not in name
    ]
    by_tone: list[list[str | float | int]] = []
    for name, make, rate in kinds:
        cells = []
        for hz in TONES:
            if hz < rate / 2:
                level, ratio = quality(make(), rate, hz, -10)
                cells.append(f"{level:+.1f} / {ratio:.0f}")
            else:
                cells.append("")
        by_tone.append([name, *cells])
    return [
        Table("Tone of 1004 Hz against all else, dB", ["codec", *(f"{level} dBm0" for level in LEVELS)], by_level),
        Table("Change of level / tone against all else, dB, at -10 dBm0", ["codec", *(f"{hz} Hz" for hz in TONES)], by_tone,
              note="Opus codes waveforms of speech; of a steady tone it keeps the level rather than the form."),
    ]  # fmt: skip


def packets(seconds: float) -> list[bytes]:
    codec, data = VoiceCodec("opus", 8000), pcm(speech(0, seconds))
    return [codec.encode(data[i : i + 320]) for i in range(0, len(data) - 319, 320)]


def loss(quick: bool, seed: int) -> tuple[Table, Plot]:
    """Error of repaired packets against the same stream without loss, relative to the packets' own energy."""
    stream = packets(20 if quick else 90)
    rates = (3, 5, 10, 20) if quick else (1, 3, 5, 10, 15, 20)
    rows: list[list[str | float | int]] = []
    curves: dict[bool, list[float]] = {True: [], False: []}
    clear_codec = VoiceCodec("opus", 8000)
    clear = [sound(clear_codec.decode(packet)) for packet in stream]
    for percent in rates:
        rng = np.random.default_rng(seed)
        lost = rng.random(len(stream)) < percent / 100
        row: list[str | float | int] = [f"{percent} %", int(lost.sum())]
        for recover in (False, True):
            codec, error, energy, back = VoiceCodec("opus", 8000), 0.0, 0.0, 0
            for i, packet in enumerate(stream):
                if not lost[i]:
                    codec.decode(packet)
                    continue
                usable = recover and i + 1 < len(stream) and not lost[i + 1]
                out = sound(codec.recover(stream[i + 1], 160) if usable else codec.conceal(160))
                back += usable
                error += float(np.sum((out - clear[i]) ** 2))
                energy += float(np.sum(clear[i] ** 2))
            value = float(10 * np.log10(max(error, 1.0) / max(energy, 1.0)))
            curves[recover].append(value)
            row.append(round(value, 1))
        row.append(back)
        rows.append(row)
    kbit = 8 * sum(map(len, stream)) / (20 * len(stream))
    table = Table("Opus at 8 kHz under random loss: error of the repaired packets relative to what was sent, dB",
                  ["loss", "packets lost", "concealed only", "with redundancy", "of them from redundancy"], rows,
                  note=f"Speech, {kbit:.1f} kbit/s with redundancy, packets of 20 ms.")  # fmt: skip
    x = [float(rate) for rate in rates]
    curve = [Curve("concealed only", x, curves[False]), Curve("with redundancy", x, curves[True])]
    return table, Plot("codec-opus-loss", "Opus under loss", "packets lost, %", "error of repaired packets, dB", curve)


def spectrum(process: Callable[[bytes], bytes], source: int, target: int) -> tuple[Sound, Sound]:
    """Response to an impulse, in dB; where the rate is halved, to impulses on both phases (what is passed and what folds back)."""
    size = 8192
    if target > source:
        x = np.zeros(size // 2)
        x[1000] = 16384
        response = np.abs(np.fft.rfft(sound(process(pcm(x))), size)) / 32768
        return np.asarray(np.fft.rfftfreq(size, 1 / target), float), 20 * np.log10(np.maximum(response, 1e-6))
    hz = np.arange(50.0, 8000.0, 50.0)
    levels = []
    for f in hz:
        out = sound(process(pcm(20000 * np.sin(2 * np.pi * f * np.arange(16000) / source))))[2000:]
        levels.append(20 * np.log10(max(np.sqrt(2 * np.mean(out**2)) / 20000, 1e-6)))
    return hz, np.array(levels)


def resampling() -> tuple[Table, Plot]:
    pairs = ((8000, 16000), (16000, 8000))
    makes: list[tuple[str, Callable[[int, int], Callable[[bytes], bytes]]]] = [("ours", lambda a, b: Resampler(a, b).process)]
    if not peers.missing():
        makes += [(f"SpeexDSP quality {q}", lambda a, b, q=q: peers.SpeexResampler(a, b, q).process) for q in (3, 5)]  # type: ignore[misc]
    rows: list[list[str | float | int]] = []
    curves: list[Curve] = []
    for source, target in pairs:
        for name, make in makes:
            hz, level = spectrum(make(source, target), source, target)
            inside, outside = level[(hz >= 100) & (hz <= 3400)], level[(hz >= 4600) & (hz <= 7900)]
            x = np.zeros(2000 if source == 8000 else 4000)
            at = 500 if source == 8000 else 1000
            x[at : at + 2] = 8000 if source == 16000 else (16000, 0)
            out = sound(make(source, target)(pcm(x)))
            power = out**2
            middle = float(np.sum(power * np.arange(len(out))) / np.sum(power)) / target
            delay = 1000 * (middle - (at + (0.5 if source == 16000 else 0)) / source)
            label = f"{source // 1000} to {target // 1000} kHz"
            rows.append([name, label, round(float(np.ptp(inside)), 4), round(float(-outside.max()), 1), round(delay, 2)])
            curves.append(Curve(f"{name}, {label}", list(map(float, hz)), list(map(float, level))))
    table = Table("Resampling", ["", "", "ripple 0.1 to 3.4 kHz, dB", "least rejection from 4.6 kHz, dB", "delay, ms"], rows)
    return table, Plot("codec-resampler", "Resampling between 8 and 16 kHz", "frequency, Hz", "level, dB", curves)


def unlike_spandsp(seed: int, seconds: int) -> tuple[int, int]:
    """Octets and samples of G.722 that differ from spandsp's, on noise that never overloads the bands."""
    data = pcm(np.random.default_rng(seed).normal(0, 3000, 16000 * seconds))
    peer, codec = peers.SpandspG722(), VoiceCodec("g722", 16000)
    theirs, mine = peer.encode(data), b"".join(codec.encode(data[i : i + 640]) for i in range(0, len(data), 640))
    decoded = b"".join(codec.decode(theirs[i : i + 160]) for i in range(0, len(theirs), 160))
    again = peers.SpandspG722().decode(theirs)
    differ = np.frombuffer(decoded, "<i2") != np.frombuffer(again, "<i2")
    return int(np.sum(np.frombuffer(theirs, "u1") != np.frombuffer(mine, "u1"))), int(np.sum(differ))


def measure(quick: bool, seed: int) -> Section:
    """The section."""
    section = Section("codec", "Codecs and resampling", tables=tones())
    table, plot = loss(quick, seed)
    section.tables.append(table)
    section.plots.append(plot)
    table, plot = resampling()
    section.tables.append(table)
    section.plots.append(plot)
    if not peers.missing():
        octets, samples = unlike_spandsp(seed, 2 if quick else 30)
        section.goals += [
            Goal("G.722 octets unlike spandsp's", octets, 0, "octets", at_least=False),
            Goal("G.722 samples unlike spandsp's", samples, 0, "samples", at_least=False),
        ]
    return section
