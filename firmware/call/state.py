"""What a contact is, in a form that survives the process (L1, pure).

`ContactState` holds all there is: a contact restored from it goes on exactly as the original would. It is journaled as
JSON by `core/journal.py` (without a PIN that is half keyed: `keyed.py`); every field has a default that means "not yet", so a journal
of an older build still reads.
All instants are engine ms; -1 means "never".
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from firmware.call.acd_state import Visit
from firmware.call.calendar import State
from firmware.call.model import OUTSIDE, Alert, Cause, Evidence, LegKind, Party, Side
from firmware.call.quality import Quality
from firmware.call.speaking_state import Speaking
from firmware.call.voicemail_state import MailState, NodeState


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
    RETURNING = "returning"      # a callback: the agent or the caller is rung, then the other
    NODE = "node"                # of the call graph: input, say, silent caller
    MAIL = "mail"                # a message is left or heard
    PARKED = "parked"            # waits at a place for whoever takes it back
    GROUP = "group"              # telephones of a group ring for the caller
    ROOM = "room"                # in a conference room
    PAGE = "page"                # speaks to telephones and loudspeaker, hears nobody
    CONFERENCE = "conference"    # three parties of one contact talk
    ENDING = "ending"            # everything told to end
    ENDED = "ended"


_LEAVE = frozenset({Phase.ENDING})
_ONWARD = frozenset({
    Phase.MENU, Phase.QUEUED, Phase.DIALLING, Phase.ANNOUNCE, Phase.GROUP, Phase.ROOM, Phase.PAGE, Phase.NODE, Phase.MAIL, Phase.FEATURE,
}) | _LEAVE  # fmt: skip
PHASE_MOVES: dict[Phase, frozenset[Phase]] = {
    Phase.ANSWERING: frozenset({Phase.GREETING, Phase.NOTICE, Phase.FEATURE, Phase.TALKING}) | _ONWARD,
    Phase.GREETING: frozenset({Phase.NOTICE}) | _ONWARD,
    Phase.NOTICE: _ONWARD,
    Phase.MENU: _ONWARD,
    Phase.QUEUED: frozenset({Phase.CONNECTING}) | _ONWARD,
    Phase.CONNECTING: frozenset({Phase.TALKING, Phase.QUEUED}) | _ONWARD,
    Phase.DIALLING: frozenset({Phase.TALKING, Phase.ANSWERING}) | _ONWARD,
    Phase.TALKING: frozenset({Phase.RATING, Phase.PARKED, Phase.CONFERENCE}) | _ONWARD,
    Phase.PARKED: frozenset({Phase.TALKING}) | _ONWARD,
    Phase.GROUP: _ONWARD,
    Phase.ROOM: _LEAVE,
    Phase.PAGE: _LEAVE,
    Phase.CONFERENCE: frozenset({Phase.TALKING}) | _LEAVE,
    Phase.RATING: _LEAVE,
    Phase.ANNOUNCE: _LEAVE,
    Phase.FEATURE: frozenset({Phase.MAIL, Phase.DIALLING}) | _LEAVE,
    Phase.NODE: _ONWARD,
    Phase.MAIL: frozenset({Phase.DIALLING}) | _LEAVE,
    Phase.RETURNING: frozenset({Phase.TALKING, Phase.QUEUED}) | _LEAVE,
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
    RETURNED = "callback"


class Leg(msgspec.Struct, omit_defaults=True):
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
    payer: str = ""
    """Of a call to outside: the extension or trunk that began it."""
    international: bool = False
    most_minutes: int = -1
    """Of a call to outside: what its route says about the longest time."""
    tariff: str = ""
    """Of a call to outside: by which it is charged, "" where none is known (`call/cost.py`)."""
    account: str = ""
    """Of a call to outside: on whose account."""
    shown: Party | None = None
    """With whom its telephone was told to speak; None: only what it dialled."""
    quality: Quality | None = None
    """Of a leg over IP that is over."""

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
        """It is an extension of ours, not an outside line or trunk."""
        return self.kind not in OUTSIDE


class Play(msgspec.Struct):
    """What a leg's player is doing. `what` names the purpose; music and tones have a token too but never end."""

    token: int
    what: str


class Attempt(msgspec.Struct, omit_defaults=True):
    """A telephone being reached: for the caller ("dial"), for a transfer, to call a transferrer back ("recall"), or one that
    takes the caller out of the queue ("pickup")."""

    purpose: str
    endpoints: list[str] = []
    number: str = ""
    alert: Alert = Alert.NORMAL
    ring_ms: int = 0
    leg: str = ""
    emergency: bool = False
    group: str = ""
    international: bool = False
    most_minutes: int = -1
    tariff: str = ""
    account: str = ""
    counted: bool = False
    """The guard against calls at our expense has let it out."""
    round: int = 0
    awaited: str = ""
    last_cause: Cause = Cause.UNREACHABLE
    agent: str = ""
    forward: str = ""
    """Where the telephone that is rung sends the call."""
    forwarded: list[str] = []
    """Telephones that have sent it on, the latest last."""


