"""A call from outside: greeting, menu, queue, agent, rating; and a caller who leaves at any moment."""

from __future__ import annotations

import pytest

from firmware.call import actions as do
from firmware.call.model import Cause, Evidence, Side
from firmware.call.state import Phase
from firmware.config.schema.calls import InboundRoute, Queue
from tests.unit.call_stage import PROMPT_MS, Phone, Stage, config


def to_queue(stage: Stage, keys: str = "11") -> str:
    caller = stage.ring_in()
    stage.run(2 * PROMPT_MS + 200)
    for key in keys:
        stage.run(300)
        stage.press(caller, key)
    return caller


@pytest.mark.parametrize("restart", [False, True])
def test_caller_is_greeted_told_of_recording_queued_and_connected(restart: bool) -> None:
    stage = Stage(restart=restart)
    stage.log_in("8001", "201")
    caller = to_queue(stage)
    stage.run(10_000)
    agent = stage.leg_at("201")
    assert stage.talking(caller, agent)
    assert stage.heard[caller] == ["greet.morning", "rec.notice", "ivr.lang", "ivr.main", "music", "agent.id"]
    stage.leave(caller, Evidence("loop-drop"))
    stage.run(20_000)
    record = stage.only()
    assert record.cause is Cause.NORMAL
    assert record.first_to_leave is Side.CALLER
    assert record.rings == 2
    assert record.wait_ms == 2000
    assert record.seat_alert_ms == 1900
    assert record.recordings[0].samples == 8000
    assert record.agents == ["8001"]
    stage.at_rest()


def test_the_number_is_spoken_before_the_agent_is_connected_and_audio_follows_within_300_ms() -> None:
    stage = Stage()
    stage.log_in("8003", "203")
    caller = to_queue(stage, "12")
    stage.run(20_000)
    assert stage.heard[caller][-1] == "agent.trainee"
    spoken = next(at for at, _, action in stage.done if isinstance(action, do.PlayPrompt) and action.says[0].prompt == "agent.trainee")
    joined = next(at for at, _, action in stage.done if isinstance(action, do.Bridge))
    assert 0 <= joined - spoken - PROMPT_MS <= 300


@pytest.mark.parametrize(("keys", "language"), [("11", "zh"), ("21", "en")])
def test_prompts_follow_the_language_that_was_chosen(keys: str, language: str) -> None:
    stage = Stage()
    stage.log_in("8001", "201")
    caller = to_queue(stage, keys)
    stage.run(20_000)
    assert set(stage.languages[caller][3:]) == {language}


def test_a_key_ends_the_greeting_and_counts_in_the_menu_but_the_notice_is_still_said() -> None:
    stage = Stage()
    caller = stage.ring_in()
    stage.run(300)
    stage.press(caller, "2")
    assert stage.heard[caller] == ["greet.morning", "rec.notice"]
    stage.run(PROMPT_MS + 100)
    assert stage.heard[caller][2] == "ivr.main"
    assert stage.state(caller).language == "en"
    assert stage.state(caller).notice


def test_a_key_during_the_notice_counts_as_heard() -> None:
    stage = Stage()
    stage.log_in("8001", "201")
    caller = stage.ring_in()
    stage.run(PROMPT_MS + 500)
    stage.press(caller, "1")
    stage.press(caller, "1")
    stage.run(10_000)
    assert stage.state(caller).recordings[0].path


def test_nothing_is_recorded_without_the_notice() -> None:
    stage = Stage(config(inbound=[InboundRoute(to="queue/sales", notice=False)]))
    stage.log_in("8001", "201")
    caller = stage.ring_in()
    stage.run(10_000)
    assert stage.state(caller).phase is Phase.TALKING
    assert not any(isinstance(action, do.StartRecording) for _, _, action in stage.done)


def test_a_notice_that_could_not_be_played_forbids_recording() -> None:
    stage = Stage(config(inbound=[InboundRoute(to="queue/sales", greeting=False)]))
    stage.log_in("8001", "201")
    caller = stage.ring_in()
    stage.run(100)
    token, _ = stage.playing.pop(caller)
    stage.give(do.Played(caller, stage.now, token, False))
    stage.run(10_000)
    assert stage.state(caller).phase is Phase.TALKING
    assert not stage.state(caller).recordings


