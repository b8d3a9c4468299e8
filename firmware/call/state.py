"""What a contact is, in a form that survives the process (L1, pure).

`ContactState` holds all there is: a contact restored from it goes on exactly as the original would. It is journaled as
JSON by `core/journal.py`; every field has a default that means "not yet", so a journal of an older build still reads.
All instants are engine ms; -1 means "never".
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from firmware.call.model import Alert, Cause, Evidence, LegKind, Party, Side


class Phase(StrEnum):
    """Where a contact is. PHASE_MOVES is the whole table."""

    ANSWERING = "answering"      # our answer is on its way to the caller's line
    GREETING = "greeting"
    NOTICE = "notice"            # recording notice
    MENU = "menu"
    QUEUED = "queued"            # waiting; agents' phones may ring
    CONNECTING = "connecting"    # an agent answered, the agent number is spoken to the caller
    DIALLING = "dialling"        # a phone rings or a line dials for the caller
    TALKING = "talking"          # includes hold and transfer
    RATING = "rating"
    ANNOUNCE = "announce"        # last words, then we hang up
    FEATURE = "feature"          # log-in, pause, echo test...
    ENDING = "ending"            # everything told to end
    ENDED = "ended"


_LEAVE = frozenset({Phase.ENDING})
_ONWARD = frozenset({Phase.MENU, Phase.QUEUED, Phase.DIALLING, Phase.ANNOUNCE}) | _LEAVE
PHASE_MOVES: dict[Phase, frozenset[Phase]] = {
    Phase.ANSWERING: frozenset({Phase.GREETING, Phase.NOTICE, Phase.FEATURE, Phase.TALKING}) | _ONWARD,
    Phase.GREETING: frozenset({Phase.NOTICE}) | _ONWARD,
    Phase.NOTICE: _ONWARD,
    Phase.MENU: _ONWARD,
    Phase.QUEUED: frozenset({Phase.CONNECTING}) | _ONWARD,
    Phase.CONNECTING: frozenset({Phase.TALKING, Phase.QUEUED}) | _ONWARD,
    Phase.DIALLING: frozenset({Phase.TALKING, Phase.ANSWERING}) | _ONWARD,
    Phase.TALKING: frozenset({Phase.RATING, Phase.ANNOUNCE}) | _LEAVE,
    Phase.RATING: _LEAVE,
    Phase.ANNOUNCE: _LEAVE,
    Phase.FEATURE: _LEAVE,
    Phase.ENDING: frozenset({Phase.ENDED}),
    Phase.ENDED: frozenset(),
}


class Kind(StrEnum):
    """What sort of call a contact began as."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    INTERNAL = "internal"
    FEATURE = "feature"
    EMERGENCY = "emergency"
    CALLBACK = "emergency-callback"


class Leg(msgspec.Struct):
    """One telephone of the contact. `number` is the caller id, or what was dialled on a line."""

    id: str
    kind: LegKind
    endpoint: str
    role: str
    incoming: bool
    started: int
    number: str = ""
    name: str = ""
    port: int = -1
    agent: str = ""
    rings: int = 0
    ring_started: int = -1
    ringing: int = -1
    answered: int = -1
    answer_evidence: Evidence | None = None
    ended: int = -1
    cause: Cause | None = None
    evidence: Evidence | None = None
    by_far: bool = False
    hung_up: bool = False

    @property
    def live(self) -> bool:
        """The driver has not ended it."""
        return self.ended < 0

    @property
    def audible(self) -> bool:
        """We can play to it and bridge it."""
        return self.ended < 0 and self.port >= 0 and not self.hung_up

    @property
    def phone(self) -> bool:
        """It is an extension of ours, not an outside line."""
        return self.kind is not LegKind.FXO


class Play(msgspec.Struct):
    """What a leg's player is doing. `what` names the purpose; music and tones have a token too but never end."""

    token: int
    what: str


class Attempt(msgspec.Struct):
    """A telephone being reached: for the caller ("dial"), for a transfer, or to call a transferrer back ("recall")."""

    purpose: str
    endpoints: list[str] = []
    number: str = ""
    alert: Alert = Alert.NORMAL
    ring_ms: int = 0
    leg: str = ""
    emergency: bool = False
    group: str = ""
    round: int = 0
    awaited: str = ""
    last_cause: Cause = Cause.UNREACHABLE
    agent: str = ""


class Transfer(msgspec.Struct):
    """A transfer in the making. `by` hands `held` over to `target`. Stages: collect, ringing, talking, blind, recall."""

    by: str
    held: str
    stage: str = "collect"
    digits: str = ""
    target: str = ""
    by_endpoint: str = ""


class Recording(msgspec.Struct):
    """One recording file of the contact. `path` relative to the recordings folder, "" until it is open."""

    token: int
    leg: str
    path: str = ""
    started: int = -1
    stopped: int = -1
    samples: int = -1
    lost: int = 0


class ContactState(msgspec.Struct):
    """One caller's visit; see the module docstring."""

    id: str
    kind: Kind
    opened: int
    phase: Phase
    caller: Party = Party()
    called: str = ""
    line: str = ""
    extension: str = ""
    language: str = ""
    a: str = ""
    """Leg of the caller; after a transfer by the caller, of whoever took that place."""
    b: str = ""
    """Leg of the one spoken to."""
    legs: dict[str, Leg] = {}
    timers: dict[str, int] = {}
    plays: dict[str, Play] = {}
    bridged: list[str] = []
    # path through the branch
    then: str = ""
    hops: int = 0
    menu: str = ""
    tries: int = 0
    typed: str = ""
    notice: bool = False
    notice_due: bool = False
    # queue
    queue: str = ""
    queued: int = -1
    first_queued: int = -1
    offers: dict[str, str] = {}
    announced: int = -1
    announced_at: int = -1
    agent: str = ""
    agents: list[str] = []
    misses: int = 0
    # dialling and conversation
    attempt: Attempt | None = None
    transfer: Transfer | None = None
    held_by: str = ""
    held_how: str = ""
    keys: str = ""
    keys_by: str = ""
    emergency_number: str = ""
    # agent codes
    feature: str = ""
    wanted: str = ""
    # facts for the record
    rings: int = 0
    ring_started: int = -1
    answered: int = -1
    connected: int = -1
    talk_end: int = -1
    wait_ms: int = 0
    seat_alert_ms: int = 0
    rating: int = 0
    recordings: list[Recording] = []
    cause: Cause | None = None
    evidence: Evidence | None = None
    first_to_leave: Side = Side.UNKNOWN
    ended: int = -1
    end_cause: Cause | None = None
    """Cause to close with when an announcement ends."""

    @property
    def live_legs(self) -> list[Leg]:
        """Legs whose driver has not ended them."""
        return [leg for leg in self.legs.values() if leg.live]

    @property
    def emergency(self) -> bool:
        """An emergency number is or was reached: nothing may end this contact but its people."""
        return self.emergency_number != ""
