"""Measures of how agent and caller speak: definitions by hand-made talks, and through the switchboard with and without them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from firmware.call import actions as do
from firmware.call import voicemail_actions as vm
from firmware.call.speaking_state import Figures, Speaking
from firmware.config.schema.reports import Reports
from firmware.config.schema.system import Site
from tests.unit.call_stage import Stage, config


def spoken(*talks: tuple[str, int, int], until: int = 60_000, apart: tuple[tuple[int, int], ...] = ()) -> Figures:
    """Both hear each other from 1000 on; talks are (leg "A" agent or "C" caller, begin, end), told as the engine tells them."""
    found = Speaking("A", "C", "8001")
    events: list[tuple[int, int, Any]] = [(1000, 0, lambda: found.together(1000))]
    for leg, begin, end in talks:
        events.append((begin, 1, lambda leg=leg, begin=begin: found.began(leg, begin)))
        if end < until:
            level = -20.0 if leg == "A" else -30.0
            events.append((end + 200, 2, lambda leg=leg, begin=begin, end=end, level=level: found.ended(leg, begin, end, level)))
    for begin, end in apart:
        events += [(begin, 3, lambda begin=begin: found.apart(begin)), (end, 4, lambda end=end: found.together(end))]
    for _, _, act in sorted(events, key=lambda one: one[:2]):
        act()
    return found.figures(until)


@pytest.mark.parametrize(
    ("talks", "first"),
    [
        ([("A", 1500, 3000)], 500),
        ([("A", 1200, 1350), ("A", 4000, 6000)], 3000),          # a cough is no first word
        ([("A", 500, 900), ("A", 2500, 4000)], 1500),            # before both heard each other
        ([("A", 800, 2000)], 0),                                  # he spoke already
        ([("C", 1200, 5000)], -1),
        ([("A", 1700, 99_000)], 700),                             # the call ends within his words
    ],
)
def test_the_first_word_is_the_agents_first_talk_of_a_fifth_of_a_second(talks: list[tuple[str, int, int]], first: int) -> None:
    assert spoken(*talks).first_ms == first


@pytest.mark.parametrize(
    ("caller", "agent", "interruptions"),
    [
        ((5000, 9000), (8000, 12_000), 1),
        ((5000, 9000), (8000, 8600), 0),                          # "yes"
        ((5000, 9000), (8400, 12_000), 0),                        # 0.6 s of overlap: the end was near
        ((5000, 9000), (5900, 12_000), 0),                        # the caller had hardly begun: both began
        ((5000, 9000), (8000, 9900), 0),                          # he yields the floor
        ((5000, 9000), (9000, 12_000), 0),
    ],
)
def test_an_interruption_takes_the_floor(caller: tuple[int, int], agent: tuple[int, int], interruptions: int) -> None:
    assert spoken(("C", *caller), ("A", *agent)).interruptions == interruptions


def test_dead_air_is_fifteen_seconds_of_nobody_without_hold() -> None:
    assert (spoken(("A", 1500, 3000), ("C", 18_000, 20_000), until=30_000).dead) == 1
    assert spoken(("A", 1500, 3000), ("C", 17_900, 20_000), until=30_000).dead == 0
    held = spoken(("A", 1500, 3000), ("C", 40_000, 42_000), until=50_000, apart=((10_000, 30_000),))
    assert held.dead == 0 and held.joined_ms == 29_000
    found = spoken(("A", 1500, 3000), until=30_000)
    assert (found.dead, found.dead_ms) == (1, 27_000), "silence until the end counts, too"
    assert spoken(("A", 1500, 50_000), until=51_000).dead == 0, "one who speaks all the time leaves no silence"


def test_what_is_said_on_hold_belongs_to_nobody() -> None:
    held = spoken(("A", 2000, 4000), ("A", 12_000, 18_000), ("A", 19_000, 23_000), ("C", 30_000, 31_000), apart=((10_000, 20_000),))
    assert (held.agent_ms, held.caller_ms) == (2000 + 3000, 1000), "of the words over the end of the hold those that were heard"
    cut = spoken(("C", 8000, 12_000), apart=((10_000, 30_000),))
    assert cut.caller_ms == 2000


def test_shares_and_levels_are_of_what_was_said() -> None:
    found = spoken(("A", 2000, 5000), ("C", 6000, 12_000))
    assert (found.agent_ms, found.caller_ms, found.agent_dbm0, found.caller_dbm0) == (3000, 6000, -20.0, -30.0)
    assert spoken().agent_dbm0 is None


def stage(**facts: Any) -> Stage:
    conf = config(**facts)
    queues = {name: replace(queue, speech=True) for name, queue in conf.queues.items()}
    found = Stage(replace(conf, queues=queues), restart=True)
    found.log_in("8001", "201")
    return found


def talk_to_agent(at: Stage) -> tuple[str, str]:
    caller = at.ring_in()
    at.run(500)
    at.press(caller, "11")
    at.run(12_000)
    agent = at.leg_at("201")
    assert at.talking(caller, agent)
    return caller, agent


def say(at: Stage, leg: str, ms: int) -> None:
    begin = at.now
    at.give(vm.Voice(leg, begin, True, begin))
    at.run(ms + 200)
    at.give(vm.Voice(leg, begin + ms, False, begin, -22.0))


def speech(at: Stage) -> list[dict[str, Any]]:
    return [action.data for _, _, action in at.done if isinstance(action, do.Record) and action.kind == "speech"]


def test_a_conversation_is_written_once_with_its_figures() -> None:
    at = stage()
    caller, agent = talk_to_agent(at)
    listened = {action.leg for _, _, action in at.done if isinstance(action, vm.Listen) and action.on}
    assert listened == {caller, agent}
    say(at, agent, 2000)
    say(at, caller, 5000)
    at.leave(agent)
    (found,) = speech(at)
    assert (found["agent"], found["queue"]) == ("8001", "sales")
    assert found["agent_ms"] == 2000 and found["caller_ms"] == 5000 and found["first_ms"] > 0 and found["agent_dbm0"] == -22.0
    assert [action.leg for _, _, action in at.done if isinstance(action, vm.Listen) and not action.on] == [caller], "not in the rating"
    at.leave(caller)
    at.run(120_000)
    at.at_rest()
    assert len(speech(at)) == 1


def test_a_transfer_ends_the_agents_part() -> None:
    at = stage()
    caller, agent = talk_to_agent(at)
    say(at, agent, 1000)
    at.press(agent, "*3102")
    at.run(5000)
    at.leave(agent)
    at.run(5000)
    (found,) = speech(at)
    assert found["agent_ms"] == 1000 and found["dead"] == 0
    say(at, caller, 1000)
    at.leave(caller)
    at.run(120_000)
    at.at_rest()
    assert len(speech(at)) == 1


@pytest.mark.parametrize(
    "facts",
    [{"site": Site(country="DE", languages=["en"])}, {"reports": Reports(people="no")},
     {"site": Site(country="FR", languages=["en"]), "reports": Reports(people="yes")}],
    ids=["country", "site", "country before site"],
)  # fmt: skip
def test_nothing_is_measured_where_it_may_not_be(facts: dict[str, Any]) -> None:
    at = stage(**facts)
    caller, agent = talk_to_agent(at)
    say(at, agent, 2000)
    at.leave(caller)
    at.run(60_000)
    assert not speech(at) and not any(isinstance(action, vm.Listen) for _, _, action in at.done)


def test_it_is_off_unless_the_queue_asks() -> None:
    at = Stage(config())
    at.log_in("8001", "201")
    _, agent = talk_to_agent(at)
    at.leave(agent)
    assert not speech(at) and not any(isinstance(action, vm.Listen) for _, _, action in at.done)
