"""What agents and shift leaders key, and callers who ask for an agent by number."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from firmware.call import actions as do
from firmware.call.events import MissedChanged
from firmware.call.forwards import NONE, Wish
from firmware.config.schema.acd import Acd
from firmware.config.schema.calls import InboundRoute
from tests.unit.call_stage import Phone, Stage, config


def site(**changes: object) -> Stage:
    conf = config(**changes)
    extensions = {**conf.extensions, "104": replace(conf.extensions["104"], supervises=["*"])}
    return Stage(replace(conf, extensions=extensions), restart=True)


def queued(stage: Stage, line: str = "line/1", number: str = "13800000001") -> str:
    leg = stage.ring_in(line, number)
    stage.run(500)
    stage.press(leg, "11")
    stage.run(3000)
    return leg


def history(stage: Stage, kind: str) -> list[tuple[str, dict]]:
    return [(contact, one.data) for _, contact, one in stage.done if isinstance(one, do.Record) and one.kind == kind]


def test_the_result_of_a_call_is_keyed_and_ends_wrap_up():
    stage = site()
    stage.log_in("8001", "201")
    caller = queued(stage)
    contact = stage.board.contact_of(caller)
    stage.run(6000)
    stage.leave(stage.leg_at("201"))
    stage.run(100)
    assert stage.status("8001") == "wrap-up"
    phone = stage.dial("201", "*15")
    stage.run(500)
    stage.press(phone, "3")
    stage.run(5000)
    assert history(stage, "result") == [(contact, {"agent": "8001", "code": "3"})]
    assert stage.status("8001") == "ready" and "agent.code.ok" in stage.heard[phone]
    again = stage.dial("201", "*153")
    stage.run(5000)
    assert "sup.refused" in stage.heard[again], "nothing is left to note"


def test_a_lost_caller_is_read_claimed_and_called():
    stage = site()
    stage.log_in("8001", "201")
    stage.log_in("8002", "202")
    stage.phones["201"] = stage.phones["202"] = Phone(answer_ms=-1)
    for line, number in (("line/1", "13800000001"), ("line/2", "13900000002")):
        stage.leave(queued(stage, line, number))
        stage.run(2000)
    first, other = stage.dial("201", "*16"), stage.dial("202", "*16")
    stage.run(500)
    assert stage.heard[first] == stage.heard[other] == ["miss.next"]
    stage.press(first, "1")
    stage.run(200)
    assert stage.board.acd.missed["13800000001"].claimed_by == "8001"
    later = stage.dial("203", "*16")
    stage.run(500)
    stage.press(later, "2")
    stage.run(3000)
    assert "miss.none" in stage.heard[later], "one is claimed, the other was passed over"
    stage.run(5000)
    line = next(leg for leg, where in stage.legs.items() if where.startswith("line/"))
    assert stage.talking(first, line) and list(stage.board.acd.missed) == ["13900000002"]
    assert [one.state for one in stage.notices if isinstance(one, MissedChanged)] == ["lost", "lost", "claimed", "reached"]
    stage.leave(first)


def test_an_empty_list_says_so():
    stage = site()
    phone = stage.dial("201", "*16")
    stage.run(3000)
    assert stage.heard[phone] == ["miss.none"]


@pytest.mark.parametrize(("verb", "status"), [("2", "paused"), ("3", "logged-out")])
def test_a_shift_leader_sets_agents(verb, status):
    stage = site()
    stage.log_in("8001", "201")
    phone = stage.dial("104", "*17")
    stage.run(500)
    stage.press(phone, "8001#")
    stage.run(500)
    stage.press(phone, verb)
    stage.run(3000)
    assert stage.status("8001") == status
    assert [data["by"] for _, data in history(stage, "supervised-agent")] == ["104"]


def test_others_may_not():
    stage = site()
    stage.log_in("8001", "201")
    phone = stage.dial("103", "*17")
    stage.run(3000)
    assert stage.heard[phone] == ["sup.refused"] and stage.status("8001") == "ready"


def test_the_queues_are_spoken():
    stage = site()
    stage.log_in("8001", "201")
    stage.board.floor.pause("8001", "1", stage.now)
    empty = stage.dial("104", "*18")
    stage.run(3000)
    queued(stage)
    stage.run(61_000)
    phone = stage.dial("104", "*18")
    stage.run(500)
    said = next(one for _, _, one in stage.done if isinstance(one, do.PlayPrompt) and one.leg == phone).says[0]
    assert stage.heard[empty] == ["sup.empty"]
    assert (said.prompt, said.variables["n"], said.variables["m"]) == ("sup.queue", "1", "2")


def test_an_agent_is_reached_by_number_and_his_queue_is_the_fall_back():
    stage = site(inbound=[InboundRoute(to="agent/8002", greeting=False, notice=False)])
    stage.log_in("8001", "201")
    stage.log_in("8002", "202")
    stage.run(1000)
    first = stage.ring_in("line/1", "13800000001")
    stage.run(500)
    assert list(stage.state(first).offers.values()) == ["8002"], "though 8001 is idle for longer"
    second = stage.ring_in("line/2", "13900000002")
    stage.run(10_000)
    assert not stage.state(second).offers, "8002 is busy: he waits for him"
    stage.run(15_000)
    assert stage.state(second).agent == "8001", "but not for ever"
    stage.board.agent_command("8002", "logout", stage.now)
    stage._after()
    stage.leave(first)
    stage.leave(second)
    stage.run(20_000)
    third = stage.ring_in("line/3", "13700000003")
    stage.run(1000)
    assert list(stage.state(third).offers.values()) == ["8001"], "not at work: nobody waits for him"


def test_nobody_logs_himself_out_before_his_relief_is_there():
    conf = config()
    stage = site(queues={**conf.queues, "sales": replace(conf.queues["sales"], keep_agents=1)})
    stage.log_in("8001", "201")
    phone = stage.dial("201", "*12")
    stage.run(3000)
    assert stage.heard[phone] == ["agent.relief"] and stage.status("8001") == "ready"
    stage.log_in("8002", "202")
    stage.dial("201", "*12")
    stage.run(3000)
    assert stage.status("8001") == "logged-out", "8002 is the relief"
    leader = stage.dial("104", "*17")
    stage.run(500)
    stage.press(leader, "8002#3")
    stage.run(3000)
    assert stage.status("8002") == "logged-out", "the shift leader lets him go"


def agent_of(stage: Stage, number: str = "8001") -> tuple[str, str]:
    return stage.status(number), stage.board.floor.agent(number).reason


def key(stage: Stage, extension: str, digits: str) -> list[str]:
    leg = stage.dial(extension, digits)
    stage.run(5000)
    return stage.heard[leg]


def test_do_not_disturb_stops_the_calls_of_queues_and_they_come_again_by_themselves():
    stage = site()
    stage.log_in("8001", "201")
    assert key(stage, "201", "*65") == ["dnd.on"]
    assert agent_of(stage) == ("paused", "dnd")
    caller = queued(stage)
    stage.run(5000)
    assert not stage.leg_at("201") and caller in stage.legs
    assert key(stage, "201", "*14") == ["dnd.on"]
    assert agent_of(stage) == ("paused", "dnd")
    stage.board.agent_command("8001", "ready", stage.now)
    assert agent_of(stage) == ("paused", "dnd")
    assert key(stage, "201", "*65") == ["dnd.off"]
    stage.run(5000)
    assert agent_of(stage)[0] == "talking" and stage.talking(caller, stage.leg_at("201"))


def test_do_not_disturb_while_he_talks_holds_after_the_wrap_up():
    stage = site()
    stage.log_in("8001", "201")
    caller = queued(stage)
    stage.run(6000)
    assert stage.talking(caller, stage.leg_at("201"))
    stage.board.wished("201", Wish(dnd=True), stage.now)
    assert agent_of(stage)[0] == "talking"
    stage.leave(caller)
    stage.run(60_000)
    assert agent_of(stage) == ("paused", "dnd")
    stage.board.wished("201", NONE, stage.now)
    assert agent_of(stage)[0] == "ready"


def test_a_pause_of_his_own_outlives_do_not_disturb():
    stage = site()
    stage.log_in("8001", "201")
    stage.board.agent_command("8001", "pause", stage.now, reason="3")
    stage.board.wished("201", Wish(dnd=True), stage.now)
    assert agent_of(stage) == ("paused", "3")
    stage.board.wished("201", NONE, stage.now)
    assert agent_of(stage) == ("paused", "3")
    stage.board.wished("201", Wish(dnd=True), stage.now)
    stage.board.agent_command("8001", "ready", stage.now)
    assert agent_of(stage) == ("paused", "dnd")


def test_who_logs_in_where_nobody_is_to_be_disturbed_is_paused():
    stage = site()
    stage.board.wished("201", Wish(dnd=True), stage.now)
    stage.log_in("8001", "201")
    assert agent_of(stage) == ("paused", "dnd")
    stage.board.wished("201", Wish(always="202"), stage.now)
    assert agent_of(stage)[0] == "ready", "a forward is no matter of queues"


def test_a_site_may_let_queues_ring_all_the_same():
    stage = site(acd=Acd(dnd_pauses=False))
    stage.log_in("8001", "201")
    stage.board.wished("201", Wish(dnd=True), stage.now)
    caller = queued(stage)
    stage.run(6000)
    assert stage.talking(caller, stage.leg_at("201"))
