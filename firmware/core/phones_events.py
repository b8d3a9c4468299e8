"""What SIP events mean for legs: offered, ringing, answered, held, ended (L5).

Theory of operation
-------------------
The first contact of a called extension that answers wins and the others are cancelled with "call completed elsewhere". Offers and
answers are made here (`sip/offer.py`), because only this part knows the RTP port.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from firmware.call.model import (
    Cause,
    Evidence,
    LegAnswered,
    LegDigit,
    LegForwarded,
    LegHeld,
    LegKind,
    LegOffered,
    LegReferred,
    LegResumed,
    LegRinging,
    Party,
    is_trunk,
)
from firmware.config.emergency import dialled
from firmware.config.schema.tree import Config
from firmware.core.phones_causes import ELSEWHERE_REASON, cause_of, reason_header
from firmware.core.phones_guests import GUEST
from firmware.core.phones_leg import LegIds, PhoneLeg, codec_order
from firmware.core.phones_table import PhoneLegs
from firmware.core.phones_trunks import TrunkLegs
from firmware.sip import events as ev
from firmware.sip.dialog_info import lamp_leg
from firmware.sip.identity import hides
from firmware.sip.offer import NotAcceptable, OfferAnswer
from firmware.sip.sdp import Description

log = logging.getLogger("branchpbx.phones")


class PhoneEvents:
    """`config()` is the configuration in force; `negotiation(event, order)` begins one; `waited()` as in `PhoneLegs`."""

    def __init__(
        self,
        table: PhoneLegs,
        ids: LegIds,
        config: Callable[[], Config],
        negotiation: Callable[[ev.IncomingCall, tuple[str, ...]], OfferAnswer],
        waited: Callable[[], int],
    ) -> None:
        self._table = table
        self._endpoint = table.endpoint
        self._clock = table.clock
        self._bus = table.bus
        self._audio = table.audio
        self._ids = ids
        self._config = config
        self._negotiation = negotiation
        self._waited = waited
        self.trunks: TrunkLegs | None = None     # set by whoever has trunks

    def call_event(self, state: PhoneLeg, call: str, event: ev.Event) -> None:
        """An event of one of the leg's calls."""
        now, leg = self._clock.now(), state.leg
        match event:
            case ev.CallRinging():
                if not state.rung:
                    state.rung = True
                    self._bus.publish(LegRinging(leg, now))
                    self._table.publish_state(state.extension)
            case ev.CallAnswered():
                self._answered(state, call, event.answer)
            case ev.CallConfirmed():
                if state.late:
                    self._late_answer(state, event.answer)
            case ev.CallProgress() if self.trunks is not None and is_trunk(state.extension):
                self.trunks.early(state, call, event.answer)
            case ev.WayFailed() if self.trunks is not None and is_trunk(state.extension):
                self.trunks.way_failed(state, event)
            case ev.CallEnded():
                self._call_ended(state, call, event)
            case ev.Reoffered():
                self._reoffered(state, call, event.offer)
            case ev.OfferAnswered():
                self._apply_answer(state, event.answer)
            case ev.InfoDigit():
                self._bus.publish(LegDigit(leg, now - self._waited(), event.digit))
            case ev.ReferEnded() if self.trunks is not None:
                self.trunks.given_back(state, event)
            case ev.InfoRefused():
                self._audio.send_digits(state, event.digits)
            case ev.Referred() if is_trunk(state.extension):
                # Nobody outside connects our lines and telephones with whom he likes.
                self._endpoint.send(ev.ReportReferral(call, event.referral, 603), now)
            case ev.Referred():
                consult = self._table.calls.get(event.replaces, "") if event.replaces else ""
                if event.replaces and not consult:
                    self._endpoint.send(ev.ReportReferral(call, event.referral, 481), now)
                else:
                    self._bus.publish(LegReferred(leg, now, event.referral, event.number, consult))
            case _:
                pass                     # CallProgress: we give no early audio of phones; OfferRefused: the call goes on

    def incoming(self, event: ev.IncomingCall) -> None:
        """A telephone calls."""
        extension = self._config().extensions.get(event.account)
        guest = event.account.startswith(GUEST)
        told: tuple[Party, str] | int = 403
        if is_trunk(event.account) and self.trunks is not None:
            told = self.trunks.offered(event)
        elif extension is not None or guest:
            name = (extension.name if extension is not None else "") or event.display
            told = Party(event.account, name, self._hidden(event)), dialled(event.called, self._config())
        if isinstance(told, int):
            self._endpoint.send(ev.RefuseCall(event.call, told), self._clock.now())
            return
        order = codec_order(self._config())
        try:
            negotiation = self._negotiation(event, order)
            if event.offer is not None:
                # only to see whether it can be answered at all; the answer is made when there is a port
                msgspec.structs.replace(negotiation, port=9).receive_offer(event.offer)
                negotiation.remote = event.offer
        except NotAcceptable as problem:
            log.info("call %s from %s refused: %s", event.call, event.account, problem.what)
            warning = ("Warning", f'304 branchpbx "{problem.what}"')
            self._endpoint.send(ev.RefuseCall(event.call, 488, headers=(warning,)), self._clock.now())
            return
        replaces, early_only = "", False
        if event.replaces is not None and extension is not None:
            early_only = event.replaces.early_only
            replaces = self._table.calls.get(event.replaced, "") or lamp_leg(event.replaces.call_id)
            if not replaces:
                self._endpoint.send(ev.RefuseCall(event.call, 481), self._clock.now())
                return
        leg = self._ids.leg()
        state = PhoneLeg(leg, event.account, False, [event.call], negotiation, replaces=bool(replaces))
        self._table.legs[leg] = state
        self._table.calls[event.call] = leg
        self._table.offers[leg] = event.offer
        self._table.publish_state(event.account)
        kind = LegKind.TRUNK if is_trunk(event.account) else LegKind.SIP
        self._bus.publish(LegOffered(leg, self._clock.now(), kind, event.account, *told, replaces=replaces, early_only=early_only))

    def _hidden(self, event: ev.IncomingCall) -> str:
        """Why a telephone's number is not shown: "private" where it asks for that (RFC 3323)."""
        request = self._endpoint.calls.invited(event.call)
        return "private" if request is not None and hides(request) else ""

    def _answered(self, state: PhoneLeg, call: str, answer: Description | None) -> None:
        """One contact of a called extension answered: it wins."""
        now = self._clock.now()
        losers = [other for other in state.calls if other != call]
        for other in losers:
            self._table.calls.pop(other, None)
            self._endpoint.send(ev.EndCall(other, ELSEWHERE_REASON), now)
        self._table.stop_ringing(state.leg)
        negotiation = state.negotiation = state.asked.get(call, state.negotiation)
        state.asked = {}
        try:
            if answer is None:
                raise NotAcceptable("200 without an answer")
            negotiation.receive_answer(answer)
        except NotAcceptable as problem:
            self._endpoint.send(ev.EndCall(call, reason_header(Cause.SYSTEM)), now)
            self._table.end(state, Cause.SYSTEM, Evidence("sip-488", detail=problem.what), by_far=False)
            return
        state.calls = [call, *losers]            # losers stay for the trace only
        state.answered = True
        self._audio.apply(state)
        self._bus.publish(LegAnswered(state.leg, now, state.port, Evidence("sip-200")))
        self._table.publish_state(state.extension)

    def _late_answer(self, state: PhoneLeg, answer: Description | None) -> None:
        negotiation = state.negotiation
        state.late = False
        try:
            if answer is None:
                raise NotAcceptable("ACK without an answer")
            negotiation.receive_answer(answer)
        except NotAcceptable as problem:
            self._table.release(state, Cause.SYSTEM)
            self._table.end(state, Cause.SYSTEM, Evidence("sip-488", detail=problem.what), by_far=False)
            return
        self._audio.apply(state)
        self._bus.publish(LegAnswered(state.leg, self._clock.now(), state.port, Evidence("sip-200")))
        self._table.publish_state(state.extension)

    def _call_ended(self, state: PhoneLeg, call: str, event: ev.CallEnded) -> None:
        self._table.calls.pop(call, None)
        if state.outgoing and not state.answered and is_trunk(state.extension) and self.trunks is not None:
            self.trunks.ended(state, event)
            return
        if state.outgoing and not state.answered:
            others = [other for other in state.calls if other != call and other in self._table.calls]
            decisive = event.how == "final" and (event.status >= 600 or bool(event.forward))
            if state.status == 0 or event.status in (486, 600, 603) or state.status == 408:
                state.status = event.status
            if others and not decisive:
                return                   # another contact still rings
            for other in others:
                self._table.calls.pop(other, None)
                self._endpoint.send(ev.EndCall(other), self._clock.now())
            if event.forward:
                self._bus.publish(LegForwarded(state.leg, self._clock.now(), event.forward))
                self._table.end(state, Cause.TRANSFERRED, Evidence(f"sip-{event.status}", detail=f"to {event.forward}"), by_far=True)
                return
            self._table.end(state, cause_of(state.status, event.how), Evidence(f"sip-{state.status}"), by_far=True)
            return
        if event.how in ("bye", "cancel"):
            cause = Cause.NORMAL if event.how == "bye" and state.answered else Cause.CANCELLED
            self._table.end(state, cause, Evidence(event.how), by_far=True)
        else:
            evidence = Evidence(f"sip-{event.status}", detail=event.how)
            self._table.end(state, cause_of(event.status, event.how), evidence, by_far=event.by_far)

    def _reoffered(self, state: PhoneLeg, call: str, offer: Description | None) -> None:
        negotiation, now = state.negotiation, self._clock.now()
        try:
            if offer is None:
                self._endpoint.send(ev.AnswerOffer(call, negotiation.offer()), now)
                return
            if not state.answered and not state.opened:
                raise NotAcceptable("an offer of a contact that has not answered")   # the leg's negotiation belongs to whoever answers
            description = negotiation.receive_offer(offer)
        except NotAcceptable:
            self._endpoint.send(ev.RefuseOffer(call, 488), now)
            return
        self._endpoint.send(ev.AnswerOffer(call, description), now)
        self._path_changed(state)

    def _apply_answer(self, state: PhoneLeg, answer: Description | None) -> None:
        negotiation = state.negotiation
        if answer is None:
            return
        try:
            negotiation.receive_answer(answer)
        except NotAcceptable as problem:
            log.info("leg %s: answer to a re-INVITE cannot be used: %s", state.leg, problem.what)
            return
        self._path_changed(state)

    def _path_changed(self, state: PhoneLeg) -> None:
        """Move the RTP port to the new path and tell of hold and resume."""
        if self._audio.apply(state):
            event = LegHeld if state.held else LegResumed
            self._bus.publish(event(state.leg, self._clock.now()))
