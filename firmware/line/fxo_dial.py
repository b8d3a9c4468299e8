"""FXO line: seizing, dialling and answer supervision (L1, pure). See `fxo.py` for the theory of operation."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from firmware.call.model import Cause, Evidence, Party
from firmware.errors import LocalProtocolError, RemoteProtocolError
from firmware.line import callerid
from firmware.line.disconnect import RELEASE_KINDS
from firmware.line.fxo_base import FxoBase
from firmware.line.fxo_table import (
    BLIND_DIAL_MS,
    DIAL_CHARACTERS,
    DIAL_STRING_PAUSE_MS,
    GLARE_BEFORE_MS,
    GLARE_MS,
    GLARE_WAIT_MS,
    MAX_DIAL,
)
from firmware.line.signals import (
    Detect,
    Dial,
    EarlyAudio,
    Expired,
    Offered,
    OpenAudio,
    PlayerDone,
    Polarity,
    RingBurst,
    Ringing,
    SendPulses,
    ToneHeard,
    ToneStopped,
    Voice,
)
from firmware.line.tones import ToneSpec

#: Tone detectors of an engine port.
MAX_TONES: Final = 8
#: Shorter sounds, the hang-over of the voice detector included, are clicks.
LEAST_SOUND_MS: Final = 550
#: An unannounced reversal is believed when no ringback has begun in this time.
SIGN_BY_REVERSAL_MS: Final = 3000
#: Between the reversals of an answer and of its release, at least.
TURNED_MS: Final = 1000
#: A sign of an answer on a line whose reversal is the proof.
SIGN_WITHOUT_REVERSAL_MS: Final = 20_000


class FxoDialling(FxoBase):
    """See `fxo.Fxo`."""

    def _seize(self, given: Dial) -> None:
        state = self.state
        if not 0 < len(given.number) <= MAX_DIAL or not set(given.number) <= DIAL_CHARACTERS:
            raise LocalProtocolError(f"dial string {given.number!r}: give 1 to {MAX_DIAL} of {''.join(sorted(DIAL_CHARACTERS))}")
        if self._by_pulses() and set(given.number) & set("*#ABCD"):
            raise LocalProtocolError(f"dial string {given.number!r}: line set for pulses, which dial 0 to 9 only")
        if state.burst_off_at >= 0 and given.at - state.burst_off_at < GLARE_BEFORE_MS:
            raise LocalProtocolError("a call comes in on this line")
        early = (state.caller, state.cid_keys) if "cid_stale" in state.timers else (None, "")
        self.state.forget_call()
        state.caller, state.cid_keys = early                # of a caller who has not rung yet; only glare brings him to us
        state.call = state.outgoing = True
        state.emergency, state.ring_ms, state.dial_rest = given.emergency, given.ring_ms, given.number
        self._act(OpenAudio())
        self._act(Detect(tones=self._dial_tones()))
        self._hook(True)
        self._enter("SEIZING")
        self._await_current()
        self._after("settle", self.profile.off_hook_settle_ms)

    def _by_pulses(self) -> bool:
        return self.config.dialling == "pulse"

    def _dial_tones(self) -> tuple[ToneSpec, ...]:
        """What an exchange may say to a seizure: go on, messages wait, or no."""
        found = self._tones(("dial", 0), ("busy", 0), ("congestion", 0))
        stutter = self.profile.tones.get("stutter")
        if self.config.message_waiting in ("tone", "both") and stutter is not None:
            found += (msgspec.structs.replace(stutter, cadence_ms=stutter.cadence_ms[:2], cycles=2),)
        return found

    def _glare(self, fact: RingBurst) -> None:
        state = self.state
        if not fact.on or fact.at - state.hook_at > GLARE_MS:
            return
        self._end(Cause.CONGESTION, Evidence("ring", 1.0, "glare: a call came in as the line was seized"), True)
        hook_at, loop, seen, caller = state.hook_at, state.loop, state.current_seen, state.caller or self._caller_of_keys()
        self.state.forget_call()
        state.hook_at, state.loop, state.current_seen, state.caller = hook_at, loop, seen, caller
        state.glare = state.call = state.offered = True
        state.rings, state.ring_started = 1, fact.at
        self._act(OpenAudio())
        self._act(self._talk_detectors())
        self._enter("ANSWERING", "glare")
        self._await_current()
        self._after("glare_wait", GLARE_WAIT_MS)
        self._emit(Offered(state.now, state.caller or Party(reason="unavailable"), rings=1, ring_started=fact.at))

    def _caller_of_keys(self) -> Party | None:
        """Who calls, by keys that were still coming in as the line was seized."""
        state = self.state
        try:
            return callerid.parse_dtmf(state.cid_keys) if state.cid_keys else None
        except RemoteProtocolError:
            state.caller_id_errors += 1
            return None

    def _glare_answer(self, _: Any) -> None:
        if self.state.glare:
            self._cancel("glare_wait")
            self._talk(Evidence("off-hook", 0.9, "glare: the line was seized as the call came in"))

    def _glare_lost(self, _: Expired) -> None:
        self._release(Cause.NO_ANSWER, Evidence("timer", 1.0, "nobody took the call that came in by glare"), False)

    def _dial_tone_early(self, fact: ToneHeard) -> None:
        if fact.name == "dial":
            self._dial_tone_sure()
            self.state.dial_tone = True
        elif fact.name == "stutter":
            self._stutter_heard()

    def _stutter_heard(self) -> None:
        self.state.stutter = True
        self._exchange_says(True)

    def _dial_tone_sure(self) -> None:
        """Steady dial tone: where the exchange told of messages by stutter, there are none any more."""
        if self.state.exchange_waiting and not self.state.stutter and self.config.message_waiting == "tone":
            self._exchange_says(False)

    def _dial_tone_lost(self, fact: ToneStopped) -> None:
        if fact.name == "dial":
            self.state.dial_tone = False

    def _seized(self, _: Expired) -> None:
        self._enter("WAIT_DIAL_TONE", keep=("loop_drop",))
        if self.state.dial_tone:
            self._after("dial_pause", self.profile.dial_pause_ms)
        else:
            self._await_dial_tone()

    def _await_dial_tone(self) -> None:
        self._after("dial_tone", BLIND_DIAL_MS if self.state.emergency else self._dial_tone_wait_ms())

    def _dial_tone_wait_ms(self) -> int:
        return self.config.dial_tone_wait_s * 1000 or self.profile.dial_tone_wait_ms

    def _dial_tone_heard(self, fact: ToneHeard) -> None:
        if fact.name == "stutter":
            self._stutter_heard()
            if "dial_tone" in self.state.timers:
                self._await_dial_tone()                     # the steady part follows
        elif fact.name == "dial":
            self._dial_tone_sure()
            if "dial_pause" not in self.state.timers:
                self._cancel("dial_tone")
                self._after("dial_pause", self.profile.dial_pause_ms)
        elif not self.state.emergency:
            cause = Cause.CONGESTION
            self._release(cause, self._tone_evidence(fact), True)

    def _no_dial_tone(self, _: Expired) -> None:
        if self.state.emergency or self.config.no_dial_tone == "dial":
            self._after("dial_pause", 0)                    # help may be at the other end of a line without dial tone
            return
        self._fault("no dial tone")
        self._release(Cause.NO_DIAL_TONE, Evidence("timer", 1.0, f"no dial tone within {self._dial_tone_wait_ms()} ms"), False)

    def _dial_next(self, _: Any) -> None:
        """Send the next part of the dial string, or go on to wait for the answer."""
        state = self.state
        rest = state.dial_rest
        if not rest:
            self._dialled()
            return
        if rest[0] in "p,":
            state.dial_rest = rest[1:]
            self._enter_dialling()
            self._after("dial_pause", DIAL_STRING_PAUSE_MS)
            return
        if rest[0] == "w":
            state.dial_rest, state.dial_tone = rest[1:], False
            self._act(Detect(tones=self._dial_tones()))
            self._enter("WAIT_DIAL_TONE", keep=("loop_drop",))
            self._await_dial_tone()
            return
        size = next((i for i, c in enumerate(rest) if c in "pw,"), len(rest))
        digits, state.dial_rest = rest[:size], rest[size:]
        self._act(Detect())
        self._enter_dialling()
        if self._by_pulses():
            lasts = self._send_pulses(digits)
        else:
            self._send_keys(digits)
            lasts = size * (self.profile.dtmf_on_ms + self.profile.dtmf_off_ms)
        state.dial_token = state.token
        self._after("dialled", lasts + 2000)

    def _send_pulses(self, digits: str) -> int:
        """Media breaks the loop by itself, exact to the ms; returns how long that takes."""
        broken, gap = self.profile.pulse_break_pct, self.profile.pulse_gap_ms
        self.state.pulsing = True
        self._cancel("loop_drop")
        self._act(SendPulses(digits, broken, 100 - broken, gap, self._next_token()))
        return sum((int(digit) or 10) * 100 for digit in digits) + gap * (len(digits) - 1)

    def _enter_dialling(self) -> None:
        if self.state.state == "DIALLING":
            self._cancel("dial_pause", "dialled")
        else:
            self._enter("DIALLING", keep=("loop_drop",))

    def _segment_dialled(self, fact: PlayerDone) -> None:
        if fact.token == self.state.dial_token:
            self._cancel("dialled")
            self._pulses_over()
            self._dial_next(None)

    def _dial_unconfirmed(self, _: Expired) -> None:
        # media did not confirm in time: the digits are out or lost, the tones of the exchange will tell
        self._pulses_over()
        self._dial_next(None)

    def _pulses_over(self) -> None:
        if self.state.pulsing:
            self.state.pulsing = False
            self._current_must_return()

    def _dialled(self) -> None:
        state = self.state
        state.dialled_at, state.polarity_base, state.dial_base = state.now, state.reversed, state.reversed
        self._act(Detect(voice=True, tones=self._progress_tones()))
        self._enter("WAIT_ANSWER", keep=("loop_drop",))
        self._after("no_answer", max(1000, state.ring_ms))
        self._after("polarity", self.profile.polarity_ignore_ms)
        self._after("answer_assumed", self.profile.answer_assumed_ms)
        self._emit(EarlyAudio(state.now))

    # --- answer supervision -------------------------------------------------------------------------------------------

    def _dial_polarity(self, _: Expired) -> None:
        """What was reversed as the exchange took the digits: the answer, where reversals are announced for it, else the new base."""
        state = self.state
        if self.config.polarity_answer:
            self._answer_reversal()
        else:
            state.polarity_base = state.dial_base = state.reversed

    def _answer_polarity(self, fact: Polarity) -> None:
        state = self.state
        if state.now - state.dialled_at < self.profile.polarity_ignore_ms:
            return
        if self.config.polarity_answer:
            self._answer_reversal()
        elif fact.reversed != state.polarity_base:
            state.turned_at = fact.at
            detail = f"reversal {fact.at - state.dialled_at} ms after dialling, not announced for this line"
            self._sign("polarity", 0.8, detail, fact.at, fact.at)
        elif state.turned_at >= 0:
            self._turned_back(fact)

    def _answer_reversal(self) -> None:
        state = self.state
        if state.reversed != state.polarity_base:
            self._talk(Evidence("polarity", 1.0, f"reversal {state.now - state.dialled_at} ms after dialling"))

    def _turned_back(self, fact: Polarity) -> None:
        """Reversed and back again: an answer and the release after it, before the ear was sure that somebody had answered."""
        state = self.state
        if not self.config.polarity_release or fact.at - state.turned_at < TURNED_MS:
            self._no_answer_by_reversal()
        elif self._rings_back():
            state.turned_back_at = fact.at                   # the end of the ringback will tell
        else:
            self._was_answered(fact.at)

    def _was_answered(self, left_at: int) -> None:
        state, began = self.state, self.state.turned_at
        self._talk(Evidence("polarity", 0.9, f"reversal {began - state.dialled_at} ms after dialling, and back"), began)
        self._decided(self.disconnect.reversed(state.release, left_at, state.now, began))

    def _no_answer_by_reversal(self) -> None:
        state = self.state
        state.turned_at = state.turned_back_at = -1
        if state.sign == "polarity":
            self._cancel("answer")
            state.sign, state.sign_confidence = "", 0.0

    def _rings_back(self) -> bool:
        """Ringback goes on: whatever else speaks for an answer, there is none."""
        return self.state.ringback_at >= 0 and not self.state.ringback_over

    def _progress_tones(self) -> tuple[ToneSpec, ...]:
        """What may be heard after dialling. A name with "?" is one cycle of a refusal: doubt, until all its cycles have come."""
        unobtainable = self.profile.tones.get("unobtainable")
        few = 1 if unobtainable is not None and unobtainable.cadence_ms else 0
        found = self._tones(("ringback", 1), ("busy", 0), ("congestion", 0), ("unobtainable", few), ("sit", 1))
        hints = [msgspec.structs.replace(spec, name=spec.name + "?", cycles=1) for spec in found if spec.name in ("busy", "congestion")]
        return (*found, *hints)[:MAX_TONES]

    def _refusal_ms(self) -> int:
        """From its first sound to this, a refusal tone has raised doubt or is decided."""
        periods = [spec.decided_ms() for spec in self._progress_tones() if spec.name != "ringback"]
        return max(periods) + 300

    def _doubt_on(self, lost_at: int) -> None:
        """One cycle of a refusal tone, then none. If it was only our sound that stood still, the next whole cycle tells: wait for it."""
        state = self.state
        cycle = max((spec.period_ms for spec in self._progress_tones() if spec.name.endswith("?")), default=0)
        state.doubt_until = lost_at + 2 * cycle + 300
        for timer in ("answer", "answer_assumed"):
            if timer in state.timers:
                self._timer(timer, max(state.timers[timer], state.doubt_until))
        state.answer_due = max(state.answer_due, state.doubt_until)

    def _progress_tone(self, fact: ToneHeard) -> None:
        state = self.state
        if fact.name == "ringback":
            self._ringback(fact)
        elif fact.name.endswith("?"):
            state.hint = fact.name
        elif fact.name in RELEASE_KINDS:
            cause = {"busy": Cause.BUSY, "congestion": Cause.CONGESTION}.get(fact.name, Cause.UNREACHABLE)
            self._release(cause, self._tone_evidence(fact), True)

    def _ringback(self, fact: ToneHeard) -> None:
        """It rings: what spoke for an answer before this cycle began was none; a reversal in the pause of the cycle may be one."""
        state = self.state
        last_began = fact.start_at + (max(1, fact.cycles) - 1) * sum(self.profile.tone("ringback").cadence_ms)
        stands = state.turned_at >= 0 and fact.start_at >= 0 and last_began < state.turned_at
        self._cancel("answer_assumed", "voice_long", "ringback_missing")
        if state.ringback_at < 0:
            self._emit(Ringing(state.now))
        state.ringback_at, state.ringback_over, state.odd_voices, state.hint = max(0, fact.start_at), False, 0, ""
        if not stands:
            self._cancel("answer")
            state.sign, state.sign_confidence = "", 0.0
            state.turned_at, state.turned_back_at, state.polarity_base = -1, -1, state.reversed

    def _tone_stopped(self, fact: ToneStopped) -> None:
        state = self.state
        if fact.name == state.hint:
            state.hint = ""
            self._doubt_on(fact.at)
        elif fact.name == "ringback" and state.ringback_at >= 0:
            state.ringback_over = True
            if state.turned_at >= 0 and fact.at - state.turned_at > sum(self.profile.tone("ringback").cadence_ms) * 13 // 10:
                self._no_answer_by_reversal()                # it rang on after that
            if state.turned_back_at >= 0:
                self._was_answered(state.turned_back_at)
                return
            self._sign("ringback-stopped", 0.6, f"ringback stopped at {fact.at} ms", fact.at, fact.at)

    def _sign(self, kind: str, confidence: float, detail: str, began: int, told: int) -> None:
        """Something speaks for an answer since `began`, told at `told`: believe it when no refusal tone can explain it any more."""
        state = self.state
        if confidence > state.sign_confidence:
            state.sign, state.sign_confidence, state.sign_detail = kind, confidence, detail
        if "answer" not in state.timers:
            # with a line that reverses on answer the ear is believed late, for the reversal is the proof
            wait = SIGN_WITHOUT_REVERSAL_MS if self.config.polarity_answer else self._refusal_ms()
            wait = max(wait, SIGN_BY_REVERSAL_MS) if kind == "polarity" else wait
            state.answer_due = max(told, began + wait, state.doubt_until)
            self._timer("answer", max(state.now, state.answer_due))

    def _answer_believed(self, _: Expired) -> None:
        state = self.state
        # its last cycle decides, or the end of the ringback will tell
        if state.hint or (state.sign == "polarity" and self._rings_back()):
            self._after("answer", 500)
            state.answer_due = state.now + 500
            return
        confidence = state.sign_confidence
        if state.sign == "ringback-stopped" and state.voice:
            confidence, state.sign_detail = 0.9, state.sign_detail + ", then voice"
        self._talk(Evidence(state.sign, confidence, state.sign_detail), state.answer_due)

    def _answer_voice(self, fact: Voice) -> None:
        """Speech is told from ringback by length and by rhythm: what no ringback burst explains is a person, or a refusal tone."""
        state = self.state
        cadence = self.profile.tone("ringback").cadence_ms
        whole, period = sum(cadence) - cadence[-1], sum(cadence)
        if fact.active:
            state.voice, state.voice_at = True, fact.at
            self._cancel("ringback_missing")
            if state.ringback_over:
                self._sign("voice", 0.85, f"voice at {fact.at} ms, after ringback", fact.at, fact.at)
            self._odd(state.sound_at >= 0 and fact.at - state.sound_at < period * 7 // 10, fact.at)
            self._timer("voice_long", max(self._long_at(), state.now))
            return
        self._cancel("voice_long")
        state.voice = False
        # the voice detector adds a hang-over of up to 0.5 s and joins the parts of a double ring
        length = fact.at - state.voice_at
        if state.voice_at < 0 or length < LEAST_SOUND_MS:
            return
        state.sound_at = state.voice_at
        if fact.at >= self._long_at():                       # of that length, whether the timer or the end of it is told first
            self._sign("voice", 0.75, f"sound of {length} ms, longer than any ringback", state.voice_at, self._long_at())
        like_ringback = any(on * 7 // 10 - 100 <= length <= on * 13 // 10 + 600 for on in (*cadence[0::2], whole))
        self._odd(not like_ringback, fact.at)
        if like_ringback:
            self._timer("ringback_missing", max(self._missing_at(), state.now))

    def _ringback_missing(self, _: Expired) -> None:
        self._sign("ringback-stopped", 0.55, "what sounded like ringback did not come again", self._missing_at(), self._missing_at())

    def _missing_at(self) -> int:
        """The sound that was heard last has not come again by now, as ringback does."""
        return self.state.sound_at + sum(self.profile.tone("ringback").cadence_ms) * 12 // 10 + 800

    def _long_at(self) -> int:
        """The present sound is longer by now than a burst of ringback."""
        return self.state.voice_at + sum(self.profile.tone("ringback").cadence_ms[:-1]) * 13 // 10 + 900

    def _odd(self, odd: bool, told: int) -> None:
        state = self.state
        state.odd_voices += odd
        if odd and state.odd_voices >= 2:
            self._sign("voice", 0.7, f"{state.odd_voices} sounds that are no ringback", state.voice_at, told)

    def _answer_long_voice(self, _: Expired) -> None:
        self._sign("voice", 0.75, f"sound since {self.state.voice_at} ms, longer than any ringback", self.state.voice_at, self._long_at())

    def _answer_assumed(self, _: Expired) -> None:
        if self.state.hint:
            self._after("answer_assumed", 1000)
        elif not self.config.polarity_answer:
            self._talk(Evidence("timer", 0.3, f"nothing recognised within {self.profile.answer_assumed_ms} ms of dialling"))

    def _no_answer(self, _: Expired) -> None:
        self._release(Cause.NO_ANSWER, Evidence("timer", 1.0, f"no answer within {self.state.ring_ms} ms"), False)
