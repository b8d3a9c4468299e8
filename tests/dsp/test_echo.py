"""The echo canceller on speech-like sound through dispersive hybrids: what a person would hear, measured."""

from __future__ import annotations

import numpy as np
import pytest

from firmware.dsp import EchoCanceller
from tests.dsp.signals import hybrid, level, noise, pcm, samples, silence, sine, speech

RATE = 8000


def cancel(x, d, tail_ms=64, nlp=False, rate=8000):
    canceller = EchoCanceller(rate, tail_ms, nlp)
    return samples(canceller.process(pcm(x), pcm(d))), canceller


def loss(echo, residual, start, end, rate=8000):
    a, b = int(start * rate), int(end * rate)
    return 10.0 * np.log10(np.sum(echo[a:b] ** 2) / (np.sum(residual[a:b] ** 2) + 1e-9))


class Line:
    """Far speech, its echo and the line's noise."""

    def __init__(self, rng, seconds=6.0, rate=8000, tail=64.0, erl=10.0, noise_dbm0=-65.0, delay=2.0):
        self.rate = rate
        self.far = speech(rng, seconds, rate)
        self.far[:rate // 10] = 0.0
        self.path = hybrid(rng, tail, erl, delay, rate)
        self.echo = np.convolve(self.far, self.path)[:len(self.far)]
        self.noise = noise(rng, len(self.far), noise_dbm0)
        self.first = float(np.argmax(np.abs(self.far) > 300.0)) / rate       # s, first word


@pytest.mark.parametrize("rate", [8000, 16000])
def test_speech_converges_within_a_second_of_talk(rng, rate):
    line = Line(rng, rate=rate)
    out, canceller = cancel(line.far, line.echo + line.noise, rate=rate)
    residual = out - line.noise
    assert loss(line.echo, residual, line.first + 1.0, line.first + 2.0, rate) > 12.0   # 32 +- 3 dB, 26 at worst of 108 draws
    assert loss(line.echo, residual, 3.0, 6.0, rate) > 22.0                            # 41 +- 2 dB, 35 at worst
    figures = canceller.stats()
    assert abs(figures["erl_db"] - 10.0 * np.log10(np.mean(line.far**2) / np.mean(line.echo**2))) < 6.0    # 0.4, 1.7 at worst
    assert figures["erle_db"] > 12.0                                                   # 33 +- 3 dB, 25 at worst
    assert abs(figures["noise_dbm0"] + 65.0) < 4.0


def test_white_noise_converges_fast_and_deep(rng):
    line = Line(rng)
    far = noise(rng, len(line.far), -16.0)
    echo = np.convolve(far, line.path)[:len(far)]
    residual = cancel(far, echo + line.noise)[0] - line.noise
    assert loss(echo, residual, 0.5, 0.7) > 22.0
    assert loss(echo, residual, 3.0, 6.0) > 38.0


@pytest.mark.parametrize(("tail", "delay"), [(16, 1.0), (32, 20.0), (128, 100.0)])
def test_pure_delay_anywhere_in_the_tail(rng, tail, delay):
    line = Line(rng, tail=float(tail) - 1.0, delay=delay)
    far = noise(rng, len(line.far), -16.0)
    echo = np.convolve(far, line.path)[:len(far)]
    out, canceller = cancel(far, echo + line.noise, tail)
    assert loss(echo, out - line.noise, 3.0, 6.0) > 30.0
    assert delay - 2 <= canceller.stats()["delay_ms"] <= delay + 20        # the strongest tap, 5 ms behind the first at most in 147 draws


def test_double_talk_leaves_near_speech_and_the_filter_unharmed(rng):
    line = Line(rng, 9.0)
    near = np.zeros(len(line.far))
    near[32000:56000] = speech(rng, 3.0, level_dbm0=-18.0)
    out, _ = cancel(line.far, line.echo + line.noise + near)
    residual = out - line.noise - near
    assert loss(line.echo, residual, 4.0, 7.0) > 15.0
    assert loss(line.echo, residual, 7.0, 9.0) > 18.0                       # 40 +- 2 dB, 34 at worst of 101 draws


def test_nlp_does_not_cut_near_speech_in_double_talk(rng):
    line = Line(rng, 9.0, noise_dbm0=-60.0)
    near = np.zeros(len(line.far))
    near[32000:56000] = speech(rng, 3.0, level_dbm0=-18.0)
    out, _ = cancel(line.far, line.echo + line.noise + near, nlp=True)
    frames = lambda x: np.mean(x[32000:56000].reshape(-1, 80) ** 2, axis=1)  # noqa: E731
    loud = frames(near) > 5e4
    cut = frames(out)[loud] < 0.5 * frames(near)[loud]
    assert loud.sum() > 10                                                  # 234 +- 38
    assert np.mean(cut) < 0.02


def test_nlp_leaves_only_the_lines_own_noise(rng):
    line = Line(rng, 9.0, noise_dbm0=-58.0)
    out, _ = cancel(line.far, line.echo + line.noise, nlp=True)
    assert abs(level(out[32000:]) + 58.0) < 4.0


def test_path_change_is_learned_again(rng):
    line = Line(rng, 9.0)
    other = np.convolve(line.far, -0.9 * np.roll(line.path, 16))[:len(line.far)]
    echo = np.concatenate([line.echo[:32000], other[32000:]])
    residual = cancel(line.far, echo + line.noise)[0] - line.noise
    assert loss(echo, residual, 5.5, 9.0) > 17.0                            # 37 +- 2 dB, 31 at worst of 96 draws


def test_silent_reference_gives_back_the_captured_samples(rng):
    line = Line(rng, 3.0)
    canceller = EchoCanceller(8000, 64)
    canceller.process(pcm(line.far), pcm(line.echo))
    rest = pcm(noise(rng, 8000, -20.0))
    quiet = bytes(len(rest))
    assert canceller.process(quiet, rest)[1600:] == rest[1600:]
    assert EchoCanceller(8000, 128).process(quiet, rest) == rest


@pytest.mark.parametrize("freqs", [(450.0,), (697.0, 1209.0), (2100.0,), (350.0, 440.0)])
def test_tones_do_not_spoil_the_filter(rng, freqs):
    line = Line(rng, 8.0)
    far = line.far.copy()
    far[32000:48000] = sum(sine(f, 2000.0, -13.0) for f in freqs)
    echo = np.convolve(far, line.path)[:len(far)]
    residual = cancel(far, echo + line.noise)[0] - line.noise
    assert loss(echo, residual, 4.5, 6.0) > 15.0                            # 57 +- 7 dB of 2100 Hz, 41 at worst of 27 draws
    assert loss(echo, residual, 6.2, 8.0) > 18.0


def test_near_side_alone_is_not_touched(rng):
    near = speech(rng, 3.0)
    out, _ = cancel(noise(rng, len(near), -75.0), near, nlp=True)
    assert out.tobytes() == samples(pcm(near)).tobytes()


@pytest.mark.parametrize("name", ["offset", "alternating", "clipped", "unrelated", "inverted"])
def test_extreme_input_keeps_the_output_in_range_and_recovers(rng, name):
    line = Line(rng, 8.0)
    n = 24000
    odd = {"offset": (np.full(n, 30000.0), np.full(n, -30000.0)), "alternating": (np.where(np.arange(n) % 2, 32767.0, -32768.0),) * 2,
           "clipped": (rng.choice([-32768.0, 32767.0], n), rng.choice([-32768.0, 32767.0], n)),
           "unrelated": (noise(rng, n, -10.0), noise(rng, n, -10.0)), "inverted": (line.far[:n], -2.0 * line.far[:n])}[name]
    canceller = EchoCanceller(8000, 64, False)
    first = samples(canceller.process(pcm(odd[0]), pcm(odd[1])))
    assert level(first) < level(odd[1]) + 6.0
    residual = samples(canceller.process(pcm(line.far), pcm(line.echo + line.noise))) - line.noise
    assert loss(line.echo, residual, 5.0, 8.0) > 20.0


@pytest.mark.parametrize("nlp", [False, True])
def test_same_input_same_output_in_any_block_size_and_after_reset(rng, nlp):
    line = Line(rng, 2.0)
    x, d = pcm(line.far), pcm(line.echo + line.noise)
    canceller = EchoCanceller(8000, 64, nlp)
    whole = canceller.process(x, d)
    canceller.reset()
    assert canceller.process(x, d) == whole
    for block in (160, 320, 480):
        other = EchoCanceller(8000, 64, nlp)
        n = len(x) // block * block
        assert b"".join(other.process(x[at:at + block], d[at:at + block]) for at in range(0, n, block)) == whole[:n]


def test_wrong_lengths_and_rates_say_so():
    canceller = EchoCanceller()
    with pytest.raises(ValueError, match="reference is 160 bytes and captured 320 bytes"):
        canceller.process(bytes(160), bytes(320))
    with pytest.raises(ValueError, match="multiple of 160 bytes"):
        canceller.process(bytes(100), bytes(100))
    with pytest.raises(ValueError, match="8000 or 16000"):
        EchoCanceller(44100)
    with pytest.raises(ValueError, match="8 to 256 ms"):
        EchoCanceller(8000, 1000)
    assert canceller.process(b"", b"") == b""
    assert samples(canceller.process(pcm(silence(20)), pcm(silence(20)))).any() == False  # noqa: E712


@pytest.mark.parametrize(
    ("far_dbm0", "erl_db", "far_alone_s"), [(-16.0, 18.0, 0.0), (-10.0, 12.0, 0.0), (-10.0, 8.0, 1.5), (-16.0, 18.0, 3.0)]
)
def test_steady_tones_of_both_sides_stay_apart(rng, far_dbm0, erl_db, far_alone_s):
    t = np.arange(6 * RATE)
    tone = lambda hz, level_dbm0: 10 ** (level_dbm0 / 20) * 22750 * np.sin(2 * np.pi * hz * t / RATE)  # noqa: E731
    far, near = tone(880, far_dbm0), tone(440, -16.0)
    near[: int(far_alone_s * RATE)] = 0
    path = np.zeros(64)
    path[8:16] = rng.normal(size=8) * np.exp(-np.arange(8) / 3)
    path *= 10 ** (-erl_db / 20) / np.sqrt(np.sum(path**2))
    echo = np.convolve(far, path)[: len(far)]
    out, _ = cancel(far, echo + near + rng.normal(size=len(far)) * 10, nlp=True)
    block = np.exp(-2j * np.pi * 440 * np.arange(160) / RATE)
    start = int((far_alone_s + 0.2) * RATE) // 160 * 160
    heard = 2 * np.abs(out[start:].reshape(-1, 160) @ block) / 160
    assert np.min(heard) > 0.8 * np.max(np.abs(near)), "the near tone is cut"
    left = np.abs(np.mean(out[-RATE:] * np.exp(-2j * np.pi * 880 * np.arange(RATE) / RATE))) * 2
    assert left < 10 ** (-45 / 20) * 22750


def test_two_cancellers_in_series_keep_both_steady_tones(rng):
    """A line and a phone, both analog: each canceller's reference holds a trace of its own near tone, small and in step."""
    hz, levels = rng.choice([440, 600, 880, 1200, 2034], 2, replace=False), rng.choice([-10.0, -16.0], 2)
    n, blocks = 5 * RATE, 5 * 100
    t = np.arange(n)
    near = [10 ** (level / 20) * 22750 * np.sin(2 * np.pi * f * t / RATE) for f, level in zip(hz, levels, strict=True)]
    paths = []
    for _ in range(2):
        path = np.zeros(96)
        path[4:14] = rng.normal(size=10) * np.exp(-np.arange(10) / 3)
        paths.append(path * 10 ** (-18 / 20) / np.sqrt(np.sum(path**2)))
    cancellers = [EchoCanceller(RATE, 64), EchoCanceller(RATE, 32)]
    sent = [np.zeros(n + 96 + 80), np.zeros(n + 96 + 80)]  # towards each hybrid, one block late, after 96 samples of silence
    heard = [np.zeros(n), np.zeros(n)]
    for at in range(0, blocks * 80, 80):
        for side in range(2):
            echo = np.convolve(sent[side][at : at + 96 + 80], paths[side])[96:176]
            captured = near[side][at : at + 80] + echo + rng.normal(size=80) * 10
            out = cancellers[side].process(pcm(sent[side][at + 96 : at + 176]), pcm(captured))
            heard[side][at : at + 80] = samples(out)
        for side in range(2):
            sent[side][at + 176 : at + 256] = heard[1 - side][at : at + 80]
    for side in range(2):
        tones = heard[side][RATE:].reshape(-1, 800) @ np.exp(-2j * np.pi * hz[side] * np.arange(800) / RATE) / 400
        level_db = 20 * np.log10(np.abs(tones) / 22750)
        assert np.max(np.abs(level_db - levels[side])) < 1.0, (hz, levels)
