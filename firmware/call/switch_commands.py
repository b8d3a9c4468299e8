"""What people and tools command the switchboard to do: end a call, ring a telephone and dial for it, set agents (L1, pure)."""

from __future__ import annotations

from typing import Literal

from firmware.call import actions as do
from firmware.call.calendar import Night
from firmware.call.contact import Contact
from firmware.call.events import NightChanged
from firmware.call.floor import Status
from firmware.call.hours import next_at
from firmware.call.model import Alert, Cause, Evidence, Party, Side
from firmware.call.routing import ToEmergency
from firmware.call.state import ContactState, Kind, Phase
from firmware.call.switch_outside import OutsideDuties
from firmware.errors import NotAllowed, PbxError


class Commands(OutsideDuties):
    """See the module docstring."""

    def hang_up(self, contact: str, now: int) -> None:
        """End a contact by command. Raises PbxError if unknown, NotAllowed for an emergency call."""
        state = self.contacts.get(contact)
        if state is None:
            raise PbxError(f"there is no contact {contact}; `show calls` lists them")
        if state.emergency:
            raise NotAllowed(f"contact {contact} is an emergency call; only its people can end it")
        before = state.phase.value
        Contact(state, self, now).finish(Cause.SYSTEM, Side.SYSTEM, Evidence("command"))
        self._changed(state, before, now)
        self._settle(now)

    def abandon(self, contact: str, evidence: Evidence, now: int) -> None:
        """Close a contact whose state can no longer be trusted: legs booked as over, floor cleaned, record written."""
        state = self.contacts.get(contact)
        if state is None:
            return
        self.floor.leave(contact, now)
        for leg in state.live_legs:
            leg.ended, leg.cause, leg.evidence = now, Cause.SYSTEM, evidence
            self.act(contact, do.CloseLeg(leg.id))
        state.offers.clear()
        state.timers.clear()
        state.cause, state.evidence, state.ended, state.phase = Cause.SYSTEM, evidence, now, Phase.ENDED
        self.floor.reconcile({one.id: one for one in self.contacts.values() if one.id != contact})
        self.act(contact, do.CloseContact())
        self._changed(state, "", now)

    def originate(self, extension: str, digits: str, now: int) -> str:
        """Ring a phone, then dial for it; the contact's id. Emergency numbers are refused: no tool may dial one."""
        if extension not in self.config.extensions:
            raise PbxError(f"extension {extension} does not exist; `show phones` lists them")
        if isinstance(self.routing.resolve(extension, digits), ToEmergency):
            raise NotAllowed(f"{digits} is an emergency number; only a person at a phone can dial it")
        state = ContactState(
            self._ids.contact(), Kind.INTERNAL if digits in self.config.extensions else Kind.OUTBOUND, now, Phase.ANSWERING,
            caller=Party(extension, self.config.extensions[extension].name), called=digits,
            language=self.config.site.languages[0], extension=extension, wanted="originate",
        )  # fmt: skip
        self.contacts[state.id] = state
        self.act(state.id, do.OpenContact())
        c = Contact(state, self, now)
        ring_ms = self.config.extensions[extension].ring_s * 1000
        state.a = c.originate(extension, "caller", number=extension, caller=Party(digits), alert=Alert.NORMAL, ring_ms=ring_ms)
        self._changed(state, "", now)
        self._settle(now)
        return state.id

    def set_night(self, mode: Literal["auto", "night", "open"], now: int, *, until_ms: int = -1, by: str = "") -> Night:
        """Turn the night key. `until_ms`: Unix ms of its end, 0 for none, -1 for the next `calendar.night_ends`."""
        if until_ms < 0:
            until_ms = next_at(self.local, now, self.config.calendar.night_ends)
        self.night = Night(mode, 0 if mode == "auto" else until_ms)
        self._publish(NightChanged(now, mode, self.night.until_ms, by))
        return self.night

    def agent_command(self, agent: str, verb: str, now: int, *, extension: str = "", reason: str = "") -> Status:
        """Log in, log out, pause or make ready by command; the agent's state after it. Raises PbxError."""
        if agent not in self.config.agents:
            raise PbxError(f"agent {agent} does not exist; `show agents` lists them")
        if verb == "login":
            if extension not in self.config.extensions:
                raise PbxError(f"extension {extension} does not exist; `show phones` lists them")
            if not self.floor.log_in(agent, extension, now):
                raise PbxError(f"agent {agent} or the agent on extension {extension} is in a call; try again after it")
        elif verb == "logout":
            self.floor.log_out(agent, now)
        elif verb == "pause":
            self.floor.pause(agent, reason, now)
        elif verb == "ready":
            if self.floor.agent(agent).status is Status.LOGGED_OUT:
                raise PbxError(f"agent {agent} is logged out; log in first")
            self.floor.make_ready(agent, now)
        else:
            raise PbxError(f"unknown agent command {verb!r}; use login, logout, pause or ready")
        self._settle(now)
        return self.floor.agent(agent).status
