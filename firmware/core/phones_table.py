"""The table of SIP legs: who they are, which SIP calls they have, how they end, what their extension looks like (L5).

Theory of operation
-------------------
A leg has one SIP call for each contact that it rings. `end` forgets a leg and publishes its end; `release` tells the telephone.
Invariant: a leg ends with exactly one `LegEnded`, after which neither a port nor an entry of it is left here, old traces aside.
"""

from __future__ import annotations

from collections.abc import Callable

from firmware.call.model import TRUNK, Cause, EndpointState, Evidence, LegEnded, is_trunk
from firmware.core.phones_audio import PhonesAudio
from firmware.core.phones_causes import ELSEWHERE_REASON, reason_header, refusal_status
from firmware.core.phones_guests import GUEST
from firmware.core.phones_leg import PhoneLeg
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer
from firmware.sip import events as ev
from firmware.sip.endpoint import Endpoint
from firmware.sip.sdp import Description
from firmware.sip.uri import join_host_port

TRACES_KEPT = 64


class Legs(dict[str, PhoneLeg]):
    """Legs by id, and by extension: what an extension does is asked at every step of its calls. Only `[leg] =` and `pop` change it."""

    def __init__(self) -> None:
        super().__init__()
        self._of: dict[str, dict[str, PhoneLeg]] = {}

    def of(self, extension: str) -> list[PhoneLeg]:
        """The legs of an extension, in order of their beginning."""
        held = self._of.get(extension)
        return list(held.values()) if held is not None else []

    def __setitem__(self, leg: str, state: PhoneLeg) -> None:
        self._of.setdefault(state.extension, {})[leg] = state
        super().__setitem__(leg, state)

    def pop(self, leg: str, default: PhoneLeg | None = None) -> PhoneLeg | None:  # type: ignore[override]
        """Forget a leg."""
        state = super().pop(leg, default)
        if state is not None:
            held = self._of[state.extension]
            del held[leg]
            if not held:
                del self._of[state.extension]
        return state


class PhoneLegs:
    """`waited()` is how many ms the message in hand lay in the kernel; `pump()` sends what the endpoint has to send."""

    def __init__(
        self,
        endpoint: Endpoint,
        audio: PhonesAudio,
        clock: Clock,
        bus: Bus,
        waited: Callable[[], int],
        pump: Callable[[], None],
    ) -> None:
        self.endpoint = endpoint
        self.audio = audio
        self.clock = clock
        self.bus = bus
        self._waited = waited
        self._pump = pump
        self.legs = Legs()
        self.calls: dict[str, str] = {}                      # SIP call id -> leg
        self.offers: dict[str, Description | None] = {}      # leg -> offer of an unanswered incoming call
        self.partners: dict[str, list[str]] = {}             # leg to be rung or answered -> the other legs of its contact
        self.trunk: Callable[[str], None] = lambda name: None      # told that the legs of a trunk have changed
        self._ring_timers: dict[str, Timer] = {}
        self._states: dict[str, str] = {}
        self._old_traces: dict[str, list[str]] = {}

    def by_call(self, call: str) -> PhoneLeg | None:
        """The leg of a SIP call."""
        return self.legs.get(self.calls.get(call, ""))

    def traced(self, leg: str) -> list[str]:
        """SIP calls of a leg, also shortly after its end."""
        state = self.legs.get(leg)
        return state.calls if state is not None else self._old_traces.get(leg, [])

    def ring_until(self, state: PhoneLeg, at: int) -> None:
        """End the leg at this instant unless it is answered."""
        self._ring_timers[state.leg] = self.clock.call_at(at, lambda: self._ring_expired(state.leg))

    def release(self, state: PhoneLeg, cause: Cause) -> None:
        """Tell the telephone that the leg is over."""
        now = self.clock.now()
        for call in state.calls:
            if self.calls.pop(call, None) is None:
                continue
            if not state.outgoing and not state.answered:
                status = 481 if state.replaces and cause is Cause.UNREACHABLE else refusal_status(cause)
                self.endpoint.send(ev.RefuseCall(call, status), now)
            else:
                self.endpoint.send(ev.EndCall(call, ELSEWHERE_REASON if cause is Cause.ELSEWHERE else reason_header(cause)), now)

    def end(self, state: PhoneLeg, cause: Cause, evidence: Evidence, *, by_far: bool) -> None:
        """Forget the leg and publish its end."""
        leg = state.leg
        if self.legs.pop(leg, None) is None:
            return
        self.partners.pop(leg, None)
        self.stop_ringing(leg)
        self.offers.pop(leg, None)
        for call in state.calls:
            self.calls.pop(call, None)
        quality = self.audio.quality(state)
        self.audio.close(state)
        self._old_traces[leg] = state.calls
        while len(self._old_traces) > TRACES_KEPT:
            del self._old_traces[next(iter(self._old_traces))]
        at = self.clock.now() - (self._waited() if by_far else 0)
        self.bus.publish(LegEnded(leg, at, cause, evidence, by_far, quality))
        self.publish_state(state.extension)
        self._pump()

    def _ring_expired(self, leg: str) -> None:
        state = self.legs.get(leg)
        if state is not None and not state.answered:
            self.release(state, Cause.NO_ANSWER)
            self.end(state, Cause.NO_ANSWER, Evidence("timer", detail="ring time"), by_far=False)

    def stop_ringing(self, leg: str) -> None:
        timer = self._ring_timers.pop(leg, None)
        if timer is not None:
            timer.cancel()

    # --- endpoint state -----------------------------------------------------------------------------------------------

    def state_of(self, extension: str) -> str:
        """"unregistered", "busy", "ringing" or "idle"."""
        legs = self.legs.of(extension)
        for state in legs:
            if state.answered or not state.outgoing:
                return "busy"
        if legs:
            return "ringing"
        return "idle" if self.endpoint.registrar.bindings(extension, self.clock.now()) else "unregistered"

    def publish_state(self, extension: str) -> None:
        if is_trunk(extension):
            self.trunk(extension.removeprefix(TRUNK))
            return
        state = self.state_of(extension)
        if self._states.get(extension) == state or extension.startswith(GUEST):
            return
        self._states[extension] = state
        contacts = self.endpoint.registrar.bindings(extension, self.clock.now())
        detail = f"{join_host_port(*contacts[0].flow.remote)}/{contacts[0].flow.transport}" if contacts else ""
        self.bus.publish(EndpointState(extension, self.clock.now(), state, detail))

