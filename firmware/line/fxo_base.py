"""FXO line: conversation, release and rest; what its ringing and dialling parts share (L1, pure).

Theory of operation
-------------------
See `fxo.py`. Every sign of a release is judged here, with the instant it began in its evidence, so that it is provable who hung
up first.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from firmware.call.model import Cause, Evidence
from firmware.config.schema.ports import FxoLine
from firmware.line.fxo_table import (
    DIP_MS,
    EARLY_DIAL_TONE_MS,
    EARLY_MS,
    FXO_TABLE,
    LOW_VOLTS,
    NO_CURRENT_MS,
    POLARITY_SETTLE_MS,
    RELEASE_DIAL_TONE_MS,
    RELEASE_KINDS,
    RELEASE_MS,
    FxoState,
)
from firmware.line.machine import Machine, Table
from firmware.line.profiles import Profile
from firmware.line.signals import (
    LINE_OFF_HOOK,
    LINE_ON_HOOK,
    Answered,
    CloseAudio,
    Detect,
    Digit,
    Drive,
    Expired,
    Flash,
    HangUp,
    Key,
    LoopCurrent,
    OpenAudio,
    SendDigits,
    SendDtmf,
    StopPlayer,
    ToneHeard,
    Voice,
)
from firmware.line.tones import ToneSpec


class FxoBase(Machine[FxoState]):
    """See `fxo.Fxo`."""

    TABLE: ClassVar[Table] = FXO_TABLE

    def __init__(self, config: FxoLine, profile: Profile, state: FxoState | None = None) -> None:
        super().__init__(state or FxoState())
        self.config = config
        self.profile = profile

    # --- at rest ------------------------------------------------------------------------------------------------------

    def _to_rest(self) -> None:
        """Enter the state that the known facts of the idle line ask for, with the memory of the last call wiped."""
        state = self.state
        self.state.forget_call()
        if state.battery is False:
            self._enter("NO_LINE", "no battery: check the cable and the operator")
        elif 0 < state.volts < LOW_VOLTS:
            self._enter("IN_USE", "a parallel telephone is off-hook")
        else:
            self._enter("IDLE", state.fault)
        if self.config.caller_id != "none":
            if not state.audio:
                self._act(OpenAudio(echo=False))
            self._act(self._idle_detectors())

    def _idle_detectors(self) -> Detect:
        cid = self.profile.caller_id
        early_fsk = cid.place == "before-ring" and self.config.caller_id in ("auto", "bell202", "v23")
        return Detect(digits=self._wants_keys(), fsk=self._fsk_standard() if early_fsk else "")

    def _wants_keys(self) -> bool:
        return self.config.caller_id == "dtmf" or (self.config.caller_id == "auto" and self.profile.caller_id.dtmf)

    def _fsk_standard(self) -> str:
        """Of a line set to "auto" every scheme is expected: exchanges of one country differ, and one receiver hears both standards."""
        return self.config.caller_id if self.config.caller_id in ("bell202", "v23") else "auto"

    # --- conversation and release -------------------------------------------------------------------------------------

    def _talk(self, evidence: Evidence) -> None:
        state = self.state
        state.answered_at, state.answer_kind, state.polarity_base = state.now, evidence.kind, state.reversed
        state.fault, state.fault_at = "", -1
        self._enter("TALKING", keep=("loop_drop",))
        self._act(self._talk_detectors())
        self._silence_timer()
        self._emit(Answered(state.now, evidence))

    def _talk_detectors(self) -> Detect:
        # Dial tone in a conversation may mean that the exchange released us, but a held note, a test tone or a fax answer looks the
        # same: it counts only when it has lasted longer than any of those, as a last resort before the silence limit.
        lasting = ("dial", RELEASE_DIAL_TONE_MS // 100)
        tones = self._tones(("busy", 0), ("congestion", 0), ("unobtainable", 0), lasting)
        if not self.state.outgoing:
            # Who gave up between two rings is answered by the exchange itself: dial tone from the first moment on.
            early = {"name": "dial?", "cycles": EARLY_DIAL_TONE_MS // 100}
            tones += tuple(msgspec.structs.replace(one, **early) for one in tones if one.name == "dial")
        return Detect(digits=True, voice=True, tones=tones)

    def _tones(self, *wanted: tuple[str, int]) -> tuple[ToneSpec, ...]:
        """Specifications with their cycles; 0 = the port's `busy_cycles`, except dial tone, which keeps its own."""
        found: list[ToneSpec] = []
        for name, cycles in wanted:
            spec = self.profile.tones.get(name)
            if spec is None or any(spec.freqs_hz == other.freqs_hz and spec.cadence_ms == other.cadence_ms for other in found):
                continue
            if spec.cadence_ms:
                cycles = cycles or self.config.busy_cycles
            found.append(msgspec.structs.replace(spec, cycles=cycles or spec.cycles))
        return tuple(found)

    def _tone_evidence(self, fact: ToneHeard) -> Evidence:
        cycles = max(1, fact.cycles)
        detail = f"{fact.name} tone, {cycles} cycles since {fact.start_at} ms"
        return Evidence(RELEASE_KINDS.get(fact.name, "busy-tone"), fact.confidence or min(0.99, 0.8 + 0.05 * cycles), detail)

    def _release_tone(self, fact: ToneHeard) -> None:
        if fact.name == "dial?":
            if fact.start_at - self.state.hook_at <= EARLY_MS:
                evidence = Evidence("dial-tone", 0.9, f"dial tone since {fact.start_at} ms: the caller left before the answer")
                self._release(Cause.CANCELLED, evidence, True)
            return
        if fact.name in RELEASE_KINDS:
            cause = Cause.NORMAL if self.state.state == "TALKING" else Cause.CANCELLED
            self._release(cause, self._tone_evidence(fact), True)

    def _release_polarity(self, fact: Any) -> None:
        state, config = self.state, self.config
        if state.reversed == state.polarity_base:
            return
        since = state.now - state.answered_at
        quiet = POLARITY_SETTLE_MS if state.outgoing else self.profile.polarity_ignore_ms
        if since < quiet:
            state.polarity_base = state.reversed            # the reversal that goes with the answer
            return
        if state.outgoing and config.polarity_answer and state.answer_kind != "polarity":
            state.polarity_base, state.answer_kind = state.reversed, "polarity"    # the late proof of an answer we had believed
            return
        if config.polarity_release:
            self._release(Cause.NORMAL, Evidence("polarity", 0.95, f"reversal {since} ms after the answer"), True, fact.at)
        else:
            state.suspect, state.polarity_base = True, state.reversed
            self._silence_timer()

    def _loop_changed(self, fact: LoopCurrent) -> None:
        state = self.state
        if fact.flowing:
            if self._loop_loss_counts(fact.at):
                state.suspect = True
                self._silence_timer()
            state.loop_lost_at = -1
            state.current_seen = True
            self._cancel("loop_drop")
            return
        state.loop_lost_at = fact.at
        if state.current_seen:
            self._timer("loop_drop", max(fact.at, state.hook_at + self.profile.loop_safe_ms) + self.config.loop_drop_release_ms)
        else:
            self._timer("loop_drop", max(fact.at, state.hook_at + NO_CURRENT_MS))

    def _loop_loss_counts(self, now: int) -> bool:
        """True when the present loss of current is more than a dip and not the transient of our own hook change."""
        lost = self.state.loop_lost_at
        return lost >= 0 and now - lost > DIP_MS and lost - self.state.hook_at > self.profile.loop_safe_ms

    def _loop_dropped(self, _: Expired) -> None:
        state = self.state
        if not state.current_seen:
            if state.emergency:
                return                                       # dial all the same: the measurement may be wrong
            self._fault("no loop current")
            evidence = Evidence("loop-drop", 1.0, f"no loop current {NO_CURRENT_MS} ms after off-hook")
            self._release(Cause.LINE_FAULT, evidence, not state.outgoing)
            return
        cause = Cause.NORMAL if state.state == "TALKING" else Cause.CONGESTION if state.outgoing else Cause.CANCELLED
        since = max(state.loop_lost_at, state.hook_at)
        self._release(cause, Evidence("loop-drop", 0.98, f"no loop current since {since} ms"), True, since)

    def _talk_voice(self, fact: Voice) -> None:
        self.state.voice = fact.active
        if fact.active:
            self.state.suspect = False
        self._silence_timer()

    def _silence_timer(self) -> None:
        state = self.state
        if state.voice or state.state != "TALKING":
            self._cancel("silence")
        else:
            self._after("silence", self.profile.silence_suspect_ms if state.suspect else self.profile.silence_release_ms)

    def _silent(self, _: Expired) -> None:
        limit, confidence = (self.profile.silence_suspect_ms, 0.6) if self.state.suspect else (self.profile.silence_release_ms, 0.4)
        self._release(Cause.NORMAL, Evidence("silence", confidence, f"no voice for {limit} ms"), True)

    def _key(self, fact: Digit) -> None:
        self._emit(Key(self.state.now, fact.digit))

    def _send_keys(self, digits: str) -> None:
        profile = self.profile
        token = self._next_token()
        self._act(SendDtmf(digits, profile.dtmf_on_ms, profile.dtmf_off_ms, profile.dtmf_high_dbm0, token))

    def _send_digits(self, given: SendDigits) -> None:
        digits = "".join(c for c in given.digits if c in "0123456789*#ABCD")
        if digits:
            self._send_keys(digits)

    def _flash(self, _: Flash) -> None:
        if not self.state.flashing:
            self.state.flashing = True
            self._cancel("loop_drop")
            self._act(Drive(LINE_ON_HOOK))
            self._after("flash", self.profile.flash_ms)

    def _flash_over(self, _: Expired) -> None:
        state = self.state
        state.flashing, state.hook_at, state.loop, state.loop_lost_at = False, state.now, None, -1
        self._act(Drive(LINE_OFF_HOOK))
        # current must come back, or the line is gone
        self._after("loop_drop", self.profile.loop_safe_ms + self.config.loop_drop_release_ms)

    def _hang_up(self, given: HangUp) -> None:
        state = self.state
        if self._loop_loss_counts(given.at):
            evidence = Evidence("loop-drop", 0.7, f"no loop current since {state.loop_lost_at} ms, then our command")
            self._release(given.cause, evidence, True)
        else:
            self._release(given.cause, given.evidence, False)

    def _release(self, cause: Cause, evidence: Evidence, by_far: bool, at: int = -1) -> None:
        self._act(StopPlayer())
        self._act(Detect())
        self._hook(False)
        self._act(CloseAudio())
        self._enter("RELEASING")
        self._after("released", RELEASE_MS)
        self._end(cause, evidence, by_far, at)

    def _released(self, _: Expired) -> None:
        self._enter("GUARD")
        self._after("guard", max(0, self.profile.guard_ms - RELEASE_MS))

    def _await_current(self) -> None:
        """Off-hook: current must flow within its time."""
        if not self.state.current_seen:
            self._timer("loop_drop", self.state.hook_at + NO_CURRENT_MS)

    def _hook(self, off: bool) -> None:
        state = self.state
        state.off_hook, state.hook_at, state.loop, state.loop_lost_at, state.volts = off, state.now, None, -1, 0.0
        self._act(Drive(LINE_OFF_HOOK if off else LINE_ON_HOOK))

    def _fault(self, what: str) -> None:
        self.state.fault, self.state.fault_at = what, self.state.now
