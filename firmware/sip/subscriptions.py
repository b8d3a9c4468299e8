"""The notifier: who watches what, and the NOTIFYs they get (L1).

Theory of operation
-------------------
RFC 6665 section 4.2. A `Subscription` is a dialog usage: package, resource, end, and the document that its watcher last took.
What a document says is not kept here: it is asked of the `Source` each time something may have changed, and a NOTIFY goes
out only when it differs from what the watcher has, or when RFC 6665 demands one (first, refresh, end). While a NOTIFY is
unanswered the next waits, so that documents arrive in order and a slow watcher costs one transaction. Refused with
481 and the like the subscription is gone; an answer that never comes, or a broken flow, only delays the NOTIFY: it is tried
again later, or at once when the phone registers anew, with the state of that moment.
A document that is a list of resources (RFC 4662, `event_list.py`) goes to those who can read one, and is told in parts: what is left
over of it follows as soon as the NOTIFY before it is answered.
REFER's implicit subscription (RFC 3515 section 2.4.4) is the same thing with a document that its owner sets (`update`).
Invariants: at most `max_per_user` of one account and `max_total` in all; none outlives its end; a terminated one sends
nothing after its last NOTIFY; versions of one subscription rise by one from 0.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from firmware.sip.dialog import Dialog, DialogKey, request_user, server_dialog
from firmware.sip.errors import SyntaxProblem
from firmware.sip.event_list import MOST_BYTES, MOST_LAST_BYTES, OPTION, RELATED, RLMI, EventList
from firmware.sip.flow import URI_PARAMETER, Flow
from firmware.sip.message import Request, Response, respond
from firmware.sip.transaction import MAGIC, Transaction, TransactionLayer
from firmware.sip.uri import escape_user, join_host_port, parse_params, parse_uri
from firmware.sip.validate import Refusal

#: Packages of watchers and the one media type that each is told in (RFC 4235, RFC 3842, RFC 3856).
PACKAGES = {
    "dialog": "application/dialog-info+xml", "message-summary": "application/simple-message-summary", "presence": "application/pidf+xml",
}  # fmt: skip
ALLOW_EVENTS = ", ".join([*PACKAGES, "refer"])
#: Answers to NOTIFY that end the usage or its dialog (RFC 5057 section 5.3, RFC 6665 section 4.2.2).
GONE = frozenset((404, 405, 410, 416, 481, 482, 483, 484, 485, 489, 501, 604))
MIN_S = 60
MAX_S = 3600
FIRST_RETRY_MS = 5_000
LAST_RETRY_MS = 300_000
#: Added to sequence numbers and versions by a process that takes over: more than were used since the last snapshot.
TAKE_OVER_GAP = 100_000


class Document(Protocol):
    """What a resource is like at one moment; documents that say the same are equal."""

    @property
    def content_type(self) -> str: ...
    def render(self, version: int) -> bytes: ...


class Source(Protocol):
    """Where documents come from. None: the resource does not exist, or this account may not watch it."""

    def document(self, account: str, package: str, resource: str, host: str) -> Document | None: ...


class StoredSubscription(msgspec.Struct):
    """What another process needs to go on with a subscription."""

    dialog: Dialog
    account: str
    event: str
    resource: str
    host: str
    expires_at: int
    version: int


class Subscription:
    """One watcher of one resource. `reason` is set when it ends."""

    __slots__ = ("account", "again", "base", "dialog", "event", "expires_at", "failures", "fixed", "host", "package", "pending", "reason",
                 "parts", "resource", "retry_at", "shown", "transaction", "version")  # fmt: skip

    def __init__(self, dialog: Dialog, account: str, event: str, resource: str, host: str, expires_at: int) -> None:
        self.dialog = dialog
        self.account = account
        self.event = event
        self.package = event.partition(";")[0]
        self.resource = resource
        self.host = host
        self.expires_at = expires_at
        self.version = -1
        self.base = 0                                      # of a list: version of a member's first document in this process
        self.parts: dict[str, int] = {}                    # and of the next one of each member
        self.fixed: Document | None = None                 # the document of an implicit subscription
        self.pending: Document | None = None               # in the NOTIFY that is unanswered
        self.shown: Document | None = None                 # what the watcher has acknowledged
        self.transaction: Transaction | None = None
        self.again = False                                 # another NOTIFY is due after this one
        self.failures = 0
        self.retry_at: int | None = None
        self.reason = ""

    @property
    def key(self) -> tuple[DialogKey, str]:
        return (self.dialog.key, self.event)

    def due(self) -> int:
        return self.expires_at if self.retry_at is None else min(self.retry_at, self.expires_at)


class Subscriptions:
    """`locate(account, target)`: the flow over which that contact is registered now. `now` is set by the endpoint before each use."""

    def __init__(
        self,
        transactions: TransactionLayer,
        token: Callable[[int], str],
        connected: Callable[[Flow], bool],
        locate: Callable[[str, str], Flow | None],
        *,
        max_per_user: int = 128,
        max_total: int = 4096,
    ) -> None:
        self.source: Source | None = None
        self.now = 0
        self.max_per_user = max_per_user
        self.max_total = max_total
        self._transactions = transactions
        self._token = token
        self._connected = connected
        self._locate = locate
        self._table: dict[tuple[DialogKey, str], Subscription] = {}
        self._users: Counter[str] = Counter()
        self._timers: list[tuple[int, int, Subscription]] = []
        self._order = 0
        self.changed = False                               # since the last snapshot: begun, refreshed or ended

    def __len__(self) -> int:
        return len(self._table)

    # --- SUBSCRIBE ----------------------------------------------------------------------------------------------------

    def subscribe(self, request: Request, account: str, reply: Flow, flow: Flow) -> Refusal | None:
        """A SUBSCRIBE outside of a dialog, of an authenticated account; a refusal is to be sent without state."""
        event = event_of(request)
        package = event.partition(";")[0]
        if package not in PACKAGES:
            return Refusal(489, headers=(("Allow-Events", ALLOW_EVENTS),))
        seconds = _asked(request)
        refusal = _long_enough(seconds)
        if refusal is not None:
            return refusal
        dialog = server_dialog(request, self._token(16), flow)
        resource, host = request_user(request.uri), parse_uri(request.uri).hostport
        document = self.source.document(account, package, resource, host) if self.source is not None else None
        listed = isinstance(document, EventList)
        if listed and OPTION not in (*request.headers.tokens("supported"), *request.headers.tokens("require")):
            return Refusal(421, headers=(("Require", OPTION),))      # RFC 4662 section 4.2
        refusal = _acceptable(request, package, listed=listed)
        if refusal is not None:
            return refusal
        if document is None:
            return Refusal(404)
        self._forget_earlier(account, event, resource, dialog)
        if self._users[account] >= self.max_per_user:
            return Refusal(403, "Too many subscriptions")
        if len(self._table) >= self.max_total or not self._transactions.room:
            return Refusal(503, headers=(("Retry-After", "30"),))
        subscription = Subscription(dialog, account, event, resource, host, self.now + min(seconds, MAX_S) * 1000)
        self._add(subscription)
        self._accept(request, subscription, reply, min(seconds, MAX_S), listed=listed)
        self._granted(subscription, seconds)
        return None

    def _forget_earlier(self, account: str, event: str, resource: str, dialog: Dialog) -> None:
        """A phone that restarted subscribes anew; what it had from the same contact would only be answered 481."""
        for other in list(self._table.values()):
            if (other.account, other.event, other.resource) != (account, event, resource) or other.fixed is not None:
                continue
            if other.dialog.target == dialog.target and other.dialog.call_id != dialog.call_id:
                self._remove(other)

    def in_dialog(self, request: Request, reply: Flow, flow: Flow) -> Refusal | None:
        """A SUBSCRIBE within a dialog: a refresh or an end."""
        key = ((request.call_id, request.to.tag, request.from_.tag), event_of(request))
        subscription = self._table.get(key)
        if subscription is None or subscription.reason:
            return Refusal(481)
        refusal = subscription.dialog.accepts(request)
        if refusal is not None:
            return refusal
        seconds = _asked(request)
        refusal = _long_enough(seconds)
        if refusal is None and not self._transactions.room:
            refusal = Refusal(503, headers=(("Retry-After", "5"),))
        if refusal is not None:
            return refusal
        subscription.dialog.refresh(request.contact, flow)
        subscription.expires_at = self.now + min(seconds, MAX_S) * 1000
        subscription.retry_at, subscription.failures = None, 0
        self.changed = True
        self._accept(request, subscription, reply, min(seconds, MAX_S), listed=isinstance(self._document(subscription), EventList))
        self._granted(subscription, seconds)
        return None

    def _accept(self, request: Request, subscription: Subscription, reply: Flow, seconds: int, *, listed: bool) -> None:
        transaction = self._transactions.accept(request, reply, None)
        routes = [("Record-Route", value) for value in request.headers.get_all("record-route")]
        extra = (("Require", OPTION),) if listed else ()
        headers = (*routes, ("Contact", contact(subscription.resource, reply)), ("Expires", str(seconds)), *extra)
        answer = respond(request, 200, to_tag=subscription.dialog.local_tag, headers=headers)
        self._transactions.respond(transaction, answer, self.now)

    def _granted(self, subscription: Subscription, seconds: int) -> None:
        if seconds == 0:
            self.terminate(subscription, "timeout")
        else:
            self._arm(subscription)
            self._notify(subscription, always=True)

    # --- implicit subscriptions ---------------------------------------------------------------------------------------

    def implicit(self, dialog: Dialog, account: str, event: str, document: Document, seconds: int) -> Subscription | None:
        """The subscription that a REFER makes; None when there is no room for it."""
        if len(self._table) >= self.max_total or not self._transactions.room:
            return None
        subscription = Subscription(dialog, account, event, "", "", self.now + seconds * 1000)
        if subscription.key in self._table:
            return None
        subscription.fixed = document
        self._add(subscription)
        self._arm(subscription)
        self._notify(subscription, always=True)
        return subscription

    def update(self, subscription: Subscription, document: Document, reason: str = "") -> None:
        """Another document of an implicit subscription; with `reason` it is the last one."""
        subscription.fixed = document
        if reason:
            self.terminate(subscription, reason)
        else:
            self._notify(subscription)

    # --- what changes -------------------------------------------------------------------------------------------------

    def refresh(self, package: str, resources: Iterable[str] | None = None) -> None:
        """Tell the watchers of these resources (None: of all) what has changed for them."""
        wanted = None if resources is None else frozenset(resources)
        for subscription in list(self._table.values()):
            if subscription.package == package and subscription.fixed is None and (wanted is None or subscription.resource in wanted):
                self._notify(subscription)

    def reattach(self, account: str) -> None:
        """An account registered: what could not be delivered to it is delivered now."""
        for subscription in list(self._table.values()):
            if subscription.account == account and subscription.transaction is None:
                lost = subscription.dialog.flow.reliable and not self._connected(subscription.dialog.flow)
                if subscription.retry_at is not None or lost:
                    subscription.retry_at = None
                    self._notify(subscription, always=True)

    def close(self, account: str) -> None:
        """The account is gone: so are its subscriptions."""
        for subscription in [one for one in self._table.values() if one.account == account]:
            self.terminate(subscription, "rejected")

    def deactivate(self) -> None:
        """The appliance stops: watchers are told to subscribe again."""
        for subscription in list(self._table.values()):
            self.terminate(subscription, "deactivated")

    def terminate(self, subscription: Subscription, reason: str) -> None:
        """End a subscription; its last NOTIFY says why."""
        if subscription.reason or self._table.get(subscription.key) is not subscription:
            return
        subscription.reason = reason
        subscription.retry_at = None
        if subscription.fixed is not None:
            subscription.transaction = None                # a REFER's outcome goes ahead of the BYE: many clients forget the call with it
        self._notify(subscription, always=True)

    # --- NOTIFY -------------------------------------------------------------------------------------------------------

    def _notify(self, subscription: Subscription, *, always: bool = False) -> None:
        if subscription.transaction is not None:
            subscription.again = True
            if always:
                subscription.shown = subscription.pending = None
            return
        if subscription.retry_at is not None:
            return                                         # told when the flow works again, with what is true then
        document = self._document(subscription)
        if document is None and not subscription.reason:
            subscription.reason = "noresource"
        elif document == subscription.shown and not always:
            return
        if not self._transactions.room:
            self._later(subscription, FIRST_RETRY_MS)
            return
        subscription.again = False
        subscription.pending = document
        self._send(subscription, document, subscription.shown if not always else None)
        if subscription.reason:
            self._remove(subscription)

    def _document(self, subscription: Subscription) -> Document | None:
        if subscription.fixed is not None or self.source is None:
            return subscription.fixed
        return self.source.document(subscription.account, subscription.package, subscription.resource, subscription.host)

    def _send(self, subscription: Subscription, document: Document | None, known: Document | None) -> None:
        dialog = subscription.dialog
        flow = self._hop(subscription)
        request = dialog.request("NOTIFY", MAGIC + self._token(16), contact=contact(subscription.resource or subscription.account, flow))
        via = request.via
        if (via.host, via.port, via.transport) != (*flow.local, flow.transport):
            request.set_top_via(msgspec.structs.replace(via, transport=flow.transport, host=flow.local[0], port=flow.local[1]))
        left = max(0, -((self.now - subscription.expires_at) // 1000))
        state = f"terminated;reason={subscription.reason}" if subscription.reason else f"active;expires={left}"
        request.headers.add("Event", subscription.event)
        request.headers.add("Subscription-State", state)
        request.headers.add("Allow-Events", ALLOW_EVENTS)
        if document is not None:
            subscription.version += 1
            request.headers.add("Content-Type", document.content_type)
            if isinstance(document, EventList):
                request.headers.add("Require", OPTION)
                request.body = self._listed(subscription, document, known)
            else:
                request.body = document.render(subscription.version)
        subscription.transaction = self._transactions.request(request, flow, subscription, self.now)

    @staticmethod
    def _listed(subscription: Subscription, document: EventList, known: Document | None) -> bytes:
        """The next part of a list for its watcher; what does not fit is told when this is answered."""
        known = known if isinstance(known, EventList) else None
        versions = {member.resource: subscription.parts.get(member.resource, subscription.base) for member in document.members}
        most = MOST_LAST_BYTES if subscription.reason else MOST_BYTES
        notice = document.notice(known, subscription.version, versions, most)
        subscription.parts.update((resource, versions[resource] + 1) for resource in notice.told)
        subscription.pending = notice.known
        subscription.again = notice.known != document
        return notice.body

    def _hop(self, subscription: Subscription) -> Flow:
        """The flow of the dialog; where that failed, the one its contact is registered over, or the contact itself."""
        dialog = subscription.dialog
        flow = dialog.hop()
        if self._connected(flow) and not subscription.failures:
            return flow
        found = self._locate(subscription.account, dialog.target)
        if found is not None:
            dialog.flow = found
            return found
        return flow if self._connected(flow) else msgspec.structs.replace(dialog, symmetric=False).hop()

    def receive_response(self, transaction: Transaction, response: Response) -> None:
        """An answer to a NOTIFY."""
        subscription = transaction.owner
        assert isinstance(subscription, Subscription)
        if transaction is not subscription.transaction or response.status < 200:
            return
        subscription.transaction = None
        if response.status < 300:
            subscription.failures = 0
            subscription.shown = subscription.pending
            self._next(subscription)
        elif response.status in GONE:
            self._remove(subscription)
        else:
            self._failed(subscription, _seconds(response.headers.get("retry-after").split(";")[0].split("(")[0].strip(), 0))

    def transaction_ended(self, transaction: Transaction) -> None:
        """A NOTIFY was not answered, or its flow is broken."""
        subscription = transaction.owner
        assert isinstance(subscription, Subscription)
        if transaction is subscription.transaction:
            subscription.transaction = None
            self._failed(subscription, 0)

    def _next(self, subscription: Subscription) -> None:
        if subscription.again and self._table.get(subscription.key) is subscription:
            subscription.again = False
            self._notify(subscription, always=subscription.shown is None or bool(subscription.reason))

    def _failed(self, subscription: Subscription, asked_s: int) -> None:
        subscription.failures += 1
        subscription.shown = subscription.pending = None
        if self._table.get(subscription.key) is not subscription:
            return
        if subscription.reason:
            subscription.retry_at = None
            self._notify(subscription, always=True)        # the last word once more, over whatever flow there is now
            return
        self._later(subscription, max(asked_s * 1000, FIRST_RETRY_MS << min(subscription.failures - 1, 6)))

    def _later(self, subscription: Subscription, ms: int) -> None:
        subscription.retry_at = self.now + min(ms, LAST_RETRY_MS)
        self._arm(subscription)

    # --- table and time -----------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """All watchers' subscriptions, for `restore` of another process; those of REFER end with the calls they speak of."""
        self.changed = False
        return msgspec.msgpack.encode([
            StoredSubscription(one.dialog, one.account, one.event, one.resource, one.host, one.expires_at, one.version)
            for one in self._table.values() if one.fixed is None and not one.reason
        ])  # fmt: skip

    def restore(self, data: bytes, accounts: Iterable[str], shift_ms: int = 0) -> None:
        """Go on with subscriptions of an earlier process, whose clock was `shift_ms` behind; each is told what is true now."""
        try:
            stored = msgspec.msgpack.decode(data, type=list[StoredSubscription])
        except msgspec.MsgspecError:
            return
        known = frozenset(accounts)
        for one in stored:
            until = one.expires_at + shift_ms
            if one.account not in known or not self.now < until <= self.now + MAX_S * 1000 or len(self._table) >= self.max_total:
                continue
            one.dialog.local_cseq += TAKE_OVER_GAP
            subscription = Subscription(one.dialog, one.account, one.event, one.resource, one.host, until)
            subscription.version = subscription.base = one.version + TAKE_OVER_GAP
            if subscription.key not in self._table:
                self._add(subscription)
                self._arm(subscription)
                self._notify(subscription, always=True)

    def _add(self, subscription: Subscription) -> None:
        self.changed = True
        self._table[subscription.key] = subscription
        if subscription.fixed is None:
            self._users[subscription.account] += 1

    def _remove(self, subscription: Subscription) -> None:
        if self._table.get(subscription.key) is not subscription:
            return
        del self._table[subscription.key]
        self.changed = True
        if subscription.package in PACKAGES:
            self._users[subscription.account] -= 1
            if self._users[subscription.account] <= 0:
                del self._users[subscription.account]

    def _arm(self, subscription: Subscription) -> None:
        self._order += 1
        heapq.heappush(self._timers, (subscription.due(), self._order, subscription))

    def _stale(self, entry: tuple[int, int, Subscription]) -> bool:
        at, _, subscription = entry
        return self._table.get(subscription.key) is not subscription or subscription.due() != at

    def deadline(self) -> int | None:
        """Engine ms at which `expire` is due, None for never."""
        while self._timers and self._stale(self._timers[0]):
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def expire(self) -> None:
        """Run what is due: ends of subscriptions, NOTIFYs to be tried again."""
        while self._timers and self._timers[0][0] <= self.now:
            entry = heapq.heappop(self._timers)
            subscription = entry[2]
            if self._stale(entry):
                continue
            if subscription.expires_at <= self.now:
                subscription.retry_at = None
                if subscription.transaction is not None:
                    self._remove(subscription)             # it does not answer: nobody is told
                else:
                    self.terminate(subscription, "timeout")
            else:
                subscription.retry_at = None
                self._arm(subscription)
                self._notify(subscription, always=True)


