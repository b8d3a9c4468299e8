"""Running, candidate, trial, startup: which configuration is in force, and what the next start takes (L1, pure).

Theory of operation
-------------------
Every configuration that was ever to take effect is a revision with a number of its own. `startup` is the revision that a start takes;
`trial` is one that runs until it is confirmed. What runs follows from both: the trial's revision, else `startup`. The candidate is no
state of this machine: it becomes a revision with the commit.
The table is the behaviour: state and input give what is done. A step gives the new book and the effects that make it durable, in the
order in which they must reach the disk; `recover` makes a book of whatever a power cut left of them. Whatever the prefix, the book that
comes back is the one of before or the one of after: that is what the test of prefixes proves.
Order of the effects: a revision is written before anything names it; a trial is marked before it is applied; `startup` is replaced before
the mark of a confirmed trial goes. A mark whose trial is `startup` already, or is older, says nothing.
Invariants: `startup` names a kept revision; at most `KEEP` revisions beside those in force; numbers only grow; a trial that was taken back
is never counted by `rollback`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import msgspec
from msgspec import Struct

from firmware.errors import PbxError

KEEP = 50
State = Literal["EMPTY", "SETTLED", "TRIAL"]
Given = Literal["commit", "try", "confirm", "rollback", "deadline", "failed", "start"]
How = Literal["commit", "commit confirmed", "rollback", "import", "upgrade"]


class StateRefusedError(PbxError):
    """What was asked for does not go now; the message says why and what does, `chinese` likewise."""

    def __init__(self, english: str, chinese: str) -> None:
        super().__init__(english)
        self.chinese = chinese
        self.facts = {"message_zh": chinese}


class Revision(Struct, frozen=True):
    """One configuration: when (Unix ms), by whom, why, by which command; `digest` is the SHA-256 of its file's body."""

    number: int
    wall_ms: int
    author: str
    note: str
    how: How
    digest: str
    changes: int = 0


class Trial(Struct, frozen=True):
    """A configuration on trial. `until_ms`: milliseconds of the boot-time clock of boot `boot`; `wall_ms`: the same instant for people.

    `start` names the start of the appliance that began it, or that was begun by it: any other start takes `startup` and forgets the trial.
    """

    revision: int
    until_ms: int
    wall_ms: int
    boot: str
    start: str
    author: str = ""


class Book(Struct, frozen=True):
    """What is known: revisions by number, the one for the next start, the one on trial. `startup` 0: there is none yet."""

    startup: int = 0
    revisions: tuple[Revision, ...] = ()
    trial: Trial | None = None
    back: tuple[int, ...] = ()
    """Revisions that ran on trial and were taken back, or that never came into force."""

    @property
    def state(self) -> State:
        """The machine's state."""
        return "TRIAL" if self.trial is not None else "SETTLED" if self.startup else "EMPTY"

    @property
    def running(self) -> int:
        """Number of the revision in force."""
        return self.trial.revision if self.trial is not None else self.startup

    @property
    def next_number(self) -> int:
        """Number of the next revision."""
        return max((one.number for one in self.revisions), default=0) + 1

    def revision(self, number: int) -> Revision | None:
        """A kept revision."""
        return next((one for one in self.revisions if one.number == number), None)

    def past(self) -> list[Revision]:
        """Those that `rollback` counts, newest first; the first is the one in force."""
        good = [one for one in self.revisions if one.number not in self.back and one.number <= self.running]
        return sorted(good, key=lambda one: -one.number)


# --- effects, in the order in which they reach the disk ---------------------------------------------------------------------


class Write(Struct, frozen=True, tag=True):
    """Keep this revision with its content."""

    revision: Revision


class Mark(Struct, frozen=True, tag=True):
    """Note the trial."""

    trial: Trial


class Start(Struct, frozen=True, tag=True):
    """Make this revision the one that a start takes."""

    number: int


class Unmark(Struct, frozen=True, tag=True):
    """Forget the trial; `why` it was taken back ("" when it was kept)."""

    revision: int
    why: str = ""


class Drop(Struct, frozen=True, tag=True):
    """Remove old revisions."""

    numbers: tuple[int, ...]


class Run(Struct, frozen=True, tag=True):
    """Let the appliance run this revision: after everything above is on the disk."""

    number: int


Effect = Write | Mark | Start | Unmark | Drop | Run


class Input(Struct, frozen=True):
    """What happens: `revision` for commit and try (with its number), `trial` for try, `back` for rollback, `start` for a start."""

    kind: Given
    revision: Revision | None = None
    trial: Trial | None = None
    back: int = 0
    start: str = ""
    why: str = ""


class Step(Struct, frozen=True):
    """The book after an input, and what makes it so."""

    book: Book
    effects: tuple[Effect, ...] = ()


