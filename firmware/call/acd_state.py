"""What the queues remember beyond a call: callbacks, lost callers, who served whom, emergency staffing (L1, pure).

`AcdState` is journaled with the switchboard and kept over a power cut, so its instants are Unix ms (names end in `_ms`), never engine
ms. Every table is bounded. `Visit` is what a contact itself carries of it.
"""

from __future__ import annotations

import msgspec

MOST_SERVED = 2000
MOST_MISSED = 500


class Visit(msgspec.Struct):
    """Of a contact in a queue: the skills it needs, how far it stands ahead, whom it prefers, and the callback being arranged.

    `stage`: "" | "confirm" | "number" (the caller chooses or keys `digits`) | "time" | "at" (`callback_time`) | "done" (a callback or a
    message takes his place), of a callback being carried out "agent" | "dialled" | "accept" | "taken"; `request`: id of the callback
    that this contact carries out.
    """

    needs: dict[str, int] = {}
    ahead: int = 0
    why: str = ""
    preferred: str = ""
    stage: str = ""
    digits: str = ""
    tries: int = 0
    request: str = ""
    minutes: int = -1
    """Estimated wait as it was said last; -1: not yet."""
    typed: str = ""
    at_ms: int = 0
    """When the caller wants to be called back (Unix ms), as keyed so far, and whether the quiet hours moved it; 0: at his turn."""
    moved: bool = False
    grades: dict[str, int] = {}
    """Questions of the rating menu that were answered."""


class Request(msgspec.Struct):
    """Somebody who gave up waiting but not the place: `since_ms` is when he joined the queue.

    `not_before_ms`: pause between attempts or quiet hours; `contact`: the attempt under way, "" for none; `first`: the contact that
    asked; `turn`: order among those who joined in the same ms.
    """

    id: str
    queue: str
    number: str
    caller: str
    language: str
    since_ms: int
    made_ms: int
    expires_ms: int
    not_before_ms: int = 0
    tries: int = 0
    contact: str = ""
    first: str = ""
    ahead: int = 0
    needs: dict[str, int] = {}
    last: str = ""
    """Why the latest attempt failed."""
    promise_ms: int = 0
    """The caller was told that we call before this; 0: no such time was said."""
    called_ms: int = 0
    """When his number was dialled first; 0: not yet."""
    tried_ms: int = 0
    """When it was dialled last; 0: not yet, or another number was given since."""
    late: bool = False
    """The promised time has passed without a call: that is an alarm."""


class Missed(msgspec.Struct):
    """A caller who was lost, once for each number. `times`: how often; `why`: of the last time."""

    number: str
    first_ms: int
    last_ms: int
    times: int = 1
    queue: str = ""
    why: str = ""
    contact: str = ""
    claimed_by: str = ""
    claimed_ms: int = 0


class Served(msgspec.Struct):
    """The agent whom a caller spoke to last."""

    agent: str
    at_ms: int


class StaffingState(msgspec.Struct):
    """Emergency staffing. `step`: steps that are in force; `over_since`, `calm_since`: engine ms, -1 for not so; `joined`: agents whom
    it logged in."""

    step: int = 0
    over_since: int = -1
    calm_since: int = -1
    joined: list[str] = []


class AcdState(msgspec.Struct):
    """All of it. `serial`: last number given to a callback."""

    callbacks: dict[str, Request] = {}
    missed: dict[str, Missed] = {}
    served: dict[str, Served] = {}
    staffing: StaffingState = msgspec.field(default_factory=StaffingState)
    serial: int = 0


def same_number(one: str, other: str) -> bool:
    """Whether two numbers are one caller's: equal, or one ends with the other (a code in front) and both are long enough."""
    one, other = one.removeprefix("+"), other.removeprefix("+")
    if not one or not other:
        return False
    shorter, longer = sorted((one, other), key=len)
    return one == other or (len(shorter) >= 7 and longer.endswith(shorter))


def entry_of(table: dict[str, Missed] | dict[str, Served], number: str) -> str:
    """The key under which a number stands in a table; "" if it does not."""
    return number if number in table else next((known for known in table if same_number(known, number)), "")
