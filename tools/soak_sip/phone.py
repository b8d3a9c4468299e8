"""A telephone of the soak: a user agent of the same stack with digest, registration, calls, lamps, transfers, and bad habits.

It decides by the office's random numbers. Requests that the stack has no command for (REGISTER, SUBSCRIBE, REFER) go through its
transactions; NOTIFYs are answered before the endpoint sees them, as it is no watcher.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from firmware.sip import events as ev
from firmware.sip.client_auth import DigestClient
from firmware.sip.dialog import via_value
from firmware.sip.endpoint import Endpoint
from firmware.sip.flow import Address, Flow
from firmware.sip.headers import Headers
from firmware.sip.message import Request, Response, respond
from firmware.sip.offer import NotAcceptable, OfferAnswer
from firmware.sip.parse import parse_datagram
from firmware.sip.session_state import Phase
from firmware.sip.settings import Settings
from firmware.sip.transaction import MAGIC, Delivered, Ended

STILL_MS = 90_000                        # a refresh that meets the office at rest waits for its end
Then = Callable[[Response | None], None]


class World(Protocol):
    """What a telephone asks of the office."""

    now: int
    rng: Any
    pbx: Address
    touched: set[Address]
    frozen: bool

    def later(self, ms: float, fn: Callable[[], None]) -> None: ...
    def token(self, digits: int) -> str: ...
    def carry(self, source: Address, data: bytes) -> None: ...
    def count(self, what: str) -> None: ...
    def numbers(self) -> list[str]: ...
    def dead(self, port: int) -> None: ...


class _Ask:
    """A request of ours and who waits for its answer."""

    def __init__(self, request: Request, then: Then) -> None:
        self.request, self.then, self.tried = request, then, 0


class Phone:
    """One telephone; `reboot` makes it forget everything, as after a power cut."""

    def __init__(self, world: World, number: str, secret: str, address: Address) -> None:
        self.world, self.number, self.secret, self.address = world, number, secret, address
        self.quiet_until = 0                             # out of the network: hears and says nothing
        self.asleep = False                              # places no calls: the office comes to rest
        self.cseq = 0
        self.boots = 0
        self.reboot()

    def reboot(self) -> None:
        self.boots += 1
        self.endpoint = Endpoint(Settings(realm="soak"), {}, self.world.token, lambda request, flow: "pbx")
        self.digest = DigestClient(self.number, self.secret, self.world.token)
        self.endpoint.calls.proof = lambda account, request, response, tried: self.digest.answer(request, response, tried)
        self.endpoint.calls.others = self._delivered
        self.endpoint.calls._traces.open = lambda call: None      # type: ignore[method-assign]  # what telephones remember is not counted
        self.talks: dict[str, OfferAnswer] = {}
        self.flow = Flow("udp", self.world.pbx, self.address)
        self.registering = f"reg{self.number}.{self.boots}"
        self.watching: dict[str, tuple[str, str, str]] = {}      # resource -> call id, our tag, theirs
        boots = self.boots
        self.world.later(self.world.rng.uniform(10, 3000), lambda: self._alive(boots, self.register))
        self.world.later(self.world.rng.uniform(4000, 20_000), lambda: self._alive(boots, self.watch))
        self.world.later(self.world.rng.expovariate(1 / 300_000), lambda: self._alive(boots, self.pick_up_and_dial))

    def _alive(self, boots: int, fn: Callable[[], None]) -> None:
        if boots == self.boots:
            fn()
            self.pump()

    # --- the wire -----------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        if self.world.now < self.quiet_until:
            return
        if data.startswith(b"NOTIFY"):
            message = parse_datagram(data)
            if isinstance(message, Request):
                mine = any(told[0] == message.call_id for told in self.watching.values())
                known = mine or message.headers.get("event").startswith("refer")
                self.world.count("notify")
                self.world.carry(self.address, respond(message, 200 if known else 481, to_tag="w").render())
            return
        self.endpoint.receive(data, self.world.pbx, "udp", self.world.now, self.address)
        self.pump()

    def pump(self) -> None:
        self.world.touched.add(self.address)
        while True:
            events = self.endpoint.events()
            for outgoing in self.endpoint.output():
                if self.world.now >= self.quiet_until:
                    self.world.carry(self.address, outgoing.data)
            if not events:
                return
            for event in events:
                self.handle(event)

    def expire(self) -> None:
        self.endpoint.expire(self.world.now)
        self.pump()

    # --- requests of its own ------------------------------------------------------------------------------------------

    def request(self, method: str, user: str, call_id: str, tag: str, to_tag: str = "", **headers: str) -> Request:
        self.cseq += 1
        uri = f"sip:{user}@{self.world.pbx[0]}" if user else f"sip:{self.world.pbx[0]}"
        added = Headers()
        added.add("Via", via_value(self.flow, MAGIC + self.world.token(16)))
        added.add("Max-Forwards", "70")
        added.add("From", f"<sip:{self.number}@{self.world.pbx[0]}>;tag={tag}")
        to = f"<sip:{self.number if method == 'REGISTER' else user}@{self.world.pbx[0]}>"
        added.add("To", f"{to};tag={to_tag}" if to_tag else to)
        added.add("Call-ID", call_id)
        added.add("CSeq", f"{self.cseq} {method}")
        added.add("Contact", f"<sip:{self.number}@{self.address[0]}:{self.address[1]}>")
        for name, value in headers.items():
            added.add(name.replace("_", "-"), value)
        return Request(method, uri, added)

    def ask(self, request: Request, then: Then) -> None:
        for name, value in self.digest.credentials(request.method, request.uri):
            request.headers.add(name, value)
        self._send(_Ask(request, then))

    def _send(self, asked: _Ask) -> None:
        self.endpoint.transactions.request(asked.request, self.flow, asked, self.world.now)

    def _delivered(self, event: Delivered | Ended) -> None:
        asked = event.transaction.owner
        if not isinstance(asked, _Ask):
            return
        if isinstance(event, Ended):
            asked.then(None)
            return
        response = event.response
        if response.status < 200:
            return
        if response.status in (401, 407):
            headers = self.digest.answer(asked.request, response, asked.tried)
            if headers:
                self.cseq += 1
                kept = Headers((name, value) for key, name, value in asked.request.headers.items if not key.endswith("authorization"))
                kept.set("Via", via_value(self.flow, MAGIC + self.world.token(16)))
                kept.set("CSeq", f"{self.cseq} {asked.request.method}")
                for name, value in headers:
                    kept.add(name, value)
                asked.request, asked.tried = Request(asked.request.method, asked.request.uri, kept), asked.tried + 1
                self._send(asked)
                return
        asked.then(response)

    def register(self) -> None:
        seconds, boots = self.world.rng.choice((300, 600, 3600)), self.boots
        if self.world.frozen:
            self.world.later(STILL_MS, lambda: self._alive(boots, self.register))
            return

        def done(response: Response | None) -> None:
            well = response is not None and response.status == 200
            self.world.count("registered" if well else "register-failed")
            wait = seconds * 500 if well else 20_000
            self.world.later(wait, lambda: self._alive(boots, self.register))

        self.ask(self.request("REGISTER", "", self.registering, "r", Expires=str(seconds)), done)

    def watch(self) -> None:
        """Subscribe to some lamps, one presence and the messages; refreshed for ever."""
        others = [self.world.rng.choice(self.world.numbers()) for _ in range(5)]
        for resource, event in [*((one, "dialog") for one in others[:4]), (others[4], "presence"), (self.number, "message-summary")]:
            self._subscribe(resource, event)

    def _subscribe(self, resource: str, event: str) -> None:
        key, boots = f"{event}/{resource}", self.boots
        if self.world.frozen:
            self.world.later(STILL_MS, lambda: self._alive(boots, lambda: self._subscribe(resource, event)))
            return
        call_id, ours, theirs = self.watching.get(key) or (f"sub{self.number}.{boots}.{self.world.token(8)}", self.world.token(8), "")
        self.watching[key] = (call_id, ours, theirs)

        def done(response: Response | None) -> None:
            well = response is not None and response.status == 200
            self.world.count("subscribed" if well else "subscribe-failed")
            if well and response is not None:
                self.watching[key] = (call_id, ours, response.to.tag)
            else:
                self.watching.pop(key, None)
            self.world.later(600_000 if well else 60_000, lambda: self._alive(boots, lambda: self._subscribe(resource, event)))

        self.ask(self.request("SUBSCRIBE", resource, call_id, ours, theirs, Event=event, Expires="1200"), done)

    # --- calls --------------------------------------------------------------------------------------------------------

    def pick_up_and_dial(self) -> None:
        """Call somebody, and come back for the next call."""
        boots, rng = self.boots, self.world.rng
        self.world.later(rng.expovariate(1 / 400_000), lambda: self._alive(boots, self.pick_up_and_dial))
        if self.asleep or self.talks or self.world.now < self.quiet_until:
            return
        others = [one for one in self.world.numbers() if one != self.number]
        number = rng.choices([rng.choice(others), "*43", "*8", "**" + rng.choice(others), "999999"], [80, 6, 6, 4, 4])[0]
        call = self.world.token(16)
        negotiation = self.talks[call] = OfferAnswer(self.address[0], 4000, "77")
        self.world.count("calls")
        target, offer = f"sip:{number}@{self.world.pbx[0]}", negotiation.offer()
        self.endpoint.send(ev.PlaceCall(call, target, self.flow, offer, account=self.number, number=self.number), self.world.now)
        if rng.random() < 0.15:
            self.world.later(rng.uniform(200, 6000), lambda: self._alive(boots, lambda: self._give_up(call)))

    def _give_up(self, call: str) -> None:
        if self.endpoint.calls.phase(call) is Phase.CALLING:
            self.world.count("given-up")
            self.endpoint.send(ev.EndCall(call), self.world.now)

    def handle(self, event: ev.Event) -> None:
        boots, rng, now = self.boots, self.world.rng, self.world.now
        match event:
            case ev.IncomingCall():
                self._offered(event)
            case ev.CallAnswered(call=call) if call in self.talks:
                self._accept(call, event.answer)
                self.world.count("answered")
                self.world.later(rng.expovariate(1 / 60_000), lambda: self._alive(boots, lambda: self._hang_up(call)))
                self._habits(call)
            case ev.CallConfirmed(call=call):
                self._habits(call)
            case ev.CallEnded(call=call):
                self.talks.pop(call, None)
            case ev.Reoffered(call=call, offer=offer):
                negotiation = self.talks.get(call)
                if negotiation is not None and offer is not None:
                    self.endpoint.send(ev.AnswerOffer(call, negotiation.receive_offer(offer)), now)
                elif negotiation is not None:
                    self.endpoint.send(ev.AnswerOffer(call, negotiation.offer()), now)
            case ev.OfferAnswered(call=call) if call in self.talks:
                self._accept(call, event.answer)
            case _:
                pass

    def _accept(self, call: str, answer: Any) -> None:
        if answer is not None:
            try:
                self.talks[call].receive_answer(answer)
            except NotAcceptable:
                self.world.count("bad-answers")

    def _offered(self, event: ev.IncomingCall) -> None:
        boots, rng, now = self.boots, self.world.rng, self.world.now
        mood = rng.random()
        if self.talks or mood < 0.10:
            self.endpoint.send(ev.RefuseCall(event.call, 486), now)
        elif mood < 0.14:
            self.endpoint.send(ev.RefuseCall(event.call, 603), now)
        else:
            self.endpoint.send(ev.RingCall(event.call), now)
            if mood < 0.85:
                self.world.later(rng.uniform(300, 9000), lambda: self._alive(boots, lambda: self._answer(event)))

    def _answer(self, event: ev.IncomingCall) -> None:
        if self.endpoint.calls.phase(event.call) is not Phase.OFFERED or event.offer is None:
            return
        negotiation = OfferAnswer(self.address[0], 4000, "78")
        try:
            description = negotiation.receive_offer(event.offer)
        except NotAcceptable:
            self.endpoint.send(ev.RefuseCall(event.call, 488), self.world.now)
            return
        self.talks[event.call] = negotiation
        self.endpoint.send(ev.AnswerCall(event.call, description), self.world.now)

    def _hang_up(self, call: str) -> None:
        if self.endpoint.calls.phase(call) is Phase.CONFIRMED:
            self.endpoint.send(ev.EndCall(call), self.world.now)

    def hang_up_all(self) -> None:
        """End what can be ended."""
        for call in list(self.talks):
            self._hang_up(call)
            self._give_up(call)
        self.pump()

    def _habits(self, call: str) -> None:
        """Hold and resume, keys, a transfer, a power cut."""
        boots, rng = self.boots, self.world.rng
        whim = rng.random()
        at = rng.uniform(500, 20_000)
        if whim < 0.2:
            self.world.later(at, lambda: self._alive(boots, lambda: self._hold(call, True)))
            self.world.later(at + 8000, lambda: self._alive(boots, lambda: self._hold(call, False)))
        elif whim < 0.3:
            self.world.later(at, lambda: self._alive(boots, lambda: self._keys(call)))
        elif whim < 0.4:
            self.world.later(at, lambda: self._alive(boots, lambda: self._transfer(call)))
        elif whim < 0.42:
            self.world.later(at, lambda: self._alive(boots, self._power_cut))
        elif whim < 0.44:
            self.world.later(at, lambda: self._alive(boots, self._out_of_reach))

    def _hold(self, call: str, on: bool) -> None:
        session = self.endpoint.calls._sessions.get(call)
        negotiation = self.talks.get(call)
        if session is None or negotiation is None or session.phase is not Phase.CONFIRMED or session.offers.busy:
            return
        negotiation.hold = on
        self.world.count("held" if on else "resumed")
        self.endpoint.send(ev.OfferAgain(call, negotiation.offer()), self.world.now)

    def _keys(self, call: str) -> None:
        if self.endpoint.calls.phase(call) is Phase.CONFIRMED:
            self.world.count("info")
            self.endpoint.send(ev.SendInfo(call, "123"), self.world.now)

    def _transfer(self, call: str) -> None:
        session = self.endpoint.calls._sessions.get(call)
        if session is None or session.phase is not Phase.CONFIRMED or session.state.dialog is None:
            return
        self.world.count("transfers")
        refer = session.state.dialog.request("REFER", MAGIC + self.world.token(16), contact=session.contact(self.flow))
        refer.headers.add("Refer-To", f"<sip:{self.world.rng.choice(self.world.numbers())}@{self.world.pbx[0]}>")
        self._send(_Ask(refer, lambda response: None))

    def _power_cut(self) -> None:
        self.world.count("power-cuts")
        self.world.dead(self.address[1])
        self.reboot()

    def _out_of_reach(self) -> None:
        self.world.count("out-of-reach")
        self.world.dead(self.address[1])
        self.quiet_until = self.world.now + int(self.world.rng.uniform(5_000, 120_000))
