"""FXO line: conversation, release and rest; what its ringing and dialling parts share (L1, pure).

Theory of operation
-------------------
See `fxo.py`. Whether the far end hung up is decided by `disconnect.py`; here its decisions are carried out and its timers kept.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from firmware.call.model import Cause, Evidence
from firmware.config.schema.ports import FxoLine
from firmware.line.disconnect import Disconnect, Release, tone_sign
from firmware.line.fxo_table import BY_EAR, FXO_TABLE, LOW_VOLTS, NO_CURRENT_MS, RELEASE_MS, FxoState
from firmware.line.machine import Machine, Table
from firmware.line.profiles import Profile
from firmware.line.signals import (
    LINE_OFF_HOOK,
    LINE_ON_HOOK,
    Answered,
    CloseAudio,
    Company,
    Detect,
    Digit,
    Drive,
    Expired,
    Flash,
    HangUp,
    Key,
    LoopCurrent,
    MessageWaiting,
    OpenAudio,
    SendDigits,
    SendDtmf,
    StopPlayer,
    ToneHeard,
    ToneStopped,
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
        self.disconnect = Disconnect(config, profile)
        self.wide = False                # caller id scheme not known yet: listen for every one in every place

    # --- at rest ------------------------------------------------------------------------------------------------------

    def _to_rest(self) -> None:
        """Enter the state that the known facts of the idle line ask for, with the memory of the last call wiped."""
        self.state.forget_call()
        self._rest()
        self._listen()

    def _rest(self) -> None:
        state, caller = self.state, ("cid_keys", "cid_stale")
        if state.battery is False:
            self._enter("NO_LINE", "no battery: check the cable and the operator")
        elif 0 < state.volts < LOW_VOLTS:
            self._enter("IN_USE", "a parallel telephone is off-hook")
        else:
            self._enter("IDLE", state.fault, keep=caller)

    def _listen(self) -> None:
        """For who calls, before the first ring, and for messages."""
        state = self.state
        if self.config.caller_id != "none" or self._hears_messages():
            if not state.audio:
                self._act(OpenAudio(echo=False))
            self._act(self._idle_detectors())

    def _hears_messages(self) -> bool:
        return self.config.message_waiting in ("fsk", "both")

    def _exchange_says(self, waiting: bool) -> None:
        """The exchange told whether messages wait; said on when it is news."""
        if waiting != self.state.exchange_waiting:
            self.state.exchange_waiting = waiting
            self._emit(MessageWaiting(self.state.now, waiting))

    def _idle_detectors(self) -> Detect:
        cid = self.profile.caller_id
        early_fsk = (cid.place == "before-ring" or self.wide) and self.config.caller_id in ("auto", "bell202", "v23")
        return Detect(digits=self._wants_keys(), fsk=self._fsk_standard() if early_fsk or self._hears_messages() else "")

    def _wants_keys(self) -> bool:
        return self.config.caller_id == "dtmf" or (self.config.caller_id == "auto" and (self.profile.caller_id.dtmf or self.wide))

    def _fsk_standard(self) -> str:
        """Of a line set to "auto" every scheme is expected: exchanges of one country differ, and one receiver hears both standards."""
        return self.config.caller_id if self.config.caller_id in ("bell202", "v23") else "auto"

    # --- conversation and release -------------------------------------------------------------------------------------

    def _talk(self, evidence: Evidence, at: int = -1) -> None:
        """In conversation since `at`, or now."""
        state = self.state
        # A line that was reversed since it dialled has proved its answer, whatever else was heard first.
        proved = state.outgoing and state.dial_base is not None and state.reversed != state.dial_base
        state.answer_kind = "polarity" if proved else evidence.kind
        state.answered_at, state.polarity_base = at if at >= 0 else state.now, state.reversed
        state.fault, state.fault_at = "", -1
        self._enter("TALKING", keep=("loop_drop",))
        self._act(self._talk_detectors())
        self._silence_timer()
        self._emit(Answered(state.answered_at, evidence))

    def _talk_detectors(self) -> Detect:
        return Detect(digits=True, voice=True, tones=self.disconnect.tones(outgoing=self.state.outgoing))

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
        sign = tone_sign(fact)
        return Evidence(sign.kind, sign.confidence, sign.detail)

    def _decided(self, found: Release | None) -> bool:
        """Carry out a decision, if there is one."""
        if found is not None:
            self._release(found.cause, found.evidence, True, found.at)
        return found is not None

    def _release_tone(self, fact: ToneHeard) -> None:
        state = self.state
        talking = state.state == "TALKING"
        since = state.answered_at if talking else state.hook_at
        self._decided(self.disconnect.tone(state.release, fact, talking=talking, since=since, hook_at=state.hook_at))
        self._hold_tone()

    def _hold_tone(self) -> None:
        state = self.state
        if state.state in ("TALKING", "ANSWERING") and state.release.due >= 0:
            self._timer("tone", state.release.due)
        else:
            self._cancel("tone")

    def _release_tone_stopped(self, fact: ToneStopped) -> None:
        self.disconnect.tone_stopped(self.state.release, fact.name)
        self._hold_tone()

    def _tone_lasts(self, _: Expired) -> None:
        state = self.state
        since = state.answered_at if state.state == "TALKING" else state.hook_at
        self._decided(self.disconnect.tone_lasts(state.release, state.now, since))

    def _company(self, given: Company) -> None:
        self.state.release.company = given.kind

    def _release_polarity(self, fact: Any) -> None:
        state, config = self.state, self.config
        if state.reversed == state.polarity_base:
            return
        settle = self.disconnect.polarity_settle_ms(outgoing=state.outgoing)
        known = state.answer_kind == "polarity" and 0 <= state.turned_at < state.now - settle      # that one was seen long ago
        if state.now - state.answered_at < settle and not known:
            state.polarity_base = state.reversed            # the reversal that goes with the answer
            return
        if state.outgoing and config.polarity_answer and state.answer_kind != "polarity":
            state.polarity_base, state.answer_kind = state.reversed, "polarity"    # the late proof of an answer we had believed
            return
        if state.outgoing and state.answer_kind in BY_EAR:
            state.polarity_base, state.answer_kind = state.reversed, "polarity"
            if not self._decided(self.disconnect.late_answer(state.release, fact.at, state.now, state.answered_at)):
                self._silence_timer()
            return
        if not self._decided(self.disconnect.reversed(state.release, fact.at, state.now, state.answered_at)):
            state.polarity_base = state.reversed
            self._silence_timer()

    def _loop_changed(self, fact: LoopCurrent) -> None:
        state = self.state
        if fact.flowing:
            lost, state.loop_lost_at, state.current_seen = state.loop_lost_at, -1, True
            self._cancel("loop_drop")
            if state.state == "TALKING" and not self._decided(
                    self.disconnect.loop_back(state.release, lost, state.hook_at, fact.at, state.answered_at)):
                self._silence_timer()
            return
        state.loop_lost_at = fact.at
        if state.current_seen:
            self._timer("loop_drop", self.disconnect.loop_due(fact.at, state.hook_at))
        else:
            self._timer("loop_drop", max(fact.at, state.hook_at + NO_CURRENT_MS))

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
        self._decided(self.disconnect.loop_released(state.release, cause, max(state.loop_lost_at, state.hook_at)))

    def _talk_voice(self, fact: Voice) -> None:
        self.state.voice = fact.active
        self.disconnect.voice(self.state.release, fact.active)
        self._silence_timer()

    def _silence_timer(self) -> None:
        state = self.state
        if state.voice or state.state != "TALKING":
            self._cancel("silence")
        else:
            self._after("silence", self.disconnect.silence_ms(state.release))

    def _silent(self, _: Expired) -> None:
        self._decided(self.disconnect.silent(self.state.release, self.state.now))

    def _key(self, fact: Digit) -> None:
        self.disconnect.key(self.state.release, fact.at)
        self._hold_tone()
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
            self.state.flashing = self.state.release.flashed = True
            self._cancel("loop_drop")
            lasts = self.config.flash_ms or self.profile.flash_ms
            self._act(Drive(LINE_ON_HOOK, lasts, LINE_OFF_HOOK))
            self._after("flash", lasts)

    def _flash_over(self, _: Expired) -> None:
        state = self.state
        state.flashing, state.hook_at = False, state.now
        self._current_must_return()

    def _current_must_return(self) -> None:
        """Media holds the loop closed again after breaks of our own making: current comes back, or the line is gone."""
        state = self.state
        state.loop, state.loop_lost_at, state.milliamps, state.parallel = None, -1, 0.0, False
        self._after("loop_drop", self.profile.loop_safe_ms + self.config.loop_drop_release_ms)

    def _hang_up(self, given: HangUp) -> None:
        state = self.state
        gone = self.disconnect.gone_before_us(state.release, state.loop_lost_at, state.hook_at, given.at)
        self._release(given.cause, gone or given.evidence, gone is not None)

    def _release(self, cause: Cause, evidence: Evidence, by_far: bool, at: int = -1) -> None:
        self._act(StopPlayer())
        self._act(Detect())
        self._hook(False)
        self._act(CloseAudio())
        self._enter("RELEASING")
        self._after("released", RELEASE_MS)
        self._end(cause, evidence, by_far, at)

    def _released(self, _: Expired) -> None:
        """The exchange is free again before we are, and its next caller is announced at once."""
        self.state.forget_call()
        self._enter("GUARD")
        self._after("guard", max(0, self.profile.guard_ms - RELEASE_MS))
        self._listen()

    def _guard_over(self, _: Expired) -> None:
        self._rest()
        if self.state.state != "IDLE":
            self.state.forget_call()

    def _await_current(self) -> None:
        """Off-hook: current must flow within its time."""
        if not self.state.current_seen:
            self._timer("loop_drop", self.state.hook_at + NO_CURRENT_MS)

    def _hook(self, off: bool) -> None:
        state = self.state
        state.off_hook, state.hook_at, state.loop, state.loop_lost_at, state.volts = off, state.now, None, -1, 0.0
        state.milliamps, state.parallel = 0.0, False
        self._act(Drive(LINE_OFF_HOOK if off else LINE_ON_HOOK))

    def _fault(self, what: str) -> None:
        self.state.fault, self.state.fault_at = what, self.state.now
