"""What calls to outside share: room for an emergency call, its call-back windows, and the guard against tolls (L1, pure).

These reach into other contacts, so they are the switchboard's and not a contact's; the rules themselves are in
`call/emergency.py` and `call/tollguard.py`.
"""

from __future__ import annotations

from typing import Any

from firmware.call import actions as do
from firmware.call import dialling
from firmware.call.contact import Contact
from firmware.call.desk import Input
from firmware.call.emergency import RANKS, CallBack, LocalCall, victim
from firmware.call.events import EmergencyEnded, EmergencyStarted, emergency_text
from firmware.call.model import Cause, Evidence, LegEnded, LegKind, Side
from firmware.call.state import Attempt, ContactState
from firmware.call.switch_desk import SwitchDesk
from firmware.call.tollguard import Asked


class OutsideDuties(SwitchDesk):
    """See the module docstring."""

    def make_room(self, contact: str, now: int) -> str:
        """End the least important call on a line for the emergency call of `contact`."""
        calls = [
            LocalCall(leg.endpoint, state.id, RANKS.get(state.phase.value, 9), state.opened, state.emergency)
            for state in self.contacts.values() if state.id != contact
            for leg in state.live_legs if leg.kind is LegKind.FXO and (leg.answered >= 0 or not leg.incoming)
        ]  # fmt: skip
        chosen = victim(calls)
        if chosen is None:
            return ""
        other = Contact(self.contacts[chosen.contact], self, now)
        other.finish(Cause.PREEMPTED, Side.SYSTEM, Evidence("command", 1.0, "an emergency call needs the line"))
        self._changed(other.s, "", now)
        return chosen.line

    def emergency_begins(self, contact: ContactState, number: str, now: int) -> None:
        """Tell every screen."""
        extension = contact.extension or contact.caller.number
        self._publish(EmergencyStarted(now, contact.id, extension, number, emergency_text(extension, number)))

    def emergency_used(self, line: str, extension: str, number: str, now: int) -> None:
        """Open the call-back window of a line."""
        until = now + self.config.emergency_callback_s * 1000
        self.windows = [one for one in self.windows if one.until > now and not (one.line == line and one.extension == extension)]
        self.windows.append(CallBack(line, extension, number, until))

    def _talked(self, now: int) -> list[int]:
        """Ms that each international call which goes on has talked."""
        legs = [leg for state in self.contacts.values() for leg in state.live_legs]
        return [self.toll.talked(leg.answered, self.local(now), now) for leg in legs if leg.international and leg.answered >= 0]

    def toll_left(self, now: int) -> int:
        """International ms of this day that are left for each call that goes on; -1 for no limit."""
        talked = self._talked(now)
        left = self.toll.left(sum(talked), self.local(now), now)
        return left if left < 0 else left // max(1, len(talked))

    def toll_refused(self, contact: ContactState, attempt: Attempt, now: int) -> str:
        """Why a call to outside may not go out, "" where it may; then it counts as begun."""
        legs = [leg for state in self.contacts.values() for leg in state.live_legs if leg.payer]
        by = dialling.payer(contact, attempt)
        asked = Asked(by, attempt.number, attempt.international, sum(leg.payer == by for leg in legs), sum(self._talked(now)))
        reason = self.toll.refused(asked, self.local(now), now)
        if not reason:
            self.toll.begun(asked, self.local(now), now)
        for notice in self.toll.notices():
            self._publish(notice)
        return reason

    def _give(self, contact: str, event: Input, now: int) -> None:
        state = self.contacts.get(contact)
        if state is None:
            return
        before = state.phase.value
        Contact(state, self, now).receive(event)
        self._changed(state, before, now)

    def _toll_ended(self, event: Any, now: int) -> None:
        state = self.contacts.get(self._legs.get(event.leg, "")) if isinstance(event, LegEnded) else None
        leg = state.legs.get(event.leg) if state is not None else None
        if leg is not None and leg.live and leg.international and leg.answered >= 0:
            self.toll.ended(leg.answered, self.local(now), now)

    def _over(self, state: ContactState, now: int) -> None:
        super()._over(state, now)
        if not state.emergency:
            return
        until = now + self.config.emergency_callback_s * 1000
        extension = state.extension or state.caller.number
        for window in self.windows:
            if window.extension == extension and any(leg.endpoint == window.line for leg in state.legs.values()):
                window.until = max(window.until, until)
        self._publish(EmergencyEnded(now, state.id, extension, state.emergency_number))

    def _leg_gone(self, leg: str, now: int) -> None:
        for line in self.routing.lines(None) if self._want_line() else ():
            self._line_freed(line, now)

    def _want_line(self) -> list[str]:
        """Contacts whose emergency call waits for a line."""
        tries = ((state.id, state.attempt) for state in self.contacts.values() if state.attempt is not None)
        return [contact for contact, attempt in tries if attempt.emergency and not attempt.leg]

    def _line_freed(self, endpoint: str, now: int) -> None:
        if not endpoint.startswith("line/") or not (wanting := self._want_line()) or not self.floor.usable(endpoint):
            return
        for contact in wanting:
            self._give(contact, do.LineFreed(now, endpoint), now)
