"""Tones whose frequency or level changes, and each country's tones against each other."""

from __future__ import annotations

import numpy as np
import pytest

from firmware.dsp import ToneDetector, ToneGenerator
from firmware.line.profiles import PROFILES
from firmware.line.tones import ToneSpec
from tests.dsp.signals import level, noise, pcm, samples, silence, sine

SIT = PROFILES["US"].tone("sit")
CADENCED = ("busy", "congestion", "unobtainable", "sit")


def detector(spec: ToneSpec, rate: int = 8000) -> ToneDetector:
    return ToneDetector(spec.freqs_hz, spec.cadence_ms, spec.cycles, rate, spec.phase_freqs_hz, spec.phase_levels_db)


def generator(spec: ToneSpec, rate: int = 8000) -> ToneGenerator:
    return ToneGenerator(spec.freqs_hz, spec.level_dbm0, spec.cadence_ms, rate, spec.phase_freqs_hz, spec.phase_levels_db)


def hears(spec: ToneSpec, x) -> bool:
    one, data = detector(spec), pcm(x)
    return any(one.feed(data[at:at + 320]) & 1 for at in range(0, len(data), 320))


def length_of(spec: ToneSpec) -> int:
    return max(spec.cycles * spec.period_ms, spec.detect_ms()) + 600


@pytest.mark.parametrize("country", PROFILES)
def test_every_tone_of_a_country_is_heard_and_taken_for_no_other(rng, country):
    tones = PROFILES[country].tones
    for name, spec in tones.items():
        x = np.concatenate([silence(300), samples(generator(spec).generate(8 * length_of(spec)))])
        x += noise(rng, len(x), spec.level_dbm0 - 25.0)
        assert hears(spec, x), name
        for other in CADENCED:
            if other != name and other in tones:
                assert not hears(tones[other], x), (name, other)


def test_special_information_tones_of_e180_tolerance(rng):
    found = 0
    for _ in range(30):
        parts = [silence(rng.uniform(200, 230))]
        for freq in SIT.freqs_hz:
            parts += [sine(freq + rng.uniform(-45, 45), rng.uniform(270, 390), -20.0 + rng.uniform(-3, 3)), silence(rng.uniform(0, 30))]
        x = np.concatenate([*parts, noise(rng, 8000, -25.0)])        # an announcement follows at once
        found += hears(SIT, x + noise(rng, len(x), -45.0))
    assert found >= 27                                               # of 1470 draws none was missed


def test_part_of_it_and_another_order_are_not_special_information():
    low, middle, high = (sine(f, 330, -12.0) for f in SIT.freqs_hz)
    gap = silence(1200)
    for parts in ([low, middle], [middle, high], [high, middle, low], [low, high, middle], [low, low, middle, high],
                  [low, silence(200), middle, silence(200), high], [low + middle + high]):
        assert not hears(SIT, np.concatenate([gap, *parts, gap]))


@pytest.mark.parametrize("rate", [8000, 16000])
def test_generated_phases_have_their_frequencies_and_levels(rate):
    ms = rate // 1000
    x = samples(generator(SIT, rate).generate(1990 * ms))
    for i, freq in enumerate(SIT.freqs_hz):
        part = x[(330 * i + 10) * ms:(330 * i + 320) * ms]
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 16 * len(part)))
        assert abs(np.argmax(spectrum) * rate / (16.0 * len(part)) - freq) < 0.5
        assert abs(level(part) + 10.0) < 0.05
    assert not np.any(x[993 * ms:1989 * ms])
    spec = PROFILES["AU"].tone("congestion")
    x = samples(generator(spec, rate).generate(1500 * ms))
    assert abs(level(x[10 * ms:370 * ms]) - level(x[760 * ms:1120 * ms]) - 10.0) < 0.05
    assert np.max(np.abs(np.diff(x))) < 1.1 * 2.0 * np.pi * 425.0 / rate * 22750.0 * 10.0 ** (-10.0 / 20.0)


def test_a_rising_howler_rises():
    spec = PROFILES["CN"].tone("howler")
    x = samples(generator(spec).generate(48000))
    steps = [level(x[8000 * i + 400:8000 * i + 7600]) for i in range(6)]
    assert np.all(np.abs(np.diff(steps) - 3.0) < 0.05)
    assert hears(spec, x)


def test_evidence_is_told(rng):
    spec = PROFILES["CN"].tone("busy")
    x = np.concatenate([silence(500), samples(ToneGenerator((457.0,), -22.0, (365, 345)).generate(24000))])
    one = detector(spec)
    assert one.feed(pcm(x + noise(rng, len(x), -50.0))) & 1
    assert abs(one.freq_hz - 457.0) < 1.0 and abs(one.level_dbm0 + 22.0) < 0.5
    assert 0.03 < one.deviation < 0.06 and one.purity > 0.97 and 0.7 < one.confidence < 0.99
    poor = detector(spec)
    y = x + noise(rng, len(x), -33.0)
    assert poor.feed(pcm(y)) & 1
    assert poor.confidence < one.confidence and poor.purity < one.purity


def test_uneven_pitch_level_and_decay_are_no_exchange(rng):
    busy = PROFILES["FR"].tone("busy")
    for make in (lambda i: sine(432.0 if i & 1 else 448.0, 500, -12.0), lambda i: sine(440.0, 500, -12.0 - 6.0 * (i & 1)),
                 lambda i: sine(440.0, 500, -8.0) * np.exp(-np.arange(4000) / 2500.0)):
        x = np.concatenate([silence(300), *(np.append(make(i), silence(500)) for i in range(8))])
        assert not hears(busy, x)


def test_dial_tone_after_busy_is_heard_as_both():
    tones = PROFILES["DE"].tones
    x = np.concatenate([samples(generator(tones["busy"]).generate(8 * 3840)), samples(generator(tones["dial"]).generate(16000))])
    assert hears(tones["busy"], x) and hears(tones["dial"], x)


def test_contradictory_phases_are_refused():
    for phases, levels in ((((450,),), ()), (((450,), (), (440,), ()), ()), ((), (0.0,))):
        with pytest.raises(ValueError, match="phase"):
            ToneGenerator((450,), -10.0, (100, 100, 100, 100), 8000, phases, levels)
    with pytest.raises(ValueError, match="250 to 3000"):
        ToneDetector((450,), (100, 100), 3, 8000, ((), (450,)))
    for phases, levels in ((((), (450.0,)), ()), (((450.0,),), ()), (((440.0,), ()), ()), ((), (20.0, 0.0))):
        with pytest.raises(ValueError, match="tone 'x'"):
            ToneSpec("x", (450.0,), -10.0, (100, 100), 1, phases, levels)
