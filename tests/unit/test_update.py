"""Updates: which bundle is refused, when the box restarts, when a new version is good and when it goes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.update import spool
from firmware.update.agent import Ear
from firmware.update.machine import Check, Install, Keep, Listen, MarkGood, Record, Request, Restart, Settings, StayHere, Updates
from firmware.update.rules import Before, Offer, Seen, Words, complaints, refusal, unusable, version_key

BOARD = "branchpbx-qemu-armv7"
SETTINGS = Settings(quiet_s=10, patience_s=100, settle_s=6, trial_s=60, start_s=30)


class Box:
    """A machine and its clock; `go` looks every two seconds."""

    def __init__(self, record: Record | None = None, slot: str = "A") -> None:
        self.now = 0.0
        self.machine = Updates(slot, "1.0.0", record, 0.0, SETTINGS)
        self.done: list[object] = list(self.machine.booted())

    def go(self, seconds: float, *, calls: int | None = 0, lines: int = 4, phones: int = 2, tones: int = 1,
           moving: bool = True) -> list[object]:  # fmt: skip
        """What was done in that time."""
        before, end = len(self.done), self.now + seconds
        while self.now < end:
            self.now += 2
            clock = f"{self.now}" if moving else "stands"
            self.done += self.machine.look(Seen(calls, clock, (), lines, phones, tones), self.now)
        return self.done[before:]

    def until_waiting(self, *, now: bool = False) -> None:
        """A good bundle was asked for, checked and installed, with a call up."""
        self.go(20, calls=1)
        assert self.machine.ask(Request("/x.raucb", now=now)) == [Check("/x.raucb")]
        assert self.machine.checked(Offer(BOARD, "1.1.0"), None) == [Install("/x.raucb")]
        self.done += self.machine.installed("B", None, self.now)


def test_a_healthy_start_is_marked_good_once() -> None:
    box = Box()
    assert box.go(60) == [MarkGood()]
    assert box.machine.phase == "idle"


@pytest.mark.parametrize("wrong", [{"calls": None}, {"moving": False}])
def test_a_start_that_is_not_healthy_is_never_marked_good_and_ends_in_a_restart(wrong: dict[str, object]) -> None:
    done = Box().go(60, **wrong)  # type: ignore[arg-type]
    assert [type(one) for one in done] == [Restart]


def test_a_start_that_becomes_healthy_late_is_good_only_after_a_while_of_health() -> None:
    box = Box()
    assert box.go(20, calls=None) == []
    assert box.go(6) == []
    assert box.go(8) == [MarkGood()]


def test_an_update_waits_for_the_end_of_a_call_and_then_for_quiet() -> None:
    box = Box()
    box.until_waiting()
    assert box.go(40, calls=1) == []
    assert box.go(8) == []
    assert box.go(2, calls=2) == []
    assert box.go(20) == [Restart("update to 1.1.0")]


def test_nobody_knowing_whether_a_call_is_up_counts_as_a_call() -> None:
    box = Box()
    box.until_waiting()
    assert box.go(40, calls=None) == []


def test_the_one_who_asks_may_end_the_wait_beforehand() -> None:
    box = Box()
    box.until_waiting(now=True)
    assert box.done[-1] == Restart("update to 1.1.0")


def test_lines_that_are_never_idle_put_the_update_off_and_the_old_slot_stays() -> None:
    box = Box()
    box.until_waiting()
    assert box.go(120, calls=1) == [StayHere(), Keep(None)]
    assert box.machine.verdict is not None and box.machine.verdict.outcome == "put off"


def test_cancelling_while_waiting_keeps_the_old_slot() -> None:
    box = Box()
    box.until_waiting()
    assert box.machine.cancel() == [StayHere(), Keep(None)]
    assert box.machine.phase == "idle"
    assert box.go(60) == []


def test_the_record_is_written_before_the_restart_and_says_what_worked() -> None:
    box = Box()
    box.until_waiting()
    assert box.done[-1] == Keep(Record("B", "A", "1.0.0", "1.1.0", Before(4, 2, 1)))


def test_before_the_restart_the_idle_lines_listen_for_dial_tone_once() -> None:
    box = Box()
    box.go(20, calls=1, tones=0)
    box.machine.ask(Request("/x.raucb"))
    box.machine.checked(Offer(BOARD, "1.1.0"), None)
    box.machine.installed("B", None, box.now)
    assert box.machine.listens
    assert box.go(20, tones=0) == [Listen()]
    assert box.go(20, calls=1, tones=0) == [], "a call comes first"
    assert box.go(20, tones=0) == [Listen()]
    assert box.go(2, tones=3) == [Keep(Record("B", "A", "1.0.0", "1.1.0", Before(4, 2, 3))), Restart("update to 1.1.0")]


@pytest.mark.parametrize(("lines", "listens"), [(4, True), (0, False)])
def test_lines_without_dial_tone_or_no_lines_at_all_do_not_keep_an_update_waiting(lines: int, listens: bool) -> None:
    box = Box()
    box.go(20, lines=lines, tones=0)
    box.machine.ask(Request("/x.raucb"))
    box.machine.checked(Offer(BOARD, "1.1.0"), None)
    record = box.machine.installed("B", None, box.now)[0]
    assert record == Keep(Record("B", "A", "1.0.0", "1.1.0", Before(lines, 2)))
    done = box.go(90, lines=lines, tones=0)
    assert done == [Listen(), Restart("update to 1.1.0")] if listens else done == [Restart("update to 1.1.0")]


def test_where_dial_tone_was_heard_before_it_is_listened_for_until_it_is_heard_again() -> None:
    box = Box(Record("B", "A", "0.9.0", "1.0.0", Before(4, 2, 2)), slot="B")
    box.machine.settings = Settings(quiet_s=10, settle_s=6, trial_s=600)
    assert box.go(20, calls=None, tones=0) == []
    assert box.go(20, calls=1, tones=0) == [], "no line is taken from a caller"
    assert box.go(80, tones=0) == [Listen(), Listen()]
    assert [words.code for words in box.machine.complaints] == ["dial_tone"]
    assert box.go(20, tones=1) == [MarkGood(), Keep(None)]


def test_dial_tone_of_the_version_before_counts_before_the_restart_and_never_after_it() -> None:
    old = [{"target": "line/1", "tested": "2026-11-23 03:10", "dial_tone_ms": 400}, {"target": "disk", "tested": "", "dial_tone_ms": None}]
    new = [{**old[0], "tested": "2026-11-23 15:00"}, old[1]]
    assert Ear(fresh=False).tones(old, 0) == 1
    ear = Ear(fresh=True)
    assert [ear.tones(rows, 0) for rows in (old, old, new, [{**new[0], "dial_tone_ms": None}])] == [0, 0, 1, 0]
    assert ear.tones(old, 2) == 2 and ear.tones(old, 0) == 2, "a call that a line carried proves more"


RECORD = Record("B", "A", "0.9.0", "1.0.0", Before(4, 2))


def test_a_new_version_on_trial_is_good_when_lines_and_a_telephone_are_back() -> None:
    box = Box(RECORD, slot="B")
    assert box.go(30, phones=0) == []
    assert [words.code for words in box.machine.complaints] == ["phones"]
    assert box.go(20, phones=1) == [MarkGood(), Keep(None)]
    assert box.machine.verdict is not None and box.machine.verdict.outcome == "good"


@pytest.mark.parametrize("wrong", [{"lines": 3}, {"phones": 0}, {"calls": None}])
def test_a_new_version_that_can_do_less_restarts_without_being_marked(wrong: dict[str, object]) -> None:
    done = Box(RECORD, slot="B").go(80, **wrong)  # type: ignore[arg-type]
    assert [type(one) for one in done] == [Restart]


def test_the_other_slot_after_a_trial_is_a_roll_back_and_is_told() -> None:
    box = Box(Record("B", "A", "1.0.0", "1.1.0", Before(4, 2)))
    assert box.done == [Keep(None)]
    assert box.machine.verdict is not None
    assert (box.machine.verdict.outcome, box.machine.verdict.version) == ("rolled back", "1.1.0")
    assert box.go(20, phones=0) == [MarkGood()]


def test_one_update_at_a_time_and_none_before_the_start_is_good() -> None:
    box = Box()
    early = box.machine.ask(Request("/x"))
    assert isinstance(early, Words) and early.code == "starting"
    box.go(20)
    box.machine.ask(Request("/x"))
    busy = box.machine.ask(Request("/y"))
    assert isinstance(busy, Words) and busy.code == "busy"


def test_a_refused_bundle_leaves_the_box_as_it_was() -> None:
    box = Box()
    box.go(20)
    box.machine.ask(Request("/x"))
    words = Words("older", "older", "旧")
    assert box.machine.checked(Offer(BOARD, "0.1.0"), words) == []
    assert box.machine.verdict is not None and box.machine.verdict.words == words
    assert box.go(60) == []


@pytest.mark.parametrize(
    ("offer", "code"),
    [
        (Offer("branchpbx-am335x-linecard", "9.0.0"), "wrong_board"),
        (Offer(BOARD, "0.9.9"), "older"),
        (Offer(BOARD, "1.0.0-rc1"), "older"),
        (Offer(BOARD, "1.0.0"), "same"),
        (Offer(BOARD, "latest"), "no_version"),
        (Offer(BOARD, ""), "no_version"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(offer: Offer, code: str) -> None:
    words = refusal(offer, BOARD, "1.0.0")
    assert words is not None and words.code == code and words.en and words.zh


def test_an_older_version_is_taken_when_it_is_meant_and_another_board_never() -> None:
    assert refusal(Offer(BOARD, "0.9.9"), BOARD, "1.0.0", older=True) is None
    wrong = refusal(Offer("other", "0.9.9"), BOARD, "1.0.0", older=True)
    assert wrong is not None and wrong.code == "wrong_board"
    assert refusal(Offer(BOARD, "1.0.1"), BOARD, "1.0.0") is None


@given(
    st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)),
    st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)),
)
def test_exactly_the_older_of_two_versions_is_refused(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    a, b = (".".join(map(str, each)) for each in (one, other))
    words = refusal(Offer(BOARD, a), BOARD, b)
    assert (words.code if words else "") == ("older" if one < other else "same" if one == other else "")


@given(st.text(max_size=30))
def test_any_text_is_a_version_or_none(text: str) -> None:
    key = version_key(text)
    assert key is None or text.isascii()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("signature verification failed: self-signed certificate in certificate chain", "signature"),
        ("failed to download bundle: HTTP 404", "unreachable"),
        ("bundle too short", "damaged"),
    ],
)
def test_raucs_words_become_a_reason(text: str, code: str) -> None:
    assert unusable(text).code == code


def test_a_stopped_process_is_named() -> None:
    found = complaints(Seen(0, "2", ("media",)), Seen(0, "1"), None)
    assert [words.code for words in found] == ["process"] and "media" in found[0].en


def test_a_wish_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / "requests").mkdir()
    wish = spool.Wish("install", Request("http://centre/x.raucb", older=True))
    spool.put(wish, tmp_path)
    assert spool.take(tmp_path) == wish
    assert spool.take(tmp_path) is None


def test_what_is_no_wish_is_removed_and_ignored(tmp_path: Path) -> None:
    folder = tmp_path / "requests"
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(b'{"what": "install", "request": {"source": "/etc/shadow"}}')
    for make in (
        lambda path: path.write_bytes(b"{" * 100_000),
        lambda path: path.write_bytes(b'{"what": "format"}'),
        lambda path: path.symlink_to(secret),
    ):
        make(folder / "request.json")
        assert spool.take(tmp_path) is None
        assert not (folder / "request.json").is_symlink() and not (folder / "request.json").exists()
    assert secret.exists()


def test_a_pipe_in_the_place_of_a_wish_stops_nobody(tmp_path: Path) -> None:
    import os

    (tmp_path / "requests").mkdir()
    os.mkfifo(tmp_path / "requests" / "request.json")
    assert spool.take(tmp_path) is None
