"""Counting, figures, pages in both languages, CSV, charts, exports and the board, from records made by hand."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from typing import Any

import msgspec
import pytest

from firmware.control.report_commands import Board, BoardAgent, BoardQueue
from firmware.reports import asterisk
from firmware.reports import figures as fig
from firmware.reports.board import board_page
from firmware.reports.chart import charts
from firmware.reports.columns import table, width
from firmware.reports.journey import journey
from firmware.reports.page import Report, as_csv, only, page
from firmware.reports.tally import Limits, Span, Tally, count, end_of_ring, unmet
from firmware.reports.texts import CAUSES, DEFINITIONS, LANGUAGES, MORE_DEFINITIONS, TEXTS

HOUR = 3_600_000
LIMITS = Limits()


def contact(name: str, opened: int, **facts: Any) -> dict[str, Any]:
    row = {
        "id": name, "kind": "inbound", "opened_ms": opened, "answered_ms": opened + 6000, "connected_ms": None, "ended_ms": opened + 60_000,
        "caller": f"139{name}", "caller_name": "", "caller_reason": "", "called": "", "line": "line/1", "extension": "", "queue": "sales",
        "agent": "", "agents": "", "rings": 2, "ring_ms": 6000, "seat_alert_ms": 0, "wait_ms": 0, "talk_ms": 0, "rating": 0,
        "cause": "normal", "evidence": "busy-tone", "evidence_detail": "", "confidence": 0.9, "first_to_leave": "caller", "linked": "",
    }  # fmt: skip
    return row | facts


def line(seq: int, at: int, name: str, event: str, *data: object, queue: str = "sales", agent: str = "") -> dict[str, Any]:
    return {"seq": seq, "at_ms": at, "contact": name, "queue": queue, "agent": agent, "event": event, "data": "|".join(map(str, data))}


def leg(name: str, of: str, endpoint: str, role: str, started: int, answered: int | None, ended: int, **facts: Any) -> dict[str, Any]:
    row = {
        "id": name, "contact": of, "kind": "sip", "endpoint": endpoint, "role": role, "incoming": role == "caller", "agent": "",
        "started_ms": started, "ringing_ms": started, "answered_ms": answered, "ended_ms": ended,
        "cause": "normal", "mos": None, "by_far": False, "evidence": "",
    }  # fmt: skip
    return row | facts


def state(at: int, agent: str, status: str, *, reason: str = "", queue: str = "") -> dict[str, Any]:
    return {"at_ms": at, "agent": agent, "status": status, "reason": reason, "queue": queue, "extension": "201", "contact": ""}


@pytest.fixture
def span() -> Span:
    """An hour: one answered late, one who gave up, a short one, one whose line was pulled, one who overflowed, one who never got in."""
    t = 10 * HOUR
    contacts = [
        contact("A", t, connected_ms=t + 40_000, talk_ms=100_000, wait_ms=30_000, seat_alert_ms=4000, agent="8001", agents="8001", rating=1,
                ended_ms=t + 140_000),
        contact("B", t + 1000, cause="abandoned"),
        contact("C", t + 2000, cause="abandoned"),
        contact("D", t + 3000, cause="line-fault", first_to_leave="unknown"),
        contact("E", t + 4000, cause="timeout"),
        contact("F", t + 5000, cause="congestion"),
        contact("G", t + 6000, answered_ms=None, queue="", cause="abandoned", ring_ms=5300, rings=1),
        contact("H", t + 7000, kind="feature", queue="", line=""),
    ]  # fmt: skip
    log = [
        line(1, t + 10_000, "A", "ENTERQUEUE", "139A"), line(2, t + 11_000, "B", "ENTERQUEUE", "139B"),
        line(3, t + 12_000, "C", "ENTERQUEUE", "139C"), line(4, t + 13_000, "D", "ENTERQUEUE", "139D"),
        line(5, t + 14_000, "E", "ENTERQUEUE", "139E"), line(6, t + 15_000, "F", "ENTERQUEUE", "139F"),
        line(7, t + 15_000, "F", "EXITFULL", 0), line(8, t + 16_500, "C", "ABANDON", 3, 4500),
        line(9, t + 20_000, "A", "RINGNOANSWER", 5000, agent="8002"),
        line(10, t + 40_000, "A", "CONNECT", 30_000, 4000, agent="8001"), line(11, t + 45_000, "B", "ABANDON", 1, 34_000),
        line(12, t + 50_000, "D", "ABANDON", 1, 37_000), line(13, t + 54_000, "E", "EXITWITHTIMEOUT", 40_000),
        line(14, t + 54_000, "E", "ENTERQUEUE", "139E", queue="service"),
        line(15, t + 55_000, "E", "ABANDON", 1, 41_000, queue="service"),
        line(16, t + 140_000, "A", "COMPLETECALLER", 100_000, agent="8001"),
    ]  # fmt: skip
    legs = [
        leg("L1", "A", "line/1", "caller", t, t + 6000, t + 140_000, kind="fxo"),
        leg("L2", "A", "201", "agent", t + 36_000, t + 40_000, t + 140_000, agent="8001", mos=4.1),
        leg("L3", "A", "202", "agent", t + 15_000, None, t + 20_000, agent="8002", cause="no-answer"),
    ]
    states = [
        state(t - HOUR, "8001", "ready"), state(t + 36_000, "8001", "offered", queue="sales"),
        state(t + 40_000, "8001", "talking", queue="sales"), state(t + 140_000, "8001", "wrap-up", queue="sales"),
        state(t + 150_000, "8001", "ready"), state(t + 160_000, "8001", "paused", reason="2"), state(t + 200_000, "8001", "logged-out"),
    ]  # fmt: skip
    return Span(t, t + HOUR, contacts, legs, log, states)


@pytest.fixture
def tally(span: Span) -> Tally:
    return count(span, lambda at: at // HOUR % 24, LIMITS)


def report(tally: Tally, **facts: Any) -> Report:
    return Report("Demo Branch", "day", "2026-03-02", tally, LIMITS, fig.Plan(), **facts)


def test_one_caller_is_one_contact_and_each_queue_counts_its_visit(tally: Tally) -> None:
    sales, service = fig.queues(tally)
    assert (sales.offered, sales.answered, sales.abandoned, sales.short, sales.timed_out, sales.full, sales.cut) == (6, 1, 2, 1, 1, 1, 1)
    assert (service.offered, service.abandoned, service.answered) == (1, 1, 0)
    assert fig.branch(tally).inbound == 7 and fig.branch(tally).contacts == 7, "feature codes are no contacts of callers"


def test_the_metrics_are_those_that_are_printed(tally: Tally) -> None:
    sales = fig.queue(tally, "queue/sales", "sales")
    assert sales.asa_s == 30.0 and sales.longest_s == 40.0
    assert sales.service_level == 0 / 5 and sales.service_answered == 0.0 and sales.abandon_rate == 2 / 6
    assert sales.aht_s == 110.0, "100 s of conversation and 10 s of notes"
    agent = fig.agents(tally)[0]
    assert (agent.talk_s, agent.wrap_s, agent.paused_s, agent.reasons) == (100.0, 10.0, 40.0, {"2": 40.0})
    assert agent.ready_s == 36 + 4 + 10, "ringing counts as ready"
    assert agent.occupancy == pytest.approx(110 / 160)
    assert [(one.agent, one.offers, one.answered, one.missed) for one in fig.agents(tally)] == [("8001", 1, 1, 0), ("8002", 1, 0, 1)]


def test_an_answer_that_came_to_nothing_is_no_answer() -> None:
    """A: the first agent is gone at once, the second talks. B: the caller is gone while the number is said. C: power cut then.
    D: media lost then, the agent's telephone first. E goes on, in a conversation. Each line as `call/waiting.py` writes it."""
    met = {"connected_ms": 20_000, "talk_ms": 5000}
    contacts = [
        contact("A", 0, **met), contact("B", 0, cause="abandoned"), contact("C", 0, cause="system"), contact("D", 0, cause="media-lost"),
        contact("E", 0, ended_ms=None),
    ]
    log = [
        *(line(at, 1000, name, "ENTERQUEUE", name) for at, name in enumerate("ABCDE")),
        line(10, 4000, "A", "CONNECT", 3000, 2000, agent="8001"), line(11, 5000, "A", "AGENTDUMP", "normal", 1000, agent="8001"),
        line(12, 9000, "A", "CONNECT", 8000, 2000, agent="8002"), line(13, 14_000, "A", "COMPLETECALLER", 5000, agent="8002"),
        line(14, 9000, "B", "CONNECT", 8000, 2000, agent="8003"), line(15, 10_000, "B", "ABANDON", 1, 9000),
        line(16, 9000, "C", "CONNECT", 8000, 2000, agent="8001"),
        line(17, 9000, "D", "CONNECT", 8000, 2000, agent="8004"), line(18, 9500, "D", "AGENTDUMP", "media-lost", 500, agent="8004"),
        line(19, 9500, "D", "ABANDON", 1, 8500), line(20, 9000, "E", "CONNECT", 8000, 2000, agent="8005"),
    ]  # fmt: skip
    whose = {"A": {"8001": 4000, "8002": 9000}, "B": {"8003": 9000}, "C": {"8001": 9000}, "D": {"8004": 9000}, "E": {"8005": 9000}}
    legs = [
        leg(f"{name}{agent}", name, "201", "agent", at - 2000, at, at + 1000, agent=agent)
        for name, agents in whose.items() for agent, at in agents.items()
    ]  # fmt: skip
    legs[-1]["ended_ms"] = None
    found = count(Span(0, HOUR, contacts, legs, log, []), lambda at: 0, LIMITS)
    queue = fig.queue(found, "queue/sales", "sales")
    assert (queue.offered, queue.answered, queue.abandoned, queue.cut) == (5, 2, 1, 2) and queue.asa_s == 8.0 and queue.left_after_s == 9.0
    people = [(one.agent, one.offers, one.answered, one.dropped) for one in fig.agents(found)]
    assert people == [("8001", 2, 0, 1), ("8002", 1, 1, 0), ("8003", 1, 0, 0), ("8004", 1, 0, 0), ("8005", 1, 1, 0)]
    exported = [text.split("|") for text in asterisk.queue_log(log, legs, [], unmet(contacts))]
    of = {name: [text[4:] for text in exported if text[1] == name][1:] for name in whose}
    assert of["A"] == [["AGENTDUMP", ""], ["CONNECT", "8", "A8002", "2"], ["COMPLETECALLER", "8", "5", "1"]]
    assert of["B"] == [["ABANDON", "1", "2", "9"]] and of["C"] == [] and [text[0] for text in of["D"]] == ["AGENTDUMP", "ABANDON"]
    assert [text[0] for text in of["E"]] == ["CONNECT"]


