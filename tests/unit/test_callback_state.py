"""A caller asks how his callback stands, corrects its number or takes it back (F6)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from firmware.call.acd_state import Request
from firmware.call.actions import Say
from firmware.call.estimate import Service
from firmware.call.rules import rule
from firmware.call.switchboard import Switchboard
from firmware.call.times import LocalTime
from firmware.config.ivrcheck import ivr_check
from firmware.config.problems import Findings
from firmware.config.schema.acd import Acd, Callback
from firmware.config.schema.calendar import OpeningHours
from firmware.config.schema.ivr import Node
from firmware.config.schema.people import Agent
from firmware.config.schema.tree import Config
from tests.unit.call_stage import Phone
from tests.unit.mail_stage import MailStage, ivr_config

NUMBER = "13800000001"
OTHER = "13900000009"
ASK = Node(kind="callback-state", to="announce/sys.sorry", otherwise="announce/q.full")
MINUTE, HOUR_MS = 60_000, 3_600_000


@pytest.fixture(params=[False, True], ids=["straight", "restarted"])
def restart(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


class Clock(MailStage):
    """It is Friday at eight in the evening, and the clock goes."""

    def _new_board(self) -> Switchboard:
        board = super()._new_board()
        board._local = self.clock
        return board

    def clock(self, now: int) -> LocalTime:
        local = datetime(2026, 3, 6, 20, 0) + timedelta(milliseconds=now)
        return LocalTime(local.year, local.month, local.day, local.hour, local.minute, local.second)


def site(restart: bool = False, node: Node = ASK, quiet: tuple[str, ...] = (), hours: str = "") -> MailStage:
    """One agent, who pauses."""
    conf = ivr_config("ivr/mine", mine=node)
    queue = replace(conf.queues["sales"], record=False, agent_number=False, hours=hours, callback=Callback(enabled=True))
    conf = replace(
        conf, queues={**conf.queues, "sales": queue}, acd=Acd(quiet=list(quiet)), agents={"8001": Agent(pin="11", queues=["sales"])},
        hours={"shop": OpeningHours(**{day: ["09:00-17:00"] for day in ("mon", "tue", "wed", "thu", "fri")})},
    )  # fmt: skip
    stage = Clock(conf, restart=restart)
    stage.log_in("8001", "201")
    stage.board.agent_command("8001", "pause", stage.now, reason="1")
    stage._after()
    return stage


def ask_for(stage: MailStage, ident: str = "cb:1", number: str = NUMBER, **changes: Any) -> Request:
    """Somebody waits to be called back."""
    wall = stage.board.wall(stage.now)
    facts = {"caller": number, "language": "zh", "since_ms": wall - 1000 + len(ident), "made_ms": wall, "expires_ms": wall + 9 * HOUR_MS}
    found = stage.board.acd.callbacks[ident] = Request(ident, "sales", number, **(facts | changes))
    stage.board.expire(stage.now)
    stage._after()
    return found


def now(stage: MailStage, ident: str = "cb:1") -> Request:
    """The request as it is kept now."""
    return stage.board.acd.callbacks[ident]


def states(stage: MailStage) -> list[dict[str, Any]]:
    return [action.data for _, _, action in stage.done if type(action).__name__ == "Record" and action.kind == "callback-state"]


def words(stage: MailStage) -> list[Say]:
    """Everything that was said, with its variables."""
    return [say for _, _, one in stage.done if type(one).__name__ == "PlayPrompt" for say in one.says]


def variables(stage: MailStage, prompt: str) -> dict[str, str]:
    """The variables of a prompt that was said, without the company's name."""
    found = next(one.variables for one in words(stage) if one.prompt == prompt)
    return {name: text for name, text in found.items() if name != "company"}


@pytest.mark.parametrize("caller", [OTHER, "", "1380000"])
def test_who_has_none_is_told_so_and_goes_otherwise(caller: str, restart: bool) -> None:
    stage = site(restart)
    ask_for(stage)
    leg = stage.ring_in(number=caller)
    stage.run(2500)
    assert stage.heard[leg] == ["cb.none", "q.full"]
    assert [one["state"] for one in states(stage)] == ["none"]
    stage.run(5000)
    assert now(stage).number == NUMBER
    assert set(stage.board.acd.missed) <= {caller}


