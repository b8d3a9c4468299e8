"""Measurements on PCM samples: levels, response, distortion, echo, pattern (pure; L5).

Theory of operation
-------------------
16-bit samples at 8 kHz; 0 dBm0 is a sine of peak 22750 (ITU-T G.711 scaled to 16 bit). A tone of known frequency is fitted together with
the offset by least squares over a whole number of periods of 20 ms wherever the caller takes a multiple of 160 samples, so that 300, 1004
and 3400 Hz lie orthogonally enough for 0.01 dB; what is left after the fit is noise and distortion (total distortion, ITU-T O.132 in
essence). Idle noise is the power without its mean, unweighted. Echo return loss is the mean of the path's power gain at eight tones
over 560..1965 Hz (IEEE 743), sent together with phases that keep the crest low.
Cost: one pass of multiplications per tone, in C of the interpreter; no library beyond the standard one, because the board has none.
"""

from __future__ import annotations

import math
from array import array
from functools import lru_cache
from operator import mul

RATE = 8000
PEAK_0_DBM0 = 22750.0
SILENCE_DBM0 = -120.0
ERL_TONES = tuple(560.0 + 200.0 * number for number in range(8))


def samples_of(data: bytes) -> array[int]:
    """Samples of little-endian bytes as the machine has them."""
    found = array("h")
    found.frombytes(data)
    return found


def dbm0(power: float) -> float:
    """Level of a mean square."""
    reference = PEAK_0_DBM0 * PEAK_0_DBM0 / 2
    return 10 * math.log10(power / reference) if power > reference * 10 ** (SILENCE_DBM0 / 10) else SILENCE_DBM0


@lru_cache(maxsize=64)
def _wave(hertz: float, count: int) -> tuple[list[float], list[float]]:
    step = 2 * math.pi * hertz / RATE
    return [math.cos(step * at) for at in range(count)], [math.sin(step * at) for at in range(count)]


@lru_cache(maxsize=32)
def tones(hertz: tuple[float, ...], level_dbm0: float, count: int) -> bytes:
    """Tones of this level each, with the phases of M. R. Schroeder for a low crest."""
    peak = PEAK_0_DBM0 * 10 ** (level_dbm0 / 20)
    total = [0.0] * count
    for number, frequency in enumerate(hertz):
        phase = math.pi * number * number / len(hertz)
        cosine, sine = _wave(frequency, count)
        a, b = peak * math.sin(phase), peak * math.cos(phase)
        total = [value + a * c + b * s for value, c, s in zip(total, cosine, sine, strict=True)]
    return array("h", [max(-32768, min(32767, round(value))) for value in total]).tobytes()


def _fit(samples: array[int], hertz: float) -> tuple[float, float, float, float]:
    """Mean square of the tone, mean square of the rest, and the two amplitudes: least squares of cosine, sine and offset."""
    count = len(samples)
    cosine, sine = _wave(hertz, count)
    c, s = sum(cosine), sum(sine)
    cc, ss, cs = sum(map(mul, cosine, cosine)), sum(map(mul, sine, sine)), sum(map(mul, cosine, sine))
    y, yc, ys = float(sum(samples)), sum(map(mul, samples, cosine)), sum(map(mul, samples, sine))
    yy = float(sum(map(mul, samples, samples)))
    # Normal equations with the offset eliminated.
    cc, ss, cs = cc - c * c / count, ss - s * s / count, cs - c * s / count
    yc, ys, yy = yc - y * c / count, ys - y * s / count, yy - y * y / count
    determinant = cc * ss - cs * cs
    if determinant <= 0.0:
        return 0.0, yy / count, 0.0, 0.0
    a, b = (yc * ss - ys * cs) / determinant, (ys * cc - yc * cs) / determinant
    explained = a * yc + b * ys
    return (a * a + b * b) / 2, max(0.0, yy - explained) / count, a, b


def tone_level(samples: array[int], hertz: float) -> float:
    """Level of a tone in dBm0."""
    return dbm0(_fit(samples, hertz)[0])


def distortion(samples: array[int], hertz: float) -> float:
    """Signal to total distortion and noise, in dB."""
    tone, rest, _, _ = _fit(samples, hertz)
    return dbm0(tone) - dbm0(rest)


def idle_level(samples: array[int]) -> float:
    """Level of everything but the offset."""
    count = len(samples)
    mean = sum(samples) / count
    return dbm0(max(0.0, sum(map(mul, samples, samples)) / count - mean * mean))


def echo_return_loss(heard: array[int], sent_dbm0: float) -> float:
    """Loss of the path that `ERL_TONES`, sent at this level each, came back through."""
    gain = sum(10 ** ((tone_level(heard, hertz) - sent_dbm0) / 10) for hertz in ERL_TONES) / len(ERL_TONES)
    return -10 * math.log10(gain)


def pattern(count: int, seed: int) -> bytes:
    """Noise that is different for each slot (xorshift), at about -10 dBm0."""
    state, found = (seed * 2654435761 + 88172645463325252) & 0xFFFFFFFFFFFFFFFF, array("h")
    for _ in range(count):
        state ^= state << 13 & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 7
        state ^= state << 17 & 0xFFFFFFFFFFFFFFFF
        found.append((state >> 20 & 0x3FFF) - 0x2000)
    return found.tobytes()


def find_pattern(heard: array[int], sent: array[int], most_delay: int) -> int:
    """Delay in samples after which `heard` is `sent`, bit for bit; -1 when it never is."""
    length = len(sent) - most_delay
    wanted = sent[:length]
    for delay in range(most_delay + 1):
        if heard[delay : delay + length] == wanted:
            return delay
    return -1
