"""The judge of the soak finds what is wrong in a record, and nothing in a right one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from firmware.sim.soak_check import excused, judge, unseen
from firmware.sim.soak_plan import STREAMS, draw

BASE = 1_767_225_600_000


def _inbound() -> tuple[dict[str, Any], dict[str, Any]]:
    """A caller on line 2 who talks to telephone 2 and leaves first, by polarity."""
    note = {
        "ident": 1, "stream": 2, "kind": "in-talk", "number": "13000000001", "far_first": True, "pulse": False, "caller_id": "fsk",
        "started": 10_000, "ended": 26_000, "release": "polarity+busy", "unfinished": False,
        "people": [
            {"kind": "caller", "number": "13000000001", "started": 10_010, "rings": 2, "answered": 17_000, "ended": 25_000,
             "ended_by": "me", "outcome": "answered"},
            {"kind": "phone", "number": "2", "started": 14_000, "rings": 1, "answered": 16_900, "ended": 25_300, "ended_by": "far",
             "outcome": "answered"},
        ],
        "calls": [{"direction": "in", "line": 2, "number": "13000000001", "started": 10_010, "identified": 11_500, "answered": 17_000,
                   "ended": 25_000, "ended_by": "far", "outcome": "answered", "digits": ""}],
    }  # fmt: skip
    record = {
        "id": "C1", "kind": "inbound", "opened_ms": BASE + 10_020, "answered_ms": BASE + 17_050, "connected_ms": BASE + 17_050,
        "ended_ms": BASE + 25_100, "caller": "13000000001", "called": "", "line": "line/2", "extension": "", "cause": "normal",
        "evidence": "polarity", "evidence_detail": "", "first_to_leave": "caller",
    }  # fmt: skip
    return note, record


def _outbound(kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Telephone 1 calls out over line 3; busy, or an answer that the telephone ends."""
    talk = kind == "out-talk"
    note = {
        "ident": 2, "stream": 1, "kind": kind, "number": "13000000002", "far_first": False, "pulse": False, "caller_id": "none",
        "started": 50_000, "ended": 75_000, "release": "busy", "unfinished": False,
        "people": [{"kind": "phone", "number": "913000000002", "started": 50_000, "rings": 0, "answered": 52_000,
                    "ended": 74_000 if talk else 66_000, "ended_by": "me" if talk else "far", "outcome": "answered"}],
        "calls": [{"direction": "out", "line": 3, "number": "13000000002", "started": 56_000, "identified": -1,
                   "answered": 60_000 if talk else -1, "ended": 75_200 if talk else 60_000, "ended_by": "box" if talk else "exchange",
                   "outcome": "", "digits": "13000000002"}],
    }  # fmt: skip
    record = {
        "id": "C2", "kind": "outbound", "opened_ms": BASE + 55_990, "answered_ms": BASE + 61_000 if talk else None,
        "connected_ms": BASE + 61_000 if talk else None, "ended_ms": BASE + (74_800 if talk else 66_600), "caller": "101",
        "called": "913000000002", "line": "line/3", "extension": "101", "cause": "normal" if talk else "busy", "evidence": "on-hook",
        "evidence_detail": "", "first_to_leave": "caller" if talk else "system",
    }  # fmt: skip
    return note, record


@pytest.mark.parametrize("make", [_inbound, lambda: _outbound("out-talk"), lambda: _outbound("out-busy")])
def test_a_right_record_is_right(make: Any) -> None:
    note, record = make()
    assert judge([note], [record], BASE) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"caller": "13000000009"}, "caller is"),
        ({"cause": "line-fault"}, "cause is"),
        ({"ended_ms": BASE + 28_000}, "the end is"),
        ({"answered_ms": BASE + 19_000}, "the answer is"),
        ({"first_to_leave": "agent"}, "first to leave"),
        ({"ended_ms": None}, "is not closed"),
        ({"line": "line/3"}, "left no record"),
    ],
)
def test_each_wrong_field_is_found(change: dict[str, Any], words: str) -> None:
    note, record = _inbound()
    found = judge([note], [record | change], BASE)
    assert any(words in text for text in found), found


def test_a_line_released_without_reason_is_found() -> None:
    note, record = _inbound()
    note["calls"][0].update(ended=20_000, ended_by="box")
    note["people"][0].update(ended=20_000, ended_by="far")
    note["people"][1].update(ended=21_000, ended_by="far")
    record["ended_ms"] = BASE + 20_000
    assert any("although nobody had left" in text for text in judge([note], [record], BASE))


@pytest.mark.parametrize(("listened", "right"), [(10, False), (700, False), (720, True)])
def test_nobody_mishears_a_busy_tone_without_listening(listened: int, right: bool) -> None:
    note, record = _inbound()
    note["calls"][0].update(ended=19_000, ended_by="box")
    note["people"][0].update(ended=19_000, ended_by="far")
    note["people"][1].update(answered=16_900, ended=16_900 + listened, ended_by="far")
    ended = {"ended_ms": BASE + 16_900 + listened + 700, "first_to_leave": "agent", "evidence": "on-hook"}
    found = judge([note], [record | ended], BASE)
    assert (found == []) is right and (right or any("although nobody had left" in text for text in found)), found


