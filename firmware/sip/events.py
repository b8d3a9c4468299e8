"""Events and commands of the SIP endpoint (L1). Events are past tense, commands imperative; `call` is a session id."""

from __future__ import annotations

import msgspec

from firmware.sip.flow import Flow
from firmware.sip.registrar import Binding
from firmware.sip.replaces import Replaces
from firmware.sip.sdp import Description


class Event(msgspec.Struct, frozen=True, tag=True):
    """Base; `at` is engine ms."""

    at: int


class IncomingCall(Event, frozen=True):
    """An authenticated INVITE. `account` is who calls, `called` the user part that was dialled, `offer` None when late.

    `replaces` names the dialog whose place it wants to take (RFC 3891), `replaced` our call of that dialog, "" where none of ours is meant.
    """

    call: str
    account: str
    called: str
    display: str
    offer: Description | None
    flow: Flow
    replaces: Replaces | None = None
    replaced: str = ""


class CallRinging(Event, frozen=True):
    """A call we placed rings."""

    call: str


class CallProgress(Event, frozen=True):
    """Early media is described (18x with SDP)."""

    call: str
    answer: Description


class CallAnswered(Event, frozen=True):
    """A call we placed was answered. `answer` is that of the 200, else of an earlier 18x of the same fork; None without any."""

    call: str
    answer: Description | None


class CallConfirmed(Event, frozen=True):
    """Our 200 was acknowledged; `answer` is the peer's answer to a late offer."""

    call: str
    answer: Description | None


class CallEnded(Event, frozen=True):
    """The last event of a call. `status` is the final code (0: BYE after an answer), `by_far` false when we ended it.

    `how`: "bye", "cancel", "final", "timeout" (no answer from the network), "no-ack" (of a 2xx: 408, of a
    reliable 18x: 504), "gone" (481/408 within the dialog, or the session interval is over), "command".
    `forward`: the number that a 301 or 302 names instead.
    """

    call: str
    how: str
    status: int
    by_far: bool
    reason: str = ""
    forward: str = ""


class Reoffered(Event, frozen=True):
    """The peer sent a re-INVITE, or an UPDATE with an offer; answer by `AnswerOffer` or `RefuseOffer`. `offer` None: we are to make one."""

    call: str
    offer: Description | None


class OfferAnswered(Event, frozen=True):
    """The peer answered our re-INVITE, also one that only refreshes (or, with late offer, the offer in our answer to its own)."""

    call: str
    answer: Description | None


class WayFailed(Event, frozen=True):
    """The INVITE of a call found nobody over this flow; the next one is tried, or the call ends. `why`: "failed" (the transport),
    "timed-out", "refused" (503, with the seconds of its Retry-After)."""

    call: str
    flow: Flow
    why: str
    retry_after_s: int


class OfferRefused(Event, frozen=True):
    """The peer refused our re-INVITE; the call goes on as it was."""

    call: str
    status: int


class InfoDigit(Event, frozen=True):
    """A key by SIP INFO."""

    call: str
    digit: str
    duration_ms: int


class InfoRefused(Event, frozen=True):
    """The peer takes no keys by INFO; these were not sent."""

    call: str
    digits: str


class Referred(Event, frozen=True):
    """The peer of a call asks us to connect its far party with `number`, or with the far party of our call `replaces` (RFC 3515, 3891).

    It was answered 202; `ReportReferral` tells it the outcome. `by` is who it says it is (Referred-By), for the record only.
    """

    call: str
    referral: str
    number: str
    replaces: str = ""
    by: str = ""


class ReferEnded(Event, frozen=True):
    """What a `ReferPeer` has come to: a final status; `tried`: the peer had accepted it. The calls are as they were."""

    call: str
    status: int
    tried: bool = False


class Registered(Event, frozen=True):
    """An account has a new or refreshed binding."""

    account: str
    bindings: tuple[Binding, ...]


class Unregistered(Event, frozen=True):
    """An account lost bindings; `left` are still there. `why`: "request", "expired", "connection", "removed"."""

    account: str
    left: int
    why: str


class AuthenticationFailed(Event, frozen=True):
    """Wrong password or unknown user."""

    method: str
    source: str


class OptionsPing(Event, frozen=True):
    """Somebody asked with OPTIONS."""

    source: str


# --- commands ---------------------------------------------------------------------------------------------------------


class Command(msgspec.Struct, frozen=True, tag=True):
    """Base."""

    call: str


class PlaceCall(Command, frozen=True):
    """Call `uri` over `flow` as `caller` (number, display name); `headers` are added to the INVITE.

    `from_uri` stands in From instead of `number` at our address, `contact_user` in our Contact (which otherwise names the
    account); `plain`: 100rel is not offered, `timers`: session timers are. `further` are flows to be tried in turn where
    `flow` fails (RFC 3263 section 4.3), each after `patience_ms` without any answer (0: timer B). An offer that is not acceptable
    (488, 606) is followed by what `Calls.another` gives.
    """

    uri: str
    flow: Flow
    offer: Description
    account: str = ""
    number: str = ""
    display: str = ""
    symmetric: bool = True
    route_set: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    further: tuple[Flow, ...] = ()
    further_uris: tuple[str, ...] = ()   # what is asked for there, where that is not `uri`
    patience_ms: int = 0
    from_uri: str = ""
    contact_user: str = ""
    plain: bool = False
    timers: bool = True


class RingCall(Command, frozen=True):
    """Answer an incoming call 180; with `description`, our answer to its offer, 183: it hears what we send from now on."""

    description: Description | None = None


class AnswerCall(Command, frozen=True):
    """Answer an incoming call 200 with this description (an answer, or an offer where the INVITE had none)."""

    description: Description


class RefuseCall(Command, frozen=True):
    """Refuse an incoming call."""

    status: int
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class EndCall(Command, frozen=True):
    """End a call in any state (refuse 480, CANCEL or BYE). `reason` becomes a Reason header (RFC 3326)."""

    reason: str = ""


class OfferAgain(Command, frozen=True):
    """Send a re-INVITE with this offer."""

    description: Description


class AnswerOffer(Command, frozen=True):
    """Answer the re-INVITE of the peer."""

    description: Description


class RefuseOffer(Command, frozen=True):
    """Refuse the re-INVITE of the peer; the call goes on."""

    status: int = 488


class SendInfo(Command, frozen=True):
    """Send keys in INFO, one after the other."""

    digits: str


class CheckPeer(Command, frozen=True):
    """Ask the peer of a confirmed call whether it is still there; one that is not ends the call ("gone")."""


class Identify(Command, frozen=True):
    """Tell the peer of an answered call with whom it speaks now: headers for our UPDATEs and re-INVITEs, sent at once."""

    headers: tuple[tuple[str, str], ...]


class ReferPeer(Command, frozen=True):
    """Ask the peer to connect its far end with that of our call `other` (REFER with Replaces), or with `uri` where that is empty.

    `ReferEnded` tells the outcome, at the latest after `patience_ms`.
    """

    other: str = ""
    uri: str = ""
    patience_ms: int = 40_000


class ReportReferral(Command, frozen=True):
    """What a `Referred` has come to: a final status, or a provisional one. `call` may be over."""

    referral: str
    status: int
