"""Signals and lines for measuring echo cancellers at 8 kHz: composite source signal, speech, music, tones, hybrids, A-law.

Levels are dBm0 of the active part (0 dBm0 sine = peak 22 750). Speech is spoken by espeak-ng in several languages and voices and kept
below `build/bench_dsp/speech`, because speaking takes longer than measuring.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .echo_g168 import MODELS, VOICED, VOICED_NEAR

Sound = NDArray[np.float64]
RATE = 8000
RMS_0DBM0 = 22750.0 / np.sqrt(2.0)
SPEECH_FOLDER = Path("build/bench_dsp/speech")
TALKERS = (
    ("en-gb", "The caller on line two has been waiting for ten minutes. Could somebody please take the call? She asks about an invoice "
              "of last month, and whether the parcel that was sent on Tuesday has arrived at our shop in the harbour."),
    ("de+f2", "Guten Tag, hier ist die Werkstatt. Ihr Wagen ist fertig, Sie können ihn heute bis achtzehn Uhr abholen. Die Rechnung "
              "beträgt zweihundertvierzig Euro; wir haben auch die Bremsen geprüft und das Öl gewechselt."),
    ("cmn+m3", "您好，这里是客户服务中心。请问有什么可以帮您？我们的营业时间是每天上午九点到下午六点。"
               "您的订单已经发货，预计明天下午送到。"),
    ("fr+f4", "Bonjour, vous êtes bien au cabinet médical. Le docteur est absent cette semaine, mais sa collègue peut vous recevoir "
              "jeudi matin à dix heures. Voulez-vous que je vous inscrive ?"),
    ("es+m2", "Buenas tardes, llamo por el anuncio del piso. Quisiera saber si todavía está libre y cuánto cuesta el alquiler con la "
              "calefacción. Puedo pasar a verlo mañana por la tarde."),
    ("ru+f3", "Здравствуйте, это служба доставки. Курьер приедет сегодня между двумя и четырьмя часами. Пожалуйста, приготовьте "
              "документы и позвоните нам, если ваши планы изменятся."),
)  # fmt: skip


def rms(level_dbm0: float) -> float:
    """Root mean square of samples at a level."""
    return float(RMS_0DBM0 * 10.0 ** (level_dbm0 / 20.0))


def power(x: Sound) -> float:
    """Mean square."""
    return float(np.mean(np.square(x))) if len(x) else 0.0


def pcm(x: Sound) -> bytes:
    """16-bit samples, rounded and clipped."""
    return bytes(np.clip(np.round(x), -32768, 32767).astype("<i2").tobytes())


def samples(data: bytes) -> Sound:
    """The other way."""
    return np.frombuffer(data, "<i2").astype(np.float64)


def noise(rng: np.random.Generator, n: int, level_dbm0: float) -> Sound:
    """White noise."""
    return rng.normal(0.0, rms(level_dbm0), n)


def composite(rng: np.random.Generator, seconds: float, level_dbm0: float = -16.0, near: bool = False) -> Sound:
    """Composite source signal of G.168 Annex C: 48.62 ms voiced, 200 ms pseudo noise of 200 to 3600 Hz, 101.38 ms pause, then inverted.

    `near`: the one of the near end for double talk (clauses C.3 and C.4): 72.69 ms voiced, 200 ms noise, 127.31 ms pause.
    """
    voiced_ms, pause_ms = (72.69, 127.31) if near else (48.62, 101.38)
    voiced = np.resize(np.array(VOICED_NEAR if near else VOICED, float), round(voiced_ms * RATE / 1000.0))
    burst_n, bins = round(0.2 * RATE), np.arange(4097) * RATE / 8192.0
    spectrum = np.where((bins >= 200.0) & (bins <= 3600.0), 1.0, 0.0) * rng.choice([-1.0, 1.0], 4097)
    pseudo = np.fft.irfft(spectrum * np.exp(1j * rng.choice([0.0, np.pi / 2.0], 4097)))[:burst_n]
    pseudo *= np.sqrt(power(voiced) / power(pseudo))
    period = np.concatenate([voiced, pseudo, np.zeros(round(pause_ms * RATE / 1000.0))])
    active = np.concatenate([voiced, pseudo])
    period *= rms(level_dbm0) / np.sqrt(power(active))
    count = int(seconds * RATE / len(period)) + 1
    return np.concatenate([period * (-1) ** k for k in range(count)])[: int(seconds * RATE)]


def _to_8k(x: Sound, rate: int) -> Sound:
    n = len(x)
    spectrum = np.fft.rfft(x)
    keep = int(n * RATE / rate)
    freq = np.arange(keep // 2 + 1) * RATE / keep
    shape = np.clip((freq - 80.0) / 120.0, 0.0, 1.0) * np.clip((3800.0 - freq) / 200.0, 0.0, 1.0)
    return np.asarray(np.fft.irfft(spectrum[: keep // 2 + 1] * shape, keep))


def spoken(talker: int) -> Sound:
    """The whole text of one talker, not levelled."""
    voice, text = TALKERS[talker % len(TALKERS)]
    path = SPEECH_FOLDER / f"{voice.replace('+', '-')}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.wav"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(["espeak-ng", "-v", voice, "-s", "165", "--stdout", text], check=True, capture_output=True)
        path.write_bytes(made.stdout)
    data = path.read_bytes()
    with wave.open(io.BytesIO(data)) as file:
        rate = file.getframerate()
    return _to_8k(np.frombuffer(data[44:], "<i2").astype(float), rate)


def active_power(x: Sound) -> float:
    """Mean square over the 10 ms frames within 25 dB of the loudest."""
    frames = np.mean(np.square(x[: len(x) // 80 * 80].reshape(-1, 80)), axis=1)
    return float(np.mean(frames[frames > np.max(frames) * 10 ** -2.5]))


def speech(talker: int, seconds: float, level_dbm0: float = -16.0, start: float = 0.0) -> Sound:
    """Speech of one talker at a level while active; the text is repeated as needed and begins at its first sound."""
    x = spoken(talker)
    x = x[int(np.argmax(np.abs(x) > 0.02 * np.max(np.abs(x)))) :]
    x = x * rms(level_dbm0) / np.sqrt(active_power(x))
    n, at = int(seconds * RATE), int(start * RATE)
    return np.clip(np.resize(np.roll(x, -at), n), -32000.0, 32000.0)


def music(rng: np.random.Generator, seconds: float, level_dbm0: float = -16.0) -> Sound:
    """Chords of decaying harmonics on the tempered scale at a steady beat, over a soft rhythm."""
    n = int(seconds * RATE)
    x = np.zeros(n + 2 * RATE)
    beat = int(RATE * rng.uniform(0.2, 0.5))
    for start in range(0, n, beat):
        m = min(int(beat * rng.choice([1, 2, 4])), RATE)
        t = np.arange(m) / RATE
        for _ in range(int(rng.integers(1, 4))):
            f = 440.0 * 2.0 ** (rng.integers(-17, 16) / 12.0)
            for k in range(1, 6):
                if k * f < 3600.0:
                    x[start : start + m] += np.exp(-t * rng.uniform(1.0, 6.0)) * np.sin(2.0 * np.pi * k * f * t) / k**1.2
        x[start : start + 400] += rng.normal(0.0, 0.3, 400) * np.exp(-np.arange(400) / 80.0)
    x = x[:n]
    return np.asarray(x / np.sqrt(power(x)) * rms(level_dbm0))


def sine(freq: float, seconds: float, level_dbm0: float) -> Sound:
    """A steady tone."""
    return np.asarray(np.sqrt(2.0) * rms(level_dbm0) * np.sin(2.0 * np.pi * freq * np.arange(int(seconds * RATE)) / RATE))


def dtmf(rng: np.random.Generator, seconds: float, level_dbm0: float = -10.0) -> Sound:
    """Random keys, 80 ms on and 80 ms off."""
    parts = []
    for _ in range(int(seconds / 0.16) + 1):
        low, high = rng.choice([697.0, 770.0, 852.0, 941.0]), rng.choice([1209.0, 1336.0, 1477.0, 1633.0])
        parts += [sine(low, 0.08, level_dbm0) + sine(high, 0.08, level_dbm0), np.zeros(640)]
    return np.concatenate(parts)[: int(seconds * RATE)]


def fsk(rng: np.random.Generator, seconds: float, level_dbm0: float = -13.0) -> Sound:
    """Random bits at 1200 bit/s with Bell 202 frequencies and continuous phase."""
    n = int(seconds * RATE)
    bits = rng.integers(0, 2, n)[(np.arange(n) * 1200 // RATE)]
    phase = np.cumsum(np.where(bits == 1, 1200.0, 2200.0)) * 2.0 * np.pi / RATE
    return np.asarray(np.sqrt(2.0) * rms(level_dbm0) * np.sin(phase))


def a_law(x: Sound) -> Sound:
    """Through A-law and back (G.711), 13-bit segments by arithmetic."""
    v = np.clip(np.round(x), -32768, 32767)
    size = np.minimum(np.abs(v) / 8.0, 4095.0)  # 12-bit magnitude
    segment = np.clip(np.floor(np.log2(np.maximum(size, 1.0))) - 4.0, 1.0, 7.0)
    step = 2.0**segment
    return np.asarray(np.sign(v) * np.where(v == 0, 0.0, (np.floor(size / step) + 0.5) * step) * 8.0)


def hybrid(model: int, erl_db: float, delay_ms: float = 0.0) -> Sound:
    """Model 1 to 8 of G.168 Annex D behind a pure delay. `erl_db` is the loss for white noise."""
    taps = np.array(MODELS[model - 1], float)
    taps *= 10.0 ** (-erl_db / 20.0) / np.sqrt(np.sum(taps**2))
    return np.concatenate([np.zeros(round(delay_ms * RATE / 1000.0)), taps])


def through(x: Sound, path: Sound) -> Sound:
    """Convolution, as long as the input."""
    n = 1 << int(np.ceil(np.log2(len(x) + len(path))))
    return np.asarray(np.fft.irfft(np.fft.rfft(x, n) * np.fft.rfft(path, n), n)[: len(x)])


@dataclass(frozen=True)
class Line:
    """What a canceller sees of a line: reference, captured, and what of the captured is echo."""

    far: Sound
    captured: Sound
    echo: Sound


def line(
    far: Sound, echo: Sound, rng: np.random.Generator, near: Sound | None = None, noise_dbm0: float | None = -70.0, law: bool = False
) -> Line:
    """Reference and captured as 16-bit samples; `law`: both came over A-law, the echo being of the reference after it."""
    captured = echo if near is None else echo + near
    if noise_dbm0 is not None:
        captured = captured + noise(rng, len(far), noise_dbm0)
    captured = a_law(captured) if law else np.clip(np.round(captured), -32768, 32767)
    return Line(np.clip(np.round(far), -32768, 32767), captured, echo)
