"""Fax and modem tones within the tolerances of T.30, V.25 and V.8, and not in people and music."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.dsp import AnswerToneDetector, DtmfGenerator
from firmware.dsp.g711 import decode, encode
from tests.dsp.corpus import minute
from tests.dsp.rare import assert_rare
from tests.dsp.signals import Sound, noise, pcm, samples, silence, sine, speech


def answer(seconds: float, *, freq: float = 2100.0, level: float = -13.0, depth: float = 0.0, am: float = 15.0, reversal_ms: float = 0.0,
           turn_deg: float = 180.0, rate: int = 8000) -> Sound:
    """2100 Hz with amplitude modulation and phase reversals."""
    t = np.arange(int(seconds * rate)) / rate
    phase = 2.0 * np.pi * freq * t
    if reversal_ms:
        phase = phase + np.floor(1000.0 * t / reversal_ms) * np.radians(turn_deg)
    return 22750.0 * 10.0 ** (level / 20.0) * np.sin(phase) * (1.0 + depth * np.sin(2.0 * np.pi * am * t))


def cng(bursts: int, *, freq: float = 1100.0, on: float = 500.0, off: float = 3000.0, level: float = -15.0, rate: int = 8000) -> Sound:
    """The calling tone."""
    return np.concatenate([np.concatenate([sine(freq, on, level, rate), silence(off, rate)]) for _ in range(bursts)])


def heard(x: Sound, *, rate: int = 8000, block: int = 160):
    """(kind, ms of its start, confidence, length) of every event."""
    detector, found, data = AnswerToneDetector(rate), [], pcm(x)
    for at in range(0, len(data), 2 * block):
        part = data[at:at + 2 * block]
        for e in detector.feed(part):
            found.append((e.kind, (at + len(part)) / 2.0 / rate * 1000.0 - e.start_ms_ago, e.confidence, e.duration_ms))
    return found


@pytest.mark.parametrize(("depth", "reversal_ms", "kinds"), [
    (0.0, 0.0, ["ced", "end"]), (0.0, 450.0, ["ced", "ans-reversed", "end"]),
    (0.2, 0.0, ["ansam", "end"]), (0.2, 450.0, ["ansam", "ansam-reversed", "end"])])
@pytest.mark.parametrize(("level", "snr", "shift"), [(-10.0, 60.0, 0.0), (-26.0, 25.0, 12.0), (-38.0, 20.0, -12.0)])
def test_each_answer_tone_has_its_name(rng, depth, reversal_ms, kinds, level, snr, shift):
    x = np.concatenate([silence(700), answer(3.3, level=level, depth=depth, reversal_ms=reversal_ms, freq=2100.0 + shift), silence(500)])
    x += noise(rng, len(x), level - snr)
    found = heard(samples(decode("alaw", encode("alaw", pcm(x)))))
    names = [kind for kind, *_ in found]
    if reversal_ms:                                     # which half of the truth comes first is a matter of where the first turn lies
        assert names[-2:] == kinds[-2:]
        assert set(names) <= set(kinds)
    else:
        assert names == kinds
    assert all(abs(start - 700.0) < 30.0 for _, start, *_ in found)
    assert abs(found[-1][3] - 3300.0) < 70.0             # steps of 20; in 109 draws of the faintest it was off by 20 at most


def test_reversals_of_v25_tolerance_and_smaller_turns(rng):
    for ms in (425.0, 450.0, 475.0):
        for turn in (170.0, 190.0):
            names = [kind for kind, *_ in heard(answer(3.0, reversal_ms=ms, turn_deg=turn) + noise(rng, 24000, -40.0))]
            assert "ans-reversed" in names
    for turn in (45.0, 90.0):
        names = [kind for kind, *_ in heard(answer(3.0, reversal_ms=450.0, turn_deg=turn))]
        assert "ans-reversed" not in names


def test_other_modulation_is_no_ansam():
    for am in (5.0, 10.0, 20.0, 25.0):
        assert [kind for kind, *_ in heard(np.append(answer(3.0, depth=0.2, am=am), silence(200)))] == ["ced", "end"]
    assert [kind for kind, *_ in heard(np.append(answer(3.0, depth=0.04), silence(200)))] == ["ced", "end"]


@pytest.mark.parametrize("freq", [1062.0, 1100.0, 1138.0])
@pytest.mark.parametrize(("on", "off"), [(500.0, 3000.0), (430.0, 2600.0), (570.0, 3400.0)])
@pytest.mark.parametrize("level", [-10.0, -40.0])
def test_calling_tone_of_t30_tolerance(rng, freq, on, off, level):
    x = np.concatenate([silence(500), cng(3, freq=freq, on=on, off=off, level=level)])
    found = heard(x + noise(rng, len(x), level - 25.0))
    assert [kind for kind, *_ in found] == ["cng", "cng"]
    assert all(abs(start - 500.0) < 30.0 for _, start, *_ in found)
    assert found[1][2] > found[0][2]
    assert abs(found[0][3] - on) < 15.0


def test_what_is_outside_the_tolerance_is_refused(rng):
    for x in (cng(3, freq=1030.0), cng(3, freq=1170.0), cng(3, on=350.0), cng(3, on=700.0), answer(3.0, freq=2040.0),
              answer(3.0, freq=2160.0), answer(0.4), cng(3, level=-50.0), answer(3.0, level=-50.0),
              cng(3) + sum(speech(rng, 11.0)[:84000] for _ in range(4))):
        assert heard(np.append(x, silence(300))) == []


def test_keys_and_the_tones_of_the_other_kind_are_silent():
    assert heard(samples(DtmfGenerator("147*2580369#ABCD" * 2, 500, 300).generate(8000 * 27))) == []
    for freq in (1080.0 - 45.0, 1300.0, 1650.0, 1750.0, 1850.0, 2225.0, 2250.0):
        assert heard(np.append(sine(freq, 500, -10.0), silence(4000))) == []


@pytest.mark.parametrize("kind", ["speech", "babble", "music"])
def test_nobody_speaks_or_plays_like_a_fax(kind, seed, soak):
    detector = AnswerToneDetector()
    assert_rare(lambda number: detector.feed(minute(kind, seed + number).tobytes()), 2 * soak, 15, 2)


def test_a_note_that_fades_is_no_answer_tone():
    for per_second in (1.0, 3.0, 8.0):
        note = answer(2.5) * np.exp(-per_second * np.arange(20000) / 8000.0)
        assert heard(np.concatenate([silence(500), note, silence(300)])) == [], per_second


def test_a_tone_that_follows_other_sound_is_believed_after_a_second(rng):
    before = sine(1568.0, 500, -16.0)
    assert heard(np.concatenate([before, answer(0.9), silence(300)])) == []
    found = heard(np.concatenate([before, answer(3.0, depth=0.2, reversal_ms=450.0), silence(300)]))
    assert [kind for kind, *_ in found][-2:] == ["ansam-reversed", "end"]
    assert all(abs(start - 500.0) < 30.0 for _, start, *_ in found)
    for pause in (200.0, 1800.0):                        # V.25: a modem is silent for 1.8 s before it answers
        x = np.concatenate([sine(425.0, 500, -13.0), silence(pause), answer(0.7), silence(300)])
        assert [kind for kind, *_ in heard(x + noise(rng, len(x), -33.0))] == ["ced", "end"]


@pytest.mark.parametrize("number", [14820311859835166898, 14820311859835166947])
def test_notes_that_once_were_taken_for_answer_tones_are_music(number):
    assert AnswerToneDetector().feed(minute("music", number).tobytes()) == []


@pytest.mark.parametrize("block", [80, 240, 77, 100000])
def test_buffers_do_not_matter(rng, block):
    x = np.concatenate([cng(2), answer(2.0, depth=0.2, reversal_ms=450.0), silence(300)])
    strict, other = heard(x), heard(x, block=block)
    assert [kind for kind, *_ in strict] == [kind for kind, *_ in other]
    assert all(abs(a[1] - b[1]) < 1.5 for a, b in zip(strict, other, strict=True))


def test_sixteen_kilohertz_hears_the_same():
    x = np.concatenate([cng(2, rate=16000), answer(2.0, depth=0.2, rate=16000), silence(300, 16000)])
    assert [kind for kind, *_ in heard(x, rate=16000, block=320)] == ["cng", "cng", "ansam", "end"]


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=0, max_size=20000))
def test_any_samples_are_survived(data):
    for event in AnswerToneDetector().feed(data[:len(data) & ~1] * 4):
        assert 0.0 <= event.confidence <= 1.0


def test_an_odd_byte_is_refused():
    with pytest.raises(ValueError, match="whole number"):
        AnswerToneDetector().feed(b"abc")
    with pytest.raises(ValueError, match="8000 or 16000"):
        AnswerToneDetector(44100)
