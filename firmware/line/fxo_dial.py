"""FXO line: seizing, dialling and answer supervision (L1, pure). See `fxo.py` for the theory of operation."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from firmware.call.model import Cause, Evidence, Party
from firmware.errors import LocalProtocolError
from firmware.line.fxo_base import FxoBase
from firmware.line.fxo_table import (
    BLIND_DIAL_MS,
    DIAL_CHARACTERS,
    DIAL_STRING_PAUSE_MS,
    GLARE_MS,
    GLARE_WAIT_MS,
    MAX_DIAL,
    RELEASE_KINDS,
)
from firmware.line.signals import (
    Detect,
    Dial,
    EarlyAudio,
    Expired,
    Offered,
    OpenAudio,
    PlayerDone,
    RingBurst,
    Ringing,
    ToneHeard,
    ToneStopped,
    Voice,
)
from firmware.line.tones import ToneSpec

#: Tone detectors of an engine port.
MAX_TONES: Final = 8
#: Shorter sounds, the hang-over of the voice detector included, are clicks.
LEAST_SOUND_MS: Final = 550
#: A sign of an answer on a line whose reversal is the proof.
SIGN_WITHOUT_REVERSAL_MS: Final = 20_000


class FxoDialling(FxoBase):
    """See `fxo.Fxo`."""

    def _seize(self, given: Dial) -> None:
        state = self.state
        if not 0 < len(given.number) <= MAX_DIAL or not set(given.number) <= DIAL_CHARACTERS:
            raise LocalProtocolError(f"dial string {given.number!r}: give 1 to {MAX_DIAL} of {''.join(sorted(DIAL_CHARACTERS))}")
        self.state.forget_call()
        state.call = state.outgoing = True
        state.emergency, state.ring_ms, state.dial_rest = given.emergency, given.ring_ms, given.number
        self._act(OpenAudio())
        self._act(Detect(tones=self._tones(("dial", 0), ("busy", 0), ("congestion", 0))))
        self._hook(True)
        self._enter("SEIZING")
        self._await_current()
        self._after("settle", self.profile.off_hook_settle_ms)

    def _glare(self, fact: RingBurst) -> None:
        state = self.state
        if not fact.on or fact.at - state.hook_at > GLARE_MS:
            return
        self._end(Cause.CONGESTION, Evidence("ring", 1.0, "glare: a call came in as the line was seized"), True)
        hook_at, loop, seen = state.hook_at, state.loop, state.current_seen
        self.state.forget_call()
        state.hook_at, state.loop, state.current_seen = hook_at, loop, seen
        state.glare = state.call = state.offered = True
        state.rings, state.ring_started = 1, fact.at
        self._act(OpenAudio())
        self._act(self._talk_detectors())
        self._enter("ANSWERING", "glare")
        self._await_current()
        self._after("glare_wait", GLARE_WAIT_MS)
        self._emit(Offered(state.now, Party(reason="unavailable"), rings=1, ring_started=fact.at))

    def _glare_answer(self, _: Any) -> None:
        if self.state.glare:
            self._cancel("glare_wait")
            self._talk(Evidence("off-hook", 0.9, "glare: the line was seized as the call came in"))

    def _glare_lost(self, _: Expired) -> None:
        self._release(Cause.NO_ANSWER, Evidence("timer", 1.0, "nobody took the call that came in by glare"), False)

    def _dial_tone_early(self, fact: ToneHeard) -> None:
        if fact.name == "dial":
            self.state.dial_tone = True

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
        wait = BLIND_DIAL_MS if self.state.emergency else self.profile.dial_tone_wait_ms
        self._after("dial_tone", wait)

    def _dial_tone_heard(self, fact: ToneHeard) -> None:
        if fact.name == "dial":
            if "dial_pause" not in self.state.timers:
                self._cancel("dial_tone")
                self._after("dial_pause", self.profile.dial_pause_ms)
        elif not self.state.emergency:
            cause = Cause.CONGESTION
            self._release(cause, self._tone_evidence(fact), True)

    def _no_dial_tone(self, _: Expired) -> None:
        if self.state.emergency:
            self._after("dial_pause", 0)                    # help may be at the other end of a line without dial tone
            return
        self._fault("no dial tone")
        self._release(Cause.NO_DIAL_TONE, Evidence("timer", 1.0, f"no dial tone within {self.profile.dial_tone_wait_ms} ms"), False)

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
            self._act(Detect(tones=self._tones(("dial", 0), ("busy", 0), ("congestion", 0))))
            self._enter("WAIT_DIAL_TONE", keep=("loop_drop",))
            self._await_dial_tone()
            return
        size = next((i for i, c in enumerate(rest) if c in "pw,"), len(rest))
        digits, state.dial_rest = rest[:size], rest[size:]
        self._act(Detect())
        self._enter_dialling()
        self._send_keys(digits)
        state.dial_token = state.token
        self._after("dialled", size * (self.profile.dtmf_on_ms + self.profile.dtmf_off_ms) + 2000)

    def _enter_dialling(self) -> None:
        if self.state.state == "DIALLING":
            self._cancel("dial_pause", "dialled")
        else:
            self._enter("DIALLING", keep=("loop_drop",))

    def _segment_dialled(self, fact: PlayerDone) -> None:
        if fact.token == self.state.dial_token:
            self._cancel("dialled")
            self._dial_next(None)

    def _dial_unconfirmed(self, _: Expired) -> None:
        # media did not confirm within twice the time: the digits are out or lost, the tones of the exchange will tell
        self._dial_next(None)

    def _dialled(self) -> None:
        state = self.state
        state.dialled_at, state.polarity_base = state.now, state.reversed
        self._act(Detect(voice=True, tones=self._progress_tones()))
        self._enter("WAIT_ANSWER", keep=("loop_drop",))
        self._after("no_answer", max(1000, state.ring_ms))
        self._after("polarity", self.profile.polarity_ignore_ms)
        self._after("answer_assumed", self.profile.answer_assumed_ms)
        self._emit(EarlyAudio(state.now))

    # --- answer supervision -------------------------------------------------------------------------------------------

    def _answer_polarity(self, _: Any) -> None:
        state = self.state
        if not self.config.polarity_answer or state.reversed == state.polarity_base:
            return
        if state.now - state.dialled_at >= self.profile.polarity_ignore_ms:
            self._talk(Evidence("polarity", 1.0, f"reversal {state.now - state.dialled_at} ms after dialling"))

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

    def _progress_tone(self, fact: ToneHeard) -> None:
        state = self.state
        if fact.name == "ringback":
            self._cancel("answer_assumed", "answer", "voice_long", "ringback_missing")
            if state.ringback_at < 0:
                self._emit(Ringing(state.now))
            state.ringback_at, state.ringback_over, state.odd_voices = max(0, fact.start_at), False, 0
            state.sign, state.sign_confidence, state.hint = "", 0.0, ""
        elif fact.name.endswith("?"):
            state.hint = fact.name
        elif fact.name in RELEASE_KINDS:
            cause = {"busy": Cause.BUSY, "congestion": Cause.CONGESTION}.get(fact.name, Cause.UNREACHABLE)
            self._release(cause, self._tone_evidence(fact), True)

    def _tone_stopped(self, fact: ToneStopped) -> None:
        state = self.state
        if fact.name == state.hint:
            state.hint = ""
        elif fact.name == "ringback" and state.ringback_at >= 0:
            state.ringback_over = True
            self._sign("ringback-stopped", 0.6, f"ringback stopped at {fact.at} ms", fact.at)

    def _sign(self, kind: str, confidence: float, detail: str, began: int) -> None:
        """Something speaks for an answer: believe it when no refusal tone can explain it any more."""
        state = self.state
        if confidence > state.sign_confidence:
            state.sign, state.sign_confidence, state.sign_detail = kind, confidence, detail
        if "answer" not in state.timers:
            # with a line that reverses on answer the ear is believed late, for the reversal is the proof
            wait = SIGN_WITHOUT_REVERSAL_MS if self.config.polarity_answer else self._refusal_ms()
            self._timer("answer", max(state.now, began + wait))

    def _answer_believed(self, _: Expired) -> None:
        state = self.state
        if state.hint:
            self._after("answer", 500)                       # its last cycle decides
            return
        confidence = state.sign_confidence
        if state.sign == "ringback-stopped" and state.voice:
            confidence, state.sign_detail = 0.9, state.sign_detail + ", then voice"
        self._talk(Evidence(state.sign, confidence, state.sign_detail))

    def _answer_voice(self, fact: Voice) -> None:
        """Speech is told from ringback by length and by rhythm: what no ringback burst explains is a person, or a refusal tone."""
        state = self.state
        cadence = self.profile.tone("ringback").cadence_ms
        whole, period = sum(cadence) - cadence[-1], sum(cadence)
        if fact.active:
            state.voice, state.voice_at = True, fact.at
            self._cancel("ringback_missing")
            if state.ringback_over:
                self._sign("voice", 0.85, f"voice at {fact.at} ms, after ringback", fact.at)
            self._odd(state.sound_at >= 0 and fact.at - state.sound_at < period * 7 // 10)
            self._timer("voice_long", max(fact.at + whole * 13 // 10 + 900, state.now))
            return
        self._cancel("voice_long")
        state.voice = False
        # the voice detector adds a hang-over of up to 0.5 s and joins the parts of a double ring
        length = fact.at - state.voice_at
        if state.voice_at < 0 or length < LEAST_SOUND_MS:
            return
        state.sound_at = state.voice_at
        like_ringback = any(on * 7 // 10 - 100 <= length <= on * 13 // 10 + 600 for on in (*cadence[0::2], whole))
        self._odd(not like_ringback)
        if like_ringback:
            self._timer("ringback_missing", max(state.voice_at + period * 12 // 10 + 800, state.now))

    def _ringback_missing(self, _: Expired) -> None:
        self._sign("ringback-stopped", 0.55, "what sounded like ringback did not come again", self.state.now)

    def _odd(self, odd: bool) -> None:
        state = self.state
        state.odd_voices += odd
        if odd and state.odd_voices >= 2:
            self._sign("voice", 0.7, f"{state.odd_voices} sounds that are no ringback", state.voice_at)

    def _answer_long_voice(self, _: Expired) -> None:
        self._sign("voice", 0.75, f"sound since {self.state.voice_at} ms, longer than any ringback", self.state.voice_at)

    def _answer_assumed(self, _: Expired) -> None:
        if self.state.hint:
            self._after("answer_assumed", 1000)
        elif not self.config.polarity_answer:
            self._talk(Evidence("timer", 0.3, f"nothing recognised within {self.profile.answer_assumed_ms} ms of dialling"))

    def _no_answer(self, _: Expired) -> None:
        self._release(Cause.NO_ANSWER, Evidence("timer", 1.0, f"no answer within {self.state.ring_ms} ms"), False)
