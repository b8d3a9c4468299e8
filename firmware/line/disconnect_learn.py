"""A line's own disconnect tone: proposed by one natural hang-up, verified by the next calls, then used (L1, pure).

Theory of operation
-------------------
Private exchanges and old switches give tones that no country table holds. The engine's learner (`dsp/learner.pyx`) derives frequencies
and cadence from what a line sounded at the end of a call. One such sighting *proposes* a tone. It is then on probation: the detector
listens for it in every conversation and it counts as half a sign (`disconnect.py`). A call that ends while it sounds, or at most 3 s after,
*verifies* it; a call in which somebody talks or presses keys after it stopped speaks *against* it. Two verifications and nothing against:
it is used, and releases this line like a tone of the profile. One voice against it and it is refuted, and not proposed again until it is
forgotten: a music on hold, an announcement's attention signal. An operator may accept a proposal at once, or forget whatever there is.
A sighting that the profile knows (busy, congestion) says nothing new; one that the profile knows as something else (dial tone, ringback,
call waiting) is refused. Sightings of one tone differ by the learner's error: within 2 % of frequency and 10 % of length they are one, and
their mean is kept.

Invariants: at most one candidate is on probation or used; at most `MOST` are remembered; a refuted tone never releases a call.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from firmware.line.disconnect import LEARNED, RELEASE_KINDS, same_sound
from firmware.line.profiles import Profile
from firmware.line.tones import ToneSpec

VERIFY: Final = 2                        # calls that must end with the tone after the one that proposed it
LEAST_CONFIDENCE: Final = 0.5            # of the learner
MOST: Final = 4
AFTER_TONE_MS: Final = 3000              # a call that ends this long after the tone stopped ended with it
STATES: Final = ("proposed", "used", "refuted")

Outcome = Literal["known", "refused", "proposed", "again", "verified", "used", "refuted", "weak"]


class Candidate(msgspec.Struct):
    """A tone of this line; instants Unix ms. `by`: who took it into use, "verified" or "operator"."""

    freqs_hz: tuple[float, ...]
    cadence_ms: tuple[int, ...]
    level_dbm0: float
    levels_db: tuple[float, ...] = ()
    state: Literal["proposed", "used", "refuted"] = "proposed"
    by: str = ""
    sightings: int = 1
    verified: int = 0
    against: int = 0
    first_ms: int = 0
    last_ms: int = 0

    def spec(self) -> ToneSpec:
        """For detectors; ValueError for what none can follow."""
        levels = self.levels_db if any(self.levels_db) else ()
        level = min(0.0, max(-45.0, self.level_dbm0))
        return ToneSpec(LEARNED, self.freqs_hz, level, self.cadence_ms, 3, phase_levels_db=levels)


class LineTones(msgspec.Struct):
    """What one line taught."""

    candidates: list[Candidate] = []

    def active(self) -> Candidate | None:
        """The one that is used, else the one on probation that was seen most."""
        known = [one for one in self.candidates if one.state != "refuted"]
        return max(known, key=lambda one: (one.state == "used", one.verified, one.sightings, one.last_ms), default=None)

    def sight(self, seen: Candidate, profile: Profile, confidence: float) -> Outcome:
        """The learner derived a tone from the end of a call."""
        if confidence < LEAST_CONFIDENCE:
            return "weak"
        try:
            spec = seen.spec()
        except ValueError:
            return "refused"
        if not spec.cadence_ms or min(spec.cadence_ms) < 50 or not 250.0 <= min(spec.freqs_hz) <= max(spec.freqs_hz) <= 3000.0:
            return "refused"                             # no tracker follows it
        for name, known in profile.tones.items():
            if same_sound(spec, known):
                return "known" if name in RELEASE_KINDS and name != "dial" else "refused"
        for one in self.candidates:
            if same_sound(spec, one.spec()):
                one.sightings += 1
                one.last_ms = seen.last_ms
                _average(one, seen)
                return "refuted" if one.state == "refuted" else "again"
        self.candidates.append(seen)
        while len(self.candidates) > MOST:
            spare = [one for one in self.candidates if one.state != "used" and one is not seen]
            self.candidates.remove(min(spare, key=lambda one: (one.verified, one.sightings, one.last_ms)))
        return "proposed"

    def ended_with(self, wall_ms: int) -> Outcome:
        """A call ended while the active tone sounded."""
        one = self.active()
        if one is None:
            return "known"
        one.verified += 1
        one.last_ms = wall_ms
        if one.state == "proposed" and one.verified >= VERIFY:
            one.state, one.by = "used", "verified"
            return "used"
        return "verified"

    def went_on(self) -> Outcome:
        """A call went on after the active tone: it is none of a hang-up."""
        one = self.active()
        if one is None:
            return "known"
        one.against += 1
        if one.by != "operator" or one.against >= 2:
            one.state = "refuted"
        return "refuted"

    def accept(self, wall_ms: int) -> Candidate | None:
        """The operator takes the proposal into use."""
        one = self.active()
        if one is not None and one.state == "proposed":
            one.state, one.by, one.last_ms = "used", "operator", wall_ms
        return one


def _average(one: Candidate, seen: Candidate) -> None:
    share = 1.0 / min(one.sightings, 8)
    one.freqs_hz = tuple(round(a + (b - a) * share, 1) for a, b in zip(sorted(one.freqs_hz), sorted(seen.freqs_hz), strict=True))
    one.cadence_ms = tuple(round(a + (b - a) * share) for a, b in zip(one.cadence_ms, seen.cadence_ms, strict=True))
