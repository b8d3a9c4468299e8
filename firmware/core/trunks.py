"""SIP trunks as ways out and in: where they are, who calls over them, what is shown, how many calls (L5).

Theory of operation
-------------------
A trunk's legs are legs of `Phones` (endpoint "trunk/NAME"): the same sessions, negotiation and audio. What is particular to a carrier
is here: `outward` turns a number and a caller into the INVITE that this carrier wants (its domain in the Request-URI, whatever
address it is sent to), `identify` says whether an INVITE belongs to a trunk, `inward` who calls and which number was dialled. The
registrations run in the endpoint (`sip/trunk_client.py`); `attend` is called after each round of it, finds addresses (`Reach`) and
tells the floor and the alarms what has changed. A trunk that failed a call is set aside for a while, or as long as Retry-After says.

An INVITE belongs to a trunk by the secret line parameter of our registered contact (which only the registrar is told); else by the
very address and port it comes from; over a connection, or from `accept_from`, by the address. A telephone of ours that is
registered from there stays a telephone.
Invariants: nothing of an inner leg but the called number, and of the caller what `caller_shown` says, goes out; a trunk at its limits is
busy and is passed over, but for emergency calls; an alarm "trunk:NAME:down" stands exactly while an enabled trunk has not been usable
for ten seconds.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address, ip_network

import msgspec

from firmware.call.model import TRUNK, Alert, Cause, EndpointState, Party
from firmware.call.numbers import from_network, ruled, written
from firmware.config.passage import permitted
from firmware.config.schema.tree import Config
from firmware.config.schema.trunks import Trunk
from firmware.core.phones_leg import codec_order
from firmware.core.reach import Reach
from firmware.core.trunks_texts import Remedy, remedy, trunk_cause
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer
from firmware.sip.endpoint import Endpoint
from firmware.sip.errors import SyntaxProblem
from firmware.sip.flow import Flow
from firmware.sip.identity import called_number, read_caller, show_caller
from firmware.sip.locate import Target, canonical
from firmware.sip.message import Request
from firmware.sip.trunk_client import TrunkSpec, TrunkStatus
from firmware.sip.uri import Uri, escape_user, parse_host_port, parse_uri

ASIDE_MS = 30_000                        # a trunk that did not answer a call
MOST_ASIDE_MS = 600_000
ALARM_AFTER_MS = 10_000
MINUTE_MS, HOUR_MS = 60_000, 3_600_000

log = logging.getLogger("branchpbx.trunks")


class Outward(msgspec.Struct, frozen=True):
    """A call that leaves over a trunk, as `PlaceCall` wants it."""

    uri: str
    flow: Flow
    further: tuple[Flow, ...]
    from_uri: str
    display: str
    headers: tuple[tuple[str, str], ...]
    routes: tuple[str, ...]
    contact_user: str
    plain: bool
    timers: bool
    codecs: tuple[str, ...]
    srtp: str
    reply_ms: int
    progress_ms: int


class TrunkLine(msgspec.Struct):
    """What is remembered of one trunk beside its registration."""

    targets: dict[Flow, Target] = {}
    begun: deque[int] = msgspec.field(default_factory=deque)
    aside_until: int = 0
    aside_fault: bool = False            # set aside for silence: a sign of life ends it
    down_since: int = -1
    state: str = ""


class TrunkInfo(msgspec.Struct, frozen=True):
    """What `show trunks` tells."""

    name: str
    trunk: Trunk
    status: TrunkStatus | None
    usable: bool
    calls: int
    address: str
    remedy: Remedy | None
    aside_s: int


class Trunks:
    """See the theory of operation. `live(endpoint)` counts legs; `pump()` sends what the endpoint has to send."""

    def __init__(
        self,
        *,
        config: Config,
        endpoint: Endpoint,
        reach: Reach | None,
        clock: Clock,
        bus: Bus,
        live: Callable[[str], int],
        pump: Callable[[], None],
    ) -> None:
        self._config = config
        self._endpoint = endpoint
        self._clients = endpoint.trunks
        self._reach = reach
        self._clock = clock
        self._bus = bus
        self._live = live
        self._pump = pump
        self.alarms: Alarms | None = None
        self._lines: dict[str, TrunkLine] = {}
        self._timers: dict[str, Timer] = {}

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Look for the carriers and register."""
        self.configure(self._config)

    @property
    def config(self) -> Config:
        """The configuration it works with."""
        return self._config

    def configure(self, config: Config) -> None:
        """Take over a configuration; trunks that are as before go on as they are."""
        self._config = config
        specs = {name: _spec(name, trunk) for name, trunk in config.trunks.items() if trunk.enabled}
        for name in self._lines.keys() - specs.keys():
            self._forget(name)
        for name in specs:
            self._lines.setdefault(name, TrunkLine())
        self._clients.now = self._clock.now()
        self._clients.configure(specs)
        for name in specs:
            self._clients.changed.add(name)
        self._pump()

    def _forget(self, name: str) -> None:
        del self._lines[name]
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        if self.alarms is not None:
            self.alarms.clear(f"trunk:{name}:down")

    def attend(self) -> bool:
        """After each round of the endpoint: find addresses, tell what has changed; True where the endpoint has work again."""
        if not self._clients.wanted and not self._clients.changed:
            return False
        wanted, changed = self._clients.take_wanted(), self._clients.take_changed()
        for name in wanted:
            self._locate(name)
        for name in changed:
            self._changed(name)
        return bool(wanted)

    def _locate(self, name: str) -> None:
        trunk = self._config.trunks.get(name)
        line = self._lines.get(name)
        if trunk is None or line is None:
            return
        host, port = parse_host_port(trunk.proxy or trunk.domain)

        def found(ways: list[tuple[Target, Flow]]) -> None:
            line.targets = {flow: target for target, flow in ways}
            self._clients.now = self._clock.now()
            self._clients.located(name, [flow for _, flow in ways])
            self._pump()

        if self._reach is None:
            found([])
            return
        # Without a port the carrier's SRV records say which servers there are (RFC 3263 section 4.2).
        uri = Uri("sip", host, port=port, params=(("transport", trunk.transport),))
        self._reach.locate(uri, found, transports=(trunk.transport,))

    def _changed(self, name: str) -> None:
        """A trunk has news: the floor, the alarm."""
        line, client = self._lines.get(name), self._clients.trunks.get(name)
        if line is None or client is None:
            return
        now = self._clock.now()
        if client.usable:
            if line.down_since >= 0:
                log.info("trunk %s is usable", name)
            line.down_since = -1
            if line.aside_fault and client.round_trip_ms >= 0:
                line.aside_until, line.aside_fault = 0, False
        elif line.down_since < 0:
            line.down_since = now
        self.publish(name)

    def _alarm(self, name: str) -> None:
        line, client = self._lines[name], self._clients.trunks.get(name)
        if self.alarms is None or client is None:
            return
        kind = f"trunk:{name}:down"
        if line.down_since < 0:
            self.alarms.clear(kind)
            return
        if self._clock.now() - line.down_since >= ALARM_AFTER_MS:
            status = client.tell()
            todo = remedy(status) or Remedy("it is being registered", "正在注册")
            said = f" ({status.status} {status.reason})" if status.status else f" ({status.reason})" if status.reason else ""
            self.alarms.raise_(kind, f"trunk {name}: {todo.en}{said}", f"中继 {name}：{todo.zh}{said}")

    # --- the floor ----------------------------------------------------------------------------------------------------

    def state_of(self, name: str) -> str:
        """ "idle", "busy" (at a limit, or set aside) or "fault"."""
        trunk, line = self._config.trunks.get(name), self._lines.get(name)
        if trunk is None or line is None or not self._clients.usable(name):
            return "fault"
        now = self._clock.now()
        most = max(trunk.calls_minute, trunk.calls_hour)
        while line.begun and (now - line.begun[0] >= HOUR_MS or len(line.begun) > most):
            line.begun.popleft()
        minute = sum(now - at < MINUTE_MS for at in line.begun)
        full = self._live(TRUNK + name) >= trunk.calls
        full = full or bool(trunk.calls_minute and minute >= trunk.calls_minute)
        full = full or bool(trunk.calls_hour and len(line.begun) >= trunk.calls_hour)
        return "busy" if full or line.aside_until > now else "idle"

    def publish(self, name: str) -> None:
        """Tell the floor how a trunk stands, and look again when that changes by time alone."""
        line = self._lines.get(name)
        if line is None:
            return
        self._clients.now = now = self._clock.now()
        state = self.state_of(name)
        if state != line.state:
            line.state = state
            self._bus.publish(EndpointState(TRUNK + name, now, state))
        self._alarm(name)
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        due = [at for at in (line.aside_until, line.down_since + ALARM_AFTER_MS if line.down_since >= 0 else 0) if at > now]
        if state == "busy" and line.begun:
            due += [at + span for at in line.begun for span in (MINUTE_MS, HOUR_MS) if at + span > now]
        if due:
            self._timers[name] = self._clock.call_at(min(due), lambda: self.publish(name))

    # --- out ----------------------------------------------------------------------------------------------------------

    def outward(self, endpoint: str, number: str, caller: Party, alert: Alert) -> Outward | Cause:
        """How to call `number` over a trunk, or why it cannot be."""
        name = endpoint.removeprefix(TRUNK)
        trunk, line, client = self._config.trunks.get(name), self._lines.get(name), self._clients.trunks.get(name)
        urgent = alert is Alert.EMERGENCY
        if trunk is None or line is None or client is None or not client.flows:
            return Cause.LINE_FAULT
        if not urgent and self.state_of(name) != "idle":
            return Cause.CONGESTION if client.usable else Cause.LINE_FAULT
        line.begun.append(self._clock.now())
        flows = [*client.flows[client.at:], *client.flows[: client.at]]
        called = number if urgent else ruled(written(number, trunk, trunk.send_as), trunk.send_rules)
        number_shown, name_shown, hide, diverted = self._shown(trunk, caller)
        shown = show_caller(
            style=trunk.caller_id, domain=trunk.domain, account=trunk.user, number=number_shown, name=name_shown,
            hide=(hide or trunk.hide_number) and not urgent, diverted=diverted, diversion=trunk.diversion,
        )  # fmt: skip
        # The proxy that takes everything, then those that the registrar named (RFC 3608 section 5, 3GPP TS 24.229).
        routes = (*((client.spec.route,) if client.spec.route else ()), *client.routes)
        return Outward(
            uri=f"sip:{escape_user(called)}@{trunk.domain}", flow=flows[0], further=tuple(flows[1:]), from_uri=shown.from_uri,
            display=shown.display, headers=shown.headers, routes=routes, contact_user=trunk.user or trunk.number or "pbx",
            plain=not trunk.reliable_provisional,
            timers=trunk.session_timers, codecs=self.codecs(endpoint), srtp=trunk.srtp, reply_ms=trunk.reply_s * 1000,
            progress_ms=trunk.progress_s * 1000,
        )  # fmt: skip

    def codecs(self, endpoint: str) -> tuple[str, ...]:
        """Codecs of a trunk in its order; G.711 in the order of the country."""
        trunk = self._config.trunks.get(endpoint.removeprefix(TRUNK))
        if trunk is None:
            return codec_order(self._config)
        rtp = msgspec.structs.replace(self._config.rtp, codecs=trunk.codecs)
        known = codec_order(msgspec.structs.replace(self._config, rtp=rtp))
        return known if "g711" in trunk.codecs else known[: len(trunk.codecs)]

    def srtp(self, endpoint: str) -> str:
        """Encryption of a trunk: "offer", "required" or "no"."""
        trunk = self._config.trunks.get(endpoint.removeprefix(TRUNK))
        return trunk.srtp if trunk is not None else "no"

    def _shown(self, trunk: Trunk, caller: Party) -> tuple[str, str, bool, tuple[str, ...]]:
        """Number and name that are shown, whether they are hidden, and who has passed the call on."""
        own = trunk.number or trunk.user
        inside = caller.number in self._config.extensions
        private = caller.reason == "private"
        if inside:
            if trunk.caller_shown == "extension":
                shown = self._config.extensions[caller.number].outside_number or trunk.number + caller.number
                return shown, caller.name, private, ()
            return own, "", private, ()
        passed = (own,) if own and caller.number else ()
        foreign = trunk.caller_shown == "caller" and permitted(self._config, "foreign_numbers")
        if caller.number and (foreign or (trunk.caller_shown == "extension" and not trunk.number)):
            return caller.number, caller.name, private, passed
        return own, "", False, passed

    def failed(self, endpoint: str, status: int, how: str) -> Cause:
        """A call over a trunk did not come about before anybody was reached; its cause."""
        cause = trunk_cause(status, how)
        line = self._lines.get(endpoint.removeprefix(TRUNK))
        if line is not None and cause is Cause.LINE_FAULT:
            self._aside(endpoint.removeprefix(TRUNK), line, ASIDE_MS)
            line.aside_fault = True
        return cause

    def way_failed(self, endpoint: str, flow: Flow, why: str, retry_after_s: int) -> None:
        """One address of a trunk did not take a call."""
        name = endpoint.removeprefix(TRUNK)
        line = self._lines.get(name)
        if line is None:
            return
        target = line.targets.get(flow)
        if target is not None and self._reach is not None:
            self._reach.failed(target, retry_after_s)
        log.warning("trunk %s: %s:%d does not take a call (%s)", name, *flow.remote, why)
        if retry_after_s and len(line.targets) <= 1:
            self._aside(name, line, retry_after_s * 1000)

    def _aside(self, name: str, line: TrunkLine, ms: int) -> None:
        line.aside_until = max(line.aside_until, self._clock.now() + min(ms, MOST_ASIDE_MS))
        self.publish(name)

    # --- in -----------------------------------------------------------------------------------------------------------

    def identify(self, request: Request, flow: Flow) -> str:
        """The trunk that an INVITE comes over, "" for none."""
        if not self._lines:
            return ""
        try:
            uri = parse_uri(request.uri)
        except SyntaxProblem:
            return ""
        told = uri.param("line")
        found = []
        for name in self._lines:
            client = self._clients.trunks.get(name)
            if client is None:
                continue
            if told and client.spec.registers and told == client.spec.line:
                return TRUNK + name
            if self._from_there(self._config.trunks[name], client.flows, flow):
                found.append(name)
        if not found or self._is_telephone(request, flow):
            return ""
        users = {uri.user_text, request.to.uri.user_text if request.to.uri.is_sip else ""}
        return TRUNK + next((name for name in found if self._config.trunks[name].user in users), found[0])

    @staticmethod
    def _from_there(trunk: Trunk, flows: list[Flow], flow: Flow) -> bool:
        if flow.transport != trunk.transport:
            return False
        host = canonical(flow.remote[0])
        for known in flows:
            if known.remote == flow.remote or (flow.reliable and canonical(known.remote[0]) == host):
                return True
        try:
            return any(ip_address(host) in ip_network(one, strict=False) for one in trunk.accept_from)
        except ValueError:
            return False

    def _is_telephone(self, request: Request, flow: Flow) -> bool:
        user = request.from_.uri.user_text if request.from_.uri.is_sip else ""
        bindings = self._endpoint.registrar.bindings(user, self._clock.now()) if user in self._config.extensions else []
        return any(one.flow.remote == flow.remote for one in bindings)

    def inward(self, account: str, request: Request) -> tuple[Party, str] | int:
        """Who calls over a trunk and which number was dialled; a status that refuses the call where the trunk is full."""
        name = account.removeprefix(TRUNK)
        trunk = self._config.trunks.get(name)
        if trunk is None:
            return 403
        if self._live(account) >= trunk.calls:
            return 503
        caller = read_caller(request, trusted=trunk.trusted)
        number = ruled(from_network(caller.number, trunk), trunk.caller_rules)
        called = called_number(request, trunk.did_from)
        if called == trunk.user and trunk.number:
            called = trunk.number
        called = ruled(from_network(called, trunk), trunk.did_rules)
        if caller.diverted:
            log.info("trunk %s: a call to %s was passed on by %s", name, called, " ".join(caller.diverted))
        if caller.private:
            return Party("" if not trunk.trusted else number, "", "private"), called
        return Party(number, caller.name if trunk.trusted else ""), called

    # --- inspection ---------------------------------------------------------------------------------------------------

    def list(self) -> list[TrunkInfo]:
        """Every trunk of the configuration."""
        self._clients.now = now = self._clock.now()
        rows = []
        for name, trunk in self._config.trunks.items():
            client, line = self._clients.trunks.get(name), self._lines.get(name)
            status = client.tell() if client is not None else None
            flow = client.flow if client is not None else None
            address = f"{flow.remote[0]}:{flow.remote[1]}/{flow.transport}" if flow is not None else ""
            aside = max(0, line.aside_until - now) // 1000 if line is not None else 0
            usable = client is not None and client.usable
            todo = remedy(status) if status is not None and not usable else None
            rows.append(TrunkInfo(name, trunk, status, usable, self._live(TRUNK + name), address, todo, aside))
        return rows


def _spec(name: str, trunk: Trunk) -> TrunkSpec:
    route = ""
    if trunk.proxy and trunk.proxy_route:
        transport = "" if trunk.transport == "udp" else f";transport={trunk.transport}"
        route = f"<sip:{trunk.proxy}{transport};lr>"
    return TrunkSpec(
        name=name, registers=trunk.kind == "registering", domain=trunk.domain, user=trunk.user, auth_user=trunk.auth_user,
        secret=trunk.secret, expires_s=trunk.expires_s, route=route, qualify_s=trunk.qualify_s, bulk=trunk.bulk,
    )  # fmt: skip
