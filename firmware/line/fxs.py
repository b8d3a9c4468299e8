"""The FXS port: an analogue telephone on one of our jacks, where we are the exchange (L1, pure).

Theory of operation
-------------------
Lifting an idle telephone gives dial tone (stuttering while messages wait or calls are diverted) and collects keys or dial pulses; after
each the caller of this machine is asked whether the number is whole (`dial_check`); an emergency number always is. A hotline telephone
dials by itself.
Ringing follows the cadence of the kind of call with caller id in its place (after ring 1 on-hook transmission; before it reversal and
alert tone, or DTMF); a ring trip stops ringing at once and the closed loop confirms it. Waiting calls and messages: `fxs_notice.py`.
When the far end hangs up the loop is opened for the open-switch interval, exactly, by media (GR-506; trunks and door phones recognise it),
then reorder or busy tone, howler, and lockout: fed but silent until on-hook. Polarity is reversed while an outgoing call is answered
where the port is set for it. Flashes are told from hang-ups by `pulse.py`. A fax or card terminal gets an untouched channel.
Sources: ITU-T E.161, E.182, GR-30, GR-506, ETSI EN 300 659-1.

Invariants: every ringing or offered call ends in exactly one `Ended`; on-hook leads every state to IDLE; the line is driven FEED_RINGING
only in RINGING, FEED_OPEN only in FAR_GONE; a loop that opens while we hold the line open is no hang-up; talk that was muted for a
waiting call is given back before the state is left; no message goes to a telephone that is off-hook.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import msgspec

from firmware.call.model import Cause, Evidence, Party
from firmware.config.schema.ports import FxsPhone
from firmware.errors import RemoteProtocolError
from firmware.line.fxs_base import DialCheck
from firmware.line.fxs_notice import FxsNotices
from firmware.line.fxs_ring import FxsRinging
from firmware.line.fxs_table import AFTER_RING_MS, FXS_TABLE, PULSE_AFTER_FLASH_MS, TRIP_CONFIRM_MS, FxsFacts, FxsState
from firmware.line.profiles import Profile
from firmware.line.pulse import Flashed, HookMode, HungUp, LiftedUp
from firmware.line.signals import (
    FEED_ACTIVE,
    FEED_OPEN,
    FEED_REVERSED,
    Answered,
    CloseAudio,
    Detect,
    Drive,
    Fact,
    HangUp,
    HookFlash,
    Loop,
    Offered,
    OpenAudio,
    PlayTone,
    StopPlayer,
)

__all__ = ["FXS_TABLE", "Fxs", "FxsFacts", "FxsState"]


class Fxs(FxsRinging, FxsNotices):
    """One telephone. `dial_check(digits)` says "more", "complete" or "impossible"; `emergency` numbers are always complete."""

    PUBLIC: ClassVar[Mapping[str, str]] = {
        "IDLE": "idle", "NOTIFYING": "idle", "RINGING": "ringing", "LOCKOUT": "busy",
        **dict.fromkeys(("DIAL_TONE", "COLLECTING", "CALLING", "TALKING", "FAR_GONE", "REORDER", "HOWLER"), "busy"),
    }

    @classmethod
    def restore(cls, config: FxsPhone, profile: Profile, dial_check: DialCheck, emergency: Collection[str], snapshot: bytes) -> Fxs:
        """A machine with the memory of `snapshot()`; RemoteProtocolError when the bytes are not one."""
        try:
            state = msgspec.msgpack.decode(snapshot, type=FxsState)
        except msgspec.MsgspecError as error:
            raise RemoteProtocolError(f"snapshot of an FXS port cannot be read: {error}; the port is started anew") from None
        if state.state not in FXS_TABLE:
            raise RemoteProtocolError(f"snapshot of an FXS port names state {state.state!r}, which this release does not know")
        return cls(config, profile, dial_check, emergency, state)

    # --- beginning ----------------------------------------------------------------------------------------------------

    def start(self, now: int) -> None:
        """Feed the telephone and wait for it to be lifted (one that is off-hook already says so by its first fact)."""
        self.state.now = now
        self._rest()

    def attach(self, facts: FxsFacts, now: int) -> None:
        """Take over a port that went on without us: nothing is driven; a changed hook is acted on."""
        state = self.state
        state.now = max(state.now, now)
        self._grace(TRIP_CONFIRM_MS)
        self._unmute()                                       # what was being told of a waiting call is lost with who told it
        if state.hook.off_hook and not state.hook.closed:
            # the flash or hang-up that had begun: its beginning is known, its end is judged from now on
            state.hook.opened_at = max(state.hook.opened_at, state.now - self.config.flash_max_ms)
        state.published = ""
        self._publish(self.PUBLIC[state.state])
        if facts.closed is not None:
            self.receive(Loop(state.now, facts.closed))

    def busy_with_call(self) -> bool:
        """True while a call rings, is offered or talks."""
        return self.state.call

    # --- facts ----------------------------------------------------------------------------------------------------------

    def _note(self, fact: Fact) -> bool:
        if not isinstance(fact, Loop):
            return True
        if self.state.feed == FEED_OPEN:
            # no current can flow: remembered, not judged; `feed_again` looks at it
            self.state.hook.closed = fact.closed
            if not fact.closed:
                self.state.hook.off_hook, self.state.hook.opened_at = False, fact.at
            return False
        self._hook.receive(fact.closed, fact.at)
        self._hook_events()
        return False

    def _own_deadline(self) -> int | None:
        return self._hook.deadline()

    def _own_expire(self, now: int) -> None:
        self._hook.expire(now)
        self._hook_events()

    def _hook_events(self) -> None:
        for event in self._hook.events():
            if isinstance(event, LiftedUp):
                self._dispatch("Lifted", event)
            elif isinstance(event, Flashed):
                self._dispatch("Flashed", event)
            elif isinstance(event, HungUp):
                self._dispatch("HungUp", event)
            else:
                self._dispatch("Pulse", event)

    # --- dialling -------------------------------------------------------------------------------------------------------------

    def _lifted(self, event: LiftedUp) -> None:
        state = self.state
        self._act(OpenAudio())
        if state.ring_stopped_at >= 0 and event.at - state.ring_stopped_at <= AFTER_RING_MS:
            self._reorder("busy")                            # the caller left as the telephone was lifted
        elif self.config.hotline and self.config.hotline_s == 0:
            self._feed(FEED_ACTIVE)
            self._act(Detect(digits=True))
            self._offer(self.config.hotline)
        else:
            self._dial_tone()

    def _lifted_notifying(self, event: LiftedUp) -> None:
        self._act(StopPlayer())                              # a lifted telephone must not hear the message
        self._lifted(event)

    def _dial_tone(self) -> None:
        state = self.state
        state.digits = ""
        self._feed(FEED_ACTIVE)
        self._act(Detect(digits=True))
        self._enter("DIAL_TONE")
        if state.messages or (state.diverted and self.config.diverted_tone):
            stutter = self.profile.tone("stutter")
            short = stutter.cadence_ms[:2]
            pairs = zip(stutter.cadence_ms[::2], stutter.cadence_ms[1::2], strict=True)
            lasts = sum(short) * sum(pair == short for pair in pairs)
            self._act(PlayTone(msgspec.structs.replace(stutter, cadence_ms=short), 0, lasts))
            self._after("steady", lasts)
        else:
            self._act(PlayTone(self.profile.tone("dial")))
        self._after("first_digit", self.config.first_digit_s * 1000)
        if self.config.hotline:
            self._after("hotline", self.config.hotline_s * 1000)

    def _steady_dial_tone(self, _: Any) -> None:
        self._act(PlayTone(self.profile.tone("dial")))

    def _hotline(self, _: Any) -> None:
        self._act(StopPlayer())
        self._offer(self.config.hotline)

    def _dial_again(self, _: Flashed) -> None:
        self._act(StopPlayer())
        self._dial_tone()

    def _no_digits(self, _: Any) -> None:
        self._reorder("congestion")

    def _first_digit(self, given: Any) -> None:
        self._act(StopPlayer())
        self._next_digit(given)

    def _next_digit(self, given: Any) -> None:
        state = self.state
        if given.digit not in "0123456789*#":
            if state.state == "DIAL_TONE":
                self._enter("COLLECTING")                    # A-D are no dialling digits here
                self._after("inter_digit", self.config.inter_digit_s * 1000)
            return
        digits = state.digits + given.digit
        verdict = "complete" if digits in self.emergency else self.dial_check(digits)
        if verdict == "impossible" and any(number.startswith(digits) for number in self.emergency):
            verdict = "more"                                 # no plan may stand in the way of an emergency number
        if verdict == "impossible" and given.digit == "#" and state.digits:
            self._offer(state.digits)                        # "#" only ended the number
            return
        state.digits = digits
        if verdict == "complete":
            self._offer(digits)
        elif verdict == "impossible":
            self._reorder("congestion")
        else:
            self._enter("COLLECTING")
            self._after("inter_digit", self.config.inter_digit_s * 1000)

    def _number_ended(self, _: Any) -> None:
        self._offer(self.state.digits)

    def _offer(self, digits: str) -> None:
        state = self.state
        state.call, state.digits, state.incoming = True, digits, False
        self._enter("CALLING")
        self._emit(Offered(state.now, Party(), digits))

    # --- call -----------------------------------------------------------------------------------------------------------------

    def _ringback(self, _: Any) -> None:
        self._act(PlayTone(self.profile.tone("ringback")))

    def _cut_through(self, _: Any) -> None:
        self._act(StopPlayer())
        if self.config.reversal:
            self._feed(FEED_REVERSED)                        # a payphone or meter begins to charge
        self._conversation()
        self._emit(Answered(self.state.now, Evidence("command")))

    def _caller_left(self, event: HungUp) -> None:
        self._rest()
        self._end(Cause.CANCELLED, Evidence("on-hook", 1.0, f"on-hook since {event.opened_at} ms"), True, event.opened_at)

    def _hung_up_talking(self, event: HungUp) -> None:
        self._rest()
        self._end(Cause.NORMAL, Evidence("on-hook", 1.0, f"on-hook since {event.opened_at} ms"), True, event.opened_at)

    def _call_failed(self, given: HangUp) -> None:
        self._reorder("busy" if given.cause in (Cause.BUSY, Cause.NORMAL, Cause.NO_ANSWER, Cause.REJECTED) else "congestion")
        self._end_by_command(given)

    def _far_gone(self, given: HangUp) -> None:
        state = self.state
        self._unmute()
        self._act(StopPlayer())
        self._act(Detect())
        state.tone_after = "busy"
        self._end_by_command(given)
        self._enter("FAR_GONE")
        open_ms = self.config.open_switch_ms or self.profile.open_switch_ms
        state.feed = FEED_OPEN
        self._act(Drive(FEED_OPEN, open_ms, FEED_ACTIVE))
        self._after("open_end", open_ms)

    def _feed_again(self, _: Any) -> None:
        # media has fed the line again; where the open line showed as an open loop, a lifted telephone closes it within the quiet time
        self.state.feed = FEED_ACTIVE
        self._after("quiet_end", self.profile.open_switch_quiet_ms)

    def _tone_or_idle(self, _: Any) -> None:
        if self.state.hook.closed:
            self._reorder(self.state.tone_after or "busy")
        else:
            self._rest()

    def _howl(self, _: Any) -> None:
        self._act(PlayTone(self.profile.tone("howler")))
        self._enter("HOWLER")
        self._after("lock", self.profile.howler_ms)

    def _lock_out(self, _: Any) -> None:
        self._act(StopPlayer())
        self._act(CloseAudio())
        self._enter("LOCKOUT", "telephone left off-hook")

    def _flashed(self, event: Flashed) -> None:
        state = self.state
        state.flashed_at = event.at
        if state.state == "TALKING":
            self._hook.set_mode(HookMode.DIAL)
            self._after("pulses_end", PULSE_AFTER_FLASH_MS)
        self._emit(HookFlash(state.now))

    def _pulses_end(self, _: Any) -> None:
        self._hook.set_mode(HookMode.TALK)
