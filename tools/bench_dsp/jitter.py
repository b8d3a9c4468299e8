"""Concealment against loss, the jitter buffer against network jitter, and voice activity against noise; ours and the peers'.

Theory of operation. Perceptual Evaluation of Speech Quality is not free to use, so three plain measures stand in for it, all of them on the
10 ms frames of active speech: the *log-spectral distance* (dB, 250 to 3400 Hz), the *loudness error* (power in 16 critical bands to the
0.3, excess counted 1.3 times as much as lack, in percent of the loudness) and the *segmental signal-to-noise ratio* of the lost blocks
alone (dB; a waveform measure: silence scores 0). Jitter buffers hear packets with the delays of a simulated network; a *fixed* buffer
conceals every packet whose delay beyond the fastest is above its own delay, so its figures follow from the delays directly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware.dsp import Concealer, JitterBuffer, VoiceActivity, VoiceCodec

from .echo_signals import noise, pcm, rms, samples, speech
from .peers import SpandspPlc, SpeexVoice
from .report import Curve, Goal, Plot, Section, Table

Sound = NDArray[np.float64]
Mask = NDArray[np.bool_]
CRITICAL = (100, 200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480, 1720, 2000, 2320, 2700, 3150, 3700)
BLOCK = 160  # samples of a packet


def spectra(x: Sound) -> Sound:
    at = np.arange(0, len(x) - 256, 80)[:, None] + np.arange(256)[None, :]
    return np.asarray(np.abs(np.fft.rfft(x[at] * np.hanning(256), axis=1)) ** 2)


def log_distance(a: Sound, b: Sound, active: Mask) -> float:
    d = 10.0 * np.log10((a + 1e5) / (b + 1e5))
    return float(np.mean(np.sqrt(np.mean(d[:, 8:110] ** 2, axis=1))[active]))


def loudness(power: Sound) -> Sound:
    freq = np.arange(129) * 8000.0 / 256.0
    bands = [power[:, (freq >= low) & (freq < high)].sum(axis=1) for low, high in zip(CRITICAL[:-1], CRITICAL[1:], strict=True)]
    return np.asarray(np.stack(bands, axis=1) ** 0.3)


def loudness_error(a: Sound, b: Sound, active: Mask) -> float:
    x, y = loudness(a), loudness(b)
    d = np.where(y > x, 1.3 * (y - x), x - y)
    return float(100.0 * d.sum(axis=1)[active].mean() / x.sum(axis=1)[active].mean())


def lost_snr(x: Sound, y: Sound, lost: Mask) -> float:
    a, e = x.reshape(-1, BLOCK), (x - y).reshape(-1, BLOCK)
    power = np.mean(a**2, axis=1)
    at = lost & (power > rms(-45.0) ** 2)
    if not at.any():
        return float("nan")
    return float(np.mean(np.clip(10.0 * np.log10(power[at] / (np.mean(e[at] ** 2, axis=1) + 1e-3)), -10.0, 35.0)))


def losses(rng: np.random.Generator, n: int, share: float, burst: int) -> Mask:
    """Blocks lost: singly, or in bursts of geometrically distributed length with this mean."""
    lost, bad = np.zeros(n, bool), False
    for k in range(n):
        bad = rng.random() < (1.0 - 1.0 / burst if bad else share / ((1.0 - share) * burst))
        lost[k] = bad and k > 10
    return lost


def ours(x: Sound, lost: Mask) -> Sound:
    c = Concealer()
    return np.concatenate([samples(c.lost(BLOCK) if gone else c.received(pcm(frame)))
                           for frame, gone in zip(x.reshape(-1, BLOCK), lost, strict=True)])


def spandsp(x: Sound, lost: Mask) -> Sound:
    return samples(SpandspPlc().process(pcm(x), BLOCK, [bool(gone) for gone in lost]))


def repeated(x: Sound, lost: Mask) -> Sound:
    out, last = [], np.zeros(BLOCK)
    for frame, gone in zip(x.reshape(-1, BLOCK), lost, strict=True):
        last = last if gone else frame
        out.append(last)
    return np.concatenate(out)


def silent(x: Sound, lost: Mask) -> Sound:
    return np.asarray(x * np.repeat(~lost, BLOCK))


WAYS: dict[str, Callable[[Sound, Mask], Sound]] = {"ours": ours, "spandsp": spandsp, "repeat": repeated, "silence": silent}


def talkers(seconds: float, count: int = 4) -> list[Sound]:
    rng = np.random.default_rng(1)
    n = int(seconds * 8000) // BLOCK * BLOCK
    return [np.clip(np.round(speech(k, seconds)[:n] + noise(rng, n, -60.0)), -32768, 32767) for k in range(count)]


def conceal(section: Section, rng: np.random.Generator, quick: bool) -> None:
    """Quality against loss."""
    voices = talkers(10.0 if quick else 180.0, 2 if quick else 4)
    shares = (0.05, 0.1) if quick else (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
    rows: tuple[list[list[str | float]], ...] = ([], [], [])
    curves: dict[str, list[float]] = {name: [] for name in WAYS}
    better: list[tuple[float, float]] = []
    for burst in (1, 3):
        for share in shares:
            measured = {name: np.zeros(3) for name in WAYS}
            for x in voices:
                lost = losses(rng, len(x) // BLOCK, share, burst)
                a = spectra(x)
                active = np.asarray(a.sum(axis=1) > 1e8)
                for name, way in WAYS.items():
                    y = way(x, lost)
                    b = spectra(y)
                    measured[name] += [log_distance(a, b, active), loudness_error(a, b, active), lost_snr(x, y, lost)]
            label = f"{100 * share:.0f} %, " + ("single" if burst == 1 else "bursts of 60 ms")
            for k in range(3):
                rows[k].append([label, *[float(measured[name][k] / len(voices)) for name in WAYS]])
            better.append((float(measured["ours"][0] / measured["spandsp"][0]), float(measured["ours"][1] / measured["spandsp"][1])))
            if burst == 1:
                for name in WAYS:
                    curves[name].append(float(measured[name][1] / len(voices)))
    notes = ("log-spectral distance, dB", "loudness error, %", "signal-to-noise ratio of the lost blocks, dB")
    for k, what in enumerate(notes):
        section.tables.append(Table(f"Concealment of lost packets of 20 ms: {what}", ["loss", *WAYS], rows[k],
                                    "" if k else "Speech of several talkers; distance and error: the lower the better. No block has a "
                                    "delay; the code of G.711 Appendix I itself has 3.75 ms."))
    section.goals.append(Goal("log-spectral distance over spandsp's, worst loss", max(d for d, _ in better), 1.0, "", False))
    section.goals.append(Goal("loudness error over spandsp's, worst loss", max(e for _, e in better), 1.0, "", False))
    section.plots.append(Plot("conceal-loss", "Concealment: loudness error against single losses of 20 ms", "packets lost, %",
                              "loudness error, %", [Curve(name, [100 * s for s in shares], values) for name, values in curves.items()]))


def network(kind: str, n: int, rng: np.random.Generator) -> Sound:
    """Delays of n packets of 20 ms, in ms."""
    delays = rng.exponential(2.0, n)
    if kind == "WLAN":              # contention: a packet is held back, those behind it come with it
        k = 0
        while k < n:
            k += int(rng.exponential(60.0)) + 1
            held = rng.uniform(30.0, 120.0)
            for m in range(k, min(n, k + int(held / 20.0) + 1)):
                delays[m] = max(delays[m], held - 20.0 * (m - k))
    elif kind == "ADSL uplink":     # somebody else's packets in the queue
        queue = 0.0
        for k in range(n):
            queue = max(0.0, queue - 20.0) + (rng.uniform(10.0, 60.0) if rng.random() < 0.04 else 0.0)
            delays[k] += queue
    elif kind == "spikes":          # rare and long
        for spike in np.flatnonzero(rng.random(n) < 0.002).tolist():
            held = rng.uniform(100.0, 250.0)
            for m in range(spike, min(n, spike + int(held / 20.0) + 1)):
                delays[m] = max(delays[m], held - 20.0 * (m - spike))
    elif kind == "route change":    # 60 ms longer for a third of the time
        delays[n // 3 : 2 * n // 3] += 60.0
    return np.asarray(delays)


@dataclass
class Played:
    """What a buffer made of a stream; shares in percent, delays in ms."""

    delay: float
    delay_95: float
    made_up: float
    dropped: int
    scaled: float
    trace: list[float]


def adaptive(x: Sound, delays: Sound, lost: Mask, ppm: float) -> Played:
    coder, j = VoiceCodec("pcma"), JitterBuffer(20, 300)
    data = b"".join(coder.encode(pcm(x[k : k + BLOCK])) for k in range(0, len(x), BLOCK))
    arrivals = np.arange(len(delays)) * 20.0 * (1.0 + ppm * 1e-6) + delays + 3.0
    queue = [int(k) for k in np.argsort(arrivals, kind="stable") if not lost[k]]
    at, trace, kinds = 0, [], np.zeros(3)
    for tick in range(len(delays) * 2):
        while at < len(queue) and arrivals[queue[at]] < 10 * (tick + 1):
            k = queue[at]
            j.put(tick, k, k * BLOCK, data[k * BLOCK : (k + 1) * BLOCK])
            at += 1
        kinds[j.get(tick)[0]] += 1
        if tick % 10 == 0:
            trace.append(j.figures()["delay_ms"])
    f = j.figures()
    return Played(float(np.mean(trace)), float(np.percentile(trace, 95)), float(100.0 * kinds[2] / kinds.sum()), f["late"],
                  100.0 * (f["removed"] + f["added"]) / len(x), trace)


def fixed_delay(delays: Sound, made_up: float) -> float:
    """Delay of the fixed buffer that loses as much to lateness: beyond the fastest packet, on the tick."""
    beyond = np.ceil((delays - delays.min()) / 10.0) * 10.0
    return float(np.quantile(beyond, min(1.0, max(0.0, 1.0 - made_up / 100.0)), method="higher"))


def buffer(section: Section, rng: np.random.Generator, quick: bool) -> None:
    """Delay and made-up share against network jitter."""
    seconds = 60.0 if quick else 300.0
    x = talkers(seconds, 1)[0]
    n = len(x) // BLOCK
    rows: list[list[str | float | int]] = []
    ratios = []
    cases = [("quiet", 0.0, 0.0), ("WLAN", 0.0, 0.0), ("ADSL uplink", 0.0, 0.0), ("spikes", 0.0, 0.0), ("route change", 0.0, 0.0),
             ("ADSL uplink", 0.02, 0.0), ("ADSL uplink", 0.0, 300.0), ("ADSL uplink", 0.0, -300.0)]
    for kind, share, ppm in cases:
        delays = network(kind, n, rng)
        lost = losses(rng, n, share, 1) if share else np.zeros(n, bool)
        p = adaptive(x, delays, lost, ppm)
        late = max(0.0, p.made_up - 100.0 * float(lost.mean()))
        same = max(20.0, fixed_delay(delays, late))
        label = kind + (f", {100 * share:.0f} % lost" if share else "") + (f", crystal {ppm:+.0f} ppm" if ppm else "")
        rows.append([label, p.delay, p.delay_95, p.made_up, p.dropped, p.scaled, same])
        if not share and not ppm and kind != "quiet":
            ratios.append(p.delay / same)
            if kind in ("WLAN", "spikes"):
                part, at = p.trace[:600], [0.1 * k for k in range(600)]
                peaks = [float(np.max(delays[5 * k : 5 * k + 5])) for k in range(600)]
                section.plots.append(Plot(f"jitter-{kind.lower()}", f"Play-out delay over a minute: {kind}", "time, s", "ms",
                                          [Curve("play-out delay", at, part), Curve("delay of packets", at, peaks)]))
    section.tables.append(Table(
        "Jitter buffer: 20 to 300 ms allowed, packets of 20 ms",
        ["network", "delay ms", "95 % of it", "made up %", "packets too late", "scaled %", "fixed buffer of equal loss ms"], rows,
        "Delay beyond the fastest packet of late; made up: blocks of 10 ms concealed; scaled: samples removed and inserted. The last "
        "column is the delay at which a buffer that never adapts would lose the same share to lateness; with a crystal that "
        "is off it would run empty or over."))
    section.goals.append(Goal("mean delay over that of a fixed buffer of equal loss, 4 networks", float(np.mean(ratios)), 1.0, "", False))


def energy_detector(x: Sound) -> list[bool]:
    """Power over a floor that rises by 2.6 dB a second, 6 dB, hangover 150 ms: what the product had before."""
    floor, hang, out = 1e9, 0, []
    for power in np.mean(x.reshape(-1, 80) ** 2, axis=1):
        floor = min(floor * 1.006, max(float(power), 1.0))
        hang = 15 if power > 4.0 * floor else max(0, hang - 1)
        out.append(hang > 0)
    return out


def activity(section: Section, rng: np.random.Generator, quick: bool) -> None:
    """Voice activity against noise."""
    parts = []
    for k in range(2 if quick else 6):
        for at in range(2 if quick else 6):
            x = speech(k, 3.0, start=3.0 * at)
            parts += [x[: len(x) // 160 * 160], np.zeros(12000 // 160 * 160)]
    clean = np.concatenate(parts)
    power = np.convolve(np.mean(clean.reshape(-1, 80) ** 2, axis=1), np.ones(3) / 3.0, "same")
    marks = power > rms(-45.0) ** 2
    after = np.convolve(marks, np.ones(25))[: len(marks)] > 0
    rows: list[list[str | float]] = []
    spectrum = np.fft.rfft(rng.normal(0.0, 1.0, len(clean)))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[: len(clean) * 60 // 8000] = 0.0
    pink = np.fft.irfft(spectrum, len(clean))
    babble = sum((np.roll(np.resize(speech(k, 20.0), len(clean)), 8000 * k) for k in range(6)), np.zeros(len(clean)))
    for colour, disturb in (("white", rng.normal(0.0, 1.0, len(clean))), ("pink", pink), ("six talkers", babble)):
        for snr in (20, 10, 5):
            y = clean + disturb / np.std(disturb) * rms(-16.0 - snr)
            peer = SpeexVoice(frame_ms=20).process(pcm(y))[1]
            found = {"ours": VoiceActivity().feed(pcm(y)), "SpeexDSP": [flag for flag in peer for _ in range(2)],
                     "power over floor": energy_detector(np.round(y))}
            row: list[str | float] = [f"{colour}, {snr} dB"]
            for flags in found.values():
                hit = np.array(flags[: len(marks)])
                row += [float(100.0 * hit[marks[: len(hit)]].mean()), float(100.0 * hit[~after[: len(hit)]].mean())]
            rows.append(row)
    section.tables.append(Table("Voice activity in noise", ["noise", "ours: found %", "false %", "SpeexDSP: found %", "false %",
                                                            "power over floor: found %", "false %"], rows,
                                "Found: of the 10 ms frames of speech above -45 dBm0. False: of the frames more than 250 ms after speech."))


def measure(quick: bool, seed: int) -> Section:
    """Concealment, jitter buffer, voice activity."""
    section = Section("jitter", "Packet voice: concealment, jitter buffer, voice activity")
    rng = np.random.default_rng(seed)
    conceal(section, rng, quick)
    buffer(section, rng, quick)
    activity(section, rng, quick)
    return section