@pytest.mark.parametrize(
    ("before", "service", "heard"),
    [
        (0, None, ["cb.noted", "q.next"]),
        (2, None, ["cb.noted", "q.pos"]),
        (2, Service(90_000, 5), ["cb.noted", "q.pos", "q.eta"]),
        (0, Service(40_000, 5), ["cb.noted", "q.next", "q.eta.short"]),
        (2, Service(HOUR_MS, 5), ["cb.noted", "q.pos"]),
    ],
)
def test_the_place_and_the_wait_are_said(
    before: int, service: Service | None, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = site()
    for index in range(before):
        ask_for(stage, f"cb:{10 + index}", f"1370000000{index}", since_ms=-60_000)
    ask_for(stage)
    if service is not None:
        stage.board.floor.state.service["sales"] = service
        monkeypatch.setattr(stage.board.floor, "at_work", lambda queue: 1)
    leg = stage.ring_in(number=NUMBER)
    stage.run(500)
    assert stage.heard[leg] == [*heard, "cb.keys"]
    if "q.pos" in heard:
        assert variables(stage, "q.pos") == {"n": "2"}
    if "q.eta" in heard:
        assert variables(stage, "q.eta") == {"m": "5"}, "three calls of a minute and a half by one agent"
    assert states(stage)[0]["state"] == "waiting"


@pytest.mark.parametrize(
    ("changes", "hours", "prompt", "expected"),
    [
        ({"not_before_ms": 32 * MINUTE}, "", "cb.later", {"time": "20:35"}),
        ({"not_before_ms": 13 * HOUR_MS}, "", "cb.later.date", {"date": "2026-03-07", "time": "09:00"}),
        ({}, "shop", "cb.later.date", {"date": "2026-03-09", "time": "09:00"}),
        ({"not_before_ms": 10 * MINUTE}, "shop", "cb.later.date", {"date": "2026-03-09", "time": "09:00"}),
    ],
)
def test_when_it_is_not_yet_due_the_time_is_said(
    changes: dict[str, int], hours: str, prompt: str, expected: dict[str, str], restart: bool
) -> None:
    stage = site(restart, hours=hours)
    ask_for(stage, **changes)
    leg = stage.ring_in(number=NUMBER)
    stage.run(500)
    assert stage.heard[leg] == ["cb.noted", prompt, "cb.keys"]
    assert variables(stage, prompt) == expected
    assert states(stage)[0]["state"] == "later"


def test_the_last_attempt_is_told_and_what_is_being_dialled_cannot_be_changed(restart: bool) -> None:
    stage = site(restart)
    stage.phones["line/1"] = Phone(answer_ms=-1)
    ask_for(stage)
    stage.phones["201"] = Phone(answer_ms=500)
    stage.board.agent_command("8001", "ready", stage.now)
    stage._after()
    stage.run(10_000)
    assert now(stage).contact and now(stage).tried_ms > 0, "the agent is there, and the number is dialled"
    leg = stage.ring_in("line/2", NUMBER)
    stage.run(500)
    stage.press(leg, "3")
    stage.run(500)
    assert stage.heard[leg] == ["cb.now", "sys.sorry"] and now(stage).contact
    stage.board.agent_command("8001", "pause", stage.now, reason="1")
    stage._after()
    stage.run(180_000)
    assert not now(stage).contact and now(stage).tries == 1
    tried = now(stage).tried_ms
    again = stage.ring_in("line/2", NUMBER)
    stage.run(500)
    assert stage.heard[again][-2:] == ["cb.tried.today", "cb.keys"]
    assert tried // MINUTE == 0 and variables(stage, "cb.tried.today") == {"time": "20:00"}
    stage.press(again, "1")
    stage.run(10_000)
    assert now(stage).tried_ms == tried and NUMBER not in stage.board.acd.missed, "he is called back: he is not lost"


def test_who_takes_it_back_is_called_no_more_and_is_not_lost(restart: bool) -> None:
    stage = site(restart)
    ask_for(stage, first="c0")
    leg = stage.ring_in(number=NUMBER)
    stage.run(500)
    stage.press(leg, "3")
    stage.run(500)
    assert stage.heard[leg][-1] == "cb.cancelled"
    assert not stage.board.acd.callbacks and not any(stage.board.floor.state.queues.values())
    over = [(of, one.data["why"]) for _, of, one in stage.done if type(one).__name__ == "Record" and one.kind == "callback-over"]
    assert over == [("c0", "cancelled")]
    stage.leave(leg)
    stage.run(10_000)
    assert not stage.board.acd.missed
    stage.at_rest()


def test_another_number_is_confirmed_and_called_from_then_on(restart: bool) -> None:
    stage = site(restart)
    ask_for(stage, tries=2, tried_ms=1, not_before_ms=HOUR_MS)
    ask_for(stage, "cb:2", "13700000003")
    leg = stage.ring_in(number=NUMBER)
    stage.run(500)
    stage.press(leg, "2")
    stage.run(500)
    stage.press(leg, "110#")
    stage.run(500)
    assert stage.heard[leg][-2:] == ["num.refused", "q.cb.key"], "an emergency number is never called back"
    stage.press(leg, "13700000003#")
    stage.run(500)
    assert stage.heard[leg][-1] == "q.cb.num"
    stage.press(leg, "1")
    stage.run(500)
    assert stage.heard[leg][-2:] == ["num.refused", "q.cb.key"], "that number has its own callback"
    stage.press(leg, f"{OTHER}#")
    stage.run(500)
    assert variables(stage, "cb.keys") == {} and now(stage).number == NUMBER, "not before it is confirmed"
    stage.press(leg, "1")
    stage.run(500)
    assert stage.heard[leg][-1] == "cb.changed"
    assert (now(stage).number, now(stage).tries, now(stage).not_before_ms) == (OTHER, 0, 0)
    stage.run(6000)
    assert stage.heard[leg][-1] == "sys.sorry"
    stage.leave(leg)
    stage.run(1000)
    asked = stage.ring_in("line/2", NUMBER)
    stage.run(500)
    assert stage.heard[asked][0] == "cb.noted", "who asked for it is known by the number that he asked from, too"
    stage.leave(asked)
    stage.run(1000)
    stage.board.cancel_callback("cb:2", stage.now)
    stage._after()
    stage.phones["201"] = Phone(answer_ms=500)
    stage.board.agent_command("8001", "ready", stage.now)
    stage._after()
    stage.run(8000)
    dialled = [one.number for _, _, one in stage.done if type(one).__name__ == "OriginateLeg" and one.endpoint.startswith("line/")]
    assert dialled and dialled[0].endswith(OTHER)


def test_who_keys_nothing_keeps_it(restart: bool) -> None:
    stage = site(restart)
    ask_for(stage)
    leg = stage.ring_in(number=NUMBER)
    stage.run(2000 * 3 + rule("code.wait") + 1000)
    assert stage.heard[leg] == ["cb.noted", "q.next", "cb.keys", "sys.sorry"] and now(stage)


def test_who_hangs_up_after_he_heard_it_is_not_lost(restart: bool) -> None:
    stage = site(restart)
    ask_for(stage)
    leg = stage.ring_in(number=NUMBER)
    stage.run(1000)
    stage.leave(leg)
    stage.run(1000)
    assert not stage.board.acd.missed and now(stage) and not stage.board.contacts


def test_one_that_is_over_meanwhile_is_none(restart: bool) -> None:
    stage = site(restart)
    ask_for(stage)
    leg = stage.ring_in(number=NUMBER)
    stage.run(1000)
    stage.board.cancel_callback("cb:1", stage.now)
    stage._after()
    stage.press(leg, "2")
    stage.run(2500)
    assert stage.heard[leg][-2:] == ["cb.none", "q.full"]


def found(config: Config) -> list[str]:
    """Paths of what the check tells."""
    findings = Findings("site.toml")
    ivr_check(config, findings, ())
    return [problem.path for problem in findings.problems]


def test_the_check_knows_the_node() -> None:
    conf = site().config
    assert found(conf) == []
    assert "ivr.mine.queue" in found(replace(conf, ivr={"mine": replace(ASK, queue="sales")}))
    plain = replace(conf, queues={"sales": replace(conf.queues["sales"], callback=Callback())})
    assert "ivr.mine.kind" in found(plain), "no queue calls anybody back"
    assert "ivr.mine" in found(replace(conf, ivr={"mine": replace(ASK, to="ivr/mine")})), "a caller who does nothing goes in circles"
