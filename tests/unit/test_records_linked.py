"""A call that goes on with one that was cut off: in its record, in that of a killed core, and in the journey of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware.call import actions as do
from firmware.call.model import Cause
from firmware.call.state import ContactState, Kind, Phase
from firmware.reports.journey import journey
from firmware.store.cdr import CallRecords
from firmware.store.db import Database
from tests.unit.call_stage import Phone, Stage, config


@pytest.fixture
def records(tmp_path: Path) -> Iterator[CallRecords]:
    """Records in a new file."""
    db = Database(tmp_path / "calls.db", "calls")
    made = CallRecords(db, 1)
    made.test_db = db  # type: ignore[attr-defined]
    yield made
    db.close()


def flush(records: CallRecords) -> None:
    assert records.test_db.flush(2.0)  # type: ignore[attr-defined]


def closed(records: CallRecords, contact: str, opened: int, linked: str = "") -> None:
    state = ContactState(contact, Kind.OUTBOUND, opened, Phase.ENDED, called="95551234", extension="201", linked=linked)
    state.ended, state.cause = opened + 500, Cause.NORMAL
    records.open(state, lambda at: at)
    records.close(state, lambda at: at)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_record_names_the_call_it_goes_on_with_and_both_journeys_say_so(records: CallRecords, language: str) -> None:
    closed(records, "C1", 1000)
    closed(records, "C2", 2000, "C1")
    flush(records)
    first, second = records.contact("C1"), records.contact("C2")
    assert first is not None and second is not None
    assert (first["linked"], second["linked"]) == ("", "C1")
    assert records.continued_by("C1") == ["C2"] and records.continued_by("C2") == []

    def told(contact: str) -> str:
        row = records.contact(contact)
        assert row is not None
        return "\n".join(journey(row, [], [], str, language, records.continued_by(contact)))

    onward, back = {"en": ("continued by", "continues"), "zh": ("后续通话", "接续自")}[language]
    assert onward in told("C1") and "C2" in told("C1") and back not in told("C1")
    assert back in told("C2") and "C1" in told("C2") and onward not in told("C2")


def test_a_contact_that_its_core_left_open_keeps_the_link(records: CallRecords) -> None:
    closed(records, "C1", 1000)
    records.open(ContactState("C2", Kind.FEATURE, 2000, Phase.ANSWERING, extension="201"), lambda at: at)
    records.event("C2", 2100, "redial", "L1", {"number": "95551234", "linked": "C1"})
    flush(records)
    assert records.orphans() == ["C2"]
    records.close_orphan("C2", 3000)
    flush(records)
    assert records.continued_by("C1") == ["C2"]


def test_records_of_a_moment_are_gathered_and_written_in_their_order(tmp_path: Path) -> None:
    db = Database(tmp_path / "calls.db", "calls")
    due: list[Callable[[], None]] = []
    records = CallRecords(db, 1, soon=due.append)
    for turn in range(2):
        for n in range(40):
            records.event("C1", turn, f"kind{n}", "", {"n": n})
        closed(records, f"C{turn + 1}", 1000)
        assert len(due) == 1 and not db.statistics()["waiting"]
        due.pop()()
        assert db.flush(2.0)
        assert [row["kind"] for row in records.events("C1")] == [f"kind{n}" for n in range(40)] * (turn + 1)
        found = records.contact(f"C{turn + 1}")
        assert found is not None and found["seq"] == turn + 1
    records.flush()
    assert not due and db.close()


@pytest.mark.parametrize("again", [False, True])
def test_who_answered_a_caller_and_hung_up_at_once_is_in_his_record(records: CallRecords, again: bool) -> None:
    stage = Stage(config())
    stage.log_in("8001", "201")
    stage.phones["201"] = Phone(answer_ms=1000)
    caller = stage.ring_in()
    stage.run(500)
    stage.press(caller, "11")
    contact = stage.board.contact_of(caller)
    state = stage.board.contacts[contact]
    while state.phase is not Phase.CONNECTING and stage.now < 60_000:
        stage.run(100)
    phone = stage.leg_at("201")
    stage.phones["201"] = Phone(answer_ms=2000 if again else -1)
    stage.leave(phone)                               # while his number is said
    (told,) = [action.data for _, _, action in stage.done if isinstance(action, do.Record) and action.kind == "agent-gone"]
    assert told["agent"] == "8001" and 0 <= told["after_ms"] < 5_000
    stage.run(20_000 if again else 1_000)
    if again:
        assert stage.talking(caller, stage.leg_at("201"))
    stage.leave(caller)
    stage.run(5_000)
    records.open(state, lambda at: at)
    records.close(state, lambda at: at)
    flush(records)
    row = records.contact(contact)
    assert row is not None and row["agent"] == "8001"
    assert row["agents"] == ("8001 8001" if again else "8001") and (row["connected_ms"] is not None) is again
