"""Alarms of lines and chips: raised and cleared with hysteresis, in two languages; ports out of selection and back; calls kept or ended."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.call.model import Alert, Cause, EndpointState, LegEnded, LegOffered, Party
from firmware.core.lines_alarms import FAULTS, LineAlarms
from firmware.line.signals import LINE_ON_HOOK
from firmware.runtime.alarms import AlarmRaised, Alarms
from firmware.surfaces.cli.table import spoken
from tests.unit.test_line_ports import Site, media_event


class Watched(Site):
    """A branch with its alarms."""

    def __init__(self) -> None:
        super().__init__(start=False)
        self.alarms = Alarms(self.bus, self.clock)
        self.hearers: list[Any] = []
        self.wire.subscribe = self.hearers.append  # type: ignore[method-assign]
        self.watch = LineAlarms(self.lines, self.wire, self.bus, self.clock, self.alarms)
        self.lines.start()
        self.run(500)
        for slot in range(3):
            self.fact("Battery", slot, present=True, volts=48.0)

    def health(self, slot: int, kind: str, raised: bool, state: str, *, final: bool = False, step: str = "health") -> Watched:
        fields = {"register": 11, "read": 0, "attempt": 0, "text": "what was seen"}
        event = media_event("PortHealth", slot, self.clock.now(), kind=kind, raised=raised, final=final, step=step, state=state, **fields)
        for hear in self.hearers:
            hear(event)
        return self

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.alarms.list()]


def test_a_chip_fault_is_an_alarm_at_once_with_step_and_remedy_and_goes_ten_seconds_after_it() -> None:
    site = Watched()
    site.health(0, "link", True, "recovering", step="isolation link")
    ((kind, text, _),) = site.alarms.list()
    assert kind == "chip:line/1"
    assert text.startswith("line/1: the isolated line side does not answer (link) at step 'isolation link': ")
    assert "change the line card" in text
    assert site.alarms.chinese(kind).startswith("外线 1：隔离线路侧无应答")
    assert spoken([{"text": text, "text_zh": "中文"}], "zh") == [{"text": "中文"}]
    assert spoken([{"text": text, "text_zh": ""}], "zh") == [{"text": text}]
    assert spoken([{"text": text, "text_zh": "中文"}], "en") == [{"text": text}]
    site.health(0, "link", False, "well").run(9_000)
    assert site.kinds() == ["chip:line/1"]
    assert site.run(1_500).kinds() == []


def test_a_chip_that_fails_again_and_again_is_one_alarm() -> None:
    site, raised = Watched(), []
    site.bus.subscribe(AlarmRaised, raised.append)
    for _ in range(6):
        site.health(0, "chip-reset", True, "recovering").health(0, "recovered", True, "recovering").health(0, "chip-reset", False, "well")
        site.run(3_000)
    assert len(raised) == 1
    assert site.run(11_000).kinds() == []


@pytest.mark.parametrize("state", ["recovering", "well"])
@pytest.mark.parametrize("known", [True, False])
def test_everybody_hears_that_a_port_whose_chip_was_brought_up_again_is_idle(state: str, known: bool) -> None:
    site = Watched()
    if known:
        site.health(1, "hook", True, "recovering")
    site.health(1, "recovered", True, state).run(100)
    site.health(1, "hook", False, "well").run(100)
    said = [event.state for event in site.all(EndpointState) if event.endpoint == "line/2"]
    assert said[-1] == site.row("line/2").available == "idle"


def test_who_dials_while_a_chip_cannot_be_read_goes_on_dialling() -> None:
    site = Watched()
    site.fact("Loop", 4, closed=True).run(600)
    site.fact("Digit", 4, digit="2", duration_ms=80, source="inband", level=-8.0).run(300)
    site.health(4, "all-ones", True, "unreadable").run(400).health(4, "all-ones", False, "well").run(300)
    site.fact("Loop", 4, closed=True)                # what stands is told again
    for key in "01":
        site.run(300).fact("Digit", 4, digit=key, duration_ms=80, source="inband", level=-8.0)
    site.run(100)
    assert [offer.called for offer in site.all(LegOffered)] == ["201"]
    assert site.wire.names(4).count("tone") == 1, "one dial tone"
    assert [event.state for event in site.all(EndpointState) if event.endpoint == "101"][-2:] == ["fault", "busy"]


def test_a_port_whose_chip_cannot_serve_is_not_chosen_and_is_chosen_again() -> None:
    site = Watched()
    assert site.lines.free_line("default") or site.lines.free_line()
    site.health(1, "all-ones", True, "unreadable")
    row = site.row("line/2")
    assert (row.available, row.detail) == ("fault", FAULTS["all-ones"].en)
    assert site.lines.free_line() != "line/2"
    site.lines.originate("L1", "line/2", number="110", caller=Party(), alert=Alert.NORMAL, ring_ms=0)
    site.run(10)
    assert site.all(LegEnded)[-1].cause is Cause.LINE_FAULT
    site.health(1, "all-ones", False, "well")
    assert site.row("line/2").available == "idle"
    site.health(4, "supply", True, "out", final=True)
    assert site.row("101").available == "fault"
    assert site.all(LegEnded)[-1].leg == "L1", "nobody was in a call there"


@pytest.mark.parametrize(
    ("kind", "state", "kept"), [("garbage", "unreadable", True), ("settings", "recovering", True), ("chip-reset", "recovering", False)]
)
def test_a_call_lives_while_its_chip_holds_the_line_and_ends_when_it_let_go(kind: str, state: str, kept: bool) -> None:
    site = Watched()
    leg = site.talk_in()
    site.health(0, kind, True, state)
    assert site.row("line/1").leg == leg
    if state == "recovering":
        site.health(0, "recovered", True, "recovering")
    site.health(0, kind, False, "well").run(50)
    if kept:
        assert site.row("line/1").leg == leg
        return
    assert site.all(LegEnded)[-1].leg == leg
    assert site.wire.drives(0)[-1] == LINE_ON_HOOK
    site.fact("Battery", 0, present=True, volts=48.0).run(3_000)
    assert site.row("line/1").available == "idle"


def test_a_chip_that_is_brought_up_again_lets_go_of_a_line_that_nobody_uses() -> None:
    """Media puts a chip where it stood: a hook that was closed for a call that is over would be closed again and again."""
    site = Watched()
    leg = site.talk_in()
    site.health(0, "hook", True, "recovering").health(0, "recovered", True, "recovering").run(50)
    assert site.all(LegEnded)[-1].leg == leg
    assert site.wire.drives(0)[-1] == LINE_ON_HOOK
    assert (site.row("line/1").available, site.row("line/1").detail) == ("fault", FAULTS["hook"].en)
    site.health(0, "recovered", True, "recovering").run(50)
    assert site.row("line/1").available == "fault"
    site.health(0, "hook", False, "well").run(3_000)
    assert site.row("line/1").available == "idle"


def test_line_troubles_are_told_after_their_time_and_forgotten_after_ten_seconds() -> None:
    site = Watched()
    site.fact("Battery", 0, present=False, volts=0.0).run(3_500)
    assert site.kinds() == []
    site.run(1_500)                                         # within 5 s of the cut
    assert site.kinds() == ["no-line:line/1"]
    site.fact("Battery", 0, present=True, volts=48.0).run(5_000)
    assert site.kinds() == ["no-line:line/1"]
    assert site.run(9_000).kinds() == []
    site.fact("Battery", 1, present=True, volts=8.0).run(12_000)
    assert site.kinds() == ["line-in-use:line/2"]
    site.fact("Battery", 1, present=True, volts=48.0).run(12_000)
    assert site.kinds() == []


def test_a_short_trouble_is_no_alarm() -> None:
    site = Watched()
    for _ in range(5):
        site.fact("Battery", 0, present=False, volts=0.0).run(4_000)
        site.fact("Battery", 0, present=True, volts=48.0).run(2_000)
    assert site.run(20_000).kinds() == []


def test_ringing_without_end_is_an_alarm_of_its_own() -> None:
    site = Watched()
    site.fact("RingBurst", 0, on=True).run(90_000)
    assert site.kinds() == ["ring-stuck:line/1"]
    site.fact("RingBurst", 0, on=False).run(30_000)
    assert site.kinds() == []


def test_the_relay_is_told_when_it_stays_where_it_should_not() -> None:
    site = Watched()
    site.watch.relay("released")
    site.run(5_000).watch.relay("energised")
    assert site.run(20_000).kinds() == []
    site.watch.relay("stuck")
    assert site.run(11_000).kinds() == ["lifeline"]
    site.watch.relay("energised")
    assert site.run(11_000).kinds() == []
