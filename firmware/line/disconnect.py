"""Has the far end hung up? Signs of the wire and of the ear, weighed together (L1, pure).

Theory of operation
-------------------
An exchange tells of a release in one of several ways (country facts D3): it breaks the loop, reverses the battery, or sounds a tone;
some lines do none of it and are only silent. Each *sign* has the instant at which it began and a confidence. A sign of full weight decides
alone: a break of `loop_drop_release_ms` outside the transient of our own hook change (50 ms dips mean nothing), a reversal on a line set
for it once that of the answer has settled, a release tone. A tone is one by a dual condition that `dsp/tone_track.pyx` holds: its
frequencies (+-25 Hz, purity) AND its cadence (+-15 %), for `busy_cycles` equal cycles; speech, music or noise in the same direction for
more than 30 ms begin the count anew, which is the veto of the ear and needs no second one here. Voice activity is none: a busy tone is
sound too.

*Half signs* do not decide alone: a break too short, a reversal nobody announced, two cycles of a tone. One of the wire and one of the ear
within 10 s do; two of the same sense do not, for one transient may make both. After a half sign of the wire silence counts after one
minute instead of thirty. Independent confidences join as 1 - (1 - a)(1 - b).

What holds a tone back: a key pressed since it began (keys repeated in the rhythm of busy tone), and company. The facts' warning
(Asterisk issue 1875): with two outside lines or a conference behind this line, another line's tone comes back in its echo. Such a tone must
go on: 3 s beside one other line (which hears its own tone first and is released by it), 20 s in a conference; it is not forgotten, for a
line must not hang either. After a hook flash of ours the exchange may sound the tones of a second call: 20 s too. Dial tone in a
conversation and continuous tones look like a held note, a test tone or a fax: they must last 60 s. A tone learned on this line
(`core/lines_learn.py`) is a release tone when it was accepted, and a half sign while it is on probation.

Invariants: nothing is decided without a sign; a release is dated back to the beginning of its sign, never before the conversation;
all memory is in `Memory`, which serialises with the machine's.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from firmware.call.model import Cause, Evidence
from firmware.config.schema.ports import FxoLine
from firmware.line.profiles import Profile
from firmware.line.signals import ToneHeard
from firmware.line.tones import ToneSpec

DIP_MS: Final = 50                       # loop losses up to this mean nothing at all
POLARITY_SETTLE_MS: Final = 200          # the reversal of an answer
EARLY_DIAL_TONE_MS: Final = 2500         # steady dial tone after our answer that means that nobody is there any more
EARLY_MS: Final = 2000                   # and it begins within this time of going off-hook
LASTING_MS: Final = 60_000               # steady tone in a conversation that is taken for a release
HINT_CYCLES: Final = 2                   # of a tone: half a sign
TOGETHER_MS: Final = 10_000              # between a half sign of the wire and one of the ear
BESIDE_LINE_MS: Final = 3000
CONFERENCE_MS: Final = 20_000
DECIDES: Final = 0.8                     # joined confidence of two half signs

#: Evidence kind of a release tone.
RELEASE_KINDS: Final = {
    "busy": "busy-tone", "congestion": "congestion-tone", "unobtainable": "congestion-tone", "sit": "congestion-tone",
    "dial": "dial-tone", "learned": "busy-tone",
}
LEARNED: Final = "learned"               # name of the tone learned on this line

Company = Literal["alone", "line", "conference"]


class Sign(msgspec.Struct, frozen=True):
    """Something that speaks for a release. `began`, `seen`: engine ms."""

    kind: str
    began: int
    seen: int
    confidence: float
    detail: str


class Release(msgspec.Struct, frozen=True):
    """The far end hung up at `at`."""

    cause: Cause
    evidence: Evidence
    at: int


class Memory(msgspec.Struct):
    """What the supervision of one call remembers."""

    wire: Sign | None = None             # last half sign of the wire
    ear: Sign | None = None              # last half sign of the ear: a tone that sounds now
    held: Sign | None = None             # a whole release tone that must go on until `due`
    held_cause: Cause = Cause.NORMAL
    due: int = -1
    quiet_since_sign: bool = False       # half a sign of the wire, and no voice since
    key_at: int = -1
    company: Company = "alone"
    flashed: bool = False                # our hook flash: the exchange may hold a second call for us, whose tones are not this one's end


class Disconnect:
    """The decision for one line; `memory` is kept in the machine's state. `learned` and `probation` are tones of this line."""

    def __init__(self, config: FxoLine, profile: Profile) -> None:
        self.config, self.profile = config, profile
        self.learned: ToneSpec | None = None
        self.probation: ToneSpec | None = None

    # --- what to listen for ---------------------------------------------------------------------------------------------------

    def tones(self, *, outgoing: bool) -> tuple[ToneSpec, ...]:
        """What the detectors listen for in a conversation; a name with "?" is a hint."""
        profile, cycles = self.profile, self.config.busy_cycles
        found: list[ToneSpec] = []
        for name in ("busy", "congestion", "unobtainable", "dial"):
            spec = profile.tones.get(name)
            if spec is None or any(same_sound(spec, other) for other in found):
                continue
            found.append(msgspec.structs.replace(spec, cycles=cycles if spec.cadence_ms else LASTING_MS // 100))
        own = self.learned or self.probation
        if own is not None and not any(same_sound(own, other) for other in found):
            found.append(msgspec.structs.replace(own, name=LEARNED if own is self.learned else LEARNED + "?", cycles=cycles))
        if not outgoing:
            # Who gave up between two rings is answered by the exchange itself: dial tone from the first moment on.
            early = {"name": "dial?", "cycles": EARLY_DIAL_TONE_MS // 100}
            found += [msgspec.structs.replace(one, **early) for one in found if one.name == "dial"]
        if cycles > HINT_CYCLES:
            found += [msgspec.structs.replace(one, name=one.name + "?", cycles=HINT_CYCLES) for one in found if one.name in _HINTED]
        return tuple(found)

    # --- the ear --------------------------------------------------------------------------------------------------------------

    def tone(self, memory: Memory, fact: ToneHeard, *, talking: bool, since: int, hook_at: int) -> Release | None:
        """A tone was recognised. `since`: when the conversation began."""
        cause = Cause.NORMAL if talking else Cause.CANCELLED
        if fact.name == "dial?":
            if fact.start_at - hook_at > EARLY_MS:
                return None
            evidence = Evidence("dial-tone", 0.9, f"dial tone since {fact.start_at} ms: the caller left before the answer")
            return Release(Cause.CANCELLED, evidence, fact.at)
        sign = tone_sign(fact)
        if fact.name.endswith("?"):
            memory.ear = sign
            return self._together(memory, since)
        if fact.name not in RELEASE_KINDS:
            return None
        memory.ear = sign
        wait = CONFERENCE_MS if memory.flashed else {"alone": 0, "line": BESIDE_LINE_MS, "conference": CONFERENCE_MS}[memory.company]
        if memory.key_at >= fact.start_at:
            wait = max(wait, memory.key_at + (fact.at - fact.start_at) - fact.at)
        if wait > 0:
            memory.held, memory.held_cause, memory.due = sign, cause, fact.at + wait
            return None
        return Release(cause, Evidence(sign.kind, sign.confidence, sign.detail), max(sign.began, since))

    def tone_stopped(self, memory: Memory, name: str) -> None:
        """A recognised tone ended: what was held back was not the exchange."""
        kind = RELEASE_KINDS.get(name.rstrip("?"))
        if kind is None:
            return
        if memory.ear is not None and memory.ear.kind == kind:
            memory.ear = None
        if not name.endswith("?") and memory.held is not None and memory.held.kind == kind:
            memory.held, memory.due = None, -1

    def tone_lasts(self, memory: Memory, now: int, since: int) -> Release | None:
        """The tone that was held back went on until `due`."""
        sign = memory.held
        if sign is None or memory.due < 0 or now < memory.due:
            return None
        why = {"alone": "keys were pressed meanwhile", "line": "beside another line", "conference": "in a conference"}[memory.company]
        why = "after a hook flash" if memory.flashed else why
        detail = f"{sign.detail}, held for {now - sign.seen} ms: {why}"
        return Release(memory.held_cause, Evidence(sign.kind, sign.confidence, detail), max(sign.began, since))

    def key(self, memory: Memory, at: int) -> None:
        """A key of the far end: somebody is there."""
        memory.key_at, memory.quiet_since_sign = at, False
        if memory.held is not None:
            memory.due = max(memory.due, at + memory.held.seen - memory.held.began)

    def voice(self, memory: Memory, active: bool) -> None:
        """Sound from the line began or ended."""
        if active:
            memory.quiet_since_sign = False

    # --- the wire -------------------------------------------------------------------------------------------------------------

    def loop_due(self, lost_at: int, hook_at: int) -> int:
        """When a loss of current that began at `lost_at` is a release."""
        return max(lost_at, hook_at + self.profile.loop_safe_ms) + self.config.loop_drop_release_ms

    def loop_counts(self, lost_at: int, hook_at: int, now: int) -> bool:
        """True when a loss of current is more than a dip and not the transient of our own hook change."""
        return lost_at >= 0 and now - lost_at > DIP_MS and lost_at - hook_at > self.profile.loop_safe_ms

    def loop_released(self, memory: Memory, cause: Cause, began: int) -> Release:
        """The loss lasted."""
        return Release(cause, self._with_ear(memory, Evidence("loop-drop", 0.98, f"no loop current since {began} ms")), began)

    def loop_back(self, memory: Memory, lost_at: int, hook_at: int, now: int, since: int) -> Release | None:
        """Current flows again before the loss was a release."""
        if not self.loop_counts(lost_at, hook_at, now):
            return None
        return self._half(memory, Sign("loop-drop", lost_at, now, 0.5, f"{now - lost_at} ms without loop current at {lost_at} ms"), since)

    def polarity_settle_ms(self, *, outgoing: bool) -> int:
        """After an answer a reversal belongs to it for this long."""
        return POLARITY_SETTLE_MS if outgoing else self.profile.polarity_ignore_ms

    def reversed(self, memory: Memory, at: int, now: int, since: int) -> Release | None:
        """The battery was reversed in a conversation, and not by its answer."""
        detail = f"reversal {now - since} ms after the answer"
        if self.config.polarity_release:
            return Release(Cause.NORMAL, self._with_ear(memory, Evidence("polarity", 0.95, detail)), at)
        return self._half(memory, Sign("polarity", at, now, 0.6, detail), since)

    def late_answer(self, memory: Memory, at: int, now: int, since: int) -> Release | None:
        """An outgoing call that the ear believed answered (music instead of ringback, noise) is reversed for the first time.

        That proves its answer rather than its release, so it is half a sign only.
        """
        return self._half(memory, Sign("polarity", at, now, 0.6, f"first reversal {now - since} ms after an answer told by ear"), since)

    def _half(self, memory: Memory, sign: Sign, since: int) -> Release | None:
        memory.wire, memory.quiet_since_sign = sign, True
        return self._together(memory, since)

    # --- together -------------------------------------------------------------------------------------------------------------

    def _together(self, memory: Memory, since: int) -> Release | None:
        """Half a sign of the wire and half a sign of the ear, close to each other, are a whole one."""
        wire, ear = memory.wire, memory.ear
        if wire is None or ear is None or memory.company != "alone" or memory.flashed or memory.key_at >= ear.began:
            return None
        if ear.began - wire.seen > TOGETHER_MS or wire.began - ear.seen > TOGETHER_MS:
            return None
        confidence = joined(wire.confidence, ear.confidence)
        if confidence < DECIDES:
            return None
        first = min(wire, ear, key=lambda sign: sign.began)
        kind = wire.kind if wire.confidence >= ear.confidence else ear.kind
        return Release(Cause.NORMAL, Evidence(kind, confidence, f"{wire.detail}; {ear.detail}"), max(first.began, since))

    def _with_ear(self, memory: Memory, evidence: Evidence) -> Evidence:
        ear = memory.ear
        if ear is None:
            return evidence
        return Evidence(evidence.kind, joined(evidence.confidence, ear.confidence), f"{evidence.detail}; {ear.detail}")

    def silence_ms(self, memory: Memory) -> int:
        """How long nothing may be heard from the line."""
        return self.profile.silence_suspect_ms if memory.quiet_since_sign else self.profile.silence_release_ms

    def silent(self, memory: Memory, now: int) -> Release:
        """Nothing was heard for `silence_ms`: the last resort."""
        wire = memory.wire if memory.quiet_since_sign else None
        detail = f"no voice for {self.silence_ms(memory)} ms"
        if wire is None:
            return Release(Cause.NORMAL, Evidence("silence", 0.4, detail), now)
        return Release(Cause.NORMAL, Evidence("silence", 0.6, f"{detail} after {wire.detail}"), now)

    def gone_before_us(self, memory: Memory, lost_at: int, hook_at: int, now: int) -> Evidence | None:
        """We hang up now: the evidence that the far end did so before, or None."""
        if self.loop_counts(lost_at, hook_at, now):
            evidence = Evidence("loop-drop", 0.7, f"no loop current since {lost_at} ms, then our command")
            return self._with_ear(memory, evidence)
        sign = memory.held or memory.ear
        if sign is None or memory.company != "alone" or memory.flashed or memory.key_at >= sign.began:
            return None
        return Evidence(sign.kind, sign.confidence, f"{sign.detail}, then our command")


_HINTED: Final = ("busy", "congestion")


def joined(a: float, b: float) -> float:
    """Confidence of two independent signs of one thing."""
    return min(0.99, round(1.0 - (1.0 - a) * (1.0 - b), 3))


def tone_sign(fact: ToneHeard) -> Sign:
    """A recognised tone as a sign; a hint has half its weight."""
    cycles, name = max(1, fact.cycles), fact.name.rstrip("?")
    whole = fact.confidence or min(0.99, 0.8 + 0.05 * cycles)
    confidence = min(0.6, whole) if fact.name.endswith("?") else whole
    detail = f"{name} tone, {cycles} cycles since {fact.start_at} ms"
    return Sign(RELEASE_KINDS.get(name, "busy-tone"), fact.start_at, fact.at, confidence, detail)


def same_sound(a: ToneSpec, b: ToneSpec) -> bool:
    """Tones that one detector cannot tell apart: frequencies within 2 %, lengths within 10 %, the same levels by phase."""
    if len(a.freqs_hz) != len(b.freqs_hz) or len(a.cadence_ms) != len(b.cadence_ms) or a.phase_levels_db != b.phase_levels_db:
        return False
    if a.phase_freqs_hz != b.phase_freqs_hz:
        return False
    close = all(abs(x - y) <= 0.02 * y for x, y in zip(sorted(a.freqs_hz), sorted(b.freqs_hz), strict=True))
    return close and all(abs(x - y) <= 0.1 * y for x, y in zip(a.cadence_ms, b.cadence_ms, strict=True))
