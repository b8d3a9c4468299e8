"""Telling dial pulses, hook flashes and hang-ups apart from the times a loop opens and closes (L1, pure).

Theory of operation
-------------------
A telephone has one contact. Opened for 15-200 ms at about 10 per second it dials (ITU-T E.161, ten pulses are "0"); opened
once for a flash time it recalls; opened for longer it has hung up. Only the length of a break tells which, so a break is
judged when it ends or when it has outlasted the longest flash. While dialling is possible short breaks are pulses and a digit
ends 250 ms after its last pulse; otherwise breaks below the flash window are dips of the line and mean nothing.

Contacts bounce, and handsets are thrown. Breaks that mean nothing are counted as *chatter* (a worn hook switch or cord), and a hang-up
whose contact closed again for moments before it stayed open as a *slam*: the handset was not put down but knocked down.

Invariants: one `HungUp` per closing, never followed by anything until the loop closes; time only moves forward; a digit is
"1".."9" or "0". Facts that repeat the known state are ignored, so a snapshot may be replayed.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from firmware.errors import LocalProtocolError


class HookMode(StrEnum):
    """What breaks of the loop may mean now."""

    DIAL = "dial"            # pulses, flash, hang-up
    TALK = "talk"            # flash, hang-up
    QUIET = "quiet"          # hang-up only, decided quickly


class PulseLimits(msgspec.Struct, frozen=True):
    """Break lengths in ms. `flash_max_ms` is also the on-hook time that means hang-up where a flash is possible."""

    flash_min_ms: int = 80
    flash_max_ms: int = 800
    pulse_min_ms: int = 15
    pulse_max_ms: int = 200
    digit_gap_ms: int = 250
    quiet_hang_up_ms: int = 250
    pulses: bool = True                  # short breaks dial
    flashes: bool = True                 # longer breaks recall; without them every long break is a hang-up
    bounce_ms: int = 30                  # after a lift breaks this early are the contact's
    slam_ms: int = 100                   # a closing shorter than this before the last opening is a knock


class PulseDigit(msgspec.Struct, frozen=True):
    """A digit was dialled by pulses."""

    at: int
    digit: str


class Flashed(msgspec.Struct, frozen=True):
    """A hook flash of `break_ms`."""

    at: int
    break_ms: int


class HungUp(msgspec.Struct, frozen=True):
    """The telephone is on-hook since `opened_at`; `bounces`: how often the contact knocked before it stayed open."""

    at: int
    opened_at: int
    bounces: int = 0


class LiftedUp(msgspec.Struct, frozen=True):
    """The telephone went off-hook after it had hung up."""

    at: int


HookEvent = PulseDigit | Flashed | HungUp | LiftedUp


class HookState(msgspec.Struct):
    """All that the classifier remembers; serialisable."""

    mode: HookMode = HookMode.QUIET
    off_hook: bool = False           # the classifier's verdict
    closed: bool = False             # the last fact
    opened_at: int = -1
    closed_at: int = -1
    pulses: int = 0
    lifted_at: int = -1
    knocking_since: int = -1         # first opening of a row of openings with hardly a closing between
    bounces: int = 0
    chatter: int = 0                 # breaks that meant nothing, in all
    slams: int = 0                   # hang-ups that knocked, in all


class HookClassifier:
    """Turns `receive(closed, at)` into hook events; drain `events()`, and call `expire(now)` at `deadline()`."""

    def __init__(self, limits: PulseLimits, state: HookState | None = None) -> None:
        if limits.flash_min_ms > limits.flash_max_ms:
            raise LocalProtocolError(f"flash window {limits.flash_min_ms}-{limits.flash_max_ms} ms is empty")
        self.limits = limits
        self.state = state or HookState()
        self._events: list[HookEvent] = []

    def set_mode(self, mode: HookMode) -> None:
        """Say what breaks may mean from now on; a half-dialled digit is dropped when dialling ends."""
        self.state.mode = mode
        if mode is not HookMode.DIAL:
            self.state.pulses = 0

    def receive(self, closed: bool, at: int) -> None:
        """A debounced fact: the loop closed or opened at `at` (ms)."""
        self.expire(at - 1)
        state = self.state
        if closed == state.closed:
            if not closed:
                # After an adoption the loop is seen open before the fact arrives that says since when.
                state.opened_at = min(state.opened_at, at)
            return
        state.closed = closed
        if closed:
            state.closed_at = at
            if not state.off_hook:
                state.off_hook, state.pulses, state.lifted_at, state.bounces = True, 0, at, 0
                self._events.append(LiftedUp(at))
            else:
                self._judge_break(at - state.opened_at, at)
        else:
            state.opened_at = at
            knocked = state.off_hook and state.pulses == 0 and 0 <= state.knocking_since < state.closed_at
            if knocked and at - state.closed_at < self.limits.slam_ms:
                state.bounces += 1
            else:
                state.knocking_since, state.bounces = at, 0

    def _judge_break(self, length: int, at: int) -> None:
        state, limits = self.state, self.limits
        bouncing = at - length - state.lifted_at < limits.bounce_ms
        if state.mode is HookMode.DIAL and limits.pulses and not bouncing and limits.pulse_min_ms <= length <= limits.pulse_max_ms:
            state.pulses += 1
        elif state.mode is not HookMode.QUIET and limits.flashes and limits.flash_min_ms <= length <= limits.flash_max_ms:
            state.pulses = 0
            self._events.append(Flashed(at, length))
        else:
            state.chatter += 1

    def deadline(self) -> int | None:
        """When `expire` wants to be called, or None."""
        state = self.state
        if not state.off_hook:
            return None
        if not state.closed:
            return state.opened_at + self._hang_up_ms()
        return state.closed_at + self.limits.digit_gap_ms if state.pulses else None

    def _hang_up_ms(self) -> int:
        quiet = self.state.mode is HookMode.QUIET or not self.limits.flashes
        return self.limits.quiet_hang_up_ms if quiet else self.limits.flash_max_ms + 1

    def expire(self, now: int) -> None:
        """Judge what the time that has passed decides."""
        due = self.deadline()
        if due is None or now < due:
            return
        state = self.state
        if state.closed:
            digit = "0" if state.pulses == 10 else str(state.pulses) if state.pulses < 10 else ""
            state.pulses = 0
            if digit:
                self._events.append(PulseDigit(due, digit))
        else:
            bounces, since = state.bounces, state.knocking_since if state.bounces else state.opened_at
            state.off_hook, state.pulses, state.bounces, state.knocking_since = False, 0, 0, -1
            state.slams += bounces > 0
            self._events.append(HungUp(due, since, bounces))

    def events(self) -> list[HookEvent]:
        """Drain what happened since the last call, in order."""
        out, self._events = self._events, []
        return out
