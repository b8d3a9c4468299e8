"""Events and commands of the SIP endpoint (L1). Events are past tense, commands imperative; `call` is a session id."""

from __future__ import annotations

import msgspec

from firmware.sip.flow import Flow
from firmware.sip.registrar import Binding
from firmware.sip.sdp import Description


class Event(msgspec.Struct, frozen=True, tag=True):
    """Base; `at` is engine ms."""

    at: int


class IncomingCall(Event, frozen=True):
    """An authenticated INVITE. `account` is who calls, `called` the user part that was dialled, `offer` None when late."""

    call: str
    account: str
    called: str
    display: str
    offer: Description | None
    flow: Flow


class CallRinging(Event, frozen=True):
    """A call we placed rings."""

    call: str


class CallProgress(Event, frozen=True):
    """Early media is described (18x with SDP)."""

    call: str
    answer: Description


class CallAnswered(Event, frozen=True):
    """A call we placed was answered. `answer` is None when the 200 carried none (183 did)."""

    call: str
    answer: Description | None


class CallConfirmed(Event, frozen=True):
    """Our 200 was acknowledged; `answer` is the peer's answer to a late offer."""

    call: str
    answer: Description | None


class CallEnded(Event, frozen=True):
    """The last event of a call. `status` is the final code (0: BYE after an answer), `by_far` false when we ended it.

    `how`: "bye", "cancel", "final", "timeout" (no answer from the network), "no-ack", "gone" (481/408 within the dialog),
    "command".
    """

    call: str
    how: str
    status: int
    by_far: bool
    reason: str = ""


class Reoffered(Event, frozen=True):
    """The peer sent a re-INVITE; answer with `AnswerOffer` or `RefuseOffer`. `offer` None: we are to make one."""

    call: str
    offer: Description | None


class OfferAnswered(Event, frozen=True):
    """The peer answered our re-INVITE (or, with late offer, the offer in our answer to its re-INVITE)."""

    call: str
    answer: Description | None


class OfferRefused(Event, frozen=True):
    """The peer refused our re-INVITE; the call goes on as it was."""

    call: str
    status: int


class InfoDigit(Event, frozen=True):
    """A key by SIP INFO."""

    call: str
    digit: str
    duration_ms: int


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
    """Call `uri` over `flow` as `caller` (number, display name); `headers` are added to the INVITE."""

    uri: str
    flow: Flow
    offer: Description
    account: str = ""
    number: str = ""
    display: str = ""
    symmetric: bool = True
    route_set: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


class RingCall(Command, frozen=True):
    """Answer an incoming call 180."""


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
