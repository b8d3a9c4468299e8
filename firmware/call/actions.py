"""What the call logic asks of the outside, and what the outside tells it besides leg events (L1, pure).

Theory of operation
-------------------
`Switchboard.actions()` drains `(contact id, Action)` pairs in the order they must be done; `core/calls.py` looks up who executes them.
Inputs that are not leg events (`call/model.py`) are the structs under "inputs". An action on an ended leg is a no-op for
whoever executes it. Sound is named by prompt id and variables (`Say`), never by file: `call/speech.py` resolves clips.
"""

from __future__ import annotations

from typing import Any

import msgspec

from firmware.call.model import Alert, Cause, Party


class Say(msgspec.Struct, frozen=True):
    """One prompt of `firmware/prompts/*.toml` with its variables (all as text)."""

    prompt: str
    variables: dict[str, str] = {}


class Action(msgspec.Struct, frozen=True, tag=True):
    """Base of all actions."""


class AnswerLeg(Action, frozen=True):
    """Answer an offered leg."""

    leg: str


class EarlyLeg(Action, frozen=True):
    """Let an offered leg hear the far end before it is answered (`LegDriver.early`)."""

    leg: str


class RingBack(Action, frozen=True):
    """Tell an offered leg that the far end rings (`LegDriver.progress`)."""

    leg: str


class OriginateLeg(Action, frozen=True):
    """Ring an extension or dial on a line (`LegDriver.originate`)."""

    leg: str
    endpoint: str
    number: str
    caller: Party
    alert: Alert
    ring_ms: int


class ShowParty(Action, frozen=True):
    """Tell a telephone in conversation with whom it speaks now: a transfer, pick-up or the like changed that."""

    leg: str
    party: Party


class ReleaseLegs(Action, frozen=True):
    """Ask the carrier to connect the far ends of two calls of one trunk itself; `LegEnded` with cause TRANSFERRED when it has.

    Just before `OriginateLeg` of `other`: to reach that number itself in place of a second call; where it does not, `other` is dialled.
    """

    leg: str
    other: str


class HangUpLeg(Action, frozen=True):
    """End a leg."""

    leg: str
    cause: Cause


class ReportReferral(Action, frozen=True):
    """Tell the telephone what its transfer (`LegReferred`) has come to; `cause` None: done."""

    token: str
    cause: Cause | None = None


class SendDigits(Action, frozen=True):
    """Pass keys on to a leg."""

    leg: str
    digits: str


class PlayPrompt(Action, frozen=True):
    """Speak to a leg; ends with `Played(token)`. `keys`: a key stops it within the engine."""

    leg: str
    token: int
    language: str
    says: tuple[Say, ...]
    keys: bool = False


class PlayMusic(Action, frozen=True):
    """Loop a clip to a leg until stopped."""

    leg: str
    token: int
    clip: str


class PlayTone(Action, frozen=True):
    """Give a leg a call-progress tone of the country: "ringback", "dial", "busy", "congestion"."""

    leg: str
    token: int
    tone: str


class StopPlay(Action, frozen=True):
    """Silence the player of a leg."""

    leg: str


class Bridge(Action, frozen=True):
    """Let exactly these two legs hear each other. `relay`: both are SIP and nothing needs their samples."""

    a: str
    b: str
    relay: bool = False


class Unbridge(Action, frozen=True):
    """Take both legs out of their bridge."""

    a: str
    b: str


class EnterRoom(Action, frozen=True):
    """Let a leg hear and be heard (or one of them only) in the mixer `room`, which is made for its first leg."""

    leg: str
    room: str
    hear: bool = True
    speak: bool = True


class LeaveRoom(Action, frozen=True):
    """Take a leg out of the mixer `room`, which is gone with its last leg."""

    leg: str
    room: str


class Chime(Action, frozen=True):
    """A short tone beside whatever a leg hears; `quiet`: below the voice of who speaks to it."""

    leg: str
    quiet: bool = False


class Loop(Action, frozen=True):
    """Let a leg hear itself (echo test)."""

    leg: str


class StartRecording(Action, frozen=True):
    """Record a leg in two channels; answered by `RecordingStarted` or `RecordingRefused`, ended by `Recorded(token)`.

    `keep`: class of retention; `rule`: what asked for it.
    """

    leg: str
    token: int
    keep: str = ""
    rule: str = ""


class MaskRecording(Action, frozen=True):
    """Let the recording of a leg hold silence, or no longer."""

    leg: str
    on: bool


class FinishRecording(Action, frozen=True):
    """Book a recording that is closed. `masked`: silences in ms of the recording; `lost` samples."""

    path: str
    lost: int
    masked: tuple[tuple[int, int], ...] = ()


class HideKeys(Action, frozen=True):
    """Keys that the person at this leg presses are secret from here on, or no longer: they are to be in no trace."""

    leg: str
    on: bool


class Tap(Action, frozen=True):
    """Let a third leg join the bridge of the contact: `mode` listen (heard by nobody), whisper (by `of` alone), barge (by both).

    `tone`: the leg `of` hears a short tone.
    """

    leg: str
    of: str
    mode: str
    tone: bool = False


class Untap(Action, frozen=True):
    """Take that leg out again."""

    leg: str


class StopRecording(Action, frozen=True):
    """End the recording of a leg."""

    leg: str
    token: int


class Record(Action, frozen=True):
    """Append an event to the contact's history. `at` engine ms; `data` plain values."""

    at: int
    kind: str
    leg: str = ""
    data: dict[str, Any] = {}


class QueueLog(Action, frozen=True):
    """One line of the queue log. `event` in capitals, as such logs are read by common tools."""

    at: int
    queue: str
    agent: str
    event: str
    data: tuple[str, ...] = ()


class OpenContact(Action, frozen=True):
    """The contact exists: write its opening record at once."""


class CloseLeg(Action, frozen=True):
    """A leg of the contact is over: write its record."""

    leg: str


class CloseContact(Action, frozen=True):
    """The contact is over: write its closing record; nothing of it remains."""


class KeepAcd(Action, frozen=True):
    """Keep what the queues remember (`Switchboard.acd`) over a power cut."""


class Notify(Action, frozen=True):
    """Publish an event of `call/events.py` on the bus for screens."""

    event: Any


# --- inputs -----------------------------------------------------------------------------------------------------------


class Played(msgspec.Struct, frozen=True, tag=True):
    """A player of a leg came to its end (`finished`) or was stopped, by key `digit` if any."""

    leg: str
    at: int
    token: int
    finished: bool
    digit: str = ""


class RecordingStarted(msgspec.Struct, frozen=True, tag=True):
    """The file is open and samples go into it. `path` is relative to the recordings folder."""

    leg: str
    at: int
    token: int
    path: str


class RecordingRefused(msgspec.Struct, frozen=True, tag=True):
    """No recording: `reason` is for the record and the alarm."""

    leg: str
    at: int
    token: int
    reason: str


class Recorded(msgspec.Struct, frozen=True, tag=True):
    """The recording is closed and whole."""

    leg: str
    at: int
    token: int
    samples: int
    lost: int


class TimerFired(msgspec.Struct, frozen=True, tag=True):
    """Timer `name` of the contact is due (made by `Switchboard.expire`)."""

    at: int
    name: str


class LineFreed(msgspec.Struct, frozen=True, tag=True):
    """A line that an emergency call waits for may be free (made by the switchboard)."""

    at: int
    endpoint: str
