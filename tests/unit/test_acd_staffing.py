"""Emergency staffing by steps, and the rating menu that tells the shift leader at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from firmware.call import actions as do
from firmware.call.acd_state import StaffingState
from firmware.call.events import LowRating, StaffingChanged
from firmware.call.staffing import decide, due, holds, people, scaled
from firmware.call.times import LocalTime
from firmware.config.schema.acd import Acd, CallIn, Staffing, Step
from firmware.config.schema.people import Agent, Extension
from tests.unit.call_stage import Phone, Stage, config

RULES = Staffing(callers=2, wait_s=10, sustained_s=60, calm_s=30, steps=[Step(agents=["8002"]), Step(agents=["8003"], queues=["sales"])])


def test_a_step_needs_the_condition_without_a_break_and_calm_is_below_half():
    state = StaffingState()
    assert decide(state, 4, replace(RULES, callers=4), 0) == ""
    assert decide(state, 3, replace(RULES, callers=4), 30_000) == "", "a break: it is counted anew"
    assert decide(state, 4, replace(RULES, callers=4), 31_000) == ""
    assert decide(state, 4, replace(RULES, callers=4), 90_999) == ""
    assert decide(state, 4, replace(RULES, callers=4), 91_000) == "up"
    state.step, state.over_since = 1, 91_000
    assert decide(state, 2, replace(RULES, callers=4), 92_000) == "" and state.calm_since < 0, "half is not below half"
    assert decide(state, 1, replace(RULES, callers=4), 93_000) == ""
    assert decide(state, 2, replace(RULES, callers=4), 122_000) == "" and state.calm_since < 0
    assert decide(state, 1, replace(RULES, callers=4), 130_000) == ""
    assert decide(state, 0, replace(RULES, callers=4), 160_000) == "down"


@given(st.lists(st.tuples(st.integers(1, 40_000), st.integers(0, 5)), max_size=60))
def test_steps_never_come_sooner_than_their_time(moves):
    state, now, ups = StaffingState(), 0, []
    for pause, over in moves:
        now += pause
        move = decide(state, over, RULES, now)
        if move == "up":
            assert over >= 2 and (not ups or now - ups[-1] >= 60_000)
            ups.append(now)
            state.step, state.over_since = state.step + 1, now
        elif move == "down":
            assert state.step and over < 1
            state.step, state.over_since, state.calm_since = 0, -1, -1
        assert state.step <= len(RULES.steps)
        at = due(state, [now - 5000], RULES, now)
        assert at == -1 or at > now


def test_a_night_step():
    night = Step(agents=["8002"], from_time="22:00", to_time="06:00")
    assert holds(night, LocalTime(2026, 3, 2, 23, 0)) and holds(night, LocalTime(2026, 3, 2, 5, 59))
    assert not holds(night, LocalTime(2026, 3, 2, 12, 0)) and holds(Step(agents=["8002"]), LocalTime(2026, 3, 2, 12, 0))


def site(rules: Staffing = RULES) -> Stage:
    agents = {
        "8001": Agent(pin="11", queues=["sales"]), "8002": Agent(pin="22", queues=["sales"], phone="202"),
        "8003": Agent(pin="33", queues=["service"], phone="203"),
    }  # fmt: skip
    stage = Stage(config(agents=agents, acd=Acd(staffing=rules)), restart=True)
    stage.log_in("8001", "201")
    stage.board.agent_command("8001", "pause", stage.now)
    stage.log_in("8003", "203")
    stage.phones |= {"202": Phone(answer_ms=-1), "203": Phone(answer_ms=-1)}
    return stage


def waits(stage: Stage, line: int) -> str:
    leg = stage.ring_in(f"line/{line}", f"1380000000{line}")
    stage.run(500)
    stage.press(leg, "11")
    stage.run(100)
    return leg


def changes(stage: Stage) -> list[StaffingChanged]:
    return [one for one in stage.notices if isinstance(one, StaffingChanged)]


def test_reserves_join_by_themselves_and_stand_down():
    stage = site()
    first, second = waits(stage, 1), waits(stage, 2)
    stage.run(69_000)
    assert stage.status("8002") == "logged-out"
    stage.run(6000)
    assert stage.status("8002") == "offered" and [one.agents for one in changes(stage)] == [["8002"]]
    assert stage.board.floor.agent("8002").extension == "202"
    stage.run(60_000)
    assert [one.step for one in changes(stage)] == [1, 2]
    assert stage.board.floor.agent("8003").called_in == ["sales"] and stage.board.floor.serves("8003", "sales")
    stage.leave(first)
    stage.leave(second)
    stage.run(40_000)
    assert changes(stage)[-1].step == 0 and stage.status("8002") == "logged-out"
    assert stage.status("8003") == "ready" and not stage.board.floor.serves("8003", "sales"), "who was at work stays at work"


def test_a_reserve_in_a_call_ends_it_before_he_stands_down():
    stage = site()
    first, second = waits(stage, 1), waits(stage, 2)
    stage.phones["202"] = Phone(answer_ms=1000)
    stage.run(78_000)
    agent = stage.leg_at("202")
    assert stage.talking(agent, first) or stage.talking(agent, second)
    stage.leave(second if stage.talking(agent, first) else first)
    stage.run(60_000)
    assert changes(stage)[-1].step == 0 and stage.status("8002") == "talking"
    stage.leave(agent)
    stage.run(30_000)
    assert stage.status("8002") == "logged-out"


def test_who_logs_himself_out_is_not_called_in_again():
    stage = site()
    waits(stage, 1), waits(stage, 2)
    stage.run(75_000)
    stage.board.agent_command("8002", "logout", stage.now)
    stage._after()
    stage.run(30_000)
    assert stage.status("8002") == "logged-out"


# --- rating -----------------------------------------------------------------------------------------------------------


def rated(questions: list[str], keys: list[str], **changes: int) -> tuple[Stage, str]:
    conf = config()
    queue = replace(conf.queues["sales"], rating_questions=questions, **changes)
    stage = Stage(replace(conf, queues={**conf.queues, "sales": queue}), restart=True)
    stage.log_in("8001", "201")
    leg = waits(stage, 1)
    stage.run(8000)
    stage.leave(stage.leg_at("201"))
    for one in keys:
        stage.run(1000)
        stage.press(leg, one)
    stage.run(60_000)
    assert leg not in stage.legs
    return stage, leg


@pytest.mark.parametrize(
    ("questions", "keys", "grades", "low"),
    [
        (["three"], ["1"], [1], []), (["three"], ["3"], [3], ["3"]), (["three"], ["9", "2"], [2], []),
        (["ten"], ["10#"], [10], []), (["ten"], ["4"], [4], ["4/10"]), (["ten"], ["0#", "7#"], [7], []),
        (["solved", "three", "ten"], ["2", "1", "9#"], [2, 1, 9], ["not solved"]), (["three", "solved"], ["1"], [1], []),
        (["ten"], [], [], []),
    ],
)  # fmt: skip
def test_questions(questions, keys, grades, low):
    stage, _ = rated(questions, keys)
    history = [one.data for _, _, one in stage.done if isinstance(one, do.Record) and one.kind == "rating"]
    assert [one["rating"] for one in history] == grades and [one["question"] for one in history] == questions[: len(grades)]
    assert [one.grade for one in stage.notices if isinstance(one, LowRating)] == low
    assert stage.only().rating == (grades[0] if grades else 0)
    stage.at_rest()


def test_what_is_low_is_a_setting():
    stage, _ = rated(["three"], ["2"], rating_low=2)
    assert [(one.grade, one.agent, one.queue) for one in stage.notices if isinstance(one, LowRating)] == [("2", "8001", "sales")]


# --- the size of the site, and the end of the steps -------------------------------------------------------------------


@pytest.mark.parametrize(("seats", "limit"), [(0, 2), (5, 2), (6, 2), (7, 3), (10, 3), (50, 15)])
def test_too_many_callers_is_a_part_of_the_seats_at_work(seats, limit):
    assert scaled(RULES, seats).callers == limit
    assert scaled(replace(RULES, share=0), seats).callers == 2 and scaled(replace(RULES, callers=0), seats).callers == 0


def test_a_large_site_is_not_alarmed_by_what_is_too_much_for_a_small_one():
    agents = {str(8001 + n): Agent(pin=str(100 + n), queues=["sales"]) for n in range(8)}
    extensions = {str(201 + n): Extension(kind="sip") for n in range(8)}
    rules = replace(RULES, steps=[Step(agents=["8008"], queues=["sales"])])
    stage = Stage(config(agents=agents, extensions=extensions, acd=Acd(staffing=rules)))
    for n in range(8):
        stage.log_in(str(8001 + n), str(201 + n))
        stage.board.agent_command(str(8001 + n), "pause", stage.now)
    for line in (1, 2):
        waits(stage, line)
    stage.run(80_000)
    assert changes(stage) == []
    waits(stage, 3)
    stage.run(80_000)
    assert [one.step for one in changes(stage)] == [1]


def test_when_no_step_helped_people_are_called_in_by_the_table_and_the_calm_ends_it():
    table = [CallIn(callers=2, people=2), CallIn(callers=4, people=5)]
    assert [people(replace(RULES, call_in=table), over) for over in (1, 2, 3, 4, 9)] == [2, 2, 2, 5, 5]
    stage = site(replace(RULES, call_in=table))
    legs = [waits(stage, 1), waits(stage, 2)]
    stage.run(140_000)
    assert [(one.step, one.people) for one in changes(stage)] == [(1, 0), (2, 0)]
    stage.run(60_000)
    assert (changes(stage)[-1].step, changes(stage)[-1].people) == (3, 2)
    stage.run(120_000)
    assert len(changes(stage)) == 3, "told once"
    for leg in legs:
        stage.leave(leg)
    stage.run(40_000)
    assert changes(stage)[-1].step == 0