class Transfer(msgspec.Struct):
    """A transfer in the making. `by` hands `held` over to `target`. Stages: collect, ringing, talking, blind, recall."""

    by: str
    held: str
    stage: str = "collect"
    digits: str = ""
    target: str = ""
    by_endpoint: str = ""
    token: str = ""
    """Of the telephone's own transfer (`LegReferred`), "" for one by code or flash."""
    on_hold: bool = False
    """`by` has put the call on hold itself."""


class Parked(msgspec.Struct):
    """The caller is parked at `place`. `by`: the parker's extension; `leg`: its leg, until it is gone."""

    place: str
    by: str
    leg: str
    since: int
    recalls: int = 0


class GroupRing(msgspec.Struct):
    """A group rings: `legs` now, `rest` later."""

    name: str
    rest: list[str] = []
    legs: list[str] = []
    away: dict[str, str] = {}
    """Members whose calls go to the outside: extension -> number as the member would dial it."""
    asked: dict[str, int] = {}
    """Legs outside that answered and have not taken the call yet -> times they were asked to."""


class InRoom(msgspec.Struct):
    """In a mixer with others; `legs` of this contact that are in it.

    `name`: "room/NAME", "page/NAME", or "call/CONTACT" of a three-party call.
    """

    name: str
    legs: list[str] = []
    joined_by: str = ""
    target: str = ""
    """Of a three-party call: who made it, and the party beside `a` and `b`."""


class Recording(msgspec.Struct):
    """One recording file of the contact. `path` relative to the recordings folder, "" until it is open."""

    token: int
    leg: str
    path: str = ""
    started: int = -1
    stopped: int = -1
    samples: int = -1
    lost: int = 0
    keep: str = ""
    """Class of retention."""
    rule: str = ""
    """Which rule asked for it."""
    masked: list[list[int]] = []
    """Begin and end of each silence that was asked for; the end of one that goes on is -1."""


class Told(msgspec.Struct):
    """Who has heard that this call may be recorded (`call/recording.py`): legs that have, and that are being told."""

    heard: list[str] = []
    waiting: list[str] = []
    demanded: bool = False
    """Somebody keyed the code that begins a recording."""
    refused: str = ""
    """Why it is not recorded though a rule asks for it."""


class Supervised(msgspec.Struct):
    """A shift leader's leg beside the two that talk (`call/supervise.py`). `mode`: listen, whisper, barge."""

    leg: str
    of: str
    by: str
    mode: str = "listen"


class Hush(msgspec.Struct):
    """The watch for a caller of whom nothing is heard once an agent has answered (`call/hush.py`). `agent`, `caller`: their legs; `number`:
    the agent; `left`: ms of both hearing each other until it is said; `since`: from when they do now; `own`: its caller is listened to for
    this alone."""

    agent: str
    caller: str
    number: str
    left: int
    own: bool
    since: int = -1
    told: bool = False
    over: bool = False


class HoursTaken(msgspec.Struct):
    """Opening hours that the call was led by: name -> class ("open", "lunch", "closed", "holiday", "night"), and the hours to tell."""

    classes: dict[str, State] = {}
    told: str = ""


class ContactState(msgspec.Struct, omit_defaults=True):
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
    recorded: bool = False
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
    park: Parked | None = None
    linked: str = ""
    """The contact that was cut off and is continued by this one."""
    group: GroupRing | None = None
    room: InRoom | None = None
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
    limited: int = -1
    """From when the longest time of a call with the outside counts."""
    rating: int = 0
    recordings: list[Recording] = []
    cause: Cause | None = None
    evidence: Evidence | None = None
    first_to_leave: Side = Side.UNKNOWN
    ended: int = -1
    end_cause: Cause | None = None
    """Cause to close with when an announcement ends."""
    told: Told | None = None
    supervised: Supervised | None = None
    speaking: Speaking | None = None
    """How agent and caller speak, while that is measured."""
    hush: Hush | None = None
    mail: MailState | None = None
    node: NodeState | None = None
    hours: HoursTaken | None = None
    acd: Visit | None = None
    """What queues decided for it; see `visit`."""

    @property
    def visit(self) -> Visit:
        """`acd`, made where there is none yet."""
        if self.acd is None:
            self.acd = Visit()
        return self.acd

    @property
    def live_legs(self) -> list[Leg]:
        """Legs whose driver has not ended them."""
        return [leg for leg in self.legs.values() if leg.live]

    @property
    def emergency(self) -> bool:
        """An emergency number is or was reached: nothing may end this contact but its people."""
        return self.emergency_number != ""
