"""A second call for a telephone that talks: call waiting and the switch between two calls by hook flash (L5; A4, C3).

Theory of operation
-------------------
A telephone has one line machine and one conversation at a time; here a second leg stands beside the one that talks. It *waits* (its caller
hears ringback, the telephone its tone and, where it shows one, the caller id; again every `AGAIN_MS`) or is *held*. A flash swaps the two:
the leg that talked is told to be held, as by a telephone with a hold key, and the other is answered or resumed; so calls need no rule of
their own. When the far end of the talking leg leaves, a held one talks again at once. When the telephone is put down, it rings for the
other one. A call that waits is refused as busy where another waits already, in a fax terminal's call, and where call control says no
(`may_interrupt`): emergencies, agents with customers, recordings, transfers, anything but a conversation of two.

Invariants: at most one second leg; each leg ends once; whoever is held or waits is told an end when the port fails; the tone is over, and
the talk given back, before the calls are swapped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from firmware.call.model import Alert, Cause, Evidence, LegAnswered, LegEnded, LegHeld, LegResumed, LegRinging, Party
from firmware.config.schema.ports import FxsPhone
from firmware.line import signals as s
from firmware.line.fxs import Fxs
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer

if TYPE_CHECKING:
    from firmware.core.lines_port import LinePort

AGAIN_MS: Final = 10_000
#: From the hang-up to the bell for the other call: a handset that is put down is not lifted at once.
RING_AGAIN_MS: Final = 1000
HELD_RING_MS: Final = 30_000


class SecondCall:
    """The second leg of one telephone; `leg` is empty while there is none."""

    def __init__(self, port: LinePort, clock: Clock, bus: Bus) -> None:
        self._port, self._clock, self._bus = port, clock, bus
        self.leg = ""
        self.held = False
        self.may_interrupt: Callable[[str], bool] = lambda leg: False
        self.local_time: Callable[[], str] = lambda: ""
        self._caller, self._called = Party(), ""
        self._alert = Alert.NORMAL
        self._until = 0                  # engine ms: nobody takes the waiting call
        self._timer: Timer | None = None
        self._ring_timer: Timer | None = None
        self._swap_due = False
        self._resumes = ""               # leg that is answered once and rings again

    # --- a call comes -----------------------------------------------------------------------------------------------------

    def admits(self) -> bool:
        """Whether another call may wait for this telephone now."""
        port = self._port
        config = port.config
        if self.leg or not port.leg or not isinstance(config, FxsPhone) or not config.call_waiting or config.terminal == "fax":
            return False
        return not port.waiting and port.machine.allows(s.CallWaiting) and self.may_interrupt(port.leg)

    def begin(self, leg: str, caller: Party, alert: Alert, ring_ms: int) -> None:
        """Let call `leg` wait; what it leads to is published later."""
        now = self._clock.now()
        self.leg, self.held, self._caller, self._called, self._alert = leg, False, caller, self._port.endpoint, alert
        self._until = now + ring_ms
        self._port.on_leg(leg, self._port)
        self._clock.call_later(0, lambda: self._rings(leg))

    def _rings(self, leg: str) -> None:
        if self.leg == leg:
            self._bus.publish(LegRinging(leg, self._clock.now()))
            self._tell()

    def _tell(self) -> None:
        """The tone now and again, until the time is over."""
        if not self.leg or self.held:
            return
        now = self._clock.now()
        if now >= self._until:
            self._end(self.leg, Cause.NO_ANSWER, Evidence("timer", 1.0, "the waiting call was not taken"))
            return
        if self._port.leg and self._port.machine.allows(s.CallWaiting):
            self._port.want(s.CallWaiting(now, self._caller, self.local_time()))
        self._timer = self._clock.call_at(min(now + AGAIN_MS, self._until), self._tell)

    # --- flash, ends --------------------------------------------------------------------------------------------------------

    def flashed(self) -> bool:
        """The hook was flashed: True when it was meant for the second call."""
        port = self._port
        if not self.leg or not port.leg or not (self.held or self.may_interrupt(port.leg)):
            return False
        if isinstance(port.machine, Fxs) and port.machine.state.muted:
            self._swap_due = True
        else:
            self._swap()
        return True

    def talk_given_back(self) -> None:
        """The waiting tone is over."""
        if self._swap_due:
            self._swap_due = False
            self._clock.call_later(0, self._swap_later)

    def _swap_later(self) -> None:
        if self.leg and self._port.leg:
            self._swap()

    def _swap(self) -> None:
        """Talk to the other one; who talked is held."""
        port, now = self._port, self._clock.now()
        old, new, answered = port.leg, self.leg, self.held
        self._stop_timer()
        self._bus.publish(LegHeld(old, now))
        if port.leg != old or self.leg != new:
            return                       # told of the hold, call control ended one of the two
        self.leg, self.held = old, True
        self._exchange_labels()
        port.leg = new
        self._say_talks(new, answered)

    def _exchange_labels(self) -> None:
        port = self._port
        port.caller, self._caller = self._caller, port.caller
        port.called, self._called = self._called, port.called

    def _say_talks(self, leg: str, answered: bool) -> None:
        now = self._clock.now()
        if answered:
            self._bus.publish(LegResumed(leg, now))
        else:
            self._bus.publish(LegAnswered(leg, now, self._port.slot, Evidence("off-hook", 1.0, "taken by hook flash")))

    def hang_up(self, leg: str, cause: Cause) -> bool:
        """Call control ends `leg`: True when that is done here, False when the machine must do it."""
        port = self._port
        if leg == self.leg:
            self._end(leg, cause, Evidence("command"))
            return True
        if leg != port.leg or not self.leg or not self.held:
            return False
        if isinstance(port.machine, Fxs) and port.machine.state.state != "TALKING":
            return False
        port.leg = self.leg
        self.leg, self.held = "", False
        self._exchange_labels()
        self._forget(leg, cause)
        self._bus.publish(LegEnded(leg, self._clock.now(), cause, Evidence("command"), False))
        if port.leg:
            self._say_talks(port.leg, True)
        return True

    def over(self) -> None:
        """The call beside this one is over: the telephone rings for whoever is held or waits, once it is put down."""
        if self.leg and (self._ring_timer is None or not self._ring_timer.active):
            self._stop_timer()
            self._swap_due = False
            if self.held:
                self._until = self._clock.now() + HELD_RING_MS
            self._ring_timer = self._clock.call_later(RING_AGAIN_MS, self._ring)

    def _ring(self) -> None:
        leg, port, now = self.leg, self._port, self._clock.now()
        if not leg:
            return
        if port.leg or now >= self._until:
            self._end(leg, Cause.BUSY if port.leg else Cause.NO_ANSWER, Evidence("timer", 1.0, f"{port.endpoint} is {port.available}"))
            return
        if not port.machine.allows(s.Ring):
            self._ring_timer = self._clock.call_later(RING_AGAIN_MS, self._ring)        # still lifted, and hears busy tone
            return
        self._resumes = leg if self.held else ""
        self.leg = ""
        port.begin_leg(leg)
        port.caller, port.called = self._caller, self._called
        port.want(s.Ring(now, self._caller, Alert.RECALL if self.held else self._alert, self._until - now, self.local_time()), later=True)

    def resumes(self, leg: str) -> bool:
        """A leg that rang was answered: True when it had been answered before."""
        again, self._resumes = self._resumes == leg != "", ""
        return again

    def fail(self, cause: Cause, evidence: Evidence) -> None:
        """The port begins anew."""
        self._resumes = ""
        if self.leg:
            self._end(self.leg, cause, evidence)

    def _end(self, leg: str, cause: Cause, evidence: Evidence) -> None:
        self._stop_timer()
        self.leg, self.held, self._swap_due = "", False, False
        self._forget(leg, cause)
        self._bus.publish(LegEnded(leg, self._clock.now(), cause, evidence, False))

    def _forget(self, leg: str, cause: Cause) -> None:
        self._port.on_leg(leg, None)
        self._port.on_end(self._port, leg, "", cause, True)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
