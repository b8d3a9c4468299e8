"""What a destination, a dialled code and a code keyed within a call do: tables that each area adds its own lines to (L1, pure).

Theory of operation
-------------------
Configuration names kinds of destinations (`config/schema/destinations.py`) and codes (`config/schema/features.py`); here is what
is done with them. An area registers in its own module and is imported by `call/switchboard.py`, no chain of conditions grows:

* `@destination("queue")`: a caller is taken to queue/NAME: `(contact, name)`. With `speaks`, the caller is answered first.
* `@code("login", keys=...)`: a telephone dialled the code: `(contact)`, with what was dialled behind it in `typed`; keys that
  follow go to `keys(contact, digit)`. The call is answered first unless `answers` is false.
* `@behind("pickup")`: which digits dialled behind a code make it whole: `(config, digits) -> "more" | "complete" | "impossible"`.
* `@meaning("speed_dial")`: a code that stands for another number: `(routing, extension, digits behind) -> Target`.
* `@taking("pickup")`: a code by which a telephone goes into a call that exists: who finds the call, and who puts the leg into it.
* `@key("hold")`: a code keyed within a conversation by leg: `(contact, leg)`.
* `@beside`: inputs of a leg that is neither of the two that talk: `(contact, input) -> taken`; then the phase does not see it.
* `@left`: a leg of a contact is over, in whatever phase: `(contact, leg)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from firmware.call.model import Cause
from firmware.call.state import ContactState, Leg
from firmware.config.schema.tree import Config

if TYPE_CHECKING:
    from firmware.call.contact import Contact
    from firmware.call.routing import Dialled, Routing, Target


class Place(NamedTuple):
    """A kind of destination."""

    go: Callable[[Contact, str], None]
    speaks: bool


class Code(NamedTuple):
    """A dialled code."""

    start: Callable[[Contact], None]
    keys: Callable[[Contact, str], None] | None
    answers: bool


class Found(msgspec.Struct, frozen=True):
    """The call that a telephone goes into, and the leg it concerns; or `cause` why there is none."""

    contact: str = ""
    leg: str = ""
    cause: Cause | None = None
    detail: str = ""
    prompt: str = ""
    """What the telephone is told in words, "" for a tone."""


class Taker(NamedTuple):
    """How a telephone goes into a call that exists: find(config, contacts, extension, digits behind), take(contact, leg found, new leg)."""

    find: Callable[[Config, Iterable[ContactState], str, str], Found]
    take: Callable[[Contact, str, Leg], bool]


PLACES: dict[str, Place] = {}
DIALLED_CODES: dict[str, Code] = {}
BEHIND: dict[str, Callable[[Config, str], Dialled]] = {}
MEANINGS: dict[str, Callable[[Routing, str, str], Target]] = {}
TAKERS: dict[str, Taker] = {}
KEYS: dict[str, Callable[[Contact, str], None]] = {}
BESIDE: list[Callable[[Contact, object], bool]] = []
LEFT: list[Callable[[Contact, Leg], None]] = []


def beside(take: Callable[[Contact, object], bool]) -> Callable[[Contact, object], bool]:
    """Register who takes the inputs of a leg beside the two that talk."""
    BESIDE.append(take)
    return take


def left(gone: Callable[[Contact, Leg], None]) -> Callable[[Contact, Leg], None]:
    """Register who wants to know that a leg is over."""
    LEFT.append(gone)
    return gone


def destination(kind: str, *, speaks: bool = True) -> Callable[[Callable[[Contact, str], None]], Callable[[Contact, str], None]]:
    """Register what takes a caller to KIND/NAME. `speaks`: not before the caller was answered."""

    def register(go: Callable[[Contact, str], None]) -> Callable[[Contact, str], None]:
        PLACES[kind] = Place(go, speaks)
        return go

    return register


def code(
    *names: str, keys: Callable[[Contact, str], None] | None = None, answers: bool = True
) -> Callable[[Callable[[Contact], None]], Callable[[Contact], None]]:
    """Register what a dialled code does."""

    def register(start: Callable[[Contact], None]) -> Callable[[Contact], None]:
        for name in names:
            DIALLED_CODES[name] = Code(start, keys, answers)
        return start

    return register


def behind(name: str) -> Callable[[Callable[[Config, str], Dialled]], Callable[[Config, str], Dialled]]:
    """Register which digits behind a code make it whole."""

    def register(check: Callable[[Config, str], Dialled]) -> Callable[[Config, str], Dialled]:
        BEHIND[name] = check
        return check

    return register


def meaning(name: str) -> Callable[[Callable[[Routing, str, str], Target]], Callable[[Routing, str, str], Target]]:
    """Register the number that a code stands for."""

    def register(means: Callable[[Routing, str, str], Target]) -> Callable[[Routing, str, str], Target]:
        MEANINGS[name] = means
        return means

    return register


def taking(
    name: str, take: Callable[[Contact, str, Leg], bool]
) -> Callable[[Callable[[Config, Iterable[ContactState], str, str], Found]], Callable[[Config, Iterable[ContactState], str, str], Found]]:
    """Register a code that goes into a call which exists."""

    def register(
        find: Callable[[Config, Iterable[ContactState], str, str], Found],
    ) -> Callable[[Config, Iterable[ContactState], str, str], Found]:
        TAKERS[name] = Taker(find, take)
        return find

    return register


def key(name: str) -> Callable[[Callable[[Contact, str], None]], Callable[[Contact, str], None]]:
    """Register what a code keyed within a conversation does."""

    def register(act: Callable[[Contact, str], None]) -> Callable[[Contact, str], None]:
        KEYS[name] = act
        return act

    return register
