"""FXS port: what it tells a telephone besides calls: a call that waits, messages that wait (L1, pure). See `fxs.py`.

Theory of operation
-------------------
*Call waiting.* The telephone is cut off from the far party, hears one beep (the country's call-waiting tone), then, where the port
is set for it, the sequence of `callwaiting.py` runs: alerting tone, acknowledge, message. Whatever happens the talk is given back.
*Messages.* A stuttering dial tone always. By FSK (GR-30 on-hook transmission without ringing, ETSI EN 300 659-1 6.1.2 with alerting tone)
only while the telephone is on-hook: a lifted one stops it at once, and is told again after it has been put down (Asterisk issue 928).
"""

from __future__ import annotations

from typing import Any

from firmware.line import callerid
from firmware.line import callwaiting as cw
from firmware.line.fxs_base import ALERT_TONE, FxsBase
from firmware.line.fxs_table import ALERT_PAUSE_MS, ALERT_TONE_MS, CID_MARGIN_MS, NOTIFY_FEED_MS, NOTIFY_RETRY_MS
from firmware.line.signals import (
    FEED_ON_HOOK_TX,
    CallWaiting,
    Digit,
    MuteTalk,
    OpenAudio,
    PlayerDone,
    PlayTone,
    SendFsk,
    StopPlayer,
)


class FxsNotices(FxsBase):
    """See `fxs.Fxs`."""

    # --- a call waits -------------------------------------------------------------------------------------------------------

    def _call_waiting(self, given: CallWaiting) -> None:
        state = self.state
        if state.muted or self.config.terminal == "fax":
            return                                           # being told already; a fax call is never interrupted
        beep = self.profile.tone("call-waiting")
        lasts = (beep.cadence_ms or (200,))[0]
        state.waiting = None
        if self.config.caller_id and self.config.call_waiting_id and self.config.caller_id_scheme != "dtmf":
            state.waiting = cw.CallWaitingId(callerid.build_mdmf(given.caller, given.when, self.profile.caller_id.charset))
        self._mute(True)
        self._act(PlayTone(beep, 0, lasts))
        self._after("waiting_beep", lasts + 20)

    def _mute(self, on: bool) -> None:
        if on != self.state.muted:
            self.state.muted = on
            self._act(MuteTalk(on))

    def _waiting_beeped(self, _: Any) -> None:
        state = self.state
        if state.waiting is None:
            self._act(StopPlayer())
            self._mute(False)
            return
        self._carry(state.waiting.start(state.now))

    def _waiting_due(self, _: Any) -> None:
        state = self.state
        if state.waiting is not None:
            self._carry(state.waiting.expire(state.now))

    def _waiting_played(self, given: PlayerDone) -> None:
        state = self.state
        if state.waiting is not None and given.token == state.waiting_token:
            self._carry(state.waiting.played(state.now))

    def _key_talking(self, given: Digit) -> None:
        state = self.state
        if state.waiting is not None and state.waiting.state in ("alert", "wait", "pause", "message"):
            self._carry(state.waiting.key(given.digit, given.at))      # the telephone's acknowledge, no key of a person
        else:
            self._key(given)

    def _carry(self, steps: list[cw.Action]) -> None:
        state = self.state
        for step in steps:
            if isinstance(step, cw.Mute):
                self._mute(step.on)
            elif isinstance(step, cw.SendAlert):
                state.waiting_token = self._tone_token()
                self._act(PlayTone(ALERT_TONE, state.waiting_token, step.duration_ms))
            elif isinstance(step, cw.SendMessage):
                state.waiting_token = self._next_token()
                self._act(SendFsk(step.payload, self._standard(), state.waiting_token, in_call=True))
            else:
                state.waiting = None
        due = state.waiting.deadline() if state.waiting is not None else None
        if due is None:
            self._cancel("waiting")
        else:
            self._timer("waiting", max(due, state.now))

    # --- messages wait ------------------------------------------------------------------------------------------------------

    def _notify(self, _: Any) -> None:
        self._act(OpenAudio(echo=False))
        self._feed(FEED_ON_HOOK_TX)
        self._enter("NOTIFYING")
        if self._standard() == "v23":
            self._after("alert", NOTIFY_FEED_MS)
        else:
            self._after("message", NOTIFY_FEED_MS)

    def _notify_message(self, given: Any) -> None:
        state = self.state
        if given.name == "alert":
            self._act(PlayTone(ALERT_TONE, 0, ALERT_TONE_MS))
            self._after("message", ALERT_TONE_MS + ALERT_PAUSE_MS)
            return
        message = callerid.build_waiting(bool(state.messages), single=self.config.message_waiting == "fsk-single")
        state.notify_token = self._next_token()
        state.told = None                                    # until it is out
        self._act(SendFsk(message, self._standard(), state.notify_token))
        self._after("notified", callerid.duration_ms(message) + CID_MARGIN_MS + 1000)

    def _notified(self, given: PlayerDone) -> None:
        state = self.state
        if given.token == state.notify_token and "notified" in state.timers:
            state.told = state.messages
            self._rest()

    def _notify_failed(self, _: Any) -> None:
        self._rest()
        self._cancel("notify")
        self._arrange_notice(NOTIFY_RETRY_MS)
