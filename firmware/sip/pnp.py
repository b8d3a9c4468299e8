"""SIP plug and play: telephones that ask a multicast address where their settings are (L1).

Theory of operation
-------------------
A telephone without settings sends SUBSCRIBE with `Event: ua-profile` (RFC 6080) to 224.0.1.75:5060. Whoever serves it answers 200 and
then a
NOTIFY whose body is the address of its settings (application/url). `receive` reports an `Asked`; the owner says `offer` with the address,
or
leaves it: then nothing is sent, since another server may be the one. NOTIFY is repeated like any request over UDP (500 ms doubling to 4 s,
RFC 3261 section 17.1.2) until it is answered or 32 s have passed.
Invariants: everything goes to the address that the datagram came from, whatever its headers name, so nobody can be made to send us after
a third
one; a SUBSCRIBE that comes again starts nothing new; at most `MOST` are open; malformed input is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

from firmware.sip.dialog import via_value
from firmware.sip.errors import SyntaxProblem, Unframeable
from firmware.sip.flow import Address, Flow, Outgoing
from firmware.sip.headers import Headers
from firmware.sip.message import Request, Response, respond
from firmware.sip.parse import parse_datagram
from firmware.sip.uri import join_host_port, parse_uri
from firmware.sip.validate import check_syntax

GROUP, PORT = "224.0.1.75", 5060
T1, T2, PATIENCE = 500, 4000, 32_000
MOST = 64
_MAC = re.compile(r"(?:MAC[:%]?(?:3[aA])?)?([0-9A-Fa-f]{12})\Z", re.IGNORECASE)
_PARAMETER = re.compile(r';\s*(vendor|model|version)\s*=\s*(?:"([^"]{0,60})"|([^;"\s]{1,60}))')


class Asked(Struct, frozen=True):
    """A telephone wants its settings; `key` names the request for `offer`."""

    key: str
    mac: str
    vendor: str
    model: str
    source: Address


class _Open(Struct):
    """A request on its way to its end. `due`: when NOTIFY goes out again; `offered` "" until the owner has said."""

    request: Request
    flow: Flow
    until: int
    tag: str
    accepted: bytes = b""
    notify: bytes = b""
    call: str = ""
    wait: int = T1
    due: int = 0
    done: bool = False


class PlugAndPlay:
    """See the theory of operation above. `token(n)` gives n random hexadecimal digits; `local` is our address on the socket that sends."""

    def __init__(self, token: Callable[[int], str]) -> None:
        self._token = token
        self._open: dict[str, _Open] = {}
        self._events: list[Asked] = []
        self._output: list[Outgoing] = []

    def receive(self, data: bytes, source: Address, now: int, local: Address) -> None:
        """A datagram, from the group or an answer to our own address."""
        try:
            message = parse_datagram(data)
            if isinstance(message, Response):
                self._answered(message, source)
            elif isinstance(message, Request) and message.method == "SUBSCRIBE" and check_syntax(message) is None:
                self._subscribed(message, source, now, local)
        except (Unframeable, SyntaxProblem):
            return

    def events(self) -> list[Asked]:
        """Drain what was asked."""
        out, self._events = self._events, []
        return out

    def output(self) -> list[Outgoing]:
        """Drain what is to be sent."""
        out, self._output = self._output, []
        return out

    def offer(self, key: str, url: str, now: int) -> None:
        """Answer a request: its settings are at `url`. One that is over is left alone."""
        entry = self._open.get(key)
        if entry is None or entry.notify:
            return
        request, flow = entry.request, entry.flow
        own = join_host_port(*flow.local)
        contact = ("Contact", f"<sip:{own}>")
        entry.accepted = respond(request, 200, to_tag=entry.tag, headers=(contact, ("Expires", "0"))).render()
        target = request.contact
        entry.call = request.call_id
        headers = Headers()
        headers.add("Via", via_value(flow, "z9hG4bK" + self._token(16)))
        headers.add("Max-Forwards", "20")
        headers.add("From", f"{request.headers.get('to')};tag={entry.tag}")
        headers.add("To", request.headers.get("from"))
        headers.add("Call-ID", entry.call)
        headers.add("CSeq", "1 NOTIFY")
        headers.add(*contact)
        headers.add("Event", request.headers.get("event"))
        headers.add("Subscription-State", "terminated;reason=timeout")
        headers.add("Content-Type", "application/url")
        uri = target.uri.render() if target is not None else f"sip:{join_host_port(*flow.remote)}"
        entry.notify = Request("NOTIFY", uri, headers, url.encode()).render()
        self._send(flow, entry.accepted)
        self._send(flow, entry.notify)
        entry.due = now + entry.wait

    def deadline(self) -> int | None:
        """When `expire` is due."""
        times = [entry.due if entry.notify and not entry.done else entry.until for entry in self._open.values()]
        return min(times, default=None)

    def expire(self, now: int) -> None:
        """Repeat what was not answered; forget what is over."""
        for key, entry in list(self._open.items()):
            if entry.until <= now:
                del self._open[key]
            elif entry.notify and not entry.done and entry.due <= now:
                self._send(entry.flow, entry.notify)
                entry.wait = min(2 * entry.wait, T2)
                entry.due = min(now + entry.wait, entry.until)

    def _send(self, flow: Flow, data: bytes) -> None:
        self._output.append(Outgoing("udp", flow.remote, data, flow.local))

    def _subscribed(self, request: Request, source: Address, now: int, local: Address) -> None:
        if request.headers.get("event").split(";", 1)[0].strip().lower() != "ua-profile" or request.to.tag:
            return
        key = f"{source[0]}:{source[1]}:{request.call_id}"
        known = self._open.get(key)
        if known is not None:
            if known.accepted:
                self._send(known.flow, known.accepted)
            return
        mac = _mac_of(request)
        if not mac or len(self._open) >= MOST:
            return
        told = {name: first or second for name, first, second in _PARAMETER.findall(request.headers.get("event"))}
        self._open[key] = _Open(request, Flow("udp", source, local), now + PATIENCE, self._token(12))
        self._events.append(Asked(key, mac, told.get("vendor", "").lower(), told.get("model", ""), source))

    def _answered(self, response: Response, source: Address) -> None:
        entry = self._open.get(f"{source[0]}:{source[1]}:{response.call_id}")
        if entry is not None and entry.notify and response.cseq.method == "NOTIFY" and response.status >= 200:
            entry.done = True


def _mac_of(request: Request) -> str:
    """The telephone's address: the user part of Request-URI, From or To ("MAC:0015...", the colon often escaped)."""
    for uri in (parse_uri(request.uri), request.from_.uri, request.to.uri):
        found = _MAC.match((uri.user_text + uri.password).replace("-", "")) if uri.is_sip else None
        if found is not None:
            return found[1].lower()
    return ""