class Row(Struct, frozen=True):
    """One row of the table: the rule `do` (a method of `Machine` without its underscore) and the states it may lead to."""

    do: str
    to: tuple[State, ...]


class Machine:
    """See the theory of operation. Without state of its own: `step(book, given)`."""

    TABLE: ClassVar[dict[State, dict[Given, Row]]] = {
        "EMPTY": {
            "commit": Row("adopt", ("SETTLED",)),
            "try": Row("nothing_yet", ("EMPTY",)),
            "confirm": Row("nothing_yet", ("EMPTY",)),
            "rollback": Row("nothing_yet", ("EMPTY",)),
            "deadline": Row("stay", ("EMPTY",)),
            "failed": Row("stay", ("EMPTY",)),
            "start": Row("stay", ("EMPTY",)),
        },
        "SETTLED": {
            "commit": Row("adopt", ("SETTLED",)),
            "try": Row("begin", ("TRIAL",)),
            "confirm": Row("no_trial", ("SETTLED",)),
            "rollback": Row("return_to", ("SETTLED",)),
            "deadline": Row("stay", ("SETTLED",)),
            "failed": Row("withdraw", ("SETTLED",)),
            "start": Row("stay", ("SETTLED",)),
        },
        "TRIAL": {
            "commit": Row("under_trial", ("TRIAL",)),
            "try": Row("under_trial", ("TRIAL",)),
            "confirm": Row("keep", ("SETTLED",)),
            "rollback": Row("return_to", ("SETTLED",)),
            "deadline": Row("take_back", ("SETTLED",)),
            "failed": Row("take_back", ("SETTLED",)),
            "start": Row("started", ("SETTLED", "TRIAL")),
        },
    }

    def step(self, book: Book, given: Input) -> Step:
        """What an input leads to. Raises StateRefusedError; the book is as before then."""
        row = self.TABLE[book.state][given.kind]
        step: Step = getattr(self, "_" + row.do)(book, given)
        if step.book.state not in row.to:
            raise AssertionError(f"{book.state}/{given.kind} led to {step.book.state}, not to {row.to}")
        return step

    # --- rules --------------------------------------------------------------------------------------------------------------

    def _stay(self, book: Book, _: Input) -> Step:
        return Step(book)

    def _nothing_yet(self, _: Book, __: Input) -> Step:
        raise StateRefusedError("nothing was committed yet; commit first", "还没有提交过配置；请先提交")

    def _no_trial(self, _: Book, __: Input) -> Step:
        raise StateRefusedError("no configuration is on trial: there is nothing to confirm", "没有试用中的配置，无需确认")

    def _under_trial(self, book: Book, _: Input) -> Step:
        assert book.trial is not None
        number, author = book.trial.revision, book.trial.author
        raise StateRefusedError(
            f"revision {number} of {author or 'somebody'} is on trial; confirm it, or take it back with rollback 1, and commit then",
            f"{author or '某人'}的修订 {number} 正在试用；请先确认，或用 rollback 1 撤回，然后再提交",
        )

    def _adopt(self, book: Book, given: Input) -> Step:
        assert given.revision is not None
        kept, drop = _trimmed((*book.revisions, given.revision), given.revision.number, book.back)
        after = msgspec.structs.replace(book, startup=given.revision.number, revisions=kept, back=_without(book.back, drop))
        number = given.revision.number
        return Step(after, (Write(given.revision), Start(number), Run(number), *_drops(drop)))

    def _begin(self, book: Book, given: Input) -> Step:
        assert given.revision is not None and given.trial is not None
        after = msgspec.structs.replace(book, revisions=(*book.revisions, given.revision), trial=given.trial)
        return Step(after, (Write(given.revision), Mark(given.trial), Run(given.revision.number)))

    def _keep(self, book: Book, _: Input) -> Step:
        assert book.trial is not None
        number = book.trial.revision
        kept, drop = _trimmed(book.revisions, number, book.back)
        after = msgspec.structs.replace(book, startup=number, trial=None, revisions=kept, back=_without(book.back, drop))
        return Step(after, (Start(number), Unmark(number), *_drops(drop)))

    def _take_back(self, book: Book, given: Input) -> Step:
        assert book.trial is not None
        number = book.trial.revision
        after = msgspec.structs.replace(book, trial=None, back=(*book.back, number))
        return Step(after, (Unmark(number, given.why), Run(book.startup)))

    def _started(self, book: Book, given: Input) -> Step:
        assert book.trial is not None
        return Step(book) if book.trial.start == given.start else self._take_back(book, given)

    def _withdraw(self, book: Book, given: Input) -> Step:
        """A commit with which the appliance does not come up: the one before it is in force again."""
        past = book.past()
        if len(past) < 2:
            return Step(book)
        number = past[1].number
        after = msgspec.structs.replace(book, startup=number, back=(*book.back, book.startup))
        return Step(after, (Start(number), Run(number)))

    def _return_to(self, book: Book, given: Input) -> Step:
        past = book.past()
        if not 1 <= given.back < len(past):
            raise StateRefusedError(
                f"there is no configuration {given.back} back; `show revisions` lists {len(past) - 1}",
                f"没有往前第 {given.back} 个配置；`show revisions` 列出 {len(past) - 1} 个",
            )
        if book.trial is not None and past[given.back].number == book.startup:
            return self._take_back(book, given)
        assert given.revision is not None
        number = given.revision.number
        back = book.back if book.trial is None else (*book.back, book.trial.revision)
        kept, drop = _trimmed((*book.revisions, given.revision), number, back)
        after = Book(startup=number, revisions=kept, back=_without(back, drop))
        unmark = (Unmark(book.trial.revision, given.why),) if book.trial is not None else ()
        return Step(after, (Write(given.revision), Start(number), *unmark, Run(number), *_drops(drop)))


