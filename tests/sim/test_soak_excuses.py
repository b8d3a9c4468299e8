"""What excuses a call of a soak is tied to the ports it used and to its time; nothing else excuses it."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.sim.soak_check import judge
from firmware.sim.soak_excuses import excuses, free_lines, made_by_fault, struck_ports, trouble_of

BASE = 1_767_225_600_000


def _fault(place: str, kind: str, since: int, until: int, *ports: str) -> dict[str, Any]:
    return {"place": place, "kind": kind, "from": since, "to": until, "ports": list(ports)}


def _call(kind: str = "out-talk", **more: Any) -> dict[str, Any]:
    """Telephone 1, from 100 s to 130 s; out over line 3."""
    calls = [{"direction": "out", "line": 3, "number": "5", "started": 105_000, "identified": -1, "answered": 110_000, "ended": 129_000}]
    return {"ident": 1, "stream": 1, "kind": kind, "number": "5", "pulse": False, "started": 100_000, "ended": 130_000, "people": [],
            "calls": calls, "free": []} | more  # fmt: skip


def _record(**more: Any) -> dict[str, Any]:
    return {"id": "C1", "line": "line/3", "connected_ms": BASE + 111_000, "cause": "normal"} | more


@pytest.mark.parametrize(
    ("port", "until", "excused"),
    [("fxo/3", 95_000, True), ("fxo/3", 91_000, False), ("fxs/1", 95_000, True), ("fxo/1", 95_000, False), ("fxs/3", 95_000, False)],
)
def test_a_fault_excuses_what_used_its_port_while_it_stood_and_shortly_after(port: str, until: int, excused: bool) -> None:
    note = _call(fault=_fault("line", "cut", until - 3000, until, port))
    assert excuses(note, _record(), struck_ports([note]), BASE) is excused


def test_a_chip_that_may_be_out_of_service_excuses_only_where_nothing_shows_that_it_lives() -> None:
    note = _call(fault=_fault("fxo", "silent", 40_000, 60_000, "fxo/3"))
    struck = struck_ports([note])
    assert not excuses(note, _record(), struck, BASE), "the line was dialled on"
    told = _call(kind="in-talk", fault=_fault("fxs", "alarm", 40_000, 60_000, "fxs/1"))
    assert excuses(told, _record(connected_ms=None), struck_ports([told]), BASE), "the telephone was not reached"
    assert not excuses(told, _record(), struck_ports([told]), BASE)
    later = told | {"fault": _fault("fxs", "alarm", 10_000, 30_000, "fxs/1")}
    assert not excuses(later, _record(connected_ms=None), struck_ports([later]), BASE), "it is brought up within a minute"
    missed = told | {"fault": _fault("fxo", "link", 40_000, 60_000, "fxo/1"), "calls": [told["calls"][0] | {"line": 1, "rang": 100_000}]}
    assert excuses(missed, _record(line="line/1", opened_ms=BASE + 110_000), struck_ports([missed]), BASE), "the first rings were missed"
    assert not excuses(missed, _record(line="line/1", opened_ms=BASE + 100_100), struck_ports([missed]), BASE)
    wire = told | {"fault": _fault("fxs", "cut", 40_000, 60_000, "fxs/1")}
    assert not excuses(wire, _record(connected_ms=None), struck_ports([wire]), BASE), "a mended wire needs no bringing up"


def test_a_line_that_flipped_bits_put_out_of_service_may_miss_a_call() -> None:
    note = _call(kind="in-abandoned", calls=[_call()["calls"][0] | {"line": 1, "rang": 100_000}], people=[])
    other = _call(ident=2, stream=2, shaken=[("fxo/1", 60_000)])
    assert excuses(note, None, struck_ports([note, other]), BASE)
    assert not excuses(note, _record(line="line/1", opened_ms=BASE + 100_100), struck_ports([note, other]), BASE)
    assert not excuses(note, None, struck_ports([note, _call(ident=2, stream=2, shaken=[("fxo/1", 30_000)])]), BASE)


def test_flipped_bits_excuse_where_the_copper_showed_them() -> None:
    flips = _fault("chain", "flip", 110_000, 113_000, "fxs/1", "fxs/2")
    assert not excuses(_call(fault=flips), _record(), struck_ports([_call(fault=flips)]), BASE)
    for shock, excused in (("fxs/1", 112_000), True), (("fxs/2", 112_000), False), (("fxs/1", 90_000), False):
        note = _call(fault=flips, shaken=[shock])
        assert excuses(note, _record(), struck_ports([note]), BASE) is excused


@pytest.mark.parametrize(
    ("span", "fault_until", "free"),
    [
        ((2, 80_000, 120_000), 0, True), ((2, 95_000, 120_000), 0, False), ((2, 80_000, 104_000), 0, False),
        ((2, 80_000, 120_000), 50_000, False), ((2, 80_000, 120_000), 20_000, True),
    ],
)  # fmt: skip
def test_no_line_is_right_only_while_none_stands_idle_and_sound(span: tuple[int, int, int], fault_until: int, free: bool) -> None:
    note = _call(kind="out-busy", calls=[], free=[span], release="busy")
    note["people"] = [{"kind": "phone", "number": "95", "started": 100_000, "answered": 102_000, "ended": 106_000, "ended_by": "far"}]
    other = _call(ident=2, kind="in-talk", started=0, ended=1, calls=[])
    other["people"] = [{"kind": "caller", "number": "6", "outcome": "busy"}]
    if fault_until:
        other["fault"] = _fault("fxo", "link", fault_until - 2000, fault_until, "fxo/2")
    assert free_lines(note, 105_000, struck_ports([note, other])) == (["line/2"] if free else [])
    record = _record(kind="outbound", opened_ms=BASE + 105_000, ended_ms=BASE + 105_000, line="", connected_ms=None, cause="congestion",
                     extension="101", evidence_detail="")  # fmt: skip
    found = judge([note, other], [record], BASE)
    assert (found == []) is not free and all("stood idle" in text for text in found)


@pytest.mark.parametrize(
    ("kind", "since", "until", "spoilt"),
    [
        ("noise", 101_000, 101_200, True), ("noise", 110_000, 112_000, False), ("false-ring", 110_000, 112_000, True),
        ("cut", 101_000, 101_200, False),
    ],
)  # fmt: skip
def test_a_caller_id_is_spoilt_by_what_sounded_while_it_was_sent(kind: str, since: int, until: int, spoilt: bool) -> None:
    note = _call(kind="in-talk", fault=_fault("line", kind, since, until, "fxo/1"))
    note["calls"][0]["identified"] = 100_500
    assert trouble_of(note, [note], struck_ports([note])).spoilt is spoilt


@pytest.mark.parametrize(("line", "opened", "made"), [("line/1", 112_000, True), ("line/1", 140_000, False), ("line/2", 112_000, False)])
def test_a_ringing_that_a_chip_saw_anew_has_a_second_record(line: str, opened: int, made: bool) -> None:
    note = _call(kind="in-talk", fault=_fault("fxo", "link", 95_000, 100_500, "fxo/1"))
    note["calls"][0].update(line=1, started=100_000)
    record = _record(line=line, extension="", opened_ms=BASE + opened, ended_ms=BASE + opened + 5000)
    assert made_by_fault(record, [note], struck_ports([note]), BASE) is made
