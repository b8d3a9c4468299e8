"""Kill a caller, an agent, core or the power at every state of a queued call: what is generated, and what must hold after it.

The moments are not written by hand: a call of each kind (answered, unanswered, busy, two agents ringing, number announced, callback asked
for, callback carried out either way first, rating, transfer) is run once on the stage, and every step of it (an input of the
switchboard) is a moment. At each moment each blow falls in a run of its own. So the states are those that the table of phases has for a
queued call, which a test of its own proves: each of them was hit.

After the blow, within 1 s of event time: nobody who is gone is in a queue, no agent is bound to what is gone, and every contact that
ended has its record; in the end everything is at rest, and a caller whom nobody spoke with is on the list of lost callers, or has a
callback.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import msgspec
import pytest
from msgspec.structs import replace

from firmware.call.acd_state import AcdState
from firmware.call.floor import Status, is_callback
from firmware.call.model import Cause, EndpointState, Evidence
from firmware.call.state import PHASE_MOVES, Kind, Phase
from firmware.config.schema.acd import Callback
from firmware.config.schema.people import Agent
from tests.unit.call_stage import Phone, Stage, config

NUMBER = "13800000001"
#: Phases of a call that goes through a queue: from the queue on, until it is over, and those of a callback.
STATES = frozenset({
    Phase.QUEUED, Phase.CONNECTING, Phase.TALKING, Phase.RATING, Phase.ANNOUNCE, Phase.RETURNING, Phase.ENDING,
})  # fmt: skip


def site(strategy: str = "longest-idle", **callback: object) -> Stage:
    conf = config(agents={"8001": Agent(pin="11", queues=["sales"]), "8002": Agent(pin="22", queues=["sales"])})
    queue = replace(conf.queues["sales"], strategy=strategy, callback=Callback(enabled=True, tries=1, **callback), max_wait_s=90)
    return Stage(replace(conf, queues={**conf.queues, "sales": queue}), restart=True)


class Play:
    """A scenario: people do things at their times; `until(step)` runs it to just after the step-th input."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.caller = ""
        self.end = stage.now + 45_000

    def call(self) -> None:
        self.caller = self.stage.ring_in("line/1", NUMBER)
        for delay, keys in ((600, "1"), (700, "1")):
            self.stage.at(delay, lambda keys=keys: self.stage.press(self.caller, keys))

    def press(self, delay: int, keys: str) -> None:
        self.stage.at(delay, lambda: self.stage.press(self.caller, keys))


def answered() -> Play:
    play = Play(site())
    play.stage.log_in("8001", "201")
    play.call()
    play.stage.at(12_000, lambda: play.stage.leave(play.stage.leg_at("201")))
    return play


def unanswered() -> Play:
    play = Play(site())
    play.stage.log_in("8001", "201")
    play.stage.phones["201"] = Phone(answer_ms=-1)
    play.call()
    return play


def refused() -> Play:
    play = Play(site())
    play.stage.log_in("8001", "201")
    play.stage.phones["201"] = Phone(reject=Cause.BUSY)
    play.call()
    return play


def everybody() -> Play:
    play = Play(site("ring-all"))
    play.stage.log_in("8001", "201")
    play.stage.log_in("8002", "202")
    play.stage.phones["202"] = Phone(answer_ms=2000)
    play.call()
    play.stage.at(12_000, lambda: play.stage.leave(play.caller))
    return play


def handed_over() -> Play:
    play = Play(site())
    play.stage.log_in("8001", "201")
    play.call()
    play.stage.at(9000, lambda: play.stage.press(play.stage.leg_at("201"), "*3102"))
    play.stage.at(14_000, lambda: play.stage.leave(play.stage.leg_at("201")))
    play.stage.at(17_000, lambda: play.stage.leave(play.caller))
    return play


def asked(first: str) -> Play:
    play = Play(site(first=first))
    play.stage.log_in("8001", "201")
    play.stage.board.agent_command("8001", "pause", play.stage.now)
    play.stage._after()
    play.call()
    play.press(8000, "1")
    play.press(12_000, "1")
    play.stage.at(16_000, lambda: (play.stage.board.agent_command("8001", "ready", play.stage.now), play.stage._after()))
    if first == "caller":
        play.stage.at(23_000, lambda: play.stage.press(play.stage.leg_at("line/1"), "1"))
    play.stage.at(35_000, lambda: play.stage.leave(play.stage.leg_at("line/1")))
    return play


SCENARIOS: dict[str, Callable[[], Play]] = {
    "answered": answered, "unanswered": unanswered, "refused": refused, "everybody": everybody, "handed-over": handed_over,
    "callback-agent": lambda: asked("agent"), "callback-caller": lambda: asked("caller"),
}  # fmt: skip


def until(play: Play, step: int) -> bool:
    """Run to just after input number `step`; False where the scenario has no such."""
    stage = play.stage
    while stage.steps < step:
        due = [at for at in (stage.board.deadline(), stage._heap[0][0] if stage._heap else None) if at is not None]
        if not due or min(due) > play.end:
            return False
        stage.run(max(0, min(due) - stage.now))
    return stage.steps >= step


@cache
def steps_of(name: str) -> tuple[int, ...]:
    """The moments of a scenario: after each of its inputs in which a contact is in one of the states."""
    play, found, seen = SCENARIOS[name](), [], -1
    for step in range(1, 2000):
        if not until(play, step):
            break
        if play.stage.steps != seen and any(state.phase in STATES for state in play.stage.board.contacts.values()):
            found.append(play.stage.steps)
        seen = play.stage.steps
    return tuple(sorted(set(found)))


