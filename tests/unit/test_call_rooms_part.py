"""Rooms on the media façade: who is joined with whom, also after a killed core, and a bridge for each and no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.call.model import LegKind, LegOffered, Party
from firmware.config.schema.pbx import Room
from tests.unit.call_stage import config
from tests.unit.test_call_part import Bench, Port


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, config(rooms={"board": Room(number="700")}))
    yield bench
    bench.db.close()
    bench.state_db.close()


def dial(bench: Bench, extension: str, number: str) -> str:
    leg = bench.ids.leg()
    bench.phones.live[leg] = extension
    bench.bus.publish(LegOffered(leg, bench.clock.now(), LegKind.SIP, extension, Party(extension), number, -1))
    return leg


def conference(bench: Bench) -> list[str]:
    legs = [dial(bench, "201", "700")]
    bench.played(legs[0])
    legs += [dial(bench, "202", "700"), dial(bench, "203", "700")]
    return legs


def in_bridges(bench: Bench, legs: list[str]) -> list[int]:
    return [bench.engine.bridges.get(bench.phones.ports[leg], -1) for leg in legs]


def test_everybody_of_a_room_is_in_one_bridge_that_is_free_with_the_last(bench: Bench) -> None:
    legs = conference(bench)
    assert len(set(in_bridges(bench, legs))) == 1 and -1 not in in_bridges(bench, legs)
    chimes = [asked for asked in bench.engine.asked if asked[0] == "tone"]
    assert {asked[1] for asked in chimes} == {bench.phones.ports[leg] for leg in legs[:2]}, "who was there hears who comes"
    first = in_bridges(bench, legs)[0]
    for leg in legs:
        bench.phones.end(leg)
    assert not bench.engine.bridges and not bench.calls.board.contacts
    assert in_bridges(bench, conference(bench))[0] == first


def test_a_killed_core_finds_everybody_where_they_were(bench: Bench) -> None:
    legs = conference(bench)
    before = dict(bench.engine.bridges)
    bench.kill()
    assert bench.engine.bridges == before
    late = dial(bench, "204", "700")
    assert len(set(in_bridges(bench, [*legs, late]))) == 1, "who comes after the kill is in the same room"
    for leg in [*legs, late]:
        bench.phones.end(leg)
    assert not bench.engine.bridges and not bench.calls.board.contacts


def test_three_party_call_outlives_a_killed_core_and_two_talk_on(bench: Bench) -> None:
    caller = dial(bench, "201", "202")
    other = bench.leg_at("202")
    bench.phones.answered(other)
    for digit in "*3203":
        bench.press(caller, digit)
    target = bench.leg_at("203")
    bench.phones.answered(target)
    for digit in "*72":
        bench.press(caller, digit)
    legs = [caller, other, target]
    assert len(set(in_bridges(bench, legs))) == 1
    bench.kill()
    assert len(set(in_bridges(bench, legs))) == 1 and bench.shown()[0].phase == "conference"
    bench.phones.end(caller)
    bench.clock.advance(100)
    assert bench.shown()[0].phase == "talking"
    relayed = [asked[1:3] for asked in bench.engine.asked if asked[0] == "relay"]
    assert set(relayed[-1]) == {bench.phones.ports[other], bench.phones.ports[target]}


def test_a_call_that_was_not_joined_yet_takes_no_bridge_that_others_still_use(bench: Bench) -> None:
    """Killed between decision and engine: the newcomer of the journal must not land in the bridge of people adopted later."""
    pair = [bench.ring_in()]
    bench.played(pair[0])
    bench.played(pair[0])
    bench.press(pair[0], "2")
    bench.press(pair[0], "0")
    pair.append(bench.leg_at("101"))
    bench.phones.answered(pair[1])
    for leg in pair:
        bench.engine.bridges.pop(bench.phones.ports[leg])
    bench.calls.audio.forget(bench.shown()[0].contact)
    legs = conference(bench)
    room = in_bridges(bench, legs)[0]
    assert room >= 0
    ports = [Port(port, leg, bench.engine.bridges.get(port, -1)) for leg, port in bench.phones.ports.items()]
    bench.start(ports, adopted=True)
    assert len(set(in_bridges(bench, pair))) == 1 and room not in in_bridges(bench, pair) and set(in_bridges(bench, legs)) == {room}
