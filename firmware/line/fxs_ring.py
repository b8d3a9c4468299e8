"""FXS port: ringing and caller id, up to the answer (L1, pure). See `fxs.py` for the theory of operation."""

from __future__ import annotations

from typing import Any

from firmware.call.model import Alert, Cause, Evidence
from firmware.line import callerid
from firmware.line.fxs_base import ALERT_TONE, FxsBase
from firmware.line.fxs_table import (
    ALERT_CADENCE,
    ALERT_PAUSE_MS,
    ALERT_TONE_MS,
    CID_KEYS_OFF_MS,
    CID_KEYS_ON_MS,
    CID_MARGIN_MS,
    CID_PAUSE_MS,
    CID_REVERSED_MS,
    TRIP_CONFIRM_MS,
)
from firmware.line.pulse import LiftedUp
from firmware.line.signals import (
    FEED_ACTIVE,
    FEED_ON_HOOK_TX,
    FEED_REVERSED_TX,
    FEED_RINGING,
    Answered,
    Detect,
    HangUp,
    OpenAudio,
    PlayerDone,
    PlayTone,
    Ring,
    Ringing,
    SendDtmf,
    SendFsk,
    StopPlayer,
)


class FxsRinging(FxsBase):
    """See `fxs.Fxs`."""

    def _cadence(self) -> tuple[int, ...]:
        alert = self.state.alert
        return self.profile.alert_cadence_ms.get(alert.value) or ALERT_CADENCE.get(alert, self.profile.ring_cadence_ms)

    def _by_keys(self) -> bool:
        return self.config.caller_id_scheme == "dtmf"

    def _ring(self, given: Ring) -> None:
        state = self.state
        if state.audio:
            self._act(StopPlayer())                          # the message that told of messages
        state.call = state.incoming = True
        state.caller, state.when, state.alert = given.caller, given.when, given.alert
        state.phase, state.rings, state.cid_sent, state.tripped, state.ring_stopped_at = 0, 0, False, False, -1
        self._act(OpenAudio())
        self._act(Detect())
        self._enter("RINGING")
        self._after("no_answer", max(1000, given.ring_ms))
        cid = self.profile.caller_id
        before = cid.place == "before-ring" or self._by_keys()
        if self.config.caller_id and before and state.alert is not Alert.EMERGENCY:
            self._feed(FEED_REVERSED_TX if cid.polarity_first else FEED_ON_HOOK_TX)
            self._after("alert_tone", CID_REVERSED_MS)
        else:
            self._ring_on()

    def _ring_on(self) -> None:
        state = self.state
        self._feed(FEED_RINGING)
        if state.phase == 0:
            state.rings += 1
            if state.rings == 1:
                self._emit(Ringing(state.now))
        self._after("cadence", self._cadence()[state.phase])

    def _ring_phase(self, _: Any) -> None:
        state = self.state
        cadence = self._cadence()
        state.phase = (state.phase + 1) % len(cadence)
        if state.phase % 2 == 0:
            self._ring_on()
            return
        self._feed(FEED_ON_HOOK_TX)
        pause = cadence[state.phase]
        last = state.phase == len(cadence) - 1
        if last and state.rings == 1 and not state.cid_sent and self.config.caller_id and state.alert is not Alert.EMERGENCY:
            self._after("caller_id", CID_PAUSE_MS)
            # ring 2 waits for a long message rather than cutting it
            pause = max(pause, CID_PAUSE_MS + callerid.duration_ms(self._message()) + CID_MARGIN_MS)
        self._after("cadence", pause)

    def _message(self) -> bytes:
        state, charset = self.state, self.profile.caller_id.charset
        return callerid.build_mdmf(state.caller, state.when, charset)

    def _send_alert_tone(self, _: Any) -> None:
        if self.profile.caller_id.alert_tone and not self._by_keys():
            self._act(PlayTone(ALERT_TONE, 0, ALERT_TONE_MS))
            self._after("caller_id", ALERT_TONE_MS + ALERT_PAUSE_MS)
        else:
            self._after("caller_id", ALERT_PAUSE_MS)

    def _send_caller_id(self, _: Any) -> None:
        state = self.state
        state.cid_sent, state.cid_token = True, self._next_token()
        if self._by_keys():
            keys = callerid.build_dtmf(state.caller)
            self._act(SendDtmf(keys, CID_KEYS_ON_MS, CID_KEYS_OFF_MS, self.profile.dtmf_high_dbm0, state.cid_token))
            lasts = len(keys) * (CID_KEYS_ON_MS + CID_KEYS_OFF_MS)
        else:
            message = self._message()
            self._act(SendFsk(message, self._standard(), state.cid_token))
            lasts = callerid.duration_ms(message)
        self._after("caller_id_end", lasts + CID_MARGIN_MS)

    def _caller_id_sent(self, given: Any) -> None:
        state = self.state
        if isinstance(given, PlayerDone):
            if given.token == state.cid_token and "caller_id_end" in state.timers:
                self._after("caller_id_end", 200)            # EN 300 659-1: 200 to 500 ms between message and ringing
            return
        if state.rings == 0:
            self._ring_on()                                  # caller id came first, now it rings

    def _ring_trip(self, _: Any) -> None:
        state = self.state
        if not state.tripped and state.feed == FEED_RINGING:
            state.tripped = True
            self._feed(FEED_ACTIVE)                          # stop ringing first, audio next
            self._cancel("cadence")
            self._after("trip", TRIP_CONFIRM_MS)

    def _trip_unconfirmed(self, _: Any) -> None:
        self.state.tripped = False                           # a false trip: ring on
        self._ring_on()

    def _answered(self, _: LiftedUp) -> None:
        state = self.state
        self._act(StopPlayer())
        self._feed(FEED_ACTIVE)
        self._conversation()
        self._emit(Answered(state.now, Evidence("off-hook", 1.0, f"lifted in ring {state.rings}")))

    def _stop_ringing(self, given: HangUp) -> None:
        self.state.ring_stopped_at = self.state.now
        self._rest()
        self._end(given.cause, given.evidence, False)

    def _no_answer(self, _: Any) -> None:
        self._rest()
        self._end(Cause.NO_ANSWER, Evidence("timer", 1.0, f"not lifted in {self.state.rings} rings"), False)
