"""Listen, whisper, barge and take over from a shift leader's telephone."""

from __future__ import annotations

import pytest

from firmware.call import actions as do
from firmware.call.model import Cause
from firmware.call.state import Phase
from firmware.config.schema.calls import InboundRoute, Queue
from firmware.config.schema.people import Extension
from firmware.config.schema.system import Site
from tests.unit.call_stage import EMERGENCY, Stage, config


def stage_with(country: str = "CN", restart: bool = False, supervises: list[str] | None = None, notice: bool = True) -> Stage:
    base = config()
    extensions = {**base.extensions, "204": Extension(kind="sip", supervises=["sales"] if supervises is None else supervises)}
    queues = {"sales": Queue(wrap_up_s=10, rating=False), "service": Queue()}
    made = {"inbound": [InboundRoute(to="queue/sales", notice=notice)], "queues": queues}
    stage = Stage(config(site=Site(country=country, languages=["en", "zh"]), extensions=extensions, **made), restart=restart)
    stage.log_in("8001", "201")
    return stage


def listening(stage: Stage, number: str = "8001") -> tuple[str, str, str]:
    """A caller talks to the agent, the shift leader listens: their legs."""
    caller = stage.ring_in()
    stage.run(12_000)
    agent = stage.leg_at("201")
    assert stage.talking(caller, agent)
    leader = stage.dial("204", "*93" + number)
    stage.run(200)
    return caller, agent, leader


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("number", ["8001", "201"])
def test_the_shift_leader_listens_whispers_and_barges_by_key_and_nobody_is_disturbed(restart: bool, number: str) -> None:
    stage = stage_with(restart=restart)
    caller, agent, leader = listening(stage, number)
    before = {leg: list(stage.heard.get(leg, [])) for leg in (caller, agent)}
    assert stage.taps == {leader: (agent, "listen")}
    for key, mode in (("2", "whisper"), ("3", "barge"), ("1", "listen")):
        stage.press(leader, key)
        assert stage.taps[leader] == (agent, mode)
        assert stage.talking(caller, agent)
    assert {leg: stage.heard.get(leg, []) for leg in (caller, agent)} == before
    assert caller not in stage.sent
    stage.leave(leader)
    stage.run(1_000)
    assert not stage.taps
    assert stage.talking(caller, agent)
    stage.leave(caller)
    stage.run(20_000)
    stage.at_rest()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("who", ["caller", "agent"])
def test_the_end_of_the_call_is_the_end_of_listening(restart: bool, who: str) -> None:
    stage = stage_with(restart=restart)
    caller, agent, leader = listening(stage)
    stage.leave(caller if who == "caller" else agent)
    stage.run(20_000)
    assert leader not in stage.legs
    stage.at_rest()


@pytest.mark.parametrize("restart", [False, True])
def test_taking_over_goes_on_with_the_call_and_releases_the_agent_to_the_wrap_up(restart: bool) -> None:
    stage = stage_with(restart=restart)
    caller, agent, leader = listening(stage)
    stage.press(leader, "4")
    stage.run(500)
    assert stage.talking(caller, leader)
    assert agent not in stage.legs
    assert stage.status("8001") == "wrap-up"
    assert stage.state(caller).phase is Phase.TALKING
    assert [one.data["agent"] for _, _, one in stage.done if isinstance(one, do.Record) and one.kind == "taken-over"] == ["8001"]
    stage.leave(caller)
    stage.run(20_000)
    assert stage.only().agents == ["8001"]
    stage.at_rest()


def test_hold_parts_the_shift_leader_too_and_he_hears_again_with_the_two() -> None:
    stage = stage_with()
    _, agent, leader = listening(stage)
    stage.press(leader, "2")
    stage.press(agent, "*2")
    assert not stage.taps
    stage.run(2_000)
    stage.press(agent, "*2")
    assert stage.taps == {leader: (agent, "whisper")}


@pytest.mark.parametrize("why", ["queue", "notice", "again", "idle", "own"])
def test_who_may_not_listen_is_refused(why: str) -> None:
    stage = stage_with(supervises=["night"] if why == "queue" else ["sales"], notice=why != "notice")
    number = {"idle": "202", "own": "204"}.get(why, "8001")
    caller, agent, leader = listening(stage, number)
    if why == "again":
        assert leader in stage.taps
        leader = stage.dial("204", "*938001")
        stage.run(200)
        assert len(stage.taps) == 1
    else:
        assert not stage.taps
    stage.run(3_000)
    assert leader not in stage.legs
    assert stage.talking(caller, agent)


def test_a_country_without_that_rule_lets_listen_without_the_notice() -> None:
    stage = stage_with("UK", notice=False)
    _, agent, leader = listening(stage)
    assert stage.taps == {leader: (agent, "listen")}


@pytest.mark.parametrize(("country", "tone"), [("CN", False), ("DE", True)])
def test_the_supervised_telephone_hears_a_tone_where_the_country_says_so(country: str, tone: bool) -> None:
    stage = stage_with(country)
    _, _, leader = listening(stage)
    stage.press(leader, "2")
    assert [one.tone for _, _, one in stage.done if isinstance(one, do.Tap)] == [tone, False]


def test_an_emergency_call_is_left_alone() -> None:
    stage = stage_with(supervises=["*"])
    caller = stage.dial("202", EMERGENCY[0])
    stage.run(6_000)
    stage.dial("204", "*93202")
    stage.run(2_000)
    assert not stage.taps
    assert stage.legs[caller] == "202"


def test_the_agents_transfer_ends_the_listening() -> None:
    stage = stage_with()
    caller, agent, leader = listening(stage)
    stage.press(agent, "*3202")
    stage.run(6_000)
    assert stage.taps == {leader: (agent, "listen")}        # he hears the agent ask, too
    stage.leave(agent)
    stage.run(2_000)
    assert not stage.taps
    assert leader not in stage.legs
    assert stage.talking(caller, stage.leg_at("202"))


def test_a_fault_of_media_ends_everything_cleanly() -> None:
    stage = stage_with()
    caller, agent, leader = listening(stage)
    for leg in (caller, agent, leader):
        stage._end(leg, Cause.MEDIA_LOST, do_evidence(), True)
    stage.run(20_000)
    stage.at_rest()


def do_evidence() -> object:
    from firmware.call.model import Evidence

    return Evidence("media")
