"""Numbers, day parts, strategies, agents: the pure tables and functions of the call logic."""

from __future__ import annotations

import pytest

from firmware.call.contact import PHASES
from firmware.call.emergency import LocalCall, emergency_number, victim
from firmware.call.floor import AGENT_MOVES, Floor, Status
from firmware.call.model import Cause
from firmware.call.queue import ORDER, Candidate, Offer, Waiting, offers
from firmware.call.routing import Routing, ToEmergency, ToExtension, ToFeature, ToNowhere, ToOutside
from firmware.call.rules import RULES
from firmware.call.state import PHASE_MOVES, Phase
from firmware.call.times import LocalTime, greeting
from firmware.config.schema.calls import InboundRoute, OutboundRoute, Queue
from firmware.config.schema.people import Extension
from firmware.config.schema.ports import FxoLine, Ports
from firmware.config.schema.system import DayPart
from tests.unit.call_stage import EMERGENCY, config


@pytest.mark.parametrize(("digits", "verdict"), [
    ("", "more"), ("2", "more"), ("20", "more"), ("201", "complete"), ("205", "impossible"), ("5", "impossible"),
    ("1", "more"), ("11", "more"), ("110", "complete"), ("9", "more"), ("9110", "complete"), ("9555", "more"), ("9555#", "complete"),
    ("*", "more"), ("*1", "more"), ("*11", "complete"), ("*43", "complete"), ("*9", "more"), ("*0", "impossible"),
])  # fmt: skip
def test_dial_check(digits: str, verdict: str) -> None:
    assert Routing(config(), EMERGENCY).dial_check("201", digits) == verdict


def test_emergency_number_is_complete_even_where_a_longer_extension_begins_with_it() -> None:
    routing = Routing(config(extensions={"1101": Extension(kind="sip")}), EMERGENCY)
    assert routing.dial_check("1101", "110") == "complete"


def test_refused_number_is_complete_so_that_the_refusal_is_heard() -> None:
    conf = config(outbound=[OutboundRoute(pattern="NXX", permission="international")])
    assert Routing(conf, EMERGENCY).dial_check("201", "9555") == "complete"


@pytest.mark.parametrize(("digits", "target"), [
    ("202", ToExtension("202")), ("110", ToEmergency("110")), ("9119", ToEmergency("119")), ("9555", ToOutside("555", "pstn")),
    ("*118001#11#", ToFeature("login", "8001#11#")), ("*43", ToFeature("echo_test", "")), ("202#", ToExtension("202")),
])  # fmt: skip
def test_meaning_of_numbers(digits: str, target: object) -> None:
    assert Routing(config(), EMERGENCY).resolve("201", digits) == target


@pytest.mark.parametrize(("permission", "reached"), [("internal", False), ("local", False), ("national", True), ("international", True)])
def test_class_of_service(permission: str, reached: bool) -> None:
    conf = config(extensions={"201": Extension(kind="sip", permission=permission)}, outbound=[OutboundRoute(permission="national")])  # type: ignore[arg-type]
    target = Routing(conf, EMERGENCY).resolve("201", "9555")
    assert target == ToOutside("555", "pstn") if reached else isinstance(target, ToNowhere) and target.cause is Cause.REFUSED


def test_first_matching_outbound_route_wins_and_prepends() -> None:
    conf = config(outbound=[OutboundRoute(pattern="NXX", prepend="010"), OutboundRoute(pattern=".", group="other")])
    routing = Routing(conf, EMERGENCY)
    assert routing.resolve("201", "9555") == ToOutside("010555", "pstn")
    assert routing.resolve("201", "9055") == ToOutside("055", "other")


def test_inbound_route_by_line_and_caller() -> None:
    conf = config(inbound=[InboundRoute(to="hangup", lines=["2"], caller="139"), InboundRoute(to="menu/main")])
    routing = Routing(conf, EMERGENCY)
    assert [routing.inbound(line, number).to for line, number in (("line/2", "1391"), ("line/2", "138"), ("line/1", "139"))] == [  # type: ignore[union-attr]
        "hangup", "menu/main", "menu/main",
    ]  # fmt: skip


def test_lines_of_a_group_without_the_disabled() -> None:
    lines = {"10": FxoLine(), "2": FxoLine(group="other"), "1": FxoLine(), "3": FxoLine(enabled=False)}
    routing = Routing(config(ports=Ports(fxo=lines)), EMERGENCY)
    assert routing.lines("pstn") == ["line/1", "line/10"]
    assert routing.lines(None) == ["line/1", "line/2", "line/10"]


def test_access_code_before_an_emergency_number_is_taken_off() -> None:
    routes = [OutboundRoute(prefix="0")]
    assert emergency_number("0112", {"112"}, routes) == "112"
    assert emergency_number("9112", {"112"}, routes) == ""


