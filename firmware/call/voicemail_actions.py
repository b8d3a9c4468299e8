"""What voice mail and the call graph ask of the outside, and what they are told (L1, pure). See `call/actions.py` for the terms."""

from __future__ import annotations

import msgspec

from firmware.call.actions import Action, Say


class Take(msgspec.Struct, frozen=True):
    """What a recording by telephone is for: a message in a box, the greeting of a box, or a prompt of the site.

    `kind` "message": `name` is the box; "greeting": likewise; "prompt": `name` is "<language>/<prompt>". `key`: names the file.
    """

    kind: str
    name: str
    key: str
    contact: str = ""
    number: str = ""
    caller: str = ""
    language: str = ""


class Kept(msgspec.Struct, frozen=True):
    """A recorded call as it is read out: when it began (Unix ms), how long the recording is (ms), the number of the other party."""

    path: str
    contact: str
    at: int
    length: int
    number: str = ""


class StartTake(Action, frozen=True):
    """Record what a leg says; ended by `StopRecording` or the leg's end, then `TakeRecorded`."""

    leg: str
    token: int
    take: Take


class KeepTake(Action, frozen=True):
    """Put the recording where it belongs as soon as it is closed, without its last `trim_ms`; one shorter than `least_ms` is dropped."""

    token: int
    take: Take
    least_ms: int = 0
    trim_ms: int = 0


class DropTake(Action, frozen=True):
    """Forget the recording."""

    token: int
    take: Take


class PlayFile(Action, frozen=True):
    """Speak, play a recording, speak; ends with `Played(token)` like a prompt. `file`: kind and name within the voice mail's folder.

    `without`: said in place of a recording that is not there or cannot be played.
    """

    leg: str
    token: int
    language: str
    file: str
    before: tuple[Say, ...] = ()
    after: tuple[Say, ...] = ()
    keys: bool = True
    without: tuple[Say, ...] = ()


class FindRecordings(Action, frozen=True):
    """Look up the latest `most` recorded calls of an agent, of these queues only where any are named; ends with `RecordingsFound`.

    `by`: who asks, for the access log.
    """

    leg: str
    token: int
    agent: str
    queues: tuple[str, ...]
    by: str
    most: int


class PlayRecording(Action, frozen=True):
    """Play `ms` of a sealed recording from `at_ms` on; ends with `Played(token)`, a key stops it, or with `Unplayable`.

    `first`: a listening begins, which the access log has under `by`.
    """

    leg: str
    token: int
    path: str
    at_ms: int
    ms: int
    by: str
    first: bool


class Listen(Action, frozen=True):
    """Tell of speech of a leg (`Voice`), or no longer."""

    leg: str
    on: bool


class MessageChanged(Action, frozen=True):
    """A message was heard, saved or made new: write it."""

    box: str
    message: str


class MessageRemoved(Action, frozen=True):
    """A message was deleted: its files go."""

    box: str
    message: str


class MessageCopied(Action, frozen=True):
    """A colleague gets a copy."""

    box: str
    message: str
    to: str


class GreetingRemoved(Action, frozen=True):
    """The standard greeting of a box again."""

    box: str


class PromptRemoved(Action, frozen=True):
    """A prompt of the site ("<language>/<prompt>") goes."""

    name: str


# --- inputs -----------------------------------------------------------------------------------------------------------


class Voice(msgspec.Struct, frozen=True, tag=True):
    """Somebody on a leg began to speak, or stopped what began at `start`. Instants are engine ms; `level`: dBm0 of what is over."""

    leg: str
    at: int
    active: bool
    start: int
    level: float | None = None


class TakeRecorded(msgspec.Struct, frozen=True, tag=True):
    """The recording is closed: `ms` of sound; `error` says why there is none."""

    leg: str
    at: int
    token: int
    ms: int
    error: str = ""


class RecordingsFound(msgspec.Struct, frozen=True, tag=True):
    """What `FindRecordings` found, the latest first."""

    leg: str
    at: int
    token: int
    calls: tuple[Kept, ...] = ()


class Unplayable(msgspec.Struct, frozen=True, tag=True):
    """A recording cannot be heard: it was removed, its disk is away, it is sealed by another key."""

    leg: str
    at: int
    token: int
    reason: str = ""
