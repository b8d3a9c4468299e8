"""Lines that are being tested and yet free: a call that wants one gets it, a little later (L5).

Theory of operation
-------------------
The self-test holds an idle line for a few seconds. For call control that line stays idle: `YieldingLines` stands between calls and the
driver of lines, and where a call originates on a line under test, the test is broken off at once and the call is dialled as soon as the
line has rested (guard time). It also says "idle" whenever the line itself says "busy" because of the test, so that hunting does not pass
it by.
Invariants: a leg that waits here ends in exactly one `LegEnded` or is handed to the driver; nothing waits longer than `LIMIT_MS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from firmware.call.model import Alert, Cause, EndpointState, Evidence, LegEnded, Party
from firmware.core.lines import Lines
from firmware.line.signals import Dial
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer

LIMIT_MS = 6000
SAID = "self-test"


@dataclass
class _Waiting:
    leg: str
    number: str
    caller: Party
    alert: Alert
    ring_ms: int
    limit: Timer


class YieldingLines:
    """Leg driver of lines with the tester's lines made free; everything else is the driver's own."""

    def __init__(self, lines: Lines, bus: Bus, clock: Clock) -> None:
        self._lines, self._bus, self._clock = lines, bus, clock
        self.held: dict[str, Callable[[], None]] = {}
        self._waiting: dict[str, _Waiting] = {}
        bus.subscribe(EndpointState, self._on_state)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lines, name)

    # --- for the tester -----------------------------------------------------------------------------------------------

    def hold(self, endpoint: str, let_go: Callable[[], None]) -> None:
        """A test begins on this line; `let_go` hangs it up at once."""
        self.held[endpoint] = let_go

    def free(self, endpoint: str) -> None:
        """The test is over and the line at rest."""
        self.held.pop(endpoint, None)

    # --- for calls ----------------------------------------------------------------------------------------------------

    def originate(self, leg: str, endpoint: str, *, number: str, caller: Party, alert: Alert, ring_ms: int) -> None:
        """As `Lines.originate`."""
        let_go = self.held.get(endpoint)
        if let_go is None or endpoint in self._waiting:
            self._lines.originate(leg, endpoint, number=number, caller=caller, alert=alert, ring_ms=ring_ms)
            return
        limit = self._clock.call_later(LIMIT_MS, lambda: self._give_up(endpoint))
        self._waiting[endpoint] = _Waiting(leg, number, caller, alert, ring_ms, limit)
        let_go()
        self._try(endpoint)

    def hang_up(self, leg: str, cause: Cause) -> None:
        """As `Lines.hang_up`."""
        endpoint = next((where for where, one in self._waiting.items() if one.leg == leg), "")
        if endpoint:
            self._say(self._forget(endpoint).leg, cause, "before the line had rested")
        else:
            self._lines.hang_up(leg, cause)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _on_state(self, event: EndpointState) -> None:
        if event.endpoint not in self.held and event.endpoint not in self._waiting:
            return
        if event.endpoint in self._waiting:
            self._try(event.endpoint)
        elif event.state == "busy":
            self._bus.publish(EndpointState(event.endpoint, event.at, "idle", SAID))

    def _try(self, endpoint: str) -> None:
        port = self._lines.ports[endpoint]
        if port.leg or port.waiting or not port.machine.allows(Dial):
            return
        one = self._forget(endpoint)
        self._lines.originate(one.leg, endpoint, number=one.number, caller=one.caller, alert=one.alert, ring_ms=one.ring_ms)

    def _give_up(self, endpoint: str) -> None:
        if endpoint in self._waiting:
            self._say(self._forget(endpoint).leg, Cause.UNREACHABLE, f"{endpoint} did not come to rest after its test")

    def _forget(self, endpoint: str) -> _Waiting:
        one = self._waiting.pop(endpoint)
        one.limit.cancel()
        return one

    def _say(self, leg: str, cause: Cause, why: str) -> None:
        self._clock.call_later(0, lambda: self._bus.publish(LegEnded(leg, self._clock.now(), cause, Evidence("command", 1.0, why), False)))