def caller_gone(play: Play) -> None:
    for leg in [leg for leg, where in play.stage.legs.items() if where.startswith("line/")]:
        play.stage.leave(leg)


def agent_gone(play: Play) -> None:
    """The telephones of the agents lose their registration and their calls."""
    for extension in ("201", "202"):
        play.stage.give(EndpointState(extension, play.stage.now, "unregistered"))
        for leg in [leg for leg, where in play.stage.legs.items() if where == extension]:
            play.stage._end(leg, Cause.RTP_LOST, Evidence("silence"), False)


def both_gone(play: Play) -> None:
    caller_gone(play)
    agent_gone(play)


BLOWS = {"caller": caller_gone, "agent": agent_gone, "both": both_gone}


def clean(stage: Stage) -> None:
    """What must hold 1 s after a blow, and from then on."""
    board = stage.board
    for name, line in board.floor.state.queues.items():
        for one in line:
            if is_callback(one.contact):
                assert one.contact in board.acd.callbacks
                continue
            state = board.contacts[one.contact]
            assert state.phase is Phase.QUEUED and state.queue == name and state.legs[state.a].live, "a ghost in the queue"
            assert set(one.offered) <= set(state.offers.values())
    for agent in board.floor.state.agents.values():
        legs = [leg for state in board.contacts.values() for leg in state.live_legs if leg.agent == agent.agent]
        if agent.status in (Status.OFFERED, Status.TALKING):
            assert legs, f"agent {agent.agent} is {agent.status} with nobody"
        else:
            assert not [leg for leg in legs if not leg.hung_up], f"{agent.agent} is {agent.status} and has a telephone in a call"
    assert sorted(stage.opened) == sorted({*stage.closed, *board.contacts}) and sorted(stage.ended) == sorted(stage.closed)


def settled(stage: Stage) -> None:
    """In the end: nothing is left, and nobody was lost without a record."""
    for request in stage.board.acd.callbacks.values():
        assert stage.board.floor.entry(request.id) is not None or request.not_before_ms > stage.now or request.contact
    for state in stage.closed.values():
        assert state.cause is not None and all(leg.ended >= 0 for leg in state.legs.values())
        if state.kind is Kind.INBOUND and state.connected < 0 and not any(one.connected >= 0 for one in stage.closed.values()):
            requested = any(one.number == NUMBER for one in stage.board.acd.callbacks.values())
            assert NUMBER in stage.board.acd.missed or requested, "a caller was lost without a record"


@pytest.mark.parametrize("name", sorted(SCENARIOS))
@pytest.mark.parametrize("blow", sorted(BLOWS))
def test_a_blow_at_every_state(name: str, blow: str) -> None:
    """The stage carries its whole state through JSON after each input: core is killed at every moment, too."""
    for step in steps_of(name):
        play = SCENARIOS[name]()
        assert until(play, step)
        BLOWS[blow](play)
        play.stage.run(1000)
        clean(play.stage)
        play.stage.run(400_000)
        both_gone(play)                                  # whoever still talks or waits goes home
        for extension in ("201", "202"):
            play.stage.give(EndpointState(extension, play.stage.now, "idle"))
        play.stage.run(400_000)
        clean(play.stage)
        settled(play.stage)
        waiting = [one for line in play.stage.board.floor.state.queues.values() for one in line]
        assert all(is_callback(one.contact) for one in waiting)


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_power_cut_at_every_state(name: str) -> None:
    """All is gone but what is kept: a caller whom nobody had spoken with is on the list, or his callback is carried out."""
    for step in steps_of(name):
        play = SCENARIOS[name]()
        assert until(play, step)
        old = play.stage
        kept = msgspec.msgpack.decode(msgspec.msgpack.encode(old.board.acd), type=AcdState)
        new = Stage(old.config, restart=True)
        new.now = old.now + 20_000
        new.board.acd = kept
        talked = any(state.connected >= 0 for state in [*old.closed.values(), *old.board.contacts.values()])
        for state in old.board.contacts.values():
            new.board.forgotten(state, new.now)
        new.log_in("8001", "201")
        assert talked or NUMBER in new.board.acd.missed or any(one.number == NUMBER for one in new.board.acd.callbacks.values())
        new.run(300_000)
        clean(new)
        assert not any(one.contact and one.contact not in new.board.contacts for one in new.board.acd.callbacks.values())


def test_every_state_of_a_queued_call_is_hit() -> None:
    hit: set[Phase] = set()
    for name in SCENARIOS:
        for step in steps_of(name):
            play = SCENARIOS[name]()
            until(play, step)
            hit |= {state.phase for state in play.stage.board.contacts.values()}
    assert hit >= STATES, STATES - hit
    # No phase that a queued call may enter by the table is missing: what is left leads away from the queue and has tests of its own.
    onward = PHASE_MOVES[Phase.QUEUED] | PHASE_MOVES[Phase.CONNECTING] | PHASE_MOVES[Phase.RETURNING] | PHASE_MOVES[Phase.TALKING]
    away = {Phase.MENU, Phase.DIALLING, Phase.NODE, Phase.MAIL, Phase.CONFERENCE, Phase.GROUP, Phase.ROOM, Phase.PARKED,
            Phase.PAGE, Phase.FEATURE}
    assert onward - STATES <= away, onward - STATES - away