def test_victim_is_the_least_important_then_the_youngest_never_an_emergency() -> None:
    calls = [LocalCall("line/1", "C1", 6, 10, False), LocalCall("line/2", "C2", 3, 10, False), LocalCall("line/3", "C3", 3, 20, False)]
    assert victim(calls) == calls[2]
    assert victim([LocalCall("line/1", "C1", 0, 10, True)]) is None


@pytest.mark.parametrize(("hour", "minute", "prompt"), [
    (0, 0, "greet.morning"), (11, 59, "greet.morning"), (12, 0, "greet.afternoon"), (18, 0, "greet.evening"), (23, 59, "greet.evening"),
])  # fmt: skip
def test_boundary_belongs_to_the_later_day_part(hour: int, minute: int, prompt: str) -> None:
    assert greeting(config().day_parts, LocalTime(2026, 1, 1, hour, minute)) == prompt


def test_before_the_first_part_the_last_goes_on() -> None:
    assert greeting([DayPart(start="08:30", greeting="greet.day"), DayPart(start="17:00", greeting="greet.evening")],
                    LocalTime(2026, 1, 1, 3, 0)) == "greet.evening"  # fmt: skip


AGENTS = [Candidate("a", 30, 3, 5, 0), Candidate("b", 10, 2, 9, 1), Candidate("c", 20, 1, 1, 2)]


@pytest.mark.parametrize(("strategy", "rung"), [
    ("longest-idle", ["b"]), ("round-robin", ["c"]), ("fewest-calls", ["c"]), ("linear", ["a"]), ("ring-all", ["a", "b", "c"]),
])  # fmt: skip
def test_strategy_rings(strategy: str, rung: list[str]) -> None:
    made = offers(strategy, [Waiting("C1", 0, 1)], AGENTS, 100)
    assert made == [Offer("C1", agent) for agent in rung]


@pytest.mark.parametrize("strategy", sorted(ORDER))
def test_callers_are_served_in_order_and_agents_offered_once(strategy: str) -> None:
    waiting = [Waiting(f"C{n}", n, n) for n in range(5)]
    made = offers(strategy, waiting, AGENTS, 100)
    assert len({one.agent for one in made}) == len(made) == 3
    assert [one.contact for one in made] == (["C0"] * 3 if strategy == "ring-all" else ["C0", "C1", "C2"])


def test_agent_who_missed_comes_last_for_the_same_caller() -> None:
    assert offers("linear", [Waiting("C1", 0, 1, tried=["a"])], AGENTS, 100) == [Offer("C1", "b")]
    assert offers("linear", [Waiting("C1", 0, 1, tried=["a"])], AGENTS[:1], 100) == [Offer("C1", "a")]


def floor() -> Floor:
    return Floor(config(queues={"sales": Queue(), "service": Queue()}), lambda endpoint: False, lambda event: None)


def test_agent_moves_to_another_phone_and_the_phone_has_one_agent() -> None:
    one = floor()
    assert one.log_in("8001", "201", 0)
    assert one.log_in("8001", "202", 1)
    assert one.on_phone("201") is None
    assert one.log_in("8002", "202", 2)
    assert one.agent("8001").status is Status.LOGGED_OUT


def test_pause_wished_in_a_call_comes_after_the_wrap_up() -> None:
    one = floor()
    one.log_in("8001", "201", 0)
    one.offered("8001", "C1", "sales", 1)
    one.answered("8001", 2)
    one.pause("8001", "3", 3)
    assert one.agent("8001").status is Status.TALKING
    one.released("8001", 4)
    assert one.agent("8001").status is Status.WRAP_UP
    one.expire(10_004)
    assert (one.agent("8001").status, one.agent("8001").reason) == (Status.PAUSED, "3")


def test_agent_in_a_call_cannot_be_taken_to_another_phone() -> None:
    one = floor()
    one.log_in("8001", "201", 0)
    one.offered("8001", "C1", "sales", 1)
    assert not one.log_in("8001", "202", 2)
    assert not one.log_in("8002", "201", 2)


def test_returning_caller_takes_the_old_place() -> None:
    one = floor()
    for contact, since in (("C1", 10), ("C2", 20), ("C3", 30)):
        one.join("sales", Waiting(contact, since, 0), since)
    one.leave("C1", 40)
    one.join("sales", Waiting("C1", 10, 0), 50)
    assert [entry.contact for entry in one.waiting("sales")] == ["C1", "C2", "C3"]


def test_tables_are_whole() -> None:
    import firmware.call.switchboard  # noqa: F401  (registers the phases)

    assert set(PHASE_MOVES) == set(Phase)
    assert set(PHASES) == set(Phase) - {Phase.ENDED}
    assert set(AGENT_MOVES) == set(Status)
    assert len({rule.id for rule in RULES.values()}) == len(RULES)
    for start in Phase:
        seen, todo = {start}, [start]
        while todo:
            for to in PHASE_MOVES[todo.pop()] - seen:
                seen.add(to)
                todo.append(to)
        assert Phase.ENDED in seen
