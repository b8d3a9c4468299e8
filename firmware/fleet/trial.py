"""A document on its way: offered, valid, on trial, and how that ends (L1, pure).

Theory of operation
-------------------
One table, state and input to state and deeds. A document that is valid runs on trial (`commit confirmed`, which reverts by itself
whatever happens to
us); while it runs the box must reach its server again with the new settings, then the trial is confirmed. A trial that came without a
server
(by stick or serial line, and none is configured) waits for a person to confirm. What ended it otherwise is told as `rolled_back` with the
reason.
Every end is reported; a report that cannot be delivered waits for the next contact.
Invariants: only one document is on its way; a trial ends exactly once; the revision taken grows only with `confirmed`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, structs

State = Literal["idle", "offered", "valid", "trial", "confirmed", "refused", "rolled_back"]
Given = Literal["offer", "good", "bad", "begun", "not_begun", "reached", "confirmed_here", "over"]
Deed = Literal["check", "begin", "reach", "confirm", "report"]

# state -> input -> (state, deeds)
TABLE: dict[State, dict[Given, tuple[State, tuple[Deed, ...]]]] = {
    "idle": {"offer": ("offered", ("check",))},
    "offered": {"good": ("valid", ("begin",)), "bad": ("refused", ("report",))},
    "valid": {"begun": ("trial", ("reach", "report")), "not_begun": ("refused", ("report",))},
    "trial": {
        "reached": ("confirmed", ("confirm", "report")),
        "confirmed_here": ("confirmed", ("report",)),
        "over": ("rolled_back", ("report",)),
    },
    "confirmed": {"offer": ("offered", ("check",))},
    "refused": {"offer": ("offered", ("check",))},
    "rolled_back": {"offer": ("offered", ("check",))},
}


class Progress(Struct, frozen=True):
    """Where a box is with its documents, kept on disk. `taken`: the highest revision confirmed; `local`: the configuration's own
    revision."""

    state: State = "idle"
    revision: int = 0
    content: str = ""
    reason: str = ""
    text: str = ""
    text_zh: str = ""
    taken: int = 0
    local: int = 0
    source: str = ""
    reported: bool = True


class Report(Struct, frozen=True):
    """What the centre is told."""

    device: str
    state: State
    revision: int
    content: str
    reason: str
    text: str


def step(
    now: Progress, given: Given, *, revision: int = 0, content: str = "", reason: str = "", text: str = "", text_zh: str = "",
    local: int = 0, source: str = "",
) -> tuple[Progress, tuple[Deed, ...]]:  # fmt: skip
    """What an input leads to. One that the state does not know changes nothing and asks for nothing."""
    row = TABLE[now.state].get(given)
    if row is None:
        return now, ()
    state, deeds = row
    if given == "offer":
        return structs.replace(
            now, state=state, revision=revision, content=content, reason="", text="", text_zh="", local=0, source=source, reported=True
        ), deeds
    after = structs.replace(
        now, state=state, reason=reason, text=text, text_zh=text_zh, local=local or now.local,
        reported="report" not in deeds and now.reported,
        revision=revision or now.revision, content=content or now.content,
    )  # fmt: skip
    if state == "confirmed":
        after = structs.replace(after, taken=max(after.taken, after.revision))
    return after, deeds


def report(now: Progress, device: str) -> Report:
    """What to tell of the present state."""
    return Report(device, now.state, now.revision, now.content, now.reason, now.text)


def faults() -> list[str]:
    """What is wrong with the table: states that cannot be reached, left or ended."""
    reached = {"idle", *(target for rows in TABLE.values() for target, _ in rows.values())}
    found = [f"{state} cannot be reached" for state in TABLE if state not in reached]
    found += [f"{state} has no way on" for state, rows in TABLE.items() if not rows]
    found += [f"{state}/{given} ends without a report" for state, rows in TABLE.items() for given, (target, deeds) in rows.items()
              if target in ("confirmed", "refused", "rolled_back") and "report" not in deeds]  # fmt: skip
    return found
