"""The FXS port: an analogue telephone on one of our jacks, where we are the exchange (L1, pure).

Theory of operation
-------------------
Lifting an idle telephone gives dial tone and collects keys or dial pulses; after each the caller of this machine is asked whether the
number is whole (`dial_check`); an emergency number always is. Ringing follows the country's cadence with caller id in its place
(after ring 1 on-hook transmission, or reversal and alert tone before it); a ring trip stops ringing at once and the closed loop
confirms it. When the far end hangs up the loop is opened for the open-switch interval (GR-506; trunks and door phones recognise it),
then reorder or busy tone, howler, and lockout: fed but silent until on-hook. Flashes are told from hang-ups by `pulse.py`.
Sources: ITU-T E.161, E.182, GR-30, GR-506, ETSI EN 300 659-1.

Invariants: every ringing or offered call ends in exactly one `Ended`; on-hook leads every state to IDLE; the line is driven
FEED_RINGING only in RINGING, FEED_OPEN only in FAR_GONE; a loop that opens while we hold the line open is no hang-up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Literal

import msgspec

from firmware.call.model import Alert, Cause, Evidence, Party
from firmware.config.schema.ports import FxsPhone
from firmware.errors import RemoteProtocolError
from firmware.line import callerid
from firmware.line.fxs_table import (
    AFTER_RING_MS,
    ALERT_CADENCE,
    ALERT_PAUSE_MS,
    ALERT_TONE_MS,
    CID_MARGIN_MS,
    CID_PAUSE_MS,
    CID_REVERSED_MS,
    FXS_TABLE,
    PULSE_AFTER_FLASH_MS,
    TRIP_CONFIRM_MS,
    FxsFacts,
    FxsState,
)
from firmware.line.machine import Machine, Table
from firmware.line.profiles import Profile
from firmware.line.pulse import Flashed, HookClassifier, HookMode, HungUp, LiftedUp, PulseLimits
from firmware.line.signals import (
    FEED_ACTIVE,
    FEED_ON_HOOK_TX,
    FEED_OPEN,
    FEED_REVERSED_TX,
    FEED_RINGING,
    Answered,
    CloseAudio,
    Detect,
    Drive,
    Fact,
    HangUp,
    HookFlash,
    Key,
    Loop,
    Offered,
    OpenAudio,
    PlayerDone,
    PlayTone,
    Ring,
    Ringing,
    SendDigits,
    SendDtmf,
    SendFsk,
    StopPlayer,
)
from firmware.line.tones import ToneSpec

__all__ = ["FXS_TABLE", "Fxs", "FxsFacts", "FxsState"]

DialCheck = Callable[[str], Literal["more", "complete", "impossible"]]
_ALERT_TONE = ToneSpec("cas", (2130.0, 2750.0), -15.0)       # ETSI EN 300 659-1 dual tone alerting signal
_DIAL_STATES = ("DIAL_TONE", "COLLECTING", "REORDER")


class Fxs(Machine[FxsState]):
    """One telephone. `dial_check(digits)` says "more", "complete" or "impossible"; `emergency` numbers are always complete."""

    TABLE: ClassVar[Table] = FXS_TABLE
    PUBLIC: ClassVar[Mapping[str, str]] = {
        "IDLE": "idle", "RINGING": "ringing", "LOCKOUT": "busy",
        **dict.fromkeys(("DIAL_TONE", "COLLECTING", "CALLING", "TALKING", "FAR_GONE", "REORDER", "HOWLER"), "busy"),
    }

    def __init__(
        self, config: FxsPhone, profile: Profile, dial_check: DialCheck, emergency: Collection[str] = (), state: FxsState | None = None
    ) -> None:
        super().__init__(state or FxsState())
        self.config = config
        self.profile = profile
        self.dial_check = dial_check
        self.emergency = frozenset(emergency) | frozenset(profile.emergency)
        self._limits = PulseLimits(config.flash_min_ms, max(config.flash_min_ms, config.flash_max_ms))
        # a rotary telephone dials behind its flash: there only breaks shorter than a flash are pulses
        self._limits_talking = msgspec.structs.replace(self._limits, pulse_max_ms=max(15, config.flash_min_ms - 1))
        self._hook = HookClassifier(self._limits_for(self.state.state), self.state.hook)

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

    def _limits_for(self, state: str) -> PulseLimits:
        return self._limits if state in _DIAL_STATES else self._limits_talking

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

    def _enter(self, name: str, detail: str = "", keep: tuple[str, ...] = ()) -> None:
        super()._enter(name, detail, keep)
        self._hook.limits = self._limits_for(name)
        if name in _DIAL_STATES:
            self._hook.set_mode(HookMode.DIAL)
        elif name in ("CALLING", "TALKING"):
            self._hook.set_mode(HookMode.TALK)
        else:
            self._hook.set_mode(HookMode.QUIET)

    # --- at rest ----------------------------------------------------------------------------------------------------------

    def _rest(self) -> None:
        state = self.state
        self._act(StopPlayer())
        self._act(Detect())
        self._act(CloseAudio())
        self._feed(FEED_ACTIVE)
        state.digits, state.incoming, state.tone_after, state.tripped, state.flashed_at = "", False, "", False, -1
        self._enter("IDLE")

    def _feed(self, code: int) -> None:
        self.state.feed = code
        self._act(Drive(code))

    def _on_hook(self, _: HungUp) -> None:
        self._rest()

    def _nothing(self, _: Any) -> None:
        pass  # a late trip of ringing that has stopped

    def _ignore_hang_up(self, _: HangUp) -> None:
        pass  # no call is left to end; the tone goes on until the telephone is on-hook

    def _lifted(self, event: LiftedUp) -> None:
        state = self.state
        self._act(OpenAudio())
        if state.ring_stopped_at >= 0 and event.at - state.ring_stopped_at <= AFTER_RING_MS:
            self._reorder("busy")                            # the caller left as the telephone was lifted
            return
        self._dial_tone()

    # --- ringing ------------------------------------------------------------------------------------------------------------

    def _cadence(self) -> tuple[int, ...]:
        return ALERT_CADENCE.get(self.state.alert, self.profile.ring_cadence_ms)

    def _ring(self, given: Ring) -> None:
        state = self.state
        state.call = state.incoming = True
        state.caller, state.when, state.alert = given.caller, given.when, given.alert
        state.phase, state.rings, state.cid_sent, state.tripped, state.ring_stopped_at = 0, 0, False, False, -1
        self._act(OpenAudio())
        self._act(Detect())
        self._enter("RINGING")
        self._after("no_answer", max(1000, given.ring_ms))
        cid = self.profile.caller_id
        if self.config.caller_id and cid.place == "before-ring" and state.alert is not Alert.EMERGENCY:
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
        if self.profile.caller_id.alert_tone:
            self._act(PlayTone(_ALERT_TONE, 0, ALERT_TONE_MS))
            self._after("caller_id", ALERT_TONE_MS + ALERT_PAUSE_MS)
        else:
            self._after("caller_id", ALERT_PAUSE_MS)

    def _send_caller_id(self, _: Any) -> None:
        state = self.state
        message = self._message()
        state.cid_sent, state.cid_token = True, self._next_token()
        self._act(SendFsk(message, self.profile.caller_id.standard, state.cid_token))
        self._after("caller_id_end", callerid.duration_ms(message) + CID_MARGIN_MS)

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
        self._enter("TALKING")
        self._act(Detect(digits=True))
        self._emit(Answered(state.now, Evidence("off-hook", 1.0, f"lifted in ring {state.rings}")))

    def _stop_ringing(self, given: HangUp) -> None:
        self.state.ring_stopped_at = self.state.now
        self._rest()
        self._end(given.cause, given.evidence, False)

    def _no_answer(self, _: Any) -> None:
        self._rest()
        self._end(Cause.NO_ANSWER, Evidence("timer", 1.0, f"not lifted in {self.state.rings} rings"), False)

    # --- dialling -------------------------------------------------------------------------------------------------------------

    def _dial_tone(self) -> None:
        self.state.digits = ""
        self._feed(FEED_ACTIVE)
        self._act(Detect(digits=True))
        self._act(PlayTone(self.profile.tone("dial")))
        self._enter("DIAL_TONE")
        self._after("first_digit", self.config.first_digit_s * 1000)

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
        self._enter("TALKING")
        self._act(Detect(digits=True))
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
        self._act(StopPlayer())
        self._act(Detect())
        state.tone_after = "busy"
        self._end_by_command(given)
        self._enter("FAR_GONE")
        self._feed(FEED_OPEN)
        self._after("open_end", self.profile.open_switch_ms)

    def _end_by_command(self, given: HangUp) -> None:
        """A break that has begun before our command, longer than a pulse, may be the telephone's own hang-up: it came first."""
        hook = self.state.hook
        if not hook.closed and hook.opened_at >= 0 and given.at - hook.opened_at > self.config.flash_min_ms:
            detail = f"loop open since {hook.opened_at} ms, then our command"
            self._end(given.cause, Evidence("on-hook", 0.7, detail), True, hook.opened_at)
        else:
            self._end(given.cause, given.evidence, False)

    def _feed_again(self, _: Any) -> None:
        # where the open line showed as an open loop, a telephone still off-hook closes it again within the quiet time
        self._feed(FEED_ACTIVE)
        self._after("quiet_end", self.profile.open_switch_quiet_ms)

    def _tone_or_idle(self, _: Any) -> None:
        if self.state.hook.closed:
            self._reorder(self.state.tone_after or "busy")
        else:
            self._rest()

    def _reorder(self, tone: str) -> None:
        self._act(Detect())
        self._act(PlayTone(self.profile.tone(tone)))
        self._enter("REORDER")
        self._after("howl", self.profile.reorder_ms)

    def _howl(self, _: Any) -> None:
        self._act(PlayTone(self.profile.tone("howler")))
        self._enter("HOWLER")
        self._after("lock", self.profile.howler_ms)

    def _lock_out(self, _: Any) -> None:
        self._act(StopPlayer())
        self._act(CloseAudio())
        self._enter("LOCKOUT", "telephone left off-hook")

    def _key(self, given: Any) -> None:
        self._emit(Key(self.state.now, given.digit))

    def _flashed(self, event: Flashed) -> None:
        state = self.state
        state.flashed_at = event.at
        if state.state == "TALKING":
            self._hook.set_mode(HookMode.DIAL)
            self._after("pulses_end", PULSE_AFTER_FLASH_MS)
        self._emit(HookFlash(state.now))

    def _pulses_end(self, _: Any) -> None:
        self._hook.set_mode(HookMode.TALK)

    def _send_digits(self, given: SendDigits) -> None:
        profile = self.profile
        digits = "".join(c for c in given.digits if c in "0123456789*#ABCD")
        if digits:
            self._act(SendDtmf(digits, profile.dtmf_on_ms, profile.dtmf_off_ms, profile.dtmf_high_dbm0, self._next_token()))

