"""The bank that follows all tones of a line: decisions, their evidence, and hours of people and music without any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.dsp import DtmfGenerator, ProgressDetector, ToneGenerator
from firmware.line.profiles import PROFILES
from firmware.line.tones import ToneSpec
from tests.dsp.corpus import minute
from tests.dsp.rare import assert_rare
from tests.dsp.signals import noise, pcm, samples, silence, speech


def release_tones(country: str, cycles: int = 3) -> list[ToneSpec]:
    tones = PROFILES[country].tones
    return [ToneSpec(t.name, t.freqs_hz, t.level_dbm0, t.cadence_ms, cycles, t.phase_freqs_hz, t.phase_levels_db)
            for n in ("busy", "congestion", "unobtainable") if (t := tones.get(n)) is not None and t.cadence_ms]


def played(spec: ToneSpec, ms: int, level: float = -14.0):
    return samples(ToneGenerator(spec.freqs_hz, level, spec.cadence_ms, 8000, spec.phase_freqs_hz, spec.phase_levels_db).generate(8 * ms))


def decisions(bank: ProgressDetector, x, block: int = 160):
    data = pcm(x)
    return [((at + block) / 16.0 * 1.0, e) for at in range(0, len(data), 2 * block) for e in bank.feed(data[at:at + 2 * block])]


@pytest.mark.parametrize("country", PROFILES)
def test_a_hang_up_is_noticed_in_time_and_dated_back(rng, country):
    for spec in release_tones(country):
        talk = np.concatenate([speech(rng, 4.0), silence(rng.uniform(60, 600))])
        x = np.concatenate([talk, played(spec, 3 * spec.period_ms + 500)])
        bank, seen = ProgressDetector(release_tones(country)), []
        data = pcm(x + noise(rng, len(x), -36.0))
        for at in range(0, len(data), 160):
            seen += [(at / 16.0 + 10.0, e) for e in bank.feed(data[at:at + 160]) if e.heard]
        assert [e.name for _, e in seen] == [spec.name]
        now, event = seen[0]
        begin = len(talk) / 8.0
        assert abs(now - event.start_ms_ago - begin) < 15.0
        assert now - begin < 3.0 * spec.period_ms + 60.0
        assert event.confidence > 0.75 and event.purity > 0.9 and event.deviation < 0.05 and event.unrest > 0.2


def test_two_cycles_decide_when_two_are_asked_for(rng):
    bank = ProgressDetector(release_tones("CN", 2))
    x = np.concatenate([silence(1000), played(PROFILES["CN"].tone("busy"), 3000)])
    events = bank.feed(pcm(x))
    assert events[0].heard and events[0].cycles == 2 and events[0].unrest == 0.0


def test_it_says_when_the_tone_stops(rng):
    bank = ProgressDetector(release_tones("US"))
    events = bank.feed(pcm(np.concatenate([played(PROFILES["US"].tone("busy"), 4500), silence(3000)])))
    assert [(e.name, e.heard) for e in events] == [("busy", True), ("busy", False)]


def test_talk_over_the_tone_and_in_its_pauses_takes_the_pattern_back(rng):
    busy = played(PROFILES["DE"].tone("busy"), 12000, -12.0)
    over = speech(rng, 13.0, level_dbm0=-10.0)[:len(busy)]
    assert ProgressDetector(release_tones("DE")).feed(pcm(busy + over)) == []
    soft = speech(rng, 13.0, level_dbm0=-37.0)[:len(busy)]           # what a canceller leaves of the near talker
    assert [e.heard for e in ProgressDetector(release_tones("DE")).feed(pcm(busy + soft))][:1] == [True]


def test_keys_in_the_rhythm_of_busy_do_not_release():
    for country in PROFILES:
        for spec in release_tones(country):
            on, off = spec.cadence_ms[:2]
            keys = samples(DtmfGenerator("1234567890*#", on, off).generate(12 * 8 * (on + off)))
            assert ProgressDetector(release_tones(country)).feed(pcm(keys)) == []


@pytest.mark.parametrize("kind", ["speech", "babble", "music"])
def test_people_and_music_never_release_a_line(kind, seed, soak):
    banks = [ProgressDetector(release_tones(country, cycles)) for country in PROFILES for cycles in (2, 3)]

    def released(number: int) -> list[object]:
        data = minute(kind, seed + number).tobytes()
        return [event for bank in banks for event in bank.feed(data)]

    assert_rare(released, 2 * soak, 15, 2)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_rate_and_buffers_do_not_matter(rate):
    spec = PROFILES["UK"].tone("congestion")
    data = ToneGenerator(spec.freqs_hz, -14.0, spec.cadence_ms, rate).generate(rate * 6)
    results = []
    for ms in (10, 20, 30, 6000):
        bank, found = ProgressDetector(release_tones("UK"), rate), []
        step = 2 * ms * rate // 1000
        for at in range(0, len(data), step):
            part = data[at:at + step]
            found += [(e.name, round((at + len(part)) / 2000.0 * 8000 / rate * 1000 / 4000) if ms < 0 else
                       round(((at + len(part)) * 500 / rate - e.start_ms_ago) / 2), round(e.confidence, 4)) for e in bank.feed(part)]
        results.append(found)
    assert results[0] and all(r == results[0] for r in results)


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=0, max_size=20000))
def test_any_samples_are_survived(data):
    for event in ProgressDetector(release_tones("CN")).feed(data[:len(data) & ~1] * 4):
        assert 0.0 <= event.confidence <= 1.0


def test_impossible_banks_are_refused():
    spec = PROFILES["CN"].tone("busy")
    with pytest.raises(ValueError, match="at most 8"):
        ProgressDetector([spec] * 9)
    with pytest.raises(ValueError, match="8000 or 16000"):
        ProgressDetector([spec], 44100)
    with pytest.raises(ValueError, match="cannot be heard"):
        ProgressDetector([ToneSpec("low", (100.0,))])
    with pytest.raises(ValueError, match="whole number"):
        ProgressDetector([spec]).feed(b"abc")