def test_an_agent_whose_second_answer_lost_its_leg_has_not_answered_with_the_first() -> None:
    """Answered and gone; answered again, and the power was cut in that conversation: its leg is in no record."""
    log = [
        line(0, 1000, "A", "ENTERQUEUE", "A"), line(1, 4000, "A", "CONNECT", 3000, 2000, agent="8001"),
        line(2, 4500, "A", "AGENTDUMP", "normal", 500, agent="8001"), line(3, 9000, "A", "CONNECT", 8000, 2000, agent="8001"),
    ]  # fmt: skip
    legs = [leg("L1", "A", "201", "agent", 2000, 4000, 4500, agent="8001")]
    found = count(Span(0, HOUR, [contact("A", 0, connected_ms=10_500, cause="system")], legs, log, []), lambda at: 0, LIMITS)
    assert [(one.offers, one.answered, one.dropped) for one in fig.agents(found)] == [(1, 0, 1)]
    legs.append(leg("L2", "A", "201", "agent", 7000, 9000, 20_000, agent="8001"))
    found = count(Span(0, HOUR, [contact("A", 0, connected_ms=10_500)], legs, log, []), lambda at: 0, LIMITS)
    assert [(one.offers, one.answered, one.dropped) for one in fig.agents(found)] == [(2, 1, 1)]


