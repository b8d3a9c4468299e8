"""Calls that pass through the branch: switches by country, leave that must be named, the audit trail, and which number is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from firmware.call.events import Passed
from firmware.call.forwards import Wish
from firmware.call.model import Party
from firmware.config.model import load
from firmware.config.passage import laws
from firmware.config.problems import ConfigErrors
from firmware.config.problems_zh import chinese
from firmware.config.schema.calls import InboundRoute, OutboundRoute
from firmware.config.schema.people import Extension
from firmware.config.schema.system import Country
from firmware.config.schema.trunks import Passage, Trunk
from firmware.control.audit import CommandGiven
from firmware.control.gate import Gate, Peer
from firmware.core.passage import TOLD, PassageAudit
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.store.audit import FUNCTIONS, AuditTrail, Record
from firmware.store.db import Database
from firmware.surfaces.cli.table import render
from tests.unit.call_stage import Stage, config
from tests.unit.test_call_trunks import tried
from tests.unit.test_trunks import CALM, TrunkStage

LEAVE = Passage(break_out=True, foreign_numbers=True, permit="licence 7")
WAYS = {
    "a": Trunk(domain="a.example", kind="static", number="0755", caller_shown="caller"),
    "b": Trunk(domain="b.example", kind="static", break_out="local"),
}


def stage(country: str, said: dict[str, Passage], **changes: Any) -> Stage:
    routes = [OutboundRoute(pattern="NXXXXXXX", trunks=["a"], group="")]
    made = config(**{"trunks": WAYS, "outbound": routes, "inbound": [InboundRoute(to="hangup")], "passage": said,
                     "extensions": {"201": Extension(kind="sip", permission="local")}, **changes})  # fmt: skip
    return Stage(msgspec.structs.replace(made, site=msgspec.structs.replace(made.site, country=country)))


def told(made: Stage) -> list[tuple[str, str, str, bool]]:
    return [(one.passing, one.trunk, one.way, one.done) for one in made.notices if isinstance(one, Passed)]


def test_every_country_has_its_table() -> None:
    assert set(laws()) == set(get_args(Country))
    assert all(one.sources for one in laws().values())


@pytest.mark.parametrize(
    ("country", "said", "out"),
    [("CN", {}, False), ("US", {}, False), ("CN", {"CN": Passage(break_out=True)}, False), ("CN", {"US": LEAVE}, False),
     ("CN", {"CN": LEAVE}, True), ("US", {"US": Passage(break_out=True)}, True)],
)  # fmt: skip
def test_nobody_breaks_out_unless_the_country_is_switched_on(country: str, said: dict[str, Passage], out: bool) -> None:
    made = stage(country, said)
    made.trunk_in("b", "962345678")
    made.run(400)
    assert tried(made) == (["trunk/a"] if out else [])
    assert told(made)[0] == ("break_out", "b", "trunk/a" if out else "", out)


def test_extensions_of_another_branch_need_no_switch() -> None:
    made = stage("CN", {})
    made.trunk_in("b", "201")
    made.run(400)
    assert tried(made) == ["201"] and told(made) == []


def test_a_number_that_is_not_ours_is_told_whether_it_was_shown_or_not() -> None:
    for said, shown in (({"CN": LEAVE}, True), ({}, False)):
        made = stage("CN", said, inbound=[InboundRoute(to="extension/201", greeting=False, notice=False)])
        made.board.wishes["201"] = Wish(always="962345678")
        made.ring_in()
        made.run(8_000)
        assert tried(made) == ["trunk/a"] and told(made) == [("foreign_numbers", "", "trunk/a", shown)]


@pytest.mark.parametrize(("said", "number"), [({}, "0755"), ({"CN": LEAVE}, "0815"), ({"CN": Passage(foreign_numbers=True)}, "0755")])
def test_which_number_is_shown_of_a_call_that_is_passed_on(said: dict[str, Passage], number: str) -> None:
    trunk = Trunk(kind="static", domain="peer.example", number="0755", caller_shown="caller", **CALM)
    house = TrunkStage({"c": trunk}, passage=said)
    assert house.call("1", caller=Party("0815")).from_.uri.user == number


SITE = """
[trunks.a]
domain = "a.example"
kind = "static"
break_out = "national"
caller_shown = "caller"
"""


def wrong(text: str) -> dict[str, str]:
    try:
        load(text.encode(), file="site.toml")
    except ConfigErrors as error:
        for one in error.problems:
            assert chinese(one.message) != one.message and chinese(one.remedy) != one.remedy
        return {one.path: one.message for one in error.problems}
    return {}


def test_the_check_asks_for_the_switch_and_the_switch_for_the_leave() -> None:
    base = '[[inbound]]\nto = "hangup"\n'
    assert set(wrong(base + SITE)) == {"trunks.a.break_out", "trunks.a.caller_shown"}
    on = "[passage.CN]\nbreak_out = true\nforeign_numbers = true\n"
    assert set(wrong(base + SITE + on)) == {"passage.CN.permit"}
    assert wrong(base + SITE + on + 'permit = "licence 7"\n') == {}
    assert wrong(base + "[passage.XX]\nbreak_out = true\n") == {"passage.XX": "is no country"}
    assert wrong(base + "[passage.US]\nbreak_out = true\nforeign_numbers = true\n") == {}


class Desk:
    """The part with a trail behind it."""

    def __init__(self, folder: Path) -> None:
        self.bus, self.clock = Bus(), ManualClock(1_700_000_000_000)
        self.config = config(trunks=WAYS, passage={"CN": LEAVE, "US": Passage()})
        self.database = Database(folder / "manage.db", "manage", functions=FUNCTIONS)
        self.trail = AuditTrail(self.database)
        self.bus.subscribe(CommandGiven, lambda one: self.trail.add(one.wall_ms, one.peer, one.role, one.command, one.args, one.outcome))
        self.gate = Gate(self.bus, self.clock)
        PassageAudit(self.bus, self.clock, lambda: self.config).attach(self.gate)

    def last(self, count: int) -> list[Record]:
        assert self.database.flush()
        return self.trail.last(count)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.database.close(1.0)


def test_each_use_is_in_the_trail_without_a_number_and_a_flood_is_counted(desk: Desk) -> None:
    desk.bus.publish(Passed(0, "C1", "break_out", "b", "trunk/a", done=True))
    (one,) = desk.last(5)
    assert (one.peer, one.command, one.outcome) == ("trunk b", "break out", "ok")
    assert msgspec.json.decode(one.args) == {"contact": "C1", "way": "trunk/a", "permit": "licence 7"}
    for _ in range(TOLD + 9):
        desk.bus.publish(Passed(0, "C2", "break_out", "b", "", done=False))
    assert len(desk.last(100)) == TOLD
    desk.clock.advance(60_000)
    desk.bus.publish(Passed(60_000, "C3", "foreign_numbers", "", "trunk/a", done=True))
    last = desk.last(1)[0]
    assert (last.peer, last.command) == ("line", "show a foreign number") and msgspec.json.decode(last.args)["more"] == "10"
    assert desk.trail.prove().broken == 0


def test_a_person_sees_what_may_pass_and_why(desk: Desk) -> None:
    reply = asyncio.run(desk.gate.perform(Peer("eve", "viewer"), "show passage", {}))
    said = "\n".join(render(reply["result"], "zh", 160))
    assert "国家" in said and "许可" in said and "licence 7" in said
    rows = {(one["country"], one["what_en"]): one for one in reply["result"]}
    assert rows[("CN", "others dial out by our lines")]["state_zh"] == "开"
    assert rows[("CN", "others dial out by our lines")]["trunks"] == "b"
    assert rows[("US", "others dial out by our lines")]["state_en"] == "off"
    assert rows[("CN", "calls that are passed on show their caller's number")]["law"] == "permit"
