"""A prompt that somebody brings as a file: any PCM WAV becomes 8 kHz, one channel, 16 bit, at the level of the built prompts (L3).

Other rates are brought to 8 kHz with a windowed-sinc filter that ends at 3.4 kHz, so that nothing folds back; more channels are
averaged; 8, 16, 24 and 32 bit are read.
"""

from __future__ import annotations

import math
import wave
from array import array
from operator import mul
from typing import BinaryIO

from firmware.call.levels import RATE
from firmware.errors import ConfigError

CUTOFF_HZ = 3400.0
HALF = 24                       # zero crossings on each side of the filter
LONGEST_S = 300


def read_wav(file: str | BinaryIO, *, longest_s: int = LONGEST_S) -> array[int]:
    """Samples of a WAV file at 8 kHz, one channel. Raises ConfigError saying what is wrong with the file."""
    try:
        with wave.open(file, "rb") as source:
            rate, channels, width, frames = source.getframerate(), source.getnchannels(), source.getsampwidth(), source.getnframes()
            if not 8000 <= rate <= 192_000 or not 1 <= channels <= 8 or width not in (1, 2, 3, 4):
                raise ConfigError(f"it has {rate} Hz, {channels} channels, {8 * width} bit; give a PCM WAV of 8 to 192 kHz")
            if frames > longest_s * rate:
                raise ConfigError(f"it lasts {frames / rate:.0f} s; at most {longest_s} s are taken")
            data = source.readframes(frames)
    except (wave.Error, EOFError, OSError) as error:
        raise ConfigError(f"it cannot be read as WAV ({error}); give uncompressed PCM") from error
    mono = _mono(data, channels, width)
    if len(mono) < rate // 10:
        raise ConfigError("it is shorter than 0.1 s")
    return array("h", mono) if rate == RATE else _resampled(mono, rate)


def _mono(data: bytes, channels: int, width: int) -> list[int]:
    if width == 1:
        values = [(one - 128) << 8 for one in data]
    elif width == 2:
        values = list(array("h", data[: len(data) // 2 * 2]))
    else:
        values = [int.from_bytes(data[at + width - 2 : at + width], "little", signed=True) for at in range(0, len(data) - width + 1, width)]
    if channels == 1:
        return values
    return [sum(values[at : at + channels]) // channels for at in range(0, len(values) - channels + 1, channels)]


def _resampled(samples: list[int], rate: int) -> array[int]:
    """At 8 kHz: a windowed sinc around each output sample, its phases tabled."""
    divisor = math.gcd(rate, RATE)
    up, down = RATE // divisor, rate // divisor
    reach = math.ceil(HALF * rate / RATE)
    phases = [_filter(phase / up, rate, reach) for phase in range(up)]
    padded = [0] * reach + samples + [0] * (reach + 2)
    out = array("h")
    for number in range(len(samples) * up // down):
        at, phase = divmod(number * down, up)
        value = sum(map(mul, padded[at : at + 2 * reach + 1], phases[phase]))
        out.append(max(-32768, min(32767, round(value))))
    return out


def _filter(shift: float, rate: int, reach: int) -> list[float]:
    taps = []
    for index in range(-reach, reach + 1):
        x = index - shift
        bent = 2 * CUTOFF_HZ * x / rate
        sinc = 1.0 if abs(bent) < 1e-12 else math.sin(math.pi * bent) / (math.pi * bent)
        taps.append(sinc * (0.5 + 0.5 * math.cos(math.pi * x / (reach + 1))))
    total = sum(taps)
    return [tap / total for tap in taps]
