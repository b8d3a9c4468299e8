"""Learning a line's own tone with the real detectors: an unknown exchange hangs up three times, and is then released by its tone."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from firmware.config.schema.ports import FxoLine
from firmware.dsp import ProgressDetector, ToneLearner
from firmware.line.disconnect import LEARNED, Disconnect, same_sound
from firmware.line.disconnect_learn import VERIFY, Candidate, LineTones
from firmware.line.profiles import PROFILES
from firmware.line.tones import ToneSpec
from tests.dsp.rare import assert_rare
from tests.dsp.signals import noise, pcm, silence
from tools.bench_lines.sounds import chatter, tone

COUNTRIES = sorted(PROFILES)


def unknown(rng: np.random.Generator, country: str) -> ToneSpec:
    """A tone that the profile does not have, as private exchanges invent them."""
    while True:
        low = float(rng.uniform(320.0, 900.0))
        freqs = (low,) if rng.random() < 0.6 else (low, float(min(1600.0, low * rng.uniform(1.2, 1.8))))
        on, off = int(rng.integers(120, 700)), int(rng.integers(120, 700))
        cadence = (on, off) if rng.random() < 0.7 else (on, 150, on, off + 400)
        spec = ToneSpec("own", freqs, float(rng.uniform(-28.0, -10.0)), cadence)
        octave = len(freqs) == 2 and abs(freqs[1] / freqs[0] - 2.0) < 0.05
        near = any(abs(f - g) < 60.0 for known in PROFILES[country].tones.values() for f in freqs for g in known.freqs_hz)
        if not near and not octave:
            return spec


def call(rng: np.random.Generator, spec: ToneSpec, country: str, hang_up: bool = True) -> tuple[bytes, float]:
    """Talk and, if the far end hangs up, its tone until the agent does so too; when the tone begins, ms."""
    minute = np.frombuffer(chatter("speech", country, int(rng.integers(0, 30))), "<i2").astype(float)
    start = int(rng.integers(0, 40 * 8000))
    x = np.concatenate([minute[start:start + 10 * 8000], silence(400.0)])
    began = len(x) / 8.0
    if hang_up:
        x = np.concatenate([x, tone(spec, max(8.0, 5.0 * spec.period_ms / 1000.0), level=spec.level_dbm0, jitter=0.01, rng=rng)])
    return pcm(x + noise(rng, len(x), -55.0)), began


def learned_from(sound: bytes) -> Candidate | None:
    learner = ToneLearner()
    learner.feed(sound)
    found: Any = learner.learn()
    if found is None:
        return None
    return Candidate(found.freqs_hz, found.cadence_ms, found.level_dbm0, found.phase_levels_db)


def fate(rng: np.random.Generator, country: str) -> tuple[str, str]:
    """What becomes of an unknown tone: "learned", "missed" because one hang-up taught nothing, or "wrong"; and what there is to say."""
    profile, spec, tones = PROFILES[country], unknown(rng, country), LineTones()
    judge = Disconnect(FxoLine(), profile)
    first = learned_from(call(rng, spec, country)[0])
    if first is None or tones.sight(first, profile, 0.9) != "proposed":
        return "missed", f"{spec}"
    if len(first.freqs_hz) != len(spec.freqs_hz):
        return "wrong", f"{spec} learned as {first}"
    for number in range(VERIFY):
        judge.probation = tones.active().spec()  # type: ignore[union-attr]
        heard = [one for one in ProgressDetector(judge.tones(outgoing=False)).feed(call(rng, spec, country)[0]) if one.heard]
        if [one for one in heard if not one.name.endswith("?")]:
            return "wrong", f"a proposal of {spec} released the line: {heard}"
        if not [one for one in heard if one.name == LEARNED + "?"]:
            return "wrong", f"call {number}: {spec} as {first} was not heard again"
        tones.ended_with(number)
    active = tones.active()
    if active is None or active.state != "used" or not same_sound(active.spec(), spec_like(spec)):
        return "wrong", f"{spec} is {active} after {VERIFY} calls"
    judge.learned, judge.probation = active.spec(), None
    sound, began = call(rng, spec, country)
    detector, at = ProgressDetector(judge.tones(outgoing=False)), -1.0
    for offset in range(0, len(sound), 160):
        if any(one.heard and one.name == LEARNED for one in detector.feed(sound[offset:offset + 160])):
            at = offset / 16.0 + 10.0
            break
    if not began < at <= began + 3.1 * spec.period_ms:
        return "wrong", f"{spec} released at {at} ms, begun at {began} ms"
    quiet = ProgressDetector(judge.tones(outgoing=False)).feed(call(rng, spec, country, hang_up=False)[0])
    if [one for one in quiet if one.heard]:
        return "wrong", f"{spec} was heard in talk: {quiet}"
    return "learned", ""


@pytest.mark.parametrize("country", COUNTRIES)
def test_unknown_exchange_is_learned_from_three_hang_ups_and_then_released_by_its_tone(
    country: str, rng: np.random.Generator, soak: int
) -> None:
    """Of 564 tones 19 taught nothing at the first hang-up, none went wrong."""
    @cache
    def drawn(_: int) -> tuple[str, str]:
        return fate(rng, country)

    daily, long = (4, 1) if soak == 1 else (60, 6)
    for what, most, allowed in (("wrong", 2, 0), ("missed", 7, long)):
        assert_rare(lambda number, what=what: [text for which, text in [drawn(number)] if which == what], daily, 30, most, allowed)


def spec_like(spec: ToneSpec) -> ToneSpec:
    return ToneSpec(LEARNED, spec.freqs_hz, spec.level_dbm0, spec.cadence_ms)


def test_talk_proposes_nothing(rng: np.random.Generator, soak: int) -> None:
    for kind in ("speech", "music", "conference"):
        def taught(number: int, kind: str = kind) -> list[Candidate]:
            found = learned_from(chatter(kind, "CN", number + int(rng.integers(0, 1000)))[-24 * 16000:])
            return [] if found is None else [found]

        assert_rare(taught, 2 if soak == 1 else 30, 20, 2)
