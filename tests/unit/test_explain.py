"""The dry run tells what a call really does: random branches, times, callers and keys, and the words in both languages."""

from __future__ import annotations

import random
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from firmware.call import actions as do
from firmware.call.explain import AGAIN, SILENT, Asked, Explained, Step, copy_of, explain
from firmware.call.explain_texts import _STEPS
from firmware.call.state import Phase
from firmware.call.times import LocalTime
from firmware.config.schema.calendar import OpeningHours
from firmware.config.schema.calls import InboundRoute, OutboundRoute
from firmware.config.schema.dialplan import CallerClass
from firmware.control.calendar_commands import ExplainCall
from firmware.core.explaining import asked_of, dry_run, rows
from firmware.errors import PbxError
from tests.unit.call_stage import Phone, Stage, config

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
PLACES = ("queue/sales", "queue/service", "menu/main", "menu/language", "extension/102", "extension/201", "announce/night.msg", "hangup")
MOMENTS = ("2026-03-02 09:00", "2026-03-02 12:30", "2026-03-01 09:00", "2026-10-01 10:00", "2026-02-28 10:00", "2026-12-25 23:59",
           "2041-01-01 12:00")  # fmt: skip


def branch(draw: random.Random) -> Any:
    """A branch with opening hours, classes of callers and routes as they come."""
    spans = draw.choice((["08:30-12:00", "13:00-18:00"], ["22:00-06:00"], ["00:00-24:00"]))
    hours = OpeningHours(
        **dict.fromkeys(DAYS[: draw.choice((5, 6, 7))], spans), to=draw.choice(PLACES), closed=draw.choice(PLACES),
        at_lunch=draw.choice(("", *PLACES)), on_holiday=draw.choice(("", *PLACES)), night=draw.choice(("", "announce/night.msg")),
    )  # fmt: skip
    classes = {"vip": CallerClass(numbers=["138"]), "blocked": CallerClass(numbers=["139"], hidden=True, to="hangup")}
    routes = [
        InboundRoute(
            lines=draw.choice(([], ["1"], ["2", "3"])), caller=draw.choice(("", "13", "020")), callers=draw.choice(([], ["vip"])),
            to=draw.choice(("hours/office", *PLACES)), greeting=draw.random() < 0.6, notice=draw.random() < 0.5,
        )
        for _ in range(draw.randrange(3))
    ]  # fmt: skip
    routes.append(InboundRoute(to=draw.choice(("hours/office",) * 8 + PLACES)))
    return config(hours={"office": hours}, callers=classes, inbound=routes)


def at(text: str) -> LocalTime:
    day, clock = text.split()
    year, month, date = map(int, day.split("-"))
    hour, minute = map(int, clock.split(":"))
    return LocalTime(year, month, date, hour, minute)


def told(kind: str, data: dict[str, Any]) -> tuple[str, Any]:
    return kind, {name: value for name, value in data.items() if name != "keys"}


def real(stage: Stage, line: str, caller: str, keys: str) -> tuple[list[Any], list[str]]:
    """What a call of the stage records and rings when nobody takes it."""
    for endpoint in stage.config.extensions:
        stage.phones[endpoint] = Phone(answer_ms=-1)
    leg = stage.ring_in(line, caller)
    contact = stage.board.contact_of(leg)
    left = list(keys)
    for _ in range(72_000):
        if not contact or contact not in stage.board.contacts:
            break
        _, how = stage.playing.get(leg, (0, ""))
        if left and how == "keys" and stage.board.contacts[contact].phase is not Phase.GREETING:
            stage.press(leg, left.pop(0))
        stage.run(100)
    records = [told(one.kind, one.data) for _, of, one in stage.done if isinstance(one, do.Record) and of == contact]
    rings = [one.endpoint for _, of, one in stage.done if isinstance(one, do.OriginateLeg) and of == contact]
    return records, rings


def once(records: list[Any]) -> list[Any]:
    """As the dry run tells them: without those that say nothing, and what a queue repeats only once."""
    kept: list[Any] = []
    for one in records:
        if one[0] not in SILENT and not (one[0] in AGAIN and one in kept):
            kept.append(one)
    return kept


