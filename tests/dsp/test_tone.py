"""Call-progress tones of six countries: heard when they are there, not heard in anything else."""

from __future__ import annotations

import numpy as np
import pytest

from firmware.dsp import DtmfGenerator, ToneDetector, ToneGenerator
from tests.dsp.rare import assert_rare
from tests.dsp.signals import music, noise, pcm, rms, samples, silence, sine, speech

HEARD, STOPPED = 1, 2
TONES: dict[str, tuple[tuple[float, ...], tuple[int, ...]]] = {
    "cn dial": ((450,), ()), "cn ringback": ((450,), (1000, 4000)), "cn busy": ((450,), (350, 350)),
    "cn congestion": ((450,), (700, 700)), "cn unobtainable": ((450,), (100, 100, 100, 100, 100, 100, 400, 400)),
    "us dial": ((350, 440), ()), "us ringback": ((440, 480), (2000, 4000)), "us busy": ((480, 620), (500, 500)),
    "us congestion": ((480, 620), (250, 250)), "us howler": ((1400, 2060, 2450, 2600), (100, 100)),
    "uk ringback": ((400, 450), (400, 200, 400, 2000)), "uk busy": ((400,), (375, 375)), "uk congestion": ((400,), (400, 350, 225, 525)),
    "de dial": ((425,), ()), "de busy": ((425,), (480, 480)), "de congestion": ((425,), (240, 240)),
    "fr dial": ((440,), ()), "fr ringback": ((440,), (1500, 3500)), "fr busy": ((440,), (500, 500)), "fr congestion": ((440,), (250, 250)),
    "au dial": ((413, 438), ()), "au ringback": ((413, 438), (400, 200, 400, 2000)), "au busy": ((425,), (375, 375)),
    "au unobtainable": ((425,), (2500, 500)),
}
BUSY = [name for name in TONES if "busy" in name or "congestion" in name]


def wanted_cycles(cadence) -> int:
    return 10 if not cadence else 4 if sum(cadence) < 2000 else 2