def test_rings_are_counted_by_the_countrys_cadence(tally: Tally) -> None:
    assert end_of_ring(3, LIMITS) == 11_000
    assert end_of_ring(3, Limits(ring_ms=3000, burst_ms=1000)) == 7000, "Britain: 0.4 0.2 0.4 2.0"
    assert fig.branch(tally).in_time == 1.0
    assert tally.sums["missed-ring"] == {"2": 1}
    assert fig.left_by_second(tally, "sales") == {4: 1, 34: 1}
    late = count(Span(0, HOUR, [contact("A", 0, ring_ms=11_001)], [], [], []), lambda at: 0, LIMITS)
    assert fig.branch(late).in_time == 0.0


def test_who_hung_up_first_stays_unknown_without_proof(span: Span) -> None:
    span.contacts[0]["first_to_leave"] = "unknown"
    assert fig.first_to_leave(count(span, lambda at: 10, LIMITS)) == [("unknown", "busy-tone", 1)]


def test_an_agent_who_leaves_first_is_proved_by_his_own_leg(span: Span) -> None:
    span.contacts[0].update(first_to_leave="agent", evidence="")
    span.legs[1].update(by_far=True, evidence="bye")
    assert fig.first_to_leave(count(span, lambda at: 10, LIMITS)) == [("agent", "bye", 1)]


