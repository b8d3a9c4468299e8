"""G.722 against another implementation (spandsp), against fixed results, and against what telephony needs of it.

The fixed results were written by code that reproduces all 48 768 octets and 97 536 samples of the G.722 sequences in the ITU-T
Software Tool Library (G.191: inpsp.bin, codspw.cod, outsp1.bin), which may not be kept here.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.dsp import VoiceCodec

PEAK = 22750.0
Samples = npt.NDArray[np.int16]


def encode(samples: Samples, step: int = 320) -> bytes:
    codec = VoiceCodec("g722", 16000)
    return b"".join(codec.encode(samples[i : i + step].tobytes()) for i in range(0, len(samples), step))


def decode(data: bytes, step: int = 160) -> Samples:
    codec = VoiceCodec("g722", 16000)
    return np.frombuffer(b"".join(codec.decode(data[i : i + step]) for i in range(0, len(data), step)), "<i2")


def fixed_noise(n: int) -> npt.NDArray[np.uint32]:
    """Numbers that are the same everywhere and for ever (a linear congruence, Numerical Recipes)."""
    out = np.empty(n, np.uint32)
    state = 1
    for i in range(n):
        state = (1664525 * state + 1013904223) & 0xFFFFFFFF
        out[i] = state
    return out


class Spandsp:
    """G.722 of libspandsp, one stream a call."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("spandsp")
        if name is None:
            pytest.skip("libspandsp is not installed")
        self.lib = ctypes.CDLL(name)
        for function in (self.lib.g722_encode_init, self.lib.g722_decode_init):
            function.restype = ctypes.c_void_p

    def encode(self, samples: Samples) -> bytes:
        state = ctypes.c_void_p(self.lib.g722_encode_init(None, 64000, 0))
        out = ctypes.create_string_buffer(len(samples))
        n = self.lib.g722_encode(state, out, samples.tobytes(), len(samples))
        self.lib.g722_encode_free(state)
        return out.raw[:n]

    def decode(self, data: bytes) -> Samples:
        state = ctypes.c_void_p(self.lib.g722_decode_init(None, 64000, 0))
        out = ctypes.create_string_buffer(4 * len(data))
        n = self.lib.g722_decode(state, out, data, len(data))
        self.lib.g722_decode_free(state)
        return np.frombuffer(out.raw[: 2 * n], "<i2")


def signals(rng: np.random.Generator) -> dict[str, Samples]:
    n = 64000
    t = np.arange(n) / 16000
    wide = rng.normal(0, 3000, n) * (np.sin(2 * np.pi * 3 * t) > 0)
    sweep = 9000 * np.sin(2 * np.pi * (50 * t + 7900 / 8 * t * t))
    mixed = {
        "bursts": wide,
        "sweep": sweep,
        "quiet": rng.normal(0, 4, n),
        "tones": 5000 * np.sin(2 * np.pi * 697 * t) + 5000 * np.sin(2 * np.pi * 6300 * t),
        "impulses": 20000.0 * (rng.random(n) < 0.002),
        "silence": np.zeros(n),
    }
    return {name: np.clip(np.round(x), -32768, 32767).astype("<i2") for name, x in mixed.items()}


def test_coding_and_decoding_equal_another_implementation(rng):
    other = Spandsp()
    for name, samples in signals(rng).items():
        data = encode(samples)
        assert data == other.encode(samples), name
        assert np.array_equal(decode(data), other.decode(data)), name


def test_any_octets_decode_as_another_implementation_does_where_that_does_not_wrap(rng):
    data = rng.integers(0, 256, 40000).astype("u1").tobytes()
    ours, theirs = decode(data), Spandsp().decode(data)
    inside = (ours > -32768) & (ours < 32767)  # it wraps where the recommendation limits
    assert 0.9 < inside.mean() < 1.0
    assert np.array_equal(ours[inside], theirs[inside])


def test_fixed_results():
    noise = fixed_noise(32000)
    loud = (noise >> 16).astype("u2").view("i2").astype("<i2")
    soft = (loud // 8).astype("<i2")
    octets = (noise >> 24).astype("u1").tobytes()
    digest = [hashlib.sha256(x).hexdigest()[:16] for x in (encode(loud), encode(soft), decode(octets).tobytes())]
    assert digest == DIGESTS


DIGESTS = ["08a45ec3c47680f4", "e794cc9dc0df77e5", "3a9e4bb950ff0350"]


@pytest.mark.parametrize(("hz", "least_db"), [(300, 40), (1000, 37), (3000, 24), (5500, 11), (6800, 11)])
def test_signal_to_distortion_of_a_tone(hz, least_db):
    t = np.arange(32000) / 16000
    sent = np.round(10 ** (-10 / 20) * PEAK * np.sin(2 * np.pi * hz * t)).astype("<i2")
    got = decode(encode(sent)).astype(float)[8000:24000]
    basis = np.stack([np.sin(2 * np.pi * hz * t[8000:24000]), np.cos(2 * np.pi * hz * t[8000:24000])])
    amplitude = 2 * basis @ got / len(got)
    noise = got - amplitude @ basis
    level = 20 * np.log10(np.hypot(*amplitude) / PEAK)
    assert abs(level + 10) < 0.3
    assert 10 * np.log10(np.hypot(*amplitude) ** 2 / 2 / np.mean(noise**2)) > least_db


def test_a_lost_packet_is_forgotten(rng):
    samples = signals(rng)["bursts"]
    data = encode(samples)
    broken = data[:8000] + bytes(160) + data[8160:]
    whole, hurt = decode(data).astype(float), decode(broken).astype(float)
    late = slice(2 * 8160 + 16000, None)
    assert np.array_equal(whole[: 2 * 8000], hurt[: 2 * 8000])
    assert np.mean((whole - hurt)[late] ** 2) < 1e-4 * np.mean(whole[late] ** 2)


@given(st.binary(min_size=2, max_size=640).filter(lambda x: len(x) % 4 == 0), st.integers(1, 5))
def test_block_sizes_do_not_matter(raw, pieces):
    samples = np.frombuffer(raw, "<i2")
    step = max(2, len(samples) // pieces // 2 * 2)
    data = encode(samples, step)
    assert data == encode(samples, len(samples))
    assert np.array_equal(decode(data, max(1, len(data) // pieces)), decode(data, len(data)))


def test_extremes_stay_within_the_numbers():
    for wave in ([32767, -32768], [32767, 32767, -32768, -32768], [32767] * 4, [-32768] * 4):
        samples = np.array(wave * 4000, "<i2")
        got = decode(encode(samples)).astype(float)
        assert np.all(np.isfinite(got))
        back = decode(encode(np.zeros(16000, "<i2")))
        assert np.max(np.abs(back)) < 32
