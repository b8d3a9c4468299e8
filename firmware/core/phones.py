"""SIP extensions as legs: registrations, calls from and to phones, hold, keys (L5).

Theory of operation
-------------------
`Phones` joins three things: the SIP endpoint (`firmware/sip`, no I/O), the media façade (RTP ports) and the bus. It
implements `LegDriver` of `call/model.py`. A leg of a called extension has one SIP call per registered contact; the first
answer wins and the others are cancelled with "call completed elsewhere". Offers and answers are made here
(`sip/offer.py`), because only this part knows the RTP port. All timers run on the engine clock.
Invariants: a leg ends with exactly one `LegEnded`, after which neither a port nor a map entry of it is left (the SIP side
finishes by itself: CANCEL, ACK and BYE are retransmitted by the endpoint); commands on unknown legs do nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from firmware.call.model import (
    Alert,
    Cause,
    EndpointState,
    Evidence,
    LegAnswered,
    LegDigit,
    LegEnded,
    LegHeld,
    LegKind,
    LegOffered,
    LegResumed,
    LegRinging,
    Party,
)
from firmware.config.schema.tree import Config
from firmware.core.phones_audio import PhonesAudio
from firmware.core.phones_causes import ALERT_INFO, ELSEWHERE_REASON, cause_of, reason_header, refusal_status
from firmware.core.phones_guests import GUEST, EmergencyGuests
from firmware.core.phones_leg import LegIds, PhoneLeg, PhoneMedia, StoredLeg, accounts, codec_order, suited_order
from firmware.errors import EngineBusy
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer
from firmware.sip import events as ev
from firmware.sip.endpoint import Endpoint, Settings, next_contact
from firmware.sip.flow import Address, Flow, Outgoing
from firmware.sip.message import Request
from firmware.sip.offer import NotAcceptable, OfferAnswer
from firmware.sip.sdp import Description
from firmware.sip.session import Phase
from firmware.sip.trace import TraceLine

log = logging.getLogger("branchpbx.phones")
#: Shorter waits in the kernel are the scheduling of a busy machine.
NOTICED_WAIT_MS = 30


class Phones:
    """See the theory of operation above. `token(n)` gives n random hexadecimal digits, `transmit` hands bytes to a transport."""

    def __init__(
        self,
        *,
        config: Config,
        secrets: Mapping[str, str],
        media: PhoneMedia,
        clock: Clock,
        bus: Bus,
        ids: LegIds,
        token: Callable[[int], str],
        transmit: Callable[[Outgoing], None],
        keep_registrations: Callable[[bytes], None] | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._bus = bus
        self._ids = ids
        self._token = token
        self._transmit = transmit
        self._keep = keep_registrations
        sip = config.sip
        self.endpoint = Endpoint(
            Settings(
                realm=sip.realm,
                registration_min_s=sip.registration_min_s,
                registration_max_s=max(sip.registration_max_s, sip.registration_min_s),
            ),
            accounts(config, secrets),
            token,
            self._identify,
        )
        self._guests = EmergencyGuests(config, lambda user: self.endpoint.registrar.bindings(user, self._clock.now()), self._endpoints)
        self._legs: dict[str, PhoneLeg] = {}
        self._calls: dict[str, str] = {}             # SIP call id -> leg
        self._offers: dict[str, Description | None] = {}     # leg -> offer of an unanswered incoming call
        self._partners: dict[str, list[str]] = {}            # leg to be rung or answered -> the other legs of its contact
        self._ring_timers: dict[str, Timer] = {}
        self._states: dict[str, str] = {}
        self._old_traces: dict[str, list[str]] = {}
        self._timer: Timer | None = None
        self._timer_at: int | None = None
        self._pumping = False
        self._waited = 0
        self._audio = PhonesAudio(media, clock, self, lambda: self._config.rtp.silence_timeout_s * 1000)

    def _identify(self, request: Request, flow: Flow) -> str:
        return self._guests.identify(request, flow)

    def _endpoints(self) -> list[str]:
        return [leg.extension for leg in self._legs.values()]

    # --- transports ---------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, source: Address, transport: str, local: Address, waited_ms: int = 0) -> None:
        """Bytes from a transport; `local` is the address they arrived at, `waited_ms` how long they lay in the kernel.

        What waited is what a telephone did while this process was away: its end or key happened then, not now.
        """
        self._waited = waited_ms if waited_ms >= NOTICED_WAIT_MS else 0
        try:
            self.endpoint.receive(data, source, transport, self._clock.now(), local)
            self._pump()
        finally:
            self._waited = 0

    def connection_made(self, transport: str, remote: Address) -> None:
        """A stream connection exists."""
        self.endpoint.connection_made(transport, remote)

    def connection_lost(self, transport: str, remote: Address) -> None:
        """A stream connection ended or could not be made."""
        self.endpoint.connection_lost(transport, remote, self._clock.now())
        self._pump()

    def start(self) -> None:
        """Publish the state of every extension."""
        for number in accounts(self._config, {}):
            self._publish_state(number)

    def configure(self, config: Config, secrets: Mapping[str, str]) -> None:
        """Take a new configuration; calls go on, accounts that are gone lose their registration."""
        self._config = config
        self._guests.configure(config)
        self.endpoint.set_secrets(accounts(config, secrets), self._clock.now())
        self._pump()
        self.start()

    # --- LegDriver ----------------------------------------------------------------------------------------------------

    def partners(self, leg: str, others: Sequence[str]) -> None:
        """Say before `originate` or `answer` which other legs are in the contact, so that the codec suits them."""
        self._partners[leg] = list(others)

    def _order(self, leg: str) -> tuple[str, ...]:
        others = self._partners.pop(leg, [])
        return suited_order(codec_order(self._config), [self._legs.get(other) for other in others])

    def originate(self, leg: str, endpoint: str, *, number: str, caller: Party, alert: Alert, ring_ms: int) -> None:
        """Ring all contacts of extension `endpoint`."""
        now, order = self._clock.now(), self._order(leg)
        guest = endpoint.startswith(GUEST)
        bindings = self._guests.binding(endpoint, now) if guest else self.endpoint.registrar.bindings(endpoint, now)
        if leg in self._legs:
            return
        if not bindings:
            self._bus.publish(LegEnded(leg, now, Cause.UNREACHABLE, Evidence("sip-480", detail="not registered"), False))
            return
        negotiation = self._negotiation(bindings[0].flow.local[0], order)
        state = PhoneLeg(leg, endpoint, True, [], negotiation, ring_until=now + ring_ms)
        try:
            self._audio.allocate(state)
        except EngineBusy as problem:
            log.warning("leg %s: no RTP port for extension %s: %s", leg, endpoint, problem)
            self._bus.publish(LegEnded(leg, now, Cause.CONGESTION, Evidence("command", detail="no RTP port"), False))
            return
        state.negotiation.port = state.local_port
        offer = state.negotiation.offer()
        self._legs[leg] = state
        self._ring_timers[leg] = self._clock.call_at(state.ring_until, lambda: self._ring_expired(leg))
        display, shown = (caller.name, caller.number) if not caller.reason else ("Anonymous", "")
        headers = ALERT_INFO[alert]
        for binding in bindings:
            call = self._token(16)
            state.calls.append(call)
            self._calls[call] = leg
            uri, routes = next_contact(binding)
            own = msgspec.structs.replace(offer, address=binding.flow.local[0], origin_address=binding.flow.local[0])
            self.endpoint.send(
                ev.PlaceCall(call, uri, binding.flow, own, account=endpoint, number=shown, display=display, symmetric=binding.symmetric,
                             route_set=routes, headers=headers),
                now,
            )  # fmt: skip
        self._publish_state(endpoint)
        self._pump()

    def progress(self, leg: str) -> None:
        """Send 180 to a phone that calls us."""
        state = self._legs.get(leg)
        if state is not None and not state.outgoing and not state.answered:
            self._send(ev.RingCall(state.calls[0]))

    def answer(self, leg: str) -> None:
        """Answer a phone that calls us and open its audio."""
        state = self._legs.get(leg)
        if state is None or state.outgoing or state.answered:
            return
        call = state.calls[0]
        try:
            self._audio.allocate(state)
        except EngineBusy as problem:
            log.warning("leg %s: no RTP port: %s", leg, problem)
            self._send(ev.RefuseCall(call, 503))
            self._end(state, Cause.CONGESTION, Evidence("command", detail="no RTP port"), by_far=False)
            return
        negotiation = state.negotiation
        negotiation.port = state.local_port
        negotiation.preference = self._order(leg)
        offer = self._offers.pop(leg, None)
        state.answered = True
        if offer is None:
            state.late = True
            description = negotiation.offer()
        else:
            description = negotiation.receive_offer(offer)
            self._audio.apply(state)
        self._send(ev.AnswerCall(call, description))
        if leg in self._legs and not state.late:
            self._bus.publish(LegAnswered(leg, self._clock.now(), state.port, Evidence("sip-200")))
            self._publish_state(state.extension)

    def hang_up(self, leg: str, cause: Cause) -> None:
        """End the leg: BYE, CANCEL or the refusal that fits the cause."""
        state = self._legs.get(leg)
        if state is None:
            return
        self._release(state, cause)
        self._end(state, cause, Evidence("command"), by_far=False)

    def send_digits(self, leg: str, digits: str) -> None:
        """Send keys as RFC 4733 events."""
        state = self._legs.get(leg)
        if state is not None and digits:
            self._audio.send_digits(state, digits)

    def snapshot(self) -> dict[str, bytes]:
        """Journal form of each live leg."""
        return {leg: self.snapshot_leg(leg) for leg in self._legs}

    def snapshot_leg(self, leg: str) -> bytes:
        """Journal form of one leg, b"" when it is unknown."""
        state = self._legs.get(leg)
        if state is None:
            return b""
        sessions = {call: data for call in state.calls if (data := self.endpoint.snapshot(call))}
        return msgspec.msgpack.encode(StoredLeg(state, sessions))

    def adopt(self, leg: str, state: bytes, port: int) -> bool:
        """Go on with a leg of an earlier process. `port` is the engine port that media still runs for it, -1 for none."""
        try:
            stored = msgspec.msgpack.decode(state, type=StoredLeg)
        except msgspec.MsgspecError as problem:
            log.error("leg %s: journal entry cannot be read: %s", leg, problem)
            return False
        taken = stored.leg
        now = self._clock.now()
        phases = {call: self.endpoint.adopt(call, data, now) for call, data in stored.sessions.items()}
        alive = [call for call, phase in phases.items() if phase is not None]
        usable = taken.leg == leg and bool(alive) and leg not in self._legs
        if taken.opened:
            usable = usable and port == taken.port and any(phases[call] in (Phase.CONFIRMED, Phase.ACCEPTED) for call in alive)
        elif taken.outgoing and port >= 0:
            usable = usable and port == taken.port
        if not usable:
            for call in alive:
                self._send(ev.EndCall(call, reason_header(Cause.SYSTEM)))
            return False
        taken.calls = alive
        self._legs[leg] = taken
        for call in alive:
            self._calls[call] = leg
        self._audio.adopt(taken)
        if taken.outgoing and not taken.answered:
            self._ring_timers[leg] = self._clock.call_at(max(taken.ring_until, now), lambda: self._ring_expired(leg))
        elif not taken.outgoing and not taken.answered:
            self._offers[leg] = taken.negotiation.remote
        self._publish_state(taken.extension)
        self._pump()
        return True

    # --- registrations ------------------------------------------------------------------------------------------------

    def registrations(self) -> bytes:
        """All bindings, for `restore_registrations`."""
        return self.endpoint.registrations()

    def restore_registrations(self, data: bytes) -> None:
        """Take over the bindings of an earlier process, so that phones need not register again."""
        self.endpoint.restore_registrations(data, self._clock.now())
        self._pump()
        self.start()

    def contacts(self, extension: str) -> list[dict[str, Any]]:
        """What `show phones` tells of an extension: contact, address, transport, agent, seconds left."""
        now = self._clock.now()
        return [
            {"contact": binding.uri, "address": f"{binding.flow.remote[0]}:{binding.flow.remote[1]}", "transport": binding.flow.transport,
             "agent": binding.user_agent, "expires_s": max(0, (binding.expires_at - now) // 1000)}
            for binding in self.endpoint.registrar.bindings(extension, now)
        ]  # fmt: skip

    def trace(self, leg: str) -> list[TraceLine]:
        """SIP messages of a leg in order of time, also shortly after its end."""
        state = self._legs.get(leg)
        calls = state.calls if state is not None else self._old_traces.get(leg, [])
        return sorted((line for call in calls for line in self.endpoint.trace(call)), key=lambda line: line.at)

    # --- the endpoint -------------------------------------------------------------------------------------------------

    def _send(self, command: ev.Command) -> None:
        self.endpoint.send(command, self._clock.now())
        self._pump()

    def _pump(self) -> None:
        """Handle events until there are none, transmit, set the timer. Handlers may come back here: the outer call goes on."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while True:
                events = self.endpoint.events()
                for outgoing in self.endpoint.output():
                    self._transmit(outgoing)
                if not events:
                    break
                for event in events:
                    try:
                        self._handle(event)
                    except Exception:
                        log.exception("SIP event %s failed", type(event).__name__)
        finally:
            self._pumping = False
        at = self.endpoint.deadline()
        if at != self._timer_at or (self._timer is None and at is not None):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._clock.call_at(at, self._expire) if at is not None else None

    def _expire(self) -> None:
        self._timer = self._timer_at = None
        self.endpoint.expire(self._clock.now())
        self._pump()

    def _handle(self, event: ev.Event) -> None:
        match event:
            case ev.Registered(account=account):
                self._registrations_changed(account)
            case ev.Unregistered(account=account):
                self._registrations_changed(account)
            case ev.IncomingCall():
                self._incoming(event)
            case ev.AuthenticationFailed():
                log.warning("wrong credentials for %s from %s", event.method, event.source)
            case ev.OptionsPing():
                pass
            case _:
                call = getattr(event, "call", "")
                state = self._legs.get(self._calls.get(call, ""))
                if state is not None:
                    self._call_event(state, call, event)

    def _call_event(self, state: PhoneLeg, call: str, event: ev.Event) -> None:
        now, leg = self._clock.now(), state.leg
        match event:
            case ev.CallRinging():
                if not state.rung:
                    state.rung = True
                    self._bus.publish(LegRinging(leg, now))
                    self._publish_state(state.extension)
            case ev.CallAnswered():
                self._answered(state, call, event.answer)
            case ev.CallConfirmed():
                if state.late:
                    self._late_answer(state, event.answer)
            case ev.CallEnded():
                self._call_ended(state, call, event)
            case ev.Reoffered():
                self._reoffered(state, call, event.offer)
            case ev.OfferAnswered():
                self._apply_answer(state, event.answer)
            case ev.InfoDigit():
                self._bus.publish(LegDigit(leg, now - self._waited, event.digit))
            case _:
                pass                     # CallProgress: we give no early audio of phones; OfferRefused: the call goes on

    def _registrations_changed(self, account: str) -> None:
        if self._keep is not None:
            self._keep(self.endpoint.registrations())
        self._publish_state(account)

    # --- calls --------------------------------------------------------------------------------------------------------

    def _negotiation(self, address: str, order: tuple[str, ...]) -> OfferAnswer:
        return OfferAnswer(address, 0, str(int(self._token(12), 16)), order)

    def _incoming(self, event: ev.IncomingCall) -> None:
        extension = self._config.extensions.get(event.account)
        guest = event.account.startswith(GUEST)
        if extension is None and not guest:
            self.endpoint.send(ev.RefuseCall(event.call, 403), self._clock.now())
            return
        order = codec_order(self._config)
        negotiation = self._negotiation(event.flow.local[0], order)
        if event.offer is not None:
            try:
                # only to see whether it can be answered at all; the answer is made when there is a port
                OfferAnswer(event.flow.local[0], 9, "0", order).receive_offer(event.offer)
            except NotAcceptable as problem:
                log.info("call %s from %s refused: %s", event.call, event.account, problem.what)
                warning = ("Warning", f'304 branchpbx "{problem.what}"')
                self.endpoint.send(ev.RefuseCall(event.call, 488, headers=(warning,)), self._clock.now())
                return
            negotiation.remote = event.offer
        leg = self._ids.leg()
        state = PhoneLeg(leg, event.account, False, [event.call], negotiation)
        self._legs[leg] = state
        self._calls[event.call] = leg
        self._offers[leg] = event.offer
        self._publish_state(event.account)
        caller = Party(event.account, (extension.name if extension is not None else "") or event.display)
        self._bus.publish(LegOffered(leg, self._clock.now(), LegKind.SIP, event.account, caller, event.called))

    def _answered(self, state: PhoneLeg, call: str, answer: Description | None) -> None:
        """One contact of a called extension answered: it wins."""
        now = self._clock.now()
        losers = [other for other in state.calls if other != call]
        for other in losers:
            self._calls.pop(other, None)
            self.endpoint.send(ev.EndCall(other, ELSEWHERE_REASON), now)
        self._stop_ringing(state.leg)
        negotiation = state.negotiation
        try:
            if answer is None:
                raise NotAcceptable("200 without an answer")
            negotiation.receive_answer(answer)
        except NotAcceptable as problem:
            self.endpoint.send(ev.EndCall(call, reason_header(Cause.SYSTEM)), now)
            self._end(state, Cause.SYSTEM, Evidence("sip-488", detail=problem.what), by_far=False)
            return
        state.calls = [call, *losers]            # losers stay for the trace only
        state.answered = True
        self._audio.apply(state)
        self._bus.publish(LegAnswered(state.leg, now, state.port, Evidence("sip-200")))
        self._publish_state(state.extension)

    def _late_answer(self, state: PhoneLeg, answer: Description | None) -> None:
        negotiation = state.negotiation
        state.late = False
        try:
            if answer is None:
                raise NotAcceptable("ACK without an answer")
            negotiation.receive_answer(answer)
        except NotAcceptable as problem:
            self._release(state, Cause.SYSTEM)
            self._end(state, Cause.SYSTEM, Evidence("sip-488", detail=problem.what), by_far=False)
            return
        self._audio.apply(state)
        self._bus.publish(LegAnswered(state.leg, self._clock.now(), state.port, Evidence("sip-200")))
        self._publish_state(state.extension)

    def _call_ended(self, state: PhoneLeg, call: str, event: ev.CallEnded) -> None:
        self._calls.pop(call, None)
        if state.outgoing and not state.answered:
            others = [other for other in state.calls if other != call and other in self._calls]
            decisive = event.how == "final" and event.status >= 600
            if state.status == 0 or event.status in (486, 600, 603) or state.status == 408:
                state.status = event.status
            if others and not decisive:
                return                   # another contact still rings
            for other in others:
                self._calls.pop(other, None)
                self.endpoint.send(ev.EndCall(other), self._clock.now())
            self._end(state, cause_of(state.status, event.how), Evidence(f"sip-{state.status}"), by_far=True)
            return
        if event.how in ("bye", "cancel"):
            cause = Cause.NORMAL if event.how == "bye" and state.answered else Cause.CANCELLED
            self._end(state, cause, Evidence(event.how), by_far=True)
        else:
            self._end(state, cause_of(event.status, event.how), Evidence(f"sip-{event.status}", detail=event.how), by_far=event.by_far)

    def _reoffered(self, state: PhoneLeg, call: str, offer: Description | None) -> None:
        negotiation, now = state.negotiation, self._clock.now()
        if offer is None:
            self.endpoint.send(ev.AnswerOffer(call, negotiation.offer()), now)
            return
        try:
            description = negotiation.receive_offer(offer)
        except NotAcceptable:
            self.endpoint.send(ev.RefuseOffer(call, 488), now)
            return
        self.endpoint.send(ev.AnswerOffer(call, description), now)
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

    def _release(self, state: PhoneLeg, cause: Cause) -> None:
        """Tell the telephone that the leg is over."""
        now = self._clock.now()
        for call in state.calls:
            if self._calls.pop(call, None) is None:
                continue
            if not state.outgoing and not state.answered:
                self.endpoint.send(ev.RefuseCall(call, refusal_status(cause)), now)
            else:
                self.endpoint.send(ev.EndCall(call, ELSEWHERE_REASON if cause is Cause.ELSEWHERE else reason_header(cause)), now)

    def _end(self, state: PhoneLeg, cause: Cause, evidence: Evidence, *, by_far: bool) -> None:
        """Forget the leg and publish its end."""
        leg = state.leg
        if self._legs.pop(leg, None) is None:
            return
        self._partners.pop(leg, None)
        self._stop_ringing(leg)
        self._offers.pop(leg, None)
        for call in state.calls:
            self._calls.pop(call, None)
        self._audio.close(state)
        self._old_traces[leg] = state.calls
        while len(self._old_traces) > 64:
            del self._old_traces[next(iter(self._old_traces))]
        at = self._clock.now() - (self._waited if by_far else 0)
        self._bus.publish(LegEnded(leg, at, cause, evidence, by_far))
        self._publish_state(state.extension)
        self._pump()

    def _ring_expired(self, leg: str) -> None:
        state = self._legs.get(leg)
        if state is not None and not state.answered:
            self._release(state, Cause.NO_ANSWER)
            self._end(state, Cause.NO_ANSWER, Evidence("timer", detail="ring time"), by_far=False)

    def _stop_ringing(self, leg: str) -> None:
        timer = self._ring_timers.pop(leg, None)
        if timer is not None:
            timer.cancel()

    # --- what the audio tells (phones_audio.AudioOwner) ---------------------------------------------------------------

    def digit(self, state: PhoneLeg, digit: str, at: int) -> None:
        """A key arrived on the leg's port."""
        self._bus.publish(LegDigit(state.leg, at, digit))

    def audio_lost(self, state: PhoneLeg) -> None:
        """RTP has been silent for too long."""
        self._release(state, Cause.RTP_LOST)
        self._end(state, Cause.RTP_LOST, Evidence("silence", detail="no RTP"), by_far=False)

    def media_lost(self) -> None:
        """The media process was replaced: no port of ours exists any more."""
        for state in list(self._legs.values()):
            if state.port >= 0:
                self._release(state, Cause.MEDIA_LOST)
                self._end(state, Cause.MEDIA_LOST, Evidence("command", detail="media process lost"), by_far=False)

    # --- endpoint state -----------------------------------------------------------------------------------------------

    def state_of(self, extension: str) -> str:
        """"unregistered", "busy", "ringing" or "idle"."""
        legs = [state for state in self._legs.values() if state.extension == extension]
        if any(state.answered or not state.outgoing for state in legs):
            return "busy"
        if legs:
            return "ringing"
        return "idle" if self.endpoint.registrar.bindings(extension, self._clock.now()) else "unregistered"

    def _publish_state(self, extension: str) -> None:
        state = self.state_of(extension)
        if self._states.get(extension) == state or extension.startswith(GUEST):
            return
        self._states[extension] = state
        contacts = self.endpoint.registrar.bindings(extension, self._clock.now())
        detail = f"{contacts[0].flow.remote[0]}:{contacts[0].flow.remote[1]}/{contacts[0].flow.transport}" if contacts else ""
        self._bus.publish(EndpointState(extension, self._clock.now(), state, detail))