def test_menu_repeats_says_wrong_key_and_goes_otherwise() -> None:
    stage = Stage()
    caller = stage.ring_in()
    stage.run(2 * PROMPT_MS + 200)
    stage.press(caller, "7")
    assert stage.heard[caller][-2:] == ["ivr.bad", "ivr.lang"]
    stage.run(2 * PROMPT_MS + 5100)
    assert stage.heard[caller][-1] == "ivr.main"
    stage.run(2 * (PROMPT_MS + 5000) + 200)
    assert stage.state(caller).queue == "service"


def test_agent_hang_up_leads_to_the_rating() -> None:
    stage = Stage()
    stage.log_in("8001", "201")
    caller = to_queue(stage)
    stage.run(10_000)
    stage.leave(stage.leg_at("201"), Evidence("bye"))
    assert stage.heard[caller][-1] == "rate.ask"
    assert stage.status("8001") == "wrap-up"
    stage.run(500)
    stage.press(caller, "2")
    stage.run(PROMPT_MS + 500)
    record = stage.only()
    assert record.rating == 2
    assert record.cause is Cause.NORMAL
    assert record.first_to_leave is Side.AGENT
    assert stage.status("8001") == "wrap-up"
    stage.run(10_000)
    stage.at_rest()


def test_rating_without_a_key_is_asked_twice_and_ends() -> None:
    stage = Stage()
    stage.log_in("8001", "201")
    caller = to_queue(stage)
    stage.run(10_000)
    stage.leave(stage.leg_at("201"))
    stage.run(2 * (PROMPT_MS + 5000) + 500)
    assert stage.heard[caller].count("rate.ask") == 2
    stage.run(10_000)
    stage.at_rest()


def test_agent_who_does_not_answer_is_paused_after_three_and_the_caller_keeps_the_head() -> None:
    stage = Stage()
    stage.phones["201"] = Phone(answer_ms=-1)
    stage.log_in("8001", "201")
    first = to_queue(stage)
    second = stage.ring_in("line/2")
    stage.run(2 * PROMPT_MS + 300)
    stage.press(second, "1")
    stage.press(second, "1")
    stage.run(70_000)
    assert stage.status("8001") == "paused"
    assert stage.board.floor.agent("8001").reason == "auto"
    assert next(one.contact for one in stage.board.floor.waiting("sales")) == stage.board.contact_of(first)
    stage.phones["202"] = Phone()
    stage.log_in("8002", "202")
    stage.run(6_000)
    assert stage.talking(first, stage.leg_at("202"))
    stage.leave(first)
    stage.leave(second)
    stage.run(20_000)
    stage.at_rest()


def test_position_is_said_only_when_it_improved_or_after_the_interval() -> None:
    stage = Stage()
    stage.phones["202"] = Phone(answer_ms=-1, reject=Cause.BUSY)
    stage.log_in("8002", "202")
    stage.give_state = None  # type: ignore[attr-defined]
    stage.board.floor.pause("8002", "1", stage.now)
    first, second = to_queue(stage), stage.ring_in("line/2")
    stage.run(2 * PROMPT_MS + 300)
    stage.press(second, "1")
    stage.press(second, "1")
    stage.run(25_000)
    assert stage.heard[first].count("q.next") == 1
    assert stage.heard[second].count("q.pos") == 1
    stage.leave(first)
    stage.run(11_000)
    assert stage.heard[second].count("q.next") == 1
    stage.run(65_000)
    assert stage.heard[second].count("q.next") == 2


def test_no_announcement_starts_while_a_phone_rings() -> None:
    stage = Stage()
    stage.phones["201"] = Phone(answer_ms=15_000)
    stage.log_in("8001", "201")
    caller = to_queue(stage)
    stage.run(14_000)
    assert stage.heard[caller][-1] == "music"


