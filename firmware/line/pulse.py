"""Telling dial pulses, hook flashes and hang-ups apart from the times a loop opens and closes (L1, pure).

Theory of operation
-------------------
A telephone has one contact. Opened for 15-200 ms at about 10 per second it dials (ITU-T E.161, ten pulses are "0"); opened
once for a flash time it recalls; opened for longer it has hung up. Only the length of a break tells which, so a break is
judged when it ends or when it has outlasted the longest flash. While dialling is possible short breaks are pulses and a digit
ends 250 ms after its last pulse; otherwise breaks below the flash window are dips of the line and mean nothing.

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


class PulseDigit(msgspec.Struct, frozen=True):
    """A digit was dialled by pulses."""

    at: int
    digit: str


class Flashed(msgspec.Struct, frozen=True):
    """A hook flash of `break_ms`."""

    at: int
    break_ms: int


class HungUp(msgspec.Struct, frozen=True):
    """The telephone is on-hook since `opened_at`."""

    at: int
    opened_at: int


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
                state.off_hook, state.pulses = True, 0
                self._events.append(LiftedUp(at))
            else:
                self._judge_break(at - state.opened_at, at)
        else:
            state.opened_at = at

    def _judge_break(self, length: int, at: int) -> None:
        state, limits = self.state, self.limits
        if state.mode is HookMode.DIAL and limits.pulse_min_ms <= length <= limits.pulse_max_ms:
            state.pulses += 1
        elif state.mode is not HookMode.QUIET and limits.flash_min_ms <= length <= limits.flash_max_ms:
            state.pulses = 0
            self._events.append(Flashed(at, length))

    def deadline(self) -> int | None:
        """When `expire` wants to be called, or None."""
        state = self.state
        if not state.off_hook:
            return None
        if not state.closed:
            return state.opened_at + self._hang_up_ms()
        return state.closed_at + self.limits.digit_gap_ms if state.pulses else None

    def _hang_up_ms(self) -> int:
        return self.limits.quiet_hang_up_ms if self.state.mode is HookMode.QUIET else self.limits.flash_max_ms + 1

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
            state.off_hook, state.pulses = False, 0
            self._events.append(HungUp(due, state.opened_at))

    def events(self) -> list[HookEvent]:
        """Drain what happened since the last call, in order."""
        out, self._events = self._events, []
        return out
