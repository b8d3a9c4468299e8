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
from functools import partial
from typing import Any

import msgspec

from firmware.call.model import (
    Alert,
    Cause,
    Evidence,
    LegAnswered,
    LegDigit,
    LegEnded,
    LegProgress,
    Party,
    is_trunk,
)
from firmware.config.schema.tree import Config
from firmware.core.phones_audio import PhonesAudio
from firmware.core.phones_causes import ALERT_INFO, reason_header, refusal_status
from firmware.core.phones_events import PhoneEvents
from firmware.core.phones_guests import GUEST, EmergencyGuests
from firmware.core.phones_ledger import KeptRegistrations, Ledger
from firmware.core.phones_leg import LegIds, PhoneLeg, PhoneMedia, StoredLeg, accounts, codec_order, suited_order
from firmware.core.phones_secure import next_offer, provide_keys, renew, speech_policy, speech_shown, without_keys
from firmware.core.phones_shown import party_headers, referred_by, secret_codes, way_of_keys
from firmware.core.phones_table import PhoneLegs
from firmware.core.phones_trunks import TrunkLegs
from firmware.core.phones_vault import KeyVault
from firmware.core.reach import Reach
from firmware.core.trunks import Trunks
from firmware.errors import EngineBusy
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer
from firmware.sip import events as ev
from firmware.sip.check_sync import check_sync
from firmware.sip.endpoint import Endpoint
from firmware.sip.flow import Address, Flow, Outgoing
from firmware.sip.guard import SourceGuard
from firmware.sip.message import Request
from firmware.sip.offer import NotAcceptable, OfferAnswer
from firmware.sip.registrar import Binding, next_contact
from firmware.sip.sdp import Description
from firmware.sip.session_state import Phase
from firmware.sip.settings import Settings
from firmware.sip.subscriptions import Source
from firmware.sip.trace import TraceLine
from firmware.sip.uri import join_host_port