def contact(user: str, flow: Flow) -> str:
    """Our Contact for a dialog about `user`."""
    transport = URI_PARAMETER[flow.transport]
    return f"<sip:{escape_user(user) or 'branchpbx'}@{join_host_port(*flow.local)}{transport}>"


def event_of(request: Request) -> str:
    """The Event of a request as this module names it: the package, and ";id=..." where one is given; "" for none or a broken one."""
    package, semicolon, rest = request.headers.get("event").partition(";")
    try:
        number = next((value for key, value in parse_params(semicolon + rest) if key == "id" and value), "")
    except SyntaxProblem:
        return ""
    return package.strip().lower() + (f";id={number}" if number else "")


def _seconds(text: str, default: int) -> int:
    text = text.strip()
    return min(int(text), 2**31 - 1) if text.isascii() and text.isdigit() and len(text) <= 12 else default


def _asked(request: Request) -> int:
    return _seconds(request.headers.get("expires"), MAX_S)


def _long_enough(seconds: int) -> Refusal | None:
    return Refusal(423, headers=(("Min-Expires", str(MIN_S)),)) if 0 < seconds < MIN_S else None


def _acceptable(request: Request, package: str, *, listed: bool) -> Refusal | None:
    """Who takes the package's documents and can read lists (its Supported says so) takes the body of a list, whatever Accept leaves out."""
    accepted = request.headers.tokens("accept")
    wanted = (PACKAGES[package], RELATED, RLMI) if listed else (PACKAGES[package],)
    if accepted and not any(kind in (*wanted, "application/*", "*/*") for kind in accepted):
        return Refusal(406, headers=(("Accept", ", ".join(wanted)),))
    return None
