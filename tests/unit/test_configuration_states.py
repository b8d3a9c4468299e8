"""The machine of running, trial and startup: its table, every input in every state, every prefix of every step."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.config import states
from firmware.config.states import Book, Given, Input, Machine, Revision, StateRefusedError, Step, Trial, recover

ROOT = Path(__file__).parents[2]


def revision(number: int, how: states.How = "commit") -> Revision:
    return Revision(number, 1000 * number, "ann", "", how, f"{number:064d}")


def given_of(kind: str, book: Book, back: int = 1) -> Input:
    number = book.next_number
    how: states.How = "commit confirmed" if kind == "try" else "rollback" if kind == "rollback" else "commit"
    trial = Trial(number, 60_000, 0, "boot", "start-1", "ann") if kind == "try" else None
    return Input(kind, revision(number, how), trial, back=back, start="start-2", why="because")  # type: ignore[arg-type]


def test_the_table_is_whole() -> None:
    assert states.faults() == []


def test_the_page_of_states_is_current() -> None:
    assert (ROOT / "docs/states/configuration.md").read_text("utf-8") == states.page(), "run: make states"


@pytest.mark.parametrize("kind", get_args(Given))
@pytest.mark.parametrize("ways", ["", "c", "cc", "ct", "cct", "ctd", "ctkt"])
def test_every_input_in_every_state_is_refused_or_leads_where_the_table_says(ways: str, kind: Given) -> None:
    book = Book()
    for way in ways:
        name = {"c": "commit", "t": "try", "k": "confirm", "d": "deadline"}[way]
        book = Machine().step(book, given_of(name, book)).book
    row = Machine.TABLE[book.state][kind]
    try:
        step = Machine().step(book, given_of(kind, book))
    except StateRefusedError as error:
        assert str(error) and error.chinese
        return
    assert step.book.state in row.to
    assert check(step.book)


def check(book: Book) -> bool:
    """Invariants of every book."""
    numbers = {one.number for one in book.revisions}
    assert not book.startup or book.startup in numbers
    assert book.trial is None or (book.trial.revision in numbers and book.trial.revision > book.startup)
    assert book.startup not in book.back
    assert len(numbers) <= states.KEEP + 3
    assert [one.number for one in book.past()][:1] == ([book.running] if book.running else [])
    return True


class Disk:
    """What the effects of steps leave on a disk; `fork` is a power cut after some of them."""

    def __init__(self) -> None:
        self.revisions: dict[int, Revision] = {}
        self.startup = 0
        self.trial: Trial | None = None
        self.back: tuple[int, ...] = ()

    def perform(self, effect: states.Effect) -> None:
        if isinstance(effect, states.Write):
            self.revisions[effect.revision.number] = effect.revision
        elif isinstance(effect, states.Mark):
            self.trial = effect.trial
        elif isinstance(effect, states.Start):
            assert effect.number in self.revisions, "startup names what is there"
            self.startup = effect.number
        elif isinstance(effect, states.Unmark):
            self.trial = None
        elif isinstance(effect, states.Drop):
            for number in effect.numbers:
                del self.revisions[number]
        else:
            assert effect.number in (self.startup, self.trial.revision if self.trial else 0), "what runs is on the disk before"

    def book(self) -> Book:
        return recover(self.revisions.values(), self.startup, self.trial, self.back)


@given(st.lists(st.tuples(st.sampled_from(get_args(Given)), st.integers(1, 4)), max_size=70))
def test_whatever_is_cut_off_the_book_is_the_one_of_before_or_of_after(inputs: list[tuple[Given, int]]) -> None:
    disk, book = Disk(), Book()
    for kind, back in inputs:
        try:
            step: Step = Machine().step(book, given_of(kind, book, back))
        except StateRefusedError:
            continue
        before = (book.startup, book.running)
        after = (step.book.startup, step.book.running)
        for effect in step.effects:
            disk.perform(effect)
            found = disk.book()
            assert check(found)
            assert (found.startup, found.running) in (before, after), (kind, effect)
        book = step.book
        disk.back = book.back
        found = disk.book()
        assert (found.startup, found.trial, found.revisions, set(found.back)) == (
            book.startup, book.trial, book.revisions, set(book.back),
        )  # fmt: skip
        check(book)


def test_fifty_revisions_are_kept_beside_the_present_one() -> None:
    book = Book()
    for _ in range(80):
        book = Machine().step(book, given_of("commit", book)).book
    assert [one.number for one in book.revisions] == list(range(30, 81))
    with pytest.raises(StateRefusedError):
        Machine().step(book, given_of("rollback", book, 51))
    assert Machine().step(book, given_of("rollback", book, 50)).book.startup == 81


def test_what_was_taken_back_is_not_counted() -> None:
    book = Book()
    for kind in ("commit", "commit", "try", "deadline"):
        book = Machine().step(book, given_of(kind, book)).book
    assert (book.running, [one.number for one in book.past()], book.back) == (2, [2, 1], (3,))
    assert Machine().step(book, given_of("rollback", book)).book.running == 4


def test_a_commit_that_does_not_come_up_goes_back_to_the_one_before() -> None:
    book = Book()
    for kind in ("commit", "commit", "failed"):
        book = Machine().step(book, given_of(kind, book)).book
    assert (book.startup, book.back) == (1, (2,))
    assert Machine().step(Machine().step(Book(), given_of("commit", Book())).book, given_of("failed", book)).book.startup == 1


@pytest.mark.parametrize("trial", [None, Trial(3, 1, 1, "b", "s")])
@pytest.mark.parametrize("startup", [0, 1, 2, 3, 9])
def test_a_damaged_disk_still_gives_a_book(startup: int, trial: Trial | None) -> None:
    for count in range(4):
        for kept in itertools.combinations([revision(1), revision(2), revision(3, "commit confirmed")], count):
            found = recover(kept, startup, trial)
            assert check(found)
            assert bool(found.startup) == any(one.number != (trial.revision if trial else 0) or one.number == startup for one in kept)
            assert msgspec.json.decode(msgspec.json.encode(found), type=Book) == found