def test_tallies_add_up(tally: Tally, span: Span) -> None:
    twice = Tally()
    twice.merge(tally)
    twice.merge(count(span, lambda at: 10, LIMITS))
    assert twice.get("queue/sales", "offered") == 12 and twice.peaks["queue/sales"]["wait_ms"] == 40_000


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_has_every_section_and_definition_and_fits(tally: Tally, language: str) -> None:
    at = LANGUAGES.index(language)
    lines = page(report(tally), language)
    whole = "\n".join(lines)
    for title in ("branch", "queues", "agents", "pauses", "hours", "lines", "rings", "left", "first", "causes", "definitions"):
        assert TEXTS[f"section.{title}"][at] in lines, title
    for one in DEFINITIONS:
        assert one[at] in whole
    assert "{" not in whole
    assert max(width(text) for text in lines) <= 78


def test_columns_of_chinese_names_stand_under_each_other() -> None:
    lines = table(["队列", "n"], [["销售", "1"], ["service", "22"]])
    assert len({width(text) for text in lines}) == 1
    assert lines[2] == "销售      1"


@pytest.mark.parametrize("language", LANGUAGES)
def test_how_people_spoke_is_told_by_queue_and_where_people_may_be_shown_by_agent(span: Span, language: str) -> None:
    at = LANGUAGES.index(language)
    one = {"agent": "8001", "queue": "sales", "joined_ms": 60_000, "first_ms": 700, "interruptions": 2, "dead": 1, "dead_ms": 16_500,
           "agent_ms": 10_000, "caller_ms": 30_000, "agent_dbm0": -21.0, "caller_dbm0": -30.0}  # fmt: skip
    mute = one | {"first_ms": -1, "interruptions": 0, "dead": 0, "dead_ms": 0, "agent_ms": 0, "agent_dbm0": None, "queue": "service"}
    late = one | {"first_ms": 2300, "interruptions": 0, "dead": 0, "dead_ms": 0, "agent_dbm0": -25.0}
    span.told[:] = [{"contact": "A", "kind": "speech", "data": json.dumps(facts)} for facts in (one, mute, late)]
    found = count(span, lambda at: 10, LIMITS)
    (agent,), (sales, service) = fig.speech(found, "agent"), fig.speech(found, "queue")
    assert (agent.measured, agent.late, agent.interruptions, agent.dead, agent.dead_longest_s) == (3, 1, 2, 1, 16.5)
    assert agent.first_s == 1.5 and agent.share == 20 / 110 and agent.agent_dbm0 == -23.0 and agent.caller_dbm0 == -30.0
    assert (sales.measured, service.first_s, service.agent_dbm0) == (2, None, None)
    lines = page(report(found), language)
    section = lines[lines.index(TEXTS["section.speech"][at]) :]
    assert section[3].split() == ["sales", "2", "1.5s", "1", "2", "1", "16.5s", "25.0%", "-23", "-30"] and section[8].startswith("8001")
    assert max(width(text) for text in lines) <= 78
    assert all(one[1 + at] in "\n".join(lines) for one in MORE_DEFINITIONS if one[0] == "speech")
    hidden = page(report(found, people=False), language)
    assert TEXTS["section.speech"][at] in hidden and not any(text.startswith("8001") for text in hidden)
    assert "speech-agent" in as_csv(report(found)) and "speech-agent" not in as_csv(report(found, people=False))
    assert fig.speech(only(found, "service"), "queue") == [service] and not fig.speech(only(found, "service"), "agent")
    assert TEXTS["section.speech"][at] not in page(report(count(msgspec.structs.replace(span, told=[]), lambda at: 10, LIMITS)), language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_ratings_and_callbacks_are_told_question_by_question_and_request_by_request(span: Span, language: str) -> None:
    def told(contact: str, kind: str, **facts: object) -> dict[str, str]:
        return {"contact": contact, "kind": kind, "data": json.dumps(facts)}

    span.told[:] = [
        told("A", "rating", rating=1, agent="8001", question="ten"), told("A", "rating", rating=2, agent="8001", question="solved"),
        told("B", "rating", rating=1, agent="8002", question="three"), told("C", "rating", rating=10, agent="8001", question="ten"),
        told("B", "callback", request="cb:1"), told("C", "callback", request="cb:1"), told("D", "callback", request="cb:2"),
        told("E", "callback", request="cb:3"), told("B", "callback-over", request="cb:1", why="reached", promise="kept", tries=1),
        told("D", "callback-over", request="cb:2", why="tried", promise="broken", tries=3),
    ]
    found = count(span, lambda at: 10, LIMITS)
    (sales,) = fig.ratings(found, "queue")
    assert (sales.satisfied, sales.fair, sales.unsatisfied, sales.score, sales.scores) == (1, 0, 0, 5.5, 2)
    assert (sales.solved, sales.unsolved) == (0, 1)
    assert [(one.name, one.satisfied, one.score) for one in fig.ratings(found, "agent")] == [("8001", 0, 5.5), ("8002", 1, None)]
    (back,) = fig.callbacks(found)
    assert (back.asked, back.reached, back.lost, back.cancelled, back.kept, back.late) == (3, 1, 1, 0, 1, 1)
    at = LANGUAGES.index(language)
    lines = page(report(found), language)
    section = lines[lines.index(TEXTS["section.ratings"][at]) :]
    assert section[3].split() == ["sales", "1", "0", "0", "5.5", "(2)", "0", "1"] and section[7].startswith("8001")
    section = lines[lines.index(TEXTS["section.callbacks"][at]) :]
    assert section[3].split() == ["sales", "3", "1", "1", "0", "1", "1"]
    hidden = page(report(found, people=False), language)
    assert TEXTS["section.ratings"][at] in hidden and not any(text.startswith("8001") for text in hidden)
    assert "rating-agent,8001,score,5.5" in as_csv(report(found)) and "rating-agent" not in as_csv(report(found, people=False))
    assert max(width(text) for text in lines) <= 78


def test_figures_of_people_can_be_left_out(tally: Tally) -> None:
    whole = "\n".join(page(report(tally, people=False), "en"))
    assert "8001" not in whole and "switched off" in whole
    assert not any(row[0] in ("agent", "pause") for row in csv.reader(as_csv(report(tally, people=False)).splitlines()))


def test_a_report_of_one_queue_holds_nothing_of_others(tally: Tally) -> None:
    whole = "\n".join(page(report(only(tally, "service"), queue="service"), "en"))
    assert "sales" not in whole and "service" in whole


def test_csv_has_one_figure_a_row_and_no_formulas(tally: Tally) -> None:
    tally.add("cause", "=cmd()", 1)
    rows = [*csv.reader(as_csv(report(tally)).splitlines())]
    assert all(len(row) == 4 for row in rows)
    assert ["queue", "sales", "offered", "6"] in rows and ["left-at-second", "34", "number", "1"] in rows
    assert ["cause", "'=cmd()", "number", "1"] in rows
    assert sum(row[0] == "definition" for row in rows) == len(DEFINITIONS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_charts_are_well_formed_and_self_contained(tally: Tally, language: str) -> None:
    drawn = charts(report(tally), language)
    root = ET.fromstring(drawn)
    assert root.tag.endswith("svg") and len(root.findall(".//{*}rect")) > 5
    assert "href" not in drawn and "<script" not in drawn
    empty = ET.fromstring(charts(report(Tally()), language))
    assert empty.tag.endswith("svg")


def test_a_day_without_calls_says_so() -> None:
    assert "Nobody called." in page(report(Tally()), "en") and "没有来电。" in page(report(Tally()), "zh")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_journey_tells_legs_and_events(span: Span, language: str) -> None:
    events = [{"at_ms": 10 * HOUR, "kind": "menu", "data": '{"menu": "main", "language": "zh"}'}]
    lines = journey(span.contacts[0], [*span.legs], events, lambda at: f"{at // 1000}", language)
    whole = "\n".join(lines)
    assert "A" in lines[0] and "menu=main" in whole and "8001" in whole and "busy-tone (0.90)" in whole


def test_the_queue_log_is_asterisks(span: Span) -> None:
    lines = [text.split("|") for text in asterisk.queue_log(span.log, span.legs, span.states)]
    t = 36_000
    of_a = [text for text in lines if text[1] == "A"]
    assert of_a == [
        [str(t + 10), "A", "sales", "NONE", "ENTERQUEUE", "", "139A", "1"],
        [str(t + 20), "A", "sales", "Agent/8002", "RINGNOANSWER", "5000"],
        [str(t + 40), "A", "sales", "Agent/8001", "CONNECT", "30", "L2", "4"],
        [str(t + 140), "A", "sales", "Agent/8001", "COMPLETECALLER", "30", "100", "1"],
    ]
    assert [text[4:] for text in lines if text[1] == "C"] == [["ENTERQUEUE", "", "139C", "3"], ["ABANDON", "3", "3", "4"]]
    assert [text[4:] for text in lines if text[1] == "B"][1] == ["ABANDON", "1", "2", "34"]
    assert not [text for text in lines if text[1] == "F"], "a full queue was never joined"
    people = [text[3:] for text in lines if text[1] == "NONE"]
    assert people == [["Agent/8001", "ADDMEMBER", ""], ["Agent/8001", "PAUSEALL", "2"], ["Agent/8001", "UNPAUSEALL", ""],
                      ["Agent/8001", "REMOVEMEMBER", ""]]  # fmt: skip


def test_the_cdr_is_asterisks(span: Span) -> None:
    span.contacts[0]["caller_name"] = 'Mr "X"\n'
    lines = asterisk.cdr(span.contacts, span.legs, lambda at: f"T{at // 1000}")
    first = next(csv.reader([lines[0]]))
    assert first == ["", "139A", "sales", "inbound", '"Mr "X" " <139A>', "line/1-A", "201-L2", "Queue", "sales", "T36000", "T36040",
                     "T36140", "140", "100", "ANSWERED", "DOCUMENTATION", "A", "8001"]  # fmt: skip
    assert ',"T36001",,"T36061",60,0,"NO ANSWER",' in lines[1], "an answer that never was is empty, without quotation marks"
    assert len(lines) == 7 and '"FAILED"' in lines[3] and '"NO ANSWER"' in lines[5]


def board(**facts: Any) -> Board:
    queues = [
        BoardQueue("sales", 2, 95, 0, 1, 1, 40, 30, 5, 0.75, 12.0), BoardQueue("service", 0, 0, 1, 0, 0, 0, 0, 0, None, None),
    ]  # fmt: skip
    agents = [BoardAgent("8001", "talking", "", "sales", "201", 61, 12), BoardAgent("8002", "paused", "2", "", "202", 600, 3)]
    agents, step, emergencies = facts.get("agents", agents), facts.get("step", ""), facts.get("emergencies", [])
    return Board(1000, 1000, "Demo", 3, 2, 95, step, emergencies, queues, agents, 0.8)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_board_shows_who_waits_and_marks_what_is_below_its_aim(language: str) -> None:
    lines = board_page(board(step="EMG-02", emergencies=["101 110"]), "10:00:00", language)
    whole = "\n".join(lines)
    assert "75.0%!" in whole and "EMG-02" in whole and "101 110" in whole and "95.0s" in whole
    assert lines[1] == "=" * 78 and width(lines[0]) == 78 and max(width(text) for text in lines) <= 78
    assert "8001" in whole and TEXTS["state.talking"][LANGUAGES.index(language)] in whole
    assert TEXTS["board.nobody"][LANGUAGES.index(language)] in board_page(board(agents=[]), "10:00:00", language)


def test_every_text_is_there_in_both_languages() -> None:
    for name, texts in (*TEXTS.items(), *CAUSES.items()):
        assert len(texts) == 2 and all(texts), name
    from firmware.call.model import Cause

    assert {cause.value for cause in Cause} <= set(CAUSES)
