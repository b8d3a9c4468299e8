"""Audio evidence: what a recording really holds, measured without any of the product's own code."""

from __future__ import annotations

import math
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PEAK_0DBM0 = 22750.0  # peak of a 0 dBm0 sine in 16-bit linear samples
Samples = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sound:
    """One channel of audio: `samples` as float in 16-bit units, `rate` in Hz."""

    samples: Samples
    rate: int = 8000

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def part(self, start_s: float, end_s: float | None = None) -> Sound:
        end = None if end_s is None else int(end_s * self.rate)
        return Sound(self.samples[int(start_s * self.rate) : end], self.rate)

    def tone_dbm0(self, hz: float, bandwidth_hz: float = 12.0) -> float:
        """Level of the tone at `hz` in dBm0 over the whole sound (-120 for none)."""
        if len(self.samples) < self.rate // 10:
            return -120.0
        window = np.hanning(len(self.samples))
        spectrum = np.abs(np.fft.rfft(self.samples * window)) ** 2
        freqs = np.fft.rfftfreq(len(self.samples), 1 / self.rate)
        power = spectrum[np.abs(freqs - hz) <= bandwidth_hz].sum() * 2 / (np.sum(window**2) * len(self.samples))
        return 10 * math.log10(max(power, 1e-9) / (PEAK_0DBM0**2 / 2))

    def level_dbm0(self) -> float:
        """RMS level of everything in dBm0."""
        power = float(np.mean(self.samples**2)) if len(self.samples) else 0.0
        return 10 * math.log10(max(power, 1e-9) / (PEAK_0DBM0**2 / 2))

    def tone_envelope(self, hz: float, block_ms: int = 20) -> npt.NDArray[np.float64]:
        """Level of the tone in dBm0 in each block of `block_ms`."""
        n = self.rate * block_ms // 1000
        blocks = self.samples[: len(self.samples) // n * n].reshape(-1, n)
        phase = np.exp(-2j * np.pi * hz * np.arange(n) / self.rate)
        amplitude = 2 * np.abs(blocks @ phase) / n
        levels: npt.NDArray[np.float64] = 20 * np.log10(np.maximum(amplitude, 1e-3) / PEAK_0DBM0)
        return levels

    def longest_gap_ms(self, hz: float, floor_dbm0: float, block_ms: int = 20) -> int:
        """Longest run of blocks, between the first and the last that carry the tone, in which it is below `floor_dbm0`."""
        heard = self.tone_envelope(hz, block_ms) > floor_dbm0
        where = np.flatnonzero(heard)
        if len(where) == 0:
            return 1_000_000
        longest = run = 0
        for on in heard[where[0] : where[-1] + 1]:
            run = 0 if on else run + 1
            longest = max(longest, run)
        return longest * block_ms

    def first_heard_s(self, hz: float, floor_dbm0: float, block_ms: int = 20) -> float:
        """Seconds until the tone is first above the floor, infinity when never."""
        where = np.flatnonzero(self.tone_envelope(hz, block_ms) > floor_dbm0)
        return float(where[0] * block_ms / 1000) if len(where) else math.inf


def read_wav(path: Path) -> list[Sound]:
    """All channels of a 16-bit WAV file; a file whose header is not closed is read to its end."""
    data = path.read_bytes()
    with wave.open(str(path), "rb") as file:
        channels, rate = file.getnchannels(), file.getframerate()
    body = data[data.index(b"data") + 8 :]
    frame = 2 * channels
    samples = np.frombuffer(body[: len(body) // frame * frame], dtype="<i2").astype(np.float64).reshape(-1, channels)
    return [Sound(samples[:, i].copy(), rate) for i in range(channels)]


def alaw(coded: bytes) -> bytes:
    """Samples of A-law bytes, worked out from ITU-T G.711 table 1a: chord, step, even bits inverted."""
    bits = np.frombuffer(coded, dtype=np.uint8).astype(np.int32) ^ 0x55
    chord, step = (bits >> 4) & 7, bits & 15
    value = np.where(chord == 0, step * 16 + 8, (step * 16 + 264) << np.maximum(chord - 1, 0))
    return np.where(bits & 0x80, value, -value).astype("<i2").tobytes()


def read_recording(state: Path, name: str) -> list[Sound]:
    """Both channels of a sealed recording, opened by another library than the product's; every piece must be genuine and in order."""
    data = (state / "recordings" / name).read_bytes()
    device = (state / "keys" / "recordings.key").read_bytes()
    assert data[:8] == b"BPXREC1\n"

    def opened(key: bytes, piece: bytes) -> bytes:
        return AESGCM(key).decrypt(bytes(4) + piece[4:12], piece[12:], data[8:24] + piece[:12])

    key, body, at, number = opened(device, data[32:92]), b"", 96, 0
    while True:
        word, index = int.from_bytes(data[at : at + 4], "little"), int.from_bytes(data[at + 4 : at + 12], "little")
        end = at + 12 + (word & 0x1FFFFFFF) + 16
        assert index == number
        piece = opened(key, data[at:end])
        body += alaw(piece) if word & 0x40000000 else piece
        at, number = end, number + 1
        if word >> 31:
            break
    assert at == len(data)
    samples = np.frombuffer(body, dtype="<i2").astype(np.float64).reshape(-1, 2)
    return [Sound(samples[:, channel].copy(), 8000) for channel in range(2)]


def write_tone(path: Path, hz: float, seconds: float, level_dbm0: float = -10.0, rate: int = 8000) -> Path:
    """A mono sine WAV at the given level."""
    t = np.arange(int(seconds * rate))
    samples = (10 ** (level_dbm0 / 20) * PEAK_0DBM0 * np.sin(2 * np.pi * hz * t / rate)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path
