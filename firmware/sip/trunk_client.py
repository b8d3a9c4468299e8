"""Registrations of ours at carriers, and whether trunks live (L1).

Theory of operation
-------------------
RFC 3261 section 10.2 (as a client), RFC 3608 (Service-Route), RFC 6140 (one registration for many numbers), RFC 5626 section 4.5
(back-off), OPTIONS as a sign of life. Each trunk is a small machine:

    locating -> registering -> registered -> registering ...      (kind registering)
        ^            |
        +-- waiting <+                                            (no way, refused, no answer)

A static trunk goes from locating to `ready`. A registration is refreshed at half of the time that was granted to *our* contact, or ten
minutes before its end where that is later; all times carry jitter of the random digits that are given from outside, so that many boxes
do not come back at once. A way (flow) that does not answer or answers 5xx gives way to the next; behind the last comes a pause that
doubles up to five minutes, or what Retry-After says. Refused credentials are a matter for people: pauses are long, so that the
account is not locked.
Over a connection that is lost the carrier cannot call us: it is registered anew within seconds. Over UDP empty datagrams keep routers
from forgetting the way back.
A trunk lives while its last OPTIONS was answered by anything but 408, 503 or silence; without OPTIONS, and at a registrar that has never
answered one, it is believed to live.
Invariants: one REGISTER and one OPTIONS of a trunk are under way at most; the registration outlives a refused refresh until its time
is over; every pause has a bound below and above; `Call-ID` stays the same and CSeq grows for the life of this object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import StrEnum

import msgspec

from firmware.sip.client_auth import DigestClient
from firmware.sip.dialog import via_value
from firmware.sip.errors import SyntaxProblem
from firmware.sip.flow import URI_PARAMETER, Address, Flow, Outgoing
from firmware.sip.headers import Headers
from firmware.sip.message import Request, Response
from firmware.sip.transaction import MAGIC, Transaction, TransactionLayer
from firmware.sip.uri import Uri, escape_user, join_host_port, parse_name_addr
from firmware.sip.validate import ALLOW

FIRST_PAUSE_MS = 5_000
LONGEST_PAUSE_MS = 300_000
REFUSED_PAUSE_MS = 120_000               # wrong password or forbidden: doubling, too
LONGEST_REFUSED_MS = 1_800_000
LONGEST_RETRY_AFTER_S = 3_600
REFRESH_MARGIN_S = 600
LEAST_GRANTED_S = 10
LONGEST_GRANTED_S = 86_400
QUALIFY_AGAIN_MS = 5_000                 # a lost OPTIONS is repeated so soon
MISSES = 2                               # OPTIONS without an answer that mean it is gone
MAX_SERVICE_ROUTES = 4
RECONNECT_MS = 4_000                     # after a lost connection, all boxes of a carrier not at once


class State(StrEnum):
    """Where a trunk stands."""

    LOCATING = "locating"
    REGISTERING = "registering"
    REGISTERED = "registered"
    WAITING = "waiting"
    READY = "ready"


class TrunkSpec(msgspec.Struct, frozen=True):
    """What the machine has to know of a trunk. `domain` is "host[:port]" as it stands in addresses."""

    name: str
    registers: bool
    domain: str
    user: str
    auth_user: str
    secret: str
    expires_s: int = 600
    route: str = ""                      # a Route value that is named in every request outside a dialog, "" for none
    qualify_s: int = 60
    bulk: bool = False                   # RFC 6140: one contact stands for all numbers

    @property
    def line(self) -> str:
        """Parameter of our contact that tells calls of this trunk: known to the carrier only, equal after a restart."""
        seed = f"{self.name}|{self.user}|{self.domain}|{self.auth_user}|{self.secret}"
        return hashlib.sha256(seed.encode("utf-8", "surrogateescape")).hexdigest()[:24]


class TrunkStatus(msgspec.Struct, frozen=True):
    """What is known of a trunk; instants are engine ms, -1 for never."""

    state: State
    alive: bool
    until: int = -1                      # end of the registration
    retry_at: int = -1                   # end of a pause
    status: int = 0                      # the last refusal (0: none; 408 is silence)
    reason: str = ""                     # its words: a reason phrase, or what failed
    round_trip_ms: int = -1
    server: str = ""


class TrunkClient:
    """One trunk. `host` gives time, transactions and random digits."""

    def __init__(self, host: TrunkClients, spec: TrunkSpec) -> None:
        self.host, self.spec = host, spec
        self.digest = DigestClient(spec.auth_user or spec.user, spec.secret, host.token)
        self.state = State.LOCATING
        self.flows: list[Flow] = []
        self.at = 0                                      # index of the flow in use
        self.until = -1
        self.retry_at = -1
        self.refresh_at = -1
        self.qualify_at = -1
        self.ping_at = -1
        self.status = 0
        self.reason = ""
        self.round_trip_ms = -1
        self.server = ""
        self.routes: tuple[str, ...] = ()
        self.register: Transaction | None = None
        self.options: Transaction | None = None
        self._asked: Request | None = None
        self._tried = 0
        self._expires_s = spec.expires_s
        self._pause_ms = 0
        self._misses = 0
        self._answers_options = False
        self._asked_at = 0
        self._call_id = host.token(24)
        self._options_id = host.token(24)
        self._cseq = 0
        self._leaving = False

    # --- what others ask ----------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return self._misses < MISSES

    @property
    def usable(self) -> bool:
        """Calls may be placed."""
        registered = not self.spec.registers or self.until > self.host.now
        return bool(self.flows) and registered and self.alive

    def tell(self) -> TrunkStatus:
        return TrunkStatus(self.state, self.alive, self.until if self.spec.registers else -1, self.retry_at, self.status, self.reason,
                           self.round_trip_ms, self.server)  # fmt: skip

    @property
    def flow(self) -> Flow | None:
        return self.flows[self.at] if self.flows else None

    def contact(self, flow: Flow) -> str:
        """Our contact at the carrier."""
        transport, where = URI_PARAMETER[flow.transport], join_host_port(*flow.local)
        if self.spec.bulk:
            return f"<sip:{where}{transport};bnc>"       # RFC 6140 section 5.2: no user part
        user = escape_user(self.spec.user)
        user = f"{user}@" if user else ""
        return f"<sip:{user}{where}{transport};line={self.spec.line}>"

    # --- steps --------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Look for the carrier."""
        self.state, self.retry_at = State.LOCATING, -1
        self.host.wanted.add(self.spec.name)

    def located(self, flows: list[Flow]) -> None:
        """Where the carrier is; nowhere is a failure like others."""
        if self.state is not State.LOCATING:
            return
        if not flows:
            self._pause("the domain has no address", 0, FIRST_PAUSE_MS, LONGEST_PAUSE_MS)
            return
        if flows != self.flows:
            self.flows, self.at = flows, 0
        if self.spec.registers:
            self._expires_s = self.spec.expires_s
            self._send_register()
        else:
            self.state = State.READY
            self.host.changed.add(self.spec.name)
            # A static peer may move: its name is looked up again with every round of its signs of life.
        if self.spec.qualify_s and self.qualify_at < 0:
            self.qualify_at = self.host.now + self.host.jitter(min(1000, self.spec.qualify_s * 500), 100)

    def leave(self) -> None:
        """Log out, where we are logged in; nothing is awaited."""
        flow = self.flow
        if self.spec.registers and flow is not None and self.until > self.host.now:
            self._leaving = True
            self._send(0, flow)
        self.refresh_at = self.qualify_at = self.retry_at = self.ping_at = -1

    def deadline(self) -> int | None:
        return min((at for at in (self.retry_at, self.refresh_at, self.qualify_at, self.ping_at) if at >= 0), default=None)

    def expire(self) -> None:
        now = self.host.now
        if 0 <= self.retry_at <= now:
            self.begin()
        if 0 <= self.refresh_at <= now:
            self.refresh_at = -1
            self._lapse()
            if self.state is State.REGISTERED:
                self._send_register()
        if 0 <= self.qualify_at <= now:
            self.qualify_at = -1
            self._send_options()
        if 0 <= self.ping_at <= now:
            self._ping()

    def connection_lost(self, transport: str, remote: Address) -> None:
        """The connection over which the carrier reaches us is gone (or, UDP, nobody is there): a new one, soon."""
        flow = self.flow
        if flow is not None and self.state is State.REGISTERED and (flow.transport, flow.remote) == (transport, remote):
            soon = self.host.now + self.host.jitter(RECONNECT_MS, 25)
            self.refresh_at = min(self.refresh_at, soon) if self.refresh_at >= 0 else soon

    def _ping(self) -> None:
        """Keep a router between us and the carrier from forgetting the way back (RFC 5626 section 4.4 in spirit)."""
        flow = self.flow
        self.ping_at = -1
        if flow is not None and self.until > self.host.now and self.host.keep_alive_ms and not flow.reliable:
            self.host.transactions.output.append(Outgoing(flow.transport, flow.remote, b"\r\n\r\n", flow.local))
            self.ping_at = self.host.now + self.host.keep_alive_ms

    def _lapse(self) -> None:
        if 0 <= self.until <= self.host.now:
            self.until = -1
            self.host.changed.add(self.spec.name)

    # --- REGISTER -----------------------------------------------------------------------------------------------------

    def _send_register(self) -> None:
        flow = self.flow
        if flow is None or self.register is not None:
            return
        self.state = State.REGISTERING
        self.retry_at = -1
        self._tried = 0
        self.host.changed.add(self.spec.name)
        self._send(self._expires_s, flow)

    def _request(self, method: str, uri: str, call_id: str, flow: Flow, number: int) -> Headers:
        headers = Headers()
        headers.add("Via", via_value(flow, MAGIC + self.host.token(16)))
        if self.spec.route:
            headers.add("Route", self.spec.route)
        headers.add("Max-Forwards", "70")
        user = escape_user(self.spec.user)
        own = f"<sip:{user}@{self.spec.domain}>" if user else f"<sip:{self.spec.domain}>"
        headers.add("From", f"{own};tag={self.host.token(12)}")
        headers.add("To", own if method == "REGISTER" else f"<{uri}>")
        headers.add("Call-ID", call_id)
        headers.add("CSeq", f"{number} {method}")
        return headers

    def _send(self, expires_s: int, flow: Flow, proof: tuple[tuple[str, str], ...] | None = None) -> None:
        self._cseq += 1
        uri = f"sip:{self.spec.domain}"
        headers = self._request("REGISTER", uri, self._call_id, flow, self._cseq)
        headers.add("Contact", self.contact(flow))
        headers.add("Expires", str(expires_s))
        headers.add("Supported", "path, gin" if self.spec.bulk else "path")
        if self.spec.bulk:
            headers.add("Require", "gin")
            headers.add("Proxy-Require", "gin")
        headers.add("Allow", ALLOW)
        headers.add("User-Agent", self.host.agent)
        for name, value in self.digest.credentials("REGISTER", uri) if proof is None else proof:
            headers.add(name, value)
        self._asked = Request("REGISTER", uri, headers)
        owner = None if self._leaving else self
        self.register = self.host.transactions.request(self._asked, flow, owner, self.host.now)

    def response(self, transaction: Transaction, response: Response) -> None:
        if transaction is self.options and response.status >= 200:
            self.options = None
            self._lives(response)
        elif transaction is self.register and response.status >= 200:
            self.register = None
            if response.status < 300:
                self._registered(response)
            else:
                self._refused(response)

    def unanswered(self, transaction: Transaction, why: str) -> None:
        """No answer at all: "timed-out" or "failed" (the transport)."""
        words = "no answer" if why == "timed-out" else "no connection"
        if transaction is self.options:
            self.options = None
            self._missed(words)
        elif transaction is self.register:
            self.register = None
            self._next_way(408 if why == "timed-out" else 503, words)

    def _registered(self, response: Response) -> None:
        now = self.host.now
        granted = self._granted(response)
        if granted < LEAST_GRANTED_S:
            self._pause("the carrier granted no time", response.status, FIRST_PAUSE_MS, LONGEST_PAUSE_MS)
            return
        self.state, self.status, self.reason, self._pause_ms = State.REGISTERED, 0, "", 0
        self.until = now + granted * 1000
        half = granted * 500
        late = (granted - REFRESH_MARGIN_S) * 1000
        self.refresh_at = now + self.host.jitter(max(half, late), 90)
        self.ping_at = now + self.host.keep_alive_ms if self.host.keep_alive_ms else -1
        self.server = response.headers.get("server") or response.headers.get("user-agent") or self.server
        self.routes = self._service_route(response)
        self.host.proved(self.flow)
        self.host.changed.add(self.spec.name)

    def _service_route(self, response: Response) -> tuple[str, ...]:
        try:
            return tuple(parse_name_addr(one).render() for one in response.headers.values("service-route")[:MAX_SERVICE_ROUTES])
        except SyntaxProblem:
            return ()

    def _granted(self, response: Response) -> int:
        """Seconds granted to our contact; contacts of others in the same answer do not count."""
        asked = self._expires_s
        general = _seconds(response.headers.get("expires"))
        try:
            contacts = [parse_name_addr(one) for one in response.headers.values("contact")]
        except SyntaxProblem:
            contacts = []
        flow = self.flow
        own_place = join_host_port(*flow.local) if flow is not None else ""
        mine = [one for one in contacts if self._is_ours(one.uri, own_place)]
        if not mine and len(contacts) == 1:
            mine = contacts                              # a registrar or NAT that rewrites contacts
        if contacts and not mine:
            return min(asked, general if general is not None else asked)
        own = _seconds((mine[0].param("expires") or "") if mine else "")
        found = own if own is not None else general if general is not None else asked
        return min(found, LONGEST_GRANTED_S)

    def _is_ours(self, uri: Uri, place: str) -> bool:
        if self.spec.bulk:
            return uri.param("bnc") is not None and uri.hostport == place
        return uri.param("line") == self.spec.line

    def _refused(self, response: Response) -> None:
        status, flow = response.status, self.flow
        if status in (401, 407) and flow is not None and self._asked is not None:
            proof = self.digest.answer(self._asked, response, self._tried)
            if proof:
                self._tried += 1
                self._send(self._expires_s, flow, proof)
                return
            self.digest.forget()
        if status == 423 and flow is not None:
            least = _seconds(response.headers.get("min-expires"))
            if least is not None and self._expires_s < least <= LONGEST_GRANTED_S:
                self._expires_s = least
                self._send(self._expires_s, flow)
                return
        after = _seconds(response.headers.get("retry-after").partition(";")[0].partition("(")[0])
        if after is not None and status in (404, 413, 480, 486, 500, 503, 600, 603):
            self._pause(response.reason, status, min(after, LONGEST_RETRY_AFTER_S) * 1000, LONGEST_RETRY_AFTER_S * 1000, exact=True)
        elif status >= 500 and status < 600:
            self._next_way(status, response.reason)
        else:
            self._pause(response.reason, status, REFUSED_PAUSE_MS, LONGEST_REFUSED_MS)

    def _next_way(self, status: int, words: str) -> None:
        """The next place of this carrier, or a pause."""
        if self.at + 1 < len(self.flows):
            self.at += 1
            self.status, self.reason = status, words
            self._send_register()
        else:
            self.at = 0
            self._pause(words, status, FIRST_PAUSE_MS, LONGEST_PAUSE_MS)

    def _pause(self, words: str, status: int, first_ms: int, most_ms: int, *, exact: bool = False) -> None:
        self.state, self.status, self.reason = State.WAITING, status, words
        self.refresh_at = -1
        self._pause_ms = first_ms if exact else min(max(first_ms, self._pause_ms * 2), most_ms)
        wait = first_ms + self.host.jitter(1000, 0) if exact else self.host.jitter(self._pause_ms, 50)
        self.retry_at = self.host.now + max(wait, 500)
        self.host.changed.add(self.spec.name)

    # --- OPTIONS ------------------------------------------------------------------------------------------------------

    def _send_options(self) -> None:
        flow = self.flow
        if flow is None or self.options is not None or not self.spec.qualify_s:
            return
        self._cseq += 1
        uri = f"sip:{self.spec.domain}"
        headers = self._request("OPTIONS", uri, self._options_id, flow, self._cseq)
        headers.add("Contact", self.contact(flow))
        headers.add("Accept", "application/sdp")
        headers.add("User-Agent", self.host.agent)
        self._asked_at = self.host.now
        self.options = self.host.transactions.request(Request("OPTIONS", uri, headers), flow, self, self.host.now)

    def _lives(self, response: Response) -> None:
        if response.status in (408, 503):
            self._missed(response.reason, response.status)
            return
        self._answers_options = True
        self.round_trip_ms = self.host.now - self._asked_at
        self.server = response.headers.get("server") or response.headers.get("user-agent") or self.server
        if self._misses:
            if not self.alive:
                self.host.changed.add(self.spec.name)
            self._misses = 0
            if not self.spec.registers:
                self.status, self.reason = 0, ""
        self.host.proved(self.flow)
        self.qualify_at = self.host.now + self.host.jitter(self.spec.qualify_s * 1000, 90)

    def _missed(self, words: str, status: int = 408) -> None:
        if self.spec.registers and not self._answers_options:
            # Some carriers pass over every OPTIONS; that they register us is sign enough.
            self.qualify_at = self.host.now + self.host.jitter(self.spec.qualify_s * 1000, 90)
            return
        self._misses += 1
        self.round_trip_ms = -1
        if self._misses >= MISSES:
            self.status, self.reason = status, words
            self.host.changed.add(self.spec.name)
            if self.at + 1 < len(self.flows):
                self.at += 1                             # another place may live
            else:
                self.at = 0
                if not self.spec.registers:
                    self.begin()                         # it may have moved
        self.qualify_at = self.host.now + self.host.jitter(QUALIFY_AGAIN_MS, 80)


