"""The registrar: which contacts an account can be reached at (L1).

Theory of operation
-------------------
RFC 3261 section 10.3. One account (the authenticated user) has several bindings. A REGISTER is applied whole or not at
all. Order is kept by Call-ID and CSeq; a lower CSeq of the same Call-ID is refused with 500. The granted time of each
contact is answered exactly as granted (a second less makes phones drift into 423), times of other contacts are rounded
up. A phone that returns with the same `+sip.instance`, or over the same flow, replaces its old binding.
RFC 5626: bindings of one instance with different reg-ids are ways to one phone, of which one is used at a time (`targets`); RFC 3327:
Path is kept and answered, and becomes the route set of what goes there.
Invariants: at most `MAX_CONTACTS` bindings per account, the oldest goes first; bindings are plain structs for snapshots.
"""

from __future__ import annotations

import msgspec

from firmware.sip.dialog import is_symmetric
from firmware.sip.errors import SyntaxProblem
from firmware.sip.flow import SECURED, Flow
from firmware.sip.message import Request
from firmware.sip.scan import render_params
from firmware.sip.uri import NameAddr, Uri, parse_name_addr, parse_uri
from firmware.sip.validate import Refusal

MAX_CONTACTS = 8
MAX_PATH = 8


class Binding(msgspec.Struct):
    """One contact of an account. `expires_at` is engine ms."""

    uri: str
    call_id: str
    cseq: int
    registered_at: int
    expires_at: int
    flow: Flow
    symmetric: bool = True
    params: tuple[tuple[str, str | None], ...] = ()
    instance: str = ""
    reg_id: str = ""
    path: tuple[str, ...] = ()
    user_agent: str = ""


class Registration(msgspec.Struct, frozen=True):
    """Answer to a REGISTER: the headers of the 200, and what changed."""

    headers: tuple[tuple[str, str], ...]
    added: tuple[Binding, ...] = ()
    removed: tuple[Binding, ...] = ()


