"""DTMF against the limits of Q.24, and against sound that is no digit. A Goertzel reference checks the generator."""

from __future__ import annotations

import numpy as np
import pytest

from firmware.dsp import DtmfDetector, DtmfGenerator
from tests.dsp.signals import HIGH, KEYS, LOW, digit, level, music, noise, pcm, rms, samples, silence, sine, speech


def heard(x, rate: int = 8000, block: int = 0) -> str:
    detector = DtmfDetector(rate)
    data = pcm(x)
    step = 2 * block if block else len(data)
    return "".join(event.digit for at in range(0, len(data), step) for event in detector.feed(data[at:at + step]))


def press(rng, key: str, ms: float = 50.0, rate: int = 8000, **shape):
    return np.concatenate([silence(60 + rng.uniform(0, 10), rate), digit(rng, key, ms, rate=rate, **shape), silence(80, rate)])


def goertzel(x, freq: float, rate: int) -> float:
    """Power of a sine of this frequency, by definition."""
    t = np.arange(len(x)) / rate
    return float(2.0 * abs(np.mean(x * np.exp(-2j * np.pi * freq * t))) ** 2)


SHAPES = {
    "plain": {},
    "40 ms": {"ms": 40.0},
    "+1.5 %": {"deviation": (0.015, 0.015)},
    "-1.5 %": {"deviation": (-0.015, -0.015)},
    "apart": {"deviation": (0.015, -0.015)},
    "normal twist": {"twist_db": 8.0},
    "reverse twist": {"twist_db": -4.0, "low_dbm0": -14.0},
    "faint": {"low_dbm0": -36.0},
    "loud": {"low_dbm0": -2.0},
}


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_key_is_heard_once_within_the_limits(rng, shape, rate):
    for key in KEYS:
        assert heard(press(rng, key, rate=rate, **SHAPES[shape]), rate) == key


@pytest.mark.parametrize("shape", [{"ms": 23.0}, {"deviation": (0.035, 0.0)}, {"deviation": (0.0, -0.035)}, {"deviation": (0.035, 0.035)},
                                   {"twist_db": 13.0}, {"twist_db": -10.0, "low_dbm0": -20.0}, {"low_dbm0": -55.0}])
def test_nothing_is_heard_outside_the_limits(rng, shape):
    for key in KEYS:
        assert heard(press(rng, key, **shape)) == ""


@pytest.mark.parametrize("snr_db", [20, 15, 12])
def test_digits_are_heard_in_noise(rng, snr_db):
    for key in KEYS * 2:
        x = press(rng, key)
        assert heard(x + noise(rng, len(x), -7.0 - snr_db)) == key


def test_dial_tone_ten_decibel_above_each_tone_and_hum_are_harmless(rng):
    for key in KEYS:
        x = press(rng, key, low_dbm0=-18.0)
        ms = len(x) / 8.0
        x = x + sine(350.0, ms, -8.0)[:len(x)] + sine(440.0, ms, -8.0)[:len(x)] + sine(50.0, ms, -20.0)[:len(x)]
        assert heard(x) == key


def test_one_tone_alone_is_no_digit():
    assert heard(np.concatenate([sine(f, 300, -10.0) for f in LOW + HIGH])) == ""


def test_breaks_are_bridged_and_pauses_separate():
    for gap, count in ((5.0, 1), (10.0, 1), (40.0, 2), (60.0, 2)):
        tone = sine(770.0, 50, -10.0) + sine(1336.0, 50, -10.0)
        x = np.concatenate([silence(50), tone, silence(gap), tone, silence(80)])
        assert heard(x) == "5" * count


def test_a_change_of_key_without_pause_is_two_digits(rng):
    assert heard(np.concatenate([silence(50), digit(rng, "1", 60), digit(rng, "9", 60), silence(60)])) == "19"


def test_fast_dialling_is_complete():
    sender = DtmfGenerator(KEYS, 40, 40)
    assert heard(samples(sender.generate(16 * 640 + 800))) == KEYS
    assert not sender.running


@pytest.mark.parametrize("block", [80, 160, 240, 1, 77])
def test_buffer_sizes_do_not_matter(rng, block):
    x = np.concatenate([press(rng, key) for key in "159D*"]) + noise(rng, 5 * 1600, -40.0)[:1]
    whole = DtmfDetector().feed(pcm(x))
    detector = DtmfDetector()
    data = pcm(x)
    parts = [event for at in range(0, len(data), 2 * block) for event in detector.feed(data[at:at + 2 * block])]
    assert parts == whole


def test_events_say_start_length_level_and_twist(rng):
    x = np.concatenate([silence(200), digit(rng, "7", 100, -12.0, 3.0), silence(100)])
    (begun, start), (ended, end) = DtmfDetector().feed_edges(pcm(x))
    assert (begun, ended, start.digit, end.digit) == (False, True, "7", "7")
    assert abs(start.start_ms - 200) <= 5 and abs(end.start_ms - 200) <= 6
    assert 30 <= start.duration_ms <= 45 and abs(end.duration_ms - 100) <= 5
    assert abs(end.level_dbm0 - (-12.0 + 1.76)) < 0.6
    assert abs(end.twist_db - 3.0) < 0.6


def test_tentative_rises_within_twenty_milliseconds_and_falls_after(rng):
    detector = DtmfDetector()
    x = pcm(np.concatenate([silence(100), digit(rng, "3", 60), silence(100)]))
    marks = []
    for at in range(0, len(x), 80):
        detector.feed(x[at:at + 80])
        marks.append(detector.tentative)
    first, last = marks.index(True) * 5, (len(marks) - marks[::-1].index(True)) * 5
    assert 105 <= first <= 120
    assert 160 <= last <= 195


def test_no_digit_in_speech_music_or_noise(rng):
    """Four minutes of sound. Speech is steady enough for one digit in tens of minutes, pure chords for one in a minute or two."""
    assert len(heard(speech(rng, 120.0))) <= 1
    assert len(heard(np.concatenate([music(rng, 20.0) for _ in range(3)]))) <= 4
    assert heard(noise(rng, 8000 * 60, -15.0)) == ""


def test_full_scale_and_offset_do_not_confuse_it():
    for x in (np.full(16000, 32767.0), np.where(np.arange(16000) % 2, 32767.0, -32768.0), np.zeros(16000)):
        assert heard(x) == ""


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("key", KEYS)
def test_generator_makes_the_two_tones_at_their_level(key, rate):
    sender = DtmfGenerator(key, 200, 50, -9.0, rate)
    x = samples(sender.generate(rate // 4))
    body = x[rate // 20:rate * 3 // 20]
    k = KEYS.index(key)
    for freq in (LOW[k >> 2], HIGH[k & 3]):
        assert abs(10.0 * np.log10(goertzel(body, freq, rate) / rms(-9.0) ** 2)) < 0.2
    assert abs(level(body) + 6.0) < 0.2
    assert np.all(x[rate // 5:] == 0.0)
    assert np.max(np.abs(np.diff(x[:rate // 1000]))) < 6000.0


def test_bad_digits_and_rates_are_refused():
    with pytest.raises(ValueError, match=r"0-9 \* # A-D"):
        DtmfGenerator("12x")
    with pytest.raises(ValueError, match="8000 or 16000"):
        DtmfDetector(11025)
