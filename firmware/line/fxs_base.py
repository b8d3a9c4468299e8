"""FXS port: what its parts share: feed, rest, the hook's verdicts (L1, pure). See `fxs.py` for the theory of operation."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, ClassVar, Literal

import msgspec

from firmware.call.model import Evidence
from firmware.config.schema.ports import FxsPhone
from firmware.line.fxs_table import FXS_TABLE, NOTIFY_AFTER_MS, FxsState
from firmware.line.machine import Machine, Table
from firmware.line.profiles import CallerIdStandard, Profile
from firmware.line.pulse import HookClassifier, HookMode, HungUp, PulseLimits
from firmware.line.signals import (
    FEED_ACTIVE,
    FEED_REVERSED,
    TONE_TOKENS,
    ClearChannel,
    CloseAudio,
    Detect,
    Drive,
    HangUp,
    Key,
    MuteTalk,
    PlayTone,
    SendDigits,
    SendDtmf,
    ShowDiverted,
    ShowMessages,
    StopPlayer,
)
from firmware.line.tones import ToneSpec

DialCheck = Callable[[str], Literal["more", "complete", "impossible"]]
ALERT_TONE = ToneSpec("cas", (2130.0, 2750.0), -15.0)        # ETSI EN 300 659-1 dual tone alerting signal
_DIAL_STATES = ("DIAL_TONE", "COLLECTING", "REORDER")


class FxsBase(Machine[FxsState]):
    """See `fxs.Fxs`."""

    TABLE: ClassVar[Table] = FXS_TABLE

    def __init__(
        self, config: FxsPhone, profile: Profile, dial_check: DialCheck, emergency: Collection[str] = (), state: FxsState | None = None
    ) -> None:
        super().__init__(state or FxsState())
        self.config = config
        self.profile = profile
        self.dial_check = dial_check
        self.emergency = frozenset(emergency) | frozenset(profile.emergency)
        longest = max(config.flash_min_ms, config.flash_max_ms)
        self._limits = PulseLimits(config.flash_min_ms, longest, pulses=config.pulse, flashes=config.flash)
        # a rotary telephone dials behind its flash: there only breaks shorter than a flash are pulses
        self._limits_talking = msgspec.structs.replace(self._limits, pulse_max_ms=max(15, config.flash_min_ms - 1))
        self._hook = HookClassifier(self._limits_for(self.state.state), self.state.hook)

    def _limits_for(self, state: str) -> PulseLimits:
        return self._limits if state in _DIAL_STATES else self._limits_talking

    def _enter(self, name: str, detail: str = "", keep: tuple[str, ...] = ()) -> None:
        super()._enter(name, detail, keep)
        self._hook.limits = self._limits_for(name)
        if name in _DIAL_STATES:
            self._hook.set_mode(HookMode.DIAL)
        elif name in ("CALLING", "TALKING"):
            self._hook.set_mode(HookMode.TALK)
        else:
            self._hook.set_mode(HookMode.QUIET)

    def _feed(self, code: int) -> None:
        self.state.feed = code
        self._act(Drive(code))

    def _tone_token(self) -> int:
        return TONE_TOKENS + self._next_token()

    def _standard(self) -> CallerIdStandard:
        """FSK of this telephone."""
        chosen = self.config.caller_id_scheme
        return chosen if chosen in ("bell202", "v23") else self.profile.caller_id.standard

    # --- at rest ----------------------------------------------------------------------------------------------------------

    def _rest(self) -> None:
        state = self.state
        self._unmute()
        self._act(StopPlayer())
        self._act(Detect())
        self._act(CloseAudio())
        state.digits, state.incoming, state.tone_after, state.tripped, state.flashed_at = "", False, "", False, -1
        lit = self.config.lamp == "polarity" and bool(state.messages)
        self._feed(FEED_REVERSED if lit else FEED_ACTIVE)
        self._enter("IDLE")
        self._arrange_notice()

    def _arrange_notice(self, after_ms: int = NOTIFY_AFTER_MS) -> None:
        """An idle telephone that does not know of its messages is told soon; one that was lifted again is not (the timer is gone)."""
        state = self.state
        if self.config.message_waiting != "tone" and state.messages is not None and state.messages != state.told:
            self._after("notify", after_ms)

    def _unmute(self) -> None:
        """The talk is given back, whatever was going on in it."""
        self.state.waiting = None
        if self.state.muted:
            self.state.muted = False
            self._act(MuteTalk(False))

    def _on_hook(self, _: HungUp) -> None:
        self._rest()

    def _nothing(self, _: Any) -> None:
        """A late trip of ringing that has stopped."""

    def _ignore_hang_up(self, _: HangUp) -> None:
        """No call is left to end; the tone goes on until the telephone is on-hook."""

    def _messages_later(self, given: ShowMessages) -> None:
        self.state.messages = given.waiting

    def _messages_now(self, given: ShowMessages) -> None:
        self._messages_later(given)
        if self.config.lamp == "polarity":
            self._feed(FEED_REVERSED if given.waiting else FEED_ACTIVE)
        if "notify" not in self.state.timers:
            self._arrange_notice()

    def _diverted(self, given: ShowDiverted) -> None:
        self.state.diverted = given.on

    # --- within a call ----------------------------------------------------------------------------------------------------

    def _conversation(self) -> None:
        """Both ways are open: what is listened for, and an untouched channel for a terminal that is no telephone."""
        self._enter("TALKING")
        self._act(Detect(digits=True))
        if self.config.terminal == "fax":
            self._act(ClearChannel())

    def _key(self, given: Any) -> None:
        self._emit(Key(self.state.now, given.digit))

    def _send_digits(self, given: SendDigits) -> None:
        profile = self.profile
        digits = "".join(c for c in given.digits if c in "0123456789*#ABCD")
        if digits:
            self._act(SendDtmf(digits, profile.dtmf_on_ms, profile.dtmf_off_ms, profile.dtmf_high_dbm0, self._next_token()))

    def _end_by_command(self, given: HangUp) -> None:
        """A break that has begun before our command, longer than a pulse, may be the telephone's own hang-up: it came first."""
        hook = self.state.hook
        if not hook.closed and hook.opened_at >= 0 and given.at - hook.opened_at > self.config.flash_min_ms:
            detail = f"loop open since {hook.opened_at} ms, then our command"
            self._end(given.cause, Evidence("on-hook", 0.7, detail), True, hook.opened_at)
        else:
            self._end(given.cause, given.evidence, False)

    def _reorder(self, tone: str) -> None:
        self._act(Detect())
        self._act(PlayTone(self.profile.tone(tone)))
        self._enter("REORDER")
        self._after("howl", self.profile.reorder_ms)
