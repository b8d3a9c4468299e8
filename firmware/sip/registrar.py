"""The registrar: which contacts an account can be reached at (L1).

Theory of operation
-------------------
RFC 3261 section 10.3. One account (the authenticated user) has several bindings. A REGISTER is applied whole or not at
all. Order is kept by Call-ID and CSeq; a lower CSeq of the same Call-ID is refused with 500. The granted time of each
contact is answered exactly as granted (a second less makes phones drift into 423), times of other contacts are rounded
up. A phone that returns with the same `+sip.instance`, or over the same flow, replaces its old binding.
Invariants: at most `MAX_CONTACTS` bindings per account, the oldest goes first; bindings are plain structs for snapshots.
"""

from __future__ import annotations

import msgspec

from firmware.sip.dialog import is_symmetric
from firmware.sip.errors import SyntaxProblem
from firmware.sip.flow import Flow
from firmware.sip.message import Request
from firmware.sip.uri import NameAddr, Uri, parse_name_addr, parse_uri, render_params
from firmware.sip.validate import Refusal

MAX_CONTACTS = 8


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

    def bindings(self, user: str, now: int) -> list[Binding]:
        """Live bindings of an account, the newest first."""
        live = [binding for binding in self._accounts.get(user, ()) if binding.expires_at > now]
        return sorted(live, key=lambda binding: -binding.registered_at)

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
        return self._accounts.pop(user, [])

    def deadline(self) -> int | None:
        """When the next binding runs out."""
        if self._changed:            # asked after every message, changed by few
            self._changed = False
            self._deadline = min((binding.expires_at for bindings in self._accounts.values() for binding in bindings), default=None)
        return self._deadline

    def snapshot(self) -> dict[str, list[Binding]]:
        """All bindings by account."""
        return {user: list(bindings) for user, bindings in self._accounts.items() if bindings}

    def restore(self, accounts: dict[str, list[Binding]], now: int) -> None:
        """Take over what an earlier process knew."""
        self._changed = True
        for user, bindings in accounts.items():
            self._accounts[user] = [binding for binding in bindings if binding.expires_at > now]

    # --- inner --------------------------------------------------------------------------------------------------------

    def _remove(self, user: str, binding: Binding) -> None:
        self._changed = True
        bindings = self._accounts.get(user, [])
        if binding in bindings:
            bindings.remove(binding)
        if not bindings:
            self._accounts.pop(user, None)

    def _register(self, user: str, request: Request, flow: Flow, now: int) -> Registration | Refusal:
        self._changed = True
        values = request.headers.values("contact")
        held = [binding for binding in self._accounts.get(user, ()) if binding.expires_at > now]
        call_id, cseq = request.call_id, request.cseq.number
        if values == ["*"]:
            if _seconds(request.headers.get("expires"), -1) != 0:
                return Refusal(400, "Bad Request (Contact * needs Expires 0)")
            if any(binding.call_id == call_id and cseq <= binding.cseq for binding in held):
                return Refusal(500, "CSeq out of order")
            self._accounts.pop(user, None)
            return Registration((), removed=tuple(held))
        if len(values) > MAX_CONTACTS:
            return Refusal(403, "Too many contacts")
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
            if any(binding.call_id == call_id and cseq <= binding.cseq for binding in old):
                return Refusal(500, "CSeq out of order")
            for binding in old:
                after.remove(binding)
            if seconds == 0:
                removed += old
                continue
            if seconds < self.min_s:
                return Refusal(423, headers=(("Min-Expires", str(self.min_s)),))
            seconds = min(seconds, self.max_s)
            binding = self._binding(contact, request, flow, now, seconds)
            # A phone that restarted leaves its old contact behind: one flow serves one binding, unless named together.
            stale = [other for other in after if other.flow == binding.flow and other not in added and other.call_id != call_id]
            for other in stale:
                after.remove(other)
                removed.append(other)
            after.append(binding)
            added.append(binding)
            granted[id(binding)] = seconds
        while len(after) > MAX_CONTACTS:
            removed.append(after.pop(0))
        if after:
            self._accounts[user] = after
        else:
            self._accounts.pop(user, None)
        headers = tuple(("Contact", _render(binding, granted.get(id(binding)), now)) for binding in after)
        return Registration(headers, tuple(added), tuple(removed))

    def _binding(self, contact: NameAddr, request: Request, flow: Flow, now: int, seconds: int) -> Binding:
        return Binding(
            uri=contact.uri.render(), call_id=request.call_id, cseq=request.cseq.number, registered_at=now,
            expires_at=now + seconds * 1000, flow=flow, symmetric=is_symmetric(request, flow),
            params=tuple(item for item in contact.params if item[0] != "expires")[:16],
            instance=contact.param("+sip.instance") or "", reg_id=contact.param("reg-id") or "",
            path=tuple(parse_name_addr(value).render() for value in request.headers.values("path"))[:8],
            user_agent=request.headers.get("user-agent")[:80],
        )  # fmt: skip


def _render(binding: Binding, granted: int | None, now: int) -> str:
    left = granted if granted is not None else -((now - binding.expires_at) // 1000)
    return f"<{binding.uri}>{render_params(binding.params)};expires={left}"


def _seconds(text: str, default: int) -> int:
    """delta-seconds; a malformed value is the default (section 10.3), an enormous one the largest we know."""
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        return default
    return min(int(text[:12]), 2**31 - 1) if len(text) <= 12 else 2**31 - 1


def _same(binding: Binding, contact: NameAddr) -> bool:
    instance = contact.param("+sip.instance")
    if instance and binding.instance:
        return binding.instance == instance and binding.reg_id == (contact.param("reg-id") or "")
    return _comparable(parse_uri(binding.uri)) == _comparable(contact.uri)


def _comparable(uri: Uri) -> tuple[str, ...]:
    """The parts of a URI that decide whether two bindings are the same (section 19.1.4, strictest parameters only)."""
    return (uri.scheme, uri.user_text, uri.host.lower(), str(uri.port), uri.transport)

