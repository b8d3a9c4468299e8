"""The FXO line: a PSTN line on one of our jacks, where we are the telephone (L1, pure).

Theory of operation
-------------------
Coming in: ringing counts when it lasts as long as this country's (a double ring is one; shorter or longer is none), caller id is taken
from FSK after the first ring, FSK or DTMF before it, or times out; the call is offered once `answer_after_rings` rings have ended and
caller id is settled. Going out: seize, see that no call comes in at that instant (glare: the incoming call wins), wait for dial tone
(none: the line is at fault; an emergency call or a port set for it dials blind), pause, dial by DTMF or pulses, then decide from
polarity, ringback and voice whether somebody answered, each with a confidence. Release is recognised by loop current loss, polarity
reversal, busy, congestion or dial tone, and by silence as a last resort (`disconnect.py`); each ignores what lines do by themselves (dips
of 20-50 ms, transients in the first 650 ms after off-hook, the reversal of an answer, breaks of our own flash and pulses). After a release
the line rests on-hook for the guard time. Another telephone on the line shows in its share of the loop current.
Sources: ITU-T Q.23/Q.35, ETSI EN 300 659-1, GR-30, national practice as in `profiles`.

Invariants: every offered or dialled call ends in exactly one `Ended`; `by_far` is true when a sign of the far end's release began
before our own hang-up; the relay is off-hook only in states OFF_HOOK; a fact that repeats the known one does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import msgspec

from firmware.config.schema.ports import FxoLine
from firmware.errors import RemoteProtocolError
from firmware.line.fxo_dial import FxoDialling
from firmware.line.fxo_ring import FxoRinging
from firmware.line.fxo_table import (
    FXO_TABLE,
    IDLE_VOLTS,
    LINE_BACK_MS,
    LOW_VOLTS,
    NO_LINE_MS,
    OFF_HOOK,
    PARALLEL_DROP,
    PARALLEL_OVER,
    FxoFacts,
    FxoState,
)
from firmware.line.profiles import Profile
from firmware.line.signals import Battery, CloseAudio, Expired, Fact, LoopCurrent, ParallelPhone, Polarity, RingBurst

PARALLEL: Final = "a parallel telephone is off-hook"

__all__ = ["FXO_TABLE", "OFF_HOOK", "Fxo", "FxoFacts", "FxoState"]


class Fxo(FxoRinging, FxoDialling):
    """One FXO line. `state` restores a snapshot; then call `attach` instead of `start`."""

    PUBLIC: ClassVar[Mapping[str, str]] = {
        "NO_LINE": "fault", "IDLE": "idle", "IN_USE": "busy", "RINGING": "ringing", "GUARD": "busy",
        **dict.fromkeys((*sorted(OFF_HOOK), "RELEASING"), "busy"),
    }

    @classmethod
    def restore(cls, config: FxoLine, profile: Profile, snapshot: bytes) -> Fxo:
        """A machine with the memory of `snapshot()`; RemoteProtocolError when the bytes are not one."""
        try:
            state = msgspec.msgpack.decode(snapshot, type=FxoState)
        except msgspec.MsgspecError as error:
            raise RemoteProtocolError(f"snapshot of an FXO line cannot be read: {error}; the line is started anew") from None
        if state.state not in FXO_TABLE:
            raise RemoteProtocolError(f"snapshot of an FXO line names state {state.state!r}, which this release does not know")
        return cls(config, profile, state)

    # --- beginning ----------------------------------------------------------------------------------------------------

    def start(self, now: int) -> None:
        """Take the line into service: on-hook, idle until a fact says otherwise."""
        self.state.now = now
        self._hook(False)
        self._act(CloseAudio())
        self._to_rest()

    def attach(self, facts: FxoFacts, now: int) -> None:
        """Take over a line that went on without us: nothing is driven; what changed meanwhile is acted on."""
        state = self.state
        state.now = max(state.now, now)
        self._grace(LINE_BACK_MS)
        state.published = ""
        self._publish(self.PUBLIC[state.state], state.fault)
        if facts.battery is not None:
            self.receive(Battery(state.now, facts.battery, facts.volts))
        if facts.reversed is not None and state.reversed is not None:      # unknown before: no telling what changed
            self.receive(Polarity(state.now, facts.reversed))
        if facts.loop is not None and state.off_hook:
            self.receive(LoopCurrent(state.now, facts.loop))
        if facts.ringing is not None:
            self.receive(RingBurst(state.now, facts.ringing))

    def busy_with_call(self) -> bool:
        """True while a call is offered, dialled or talking."""
        return self.state.call

    # --- facts --------------------------------------------------------------------------------------------------------

    def _note(self, fact: Fact) -> bool:
        state = self.state
        if isinstance(fact, Battery):
            same = fact.present == state.battery and abs(abs(fact.volts) - state.volts) < 1.0
            state.battery = fact.present
            if not state.off_hook and not state.ringing and fact.at - state.hook_at >= 300:      # ringing and our own hook disturb it
                state.volts = abs(fact.volts)
            return not same
        if isinstance(fact, Polarity):
            same = fact.reversed == state.reversed
            if state.reversed is None and state.polarity_base is None:
                state.polarity_base = state.dial_base = not fact.reversed      # it was the other way round until now
            state.reversed = fact.reversed
            return not same
        if isinstance(fact, LoopCurrent):
            if not state.off_hook:
                return False
            self._current(fact)
            if fact.flowing == state.loop:
                return False
            state.loop = fact.flowing
            return not (state.flashing or state.pulsing)     # our own breaks; what they left is looked at when they are over
        if isinstance(fact, RingBurst):
            same = fact.on == state.ringing
            state.ringing = fact.on
            return not same
        return True

    def _current(self, fact: LoopCurrent) -> None:
        """Another telephone that is lifted takes its part of the loop current: a drop of more than a quarter (facts 1.6)."""
        state = self.state
        if not fact.flowing or state.flashing or state.pulsing or fact.milliamps <= 0:
            return
        settled = fact.at - state.hook_at > self.profile.loop_safe_ms
        if state.milliamps <= 0 or not settled or (not state.parallel and fact.milliamps > state.milliamps):
            state.milliamps = fact.milliamps
        elif not state.parallel and fact.milliamps < PARALLEL_DROP * state.milliamps:
            state.parallel = True
            self._emit(ParallelPhone(state.now, True, fact.milliamps))
            self._publish(self.PUBLIC[state.state], PARALLEL)
        elif state.parallel and fact.milliamps > PARALLEL_OVER * state.milliamps:
            state.parallel = False
            self._emit(ParallelPhone(state.now, False, fact.milliamps))
            self._publish(self.PUBLIC[state.state])

    # --- at rest ------------------------------------------------------------------------------------------------------

    def _line_judged(self, _: Expired) -> None:
        if self.state.ringing and self.state.state == "NO_LINE":
            self._after("line_back", LINE_BACK_MS)          # ringing still stuck
            return
        self._to_rest()

    def _battery_seen(self, fact: Battery) -> None:
        if fact.present:
            self._after("line_back", LINE_BACK_MS)
        else:
            self._cancel("line_back")

    def _battery_changed(self, fact: Battery) -> None:
        state = self.state
        if not fact.present:
            if "no_line" not in state.timers:
                self._after("no_line", NO_LINE_MS)
            return
        self._cancel("no_line")
        if state.state == "IDLE" and 0 < state.volts < LOW_VOLTS:
            self._enter("IN_USE", PARALLEL)
        elif state.state == "IN_USE" and state.volts >= IDLE_VOLTS:
            self._enter("IDLE", state.fault)

