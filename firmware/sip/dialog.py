"""Dialogs: identity, route set, sequence numbers and the requests sent within them (L1).

Theory of operation
-------------------
RFC 3261 section 12. A `Dialog` is a plain struct that can be stored and continued by another process: it holds no
transaction and no timer. Where a request goes: the flow of the peer when its signalling is symmetric (rport, or a
connection), else the first route or the remote target, when that is an address literal which can be the peer's own: one of
another scope (a private address told by a peer out in the public network, or the other way round) is what a router hides.
Invariants: local CSeq numbers only grow; a lower remote CSeq is refused with 500; route set and tags never change.
"""

from __future__ import annotations

import msgspec

from firmware.sip.errors import SyntaxProblem
from firmware.sip.flow import Address, Flow
from firmware.sip.headers import Headers
from firmware.sip.message import Request, Response, Via
from firmware.sip.networks import hidden
from firmware.sip.service import service_of
from firmware.sip.uri import NameAddr, Uri, parse_name_addr, parse_uri, unescape
from firmware.sip.validate import Refusal

DialogKey = tuple[str, str, str]
MAX_ROUTES = 16


class Dialog(msgspec.Struct):
    """One dialog as its own side sees it."""

    call_id: str
    local_tag: str
    remote_tag: str
    local: str                           # our From value, without tag
    remote: str                          # the peer's To value, without tag
    local_cseq: int
    remote_cseq: int                     # -1 before the first request of the peer
    target: str                          # remote target URI
    flow: Flow
    symmetric: bool
    route_set: tuple[str, ...] = ()

    @property
    def key(self) -> DialogKey:
        return (self.call_id, self.local_tag, self.remote_tag)

    def accepts(self, request: Request) -> Refusal | None:
        """Check and take the CSeq of a request of the peer (not for ACK and CANCEL)."""
        number = request.cseq.number
        if number < self.remote_cseq:
            return Refusal(500, "CSeq out of order")
        self.remote_cseq = number
        return None

    def refresh(self, contact: NameAddr | None, flow: Flow | None) -> None:
        """Target refresh (re-INVITE and its 2xx) and, where the peer moved, its new flow."""
        if contact is not None and contact.uri.is_sip:
            self.target = contact.uri.render()
        if flow is not None and (flow.reliable or self.symmetric):
            self.flow = flow

    def request(self, method: str, branch: str, *, cseq: int | None = None, contact: str = "", supported: str = "") -> Request:
        """A request within the dialog; `cseq` is given for ACK only (the INVITE's number)."""
        if cseq is None:
            self.local_cseq += 1
            cseq = self.local_cseq
        headers = Headers()
        headers.add("Via", via_value(self.flow, branch))
        uri, routes = route(self.target, self.route_set)
        for value in routes:
            headers.add("Route", value)
        headers.add("Max-Forwards", "70")
        headers.add("From", f"{self.local};tag={self.local_tag}")
        headers.add("To", f"{self.remote};tag={self.remote_tag}" if self.remote_tag else self.remote)
        headers.add("Call-ID", self.call_id)
        headers.add("CSeq", f"{cseq} {method}")
        if contact:
            headers.add("Contact", contact)
        return Request(method, uri, headers)

    def hop(self) -> Flow:
        """Where the next request goes."""
        return next_hop(self.flow, self.symmetric, self.route_set[0] if self.route_set else f"<{self.target}>")


def via_value(flow: Flow, branch: str) -> str:
    """Our Via for a request over a flow; rport asks for symmetric answers (RFC 3581)."""
    return Via(flow.transport, flow.local[0], flow.local[1], (("branch", branch), ("rport", None))).render()


def route(target: str, route_set: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Request-URI and Route values (section 12.2.1.1), loose or strict by the first entry."""
    if not route_set:
        return target, ()
    first = parse_name_addr(route_set[0]).uri
    if first.param("lr") is not None:
        return target, route_set
    return msgspec.structs.replace(first, headers="").render(), (*route_set[1:], f"<{target}>")


def next_hop(flow: Flow, symmetric: bool, first: str) -> Flow:
    """Flow for a request to `first` (a name-addr) that belongs to a peer last heard over `flow`."""
    if symmetric:
        return flow
    uri = parse_name_addr(first).uri
    address = literal_address(uri)
    if address is None or uri.transport != flow.transport or hidden(address[0], flow.remote[0]):
        return flow
    return Flow(flow.transport, address, flow.local, flow.name)


def literal_address(uri: Uri) -> Address | None:
    """Address of a URI whose host is an IP literal, None where a name would have to be resolved."""
    host = uri.param("maddr") or uri.host
    if not (":" in host or (host.count(".") == 3 and host.replace(".", "").isdigit())):
        return None
    return host, uri.port or uri.default_port


def is_symmetric(request: Request, flow: Flow) -> bool:
    """True when the sender takes requests at the address it sends from: a connection, rport, or an equal sent-by."""
    if flow.reliable or request.via.param("rport") is not None:
        return True
    return (request.via.host, request.via.port or 5060) == flow.remote


def without_tag(address: NameAddr) -> str:
    """A From or To value without its tag parameter."""
    params = tuple([item for item in address.params if item[0] != "tag"])
    return NameAddr(address.uri, address.display, params, address.bracketed).render()


def _routes(message: Request | Response) -> tuple[str, ...]:
    values = message.headers.values("record-route")
    if len(values) > MAX_ROUTES:
        raise SyntaxProblem("too many Record-Route values")
    return tuple(parse_name_addr(value).render() for value in values)


def server_dialog(request: Request, local_tag: str, flow: Flow) -> Dialog:
    """Dialog of an INVITE that we answer (section 12.1.1). A missing Contact (RFC 2543) leaves From as the target."""
    contact = request.contact
    target = contact.uri if contact is not None and contact.uri.is_sip else request.from_.uri
    return Dialog(
        call_id=request.call_id, local_tag=local_tag, remote_tag=request.from_.tag, local=without_tag(request.to),
        remote=without_tag(request.from_), local_cseq=0, remote_cseq=request.cseq.number, target=target.render(), flow=flow,
        symmetric=is_symmetric(request, flow), route_set=_routes(request),
    )  # fmt: skip


def client_dialog(request: Request, response: Response, flow: Flow, symmetric: bool) -> Dialog:
    """Dialog of an INVITE that we sent and that was answered with a To-tag (section 12.1.2)."""
    contact = response.contact
    target = contact.uri.render() if contact is not None and contact.uri.is_sip else request.uri
    return Dialog(
        call_id=request.call_id, local_tag=request.from_.tag, remote_tag=response.to.tag, local=without_tag(request.from_),
        remote=without_tag(request.to), local_cseq=request.cseq.number, remote_cseq=-1, target=target, flow=flow, symmetric=symmetric,
        route_set=tuple(reversed(_routes(response))),
    )  # fmt: skip


def request_user(uri: str) -> str:
    """The unescaped user part of a Request-URI, or the service that it names; "" when it has neither."""
    try:
        return service_of(uri) or unescape(parse_uri(uri).user)
    except SyntaxProblem:
        return ""
