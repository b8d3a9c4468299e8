"""The vocabulary of the line machines: facts, intentions, actions and events (L1, pure).

Theory of operation
-------------------
*Facts* are what a line measured or a detector heard, *intentions* what call control wants, *actions* what media must do, *events*
what call control must know. All are frozen and carry their instant in engine ms where one matters. The media events of
`firmware/media.py` are translated to facts by `core/lines.py`: this layer may not know them.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from firmware.call.model import Alert, Cause, Evidence, Party
from firmware.line.tones import ToneSpec

# Line drive codes, as in dsp/world_segment.h.
FEED_OPEN: Final = 0
FEED_ACTIVE: Final = 1
FEED_ON_HOOK_TX: Final = 2
FEED_RINGING: Final = 4
FEED_REVERSED: Final = 5
FEED_REVERSED_TX: Final = 6
LINE_ON_HOOK: Final = 0
LINE_OFF_HOOK: Final = 1

#: Tokens of tones whose end a machine wants to know: above those that call control gives its own players on the same port.
TONE_TOKENS: Final = 1 << 30


# --- facts ------------------------------------------------------------------------------------------------------------


class Fact(msgspec.Struct, frozen=True):
    """Base: something measured or heard at `at` (engine ms)."""

    at: int


class RingBurst(Fact, frozen=True):
    """FXO: validated ringing voltage began or ended."""

    on: bool


class Battery(Fact, frozen=True):
    """DC voltage of the line is present or absent, or has settled at `volts` (signed as measured). FXS ports only note the reading."""

    present: bool
    volts: float = 0.0


class Polarity(Fact, frozen=True):
    """FXO: the sign of the line voltage."""

    reversed: bool


class LoopCurrent(Fact, frozen=True):
    """FXO off-hook: current flows or does not."""

    flowing: bool
    milliamps: float = 0.0


class Loop(Fact, frozen=True):
    """FXS: the loop to the telephone is closed or open (debounced)."""

    closed: bool
    milliamps: float = 0.0


class RingTrip(Fact, frozen=True):
    """FXS: DC current while ringing, the telephone was lifted."""


class FskMessage(Fact, frozen=True):
    """A caller id message, checksum verified and removed."""

    payload: bytes


class Digit(Fact, frozen=True):
    """A DTMF key."""

    digit: str


class ToneHeard(Fact, frozen=True):
    """A tone was recognised; `start_at` is the instant it began."""

    name: str
    cycles: int
    start_at: int
    confidence: float = 0.0              # of the detector, 0..1; 0 = not told


class ToneStopped(Fact, frozen=True):
    """A recognised tone ended."""

    name: str


class Voice(Fact, frozen=True):
    """Speech-like sound began or ended."""

    active: bool


class PlayerDone(Fact, frozen=True):
    """The port's player finished `token` (digits, caller id or a timed tone)."""

    token: int


# --- intentions -------------------------------------------------------------------------------------------------------


class Intention(msgspec.Struct, frozen=True):
    """Base: something call control wants at `at` (engine ms)."""

    at: int


class Answer(Intention, frozen=True):
    """Answer the offered call (FXO: off-hook; FXS: cut through)."""


class Dial(Intention, frozen=True):
    """FXO: seize the line and dial. `number`: 0-9*#A-D, p or , a 2 s pause, w wait for dial tone again."""

    number: str
    ring_ms: int = 60_000
    emergency: bool = False


class HangUp(Intention, frozen=True):
    """End the call, whatever its state."""

    cause: Cause = Cause.NORMAL
    evidence: Evidence = Evidence("command")


class Flash(Intention, frozen=True):
    """FXO: hook flash towards the exchange."""


class CallWaiting(Intention, frozen=True):
    """FXS: another call waits for this telephone, which is in a conversation."""

    caller: Party = Party()
    when: str = ""


class ShowMessages(Intention, frozen=True):
    """FXS: messages wait for the owner of this telephone, or no longer."""

    waiting: bool = True


class ShowDiverted(Intention, frozen=True):
    """FXS: calls of this telephone go elsewhere or are refused (forward, do-not-disturb), or no longer: its dial tone stutters."""

    on: bool = True


class SendDigits(Intention, frozen=True):
    """Send keys towards the line or telephone."""

    digits: str


