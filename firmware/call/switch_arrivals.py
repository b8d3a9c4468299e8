"""New calls: what a call that arrives becomes, from outside, from a telephone of ours, or missed before we answered (L1, pure)."""

from __future__ import annotations

import msgspec

from firmware.call import actions as do
from firmware.call import codes, dialling, ivr, pickup
from firmware.call.contact import Contact
from firmware.call.emergency import called_back
from firmware.call.events import ContactChanged, Passed
from firmware.call.keyed import recordable
from firmware.call.model import OUTSIDE, TRUNK, Alert, Cause, Evidence, LegOffered, LineMissed, Party, Side, is_trunk
from firmware.call.registry import TAKERS, Found
from firmware.call.routing import ToDestination, ToEmergency, ToExtension, ToFeature
from firmware.call.state import ContactState, Kind, Leg, Phase
from firmware.call.switch_staffing import StaffingDesk


class Arrivals(StaffingDesk):
    """See the module docstring."""

    def _offered(self, event: LegOffered, now: int) -> None:
        if event.leg in self._legs:
            return
        outside = event.kind in OUTSIDE
        found = None if outside else self._picked(event)
        if found is not None and found.contact and self._pick_up(event, found, now):
            return
        if not outside and not event.caller.number:
            # A telephone on a jack says no number of its own: the colleague who is called sees its extension.
            known = self.config.extensions.get(event.endpoint)
            event = msgspec.structs.replace(event, caller=Party(event.endpoint, known.name if known is not None else ""))
        leg = Leg(
            event.leg, event.kind, event.endpoint, "caller", True, event.at, number=event.caller.number, name=event.caller.name,
            port=event.port, rings=event.rings, ring_started=event.ring_started if outside else -1,
        )  # fmt: skip
        state = ContactState(
            self._ids.contact(), Kind.INBOUND if outside else Kind.INTERNAL, event.at, Phase.ANSWERING,
            caller=event.caller, called=event.called if outside else self._recordable(event.endpoint, event.called),
            language=self.config.site.languages[0], a=event.leg, legs={event.leg: leg},
            line=event.endpoint if outside else "", extension="" if outside else event.endpoint,
            rings=event.rings, ring_started=leg.ring_started,
        )  # fmt: skip
        if outside and event.ring_started:
            state.opened = min(event.at, event.ring_started)
        self.contacts[state.id] = state
        self._legs[event.leg] = state.id
        self.act(state.id, do.OpenContact())
        c = Contact(state, self, now)
        if outside:
            self._from_outside(c, event, now)
        elif found is not None:
            state.kind = Kind.FEATURE
            c.record("refused", event.leg, number=event.called, reason=found.detail)
            if found.prompt:
                codes.refuse(c, found.prompt)
            else:
                c.finish(found.cause or Cause.REFUSED, Side.SYSTEM, Evidence("command", 1.0, found.detail))
        else:
            self._from_phone(c, event)
        self._changed(state, "", now)

    def _picked(self, event: LegOffered) -> Found | None:
        """What a telephone wants to answer in the place of another one; None for an ordinary call."""
        by, contacts = event.endpoint, self.contacts.values()
        if event.replaces:
            state = self.contacts.get(self._legs.get(event.replaces, ""))
            return pickup.find_call(self.config, state, by, event.replaces, event.early_only)
        target = self.routing.resolve(by, event.called)
        if not isinstance(target, ToFeature) or target.feature not in TAKERS:
            return None
        return TAKERS[target.feature].find(self.config, contacts, by, target.rest)

    def _pick_up(self, event: LegOffered, found: Found, now: int) -> bool:
        state = self.contacts[found.contact]
        before = state.phase.value
        known = self.config.extensions.get(event.endpoint)
        leg = Leg(
            event.leg, event.kind, event.endpoint, "called", True, event.at, number=event.endpoint, name=known.name if known else "",
            port=event.port,
        )  # fmt: skip
        target = self.routing.resolve(event.endpoint, event.called)
        taker = TAKERS.get(target.feature) if isinstance(target, ToFeature) and not event.replaces else None
        done = (taker.take if taker is not None else pickup.pick_up)(Contact(state, self, now), found.leg, leg)
        if done:
            self._changed(state, before, now)
        return done

    def _recordable(self, extension: str, called: str) -> str:
        """What was dialled as records may show it."""
        target = self.routing.resolve(extension, called)
        return recordable(target.feature, called, target.rest) if isinstance(target, ToFeature) else called

    def _missed(self, event: LineMissed, now: int) -> None:
        """Somebody rang and gave up before we would have answered: a record without legs."""
        state = ContactState(
            self._ids.contact(), Kind.INBOUND, event.ring_started, Phase.ENDED, caller=event.caller, line=event.endpoint,
            language=self.config.site.languages[0], rings=event.rings, ring_started=event.ring_started, ended=event.at,
            cause=Cause.ABANDONED, evidence=Evidence("ring-stopped", 0.95, "before it was offered"), first_to_leave=Side.CALLER,
        )  # fmt: skip
        self.act(state.id, do.OpenContact())
        self.act(state.id, do.Record(event.at, "missed", "", {"rings": event.rings}))
        self.act(state.id, do.CloseContact())
        self._publish(ContactChanged(now, state.id, Phase.ENDED.value, Cause.ABANDONED.value))
        self._over(state, now)
        self.closed(state)

    def _from_outside(self, c: Contact, event: LegOffered, now: int) -> None:
        extension = called_back(self.windows, event.endpoint, now, event.caller.number)
        if extension:
            c.s.kind, c.s.called = Kind.CALLBACK, extension
            c.record("emergency-callback", event.leg, extension=extension)
            dialling.dial_extension(c, extension, Alert.EMERGENCY)
            return
        if is_trunk(event.endpoint) and self._through(c, event):
            return
        route = self.routing.inbound(event.endpoint, event.caller.number, event.called)
        if route is None:
            c.record("no-route", event.leg)
            c.finish(Cause.UNREACHABLE, Side.SYSTEM)
            return
        known = self.routing.caller_class(event.caller.number)
        if known:
            c.record("caller-class", event.leg, name=known)
        c.record("route", event.leg, to=route.to)
        ivr.start_inbound(c, route)

    def _through(self, c: Contact, event: LegOffered) -> bool:
        """The other side of a trunk may dial numbers of ours, or through us, where its trunk allows it."""
        target = self.routing.from_trunk(event.endpoint.removeprefix(TRUNK), event.called)
        attempt = dialling.attempt_for(c, target, "dial") if target is not None else None
        if attempt is None:
            name = event.endpoint.removeprefix(TRUNK)
            if self.routing.barred(name, event.called):
                c.record("passage-off", event.leg, number=event.called)
                c.do(do.Notify(Passed(c.now, c.s.id, "break_out", name, "", done=False)))
            return False
        c.record("through", event.leg, number=event.called)
        dialling.dial(c, attempt)
        return True

    def _from_phone(self, c: Contact, event: LegOffered) -> None:
        target = self.routing.resolve(event.endpoint, event.called)
        if isinstance(target, ToFeature):
            c.s.kind = Kind.FEATURE
            codes.dial_feature(c, target.feature, target.rest)
            return
        if isinstance(target, ToEmergency):
            c.s.kind = Kind.EMERGENCY
        elif not isinstance(target, ToExtension | ToDestination):
            c.s.kind = Kind.OUTBOUND
        dialling.dial_number(c)