class TrunkClients:
    """All trunks of an endpoint; `wanted` names those whose address is asked for, `changed` those with news, until drained."""

    def __init__(
        self, transactions: TransactionLayer, token: Callable[[int], str], proved: Callable[[Flow | None], None], agent: str
    ) -> None:
        self.transactions = transactions
        self.token = token
        self.proved = proved                             # a carrier answered over this flow
        self.agent = agent
        self.now = 0
        self.keep_alive_ms = 0                           # between empty datagrams to a registrar, 0: none
        self.trunks: dict[str, TrunkClient] = {}
        self.wanted: set[str] = set()
        self.changed: set[str] = set()

    def jitter(self, ms: int, least_percent: int) -> int:
        """A time between `least_percent` of `ms` and `ms`."""
        least = ms * least_percent // 100
        return least + (ms - least) * int(self.token(4), 16) // 0xFFFF

    def configure(self, specs: dict[str, TrunkSpec]) -> None:
        """Take over a configuration; a trunk that is as before goes on as it is."""
        for name in list(self.trunks):
            if specs.get(name) != self.trunks[name].spec:
                self.trunks.pop(name).leave()
                self.changed.add(name)
        for name, spec in specs.items():
            if name not in self.trunks:
                self.trunks[name] = TrunkClient(self, spec)
                self.trunks[name].begin()

    def located(self, name: str, flows: list[Flow]) -> None:
        """Where a trunk of `wanted` is, best first."""
        found = self.trunks.get(name)
        if found is not None:
            found.located(flows)

    def take_wanted(self) -> list[str]:
        """Drain the names whose address is asked for."""
        if not self.wanted:
            return []
        drained, self.wanted = sorted(self.wanted), set()
        return drained

    def take_changed(self) -> list[str]:
        """Drain the names with news."""
        if not self.changed:
            return []
        drained, self.changed = sorted(self.changed), set()
        return drained

    def deadline(self) -> int | None:
        """Engine ms at which `expire` is due, None for never."""
        if not self.trunks:
            return None
        return min((at for one in self.trunks.values() if (at := one.deadline()) is not None), default=None)

    def expire(self) -> None:
        """Run what is due."""
        for one in list(self.trunks.values()):
            due = one.deadline()
            if due is not None and due <= self.now:
                one.expire()

    def connection_lost(self, transport: str, remote: Address) -> None:
        """A connection ended, or a datagram found nobody."""
        for one in self.trunks.values():
            one.connection_lost(transport, remote)

    def usable(self, name: str) -> bool:
        """Whether calls may be placed over this trunk now."""
        found = self.trunks.get(name)
        return found is not None and found.usable


def _seconds(text: str) -> int | None:
    digits = text.strip()
    return min(int(digits), 2**31) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else None
