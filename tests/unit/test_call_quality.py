"""Quality of legs over IP: from media's figures to the end of the leg, the screens and the record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from firmware.call.model import Alert, Cause, Evidence, LegAnswered, LegEnded, Party
from firmware.call.quality import Quality
from firmware.control import call_commands as cmd
from firmware.core.call_queries import CallQueries
from firmware.media.quality import rtp_quality
from firmware.sip import events as ev
from tests.unit.phones_stage import Desk, House
from tests.unit.test_call_part import Bench

FIGURES = {
    "received": 950, "expected": 1000, "lost": 50, "jitter_ms": 4.04, "worst_jitter_ms": 9.0, "sent": 1000,
    "far_reports": 2, "far_lost": 10, "far_expected": 500, "far_loss": 0.5, "far_jitter_ms": 2.0,
    "round_trip_ms": 80.04, "worst_round_trip_ms": 90.0, "reports_sent": 3, "reports_received": 2, "reports_refused": 1,
}  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    one.db.close()
    one.state_db.close()


def test_figures_become_shares_and_grades() -> None:
    found = rtp_quality(FIGURES)
    assert (found.loss, found.far_loss, found.round_trip_ms, found.jitter_ms) == (5.0, 2.0, 80.0, 4.0)
    assert found.mos is not None and found.far_mos is not None
    assert 3.2 < found.mos < found.far_mos < 4.3
    silent = rtp_quality({**FIGURES, "far_reports": 0, "round_trip_ms": -1.0, "worst_round_trip_ms": -1.0, "expected": 10, "lost": -3})
    assert (silent.far_mos, silent.far_loss, silent.round_trip_ms, silent.mos, silent.lost) == (None, None, None, None, 0)


def test_a_leg_tells_its_quality_with_its_end_and_one_that_never_spoke_has_none(seed: int) -> None:
    house = House(seed % 1000)
    desk = Desk(house, "201", ("192.0.2.21", 5062))
    assert desk.register() == 200
    house.ring("L1", "201", caller=Party("0123"), alert=Alert.NORMAL)
    call = desk.answer()
    (answered,) = house.take(LegAnswered)
    house.media.qualities[answered.port] = rtp_quality(FIGURES)
    desk.send(ev.EndCall(call))
    (over,) = house.take(LegEnded)
    assert over.quality is not None
    assert (over.quality.codec, over.quality.suite, over.quality.loss) == ("opus", "", 5.0)
    house.ring("L2", "201")
    house.phones.hang_up("L2", Cause.NORMAL)
    house.settle()
    (over,) = house.take(LegEnded)
    assert over.quality is None


def test_screens_and_record_show_it(bench: Bench) -> None:
    caller, agent = bench.conversation()
    port = bench.phones.ports[agent]
    ask = CallQueries(bench.calls, bench.clock, bench.running, lambda one: rtp_quality(FIGURES) if one == port else None)
    (call,) = asyncio.run(ask.calls(cmd.ShowCalls()))
    assert sorted(call.quality) == ["201=3.9/4.2", "line/1=-/-"]
    (row,) = asyncio.run(ask.quality(cmd.ShowQuality()))
    assert (row.contact, row.leg, row.endpoint, row.received, row.loss, row.far_loss, row.reports, row.refused) == (
        call.contact, agent, "201", 950, 5.0, 2.0, 2, 1,
    )  # fmt: skip
    bench.away = True
    assert asyncio.run(ask.quality(cmd.ShowQuality())) == []
    quality = msgspec.structs.replace(rtp_quality(FIGURES), codec="pcma")
    end = LegEnded(agent, bench.clock.now(), Cause.NORMAL, Evidence("bye"), True, quality)
    bench.bus.publish(end)
    bench.bus.publish(LegEnded(caller, bench.clock.now(), Cause.NORMAL, Evidence("busy-tone"), True))
    bench.clock.advance(60_000)
    legs = {leg.leg: leg for leg in bench.record_of(call.contact).legs}
    assert (legs[agent].codec, legs[agent].mos, legs[agent].far_mos) == ("pcma", quality.mos, quality.far_mos)
    assert msgspec.json.decode(legs[agent].quality, type=Quality) == quality
    assert (legs[caller].codec, legs[caller].mos, legs[caller].quality) == ("", None, "")
