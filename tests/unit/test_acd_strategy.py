"""Who is offered whom: skills, languages, penalties that widen, weights, who goes ahead, preferred agents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from firmware.call import actions as do
from firmware.call.acd_state import AcdState, Missed, Served, same_number
from firmware.call.ahead import ahead_of
from firmware.call.estimate import Service, minutes, wait_ms
from firmware.call.events import AgentChanged
from firmware.call.floor import Status
from firmware.call.queue import ORDER, Candidate, Match, Offer, Waiting, fits, offers, place, widens
from firmware.config.schema.acd import Acd
from firmware.config.schema.calls import MenuKey
from firmware.config.schema.people import Agent
from tests.unit.call_stage import Phone, Stage, config

SKILLED = [
    Candidate("a", 0, 0, 0, 0, penalty=1, skills={"pump": 5}, languages=("zh",)),
    Candidate("b", 10, 0, 0, 1, skills={"pump": 2}, languages=("en",)),
    Candidate("c", 20, 0, 0, 2, languages=("en", "zh")),
]


def test_a_needed_skill_keeps_others_out_and_its_level_falls_with_waiting():
    caller = Waiting("C1", 0, 1, needs={"pump": 4})
    match = Match(step_ms=10_000)
    assert offers("skill", [caller], SKILLED[1:], 0, match) == []
    assert offers("skill", [caller], SKILLED[1:], 19_999, match) == []
    assert widens([caller], SKILLED[1:], match, 0) == 20_000
    assert offers("skill", [caller], SKILLED[1:], 20_000, match) == [Offer("C1", "b")]
    assert offers("skill", [caller], SKILLED[2:], 10_000_000, match) == [], "without the skill never"


def test_a_penalty_waits_for_its_step_or_is_only_the_order():
    caller = Waiting("C1", 0, 1)
    assert offers("skill", [caller], SKILLED[:1], 0, Match(step_ms=30_000)) == []
    assert offers("skill", [caller], SKILLED[:1], 30_000, Match(step_ms=30_000)) == [Offer("C1", "a")]
    assert offers("skill", [caller], SKILLED, 100, Match()) == [Offer("C1", "b")], "the lower penalty, though idle for less"
    assert offers("skill", [caller], SKILLED[:1], 100, Match()) == [Offer("C1", "a")]


@pytest.mark.parametrize(("rule", "wanted"), [("no", "b"), ("prefer", "c"), ("only", "c")])
def test_language(rule, wanted):
    caller = Waiting("C1", 0, 1, "zh")
    assert offers("longest-idle", [caller], SKILLED[1:], 100, Match(language=rule)) == [Offer("C1", wanted)]
    alone = offers("longest-idle", [caller], SKILLED[1:2], 100, Match(language=rule))
    assert alone == ([] if rule == "only" else [Offer("C1", "b")])


def test_a_preferred_agent_is_waited_for_and_others_are_served_meanwhile():
    kept, next_one = Waiting("C1", 0, 1, preferred="x", preferred_until=20_000), Waiting("C2", 5, 2)
    assert offers("longest-idle", [kept, next_one], SKILLED[1:2], 100) == [Offer("C2", "b")]
    assert offers("longest-idle", [kept, next_one], SKILLED[1:2], 20_000) == [Offer("C1", "b")]
    assert widens([kept], SKILLED[1:2], Match(), 100) == 20_000


@given(
    st.sampled_from(sorted(ORDER)), st.lists(st.tuples(st.integers(0, 50), st.integers(0, 40), st.sampled_from(["", "zh", "en"]),
    st.dictionaries(st.sampled_from("pq"), st.integers(1, 5), max_size=2)), max_size=8),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3), st.dictionaries(st.sampled_from("pq"), st.integers(1, 5), max_size=2),
    st.sampled_from([("zh",), ("en",), ("zh", "en")])), max_size=8), st.integers(50, 300), st.integers(0, 30),
    st.sampled_from(["no", "prefer", "only"]),
)  # fmt: skip
def test_offers_are_always_sound(strategy, callers, agents, now, step, language):
    """No agent twice, only who fits, and nobody is passed over by one who stands behind and whom the same agent fits."""
    waiting = [Waiting(f"C{i}", since, i, tongue, ahead=ahead, needs=needs) for i, (since, ahead, tongue, needs) in enumerate(callers)]
    waiting.sort(key=place)
    candidates = [Candidate(f"A{i}", idle, 0, 0, i, penalty, skills, spoken) for i, (idle, penalty, skills, spoken) in enumerate(agents)]
    match = Match(step, language)
    made = offers(strategy, waiting, candidates, now, match)
    assert len({one.agent for one in made}) == len(made)
    by_name = {one.agent: one for one in candidates}
    served = {one.contact for one in made}
    for one in made:
        caller = next(each for each in waiting if each.contact == one.contact)
        assert fits(caller, by_name[one.agent], match, now)
        for before in waiting[: waiting.index(caller)]:
            assert before.contact in served or not fits(before, by_name[one.agent], match, now)
    free = [one for one in candidates if one.agent not in {each.agent for each in made}]
    for caller in waiting:
        assert caller.contact in served or not any(fits(caller, one, match, now) for one in free), "nobody idles beside who could be served"


def test_who_goes_ahead():
    state = AcdState(missed={"13800000001": Missed("13800000001", 0, 100_000)})
    acd = Acd(vip=["139"])
    assert ahead_of(acd, state, "13912345678", 0) == (600_000, "vip")
    assert ahead_of(acd, state, "+8613800000001", 200_000) == (120_000, "repeat")
    assert ahead_of(acd, state, "13800000001", 100_000 + 1_800_001) == (0, "")
    assert ahead_of(acd, state, "", 0) == (0, "")


def test_numbers_are_the_same_with_a_code_in_front():
    assert same_number("13800000001", "+8613800000001") and same_number("62345678", "01062345678")
    assert not same_number("110", "62345110") and not same_number("", "") and not same_number("13800000001", "13800000002")


def test_the_estimate_says_nothing_before_it_knows_something():
    service = Service()
    assert wait_ms(service, 0, 2) == -1 and wait_ms(None, 0, 2) == -1
    for _ in range(3):
        service.took(120_000)
    assert wait_ms(service, 3, 2) == 240_000 and wait_ms(service, 3, 0) == -1
    assert [minutes(ms) for ms in (0, 60_000, 60_001, 240_000)] == [0, 0, 2, 4]
    for _ in range(200):
        service.took(60_000)
    assert abs(service.mean_ms - 60_000) < 200, "old calls are forgotten"


# --- through the product's call logic ---------------------------------------------------------------------------------


def queued(stage: Stage, line: str, number: str, key: str = "1") -> str:
    leg = stage.ring_in(line, number)
    stage.run(500)
    stage.press(leg, "1" + key)
    stage.run(3000)
    return leg


def told(stage: Stage, leg: str, kind: str) -> list[dict]:
    contact = stage.board.contact_of(leg)
    return [action.data for _, who, action in stage.done if who == contact and isinstance(action, do.Record) and action.kind == kind]


def test_a_vip_stands_before_one_who_came_earlier_and_the_agent_gets_him_first():
    stage = Stage(config(acd=Acd(vip=["139"])), restart=True)
    stage.phones["201"] = Phone(answer_ms=-1)
    stage.log_in("8002", "201")
    stage.board.floor.pause("8002", "1", stage.now)
    first, vip = queued(stage, "line/1", "13800000001"), queued(stage, "line/2", "13900000002")
    assert [one.contact for one in stage.board.floor.waiting("sales")] == [stage.board.contact_of(vip), stage.board.contact_of(first)]
    assert told(stage, vip, "ahead") == [{"why": "vip", "seconds": 600}]


def test_skill_of_a_menu_key_is_needed_in_the_queue():
    conf = config()
    menus = dict(conf.menus)
    menus["main"] = replace(menus["main"], keys={**menus["main"].keys, "1": MenuKey(to="queue/sales", needs={"pump": 1})})
    agents = {**conf.agents, "8001": replace(conf.agents["8001"], skills={"pump": 3})}
    stage = Stage(replace(conf, menus=menus, agents=agents), restart=True)
    stage.log_in("8002", "202")
    leg = queued(stage, "line/1", "13800000001")
    assert stage.state(leg).phase.value == "queued" and not stage.state(leg).offers, "8002 is free but cannot"
    stage.log_in("8001", "201")
    stage.run(100)
    assert list(stage.state(leg).offers.values()) == ["8001"]


def test_the_heavier_queue_of_an_agent_is_served_first():
    conf = config()
    stage = Stage(replace(conf, queues={**conf.queues, "service": replace(conf.queues["service"], weight=5)}), restart=True)
    stage.log_in("8001", "201")
    stage.board.floor.pause("8001", "1", stage.now)
    sales, service = queued(stage, "line/1", "1380001", "1"), queued(stage, "line/2", "1380002", "2")
    stage.board.agent_command("8001", "ready", stage.now)
    stage._after()
    assert not stage.state(sales).offers and list(stage.state(service).offers.values()) == ["8001"]


def test_a_caller_gets_the_agent_he_spoke_to_last():
    stage = Stage(config(acd=Acd(preferred_days=7)), restart=True)
    stage.board.acd.served["13800000001"] = Served("8002", 0)
    stage.log_in("8001", "201")
    stage.log_in("8002", "202")
    stage.run(5000)
    leg = queued(stage, "line/1", "13800000001")
    assert [one["agent"] for one in told(stage, leg, "offered")] == ["8002"]


def test_a_transfer_to_an_agent_in_wrap_up_gives_wrap_up_again():
    """Complaint 9: a call handed over to somebody who still writes notes must not leave him without time for its own."""
    stage = Stage(config(), restart=True)
    stage.log_in("8001", "201")
    leg = queued(stage, "line/1", "1380001")
    stage.run(6000)
    agent = stage.leg_at("201")
    stage.leave(agent)
    stage.run(100)
    assert stage.status("8001") == Status.WRAP_UP.value
    stage.board.floor.take("201", "other", "sales", stage.now)
    assert stage.status("8001") == Status.TALKING.value
    stage.board.floor.released("8001", stage.now)
    assert stage.status("8001") == Status.WRAP_UP.value
    assert stage.board.floor.agent("8001").wrap_until == stage.now + 10_000
    assert leg


def test_queue_without_working_agents_lets_go_as_set():
    conf = config()
    queues = {**conf.queues, "sales": replace(conf.queues["sales"], join_needs="working", stay_needs="working")}
    stage = Stage(replace(conf, queues=queues), restart=True)
    stage.log_in("8002", "202")
    stage.phones["202"] = Phone(answer_ms=-1)
    leg = queued(stage, "line/1", "1380001")
    assert stage.state(leg).phase.value == "queued"
    stage.board.agent_command("8002", "pause", stage.now)
    stage._after()
    stage.run(25_000)
    assert told(stage, leg, "overflow") == [{"queue": "sales", "why": "no-agent"}] or stage.only().cause is not None
    stage.run(60_000)
    later = queued(stage, "line/2", "1380002")
    assert not told(stage, later, "offered")


def test_the_wait_is_said_when_it_is_known():
    conf = config()
    queues = {**conf.queues, "sales": replace(conf.queues["sales"], estimate=True)}
    stage = Stage(replace(conf, queues=queues), restart=True)
    stage.log_in("8002", "202")
    stage.board.floor.pause("8002", "1", stage.now)
    stage.board.floor.state.service["sales"] = Service(150_000, 5)
    stage.log_in("8001", "201")
    stage.phones["201"] = Phone(answer_ms=-1)
    first = queued(stage, "line/1", "1380001")
    second = queued(stage, "line/2", "1380002")
    stage.run(5000)
    assert "q.eta" in stage.heard[second], stage.heard[second]
    assert told(stage, second, "position")[0] == {"ahead": 1, "minutes": 5, "callback": False}
    assert first


@pytest.mark.parametrize("number", [True, False])
def test_at_the_answer_the_announcement_stops_and_both_hear_something_in_the_same_instant(number):
    """G9, complaint 7: no dead air for the agent, and nothing is spoken to its end first. Event times, not wall time."""
    conf = config()
    queues = {**conf.queues, "sales": replace(conf.queues["sales"], agent_number=number, record=False)}
    stage = Stage(replace(conf, queues=queues), restart=True)
    stage.phones["201"] = Phone(answer_ms=900)
    stage.log_in("8001", "201")
    stage.board.floor.pause("8001", "1", stage.now)
    leg = queued(stage, "line/1", "1380001")
    stage.run(300)
    assert stage.playing[leg][1] == "" and stage.heard[leg][-1] in ("q.next", "q.join")
    stage.board.agent_command("8001", "ready", stage.now)
    stage._after()
    stage.run(5000)
    agent = stage.leg_at("201")
    done = [(at, one) for at, _, one in stage.done]
    at = next(when for when, one in done if isinstance(one, do.Record) and one.kind == "answered" and one.leg == agent)
    assert (at, do.StopPlay(leg)) in done
    heard = {one.leg for when, one in done if when == at and isinstance(one, do.PlayPrompt)}
    joined = [when for when, one in done if isinstance(one, do.Bridge)]
    assert heard == {leg, agent} if number else joined == [at]
    assert stage.talking(leg, agent)


def test_every_change_of_an_agent_says_why_and_of_which_call() -> None:
    """H2: nothing that listens has to guess (complaint: reasons of pauses and ends of calls are missing)."""
    changes: list[AgentChanged] = []
    conf = config(agents={"8001": Agent(pin="11", queues=["sales"])})
    stage = Stage(replace(conf, queues={**conf.queues, "sales": replace(conf.queues["sales"], auto_pause_after=1, wrap_up_s=5)}))
    act = stage._act

    def watch(contact: str, action: Any) -> None:
        if isinstance(action, do.Notify) and isinstance(action.event, AgentChanged):
            changes.append(action.event)
        act(contact, action)

    stage._act = watch  # type: ignore[method-assign]
    stage.log_in("8001", "201")
    stage.phones["201"] = Phone(answer_ms=2000)
    caller = stage.ring_in()
    stage.press(caller, "21")
    stage.run(40_000)
    stage.leave(caller)
    stage.run(8000)
    stage.phones["201"] = Phone(answer_ms=-1)
    caller = stage.ring_in()
    stage.press(caller, "21")
    stage.run(60_000)
    stage.leave(caller)
    stage.run(5000)
    stage.board.agent_command("8001", "ready", stage.now)
    stage.board.agent_command("8001", "logout", stage.now)
    stage._after()
    told = [(one.before, one.status, one.why) for one in changes]
    assert told[:5] == [
        ("logged-out", "ready", "log-in"), ("ready", "offered", "call"), ("offered", "talking", "answered"),
        ("talking", "wrap-up", "call-over"), ("wrap-up", "ready", "notes-over"),
    ]  # fmt: skip
    assert ("offered", "paused", "auto") in told and ("paused", "ready", "back") in told and told[-1][1:] == ("logged-out", "log-out")
    assert all(one.why for one in changes) and all(one.contact for one in changes if one.status in ("offered", "talking", "wrap-up"))