@pytest.mark.parametrize(("queue", "cause", "said"), [
    (Queue(on_no_agent="announce/night.msg"), Cause.UNREACHABLE, "night.msg"),
    (Queue(max_wait_s=10, on_timeout="announce/q.full"), Cause.TIMEOUT, "q.full"),
])
def test_overflow(queue: Queue, cause: Cause, said: str) -> None:
    stage = Stage(config(queues={"sales": queue, "service": Queue()}))
    if cause is Cause.TIMEOUT:
        stage.log_in("8001", "201")
        stage.board.floor.pause("8001", "1", stage.now)
    caller = to_queue(stage)
    stage.run(20_000)
    assert stage.heard[caller][-1] == said
    assert stage.only().cause is cause
    stage.at_rest()


def test_full_queue_overflows_the_next_caller() -> None:
    stage = Stage()
    stage.log_in("8003", "203")
    stage.board.floor.pause("8003", "1", stage.now)
    callers = [stage.ring_in(f"line/{n}") for n in (1, 2, 3)]
    stage.run(2 * PROMPT_MS + 300)
    for caller in callers:
        stage.press(caller, "12")
    stage.run(PROMPT_MS + 500)
    assert stage.heard[callers[2]][-1] == "q.full"
    for caller in callers:
        stage.leave(caller)
    stage.run(1000)
    stage.at_rest()


def test_overflow_to_an_extension_rings_it() -> None:
    stage = Stage()
    stage.log_in("8003", "203")
    stage.board.floor.pause("8003", "1", stage.now)
    caller = to_queue(stage, "12")
    stage.run(35_000)
    assert stage.talking(caller, stage.leg_at("101"))


def test_last_agent_logging_out_overflows_the_waiting() -> None:
    stage = Stage()
    stage.phones["201"] = Phone(answer_ms=-1)
    stage.log_in("8001", "201")
    stage.board.agent_command("8001", "pause", stage.now, reason="1")
    caller = to_queue(stage)
    stage.run(1000)
    stage.board.agent_command("8001", "logout", stage.now)
    stage._after()
    assert stage.heard[caller][-1] == "night.msg"


@pytest.mark.parametrize("moment", range(40))
def test_caller_who_leaves_at_any_moment_leaves_nothing(moment: int) -> None:
    stage = Stage()
    stage.phones["201"] = Phone(answer_ms=5000)
    stage.log_in("8001", "201")
    caller = stage.ring_in()
    script = [(4300, "1"), (4700, "1"), (20_000, "")]
    for delay, key in script:
        stage.at(delay, lambda key=key: stage.press(caller, key) if key else stage.leave(stage.leg_at("201")))
    stage.run(moment * 620 + 1)
    stage.leave(caller)
    stage.run(1000)
    assert not any(stage.board.floor.state.queues.values())
    stage.run(30_000)
    stage.at_rest()
    assert stage.only().cause in (Cause.ABANDONED, Cause.NORMAL)


@pytest.mark.parametrize("moment", range(24))
def test_state_restored_at_every_step_gives_the_same_outcome(moment: int) -> None:
    outcomes = []
    for restart in (False, True):
        stage = Stage(restart=restart)
        stage.phones["201"] = Phone(answer_ms=3000)
        stage.log_in("8001", "201")
        caller = to_queue(stage, "21")
        stage.run(moment * 500)
        stage.leave(caller)
        stage.run(30_000)
        stage.at_rest()
        outcomes.append((stage.only(), stage.heard, [action for _, _, action in stage.done]))
    assert outcomes[0] == outcomes[1]


def test_agent_busy_on_another_call_is_not_offered() -> None:
    stage = Stage()
    stage.log_in("8001", "201")
    mine = stage.dial("201", "202")
    stage.run(5000)
    caller = to_queue(stage)
    stage.run(10_000)
    assert stage.heard[caller][-1] == "music" or stage.heard[caller][-1] == "q.next"
    assert "q.join" in stage.heard[caller]
    stage.leave(mine)
    stage.run(6000)
    assert stage.state(caller).phase is Phase.TALKING


def test_driver_that_never_confirms_a_hang_up_does_not_hold_the_contact() -> None:
    stage = Stage()
    stage.log_in("8001", "201")
    caller = to_queue(stage)
    stage.run(10_000)
    agent = stage.leg_at("201")
    stage.stuck.add(agent)
    stage.leave(caller)
    stage.run(30_000)
    assert stage.only().legs[agent].cause is Cause.SYSTEM