log = logging.getLogger("branchpbx.phones")
#: Registrations are kept so long after a change: all of them are written, and after a power cut hundreds come in a second.
KEEP_MS = 300
#: Shorter waits in the kernel are the scheduling of a busy machine.
NOTICED_WAIT_MS = 30
#: A phone that can be reached in several ways answers 100 on one that works before this.
WAY_MS = 2000


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
        vault: KeyVault | None = None,
        keep_ms: int = KEEP_MS,
        reach: Reach | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.config = config
        self._clock = clock
        self._bus = bus
        self._token = token
        self._transmit = transmit
        self._told = reach.told if reach is not None else lambda remote, local: local
        self._keep_watchers: Callable[[bytes], None] = lambda data: None
        sip = config.sip
        if config.lab.open:
            log.warning("the lab switch is on: simple passwords are accepted, and this box must not serve a branch")
        self.guard = SourceGuard()
        self.endpoint = Endpoint(
            Settings(
                realm=sip.realm,
                registration_min_s=sip.registration_min_s,
                keep_alive_s=sip.keep_alive_s,
                registration_max_s=max(sip.registration_max_s, sip.registration_min_s),
            ),
            accounts(config, secrets),
            token,
            self._identify,
            self.guard,
        )
        self._kept = KeptRegistrations(self.endpoint, clock, keep_registrations, keep_ms, ledger)
        self._guests = EmergencyGuests(config, lambda user: self.endpoint.registrar.bindings(user, self._clock.now()), self._endpoints)
        self._timer: Timer | None = None
        self._timer_at: int | None = None
        self._pumping = False
        self._waited = 0
        self._audio = PhonesAudio(media, clock, self, lambda: self.config.rtp.silence_timeout_s * 1000, vault)
        self.endpoint.calls.another = self._another_offer
        self.endpoint.calls.veil(secret_codes(config))
        self._table = PhoneLegs(self.endpoint, self._audio, clock, bus, lambda: self._waited, self._pump)
        self._events = PhoneEvents(self._table, ids, lambda: self.config, self._begun, lambda: self._waited)
        self.trunks = Trunks(
            config=config, endpoint=self.endpoint, reach=reach, clock=clock, bus=bus,
            live=lambda endpoint: self._endpoints().count(endpoint), pump=self._pump,
        )  # fmt: skip
        self._trunk_legs = TrunkLegs(self.trunks, self._table, self._audio, token, partial(self._negotiation, calling=True))
        self._events.trunks = self._trunk_legs
        self._table.trunk = self.trunks.publish

    def _identify(self, request: Request, flow: Flow) -> str:
        lab = self.config.lab
        return self.trunks.identify(request, flow) or self._guests.identify(request, flow) or (lab.guests if lab.open else "")

    def _endpoints(self) -> list[str]:
        return [leg.extension for leg in self._table.legs.values()]

    # --- transports ---------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, source: Address, transport: str, local: Address, waited_ms: int = 0) -> None:
        """Bytes from a transport; `local` is the address they arrived at, `waited_ms` how long they lay in the kernel.

        What waited is what a telephone did while this process was away: its end or key happened then, not now.
        """
        self._waited = waited_ms if waited_ms >= NOTICED_WAIT_MS else 0
        try:
            self.endpoint.receive(data, source, transport, self._clock.now(), self._told(source[0], local))
            self._pump()
            for event in self.guard.events():
                log.warning("SIP source %s: %s %s", event.what, event.subject, event.detail)
        finally:
            self._waited = 0

    def connection_made(self, transport: str, remote: Address) -> None:
        """A stream connection exists."""
        self.endpoint.connection_made(transport, remote)

    def connection_lost(self, transport: str, remote: Address) -> None:
        """A stream connection ended or could not be made, or (UDP) the network says that nobody is there."""
        self.endpoint.connection_lost(transport, remote, self._clock.now())
        self._pump()

    def start(self) -> None:
        """Publish the state of every extension."""
        self._audio.web.learn()
        self._publish_all()

    def _publish_all(self) -> None:
        for number in accounts(self.config, {}):
            self._table.publish_state(number)

    def configure(self, config: Config, secrets: Mapping[str, str]) -> None:
        """Take a new configuration; calls go on, accounts that are gone lose their registration."""
        self.config = config
        self._guests.configure(config)
        self.endpoint.calls.veil(secret_codes(config))
        self.trunks.configure(config)
        self.endpoint.set_secrets(accounts(config, secrets), self._clock.now())
        self._pump()
        self._publish_all()

    # --- LegDriver ----------------------------------------------------------------------------------------------------

    def partners(self, leg: str, others: Sequence[str]) -> None:
        """Say before `originate` or `answer` which other legs are in the contact, so that the codec suits them."""
        self._table.partners[leg] = list(others)

    def _order(self, leg: str) -> tuple[str, ...]:
        others, state = self._table.partners.pop(leg, []), self._table.legs.get(leg)
        trunk = state is not None and is_trunk(state.extension)
        known = self.trunks.codecs(state.extension) if state is not None and trunk else codec_order(self.config)
        return suited_order(known, [self._table.legs.get(other) for other in others])

    def originate(self, leg: str, endpoint: str, *, number: str, caller: Party, alert: Alert, ring_ms: int) -> None:
        """Ring all contacts of extension `endpoint`, or call `number` over a trunk."""
        if is_trunk(endpoint):
            if leg not in self._table.legs:
                others = self._table.partners.pop(leg, [])
                self._trunk_legs.originate(leg, endpoint, number=number, caller=caller, alert=alert, ring_ms=ring_ms, others=others)
                self._pump()
            return
        now, order = self._clock.now(), self._order(leg)
        guest = endpoint.startswith(GUEST)
        detail = "not registered"
        targets = [[one] for one in self._guests.binding(endpoint, now)] if guest else self.endpoint.registrar.targets(endpoint, now)
        if leg in self._table.legs:
            return
        asked: list[tuple[Binding, list[Binding], OfferAnswer]] = []
        for binding, *ways in targets:
            # Further ways to the same phone (RFC 5626), tried where this one is broken.
            further = [one for one in ways if one.path == binding.path]
            try:
                asked.append((binding, further, self._negotiation(endpoint, binding.flow, order, calling=True)))
            except NotAcceptable as problem:
                detail = problem.what
        if not asked:
            self._bus.publish(LegEnded(leg, now, Cause.UNREACHABLE, Evidence("sip-480", detail=detail), False))
            return
        state = PhoneLeg(leg, endpoint, True, [], asked[0][2], ring_until=now + ring_ms)
        try:
            self._audio.allocate(state)
        except EngineBusy as problem:
            log.warning("leg %s: no RTP port for extension %s: %s", leg, endpoint, problem)
            self._bus.publish(LegEnded(leg, now, Cause.CONGESTION, Evidence("command", detail="no RTP port"), False))
            return
        self._table.legs[leg] = state
        self._table.ring_until(state, state.ring_until)
        display, shown = (caller.name, caller.number) if not caller.reason else ("Anonymous", "")
        for binding, further, negotiation in asked:
            domain = join_host_port(*binding.flow.local)
            headers = (*ALERT_INFO[alert], *party_headers(caller, domain), *referred_by(caller, domain))
            negotiation.port = state.local_port
            call = self._token(16)
            state.asked[call] = negotiation
            state.calls.append(call)
            self._table.calls[call] = leg
            uri, routes = next_contact(binding)
            self.endpoint.send(
                ev.PlaceCall(call, uri, binding.flow, negotiation.offer(), account=endpoint, number=shown, display=display,
                             symmetric=binding.symmetric, route_set=routes, headers=headers,
                             further=tuple(one.flow for one in further), further_uris=tuple(one.uri for one in further),
                             patience_ms=WAY_MS if further else 0),
                now,
            )  # fmt: skip
        self._table.publish_state(endpoint)
        self._pump()

    def progress(self, leg: str) -> None:
        """Send 180 to a phone that calls us."""
        state = self._table.legs.get(leg)
        if state is not None and not state.outgoing and not state.answered:
            self._send(ev.RingCall(state.calls[0]))

    def answer(self, leg: str) -> None:
        """Answer a phone that calls us and open its audio."""
        state = self._table.legs.get(leg)
        if state is None or state.outgoing or state.answered:
            return
        description = self._describe(state)
        if description is None:
            return
        state.answered = True
        self._send(ev.AnswerCall(state.calls[0], description))
        if leg in self._table.legs and not state.late:
            self._bus.publish(LegAnswered(leg, self._clock.now(), state.port, Evidence("sip-200")))
            self._table.publish_state(state.extension)

    def early(self, leg: str) -> None:
        """Let a phone that calls us hear the far end before the answer (183); one that has not offered anything is answered."""
        state = self._table.legs.get(leg)
        if state is None or state.outgoing or state.answered or state.opened:
            return
        if self._table.offers.get(leg) is None:
            self.answer(leg)
            return
        description = self._describe(state)
        if description is None:
            return
        self._send(ev.RingCall(state.calls[0], description))
        if leg in self._table.legs:
            self._bus.publish(LegProgress(leg, self._clock.now(), state.port))

    def _describe(self, state: PhoneLeg) -> Description | None:
        """Our answer to a caller's offer, its port opened, or an offer where it made none; None: the call was refused and is over."""
        negotiation, call = state.negotiation, state.calls[0]
        path = negotiation.path
        if state.opened and path is not None and (not path.suite or path.keys is not None):
            return negotiation.last                  # told before, as early audio
        try:
            if state.port < 0:
                self._audio.allocate(state)
            negotiation.port = state.local_port
            negotiation.preference = self._order(state.leg)
            offer = self._table.offers.pop(state.leg, None)
            description = negotiation.offer() if offer is None else negotiation.receive_offer(offer)
        except EngineBusy as problem:
            log.warning("leg %s: no RTP port: %s", state.leg, problem)
            self._send(ev.RefuseCall(call, 503))
            self._table.end(state, Cause.CONGESTION, Evidence("command", detail="no RTP port"), by_far=False)
            return None
        except NotAcceptable as problem:             # adopted before its answer: what the peer offered to encrypt with is not kept
            self._send(ev.RefuseCall(call, 488))
            self._table.end(state, Cause.SYSTEM, Evidence("sip-488", detail=problem.what), by_far=False)
            return None
        state.late = offer is None
        if not state.late:
            self._audio.apply(state)
        return description

    def hang_up(self, leg: str, cause: Cause) -> None:
        """End the leg: BYE, CANCEL or the refusal that fits the cause."""
        state = self._table.legs.get(leg)
        if state is None:
            return
        self._table.release(state, cause)
        self._table.end(state, cause, Evidence("command"), by_far=False)

    def send_digits(self, leg: str, digits: str) -> None:
        """Send keys: RFC 4733, SIP INFO or tones, as the telephone takes them (`extensions.N.dtmf`)."""
        state = self._table.legs.get(leg)
        if state is None or not digits or not state.calls:
            return
        extension = self.config.extensions.get(state.extension)
        setting = extension.dtmf if extension is not None else "auto"
        if way_of_keys(setting, state.negotiation.path, self.endpoint.calls.takes_info(state.calls[0])) == "info":
            self._send(ev.SendInfo(state.calls[0], digits))
        else:
            self._audio.send_digits(state, digits)

    def hide_keys(self, leg: str, on: bool) -> None:
        """Nothing to do: traces of SIP never hold keys (`sip/trace.py`)."""

    def give_back(self, leg: str, other: str) -> None:
        """Ask a carrier to join two calls of its trunk itself, or to take `leg` back for the number that `other` will be dialled for."""
        self._trunk_legs.give_back(leg, other)
        self._pump()

    def introduce(self, leg: str, party: Party) -> None:
        """Tell a telephone in conversation with whom it speaks from now on."""
        state = self._table.legs.get(leg)
        if state is not None and state.answered and not is_trunk(state.extension):
            headers = party_headers(party, join_host_port(state.negotiation.address, self._port(state)))
            if headers:
                self._send(ev.Identify(state.calls[0], headers))

    def _port(self, state: PhoneLeg) -> int:
        """Our SIP port as this telephone knows it."""
        flow = self.endpoint.calls.flow_of(state.calls[0])
        return flow.local[1] if flow is not None else 5060

    def snapshot(self) -> dict[str, bytes]:
        """Journal form of each live leg."""
        return {leg: self.snapshot_leg(leg) for leg in self._table.legs}

    def snapshot_leg(self, leg: str) -> bytes:
        """Journal form of one leg, b"" when it is unknown."""
        state = self._table.legs.get(leg)
        if state is None:
            return b""
        sessions = {call: data for call in state.calls if (data := self.endpoint.snapshot(call))}
        return msgspec.msgpack.encode(StoredLeg(without_keys(state), sessions))

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
        usable = taken.leg == leg and bool(alive) and leg not in self._table.legs
        if taken.opened:
            stands = any(phases[call] in (Phase.CONFIRMED, Phase.ACCEPTED) for call in alive)
            usable = usable and port == taken.port and (stands or not taken.answered)       # not answered: early audio
        elif taken.outgoing and port >= 0:
            usable = usable and port == taken.port
        if not usable:
            for call in alive:
                self._send(ev.EndCall(call, reason_header(Cause.SYSTEM)))
            return False
        taken.calls = alive
        self._table.legs[leg] = taken
        for call in alive:
            self._table.calls[call] = leg
        offer = renew(taken, self._audio.recall(taken), self._token)
        if offer is not None:
            for call in alive:
                self.endpoint.describe(call, offer)
        self._audio.adopt(taken)
        if taken.outgoing and not taken.answered:
            self._table.ring_until(taken, max(taken.ring_until, now))
        elif not taken.outgoing and not taken.answered:
            self._table.offers[leg] = taken.negotiation.remote
        self._table.publish_state(taken.extension)
        self._pump()
        return True

    def referred(self, token: str, cause: Cause | None) -> None:
        """What a transfer by a telephone's own key (`LegReferred`) has come to."""
        self._send(ev.ReportReferral("", token, 200 if cause is None else refusal_status(cause)))

    # --- watchers -----------------------------------------------------------------------------------------------------

    def watched(self, source: Source) -> None:
        """Say who knows what telephones watch (lamps, messages)."""
        self.endpoint.subscriptions.source = source

    def tell_watchers(self, package: str) -> None:
        """What is watched by this event package may have changed."""
        self.endpoint.watch(package, self._clock.now())
        self._pump()

    def keep_watchers(self, keep: Callable[[bytes], None], stored: bytes, shift_ms: int) -> None:
        """Go on with the watchers of an earlier process; `keep` is called with the bytes at every change."""
        self.endpoint.restore_watchers(stored, shift_ms, self._clock.now())
        self._keep_watchers = keep
        self._pump()

    # --- registrations ------------------------------------------------------------------------------------------------

    def registrations(self) -> bytes:
        """All bindings, for `restore_registrations`."""
        return self.endpoint.registrations()

    def keep_registrations(self) -> None:
        """Have the bindings kept on disk now."""
        self._kept.now()

    def registrations_complete(self) -> None:
        """All stored registrations were given to `restore_registrations`."""
        self._kept.complete()

    def restore_registrations(self, data: bytes) -> None:
        """Take over the bindings of an earlier process, so that phones need not register again."""
        self.endpoint.restore_registrations(data, self._clock.now())
        self._pump()
        self._publish_all()

    def contacts(self, extension: str) -> list[dict[str, Any]]:
        """What `show phones` tells of an extension: contact, address, transport, agent, seconds left, whether speech is encrypted."""
        now = self._clock.now()
        entry = self.config.extensions.get(extension)
        setting = entry.srtp if entry is not None else "offer"
        legs = self._table.legs.of(extension)
        return [
            {"contact": binding.uri, "address": join_host_port(*binding.flow.remote), "transport": binding.flow.transport,
             "agent": binding.user_agent, "expires_s": max(0, (binding.expires_at - now) // 1000),
             "speech": speech_shown(setting, binding.flow.transport, lab=self.config.lab.open, legs=legs)}
            for binding in self.endpoint.registrar.bindings(extension, now)
        ]  # fmt: skip

    def places(self) -> list[str]:
        """Addresses that telephones are registered from."""
        registrar, now = self.endpoint.registrar, self._clock.now()
        return [binding.flow.remote[0] for user in registrar.users() for binding in registrar.bindings(user, now)]

    def endpoint_of(self, leg: str) -> str:
        """The extension or trunk of a live leg, "" for any other."""
        state = self._table.legs.get(leg)
        return state.extension if state is not None else ""

    def trace(self, leg: str) -> list[TraceLine]:
        """SIP messages of a leg in order of time, also shortly after its end."""
        return sorted((line for call in self._table.traced(leg) for line in self.endpoint.trace(call)), key=lambda line: line.at)

    def check_sync(self, extension: str) -> list[str]:
        """Ask what is registered as `extension` to fetch its settings again; the contacts asked."""
        endpoint = self.endpoint
        asked = check_sync(endpoint.registrar, endpoint.transactions, self._token, extension, self._clock.now())
        self._pump()
        return asked

    # --- the endpoint -------------------------------------------------------------------------------------------------

    def _send(self, command: ev.Command) -> None:
        self.endpoint.send(command, self._clock.now())
        self._pump()

    def _pump(self) -> None:
        """Handle events until there are none, transmit, set the timer. Handlers may come back here: the outer call goes on.

        What they give to be sent is sent at once: the called telephone rings while the call is still written down.
        """
        if self._pumping:
            self._send_out()
            return
        self._pumping = True
        try:
            while True:
                events = self.endpoint.events()
                self._send_out()
                if not events and not self.trunks.attend():
                    break
                for event in events:
                    try:
                        self._handle(event)
                    except Exception:
                        log.exception("SIP event %s failed", type(event).__name__)
        finally:
            self._pumping = False
        if self.endpoint.subscriptions.changed:
            self._keep_watchers(self.endpoint.subscriptions.snapshot())
        at = self.endpoint.deadline()
        if at != self._timer_at or (self._timer is None and at is not None):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._clock.call_at(at, self._expire) if at is not None else None

    def _send_out(self) -> None:
        endpoint = self.endpoint
        if endpoint.registrar.touched:
            self._kept.ahead()                       # before the answers
        if endpoint.transactions.output:             # asked twenty times a call, most of them in vain
            for outgoing in endpoint.output():
                self._transmit(outgoing)

    def _expire(self) -> None:
        self._timer = self._timer_at = None
        self.endpoint.expire(self._clock.now())
        self._pump()

    def _handle(self, event: ev.Event) -> None:
        match event:
            case ev.Registered(account=account):
                self._table.publish_state(account)
            case ev.Unregistered(account=account):
                self._table.publish_state(account)
            case ev.IncomingCall():
                self._events.incoming(event)
            case ev.AuthenticationFailed():
                log.warning("wrong credentials for %s from %s", event.method, event.source)
            case ev.OptionsPing():
                pass
            case _:
                call = getattr(event, "call", "")
                state = self._table.by_call(call)
                if state is not None:
                    self._events.call_event(state, call, event)

    def _negotiation(self, account: str, flow: Flow, order: tuple[str, ...], *, calling: bool = False, called: str = "") -> OfferAnswer:
        """Raises NotAcceptable where the account's speech must be encrypted and cannot be."""
        extension = self.config.extensions.get(account)
        setting = extension.srtp if extension is not None else self.trunks.srtp(account) if is_trunk(account) else "offer"
        if setting == "required" and called and self._guests.emergency(called):
            setting = "offer"                        # never refused for want of encryption
        policy = speech_policy(setting, flow.transport, lab=self.config.lab.open, calling=calling)
        begun = provide_keys(OfferAnswer(flow.local[0], 0, str(int(self._token(12), 16)), order), policy, self._token)
        begun.events = extension is None or extension.dtmf != "inband"
        return self._audio.web.provide(begun, setting, flow, self._token, calling=calling)

    def _another_offer(self, call: str) -> Description | None:
        state = self._table.by_call(call)
        negotiation = state.asked.get(call) if state is not None else None
        return next_offer(negotiation) if negotiation is not None else None

    def _begun(self, event: ev.IncomingCall, order: tuple[str, ...]) -> OfferAnswer:
        return self._negotiation(event.account, event.flow, order, called=event.called)

    # --- what the audio tells (phones_audio.AudioOwner) ---------------------------------------------------------------

    def digit(self, state: PhoneLeg, digit: str, at: int) -> None:
        """A key arrived on the leg's port."""
        self._bus.publish(LegDigit(state.leg, at, digit))

    def audio_lost(self, state: PhoneLeg) -> None:
        """RTP has been silent for too long."""
        self._table.release(state, Cause.RTP_LOST)
        self._table.end(state, Cause.RTP_LOST, Evidence("silence", detail="no RTP"), by_far=False)

    def check(self, state: PhoneLeg) -> None:
        """A phone holds the call for long."""
        if self._table.legs.get(state.leg) is state and state.calls:
            self._send(ev.CheckPeer(state.calls[0]))

    def audio_refused(self, state: PhoneLeg, why: str) -> None:
        """There will be no encrypted audio: the far end is not who it said, or media cannot."""
        if self._table.legs.get(state.leg) is state:
            self._table.release(state, Cause.SYSTEM)
            self._table.end(state, Cause.SYSTEM, Evidence("dtls", detail=why[:80]), by_far=False)

    def media_lost(self) -> None:
        """The media process was replaced: no port of ours exists any more."""
        for state in list(self._table.legs.values()):
            if state.port >= 0:
                self._table.release(state, Cause.MEDIA_LOST)
                self._table.end(state, Cause.MEDIA_LOST, Evidence("command", detail="media process lost"), by_far=False)

    def state_of(self, extension: str) -> str:
        """"unregistered", "busy", "ringing" or "idle"."""
        return self._table.state_of(extension)