@pytest.mark.parametrize("seed", range(60))
def test_dry_run_tells_what_the_call_does(seed: int) -> None:
    draw = random.Random(seed)
    stage = Stage(branch(draw))
    stage.local = at(draw.choice(MOMENTS))
    for agent, seat in (("8001", "201"), ("8002", "202"), ("8003", "203")):
        if draw.random() < 0.6:
            stage.log_in(agent, seat)
    if draw.random() < 0.3:
        stage.board.set_night(draw.choice(("night", "open")), stage.now, until_ms=0)
        stage._after()
    line, caller = draw.choice(("line/1", "line/2")), draw.choice(("13800000001", "13900000001", "02088", ""))
    keys = draw.choice(("", "1", "22", "9", "10"))
    before = msgspec.json.encode(stage.board.snapshot())
    dry = explain(copy_of(stage.board, lambda now: stage.local, alone=False), Asked(line, caller, "", keys), stage.now)
    assert msgspec.json.encode(stage.board.snapshot()) == before and not stage.board.contacts, "the real one is only read"
    records, rings = real(stage, line, caller, keys)
    own = {"time", "route-taken", "route-not", "answer", "say", "ring", "end", "cut"}
    steps = [told(one.kind, one.data) for one in dry.steps if one.kind not in own]
    assert steps == once(records)[: len(steps)] and (dry.steps[-1].kind == "cut" or steps == once(records))
    assert dry.rings == rings[: len(dry.rings)]
    route = stage.board.routing.inbound(line, caller)
    assert [one.data["to"] for one in dry.steps if one.kind == "route-taken"] == ([route.to] if route is not None else [])


def steps(conf: Any, **asked: Any) -> Explained:
    stage = Stage(conf)
    return explain(copy_of(stage.board, lambda now: stage.local, alone=True), Asked(**asked), stage.now)


def of(explained: Explained, kind: str) -> list[Step]:
    return [one for one in explained.steps if one.kind == kind]


def test_why_a_route_is_not_taken() -> None:
    conf = config(
        inbound=[
            InboundRoute(to="queue/sales", lines=["2"]), InboundRoute(to="queue/service", caller="020"), InboundRoute(to="menu/main"),
            InboundRoute(to="hangup"),
        ]
    )  # fmt: skip
    found = steps(conf, endpoint="line/1", caller="138")
    assert [one.data["why"] for one in of(found, "route-not")] == ["other line", "caller", "earlier"]
    assert of(found, "route-taken")[0].en == "inbound[2] is taken: to menu/main"
    assert of(found, "route-not")[0].zh == "inbound[0]（至 queue/sales）不适用：限其他线路或中继"


def test_dialling_out_by_class_cost_and_time() -> None:
    night = OpeningHours(mon=["20:00-08:00"])
    conf = config(
        hours={"cheap": night},
        outbound=[
            OutboundRoute(pattern="00.", permission="international"),
            OutboundRoute(pattern="0.", permission="national", strip=1, prepend="17909"),
            OutboundRoute(pattern="N.", cost=9), OutboundRoute(pattern="N.", cost=4), OutboundRoute(pattern="N.", cost=1, hours="cheap"),
        ],
    )  # fmt: skip
    found = steps(conf, endpoint="201", caller="201", called="912345")
    assert [(one.data["route"], one.data["why"]) for one in of(found, "out-not")] == [
        ("outbound[0]", "pattern"), ("outbound[1]", "pattern"), ("outbound[2]", "dearer"), ("outbound[4]", "time")]  # fmt: skip
    assert of(found, "out-taken")[0].data["to"] == "12345" and found.rings[0].startswith("line/")
    refused = steps(conf, endpoint="201", caller="201", called="90207777")
    assert of(refused, "out-not")[1].data["why"] == "permission" and not refused.rings and refused.cause == "refused"
    stage = Stage(conf)
    assert stage.board.routing.considered_out("201", "90207777")[1].to == "17909207777"
    emergency = steps(conf, endpoint="203", caller="203", called="110")
    assert of(emergency, "means")[0].data["target"] == "emergency" and emergency.rings[0].startswith("line/")


def test_every_step_has_words_in_both_languages() -> None:
    found = steps(config(), endpoint="line/1", caller="", keys="1")
    assert {one.kind for one in found.steps} <= set(_STEPS) | {one.kind for one in found.steps if "=" in one.en}
    assert any("菜单" in one.zh for one in found.steps) and all(one.en and one.zh for one in found.steps)


def test_calls_that_are_none_are_refused() -> None:
    conf = config()
    stage = Stage(conf)
    nobody = ExplainCall(extension="999", dial="1")
    wrongs = (ExplainCall(line="9"), ExplainCall(extension="201"), nobody, ExplainCall(at="2026-13-01T00:00"))
    for wrong in wrongs:
        with pytest.raises(PbxError):
            dry_run(stage.board, wrong, now=stage.now, wall_ms=0, zone=ZoneInfo("Asia/Shanghai"))
    assert asked_of(conf, ExplainCall(to="4001")).endpoint == "line/1"
    assert rows(steps(conf, endpoint="line/1"))[-1].step_en


def test_blocked_caller_is_not_answered() -> None:
    conf = config(callers={"blocked": CallerClass(numbers=["139"], hidden=True, to="hangup")})
    for caller in ("13900000001", ""):
        found = steps(conf, endpoint="line/1", caller=caller)
        assert not of(found, "answer") and not of(found, "say") and found.steps[-1].kind == "end"
    stage = Stage(conf)
    leg = stage.ring_in("line/1", "13900000001")
    stage.run(2000)
    assert not [one for _, _, one in stage.done if isinstance(one, do.AnswerLeg)] and leg not in stage.legs