def watch(detector, x, block=160):
    """(flags, end of buffer in ms) of every buffer that raised something."""
    data = pcm(x)
    seen = []
    for at in range(0, len(data), 2 * block):
        flags = detector.feed(data[at:at + 2 * block])
        if flags:
            seen.append((flags, (at // 2 + block) / 8.0))
    return seen


def sound(freqs, cadence, cycles, level=-12.0, shift=0.0, stretch=1.0, rate=8000):
    cadence = [round(ms * stretch) for ms in cadence]
    ms = sum(cadence) * cycles + 300 if cadence else 100 * cycles + 300
    return samples(ToneGenerator([f + shift for f in freqs], level, cadence, rate).generate(ms * rate // 1000))


@pytest.mark.parametrize("name", TONES)
@pytest.mark.parametrize(("shift", "stretch", "level", "snr"),
                         [(0, 1.0, -12, 60), (22, 1.12, -25, 60), (-22, 0.88, -33, 25), (0, 1.0, -37, 12)])
def test_the_tone_is_heard_and_its_end_too(rng, name, shift, stretch, level, snr):
    freqs, cadence = TONES[name]
    cycles = wanted_cycles(cadence)
    tone = sound(freqs, cadence, cycles, level, shift, stretch)
    x = np.concatenate([silence(330 + rng.uniform(0, 20)), tone[:-2400] if cadence else tone, silence(7000)])
    detector = ToneDetector(freqs, cadence, cycles)
    seen = watch(detector, x + noise(rng, len(x), level - snr))
    assert [flags for flags, _ in seen] == [HEARD, STOPPED]
    expected = 340.0 + (sum(cadence) * stretch * cycles if cadence else 100.0 * cycles)
    # In noise a steady tone is late by steps of 20 ms: 40 at 12 dB in one draw of forty, 60 and 80 at 8 dB in one of twenty.
    assert abs(seen[0][1] - expected) < (0.25 * cadence[-1] * stretch + 60.0 if cadence else 130.0)


def test_start_level_and_cycles_are_reported():
    detector = ToneDetector((450,), (350, 350), 4)
    data = pcm(np.concatenate([silence(500), sound((450,), (350, 350), 4)]))
    for at in range(0, len(data), 160):
        if detector.feed(data[at:at + 160]):
            break
    assert detector.cycles == 4 and detector.heard
    assert abs((at / 16.0 + 10.0) - detector.start_ms_ago - 500.0) < 10.0
    assert abs(detector.level_dbm0 + 12.0) < 0.5


@pytest.mark.parametrize("name", BUSY)
def test_sixteen_kilohertz_hears_the_same(name):
    freqs, cadence = TONES[name]
    data = pcm(sound(freqs, cadence, 4, rate=16000))
    detector = ToneDetector(freqs, cadence, 4, 16000)
    assert [f for at in range(0, len(data), 320) if (f := detector.feed(data[at:at + 320]))][:1] == [HEARD]


@pytest.mark.parametrize("block", [80, 160, 240, 13])
def test_buffer_sizes_do_not_matter(block):
    x = np.concatenate([silence(100), sound((450,), (350, 350), 5), silence(1500)])
    one, other = ToneDetector((450,), (350, 350), 3), ToneDetector((450,), (350, 350), 3)
    assert [f for f, _ in watch(one, x, block)] == [f for f, _ in watch(other, x, 80)] == [HEARD, STOPPED]


@pytest.mark.parametrize("name", BUSY)
def test_digits_in_a_busy_rhythm_do_not_trigger(name):
    freqs, cadence = TONES[name]
    for key in "1234567890*#":
        x = samples(DtmfGenerator(key * 12, cadence[0], cadence[1]).generate(12 * (cadence[0] + cadence[1]) * 8))
        assert watch(ToneDetector(freqs, cadence, 3), x) == []


@pytest.mark.parametrize("name", BUSY)
def test_speech_music_noise_and_hum_do_not_trigger(rng, name):
    freqs, cadence = TONES[name]
    detector = ToneDetector(freqs, cadence, 3)
    assert_rare(lambda _: watch(detector, speech(rng, 8.0)) + watch(detector, music(rng, 8.0)), 1, 20, 2)
    for x in (noise(rng, 40000, -20.0), sine(50.0, 3000, -10.0), np.full(16000, 9000.0)):
        assert watch(detector, x) == []


def test_speech_over_the_tone_vetoes_it(rng):
    tone = sound((450,), (350, 350), 12)
    talk = speech(rng, len(tone) / 8000 + 1, level_dbm0=-14.0)
    assert watch(ToneDetector((450,), (350, 350), 4), tone + talk[:len(tone)]) == []


def test_speech_in_the_pauses_vetoes_it(rng):
    tone = sound((450,), (350, 350), 12)
    talk = np.concatenate([np.concatenate([silence(350), noise(rng, 2800, -20.0)]) for _ in range(13)])[:len(tone)]
    tone = tone[:len(talk)] + talk
    assert watch(ToneDetector((450,), (350, 350), 4), tone) == []


@pytest.mark.parametrize("name", ["cn busy", "us busy", "uk busy", "fr congestion"])
def test_another_rhythm_and_another_frequency_are_not_taken_for_it(name):
    freqs, cadence = TONES[name]
    for stretch in (0.7, 1.4, 2.0):
        assert watch(ToneDetector(freqs, cadence, 3), sound(freqs, cadence, 8, stretch=stretch)) == []
    for shift in (-90.0, 90.0):
        assert watch(ToneDetector(freqs, cadence, 3), sound(freqs, cadence, 8, shift=shift)) == []
    assert watch(ToneDetector(freqs, cadence, 3), sound(freqs, (), 60)) == []


def test_half_of_a_dual_tone_is_not_the_tone():
    assert watch(ToneDetector((480, 620), (500, 500), 3), sound((480,), (500, 500), 8)) == []
    assert watch(ToneDetector((350, 440), (), 10), sound((440,), (), 60)) == []


def test_unequal_cycles_are_refused():
    phases = [400, 300, 300, 400, 400, 300, 300, 400]
    assert watch(ToneDetector((450,), (350, 350), 3), samples(ToneGenerator((450,), -12.0, phases).generate(40000))) == []


@pytest.mark.parametrize("rate", [8000, 16000])
def test_generator_level_frequency_and_edges(rate):
    x = samples(ToneGenerator((450, 620), -15.0, (100, 100), rate).generate(rate))
    body = x[rate // 50:rate * 9 // 100]
    t = np.arange(len(body)) / rate
    basis = np.stack([f(2.0 * np.pi * w * t) for w in (450, 620) for f in (np.cos, np.sin)], axis=1)
    fit, *_ = np.linalg.lstsq(basis, body, rcond=None)
    for k in (0, 2):
        assert abs(10.0 * np.log10((fit[k] ** 2 + fit[k + 1] ** 2) / 2.0 / rms(-15.0) ** 2)) < 0.02
    assert np.sqrt(np.mean((body - basis @ fit) ** 2)) < 0.5
    quiet = x[rate // 10 + rate // 400:rate // 5]
    assert np.all(quiet == 0.0)
    assert np.max(np.abs(np.diff(x[:rate // 1000]))) < 2000.0


def test_a_tone_of_hours_keeps_its_level():
    generator = ToneGenerator((450,), -10.0)
    generator.generate(8000 * 600)
    assert abs(np.sqrt(np.mean(samples(generator.generate(8000)) ** 2)) / rms(-10.0) - 1.0) < 1e-3


def test_impossible_tones_are_refused():
    for freqs, cadence in (((), ()), ((450,) * 5, ()), ((450,), (350,)), ((5000,), ()), ((450,), (10, 10))):
        with pytest.raises(ValueError, match="1 to 4 frequencies"):
            ToneDetector(freqs, cadence)
    with pytest.raises(ValueError, match="8000 or 16000"):
        ToneGenerator((450,), -10.0, (), 44100)
