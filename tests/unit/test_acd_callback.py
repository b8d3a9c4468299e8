"""Callbacks that keep the place, and the list of lost callers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from firmware.call import actions as do
from firmware.call.acd_state import AcdState, Request
from firmware.call.events import CallbackChanged, MissedChanged, PromiseBroken
from firmware.call.model import Cause
from firmware.call.quiet import later, quiet_ms
from firmware.call.times import LocalTime
from firmware.config.schema.acd import Callback
from firmware.config.schema.people import Agent
from tests.unit.call_stage import Phone, Stage, config
from tests.unit.mail_stage import MailStage

NUMBER = "13800000001"


def site(**callback: object) -> Stage:
    conf = config(agents={"8001": Agent(pin="11", queues=["sales"]), "8002": Agent(pin="22", queues=["sales"])})
    queue = replace(conf.queues["sales"], record=False, agent_number=False, callback=Callback(enabled=True, **callback))
    stage = Stage(replace(conf, queues={**conf.queues, "sales": queue}), restart=True)
    stage.log_in("8001", "201")
    stage.phones["201"] = Phone(answer_ms=2000)
    pause(stage)
    return stage


def pause(stage: Stage) -> None:
    stage.board.agent_command("8001", "pause", stage.now)
    stage._after()


def test_a_request_that_was_not_on_the_disk_when_power_failed_leaves_a_lost_caller() -> None:
    stage = site()
    asks(stage, waits(stage))
    (state,) = [one for one in stage.closed.values() if one.acd is not None and one.acd.stage == "done"]
    for kept, listed in ((stage.board.acd, False), (AcdState(), True)):
        after = site()
        after.board.acd = kept
        after.board.forgotten(state, after.now)
        assert (NUMBER in after.board.acd.missed) is listed
    after = site()
    after.board.orphaned(NUMBER, "sales", "C1", after.now)
    assert after.board.acd.missed[NUMBER].queue == "sales", "nothing but the record was left"


def ready(stage: Stage) -> None:
    stage.board.agent_command("8001", "ready", stage.now)
    stage._after()


def waits(stage: Stage, line: str = "line/1", number: str = NUMBER) -> str:
    leg = stage.ring_in(line, number)
    stage.run(500)
    stage.press(leg, "11")
    stage.run(8000)
    assert stage.state(leg).phase.value == "queued"
    return leg


def asks(stage: Stage, leg: str) -> Request:
    before = set(stage.board.acd.callbacks)
    stage.press(leg, "1")
    stage.run(5000)
    assert "q.cb.num" in stage.heard[leg]
    stage.press(leg, "1")
    stage.run(5000)
    assert stage.heard[leg][-1] in ("q.cb.ok", "q.cb.quiet") and leg not in stage.legs, "told, then let go"
    return stage.board.acd.callbacks[next(iter(set(stage.board.acd.callbacks) - before))]


def line_of(stage: Stage) -> list[str]:
    return [one.contact for one in stage.board.floor.waiting("sales")]


def test_the_place_is_kept_exactly_and_the_agent_is_connected_with_the_caller():
    stage = site()
    first, second, third = waits(stage), waits(stage, "line/2", "13900000002"), waits(stage, "line/3", "13900000003")
    ids = [stage.board.contact_of(leg) for leg in (first, second, third)]
    assert line_of(stage) == ids
    request = asks(stage, second)
    assert line_of(stage) == [ids[0], request.id, ids[2]]
    closed = stage.closed[ids[1]]
    assert closed.cause is Cause.NORMAL and "13900000002" not in stage.board.acd.missed, "who asked for a callback is not lost"
    ready(stage)
    stage.run(3000)
    assert stage.talking(first, stage.leg_at("201"))
    stage.leave(first)
    stage.run(15_000)                                    # wrap-up, then the agent's telephone rings for the request
    agent = stage.leg_at("201")
    state = stage.state(agent)
    assert state.phase.value == "returning" and state.kind.value == "callback" and third in stage.legs
    stage.run(8000)
    caller = next(leg for leg, where in stage.legs.items() if where.startswith("line/") and leg != third)
    assert stage.talking(caller, agent), "the callback is served before the one who came later"
    assert state.legs[caller].number.endswith("13900000002") and stage.status("8001") == "talking"
    assert "cb.agent" in stage.heard[agent]
    assert request.id in stage.board.acd.callbacks, "open until it is over"
    stage.leave(caller)
    stage.run(5000)
    assert request.id not in stage.board.acd.callbacks and not stage.board.acd.missed
    assert [event.state for event in stage.notices if isinstance(event, CallbackChanged)] == ["calling", "reached"]


def test_another_number_may_be_keyed_and_one_that_may_not_be_dialled_is_refused():
    stage = site(permission="local")
    conf = stage.config
    leg = waits(stage)
    stage.press(leg, "1")
    stage.run(3000)
    stage.press(leg, "2")
    stage.run(3000)
    stage.press(leg, "110#")
    stage.run(5000)
    assert "num.refused" in stage.heard[leg] and not stage.board.acd.callbacks, "an emergency number is never called back"
    stage.press(leg, "62345678#")
    stage.run(3000)
    stage.press(leg, "1")
    stage.run(3000)
    assert [one.number for one in stage.board.acd.callbacks.values()] == ["62345678"]
    assert conf.queues["sales"].callback.enabled


def test_who_asks_twice_has_one_callback():
    stage = site()
    one = asks(stage, waits(stage))
    again = waits(stage)
    stage.press(again, "1")
    stage.run(3000)
    stage.press(again, "1")
    stage.run(5000)
    assert list(stage.board.acd.callbacks) == [one.id] and line_of(stage) == [one.id]


def test_an_agent_who_is_found_during_the_question_simply_answers():
    stage = site()
    leg = waits(stage)
    stage.press(leg, "1")
    stage.run(1000)
    ready(stage)
    stage.run(2500)
    assert stage.talking(leg, stage.leg_at("201")) and not stage.board.acd.callbacks


def test_nobody_there_is_tried_again_with_the_old_place_and_then_lost():
    stage = site(tries=2, retry_s=60)
    request = asks(stage, waits(stage))
    since = request.since_ms
    stage.phones["line/1"] = stage.phones["line/2"] = stage.phones["line/3"] = stage.phones["line/4"] = Phone(answer_ms=-1)
    ready(stage)
    stage.run(130_000)
    assert request.id in stage.board.acd.callbacks
    request = stage.board.acd.callbacks[request.id]
    assert request.tries == 1 and not request.contact and request.since_ms == since
    stage.run(300_000)
    assert request.id not in stage.board.acd.callbacks
    assert stage.board.acd.missed[NUMBER].why == "callback tried"
    assert [event.state for event in stage.notices if isinstance(event, MissedChanged)] == ["lost"]
    assert stage.status("8001") == "ready"


def test_caller_first_takes_the_old_place_with_a_key():
    stage = site(first="caller")
    request = asks(stage, waits(stage))
    behind = waits(stage, "line/2", "13900000002")
    stage.phones["201"] = Phone(answer_ms=2000)
    ready(stage)
    stage.run(6000)
    caller = next(leg for leg, where in stage.legs.items() if where.startswith("line/") and leg != behind)
    assert stage.talking(behind, stage.leg_at("201")), "nobody is kept waiting while the number is dialled"
    stage.press(caller, "1")
    assert line_of(stage) == [stage.board.contact_of(caller)]
    assert stage.state(caller).queued == request.since_ms, "no wall clock here: engine ms"
    stage.leave(behind)
    stage.run(20_000)
    assert stage.talking(caller, stage.leg_at("201"))
    stage.leave(caller)
    stage.run(20_000)
    assert not stage.board.acd.callbacks


def test_an_answering_machine_is_not_reached():
    stage = site(first="caller", tries=1)
    asks(stage, waits(stage))
    ready(stage)
    stage.run(60_000)
    assert not stage.board.acd.callbacks and stage.board.acd.missed[NUMBER].why == "callback tried"


def test_quiet_hours_take_it_out_and_put_it_back():
    stage = site()
    request = asks(stage, waits(stage))
    stage.local = LocalTime(2026, 3, 2, 12, 40)
    stage.run(10)
    ready(stage)
    stage.run(1000)
    assert not line_of(stage) and not stage.legs and stage.board.acd.callbacks[request.id].not_before_ms > stage.now
    stage.local = LocalTime(2026, 3, 2, 14, 0)
    stage.run(80 * 60_000)
    assert not stage.board.acd.callbacks or any(one.contact for one in stage.board.acd.callbacks.values())


def test_it_expires_and_a_call_of_his_own_closes_it():
    stage = site(expire_s=600)
    asks(stage, waits(stage))
    stage.run(601_000)
    assert not stage.board.acd.callbacks and stage.board.acd.missed[NUMBER].why == "callback expired"
    request = asks(stage, waits(stage))
    assert line_of(stage) == [request.id]
    pause(stage)
    leg = stage.ring_in("line/2", NUMBER)
    stage.run(500)
    stage.press(leg, "10")                                # to extension 101
    stage.run(5000)
    assert stage.talking(leg, stage.leg_at("101"))
    assert not stage.board.acd.callbacks and not stage.board.acd.missed and not line_of(stage)


def test_a_power_cut_loses_no_request():
    stage = site()
    request = asks(stage, waits(stage))
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(stage.board.acd), type=AcdState)
    assert any(isinstance(action, do.KeepAcd) for _, _, action in stage.done)
    new = Stage(stage.config)
    new.now = stage.now
    new.board.acd = kept
    new.log_in("8001", "201")
    new.run(10_000)
    assert any(where.startswith("line/") for where in new.legs.values())
    assert new.board.acd.callbacks[request.id].contact


def test_cancelled_by_the_shift_leader():
    stage = site()
    request = asks(stage, waits(stage))
    stage.board.cancel_callback(request.id.removeprefix("cb:"), stage.now)
    stage._after()
    assert not stage.board.acd.callbacks and not line_of(stage)


def test_the_agent_who_does_not_answer_costs_no_attempt():
    stage = site()
    request = asks(stage, waits(stage))
    stage.phones["201"] = Phone(answer_ms=-1)
    ready(stage)
    stage.run(25_000)
    request = stage.board.acd.callbacks[request.id]
    assert request.tries == 0
    stage.run(200_000)
    assert stage.status("8001") == "paused", "three times unanswered"
    assert line_of(stage) == [request.id]


def test_no_line_free_rings_nobody():
    stage = site()
    request = asks(stage, waits(stage))
    others = [waits(stage, f"line/{n}", f"1390000000{n}") for n in (1, 2, 3, 4)]
    ready(stage)
    stage.run(1000)
    assert not any(one.contact for one in stage.board.acd.callbacks.values()) and stage.board.acd.callbacks[request.id].last == "congestion"
    assert all(leg in stage.legs for leg in others)


# --- which call, and by when ------------------------------------------------------------------------------------------


def broken(stage: Stage) -> list[bool]:
    return [event.on for event in stage.notices if isinstance(event, PromiseBroken)]


def over(stage: Stage) -> list[str]:
    return [one.data["promise"] for _, _, one in stage.done if isinstance(one, do.Record) and one.kind == "callback-over"]


def test_the_agent_hears_of_which_call_it_is_and_the_promise_is_kept():
    stage = site()
    request = asks(stage, waits(stage))
    assert request.promise_ms > stage.now and request.promise_ms % 300_000 == 0
    ready(stage)
    stage.run(20_000)
    says = [one.says for _, _, one in stage.done if isinstance(one, do.PlayPrompt)]
    assert ["cb.agent", "call.at.today"] in [[say.prompt for say in one] for one in says]
    stage.leave(stage.leg_at("line/1"))
    stage.run(1000)
    assert not broken(stage) and over(stage) == ["kept"]


def test_a_promised_time_that_passes_is_an_alarm_until_the_call_is_made():
    stage = site()
    request = asks(stage, waits(stage))
    stage.run(request.promise_ms - stage.now - 10)
    assert not broken(stage)
    stage.restart = False                # from here on one process, which has told it and tells when it is over
    stage.run(20)
    assert broken(stage) == [True] and stage.board.acd.callbacks[request.id].late
    ready(stage)
    stage.run(20_000)
    assert broken(stage) == [True, False]
    stage.leave(stage.leg_at("line/1"))
    stage.run(1000)
    assert over(stage) == ["broken"]
    told = [one for _, _, one in stage.done if isinstance(one, do.Record) and one.kind == "promise-broken"]
    assert len(told) == 1


def test_a_restarted_core_tells_of_a_broken_promise_again_and_notes_it_once():
    stage = site()
    request = asks(stage, waits(stage))
    stage.run(request.promise_ms - stage.now + 10)
    stage.run(0)
    leg = stage.dial("101", "102")
    stage.run(3000)
    assert leg in stage.legs and len(broken(stage)) > 1 and all(broken(stage))
    told = [one for _, _, one in stage.done if isinstance(one, do.Record) and one.kind == "promise-broken"]
    assert len(told) == 1, "in the history once, whatever restarts there are"


def test_a_request_that_is_dropped_ends_its_alarm():
    stage = site()
    stage.restart = False
    request = asks(stage, waits(stage))
    stage.run(request.promise_ms - stage.now + 10)
    stage.board.cancel_callback(request.id, stage.now)
    stage._after()
    assert broken(stage) == [True, False]


def test_nothing_is_promised_where_the_quiet_hours_come_first():
    stage = site()
    stage.local = LocalTime(2026, 3, 2, 12, 40)
    assert asks(stage, waits(stage)).promise_ms == 0
    stage.run(3_600_000)
    assert not broken(stage)


def test_whoever_answers_and_did_not_call_is_not_disturbed_again():
    stage = site(first="caller")
    asks(stage, waits(stage))
    ready(stage)
    stage.run(12_000)
    leg = stage.leg_at("line/1")
    assert stage.heard[leg][-3:] == ["cb.hello", "call.at.today", "cb.accept"]
    stage.press(leg, "3")
    stage.run(5000)
    assert stage.heard[leg][-1] == "cb.sorry" and leg not in stage.legs
    assert not stage.board.acd.callbacks and stage.board.acd.missed[NUMBER].why == "callback stranger"
    stage.run(3_600_000)
    assert not any(where.startswith("line/") for where in stage.legs.values())


# --- lost callers -----------------------------------------------------------------------------------------------------


def test_a_lost_caller_is_listed_once_and_closed_when_somebody_speaks_with_him():
    stage = site()
    for line in ("line/1", "line/2"):
        stage.leave(waits(stage, line))
        stage.run(1000)
    assert list(stage.board.acd.missed) == [NUMBER] and stage.board.acd.missed[NUMBER].times == 2
    leg = stage.dial("101", "9" + NUMBER)
    stage.run(6000)
    assert not stage.board.acd.missed
    assert [event.state for event in stage.notices if isinstance(event, MissedChanged)] == ["lost", "lost", "reached"]
    assert leg


@pytest.mark.parametrize(("speaks", "lost"), [(True, []), (False, [NUMBER])])
def test_who_leaves_a_message_is_not_lost_and_who_hangs_up_before_it_is(speaks, lost):
    stage = MailStage()
    leg = stage.ring_in("line/1", NUMBER)
    stage.run(9000 if speaks else 2000)
    stage.leave(leg)
    stage.run(5000)
    assert len(stage.left("night")) == int(speaks) and list(stage.board.acd.missed) == lost


@pytest.mark.parametrize(
    ("at", "left"),
    [((9, 0), 0), ((12, 30), 90), ((13, 59), 1), ((14, 0), 0), ((21, 0), 630), ((3, 0), 270), ((7, 30), 0)],
)
def test_quiet_hours(at, left):
    assert quiet_ms(LocalTime(2026, 3, 2, *at), ["21:00-07:30", "12:30-14:00"]) == left * 60_000


def test_periods_that_touch_are_one_and_all_day_ends():
    assert quiet_ms(LocalTime(2026, 3, 2, 20, 0), ["19:00-21:00", "21:00-22:00"]) == 120 * 60_000
    assert quiet_ms(LocalTime(2026, 3, 2, 0, 0), ["00:00-12:00", "12:00-00:00"]) == 1440 * 60_000
    assert later(LocalTime(2026, 3, 2, 23, 58), 120_000) == "00:00"


# --- a time that the caller names himself (CBK-03) --------------------------------------------------------------------


class Clocked(Stage):
    """The wall clock goes on: it is 09:00 of a Monday at engine ms 0."""

    def _new_board(self) -> Any:
        board = super()._new_board()
        board._local = lambda now: LocalTime(2026, 3, 2, 9 + now // 3_600_000, now // 60_000 % 60, now // 1000 % 60,
                                             1_772_413_200_000 + now)  # fmt: skip
        return board


def named_time() -> Stage:
    conf = site(own_time=True).config
    stage = Clocked(conf, restart=True)
    stage.log_in("8001", "201")
    stage.phones["201"] = Phone(answer_ms=2000)
    pause(stage)
    return stage


def until_asked_for_time(stage: Stage) -> str:
    leg = waits(stage)
    stage.press(leg, "1")
    stage.run(5000)
    stage.press(leg, "1")
    stage.run(5000)
    assert stage.heard[leg][-1] == "q.cb.time" and leg in stage.legs
    return leg


def at(stage: Stage, hour: int, minute: int) -> int:
    local = stage.board.local(stage.now)
    return stage.board.wall(stage.now) + ((hour * 60 + minute - local.minutes) % 1440 * 60 - local.second) * 1000


def test_the_caller_names_the_time_and_is_called_then_with_his_place() -> None:
    stage = named_time()
    leg = until_asked_for_time(stage)
    wanted = at(stage, 11, 15)
    stage.press(leg, "1115")
    stage.run(6000)
    assert stage.heard[leg][-1] == "q.cb.at"
    stage.press(leg, "1")
    stage.run(6000)
    assert stage.heard[leg][-1] == "q.cb.at.ok" and leg not in stage.legs
    (request,) = stage.board.acd.callbacks.values()
    assert abs(request.not_before_ms - wanted) < 2000 and request.promise_ms > request.not_before_ms
    ready(stage)
    stage.run(10_000)
    assert not stage.leg_at("201") and request.id not in line_of(stage), "nobody is rung before"
    stage.run(request.not_before_ms - stage.board.wall(stage.now) - 60_000)
    assert not stage.leg_at("201")
    stage.run(65_000)
    assert stage.leg_at("201") and request.called_ms - request.not_before_ms < 10_000


def test_a_time_in_the_quiet_hours_is_moved_to_their_end_and_confirmed() -> None:
    stage = named_time()
    leg = until_asked_for_time(stage)
    stage.press(leg, "1300")
    stage.run(6000)
    assert stage.heard[leg][-1] == "q.cb.rest"
    stage.press(leg, "1")
    stage.run(6000)
    (request,) = stage.board.acd.callbacks.values()
    assert abs(request.not_before_ms - at(stage, 14, 0)) < 2000


@pytest.mark.parametrize("keys", ["2460", "9999", "12#"])
def test_what_is_no_time_is_asked_again(keys: str) -> None:
    stage = named_time()
    leg = until_asked_for_time(stage)
    stage.press(leg, keys)
    stage.run(6000)
    assert stage.heard[leg][-2:] == ["q.cb.at.bad", "q.cb.time"] and leg in stage.legs


def test_hash_keeps_the_turn_and_two_asks_for_another_time() -> None:
    stage = named_time()
    leg = until_asked_for_time(stage)
    stage.press(leg, "1600")
    stage.run(6000)
    stage.press(leg, "2")
    stage.run(6000)
    assert stage.heard[leg][-1] == "q.cb.time"
    stage.press(leg, "#")
    stage.run(6000)
    (request,) = stage.board.acd.callbacks.values()
    assert stage.heard[leg][-1] == "q.cb.ok" and not request.not_before_ms
    assert line_of(stage) == [request.id]