class Registrar:
    """Bindings of all accounts. Times in ms; `min_s`, `max_s` bound what is granted."""

    def __init__(self, min_s: int = 60, max_s: int = 3600) -> None:
        self.min_s = min_s
        self.max_s = max_s
        self._accounts: dict[str, list[Binding]] = {}
        self._deadline: int | None = None
        self._changed = False
        self.touched: set[str] = set()                # accounts whose bindings are others than at the last `take_touched`

    def bindings(self, user: str, now: int) -> list[Binding]:
        """Live bindings of an account, the newest first."""
        live = [binding for binding in self._accounts.get(user, ()) if binding.expires_at > now]
        if len(live) > 1:
            live.sort(key=lambda binding: -binding.registered_at)
        return live

    def targets(self, user: str, now: int) -> list[list[Binding]]:
        """Phones of an account, each with the ways to it, the newest first (RFC 5626 section 5.3: never two at a time)."""
        phones: dict[str, list[Binding]] = {}
        for binding in self.bindings(user, now):
            # Without reg-id each binding is a phone of its own.
            key = binding.instance if binding.instance and binding.reg_id else f"{binding.uri} {binding.flow.remote}"
            phones.setdefault(key, []).append(binding)
        return list(phones.values())

    def users(self) -> list[str]:
        """Accounts that have a binding."""
        return [user for user, bindings in self._accounts.items() if bindings]

    def register(self, user: str, request: Request, flow: Flow, now: int) -> Registration | Refusal:
        """Apply a REGISTER of an authenticated account."""
        try:
            return self._register(user, request, flow, now)
        except SyntaxProblem as problem:
            return Refusal(400, f"Bad Request ({problem.what})")

    def expire(self, now: int) -> list[tuple[str, Binding]]:
        """Remove and return what has run out."""
        due = self.deadline()
        if due is None or due > now:
            return []
        self._changed = True
        gone = [(user, binding) for user, bindings in self._accounts.items() for binding in bindings if binding.expires_at <= now]
        for user, binding in gone:
            self._remove(user, binding)
        return gone

    def connection_lost(self, transport: str, remote: tuple[str, int]) -> list[tuple[str, Binding]]:
        """Remove and return the bindings that lived on a connection."""
        gone = [
            (user, binding)
            for user, bindings in self._accounts.items()
            for binding in bindings
            if binding.flow.reliable and binding.flow.transport == transport and binding.flow.remote == remote
        ]
        for user, binding in gone:
            self._remove(user, binding)
        return gone

    def forget(self, user: str) -> list[Binding]:
        """Remove an account (it was deleted from the configuration)."""
        self._changed = True
        self.touched.add(user)
        return self._accounts.pop(user, [])

    def deadline(self) -> int | None:
        """When the next binding runs out."""
        if self._changed:            # asked after every message, changed by few
            self._changed = False
            self._deadline = min((binding.expires_at for bindings in self._accounts.values() for binding in bindings), default=None)
        return self._deadline

    def take_touched(self) -> set[str]:
        """Accounts whose bindings changed since this was asked last."""
        touched = self.touched
        if touched:
            self.touched = set()
        return touched

    def held(self, user: str) -> list[Binding]:
        """All bindings of an account as they are kept."""
        return self._accounts.get(user, [])

    def snapshot(self) -> dict[str, list[Binding]]:
        """All bindings by account."""
        return {user: list(bindings) for user, bindings in self._accounts.items() if bindings}

    def restore(self, accounts: dict[str, list[Binding]], now: int) -> None:
        """Take over what an earlier process knew. Secured connections ended with it, and nobody but the phone can make them anew."""
        self._changed = True
        for user, bindings in accounts.items():
            held = self._accounts.get(user, [])              # of those that registered before we got here
            known = {binding.uri for binding in held}
            kept = [binding for binding in bindings
                    if binding.expires_at > now and binding.flow.transport not in SECURED and binding.uri not in known]  # fmt: skip
            if kept:
                self._accounts[user] = [*held, *kept]

    # --- inner --------------------------------------------------------------------------------------------------------

    def _remove(self, user: str, binding: Binding) -> None:
        self._changed = True
        self.touched.add(user)
        bindings = self._accounts.get(user, [])
        if binding in bindings:
            bindings.remove(binding)
        if not bindings:
            self._accounts.pop(user, None)

    def _register(self, user: str, request: Request, flow: Flow, now: int) -> Registration | Refusal:
        values = request.headers.values("contact")
        held = [binding for binding in self._accounts.get(user, ()) if binding.expires_at > now]
        call_id, cseq = request.call_id, request.cseq.number
        if values == ["*"]:
            if _seconds(request.headers.get("expires"), -1) != 0:
                return Refusal(400, "Bad Request (Contact * needs Expires 0)")
            if any(binding.call_id == call_id and cseq <= binding.cseq for binding in held):
                return Refusal(500, "CSeq out of order")
            self._accounts.pop(user, None)
            self._changed = True
            self.touched.add(user)
            return Registration((), removed=tuple(held))
        if len(values) > MAX_CONTACTS:
            return Refusal(403, "Too many contacts")
        if "reg-id" in "".join(values).lower() and _flow_lost_on_the_way(request):
            return Refusal(439, "First Hop Lacks Outbound Support")
        default = _seconds(request.headers.get("expires"), self.max_s)
        added: list[Binding] = []
        removed: list[Binding] = []
        after = list(held)
        granted: dict[int, int] = {}
        for value in values:
            contact = parse_name_addr(value)
            if not contact.uri.is_sip:
                return Refusal(400, "Bad Request (Contact scheme)")
            seconds = _seconds(contact.param("expires") or "", default)
            old = [binding for binding in after if _same(binding, contact)]
            for binding in old:
                if binding.call_id == call_id and cseq <= binding.cseq:
                    return Refusal(500, "CSeq out of order")
                after.remove(binding)
            if seconds == 0:
                removed += old
                continue
            if seconds < self.min_s:
                return Refusal(423, headers=(("Min-Expires", str(self.min_s)),))
            seconds = min(seconds, self.max_s)
            binding = self._binding(contact, request, flow, now, seconds)
            # A phone that restarted leaves its old contact behind: one flow serves one binding, unless named together, or many
            # phones come by one proxy.
            stale = [other for other in after if other.flow == binding.flow and other not in added and other.call_id != call_id
                     and not binding.path]  # fmt: skip
            for other in stale:
                after.remove(other)
                removed.append(other)
            after.append(binding)
            added.append(binding)
            # Of what was refreshed the old instant stays: it is looked through again then, once, and not at every refresh.
            self._deadline = min(self._deadline, binding.expires_at) if self._deadline is not None else binding.expires_at
            granted[id(binding)] = seconds
        while len(after) > MAX_CONTACTS:
            removed.append(after.pop(0))
        if added or removed:
            self.touched.add(user)
        if after:
            self._accounts[user] = after
        else:
            self._accounts.pop(user, None)
        headers = tuple([("Contact", _render(binding, granted.get(id(binding)), now)) for binding in after])
        return Registration(headers + _extensions(request, added), tuple(added), tuple(removed))

    def _binding(self, contact: NameAddr, request: Request, flow: Flow, now: int, seconds: int) -> Binding:
        return Binding(
            uri=contact.uri.render(), call_id=request.call_id, cseq=request.cseq.number, registered_at=now,
            expires_at=now + seconds * 1000, flow=flow, symmetric=is_symmetric(request, flow),
            params=tuple([item for item in contact.params if item[0] != "expires"][:16]),
            instance=contact.param("+sip.instance") or "", reg_id=_reg_id(contact),
            path=tuple([parse_name_addr(value).render() for value in request.headers.values("path")][:MAX_PATH]),
            user_agent=request.headers.get("user-agent")[:80],
        )  # fmt: skip


