"""Legs, parties and the vocabulary that lines, phones and calls share (L1, pure).

Theory of operation
-------------------
A *contact* is one caller's visit to the branch. It has *legs*: one per telephone involved (FXO line, FXS phone,
SIP phone). `core/lines.py` and `core/phones.py` are *leg drivers*: they own the signalling of a leg and publish the
events below on the bus; `core/calls.py` owns what legs mean to each other and gives the commands of `LegDriver`.
Invariants: a leg has exactly one `LegEnded`, it is its last event, and after it the driver holds nothing of the leg.
All instants are integer milliseconds of the engine clock (`runtime.clock`), field name `at`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from firmware.call.quality import Quality


class LegKind(StrEnum):
    """Technology of a leg."""

    FXO = "fxo"
    FXS = "fxs"
    SIP = "sip"
    TRUNK = "trunk"


#: Kinds of outside: who calls or is called there is not of this house.
OUTSIDE = frozenset((LegKind.FXO, LegKind.TRUNK))
#: Kinds whose speech comes as RTP.
PACKETS = frozenset((LegKind.SIP, LegKind.TRUNK))
TRUNK = "trunk/"


def is_trunk(endpoint: str) -> bool:
    """Whether an endpoint is a SIP trunk ("trunk/NAME")."""
    return endpoint.startswith(TRUNK)


def is_outside(endpoint: str) -> bool:
    """Whether an endpoint is a line or a SIP trunk."""
    return endpoint.startswith(("line/", TRUNK))


class Cause(StrEnum):
    """Why a leg or contact ended: the one vocabulary of records, logs and screens."""

    NORMAL = "normal"                    # somebody hung up after an answer
    BUSY = "busy"
    NO_ANSWER = "no-answer"
    REJECTED = "rejected"
    CANCELLED = "cancelled"              # the calling side gave up before an answer
    ABANDONED = "abandoned"              # the caller left a greeting, menu or queue
    ELSEWHERE = "answered-elsewhere"     # another leg of the same ringing was answered
    TRANSFERRED = "transferred"
    UNREACHABLE = "unreachable"          # not registered, no line free, no such number
    REFUSED = "refused"                  # permission class, guard or limit
    CONGESTION = "congestion"            # exchange or carrier congestion, all circuits busy
    NO_DIAL_TONE = "no-dial-tone"
    LINE_FAULT = "line-fault"            # no battery, chip or card lost
    MEDIA_LOST = "media-lost"            # the media process died under the call
    RTP_LOST = "rtp-lost"
    TIMEOUT = "timeout"                  # a policy limit ended it
    PREEMPTED = "preempted"              # a line was freed for an emergency call
    SYSTEM = "system"                    # orderly shutdown or an internal error


class Side(StrEnum):
    """Who hung up first."""

    CALLER = "caller"
    AGENT = "agent"                      # the called or answering person
    SYSTEM = "system"
    UNKNOWN = "unknown"


class Party(msgspec.Struct, frozen=True):
    """A telephone number with its optional name; `reason` says why the number is not to be shown ("private", "unavailable").

    `by` is the extension that hands the call over (Referred-By, RFC 3892).
    """

    number: str = ""
    name: str = ""
    reason: str = ""
    by: str = ""


class Evidence(msgspec.Struct, frozen=True):
    """What proves an answer or a release, and how sure it is.

    `kind`: "polarity", "loop-drop", "busy-tone", "congestion-tone", "dial-tone", "silence", "ringback-stopped", "ring-stopped",
    "ring" (glare), "voice", "on-hook", "off-hook", "bye", "cancel", "sip-200", "sip-<code>", "timer", "command",
    "adoption". `confidence` in 0..1.
    """

    kind: str
    confidence: float = 1.0
    detail: str = ""


class Alert(StrEnum):
    """Ringing pattern of a called phone."""

    NORMAL = "normal"
    QUEUE = "queue"
    RECALL = "recall"
    EMERGENCY = "emergency"
    INTERCOM = "intercom"        # a SIP telephone answers by itself


# --- events of leg drivers (published on the bus) ---------------------------------------------------------------------


class LegEvent(msgspec.Struct, frozen=True, tag=True):
    """Base: every leg event names its leg and its instant (engine ms)."""

    leg: str
    at: int


class LegOffered(LegEvent, frozen=True):
    """A telephone calls us. FXO: after caller id is known or has timed out and the configured ring count is reached.

    `endpoint` is the line ("line/1"), the trunk ("trunk/NAME"), or the calling extension ("201"). `called` is what was dialled ("" on FXO).
    `port` is the engine port id, or -1 where none is open yet (SIP before our answer). `rings` counts ring bursts so far.
    `replaces` is the leg that this one takes the place of (SIP Replaces), `early_only`: while that rings only.
    """

    kind: LegKind
    endpoint: str
    caller: Party
    called: str = ""
    port: int = -1
    rings: int = 0
    ring_started: int = 0
    replaces: str = ""
    early_only: bool = False


class LegRinging(LegEvent, frozen=True):
    """A leg that we originate rings at the far end (SIP 180, FXS first burst, FXO ringback heard)."""


class LegProgress(LegEvent, frozen=True):
    """Early audio is present on `port` (FXO outbound after dialling, SIP 183 with SDP)."""

    port: int


class LegAnswered(LegEvent, frozen=True):
    """The leg is in conversation; `port` is its engine port."""

    port: int
    evidence: Evidence


class LegEnded(LegEvent, frozen=True):
    """The last event of a leg. `by_far` is true when the telephone (not our command) ended it; `quality`: of a leg over IP."""

    cause: Cause
    evidence: Evidence
    by_far: bool
    quality: Quality | None = None


class LegDigit(LegEvent, frozen=True):
    """A key was pressed (`digit` one of 0-9*#A-D), whatever carried it: in-band, RFC 4733, INFO, dial pulses."""

    digit: str


class LegFlash(LegEvent, frozen=True):
    """Hook flash on an FXS leg."""


class LegHeld(LegEvent, frozen=True):
    """The telephone put us on hold (SIP sendonly/inactive re-INVITE)."""


class LegResumed(LegEvent, frozen=True):
    """The telephone took us off hold."""


class LegForwarded(LegEvent, frozen=True):
    """A telephone that is rung sends the call on to `number` (SIP 302); its `LegEnded` follows at once."""

    number: str


class LegReferred(LegEvent, frozen=True):
    """A telephone hands its far party over by its own transfer key (SIP REFER): to `number`, or to the far party of its leg `consult`.

    `Calls.referred(token, cause)` tells the outcome to whoever published this: None, or why it failed.
    """

    token: str
    number: str = ""
    consult: str = ""


class LineMissed(msgspec.Struct, frozen=True, tag=True):
    """An outside call rang and stopped before it could be offered: there is no leg, but somebody called. Instants are engine ms."""

    endpoint: str
    at: int
    caller: Party
    rings: int
    ring_started: int


class TalkMuted(msgspec.Struct, frozen=True, tag=True):
    """A telephone and the far party must not hear each other while the telephone is told of a waiting call; then again as before."""

    leg: str
    at: int
    on: bool


class EndpointState(msgspec.Struct, frozen=True, tag=True):
    """Availability of an extension or line changed. `state`: "idle", "busy", "ringing", "unregistered", "fault"."""

    endpoint: str
    at: int
    state: str
    detail: str = ""


# --- commands to leg drivers ------------------------------------------------------------------------------------------


class LegDriver(Protocol):
    """What `core/calls.py` may ask of a leg. Every command is idempotent on an ended or unknown leg (it does nothing)."""

    def originate(self, leg: str, endpoint: str, *, number: str, caller: Party, alert: Alert, ring_ms: int) -> None:
        """Ring extension `endpoint`, or seize line `endpoint` and dial `number` on it. Failure is a `LegEnded`.

        `ring_ms` bounds ringing (then `LegEnded(NO_ANSWER)`). Emits LegRinging/LegProgress/LegAnswered/LegEnded.
        """

    def progress(self, leg: str) -> None:
        """Tell an offered leg that the far end rings (SIP 180; FXS hears ringback; FXO: nothing)."""

    def early(self, leg: str) -> None:
        """Let an offered leg hear what comes before the answer (SIP 183 with SDP): `LegProgress` follows. One that cannot is answered."""

    def answer(self, leg: str) -> None:
        """Answer an offered leg (FXO off-hook, SIP 200 with SDP, FXS: cut through). `LegAnswered` follows."""

    def hang_up(self, leg: str, cause: Cause) -> None:
        """End the leg (BYE, CANCEL, 486/480/603..., on-hook, or tone towards an off-hook FXS). `LegEnded` follows."""

    def send_digits(self, leg: str, digits: str) -> None:
        """Send keys towards the telephone: in-band on analog legs, RFC 4733 on SIP legs."""

    def hide_keys(self, leg: str, on: bool) -> None:
        """Keys that the person at this leg presses are to be in no trace from here on, or no longer."""

    def snapshot(self) -> dict[str, bytes]:
        """Journal form of each live leg: leg id -> opaque bytes, to give back to `adopt`."""

    def snapshot_leg(self, leg: str) -> bytes:
        """Journal form of one live leg; b"" for one that is unknown."""

    def adopt(self, leg: str, state: bytes, port: int) -> bool:
        """Take over a leg that outlived the previous core process; False when it cannot be (then the caller ends it)."""