class Ring(Intention, frozen=True):
    """FXS: ring the telephone. `when`: "MMDDhhmm" local time for caller id."""

    caller: Party
    alert: Alert = Alert.NORMAL
    ring_ms: int = 30_000
    when: str = ""


class Progress(Intention, frozen=True):
    """FXS: the called party rings; FXO: nothing."""


class Company(Intention, frozen=True):
    """FXO: who else can be heard behind this line's conversation: one telephone or nobody, an outside line, or several."""

    kind: Literal["alone", "line", "conference"]


class Expired(msgspec.Struct, frozen=True):
    """A timer of the machine ran out."""

    at: int
    name: str


Input = Fact | Intention | Expired


# --- actions ----------------------------------------------------------------------------------------------------------


class Action(msgspec.Struct, frozen=True):
    """Base: something media must do on this port."""


class Drive(Action, frozen=True):
    """Set the line feed or hook: FEED_* or LINE_*. With `hold_ms` for exactly that time, then `then` (flash, open-switch interval)."""

    code: int
    hold_ms: int = 0
    then: int = 0


class OpenAudio(Action, frozen=True):
    """Open the port. `echo`: a call begins, with a fresh echo canceller; else only detectors listen (caller id)."""

    echo: bool = True


class CloseAudio(Action, frozen=True):
    """The call is over: silence the port, stop player and detectors."""


class Detect(Action, frozen=True):
    """The detectors wanted from now on (replaces the former set)."""

    digits: bool = False
    fsk: str = ""
    voice: bool = False
    tones: tuple[ToneSpec, ...] = ()


class PlayTone(Action, frozen=True):
    """Play a tone until stopped (`duration_ms` 0) or for a time, then `PlayerDone(token)`."""

    tone: ToneSpec
    token: int = 0
    duration_ms: int = 0


class StopPlayer(Action, frozen=True):
    """Silence the player of the port."""


class SendDtmf(Action, frozen=True):
    """Send keys, then `PlayerDone(token)`."""

    digits: str
    on_ms: int
    off_ms: int
    level_dbm0: float
    token: int


class SendPulses(Action, frozen=True):
    """Dial digits by breaks of the loop, then `PlayerDone(token)`."""

    digits: str
    break_ms: int
    make_ms: int
    between_ms: int
    token: int


class SendFsk(Action, frozen=True):
    """Send a caller id message (without checksum), then `PlayerDone(token)`. `in_call`: without channel seizure."""

    payload: bytes
    standard: str
    token: int
    in_call: bool = False


class MuteTalk(Action, frozen=True):
    """Cut the telephone and the far party off from each other, both ways, and back."""

    on: bool


class ClearChannel(Action, frozen=True):
    """A fax or card terminal talks: nothing may touch the samples of this port and its partner's for the rest of the call."""


# --- events -----------------------------------------------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True):
    """Base: something call control must know."""

    at: int


class Offered(Event, frozen=True):
    """A call comes in (FXO) or a complete number was dialled (FXS: `called`)."""

    caller: Party
    called: str = ""
    rings: int = 0
    ring_started: int = 0


class Missed(Event, frozen=True):
    """FXO: it rang and stopped before it was offered; no leg exists."""

    caller: Party
    rings: int
    ring_started: int


class Ringing(Event, frozen=True):
    """The far end of our outgoing call, or our telephone, rings."""


class EarlyAudio(Event, frozen=True):
    """The line is dialled: what it sounds can be heard."""


class Answered(Event, frozen=True):
    """In conversation."""

    evidence: Evidence


class Ended(Event, frozen=True):
    """The call is over; exactly once per call."""

    cause: Cause
    evidence: Evidence
    by_far: bool


class Key(Event, frozen=True):
    """A key within a call."""

    digit: str


class HookFlash(Event, frozen=True):
    """The telephone flashed within a call."""


class ParallelPhone(Event, frozen=True):
    """FXO: another telephone on the line went off-hook in our call, or left it again."""

    on: bool
    milliamps: float


class MessageWaiting(Event, frozen=True):
    """The exchange says that messages wait, or no longer."""

    on: bool


class StateChanged(Event, frozen=True):
    """Availability: "idle", "busy", "ringing" or "fault", with a reason in words."""

    state: str
    detail: str = ""