def next_contact(binding: Binding) -> tuple[str, tuple[str, ...]]:
    """Request-URI and route set that reach a binding (Path of RFC 3327 becomes the route set)."""
    return binding.uri, tuple(parse_name_addr(value).render() for value in binding.path)


def _reg_id(contact: NameAddr) -> str:
    """A reg-id without an instance means nothing (RFC 5626 section 6)."""
    value = contact.param("reg-id")
    return value if value and contact.param("+sip.instance") and value.isascii() and value.isdigit() and 0 < int(value[:10]) < 2**31 else ""


def _flow_lost_on_the_way(request: Request) -> bool:
    """True where a phone asks for a flow of its own, but a proxy before us does not keep one (RFC 5626 section 6)."""
    asks = any("reg-id" in value.lower() and _reg_id(parse_name_addr(value)) for value in request.headers.values("contact"))
    if not asks or len(request.headers.values("via")) == 1:
        return False
    path = request.headers.values("path")
    return not path or parse_name_addr(path[-1]).uri.param("ob") is None


def _extensions(request: Request, added: list[Binding]) -> tuple[tuple[str, str], ...]:
    """What a 200 says of Path and outbound."""
    for binding in added:
        if binding.path or binding.reg_id:
            break
    else:
        return ()
    path = tuple(("Path", value) for binding in added[:1] for value in binding.path)
    outbound = (("Require", "outbound"),) if any(binding.reg_id for binding in added) and "outbound" in _supported(request) else ()
    return path + outbound


def _supported(request: Request) -> list[str]:
    return [value.lower() for value in (*request.headers.tokens("supported"), *request.headers.tokens("require"))]


def _render(binding: Binding, granted: int | None, now: int) -> str:
    left = granted if granted is not None else -((now - binding.expires_at) // 1000)
    return f"<{binding.uri}>{render_params(binding.params)};expires={left}"


def _seconds(text: str, default: int) -> int:
    """delta-seconds; a malformed value is the default (section 10.3), an enormous one the largest we know."""
    if not text:
        return default
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        return default
    return min(int(text[:12]), 2**31 - 1) if len(text) <= 12 else 2**31 - 1


def _same(binding: Binding, contact: NameAddr) -> bool:
    instance = contact.param("+sip.instance")
    if instance and binding.instance:
        return binding.instance == instance and binding.reg_id == _reg_id(contact)
    known = parse_uri(binding.uri)
    return known == contact.uri or _comparable(known) == _comparable(contact.uri)


def _comparable(uri: Uri) -> tuple[str, ...]:
    """The parts of a URI that decide whether two bindings are the same (section 19.1.4, strictest parameters only)."""
    return (uri.scheme, uri.user_text, uri.host.lower(), str(uri.port), uri.transport)

