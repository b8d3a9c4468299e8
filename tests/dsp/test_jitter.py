"""The jitter buffer with virtual packets: order, loss, delay, drift, pauses, other streams, hostile values."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.dsp import ComfortNoise, JitterBuffer, VoiceCodec
from tests.conftest import soak

from .signals import Sound, level, music, noise, pcm, rms, samples, sine, speech

BLOCK = 80


@dataclass
class Packet:
    """One packet of a virtual network; `at` in ms."""

    at: float
    seq: int
    ts: int
    payload: bytes
    kind: str | None = None
    ssrc: int = 1
    marker: bool = False


def encode(x: Sound, codec: str = "pcma", ptime: int = 160) -> list[bytes]:
    coder = VoiceCodec(codec)
    data = pcm(x)
    return [coder.encode(data[i : i + 2 * ptime]) for i in range(0, len(data) - 2 * ptime + 1, 2 * ptime)]


def stream(x: Sound, codec: str = "pcma", ptime: int = 160, seq: int = 65500, ts: int = 2**32 - 4000, start: float = 0.0,
           ppm: float = 0.0, delays: Iterable[float] | None = None, ssrc: int = 1) -> list[Packet]:
    """Packets as a sender with a crystal `ppm` slow makes them; `delays` of the network in ms."""
    payloads = encode(x, codec, ptime)
    step = ptime * (6 if codec == "opus" else 1)
    waits = list(delays) if delays is not None else [0.0] * len(payloads)
    return [Packet(start + k * ptime / 8 * (1 + ppm * 1e-6) + waits[k], seq + k, ts + k * step, p, ssrc=ssrc)
            for k, p in enumerate(payloads)]


def play(j: JitterBuffer, packets: list[Packet], ticks: int) -> tuple[list[int], Sound]:
    """What comes out in so many ticks."""
    queue = sorted(packets, key=lambda p: p.at)
    kinds, out, at = [], [], 0
    for tick in range(ticks):
        while at < len(queue) and queue[at].at < (tick + 1) * 10:
            p = queue[at]
            j.put(tick, p.seq, p.ts, p.payload, p.kind, p.marker, p.ssrc)
            at += 1
        kind, block = j.get(tick)
        assert len(block) == 2 * BLOCK
        kinds.append(kind)
        out.append(samples(block))
    assert j.check()
    return kinds, np.concatenate(out)


def decoded(x: Sound, codec: str = "pcma", ptime: int = 160) -> Sound:
    coder = VoiceCodec(codec)
    return np.concatenate([samples(coder.decode(p)) for p in encode(x, codec, ptime)])


def whereabouts(x: Sound, y: Sound) -> int:
    """The place in y at which x begins, by correlation."""
    n = 1 << (len(x) + len(y)).bit_length()
    products = np.fft.irfft(np.fft.rfft(y, n) * np.conj(np.fft.rfft(x, n)), n)[: len(y)]
    energy = np.cumsum(np.append(y, np.zeros(len(x))) ** 2)
    return int(np.argmax(products / np.sqrt(energy[len(x) - 1 :][: len(y)] - np.append(0.0, energy)[: len(y)] + 1e4)))


@pytest.mark.parametrize("codec", ["pcmu", "pcma", "g722", "opus"])
@pytest.mark.parametrize("ptime", [80, 160, 320])
def test_a_good_network_changes_nothing(rng: np.random.Generator, codec: str, ptime: int) -> None:
    x = speech(rng, 2.0)
    j = JitterBuffer(20, 200, codec)
    kinds, y = play(j, stream(x, codec, ptime), 205)
    want = decoded(x, codec, ptime)
    assert kinds[2:199] == [1] * 197
    assert np.array_equal(y[160 + 80 : 15000], want[80 : 15000 - 160])  # the first 10 ms fade in from nothing
    f = j.figures()
    assert f["missing"] == f["late"] == f["duplicate"] == f["refused"] == f["removed"] == f["added"] == f["restarts"] == 0


@pytest.mark.parametrize("least_ms", [10, 20, 60, 150])
def test_the_least_delay_is_kept(rng: np.random.Generator, least_ms: int) -> None:
    x = noise(rng, 8000, -25.0)
    _, y = play(JitterBuffer(least_ms, 200), stream(x), 130)
    assert whereabouts(decoded(x)[800:4000], y) - 800 == least_ms * 8


def test_reordered_and_repeated_packets_are_put_right(rng: np.random.Generator) -> None:
    x = speech(rng, 2.0)
    packets = stream(x)
    for k in range(4, len(packets) - 2, 5):
        packets[k].at = packets[k + 1].at + 0.2
    twice = [Packet(p.at + 3.0, p.seq, p.ts, p.payload) for p in packets[::3]]
    j = JitterBuffer(40, 200)
    kinds, y = play(j, packets + twice, 200)
    assert set(kinds[5:]) == {1}
    assert np.array_equal(y[320 + 1600 : 320 + 14000], decoded(x)[1600:14000])
    f = j.figures()
    assert f["duplicate"] + f["late"] == len(twice)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.2])
def test_lost_packets_are_made_up_sample_by_sample(rng: np.random.Generator, share: float) -> None:
    x = speech(rng, 10.0)
    packets = [p for p in stream(x) if rng.random() > share or p.seq < 65503]
    j = JitterBuffer(20, 200)
    kinds, y = play(j, packets, 1004)
    f = j.figures()
    assert f["missing"] == 500 - len(packets) - (65500 + 499 - packets[-1].seq)
    assert f["removed"] == f["added"] == 0
    assert f["concealed"] <= 160 * (500 - len(packets)) + 480
    want = decoded(x)
    came = {p.seq - 65500 for p in packets}
    wrong = [k for k in came if 1 <= k < 480 and not np.array_equal(y[200 + k * 160 : 320 + k * 160], want[k * 160 + 40 : k * 160 + 160])]
    assert len(wrong) <= 3, wrong  # all others are where they belong; of 180 draws none was elsewhere
    assert kinds.count(2) == j.figures()["lost"]


@pytest.mark.parametrize("ppm", [-400.0, 400.0])
def test_another_crystal_is_absorbed(rng: np.random.Generator, ppm: float) -> None:
    x = speech(rng, 60.0) + noise(rng, 480000, -60.0)
    j = JitterBuffer(20, 200)
    kinds, _ = play(j, stream(x, ppm=ppm), 5990)
    f = j.figures()
    assert kinds.count(2) <= 8
    change = f["removed"] - f["added"]
    assert change == pytest.approx(-480000 * ppm * 1e-6, abs=180)  # a pitch period more or less; 70 at most in 24 draws
    assert f["delay_ms"] < 45.0


def jitter_delays(rng: np.random.Generator, n: int) -> list[float]:
    """Queueing: a burst of other traffic now and then, emptied by 20 ms a packet."""
    delays, queue = [], 0.0
    for _ in range(n):
        queue = max(0.0, queue - 20.0) + (rng.uniform(10.0, 60.0) if rng.random() < 0.05 else 0.0)
        delays.append(queue + rng.uniform(0.0, 5.0))
    return delays


def test_network_jitter_is_followed_and_let_go(rng: np.random.Generator) -> None:
    x = speech(rng, 60.0) + noise(rng, 480000, -60.0)
    delays = jitter_delays(rng, 1500) + [0.0] * 1500
    j = JitterBuffer(20, 200)
    kinds, _ = play(j, stream(x, delays=delays), 3000)
    busy = j.figures()["target_ms"]
    assert 22.0 < busy <= 200.0  # 51 +- 4
    assert kinds[500:].count(2) < 0.02 * 2500
    queue = [p for p in stream(x, delays=delays) if p.at >= 30000]
    for tick in range(3000, 5950):
        while queue and queue[0].at < (tick + 1) * 10:
            p = queue.pop(0)
            j.put(tick, p.seq, p.ts, p.payload)
        j.get(tick)
    assert j.figures()["target_ms"] == 20.0
    assert j.figures()["delay_ms"] <= 35.0  # 21 +- 2


def test_a_spike_lifts_the_target_at_once_and_it_falls_slowly(rng: np.random.Generator) -> None:
    x = speech(rng, 12.0) + noise(rng, 96000, -60.0)
    delays = [0.0] * 600
    for k in range(6):
        delays[200 + k] = 120.0 - 20.0 * k
    j = JitterBuffer(20, 200)
    kinds, _ = play(j, stream(x, delays=delays), 420)
    assert j.figures()["target_ms"] >= 100.0
    assert kinds.count(2) <= 12
    f = j.figures()
    assert f["missing"] == 0  # what came late was played, only later
    j2 = JitterBuffer(20, 200)
    play(j2, stream(x, delays=delays), 1100)
    assert j2.figures()["target_ms"] <= 30.0


def test_a_stall_longer_than_the_greatest_delay_drops_the_oldest(rng: np.random.Generator) -> None:
    x = speech(rng, 8.0) + noise(rng, 64000, -60.0)
    delays = [max(0.0, 1000.0 - 20.0 * (k - 100)) if k >= 100 else 0.0 for k in range(400)]
    j = JitterBuffer(20, 100)
    play(j, stream(x, delays=delays), 320)
    assert j.figures()["delay_ms"] <= 300.0  # 170 +- 16
    play_on = JitterBuffer(20, 100)
    play(play_on, stream(x, delays=delays), 790)
    assert play_on.figures()["delay_ms"] <= 120.0  # 101 +- 2


def test_comfort_noise_packets_make_noise_until_speech_returns(rng: np.random.Generator) -> None:
    c = ComfortNoise()
    c.learn(pcm(noise(rng, 8000, -45.0)))
    x = speech(rng, 1.0) + noise(rng, 8000, -45.0)  # no part of it is silent: its place is found by correlation
    first, second = stream(x), stream(x, seq=65500 + 52, ts=2**32 - 4000 + 24000, start=3000.0)
    updates = [Packet(1000.0, 65550, 2**32 - 4000 + 8000, c.encode(8), "noise"),
               Packet(2000.0, 65551, 2**32 - 4000 + 16000, c.encode(8), "noise")]
    j = JitterBuffer(20, 200)
    kinds, y = play(j, first + updates + second, 402)
    assert set(kinds[3:100]) == {1}
    assert set(kinds[104:300]) == {0}
    assert set(kinds[303:400]) == {1}
    assert level(y[110 * 80 : 298 * 80]) == pytest.approx(-45.0, abs=2.0)
    assert whereabouts(decoded(x)[800:6000], y[200 * 80 :]) + 200 * 80 - 800 == 24000 + 160  # played when it was due
    assert j.figures()["missing"] == j.figures()["lost"] == 0


def test_a_silent_sender_leaves_its_background_behind(rng: np.random.Generator) -> None:
    x = np.concatenate([speech(rng, 2.0), np.zeros(16000)]) + noise(rng, 32000, -55.0)
    j = JitterBuffer(20, 200)
    kinds, y = play(j, stream(x), 2500)
    assert level(y[500 * 80 : 900 * 80]) == pytest.approx(-55.0, abs=3.0)
    assert kinds[-1] == 0
    assert not y[-8000:].any()  # not for ever
    assert j.figures()["lost"] <= 8


@pytest.mark.parametrize("clock_ran_on", [False, True])
def test_hold_and_resume(rng: np.random.Generator, clock_ran_on: bool) -> None:
    x = speech(rng, 1.0) + noise(rng, 8000, -45.0)
    j = JitterBuffer(20, 200)
    gap = 40000 if clock_ran_on else 0
    again = stream(x, seq=65550, ts=2**32 - 4000 + 8000 + gap, start=6000.0)
    kinds, y = play(j, stream(x) + again, 720)
    assert set(kinds[110:600]) == {0}
    assert kinds[604:700] == [1] * 96
    heard_at = whereabouts(decoded(x)[800:6000], y[550 * 80 :]) + 550 * 80 - 800
    assert heard_at - 48000 <= 8 * 30


@pytest.mark.parametrize("jump", [1_000_000, -1_000_000, 12345, -12345, 2**31])
@pytest.mark.parametrize("same_sequence", [True, False])
def test_timestamp_jumps_are_followed(rng: np.random.Generator, jump: int, same_sequence: bool) -> None:
    x = speech(rng, 2.0)
    j = JitterBuffer(20, 200)
    packets = stream(x)
    for k in range(50, 100):
        packets[k].ts += jump
        packets[k].seq += 0 if same_sequence else 20000
    kinds, _ = play(j, packets, 202)
    assert kinds[130:198] == [1] * 68
    assert j.figures()["delay_ms"] <= 100.0
    assert kinds.count(1) > 160


def test_another_ssrc_continues_behind_the_first(rng: np.random.Generator) -> None:
    x = speech(rng, 1.0)
    j = JitterBuffer(60, 200)
    straggler = stream(x)[49]
    straggler.at = 1030.0
    kinds, _ = play(j, stream(x)[:49] + [straggler] + stream(x, seq=7, ts=99, start=1000.0, ssrc=9), 207)
    assert kinds[8:104] == [1] * 96  # nothing of the first is cut
    assert kinds[112:204] == [1] * 92
    assert j.figures()["refused"] == 1
    assert j.figures()["restarts"] == 1


def test_one_stray_packet_does_no_harm(rng: np.random.Generator) -> None:
    x = speech(rng, 2.0)
    packets = stream(x)
    packets.insert(50, Packet(packets[50].at + 1.0, 1234, 0x12345678, b"\x55" * 160))
    j = JitterBuffer(20, 200)
    _, y = play(j, packets, 198)
    assert np.array_equal(y[160 + 80 : 15000], decoded(x)[80 : 15000 - 160])
    assert j.figures()["refused"] == 1


def test_lost_opus_packets_come_back_from_their_successors(rng: np.random.Generator) -> None:
    x = speech(rng, 6.0)
    packets = stream(x, "opus")
    lost = [p for k, p in enumerate(packets) if k % 11 == 5]
    j = JitterBuffer(60, 200, "opus")
    play(j, [p for p in packets if p not in lost], 600)
    f = j.figures()
    assert f["recovered"] >= 0.9 * len(lost)
    assert f["concealed"] <= 480


def test_music_is_scaled_without_clicks(rng: np.random.Generator) -> None:
    x = music(rng, 20.0)
    j = JitterBuffer(20, 200)
    _, y = play(j, stream(x, ppm=-600.0), 1980)
    f = j.figures()
    assert f["removed"] > 0
    assert np.abs(np.diff(y[1600:], 2)).max() < 2.0 * np.abs(np.diff(decoded(x), 2)).max()


def test_restart_forgets_the_stream_and_keeps_the_counters(rng: np.random.Generator) -> None:
    j = JitterBuffer(20, 200)
    play(j, stream(speech(rng, 1.0))[::2], 100)
    before = j.figures()
    j.restart()
    kind, block = j.get(100)
    assert (kind, block) == (0, bytes(160))
    assert j.figures()["received"] == before["received"] and j.figures()["lost"] == before["lost"]


def test_interarrival_jitter_is_that_of_rfc_3550(rng: np.random.Generator) -> None:
    x = np.zeros(16000)
    delays = [float(d) for d in rng.choice([0.0, 10.0, 20.0], 100)]
    packets = sorted(stream(x, delays=delays), key=lambda p: p.at)
    j = JitterBuffer(20, 200)
    play(j, packets, 210)
    want, last = 0.0, None
    for p in packets:
        transit = int(p.at // 10) * 80 - (p.ts - packets[0].ts)
        if last is not None:
            want += (abs(transit - last) - want) / 16
        last = transit
    assert j.figures()["jitter_ms"] == pytest.approx(want / 8, abs=0.01)


def test_memory_stays_within_64_kb() -> None:
    assert JitterBuffer().size <= 64000


action = st.tuples(
    st.integers(-3, 6),  # ticks that pass; below 0: none
    st.one_of(st.integers(-3, 3), st.integers(0, 65535)),
    st.one_of(st.integers(-500, 500), st.integers(0, 2**32 - 1)),
    st.one_of(st.just(160), st.integers(0, 490)),
    st.sampled_from([None, None, None, "pcmu", "g722", "opus", "noise"]),
    st.booleans(),
    st.sampled_from([1, 1, 1, 1, 2, 3]),
)


@given(st.lists(action, max_size=120), st.integers(-10, 700), st.integers(-10, 700), st.sampled_from(["pcma", "g722", "opus"]),
       st.one_of(st.just(0), st.integers(0, 2**64 - 1)), st.integers(0, 2**32))
def test_no_input_breaks_it(actions: list[tuple[int, int, int, int, str | None, bool, int]], least: int, most: int, codec: str, tick: int,
                            number: int) -> None:
    j, r = JitterBuffer(least, most, codec), random.Random(number)
    seq = ts = 0
    for ticks, seq_step, ts_step, n, kind, marker, ssrc in actions:
        for _ in range(ticks):
            tick = (tick + 1) % 2**64
            kind_out, block = j.get(tick)
            assert kind_out in (0, 1, 2) and len(block) == 2 * BLOCK
        seq, ts = seq + 1 + seq_step, ts + 160 + ts_step
        j.put(tick, seq, ts, r.randbytes(n), kind, marker, ssrc)
        assert j.check()


def test_hours_of_wild_packets(rng: np.random.Generator) -> None:
    for _ in range(6 * soak()):
        j = JitterBuffer(int(rng.integers(0, 300)), int(rng.integers(0, 900)), str(rng.choice(["pcma", "g722", "opus"])))
        wild, seq, ts, ssrc, tick = rng.random(), 0, int(rng.integers(2**32)), 1, int(rng.integers(2**62))
        for _ in range(300):
            for _ in range(100 if rng.random() < 0.02 else int(rng.integers(0, 5))):
                what = rng.random()
                ts = int(rng.integers(2**32)) if what < wild * 0.2 else ts + 160
                seq = int(rng.integers(65536)) if wild * 0.1 < what < wild * 0.4 else seq + 1
                ssrc = int(rng.integers(1, 4)) if what < wild * 0.02 else ssrc
                j.put(tick, seq, ts, rng.bytes(int(rng.choice([0, 1, 33, 80, 160, 480, 481]))), ssrc=ssrc)
            j.get(tick)
            assert j.check()
            tick += 1 if rng.random() < 0.97 else int(rng.integers(0, 1000))


def test_a_flood_keeps_the_newest(rng: np.random.Generator) -> None:
    x = speech(rng, 4.0)
    j = JitterBuffer(20, 200)
    for p in stream(x):
        j.put(0, p.seq, p.ts, p.payload)
    kinds = [j.get(tick)[0] for tick in range(60)]
    assert j.check()
    assert 1 in kinds


def test_wrong_codec_is_named() -> None:
    with pytest.raises(ValueError, match="g729"):
        JitterBuffer(20, 200, "g729")


def test_sound_from_the_tone_generator_keeps_its_level() -> None:
    j = JitterBuffer(20, 200)
    _, y = play(j, stream(sine(440.0, 2000.0, -10.0)), 200)
    assert level(y[1600:14000]) == pytest.approx(-10.0, abs=0.2)
    assert np.abs(y).max() < 1.05 * np.sqrt(2.0) * rms(-10.0)
