"""Nodes that lead to people or data elsewhere: a callback outside of a queue, and a question to a service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from aiohttp import web
from msgspec.structs import replace

from firmware.app.lookups import LookupDesk, UnusableAnswer, members
from firmware.call.calendar import Night
from firmware.call.lookup_actions import LookedUp, LookUp
from firmware.call.switchboard import Switchboard
from firmware.call.times import LocalTime
from firmware.config.ivrcheck import ivr_check
from firmware.config.problems import Findings
from firmware.config.schema.acd import Acd, Callback
from firmware.config.schema.calendar import OpeningHours
from firmware.config.schema.ivr import Lookup, Node
from firmware.config.schema.people import Agent
from firmware.config.schema.tree import Config
from firmware.control.lookup_commands import Question
from tests.unit.call_stage import Phone
from tests.unit.mail_stage import MailStage, ivr_config

NUMBER = "13800000001"
OFFER = Node(kind="callback", queue="sales", otherwise="announce/sys.sorry")
REGISTER = Node(
    kind="lookup", url="https://crm.example/who", ask={"number": "$caller", "account": "$account"}, prompts=["look.wait"], to="ivr/by",
    otherwise="queue/service",
)  # fmt: skip
BY = Node(kind="choose", by="$register", cases={"gold": "ivr/said"}, otherwise="menu/main")
SAID = Node(kind="say", prompts=["say.digits"], variables={"digits": "$register.account"}, to="menu/main")


@pytest.fixture(params=[False, True], ids=["straight", "restarted"])
def restart(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def events(stage: MailStage, kind: str) -> list[dict[str, Any]]:
    return [action.data for _, _, action in stage.done if type(action).__name__ == "Record" and action.kind == kind]


# --- callback ---------------------------------------------------------------------------------------------------------


class Evening(MailStage):
    """It is Friday at eight in the evening, and the clock goes."""

    def _new_board(self) -> Switchboard:
        board = super()._new_board()
        board._local = self.clock
        return board

    def clock(self, now: int) -> LocalTime:
        local = datetime(2026, 3, 6, 20, 0) + timedelta(milliseconds=now)
        return LocalTime(local.year, local.month, local.day, local.hour, local.minute, local.second)


def desk(restart: bool, hours: str = "", start: str = "ivr/offer", **callback: object) -> MailStage:
    conf = ivr_config(start, offer=OFFER)
    queue = replace(conf.queues["sales"], hours=hours, record=False, agent_number=False, callback=Callback(enabled=True, **callback))  # type: ignore[arg-type]
    conf = replace(
        conf, queues={**conf.queues, "sales": queue}, acd=Acd(quiet=["21:00-07:30"]), agents={"8001": Agent(pin="11", queues=["sales"])},
        hours={"shop": OpeningHours(**{day: ["09:00-17:00"] for day in ("mon", "tue", "wed", "thu", "fri")})} if hours else {},
    )  # fmt: skip
    return Evening(conf, restart=restart) if hours else MailStage(conf, restart=restart)


def test_a_caller_outside_of_a_queue_is_called_back_by_it(restart: bool) -> None:
    stage = desk(restart)
    stage.log_in("8001", "201")
    stage.phones["201"] = Phone(answer_ms=2000)
    leg = stage.ring_in("line/1", NUMBER)
    stage.run(3000)
    assert stage.heard[leg] == ["q.cb.num"]
    stage.press(leg, "1")
    stage.run(3000)
    assert stage.heard[leg][-1] == "q.cb.ok" and not stage.legs.get(leg)
    first = next(iter(stage.closed.values()))
    assert first.queue == "" and first.wait_ms == 0, "he was in no queue, and no report counts him there"
    assert not [one for _, _, one in stage.done if type(one).__name__ == "QueueLog" and one.event == "EXITWITHKEY"]
    assert NUMBER not in stage.board.acd.missed
    stage.run(4000)
    assert stage.leg_at("line/1"), "the agent is free: he answered, and the number is dialled"
    stage.run(8000)
    stage.leave(stage.leg_at("201"))
    stage.run(30_000)
    assert not stage.board.acd.callbacks and [one.connected >= 0 for one in stage.closed.values()] == [False, True]


def test_after_hours_the_call_is_promised_for_when_the_queue_opens(restart: bool) -> None:
    stage = desk(restart, "shop")
    leg = stage.ring_in("line/1", NUMBER)
    stage.run(3000)
    stage.press(leg, "1")
    stage.run(3000)
    told = [say for _, _, one in stage.done if type(one).__name__ == "PlayPrompt" for say in one.says if say.prompt == "q.cb.quiet"]
    (request,) = stage.board.acd.callbacks.values()
    assert [say.variables["time"] for say in told] == ["09:00"]
    ahead = request.not_before_ms - request.made_ms
    assert 0 <= ahead - 61 * 3_600_000 < 15 * 60_000, "Monday at nine: the weekend is closed"
    assert request.expires_ms - request.not_before_ms == 28_800_000
    assert not any(stage.board.floor.state.queues.values()), "it stands in no queue before"


def test_nothing_is_promised_that_nobody_keeps(restart: bool) -> None:
    for stage in (desk(restart), desk(restart, most=1)):
        if stage.config.queues["sales"].callback.most == 1:
            stage.log_in("8001", "201")
            stage.board.agent_command("8001", "pause", stage.now)
            stage._after()
        leg = stage.ring_in("line/1", NUMBER)
        stage.run(500)
        assert stage.heard[leg] == ["sys.sorry"] and events(stage, "callback-not-offered")[0]["why"] == "nobody is at work"
    stage = desk(restart, "shop")
    stage.board.set_night("night", stage.now)
    assert stage.board.night == Night("night")
    leg = stage.ring_in("line/1", NUMBER)
    stage.run(500)
    assert stage.heard[leg] == ["sys.sorry"], "closed by hand: nothing says until when"


def test_who_lets_it_be_goes_on(restart: bool) -> None:
    stage = desk(restart)
    stage.log_in("8001", "201")
    leg = stage.ring_in("line/1", NUMBER)
    stage.run(90_000)
    assert stage.heard[leg][-1] == "sys.sorry" and not stage.board.acd.callbacks and events(stage, "callback-declined")
    stage.at_rest()


# --- lookup: the pure part --------------------------------------------------------------------------------------------


def asking(restart: bool) -> tuple[MailStage, str, LookUp]:
    stage = MailStage(ivr_config("ivr/register", register=REGISTER, by=BY, said=SAID), restart=restart)
    leg = stage.ring_in("line/1", NUMBER)
    stage.run(500)
    (asked,) = [action for _, _, action in stage.done if isinstance(action, LookUp)]
    assert asked.ask == {"number": NUMBER, "account": ""} and stage.heard[leg] == ["look.wait"]
    return stage, leg, asked


def test_the_answer_leads_the_caller_and_is_said(restart: bool) -> None:
    stage, leg, asked = asking(restart)
    stage.give(LookedUp(leg, stage.now, asked.token, True, {"value": "gold", "account": "77"}))
    assert stage.heard[leg] == ["look.wait"], "the sentence is said to its end"
    stage.run(2000)
    assert stage.heard[leg] == ["look.wait", "say.digits"]
    (done,) = events(stage, "lookup")
    assert done["ok"] and done["node"] == "register" and "gold" not in str(done)


def test_a_birthday_in_the_register_is_wished(restart: bool) -> None:
    today = Node(kind="choose", by="$register.birthday", cases={"=true": "ivr/wish"}, otherwise="menu/main")
    wish = Node(kind="say", prompts=["greet.birthday"], to="menu/main")
    register = replace(REGISTER, to="ivr/today", prompts=[])
    stage = MailStage(ivr_config("ivr/register", register=register, today=today, wish=wish), restart=restart)
    leg = stage.ring_in("line/1", NUMBER)
    stage.run(500)
    (asked,) = [action for _, _, action in stage.done if isinstance(action, LookUp)]
    stage.give(LookedUp(leg, stage.now, asked.token, True, {"birthday": "true"}))
    stage.run(100)
    assert stage.heard[leg] == ["music", "greet.birthday"]


def test_without_an_answer_he_goes_on_when_the_time_is_over(restart: bool) -> None:
    stage, leg, asked = asking(restart)
    stage.run(2500)
    assert stage.heard[leg][1:] == ["music"]
    stage.run(1500)
    assert events(stage, "lookup")[0]["why"] == "no answer in time"
    before = list(stage.heard[leg])
    stage.give(LookedUp(leg, stage.now, asked.token, True, {"value": "gold"}))
    stage.run(100)
    assert stage.heard[leg] == before, "what comes late finds nobody"
    stage.leave(leg)
    stage.run(1000)


def test_a_failure_is_known_at_once_and_a_strange_answer_is_nobodys(restart: bool) -> None:
    stage, leg, asked = asking(restart)
    stage.give(LookedUp(leg, stage.now, asked.token + 1, True, {"value": "gold"}))
    assert not events(stage, "lookup")
    stage.run(2000)
    stage.give(LookedUp(leg, stage.now, asked.token, False, {}, "refused"))
    assert events(stage, "lookup")[0] == {"node": "register", "ok": False, "why": "refused", "ms": 2450}
    stage.leave(leg)
    stage.run(1000)
    stage.at_rest()


# --- lookup: the service ----------------------------------------------------------------------------------------------


class Service:
    """A customer register on a port of its own."""

    def __init__(self, reply: Callable[[dict[str, Any]], Awaitable[web.Response]]) -> None:
        self.reply = reply
        self.asked: list[tuple[dict[str, Any], str]] = []

    async def __aenter__(self) -> Service:
        async def handle(request: web.Request) -> web.Response:
            body = await request.json()
            self.asked.append((body, request.headers.get("Authorization", "")))
            return await self.reply(body)

        app = web.Application()
        app.router.add_post("/who", handle)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/who"
        return self

    async def __aexit__(self, *rest: object) -> None:
        await self.runner.cleanup()


def site_of(url: str, **node: Any) -> Config:
    return replace(ivr_config("ivr/register", register=replace(REGISTER, url=url, **node)), lookup=Lookup(token="secret"))


async def never(args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    await asyncio.Event().wait()
    yield args


def test_a_service_is_asked_with_the_token_and_its_answer_is_bounded() -> None:
    async def reply(body: dict[str, Any]) -> web.Response:
        return web.json_response({"value": "gold", "balance": 12.5, "open": True, "deep": {"no": 1}, "bad name": "x", "long": "y" * 500})

    async def run() -> None:
        async with Service(reply) as service:
            lookups = LookupDesk(lambda: site_of(service.url), never, never)  # type: ignore[arg-type]
            values, why = await lookups.answer(Question(1, "register", {"number": NUMBER}))
            assert why == "" and values == {"value": "gold", "balance": "12.5", "open": "true", "long": "y" * 64}
            assert service.asked == [({"node": "register", "site": "BranchPBX", "ask": {"number": NUMBER}}, "Bearer secret")]

    asyncio.run(run())


def test_what_is_no_answer_is_a_failure_with_a_reason() -> None:
    replies = iter([
        web.Response(status=500), web.Response(text="<html>"), web.json_response([1]), web.Response(body=b'"' + b"x" * 20_000 + b'"'),
    ])  # fmt: skip

    async def reply(body: dict[str, Any]) -> web.Response:
        return next(replies)

    async def run() -> None:
        async with Service(reply) as service:
            now = [0.0]
            lookups = LookupDesk(lambda: site_of(service.url), never, never, lambda: now[0])  # type: ignore[arg-type]
            for wanted in ("500", "no JSON", "no JSON object"):
                values, why = await lookups.answer(Question(1, "register", {}))
                assert values == {} and wanted in why
            assert "left alone" in (await lookups.answer(Question(1, "register", {})))[1] and len(service.asked) == 3
            now[0] = 31.0
            assert "more than" in (await lookups.answer(Question(1, "register", {})))[1], "asked again after the pause"

    asyncio.run(run())


def test_a_service_that_says_nothing_costs_the_caller_no_more_than_his_time() -> None:
    async def reply(body: dict[str, Any]) -> web.Response:
        await asyncio.sleep(2)
        return web.json_response({})

    async def run() -> None:
        async with Service(reply) as service:
            lookups = LookupDesk(lambda: site_of(service.url, wait_s=1), never, never)  # type: ignore[arg-type]
            values, why = await asyncio.wait_for(lookups.answer(Question(1, "register", {})), 10)
            assert values == {} and why
            gone = LookupDesk(lambda: site_of("http://127.0.0.1:1/who"), never, never)  # type: ignore[arg-type]
            assert (await gone.answer(Question(1, "register", {})))[1], "nothing listens there"

    asyncio.run(run())


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"{", b"null", b"\xff"])
def test_only_an_object_is_an_answer(data: bytes) -> None:
    with pytest.raises(UnusableAnswer):
        members(data)


# --- the check --------------------------------------------------------------------------------------------------------


def problems(conf: Config) -> list[str]:
    findings = Findings("site.toml")
    ivr_check(conf, findings, ())
    return [f"{one.path} {one.message}" for one in findings.problems]


def test_the_check_knows_both_kinds() -> None:
    good = ivr_config("ivr/register", register=replace(REGISTER, ask={"number": "$caller"}), by=BY, said=SAID)
    assert problems(good) == []
    assert any("is no queue that calls back" in one for one in problems(ivr_config("ivr/offer", offer=OFFER)))
    bare = ivr_config("ivr/register", register=replace(REGISTER, url="", ask={}), by=BY, said=SAID)
    assert any(one.startswith("ivr.register.url is missing") for one in problems(bare))
    wrong = ivr_config("ivr/register", register=replace(REGISTER, ask={"x": "$nobody"}), by=BY, said=SAID)
    assert any("names no node" in one for one in problems(wrong))
    assert msgspec.json.decode(json.dumps({"kind": "lookup", "url": "https://a/b"}), type=Node).url == "https://a/b"
    for url in ("http://a/b", "ftp://a", "https://a b"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(json.dumps({"kind": "lookup", "url": url}), type=Node)
