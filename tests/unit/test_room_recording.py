"""Recording of conference rooms: once for all, handed on, only while everybody who must know was told, found by every number."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware.call import actions as do
from firmware.call.consent import consent
from firmware.call.model import LegHeld
from firmware.config.schema.calls import InboundRoute
from firmware.config.schema.pbx import Room
from firmware.config.schema.people import Extension
from firmware.config.schema.recording import Recording
from firmware.config.schema.system import Site
from firmware.store.db import Database
from firmware.store.recordings import Found, RecordingStore
from firmware.store.vault import DeviceKey
from tests.unit.call_stage import PROMPT_MS, Stage, config


def site(country: str, *, restart: bool = False, notice: bool = False, room: Room | None = None) -> Stage:
    people = {str(number): Extension(kind="sip") for number in (201, 202, 203)}
    made = config(
        site=Site(country=country, languages=["en", "zh"]), recording=Recording(), extensions=people,
        rooms={"board": room or Room(number="700", record=True)}, inbound=[InboundRoute(to="room/board", greeting=False, notice=notice)],
    )  # fmt: skip
    return Stage(made, restart=restart)


def running(stage: Stage) -> list[str]:
    """Legs that are recorded now."""
    return sorted(stage.recording)


def said(stage: Stage, kind: str) -> list[dict[str, object]]:
    return [action.data for _, _, action in stage.done if isinstance(action, do.Record) and action.kind == kind]


def notices(stage: Stage, leg: str) -> int:
    return stage.heard.get(leg, []).count("rec.notice")


@pytest.mark.parametrize("restart", [False, True])
def test_a_conference_is_recorded_once_and_goes_on_with_the_next_leg(restart: bool) -> None:
    stage = site("CN", restart=restart)
    first, second, third = (stage.dial(number, "700") for number in ("201", "202", "203"))
    stage.run(3 * PROMPT_MS)
    assert running(stage) == [first]
    stage.leave(first)
    stage.run(1_000)
    assert running(stage) == [second]
    assert [(one.leg, one.rule) for _, _, one in stage.done if isinstance(one, do.StartRecording)] == [
        (first, "room/board"), (second, "room/board")
    ]  # fmt: skip
    stage.leave(third)
    stage.run(1_000)
    assert running(stage) == []                     # one alone is no conference
    stage.leave(second)
    stage.run(1_000)
    stage.at_rest()


@pytest.mark.parametrize("country", ["CN", "US", "UK", "DE", "FR", "AU"])
@pytest.mark.parametrize("restart", [False, True])
def test_a_newcomer_hears_the_notice_before_he_is_let_in(country: str, restart: bool) -> None:
    stage = site(country, restart=restart)
    profile = consent(stage.config)
    colleague = stage.dial("201", "700")
    stage.run(2 * PROMPT_MS)
    assert notices(stage, colleague) == (profile.inside in ("notice", "internal"))
    caller = stage.ring_in()
    stage.run(300)
    must = profile.outside == "notice"
    assert notices(stage, caller) == must and running(stage) == ([] if must else [colleague])
    inside = [one.leg for _, _, one in stage.done if isinstance(one, do.EnterRoom)]
    assert (caller in inside) is not must           # nothing of him lies before the notice
    stage.run(2 * PROMPT_MS)
    assert running(stage) == [colleague]


def test_who_heard_the_notice_on_his_way_hears_it_once() -> None:
    stage = site("CN", notice=True)
    stage.dial("201", "700")
    caller = stage.ring_in()
    stage.run(4 * PROMPT_MS)
    assert notices(stage, caller) == 1 and len(running(stage)) == 1


def test_without_the_clip_people_talk_and_nothing_is_recorded_while_one_is_there_who_was_not_told() -> None:
    stage = site("CN")
    colleagues = [stage.dial(number, "700") for number in ("201", "202")]
    stage.run(2 * PROMPT_MS)
    assert running(stage) == colleagues[:1]
    stage.board.notices = frozenset()
    caller = stage.ring_in()
    stage.run(1_000)
    assert notices(stage, caller) == 0 and running(stage) == []
    assert {"reason": "notice-missing"} in said(stage, "recording-refused")
    stage.leave(caller)
    stage.run(1_000)
    assert len(running(stage)) == 1                 # all who are left may be recorded


def test_a_leg_that_is_put_on_hold_hands_the_recording_on() -> None:
    stage = site("CN")
    first, second, _ = (stage.dial(number, "700") for number in ("201", "202", "203"))
    stage.run(2 * PROMPT_MS)
    stage.give(LegHeld(first, stage.now))
    stage.run(500)
    assert running(stage) == [second]


def test_a_room_without_the_setting_is_not_recorded_whatever_the_rules_of_calls_say() -> None:
    stage = site("US", room=Room(number="700"))
    for number in ("201", "202"):
        stage.dial(number, "700")
    stage.run(2 * PROMPT_MS)
    assert running(stage) == []


def test_every_number_that_was_in_the_room_finds_its_recording(tmp_path: Path) -> None:
    database = Database(tmp_path / "calls.db", "calls")
    store = RecordingStore(database, DeviceKey(bytes(32)))
    columns = "id, generation, boot, kind, opened_ms, ended_ms, caller"
    for name, opened, ended, caller, room in (
        ("C1", 1_000, 90_000, "201", "board"), ("C2", 20_000, 60_000, "13800000001", "board"),
        ("C3", 95_000, 99_000, "13900000002", "board"), ("C4", 20_000, 60_000, "13700000003", "other"),
        ("C5", 500, 900, "13600000004", "board"),
    ):  # fmt: skip
        database.execute(f"INSERT INTO contacts ({columns}) VALUES (?, 'g', 1, 'inbound', ?, ?, ?)", (name, opened, ended, caller))
        event = "INSERT INTO contact_events (contact, at_ms, kind, data) VALUES (?, ?, 'room', json_object('room', ?))"
        database.execute(event, (name, opened, room))
    store.open("a.rec", "C1", "L1", 10_000, "", 10**13, "room/board")
    store.done("a.rec", "whole", 8 * 80_000, 0, 1, "d", "", 90_000)
    assert database.flush()
    wanted = {"201": 1, "13800000001": 1, "13900000002": 0, "13700000003": 0, "13600000004": 0}
    found = {number: len(store.find(Found(number=number))) for number in wanted}
    database.close(1.0)
    assert found == wanted
