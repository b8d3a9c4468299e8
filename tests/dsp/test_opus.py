"""How libopus is set up: rate, redundancy, concealment, continuous transmission."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from firmware.dsp import VoiceCodec


def voice(rng: np.random.Generator, seconds: float, rate: int) -> npt.NDArray[np.int16]:
    """A buzz through two resonances with a changing pitch, in syllables of 200 ms: enough of speech for a speech codec."""
    n = int(seconds * rate)
    t = np.arange(n) / rate
    phase = np.cumsum(120 + 25 * np.sin(2 * np.pi * 0.7 * t)) / rate
    sound = np.diff(np.floor(phase), prepend=0.0) * 1.0 + rng.normal(0, 0.01, n)
    for hz, width in ((500, 80), (1500, 120), (2600, 160)):
        r = np.exp(-np.pi * width / rate)
        a1, a2 = 2 * r * np.cos(2 * np.pi * hz / rate), -r * r
        out = np.zeros(n + 2)
        for i in range(n):
            out[i + 2] = sound[i] + a1 * out[i + 1] + a2 * out[i]
        sound = out[2:]
    sound *= np.clip(np.sin(2 * np.pi * 2.5 * t) + 0.6, 0, 1)
    return np.round(sound / np.max(np.abs(sound)) * 9000).astype("<i2")


def packets_of(samples: npt.NDArray[np.int16], rate: int) -> list[bytes]:
    codec = VoiceCodec("opus", rate)
    step = rate // 50
    return [codec.encode(samples[i : i + step].tobytes()) for i in range(0, len(samples) // step * step, step)]


@pytest.mark.parametrize(("rate", "most_kbit"), [(8000, 26), (16000, 31)])
def test_bit_rate_and_continuous_transmission(rng, rate, most_kbit):
    packets = packets_of(np.concatenate([voice(rng, 4, rate), np.zeros(4 * rate, "<i2")]), rate)
    assert 8 * sum(map(len, packets[:200])) / 4000 < most_kbit
    assert min(map(len, packets)) > 2  # a packet of one or two bytes would be discontinuous transmission (RFC 6716 section 2.1.9)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_lost_packet_comes_back_from_the_next_one(rng, rate):
    samples = voice(rng, 4, rate)
    packets = packets_of(samples, rate)
    step = rate // 50
    whole, repaired, guessed = VoiceCodec("opus", rate), VoiceCodec("opus", rate), VoiceCodec("opus", rate)
    errors: dict[str, float] = {"repaired": 0.0, "guessed": 0.0, "silent": 0.0}
    for i, packet in enumerate(packets):
        clear = np.frombuffer(whole.decode(packet), "<i2").astype(float)
        if i % 10 == 5 and i + 1 < len(packets):
            one = np.frombuffer(repaired.recover(packets[i + 1], step), "<i2").astype(float)
            two = np.frombuffer(guessed.conceal(step), "<i2").astype(float)
            assert len(one) == len(two) == step
            errors["repaired"] += float(np.sum((one - clear) ** 2))
            errors["guessed"] += float(np.sum((two - clear) ** 2))
            errors["silent"] += float(np.sum(clear**2))
        else:
            repaired.decode(packet)
            guessed.decode(packet)
    assert errors["repaired"] < 0.7 * errors["silent"]
    assert errors["repaired"] < errors["guessed"] < 2.0 * errors["silent"]


def test_concealment_fades_away(rng):
    codec = VoiceCodec("opus", 8000)
    for packet in packets_of(voice(rng, 1, 8000), 8000):
        codec.decode(packet)
    powers = [float(np.mean(np.frombuffer(codec.conceal(160), "<i2").astype(float) ** 2)) for _ in range(50)]
    assert powers[-1] < 0.02 * max(powers[:5]) + 100


def test_other_codecs_have_no_concealment_of_their_own():
    for kind in ("pcmu", "pcma", "g722"):
        assert VoiceCodec(kind).conceal(160) == b""
        assert VoiceCodec(kind).recover(bytes(160), 160) == b""


def test_stereo_packets_are_heard_in_one_channel():
    # A 20 ms stereo SILK frame (TOC 0x0C: narrow band, stereo, one frame): what a far side may send although we asked for mono.
    codec = VoiceCodec("opus", 8000)
    assert codec.span(b"\x0c" + bytes(40)) == 960
    assert len(codec.decode(b"\x0c" + bytes(40))) == 320
