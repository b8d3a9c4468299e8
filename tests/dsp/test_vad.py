"""Voice activity: hits, false alarms in steady noise, hangover, block sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.dsp import VoiceActivity

from .signals import Sound, noise, pcm, rms, silence, sine, speech


def talk(rng: np.random.Generator, rate: int) -> tuple[Sound, np.ndarray]:
    """Speech with pauses of a second, and which frames of 10 ms hold it."""
    parts, marks = [silence(1000.0, rate)], [np.zeros(100, bool)]
    for _ in range(8):
        x = speech(rng, 2.0, rate)
        power = np.mean(x.reshape(-1, rate // 100) ** 2, axis=1)
        parts += [x, silence(1000.0, rate)]
        marks += [power > rms(-40.0) ** 2, np.zeros(100, bool)]
    return np.concatenate(parts), np.concatenate(marks)


def pink(rng: np.random.Generator, n: int, level_dbm0: float) -> Sound:
    spectrum = np.fft.rfft(rng.normal(0.0, 1.0, n))
    k = np.arange(len(spectrum))
    spectrum[1:] /= np.sqrt(k[1:])
    spectrum[: n // 100] = 0.0
    x = np.fft.irfft(spectrum, n)
    return x / np.std(x) * rms(level_dbm0)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize(("snr_db", "hits"), [(30.0, 0.97), (15.0, 0.92), (8.0, 0.85)])
@pytest.mark.parametrize("colour", ["white", "pink"])
def test_speech_is_found_in_noise(rng: np.random.Generator, rate: int, snr_db: float, hits: float, colour: str) -> None:
    x, truth = talk(rng, rate)
    disturb = noise(rng, len(x), -16.0 - snr_db) if colour == "white" else pink(rng, len(x), -16.0 - snr_db)
    found = np.array(VoiceActivity(rate).feed(pcm(x + disturb)))
    assert len(found) == len(truth)
    assert found[truth].mean() > hits
    near = np.convolve(truth, np.ones(25))[: len(truth)] > 0  # speech and its hangover
    assert found[~near].mean() < 0.05  # 0.001, 0.005 at worst of 228 draws


def test_steady_noise_is_never_speech(rng: np.random.Generator) -> None:
    assert np.mean(VoiceActivity().feed(pcm(noise(rng, 8000 * 30, -35.0)))) < 0.01


def test_a_step_of_the_background_is_learned(rng: np.random.Generator) -> None:
    x = np.concatenate([noise(rng, 24000, -60.0), noise(rng, 80000, -40.0)])
    found = VoiceActivity().feed(pcm(x))
    assert found[310]  # nobody can know at once
    assert sum(found[-200:]) <= 20  # of 1500 draws six had a frame that stood out, with its hangover 4


def test_a_tone_stays_active(rng: np.random.Generator) -> None:
    x = np.concatenate([noise(rng, 8000, -60.0), sine(400.0, 5000.0, -20.0) + noise(rng, 40000, -60.0)])
    assert np.mean(VoiceActivity().feed(pcm(x))[105:]) > 0.95


def test_hangover_is_long_after_a_word_and_short_after_a_click(rng: np.random.Generator) -> None:
    quiet = noise(rng, 16000, -60.0)
    word = quiet.copy()
    word[8000:12000] += sine(200.0, 500.0, -20.0) + sine(700.0, 500.0, -25.0)
    found = VoiceActivity().feed(pcm(word))
    tail = found.index(False, 149) - 150  # noise afterwards may sound like a word, too
    assert 10 <= tail <= 25
    click = quiet.copy()
    click[8000:8016] += 8000.0
    assert sum(VoiceActivity().feed(pcm(click))) <= 18  # 4, and 4 for each frame of the noise that stands out: one in 500 draws


@pytest.mark.parametrize("block", [1, 33, 80, 160, 240])
def test_block_size_changes_nothing(rng: np.random.Generator, block: int) -> None:
    x = pcm(speech(rng, 2.0) + noise(rng, 16000, -50.0))
    whole, parts = VoiceActivity(), VoiceActivity()
    found = []
    for at in range(0, len(x), 2 * block):
        found += parts.feed(x[at : at + 2 * block])
    assert whole.feed(x) == found


@given(st.binary(max_size=4000), st.sampled_from([8000, 16000]), st.sampled_from([b"\xff\x7f", b"\x00\x80", b"\xff\x7f\x00\x80", b"\0\0"]))
def test_any_samples_give_a_decision(data: bytes, rate: int, fill: bytes) -> None:
    v = VoiceActivity(rate)
    v.feed(fill * 500)
    v.feed(data[: len(data) // 2 * 2])
    assert v.active in (False, True)
    assert not any(v.feed(bytes(2 * 16000 * 10))[-1:])  # and silence ends it


def test_wrong_rate_is_named() -> None:
    with pytest.raises(ValueError, match="48000"):
        VoiceActivity(48000)