def _trimmed(revisions: Iterable[Revision], keep: int, back: Iterable[int]) -> tuple[tuple[Revision, ...], tuple[int, ...]]:
    """The newest `KEEP` beside the one in force, and the numbers of those that go; taken-back ones count and go like others."""
    ordered = sorted(revisions, key=lambda one: -one.number)
    kept = [one for one in ordered if one.number == keep]
    kept += [one for one in ordered if one.number != keep][:KEEP]
    kept.sort(key=lambda one: one.number)
    numbers = {one.number for one in kept}
    return tuple(kept), tuple(one.number for one in reversed(ordered) if one.number not in numbers)


def _drops(numbers: tuple[int, ...]) -> tuple[Effect, ...]:
    return (Drop(numbers),) if numbers else ()


def _without(back: tuple[int, ...], gone: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(number for number in back if number not in gone)


def recover(revisions: Iterable[Revision], startup: int, trial: Trial | None, back: Iterable[int] = ()) -> Book:
    """The book that is on a disk: `startup` 0 where that file is gone or damaged; `back` as far as it is known."""
    known = tuple(sorted(revisions, key=lambda one: one.number))
    numbers = {one.number for one in known}
    gone = {number for number in back if number in numbers}
    if startup not in numbers:
        marked = {trial.revision} if trial is not None else set()
        good = [one.number for one in known if one.number not in gone | marked and one.how != "commit confirmed"] or [
            one.number for one in known if one.number not in gone | marked
        ]
        startup = max(good, default=0)
    live = trial if trial is not None and trial.revision in numbers and trial.revision > startup and startup else None
    never = {number for number in numbers if number > startup and (live is None or number != live.revision)}
    return Book(startup, known, live, tuple(sorted((gone | never) - {startup})))


# --- the page of docs/states --------------------------------------------------------------------------------------------------


def faults() -> list[str]:
    """What is wrong with the table: missing inputs, unknown rules or states, states that cannot be reached or left."""
    table, found = Machine.TABLE, []
    inputs = set(Given.__args__)  # type: ignore[attr-defined]
    for state, rows in table.items():
        found += [f"{state}: no row for {name}" for name in sorted(inputs - rows.keys())]
        for name, row in rows.items():
            if not hasattr(Machine, "_" + row.do):
                found.append(f"{state}/{name}: no rule {row.do}")
            found += [f"{state}/{name}: no state {target}" for target in row.to if target not in table]
    seen: set[str] = {"EMPTY"}
    for _ in table:
        seen |= {target for state in list(seen) for row in table[state].values() for target in row.to}  # type: ignore[index]
    found += [f"{state}: cannot be reached" for state in table if state not in seen]
    return found


def page() -> str:
    """`docs/states/configuration.md`: diagram and table."""
    arrows: dict[tuple[str, str], list[str]] = {}
    rows = ["| state | input | does | leads to |", "|---|---|---|---|"]
    for state, given in Machine.TABLE.items():
        for name, row in given.items():
            rows.append(f"| {state} | {name} | `{row.do}` | {', '.join(row.to)} |")
            for target in row.to:
                if target != state:
                    arrows.setdefault((state, target), []).append(name)
    diagram = ["stateDiagram-v2", "    [*] --> EMPTY", *(f"    {a} --> {b}: {', '.join(names)}" for (a, b), names in arrows.items())]
    made = "Generated from `firmware/config/states.py` by `make states`; edit the table, not this page."
    head = f"# Configuration: states\n\n{(__doc__ or '').strip().splitlines()[0]}\n\n{made}\n"
    return f"{head}\n```mermaid\n" + "\n".join(diagram) + "\n```\n\n" + "\n".join(rows) + "\n"
