"""REFER as its target: a telephone asks us to reach somebody else for its far party (L1).

Theory of operation
-------------------
RFC 3515, 3891, 3892, 4488, 5589. A REFER within a call is answered 202 and makes a subscription (`subscriptions.py`): NOTIFY
"100 Trying" at once, and one with the final status when the owner reports it, which ends it. The subscription shares the
dialog's numbers but not its life: BYE of the transferor ends the call, and the NOTIFYs go on. Refer-To with Replaces names one of
our own dialogs: the other call of the same telephone (we are in the middle of both), found by Call-ID and both tags.
Outside of a call a REFER is taken from a telephone with its password only, and only for one of its own calls, which it names by
Target-Dialog (RFC 4538): some telephones hand over so. It is a dialog of its own, whose NOTIFYs tell the outcome. Without such a call it
is declined (603, RFC 3515 section 2.4.2), a dialog that is not known being as good as none (RFC 4538 section 6): nobody makes us call.
Invariants: one referral at a time for each call (491); exactly one final NOTIFY, also when nobody reports (after
`PATIENCE_S`: 408); a dialog of another account is never replaced; what is referred to is a number of ours to resolve, no
request is ever sent to a host that a REFER names.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from firmware.sip import events as ev
from firmware.sip.dialog import Dialog, DialogKey, server_dialog
from firmware.sip.errors import SyntaxProblem
from firmware.sip.flow import Flow
from firmware.sip.message import REASONS, Request, respond
from firmware.sip.replaces import Replaces, parse_replaces
from firmware.sip.subscriptions import Subscription, Subscriptions, contact
from firmware.sip.transaction import TransactionLayer
from firmware.sip.uri import NameAddr, Uri, parse_name_addr, unescape
from firmware.sip.validate import Refusal

#: Longer than any telephone is rung.
PATIENCE_S = 360


class SipFrag(msgspec.Struct, frozen=True):
    """What a referral has come to (RFC 3420)."""

    status: int

    @property
    def content_type(self) -> str:
        return "message/sipfrag;version=2.0"

    def render(self, version: int) -> bytes:
        return f"SIP/2.0 {self.status} {REASONS.get(self.status, 'Unknown')}\r\n".encode()


class ReferTo(msgspec.Struct, frozen=True):
    """What a REFER asks for: a number, or the far end of a dialog."""

    number: str
    replaces: Replaces | None = None
    referred_by: str = ""


def _uri_headers(uri: Uri) -> dict[str, str]:
    """Headers within a URI, unescaped; a repeated one is refused by whoever needs it once."""
    found: dict[str, str] = {}
    for pair in uri.headers.split("&") if uri.headers else ():
        name, _, value = pair.partition("=")
        key = unescape(name).lower()
        if key in found:
            raise SyntaxProblem("repeated header in Refer-To")
        found[key] = unescape(value)
    return found


def parse_refer(request: Request) -> ReferTo:
    """What a REFER asks for. Raises SyntaxProblem: no or several Refer-To, no SIP URI, another method than INVITE."""
    values = request.headers.values("refer-to")
    if len(values) != 1:
        raise SyntaxProblem("Refer-To must be there once")
    target: NameAddr = parse_name_addr(values[0])
    uri = target.uri
    if not uri.is_sip:
        raise SyntaxProblem("Refer-To scheme")
    method = uri.param("method")
    if method is not None and method.upper() != "INVITE":
        raise SyntaxProblem("Refer-To method")
    headers = _uri_headers(uri)
    replaces = parse_replaces(headers["replaces"]) if "replaces" in headers else None
    if not uri.user_text and replaces is None:
        raise SyntaxProblem("Refer-To without a number")
    referred = request.headers.values("referred-by")
    return ReferTo(uri.user_text, replaces, parse_name_addr(referred[0]).uri.user_text if referred else "")


def parse_target(request: Request) -> Replaces | None:
    """The dialog that Target-Dialog names, None for none. Raises SyntaxProblem: unreadable, or more than one."""
    values = request.headers.get_all("target-dialog")
    if not values:
        return None
    call_id, *rest = values[0].split(";")
    pairs = [(key.strip().lower(), value.strip()) for key, _, value in (one.partition("=") for one in rest)]
    tags = dict(pairs)
    local, remote = tags.get("local-tag", ""), tags.get("remote-tag", "")
    if len(values) > 1 or "," in values[0] or not call_id.strip() or not local or not remote or len(tags) != len(pairs):
        raise SyntaxProblem("Target-Dialog")
    # Whose tag is the local one, telephones do not agree on: the dialog is looked for both ways, and among the sender's own.
    return Replaces(call_id.strip(), remote, local)


class Referral(msgspec.Struct):
    """A referral whose outcome is not known yet."""

    id: str
    call: str
    subscription: Subscription | None


class Referrals:
    """`find(key)` names the call and account of one of our dialogs, `standing(call)` says that it was answered.

    `now` is set by the endpoint before each use."""

    def __init__(
        self,
        transactions: TransactionLayer,
        subscriptions: Subscriptions,
        token: Callable[[int], str],
        emit: Callable[[ev.Event], None],
        find: Callable[[DialogKey], tuple[str, str] | None],
        standing: Callable[[str], bool],
    ) -> None:
        self.now = 0
        self._transactions = transactions
        self._subscriptions = subscriptions
        self._token = token
        self._emit = emit
        self._find = find
        self._standing = standing
        self._pending: dict[str, Referral] = {}
        self._deadlines: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def receive(self, request: Request, call: str, account: str, dialog: Dialog, reply: Flow) -> Refusal | None:
        """A REFER within a confirmed call; a refusal is to be sent without state."""
        try:
            wanted = parse_refer(request)
        except SyntaxProblem as problem:
            return Refusal(400, f"Bad Request ({problem.what})")
        refusal = dialog.accepts(request)
        return refusal if refusal is not None else self._begin(request, wanted, call, account, dialog, reply, ())

    def outside(self, request: Request, account: str, reply: Flow, flow: Flow) -> Refusal | None:
        """A REFER outside of a dialog; "" is an account that may not have anything."""
        try:
            wanted, target = parse_refer(request), parse_target(request)
        except SyntaxProblem as problem:
            return Refusal(400, f"Bad Request ({problem.what})")
        call = self._own(target, account) if target is not None and account else ""
        if not call or not self._standing(call):
            return Refusal(603)
        if not self._transactions.room:
            return Refusal(503, headers=(("Retry-After", "5"),))
        dialog = server_dialog(request, self._token(16), flow)
        routes = [("Record-Route", value) for value in request.headers.get_all("record-route")]
        return self._begin(request, wanted, call, account, dialog, reply, (*routes, ("Contact", contact(account, reply))))

    def _begin(
        self, request: Request, wanted: ReferTo, call: str, account: str, dialog: Dialog, reply: Flow, headers: tuple[tuple[str, str], ...]
    ) -> Refusal | None:
        if any(other.call == call for other in self._pending.values()):
            return Refusal(491)
        silent = request.headers.get("refer-sub").split(";")[0].strip().lower() == "false"
        transaction = self._transactions.accept(request, reply, None)
        extra = (*headers, ("Refer-Sub", "false")) if silent else headers
        self._transactions.respond(transaction, respond(request, 202, to_tag=dialog.local_tag, headers=extra), self.now)
        # RFC 3515, 2.4.6: the sequence number tells referrals of one dialog apart; always given, so that each is its own.
        event = f"refer;id={request.cseq.number}"
        told = None if silent else self._subscriptions.implicit(dialog, account, event, SipFrag(100), PATIENCE_S + 60)
        referral = Referral(self._token(16), call, told)
        self._pending[referral.id] = referral
        self._deadlines[referral.id] = self.now + PATIENCE_S * 1000
        replaced = ""
        if wanted.replaces is not None:
            found = self._own(wanted.replaces, account)
            if not found or found == call:
                self.report(referral.id, 481)
                return None
            replaced = found
        self._emit(ev.Referred(self.now, call, referral.id, wanted.number, replaced, wanted.referred_by))
        return None

    def _own(self, replaces: Replaces, account: str) -> str:
        """The other call of the same telephone that Replaces names, "" for none; some telephones name the tags the other way round."""
        for key in replaces.keys:
            found = self._find(key)
            if found is not None and found[1] == account:
                return found[0]
        return ""

    def report(self, referral: str, status: int) -> None:
        """What a referral has come to; a provisional status is told as progress. One that is over is ignored."""
        known = self._pending.get(referral)
        if known is None:
            return
        if status >= 200:
            del self._pending[referral]
            del self._deadlines[referral]
        if known.subscription is not None:
            self._subscriptions.update(known.subscription, SipFrag(status), "noresource" if status >= 200 else "")

    def deadline(self) -> int | None:
        """Engine ms at which `expire` is due, None for never."""
        return min(self._deadlines.values()) if self._deadlines else None

    def expire(self) -> None:
        """Referrals that nobody reported of."""
        for referral in [one for one, at in self._deadlines.items() if at <= self.now]:
            self.report(referral, 408)
