"""The learner: the disconnect tone of every country from one hang-up, and nothing from what is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.dsp import DtmfGenerator, ToneGenerator, ToneLearner
from firmware.dsp.g711 import decode, encode
from firmware.line.profiles import PROFILES
from firmware.line.tones import ToneSpec
from tests.dsp.corpus import minute
from tests.dsp.rare import assert_rare
from tests.dsp.signals import Sound, music, noise, pcm, samples, silence, speech

RELEASE = [(country, name) for country, p in PROFILES.items() for name in ("busy", "congestion", "unobtainable")
           if name in p.tones and p.tones[name].cadence_ms]


def sounded(rng: np.random.Generator, spec: ToneSpec, seconds: float, level: float, jitter: float = 0.0, pitch: float = 1.0) -> Sound:
    """The tone as an exchange without a good clock sends it: each phase as long as it likes, another frequency."""
    masks = spec.phase_freqs_hz or tuple(() if i & 1 else spec.freqs_hz for i in range(len(spec.cadence_ms) or 1))
    parts, have = [], 0
    while have < seconds * 8000:
        for i, ms in enumerate(spec.cadence_ms or (1000,)):
            n = int(8 * ms * (1.0 + rng.uniform(-jitter, jitter)))
            t = (np.arange(n) + have) / 8000.0
            loud = 22750.0 * 10.0 ** ((level + (spec.phase_levels_db[i] if spec.phase_levels_db else 0.0)) / 20.0)
            parts.append(loud * sum((np.sin(2.0 * np.pi * pitch * f * t) for f in masks[i]), np.zeros(n)))
            have += n
    return np.concatenate(parts)


def learn(x: Sound, *, law: bool = False, rate: int = 8000, block: int = 160):
    learner = ToneLearner(rate)
    data = pcm(x)
    if law:
        data = decode("alaw", encode("alaw", data))
    for at in range(0, len(data), 2 * block):
        learner.feed(data[at:at + 2 * block])
    return learner.learn(), learner.reason


def check(tone, spec: ToneSpec, level: float, jitter: float = 0.0, pitch: float = 1.0) -> None:
    assert len(tone.freqs_hz) == len(spec.freqs_hz) and len(tone.cadence_ms) == len(spec.cadence_ms)
    for got, want in zip(tone.freqs_hz, sorted(spec.freqs_hz), strict=True):
        assert abs(got - want * pitch) < 0.01 * want
    for got, want in zip(tone.cadence_ms, spec.cadence_ms, strict=True):
        drawn = 3.0 * jitter * want / np.sqrt(3.0 * tone.repetitions)  # what the exchange sent is not its mean
        assert abs(got - want) < max(20.0, 0.05 * want) + drawn
    if spec.phase_levels_db:
        for got, want in zip(tone.phase_levels_db, spec.phase_levels_db, strict=True):
            assert abs(got - want) < 2.0
    assert abs(tone.level_dbm0 - level) < 1.0
    assert tone.repetitions >= 2 and tone.confidence > 0.6


@pytest.mark.parametrize(("country", "name"), RELEASE)
@pytest.mark.parametrize(("level", "snr", "jitter", "pitch", "law"), [
    (-10.0, 50.0, 0.0, 1.0, False), (-20.0, 20.0, 0.0, 1.015, True), (-35.0, 20.0, 0.02, 0.985, False), (-15.0, 30.0, 0.10, 1.0, True)])
def test_the_tone_of_one_hang_up_is_learnt(rng, country, name, level, snr, jitter, pitch, law):
    spec = PROFILES[country].tones[name]
    level = max(level, -40.0 - min(spec.phase_levels_db, default=-5.0))  # the softest burst is heard too
    seconds = max(8.0, 4.5 * spec.period_ms / 1000.0)

    def refused(_: int) -> list[str]:
        tone = sounded(rng, spec, seconds, level, jitter, pitch)
        x = np.concatenate([speech(rng, 6.0), silence(rng.uniform(50, 600)), tone])
        found, reason = learn(x + noise(rng, len(x), level - snr), law=law)
        if found is None:
            return [reason]
        try:
            check(found, spec, level, jitter, pitch)
            assert abs(found.start_ms_ago - 1000.0 * len(tone) / 8000.0) < spec.period_ms * (2.5 if jitter > 0.05 else 1.2)
        except AssertionError as error:
            return [f"{found}: {error}"]
        return []

    assert_rare(refused, 1, 6, 2)                   # with the worst clock none of 630 draws was


@pytest.mark.parametrize(("country", "name"), RELEASE)
def test_what_is_learnt_is_what_the_detector_hears(rng, country, name):
    from firmware.dsp import ToneDetector

    spec = PROFILES[country].tones[name]
    tone = sounded(rng, spec, 12.0, -18.0, 0.02)
    found, _ = learn(np.concatenate([speech(rng, 3.0), tone]))
    assert found is not None
    detector = ToneDetector(found.freqs_hz, found.cadence_ms, 3, 8000, (), found.phase_levels_db)
    assert detector.feed(pcm(np.concatenate([silence(500), tone]))) & 1


@pytest.mark.parametrize("name", ["busy", "congestion"])
def test_a_loud_syllable_of_the_tones_pitch_does_not_hide_it(rng, name):
    spec = PROFILES["UK"].tones[name]
    syllable = 22750.0 * 10.0 ** (-13.0 / 20.0) * np.sin(2.0 * np.pi * 401.0 * np.arange(640) / 8000.0)
    tone = sounded(rng, spec, 9.0, -34.0)
    found, reason = learn(np.concatenate([speech(rng, 3.0), syllable, silence(200), tone]))
    assert found is not None, reason
    check(found, spec, -34.0)
    assert abs(found.start_ms_ago - len(tone) / 8.0) < 1.2 * spec.period_ms


def test_a_crackle_in_a_pause_does_not_make_the_tone_younger(rng):
    spec = PROFILES["AU"].tones["congestion"]
    tone = sounded(rng, spec, 12.0, -20.0)
    at = 8 * (2 * 1500 + 500)                # in the first pause of the third cycle
    tone[at:at + 8 * 80] += noise(rng, 8 * 80, -25.0)
    found, reason = learn(np.concatenate([speech(rng, 3.0), silence(200), tone]))
    assert found is not None, reason
    check(found, spec, -20.0)
    assert abs(found.start_ms_ago - len(tone) / 8.0) < 1.2 * spec.period_ms


@pytest.mark.parametrize(("country", "name", "lost"), [("AU", "congestion", 3), ("AU", "congestion", 4), ("CN", "busy", 3)])
def test_a_burst_lost_in_noise_does_not_make_the_tone_younger(rng, country, name, lost):
    spec = PROFILES[country].tones[name]
    tone = sounded(rng, spec, 12.0, -20.0)
    on, off = spec.cadence_ms[:2]
    at = 8 * lost * (on + off)
    tone[at:at + 8 * on] = 0.0
    found, reason = learn(np.concatenate([speech(rng, 3.0), silence(200), tone]))
    assert found is not None, reason
    check(found, spec, -20.0)
    assert abs(found.start_ms_ago - len(tone) / 8.0) < 1.2 * spec.period_ms


def test_talk_after_the_tone_and_a_second_tone_do_not_hide_it(rng):
    busy = sounded(rng, PROFILES["CN"].tones["busy"], 8.0, -12.0)
    hello = speech(rng, 1.0)
    found, reason = learn(np.concatenate([speech(rng, 5.0), busy, hello]))
    assert found is not None, reason
    dial = sounded(rng, PROFILES["CN"].tones["dial"], 3.0, -12.0)
    found, reason = learn(np.concatenate([speech(rng, 5.0), busy, dial]))
    assert found is not None, reason
    check(found, PROFILES["CN"].tones["busy"], -12.0)


@pytest.mark.parametrize("country", PROFILES)
@pytest.mark.parametrize("name", ["dial", "ringback", "call-waiting", "sit", "howler"])
def test_other_tones_of_the_exchange_are_not_learnt(rng, country, name):
    spec = PROFILES[country].tones.get(name)
    if spec is None or (name == "howler" and country != "CN"):
        return
    found, reason = learn(np.concatenate([speech(rng, 4.0), sounded(rng, spec, 18.0, -15.0)]))
    assert found is None and reason


def test_silence_keys_and_music_say_why(rng):
    assert learn(silence(500)) == (None, "too little was heard")
    assert learn(silence(8000))[1] == learn(noise(rng, 64000, -55.0))[1] == "silence"
    keys = samples(DtmfGenerator("5" * 12, 350, 350).generate(8000 * 8))
    assert learn(keys) == (None, "keys")
    assert learn(samples(ToneGenerator((450,), -10.0).generate(80000)))[1] == "a continuous tone"
    for make in (music, speech):
        assert_rare(lambda _, make=make: [found] if (found := learn(make(rng, 20.0))[0]) else [], 1, 20, 2)
    notes = [np.exp(-np.arange(2800) / 1500.0) * samples(ToneGenerator((440,), -10.0).generate(2800)) for _ in range(10)]
    struck = np.concatenate([np.concatenate([n, silence(350)]) for n in notes])
    assert learn(struck)[0] is None


@pytest.mark.parametrize("kind", ["speech", "babble", "music"])
def test_nothing_is_learnt_from_people_and_music(kind, seed, soak):

    def learnt(number: int) -> list[object]:
        x = np.asarray(minute(kind, seed + number, 8000), dtype=np.float64)
        return [(at, found) for at in range(0, len(x) - 160000, 80000) if (found := learn(x[at:at + 192000], block=80000)[0]) is not None]

    assert_rare(learnt, 2 * soak, 15, 2)


def test_a_voice_that_glides_evenly_is_no_pair_of_tones():
    """Syllables that sound at 365 Hz and slide to 380 within 50 ms, three times over, were once taken for a pair."""
    x = np.asarray(minute("speech", 1592949480, 8000), dtype=np.float64)
    assert learn(x[16 * 8000:40 * 8000])[0] is None


def test_the_rate_and_the_buffers_do_not_matter(rng):
    spec = PROFILES["US"].tones["busy"]
    data = ToneGenerator(spec.freqs_hz, -15.0, spec.cadence_ms).generate(80000)
    results = []
    for block in (80, 160, 240, 77):
        learner = ToneLearner()
        for at in range(0, len(data), 2 * block):
            learner.feed(data[at:at + 2 * block])
        found = learner.learn()
        results.append((found.freqs_hz, found.cadence_ms, found.level_dbm0, found.start_ms_ago))
    assert len(set(results)) == 1
    learner = ToneLearner(16000)
    learner.feed(ToneGenerator(spec.freqs_hz, -15.0, spec.cadence_ms, 16000).generate(160000))
    check(learner.learn(), spec, -15.0)


def test_only_the_last_seconds_count_and_a_new_call_begins_empty(rng):
    learner = ToneLearner()
    busy = pcm(sounded(rng, PROFILES["DE"].tones["busy"], 10.0, -15.0))
    learner.feed(busy)
    assert learner.learn() is not None
    learner.feed(pcm(silence(30000)))
    assert learner.learn() is None and learner.reason == "silence"
    learner.feed(busy)
    learner.clear()
    assert learner.learn() is None and learner.reason == "too little was heard"


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=4000, max_size=60000), st.integers(1, 12))
def test_any_samples_are_survived(data, times):
    learner = ToneLearner()
    for _ in range(times):
        learner.feed(data[:len(data) & ~1])
    found = learner.learn()
    assert found is None or 0.0 <= found.confidence <= 1.0


def test_extremes_are_survived():
    for x in (np.full(200000, 32767.0), np.tile([32767.0, -32768.0], 100000), np.full(200000, -32768.0), np.zeros(200000)):
        assert learn(x)[0] is None
