"""Instructions per sample of every block, ours and the peers', on x86 and (ours) on ARM with NEON."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firmware.dsp import FskTransmitter

from . import count
from .count import SIGNALS
from .drive import TAILS, own_blocks, peer_blocks
from .report import Curve, Goal, Plot, Section, Table

Sound = NDArray[np.float64]
RMS = 22750.0 / np.sqrt(2.0)
LIMITS = {16: 350.0, 32: 450.0, 64: 600.0, 128: 900.0}
STRETCH = 650.0  # at 128 ms
CALL, STEADY, BOTH = 10, (4, 6), (6, 8)  # seconds: of a call, of it the far end alone on a learned path, both ends
OTHERS = (
    # ours, the peer's, what it does
    ("dtmf", "spandsp-dtmf", "DTMF receiver, digits"),
    ("dtmf-speech", "", "DTMF receiver, speech"),
    ("dtmf-16k", "", "DTMF receiver at 16 kHz, speech"),
    ("", "spandsp-dtmf-filter", "DTMF receiver with its dial tone filter"),
    ("callerid-bell202", "spandsp-callerid-bell202", "caller id receiver, Bell 202"),
    ("callerid-v23", "spandsp-callerid-v23", "caller id receiver, V.23"),
    ("callerid-speech", "", "caller id receiver, speech"),
    ("tone", "spandsp-tone", "one call progress tone with cadence"),
    ("tones-six", "", "six call progress tones at once"),
    ("tones-six-speech", "", "six call progress tones at once, speech"),
    ("tones-six-16k", "", "six call progress tones at once at 16 kHz, speech"),
    ("answer-tone", "spandsp-ced", "fax and modem tones (peer: one tone)"),
    ("alerting-tone", "", "alerting tone of call-waiting caller id"),
    ("tone-learner", "", "learner of disconnect tones"),
    ("dtmf-mute", "", "DTMF receiver that mutes"),
    ("tone-generator", "", "tone generator"),
    ("pcma-encode", "spandsp-pcma-encode", "G.711 A-law, encode"),
    ("pcma-decode", "spandsp-pcma-decode", "G.711 A-law, decode"),
    ("g722-encode", "spandsp-g722-encode", "G.722, encode"),
    ("g722-both", "", "G.722, encode and decode"),
    ("", "spandsp-g722-decode", "G.722, decode"),
    ("opus-8k-encode", "", "Opus at 8 kHz, encode (libopus)"),
    ("opus-8k-both", "", "Opus at 8 kHz, encode and decode (libopus)"),
    ("opus-16k-both", "", "Opus at 16 kHz, encode and decode (libopus)"),
    ("resample-8-16", "speex-resample-8-16", "resampling 8 to 16 kHz"),
    ("resample-16-8", "speex-resample-16-8", "resampling 16 to 8 kHz"),
    ("concealer", "spandsp-plc", "concealment, one packet in ten lost"),
    ("comfort-noise", "", "comfort noise"),
    ("highpass", "", "DC and hum filter"),
    ("meter", "", "level meter"),
    ("agc", "speex-agc", "gain control"),
    ("vad", "speex-vad", "voice activity"),
    ("jitter", "", "jitter buffer with A-law"),
    ("echo-score", "", "echo score of a call"),
    ("activity", "", "talk and silence segments"),
)


def rms(level_dbm0: float) -> float:
    return float(RMS * 10.0 ** (level_dbm0 / 20.0))


def voice(rng: np.random.Generator, n: int, rate: int, level_dbm0: float) -> Sound:
    """Noise with the long-term spectrum of speech under syllables of 4 Hz; never silent, so that every sample costs."""
    spectrum = np.fft.rfft(rng.normal(0.0, 1.0, n))
    freq = np.fft.rfftfreq(n, 1.0 / rate)
    x = np.fft.irfft(spectrum * (freq > 150.0) * (freq < 0.45 * rate) / np.maximum(freq, 500.0), n)
    x *= 0.55 + 0.45 * np.sin(2.0 * np.pi * 4.0 * np.arange(n) / rate)
    return np.asarray(x / np.sqrt(np.mean(x**2)) * rms(level_dbm0))


def tones(rng: np.random.Generator, n: int, rate: int) -> Sound:
    """DTMF digits of 60 ms and pauses of 65 ms over line noise."""
    x = rng.normal(0.0, rms(-55.0), n)
    low, high, t = (697.0, 770.0, 852.0, 941.0), (1209.0, 1336.0, 1477.0, 1633.0), np.arange(rate * 60 // 1000) / rate
    for number, at in enumerate(range(0, n - rate // 8 + 1, rate // 8)):
        f, g = low[number & 3], high[number >> 2 & 3]
        x[at : at + len(t)] += np.sqrt(2.0) * rms(-12.0) * (np.sin(2 * np.pi * f * t) + np.sin(2 * np.pi * g * t))
    return x


def modem(rng: np.random.Generator, n: int, standard: str) -> Sound:
    """Caller id messages, end to end, over line noise."""
    payload = bytes([0x80, 0x0C, 0x02, 0x0A]) + b"0123456789"
    payload += bytes([-sum(payload) & 255])
    out = b""
    while len(out) < 2 * n:
        sender = FskTransmitter(payload, "v23" if standard == "v23" else "bell202")
        out += sender.generate(sender.samples)
    return np.frombuffer(out[: 2 * n], "<i2").astype(np.float64) + rng.normal(0.0, rms(-50.0), n)


def call(rng: np.random.Generator, rate: int) -> tuple[Sound, Sound]:
    """The far end talks for `CALL` seconds from the first sample on, the near end in the two seconds `BOTH`."""
    far = voice(rng, CALL * rate, rate, -18.0)
    path = np.zeros(rate // 50)
    path[rate // 500 :] = rng.normal(0.0, 1.0, len(path) - rate // 500) * np.exp(-np.arange(len(path) - rate // 500) / (0.003 * rate))
    path *= 10.0 ** (-12.0 / 20.0) / np.sqrt(np.sum(path**2))
    near = np.convolve(far, path)[: len(far)] + rng.normal(0.0, rms(-62.0), len(far))
    near[BOTH[0] * rate : BOTH[1] * rate] += voice(rng, (BOTH[1] - BOTH[0]) * rate, rate, -18.0)
    return far, near


def make_signals(seed: int) -> None:
    """Writes the sounds that `drive.py` reads."""
    rng = np.random.default_rng(seed)
    n, rate = count.SECONDS * 8000, 8000
    sounds: dict[str, Sound] = {"silence": np.zeros(n), "hiss": rng.normal(0.0, rms(-60.0), n)}
    for name, hz in (("", 8000), ("16", 16000)):
        far = voice(rng, count.SECONDS * hz, hz, -18.0)
        path = np.zeros(hz // 50)
        path[hz // 500 :] = rng.normal(0.0, 1.0, hz // 50 - hz // 500) * np.exp(-np.arange(hz // 50 - hz // 500) / (0.003 * hz))
        path *= 10.0 ** (-12.0 / 20.0) / np.sqrt(np.sum(path**2))
        # Around the end: the sound is played in rounds.
        back = np.fft.irfft(np.fft.rfft(far) * np.fft.rfft(path, len(far)), len(far))
        sounds |= {f"far{name}": far, f"echo{name}": back + rng.normal(0.0, rms(-62.0), len(far))}
    sounds["callfar"], sounds["callnear"] = call(rng, rate)
    t = np.arange(n) / rate
    sounds["busy"] = np.sqrt(2.0) * rms(-15.0) * np.sin(2 * np.pi * 425.0 * t) * (t % 0.7 < 0.35) + rng.normal(0.0, rms(-60.0), n)
    sounds["dtmf"] = tones(rng, n, rate)
    sounds["bell202"], sounds["v23"] = modem(rng, n, "bell202"), modem(rng, n, "v23")
    SIGNALS.mkdir(parents=True, exist_ok=True)
    for name, sound in sounds.items():
        (SIGNALS / f"{name}.raw").write_bytes(np.clip(np.round(sound), -32768, 32767).astype("<i2").tobytes())


def known(value: float) -> str | float:
    """A whole number, or a dash where there is none."""
    return round(value) if value == value else "-"


CANCELLERS = (
    # column, block, on ARM
    ("ours, ARM", "echo-{}", True),
    ("with NLP, ARM", "echo-{}-nlp", True),
    ("ours", "echo-{}", False),
    ("with NLP", "echo-{}-nlp", False),
    ("spandsp", "spandsp-echo-{}", False),
    ("with NLP", "spandsp-echo-{}-nlp", False),
    ("SpeexDSP", "speex-echo-{}", False),
    ("with NLP", "speex-echo-{}-nlp", False),
    ("20 ms frames", "speex20-echo-{}", False),
)


def canceller_table(x86: dict[str, float], arm: dict[str, float]) -> Table:
    rows: list[list[str | float]] = []
    for tail in TAILS:
        least = min(x86[name.format(tail)] for name in ("spandsp-echo-{}", "speex-echo-{}", "speex20-echo-{}"))
        ratio = x86[f"echo-{tail}"] / least
        figures = [known((arm if on_arm else x86)[name.format(tail)]) for _, name, on_arm in CANCELLERS]
        rows.append([f"{tail} ms", *figures, round(ratio, 2) if ratio == ratio else "-"])
    columns = ("tail", *(column for column, _, _ in CANCELLERS), "ours / cheapest peer")
    return Table("Echo cancellers: instructions per sample", columns, rows,
                 "Far end talks all the time, hybrid of 12 dB, line noise -62 dBm0, second round of the sound (converged). Columns without "
                 "ARM are x86-64. SpeexDSP works on frames of 10 ms, as our blocks do, but for the column that says 20. The ratio is that "
                 "of the linear parts on x86-64.")


def blocks_table() -> Table:
    """Mean and dearest block of 10 ms in the parts of a call."""
    rows: list[list[str | float]] = []
    for arm, where in ((True, "ARM"), (False, "x86-64")):
        for tail in TAILS:
            cost = count.of_blocks(f"echo-{tail}-call", CALL * 8000, arm)
            parts = [cost[100 * a : 100 * b] for a, b in (STEADY, (0, 1), BOTH)]
            steady, first = float(np.mean(parts[0])), float(np.mean(parts[1]))
            rows.append([f"{tail} ms, {where}", *(round(figure) for part in parts for figure in (float(np.mean(part)), max(part))),
                         round(first / steady, 2), round(max(map(max, parts)) / steady, 2)])
    return Table("Canceller: instructions per sample, block by block", (
        "tail", "steady, mean", "dearest block", "first second, mean", "dearest block", "double talk, mean", "dearest block",
        "first second / steady", "dearest / steady"), rows,
        "Linear part, one cold start: the far end talks from the first sample, the path is learned by the fourth second "
        "(steady: seconds 4 to 6), the near end joins in with the same level in seconds 6 to 8. Counted for each block of 10 ms under "
        "emulation, on both, less what a call without sound costs.")


def others_table(x86: dict[str, float], arm: dict[str, float]) -> Table:
    rows: list[list[str | float]] = []
    for ours, theirs, what in OTHERS:
        if ours and x86[ours] != x86[ours] and not theirs:
            continue
        rows.append([what, known(arm[ours]) if ours else "-", known(x86[ours]) if ours else "-", known(x86[theirs]) if theirs else "-"])
    for tail in (32, 128):
        rows.append([f"canceller with NLP, {tail} ms, line idle", known(arm[f"echo-{tail}-idle"]), known(x86[f"echo-{tail}-idle"]), "-"])
        rows.append([f"canceller with NLP, {tail} ms, 16 kHz", known(arm[f"echo-{tail}-16k"]), known(x86[f"echo-{tail}-16k"]), "-"])
    return Table("Other blocks: instructions per sample", ("block", "ours, ARM", "ours, x86-64", "peer, x86-64"), rows,
                 "Samples of the block's own rate. Codecs and concealment are fed with packets of 20 ms, so their counts include about ten "
                 "instructions of Python's calls.")


def goals(x86: dict[str, float], arm: dict[str, float]) -> list[Goal]:
    found = []
    for figures, where in ((x86, "x86-64"), (arm, "ARM NEON")):
        unit = "instr/sample"
        found += [Goal(f"canceller, {tail} ms, {where}", figures[f"echo-{tail}"], limit, unit, False) for tail, limit in LIMITS.items()]
        found.append(Goal(f"canceller, 128 ms, {where}, stretch", figures["echo-128"], STRETCH, unit, False))
        found.append(Goal(f"DTMF receiver, {where}", max(figures["dtmf"], figures["dtmf-speech"]), 60.0, unit, False))
        cid = max(figures["callerid-bell202"], figures["callerid-v23"], figures["callerid-speech"])
        found.append(Goal(f"caller id receiver, {where}", cid, 120.0, unit, False))
    return found


def measure(quick: bool, seed: int) -> Section:
    """Count everything; a quick run counts only what has a goal."""
    fault = count.tools_missing() or count.prepare_arm()
    if fault:
        raise RuntimeError(fault)
    make_signals(seed)
    own, peers = list(own_blocks()), list(peer_blocks())
    if quick:
        own = [*(f"echo-{tail}" for tail in TAILS), "dtmf", "dtmf-speech", "callerid-bell202", "callerid-v23", "callerid-speech"]
        peers = [f"{kind}-echo-{tail}" for kind in ("spandsp", "speex", "speex20") for tail in TAILS]
    nothing = dict.fromkeys([*own_blocks(), *peer_blocks()], float("nan"))
    x86 = {**nothing, **count.many([*own, *peers], arm=False)}
    arm = {**nothing, **count.many(own, arm=True)}
    section = Section("cost", "Cost: instructions per sample", [canceller_table(x86, arm)], goals(x86, arm))
    if not quick:
        section.tables.append(blocks_table())
        section.tables.append(others_table(x86, arm))
        shown = (("ours", "echo-{}", x86), ("ours, ARM", "echo-{}", arm), ("SpeexDSP", "speex-echo-{}", x86),
                 ("SpeexDSP, 20 ms frames", "speex20-echo-{}", x86), ("spandsp", "spandsp-echo-{}", x86))
        curves = [Curve(label, TAILS, [figures[name.format(tail)] for tail in TAILS]) for label, name, figures in shown]
        section.plots.append(Plot("cost", "Echo cancellers: what a sample costs", "tail, ms", "instructions per sample", curves))
    return section
