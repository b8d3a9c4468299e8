"""Caller id during a call: the sequence with a telephone that answers, one that does not, and any order of what may happen."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.call.model import Party
from firmware.line import callerid
from firmware.line.callwaiting import Action, CallWaitingId, Finished, Mute, SendAlert, SendMessage

MESSAGE = callerid.build_mdmf(Party("5551212", "JOHN"), "09301230")


def waiting(at: int = 1000) -> CallWaitingId:
    """A sequence whose alerting tone ended at `at` + 80."""
    sequence = CallWaitingId(MESSAGE)
    assert sequence.start(at) == [Mute(True), SendAlert(80)]
    assert sequence.played(at + 80) == []
    return sequence


@pytest.mark.parametrize("key", ["D", "A"])
def test_an_acknowledge_brings_the_message_and_then_the_talk(key: str) -> None:
    sequence = waiting()
    assert sequence.key(key, 1240) == []
    assert sequence.deadline() == 1260                  # the key ended at 1200
    assert sequence.expire(1259) == []
    assert sequence.expire(1260) == [SendMessage(MESSAGE, 0, 80)]
    assert sequence.played(1900) == [Mute(False), Finished("sent")]
    assert sequence.deadline() is None


def test_without_an_acknowledge_the_talk_goes_on_after_160_ms() -> None:
    sequence = waiting()
    assert sequence.deadline() == 1080 + 160 + 40
    assert sequence.expire(1280) == [Mute(False), Finished("no-acknowledge")]
    assert sequence.key("D", 1281) == [] and sequence.played(1400) == []


@pytest.mark.parametrize("key", ["5", "B", "C", "#"])
def test_another_key_is_no_acknowledge(key: str) -> None:
    sequence = waiting()
    sequence.key(key, 1200)
    assert sequence.expire(1280) == [Mute(False), Finished("no-acknowledge")]


def test_a_key_during_the_tone_or_too_late_is_none() -> None:
    sequence = CallWaitingId(MESSAGE)
    sequence.start(0)
    sequence.key("D", 40)
    assert sequence.state == "alert"
    late = waiting()
    late.key("D", 1281)
    assert late.state == "wait"


def test_players_that_say_nothing_do_not_keep_the_talk_away() -> None:
    sequence = CallWaitingId(MESSAGE)
    sequence.start(0)
    assert sequence.expire(180) == [] and sequence.state == "wait"
    sequence.key("D", 200)
    assert sequence.expire(220) == [SendMessage(MESSAGE, 0, 80)]
    due = sequence.deadline()
    assert due is not None and due <= 220 + callerid.duration_ms(MESSAGE, 0, 80) + 100
    assert sequence.expire(due) == [Mute(False), Finished("sent")]


def test_hanging_up_gives_the_talk_back_once() -> None:
    sequence = waiting()
    assert sequence.stop() == [Mute(False), Finished("stopped")]
    assert sequence.stop() == []
    fresh = CallWaitingId(MESSAGE)
    assert fresh.stop() == [] and fresh.start(5) == []


steps = st.lists(st.tuples(st.sampled_from(["start", "played", "D", "A", "7", "expire", "stop"]), st.integers(0, 300)), max_size=30)


@given(steps)
def test_whatever_happens_each_mute_is_taken_back_once(sequence_of: list[tuple[str, int]]) -> None:
    sequence, now, done = CallWaitingId(MESSAGE), 0, list[Action]()
    for what, later in sequence_of:
        now += later
        sequence = msgspec.json.decode(msgspec.json.encode(sequence), type=CallWaitingId)
        if what == "start":
            done += sequence.start(now)
        elif what == "played":
            done += sequence.played(now)
        elif what == "expire":
            done += sequence.expire(now)
        elif what == "stop":
            done += sequence.stop()
        else:
            done += sequence.key(what, now)
    started = Mute(True) in done
    for _ in range(4):
        now = max(now, sequence.deadline() or now)
        done += sequence.expire(now)
    assert [action.on for action in done if isinstance(action, Mute)] == ([True, False] if started else [])
    assert sum(isinstance(action, Finished) for action in done) == int(started)
    assert sum(isinstance(action, SendMessage) for action in done) <= 1


@pytest.mark.parametrize("on", [True, False])
def test_both_forms_of_message_waiting_are_read_back(on: bool) -> None:
    for single in (True, False):
        assert callerid.parse(callerid.build_waiting(on, single=single)).waiting is on


def test_length_on_the_wire() -> None:
    assert callerid.duration_ms(MESSAGE) - callerid.duration_ms(MESSAGE, 0, 80) == pytest.approx(400 / 1.2, abs=1)
