"""Members of a ring group who forward to the outside: dialled where it is allowed, and only a key there takes the call."""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.forwards import Wish
from firmware.call.model import Cause
from firmware.config.schema.pbx import Group
from firmware.config.schema.people import Extension
from tests.unit.call_stage import Phone, Stage, config

MOBILE = "913800000009"


def shop(members: list[str], *, permission: str = "national", answers: int = 2000, restart: bool = True, **group: object) -> Stage:
    conf = config(groups={"shop": Group(number="600", members=members, forward_outside=True, **group)})  # type: ignore[arg-type]
    extensions = conf.extensions | {"201": Extension(kind="sip", permission=permission)}
    stage = Stage(config(groups=conf.groups, extensions=extensions), restart=restart)
    for line in ("line/1", "line/2", "line/3", "line/4"):
        stage.phones[line] = Phone(answer_ms=answers)
    stage.phones["202"] = Phone(answer_ms=-1)
    stage.board.wished("201", Wish(always=MOBILE), stage.now)
    return stage


def dialled(stage: Stage) -> list[tuple[str, str]]:
    return sorted((one.endpoint, one.number) for _, _, one in stage.done if isinstance(one, do.OriginateLeg))


def test_who_answers_outside_takes_the_call_by_a_key() -> None:
    stage = shop(["201", "202"])
    caller = stage.dial("204", "600")
    stage.run(4500)
    assert dialled(stage) == [("202", "202"), ("line/1", "13800000009")]
    mobile = stage.leg_at("line/1")
    assert stage.heard[mobile] == ["group.take"] and stage.leg_at("202"), "the others ring on while he is asked"
    stage.press(mobile, "5")
    assert not stage.bridges
    stage.press(mobile, "1")
    stage.run(500)
    assert stage.talking(caller, mobile) and not stage.leg_at("202")
    assert stage.state(caller).legs[mobile].payer == "201"
    stage.leave(caller)
    stage.run(2000)
    assert stage.only().cause is Cause.NORMAL
    stage.at_rest()


def test_a_mailbox_outside_does_not_swallow_the_call() -> None:
    stage = shop(["201", "202"], ring_s=30)
    stage.phones["202"] = Phone(answer_ms=25_000)
    caller = stage.dial("204", "600")
    stage.run(24_500)
    assert not stage.leg_at("line/1"), "asked twice, and let go"
    stage.run(3000)
    assert stage.talking(caller, stage.leg_at("202"))
    stage.leave(caller)
    stage.run(2000)
    stage.at_rest()


def test_he_who_is_asked_when_the_time_of_the_group_is_over_may_still_decide() -> None:
    stage = shop(["201"], ring_s=5, answers=3000)
    caller = stage.dial("204", "600")
    stage.run(8000)
    mobile = stage.leg_at("line/1")
    assert mobile, "the group's time was over after 5 s"
    stage.press(mobile, "1")
    stage.run(500)
    assert stage.talking(caller, mobile)


def test_without_the_right_or_a_line_nobody_outside_is_dialled() -> None:
    stage = shop(["201", "202"], permission="internal")
    stage.dial("204", "600")
    stage.run(1000)
    assert dialled(stage) == [("201", "201"), ("202", "202")], "the forward leads nowhere: the telephone itself rings"
    stage = shop(["201"])
    for number in (1, 2, 3, 4):
        stage.ring_in(f"line/{number}", f"1380000000{number}")
    caller = stage.dial("204", "600")
    stage.run(1000)
    assert dialled(stage) == [] and stage.board.contact_of(caller) == "", "no line is free: the next step at once"


def test_off_unless_it_is_set() -> None:
    stage = Stage(config(groups={"shop": Group(number="600", members=["201"], follow_forwards=True)}))
    stage.board.wished("201", Wish(always=MOBILE), stage.now)
    stage.dial("204", "600")
    stage.run(1000)
    assert dialled(stage) == [("201", "201")]


def test_a_caller_who_leaves_while_he_is_asked_leaves_nothing_behind() -> None:
    stage = shop(["201"])
    caller = stage.dial("204", "600")
    stage.run(4500)
    assert stage.leg_at("line/1")
    stage.leave(caller)
    stage.run(2000)
    stage.at_rest()
