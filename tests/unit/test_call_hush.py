"""A caller of whom nothing is heard after the answer: who is told, when, and when nobody is (SIL-09)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from firmware.call import actions as do
from firmware.call import voicemail_actions as vm
from firmware.call.events import CallerSilent
from firmware.call.model import LegHeld, LegResumed
from firmware.config.schema.system import Site
from tests.unit.call_stage import Stage, config
from tests.unit.test_call_speaking import say, speech, talk_to_agent

HINT_MS = 30_000


def stage(*, tone: bool = False, measured: bool = False, restart: bool = True, **facts: Any) -> Stage:
    conf = config(**facts)
    queues = {
        name: replace(queue, silent_hint_s=HINT_MS // 1000, silent_tone=tone, speech=measured) for name, queue in conf.queues.items()
    }
    found = Stage(replace(conf, queues=queues), restart=restart)
    found.log_in("8001", "201")
    return found


def joined(at: Stage) -> int:
    return next(when for when, _, action in at.done if isinstance(action, do.Bridge))


def until(at: Stage, when: int) -> None:
    at.run(when - at.now)


def told(at: Stage) -> list[CallerSilent]:
    return [one for one in at.notices if isinstance(one, CallerSilent)]


def chimes(at: Stage) -> list[str]:
    assert all(action.quiet for _, _, action in at.done if isinstance(action, do.Chime))
    return [action.leg for _, _, action in at.done if isinstance(action, do.Chime)]


def listened(at: Stage) -> list[tuple[str, bool]]:
    return [(action.leg, action.on) for _, _, action in at.done if isinstance(action, vm.Listen)]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("tone", [False, True])
def test_screens_are_told_once_and_the_agent_alone_by_a_tone(tone: bool, restart: bool) -> None:
    at = stage(tone=tone, restart=restart)
    caller, agent = talk_to_agent(at)
    contact = at.state(caller).id
    say(at, agent, 2000)
    until(at, joined(at) + HINT_MS - 1)
    assert not told(at)
    at.run(1)
    assert told(at) == [CallerSilent(joined(at) + HINT_MS, contact, "sales", "8001", "201", True)]
    at.run(90_000)
    assert len(told(at)) == 1 and chimes(at) == ([agent] if tone else [])
    say(at, caller, 500)
    assert [one.silent for one in told(at)] == [True, False] and listened(at) == [(caller, True), (caller, False)]
    at.run(90_000)
    at.leave(caller)
    at.run(120_000)
    assert len(told(at)) == 2
    records = [action for _, _, action in at.done if isinstance(action, do.Record) and action.kind == "caller-silent"]
    assert [one.data for one in records] == [{"agent": "8001", "queue": "sales"}]
    at.at_rest()


def test_one_word_is_enough_and_nothing_is_listened_for_afterwards() -> None:
    at = stage(tone=True)
    caller, _ = talk_to_agent(at)
    say(at, caller, 300)
    at.run(300_000)
    assert not told(at) and not chimes(at) and listened(at) == [(caller, True), (caller, False)]


def test_hold_is_not_silence() -> None:
    at = stage()
    _, agent = talk_to_agent(at)
    until(at, joined(at) + 20_000)
    at.give(LegHeld(agent, at.now))
    at.run(100_000)
    assert not told(at)
    at.give(LegResumed(agent, at.now))
    back = max(when for when, _, action in at.done if isinstance(action, do.Bridge))
    until(at, back + HINT_MS - 20_000 - 1)
    assert not told(at) and back > joined(at) + 100_000
    at.run(1)
    assert [one.silent for one in told(at)] == [True]


@pytest.mark.parametrize("who", ["caller", "agent"])
def test_the_end_of_the_call_takes_it_from_the_screens(who: str) -> None:
    at = stage()
    caller, agent = talk_to_agent(at)
    until(at, joined(at) + HINT_MS)
    at.leave(caller if who == "caller" else agent)
    assert [one.silent for one in told(at)] == [True, False]
    at.run(120_000)
    at.leave(caller)
    at.run(120_000)
    at.at_rest()
    assert len(told(at)) == 2


def test_a_transfer_ends_the_agents_part() -> None:
    at = stage()
    caller, agent = talk_to_agent(at)
    at.press(agent, "*3102")
    at.run(5000)
    at.leave(agent)
    at.run(100_000)
    assert not told(at) and listened(at) == [(caller, True), (caller, False)]


def test_measuring_how_people_speak_goes_on_beside_it() -> None:
    at = stage(measured=True)
    caller, agent = talk_to_agent(at)
    say(at, caller, 3000)
    say(at, caller, 1000)
    at.leave(agent)
    assert speech(at)[0]["caller_ms"] == 4000 and listened(at).count((caller, False)) == 1


def test_it_is_off_unless_the_queue_asks_and_is_no_measure_of_people() -> None:
    off = Stage(config())
    off.log_in("8001", "201")
    talk_to_agent(off)
    off.run(100_000)
    assert not told(off) and not listened(off)
    at = stage(site=Site(country="DE", languages=["en"]))
    talk_to_agent(at)
    at.run(100_000)
    assert len(told(at)) == 1, "nothing is kept of a person"
