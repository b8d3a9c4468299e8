"""The four codecs behind one set of functions: lengths, levels, rates, malformed packets, restarts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.dsp import VoiceCodec, g711
from firmware.dsp.codec import NAMES, memory_size, nearest_ptime

PEAK = 22750.0
ALL = [("pcmu", 8000), ("pcma", 8000), ("g722", 8000), ("g722", 16000), ("opus", 8000), ("opus", 16000)]


def tone(hz: float, seconds: float, rate: int, level_dbm0: float = -10.0) -> npt.NDArray[np.int16]:
    t = np.arange(int(seconds * rate)) / rate
    return np.round(10 ** (level_dbm0 / 20) * PEAK * np.sin(2 * np.pi * hz * t)).astype("<i2")


def through(kind: str, rate: int, samples: npt.NDArray[np.int16], ms: int = 20) -> npt.NDArray[np.float64]:
    """The samples after coding and decoding in packets of `ms`."""
    sender, receiver = VoiceCodec(kind, rate), VoiceCodec(kind, rate)
    step = rate * ms // 1000
    packets = [sender.encode(samples[i : i + step].tobytes()) for i in range(0, len(samples) // step * step, step)]
    return np.frombuffer(b"".join(receiver.decode(packet) for packet in packets), "<i2").astype(float)


def level_dbm0(samples: npt.NDArray[np.float64], hz: float, rate: int) -> float:
    window = np.hanning(len(samples))
    amplitude = 2 * abs(np.sum(samples * window * np.exp(-2j * np.pi * hz * np.arange(len(samples)) / rate))) / window.sum()
    return float(20 * np.log10(max(amplitude, 1e-6) / PEAK))


@pytest.mark.parametrize(("kind", "rate"), ALL)
@pytest.mark.parametrize("ms", [10, 20, 40, 60])
def test_a_tone_keeps_its_level_at_every_packet_time(kind, rate, ms):
    for hz in (500, 1004, 2000):
        out = through(kind, rate, tone(hz, 1.8, rate), ms)
        assert len(out) == 1.8 * rate
        assert abs(level_dbm0(out[rate // 2 :], hz, rate) + 10) < (1.5 if kind == "opus" else 0.2), hz


@pytest.mark.parametrize(("kind", "rate"), [pair for pair in ALL if pair[1] == 16000])
def test_wide_band_sound_comes_through(kind, rate):
    assert level_dbm0(through(kind, rate, tone(5200, 2, rate))[rate:], 5200, rate) > -14


@pytest.mark.parametrize(("kind", "rate"), ALL)
def test_silence_stays_silent(kind, rate):
    out = through(kind, rate, np.zeros(rate, "<i2"))
    assert np.sqrt(np.mean(out[rate // 4 :] ** 2)) < 10  # -67 dBm0


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_g711_is_the_g711_of_the_tables(law, rng):
    samples = rng.integers(-32768, 32768, 160).astype("<i2").tobytes()
    codec = VoiceCodec(law)
    packet = codec.encode(samples)
    assert packet == g711.encode("ulaw" if law == "pcmu" else "alaw", samples)
    assert codec.decode(packet) == g711.decode("ulaw" if law == "pcmu" else "alaw", packet)


def test_g722_on_an_8_khz_port_is_g722_behind_the_resampler(rng):
    from firmware.dsp import Resampler

    samples = rng.normal(0, 2500, 1600).astype("<i2").tobytes()
    narrow, wide, up, down = VoiceCodec("g722", 8000), VoiceCodec("g722", 16000), Resampler(8000, 16000), Resampler(16000, 8000)
    for i in range(0, len(samples), 320):
        packet = narrow.encode(samples[i : i + 320])
        assert packet == wide.encode(up.process(samples[i : i + 320]))
        assert narrow.decode(packet) == down.process(wide.decode(packet))


@pytest.mark.parametrize(("kind", "rate"), ALL)
def test_clock_and_span_of_packets(kind, rate):
    codec = VoiceCodec(kind, rate)
    packet = codec.encode(tone(700, 0.02, rate).tobytes())
    assert codec.clock == (48000 if kind == "opus" else 8000)  # RFC 7587 section 4.1, RFC 3551 section 4.5.2
    assert codec.span(packet) == codec.clock // 50
    assert codec.span(b"") == -1


def test_packet_times_that_opus_lacks_become_shorter():
    assert [nearest_ptime("opus", ms) for ms in (5, 10, 20, 30, 40, 50, 60, 120)] == [10, 10, 20, 20, 40, 40, 60, 60]
    assert [nearest_ptime("g722", ms) for ms in (5, 10, 25, 30, 60, 90)] == [10, 10, 20, 30, 60, 60]


@pytest.mark.parametrize(("kind", "rate"), ALL)
def test_restart_makes_the_decoder_as_new(kind, rate, rng):
    packets = []
    sender = VoiceCodec(kind, rate)
    for _ in range(20):
        packets.append(sender.encode(rng.normal(0, 2000, rate // 50).astype("<i2").tobytes()))
    codec = VoiceCodec(kind, rate)
    first = [codec.decode(packet) for packet in packets]
    codec.restart()
    assert [codec.decode(packet) for packet in packets] == first


@pytest.mark.parametrize(("kind", "rate"), ALL)
def test_hostile_packets_leave_a_usable_decoder(kind, rate, rng):
    codec = VoiceCodec(kind, rate)
    for _ in range(300):
        packet = rng.integers(0, 256, int(rng.integers(0, 481))).astype("u1").tobytes()
        try:
            assert len(codec.decode(packet)) <= 2 * 1920
        except ValueError:
            assert kind == "opus" or not packet
        codec.recover(packet, rate // 50)
    codec.restart()
    sender = VoiceCodec(kind, rate)
    samples = tone(1004, 1, rate)
    step = rate // 50
    out = b"".join(codec.decode(sender.encode(samples[i : i + step].tobytes())) for i in range(0, rate, step))
    assert abs(level_dbm0(np.frombuffer(out, "<i2").astype(float)[rate // 2 :], 1004, rate) + 10) < 1.5


@given(st.binary(max_size=480), st.sampled_from(ALL))
def test_any_bytes_are_decoded_or_refused(packet, which):
    codec = VoiceCodec(*which)
    span = codec.span(packet)
    try:
        n = len(codec.decode(packet)) // 2
    except ValueError:
        return
    assert n * codec.clock == span * codec.rate


@pytest.mark.parametrize(("kind", "rate"), ALL)
def test_extremes(kind, rate):
    for wave in ([32767, -32768], [32767], [-32768], [32767] * 8 + [-32768] * 8):
        out = through(kind, rate, np.tile(np.array(wave, "<i2"), rate // len(wave))[:rate])
        assert len(out) == rate


def test_wrong_lengths_kinds_and_rates_are_refused():
    with pytest.raises(ValueError, match="unknown codec 'gsm'"):
        VoiceCodec("gsm")
    with pytest.raises(ValueError, match="pcma does not run at 16000 Hz"):
        VoiceCodec("pcma", 16000)
    with pytest.raises(ValueError, match="g722 does not run at 48000 Hz"):
        VoiceCodec("g722", 48000)
    with pytest.raises(ValueError, match="opus has no packet"):
        VoiceCodec("opus").encode(bytes(2 * 123))
    with pytest.raises(ValueError, match="g722 has no packet"):
        VoiceCodec("g722", 16000).encode(bytes(2 * 33))
    with pytest.raises(ValueError, match="pcmu has no packet"):
        VoiceCodec("pcmu").encode(bytes(2 * 481))


def test_one_port_needs_less_than_64_kib():
    assert memory_size() < 65536
    assert NAMES == ("pcmu", "pcma", "g722", "opus")