def test_wrong_causes_and_numbers_of_calls_outwards_are_found() -> None:
    note, record = _outbound("out-busy")
    assert any("cause" in text for text in judge([note], [record | {"cause": "congestion"}], BASE))
    wrong = copy.deepcopy(note)
    wrong["calls"][0]["digits"] = "1300000000"
    assert any("number dialled" in text for text in judge([wrong], [record], BASE))
    assert any("belongs to no call" in text for text in judge([note], [record, record | {"id": "C3"}], BASE))


def test_who_was_answered_before_the_caller_id_was_sent_has_none() -> None:
    note, record = _inbound()
    note["calls"][0]["identified"] = -1
    assert any("caller is" in text for text in judge([note], [record], BASE))
    assert judge([note], [record | {"caller": ""}], BASE) == []


@pytest.mark.parametrize(("answered", "right"), [(10_130, True), (10_150, False)])
def test_seizure_within_the_first_half_wave_of_a_ring_is_nobodys_fault(answered: int, right: bool) -> None:
    note, _ = _inbound()
    note["calls"][0].update(identified=-1, answered=answered, ended=16_000, ended_by="box")
    note["people"][0].update(answered=answered, ended=16_000, ended_by="far")
    assert (judge([note], [], BASE) == []) is right
    assert unseen(note) is right


def test_caller_of_a_seized_line_is_answered_when_somebody_is_there() -> None:
    note, record = _inbound()
    note["calls"][0].update(identified=-1, answered=10_170)
    note["people"][0].update(answered=10_170)
    taken = record | {"caller": "", "answered_ms": BASE + 16_950, "connected_ms": BASE + 16_950}
    assert judge([note], [taken], BASE) == []
    assert any("the answer" in text for text in judge([note], [taken | {"answered_ms": BASE + 10_200}], BASE))


@pytest.mark.parametrize(("mended", "caller", "right"), [(-40_000, "", True), (-40_000, "13000000009", False), (-60_000, "", False)])
def test_a_line_out_of_service_hears_no_caller_id(mended: int, caller: str, right: bool) -> None:
    note, record = _inbound()
    note["fault"] = {"place": "fxo", "kind": "hook-open", "from": mended - 5000, "to": mended, "ports": ["fxo/2"]}
    found = judge([note, *_others()], [record | {"caller": caller}], BASE)
    assert (found == []) is right and all("caller is" in text for text in found)


@pytest.mark.parametrize(("rang", "free", "right"), [(66_400, [], True), (60_000, [], False), (66_400, [(4, 40_000, 70_000)], False)])
def test_a_call_may_end_by_glare_on_the_last_line(rang: int, free: list[tuple[int, int, int]], right: bool) -> None:
    note, record = _outbound("out-no-answer")
    note.update(calls=[], free=free)
    other = _others()[0]
    call = {"direction": "in", "line": 3, "number": "1", "started": rang, "rang": rang, "identified": -1, "answered": -1, "ended": rang + 1}
    other["calls"] = [call]
    assert (judge([note, other], [record | {"cause": "congestion"}], BASE) == []) is right


def test_pulses_are_excused_by_trouble_of_their_chain() -> None:
    note, _ = _outbound("out-busy")
    slip = {"place": "chain", "kind": "slip", "from": 51_000, "to": 51_300, "ports": ["fxs/1"]}
    other = _others()[0] | {"fault": slip}
    assert judge([note | {"calls": [], "free": []}, other, *_others()], [], BASE) != []
    assert judge([note | {"calls": [], "free": [], "pulse": True}, other, *_others()], [], BASE) == []


@pytest.mark.parametrize(("port", "kind", "right"), [("fxo/3", "noise", True), ("fxo/1", "noise", False), ("fxo/3", "false-ring", False)])
def test_noise_on_its_line_may_be_taken_for_an_answer(port: str, kind: str, right: bool) -> None:
    note, record = _outbound("out-no-answer")
    note["calls"][0].update(ended=75_200, ended_by="box")
    note["people"][0].update(ended=74_000, ended_by="me")
    note["fault"] = {"place": "line", "kind": kind, "from": 62_000, "to": 70_000, "ports": [port]}
    heard = {"cause": "normal", "connected_ms": BASE + 65_000, "ended_ms": BASE + 74_800, "first_to_leave": "caller"}
    assert (judge([note], [record | heard], BASE) == []) is right
    assert judge([note], [record | {"cause": "cancelled", "ended_ms": BASE + 74_800}], BASE) == []
    note["fault"] = {"place": "board", "kind": "stall", "from": 64_000, "to": 64_200, "ports": [port]}
    assert (judge([note], [record | heard], BASE) == []) is (port == "fxo/3"), "a gap in the ringback"


