"""Legs over SIP trunks: how they begin, ring early, fail and come in (L5).

Theory of operation
-------------------
A leg of a trunk is a `PhoneLeg` whose extension is "trunk/NAME", with one SIP call; `core/trunks.py` says how the carrier wants it. A
description in a provisional answer opens the port (RFC 3261 section 13.3.1.1, RFC 5009 in spirit), so that announcements of the network
are heard. A call that nobody has answered at all after `reply_s`, or that neither rings nor speaks after `progress_s`, is given up with
a cause that sends it another way (`call/dialling.py`).
A carrier may be asked to carry a call on without us (`give_back`): to join two calls of its trunk (REFER with Replaces), or to reach
a number for one of them (blind REFER). The leg that would have reached that number is then one without a SIP call: it ends as the
NOTIFYs of the carrier say, and where the carrier refuses to be asked it is dialled after all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from firmware.call.model import Alert, Cause, Evidence, LegEnded, LegProgress, Party, is_trunk
from firmware.core.phones_audio import PhonesAudio
from firmware.core.phones_causes import cause_of
from firmware.core.phones_leg import PhoneLeg, suited_order
from firmware.core.phones_table import PhoneLegs
from firmware.core.trunks import Outward, Trunks
from firmware.errors import EngineBusy
from firmware.sip import events as ev
from firmware.sip.flow import Flow
from firmware.sip.offer import NotAcceptable, OfferAnswer
from firmware.sip.sdp import Description

log = logging.getLogger("branchpbx.trunks")

#: (account, flow, codecs in order) -> a negotiation that we begin.
Negotiate = Callable[[str, Flow, tuple[str, ...]], OfferAnswer]


class TrunkLegs:
    """See the theory of operation above."""

    def __init__(self, trunks: Trunks, table: PhoneLegs, audio: PhonesAudio, token: Callable[[int], str], negotiate: Negotiate) -> None:
        self._trunks = trunks
        self._table = table
        self._audio = audio
        self._token = token
        self._negotiate = negotiate
        self._clock = table.clock
        self._bus = table.bus
        self._wanted: dict[str, str] = {}                    # leg that is to be dialled -> the one that the carrier may take back for it
        self._instead: dict[str, Callable[[], None]] = {}    # leg without a call -> how it is dialled after all

    def originate(self, leg: str, endpoint: str, *, number: str, caller: Party, alert: Alert, ring_ms: int, others: list[str]) -> None:
        """Call `number` over the trunk `endpoint`; `others`: the other legs of the contact."""
        now = self._clock.now()
        far = self._table.legs.get(self._wanted.pop(leg, ""))
        out = self._trunks.outward(endpoint, number, caller, alert)
        if isinstance(out, Cause):
            self._bus.publish(LegEnded(leg, now, out, Evidence("command", detail=f"{endpoint} is not ready"), False))
            return
        if far is not None and far.answered and far.extension == endpoint and not far.released_with:
            self._instead = {one: dial for one, dial in self._instead.items() if one in self._table.legs}
            self._instead[leg] = lambda: self.originate(
                leg, endpoint, number=number, caller=caller, alert=alert, ring_ms=ring_ms, others=others
            )
            self._take_back(leg, far, out.uri, ring_ms)
            return
        order = suited_order(out.codecs, [self._table.legs.get(other) for other in others])
        try:
            negotiation = self._negotiate(endpoint, out.flow, order)
            state = PhoneLeg(leg, endpoint, True, [], negotiation, ring_until=now + ring_ms)
            self._audio.allocate(state)
        except NotAcceptable as problem:
            self._bus.publish(LegEnded(leg, now, Cause.SYSTEM, Evidence("sip-488", detail=problem.what), False))
            return
        except EngineBusy as problem:
            log.warning("leg %s: no RTP port for %s: %s", leg, endpoint, problem)
            self._bus.publish(LegEnded(leg, now, Cause.CONGESTION, Evidence("command", detail="no RTP port"), False))
            return
        negotiation.port = state.local_port
        call = self._token(16)
        state.calls.append(call)
        state.asked[call] = negotiation
        self._table.legs[leg] = state
        self._table.calls[call] = leg
        self._table.ring_until(state, state.ring_until)
        offer = negotiation.offer()
        self._table.endpoint.send(self._command(call, endpoint, out, offer), now)
        ways = 1 + len(out.further)
        self._clock.call_later(out.reply_ms * ways, lambda: self._silent(leg, call))
        self._clock.call_later(out.progress_ms + out.reply_ms * (ways - 1), lambda: self._stuck(leg, call))
        self._table.publish_state(endpoint)

    def give_back(self, leg: str, other: str) -> None:
        """The carrier of `leg` joins it with `other`, or takes it back when `other`, which is not there yet, is dialled."""
        one, two = self._table.legs.get(leg), self._table.legs.get(other)
        if one is None or not one.answered or not is_trunk(one.extension):
            return
        if two is None:
            self._wanted = {other: leg}      # dialled at once
        elif two.answered:
            one.released_with = other
            self._table.endpoint.send(ev.ReferPeer(one.calls[0], two.calls[0]), self._clock.now())

    def _take_back(self, leg: str, far: PhoneLeg, uri: str, ring_ms: int) -> None:
        """Blind: the carrier is asked to reach `uri` for `far`; `leg` stands for that until it is known."""
        now = self._clock.now()
        self._table.legs[leg] = PhoneLeg(leg, far.extension, True, [], OfferAnswer("", 0, "0"), ring_until=now + ring_ms)
        self._table.ring_until(self._table.legs[leg], now + ring_ms)
        far.released_with = leg
        self._table.endpoint.send(ev.ReferPeer(far.calls[0], uri=uri, patience_ms=ring_ms), now)
        self._table.publish_state(far.extension)

    def given_back(self, far: PhoneLeg, event: ev.ReferEnded) -> None:
        """What a carrier that was asked to carry a call on without us has done: what it has not goes on through us."""
        other, far.released_with = self._table.legs.get(far.released_with), ""
        dial = self._instead.pop(other.leg, None) if other is not None else None
        if other is None or (event.status >= 300 and dial is None):
            log.info("leg %s: the carrier does not take the call back: %d", far.leg, event.status)
        elif event.status < 300:
            for leg in (far, other):
                self._table.release(leg, Cause.TRANSFERRED)
                self._table.end(leg, Cause.TRANSFERRED, Evidence("command", detail="the carrier carries it on without us"), by_far=False)
        elif event.tried or dial is None:
            evidence = Evidence(f"sip-{event.status}", detail="told by the carrier")
            self._table.end(other, cause_of(event.status, "final"), evidence, by_far=True)
        else:
            log.info("leg %s: the carrier takes no call back: %d; dialled here", far.leg, event.status)
            self._table.legs.pop(other.leg, None)
            self._table.stop_ringing(other.leg)
            dial()

    @staticmethod
    def _command(call: str, endpoint: str, out: Outward, offer: Description) -> ev.PlaceCall:
        return ev.PlaceCall(
            call, out.uri, out.flow, offer, account=endpoint, display=out.display, route_set=out.routes, headers=out.headers,
            further=out.further, patience_ms=out.reply_ms, from_uri=out.from_uri, contact_user=out.contact_user,
            plain=out.plain, timers=out.timers,
        )  # fmt: skip

    def _silent(self, leg: str, call: str) -> None:
        """Nobody has said anything."""
        state = self._table.legs.get(leg)
        if state is not None and not state.answered and not self._table.endpoint.calls.heard(call):
            self._give_up(state, 408, "timeout", "no answer of any kind")

    def _stuck(self, leg: str, call: str) -> None:
        """The carrier has the call, but nothing comes of it."""
        state = self._table.legs.get(leg)
        if state is not None and not (state.answered or state.rung or state.opened):
            self._give_up(state, 408, "final", "no ringing")

    def _give_up(self, state: PhoneLeg, status: int, how: str, why: str) -> None:
        log.warning("leg %s: %s is given up: %s", state.leg, state.extension, why)
        cause = self._trunks.failed(state.extension, status, how)
        self._table.release(state, Cause.CANCELLED)
        self._table.end(state, cause, Evidence("timer", detail=why), by_far=False)

    # --- events -------------------------------------------------------------------------------------------------------

    def early(self, state: PhoneLeg, call: str, answer: Description) -> None:
        """The far end speaks before it answers."""
        if state.answered:
            return
        negotiation = state.asked.get(call, state.negotiation)
        try:
            negotiation.receive_answer(answer)
        except NotAcceptable as problem:
            log.info("leg %s: early audio cannot be used: %s", state.leg, problem.what)
            return
        state.negotiation = negotiation
        first = not state.opened
        self._audio.apply(state)
        if first:
            self._bus.publish(LegProgress(state.leg, self._clock.now(), state.port))

    def way_failed(self, state: PhoneLeg, event: ev.WayFailed) -> None:
        """One address of the carrier did not take the call."""
        self._trunks.way_failed(state.extension, event.flow, event.why, event.retry_after_s)

    def ended(self, state: PhoneLeg, event: ev.CallEnded) -> None:
        """A call of ours ended before its answer."""
        reached = state.rung or state.opened
        cause = cause_of(event.status, event.how) if reached else self._trunks.failed(state.extension, event.status, event.how)
        self._table.end(state, cause, Evidence(f"sip-{event.status}", detail=event.how), by_far=True)

    def offered(self, event: ev.IncomingCall) -> tuple[Party, str] | int:
        """Who calls and which number was dialled, or the status that refuses the call."""
        request = self._table.endpoint.calls.invited(event.call)
        return self._trunks.inward(event.account, request) if request is not None else 500
