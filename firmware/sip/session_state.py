"""What a session is made of: its phases, the state that outlives its process, and what it needs of its surroundings (L1)."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import msgspec

from firmware.sip import events as ev
from firmware.sip.dialog import Dialog
from firmware.sip.flow import Address, Flow
from firmware.sip.message import Request, Response
from firmware.sip.sdp import Description
from firmware.sip.session_timer import SessionTimer
from firmware.sip.settings import Settings
from firmware.sip.transaction import TransactionLayer

if TYPE_CHECKING:
    from firmware.sip.session import Session

SDP = "application/sdp"


class Phase(StrEnum):
    """Where a session stands."""

    OFFERED = "offered"
    ACCEPTED = "accepted"
    CALLING = "calling"
    CONFIRMED = "confirmed"
    ENDING = "ending"
    ENDED = "ended"


# (phase, input) -> next phase; any pair not here is refused or ignored by the method that handles the input.
MOVES: dict[tuple[Phase, str], Phase] = {
    (Phase.OFFERED, "send-2xx"): Phase.ACCEPTED,
    (Phase.OFFERED, "send-final"): Phase.ENDED,
    (Phase.OFFERED, "cancel"): Phase.ENDED,
    (Phase.OFFERED, "bye"): Phase.ENDED,
    (Phase.ACCEPTED, "ack"): Phase.CONFIRMED,
    (Phase.ACCEPTED, "bye"): Phase.ENDED,
    (Phase.ACCEPTED, "end"): Phase.ENDING,
    (Phase.ACCEPTED, "no-ack"): Phase.ENDING,
    (Phase.CALLING, "2xx"): Phase.CONFIRMED,
    (Phase.CALLING, "final"): Phase.ENDED,
    (Phase.CALLING, "timeout"): Phase.ENDED,
    (Phase.CALLING, "end"): Phase.ENDING,
    (Phase.CONFIRMED, "bye"): Phase.ENDED,
    (Phase.CONFIRMED, "end"): Phase.ENDING,
    (Phase.CONFIRMED, "no-ack"): Phase.ENDING,
    (Phase.CONFIRMED, "gone"): Phase.ENDING,
    (Phase.ENDING, "bye"): Phase.ENDED,
    (Phase.ENDING, "done"): Phase.ENDED,
}


class Unacknowledged(msgspec.Struct, omit_defaults=True):
    """A reliable provisional answer of ours that waits for its PRACK."""

    rseq: int
    cseq: int
    data: bytes
    flow: Flow
    interval: int
    at: int
    until: int


class EarlyDialog(msgspec.Struct, omit_defaults=True):
    """A fork of our INVITE that has not answered finally: its dialog, its last RSeq (0: none), its answer to our offer."""

    dialog: Dialog
    rseq: int = 0
    answer: bytes = b""
    answer_type: str = ""


class SessionState(msgspec.Struct, omit_defaults=True):
    """Everything of a session that outlives its process."""

    call: str
    outgoing: bool
    phase: Phase
    flow: Flow
    account: str = ""
    dialog: Dialog | None = None
    invite: bytes = b""                  # the INVITE while no final answer was given or had
    local_tag: str = ""
    symmetric: bool = True
    provisional: bool = False            # a provisional answer was received (CANCEL allowed)
    late: bool = False                   # the INVITE had no offer: ours is in the 200, the answer in the ACK
    cancelling: bool = False
    bye_due: bool = False                # BYE as soon as our 200 is acknowledged
    reason: str = ""
    ok: bytes = b""                      # our 2xx that waits for its ACK
    ok_flow: Flow | None = None
    ok_cseq: int = -1
    ok_interval: int = 0
    ok_at: int | None = None
    ok_until: int | None = None
    give_up_at: int | None = None        # end of waiting for the answer to a cancelled INVITE
    acks: dict[str, bytes] = {}          # "tag cseq" -> ACK sent for that 2xx
    timer: SessionTimer = msgspec.field(default_factory=SessionTimer)
    local: bytes = b""                   # our description as agreed last
    peer_update: bool = False            # the peer allows UPDATE
    peer_info: bool = False              # the peer allows INFO
    identity: tuple[tuple[str, str], ...] = ()   # who the peer is told to speak with, in our UPDATEs and re-INVITEs
    identity_at: int | None = None       # when that is to be told
    plain: bool = False                  # the peer does not know 100rel (420): never named to it again
    rseq: int = 0                        # of our last reliable provisional answer
    unacknowledged: Unacknowledged | None = None
    early_media: bytes = b""             # our description as a provisional answer told it; the 200 says the same
    early_sure: bool = False             # that answer was a reliable one: the 200 has no description
    ring_due: int = 0                    # provisional answer to be sent once the last one is acknowledged
    answer_due: bytes = b""              # our 200 waits for the PRACK of the answer that described the audio (RFC 3262 section 5)
    further: list[Flow] = []             # ways for our INVITE that were not tried yet
    further_uris: list[str] = []
    way_until: int | None = None         # the way in hand is given up then, unless somebody answers
    contact_user: str = ""               # in our Contact instead of the account
    early: dict[str, EarlyDialog] = {}   # by To-tag, while our INVITE has no final answer


class Host(Protocol):
    """What a session needs of its endpoint."""

    transactions: TransactionLayer
    settings: Settings

    def emit(self, event: ev.Event) -> None: ...
    def another_offer(self, call: str) -> Description | None: ...
    def token(self, digits: int) -> str: ...
    def transmit(self, session: Session, data: bytes, flow: Flow) -> None: ...
    def bind_dialog(self, session: Session, dialog: Dialog) -> None: ...
    def unbind_dialog(self, dialog: Dialog) -> None: ...
    def closed(self, session: Session) -> None: ...
    def connected(self, flow: Flow) -> bool: ...
    def prove(self, account: str, request: Request, response: Response, tried: int) -> tuple[tuple[str, str], ...]: ...
    def takes_stream(self, remote: Address) -> bool: ...
    def streamless(self, remote: Address, now: int) -> None: ...