@pytest.mark.parametrize(("kind", "left", "right"), [("stall", 69_000, True), ("stall", 71_000, False), ("false-ring", 69_000, False)])
def test_a_gap_in_a_refusal_tone_makes_everybody_count_anew(kind: str, left: int, right: bool) -> None:
    note, record = _outbound("out-congestion")
    note["people"][0].update(ended=left, ended_by="me")
    note["fault"] = {"place": "board" if kind == "stall" else "line", "kind": kind, "from": 62_000, "to": 62_200, "ports": ["fxo/3"]}
    found = judge([note], [record | {"cause": "cancelled", "ended_ms": BASE + left + 700}], BASE)
    assert (found == []) is right and all("cause is 'cancelled'" in text for text in found), found


@pytest.mark.parametrize(("late", "right"), [(9_800, True), (10_400, False)])
def test_an_answer_that_only_a_voice_tells_has_its_limit(late: int, right: bool) -> None:
    note, record = _outbound("out-talk")
    note["people"][0]["ended"] = 74_000
    found = judge([note], [record | {"connected_ms": BASE + 60_000 + late}], BASE)
    assert (found == []) is right and all("the answer is" in text for text in found), found


@pytest.mark.parametrize(("at", "excuses"), [(51_000, True), (57_000, True), (63_000, False), (40_000, False)])
def test_keys_that_a_stall_swallowed_excuse_a_call(at: int, excuses: bool) -> None:
    note, record = _outbound("out-talk")
    note["calls"][0]["digits"] = "1300000002"
    ports = [f"{kind}/{n}" for kind in ("fxo", "fxs") for n in range(1, STREAMS + 1)]
    other = _others()[0] | {"fault": {"place": "board", "kind": "stall", "from": at, "to": at + 200, "ports": ports}}
    found = judge([note, other, *_others()], [record | {"called": "91300000002"}], BASE)
    assert (found == []) is excuses, found
    assert excused([note, other], [record], BASE) == excuses


@pytest.mark.parametrize(
    ("evidence", "put_down", "right"), [("on-hook", 62_500, True), ("on-hook", 66_500, False), ("busy-tone", 62_500, False)]
)
def test_who_put_the_handset_down_at_the_first_busy_tones_may_have_left_first(evidence: str, put_down: int, right: bool) -> None:
    note, record = _outbound("out-talk")
    note["calls"][0].update(ended=61_000, ended_by="far")
    note["people"][0].update(ended=put_down, ended_by="far")
    found = judge([note], [record | {"ended_ms": BASE + 63_000, "evidence": evidence, "first_to_leave": "caller"}], BASE)
    assert (found == []) is right and all("first to leave" in text for text in found)


@pytest.mark.parametrize(("kind", "right"), [("hum", True), ("noise", False)])
def test_a_reversal_is_seen_when_the_hum_on_its_line_is_over(kind: str, right: bool) -> None:
    note, record = _inbound()
    note["fault"] = {"place": "line", "kind": kind, "from": 20_000, "to": 27_000, "ports": ["fxo/2"]}
    found = judge([note], [record | {"ended_ms": BASE + 27_100}], BASE)
    assert (found == []) is right and all("the end is" in text for text in found)
    assert judge([note], [record | {"ended_ms": BASE + 28_500}], BASE)


def test_a_fault_excuses_its_ports_only() -> None:
    note, record = _inbound()
    bad = record | {"cause": "line-fault", "ended_ms": BASE + 20_000}
    fault = {"place": "fxo", "kind": "reset", "from": 15_000, "to": 16_000}
    note["fault"] = fault | {"ports": ["fxo/2"]}
    assert judge([note, *_others()], [bad], BASE) == []
    note["fault"] = fault | {"ports": ["fxo/4"]}
    assert judge([note, *_others()], [bad], BASE)
    note["fault"] = {"place": "chain", "kind": "int-stuck", "from": 15_000, "to": 16_000, "ports": ["fxo/2"]}
    assert judge([note, *_others()], [bad], BASE), "a harmless fault excuses nothing"
    assert excused([note], [record], BASE) == 0


def _others() -> list[dict[str, Any]]:
    """Calls that nothing struck, refused by the exchange: a soak in which most are excused is no judgement."""
    note = _inbound()[0]
    busy = note["people"][0] | {"outcome": "busy", "answered": -1}
    return [note | {"started": 500_000, "ended": 500_050, "calls": [], "people": [busy]} for _ in range(2)]


def test_a_plan_is_the_same_for_a_seed_and_has_what_a_soak_needs(seed: int) -> None:
    streams = draw(seed, 400, True)
    assert streams == draw(seed, 400, True)
    calls = [call for stream in streams for call in stream]
    assert len(streams) == STREAMS
    assert len(calls) == 400
    assert len({call.number for call in calls if call.kind != "internal"}) == sum(call.kind != "internal" for call in calls)
    assert 0.1 < sum(call.fault is not None for call in calls) / len(calls) < 0.4
    assert {"in-talk", "in-abandoned", "out-talk", "out-busy", "internal"} <= {call.kind for call in calls}
    schemes = [{call.caller_id for call in stream} for stream in streams]
    assert all("none" in found and len(found) == 2 for found in schemes), "one scheme a line"
    assert all(call.fault is None for stream in draw(seed, 400, False) for call in stream)
